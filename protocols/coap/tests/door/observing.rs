//! Observe (RFC 7641).

use crate::world::{Weather, World};
use althing_coap::CoapConfig;
use althing_coap::codec;
use althing_coap::message::{Code, Kind, Message, Token, number};
use althing_core::Guarantee;
use bytes::Bytes;

fn world() -> World {
    World::new(1, 3, CoapConfig::default(), Weather::default())
}

fn observe(id: u16, token: &[u8], register: u32) -> Message {
    let mut message = Message::new(Kind::Confirmable, Code::GET, id);
    message.token = Token::new(token).unwrap();
    message.options.add_uint(number::OBSERVE, register);
    message.options.add(number::URI_PATH, Bytes::from_static(b"t"));
    message.options.add(number::URI_PATH, Bytes::from_static(b"a"));
    message
}

/// What left the door for this client since `from`, as messages.
fn sent(world: &World, client: usize, from: usize) -> Vec<Message> {
    let of_client = world.sent[from..].iter().filter(|(to, _)| *to == client);
    of_client.map(|(_, datagram)| codec::decode(&Bytes::copy_from_slice(datagram)).unwrap()).collect()
}

fn answer_with(world: &mut World, client: usize, kind: Kind, id: u16) {
    let mut datagram = Vec::new();
    codec::encode_empty(kind, id, &mut datagram);
    world.exchange(client, &datagram);
}

#[test]
fn the_first_response_is_the_value_and_the_numbers_grow() {
    let mut world = world();
    world.publish("a", "before", Guarantee::AtMostOnce, true);
    let first = world.ask(0, &observe(1, b"x", 0)).remove(0);
    assert_eq!((first.code, &first.payload[..]), (Code::CONTENT, &b"before"[..]));
    let mut number = first.options.uint(number::OBSERVE).unwrap();
    for payload in ["one", "two", "three"] {
        let from = world.sent.len();
        world.publish("a", payload, Guarantee::AtLeastOnce, false);
        let told = sent(&world, 0, from);
        assert_eq!((told.len(), told[0].kind, &told[0].payload[..]), (1, Kind::Confirmable, payload.as_bytes()));
        assert!(told[0].options.uint(number::OBSERVE).unwrap() > number);
        number = told[0].options.uint(number::OBSERVE).unwrap();
        assert_eq!(told[0].token, first.token);
        answer_with(&mut world, 0, Kind::Acknowledgement, told[0].id);
    }
}

#[test]
fn a_topic_without_a_value_can_be_observed() {
    let mut world = world();
    let first = world.ask(0, &observe(1, b"x", 0)).remove(0);
    assert_eq!((first.code, first.payload.len()), (Code::CONTENT, 0));
    assert!(first.options.get(number::OBSERVE).is_some());
}

#[test]
fn one_message_at_a_time_is_under_way() {
    let mut world = world();
    world.ask(0, &observe(1, b"x", 0));
    let from = world.sent.len();
    for payload in ["one", "two", "three"] {
        world.publish("a", payload, Guarantee::AtLeastOnce, false);
    }
    for expected in ["one", "two", "three"] {
        let told = sent(&world, 0, from);
        let last = told.last().unwrap();
        assert_eq!(&last.payload[..], expected.as_bytes());
        answer_with(&mut world, 0, Kind::Acknowledgement, last.id);
    }
    assert_eq!(sent(&world, 0, from).len(), 3);
}

#[test]
fn an_address_that_has_confirmed_nothing_gets_no_more_than_one_message() {
    let mut world = World::new(1, 1, CoapConfig::default(), Weather { loss_percent: 100, ..Weather::default() });
    world.ask(0, &observe(1, b"x", 0));
    let from = world.sent.len();
    for number in 0..1_000 {
        world.publish("a", format!("{number}"), Guarantee::AtMostOnce, false);
    }
    world.run_ms(100_000);
    assert_eq!(sent(&world, 0, from).len(), 5, "one message and its four repeats");
    assert_eq!(world.door.observations_len(), 0, "nobody is there");
    assert_eq!(world.broker.statistics().subscriptions, 0);
}

#[test]
fn who_has_confirmed_hears_at_most_once_without_confirming() {
    let mut world = World::new(1, 1, CoapConfig::default(), Weather { loss_percent: 100, ..Weather::default() });
    world.ask(0, &observe(1, b"x", 0));
    let from = world.sent.len();
    world.publish("a", "proves", Guarantee::AtMostOnce, false);
    world.publish("a", "older", Guarantee::AtMostOnce, false);
    world.publish("a", "newest", Guarantee::AtMostOnce, false);
    let told = sent(&world, 0, from);
    assert_eq!((told.len(), told[0].kind), (1, Kind::Confirmable));
    answer_with(&mut world, 0, Kind::Acknowledgement, told[0].id);
    let told = sent(&world, 0, from);
    assert_eq!((told.len(), &told[1].payload[..]), (2, &b"newest"[..]), "only the newest has waited");
    answer_with(&mut world, 0, Kind::Acknowledgement, told[1].id);
    let from = world.sent.len();
    world.publish("a", "free", Guarantee::AtMostOnce, false);
    assert_eq!(sent(&world, 0, from)[0].kind, Kind::NonConfirmable);
    // Once a day everyone has to confirm (§4.5).
    world.run_ms(86_400_000);
    let from = world.sent.len();
    world.publish("a", "a day later", Guarantee::AtMostOnce, false);
    assert_eq!(sent(&world, 0, from)[0].kind, Kind::Confirmable);
}

#[test]
fn a_reset_ends_the_observation_that_it_names() {
    for guarantee in [Guarantee::AtMostOnce, Guarantee::AtLeastOnce] {
        let mut world = world();
        world.ask(0, &observe(1, b"x", 0));
        let from = world.sent.len();
        world.publish("a", "one", Guarantee::AtLeastOnce, false);
        let first = sent(&world, 0, from).remove(0);
        answer_with(&mut world, 0, Kind::Acknowledgement, first.id);
        world.publish("a", "two", guarantee, false);
        let second = sent(&world, 0, from).remove(1);
        answer_with(&mut world, 0, Kind::Reset, second.id);
        assert_eq!((world.door.observations_len(), world.broker.statistics().subscriptions), (0, 0), "{guarantee:?}");
    }
}

#[test]
fn the_same_token_again_replaces_and_observe_1_ends() {
    let mut world = world();
    world.ask(0, &observe(1, b"x", 0));
    world.ask(0, &observe(2, b"x", 0));
    assert_eq!(world.door.observations_len(), 1);
    world.ask(0, &observe(3, b"y", 0));
    assert_eq!((world.door.observations_len(), world.broker.statistics().subscriptions), (2, 1));
    let last = world.ask(0, &observe(4, b"x", 1)).remove(0);
    assert_eq!((last.code, last.options.get(number::OBSERVE)), (Code::NOT_FOUND, None));
    assert_eq!((world.door.observations_len(), world.broker.statistics().subscriptions), (1, 1));
    world.ask(0, &observe(5, b"y", 1));
    assert_eq!((world.door.observations_len(), world.broker.statistics().subscriptions), (0, 0));
}

#[test]
fn two_observers_of_one_address_both_hear_before_the_next_message() {
    let mut world = world();
    world.ask(0, &observe(1, b"x", 0));
    world.ask(0, &observe(2, b"y", 0));
    let from = world.sent.len();
    world.publish("a", "one", Guarantee::AtLeastOnce, false);
    world.publish("a", "two", Guarantee::AtLeastOnce, false);
    for _ in 0..4 {
        let last = sent(&world, 0, from).pop().unwrap();
        answer_with(&mut world, 0, Kind::Acknowledgement, last.id);
    }
    let told: Vec<(Token, Bytes)> = sent(&world, 0, from).into_iter().map(|it| (it.token, it.payload)).collect();
    let token = |text: &[u8]| Token::new(text).unwrap();
    let (x, y, one, two) = (token(b"x"), token(b"y"), Bytes::from_static(b"one"), Bytes::from_static(b"two"));
    assert_eq!(told, [(x, one.clone()), (y, one), (x, two.clone()), (y, two)]);
}

#[test]
fn beyond_the_bound_the_value_is_all() {
    let config = CoapConfig { observations_per_address_max: 2, ..CoapConfig::default() };
    let mut world = World::new(1, 3, config, Weather::default());
    world.publish("a", "value", Guarantee::AtMostOnce, true);
    for client in 0..2 {
        assert!(world.ask(client, &observe(1, b"x", 0))[0].options.get(number::OBSERVE).is_some());
    }
    let third = world.ask(2, &observe(1, b"x", 0)).remove(0);
    assert_eq!((third.code, third.options.get(number::OBSERVE)), (Code::CONTENT, None));
    world.ask(0, &observe(2, b"x", 1));
    assert!(world.ask(2, &observe(2, b"x", 0))[0].options.get(number::OBSERVE).is_some());
}

#[test]
fn a_value_that_the_observer_does_not_take_ends_the_observation_with_a_word() {
    let mut world = world();
    let mut wants_cbor = observe(1, b"x", 0);
    wants_cbor.options.add_uint(number::ACCEPT, 60);
    world.ask(0, &wants_cbor);
    let from = world.sent.len();
    let mut put = Message::new(Kind::Confirmable, Code::PUT, 7);
    for segment in ["t", "a"] {
        put.options.add(number::URI_PATH, Bytes::from_static(segment.as_bytes()));
    }
    put.options.add_uint(number::CONTENT_FORMAT, 50);
    put.payload = "{}".into();
    world.ask(1, &put);
    let told = sent(&world, 0, from);
    assert_eq!((told.len(), told[0].code, told[0].options.get(number::OBSERVE)), (1, Code::NOT_ACCEPTABLE, None));
    assert_eq!(world.door.observations_len(), 0);
}

#[test]
fn who_lets_go_before_the_session_stands_leaves_no_subscription() {
    let mut world = world();
    world.weather.verify_ms = 100;
    world.ask(0, &observe(1, b"x", 0));
    world.ask(0, &observe(2, b"x", 0));
    world.ask(0, &observe(3, b"x", 1));
    world.run_ms(200);
    let codes: Vec<Code> = sent(&world, 0, 0).iter().map(|answer| answer.code).collect();
    assert_eq!(codes.len(), 3, "every request is answered: {codes:?}");
    assert_eq!((world.door.observations_len(), world.broker.statistics().subscriptions), (0, 0));
    assert_eq!(world.broker.statistics().sessions, 2);
}

#[test]
fn a_reset_of_the_first_response_ends_the_observation() {
    let mut world = World::new(1, 1, CoapConfig::default(), Weather { loss_percent: 100, ..Weather::default() });
    world.weather.verify_ms = 1_000;
    world.ask(0, &observe(1, b"x", 0));
    world.run_ms(1_100);
    let told = sent(&world, 0, 0);
    assert_eq!((told[0].code, told[1].kind, told[1].code), (Code::EMPTY, Kind::Confirmable, Code::CONTENT));
    assert_eq!(world.door.observations_len(), 1);
    answer_with(&mut world, 0, Kind::Reset, told[1].id);
    assert_eq!((world.door.observations_len(), world.broker.statistics().subscriptions), (0, 0));
}

#[test]
fn acknowledgements_and_resets_of_others_change_nothing() {
    let mut world = World::new(1, 2, CoapConfig::default(), Weather { loss_percent: 100, ..Weather::default() });
    world.ask(0, &observe(1, b"x", 0));
    world.ask(1, &observe(1, b"x", 0));
    let from = world.sent.len();
    world.publish("a", "one", Guarantee::AtLeastOnce, false);
    world.publish("a", "two", Guarantee::AtLeastOnce, false);
    let told = sent(&world, 0, from).remove(0);
    let others = sent(&world, 1, from).remove(0);
    assert_ne!(told.id, others.id);
    for kind in [Kind::Acknowledgement, Kind::Reset] {
        // Somebody else's, and its own with an id that was never sent to it.
        answer_with(&mut world, 1, kind, told.id);
        answer_with(&mut world, 0, kind, others.id);
    }
    assert_eq!((sent(&world, 0, from).len(), world.door.observations_len()), (1, 2));
    world.run_ms(4_000);
    assert_eq!(sent(&world, 0, from)[1], told, "it is still owed");
}
