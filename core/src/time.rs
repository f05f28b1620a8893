//! Time and entropy as plain values: a simulation makes any moment it likes.

/// One moment: a monotonic reading for durations and a wall reading for what must survive a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Nanoseconds since some fixed point of this process; never goes back.
    pub mono_ns: u64,
    /// Milliseconds since the Unix epoch; may jump either way.
    pub wall_ms: u64,
}

/// Nanoseconds in a second.
pub const SECOND_NS: u64 = 1_000_000_000;
/// Nanoseconds in a millisecond.
pub const MILLISECOND_NS: u64 = 1_000_000;

impl Now {
    /// The monotonic reading `seconds` from now; saturates instead of wrapping.
    pub fn after_s(self, seconds: u32) -> u64 {
        self.mono_ns.saturating_add(u64::from(seconds) * SECOND_NS)
    }

    /// The monotonic reading `milliseconds` from now; saturates instead of wrapping.
    pub fn after_ms(self, milliseconds: u64) -> u64 {
        self.mono_ns.saturating_add(milliseconds.saturating_mul(MILLISECOND_NS))
    }
}

/// A moment at which somebody wants to be called, and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// When, on the monotonic clock.
    pub mono_ns: u64,
    /// Why, in a few words; shows in traces.
    pub reason: &'static str,
}

/// Deterministic entropy: a splitmix64 sequence from a seed that the caller took from the system
/// (or from a test's seed). Used for assigned client ids and hash seeds, never for cryptography.
#[derive(Clone, Debug)]
pub struct Entropy(u64);

impl Entropy {
    /// A sequence that starts at `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound` (which must not be zero); the small modulo bias does not matter here.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next_u64() % bound
    }
}
