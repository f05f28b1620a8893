//! The last value of each topic (MQTT 5.0 §3.3.1.3), found by name or by pattern.
//!
//! A message is kept in the node of its topic in a [`Tree`], so it costs a node, its own bytes and, if it
//! expires, an entry in the order of expiry. What takes long goes in turns: a pattern that
//! selects a million topics is a [`Lookup`], and [`Retained::expire`] has a budget.

use crate::limits::Limits;
use crate::message::Message;
use crate::topic::{Filter, Topic};
use crate::tree::{NodeId, Tree};
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// The store is full: the message is not kept, and what was kept before stays. The publisher may be told
/// its language's "quota exceeded"; live subscribers can have the message all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaExceeded {
    /// [`Limits::retained_messages_max`].
    Messages,
    /// [`Limits::retained_bytes_max`].
    Bytes,
}

impl fmt::Display for QuotaExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Messages => "as many messages are retained as limits.retained_messages_max allows",
            Self::Bytes => "the retained messages would take more than limits.retained_bytes_max allows",
        })
    }
}

impl std::error::Error for QuotaExceeded {}

/// The retained messages of one shard. At most one for each topic, each with a payload.
///
/// An expired message is never shown, but it counts until [`expire`](Self::expire) has removed it.
#[derive(Debug)]
pub struct Retained {
    messages: Tree<Option<Arc<Message>>>,
    /// The messages that expire, and when: `(expires_ns, node)`. Exactly those in `messages`, so that
    /// replacing a value every second for a year leaves nothing behind.
    expiries: BTreeSet<(u64, NodeId)>,
    count: usize,
    bytes: usize,
    count_max: usize,
    bytes_max: usize,
}

impl Retained {
    /// An empty store with its share of `limits`; `seed` keys its hash.
    pub fn new(seed: u64, limits: &Limits) -> Self {
        Self {
            messages: Tree::new(seed),
            expiries: BTreeSet::new(),
            count: 0,
            bytes: 0,
            count_max: limits.retained_messages_max,
            bytes_max: limits.retained_bytes_max,
        }
    }

    /// What a publish with the retain flag does: an empty payload clears the topic's value
    /// ([MQTT-3.3.1-6], [MQTT-3.3.1-7]), any other becomes it. Returns whether anything changed.
    pub fn apply(&mut self, message: Arc<Message>) -> Result<bool, QuotaExceeded> {
        if message.payload.is_empty() { Ok(self.clear(&message.topic)) } else { self.set(message).map(|()| true) }
    }

    /// Makes `message`, which must be [detached](Message::detached), the value of its topic in place of
    /// the one before. Only a change that adds to what is kept can be refused.
    pub fn set(&mut self, message: Arc<Message>) -> Result<(), QuotaExceeded> {
        let topic = message.topic.as_str();
        let bytes = message.size_bytes();
        let replaced = self.messages.find(topic).and_then(|node| self.messages.value(node).as_ref());
        let replaced_bytes = replaced.map_or(0, |message| message.size_bytes());
        if replaced.is_none() && self.count >= self.count_max {
            return Err(QuotaExceeded::Messages);
        }
        if bytes > replaced_bytes && self.bytes - replaced_bytes + bytes > self.bytes_max {
            return Err(QuotaExceeded::Bytes);
        }
        let node = self.messages.insert(topic);
        self.take(node);
        self.count += 1;
        self.bytes += bytes;
        if let Some(expires_ns) = message.expires_ns {
            self.expiries.insert((expires_ns, node));
        }
        *self.messages.value_mut(node) = Some(message);
        Ok(())
    }

    /// Removes the value of a topic. Returns whether there was one.
    pub fn clear(&mut self, topic: &Topic) -> bool {
        let Some(node) = self.messages.find(topic.as_str()) else { return false };
        let cleared = self.take(node).is_some();
        self.messages.prune(node);
        cleared
    }

    /// The value of a topic.
    pub fn get(&self, topic: &Topic, mono_ns: u64) -> Option<&Arc<Message>> {
        let node = self.messages.find(topic.as_str())?;
        self.messages.value(node).as_ref().filter(|message| !message.is_expired(mono_ns))
    }

    /// What is kept for a topic, perhaps expired.
    pub(crate) fn find(&self, topic: &Topic) -> Option<&Arc<Message>> {
        self.messages.value(self.messages.find(topic.as_str())?).as_ref()
    }

    /// Everything that is kept, in no particular order.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Message>> {
        self.messages.scan(0..self.messages.slots()).filter_map(|(_, message)| message.as_ref())
    }

    /// What may be kept from now on; what is there already stays.
    pub(crate) fn set_limits(&mut self, limits: &Limits) {
        (self.count_max, self.bytes_max) = (limits.retained_messages_max, limits.retained_bytes_max);
    }

    /// Adds all values whose topics `filter` matches, in no particular order. Takes as long as it takes;
    /// [`continue_lookup`](Self::continue_lookup) does the same in turns.
    pub fn matching(&self, filter: &Filter, mono_ns: u64, found: &mut Vec<Arc<Message>>) {
        let mut lookup = Lookup::new(filter.clone());
        while !self.continue_lookup(&mut lookup, mono_ns, usize::MAX, found) {}
    }

    /// Goes on with a lookup for one turn, which visits about `visits_max` nodes (taken as 1 at
    /// least), and returns whether it is complete. Other calls may come between the turns: a value that is
    /// there from the first to the last is found exactly once, one that comes, goes or changes
    /// meanwhile perhaps.
    pub fn continue_lookup(
        &self,
        lookup: &mut Lookup,
        mono_ns: u64,
        visits_max: usize,
        found: &mut Vec<Arc<Message>>,
    ) -> bool {
        let visits_max = visits_max.max(1);
        match lookup.stage {
            Stage::Descend => match self.descend(&lookup.filter, mono_ns, visits_max, found) {
                true => lookup.stage = Stage::Complete,
                false => lookup.stage = Stage::Scan { slot: 0 },
            },
            Stage::Scan { slot } => {
                let end = slot.saturating_add(visits_max);
                let values = self.scan(slot..end, mono_ns);
                found.extend(values.filter(|message| lookup.filter.matches(&message.topic)).cloned());
                lookup.stage = if end < self.slots() { Stage::Scan { slot: end } } else { Stage::Complete };
            }
            Stage::Complete => {}
        }
        lookup.stage == Stage::Complete
    }

    /// The values in these places, of [`slots`](Self::slots).
    pub fn scan(&self, slots: Range<usize>, mono_ns: u64) -> impl Iterator<Item = &Arc<Message>> {
        let values = self.messages.scan(slots).filter_map(|(_, message)| message.as_ref());
        values.filter(move |message| !message.is_expired(mono_ns))
    }

    /// How many places for values there are, vacant ones included.
    pub fn slots(&self) -> usize {
        self.messages.slots()
    }

    /// Removes messages that have expired, the earliest first and at most `messages_max` of them, and
    /// returns them.
    pub fn expire(&mut self, mono_ns: u64, messages_max: usize) -> Vec<Arc<Message>> {
        let mut expired = Vec::new();
        while expired.len() < messages_max {
            match self.expiries.first() {
                Some(&(expires_ns, node)) if expires_ns <= mono_ns => {
                    expired.extend(self.take(node));
                    self.messages.prune(node);
                }
                _ => break,
            }
        }
        expired
    }

    /// When there is something to [`expire`](Self::expire), on the monotonic clock in nanoseconds.
    pub fn next_expiry(&self) -> Option<u64> {
        self.expiries.first().map(|&(expires_ns, _)| expires_ns)
    }

    /// How many messages are kept.
    pub fn len(&self) -> usize {
        self.count
    }

    /// True when none is kept.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// What they cost, by [`Message::size_bytes`].
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes on the heap of the tree that finds them, which [`bytes`](Self::bytes) does not count.
    pub fn index_bytes(&self) -> usize {
        self.messages.heap_bytes()
    }

    /// Looks from the root for what `filter` matches. False, and nothing found, when that takes more
    /// than `visits_max` nodes.
    fn descend(&self, filter: &Filter, mono_ns: u64, visits_max: usize, found: &mut Vec<Arc<Message>>) -> bool {
        let mut nodes = Vec::new();
        let complete = self.messages.select(filter.pattern(), visits_max, &mut nodes).is_ok();
        let values = nodes.into_iter().filter_map(|node| self.messages.value(node).as_ref());
        found.extend(values.filter(|message| !message.is_expired(mono_ns)).cloned());
        complete
    }

    /// Empties a node and everything that counts its message. The node stays until it is pruned.
    fn take(&mut self, node: NodeId) -> Option<Arc<Message>> {
        let message = self.messages.value_mut(node).take()?;
        self.count -= 1;
        self.bytes -= message.size_bytes();
        if let Some(expires_ns) = message.expires_ns {
            self.expiries.remove(&(expires_ns, node));
        }
        Some(message)
    }
}

/// A search for all values that a filter matches, to be continued turn by turn.
///
/// The first turn descends the tree, which is fast when the filter selects few. When it selects more
/// than a turn may visit, the lookup begins anew as a scan of all slots: a place in a tree is lost when
/// the tree changes between two turns, a place among slots is not.
#[derive(Clone, Debug)]
pub struct Lookup {
    filter: Filter,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Descend,
    Scan { slot: usize },
    Complete,
}

impl Lookup {
    /// A lookup before its first turn. The group of a shared filter does not matter here.
    pub fn new(filter: Filter) -> Self {
        Self { filter, stage: Stage::Descend }
    }

    /// What it looks for.
    pub fn filter(&self) -> &Filter {
        &self.filter
    }
}
