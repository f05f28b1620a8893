//! The collection of topics: discovery, listings, creation (§2).

use crate::{House, PUBSUB, map, text, topic};
use althing_coap::CoapConfig;
use althing_coap::message::{Code, number};
use althing_coap::resources::pubsub::Properties;

#[test]
fn the_collection_is_discovered() {
    let mut house = House::open();
    for query in ["rt=core.ps", "rt=core.ps.coll", "rt=core.ps*", "href=/ps"] {
        let found = house.ask(Code::GET, &format!("/.well-known/core?{query}"));
        assert_eq!(found.code, Code::CONTENT);
        assert!(text(&found).contains("</ps>;rt=\"core.ps core.ps.coll\""), "{query}: {}", text(&found));
    }
    assert!(!text(&house.ask(Code::GET, "/.well-known/core?rt=core.p")).contains("</ps>"));
}

#[test]
fn what_is_created_has_a_place_and_says_all_of_itself() {
    let mut house = House::open();
    let answer = house.say(Code::POST, "/ps", PUBSUB, topic("room/temperature").encode());
    assert_eq!(answer.code, Code::CREATED);
    let path: Vec<_> = answer.options.all(number::LOCATION_PATH).collect();
    assert_eq!((path.len(), &path[0][..], path[1].len()), (2, &b"ps"[..], 12));
    let properties = map(&answer);
    assert_eq!(properties.topic_name.as_deref(), Some("room/temperature"));
    assert_eq!(properties.resource_type.as_deref(), Some("core.ps.data"));
    let id = std::str::from_utf8(path[1]).unwrap();
    assert_eq!(properties.topic_data, Some(format!("/ps/{id}/data")));
    assert_eq!(properties.observer_check_s, Some(86_400));
}

#[test]
fn links_are_listed() {
    let mut house = House::open();
    assert_eq!(text(&house.ask(Code::GET, "/ps")), "");
    let mut paths = [house.create(&topic("a")), house.create(&topic("b"))];
    paths.sort();
    let links = |end: &str, rt: &str| {
        let links =
            paths.iter().map(|path| format!("<{path}{end}>;rt=\"{rt}\"{}", if end.is_empty() { "" } else { ";obs" }));
        links.collect::<Vec<_>>().join(",")
    };
    let all = house.ask(Code::GET, "/ps");
    assert_eq!((all.code, all.options.uint(number::CONTENT_FORMAT)), (Code::CONTENT, Some(40)));
    assert_eq!(text(&all), links("", "core.ps.conf"));
    assert_eq!(text(&house.ask(Code::GET, "/ps?rt=core.ps.conf")), links("", "core.ps.conf"));
    assert_eq!(text(&house.ask(Code::GET, "/ps?rt=core.ps.data")), links("/data", "core.ps.data"));
    assert_eq!(text(&house.ask(Code::GET, "/ps?rt=other")), "");
    let accept = house.ask_with(0, Code::GET, "/ps", |message| message.options.add_uint(number::ACCEPT, 50));
    assert_eq!(accept.code, Code::NOT_ACCEPTABLE);
}

#[test]
fn fetch_finds_those_that_have_all_of_it() {
    let mut house = House::open();
    let warm =
        |name: &str, max| Properties { topic_type: Some("temperature".into()), max_subscribers: max, ..topic(name) };
    let first = house.create(&warm("a", Some(3)));
    house.create(&warm("b", None));
    house.create(&topic("c"));
    let find = |house: &mut House, filter: Properties| {
        let found = house.say(Code::FETCH, "/ps", PUBSUB, filter.encode());
        assert_eq!((found.code, found.options.uint(number::CONTENT_FORMAT)), (Code::CONTENT, Some(40)));
        text(&found).split(',').filter(|link| !link.is_empty()).map(String::from).collect::<Vec<_>>()
    };
    assert_eq!(find(&mut house, Properties::default()).len(), 3);
    let temperature = Properties { topic_type: Some("temperature".into()), ..Properties::default() };
    assert_eq!(find(&mut house, temperature.clone()).len(), 2);
    let both = Properties { max_subscribers: Some(3), ..temperature };
    assert_eq!(find(&mut house, both), [format!("<{first}>;rt=\"core.ps.conf\"")]);
    assert_eq!(find(&mut house, topic("d")).len(), 0);
    assert_eq!(house.say(Code::FETCH, "/ps", Some(60), "").code, Code::UNSUPPORTED_CONTENT_FORMAT);
    assert_eq!(house.say(Code::FETCH, "/ps", PUBSUB, "no map").code, Code::BAD_REQUEST);
}

#[test]
fn what_cannot_be_created_is_refused() {
    let mut house = House::open();
    house.create(&topic("taken"));
    let soon = Some(1_700_000_000_000 + 60_000);
    let bad = [
        ("no name", Properties { topic_name: None, ..topic("a") }),
        ("no resource type", Properties { resource_type: None, ..topic("a") }),
        ("another resource type", Properties { resource_type: Some("other".into()), ..topic("a") }),
        ("in use", topic("taken")),
        ("a wildcard", topic("a/+")),
        ("empty", topic("")),
        ("reserved", topic("$SYS/a")),
        ("a queue", topic("$queue/a")),
        ("over already", Properties { expiration_wall_ms: Some(1_000), ..topic("a") }),
        ("initial data without format", Properties { initialize: Some("x".into()), ..topic("a") }),
        ("no initial data", Properties { initialize: Some("".into()), topic_content_format: Some(0), ..topic("a") }),
    ];
    for (why, properties) in bad {
        let answer = house.say(Code::POST, "/ps", PUBSUB, properties.encode());
        assert_eq!(answer.code, Code::BAD_REQUEST, "{why}: {:?}", answer.payload);
    }
    let unknown = b"\xa3\x00\x61a\x02\x6ccore.ps.data\x18\x2a\x01";
    assert_eq!(house.say(Code::POST, "/ps", PUBSUB, &unknown[..]).code, Code::BAD_REQUEST, "an unknown property");
    assert_eq!(house.say(Code::POST, "/ps", Some(60), topic("a").encode()).code, Code::UNSUPPORTED_CONTENT_FORMAT);
    assert_eq!(house.say(Code::POST, "/ps", None, topic("a").encode()).code, Code::UNSUPPORTED_CONTENT_FORMAT);
    for method in [Code::PUT, Code::DELETE, Code::PATCH, Code::IPATCH] {
        assert_eq!(house.ask(method, "/ps").code, Code::METHOD_NOT_ALLOWED, "{method}");
    }
    house.create(&Properties { expiration_wall_ms: soon, ..topic("a") });
}

#[test]
fn the_creator_may_say_where_the_data_is() {
    let mut house = House::open();
    let at = |path: &str, name: &str| Properties { topic_data: Some(path.into()), ..topic(name) };
    for (number, taken) in [
        "/ps",
        "/t/a",
        "/.well-known/core",
        "/ps/0123456789ab",
        "/ps/0123456789ab/data",
        "/a//b",
        "/a?b",
        "/a/../b",
        "/%61",
    ]
    .into_iter()
    .enumerate()
    {
        let answer = house.say(Code::POST, "/ps", PUBSUB, at(taken, &format!("n{number}")).encode());
        assert_eq!(answer.code, Code::BAD_REQUEST, "{taken}");
    }
    let path = house.create(&at("ps/data/62e4f8d", "a"));
    assert_eq!(house.say(Code::PUT, "/ps/data/62e4f8d", Some(0), "x").code, Code::CREATED);
    assert_eq!(text(&house.ask(Code::GET, "/ps/data/62e4f8d")), "x");
    assert_eq!(house.ask(Code::GET, &format!("{path}/data")).code, Code::NOT_FOUND);
    assert_eq!(house.say(Code::POST, "/ps", PUBSUB, at("/ps/data/62e4f8d", "b").encode()).code, Code::BAD_REQUEST);
    house.create(&at("/room/data", "b"));
    assert_eq!(house.say(Code::PUT, "/room/data", None, "y").code, Code::CREATED);
    let elsewhere = house.create(&at("coap://other.example/data", "c"));
    assert_eq!(house.ask(Code::GET, &format!("{elsewhere}/data")).code, Code::NOT_FOUND);
    assert!(text(&house.ask(Code::GET, "/ps?rt=core.ps.data")).contains("<coap://other.example/data>"));
    assert_eq!(house.ask(Code::DELETE, &path).code, Code::DELETED);
    assert_eq!(house.ask(Code::GET, "/ps/data/62e4f8d").code, Code::NOT_FOUND);
}

#[test]
fn of_two_who_create_at_once_one_wins() {
    let mut house = House::open();
    house.world.weather.verify_ms = 10;
    let before = house.world.sent.len();
    for client in 0..2 {
        let mut message = althing_coap::message::Message::new(althing_coap::message::Kind::Confirmable, Code::POST, 9);
        message.options.add(number::URI_PATH, &b"ps"[..]);
        message.options.add_uint(number::CONTENT_FORMAT, 606);
        message.payload = topic("a").encode();
        house.world.ask(client, &message);
    }
    house.world.run_ms(1_000);
    let codes = [0, 1].map(|client| house.sent(client, before).last().unwrap().code);
    assert_eq!(codes, [Code::CREATED, Code::BAD_REQUEST]);
}

#[test]
fn a_collection_has_an_end() {
    let mut house = House::with(CoapConfig { topics_max: 1, ..CoapConfig::default() });
    house.create(&topic("a"));
    let answer = house.say(Code::POST, "/ps", PUBSUB, topic("b").encode());
    assert_eq!(answer.code, Code::SERVICE_UNAVAILABLE);
}

#[test]
fn nobody_writes_a_configuration_in_another_way() {
    let mut house = House::open();
    let path = house.create(&topic("a"));
    assert_eq!(house.say(Code::PUT, "/t/$ps/a", PUBSUB, topic("b").encode()).code, Code::FORBIDDEN);
    assert_eq!(house.ask(Code::DELETE, "/t/$ps/a").code, Code::FORBIDDEN);
    house.world.publish("$ps/a", "forged", althing_core::Guarantee::AtLeastOnce, true);
    assert_eq!(map(&house.ask(Code::GET, &path)).topic_name.as_deref(), Some("a"));
    let seen = house.ask(Code::GET, "/t/$ps/a");
    assert_eq!((seen.code, map(&seen).topic_name.as_deref()), (Code::CONTENT, Some("a")), "everybody may read it");
}
