//! Reading the newest checkpoint.

use super::{
    Checkpoints, END, FACTS, FORMAT_VERSION, HEADER_BYTES, MAGIC, PIECE_HEADER_BYTES, PREFIX, QUEUES, UNFINISHED, name,
};
use crate::codec::{BodyAt, Item, Kind, Malformed, PENDING, Reader};
use crate::disk::{Disk, FileId};
use crate::error::{OpenError, at};
use crate::index::{Fact, Index};
use crate::log::Place;

/// What a checkpoint says, or what holds without one.
pub(crate) struct Snapshot {
    pub index: Index,
    /// Where replay begins.
    pub first_segment: u32,
    /// Whose it is.
    pub store: Option<u64>,
    /// The store's age when it was begun, and the wall clock, both in milliseconds.
    pub last: Option<(u64, u64)>,
    pub checkpoints: Checkpoints,
}

impl Snapshot {
    /// Reads the newest checkpoint; without one the index is empty and hashes its keys with `seed`.
    pub(crate) fn read<D: Disk>(disk: &mut D, seed: u64) -> Result<Self, OpenError> {
        let files = disk.list().map_err(at("list", "."))?;
        let newest = files.iter().filter_map(|(file, bytes)| Some((first_segment(file)?, *bytes))).max();
        let is_leftover = |file: &str| {
            file == UNFINISHED
                || first_segment(file).is_some_and(|segment| newest.is_some_and(|(newest, _)| segment < newest))
        };
        let leftovers = files.iter().map(|(file, _)| file).filter(|file| is_leftover(file)).cloned().collect();
        let checkpoints = Checkpoints { newest, leftovers, ..Checkpoints::default() };
        let Some((segment, bytes)) = newest else {
            return Ok(Self { index: Index::new(seed), first_segment: 1, store: None, last: None, checkpoints });
        };
        let name = name(segment);
        let file = disk.open(&name).map_err(at("open", &name))?;
        let mut source = Source { disk, file, name, bytes, offset: 0, checksum: 0 };
        let read = source.snapshot(segment);
        source.disk.close(file);
        let (index, store, last) = read?;
        Ok(Self { index, first_segment: segment, store: Some(store), last: Some(last), checkpoints })
    }
}

/// Where the checkpoint of this name lets replay begin.
pub(crate) fn first_segment(file: &str) -> Option<u32> {
    let segment = file.strip_prefix(PREFIX)?.parse().ok()?;
    (file == name(segment)).then_some(segment)
}

/// The file, and how far it was read.
struct Source<'a, D: Disk> {
    disk: &'a mut D,
    file: FileId,
    name: String,
    bytes: u64,
    offset: u64,
    /// Of everything so far.
    checksum: u32,
}

impl<D: Disk> Source<'_, D> {
    fn snapshot(&mut self, segment: u32) -> Result<(Index, u64, (u64, u64)), OpenError> {
        let header = self.header()?;
        let fields = Header::read(&header).map_err(|malformed| self.damaged(&malformed.to_string()))?;
        if fields.first_segment != segment {
            return Err(self.damaged("by its header it is another checkpoint"));
        }
        let mut index = Index::new(fields.key);
        let mut piece = Vec::new();
        loop {
            let before = (self.offset, self.checksum);
            let kind = self.piece(&mut piece)?;
            let read = match kind {
                FACTS => read_facts(&piece, &mut index),
                QUEUES => read_queues(&piece, &mut index),
                END if is_end(&piece, before) && self.offset == self.bytes => {
                    return Ok((index, fields.store, (fields.age_ms, fields.wall_ms)));
                }
                _ => Err(Malformed::Value("piece")),
            };
            read.map_err(|malformed| self.damaged(&malformed.to_string()))?;
        }
    }

    /// The header, checked. A later format may have a longer one; its checksum stands at its end all the same.
    fn header(&mut self) -> Result<Vec<u8>, OpenError> {
        const HEADER_BYTES_MAX: usize = 4096;
        let mut header = self.take(12)?;
        let mut fields = Reader::new(&header[8..]);
        let length = fields.take(4).map(|bytes| usize::from(u16::from_le_bytes([bytes[2], bytes[3]])));
        let length = length.ok().filter(|length| (16..=HEADER_BYTES_MAX).contains(length) && header[..8] == MAGIC);
        let length = length.ok_or_else(|| self.damaged("its header is not one"))?;
        header.extend(self.take(length - 12)?);
        let (fields, checksum) = header.split_at(length - 4);
        if crc32c::crc32c(fields).to_le_bytes() != *checksum {
            return Err(self.damaged("the checksum of its header is wrong"));
        }
        let version = u16::from_le_bytes([header[8], header[9]]);
        if version > FORMAT_VERSION {
            return Err(OpenError::Newer { file: self.name.clone(), found: version, known: FORMAT_VERSION });
        }
        if length != HEADER_BYTES {
            return Err(self.damaged("its header is not one"));
        }
        Ok(header)
    }

    /// The payload of the next piece, checked, and its kind.
    fn piece(&mut self, payload: &mut Vec<u8>) -> Result<u8, OpenError> {
        let start = self.offset;
        let header = self.take(PIECE_HEADER_BYTES)?;
        let number = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        *payload = self.take(number(1) as usize)?;
        if crc32c::crc32c_append(crc32c::crc32c(&header[..5]), payload) != number(5) {
            self.offset = start;
            return Err(self.damaged("the checksum of a piece is wrong"));
        }
        Ok(header[0])
    }

    /// The next bytes; what the file does not have is not asked for.
    fn take(&mut self, length: usize) -> Result<Vec<u8>, OpenError> {
        if length as u64 > self.bytes - self.offset {
            return Err(self.damaged("it ends too early"));
        }
        let mut bytes = vec![0; length];
        let read = self.disk.read_at(self.file, self.offset, &mut bytes).map_err(at("read", &self.name))?;
        if read < length {
            return Err(self.damaged("it ends too early"));
        }
        self.offset += length as u64;
        self.checksum = crc32c::crc32c_append(self.checksum, &bytes);
        Ok(bytes)
    }

    fn damaged(&self, what: &str) -> OpenError {
        OpenError::Corrupt {
            file: self.name.clone(),
            offset: self.offset,
            what: what.to_owned(),
            affected: "everything that was stored before it was written".to_owned(),
        }
    }
}

struct Header {
    first_segment: u32,
    store: u64,
    key: u64,
    age_ms: u64,
    wall_ms: u64,
}

impl Header {
    fn read(header: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Reader::new(&header[12..]);
        Ok(Self {
            first_segment: fields.u32_le()?,
            store: fields.u64_le()?,
            key: fields.u64_le()?,
            age_ms: fields.u64_le()?,
            wall_ms: fields.u64_le()?,
        })
    }
}

/// Whether the last piece says how long everything before it is, and its checksum.
fn is_end(piece: &[u8], (offset, checksum): (u64, u32)) -> bool {
    let mut fields = Reader::new(piece);
    fields.u64_le() == Ok(offset) && fields.u32_le() == Ok(checksum) && fields.is_empty()
}

fn read_facts(piece: &[u8], index: &mut Index) -> Result<(), Malformed> {
    let mut fields = Reader::new(piece);
    while !fields.is_empty() {
        let hash = u128::from(fields.u64_le()?) | u128::from(fields.u64_le()?) << 64;
        let kind = Kind::from_byte(fields.byte()?).ok_or(Malformed::Value("kind of fact"))?;
        index.put_fact(hash, Fact { kind, at: read_place(&mut fields)? });
    }
    Ok(())
}

fn read_place(fields: &mut Reader<'_>) -> Result<BodyAt, Malformed> {
    let place = Place { segment: fields.varint_u32()?, offset: fields.varint_u32()? };
    if matches!(place.segment, 0 | PENDING) {
        return Err(Malformed::Value("place"));
    }
    Ok(BodyAt { place, length: fields.varint_u32()? })
}

fn read_queues<'a>(piece: &'a [u8], index: &mut Index) -> Result<(), Malformed> {
    let mut fields = Reader::new(piece);
    let mut all_terms: Vec<&'a [u8]> = Vec::new();
    while !fields.is_empty() {
        let queue = fields.bytes()?;
        let mut sequence = 0_i64;
        for _ in 0..fields.u32_le()? {
            sequence = sequence.wrapping_add(fields.signed()?);
            let body = read_place(&mut fields)?;
            let number = fields.varint()?;
            if number >> 1 == all_terms.len() as u64 {
                all_terms.push(fields.bytes()?);
            }
            let terms = *all_terms.get((number >> 1) as usize).ok_or(Malformed::Value("number of terms"))?;
            index.apply(&Item::Queued { queue, sequence, terms, body }, body);
            if number & 1 != 0 {
                let flight = fields.varint()?;
                let number = u32::try_from(flight >> 1).map_err(|_| Malformed::Number)?;
                index.apply(&Item::Numbered { queue, sequence, number }, body);
                if flight & 1 != 0 {
                    index.apply(&Item::Received { queue, sequence }, body);
                }
            }
        }
    }
    Ok(())
}
