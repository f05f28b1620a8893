//! A message as a tool received it, and its two JSON forms: our own (`--json`) and mosquitto's (`%j`, `%J`).

use althing_core::message::Properties;
use althing_mqtt::packet::Publish;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytestring::ByteString;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// One PUBLISH that came in.
#[derive(Clone, Debug)]
pub struct Received {
    /// The packet; its topic is filled in even when an alias stood for it.
    pub publish: Publish,
    /// When it was read.
    pub at: Timestamp,
    /// Who received it: our client identifier.
    pub client: ByteString,
    /// Where `at` is shown in local time.
    pub zone: TimeZone,
    /// The language that it was received in.
    pub protocol: &'static str,
}

impl Received {
    /// A message that `client` has read just now.
    pub fn now(publish: Publish, client: ByteString) -> Self {
        Self { publish, at: Timestamp::now(), client, zone: TimeZone::system(), protocol: "mqtt" }
    }

    /// The same message, received in another language.
    #[must_use]
    pub fn in_language(self, protocol: &'static str) -> Self {
        Self { protocol, ..self }
    }

    /// The topic's name.
    pub fn topic(&self) -> &str {
        self.publish.topic.as_ref().map_or("", |topic| topic.as_str())
    }

    /// What it says about itself.
    pub fn properties(&self) -> Option<&Properties> {
        self.publish.properties.as_deref()
    }

    /// When it was read, in local time.
    pub fn local_time(&self) -> Zoned {
        self.at.to_zoned(self.zone.clone())
    }

    /// The form of `--json`: `ts topic payload payload_b64 qos retain dup props protocol client`, always all of them.
    pub fn json(&self) -> String {
        serde_json::to_string(&OwnForm(self)).unwrap_or_default()
    }

    /// The form of mosquitto's `%j`.
    pub fn mosquitto_json(&self) -> String {
        let payload = Payload::Text(String::from_utf8_lossy(&self.publish.payload).into_owned());
        serde_json::to_string(&MosquittoForm(self, payload)).unwrap_or_default()
    }

    /// The form of mosquitto's `%J`; `None` when the payload is not JSON.
    pub fn mosquitto_json_nested(&self) -> Option<String> {
        let payload: Box<RawValue> = serde_json::from_slice(&self.publish.payload).ok()?;
        let payload = RawValue::from_string(on_one_line(payload.get())).ok()?;
        serde_json::to_string(&MosquittoForm(self, Payload::Json(payload))).ok()
    }
}

/// JSON text without the white space between its tokens, numbers and key order untouched.
fn on_one_line(json: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    let keep = |c: &char| {
        let white = !in_string && c.is_ascii_whitespace();
        in_string ^= *c == '"' && !escaped;
        escaped = in_string && *c == '\\' && !escaped;
        !white
    };
    json.chars().filter(keep).collect()
}

/// Text when the bytes are UTF-8; the other one of the two is null.
fn text_or_base64(bytes: &[u8]) -> (Option<&str>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text), None),
        Err(_) => (None, Some(STANDARD.encode(bytes))),
    }
}

struct OwnForm<'a>(&'a Received);

impl Serialize for OwnForm<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(message) = self;
        let (text, base64) = text_or_base64(&message.publish.payload);
        let mut map = serializer.serialize_map(Some(10))?;
        map.serialize_entry("ts", &format!("{:.6}", message.at))?;
        map.serialize_entry("topic", message.topic())?;
        map.serialize_entry("payload", &text)?;
        map.serialize_entry("payload_b64", &base64)?;
        map.serialize_entry("qos", &(message.publish.qos as u8))?;
        map.serialize_entry("retain", &message.publish.retain)?;
        map.serialize_entry("dup", &message.publish.dup)?;
        map.serialize_entry("props", &OwnProperties(message))?;
        map.serialize_entry("protocol", message.protocol)?;
        map.serialize_entry("client", &message.client[..])?;
        map.end()
    }
}

/// Named as `-D` names them; those that the message has not are left out.
struct OwnProperties<'a>(&'a Received);

impl Serialize for OwnProperties<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(message) = self;
        let mut map = serializer.serialize_map(None)?;
        if let Some(properties) = message.properties() {
            entry(&mut map, "payload-format-indicator", properties.payload_is_utf8.map(u8::from))?;
            entry(&mut map, "content-type", properties.content_type.as_deref())?;
            entry(&mut map, "response-topic", properties.response_topic.as_ref().map(|topic| topic.as_str()))?;
            let (text, base64) = properties.correlation_data.as_deref().map_or((None, None), text_or_base64);
            entry(&mut map, "correlation-data", text)?;
            entry(&mut map, "correlation-data-b64", base64)?;
            let pairs: Vec<[&str; 2]> = properties.user.iter().map(|(name, value)| [&name[..], &value[..]]).collect();
            entry(&mut map, "user-property", (!pairs.is_empty()).then_some(pairs))?;
        }
        entry(&mut map, "message-expiry-interval", message.publish.message_expiry_s)?;
        entry(&mut map, "topic-alias", message.publish.topic_alias)?;
        let identifiers = &message.publish.subscription_ids;
        entry(&mut map, "subscription-identifier", (!identifiers.is_empty()).then_some(identifiers))?;
        map.end()
    }
}

fn entry<M: SerializeMap>(map: &mut M, name: &str, value: Option<impl Serialize>) -> Result<(), M::Error> {
    value.map_or(Ok(()), |value| map.serialize_entry(name, &value))
}

enum Payload {
    Text(String),
    Json(Box<RawValue>),
}

struct MosquittoForm<'a>(&'a Received, Payload);

impl Serialize for MosquittoForm<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(message, payload) = self;
        let mut map = serializer.serialize_map(None)?;
        let time = message.local_time().strftime("%Y-%m-%dT%H:%M:%S.%6f%z").to_string();
        map.serialize_entry("tst", &time)?;
        map.serialize_entry("topic", message.topic())?;
        map.serialize_entry("qos", &(message.publish.qos as u8))?;
        map.serialize_entry("retain", &u8::from(message.publish.retain))?;
        map.serialize_entry("payloadlen", &message.publish.payload.len())?;
        entry(&mut map, "mid", (message.publish.packet_id != 0).then_some(message.publish.packet_id))?;
        let properties = MosquittoProperties(message);
        entry(&mut map, "properties", (!properties.is_empty()).then_some(properties))?;
        match payload {
            Payload::Text(text) => map.serialize_entry("payload", text)?,
            Payload::Json(raw) => map.serialize_entry("payload", raw)?,
        }
        map.end()
    }
}

struct MosquittoProperties<'a>(&'a Received);

impl MosquittoProperties<'_> {
    fn is_empty(&self) -> bool {
        let publish = &self.0.publish;
        publish.properties.is_none()
            && publish.topic_alias.is_none()
            && publish.message_expiry_s.is_none()
            && publish.subscription_ids.is_empty()
    }
}

impl Serialize for MosquittoProperties<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(message) = self;
        let mut map = serializer.serialize_map(None)?;
        entry(&mut map, "topic-alias", message.publish.topic_alias)?;
        entry(&mut map, "subscription-identifier", message.publish.subscription_ids.first())?;
        if let Some(properties) = message.properties() {
            let pairs = Pairs(&properties.user);
            entry(&mut map, "user-properties", (!properties.user.is_empty()).then_some(pairs))?;
            entry(&mut map, "content-type", properties.content_type.as_deref())?;
            let correlation = properties.correlation_data.as_ref().map(|data| String::from_utf8_lossy(data));
            entry(&mut map, "correlation-data", correlation)?;
            entry(&mut map, "payload-format-indicator", properties.payload_is_utf8.map(u8::from))?;
            entry(&mut map, "response-topic", properties.response_topic.as_ref().map(|topic| topic.as_str()))?;
        }
        entry(&mut map, "message-expiry-interval", message.publish.message_expiry_s)?;
        map.end()
    }
}

/// An object in which a name may stand twice, as mosquitto writes it.
struct Pairs<'a>(&'a [(ByteString, ByteString)]);

impl Serialize for Pairs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (&name[..], &value[..])))
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use althing_core::topic::TopicLimits;
    use althing_core::{Guarantee, Topic};
    use bytes::Bytes;
    use serde_json::{Value, json};
    use std::sync::Arc;

    pub fn bare(topic: &str, payload: &'static [u8]) -> Received {
        Received {
            publish: Publish {
                dup: false,
                qos: Guarantee::AtMostOnce,
                retain: false,
                topic: Some(Topic::new(topic.into(), &TopicLimits::default()).unwrap()),
                packet_id: 0,
                topic_alias: None,
                message_expiry_s: None,
                subscription_ids: Vec::new(),
                properties: None,
                payload: Bytes::from_static(payload),
            },
            at: "2026-11-22T15:43:59.811668123Z".parse().unwrap(),
            client: "me".into(),
            zone: TimeZone::fixed(jiff::tz::offset(1)),
            protocol: "mqtt",
        }
    }

    pub fn full() -> Received {
        let mut message = bare("a/b", b"hi \"x\"");
        message.publish.qos = Guarantee::ExactlyOnce;
        message.publish.retain = true;
        message.publish.dup = true;
        message.publish.packet_id = 12;
        message.publish.topic_alias = Some(3);
        message.publish.message_expiry_s = Some(60);
        message.publish.subscription_ids = vec![7, 9];
        message.publish.properties = Some(Arc::new(Properties {
            content_type: Some("text/plain".into()),
            payload_is_utf8: Some(true),
            response_topic: Some(Topic::new("r/t".into(), &TopicLimits::default()).unwrap()),
            correlation_data: Some(Bytes::from_static(b"xyz")),
            user: vec![("k".into(), "v".into()), ("k".into(), "w".into())],
            priority: None,
        }));
        message
    }

    fn parsed(text: &str) -> Value {
        assert!(!text.contains('\n'));
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_bare_message_has_all_the_keys() {
        assert_eq!(
            parsed(&bare("a/b", b"hi").json()),
            json!({"ts": "2026-11-22T15:43:59.811668Z", "topic": "a/b", "payload": "hi", "payload_b64": null, "qos": 0,
                   "retain": false, "dup": false, "props": {}, "protocol": "mqtt", "client": "me"})
        );
    }

    #[test]
    fn a_full_message_has_all_the_properties() {
        let value = parsed(&full().json());
        assert_eq!((&value["qos"], &value["retain"], &value["dup"]), (&json!(2), &json!(true), &json!(true)));
        assert_eq!(
            value["props"],
            json!({"payload-format-indicator": 1, "content-type": "text/plain", "response-topic": "r/t",
                   "correlation-data": "xyz", "user-property": [["k", "v"], ["k", "w"]],
                   "message-expiry-interval": 60, "topic-alias": 3, "subscription-identifier": [7, 9]})
        );
    }

    #[test]
    fn bytes_that_are_no_text_travel_as_base64() {
        let value = parsed(&bare("t", b"\xff\x00\xfe").json());
        assert_eq!((&value["payload"], &value["payload_b64"]), (&Value::Null, &json!("/wD+")));
    }

    #[test]
    fn mosquittos_form_keeps_duplicate_user_properties() {
        assert_eq!(
            full().mosquitto_json(),
            r#"{"tst":"2026-11-22T16:43:59.811668+0100","topic":"a/b","qos":2,"retain":1,"payloadlen":6,"mid":12,"properties":{"topic-alias":3,"subscription-identifier":7,"user-properties":{"k":"v","k":"w"},"content-type":"text/plain","correlation-data":"xyz","payload-format-indicator":1,"response-topic":"r/t","message-expiry-interval":60},"payload":"hi \"x\""}"#
        );
    }

    #[test]
    fn a_nested_payload_must_be_json_and_stays_on_one_line() {
        let message = bare("t", b"{\"b\": 1.50,\n \"a\": \"x \\\" \\\\\" }");
        let text = message.mosquitto_json_nested().unwrap();
        assert!(text.ends_with(r#""payload":{"b":1.50,"a":"x \" \\"}}"#), "{text}");
        assert_eq!(bare("t", b"hi").mosquitto_json_nested(), None);
    }

    #[test]
    fn white_space_in_strings_stays() {
        assert_eq!(on_one_line(r#"[ "a b" , "\\" , " \" " ]"#), r#"["a b","\\"," \" "]"#);
    }
}
