//! The one place that reads clocks.

use althing_core::Now;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Makes `Now` out of the system's clocks. Copies agree with each other.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

/// Starts at 0 now.
impl Default for Clock {
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock {
    /// This moment. A wall clock before 1970 reads as 1970.
    pub fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { mono_ns: self.mono_ns(), wall_ms: wall.as_millis() as u64 }
    }

    /// The monotonic reading of this moment alone.
    pub(crate) fn mono_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    /// The moment at which the monotonic reading will be `mono_ns`, at most a day ahead: the event
    /// loop's timer wheel ends before `u64::MAX`, and waking once a day costs nothing.
    pub(crate) fn instant(&self, mono_ns: u64) -> Instant {
        const DAY: Duration = Duration::from_secs(86_400);
        let now = Instant::now();
        let wanted = self.start.checked_add(Duration::from_nanos(mono_ns)).unwrap_or(now + DAY);
        wanted.min(now + DAY)
    }
}
