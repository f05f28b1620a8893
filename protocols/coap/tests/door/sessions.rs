//! Whose an address is: sessions end with what protected them, and several live at one address.

use crate::world::{Weather, World, observe, remote};
use althing_coap::CoapConfig;
use althing_coap::message::{Code, Kind, Message, number};
use althing_core::Guarantee;
use althing_core::door::Source;
use bytes::Bytes;

fn world() -> World {
    World::new(1, 2, CoapConfig::default(), Weather { loss_percent: 100, ..Weather::default() })
}

fn put(id: u16) -> Message {
    let mut put = Message::new(Kind::Confirmable, Code::PUT, id);
    put.options.add(number::URI_PATH, Bytes::from_static(b"t"));
    put.options.add(number::URI_PATH, Bytes::from_static(b"a"));
    Message { payload: "v".into(), ..put }
}

/// RFC 7252 §9.1.1: what was said inside one DTLS association says nothing inside the next one.
#[test]
fn nothing_outlives_the_association_that_protected_it() {
    let mut world = world();
    world.ask_from(Source { is_secured: true, ..Source::plain(remote(0)) }, &observe(1, b"x"));
    world.ask(1, &observe(1, b"x"));
    world.publish("a", "under way", Guarantee::AtLeastOnce, false);
    world.publish("a", "waits", Guarantee::AtLeastOnce, false);
    world.leave(0);
    assert_eq!((world.door.endpoints_len(), world.door.observations_len()), (1, 1), "the other one stays");
    assert_eq!((world.broker.statistics().subscriptions, world.peers.len()), (1, 1));
    let from = world.sent.len();
    world.publish("a", "later", Guarantee::AtLeastOnce, false);
    world.run_ms(30_000);
    assert_eq!(world.sent_to(0, from), [], "nothing is repeated, and nothing more is told");
    // Whoever comes next to this address begins anew, and hears nothing of what was before.
    let reply = world.ask_from(Source { is_secured: true, ..Source::plain(remote(0)) }, &observe(1, b"z")).remove(0);
    assert_eq!((reply.kind, reply.code), (Kind::Acknowledgement, Code::CONTENT));
    world.leave(0);
    world.leave(0);
}

/// The memory of what was answered ends too: an id of the next association is a new one, whose request is carried out.
#[test]
fn answers_are_not_replayed_to_the_next_association() {
    let mut world = world();
    world.subscribe("#");
    let secured = Source { is_secured: true, ..Source::plain(remote(0)) };
    assert_eq!(world.ask_from(secured, &put(1))[0].code, Code::CHANGED);
    assert_eq!(world.ask_from(secured, &put(1))[0].code, Code::CHANGED);
    assert_eq!(world.heard.len(), 1);
    world.leave(0);
    assert_eq!(world.ask_from(secured, &put(1))[0].code, Code::CHANGED);
    assert_eq!(world.heard.len(), 2);
}
