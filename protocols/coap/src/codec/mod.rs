//! Between bytes and [`Message`]s (§3). Total functions: any bytes give a message or an error value.

mod decode;
mod encode;
pub mod stream;

pub(crate) use decode::decode_body;
pub use decode::{DecodeError, decode};
pub(crate) use encode::encode_body;
pub use encode::{encode, encode_empty};

/// The version of the protocol (§3).
pub(crate) const VERSION: u8 = 1;
/// What stands before a payload (§3).
pub(crate) const PAYLOAD_MARKER: u8 = 0xff;
/// A nibble that says: one more byte, from 13 on (§3.1).
pub(crate) const EXTENDED_8: u8 = 13;
/// A nibble that says: two more bytes, from 269 on (§3.1).
pub(crate) const EXTENDED_16: u8 = 14;
/// Where one and two extra bytes start to count.
pub(crate) const EXTENDED_8_FROM: usize = 13;
pub(crate) const EXTENDED_16_FROM: usize = 269;
