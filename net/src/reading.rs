//! Bytes in: one read a poll, handed to the adaptor turn by turn.

use crate::shard::Shard;
use althing_core::verbs::Refusal;
use althing_core::{Close, Now, PeerId, Reason, Receive};
use bytes::BytesMut;
use std::io;
use std::mem;
use std::task::{Context, Poll};

/// The shard's one read buffer. Large enough for many packets, small enough for the cache.
pub(crate) const READ_BUFFER_BYTES: usize = 64 << 10;

/// The start of a packet up to this length is put in front of the next read, so that the whole packet lies
/// in the shard's buffer. A longer one collects its bytes in memory of its own, or a packet that
/// comes in many reads would be copied as many times.
const CARRY_BYTES_MAX: usize = 4 << 10;

impl Shard {
    /// What the task of a connection does when it is woken: by bytes, by room to write, by an answer or
    /// by the end of a pause.
    pub(crate) fn poll_connection(&mut self, peer: PeerId, cx: &mut Context<'_>) -> Poll<()> {
        let Some(connection) = self.connections.get_mut(peer) else { return Poll::Ready(()) };
        if connection.waker.is_none() {
            connection.waker = Some(cx.waker().clone());
        }
        if connection.is_blocked && connection.stream.poll_write_ready(cx).is_ready() {
            connection.is_blocked = false;
            self.mark_dirty(peer);
        }
        let now = self.clock.now();
        self.poll_input(now, peer, cx);
        self.settle(now);
        self.tick_when_busy();
        if self.connections.get(peer).is_none() {
            return Poll::Ready(());
        }
        self.arm(peer);
        Poll::Pending
    }

    fn poll_input(&mut self, now: Now, peer: PeerId, cx: &mut Context<'_>) {
        let Some(connection) = self.connections.get_mut(peer) else { return };
        if connection.adaptor.is_none() {
            return self.discard(peer, cx);
        }
        if connection.is_held_back() || connection.waits || connection.waits_for_store {
            return;
        }
        if connection.has_more {
            connection.has_more = false;
            let input = mem::take(&mut connection.input);
            let rest = self.receive(now, peer, input);
            self.keep(peer, rest);
            // Nothing is registered with the socket yet: read in the next poll.
            return cx.waker().wake_by_ref();
        }
        let read = self.read(now, peer, cx);
        // Reading may have made TLS say something that the socket did not take at once.
        if self.connections.get(peer).is_some_and(|connection| connection.stream.pending_bytes() > 0) {
            self.mark_dirty(peer);
        }
        match read {
            Poll::Pending => return,
            Poll::Ready(Ok(0)) => return self.lost(now, peer, None),
            Poll::Ready(Err(error)) => return self.lost(now, peer, Some(error)),
            Poll::Ready(Ok(_)) => {}
        }
        // One read a poll is fair to the others. A short read has emptied the socket, which this call
        // knows without asking the system.
        let Some(connection) = self.connections.get(peer) else { return };
        if connection.stream.poll_read_ready(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
    }

    fn read(&mut self, now: Now, peer: PeerId, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(connection) = self.connections.get_mut(peer) else { return Poll::Pending };
        let mut buffer = mem::take(&mut self.read_buffer);
        buffer.clear();
        // Takes the same memory again, unless somebody still holds a slice of it.
        buffer.reserve(READ_BUFFER_BYTES);
        let is_carried = connection.input.len() <= CARRY_BYTES_MAX;
        if is_carried {
            buffer.extend_from_slice(&connection.input);
        }
        let read = connection.stream.poll_read(cx, &mut buffer, &mut self.scratch);
        if let Poll::Ready(Ok(read @ 1..)) = read {
            self.counters.bytes_received += read as u64;
            self.measures.received(connection.listener, read as u64);
            self.turns += 1;
            if is_carried {
                connection.input.clear();
                buffer = self.receive(now, peer, buffer);
                self.keep_copy(peer, &buffer);
            } else {
                connection.input.extend_from_slice(&buffer);
                let input = mem::take(&mut connection.input);
                let rest = self.receive(now, peer, input);
                self.keep(peer, rest);
            }
        }
        self.read_buffer = buffer;
        read
    }

    /// Hands `input` to the adaptor until it needs more, must wait, or is paused. Returns what is left.
    fn receive(&mut self, now: Now, peer: PeerId, mut input: BytesMut) -> BytesMut {
        loop {
            let batches_stored = self.batches_stored;
            let received = self.call(now, peer, |adaptor, out| adaptor.receive(now, &mut input, out));
            let (Some(received), Some(connection)) = (received, self.connections.get_mut(peer)) else {
                input.clear();
                return input;
            };
            connection.waits = received == Receive::Wait;
            self.settle(now);
            let adds_to_backlog = self.batches_stored != batches_stored && self.host.is_behind();
            let Some(connection) = self.connections.get_mut(peer).filter(|connection| connection.adaptor.is_some())
            else {
                input.clear();
                return input;
            };
            if adds_to_backlog && !connection.waits_for_store {
                connection.waits_for_store = true;
                self.waiting_for_store.push(peer);
            }
            if received == Receive::NeedMore {
                return input;
            }
            if connection.waits || connection.is_held_back() || adds_to_backlog {
                connection.has_more = true;
                return input;
            }
        }
    }

    /// Keeps the start of a packet in the memory that it is in, unless that is mostly empty by now.
    fn keep(&mut self, peer: PeerId, rest: BytesMut) {
        if rest.len() <= CARRY_BYTES_MAX {
            return self.keep_copy(peer, &rest);
        }
        if let Some(connection) = self.connections.get_mut(peer) {
            connection.input = rest;
        }
    }

    /// Copies the start of a packet out of the shard's buffer; a connection without one owns no memory.
    fn keep_copy(&mut self, peer: PeerId, rest: &[u8]) {
        let Some(connection) = self.connections.get_mut(peer) else { return };
        if rest.is_empty() {
            connection.input = BytesMut::new();
        } else {
            connection.input.extend_from_slice(rest);
        }
    }

    /// After the conversation: reads on so that the system does not reset the connection, which could
    /// take our last words away from the peer. Ends with the peer's end, or by the timer.
    fn discard(&mut self, peer: PeerId, cx: &mut Context<'_>) {
        let Some(connection) = self.connections.get_mut(peer) else { return };
        self.read_buffer.clear();
        self.read_buffer.reserve(READ_BUFFER_BYTES);
        match connection.stream.poll_read(cx, &mut self.read_buffer, &mut self.scratch) {
            Poll::Pending => {}
            Poll::Ready(Ok(1..)) => cx.waker().wake_by_ref(),
            Poll::Ready(Ok(0) | Err(_)) => self.remove(peer),
        }
    }

    /// The stream has ended or broken.
    pub(crate) fn lost(&mut self, now: Now, peer: PeerId, error: Option<io::Error>) {
        let text = match error {
            None => "the peer closed the connection without a goodbye".into(),
            Some(error) => format!("the connection broke: {error}").into(),
        };
        self.end(now, peer, Close::with_will(Refusal { reason: Reason::ConnectionLost, text }));
        // A peer that closed only its sending half may still read.
        self.flush_peer(now, peer);
        self.remove(peer);
    }
}
