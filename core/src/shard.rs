//! The words that shards say to each other: batches of them, with one wake a tick.

use crate::effects::Delivery;
use crate::message::Message;
use crate::topic::Filter;
use crate::verbs::{Answer, PeerId, Request};
use std::sync::Arc;

/// One word from one shard's broker to another's. Words between two shards arrive in order.
#[derive(Clone, Debug)]
pub enum Word {
    /// A peer of the sender asks for something that its session's home decides.
    Request(PeerId, Request),
    /// The answer to that.
    Answer(PeerId, Answer),
    /// A delivery to a peer of the receiver.
    Delivery(Delivery),
    /// The sender wants (or no longer wants) messages that match; `operation` 0 asks for no answer.
    Interest {
        /// The pattern.
        filter: Filter,
        /// Whether it is wanted.
        wanted: bool,
        /// Names what waits for `Interested`.
        operation: u64,
    },
    /// The receiver's interest is known here.
    Interested {
        /// From `Interest`.
        operation: u64,
    },
    /// A message for the receiver's sessions; answered by `Stored`.
    Forward {
        /// The message.
        message: Arc<Message>,
        /// Who published it.
        publisher: Option<PeerId>,
        /// Names what waits for `Stored`.
        operation: u64,
    },
    /// Everything that the receiver's message needed here is durable.
    Stored {
        /// From `Forward`.
        operation: u64,
        /// Whether anybody was subscribed.
        matched: bool,
    },
}
