//! What a session has to do with its groups, on this shard or another.
//!
//! A member's home speaks to the group's owner in the words `Join`, `Window`, `Leave`, `Settled` and
//! `Return`; the owner answers with `Assign`. Where both are the same shard the same functions are
//! called at once.

use super::Broker;
use super::delivery::Incoming;
use super::groups::by_group;
use super::publishing::Terms;
use crate::authorisation::Principal;
use crate::effects::Effects;
use crate::group::{Member, SessionRef};
use crate::message::Guarantee;
use crate::queue::Entry;
use crate::record::SessionKey;
use crate::session::Session;
use crate::shard::Word;
use crate::time::Now;
use crate::topic::Filter;
use crate::verbs::SubscriptionOptions;
use hashbrown::HashMap;
use std::sync::Arc;

impl Broker {
    pub(super) fn owner_of_group(&self, filter: &Filter) -> u16 {
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
        let principal = Arc::new(session.principal.clone());
        let member = Member { session: reference, principal, options, window, outstanding: 0, lasts };
        if owner == self.shard {
            *waits += self.join_group(now, filter, member, operation, effects);
        } else {
            let filter = Arc::new(filter.detached());
            let word = Word::Join { filter, member: Box::new(member), operation };
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
        self.tell_group(now, filter, owner, session, (0, false), None, effects);
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
        let principal = self.sessions.get(index).filter(|session| session.shared.is_some());
        let principal = principal.map(|session| Arc::new(session.principal.clone()));
        self.tell_groups(now, index, window, principal, effects);
    }

    /// The connection is gone: the groups choose others, and get back what was not settled.
    pub(super) fn return_group_entries(&mut self, now: Now, index: u32, effects: &mut Effects) {
        if self.sessions.get(index).is_none_or(|session| session.shared.is_none()) {
            return;
        }
        self.tell_groups(now, index, 0, None, effects);
        self.return_entries_of(now, index, None, effects);
    }

    fn tell_groups(
        &mut self,
        now: Now,
        index: u32,
        window: u32,
        principal: Option<Arc<Principal>>,
        effects: &mut Effects,
    ) {
        let Some(session) = self.reference(index) else { return };
        let lasts = self.sessions.get(index).is_some_and(|session| session.lasts());
        let filters: Vec<Filter> = match self.sessions.get(index).and_then(|session| session.shared.as_ref()) {
            Some(shared) => shared.keys().cloned().collect(),
            None => return,
        };
        for filter in filters {
            let owner = self.owner_of_group(&filter);
            self.tell_group(now, &filter, owner, session, (window, lasts), principal.clone(), effects);
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one word")]
    fn tell_group(
        &mut self,
        now: Now,
        filter: &Filter,
        owner: u16,
        session: SessionRef,
        (window, lasts): (u32, bool),
        principal: Option<Arc<Principal>>,
        effects: &mut Effects,
    ) {
        if owner == self.shard {
            self.set_window(now, filter, session, (window, lasts), principal, effects);
        } else {
            let filter = Arc::new(filter.detached());
            effects.forward.push((owner, Word::Window { filter, session, window, lasts, principal }));
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
            self.count_unqueued(entry.message.size_bytes());
            returned.push(entry);
        }
        self.give_back(now, index, returned, effects);
    }

    /// Gives entries that a session no longer has back to their groups. Nothing is recorded here: they are where they
    /// are stored until the group has them.
    pub(super) fn give_back(&mut self, now: Now, index: u32, entries: Vec<Entry>, effects: &mut Effects) {
        let Some(reference) = self.reference(index) else { return };
        let Some(key) = self.sessions.get(index).map(|session| session.key()) else { return };
        for (filter, entries) in by_group(entries) {
            self.return_to_group(now, filter, reference, Some(key.clone()), entries, effects);
        }
    }

    /// Hands one group's entries back to the group, wherever it lives. `key` names the session's queue.
    pub(super) fn return_to_group(
        &mut self,
        now: Now,
        filter: Arc<Filter>,
        session: SessionRef,
        key: Option<SessionKey>,
        entries: Vec<Entry>,
        effects: &mut Effects,
    ) {
        let owner = self.owner_of_group(&filter);
        if owner == self.shard {
            self.returned_here(now, &filter, session, key, entries, effects);
        } else {
            effects.forward.push((owner, Word::Return { filter, session, key, entries }));
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
        // What a group of another shard has decided is asked again here.
        let may = |member: &Session| member.peer.is_some() && self.may_receive(member, &entry.message);
        if !subscribed || !member.is_some_and(may) {
            // It left, or lost its right, while the message was on its way: straight back.
            if let Some(filter) = entry.group.clone() {
                self.return_to_group(now, filter, session, None, vec![entry], effects);
            }
            return;
        }
        if entry.guarantee > Guarantee::AtMostOnce {
            return self.enqueue_of_group(now, session.index, entry, effects);
        }
        // It leaves at once or is lost: nobody will settle it.
        self.entry_over(session.index, &entry, effects);
        let Entry { message, guarantee, retain, tags, .. } = entry;
        let terms = Terms { guarantee, retain, tags };
        self.offer(now, session.index, &mut Incoming::new(message, None), terms, effects);
    }
}
