//! What an earlier process has left is put back, fact by fact, before anyone is served.
//!
//! Other shards hear of subscriptions and of entries that go back to their groups. A group may wait for members and
//! entries from any shard, and lets all shards know that it wants messages as soon as it hears of a member. So nothing
//! is freed, no deadline is met and no peer is served until every shard has said everything, and what follows from that.

use super::Broker;
use crate::authorisation::{Authorised, Principal};
use crate::effects::{Effects, Event};
use crate::group::SessionRef;
use crate::identity::Identity;
use crate::message::{Guarantee, Message};
use crate::queue::Entry;
use crate::record::{QueueKey, Record, Restored, RestoredEntry, SessionFact, SessionKey};
use crate::session::{Absence, Inflight};
use crate::shard::{Word, between, receiver, sender};
use crate::time::Now;
use crate::topic::Filter;
use crate::verbs::{Reason, SubscriptionOptions};
use bytestring::ByteString;
use std::sync::Arc;

/// What is kept until all facts are known.
#[derive(Debug, Default)]
pub(crate) struct Restoring {
    /// Sessions that were connected when the process ended.
    connected: Vec<u32>,
    /// Entries that go back to their groups, with the queue where they are.
    returns: Vec<(SessionKey, Vec<Entry>)>,
    /// Messages that were on their way to other shards: the queue, the place, the message.
    passing: Vec<(ByteString, i64, Arc<Message>)>,
    /// What is heard when all is put back, each with the shard that said it: requests, and words that do not belong to
    /// this.
    pub held: Vec<(u16, Word)>,
    largest_epoch: u64,
    /// Whether this shard has been told everything.
    is_told: bool,
    /// How many others have said everything.
    others: u16,
    /// Others that have heard everything and said what follows from it.
    others_heard: Vec<u16>,
}

impl Broker {
    pub(super) fn home_of_fact(&self, restored: &Restored) -> u16 {
        match restored {
            Restored::Session(fact) => self.home_of_client(&fact.key.realm, &fact.key.client),
            Restored::Subscription { session, .. }
            | Restored::Token { session, .. }
            | Restored::Queue { queue: QueueKey::Session(session), .. } => {
                self.home_of_client(&session.realm, &session.client)
            }
            Restored::Queue { queue: QueueKey::Group(text), .. } => match sender(text) {
                Some(shard) => shard % self.shards,
                None => self.place_of(&text[..]),
            },
            Restored::Retained(message) => self.owner_of(&message.topic),
        }
    }

    pub(super) fn put_back(&mut self, now: Now, restored: Restored, effects: &mut Effects) {
        match restored {
            Restored::Session(fact) => self.put_back_session(now, *fact),
            Restored::Subscription { session, filter, options } => {
                match self.find_session(&session.realm, &session.client) {
                    Some(index) => self.put_back_subscription(now, index, &filter, options, effects),
                    None => effects.store.push(Record::Unsubscribed { session, filter }),
                }
            }
            Restored::Token { session, token } => {
                let index = self.find_session(&session.realm, &session.client);
                match index.and_then(|index| self.sessions.get_mut(index)) {
                    Some(found) => {
                        if let Err(position) = found.tokens.binary_search(&token) {
                            found.tokens.insert(position, token);
                        }
                    }
                    None => effects.store.push(Record::TokenReleased { session, token }),
                }
            }
            Restored::Queue { queue, entries } => {
                for entry in &entries {
                    self.next_behind = self.next_behind.max(entry.sequence + 1);
                    self.next_before = self.next_before.min(entry.sequence - 1);
                }
                match queue {
                    QueueKey::Session(key) => self.put_back_queue(key, entries, effects),
                    QueueKey::Group(text) => self.put_back_group(&text, entries, effects),
                }
            }
            Restored::Retained(message) => {
                let topic = message.topic.clone();
                if let Err(why) = self.retained.set(message) {
                    let why = format!("the last value of {topic} is not shown: {why}");
                    effects.events.push(Event::Refused { client: "".into(), reason: Reason::QuotaExceeded, why });
                }
            }
        }
    }

    fn put_back_session(&mut self, now: Now, fact: SessionFact) {
        let SessionFact { key, protocol, principal, epoch, expiry_s, number_max, ends_ns, will, will_due_ns } = fact;
        if self.find_session(&key.realm, &key.client).is_some() {
            return;
        }
        let identity = Arc::new(Identity { name: principal, ..Identity::default() });
        let principal = Principal { identity, client: key.client, protocol, link: self.nowhere.clone() };
        let index = self.insert_session(&key.realm, principal);
        let restoring = self.restoring.get_or_insert_default();
        restoring.largest_epoch = restoring.largest_epoch.max(epoch);
        let Some(session) = self.sessions.get_mut(index) else { return };
        (session.epoch, session.expiry_s, session.number_max, session.stored) = (epoch, expiry_s, number_max, true);
        session.will = will.map(Box::new);
        let (ends, due) = (expiry_s < u32::MAX, session.will.as_ref().map(|will| will.delay_s));
        // Who was connected is absent from now on.
        if (ends && ends_ns.is_none()) || (due.is_some() && will_due_ns.is_none()) {
            restoring.connected.push(index);
        }
        session.absence = Some(Box::new(Absence {
            ends_ns: ends_ns.or(ends.then(|| now.after_s(expiry_s))),
            will_due_ns: will_due_ns.or(due.map(|delay_s| now.after_s(delay_s))),
        }));
        self.set_absence_timers(index);
    }

    fn put_back_subscription(
        &mut self,
        now: Now,
        index: u32,
        filter: &Filter,
        options: SubscriptionOptions,
        effects: &mut Effects,
    ) {
        // Nobody waits for what other shards have to say of it.
        let (operation, mut waits) = (0, 0);
        self.make_subscription(now, index, filter, options, operation, &mut waits, effects);
    }

    /// What waited for a session: entries with a number are on their way, others stay in the store, and those of groups
    /// go back to them unless they must be completed with this session.
    fn put_back_queue(&mut self, key: SessionKey, entries: Vec<RestoredEntry>, effects: &mut Effects) {
        let found = self.find_session(&key.realm, &key.client);
        let mut returned = Vec::new();
        for RestoredEntry { sequence, size_bytes, here, number, received } in entries {
            let group = here.as_ref().and_then(|here| here.terms.group.as_deref()).and_then(Filter::again);
            let session = found.and_then(|index| self.sessions.get_mut(index));
            let entry = here.map(|here| Entry {
                at_group: false,
                group: group.map(Arc::new),
                ..Entry::from_store(sequence, here, None)
            });
            match (entry, session) {
                (Some(entry), Some(session)) if number != 0 && stays(&entry) => {
                    let guarantee = entry.guarantee;
                    session.next_number = if number >= session.number_max { 1 } else { number + 1 };
                    let entry = Some(entry);
                    session.inflight.push_back(Inflight { number, guarantee, received, sent: false, entry });
                    self.statistics.inflight_messages += 1;
                }
                (Some(entry), _) if entry.group.is_some() => returned.push(entry),
                (_, Some(session)) => {
                    session.queue.spill(sequence, size_bytes as usize);
                    self.statistics.queued_messages += 1;
                    self.statistics.queued_bytes += u64::from(size_bytes);
                }
                (_, None) => {
                    let queue = QueueKey::Session(key.clone());
                    effects.store.push(Record::Settled { queue, sequence });
                }
            }
        }
        if !returned.is_empty() {
            self.restoring.get_or_insert_default().returns.push((key, returned));
        }
    }

    fn put_back_group(&mut self, text: &str, entries: Vec<RestoredEntry>, effects: &mut Effects) {
        let restoring = self.restoring.get_or_insert_default();
        if receiver(text).is_some() {
            for RestoredEntry { sequence, here, .. } in entries {
                restoring.passing.extend(here.map(|here| (ByteString::from(text), sequence, here.message)));
            }
            return;
        }
        let Some(filter) = Filter::again(text).filter(Filter::is_shared) else {
            return effects.store.push(Record::QueueClosed(QueueKey::Group(text.into())));
        };
        let index = self.find_or_make_group(&filter);
        let Some(group) = self.groups.get_mut(index) else { return };
        for entry in entries {
            group.queue.spill(entry.sequence, entry.size_bytes as usize);
            self.statistics.queued_messages += 1;
            self.statistics.queued_bytes += u64::from(entry.size_bytes);
        }
    }

    /// This shard has all its facts: what follows from them is said to the others.
    pub(super) fn finish_restoring(&mut self, now: Now, effects: &mut Effects) {
        self.spills = true;
        self.renew_quotas(now);
        let restoring = self.restoring.get_or_insert_default();
        restoring.is_told = true;
        let (connected, returns) = (std::mem::take(&mut restoring.connected), std::mem::take(&mut restoring.returns));
        let passing = std::mem::take(&mut restoring.passing);
        self.next_id = self.next_id.max(restoring.largest_epoch + 1);
        // Another end of the process must not start their clocks anew.
        for index in connected {
            self.record_session(index, effects);
        }
        for (key, entries) in returns {
            self.return_orphans(now, key, entries, effects);
        }
        for (queue, place, message) in passing {
            self.pass_on(queue, place, message, effects);
        }
        self.tell_all(&Word::Restored { heard: false }, effects);
        self.go_on_restoring(now, effects);
    }

    /// Entries of groups go back to them. No member of a group has the session's place here, so nobody's credit changes.
    fn return_orphans(&mut self, now: Now, key: SessionKey, entries: Vec<Entry>, effects: &mut Effects) {
        let nobody = SessionRef { shard: self.shard, index: u32::MAX, id: 0 };
        for (filter, entries) in super::groups::by_group(entries) {
            self.return_to_group(now, filter, nobody, Some(key.clone()), entries, effects);
        }
    }

    /// A message that was on its way to another shard goes there again.
    fn pass_on(&mut self, queue: ByteString, place: i64, message: Arc<Message>, effects: &mut Effects) {
        let retain =
            |shard| message.retain && message.topic.queue().is_none() && self.owner_of(&message.topic) == shard;
        let own_queue = |shard| between(self.shard, shard) == QueueKey::Group(queue.clone());
        let forward = |shard, place| {
            let (retain, message) = (retain(shard), Authorised::by_broker(message.clone()));
            Word::Forward { message, retain, place, operation: 0 }
        };
        match receiver(&queue).filter(|to| *to < self.shards && *to != self.shard && own_queue(*to)) {
            Some(to) => effects.forward.push((to, forward(to, place))),
            // There are fewer shards than there were: who was there may be anywhere.
            None => {
                let words: Vec<_> = (0..self.shards).map(|to| (to, forward(to, 0))).collect();
                for (to, word) in words {
                    match &mut self.restoring {
                        Some(restoring) if to == self.shard => restoring.held.push((to, word)),
                        _ => effects.forward.push((to, word)),
                    }
                }
                effects.store.push(Record::Settled { queue: QueueKey::Group(queue), sequence: place });
            }
        }
    }

    /// Keeps a word until everything is put back: messages whose groups or subscribers may be missing, and what a shard
    /// says that already serves.
    pub(super) fn hold_until_restored(&mut self, from: u16, word: Word) -> Option<Word> {
        match &mut self.restoring {
            Some(restoring) if matches!(word, Word::Forward { .. }) || restoring.others_heard.contains(&from) => {
                restoring.held.push((from, word));
                None
            }
            _ => Some(word),
        }
    }

    /// Another shard has said everything that follows from its facts, or from everyone's.
    pub(super) fn other_is_restored(&mut self, now: Now, from: u16, heard: bool, effects: &mut Effects) {
        let restoring = self.restoring.get_or_insert_default();
        if heard {
            restoring.others_heard.push(from);
            self.serve_when_restored(now, effects);
        } else {
            restoring.others += 1;
            self.go_on_restoring(now, effects);
        }
    }

    /// When all have said everything, this shard has said what follows from it as well (which groups it has): words arrive
    /// in order.
    fn go_on_restoring(&mut self, now: Now, effects: &mut Effects) {
        let others = self.shards - 1;
        if self.restoring.as_ref().is_some_and(|restoring| restoring.is_told && restoring.others == others) {
            self.tell_all(&Word::Restored { heard: true }, effects);
        }
        self.serve_when_restored(now, effects);
    }

    fn serve_when_restored(&mut self, now: Now, effects: &mut Effects) {
        let others = usize::from(self.shards) - 1;
        let finished = self.restoring.take_if(|restoring| restoring.is_told && restoring.others_heard.len() >= others);
        let Some(restoring) = finished else { return };
        for (from, word) in restoring.held {
            self.hear(now, from, word, effects);
        }
        // The policy may be another one than when the process ended.
        self.review_all();
        for index in self.groups.indices() {
            self.pump(now, index, effects);
            self.free_if_idle(index, effects);
        }
    }
}

/// A delivery that must be completed with the session that has it, even if a group had it before.
fn stays(entry: &Entry) -> bool {
    entry.group.is_none() || entry.guarantee == Guarantee::ExactlyOnce
}
