//! What watching costs: processor time of a message with few and many topics, and bytes a topic.
//! `cargo run --release -p althing-core --example watch_cost`

use althing_core::hash::seeded;
use althing_core::topic::{Topic, TopicLimits};
use althing_core::topic_watch::{TopicWatch, WatchLimits};
use althing_core::{Entropy, Message};
use bytes::Bytes;
use std::fs;
use std::hint::black_box;
use std::time::Instant;

fn main() {
    for topics in [1_000, 100_000, 1_000_000_u64] {
        let mut watch = TopicWatch::new(7, seeded(7), WatchLimits { bytes_max: 1 << 30, ..WatchLimits::default() });
        let mut slowest_us = 0;
        let first_ns = cost_ns(topics, 0..topics, |message| {
            let start = Instant::now();
            watch.see(message, 0);
            slowest_us = slowest_us.max(start.elapsed().as_micros());
        });
        let mut entropy = Entropy::new(1);
        let order: Vec<u64> = (0..1_000_000).map(|_| entropy.below(topics)).collect();
        let again_ns = cost_ns(1_000_000, order.into_iter(), |message| watch.see(message, 0));
        let (mut from, mut slices, start_ns) = (Some(0), 0, cpu_ns());
        while let Some(place) = from {
            from = watch.search(place, 1_024, |topic| topic.contains("no such topic")).next;
            slices += 1;
        }
        let search_us = (cpu_ns() - start_ns) / 1_000 / slices;
        println!(
            "{topics} topics: {first_ns} ns the first message (the slowest {slowest_us} us), {again_ns} ns each further one, \
             at 100,000 a second {}.{} % of a core; {} bytes a topic; a slice of a search {search_us} us",
            again_ns / 100,
            again_ns / 10 % 10,
            watch.heap_bytes() as u64 / topics
        );
    }
}

/// Processor time of one call of `see`, in nanoseconds: with the making of the messages, as they come from a socket one after
/// the other, and without.
fn cost_ns(count: u64, numbers: impl Iterator<Item = u64> + Clone, mut see: impl FnMut(&Message)) -> u64 {
    let start_ns = cpu_ns();
    numbers.clone().for_each(|number| {
        black_box(message(number));
    });
    let made_ns = cpu_ns();
    numbers.for_each(|number| see(&message(number)));
    (cpu_ns() - made_ns).saturating_sub(made_ns - start_ns) / count
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
