//! A message as an object of its own: in events, in batches, in lists.

use super::fields::Fields;
use super::publication;
use super::writing::Writer;
use althing_core::topic::TopicLimits;
use althing_core::verbs::Refusal;
use althing_core::{Guarantee, Message, Now};
use serde_json::value::RawValue;

/// `message` as somebody sees it who was promised `guarantee`: an object on one line.
pub fn write(message: &Message, guarantee: Guarantee, retain: bool, now: Now) -> Vec<u8> {
    let object = Writer::part().field("topic", message.topic.as_str());
    let object = publication::write_payload(&message.payload, object);
    let object = object.field("qos", guarantee as u8).field("retain", retain);
    publication::write(message, now, object).end()
}

/// The message that an object says; `guarantee` holds where it does not say.
///
/// # Errors
/// A sentence for whoever wrote it.
pub fn read(object: &RawValue, guarantee: Guarantee, now: Now, limits: &TopicLimits) -> Result<Message, Refusal> {
    let mut fields = Fields::of_part(object, "message")?;
    let is_said = fields.has("qos");
    let mut message = publication::read(&mut fields, None, now, limits)?;
    fields.finish()?;
    if !is_said {
        message.guarantee = guarantee;
    }
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use althing_core::{Properties, Topic};
    use bytes::Bytes;
    use bytestring::ByteString;
    use proptest::prelude::*;
    use std::sync::Arc;

    const LIMITS: TopicLimits = TopicLimits { length_bytes_max: 65_535, levels_max: 128 };

    fn read(text: &str) -> Result<Message, Refusal> {
        let object = RawValue::from_string(text.to_owned()).unwrap();
        super::read(&object, Guarantee::AtLeastOnce, Now::default(), &LIMITS)
    }

    fn written(message: &Message) -> String {
        String::from_utf8(write(message, message.guarantee, message.retain, Now::default())).unwrap()
    }

    #[test]
    fn the_guarantee_is_what_is_said_or_else_what_holds() {
        assert_eq!(read(r#"{"topic":"a"}"#).unwrap().guarantee, Guarantee::AtLeastOnce);
        assert_eq!(read(r#"{"topic":"a","qos":0}"#).unwrap().guarantee, Guarantee::AtMostOnce);
        assert!(read(r#"{"topic":"a","qos":3}"#).is_err());
        assert!(read(r#"{"topic":"a","retained":true}"#).unwrap_err().text.contains("retained"));
    }

    #[test]
    fn an_object_is_one_line() {
        let message = read(r#"{"topic":"a","payload":"x\ny","qos":0}"#).unwrap();
        assert_eq!(written(&message), r#"{"topic":"a","payload":"x\ny","qos":0,"retain":false}"#);
    }

    proptest! {
        #[test]
        fn a_message_comes_back_as_it_was(
            name in "[^\\x00+#]{1,12}",
            payload in proptest::collection::vec(any::<u8>(), 0..24),
            qos in 0..3u8,
            retain: bool,
            expiry_s in proptest::option::of(0..u32::MAX),
            content_type in proptest::option::of("[^\\x00]{0,12}"),
            correlation in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..12)),
            user in proptest::collection::vec(("[^\\x00]{0,8}", "[^\\x00]{0,8}"), 0..4),
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
