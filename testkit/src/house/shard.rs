//! One shard of a simulated world: the same driver loop as the server's, without sockets.

use super::promises::{Cause, Promises};
use super::vault::Vault;
use crate::trace::Trace;
use althing_core::adaptor::{Close, Out, Receive};
use althing_core::broker::{Broker, Pace};
use althing_core::effects::{Event, Verdict, Verify};
use althing_core::record::{Loaded, Restored};
use althing_core::shard::Word;
use althing_core::verbs::{Disconnect, Refusal};
use althing_core::{Adaptor, Answer, Delivery, Effects, Limits, Link, Now, OutBuffer, PeerId, Reason, Request};
use bytes::BytesMut;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// What all shards of a world share.
#[derive(Debug)]
pub(crate) struct Common {
    pub now: Now,
    pub limits: Arc<Limits>,
    pub trace: Trace,
    pub promises: Promises,
    pub vault: Vault,
    /// Words on their way, by sender and receiver, first in, first out.
    pub channels: BTreeMap<(u16, u16), VecDeque<Word>>,
    /// Questions that the identity provider has not answered yet, each with the shard that asks.
    pub questions: Vec<(u16, Verify)>,
    /// Who waits for whom: publishers and the subscribers that they wait for, one at a time.
    pub paused: BTreeMap<PeerId, PeerId>,
    /// Publishers that were too fast, and until when they are not read.
    pub throttled: BTreeMap<PeerId, u64>,
    /// Subscribers that are behind, and until when others wait for them.
    pub behind: BTreeMap<PeerId, u64>,
    /// What the brokers reported, newest last.
    pub events: Vec<Event>,
}

impl Common {
    /// Whether this peer's input waits for a subscriber that is behind, or for a moment.
    pub fn is_paused(&self, peer: PeerId) -> bool {
        self.throttled.contains_key(&peer)
            || self.paused.get(&peer).is_some_and(|subscriber| self.behind.contains_key(subscriber))
    }

    fn falls_behind(&mut self, subscriber: PeerId) {
        let until_ns = self.now.after_ms(self.limits.stall_ms);
        self.behind.entry(subscriber).or_insert(until_ns);
    }

    /// Lets everyone go on who waits for this subscriber.
    fn release(&mut self, subscriber: PeerId) {
        self.behind.remove(&subscriber);
        self.paused.retain(|_, waits_for| *waits_for != subscriber);
    }
}

/// What a peer may leave unread of the answers to its own requests, at least.
const UNREAD_ANSWER_BYTES_MAX: usize = 256 << 10;

/// One connection, from the house's end.
pub(crate) struct Connection {
    pub peer: PeerId,
    adaptor: Box<dyn Adaptor>,
    link: Link,
    pub input: BytesMut,
    pub output: OutBuffer,
    requests: VecDeque<Request>,
    last: Receive,
    pub pace: Pace,
    /// Of the answers to its own requests, what the peer has not read.
    unread_answer_bytes: usize,
    /// Over: nothing is read any more, what is in `output` still leaves.
    pub closing: bool,
    /// Why the adaptor closed, for tests.
    pub refusal: Option<Refusal>,
}

impl Connection {
    /// Whether a call of `receive` could do something with what is in `input`.
    pub fn wants_turn(&self) -> bool {
        !self.closing && self.last == Receive::Again
    }

    /// Whether bytes may be read from the peer.
    pub fn wants_bytes(&self) -> bool {
        !self.closing && self.last == Receive::NeedMore
    }
}

/// One shard: its broker and its connections.
pub(crate) struct Shard {
    index: u16,
    pub broker: Broker,
    effects: Effects,
    connections: Vec<Option<Connection>>,
    generations: Vec<u16>,
    /// Slots with requests to drain.
    asking: VecDeque<u32>,
    /// Slots whose output has changed.
    touched: BTreeSet<u32>,
    /// The last ticket that was handed to the store.
    ticket: u64,
    /// What the step under way is about.
    cause: Option<Cause>,
}

impl Shard {
    pub fn new(index: u16, broker: Broker) -> Self {
        Self {
            index,
            broker,
            effects: Effects::default(),
            connections: Vec::new(),
            generations: Vec::new(),
            asking: VecDeque::new(),
            touched: BTreeSet::new(),
            ticket: 0,
            cause: None,
        }
    }

    /// A peer has connected.
    pub fn open(&mut self, adaptor: Box<dyn Adaptor>, link: Link) -> PeerId {
        let free = self.connections.iter().position(Option::is_none);
        let slot = free.unwrap_or_else(|| {
            self.connections.push(None);
            self.generations.push(0);
            self.connections.len() - 1
        });
        self.generations[slot] = self.generations[slot].wrapping_add(1);
        let peer = PeerId { shard: self.index, generation: self.generations[slot], slot: slot as u32 };
        self.connections[slot] = Some(Connection {
            peer,
            adaptor,
            link,
            input: BytesMut::new(),
            output: OutBuffer::default(),
            requests: VecDeque::new(),
            last: Receive::NeedMore,
            pace: Pace::Ready,
            unread_answer_bytes: 0,
            closing: false,
            refusal: None,
        });
        peer
    }

    pub fn connection(&self, peer: PeerId) -> Option<&Connection> {
        let connection = self.connections.get(peer.slot as usize)?.as_ref()?;
        (connection.peer == peer).then_some(connection)
    }

    pub fn connection_mut(&mut self, peer: PeerId) -> Option<&mut Connection> {
        let connection = self.connections.get_mut(peer.slot as usize)?.as_mut()?;
        (connection.peer == peer).then_some(connection)
    }

    /// One turn of the adaptor with the bytes that are there.
    pub fn receive(&mut self, peer: PeerId, common: &mut Common) {
        let Some(connection) = self.connection_mut(peer).filter(|connection| !connection.closing) else { return };
        let before = connection.output.len();
        let mut out = Out { bytes: &mut connection.output, requests: &mut connection.requests };
        let result = connection.adaptor.receive(common.now, &mut connection.input, &mut out);
        connection.unread_answer_bytes += connection.output.len() - before;
        match result {
            Ok(receive) => connection.last = receive,
            Err(close) => self.close(peer, close, common),
        }
        self.limit_unread_answers(peer, common);
        self.settle(peer.slot, common);
    }

    /// Whoever keeps asking and never reads the answers is let go. Deliveries have their own bound: the high mark.
    fn limit_unread_answers(&mut self, peer: PeerId, common: &mut Common) {
        let most = common.limits.write_buffer_high_bytes.max(UNREAD_ANSWER_BYTES_MAX);
        let connection = self.connection(peer).filter(|connection| !connection.closing);
        if connection.is_some_and(|connection| connection.unread_answer_bytes > most) {
            let refusal = Refusal::new(Reason::QuotaExceeded, "the peer keeps asking but does not read the answers");
            self.close(peer, Close::with_will(refusal), common);
        }
    }

    /// The peer's bytes have ended.
    pub fn lost(&mut self, peer: PeerId, common: &mut Common) {
        if self.connection(peer).is_some_and(|connection| !connection.closing) {
            let refusal = Refusal::new(Reason::ConnectionLost, "the connection was lost");
            self.close(peer, Close::with_will(refusal), common);
            self.settle(peer.slot, common);
        }
    }

    /// Frees the slot of a connection that is over.
    pub fn free(&mut self, peer: PeerId, common: &mut Common) {
        assert!(self.connection(peer).is_none_or(|connection| connection.closing), "{peer:?} is freed while open");
        self.connections[peer.slot as usize] = None;
        common.release(peer);
        common.paused.remove(&peer);
        common.throttled.remove(&peer);
        common.promises.forget(peer);
    }

    /// This much has left towards the peer.
    pub fn has_written(&mut self, peer: PeerId, written: usize, common: &mut Common) {
        if let Some(connection) = self.connection_mut(peer) {
            connection.unread_answer_bytes = connection.unread_answer_bytes.saturating_sub(written);
        }
        self.settle(peer.slot, common);
    }

    /// The store has made everything up to this ticket durable.
    pub fn confirm(&mut self, ticket: u64, common: &mut Common) {
        common.promises.confirmed(self.index, ticket);
        self.broker.stored(common.now, ticket, &mut self.effects);
        self.run(common);
    }

    /// What the store has loaded.
    pub fn loaded(&mut self, loaded: Loaded, common: &mut Common) {
        self.broker.loaded(common.now, loaded, &mut self.effects);
        self.run(common);
    }

    /// Puts back what an earlier process has left.
    pub fn restore(&mut self, facts: Vec<Restored>, common: &mut Common) {
        for fact in facts {
            self.broker.restore(common.now, fact, &mut self.effects);
        }
        self.broker.restored(common.now, &mut self.effects);
        self.run(common);
    }

    pub fn word(&mut self, from: u16, word: Word, common: &mut Common) {
        self.cause = common.promises.cause_of_word(from, &word);
        self.broker.forwarded(common.now, from, word, &mut self.effects);
        self.run(common);
    }

    pub fn verdict(&mut self, peer: PeerId, verdict: Verdict, common: &mut Common) {
        self.cause = Some(Cause::Connect(peer));
        self.broker.verified(common.now, peer, verdict, &mut self.effects);
        self.run(common);
    }

    /// Calls the broker directly, as the server does for `$SYS` and at the end.
    pub fn call(&mut self, common: &mut Common, act: impl FnOnce(&mut Broker, Now, &mut Effects)) {
        act(&mut self.broker, common.now, &mut self.effects);
        self.run(common);
    }

    /// The earliest moment at which this shard wants to be called, who wants it, and why.
    pub fn deadlines(&self, common: &Common) -> Vec<(u64, Timer, &'static str)> {
        let own = common.behind.iter().filter(|(peer, _)| peer.shard == self.index);
        let mut all: Vec<_> = own.map(|(peer, until_ns)| (*until_ns, Timer::Stall(*peer), "a slow peer")).collect();
        let throttled = common.throttled.iter().filter(|(peer, _)| peer.shard == self.index);
        all.extend(throttled.map(|(peer, until_ns)| (*until_ns, Timer::Throttle(*peer), "it was too fast")));
        if let Some(deadline) = self.broker.next_timeout() {
            all.push((deadline.mono_ns, Timer::Broker, deadline.reason));
        }
        let is_heard = |it: &&Connection| !it.closing && !common.throttled.contains_key(&it.peer);
        for connection in self.connections.iter().flatten().filter(is_heard) {
            if let Some(deadline) = connection.adaptor.next_timeout() {
                all.push((deadline.mono_ns, Timer::Adaptor(connection.peer), deadline.reason));
            }
        }
        all
    }

    /// A deadline has come.
    pub fn timeout(&mut self, timer: Timer, common: &mut Common) {
        match timer {
            Timer::Broker => {
                self.broker.timeout(common.now, &mut self.effects);
                self.run(common);
            }
            Timer::Adaptor(peer) => {
                let Some(connection) = self.connection_mut(peer).filter(|connection| !connection.closing) else {
                    return;
                };
                let mut out = Out { bytes: &mut connection.output, requests: &mut connection.requests };
                if let Err(close) = connection.adaptor.timeout(common.now, &mut out) {
                    self.close(peer, close, common);
                }
                self.settle(peer.slot, common);
            }
            Timer::Throttle(peer) => {
                common.throttled.remove(&peer);
                self.settle(peer.slot, common);
            }
            Timer::Stall(peer) => {
                if self.connection(peer).is_some_and(|connection| connection.pace == Pace::Slow) {
                    self.set_pace(peer, Pace::Stalled, common);
                    self.run(common);
                } else {
                    common.release(peer);
                }
            }
        }
    }

    /// Bytes that wait in the house's buffers of this shard's connections, in both directions.
    pub fn buffered_bytes(&self) -> usize {
        let connections = self.connections.iter().flatten();
        connections.map(|connection| connection.input.len() + connection.output.len()).sum()
    }

    /// Conversations that are not over.
    pub fn connections_open(&self) -> usize {
        self.connections.iter().flatten().filter(|connection| !connection.closing).count()
    }

    fn settle(&mut self, slot: u32, common: &mut Common) {
        self.asking.push_back(slot);
        self.touched.insert(slot);
        self.run(common);
    }

    /// Empties the effects, the requests and the changes of pace, in turns, until nothing is left.
    fn run(&mut self, common: &mut Common) {
        loop {
            self.absorb(common);
            if let Some(slot) = self.asking.pop_front() {
                self.ask(slot, common);
            } else if let Some(slot) = self.touched.pop_first() {
                self.observe_pace(slot, common);
            } else {
                return;
            }
        }
    }

    /// Hands one request of this slot to the broker.
    fn ask(&mut self, slot: u32, common: &mut Common) {
        let Some(Some(connection)) = self.connections.get_mut(slot as usize) else { return };
        if common.throttled.contains_key(&connection.peer) && !connection.closing {
            return;
        }
        let Some(mut request) = connection.requests.pop_front() else { return };
        if let Request::Connect(connect) = &mut request {
            connect.link = connection.link.clone();
        }
        if !connection.requests.is_empty() {
            self.asking.push_back(slot);
        }
        let peer = connection.peer;
        common.trace.note(format_args!("{} asks {request:?}", name(peer)));
        common.promises.asked(peer, &request);
        self.cause = Promises::cause_of_request(peer, &request);
        self.broker.request(common.now, peer, request, &mut self.effects);
    }

    fn absorb(&mut self, common: &mut Common) {
        let effects = std::mem::take(&mut self.effects);
        let cause = self.cause.take();
        if !effects.store.is_empty() {
            let ticket = effects.ticket;
            assert!(ticket > self.ticket, "ticket {ticket} after {}: tickets grow", self.ticket);
            self.ticket = ticket;
            common.trace.note(format_args!("shard {} stores {} records as {ticket}", self.index, effects.store.len()));
            common.promises.written(self.index, ticket, cause);
            common.vault.hand_step(self.index, ticket, effects.store);
        }
        for load in effects.load {
            common.trace.note(format_args!("shard {} wants {load:?}", self.index));
            common.vault.hand_load(self.index, load);
        }
        for (to, word) in effects.forward {
            assert_ne!(to, self.index, "a word to oneself: {word:?}");
            common.promises.said(self.index, &word, cause);
            common.channels.entry((self.index, to)).or_default().push_back(word);
        }
        common.questions.extend(effects.verify.into_iter().map(|question| (self.index, question)));
        for (publisher, subscriber) in effects.pause {
            common.trace.note(format_args!("{} waits for {}", name(publisher), name(subscriber)));
            common.paused.entry(publisher).or_insert(subscriber);
            common.falls_behind(subscriber);
        }
        for subscriber in effects.resume {
            common.trace.note(format_args!("nobody waits for {}", name(subscriber)));
            if self.connection(subscriber).is_none_or(|connection| connection.pace != Pace::Slow) {
                common.release(subscriber);
            }
        }
        for (publisher, until_ns) in effects.throttle {
            assert_eq!(publisher.shard, self.index, "another shard's peer is to rest");
            common.trace.note(format_args!("{} rests", name(publisher)));
            let until = common.throttled.entry(publisher).or_insert(until_ns);
            *until = until_ns.max(*until);
        }
        for event in effects.events {
            common.trace.note(format_args!("event {event:?}"));
            common.events.push(event);
        }
        for (peer, answer) in effects.answers {
            self.answer(peer, answer, common);
        }
        for batch in effects.deliveries.chunk_by(|one, next| one.peer == next.peer) {
            self.deliver(batch, common);
        }
    }

    fn answer(&mut self, peer: PeerId, answer: Answer, common: &mut Common) {
        assert_eq!(peer.shard, self.index, "an answer for another shard's peer: {answer:?}");
        common.trace.note(format_args!("{} hears {answer:?}", name(peer)));
        let Some(connection) = self.connection_mut(peer).filter(|connection| !connection.closing) else { return };
        common.promises.answered(peer, &answer);
        let before = connection.output.len();
        let mut out = Out { bytes: &mut connection.output, requests: &mut connection.requests };
        let result = connection.adaptor.answer(common.now, answer, &mut out);
        connection.unread_answer_bytes += connection.output.len() - before;
        if connection.last == Receive::Wait {
            connection.last = Receive::Again;
        }
        if let Err(close) = result {
            self.close(peer, close, common);
        }
        self.limit_unread_answers(peer, common);
        self.asking.push_back(peer.slot);
        self.touched.insert(peer.slot);
    }

    fn deliver(&mut self, batch: &[Delivery], common: &mut Common) {
        let peer = batch[0].peer;
        assert_eq!(peer.shard, self.index, "a delivery for another shard's peer");
        for delivery in batch {
            let Delivery { number, guarantee, retain, duplicate, tags, message, .. } = delivery;
            common.trace.note(format_args!(
                "{} gets {:?} {:?} number {number} {guarantee:?} retain {retain} duplicate {duplicate} tags {tags:?}",
                name(peer),
                message.topic,
                message.payload,
            ));
        }
        let Some(connection) = self.connection_mut(peer).filter(|connection| !connection.closing) else { return };
        let mut out = Out { bytes: &mut connection.output, requests: &mut connection.requests };
        connection.adaptor.deliver(common.now, batch, &mut out);
        self.asking.push_back(peer.slot);
        self.touched.insert(peer.slot);
    }

    /// The conversation is over: what was asked before is still asked, then the broker hears the end.
    fn close(&mut self, peer: PeerId, close: Close, common: &mut Common) {
        let Some(connection) = self.connection_mut(peer) else { return };
        common.trace.note(format_args!("{} closes: {close:?}", name(peer)));
        connection.requests.push_back(Request::Disconnect(Disconnect {
            publish_will: close.publish_will,
            session_expiry_s: None,
            reason: close.refusal.reason,
        }));
        connection.closing = true;
        connection.refusal = Some(close.refusal);
        connection.input = BytesMut::new();
        common.release(peer);
    }

    fn observe_pace(&mut self, slot: u32, common: &mut Common) {
        let Some(Some(connection)) = self.connections.get_mut(slot as usize) else { return };
        if connection.closing {
            return;
        }
        let (peer, waiting_bytes) = (connection.peer, connection.output.len());
        match connection.pace {
            Pace::Ready if waiting_bytes > common.limits.write_buffer_high_bytes => {
                self.set_pace(peer, Pace::Slow, common);
            }
            Pace::Slow | Pace::Stalled if waiting_bytes <= common.limits.write_buffer_low_bytes => {
                self.set_pace(peer, Pace::Ready, common);
            }
            _ => {}
        }
    }

    fn set_pace(&mut self, peer: PeerId, pace: Pace, common: &mut Common) {
        let Some(connection) = self.connection_mut(peer) else { return };
        connection.pace = pace;
        common.trace.note(format_args!("{} is {pace:?}", name(peer)));
        if pace == Pace::Slow {
            common.falls_behind(peer);
        } else {
            common.release(peer);
        }
        self.broker.pace(common.now, peer, pace, &mut self.effects);
    }
}

/// Whose deadline it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    Broker,
    Adaptor(PeerId),
    Stall(PeerId),
    Throttle(PeerId),
}

/// A short name for traces.
pub(crate) fn name(peer: PeerId) -> String {
    format!("{}:{}.{}", peer.shard, peer.slot, peer.generation)
}
