//! Watches that no positive acknowledgement leaves before what it promises is confirmed by the store
//! (design: what must be durable before what).

use althing_core::effects::Record;
use althing_core::{Answer, Filter, PeerId, Request, Topic};
use bytes::Bytes;
use bytestring::ByteString;
use std::collections::{BTreeMap, HashMap, VecDeque};

/// What a record makes true, as far as an acknowledgement may promise it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Fact {
    Message(Topic, Bytes),
    Session(ByteString),
    Subscription(ByteString, Filter),
    TokenGone(ByteString, u32),
    Received(ByteString, u32),
}

/// Facts that are written but not confirmed, and what the peers wait for.
#[derive(Debug, Default)]
pub(crate) struct Promises {
    /// Per shard: tickets in order, each with the facts that it covers.
    unconfirmed: BTreeMap<u16, VecDeque<(u64, Vec<Fact>)>>,
    counts: HashMap<Fact, usize>,
    clients: HashMap<PeerId, ByteString>,
    publishes: HashMap<(PeerId, u32), Fact>,
    subscribes: HashMap<(PeerId, u32), Vec<Filter>>,
}

impl Promises {
    /// A peer asks; remembers what its acknowledgement would promise.
    pub fn asked(&mut self, peer: PeerId, request: &Request) {
        match request {
            Request::Publish(publish) => {
                let fact = Fact::Message(publish.message.topic.clone(), publish.message.payload.clone());
                self.publishes.insert((peer, publish.correlation), fact);
            }
            Request::Subscribe(subscribe) => {
                let filters = subscribe.filters.iter().filter_map(|wanted| wanted.filter.clone().ok()).collect();
                self.subscribes.insert((peer, subscribe.correlation), filters);
            }
            _ => {}
        }
    }

    /// The broker of `shard` writes records under `ticket`.
    pub fn written(&mut self, shard: u16, ticket: u64, records: &[Record]) {
        let facts: Vec<Fact> = records.iter().filter_map(fact_of).collect();
        for fact in &facts {
            *self.counts.entry(fact.clone()).or_default() += 1;
        }
        self.unconfirmed.entry(shard).or_default().push_back((ticket, facts));
    }

    /// Everything up to `ticket` is durable on `shard`.
    pub fn confirmed(&mut self, shard: u16, ticket: u64) {
        let queue = self.unconfirmed.entry(shard).or_default();
        while queue.front().is_some_and(|(first, _)| *first <= ticket) {
            for fact in queue.pop_front().into_iter().flat_map(|(_, facts)| facts) {
                if let Some(count) = self.counts.get_mut(&fact) {
                    *count -= 1;
                    if *count == 0 {
                        self.counts.remove(&fact);
                    }
                }
            }
        }
    }

    /// The connection is over.
    pub fn forget(&mut self, peer: PeerId) {
        self.clients.remove(&peer);
        self.publishes.retain(|(owner, _), _| *owner != peer);
        self.subscribes.retain(|(owner, _), _| *owner != peer);
    }

    /// An answer leaves: panics when it promises what is not confirmed.
    pub fn answered(&mut self, peer: PeerId, answer: &Answer) {
        let client = self.clients.get(&peer).cloned().unwrap_or_default();
        match answer {
            Answer::Connected(connected) => {
                self.clients.insert(peer, connected.client.clone());
                self.check(answer, Fact::Session(connected.client.clone()));
            }
            Answer::Published { correlation, outcome, .. } => {
                if let (Some(fact), Ok(_)) = (self.publishes.remove(&(peer, *correlation)), outcome) {
                    self.check(answer, fact);
                }
            }
            Answer::Subscribed { correlation, .. } => {
                for filter in self.subscribes.remove(&(peer, *correlation)).unwrap_or_default() {
                    self.check(answer, Fact::Subscription(client.clone(), filter));
                }
            }
            Answer::Released { token, .. } => self.check(answer, Fact::TokenGone(client, *token)),
            Answer::Complete { number, .. } => self.check(answer, Fact::Received(client, *number)),
            _ => {}
        }
    }

    fn check(&self, answer: &Answer, fact: Fact) {
        // With the same fact written twice, an answer to the first writing leaves rightly while the second waits.
        let waits = self.counts.get(&fact) == Some(&1);
        assert!(!waits, "{answer:?} leaves before {fact:?} is durable");
    }
}

fn fact_of(record: &Record) -> Option<Fact> {
    Some(match record {
        Record::SessionOpened { client, .. } => Fact::Session(client.clone()),
        Record::Subscribed { client, filter, .. } => Fact::Subscription(client.clone(), filter.clone()),
        Record::Queued { message, .. } | Record::Retained { message: Some(message), .. } => {
            Fact::Message(message.topic.clone(), message.payload.clone())
        }
        Record::TokenReleased { client, token } => Fact::TokenGone(client.clone(), *token),
        Record::Received { client, number } => Fact::Received(client.clone(), *number),
        _ => return None,
    })
}
