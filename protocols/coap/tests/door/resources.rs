//! Conditions (RFC 7252 §5.10.8), the links of `/.well-known/core` (RFC 6690), and resources for learners.

use crate::world::{Weather, World};
use althing_coap::CoapConfig;
use althing_coap::block::Block;
use althing_coap::codec::decode;
use althing_coap::message::{Code, Kind, Message, Token, number};
use bytes::Bytes;

fn world() -> World {
    World::new(1, 2, CoapConfig::default(), Weather::default())
}

fn request(code: Code, id: u16, uri: &str, options: &[(u16, &[u8])]) -> Message {
    let mut message = Message::new(Kind::Confirmable, code, id);
    message.token = Token::new(&id.to_be_bytes()).unwrap();
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    for segment in path.split('/') {
        message.options.add(number::URI_PATH, Bytes::copy_from_slice(segment.as_bytes()));
    }
    for query in query.split('&').filter(|query| !query.is_empty()) {
        message.options.add(number::URI_QUERY, Bytes::copy_from_slice(query.as_bytes()));
    }
    for (number, value) in options {
        message.options.add(*number, Bytes::copy_from_slice(value));
    }
    message
}

fn ask(world: &mut World, code: Code, id: u16, uri: &str, options: &[(u16, &[u8])], payload: &'static str) -> Message {
    let message = Message { payload: payload.into(), ..request(code, id, uri, options) };
    world.ask(0, &message).remove(0)
}

#[test]
fn a_value_changes_only_if_it_is_the_one_that_is_meant() {
    let mut world = world();
    world.subscribe("#");
    let first: &[(u16, &[u8])] = &[(number::IF_NONE_MATCH, b"")];
    let any: &[(u16, &[u8])] = &[(number::IF_MATCH, b"")];
    assert_eq!(ask(&mut world, Code::PUT, 1, "t/a", any, "x").code, Code::PRECONDITION_FAILED);
    assert_eq!(ask(&mut world, Code::PUT, 2, "t/a", first, "x").code, Code::CHANGED);
    assert_eq!(ask(&mut world, Code::PUT, 3, "t/a", first, "y").code, Code::PRECONDITION_FAILED);
    let etag = ask(&mut world, Code::GET, 4, "t/a", &[], "").options.get(number::ETAG).unwrap().clone();
    let this: &[(u16, &[u8])] = &[(number::IF_MATCH, b"another"), (number::IF_MATCH, &etag)];
    assert_eq!(ask(&mut world, Code::PUT, 5, "t/a", this, "y").code, Code::CHANGED);
    assert_eq!(ask(&mut world, Code::DELETE, 6, "t/a", this, "").code, Code::PRECONDITION_FAILED);
    assert_eq!(ask(&mut world, Code::DELETE, 7, "t/a", any, "").code, Code::DELETED);
    let heard: Vec<&[u8]> = world.heard.iter().map(|(_, payload)| &payload[..]).collect();
    assert_eq!(heard, [&b"x"[..], b"y", b""]);
    // A condition that nobody looks at is not passed over.
    assert_eq!(ask(&mut world, Code::GET, 8, "t/a", any, "").code, Code::BAD_OPTION);
    assert_eq!(ask(&mut world, Code::PUT, 9, "other/block", any, "x").code, Code::BAD_OPTION);
}

#[test]
fn links_are_filtered_by_every_attribute() {
    let mut world = world();
    let mut id = 0;
    let mut found = |query: &str, href: &str| {
        id += 1;
        let answer = ask(&mut world, Code::GET, id, &format!(".well-known/core?{query}"), &[], "");
        assert_eq!((answer.code, answer.options.uint(number::CONTENT_FORMAT)), (Code::CONTENT, Some(40)));
        String::from_utf8(answer.payload.to_vec()).unwrap().contains(href)
    };
    for query in ["", "rt=althing.topics", "rt=alth*", "href=/t", "href=/*", "title=topics*", "rt=*&href=/t"] {
        assert!(found(query, "</t>"), "{query}");
    }
    for query in ["rt=althing", "rt=core.*", "ct=40", "if=*", "href=/time", "rt=*&href=/x"] {
        assert!(!found(query, "</t>"), "{query}");
    }
    assert!(found("obs", "</time>;title=\"the time, observable\";ct=0;obs") && !found("obs", "</other/block>"));
}

#[test]
fn links_beyond_one_datagram_leave_in_blocks_without_state() {
    let config = CoapConfig { payload_bytes_max: 64, ..CoapConfig::default() };
    let mut world = World::new(1, 1, config, Weather::default());
    let mut links = Vec::new();
    for number in 0.. {
        let block = Block { number, has_more: false, size_exponent: 2 }.to_uint().to_be_bytes();
        let options: &[(u16, &[u8])] = &[(number::BLOCK2, &block[1..])];
        let answer = ask(&mut world, Code::GET, number as u16, ".well-known/core", options, "");
        links.extend_from_slice(&answer.payload);
        assert!(answer.options.get(number::ETAG).is_some());
        if !Block::from_uint(answer.options.uint(number::BLOCK2).unwrap()).has_more {
            break;
        }
    }
    let links = String::from_utf8(links).unwrap();
    assert!(links.starts_with("</.well-known/core>;ct=40,") && links.ends_with(";ct=0"), "{links}");
    assert_eq!(world.door.endpoints_len(), 0);
}

#[test]
fn the_time_ticks_until_nobody_looks() {
    let mut world = world();
    let now = ask(&mut world, Code::GET, 1, "time", &[(number::OBSERVE, b"")], "");
    assert!(now.options.get(number::OBSERVE).is_some() && now.payload.starts_with(b"2023-11-14 22:13:20"));
    assert_eq!(world.door.observations_len(), 1);
    let before = world.sent.len();
    world.run_ms(5_500);
    let tick = decode(&world.sent[before].1.clone().into()).unwrap();
    assert!(tick.options.uint(number::OBSERVE) > now.options.uint(number::OBSERVE));
    // Under the token of the registration.
    let mut forget = request(Code::GET, 2, "time", &[(number::OBSERVE, b"\x01")]);
    forget.token = now.token;
    assert_eq!(world.ask(0, &forget)[0].code, Code::CONTENT);
    assert_eq!(world.door.observations_len(), 0);
    world.run_ms(300_000);
    assert_eq!(world.door.endpoints_len(), 0);
}

#[test]
fn who_never_acknowledges_the_time_hears_no_more_of_it() {
    let mut world = World::new(1, 1, CoapConfig::default(), Weather { loss_percent: 100, ..Weather::default() });
    ask(&mut world, Code::GET, 1, "time", &[(number::OBSERVE, b"")], "");
    world.run_ms(200_000);
    assert_eq!((world.door.observations_len(), world.door.endpoints_len()), (0, 0));
}

#[test]
fn what_takes_a_while_comes_as_a_message_of_its_own() {
    let mut world = world();
    let before = world.sent.len();
    world.ask(0, &request(Code::GET, 1, "other/separate", &[]));
    world.run_ms(3_500);
    let told: Vec<Message> =
        world.sent[before..].iter().map(|(_, datagram)| decode(&datagram.clone().into()).unwrap()).collect();
    assert_eq!((told[0].kind, told[0].code), (Kind::Acknowledgement, Code::EMPTY));
    assert_eq!((told[1].kind, told[1].code), (Kind::Confirmable, Code::CONTENT));
}

#[test]
fn a_value_for_learners_is_read_and_written() {
    let mut world = world();
    let long = ask(&mut world, Code::GET, 1, "other/block", &[], "");
    assert!(Block::from_uint(long.options.uint(number::BLOCK2).unwrap()).has_more);
    assert_eq!(ask(&mut world, Code::PUT, 2, "other/block", &[], "short").code, Code::CHANGED);
    assert_eq!(&ask(&mut world, Code::GET, 3, "other/block", &[], "").payload[..], b"short");
    assert_eq!(ask(&mut world, Code::POST, 4, "other/block", &[], "").code, Code::METHOD_NOT_ALLOWED);
    let mut world = World::new(1, 1, CoapConfig { demo: false, ..CoapConfig::default() }, Weather::default());
    assert_eq!(ask(&mut world, Code::GET, 1, "time", &[], "").code, Code::NOT_FOUND);
    let links = ask(&mut world, Code::GET, 2, ".well-known/core", &[], "");
    assert!(!String::from_utf8(links.payload.to_vec()).unwrap().contains("time"));
}
