//! What passes through every topic, for people who look at the broker: how often, and what was last.
//!
//! It exists only while somebody looks. Nothing is ever taken out, so that places stay what they are until the whole of it
//! is dropped, and a list of children is followed by remembering its youngest. Topics, their texts and what is kept of their
//! messages are bounded: what comes beyond is counted and left out.
//!
//! With a million topics what a message costs is the memory that it touches for the first time in a while. So messages
//! gather, and are looked at together when there are enough of them or somebody looks: one step for all of them after the other,
//! so that the processor fetches the places of many at once.

mod gathered;
mod last_seen;

pub use last_seen::LastSeen;

use crate::hash::Seeded;
use crate::message::Message;
use crate::topic::Topic;
use crate::tree::{NodeId, Tree, Vacant};
use gathered::{Gathered, OneGathered};
use hashbrown::HashTable;
use last_seen::Kept;
use std::hash::BuildHasher;

/// How much is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchLimits {
    /// Topics.
    pub topics_max: usize,
    /// Everything together: the tree, its texts, and what is kept of messages.
    pub bytes_max: usize,
    /// What is kept of the payload of a topic's last message.
    pub value_bytes_max: usize,
    /// The same for topics that somebody looks at.
    pub whole_value_bytes_max: usize,
}

impl Default for WatchLimits {
    fn default() -> Self {
        Self { topics_max: 1_000_000, bytes_max: 512 << 20, value_bytes_max: 1 << 10, whole_value_bytes_max: 64 << 10 }
    }
}

/// All topics that were seen since somebody looks.
#[derive(Debug)]
pub struct TopicWatch {
    tree: Tree<Known>,
    /// The records of topics, by the hash of the whole topic. Nobody else's hash of 64 keyed bits is taken for it: among a
    /// million topics two are the same once in forty million times, and then they are counted as one.
    by_topic: HashTable<(u64, Place)>,
    records: Vec<Kept>,
    /// By slot: what was counted there and below, without what is in `gathered`.
    counts: Vec<Count>,
    /// What has been seen and not been looked at yet.
    gathered: Gathered,
    /// Where what is being looked at belongs; empty between calls, kept for its memory.
    places: Vec<Option<Place>>,
    /// The hashes of topics that somebody looks at: a few.
    whole: Vec<u64>,
    hasher: Seeded,
    limits: WatchLimits,
    /// Heap bytes of what is kept of messages outside their records.
    values_bytes: usize,
    messages: u64,
    left_out: u64,
}

/// No slot, no record.
const NONE: u32 = u32::MAX;
/// Messages that gather: few enough to stay near the processor.
const GATHERED_MAX: usize = 128;
/// Bytes that gather with them.
const GATHERED_BYTES_MAX: usize = 32 << 10;
/// The tree is made for so many topics at the start: to grow, it would look at all of its nodes and keep everybody waiting, and
/// memory that is not touched costs nothing. The table of topics has its hashes with it, and grows fast; dense, it is fast
/// to look into.
const RESERVED_TOPICS_MAX: usize = 1 << 20;

/// What a topic takes at least, all in all.
const TOPIC_BYTES: usize = 256;

/// What is known of a node besides its counts.
#[derive(Debug)]
struct Known {
    topics: u32,
    children: u32,
    /// Of a node that is a topic itself, and not only on the way to some; else `NONE`.
    record: u32,
}

/// Where a topic is.
#[derive(Clone, Copy, Debug)]
struct Place {
    record: u32,
    slot: u32,
}

/// What a message touches at each level of its topic, side by side.
#[derive(Clone, Copy, Debug)]
struct Count {
    messages: u64,
    bytes: u64,
    /// The slot above, `NONE` at the top.
    parent: u32,
}

impl Default for Known {
    fn default() -> Self {
        Self { topics: 0, children: 0, record: NONE }
    }
}

impl Vacant for Known {
    fn is_vacant(&self) -> bool {
        self.record == NONE
    }
}

/// A node as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicView {
    /// Messages of this topic and all below it.
    pub messages: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// Topics below it, itself not counted.
    pub topics: u32,
    /// Nodes directly below it.
    pub children: u32,
    /// Whether it is a topic itself.
    pub is_topic: bool,
    /// Its own last message, since somebody looks.
    pub last: Option<LastSeen>,
}

/// Nodes with their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// Each with the last level of its path, or the whole of it.
    pub nodes: Vec<(NodeId, String)>,
    /// Where it goes on; `None` at the end.
    pub next: Option<u32>,
}

/// Seeing.
impl TopicWatch {
    /// Nothing has been seen; `seed` keys the tree's hash.
    pub fn new(seed: u64, hasher: Seeded, limits: WatchLimits) -> Self {
        let topics = limits.topics_max.min(RESERVED_TOPICS_MAX).min(limits.bytes_max / TOPIC_BYTES);
        Self {
            // A topic brings a level or two of its own.
            tree: Tree::with_capacity(seed, 2 * topics),
            by_topic: HashTable::new(),
            records: Vec::new(),
            counts: Vec::new(),
            gathered: Gathered::default(),
            places: Vec::with_capacity(GATHERED_MAX),
            whole: Vec::new(),
            hasher,
            limits,
            values_bytes: 0,
            messages: 0,
            left_out: 0,
        }
    }

    /// A message was given to those who want it.
    pub fn see(&mut self, message: &Message, at_ms: u64) {
        self.messages += 1;
        let topic_hash = self.hasher.hash_one(message.topic.as_str());
        let kept_max = match self.whole.contains(&topic_hash) {
            true => self.limits.whole_value_bytes_max,
            false => self.limits.value_bytes_max,
        };
        self.gathered.add(topic_hash, message, at_ms, kept_max);
        if self.gathered.len() == GATHERED_MAX || self.gathered.bytes() > GATHERED_BYTES_MAX {
            self.look();
        }
    }

    /// There is such a topic, although nothing is published to it now.
    pub fn know(&mut self, topic: &Topic) {
        // Beyond the limits it is left out; that there is more is said by `is_capped`.
        let _ = self.place(self.hasher.hash_one(topic.as_str()), topic.as_str());
    }

    /// Looks at what has gathered; to be called before anything is asked.
    pub fn look(&mut self) {
        let mut gathered = std::mem::take(&mut self.gathered);
        let mut places = std::mem::take(&mut self.places);
        places.extend(gathered.iter().map(|it| self.find_place(it.topic_hash)));
        for (place, it) in places.iter_mut().zip(gathered.iter()).filter(|(place, _)| place.is_none()) {
            *place = self.place(it.topic_hash, gathered.topic(it));
        }
        for (place, it) in places.iter().zip(gathered.iter()) {
            match place {
                Some(place) => self.keep(place.record, it, gathered.payload(it)),
                None => self.left_out += 1,
            }
        }
        self.count(&mut places, &gathered);
        places.clear();
        gathered.clear();
        (self.gathered, self.places) = (gathered, places);
    }

    /// Counts messages at their slots and all above, a level of all of them at a time.
    fn count(&mut self, places: &mut [Option<Place>], gathered: &Gathered) {
        let mut is_done = false;
        while !is_done {
            is_done = true;
            let below = places.iter_mut().zip(gathered.iter()).filter_map(|(place, it)| Some((place.as_mut()?, it)));
            for (place, it) in below.filter(|(place, _)| place.slot != NONE) {
                let count = &mut self.counts[place.slot as usize];
                count.messages += 1;
                count.bytes += u64::from(it.payload_bytes);
                place.slot = count.parent;
                is_done = false;
            }
        }
    }

    fn find_place(&self, topic_hash: u64) -> Option<Place> {
        self.by_topic.find(topic_hash, |(known, _)| *known == topic_hash).map(|(_, place)| *place)
    }

    /// Where a topic is, made when there is room.
    fn place(&mut self, topic_hash: u64, path: &str) -> Option<Place> {
        let known = self.find_place(topic_hash);
        if known.is_some() {
            return known;
        }
        if self.is_capped() {
            return None;
        }
        let slots_before = self.tree.slots();
        let node = self.tree.insert(path);
        self.know_new_slots(slots_before);
        let place = Place { record: self.records.len() as u32, slot: node.slot() };
        self.by_topic.insert_unique(topic_hash, (topic_hash, place), |(hash, _)| *hash);
        self.records.push(Kept::default());
        self.tree.value_mut(node).record = place.record;
        let mut below = node;
        while let Some(parent) = self.tree.parent(below) {
            let is_new = below.slot() as usize >= slots_before;
            let known = self.tree.value_mut(parent);
            known.topics += 1;
            known.children += u32::from(is_new);
            below = parent;
        }
        Some(place)
    }

    fn know_new_slots(&mut self, slots_before: usize) {
        let nothing = Count { messages: 0, bytes: 0, parent: NONE };
        // Slot 0 is no node.
        for slot in slots_before.max(1)..self.tree.slots() {
            let parent = self.tree.node(slot as u32).and_then(|node| self.tree.parent(node));
            self.counts.resize(slot, nothing);
            self.counts.push(Count { parent: parent.map_or(NONE, NodeId::slot), ..nothing });
        }
    }

    /// Keeps what a row or a page shows of a message.
    fn keep(&mut self, record: u32, message: &OneGathered, payload: &[u8]) {
        let kept = &mut self.records[record as usize];
        let before = kept.heap_bytes();
        let has_room =
            self.values_bytes - before < self.limits.bytes_max / 2 || self.whole.contains(&message.topic_hash);
        kept.set(message, if has_room { payload } else { &[] });
        self.values_bytes = self.values_bytes - before + kept.heap_bytes();
    }

    fn record_of(&self, node: NodeId) -> Option<&Kept> {
        self.records.get(self.tree.value(node).record as usize)
    }
}

/// Looking.
impl TopicWatch {
    /// How many topics have been seen.
    pub fn topics(&self) -> usize {
        self.records.len()
    }

    /// Messages that were published since somebody looks.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Those of topics for which there was no room.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Whether there is no room for more topics.
    pub fn is_capped(&self) -> bool {
        self.records.len() >= self.limits.topics_max || self.heap_bytes() >= self.limits.bytes_max
    }

    /// The node above one; `None` on the first level.
    pub fn parent(&self, node: NodeId) -> Option<NodeId> {
        self.tree.parent(node)
    }

    /// The last level of a node's path.
    pub fn level(&self, node: NodeId) -> &str {
        self.tree.level(node)
    }

    /// What all of this takes.
    pub fn heap_bytes(&self) -> usize {
        let by_slot = size_of::<Count>() * self.counts.capacity();
        let records = size_of::<Kept>() * self.records.capacity();
        self.tree.heap_bytes() + self.by_topic.allocation_size() + by_slot + records + self.values_bytes
    }

    /// The node in a slot.
    pub fn node(&self, slot: u32) -> Option<NodeId> {
        self.tree.node(slot)
    }

    /// The node at the end of a path.
    pub fn find(&self, path: &str) -> Option<NodeId> {
        self.tree.find(path)
    }

    /// The path that leads to a node.
    pub fn path(&self, node: NodeId) -> String {
        self.tree.path(node)
    }

    /// A node as it was at the last [`look`](Self::look), with at most so much of its last payload.
    pub fn view(&self, node: NodeId, payload_bytes_max: usize) -> TopicView {
        let known = self.tree.value(node);
        let Count { messages, bytes, .. } = self.counts[node.slot() as usize];
        TopicView {
            messages,
            bytes,
            topics: known.topics,
            children: known.children,
            is_topic: known.record != NONE,
            last: self.record_of(node).and_then(|record| record.shown(payload_bytes_max)),
        }
    }

    /// Messages of this very topic, since somebody looks.
    pub fn own_messages(&self, node: NodeId) -> u64 {
        self.record_of(node).map_or(0, |record| record.messages())
    }

    /// Nodes directly below `folder` (on the first level, if there is none), the youngest first, down to one that is known
    /// already; `from` is `next` of the slice before.
    pub fn children(
        &self,
        folder: Option<NodeId>,
        known: Option<NodeId>,
        from: Option<u32>,
        visits_max: usize,
    ) -> Named {
        let mut next = match from {
            Some(slot) => self.tree.node(slot),
            None => self.tree.first_child(folder),
        };
        let mut nodes = Vec::new();
        while let Some(node) = next.filter(|node| Some(*node) != known) {
            if nodes.len() >= visits_max.max(1) {
                return Named { nodes, next: Some(node.slot()) };
            }
            nodes.push((node, self.tree.level(node).to_owned()));
            next = self.tree.next_sibling(node);
        }
        Named { nodes, next: None }
    }

    /// Topics that `is_wanted`, from slot `from` on, with their whole names. `next` is where to go on: topics that come
    /// later are behind it.
    pub fn search(&self, from: u32, visits_max: usize, is_wanted: impl Fn(&str) -> bool) -> Named {
        let (start, slots) = (from as usize, self.tree.slots());
        let end = start.saturating_add(visits_max.max(1)).min(slots);
        let topics = self.tree.scan(start..end).map(|(node, _)| (node, self.tree.path(node)));
        let nodes = topics.filter(|(_, path)| is_wanted(path)).collect();
        Named { nodes, next: (end < slots).then_some(end as u32) }
    }

    /// Slots, used or not: where a search ends for now.
    pub fn slots(&self) -> u32 {
        self.tree.slots() as u32
    }

    /// Whether more is kept of this topic's messages from now on, because somebody looks at it.
    pub fn set_whole(&mut self, node: NodeId, is_whole: bool) {
        let topic_hash = self.hasher.hash_one(self.tree.path(node).as_str());
        self.whole.retain(|other| *other != topic_hash);
        if is_whole {
            self.whole.push(topic_hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::seeded;
    use crate::topic::TopicLimits;
    use bytes::Bytes;

    fn watch(limits: WatchLimits) -> TopicWatch {
        TopicWatch::new(7, seeded(7), limits)
    }

    fn message(topic: &str, payload: &[u8]) -> Message {
        let topic = Topic::new(topic.into(), &TopicLimits::default()).unwrap();
        Message::new(topic, Bytes::copy_from_slice(payload))
    }

    fn view(watch: &TopicWatch, path: &str) -> TopicView {
        watch.view(watch.find(path).unwrap(), usize::MAX)
    }

    /// All children, in slices of two.
    fn children(watch: &TopicWatch, folder: &str, known: Option<NodeId>) -> Vec<String> {
        let (folder, mut names, mut from) = (watch.find(folder), Vec::new(), None);
        loop {
            let slice = watch.children(folder, known, from, 2);
            assert!(slice.nodes.len() <= 2);
            names.extend(slice.nodes.into_iter().map(|(_, name)| name));
            from = slice.next;
            if from.is_none() {
                return names;
            }
        }
    }

    #[test]
    fn every_level_counts_what_is_below() {
        let mut watch = watch(WatchLimits::default());
        for (topic, payload) in [("a/b", "1"), ("a/b", "22"), ("a/c/d", "3"), ("a", "4"), ("$SYS/x", "5"), ("/", "6")] {
            watch.see(&message(topic, payload.as_bytes()), 9);
        }
        watch.look();
        assert_eq!((watch.topics(), watch.messages(), watch.left_out()), (5, 6, 0));
        let a = view(&watch, "a");
        assert_eq!((a.messages, a.bytes, a.topics, a.children, a.is_topic), (4, 5, 2, 2, true));
        let c = view(&watch, "a/c");
        assert_eq!((c.messages, c.topics, c.children, c.is_topic, c.last), (1, 1, 1, false, None));
        let last = view(&watch, "a/b").last.unwrap();
        assert_eq!((last.messages, last.at_ms, &last.payload[..], last.payload_bytes), (2, 9, &b"22"[..], 2));
    }

    #[test]
    fn a_topic_that_is_known_only_counts_when_something_comes() {
        let mut watch = watch(WatchLimits::default());
        let message = message("a/b", b"x");
        watch.know(&message.topic);
        assert_eq!((watch.topics(), view(&watch, "a").topics, view(&watch, "a").messages), (1, 1, 0));
        watch.see(&message, 0);
        watch.look();
        watch.know(&message.topic);
        assert_eq!((watch.topics(), view(&watch, "a").topics, view(&watch, "a").messages), (1, 1, 1));
    }

    #[test]
    fn children_come_in_slices_and_then_only_the_new_ones() {
        let mut watch = watch(WatchLimits::default());
        (0..5).for_each(|number| watch.see(&message(&format!("a/{number}"), b""), 0));
        watch.look();
        assert_eq!(children(&watch, "a", None).join(" "), "4 3 2 1 0");
        let known = watch.find("a/4");
        assert!(children(&watch, "a", known).is_empty());
        (5..8).for_each(|number| watch.see(&message(&format!("a/{number}/x"), b""), 0));
        watch.look();
        assert_eq!(children(&watch, "a", known).join(" "), "7 6 5");
    }

    #[test]
    fn a_search_goes_on_behind_what_it_has_seen() {
        let mut watch = watch(WatchLimits::default());
        (0..10).for_each(|number| watch.see(&message(&format!("n{}/x{number}", number % 2), b""), 0));
        watch.look();
        let (mut found, mut from) = (Vec::new(), 0);
        loop {
            let slice = watch.search(from, 3, |topic| topic.starts_with("n1/"));
            found.extend(slice.nodes);
            match slice.next {
                Some(next) => from = next,
                None => break,
            }
        }
        assert_eq!(found.len(), 5);
        let from = watch.slots();
        watch.see(&message("n1/later", b""), 0);
        watch.look();
        let later = watch.search(from, 100, |topic| topic.starts_with("n1/"));
        assert_eq!(later.nodes.into_iter().map(|(_, topic)| topic).collect::<Vec<_>>(), ["n1/later"]);
    }

    #[test]
    fn what_comes_beyond_the_limits_is_counted_and_left_out() {
        let mut watch = watch(WatchLimits { topics_max: 3, ..WatchLimits::default() });
        (0..10).for_each(|number| watch.see(&message(&format!("t{number}"), b""), 0));
        watch.look();
        assert_eq!((watch.topics(), watch.left_out(), watch.is_capped()), (3, 7, true));
        watch.see(&message("t1", b"x"), 0);
        watch.look();
        assert_eq!(view(&watch, "t1").messages, 2, "those that are known go on");
    }

    #[test]
    fn memory_is_bounded_whatever_the_topics_and_payloads_are() {
        let bytes_max = 1 << 20;
        let mut watch = watch(WatchLimits { bytes_max, ..WatchLimits::default() });
        let (deep, long) = ("d/".repeat(100), "l".repeat(10_000));
        for number in 0..5_000 {
            watch.see(&message(&format!("{number}/{deep}"), b"x"), 0);
            watch.see(&message(&format!("{number}{long}"), b"x"), 0);
            watch.see(&message(&format!("{number}"), &[b'x'; 4_000]), 0);
        }
        watch.look();
        // The last one that still has room, and the growth of a table.
        assert!(watch.is_capped() && watch.heap_bytes() < 2 * bytes_max, "{}", watch.heap_bytes());
        assert!(watch.left_out() > 0);
    }

    #[test]
    fn payloads_are_kept_as_far_as_somebody_looks() {
        let mut watch = watch(WatchLimits::default());
        let big = message("a", &[b'x'; 100_000]);
        watch.see(&big, 0);
        watch.look();
        assert_eq!(view(&watch, "a").last.map(|last| (last.payload.len(), last.payload_bytes)), Some((1_024, 100_000)));
        watch.set_whole(watch.find("a").unwrap(), true);
        watch.see(&big, 0);
        watch.look();
        assert_eq!(view(&watch, "a").last.unwrap().payload.len(), 64 << 10);
        let held = watch.heap_bytes();
        watch.set_whole(watch.find("a").unwrap(), false);
        watch.see(&message("a", b"x"), 0);
        watch.look();
        assert!(watch.heap_bytes() < held - 60_000, "what was kept is given back");
        assert_eq!(watch.view(watch.find("a").unwrap(), 0).last.unwrap().payload, b"");
    }
}
