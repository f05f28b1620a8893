//! The store alone against its reference. `ALTHING_SEEDS=100000` makes it a campaign.

use althing_testkit::life::{Dangers, Life};
use althing_testkit::worlds::seeds;

const ACTS: u64 = 150;

#[test]
fn a_store_gives_back_what_it_confirmed_and_steps_are_whole() {
    seeds(300, |seed| {
        let mut life = Life::begin(seed, Dangers::draw(seed));
        for _ in 0..ACTS {
            life.act();
        }
        let mut life = life.finish();
        life.drain();
    });
}
