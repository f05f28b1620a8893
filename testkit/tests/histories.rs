//! Random histories against the reference model. `ALTHING_SEEDS=10000` makes it a campaign.

use althing_core::Entropy;
use althing_testkit::house::{House, Setup};
use althing_testkit::model::history::{live, random_policy};
use althing_testkit::worlds::{run, worlds_with};

const ACTS: u64 = 60;

#[test]
fn random_histories_keep_every_promise() {
    let policy = |seed| random_policy(&mut Entropy::new(seed));
    worlds_with(
        200,
        |setup| {
            setup.policy = policy(setup.seed);
            if setup.seed % 3 == 0 {
                // A few messages fill them, so that subscribers become slow and publishers wait.
                setup.limits.write_buffer_high_bytes = 30;
                setup.limits.write_buffer_low_bytes = 10;
                setup.pipe_bytes_max = 16;
            }
        },
        |house| {
            let policy = policy(house.seed());
            live(house, policy, ACTS);
        },
    );
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let history = |house: &mut House| {
        live(house, althing_core::authorisation::Policy::open(), ACTS);
    };
    for seed in 0..4 {
        for shards in [1, 3] {
            let hashes = [(); 2].map(|()| run(Setup::new(seed, shards), &history));
            assert_eq!(hashes[0], hashes[1], "seed {seed}, {shards} shards");
        }
    }
    assert_ne!(run(Setup::new(0, 1), &history), run(Setup::new(1, 1), &history));
}
