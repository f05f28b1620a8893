//! The writer: every packet that can be built can be written. What a version cannot say is left out; strings and
//! binary data end at 65,535 bytes, strings between two characters. That cut is meant for reason strings;
//! whoever builds packets keeps everything else, topics above all, within the limit.

use super::primitives::{clipped, put_binary, put_string, put_variable_int, put_with_length, variable_int_size};
use super::properties::{
    id, message_properties_size, put_data, put_flag, put_message_properties, put_subscription_id, put_text, put_u8,
    put_u16, put_u32, put_user,
};
use crate::packet::{
    Acknowledgement, Auth, Codes, ConnAck, Connect, Details, Disconnect, Packet, Publish, Subscribe, Unsubscribe,
    Version, Will,
};
use crate::reason::{self, code};
use althing_core::message::Properties;
use althing_core::{Guarantee, Topic};

/// Appends `packet` as `version` writes it; a CONNECT carries its own version. AUTH, and DISCONNECT's reasons, exist in
/// version 5 only: AUTH appends nothing in the others.
///
/// The packet must not be larger than [`PACKET_BYTES_MAX`](super::PACKET_BYTES_MAX); only a payload or thousands of
/// user properties can make it so.
pub fn encode(packet: &Packet, version: Version, output: &mut Vec<u8>) {
    match packet {
        Packet::Connect(packet) => connect(packet, output),
        Packet::ConnAck(packet) => connack(packet, version, output),
        Packet::Publish(packet) => {
            encode_publish_head(&PublishHead::from(packet), version, output);
            output.extend_from_slice(&packet.payload);
        }
        Packet::PubAck(packet) => acknowledgement(AckType::PubAck, packet, version, output),
        Packet::PubRec(packet) => acknowledgement(AckType::PubRec, packet, version, output),
        Packet::PubRel(packet) => acknowledgement(AckType::PubRel, packet, version, output),
        Packet::PubComp(packet) => acknowledgement(AckType::PubComp, packet, version, output),
        Packet::Subscribe(packet) => subscribe(packet, version, output),
        Packet::SubAck(packet) => suback(packet, version, output),
        Packet::Unsubscribe(packet) => unsubscribe(packet, version, output),
        Packet::UnsubAck(packet) => unsuback(packet, version, output),
        Packet::PingReq => output.extend_from_slice(&[0xC0, 0]),
        Packet::PingResp => output.extend_from_slice(&[0xD0, 0]),
        Packet::Disconnect(packet) => disconnect(packet, version, output),
        Packet::Auth(packet) => auth(packet, version, output),
    }
}

/// A PUBLISH before its payload, all of it borrowed.
#[derive(Clone, Copy, Debug)]
pub struct PublishHead<'a> {
    /// §3.3.1.1; not written at QoS 0 ([MQTT-3.3.1-2]).
    pub dup: bool,
    /// §3.3.1.2
    pub qos: Guarantee,
    /// §3.3.1.3
    pub retain: bool,
    /// Empty only together with an alias that the receiver knows.
    pub topic: &'a str,
    /// Written at QoS 1 and 2.
    pub packet_id: u16,
    /// §3.3.2.3.4
    pub topic_alias: Option<u16>,
    /// §3.3.2.3.3, seconds.
    pub message_expiry_s: Option<u32>,
    /// §3.3.2.3.8, each 1 to 268,435,455.
    pub subscription_ids: &'a [u32],
    /// §3.3.2.3; the priority has no place in MQTT.
    pub properties: Option<&'a Properties>,
    /// Bytes of payload that the caller writes after the head.
    pub payload_len: usize,
}

impl<'a> From<&'a Publish> for PublishHead<'a> {
    fn from(publish: &'a Publish) -> Self {
        Self {
            dup: publish.dup,
            qos: publish.qos,
            retain: publish.retain,
            topic: publish.topic.as_ref().map_or("", Topic::as_str),
            packet_id: publish.packet_id,
            topic_alias: publish.topic_alias,
            message_expiry_s: publish.message_expiry_s,
            subscription_ids: &publish.subscription_ids,
            properties: publish.properties.as_deref(),
            payload_len: publish.payload.len(),
        }
    }
}

impl PublishHead<'_> {
    /// Bytes of properties, without the length in front of them.
    fn properties_size(&self) -> usize {
        self.topic_alias.map_or(0, |_| 3)
            + self.message_expiry_s.map_or(0, |_| 5)
            + self.subscription_ids.iter().map(|id| 1 + variable_int_size(*id as usize)).sum::<usize>()
            + self.properties.map_or(0, message_properties_size)
    }

    /// The remaining length, payload included.
    fn remaining(&self, version: Version, properties_size: usize) -> usize {
        let properties_size = match version {
            Version::V5 => variable_int_size(properties_size) + properties_size,
            Version::V311 | Version::V31 => 0,
        };
        let packet_id_size = if self.qos == Guarantee::AtMostOnce { 0 } else { 2 };
        2 + clipped(self.topic).len() + packet_id_size + properties_size + self.payload_len
    }
}

/// How many bytes the whole packet takes, payload included: what Maximum Packet Size bounds (§3.1.2.11.4).
pub fn publish_size(head: &PublishHead<'_>, version: Version) -> usize {
    let remaining = head.remaining(version, head.properties_size());
    1 + variable_int_size(remaining) + remaining
}

/// Appends everything of a PUBLISH but its payload, which the caller writes next.
pub fn encode_publish_head(head: &PublishHead<'_>, version: Version, output: &mut Vec<u8>) {
    let properties_size = head.properties_size();
    let remaining = head.remaining(version, properties_size);
    output.reserve(5 + remaining - head.payload_len);
    let qos = head.qos as u8;
    let dup = head.dup && qos > 0;
    output.push(0x30 | u8::from(dup) << 3 | qos << 1 | u8::from(head.retain));
    put_variable_int(output, remaining);
    put_string(output, head.topic);
    if qos > 0 {
        output.extend_from_slice(&head.packet_id.to_be_bytes());
    }
    if version == Version::V5 {
        put_variable_int(output, properties_size);
        if properties_size > 0 {
            put_publish_properties(head, output);
        }
    }
}

fn put_publish_properties(head: &PublishHead<'_>, output: &mut Vec<u8>) {
    put_u16(output, id::TOPIC_ALIAS, head.topic_alias);
    put_u32(output, id::MESSAGE_EXPIRY_INTERVAL, head.message_expiry_s);
    for id in head.subscription_ids {
        put_subscription_id(output, *id);
    }
    if let Some(properties) = head.properties {
        put_message_properties(output, properties);
    }
}

/// The acknowledgements of §3.4 to §3.7; the value is the first byte on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum AckType {
    /// §3.4
    PubAck = 0x40,
    /// §3.5
    PubRec = 0x50,
    /// §3.6
    PubRel = 0x62,
    /// §3.7
    PubComp = 0x70,
}

/// Appends an acknowledgement with reason code 0 and no properties: four bytes, the same in every version.
pub fn encode_ack(ack_type: AckType, packet_id: u16, output: &mut Vec<u8>) {
    let [high, low] = packet_id.to_be_bytes();
    output.extend_from_slice(&[ack_type as u8, 2, high, low]);
}

fn acknowledgement(ack_type: AckType, ack: &Acknowledgement, version: Version, output: &mut Vec<u8>) {
    if version != Version::V5 || (ack.code == code::SUCCESS && ack.details.is_none()) {
        return encode_ack(ack_type, ack.packet_id, output);
    }
    packet(output, ack_type as u8, |output| {
        output.extend_from_slice(&ack.packet_id.to_be_bytes());
        output.push(ack.code);
        if let Some(details) = &ack.details {
            put_details(output, details);
        }
    });
}

/// Appends a packet: its first byte, its remaining length, and what `write` appends.
fn packet(output: &mut Vec<u8>, first: u8, write: impl FnOnce(&mut Vec<u8>)) {
    output.push(first);
    put_with_length(output, write);
}

/// Appends a property block in version 5, nothing in the others.
fn properties(output: &mut Vec<u8>, version: Version, write: impl FnOnce(&mut Vec<u8>)) {
    if version == Version::V5 {
        put_with_length(output, write);
    }
}

fn put_details(output: &mut Vec<u8>, details: &Details) {
    put_with_length(output, |output| put_detail_properties(output, details));
}

fn put_detail_properties(output: &mut Vec<u8>, details: &Details) {
    put_text(output, id::REASON_STRING, details.reason_string.as_ref());
    put_user(output, &details.user_properties);
}

/// §3.1
fn connect(connect: &Connect, output: &mut Vec<u8>) {
    let version = connect.version;
    // Version 3 has no password without a user name (MQTT 3.1.1 [MQTT-3.1.2-22]).
    let password = connect.password.as_ref().filter(|_| version == Version::V5 || connect.username.is_some());
    let mut flags = u8::from(connect.clean_start) << 1;
    if let Some(will) = &connect.will {
        flags |= 0x04 | (will.qos as u8) << 3 | u8::from(will.retain) << 5;
    }
    flags |= u8::from(password.is_some()) << 6 | u8::from(connect.username.is_some()) << 7;
    packet(output, 0x10, |output| {
        put_string(output, if version == Version::V31 { "MQIsdp" } else { "MQTT" });
        output.extend_from_slice(&[version as u8, flags]);
        output.extend_from_slice(&connect.keep_alive_s.to_be_bytes());
        properties(output, version, |output| put_connect_properties(output, connect));
        put_string(output, &connect.client_id);
        if let Some(will) = &connect.will {
            properties(output, version, |output| put_will_properties(output, will));
            put_string(output, will.topic.as_str());
            put_binary(output, &will.payload);
        }
        if let Some(username) = &connect.username {
            put_string(output, username);
        }
        if let Some(password) = password {
            put_binary(output, password);
        }
    });
}

/// §3.1.2.11; what has its default value is left out.
fn put_connect_properties(output: &mut Vec<u8>, connect: &Connect) {
    put_u32(output, id::SESSION_EXPIRY_INTERVAL, connect.session_expiry_s);
    put_u16(output, id::RECEIVE_MAXIMUM, connect.receive_maximum);
    put_u32(output, id::MAXIMUM_PACKET_SIZE, connect.maximum_packet_size);
    put_u16(output, id::TOPIC_ALIAS_MAXIMUM, Some(connect.topic_alias_maximum).filter(|maximum| *maximum > 0));
    put_flag(output, id::REQUEST_RESPONSE_INFORMATION, connect.request_response_information.then_some(true));
    put_flag(output, id::REQUEST_PROBLEM_INFORMATION, (!connect.request_problem_information).then_some(false));
    put_user(output, &connect.user_properties);
    put_text(output, id::AUTHENTICATION_METHOD, connect.authentication_method.as_ref());
    put_data(output, id::AUTHENTICATION_DATA, connect.authentication_data.as_deref());
}

/// §3.1.3.2
fn put_will_properties(output: &mut Vec<u8>, will: &Will) {
    put_u32(output, id::WILL_DELAY_INTERVAL, Some(will.delay_s).filter(|delay_s| *delay_s > 0));
    put_u32(output, id::MESSAGE_EXPIRY_INTERVAL, will.message_expiry_s);
    if let Some(properties) = &will.properties {
        put_message_properties(output, properties);
    }
}

/// §3.2. Version 3 gets the nearest return code, and MQTT 3.1 does not use the first byte.
fn connack(connack: &ConnAck, version: Version, output: &mut Vec<u8>) {
    let session_present = connack.session_present && version != Version::V31;
    let code = if version == Version::V5 { connack.code } else { reason::return_code(connack.code) };
    packet(output, 0x20, |output| {
        output.extend_from_slice(&[session_present.into(), code]);
        properties(output, version, |output| put_connack_properties(output, connack));
    });
}

/// §3.2.2.3
fn put_connack_properties(output: &mut Vec<u8>, connack: &ConnAck) {
    let properties = &connack.properties;
    put_u32(output, id::SESSION_EXPIRY_INTERVAL, properties.session_expiry_s);
    put_u16(output, id::RECEIVE_MAXIMUM, properties.receive_maximum);
    put_u8(output, id::MAXIMUM_QOS, properties.maximum_qos);
    put_flag(output, id::RETAIN_AVAILABLE, properties.retain_available);
    put_u32(output, id::MAXIMUM_PACKET_SIZE, properties.maximum_packet_size);
    put_text(output, id::ASSIGNED_CLIENT_IDENTIFIER, properties.assigned_client_id.as_ref());
    put_u16(output, id::TOPIC_ALIAS_MAXIMUM, properties.topic_alias_maximum);
    put_text(output, id::REASON_STRING, properties.reason_string.as_ref());
    put_user(output, &properties.user_properties);
    put_flag(output, id::WILDCARD_SUBSCRIPTION_AVAILABLE, properties.wildcard_subscription_available);
    put_flag(output, id::SUBSCRIPTION_IDENTIFIER_AVAILABLE, properties.subscription_identifiers_available);
    put_flag(output, id::SHARED_SUBSCRIPTION_AVAILABLE, properties.shared_subscription_available);
    put_u16(output, id::SERVER_KEEP_ALIVE, properties.server_keep_alive_s);
    put_text(output, id::RESPONSE_INFORMATION, properties.response_information.as_ref());
    put_text(output, id::SERVER_REFERENCE, properties.server_reference.as_ref());
    put_text(output, id::AUTHENTICATION_METHOD, properties.authentication_method.as_ref());
    put_data(output, id::AUTHENTICATION_DATA, properties.authentication_data.as_deref());
}

/// §3.8
fn subscribe(subscribe: &Subscribe, version: Version, output: &mut Vec<u8>) {
    packet(output, 0x82, |output| {
        output.extend_from_slice(&subscribe.packet_id.to_be_bytes());
        properties(output, version, |output| {
            if let Some(id) = subscribe.subscription_id {
                put_subscription_id(output, id);
            }
            put_user(output, &subscribe.user_properties);
        });
        for filter in &subscribe.filters {
            put_string(output, &filter.filter);
            let options = match version {
                Version::V5 => {
                    u8::from(filter.no_local) << 2
                        | u8::from(filter.retain_as_published) << 3
                        | (filter.retain_handling & 0b11) << 4
                }
                Version::V311 | Version::V31 => 0,
            };
            output.push(filter.qos as u8 | options);
        }
    });
}

/// §3.9. Every refusal is 0x80 in version 3.
fn suback(suback: &Codes, version: Version, output: &mut Vec<u8>) {
    packet(output, 0x90, |output| {
        output.extend_from_slice(&suback.packet_id.to_be_bytes());
        properties(output, version, |output| put_detail_properties(output, &suback.details));
        match version {
            Version::V5 => output.extend_from_slice(&suback.codes),
            Version::V311 | Version::V31 => {
                output.extend(suback.codes.iter().map(|code| (*code).min(code::UNSPECIFIED_ERROR)));
            }
        }
    });
}

/// §3.10
fn unsubscribe(unsubscribe: &Unsubscribe, version: Version, output: &mut Vec<u8>) {
    packet(output, 0xA2, |output| {
        output.extend_from_slice(&unsubscribe.packet_id.to_be_bytes());
        properties(output, version, |output| put_user(output, &unsubscribe.user_properties));
        for filter in &unsubscribe.filters {
            put_string(output, filter);
        }
    });
}

/// §3.11
fn unsuback(unsuback: &Codes, version: Version, output: &mut Vec<u8>) {
    packet(output, 0xB0, |output| {
        output.extend_from_slice(&unsuback.packet_id.to_be_bytes());
        properties(output, version, |output| put_detail_properties(output, &unsuback.details));
        if version == Version::V5 {
            output.extend_from_slice(&unsuback.codes);
        }
    });
}

/// §3.14
fn disconnect(disconnect: &Disconnect, version: Version, output: &mut Vec<u8>) {
    let is_bare = *disconnect == Disconnect { code: disconnect.code, ..Disconnect::default() };
    packet(output, 0xE0, |output| {
        if version != Version::V5 || (is_bare && disconnect.code == code::NORMAL_DISCONNECTION) {
            return;
        }
        output.push(disconnect.code);
        if is_bare {
            // §3.14.2.2.1: the property length may be left out.
            return;
        }
        put_with_length(output, |output| {
            put_u32(output, id::SESSION_EXPIRY_INTERVAL, disconnect.session_expiry_s);
            put_text(output, id::SERVER_REFERENCE, disconnect.server_reference.as_ref());
            put_detail_properties(output, &disconnect.details);
        });
    });
}

/// §3.15
fn auth(auth: &Auth, version: Version, output: &mut Vec<u8>) {
    if version != Version::V5 {
        return;
    }
    packet(output, 0xF0, |output| {
        if *auth == Auth::default() {
            return;
        }
        output.push(auth.code);
        put_with_length(output, |output| {
            put_text(output, id::AUTHENTICATION_METHOD, auth.method.as_ref());
            put_data(output, id::AUTHENTICATION_DATA, auth.data.as_deref());
            put_detail_properties(output, &auth.details);
        });
    });
}
