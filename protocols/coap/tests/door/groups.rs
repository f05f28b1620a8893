//! Requests to a group of hosts (RFC 7252 §8): an answer from whom has one, and never a mistake, a reset or an acknowledgement.

use crate::world::{Weather, World};
use althing_coap::CoapConfig;
use althing_coap::message::{Code, Kind};

fn world() -> World {
    World::new(1, 1, CoapConfig::default(), Weather::default())
}

#[test]
fn a_group_that_is_asked_what_it_has_answers_unconfirmed() {
    let mut world = world();
    let answers = world.exchange_with_group(0, b"\x52\x01\x12\x34ab\xbb.well-known\x04core");
    assert_eq!(answers.len(), 1);
    let answer = &answers[0];
    assert_eq!((answer.kind, answer.code, answer.token.as_slice()), (Kind::NonConfirmable, Code::CONTENT, &b"ab"[..]));
    assert_eq!(world.door.endpoints_len(), 0);
}

#[test]
fn a_group_is_silent_about_all_else() {
    for (datagram, why) in [
        (&b"\x40\x00\x12\x34"[..], "a ping"),
        (b"\x40\x01\x12\x34\xff", "a malformed message"),
        (b"\x42\x01\x12\x34ab\xbb.well-known\x04core", "a confirmable request (§8.1)"),
        (b"\x52\x01\x12\x34ab\xb7nowhere", "nothing of that name (§8.2)"),
        (b"\x52\x01\x12\x34ab\xb1t\x01a", "a topic: its value is asked of one host"),
        (b"\x52\x03\x12\x34ab\xb1t\x01a\xffx", "something to publish"),
        (b"\x40\x45\x12\x34", "a response"),
    ] {
        let mut world = world();
        assert_eq!(world.exchange_with_group(0, datagram), [], "{why}");
        assert_eq!(world.door.endpoints_len(), 0, "{why}");
    }
}
