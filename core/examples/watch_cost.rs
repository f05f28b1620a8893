//! What watching costs: processor time of a message with few and many topics, and bytes a topic.
//! `cargo run --release -p althing-core --example watch_cost`

use althing_core::hash::seeded;
use althing_core::topic::{Topic, TopicLimits};
use althing_core::topic_watch::{TopicWatch, WatchLimits};
use althing_core::{Entropy, Message};
use bytes::Bytes;
use std::fs;

fn main() {
    for topics in [1_000, 100_000, 1_000_000_u64] {
        let messages: Vec<Message> = (0..topics).map(message).collect();
        let mut watch = TopicWatch::new(7, seeded(7), WatchLimits { bytes_max: 1 << 30, ..WatchLimits::default() });
        let start_ns = cpu_ns();
        messages.iter().for_each(|message| watch.see(message, 0));
        let first_ns = (cpu_ns() - start_ns) / topics;
        let mut entropy = Entropy::new(1);
        let order: Vec<usize> = (0..1_000_000).map(|_| entropy.below(topics) as usize).collect();
        let start_ns = cpu_ns();
        order.iter().for_each(|place| watch.see(&messages[*place], 0));
        let again_ns = (cpu_ns() - start_ns) / 1_000_000;
        let (mut from, mut slices, start_ns) = (Some(0), 0, cpu_ns());
        while let Some(place) = from {
            from = watch.search(place, 1_024, |topic| topic.contains("no such topic")).next;
            slices += 1;
        }
        let search_us = (cpu_ns() - start_ns) / 1_000 / slices;
        println!(
            "{topics} topics: {first_ns} ns the first message, {again_ns} ns each further one; {} bytes a topic; a slice of a \
             search {search_us} us",
            watch.heap_bytes() as u64 / topics
        );
    }
}

/// Processor time of this thread: what others do on the machine does not matter.
fn cpu_ns() -> u64 {
    let statistics = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    statistics.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0)
}

fn message(number: u64) -> Message {
    let topic = format!("site{}/building{}/device{number}/temperature", number % 10, number % 1_000);
    let topic = Topic::new(topic.into(), &TopicLimits::default()).expect("it is short and has no wildcard");
    Message::new(topic, Bytes::from_static(b"{\"value\":21.5,\"unit\":\"C\"}"))
}
