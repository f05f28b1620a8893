//! The store alone against its reference. `ALTHING_SEEDS=10000` makes it a campaign of some 10⁵ restarts.

use althing_testkit::disk::Fault;
use althing_testkit::life::{Dangers, Life, Seen};
use althing_testkit::worlds::{seeds, seeds_at};
use std::cell::Cell;

const ACTS: u64 = 400;

fn grown(seed: u64, dangers: Dangers, acts: u64) -> Life {
    let mut life = Life::begin(seed, dangers);
    (0..acts).for_each(|_| life.act());
    life
}

#[test]
fn a_store_gives_back_what_it_confirmed_and_steps_are_whole() {
    let (lives, seen) = (Cell::new(0), Cell::new(Seen::default()));
    seeds(300, |seed| {
        let mut life = grown(seed, Dangers::draw(seed), ACTS).finish();
        life.drain();
        let mut sum = seen.get();
        sum.add(life.seen);
        seen.set(sum);
        lives.set(lives.get() + 1);
    });
    let seen = seen.get();
    println!("{} lives: {seen:?}", lives.get());
    if lives.get() >= 300 {
        let least = lives.get() / 4;
        let all = [seen.restarts, seen.refusals, seen.failures, seen.checkpoints, seen.segments_cleaned];
        assert!(all.iter().all(|count| *count >= least), "too little happens: {seen:?}");
    }
}

/// The same life again and again; each time another call of the disk fails, in each way.
#[test]
fn every_call_of_the_disk_may_fail() {
    seeds_at(500, 2, |seed| {
        let dangers = Dangers {
            errors: false,
            full: true,
            lazy: false,
            restless: true,
            segment_bytes: 4 << 10,
            payload_bytes_max: 600,
        };
        let calls = grown(seed, dangers.clone(), 60).disk().calls();
        for call in 1..=calls {
            for fault in [Fault::Full, Fault::Broken, Fault::Power] {
                let mut life = Life::begin_with_failure(seed, dangers.clone(), call, fault);
                (0..60).for_each(|_| life.act());
                life.finish();
            }
        }
    });
}

/// What ages on the disk is found, and said by name; or it was not needed.
#[test]
fn a_bit_that_turns_around_is_never_silent() {
    seeds_at(10, 100, |seed| {
        let dangers = Dangers { errors: false, full: false, lazy: false, ..Dangers::draw(seed) };
        let mut life = grown(seed, dangers, 60);
        life.close_for_good();
        for _ in 0..30 {
            life.age();
        }
    });
}
