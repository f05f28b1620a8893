//! Runs a test in many worlds: every seed with one shard and with three.
//!
//! - `ALTHING_SEEDS=1000` asks for that many seeds (the default is each test's own, small number);
//! - `ALTHING_SEED=17 ALTHING_SHARDS=3` replays one world. A failure prints this very command;
//! - `ALTHING_LINES=100000` shows more of the trace of a failure.

use crate::house::{House, Setup};
use crate::trace::Trace;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// The numbers of shards that every test runs with.
pub const SHARDS: [u16; 2] = [1, 3];

/// Runs `test` in `seeds` worlds for each number of shards, with the default limits.
pub fn worlds(seeds: u64, test: impl Fn(&mut House)) {
    worlds_with(seeds, |_| {}, test);
}

/// The same, in worlds that `prepare` has set up (limits, policy, ways of the store).
pub fn worlds_with(seeds: u64, prepare: impl Fn(&mut Setup), test: impl Fn(&mut House)) {
    for seed in seeds_wanted(1, seeds) {
        for shards in shards_wanted() {
            let mut setup = Setup::new(seed, shards);
            prepare(&mut setup);
            run(setup, &test);
        }
    }
}

/// Runs `test` in one world and returns the hash of its trace.
pub fn run(setup: Setup, test: &impl Fn(&mut House)) -> u64 {
    let (seed, shards) = (setup.seed, setup.shards);
    let mut house = House::new(setup);
    if let Some(lines) = number_of("ALTHING_LINES") {
        house.keep_lines(lines as usize);
    }
    let outcome = catch_unwind(AssertUnwindSafe(|| test(&mut house)));
    if let Err(panic) = outcome {
        eprintln!("{}\nthe world of seed {seed} with {shards} shard(s) failed; replay it with\n{}", house.trace(), {
            replay_command(&format!("ALTHING_SEED={seed} ALTHING_SHARDS={shards}"))
        });
        resume_unwind(panic);
    }
    house.trace().hash()
}

/// Runs `test` with that many seeds, for what has no house and no shards.
pub fn seeds(count: u64, test: impl Fn(u64)) {
    seeds_at(1, count, test);
}

/// The same where one seed costs as much as `cost` elsewhere: a campaign has so many fewer of them.
pub fn seeds_at(cost: u64, count: u64, test: impl Fn(u64)) {
    for seed in seeds_wanted(cost, count) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| test(seed))) {
            eprintln!("seed {seed} failed; replay it with\n{}", replay_command(&format!("ALTHING_SEED={seed}")));
            resume_unwind(panic);
        }
    }
}

/// A trace with as many lines as are asked for.
pub fn trace_wanted() -> Trace {
    let mut trace = Trace::default();
    if let Some(lines) = number_of("ALTHING_LINES") {
        trace.keep_lines(lines as usize);
    }
    trace
}

fn seeds_wanted(cost: u64, default: u64) -> std::ops::Range<u64> {
    match (number_of("ALTHING_SEED"), number_of("ALTHING_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, Some(seeds)) => 0..seeds.div_ceil(cost),
        (None, None) => 0..default,
    }
}

fn shards_wanted() -> Vec<u16> {
    number_of("ALTHING_SHARDS").map_or(SHARDS.to_vec(), |shards| vec![shards as u16])
}

fn number_of(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

fn replay_command(variables: &str) -> String {
    let program = std::env::current_exe().ok();
    let stem = program.as_ref().and_then(|path| path.file_stem()?.to_str()).unwrap_or("");
    let target = match stem.rsplit_once('-').map_or(stem, |(name, _)| name) {
        "althing_testkit" => "--lib".to_owned(),
        name => format!("--test {name}"),
    };
    let test = std::thread::current().name().unwrap_or("").to_owned();
    format!("{variables} cargo test -p althing-testkit {target} -- --exact {test}")
}
