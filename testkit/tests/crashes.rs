//! Random histories with random ends of the process: what was acknowledged arrives, in order, and what is to arrive once
//! arrives once. `ALTHING_SEEDS=10000` makes it a campaign.

mod bench;

use althing_core::Guarantee::{self, AtLeastOnce, ExactlyOnce};
use althing_core::limits::Limits;
use althing_core::verbs::*;
use althing_core::{Delivery, Entropy, Message};
use bench::{Bench, filter, topic};
use std::collections::{BTreeMap, BTreeSet};

const ACTS: u64 = 250;
const QUEUE: &str = "$queue/q";
const SHARE: &str = "$share/g/share";

/// One client program, which keeps what a careful one keeps.
#[derive(Debug, Default)]
struct Client {
    name: String,
    lasts: bool,
    /// It comes and goes as it likes, and is owed nothing.
    is_fickle: bool,
    /// The slot of its connection, if it has one.
    slot: Option<u32>,
    is_connected: bool,
    filters: Vec<&'static str>,
    /// Deliveries that it has not settled.
    unsettled: Vec<Delivery>,
    /// Numbers of `ExactlyOnce` deliveries that it has received and not completed.
    received: BTreeSet<u32>,
    /// Payloads in the order of their first arrival, and how often each arrived.
    arrived: Vec<String>,
    count: BTreeMap<String, u32>,
    /// What it publishes: payload, topic, guarantee, token; until it is acknowledged.
    outgoing: Vec<(String, &'static str, Guarantee, u32)>,
    /// Tokens that it lets go of.
    releasing: BTreeSet<u32>,
    published: u32,
    /// What its broker is to say when it is lost, from the answer to its connection on.
    will: Option<String>,
}

struct World {
    bench: Bench,
    entropy: Entropy,
    clients: Vec<Client>,
    slots: u32,
    /// Acknowledged payloads by topic.
    acknowledged: BTreeMap<&'static str, BTreeSet<String>>,
}

impl World {
    fn new(seed: u64, shards: u16) -> Self {
        let limits = Limits { queue_memory_messages: 3, ..Limits::default() };
        let mut world = Self {
            bench: Bench::with(shards, limits),
            entropy: Entropy::new(seed),
            clients: Vec::new(),
            slots: 0,
            acknowledged: BTreeMap::new(),
        };
        for (name, lasts, filters) in [
            ("p", true, &[] as &[&str]),
            ("q", true, &[]),
            ("s", true, &["plain"]),
            ("t", true, &["plain"]),
            ("m", true, &[SHARE]),
            ("n", true, &[SHARE]),
            ("brief", false, &[SHARE, QUEUE]),
            ("c", true, &[QUEUE]),
            ("fickle", false, &["plain", SHARE, QUEUE]),
        ] {
            let (filters, is_fickle) = (filters.to_vec(), name == "fickle");
            world.clients.push(Client { name: name.to_owned(), lasts, is_fickle, filters, ..Client::default() });
        }
        for index in 0..world.clients.len() {
            world.connect(index);
            world.settle();
        }
        world
    }

    fn connect(&mut self, index: usize) {
        self.slots += 1;
        let (slot, window) = (self.slots, 1 + self.entropy.below(4) as u16);
        let client = &mut self.clients[index];
        (client.slot, client.is_connected) = (Some(slot), false);
        client.unsettled.clear();
        let (name, lasts, is_fickle) = (client.name.clone(), client.lasts, client.is_fickle);
        let expiry_s = if is_fickle { [0, 5, 10_000][self.entropy.below(3) as usize] } else { 0 };
        let clean_start = is_fickle && self.entropy.below(3) == 0;
        let payload = (index < 2).then(|| format!("will {name} {slot}"));
        let will = payload.clone().map(|payload| {
            let message = Message { guarantee: ExactlyOnce, ..Message::new(topic("plain"), payload.into()) };
            Box::new(Will { message, delay_s: 0, expiry_s: None })
        });
        self.clients[index].will = payload;
        let peer = self.bench.peer(slot);
        let connect = Connect {
            client: Some(name.into()),
            clean_start,
            session_expiry_s: if lasts { 10_000 } else { expiry_s },
            window,
            number_max: 20,
            will,
            ..Connect::new("mqtt")
        };
        let request = Request::Connect(Box::new(connect));
        self.bench.call(peer.shard, |broker, now, effects| broker.request(now, peer, request, effects));
    }

    fn ask(&mut self, index: usize, request: Request) {
        let Some(slot) = self.clients[index].slot else { return };
        let peer = self.bench.peer(slot);
        self.bench.call(peer.shard, |broker, now, effects| broker.request(now, peer, request, effects));
    }

    fn disconnect(&mut self, index: usize) {
        let session_expiry_s = (self.clients[index].is_fickle && self.entropy.below(4) == 0).then_some(0);
        let publish_will = self.entropy.below(2) == 0;
        let disconnect = Disconnect { publish_will, session_expiry_s, reason: althing_core::Reason::Normal };
        self.ask(index, Request::Disconnect(disconnect));
        if !publish_will {
            self.clients[index].will = None;
        }
        self.forget_connection(index);
    }

    fn forget_connection(&mut self, index: usize) {
        let client = &mut self.clients[index];
        // Nobody else is owed what an unconfirmed connection was to leave behind.
        if let Some(will) = client.will.take().filter(|_| client.is_connected) {
            self.acknowledged.entry("plain").or_default().insert(will);
        }
        let client = &mut self.clients[index];
        (client.slot, client.is_connected) = (None, false);
        client.unsettled.clear();
        if !client.lasts {
            client.received.clear();
        }
    }

    fn crash(&mut self) {
        let count = self.entropy.below(self.bench.log.len() as u64 + 1);
        // Some of what was not confirmed may be on disk all the same.
        for _ in 0..count {
            let (_, _, records) = self.bench.log.pop_front().expect("as many as that");
            self.bench.ledger.apply_all(&records);
        }
        self.bench.begin(self.bench.brokers.len() as u16);
        (0..self.clients.len()).for_each(|index| self.forget_connection(index));
    }

    fn publish(&mut self, index: usize) {
        let token = 1 + self.clients[index].published % 1_000;
        let client = &self.clients[index];
        if !client.is_connected || client.outgoing.len() > 3 || client.releasing.contains(&token) {
            return;
        }
        let name = ["plain", "share", QUEUE][self.entropy.below(3) as usize];
        let guarantee = [AtLeastOnce, ExactlyOnce][self.entropy.below(2) as usize];
        let client = &mut self.clients[index];
        client.published += 1;
        let payload = format!("{} {guarantee:?} {:04}", client.name, client.published);
        client.outgoing.push((payload, name, guarantee, token));
        self.send(index, self.clients[index].outgoing.len() - 1);
    }

    fn send(&mut self, index: usize, position: usize) {
        let (payload, name, guarantee, token) = self.clients[index].outgoing[position].clone();
        let mut message = Message::new(topic(name), payload.into());
        message.guarantee = guarantee;
        let publish = Publish { message, token: (guarantee == ExactlyOnce).then_some(token), correlation: token };
        self.ask(index, Request::Publish(publish));
    }

    /// The clients hear what the broker says.
    fn hear(&mut self) {
        for (peer, answer) in std::mem::take(&mut self.bench.answers) {
            let Some(index) = self.clients.iter().position(|client| client.slot == Some(peer.slot)) else { continue };
            match answer {
                Answer::Connected(connected) => self.begin(index, connected.session_present),
                Answer::Published { correlation, outcome, .. } => {
                    outcome.expect("there is room");
                    let client = &mut self.clients[index];
                    let Some(position) = client.outgoing.iter().position(|(.., token)| *token == correlation) else {
                        continue;
                    };
                    let (payload, name, guarantee, token) = client.outgoing.remove(position);
                    self.acknowledged.entry(name).or_default().insert(payload);
                    if guarantee == ExactlyOnce {
                        client.releasing.insert(token);
                        self.ask(index, Request::Release { token });
                    }
                }
                Answer::Released { token, .. } => {
                    self.clients[index].releasing.remove(&token);
                }
                Answer::Complete { number, .. } => {
                    self.clients[index].received.remove(&number);
                    self.ask(index, Request::Settle { number, outcome: Outcome::Accept });
                }
                Answer::Subscribed { .. } | Answer::Unsubscribed { .. } => {}
                Answer::Close(_) => self.forget_connection(index),
                other => panic!("{other:?}"),
            }
        }
        for delivery in std::mem::take(&mut self.bench.deliveries) {
            let Some(client) = self.clients.iter_mut().find(|client| client.slot == Some(delivery.peer.slot)) else {
                continue;
            };
            let is_new = delivery.guarantee != ExactlyOnce || client.received.insert(delivery.number);
            if is_new {
                let payload = String::from_utf8_lossy(&delivery.message.payload).into_owned();
                let count = client.count.entry(payload.clone()).or_default();
                *count += 1;
                if *count == 1 {
                    client.arrived.push(payload.clone());
                }
                assert!(
                    delivery.guarantee != ExactlyOnce || *count == 1 || !client.lasts,
                    "{payload} arrives twice at {}",
                    client.name
                );
            }
            client.unsettled.push(delivery);
        }
    }

    /// The session stands: what is not finished is said again.
    fn begin(&mut self, index: usize, session_present: bool) {
        let client = &mut self.clients[index];
        client.is_connected = true;
        if !session_present {
            assert!(!client.lasts || client.arrived.is_empty() && client.published == 0, "{} is lost", client.name);
            client.received.clear();
            // What is to arrive once ends with a session that ends with the process ([MQTT-4.8.2-5]).
            let guarantee = if client.lasts { ExactlyOnce } else { AtLeastOnce };
            let filters = client.filters.iter().map(|text| SubscribeFilter {
                filter: Ok(filter(text)),
                options: SubscriptionOptions { guarantee, ..Default::default() },
            });
            let filters: Vec<SubscribeFilter> = filters.collect();
            if !filters.is_empty() {
                self.ask(index, Request::Subscribe(Box::new(Subscribe { correlation: 0, filters })));
            }
        }
        for token in self.clients[index].releasing.clone() {
            self.ask(index, Request::Release { token });
        }
        for position in 0..self.clients[index].outgoing.len() {
            self.send(index, position);
        }
    }

    /// The fickle one ends a subscription, makes it, or gives a delivery back.
    fn change_mind(&mut self) {
        let index = self.clients.len() - 1;
        let text = self.clients[index].filters[self.entropy.below(3) as usize];
        let request = match self.entropy.below(3) {
            0 => Request::Unsubscribe(Box::new(Unsubscribe { correlation: 0, filters: vec![Ok(filter(text))] })),
            1 => {
                let options = SubscriptionOptions { guarantee: AtLeastOnce, ..Default::default() };
                let filters = vec![SubscribeFilter { filter: Ok(filter(text)), options }];
                Request::Subscribe(Box::new(Subscribe { correlation: 0, filters }))
            }
            _ => match self.clients[index].unsettled.pop() {
                Some(delivery) => Request::Settle { number: delivery.number, outcome: Outcome::Release },
                None => return,
            },
        };
        if self.clients[index].is_connected {
            self.ask(index, request);
        }
    }

    /// A client settles one of the deliveries that it has, mostly the oldest.
    fn settle_one(&mut self, index: usize) {
        let client = &mut self.clients[index];
        if client.unsettled.is_empty() {
            return;
        }
        let delivery = client.unsettled.remove(0);
        let (number, is_twofold) = (delivery.number, delivery.guarantee == ExactlyOnce);
        let outcome = if is_twofold { Outcome::Received } else { Outcome::Accept };
        self.ask(index, Request::Settle { number, outcome });
    }

    /// One of the words, questions and loads under way arrives, each line in its order.
    fn step(&mut self) {
        let words = self.bench.words.len() as u64;
        if words > 0 && self.entropy.below(4) > 0 {
            let at = self.entropy.below(words) as usize;
            let (from, to, _) = self.bench.words[at];
            let first = self.bench.words.iter().position(|(a, b, _)| (*a, *b) == (from, to)).expect("there is one");
            let word = self.bench.words.remove(first).expect("there is one");
            self.bench.words.push_front(word);
        } else if !self.bench.loads.is_empty() {
            // A load is answered before the words.
            let words = std::mem::take(&mut self.bench.words);
            self.bench.step();
            let new = std::mem::replace(&mut self.bench.words, words);
            self.bench.words.extend(new);
            return;
        }
        self.bench.step();
    }

    fn act(&mut self) {
        let index = self.entropy.below(self.clients.len() as u64) as usize;
        match self.entropy.below(40) {
            0 => self.crash(),
            1 | 2 if self.clients[index].slot.is_some() => self.disconnect(index),
            3..=8 if self.clients[index].slot.is_none() => self.connect(index),
            9..=14 => self.publish(index % 2),
            15..=20 => self.settle_one(index),
            21..=26 => {
                self.bench.sync_one();
            }
            27 => {
                let seconds = self.entropy.below(4);
                self.bench.now.mono_ns += seconds * althing_core::time::SECOND_NS;
                self.bench.tick();
            }
            28 => self.change_mind(),
            _ => self.step(),
        }
        self.hear();
    }

    /// Everything happens that can happen.
    fn settle(&mut self) {
        for _ in 0..100_000 {
            self.bench.tick();
            self.bench.sync();
            self.hear();
            let busy = (0..self.clients.len()).filter(|index| !self.clients[*index].unsettled.is_empty());
            let busy: Vec<usize> = busy.collect();
            if busy.is_empty() && self.bench.is_at_rest() {
                return;
            }
            busy.into_iter().for_each(|index| self.settle_one(index));
        }
        panic!("it does not come to rest");
    }

    fn check(&mut self) {
        // A connection that was lost long ago may still arrive and take the session over.
        loop {
            self.settle();
            let absent: Vec<usize> = (0..self.clients.len()).filter(|at| self.clients[*at].slot.is_none()).collect();
            if absent.is_empty() {
                break;
            }
            absent.into_iter().for_each(|index| self.connect(index));
        }
        for client in &self.clients {
            assert!(client.is_connected && client.outgoing.is_empty() && client.releasing.is_empty(), "{client:?}");
            // Order is promised for each topic and guarantee ([MQTT-4.6.0-6]).
            if client.is_fickle {
                continue;
            }
            for line in ["p AtLeastOnce", "p ExactlyOnce", "q AtLeastOnce", "q ExactlyOnce"] {
                let theirs = client.arrived.iter().filter(|payload| payload.starts_with(line));
                assert!(client.filters != ["plain"] || theirs.is_sorted(), "order: {client:?}");
            }
        }
        for (name, payloads) in &self.acknowledged {
            let matching = |text: &str| text.strip_prefix("$share/g/").unwrap_or(text) == *name;
            let receivers = self.clients.iter().filter(|client| client.filters.iter().any(|text| matching(text)));
            let receivers: Vec<&Client> = receivers.collect();
            for payload in payloads {
                let has = |client: &&Client| client.count.contains_key(payload);
                let arrived = match *name {
                    "plain" => receivers.iter().filter(|client| !client.is_fickle).all(has),
                    _ => receivers.iter().any(has),
                };
                assert!(arrived, "{payload} on {name} is lost");
            }
        }
        assert_eq!((self.bench.queued_messages(), self.bench.inflight_messages()), (0, 0), "{:#?}", self.bench.brokers);
        let left: Vec<_> =
            self.bench.ledger.queues().map(|(queue, places)| (queue, places.collect::<Vec<_>>())).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn what_was_acknowledged_arrives_whenever_the_process_ends() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("ALTHING_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("ALTHING_SEEDS").unwrap_or(150),
    };
    for seed in seeds {
        for shards in number("ALTHING_SHARDS").map_or(vec![1, 3], |shards| vec![shards as u16]) {
            eprintln!("seed {seed}, {shards} shards");
            let mut world = World::new(seed, shards);
            (0..ACTS).for_each(|_| world.act());
            world.check();
        }
    }
}
