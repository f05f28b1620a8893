//! Where the newest word about each session, subscription, token and retained value stands.

use crate::codec::{BodyAt, Kind};
use hashbrown::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// The table is cut into so many, by the top bits of the hash: one is small enough to be written or cleaned in one go, and
/// none grows for long.
pub(crate) const SHARDS: usize = 256;

/// What the index knows of one fact. Its key is only there as a hash: nobody but the owner of the seed can make two that are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fact {
    pub kind: Kind,
    pub at: BodyAt,
}

const _: () = assert!(size_of::<(u128, Fact)>() == 32);

type Shard = HashMap<u128, Fact, BuildHasherDefault<AsItIs>>;

#[derive(Debug)]
pub(crate) struct Facts {
    shards: Vec<Shard>,
    count: usize,
}

impl Default for Facts {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Shard::default()).collect(), count: 0 }
    }
}

impl Facts {
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    pub(crate) fn get_mut(&mut self, hash: u128) -> Option<&mut Fact> {
        self.shards[shard(hash)].get_mut(&hash)
    }

    /// Puts a fact in place of the one before.
    pub(crate) fn put(&mut self, hash: u128, fact: Fact) -> Option<Fact> {
        let before = self.shards[shard(hash)].insert(hash, fact);
        self.count += usize::from(before.is_none());
        before
    }

    pub(crate) fn take(&mut self, hash: u128) -> Option<Fact> {
        let shard = &mut self.shards[shard(hash)];
        let fact = shard.remove(&hash)?;
        self.count -= 1;
        if shard.len() < shard.capacity() / 8 {
            shard.shrink_to(shard.len() * 2);
        }
        Some(fact)
    }

    pub(crate) fn shard(&self, shard: usize) -> impl ExactSizeIterator<Item = (u128, Fact)> {
        self.shards[shard].iter().map(|(hash, fact)| (*hash, *fact))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u128, Fact)> {
        (0..SHARDS).flat_map(|shard| self.shard(shard))
    }

    /// Bytes of memory that they take.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.allocation_size() + size_of::<Shard>()).sum()
    }
}

fn shard(hash: u128) -> usize {
    (hash >> 120) as usize
}

/// The key is a hash already; the table takes the half that does not choose the shard.
#[derive(Debug, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Only `u128` is ever hashed; anything else would still be correct, only slow.
        self.0 = bytes.iter().fold(self.0, |hash, byte| hash.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u128(&mut self, hash: u128) {
        self.0 = hash as u64;
    }
}
