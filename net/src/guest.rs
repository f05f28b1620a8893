//! Peers that are served by tasks of this thread instead of a socket of their own: what requests and event streams of one
//! HTTP connection are for the broker.
//!
//! A guest has a place among the connections, so that pace, throttling, deadlines and goodbyes are those of everybody.
//! Instead of bytes it has a line: answers and deliveries wait there until its task takes them.

use crate::connections::Connection;
use crate::local;
use crate::shard::Shard;
use crate::transport::Stream;
use althing_core::broker::Pace;
use althing_core::inspect::Standing;
use althing_core::verbs::{Disconnect, Refusal};
use althing_core::{Adaptor, Answer, Close, Deadline, Delivery, Link, Now, Out, PeerId, Reason, Receive, Request};
use bytes::BytesMut;
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// A peer of the broker that belongs to tasks of this thread. It leaves when this is dropped.
pub struct Guest {
    peer: PeerId,
    line: Arc<Line>,
}

/// The conversation is over; nothing more can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestClosed;

impl Guest {
    /// A peer that came in by `link`; `None`, and told, when the house is full or closing. Its first request opens a session.
    pub fn open(link: Link) -> Option<Self> {
        local::with(|shard| shard.open_guest(link))
    }

    /// Who it is for the broker.
    pub fn peer(&self) -> PeerId {
        self.peer
    }

    /// Asks the broker. What follows has happened when this returns, but for what waits (for the store, for an identity).
    pub fn request(&self, request: Request) {
        local::with(|shard| shard.request_of_guest(self.peer, request));
    }

    /// Pending while it should ask for nothing: it was too fast, a subscriber cannot follow, or the store is behind.
    pub fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        let is_held_back = local::with(|shard| shard.holds_guest_back(self.peer));
        if !is_held_back {
            return Poll::Ready(());
        }
        self.line.lock().wait(cx);
        Poll::Pending
    }

    /// The first answer that is `wanted`; others stay for those who want them.
    ///
    /// # Errors
    /// When the conversation is over and no such answer has come.
    pub fn poll_answer(
        &self,
        cx: &mut Context<'_>,
        wanted: impl Fn(&Answer) -> bool,
    ) -> Poll<Result<Answer, GuestClosed>> {
        let mut inbox = self.line.lock();
        if let Some(place) = inbox.answers.iter().position(wanted)
            && let Some(answer) = inbox.answers.remove(place)
        {
            return Poll::Ready(Ok(answer));
        }
        if inbox.is_closed {
            return Poll::Ready(Err(GuestClosed));
        }
        inbox.wait(cx);
        Poll::Pending
    }

    /// Moves what was delivered to the end of `deliveries`, as far as `bytes_max` of payload, at least one.
    ///
    /// # Errors
    /// When the conversation is over and everything has been taken.
    pub fn poll_deliveries(
        &self,
        cx: &mut Context<'_>,
        deliveries: &mut Vec<Delivery>,
        bytes_max: usize,
    ) -> Poll<Result<(), GuestClosed>> {
        let mut inbox = self.line.lock();
        if inbox.deliveries.is_empty() {
            if inbox.is_closed {
                return Poll::Ready(Err(GuestClosed));
            }
            inbox.wait(cx);
            return Poll::Pending;
        }
        let mut taken_bytes = 0;
        while taken_bytes < bytes_max
            && let Some(delivery) = inbox.deliveries.pop_front()
        {
            taken_bytes += cost_bytes(&delivery);
            deliveries.push(delivery);
        }
        inbox.bytes -= taken_bytes;
        drop(inbox);
        local::with(|shard| shard.guest_has_read(self.peer));
        Poll::Ready(Ok(()))
    }

    /// Who it is proven to be, and how many messages were dropped on their way to it; nobody and none where its session is on
    /// another shard.
    pub fn standing(&self) -> Standing {
        local::with(|shard| shard.broker.standing_of(self.peer)).unwrap_or_default()
    }

    /// Why the broker has ended the conversation, when it has.
    pub fn farewell(&self) -> Option<Refusal> {
        self.line.lock().farewell.clone()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // At the end of the process the shard goes first.
        local::with_running(|shard| shard.end_guest(self.peer));
    }
}

impl fmt::Debug for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Guest({:?})", self.peer)
    }
}

/// What a delivery counts for against the high mark of unread bytes.
fn cost_bytes(delivery: &Delivery) -> usize {
    const STRUCTURE: usize = 64;
    STRUCTURE + delivery.message.payload.len()
}

/// Where answers and deliveries wait for a guest's tasks.
#[derive(Default)]
pub(crate) struct Line(Mutex<Inbox>);

#[derive(Default)]
struct Inbox {
    answers: VecDeque<Answer>,
    deliveries: VecDeque<Delivery>,
    /// What `deliveries` count for.
    bytes: usize,
    is_closed: bool,
    farewell: Option<Refusal>,
    /// Everyone who waits for something; each looks again.
    waiting: Vec<Waker>,
}

impl Line {
    /// Nothing panics under the lock.
    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What waits to be taken.
    pub fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Has everyone look again.
    pub fn wake(&self) {
        self.lock().wake();
    }

    fn close(&self) {
        let mut inbox = self.lock();
        inbox.is_closed = true;
        inbox.wake();
    }
}

impl Inbox {
    fn wait(&mut self, cx: &Context<'_>) {
        if !self.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            self.waiting.push(cx.waker().clone());
        }
    }

    fn wake(&mut self) {
        self.waiting.drain(..).for_each(Waker::wake);
    }
}

/// Puts everything on the line.
struct GuestAdaptor(Arc<Line>);

impl Adaptor for GuestAdaptor {
    fn receive(&mut self, _: Now, _: &mut BytesMut, _: &mut Out<'_>) -> Result<Receive, Close> {
        Ok(Receive::NeedMore)
    }

    fn answer(&mut self, _: Now, answer: Answer, _: &mut Out<'_>) -> Result<(), Close> {
        let mut inbox = self.0.lock();
        let close = match &answer {
            Answer::Close(refusal) => Some(Close { refusal: refusal.clone(), publish_will: false }),
            _ => None,
        };
        match &close {
            Some(close) => inbox.farewell = Some(close.refusal.clone()),
            None => inbox.answers.push_back(answer),
        }
        inbox.wake();
        close.map_or(Ok(()), Err)
    }

    fn deliver(&mut self, _: Now, batch: &[Delivery], _: &mut Out<'_>) {
        let mut inbox = self.0.lock();
        inbox.bytes += batch.iter().map(cost_bytes).sum::<usize>();
        inbox.deliveries.extend(batch.iter().cloned());
        inbox.wake();
    }

    fn timeout(&mut self, _: Now, _: &mut Out<'_>) -> Result<(), Close> {
        Ok(())
    }

    fn next_timeout(&self) -> Option<Deadline> {
        None
    }
}

impl Shard {
    fn open_guest(&mut self, link: Link) -> Option<Guest> {
        if self.is_closing() {
            return None;
        }
        if self.connections.len() >= self.limits.connections_max {
            self.turned_away(link.listener(), "limits.connections_max is reached".into());
            return None;
        }
        let line = Arc::new(Line::default());
        let adaptor = Box::new(GuestAdaptor(Arc::clone(&line)));
        let mut connection = Connection::new(Stream::Guest(Arc::clone(&line)), adaptor, link, None, BytesMut::new());
        connection.since_ns = self.clock.mono_ns();
        connection.listener = self.measures.listener(&connection.link.entrance);
        let peer = self.connections.insert(connection);
        Some(Guest { peer, line })
    }

    fn request_of_guest(&mut self, peer: PeerId, request: Request) {
        let now = self.clock.now();
        let Some(connection) = self.connections.get_mut(peer).filter(|connection| connection.adaptor.is_some()) else {
            return;
        };
        if !connection.held.is_empty() {
            return connection.held.push_back(request);
        }
        let batches_stored = self.batches_stored;
        self.request_of_connection(now, peer, request);
        self.settle(now);
        if self.batches_stored != batches_stored
            && self.host.is_behind()
            && let Some(connection) = self.connections.get_mut(peer)
        {
            connection.waits_for_store = true;
            self.waiting_for_store.push(peer);
        }
    }

    fn holds_guest_back(&self, peer: PeerId) -> bool {
        self.connections.get(peer).is_some_and(|it| it.is_held_back() || it.waits_for_store)
    }

    /// Some of what waited was taken.
    fn guest_has_read(&mut self, peer: PeerId) {
        let Some(connection) = self.connections.get(peer) else { return };
        if connection.pace != Pace::Ready && connection.waiting_bytes() <= self.limits.write_buffer_low_bytes {
            let now = self.clock.now();
            self.set_pace(now, peer, Pace::Ready);
            self.settle(now);
        }
    }

    fn end_guest(&mut self, peer: PeerId) {
        let now = self.clock.now();
        let refusal = Refusal::new(Reason::Normal, "the request is over");
        if let Some(connection) = self.connections.get_mut(peer)
            && !connection.has_left
        {
            let disconnect = Disconnect { publish_will: false, session_expiry_s: None, reason: refusal.reason };
            self.request_of_connection(now, peer, Request::Disconnect(disconnect));
        }
        self.end(now, peer, Close { refusal, publish_will: false });
        self.settle(now);
    }
}

impl Drop for GuestAdaptor {
    fn drop(&mut self) {
        self.0.close();
    }
}
