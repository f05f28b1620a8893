//! Everything that a store holds, one thing after the other, past what can't be read.

use crate::codec::{BodyAt, Kind, Malformed, decode_body, decode_fact, read_queue_key, read_terms};
use crate::disk::Disk;
use crate::error::Failure;
use crate::index::{Entry, Fact};
use crate::log::{Place, segment_name};
use crate::tools::{Damage, Inspection, Progress};
use althing_core::message::Message;
use althing_core::record::{QueueKey, Restored, Terms};
use std::sync::Arc;

/// One thing that a store holds.
#[derive(Debug)]
pub(super) enum Held {
    /// A session, a subscription, a token or a retained value; never a queue.
    Fact(Restored),
    Entry(Box<HeldEntry>),
}

/// An entry of a queue with its message. Entries with the same message that follow each other share it.
#[derive(Debug)]
pub(super) struct HeldEntry {
    pub queue: QueueKey,
    pub sequence: i64,
    pub message: Arc<Message>,
    pub terms: Terms,
    pub number: u32,
    pub received: bool,
}

/// In which order entries come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Queue by queue.
    Queues,
    /// As they lie in the log, so that those with the same message follow each other.
    Places,
}

/// One step of progress is told for so many.
const TOLD_EVERY: u64 = 1024;

impl<D: Disk> Inspection<D> {
    /// Shows what the store holds: sessions, other facts, entries. What can't be read becomes damage.
    pub(super) fn contents<E>(
        &mut self,
        order: Order,
        tell: &mut dyn FnMut(Progress),
        take: &mut dyn FnMut(Held) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut facts: Vec<(u128, Fact)> = self.index.facts().collect();
        facts.sort_unstable_by_key(|(_, fact)| (fact.kind != Kind::Session, fact.at.place));
        let mut entries = self.entries();
        if order == Order::Places {
            entries.sort_unstable_by_key(|(_, entry)| entry.body.place);
        }
        let total = (facts.len() + entries.len()) as u64;
        let mut done = 0;
        let mut one_more = || {
            if done % TOLD_EVERY == 0 {
                tell(Progress { action: "check", done, total });
            }
            done += 1;
        };
        for (hash, fact) in facts {
            one_more();
            if let Some(fact) = self.fact(hash, fact) {
                take(Held::Fact(fact))?;
            }
        }
        let mut last: Option<(Place, Arc<Message>)> = None;
        for (slot, entry) in entries {
            one_more();
            if let Some(held) = self.entry(slot, entry, &mut last) {
                take(Held::Entry(Box::new(held)))?;
            }
        }
        tell(Progress { action: "check", done: total, total });
        Ok(())
    }

    /// All entries with the slots of their queues, queue by queue.
    fn entries(&self) -> Vec<(u32, Entry)> {
        let queues = self.index.queues().iter().enumerate();
        queues.flat_map(|(slot, queue)| queue.entries().iter().map(move |entry| (slot as u32, *entry))).collect()
    }

    fn fact(&mut self, hash: u128, fact: Fact) -> Option<Restored> {
        let affected = match fact.kind {
            Kind::Session => "a session",
            Kind::Subscription => "a subscription",
            Kind::Token => "a token",
            Kind::Retained => "a retained message",
        };
        let bytes = self.bytes(fact.at, affected)?;
        let decoded = decode_fact(fact.kind, &bytes, &self.context).and_then(|(restored, key)| {
            let is_it = self.index.fact_hash(fact.kind, key) == hash;
            if is_it { Ok(restored) } else { Err(Malformed::Value("fact that was looked for")) }
        });
        let restored = self.or_damage(decoded, fact.at, affected)?;
        match fact.kind {
            Kind::Session => self.summary.sessions += 1,
            Kind::Subscription => self.summary.subscriptions += 1,
            Kind::Token => self.summary.tokens += 1,
            Kind::Retained => self.summary.retained += 1,
        }
        Some(restored)
    }

    fn entry(&mut self, slot: u32, entry: Entry, last: &mut Option<(Place, Arc<Message>)>) -> Option<HeldEntry> {
        let queue = &self.index.queues()[slot as usize];
        let flight = queue.flight(entry.sequence);
        let key = read_queue_key(&queue.key);
        let terms = read_terms(self.index.terms(&entry));
        let key = self.or_damage(key, entry.body, "an entry of a queue whose name is lost")?;
        let affected = format!("the entry {} of {}", entry.sequence, name(&key));
        let terms = self.or_damage(terms, entry.body, &affected)?;
        let message = match last {
            Some((place, message)) if *place == entry.body.place => message.clone(),
            _ => {
                let bytes = self.bytes(entry.body, &affected)?;
                let message = decode_body(&bytes, &self.context);
                Arc::new(self.or_damage(message, entry.body, &affected)?)
            }
        };
        *last = Some((entry.body.place, message.clone()));
        self.summary.entries += 1;
        Some(HeldEntry {
            queue: key,
            sequence: entry.sequence,
            message,
            terms,
            number: flight.map_or(0, |flight| flight.number),
            received: flight.is_some_and(|flight| flight.received),
        })
    }

    /// The bytes of an item, or damage.
    fn bytes(&mut self, at: BodyAt, affected: &str) -> Option<Vec<u8>> {
        let end = u64::from(at.place.offset) + u64::from(at.length);
        let is_there = self.log.segment_bytes(at.place.segment).is_some_and(|length| end <= u64::from(length));
        let read = if is_there {
            let mut bytes = vec![0; at.length as usize];
            self.log.read(at.place, &mut bytes).map(|()| bytes).map_err(|Failure { error, .. }| error)
        } else {
            Err("the file is missing or ends before this place".to_owned())
        };
        read.map_err(|what| self.lost(at, what, affected)).ok()
    }

    fn or_damage<T>(&mut self, decoded: Result<T, Malformed>, at: BodyAt, affected: &str) -> Option<T> {
        decoded.map_err(|malformed| self.lost(at, malformed.to_string(), affected)).ok()
    }

    fn lost(&mut self, at: BodyAt, what: String, affected: &str) {
        let (file, offset) = (segment_name(at.place.segment), u64::from(at.place.offset));
        self.damaged(Damage { file, offset, what, affected: affected.to_owned() });
    }
}

/// The name of a queue for people.
pub(super) fn name(queue: &QueueKey) -> String {
    match queue {
        QueueKey::Session(session) if session.realm.is_empty() => format!("session {:?}", &session.client[..]),
        QueueKey::Session(session) => format!("session {:?} of realm {:?}", &session.client[..], &session.realm[..]),
        QueueKey::Group(filter) => format!("group {:?}", &filter[..]),
    }
}
