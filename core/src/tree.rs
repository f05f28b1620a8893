//! A tree of topic levels, used twice: for subscriptions (the paths are patterns, asked with a topic
//! name) and for retained messages (the paths are names, asked with a pattern).
//!
//! The layout is made for millions of small nodes that somebody else chooses:
//! - All nodes lie in one arena and name each other by 32-bit index; a freed slot heads the free list.
//! - All children of all nodes are found by one hash table of indices, keyed by (parent, level). It
//!   holds no keys, it compares with the nodes. A map in each node would cost a leaf more than the
//!   node itself.
//! - `+` and `#` are two fields of the parent and not in the table: every match asks for them.
//! - The children of a node are also a doubly linked list, for walks and for unlinking in one step.
//! - A level of up to 14 bytes is stored within the node. The path is stored nowhere else:
//!   [`Tree::path`] rebuilds it.
//! - A level of a topic is hashed once a match, whatever the number of nodes that are asked for it.
//!   Topics are chosen by strangers, so the whole hash state comes from a seed.
//!
//! A node is 40 bytes and its value; its place in the table is 6 to 12 more. No function recurses: the
//! depth of a path costs heap, never stack.

mod overlapping;
mod walking;

use crate::topic::Topic;
use foldhash::SharedSeed;
use foldhash::fast::FoldHasher;
use hashbrown::HashTable;
use smallvec::SmallVec;
use std::fmt;
use std::hash::Hasher;
use std::ops::Range;

/// A node of one tree: its slot in the arena. Stays the same until [`Tree::prune`] frees the node;
/// then another node may take the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u32);

/// A value that can say that there is nothing in it, so that its node may go.
pub trait Vacant {
    /// Whether the node is kept for its children only.
    fn is_vacant(&self) -> bool;
}

impl<T> Vacant for Option<T> {
    fn is_vacant(&self) -> bool {
        self.is_none()
    }
}

/// A question would have touched more nodes than it may. Nothing was added to its results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyVisits;

impl fmt::Display for TooManyVisits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the topic tree has too many branches that could match")
    }
}

impl std::error::Error for TooManyVisits {}

/// The tree. Values are at the ends of paths and anywhere between; a new node has `T::default()`.
#[derive(Debug)]
pub struct Tree<T> {
    /// The arena. Slot 0 is the root, which has no level and never a value.
    nodes: Vec<Node<T>>,
    /// Head of the list of free slots, linked by `next`.
    free: u32,
    /// How many slots are on that list.
    free_count: u32,
    /// All nodes but the root and those of `+` and `#`, by (parent, level).
    children: HashTable<u32>,
    hasher: LevelHasher,
    /// Heap bytes of levels that do not fit into their nodes.
    long_levels_bytes: usize,
}

#[derive(Debug)]
struct Node<T> {
    level: Level,
    /// `NONE` for the root; the slot's own index while the slot is free.
    parent: u32,
    first_child: u32,
    next: u32,
    previous: u32,
    /// The child with the level `+`.
    plus: u32,
    /// The child with the level `#`.
    hash: u32,
    value: T,
}

/// No node.
const NONE: u32 = u32::MAX;
const ROOT: u32 = 0;
/// A depth for [`Tree::select`]: below a `#`, where every level matches.
const WHOLE: u32 = u32::MAX;

/// The levels of a question with their hashes; more than 16 go to the heap.
type Levels<'a> = SmallVec<[(&'a [u8], u64); 16]>;
/// What is still to be visited: nodes and their depths. Grows by one a level at most.
type Stack = SmallVec<[(u32, u32); 16]>;

impl<T: Default + Vacant> Tree<T> {
    /// An empty tree; `seed` keys its hash.
    pub fn new(seed: u64) -> Self {
        Self {
            nodes: vec![Node::new(NONE, Level::new(b""))],
            free: NONE,
            free_count: 0,
            children: HashTable::new(),
            hasher: LevelHasher { seed, shared: SharedSeed::from_u64(seed) },
            long_levels_bytes: 0,
        }
    }

    /// The same, with room for so many nodes to be found before the table of children has to grow.
    pub fn with_capacity(seed: u64, nodes: usize) -> Self {
        Self { children: HashTable::with_capacity(nodes), ..Self::new(seed) }
    }

    /// The node at the end of `path`, made with all before it when it is not there.
    pub fn insert(&mut self, path: &str) -> NodeId {
        let mut node = ROOT;
        for level in path.split('/').map(str::as_bytes) {
            let hash = self.hasher.level(level);
            node = match self.child(node, level, hash) {
                NONE => self.add(node, level, hash),
                child => child,
            };
        }
        NodeId(node)
    }

    /// The node at the end of `path`, taken letter by letter.
    pub fn find(&self, path: &str) -> Option<NodeId> {
        let mut node = ROOT;
        for level in path.split('/').map(str::as_bytes) {
            node = self.child(node, level, self.hasher.level(level));
            if node == NONE {
                return None;
            }
        }
        Some(NodeId(node))
    }

    /// The value of a node.
    pub fn value(&self, id: NodeId) -> &T {
        &self.live(id.0).value
    }

    /// The value of a node, to be changed. [`prune`](Self::prune) when that may have emptied it.
    pub fn value_mut(&mut self, id: NodeId) -> &mut T {
        debug_assert_ne!(self.nodes[id.0 as usize].parent, id.0, "a freed node");
        &mut self.nodes[id.0 as usize].value
    }

    /// Frees the node and then its ancestors, as far as they have neither a value nor children.
    pub fn prune(&mut self, id: NodeId) {
        let mut index = id.0;
        while index != ROOT {
            let node = self.live(index);
            if node.first_child != NONE || !node.value.is_vacant() {
                return;
            }
            let parent = node.parent;
            self.remove(index);
            index = parent;
        }
    }

    /// The path that leads to a node.
    pub fn path(&self, id: NodeId) -> String {
        let mut nodes: SmallVec<[u32; 16]> = SmallVec::new();
        let mut index = id.0;
        while index != ROOT {
            nodes.push(index);
            index = self.live(index).parent;
        }
        let mut path = Vec::new();
        for (depth, &index) in nodes.iter().rev().enumerate() {
            if depth > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(self.live(index).level.as_bytes());
        }
        // Holds because levels are whole slices of `&str`, cut at `/` alone.
        String::from_utf8(path).expect("levels are kept as they came, and they came as text")
    }

    /// Finds the patterns with a value that match `topic` (MQTT 5.0 §4.7): `+` is one level, `#` the
    /// rest, its parent level included, and neither matches a first level that begins with `$`.
    /// Returns how many nodes were visited.
    pub fn matching(&self, topic: &Topic, visits_max: usize, found: &mut Vec<NodeId>) -> Result<usize, TooManyVisits> {
        let levels = self.levels(topic.as_str());
        let found_before = found.len();
        let mut visits = 0;
        let mut stack = Stack::new();
        stack.push((ROOT, 0));
        while let Some((mut index, mut depth)) = stack.pop() {
            // Goes down the exact levels at once and leaves each `+` for later.
            while index != NONE {
                if visits == visits_max {
                    found.truncate(found_before);
                    return Err(TooManyVisits);
                }
                visits += 1;
                let node = self.live(index);
                let wildcards = depth > 0 || !topic.is_reserved();
                if wildcards && node.hash != NONE {
                    self.push_if_occupied(node.hash, found);
                }
                let Some(&(level, hash)) = levels.get(depth as usize) else {
                    self.push_if_occupied(index, found);
                    break;
                };
                depth += 1;
                if wildcards && node.plus != NONE {
                    stack.push((node.plus, depth));
                }
                // A leaf need not be looked for in the table.
                index = if node.first_child == NONE { NONE } else { self.ordinary_child(index, level, hash) };
            }
        }
        Ok(visits)
    }

    /// Finds the names with a value that `pattern` matches, by the same rules. Returns how many nodes
    /// were visited; an exact pattern visits one a level.
    pub fn select(&self, pattern: &str, visits_max: usize, found: &mut Vec<NodeId>) -> Result<usize, TooManyVisits> {
        let levels = self.levels(pattern);
        let found_before = found.len();
        let mut visits = 0;
        // `true`: the node was reached by a wildcard, so that its next sibling is to be visited too.
        // One entry stands for the rest of the siblings: a million of them do not fill the stack.
        let mut stack: SmallVec<[(u32, u32, bool); 16]> = SmallVec::new();
        stack.push((ROOT, 0, false));
        while let Some((index, depth, wildcard)) = stack.pop() {
            if index == NONE {
                continue;
            }
            if visits == visits_max {
                found.truncate(found_before);
                return Err(TooManyVisits);
            }
            visits += 1;
            let node = self.live(index);
            if wildcard {
                stack.push((node.next, depth, true));
                if node.parent == ROOT && node.level.as_bytes().first() == Some(&b'$') {
                    continue;
                }
            }
            match levels.get(depth as usize) {
                None => {
                    self.push_if_occupied(index, found);
                    if depth == WHOLE {
                        stack.push((node.first_child, WHOLE, true));
                    }
                }
                Some(&(b"#", _)) => {
                    self.push_if_occupied(index, found);
                    stack.push((node.first_child, WHOLE, true));
                }
                Some(&(b"+", _)) => stack.push((node.first_child, depth + 1, true)),
                Some(&(level, hash)) => stack.push((self.ordinary_child(index, level, hash), depth + 1, false)),
            }
        }
        Ok(visits)
    }

    /// The values in these slots, in the order of the slots. A walk over `0..slots()` in several turns
    /// sees each value exactly once that is there from its first turn to its last, whatever is inserted
    /// and pruned meanwhile: nodes do not move.
    pub fn scan(&self, slots: Range<usize>) -> impl Iterator<Item = (NodeId, &T)> {
        let end = slots.end.min(self.nodes.len());
        let start = slots.start.min(end);
        (start..end)
            .map(|index| (NodeId(index as u32), &self.nodes[index].value))
            .filter(|(_, value)| !value.is_vacant())
    }

    /// Slots of the arena, used and free: where a [`scan`](Self::scan) ends.
    pub fn slots(&self) -> usize {
        self.nodes.len()
    }

    /// Nodes, with or without a value.
    pub fn len(&self) -> usize {
        self.nodes.len() - 1 - self.free_count as usize
    }

    /// True when there is no node.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that the tree holds on the heap, without what its values own. Freed slots are counted:
    /// they wait for the next nodes.
    pub fn heap_bytes(&self) -> usize {
        self.nodes.capacity() * size_of::<Node<T>>() + self.children.allocation_size() + self.long_levels_bytes
    }

    fn live(&self, index: u32) -> &Node<T> {
        let node = &self.nodes[index as usize];
        debug_assert_ne!(node.parent, index, "a freed node");
        node
    }

    fn push_if_occupied(&self, index: u32, found: &mut Vec<NodeId>) {
        if !self.live(index).value.is_vacant() {
            found.push(NodeId(index));
        }
    }

    fn levels<'a>(&self, path: &'a str) -> Levels<'a> {
        path.split('/').map(|level| (level.as_bytes(), self.hasher.level(level.as_bytes()))).collect()
    }

    fn child(&self, parent: u32, level: &[u8], hash: u64) -> u32 {
        match level {
            b"+" => self.live(parent).plus,
            b"#" => self.live(parent).hash,
            _ => self.ordinary_child(parent, level, hash),
        }
    }

    /// The child with a level that is neither `+` nor `#`.
    fn ordinary_child(&self, parent: u32, level: &[u8], hash: u64) -> u32 {
        let is_it = |&index: &u32| {
            let node = self.live(index);
            node.parent == parent && node.level.as_bytes() == level
        };
        self.children.find(self.hasher.child(parent, hash), is_it).copied().unwrap_or(NONE)
    }

    fn add(&mut self, parent: u32, level: &[u8], hash: u64) -> u32 {
        let mut node = Node::new(parent, Level::new(level));
        self.long_levels_bytes += node.level.heap_bytes();
        node.next = self.nodes[parent as usize].first_child;
        let index = self.place(node);
        let Self { nodes, children, hasher, .. } = self;
        match level {
            b"+" => nodes[parent as usize].plus = index,
            b"#" => nodes[parent as usize].hash = index,
            _ => {
                let rehash = |&index: &u32| hasher.node(&nodes[index as usize]);
                children.insert_unique(hasher.child(parent, hash), index, rehash);
            }
        }
        nodes[parent as usize].first_child = index;
        let next = nodes[index as usize].next;
        if next != NONE {
            nodes[next as usize].previous = index;
        }
        index
    }

    /// Puts a node into a free slot, or a new one.
    fn place(&mut self, node: Node<T>) -> u32 {
        if self.free != NONE {
            let index = self.free;
            self.free = self.nodes[index as usize].next;
            self.free_count -= 1;
            self.nodes[index as usize] = node;
            return index;
        }
        // By a quarter instead of doubling: half the memory of a large broker would be spare.
        if self.nodes.len() == self.nodes.capacity() {
            self.nodes.reserve_exact(self.nodes.len() / 4 + 4);
        }
        self.nodes.push(node);
        // Memory ends long before 2^32 nodes of 44 bytes do.
        (self.nodes.len() - 1) as u32
    }

    /// Takes a node without children out of everything that names it, and frees its slot.
    fn remove(&mut self, index: u32) {
        let hash = self.hasher.node(&self.nodes[index as usize]);
        if let Ok(entry) = self.children.find_entry(hash, |&other| other == index) {
            entry.remove();
        }
        let mut freed = Node::new(index, Level::new(b""));
        freed.next = self.free;
        let node = std::mem::replace(&mut self.nodes[index as usize], freed);
        self.free = index;
        self.free_count += 1;
        self.long_levels_bytes -= node.level.heap_bytes();

        let parent = &mut self.nodes[node.parent as usize];
        for link in [&mut parent.plus, &mut parent.hash] {
            if *link == index {
                *link = NONE;
            }
        }
        match node.previous {
            NONE => parent.first_child = node.next,
            previous => self.nodes[previous as usize].next = node.next,
        }
        if node.next != NONE {
            self.nodes[node.next as usize].previous = node.previous;
        }
    }
}

impl<T: Default> Node<T> {
    fn new(parent: u32, level: Level) -> Self {
        Self {
            level,
            parent,
            first_child: NONE,
            next: NONE,
            previous: NONE,
            plus: NONE,
            hash: NONE,
            value: T::default(),
        }
    }
}

/// The text of a level in 16 bytes. Longer ones go to the heap behind a thin pointer: the second step
/// costs the few long levels 16 bytes, where a wide pointer would cost every node 8.
#[derive(Debug)]
enum Level {
    Short { len: u8, bytes: [u8; Level::SHORT_MAX] },
    Long(Box<Box<[u8]>>),
}

impl Level {
    const SHORT_MAX: usize = 14;

    fn new(text: &[u8]) -> Self {
        if text.len() > Self::SHORT_MAX {
            return Self::Long(Box::new(text.into()));
        }
        let mut bytes = [0; Self::SHORT_MAX];
        bytes[..text.len()].copy_from_slice(text);
        Self::Short { len: text.len() as u8, bytes }
    }

    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short { len, bytes } => &bytes[..usize::from(*len)],
            Self::Long(bytes) => bytes,
        }
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Self::Short { .. } => 0,
            Self::Long(bytes) => size_of::<Box<[u8]>>() + bytes.len(),
        }
    }
}

/// A keyed hash in two steps, so that a level is read once and then combined with many parents.
#[derive(Debug)]
struct LevelHasher {
    seed: u64,
    /// Made from the seed as well. The hash's usual fixed state would let strangers build levels that
    /// collide whatever the seed is.
    shared: SharedSeed,
}

impl LevelHasher {
    fn level(&self, level: &[u8]) -> u64 {
        let mut hasher = FoldHasher::with_seed(self.seed, &self.shared);
        hasher.write(level);
        hasher.finish()
    }

    fn child(&self, parent: u32, level_hash: u64) -> u64 {
        let mut hasher = FoldHasher::with_seed(level_hash, &self.shared);
        hasher.write_u32(parent);
        hasher.finish()
    }

    fn node<T>(&self, node: &Node<T>) -> u64 {
        self.child(node.parent, self.level(node.level.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_of_an_index_or_a_pointer_takes_48_bytes() {
        assert_eq!(size_of::<Level>(), 16);
        assert_eq!(size_of::<Node<Option<std::num::NonZeroU32>>>(), 48);
        assert_eq!(size_of::<Node<Option<std::sync::Arc<u8>>>>(), 48);
    }

    #[test]
    fn levels_of_every_length_come_back() {
        for length in 0..40 {
            let text = "x".repeat(length);
            assert_eq!(Level::new(text.as_bytes()).as_bytes(), text.as_bytes());
        }
    }

    #[test]
    fn every_part_of_the_hash_depends_on_the_seed() {
        let (one, other) = (Tree::<Option<u8>>::new(1).hasher, Tree::<Option<u8>>::new(2).hasher);
        assert_ne!(one.level(b"a"), other.level(b"a"));
        assert_ne!(one.child(1, 7), other.child(1, 7));
        assert_ne!(one.child(1, 7), one.child(2, 7));
    }
}
