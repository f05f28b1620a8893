//! From a topic to everyone who wants it: the subscription tree, and a cache of its answers.

use crate::hash::Seeded;
use crate::limits::Limits;
use crate::topic::Topic;
use crate::tree::{NodeId, TooManyVisits, Tree, Vacant};
use crate::verbs::SubscriptionOptions;
use bytestring::ByteString;
use hashbrown::HashMap;
use smallvec::SmallVec;
use std::hash::BuildHasher;
use std::sync::Arc;

/// One session's interest in one pattern. Kept small: a hundred thousand of these are ordinary.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subscriber {
    pub session: u32,
    pub options: SubscriptionOptions,
}

/// Everyone interested in one pattern.
#[derive(Debug, Default)]
pub(crate) struct Subscribers {
    pub sessions: SmallVec<[Subscriber; 1]>,
    /// Groups and other shards; rare, so boxed.
    pub rest: Option<Box<Rest>>,
}

/// See [`Subscribers`].
#[derive(Debug, Default)]
pub(crate) struct Rest {
    pub groups: Vec<u32>,
    pub shards: Vec<u16>,
}

impl Vacant for Subscribers {
    fn is_vacant(&self) -> bool {
        self.sessions.is_empty() && self.rest.is_none()
    }
}

impl Subscribers {
    /// Whether anybody on this shard wants the pattern.
    pub fn is_local(&self) -> bool {
        !self.sessions.is_empty() || self.rest.as_ref().is_some_and(|rest| !rest.groups.is_empty())
    }

    fn rest(&mut self) -> &mut Rest {
        self.rest.get_or_insert_default()
    }

    fn tidy(&mut self) {
        self.rest.take_if(|rest| rest.groups.is_empty() && rest.shards.is_empty());
    }
}

/// Everyone who gets a message published to one topic.
#[derive(Debug, Default)]
pub(crate) struct Route {
    /// In the order of the session's index, so that overlapping subscriptions of one session are neighbours.
    pub subscribers: Vec<Subscriber>,
    pub groups: Vec<GroupRoute>,
    /// Other shards with any interest.
    pub shards: Vec<u16>,
    epoch: u64,
}

/// A group that gets a message.
#[derive(Clone, Debug)]
pub(crate) struct GroupRoute {
    pub group: u32,
    /// For each member by its place, whether it may have it; `None`: all may.
    pub may: Option<Box<[bool]>>,
}

impl Route {
    /// Empties it, keeping its memory.
    fn clear(&mut self) {
        self.subscribers.clear();
        self.groups.clear();
        self.shards.clear();
    }
}

/// The subscription tree and what it said lately.
#[derive(Debug)]
pub(crate) struct Routes {
    tree: Tree<Subscribers>,
    /// Changes with every subscription and with all rights; a cached route of another epoch is not used.
    epoch: u64,
    cache: HashMap<ByteString, Arc<Route>, Seeded>,
    cache_max: usize,
    /// Hashes of topics that were searched for lately, by their low bits. Only a topic that comes again
    /// enters the cache: a stream of topics that never repeat would do nothing but fill and empty it.
    lately: Box<[u64]>,
    /// The route of a topic that is not cached, kept for its memory.
    passing: Option<Arc<Route>>,
    visits_max: usize,
    /// Nodes that matches have visited since the start.
    pub visits: u64,
    found: Vec<NodeId>,
}

impl Routes {
    pub fn new(limits: &Limits, seed: u64, hasher: Seeded) -> Self {
        Self {
            tree: Tree::new(seed),
            epoch: 1,
            cache: HashMap::with_hasher(hasher),
            cache_max: limits.route_cache_max,
            lately: vec![0; limits.route_cache_max.next_power_of_two()].into(),
            passing: None,
            visits_max: limits.match_visits_max,
            visits: 0,
            found: Vec::new(),
        }
    }

    /// What a match may cost from now on, and how much is remembered.
    pub fn set_limits(&mut self, limits: &Limits) {
        self.visits_max = limits.match_visits_max;
        if self.cache_max != limits.route_cache_max {
            self.cache_max = limits.route_cache_max;
            self.cache.clear();
            self.lately = vec![0; self.cache_max.next_power_of_two()].into();
        }
    }

    /// Who gets a message published to `topic`. `judge` takes out of a new route who may not.
    pub fn find(&mut self, topic: &Topic, judge: impl FnOnce(&mut Route)) -> Result<Arc<Route>, TooManyVisits> {
        if let Some(route) = self.cache.get(topic.text())
            && route.epoch == self.epoch
        {
            return Ok(route.clone());
        }
        let comes_again = self.comes_again(topic);
        // Somebody may still use the memory that would be used again.
        let spare = self.passing.take_if(|route| !comes_again && Arc::get_mut(route).is_some());
        let mut route = spare.unwrap_or_default();
        if let Some(unique) = Arc::get_mut(&mut route) {
            self.search(topic, unique)?;
            judge(unique);
        }
        if !comes_again {
            self.passing = Some(route.clone());
            return Ok(route);
        }
        if self.cache.len() >= self.cache_max {
            self.cache.clear();
        }
        self.cache.insert(ByteString::from(topic.as_str()), route.clone());
        Ok(route)
    }

    /// Whether anybody gets a message published to `topic`; the cache is left alone.
    pub fn is_heard(&mut self, topic: &Topic) -> bool {
        self.found.clear();
        self.tree.matching(topic, self.visits_max, &mut self.found).is_ok() && !self.found.is_empty()
    }

    /// Notes that `topic` was searched for; returns whether it was so lately.
    fn comes_again(&mut self, topic: &Topic) -> bool {
        let hash = self.cache.hasher().hash_one(topic.text());
        let place = &mut self.lately[hash as usize & (self.lately.len() - 1)];
        self.cache_max > 0 && std::mem::replace(place, hash) == hash
    }

    fn search(&mut self, topic: &Topic, route: &mut Route) -> Result<(), TooManyVisits> {
        self.found.clear();
        self.visits += self.tree.matching(topic, self.visits_max, &mut self.found)? as u64;
        route.clear();
        route.epoch = self.epoch;
        for node in &self.found {
            let subscribers = self.tree.value(*node);
            route.subscribers.extend_from_slice(&subscribers.sessions);
            if let Some(rest) = &subscribers.rest {
                route.groups.extend(rest.groups.iter().map(|group| GroupRoute { group: *group, may: None }));
                route.shards.extend_from_slice(&rest.shards);
            }
        }
        if self.found.len() > 1 {
            route.subscribers.sort_by_key(|subscriber| subscriber.session);
            route.shards.sort_unstable();
            route.shards.dedup();
        }
        Ok(())
    }

    /// Somebody's rights have changed, so who gets a message may have.
    pub fn forget(&mut self) {
        self.epoch += 1;
    }

    /// The node of a pattern, made when there is none.
    pub fn node(&mut self, pattern: &str) -> NodeId {
        self.tree.insert(pattern)
    }

    /// The node of a pattern that somebody wants.
    pub fn find_node(&self, pattern: &str) -> Option<NodeId> {
        self.tree.find(pattern)
    }

    /// The pattern of a node.
    pub fn pattern(&self, node: NodeId) -> String {
        self.tree.path(node)
    }

    pub fn subscribers(&self, node: NodeId) -> &Subscribers {
        self.tree.value(node)
    }

    /// Adds a session's subscription and returns its place in the node's list.
    pub fn add(&mut self, node: NodeId, subscriber: Subscriber) -> u32 {
        self.epoch += 1;
        let sessions = &mut self.tree.value_mut(node).sessions;
        sessions.push(subscriber);
        (sessions.len() - 1) as u32
    }

    /// Changes a subscription's options in its place.
    pub fn replace(&mut self, node: NodeId, position: u32, subscriber: Subscriber) {
        self.epoch += 1;
        if let Some(place) = self.tree.value_mut(node).sessions.get_mut(position as usize) {
            *place = subscriber;
        }
    }

    /// Removes the subscription at `position`. Returns the session whose subscription has moved there,
    /// so that its own note of the place can follow.
    #[must_use]
    pub fn remove(&mut self, node: NodeId, position: u32) -> Option<u32> {
        self.epoch += 1;
        let position = position as usize;
        let sessions = &mut self.tree.value_mut(node).sessions;
        if position < sessions.len() {
            sessions.swap_remove(position);
        }
        let moved = sessions.get(position).map(|subscriber| subscriber.session);
        if sessions.is_empty() {
            sessions.shrink_to_fit();
        }
        moved
    }

    pub fn add_group(&mut self, node: NodeId, group: u32) {
        self.epoch += 1;
        self.tree.value_mut(node).rest().groups.push(group);
    }

    pub fn remove_group(&mut self, node: NodeId, group: u32) {
        self.epoch += 1;
        let subscribers = self.tree.value_mut(node);
        subscribers.rest().groups.retain(|other| *other != group);
        subscribers.tidy();
    }

    /// Notes whether another shard wants a pattern.
    pub fn set_shard(&mut self, pattern: &str, shard: u16, wanted: bool) {
        self.epoch += 1;
        let node = self.tree.insert(pattern);
        let subscribers = self.tree.value_mut(node);
        let shards = &mut subscribers.rest().shards;
        shards.retain(|other| *other != shard);
        if wanted {
            shards.push(shard);
        }
        subscribers.tidy();
        self.prune(node);
    }

    /// Frees a pattern that nobody wants any more.
    pub fn prune(&mut self, node: NodeId) {
        self.tree.prune(node);
    }
}
