//! Random steps of records, as brokers write them: sessions that come and go, messages that wait in one queue or in many,
//! move and are settled; now and then about something that is not there any more.

use crate::house::{filter, topic};
use crate::ledger::Ledger;
use althing_core::record::{QueueKey, Record, Restored, SessionFact, SessionKey, StoredWill, Terms};
use althing_core::time::{MILLISECOND_NS, SECOND_NS};
use althing_core::verbs::{RetainHandling, SubscriptionOptions};
use althing_core::{Entropy, Guarantee, Message, Now, Origin, Properties};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

const CLIENTS: [&str; 5] = ["a", "b", "c", "a longer name than most have", "ü"];
const GROUPS: [&str; 3] = ["$share/g/t/#", "$share/h/+", "$queue/jobs"];
const TOPICS: [&str; 6] = ["t", "t/a", "t/b", "u", "a/very/long/topic/name/with/many/levels", "$queue/jobs"];
const FILTERS: [&str; 5] = ["t/#", "+", "u", "t/a", "$share/g/t/#"];

/// Who writes.
#[derive(Debug)]
pub struct Scribe {
    entropy: Entropy,
    /// What holds when everything written so far holds.
    ledger: Ledger,
    /// The places that are next at the end and at the front of each queue.
    places: BTreeMap<QueueKey, (i64, i64)>,
    epoch: u64,
    /// The largest payload, in bytes.
    payload_bytes_max: u64,
}

impl Scribe {
    /// Writes for a store that is empty.
    pub fn new(seed: u64, payload_bytes_max: u64) -> Self {
        Self {
            entropy: Entropy::new(seed),
            ledger: Ledger::default(),
            places: BTreeMap::new(),
            epoch: 0,
            payload_bytes_max,
        }
    }

    /// What holds when everything written so far holds.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Goes on after a restart from what was found there, with places that the lost records may have had.
    pub fn restart(&mut self, found: Ledger) {
        self.places = found
            .queues()
            .map(|(queue, places)| {
                let places: Vec<i64> = places.collect();
                let first = places.first().copied().unwrap_or(0).min(0);
                (queue.clone(), (places.last().copied().unwrap_or(0).max(0) + 1, first - 1))
            })
            .collect();
        self.ledger = found;
    }

    /// The records of one step.
    pub fn step(&mut self, now: Now) -> Vec<Record> {
        let records = match self.below(20) {
            0 | 1 => self.connect(now),
            2 => self.close_session(),
            3 | 4 => self.subscription(),
            5..=10 => self.publish(now),
            11 | 12 => self.move_entry(),
            13 => self.number(),
            14 => self.clear(),
            _ => self.settle(),
        };
        self.ledger.apply_all(&records);
        records
    }

    /// The records of a step that needs no room for long.
    pub fn settling_step(&mut self) -> Vec<Record> {
        let records = if self.one_in(4) { self.clear() } else { self.settle() };
        self.ledger.apply_all(&records);
        records
    }

    /// The end of everything that holds.
    pub fn farewell(&mut self) -> Vec<Record> {
        let mut records = Vec::new();
        for fact in self.ledger.restored() {
            match fact {
                Restored::Session(fact) => records.push(Record::SessionClosed(fact.key)),
                Restored::Subscription { session, filter, .. } => {
                    records.push(Record::Unsubscribed { session, filter });
                }
                Restored::Token { session, token } => records.push(Record::TokenReleased { session, token }),
                Restored::Queue { queue, entries } => records
                    .extend(entries.iter().map(|one| Record::Settled { queue: queue.clone(), sequence: one.sequence })),
                Restored::Retained(message) => {
                    records.push(Record::Retained { topic: message.topic.clone(), message: None });
                }
            }
        }
        self.ledger.apply_all(&records);
        records
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.entropy.below(bound)
    }

    fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    fn choose<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    fn session(&mut self) -> SessionKey {
        let realm = if self.one_in(4) { "realm" } else { "" };
        SessionKey { realm: realm.into(), client: self.choose(&CLIENTS).into() }
    }

    fn queue(&mut self) -> QueueKey {
        if self.one_in(3) { QueueKey::Group(self.choose(&GROUPS).into()) } else { QueueKey::Session(self.session()) }
    }

    /// A moment from now on, or shortly before.
    fn deadline_ns(&mut self, now: Now) -> u64 {
        match self.below(4) {
            0 => u64::MAX,
            1 => now.mono_ns.saturating_sub(self.below(SECOND_NS)),
            _ => now.mono_ns + self.below(1_000_000) * MILLISECOND_NS + self.below(MILLISECOND_NS),
        }
    }

    fn message(&mut self, now: Now) -> Arc<Message> {
        let most = if self.one_in(6) { self.payload_bytes_max } else { self.payload_bytes_max.min(60) };
        let length = self.below(most + 1);
        let (start, step) = (self.below(256) as u8, self.below(2) as u8);
        let payload: Vec<u8> = (0..length).map(|at| start.wrapping_add(step.wrapping_mul(at as u8))).collect();
        let mut message = Message::new(topic(self.choose(&TOPICS)), Bytes::from(payload));
        message.guarantee = self.choose(&[Guarantee::AtMostOnce, Guarantee::AtLeastOnce, Guarantee::ExactlyOnce]);
        message.retain = self.one_in(3);
        message.expires_ns = self.one_in(3).then(|| self.deadline_ns(now));
        message.properties = self.one_in(4).then(|| {
            Arc::new(Properties {
                content_type: self.one_in(2).then(|| "text/plain".into()),
                payload_is_utf8: self.choose(&[None, Some(false), Some(true)]),
                response_topic: self.one_in(2).then(|| topic("answers")),
                correlation_data: self.one_in(2).then(|| Bytes::from_static(&[0, 1, 2, 255])),
                user: (0..self.below(3)).map(|_| ("key".into(), "".into())).collect(),
                priority: self.one_in(2).then_some(7),
            })
        });
        message.origin = self.one_in(2).then(|| {
            Arc::new(Origin {
                protocol: self.choose(&PROTOCOLS),
                client: self.choose(&CLIENTS).into(),
                principal: self.one_in(2).then(|| "principal".into()),
                address: self.one_in(3).then(|| "address".into()),
                by_proof: self.one_in(4),
            })
        });
        Arc::new(message)
    }

    fn terms(&mut self, group: Option<&str>) -> Terms {
        Terms {
            guarantee: self.choose(&[Guarantee::AtLeastOnce, Guarantee::ExactlyOnce]),
            retain: self.one_in(5),
            tags: (0..self.below(4)).map(|tag| tag as u32 * 1_000_000).collect(),
            group: group.map(|group| group.to_owned().into()),
        }
    }

    fn next_place(&mut self, queue: &QueueKey, at_front: bool) -> i64 {
        let (back, front) = self.places.entry(queue.clone()).or_insert((1, -1));
        let place = if at_front { front } else { back };
        let taken = *place;
        *place += if at_front { -1 } else { 1 };
        taken
    }

    fn connect(&mut self, now: Now) -> Vec<Record> {
        self.epoch += 1;
        let will = self.one_in(3).then(|| StoredWill {
            message: self.message(now),
            delay_s: self.below(100) as u32,
            expiry_s: self.one_in(2).then_some(60),
        });
        let fact = SessionFact {
            key: self.session(),
            protocol: self.choose(&PROTOCOLS),
            principal: self.one_in(2).then(|| "principal".into()),
            epoch: self.epoch,
            expiry_s: self.choose(&[1, 60, u32::MAX]),
            number_max: self.choose(&[65_535, u32::MAX]),
            ends_ns: self.one_in(2).then(|| self.deadline_ns(now)),
            will,
            will_due_ns: self.one_in(3).then(|| self.deadline_ns(now)),
        };
        vec![Record::Session(Box::new(fact))]
    }

    fn close_session(&mut self) -> Vec<Record> {
        let session = self.session();
        let mut records = Vec::new();
        for fact in self.ledger.restored() {
            match fact {
                Restored::Subscription { session: owner, filter, .. } if owner == session => {
                    records.push(Record::Unsubscribed { session: owner, filter });
                }
                Restored::Token { session: owner, token } if owner == session => {
                    records.push(Record::TokenReleased { session: owner, token });
                }
                _ => {}
            }
        }
        records.push(Record::QueueClosed(QueueKey::Session(session.clone())));
        records.push(Record::SessionClosed(session));
        records
    }

    fn subscription(&mut self) -> Vec<Record> {
        let mut records = Vec::new();
        for _ in 0..1 + self.below(3) {
            let (session, filter) = (self.session(), filter(self.choose(&FILTERS)));
            records.push(if self.one_in(3) {
                Record::Unsubscribed { session, filter }
            } else {
                let options = SubscriptionOptions {
                    guarantee: self.choose(&[Guarantee::AtMostOnce, Guarantee::ExactlyOnce]),
                    no_local: self.one_in(2),
                    retain_as_published: self.one_in(2),
                    retain_handling: self.choose(&[
                        RetainHandling::Always,
                        RetainHandling::IfNew,
                        RetainHandling::Never,
                    ]),
                    tag: self.choose(&[0, 7, u32::MAX]),
                };
                Record::Subscribed { session, filter, options }
            });
        }
        records
    }

    /// One message into some queues, perhaps kept as a last value, perhaps under a token.
    fn publish(&mut self, now: Now) -> Vec<Record> {
        let message = self.message(now);
        let mut records = Vec::new();
        for _ in 0..self.below(5) {
            let queue = self.queue();
            let sequence = self.next_place(&queue, false);
            let terms = self.terms(None);
            records.push(Record::Queued { queue, sequence, message: message.clone(), terms });
        }
        if message.retain {
            records.push(Record::Retained { topic: message.topic.clone(), message: Some(message) });
        }
        if self.one_in(3) {
            records.push(Record::TokenHeld { session: self.session(), token: 1 + self.below(5) as u32 });
        }
        records
    }

    /// An entry that is there, or that was never there.
    fn entry(&mut self) -> (QueueKey, i64) {
        let all: Vec<(QueueKey, i64)> = self
            .ledger
            .queues()
            .flat_map(|(queue, places)| places.map(|place| (queue.clone(), place)).collect::<Vec<_>>())
            .collect();
        if all.is_empty() || self.one_in(10) {
            return (self.queue(), -1_000);
        }
        all[self.below(all.len() as u64) as usize].clone()
    }

    /// From a group to a member, from a member back to its group.
    fn move_entry(&mut self) -> Vec<Record> {
        let (from, from_sequence) = self.entry();
        let (queue, terms) = match &from {
            QueueKey::Group(group) => {
                let group = group.clone();
                (QueueKey::Session(self.session()), self.terms(Some(&group)))
            }
            QueueKey::Session(_) => (QueueKey::Group(self.choose(&GROUPS).into()), self.terms(None)),
        };
        let sequence = self.next_place(&queue, matches!(queue, QueueKey::Group(_)));
        vec![Record::Moved { from, from_sequence, queue, sequence, terms }]
    }

    fn number(&mut self) -> Vec<Record> {
        let (queue, sequence) = self.entry();
        let QueueKey::Session(session) = queue else { return Vec::new() };
        let mut records =
            vec![Record::Numbered { session: session.clone(), sequence, number: 1 + self.below(65_535) as u32 }];
        if self.one_in(2) {
            records.push(Record::Received { session, sequence });
        }
        records
    }

    fn clear(&mut self) -> Vec<Record> {
        match self.below(3) {
            0 => vec![Record::QueueClosed(self.queue())],
            1 => vec![Record::TokenReleased { session: self.session(), token: 1 + self.below(5) as u32 }],
            _ => vec![Record::Retained { topic: topic(self.choose(&TOPICS)), message: None }],
        }
    }

    fn settle(&mut self) -> Vec<Record> {
        let count = 1 + self.below(4);
        let settled = (0..count).map(|_| {
            let (queue, sequence) = self.entry();
            Record::Settled { queue, sequence }
        });
        settled.collect()
    }
}

/// The languages that records name.
pub const PROTOCOLS: [&str; 3] = ["mqtt", "coap", "stomp"];
