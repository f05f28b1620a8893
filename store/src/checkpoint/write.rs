//! Writing a checkpoint, piece by piece.

use super::{END, FACTS, FORMAT_VERSION, HEADER_BYTES, MAGIC, PIECE_HEADER_BYTES, QUEUES, UNFINISHED};
use crate::codec::{put_bytes, put_signed, put_varint};
use crate::disk::{Disk, FileId};
use crate::error::{DiskError, at};
use crate::index::{Entry, Index, Queue, SHARDS};
use crate::log::Log;
use crate::store::Progress;
use foldhash::fast::FixedState;
use hashbrown::HashMap;

/// A piece ends when it is as long as this part of a segment: 256 KiB of 16 MiB.
const PIECES_PER_SEGMENT: usize = 64;
/// So many pieces are synced at a time.
const SYNC_PIECES: u64 = 16;
/// A slot for a queue that is free costs time, too.
const PIECE_SLOTS: usize = 1 << 16;

/// How many bytes a checkpoint would have, roughly.
pub(super) fn estimate_bytes(index: &Index) -> u64 {
    const FACT: u64 = 28;
    const ENTRY: u64 = 12;
    HEADER_BYTES as u64 + FACT * index.facts_len() as u64 + ENTRY * index.entries_len()
}

/// A checkpoint under way.
#[derive(Debug)]
pub(crate) struct Writing {
    file: FileId,
    first_segment: u32,
    /// Bytes so far, and the checksum of all of them.
    bytes: u64,
    checksum: u32,
    /// Up to where it was synced: one sync of all at the end would keep commits waiting.
    synced: u64,
    next: Next,
    piece_bytes: usize,
    piece: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
enum Next {
    Facts {
        shard: usize,
    },
    Queues {
        slot: usize,
        after: Option<i64>,
    },
    End,
    /// Complete and synced; it may contain so many steps.
    Done {
        steps: u64,
    },
}

impl Writing {
    /// The snapshot contains everything in front of the segment that is being written, so that replay can begin there.
    pub(super) fn begin<D: Disk>(
        log: &mut Log<D>,
        segment_bytes: u32,
        key: u64,
        age_ms: u64,
        wall_ms: u64,
    ) -> Result<Self, DiskError> {
        let first_segment = log.segments().last().copied().unwrap_or(1);
        let store = log.store();
        let file = log.disk().create(UNFINISHED).map_err(at("create", UNFINISHED))?;
        let mut writing = Self {
            file,
            first_segment,
            bytes: 0,
            checksum: 0,
            synced: 0,
            next: Next::Facts { shard: 0 },
            piece_bytes: segment_bytes as usize / PIECES_PER_SEGMENT,
            piece: Vec::new(),
        };
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend_from_slice(&MAGIC);
        header.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        header.extend_from_slice(&(HEADER_BYTES as u16).to_le_bytes());
        header.extend_from_slice(&first_segment.to_le_bytes());
        for number in [store, key, age_ms, wall_ms] {
            header.extend_from_slice(&number.to_le_bytes());
        }
        header.extend_from_slice(&crc32c::crc32c(&header).to_le_bytes());
        writing.write(log.disk(), &header)?;
        Ok(writing)
    }

    pub(super) fn first_segment(&self) -> u32 {
        self.first_segment
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn is_complete(&self) -> bool {
        matches!(self.next, Next::Done { .. })
    }

    /// Whether all steps are durable that may be in it: otherwise it would make them so, each on its own.
    pub(super) fn is_covered(&self, progress: &Progress) -> bool {
        matches!(self.next, Next::Done { steps } if steps <= progress.synced)
    }

    /// Writes one piece.
    pub(super) fn piece<D: Disk>(&mut self, disk: &mut D, index: &Index, progress: &Progress) -> Result<(), DiskError> {
        let mut piece = std::mem::take(&mut self.piece);
        piece.clear();
        piece.resize(PIECE_HEADER_BYTES, 0);
        let kind = self.fill(index, &mut piece);
        if kind == END {
            piece.extend_from_slice(&self.bytes.to_le_bytes());
            piece.extend_from_slice(&self.checksum.to_le_bytes());
        }
        if piece.len() > PIECE_HEADER_BYTES {
            let payload_bytes = (piece.len() - PIECE_HEADER_BYTES) as u32;
            piece[0] = kind;
            piece[1..5].copy_from_slice(&payload_bytes.to_le_bytes());
            let checksum = crc32c::crc32c_append(crc32c::crc32c(&piece[..5]), &piece[PIECE_HEADER_BYTES..]);
            piece[5..9].copy_from_slice(&checksum.to_le_bytes());
            self.write(disk, &piece)?;
        }
        self.piece = piece;
        if kind == END || self.bytes - self.synced >= SYNC_PIECES * self.piece_bytes as u64 {
            disk.sync(self.file).map_err(at("sync", UNFINISHED))?;
            self.synced = self.bytes;
        }
        if kind == END {
            disk.close(self.file);
            self.next = Next::Done { steps: progress.appended };
        }
        Ok(())
    }

    /// Fills the payload of the next piece, and says of what kind it is.
    fn fill(&mut self, index: &Index, piece: &mut Vec<u8>) -> u8 {
        match self.next {
            Next::Facts { mut shard } => {
                while shard < SHARDS && piece.len() < self.piece_bytes {
                    put_facts(piece, index, shard);
                    shard += 1;
                }
                let done = shard == SHARDS;
                self.next = if done { Next::Queues { slot: 0, after: None } } else { Next::Facts { shard } };
                FACTS
            }
            Next::Queues { slot, after } => {
                self.next = put_queues(piece, self.piece_bytes, index, slot, after);
                QUEUES
            }
            Next::End | Next::Done { .. } => END,
        }
    }

    fn write<D: Disk>(&mut self, disk: &mut D, bytes: &[u8]) -> Result<(), DiskError> {
        let written = disk.write_at(self.file, self.bytes, bytes).map_err(at("write", UNFINISHED));
        if written.is_err() {
            disk.close(self.file);
        }
        written?;
        self.bytes += bytes.len() as u64;
        self.checksum = crc32c::crc32c_append(self.checksum, bytes);
        Ok(())
    }
}

fn put_facts(piece: &mut Vec<u8>, index: &Index, shard: usize) {
    for (hash, fact) in index.fact_shard(shard) {
        piece.extend_from_slice(&hash.to_le_bytes());
        piece.push(fact.kind as u8);
        put_varint(piece, u64::from(fact.at.place.segment));
        put_varint(piece, u64::from(fact.at.place.offset));
        put_varint(piece, u64::from(fact.at.length));
    }
}

/// Queues from `slot` on, and of the first one only what stands behind `after`. A queue that has come into a slot meanwhile
/// is in the log behind the beginning of the checkpoint, with all that it has.
fn put_queues(piece: &mut Vec<u8>, piece_bytes: usize, index: &Index, slot: usize, after: Option<i64>) -> Next {
    let mut terms = TermsOfPiece::default();
    let mut after = after;
    let mut slots = index.queues().iter().enumerate().skip(slot);
    for (number, queue) in slots.by_ref().take(PIECE_SLOTS) {
        if piece.len() >= piece_bytes {
            return Next::Queues { slot: number, after: None };
        }
        if let Some(last) = put_queue(piece, piece_bytes, index, queue, after.take(), &mut terms) {
            return Next::Queues { slot: number, after: Some(last) };
        }
    }
    match slots.next() {
        Some((slot, _)) => Next::Queues { slot, after: None },
        None => Next::End,
    }
}

/// Entries of one queue up to the end of the piece; the last sequence when there are more.
fn put_queue(
    piece: &mut Vec<u8>,
    piece_bytes: usize,
    index: &Index,
    queue: &Queue,
    after: Option<i64>,
    terms: &mut TermsOfPiece,
) -> Option<i64> {
    let mut entries = queue.after(after).peekable();
    entries.peek()?;
    put_bytes(piece, &queue.key);
    let (mut count, mut last) = (0_u32, 0);
    let count_at = piece.len();
    piece.extend_from_slice(&[0; 4]);
    for entry in entries {
        put_entry(piece, index, queue, entry, last, terms);
        (count, last) = (count + 1, entry.sequence);
        if piece.len() >= piece_bytes {
            break;
        }
    }
    piece[count_at..count_at + 4].copy_from_slice(&count.to_le_bytes());
    queue.after(Some(last)).next().map(|_| last)
}

fn put_entry(piece: &mut Vec<u8>, index: &Index, queue: &Queue, entry: &Entry, last: i64, terms: &mut TermsOfPiece) {
    put_signed(piece, entry.sequence.wrapping_sub(last));
    put_varint(piece, u64::from(entry.body.place.segment));
    put_varint(piece, u64::from(entry.body.place.offset));
    put_varint(piece, u64::from(entry.body.length));
    let known = terms.numbers.len() as u64;
    let number = *terms.numbers.entry(entry.terms).or_insert(known);
    let flight = queue.flight(entry.sequence);
    put_varint(piece, number << 1 | u64::from(flight.is_some()));
    if number == known {
        put_bytes(piece, index.terms(entry));
    }
    if let Some(flight) = flight {
        put_varint(piece, u64::from(flight.number) << 1 | u64::from(flight.received));
    }
}

/// The terms that a piece has named, in the order of their first use.
#[derive(Default)]
struct TermsOfPiece {
    numbers: HashMap<u32, u64, FixedState>,
}
