//! Random histories in houses whose process ends at any moment and begins again with what its store has.
//! `ALTHING_SEEDS=10000` makes it a campaign of more than 10⁵ ends.

use althing_core::Entropy;
use althing_testkit::house::{House, Keeping, Setup};
use althing_testkit::model::history::{Perils, live_with, random_policy};
use althing_testkit::worlds::{run, worlds_with};
use std::cell::Cell;

const ACTS: u64 = 60;

fn prepare(setup: &mut Setup) {
    setup.policy = random_policy(&mut Entropy::new(setup.seed));
    if setup.seed.is_multiple_of(3) {
        // Nearly everything that waits does so in the store.
        setup.limits.queue_memory_messages = 2;
    }
}

fn on_disk(setup: &mut Setup) {
    prepare(setup);
    setup.keeping = Keeping::Disk { segment_bytes: [4 << 10, 8 << 10, 16 << 10][setup.seed as usize / 2 % 3] };
}

fn live(house: &mut House, perils: Perils) {
    let policy = random_policy(&mut Entropy::new(house.seed()));
    live_with(house, policy, ACTS, perils);
}

/// Lives in that many worlds for each number of shards; most of them have come to an end more than once.
fn worlds_end(seeds: u64, prepare: impl Fn(&mut Setup), perils: Perils) {
    let (worlds, ends) = (Cell::new(0), Cell::new(0));
    worlds_with(seeds, prepare, |house| {
        live(house, perils);
        worlds.set(worlds.get() + 1);
        ends.set(ends.get() + house.crashes().len());
    });
    println!("{} worlds, {} ends", worlds.get(), ends.get());
    assert!(worlds.get() < 100 || ends.get() > worlds.get(), "too little happens");
}

#[test]
fn what_was_acknowledged_outlives_the_process() {
    worlds_end(100, prepare, Perils { crashes: true, disk_errors: false });
}

#[test]
fn what_was_acknowledged_outlives_the_power() {
    worlds_end(100, on_disk, Perils { crashes: true, disk_errors: false });
}

#[test]
fn what_was_acknowledged_outlives_errors_of_the_disk() {
    worlds_end(100, on_disk, Perils { crashes: true, disk_errors: true });
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let history = |house: &mut House| live(house, Perils { crashes: true, disk_errors: true });
    for seed in 0..4 {
        for shards in [1, 3] {
            let hashes = [(); 2].map(|()| {
                let mut setup = Setup::new(seed, shards);
                on_disk(&mut setup);
                run(setup, &history)
            });
            assert_eq!(hashes[0], hashes[1], "seed {seed}, {shards} shards");
        }
    }
}
