//! Total on any bytes; what the histories of `store/tests` do not reach.

use super::item::tag;
use super::*;
use crate::log::Place;
use althing_core::Now;
use althing_core::message::{Guarantee, Message, Origin, Properties};
use althing_core::record::{QueueKey, Restored, SessionFact, SessionKey, StoredWill, Terms};
use althing_core::topic::{Filter, Topic, TopicLimits};
use bytes::Bytes;
use proptest::prelude::*;
use std::sync::Arc;

const AT: Place = Place { segment: 3, offset: 1000 };

fn context() -> Context {
    let now = Now { mono_ns: 9_000_000_000, wall_ms: 0 };
    Context { clock: Clock::new(70_000, now), protocols: &["mqtt", "coap"] }
}

fn topic(name: &'static str) -> Topic {
    Topic::new(name.into(), &TopicLimits::default()).expect("what was written here is valid")
}

fn message(protocol: &'static str) -> Message {
    Message {
        topic: topic("plant/7"),
        payload: Bytes::from_static(b"21.5"),
        guarantee: Guarantee::ExactlyOnce,
        retain: true,
        expires_ns: Some(12_000_000_000),
        properties: Some(Arc::new(Properties {
            content_type: Some("text/plain".into()),
            payload_is_utf8: Some(true),
            response_topic: Some(topic("answers")),
            correlation_data: Some(Bytes::from_static(&[0, 255])),
            user: vec![("a".into(), "1".into()), ("a".into(), "".into())],
            priority: Some(0),
        })),
        origin: Some(Arc::new(Origin {
            protocol,
            client: "c".into(),
            principal: Some("p".into()),
            address: Some("coap://x".into()),
            by_proof: true,
        })),
    }
}

fn session() -> SessionKey {
    SessionKey { realm: "realm".into(), client: "client".into() }
}

/// One item of every kind.
fn every_item() -> Step {
    let (clock, mut step) = (context().clock, Step::default());
    let (queue, group) = (QueueKey::Session(session()), QueueKey::Group("$share/g/t".into()));
    let terms = Terms { tags: [1, 2, 300].into_iter().collect(), group: Some("$share/g/t".into()), ..Terms::default() };
    let body = step.body(&message("coap"), &clock);
    let will = StoredWill { message: Arc::new(message("mqtt")), delay_s: 1, expiry_s: Some(2) };
    let fact = SessionFact {
        key: session(),
        protocol: "mqtt",
        principal: Some("p".into()),
        epoch: u64::MAX,
        expiry_s: u32::MAX,
        number_max: 65_535,
        ends_ns: Some(1),
        will: Some(will),
        will_due_ns: Some(u64::MAX),
    };
    step.session(&fact, &clock);
    step.session_closed(&session());
    let filter = Filter::new("t/#".into(), &TopicLimits::default()).expect("what was written here is valid");
    step.subscribed(&session(), &filter, &Default::default());
    step.unsubscribed(&session(), &filter);
    step.token_held(&session(), 300);
    step.token_released(&session(), 300);
    step.retained(&topic("plant/7"), body);
    step.retained_cleared(&topic("plant/7"));
    step.queued(&group, i64::MIN, &terms, body);
    step.moved((&group, i64::MIN), (&queue, i64::MAX), &terms, body);
    step.numbered(&session(), -1, u32::MAX);
    step.received(&session(), -1);
    step.settled(&queue, 0);
    step.queue_closed(&group);
    step.relocated(&[0, 0], 5, BodyAt { place: AT, length: 7 });
    step.aged();
    step
}

/// Where each item of some steps begins and ends, and what it is.
fn items(bytes: &[u8]) -> Result<Vec<(BodyAt, String)>, Malformed> {
    let mut items = Items::new(bytes, AT);
    let mut all = Vec::new();
    while let Some((at, item)) = items.next()? {
        all.push((at, format!("{item:?}")));
    }
    Ok(all)
}

#[test]
fn every_tag_is_read_back_in_order() {
    let step = every_item();
    let read = items(step.bytes()).expect("what was written here is valid");
    let tags: Vec<_> = read.iter().map(|(at, _)| step.bytes()[(at.place.offset - AT.offset) as usize]).collect();
    assert_eq!(tags, (tag::BODY..=tag::AGED).collect::<Vec<_>>());
    assert_eq!(read.iter().map(|(at, _)| at.length as usize).sum::<usize>(), step.len());
}

#[test]
fn references_name_the_same_body_wherever_the_step_stands() {
    let step = every_item();
    let mut items = Items::new(step.bytes(), AT);
    let (body, _) = items.next().expect("what was written here is valid").unwrap();
    assert_eq!(body.place, AT);
    let mut found = Vec::new();
    while let Some((_, item)) = items.next().expect("what was written here is valid") {
        match item {
            Item::Retained { body, .. } | Item::Queued { body, .. } | Item::Moved { body, .. } => found.push(body),
            _ => {}
        }
    }
    assert_eq!(found, [body; 3]);
}

#[test]
fn a_reference_does_not_leave_its_step() {
    // Queue, sequence and terms of one byte each, and a body so many bytes before the item.
    for distance in [1, 9, 127] {
        let bytes = [tag::QUEUED, 7, 1, 1, 0, 1, 0, distance, 3];
        assert_eq!(items(&bytes), Err(Malformed::Value("reference")), "{distance}");
    }
    let bytes = [tag::AGED, 0, tag::QUEUED, 7, 1, 1, 0, 1, 0, 2, 3];
    assert!(items(&bytes).is_ok());
}

#[test]
fn what_is_unknown_or_left_over_is_an_error() {
    assert_eq!(items(&[18, 0]), Err(Malformed::Tag(18)));
    assert_eq!(items(&[0, 0]), Err(Malformed::Tag(0)));
    assert_eq!(items(&[tag::AGED, 1, 0]), Err(Malformed::Long));
    assert_eq!(items(&[tag::AGED]), Err(Malformed::Short));
    assert_eq!(items(&[tag::BODY, 200, 200, 200, 200, 1, 0]), Err(Malformed::Short));
}

#[test]
fn bodies_come_back_and_every_flipped_bit_shows() {
    let (mut step, context) = (Step::default(), context());
    step.body(&message("coap"), &context.clock);
    assert_eq!(decode_body(step.bytes(), &context), Ok(message("coap")));
    for bit in 0..step.len() * 8 {
        let mut bytes = step.bytes().to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(decode_body(&bytes, &context).is_err(), "bit {bit}");
        assert!(check_body(&bytes).is_err(), "bit {bit}");
    }
}

#[test]
fn a_language_that_is_gone_has_a_name_all_the_same() {
    let (mut step, context) = (Step::default(), context());
    step.body(&message("xmpp"), &context.clock);
    assert_eq!(decode_body(step.bytes(), &context), Ok(message(UNKNOWN_PROTOCOL)));
}

#[test]
fn lengths_of_every_size_fit_into_their_items() {
    let (mut step, context) = (Step::default(), context());
    for length in [0, 90, 100, 110, 120, 127, 128, 129, 16_380, 16_384, 16_400, 2_097_152, 2_097_160] {
        let mut sent = Message::new(topic("t"), Bytes::from(vec![1; length]));
        sent.properties =
            Some(Arc::new(Properties { user: vec![("n".repeat(40).into(), "".into())], ..Properties::default() }));
        step.clear();
        let at = step.body(&sent, &context.clock);
        assert_eq!((at.place.offset, at.length as usize), (0, step.len()));
        assert_eq!(decode_body(step.bytes(), &context), Ok(sent), "{length}");
        // An item of the wrong guess is still followed by the next one.
        step.settled(&QueueKey::Group("g".repeat(length).into()), 1);
        assert_eq!(items(step.bytes()).expect("what was written here is valid").len(), 2);
    }
}

#[test]
fn the_key_of_a_fact_is_the_same_in_all_its_items() {
    let step = every_item();
    let mut items = Items::new(step.bytes(), AT);
    let mut keys = std::collections::BTreeMap::<u8, Vec<Vec<u8>>>::new();
    while let Some((at, item)) = items.next().expect("what was written here is valid") {
        let start = (at.place.offset - AT.offset) as usize;
        let bytes = &step.bytes()[start..start + at.length as usize];
        match item {
            Item::Body => {
                let (fact, key) =
                    decode_fact(Kind::Retained, bytes, &context()).expect("what was written here is valid");
                assert_eq!(fact, Restored::Retained(Arc::new(message("coap"))));
                keys.entry(Kind::Retained as u8).or_default().push(key.to_vec());
            }
            Item::Fact { kind, key } => {
                assert_eq!(decode_fact(kind, bytes, &context()).expect("what was written here is valid").1, key);
                keys.entry(kind as u8).or_default().push(key.to_vec());
            }
            Item::FactGone { kind, key } => keys.entry(kind as u8).or_default().push(key.to_vec()),
            Item::Retained { key, .. } => keys.entry(Kind::Retained as u8).or_default().push(key.to_vec()),
            _ => {}
        }
    }
    assert_eq!(keys.len(), 4);
    assert!(keys.values().all(|keys| keys.len() >= 2 && keys.iter().all(|key| *key == keys[0])), "{keys:?}");
}

/// Reads `bytes` as everything that they could be.
fn read_all(bytes: &[u8]) {
    let context = context();
    let _ = items(bytes);
    let _ = decode_body(bytes, &context);
    let _ = read_queue_key(bytes);
    let _ = read_terms(bytes);
    for kind in (0..4).filter_map(Kind::from_byte) {
        let _ = decode_fact(kind, bytes, &context);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_a_value_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        read_all(&bytes);
    }

    /// Behind a right checksum, so that the fields are reached.
    #[test]
    fn any_fields_are_a_value_or_an_error(
        tag in prop::sample::select(vec![tag::BODY, tag::SESSION, tag::SUBSCRIBED, tag::TOKEN_HELD]),
        fields in prop::collection::vec(prop_oneof![0..8_u8, any::<u8>()], 0..60),
    ) {
        let mut bytes = vec![tag];
        let mut sealed = crc32c::crc32c(&fields).to_le_bytes().to_vec();
        sealed.extend_from_slice(&fields);
        put_bytes(&mut bytes, &sealed);
        read_all(&bytes);
    }

    #[test]
    fn changed_items_are_a_value_or_an_error(at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
        let mut bytes = every_item().bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        read_all(&bytes);
        bytes.truncate(cut.index(bytes.len()));
        read_all(&bytes);
    }
}
