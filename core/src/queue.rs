//! Messages in order: those in memory, and behind them those that only the store has.

use crate::limits::Limits;
use crate::message::{Guarantee, Message};
use crate::record::{Loaded, LoadedEntry, Terms};
use crate::topic::Filter;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::sync::Arc;

/// A message that waits for one session or group.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The message, in memory of its own.
    pub message: Arc<Message>,
    /// The smaller of the publisher's and the subscriber's guarantee.
    pub guarantee: Guarantee,
    /// The retain flag as the subscription sees it.
    pub retain: bool,
    /// The place in the durable queue; 0 when it is not stored.
    pub sequence: i64,
    /// Whether that queue is its group's, though a session may have the entry in its hands.
    pub at_group: bool,
    /// The tags of all subscriptions that matched.
    pub tags: Tags,
    /// The group that it came from and goes back to.
    pub group: Option<Arc<Filter>>,
}

/// Tags of the subscriptions that a message matched; two fit without memory of their own.
pub type Tags = SmallVec<[u32; 2]>;

impl Entry {
    /// How it is to be delivered, for the store.
    pub fn terms(&self) -> Terms {
        let group = self.group.as_ref().map(|filter| filter.text().clone());
        Terms { guarantee: self.guarantee, retain: self.retain, tags: self.tags.clone(), group }
    }

    /// An entry that the store gave back. `group` is the one in whose queue it waits.
    pub(crate) fn from_store(sequence: i64, loaded: LoadedEntry, group: Option<Arc<Filter>>) -> Self {
        let LoadedEntry { message, terms } = loaded;
        let Terms { guarantee, retain, tags, .. } = terms;
        Self { message, guarantee, retain, sequence, at_group: group.is_some(), tags, group }
    }
}

/// Entries in order, with their bytes counted. Those in memory come first. Only stored ones are ever out of
/// memory, and new stored ones follow them there, so that the order holds; one that is not stored
/// (`AtMostOnce`) may overtake them.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    entries: VecDeque<Entry>,
    /// Of all entries, wherever they are.
    bytes: usize,
    /// Rare, so boxed.
    spilled: Option<Box<Spilled>>,
}

/// The entries that only the store has.
#[derive(Debug, Default)]
struct Spilled {
    places: VecDeque<Place>,
    bytes: usize,
    /// The first of those that are on their way into memory; 0 = none are.
    loading: i64,
}

/// Names one of them. A million of these are ordinary, so they are packed into 12 bytes.
#[derive(Clone, Copy, Debug)]
#[repr(Rust, packed(4))]
struct Place {
    sequence: i64,
    size_bytes: u32,
}

impl Place {
    fn new(sequence: i64, size_bytes: usize) -> Self {
        Self { sequence, size_bytes: u32::try_from(size_bytes).unwrap_or(u32::MAX) }
    }
}

impl Queue {
    pub fn len(&self) -> usize {
        self.entries.len() + self.spilled.as_ref().map_or(0, |spilled| spilled.places.len())
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.spilled.is_none()
    }

    /// Whether the store has any of its entries.
    pub fn is_stored(&self) -> bool {
        self.spilled.is_some() || self.entries.iter().any(|entry| entry.sequence != 0)
    }

    pub fn push_back(&mut self, entry: Entry) {
        self.bytes += entry.message.size_bytes();
        self.entries.push_back(entry);
    }

    pub fn push_front(&mut self, entry: Entry) {
        self.bytes += entry.message.size_bytes();
        self.entries.push_front(entry);
    }

    /// The first entry, if it is in memory.
    pub fn front(&self) -> Option<&Entry> {
        self.entries.front()
    }

    /// Takes the first entry, if it is in memory.
    pub fn pop_front(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        self.bytes -= entry.message.size_bytes();
        if self.entries.is_empty() {
            self.entries = VecDeque::new();
        }
        Some(entry)
    }

    /// Removes the oldest entry, wherever it is, that no other group than `own` waits to have back. Returns its
    /// sequence and size.
    pub fn drop_oldest(&mut self, own: Option<&Filter>) -> Option<(i64, usize)> {
        let position = self.entries.iter().position(|entry| entry.group.as_deref() == own);
        if let Some(entry) = position.and_then(|position| self.entries.remove(position)) {
            let size = entry.message.size_bytes();
            self.bytes -= size;
            return Some((entry.sequence, size));
        }
        let place = self.pop_spilled()?;
        Some((place.sequence, place.size_bytes as usize))
    }

    /// Takes the entries in memory for which `taken` is true, keeping the order of both halves.
    pub fn take_if(&mut self, mut taken: impl FnMut(&Entry) -> bool) -> Vec<Entry> {
        if self.entries.is_empty() {
            return Vec::new();
        }
        let (out, kept): (Vec<Entry>, Vec<Entry>) = self.entries.drain(..).partition(|entry| taken(entry));
        self.entries = kept.into();
        self.bytes -= out.iter().map(|entry| entry.message.size_bytes()).sum::<usize>();
        out
    }
}

/// What is out of memory.
impl Queue {
    /// Whether a stored entry of this size may join the entries in memory.
    pub fn has_memory_for(&self, size_bytes: usize, limits: &Limits) -> bool {
        self.spilled.is_none()
            && self.entries.len() < limits.queue_memory_messages
            && self.bytes + size_bytes <= limits.queue_memory_bytes
    }

    /// Adds a stored entry without taking it into memory.
    pub fn spill(&mut self, sequence: i64, size_bytes: usize) {
        let place = Place::new(sequence, size_bytes);
        let spilled = self.spilled.get_or_insert_default();
        spilled.places.push_back(place);
        spilled.bytes += place.size_bytes as usize;
        self.bytes += place.size_bytes as usize;
    }

    /// Lets go of the stored entries in memory: nobody is there to take them.
    pub fn let_go(&mut self) {
        if self.entries.iter().all(|entry| entry.sequence == 0) {
            return;
        }
        let stored = self.take_if(|entry| entry.sequence != 0);
        let spilled = self.spilled.get_or_insert_default();
        for entry in stored.into_iter().rev() {
            let place = Place::new(entry.sequence, entry.message.size_bytes());
            spilled.places.push_front(place);
            spilled.bytes += place.size_bytes as usize;
            self.bytes += place.size_bytes as usize;
        }
    }

    /// The entries to ask the store for, when few are left in memory: as many as there is memory for, one at least.
    /// Nothing while others are on their way.
    pub fn next_load(&mut self, limits: &Limits) -> Option<Vec<i64>> {
        let spilled = self.spilled.as_mut()?;
        let memory_bytes = self.bytes - spilled.bytes;
        let is_low =
            self.entries.len() <= limits.queue_memory_messages / 2 && memory_bytes <= limits.queue_memory_bytes / 2;
        if spilled.loading != 0 || !is_low {
            return None;
        }
        let messages_max = limits.queue_memory_messages.saturating_sub(self.entries.len()).max(1);
        let mut bytes = memory_bytes;
        let mut sequences = Vec::new();
        for place in spilled.places.iter().take(messages_max) {
            bytes += place.size_bytes as usize;
            if bytes > limits.queue_memory_bytes && !sequences.is_empty() {
                break;
            }
            sequences.push(place.sequence);
        }
        spilled.loading = sequences.first().copied()?;
        Some(sequences)
    }

    /// Puts what the store was asked for behind the entries in memory; returns the sizes of those that it did
    /// not have. Meanwhile the oldest may have been dropped, or others may have been let go in front of them: an entry is
    /// taken only when its turn has come.
    pub fn take_loaded(&mut self, loaded: Loaded, group: Option<&Arc<Filter>>) -> Vec<usize> {
        let Some(spilled) = &mut self.spilled else { return Vec::new() };
        if loaded.sequences.first() == Some(&spilled.loading) {
            spilled.loading = 0;
        }
        let (mut missing, mut entries) = (Vec::new(), loaded.entries.into_iter().peekable());
        for wanted in loaded.sequences {
            let found = entries.next_if(|(sequence, _)| *sequence == wanted);
            let first = self.spilled.as_ref().and_then(|spilled| spilled.places.front());
            if first.is_none_or(|place| place.sequence != wanted) {
                continue;
            }
            let Some(place) = self.pop_spilled() else { break };
            match found {
                Some((sequence, entry)) => self.push_back(Entry::from_store(sequence, entry, group.cloned())),
                None => missing.push(place.size_bytes as usize),
            }
        }
        missing
    }

    fn pop_spilled(&mut self) -> Option<Place> {
        let spilled = self.spilled.as_mut()?;
        let place = spilled.places.pop_front()?;
        spilled.bytes -= place.size_bytes as usize;
        self.bytes -= place.size_bytes as usize;
        if spilled.places.is_empty() {
            self.spilled = None;
        }
        Some(place)
    }
}
