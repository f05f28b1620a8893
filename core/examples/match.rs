//! What a match costs: `cargo run --release -p althing-core --example match`.
//!
//! Fills a tree with 100,000 filters (60 % exact, 20 % with `+`, 20 % with `#`), as `althing bench` does with a
//! broker, then asks it with topics in an order that no cache expects. Prints nanoseconds a match, nodes visited,
//! and bytes a filter. One line for a wide tree, one for a deep one, one with long levels.
#![allow(clippy::unwrap_used, reason = "the filters are our own")]

use althing_core::topic::TopicLimits;
use althing_core::tree::{Tree, Vacant};
use althing_core::{Entropy, Topic};
use std::hint::black_box;
use std::time::Instant;

const FILTERS: usize = 100_000;
const ROUNDS: usize = 10;

/// The value that a subscription tree keeps in a node.
#[derive(Default)]
struct Slot(u32);

impl Vacant for Slot {
    fn is_vacant(&self) -> bool {
        self.0 == 0
    }
}

fn main() {
    measure("wide: s/DEVICE/t", |i| format!("s/d{i}/t"), |i| format!("s/d{i}/+"), |i| format!("s/d{i}/#"));
    measure(
        "deep: 8 levels",
        |i| format!("org/site{}/hall{}/line{}/cell{}/m{i}/temp/value", i % 5, i % 50, i % 500, i % 5_000),
        |i| format!("org/site{}/hall{}/line{}/+/m{i}/temp/value", i % 5, i % 50, i % 500),
        |i| format!("org/site{}/hall{}/line{}/cell{}/m{i}/#", i % 5, i % 50, i % 500, i % 5_000),
    );
    let long = |i: usize| format!("fleet/{:08x}-4c1e-4b6a-9d3f-2f6c8a5b7e01", (i as u64 * 2_654_435_761) as u32);
    measure(
        "long: 32-byte levels",
        |i| format!("{}/telemetry", long(i)),
        |i| format!("{}/+", long(i)),
        |i| format!("{}/#", long(i)),
    );
}

/// `exact` also names the topics that are asked for.
fn measure(
    name: &str,
    exact: impl Fn(usize) -> String,
    plus: impl Fn(usize) -> String,
    rest: impl Fn(usize) -> String,
) {
    let filters: Vec<String> = (0..FILTERS)
        .map(|i| match i % 5 {
            3 => plus(i),
            4 => rest(i),
            _ => exact(i),
        })
        .collect();
    let begin = Instant::now();
    let mut tree = Tree::<Slot>::new(1);
    for filter in &filters {
        let node = tree.insert(filter);
        tree.value_mut(node).0 = 1;
    }
    let insert_ns = begin.elapsed().as_nanos() as usize / FILTERS;

    // In an order that no cache of nodes expects, while the topics themselves lie one behind the other in
    // memory, as they do in a read buffer.
    let mut entropy = Entropy::new(1);
    let topics: Vec<Topic> = (0..FILTERS)
        .map(|_| exact(entropy.below(FILTERS as u64) as usize))
        .map(|name| Topic::new(name.into(), &TopicLimits::default()).unwrap())
        .collect();
    let (mut found, mut total, mut visits) = (Vec::new(), 0, 0);
    let begin = Instant::now();
    for _ in 0..ROUNDS {
        for topic in &topics {
            found.clear();
            visits += tree.matching(topic, usize::MAX, &mut found).unwrap();
            total += black_box(&found).len();
        }
    }
    let matches = ROUNDS * FILTERS;
    let match_ns = begin.elapsed().as_nanos() as usize / matches;
    println!(
        "{name:24} insert {insert_ns:5} ns, match {match_ns:5} ns, {:.1} visits, {:.2} found; {} nodes, {} bytes a filter",
        visits as f64 / matches as f64,
        total as f64 / matches as f64,
        tree.len(),
        tree.heap_bytes() / FILTERS,
    );
}
