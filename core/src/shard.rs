//! The words that shards say to each other: batches of them, with one wake a tick. Words from one shard
//! to another arrive in the order in which they were said.

use crate::authorisation::{Authorised, Principal};
use crate::broker::{Opening, Pace};
use crate::effects::Delivery;
use crate::group::{Member, SessionRef};
use crate::message::Message;
use crate::queue::Entry;
use crate::record::{QueueKey, SessionKey};
use crate::topic::{Filter, Topic};
use crate::verbs::{Answer, PeerId, Request, SubscriptionOptions};
use std::sync::Arc;

/// One word. `operation` names what waits at the sender for `Done`; 0 = nothing waits.
#[derive(Clone, Debug)]
pub enum Word {
    /// A peer of the sender asks for something that its session's home, the receiver, decides.
    Request(PeerId, Request),
    /// A peer of the sender whose identity is settled wants a session of the receiver.
    Open(PeerId, Box<Opening>),
    /// The answer to a peer of the receiver.
    Answer(PeerId, Answer),
    /// A delivery to a peer of the receiver.
    Delivery(Delivery),
    /// A peer of the receiver is not read until this time, on the monotonic clock.
    Throttle(PeerId, u64),
    /// How fast a peer of the sender reads.
    Pace(PeerId, Pace),
    /// What was asked under `operation` stands, durably.
    Done {
        /// From the question.
        operation: u64,
        /// For a forwarded message: whether anybody was subscribed.
        matched: bool,
    },
    /// The sender wants (or no longer wants) messages that match.
    Interest {
        /// The pattern, as a filter without a group.
        pattern: String,
        /// Whether it is wanted.
        wanted: bool,
        /// Answered by `Done`.
        operation: u64,
    },
    /// Whether the receiver has heard everything that the sender said before.
    Fence {
        /// Answered by `Done`.
        operation: u64,
    },
    /// A message for the receiver's sessions and, when it is to be retained there, its last values.
    Forward {
        /// The message, already authorised.
        message: Authorised<Arc<Message>>,
        /// Whether the receiver owns the topic's last value.
        retain: bool,
        /// Its place in the durable queue [`between`] the two shards, until the receiver has taken it; 0 when it is not
        /// stored there.
        place: i64,
        /// Answered by `Done`.
        operation: u64,
    },
    /// A session of the sender wants the last values that the receiver owns.
    Query {
        /// The session that asks.
        session: SessionRef,
        /// For which topics.
        filter: Filter,
        /// How they are wanted.
        options: SubscriptionOptions,
        /// Comes back in `Snapshot`.
        operation: u64,
    },
    /// The answer to `Query`.
    Snapshot {
        /// The session that asked.
        session: SessionRef,
        /// The last values.
        messages: Vec<Arc<Message>>,
        /// From `Query`.
        options: SubscriptionOptions,
        /// From `Query`.
        operation: u64,
    },
    /// A session of the sender wants the last value of one topic that the receiver owns.
    Fetch {
        /// Which.
        topic: Topic,
        /// Comes back in `Fetched`.
        operation: u64,
    },
    /// The answer to `Fetch`.
    Fetched {
        /// From the question.
        operation: u64,
        /// The value, if there is one.
        message: Option<Arc<Message>>,
    },
    /// A session of the sender joins a group of the receiver, or changes its terms.
    Join {
        /// The group's filter.
        filter: Arc<Filter>,
        /// The member and its terms.
        member: Box<Member>,
        /// Answered by `Done`.
        operation: u64,
    },
    /// A member came (`window` > 0) or went away (0); its unsettled messages have been returned before.
    Window {
        /// The group's filter.
        filter: Arc<Filter>,
        /// The member.
        session: SessionRef,
        /// What it takes now.
        window: u32,
        /// Whether it outlives its connection.
        lasts: bool,
        /// Who it is, where that has changed.
        principal: Option<Arc<Principal>>,
    },
    /// A member leaves for good.
    Leave {
        /// The group's filter.
        filter: Arc<Filter>,
        /// The member.
        session: SessionRef,
    },
    /// A message for a member. Where it is stored, it stays stored at the group until the member's shard has put it elsewhere.
    Assign {
        /// The member.
        session: SessionRef,
        /// The message and its terms.
        entry: Entry,
    },
    /// A member has settled one message.
    Settled {
        /// The group's filter.
        filter: Arc<Filter>,
        /// The member.
        session: SessionRef,
    },
    /// Messages that a member could not settle come back, oldest first.
    Return {
        /// The group's filter.
        filter: Arc<Filter>,
        /// The member.
        session: SessionRef,
        /// The name of its queue, where those entries are stored that are stored and not at their group; `None`
        /// when there are none.
        key: Option<SessionKey>,
        /// The messages.
        entries: Vec<Entry>,
    },
    /// The sender has said everything that follows from what it was restored to; said again with `heard`, it has also
    /// heard the same of every other shard and said what follows from that.
    Restored {
        /// Whether it is said again.
        heard: bool,
    },
}

/// The durable queue of messages on their way from one shard to another: those that nobody will send again once the
/// sender's step is durable. The receiver's step takes them out, so that each is distributed there exactly once.
pub(crate) fn between(from: u16, to: u16) -> QueueKey {
    QueueKey::Group(format!("{BETWEEN}{from}/{to}").into())
}

/// The receiver, if `text` names such a queue.
pub(crate) fn receiver(text: &str) -> Option<u16> {
    text.strip_prefix(BETWEEN)?.split_once('/')?.1.parse().ok()
}

/// The sender, if `text` names such a queue.
pub(crate) fn sender(text: &str) -> Option<u16> {
    text.strip_prefix(BETWEEN)?.split_once('/')?.0.parse().ok()
}

/// Begins no filter of a group or queue.
const BETWEEN: &str = "$shard/";
