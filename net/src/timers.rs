//! One lazy heap for all deadlines of a shard.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Deadlines, earliest first. An owner is pushed again only when it needs an *earlier* call: one whose
/// deadline moves away (a keep alive that is refreshed by every packet) keeps its entry, is called too
/// early, and is pushed again with the deadline that holds then.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<Entry>>,
}

/// One deadline and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    pub mono_ns: u64,
    pub slot: u32,
    pub generation: u16,
}

impl Timers {
    pub fn push(&mut self, entry: Entry) {
        self.heap.push(Reverse(entry));
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<u64> {
        self.heap.peek().map(|entry| entry.0.mono_ns)
    }

    /// Takes one entry whose time has come.
    pub fn pop_due(&mut self, mono_ns: u64) -> Option<Entry> {
        if self.next()? > mono_ns {
            return None;
        }
        self.heap.pop().map(|entry| entry.0)
    }

    /// Forgets the entries that nobody waits for, once they are the majority: peers that connect with a
    /// keep alive of hours and leave at once, or that need many early calls, must not fill the heap.
    pub fn compact(&mut self, owners: usize, is_live: impl Fn(&Entry) -> bool) {
        const SLACK: usize = 1_024;
        if self.heap.len() <= 2 * owners + SLACK {
            return;
        }
        let mut entries = std::mem::take(&mut self.heap).into_vec();
        entries.retain(|entry| is_live(&entry.0));
        entries.sort_unstable();
        entries.dedup();
        self.heap = entries.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_due_in_order() {
        let mut timers = Timers::default();
        for mono_ns in [30, 10, 20] {
            timers.push(Entry { mono_ns, slot: mono_ns as u32, generation: 0 });
        }
        assert_eq!(timers.next(), Some(10));
        assert_eq!(timers.pop_due(9), None);
        let due: Vec<u32> = std::iter::from_fn(|| timers.pop_due(25)).map(|entry| entry.slot).collect();
        assert_eq!(due, [10, 20]);
        assert_eq!(timers.next(), Some(30));
    }

    #[test]
    fn the_dead_are_forgotten() {
        let mut timers = Timers::default();
        for slot in 0..5_000 {
            timers.push(Entry { mono_ns: u64::MAX, slot, generation: 0 });
            timers.push(Entry { mono_ns: u64::MAX, slot: 1, generation: 0 });
        }
        timers.compact(10, |entry| entry.slot < 10);
        assert_eq!(timers.heap.len(), 10);
    }
}
