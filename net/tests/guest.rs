//! Peers of the broker that belong to tasks: they are treated like everybody else.

#![allow(clippy::unwrap_used, reason = "a failure of any step fails the test")]

mod language;

use althing_core::authorisation::Policy;
use althing_core::effects::Verdict;
use althing_core::quota::{Quota, Quotas};
use althing_core::{Answer, Limits, Link, Reason};
use althing_net::{Guest, GuestClosed, local};
use language::{House, connect, hear, house, house_under, house_with, publish, say, subscribe};
use std::future::poll_fn;
use std::task::{Context, Waker};

/// A guest whose session stands.
async fn guest(name: &str) -> Guest {
    let guest = Guest::open(Link::new(None, "guests")).unwrap();
    guest.request(connect(name));
    assert!(matches!(answer(&guest).await, Ok(Answer::Connected(_))));
    guest
}

async fn answer(guest: &Guest) -> Result<Answer, GuestClosed> {
    poll_fn(|cx| guest.poll_answer(cx, |_| true)).await
}

fn is_ready(guest: &Guest) -> bool {
    guest.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready()
}

#[test]
fn a_guest_speaks_and_hears() {
    house(async |house: House| {
        let (guest, mut other) = (guest("guest").await, house.connect_as("other").await);
        say(&mut other, "subscribe t\n").await;
        hear(&mut other, "subscribed\n").await;
        guest.request(subscribe("t"));
        assert!(matches!(answer(&guest).await, Ok(Answer::Subscribed { .. })));
        guest.request(publish(3));
        hear(&mut other, "ppp").await;
        let mut deliveries = Vec::new();
        poll_fn(|cx| guest.poll_deliveries(cx, &mut deliveries, 1)).await.unwrap();
        assert_eq!(deliveries[0].message.payload, "ppp");
        // What nobody has asked for stays away from who wants something else.
        let mut nobody = Context::from_waker(Waker::noop());
        assert!(guest.poll_answer(&mut nobody, |answer| matches!(answer, Answer::Connected(_))).is_pending());
    });
}

#[test]
fn an_identity_may_take_its_time() {
    house(async |house: House| {
        let guest = Guest::open(Link::new(None, "guests")).unwrap();
        guest.request(connect("late"));
        let mut nobody = Context::from_waker(Waker::noop());
        assert!(guest.poll_answer(&mut nobody, |_| true).is_pending());
        let peer = house.undecided().await;
        assert_eq!(peer, guest.peer());
        local::verified(peer, Verdict::Accept { identity: Default::default(), data: None });
        assert!(matches!(answer(&guest).await, Ok(Answer::Connected(_))));
    });
}

#[test]
fn a_guest_that_is_too_fast_waits_and_loses_nothing() {
    const MESSAGES: u64 = 3_000;
    let default = Quota { messages_per_s: Some(1_000), ..Quota::default() };
    let policy = Policy { quotas: Quotas { default, ..Quotas::default() }, ..Policy::open() };
    house_under(Limits::default(), policy, async |_: House| {
        let guest = guest("guest").await;
        for _ in 0..MESSAGES {
            poll_fn(|cx| guest.poll_ready(cx)).await;
            guest.request(publish(1));
        }
        assert!(local::counters().throttles > 0);
        poll_fn(|cx| guest.poll_ready(cx)).await;
        let statistics = local::statistics();
        assert_eq!((statistics.publishes_received, statistics.publishes_refused), (MESSAGES, 0));
    });
}

#[test]
fn a_guest_that_does_not_read_holds_publishers_back_until_it_does() {
    let limits = Limits { write_buffer_high_bytes: 8_192, write_buffer_low_bytes: 1_024, ..Limits::default() };
    house_with(limits, async |_: House| {
        let (reader, publisher) = (guest("reader").await, guest("publisher").await);
        reader.request(subscribe("t"));
        assert!(matches!(answer(&reader).await, Ok(Answer::Subscribed { .. })));
        let mut said = 0;
        while is_ready(&publisher) {
            publisher.request(publish(1_000));
            said += 1;
            assert!(said < 100, "nobody holds the publisher back");
        }
        let mut deliveries = Vec::new();
        while deliveries.len() < said {
            poll_fn(|cx| reader.poll_deliveries(cx, &mut deliveries, 1)).await.unwrap();
        }
        poll_fn(|cx| publisher.poll_ready(cx)).await;
    });
}

#[test]
fn everyone_is_told_goodbye_and_nobody_comes_in_any_more() {
    house(async |_: House| {
        let guest = guest("guest").await;
        local::close_all(Reason::ShuttingDown);
        assert!(matches!(answer(&guest).await, Err(GuestClosed)));
        assert_eq!(guest.farewell().unwrap().reason, Reason::ShuttingDown);
        let deliveries = poll_fn(|cx| guest.poll_deliveries(cx, &mut Vec::new(), 1)).await;
        assert_eq!(deliveries, Err(GuestClosed));
        assert!(Guest::open(Link::new(None, "guests")).is_none());
        drop(guest);
        local::drained().await;
    });
}

#[test]
fn a_guest_that_is_dropped_has_left() {
    house(async |house: House| {
        let first = guest("guest").await;
        assert_eq!(local::peers().len(), 1);
        drop(first);
        house.closed("the request is over").await;
        assert_eq!(local::peers().len(), 0);
    });
}

#[test]
fn a_task_that_panics_takes_only_its_guest_along() {
    house(async |house: House| {
        let guest = guest("unlucky").await;
        let failed = tokio::spawn(async move {
            let _guest = guest;
            panic!("a mistake in whoever serves a request");
        });
        assert!(failed.await.unwrap_err().is_panic());
        let mut other = house.connect_as("unlucky").await;
        say(&mut other, "subscribe t\n").await;
        hear(&mut other, "subscribed\n").await;
    });
}
