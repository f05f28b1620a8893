//! A store, the maps that it should be like, and histories that a broker could write.
#![allow(dead_code)] // Each test file uses its part.

use althing_core::message::{Guarantee, Message, Origin, Properties};
use althing_core::record::{Load, QueueKey, Record, Restored, SessionFact, SessionKey, StoredWill, Terms};
use althing_core::time::MILLISECOND_NS;
use althing_core::topic::{Filter, Topic, TopicLimits};
use althing_core::verbs::{RetainHandling, SubscriptionOptions};
use althing_core::{Entropy, Now};
use althing_store::{Failure, OpenError, Options, Statistics, Store};
use althing_testkit::{Ledger, SimDisk};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

pub const SEGMENT_BYTES: u32 = 4096;

/// What happens to a store. The bytes of a step choose its records.
#[derive(Clone, Debug)]
pub enum Op {
    Step(Vec<[u8; 4]>),
    Commit {
        sync: bool,
    },
    Maintain(u8),
    /// Without the commits that it may wait for.
    MaintainAlone(u8),
    Close,
    Kill,
    Crash(u64),
}

pub struct World {
    store: Option<Store<SimDisk>>,
    disk: SimDisk,
    entropy: Entropy,
    now: Now,
    /// What holds now, and what held after each step since the last one that is durable for sure.
    ledger: Ledger,
    possible: Vec<Ledger>,
    /// The next place at either end of each queue.
    ends: BTreeMap<QueueKey, (i64, i64)>,
    messages: Vec<Arc<Message>>,
    pub checkpoints: u64,
    pub segments_cleaned: u64,
    /// Whether the disk may fail: then the store is opened again after a loss of power.
    pub may_fail: bool,
    pub failures: u64,
}

pub fn options() -> Options {
    Options { segment_bytes: SEGMENT_BYTES, protocols: &["mqtt", "stomp"], seed: 77, ..Options::default() }
}

impl World {
    pub fn new(seed: u64) -> Self {
        let disk = SimDisk::new(seed);
        let now = Now { mono_ns: 5_000 * MILLISECOND_NS, wall_ms: 1_700_000_000_000 };
        Self {
            store: Some(Store::open(disk.clone(), options(), now).expect("the disk is well")),
            disk,
            entropy: Entropy::new(seed),
            now,
            ledger: Ledger::default(),
            possible: vec![Ledger::default()],
            ends: BTreeMap::new(),
            messages: Vec::new(),
            checkpoints: 0,
            segments_cleaned: 0,
            may_fail: false,
            failures: 0,
        }
    }

    pub fn disk(&self) -> &SimDisk {
        &self.disk
    }

    pub fn now(&self) -> Now {
        self.now
    }

    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    fn store(&mut self) -> &mut Store<SimDisk> {
        self.store.as_mut().expect("it is open")
    }

    pub fn statistics(&self) -> Statistics {
        self.store.as_ref().expect("it is open").statistics()
    }

    pub fn run(&mut self, op: Op) {
        let milliseconds = 1 + self.entropy.below(50);
        self.pass(milliseconds);
        match op {
            Op::Step(choices) => {
                let records: Vec<_> = choices.into_iter().flat_map(|choice| self.record(choice)).collect();
                self.append(records);
            }
            Op::Commit { sync } => self.commit(sync),
            Op::Maintain(times) => self.maintain(times, true),
            Op::MaintainAlone(times) => self.maintain(times, false),
            Op::Close => {
                self.count();
                let closed = self.store.take().expect("it is open").close(self.now);
                assert!(closed.is_ok() || self.may_fail, "{closed:?}");
                if closed.is_ok() {
                    self.possible = vec![self.ledger.clone()];
                }
                self.disk.kill();
                self.pass(100_000);
                self.reopen();
            }
            Op::Kill => {
                self.count();
                self.store = None;
                self.disk.kill();
                self.reopen();
            }
            Op::Crash(seed) => {
                self.count();
                self.store = None;
                self.disk.crash(&mut Entropy::new(seed));
                self.pass(1_000);
                self.reopen();
            }
        }
    }

    /// An operation like those of the property test.
    pub fn choose(&mut self) -> Op {
        match self.entropy.below(29) {
            0..12 => {
                let count = 1 + self.entropy.below(7);
                Op::Step((0..count).map(|_| (self.entropy.next_u64() as u32).to_le_bytes()).collect())
            }
            12..16 => Op::Commit { sync: self.entropy.below(2) == 0 },
            16..20 => Op::Maintain(1 + self.entropy.below(20) as u8),
            20..26 => Op::MaintainAlone(1 + self.entropy.below(20) as u8),
            26 => Op::Close,
            27 => Op::Kill,
            _ => Op::Crash(self.entropy.next_u64()),
        }
    }

    /// Closes the store in order, for good.
    pub fn close(&mut self) {
        self.store.take().expect("it is open").close(self.now).expect("the disk is well");
    }

    pub fn index_bytes(&self) -> usize {
        self.store.as_ref().expect("it is open").index_bytes()
    }

    pub fn has_room(&self) -> bool {
        self.store.as_ref().expect("it is open").has_room()
    }

    /// Queues many messages for a few sessions.
    pub fn fill(&mut self, count: usize, payload_bytes: usize) {
        for number in 0..count {
            let message = Message::new(topic("fill"), Bytes::from(vec![number as u8; payload_bytes]));
            let queue = QueueKey::Session(session(number as u8));
            let sequence = self.back(&queue);
            self.append(vec![Record::Queued { queue, sequence, message: Arc::new(message), terms: Terms::default() }]);
            if number % 16 == 0 {
                self.commit(true);
            }
        }
        self.commit(true);
    }

    /// Queues one message `each` times in each of so many queues, past the maps.
    pub fn backlog(&mut self, queues: u32, each: u32) {
        let message = Arc::new(Message::new(topic("backlog"), Bytes::from_static(b"21.5")));
        for sequence in 0..i64::from(each) {
            let queued = |number: u32| {
                let key = SessionKey { realm: "".into(), client: format!("client-{number:08}").into() };
                let (queue, message) = (QueueKey::Session(key), message.clone());
                Record::Queued { queue, sequence, message, terms: Terms::default() }
            };
            self.store().append(&mut (0..queues).map(queued).collect());
        }
        let now = self.now;
        assert_eq!(self.store().commit(now, true).ok(), Some(true));
    }

    pub fn drain(&mut self) {
        self.drain_all_but_one_in(usize::MAX);
        self.drain_all_but_one_in(usize::MAX);
        let left: Vec<_> = self.entries();
        for (queue, sequence) in left {
            self.append(vec![Record::Settled { queue, sequence }]);
        }
        self.commit(true);
    }

    pub fn settle_most(&mut self) {
        self.drain_all_but_one_in(20);
    }

    pub fn drain_all_but_one_in(&mut self, times: usize) {
        for (number, (queue, sequence)) in self.entries().into_iter().enumerate() {
            if number % times != 0 {
                self.append(vec![Record::Settled { queue, sequence }]);
            }
        }
        self.commit(true);
    }

    fn entries(&self) -> Vec<(QueueKey, i64)> {
        self.ledger.queues().flat_map(|(queue, at)| at.map(|at| (queue.clone(), at)).collect::<Vec<_>>()).collect()
    }

    pub fn pass(&mut self, milliseconds: u64) {
        self.now.mono_ns += milliseconds * MILLISECOND_NS;
        self.now.wall_ms += milliseconds;
    }

    fn count(&mut self) {
        let statistics = self.statistics();
        self.checkpoints += statistics.checkpoints;
        self.segments_cleaned += statistics.segments_cleaned;
    }

    pub fn append(&mut self, mut records: Vec<Record>) {
        self.ledger.apply_all(&records);
        self.possible.push(self.ledger.clone());
        self.store().append(&mut records);
        assert!(records.is_empty());
    }

    fn maintain(&mut self, times: u8, commits: bool) {
        for _ in 0..times {
            let now = self.now;
            match self.store().maintain(now) {
                Ok(_) => {}
                Err(failure) => return self.fail(failure),
            }
            if commits && self.store().is_dirty() {
                self.commit(true);
            }
        }
        if commits {
            self.commit(true);
        }
    }

    pub fn commit(&mut self, sync: bool) {
        let now = self.now;
        match self.store().commit(now, sync) {
            Ok(done) => {
                assert!(done || self.may_fail, "the disk is not full");
                assert!(!done || !self.store().is_dirty());
                if sync && done {
                    self.possible = vec![self.ledger.clone()];
                }
            }
            Err(failure) => self.fail(failure),
        }
    }

    /// A store that has failed takes nothing any more; what it has confirmed is there after the next start.
    fn fail(&mut self, failure: Failure) {
        assert!(self.may_fail, "{failure}");
        let now = self.now;
        assert!(self.store().commit(now, true).is_err(), "it is the end");
        self.failures += 1;
        self.disk.heal();
        self.run(Op::Crash(self.failures));
    }

    fn open(&mut self) -> Store<SimDisk> {
        match Store::open(self.disk.clone(), options(), self.now) {
            Err(error) if self.may_fail => {
                assert!(matches!(error, OpenError::Io { .. }), "{error}");
                self.failures += 1;
                self.disk.heal();
                self.disk.crash(&mut self.entropy);
                Store::open(self.disk.clone(), options(), self.now)
            }
            opened => opened,
        }
        .unwrap_or_else(|error| panic!("{error}"))
    }

    fn reopen(&mut self) {
        let mut store = self.open();
        let mut restored = Vec::new();
        if let Err(error) = store.restore(&mut |fact| restored.push(fact)) {
            assert!(self.may_fail && matches!(error, OpenError::Io { .. }), "{error}");
            self.disk.heal();
            return self.reopen();
        }
        let sessions = restored.iter().take_while(|fact| matches!(fact, Restored::Session(_))).count();
        assert!(restored[sessions..].iter().all(|fact| !matches!(fact, Restored::Session(_))), "sessions come first");
        let found = comparable(restored);
        let held = self.possible.iter().rposition(|ledger| comparable(ledger.restored()) == found);
        let Some(held) = held else {
            assert_eq!(found, comparable(self.ledger.restored()));
            unreachable!();
        };
        self.ledger = self.possible[held].clone();
        self.possible = vec![self.ledger.clone()];
        self.store = Some(store);
        self.load_all();
    }

    /// Every entry can be read, too.
    fn load_all(&mut self) {
        let loads: Vec<_> =
            self.ledger.queues().map(|(queue, at)| Load { queue: queue.clone(), sequences: at.collect() }).collect();
        for load in loads {
            let loaded = match self.store().load(load.clone()) {
                Ok(loaded) => loaded,
                Err(failure) => return assert!(self.may_fail, "{failure}"),
            };
            assert_eq!(loaded, self.ledger.load(load));
        }
    }

    fn back(&mut self, queue: &QueueKey) -> i64 {
        let (_, back) = self.ends.entry(queue.clone()).or_default();
        *back += 1;
        *back
    }

    fn front(&mut self, queue: &QueueKey) -> i64 {
        let (front, _) = self.ends.entry(queue.clone()).or_default();
        *front -= 1;
        *front
    }

    /// A message of many kinds; now and then one that has been sent before.
    fn message(&mut self, choice: u8) -> Arc<Message> {
        if choice.is_multiple_of(3) && !self.messages.is_empty() {
            let at = self.entropy.below(self.messages.len() as u64) as usize;
            return self.messages[at].clone();
        }
        let length = match choice % 11 {
            0 => 0,
            1 => SEGMENT_BYTES as usize + 1000,
            _ => self.entropy.below(600) as usize,
        };
        let mut message = Message::new(topic(&format!("t/{}", choice % 7)), Bytes::from(vec![choice; length]));
        message.guarantee = guarantee(choice);
        message.retain = choice.is_multiple_of(5);
        if choice.is_multiple_of(4) {
            message.expires_ns = Some(self.now.mono_ns + u64::from(choice) * 1_000 * MILLISECOND_NS);
        }
        if choice % 4 == 1 {
            message.properties = Some(Arc::new(properties(choice)));
        }
        if choice % 4 == 2 {
            message.origin = Some(Arc::new(Origin {
                protocol: "stomp",
                client: "publisher".into(),
                principal: (choice % 8 == 2).then(|| "somebody".into()),
                address: (choice % 16 == 2).then(|| "/queue/x".into()),
                by_proof: choice % 32 == 2,
            }));
        }
        let message = Arc::new(message);
        self.messages.push(message.clone());
        if self.messages.len() > 5 {
            self.messages.remove(0);
        }
        message
    }

    /// What four bytes choose.
    fn record(&mut self, [what, who, which, how]: [u8; 4]) -> Vec<Record> {
        let key = session(who);
        let (queue, group) = (QueueKey::Session(key.clone()), QueueKey::Group(group(who)));
        let terms = Terms {
            guarantee: guarantee(how),
            retain: how.is_multiple_of(2),
            tags: (0..u32::from(how % 4)).map(|tag| tag * 1000).collect(),
            group: None,
        };
        match what % 16 {
            0 => vec![Record::Session(Box::new(self.session(key, how)))],
            1 => vec![Record::Subscribed { session: key, filter: filter(which), options: subscription(how) }],
            2 => vec![Record::Unsubscribed { session: key, filter: filter(which) }],
            3 => vec![Record::TokenHeld { session: key, token: u32::from(which % 8) * 40 }],
            4 => vec![Record::TokenReleased { session: key, token: u32::from(which % 8) * 40 }],
            5 | 6 => {
                let message = if how.is_multiple_of(4) { None } else { Some(self.message(how)) };
                let topic =
                    message.as_ref().map_or(topic(&format!("t/{}", which % 7)), |message| message.topic.clone());
                vec![Record::Retained { topic, message }]
            }
            7 | 8 => {
                let message = self.message(how);
                let mut fan_out = |queue: QueueKey| {
                    let (sequence, message, terms) = (self.back(&queue), message.clone(), terms.clone());
                    Record::Queued { queue, sequence, message, terms }
                };
                (0..1 + which % 4)
                    .map(|number| fan_out(QueueKey::Session(session(who.wrapping_add(number % 2)))))
                    .collect()
            }
            9 => {
                let sequence = self.back(&group);
                vec![Record::Queued { queue: group, sequence, message: self.message(how), terms }]
            }
            10 => {
                let Some(from_sequence) = self.some_entry(&group, which) else { return Vec::new() };
                let terms = Terms { group: Some(self::group(who)), ..terms };
                let sequence = self.back(&queue);
                vec![Record::Moved { from: group, from_sequence, queue, sequence, terms }]
            }
            11 => {
                let Some(from_sequence) = self.some_entry(&queue, which) else { return Vec::new() };
                let sequence = self.front(&group);
                vec![Record::Moved { from: queue, from_sequence, queue: group, sequence, terms }]
            }
            12 => {
                let Some(sequence) = self.some_entry(&queue, which) else { return Vec::new() };
                vec![Record::Numbered { session: key, sequence, number: u32::from(how) + 1 }]
            }
            13 => {
                let Some(sequence) = self.some_entry(&queue, which) else { return Vec::new() };
                vec![Record::Received { session: key, sequence }]
            }
            14 => {
                let queue = if how.is_multiple_of(2) { queue } else { group };
                let sequence = self.some_entry(&queue, which % 3).unwrap_or(i64::from(which));
                vec![Record::Settled { queue, sequence }]
            }
            _ => self.session_ends(key, how),
        }
    }

    /// A session ends, and what came from its group goes back: at once, or in a later step, or never.
    fn session_ends(&mut self, key: SessionKey, how: u8) -> Vec<Record> {
        if how.is_multiple_of(4) {
            return vec![Record::QueueClosed(QueueKey::Group(group(how)))];
        }
        let queue = QueueKey::Session(key.clone());
        let mut records = vec![Record::QueueClosed(queue.clone()), Record::SessionClosed(key)];
        let entries: Vec<_> = self.entries().into_iter().filter(|(of, _)| *of == queue).collect();
        for (_, from_sequence) in entries.into_iter().filter(|_| how % 4 == 1) {
            let to = QueueKey::Group(group(how));
            let (from, sequence) = (queue.clone(), self.front(&to));
            records.push(Record::Moved { from, from_sequence, queue: to, sequence, terms: Terms::default() });
        }
        records
    }

    fn some_entry(&self, queue: &QueueKey, which: u8) -> Option<i64> {
        let (_, mut sequences) = self.ledger.queues().find(|(of, _)| *of == queue)?;
        let first = sequences.next()?;
        Some(sequences.take(usize::from(which % 16)).last().unwrap_or(first))
    }

    fn session(&mut self, key: SessionKey, how: u8) -> SessionFact {
        let will = (how.is_multiple_of(3)).then(|| StoredWill {
            message: self.message(how),
            delay_s: u32::from(how),
            expiry_s: (how.is_multiple_of(2)).then_some(60),
        });
        SessionFact {
            key,
            protocol: if how.is_multiple_of(2) { "mqtt" } else { "stomp" },
            principal: (how.is_multiple_of(5)).then(|| "somebody".into()),
            epoch: self.entropy.next_u64() >> (how % 64),
            expiry_s: u32::MAX - u32::from(how),
            number_max: 65_535,
            ends_ns: (how.is_multiple_of(7)).then(|| self.now.mono_ns + 3_600_000 * MILLISECOND_NS),
            will,
            will_due_ns: (how.is_multiple_of(6)).then(|| self.now.mono_ns + u64::from(how) * MILLISECOND_NS),
        }
    }
}

/// As text, in one order; what is only close to the truth is checked and left out.
pub fn comparable(restored: Vec<Restored>) -> Vec<String> {
    let text = |mut fact: Restored| {
        if let Restored::Queue { entries, .. } = &mut fact {
            for entry in entries {
                if let Some(here) = &entry.here {
                    let exactly = here.message.size_bytes() as u32;
                    assert!(entry.size_bytes.abs_diff(exactly) <= 300, "{} is not {exactly}", entry.size_bytes);
                }
                entry.size_bytes = 0;
            }
        }
        format!("{fact:?}")
    };
    let mut texts: Vec<_> = restored.into_iter().map(text).collect();
    texts.sort();
    texts
}

fn guarantee(how: u8) -> Guarantee {
    Guarantee::from_qos(how % 3).expect("it is below 3")
}

fn session(who: u8) -> SessionKey {
    let realm = if who % 8 == 3 { "elsewhere" } else { "" };
    SessionKey { realm: realm.into(), client: format!("client-{}", who % 5).into() }
}

fn group(who: u8) -> bytestring::ByteString {
    format!("$share/g{}/t/#", who % 3).into()
}

pub fn topic(name: &str) -> Topic {
    Topic::new(name.to_owned().into(), &TopicLimits::default()).expect("it is valid")
}

fn filter(which: u8) -> Filter {
    Filter::new(format!("t/{}/#", which % 6).into(), &TopicLimits::default()).expect("it is valid")
}

fn subscription(how: u8) -> SubscriptionOptions {
    SubscriptionOptions {
        guarantee: guarantee(how),
        no_local: how.is_multiple_of(2),
        retain_as_published: how.is_multiple_of(5),
        retain_handling: [RetainHandling::Always, RetainHandling::IfNew, RetainHandling::Never][usize::from(how % 3)],
        tag: u32::from(how) << 20,
    }
}

fn properties(how: u8) -> Properties {
    Properties {
        content_type: (how % 2 == 1).then(|| "text/plain".into()),
        payload_is_utf8: [None, Some(false), Some(true)][usize::from(how % 3)],
        response_topic: (how % 8 == 1).then(|| topic("answers")),
        correlation_data: (how % 8 == 5).then(|| Bytes::from(vec![how; 3])),
        user: (0..how % 4).map(|number| ("same".into(), format!("{number}").into())).collect(),
        priority: (how % 16 == 1).then_some(how),
    }
}
