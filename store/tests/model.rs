//! The store against plain maps: whatever is written, committed, cleaned, closed or killed, what it says at the
//! next start is what held.

mod world;

use proptest::prelude::*;
use world::{Op, World};

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => prop::collection::vec(any::<[u8; 4]>(), 1..8).prop_map(Op::Step),
        4 => any::<bool>().prop_map(|sync| Op::Commit { sync }),
        4 => (1..20_u8).prop_map(Op::Maintain),
        6 => (1..20_u8).prop_map(Op::MaintainAlone),
        1 => Just(Op::Close),
        1 => Just(Op::Kill),
        1 => any::<u64>().prop_map(Op::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_restored_is_what_held(ops in prop::collection::vec(op(), 1..120), seed: u64) {
        let mut world = World::new(seed);
        for op in ops {
            world.run(op);
        }
        world.run(Op::Close);
    }
}

/// Long enough for many checkpoints and cleaned segments.
#[test]
fn long_histories_hold() {
    let mut checkpoints = 0;
    let mut cleaned = 0;
    for seed in 0..4 {
        let mut world = World::new(seed);
        for round in 0..800 {
            let op = world.choose();
            world.run(op);
            if round % 50 == 0 {
                world.settle_most();
            }
        }
        world.run(Op::Close);
        checkpoints += world.checkpoints;
        cleaned += world.segments_cleaned;
    }
    assert!(checkpoints > 10, "{checkpoints}");
    assert!(cleaned > 5, "{cleaned}");
}

#[test]
fn drained_space_comes_back() {
    let mut world = World::new(1);
    world.fill(2_000, 300);
    let full = world.statistics();
    assert!(full.disk_bytes > 600_000, "{full:?}");
    world.run(Op::Maintain(255));
    world.drain();
    (0..20).for_each(|_| world.run(Op::Maintain(50)));
    let after = world.statistics();
    assert_eq!(after.live_bytes, 0);
    assert!(after.disk_bytes <= 4 * u64::from(world::SEGMENT_BYTES) + 1_000, "{after:?}");
    world.run(Op::Kill);
}

#[test]
fn one_slow_session_does_not_pin_the_disk() {
    let mut world = World::new(2);
    world.fill(2_000, 300);
    world.drain_all_but_one_in(50);
    (0..40).for_each(|_| world.run(Op::Maintain(50)));
    let after = world.statistics();
    assert!(after.live_bytes > 0 && after.segments_cleaned > 5, "{after:?}");
    assert!(after.disk_bytes < 20 * u64::from(world::SEGMENT_BYTES), "{after:?}");
    world.run(Op::Kill);
}

/// A backlog is made of references: what the index takes of memory for a message that waits, everything included.
#[test]
fn an_entry_takes_less_than_forty_bytes_of_memory() {
    for (queues, each) in [(1_u32, 20_000_u32), (200, 100), (20, 1_100)] {
        let mut world = World::new(7);
        world.backlog(queues, each);
        let statistics = world.statistics();
        assert_eq!(statistics.entries, u64::from(queues * each));
        let bytes = statistics.index_bytes as f64 / statistics.entries as f64;
        assert!((24.0..40.0).contains(&bytes), "{bytes} bytes an entry in {queues} queues of {each}");
    }
}
