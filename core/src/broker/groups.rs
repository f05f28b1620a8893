//! Shared subscriptions and queues between sessions and groups, on this shard or another.
//!
//! A member's home speaks to the group's owner in the words `Join`, `Window`, `Leave`, `Settled` and
//! `Return`; the owner answers with `Assign`. Where both are the same shard the same functions are
//! called at once.

use super::Broker;
use super::delivery::Incoming;
use super::publishing::Terms;
use crate::effects::{Effects, Event};
use crate::group::{Group, Member, SessionRef};
use crate::hash::Seeded;
use crate::limits::Overflow;
use crate::message::Guarantee;
use crate::record::Record;
use crate::session::{Entry, Queue, Tags};
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

    fn get(&self, group: u32) -> Option<&Group> {
        self.places.get(group as usize)?.as_ref()
    }

    fn get_mut(&mut self, group: u32) -> Option<&mut Group> {
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

/// The member's side.
impl Broker {
    fn owner_of_group(&self, filter: &Filter) -> u16 {
        self.place_of(filter.as_str())
    }

    fn reference(&self, index: u32) -> Option<SessionRef> {
        self.sessions.get(index).map(|session| SessionRef { shard: self.shard, index, id: session.id })
    }

    /// Joins a group or changes the terms; returns whether the subscription is new.
    #[allow(clippy::too_many_arguments, reason = "a step of subscribe alone")]
    pub(super) fn join(
        &mut self,
        now: Now,
        index: u32,
        filter: &Filter,
        options: SubscriptionOptions,
        operation: u64,
        waits: &mut u32,
        effects: &mut Effects,
    ) -> bool {
        let (hasher, owner) = (self.hasher.clone(), self.owner_of_group(filter));
        let Some(reference) = self.reference(index) else { return false };
        let Some(session) = self.sessions.get_mut(index) else { return false };
        let shared = session.shared.get_or_insert_with(|| Box::new(HashMap::with_hasher(hasher)));
        let is_new = shared.insert(filter.detached(), options).is_none();
        let (window, lasts) = (u32::from(session.window), session.lasts());
        if owner == self.shard {
            *waits += self.join_group(now, filter, reference, options, window, lasts, operation, effects);
        } else {
            let filter = Arc::new(filter.detached());
            let word = Word::Join { filter, session: reference, options, window, lasts, operation };
            effects.forward.push((owner, word));
            *waits += 1;
        }
        is_new
    }

    /// Leaves a group for good: what was not settled goes back first.
    pub(super) fn leave(&mut self, now: Now, index: u32, filter: &Filter, effects: &mut Effects) {
        let Some(session) = self.reference(index) else { return };
        let owner = self.owner_of_group(filter);
        // It takes nothing any more: what it gives back must not come to it again.
        self.tell_group(now, filter, owner, session, 0, effects);
        self.return_entries_of(now, index, Some(filter), effects);
        if owner == self.shard {
            self.leave_here(filter, session, effects);
        } else {
            let filter = Arc::new(filter.detached());
            effects.forward.push((owner, Word::Leave { filter, session }));
        }
    }

    /// Tells the session's groups that it is here.
    pub(super) fn announce_window(&mut self, now: Now, index: u32, effects: &mut Effects) {
        let window = self.sessions.get(index).map_or(0, |session| u32::from(session.window));
        self.tell_groups(now, index, window, effects);
    }

    /// The connection is gone: the groups choose others, and get back what was not settled.
    pub(super) fn return_group_entries(&mut self, now: Now, index: u32, effects: &mut Effects) {
        if self.sessions.get(index).is_none_or(|session| session.shared.is_none()) {
            return;
        }
        self.tell_groups(now, index, 0, effects);
        self.return_entries_of(now, index, None, effects);
    }

    fn tell_groups(&mut self, now: Now, index: u32, window: u32, effects: &mut Effects) {
        let Some(session) = self.reference(index) else { return };
        let filters: Vec<Filter> = match self.sessions.get(index).and_then(|session| session.shared.as_ref()) {
            Some(shared) => shared.keys().cloned().collect(),
            None => return,
        };
        for filter in filters {
            let owner = self.owner_of_group(&filter);
            self.tell_group(now, &filter, owner, session, window, effects);
        }
    }

    fn tell_group(
        &mut self,
        now: Now,
        filter: &Filter,
        owner: u16,
        session: SessionRef,
        window: u32,
        effects: &mut Effects,
    ) {
        if owner == self.shard {
            self.set_window(now, filter, session, window, effects);
        } else {
            let filter = Arc::new(filter.detached());
            effects.forward.push((owner, Word::Window { filter, session, window }));
        }
    }

    /// Gives back the unsettled messages of one group (or of all). `ExactlyOnce` deliveries under way
    /// stay: they must be completed with this member or with nobody.
    fn return_entries_of(&mut self, now: Now, index: u32, only: Option<&Filter>, effects: &mut Effects) {
        let Some(session) = self.sessions.get_mut(index) else { return };
        let of_group =
            |entry: &Entry| entry.group.as_ref().is_some_and(|group| only.is_none_or(|only| only == &**group));
        let mut returned = Vec::new();
        for _ in 0..session.inflight.len() {
            let Some(mut inflight) = session.inflight.pop_front() else { break };
            let goes_back = inflight.guarantee != Guarantee::ExactlyOnce;
            match inflight.entry.take_if(|entry| goes_back && of_group(entry)) {
                Some(entry) => returned.push(entry),
                None => session.inflight.push_back(inflight),
            }
        }
        self.statistics.inflight_messages -= returned.len() as u64;
        for entry in session.queue.take_if(of_group) {
            self.count_unqueued(&entry);
            returned.push(entry);
        }
        self.give_back(now, index, returned, effects);
    }

    /// Gives entries that a session no longer has back to their groups.
    pub(super) fn give_back(&mut self, now: Now, index: u32, entries: Vec<Entry>, effects: &mut Effects) {
        let Some(reference) = self.reference(index) else { return };
        let mut by_group: Vec<(Arc<Filter>, Vec<Entry>)> = Vec::new();
        for mut entry in entries {
            self.entry_over(index, &entry, effects);
            entry.sequence = 0;
            let Some(filter) = entry.group.clone() else { continue };
            match by_group.iter_mut().find(|(known, _)| *known == filter) {
                Some((_, entries)) => entries.push(entry),
                None => by_group.push((filter, vec![entry])),
            }
        }
        for (filter, entries) in by_group {
            self.return_to_group(now, filter, reference, entries, effects);
        }
    }

    /// Hands one group's entries back to the group, wherever it lives.
    fn return_to_group(
        &mut self,
        now: Now,
        filter: Arc<Filter>,
        session: SessionRef,
        entries: Vec<Entry>,
        effects: &mut Effects,
    ) {
        let owner = self.owner_of_group(&filter);
        if owner == self.shard {
            self.returned_here(now, &filter, session, entries, effects);
        } else {
            effects.forward.push((owner, Word::Return { filter, session, entries }));
        }
    }

    /// A settled delivery gives its group's credit back.
    pub(super) fn settle_group(&mut self, now: Now, index: u32, entry: &Entry, effects: &mut Effects) {
        let (Some(filter), Some(session)) = (&entry.group, self.reference(index)) else { return };
        let owner = self.owner_of_group(filter);
        if owner == self.shard {
            self.settled_here(now, filter, session, effects);
        } else {
            effects.forward.push((owner, Word::Settled { filter: filter.clone(), session }));
        }
    }

    /// A message that a group gives to a session of this shard.
    pub(super) fn take_assigned(&mut self, now: Now, session: SessionRef, entry: Entry, effects: &mut Effects) {
        let member = self.sessions.get(session.index).filter(|found| found.id == session.id);
        let subscribed = member.is_some_and(|member| {
            let shared = member.shared.as_ref();
            entry.group.as_ref().is_some_and(|group| shared.is_some_and(|shared| shared.contains_key(&**group)))
        });
        if !subscribed || member.is_none_or(|member| member.peer.is_none()) {
            // It left while the message was on its way: straight back.
            if let Some(filter) = entry.group.clone() {
                self.return_to_group(now, filter, session, vec![entry], effects);
            }
            return;
        }
        let Entry { message, guarantee, retain, tags, group, .. } = entry;
        let terms = Terms { guarantee, retain, tags };
        if guarantee == Guarantee::AtMostOnce {
            return self.offer(now, session.index, &mut Incoming::new(message, None), terms, effects);
        }
        self.enqueue(now, session.index, &mut Incoming::already_kept(message), terms, group, effects);
    }
}

/// The owner's side.
impl Broker {
    /// Offers a message to a group: to a member with credit, in turn, or to its queue.
    pub(super) fn offer_group(&mut self, now: Now, index: u32, incoming: &mut Incoming, effects: &mut Effects) {
        let Some(group) = self.groups.get_mut(index) else { return };
        let guarantee = incoming.message.guarantee;
        // `AtMostOnce` does not wait behind others: it would be lost for want of a place in the queue.
        if (guarantee == Guarantee::AtMostOnce || group.queue.is_empty())
            && let Some((member, options)) = group.choose(guarantee)
        {
            let filter = group.filter.clone();
            // `AtMostOnce` leaves at once or is lost, so it needs no memory of its own here.
            let at_most_once = guarantee.min(options.guarantee) == Guarantee::AtMostOnce && member.shard == self.shard;
            let message = if at_most_once { incoming.message.clone() } else { incoming.kept() };
            let entry =
                Entry { message, guarantee, retain: false, sequence: 0, tags: Tags::new(), group: Some(filter) };
            return self.assign(now, member, options, entry, effects);
        }
        if !group.keeps(guarantee) {
            return;
        }
        let message = incoming.kept();
        if !self.make_group_room(now, index, message.size_bytes(), effects) {
            return self.free_if_idle(index, effects);
        }
        let Some(group) = self.groups.get_mut(index) else { return };
        let filter = Some(group.filter.clone());
        let entry = Entry { message, guarantee, retain: false, sequence: 0, tags: Tags::new(), group: filter };
        if let Some((queue, entry)) = self.record_in_group(index, entry, effects) {
            queue.push_back(entry);
        }
    }

    /// Gives an entry its place in a group's durable queue and counts it; the caller puts it at the end that it
    /// belongs to.
    fn record_in_group(&mut self, index: u32, mut entry: Entry, effects: &mut Effects) -> Option<(&mut Queue, Entry)> {
        let group = self.groups.get_mut(index)?;
        entry.sequence = group.next_sequence;
        group.next_sequence += 1;
        let (queue, sequence, message) = (group.key(), entry.sequence, entry.message.clone());
        effects.store.push(Record::Queued { queue, sequence, message, terms: entry.terms() });
        self.statistics.queued_messages += 1;
        self.statistics.queued_bytes += entry.message.size_bytes() as u64;
        Some((&mut group.queue, entry))
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
                Overflow::DropOldest => self.pop_group_front(index, effects),
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
            self.pop_group_front(index, effects);
            self.dropped_by_group(index, "it expired in the queue", effects);
        }
    }

    fn dropped_by_group(&mut self, index: u32, why: &'static str, effects: &mut Effects) {
        self.statistics.publishes_dropped += 1;
        let Some(group) = self.groups.get_mut(index) else { return };
        group.drops += 1;
        if group.drops.is_power_of_two() {
            let (client, count) = (group.filter.text().clone(), group.drops);
            effects.events.push(Event::Dropped { client, why, count });
        }
    }

    fn pop_group_front(&mut self, index: u32, effects: &mut Effects) -> Option<Entry> {
        let group = self.groups.get_mut(index)?;
        let entry = group.queue.pop_front()?;
        let queue = group.key();
        self.count_unqueued(&entry);
        if entry.sequence != 0 {
            effects.store.push(Record::Settled { queue, sequence: entry.sequence });
        }
        Some(entry)
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
        entry.sequence = 0;
        if member.shard == self.shard {
            self.take_assigned(now, member, entry, effects);
        } else {
            effects.forward.push((member.shard, Word::Assign { session: member, entry }));
        }
    }

    /// Lets a group's queue flow to members with credit.
    fn pump(&mut self, now: Now, index: u32, effects: &mut Effects) {
        loop {
            self.drop_expired(now, index, effects);
            let Some(group) = self.groups.get_mut(index) else { return };
            let Some(first) = group.queue.front() else { return };
            let Some((member, options)) = group.choose(first.message.guarantee) else { return };
            let Some(entry) = self.pop_group_front(index, effects) else { return };
            self.assign(now, member, options, entry, effects);
        }
    }

    /// A member of another shard joins.
    #[allow(clippy::too_many_arguments, reason = "the parts of one word")]
    pub(super) fn join_here(
        &mut self,
        now: Now,
        from: u16,
        filter: &Filter,
        session: SessionRef,
        options: SubscriptionOptions,
        window: u32,
        lasts: bool,
        operation: u64,
        effects: &mut Effects,
    ) {
        let own = self.new_operation();
        let waits = self.join_group(now, filter, session, options, window, lasts, own, effects);
        self.relay(from, operation, (own, waits), effects);
    }

    /// Returns how many other shards owe a `Done` under `operation`.
    #[allow(clippy::too_many_arguments, reason = "the parts of one word")]
    fn join_group(
        &mut self,
        now: Now,
        filter: &Filter,
        session: SessionRef,
        options: SubscriptionOptions,
        window: u32,
        lasts: bool,
        operation: u64,
        effects: &mut Effects,
    ) -> u32 {
        let index = self.find_or_make_group(filter);
        if let Some(group) = self.groups.get_mut(index) {
            match group.member_mut(session) {
                Some(member) => (member.options, member.window, member.lasts) = (options, window, lasts),
                None => group.members.push(Member { session, options, window, outstanding: 0, lasts }),
            }
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
        window: u32,
        effects: &mut Effects,
    ) {
        let Some(index) = self.groups.find(filter) else { return };
        if let Some(member) = self.groups.get_mut(index).and_then(|group| group.member_mut(session)) {
            member.window = window;
            self.pump(now, index, effects);
        }
    }

    pub(super) fn leave_here(&mut self, filter: &Filter, session: SessionRef, effects: &mut Effects) {
        let Some(index) = self.groups.find(filter) else { return };
        let Some(group) = self.groups.get_mut(index) else { return };
        group.remove(session);
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

    fn find_or_make_group(&mut self, filter: &Filter) -> u32 {
        self.groups.find(filter).unwrap_or_else(|| {
            let node = self.routes.node(filter.pattern());
            let index = self.groups.insert(Group::new(Arc::new(filter.detached()), node));
            self.routes.add_group(node, index);
            index
        })
    }

    /// Frees a group that nobody is in; what waits in it waits for nobody, unless it is a queue's.
    fn free_if_idle(&mut self, index: u32, effects: &mut Effects) {
        if self.groups.get(index).is_none_or(|group| !group.is_idle()) {
            return;
        }
        let Some(group) = self.groups.remove(index) else { return };
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

    /// Messages come back from a member, oldest first: they go before what waits.
    pub(super) fn returned_here(
        &mut self,
        now: Now,
        filter: &Filter,
        session: SessionRef,
        entries: Vec<Entry>,
        effects: &mut Effects,
    ) {
        let found = self.groups.find(filter);
        // What comes back to a queue finds it again, though it stood empty meanwhile.
        let Some(index) = found.or_else(|| filter.is_queue().then(|| self.find_or_make_group(filter))) else { return };
        for mut entry in entries.into_iter().rev() {
            let Some(group) = self.groups.get_mut(index) else { return };
            if entry.guarantee > Guarantee::AtMostOnce
                && let Some(member) = group.member_mut(session)
            {
                member.outstanding = member.outstanding.saturating_sub(1);
            }
            entry.guarantee = entry.message.guarantee;
            if let Some((queue, entry)) = self.record_in_group(index, entry, effects) {
                queue.push_front(entry);
            }
        }
        self.pump(now, index, effects);
        self.free_if_idle(index, effects);
    }
}
