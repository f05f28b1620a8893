//! The reader: each packet by its chapter. The fixed header, CONNECT and CONNACK are next door.

use super::header::{FixedHeader, Type, publish_flags};
use super::primitives::{Reader, nonzero_packet_id};
use super::properties::{NOT_ALLOWED_HERE, id, read_block, take_message_property, topic_error};
use super::{Context, DecodeError, Side, codes, connect};
use crate::packet::{
    Acknowledgement, Auth, Codes, Details, Disconnect, Packet, Publish, Subscribe, SubscribeFilter, Unsubscribe,
    Version,
};
use crate::reason::code;
use althing_core::message::Properties;
use althing_core::topic::TopicLimits;
use althing_core::{Guarantee, Topic};
use bytes::{Buf, Bytes, BytesMut};
use bytestring::ByteString;
use std::sync::Arc;

/// Takes one packet from the front of `input`; `Ok(None)` when it holds no complete one (nothing is taken then).
/// Topics and payloads are slices of `input`'s memory. Errors are found as early as the bytes allow: a
/// forbidden type, reserved flag or length is refused before the body has arrived.
///
/// An incomplete packet costs the look at its fixed header, however large it is and however often it is asked
/// for. A CONNECT is copied out, since it is kept for the session, and stays in `input` when it is refused
/// (see [`refusal_version`](super::refusal_version)); after any other error `input` is of no further use.
///
/// What the connection's state decides is left to the receiver: whether a topic alias is known, an identifier in use, a
/// client identifier acceptable, a filter one.
pub fn decode(context: &Context, input: &mut BytesMut) -> Result<Option<Packet>, DecodeError> {
    let Some(header) = FixedHeader::read(context, input)? else { return Ok(None) };
    let size = header.size + header.remaining;
    if input.len() < size {
        return Ok(None);
    }
    let body = &input[header.size..size];
    let packet = match (header.packet_type, context.version) {
        (Type::Connect, _) | (_, None) => {
            Packet::Connect(Box::new(connect::connect(context, header.overlong, Bytes::copy_from_slice(body))?))
        }
        (Type::PingReq, _) => Packet::PingReq,
        (Type::PingResp, _) => Packet::PingResp,
        (Type::PubAck | Type::PubRec | Type::PubRel | Type::PubComp, _) if body.len() == 2 => {
            let packet_id = nonzero_packet_id(u16::from_be_bytes([body[0], body[1]]))?;
            acknowledgement(header.packet_type, Acknowledgement { packet_id, code: code::SUCCESS, details: None })
        }
        (_, Some(version)) => {
            input.advance(header.size);
            let body = input.split_to(header.remaining).freeze();
            return Body { context, version, flags: header.flags, reader: Reader::new(body) }
                .decode(header.packet_type)
                .map(Some);
        }
    };
    input.advance(size);
    Ok(Some(packet))
}

/// A topic name within the limits of the house.
pub(crate) fn topic_name(reader: &mut Reader, limits: &TopicLimits) -> Result<Topic, DecodeError> {
    Topic::new(reader.topic_text()?, limits).map_err(topic_error)
}

fn acknowledgement(packet_type: Type, acknowledgement: Acknowledgement) -> Packet {
    match packet_type {
        Type::PubAck => Packet::PubAck(acknowledgement),
        Type::PubRec => Packet::PubRec(acknowledgement),
        Type::PubRel => Packet::PubRel(acknowledgement),
        _ => Packet::PubComp(acknowledgement),
    }
}

const WRONG_REASON_CODE: DecodeError = DecodeError::protocol("the reason code is not one of this packet");

/// What follows the fixed header of one packet, all of it.
struct Body<'a> {
    context: &'a Context,
    version: Version,
    flags: u8,
    reader: Reader,
}

impl Body<'_> {
    fn decode(self, packet_type: Type) -> Result<Packet, DecodeError> {
        Ok(match packet_type {
            Type::Publish => Packet::Publish(self.publish()?),
            Type::PubAck | Type::PubRec | Type::PubRel | Type::PubComp => {
                acknowledgement(packet_type, self.acknowledgement(packet_type)?)
            }
            Type::ConnAck => Packet::ConnAck(Box::new(connect::connack(self.version, self.reader)?)),
            Type::Subscribe => Packet::Subscribe(Box::new(self.subscribe()?)),
            Type::SubAck => Packet::SubAck(Box::new(self.suback()?)),
            Type::Unsubscribe => Packet::Unsubscribe(Box::new(self.unsubscribe()?)),
            Type::UnsubAck => Packet::UnsubAck(Box::new(self.unsuback()?)),
            Type::Disconnect => Packet::Disconnect(Box::new(self.disconnect()?)),
            Type::Auth => Packet::Auth(Box::new(self.auth()?)),
            Type::PingReq => Packet::PingReq,
            Type::PingResp => Packet::PingResp,
            Type::Connect => return Err(DecodeError::protocol("CONNECT may be sent only once")),
        })
    }

    fn is_v5(&self) -> bool {
        self.version == Version::V5
    }

    /// §3.3
    fn publish(mut self) -> Result<Publish, DecodeError> {
        let (dup, qos) = publish_flags(self.flags, Some(self.version))?;
        let text = self.reader.topic_text()?;
        let topic = if text.is_empty() && self.is_v5() {
            None
        } else {
            Some(Topic::new(text, &self.context.topic).map_err(topic_error)?)
        };
        let packet_id = if qos == Guarantee::AtMostOnce { 0 } else { self.reader.packet_id()? };
        let mut publish = Publish {
            dup,
            qos,
            retain: self.flags & 1 != 0,
            topic,
            packet_id,
            topic_alias: None,
            message_expiry_s: None,
            subscription_ids: Vec::new(),
            properties: None,
            payload: Bytes::new(),
        };
        if self.is_v5() {
            self.publish_properties(&mut publish)?;
        }
        if publish.topic.is_none() && publish.topic_alias.is_none() {
            // §3.3.2.1
            return Err(DecodeError::protocol("a PUBLISH needs a topic name or a topic alias"));
        }
        publish.payload = self.reader.rest();
        Ok(publish)
    }

    /// §3.3.2.3
    fn publish_properties(&mut self, publish: &mut Publish) -> Result<(), DecodeError> {
        let mut properties: Option<Properties> = None;
        let Context { side, topic: limits, .. } = self.context;
        read_block(&mut self.reader, |id, reader| {
            match id {
                id::MESSAGE_EXPIRY_INTERVAL => publish.message_expiry_s = Some(reader.u32()?),
                id::TOPIC_ALIAS => publish.topic_alias = Some(reader.u16()?),
                // [MQTT-3.3.4-6]
                id::SUBSCRIPTION_IDENTIFIER if *side == Side::Server => {
                    return Err(DecodeError::protocol("a client must not send a Subscription Identifier in PUBLISH"));
                }
                id::SUBSCRIPTION_IDENTIFIER => publish.subscription_ids.push(reader.subscription_id()?),
                _ => take_message_property(id, reader, limits, properties.get_or_insert_default())?,
            }
            Ok(())
        })?;
        publish.properties = properties.map(Arc::new);
        Ok(())
    }

    /// §3.4 to §3.7, when there is more than the packet identifier.
    fn acknowledgement(mut self, packet_type: Type) -> Result<Acknowledgement, DecodeError> {
        let packet_id = self.reader.packet_id()?;
        let code = self.reader.u8()?;
        check_codes(self.context, self.version, packet_type, &[code])?;
        // §3.4.2.2.1: without a property length there are no properties.
        let details = if self.reader.is_empty() { Details::default() } else { details(&mut self.reader)? };
        self.reader.finish()?;
        let details = (details != Details::default()).then(|| Box::new(details));
        Ok(Acknowledgement { packet_id, code, details })
    }

    /// §3.8
    fn subscribe(mut self) -> Result<Subscribe, DecodeError> {
        let packet_id = self.reader.packet_id()?;
        let mut subscription_id = None;
        let mut user_properties = Vec::new();
        if self.is_v5() {
            read_block(&mut self.reader, |id, reader| {
                match id {
                    id::SUBSCRIPTION_IDENTIFIER if subscription_id.is_some() => {
                        return Err(DecodeError::protocol("SUBSCRIBE has two Subscription Identifiers"));
                    }
                    id::SUBSCRIPTION_IDENTIFIER => subscription_id = Some(reader.subscription_id()?),
                    id::USER_PROPERTY => user_properties.push(reader.string_pair()?),
                    _ => return Err(NOT_ALLOWED_HERE),
                }
                Ok(())
            })?;
        }
        let mut filters = Vec::new();
        while !self.reader.is_empty() {
            filters.push(self.subscribe_filter()?);
        }
        if filters.is_empty() {
            // [MQTT-3.8.3-2]
            return Err(DecodeError::protocol("SUBSCRIBE needs at least one topic filter"));
        }
        Ok(Subscribe { packet_id, subscription_id, user_properties, filters })
    }

    /// §3.8.3
    fn subscribe_filter(&mut self) -> Result<SubscribeFilter, DecodeError> {
        let filter = self.reader.string()?;
        let options = self.reader.u8()?;
        subscription_options(filter, options, self.version)
    }

    /// §3.9
    fn suback(mut self) -> Result<Codes, DecodeError> {
        let packet_id = self.reader.packet_id()?;
        let details = if self.is_v5() { details(&mut self.reader)? } else { Details::default() };
        let codes = self.reader.rest().to_vec();
        check_codes(self.context, self.version, Type::SubAck, &codes)?;
        Ok(Codes { packet_id, codes, details })
    }

    /// §3.10
    fn unsubscribe(mut self) -> Result<Unsubscribe, DecodeError> {
        let packet_id = self.reader.packet_id()?;
        let mut user_properties = Vec::new();
        if self.is_v5() {
            read_block(&mut self.reader, |id, reader| {
                match id {
                    id::USER_PROPERTY => user_properties.push(reader.string_pair()?),
                    _ => return Err(NOT_ALLOWED_HERE),
                }
                Ok(())
            })?;
        }
        let mut filters = Vec::new();
        while !self.reader.is_empty() {
            filters.push(self.reader.string()?);
        }
        if filters.is_empty() {
            // [MQTT-3.10.3-2]
            return Err(DecodeError::protocol("UNSUBSCRIBE needs at least one topic filter"));
        }
        Ok(Unsubscribe { packet_id, user_properties, filters })
    }

    /// §3.11
    fn unsuback(mut self) -> Result<Codes, DecodeError> {
        let packet_id = self.reader.packet_id()?;
        if !self.is_v5() {
            self.reader.finish()?;
            return Ok(Codes { packet_id, codes: Vec::new(), details: Details::default() });
        }
        let details = details(&mut self.reader)?;
        let codes = self.reader.rest().to_vec();
        check_codes(self.context, self.version, Type::UnsubAck, &codes)?;
        Ok(Codes { packet_id, codes, details })
    }

    /// §3.14
    fn disconnect(mut self) -> Result<Disconnect, DecodeError> {
        let mut disconnect = Disconnect::default();
        if self.reader.is_empty() {
            return Ok(disconnect);
        }
        disconnect.code = self.reader.u8()?;
        let side = self.context.side;
        check_codes(self.context, self.version, Type::Disconnect, &[disconnect.code])?;
        if !self.reader.is_empty() {
            read_block(&mut self.reader, |id, reader| {
                match id {
                    // [MQTT-3.14.2-2]
                    id::SESSION_EXPIRY_INTERVAL if side == Side::Client => {
                        return Err(DecodeError::protocol("a server must not send a Session Expiry Interval"));
                    }
                    id::SESSION_EXPIRY_INTERVAL => disconnect.session_expiry_s = Some(reader.u32()?),
                    id::SERVER_REFERENCE => disconnect.server_reference = Some(reader.string()?),
                    _ => take_detail(id, reader, &mut disconnect.details)?,
                }
                Ok(())
            })?;
        }
        self.reader.finish()?;
        Ok(disconnect)
    }

    /// §3.15
    fn auth(mut self) -> Result<Auth, DecodeError> {
        let mut auth = Auth::default();
        let is_short = self.reader.is_empty();
        if !is_short {
            auth.code = self.reader.u8()?;
        }
        check_codes(self.context, self.version, Type::Auth, &[auth.code])?;
        if is_short {
            // §3.15.2.1: success without properties.
            return Ok(auth);
        }
        read_block(&mut self.reader, |id, reader| {
            match id {
                id::AUTHENTICATION_METHOD => auth.method = Some(reader.string()?),
                id::AUTHENTICATION_DATA => auth.data = Some(reader.binary()?),
                _ => take_detail(id, reader, &mut auth.details)?,
            }
            Ok(())
        })?;
        self.reader.finish()?;
        if auth.method.is_none() {
            // §3.15.2.2.2
            return Err(DecodeError::protocol("AUTH needs an Authentication Method"));
        }
        Ok(auth)
    }
}

/// The Subscription Options of a Topic Filter (§3.8.3.1), which are the requested QoS alone in version 3.
pub(crate) fn subscription_options(
    filter: ByteString,
    options: u8,
    version: Version,
) -> Result<SubscribeFilter, DecodeError> {
    let reserved = match version {
        Version::V5 => 0b1100_0000,
        Version::V311 => 0b1111_1100,
        // MQTT 3.1 §3.8 does not use the upper bits.
        Version::V31 => 0,
    };
    if options & reserved != 0 {
        // [MQTT-3.8.3-5]; MQTT 3.1.1 [MQTT-3-8.3-4]
        return Err(DecodeError::malformed("reserved bits of the Subscription Options are set"));
    }
    let is_v5 = version == Version::V5;
    let Some(qos) = Guarantee::from_qos(options & 0b11) else {
        let text = "the requested QoS must be 0, 1 or 2";
        return Err(if is_v5 { DecodeError::protocol(text) } else { DecodeError::malformed(text) });
    };
    let options = if is_v5 { options } else { 0 };
    let no_local = options & 0b100 != 0;
    if no_local && filter.starts_with("$share/") {
        // [MQTT-3.8.3-4]
        return Err(DecodeError::protocol("No Local must be 0 on a Shared Subscription"));
    }
    let retain_handling = options >> 4 & 0b11;
    if retain_handling == 3 {
        return Err(DecodeError::protocol("Retain Handling must be 0, 1 or 2"));
    }
    Ok(SubscribeFilter { filter, qos, no_local, retain_as_published: options & 0b1000 != 0, retain_handling })
}

fn check_codes(context: &Context, version: Version, packet_type: Type, codes: &[u8]) -> Result<(), DecodeError> {
    if codes.is_empty() {
        // §3.9.3, §3.11.3: one for each filter, of which there is at least one.
        return Err(DecodeError::protocol("the packet has no reason code"));
    }
    let is_allowed = |code: &u8| codes::is_allowed(packet_type, version, context.side, *code);
    if codes.iter().all(is_allowed) { Ok(()) } else { Err(WRONG_REASON_CODE) }
}

/// A block that holds Reason String and User Property only.
fn details(reader: &mut Reader) -> Result<Details, DecodeError> {
    let mut details = Details::default();
    read_block(reader, |id, reader| take_detail(id, reader, &mut details))?;
    Ok(details)
}

fn take_detail(id: u8, reader: &mut Reader, details: &mut Details) -> Result<(), DecodeError> {
    match id {
        id::REASON_STRING => details.reason_string = Some(reader.string()?),
        id::USER_PROPERTY => details.user_properties.push(reader.string_pair()?),
        _ => return Err(NOT_ALLOWED_HERE),
    }
    Ok(())
}
