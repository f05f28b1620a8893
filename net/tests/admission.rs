//! Who is turned away before anything is read, over real sockets.

#![allow(clippy::unwrap_used, reason = "a failure of any step fails the test")]

mod language;

use althing_core::Limits;
use althing_core::authorisation::Policy;
use althing_net::{ListenerLimits, local};
use language::{House, hear, house, house_with, say};
use std::sync::Arc;
use tokio::io::AsyncReadExt;

/// Limits that hold for this machine too.
fn limits(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits { address_limits_on_loopback: true, ..Limits::default() };
    change(&mut limits);
    limits
}

/// Connects and is turned away: nothing is answered, the connection ends.
async fn is_turned_away(house: &House, why: &str) {
    let mut peer = house.connect().await;
    let mut heard = Vec::new();
    let _ = peer.read_to_end(&mut heard).await;
    assert_eq!(heard, [] as [u8; 0]);
    house.closed(why).await;
}

#[test]
fn a_listener_takes_as_many_as_it_may_and_one_more_when_one_leaves() {
    house(async |house: House| {
        local::set_listener_limits("line", ListenerLimits { connections_max: Some(1), connects_per_s: None });
        let first = house.connect_as("first").await;
        is_turned_away(&house, "as many connections as its connections_max allows: 1").await;
        drop(first);
        house.closed("without a goodbye").await;
        let second = house.connect_as("second").await;
        local::set_listener_limits("line", ListenerLimits::default());
        house.connect_as("third").await;
        drop(second);
        assert_eq!(local::counters().turned_away.listener_full, 1);
    });
}

#[test]
fn an_address_has_few_connections_that_do_not_stand() {
    house_with(limits(|limits| limits.openings_per_address_max = 2), async |house: House| {
        let mut first = house.connect().await;
        let _second = house.connect().await;
        is_turned_away(&house, "limits.openings_per_address_max allows: 2").await;
        say(&mut first, "connect first\n").await;
        hear(&mut first, "connected\n").await;
        let mut third = house.connect().await;
        say(&mut third, "hello\n").await;
        hear(&mut third, "hello\n").await;
    });
}

#[test]
fn failures_leave_nothing_behind() {
    let limits = limits(|limits| {
        (limits.connections_per_address_max, limits.openings_per_address_max) = (3, 3);
        (limits.connects_per_s_per_address, limits.short_connections_per_address_max) = (u32::MAX, u32::MAX);
    });
    house_with(limits, async |house: House| {
        for round in 0..1_000 {
            let mut peer = house.connect().await;
            say(&mut peer, if round % 2 == 0 { "close\n" } else { "panic\n" }).await;
            let _ = peer.read_to_end(&mut Vec::new()).await;
            drop(peer);
            while local::counters().connections > 0 {
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(local::counters().turned_away, Default::default());
        house.connect_as("good").await;
    });
}

#[test]
fn who_fails_too_often_is_turned_away_and_new_limits_hold_at_once() {
    house_with(limits(|limits| limits.short_connections_per_address_max = 20), async |house: House| {
        for _ in 0..3 {
            let mut peer = house.connect().await;
            say(&mut peer, "close\n").await;
            hear(&mut peer, "bye\n").await;
            drop(peer);
            while local::counters().connections > 0 {
                tokio::task::yield_now().await;
            }
        }
        is_turned_away(&house, "it is turned away for 10 s").await;
        local::set_limits(Arc::new(Limits::default()));
        house.connect_as("again").await;
    });
}

#[test]
fn banned_networks_are_turned_away() {
    house(async |house: House| {
        let mut policy = Policy::open();
        policy.banned.networks = vec!["127.0.0.0/8".parse().unwrap()];
        local::set_policy(Arc::new(policy));
        is_turned_away(&house, "authorisation.banned_networks").await;
        local::set_policy(Arc::new(Policy::open()));
        house.connect_as("again").await;
    });
}
