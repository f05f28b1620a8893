//! From bytes to frames.

use super::{DecodeError, FrameLimits};
use crate::frame::{Command, Frame, Headers};
use bytes::{Buf, Bytes, BytesMut};
use bytestring::ByteString;

/// Takes frames from the front of a buffer and remembers how far it has looked, so that no byte is looked
/// at twice however slowly a frame comes. After an error it is of no further use.
#[derive(Debug, Default)]
pub struct Decoder {
    /// Bytes at the front of the input that are known: in the head without an empty line, in the body
    /// without NUL.
    scanned: usize,
    /// Where the line under way begins.
    line_start: usize,
    /// Complete lines of the head, its command included.
    lines: usize,
    /// The head, once it is complete; the input then begins with the body.
    head: Option<Box<Head>>,
}

#[derive(Debug)]
struct Head {
    command: Command,
    headers: Headers,
    content_length: Option<usize>,
}

/// The longest command, and a carriage return.
const COMMAND_BYTES_MAX: usize = "UNSUBSCRIBE\r".len();

impl Decoder {
    /// The next frame, or `None` while it is incomplete. Line ends between frames are passed over: they are
    /// heart-beats ("Heart-beating").
    pub fn decode(&mut self, limits: &FrameLimits, input: &mut BytesMut) -> Result<Option<Frame>, DecodeError> {
        if self.head.is_none() && !self.take_head(limits, input)? {
            return Ok(None);
        }
        let Some(length) = self.body_length(limits, input)? else { return Ok(None) };
        let Some(head) = self.head.take() else { return Ok(None) };
        let body = input.split_to(length).freeze();
        input.advance(1);
        self.scanned = 0;
        Ok(Some(Frame { command: head.command, headers: head.headers, body }))
    }

    /// Whether a frame has begun that is not complete. `input` is what the last call left.
    pub fn is_within_frame(&self, input: &[u8]) -> bool {
        self.head.is_some() || !input.is_empty()
    }

    /// The receipt that the frame under way asks for, as far as that is known, for the ERROR about it.
    pub fn receipt(&self) -> Option<&ByteString> {
        self.head.as_ref()?.headers.get("receipt")
    }

    /// Takes the command and the headers; false while they are incomplete.
    fn take_head(&mut self, limits: &FrameLimits, input: &mut BytesMut) -> Result<bool, DecodeError> {
        if self.scanned == 0 && !skip_line_ends(input)? {
            return Ok(false);
        }
        while let Some(length) = input[self.scanned..].iter().position(|byte| *byte == b'\n') {
            let end = self.scanned + length;
            let line = without_carriage_return(&input[self.line_start..end]);
            if self.lines == 0 && Command::from_line(line).is_none() {
                return Err(UNKNOWN_COMMAND);
            }
            self.scanned = end + 1;
            if self.scanned > limits.header_bytes_max {
                return Err(HEAD_TOO_LARGE);
            }
            if line.is_empty() {
                let head = input.split_to(self.scanned).freeze();
                self.head = Some(Box::new(parse_head(head)?));
                (self.scanned, self.line_start, self.lines) = (0, 0, 0);
                return Ok(true);
            }
            self.line_start = self.scanned;
            self.lines += 1;
            if self.lines > limits.headers_max + 1 {
                return Err(DecodeError::too_large("a frame with more headers than allowed"));
            }
        }
        self.scanned = input.len();
        if self.lines == 0 && self.scanned > COMMAND_BYTES_MAX {
            return Err(UNKNOWN_COMMAND);
        }
        if self.scanned > limits.header_bytes_max {
            return Err(HEAD_TOO_LARGE);
        }
        Ok(false)
    }

    /// How long the body is, once it is here with the NUL behind it.
    fn body_length(&mut self, limits: &FrameLimits, input: &[u8]) -> Result<Option<usize>, DecodeError> {
        let Some(head) = &self.head else { return Ok(None) };
        let bound = if head.command.may_have_body() { limits.body_bytes_max } else { 0 };
        let over = if bound == 0 { BODY_NOT_ALLOWED } else { BODY_TOO_LARGE };
        if let Some(length) = head.content_length {
            if length > bound {
                return Err(over);
            }
            return match input.get(length) {
                None => Ok(None),
                Some(0) => Ok(Some(length)),
                Some(_) => Err(DecodeError::malformed("no NUL follows as many bytes as content-length says")),
            };
        }
        match input[self.scanned..].iter().position(|byte| *byte == 0) {
            Some(length) if self.scanned + length <= bound => Ok(Some(self.scanned + length)),
            None if input.len() <= bound => {
                self.scanned = input.len();
                Ok(None)
            }
            _ => Err(over),
        }
    }
}

const UNKNOWN_COMMAND: DecodeError = DecodeError::malformed("a frame that does not begin with a command of STOMP 1.2");
const HEAD_TOO_LARGE: DecodeError = DecodeError::too_large("a frame with longer headers than allowed");
const BODY_TOO_LARGE: DecodeError = DecodeError::too_large("a frame with a longer body than allowed");
const BODY_NOT_ALLOWED: DecodeError = DecodeError::malformed("only SEND, MESSAGE and ERROR have a body");

/// Passes over line ends before a frame; false when nothing, or half a line end, is left.
fn skip_line_ends(input: &mut BytesMut) -> Result<bool, DecodeError> {
    let mut count = 0;
    loop {
        match (input.get(count), input.get(count + 1)) {
            (Some(b'\n'), _) => count += 1,
            (Some(b'\r'), Some(b'\n')) => count += 2,
            (Some(b'\r'), Some(_)) => return Err(UNKNOWN_COMMAND),
            (Some(b'\r'), None) | (None, _) => {
                input.advance(count);
                return Ok(false);
            }
            (Some(_), _) => {
                input.advance(count);
                return Ok(true);
            }
        }
    }
}

pub(crate) fn without_carriage_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// A complete head, its empty line included.
fn parse_head(head: Bytes) -> Result<Head, DecodeError> {
    let text =
        ByteString::try_from(head).map_err(|_| DecodeError::malformed("headers are UTF-8, and these are not"))?;
    let mut lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    let command = lines.next().and_then(|line| Command::from_line(line.as_bytes())).ok_or(UNKNOWN_COMMAND)?;
    let (mut headers, mut content_length) = (Vec::new(), None);
    for line in lines.take_while(|line| !line.is_empty()) {
        let Some((name, value)) = line.split_once(':').filter(|(name, _)| !name.is_empty()) else {
            return Err(DecodeError::malformed("a header is NAME:VALUE"));
        };
        if line.contains(['\r', '\0']) {
            return Err(DecodeError::malformed("a carriage return or NUL within a header"));
        }
        if name == "content-length" {
            content_length = content_length.map_or_else(|| parse_length(value), Ok).map(Some)?;
            continue;
        }
        let escaped = command.is_escaped();
        headers.push((unescape(&text, name, escaped)?, unescape(&text, value, escaped)?));
    }
    Ok(Head { command, headers: Headers(headers), content_length })
}

fn parse_length(value: &str) -> Result<usize, DecodeError> {
    let digits = Some(value).filter(|value| value.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|digits| digits.parse().ok()).ok_or(DecodeError::malformed("content-length is a number of bytes"))
}

/// "Value Encoding". What has no escapes stays a part of `text`, without a copy.
pub(crate) fn unescape(text: &ByteString, part: &str, escaped: bool) -> Result<ByteString, DecodeError> {
    if !escaped || !part.contains('\\') {
        return Ok(text.slice_ref(part));
    }
    let mut plain = String::with_capacity(part.len());
    let mut rest = part.chars();
    while let Some(character) = rest.next() {
        plain.push(match character {
            '\\' => match rest.next() {
                Some('n') => '\n',
                Some('r') => '\r',
                Some('c') => ':',
                Some('\\') => '\\',
                _ => return Err(DecodeError::malformed("the escapes in headers are \\n, \\r, \\c and \\\\")),
            },
            other => other,
        });
    }
    Ok(plain.into())
}
