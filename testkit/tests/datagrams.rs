//! CoAP's door and client halves on a bad network. `ALTHING_SEEDS=10000` makes it a campaign.

#[path = "datagrams/history.rs"]
mod history;

use althing_testkit::network::Weather;
use althing_testkit::worlds::{seeds, seeds_at};
use history::{History, Seen};
use std::cell::Cell;

const ACTS: u64 = 60;

#[test]
fn requests_have_one_effect_observers_converge_and_nothing_is_left() {
    let (lives, seen) = (Cell::new(0), Cell::new(Seen::default()));
    seeds(150, |seed| {
        let mut history = History::begin(seed);
        (0..ACTS).for_each(|_| history.act());
        history.heal();
        history.check_effects();
        history.check_message_ids();
        history.check_nothing_is_left();
        seen.set(seen.get().and(history.seen));
        lives.set(lives.get() + 1);
    });
    let seen = seen.get();
    println!("{} histories: {seen:?}", lives.get());
    if lives.get() >= 150 {
        let all =
            [seen.answered, seen.failed, seen.moves_under_way, seen.blockwise, seen.repeated_effects, seen.converged];
        assert!(all.iter().all(|count| *count > 0), "too little happens: {seen:?}");
    }
}

/// Without new addresses every confirmed request has one effect, however bad the network is.
#[test]
fn in_a_storm_every_confirmed_request_has_one_effect() {
    seeds_at(2, 30, |seed| {
        let mut history = History::begin(seed);
        history.may_move = false;
        history.network.weather = Weather { loss_percent: 40, copies_percent: 40, delay_ms_max: 10_000 };
        history.changes_weather = false;
        (0..ACTS).for_each(|_| history.act());
        history.heal();
        history.check_effects();
        assert_eq!(history.seen.repeated_effects, 0);
    });
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let hash = |seed| {
        let mut history = History::begin(seed);
        (0..ACTS).for_each(|_| history.act());
        history.network.trace().hash()
    };
    for seed in 0..4 {
        assert_eq!(hash(seed), hash(seed), "seed {seed}");
    }
    assert_ne!(hash(0), hash(1));
}
