//! The contract of a language of whole messages: what carries it (WebSocket for one) says where each begins and ends.

use crate::adaptor::{Close, Receive};
use crate::effects::Delivery;
use crate::time::{Deadline, Now};
use crate::verbs::{Answer, Request};
use bytes::Bytes;
use std::collections::VecDeque;

/// One peer's side of a conversation in messages: like an [`Adaptor`](crate::Adaptor), without bytes to cut apart.
pub trait MessageAdaptor: Send {
    /// One message. With [`Receive::Wait`] the next one comes after the broker's next answer; `NeedMore` and `Again` are
    /// the same here.
    fn receive(&mut self, now: Now, message: WholeMessage, out: &mut MessageOut<'_>) -> Result<Receive, Close>;

    /// The broker's answer to a request of ours, or its farewell.
    fn answer(&mut self, now: Now, answer: Answer, out: &mut MessageOut<'_>) -> Result<(), Close>;

    /// Messages for our subscriptions, never more than the window that we stated.
    fn deliver(&mut self, now: Now, batch: &[Delivery], out: &mut MessageOut<'_>);

    /// The time that [`next_timeout`](Self::next_timeout) named has come (or a little earlier time).
    fn timeout(&mut self, now: Now, out: &mut MessageOut<'_>) -> Result<(), Close>;

    /// When to call `timeout`, and what for.
    fn next_timeout(&self) -> Option<Deadline>;

    /// Whether it asks the peer itself if it is there, so that the carrier need not.
    fn has_pings(&self) -> bool {
        false
    }
}

/// A message of the carrier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WholeMessage {
    /// Whether the carrier says that it is text; it is UTF-8 then.
    pub is_text: bool,
    /// All of it.
    pub bytes: Bytes,
}

/// Where a message adaptor puts what it wants done.
#[derive(Debug)]
pub struct MessageOut<'a> {
    /// Messages for the peer, in order.
    pub messages: &'a mut VecDeque<WholeMessage>,
    /// Requests for the broker, drained first in, first out, never recursively.
    pub requests: &'a mut VecDeque<Request>,
}
