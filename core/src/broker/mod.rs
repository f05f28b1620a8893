//! One shard of the assembly: turns requests into effects.
//!
//! A request comes in by [`Broker::request`], is decided at its session's *home* shard, and leaves as
//! answers, deliveries, records and words for other shards. Every public call is one step: what it
//! stores shares one ticket, and the answers made in it wait for that ticket.

mod administering;
mod clock;
mod configuring;
mod connection;
mod delivery;
mod fetching;
mod groups;
mod inspecting;
mod membership;
mod mounting;
mod operations;
mod ownership;
mod policing;
mod publishing;
mod quotas;
mod restoring;
mod spilling;
mod subscribing;
mod watching;

pub(crate) use quotas::Allowance;

use crate::authorisation::{Authorised, Policy, Rulebook};
use crate::effects::{Delivery, Effects, Verdict};
use crate::hash::{Seeded, seeded};
use crate::limits::Limits;
use crate::link::{ClientIdFrom, Link};
use crate::message::Message;
use crate::record::{Loaded, Restored};
use crate::retained::Retained;
use crate::routes::Routes;
use crate::session::{Sessions, Then};
use crate::shard::Word;
use crate::time::{Deadline, Entropy, Now};
use crate::topic::Topic;
use crate::topic_watch::TopicWatch;
use crate::verbs::{Answer, PeerId, Reason, Refusal, Request};
use clock::Timer;
use connection::Exchange;
use foldhash::fast::FixedState;
use groups::Groups;
use hashbrown::{HashMap, HashTable};
use operations::Operations;
pub use ownership::Opening;
use policing::Review;
use quotas::Accounts;
use restoring::Restoring;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

/// How fast a peer reads what is written to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// Its buffer is below the low mark.
    #[default]
    Ready,
    /// Its buffer is above the high mark: what comes is queued, publishers wait.
    Slow,
    /// It has been slow for too long: `AtMostOnce` is dropped and counted, nobody waits for it.
    Stalled,
}

/// Counters and gauges of one shard, for `$SYS` and metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Statistics {
    pub peers: u64,
    pub sessions: u64,
    pub subscriptions: u64,
    pub shared_subscriptions: u64,
    pub queues: u64,
    pub retained_messages: u64,
    pub retained_bytes: u64,
    pub queued_messages: u64,
    pub queued_bytes: u64,
    pub inflight_messages: u64,
    pub publishes_received: u64,
    pub publishes_delivered: u64,
    pub publishes_dropped: u64,
    pub sessions_expired: u64,
    pub connections_refused: u64,
    pub publishes_refused: u64,
    pub subscriptions_refused: u64,
    pub publishes_unheard: u64,
    pub throttles: u64,
    pub match_visits: u64,
}

/// One shard's broker.
#[derive(Debug)]
pub struct Broker {
    shard: u16,
    shards: u16,
    limits: Arc<Limits>,
    policy: Rulebook,
    /// Who is still to be judged by it.
    review: Review,
    entropy: Entropy,
    /// The session of each connection whose session is here, on whatever shard the connection is.
    peers: HashMap<PeerId, u32, Seeded>,
    /// Connections of this shard whose session's home is another one.
    away: HashMap<PeerId, u16, Seeded>,
    /// Authentications under way.
    exchanges: HashMap<PeerId, Exchange, Seeded>,
    sessions: Sessions,
    /// Sessions by realm and id; the key's text stands in the session alone.
    by_key: HashTable<u32>,
    hasher: Seeded,
    /// Of sessions that nobody has connected to since the start; shared, there may be a million of them.
    nowhere: Link,
    routes: Routes,
    retained: Retained,
    groups: Groups,
    operations: Operations,
    accounts: Accounts,
    timers: BinaryHeap<Reverse<Timer>>,
    /// Sessions with more to deliver than one turn allows.
    draining: VecDeque<(u32, u64)>,
    /// The ticket of the last step that stored something, and the last durable one.
    ticket: u64,
    durable: u64,
    /// Where `Effects::store` stood when the step began.
    store_start: usize,
    /// Sessions with answers that wait for a ticket, in the order of the tickets.
    waiting: VecDeque<(u64, u32, u64)>,
    /// Deliveries whose number must be durable before they leave, in the order of the tickets.
    held: VecDeque<(u64, Delivery)>,
    next_id: u64,
    /// The places of the next stored entries of any queue: behind all others, and before them. No place is used
    /// twice, and none is 0.
    next_behind: i64,
    next_before: i64,
    /// Whether the store takes new messages.
    has_room: bool,
    /// Whether there is a store that reads entries back, so that they need not stay in memory.
    spills: bool,
    /// What is put back; `None` when that is over.
    restoring: Option<Box<Restoring>>,
    statistics: Statistics,
    /// What passes through every topic, while somebody looks.
    watch: Option<Box<TopicWatch>>,
    /// Set at shutdown: lost connections publish no wills any more.
    closing: bool,
}

/// Placement must be the same on every shard, so it has a seed of its own.
const PLACEMENT_SEED: u64 = 0x416c_7468_696e_6721;

impl Broker {
    /// Shard number `shard` of `shards`. `entropy` seeds assigned ids and hashes.
    pub fn new(shard: u16, shards: u16, limits: Arc<Limits>, policy: Arc<Policy>, mut entropy: Entropy) -> Self {
        let seed = entropy.next_u64();
        let hasher = seeded(seed);
        let mut broker = Self {
            shard,
            shards,
            routes: Routes::new(&limits, seed, hasher.clone()),
            retained: Retained::new(seed, &limits),
            groups: Groups::new(hasher.clone()),
            operations: Operations::new(hasher.clone()),
            accounts: Accounts::new(hasher.clone()),
            limits,
            policy: Rulebook::new(policy, 1),
            review: Review::default(),
            nowhere: Link::default(),
            entropy,
            peers: HashMap::with_hasher(hasher.clone()),
            away: HashMap::with_hasher(hasher.clone()),
            exchanges: HashMap::with_hasher(hasher.clone()),
            sessions: Sessions::default(),
            by_key: HashTable::new(),
            hasher,
            timers: BinaryHeap::new(),
            draining: VecDeque::new(),
            ticket: 0,
            durable: 0,
            store_start: 0,
            waiting: VecDeque::new(),
            held: VecDeque::new(),
            next_id: 1,
            next_behind: 1,
            next_before: -1,
            has_room: true,
            spills: false,
            restoring: None,
            statistics: Statistics::default(),
            watch: None,
            closing: false,
        };
        broker.renew_quotas(Now::default());
        broker
    }

    /// A request of a peer that is connected to this shard.
    pub fn request(&mut self, now: Now, peer: PeerId, request: Request, effects: &mut Effects) {
        let home = self.home_of_request(peer, &request);
        if home == self.shard {
            return self.step(effects, |broker, effects| broker.decide(now, peer, request, effects));
        }
        if matches!(request, Request::Disconnect(_)) {
            self.away.remove(&peer);
        }
        effects.forward.push((home, Word::Request(peer, request)));
    }

    /// A word from another shard.
    pub fn forwarded(&mut self, now: Now, from: u16, word: Word, effects: &mut Effects) {
        self.step(effects, |broker, effects| broker.hear(now, from, word, effects));
    }

    /// Everything up to `ticket` (as stated in `Effects::ticket`) is durable: releases what waited for it.
    pub fn stored(&mut self, now: Now, ticket: u64, effects: &mut Effects) {
        self.step(effects, |broker, effects| {
            broker.durable = broker.durable.max(ticket);
            broker.release_stored(now, effects);
        });
    }

    /// What the store has found for one of `Effects::load`.
    pub fn loaded(&mut self, now: Now, loaded: Loaded, effects: &mut Effects) {
        self.step(effects, |broker, effects| broker.take_loaded(now, loaded, effects));
    }

    /// Which shard [`restore`](Self::restore) of a fact belongs to.
    pub fn home_of(&self, restored: &Restored) -> u16 {
        self.home_of_fact(restored)
    }

    /// Puts back one fact that an earlier process has left. Nobody is served before all is put back. Sessions come first. A fact about a
    /// session that is gone leads to a record that ends it.
    pub fn restore(&mut self, now: Now, restored: Restored, effects: &mut Effects) {
        self.step(effects, |broker, effects| broker.put_back(now, restored, effects));
    }

    /// Every fact has been put back, on this shard at least. Afterwards the broker may leave stored entries to the
    /// store, which gives them back by [`loaded`](Self::loaded). Called once, also when nothing was found; never where
    /// nothing outlives the process.
    pub fn restored(&mut self, now: Now, effects: &mut Effects) {
        self.step(effects, |broker, effects| broker.finish_restoring(now, effects));
    }

    /// Whether this shard may not know yet what the sessions of other shards want: until it does, requests wait here.
    pub fn is_restoring(&self) -> bool {
        self.restoring.is_some()
    }

    /// Whether the store takes new messages. While it does not, what would have to be stored is refused before anybody
    /// gets it; everything else goes on, so that settling makes room again. Every shard is told.
    pub fn set_room(&mut self, has_room: bool) {
        self.has_room = has_room;
    }

    /// What holds now.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Other limits hold from now on, on every shard alike. Those of queues, last values, matches, and of what a request
    /// may ask for hold at once: what is there already stays, and nothing is added to it. Those of a session
    /// (`inflight_max`, `session_expiry_s_max`) hold from its next connection on. What a language reads itself (sizes,
    /// timeouts, aliases) holds for the adaptors that are made with it.
    pub fn set_limits(&mut self, limits: Arc<Limits>) {
        self.retained.set_limits(&limits);
        self.routes.set_limits(&limits);
        self.limits = limits;
    }

    /// What the outside says to a `Verify`.
    pub fn verified(&mut self, now: Now, peer: PeerId, verdict: Verdict, effects: &mut Effects) {
        self.step(effects, |broker, effects| broker.conclude(now, peer, verdict, effects));
    }

    /// The driver's observation of the peer's socket.
    pub fn pace(&mut self, now: Now, peer: PeerId, pace: Pace, effects: &mut Effects) {
        if let Some(home) = self.away.get(&peer) {
            effects.forward.push((*home, Word::Pace(peer, pace)));
            return;
        }
        self.step(effects, |broker, effects| broker.set_pace(now, peer, pace, effects));
    }

    /// The broker itself publishes ($SYS, embedding programs): no authorisation, no answer.
    pub fn publish(&mut self, now: Now, message: Message, effects: &mut Effects) {
        self.step(effects, |broker, effects| {
            let message = Authorised::by_broker(message).shared();
            // Nobody waits for this publish; a full house shows in the statistics.
            let _ = broker.distribute(now, message, None, false, 0, effects);
        });
    }

    /// Expiries, delayed wills, long queues that are drained in turns.
    pub fn timeout(&mut self, now: Now, effects: &mut Effects) {
        self.step(effects, |broker, effects| broker.tick(now, effects));
    }

    /// When to call `timeout`; in the past while queues are drained in turns.
    pub fn next_timeout(&self) -> Option<Deadline> {
        if self.restoring.is_some() {
            return None;
        }
        if !self.draining.is_empty() {
            return Some(Deadline { mono_ns: 0, reason: "more to deliver" });
        }
        if self.review.is_under_way() {
            return Some(Deadline { mono_ns: 0, reason: "rights are judged again" });
        }
        let timer =
            self.timers.peek().map(|Reverse(timer)| Deadline { mono_ns: timer.due_ns, reason: timer.kind.reason() });
        let retained =
            self.retained.next_expiry().map(|mono_ns| Deadline { mono_ns, reason: "retained message expires" });
        timer.into_iter().chain(retained).min_by_key(|deadline| deadline.mono_ns)
    }

    /// Ends every conversation with this reason; sessions stay as they are, wills are not published.
    pub fn close_all(&mut self, reason: Reason, effects: &mut Effects) {
        self.closing = true;
        self.step(effects, |broker, effects| {
            let refusal = Refusal::new(reason, "the broker is shutting down");
            for peer in broker.peers.keys() {
                effects.answers.push((*peer, Answer::Close(refusal.clone())));
            }
        });
    }

    /// Whether anybody would get a message published to `topic`. For topics that are rarely published to: the answer is
    /// searched for each time.
    pub fn is_heard(&mut self, topic: &Topic) -> bool {
        self.routes.is_heard(topic)
    }

    /// Counters and gauges as of now.
    pub fn statistics(&self) -> Statistics {
        Statistics {
            peers: self.peers.len() as u64,
            sessions: self.sessions.len() as u64,
            queues: self.groups.queues_len() as u64,
            retained_messages: self.retained.len() as u64,
            retained_bytes: self.retained.bytes() as u64,
            match_visits: self.routes.visits,
            ..self.statistics
        }
    }

    /// One step: runs `act`, gives what it stored a ticket and sends on what is for peers of other shards.
    fn step(&mut self, effects: &mut Effects, act: impl FnOnce(&mut Self, &mut Effects)) {
        self.store_start = effects.store.len();
        let starts = (effects.answers.len(), effects.deliveries.len(), effects.throttle.len());
        act(self, effects);
        if effects.store.len() > self.store_start {
            self.ticket += 1;
            effects.ticket = self.ticket;
        }
        if self.shards > 1 {
            self.send_home(effects, starts);
        }
    }

    /// The ticket that this step's answers wait for: `None` while the step has stored nothing.
    fn step_ticket(&self, effects: &Effects) -> Option<u64> {
        (effects.store.len() > self.store_start).then_some(self.ticket + 1)
    }

    /// What is for connections of other shards becomes words.
    fn send_home(&self, effects: &mut Effects, starts: (usize, usize, usize)) {
        let (answers_start, deliveries_start, throttle_start) = starts;
        let own = self.shard;
        for (peer, until_ns) in effects.throttle.extract_if(throttle_start.., |(peer, _)| peer.shard != own) {
            effects.forward.push((peer.shard, Word::Throttle(peer, until_ns)));
        }
        for (peer, answer) in effects.answers.extract_if(answers_start.., |(peer, _)| peer.shard != own) {
            effects.forward.push((peer.shard, Word::Answer(peer, answer)));
        }
        for delivery in effects.deliveries.extract_if(deliveries_start.., |delivery| delivery.peer.shard != own) {
            effects.forward.push((delivery.peer.shard, Word::Delivery(delivery)));
        }
    }

    /// Where a peer's session lives. A connection without an id gets one here, because the id decides it.
    fn home_of_request(&mut self, peer: PeerId, request: &Request) -> u16 {
        if self.shards == 1 {
            return self.shard;
        }
        if let Request::Connect(connect) = request
            && connect.link.entrance.client_id == ClientIdFrom::Peer
            && let Some(client) = &connect.client
        {
            let home = self.home_of_client(&connect.link.entrance.realm, client);
            if home != self.shard {
                self.away.insert(peer, home);
            }
            return home;
        }
        self.away.get(&peer).copied().unwrap_or(self.shard)
    }

    fn home_of_client(&self, realm: &str, client: &str) -> u16 {
        self.place_of((realm, client))
    }

    /// The shard that owns what `key` names: the same one from every shard's view.
    fn place_of(&self, key: impl Hash) -> u16 {
        if self.shards == 1 {
            return self.shard;
        }
        (FixedState::with_seed(PLACEMENT_SEED).hash_one(key) % u64::from(self.shards)) as u16
    }

    fn decide(&mut self, now: Now, peer: PeerId, request: Request, effects: &mut Effects) {
        if let Some(restoring) = &mut self.restoring {
            return restoring.held.push((self.shard, Word::Request(peer, request)));
        }
        match request {
            Request::Connect(connect) => return self.connect(peer, *connect, effects),
            Request::Authenticate(step) => return self.authenticate(peer, *step, effects),
            _ => {}
        }
        let Some(index) = self.peers.get(&peer).copied() else {
            // It was refused, or its session was taken over, and it has not heard yet.
            self.exchanges.remove(&peer);
            return;
        };
        let request = match self.sessions.get(index) {
            Some(session) if session.is_mounted => match self.mount(index, request) {
                Ok(request) => request,
                Err(answer) => return self.answer(now, index, (0, 0), answer, Then::Nothing, effects),
            },
            _ => request,
        };
        match request {
            Request::Publish(publish) => self.publish_from(now, index, publish, effects),
            Request::Configure(publish) => self.configure(now, index, publish, effects),
            Request::Release { token } => self.release_token(now, index, token, effects),
            Request::Subscribe(subscribe) => self.subscribe(now, index, *subscribe, effects),
            Request::Unsubscribe(unsubscribe) => self.unsubscribe(now, index, *unsubscribe, effects),
            Request::Fetch { correlation, topic } => self.fetch(now, index, correlation, &topic, effects),
            Request::Settle { number, outcome } => self.settle(now, index, number, outcome, effects),
            Request::Disconnect(disconnect) => self.disconnect(now, peer, index, disconnect, effects),
            Request::Connect(_) | Request::Authenticate(_) => {}
        }
    }

    fn hear(&mut self, now: Now, from: u16, word: Word, effects: &mut Effects) {
        let Some(word) = self.hold_until_restored(from, word) else { return };
        match word {
            Word::Request(peer, request) => self.decide(now, peer, request, effects),
            Word::Open(peer, opening) => self.open(now, peer, *opening, effects),
            Word::Answer(peer, answer) => effects.answers.push((peer, answer)),
            Word::Delivery(delivery) => effects.deliveries.push(delivery),
            Word::Throttle(peer, until_ns) => effects.throttle.push((peer, until_ns)),
            Word::Pace(peer, pace) => self.set_pace(now, peer, pace, effects),
            Word::Done { operation, matched } => self.done(now, operation, matched, effects),
            Word::Interest { pattern, wanted, operation } => {
                self.routes.set_shard(&pattern, from, wanted);
                self.confirm_interest(from, operation, effects);
            }
            Word::Fence { operation } => self.reply(from, operation, false, effects),
            Word::Forward { message, retain, place, operation } => {
                self.take_forwarded(now, from, message, retain, place, operation, effects);
            }
            Word::Query { session, filter, options, operation } => {
                let mut messages = Vec::new();
                self.retained.matching(&filter, now.mono_ns, &mut messages);
                effects.forward.push((from, Word::Snapshot { session, messages, options, operation }));
            }
            Word::Snapshot { session, messages, options, operation } => {
                self.take_snapshot(now, session, messages, options, operation, effects);
            }
            Word::Fetch { topic, operation } => {
                let message = self.retained.get(&topic, now.mono_ns).cloned();
                effects.forward.push((from, Word::Fetched { operation, message }));
            }
            Word::Fetched { operation, message } => self.fetched(now, operation, message, effects),
            Word::Join { filter, member, operation } => {
                self.join_here(now, from, &filter, *member, operation, effects);
            }
            Word::Window { filter, session, window, lasts, principal } => {
                self.set_window(now, &filter, session, (window, lasts), principal, effects);
            }
            Word::Leave { filter, session } => self.leave_here(&filter, session, effects),
            Word::Assign { session, entry } => self.take_assigned(now, session, entry, effects),
            Word::Settled { filter, session } => self.settled_here(now, &filter, session, effects),
            Word::Return { filter, session, key, entries } => {
                self.returned_here(now, &filter, session, key, entries, effects);
            }
            Word::Restored { heard } => self.other_is_restored(now, from, heard, effects),
        }
    }
}
