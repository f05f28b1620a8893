//! Publishers that are faster than they may be.

#![allow(clippy::unwrap_used, reason = "a failure of any step fails the test")]

mod language;

use althing_core::Limits;
use althing_core::authorisation::Policy;
use althing_core::quota::{Quota, Quotas};
use althing_net::local;
use language::{House, hear, house_under, say};

const MESSAGES: u64 = 3_000;

fn thousand_per_s() -> Policy {
    let default = Quota { messages_per_s: Some(1_000), ..Quota::default() };
    Policy { quotas: Quotas { default, ..Quotas::default() }, ..Policy::open() }
}

#[test]
fn who_is_too_fast_is_not_read_for_a_while_and_loses_nothing() {
    for said in ["publish 1\n".repeat(MESSAGES as usize), format!("burst {MESSAGES}\n")] {
        house_under(Limits::default(), thousand_per_s(), async |house: House| {
            let mut publisher = house.connect_as("publisher").await;
            let mut other = house.connect_as("other").await;
            say(&mut publisher, &said).await;
            say(&mut publisher, "published\n").await;
            while local::counters().throttles == 0 {
                tokio::task::yield_now().await;
            }
            // Others are served meanwhile.
            say(&mut other, "hello\n").await;
            hear(&mut other, "hello\n").await;
            assert!(local::statistics().publishes_received < MESSAGES);
            hear(&mut publisher, "published\n").await;
            let statistics = local::statistics();
            assert_eq!((statistics.publishes_received, statistics.publishes_refused), (MESSAGES, 0));
        });
    }
}

#[test]
fn who_leaves_meanwhile_hears_what_was_too_much() {
    house_under(Limits::default(), thousand_per_s(), async |house: House| {
        let mut publisher = house.connect_as("publisher").await;
        say(&mut publisher, "burst 10000\n").await;
        while local::counters().throttles == 0 {
            tokio::task::yield_now().await;
        }
        local::close_all(althing_core::Reason::AdministrativeAction);
        hear(&mut publisher, "farewell\n").await;
        let statistics = local::statistics();
        assert_eq!(statistics.publishes_received, 10_000);
        assert!(statistics.publishes_refused > 1_000, "two bursts are taken");
        drop(publisher);
        local::drained().await;
    });
}
