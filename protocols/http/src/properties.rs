//! Headers and the properties of a message: the table of `docs/protocols/http.md`, both ways.
//!
//! What a header says and a property can say travels as that property. Some headers that mean something end to end
//! (W3C Trace Context, CloudEvents, Content-Encoding) travel as user properties, so that other languages see them, and
//! come back as the headers that they were. Text that a header cannot hold is percent-encoded, and decoded once.

use crate::path::percent_decoded;
use crate::problem::Problem;
use althing_core::time::SECOND_NS;
use althing_core::topic::TopicLimits;
use althing_core::{Message, Now, Properties, Topic};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytestring::ByteString;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use std::borrow::Cow;

/// How long the message is worth delivering, in seconds; in a response what is left of it.
pub const EXPIRY: HeaderName = HeaderName::from_static("althing-expiry");
/// The guarantee: 0, 1 or 2.
pub const QOS: HeaderName = HeaderName::from_static("althing-qos");
/// `name=value`, one a header line, in order, as often as wanted.
pub const USER_PROPERTY: HeaderName = HeaderName::from_static("althing-user-property");
/// Where an answer is wanted.
pub const RESPONSE_TOPIC: HeaderName = HeaderName::from_static("althing-response-topic");
/// What the answer carries back, in base64.
pub const CORRELATION_DATA: HeaderName = HeaderName::from_static("althing-correlation-data");
/// 0 (lowest) to 255.
pub const PRIORITY: HeaderName = HeaderName::from_static("althing-priority");
/// `utf-8` or `binary`: whether the payload says that it is text.
pub const PAYLOAD_FORMAT: HeaderName = HeaderName::from_static("althing-payload-format");
/// A content type that is no value of a header as it is.
pub const CONTENT_TYPE_ENCODED: HeaderName = HeaderName::from_static("althing-content-type");

/// Headers that are user properties of the same name, and the other way round.
const PASSED_ON: [&str; 4] = ["content-encoding", "traceparent", "tracestate", "baggage"];

/// CloudEvents in binary mode: attributes are `ce-` headers here (HTTP binding §3.1.3) and user properties without
/// prefix there (MQTT binding §3.1.3). Every event has this attribute.
const CLOUD_EVENT: &str = "specversion";

/// What curl's `-d` says of everything. It would mislead whoever reads it.
const FORM: &str = "application/x-www-form-urlencoded";

/// Base64 with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a header value cannot hold as text: everything but visible ASCII and the space, and the percent sign itself.
const VALUE: &AsciiSet = &CONTROLS.add(b'%');
/// In a name, also what ends it.
const NAME: &AsciiSet = &VALUE.add(b'=').add(b' ');

/// What the headers of a request say of its message.
///
/// # Errors
/// A sentence for the client.
pub fn read(headers: &HeaderMap, limits: &TopicLimits) -> Result<Properties, Problem> {
    let mut properties = Properties {
        content_type: read_content_type(headers)?,
        payload_is_utf8: match text(headers, &PAYLOAD_FORMAT)? {
            None => None,
            Some("utf-8") => Some(true),
            Some("binary") => Some(false),
            Some(_) => return Err(wrong(&PAYLOAD_FORMAT, "utf-8 or binary")),
        },
        response_topic: match text(headers, &RESPONSE_TOPIC)? {
            None => None,
            Some(encoded) => Some(
                Topic::new(percent_decoded(encoded)?.into(), limits)
                    .map_err(|error| Problem::bad_request(format!("{RESPONSE_TOPIC} names no topic: {error}")))?,
            ),
        },
        correlation_data: match text(headers, &CORRELATION_DATA)? {
            None => None,
            Some(encoded) => Some(from_base64(encoded).ok_or_else(|| wrong(&CORRELATION_DATA, "base64"))?.into()),
        },
        priority: match text(headers, &PRIORITY)? {
            None => None,
            Some(number) => Some(number.parse().map_err(|_| wrong(&PRIORITY, "a number from 0 to 255"))?),
        },
        user: Vec::new(),
    };
    let is_event = headers.contains_key("ce-specversion");
    for (name, value) in headers {
        let name = name.as_str();
        if name == USER_PROPERTY.as_str() {
            properties.user.push(user_property(value)?);
        } else if PASSED_ON.contains(&name) {
            properties.user.push((name.into(), visible(name, value)?.into()));
        } else if let Some(attribute) = name.strip_prefix("ce-") {
            let name = if is_event { attribute } else { name };
            properties.user.push((name.into(), percent_decoded(visible(name, value)?)?.into()));
        }
    }
    Ok(properties)
}

/// Writes what `message` says besides topic and payload.
pub fn write(message: &Message, now: Now, headers: &mut HeaderMap) {
    headers.insert(QOS, HeaderValue::from(message.guarantee as u16));
    if let Some(left_s) = expiry_left_s(message, now) {
        headers.insert(EXPIRY, HeaderValue::from(left_s));
    }
    let nothing = Properties::default();
    let properties = message.properties.as_deref().unwrap_or(&nothing);
    write_content_type(message, properties, headers);
    if let Some(is_utf8) = properties.payload_is_utf8 {
        headers.insert(PAYLOAD_FORMAT, HeaderValue::from_static(if is_utf8 { "utf-8" } else { "binary" }));
    }
    if let Some(topic) = &properties.response_topic {
        headers.insert(RESPONSE_TOPIC, encoded(topic.as_str(), VALUE));
    }
    if let Some(data) = &properties.correlation_data {
        headers.insert(CORRELATION_DATA, encoded(&STANDARD.encode(data), VALUE));
    }
    if let Some(priority) = properties.priority {
        headers.insert(PRIORITY, HeaderValue::from(u16::from(priority)));
    }
    let is_event = properties.user.iter().any(|(name, _)| *name == CLOUD_EVENT);
    for (name, value) in &properties.user {
        if PASSED_ON.contains(&&**name)
            && !headers.contains_key(&**name)
            && let Some(value) = as_it_is(value)
            && let Ok(name) = HeaderName::from_bytes(name.as_bytes())
        {
            headers.insert(name, value);
        } else if let Some(name) = cloud_event_header(name, is_event).filter(|name| !headers.contains_key(name)) {
            headers.insert(name, encoded(value, CLOUD_EVENT_VALUE));
        } else {
            let pair = format!("{}={}", utf8_percent_encode(name, NAME), utf8_percent_encode(value, VALUE));
            headers.append(USER_PROPERTY, encoded_already(pair));
        }
    }
}

/// Seconds that are left of the message's time, rounded up, so that nothing expires early.
fn expiry_left_s(message: &Message, now: Now) -> Option<u64> {
    message.expires_ns.map(|expires_ns| expires_ns.saturating_sub(now.mono_ns).div_ceil(SECOND_NS))
}

/// Base64 as bytes.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text).ok()
}

/// Bytes as base64.
pub(crate) fn to_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The one value of a header that may not be repeated.
///
/// # Errors
/// When it is repeated or holds more than visible ASCII.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::bad_request(format!("{name} must come once")));
    }
    visible(name.as_str(), value).map(|text| Some(text.trim()))
}

fn visible<'a>(name: &str, value: &'a HeaderValue) -> Result<&'a str, Problem> {
    value.to_str().map_err(|_| Problem::bad_request(format!("{name} must be visible ASCII; percent-encode the rest")))
}

fn wrong(name: &HeaderName, right: &str) -> Problem {
    Problem::bad_request(format!("{name} must be {right}"))
}

fn read_content_type(headers: &HeaderMap) -> Result<Option<ByteString>, Problem> {
    if let Some(encoded) = text(headers, &CONTENT_TYPE_ENCODED)? {
        return Ok(Some(percent_decoded(encoded)?.into()));
    }
    Ok(text(headers, &CONTENT_TYPE)?.filter(|it| !it.is_empty() && *it != FORM).map(ByteString::from))
}

/// A payload that does not say what it is gets a type from what can be seen: text or not.
fn write_content_type(message: &Message, properties: &Properties, headers: &mut HeaderMap) {
    let value = match &properties.content_type {
        Some(said) => as_it_is(said).ok_or_else(|| encoded(said, VALUE)),
        None if std::str::from_utf8(&message.payload).is_ok() => {
            Ok(HeaderValue::from_static("text/plain;charset=utf-8"))
        }
        None => Ok(HeaderValue::from_static("application/octet-stream")),
    };
    match value {
        Ok(value) => headers.insert(CONTENT_TYPE, value),
        Err(encoded) => headers.insert(CONTENT_TYPE_ENCODED, encoded),
    };
}

fn user_property(value: &HeaderValue) -> Result<(ByteString, ByteString), Problem> {
    let pair = visible(USER_PROPERTY.as_str(), value)?;
    let (name, value) = pair
        .split_once('=')
        .ok_or_else(|| wrong(&USER_PROPERTY, "name=value, one a header line, both percent-encoded"))?;
    Ok((percent_decoded(name)?.into(), percent_decoded(value)?.into()))
}

/// The `ce-` header of a user property: of an attribute's name where the message is an event, or one that has the prefix.
fn cloud_event_header(name: &str, is_event: bool) -> Option<HeaderName> {
    let is_attribute =
        |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let header: Cow<'_, str> = match name.strip_prefix("ce-") {
        Some(attribute) if !is_event && is_attribute(attribute) => name.into(),
        None if is_event && is_attribute(name) => format!("ce-{name}").into(),
        _ => return None,
    };
    HeaderName::from_bytes(header.as_bytes()).ok()
}

/// CloudEvents HTTP binding §3.1.3.2.
const CLOUD_EVENT_VALUE: &AsciiSet = &VALUE.add(b' ').add(b'"');

/// Text that a header can hold as it is.
fn as_it_is(text: &str) -> Option<HeaderValue> {
    let is_visible = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    HeaderValue::from_str(text).ok().filter(|_| is_visible && text.trim_matches(' ').len() == text.len())
}

fn encoded(text: &str, set: &'static AsciiSet) -> HeaderValue {
    // A header value loses the blanks at its ends.
    let inner = text.trim_matches(' ');
    let Some(start) = text.find(inner).filter(|_| inner.len() != text.len()) else {
        return encoded_already(utf8_percent_encode(text, set).to_string());
    };
    let blanks = |count| "%20".repeat(count);
    let end = text.len() - inner.len() - start;
    encoded_already(format!("{}{}{}", blanks(start), utf8_percent_encode(inner, set), blanks(end)))
}

/// Percent-encoding has left visible ASCII and blanks.
fn encoded_already(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;
    use std::sync::Arc;

    const LIMITS: TopicLimits = TopicLimits { length_bytes_max: 65_535, levels_max: 128 };

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        lines.iter().map(pair).fold(HeaderMap::new(), |mut headers, (name, value)| {
            headers.append(name, value);
            headers
        })
    }

    fn said(lines: &[(&'static str, &'static str)]) -> Properties {
        read(&headers(lines), &LIMITS).unwrap()
    }

    fn message(properties: Properties) -> Message {
        let mut message = Message::new(Topic::new("a".into(), &LIMITS).unwrap(), Bytes::from_static(b"x"));
        message.properties = Some(Arc::new(properties));
        message
    }

    fn again(properties: Properties) -> Properties {
        let mut headers = HeaderMap::new();
        write(&message(properties), Now::default(), &mut headers);
        read(&headers, &LIMITS).unwrap()
    }

    fn pairs(user: &[(&str, &str)]) -> Vec<(ByteString, ByteString)> {
        user.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    #[test]
    fn each_header_is_its_property() {
        let properties = said(&[
            ("content-type", "application/json"),
            ("althing-payload-format", "utf-8"),
            ("althing-response-topic", "reply/%C3%BC"),
            ("althing-correlation-data", "AP8"),
            ("althing-priority", "7"),
            ("althing-user-property", "b=1"),
            ("althing-user-property", "a%3D=%20=x "),
            ("althing-user-property", "b=2"),
        ]);
        assert_eq!(properties.content_type.as_deref(), Some("application/json"));
        assert_eq!(properties.payload_is_utf8, Some(true));
        assert_eq!(properties.response_topic.unwrap().as_str(), "reply/ü");
        assert_eq!(properties.correlation_data.as_deref(), Some(&b"\0\xff"[..]));
        assert_eq!(properties.priority, Some(7));
        assert_eq!(properties.user, pairs(&[("b", "1"), ("a=", " =x "), ("b", "2")]));
    }

    #[test]
    fn the_type_that_curl_says_of_everything_says_nothing() {
        assert!(said(&[("content-type", "application/x-www-form-urlencoded")]).is_empty());
    }

    #[test]
    fn what_is_not_meant_for_the_message_stays_out_of_it() {
        assert!(
            said(&[("user-agent", "curl"), ("authorization", "Basic eDp5"), ("cookie", "a=b"), ("x-y", "z")])
                .is_empty()
        );
    }

    #[test]
    fn trace_context_and_encoding_pass() {
        let lines = [("traceparent", "00-1-2-01"), ("tracestate", "a=1"), ("content-encoding", "gzip")];
        let properties = said(&lines);
        assert_eq!(properties.user, pairs(&lines));
        let mut written = HeaderMap::new();
        write(&message(properties), Now::default(), &mut written);
        assert_eq!(written["traceparent"], "00-1-2-01");
        assert_eq!(written["content-encoding"], "gzip");
        assert!(!written.contains_key(USER_PROPERTY));
    }

    #[test]
    fn an_event_has_the_attributes_that_other_bindings_know() {
        let event = said(&[("ce-specversion", "1.0"), ("ce-id", "a%20b"), ("ce-type", "x.y")]);
        assert_eq!(event.user, pairs(&[("specversion", "1.0"), ("id", "a b"), ("type", "x.y")]));
        let mut written = HeaderMap::new();
        write(&message(event), Now::default(), &mut written);
        assert_eq!((&written["ce-id"], &written["ce-type"]), (&"a%20b".parse().unwrap(), &"x.y".parse().unwrap()));
        // Without the attribute that every event has it is none.
        assert_eq!(said(&[("ce-id", "1")]).user, pairs(&[("ce-id", "1")]));
    }

    #[test]
    fn wrong_headers_are_refused_in_words() {
        for (name, value, word) in [
            ("althing-priority", "256", "0 to 255"),
            ("althing-priority", "high", "0 to 255"),
            ("althing-correlation-data", "*", "base64"),
            ("althing-payload-format", "text", "utf-8 or binary"),
            ("althing-response-topic", "a/+", "wildcards"),
            ("althing-user-property", "a", "name=value"),
            ("althing-user-property", "a=%f", "hexadecimal"),
        ] {
            let problem = read(&headers(&[(name, value)]), &LIMITS).unwrap_err();
            assert!(problem.detail.contains(word), "{name}: {value}: {}", problem.detail);
        }
        let twice = headers(&[("althing-priority", "1"), ("althing-priority", "2")]);
        assert!(read(&twice, &LIMITS).unwrap_err().detail.contains("once"));
    }

    #[test]
    fn what_is_left_of_the_time_is_rounded_up() {
        let mut message = message(Properties::default());
        message.expires_ns = Some(10 * SECOND_NS + 1);
        let mut headers = HeaderMap::new();
        write(&message, Now::default(), &mut headers);
        assert_eq!(headers[EXPIRY], "11");
    }

    #[test]
    fn a_payload_that_does_not_say_what_it_is_gets_a_harmless_type() {
        for (payload, expected) in [(&b"21.5"[..], "text/plain;charset=utf-8"), (b"\xff", "application/octet-stream")] {
            let mut message = message(Properties::default());
            message.payload = Bytes::from_static(payload);
            let mut headers = HeaderMap::new();
            write(&message, Now::default(), &mut headers);
            assert_eq!(headers[CONTENT_TYPE], expected);
        }
    }

    proptest! {
        #[test]
        fn whatever_other_languages_say_comes_through(
            content_type in proptest::option::of("[^\\x00]{1,12}"),
            payload_is_utf8 in proptest::option::of(any::<bool>()),
            response_topic in proptest::option::of("[^\\x00+#]{1,12}"),
            correlation in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..12)),
            priority in proptest::option::of(any::<u8>()),
            user in proptest::collection::vec((".{0,8}", ".{0,8}"), 0..4),
        ) {
            // Blanks at the ends of a content type are no part of it, and curl's is not told.
            let content_type = content_type.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
            let properties = Properties {
                content_type: content_type.clone().map(ByteString::from).or(Some("text/plain;charset=utf-8".into())),
                payload_is_utf8,
                response_topic: response_topic.map(|name| Topic::new(name.into(), &LIMITS).unwrap()),
                correlation_data: correlation.map(Bytes::from),
                priority,
                user: user.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into())).collect(),
            };
            prop_assert_eq!(again(properties.clone()), properties);
        }
    }
}
