//! Latencies, and the schedule of an open loop.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Ages of deliveries, each kept within 1 % in a table small enough for the processor's cache.
pub struct Latencies(Histogram<u64>);

/// A minute: whatever takes longer is recorded as this.
const LATENCY_NS_MAX: u64 = 60_000_000_000;

impl Default for Latencies {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1_000, LATENCY_NS_MAX, 2).expect("constant bounds are valid");
        Self(histogram)
    }
}

impl Latencies {
    /// One delivery.
    #[inline]
    pub fn record_ns(&mut self, age_ns: u64) {
        self.0.saturating_record(age_ns);
    }

    /// `None` when nothing was recorded.
    pub fn summary(&self) -> Option<Latency> {
        let us = |quantile| self.0.value_at_quantile(quantile) as f64 / 1_000.0;
        (!self.0.is_empty()).then(|| Latency {
            p50: us(0.50),
            p90: us(0.90),
            p99: us(0.99),
            p999: us(0.999),
            max: self.0.max() as f64 / 1_000.0,
        })
    }
}

/// Microseconds from the (intended) sending of a message to its delivery.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Latency {
    /// Median.
    pub p50: f64,
    /// 90 of 100 deliveries took at most this long.
    pub p90: f64,
    /// 99 of 100 deliveries took at most this long.
    pub p99: f64,
    /// 999 of 1,000.
    pub p999: f64,
    /// The slowest, rounded up within 1 %.
    pub max: f64,
}

/// When the messages of an open loop are due: evenly spaced, whatever happens to those before. A message that leaves
/// late keeps its due time as its send time, so that a stall counts for every message it delays and not just for the
/// one that met it (no coordinated omission).
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    start_ns: u64,
    per_second: u64,
    sent: u64,
}

impl Schedule {
    /// The first message is due at `start_ns`.
    pub fn new(start_ns: u64, per_second: u64) -> Self {
        Self { start_ns, per_second: per_second.max(1), sent: 0 }
    }

    /// Number and due time of the next message, if it is due at `now_ns`.
    pub fn due(&self, now_ns: u64) -> Option<(u64, u64)> {
        let due_ns = self.start_ns + (u128::from(self.sent) * 1_000_000_000 / u128::from(self.per_second)) as u64;
        (due_ns <= now_ns).then_some((self.sent, due_ns))
    }

    /// The message that was due is on its way.
    pub fn advance(&mut self) {
        self.sent += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_percent() {
        let mut latencies = Latencies::default();
        for us in 1..=1_000 {
            latencies.record_ns(us * 1_000);
        }
        let latency = latencies.summary().expect("recorded");
        for (value, expected) in [
            (latency.p50, 500.0),
            (latency.p90, 900.0),
            (latency.p99, 990.0),
            (latency.p999, 999.0),
            (latency.max, 1_000.0),
        ] {
            assert!((value / expected - 1.0).abs() < 0.01, "{value} for {expected}");
        }
    }

    #[test]
    fn an_endless_latency_is_a_minute_and_none_is_none() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.summary(), None);
        latencies.record_ns(u64::MAX);
        assert!((latencies.summary().expect("recorded").max / 60e6 - 1.0).abs() < 0.01);
    }

    #[test]
    fn a_stall_delays_no_due_time() {
        let mut schedule = Schedule::new(1_000, 5_000);
        assert_eq!(schedule.due(999), None);
        let mut due = vec![];
        // Nothing could leave for one millisecond: five messages have become due, each at its own time.
        while let Some((_, due_ns)) = schedule.due(1_001_000) {
            due.push(due_ns);
            schedule.advance();
        }
        assert_eq!(due, [1_000, 201_000, 401_000, 601_000, 801_000, 1_001_000]);
    }

    #[test]
    fn rates_that_do_not_divide_a_second_do_not_drift() {
        let mut schedule = Schedule::new(0, 3);
        for _ in 0..3_000_000 {
            schedule.advance();
        }
        assert_eq!(schedule.due(u64::MAX), Some((3_000_000, 1_000_000_000_000_000)));
    }
}
