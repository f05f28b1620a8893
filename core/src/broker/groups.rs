//! Shared subscriptions and queues, on the shard that owns them: their members, and what waits for those.

use super::Broker;
use super::delivery::Incoming;
use crate::authorisation::Principal;
use crate::effects::{Effects, Event};
use crate::group::{Group, Member, SessionRef};
use crate::hash::Seeded;
use crate::limits::Overflow;
use crate::message::{Guarantee, Message};
use crate::queue::{Entry, Tags};
use crate::record::{QueueKey, Record, SessionKey, Terms};
use crate::routes::GroupRoute;
use crate::shard::Word;
use crate::time::Now;
use crate::topic::{Filter, Topic};
use crate::verbs::{Reason, Refusal, SubscriptionOptions};
use hashbrown::HashMap;
use std::sync::Arc;

/// The groups that this shard owns.
#[derive(Debug)]
pub(crate) struct Groups {
    places: Vec<Option<Group>>,
    vacant: Vec<u32>,
    by_filter: HashMap<Arc<Filter>, u32, Seeded>,
    queues: usize,
}

impl Groups {
    pub fn new(hasher: Seeded) -> Self {
        Self { places: Vec::new(), vacant: Vec::new(), by_filter: HashMap::with_hasher(hasher), queues: 0 }
    }

    fn find(&self, filter: &Filter) -> Option<u32> {
        self.by_filter.get(filter).copied()
    }

    /// How many of them are queues.
    pub fn queues_len(&self) -> usize {
        self.queues
    }

    /// All of them, by their places.
    pub fn indices(&self) -> Vec<u32> {
        let places = self.places.iter().enumerate();
        places.filter(|(_, group)| group.is_some()).map(|(index, _)| index as u32).collect()
    }

    /// How many places there are, vacant ones included.
    pub fn places(&self) -> usize {
        self.places.len()
    }

    pub fn get(&self, group: u32) -> Option<&Group> {
        self.places.get(group as usize)?.as_ref()
    }

    pub fn get_mut(&mut self, group: u32) -> Option<&mut Group> {
        self.places.get_mut(group as usize)?.as_mut()
    }

    fn insert(&mut self, group: Group) -> u32 {
        let index = self.vacant.pop().unwrap_or(self.places.len() as u32);
        self.by_filter.insert(group.filter.clone(), index);
        self.queues += usize::from(group.stands);
        if index as usize == self.places.len() {
            self.places.push(Some(group));
        } else {
            self.places[index as usize] = Some(group);
        }
        index
    }

    fn remove(&mut self, index: u32) -> Option<Group> {
        let group = self.places.get_mut(index as usize)?.take()?;
        self.by_filter.remove(&group.filter);
        self.queues -= usize::from(group.stands);
        self.vacant.push(index);
        Some(group)
    }
}

impl Broker {
    /// Offers a message to a group: to a member with credit, in turn, or to its queue.
    pub(super) fn offer_group(&mut self, now: Now, route: &GroupRoute, incoming: &mut Incoming, effects: &mut Effects) {
        let (index, all_may) = (route.group, route.may.is_none());
        let may = |place: usize| all_may || route.may.as_ref().is_some_and(|may| may.get(place) == Some(&true));
        let Some(group) = self.groups.get_mut(index) else { return };
        let guarantee = incoming.message.guarantee;
        // `AtMostOnce` does not wait behind others: it would be lost for want of a place in the queue.
        if (guarantee == Guarantee::AtMostOnce || group.queue.is_empty())
            && let Some((member, options)) = group.choose(guarantee, |place, _| may(place))
        {
            let (filter, is_durable) = (group.filter.clone(), group.is_durable());
            let granted = guarantee.min(options.guarantee);
            let is_here = member.shard == self.shard;
            // `AtMostOnce` leaves at once or is lost, so it needs no memory of its own here.
            let at_most_once = granted == Guarantee::AtMostOnce && is_here;
            let message = if at_most_once { incoming.message.clone() } else { incoming.kept() };
            let mut entry = group_entry(message, filter);
            // A member that is here and lasts stores it in this very step.
            let is_kept = is_here && self.sessions.get(member.index).is_some_and(|session| session.stored);
            if is_durable && !is_kept && granted > Guarantee::AtMostOnce {
                self.store_in_group(&mut entry, effects);
            }
            return self.assign(now, member, options, entry, effects);
        }
        if !group.keeps(guarantee) {
            return;
        }
        let message = incoming.kept();
        if !self.make_group_room(now, index, message.size_bytes(), effects) {
            return self.free_if_idle(index, effects);
        }
        let Some(group) = self.groups.get(index) else { return };
        let mut entry = group_entry(message, group.filter.clone());
        if group.is_durable() && (guarantee > Guarantee::AtMostOnce || self.has_room) {
            self.store_in_group(&mut entry, effects);
        }
        let size = entry.message.size_bytes();
        let Some(group) = self.groups.get_mut(index) else { return };
        let in_memory = entry.sequence == 0
            || !self.spills
            || group.is_attended() && group.queue.has_memory_for(size, &self.limits);
        match in_memory {
            true => group.queue.push_back(entry),
            false => group.queue.spill(entry.sequence, size),
        }
        self.statistics.queued_messages += 1;
        self.statistics.queued_bytes += size as u64;
    }

    /// Gives a new entry its place behind all others in its group's durable queue.
    fn store_in_group(&mut self, entry: &mut Entry, effects: &mut Effects) {
        let Some(queue) = entry.group.as_ref().map(|group| QueueKey::Group(group.text().clone())) else { return };
        let terms = Terms { group: None, ..entry.terms() };
        entry.sequence = self.place_behind();
        effects.store.push(Record::Queued { queue, sequence: entry.sequence, message: entry.message.clone(), terms });
    }

    pub(super) fn is_durable_group(&self, index: u32) -> bool {
        self.groups.get(index).is_some_and(Group::is_durable)
    }

    /// Whether a group could keep `size` bytes more.
    pub(super) fn group_has_room(&self, index: u32, size: usize) -> bool {
        self.groups.get(index).is_none_or(|group| !self.is_full(&group.queue, size))
    }

    /// Whether a group may keep `size` bytes more, after the overflow policy has done its work.
    fn make_group_room(&mut self, now: Now, index: u32, size: usize, effects: &mut Effects) -> bool {
        self.drop_expired(now, index, effects);
        while !self.group_has_room(index, size) {
            let oldest = match self.limits.queue_overflow {
                Overflow::DropOldest => self.drop_group_oldest(index, effects),
                Overflow::DropNewest | Overflow::Refuse => None,
            };
            self.dropped_by_group(index, "its queue is full", effects);
            if oldest.is_none() {
                return false;
            }
        }
        true
    }

    /// Drops what has expired at the front of a group's queue.
    fn drop_expired(&mut self, now: Now, index: u32, effects: &mut Effects) {
        let is_expired = |entry: &Entry| entry.message.is_expired(now.mono_ns);
        while self.groups.get(index).and_then(|group| group.queue.front()).is_some_and(is_expired) {
            self.drop_group_oldest(index, effects);
            self.dropped_by_group(index, "it expired in the queue", effects);
        }
    }

    pub(super) fn dropped_by_group(&mut self, index: u32, why: &'static str, effects: &mut Effects) {
        self.statistics.publishes_dropped += 1;
        let Some(group) = self.groups.get_mut(index) else { return };
        group.drops += 1;
        if group.drops.is_power_of_two() {
            let (client, count) = (group.filter.text().clone(), group.drops);
            effects.events.push(Event::Dropped { client, why, count });
        }
    }

    pub(super) fn drop_group_oldest(&mut self, index: u32, effects: &mut Effects) -> Option<()> {
        let group = self.groups.get_mut(index)?;
        let filter = group.filter.clone();
        let (sequence, size_bytes) = group.queue.drop_oldest(Some(&filter))?;
        if sequence != 0 {
            effects.store.push(Record::Settled { queue: group.key(), sequence });
        }
        self.count_unqueued(size_bytes);
        Some(())
    }

    /// Moves an entry into its member's session, under the member's terms.
    fn assign(
        &mut self,
        now: Now,
        member: SessionRef,
        options: SubscriptionOptions,
        mut entry: Entry,
        effects: &mut Effects,
    ) {
        entry.guarantee = entry.guarantee.min(options.guarantee);
        entry.retain = options.retain_as_published && entry.message.retain;
        entry.tags = Tags::from_iter((options.tag != 0).then_some(options.tag));
        if member.shard == self.shard {
            self.take_assigned(now, member, entry, effects);
        } else {
            effects.forward.push((member.shard, Word::Assign { session: member, entry }));
        }
    }

    /// Lets a group's queue flow to members with credit.
    pub(super) fn pump(&mut self, now: Now, index: u32, effects: &mut Effects) {
        loop {
            self.drop_expired(now, index, effects);
            let (policy, Some(group)) = (&self.policy, self.groups.get_mut(index)) else { return };
            let Some(first) = group.queue.front() else { break };
            let message = first.message.clone();
            let may = |member: &Member| policy.may_receive(&member.principal, &message.topic);
            let Some((member, options)) = group.choose(message.guarantee, |_, member| may(member)) else {
                if group.stands || group.members.iter().any(may) {
                    break;
                }
                self.drop_group_oldest(index, effects);
                self.dropped_by_group(index, "no member may receive it any more", effects);
                continue;
            };
            let Some(entry) = group.queue.pop_front() else { break };
            self.count_unqueued(entry.message.size_bytes());
            self.assign(now, member, options, entry, effects);
        }
        self.load_more_of_group(index, effects);
    }

    /// A member of another shard joins.
    pub(super) fn join_here(
        &mut self,
        now: Now,
        from: u16,
        filter: &Filter,
        member: Member,
        operation: u64,
        effects: &mut Effects,
    ) {
        let own = self.new_operation();
        let waits = self.join_group(now, filter, member, own, effects);
        self.relay(from, operation, (own, waits), effects);
    }

    /// Returns how many other shards owe a `Done` under `operation`.
    pub(super) fn join_group(
        &mut self,
        now: Now,
        filter: &Filter,
        member: Member,
        operation: u64,
        effects: &mut Effects,
    ) -> u32 {
        let index = self.find_or_make_group(filter);
        if let Some(group) = self.groups.get_mut(index) {
            group.join(member);
            self.routes.forget();
        }
        self.pump(now, index, effects);
        if self.shards == 1 {
            return 0;
        }
        let word = Word::Interest { pattern: filter.pattern().into(), wanted: true, operation };
        self.tell_all(&word, effects)
    }

    pub(super) fn set_window(
        &mut self,
        now: Now,
        filter: &Filter,
        session: SessionRef,
        (window, lasts): (u32, bool),
        principal: Option<Arc<Principal>>,
        effects: &mut Effects,
    ) {
        let Some(index) = self.groups.find(filter) else { return };
        if let Some(principal) = principal
            && let Some(member) = self.groups.get_mut(index).and_then(|group| group.member_mut(session))
        {
            member.principal = principal;
            self.routes.forget();
        }
        if self.groups.get_mut(index).is_some_and(|group| group.set_window(session, window, lasts)) {
            self.pump(now, index, effects);
        }
    }

    pub(super) fn leave_here(&mut self, filter: &Filter, session: SessionRef, effects: &mut Effects) {
        let Some(index) = self.groups.find(filter) else { return };
        let Some(group) = self.groups.get_mut(index) else { return };
        group.remove(session);
        self.routes.forget();
        self.free_if_idle(index, effects);
    }

    /// Which shard has the queue that a topic names.
    pub(super) fn queue_owner(&self, topic: &Topic) -> Option<u16> {
        topic.queue().map(|_| self.owner_of_group(&Filter::exactly(topic)))
    }

    /// Makes the queue that a topic names, where there is none.
    pub(super) fn stand_queue(&mut self, topic: &Topic) -> Result<(), Refusal> {
        let filter = Filter::exactly(topic);
        if self.groups.find(&filter).is_none() && self.groups.queues_len() >= self.limits.queues_max {
            return Err(Refusal::new(Reason::QuotaExceeded, "the broker holds as many queues as it may"));
        }
        self.find_or_make_group(&filter);
        Ok(())
    }

    pub(super) fn find_group(&self, text: &str) -> Option<u32> {
        self.groups.find(&Filter::again(text)?)
    }

    pub(super) fn find_or_make_group(&mut self, filter: &Filter) -> u32 {
        self.groups.find(filter).unwrap_or_else(|| {
            let node = self.routes.node(filter.pattern());
            let index = self.groups.insert(Group::new(Arc::new(filter.detached()), node));
            self.routes.add_group(node, index);
            index
        })
    }

    /// Frees a group that nobody is in; what waits in it waits for nobody, unless it is a queue's.
    pub(super) fn free_if_idle(&mut self, index: u32, effects: &mut Effects) {
        // Members may still have to be put back.
        if self.restoring.is_some() || self.groups.get(index).is_none_or(|group| !group.is_idle()) {
            return;
        }
        let Some(group) = self.groups.remove(index) else { return };
        if group.queue.is_stored() {
            effects.store.push(Record::QueueClosed(group.key()));
        }
        self.statistics.queued_messages -= group.queue.len() as u64;
        self.statistics.queued_bytes -= group.queue.bytes() as u64;
        self.routes.remove_group(group.node, index);
        self.lose_interest(group.node, effects);
    }

    pub(super) fn settled_here(&mut self, now: Now, filter: &Filter, session: SessionRef, effects: &mut Effects) {
        let Some(index) = self.groups.find(filter) else { return };
        if let Some(member) = self.groups.get_mut(index).and_then(|group| group.member_mut(session)) {
            member.outstanding = member.outstanding.saturating_sub(1);
            self.pump(now, index, effects);
        }
    }

    /// Messages come back from a member, oldest first: they go before what waits. `key` names the member's queue.
    pub(super) fn returned_here(
        &mut self,
        now: Now,
        filter: &Filter,
        session: SessionRef,
        key: Option<SessionKey>,
        entries: Vec<Entry>,
        effects: &mut Effects,
    ) {
        let from = key.map(QueueKey::Session);
        let found = self.groups.find(filter);
        // What comes back to a queue finds it again, though it stood empty meanwhile.
        let is_made = filter.is_queue() || self.restoring.is_some();
        let Some(index) = found.or_else(|| is_made.then(|| self.find_or_make_group(filter))) else {
            return give_up(filter, from, &entries, effects);
        };
        for entry in entries.into_iter().rev() {
            let Some(group) = self.groups.get_mut(index) else { return };
            if entry.guarantee > Guarantee::AtMostOnce
                && let Some(member) = group.member_mut(session)
            {
                member.outstanding = member.outstanding.saturating_sub(1);
            }
            self.take_back(index, entry, from.as_ref(), effects);
        }
        self.pump(now, index, effects);
        self.free_if_idle(index, effects);
    }

    /// An entry is the group's again, in the store too. `from` is the queue where it is stored if not at the group.
    fn take_back(&mut self, index: u32, entry: Entry, from: Option<&QueueKey>, effects: &mut Effects) {
        let Some(group) = self.groups.get(index) else { return };
        let (queue, is_durable) = (group.key(), group.is_durable());
        let (at_group, from_sequence) = (entry.at_group, entry.sequence);
        let mut entry = Entry { sequence: from_sequence, ..group_entry(entry.message, group.filter.clone()) };
        let terms = Terms { group: None, ..entry.terms() };
        if from_sequence == 0 && is_durable {
            entry.sequence = self.place_before();
            let (sequence, message) = (entry.sequence, entry.message.clone());
            effects.store.push(Record::Queued { queue, sequence, message, terms });
        } else if let Some(from) = from.filter(|_| from_sequence != 0 && !at_group) {
            entry.sequence = self.place_before();
            let (from, sequence) = (from.clone(), entry.sequence);
            effects.store.push(Record::Moved { from, from_sequence, queue, sequence, terms });
        }
        self.statistics.queued_messages += 1;
        self.statistics.queued_bytes += entry.message.size_bytes() as u64;
        if let Some(group) = self.groups.get_mut(index) {
            group.queue.push_front(entry);
        }
    }
}

/// Entries of several groups, in order for each.
pub(super) fn by_group(entries: Vec<Entry>) -> Vec<(Arc<Filter>, Vec<Entry>)> {
    let mut by_group: Vec<(Arc<Filter>, Vec<Entry>)> = Vec::new();
    for entry in entries {
        let Some(filter) = entry.group.clone() else { continue };
        match by_group.iter_mut().find(|(known, _)| *known == filter) {
            Some((_, entries)) => entries.push(entry),
            None => by_group.push((filter, vec![entry])),
        }
    }
    by_group
}

/// A message in the hands of its group.
fn group_entry(message: Arc<Message>, group: Arc<Filter>) -> Entry {
    let (guarantee, tags, group) = (message.guarantee, Tags::new(), Some(group));
    Entry { message, guarantee, retain: false, sequence: 0, at_group: true, tags, group }
}

/// The group is gone: what comes back to it is over, wherever it is stored.
fn give_up(filter: &Filter, from: Option<QueueKey>, entries: &[Entry], effects: &mut Effects) {
    for entry in entries.iter().filter(|entry| entry.sequence != 0) {
        let queue = if entry.at_group { Some(QueueKey::Group(filter.text().clone())) } else { from.clone() };
        effects.store.extend(queue.map(|queue| Record::Settled { queue, sequence: entry.sequence }));
    }
}
