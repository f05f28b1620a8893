//! What follows from a request. The broker fills it, the shard that runs the broker empties it.

use crate::authorisation::Principal;
use crate::identity::Identity;
use crate::link::Link;
use crate::message::{Guarantee, Message};
use crate::record::{Load, Record};
use crate::shard::Word;
use crate::verbs::{Answer, Authentication, PeerId};
use bytestring::ByteString;
use smallvec::SmallVec;
use std::sync::Arc;

/// One message on its way to one peer.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Whose it is.
    pub peer: PeerId,
    /// The number by which the peer settles it; 0 at `AtMostOnce`, which is not settled.
    pub number: u32,
    /// The smaller of the publisher's and the subscriber's guarantee.
    pub guarantee: Guarantee,
    /// The retain flag as this subscription should see it.
    pub retain: bool,
    /// Whether it may have been delivered before.
    pub duplicate: bool,
    /// The tags of all subscriptions that matched.
    pub tags: SmallVec<[u32; 2]>,
    /// The message, shared with the other receivers.
    pub message: Arc<Message>,
}

/// Everything that one or several calls into the broker ask the shard to do. Within each list the
/// order holds; `answers` leave before `deliveries`. What must wait until it is durable is not in
/// here yet: the broker keeps it until [`stored`](crate::broker::Broker::stored).
#[derive(Debug, Default)]
pub struct Effects {
    /// For adaptors, in order.
    pub answers: Vec<(PeerId, Answer)>,
    /// For adaptors, in order; runs of the same peer make batches.
    pub deliveries: Vec<Delivery>,
    /// Records to be made durable under `ticket`, in order.
    pub store: Vec<Record>,
    /// The highest ticket among `store`; tickets grow by one a request that stores something.
    pub ticket: u64,
    /// Entries of durable queues that are wanted in memory; answered by `Broker::loaded`. What is in `store` comes first:
    /// an entry may be loaded that has just been written.
    pub load: Vec<Load>,
    /// Words for other shards.
    pub forward: Vec<(u16, Word)>,
    /// Identities to check; answered by `Broker::verified`.
    pub verify: Vec<Verify>,
    /// Publishers that should wait for a subscriber, until its socket or `resume` says otherwise, and for
    /// at most `stall_ms`: `(publisher, subscriber)`.
    pub pause: Vec<(PeerId, PeerId)>,
    /// Subscribers for whom nobody has to wait any more, though their socket was never slow: their queue
    /// had grown, and has shrunk.
    pub resume: Vec<PeerId>,
    /// Publishers that are not read until this time, on the monotonic clock in nanoseconds: they were faster than they may be.
    pub throttle: Vec<(PeerId, u64)>,
    /// What happened, for logs and `$SYS`.
    pub events: Vec<Event>,
}

/// Credentials for somebody outside the core to check.
#[derive(Clone, Debug)]
pub struct Verify {
    /// Who waits.
    pub peer: PeerId,
    /// How it came in.
    pub link: Link,
    /// The language's name in the protocol table.
    pub protocol: &'static str,
    /// The client id that it gave.
    pub client: ByteString,
    /// The user name and password that it gave.
    pub username: Option<ByteString>,
    /// See `username`.
    pub password: Option<bytes::Bytes>,
    /// The step of an enhanced authentication.
    pub authentication: Option<Authentication>,
    /// Whether this is the first step of an exchange.
    pub first: bool,
}

/// What the outside says to a [`Verify`].
#[derive(Clone, Debug)]
pub enum Verdict {
    /// It is who it says.
    Accept {
        /// Who it is.
        identity: Arc<Identity>,
        /// The method's last data.
        data: Option<bytes::Bytes>,
    },
    /// The exchange goes on with this data for the peer.
    Continue(Option<bytes::Bytes>),
    /// It is not.
    Refuse {
        /// What the peer is told. It must not help somebody who guesses.
        refusal: crate::verbs::Refusal,
        /// What more the log may know, one sentence.
        why: Option<String>,
    },
}

/// What happened, in few words; the server logs and counts it.
#[derive(Clone, Debug)]
pub enum Event {
    /// A session opened or was resumed.
    Connected {
        /// The connection.
        peer: PeerId,
        /// Whose it is.
        principal: Principal,
        /// Whether it was there before.
        resumed: bool,
    },
    /// A session lost its connection.
    Disconnected {
        /// The connection.
        peer: PeerId,
        /// Whose it was.
        principal: Principal,
        /// Why.
        reason: crate::verbs::Reason,
    },
    /// A message was dropped on its way to this session: a counted loss, never a silent one.
    Dropped {
        /// The session's id.
        client: ByteString,
        /// Why.
        why: &'static str,
        /// How many it has lost by now; only powers of two are told.
        count: u64,
    },
    /// Something was refused.
    Refused {
        /// The session's id, or empty before there is one.
        client: ByteString,
        /// For programs.
        reason: crate::verbs::Reason,
        /// What and why, one sentence.
        why: String,
    },
    /// A message reached nobody.
    Unheard {
        /// The publisher's session id.
        client: ByteString,
        /// Where it was published.
        topic: crate::topic::Topic,
        /// How many of this session have reached nobody by now; only powers of two are told.
        count: u64,
    },
}
