//! Reading a segment: the frames that hold, and what stands behind the first place where none does.

use super::{Frame, Place};
use crate::frame::{
    ALIGNMENT, FRAME_HEADER_BYTES, FrameHeader, Kind, SEGMENT_HEADER_BYTES, SegmentHeader, Spot, align,
};

/// How far the frames of a segment hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scan {
    /// Where the first place without a valid frame is, or where the seal ends.
    pub end: u32,
    /// The number that the next frame will have.
    pub next_frame: u64,
    /// What the last valid frame is.
    pub last: Option<Kind>,
}

impl Scan {
    /// Before the first frame.
    pub fn start(header: &SegmentHeader) -> Self {
        Self { end: SEGMENT_HEADER_BYTES, next_frame: header.first_frame, last: None }
    }
}

/// Shows every frame of `segment` from there on, up to the first that is not valid, or to the seal.
pub(crate) fn scan<E>(
    segment: &[u8],
    header: &SegmentHeader,
    from: Scan,
    mut visit: impl FnMut(Frame<'_>) -> Result<(), E>,
) -> Result<Scan, E> {
    let mut scan = from;
    while scan.last != Some(Kind::Seal) {
        let Some(frame) = FrameHeader::decode(segment, spot(header, scan.end)) else { break };
        let Some(payload) = frame.payload(segment, scan.end).filter(|_| frame.number == scan.next_frame) else { break };
        let place = Place { segment: header.number, offset: scan.end + FRAME_HEADER_BYTES };
        visit(Frame { place, age_ms: frame.age_ms, wall_ms: frame.wall_ms, payload })?;
        scan.end = align(scan.end + FRAME_HEADER_BYTES + frame.length);
        scan.next_frame += 1;
        scan.last = Some(frame.kind);
    }
    Ok(scan)
}

/// All frame headers of `segment` that stand anywhere from `offset` on, with their places; their payloads may be torn.
pub(crate) fn headers_from<'a>(
    segment: &'a [u8],
    header: &'a SegmentHeader,
    offset: u32,
) -> impl Iterator<Item = (u32, FrameHeader)> + 'a {
    let end = u32::try_from(segment.len()).unwrap_or(u32::MAX);
    (offset..end)
        .step_by(ALIGNMENT as usize)
        .filter_map(move |offset| Some((offset, FrameHeader::decode(segment, spot(header, offset))?)))
}

fn spot(header: &SegmentHeader, offset: u32) -> Spot {
    Spot { store: header.store, segment: header.number, offset }
}
