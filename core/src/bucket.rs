//! How fast something may come: a token bucket that remembers one moment.

use crate::time::{MILLISECOND_NS, SECOND_NS};

/// What may come at once, as the time in which it would come evenly: two seconds' worth rides out a reconnect or a batch.
pub const BURST_NS: u64 = 2 * SECOND_NS;

/// Who has to wait waits this much longer, so that a fast one is woken for some messages and not for each.
const REST_NS: u64 = 50 * MILLISECOND_NS;

/// A bucket that fills evenly and holds [`BURST_NS`]. It may be overdrawn, since what has come is known only when it is
/// here: its owner rests until the debt is paid, and what still comes when the debt is a burst of its own is refused.
/// The rate is not kept, so that it may change at any time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// When it is full again, on the monotonic clock; in the past when it is.
    full_ns: u64,
}

impl Bucket {
    /// Takes `units` of something that fills up by `rate_per_s`, though the bucket be empty.
    pub fn take(&mut self, mono_ns: u64, units: u64, rate_per_s: u64) {
        let cost_ns = (u128::from(units) * u128::from(SECOND_NS)).div_ceil(u128::from(rate_per_s.max(1)));
        let cost_ns = u64::try_from(cost_ns).unwrap_or(u64::MAX);
        self.full_ns = self.full_ns.max(mono_ns).saturating_add(cost_ns);
    }

    /// Until when its owner should rest; `None` while something is left.
    pub fn rests_until_ns(&self, mono_ns: u64) -> Option<u64> {
        (self.lacks_ns(mono_ns) > BURST_NS).then(|| (self.full_ns - BURST_NS).saturating_add(REST_NS))
    }

    /// Whether it is in debt by more than a burst: nothing may be taken from it.
    pub fn is_overdrawn(&self, mono_ns: u64) -> bool {
        self.lacks_ns(mono_ns) > 2 * BURST_NS
    }

    /// Whether nothing is left to remember.
    pub fn is_full(&self, mono_ns: u64) -> bool {
        self.full_ns <= mono_ns
    }

    fn lacks_ns(&self, mono_ns: u64) -> u64 {
        self.full_ns.saturating_sub(mono_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Entropy;

    /// What a peer has sent: when, and how many units.
    type Taken = Vec<(u64, u64)>;

    /// Whether no window of time has more than `rate_per_s`, `burst_ns` worth of it and one message hold.
    fn stays_within(taken: &Taken, rate_per_s: u64, burst_ns: u64, units_max: u64) -> bool {
        (0..taken.len()).all(|from| {
            let mut sum = 0;
            taken[from..].iter().all(|(at_ns, units)| {
                sum += units;
                let time_ns = u128::from(at_ns - taken[from].0 + burst_ns);
                u128::from(sum - units_max.min(sum)) * u128::from(SECOND_NS) <= time_ns * u128::from(rate_per_s)
            })
        })
    }

    #[test]
    fn no_window_of_time_has_more_than_the_rate_and_a_burst() {
        for seed in 0..300 {
            let mut entropy = Entropy::new(seed);
            let rate_per_s = 1 + entropy.below(1 << entropy.clone().below(20));
            let units_max = 1 + entropy.below(rate_per_s);
            let obeys = entropy.below(2) == 0;
            let (mut bucket, mut now_ns, mut taken) = (Bucket::default(), 1, Taken::new());
            for _ in 0..200 {
                now_ns += entropy.below(SECOND_NS / 10) * entropy.below(2);
                if let Some(until_ns) = bucket.rests_until_ns(now_ns).filter(|_| obeys) {
                    now_ns = until_ns;
                }
                let units = 1 + entropy.below(units_max);
                assert!(!(obeys && bucket.is_overdrawn(now_ns)), "seed {seed}: who rests is never refused");
                if !bucket.is_overdrawn(now_ns) {
                    bucket.take(now_ns, units, rate_per_s);
                    taken.push((now_ns, units));
                }
            }
            let burst_ns = if obeys { BURST_NS } else { 2 * BURST_NS };
            assert!(stays_within(&taken, rate_per_s, burst_ns, units_max), "seed {seed}, rate {rate_per_s}");
        }
    }

    #[test]
    fn who_rests_when_told_gets_the_whole_rate() {
        for rate_per_s in [1_u64, 7, 1_000, 1_000_000] {
            let (mut bucket, mut now_ns, mut taken) = (Bucket::default(), 0, 0);
            while now_ns < 100 * SECOND_NS {
                bucket.take(now_ns, rate_per_s.div_ceil(10), rate_per_s);
                taken += rate_per_s.div_ceil(10);
                now_ns = bucket.rests_until_ns(now_ns).unwrap_or(now_ns);
            }
            assert!(taken >= 100 * rate_per_s, "{taken} at {rate_per_s} a second");
        }
    }

    #[test]
    fn no_number_is_too_large() {
        let mut bucket = Bucket::default();
        bucket.take(u64::MAX - 1, u64::MAX, 0);
        assert!(bucket.rests_until_ns(1).is_some() && bucket.is_overdrawn(1) && !bucket.is_full(1));
    }
}
