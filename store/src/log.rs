//! The log: frames in segments, appended, synced, read back.

use crate::disk::Disk;
use crate::error::{Failure, OpenError};
use althing_core::Now;

/// Where bytes stand in the log; they stay there until their segment is released.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The segment's number; the first is 1.
    pub segment: u32,
    /// Bytes from the segment's start.
    pub offset: u32,
}

/// One frame as the scan finds it: the steps of one commit, whole or not there at all.
#[derive(Debug)]
pub struct Frame<'a> {
    /// Where `payload` stands.
    pub place: Place,
    /// When it was written, in the store's own time: milliseconds for which the store has existed.
    pub age_ms: u64,
    /// The wall clock at that moment, in milliseconds since the Unix epoch.
    pub wall_ms: u64,
    /// The steps.
    pub payload: &'a [u8],
}

/// Frames in segments on a disk.
#[derive(Debug)]
pub struct Log<D: Disk> {
    disk: D,
}

impl<D: Disk> Log<D> {
    /// Opens or begins the log: shows every frame of the segments from `first_segment` on to `visit`, oldest first, cuts a torn tail.
    pub fn open(
        disk: D,
        options: &crate::Options,
        first_segment: u32,
        visit: &mut dyn FnMut(Frame<'_>) -> Result<(), OpenError>,
    ) -> Result<Self, OpenError> {
        let _ = (disk, options, first_segment, visit);
        unimplemented!()
    }

    /// Adds one step to the frame under way and says where it will stand. Nothing is written yet, but it can be read.
    pub fn append(&mut self, step: &[u8]) -> Place {
        let _ = step;
        unimplemented!()
    }

    /// Bytes appended and not yet committed.
    pub fn pending_bytes(&self) -> usize {
        unimplemented!()
    }

    /// Writes what was appended, and syncs when `sync` says so. `Ok(false)`: there is no room; everything is kept in
    /// memory, and a later call tries again.
    ///
    /// # Errors
    /// When the disk fails; nothing more will ever be committed.
    pub fn commit(&mut self, now: Now, age_ms: u64, sync: bool) -> Result<bool, Failure> {
        let _ = (now, age_ms, sync);
        unimplemented!()
    }

    /// Reads bytes that were appended, committed or not.
    ///
    /// # Errors
    /// When the disk fails or the place is not in the log.
    pub fn read(&self, place: Place, buffer: &mut [u8]) -> Result<(), Failure> {
        let _ = (place, buffer);
        unimplemented!()
    }

    /// The segments that are there, oldest first; the last one is being written.
    pub fn segments(&self) -> Vec<u32> {
        unimplemented!()
    }

    /// Lets go of a segment that nobody needs any more: it becomes a spare or leaves the disk.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn release(&mut self, segment: u32) -> Result<(), Failure> {
        let _ = segment;
        unimplemented!()
    }

    /// One bounded step towards a spare segment that is ready before it is needed. True: there is more to do.
    ///
    /// # Errors
    /// When the disk fails other than by being full.
    pub fn prepare(&mut self) -> Result<bool, Failure> {
        unimplemented!()
    }

    /// Whether there is room for new messages: beyond the reserve that settling and cleaning need.
    pub fn has_room(&self) -> bool {
        unimplemented!()
    }

    /// The disk, for the checkpoint's files.
    pub fn disk(&mut self) -> &mut D {
        &mut self.disk
    }

    /// Commits, and marks the log as closed: from then on every bit counts.
    ///
    /// # Errors
    /// When the disk fails or is full.
    pub fn close(self, now: Now, age_ms: u64) -> Result<D, Failure> {
        let _ = (now, age_ms);
        unimplemented!()
    }
}
