//! Random histories in houses whose process ends at any moment and begins again with what its store has.
//! `ALTHING_SEEDS=10000` makes it a campaign.

use althing_core::Entropy;
use althing_testkit::model::history::{Perils, live_with, random_policy};
use althing_testkit::worlds::worlds_with;

const ACTS: u64 = 60;

#[test]
fn what_was_acknowledged_outlives_the_process() {
    let policy = |seed| random_policy(&mut Entropy::new(seed));
    worlds_with(
        200,
        |setup| setup.policy = policy(setup.seed),
        |house| {
            let policy = policy(house.seed());
            live_with(house, policy, ACTS, Perils { crashes: true, ..Perils::default() });
        },
    );
}
