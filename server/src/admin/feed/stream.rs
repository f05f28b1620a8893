//! Server-sent events as the body of an answer.

use axum::body::{Bytes, HttpBody};
use hyper::body::Frame;
use serde::Serialize;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Events that wait for the reader. A tick makes three of them at most, and none is made while there is no room for those.
const WAITING_MAX: usize = 6;
const TICK_MAX: usize = 3;

/// Both ends of one feed.
pub fn line() -> (Events, Stream) {
    let (sender, receiver) = channel(WAITING_MAX);
    (Events(sender), Stream(receiver))
}

/// Where events go in.
#[derive(Debug)]
pub struct Events(Sender<Bytes>);

impl Events {
    /// Whether the reader has taken enough for another tick.
    pub fn has_room(&self) -> bool {
        self.0.capacity() >= TICK_MAX
    }

    /// Sends one; whether somebody may read it.
    pub fn send(&self, event: Bytes) -> bool {
        self.0.try_send(event).is_ok()
    }

    /// Ends when the reader has gone.
    pub async fn closed(&self) {
        self.0.closed().await;
    }
}

/// One event as it is written.
pub fn event(name: &str, data: &impl Serialize) -> Bytes {
    // It is made of texts and numbers, which always can be written.
    let json = serde_json::to_string(data).unwrap_or_default();
    format!("event: {name}\ndata: {json}\n\n").into()
}

/// Where they come out. Dropping it ends the feed.
#[derive(Debug)]
pub struct Stream(Receiver<Bytes>);

impl HttpBody for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|event| event.map(|event| Ok(Frame::data(event))))
    }
}
