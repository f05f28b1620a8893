//! The hash of maps whose keys clients choose: seeded whole, so that nobody can prepare keys that collide.

use foldhash::SharedSeed;
use foldhash::fast::SeedableRandomState;

/// Builds hashers from one seed. Despite its name it draws no randomness.
pub type Seeded = SeedableRandomState;

/// A hash state of `seed` alone. Made once a shard, which lives as long as the process: the few bytes of
/// the shared half stay for ever.
pub fn seeded(seed: u64) -> Seeded {
    let shared: &'static SharedSeed = Box::leak(Box::new(SharedSeed::from_u64(seed)));
    SeedableRandomState::with_seed(seed, shared)
}
