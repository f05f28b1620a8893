//! The table of a shard's connections.

use crate::admission::Admitted;
use crate::transport::Stream;
use althing_core::broker::Pace;
use althing_core::{Adaptor, Link, OutBuffer, PeerId, Request};
use bytes::BytesMut;
use std::collections::VecDeque;
use std::task::Waker;

/// One connection. Idle ones own no buffer: `out` and `input` are empty and without memory then.
pub(crate) struct Connection {
    pub stream: Stream,
    /// `None` once the conversation is over and only the last bytes have to leave.
    pub adaptor: Option<Box<dyn Adaptor>>,
    pub out: OutBuffer,
    /// The start of a packet whose end has not come yet.
    pub input: BytesMut,
    /// Of the connection's task, from its first poll on.
    pub waker: Option<Waker>,
    pub link: Link,
    /// Counts it with its listener and its address; `None` for guests, who came with a connection that is counted.
    pub admitted: Option<Admitted>,
    /// When it was accepted, on the monotonic clock.
    pub since_ns: u64,
    /// The place of its listener among the measures.
    pub listener: usize,
    /// The deadline of the entry in the heap of timers; `u64::MAX` when there is none.
    pub armed_ns: u64,
    /// Bytes that the peer itself caused and has not read.
    pub unread_answer_bytes: usize,
    /// The slow subscriber for which this publisher is not read.
    pub paused_for: Option<PeerId>,
    /// It is not read before this moment; 0 = it was never too fast.
    pub throttled_until_ns: u64,
    /// What it had asked for in one breath when it became too fast; waits for that moment.
    pub held: VecDeque<Request>,
    pub pace: Pace,
    /// `receive` wants an answer first.
    pub waits: bool,
    /// What it asked for waits for the store, which is behind: it is not read meanwhile.
    pub waits_for_store: bool,
    /// `input` may hold whole packets: hand them over before reading.
    pub has_more: bool,
    /// In the list of those to be flushed.
    pub is_dirty: bool,
    /// The socket takes no more; the task waits for it.
    pub is_blocked: bool,
    /// The last byte has left and the peer was told so.
    pub is_shut: bool,
    /// The adaptor has already told the broker that the peer leaves.
    pub has_left: bool,
}

impl Connection {
    /// A connection from which `input` has been read already.
    pub fn new(
        stream: Stream,
        adaptor: Box<dyn Adaptor>,
        link: Link,
        admitted: Option<Admitted>,
        input: BytesMut,
    ) -> Self {
        Self {
            stream,
            adaptor: Some(adaptor),
            out: OutBuffer::default(),
            has_more: !input.is_empty(),
            input,
            waker: None,
            link,
            since_ns: admitted.as_ref().map_or(0, Admitted::since_ns),
            admitted,
            listener: 0,
            armed_ns: u64::MAX,
            unread_answer_bytes: 0,
            paused_for: None,
            throttled_until_ns: 0,
            held: VecDeque::new(),
            pace: Pace::Ready,
            waits: false,
            waits_for_store: false,
            is_dirty: false,
            is_blocked: false,
            is_shut: false,
            has_left: false,
        }
    }

    /// Whether it has to be added to the list of those to be flushed; it counts as added then. A blocked
    /// one waits for its socket instead.
    pub fn needs_flush(&mut self) -> bool {
        let is_new = !self.is_dirty && !self.is_blocked;
        self.is_dirty |= is_new;
        is_new
    }

    /// Whether what it sends waits for a subscriber or for a moment: its silence is ours.
    pub fn is_held_back(&self) -> bool {
        self.paused_for.is_some() || self.throttled_until_ns > 0
    }

    /// What the peer has not been sent yet.
    pub fn waiting_bytes(&self) -> usize {
        self.out.len() + self.stream.pending_bytes()
    }

    /// Has the connection's task polled again.
    pub fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
        if let Stream::Guest(line) = &self.stream {
            line.wake();
        }
    }
}

/// Connections by peer id, with slots that are used again.
pub(crate) struct Connections {
    shard: u16,
    slots: Vec<Slot>,
    free: Vec<u32>,
    open: usize,
}

#[derive(Default)]
struct Slot {
    generation: u16,
    connection: Option<Connection>,
}

impl Connections {
    pub fn new(shard: u16) -> Self {
        Self { shard, slots: Vec::new(), free: Vec::new(), open: 0 }
    }

    /// The number of the shard whose table this is.
    pub fn shard(&self) -> u16 {
        self.shard
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.open
    }

    pub fn insert(&mut self, connection: Connection) -> PeerId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            (self.slots.len() - 1) as u32
        });
        let entry = &mut self.slots[slot as usize];
        entry.connection = Some(connection);
        self.open += 1;
        PeerId { shard: self.shard, generation: entry.generation, slot }
    }

    pub fn get(&self, peer: PeerId) -> Option<&Connection> {
        let entry = self.slots.get(peer.slot as usize)?;
        if entry.generation == peer.generation { entry.connection.as_ref() } else { None }
    }

    pub fn get_mut(&mut self, peer: PeerId) -> Option<&mut Connection> {
        let entry = self.slots.get_mut(peer.slot as usize)?;
        if entry.generation == peer.generation { entry.connection.as_mut() } else { None }
    }

    /// Frees the slot for a next user, whom late words for this one do not reach.
    pub fn remove(&mut self, peer: PeerId) -> Option<Connection> {
        let entry = self.slots.get_mut(peer.slot as usize)?;
        if entry.generation != peer.generation {
            return None;
        }
        let connection = entry.connection.take()?;
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(peer.slot);
        self.open -= 1;
        Some(connection)
    }

    /// Everyone; only for the end of the shard.
    pub fn peers(&self) -> Vec<PeerId> {
        let peer = |(slot, entry): (usize, &Slot)| {
            entry.connection.as_ref()?;
            Some(PeerId { shard: self.shard, generation: entry.generation, slot: slot as u32 })
        };
        self.slots.iter().enumerate().filter_map(peer).collect()
    }
}
