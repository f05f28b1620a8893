//! CONNECT (§3.1) and CONNACK (§3.2), the two packets that settle the rest.

use super::decode::topic_name;
use super::header::Type;
use super::primitives::{Reader, variable_int};
use super::properties::{NOT_ALLOWED_HERE, id, read_block, take_message_property};
use super::{Context, DecodeError, Side, codes};
use crate::packet::{ConnAck, ConnAckProperties, Connect, Version, Will};
use crate::reason::code;
use althing_core::Guarantee;
use althing_core::message::Properties;
use bytes::Bytes;
use std::sync::Arc;

/// In which version's words to refuse the CONNECT at the front of `input`: its own if that is known, version 5
/// for later ones, 3.1.1 for anything else. `None` if it is no CONNECT or ends before its level.
pub fn refusal_version(input: &[u8]) -> Option<Version> {
    // Reserved flags are refused by the first byte alone, so the answer must not depend on what has arrived behind it.
    if *input.first()? != 0x10 {
        return None;
    }
    let length = variable_int(&input[1..]).ok()??;
    let body = &input[1 + length.size..];
    let (name_length, rest) = body.split_first_chunk()?;
    let (name, rest) = rest.split_at_checked(u16::from_be_bytes(*name_length).into())?;
    Some(match (name, *rest.first()?) {
        (b"MQIsdp", 3) => Version::V31,
        // Bit 7 is how bridges mark themselves in version 3.
        (b"MQTT", 5..=0x7F) => Version::V5,
        _ => Version::V311,
    })
}

/// The flags of §3.1.2.3 to §3.1.2.9.
pub(crate) mod flag {
    pub const RESERVED: u8 = 0x01;
    pub const CLEAN_START: u8 = 0x02;
    pub const WILL: u8 = 0x04;
    pub const WILL_QOS_SHIFT: u8 = 3;
    pub const WILL_RETAIN: u8 = 0x20;
    pub const PASSWORD: u8 = 0x40;
    pub const USER_NAME: u8 = 0x80;
}

/// `overlong` says that the remaining length was not minimal.
pub(super) fn connect(context: &Context, overlong: bool, body: Bytes) -> Result<Connect, DecodeError> {
    let mut reader = Reader::new(body);
    let version = version(&mut reader)?;
    if overlong && version == Version::V5 {
        // [MQTT-1.5.5-1]
        return Err(DecodeError::malformed("the remaining length is longer than needed"));
    }
    let flags = reader.u8()?;
    check_flags(flags, version)?;
    let keep_alive_s = reader.u16()?;
    let mut connect = Connect {
        version,
        clean_start: flags & flag::CLEAN_START != 0,
        keep_alive_s,
        client_id: Default::default(),
        will: None,
        username: None,
        password: None,
        session_expiry_s: None,
        receive_maximum: None,
        maximum_packet_size: None,
        topic_alias_maximum: 0,
        request_response_information: false,
        request_problem_information: true,
        user_properties: Vec::new(),
        authentication_method: None,
        authentication_data: None,
    };
    if version == Version::V5 {
        connect_properties(&mut reader, &mut connect)?;
    }
    connect.client_id = reader.string()?;
    if flags & flag::WILL != 0 {
        connect.will = Some(Box::new(will(context, version, flags, &mut reader)?));
    }
    // MQTT 3.1 §3.1: the remaining length takes precedence over these two flags.
    let may_end = version == Version::V31;
    if flags & flag::USER_NAME != 0 && !(may_end && reader.is_empty()) {
        connect.username = Some(reader.string()?);
    }
    if flags & flag::PASSWORD != 0 && !(may_end && reader.is_empty()) {
        connect.password = Some(reader.binary()?);
    }
    reader.finish()?;
    Ok(connect)
}

/// §3.1.2.1, §3.1.2.2. A wrong name is answered like an unknown level ([MQTT-3.1.2-1]).
pub(crate) fn version(reader: &mut Reader) -> Result<Version, DecodeError> {
    let unsupported = |text| Err(DecodeError { code: code::UNSUPPORTED_PROTOCOL_VERSION, text });
    let name = reader.binary()?;
    let is_v31_name = match &name[..] {
        b"MQTT" => false,
        b"MQIsdp" => true,
        _ => return unsupported("the protocol name is not MQTT"),
    };
    match (is_v31_name, reader.u8()?) {
        (true, 3) => Ok(Version::V31),
        (false, 4) => Ok(Version::V311),
        (false, 5) => Ok(Version::V5),
        _ => unsupported("the protocol version is not 3.1, 3.1.1 or 5.0"),
    }
}

pub(crate) fn check_flags(flags: u8, version: Version) -> Result<(), DecodeError> {
    // MQTT 3.1 §3.1 leaves the reserved bit unused and disregards the will's bits when there is no will.
    if version != Version::V31 {
        if flags & flag::RESERVED != 0 {
            // [MQTT-3.1.2-3]
            return Err(DecodeError::malformed("the reserved flag of CONNECT is set"));
        }
        if flags & flag::WILL == 0 && flags & (0b11 << flag::WILL_QOS_SHIFT | flag::WILL_RETAIN) != 0 {
            // [MQTT-3.1.2-11], [MQTT-3.1.2-13]
            return Err(DecodeError::malformed("Will QoS and Will Retain must be 0 without a will"));
        }
    }
    if version != Version::V5 && flags & flag::PASSWORD != 0 && flags & flag::USER_NAME == 0 {
        // MQTT 3.1.1 [MQTT-3.1.2-22]
        return Err(DecodeError::malformed("version 3 has no password without a user name"));
    }
    Ok(())
}

/// §3.1.2.11
fn connect_properties(reader: &mut Reader, connect: &mut Connect) -> Result<(), DecodeError> {
    read_block(reader, |id, reader| {
        match id {
            id::SESSION_EXPIRY_INTERVAL => connect.session_expiry_s = Some(reader.u32()?),
            id::RECEIVE_MAXIMUM => connect.receive_maximum = Some(reader.receive_maximum()?),
            id::MAXIMUM_PACKET_SIZE => connect.maximum_packet_size = Some(reader.maximum_packet_size()?),
            id::TOPIC_ALIAS_MAXIMUM => connect.topic_alias_maximum = reader.u16()?,
            id::REQUEST_RESPONSE_INFORMATION => connect.request_response_information = reader.flag()?,
            id::REQUEST_PROBLEM_INFORMATION => connect.request_problem_information = reader.flag()?,
            id::USER_PROPERTY => connect.user_properties.push(reader.string_pair()?),
            id::AUTHENTICATION_METHOD => connect.authentication_method = Some(reader.string()?),
            id::AUTHENTICATION_DATA => connect.authentication_data = Some(reader.binary()?),
            _ => return Err(NOT_ALLOWED_HERE),
        }
        Ok(())
    })?;
    if connect.authentication_data.is_some() && connect.authentication_method.is_none() {
        // §3.1.2.11.10
        return Err(DecodeError::protocol("Authentication Data needs an Authentication Method"));
    }
    Ok(())
}

/// §3.1.3.2 to §3.1.3.4
fn will(context: &Context, version: Version, flags: u8, reader: &mut Reader) -> Result<Will, DecodeError> {
    // [MQTT-3.1.2-12]
    let qos = Guarantee::from_qos(flags >> flag::WILL_QOS_SHIFT & 0b11)
        .ok_or(DecodeError::malformed("Will QoS must be 0, 1 or 2"))?;
    let mut delay_s = 0;
    let mut message_expiry_s = None;
    let mut properties: Option<Properties> = None;
    if version == Version::V5 {
        read_block(reader, |id, reader| {
            match id {
                id::WILL_DELAY_INTERVAL => delay_s = reader.u32()?,
                id::MESSAGE_EXPIRY_INTERVAL => message_expiry_s = Some(reader.u32()?),
                _ => take_message_property(id, reader, &context.topic, properties.get_or_insert_default())?,
            }
            Ok(())
        })?;
    }
    let topic = topic_name(reader, &context.topic)?;
    let payload = reader.binary()?;
    let properties = properties.map(Arc::new);
    Ok(Will { topic, payload, qos, retain: flags & flag::WILL_RETAIN != 0, delay_s, message_expiry_s, properties })
}

/// §3.2
pub(super) fn connack(version: Version, mut reader: Reader) -> Result<ConnAck, DecodeError> {
    let flags = reader.u8()?;
    let code = reader.u8()?;
    if flags & 0xFE != 0 && version != Version::V31 {
        // [MQTT-3.2.2-1]
        return Err(DecodeError::malformed("reserved flags of CONNACK are set"));
    }
    // MQTT 3.1 §3.2 does not use the first byte.
    let session_present = flags & 1 != 0 && version != Version::V31;
    if !codes::is_allowed(Type::ConnAck, version, Side::Client, code) {
        // [MQTT-3.2.2-8]
        return Err(DecodeError::protocol("the reason code is not one of CONNACK"));
    }
    if session_present && code != 0 {
        // [MQTT-3.2.2-6]
        return Err(DecodeError::protocol("a refusal must not say Session Present"));
    }
    let properties =
        if version == Version::V5 { connack_properties(&mut reader)? } else { ConnAckProperties::default() };
    reader.finish()?;
    Ok(ConnAck { session_present, code, properties })
}

/// §3.2.2.3
fn connack_properties(reader: &mut Reader) -> Result<ConnAckProperties, DecodeError> {
    let mut taken = ConnAckProperties::default();
    read_block(reader, |id, reader| {
        match id {
            id::SESSION_EXPIRY_INTERVAL => taken.session_expiry_s = Some(reader.u32()?),
            id::RECEIVE_MAXIMUM => taken.receive_maximum = Some(reader.receive_maximum()?),
            id::MAXIMUM_QOS => taken.maximum_qos = Some(reader.flag()?.into()),
            id::RETAIN_AVAILABLE => taken.retain_available = Some(reader.flag()?),
            id::MAXIMUM_PACKET_SIZE => taken.maximum_packet_size = Some(reader.maximum_packet_size()?),
            id::ASSIGNED_CLIENT_IDENTIFIER => taken.assigned_client_id = Some(reader.string()?),
            id::TOPIC_ALIAS_MAXIMUM => taken.topic_alias_maximum = Some(reader.u16()?),
            id::REASON_STRING => taken.reason_string = Some(reader.string()?),
            id::USER_PROPERTY => taken.user_properties.push(reader.string_pair()?),
            id::WILDCARD_SUBSCRIPTION_AVAILABLE => taken.wildcard_subscription_available = Some(reader.flag()?),
            id::SUBSCRIPTION_IDENTIFIER_AVAILABLE => taken.subscription_identifiers_available = Some(reader.flag()?),
            id::SHARED_SUBSCRIPTION_AVAILABLE => taken.shared_subscription_available = Some(reader.flag()?),
            id::SERVER_KEEP_ALIVE => taken.server_keep_alive_s = Some(reader.u16()?),
            id::RESPONSE_INFORMATION => taken.response_information = Some(reader.string()?),
            id::SERVER_REFERENCE => taken.server_reference = Some(reader.string()?),
            id::AUTHENTICATION_METHOD => taken.authentication_method = Some(reader.string()?),
            id::AUTHENTICATION_DATA => taken.authentication_data = Some(reader.binary()?),
            _ => return Err(NOT_ALLOWED_HERE),
        }
        Ok(())
    })?;
    Ok(taken)
}
