//! The client half over several connections: what is sent again, what is shown once, and its timeouts (§4.4).

use althing_core::verbs::Connected;
use althing_core::{Answer, Guarantee, Limits, Message, Request};
use althing_mqtt::client::{ClientError, Event, Options, publication};
use althing_mqtt::config::MqttConfig;
use althing_mqtt::packet::{Disconnect, Packet, Publish, Subscribe, Version};
use althing_mqtt::reason::code;
use althing_testkit::pair::{Pair, Script, delivery, obliging, topic};
use bytes::Bytes;

/// A broker that has a session or has not, and never answers what is published.
fn silent(session_present: bool) -> Script {
    Box::new(move |request| match request {
        Request::Connect(connect) => vec![Answer::Connected(Box::new(Connected {
            session_present,
            client: connect.client.clone().unwrap_or_default(),
            assigned: false,
            session_expiry_s: connect.session_expiry_s,
            authentication: None,
            response_information: None,
        }))],
        Request::Publish(_) | Request::Release { .. } | Request::Subscribe(_) => Vec::new(),
        other => obliging(other),
    })
}

fn options(version: Version) -> Options {
    let mut options = Options::new(version, "x");
    options.connect.clean_start = false;
    options.connect.session_expiry_s = (version == Version::V5).then_some(600);
    options
}

fn pair(version: Version) -> Pair {
    let mut pair = Pair::scripted(Limits::default(), MqttConfig::default(), options(version), silent(false));
    pair.connect();
    pair.requests.clear();
    pair.events.clear();
    pair
}

/// The same client half with a new conversation, as after a broken connection.
fn reconnected(mut old: Pair, session_present: bool) -> Pair {
    let config = MqttConfig::default();
    let mut new = Pair::scripted(Limits::default(), config, options(Version::V5), silent(session_present));
    std::mem::swap(&mut new.client, &mut old.client);
    new.now = old.now;
    new.connect();
    new.requests.remove(0);
    assert!(matches!(new.events.remove(0), Event::Connected(_)));
    new
}

fn publish(pair: &mut Pair, qos: Guarantee, payload: &'static str) -> u16 {
    pair.client.publish(pair.now, publication(topic("a"), payload.into(), qos)).expect("a free identifier")
}

/// What has reached the broker, in few words.
fn requests(pair: &Pair) -> Vec<String> {
    pair.requests
        .iter()
        .map(|request| match request {
            Request::Publish(publish) => {
                format!("{} {}", publish.correlation, String::from_utf8_lossy(&publish.message.payload))
            }
            Request::Release { token } => format!("{token} released"),
            other => format!("{other:?}"),
        })
        .collect()
}

fn interrupted() -> Pair {
    let mut pair = pair(Version::V5);
    publish(&mut pair, Guarantee::AtLeastOnce, "one");
    publish(&mut pair, Guarantee::ExactlyOnce, "two");
    publish(&mut pair, Guarantee::ExactlyOnce, "three");
    publish(&mut pair, Guarantee::AtLeastOnce, "four");
    pair.settle();
    pair.answer(Answer::Published {
        correlation: 2,
        guarantee: Guarantee::ExactlyOnce,
        outcome: Ok(althing_core::verbs::Accepted { matched: false }),
    });
    pair.settle();
    assert_eq!(requests(&pair), ["1 one", "2 two", "3 three", "4 four", "2 released"]);
    assert_eq!(pair.events, []);
    pair
}

#[test]
fn what_is_not_over_is_sent_again_in_order_while_the_session_lives() {
    let pair = reconnected(interrupted(), true);
    assert_eq!(requests(&pair), ["1 one", "2 released", "3 three", "4 four"]);
    assert_eq!((pair.events, pair.client.open_publishes()), (vec![], 4));
}

#[test]
fn repeats_are_marked() {
    let mut pair = interrupted();
    pair.client.connect(pair.now);
    pair.client.output().take_all();
    pair.to_client.extend_from_slice(&[0x20, 3, 1, 0, 0]);
    let mut events = Vec::new();
    pair.client.receive(pair.now, &mut pair.to_client, &mut events).unwrap();
    let bytes = pair.client.output().take_all();
    let context = althing_mqtt::codec::Context {
        side: althing_mqtt::codec::Side::Server,
        version: Some(Version::V5),
        packet_bytes_max: 1_000,
        topic: Limits::default().topic,
    };
    let mut input = bytes::BytesMut::from(&bytes[..]);
    let mut marks = Vec::new();
    while let Some(packet) = althing_mqtt::codec::decode(&context, &mut input).unwrap() {
        marks.push(match packet {
            Packet::Publish(Publish { packet_id, dup, .. }) => (packet_id, dup),
            Packet::PubRel(release) => (release.packet_id, false),
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(marks, [(1, true), (2, false), (3, true), (4, true)]);
}

#[test]
fn without_the_session_publishes_become_new_and_what_was_received_is_reported() {
    let mut pair = reconnected(interrupted(), false);
    assert_eq!(requests(&pair), ["1 one", "3 three", "4 four"]);
    assert_eq!(pair.events, [Event::Published { packet_id: 2, code: code::NO_MATCHING_SUBSCRIBERS }]);
    assert_eq!(publish(&mut pair, Guarantee::AtLeastOnce, "five"), 5);
}

#[test]
fn publishes_wait_for_a_connection() {
    let mut pair = Pair::new(Limits { receive_maximum: 2, ..Limits::default() }, Options::new(Version::V5, "x"));
    assert_eq!(
        pair.client.publish(pair.now, publication(topic("a"), Bytes::new(), Guarantee::AtMostOnce)),
        Err(ClientError::NotConnected)
    );
    for payload in ["one", "two", "three"] {
        publish(&mut pair, Guarantee::AtLeastOnce, payload);
    }
    pair.connect();
    assert_eq!(requests(&pair)[1..], ["1 one", "2 two", "3 three"]);
    assert_eq!(pair.events.len(), 4);
    assert_eq!(pair.client.open_publishes(), 0);
}

#[test]
fn what_the_server_turns_out_not_to_take_is_reported() {
    let mut pair = Pair::new(Limits { packet_bytes_max: 50, ..Limits::default() }, Options::new(Version::V5, "x"));
    let large = publication(topic("a"), Bytes::from(vec![0; 100]), Guarantee::AtLeastOnce);
    pair.client.publish(pair.now, large).unwrap();
    publish(&mut pair, Guarantee::AtLeastOnce, "small");
    pair.connect();
    let expected = [
        Event::Published { packet_id: 1, code: code::PACKET_TOO_LARGE },
        Event::Published { packet_id: 2, code: code::SUCCESS },
    ];
    assert_eq!(pair.events[1..], expected);
}

#[test]
fn an_exactly_once_message_is_shown_once() {
    let mut pair = pair(Version::V5);
    let message = Message::new(topic("a"), Bytes::from_static(b"once"));
    let first = delivery(9, Guarantee::ExactlyOnce, message);
    let again = althing_core::Delivery { duplicate: true, ..first.clone() };
    // The broker does not hear PUBREC before the connection breaks.
    let mut bytes = althing_core::OutBuffer::default();
    let mut none = Default::default();
    let mut out = althing_core::Out { bytes: &mut bytes, requests: &mut none };
    althing_core::Adaptor::deliver(&mut pair.adaptor, pair.now, &[first], &mut out);
    pair.to_client.extend_from_slice(&bytes.take_all());
    pair.client.receive(pair.now, &mut pair.to_client, &mut pair.events).unwrap();
    assert!(matches!(&pair.events[..], [Event::Message(_)]));

    let mut pair = reconnected(pair, true);
    pair.deliver(std::slice::from_ref(&again));
    assert_eq!(pair.events, [], "answered, not shown");
    assert_eq!(pair.requests.len(), 2, "PUBREC and PUBCOMP: {:?}", pair.requests);
    // Released: the number may stand for another message now.
    pair.deliver(&[again]);
    assert!(matches!(&pair.events[..], [Event::Message(_)]));
}

#[test]
fn a_new_session_forgets_what_was_received() {
    let mut pair = pair(Version::V5);
    let message = Message::new(topic("a"), Bytes::new());
    pair.to_client.extend_from_slice(&[0x34, 6, 0, 1, b'a', 0, 9, 0]);
    pair.client.receive(pair.now, &mut pair.to_client, &mut pair.events).unwrap();
    let mut pair = reconnected(pair, false);
    pair.deliver(&[delivery(9, Guarantee::ExactlyOnce, message)]);
    assert!(matches!(&pair.events[..], [Event::Message(_)]));
}

#[test]
fn requests_end_with_their_connection() {
    let mut pair = pair(Version::V5);
    let filters = vec![althing_mqtt::packet::SubscribeFilter {
        filter: "a".into(),
        qos: Guarantee::AtMostOnce,
        no_local: false,
        retain_as_published: false,
        retain_handling: 0,
    }];
    let subscribe = Subscribe { packet_id: 0, subscription_id: None, user_properties: Vec::new(), filters };
    assert_eq!(pair.client.subscribe(pair.now, subscribe.clone()), Ok(1));
    pair.settle();
    let mut pair = reconnected(pair, true);
    assert!(pair.requests.is_empty());
    assert_eq!(pair.client.subscribe(pair.now, subscribe.clone()), Ok(2), "1 is gone");
    pair.client.disconnect(pair.now, Disconnect::default());
    assert_eq!(pair.client.subscribe(pair.now, subscribe), Err(ClientError::NotConnected));
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    let mut pair = Pair::new(Limits::default(), Options::new(Version::V5, "x"));
    pair.client.connect(pair.now);
    pair.client.output().take_all();
    pair.step(); // starts the adaptor's clock
    while pair.failed.is_none() {
        assert!(pair.step().is_some());
    }
    assert_eq!(pair.failed, Some(ClientError::ConnectTimeout));

    let mut options = Options::new(Version::V5, "x");
    options.connect.keep_alive_s = 100;
    let mut pair = Pair::new(Limits { keep_alive_s_max: 20, ..Limits::default() }, options);
    pair.connect();
    let connected_ns = pair.now.mono_ns;
    pair.now.mono_ns += 20_000_000_000;
    assert_eq!(pair.client.timeout(pair.now), Ok(()));
    assert_eq!(pair.client.output().take_all(), [0xC0, 0], "at the server's keep alive, not at ours");
    pair.now.mono_ns += 10_000_000_000;
    assert_eq!(pair.client.timeout(pair.now), Err(ClientError::PingTimeout));
    assert_eq!(pair.now.mono_ns - connected_ns, 30_000_000_000);
    assert_eq!(pair.client.next_timeout(), None);
}

#[test]
fn a_server_that_breaks_the_protocol_is_told_so() {
    for (what, bytes, expected) in [
        ("a packet of the client", &b"\xC0\x00"[..], code::PROTOCOL_ERROR),
        ("an alias that was not allowed", b"\x30\x07\0\x01a\x03\x23\0\x01", code::TOPIC_ALIAS_INVALID),
        ("a second CONNACK", b"\x20\x03\0\0\0", code::PROTOCOL_ERROR),
        ("PUBACK for QoS 2", b"\x40\x02\x00\x01", code::PROTOCOL_ERROR),
        ("PUBREC for QoS 1", b"\x50\x02\x00\x02", code::PROTOCOL_ERROR),
        ("a reserved flag", b"\xD1\x00", code::MALFORMED_PACKET),
    ] {
        let mut pair = pair(Version::V5);
        publish(&mut pair, Guarantee::ExactlyOnce, "one");
        publish(&mut pair, Guarantee::AtLeastOnce, "two");
        pair.settle();
        pair.to_client.extend_from_slice(bytes);
        assert!(pair.client.receive(pair.now, &mut pair.to_client, &mut pair.events).is_err(), "{what}");
        let said = pair.client.output().take_all();
        assert_eq!((said[0], said[2]), (0xE0, expected), "{what}");
        assert!(!pair.client.is_connected());
    }
}

#[test]
fn a_server_must_keep_to_our_receive_maximum() {
    let mut options = Options::new(Version::V5, "x");
    options.connect.receive_maximum = Some(2);
    options.acknowledge = althing_mqtt::client::Acknowledge::Manually;
    let mut pair = Pair::new(Limits::default(), options);
    pair.connect();
    let message = |number| delivery(number, Guarantee::AtLeastOnce, Message::new(topic("a"), Bytes::new()));
    pair.deliver(&[message(1), message(2)]);
    assert_eq!(pair.failed, None);
    let Some(Event::Message(first)) = pair.events.get(1).cloned() else { panic!("{:?}", pair.events) };
    pair.client.acknowledge(pair.now, &first, code::SUCCESS);
    pair.deliver(&[message(3)]);
    assert_eq!(pair.failed, None);
    pair.deliver(&[message(4)]);
    assert!(matches!(pair.failed, Some(ClientError::Protocol(_))));
}

#[test]
fn a_refused_connection_can_be_tried_again() {
    let mut pair = Pair::new(Limits { client_id_bytes_max: 1, ..Limits::default() }, Options::new(Version::V5, "xx"));
    publish(&mut pair, Guarantee::AtLeastOnce, "kept");
    pair.connect();
    assert!(matches!(pair.failed, Some(ClientError::Refused(_))));
    pair.client.options_mut().connect.client_id = "x".into();
    let pair = reconnected(pair, false);
    assert_eq!(requests(&pair), ["1 kept"]);
}

#[test]
fn aliases_end_with_their_connection() {
    let mut first = options(Version::V5);
    first.connect.topic_alias_maximum = 1;
    let mut pair = Pair::scripted(Limits::default(), MqttConfig::default(), first, silent(false));
    pair.connect();
    let aliased = |name: Option<&str>| Publish {
        topic: name.map(topic),
        topic_alias: Some(1),
        ..publication(topic("unused"), Bytes::new(), Guarantee::AtLeastOnce)
    };
    pair.client.publish(pair.now, aliased(Some("a"))).unwrap();
    pair.client.publish(pair.now, aliased(None)).unwrap();
    pair.deliver(&[delivery(0, Guarantee::AtMostOnce, Message::new(topic("a"), Bytes::new()))]);
    assert!(matches!(pair.events.last(), Some(Event::Message(message)) if message.topic_alias == Some(1)));

    // The next server knows no aliases: repeats name their topics.
    let mut next = Pair::scripted(
        Limits { topic_alias_maximum: 0, ..Limits::default() },
        MqttConfig::default(),
        options(Version::V5),
        silent(true),
    );
    std::mem::swap(&mut next.client, &mut pair.client);
    next.connect();
    let topics: Vec<_> = next.requests[1..].iter().map(|request| format!("{request:?}")).collect();
    assert_eq!(topics.len(), 2);
    assert!(topics.iter().all(|request| request.contains("topic: \"a\"")), "{topics:?}");

    let mut pair = reconnected(next, true);
    assert_eq!(pair.client.publish(pair.now, aliased(None)), Err(ClientError::TopicAliasInvalid));
    pair.to_client.extend_from_slice(b"\x30\x06\0\0\x03\x23\0\x01");
    assert!(pair.client.receive(pair.now, &mut pair.to_client, &mut pair.events).is_err(), "not set up here");
}

#[test]
fn quotas_begin_anew_with_each_connection() {
    let mut limited = options(Version::V5);
    limited.inflight_max = 1;
    limited.connect.receive_maximum = Some(1);
    limited.acknowledge = althing_mqtt::client::Acknowledge::Manually;
    let mut pair = Pair::scripted(Limits::default(), MqttConfig::default(), limited, silent(false));
    pair.connect();
    pair.requests.clear();
    publish(&mut pair, Guarantee::AtLeastOnce, "one");
    publish(&mut pair, Guarantee::AtLeastOnce, "two");
    let message = delivery(1, Guarantee::AtLeastOnce, Message::new(topic("a"), Bytes::new()));
    pair.deliver(std::slice::from_ref(&message));
    assert_eq!(requests(&pair), ["1 one"]);
    let mut pair = reconnected(pair, true);
    pair.deliver(&[message]);
    assert_eq!((requests(&pair), &pair.failed), (vec!["1 one".to_owned()], &None));
}

#[test]
fn a_released_message_frees_its_place() {
    let mut limited = Options::new(Version::V5, "x");
    limited.connect.receive_maximum = Some(1);
    let mut pair = Pair::new(Limits::default(), limited);
    pair.connect();
    for number in 1..=3 {
        pair.deliver(&[delivery(number, Guarantee::ExactlyOnce, Message::new(topic("a"), Bytes::new()))]);
    }
    assert_eq!((pair.events.len(), &pair.failed), (4, &None));
}

#[test]
fn requests_among_publishes_are_not_taken_for_them() {
    let mut pair = pair(Version::V5);
    let filters = vec![althing_mqtt::packet::SubscribeFilter {
        filter: "a".into(),
        qos: Guarantee::AtMostOnce,
        no_local: false,
        retain_as_published: false,
        retain_handling: 0,
    }];
    let subscribe = Subscribe { packet_id: 0, subscription_id: None, user_properties: Vec::new(), filters };
    pair.client.subscribe(pair.now, subscribe).unwrap();
    publish(&mut pair, Guarantee::AtLeastOnce, "one");
    publish(&mut pair, Guarantee::AtLeastOnce, "two");
    pair.settle();
    pair.to_client.extend_from_slice(&[0x40, 2, 0, 2]);
    pair.settle();
    publish(&mut pair, Guarantee::AtLeastOnce, "three");
    pair.settle();
    assert_eq!(requests(&pair)[1..], ["2 one", "3 two", "4 three"]);
}

#[test]
fn a_session_in_spite_of_a_clean_start_is_not_accepted() {
    let mut pair = Pair::new(Limits::default(), Options::new(Version::V5, "x"));
    pair.client.connect(pair.now);
    pair.to_client.extend_from_slice(&[0x20, 3, 1, 0, 0]);
    let received = pair.client.receive(pair.now, &mut pair.to_client, &mut pair.events);
    assert!(matches!(received, Err(ClientError::Protocol(_))));
}

#[test]
fn one_servers_packet_size_is_not_the_nexts() {
    let mut small = options(Version::V5);
    small.connect.client_id = "an-identifier-that-is-longer-than-the-packets-of-the-first-server".into();
    let mut pair = Pair::scripted(
        Limits { packet_bytes_max: 50, ..Limits::default() },
        MqttConfig::default(),
        small,
        silent(false),
    );
    pair.connect();
    let pair = reconnected(pair, true);
    assert!(pair.client.is_connected());
}
