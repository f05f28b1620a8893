//! The last events of one stream, so that a client that was away for a moment misses nothing.

use std::collections::VecDeque;

/// How much of a stream is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryLimits {
    /// Events.
    pub events_max: usize,
    /// Their bytes, counted as if nobody shared them.
    pub bytes_max: usize,
}

/// A bounded memory of events; what is numbered is never renumbered.
#[derive(Debug)]
pub struct History<E> {
    limits: HistoryLimits,
    /// With their bytes. The oldest ones go first; the last one has the number `last`.
    events: VecDeque<(usize, E)>,
    bytes: usize,
    last: u64,
}

/// What a client gets that has seen the events up to some number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Continuation {
    /// Events between the last that it has seen and the first that is still known.
    pub missed: u64,
    /// The last event that it has seen, or need not hope to see.
    pub seen: u64,
}

impl<E> History<E> {
    /// A stream without events.
    pub fn new(limits: HistoryLimits) -> Self {
        Self { limits, events: VecDeque::new(), bytes: 0, last: 0 }
    }

    /// The next event; returns its number.
    pub fn push(&mut self, event: E, bytes: usize) -> u64 {
        self.bytes += bytes;
        self.events.push_back((bytes, event));
        self.last += 1;
        while self.events.len() > self.limits.events_max || self.bytes > self.limits.bytes_max {
            let Some((bytes, _)) = self.events.pop_front() else { break };
            self.bytes -= bytes;
        }
        self.last
    }

    /// The number of the newest event; 0 when there was none.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// How a client goes on that has seen the events up to `seen`; `None` when that is not what this stream has sent.
    pub fn continue_after(&self, seen: u64) -> Option<Continuation> {
        if seen > self.last {
            return None;
        }
        let oldest_before = self.last - self.events.len() as u64;
        Some(Continuation { missed: oldest_before.saturating_sub(seen), seen: seen.max(oldest_before) })
    }

    /// The event after `seen`, when it has happened and is known.
    pub fn after(&self, seen: u64) -> Option<(u64, &E)> {
        let oldest = self.last - self.events.len() as u64 + 1;
        let number = seen.checked_add(1)?;
        let place = usize::try_from(number.checked_sub(oldest)?).ok()?;
        Some((number, &self.events.get(place)?.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn history(events: usize, limits: HistoryLimits) -> History<String> {
        let mut history = History::new(limits);
        for number in 1..=events {
            assert_eq!(history.push(number.to_string(), number.to_string().len()), number as u64);
        }
        history
    }

    const LIMITS: HistoryLimits = HistoryLimits { events_max: 3, bytes_max: 100 };

    #[test]
    fn a_client_goes_on_where_it_was() {
        let history = history(5, LIMITS);
        assert_eq!(history.continue_after(3), Some(Continuation { missed: 0, seen: 3 }));
        assert_eq!(history.after(3), Some((4, &"4".to_owned())));
        assert_eq!(history.after(5), None);
    }

    #[test]
    fn what_is_forgotten_is_counted() {
        let history = history(5, LIMITS);
        assert_eq!(history.continue_after(0), Some(Continuation { missed: 2, seen: 2 }));
        assert_eq!(history.continue_after(1), Some(Continuation { missed: 1, seen: 2 }));
        assert_eq!(history.continue_after(2), Some(Continuation { missed: 0, seen: 2 }));
        assert_eq!(history.after(1), None);
        assert_eq!(history.continue_after(6), None);
    }

    #[test]
    fn an_event_beyond_the_bound_is_not_kept() {
        let mut history = history(2, LIMITS);
        assert_eq!(history.push(String::new(), 101), 3);
        assert_eq!((history.events.len(), history.bytes), (0, 0));
        assert_eq!(history.continue_after(2), Some(Continuation { missed: 1, seen: 3 }));
    }

    proptest! {
        #[test]
        fn nobody_misses_anything_without_being_told(events in 0..20usize, seen in 0..25u64, events_max in 0..8usize) {
            let history = history(events, HistoryLimits { events_max, bytes_max: 20 });
            prop_assert!(history.bytes <= 20 && history.events.len() <= events_max);
            let Some(Continuation { missed, seen: mut at }) = history.continue_after(seen) else {
                prop_assert!(seen > events as u64);
                return Ok(());
            };
            prop_assert_eq!(at, seen + missed);
            while let Some((number, event)) = history.after(at) {
                prop_assert_eq!(number, at + 1);
                prop_assert_eq!(event, &number.to_string());
                at = number;
            }
            prop_assert_eq!(at, events as u64);
        }
    }
}
