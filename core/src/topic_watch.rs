//! What passes through every topic, for people who look at the broker: how often, and what was last.
//!
//! It exists only while somebody looks. A publish costs one look into a table of whole topics, and an addition at each level
//! above. Nothing is ever taken out, so that places stay what they are until the whole of it is dropped, and a list of
//! children is followed by remembering its youngest. Topics, their texts and what is kept of their messages are bounded: what
//! comes beyond is counted and left out.

use crate::hash::Seeded;
use crate::message::{Guarantee, Message, Origin};
use crate::topic::Topic;
use crate::tree::{NodeId, Tree, Vacant};
use hashbrown::HashTable;
use std::hash::BuildHasher;
use std::sync::Arc;

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
    tree: Tree<Seen>,
    /// The nodes of topics, by the hash of the whole topic. The texts stand in the tree alone; the hashes are kept, because
    /// making a million of them again when the table grows would keep everybody waiting.
    by_topic: HashTable<(u64, u32)>,
    hasher: Seeded,
    limits: WatchLimits,
    topics: usize,
    /// Heap bytes of what is kept of messages.
    values_bytes: usize,
    messages: u64,
    left_out: u64,
}

/// What was seen at a node and below.
#[derive(Debug, Default)]
struct Seen {
    messages: u64,
    bytes: u64,
    topics: u32,
    children: u32,
    /// Whether the node itself is a topic, and not only on the way to some.
    is_topic: bool,
    /// Whether somebody looks at it.
    is_whole: bool,
    last: Option<Box<LastSeen>>,
}

impl Vacant for Seen {
    fn is_vacant(&self) -> bool {
        !self.is_topic
    }
}

/// The last message of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastSeen {
    /// Messages of this very topic, since somebody looks.
    pub messages: u64,
    /// When, on the wall clock.
    pub at_ms: u64,
    /// The payload, as far as it is kept.
    pub payload: Vec<u8>,
    /// Its whole length.
    pub payload_bytes: usize,
    /// What the publisher asked for.
    pub guarantee: Guarantee,
    /// Whether it was to become the last value.
    pub retain: bool,
    /// MIME type of the payload.
    pub content_type: Option<Box<str>>,
    /// Who published it; nobody for what the broker says.
    pub origin: Option<Arc<Origin>>,
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
        Self {
            tree: Tree::new(seed),
            by_topic: HashTable::new(),
            hasher,
            limits,
            topics: 0,
            values_bytes: 0,
            messages: 0,
            left_out: 0,
        }
    }

    /// A message was given to those who want it.
    pub fn see(&mut self, message: &Message, at_ms: u64) {
        self.messages += 1;
        let Some(node) = self.topic(&message.topic) else {
            self.left_out += 1;
            return;
        };
        self.keep(node, message, at_ms);
        let bytes = message.payload.len() as u64;
        let mut next = Some(node);
        while let Some(node) = next {
            let seen = self.tree.value_mut(node);
            seen.messages += 1;
            seen.bytes += bytes;
            next = self.tree.parent(node);
        }
    }

    /// There is such a topic, although nothing is published to it now.
    pub fn know(&mut self, topic: &Topic) {
        // Beyond the limits it is left out; that there is more is said by `is_capped`.
        let _ = self.topic(topic);
    }

    /// The node of a topic, made when there is room.
    fn topic(&mut self, topic: &Topic) -> Option<NodeId> {
        let path = topic.as_str();
        let hash = self.hasher.hash_one(path);
        let Self { tree, by_topic, .. } = self;
        let is_it =
            |(known, slot): &(u64, u32)| *known == hash && tree.node(*slot).is_some_and(|node| tree.is_at(node, path));
        if let Some((_, slot)) = by_topic.find(hash, is_it) {
            return self.tree.node(*slot);
        }
        if self.is_capped() {
            return None;
        }
        let nodes_before = self.tree.slots();
        let node = self.tree.insert(path);
        self.by_topic.insert_unique(hash, (hash, node.slot()), |(hash, _)| *hash);
        self.topics += 1;
        self.tree.value_mut(node).is_topic = true;
        let mut below = node;
        while let Some(parent) = self.tree.parent(below) {
            let is_new = below.slot() as usize >= nodes_before;
            let seen = self.tree.value_mut(parent);
            seen.topics += 1;
            seen.children += u32::from(is_new);
            below = parent;
        }
        Some(node)
    }

    /// Keeps what a row or a page shows of a message.
    fn keep(&mut self, node: NodeId, message: &Message, at_ms: u64) {
        let limits = self.limits;
        let seen = self.tree.value_mut(node);
        let before = seen.last.as_ref().map_or(0, |last| last.kept_bytes());
        let has_room = self.values_bytes - before < limits.bytes_max / 2;
        let kept_max = match seen.is_whole {
            true => limits.whole_value_bytes_max,
            false if has_room => limits.value_bytes_max,
            false => 0,
        };
        let last = seen.last.get_or_insert_with(|| Box::new(LastSeen::nothing()));
        last.set(message, at_ms, kept_max);
        self.values_bytes = self.values_bytes - before + last.kept_bytes();
    }
}

/// Looking.
impl TopicWatch {
    /// How many topics have been seen.
    pub fn topics(&self) -> usize {
        self.topics
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
        self.topics >= self.limits.topics_max || self.heap_bytes() >= self.limits.bytes_max
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
        self.tree.heap_bytes() + self.by_topic.allocation_size() + self.values_bytes
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

    /// A node as it is now, with at most so much of its last payload.
    pub fn view(&self, node: NodeId, payload_bytes_max: usize) -> TopicView {
        let seen = self.tree.value(node);
        TopicView {
            messages: seen.messages,
            bytes: seen.bytes,
            topics: seen.topics,
            children: seen.children,
            is_topic: seen.is_topic,
            last: seen.last.as_ref().map(|last| last.shortened(payload_bytes_max)),
        }
    }

    /// Messages of this very topic, since somebody looks.
    pub fn own_messages(&self, node: NodeId) -> u64 {
        self.tree.value(node).last.as_ref().map_or(0, |last| last.messages)
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
        self.tree.value_mut(node).is_whole = is_whole;
    }
}

impl LastSeen {
    fn nothing() -> Self {
        Self {
            messages: 0,
            at_ms: 0,
            payload: Vec::new(),
            payload_bytes: 0,
            guarantee: Guarantee::AtMostOnce,
            retain: false,
            content_type: None,
            origin: None,
        }
    }

    /// Takes over a message; the memory of the one before is used again.
    fn set(&mut self, message: &Message, at_ms: u64, kept_max: usize) {
        let kept = message.payload.len().min(kept_max);
        self.payload.clear();
        if self.payload.capacity() > 2 * kept + 64 {
            self.payload = Vec::new();
        }
        self.payload.reserve_exact(kept);
        self.payload.extend_from_slice(&message.payload[..kept]);
        self.payload_bytes = message.payload.len();
        self.messages += 1;
        (self.at_ms, self.guarantee, self.retain) = (at_ms, message.guarantee, message.retain);
        let content_type = message.properties.as_ref().and_then(|properties| properties.content_type.as_deref());
        if self.content_type.as_deref() != content_type {
            self.content_type = content_type.map(Into::into);
        }
        self.origin.clone_from(&message.origin);
    }

    fn kept_bytes(&self) -> usize {
        size_of::<Self>() + self.payload.capacity() + self.content_type.as_ref().map_or(0, |text| text.len())
    }

    fn shortened(&self, payload_bytes_max: usize) -> Self {
        let payload = self.payload[..self.payload.len().min(payload_bytes_max)].to_vec();
        Self {
            messages: self.messages,
            payload,
            content_type: self.content_type.clone(),
            origin: self.origin.clone(),
            at_ms: self.at_ms,
            payload_bytes: self.payload_bytes,
            guarantee: self.guarantee,
            retain: self.retain,
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
        watch.know(&message.topic);
        assert_eq!((watch.topics(), view(&watch, "a").topics, view(&watch, "a").messages), (1, 1, 1));
    }

    #[test]
    fn children_come_in_slices_and_then_only_the_new_ones() {
        let mut watch = watch(WatchLimits::default());
        (0..5).for_each(|number| watch.see(&message(&format!("a/{number}"), b""), 0));
        assert_eq!(children(&watch, "a", None).join(" "), "4 3 2 1 0");
        let known = watch.find("a/4");
        assert!(children(&watch, "a", known).is_empty());
        (5..8).for_each(|number| watch.see(&message(&format!("a/{number}/x"), b""), 0));
        assert_eq!(children(&watch, "a", known).join(" "), "7 6 5");
    }

    #[test]
    fn a_search_goes_on_behind_what_it_has_seen() {
        let mut watch = watch(WatchLimits::default());
        (0..10).for_each(|number| watch.see(&message(&format!("n{}/x{number}", number % 2), b""), 0));
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
        let later = watch.search(from, 100, |topic| topic.starts_with("n1/"));
        assert_eq!(later.nodes.into_iter().map(|(_, topic)| topic).collect::<Vec<_>>(), ["n1/later"]);
    }

    #[test]
    fn what_comes_beyond_the_limits_is_counted_and_left_out() {
        let mut watch = watch(WatchLimits { topics_max: 3, ..WatchLimits::default() });
        (0..10).for_each(|number| watch.see(&message(&format!("t{number}"), b""), 0));
        assert_eq!((watch.topics(), watch.left_out(), watch.is_capped()), (3, 7, true));
        watch.see(&message("t1", b"x"), 0);
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
        // The last one that still has room, and the growth of a table.
        assert!(watch.is_capped() && watch.heap_bytes() < 2 * bytes_max, "{}", watch.heap_bytes());
        assert!(watch.left_out() > 0);
    }

    #[test]
    fn payloads_are_kept_as_far_as_somebody_looks() {
        let mut watch = watch(WatchLimits::default());
        let big = message("a", &[b'x'; 100_000]);
        watch.see(&big, 0);
        assert_eq!(view(&watch, "a").last.map(|last| (last.payload.len(), last.payload_bytes)), Some((1_024, 100_000)));
        watch.set_whole(watch.find("a").unwrap(), true);
        watch.see(&big, 0);
        assert_eq!(view(&watch, "a").last.unwrap().payload.len(), 64 << 10);
        let held = watch.heap_bytes();
        watch.set_whole(watch.find("a").unwrap(), false);
        watch.see(&message("a", b"x"), 0);
        assert!(watch.heap_bytes() < held - 60_000, "what was kept is given back");
        assert_eq!(watch.view(watch.find("a").unwrap(), 0).last.unwrap().payload, b"");
    }
}
