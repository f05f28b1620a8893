//! The contract of a door: a datagram socket and all conversations on it, without IO.
//!
//! A stream gives each peer an [`Adaptor`](crate::Adaptor) of its own. Datagrams come from everyone through one
//! socket, so a door keeps its peers itself: it decides which datagram is answered without any state,
//! which belongs to a peer that it knows, and which makes a new one.

use crate::effects::Delivery;
use crate::link::SharedKey;
use crate::time::{Deadline, Now};
use crate::verbs::{Answer, PeerId, Request};
use bytes::Bytes;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

/// One socket's conversations: protocol state and nothing else.
///
/// The driver calls, the door fills `out`; it never blocks and never fails: a datagram that cannot be
/// understood is that sender's trouble alone. State for an address is bounded, in number and in bytes,
/// since anyone can write any address on a datagram.
pub trait Door: Send {
    /// One datagram, as its sender wrote it: what protected it on its way is off already.
    fn receive(&mut self, now: Now, source: Source, datagram: Bytes, out: &mut DoorOut<'_>);

    /// What protected the conversation with this address has ended, or somebody else has begun one there: its peers are
    /// gone, and nothing that it held may reach whoever comes from there next. Nothing can be said there any more.
    fn left(&mut self, now: Now, remote: SocketAddr, out: &mut DoorOut<'_>);

    /// The broker's answer to a request of this peer, or its farewell. Answers for peers that the door has
    /// closed do not come any more.
    fn answer(&mut self, now: Now, peer: PeerId, answer: Answer, out: &mut DoorOut<'_>);

    /// Messages for this peer's subscriptions, never more than the window that it stated.
    fn deliver(&mut self, now: Now, peer: PeerId, batch: &[Delivery], out: &mut DoorOut<'_>);

    /// The time that [`next_timeout`](Self::next_timeout) named has come (or a little earlier time).
    fn timeout(&mut self, now: Now, out: &mut DoorOut<'_>);

    /// When to call `timeout`, and what for (the reason shows in traces).
    fn next_timeout(&self) -> Option<Deadline>;
}

/// Where a datagram comes from, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// Who says to have sent it.
    pub remote: SocketAddr,
    /// Whether it went to a group of hosts, of which this is one: answers are few, late, and never errors.
    pub is_multicast: bool,
    /// Whether it came inside DTLS: the address has proven itself, and nobody else can write from it.
    pub is_secured: bool,
}

impl Source {
    /// A plain datagram to this host alone.
    pub fn plain(remote: SocketAddr) -> Self {
        Self { remote, is_multicast: false, is_secured: false }
    }
}

/// Where a door puts what it wants done.
#[derive(Debug)]
pub struct DoorOut<'a> {
    /// Datagrams to send. One that the socket does not take is lost, as datagrams may be.
    pub datagrams: &'a mut Datagrams,
    /// Requests for the broker, drained first in, first out, never recursively.
    pub requests: &'a mut VecDeque<(PeerId, Request)>,
    /// Peers come and go here. A peer's first request is `Connect`; its `Disconnect` comes before its close.
    pub peers: &'a mut PeerIds,
}

/// Datagrams on their way out: one memory for all of them.
#[derive(Debug, Default)]
pub struct Datagrams {
    bytes: Vec<u8>,
    /// Each one's address, and where its bytes end.
    ends: Vec<(SocketAddr, usize)>,
}

impl Datagrams {
    /// Adds one datagram, whose bytes `write` appends.
    pub fn push_with(&mut self, remote: SocketAddr, write: impl FnOnce(&mut Vec<u8>)) -> &[u8] {
        let start = self.bytes.len();
        write(&mut self.bytes);
        self.ends.push((remote, self.bytes.len()));
        &self.bytes[start..]
    }

    /// Adds one datagram.
    pub fn push(&mut self, remote: SocketAddr, datagram: &[u8]) {
        self.push_with(remote, |bytes| bytes.extend_from_slice(datagram));
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = (SocketAddr, &[u8])> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|(_, end)| *end));
        starts.zip(&self.ends).map(|(start, (remote, end))| (*remote, &self.bytes[start..*end]))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Forgets them; the memory stays for the next ones.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

/// Peer ids of one door: places that are used again, under another generation.
#[derive(Debug)]
pub struct PeerIds {
    shard: u16,
    slot_first: u32,
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u16,
    /// `None` while nobody has the slot.
    remote: Option<SocketAddr>,
    key: Option<Arc<SharedKey>>,
}

impl PeerIds {
    /// Ids of this shard whose slots count from `slot_first` on.
    pub fn new(shard: u16, slot_first: u32) -> Self {
        Self { shard, slot_first, slots: Vec::new(), free: Vec::new() }
    }

    /// An id for a new peer at this address.
    pub fn open(&mut self, remote: SocketAddr) -> PeerId {
        self.open_with_key(remote, None)
    }

    /// An id for a new peer at this address that has proven to hold a key, message by message.
    pub fn open_with_key(&mut self, remote: SocketAddr, key: Option<Arc<SharedKey>>) -> PeerId {
        let place = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            (self.slots.len() - 1) as u32
        });
        let slot = &mut self.slots[place as usize];
        (slot.remote, slot.key) = (Some(remote), key);
        self.peer(place)
    }

    /// The peer is gone: late words for it do not reach the next user of its place.
    pub fn close(&mut self, peer: PeerId) {
        if self.is_open(peer) {
            let place = peer.slot - self.slot_first;
            let slot = &mut self.slots[place as usize];
            (slot.remote, slot.key) = (None, None);
            slot.generation = slot.generation.wrapping_add(1);
            self.free.push(place);
        }
    }

    /// Whether the peer is one of these and still there.
    pub fn is_open(&self, peer: PeerId) -> bool {
        self.remote(peer).is_some()
    }

    /// The address that the peer was opened for; `None` when it is gone.
    pub fn remote(&self, peer: PeerId) -> Option<SocketAddr> {
        self.slot(peer)?.remote
    }

    /// The key that the peer has proven to hold with its own messages; `None` where there is none.
    pub fn key(&self, peer: PeerId) -> Option<&Arc<SharedKey>> {
        self.slot(peer)?.key.as_ref()
    }

    fn slot(&self, peer: PeerId) -> Option<&Slot> {
        let slot = self.slots.get(peer.slot.checked_sub(self.slot_first)? as usize)?;
        (slot.generation == peer.generation).then_some(slot)
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// True when none is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Everyone who is open.
    pub fn iter(&self) -> impl Iterator<Item = PeerId> {
        (0..self.slots.len() as u32)
            .filter(|place| self.slots[*place as usize].remote.is_some())
            .map(|place| self.peer(place))
    }

    fn peer(&self, place: u32) -> PeerId {
        let generation = self.slots[place as usize].generation;
        PeerId { shard: self.shard, generation, slot: self.slot_first + place }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_word_does_not_reach_the_next_peer() {
        let mut peers = PeerIds::new(3, 100);
        let remote = SocketAddr::from(([127, 0, 0, 1], 5_683));
        let (first, second) = (peers.open(remote), peers.open(remote));
        assert_eq!((first.shard, first.slot, second.slot), (3, 100, 101));
        peers.close(first);
        let third = peers.open(remote);
        assert_eq!(third.slot, first.slot);
        assert!(!peers.is_open(first) && peers.is_open(third));
        peers.close(first);
        assert_eq!(peers.iter().collect::<Vec<_>>(), [third, second]);
        assert_eq!(peers.len(), 2);
    }

    #[test]
    fn datagrams_keep_their_order_and_their_bounds() {
        let mut datagrams = Datagrams::default();
        let remote = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        for _ in 0..2 {
            datagrams.push(remote(1), b"one");
            datagrams.push(remote(2), b"");
            assert_eq!(datagrams.push_with(remote(1), |bytes| bytes.push(b'3')), b"3");
            let all: Vec<_> = datagrams.iter().collect();
            assert_eq!(all, [(remote(1), &b"one"[..]), (remote(2), b""), (remote(1), b"3")]);
            datagrams.clear();
            assert!(datagrams.is_empty());
        }
    }
}
