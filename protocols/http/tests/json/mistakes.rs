use crate::hall::Hall;
use althing_core::Limits;
use althing_core::authorisation::Policy;
use althing_core::verbs::Reason;
use serde_json::json;

#[test]
fn each_mistake_has_a_sentence_and_ends_nothing() {
    let deep = format!(r#"{{"type":"publish","topic":"a","payload_json":{}1{}}}"#, "[".repeat(129), "]".repeat(129));
    let many: Vec<_> = (0..100).map(|number| format!(r#""f{number}":1"#)).collect();
    let many = format!(r#"{{"type":"ping",{}}}"#, many.join(","));
    let long = format!(r#"{{"type":"ping","id":"{}"}}"#, "x".repeat(2_000));
    for (message, text) in [
        ("", "this is no message: EOF"),
        ("hello", "this is no message: expected value"),
        ("[]", "this is no message: invalid type: sequence, expected an object"),
        ("{}", "a message has a `type`"),
        (r#"{"type":7}"#, "`type` is a string"),
        (r#"{"type":"ping"} {}"#, "this is no message: trailing characters"),
        (r#"{"type":"ping","type":"ping"}"#, "`type` stands in it twice"),
        (r#"{"type":"ping","t\u0079pe":"ping"}"#, "`type` stands in it twice"),
        (&many, "it has more than 64 fields"),
        (&long, "`id` is longer than 1024 bytes"),
        (r#"{"type":"ping","id":1.5}"#, "`id` is a string or a whole number"),
        (r#"{"type":"ping","id":{}}"#, "`id` is a string or a whole number"),
        (r#"{"type":"ping","id":"\ud800"}"#, "`id` is a string or a whole number"),
        (r#"{"type":"ping","x":1}"#, "a `ping` has no field `x`; it has `type`, `id`"),
        (r#"{"type":"publsh"}"#, "there is no `type` `publsh`; did you mean `publish`?"),
        (r#"{"type":"zzz"}"#, "there is no `type` `zzz`; there are connect, publish"),
        (r#"{"type":"publish"}"#, "a `publish` names its `topic`"),
        (r#"{"type":"publish","topic":"a/#"}"#, "`a/#` is no topic: a topic name must not contain the wildcards"),
        (r#"{"type":"publish","topic":"a\u0000"}"#, "is no topic: a topic must not contain U+0000"),
        (r#"{"type":"publish","topic":"a","qos":3}"#, "`qos` is 0, 1 or 2"),
        (r#"{"type":"publish","topic":"a","qos":1e999}"#, "`qos` is 0, 1 or 2"),
        (r#"{"type":"publish","topic":"a","qos":"1"}"#, "`qos` is 0, 1 or 2"),
        (r#"{"type":"publish","topic":"a","qos":2}"#, "whole number from 1 to 65535"),
        (r#"{"type":"publish","topic":"a","qos":2,"id":"x"}"#, "whole number from 1 to 65535"),
        (r#"{"type":"publish","topic":"a","qos":2,"id":65536}"#, "whole number from 1 to 65535"),
        (r#"{"type":"publish","topic":"a","retained":true}"#, "did you mean `retain`?"),
        (
            r#"{"type":"publish","topic":"a","payload":null}"#,
            "`payload` is a string; any other value is a `payload_json`",
        ),
        (r#"{"type":"publish","topic":"a","payload":"\ud800"}"#, "`payload` is a string"),
        (&deep, "`payload_json` has more than 128 levels"),
        (r#"{"type":"publish","topic":"a","payload":"x","payload_base64":"eA=="}"#, "a message has one payload"),
        (r#"{"type":"publish","topic":"a","payload_base64":"?"}"#, "`payload_base64` is base64 with padding"),
        (r#"{"type":"publish","topic":"a","properties":[]}"#, "this is no properties"),
        (r#"{"type":"publish","topic":"a","properties":{"user":{"a":"b"}}}"#, "`user` is an array of pairs"),
        (r#"{"type":"publish","topic":"a","properties":{"content_type":"\u0000"}}"#, "contains U+0000"),
        (r#"{"type":"publish","topic":"a","properties":{"content-type":"a"}}"#, "did you mean `content_type`?"),
        (r#"{"type":"subscribe"}"#, "`subscribe` names at least one of its `filters`"),
        (r#"{"type":"subscribe","filters":"a"}"#, "`filters` is an array of filters"),
        (r##"{"type":"subscribe","filter":"a#"}"##, "`a#` is no filter: a wildcard must be a whole level"),
        (r#"{"type":"subscribe","filters":[{"filtre":"a"}]}"#, "a filter's text is its `filter`"),
        (r#"{"type":"subscribe","filter":"a","subscription_id":0}"#, "`subscription_id` is a whole number from 1"),
        (r#"{"type":"ack"}"#, "an `ack` has the `number` of a message"),
        (r#"{"type":"release","id":"x"}"#, "whole number from 1 to 65535"),
    ] {
        let mut hall = Hall::new();
        let seat = hall.connect(r#"{"type":"connect"}"#);
        let heard = hall.say(seat, message);
        let said = heard[0]["text"].as_str().unwrap();
        assert!(heard[0]["type"] == "error" && said.contains(text), "{message}: {said}");
        assert_eq!(hall.say(seat, r#"{"type":"ping"}"#), [json!({"type":"pong"})], "{message}");
    }
}

#[test]
fn binary_messages_that_are_none_are_told_so() {
    let mut hall = Hall::new();
    let seat = hall.connect(r#"{"type":"connect"}"#);
    for (bytes, text) in [
        (&b""[..], "a binary message begins with the length of its object"),
        (b"\0\0\0", "a binary message begins with the length of its object"),
        (b"\xff\xff\xff\xff{}", "the object of a binary message is 4294967295 bytes long, and 2 have come"),
        (b"\0\0\0\x01\xff", "an object is UTF-8 text"),
        (b"\0\0\0\x0f{\"type\":\"ping\"}x", "only a `publish` has a payload behind its object"),
    ] {
        let heard = hall.say_binary(seat, bytes);
        assert!(heard[0]["text"].as_str().unwrap().contains(text), "{heard:?}");
    }
}

#[test]
fn the_first_message_may_be_a_mistake_too_and_is_the_end_then() {
    let mut hall = Hall::new();
    let seat = hall.accept();
    let heard = hall.say(seat, "hello");
    assert_eq!((&heard[0]["type"], &heard[0]["closes"]), (&json!("error"), &json!(true)));
    assert_eq!(hall.why_closed(seat), Some(Reason::Malformed));
}

#[test]
fn messages_are_bounded_and_smaller_before_the_session_stands() {
    let limits = Limits { packet_bytes_max: 200, packet_bytes_before_connect_max: 100, ..Limits::default() };
    let publish =
        |length: usize| format!(r#"{{"type":"publish","id":1,"topic":"a","payload":"{}"}}"#, "x".repeat(length));
    let mut hall = Hall::with(limits.clone(), Policy::open());
    let seat = hall.connect(r#"{"type":"connect"}"#);
    assert_eq!(hall.say(seat, &publish(100))[0]["type"], "published");
    assert_eq!(hall.say(seat, &publish(200))[0]["reason"], "packet_too_large");
    let mut hall = Hall::with(limits, Policy::open());
    let seat = hall.accept();
    assert_eq!(hall.say(seat, &publish(100))[0]["reason"], "packet_too_large");
    assert_eq!(hall.why_closed(seat), Some(Reason::PacketTooLarge));
}

#[test]
fn requests_beyond_the_receive_maximum_wait_for_answers() {
    let mut hall = Hall::with(Limits { receive_maximum: 1, ..Limits::default() }, Policy::open());
    let lasting = hall.connect(r#"{"type":"connect","client":"l","clean":false,"session_expiry_s":60}"#);
    hall.say(lasting, r#"{"type":"subscribe","filter":"a","qos":1}"#);
    let seat = hall.connect(r#"{"type":"connect"}"#);
    hall.stores = false;
    hall.say(seat, r#"{"type":"publish","topic":"a","qos":1}"#);
    assert_eq!(hall.say(seat, r#"{"type":"ping"}"#).len(), 0, "the ping waits behind the publish");
    hall.store();
    assert_eq!(hall.heard(seat), [json!({"type":"pong"})]);
}
