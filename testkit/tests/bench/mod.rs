//! Brokers that are spoken to in verbs, with a log that is synced when a test says so, and an end at any moment.

#![allow(dead_code, reason = "each test file needs some of it")]

use althing_core::authorisation::Policy;
use althing_core::broker::Broker;
use althing_core::effects::{Delivery, Effects, Event, Verdict, Verify};
use althing_core::record::{Load, Record};
use althing_core::shard::Word;
use althing_core::time::SECOND_NS;
use althing_core::topic::TopicLimits;
use althing_core::verbs::*;
use althing_core::{Entropy, Filter, Guarantee, Identity, Limits, Message, Now, Topic};
use althing_testkit::ledger::Ledger;
use std::collections::VecDeque;
use std::sync::Arc;

pub struct Bench {
    pub brokers: Vec<Broker>,
    pub limits: Limits,
    pub policy: Policy,
    pub now: Now,
    /// What is durable.
    pub ledger: Ledger,
    /// The steps that are not: shard, ticket, records.
    pub log: VecDeque<(u16, u64, Vec<Record>)>,
    pub words: VecDeque<(u16, u16, Word)>,
    pub loads: VecDeque<(u16, Load)>,
    questions: VecDeque<(u16, Verify)>,
    pub answers: Vec<(PeerId, Answer)>,
    pub deliveries: Vec<Delivery>,
    pub throttled: Vec<(PeerId, u64)>,
    pub events: Vec<Event>,
    starts: u64,
}

pub fn topic(text: &str) -> Topic {
    Topic::new(text.to_owned().into(), &TopicLimits::default()).expect("a valid name")
}

pub fn filter(text: &str) -> Filter {
    Filter::new(text.to_owned().into(), &TopicLimits::default()).expect("a valid filter")
}

impl Bench {
    pub fn new(shards: u16) -> Self {
        Self::with(shards, Limits::default())
    }

    pub fn with(shards: u16, limits: Limits) -> Self {
        Self::under(shards, limits, Policy::open())
    }

    pub fn under(shards: u16, limits: Limits, policy: Policy) -> Self {
        let mut bench = Self {
            brokers: Vec::new(),
            limits,
            policy,
            now: Now { mono_ns: SECOND_NS, wall_ms: 1 },
            ledger: Ledger::default(),
            log: VecDeque::new(),
            words: VecDeque::new(),
            loads: VecDeque::new(),
            questions: VecDeque::new(),
            answers: Vec::new(),
            deliveries: Vec::new(),
            throttled: Vec::new(),
            events: Vec::new(),
            starts: 0,
        };
        bench.start(shards);
        bench
    }

    /// The process ends without a word and begins anew: what is not durable is gone.
    pub fn crash(&mut self) {
        self.start(self.brokers.len() as u16);
    }

    pub fn start(&mut self, shards: u16) {
        self.begin(shards);
        self.run();
    }

    /// A start whose words have not arrived.
    pub fn begin(&mut self, shards: u16) {
        self.starts += 1;
        self.log.clear();
        self.words.clear();
        self.loads.clear();
        self.questions.clear();
        self.answers.clear();
        self.deliveries.clear();
        let (limits, policy) = (Arc::new(self.limits.clone()), Arc::new(self.policy.clone()));
        let broker = |shard| {
            let entropy = Entropy::new(self.starts * 100 + u64::from(shard));
            Broker::new(shard, shards, limits.clone(), policy.clone(), entropy)
        };
        self.brokers = (0..shards).map(broker).collect();
        for fact in self.ledger.restored() {
            let home = self.brokers[0].home_of(&fact);
            self.call(home, |broker, now, effects| broker.restore(now, fact, effects));
        }
        for shard in 0..shards {
            self.call(shard, |broker, now, effects| broker.restored(now, effects));
        }
    }

    pub fn call(&mut self, shard: u16, act: impl FnOnce(&mut Broker, Now, &mut Effects)) {
        let mut effects = Effects::default();
        act(&mut self.brokers[usize::from(shard)], self.now, &mut effects);
        if !effects.store.is_empty() {
            self.log.push_back((shard, effects.ticket, effects.store));
        }
        self.loads.extend(effects.load.into_iter().map(|load| (shard, load)));
        self.words.extend(effects.forward.into_iter().map(|(to, word)| (shard, to, word)));
        self.answers.extend(effects.answers);
        self.deliveries.extend(effects.deliveries);
        self.throttled.extend(effects.throttle);
        self.events.extend(effects.events);
        self.questions.extend(effects.verify.into_iter().map(|verify| (shard, verify)));
    }

    /// One word arrives, or one question is answered.
    pub fn step(&mut self) -> bool {
        if let Some((shard, Verify { peer, username, .. })) = self.questions.pop_front() {
            // Every user name is proven.
            let identity = Arc::new(Identity { name: username, ..Identity::default() });
            let accept = Verdict::Accept { identity, data: None };
            self.call(shard, |broker, now, effects| broker.verified(now, peer, accept, effects));
            return true;
        }
        if let Some((from, to, word)) = self.words.pop_front() {
            self.call(to, |broker, now, effects| broker.forwarded(now, from, word, effects));
            return true;
        }
        let Some((shard, load)) = self.loads.pop_front() else { return false };
        // A load sees everything that was written before it.
        let mut ledger = self.ledger.clone();
        self.log.iter().for_each(|(_, _, records)| ledger.apply_all(records));
        self.call(shard, |broker, now, effects| broker.loaded(now, ledger.load(load), effects));
        true
    }

    pub fn run(&mut self) {
        while self.step() {}
    }

    /// The oldest step becomes durable.
    pub fn sync_one(&mut self) -> bool {
        let Some((shard, ticket, records)) = self.log.pop_front() else { return false };
        self.ledger.apply_all(&records);
        self.call(shard, |broker, now, effects| broker.stored(now, ticket, effects));
        true
    }

    /// Everything happens, and becomes durable.
    pub fn sync(&mut self) {
        self.run();
        while self.sync_one() {
            self.run();
        }
    }

    pub fn pass_s(&mut self, seconds: u64) {
        self.now.mono_ns += seconds * SECOND_NS;
        self.tick();
    }

    /// Deadlines that have come are met.
    pub fn tick(&mut self) {
        for shard in 0..self.brokers.len() as u16 {
            while self.brokers[usize::from(shard)].next_timeout().is_some_and(|due| due.mono_ns <= self.now.mono_ns) {
                self.call(shard, |broker, now, effects| broker.timeout(now, effects));
            }
        }
        self.run();
    }

    pub fn peer(&self, slot: u32) -> PeerId {
        PeerId { shard: (slot % self.brokers.len() as u32) as u16, generation: 0, slot }
    }

    pub fn request(&mut self, slot: u32, request: Request) {
        let peer = self.peer(slot);
        self.call(peer.shard, |broker, now, effects| broker.request(now, peer, request, effects));
        self.run();
    }

    /// Asks for a session; its answer waits for the store.
    pub fn ask(&mut self, slot: u32, client: &str, change: impl FnOnce(&mut Connect)) {
        let mut connect = Connect {
            client: Some(client.to_owned().into()),
            clean_start: false,
            session_expiry_s: 1_000,
            window: 10,
            number_max: 65_535,
            ..Connect::new("mqtt")
        };
        change(&mut connect);
        self.request(slot, Request::Connect(Box::new(connect)));
    }

    /// A session that lasts, durably.
    pub fn connect(&mut self, slot: u32, client: &str) -> bool {
        self.connect_with(slot, client, |_| {})
    }

    /// A session that ends with its connection.
    pub fn connect_briefly(&mut self, slot: u32, client: &str) {
        self.connect_with(slot, client, |connect| connect.session_expiry_s = 0);
    }

    /// Returns whether there was a session.
    pub fn connect_with(&mut self, slot: u32, client: &str, change: impl FnOnce(&mut Connect)) -> bool {
        self.ask(slot, client, change);
        self.sync();
        let connected = |answer| if let Answer::Connected(connected) = answer { Some(connected) } else { None };
        self.take_answers(slot).into_iter().find_map(connected).expect("a session").session_present
    }

    pub fn subscribe(&mut self, slot: u32, text: &str, guarantee: Guarantee) {
        let options = SubscriptionOptions { guarantee, ..Default::default() };
        let filters = vec![SubscribeFilter { filter: Ok(filter(text)), options }];
        self.request(slot, Request::Subscribe(Box::new(Subscribe { correlation: 1, filters })));
    }

    pub fn unsubscribe(&mut self, slot: u32, text: &str) {
        let filters = vec![Ok(filter(text))];
        self.request(slot, Request::Unsubscribe(Box::new(Unsubscribe { correlation: 2, filters })));
    }

    pub fn publish(&mut self, slot: u32, name: &str, payload: &str, guarantee: Guarantee) {
        self.publish_with(slot, name, payload, guarantee, |_| {});
    }

    pub fn publish_with(
        &mut self,
        slot: u32,
        name: &str,
        payload: &str,
        guarantee: Guarantee,
        change: impl FnOnce(&mut Publish),
    ) {
        let mut message = Message::new(topic(name), payload.to_owned().into());
        message.guarantee = guarantee;
        let token = (guarantee == Guarantee::ExactlyOnce).then_some(9);
        let mut publish = Publish { message, token, correlation: 9 };
        change(&mut publish);
        self.request(slot, Request::Publish(publish));
    }

    pub fn settle(&mut self, slot: u32, number: u32, outcome: Outcome) {
        self.request(slot, Request::Settle { number, outcome });
    }

    pub fn lose(&mut self, slot: u32) {
        self.leave(slot, None, true);
    }

    pub fn leave(&mut self, slot: u32, session_expiry_s: Option<u32>, publish_will: bool) {
        let left = Disconnect { publish_will, session_expiry_s, reason: Reason::ConnectionLost };
        self.request(slot, Request::Disconnect(left));
    }

    pub fn take_answers(&mut self, slot: u32) -> Vec<Answer> {
        let peer = self.peer(slot);
        self.answers.extract_if(.., |(to, _)| *to == peer).map(|(_, answer)| answer).collect()
    }

    /// What a peer got since: payload, number, whether it is a repeat.
    pub fn take(&mut self, slot: u32) -> Vec<(String, u32, bool)> {
        let peer = self.peer(slot);
        let show = |delivery: Delivery| {
            let payload = String::from_utf8_lossy(&delivery.message.payload).into_owned();
            (payload, delivery.number, delivery.duplicate)
        };
        self.deliveries.extract_if(.., |delivery| delivery.peer == peer).map(show).collect()
    }

    pub fn payloads(&mut self, slot: u32) -> Vec<String> {
        self.take(slot).into_iter().map(|(payload, ..)| payload).collect()
    }

    /// The records of the steps that are not durable.
    pub fn unsynced(&self) -> Vec<&Record> {
        self.log.iter().flat_map(|(_, _, records)| records).collect()
    }

    /// Whether nothing is under way.
    pub fn is_at_rest(&self) -> bool {
        let nothing_to_do = self.log.is_empty() && self.words.is_empty() && self.loads.is_empty();
        nothing_to_do && self.questions.is_empty() && self.answers.is_empty() && self.deliveries.is_empty()
    }

    pub fn queued_messages(&self) -> u64 {
        self.brokers.iter().map(|broker| broker.statistics().queued_messages).sum()
    }

    pub fn inflight_messages(&self) -> u64 {
        self.brokers.iter().map(|broker| broker.statistics().inflight_messages).sum()
    }
}
