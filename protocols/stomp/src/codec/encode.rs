//! From frames to bytes.

use crate::frame::{Command, Frame};
use althing_core::OutBuffer;
use std::io::Write;

/// Appends a frame.
pub fn encode(frame: &Frame, out: &mut OutBuffer) {
    let mut head = HeadWriter::new(frame.command, out.tail());
    for (name, value) in &frame.headers.0 {
        head.header(name, value);
    }
    head.end(frame.body.len());
    out.put_payload(&frame.body);
    out.tail().push(0);
}

/// Writes the command and the headers of a frame, piece by piece.
#[derive(Debug)]
pub struct HeadWriter<'a> {
    command: Command,
    out: &'a mut Vec<u8>,
}

impl<'a> HeadWriter<'a> {
    /// Begins a frame.
    pub fn new(command: Command, out: &'a mut Vec<u8>) -> Self {
        out.extend_from_slice(command.name().as_bytes());
        out.push(b'\n');
        Self { command, out }
    }

    /// A header. CONNECT and CONNECTED cannot say a line end, nor a colon in a name: a space stands there.
    pub fn header(&mut self, name: &str, value: &str) {
        self.text(name, true);
        self.out.push(b':');
        self.text(value, false);
        self.out.push(b'\n');
    }

    /// A header whose value needs no escapes.
    pub fn plain(&mut self, name: &str, value: std::fmt::Arguments<'_>) {
        // A vector takes every write.
        let _ = writeln!(self.out, "{name}:{value}");
    }

    /// A header whose value comes in two parts, the first of which needs no escapes.
    pub fn joined(&mut self, name: &str, prefix: &str, rest: &str) {
        self.out.extend_from_slice(name.as_bytes());
        self.out.push(b':');
        self.out.extend_from_slice(prefix.as_bytes());
        self.text(rest, false);
        self.out.push(b'\n');
    }

    /// Ends the head of a frame whose body, `body_len` bytes and NUL, follows.
    pub fn end(mut self, body_len: usize) {
        if self.command.may_have_body() {
            self.plain("content-length", format_args!("{body_len}"));
        }
        self.out.push(b'\n');
    }

    fn text(&mut self, text: &str, is_name: bool) {
        let escaped = self.command.is_escaped();
        for byte in text.bytes() {
            match byte {
                b':' if !escaped && !is_name => self.out.push(b':'),
                b'\\' if !escaped => self.out.push(b'\\'),
                b'\r' | b'\n' | b':' if !escaped => self.out.push(b' '),
                b'\r' => self.out.extend_from_slice(b"\\r"),
                b'\n' => self.out.extend_from_slice(b"\\n"),
                b':' => self.out.extend_from_slice(b"\\c"),
                b'\\' => self.out.extend_from_slice(b"\\\\"),
                other => self.out.push(other),
            }
        }
    }
}
