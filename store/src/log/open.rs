//! Opening a log: which segments are there, how far each of them holds, and where the log goes on (`docs/storage.md`,
//! *Recovery*).

use super::scan::{Scan, headers_from, scan};
use super::spares::Spares;
use super::{Active, Frame, Log, SEGMENT_BYTES_MIN, segment_name};
use crate::Options;
use crate::disk::{Disk, FileId};
use crate::error::{DiskError, Failure, OpenError, at};
use crate::frame::{
    ALIGNMENT, FORMAT_VERSION, FRAME_HEADER_BYTES, FrameHeader, HeaderFault, Kind, SEGMENT_HEADER_BYTES, SegmentHeader,
};
use std::collections::{BTreeMap, VecDeque};

type Visit<'a> = &'a mut dyn FnMut(Frame<'_>) -> Result<(), OpenError>;
type Damaged<'a> = &'a mut dyn FnMut(OpenError) -> Result<(), OpenError>;

impl<D: Disk> Log<D> {
    /// Opens or begins the log: shows every frame of the segments from `first_segment` on to `visit`, oldest first, and
    /// cuts a torn tail. A log that does not exist is begun, with the store id `options.seed`.
    ///
    /// # Errors
    /// When it cannot be opened as it is; nothing on disk has changed then.
    pub fn open(
        mut disk: D,
        options: &Options,
        first_segment: u32,
        visit: &mut dyn FnMut(Frame<'_>) -> Result<(), OpenError>,
    ) -> Result<Self, OpenError> {
        let files = disk.list().map_err(at("list", "."))?;
        let segments = segments(&files);
        let segment_bytes = options.segment_bytes.max(SEGMENT_BYTES_MIN) / ALIGNMENT * ALIGNMENT;
        make_sure(&mut disk, &segments)?;
        let found = if segments.is_empty() && first_segment <= 1 {
            None
        } else {
            let replayed = segments.range(first_segment..).map(|(number, length)| (*number, *length)).collect();
            survey(&mut disk, &replayed, first_segment.max(1), visit, &mut Err)?
        };
        // What the last process has renamed may not be durable yet; no file is overwritten before it is.
        disk.sync_names().map_err(at("sync", "."))?;
        let spares = Spares::open(&mut disk, &files, segment_bytes, options.bytes_max)?;
        let log = Self::of_segments(disk, segments);
        let mut log = Self { store: options.seed, segment_bytes, spares, failure: None, ..log };
        match found {
            Some(found) => log.go_on(found)?,
            None => log.begin()?,
        }
        Ok(log)
    }

    /// A log of which only bytes can be read: nothing was checked, and nothing can be committed.
    pub(crate) fn of_segments(disk: D, segments: BTreeMap<u32, u32>) -> Self {
        let error = "the log was opened for reading alone".to_owned();
        Self {
            disk,
            store: 0,
            segment_bytes: 0,
            segments,
            active: Active::begin(0, 0, FileId(0), 0),
            pending: VecDeque::new(),
            pending_bytes: 0,
            readers: VecDeque::new(),
            spares: Spares::default(),
            full_ns: None,
            bytes_written: 0,
            failure: Some(Failure { action: "write", file: ".".to_owned(), error }),
        }
    }

    fn begin(&mut self) -> Result<(), DiskError> {
        let file = self.make_segment(1, self.segment_bytes, 0)?;
        self.active = Active::begin(1, self.segment_bytes, file, 0);
        self.segments.insert(1, self.segment_bytes);
        Ok(())
    }

    /// Takes the headers of frames that do not count out of the way: a frame of the right length before them would make
    /// them count again.
    fn go_on(&mut self, found: Found) -> Result<(), DiskError> {
        let Found { header, scan, stale, unused } = found;
        let name = segment_name(header.number);
        let file = self.disk.open(&name).map_err(at("open", &name))?;
        for offset in &stale {
            let nothing = [0; FRAME_HEADER_BYTES as usize];
            self.disk.write_at(file, u64::from(*offset), &nothing).map_err(at("write", &name))?;
        }
        if !stale.is_empty() {
            self.disk.sync(file).map_err(at("sync", &name))?;
        }
        self.store = header.store;
        self.active = Active::begin(header.number, header.length, file, scan.next_frame);
        (self.active.end, self.active.synced) = (scan.end, scan.end);
        self.active.closed = scan.last == Some(Kind::Close);
        for (number, length) in unused {
            self.segments.remove(&number);
            self.spares.recycle(&mut self.disk, &segment_name(number), length)?;
        }
        Ok(())
    }
}

/// Lengths by number.
pub(crate) fn segments(files: &[(String, u64)]) -> BTreeMap<u32, u32> {
    let segment = |(name, length): &(String, u64)| {
        let number: u32 = name.strip_prefix("segment-")?.parse().ok()?;
        (*name == segment_name(number)).then(|| (number, u32::try_from(*length).unwrap_or(u32::MAX)))
    };
    files.iter().filter_map(segment).collect()
}

/// What the last process has written and not synced may be in memory only, and after a failed sync even in memory only
/// *for ever*. What is told to peers and what is written from now on must not depend on that. All segments before the
/// last one that has frames had been synced before it got them.
fn make_sure<D: Disk>(disk: &mut D, segments: &BTreeMap<u32, u32>) -> Result<(), DiskError> {
    const START_BYTES: usize = (SEGMENT_HEADER_BYTES + FRAME_HEADER_BYTES) as usize;
    for &number in segments.keys().rev() {
        let name = segment_name(number);
        let file = disk.open(&name).map_err(at("open", &name))?;
        disk.sync(file).map_err(at("sync", &name))?;
        disk.drop_cache(file).map_err(at("read", &name))?;
        let mut start = [0; START_BYTES];
        let read = disk.read_at(file, 0, &mut start).map_err(at("read", &name))?;
        disk.close(file);
        let header = SegmentHeader::decode(&start[..read]);
        if header.is_ok_and(|header| headers_from(&start[..read], &header, SEGMENT_HEADER_BYTES).next().is_some()) {
            break;
        }
    }
    Ok(())
}

/// What a survey has found of the end of the log.
#[derive(Debug)]
pub(crate) struct Found {
    /// The active segment's.
    pub header: SegmentHeader,
    pub scan: Scan,
    /// Where headers of frames stand behind the end, in the order of offsets.
    pub stale: Vec<u32>,
    /// Segments that were made for what follows and got no frame: numbers and lengths.
    pub unused: Vec<(u32, u32)>,
}

/// Reads the segments in order and shows all frames that hold. From `first` on all must be there; before it some may
/// have been let go. `damaged` hears of all damage, and ends the survey with an error or lets it go on behind the
/// damage. Without damage there is an end.
pub(crate) fn survey<D: Disk>(
    disk: &mut D,
    segments: &BTreeMap<u32, u32>,
    first: u32,
    visit: Visit<'_>,
    damaged: Damaged<'_>,
) -> Result<Option<Found>, OpenError> {
    let last = segments.keys().copied().next_back().unwrap_or(first).max(first);
    let mut sealed: Option<(SegmentHeader, Scan)> = None;
    // A segment that is not sealed: the log ends there, unless a later one has frames.
    let mut end: Option<Found> = None;
    for number in segments.range(..first).map(|(number, _)| *number).chain(first..=last) {
        let Some(&length) = segments.get(&number) else {
            // Segments that were made and not used are let go again in any order.
            if end.is_none() {
                damaged(damage(number, 0_u32, "the file is missing", "the whole segment"))?;
            }
            continue;
        };
        let bytes = match read_segment(disk, number, length) {
            Err(error) => {
                damaged(error.into())?;
                read_around(disk, number, length)?
            }
            Ok(bytes) => bytes,
        };
        let before = end.as_ref().map(|end| end.header).or(sealed.map(|(header, _)| header));
        let header = match check_header(number, &bytes, before.as_ref()) {
            Err(fault @ OpenError::Corrupt { .. }) => {
                damaged(fault)?;
                continue;
            }
            header => header?,
        };
        if let Some(before) = &mut end {
            if headers_from(&bytes, &header, SEGMENT_HEADER_BYTES).next().is_none() {
                before.unused.push((number, length));
                continue;
            }
            damaged(goes_on(before))?;
            end = None;
        }
        if let Some(fault) = sealed.and_then(|(before, scan)| is_gap(&before, &scan, &header)) {
            damaged(fault)?;
        }
        let (scan, stale) = frames(&bytes, &header, &mut *visit, &mut *damaged)?;
        sealed = (scan.last == Some(Kind::Seal)).then_some((header, scan));
        if sealed.is_none() {
            let found = Found { header, scan, stale, unused: Vec::new() };
            if number >= first {
                end = Some(found);
            } else {
                damaged(goes_on(&found))?;
            }
        }
    }
    if end.is_none() {
        let what = "the file is missing, though the segment before it is complete";
        damaged(damage(last + 1, 0_u32, what, "the end of the log"))?;
    }
    Ok(end)
}

/// The frames of one segment. Behind damage they go on with the next frame that is whole.
fn frames(
    bytes: &[u8],
    header: &SegmentHeader,
    visit: Visit<'_>,
    damaged: Damaged<'_>,
) -> Result<(Scan, Vec<u32>), OpenError> {
    let mut from = Scan::start(header);
    loop {
        let scan = scan(bytes, header, from, &mut *visit)?;
        if scan.last == Some(Kind::Seal) {
            return Ok((scan, Vec::new()));
        }
        let behind: Vec<_> = headers_from(bytes, header, scan.end).collect();
        let stale = || behind.iter().map(|(offset, _)| *offset).collect();
        let Some((_, proof)) = behind.iter().rfind(|(_, frame)| frame.synced > scan.end) else {
            return Ok((scan, stale()));
        };
        let is_whole = |(offset, frame): &&(u32, FrameHeader)| {
            frame.number > scan.next_frame && frame.payload(bytes, *offset).is_some()
        };
        let whole = behind.iter().find(is_whole);
        let lost = whole.map_or(proof.number, |(_, frame)| frame.number - 1);
        let affected = format!("what was stored in the frames {} to {lost}", scan.next_frame);
        damaged(damage(header.number, scan.end, "no valid frame, though it was durable once", &affected))?;
        let Some((offset, frame)) = whole else { return Ok((scan, stale())) };
        from = Scan { end: *offset, next_frame: frame.number, last: None };
    }
}

fn is_gap(before: &SegmentHeader, sealed: &Scan, header: &SegmentHeader) -> Option<OpenError> {
    let gap = header.number == before.number + 1 && header.first_frame != sealed.next_frame;
    let what = || format!("it begins with frame {} instead of {}", header.first_frame, sealed.next_frame);
    gap.then(|| damage(header.number, 0_u32, &what(), "the frames between"))
}

fn goes_on(end: &Found) -> OpenError {
    let affected = format!("what was stored from frame {} on", end.scan.next_frame);
    damage(end.header.number, end.scan.end, "no valid frame, though the log goes on in later files", &affected)
}

/// What the segment's header says, checked against the name and the length of its file.
pub(crate) fn check_header(
    number: u32,
    bytes: &[u8],
    before: Option<&SegmentHeader>,
) -> Result<SegmentHeader, OpenError> {
    let affected = "the whole segment";
    let header = SegmentHeader::decode(bytes).map_err(|fault| match fault {
        HeaderFault::Newer(found) => OpenError::Newer { file: segment_name(number), found, known: FORMAT_VERSION },
        HeaderFault::Damaged => damage(number, 0_u32, "the segment's header is not valid", affected),
    })?;
    if header.number != number {
        return Err(damage(number, 0_u32, &format!("it is segment {} by its header", header.number), affected));
    }
    if before.is_some_and(|before| before.store != header.store) {
        return Err(damage(number, 0_u32, "it belongs to another store", affected));
    }
    if (bytes.len() as u64) < u64::from(header.length) {
        let what = format!("the file ends here, the segment has {} bytes", header.length);
        return Err(damage(number, bytes.len() as u64, &what, "what was stored behind"));
    }
    Ok(header)
}

/// All of a segment's file, up to `length` bytes.
pub(crate) fn read_segment<D: Disk>(disk: &mut D, number: u32, length: u32) -> Result<Vec<u8>, DiskError> {
    let name = segment_name(number);
    let file = disk.open(&name).map_err(at("open", &name))?;
    let mut bytes = vec![0; length as usize];
    let read = disk.read_at(file, 0, &mut bytes);
    disk.close(file);
    bytes.truncate(read.map_err(at("read", &name))?);
    Ok(bytes)
}

/// The same with zeros where nothing can be read.
fn read_around<D: Disk>(disk: &mut D, number: u32, length: u32) -> Result<Vec<u8>, DiskError> {
    const PIECE_BYTES: usize = 4096;
    let name = segment_name(number);
    let file = disk.open(&name).map_err(at("open", &name))?;
    let mut bytes = vec![0; length as usize];
    for (piece, bytes) in bytes.chunks_mut(PIECE_BYTES).enumerate() {
        if disk.read_at(file, (piece * PIECE_BYTES) as u64, bytes).is_err() {
            bytes.fill(0);
        }
    }
    disk.close(file);
    Ok(bytes)
}

fn damage(number: u32, offset: impl Into<u64>, what: &str, affected: &str) -> OpenError {
    OpenError::Corrupt {
        file: segment_name(number),
        offset: offset.into(),
        what: what.to_owned(),
        affected: affected.to_owned(),
    }
}
