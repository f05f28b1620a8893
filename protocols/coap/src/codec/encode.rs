//! Messages to bytes.

use super::{EXTENDED_8, EXTENDED_8_FROM, EXTENDED_16, EXTENDED_16_FROM, PAYLOAD_MARKER, VERSION};
use crate::message::{Code, Kind, Message, Options};

/// Appends a message as one datagram. There is one way to write each message, so that what was read is
/// written as it was.
pub fn encode(message: &Message, out: &mut Vec<u8>) {
    let token = message.token.as_slice();
    let token_nibble = nibble(token.len());
    write_header(message.kind, token_nibble, message.code, message.id, out);
    write_extended(token_nibble, token.len(), out);
    out.extend_from_slice(token);
    encode_body(&message.options, &message.payload, out);
}

/// Appends what stands in a message behind its token.
pub(crate) fn encode_body(options: &Options, payload: &[u8], out: &mut Vec<u8>) {
    write_options(options, out);
    if !payload.is_empty() {
        out.push(PAYLOAD_MARKER);
        out.extend_from_slice(payload);
    }
}

/// Appends an empty message: an acknowledgement, a reset or a ping (§4.1).
pub fn encode_empty(kind: Kind, id: u16, out: &mut Vec<u8>) {
    write_header(kind, 0, Code::EMPTY, id, out);
}

fn write_header(kind: Kind, token_nibble: u8, code: Code, id: u16, out: &mut Vec<u8>) {
    let [high, low] = id.to_be_bytes();
    out.extend_from_slice(&[VERSION << 6 | (kind as u8) << 4 | token_nibble, code.0, high, low]);
}

/// Options in the order of their numbers (§3.1).
pub(super) fn write_options(options: &Options, out: &mut Vec<u8>) {
    let mut before = 0;
    for (number, value) in options.iter() {
        write_option(usize::from(number - before), value, out);
        before = *number;
    }
}

fn write_option(delta: usize, value: &[u8], out: &mut Vec<u8>) {
    let (delta_nibble, length_nibble) = (nibble(delta), nibble(value.len()));
    out.push(delta_nibble << 4 | length_nibble);
    write_extended(delta_nibble, delta, out);
    write_extended(length_nibble, value.len(), out);
    out.extend_from_slice(value);
}

/// What stands in a nibble for a number.
pub(super) fn nibble(value: usize) -> u8 {
    match value {
        EXTENDED_16_FROM.. => EXTENDED_16,
        EXTENDED_8_FROM.. => EXTENDED_8,
        direct => direct as u8,
    }
}

/// What stands behind a nibble for the rest of a number.
pub(super) fn write_extended(nibble: u8, value: usize, out: &mut impl Extend<u8>) {
    match nibble {
        EXTENDED_8 => out.extend([(value - EXTENDED_8_FROM) as u8]),
        EXTENDED_16 => out.extend(((value - EXTENDED_16_FROM) as u16).to_be_bytes()),
        _ => {}
    }
}

/// How many bytes that takes.
pub(super) fn extended_bytes(value: usize) -> usize {
    match value {
        EXTENDED_16_FROM.. => 2,
        EXTENDED_8_FROM.. => 1,
        _ => 0,
    }
}
