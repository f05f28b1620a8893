//! One durable queue: where its bodies are, in the order of its sequences.

use crate::codec::BodyAt;
use std::collections::VecDeque;

/// What the index knows of one entry: 24 bytes, for a backlog is made of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub sequence: i64,
    pub body: BodyAt,
    /// Its terms, by their number in the pool.
    pub terms: u32,
}

const _: () = assert!(size_of::<Entry>() == 24);

/// An entry that has a delivery number. Few have: a window's worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flight {
    pub sequence: i64,
    /// 0: none, though it was received.
    pub number: u32,
    pub received: bool,
}

/// Entries and flights, both in the order of their sequences.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// The bytes of its key; none in a slot that is free.
    pub key: Vec<u8>,
    pub hash: u128,
    entries: VecDeque<Entry>,
    flights: VecDeque<Flight>,
}

/// Room for so many entries may stay when they are gone.
const ENTRIES_KEPT: usize = 16;

impl Queue {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn entries(&self) -> &VecDeque<Entry> {
        &self.entries
    }

    pub(crate) fn get(&self, sequence: i64) -> Option<&Entry> {
        self.find(sequence).ok().map(|index| &self.entries[index])
    }

    pub(crate) fn get_mut(&mut self, sequence: i64) -> Option<&mut Entry> {
        self.find(sequence).ok().map(|index| &mut self.entries[index])
    }

    pub(crate) fn flight(&self, sequence: i64) -> Option<Flight> {
        self.find_flight(sequence).ok().map(|index| self.flights[index])
    }

    /// The entries behind `sequence`, in order.
    pub(crate) fn after(&self, sequence: Option<i64>) -> impl Iterator<Item = &Entry> {
        let start = match sequence.map(|sequence| self.find(sequence)) {
            None => 0,
            Some(Ok(index)) => index + 1,
            Some(Err(index)) => index,
        };
        self.entries.range(start..)
    }

    /// Puts an entry to its place, without a flight, and gives back the one that stood there.
    pub(crate) fn put(&mut self, entry: Entry) -> Option<Entry> {
        match self.find(entry.sequence) {
            Ok(index) => {
                if let Ok(flight) = self.find_flight(entry.sequence) {
                    self.flights.remove(flight);
                }
                return Some(std::mem::replace(&mut self.entries[index], entry));
            }
            Err(index) => {
                self.grow();
                // At either end this moves nothing.
                self.entries.insert(index, entry);
            }
        }
        None
    }

    /// A long queue grows by a quarter, not by its length: a backlog is to have few empty places.
    fn grow(&mut self) {
        let length = self.entries.len();
        if length == self.entries.capacity() && length >= ENTRIES_KEPT {
            self.entries.reserve_exact(length / 4);
        }
    }

    pub(crate) fn take(&mut self, sequence: i64) -> Option<Entry> {
        let index = self.find(sequence).ok()?;
        if let Ok(flight) = self.find_flight(sequence) {
            self.flights.remove(flight);
        }
        let entry = self.entries.remove(index);
        if self.entries.len() < self.entries.capacity() / 4 && self.entries.capacity() > 4 * ENTRIES_KEPT {
            self.entries.shrink_to(self.entries.len() * 2);
        }
        entry
    }

    /// Changes the flight of an entry. False: there is no such entry, or it was like this before.
    pub(crate) fn change_flight(&mut self, sequence: i64, change: impl FnOnce(&mut Flight)) -> bool {
        if self.find(sequence).is_err() {
            return false;
        }
        let none = Flight { sequence, number: 0, received: false };
        let found = self.find_flight(sequence);
        let before = found.map_or(none, |index| self.flights[index]);
        let mut flight = before;
        change(&mut flight);
        match found {
            Ok(index) => self.flights[index] = flight,
            Err(index) if flight != none => self.flights.insert(index, flight),
            Err(_) => {}
        }
        flight != before
    }

    /// Drops the entries that `keep` does not want, and shows them.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&Entry) -> bool) {
        self.entries.retain(&mut keep);
        let Self { entries, flights, .. } = self;
        flights.retain(|flight| entries.binary_search_by_key(&flight.sequence, |entry| entry.sequence).is_ok());
    }

    /// Makes the slot free; `keep_room` leaves a little memory for the next queue.
    pub(crate) fn clear(&mut self, keep_room: bool) {
        if keep_room && self.entries.capacity() <= ENTRIES_KEPT && self.flights.capacity() <= ENTRIES_KEPT {
            self.key.clear();
            self.entries.clear();
            self.flights.clear();
        } else {
            *self = Self::default();
        }
    }

    /// Bytes of memory that it takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + self.key.capacity()
            + self.entries.capacity() * size_of::<Entry>()
            + self.flights.capacity() * size_of::<Flight>()
    }

    /// Sequences are mostly without gaps, and mostly it is the first or the next one that is wanted.
    fn find(&self, sequence: i64) -> Result<usize, usize> {
        match (self.entries.front(), self.entries.back()) {
            (Some(front), Some(back)) => {
                if back.sequence < sequence {
                    return Err(self.entries.len());
                }
                if sequence < front.sequence {
                    return Err(0);
                }
                let guess = sequence.wrapping_sub(front.sequence) as usize;
                if self.entries.get(guess).is_some_and(|entry| entry.sequence == sequence) {
                    return Ok(guess);
                }
                self.entries.binary_search_by_key(&sequence, |entry| entry.sequence)
            }
            _ => Err(0),
        }
    }

    fn find_flight(&self, sequence: i64) -> Result<usize, usize> {
        self.flights.binary_search_by_key(&sequence, |flight| flight.sequence)
    }
}

impl Entry {
    pub(crate) fn new(sequence: i64, body: BodyAt, terms: u32) -> Self {
        Self { sequence, body, terms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Place;

    fn entry(sequence: i64) -> Entry {
        Entry::new(sequence, BodyAt { place: Place { segment: 1, offset: 8 }, length: 1 }, 0)
    }

    fn sequences(queue: &Queue) -> Vec<i64> {
        queue.entries().iter().map(|entry| entry.sequence).collect()
    }

    #[test]
    fn entries_are_in_order_wherever_they_come_in() {
        let mut queue = Queue::default();
        for sequence in [5, 9, -3, 7, i64::MAX, i64::MIN, 6] {
            assert!(queue.put(entry(sequence)).is_none());
        }
        assert_eq!(sequences(&queue), [i64::MIN, -3, 5, 6, 7, 9, i64::MAX]);
        assert!(queue.put(entry(7)).is_some());
        assert!(queue.take(7).is_some() && queue.take(7).is_none() && queue.take(8).is_none());
        assert_eq!(queue.after(Some(5)).map(|entry| entry.sequence).collect::<Vec<_>>(), [6, 9, i64::MAX]);
        assert_eq!(queue.after(Some(7)).count(), 2, "one that is gone marks a place all the same");
        assert_eq!(queue.after(None).count(), 6);
    }

    #[test]
    fn flights_go_with_their_entries() {
        let mut queue = Queue::default();
        (1..=3).for_each(|sequence| assert!(queue.put(entry(sequence)).is_none()));
        assert!(queue.change_flight(2, |flight| flight.number = 7));
        assert!(!queue.change_flight(2, |flight| flight.number = 7), "nothing new");
        assert!(queue.change_flight(2, |flight| flight.received = true));
        assert!(!queue.change_flight(9, |flight| flight.number = 7), "no such entry");
        assert_eq!(queue.flight(2), Some(Flight { sequence: 2, number: 7, received: true }));
        queue.take(2);
        assert_eq!(queue.flight(2), None);
        queue.change_flight(3, |flight| flight.number = 8);
        queue.retain(|entry| entry.sequence != 3);
        assert_eq!((queue.flight(3), sequences(&queue)), (None, vec![1]));
    }

    #[test]
    fn a_drained_queue_gives_its_memory_back() {
        let mut queue = Queue::default();
        (0..10_000).for_each(|sequence| assert!(queue.put(entry(sequence)).is_none()));
        (0..9_990).for_each(|sequence| assert!(queue.take(sequence).is_some()));
        assert!(queue.memory_bytes() < 5_000, "{}", queue.memory_bytes());
        assert_eq!(queue.entries().len(), 10);
    }
}
