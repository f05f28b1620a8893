//! Watches that no positive acknowledgement leaves before what it promises is confirmed by the store
//! (design: what must be durable before what).

use althing_core::shard::Word;
use althing_core::verbs::Outcome;
use althing_core::{Answer, PeerId, Request};
use std::collections::{BTreeMap, HashMap, HashSet};

/// What a step of a broker is about: the question of a peer that will be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Cause {
    Connect(PeerId),
    Publish(PeerId, u32),
    Subscribe(PeerId, u32),
    Unsubscribe(PeerId, u32),
    Release(PeerId, u32),
    Received(PeerId, u32),
}

/// Tickets that answers have to wait for.
#[derive(Debug, Default)]
pub(crate) struct Promises {
    /// The last confirmed ticket of each shard.
    confirmed: BTreeMap<u16, u64>,
    /// What was written because of a question: shards and tickets.
    written: HashMap<Cause, Vec<(u16, u64)>>,
    /// Questions that a careless peer asked twice at once: nobody can tell their answers apart.
    ambiguous: HashSet<Cause>,
    /// Questions between shards, by sender and operation, and the peer's question behind them.
    behind: HashMap<(u16, u64), Cause>,
}

impl Promises {
    /// A peer asks.
    pub fn asked(&mut self, peer: PeerId, request: &Request) {
        if let Some(cause) = Self::cause_of_request(peer, request)
            && self.written.insert(cause, Vec::new()).is_some()
        {
            self.ambiguous.insert(cause);
        }
    }

    /// What a request's step is about.
    pub fn cause_of_request(peer: PeerId, request: &Request) -> Option<Cause> {
        Some(match request {
            Request::Connect(_) | Request::Authenticate(_) => Cause::Connect(peer),
            Request::Publish(publish) | Request::Configure(publish) => Cause::Publish(peer, publish.correlation),
            Request::Subscribe(subscribe) => Cause::Subscribe(peer, subscribe.correlation),
            Request::Unsubscribe(unsubscribe) => Cause::Unsubscribe(peer, unsubscribe.correlation),
            Request::Release { token } => Cause::Release(peer, *token),
            Request::Settle { number, outcome: Outcome::Received } => Cause::Received(peer, *number),
            Request::Settle { .. } | Request::Fetch { .. } | Request::Disconnect(_) => return None,
        })
    }

    /// What the step that takes this word is about.
    pub fn cause_of_word(&self, from: u16, word: &Word) -> Option<Cause> {
        match word {
            Word::Request(peer, request) => Self::cause_of_request(*peer, request),
            Word::Open(peer, _) => Some(Cause::Connect(*peer)),
            Word::Forward { operation, .. } => self.behind.get(&(from, *operation)).copied(),
            _ => None,
        }
    }

    /// A step says a word to another shard.
    pub fn said(&mut self, from: u16, word: &Word, cause: Option<Cause>) {
        if let Word::Forward { operation, .. } = word
            && let Some(cause) = cause.filter(|_| *operation != 0)
        {
            self.behind.insert((from, *operation), cause);
        }
    }

    /// A step writes something under `ticket`.
    pub fn written(&mut self, shard: u16, ticket: u64, cause: Option<Cause>) {
        if let Some(tickets) = cause.and_then(|cause| self.written.get_mut(&cause)) {
            tickets.push((shard, ticket));
        }
    }

    /// Everything up to `ticket` is durable on `shard`.
    pub fn confirmed(&mut self, shard: u16, ticket: u64) {
        self.confirmed.insert(shard, ticket);
    }

    /// An answer leaves: panics when it promises what is not confirmed.
    pub fn answered(&mut self, peer: PeerId, answer: &Answer) {
        let cause = match answer {
            Answer::Connected(_) => Cause::Connect(peer),
            Answer::Published { correlation, .. } => Cause::Publish(peer, *correlation),
            Answer::Subscribed { correlation, .. } => Cause::Subscribe(peer, *correlation),
            Answer::Unsubscribed { correlation, .. } => Cause::Unsubscribe(peer, *correlation),
            Answer::Released { token, .. } => Cause::Release(peer, *token),
            Answer::Complete { number, .. } => Cause::Received(peer, *number),
            _ => return,
        };
        if self.ambiguous.contains(&cause) {
            return;
        }
        let Some(tickets) = self.written.remove(&cause) else {
            // A resumed session goes on where it was: `Complete` is said again without being asked for.
            assert!(matches!(cause, Cause::Received(..)), "{answer:?} answers nothing");
            return;
        };
        for (shard, ticket) in tickets {
            let confirmed = self.confirmed.get(&shard).copied().unwrap_or(0);
            assert!(ticket <= confirmed, "{answer:?} leaves before ticket {ticket} of shard {shard} is durable");
        }
        self.behind.retain(|_, behind| *behind != cause);
    }

    /// The connection is over.
    pub fn forget(&mut self, peer: PeerId) {
        let of_peer = |cause: &Cause| match cause {
            Cause::Connect(owner) => *owner == peer,
            Cause::Publish(owner, _)
            | Cause::Subscribe(owner, _)
            | Cause::Unsubscribe(owner, _)
            | Cause::Release(owner, _)
            | Cause::Received(owner, _) => *owner == peer,
        };
        self.written.retain(|cause, _| !of_peer(cause));
        self.ambiguous.retain(|cause| !of_peer(cause));
        self.behind.retain(|_, cause| !of_peer(cause));
    }
}
