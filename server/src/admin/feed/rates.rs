//! How fast things come: a mean over the last seconds.

use std::time::Duration;
use tokio::time::Instant;

/// What is longer ago counts less and less.
const OVER: Duration = Duration::from_secs(2);

/// Things a second.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    since: Instant,
    at: Instant,
    count: u64,
    per_s: f64,
}

impl Rate {
    /// Nothing has come yet, after `count` things.
    pub fn new(count: u64, now: Instant) -> Self {
        Self { since: now, at: now, count, per_s: 0.0 }
    }

    /// There are `count` by now. Returns how many come in a second, with as many digits as mean something.
    pub fn update(&mut self, count: u64, now: Instant) -> f64 {
        let step_s = now.duration_since(self.at).as_secs_f64();
        if step_s > 0.0 {
            let lately = count.saturating_sub(self.count) as f64 / step_s;
            // The mean since it began, until that is long enough ago.
            let age_s = now.duration_since(self.since).as_secs_f64();
            let weight = (step_s / age_s).max(1.0 - (-step_s / OVER.as_secs_f64()).exp());
            self.per_s += (lately - self.per_s) * weight;
            (self.count, self.at) = (count, now);
        }
        match self.per_s {
            little if little < 0.05 => 0.0,
            many if many >= 100.0 => many.round(),
            some => (some * 10.0).round() / 10.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_known_at_once_and_fades() {
        let start = Instant::now();
        let mut rate = Rate::new(100, start);
        let at = |tenths: u32| start + Duration::from_millis(100) * tenths;
        assert_eq!(rate.update(100, start), 0.0);
        assert_eq!(rate.update(105, at(1)), 50.0);
        assert_eq!(rate.update(110, at(2)), 50.0);
        let faded: Vec<f64> = (3..200).map(|tenths| rate.update(110, at(tenths))).collect();
        assert!(faded.is_sorted_by(|one, other| one >= other), "{faded:?}");
        assert_eq!(faded.last(), Some(&0.0));
    }
}
