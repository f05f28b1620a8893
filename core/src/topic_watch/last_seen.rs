//! What is kept of a topic's last message.

use super::gathered::OneGathered;
use crate::message::{Guarantee, Origin};
use smallvec::SmallVec;
use std::sync::Arc;

/// The last message of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastSeen {
    /// Messages of this very topic, since somebody looks.
    pub messages: u64,
    /// When, on the wall clock.
    pub at_ms: u64,
    /// The payload, as far as it is kept.
    pub payload: Vec<u8>,
    /// Its whole length.
    pub payload_bytes: usize,
    /// What the publisher asked for.
    pub guarantee: Guarantee,
    /// Whether it was to become the last value.
    pub retain: bool,
    /// MIME type of the payload.
    pub content_type: Option<Box<str>>,
    /// Who published it; nobody for what the broker says.
    pub origin: Option<Arc<Origin>>,
}

/// The same, as it is kept: in one place with a short payload, which is what a message of a device mostly has.
#[derive(Debug, Default)]
pub(super) struct Kept {
    messages: u64,
    at_ms: u64,
    payload: SmallVec<[u8; SHORT_BYTES_MAX]>,
    payload_bytes: u32,
    guarantee: Guarantee,
    retain: bool,
    /// Two steps, because few have one.
    content_type: Option<Box<Box<str>>>,
    origin: Option<Arc<Origin>>,
}

/// A payload of this length is kept without a place of its own.
const SHORT_BYTES_MAX: usize = 32;

impl Kept {
    /// Messages so far.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Takes over a message with what is kept of its payload; the memory of the one before is used again.
    pub fn set(&mut self, message: &OneGathered, payload: &[u8]) {
        if self.payload.spilled() && self.payload.capacity() > 2 * payload.len() + 64 {
            self.payload = SmallVec::new();
        }
        self.payload.clear();
        self.payload.reserve_exact(payload.len());
        self.payload.extend_from_slice(payload);
        self.payload_bytes = message.payload_bytes;
        self.messages += 1;
        (self.at_ms, self.guarantee, self.retain) = (message.at_ms, message.guarantee, message.retain);
        let content_type = message.properties.as_ref().and_then(|properties| properties.content_type.as_deref());
        if self.content_type.as_deref().map(|text| &**text) != content_type {
            self.content_type = content_type.map(|text| Box::new(text.into()));
        }
        let is_same = match (&self.origin, &message.origin) {
            (Some(before), Some(now)) => Arc::ptr_eq(before, now),
            (before, now) => before.is_none() && now.is_none(),
        };
        if !is_same {
            self.origin.clone_from(&message.origin);
        }
    }

    /// What it has besides its own place.
    pub fn heap_bytes(&self) -> usize {
        let payload = if self.payload.spilled() { self.payload.capacity() } else { 0 };
        payload + self.content_type.as_ref().map_or(0, |text| size_of::<Box<str>>() + text.len())
    }

    /// For people; `None` when there was no message yet.
    pub fn shown(&self, payload_bytes_max: usize) -> Option<LastSeen> {
        (self.messages > 0).then(|| LastSeen {
            messages: self.messages,
            at_ms: self.at_ms,
            payload: self.payload[..self.payload.len().min(payload_bytes_max)].to_vec(),
            payload_bytes: self.payload_bytes as usize,
            guarantee: self.guarantee,
            retain: self.retain,
            content_type: self.content_type.as_deref().cloned(),
            origin: self.origin.clone(),
        })
    }
}
