//! A broker and connections to it, under a virtual clock. A test says what each client says, message by message or byte by
//! byte, and sees what comes back.

use althing_coap::codec::stream::{decode, decode_whole, encode, encode_whole};
use althing_coap::message::{Code, Kind, Message, Token, number};
use althing_coap::signalling::{Csm, Signal};
use althing_coap::{CoapAdaptor, CoapConfig, CoapMessageAdaptor, Common};
use althing_core::authorisation::Policy;
use althing_core::broker::Broker;
use althing_core::effects::{Effects, Verdict};
use althing_core::time::{MILLISECOND_NS, SECOND_NS};
use althing_core::topic::{Topic, TopicLimits};
use althing_core::verbs::{Connect, Disconnect, Publish, Reason, Refusal};
use althing_core::{
    Adaptor, Answer, Close, Deadline, Entropy, Guarantee, Limits, Link, MessageAdaptor, MessageOut, Now, Out,
    OutBuffer, PeerId, Receive, Request, WholeMessage,
};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::sync::Arc;

pub struct World {
    pub now: Now,
    pub broker: Broker,
    pub common: Arc<Common>,
    pub peers: Vec<Peer>,
    /// Nothing becomes durable while it is set.
    pub holds_store: bool,
    /// What identities are answered with instead of acceptance.
    pub refuses: Option<Refusal>,
    /// Every `Connect` that was asked for.
    pub connects: Vec<Connect>,
    tickets: Vec<u64>,
    effects: Effects,
}

/// One client.
pub struct Peer {
    side: Side,
    input: BytesMut,
    whole: VecDeque<WholeMessage>,
    waits: bool,
    /// What it has heard and nobody has taken.
    pub heard: Vec<Message>,
    pub closed: Option<Close>,
}

enum Side {
    Bytes(CoapAdaptor),
    Whole(CoapMessageAdaptor),
}

const LOCAL: PeerId = PeerId { shard: 0, generation: 0, slot: 0 };

fn peer_id(client: usize) -> PeerId {
    PeerId { slot: client as u32 + 1, ..LOCAL }
}

pub fn token(byte: u8) -> Token {
    Token::new(&[byte]).unwrap()
}

pub fn request(code: Code, name: u8, path: &[&str]) -> Message {
    let mut message = Message { token: token(name), ..Message::new(Kind::Confirmable, code, 0) };
    for segment in path {
        message.options.add(number::URI_PATH, Bytes::copy_from_slice(segment.as_bytes()));
    }
    message
}

pub fn put(name: u8, path: &[&str], payload: impl Into<Bytes>) -> Message {
    Message { payload: payload.into(), ..request(Code::PUT, name, path) }
}

pub fn observe(name: u8, path: &[&str], value: u32) -> Message {
    let mut message = request(Code::GET, name, path);
    message.options.add_uint(number::OBSERVE, value);
    message
}

/// A client that takes messages of a mebibyte, in blocks too.
pub fn csm() -> Message {
    Signal::Csm(Csm { message_bytes_max: Some(1 << 20), block_wise_transfer: true }).message()
}

pub fn bytes_of(messages: &[Message]) -> Vec<u8> {
    let mut out = OutBuffer::default();
    messages.iter().for_each(|message| encode(message, &mut out));
    out.take_all()
}

impl World {
    pub fn new(config: CoapConfig) -> Self {
        let limits = Limits::default();
        let policy = Arc::new(Policy::open());
        let mut world = Self {
            now: Now { mono_ns: SECOND_NS, wall_ms: 1_700_000_000_000 },
            broker: Broker::new(0, 1, Arc::new(limits.clone()), policy, Entropy::new(1)),
            common: Arc::new(Common::new(config, limits)),
            peers: Vec::new(),
            holds_store: false,
            refuses: None,
            connects: Vec::new(),
            tickets: Vec::new(),
            effects: Effects::default(),
        };
        world.local(Request::Connect(Box::new(Connect { client: Some("local".into()), ..Connect::new("local") })));
        world
    }

    /// A client over TCP that has said nothing.
    pub fn accept(&mut self) -> usize {
        self.enter(Side::Bytes(CoapAdaptor::new(&Link::default(), self.common.clone())))
    }

    /// A client over WebSocket that has said nothing there, but its name and password in the upgrade.
    pub fn upgrade(&mut self) -> usize {
        let credentials = (Some("ann".into()), Some("secret".into()));
        let adaptor = CoapMessageAdaptor::new(&Link::default(), self.common.clone(), credentials, 100_000);
        self.enter(Side::Whole(adaptor))
    }

    /// A client over TCP after both CSMs.
    pub fn connect(&mut self) -> usize {
        let client = self.accept();
        let replies = self.say(client, &[csm()]);
        assert_eq!(codes(&replies), [Code::CSM]);
        client
    }

    fn enter(&mut self, side: Side) -> usize {
        let (input, whole, heard) = (BytesMut::new(), VecDeque::new(), Vec::new());
        self.peers.push(Peer { side, input, whole, waits: false, heard, closed: None });
        self.peers.len() - 1
    }

    /// What a client says, and what it hears of that at once.
    pub fn say(&mut self, client: usize, messages: &[Message]) -> Vec<Message> {
        if let Side::Bytes(_) = self.peers[client].side {
            return self.say_bytes(client, &bytes_of(messages));
        }
        for message in messages {
            let mut bytes = Vec::new();
            encode_whole(message, &mut bytes);
            self.peers[client].whole.push_back(WholeMessage { is_text: false, bytes: bytes.into() });
        }
        self.pump(client);
        self.take(client)
    }

    pub fn say_whole(&mut self, client: usize, message: WholeMessage) -> Vec<Message> {
        self.peers[client].whole.push_back(message);
        self.pump(client);
        self.take(client)
    }

    pub fn say_bytes(&mut self, client: usize, bytes: &[u8]) -> Vec<Message> {
        self.peers[client].input.extend_from_slice(bytes);
        self.pump(client);
        self.take(client)
    }

    /// What a client has heard and nobody has taken.
    pub fn take(&mut self, client: usize) -> Vec<Message> {
        std::mem::take(&mut self.peers[client].heard)
    }

    /// Bytes that a client has sent and that have not been read.
    pub fn unread_bytes(&self, client: usize) -> usize {
        self.peers[client].input.len()
    }

    pub fn publish(&mut self, name: &str, payload: impl Into<Bytes>, guarantee: Guarantee) {
        let topic = Topic::new(name.to_owned().into(), &TopicLimits::default()).unwrap();
        let mut message = althing_core::Message::new(topic, payload.into());
        (message.guarantee, message.retain) = (guarantee, true);
        self.local(Request::Publish(Publish { message, token: None, correlation: 1 }));
    }

    /// Everything that was held becomes durable.
    pub fn release_store(&mut self) {
        self.holds_store = false;
        for ticket in std::mem::take(&mut self.tickets) {
            self.broker.stored(self.now, ticket, &mut self.effects);
        }
        self.settle();
    }

    /// The broker says something without being asked.
    pub fn tell(&mut self, client: usize, answer: Answer) {
        self.call(client, |side, now, out| match side {
            Side::Bytes(adaptor) => adaptor.answer(now, answer, &mut out.stream()),
            Side::Whole(adaptor) => adaptor.answer(now, answer, &mut out.messages()),
        });
        self.settle();
    }

    pub fn next_timeout(&self, client: usize) -> Option<Deadline> {
        match &self.peers[client].side {
            Side::Bytes(adaptor) => adaptor.next_timeout(),
            Side::Whole(adaptor) => adaptor.next_timeout(),
        }
    }

    /// Jumps to what a client's adaptor waits for; says what that was.
    pub fn step(&mut self, client: usize) -> Option<&'static str> {
        let deadline = self.next_timeout(client)?;
        self.now.mono_ns = self.now.mono_ns.max(deadline.mono_ns);
        self.timeout(client);
        Some(deadline.reason)
    }

    pub fn advance_ms(&mut self, client: usize, ms: u64) {
        self.now.mono_ns += ms * MILLISECOND_NS;
        if self.next_timeout(client).is_some_and(|deadline| deadline.mono_ns <= self.now.mono_ns) {
            self.timeout(client);
        }
    }

    fn timeout(&mut self, client: usize) {
        self.call(client, |side, now, out| match side {
            Side::Bytes(adaptor) => adaptor.timeout(now, &mut out.stream()),
            Side::Whole(adaptor) => adaptor.timeout(now, &mut out.messages()),
        });
        self.settle();
    }

    fn local(&mut self, request: Request) {
        self.broker.request(self.now, LOCAL, request, &mut self.effects);
        self.settle();
    }

    /// Reads as the driver does, as long as something moves.
    fn pump(&mut self, client: usize) {
        loop {
            let peer = &mut self.peers[client];
            if peer.waits || peer.closed.is_some() {
                return;
            }
            let mut received = Receive::NeedMore;
            match &peer.side {
                Side::Bytes(_) => {
                    let mut input = std::mem::take(&mut peer.input);
                    self.call(client, |side, now, out| {
                        let Side::Bytes(adaptor) = side else { return Ok(()) };
                        received = adaptor.receive(now, &mut input, &mut out.stream())?;
                        Ok(())
                    });
                    self.peers[client].input = input;
                }
                Side::Whole(_) => {
                    let Some(message) = peer.whole.pop_front() else { return };
                    self.call(client, |side, now, out| {
                        let Side::Whole(adaptor) = side else { return Ok(()) };
                        received = adaptor.receive(now, message, &mut out.messages())?;
                        Ok(())
                    });
                    received = if received == Receive::Wait { received } else { Receive::Again };
                }
            }
            self.peers[client].waits = received == Receive::Wait;
            self.settle();
            if received == Receive::NeedMore {
                return;
            }
        }
    }

    /// Calls an adaptor, and carries out what it wants.
    fn call(&mut self, client: usize, act: impl FnOnce(&mut Side, Now, &mut Outlet) -> Result<(), Close>) {
        let mut outlet = Outlet::default();
        let peer = &mut self.peers[client];
        if peer.closed.is_some() {
            return;
        }
        let result = act(&mut peer.side, self.now, &mut outlet);
        let mut bytes = BytesMut::from(&outlet.bytes.take_all()[..]);
        while let Some(message) = decode(&mut bytes, usize::MAX).unwrap() {
            peer.heard.push(message);
        }
        assert!(bytes.is_empty());
        peer.heard.extend(outlet.whole.iter().map(|message| decode_whole(&message.bytes).unwrap()));
        for request in outlet.requests {
            if let Request::Connect(connect) = &request {
                self.connects.push((**connect).clone());
            }
            self.broker.request(self.now, peer_id(client), request, &mut self.effects);
        }
        if let Err(close) = result {
            let disconnect = Disconnect { publish_will: false, session_expiry_s: None, reason: close.refusal.reason };
            self.broker.request(self.now, peer_id(client), Request::Disconnect(disconnect), &mut self.effects);
            self.peers[client].closed = Some(close);
        }
    }

    /// Carries out what the broker wants, until it wants nothing.
    fn settle(&mut self) {
        loop {
            let effects = std::mem::take(&mut self.effects);
            if !effects.store.is_empty() {
                match self.holds_store {
                    true => self.tickets.push(effects.ticket),
                    false => self.broker.stored(self.now, effects.ticket, &mut self.effects),
                }
            } else if effects.answers.is_empty() && effects.deliveries.is_empty() && effects.verify.is_empty() {
                return;
            }
            for verify in effects.verify {
                let accept = Verdict::Accept { identity: Default::default(), data: None };
                let verdict = match self.refuses.clone().filter(|_| verify.peer != LOCAL) {
                    Some(refusal) => Verdict::Refuse { refusal, why: None },
                    None => accept,
                };
                self.broker.verified(self.now, verify.peer, verdict, &mut self.effects);
            }
            for (peer, answer) in effects.answers.into_iter().filter(|(peer, _)| *peer != LOCAL) {
                let client = peer.slot as usize - 1;
                self.call(client, |side, now, out| match side {
                    Side::Bytes(adaptor) => adaptor.answer(now, answer, &mut out.stream()),
                    Side::Whole(adaptor) => adaptor.answer(now, answer, &mut out.messages()),
                });
                if std::mem::take(&mut self.peers[client].waits) {
                    self.pump(client);
                }
            }
            for delivery in effects.deliveries.into_iter().filter(|delivery| delivery.peer != LOCAL) {
                self.call(delivery.peer.slot as usize - 1, |side, now, out| {
                    let batch = std::slice::from_ref(&delivery);
                    match side {
                        Side::Bytes(adaptor) => adaptor.deliver(now, batch, &mut out.stream()),
                        Side::Whole(adaptor) => adaptor.deliver(now, batch, &mut out.messages()),
                    }
                    Ok(())
                });
            }
        }
    }

    /// That a connection has ended for this reason.
    pub fn assert_closed(&self, client: usize, reason: Reason) {
        let closed = self.peers[client].closed.as_ref();
        assert_eq!(closed.map(|close| close.refusal.reason), Some(reason), "{closed:?}");
    }
}

/// Where an adaptor writes.
#[derive(Default)]
struct Outlet {
    bytes: OutBuffer,
    whole: VecDeque<WholeMessage>,
    requests: VecDeque<Request>,
}

impl Outlet {
    fn stream(&mut self) -> Out<'_> {
        Out { bytes: &mut self.bytes, requests: &mut self.requests }
    }

    fn messages(&mut self) -> MessageOut<'_> {
        MessageOut { messages: &mut self.whole, requests: &mut self.requests }
    }
}

pub fn codes(messages: &[Message]) -> Vec<Code> {
    messages.iter().map(|message| message.code).collect()
}

/// The payloads of what was said under a token.
pub fn payloads(messages: &[Message], name: u8) -> Vec<Bytes> {
    messages.iter().filter(|it| it.token == token(name)).map(|it| it.payload.clone()).collect()
}
