//! The store on a disk that fails, is full or loses power.

mod world;

use althing_testkit::disk::Fault;
use world::{Op, World};

/// The same history each time, with checkpoints and cleaning in it.
fn history(world: &mut World) {
    for round in 0..120 {
        let op = match world.choose() {
            // Chance has its own test.
            Op::Crash(_) => Op::Kill,
            op => op,
        };
        world.run(op);
        if round % 40 == 39 {
            world.settle_most();
            world.run(Op::Maintain(30));
        }
    }
}

fn calls_of_history() -> u64 {
    let mut world = World::new(3);
    history(&mut world);
    world.run(Op::Close);
    assert!(world.checkpoints >= 2 && world.segments_cleaned >= 1, "{} {}", world.checkpoints, world.segments_cleaned);
    world.disk().calls()
}

#[test]
fn a_fault_at_any_call_loses_nothing_that_was_confirmed() {
    let calls = calls_of_history();
    let mut failures = 0;
    for fault in [Fault::Broken, Fault::Full, Fault::Power] {
        for call in (1..calls).step_by(calls as usize / 25) {
            let mut world = World::new(3);
            world.may_fail = true;
            world.disk().fail_at(call, fault);
            history(&mut world);
            world.disk().heal();
            world.run(Op::Commit { sync: true });
            world.run(Op::Kill);
            failures += world.failures;
        }
    }
    assert!(failures > 25, "{failures}");
}

#[test]
fn a_disk_that_is_full_for_long_loses_nothing_and_comes_back() {
    for capacity in [40_000, 60_000, 100_000, 150_000] {
        let mut world = World::new(4);
        world.may_fail = true;
        world.disk().set_capacity_bytes(capacity);
        world.fill(600, 300);
        world.run(Op::Maintain(50));
        assert!(!world.has_room(), "{capacity}");
        world.drain();
        world.pass(60_000);
        (0..30).for_each(|_| world.run(Op::Maintain(20)));
        world.disk().set_capacity_bytes(u64::MAX);
        world.pass(60_000);
        world.run(Op::Maintain(20));
        assert!(world.has_room(), "{capacity}");
        world.run(Op::Kill);
        assert_eq!(world.failures, 0, "{capacity}");
        assert!(world.statistics().disk_bytes < 60_000, "{:?}", world.statistics());
    }
}

/// What was drained waits for a checkpoint alone, and there is no room for one: a spare makes way.
#[test]
fn a_full_disk_finds_room_for_the_checkpoint_that_frees_it() {
    let mut world = World::new(6);
    world.may_fail = true;
    world.fill(40, 300);
    world.run(Op::Maintain(50));
    world.disk().set_capacity_bytes(world.disk().used_bytes());
    world.drain();
    let before = world.statistics();
    (0..10).for_each(|_| world.run(Op::Maintain(20)));
    world.pass(60_000);
    (0..10).for_each(|_| world.run(Op::Maintain(20)));
    let after = world.statistics();
    assert!(after.checkpoints > before.checkpoints && after.disk_bytes < before.disk_bytes, "{before:?} {after:?}");
    assert!(world.has_room());
    world.run(Op::Kill);
    assert_eq!(world.failures, 0);
}
