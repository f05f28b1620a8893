//! SUBSCRIBE and UNSUBSCRIBE: §3.8 to §3.11.

use althing_core::verbs::{Reason, RetainHandling, SubscriptionOptions};
use althing_core::{Answer, Guarantee, Limits, Request};
use althing_mqtt::client::{Event, Options};
use althing_mqtt::config::MqttConfig;
use althing_mqtt::packet::{Packet, Subscribe, SubscribeFilter, Unsubscribe, Version};
use althing_mqtt::reason::code;
use althing_testkit::pair::{Pair, Script};

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

fn connected(version: Version, limits: Limits) -> Pair {
    let mut pair = Pair::new(limits, Options::new(version, "x"));
    pair.connect();
    pair.requests.clear();
    pair.events.clear();
    pair
}

fn wanted(filter: &str, qos: Guarantee) -> SubscribeFilter {
    SubscribeFilter { filter: filter.into(), qos, no_local: false, retain_as_published: false, retain_handling: 0 }
}

fn subscribe(filters: Vec<SubscribeFilter>) -> Subscribe {
    Subscribe { packet_id: 0, subscription_id: None, user_properties: Vec::new(), filters }
}

fn unsubscribe(filters: &[&str]) -> Unsubscribe {
    let filters = filters.iter().map(|filter| (*filter).into()).collect();
    Unsubscribe { packet_id: 0, user_properties: Vec::new(), filters }
}

#[test]
fn each_filter_gets_its_own_code() {
    for version in VERSIONS {
        let mut pair = connected(version, Limits::default());
        let filters = vec![
            wanted("a/b", Guarantee::AtMostOnce),
            wanted("a/#/b", Guarantee::AtLeastOnce),
            wanted("$share/g/+", Guarantee::ExactlyOnce),
            wanted("$share/g", Guarantee::ExactlyOnce),
            wanted(&"/".repeat(500), Guarantee::AtMostOnce),
        ];
        let packet_id = pair.client.subscribe(pair.now, subscribe(filters)).unwrap();
        pair.settle();
        let [Event::Subscribed(codes)] = &pair.events[..] else { panic!("{:?}", pair.events) };
        let refusal = if version == Version::V5 { code::TOPIC_FILTER_INVALID } else { 0x80 };
        assert_eq!((codes.packet_id, &codes.codes[..]), (packet_id, &[0, refusal, 2, refusal, refusal][..]));
        assert_eq!(pair.closed, None);
    }
}

#[test]
fn the_options_reach_the_broker() {
    let mut pair = connected(Version::V5, Limits::default());
    let filters = (0..3)
        .map(|retain_handling| SubscribeFilter {
            no_local: retain_handling == 1,
            retain_as_published: retain_handling == 2,
            retain_handling,
            ..wanted("a", Guarantee::AtLeastOnce)
        })
        .collect();
    let request = Subscribe { subscription_id: Some(268_435_455), ..subscribe(filters) };
    pair.client.subscribe(pair.now, request).unwrap();
    pair.settle();
    let [Request::Subscribe(request)] = &pair.requests[..] else { panic!("{:?}", pair.requests) };
    let of = |retain_handling, no_local, retain_as_published| SubscriptionOptions {
        guarantee: Guarantee::AtLeastOnce,
        no_local,
        retain_as_published,
        retain_handling,
        tag: 268_435_455,
    };
    let options: Vec<_> = request.filters.iter().map(|filter| filter.options).collect();
    let expected = [
        of(RetainHandling::Always, false, false),
        of(RetainHandling::IfNew, true, false),
        of(RetainHandling::Never, false, true),
    ];
    assert_eq!(options, expected);
}

#[test]
fn unsubscribing_says_whether_there_was_something() {
    let script: Script = Box::new(|request| match request {
        Request::Unsubscribe(unsubscribe) => vec![Answer::Unsubscribed {
            correlation: unsubscribe.correlation,
            results: vec![Ok(true), Ok(false), Err(Reason::TopicFilterInvalid), Err(Reason::ServerBusy)],
        }],
        other => althing_testkit::pair::obliging(other),
    });
    for version in VERSIONS {
        let mut pair = connected(version, Limits::default());
        pair.client.unsubscribe(pair.now, unsubscribe(&["a", "b", "c#"])).unwrap();
        pair.settle();
        let [Request::Unsubscribe(request)] = &pair.requests[..] else { panic!("{:?}", pair.requests) };
        assert_eq!(request.filters[2], Err(Reason::TopicFilterInvalid));
        assert!(request.filters[0].is_ok());
        let [Event::Unsubscribed(codes)] = &pair.events[..] else { panic!("{:?}", pair.events) };
        let expected = if version == Version::V5 { vec![0, 0, 0x8F] } else { vec![] };
        assert_eq!(codes.codes, expected, "{version:?}");
    }
    let options = Options::new(Version::V5, "x");
    let mut pair = Pair::scripted(Limits::default(), MqttConfig::default(), options, script);
    pair.connect();
    pair.client.unsubscribe(pair.now, unsubscribe(&["a", "b", "c", "d"])).unwrap();
    pair.settle();
    let Some(Event::Unsubscribed(codes)) = pair.events.last() else { panic!("{:?}", pair.events) };
    assert_eq!(codes.codes, [0, code::NO_SUBSCRIPTION_EXISTED, code::TOPIC_FILTER_INVALID, 0x80]);
}

#[test]
fn refusals_of_the_broker_are_translated() {
    for (reason, expected) in [
        (Reason::NotAuthorised, code::NOT_AUTHORIZED),
        (Reason::QuotaExceeded, code::QUOTA_EXCEEDED),
        (Reason::SharedSubscriptionsNotSupported, code::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED),
        (Reason::ServerBusy, code::UNSPECIFIED_ERROR),
    ] {
        for version in VERSIONS {
            let script: Script = Box::new(move |request| match request {
                Request::Subscribe(subscribe) => {
                    vec![Answer::Subscribed {
                        correlation: subscribe.correlation,
                        results: vec![Err(reason)],
                        why: "".into(),
                    }]
                }
                other => althing_testkit::pair::obliging(other),
            });
            let options = Options::new(version, "x");
            let mut pair = Pair::scripted(Limits::default(), MqttConfig::default(), options, script);
            pair.connect();
            pair.client.subscribe(pair.now, subscribe(vec![wanted("a", Guarantee::AtMostOnce)])).unwrap();
            pair.settle();
            let Some(Event::Subscribed(codes)) = pair.events.last() else { panic!("{:?}", pair.events) };
            assert_eq!(codes.codes, [if version == Version::V5 { expected } else { 0x80 }], "{reason:?} {version:?}");
        }
    }
}

#[test]
fn too_many_filters_in_one_packet_end_the_conversation() {
    for (count, fits) in [(3, true), (4, false)] {
        let mut pair = connected(Version::V5, Limits { filters_per_request_max: 3, ..Limits::default() });
        let filters = (0..count).map(|_| wanted("a", Guarantee::AtMostOnce)).collect();
        pair.client.subscribe(pair.now, subscribe(filters)).unwrap();
        let bytes = pair.client.output().take_all();
        pair.inject(&bytes);
        assert_eq!(pair.closed.is_none(), fits, "{count}");
        if !fits {
            let packets = pair.packets_to_client(Version::V5);
            assert!(matches!(&packets[..], [Packet::Disconnect(said)] if said.code == code::QUOTA_EXCEEDED));
        }
    }
}

#[test]
fn an_answer_that_does_not_fit_ends_the_conversation() {
    let mut options = Options::new(Version::V5, "x");
    options.connect.maximum_packet_size = Some(40);
    for (count, fits) in [(35, true), (36, false)] {
        let mut pair = Pair::new(Limits::default(), options.clone());
        pair.connect();
        let filters = (0..count).map(|_| wanted("a", Guarantee::AtMostOnce)).collect();
        pair.client.subscribe(pair.now, subscribe(filters)).unwrap();
        pair.settle();
        assert_eq!(pair.closed.is_none(), fits, "{count}");
        match pair.events.last() {
            Some(Event::Subscribed(codes)) => assert_eq!((codes.codes.len(), fits), (count, true)),
            Some(Event::Disconnected(said)) => assert_eq!((said.code, fits), (code::PACKET_TOO_LARGE, false)),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn each_answer_is_measured_by_itself() {
    let mut options = Options::new(Version::V5, "x");
    options.connect.maximum_packet_size = Some(20);
    let mut pair = Pair::new(Limits::default(), options);
    pair.connect();
    for _ in 0..10 {
        pair.client.unsubscribe(pair.now, unsubscribe(&["a"])).unwrap();
    }
    pair.settle();
    let answers = pair.events.iter().filter(|event| matches!(event, Event::Unsubscribed(_))).count();
    assert_eq!((answers, pair.closed.is_none()), (10, true));
}
