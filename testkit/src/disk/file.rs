//! One file of a simulated disk: what everyone reads, what is on the platter, and what lies between.

use super::{Fate, SECTOR_BYTES};
use althing_core::Entropy;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// A file.
#[derive(Debug)]
pub(super) struct File {
    /// What everyone reads: the page cache.
    current: Vec<u8>,
    /// What is on the platter.
    durable: Vec<u8>,
    /// Sectors that have been written since the last sync.
    dirty: BTreeMap<usize, Dirty>,
    /// The lengths that it has had since the last sync, in bytes.
    lengths: Vec<usize>,
    /// Sectors that cannot be read.
    broken: BTreeSet<usize>,
    /// How many names it has outside this directory, and one.
    pub links: u64,
}

/// A sector that is not synced.
#[derive(Debug)]
struct Dirty {
    /// What it has held since the last sync, oldest first.
    versions: Vec<[u8; SECTOR_BYTES]>,
    /// Which of its bytes were written: the others are as they were, whatever becomes of these.
    written: [bool; SECTOR_BYTES],
}

impl Default for File {
    fn default() -> Self {
        Self {
            current: Vec::new(),
            durable: Vec::new(),
            dirty: BTreeMap::new(),
            lengths: Vec::new(),
            broken: BTreeSet::new(),
            links: 1,
        }
    }
}

impl File {
    pub fn content(&self) -> &[u8] {
        &self.current
    }

    pub fn synced_copy(&self) -> Self {
        Self {
            current: self.current.clone(),
            durable: self.current.clone(),
            broken: self.broken.clone(),
            ..Self::default()
        }
    }

    /// Fills `buffer` as far as the file goes.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let start = (offset as usize).min(self.current.len());
        let count = buffer.len().min(self.current.len() - start);
        if count > 0 && self.broken.range(start / SECTOR_BYTES..=(start + count - 1) / SECTOR_BYTES).next().is_some() {
            return Err(io::Error::other("a sector cannot be read"));
        }
        buffer[..count].copy_from_slice(&self.current[start..start + count]);
        Ok(count)
    }

    pub fn write(&mut self, offset: u64, data: &[u8]) {
        let (start, end) = (offset as usize, offset as usize + data.len());
        if data.is_empty() {
            return;
        }
        if end > self.current.len() {
            self.current.resize(end, 0);
            self.lengths.push(end);
        }
        self.current[start..end].copy_from_slice(data);
        for sector in start / SECTOR_BYTES..=(end - 1) / SECTOR_BYTES {
            let content = sector_of(&self.current, sector);
            let dirty = self
                .dirty
                .entry(sector)
                .or_insert_with(|| Dirty { versions: Vec::new(), written: [false; SECTOR_BYTES] });
            dirty.versions.push(content);
            let first = start.saturating_sub(sector * SECTOR_BYTES);
            let last = (end - sector * SECTOR_BYTES).min(SECTOR_BYTES);
            dirty.written[first..last].fill(true);
            self.broken.remove(&sector);
        }
    }

    pub fn sync(&mut self) {
        let length = self.lengths.drain(..).next_back().unwrap_or(self.durable.len());
        self.durable.resize(length.max(self.durable.len()), 0);
        for (sector, dirty) in std::mem::take(&mut self.dirty) {
            if let Some(last) = dirty.versions.last() {
                put_sector(&mut self.durable, sector, last);
            }
        }
    }

    /// Some of what should have been written is on the platter. All of it counts as written from now on, and is still
    /// there to be read: only a restart shows what is missing.
    pub fn fail_to_sync(&mut self, fate: Fate, entropy: &mut Entropy) {
        let length = choose_length(&mut self.lengths, self.durable.len(), fate, entropy);
        self.durable.resize(length, 0);
        for (sector, dirty) in std::mem::take(&mut self.dirty) {
            if let Some(content) = dirty.outcome(&sector_of(&self.durable, sector), fate, entropy) {
                put_sector(&mut self.durable, sector, &content);
            }
        }
    }

    /// What a failed sync gave up is read anew from the platter; what is still to be written stays.
    pub fn drop_cache(&mut self) {
        let length = self.lengths.last().copied().unwrap_or(self.durable.len());
        let mut current = self.durable.clone();
        current.resize(length, 0);
        for (sector, dirty) in &self.dirty {
            dirty.versions.last().into_iter().for_each(|last| put_sector(&mut current, *sector, last));
        }
        self.current = current;
    }

    /// Power is lost: what is on the platter is what there is.
    pub fn crash(&mut self, fate: Fate, entropy: &mut Entropy) {
        self.fail_to_sync(fate, entropy);
        self.current = self.durable.clone();
    }

    pub fn flip_bit(&mut self, bit: u64) {
        let (at, mask) = ((bit / 8) as usize, 1 << (bit % 8));
        for content in [&mut self.current, &mut self.durable] {
            content[at] ^= mask;
        }
    }

    pub fn truncate(&mut self, length_bytes: u64) {
        self.current.truncate(length_bytes as usize);
        self.durable.truncate(length_bytes as usize);
        self.dirty.retain(|sector, _| sector * SECTOR_BYTES < length_bytes as usize);
        self.lengths.clear();
    }

    pub fn break_sector(&mut self, sector: u64) {
        self.broken.insert(sector as usize);
    }
}

impl Dirty {
    /// What the sector holds after a crash; `None`: what it held at the last sync.
    fn outcome(&self, before: &[u8; SECTOR_BYTES], fate: Fate, entropy: &mut Entropy) -> Option<[u8; SECTOR_BYTES]> {
        if fate == Fate::Mixed && entropy.below(4) == 0 {
            let mut zeroed = *before;
            for (byte, _) in zeroed.iter_mut().zip(&self.written).filter(|(_, written)| **written) {
                *byte = 0;
            }
            return Some(zeroed);
        }
        let version = match fate {
            Fate::Kept => self.versions.len(),
            Fate::Lost => 0,
            Fate::Mixed => entropy.below(self.versions.len() as u64 + 1) as usize,
        };
        version.checked_sub(1).map(|version| self.versions[version])
    }
}

/// Lengths only grow: the file has one of those that it has had.
fn choose_length(lengths: &mut Vec<usize>, durable: usize, fate: Fate, entropy: &mut Entropy) -> usize {
    let lengths = std::mem::take(lengths);
    let place = match fate {
        Fate::Kept => lengths.len(),
        Fate::Lost => 0,
        Fate::Mixed => entropy.below(lengths.len() as u64 + 1) as usize,
    };
    place.checked_sub(1).map_or(durable, |place| lengths[place])
}

/// A sector, with zeros beyond the end of the file.
fn sector_of(content: &[u8], sector: usize) -> [u8; SECTOR_BYTES] {
    let start = (sector * SECTOR_BYTES).min(content.len());
    let end = (start + SECTOR_BYTES).min(content.len());
    let mut copy = [0; SECTOR_BYTES];
    copy[..end - start].copy_from_slice(&content[start..end]);
    copy
}

/// Puts what fits into the file; its length stays.
fn put_sector(content: &mut [u8], sector: usize, new: &[u8; SECTOR_BYTES]) {
    let start = (sector * SECTOR_BYTES).min(content.len());
    let end = (start + SECTOR_BYTES).min(content.len());
    content[start..end].copy_from_slice(&new[..end - start]);
}
