//! The store: records in, durable; at the start, everything that holds.

use crate::Options;
use crate::disk::Disk;
use crate::error::{Failure, OpenError};
use crate::log::Log;
use althing_core::Now;
use althing_core::record::{Load, Loaded, Record, Restored};

/// Counters and gauges, for `$SYS`, metrics and the benchmark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Commits so far.
    pub commits: u64,
    /// Records so far.
    pub records: u64,
    /// Bytes written so far, of frames, checkpoints and cleaning.
    pub bytes_written: u64,
    /// Bytes on disk, spares included.
    pub disk_bytes: u64,
    /// Bytes that are still needed.
    pub live_bytes: u64,
    /// Entries of queues.
    pub entries: u64,
    /// Checkpoints so far.
    pub checkpoints: u64,
    /// Segments cleaned so far.
    pub segments_cleaned: u64,
}

/// A log with its index.
#[derive(Debug)]
pub struct Store<D: Disk> {
    log: Log<D>,
}

impl<D: Disk> Store<D> {
    /// Opens the store or begins a new one. `now` ties the store's own time, in which deadlines are kept, to this process's clock.
    ///
    /// # Errors
    /// When it cannot be opened as it is; nothing on disk has changed then.
    pub fn open(disk: D, options: Options, now: Now) -> Result<Self, OpenError> {
        let _ = (disk, options, now);
        unimplemented!()
    }

    /// Shows everything that holds: sessions first. Called once, before the first `append`.
    ///
    /// # Errors
    /// When the disk fails, or something that is needed is damaged.
    pub fn restore(&mut self, take: &mut dyn FnMut(Restored)) -> Result<(), OpenError> {
        let _ = take;
        unimplemented!()
    }

    /// Takes the records of one step or of several: they will be durable together or not at all. Nothing is written yet.
    pub fn append(&mut self, records: &mut Vec<Record>) {
        let _ = records;
        unimplemented!()
    }

    /// Whether something was appended that is not committed.
    pub fn is_dirty(&self) -> bool {
        self.log.pending_bytes() > 0
    }

    /// Writes what was appended, and syncs it when `sync` says so. `Ok(true)`: it is as durable as that. `Ok(false)`: the
    /// disk or the quota is full; nothing is lost, a later call tries again.
    ///
    /// # Errors
    /// When the disk fails; the store takes nothing any more.
    pub fn commit(&mut self, now: Now, sync: bool) -> Result<bool, Failure> {
        let _ = (now, sync);
        unimplemented!()
    }

    /// Reads entries of a queue back.
    ///
    /// # Errors
    /// When the disk fails or has changed what was written.
    pub fn load(&mut self, load: Load) -> Result<Loaded, Failure> {
        let _ = load;
        unimplemented!()
    }

    /// One bounded step (about a mebibyte) of what can be done meanwhile: spares, checkpoint, cleaning. True: there is more to do.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn maintain(&mut self, now: Now) -> Result<bool, Failure> {
        let _ = now;
        unimplemented!()
    }

    /// Whether new messages may be accepted; settling goes on in any case.
    pub fn has_room(&self) -> bool {
        self.log.has_room()
    }

    /// Counters and gauges as of now.
    pub fn statistics(&self) -> Statistics {
        unimplemented!()
    }

    /// Commits, and marks the store as closed in order.
    ///
    /// # Errors
    /// When the disk fails or is full.
    pub fn close(self, now: Now) -> Result<D, Failure> {
        let _ = now;
        unimplemented!()
    }
}
