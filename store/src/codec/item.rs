//! Items as the index reads them: keys and terms stay bytes, bodies stay where they are.

use super::Malformed;
use super::wire::Reader;
use crate::log::Place;

/// Stands for the segment of a place whose step has not been handed to the log yet; the offset counts from the step's start.
pub(crate) const PENDING: u32 = u32::MAX;

/// Tags of items, for ever. What is not in here is refused: a new one comes with a new version of the format.
pub(crate) mod tag {
    pub(crate) const BODY: u8 = 1;
    pub(crate) const SESSION: u8 = 2;
    pub(crate) const SESSION_CLOSED: u8 = 3;
    pub(crate) const SUBSCRIBED: u8 = 4;
    pub(crate) const UNSUBSCRIBED: u8 = 5;
    pub(crate) const TOKEN_HELD: u8 = 6;
    pub(crate) const TOKEN_RELEASED: u8 = 7;
    pub(crate) const RETAINED: u8 = 8;
    pub(crate) const RETAINED_CLEARED: u8 = 9;
    pub(crate) const QUEUED: u8 = 10;
    pub(crate) const MOVED: u8 = 11;
    pub(crate) const NUMBERED: u8 = 12;
    pub(crate) const RECEIVED: u8 = 13;
    pub(crate) const SETTLED: u8 = 14;
    pub(crate) const QUEUE_CLOSED: u8 = 15;
    pub(crate) const RELOCATED: u8 = 16;
    pub(crate) const AGED: u8 = 17;
}

/// What a fact is about. A retained value's fact is its body, the others' are items of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Kind {
    Session = 0,
    Subscription = 1,
    Token = 2,
    Retained = 3,
}

impl Kind {
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        [Self::Session, Self::Subscription, Self::Token, Self::Retained].get(usize::from(byte)).copied()
    }
}

/// Where an item stands that is read again by its place: tag, length and all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BodyAt {
    pub place: Place,
    pub length: u32,
}

/// One item. Keys of facts are the bytes that all items about the same fact have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Item<'a> {
    Body,
    Fact {
        kind: Kind,
        key: &'a [u8],
    },
    FactGone {
        kind: Kind,
        key: &'a [u8],
    },
    Retained {
        key: &'a [u8],
        body: BodyAt,
    },
    Queued {
        queue: &'a [u8],
        sequence: i64,
        terms: &'a [u8],
        body: BodyAt,
    },
    Moved {
        from: &'a [u8],
        from_sequence: i64,
        queue: &'a [u8],
        sequence: i64,
        terms: &'a [u8],
        body: BodyAt,
    },
    Numbered {
        queue: &'a [u8],
        sequence: i64,
        number: u32,
    },
    Received {
        queue: &'a [u8],
        sequence: i64,
    },
    Settled {
        queue: &'a [u8],
        sequence: i64,
    },
    QueueClosed {
        queue: &'a [u8],
    },
    Relocated {
        queue: &'a [u8],
        sequence: i64,
        body: BodyAt,
    },
    /// Nothing has happened but time: the frame around it says how much.
    Aged,
}

/// The items of some steps in order, each with where it stands.
#[derive(Debug)]
pub(crate) struct Items<'a> {
    reader: Reader<'a>,
    place: Place,
    bytes: usize,
    /// Where references within the step end.
    floor: u32,
}

impl<'a> Items<'a> {
    /// The items in `bytes`, which stand at `place`.
    pub(crate) fn new(bytes: &'a [u8], place: Place) -> Self {
        Self { reader: Reader::new(bytes), place, bytes: bytes.len(), floor: place.offset }
    }

    /// The items of a step under way from the byte `start` on.
    pub(crate) fn of_step(step: &'a [u8], start: usize) -> Self {
        let place = Place { segment: PENDING, offset: start as u32 };
        Self { reader: Reader::new(&step[start..]), place, bytes: step.len() - start, floor: 0 }
    }

    /// Bytes from the start to the next item.
    pub(crate) fn offset(&self) -> usize {
        self.bytes - self.reader.rest().len()
    }

    /// The next item and where it stands; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<(BodyAt, Item<'a>)>, Malformed> {
        if self.reader.is_empty() {
            return Ok(None);
        }
        let start = self.offset();
        let mut reader = self.reader.clone();
        let tag = reader.byte()?;
        let fields = Reader::new(reader.bytes()?);
        let length = self.reader.rest().len() - reader.rest().len();
        // A frame is shorter than 4 GiB: offsets in a segment have 32 bits.
        let offset = u32::try_from(start).ok().and_then(|start| self.place.offset.checked_add(start));
        let place = Place { segment: self.place.segment, offset: offset.ok_or(Malformed::Number)? };
        let at = BodyAt { place, length: u32::try_from(length).map_err(|_| Malformed::Number)? };
        let item = Fields { reader: fields, place, floor: self.floor }.item(tag)?;
        self.reader = reader;
        Ok(Some((at, item)))
    }
}

/// The fields of one item.
struct Fields<'a> {
    reader: Reader<'a>,
    place: Place,
    floor: u32,
}

impl<'a> Fields<'a> {
    fn item(mut self, tag: u8) -> Result<Item<'a>, Malformed> {
        let item = match tag {
            tag::BODY => return Ok(Item::Body),
            tag::SESSION => return self.fact(Kind::Session),
            tag::SUBSCRIBED => return self.fact(Kind::Subscription),
            tag::TOKEN_HELD => return self.fact(Kind::Token),
            tag::SESSION_CLOSED => Item::FactGone { kind: Kind::Session, key: self.key(Kind::Session)? },
            tag::UNSUBSCRIBED => Item::FactGone { kind: Kind::Subscription, key: self.key(Kind::Subscription)? },
            tag::TOKEN_RELEASED => Item::FactGone { kind: Kind::Token, key: self.key(Kind::Token)? },
            tag::RETAINED_CLEARED => Item::FactGone { kind: Kind::Retained, key: self.key(Kind::Retained)? },
            tag::RETAINED => Item::Retained { key: self.key(Kind::Retained)?, body: self.body()? },
            tag::QUEUED => {
                let (queue, sequence) = self.entry()?;
                Item::Queued { queue, sequence, terms: self.reader.bytes()?, body: self.body()? }
            }
            tag::MOVED => {
                let ((from, from_sequence), (queue, sequence)) = (self.entry()?, self.entry()?);
                let (terms, body) = (self.reader.bytes()?, self.body()?);
                Item::Moved { from, from_sequence, queue, sequence, terms, body }
            }
            tag::NUMBERED => {
                let (queue, sequence) = self.entry()?;
                Item::Numbered { queue, sequence, number: self.reader.varint_u32()? }
            }
            tag::RECEIVED => {
                let (queue, sequence) = self.entry()?;
                Item::Received { queue, sequence }
            }
            tag::SETTLED => {
                let (queue, sequence) = self.entry()?;
                Item::Settled { queue, sequence }
            }
            tag::QUEUE_CLOSED => Item::QueueClosed { queue: self.reader.bytes()? },
            tag::RELOCATED => {
                let (queue, sequence) = self.entry()?;
                Item::Relocated { queue, sequence, body: self.body()? }
            }
            tag::AGED => Item::Aged,
            _ => return Err(Malformed::Tag(tag)),
        };
        self.reader.end()?;
        Ok(item)
    }

    /// A fact's own fields are read when somebody wants them.
    fn fact(mut self, kind: Kind) -> Result<Item<'a>, Malformed> {
        self.reader.u32_le()?;
        Ok(Item::Fact { kind, key: self.key(kind)? })
    }

    fn key(&mut self, kind: Kind) -> Result<&'a [u8], Malformed> {
        key(&mut self.reader, kind)
    }

    fn entry(&mut self) -> Result<(&'a [u8], i64), Malformed> {
        Ok((self.reader.bytes()?, self.reader.signed()?))
    }

    /// A body earlier in the same step is named by the distance to it, so that the step can be written without
    /// knowing where it will stand; any other by its place.
    fn body(&mut self) -> Result<BodyAt, Malformed> {
        let distance = self.reader.varint_u32()?;
        let place = if distance == 0 {
            Place { segment: self.reader.varint_u32()?, offset: self.reader.varint_u32()? }
        } else if distance <= self.place.offset - self.floor {
            Place { segment: self.place.segment, offset: self.place.offset - distance }
        } else {
            return Err(Malformed::Value("reference"));
        };
        if distance == 0 && matches!(place.segment, 0 | PENDING) {
            return Err(Malformed::Value("reference"));
        }
        Ok(BodyAt { place, length: self.reader.varint_u32()? })
    }
}

/// The bytes that name a fact, in whichever item they stand.
pub(crate) fn key<'a>(reader: &mut Reader<'a>, kind: Kind) -> Result<&'a [u8], Malformed> {
    let all = reader.rest();
    reader.bytes()?;
    match kind {
        Kind::Session | Kind::Retained => {}
        Kind::Subscription => {
            reader.bytes()?;
        }
        Kind::Token => {
            reader.varint_u32()?;
        }
    }
    Ok(&all[..all.len() - reader.rest().len()])
}
