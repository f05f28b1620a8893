//! One shard of the assembly: turns requests into effects.

use crate::authorisation::Policy;
use crate::effects::{Effects, Verdict};
use crate::limits::Limits;
use crate::message::Message;
use crate::shard::Word;
use crate::time::{Deadline, Entropy, Now};
use crate::verbs::{PeerId, Reason, Request};
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
    pub retained_messages: u64,
    pub retained_bytes: u64,
    pub queued_messages: u64,
    pub queued_bytes: u64,
    pub inflight_messages: u64,
    pub publishes_received: u64,
    pub publishes_delivered: u64,
    pub publishes_dropped: u64,
    pub sessions_expired: u64,
    pub match_visits: u64,
}

/// One shard's broker.
pub struct Broker {}

#[allow(unused_variables, missing_docs)]
impl Broker {
    /// Shard number `shard` of `shards`. `entropy` seeds assigned ids and hashes.
    pub fn new(shard: u16, shards: u16, limits: Arc<Limits>, policy: Arc<Policy>, entropy: Entropy) -> Self {
        Self {}
    }
    /// A request of a peer that is connected to this shard.
    pub fn request(&mut self, now: Now, peer: PeerId, request: Request, effects: &mut Effects) {}
    /// A word from another shard.
    pub fn forwarded(&mut self, now: Now, from: u16, word: Word, effects: &mut Effects) {}
    /// Everything up to `ticket` (as stated in `Effects::ticket`) is durable: releases what waited for it.
    pub fn stored(&mut self, now: Now, ticket: u64, effects: &mut Effects) {}
    /// What the outside says to a `Verify`.
    pub fn verified(&mut self, now: Now, peer: PeerId, verdict: Verdict, effects: &mut Effects) {}
    /// The driver's observation of the peer's socket.
    pub fn pace(&mut self, now: Now, peer: PeerId, pace: Pace, effects: &mut Effects) {}
    /// The broker itself publishes ($SYS, embedding programs): no authorisation, no answer.
    pub fn publish(&mut self, now: Now, message: Message, effects: &mut Effects) {}
    /// Expiries, delayed wills, long queues that are drained in turns.
    pub fn timeout(&mut self, now: Now, effects: &mut Effects) {}
    /// When to call `timeout`.
    pub fn next_timeout(&self) -> Option<Deadline> {
        None
    }
    /// Ends every conversation with this reason; sessions stay as they are, wills are not published.
    pub fn close_all(&mut self, now: Now, reason: Reason, effects: &mut Effects) {}
    pub fn statistics(&self) -> Statistics {
        Statistics::default()
    }
}
