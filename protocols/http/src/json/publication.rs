//! A message and the fields that say it: `topic`, `payload`, `qos`, `retain`, `properties`.
//!
//! | property | field of `properties` |
//! |---|---|
//! | content type | `content_type` |
//! | payload format indicator | `payload_format`: `"utf-8"` or `"binary"` |
//! | response topic | `response_topic` |
//! | correlation data | `correlation_data`, in base64 |
//! | message expiry | `expiry_s`, what is left of it |
//! | user properties | `user`: pairs `["name", "value"]`, in order |
//! | priority | `priority` |

use super::fields::{Fields, malformed, portable, shown};
use super::writing::Writer;
use althing_core::time::SECOND_NS;
use althing_core::topic::TopicLimits;
use althing_core::verbs::{Reason, Refusal, Will};
use althing_core::{Guarantee, Message, Now, Properties, Topic};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use bytestring::ByteString;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::sync::Arc;

/// User properties of one message; MQTT's are bounded by the length of a packet.
const USER_PROPERTIES_MAX: usize = 1_024;
/// MQTT's binary data.
const CORRELATION_BYTES_MAX: usize = 65_535;

/// The message that these fields say; the payload may have come behind them.
pub(super) fn read(
    fields: &mut Fields<'_>,
    payload: Option<Bytes>,
    now: Now,
    limits: &TopicLimits,
) -> Result<Message, Refusal> {
    let (mut message, expiry_s) = read_timeless(fields, payload, limits)?;
    message.expires_ns = expiry_s.map(|expiry_s| now.after_s(expiry_s));
    Ok(message)
}

/// A will: its lifetime begins when it is published.
pub(super) fn read_will(raw: &RawValue, limits: &TopicLimits) -> Result<Box<Will>, Refusal> {
    let mut fields = Fields::of_part(raw, "will")?;
    let (message, expiry_s) = read_timeless(&mut fields, None, limits)?;
    let delay_s = fields.take("delay_s", "a number of seconds")?.unwrap_or(0);
    fields.finish()?;
    Ok(Box::new(Will { message, delay_s, expiry_s }))
}

fn read_timeless(
    fields: &mut Fields<'_>,
    behind: Option<Bytes>,
    limits: &TopicLimits,
) -> Result<(Message, Option<u32>), Refusal> {
    let topic = topic(fields, limits)?;
    let text: Option<Cow<'_, str>> = fields.take("payload", "a string; any other value is a `payload_json`")?;
    let text = text.map(|text| Bytes::from(text.into_owned()));
    let encoded = fields.base64("payload_base64")?;
    let json = fields.json("payload_json")?;
    let is_json = json.is_some();
    // Nothing behind an object that says its payload is nothing.
    let says_it = text.is_some() || encoded.is_some() || is_json;
    let behind = behind.filter(|behind| !behind.is_empty() || !says_it);
    let mut payloads = [text, encoded, json, behind].into_iter().flatten();
    let payload = payloads.next().unwrap_or_default();
    if payloads.next().is_some() {
        let text = "a message has one payload: `payload`, `payload_base64`, `payload_json`, or what follows the object";
        return Err(malformed(text));
    }
    let mut message = Message::new(topic, payload);
    message.guarantee = qos(fields)?;
    message.retain = fields.flag("retain")?;
    let properties = fields.raw("properties").map(|raw| read_properties(raw, limits)).transpose()?;
    let (mut properties, expiry_s) = properties.unwrap_or_default();
    if is_json && properties.content_type.is_none() {
        properties.content_type = Some(ByteString::from_static("application/json"));
    }
    message.properties = (!properties.is_empty()).then(|| Arc::new(properties));
    Ok((message, expiry_s))
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

/// The properties, and the lifetime among them.
fn read_properties(raw: &RawValue, limits: &TopicLimits) -> Result<(Properties, Option<u32>), Refusal> {
    let mut fields = Fields::of_part(raw, "properties")?;
    let mut properties = Properties {
        content_type: fields.text("content_type")?,
        payload_is_utf8: match fields.string("payload_format")?.as_deref() {
            None => None,
            Some("utf-8") => Some(true),
            Some("binary") => Some(false),
            Some(_) => return Err(malformed("`payload_format` is \"utf-8\" or \"binary\"")),
        },
        correlation_data: fields.base64("correlation_data")?,
        priority: fields.take("priority", "a number from 0 to 255")?,
        ..Properties::default()
    };
    if let Some(topic) = fields.string("response_topic")? {
        let topic = Topic::new((&*topic).into(), limits)
            .map_err(|error| Refusal::new(Reason::TopicNameInvalid, format!("`response_topic`: {error}")))?;
        properties.response_topic = Some(topic);
    }
    if properties.correlation_data.as_ref().is_some_and(|data| data.len() > CORRELATION_BYTES_MAX) {
        return Err(malformed(format!("`correlation_data` has more than {CORRELATION_BYTES_MAX} bytes")));
    }
    let expiry_s = fields.take("expiry_s", "a number of seconds")?;
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
    Ok((properties, expiry_s))
}

/// What a message says about itself, as far as it says anything.
pub(super) fn write(message: &Message, now: Now, object: Writer) -> Writer {
    object.maybe("properties", write_properties(message, now))
}

/// The payload: as text where it is text.
pub(super) fn write_payload(payload: &[u8], object: Writer) -> Writer {
    match std::str::from_utf8(payload) {
        Ok(text) => object.field("payload", text),
        Err(_) => object.field("payload_base64", STANDARD.encode(payload)),
    }
}

fn write_properties(message: &Message, now: Now) -> Option<Box<RawValue>> {
    // Rounded up, so that nothing expires early.
    let left_s = |expires_ns: u64| expires_ns.saturating_sub(now.mono_ns).div_ceil(SECOND_NS);
    let expiry_s = message.expires_ns.map(left_s);
    let nothing = Properties::default();
    let properties = match message.properties.as_deref() {
        None if expiry_s.is_none() => return None,
        properties => properties.unwrap_or(&nothing),
    };
    let format = |is_utf8| if is_utf8 { "utf-8" } else { "binary" };
    let user: Vec<[&str; 2]> = properties.user.iter().map(|(name, value)| [&name[..], &value[..]]).collect();
    Writer::part()
        .maybe("content_type", properties.content_type.as_deref())
        .maybe("payload_format", properties.payload_is_utf8.map(format))
        .maybe("response_topic", properties.response_topic.as_ref().map(Topic::as_str))
        .maybe("correlation_data", properties.correlation_data.as_ref().map(|data| STANDARD.encode(data)))
        .maybe("expiry_s", expiry_s)
        .maybe("priority", properties.priority)
        .maybe("user", (!user.is_empty()).then_some(user))
        .into_raw()
}
