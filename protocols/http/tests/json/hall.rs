//! A broker and its connections in objects.

use althing_core::authorisation::Policy;
use althing_core::broker::Broker;
use althing_core::effects::{Effects, Verdict};
use althing_core::time::{MILLISECOND_NS, SECOND_NS};
use althing_core::verbs::{Disconnect, Reason, Refusal};
use althing_core::{
    Answer, Close, Entropy, Identity, Limits, Link, Message, MessageAdaptor, MessageOut, Now, PeerId, Receive, Request,
    WholeMessage,
};
use althing_http::json::{self, Credentials, JsonAdaptor};
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::Arc;

/// The password that is refused.
pub const WRONG: &str = "wrong";

pub struct Hall {
    pub now: Now,
    pub broker: Broker,
    effects: Effects,
    limits: Arc<Limits>,
    seats: Vec<Seat>,
    /// Whether what is to be stored is durable at once.
    pub stores: bool,
    /// Everyone whose identity was asked for: user name and password.
    pub verified: Vec<(Option<String>, Option<String>)>,
}

/// One connection.
struct Seat {
    adaptor: JsonAdaptor,
    input: VecDeque<WholeMessage>,
    heard: VecDeque<WholeMessage>,
    requests: VecDeque<Request>,
    waits: bool,
    closed: Option<Close>,
}

impl Hall {
    pub fn new() -> Self {
        Self::with(Limits::default(), Policy::open())
    }

    pub fn with(limits: Limits, policy: Policy) -> Self {
        let limits = Arc::new(limits);
        Self {
            now: Now { mono_ns: SECOND_NS, wall_ms: 1_700_000_000_000 },
            broker: Broker::new(0, 1, limits.clone(), Arc::new(policy), Entropy::new(7)),
            effects: Effects::default(),
            limits,
            seats: Vec::new(),
            stores: true,
            verified: Vec::new(),
        }
    }

    /// A connection that has said nothing yet.
    pub fn accept(&mut self) -> usize {
        self.accept_with(Credentials::default())
    }

    pub fn accept_with(&mut self, credentials: Credentials) -> usize {
        self.seats.push(Seat {
            adaptor: JsonAdaptor::new(&Link::new(None, "hall"), self.limits.clone(), credentials),
            input: VecDeque::new(),
            heard: VecDeque::new(),
            requests: VecDeque::new(),
            waits: false,
            closed: None,
        });
        self.seats.len() - 1
    }

    /// A connection that stands.
    pub fn connect(&mut self, connect: &str) -> usize {
        let seat = self.accept();
        let heard = self.say(seat, connect);
        assert_eq!(heard[0]["type"], "connected", "{heard:?}");
        seat
    }

    /// A text message; returns what the peer hears then.
    pub fn say(&mut self, seat: usize, text: &str) -> Vec<Value> {
        self.say_message(seat, WholeMessage { is_text: true, bytes: text.to_owned().into() });
        self.heard(seat)
    }

    /// A binary message; returns what the peer hears then.
    pub fn say_binary(&mut self, seat: usize, bytes: &[u8]) -> Vec<Value> {
        self.say_message(seat, WholeMessage { is_text: false, bytes: bytes.to_vec().into() });
        self.heard(seat)
    }

    fn say_message(&mut self, seat: usize, message: WholeMessage) {
        self.seats[seat].input.push_back(message);
        self.settle();
    }

    /// The objects that a peer has heard and was not told yet; a payload behind one is its `behind`.
    pub fn heard(&mut self, seat: usize) -> Vec<Value> {
        let heard = std::mem::take(&mut self.seats[seat].heard);
        let object = |message: WholeMessage| {
            let (text, payload) = json::split(&message).expect("the adaptor writes whole messages");
            let mut object: Value = serde_json::from_str(text).expect("the adaptor writes JSON");
            if let Some(payload) = payload {
                object["behind"] = payload.to_vec().into();
            }
            object
        };
        heard.into_iter().map(object).collect()
    }

    pub fn why_closed(&self, seat: usize) -> Option<Reason> {
        self.seats[seat].closed.as_ref().map(|close| close.refusal.reason)
    }

    /// The connection breaks.
    pub fn lose(&mut self, seat: usize) {
        self.close(seat, Close::with_will(Refusal::new(Reason::ConnectionLost, "lost")));
        self.settle();
    }

    /// Time passes; whoever wanted to be called is called.
    pub fn advance_ms(&mut self, ms: u64) {
        self.now.mono_ns += ms * MILLISECOND_NS;
        self.now.wall_ms += ms;
        for seat in 0..self.seats.len() {
            let due = self.seats[seat].adaptor.next_timeout();
            if due.is_some_and(|due| due.mono_ns <= self.now.mono_ns) {
                self.call(seat, |adaptor, now, out| adaptor.timeout(now, out));
            }
        }
        self.broker.timeout(self.now, &mut self.effects);
        self.settle();
    }

    /// What is to be stored becomes durable.
    pub fn store(&mut self) {
        self.effects.store.clear();
        self.broker.stored(self.now, self.effects.ticket, &mut self.effects);
        self.settle();
    }

    /// The broker speaks by itself.
    pub fn publish(&mut self, message: Message) {
        self.broker.publish(self.now, message, &mut self.effects);
        self.settle();
    }

    /// The broker says something to a peer without being asked.
    pub fn tell(&mut self, seat: usize, answer: Answer) {
        self.call(seat, |adaptor, now, out| adaptor.answer(now, answer, out));
        self.settle();
    }

    /// Moves messages, requests, answers and deliveries until nothing moves any more.
    fn settle(&mut self) {
        loop {
            let mut moved = self.drain();
            for seat in 0..self.seats.len() {
                moved |= self.receive(seat);
            }
            if !moved {
                return;
            }
        }
    }

    fn receive(&mut self, seat: usize) -> bool {
        let Seat { input, waits, closed, .. } = &mut self.seats[seat];
        if *waits || closed.is_some() {
            return false;
        }
        let Some(message) = input.pop_front() else { return false };
        let received = self.call(seat, |adaptor, now, out| adaptor.receive(now, message, out));
        // The answer may have come already.
        self.seats[seat].waits = received == Some(Receive::Wait) && self.effects.answers.is_empty();
        true
    }

    fn drain(&mut self) -> bool {
        let mut moved = false;
        for verify in std::mem::take(&mut self.effects.verify) {
            moved = true;
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let password = verify.password.as_deref().map(text);
            self.verified.push((verify.username.as_ref().map(|name| name.to_string()), password.clone()));
            let verdict = match password.as_deref() == Some(WRONG) {
                true => {
                    let refusal = Refusal::new(Reason::BadCredentials, "that is not your password");
                    Verdict::Refuse { refusal, why: None }
                }
                false => {
                    let identity = Identity { name: verify.username.clone(), ..Identity::default() };
                    Verdict::Accept { identity: identity.into(), data: None }
                }
            };
            self.broker.verified(self.now, verify.peer, verdict, &mut self.effects);
        }
        if self.stores && !self.effects.store.is_empty() {
            moved = true;
            self.effects.store.clear();
            self.broker.stored(self.now, self.effects.ticket, &mut self.effects);
        }
        for (peer, answer) in std::mem::take(&mut self.effects.answers) {
            moved = true;
            self.seats[peer.slot as usize].waits = false;
            self.call(peer.slot as usize, |adaptor, now, out| adaptor.answer(now, answer, out));
        }
        for delivery in std::mem::take(&mut self.effects.deliveries) {
            moved = true;
            self.call(delivery.peer.slot as usize, |adaptor, now, out| {
                adaptor.deliver(now, std::slice::from_ref(&delivery), out);
                Ok(())
            });
        }
        moved
    }

    /// Calls an adaptor, hands on what it asks for, and closes when it says so.
    fn call<R>(
        &mut self,
        seat: usize,
        act: impl FnOnce(&mut JsonAdaptor, Now, &mut MessageOut<'_>) -> Result<R, Close>,
    ) -> Option<R> {
        let Seat { adaptor, heard, requests, closed, .. } = &mut self.seats[seat];
        if closed.is_some() {
            return None;
        }
        let result = act(adaptor, self.now, &mut MessageOut { messages: heard, requests });
        for request in std::mem::take(&mut self.seats[seat].requests) {
            self.broker.request(self.now, peer(seat), request, &mut self.effects);
        }
        result.map_err(|close| self.close(seat, close)).ok()
    }

    fn close(&mut self, seat: usize, close: Close) {
        let reason = close.refusal.reason;
        let disconnect = Disconnect { publish_will: close.publish_will, session_expiry_s: None, reason };
        self.seats[seat].closed = Some(close);
        self.broker.request(self.now, peer(seat), Request::Disconnect(disconnect), &mut self.effects);
    }
}

fn peer(seat: usize) -> PeerId {
    PeerId { shard: 0, generation: 0, slot: seat as u32 }
}
