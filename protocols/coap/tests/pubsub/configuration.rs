//! The configuration of a topic (§3).

use crate::{House, PUBSUB, map, text, topic};
use althing_coap::message::{Code, number};
use althing_coap::resources::pubsub::Properties;

fn full(name: &str) -> Properties {
    Properties {
        topic_content_format: Some(50),
        topic_type: Some("temperature".into()),
        max_subscribers: Some(5),
        observer_check_s: Some(100),
        ..topic(name)
    }
}

#[test]
fn it_is_read_whole_and_in_part() {
    let mut house = House::open();
    let path = house.create(&full("a"));
    let whole = house.ask(Code::GET, &path);
    let data = Some(format!("{path}/data"));
    assert_eq!((whole.code, map(&whole)), (Code::CONTENT, Properties { topic_data: data.clone(), ..full("a") }));
    let part = house.say(Code::FETCH, &path, Some(60), &b"\x83\x01\x03\x05"[..]);
    let expected = Properties { topic_data: data, topic_content_format: Some(50), ..Properties::default() };
    assert_eq!((part.code, map(&part)), (Code::CONTENT, expected));
    assert_eq!(house.say(Code::FETCH, &path, PUBSUB, &b"\x81\x01"[..]).code, Code::UNSUPPORTED_CONTENT_FORMAT);
    for bad in [&b""[..], b"\xa0", b"\x81", b"\x81\x61a", b"\x80\x00"] {
        assert_eq!(house.say(Code::FETCH, &path, Some(60), bad).code, Code::BAD_REQUEST, "{bad:?}");
    }
    let accept = house.ask_with(0, Code::GET, &path, |message| message.options.add_uint(number::ACCEPT, 60));
    assert_eq!(accept.code, Code::NOT_ACCEPTABLE);
    for unknown in ["/ps/0123456789ab", "/ps/x", "/ps/x/y/z"] {
        assert_eq!(house.ask(Code::GET, unknown).code, Code::NOT_FOUND);
    }
}

#[test]
fn post_replaces_and_ipatch_changes_what_is_named() {
    let mut house = House::open();
    let path = house.create(&full("a"));
    let fixed = Properties { topic_data: Some(format!("{path}/data")), ..topic("a") };
    let patch = Properties { max_subscribers: Some(9), ..Properties::default() };
    let patched = house.say(Code::IPATCH, &path, PUBSUB, patch.encode());
    let expected = Properties { topic_data: fixed.topic_data.clone(), max_subscribers: Some(9), ..full("a") };
    assert_eq!((patched.code, map(&patched)), (Code::CHANGED, expected.clone()));
    assert_eq!(map(&house.ask(Code::GET, &path)), expected);
    let replaced =
        house.say(Code::POST, &path, PUBSUB, Properties { topic_type: Some("b".into()), ..topic("a") }.encode());
    let expected = Properties { topic_type: Some("b".into()), observer_check_s: Some(86_400), ..fixed };
    assert_eq!((replaced.code, map(&replaced)), (Code::CHANGED, expected.clone()));
    assert_eq!(map(&house.ask(Code::GET, &path)), expected);
    let filter = Properties { topic_type: Some("b".into()), ..Properties::default() };
    assert!(text(&house.say(Code::FETCH, "/ps", PUBSUB, filter.encode())).contains(&path));
}

#[test]
fn what_does_not_change_is_not_changed() {
    let mut house = House::open();
    let path = house.create(&full("a"));
    let bad = [
        topic("b"),
        Properties { topic_data: Some("/x".into()), ..Properties::default() },
        Properties { resource_type: Some("x".into()), ..Properties::default() },
        Properties { expiration_wall_ms: Some(1_000), ..Properties::default() },
        Properties { initialize: Some("x".into()), ..Properties::default() },
    ];
    for properties in bad {
        for method in [Code::POST, Code::IPATCH] {
            let answer = house.say(method, &path, PUBSUB, properties.encode());
            assert_eq!(answer.code, Code::BAD_REQUEST, "{method} {properties:?}");
        }
    }
    for method in [Code::POST, Code::IPATCH] {
        assert_eq!(house.say(method, &path, PUBSUB, &b"\xa1\x18\x2a\x01"[..]).code, Code::BAD_REQUEST);
        assert_eq!(house.say(method, &path, Some(60), &b"\xa0"[..]).code, Code::UNSUPPORTED_CONTENT_FORMAT);
    }
    for method in [Code::PUT, Code::PATCH] {
        assert_eq!(house.say(method, &path, PUBSUB, full("a").encode()).code, Code::METHOD_NOT_ALLOWED);
    }
    assert_eq!(map(&house.ask(Code::GET, &path)).topic_type, full("a").topic_type);
}

#[test]
fn deletion_takes_the_data_and_the_observers_with_it() {
    let mut house = House::open();
    let path = house.create(&topic("a"));
    let data = format!("{path}/data");
    house.say(Code::PUT, &data, Some(0), "x");
    assert!(house.observe(1, &data).options.get(number::OBSERVE).is_some());
    let from = house.world.sent.len();
    assert_eq!(house.ask(Code::DELETE, &path).code, Code::DELETED);
    let told = house.sent(1, from);
    assert_eq!((told.len(), told[0].code, told[0].options.get(number::OBSERVE)), (1, Code::NOT_FOUND, None));
    assert_eq!(house.world.door.observations_len(), 0);
    for uri in [&path, &data] {
        assert_eq!(house.ask(Code::GET, uri).code, Code::NOT_FOUND);
        assert_eq!(house.ask(Code::DELETE, uri).code, Code::NOT_FOUND);
    }
    assert_eq!(house.ask(Code::GET, "/t/a").code, Code::NOT_FOUND);
    assert_eq!(house.create(&topic("a")), path, "the name is free again");
}

#[test]
fn a_topic_whose_time_is_over_is_not_found() {
    let mut house = House::open();
    let expiration_wall_ms = Some(house.world.now.wall_ms + 5_500);
    let path = house.create(&Properties { expiration_wall_ms, ..topic("a") });
    assert_eq!(map(&house.ask(Code::GET, &path)).expiration_wall_ms, expiration_wall_ms);
    house.world.now.wall_ms += 5_500;
    assert_eq!(house.ask(Code::GET, &path).code, Code::NOT_FOUND);
    assert_eq!(house.say(Code::PUT, &format!("{path}/data"), None, "x").code, Code::NOT_FOUND);
    assert_eq!(text(&house.ask(Code::GET, "/ps")), "");
}

/// RFC 8132 §3: all changes or none.
#[test]
fn a_patch_that_is_wrong_in_part_changes_nothing() {
    let mut house = House::open();
    let path = house.create(&full("a"));
    let before = map(&house.ask(Code::GET, &path));
    let wrong = [
        Properties { topic_type: Some("new".into()), topic_name: Some("b".into()), ..Properties::default() }.encode(),
        Properties { max_subscribers: Some(1), expiration_wall_ms: Some(1_000), ..Properties::default() }.encode(),
        // What comes first is right: topic-type; the second key is unknown, or its value is missing.
        b"\xa2\x04\x63new\x18\x2a\x01"[..].into(),
        b"\xa2\x04\x63new\x06"[..].into(),
    ];
    for payload in wrong {
        for method in [Code::IPATCH, Code::POST] {
            assert_eq!(house.say(method, &path, PUBSUB, payload.clone()).code, Code::BAD_REQUEST);
            assert_eq!(map(&house.ask(Code::GET, &path)), before);
        }
    }
    // The same again changes nothing more.
    let patch = Properties { topic_type: Some("new".into()), ..Properties::default() }.encode();
    let [once, twice] = [0, 1].map(|_| map(&house.say(Code::IPATCH, &path, PUBSUB, patch.clone())));
    assert_eq!((once.topic_type.as_deref(), &once), (Some("new"), &twice));
}

#[test]
fn methods_of_topics_that_do_not_exist_find_nothing() {
    let mut house = House::open();
    for uri in ["/ps/0123456789ab", "/ps/0123456789ab/data"] {
        for method in [Code::GET, Code::POST, Code::PUT, Code::DELETE, Code::FETCH, Code::PATCH, Code::IPATCH] {
            assert_eq!(house.ask(method, uri).code, Code::NOT_FOUND, "{method} {uri}");
        }
    }
}
