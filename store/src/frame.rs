//! The bytes of the log: the header that a segment begins with, and the header of a frame (`docs/storage.md`,
//! *Segment*).
//!
//! Both carry a checksum that is tied to the place: the store, the segment and the offset go into it without being
//! written. So what a recycled file held before, or what was written to the wrong place, never looks valid.

/// Every frame begins at a multiple of this.
pub const ALIGNMENT: u32 = 8;
/// Length of the header that a segment begins with.
pub const SEGMENT_HEADER_BYTES: u32 = 40;
/// Length of a frame's header; its payload follows.
pub const FRAME_HEADER_BYTES: u32 = 48;
/// The newest format that is understood, and the one that is written.
pub const FORMAT_VERSION: u16 = 1;

const SEGMENT_MAGIC: [u8; 8] = *b"althlog\n";
const FRAME_MAGIC: [u8; 3] = *b"aFr";
/// Where a frame header's own checksum stands; it covers everything before it.
const FRAME_CHECKSUM_AT: usize = 40;
/// A header that says it is longer is not one.
const SEGMENT_HEADER_BYTES_MAX: usize = 4096;

/// CRC-32C, as everywhere in the store.
pub fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

/// The first multiple of [`ALIGNMENT`] from `offset` on.
pub fn align(offset: u32) -> u32 {
    offset.next_multiple_of(ALIGNMENT)
}

/// What a segment says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Its number; the first is 1.
    pub number: u32,
    /// The store that it belongs to.
    pub store: u64,
    /// Its length in bytes, header included.
    pub length: u32,
    /// The number of its first frame.
    pub first_frame: u64,
}

/// Why a segment's header says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderFault {
    /// It is not what was written.
    Damaged,
    /// It is whole, and of this format version.
    Newer(u16),
}

impl SegmentHeader {
    /// The header's bytes.
    pub fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES as usize] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES as usize];
        bytes[..8].copy_from_slice(&SEGMENT_MAGIC);
        bytes[8..10].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[10..12].copy_from_slice(&(SEGMENT_HEADER_BYTES as u16).to_le_bytes());
        bytes[12..16].copy_from_slice(&self.number.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.store.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.length.to_le_bytes());
        bytes[28..36].copy_from_slice(&self.first_frame.to_le_bytes());
        let sum = checksum(&bytes[..36]);
        bytes[36..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Reads the header that `segment` begins with.
    ///
    /// # Errors
    /// When it is damaged, or of a newer format. Every format has its checksum in the last four bytes of the header.
    pub fn decode(segment: &[u8]) -> Result<Self, HeaderFault> {
        let length = usize::from(u16_at(segment, 10).ok_or(HeaderFault::Damaged)?);
        if segment[..8] != SEGMENT_MAGIC || !(16..=SEGMENT_HEADER_BYTES_MAX).contains(&length) {
            return Err(HeaderFault::Damaged);
        }
        let sum = u32_at(segment, length - 4).ok_or(HeaderFault::Damaged)?;
        if sum != checksum(&segment[..length - 4]) {
            return Err(HeaderFault::Damaged);
        }
        let version = u16_at(segment, 8).ok_or(HeaderFault::Damaged)?;
        if version > FORMAT_VERSION {
            return Err(HeaderFault::Newer(version));
        }
        let fields = || {
            Some(Self {
                number: u32_at(segment, 12)?,
                store: u64_at(segment, 16)?,
                length: u32_at(segment, 24)?,
                first_frame: u64_at(segment, 28)?,
            })
        };
        fields().filter(|_| length == SEGMENT_HEADER_BYTES as usize).ok_or(HeaderFault::Damaged)
    }
}

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The steps of one commit, or as many of them as fit into the segment.
    Steps,
    /// Nothing: the segment is complete and the next one exists.
    Seal,
    /// Nothing: the store was closed in order.
    Close,
}

impl Kind {
    const ALL: [(Kind, u8); 3] = [(Kind::Steps, 1), (Kind::Seal, 2), (Kind::Close, 3)];

    fn byte(self) -> u8 {
        match self {
            Kind::Steps => 1,
            Kind::Seal => 2,
            Kind::Close => 3,
        }
    }

    fn of(byte: u8) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == byte).map(|(kind, _)| *kind)
    }
}

/// Where a frame stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spot {
    /// In which store.
    pub store: u64,
    /// In which segment.
    pub segment: u32,
    /// Bytes from the segment's start.
    pub offset: u32,
}

/// What a frame says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// What it holds.
    pub kind: Kind,
    /// Length of the payload in bytes.
    pub length: u32,
    /// CRC-32C of the payload.
    pub payload_checksum: u32,
    /// Up to where the segment had been synced when this was written. Whatever is invalid before that is damage and no
    /// torn tail.
    pub synced: u32,
    /// Counts the frames of the store.
    pub number: u64,
    /// When it was written, in the store's own time.
    pub age_ms: u64,
    /// The wall clock at that moment.
    pub wall_ms: u64,
}

impl FrameHeader {
    /// The header's bytes at `spot`.
    pub fn encode(&self, spot: Spot) -> [u8; FRAME_HEADER_BYTES as usize] {
        let mut bytes = [0; FRAME_HEADER_BYTES as usize];
        bytes[..3].copy_from_slice(&FRAME_MAGIC);
        bytes[3] = self.kind.byte();
        bytes[4..8].copy_from_slice(&self.length.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.payload_checksum.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.synced.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.age_ms.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.wall_ms.to_le_bytes());
        let sum = header_checksum(spot, &bytes[..FRAME_CHECKSUM_AT]);
        bytes[FRAME_CHECKSUM_AT..FRAME_CHECKSUM_AT + 4].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Reads the header at `spot` of `segment`, if there is one.
    pub fn decode(segment: &[u8], spot: Spot) -> Option<Self> {
        let bytes = segment.get(spot.offset as usize..)?.get(..FRAME_HEADER_BYTES as usize)?;
        if bytes[..3] != FRAME_MAGIC {
            return None;
        }
        let valid = u32_at(bytes, FRAME_CHECKSUM_AT)? == header_checksum(spot, &bytes[..FRAME_CHECKSUM_AT]);
        let header = Self {
            kind: Kind::of(bytes[3])?,
            length: u32_at(bytes, 4)?,
            payload_checksum: u32_at(bytes, 8)?,
            synced: u32_at(bytes, 12)?,
            number: u64_at(bytes, 16)?,
            age_ms: u64_at(bytes, 24)?,
            wall_ms: u64_at(bytes, 32)?,
        };
        valid.then_some(header)
    }

    /// The payload that follows the header at `offset`, when it is all there and what was written.
    pub fn payload<'a>(&self, segment: &'a [u8], offset: u32) -> Option<&'a [u8]> {
        let from = offset as usize + FRAME_HEADER_BYTES as usize;
        let payload = segment.get(from..from.checked_add(self.length as usize)?)?;
        (checksum(payload) == self.payload_checksum).then_some(payload)
    }
}

fn header_checksum(spot: Spot, bytes: &[u8]) -> u32 {
    let sum = checksum(&spot.store.to_le_bytes());
    let sum = crc32c::crc32c_append(sum, &spot.segment.to_le_bytes());
    let sum = crc32c::crc32c_append(sum, &spot.offset.to_le_bytes());
    crc32c::crc32c_append(sum, bytes)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_header_is_read_back_and_every_flipped_bit_shows() {
        let header = SegmentHeader { number: 7, store: 0xA1B2_C3D4_E5F6_0718, length: 4096, first_frame: 99 };
        let bytes = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&flipped), Err(HeaderFault::Damaged), "bit {bit}");
        }
        assert_eq!(SegmentHeader::decode(&bytes[..39]), Err(HeaderFault::Damaged));
        assert_eq!(SegmentHeader::decode(&[]), Err(HeaderFault::Damaged));
    }

    #[test]
    fn a_newer_segment_header_is_told_from_a_damaged_one() {
        // A later format may have a longer header; its checksum stands at the end all the same.
        let mut bytes = [0; 64];
        bytes[..40].copy_from_slice(&SegmentHeader { number: 1, store: 2, length: 64, first_frame: 0 }.encode());
        bytes[8..10].copy_from_slice(&2_u16.to_le_bytes());
        bytes[10..12].copy_from_slice(&64_u16.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&bytes), Err(HeaderFault::Damaged));
        let sum = checksum(&bytes[..60]);
        bytes[60..].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&bytes), Err(HeaderFault::Newer(2)));
    }

    #[test]
    fn a_frame_is_valid_only_where_it_was_written() {
        let spot = Spot { store: 5, segment: 3, offset: 8 };
        let header = FrameHeader {
            kind: Kind::Steps,
            length: 3,
            payload_checksum: checksum(b"abc"),
            synced: 8,
            number: 12,
            age_ms: 1000,
            wall_ms: 2000,
        };
        let mut segment = vec![0; 128];
        segment[8..56].copy_from_slice(&header.encode(spot));
        segment[56..59].copy_from_slice(b"abc");
        assert_eq!(FrameHeader::decode(&segment, spot), Some(header));
        assert_eq!(header.payload(&segment, 8), Some(&b"abc"[..]));
        for elsewhere in [Spot { store: 6, ..spot }, Spot { segment: 4, ..spot }] {
            assert_eq!(FrameHeader::decode(&segment, elsewhere), None);
        }
        segment.copy_within(8..64, 64);
        assert_eq!(FrameHeader::decode(&segment, Spot { offset: 64, ..spot }), None);
        segment[58] = b'd';
        assert_eq!(header.payload(&segment, 8), None);
    }
}
