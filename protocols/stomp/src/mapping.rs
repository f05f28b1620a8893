//! Headers of SEND and MESSAGE, and the properties of a message.
//!
//! What a header says and a property can say travels as that property; everything else is a user property
//! and comes back as it was written. A correlation that is no text is percent-escaped.

use crate::codec::HeadWriter;
use crate::destination;
use crate::frame::Headers;
use althing_core::time::MILLISECOND_NS;
use althing_core::topic::TopicLimits;
use althing_core::{Message, Now, Properties};
use bytes::Bytes;
use bytestring::ByteString;
use std::fmt::Write;
use std::sync::Arc;

/// Headers that say something about the frame, not about the message.
const OF_THE_FRAME: [&str; 2] = ["destination", "receipt"];

/// Fills in what the headers of SEND say of a message.
pub(crate) fn read(
    headers: Headers,
    now: Now,
    limits: &TopicLimits,
    message: &mut Message,
) -> Result<(), &'static str> {
    let mut properties = Properties::default();
    for (name, value) in headers.0 {
        match &*name {
            name if OF_THE_FRAME.contains(&name) => continue,
            "content-type" if properties.content_type.is_none() => properties.content_type = Some(value),
            "correlation-id" if properties.correlation_data.is_none() => {
                properties.correlation_data = Some(correlation_from_text(value));
            }
            "expiration" if message.expires_ns.is_none() => {
                let left_ms = value.parse().map_err(|_| "expiration is a number of milliseconds")?;
                message.expires_ns = Some(now.after_ms(left_ms));
            }
            "retain" if value == "true" => message.retain = true,
            "reply-to" if properties.response_topic.is_none() => match destination::topic(&value, limits) {
                Ok(topic) => properties.response_topic = Some(topic),
                Err(_) => properties.user.push((name, value)),
            },
            "priority" if properties.priority.is_none() => match value.parse::<u8>() {
                Ok(priority) if priority.to_string() == *value => properties.priority = Some(priority),
                _ => properties.user.push((name, value)),
            },
            _ => properties.user.push((name, value)),
        }
    }
    if !properties.is_empty() {
        message.properties = Some(Arc::new(properties));
    }
    Ok(())
}

/// Writes what a message says besides its destination and body, as headers of MESSAGE.
pub(crate) fn write(message: &Message, retain: bool, now: Now, head: &mut HeadWriter<'_>) {
    if retain {
        head.header("retain", "true");
    }
    if let Some(expires_ns) = message.expires_ns {
        // Rounded up, so that nothing expires early.
        let left_ms = expires_ns.saturating_sub(now.mono_ns).div_ceil(MILLISECOND_NS);
        head.plain("expiration", format_args!("{left_ms}"));
    }
    let Some(properties) = &message.properties else { return };
    if let Some(content_type) = &properties.content_type {
        head.header("content-type", content_type);
    }
    if let Some(topic) = &properties.response_topic {
        let (prefix, name) = destination::of_topic(topic);
        head.joined("reply-to", prefix, name);
    }
    if let Some(data) = &properties.correlation_data {
        match std::str::from_utf8(data) {
            Ok(text) => head.header("correlation-id", text),
            Err(_) => head.header("correlation-id", &escaped(data)),
        }
    }
    if let Some(priority) = properties.priority {
        head.plain("priority", format_args!("{priority}"));
    }
    for (name, value) in &properties.user {
        head.header(name, value);
    }
}

/// Text stands for its bytes, except where it is what `escaped` makes of bytes that are no text.
fn correlation_from_text(text: ByteString) -> Bytes {
    match unescaped(&text) {
        Some(data) if std::str::from_utf8(&data).is_err() => data.into(),
        _ => text.into_bytes(),
    }
}

fn escaped(data: &[u8]) -> String {
    let mut text = String::with_capacity(data.len() * 3);
    for byte in data {
        if byte.is_ascii_graphic() && *byte != b'%' {
            text.push(char::from(*byte));
        } else {
            // A string takes every write.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

fn unescaped(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
    let mut data = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let plain = if byte == b'%' { digit(bytes.next())? * 16 + digit(bytes.next())? } else { u32::from(byte) };
        data.push(plain as u8);
    }
    Some(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_correlation_survives_the_way_there_and_back() {
        for data in [&b"plain"[..], b"100%", b"%41", b"", b"\xff\x00%", b"a\x80b", "\u{fc}".as_bytes()] {
            let text = std::str::from_utf8(data).map_or_else(|_| escaped(data), str::to_owned);
            assert_eq!(correlation_from_text(text.into()), data);
        }
    }
}
