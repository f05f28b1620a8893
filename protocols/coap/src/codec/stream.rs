//! Messages on reliable carriers (RFC 8323 §3.2, §4.2): no version, no kind, no message id. On a byte stream each message
//! begins with its length; inside WebSocket, which says itself where messages end, that is 0.

use super::decode::read_options;
use super::encode::{extended_bytes, nibble, write_extended, write_options};
use super::{EXTENDED_8, EXTENDED_8_FROM, EXTENDED_16, EXTENDED_16_FROM, PAYLOAD_MARKER};
use crate::message::{Code, Kind, Message, Token};
use althing_core::OutBuffer;
use bytes::{Buf, Bytes, BytesMut};
use smallvec::SmallVec;

/// Why bytes are no message: the two ends do not understand each other any more, so that the connection ends
/// (RFC 8323 §5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamError {
    /// What is wrong.
    pub text: &'static str,
    /// Whether the message is longer than it may be.
    pub is_too_large: bool,
}

/// A nibble that says: four more bytes, from 65,805 on (RFC 8323 §3.2).
const EXTENDED_32: u8 = 15;
const EXTENDED_32_FROM: usize = 65_805;

/// What is known of a message before it is there.
struct Head {
    code: Code,
    /// Everything before the token.
    bytes: usize,
    token_bytes: usize,
    /// Options, marker and payload.
    body_bytes: usize,
}

/// Takes one message of at most `message_bytes_max` bytes from the front of `input`; `None` while it is not complete. Until
/// then only its head is looked at, however its bytes come. Options and payload are slices of what was read.
///
/// # Errors
/// When no message begins here, or one that is too long: its head alone tells.
pub fn decode(input: &mut BytesMut, message_bytes_max: usize) -> Result<Option<Message>, StreamError> {
    let Some(head) = read_head(input, message_bytes_max)? else { return Ok(None) };
    let message_bytes = head.bytes + head.token_bytes + head.body_bytes;
    if input.len() < message_bytes {
        return Ok(None);
    }
    let mut rest = input.split_to(message_bytes).freeze();
    rest.advance(head.bytes);
    read_rest(&head, rest).map(Some)
}

/// Reads the one message that a message of WebSocket is.
///
/// # Errors
/// When it is none.
pub fn decode_whole(bytes: &Bytes) -> Result<Message, StreamError> {
    const SHORT: StreamError = malformed("a message that is cut short (RFC 8323 §4.2)");
    if bytes.first().is_some_and(|first| first >> 4 != 0) {
        return Err(malformed("a length of its own inside WebSocket: Len is 0 there (RFC 8323 §4.2)"));
    }
    let mut head = read_head(bytes, usize::MAX)?.ok_or(SHORT)?;
    let rest = bytes.slice(head.bytes..);
    head.body_bytes = rest.len().checked_sub(head.token_bytes).ok_or(SHORT)?;
    read_rest(&head, rest)
}

/// The head at the front of `bytes`, as soon as it is complete.
fn read_head(bytes: &[u8], message_bytes_max: usize) -> Result<Option<Head>, StreamError> {
    let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
    let (length_nibble, token_nibble) = (first >> 4, first & 0b1111);
    if token_nibble > EXTENDED_16 {
        return Err(malformed("15 as a token's length (RFC 8974 §2.1)"));
    }
    let Some((body_bytes, rest)) = read_extended(length_nibble, rest) else { return Ok(None) };
    if body_bytes > message_bytes_max {
        return Err(too_large());
    }
    let Some((&code, rest)) = rest.split_first() else { return Ok(None) };
    let Some((token_bytes, rest)) = read_extended(token_nibble, rest) else { return Ok(None) };
    if token_bytes > Token::BYTES_MAX {
        return Err(malformed("a token that is longer than tokens may be here"));
    }
    let head = Head { code: Code(code), bytes: bytes.len() - rest.len(), token_bytes, body_bytes };
    if head.bytes + token_bytes + body_bytes > message_bytes_max {
        return Err(too_large());
    }
    Ok(Some(head))
}

/// The number that a nibble and the bytes behind it are, and what follows; `None` while they are not there.
fn read_extended(nibble: u8, bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (length_bytes, from) = match nibble {
        EXTENDED_8 => (1, EXTENDED_8_FROM),
        EXTENDED_16 => (2, EXTENDED_16_FROM),
        EXTENDED_32 => (4, EXTENDED_32_FROM),
        direct => (0, usize::from(direct)),
    };
    let (number, rest) = bytes.split_at_checked(length_bytes)?;
    let number = number.iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
    Some((from.saturating_add(number), rest))
}

/// What follows the head.
fn read_rest(head: &Head, mut rest: Bytes) -> Result<Message, StreamError> {
    // There are no acknowledgements here: what is said arrives, or the connection ends (RFC 8323 §3.3).
    let mut message = Message::new(Kind::Confirmable, head.code, 0);
    if head.code == Code::EMPTY {
        // It can always be sent and says nothing, whatever is in it (RFC 8323 §5.4).
        return Ok(message);
    }
    if matches!(head.code.class(), 1 | 6) {
        return Err(malformed("a code of a reserved class (§12.1)"));
    }
    message.token = Token::new(&rest.split_to(head.token_bytes)).unwrap_or_default();
    read_options(&mut message.options, &mut rest).map_err(malformed)?;
    message.payload = rest;
    Ok(message)
}

const fn malformed(text: &'static str) -> StreamError {
    StreamError { text, is_too_large: false }
}

fn too_large() -> StreamError {
    StreamError { text: "a message that is longer than Max-Message-Size (RFC 8323 §5.3.1)", is_too_large: true }
}

/// Appends a message to a byte stream. Kind and id are not written; large payloads are shared.
pub fn encode(message: &Message, out: &mut OutBuffer) {
    let start = out.begin_frame();
    write_options(&message.options, out.tail());
    if !message.payload.is_empty() {
        out.tail().push(PAYLOAD_MARKER);
        out.put_payload(&message.payload);
    }
    let head = head(message, out.frame_bytes(&start));
    out.end_frame(start, &head);
}

/// Appends a message as one of WebSocket.
pub fn encode_whole(message: &Message, out: &mut Vec<u8>) {
    out.extend_from_slice(&head(message, 0));
    write_options(&message.options, out);
    if !message.payload.is_empty() {
        out.push(PAYLOAD_MARKER);
        out.extend_from_slice(&message.payload);
    }
}

/// How long a message is on a byte stream; what Max-Message-Size bounds.
pub fn encoded_bytes(message: &Message) -> usize {
    let mut body_bytes = message.payload.len() + usize::from(!message.payload.is_empty());
    let mut before = 0;
    for (number, value) in message.options.iter() {
        body_bytes += 1 + extended_bytes(usize::from(number - before)) + extended_bytes(value.len()) + value.len();
        before = *number;
    }
    head(message, body_bytes).len() + body_bytes
}

/// Everything before the options.
fn head(message: &Message, body_bytes: usize) -> SmallVec<[u8; 64]> {
    let token = message.token.as_slice();
    let (length_nibble, token_nibble) = match body_bytes {
        EXTENDED_32_FROM.. => (EXTENDED_32, nibble(token.len())),
        _ => (nibble(body_bytes), nibble(token.len())),
    };
    let mut head = SmallVec::new();
    head.push(length_nibble << 4 | token_nibble);
    match length_nibble {
        EXTENDED_32 => head.extend_from_slice(&((body_bytes - EXTENDED_32_FROM) as u32).to_be_bytes()),
        _ => write_extended(length_nibble, body_bytes, &mut head),
    }
    head.push(message.code.0);
    write_extended(token_nibble, token.len(), &mut head);
    head.extend_from_slice(token);
    head
}
