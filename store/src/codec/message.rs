//! A message as fields, in bodies and in wills.

use super::wire::{Reader, put_bytes, put_varint};
use super::{Context, Malformed};
use crate::clock::Clock;
use althing_core::message::{Guarantee, Message, Origin, Properties};
use althing_core::topic::{Topic, TopicLimits};
use bytes::Bytes;
use std::sync::Arc;

const GUARANTEE: u8 = 0b11;
const RETAIN: u8 = 1 << 2;
const EXPIRES: u8 = 1 << 3;
const PROPERTIES: u8 = 1 << 4;
const ORIGIN: u8 = 1 << 5;

/// What was accepted once is accepted again, whatever the house allows today.
const ANY_TOPIC: TopicLimits = TopicLimits { length_bytes_max: usize::MAX, levels_max: usize::MAX };

/// Appends a message's fields; the payload is the rest, so that it needs no length.
pub(crate) fn put_message(out: &mut Vec<u8>, message: &Message, clock: &Clock) {
    out.push(
        message.guarantee as u8
            | flag(message.retain, RETAIN)
            | flag(message.expires_ns.is_some(), EXPIRES)
            | flag(message.properties.is_some(), PROPERTIES)
            | flag(message.origin.is_some(), ORIGIN),
    );
    put_bytes(out, message.topic.as_str().as_bytes());
    if let Some(expires_ns) = message.expires_ns {
        put_varint(out, clock.age_ms(expires_ns));
    }
    if let Some(properties) = &message.properties {
        put_properties(out, properties);
    }
    if let Some(origin) = &message.origin {
        put_origin(out, origin);
    }
    out.extend_from_slice(&message.payload);
}

/// Takes all of `reader` as one message.
pub(crate) fn read_message(mut reader: Reader<'_>, context: &Context) -> Result<Message, Malformed> {
    let flags = reader.byte()?;
    if flags & !(GUARANTEE | RETAIN | EXPIRES | PROPERTIES | ORIGIN) != 0 {
        return Err(Malformed::Value("flag of a message"));
    }
    let topic = read_topic(&mut reader)?;
    let expires_ns = match flags & EXPIRES != 0 {
        true => Some(context.clock.mono_ns(reader.varint()?)),
        false => None,
    };
    let properties = match flags & PROPERTIES != 0 {
        true => Some(Arc::new(read_properties(&mut reader)?)),
        false => None,
    };
    let origin = match flags & ORIGIN != 0 {
        true => Some(Arc::new(read_origin(&mut reader, context)?)),
        false => None,
    };
    Ok(Message {
        topic,
        payload: Bytes::copy_from_slice(reader.rest()),
        guarantee: Guarantee::from_qos(flags & GUARANTEE).ok_or(Malformed::Value("guarantee"))?,
        retain: flags & RETAIN != 0,
        expires_ns,
        properties,
        origin,
    })
}

fn read_topic(reader: &mut Reader<'_>) -> Result<Topic, Malformed> {
    Topic::new(reader.text()?.into(), &ANY_TOPIC).map_err(|_| Malformed::Value("topic"))
}

const CONTENT_TYPE: u8 = 1 << 0;
const SAYS_UTF8: u8 = 1 << 1;
const IS_UTF8: u8 = 1 << 2;
const RESPONSE_TOPIC: u8 = 1 << 3;
const CORRELATION_DATA: u8 = 1 << 4;
const PRIORITY: u8 = 1 << 5;
const PROPERTIES_ALL: u8 = 0b11_1111;

fn put_properties(out: &mut Vec<u8>, properties: &Properties) {
    out.push(
        flag(properties.content_type.is_some(), CONTENT_TYPE)
            | flag(properties.payload_is_utf8.is_some(), SAYS_UTF8)
            | flag(properties.payload_is_utf8 == Some(true), IS_UTF8)
            | flag(properties.response_topic.is_some(), RESPONSE_TOPIC)
            | flag(properties.correlation_data.is_some(), CORRELATION_DATA)
            | flag(properties.priority.is_some(), PRIORITY),
    );
    if let Some(content_type) = &properties.content_type {
        put_bytes(out, content_type.as_bytes());
    }
    if let Some(topic) = &properties.response_topic {
        put_bytes(out, topic.as_str().as_bytes());
    }
    if let Some(data) = &properties.correlation_data {
        put_bytes(out, data);
    }
    if let Some(priority) = properties.priority {
        out.push(priority);
    }
    put_varint(out, properties.user.len() as u64);
    for (name, value) in &properties.user {
        put_bytes(out, name.as_bytes());
        put_bytes(out, value.as_bytes());
    }
}

fn read_properties(reader: &mut Reader<'_>) -> Result<Properties, Malformed> {
    let flags = reader.byte()?;
    if flags & !PROPERTIES_ALL != 0 {
        return Err(Malformed::Value("flag of properties"));
    }
    let mut properties = Properties {
        payload_is_utf8: (flags & SAYS_UTF8 != 0).then_some(flags & IS_UTF8 != 0),
        ..Properties::default()
    };
    if flags & CONTENT_TYPE != 0 {
        properties.content_type = Some(reader.text()?.into());
    }
    if flags & RESPONSE_TOPIC != 0 {
        properties.response_topic = Some(read_topic(reader)?);
    }
    if flags & CORRELATION_DATA != 0 {
        properties.correlation_data = Some(Bytes::copy_from_slice(reader.bytes()?));
    }
    if flags & PRIORITY != 0 {
        properties.priority = Some(reader.byte()?);
    }
    for _ in 0..reader.varint()? {
        properties.user.push((reader.text()?.into(), reader.text()?.into()));
    }
    Ok(properties)
}

fn flag(set: bool, flag: u8) -> u8 {
    if set { flag } else { 0 }
}

const PRINCIPAL: u8 = 1 << 0;
const ADDRESS: u8 = 1 << 1;
const BY_PROOF: u8 = 1 << 2;

fn put_origin(out: &mut Vec<u8>, origin: &Origin) {
    out.push(
        flag(origin.principal.is_some(), PRINCIPAL)
            | flag(origin.address.is_some(), ADDRESS)
            | flag(origin.by_proof, BY_PROOF),
    );
    put_bytes(out, origin.protocol.as_bytes());
    put_bytes(out, origin.client.as_bytes());
    for text in [&origin.principal, &origin.address].into_iter().flatten() {
        put_bytes(out, text.as_bytes());
    }
}

fn read_origin(reader: &mut Reader<'_>, context: &Context) -> Result<Origin, Malformed> {
    let flags = reader.byte()?;
    if flags & !(PRINCIPAL | ADDRESS | BY_PROOF) != 0 {
        return Err(Malformed::Value("flag of an origin"));
    }
    Ok(Origin {
        protocol: context.protocol(reader.text()?),
        client: reader.text()?.into(),
        principal: if flags & PRINCIPAL != 0 { Some(reader.text()?.into()) } else { None },
        address: if flags & ADDRESS != 0 { Some(reader.text()?.into()) } else { None },
        by_proof: flags & BY_PROOF != 0,
    })
}
