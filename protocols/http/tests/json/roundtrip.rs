use crate::hall::Hall;
use althing_core::topic::TopicLimits;
use althing_core::{Guarantee, Message, Properties, Topic};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::Arc;

proptest! {
    /// What any publisher says of a message is said to a peer, and what that peer publishes then is the same message.
    #[test]
    fn properties_survive_the_way_there_and_back(message in message()) {
        let mut hall = Hall::new();
        let seat = hall.connect(r#"{"type":"connect"}"#);
        hall.say(seat, r##"{"type":"subscribe","filter":"#","qos":2,"retain_as_published":true}"##);
        let told = say(&mut hall, seat, message.clone());
        prop_assert_eq!(payload(&told), &message.payload[..]);
        let mut publish = told.clone();
        publish["type"] = json!("publish");
        publish["id"] = json!(1);
        let heard = hall.say(seat, &publish.to_string());
        let again = heard.iter().find(|object| object["type"] == "message").unwrap();
        prop_assert_eq!(again, &told);
        let original = message.properties.as_deref().cloned().unwrap_or_default();
        prop_assert_eq!(properties(&told), original);
    }

    /// Whatever comes, something is answered, and the conversation goes on.
    #[test]
    fn any_text_is_answered(text in ".*") {
        let mut hall = Hall::new();
        let seat = hall.connect(r#"{"type":"connect"}"#);
        hall.say(seat, &text);
        prop_assert_eq!(hall.say(seat, r#"{"type":"ping"}"#), [json!({"type":"pong"})]);
    }

    /// The same of what looks like an object.
    #[test]
    fn any_fields_are_answered(
        kind in "publish|subscribe|unsubscribe|ack|fetch|release|ping",
        fields in prop::collection::btree_map(
            "topic|payload|payload_base64|qos|retain|filter|filters|number|numbers|properties|id|payload_json",
            value(),
            0..5,
        ),
    ) {
        let mut hall = Hall::new();
        let seat = hall.connect(r#"{"type":"connect"}"#);
        let mut object = json!(fields);
        object["type"] = json!(kind);
        hall.say(seat, &object.to_string());
        let heard = hall.say(seat, r#"{"type":"ping","id":"after"}"#);
        prop_assert_eq!(heard.last(), Some(&json!({"type":"pong","id":"after"})));
    }
}

fn say(hall: &mut Hall, seat: usize, message: Message) -> Value {
    hall.publish(message);
    hall.heard(seat).pop().expect("a message")
}

fn payload(object: &Value) -> Vec<u8> {
    match object["payload"].as_str() {
        Some(text) => text.as_bytes().to_vec(),
        None => base64(&object["payload_base64"]),
    }
}

fn base64(text: &Value) -> Vec<u8> {
    STANDARD.decode(text.as_str().unwrap_or_default()).expect("base64")
}

/// The properties that an object says, read without the adaptor's own code.
fn properties(object: &Value) -> Properties {
    let said = &object["properties"];
    let text = |name: &str| said[name].as_str().map(str::to_owned);
    let correlation = said.get("correlation_data").map(base64);
    let part = |pair: &Value, place: usize| pair[place].as_str().unwrap_or_default().into();
    let user = said["user"].as_array().into_iter().flatten();
    Properties {
        content_type: text("content_type").map(Into::into),
        payload_is_utf8: text("payload_format").map(|format| format == "utf-8"),
        response_topic: text("response_topic").map(|name| topic(&name)),
        correlation_data: correlation.map(Bytes::from),
        user: user.map(|pair| (part(pair, 0), part(pair, 1))).collect(),
        priority: said["priority"].as_u64().map(|priority| priority as u8),
    }
}

fn topic(name: &str) -> Topic {
    Topic::new(name.into(), &TopicLimits::default()).expect("a topic")
}

fn message() -> impl Strategy<Value = Message> {
    let text = || "[^\u{0}]{0,12}".prop_map(|text: String| text);
    let properties = (
        prop::option::of(text()),
        any::<Option<bool>>(),
        any::<bool>(),
        any::<Option<Vec<u8>>>(),
        prop::collection::vec((text(), text()), 0..4),
        any::<Option<u8>>(),
    );
    let properties =
        properties.prop_map(|(content_type, payload_is_utf8, answer, correlation, user, priority)| Properties {
            content_type: content_type.map(Into::into),
            payload_is_utf8,
            response_topic: answer.then(|| topic("answers/here")),
            correlation_data: correlation.map(Bytes::from),
            user: user.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
            priority,
        });
    (properties, any::<Vec<u8>>(), 0_u8..3, prop::option::of(1_000_000_u64..1 << 40)).prop_map(
        |(properties, payload, qos, expiry_ns)| {
            let mut message = Message::new(topic("any/topic"), payload.into());
            message.guarantee = Guarantee::from_qos(qos).expect("0, 1 or 2");
            message.expires_ns = expiry_ns.map(|ns| 1_000_000_000 + ns);
            message.properties = (!properties.is_empty()).then(|| Arc::new(properties));
            message
        },
    )
}

/// JSON of any kind.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0_u8..4).prop_map(Value::from),
        "[a-z/+#$]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("filter|qos|user|content_type|x", inner, 0..3).prop_map(|map| json!(map)),
        ]
    })
}
