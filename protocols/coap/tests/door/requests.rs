//! Requests and their responses (RFC 7252 §5), on a perfect link.

use crate::world::{Weather, World};
use althing_coap::CoapConfig;
use althing_coap::message::{Code, Kind, Message, Token, number};
use bytes::Bytes;

fn world() -> World {
    World::new(1, 2, CoapConfig::default(), Weather::default())
}

/// A request: `METHOD path?query payload`.
fn request(kind: Kind, code: Code, id: u16, uri: &str, payload: &'static str) -> Message {
    let mut message = Message::new(kind, code, id);
    message.token = Token::new(&id.to_be_bytes()).unwrap();
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    for segment in path.split('/').filter(|_| !path.is_empty()) {
        message.options.add(number::URI_PATH, Bytes::copy_from_slice(segment.as_bytes()));
    }
    for query in query.split('&').filter(|query| !query.is_empty()) {
        message.options.add(number::URI_QUERY, Bytes::copy_from_slice(query.as_bytes()));
    }
    message.payload = payload.into();
    message
}

fn ask(world: &mut World, code: Code, id: u16, uri: &str, payload: &'static str) -> Message {
    let asked = request(Kind::Confirmable, code, id, uri, payload);
    let mut answers = world.ask(0, &asked);
    assert_eq!(answers.len(), 1, "{uri}");
    let answer = answers.remove(0);
    assert_eq!((answer.kind, answer.id, answer.token), (Kind::Acknowledgement, id, asked.token), "{uri}");
    answer
}

#[test]
fn a_topic_is_a_resource() {
    let mut world = world();
    world.subscribe("a/#");
    assert_eq!(ask(&mut world, Code::GET, 1, "t/a/b", "").code, Code::NOT_FOUND);
    assert_eq!(ask(&mut world, Code::PUT, 2, "t/a/b", "kept").code, Code::CHANGED);
    assert_eq!(ask(&mut world, Code::POST, 3, "t/a/b", "told").code, Code::CHANGED);
    let value = ask(&mut world, Code::GET, 4, "t/a/b", "");
    assert_eq!((value.code, &value.payload[..]), (Code::CONTENT, &b"kept"[..]));
    assert_eq!(ask(&mut world, Code::DELETE, 5, "t/a/b", "").code, Code::DELETED);
    assert_eq!(ask(&mut world, Code::GET, 6, "t/a/b", "").code, Code::NOT_FOUND);
    let heard: Vec<&[u8]> = world.heard.iter().map(|(_, payload)| &payload[..]).collect();
    assert_eq!(heard, [&b"kept"[..], b"told", b""]);
}

#[test]
fn segments_are_levels_and_are_not_decoded() {
    let mut world = world();
    world.subscribe("#");
    for (id, uri, name) in
        [(1, "t/a", "a"), (2, "t//a", "/a"), (3, "t/a//b", "a//b"), (4, "t/a/", "a/"), (5, "t/%2F/ü", "%2F/ü")]
    {
        assert_eq!(ask(&mut world, Code::POST, id, uri, "x").code, Code::CHANGED, "{uri}");
        assert_eq!(world.heard.last().unwrap().0, name);
    }
    let mut bad = |id, segment: &'static [u8]| {
        let mut message = request(Kind::Confirmable, Code::POST, id, "t/a", "x");
        message.options.add(number::URI_PATH, Bytes::from_static(segment));
        world.ask(0, &message).remove(0).code
    };
    for (id, segment) in [(10, &b"a/b"[..]), (11, b"+"), (12, b"a#"), (13, b"a\0"), (14, b"\xff")] {
        assert_eq!(bad(id, segment), Code::BAD_REQUEST, "{segment:?}");
    }
}

#[test]
fn errors_are_told_apart() {
    let mut world = world();
    let option =
        |number: u16, value: &'static [u8]| move |it: &mut Message| it.options.add(number, Bytes::from_static(value));
    let nothing = |_: &mut Message| {};
    type Change = Box<dyn Fn(&mut Message)>;
    let cases: Vec<(Code, &str, Change, Code)> = vec![
        (Code::GET, "", Box::new(nothing), Code::NOT_FOUND),
        (Code::GET, "t", Box::new(nothing), Code::NOT_FOUND),
        (Code::GET, "t/", Box::new(nothing), Code::BAD_REQUEST),
        (Code::GET, "x/a", Box::new(nothing), Code::NOT_FOUND),
        (Code::GET, "t/a?q=1", Box::new(nothing), Code::BAD_REQUEST),
        (Code::GET, "t/a?qos=3", Box::new(nothing), Code::BAD_REQUEST),
        (Code(5), "t/a", Box::new(nothing), Code::METHOD_NOT_ALLOWED),
        (Code::PUT, ".well-known/core", Box::new(nothing), Code::METHOD_NOT_ALLOWED),
        (Code::PUT, "t/$SYS/a", Box::new(nothing), Code::FORBIDDEN),
        (Code::GET, "t/a", Box::new(option(9, b"")), Code::BAD_OPTION),
        (Code::GET, "t/a", Box::new(option(number::ACCEPT, b"\0\0\0")), Code::BAD_OPTION),
        (Code::GET, "t/a", Box::new(option(number::PROXY_URI, b"coap://b")), Code::PROXYING_NOT_SUPPORTED),
        // Elective options that nobody knows change nothing.
        (Code::POST, "t/a", Box::new(option(65_000, b"x")), Code::CHANGED),
        (Code::POST, "t/a", Box::new(option(number::BLOCK1, b"\x06")), Code::CHANGED),
    ];
    for (number, (code, uri, change, expected)) in cases.into_iter().enumerate() {
        let mut message = request(Kind::Confirmable, code, 100 + number as u16, uri, "");
        change(&mut message);
        let answer = world.ask(0, &message).remove(0);
        assert_eq!(answer.code, expected, "{code} {uri} {:?}", answer.payload);
    }
}

#[test]
fn what_is_no_request_is_rejected_or_ignored() {
    let mut world = world();
    for (datagram, expected) in [
        (&b"\x40\x00\x12\x34"[..], &b"\x70\x00\x12\x34"[..]), // a ping
        (b"\x40\x01\x12\x34\xff", b"\x70\x00\x12\x34"),       // malformed
        (b"\x40\x45\x12\x34", b"\x70\x00\x12\x34"),           // a response to nothing
        (b"\x50\x00\x12\x34", b""),
        (b"\x50\x01\x12\x34\xff", b""),
        (b"\x50\x45\x12\x34", b""),
        (b"\x60\x00\x12\x34", b""),
        (b"\x70\x00\x12\x34", b""),
        (b"\x80\x01\x12\x34", b""),
        (b"", b""),
        // A non-confirmable request with an option that must be known.
        (b"\x50\x01\x12\x34\xd0\x00", b""),
    ] {
        let replies = world.exchange(0, datagram);
        assert_eq!(replies.first().map_or(&b""[..], |reply| &reply[..]), expected, "{datagram:02x?}");
    }
    assert_eq!((world.door.endpoints_len(), world.peers.len()), (0, 0), "none of these costs state");
}

#[test]
fn a_non_confirmable_request_gets_a_non_confirmable_response() {
    let mut world = world();
    let answers = world.ask(0, &request(Kind::NonConfirmable, Code::PUT, 7, "t/a", "x"));
    assert_eq!((answers.len(), answers[0].kind, answers[0].code), (1, Kind::NonConfirmable, Code::CHANGED));
    let refused = world.ask(0, &request(Kind::NonConfirmable, Code::PUT, 8, "t/$SYS/a", "x"));
    assert_eq!(refused[0].code, Code::FORBIDDEN);
}

#[test]
fn values_are_described_and_validated() {
    let mut world = world();
    let mut put = request(Kind::Confirmable, Code::PUT, 1, "t/a", "{}");
    put.options.add_uint(number::CONTENT_FORMAT, 50);
    put.options.add_uint(number::MAX_AGE, 100);
    assert_eq!(world.ask(0, &put)[0].code, Code::CHANGED);
    world.run_ms(40_000);
    let value = ask(&mut world, Code::GET, 2, "t/a", "");
    assert_eq!(value.options.uint(number::CONTENT_FORMAT), Some(50));
    assert_eq!(value.options.uint(number::MAX_AGE), Some(60));
    let etag = value.options.get(number::ETAG).unwrap().clone();
    let mut again = request(Kind::Confirmable, Code::GET, 3, "t/a", "");
    again.options.add(number::ETAG, etag);
    let valid = world.ask(0, &again).remove(0);
    assert_eq!((valid.code, valid.payload.len()), (Code::VALID, 0));
    let mut other = request(Kind::Confirmable, Code::GET, 4, "t/a", "");
    other.options.add_uint(number::ACCEPT, 60);
    assert_eq!(world.ask(0, &other)[0].code, Code::NOT_ACCEPTABLE);
    world.run_ms(61_000);
    assert_eq!(ask(&mut world, Code::GET, 5, "t/a", "").code, Code::NOT_FOUND, "it has expired");
    let mut strange = request(Kind::Confirmable, Code::PUT, 6, "t/a", "?");
    strange.options.add_uint(number::CONTENT_FORMAT, 65_000);
    world.ask(0, &strange);
    assert_eq!(ask(&mut world, Code::GET, 7, "t/a", "").options.uint(number::CONTENT_FORMAT), Some(65_000));
}

#[test]
fn discovery_is_filtered() {
    let mut world = world();
    let all = ask(&mut world, Code::GET, 1, ".well-known/core", "");
    assert_eq!(all.options.uint(number::CONTENT_FORMAT), Some(40));
    let text = |answer: Message| String::from_utf8(answer.payload.to_vec()).unwrap();
    assert!(text(all).contains("</t>;rt=\"althing.topics\""));
    for (id, query, expected) in [(2, "rt=althing.*", true), (3, "rt=core.ps", false), (4, "href=/t", true)] {
        let answer = ask(&mut world, Code::GET, id, &format!(".well-known/core?{query}"), "");
        assert_eq!(text(answer).contains("</t>"), expected, "{query}");
    }
    assert_eq!(world.door.endpoints_len(), 0, "discovery costs no state");
}

#[test]
fn a_full_house_says_so_and_serves_those_inside() {
    let config = CoapConfig { endpoints_max: 1, ..CoapConfig::default() };
    let mut world = World::new(1, 2, config, Weather::default());
    assert_eq!(world.ask(0, &request(Kind::Confirmable, Code::PUT, 1, "t/a", "x"))[0].code, Code::CHANGED);
    assert_eq!(world.ask(1, &request(Kind::Confirmable, Code::GET, 1, "t/a", ""))[0].code, Code::SERVICE_UNAVAILABLE);
    assert_eq!(world.ask(0, &request(Kind::Confirmable, Code::GET, 2, "t/a", ""))[0].code, Code::CONTENT);
    world.run_ms(120_000);
    assert_eq!(world.ask(1, &request(Kind::Confirmable, Code::GET, 2, "t/a", ""))[0].code, Code::CONTENT);
}

#[test]
fn exactly_once_is_carried_through() {
    let mut world = world();
    world.subscribe("a");
    assert_eq!(ask(&mut world, Code::PUT, 1, "t/a?qos=2", "x").code, Code::CHANGED);
    assert_eq!(ask(&mut world, Code::PUT, 2, "t/a?qos=2", "y").code, Code::CHANGED);
    assert_eq!(world.heard.len(), 2);
}

#[test]
fn timers_stay_in_proportion() {
    let config = CoapConfig { endpoint_idle_s: 86_400, ..CoapConfig::default() };
    let mut world = World::new(1, 1, config, Weather { loss_percent: 100, ..Weather::default() });
    for id in 0..5_000 {
        assert_eq!(ask(&mut world, Code::GET, id, "t/a", "").code, Code::NOT_FOUND);
        world.run_ms(600);
        assert!(world.door.timers_len() <= 1_100);
    }
}
