//! What happened in a world, as text: the last lines for people, a hash of all lines for comparing runs.

use std::collections::VecDeque;
use std::fmt::{self, Write};

/// How many lines are kept for people, unless more are asked for.
const LINES_KEPT: usize = 160;
/// Longer lines are cut: a trace is read by people.
const LINE_BYTES_MAX: usize = 400;

/// The record of one world. Two worlds with the same seed have the same hash.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    count: u64,
    line: String,
    lines: VecDeque<String>,
    lines_kept: usize,
}

impl Default for Trace {
    fn default() -> Self {
        Self {
            hash: 0xcbf2_9ce4_8422_2325,
            count: 0,
            line: String::new(),
            lines: VecDeque::new(),
            lines_kept: LINES_KEPT,
        }
    }
}

impl Trace {
    /// Keeps this many of the last lines.
    pub fn keep_lines(&mut self, lines_kept: usize) {
        self.lines_kept = lines_kept;
    }

    /// Adds one line.
    pub fn note(&mut self, text: fmt::Arguments<'_>) {
        self.line.clear();
        let _ = Cut(&mut self.line).write_fmt(text); // fails where the line is cut
        // FNV-1a: short and good enough to notice a difference.
        for byte in self.line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self.count += 1;
        let mut kept =
            if self.lines.len() == self.lines_kept { self.lines.pop_front() } else { None }.unwrap_or_default();
        kept.clear();
        let _ = write!(kept, "{:>6} {}", self.count, self.line); // writing to a String cannot fail
        self.lines.push_back(kept);
    }

    /// Of every line so far, in order.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Lines so far.
    pub fn count(&self) -> u64 {
        self.count
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// Takes the first [`LINE_BYTES_MAX`] bytes and ends the formatting there: payloads may be large.
struct Cut<'a>(&'a mut String);

impl Write for Cut<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = LINE_BYTES_MAX - self.0.len().min(LINE_BYTES_MAX);
        if text.len() <= room {
            self.0.push_str(text);
            return Ok(());
        }
        let cut = (0..=room).rev().find(|&at| text.is_char_boundary(at));
        self.0.push_str(&text[..cut.unwrap_or(0)]);
        Err(fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_knows_every_line_and_their_order() {
        let hash = |lines: &[&str]| {
            let mut trace = Trace::default();
            lines.iter().for_each(|line| trace.note(format_args!("{line}")));
            trace.hash()
        };
        assert_eq!(hash(&["a", "b"]), hash(&["a", "b"]));
        assert_ne!(hash(&["a", "b"]), hash(&["b", "a"]));
        assert_ne!(hash(&["a"]), hash(&["a", ""].map(|line| if line.is_empty() { "c" } else { line })));
    }

    #[test]
    fn long_lines_are_cut_between_characters() {
        let mut trace = Trace::default();
        trace.note(format_args!("{}", "ä".repeat(1_000)));
        assert_eq!(trace.to_string(), format!("{:>6} {}\n", 1, "ä".repeat(LINE_BYTES_MAX / 2)));
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        let mut trace = Trace::default();
        (0..1_000).for_each(|line| trace.note(format_args!("line {line}")));
        let text = trace.to_string();
        assert_eq!(text.lines().count(), LINES_KEPT);
        assert!(text.ends_with("line 999\n") && trace.count() == 1_000);
    }
}
