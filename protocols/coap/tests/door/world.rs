//! A broker, a door and its clients on a link that loses, repeats and delays, under a virtual clock. One seed is
//! one history.

use althing_coap::client::{Client, Event};
use althing_coap::message::{Code, Kind, Message, Token, number};
use althing_coap::{CoapConfig, CoapDoor, Common, codec};
use althing_core::authorisation::{Policy, Rule};
use althing_core::broker::Broker;
use althing_core::door::{Datagrams, PeerIds, Source};
use althing_core::effects::{Delivery, Effects, Verdict};
use althing_core::time::MILLISECOND_NS;
use althing_core::topic::{Filter, Topic, TopicLimits};
use althing_core::verbs::{Connect, Outcome, Publish, Subscribe, SubscribeFilter, SubscriptionOptions};
use althing_core::{Door, DoorOut, Entropy, Guarantee, Limits, Now, PeerId, Request};
use bytes::Bytes;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

/// How bad the link is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    pub loss_percent: u64,
    pub repeat_percent: u64,
    pub delay_ms_max: u64,
    /// How long the store takes to make something durable.
    pub store_ms: u64,
    /// How long it takes to find out who somebody is.
    pub verify_ms: u64,
}

/// One datagram, or one confirmation of the store, on its way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Arrival {
    AtDoor(usize, Vec<u8>),
    AtClient(usize, Vec<u8>),
    Stored(u64),
    Verified(PeerId),
}

pub struct World {
    pub now: Now,
    pub broker: Broker,
    pub door: CoapDoor,
    pub peers: PeerIds,
    pub clients: Vec<Client>,
    /// What each client has heard, in order.
    pub events: Vec<Vec<Event>>,
    /// What the subscriber in the core has got, in order: topic and payload.
    pub heard: Vec<(String, Bytes)>,
    /// Everything that left the door, in order.
    pub sent: Vec<(usize, Vec<u8>)>,
    pub entropy: Entropy,
    pub weather: Weather,
    effects: Effects,
    under_way: BinaryHeap<Reverse<(u64, u64, Arrival)>>,
    count: u64,
}

const LOCAL: PeerId = PeerId { shard: 0, generation: 0, slot: 0 };

pub fn topic(name: &str) -> Topic {
    Topic::new(name.to_owned().into(), &TopicLimits::default()).unwrap()
}

pub fn token(bytes: &[u8]) -> Token {
    Token::new(bytes).unwrap()
}

/// A request to begin to observe `/t/a`.
pub fn observe(id: u16, name: &[u8]) -> Message {
    let mut message = Message::new(Kind::Confirmable, Code::GET, id);
    message.token = token(name);
    message.options.add_uint(number::OBSERVE, 0);
    message.options.add(number::URI_PATH, Bytes::from_static(b"t"));
    message.options.add(number::URI_PATH, Bytes::from_static(b"a"));
    message
}

pub fn remote(client: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 10_000 + client as u16))
}

impl World {
    /// A world with one subscriber and publisher inside the broker, and `clients` outside.
    pub fn new(seed: u64, clients: usize, config: CoapConfig, weather: Weather) -> Self {
        let mut entropy = Entropy::new(seed);
        let limits = Arc::new(Limits::default());
        let seeded = |entropy: &mut Entropy| Entropy::new(entropy.next_u64());
        let broker = Broker::new(0, 1, limits.clone(), Arc::new(Policy::open()), seeded(&mut entropy));
        let door = CoapDoor::new(Arc::new(Common::new(config.clone(), (*limits).clone())), seeded(&mut entropy));
        let all = (0..clients).map(|_| Client::new(config.clone(), seeded(&mut entropy))).collect();
        let mut world = Self {
            now: Now { mono_ns: 1, wall_ms: 1_700_000_000_000 },
            broker,
            door,
            peers: PeerIds::new(0, 1_000),
            clients: all,
            events: vec![Vec::new(); clients],
            heard: Vec::new(),
            sent: Vec::new(),
            entropy,
            weather,
            effects: Effects::default(),
            under_way: BinaryHeap::new(),
            count: 0,
        };
        world.local(Request::Connect(Box::new(Connect {
            client: Some("local".into()),
            window: u16::MAX,
            ..Connect::new("local")
        })));
        world
    }

    /// A request of the peer inside.
    pub fn local(&mut self, request: Request) {
        self.broker.request(self.now, LOCAL, request, &mut self.effects);
        self.settle();
    }

    /// Other rules and quotas from now on.
    pub fn set_policy(&mut self, policy: Policy) {
        self.broker.set_policy(self.now, Arc::new(policy), &mut self.effects);
        self.settle();
    }

    /// From now on these rules hold, and what they do not speak of is allowed.
    pub fn set_rules(&mut self, rules: Vec<Rule>) {
        self.broker.set_policy(self.now, Arc::new(Policy::new(rules, true)), &mut self.effects);
        self.settle();
    }

    pub fn subscribe(&mut self, filter: &str) {
        let filter = Filter::new(filter.to_owned().into(), &TopicLimits::default()).unwrap();
        let options = SubscriptionOptions { guarantee: Guarantee::AtLeastOnce, ..Default::default() };
        let filters = vec![SubscribeFilter { filter: Ok(filter), options }];
        self.local(Request::Subscribe(Box::new(Subscribe { correlation: 1, filters })));
    }

    pub fn publish(&mut self, name: &str, payload: impl Into<Bytes>, guarantee: Guarantee, retain: bool) {
        let mut message = althing_core::Message::new(topic(name), payload.into());
        (message.guarantee, message.retain) = (guarantee, retain);
        self.local(Request::Publish(Publish { message, token: None, correlation: 1 }));
    }

    /// Lets a client act, and puts what it says on the link.
    pub fn client<R>(&mut self, client: usize, act: impl FnOnce(&mut Client, Now) -> R) -> R {
        let result = act(&mut self.clients[client], self.now);
        self.collect(client);
        result
    }

    /// A datagram of a client, as it is, past all weather; returns what comes back at once.
    pub fn exchange(&mut self, client: usize, datagram: &[u8]) -> Vec<Vec<u8>> {
        let before = self.sent.len();
        self.at_door(client, datagram.to_vec());
        self.sent[before..].iter().filter(|(to, _)| *to == client).map(|(_, datagram)| datagram.clone()).collect()
    }

    /// A datagram of a client to the group of hosts that the door belongs to; returns what comes back at once.
    pub fn exchange_with_group(&mut self, client: usize, datagram: &[u8]) -> Vec<Message> {
        let before = self.sent.len();
        self.at_door_from(Source { is_multicast: true, ..Source::plain(remote(client)) }, datagram.to_vec());
        self.sent[before..].iter().map(|(_, reply)| codec::decode(&Bytes::copy_from_slice(reply)).unwrap()).collect()
    }

    /// The same with messages.
    pub fn ask(&mut self, client: usize, message: &Message) -> Vec<Message> {
        let mut datagram = Vec::new();
        codec::encode(message, &mut datagram);
        let replies = self.exchange(client, &datagram);
        replies.into_iter().map(|reply| codec::decode(&reply.into()).unwrap()).collect()
    }

    /// The same, from there and so protected.
    pub fn ask_from(&mut self, source: Source, message: &Message) -> Vec<Message> {
        let (before, mut datagram) = (self.sent.len(), Vec::new());
        codec::encode(message, &mut datagram);
        self.at_door_from(source, datagram);
        self.sent_to(usize::from(source.remote.port() - 10_000), before)
    }

    /// What protected the datagrams of a client has ended, or another one has begun it anew.
    pub fn leave(&mut self, client: usize) {
        self.call_door(|door, now, out| door.left(now, remote(client), out));
        self.settle();
    }

    /// What left the door for a client since `from`, as messages.
    pub fn sent_to(&self, client: usize, from: usize) -> Vec<Message> {
        let of_client = self.sent[from..].iter().filter(|(to, _)| *to == client);
        of_client.map(|(_, datagram)| codec::decode(&Bytes::copy_from_slice(datagram)).unwrap()).collect()
    }

    /// A message of a client that is nothing but an id.
    pub fn say_empty(&mut self, client: usize, kind: Kind, id: u16) {
        let mut datagram = Vec::new();
        codec::encode_empty(kind, id, &mut datagram);
        self.exchange(client, &datagram);
    }

    /// Lets time pass until `ms` from now, with all that happens meanwhile.
    pub fn run_ms(&mut self, ms: u64) {
        let end_ns = self.now.mono_ns + ms * MILLISECOND_NS;
        while let Some(next_ns) = self.next_ns().filter(|next_ns| *next_ns <= end_ns) {
            self.now.mono_ns = self.now.mono_ns.max(next_ns);
            self.turn();
        }
        self.now.mono_ns = end_ns;
    }

    /// How a client's request ended: `None` while it has not, `Err` in vain.
    pub fn outcome(&self, client: usize, token: Token) -> Option<Result<Code, ()>> {
        self.events[client].iter().find_map(|event| match event {
            Event::Response { token: of, code, .. } if *of == token => Some(Ok(*code)),
            Event::Failed { token: of } if *of == token => Some(Err(())),
            _ => None,
        })
    }

    /// The payloads that a client has heard under a token, in order.
    pub fn payloads(&self, client: usize, token: Token) -> Vec<Bytes> {
        let of_it = |event: &Event| match event {
            Event::Response { token: of, payload, .. } if *of == token => Some(payload.clone()),
            _ => None,
        };
        self.events[client].iter().filter_map(of_it).collect()
    }

    fn next_ns(&self) -> Option<u64> {
        let arrival = self.under_way.peek().map(|Reverse((due_ns, ..))| *due_ns);
        let clients = self.clients.iter().filter_map(Client::next_timeout).map(|deadline| deadline.mono_ns);
        let house = [self.door.next_timeout(), self.broker.next_timeout()];
        let house = house.into_iter().flatten().map(|deadline| deadline.mono_ns);
        arrival.into_iter().chain(clients).chain(house).min()
    }

    /// Everything that is due now.
    fn turn(&mut self) {
        while self.under_way.peek().is_some_and(|Reverse((due_ns, ..))| *due_ns <= self.now.mono_ns) {
            let Some(Reverse((_, _, arrival))) = self.under_way.pop() else { return };
            match arrival {
                Arrival::AtDoor(client, datagram) => self.at_door(client, datagram),
                Arrival::AtClient(client, datagram) => {
                    let now = self.now;
                    self.clients[client].receive(now, &datagram.into(), &mut self.events[client]);
                    self.collect(client);
                }
                Arrival::Verified(peer) => {
                    self.verified(peer);
                    self.settle();
                }
                Arrival::Stored(ticket) => {
                    self.broker.stored(self.now, ticket, &mut self.effects);
                    self.settle();
                }
            }
        }
        for client in 0..self.clients.len() {
            self.clients[client].timeout(self.now, &mut self.events[client]);
            self.collect(client);
        }
        if self.door.next_timeout().is_some_and(|deadline| deadline.mono_ns <= self.now.mono_ns) {
            self.call_door(|door, now, out| door.timeout(now, out));
        }
        self.broker.timeout(self.now, &mut self.effects);
        self.settle();
    }

    fn at_door(&mut self, client: usize, datagram: Vec<u8>) {
        self.at_door_from(Source::plain(remote(client)), datagram);
    }

    fn at_door_from(&mut self, source: Source, datagram: Vec<u8>) {
        self.call_door(|door, now, out| door.receive(now, source, datagram.into(), out));
        self.settle();
    }

    fn collect(&mut self, client: usize) {
        for datagram in self.clients[client].output() {
            self.put_on_link(Arrival::AtDoor(client, datagram));
        }
    }

    fn put_on_link(&mut self, arrival: Arrival) {
        let copies = 1 + u64::from(self.entropy.below(100) < self.weather.repeat_percent);
        for _ in 0..copies {
            if self.entropy.below(100) >= self.weather.loss_percent {
                let delay_ms = self.entropy.below(self.weather.delay_ms_max + 1);
                self.schedule(delay_ms, arrival.clone());
            }
        }
    }

    fn schedule(&mut self, delay_ms: u64, arrival: Arrival) {
        self.count += 1;
        self.under_way.push(Reverse((self.now.after_ms(delay_ms), self.count, arrival)));
    }

    fn call_door(&mut self, act: impl FnOnce(&mut CoapDoor, Now, &mut DoorOut<'_>)) {
        let (mut datagrams, mut requests) = (Datagrams::default(), VecDeque::new());
        let mut out = DoorOut { datagrams: &mut datagrams, requests: &mut requests, peers: &mut self.peers };
        act(&mut self.door, self.now, &mut out);
        for (to, datagram) in datagrams.iter() {
            let client = usize::from(to.port() - 10_000);
            self.sent.push((client, datagram.to_vec()));
            self.put_on_link(Arrival::AtClient(client, datagram.to_vec()));
        }
        for (peer, request) in requests {
            self.broker.request(self.now, peer, request, &mut self.effects);
        }
    }

    /// Carries out what the broker wants, until it wants nothing.
    fn settle(&mut self) {
        loop {
            let effects = std::mem::take(&mut self.effects);
            let is_quiet = effects.answers.is_empty() && effects.deliveries.is_empty() && effects.verify.is_empty();
            if !effects.store.is_empty() {
                self.schedule(self.weather.store_ms, Arrival::Stored(effects.ticket));
                if self.weather.store_ms == 0 {
                    self.broker.stored(self.now, effects.ticket, &mut self.effects);
                }
            } else if is_quiet {
                return;
            }
            for verify in effects.verify {
                match self.weather.verify_ms {
                    0 => self.verified(verify.peer),
                    verify_ms => self.schedule(verify_ms, Arrival::Verified(verify.peer)),
                }
            }
            for (peer, answer) in effects.answers {
                if self.peers.is_open(peer) {
                    self.call_door(|door, now, out| door.answer(now, peer, answer, out));
                }
            }
            for delivery in effects.deliveries {
                self.deliver(delivery);
            }
        }
    }

    fn verified(&mut self, peer: PeerId) {
        let accept = Verdict::Accept { identity: Default::default(), data: None };
        self.broker.verified(self.now, peer, accept, &mut self.effects);
    }

    fn deliver(&mut self, delivery: Delivery) {
        if delivery.peer == LOCAL {
            self.heard.push((delivery.message.topic.to_string(), delivery.message.payload.clone()));
            if delivery.number != 0 {
                let settle = Request::Settle { number: delivery.number, outcome: Outcome::Accept };
                self.broker.request(self.now, LOCAL, settle, &mut self.effects);
            }
        } else if self.peers.is_open(delivery.peer) {
            self.call_door(|door, now, out| door.deliver(now, delivery.peer, std::slice::from_ref(&delivery), out));
        }
    }
}
