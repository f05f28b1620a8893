//! Total functions between bytes and packets: malformed input is an error value, never a panic, and never
//! an allocation that the peer's length field alone decides.
//!
//! - [`decode`] takes packets from a stream, [`refusal_version`] says how to answer a CONNECT that is none;
//! - [`encode`] writes any packet, [`encode_publish_head`] and [`encode_ack`] the hot ones without building them.

pub(crate) mod codes;
pub(crate) mod connect;
pub(crate) mod decode;
mod encode;
pub(crate) mod header;
pub(crate) mod primitives;
pub(crate) mod properties;

pub use connect::refusal_version;
pub use decode::decode;
pub use encode::{AckType, PublishHead, encode, encode_ack, encode_publish_head, publish_size};

use crate::packet::Version;
use crate::reason::code;
use std::fmt;

/// The largest packet that the format can express: type, four length bytes and what they count (§2.1.4).
pub const PACKET_BYTES_MAX: usize = 1 + 4 + primitives::VARIABLE_INT_MAX as usize;

/// Who reads: a packet that only the other side may send is an error ([MQTT-3.1.0-1] and its like).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// We are the server, the bytes come from a client.
    Server,
    /// We are the client, the bytes come from a server.
    Client,
}

/// What the reader must know of the conversation to decode.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// Who reads.
    pub side: Side,
    /// What CONNECT agreed on; `None` before it, when only CONNECT is decoded (by its own level).
    pub version: Option<Version>,
    /// Largest packet, fixed header included, in bytes.
    pub packet_bytes_max: usize,
    /// How long and deep topic names may be.
    pub topic: althing_core::topic::TopicLimits,
}

/// Why bytes are no packet. `code` is the version 5 reason code for CONNACK or DISCONNECT: 0x81 malformed,
/// 0x82 protocol error, 0x84 unsupported version, 0x90 topic name invalid or 0x95 packet too large.
///
/// Where the specification names no code, §1.2 decides: what cannot be parsed is malformed, what can be
/// parsed but is not allowed by the protocol is a protocol error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// The reason code that the specification names.
    pub code: u8,
    /// One sentence for the log and the Reason String.
    pub text: &'static str,
}

impl DecodeError {
    const fn malformed(text: &'static str) -> Self {
        Self { code: code::MALFORMED_PACKET, text }
    }

    const fn protocol(text: &'static str) -> Self {
        Self { code: code::PROTOCOL_ERROR, text }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (0x{:02X})", self.text, self.code)
    }
}

impl std::error::Error for DecodeError {}
