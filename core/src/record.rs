//! What must outlive the process: facts for the store to keep, and what it gives back.
//!
//! The broker says each change as a [`Record`]; the records of one step are kept together or not at all. At the next
//! start the store says what holds as [`Restored`] facts. Bodies of messages that wait for long are the store's alone:
//! the broker asks for them by [`Load`].

use crate::message::{Guarantee, Message};
use crate::queue::Tags;
use crate::topic::{Filter, Topic};
use crate::verbs::SubscriptionOptions;
use bytestring::ByteString;
use std::sync::Arc;

/// Names a session: ids are unique within a realm, and the empty realm is the default one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey {
    /// The realm.
    pub realm: ByteString,
    /// The client id.
    pub client: ByteString,
}

/// Names a durable queue.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum QueueKey {
    /// What waits for a session.
    Session(SessionKey),
    /// What waits in a group, by the text of its filter (`$share/GROUP/FILTER`, `$queue/NAME`); or what is on its way
    /// between two shards (`$shard/FROM/TO`).
    Group(ByteString),
}

/// How an entry of a queue is to be delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// The smaller of the publisher's and the subscriber's guarantee.
    pub guarantee: Guarantee,
    /// The retain flag as the subscription sees it.
    pub retain: bool,
    /// The tags of all subscriptions that matched.
    pub tags: Tags,
    /// In a session's queue: the filter of the group that the entry came from and goes back to.
    pub group: Option<ByteString>,
}

/// A will that waits for the end of its session or of its delay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredWill {
    /// What is published.
    pub message: Arc<Message>,
    /// How long to wait for the session to be resumed first, in seconds.
    pub delay_s: u32,
    /// Lifetime of the message from the moment of its publication, in seconds.
    pub expiry_s: Option<u32>,
}

/// Everything about a session that is one fact; subscriptions, tokens and entries are facts of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionFact {
    /// Whose.
    pub key: SessionKey,
    /// The language that its last connection spoke; a name of the protocol table.
    pub protocol: &'static str,
    /// The name that it has proven.
    pub principal: Option<ByteString>,
    /// Counts the connections of its shard; a higher one fences the lower.
    pub epoch: u64,
    /// How long it outlives its connection, in seconds; `u32::MAX` = for ever.
    pub expiry_s: u32,
    /// The largest delivery number that its peer takes.
    pub number_max: u32,
    /// When it ends, on the monotonic clock in nanoseconds. `None`: it is connected, or never ends.
    pub ends_ns: Option<u64>,
    /// Its will.
    pub will: Option<StoredWill>,
    /// When the will is due though the session goes on, on the monotonic clock. `None`: it is connected, or
    /// the will waits for the session's end.
    pub will_due_ns: Option<u64>,
}

/// One durable change. Each says the new state, so that one that is applied twice does no harm.
///
/// Entries are named by queue and sequence. Sequences order a queue; they are never used again in the same queue,
/// and may be negative: what comes back goes before what waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A session that outlives its connection is like this now.
    Session(Box<SessionFact>),
    /// A session is over. Its subscriptions, tokens and queue have ended by records of their own in the same step,
    /// except for entries that are on their way back to a group: they stay until a `Moved` takes them there.
    SessionClosed(SessionKey),
    /// A subscription was made or changed.
    Subscribed {
        /// Whose.
        session: SessionKey,
        /// To what.
        filter: Filter,
        /// How it is wanted.
        options: SubscriptionOptions,
    },
    /// A subscription ended.
    Unsubscribed {
        /// Whose.
        session: SessionKey,
        /// To what.
        filter: Filter,
    },
    /// A message waits in a queue. The same `Arc` in several records is one message, kept once.
    Queued {
        /// Where.
        queue: QueueKey,
        /// The entry's place.
        sequence: i64,
        /// What waits.
        message: Arc<Message>,
        /// How it is to be delivered.
        terms: Terms,
    },
    /// An entry left one queue and entered another in one act, without its number. Where the first is not known (any
    /// more), nothing moves. Said by whoever receives the entry: until then it is where it was.
    Moved {
        /// Where it was.
        from: QueueKey,
        /// Its place there.
        from_sequence: i64,
        /// Where it is.
        queue: QueueKey,
        /// Its place.
        sequence: i64,
        /// How it is to be delivered from now on.
        terms: Terms,
    },
    /// An entry of a session has a delivery number.
    Numbered {
        /// Whose.
        session: SessionKey,
        /// Which entry.
        sequence: i64,
        /// The number, never 0.
        number: u32,
    },
    /// The peer has received an `ExactlyOnce` delivery; it is not repeated any more.
    Received {
        /// Whose.
        session: SessionKey,
        /// Which entry.
        sequence: i64,
    },
    /// An entry is over. It may be gone already, with its queue.
    Settled {
        /// Where.
        queue: QueueKey,
        /// Which entry.
        sequence: i64,
    },
    /// A queue is over with all its entries, except those of a session that came from a group.
    QueueClosed(QueueKey),
    /// A de-duplication token is held.
    TokenHeld {
        /// By whom.
        session: SessionKey,
        /// The token.
        token: u32,
    },
    /// A de-duplication token was let go.
    TokenReleased {
        /// By whom.
        session: SessionKey,
        /// The token.
        token: u32,
    },
    /// A topic's last value changed; `None` clears it.
    Retained {
        /// The topic.
        topic: Topic,
        /// Its new value.
        message: Option<Arc<Message>>,
    },
}

/// One entry of a durable queue as the broker finds it at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoredEntry {
    /// Its place.
    pub sequence: i64,
    /// What it costs to keep by [`Message::size_bytes`], or close to it.
    pub size_bytes: u32,
    /// The message with its terms, of entries that the broker wants in memory at once: those with a delivery number
    /// and those whose terms name a group. The others wait on disk.
    pub here: Option<LoadedEntry>,
    /// Its delivery number; 0 = none yet.
    pub number: u32,
    /// Whether the peer has received it (`ExactlyOnce` only).
    pub received: bool,
}

/// What the store found at the start. Sessions come first, everything else in any order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Restored {
    /// A session.
    Session(Box<SessionFact>),
    /// A subscription of a session.
    Subscription {
        /// Whose.
        session: SessionKey,
        /// To what.
        filter: Filter,
        /// How it is wanted.
        options: SubscriptionOptions,
    },
    /// A token that a session holds.
    Token {
        /// Whose.
        session: SessionKey,
        /// The token.
        token: u32,
    },
    /// All entries of one queue, in order. The queue's session may be gone: then they go back to their groups.
    Queue {
        /// Which.
        queue: QueueKey,
        /// What waits there.
        entries: Vec<RestoredEntry>,
    },
    /// A topic's last value.
    Retained(Arc<Message>),
}

/// Entries that are wanted in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// Of which queue.
    pub queue: QueueKey,
    /// Which, in order.
    pub sequences: Vec<i64>,
}

/// The answer to a [`Load`]: those of the entries that are still there, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Of which queue.
    pub queue: QueueKey,
    /// What was wanted.
    pub sequences: Vec<i64>,
    /// What was found, each with its sequence.
    pub entries: Vec<(i64, LoadedEntry)>,
}

/// A message from disk, as its queue knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedEntry {
    /// The message.
    pub message: Arc<Message>,
    /// How it is to be delivered.
    pub terms: Terms,
}
