//! Nodes in the order of their names: what is below one that is open, or what a search has found.
//!
//! The broker tells children from the youngest to those that are known already ([`TopicWatch::children`]), so that it never sorts
//! and a folder of a million is learned in slices.

use althing_core::topic_watch::{Named, TopicWatch};
use althing_core::tree::NodeId;
use std::time::Duration;
use tokio::time::Instant;

/// From here on a list is put in order once in a while only: that takes longer the longer it is.
const LARGE: usize = 10_000;
const LARGE_EVERY: Duration = Duration::from_secs(1);

/// A node in a list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The last level of its path, or the whole of it.
    pub name: Box<str>,
    pub slot: u32,
}

/// Entries in order; new ones wait for a while where there are many.
#[derive(Debug, Default)]
pub struct Sorted {
    entries: Vec<Entry>,
    fresh: Vec<Entry>,
    merged_at: Option<Instant>,
}

impl Sorted {
    pub fn add(&mut self, nodes: Vec<(NodeId, String)>) {
        self.fresh.extend(nodes.into_iter().map(|(node, name)| Entry { name: name.into(), slot: node.slot() }));
    }

    /// Puts in order what is new.
    pub fn merge(&mut self, now: Instant) {
        let is_early = self.merged_at.is_some_and(|at| now.duration_since(at) < LARGE_EVERY);
        if self.fresh.is_empty() || (self.entries.len() >= LARGE && is_early) {
            return;
        }
        self.fresh.sort_unstable();
        self.entries.append(&mut self.fresh);
        self.fresh = Vec::new();
        // Two runs that are in order already are merged in one go.
        self.entries.sort();
        self.merged_at = Some(now);
    }

    /// How many there are, in order or not.
    pub fn len(&self) -> usize {
        self.entries.len() + self.fresh.len()
    }

    /// Those that are in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The place of one of them.
    pub fn position(&self, name: &str, slot: u32) -> Option<usize> {
        self.entries.binary_search_by(|entry| (&*entry.name, entry.slot).cmp(&(name, slot))).ok()
    }
}

/// A node that is open.
#[derive(Debug, Default)]
pub struct Folder {
    /// Where it is; `None` for the one that holds the first level.
    pub slot: Option<u32>,
    pub parent: Option<u32>,
    pub name: String,
    pub depth: usize,
    pub children: Sorted,
    /// The youngest child of those that are known with all before them.
    known: Option<NodeId>,
    /// The walk that is under way.
    walk: Option<Walk>,
    /// Everything in the slots before this one is known.
    complete: u32,
}

#[derive(Clone, Copy, Debug)]
struct Walk {
    youngest: NodeId,
    next: u32,
    slots: u32,
}

/// A question for the children of a folder.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    slot: Option<u32>,
    known: Option<NodeId>,
    from: Option<u32>,
}

impl Folder {
    /// An open node, of which nothing below is known yet; `None` when there is no such node.
    pub fn open(watch: &TopicWatch, slot: u32) -> Option<Self> {
        let node = watch.node(slot)?;
        let above = std::iter::successors(watch.parent(node), |node| watch.parent(*node));
        Some(Self {
            slot: Some(slot),
            parent: watch.parent(node).map(NodeId::slot),
            name: watch.level(node).to_owned(),
            depth: above.count() + 1,
            ..Self::default()
        })
    }

    /// What there is to ask, when the watch has so many slots.
    pub fn question(&self, slots: u32) -> Option<Asked> {
        let from = self.walk.map(|walk| walk.next);
        (from.is_some() || self.complete < slots).then_some(Asked { slot: self.slot, known: self.known, from })
    }

    /// Takes an answer, which was given when the watch had so many slots.
    pub fn hear(&mut self, answer: Named, slots: u32) {
        let youngest = self.walk.map(|walk| walk.youngest).or(answer.nodes.first().map(|(node, _)| *node));
        let slots = self.walk.map_or(slots, |walk| walk.slots);
        self.children.add(answer.nodes);
        match (answer.next, youngest) {
            (Some(next), Some(youngest)) => self.walk = Some(Walk { youngest, next, slots }),
            _ => {
                (self.walk, self.complete) = (None, slots);
                self.known = youngest.or(self.known);
            }
        }
    }
}

/// Answers as many questions as `visits_max` allows, in their order.
pub fn answer(watch: &TopicWatch, asked: &[Asked], visits_max: usize) -> Vec<Named> {
    let mut left = visits_max;
    let mut answers = Vec::new();
    for Asked { slot, known, from } in asked {
        if left == 0 {
            break;
        }
        let folder = slot.map(|slot| watch.node(slot));
        let found = match folder {
            // What is not there has no children.
            Some(None) => Named::default(),
            Some(folder @ Some(_)) => watch.children(folder, *known, *from, left),
            None => watch.children(None, *known, *from, left),
        };
        left -= found.nodes.len().clamp(1, left);
        answers.push(found);
    }
    answers
}
