//! Records as bytes and back.
//!
//! A step is a sequence of items: tag, length, fields (`docs/storage.md`, "Items"). Bodies and facts are read again by their place,
//! long after the frame around them was checked, and so carry a checksum of their own. All decoding is total:
//! whatever the bytes are, the answer is a value or a [`Malformed`].

mod fact;
mod item;
mod keys;
mod message;
mod step;
mod wire;

pub(crate) use fact::{check_body, check_fact, decode_body, decode_fact};
pub(crate) use item::{BodyAt, Item, Items, Kind, PENDING};
pub(crate) use keys::{is_of_group, is_of_session, put_queue_key, read_queue_key, read_terms};
pub(crate) use step::Step;
pub(crate) use wire::{Reader, put_bytes, put_signed, put_varint};

use crate::clock::Clock;

/// Why bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("it ends too early")]
    Short,
    #[error("it is longer than its fields")]
    Long,
    #[error("a number is out of range")]
    Number,
    #[error("a text is not UTF-8")]
    Text,
    #[error("a {0} is not one")]
    Value(&'static str),
    #[error("item tag {0} is unknown")]
    Tag(u8),
    #[error("the checksum is wrong")]
    Checksum,
}

/// What is needed to turn bytes into what the broker knows: the clocks' offset, and names that live for ever.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context {
    pub clock: Clock,
    pub protocols: &'static [&'static str],
}

/// Stands for a language that is not in the table any more.
pub(crate) const UNKNOWN_PROTOCOL: &str = "unknown";

impl Context {
    fn protocol(&self, name: &str) -> &'static str {
        self.protocols.iter().find(|known| **known == name).copied().unwrap_or(UNKNOWN_PROTOCOL)
    }
}

#[cfg(test)]
mod tests;
