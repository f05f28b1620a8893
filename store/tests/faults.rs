//! The store on a disk that fails, is full, loses power or has aged.

mod world;

use althing_core::record::{Load, Restored};
use althing_store::{OpenError, Store};
use althing_testkit::SimDisk;
use althing_testkit::disk::Fault;
use world::{Op, World, comparable, options};

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

/// A small store, closed in order, with a checkpoint and old segments.
fn small() -> World {
    let mut world = World::new(5);
    history(&mut world);
    world.run(Op::Maintain(50));
    world.close();
    world
}

#[test]
fn every_flipped_byte_is_harmless_or_told() {
    let world = small();
    let expected = comparable(world.ledger().restored());
    let (mut told, mut harmless) = (0, 0);
    for (name, length) in world.disk().files() {
        for byte in 0..length {
            let disk = world.disk().copy(byte);
            disk.flip_bit(&name, byte * 8 + byte % 8);
            match everything(&world, disk) {
                Ok(found) => {
                    assert_eq!(found, expected, "{name} {byte}");
                    harmless += 1;
                }
                Err(error) => {
                    assert!(matches!(error, OpenError::Corrupt { .. } | OpenError::Newer { .. }), "{error}");
                    told += 1;
                }
            }
        }
    }
    assert!(told > 2_000 && harmless > 2_000, "{told} {harmless}");
}

#[test]
fn every_truncation_is_harmless_or_told() {
    let world = small();
    let expected = comparable(world.ledger().restored());
    for (name, length) in world.disk().files() {
        for length in (0..length).step_by(13) {
            let disk = world.disk().copy(length);
            disk.truncate(&name, length);
            match everything(&world, disk) {
                Ok(found) => assert_eq!(found, expected, "{name} {length}"),
                Err(error) => assert!(matches!(error, OpenError::Corrupt { .. }), "{error}"),
            }
        }
    }
}

/// All that a store says at the start, and that all entries can be read.
fn everything(world: &World, disk: SimDisk) -> Result<Vec<String>, OpenError> {
    let mut store = Store::open(disk, options(), world.now())?;
    let mut restored: Vec<Restored> = Vec::new();
    store.restore(&mut |fact| restored.push(fact))?;
    for (queue, sequences) in world.ledger().queues() {
        let load = Load { queue: queue.clone(), sequences: sequences.collect() };
        let loaded = store.load(load.clone())?;
        assert_eq!(loaded, world.ledger().load(load));
    }
    Ok(comparable(restored))
}
