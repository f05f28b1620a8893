//! The log: frames in segments, appended, synced, read back (`docs/storage.md`, *Segment*, *Recovery*, *Space*).
//!
//! Steps gather in memory under the place that they will have; a commit writes them as one frame for each segment that
//! they reach into. One commit is in flight at a time.

mod open;
pub(crate) mod scan;
mod spares;

pub(crate) use open::{Found, check_header, read_segment, segments, survey};

use crate::disk::{Disk, FileId};
use crate::error::{DiskError, Failure, at};
use crate::frame::{
    ALIGNMENT, FRAME_HEADER_BYTES, FrameHeader, Kind, SEGMENT_HEADER_BYTES, SegmentHeader, Spot, align, checksum,
};
use althing_core::Now;
use althing_core::time::SECOND_NS;
use spares::{SPARES_MAX, Spares};
use std::collections::{BTreeMap, VecDeque};

/// Where bytes stand in the log; they stay there until their segment is released.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The segment's number; the first is 1.
    pub segment: u32,
    /// Bytes from the segment's start.
    pub offset: u32,
}

/// One frame as the scan finds it: the steps of one commit, or as many of them as fitted into the segment. The frames
/// that seal a segment or close the store have no payload.
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

/// The smallest segment; smaller ones in the options count as this.
pub const SEGMENT_BYTES_MIN: u32 = 4096;
/// What a segment needs besides its first step. There is always room for a seal.
const OVERHEAD_BYTES: u32 = SEGMENT_HEADER_BYTES + 2 * FRAME_HEADER_BYTES;
/// Sealed segments that are kept open for reading.
const READERS_MAX: usize = 64;
/// How long a full disk is left alone before the next try to make a spare: each one writes.
const RETRY_NS: u64 = SECOND_NS;

/// Frames in segments on a disk.
#[derive(Debug)]
pub struct Log<D: Disk> {
    disk: D,
    store: u64,
    segment_bytes: u32,
    /// Lengths by number, of all segments up to the active one.
    segments: BTreeMap<u32, u32>,
    active: Active,
    /// Frames that are not on disk: the first may continue the active segment, each of the others begins one.
    pending: VecDeque<Pending>,
    pending_bytes: usize,
    readers: VecDeque<(u32, FileId)>,
    spares: Spares,
    /// When the disk last turned out to be full.
    full_ns: Option<u64>,
    bytes_written: u64,
    failure: Option<Failure>,
}

/// The segment that is being written.
#[derive(Debug)]
struct Active {
    number: u32,
    length: u32,
    file: FileId,
    /// Where the next frame goes.
    end: u32,
    /// Up to where a sync covers it.
    synced: u32,
    next_frame: u64,
    /// Whether the last frame says that the store was closed.
    closed: bool,
}

/// A frame under way.
#[derive(Debug)]
struct Pending {
    segment: u32,
    /// The segment's length.
    length: u32,
    /// Where the frame begins.
    offset: u32,
    number: u64,
    /// The segment's file, when it has been made for this frame.
    made: Option<FileId>,
    /// Room for the header, then the steps.
    bytes: Vec<u8>,
}

impl Pending {
    fn new(segment: u32, length: u32, offset: u32, number: u64) -> Self {
        Self { segment, length, offset, number, made: None, bytes: vec![0; FRAME_HEADER_BYTES as usize] }
    }

    /// Whether `step` still goes in, with a seal behind it.
    fn has_room(&self, step: usize) -> bool {
        let end = (self.offset as usize + self.bytes.len() + step).next_multiple_of(ALIGNMENT as usize);
        end + FRAME_HEADER_BYTES as usize <= self.length as usize
    }

    fn take(&mut self, step: &[u8]) -> Place {
        let place = Place { segment: self.segment, offset: self.offset + self.bytes.len() as u32 };
        self.bytes.extend_from_slice(step);
        place
    }
}

/// The store's own time and the wall clock, as a frame carries them.
#[derive(Clone, Copy)]
struct Stamp {
    age_ms: u64,
    wall_ms: u64,
}

impl<D: Disk> Log<D> {
    /// Adds one step to the frame under way and says where it will stand. Nothing is written yet, but it can be read.
    ///
    /// A step is shorter than 4 GiB.
    pub fn append(&mut self, step: &[u8]) -> Place {
        self.pending_bytes += step.len();
        if let Some(frame) = self.pending.back_mut().filter(|frame| frame.has_room(step.len())) {
            return frame.take(step);
        }
        let mut frame = match self.pending.back() {
            None => self.continue_active(),
            Some(last) => self.begin_next(last.segment, last.number + 2, step.len()),
        };
        if !frame.has_room(step.len()) {
            frame = self.begin_next(frame.segment, frame.number + 1, step.len());
        }
        let place = frame.take(step);
        self.pending.push_back(frame);
        place
    }

    fn continue_active(&self) -> Pending {
        Pending::new(self.active.number, self.active.length, self.active.end, self.active.next_frame)
    }

    /// The first frame of the segment after `segment`; the seal's number stands between.
    fn begin_next(&self, segment: u32, number: u64, step: usize) -> Pending {
        let needed = u32::try_from(step).unwrap_or(u32::MAX).saturating_add(OVERHEAD_BYTES + ALIGNMENT);
        let length = self.segment_bytes.max(needed - needed % ALIGNMENT);
        Pending::new(segment + 1, length, SEGMENT_HEADER_BYTES, number)
    }

    /// Bytes appended and not yet committed.
    pub fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// Writes what was appended, and syncs when `sync` says so. `Ok(false)`: there is no room; everything is kept in
    /// memory, and a later call tries again.
    ///
    /// # Errors
    /// When the disk fails; nothing more will ever be committed.
    pub fn commit(&mut self, now: Now, age_ms: u64, sync: bool) -> Result<bool, Failure> {
        self.guarded(now, |log| {
            log.write_pending(Stamp { age_ms, wall_ms: now.wall_ms })?;
            if sync { log.sync_active() } else { Ok(()) }
        })
    }

    /// Runs `act` unless the log has failed before. `Ok(false)` when there was no room.
    fn guarded(&mut self, now: Now, act: impl FnOnce(&mut Self) -> Result<(), DiskError>) -> Result<bool, Failure> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        match act(self) {
            Ok(()) => Ok(true),
            Err(error) if error.is_full() => {
                self.full_ns = Some(now.mono_ns);
                Ok(false)
            }
            Err(error) => Err(self.fail(error)),
        }
    }

    /// What the disk holds is unknown from now on.
    fn fail(&mut self, error: DiskError) -> Failure {
        self.failure.insert(Failure::from(error)).clone()
    }

    /// All segments are made before the first frame is written, so that what does not fit waits as a whole.
    fn write_pending(&mut self, stamp: Stamp) -> Result<(), DiskError> {
        for at in 0..self.pending.len() {
            let Pending { segment, length, number, made, .. } = self.pending[at];
            if segment != self.active.number && made.is_none() {
                self.pending[at].made = Some(self.make_segment(segment, length, number)?);
            }
        }
        while let Some(frame) = self.pending.front() {
            if let (true, Some(file)) = (frame.segment != self.active.number, frame.made) {
                let next = Active::begin(frame.segment, frame.length, file, frame.number);
                self.roll_over(next, stamp)?;
            }
            self.write_first_pending(stamp)?;
        }
        Ok(())
    }

    fn write_first_pending(&mut self, stamp: Stamp) -> Result<(), DiskError> {
        // The caller has looked at it.
        let Some(mut frame) = self.pending.pop_front() else { return Ok(()) };
        let (header, payload) = frame.bytes.split_at_mut(FRAME_HEADER_BYTES as usize);
        header.copy_from_slice(&self.active.header(self.store, Kind::Steps, payload, stamp));
        if let Err(error) = self.write_frame(&frame.bytes) {
            self.pending.push_front(frame);
            return Err(error);
        }
        self.active.closed = false;
        self.pending_bytes -= frame.bytes.len() - FRAME_HEADER_BYTES as usize;
        Ok(())
    }

    /// Writes a frame without payload.
    fn write_mark(&mut self, kind: Kind, stamp: Stamp) -> Result<(), DiskError> {
        self.write_frame(&self.active.header(self.store, kind, &[], stamp))
    }

    fn write_frame(&mut self, frame: &[u8]) -> Result<(), DiskError> {
        let Active { number, file, end, .. } = self.active;
        self.disk.write_at(file, u64::from(end), frame).map_err(at("write", segment_name(number)))?;
        self.bytes_written += frame.len() as u64;
        self.active.end = align(end + frame.len() as u32);
        self.active.next_frame += 1;
        Ok(())
    }

    /// Seals the active segment and goes on in `next`, which is durable already. Nothing is written there before all of
    /// the old one is durable: so only the last segment can be torn.
    fn roll_over(&mut self, next: Active, stamp: Stamp) -> Result<(), DiskError> {
        self.write_mark(Kind::Seal, stamp)?;
        self.sync_active()?;
        let sealed = std::mem::replace(&mut self.active, next);
        self.segments.insert(self.active.number, self.active.length);
        self.keep_reader(sealed.number, sealed.file);
        Ok(())
    }

    fn sync_active(&mut self) -> Result<(), DiskError> {
        if self.active.synced < self.active.end {
            self.disk.sync(self.active.file).map_err(at("sync", segment_name(self.active.number)))?;
            self.active.synced = self.active.end;
        }
        Ok(())
    }

    /// A segment with nothing but a header, durable under its name: whatever has a segment's name has a valid header.
    fn make_segment(&mut self, number: u32, length: u32, first_frame: u64) -> Result<FileId, DiskError> {
        let spare = self.spares.take(&mut self.disk, length)?;
        let header = SegmentHeader { number, store: self.store, length, first_frame };
        let made = name_segment(&mut self.disk, &spare, &header);
        if made.is_err() {
            self.spares.give_back(&mut self.disk, spare, length)?;
        }
        let file = made?;
        self.bytes_written += u64::from(SEGMENT_HEADER_BYTES);
        // There is to be a reserve from now on; where there is no room for it, new messages stop, but this segment is
        // there.
        match self.spares.ensure_reserve(&mut self.disk) {
            Err(error) if error.is_full() => self.full_ns = Some(self.full_ns.unwrap_or(0)),
            other => other?,
        }
        Ok(file)
    }

    /// Reads bytes that were appended, committed or not.
    ///
    /// # Errors
    /// When the disk fails or the place is not in the log.
    pub fn read(&mut self, place: Place, buffer: &mut [u8]) -> Result<(), Failure> {
        let name = || segment_name(place.segment);
        let outside = || Failure { action: "read", file: name(), error: format!("no such bytes at {}", place.offset) };
        let waits = |frame: &&Pending| frame.segment == place.segment && frame.offset <= place.offset;
        if let Some(frame) = self.pending.iter().find(waits) {
            let from = (place.offset - frame.offset) as usize;
            let bytes = frame.bytes.get(from..from + buffer.len()).ok_or_else(outside)?;
            buffer.copy_from_slice(bytes);
            return Ok(());
        }
        if place.segment == self.active.number && place.offset as usize + buffer.len() > self.active.end as usize {
            return Err(outside());
        }
        let file = self.reader(place.segment)?;
        let read = self.disk.read_at(file, u64::from(place.offset), buffer).map_err(at("read", name()))?;
        if read == buffer.len() { Ok(()) } else { Err(outside()) }
    }

    fn reader(&mut self, segment: u32) -> Result<FileId, Failure> {
        if segment == self.active.number {
            return Ok(self.active.file);
        }
        if let Some(at) = self.readers.iter().position(|(number, _)| *number == segment) {
            // The one that was read last stands last.
            self.readers.make_contiguous()[at..].rotate_left(1);
            return Ok(self.readers[self.readers.len() - 1].1);
        }
        let name = segment_name(segment);
        let file = self.disk.open(&name).map_err(at("open", name))?;
        self.keep_reader(segment, file);
        Ok(file)
    }

    fn keep_reader(&mut self, segment: u32, file: FileId) {
        self.readers.push_back((segment, file));
        if self.readers.len() > READERS_MAX
            && let Some((_, oldest)) = self.readers.pop_front()
        {
            self.disk.close(oldest);
        }
    }

    /// The segments that are there, oldest first; the last one is being written.
    pub fn segments(&self) -> Vec<u32> {
        self.segments.keys().copied().collect()
    }

    /// The length of a segment that is there.
    pub fn segment_bytes(&self, segment: u32) -> Option<u32> {
        self.segments.get(&segment).copied()
    }

    /// Lets go of a segment that nobody needs any more: it becomes a spare or leaves the disk. Not the last one.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn release(&mut self, segment: u32) -> Result<(), Failure> {
        debug_assert!(segment < self.active.number, "the active segment is needed");
        let Some(length) = self.segments.remove(&segment) else { return Ok(()) };
        if let Some(at) = self.readers.iter().position(|(number, _)| *number == segment)
            && let Some((_, file)) = self.readers.remove(at)
        {
            self.disk.close(file);
        }
        let recycled = self.spares.recycle(&mut self.disk, &segment_name(segment), length);
        recycled.map_err(|error| self.fail(error))
    }

    /// One bounded step towards spare segments that are ready before they are needed. True: there is more to do. While
    /// the disk is full it tries again once a second, so it must be called now and then.
    ///
    /// # Errors
    /// When the disk fails other than by being full.
    pub fn prepare(&mut self, now: Now) -> Result<bool, Failure> {
        if self.spares.count() >= SPARES_MAX {
            self.full_ns = None;
            return Ok(false);
        }
        if self.full_ns.is_some_and(|since_ns| now.mono_ns < since_ns.saturating_add(RETRY_NS)) {
            return Ok(false);
        }
        let mut more = false;
        let done = self.guarded(now, |log| {
            more = log.spares.fill_piece(&mut log.disk)?;
            Ok(())
        })?;
        Ok(done && more)
    }

    /// Removes a spare from the disk, so that a checkpoint finds the room that it needs to set more free; false when
    /// there is none.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn give_up_spare(&mut self, now: Now) -> Result<bool, Failure> {
        self.full_ns = Some(now.mono_ns);
        let given_up = self.spares.give_up(&mut self.disk);
        given_up.map_err(|error| self.fail(error))
    }

    /// Whether there is room for new messages: beyond the reserve that settling and cleaning need. Once the disk has
    /// turned out to be full, that is when the stock of spares is complete again.
    pub fn has_room(&self) -> bool {
        self.full_ns.is_none() || self.spares.count() >= SPARES_MAX
    }

    /// Bytes on disk, spares included.
    pub fn disk_bytes(&self) -> u64 {
        self.segments.values().map(|&length| u64::from(length)).sum::<u64>() + self.spares.disk_bytes()
    }

    /// Bytes written to segments since the log was opened.
    pub fn bytes_written(&self) -> u64 {
        self.bytes_written
    }

    /// The number that tells this store from all others.
    pub fn store(&self) -> u64 {
        self.store
    }

    /// The disk, for the checkpoint's files.
    pub fn disk(&mut self) -> &mut D {
        &mut self.disk
    }

    /// Commits, and marks the log as closed: from then on every bit counts.
    ///
    /// # Errors
    /// When the disk fails or is full.
    pub fn close(mut self, now: Now, age_ms: u64) -> Result<D, Failure> {
        let stamp = Stamp { age_ms, wall_ms: now.wall_ms };
        let closed = self.guarded(now, |log| {
            log.write_pending(stamp)?;
            // What was written must be durable before something says so.
            log.sync_active()?;
            log.mark_closed(stamp)
        })?;
        if closed {
            return Ok(self.disk);
        }
        Err(Failure { action: "close", file: segment_name(self.active.number), error: "the disk is full".to_owned() })
    }

    fn mark_closed(&mut self, stamp: Stamp) -> Result<(), DiskError> {
        if self.active.closed {
            return Ok(());
        }
        let frame = self.continue_active();
        if !frame.has_room(0) {
            let frame = self.begin_next(frame.segment, frame.number + 1, 0);
            let file = self.make_segment(frame.segment, frame.length, frame.number)?;
            let next = Active::begin(frame.segment, frame.length, file, frame.number);
            self.roll_over(next, stamp)?;
        }
        self.write_mark(Kind::Close, stamp)?;
        self.sync_active()
    }
}

impl Active {
    /// A segment that has no frame yet.
    fn begin(number: u32, length: u32, file: FileId, next_frame: u64) -> Self {
        let start = SEGMENT_HEADER_BYTES;
        Self { number, length, file, end: start, synced: start, next_frame, closed: false }
    }

    /// The header of the next frame.
    fn header(&self, store: u64, kind: Kind, payload: &[u8], stamp: Stamp) -> [u8; FRAME_HEADER_BYTES as usize] {
        let header = FrameHeader {
            kind,
            length: payload.len() as u32,
            payload_checksum: checksum(payload),
            synced: self.synced,
            number: self.next_frame,
            age_ms: stamp.age_ms,
            wall_ms: stamp.wall_ms,
        };
        header.encode(Spot { store, segment: self.number, offset: self.end })
    }
}

/// The name of a segment's file.
pub(crate) fn segment_name(number: u32) -> String {
    format!("segment-{number:08}")
}

/// Writes `header` into the file `spare`, and makes a segment of it by giving it the name. The header is durable before
/// the name is.
fn name_segment<D: Disk>(disk: &mut D, spare: &str, header: &SegmentHeader) -> Result<FileId, DiskError> {
    let file = disk.open(spare).map_err(at("open", spare))?;
    let mut named = || {
        disk.write_at(file, 0, &header.encode()).map_err(at("write", spare))?;
        disk.sync(file).map_err(at("sync", spare))?;
        disk.rename(spare, &segment_name(header.number)).map_err(at("rename", spare))?;
        disk.sync_names().map_err(at("sync", segment_name(header.number)))
    };
    let named = named();
    if named.is_err() {
        disk.close(file);
    }
    named.map(|()| file)
}
