//! What a store must do, in plain maps: the reference that the real one, and recovery in the broker, are compared with.

use althing_core::record::{
    Load, Loaded, LoadedEntry, QueueKey, Record, Restored, RestoredEntry, SessionFact, SessionKey, Terms,
};
use althing_core::verbs::SubscriptionOptions;
use althing_core::{Filter, Message, Topic};
use althing_store::Store;
use althing_store::disk::Disk;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Everything that holds after some records, in order of their keys. Two ledgers are equal when a broker could not
/// tell them apart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ledger {
    sessions: BTreeMap<SessionKey, SessionFact>,
    subscriptions: BTreeMap<(SessionKey, Filter), SubscriptionOptions>,
    tokens: BTreeSet<(SessionKey, u32)>,
    /// None of them is empty.
    queues: BTreeMap<QueueKey, BTreeMap<i64, Kept>>,
    retained: BTreeMap<Topic, Arc<Message>>,
}

/// An entry of a queue.
#[derive(Clone, Debug, PartialEq)]
struct Kept {
    message: Arc<Message>,
    terms: Terms,
    /// 0 = none.
    number: u32,
    received: bool,
}

impl Ledger {
    /// Takes one step's records, or several steps', in order.
    pub fn apply_all<'a>(&mut self, records: impl IntoIterator<Item = &'a Record>) {
        records.into_iter().for_each(|record| self.apply(record));
    }

    /// Takes one record.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::Session(fact) => {
                self.sessions.insert(fact.key.clone(), (**fact).clone());
            }
            Record::SessionClosed(key) => {
                self.sessions.remove(key);
            }
            Record::Subscribed { session, filter, options } => {
                self.subscriptions.insert((session.clone(), filter.clone()), *options);
            }
            Record::Unsubscribed { session, filter } => {
                self.subscriptions.remove(&(session.clone(), filter.clone()));
            }
            Record::TokenHeld { session, token } => {
                self.tokens.insert((session.clone(), *token));
            }
            Record::TokenReleased { session, token } => {
                self.tokens.remove(&(session.clone(), *token));
            }
            Record::Retained { topic, message: Some(message) } => {
                self.retained.insert(topic.clone(), message.clone());
            }
            Record::Retained { topic, message: None } => {
                self.retained.remove(topic);
            }
            _ => self.apply_to_queue(record),
        }
    }

    fn apply_to_queue(&mut self, record: &Record) {
        match record {
            Record::Queued { queue, sequence, message, terms } => {
                let kept = Kept { message: message.clone(), terms: terms.clone(), number: 0, received: false };
                self.queues.entry(queue.clone()).or_default().insert(*sequence, kept);
            }
            Record::Moved { from, from_sequence, queue, sequence, terms } => {
                if let Some(moved) = self.remove(from, *from_sequence) {
                    let kept = Kept { message: moved.message, terms: terms.clone(), number: 0, received: false };
                    self.queues.entry(queue.clone()).or_default().insert(*sequence, kept);
                }
            }
            Record::Numbered { session, sequence, number } => {
                if let Some(kept) = self.entry_of(session, *sequence) {
                    kept.number = *number;
                }
            }
            Record::Received { session, sequence } => {
                if let Some(kept) = self.entry_of(session, *sequence) {
                    kept.received = true;
                }
            }
            Record::Settled { queue, sequence } => {
                self.remove(queue, *sequence);
            }
            Record::QueueClosed(queue) => {
                if let Some(entries) = self.queues.get_mut(queue) {
                    let is_session = matches!(queue, QueueKey::Session(_));
                    entries.retain(|_, kept| is_session && kept.terms.group.is_some());
                    self.forget_when_empty(queue);
                }
            }
            _ => unreachable!("{record:?} is about no queue"),
        }
    }

    fn entry_of(&mut self, session: &SessionKey, sequence: i64) -> Option<&mut Kept> {
        self.queues.get_mut(&QueueKey::Session(session.clone()))?.get_mut(&sequence)
    }

    fn remove(&mut self, queue: &QueueKey, sequence: i64) -> Option<Kept> {
        let removed = self.queues.get_mut(queue)?.remove(&sequence);
        self.forget_when_empty(queue);
        removed
    }

    fn forget_when_empty(&mut self, queue: &QueueKey) {
        if self.queues.get(queue).is_some_and(BTreeMap::is_empty) {
            self.queues.remove(queue);
        }
    }

    /// What a store says at the start: sessions first, everything in the order of its key.
    pub fn restored(&self) -> Vec<Restored> {
        let sessions = self.sessions.values().map(|fact| Restored::Session(Box::new(fact.clone())));
        let subscriptions = self.subscriptions.iter().map(|((session, filter), options)| Restored::Subscription {
            session: session.clone(),
            filter: filter.clone(),
            options: *options,
        });
        let tokens =
            self.tokens.iter().map(|(session, token)| Restored::Token { session: session.clone(), token: *token });
        let queues = self.queues.iter().map(|(queue, entries)| Restored::Queue {
            queue: queue.clone(),
            entries: entries.iter().map(|(sequence, kept)| kept.restored(*sequence)).collect(),
        });
        let retained = self.retained.values().cloned().map(Restored::Retained);
        sessions.chain(subscriptions).chain(tokens).chain(queues).chain(retained).collect()
    }

    /// What is known of a session.
    pub fn session(&self, key: &SessionKey) -> Option<&SessionFact> {
        self.sessions.get(key)
    }

    /// The entries of a `Load` that are still there.
    pub fn load(&self, load: Load) -> Loaded {
        let queue = self.queues.get(&load.queue);
        let found = |sequence: &i64| Some((*sequence, queue?.get(sequence)?.loaded()));
        let entries = load.sequences.iter().filter_map(found).collect();
        Loaded { queue: load.queue, sequences: load.sequences, entries }
    }

    /// Reads everything out of a store that has just been opened: what it restores, and by loading what it does not say at once.
    /// Both errors are told apart by nobody here, so they come as text.
    ///
    /// # Errors
    /// Those of `restore` and `load`.
    pub fn read_from<D: Disk>(store: &mut Store<D>) -> Result<Self, String> {
        let mut facts = Vec::new();
        store.restore(&mut |fact| facts.push(fact)).map_err(|error| error.to_string())?;
        Self::read_entries(&facts, store)
    }

    /// The same, from what the store has restored already.
    ///
    /// # Errors
    /// Those of `load`.
    pub fn read_entries<D: Disk>(facts: &[Restored], store: &mut Store<D>) -> Result<Self, String> {
        let sessions_end = facts.iter().take_while(|fact| matches!(fact, Restored::Session(_))).count();
        let late = facts[sessions_end..].iter().find(|fact| matches!(fact, Restored::Session(_)));
        assert!(late.is_none(), "a session that does not come first: {late:?}");
        let mut ledger = Self::default();
        for fact in facts.iter().cloned() {
            match fact {
                Restored::Session(fact) => ledger.apply(&Record::Session(fact)),
                Restored::Subscription { session, filter, options } => {
                    ledger.apply(&Record::Subscribed { session, filter, options });
                }
                Restored::Token { session, token } => ledger.apply(&Record::TokenHeld { session, token }),
                Restored::Queue { queue, entries } => ledger.read_queue(queue, entries, store)?,
                Restored::Retained(message) => {
                    ledger.apply(&Record::Retained { topic: message.topic.clone(), message: Some(message) });
                }
            }
        }
        Ok(ledger)
    }

    fn read_queue<D: Disk>(
        &mut self,
        queue: QueueKey,
        entries: Vec<RestoredEntry>,
        store: &mut Store<D>,
    ) -> Result<(), String> {
        assert!(entries.is_sorted_by(|one, next| one.sequence < next.sequence), "{queue:?} is not in order");
        let sequences: Vec<i64> = entries.iter().map(|entry| entry.sequence).collect();
        let load = Load { queue: queue.clone(), sequences: sequences.clone() };
        let loaded = store.load(load).map_err(|error| error.to_string())?;
        let found: Vec<i64> = loaded.entries.iter().map(|(sequence, _)| *sequence).collect();
        assert_eq!((loaded.queue, loaded.sequences, &found), (queue.clone(), sequences.clone(), &sequences));
        let kept = entries.into_iter().zip(loaded.entries).map(|(entry, (sequence, loaded))| {
            let LoadedEntry { message, terms } = loaded.clone();
            let kept = Kept { message, terms, number: entry.number, received: entry.received };
            let expected = kept.restored(sequence);
            assert_eq!(entry.here.is_some(), expected.here.is_some(), "{entry:?} of {queue:?}");
            assert!(entry.here.iter().all(|here| *here == loaded), "{entry:?} was {loaded:?} when it was loaded");
            let error_bytes = entry.size_bytes.abs_diff(expected.size_bytes);
            assert!(error_bytes <= 64 + expected.size_bytes / 2, "{entry:?} is not close to {}", expected.size_bytes);
            (sequence, kept)
        });
        self.queues.insert(queue.clone(), kept.collect());
        self.forget_when_empty(&queue);
        Ok(())
    }

    /// All deadlines, on the monotonic clock in nanoseconds, in an order that depends on nothing else.
    pub fn deadlines(&self) -> Vec<u64> {
        let mut deadlines = Vec::new();
        self.clone().for_each_deadline(&mut |deadline| deadlines.push(*deadline));
        deadlines
    }

    /// The same with every deadline put to 0: what does not depend on the clock.
    pub fn without_deadlines(&self) -> Self {
        let mut timeless = self.clone();
        timeless.for_each_deadline(&mut |deadline| *deadline = 0);
        timeless
    }

    /// What is here and not there, and there and not here, a line each, for people.
    pub fn difference(&self, other: &Self) -> String {
        let (here, there) = (self.lines(), other.lines());
        let only = |mark: char, lines: &BTreeSet<String>, others: &BTreeSet<String>| {
            lines.difference(others).take(12).map(|line| format!("{mark} {line:.300}\n")).collect::<String>()
        };
        only('+', &here, &there) + &only('-', &there, &here)
    }

    fn lines(&self) -> BTreeSet<String> {
        let entries = |(queue, entries): (&QueueKey, &BTreeMap<i64, Kept>)| {
            entries.iter().map(|(sequence, kept)| format!("{queue:?} {sequence}: {kept:?}")).collect::<Vec<_>>()
        };
        let facts = self.restored().into_iter().filter(|fact| !matches!(fact, Restored::Queue { .. }));
        self.queues.iter().flat_map(entries).chain(facts.map(|fact| format!("{fact:?}"))).collect()
    }

    fn for_each_deadline(&mut self, act: &mut dyn FnMut(&mut u64)) {
        for fact in self.sessions.values_mut() {
            fact.ends_ns.iter_mut().chain(&mut fact.will_due_ns).for_each(&mut *act);
            if let Some(will) = &mut fact.will {
                deadline_of(&mut will.message, act);
            }
        }
        let queued = self.queues.values_mut().flat_map(BTreeMap::values_mut).map(|kept| &mut kept.message);
        queued.chain(self.retained.values_mut()).for_each(|message| deadline_of(message, act));
    }

    /// All queues with the places of their entries, in order: what a test may ask to load.
    pub fn queues(&self) -> impl Iterator<Item = (&QueueKey, impl Iterator<Item = i64>)> {
        self.queues.iter().map(|(queue, entries)| (queue, entries.keys().copied()))
    }
}

fn deadline_of(message: &mut Arc<Message>, act: &mut dyn FnMut(&mut u64)) {
    if message.expires_ns.is_some() {
        Arc::make_mut(message).expires_ns.iter_mut().for_each(act);
    }
}

impl Kept {
    fn loaded(&self) -> LoadedEntry {
        LoadedEntry { message: self.message.clone(), terms: self.terms.clone() }
    }

    fn restored(&self, sequence: i64) -> RestoredEntry {
        let is_wanted_here = self.number > 0 || self.terms.group.is_some();
        RestoredEntry {
            sequence,
            size_bytes: self.message.size_bytes() as u32,
            here: is_wanted_here.then(|| self.loaded()),
            number: self.number,
            received: self.received,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::house::{filter, topic};
    use bytes::Bytes;

    fn session(client: &str) -> SessionKey {
        SessionKey { realm: "".into(), client: client.to_owned().into() }
    }

    fn fact(client: &str, epoch: u64) -> Box<SessionFact> {
        Box::new(SessionFact {
            key: session(client),
            protocol: "mqtt",
            principal: None,
            epoch,
            expiry_s: 60,
            number_max: 65_535,
            ends_ns: None,
            will: None,
            will_due_ns: None,
        })
    }

    fn of_session(client: &str) -> QueueKey {
        QueueKey::Session(session(client))
    }

    fn message(payload: &'static str) -> Arc<Message> {
        Arc::new(Message::new(topic("t"), Bytes::from_static(payload.as_bytes())))
    }

    fn queued(queue: &QueueKey, sequence: i64, payload: &'static str, group: Option<&'static str>) -> Record {
        let terms = Terms { group: group.map(Into::into), ..Terms::default() };
        Record::Queued { queue: queue.clone(), sequence, message: message(payload), terms }
    }

    fn after(records: &[Record]) -> Ledger {
        let mut ledger = Ledger::default();
        ledger.apply_all(records);
        ledger
    }

    /// The entries of the only queue.
    fn entries(ledger: &Ledger) -> Vec<RestoredEntry> {
        match &ledger.restored()[..] {
            [Restored::Queue { entries, .. }] => entries.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_last_word_about_a_fact_holds_and_sessions_come_first() {
        let (key, wanted) = (session("a"), filter("t/#"));
        let options = SubscriptionOptions { tag: 7, ..Default::default() };
        let subscribed = |options| Record::Subscribed { session: key.clone(), filter: wanted.clone(), options };
        let held = |token| Record::TokenHeld { session: key.clone(), token };
        let retained = |message| Record::Retained { topic: topic("t"), message };
        let mut ledger = after(&[
            retained(Some(message("old"))),
            retained(Some(message("new"))),
            held(3),
            held(2),
            held(2),
            subscribed(SubscriptionOptions::default()),
            subscribed(options),
            Record::Session(fact("b", 1)),
            Record::Session(fact("a", 1)),
            Record::Session(fact("a", 2)),
        ]);
        let expected = [
            Restored::Session(fact("a", 2)),
            Restored::Session(fact("b", 1)),
            Restored::Subscription { session: key.clone(), filter: wanted.clone(), options },
            Restored::Token { session: key.clone(), token: 2 },
            Restored::Token { session: key.clone(), token: 3 },
            Restored::Retained(message("new")),
        ];
        assert_eq!(ledger.restored(), expected);
        ledger.apply_all(&[
            Record::SessionClosed(session("b")),
            Record::TokenReleased { session: key.clone(), token: 2 },
            Record::TokenReleased { session: key.clone(), token: 3 },
            Record::Unsubscribed { session: key, filter: wanted },
            retained(None),
        ]);
        assert_eq!(ledger.restored(), expected[..1]);
    }

    #[test]
    fn a_queue_is_in_order_and_only_what_the_broker_wants_at_once_is_here() {
        let queue = of_session("a");
        let mut ledger = after(&[
            queued(&queue, 2, "second", None),
            queued(&queue, 1, "first", None),
            queued(&queue, -1, "came back", Some("$share/g/t")),
            Record::Numbered { session: session("a"), sequence: 1, number: 9 },
            Record::Received { session: session("a"), sequence: 1 },
            Record::Received { session: session("a"), sequence: 5 },
        ]);
        let seen: Vec<_> =
            entries(&ledger).iter().map(|one| (one.sequence, one.number, one.received, one.here.is_some())).collect();
        assert_eq!(seen, [(-1, 0, false, true), (1, 9, true, true), (2, 0, false, false)]);
        let loaded = ledger.load(Load { queue: queue.clone(), sequences: vec![1, 2, 3] });
        let payloads: Vec<_> = loaded.entries.iter().map(|(at, entry)| (*at, entry.message.payload.clone())).collect();
        assert_eq!(payloads, [(1, Bytes::from("first")), (2, Bytes::from("second"))]);
        for sequence in [-1, 1, 2, 2] {
            ledger.apply(&Record::Settled { queue: queue.clone(), sequence });
        }
        assert_eq!(ledger, Ledger::default());
    }

    #[test]
    fn what_moves_is_in_one_place_and_has_no_number() {
        let (group, member) = (QueueKey::Group("$share/g/t".into()), of_session("a"));
        let moved = |from: &QueueKey, to: &QueueKey| Record::Moved {
            from: from.clone(),
            from_sequence: 1,
            queue: to.clone(),
            sequence: 1,
            terms: Terms { tags: [4].into_iter().collect(), ..Terms::default() },
        };
        let mut ledger = after(&[
            queued(&group, 1, "x", None),
            moved(&group, &member),
            Record::Numbered { session: session("a"), sequence: 1, number: 1 },
            moved(&member, &group),
        ]);
        let keys: Vec<_> = ledger.queues().map(|(queue, at)| (queue.clone(), at.collect::<Vec<_>>())).collect();
        assert_eq!(keys, [(group.clone(), vec![1])]);
        let [entry] = &entries(&ledger)[..] else { panic!("one entry") };
        assert_eq!((entry.number, entry.here.is_some()), (0, false));
        let before = ledger.clone();
        ledger.apply(&moved(&member, &group));
        assert_eq!(ledger, before, "nothing moves from where nothing is");
    }

    #[test]
    fn a_closed_queue_keeps_only_what_a_session_owes_to_a_group() {
        let (of_group, of_session) = (QueueKey::Group("$share/g/t".into()), of_session("a"));
        let both = |queue: &QueueKey| {
            let records = [queued(queue, 1, "own", None), queued(queue, 2, "owed", Some("$share/g/t"))];
            after(&[&records[..], &[Record::QueueClosed(queue.clone())]].concat())
        };
        assert_eq!(entries(&both(&of_session)).iter().map(|one| one.sequence).collect::<Vec<_>>(), [2]);
        assert_eq!(both(&of_group), Ledger::default());
    }
}
