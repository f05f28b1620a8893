//! One frame: its header, read and written, and its mask (§5.2, §5.3).

use crate::close::CloseCode;

/// The longest payload of a control frame (§5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

/// The longest header: two bytes, eight of a length and four of a mask.
pub const HEADER_BYTES_MAX: usize = 14;

/// Which end of the connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It takes masked frames and sends none.
    Server,
    /// It sends masked frames and takes none.
    Client,
}

/// What a frame is (§5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
#[repr(u8)]
pub enum Opcode {
    Continuation = 0x0,
    Text = 0x1,
    Binary = 0x2,
    Close = 0x8,
    Ping = 0x9,
    Pong = 0xA,
}

impl Opcode {
    fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return None,
        })
    }

    /// Of the two kinds of messages.
    pub fn of_message(is_text: bool) -> Self {
        if is_text { Self::Text } else { Self::Binary }
    }

    /// Close, Ping and Pong.
    pub fn is_control(self) -> bool {
        self as u8 >= 0x8
    }
}

/// Why a connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameError {
    /// For the peer.
    pub code: CloseCode,
    /// A sentence for people.
    pub text: &'static str,
}

impl FrameError {
    pub(crate) const fn protocol(text: &'static str) -> Self {
        Self { code: CloseCode::PROTOCOL_ERROR, text }
    }

    pub(crate) const fn not_utf8(text: &'static str) -> Self {
        Self { code: CloseCode::INVALID_PAYLOAD, text }
    }

    pub(crate) const fn too_big(text: &'static str) -> Self {
        Self { code: CloseCode::TOO_BIG, text }
    }
}

/// What stands before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whether it is the last frame of its message.
    pub fin: bool,
    /// RSV1: whether the message is compressed (RFC 7692 §6).
    pub compressed: bool,
    /// What it is.
    pub opcode: Opcode,
    /// What the payload is masked with.
    pub mask: Option<[u8; 4]>,
    /// How long the payload is.
    pub length: u64,
}

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const RSV2_AND_RSV3: u8 = 0x30;
const MASK: u8 = 0x80;

impl Header {
    /// A whole message, or a control frame, from a server.
    pub fn whole(opcode: Opcode, length: usize) -> Self {
        Self { fin: true, compressed: false, opcode, mask: None, length: length as u64 }
    }

    /// Reads a header and how long it is; `None` while it is incomplete. What is wrong is found as early as the bytes
    /// allow.
    pub fn parse(side: Side, bytes: &[u8]) -> Result<Option<(Self, usize)>, FrameError> {
        let Some(first) = bytes.first() else { return Ok(None) };
        let opcode = opcode(*first)?;
        let (fin, compressed) = (first & FIN != 0, first & RSV1 != 0);
        let Some(second) = bytes.get(1) else { return Ok(None) };
        let is_masked = second & MASK != 0;
        match (side, is_masked) {
            (Side::Server, false) => {
                return Err(FrameError::protocol("a client's frame without a mask (RFC 6455 §5.1)"));
            }
            (Side::Client, true) => return Err(FrameError::protocol("a server's frame with a mask (RFC 6455 §5.1)")),
            _ => {}
        }
        let short = second & !MASK;
        if opcode.is_control() {
            check_control(fin, compressed, short)?;
        }
        let (length, length_end) = match (short, &bytes[2..]) {
            (126, [a, b, ..]) => (u64::from(u16::from_be_bytes([*a, *b])), 4),
            (127, [a, b, c, d, e, f, g, h, ..]) => (u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]), 10),
            (126 | 127, _) => return Ok(None),
            _ => (u64::from(short), 2),
        };
        check_length(short, length)?;
        if !is_masked {
            return Ok(Some((Self { fin, compressed, opcode, mask: None, length }, length_end)));
        }
        let Some(mask) = bytes[length_end..].first_chunk() else { return Ok(None) };
        Ok(Some((Self { fin, compressed, opcode, mask: Some(*mask), length }, length_end + 4)))
    }

    /// Writes it; returns how many bytes of the array it has.
    pub fn write(&self) -> ([u8; HEADER_BYTES_MAX], usize) {
        let mut bytes = [0; HEADER_BYTES_MAX];
        bytes[0] = self.opcode as u8 | if self.fin { FIN } else { 0 } | if self.compressed { RSV1 } else { 0 };
        let mut end = match self.length {
            0..126 => {
                bytes[1] = self.length as u8;
                2
            }
            126..=0xFFFF => {
                bytes[1] = 126;
                bytes[2..4].copy_from_slice(&(self.length as u16).to_be_bytes());
                4
            }
            _ => {
                bytes[1] = 127;
                bytes[2..10].copy_from_slice(&self.length.to_be_bytes());
                10
            }
        };
        if let Some(mask) = self.mask {
            bytes[1] |= MASK;
            bytes[end..end + 4].copy_from_slice(&mask);
            end += 4;
        }
        (bytes, end)
    }
}

fn opcode(first: u8) -> Result<Opcode, FrameError> {
    if first & RSV2_AND_RSV3 != 0 {
        return Err(FrameError::protocol("a reserved bit that no extension has given a meaning (RFC 6455 §5.2)"));
    }
    Opcode::from_bits(first & 0x0F).ok_or(FrameError::protocol("an opcode that is not defined (RFC 6455 §5.2)"))
}

fn check_control(fin: bool, compressed: bool, short: u8) -> Result<(), FrameError> {
    if !fin {
        return Err(FrameError::protocol("a control frame in fragments (RFC 6455 §5.5)"));
    }
    if usize::from(short) > CONTROL_BYTES_MAX {
        return Err(FrameError::protocol("a control frame of more than 125 bytes (RFC 6455 §5.5)"));
    }
    if compressed {
        return Err(FrameError::protocol("a compressed control frame (RFC 7692 §6.1)"));
    }
    Ok(())
}

fn check_length(short: u8, length: u64) -> Result<(), FrameError> {
    match short {
        126 if length < 126 => Err(FrameError::protocol("a length in more bytes than it needs (RFC 6455 §5.2)")),
        127 if length <= 0xFFFF => Err(FrameError::protocol("a length in more bytes than it needs (RFC 6455 §5.2)")),
        127 if length >> 63 != 0 => Err(FrameError::protocol("a length of 2^63 bytes or more (RFC 6455 §5.2)")),
        _ => Ok(()),
    }
}

/// Masks or unmasks, which is the same (§5.3); eight bytes at a time.
pub fn apply_mask(bytes: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip([a, b, c, d, a, b, c]) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_is_applied_byte_by_byte_whatever_the_length() {
        for length in 0..40_usize {
            let plain: Vec<u8> = (0..length as u8).collect();
            let mut masked = plain.clone();
            apply_mask(&mut masked, [1, 2, 4, 8]);
            let expected: Vec<u8> =
                plain.iter().zip([1, 2, 4, 8].iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
            assert_eq!(masked, expected);
            apply_mask(&mut masked, [1, 2, 4, 8]);
            assert_eq!(masked, plain);
        }
    }

    #[test]
    fn a_header_is_read_as_it_was_written() {
        for length in [0, 1, 125, 126, 0xFFFF, 0x1_0000, (1 << 63) - 1] {
            for (side, mask) in [(Side::Server, Some([1, 2, 3, 4])), (Side::Client, None)] {
                let header = Header { fin: true, compressed: true, opcode: Opcode::Text, mask, length };
                let (bytes, end) = header.write();
                assert_eq!(Header::parse(side, &bytes[..end]), Ok(Some((header, end))));
                for part in 0..end {
                    assert_eq!(Header::parse(side, &bytes[..part]), Ok(None));
                }
            }
        }
    }
}
