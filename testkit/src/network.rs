//! Datagrams between a door and client halves, on a network that loses, copies and delays them, so that they overtake each
//! other, and that moves clients to other addresses as a NAT does. Behind the door stands a broker with one peer of its own,
//! the insider. The clock is virtual, and one seed is one history.
//!
//! Any [`Door`] will do, with any [`ClientHalf`] that speaks its language.

use crate::trace::Trace;
use althing_core::authorisation::Policy;
use althing_core::broker::Broker;
use althing_core::door::{Datagrams, PeerIds, Source};
use althing_core::effects::{Delivery, Effects, Verdict};
use althing_core::time::MILLISECOND_NS;
use althing_core::verbs::{Connect, Outcome, Publish, Subscribe, SubscribeFilter, SubscriptionOptions};
use althing_core::{Deadline, Door, DoorOut, Entropy, Guarantee, Limits, Message, Now, PeerId, Request};
use bytes::Bytes;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::Arc;

/// A client's side of a datagram language, without IO.
pub trait ClientHalf {
    /// What it tells whoever uses it.
    type Event: Debug;

    /// The datagrams that it wants to send; takes them.
    fn output(&mut self) -> Vec<Vec<u8>>;

    /// A datagram from the other end.
    fn receive(&mut self, now: Now, datagram: &Bytes, events: &mut Vec<Self::Event>);

    /// The time that [`next_timeout`](Self::next_timeout) named has come (or a little earlier time).
    fn timeout(&mut self, now: Now, events: &mut Vec<Self::Event>);

    /// When to call `timeout`.
    fn next_timeout(&self) -> Option<Deadline>;
}

/// How bad the network is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// How many of a hundred datagrams are lost.
    pub loss_percent: u64,
    /// How many of a hundred come twice.
    pub copies_percent: u64,
    /// How long one is on its way at most; each takes a time of its own.
    pub delay_ms_max: u64,
}

/// How a world begins.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Decides everything that is not said.
    pub seed: u64,
    /// How many clients there are.
    pub clients: usize,
    /// The limits of the house.
    pub limits: Limits,
    /// How the network is at first.
    pub weather: Weather,
    /// How long it takes to make something durable.
    pub store_ms: u64,
    /// How long it takes to find out who somebody is.
    pub verify_ms: u64,
}

/// The world.
#[derive(Debug)]
pub struct Network<D: Door, C: ClientHalf> {
    /// The moment; moves by [`run_ms`](Self::run_ms) only.
    pub now: Now,
    /// How the network is from now on.
    pub weather: Weather,
    /// What is behind the door.
    pub broker: Broker,
    /// The server's side.
    pub door: D,
    /// The door's peers.
    pub peers: PeerIds,
    /// The clients.
    pub clients: Vec<Client<C>>,
    /// What the insider was delivered, in order.
    pub heard: Vec<Arc<Message>>,
    /// Everything that left the door, in order.
    pub sent: Vec<Sent>,
    /// For whoever lives in this world.
    pub entropy: Entropy,
    setup: Setup,
    effects: Effects,
    under_way: BinaryHeap<Reverse<(u64, u64, Arrival)>>,
    count: u64,
    addresses: u16,
    trace: Trace,
}

/// A client, where it is and what it was told.
#[derive(Debug)]
pub struct Client<C: ClientHalf> {
    /// The client half.
    pub half: C,
    /// Where the door sees it.
    pub remote: SocketAddr,
    /// What it has told, in order.
    pub events: Vec<C::Event>,
}

/// A datagram that left the door, whether it arrived or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// When.
    pub at_ns: u64,
    /// Where to.
    pub remote: SocketAddr,
    /// What.
    pub datagram: Bytes,
}

/// What happens later. A datagram for an address where nobody is any more is lost.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Arrival {
    AtDoor(SocketAddr, Bytes),
    AtClient(SocketAddr, Bytes),
    Stored(u64),
    Verified(PeerId),
}

const INSIDER: PeerId = PeerId { shard: 0, generation: 0, slot: 0 };

/// The door's peers have slots from here on.
const SLOT_FIRST: u32 = 1_000;

const PORT_FIRST: u16 = 10_000;

impl<D: Door, C: ClientHalf> Network<D, C> {
    /// A world whose insider is connected, and whose clients have said nothing.
    pub fn new(
        setup: Setup,
        door: impl FnOnce(&Limits, Entropy) -> D,
        mut client: impl FnMut(usize, Entropy) -> C,
    ) -> Self {
        let mut entropy = Entropy::new(setup.seed);
        let mut seeded = || Entropy::new(entropy.next_u64());
        let broker = Broker::new(0, 1, Arc::new(setup.limits.clone()), Arc::new(Policy::open()), seeded());
        let door = door(&setup.limits, seeded());
        let halves: Vec<C> = (0..setup.clients).map(|index| client(index, seeded())).collect();
        let mut network = Self {
            now: Now { mono_ns: 1, wall_ms: 1_700_000_000_000 },
            weather: setup.weather,
            broker,
            door,
            peers: PeerIds::new(0, SLOT_FIRST),
            clients: Vec::new(),
            heard: Vec::new(),
            sent: Vec::new(),
            entropy,
            setup,
            effects: Effects::default(),
            under_way: BinaryHeap::new(),
            count: 0,
            addresses: 0,
            trace: crate::worlds::trace_wanted(),
        };
        for half in halves {
            let remote = network.new_address();
            network.clients.push(Client { half, remote, events: Vec::new() });
        }
        let connect = Connect { client: Some("insider".into()), window: u16::MAX, ..Connect::new("insider") };
        network.ask(Request::Connect(Box::new(connect)));
        network
    }

    /// What happened so far.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// The insider asks the broker for something.
    pub fn ask(&mut self, request: Request) {
        self.trace.note(format_args!("the insider asks {request:?}"));
        self.broker.request(self.now, INSIDER, request, &mut self.effects);
        self.settle();
    }

    /// The insider subscribes, at least once.
    ///
    /// # Panics
    /// If this is no filter.
    pub fn subscribe(&mut self, filter: &str) {
        let filter = crate::house::filter(filter);
        let options = SubscriptionOptions { guarantee: Guarantee::AtLeastOnce, ..SubscriptionOptions::default() };
        let filters = vec![SubscribeFilter { filter: Ok(filter), options }];
        self.ask(Request::Subscribe(Box::new(Subscribe { correlation: 1, filters })));
    }

    /// The insider publishes.
    ///
    /// # Panics
    /// If this is no topic.
    pub fn publish(&mut self, topic: &str, payload: impl Into<Bytes>, guarantee: Guarantee, retain: bool) {
        let mut message = Message::new(crate::house::topic(topic), payload.into());
        (message.guarantee, message.retain) = (guarantee, retain);
        self.ask(Request::Publish(Publish { message, token: None, correlation: 1 }));
    }

    /// Lets a client do something, and takes what it says to the network.
    pub fn client<R>(&mut self, client: usize, act: impl FnOnce(&mut C, Now) -> R) -> R {
        let result = act(&mut self.clients[client].half, self.now);
        self.collect(client);
        result
    }

    /// From now on the door sees the client at another address; what is under way to the old one is lost.
    pub fn move_client(&mut self, client: usize) {
        self.clients[client].remote = self.new_address();
        self.trace.note(format_args!("client {client} is now at {}", self.clients[client].remote));
    }

    /// Lets so much time pass, with all that happens meanwhile.
    pub fn run_ms(&mut self, ms: u64) {
        let end_ns = self.now.mono_ns + ms * MILLISECOND_NS;
        while let Some(next_ns) = self.next_ns().filter(|next_ns| *next_ns <= end_ns) {
            self.set_clock(next_ns.max(self.now.mono_ns));
            self.turn();
        }
        self.set_clock(end_ns);
    }

    fn new_address(&mut self) -> SocketAddr {
        self.addresses += 1;
        SocketAddr::from(([192, 0, 2, 1], PORT_FIRST + self.addresses))
    }

    fn set_clock(&mut self, mono_ns: u64) {
        let before_ms = self.now.mono_ns / MILLISECOND_NS;
        self.now.mono_ns = mono_ns;
        self.now.wall_ms += mono_ns / MILLISECOND_NS - before_ms;
    }

    fn next_ns(&self) -> Option<u64> {
        let arrival = self.under_way.peek().map(|Reverse((due_ns, ..))| *due_ns);
        let clients = self.clients.iter().filter_map(|client| client.half.next_timeout());
        let deadlines = clients.chain(self.door.next_timeout()).chain(self.broker.next_timeout());
        arrival.into_iter().chain(deadlines.map(|deadline| deadline.mono_ns)).min()
    }

    /// Everything that is due now.
    fn turn(&mut self) {
        while self.under_way.peek().is_some_and(|Reverse((due_ns, ..))| *due_ns <= self.now.mono_ns) {
            if let Some(Reverse((_, _, arrival))) = self.under_way.pop() {
                self.arrive(arrival);
                self.settle();
            }
        }
        for client in 0..self.clients.len() {
            if self.is_due(self.clients[client].half.next_timeout()) {
                let Client { half, events, .. } = &mut self.clients[client];
                half.timeout(self.now, events);
                self.collect(client);
            }
        }
        if self.is_due(self.door.next_timeout()) {
            self.call_door(|door, now, out| door.timeout(now, out));
        }
        if self.is_due(self.broker.next_timeout()) {
            self.broker.timeout(self.now, &mut self.effects);
        }
        self.settle();
    }

    fn is_due(&self, deadline: Option<Deadline>) -> bool {
        deadline.is_some_and(|deadline| deadline.mono_ns <= self.now.mono_ns)
    }

    fn arrive(&mut self, arrival: Arrival) {
        self.trace.note(format_args!("{} us: {arrival:?}", self.now.mono_ns / 1_000));
        match arrival {
            Arrival::AtDoor(remote, datagram) => {
                self.call_door(|door, now, out| door.receive(now, Source::plain(remote), datagram, out));
            }
            Arrival::AtClient(remote, datagram) => {
                let Some(place) = self.clients.iter().position(|client| client.remote == remote) else { return };
                let Client { half, events, .. } = &mut self.clients[place];
                half.receive(self.now, &datagram, events);
                self.collect(place);
            }
            Arrival::Stored(ticket) => self.broker.stored(self.now, ticket, &mut self.effects),
            Arrival::Verified(peer) => self.verified(peer),
        }
    }

    fn collect(&mut self, client: usize) {
        let Client { half, remote, .. } = &mut self.clients[client];
        let (remote, output) = (*remote, half.output());
        for datagram in output {
            self.send(Arrival::AtDoor(remote, datagram.into()));
        }
    }

    fn send(&mut self, arrival: Arrival) {
        let Weather { loss_percent, copies_percent, delay_ms_max } = self.weather;
        let copies = 1 + u64::from(self.entropy.below(100) < copies_percent);
        for _ in 0..copies {
            if self.entropy.below(100) < loss_percent {
                self.trace.note(format_args!("lost: {arrival:?}"));
            } else {
                let delay_ms = self.entropy.below(delay_ms_max + 1);
                self.schedule(delay_ms, arrival.clone());
            }
        }
    }

    fn schedule(&mut self, delay_ms: u64, arrival: Arrival) {
        self.count += 1;
        self.under_way.push(Reverse((self.now.after_ms(delay_ms), self.count, arrival)));
    }

    fn call_door(&mut self, act: impl FnOnce(&mut D, Now, &mut DoorOut<'_>)) {
        let (mut datagrams, mut requests) = (Datagrams::default(), VecDeque::new());
        let mut out = DoorOut { datagrams: &mut datagrams, requests: &mut requests, peers: &mut self.peers };
        act(&mut self.door, self.now, &mut out);
        for (remote, datagram) in datagrams.iter() {
            let datagram = Bytes::copy_from_slice(datagram);
            self.sent.push(Sent { at_ns: self.now.mono_ns, remote, datagram: datagram.clone() });
            self.send(Arrival::AtClient(remote, datagram));
        }
        for (peer, request) in requests {
            self.trace.note(format_args!("slot {} asks {request:?}", peer.slot));
            self.broker.request(self.now, peer, request, &mut self.effects);
        }
    }

    /// Carries out what the broker wants, until it wants nothing.
    fn settle(&mut self) {
        loop {
            let effects = std::mem::take(&mut self.effects);
            let Effects { answers, deliveries, verify, store, ticket, .. } = effects;
            if answers.is_empty() && deliveries.is_empty() && verify.is_empty() && store.is_empty() {
                return;
            }
            if !store.is_empty() {
                match self.setup.store_ms {
                    0 => self.broker.stored(self.now, ticket, &mut self.effects),
                    store_ms => self.schedule(store_ms, Arrival::Stored(ticket)),
                }
            }
            for question in verify {
                match self.setup.verify_ms {
                    verify_ms if verify_ms == 0 || question.peer == INSIDER => self.verified(question.peer),
                    verify_ms => self.schedule(verify_ms, Arrival::Verified(question.peer)),
                }
            }
            for (peer, answer) in answers {
                if self.peers.is_open(peer) {
                    self.call_door(|door, now, out| door.answer(now, peer, answer, out));
                }
            }
            for delivery in deliveries {
                self.deliver(delivery);
            }
        }
    }

    fn verified(&mut self, peer: PeerId) {
        let accept = Verdict::Accept { identity: Default::default(), data: None };
        self.broker.verified(self.now, peer, accept, &mut self.effects);
    }

    fn deliver(&mut self, delivery: Delivery) {
        if delivery.peer == INSIDER {
            self.heard.push(delivery.message);
            if delivery.number != 0 {
                let settle = Request::Settle { number: delivery.number, outcome: Outcome::Accept };
                self.broker.request(self.now, INSIDER, settle, &mut self.effects);
            }
        } else if self.peers.is_open(delivery.peer) {
            self.call_door(|door, now, out| door.deliver(now, delivery.peer, std::slice::from_ref(&delivery), out));
        }
    }
}

/// Whoever sees a test fail wants to see what happened before.
impl<D: Door, C: ClientHalf> Drop for Network<D, C> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.trace);
        }
    }
}

impl ClientHalf for althing_coap::client::Client {
    type Event = althing_coap::client::Event;

    fn output(&mut self) -> Vec<Vec<u8>> {
        self.output()
    }

    fn receive(&mut self, now: Now, datagram: &Bytes, events: &mut Vec<Self::Event>) {
        self.receive(now, datagram, events);
    }

    fn timeout(&mut self, now: Now, events: &mut Vec<Self::Event>) {
        self.timeout(now, events);
    }

    fn next_timeout(&self) -> Option<Deadline> {
        self.next_timeout()
    }
}
