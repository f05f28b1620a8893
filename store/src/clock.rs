//! The store's own time, and how it is tied to this process's monotonic clock.

use althing_core::Now;
use althing_core::time::MILLISECOND_NS;

/// A longer absence, in milliseconds, is taken for a wrong clock: 30 days.
const DOWNTIME_MS_MAX: u64 = 30 * 24 * 3_600_000;

/// How long nobody kept the store's time, by the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Downtime {
    /// The store is new.
    New,
    /// The time between the last commit and the start, in milliseconds; the store has aged by it.
    Known(u64),
    /// The wall clock stands before the last commit or more than 30 days behind it, by so many milliseconds: it cannot
    /// be right, and the store has not aged.
    Doubtful(i64),
}

impl Downtime {
    /// Between a last commit and now, both by the wall clock in milliseconds since the Unix epoch.
    pub(crate) fn between(last_wall_ms: u64, wall_ms: u64) -> Self {
        match wall_ms.checked_sub(last_wall_ms) {
            Some(downtime_ms) if downtime_ms <= DOWNTIME_MS_MAX => Self::Known(downtime_ms),
            _ => Self::Doubtful(wall_ms.wrapping_sub(last_wall_ms) as i64),
        }
    }

    pub(crate) fn aged_ms(self) -> u64 {
        match self {
            Self::Known(downtime_ms) => downtime_ms,
            Self::New | Self::Doubtful(_) => 0,
        }
    }
}

/// Converts between the monotonic clock of this process and the age of the store: the milliseconds for which it has existed.
/// The offset is fixed when the store is opened, so that no jump of the wall clock expires anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Clock {
    opened_age_ms: u64,
    opened_mono_ns: u64,
}

impl Clock {
    pub(crate) fn new(opened_age_ms: u64, now: Now) -> Self {
        Self { opened_age_ms, opened_mono_ns: now.mono_ns }
    }

    /// The age at a moment on the monotonic clock; rounded up, so that a deadline is never early.
    pub(crate) fn age_ms(&self, mono_ns: u64) -> u64 {
        match mono_ns.checked_sub(self.opened_mono_ns) {
            Some(since_ns) => self.opened_age_ms.saturating_add(since_ns.div_ceil(MILLISECOND_NS)),
            None => self.opened_age_ms.saturating_sub((self.opened_mono_ns - mono_ns) / MILLISECOND_NS),
        }
    }

    /// The moment on the monotonic clock at which the store has that age; 0 when the clock did not run yet then.
    pub(crate) fn mono_ns(&self, age_ms: u64) -> u64 {
        match age_ms.checked_sub(self.opened_age_ms) {
            Some(since_ms) => self.opened_mono_ns.saturating_add(since_ms.saturating_mul(MILLISECOND_NS)),
            None => self.opened_mono_ns.saturating_sub((self.opened_age_ms - age_ms).saturating_mul(MILLISECOND_NS)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_come_back_at_the_millisecond() {
        let clock = Clock::new(5_000, Now { mono_ns: 70 * MILLISECOND_NS, wall_ms: 0 });
        for mono_ms in [0, 1, 69, 70, 71, 1_000_000] {
            let mono_ns = mono_ms * MILLISECOND_NS;
            assert_eq!(clock.mono_ns(clock.age_ms(mono_ns)), mono_ns);
        }
        assert_eq!(clock.age_ms(70 * MILLISECOND_NS + 1), 5_001, "never early");
        assert_eq!(clock.mono_ns(0), 0, "before the process");
        assert_eq!(clock.mono_ns(u64::MAX), u64::MAX, "never");
    }

    #[test]
    fn a_wall_clock_that_cannot_be_right_counts_as_nothing() {
        assert_eq!(Downtime::between(1_000, 4_000), Downtime::Known(3_000));
        assert_eq!(Downtime::between(1_000, 1_000 + DOWNTIME_MS_MAX).aged_ms(), DOWNTIME_MS_MAX);
        assert_eq!(Downtime::between(1_000, 1_001 + DOWNTIME_MS_MAX).aged_ms(), 0);
        assert_eq!(Downtime::between(4_000, 1_000), Downtime::Doubtful(-3_000));
    }
}
