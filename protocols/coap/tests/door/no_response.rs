//! No-Response (RFC 7967): what is done is done, and only what the client wants to hear is said.

use crate::world::{Weather, World, remote, token};
use althing_coap::message::{Code, Kind, Message, number};
use althing_coap::{AddressProof, CoapConfig};
use althing_core::Guarantee;
use bytes::Bytes;

fn world() -> World {
    World::new(1, 2, CoapConfig::default(), Weather::default())
}

fn request(kind: Kind, code: Code, id: u16, path: &[&'static str], unwanted: u32) -> Message {
    let mut message = Message::new(kind, code, id);
    message.token = token(b"x");
    path.iter().for_each(|segment| message.options.add(number::URI_PATH, Bytes::from_static(segment.as_bytes())));
    message.options.add_uint(number::NO_RESPONSE, unwanted);
    message
}

/// §2.1: each class is suppressed by a bit of its own.
#[test]
fn what_is_unwanted_is_carried_out_and_not_answered() {
    let put = |id, unwanted| Message {
        payload: "v".into(),
        ..request(Kind::NonConfirmable, Code::PUT, id, &["t", "a"], unwanted)
    };
    let mut world = world();
    world.subscribe("#");
    assert_eq!(world.ask(0, &put(1, 2)), []);
    assert_eq!(world.ask(0, &put(2, 26)), []);
    assert_eq!(world.heard.len(), 2);
    assert_eq!(world.ask(0, &put(3, 8))[0].code, Code::CHANGED);
    assert_eq!(world.ask(0, &put(4, 0))[0].code, Code::CHANGED);
    let get = |id, unwanted| request(Kind::NonConfirmable, Code::GET, id, &["t", "none"], unwanted);
    assert_eq!(world.ask(0, &get(5, 2))[0].code, Code::NOT_FOUND);
    assert_eq!(world.ask(0, &get(6, 8)), []);
    // What comes again is not carried out again (RFC 7252 §4.5), nor answered.
    assert_eq!(world.ask(0, &put(1, 2)), []);
    assert_eq!(world.heard.len(), 4);
}

/// §2: the message layer goes on as before: what is confirmable is acknowledged, and when it comes again, again.
#[test]
fn a_confirmable_request_is_acknowledged_all_the_same() {
    for (path, code) in [(&["t", "a"][..], Code::PUT), (&["t", "none"], Code::GET), (&["nowhere"], Code::GET)] {
        let mut world = world();
        let message = request(Kind::Confirmable, code, 7, path, 26);
        let acknowledgement = [Message::new(Kind::Acknowledgement, Code::EMPTY, 7)];
        assert_eq!(world.ask(0, &message), acknowledgement);
        assert_eq!(world.ask(0, &message), acknowledgement, "when it comes again");
        world.run_ms(10_000);
        assert_eq!(world.sent.len(), 2, "and nothing else");
    }
}

#[test]
fn what_takes_long_is_acknowledged_once() {
    let mut world = World::new(1, 1, CoapConfig::default(), Weather { store_ms: 3_000, ..Weather::default() });
    world.subscribe("#");
    world.ask(0, &request(Kind::Confirmable, Code::PUT, 7, &["t", "a"], 2));
    world.run_ms(10_000);
    assert_eq!((world.heard.len(), world.sent.len()), (1, 1));
}

/// RFC 9175 §2.3: without the challenge the request could never be carried out.
#[test]
fn a_challenge_is_never_unwanted() {
    let config = CoapConfig { address_proof: AddressProof::Always, ..CoapConfig::default() };
    let mut world = World::new(1, 1, config, Weather::default());
    let block = |id, echo: Option<&Bytes>| {
        let mut block = request(Kind::Confirmable, Code::PUT, id, &["t", "a"], 26);
        block.options.add_uint(number::BLOCK1, 8);
        echo.into_iter().for_each(|echo| block.options.add(number::ECHO, echo.clone()));
        Message { payload: "sixteen bytes...".into(), ..block }
    };
    let challenge = world.ask(0, &block(1, None)).remove(0);
    assert_eq!(challenge.code, Code::UNAUTHORIZED);
    // Nor is the word that the next block may come (RFC 7959 §2.9.1).
    let next = world.ask(0, &block(2, challenge.options.get(number::ECHO))).remove(0);
    assert_eq!(next.code, Code::CONTINUE, "to {}", remote(0));
}

/// Notifications are responses that the client waits for; the first one tells whether it observes at all.
#[test]
fn observers_hear_what_they_observe() {
    let mut world = world();
    let mut observe = request(Kind::Confirmable, Code::GET, 1, &["t", "a"], 26);
    observe.options.add_uint(number::OBSERVE, 0);
    assert_eq!(world.ask(0, &observe)[0].code, Code::CONTENT);
    let from = world.sent.len();
    world.publish("a", "value", Guarantee::AtLeastOnce, false);
    assert_eq!(world.sent.len() - from, 1);
    // Whoever leaves need not hear the value once more (RFC 7967 §2, table of uses).
    let mut forget = request(Kind::NonConfirmable, Code::GET, 2, &["t", "a"], 26);
    forget.options.add_uint(number::OBSERVE, 1);
    assert_eq!(world.ask(0, &forget), []);
    assert_eq!(world.door.observations_len(), 0);
}
