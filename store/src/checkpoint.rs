//! The index as a file, so that replay is short and segments can go.
//!
//! A checkpoint is written piece by piece while the log goes on. It names the segment that is being written when it begins; replay
//! from the start of that segment says each change since then again. It counts when everything that it may contain is durable.

mod read;
mod write;

pub(crate) use read::{Snapshot, first_segment};

use crate::Options;
use crate::disk::Disk;
use crate::error::{DiskError, Failure, at};
use crate::index::Index;
use crate::log::Log;
use crate::store::Progress;
use althing_core::Now;
use althing_core::time::SECOND_NS;
use std::io;
use write::Writing;

const PREFIX: &str = "checkpoint-";
const UNFINISHED: &str = "checkpoint.tmp";
const MAGIC: [u8; 8] = *b"althchk\n";
const FORMAT_VERSION: u16 = 1;
const HEADER_BYTES: usize = 52;
/// Kind, length and checksum before the payload of a piece.
const PIECE_HEADER_BYTES: usize = 9;
const FACTS: u8 = 1;
const QUEUES: u8 = 2;
const END: u8 = 3;

/// As many new segments are replayed without a checkpoint in between.
const LOG_SEGMENTS_MIN: u64 = 4;
/// How long a disk that was full is left alone.
const RETRY_NS: u64 = 3 * SECOND_NS;

/// The checkpoint that counts, the one that is being written, and the segments that wait for it.
#[derive(Debug, Default)]
pub(crate) struct Checkpoints {
    /// The newest one: where replay begins, and its length in bytes. None: at segment 1.
    newest: Option<(u32, u64)>,
    /// Names that mean nothing any more.
    leftovers: Vec<String>,
    /// What the directory may hold.
    bytes_max: u64,
    segment_bytes: u32,
    writing: Option<Writing>,
    /// Segments that nobody needs, each with the steps that must be durable before it is let go.
    dead: Vec<(u32, u64)>,
    /// The disk was full; not before this moment again.
    retry_ns: u64,
    written: u64,
    bytes_written: u64,
}

impl Checkpoints {
    pub(crate) fn configure(&mut self, options: &Options) {
        (self.bytes_max, self.segment_bytes) = (options.bytes_max, options.segment_bytes);
    }

    /// The segment at which replay begins.
    fn first_segment(&self) -> u32 {
        self.newest.map_or(1, |(segment, _)| segment)
    }

    /// The newest checkpoint's name.
    pub(crate) fn name(&self) -> String {
        name(self.first_segment())
    }

    pub(crate) fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    pub(crate) fn bytes_written(&self) -> u64 {
        self.bytes_written
    }

    pub(crate) fn disk_bytes(&self) -> u64 {
        self.newest.map_or(0, |(_, bytes)| bytes) + self.writing.as_ref().map_or(0, Writing::bytes)
    }

    /// Removes what a crash has left: an unfinished checkpoint, and one that a newer one has replaced.
    pub(crate) fn remove_leftovers<D: Disk>(&mut self, disk: &mut D) -> Result<(), DiskError> {
        self.leftovers.drain(..).try_for_each(|name| disk.remove(&name).map_err(at("remove", name)))
    }

    /// Lets go of segments that nobody needs: nothing refers to them, what made it so is durable, and replay begins behind them.
    pub(crate) fn release_dead<D: Disk>(
        &mut self,
        log: &mut Log<D>,
        index: &Index,
        progress: &Progress,
    ) -> Result<(), Failure> {
        let first = self.first_segment();
        let mut dead = Vec::new();
        for segment in log.segments().into_iter().take_while(|segment| *segment < first) {
            if index.live_bytes(segment) > 0 {
                continue;
            }
            let since =
                self.dead.iter().find(|(known, _)| *known == segment).map_or(progress.appended, |(_, since)| *since);
            if since <= progress.synced {
                log.release(segment)?;
            } else {
                dead.push((segment, since));
            }
        }
        self.dead = dead;
        Ok(())
    }

    /// Begins, continues or finishes a checkpoint: one piece. True: there is more to do now.
    pub(crate) fn maintain<D: Disk>(
        &mut self,
        log: &mut Log<D>,
        index: &Index,
        progress: &Progress,
        now: Now,
        age_ms: u64,
    ) -> Result<bool, Failure> {
        let Some(mut writing) = self.writing.take() else {
            if now.mono_ns < self.retry_ns || !self.is_due(log, index) {
                return Ok(false);
            }
            let begun = self.begin(log, index, now, age_ms);
            return self.unless_full(log, index, now, begun);
        };
        if !writing.is_complete() {
            let piece = writing.piece(log.disk(), index, progress);
            return self.unless_full(log, index, now, piece.map(|()| Some(writing)));
        }
        if !writing.is_covered(progress) {
            self.writing = Some(writing);
            return Ok(false);
        }
        let finished = self.finish(log.disk(), writing);
        self.unless_full(log, index, now, finished.map(|()| None))
    }

    fn begin<D: Disk>(
        &self,
        log: &mut Log<D>,
        index: &Index,
        now: Now,
        age_ms: u64,
    ) -> Result<Option<Writing>, DiskError> {
        let bytes = log.disk_bytes() + self.disk_bytes() + write::estimate_bytes(index);
        if bytes > self.bytes_max {
            return Err(at("create", UNFINISHED)(io::ErrorKind::QuotaExceeded.into()));
        }
        Writing::begin(log, self.segment_bytes, index.key(), age_ms, now.wall_ms).map(Some)
    }

    /// Renames what was written: from now on it counts.
    fn finish<D: Disk>(&mut self, disk: &mut D, writing: Writing) -> Result<(), DiskError> {
        let (first, bytes) = (writing.first_segment(), writing.bytes());
        let (new, old) = (name(first), self.newest.map(|(segment, _)| name(segment)));
        disk.rename(UNFINISHED, &new).map_err(at("rename", UNFINISHED))?;
        disk.sync_names().map_err(at("sync", &new))?;
        self.newest = Some((first, bytes));
        self.written += 1;
        self.bytes_written += bytes;
        match old.filter(|old| *old != new) {
            Some(old) => disk.remove(&old).map_err(at("remove", old)),
            None => Ok(()),
        }
    }

    /// Goes on with what a call has left to write. Where the disk is full the checkpoint is given up and tried again later; if it is to
    /// set more free than a spare takes, then at once in its place.
    fn unless_full<D: Disk>(
        &mut self,
        log: &mut Log<D>,
        index: &Index,
        now: Now,
        result: Result<Option<Writing>, DiskError>,
    ) -> Result<bool, Failure> {
        match result {
            Ok(writing) => {
                self.writing = writing;
                return Ok(true);
            }
            Err(error) if error.is_full() => {}
            Err(error) => return Err(error.into()),
        }
        let files = log.disk().list().map_err(at("list", "."))?;
        if files.iter().any(|(name, _)| name == UNFINISHED) {
            log.disk().remove(UNFINISHED).map_err(at("remove", UNFINISHED))?;
        }
        let sets_free = self.behind(log, index).dead_segments > 0;
        if sets_free && log.give_up_spare(now)? {
            return Ok(true);
        }
        self.retry_ns = now.mono_ns.saturating_add(RETRY_NS);
        Ok(false)
    }

    /// There is much to replay, or segments wait for nothing else and a checkpoint costs little beside them.
    fn is_due<D: Disk>(&self, log: &Log<D>, index: &Index) -> bool {
        let behind = self.behind(log, index);
        let checkpoint_bytes = write::estimate_bytes(index);
        behind.log_bytes > (LOG_SEGMENTS_MIN * u64::from(self.segment_bytes)).max(2 * checkpoint_bytes)
            || behind.dead_bytes > 2 * checkpoint_bytes
    }

    /// The complete segments that replay reads.
    fn behind<D: Disk>(&self, log: &Log<D>, index: &Index) -> Behind {
        let segments = log.segments();
        let sealed = segments.split_last().map_or(&[][..], |(_, sealed)| sealed);
        let mut behind = Behind::default();
        for segment in sealed.iter().filter(|segment| **segment >= self.first_segment()) {
            let bytes = u64::from(log.segment_bytes(*segment).unwrap_or(0));
            behind.log_bytes += bytes;
            if index.live_bytes(*segment) == 0 {
                behind.dead_segments += 1;
                behind.dead_bytes += bytes;
            }
        }
        behind
    }
}

/// What a checkpoint would spare replay, and the part of it that waits for nothing else to be let go.
#[derive(Default)]
struct Behind {
    log_bytes: u64,
    dead_bytes: u64,
    dead_segments: usize,
}

pub(crate) fn name(first_segment: u32) -> String {
    format!("{PREFIX}{first_segment:08}")
}
