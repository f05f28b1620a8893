//! Looking at a running broker, slice by slice: a million sessions must not keep anybody waiting.
//!
//! A list is walked by [`Slice`]s: each call visits a bounded number of places and says where the next one goes on.
//! Between two slices the broker works; what is there from the first slice to the last is seen exactly once, what comes
//! or goes meanwhile perhaps.

use crate::authorisation::Principal;
use crate::broker::Pace;
use crate::topic::Filter;
use crate::verbs::{PeerId, SubscriptionOptions};
use bytestring::ByteString;
use std::sync::Arc;

/// A part of a list.
#[derive(Clone, Debug)]
pub struct Slice<T> {
    /// What was found.
    pub items: Vec<T>,
    /// Where the next slice begins; `None` at the end.
    pub next: Option<u64>,
}

/// Which sessions are wanted; what is `None` or empty does not matter.
#[derive(Clone, Debug, Default)]
pub struct SessionQuery {
    /// How the client id begins.
    pub prefix: ByteString,
    /// The realm.
    pub realm: Option<ByteString>,
    /// The proven name.
    pub user: Option<ByteString>,
    /// The language's name.
    pub protocol: Option<ByteString>,
    /// The listener's name.
    pub listener: Option<ByteString>,
    /// Whether it has a connection.
    pub connected: Option<bool>,
}

/// One session.
#[derive(Clone, Debug)]
pub struct SessionView {
    /// Its realm; empty = the default one.
    pub realm: ByteString,
    /// Its client id, who is behind it and how that came in.
    pub principal: Principal,
    /// Its connection.
    pub peer: Option<PeerId>,
    /// How fast that reads.
    pub pace: Pace,
    /// Counts the connections of its shard: the higher, the later it connected.
    pub epoch: u64,
    /// Seconds that it outlives its connection.
    pub expiry_s: u32,
    /// When it ends, on the monotonic clock; `None` while it is connected, and when it never ends.
    pub ends_ns: Option<u64>,
    /// Whether a will is left with it.
    pub has_will: bool,
    /// How many subscriptions it has.
    pub subscriptions: usize,
    /// Messages that wait for it.
    pub queue_messages: usize,
    /// What they take.
    pub queue_bytes: usize,
    /// Messages on their way to it that are not settled.
    pub inflight_messages: usize,
    /// The most that may be on their way.
    pub window: u16,
    /// Messages that were dropped on their way to it.
    pub drops: u64,
}

/// Which subscriptions are wanted; what is `None` or empty does not matter.
#[derive(Clone, Debug, Default)]
pub struct SubscriptionQuery {
    /// The client id.
    pub client: Option<ByteString>,
    /// How the filter begins.
    pub prefix: ByteString,
}

/// One subscription of one session.
#[derive(Clone, Debug)]
pub struct SubscriptionView {
    /// The session's realm.
    pub realm: ByteString,
    /// The session's client id.
    pub client: ByteString,
    /// The whole filter, `$share/GROUP/` included.
    pub filter: ByteString,
    /// Its terms.
    pub options: SubscriptionOptions,
}

/// A shared subscription's queue, or one that stands (`$queue/NAME`).
#[derive(Clone, Debug)]
pub struct QueueView {
    /// Its name.
    pub filter: Arc<Filter>,
    /// Whether it stands without members.
    pub stands: bool,
    /// Messages that wait in it.
    pub messages: usize,
    /// What they take.
    pub bytes: usize,
    /// Messages that were dropped on their way into it.
    pub drops: u64,
    /// How many members it has.
    pub members_total: usize,
    /// The first of them.
    pub members: Vec<MemberView>,
}

/// One member of a queue.
#[derive(Clone, Debug)]
pub struct MemberView {
    /// The client id; `None` when its session lives on another shard.
    pub client: Option<ByteString>,
    /// Unsettled messages that it takes at once; 0 while it is away or slow.
    pub window: u32,
    /// Those that it has.
    pub outstanding: u32,
    /// Whether its session outlives its connection.
    pub lasts: bool,
}

/// Who a connected peer is, in short.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The name that it has proven.
    pub name: Option<ByteString>,
    /// Messages that were dropped on their way to it.
    pub drops: u64,
}
