//! A message as a JSON object: in events, in batches, in lists.
//!
//! `{"topic":"a/b","payload":"21.5","qos":1,"retain":false,"properties":{…}}`. A payload that is no UTF-8 stands in
//! `payload_base64` instead; whoever publishes may also write `payload_json`, whose text as written is the payload.

use crate::problem::Problem;
use crate::properties::{expiry_left_s, from_base64, to_base64};
use althing_core::topic::TopicLimits;
use althing_core::{Guarantee, Message, Now, Properties, Topic};
use bytes::Bytes;
use bytestring::ByteString;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::sync::Arc;

/// `message` as somebody sees it who was promised `guarantee`: an object on one line.
pub fn write(message: &Message, guarantee: Guarantee, retain: bool, now: Now) -> String {
    // Strings and numbers always have a JSON form.
    serde_json::to_string(&MessageView::new(message, guarantee, retain, now)).unwrap_or_default()
}

/// The message that an object says; `guarantee` holds where it does not say.
///
/// # Errors
/// A sentence for the client.
pub fn read(object: &RawValue, guarantee: Guarantee, now: Now, limits: &TopicLimits) -> Result<Message, Problem> {
    let json: MessageJson<'_> = serde_json::from_str(object.get())
        .map_err(|error| Problem::bad_request(format!("this is no message: {error}")))?;
    json.into_message(now, guarantee, limits)
}

/// A message on its way out.
#[derive(Debug, Serialize)]
struct MessageView<'a> {
    topic: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
    qos: u8,
    retain: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    properties: Option<PropertiesJson<'a>>,
}

impl<'a> MessageView<'a> {
    /// `message` as somebody sees it who was promised `guarantee`.
    fn new(message: &'a Message, guarantee: Guarantee, retain: bool, now: Now) -> Self {
        let payload = std::str::from_utf8(&message.payload).ok();
        Self {
            topic: message.topic.as_str(),
            payload,
            payload_base64: payload.is_none().then(|| to_base64(&message.payload)),
            qos: guarantee as u8,
            retain,
            properties: PropertiesJson::of(message, now),
        }
    }
}

/// A message on its way in.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MessageJson<'a> {
    topic: String,
    payload: Option<String>,
    payload_base64: Option<String>,
    #[serde(borrow)]
    payload_json: Option<&'a RawValue>,
    qos: Option<u8>,
    #[serde(default)]
    retain: bool,
    #[serde(borrow)]
    properties: Option<PropertiesJson<'a>>,
}

impl MessageJson<'_> {
    /// The message that is meant; `guarantee` holds where it does not say.
    ///
    /// # Errors
    /// A sentence for the client.
    fn into_message(self, now: Now, guarantee: Guarantee, limits: &TopicLimits) -> Result<Message, Problem> {
        let topic = Topic::new(self.topic.into(), limits).map_err(|error| Problem::bad_request(error.to_string()))?;
        let is_json = self.payload_json.is_some();
        let payload = match (self.payload, self.payload_base64, self.payload_json) {
            (None, None, None) => Bytes::new(),
            (Some(text), None, None) => text.into(),
            (None, Some(text), None) => {
                from_base64(&text).ok_or_else(|| Problem::bad_request("payload_base64 must be base64"))?.into()
            }
            (None, None, Some(value)) => Bytes::copy_from_slice(value.get().as_bytes()),
            _ => return Err(Problem::bad_request("write one of payload, payload_base64 and payload_json")),
        };
        let mut message = Message::new(topic, payload);
        message.guarantee = match self.qos {
            None => guarantee,
            Some(qos) => Guarantee::from_qos(qos).ok_or_else(|| Problem::bad_request("qos must be 0, 1 or 2"))?,
        };
        message.retain = self.retain;
        let written = self.properties.unwrap_or_default();
        message.expires_ns = written.expiry_s.map(|seconds| now.after_s(u32::try_from(seconds).unwrap_or(u32::MAX)));
        let mut properties = written.into_properties(limits)?;
        if is_json && properties.content_type.is_none() {
            properties.content_type = Some(ByteString::from_static("application/json"));
        }
        if properties.payload_is_utf8 == Some(true) && std::str::from_utf8(&message.payload).is_err() {
            return Err(Problem::bad_request("the payload is not the UTF-8 that payload_format says it is"));
        }
        message.properties = (!properties.is_empty()).then(|| Arc::new(properties));
        Ok(message)
    }
}

/// What a message says about itself.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PropertiesJson<'a> {
    #[serde(skip_serializing_if = "Option::is_none", borrow)]
    content_type: Option<Cow<'a, str>>,
    /// `utf-8` or `binary`.
    #[serde(skip_serializing_if = "Option::is_none", borrow)]
    payload_format: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none", borrow)]
    response_topic: Option<Cow<'a, str>>,
    /// In base64.
    #[serde(skip_serializing_if = "Option::is_none", borrow)]
    correlation_data: Option<Cow<'a, str>>,
    /// What is left of the message's time.
    #[serde(skip_serializing_if = "Option::is_none")]
    expiry_s: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<u8>,
    /// Pairs, because names may be repeated and their order holds.
    #[serde(skip_serializing_if = "Vec::is_empty", borrow)]
    user: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> PropertiesJson<'a> {
    /// What `message` says; `None` when it says nothing.
    fn of(message: &'a Message, now: Now) -> Option<Self> {
        let expiry_s = expiry_left_s(message, now);
        let Some(properties) = message.properties.as_deref() else {
            return expiry_s.map(|left_s| Self { expiry_s: Some(left_s), ..Self::default() });
        };
        Some(Self {
            content_type: properties.content_type.as_deref().map(Cow::from),
            payload_format: properties.payload_is_utf8.map(|is_utf8| if is_utf8 { "utf-8" } else { "binary" }.into()),
            response_topic: properties.response_topic.as_ref().map(|topic| topic.as_str().into()),
            correlation_data: properties.correlation_data.as_ref().map(|data| to_base64(data).into()),
            expiry_s,
            priority: properties.priority,
            user: properties.user.iter().map(|(name, value)| ((**name).into(), (**value).into())).collect(),
        })
    }

    /// The same without its expiry, as the broker knows it.
    ///
    /// # Errors
    /// A sentence for the client.
    fn into_properties(self, limits: &TopicLimits) -> Result<Properties, Problem> {
        let text = |text: Cow<'_, str>| ByteString::from(text.into_owned());
        Ok(Properties {
            content_type: self.content_type.map(text),
            payload_is_utf8: match self.payload_format.as_deref() {
                None => None,
                Some("utf-8") => Some(true),
                Some("binary") => Some(false),
                Some(_) => return Err(Problem::bad_request("payload_format must be utf-8 or binary")),
            },
            response_topic: match self.response_topic {
                None => None,
                Some(name) => Some(
                    Topic::new(text(name), limits)
                        .map_err(|error| Problem::bad_request(format!("response_topic names no topic: {error}")))?,
                ),
            },
            correlation_data: match self.correlation_data {
                None => None,
                Some(encoded) => Some(
                    from_base64(&encoded)
                        .ok_or_else(|| Problem::bad_request("correlation_data must be base64"))?
                        .into(),
                ),
            },
            priority: self.priority,
            user: self.user.into_iter().map(|(name, value)| (text(name), text(value))).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: TopicLimits = TopicLimits { length_bytes_max: 65_535, levels_max: 128 };

    fn read(text: &str) -> Result<Message, Problem> {
        let object = RawValue::from_string(text.to_owned()).unwrap();
        super::read(&object, Guarantee::AtLeastOnce, Now::default(), &LIMITS)
    }

    fn written(message: &Message) -> String {
        write(message, message.guarantee, message.retain, Now::default())
    }

    #[test]
    fn payloads_are_text_bytes_or_json() {
        assert_eq!(read(r#"{"topic":"a","payload":"21"}"#).unwrap().payload, "21");
        assert_eq!(read(r#"{"topic":"a","payload_base64":"AP8="}"#).unwrap().payload, &b"\0\xff"[..]);
        let json = read(r#"{"topic":"a","payload_json":{"t":[21.5, null]}}"#).unwrap();
        assert_eq!(json.payload, r#"{"t":[21.5, null]}"#);
        assert_eq!(json.properties.unwrap().content_type.as_deref(), Some("application/json"));
        assert!(read(r#"{"topic":"a"}"#).unwrap().payload.is_empty());
        assert!(read(r#"{"topic":"a","payload":"1","payload_json":1}"#).is_err());
    }

    #[test]
    fn a_message_is_one_line_and_says_what_it_has() {
        let message = read(r#"{"topic":"a","payload":"x\ny","qos":0,"properties":{"expiry_s":5,"user":[["n","v"]]}}"#);
        let expected = concat!(
            r#"{"topic":"a","payload":"x\ny","qos":0,"retain":false,"#,
            r#""properties":{"expiry_s":5,"user":[["n","v"]]}}"#
        );
        assert_eq!(written(&message.unwrap()), expected);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, word) in [
            (r#"{"payload":"x"}"#, "topic"),
            (r#"{"topic":"a/+"}"#, "wildcards"),
            (r#"{"topic":"a","qos":3}"#, "0, 1 or 2"),
            (r#"{"topic":"a","payload_base64":"*"}"#, "base64"),
            (r#"{"topic":"a","retained":true}"#, "retained"),
            (r#"{"topic":"a","payload_base64":"/w","properties":{"payload_format":"utf-8"}}"#, "UTF-8"),
        ] {
            let problem = read(text).unwrap_err();
            assert!(problem.detail.contains(word), "{text}: {}", problem.detail);
        }
    }

    proptest! {
        #[test]
        fn a_message_comes_back_as_it_was(
            name in "[^\\x00+#]{1,12}",
            payload in proptest::collection::vec(any::<u8>(), 0..24),
            qos in 0..3u8,
            retain: bool,
            expiry_s in proptest::option::of(0..u32::MAX),
            content_type in proptest::option::of(".{0,12}"),
            correlation in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..12)),
            user in proptest::collection::vec((".{0,8}", ".{0,8}"), 0..4),
        ) {
            let mut message = Message::new(Topic::new(name.into(), &LIMITS).unwrap(), payload.into());
            message.guarantee = Guarantee::from_qos(qos).unwrap();
            message.retain = retain;
            message.expires_ns = expiry_s.map(|seconds| Now::default().after_s(seconds));
            let properties = Properties {
                content_type: content_type.map(ByteString::from),
                correlation_data: correlation.map(Bytes::from),
                user: user.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into())).collect(),
                ..Properties::default()
            };
            message.properties = (!properties.is_empty()).then(|| Arc::new(properties));
            prop_assert_eq!(read(&written(&message)).unwrap(), message);
        }
    }
}
