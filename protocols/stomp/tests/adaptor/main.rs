//! The adaptor before a real broker, by the chapters of the specification. Time is virtual, and the store
//! confirms when the test says so.

mod client_half;
mod connecting;
mod heart_beating;
mod sending;
mod subscribing;

use althing_core::authorisation::{Actions, Policy, Rule};
use althing_core::broker::Broker;
use althing_core::effects::{Effects, Verdict};
use althing_core::time::{MILLISECOND_NS, SECOND_NS};
use althing_core::verbs::{Disconnect, Reason, Refusal};
use althing_core::{
    Adaptor, Answer, Close, Entropy, Identity, Limits, Link, Message, Now, Out, OutBuffer, PeerId, Receive, Request,
};
use althing_stomp::{StompAdaptor, StompConfig};
use bytes::BytesMut;
use std::collections::VecDeque;
use std::sync::Arc;

/// A broker and its STOMP connections.
struct Hall {
    now: Now,
    broker: Broker,
    effects: Effects,
    limits: Arc<Limits>,
    seats: Vec<Seat>,
    /// Whether what is to be stored is durable at once.
    stores: bool,
    /// A passcode that is refused.
    wrong_passcode: &'static str,
}

/// One connection.
struct Seat {
    adaptor: StompAdaptor,
    input: BytesMut,
    out: OutBuffer,
    requests: VecDeque<Request>,
    waits: bool,
    closed: Option<Close>,
}

impl Hall {
    fn new() -> Self {
        Self::with(Limits::default(), Policy::open())
    }

    fn with(limits: Limits, policy: Policy) -> Self {
        let limits = Arc::new(limits);
        Self {
            now: Now { mono_ns: SECOND_NS, wall_ms: 1_700_000_000_000 },
            broker: Broker::new(0, 1, limits.clone(), Arc::new(policy), Entropy::new(7)),
            effects: Effects::default(),
            limits,
            seats: Vec::new(),
            stores: true,
            wrong_passcode: "wrong",
        }
    }

    /// A connection that has said nothing yet.
    fn accept(&mut self) -> usize {
        let link = Link::new(None, "hall");
        self.seats.push(Seat {
            adaptor: StompAdaptor::new(&link, self.limits.clone(), Arc::new(StompConfig::default())),
            input: BytesMut::new(),
            out: OutBuffer::default(),
            requests: VecDeque::new(),
            waits: false,
            closed: None,
        });
        self.seats.len() - 1
    }

    /// A connection that stands.
    fn connect(&mut self) -> usize {
        let seat = self.accept();
        let heard = self.say(seat, "CONNECT\naccept-version:1.2\nhost:here\n\n^@");
        assert!(heard.starts_with("CONNECTED\nversion:1.2\n"), "{heard}");
        seat
    }

    /// A connection with a subscription of id 0.
    fn subscribe(&mut self, destination: &str, ack: &str) -> usize {
        let seat = self.connect();
        let frame = format!("SUBSCRIBE\nid:0\ndestination:{destination}\nack:{ack}\nreceipt:s\n\n^@");
        assert_eq!(self.say(seat, &frame), "RECEIPT\nreceipt-id:s\n\n^@");
        seat
    }

    /// Sends with a receipt and expects it.
    fn send(&mut self, seat: usize, destination: &str, body: &str) {
        let heard = self.say(seat, &format!("SEND\ndestination:{destination}\nreceipt:r\n\n{body}^@"));
        assert!(heard.contains("receipt-id:r"), "{heard}");
    }

    /// Bytes from a peer, with ^@ for NUL as the specification writes it; returns what it hears then.
    fn say(&mut self, seat: usize, text: &str) -> String {
        self.seats[seat].input.extend_from_slice(text.replace("^@", "\0").as_bytes());
        self.settle();
        self.heard(seat)
    }

    /// What a peer has heard and was not told yet.
    fn heard(&mut self, seat: usize) -> String {
        String::from_utf8(self.seats[seat].out.take_all()).expect("text").replace('\0', "^@")
    }

    /// The bodies of the messages that a peer has heard.
    fn bodies(&mut self, seat: usize) -> Vec<String> {
        let heard = self.heard(seat);
        let messages = heard.split("^@").filter(|frame| frame.starts_with("MESSAGE"));
        messages.map(|frame| frame.split_once("\n\n").expect("a head and a body").1.to_owned()).collect()
    }

    fn why_closed(&self, seat: usize) -> Option<Reason> {
        self.seats[seat].closed.as_ref().map(|close| close.refusal.reason)
    }

    /// The connection breaks.
    fn lose(&mut self, seat: usize) {
        let close = Close::with_will(Refusal::new(Reason::ConnectionLost, "lost"));
        self.close(seat, close);
        self.settle();
    }

    /// Time passes; whoever wanted to be called is called.
    fn advance_ms(&mut self, ms: u64) {
        self.now.mono_ns += ms * MILLISECOND_NS;
        self.now.wall_ms += ms;
        for seat in 0..self.seats.len() {
            let due = self.seats[seat].adaptor.next_timeout();
            if due.is_some_and(|due| due.mono_ns <= self.now.mono_ns) {
                self.call(seat, |adaptor, now, out| adaptor.timeout(now, out));
            }
        }
        self.settle();
    }

    /// What is to be stored becomes durable.
    fn store(&mut self) {
        self.effects.store.clear();
        let ticket = self.effects.ticket;
        self.broker.stored(self.now, ticket, &mut self.effects);
        self.settle_with(false);
    }

    /// The broker speaks by itself.
    fn publish(&mut self, message: Message) {
        self.broker.publish(self.now, message, &mut self.effects);
        self.settle();
    }

    fn settle(&mut self) {
        let stores = self.stores;
        self.settle_with(stores);
    }

    /// Moves bytes, requests, answers and deliveries until nothing moves any more.
    fn settle_with(&mut self, stores: bool) {
        loop {
            let mut moved = false;
            for seat in 0..self.seats.len() {
                moved |= self.receive(seat);
            }
            moved |= self.drain(stores);
            if !moved {
                return;
            }
        }
    }

    fn receive(&mut self, seat: usize) -> bool {
        if self.seats[seat].waits || self.seats[seat].closed.is_some() || self.seats[seat].input.is_empty() {
            return false;
        }
        let mut input = std::mem::take(&mut self.seats[seat].input);
        let before = input.len();
        let received = self.call(seat, |adaptor, now, out| adaptor.receive(now, &mut input, out));
        let moved = input.len() < before || received == Some(Receive::Again);
        self.seats[seat].input = input;
        self.seats[seat].waits = received == Some(Receive::Wait);
        moved
    }

    fn drain(&mut self, stores: bool) -> bool {
        let mut moved = false;
        for verify in std::mem::take(&mut self.effects.verify) {
            moved = true;
            let wrong = verify.password.as_ref().is_some_and(|password| *password == self.wrong_passcode);
            let verdict = match wrong {
                true => Verdict::Refuse {
                    refusal: Refusal::new(Reason::BadCredentials, "that is not your passcode"),
                    why: None,
                },
                false => {
                    let identity = Identity { name: verify.username.clone(), ..Identity::default() };
                    Verdict::Accept { identity: identity.into(), data: None }
                }
            };
            self.broker.verified(self.now, verify.peer, verdict, &mut self.effects);
        }
        if stores && !self.effects.store.is_empty() {
            self.effects.store.clear();
            let ticket = self.effects.ticket;
            self.broker.stored(self.now, ticket, &mut self.effects);
        }
        for (peer, answer) in std::mem::take(&mut self.effects.answers) {
            moved = true;
            self.answer(peer.slot as usize, answer);
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

    fn answer(&mut self, seat: usize, answer: Answer) {
        self.seats[seat].waits = false;
        self.call(seat, |adaptor, now, out| adaptor.answer(now, answer, out));
    }

    /// Calls an adaptor, hands on what it asks for, and closes when it says so.
    fn call<R>(
        &mut self,
        seat: usize,
        act: impl FnOnce(&mut StompAdaptor, Now, &mut Out<'_>) -> Result<R, Close>,
    ) -> Option<R> {
        let Seat { adaptor, out, requests, closed, .. } = &mut self.seats[seat];
        if closed.is_some() {
            return None;
        }
        let result = act(adaptor, self.now, &mut Out { bytes: out, requests });
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

/// Everyone may do everything but this.
fn all_but(publish: bool, filter: &str) -> Policy {
    Policy::new(vec![Rule::for_everyone(Actions::publish_or_subscribe(publish), filter, false)], true)
}
