//! Links that lose, repeat and delay (RFC 7252 §4).

use crate::world::{Weather, World};
use althing_coap::client::Event;
use althing_coap::message::Code;
use althing_coap::{AddressProof, CoapConfig};
use althing_core::Guarantee;
use bytes::Bytes;
use std::collections::HashMap;

const STORM: Weather = Weather { loss_percent: 30, repeat_percent: 20, delay_ms_max: 3_000, store_ms: 0, verify_ms: 0 };

/// Longer than anything is kept: EXCHANGE_LIFETIME, the idle time of an endpoint, the patience of a repeat.
const FORGOTTEN_MS: u64 = 600_000;

fn count_of_each(world: &World) -> HashMap<Bytes, usize> {
    let mut counts = HashMap::new();
    for (_, payload) in &world.heard {
        *counts.entry(payload.clone()).or_default() += 1;
    }
    counts
}

/// In every second world addresses have to prove themselves.
fn config(seed: u64) -> CoapConfig {
    let address_proof = if seed.is_multiple_of(2) { AddressProof::Never } else { AddressProof::Always };
    CoapConfig { address_proof, ..CoapConfig::default() }
}

#[test]
fn a_confirmed_request_has_one_effect_whatever_the_link_does() {
    for (seed, store_ms) in (0..20).flat_map(|seed| [(seed, 0), (seed, 700), (seed, 5_000)]) {
        let mut world = World::new(seed, 3, config(seed), Weather { store_ms, ..STORM });
        world.subscribe("orders/#");
        let mut tokens = Vec::new();
        for number in 0..30 {
            let (client, payload) = (number % 3, format!("order {number}"));
            let token = match number % 2 {
                0 => world.client(client, |it, now| it.post(now, &["t", "orders", "a"], payload.clone())),
                _ => world.client(client, |it, now| it.put(now, &["t", "orders", "b"], payload.clone())),
            };
            tokens.push((client, token, Bytes::from(payload)));
            world.run_ms(500);
        }
        world.run_ms(FORGOTTEN_MS);
        let counts = count_of_each(&world);
        for (client, token, payload) in tokens {
            let count = counts.get(&payload).copied().unwrap_or(0);
            match world.outcome(client, token).expect("every request ends") {
                Ok(code) => assert_eq!((code, count), (Code::CHANGED, 1), "seed {seed}, {payload:?}"),
                Err(()) => assert!(count <= 1, "seed {seed}, {payload:?}"),
            }
        }
    }
}

#[test]
fn observers_come_to_the_last_value() {
    let mut all_observe = 0;
    for seed in 0..30 {
        let mut world = World::new(seed, 4, config(seed), Weather { loss_percent: 10, ..STORM });
        let tokens: Vec<_> =
            (0..4).map(|client| world.client(client, |it, now| it.observe(now, &["t", "state"]))).collect();
        for number in 0..20 {
            let guarantee = if number % 3 == 0 { Guarantee::AtMostOnce } else { Guarantee::AtLeastOnce };
            world.publish("state", format!("value {number}"), guarantee, true);
            world.run_ms(800);
        }
        world.publish("state", "the last", Guarantee::AtLeastOnce, true);
        world.run_ms(FORGOTTEN_MS);
        // A link that has lost everything for a minute and a half has ended an observation, rightly.
        if world.door.observations_len() == 4 {
            all_observe += 1;
            for (client, token) in tokens.into_iter().enumerate() {
                let last = world.payloads(client, token).last().cloned();
                assert_eq!(last.as_deref(), Some(&b"the last"[..]), "seed {seed}, client {client}");
            }
        }
    }
    assert!(all_observe > 20, "{all_observe} of 30");
}

#[test]
fn every_message_at_least_once_arrives_in_order_on_a_link_that_only_delays() {
    let weather = Weather { delay_ms_max: 900, ..Weather::default() };
    let mut world = World::new(3, 1, CoapConfig::default(), weather);
    let token = world.client(0, |it, now| it.observe(now, &["t", "events"]));
    world.run_ms(10_000);
    let sent: Vec<Bytes> = (0..50).map(|number| Bytes::from(format!("event {number}"))).collect();
    for payload in &sent {
        world.publish("events", payload.clone(), Guarantee::AtLeastOnce, false);
    }
    world.run_ms(FORGOTTEN_MS);
    assert_eq!(world.payloads(0, token)[1..], sent);
}

#[test]
fn nothing_is_kept_of_those_who_left() {
    for seed in 0..10 {
        let mut world = World::new(seed, 5, config(seed), STORM);
        for client in 0..5 {
            let token = world.client(client, |it, now| it.observe(now, &["t", "a"]));
            world.run_ms(20_000);
            world.publish("a", "x", Guarantee::AtLeastOnce, false);
            world.client(client, |it, now| it.forget(now, token, &["t", "a"]));
        }
        world.run_ms(FORGOTTEN_MS);
        // Whoever's last word was lost is found out by the next message.
        world.publish("a", "y", Guarantee::AtLeastOnce, false);
        world.run_ms(FORGOTTEN_MS);
        let statistics = world.broker.statistics();
        assert_eq!((world.door.endpoints_len(), world.door.observations_len()), (0, 0), "seed {seed}");
        assert_eq!((statistics.sessions, statistics.subscriptions, world.peers.len()), (1, 0, 0), "seed {seed}");
    }
}

#[test]
fn a_repeat_is_answered_with_the_same_bytes() {
    let mut world = World::new(1, 1, CoapConfig::default(), Weather::default());
    world.subscribe("#");
    let put = b"\x41\x03\x12\x34\x07\xb1t\x01a\xffvalue";
    let first = world.exchange(0, put);
    assert_eq!(first.len(), 1);
    world.run_ms(240_000);
    assert_eq!(world.exchange(0, put), first);
    assert_eq!(world.heard.len(), 1);
    // After EXCHANGE_LIFETIME the id is a new one.
    world.run_ms(8_000);
    world.exchange(0, put);
    assert_eq!(world.heard.len(), 2);
}

#[test]
fn an_answer_that_takes_long_comes_separately() {
    let weather = Weather { store_ms: 3_000, ..Weather::default() };
    let mut world = World::new(1, 1, CoapConfig::default(), weather);
    world.subscribe("#");
    let token = world.client(0, |it, now| it.put(now, &["t", "a"], "value"));
    world.run_ms(2_000);
    let (_, acknowledgement) = world.sent.last().unwrap();
    assert_eq!((world.sent.len(), acknowledgement[0], acknowledgement[1]), (1, 0x60, 0), "an empty acknowledgement");
    assert_eq!(world.outcome(0, token), None);
    world.run_ms(10_000);
    assert_eq!(world.outcome(0, token), Some(Ok(Code::CHANGED)));
    assert_eq!((world.sent.len(), world.sent[1].1[0] & 0x30), (2, 0), "one confirmable response");
    assert_eq!(world.heard.len(), 1);
}

#[test]
fn a_client_gives_up_in_the_time_of_the_specification() {
    let weather = Weather { loss_percent: 100, ..Weather::default() };
    let mut world = World::new(1, 1, CoapConfig::default(), weather);
    let token = world.client(0, |it, now| it.get(now, &["t", "a"]));
    world.run_ms(62_000 - 1);
    assert_eq!(world.outcome(0, token), None);
    world.run_ms(31_001);
    assert_eq!(world.events[0], [Event::Failed { token }]);
}
