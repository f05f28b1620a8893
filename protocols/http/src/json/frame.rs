//! Binary messages: an object and a payload that needs no encoding.

use althing_core::WholeMessage;
use althing_core::verbs::{Reason, Refusal};
use bytes::Bytes;

/// The length of the object stands in so many bytes, most significant first.
pub const HEADER_LENGTH_BYTES: usize = 4;

/// The object of a message, and the payload behind it in a binary one.
///
/// # Errors
/// When a binary message is shorter than it says, or its object is no UTF-8.
pub fn split(message: &WholeMessage) -> Result<(&str, Option<Bytes>), Refusal> {
    if message.is_text {
        return text(&message.bytes).map(|text| (text, None));
    }
    let Some((length, rest)) = message.bytes.split_first_chunk::<HEADER_LENGTH_BYTES>() else {
        return Err(malformed("a binary message begins with the length of its object, in 4 bytes"));
    };
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    let Some(object) = rest.get(..length) else {
        let text = format!("the object of a binary message is {length} bytes long, and {} have come", rest.len());
        return Err(Refusal::new(Reason::Malformed, text));
    };
    Ok((text(object)?, Some(message.bytes.slice(HEADER_LENGTH_BYTES + length..))))
}

/// A binary message of an object and a payload; `None` for an object of 4 GiB.
pub fn join(object: &[u8], payload: &[u8]) -> Option<Bytes> {
    let length = u32::try_from(object.len()).ok()?;
    let mut bytes = Vec::with_capacity(HEADER_LENGTH_BYTES + object.len() + payload.len());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(object);
    bytes.extend_from_slice(payload);
    Some(bytes.into())
}

fn text(bytes: &[u8]) -> Result<&str, Refusal> {
    std::str::from_utf8(bytes).map_err(|_| malformed("an object is UTF-8 text"))
}

fn malformed(text: &'static str) -> Refusal {
    Refusal::new(Reason::Malformed, text)
}
