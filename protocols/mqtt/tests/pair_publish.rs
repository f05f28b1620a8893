//! Messages in both directions: QoS flows, aliases, expiry, Receive Maximum and Maximum Packet Size (§3.3 to §3.7, §4.3, §4.9).

use althing_core::verbs::{Accepted, Outcome, Reason, Refusal};
use althing_core::{Answer, Delivery, Guarantee, Limits, Message, Now, Properties, Request, Topic};
use althing_mqtt::client::{Acknowledge, ClientError, Event, Options, publication};
use althing_mqtt::config::MqttConfig;
use althing_mqtt::packet::{Packet, Publish, Version};
use althing_mqtt::reason::code;
use althing_testkit::pair::{Pair, delivery, obliging, topic};
use bytes::Bytes;
use std::sync::Arc;

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];
const GUARANTEES: [Guarantee; 3] = [Guarantee::AtMostOnce, Guarantee::AtLeastOnce, Guarantee::ExactlyOnce];

fn connected(limits: Limits, options: Options) -> Pair {
    let mut pair = Pair::new(limits, options);
    pair.connect();
    assert!(pair.client.is_connected(), "{:?} {:?}", pair.failed, pair.closed);
    pair.requests.clear();
    pair.events.clear();
    pair
}

/// A pair whose broker answers publishes with `outcome`.
fn publishing(version: Version, outcome: Result<bool, Reason>) -> Pair {
    let script = move |request: &Request| match request {
        Request::Publish(publish) => vec![Answer::Published {
            correlation: publish.correlation,
            guarantee: publish.message.guarantee,
            outcome: outcome.map(|matched| Accepted { matched }).map_err(|reason| Refusal::new(reason, "no")),
        }],
        Request::Release { token } => vec![Answer::Released { token: *token, known: outcome.is_ok() }],
        other => obliging(other),
    };
    let options = Options::new(version, "x");
    let mut pair = Pair::scripted(Limits::default(), MqttConfig::default(), options, Box::new(script));
    pair.connect();
    pair.requests.clear();
    pair.events.clear();
    pair
}

/// A pair whose broker never answers a publish or a release by itself.
fn unanswered(limits: Limits, options: Options) -> Pair {
    let script = |request: &Request| match request {
        Request::Publish(_) | Request::Release { .. } => Vec::new(),
        other => obliging(other),
    };
    let mut pair = Pair::scripted(limits, MqttConfig::default(), options, Box::new(script));
    pair.connect();
    pair.requests.clear();
    pair.events.clear();
    pair
}

fn published(packet_id: u16, guarantee: Guarantee) -> Answer {
    Answer::Published { correlation: packet_id.into(), guarantee, outcome: Ok(Accepted { matched: true }) }
}

fn messages(pair: &Pair) -> Vec<&Publish> {
    pair.events
        .iter()
        .filter_map(|event| if let Event::Message(publish) = event { Some(publish) } else { None })
        .collect()
}

fn outcomes(pair: &Pair) -> Vec<(u32, Outcome)> {
    let of_settle =
        |request| if let &Request::Settle { number, outcome } = request { Some((number, outcome)) } else { None };
    pair.requests.iter().filter_map(of_settle).collect()
}

fn packets(bytes: &[&[u8]]) -> Vec<u8> {
    bytes.concat()
}

#[test]
fn every_guarantee_reaches_the_broker_and_is_acknowledged() {
    for version in VERSIONS {
        for qos in GUARANTEES {
            let mut pair = connected(Limits::default(), Options::new(version, "x"));
            let mut publish = publication(topic("a/b"), Bytes::from_static(b"hello"), qos);
            publish.retain = true;
            let packet_id = pair.client.publish(pair.now, publish).unwrap();
            pair.settle();
            let Some(Request::Publish(request)) = pair.requests.first() else { panic!("{:?}", pair.requests) };
            assert_eq!((&request.message.topic, &request.message.payload[..]), (&topic("a/b"), &b"hello"[..]));
            assert_eq!((request.message.guarantee, request.message.retain), (qos, true));
            assert_eq!(request.token, (qos == Guarantee::ExactlyOnce).then_some(1));
            let expected = match qos {
                Guarantee::AtMostOnce => vec![],
                _ => vec![Event::Published { packet_id, code: 0 }],
            };
            assert_eq!(pair.events, expected, "{version:?} {qos:?}");
            let released = matches!(pair.requests.get(1), Some(Request::Release { token: 1 }));
            assert_eq!(released, qos == Guarantee::ExactlyOnce);
            assert_eq!(pair.client.open_publishes(), 0);
        }
    }
}

#[test]
fn every_guarantee_reaches_the_client_and_is_settled() {
    for version in VERSIONS {
        for qos in GUARANTEES {
            let mut pair = connected(Limits::default(), Options::new(version, "x"));
            let number = if qos == Guarantee::AtMostOnce { 0 } else { 77 };
            let message = Message::new(topic("a/b"), Bytes::from_static(b"hello"));
            let delivery = Delivery { retain: true, duplicate: true, ..delivery(number, qos, message) };
            pair.deliver(&[delivery]);
            let [publish] = messages(&pair)[..] else { panic!("{:?}", pair.events) };
            assert_eq!((publish.topic.as_ref(), &publish.payload[..]), (Some(&topic("a/b")), &b"hello"[..]));
            assert_eq!((publish.qos, publish.retain, publish.packet_id), (qos, true, number as u16));
            assert_eq!(publish.dup, qos > Guarantee::AtMostOnce);
            let expected = match qos {
                Guarantee::AtMostOnce => vec![],
                Guarantee::AtLeastOnce => vec![(77, Outcome::Accept)],
                Guarantee::ExactlyOnce => vec![(77, Outcome::Received), (77, Outcome::Accept)],
            };
            assert_eq!(outcomes(&pair), expected, "{version:?} {qos:?}");
        }
    }
}

#[test]
fn properties_tags_and_large_payloads_survive() {
    let mut pair = connected(Limits::default(), Options::new(Version::V5, "x"));
    let properties = Arc::new(Properties {
        content_type: Some("text/plain".into()),
        payload_is_utf8: Some(true),
        response_topic: Some(topic("answers")),
        correlation_data: Some(Bytes::from_static(b"\0\x01")),
        user: vec![("k".into(), "1".into()), ("a".into(), "2".into()), ("k".into(), "1".into())],
        priority: None,
    });
    let payload = Bytes::from(vec![b'x'; 100_000]);
    let mut publish = publication(topic("a"), payload.clone(), Guarantee::AtLeastOnce);
    publish.properties = Some(properties.clone());
    pair.client.publish(pair.now, publish).unwrap();
    pair.settle();
    let Some(Request::Publish(request)) = pair.requests.first() else { panic!("{:?}", pair.requests) };
    assert_eq!(request.message.properties.as_ref(), Some(&properties));
    assert_eq!(request.message.payload, payload);

    let message = request.message.clone();
    pair.events.clear();
    pair.deliver(&[Delivery {
        tags: [3, 268_435_455].into_iter().collect(),
        ..delivery(1, Guarantee::AtLeastOnce, message)
    }]);
    let [publish] = messages(&pair)[..] else { panic!("{:?}", pair.events) };
    assert_eq!(publish.subscription_ids, [3, 268_435_455]);
    assert_eq!(publish.properties.as_ref(), Some(&properties));
    assert_eq!(publish.payload, payload);
}

#[test]
fn version_3_hears_nothing_of_properties() {
    let mut pair = connected(Limits::default(), Options::new(Version::V311, "x"));
    let message = Message {
        properties: Some(Arc::new(Properties { content_type: Some("x".into()), ..Properties::default() })),
        expires_ns: Some(pair.now.after_s(9)),
        ..Message::new(topic("a"), Bytes::from_static(b"p"))
    };
    pair.deliver(&[Delivery { tags: [5].into_iter().collect(), ..delivery(0, Guarantee::AtMostOnce, message) }]);
    let [publish] = messages(&pair)[..] else { panic!("{:?}", pair.events) };
    assert_eq!(*publish, publication(topic("a"), Bytes::from_static(b"p"), Guarantee::AtMostOnce));
}

#[test]
fn an_expiry_becomes_a_moment_and_what_is_left_of_it_is_said() {
    let mut pair = connected(Limits::default(), Options::new(Version::V5, "x"));
    let mut publish = publication(topic("a"), Bytes::new(), Guarantee::AtLeastOnce);
    publish.message_expiry_s = Some(10);
    pair.client.publish(pair.now, publish).unwrap();
    pair.settle();
    let Some(Request::Publish(request)) = pair.requests.first() else { panic!("{:?}", pair.requests) };
    let message = request.message.clone();
    assert_eq!(message.expires_ns, Some(pair.now.after_s(10)));
    for (passed_ms, expected_s) in [(0, 10), (1, 10), (999, 9), (8_001, 1)] {
        pair.now = Now { mono_ns: pair.now.mono_ns + passed_ms * 1_000_000, ..pair.now };
        pair.events.clear();
        pair.deliver(&[delivery(0, Guarantee::AtMostOnce, message.clone())]);
        let [publish] = messages(&pair)[..] else { panic!("{:?}", pair.events) };
        assert_eq!(publish.message_expiry_s, Some(expected_s), "after {passed_ms} ms");
    }
}

#[test]
fn version_5_hears_what_became_of_its_publish() {
    for (outcome, expected) in [
        (Ok(true), code::SUCCESS),
        (Ok(false), code::NO_MATCHING_SUBSCRIBERS),
        (Err(Reason::NotAuthorised), code::NOT_AUTHORIZED),
        (Err(Reason::QuotaExceeded), code::QUOTA_EXCEEDED),
        (Err(Reason::TopicNameInvalid), code::TOPIC_NAME_INVALID),
        (Err(Reason::ServerBusy), code::UNSPECIFIED_ERROR),
    ] {
        for qos in [Guarantee::AtLeastOnce, Guarantee::ExactlyOnce] {
            let mut pair = publishing(Version::V5, outcome);
            pair.client.publish(pair.now, publication(topic("a"), Bytes::new(), qos)).unwrap();
            pair.settle();
            assert_eq!(pair.events, [Event::Published { packet_id: 1, code: expected }], "{outcome:?} {qos:?}");
            assert_eq!(pair.closed, None);
        }
    }
}

#[test]
fn version_3_hears_of_no_refusal_but_keeps_what_may_work_later() {
    for (reason, closes) in [
        (Reason::NotAuthorised, false),
        (Reason::TopicNameInvalid, false),
        (Reason::QuotaExceeded, true),
        (Reason::ServerBusy, true),
    ] {
        for qos in [Guarantee::AtLeastOnce, Guarantee::ExactlyOnce] {
            let mut pair = publishing(Version::V311, Err(reason));
            pair.client.publish(pair.now, publication(topic("a"), Bytes::new(), qos)).unwrap();
            pair.settle();
            assert_eq!(pair.closed.is_some(), closes, "{reason:?} {qos:?}");
            let expected = if closes { vec![] } else { vec![Event::Published { packet_id: 1, code: 0 }] };
            assert_eq!(pair.events, expected, "{reason:?} {qos:?}");
        }
    }
}

#[test]
fn sentences_are_only_said_to_those_who_want_them() {
    for wanted in [true, false] {
        let mut pair = publishing(Version::V5, Err(Reason::NotAuthorised));
        let mut options = Options::new(Version::V5, "x");
        options.connect.request_problem_information = wanted;
        *pair.client.options_mut() = options;
        let script = |request: &Request| match request {
            Request::Publish(publish) => vec![Answer::Published {
                correlation: publish.correlation,
                guarantee: publish.message.guarantee,
                outcome: Err(Refusal::new(Reason::NotAuthorised, "not yours")),
            }],
            other => obliging(other),
        };
        let options = pair.client.options().clone();
        let mut pair = Pair::scripted(Limits::default(), MqttConfig::default(), options, Box::new(script));
        pair.connect();
        pair.client.publish(pair.now, publication(topic("a"), Bytes::new(), Guarantee::AtLeastOnce)).unwrap();
        let bytes = pair.client.output().take_all();
        pair.inject(&bytes);
        let answered = pair.packets_to_client(Version::V5);
        let [Packet::PubAck(ack)] = &answered[..] else { panic!("{answered:?}") };
        let said = ack.details.as_ref().and_then(|details| details.reason_string.as_deref());
        assert_eq!(said, wanted.then_some("not yours"));
    }
}

#[test]
fn an_unknown_identifier_is_named_to_version_5_only() {
    for (version, expected) in [(Version::V5, code::PACKET_IDENTIFIER_NOT_FOUND), (Version::V311, code::SUCCESS)] {
        let script = |request: &Request| match request {
            Request::Release { token } => vec![Answer::Released { token: *token, known: false }],
            Request::Settle { number, outcome: Outcome::Received } => {
                vec![Answer::Complete { number: *number, known: false }]
            }
            other => obliging(other),
        };
        let options = Options::new(version, "x");
        let mut pair = Pair::scripted(Limits::default(), MqttConfig::default(), options, Box::new(script));
        pair.connect();
        pair.inject(&packets(&[&[0x62, 2, 0, 9], &[0x50, 2, 0, 8]]));
        let answered = pair.packets_to_client(version);
        let [Packet::PubComp(complete), Packet::PubRel(release)] = &answered[..] else { panic!("{answered:?}") };
        assert_eq!((complete.packet_id, complete.code), (9, expected), "{version:?}");
        assert_eq!((release.packet_id, release.code), (8, expected), "{version:?}");
    }
}

#[test]
fn a_client_that_refuses_a_message_is_heard() {
    let mut options = Options::new(Version::V5, "x");
    options.acknowledge = Acknowledge::Manually;
    let mut pair = connected(Limits::default(), options);
    let message = Message::new(topic("a"), Bytes::new());
    pair.deliver(&[
        delivery(1, Guarantee::AtLeastOnce, message.clone()),
        delivery(2, Guarantee::ExactlyOnce, message.clone()),
        delivery(3, Guarantee::ExactlyOnce, message),
    ]);
    assert_eq!(outcomes(&pair), [], "nothing is acknowledged by itself");
    let received: Vec<Publish> = messages(&pair).into_iter().cloned().collect();
    pair.client.acknowledge(pair.now, &received[0], code::NOT_AUTHORIZED);
    pair.client.acknowledge(pair.now, &received[1], code::QUOTA_EXCEEDED);
    pair.client.acknowledge(pair.now, &received[2], code::SUCCESS);
    pair.settle();
    let expected = [(1, Outcome::Reject), (2, Outcome::Reject), (3, Outcome::Received), (3, Outcome::Accept)];
    assert_eq!(outcomes(&pair), expected);
}

#[test]
fn aliases_of_the_client_stand_for_topics() {
    let mut pair = connected(Limits { topic_alias_maximum: 2, ..Limits::default() }, Options::new(Version::V5, "x"));
    let aliased = |name: Option<&str>, alias| Publish {
        topic: name.map(topic),
        topic_alias: Some(alias),
        ..publication(topic("unused"), Bytes::new(), Guarantee::AtLeastOnce)
    };
    for (name, alias, expected) in
        [(Some("a"), 1, "a"), (None, 1, "a"), (Some("b"), 2, "b"), (Some("c"), 1, "c"), (None, 1, "c"), (None, 2, "b")]
    {
        pair.requests.clear();
        pair.client.publish(pair.now, aliased(name, alias)).unwrap();
        pair.settle();
        let Some(Request::Publish(request)) = pair.requests.first() else { panic!("{:?}", pair.requests) };
        assert_eq!(request.message.topic, topic(expected));
    }
    assert_eq!(pair.client.publish(pair.now, aliased(Some("a"), 3)), Err(ClientError::TopicAliasInvalid));
    assert_eq!(pair.client.publish(pair.now, aliased(Some("a"), 0)), Err(ClientError::TopicAliasInvalid));
}

#[test]
fn the_server_assigns_aliases_to_the_first_topics() {
    let mut options = Options::new(Version::V5, "x");
    options.connect.topic_alias_maximum = 2;
    let mut pair = connected(Limits::default(), options);
    let names = ["a", "b", "c", "a", "b", "c"];
    let batch: Vec<Delivery> =
        names.iter().map(|name| delivery(0, Guarantee::AtMostOnce, Message::new(topic(name), Bytes::new()))).collect();
    pair.deliver(&batch);
    let seen: Vec<_> = messages(&pair)
        .into_iter()
        .map(|publish| (publish.topic.as_ref().map(Topic::as_str), publish.topic_alias))
        .collect();
    let expected = [
        (Some("a"), Some(1)),
        (Some("b"), Some(2)),
        (Some("c"), None),
        (Some("a"), Some(1)),
        (Some("b"), Some(2)),
        (Some("c"), None),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn the_servers_aliases_stay_within_its_own_maximum_and_save_the_topic() {
    let mut options = Options::new(Version::V5, "x");
    options.connect.topic_alias_maximum = 9;
    let mut pair = connected(Limits { topic_alias_out_maximum: 1, ..Limits::default() }, options);
    let message = |name: &str| delivery(0, Guarantee::AtMostOnce, Message::new(topic(name), Bytes::new()));
    let sizes: Vec<usize> = ["a-long-topic-name", "a-long-topic-name", "another-topic-name"]
        .iter()
        .map(|name| {
            let mut bytes = althing_core::OutBuffer::default();
            let mut requests = Default::default();
            let mut out = althing_core::Out { bytes: &mut bytes, requests: &mut requests };
            althing_core::Adaptor::deliver(&mut pair.adaptor, pair.now, &[message(name)], &mut out);
            bytes.len()
        })
        .collect();
    assert_eq!(sizes, [2 + 2 + 17 + 1 + 3, 2 + 2 + 1 + 3, 2 + 2 + 18 + 1]);
}

#[test]
fn a_client_without_aliases_gets_topics() {
    let mut pair = connected(Limits::default(), Options::new(Version::V5, "x"));
    let message = Message::new(topic("a"), Bytes::new());
    pair.deliver(&[delivery(0, Guarantee::AtMostOnce, message)]);
    assert_eq!(messages(&pair)[0].topic_alias, None);
}

#[test]
fn version_5_must_keep_to_the_receive_maximum() {
    for qos in [Guarantee::AtLeastOnce, Guarantee::ExactlyOnce] {
        let limits = Limits { receive_maximum: 3, ..Limits::default() };
        let mut pair = unanswered(limits, Options::new(Version::V5, "x"));
        for _ in 0..5 {
            pair.client.publish(pair.now, publication(topic("a"), Bytes::new(), qos)).unwrap();
        }
        pair.settle();
        assert_eq!(pair.requests.len(), 3, "the client half keeps to it");
        pair.answer(published(1, qos));
        pair.settle();
        let expected = if qos == Guarantee::AtLeastOnce { 4 } else { 3 };
        let publishes = pair.requests.iter().filter(|request| matches!(request, Request::Publish(_))).count();
        assert_eq!(publishes, expected, "PUBREC frees nothing");
        if qos == Guarantee::ExactlyOnce {
            pair.answer(Answer::Released { token: 1, known: true });
            pair.settle();
            let publishes = pair.requests.iter().filter(|request| matches!(request, Request::Publish(_))).count();
            assert_eq!(publishes, 4, "PUBCOMP does");
        }
        assert_eq!(pair.closed, None);
        // One that does not keep to it: QoS 1, topic "a", no properties, one too many.
        pair.inject(&[0x32, 6, 0, 1, b'a', 0, 99, 0]);
        assert_eq!(pair.closed.as_ref().map(|close| close.refusal.reason), Some(Reason::ReceiveMaximumExceeded));
        let said = pair.packets_to_client(Version::V5);
        assert!(matches!(&said[..], [Packet::Disconnect(said)] if said.code == code::RECEIVE_MAXIMUM_EXCEEDED));
    }
}

#[test]
fn a_refused_exactly_once_publish_is_over_at_once() {
    let limits = Limits { receive_maximum: 1, ..Limits::default() };
    let mut pair = unanswered(limits, Options::new(Version::V5, "x"));
    for packet_id in 1..=3 {
        pair.client.publish(pair.now, publication(topic("a"), Bytes::new(), Guarantee::ExactlyOnce)).unwrap();
        pair.settle();
        pair.answer(Answer::Published {
            correlation: packet_id,
            guarantee: Guarantee::ExactlyOnce,
            outcome: Err(Refusal::new(Reason::QuotaExceeded, "full")),
        });
        pair.settle();
    }
    assert_eq!((pair.events.len(), &pair.closed), (3, &None));
}

#[test]
fn version_3_waits_instead() {
    let limits = Limits { receive_maximum: 3, ..Limits::default() };
    let mut options = Options::new(Version::V311, "x");
    options.connect.keep_alive_s = 0;
    let mut pair = unanswered(limits, options);
    for _ in 0..10 {
        pair.client.publish(pair.now, publication(topic("a"), Bytes::new(), Guarantee::AtLeastOnce)).unwrap();
    }
    pair.settle();
    assert_eq!((pair.requests.len(), &pair.closed), (3, &None));
    for packet_id in 1..=10 {
        pair.answer(published(packet_id, Guarantee::AtLeastOnce));
        pair.settle();
        assert_eq!(pair.requests.len(), usize::from(packet_id + 3).min(10));
    }
    assert_eq!(pair.events.len(), 10);
}

#[test]
fn what_is_larger_than_the_client_takes_is_discarded() {
    let mut options = Options::new(Version::V5, "x");
    // Fixed header 2, topic 3, packet id 2, property length 1: 12 bytes of payload fit.
    options.connect.maximum_packet_size = Some(20);
    let limits =
        Limits { receive_maximum: u16::MAX, topic_alias_maximum: 0, packet_bytes_max: 1 << 30, ..Limits::default() };
    let mut pair = connected(limits, options);
    let of = |number, guarantee, length| {
        delivery(number, guarantee, Message::new(topic("a"), Bytes::from(vec![b'x'; length])))
    };
    pair.deliver(&[
        of(1, Guarantee::AtLeastOnce, 12),
        of(2, Guarantee::AtLeastOnce, 13),
        of(3, Guarantee::ExactlyOnce, 5_000),
        of(0, Guarantee::AtMostOnce, 14),
        of(0, Guarantee::AtMostOnce, 15),
    ]);
    let lengths: Vec<usize> = messages(&pair).into_iter().map(|publish| publish.payload.len()).collect();
    assert_eq!(lengths, [12, 14]);
    assert_eq!(outcomes(&pair), [(2, Outcome::Discard), (3, Outcome::Discard), (1, Outcome::Accept)]);
}

#[test]
fn sentences_give_way_to_the_maximum_packet_size() {
    let mut options = Options::new(Version::V5, "x");
    options.connect.maximum_packet_size = Some(40);
    let mut pair = connected(Limits::default(), options);
    pair.answer(Answer::Close(Refusal::new(Reason::AdministrativeAction, "x".repeat(100))));
    let said = pair.packets_to_client(Version::V5);
    let [Packet::Disconnect(said)] = &said[..] else { panic!("{said:?}") };
    assert_eq!((said.code, &said.details.reason_string), (code::ADMINISTRATIVE_ACTION, &None));
}

#[test]
fn the_client_keeps_to_the_servers_maximum_packet_size() {
    let mut pair = connected(Limits { packet_bytes_max: 100, ..Limits::default() }, Options::new(Version::V5, "x"));
    let large = publication(topic("a"), Bytes::from(vec![0; 100]), Guarantee::AtLeastOnce);
    assert_eq!(pair.client.publish(pair.now, large), Err(ClientError::PacketTooLarge));
    let small = publication(topic("a"), Bytes::from(vec![0; 50]), Guarantee::AtLeastOnce);
    assert_eq!(pair.client.publish(pair.now, small), Ok(1));
}
