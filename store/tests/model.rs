//! The store against plain maps: whatever is written, committed, cleaned, closed or killed, what it says at the
//! next start is what held.

mod world;

use althing_core::message::Message;
use althing_core::record::{QueueKey, Record, SessionKey, Terms};
use bytes::Bytes;
use proptest::prelude::*;
use std::sync::Arc;
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
    let (checkpoints, cleaned) = (0..4).map(long_history).fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
    assert!(checkpoints > 10, "{checkpoints}");
    assert!(cleaned > 5, "{cleaned}");
}

#[test]
#[ignore = "takes minutes"]
fn many_long_histories_hold() {
    (1_000..1_100).for_each(|seed| {
        long_history(seed);
    });
}

/// Checkpoints written and segments cleaned.
fn long_history(seed: u64) -> (u64, u64) {
    let mut world = World::new(seed);
    for round in 0..800 {
        let op = world.choose();
        world.run(op);
        if round % 50 == 0 {
            world.settle_most();
        }
    }
    world.run(Op::Close);
    (world.checkpoints, world.segments_cleaned)
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

/// A walk of the cleaner is interrupted by a checkpoint: what it remembers of the way must not name a segment that was let go meanwhile.
#[test]
fn a_shared_body_is_not_looked_for_where_it_was_let_go() {
    let queue = |name: &str| QueueKey::Session(SessionKey { realm: "".into(), client: name.to_owned().into() });
    let queued = |name: &str, sequence, message: &Arc<Message>| Record::Queued {
        queue: queue(name),
        sequence,
        message: message.clone(),
        terms: Terms::default(),
    };
    let message = |length| Arc::new(Message::new(world::topic("t"), Bytes::from(vec![7; length])));
    let garbage = |world: &mut World, times| {
        for _ in 0..times {
            world.append(vec![queued("garbage", 1, &message(700))]);
            world.append(vec![Record::Settled { queue: queue("garbage"), sequence: 1 }]);
        }
    };
    for calls in 0..40 {
        let mut world = World::new(8);
        let shared = message(300);
        world.append(vec![queued("first", 1, &shared)]);
        for number in 0..12 {
            world.append(vec![queued(&format!("other-{number}"), 1, &message(300))]);
            garbage(&mut world, 1);
        }
        world.append(vec![queued("last", 1, &shared)]);
        garbage(&mut world, 6);
        world.commit(true);
        (0..calls).for_each(|_| world.run(Op::Maintain(1)));
        world.append(vec![Record::Settled { queue: queue("first"), sequence: 1 }]);
        garbage(&mut world, 18);
        world.commit(true);
        (0..4).for_each(|_| world.run(Op::Maintain(50)));
        world.run(Op::Kill);
    }
}

/// A backlog is made of references: what the index takes of memory for a message that waits, everything included.
#[test]
fn an_entry_takes_less_than_forty_bytes_of_memory() {
    for (queues, each) in [(1_u32, 20_000_u32), (200, 100), (20, 1_100)] {
        let mut world = World::new(7);
        world.backlog(queues, each);
        let statistics = world.statistics();
        assert_eq!(statistics.entries, u64::from(queues * each));
        let bytes = world.index_bytes() as f64 / statistics.entries as f64;
        assert!((24.0..40.0).contains(&bytes), "{bytes} bytes an entry in {queues} queues of {each}");
    }
}
