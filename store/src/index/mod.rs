//! What holds now, as places in the log: the same items make the same index, live and at the start.
//!
//! An item says a new state and nothing about the old one, so that applying it to an index which is ahead of it does no harm in the
//! end: all items behind it follow. A checkpoint that is written while the log goes on depends on that.

mod facts;
mod queue;
mod terms;

pub(crate) use facts::{Fact, SHARDS};
pub(crate) use queue::{Entry, Flight, Queue};

use crate::codec::{BodyAt, Item, Kind, PENDING, is_of_group, is_of_session};
use crate::log::Place;
use facts::Facts;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::Hasher;
use terms::Terms;

/// The index of a store.
#[derive(Debug)]
pub(crate) struct Index {
    key: u64,
    facts: Facts,
    queues: Vec<Queue>,
    free_slots: Vec<u32>,
    slots: HashMap<u128, u32, FixedState>,
    terms: Terms,
    live: Live,
    entries: u64,
    /// What the step under way has brought in: it has no place yet.
    fresh: Vec<Fresh>,
}

#[derive(Clone, Copy, Debug)]
enum Fresh {
    Fact(u128),
    Entry { slot: u32, sequence: i64 },
}

/// Free slots beyond so many give all their memory back.
const FREE_SLOTS_WITH_ROOM: usize = 1024;

/// Tells keys of queues from those of facts.
const QUEUE: u8 = 0xff;

impl Index {
    /// An empty index that hashes its keys with `key`.
    pub(crate) fn new(key: u64) -> Self {
        Self {
            key,
            facts: Facts::default(),
            queues: Vec::new(),
            free_slots: Vec::new(),
            slots: HashMap::default(),
            terms: Terms::default(),
            live: Live::default(),
            entries: 0,
            fresh: Vec::new(),
        }
    }

    pub(crate) fn key(&self) -> u64 {
        self.key
    }

    /// Makes what an item says hold; `at` is where it stands. False: it held before.
    pub(crate) fn apply(&mut self, item: &Item<'_>, at: BodyAt) -> bool {
        match *item {
            Item::Body | Item::Aged => false,
            Item::Fact { kind, key } => self.put_fact(self.fact_hash(kind, key), Fact { kind, at }),
            Item::Retained { key, body } => {
                let kind = Kind::Retained;
                self.put_fact(self.fact_hash(kind, key), Fact { kind, at: body })
            }
            Item::FactGone { kind, key } => self.take_fact(self.fact_hash(kind, key)),
            Item::Queued { queue, sequence, terms, body } => self.put_entry(queue, sequence, terms, body),
            Item::Moved { from, from_sequence, queue, sequence, terms, body } => {
                self.take_entry(from, from_sequence);
                self.put_entry(queue, sequence, terms, body)
            }
            Item::Numbered { queue, sequence, number } => {
                self.change_flight(queue, sequence, |flight| flight.number = number)
            }
            Item::Received { queue, sequence } => self.change_flight(queue, sequence, |flight| flight.received = true),
            Item::Settled { queue, sequence } => self.take_entry(queue, sequence),
            Item::QueueClosed { queue } => self.close_queue(queue),
            Item::Relocated { queue, sequence, body } => self.relocate(queue, sequence, body),
        }
    }

    /// The step under way stands at `base`: from now on all it has brought in is there.
    pub(crate) fn place(&mut self, base: Place) {
        let Self { fresh, facts, queues, live, .. } = self;
        for fresh in fresh.drain(..) {
            // What has gone again within the step has no place to be told.
            let at = match fresh {
                Fresh::Fact(hash) => facts.get_mut(hash).map(|fact| &mut fact.at),
                Fresh::Entry { slot, sequence } => queues[slot as usize].get_mut(sequence).map(|entry| &mut entry.body),
            };
            if let Some(at) = at.filter(|at| at.place.segment == PENDING) {
                at.place = base.and(at.place);
                live.add(*at);
            }
        }
    }

    /// The queue with these key bytes, when it has entries.
    pub(crate) fn queue(&self, key: &[u8]) -> Option<&Queue> {
        self.slots.get(&self.hash(QUEUE, key)).map(|slot| &self.queues[*slot as usize])
    }

    /// All slots for queues, free ones included; a queue keeps its slot as long as it has entries.
    pub(crate) fn queues(&self) -> &[Queue] {
        &self.queues
    }

    /// The bytes of an entry's terms.
    pub(crate) fn terms(&self, entry: &Entry) -> &[u8] {
        self.terms.get(entry.terms)
    }

    /// All facts.
    pub(crate) fn facts(&self) -> impl Iterator<Item = (u128, Fact)> {
        self.facts.iter()
    }

    /// One of the [`SHARDS`] of the facts.
    pub(crate) fn fact_shard(&self, shard: usize) -> impl ExactSizeIterator<Item = (u128, Fact)> {
        self.facts.shard(shard)
    }

    pub(crate) fn facts_len(&self) -> usize {
        self.facts.len()
    }

    pub(crate) fn entries_len(&self) -> u64 {
        self.entries
    }

    /// Bytes that a segment is needed for; a body counts once for each reference.
    pub(crate) fn live_bytes(&self, segment: u32) -> u64 {
        self.live.segments.get(&segment).copied().unwrap_or(0)
    }

    /// The same of all segments together.
    pub(crate) fn live_bytes_in_all(&self) -> u64 {
        self.live.bytes
    }

    /// Bytes of memory that the entries and facts take, close to.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.facts.memory_bytes()
            + self.queues.iter().map(Queue::memory_bytes).sum::<usize>()
            + self.slots.allocation_size()
    }

    pub(crate) fn fact_hash(&self, kind: Kind, key: &[u8]) -> u128 {
        self.hash(kind as u8, key)
    }

    /// Puts a fact where a checkpoint knows it.
    pub(crate) fn put_fact(&mut self, hash: u128, fact: Fact) -> bool {
        self.live.add(fact.at);
        if fact.at.place.segment == PENDING {
            self.fresh.push(Fresh::Fact(hash));
        }
        if let Some(before) = self.facts.put(hash, fact) {
            self.live.subtract(before.at);
        }
        true
    }

    fn take_fact(&mut self, hash: u128) -> bool {
        let fact = self.facts.take(hash);
        if let Some(fact) = fact {
            self.live.subtract(fact.at);
        }
        fact.is_some()
    }

    fn put_entry(&mut self, queue: &[u8], sequence: i64, terms: &[u8], body: BodyAt) -> bool {
        let slot = self.slot_for(queue);
        let key = self.key;
        let terms = self.terms.hold(terms, |bytes| hash(key, 0, bytes) as u64);
        self.live.add(body);
        if body.place.segment == PENDING {
            self.fresh.push(Fresh::Entry { slot, sequence });
        }
        match self.queues[slot as usize].put(Entry::new(sequence, body, terms)) {
            Some(before) => {
                self.live.subtract(before.body);
                self.terms.release(before.terms);
            }
            None => self.entries += 1,
        }
        true
    }

    fn take_entry(&mut self, queue: &[u8], sequence: i64) -> bool {
        let Some(slot) = self.slot_of(queue) else { return false };
        let Some(entry) = self.queues[slot as usize].take(sequence) else { return false };
        self.live.subtract(entry.body);
        self.terms.release(entry.terms);
        self.entries -= 1;
        self.free_if_empty(slot);
        true
    }

    fn change_flight(&mut self, queue: &[u8], sequence: i64, change: impl FnOnce(&mut Flight)) -> bool {
        self.slot_of(queue).is_some_and(|slot| self.queues[slot as usize].change_flight(sequence, change))
    }

    /// A session's queue keeps what goes back to a group; a `Moved` takes it there.
    fn close_queue(&mut self, queue: &[u8]) -> bool {
        let Some(slot) = self.slot_of(queue) else { return false };
        let of_session = is_of_session(queue);
        let Self { queues, terms, live, entries, .. } = self;
        let mut changed = false;
        queues[slot as usize].retain(|entry| {
            let stays = of_session && is_of_group(terms.get(entry.terms));
            if !stays {
                live.subtract(entry.body);
                terms.release(entry.terms);
                *entries -= 1;
                changed = true;
            }
            stays
        });
        self.free_if_empty(slot);
        changed
    }

    fn relocate(&mut self, queue: &[u8], sequence: i64, body: BodyAt) -> bool {
        let Some(slot) = self.slot_of(queue) else { return false };
        let Some(entry) = self.queues[slot as usize].get_mut(sequence) else { return false };
        self.live.subtract(entry.body);
        self.live.add(body);
        entry.body = body;
        if body.place.segment == PENDING {
            self.fresh.push(Fresh::Entry { slot, sequence });
        }
        true
    }

    fn slot_of(&self, queue: &[u8]) -> Option<u32> {
        self.slots.get(&self.hash(QUEUE, queue)).copied()
    }

    fn slot_for(&mut self, queue: &[u8]) -> u32 {
        let hash = self.hash(QUEUE, queue);
        if let Some(slot) = self.slots.get(&hash) {
            return *slot;
        }
        let slot = self.free_slots.pop().unwrap_or_else(|| {
            self.queues.push(Queue::default());
            (self.queues.len() - 1) as u32
        });
        self.queues[slot as usize].key.extend_from_slice(queue);
        self.queues[slot as usize].hash = hash;
        self.slots.insert(hash, slot);
        slot
    }

    fn free_if_empty(&mut self, slot: u32) {
        let queue = &mut self.queues[slot as usize];
        if queue.is_empty() {
            self.slots.remove(&queue.hash);
            queue.clear(self.free_slots.len() < FREE_SLOTS_WITH_ROOM);
            self.free_slots.push(slot);
        }
    }

    fn hash(&self, kind: u8, bytes: &[u8]) -> u128 {
        hash(self.key, kind, bytes)
    }
}

/// 128 bits of a keyed hash: a peer that chooses names cannot make two of them meet.
fn hash(key: u64, kind: u8, bytes: &[u8]) -> u128 {
    let mut hasher = SipHasher13::new_with_keys(key, key.rotate_left(32) ^ 0x9e37_79b9_7f4a_7c15);
    hasher.write_u8(kind);
    hasher.write(bytes);
    hasher.finish128().as_u128()
}

/// Live bytes of each segment: the sum over all references into it. No counter of a body's references is needed:
/// it is zero exactly when nobody needs the segment.
#[derive(Debug, Default)]
struct Live {
    segments: HashMap<u32, u64, FixedState>,
    /// Of all of them.
    bytes: u64,
}

impl Live {
    fn add(&mut self, at: BodyAt) {
        if at.place.segment != PENDING {
            self.bytes += u64::from(at.length);
            *self.segments.entry(at.place.segment).or_default() += u64::from(at.length);
        }
    }

    fn subtract(&mut self, at: BodyAt) {
        if at.place.segment == PENDING {
            return;
        }
        if let Some(bytes) = self.segments.get_mut(&at.place.segment) {
            *bytes -= u64::from(at.length);
            self.bytes -= u64::from(at.length);
            if *bytes == 0 {
                self.segments.remove(&at.place.segment);
            }
        }
    }
}

impl Place {
    /// The place that is `within` bytes behind this one.
    pub(crate) fn and(self, within: Place) -> Place {
        Place { segment: self.segment, offset: self.offset + within.offset }
    }
}
