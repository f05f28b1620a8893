//! The data representations of §1.5: integers, strings, binary data.

use super::DecodeError;
use bytes::{Buf, Bytes};
use bytestring::ByteString;

/// The largest variable byte integer: four bytes of seven bits (§1.5.5).
pub(super) const VARIABLE_INT_MAX: u32 = 268_435_455;

const TOO_SHORT: DecodeError = DecodeError::malformed("the packet ends in the middle of a field");

/// A variable byte integer as it stands on the wire.
#[derive(Clone, Copy)]
pub(crate) struct VariableInt {
    pub value: u32,
    pub size: usize,
    /// Not the minimum number of bytes, which version 5 forbids ([MQTT-1.5.5-1]).
    pub overlong: bool,
}

/// Reads a variable byte integer from the front of `bytes`; `None` when they end before it does.
pub(crate) fn variable_int(bytes: &[u8]) -> Result<Option<VariableInt>, DecodeError> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some(VariableInt { value, size: index + 1, overlong: index > 0 && *byte == 0 }));
        }
    }
    if bytes.len() < 4 {
        Ok(None)
    } else {
        Err(DecodeError::malformed("a variable byte integer has more than four bytes"))
    }
}

/// How many bytes `value` takes as a variable byte integer.
pub(super) fn variable_int_size(value: usize) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}

/// The encoding of `value`, of which at most 28 bits are written, and its size.
fn encoded_variable_int(value: usize) -> ([u8; 4], usize) {
    let size = variable_int_size(value);
    let mut bytes = [0; 4];
    for (index, byte) in bytes.iter_mut().enumerate().take(size) {
        let more = if index + 1 < size { 0x80 } else { 0 };
        *byte = (value >> (7 * index)) as u8 & 0x7F | more;
    }
    (bytes, size)
}

/// Appends `value` as a variable byte integer.
pub(super) fn put_variable_int(output: &mut Vec<u8>, value: usize) {
    let (bytes, size) = encoded_variable_int(value);
    output.extend_from_slice(&bytes[..size]);
}

/// §2.2.1: never 0.
pub(super) fn nonzero_packet_id(id: u16) -> Result<u16, DecodeError> {
    if id == 0 { Err(DecodeError::protocol("a packet identifier must not be 0")) } else { Ok(id) }
}

/// Reads the fields of one packet, all of whose bytes are there. Strings and binary data are slices of its memory.
pub(crate) struct Reader {
    bytes: Bytes,
}

impl Reader {
    pub fn new(bytes: Bytes) -> Self {
        Self { bytes }
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes that have not been read.
    pub fn remaining(&self) -> usize {
        self.bytes.len()
    }

    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        self.bytes.try_get_u8().map_err(|_| TOO_SHORT)
    }

    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        self.bytes.try_get_u16().map_err(|_| TOO_SHORT)
    }

    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.bytes.try_get_u32().map_err(|_| TOO_SHORT)
    }

    /// §2.2.1
    pub fn packet_id(&mut self) -> Result<u16, DecodeError> {
        nonzero_packet_id(self.u16()?)
    }

    /// §1.5.5, for the fields of version 5.
    pub fn variable_int(&mut self) -> Result<u32, DecodeError> {
        let int = variable_int(&self.bytes)?.ok_or(TOO_SHORT)?;
        if int.overlong {
            return Err(DecodeError::malformed("a variable byte integer is longer than needed"));
        }
        self.bytes.advance(int.size);
        Ok(int.value)
    }

    pub fn take(&mut self, length: usize) -> Result<Bytes, DecodeError> {
        if length > self.bytes.len() {
            return Err(TOO_SHORT);
        }
        Ok(self.bytes.split_to(length))
    }

    /// §1.5.6
    pub fn binary(&mut self) -> Result<Bytes, DecodeError> {
        let length = self.u16()?;
        self.take(length.into())
    }

    /// UTF-8 that may still hold U+0000: for topic names, whose own check finds it in the same pass
    /// as everything else.
    pub fn topic_text(&mut self) -> Result<ByteString, DecodeError> {
        // [MQTT-1.5.4-1]: the encoded surrogates U+D800 to U+DFFF are no UTF-8 for Rust either.
        ByteString::try_from(self.binary()?).map_err(|_| DecodeError::malformed("a string is not UTF-8"))
    }

    /// §1.5.4
    pub fn string(&mut self) -> Result<ByteString, DecodeError> {
        let text = self.topic_text()?;
        if text.as_bytes().contains(&0) {
            // [MQTT-1.5.4-2]
            return Err(DecodeError::malformed("a string contains U+0000"));
        }
        Ok(text)
    }

    /// §1.5.7
    pub fn string_pair(&mut self) -> Result<(ByteString, ByteString), DecodeError> {
        Ok((self.string()?, self.string()?))
    }

    /// What is left, for the payload of PUBLISH and lists of codes.
    pub fn rest(self) -> Bytes {
        self.bytes
    }

    /// Nothing may follow the last field.
    pub fn finish(self) -> Result<(), DecodeError> {
        if self.bytes.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::malformed("the packet has bytes after its last field"))
        }
    }
}

/// What of `text` fits a UTF-8 string: 65,535 bytes, cut between characters.
pub(super) fn clipped(text: &str) -> &str {
    &text[..text.floor_char_boundary(u16::MAX.into())]
}

/// Appends a UTF-8 string.
pub(super) fn put_string(output: &mut Vec<u8>, text: &str) {
    put_binary(output, clipped(text).as_bytes());
}

/// Appends binary data, of which at most 65,535 bytes are written.
pub(super) fn put_binary(output: &mut Vec<u8>, data: &[u8]) {
    let data = &data[..data.len().min(u16::MAX.into())];
    output.extend_from_slice(&(data.len() as u16).to_be_bytes());
    output.extend_from_slice(data);
}

/// Appends what `write` appends, preceded by its length as a variable byte integer.
pub(super) fn put_with_length(output: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = output.len();
    // Most lengths take one byte; the others move what was written.
    output.push(0);
    write(output);
    let (bytes, size) = encoded_variable_int(output.len() - start - 1);
    output.splice(start..start + 1, bytes[..size].iter().copied());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Table 1-1: where a variable byte integer grows.
    #[test]
    fn variable_ints_take_the_minimum_of_bytes() {
        for (value, size) in [
            (0, 1),
            (127, 1),
            (128, 2),
            (16_383, 2),
            (16_384, 3),
            (2_097_151, 3),
            (2_097_152, 4),
            (VARIABLE_INT_MAX as usize, 4),
        ] {
            let mut output = Vec::new();
            put_variable_int(&mut output, value);
            assert_eq!(output.len(), size, "{value}");
            assert_eq!(variable_int_size(value), size, "{value}");
            let int = variable_int(&output).unwrap().unwrap();
            assert_eq!((int.value as usize, int.size, int.overlong), (value, size, false));
            assert!(variable_int(&output[..size - 1]).unwrap().is_none());
        }
    }

    #[test]
    fn a_length_stands_before_what_it_counts() {
        for (length, prefix) in [(0, &[0][..]), (127, &[127]), (128, &[0x80, 1]), (20_000, &[0xA0, 0x9C, 1])] {
            let mut output = b"before".to_vec();
            put_with_length(&mut output, |output| output.extend(std::iter::repeat_n(b'x', length)));
            assert_eq!(output, [b"before", prefix, &vec![b'x'; length]].concat());
        }
    }
}
