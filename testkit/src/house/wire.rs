//! Two byte pipes between a peer and the house, which can be cut at any byte.

use althing_core::{Entropy, PeerId};
use bytes::{Buf, BytesMut};

/// One direction.
#[derive(Debug)]
pub(crate) struct Pipe {
    pub bytes: BytesMut,
    /// What it takes before its writer has to wait.
    bytes_max: usize,
    /// Nothing more will come after `bytes`.
    pub closed: bool,
}

impl Pipe {
    fn new(bytes_max: usize) -> Self {
        Self { bytes: BytesMut::new(), bytes_max, closed: false }
    }

    /// How many bytes the writer may add now.
    pub fn room(&self) -> usize {
        self.bytes_max.saturating_sub(self.bytes.len())
    }

    /// Adds what fits and returns how much that was. A closed pipe swallows everything, as a dead network does.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        if self.closed {
            return bytes.len();
        }
        let taken = bytes.len().min(self.room());
        self.bytes.extend_from_slice(&bytes[..taken]);
        taken
    }

    /// Whether the reader has seen everything there will ever be.
    pub fn at_end(&self) -> bool {
        self.closed && self.bytes.is_empty()
    }

    fn cut(&mut self, entropy: &mut Entropy) {
        if !self.closed {
            self.bytes.truncate(entropy.below(self.bytes.len() as u64 + 1) as usize);
            self.closed = true;
        }
    }
}

/// Both directions and who sits at the house's end.
#[derive(Debug)]
pub(crate) struct Wire {
    /// From the peer to the house.
    pub up: Pipe,
    /// From the house to the peer.
    pub down: Pipe,
    /// The connection at the house's end; `None` once the house has closed it.
    pub peer: Option<PeerId>,
    /// Bytes that a peer has read but nobody has looked at, on wires without a client half.
    pub inbox: BytesMut,
    /// Whether the peer reads at all.
    pub reading: bool,
}

impl Wire {
    pub fn new(peer: PeerId, pipe_bytes_max: usize) -> Self {
        Self {
            up: Pipe::new(pipe_bytes_max),
            down: Pipe::new(pipe_bytes_max),
            peer: Some(peer),
            inbox: BytesMut::new(),
            reading: true,
        }
    }

    /// Loses some of the bytes under way, and everything after them, in both directions.
    pub fn cut(&mut self, entropy: &mut Entropy) {
        self.up.cut(entropy);
        self.down.cut(entropy);
    }
}

/// How bytes are chopped on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grain {
    /// Everything that is there, at once.
    Whole,
    /// Now a byte, now a few, now everything.
    Mixed,
    /// A byte, or a few.
    Fine,
}

impl Grain {
    /// How many of `available` bytes move now; at least one.
    pub(crate) fn choose(self, available: usize, entropy: &mut Entropy) -> usize {
        let few = |entropy: &mut Entropy| 1 + entropy.below(16) as usize;
        let wanted = match (self, entropy.below(4)) {
            (Self::Whole, _) | (Self::Mixed, 2..) => available,
            (_, 0) => 1,
            _ => few(entropy),
        };
        wanted.clamp(1, available.max(1))
    }
}

/// Takes up to `count` bytes from the front of `from`.
pub(crate) fn transfer(from: &mut BytesMut, to: &mut BytesMut, count: usize) {
    let count = count.min(from.len());
    to.extend_from_slice(&from[..count]);
    from.advance(count);
}
