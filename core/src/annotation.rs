//! Bytes explained to people: what each field of a packet, frame or message is called, where it stands, what it
//! says and where its specification says so. Every protocol's `annotate` module speaks in these words.

use std::ops::Range;

/// One packet, frame or message, field by field. Without a mistake the fields cover each of its bytes once:
/// a byte either belongs to one field, or all eight bits of it to several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotation {
    /// The name of its kind, as far as the bytes tell.
    pub name: Option<&'static str>,
    /// The version of the protocol that it was read in.
    pub version: &'static str,
    /// The specification that the sections are those of.
    pub specification: &'static str,
    /// How many bytes it has, as far as they are there.
    pub length_bytes: usize,
    /// In the order of the bytes.
    pub fields: Vec<Field>,
    /// Why it is none; the fields then end before the bytes at fault, or with them.
    pub mistake: Option<Mistake>,
}

/// One field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Where it begins, from the first byte of the packet.
    pub offset: usize,
    /// How many bytes it has; 0 for text that is empty.
    pub length_bytes: usize,
    /// Which bits of its byte it is; `None` for whole bytes.
    pub bits: Option<Bits>,
    /// Its name in the words of the specification.
    pub name: String,
    /// What it says.
    pub value: String,
    /// Where the specification describes it.
    pub section: String,
}

impl Field {
    /// The bytes that it stands in.
    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.length_bytes
    }
}

/// Neighbouring bits of one byte, 7 the most significant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits {
    /// The most significant one.
    pub high: u8,
    /// The least significant one.
    pub low: u8,
}

impl Bits {
    /// What these bits of `byte` say as a number.
    pub fn of(self, byte: u8) -> u8 {
        byte >> self.low & 0xFF >> (7 - (self.high - self.low))
    }

    /// These bits of `byte` at their place: `..10 ....`
    pub fn pattern(self, byte: u8) -> String {
        let mut text = String::with_capacity(9);
        for bit in (0..8).rev() {
            text.push(match (bit <= self.high && bit >= self.low, byte >> bit & 1) {
                (false, _) => '.',
                (true, 0) => '0',
                (true, _) => '1',
            });
            if bit == 4 {
                text.push(' ');
            }
        }
        text
    }
}

/// The first thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where the bytes at fault begin.
    pub offset: usize,
    /// How many they are; 0 where something is missing.
    pub length_bytes: usize,
    /// The field that they are in.
    pub name: String,
    /// Why, as a sentence.
    pub text: String,
    /// The protocol's own word for it, with its name; `None` when the protocol has none, as for a packet that is
    /// not complete.
    pub code: Option<String>,
}

impl Mistake {
    /// The bytes at fault.
    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.length_bytes
    }
}

/// Text in quotes, with what cannot be seen as escapes.
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", text.escape_debug())
}

/// Bytes that may be text: in quotes if they are, their number otherwise.
pub fn text_or_length(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains(|c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) => quoted(text),
        _ => count(bytes.len(), "byte"),
    }
}

/// "1 byte", "2 bytes".
pub fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_read_and_drawn_at_their_place() {
        let bits = Bits { high: 5, low: 4 };
        assert_eq!((bits.of(0b1110_1111), bits.pattern(0b1110_1111)), (0b10, "..10 ....".to_owned()));
        assert_eq!(Bits { high: 7, low: 0 }.of(0xA5), 0xA5);
    }

    #[test]
    fn text_is_shown_and_other_bytes_are_counted() {
        assert_eq!(text_or_length("é\n".as_bytes()), "\"é\\n\"");
        assert_eq!((text_or_length(&[0xFF]), text_or_length(&[0, 1])), ("1 byte".to_owned(), "2 bytes".to_owned()));
    }
}
