//! The contract of an adaptor: one peer's side of a conversation, without IO.

use crate::effects::Delivery;
use crate::time::{Deadline, Now};
use crate::verbs::{Answer, Refusal, Request};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::io::IoSlice;

/// One peer's side of a conversation: protocol state and nothing else.
///
/// The driver calls, the adaptor fills `out`; it never blocks and never fails but by [`Close`].
pub trait Adaptor: Send {
    /// Bytes of a stream, or one datagram. Takes what it can use from the front of `input` and leaves
    /// the rest there.
    fn receive(&mut self, now: Now, input: &mut BytesMut, out: &mut Out<'_>) -> Result<Receive, Close>;

    /// The broker's answer to a request of ours, or its farewell.
    fn answer(&mut self, now: Now, answer: Answer, out: &mut Out<'_>) -> Result<(), Close>;

    /// Messages for our subscriptions, never more than the window that we stated.
    fn deliver(&mut self, now: Now, batch: &[Delivery], out: &mut Out<'_>);

    /// The time that [`next_timeout`](Self::next_timeout) named has come (or a little earlier time).
    fn timeout(&mut self, now: Now, out: &mut Out<'_>) -> Result<(), Close>;

    /// When to call `timeout`, and what for (the reason shows in traces).
    fn next_timeout(&self) -> Option<Deadline>;
}

/// What `receive` did, so that the driver knows when to call again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receive {
    /// `input` holds no complete packet any more: read more bytes.
    NeedMore,
    /// Progress was made and `input` may hold more: call again after draining `out` (its budget of
    /// requests is used up).
    Again,
    /// Nothing can be taken before the broker has answered (behind CONNECT): call again after the
    /// next `answer`, without reading meanwhile.
    Wait,
}

/// The conversation is over. Bytes already in `out` still leave, then the connection closes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// Why, for the log.
    pub refusal: Refusal,
    /// Whether the peer's will is due; false after a proper goodbye.
    pub publish_will: bool,
}

impl Close {
    /// A close that leaves the will due.
    pub fn with_will(refusal: Refusal) -> Self {
        Self { refusal, publish_will: true }
    }
}

/// Where an adaptor puts what it wants done.
#[derive(Debug)]
pub struct Out<'a> {
    /// Bytes for the peer.
    pub bytes: &'a mut OutBuffer,
    /// Requests for the broker, drained first in, first out, never recursively.
    pub requests: &'a mut VecDeque<Request>,
}

/// Bytes waiting for a peer's socket: small frames are copied together, large payloads shared.
///
/// An empty buffer owns no memory, so that an idle connection costs none.
#[derive(Debug, Default)]
pub struct OutBuffer {
    /// What leaves before `tail`, in order.
    chunks: VecDeque<Bytes>,
    /// The sum of the lengths in `chunks`.
    chunks_bytes: usize,
    tail: Vec<u8>,
    /// Bytes of `tail` (or of the first chunk, when there is one) that have already left.
    sent: usize,
}

/// From this length on a payload is shared instead of copied (measured: sharing 64-byte payloads
/// costs a third of the throughput, sharing 4 KiB payloads gains a half).
const SHARE_BYTES_MIN: usize = 2_048;

/// From this length on what has left is cut off the tail, once it is the larger half.
const COMPACT_BYTES_MIN: usize = 64 << 10;

/// Where a frame began whose header is written when its length is known.
#[derive(Debug)]
pub struct FrameStart(usize);

/// What [`OutBuffer::begin_frame`] leaves for a header: enough for a frame of up to 64 KiB in most languages.
const FRAME_HEADER_ROOM: usize = 4;

impl OutBuffer {
    /// Memory to append small things to.
    pub fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.tail
    }

    /// Appends a payload, shared when large.
    pub fn put_payload(&mut self, payload: &Bytes) {
        if payload.len() < SHARE_BYTES_MIN {
            self.tail.extend_from_slice(payload);
            return;
        }
        if !self.tail.is_empty() {
            let mut head = Bytes::from(std::mem::take(&mut self.tail));
            if self.chunks.is_empty() && self.sent > 0 {
                head = head.slice(self.sent..);
                self.sent = 0;
            }
            self.push_chunk(head);
        }
        self.push_chunk(payload.clone());
    }

    /// Begins a frame whose header depends on its length: leaves room for a short one. What is put from here on, at the
    /// end only, belongs to the frame; [`end_frame`](Self::end_frame) wants what this returns.
    pub fn begin_frame(&mut self) -> FrameStart {
        let start = FrameStart(self.len());
        self.tail.extend_from_slice(&[0; FRAME_HEADER_ROOM]);
        start
    }

    /// Bytes put since the frame began.
    pub fn frame_bytes(&self, start: &FrameStart) -> usize {
        self.len() - start.0 - FRAME_HEADER_ROOM
    }

    /// Puts the header in front of what was put since the frame began. Little of that is moved, and never a shared
    /// payload: all of it where the header is shorter or longer than the room, else what comes before the first payload
    /// that is shared.
    pub fn end_frame(&mut self, start: FrameStart, header: &[u8]) {
        // Counted from the end: what was put since is little, what waits before it may be much.
        let mut from_end = self.len() - start.0;
        if from_end <= self.tail.len() {
            let at = self.tail.len() - from_end;
            return put_header(&mut self.tail, at, header);
        }
        from_end -= self.tail.len();
        for index in (0..self.chunks.len()).rev() {
            let chunk = &self.chunks[index];
            if from_end > chunk.len() {
                from_end -= chunk.len();
                continue;
            }
            // The room has become a part of a chunk, together with what the frame puts before its first payload.
            let at = chunk.len() - from_end;
            let mut head = Vec::with_capacity(header.len() + from_end);
            head.extend_from_slice(header);
            head.extend_from_slice(&chunk[at + FRAME_HEADER_ROOM..]);
            let before = chunk.slice(..at);
            self.chunks_bytes = self.chunks_bytes + header.len() - FRAME_HEADER_ROOM;
            self.chunks[index] = head.into();
            if !before.is_empty() {
                self.chunks.insert(index, before);
            }
            return;
        }
    }

    /// Takes back a frame, room and all; returns what was put since it began.
    pub fn cut_frame(&mut self, start: FrameStart) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.frame_bytes(&start));
        let mut from_end = self.len() - start.0;
        let mut parts = Vec::new();
        while from_end > self.tail.len() {
            from_end -= self.tail.len();
            parts.push(std::mem::take(&mut self.tail));
            // There is one: the room is not behind it.
            let Some(chunk) = self.chunks.pop_back() else { break };
            self.chunks_bytes -= chunk.len();
            self.tail = chunk.into();
        }
        let at = self.tail.len() - from_end;
        body.extend_from_slice(&self.tail[at + FRAME_HEADER_ROOM..]);
        self.tail.truncate(at);
        parts.iter().rev().for_each(|part| body.extend_from_slice(part));
        body
    }

    /// Takes back a frame of which nothing was put.
    pub fn abandon_frame(&mut self, start: FrameStart) {
        debug_assert_eq!(self.frame_bytes(&start), 0, "only an empty frame can be taken back");
        self.tail.truncate(self.tail.len() - FRAME_HEADER_ROOM);
    }

    fn push_chunk(&mut self, chunk: Bytes) {
        self.chunks_bytes += chunk.len();
        self.chunks.push_back(chunk);
    }

    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.chunks_bytes + self.tail.len() - self.sent
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `slices` for one vectored write; returns how many it used.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut used = 0;
        let mut skip = self.sent;
        for part in self.chunks.iter().map(|chunk| &chunk[..]).chain([&self.tail[..]]) {
            if used == slices.len() {
                break;
            }
            if skip < part.len() {
                slices[used] = IoSlice::new(&part[skip..]);
                used += 1;
            }
            skip = 0;
        }
        used
    }

    /// The first `written` bytes have left.
    pub fn advance(&mut self, written: usize) {
        self.sent += written;
        while let Some(first) = self.chunks.front() {
            if self.sent < first.len() {
                return;
            }
            self.sent -= first.len();
            self.chunks_bytes -= first.len();
            self.chunks.pop_front();
        }
        if self.sent == self.tail.len() {
            self.tail.clear();
            self.sent = 0;
        } else if self.sent >= COMPACT_BYTES_MIN && self.sent * 2 >= self.tail.len() {
            // A peer that always reads a little and never everything must not keep what it has read.
            self.tail.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// Takes the memory of an empty buffer, for reuse by the next one that needs some.
    pub fn take_spare(&mut self) -> Option<Vec<u8>> {
        (self.is_empty() && self.tail.capacity() > 0).then(|| {
            self.chunks = VecDeque::new();
            std::mem::take(&mut self.tail)
        })
    }

    /// Gives an empty buffer memory to write to.
    pub fn give_spare(&mut self, spare: Vec<u8>) {
        if self.tail.capacity() == 0 {
            self.tail = spare;
        }
    }

    /// Everything that waits, as one vector, leaving nothing; for tests and datagrams.
    pub fn take_all(&mut self) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.len());
        let mut skip = self.sent;
        for part in self.chunks.iter().map(|chunk| &chunk[..]).chain([&self.tail[..]]) {
            all.extend_from_slice(&part[skip.min(part.len())..]);
            skip = 0;
        }
        *self = Self::default();
        all
    }
}

/// Replaces the room at `at` by a header, which may be shorter or longer.
fn put_header(tail: &mut Vec<u8>, at: usize, header: &[u8]) {
    let body_at = at + FRAME_HEADER_ROOM;
    if header.len() <= FRAME_HEADER_ROOM {
        let body_bytes = tail.len() - body_at;
        tail[at..at + header.len()].copy_from_slice(header);
        if header.len() < FRAME_HEADER_ROOM {
            tail.copy_within(body_at.., at + header.len());
            tail.truncate(at + header.len() + body_bytes);
        }
        return;
    }
    tail.splice(at..body_at, header.iter().copied());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_stands_before_its_frame_whatever_was_put() {
        let large = Bytes::from(vec![7; SHARE_BYTES_MIN]);
        for header in [&[1_u8, 2][..], &[1, 2, 3, 4], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]] {
            for before in [0, 3, SHARE_BYTES_MIN] {
                for sent in [0, before / 2, before] {
                    for parts in [&[&b"ab"[..]][..], &[b"ab", &large, b"cd", &large], &[&large], &[b"a", &large]] {
                        let mut buffer = OutBuffer::default();
                        buffer.put_payload(&Bytes::from(vec![9; before]));
                        buffer.advance(sent);
                        let start = buffer.begin_frame();
                        for part in parts {
                            buffer.put_payload(&Bytes::copy_from_slice(part));
                        }
                        let body = parts.concat();
                        assert_eq!(buffer.frame_bytes(&start), body.len());
                        assert_eq!(buffer.cut_frame(start), body);
                        assert_eq!(buffer.len(), before - sent);
                        let start = buffer.begin_frame();
                        parts.iter().for_each(|part| buffer.put_payload(&Bytes::copy_from_slice(part)));
                        buffer.end_frame(start, header);
                        buffer.tail().push(8);
                        let expected = [&vec![9; before - sent][..], header, &body, &[8]].concat();
                        assert_eq!(buffer.len(), expected.len());
                        assert_eq!(buffer.take_all(), expected);
                    }
                }
            }
        }
    }

    #[test]
    fn an_empty_frame_can_be_taken_back() {
        let mut buffer = OutBuffer::default();
        buffer.tail().extend_from_slice(b"abc");
        let start = buffer.begin_frame();
        buffer.abandon_frame(start);
        assert_eq!(buffer.take_all(), b"abc");
    }

    #[test]
    fn bytes_leave_in_order_whatever_is_copied_or_shared() {
        let mut buffer = OutBuffer::default();
        let large = Bytes::from(vec![7; SHARE_BYTES_MIN]);
        let mut expected = Vec::new();
        let mut left = Vec::new();
        for round in 0..50_u8 {
            buffer.tail().extend_from_slice(&[round; 10]);
            expected.extend_from_slice(&[round; 10]);
            buffer.put_payload(&large);
            expected.extend_from_slice(&large);
            buffer.put_payload(&Bytes::from_static(b"small"));
            expected.extend_from_slice(b"small");
            let mut slices = [IoSlice::new(&[]); 4];
            let used = buffer.slices(&mut slices);
            let all: Vec<u8> = slices[..used].iter().flat_map(|slice| slice.to_vec()).collect();
            let written = all.len().min(usize::from(round) * 97);
            left.extend_from_slice(&all[..written]);
            buffer.advance(written);
        }
        left.extend_from_slice(&buffer.take_all());
        assert_eq!(left, expected);
        assert!(buffer.is_empty());
    }

    #[test]
    fn a_buffer_that_is_never_empty_does_not_grow() {
        let mut buffer = OutBuffer::default();
        let chunk = [7; 1_000];
        buffer.tail().extend_from_slice(&chunk);
        for _ in 0..10_000 {
            buffer.tail().extend_from_slice(&chunk);
            buffer.advance(chunk.len());
        }
        assert_eq!(buffer.len(), chunk.len());
        assert!(buffer.tail.capacity() <= 4 * COMPACT_BYTES_MIN);
    }

    #[test]
    fn an_empty_buffer_gives_its_memory_away() {
        let mut buffer = OutBuffer::default();
        buffer.tail().extend_from_slice(b"abc");
        assert!(buffer.take_spare().is_none());
        buffer.advance(3);
        let spare = buffer.take_spare().unwrap();
        assert!(spare.capacity() >= 3 && spare.is_empty());
        assert!(buffer.take_spare().is_none());
        buffer.give_spare(spare);
        assert!(buffer.tail().capacity() >= 3);
    }
}
