//! What leaves when, and under which id (RFC 7252 §4.4, §4.7; RFC 7641 §4.5).

use crate::world::{Weather, World, observe};
use althing_coap::CoapConfig;
use althing_coap::message::{Code, Kind, Message, number};
use althing_core::Guarantee;
use bytes::Bytes;
use std::collections::BTreeMap;

/// A world in which clients do nothing by themselves.
fn silent_world(config: CoapConfig) -> World {
    World::new(1, 2, config, Weather { loss_percent: 100, ..Weather::default() })
}

/// One client observes and has acknowledged its first notification.
fn world_with_observer(config: CoapConfig) -> World {
    let mut world = silent_world(config);
    world.ask(0, &observe(1, b"x"));
    world.publish("a", "proves", Guarantee::AtMostOnce, false);
    acknowledge_last(&mut world);
    world
}

fn last(world: &World) -> Message {
    world.sent_to(0, 0).pop().unwrap()
}

fn acknowledge_last(world: &mut World) {
    let last = last(world);
    assert_eq!(last.kind, Kind::Confirmable);
    world.say_empty(0, Kind::Acknowledgement, last.id);
}

/// §4.4: no id comes back within EXCHANGE_LIFETIME, though somebody publishes without end; what waits is replaced by what is newer.
#[test]
fn ids_do_not_come_back_within_their_lifetime() {
    let mut world = world_with_observer(CoapConfig { unconfirmed_bytes_max: u32::MAX, ..CoapConfig::default() });
    let mut used = BTreeMap::new();
    let (mut told, mut newest) = (0, Bytes::new());
    for number in 0..100_000 {
        let from = world.sent.len();
        newest = number.to_string().into();
        world.publish("a", newest.clone(), Guarantee::AtMostOnce, false);
        world.run_ms(2);
        for message in world.sent_to(0, from) {
            let before = used.insert(message.id, world.now.mono_ns).unwrap_or_default();
            assert!(before == 0 || world.now.mono_ns - before >= 247_000_000_000, "id {} came back", message.id);
            if message.kind == Kind::Confirmable {
                world.say_empty(0, Kind::Acknowledgement, message.id);
            }
            told += 1;
        }
    }
    assert!((50_000..60_000).contains(&told), "{told}: as many as there are ids for, and no more");
    world.run_ms(1_000);
    assert_eq!(last(&world).payload, newest, "the newest is what arrives");
}

/// The same for what has to arrive: nothing is lost, it waits.
#[test]
fn what_has_to_arrive_waits_for_an_id() {
    let mut world = silent_world(CoapConfig::default());
    world.ask(0, &observe(1, b"x"));
    let from = world.sent.len();
    for number in 0..9_000 {
        world.publish("a", number.to_string(), Guarantee::AtLeastOnce, false);
        acknowledge_all(&mut world);
    }
    assert!(world.sent.len() - from < 8_500, "more than there are ids for at once: {}", world.sent.len() - from);
    for _ in 0..9_000 {
        world.run_ms(5);
        acknowledge_all(&mut world);
    }
    let told: Vec<_> = world.sent_to(0, from).into_iter().map(|it| it.payload).collect();
    let expected: Vec<_> = (0..9_000).map(|number: u32| Bytes::from(number.to_string())).collect();
    assert_eq!(told, expected, "each of them, in order");
}

fn acknowledge_all(world: &mut World) {
    // An acknowledgement of what was acknowledged before changes nothing (§4.2).
    if let Some((_, datagram)) = world.sent.last() {
        world.say_empty(0, Kind::Acknowledgement, u16::from_be_bytes([datagram[2], datagram[3]]));
    }
}

/// Whoever comes back after its session was forgotten does not hear an id that it has heard lately.
#[test]
fn ids_go_on_when_an_address_comes_back() {
    let mut world = silent_world(CoapConfig::default());
    let mut get = Message::new(Kind::NonConfirmable, Code::GET, 1);
    get.options.add(number::URI_PATH, Bytes::from_static(b"t"));
    get.options.add(number::URI_PATH, Bytes::from_static(b"a"));
    let mut ids = Vec::new();
    for round in 0..3 {
        ids.extend((0..20).map(|id| world.ask(0, &Message { id: round * 100 + id, ..get.clone() })[0].id));
        world.run_ms(65_000);
        assert_eq!(world.door.endpoints_len(), 0);
    }
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count);
}

/// RFC 7641 §4.5.2: the newer state takes over the repeats, under an id of its own, with the counter and the patience of the old one.
#[test]
fn a_newer_state_takes_over_the_repeats() {
    let mut world = silent_world(CoapConfig::default());
    world.ask(0, &observe(1, b"x"));
    let from = world.sent.len();
    world.publish("a", "old", Guarantee::AtMostOnce, false);
    world.run_ms(3_000);
    let repeated = world.sent_to(0, from);
    assert_eq!((repeated.len(), &repeated[1]), (2, &repeated[0]), "nothing newer is there");
    world.publish("a", "newer", Guarantee::AtMostOnce, false);
    world.publish("a", "newest", Guarantee::AtMostOnce, false);
    assert_eq!(world.sent_to(0, from).len(), 2, "one at a time (NSTART)");
    world.run_ms(6_000);
    let third = world.sent_to(0, from).pop().unwrap();
    assert_eq!((&third.payload[..], third.kind, third.token), (&b"newest"[..], Kind::Confirmable, repeated[0].token));
    assert_ne!(third.id, repeated[0].id);
    assert!(third.options.uint(number::OBSERVE) > repeated[0].options.uint(number::OBSERVE));
    // The old one arrives after all: that says nothing about the newest.
    world.say_empty(0, Kind::Acknowledgement, repeated[0].id);
    world.run_ms(12_000);
    let fourth = world.sent_to(0, from).pop().unwrap();
    assert_eq!(fourth, third);
    world.run_ms(100_000);
    assert_eq!(world.sent_to(0, from).len(), 5, "four repeats in all (MAX_RETRANSMIT)");
    assert_eq!((world.door.observations_len(), world.broker.statistics().subscriptions), (0, 0));
}

#[test]
fn the_newest_is_acknowledged_and_refused_under_its_own_id() {
    for kind in [Kind::Acknowledgement, Kind::Reset] {
        let mut world = silent_world(CoapConfig::default());
        world.ask(0, &observe(1, b"x"));
        world.publish("a", "old", Guarantee::AtMostOnce, false);
        world.publish("a", "newest", Guarantee::AtMostOnce, false);
        world.run_ms(3_000);
        let newest = last(&world);
        assert_eq!(&newest.payload[..], b"newest");
        let from = world.sent.len();
        world.say_empty(0, kind, newest.id);
        world.run_ms(100_000);
        assert_eq!(world.sent.len(), from, "{kind:?}: nothing is repeated");
        assert_eq!(world.door.observations_len(), usize::from(kind == Kind::Acknowledgement));
    }
}

/// What has to arrive is repeated as it is: every message, not only the newest.
#[test]
fn what_has_to_arrive_is_not_taken_over() {
    let mut world = silent_world(CoapConfig::default());
    world.ask(0, &observe(1, b"x"));
    world.publish("a", "one", Guarantee::AtLeastOnce, false);
    world.publish("a", "two", Guarantee::AtMostOnce, false);
    world.run_ms(20_000);
    assert_eq!(&last(&world).payload[..], b"one");
    acknowledge_last(&mut world);
    assert_eq!(&last(&world).payload[..], b"two");
}

/// §4.7: whoever does not respond is sent no more than PROBING_RATE on average, but what may go at once.
#[test]
fn who_does_not_respond_is_asked_to_confirm_before_it_hears_more() {
    let mut world = world_with_observer(CoapConfig { unconfirmed_bytes_max: 1_000, ..CoapConfig::default() });
    let from = world.sent.len();
    for _ in 0..100 {
        world.publish("a", vec![b'x'; 100], Guarantee::AtMostOnce, false);
    }
    let told = world.sent_to(0, from);
    let unconfirmed = told.iter().filter(|it| it.kind == Kind::NonConfirmable).count();
    assert!((9..=10).contains(&unconfirmed), "{unconfirmed}");
    assert_eq!((told.len(), told.last().unwrap().kind), (unconfirmed + 1, Kind::Confirmable));
    // An acknowledgement makes it hear as much again; the newest has waited.
    acknowledge_last(&mut world);
    acknowledge_last(&mut world);
    let from = world.sent.len();
    world.publish("a", "free", Guarantee::AtMostOnce, false);
    assert_eq!(world.sent_to(0, from)[0].kind, Kind::NonConfirmable);
    // Silence ends the observation, however seldom something is said.
    for _ in 0..100 {
        world.publish("a", vec![b'x'; 100], Guarantee::AtMostOnce, false);
        world.run_ms(2_000);
    }
    assert_eq!((world.door.observations_len(), world.broker.statistics().subscriptions), (0, 0));
}

/// One byte a second is what it may hear besides (PROBING_RATE, §4.8).
#[test]
fn what_is_said_seldom_need_not_be_confirmed() {
    let mut world = world_with_observer(CoapConfig { unconfirmed_bytes_max: 100, ..CoapConfig::default() });
    let from = world.sent.len();
    for _ in 0..50 {
        world.publish("a", vec![b'x'; 20], Guarantee::AtMostOnce, false);
        world.run_ms(60_000);
    }
    let told = world.sent_to(0, from);
    assert_eq!(told.len(), 50);
    assert!(told.iter().all(|it| it.kind == Kind::NonConfirmable));
}

/// Nothing unconfirmed passes by what is under way to the same silent address, whatever it observes.
#[test]
fn one_budget_is_for_all_observations_of_an_address() {
    let mut world = world_with_observer(CoapConfig { unconfirmed_bytes_max: 200, ..CoapConfig::default() });
    world.ask(0, &observe(2, b"y"));
    let from = world.sent.len();
    for _ in 0..100 {
        world.publish("a", vec![b'x'; 100], Guarantee::AtMostOnce, false);
    }
    assert!(world.sent_to(0, from).len() <= 4, "two and one that asks: {}", world.sent_to(0, from).len());
}

/// §5.2.2, PROCESSING_DELAY: the acknowledgement does not wait for the store, and comes again for each repeat of the request.
#[test]
fn what_takes_long_is_acknowledged_in_time_and_again() {
    let mut world = silent_world(CoapConfig::default());
    world.weather.store_ms = 30_000;
    world.subscribe("#");
    let mut put = observe(7, b"x");
    put.options = Default::default();
    put.options.add(number::URI_PATH, Bytes::from_static(b"t"));
    put.options.add(number::URI_PATH, Bytes::from_static(b"a"));
    let put = Message { code: Code::PUT, payload: "v".into(), ..put };
    let acknowledgement = [Message::new(Kind::Acknowledgement, Code::EMPTY, 7)];
    assert_eq!(world.ask(0, &put), []);
    world.run_ms(100);
    assert_eq!(world.ask(0, &put), [], "it is being carried out");
    // The client's ACK_TIMEOUT is 2 s at least.
    world.run_ms(1_900);
    assert_eq!(world.sent_to(0, 0), acknowledgement);
    for _ in 0..3 {
        assert_eq!(world.ask(0, &put), acknowledgement);
        world.run_ms(5_000);
    }
    let from = world.sent.len();
    world.run_ms(15_000);
    let response = world.sent_to(0, from).remove(0);
    assert_eq!((response.kind, response.code, response.token), (Kind::Confirmable, Code::CHANGED, put.token));
    // Whose acknowledgement was lost asks again, and is not carried out again.
    assert_eq!(world.ask(0, &put), acknowledgement);
    world.say_empty(0, Kind::Acknowledgement, response.id);
    let from = world.sent.len();
    world.run_ms(100_000);
    assert_eq!((world.sent.len(), world.heard.len()), (from, 1));
}
