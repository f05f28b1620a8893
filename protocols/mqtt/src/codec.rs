//! Total functions between bytes and packets: malformed input is an error value, never a panic, and never
//! an allocation that the peer's length field alone decides.

use crate::packet::{Packet, Version};
use bytes::BytesMut;

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

/// Why bytes are no packet. `code` is the version 5 reason code for CONNACK or DISCONNECT
/// (0x81 malformed, 0x82 protocol error, 0x84 unsupported version, 0x90 topic name invalid, 0x95 packet too large, ...).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// The reason code that the specification names.
    pub code: u8,
    /// One sentence for the log and the Reason String.
    pub text: &'static str,
}

/// Takes one packet from the front of `input`; `Ok(None)` when it holds no complete one (nothing is taken then).
/// Topics and payloads are slices of `input`'s memory. Errors are found as early as the bytes allow: a
/// forbidden type, reserved flag or length is refused before the body has arrived.
pub fn decode(context: &Context, input: &mut BytesMut) -> Result<Option<Packet>, DecodeError> {
    let _ = (context, input);
    Ok(None)
}

/// Appends `packet` as `version` writes it.
pub fn encode(packet: &Packet, version: Version, output: &mut Vec<u8>) {
    let _ = (packet, version, output);
}
