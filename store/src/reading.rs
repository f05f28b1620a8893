//! Reading items back by their places, many with one call where they stand together.

use crate::codec::{BodyAt, Malformed};
use crate::disk::Disk;
use crate::error::{Failure, OpenError};
use crate::log::{Log, Place, segment_name};
use std::fmt::Arguments;

/// One call reads about so much.
const RUN_BYTES: u32 = 512 << 10;
/// What is between two items is read along up to this.
const GAP_BYTES: u32 = 16 << 10;

/// A buffer for reading.
#[derive(Debug, Default)]
pub(crate) struct Readers {
    buffer: Vec<u8>,
}

impl Readers {
    /// Shows the bytes of `items`, in their order. From `uncommitted` on nothing stands between the steps yet, so nothing is read along.
    pub(crate) fn read<D: Disk, T, E: From<Failure>>(
        &mut self,
        log: &mut Log<D>,
        uncommitted: Option<Place>,
        items: &[T],
        at: impl Fn(&T) -> BodyAt,
        mut take: impl FnMut(&T, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut rest = items;
        while let Some(first) = rest.first() {
            let start = at(first).place;
            let (count, length) = run(rest, &at, uncommitted);
            self.buffer.resize(length as usize, 0);
            log.read(start, &mut self.buffer)?;
            for item in &rest[..count] {
                let BodyAt { place, length } = at(item);
                let from = (place.offset - start.offset) as usize;
                take(item, &self.buffer[from..from + length as usize])?;
            }
            rest = &rest[count..];
        }
        self.buffer.clear();
        self.buffer.shrink_to(RUN_BYTES as usize);
        Ok(())
    }
}

/// How many items from the first on are read with one call, and how many bytes that is.
fn run<T>(items: &[T], at: impl Fn(&T) -> BodyAt, uncommitted: Option<Place>) -> (usize, u32) {
    let BodyAt { place: start, length } = at(&items[0]);
    let mut bytes = length;
    for (count, item) in items.iter().enumerate().skip(1) {
        let BodyAt { place, length } = at(item);
        let joins = place.segment == start.segment
            && place.offset >= start.offset
            && place.offset - start.offset <= bytes.saturating_add(GAP_BYTES)
            && place.offset - start.offset + length <= RUN_BYTES
            && uncommitted.is_none_or(|uncommitted| place < uncommitted);
        if !joins {
            return (count, bytes);
        }
        bytes = bytes.max(place.offset - start.offset + length);
    }
    (items.len(), bytes)
}

/// What the log says about damage at a place.
pub(crate) fn damaged(at: BodyAt, malformed: Malformed, affected: Arguments<'_>) -> OpenError {
    OpenError::Corrupt {
        file: segment_name(at.place.segment),
        offset: u64::from(at.place.offset),
        what: malformed.to_string(),
        affected: affected.to_string(),
    }
}

impl From<Failure> for OpenError {
    fn from(Failure { action, file, error }: Failure) -> Self {
        OpenError::Io { action, file, error: std::io::Error::other(error) }
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let text = error.to_string();
        let file = match error {
            OpenError::Corrupt { file, .. } | OpenError::Newer { file, .. } | OpenError::Io { file, .. } => file,
            OpenError::InUse { directory } => directory,
        };
        Failure { action: "read", file, error: text }
    }
}
