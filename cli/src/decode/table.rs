//! An annotation as a table for the terminal.

use althing_core::annotation::{Annotation, Field, Mistake, count};

/// Bytes a line.
const BYTES: usize = 8;
/// What the bytes of a line take: two digits each, and spaces between them.
const BYTES_WIDTH: usize = BYTES * 3 - 1;
/// Where a value wraps.
const VALUE_WIDTH: usize = 44;
/// Lines that one field may take; what does not fit is counted.
const LINES_MAX: usize = 8;

/// Colours, or none.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    is_coloured: bool,
}

/// Escape sequences of the terminal (ECMA-48 §8.3.117).
const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "1;31";
const CYAN: &str = "36";

impl Style {
    /// With colours or without.
    pub fn new(is_coloured: bool) -> Self {
        Self { is_coloured }
    }

    /// `text` in at least `width` columns.
    fn paint(self, code: &str, text: &str, width: usize) -> String {
        let padding = " ".repeat(width.saturating_sub(text.chars().count()));
        if self.is_coloured && !text.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m{padding}")
        } else {
            format!("{text}{padding}")
        }
    }
}

/// Appends a packet that begins at `start` of `bytes`.
pub fn write(text: &mut String, annotation: &Annotation, bytes: &[u8], start: usize, style: Style) {
    let name = annotation.name.unwrap_or("?");
    let size = count(annotation.length_bytes, "byte");
    text.push_str(&format!("{}, {size}, {}\n", style.paint(BOLD, name, 0), annotation.version));
    let table = Table { bytes, start, style, widths: Widths::of(annotation) };
    let mut previous = None;
    for field in &annotation.fields {
        let is_same_byte = field.bits.is_some() && previous == Some(field.offset);
        table.field(text, field, is_same_byte);
        previous = field.bits.map(|_| field.offset);
    }
    if let Some(mistake) = &annotation.mistake {
        table.mistake(text, annotation, mistake);
    }
}

/// Appends what the section numbers are numbers of.
pub fn write_specifications(text: &mut String, annotations: &[Annotation], style: Style) {
    let mut specifications: Vec<&str> = annotations.iter().map(|annotation| annotation.specification).collect();
    specifications.dedup();
    let note = format!("The last column names sections of {}.", specifications.join(" and "));
    text.push_str(&format!("\n{}\n", style.paint(DIM, &note, 0)));
}

struct Widths {
    name: usize,
    value: usize,
}

impl Widths {
    fn of(annotation: &Annotation) -> Self {
        let width = |text: &str| text.chars().count();
        let fields = &annotation.fields;
        Self {
            name: fields.iter().map(|field| width(&field.name)).max().unwrap_or(0),
            value: fields.iter().map(|field| width(&field.value)).max().unwrap_or(0).min(VALUE_WIDTH),
        }
    }
}

struct Table<'a> {
    bytes: &'a [u8],
    start: usize,
    style: Style,
    widths: Widths,
}

impl Table<'_> {
    fn field(&self, text: &mut String, field: &Field, is_same_byte: bool) {
        let range = field.range();
        let bytes = &self.bytes[self.start..][range.clone()];
        let (offset, left) = match field.bits {
            None => (Some(self.start + range.start), hex_lines(bytes)),
            Some(bits) => {
                let byte = bytes.first().copied().unwrap_or(0);
                let shown = if is_same_byte { "  ".to_owned() } else { format!("{byte:02x}") };
                ((!is_same_byte).then_some(self.start + range.start), vec![format!("{shown}  {}", bits.pattern(byte))])
            }
        };
        let values = wrapped(&field.value);
        for line in 0..left.len().max(values.len()).max(1) {
            let part = |lines: &[String]| lines.get(line).cloned().unwrap_or_default();
            let offset = offset.map(|offset| (offset + line * BYTES).to_string());
            let offset = if line < left.len().max(1) { offset.unwrap_or_default() } else { String::new() };
            let (name, section) = if line == 0 { (&*field.name, &*field.section) } else { ("", "") };
            let cells = [
                self.style.paint(DIM, &format!("{offset:>6}"), 6),
                self.style.paint(CYAN, &part(&left), BYTES_WIDTH),
                self.style.paint(BOLD, name, self.widths.name),
                self.style.paint("0", &part(&values), self.widths.value),
                self.style.paint(DIM, section, 0),
            ];
            text.push_str(cells.join("  ").trim_end());
            text.push('\n');
        }
    }

    /// The bytes at fault in red, unless they have just been shown as a field, why, and what was not read.
    fn mistake(&self, text: &mut String, annotation: &Annotation, mistake: &Mistake) {
        let range = mistake.range();
        let bytes = &self.bytes[self.start..][range.clone()];
        let mut left = hex_lines(bytes);
        if left.is_empty() {
            left.push("--".to_owned());
        }
        let last = annotation.fields.last();
        let is_shown = last.is_some_and(|field| field.bits.is_none() && field.range() == range && !bytes.is_empty());
        for (line, hex) in left.iter().enumerate().filter(|_| !is_shown) {
            let offset = format!("{:>6}", self.start + range.start + line * BYTES);
            let name = if line == 0 { &*mistake.name } else { "" };
            let cells = [self.style.paint(RED, &offset, 6), self.style.paint(RED, hex, BYTES_WIDTH)];
            text.push_str(format!("{}  {}", cells.join("  "), self.style.paint(BOLD, name, 0)).trim_end());
            text.push('\n');
        }
        let code = mistake.code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default();
        let width = left.iter().map(|line| line.chars().count()).max().unwrap_or(0).min(BYTES_WIDTH);
        let reason = format!("{} {}{code}", "^".repeat(width), mistake.text);
        text.push_str(&format!("{:8}{}\n", "", self.style.paint(RED, &reason, 0)));
        let read = self.start + last.map_or(0, |field| field.range().end).max(range.end);
        let rest = self.bytes.len().saturating_sub(read);
        if rest > 0 {
            let note = format!("not looked at: {} from {read} on", count(rest, "byte"));
            text.push_str(&format!("{:8}{}\n", "", self.style.paint(DIM, &note, 0)));
        }
    }
}

/// The bytes, eight a line.
fn hex_lines(bytes: &[u8]) -> Vec<String> {
    let line = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
    let mut lines: Vec<String> = bytes.chunks(BYTES).take(LINES_MAX).map(line).collect();
    let rest = bytes.len().saturating_sub(LINES_MAX * BYTES);
    if rest > 0 {
        lines.push(format!("… {}", count(rest, "more byte")));
    }
    lines
}

/// A value in lines of its column, broken anywhere.
fn wrapped(value: &str) -> Vec<String> {
    let characters: Vec<char> = value.chars().collect();
    let mut lines: Vec<String> =
        characters.chunks(VALUE_WIDTH).take(LINES_MAX).map(|line| line.iter().collect()).collect();
    if characters.len() > LINES_MAX * VALUE_WIDTH {
        lines.push("…".to_owned());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_fields_are_cut_and_counted() {
        let lines = hex_lines(&[0xAB; 65]);
        assert_eq!((lines.len(), &*lines[0], &*lines[8]), (9, "ab ab ab ab ab ab ab ab", "… 1 more byte"));
        assert_eq!(wrapped(&"é".repeat(45)), ["é".repeat(44), "é".to_owned()]);
    }

    #[test]
    fn without_colours_there_is_no_escape() {
        assert_eq!(Style::new(false).paint(RED, "a", 3), "a  ");
        assert_eq!(Style::new(true).paint(RED, "a", 3), "\x1b[1;31ma\x1b[0m  ");
    }
}
