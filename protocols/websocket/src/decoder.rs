//! Payloads, taken out of their frames in the memory that they came in.
//!
//! A stream of frames is turned into a stream of payload by moving each payload over the header before it: what is
//! handed on is contiguous, nothing is copied elsewhere, and every byte is looked at once, however frames and reads are
//! split or joined.

use crate::close::CloseCode;
use crate::frame::{CONTROL_BYTES_MAX, FrameError, Header, Opcode, Side, apply_mask};
use crate::utf8::Utf8;
use bytes::{Buf, BytesMut};

/// What is known of the frame and the message under way.
#[derive(Debug, Default)]
pub struct Decoder {
    /// Payload of the frame under way that has not come.
    frame_bytes: u64,
    /// Payload that the message under way has had so far, whole frames as soon as their header is known.
    message_bytes: u64,
    /// For the next byte of the payload.
    mask: [u8; 4],
    utf8: Utf8,
    message: Option<Kind>,
    within_frame: bool,
    /// Whether the frame under way ends its message.
    fin: bool,
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Text; binary otherwise.
    pub is_text: bool,
    /// RFC 7692 §6.
    pub is_compressed: bool,
}

/// What is allowed.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Whose decoder this is.
    pub side: Side,
    /// Whether compression was agreed on.
    pub may_compress: bool,
    /// Whether messages may be text.
    pub may_be_text: bool,
    /// The longest message.
    pub message_bytes_max: u64,
}

/// What was taken out.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// A frame of a message that goes on.
    Part,
    /// The last frame of a message.
    End(Kind),
    /// Ping, Pong or Close.
    Control(Opcode, Control),
}

/// The payload of a control frame.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Control {
    bytes: [u8; CONTROL_BYTES_MAX],
    len: u8,
}

impl Control {
    /// All of it.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.payload().fmt(f)
    }
}

/// A buffer that begins with payload that was taken out already.
#[derive(Debug)]
pub struct Window<'a> {
    input: &'a mut BytesMut,
    /// Where payload ends.
    plain: usize,
    /// Where frames begin; what lies between is nothing any more.
    next: usize,
}

impl<'a> Window<'a> {
    /// On `input`, whose first `plain` bytes are payload.
    pub fn new(input: &'a mut BytesMut, plain: usize) -> Self {
        Self { input, plain, next: plain }
    }

    /// Takes the payload out.
    pub fn split(&mut self) -> BytesMut {
        let payload = self.input.split_to(self.plain);
        self.input.advance(self.next - self.plain);
        (self.plain, self.next) = (0, 0);
        payload
    }

    /// Closes the gap between payload and frames. Returns how many bytes of payload the buffer begins with.
    pub fn close(self) -> usize {
        if self.next > self.plain {
            let rest = self.input.len() - self.next;
            self.input.copy_within(self.next.., self.plain);
            self.input.truncate(self.plain + rest);
        }
        self.plain
    }

    fn skip(&mut self, bytes: usize) {
        self.next += bytes;
        if self.plain == 0 {
            self.input.advance(self.next);
            self.next = 0;
        }
    }

    fn take(&mut self, bytes: usize) -> &mut [u8] {
        let plain = self.plain;
        if self.next > plain {
            self.input.copy_within(self.next..self.next + bytes, plain);
        }
        self.plain += bytes;
        self.next += bytes;
        &mut self.input[plain..self.plain]
    }
}

impl Decoder {
    /// Takes out the next frame, or as much of it as has come; `None` when there is no more. A control frame is left
    /// where it is until it is complete. After an error the connection is over; what was payload before the mistake is.
    pub fn next(&mut self, rules: &Rules, window: &mut Window<'_>) -> Result<Option<Piece>, FrameError> {
        if !self.within_frame {
            let bytes = &window.input[window.next..];
            let Some((header, size)) = Header::parse(rules.side, bytes)? else { return Ok(None) };
            if header.opcode.is_control() {
                let size = size + header.length as usize;
                let Some(frame) = bytes.get(..size) else { return Ok(None) };
                let control = control(frame, &header);
                window.skip(size);
                return Ok(Some(Piece::Control(header.opcode, control)));
            }
            self.begin(rules, &header)?;
            window.skip(size);
        }
        self.take_payload(window)?;
        if self.frame_bytes > 0 {
            return Ok(None);
        }
        self.within_frame = false;
        if !self.fin {
            return Ok(Some(Piece::Part));
        }
        self.message_bytes = 0;
        if !self.utf8.end() {
            return Err(NOT_UTF8);
        }
        // A frame is begun within a message only.
        Ok(self.message.take().map(Piece::End))
    }

    /// Whether a message has begun and not ended.
    pub fn is_within_message(&self) -> bool {
        self.message.is_some()
    }

    /// A frame of data: what it continues or begins (§5.4).
    fn begin(&mut self, rules: &Rules, header: &Header) -> Result<(), FrameError> {
        let is_text = match (header.opcode, &self.message) {
            (Opcode::Continuation, Some(_)) if header.compressed => {
                return Err(FrameError::protocol("RSV1 within a message (RFC 7692 §6.1)"));
            }
            (Opcode::Continuation, Some(kind)) => kind.is_text,
            (Opcode::Continuation, None) => {
                return Err(FrameError::protocol("a continuation of no message (RFC 6455 §5.4)"));
            }
            (_, Some(_)) => return Err(FrameError::protocol("a new message within another one (RFC 6455 §5.4)")),
            (opcode, None) => opcode == Opcode::Text,
        };
        if is_text && !rules.may_be_text {
            let text = "a text frame, where only binary ones are allowed";
            return Err(FrameError { code: CloseCode::UNSUPPORTED_DATA, text });
        }
        if header.compressed && !rules.may_compress {
            return Err(FrameError::protocol("RSV1 without an extension that gives it a meaning (RFC 6455 §5.2)"));
        }
        self.message_bytes = self.message_bytes.saturating_add(header.length);
        if self.message_bytes > rules.message_bytes_max {
            return Err(FrameError::too_big("a message longer than allowed"));
        }
        self.message.get_or_insert(Kind { is_text, is_compressed: header.compressed });
        self.within_frame = true;
        self.fin = header.fin;
        self.frame_bytes = header.length;
        self.mask = header.mask.unwrap_or_default();
        Ok(())
    }

    fn take_payload(&mut self, window: &mut Window<'_>) -> Result<(), FrameError> {
        let here = window.input.len() - window.next;
        let bytes = usize::try_from(self.frame_bytes).map_or(here, |frame_bytes| frame_bytes.min(here));
        if bytes == 0 {
            return Ok(());
        }
        let payload = window.take(bytes);
        if self.mask != [0; 4] {
            apply_mask(payload, self.mask);
            self.mask.rotate_left(bytes % 4);
        }
        self.frame_bytes -= bytes as u64;
        if self.message.is_some_and(|kind| kind.is_text && !kind.is_compressed)
            && let Err(valid) = self.utf8.push(payload)
        {
            // What came before the mistake counts, however it was split.
            window.plain -= bytes - valid;
            return Err(NOT_UTF8);
        }
        Ok(())
    }
}

const NOT_UTF8: FrameError = FrameError::not_utf8("a text message is UTF-8, and this one is not (RFC 6455 §8.1)");

fn control(frame: &[u8], header: &Header) -> Control {
    let payload = &frame[frame.len() - header.length as usize..];
    // The header was refused if the length were above 125.
    let mut control = Control { bytes: [0; CONTROL_BYTES_MAX], len: payload.len() as u8 };
    control.bytes[..payload.len()].copy_from_slice(payload);
    apply_mask(&mut control.bytes[..payload.len()], header.mask.unwrap_or_default());
    control
}
