//! A message and the fields that say it: `topic`, `payload`, `qos`, `retain`, `expiry_ms`, `properties`.
//!
//! | property | field of `properties` |
//! |---|---|
//! | content type | `content_type` |
//! | payload format indicator | `payload_is_utf8` |
//! | response topic | `response_topic` |
//! | correlation data | `correlation_data` where it is text, else `correlation_data_base64` |
//! | user properties | `user`: pairs `["name", "value"]`, in order |
//! | priority | `priority` |

use super::fields::{Fields, malformed, portable, shown};
use super::writing::Writer;
use althing_core::time::MILLISECOND_NS;
use althing_core::topic::TopicLimits;
use althing_core::verbs::{Reason, Refusal, Will};
use althing_core::{Guarantee, Message, Now, Properties, Topic};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::sync::Arc;

/// User properties of one message; MQTT's are bounded by the length of a packet.
const USER_PROPERTIES_MAX: usize = 1_024;
/// MQTT's binary data.
const CORRELATION_BYTES_MAX: usize = 65_535;
const MILLISECONDS_A_SECOND: u64 = 1_000;

/// The message that these fields say; the payload may have come behind them.
pub(super) fn read(
    fields: &mut Fields<'_>,
    payload: Option<Bytes>,
    now: Now,
    limits: &TopicLimits,
) -> Result<Message, Refusal> {
    let (mut message, expiry_ms) = read_timeless(fields, payload, limits)?;
    message.expires_ns = expiry_ms.map(|expiry_ms| now.after_ms(expiry_ms));
    Ok(message)
}

/// A will: its lifetime begins when it is published.
pub(super) fn read_will(raw: &RawValue, limits: &TopicLimits) -> Result<Box<Will>, Refusal> {
    let mut fields = Fields::of_part(raw, "will")?;
    let (message, expiry_ms) = read_timeless(&mut fields, None, limits)?;
    let delay_s = fields.take("delay_s", "a number of seconds")?.unwrap_or(0);
    fields.finish()?;
    let in_seconds = |ms: u64| u32::try_from(ms.div_ceil(MILLISECONDS_A_SECOND)).unwrap_or(u32::MAX);
    Ok(Box::new(Will { message, delay_s, expiry_s: expiry_ms.map(in_seconds) }))
}

fn read_timeless(
    fields: &mut Fields<'_>,
    behind: Option<Bytes>,
    limits: &TopicLimits,
) -> Result<(Message, Option<u64>), Refusal> {
    let topic = topic(fields, limits)?;
    let text = fields.text_or_json("payload")?;
    let encoded = fields.base64("payload_base64")?;
    // A text message has nothing behind its object; neither has a binary one that says its payload in it.
    let behind = behind.filter(|behind| !behind.is_empty() || (text.is_none() && encoded.is_none()));
    let mut payloads = [text, encoded, behind].into_iter().flatten();
    let payload = payloads.next().unwrap_or_default();
    if payloads.next().is_some() {
        return Err(malformed("a message has one payload: `payload`, `payload_base64`, or what follows the object"));
    }
    let mut message = Message::new(topic, payload);
    message.guarantee = qos(fields)?;
    message.retain = fields.flag("retain")?;
    let expiry_ms = fields.take("expiry_ms", "a number of milliseconds")?;
    if let Some(raw) = fields.raw("properties") {
        let properties = read_properties(raw, limits)?;
        message.properties = (!properties.is_empty()).then(|| Arc::new(properties));
    }
    Ok((message, expiry_ms))
}

/// The field `topic`.
pub(super) fn topic(fields: &mut Fields<'_>, limits: &TopicLimits) -> Result<Topic, Refusal> {
    let Some(topic) = fields.string("topic")? else {
        return Err(malformed(format!("a `{}` names its `topic`", fields.kind())));
    };
    Topic::new((&*topic).into(), limits).map_err(|error| {
        let text = format!("`{}` is no topic: {error}", shown(&topic));
        Refusal::new(Reason::TopicNameInvalid, text)
    })
}

/// The field `qos`; 0 where it is not there.
pub(super) fn qos(fields: &mut Fields<'_>) -> Result<Guarantee, Refusal> {
    const EXPECTED: &str = "0, 1 or 2";
    let Some(qos) = fields.take("qos", EXPECTED)? else { return Ok(Guarantee::AtMostOnce) };
    Guarantee::from_qos(qos).ok_or_else(|| malformed(format!("`qos` is {EXPECTED}")))
}

fn read_properties(raw: &RawValue, limits: &TopicLimits) -> Result<Properties, Refusal> {
    let mut fields = Fields::of_part(raw, "properties")?;
    let mut properties = Properties {
        content_type: fields.text("content_type")?,
        payload_is_utf8: fields.take("payload_is_utf8", "true or false")?,
        priority: fields.take("priority", "a number from 0 to 255")?,
        ..Properties::default()
    };
    if let Some(topic) = fields.string("response_topic")? {
        let topic = Topic::new((&*topic).into(), limits)
            .map_err(|error| Refusal::new(Reason::TopicNameInvalid, format!("`response_topic`: {error}")))?;
        properties.response_topic = Some(topic);
    }
    let text = fields.string("correlation_data")?.map(|text| Bytes::copy_from_slice(text.as_bytes()));
    properties.correlation_data = match (text, fields.base64("correlation_data_base64")?) {
        (Some(_), Some(_)) => return Err(malformed("`correlation_data` stands there as text and as base64")),
        (text, base64) => text.or(base64),
    };
    if properties.correlation_data.as_ref().is_some_and(|data| data.len() > CORRELATION_BYTES_MAX) {
        return Err(malformed(format!("the correlation data has more than {CORRELATION_BYTES_MAX} bytes")));
    }
    let user: Option<Vec<(Cow<'_, str>, Cow<'_, str>)>> =
        fields.take("user", "an array of pairs: [[\"name\", \"value\"]]")?;
    let user = user.unwrap_or_default();
    if user.len() > USER_PROPERTIES_MAX {
        return Err(malformed(format!("`user` has more than {USER_PROPERTIES_MAX} pairs")));
    }
    for (name, value) in &user {
        properties.user.push((portable("user", name)?, portable("user", value)?));
    }
    fields.finish()?;
    Ok(properties)
}

/// What a message says besides its topic and payload.
pub(super) fn write(message: &Message, now: Now, object: Writer) -> Writer {
    // Rounded up, so that nothing expires early.
    let left_ms = |expires_ns: u64| expires_ns.saturating_sub(now.mono_ns).div_ceil(MILLISECOND_NS);
    let properties = message.properties.as_deref().and_then(write_properties);
    object.maybe("expiry_ms", message.expires_ns.map(left_ms)).maybe("properties", properties)
}

/// The payload: as text where it is text.
pub(super) fn write_payload(payload: &[u8], object: Writer) -> Writer {
    match std::str::from_utf8(payload) {
        Ok(text) => object.field("payload", text),
        Err(_) => object.field("payload_base64", STANDARD.encode(payload)),
    }
}

fn write_properties(properties: &Properties) -> Option<Box<RawValue>> {
    let mut object = Writer::part()
        .maybe("content_type", properties.content_type.as_deref())
        .maybe("payload_is_utf8", properties.payload_is_utf8)
        .maybe("response_topic", properties.response_topic.as_ref().map(Topic::as_str));
    if let Some(data) = &properties.correlation_data {
        object = match std::str::from_utf8(data) {
            Ok(text) => object.field("correlation_data", text),
            Err(_) => object.field("correlation_data_base64", STANDARD.encode(data)),
        };
    }
    let user: Vec<[&str; 2]> = properties.user.iter().map(|(name, value)| [&name[..], &value[..]]).collect();
    object.maybe("user", (!user.is_empty()).then_some(user)).maybe("priority", properties.priority).into_raw()
}
