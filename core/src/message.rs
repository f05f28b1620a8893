//! A message that belongs to no protocol.

use crate::topic::Topic;
use bytes::Bytes;
use bytestring::ByteString;
use std::sync::Arc;

/// What the publisher asks for and what a subscriber is promised; the smaller of the two holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Guarantee {
    /// MQTT QoS 0: sent once, perhaps lost.
    #[default]
    AtMostOnce = 0,
    /// MQTT QoS 1: repeated until acknowledged.
    AtLeastOnce = 1,
    /// MQTT QoS 2: a two-way handshake, no repeats.
    ExactlyOnce = 2,
}

impl Guarantee {
    /// From an MQTT QoS value; `None` above 2.
    pub fn from_qos(qos: u8) -> Option<Self> {
        match qos {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

/// A published message. Shared by reference between everyone it is routed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where it was published.
    pub topic: Topic,
    /// The application's bytes, opaque to the broker.
    pub payload: Bytes,
    /// What the publisher asked for.
    pub guarantee: Guarantee,
    /// Whether the publisher asked for it to be kept as the topic's last value.
    pub retain: bool,
    /// When it is no longer worth delivering, on the monotonic clock in nanoseconds.
    pub expires_ns: Option<u64>,
    /// What it says about itself; `None` when it says nothing, which is the common case.
    pub properties: Option<Arc<Properties>>,
    /// Who published it; filled in by the broker.
    pub origin: Option<Arc<Origin>>,
}

impl Message {
    /// A bare message at QoS 0.
    pub fn new(topic: Topic, payload: Bytes) -> Self {
        Self {
            topic,
            payload,
            guarantee: Guarantee::AtMostOnce,
            retain: false,
            expires_ns: None,
            properties: None,
            origin: None,
        }
    }

    /// Whether its time is over.
    pub fn is_expired(&self, mono_ns: u64) -> bool {
        self.expires_ns.is_some_and(|expires_ns| expires_ns <= mono_ns)
    }

    /// The same message in memory of its own: what is queued or retained must not pin the 64 KiB
    /// read buffer that its topic and payload are slices of.
    pub fn detached(&self) -> Self {
        let mut copy = self.clone();
        copy.topic = self.topic.detached();
        copy.payload = Bytes::copy_from_slice(&self.payload);
        copy.properties = self.properties.as_ref().map(|properties| Arc::new(properties.detached()));
        copy
    }

    /// What it costs to keep, in bytes, for the limits of queues.
    pub fn size_bytes(&self) -> usize {
        const STRUCTURE: usize = 160;
        STRUCTURE
            + self.topic.as_str().len()
            + self.payload.len()
            + self.properties.as_ref().map_or(0, |properties| properties.size_bytes())
    }
}

/// A small neutral set of properties; every language's page says how it maps them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    /// MIME type of the payload (MQTT 5.0 §3.3.2.3.9).
    pub content_type: Option<ByteString>,
    /// Whether the payload says it is UTF-8 text (MQTT 5.0 §3.3.2.3.2). `None`: it does not say.
    pub payload_is_utf8: Option<bool>,
    /// Where an answer is wanted.
    pub response_topic: Option<Topic>,
    /// Opaque bytes that the answer carries back.
    pub correlation_data: Option<Bytes>,
    /// Application pairs in order, duplicates kept.
    pub user: Vec<(ByteString, ByteString)>,
    /// 0 (lowest) to 255, for languages that have priorities.
    pub priority: Option<u8>,
}

impl Properties {
    /// True when nothing is said, so that the message can go without.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn detached(&self) -> Self {
        let text = |text: &ByteString| ByteString::from(&text[..]);
        Self {
            content_type: self.content_type.as_ref().map(text),
            payload_is_utf8: self.payload_is_utf8,
            response_topic: self.response_topic.as_ref().map(Topic::detached),
            correlation_data: self.correlation_data.as_ref().map(|data| Bytes::copy_from_slice(data)),
            user: self.user.iter().map(|(name, value)| (text(name), text(value))).collect(),
            priority: self.priority,
        }
    }

    fn size_bytes(&self) -> usize {
        std::mem::size_of::<Self>()
            + self.content_type.as_ref().map_or(0, |text| text.len())
            + self.response_topic.as_ref().map_or(0, |topic| topic.as_str().len())
            + self.correlation_data.as_ref().map_or(0, |data| data.len())
            + self.user.iter().map(|(name, value)| 64 + name.len() + value.len()).sum::<usize>()
    }
}

/// Who published a message, in which language, and what the address was called there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The protocol's name in the protocol table, `mqtt` for one.
    pub protocol: &'static str,
    /// The publisher's session id.
    pub client: ByteString,
    /// The publisher's principal, when it proved one.
    pub principal: Option<ByteString>,
    /// The address as written by the publisher, when it differs from the topic.
    pub address: Option<ByteString>,
    /// Whether the right to publish it came with the proof of its principal, and not from the policy.
    pub by_proof: bool,
}
