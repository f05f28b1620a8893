//! Leaves a service alone that fails, and looks now and then whether it is back.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Closed while all is well; open after some failures in a row; then one attempt at a time decides. Time is an argument.
#[derive(Debug)]
pub struct Breaker {
    failures_max: u32,
    retry: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// In a row.
    failures: u32,
    /// Nobody asks before.
    open_until: Option<Instant>,
    /// Whether the attempt is under way that decides.
    probing: bool,
}

/// Leave to ask. Dropped without a word it counts as a failure that nobody has seen: the next attempt decides.
#[derive(Debug)]
pub struct Attempt<'a>(Option<&'a Breaker>);

impl Breaker {
    pub fn new(failures_max: u32, retry: Duration) -> Self {
        Self { failures_max, retry, state: Mutex::default() }
    }

    /// Leave to ask, or none.
    pub fn attempt(&self, now: Instant) -> Option<Attempt<'_>> {
        let mut state = self.lock();
        if let Some(until) = state.open_until {
            if now < until || state.probing {
                return None;
            }
            state.probing = true;
        }
        Some(Attempt(Some(self)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt<'_> {
    pub fn succeeded(mut self) {
        if let Some(breaker) = self.0.take() {
            *breaker.lock() = State::default();
        }
    }

    pub fn failed(mut self, now: Instant) {
        let Some(breaker) = self.0.take() else { return };
        let mut state = breaker.lock();
        state.failures = state.failures.saturating_add(1);
        if state.probing || state.failures >= breaker.failures_max {
            state.open_until = Some(now + breaker.retry);
        }
        state.probing = false;
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if let Some(breaker) = self.0.take() {
            breaker.lock().probing = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: Duration = Duration::from_secs(10);

    fn fail(breaker: &Breaker, now: Instant) {
        breaker.attempt(now).unwrap().failed(now);
    }

    #[test]
    fn it_opens_after_failures_in_a_row() {
        let (breaker, now) = (Breaker::new(3, RETRY), Instant::now());
        fail(&breaker, now);
        fail(&breaker, now);
        breaker.attempt(now).unwrap().succeeded();
        fail(&breaker, now);
        fail(&breaker, now);
        assert!(breaker.attempt(now).is_some(), "they were not in a row");
        fail(&breaker, now);
        assert!(breaker.attempt(now).is_none());
    }

    #[test]
    fn one_attempt_at_a_time_decides_when_the_time_has_come() {
        let (breaker, now) = (Breaker::new(1, RETRY), Instant::now());
        fail(&breaker, now);
        let later = now + RETRY;
        let probe = breaker.attempt(later).unwrap();
        assert!(breaker.attempt(later).is_none(), "one is enough");
        probe.failed(later);
        assert!(breaker.attempt(later).is_none(), "it goes on");
        let later = later + RETRY;
        drop(breaker.attempt(later).unwrap());
        breaker.attempt(later).expect("one that was broken off decides nothing").succeeded();
        assert!(breaker.attempt(later).is_some() && breaker.attempt(later).is_some(), "all is well again");
    }
}
