//! What happens to publishers when a subscriber does not keep up.

#![allow(clippy::unwrap_used, reason = "a failure of any step fails the test")]

mod language;

use althing_core::Limits;
use althing_net::local;
use language::{House, hear, house, house_with, say};
use std::io::ErrorKind;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

const MESSAGES: usize = 500;
const PAYLOAD_BYTES: usize = 100_000;

/// Publishes much more than all buffers on the way hold, then says so.
async fn flood(mut publisher: TcpStream) -> TcpStream {
    for _ in 0..MESSAGES {
        say(&mut publisher, &format!("publish {PAYLOAD_BYTES}\n")).await;
    }
    say(&mut publisher, "published\n").await;
    hear(&mut publisher, "published\n").await;
    publisher
}

#[test]
fn publishers_wait_for_a_slow_subscriber_and_nothing_is_lost() {
    // Nobody is declared stalled here, however slow the machine is.
    let limits = Limits { stall_ms: 3_600_000, queue_high_messages: 20, ..Limits::default() };
    house_with(limits, async |house: House| {
        let mut subscriber = house.connect_as("subscriber").await;
        say(&mut subscriber, "subscribe t\n").await;
        hear(&mut subscriber, "subscribed\n").await;
        let publisher = tokio::spawn(flood(house.connect_as("publisher").await));
        while local::counters().pauses == 0 {
            tokio::task::yield_now().await;
        }
        let waiting_bytes = local::statistics().queued_bytes as usize;
        assert!(waiting_bytes < MESSAGES * PAYLOAD_BYTES / 2, "{waiting_bytes}");
        // Others are served meanwhile.
        let mut other = house.connect_as("other").await;
        say(&mut other, "hello\n").await;
        hear(&mut other, "hello\n").await;

        let mut heard = vec![0; MESSAGES * PAYLOAD_BYTES];
        subscriber.read_exact(&mut heard).await.unwrap();
        publisher.await.unwrap();
        assert_eq!(local::statistics().publishes_dropped, 0);
        assert_eq!(local::counters().stalls, 0);
    });
}

#[test]
fn publishers_do_not_wait_for_a_subscriber_that_never_reads() {
    house_with(Limits { stall_ms: 20, ..Limits::default() }, async |house: House| {
        let mut subscriber = house.connect_as("subscriber").await;
        say(&mut subscriber, "subscribe t\n").await;
        hear(&mut subscriber, "subscribed\n").await;
        flood(house.connect_as("publisher").await).await;
        house.closed("stalled").await;
        assert!(local::counters().pauses > 0);
        assert!(local::statistics().publishes_dropped > 0);
        // It still belongs to the house: what fits is delivered.
        hear(&mut subscriber, &"p".repeat(PAYLOAD_BYTES)).await;
    });
}

#[test]
fn publishers_go_on_when_the_slow_subscriber_leaves() {
    house_with(Limits { stall_ms: 3_600_000, ..Limits::default() }, async |house: House| {
        let mut subscriber = house.connect_as("subscriber").await;
        say(&mut subscriber, "subscribe t\n").await;
        hear(&mut subscriber, "subscribed\n").await;
        let publisher = tokio::spawn(flood(house.connect_as("publisher").await));
        while local::counters().pauses == 0 {
            tokio::task::yield_now().await;
        }
        drop(subscriber);
        publisher.await.unwrap();
    });
}

#[test]
fn who_adds_to_the_backlog_of_the_store_waits_and_nobody_else() {
    house(async |house: House| {
        let mut publisher = house.connect_as("publisher").await;
        let mut other = house.connect_as("other").await;
        house.set_behind(true);
        say(&mut publisher, "retain 1\nread\n").await;
        while local::statistics().retained_messages == 0 {
            tokio::task::yield_now().await;
        }
        // What was said in one breath would have been answered in one tick, and that tick is over.
        say(&mut other, "hello\n").await;
        hear(&mut other, "hello\n").await;
        let unread = publisher.try_read(&mut [0; 16]).unwrap_err();
        assert_eq!(unread.kind(), ErrorKind::WouldBlock);
        house.set_behind(false);
        say(&mut other, "hello\n").await;
        hear(&mut publisher, "read\n").await;
    });
}
