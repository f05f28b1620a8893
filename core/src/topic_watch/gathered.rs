//! Messages that have been seen and not been looked at yet: copied, so that no buffer of a socket waits for somebody to look.

use crate::message::{Guarantee, Message, Origin, Properties};
use std::sync::Arc;

/// A few messages.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    messages: Vec<OneGathered>,
    topics: String,
    payloads: Vec<u8>,
}

/// One of them; its texts are with all the others.
#[derive(Debug)]
pub(super) struct OneGathered {
    pub topic_hash: u64,
    pub at_ms: u64,
    /// Where the topic and the payload begin, and how much of the payload is there.
    topic_at: u32,
    payload_at: u32,
    kept_bytes: u32,
    /// The payload's whole length.
    pub payload_bytes: u32,
    pub guarantee: Guarantee,
    pub retain: bool,
    /// Where there is a content type.
    pub properties: Option<Arc<Properties>>,
    pub origin: Option<Arc<Origin>>,
}

impl Gathered {
    /// Copies a message, its payload up to `kept_max` bytes.
    pub fn add(&mut self, topic_hash: u64, message: &Message, at_ms: u64, kept_max: usize) {
        let kept = &message.payload[..message.payload.len().min(kept_max)];
        self.messages.push(OneGathered {
            topic_hash,
            at_ms,
            topic_at: self.topics.len() as u32,
            payload_at: self.payloads.len() as u32,
            kept_bytes: kept.len() as u32,
            payload_bytes: u32::try_from(message.payload.len()).unwrap_or(u32::MAX),
            guarantee: message.guarantee,
            retain: message.retain,
            properties: message.properties.clone().filter(|properties| properties.content_type.is_some()),
            origin: message.origin.clone(),
        });
        self.topics.push_str(message.topic.as_str());
        self.payloads.extend_from_slice(kept);
    }

    pub fn iter(&self) -> impl Iterator<Item = &OneGathered> {
        self.messages.iter()
    }

    pub fn len(&self) -> usize {
        self.messages.len()
    }

    pub fn bytes(&self) -> usize {
        self.topics.len() + self.payloads.len()
    }

    /// The topic of one; looked for once in its life, when it is the first of its topic.
    pub fn topic(&self, one: &OneGathered) -> &str {
        let next = self.messages.partition_point(|other| other.topic_at <= one.topic_at);
        let end = self.messages.get(next).map_or(self.topics.len(), |next| next.topic_at as usize);
        &self.topics[one.topic_at as usize..end]
    }

    pub fn payload(&self, one: &OneGathered) -> &[u8] {
        &self.payloads[one.payload_at as usize..][..one.kept_bytes as usize]
    }

    /// Forgets them; most of the memory stays for the next ones.
    pub fn clear(&mut self) {
        self.messages.clear();
        self.topics.clear();
        self.payloads.clear();
        self.payloads.shrink_to(2 * super::GATHERED_BYTES_MAX);
    }
}
