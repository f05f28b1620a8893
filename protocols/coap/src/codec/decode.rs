//! Bytes to messages.

use super::{EXTENDED_8, EXTENDED_8_FROM, EXTENDED_16, EXTENDED_16_FROM, PAYLOAD_MARKER, VERSION};
use crate::message::{Code, Kind, Message, Options, Token};
use bytes::Bytes;

/// Bytes that are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// Too short to be anything, or another version: silently ignored (§3).
    Foreign,
    /// A message format error: a confirmable message is rejected with a reset, any other is silently ignored
    /// (§4.2, §4.3).
    Malformed {
        /// How it was to be treated.
        kind: Kind,
        /// What a reset names.
        id: u16,
        /// Why, for the log.
        why: &'static str,
    },
}

/// Reads one datagram. Options and payload are slices of it.
///
/// # Errors
/// When the datagram is no message; see [`DecodeError`] for what to do then.
pub fn decode(datagram: &Bytes) -> Result<Message, DecodeError> {
    let [first, code, id_high, id_low, rest @ ..] = &datagram[..] else { return Err(DecodeError::Foreign) };
    if first >> 6 != VERSION {
        return Err(DecodeError::Foreign);
    }
    let kind = match first >> 4 & 0b11 {
        0 => Kind::Confirmable,
        1 => Kind::NonConfirmable,
        2 => Kind::Acknowledgement,
        _ => Kind::Reset,
    };
    let id = u16::from_be_bytes([*id_high, *id_low]);
    let mut message = Message::new(kind, Code(*code), id);
    let token_nibble = first & 0b1111;
    let end = datagram.len();
    read_body(&mut message, token_nibble, datagram.slice(end - rest.len()..))
        .map_err(|why| DecodeError::Malformed { kind, id, why })?;
    Ok(message)
}

/// What follows the header.
fn read_body(message: &mut Message, token_nibble: u8, mut body: Bytes) -> Result<(), &'static str> {
    if message.code == Code::EMPTY {
        return match token_nibble == 0 && body.is_empty() {
            true => Ok(()),
            false => Err("an empty message that is not empty (§4.1)"),
        };
    }
    if message.kind == Kind::Reset {
        return Err("a reset that is not empty (§4.2)");
    }
    if matches!(message.code.class(), 1 | 6 | 7) {
        return Err("a code of a reserved class (§3)");
    }
    message.token = read_token(token_nibble, &mut body)?;
    read_options(&mut message.options, &mut body)?;
    message.payload = body;
    Ok(())
}

/// Takes the rest of a token's length and the token from the front of `body` (RFC 8974 §2.1).
fn read_token(nibble: u8, body: &mut Bytes) -> Result<Token, &'static str> {
    let length = match nibble {
        15 => return Err("15 as a token's length (RFC 8974 §2.1)"),
        other => read_extended(other, body).map_err(|_| "a token's length is cut short (RFC 8974 §2.1)")?,
    };
    if body.len() < length {
        return Err("the token is cut short (§3)");
    }
    Token::new(&body.split_to(length)).ok_or("a token that is longer than tokens may be here (RFC 8974 §2.2)")
}

/// Options and payload, as they stand in a message behind its token.
pub(crate) fn decode_body(mut body: Bytes) -> Result<(Options, Bytes), &'static str> {
    let mut options = Options::default();
    read_options(&mut options, &mut body)?;
    Ok((options, body))
}

/// Takes options and payload marker from the front of `body`.
pub(super) fn read_options(options: &mut Options, body: &mut Bytes) -> Result<(), &'static str> {
    let mut number = 0;
    while let Some(&head) = body.first() {
        let _ = body.split_to(1);
        if head == PAYLOAD_MARKER {
            return if body.is_empty() { Err("a payload marker without a payload (§3)") } else { Ok(()) };
        }
        number += read_extended(head >> 4, body)?;
        let length = read_extended(head & 0b1111, body)?;
        let known = u16::try_from(number).map_err(|_| "an option number above 65,535 (§3.1)")?;
        if body.len() < length {
            return Err("an option is cut short (§3.1)");
        }
        options.add(known, body.split_to(length));
    }
    Ok(())
}

fn read_extended(nibble: u8, body: &mut Bytes) -> Result<usize, &'static str> {
    const SHORT: &str = "an option's head is cut short (§3.1)";
    match nibble {
        EXTENDED_8 => {
            let byte = *body.first().ok_or(SHORT)?;
            let _ = body.split_to(1);
            Ok(EXTENDED_8_FROM + usize::from(byte))
        }
        EXTENDED_16 => {
            let [high, low, ..] = body[..] else { return Err(SHORT) };
            let _ = body.split_to(2);
            Ok(EXTENDED_16_FROM + usize::from(u16::from_be_bytes([high, low])))
        }
        15 => Err("15 as an option's delta or length (§3.1)"),
        direct => Ok(usize::from(direct)),
    }
}
