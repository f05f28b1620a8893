//! Frames to bytes and back ("STOMP Frames", "Augmented BNF"). Total functions: whatever the bytes are, the
//! answer is a frame, "more bytes" or an error, in time linear in the bytes however they are split.
//!
//! Stricter than the grammar: no NUL in headers. More lenient: a colon within a header's value is taken as
//! itself, since the first one has already ended the name.

pub(crate) mod decode;
mod encode;

pub use decode::Decoder;
pub use encode::{HeadWriter, encode};

/// How large a frame may be ("Size Limits").
#[derive(Clone, Copy, Debug)]
pub struct FrameLimits {
    /// Header lines.
    pub headers_max: usize,
    /// Bytes of command and headers.
    pub header_bytes_max: usize,
    /// Bytes of the body.
    pub body_bytes_max: usize,
}

/// Why bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// Whether it is one, but larger than allowed.
    pub too_large: bool,
    /// A sentence for people.
    pub text: &'static str,
}

impl DecodeError {
    const fn malformed(text: &'static str) -> Self {
        Self { too_large: false, text }
    }

    const fn too_large(text: &'static str) -> Self {
        Self { too_large: true, text }
    }
}
