//! Messages explained byte by byte, for people. The codec is the judge: what [`decode`] takes has no mistake here,
//! and what it refuses has its reason; the walk over the fields only finds their places.

mod registry;

use crate::codec::{
    DecodeError, EXTENDED_8, EXTENDED_8_FROM, EXTENDED_16, EXTENDED_16_FROM, PAYLOAD_MARKER, VERSION, decode,
};
use crate::message::{Code, Kind, Token};
use althing_core::annotation::{Annotation, Bits, Field, Mistake, count, text_or_length};
use bytes::Bytes;

/// Explains one datagram.
pub fn annotate(datagram: &[u8]) -> Annotation {
    let verdict = decode(&Bytes::copy_from_slice(datagram));
    let mut walk = Walk { bytes: datagram, position: 0, fields: Vec::new() };
    let stop = walk.message().err().unwrap_or(Stop { offset: 0, length: datagram.len(), name: "" });
    let mistake = |text: &str, code: &str| Mistake {
        offset: stop.offset,
        length_bytes: stop.length,
        name: stop.name.to_owned(),
        text: text.to_owned(),
        code: Some(code.to_owned()),
    };
    let mistake = match verdict {
        Ok(_) => None,
        Err(DecodeError::Foreign) if datagram.len() < 4 => {
            Some(mistake("shorter than the header, which has four bytes (§3)", "silently ignored"))
        }
        Err(DecodeError::Foreign) => Some(mistake("another version than 1 (§3)", "silently ignored")),
        Err(DecodeError::Malformed { kind: Kind::Confirmable, why, .. }) => Some(mistake(why, "rejected with a Reset")),
        Err(DecodeError::Malformed { why, .. }) => Some(mistake(why, "silently ignored")),
    };
    Annotation {
        name: datagram.get(1).map(|code| registry::code(Code(*code))),
        version: "CoAP",
        specification: "RFC 7252",
        length_bytes: datagram.len(),
        fields: walk.fields,
        mistake,
    }
}

/// Where a walk had to end: the bytes at fault, and the field that they are in.
struct Stop {
    offset: usize,
    length: usize,
    name: &'static str,
}

/// The way through one message.
struct Walk<'a> {
    bytes: &'a [u8],
    position: usize,
    fields: Vec<Field>,
}

impl Walk<'_> {
    fn message(&mut self) -> Result<(), Stop> {
        let [first, code, ..] = *self.bytes else { return Err(self.rest("header")) };
        if self.bytes.len() < 4 {
            return Err(self.rest("header"));
        }
        let token_nibble = first & 0b1111;
        self.header(first, Code(code));
        let at = |offset, name| Err(Stop { offset, length: 1, name });
        if first >> 6 != VERSION {
            return at(0, "Version");
        }
        if Code(code) == Code::EMPTY {
            return match (token_nibble, self.position == self.bytes.len()) {
                (0, true) => Ok(()),
                (0, false) => Err(self.rest("Empty message")),
                _ => at(0, "Token Length"),
            };
        }
        let is_reset = first >> 4 & 0b11 == Kind::Reset as u8;
        if is_reset || matches!(Code(code).class(), 1 | 6 | 7) {
            return at(1, "Code");
        }
        let token_bytes = self.extended(0, token_nibble, "Token Length", "RFC 8974 §2.1")?;
        if token_bytes > Token::BYTES_MAX {
            return at(0, "Token Length");
        }
        if token_bytes > 0 {
            let token = self.take(token_bytes, "Token")?;
            self.push(token_bytes, "Token", hexadecimal(token), "§5.3.1");
        }
        self.options(Code(code))?;
        let payload = &self.bytes[self.position..];
        if !payload.is_empty() {
            self.push(payload.len(), "Payload", text_or_length(payload), "§5.5");
        }
        Ok(())
    }

    /// §3
    fn header(&mut self, first: u8, code: Code) {
        let kinds = ["0, Confirmable (CON)", "1, Non-confirmable (NON)", "2, Acknowledgement (ACK)", "3, Reset (RST)"];
        self.bits((7, 6), "Version (Ver)", (first >> 6).to_string(), "§3");
        self.bits((5, 4), "Type (T)", kinds[usize::from(first >> 4 & 0b11)].to_owned(), "§3");
        self.bits((3, 0), "Token Length (TKL)", token_length(first & 0b1111), "§3");
        self.position = 1;
        let classes = ["request", "reserved", "success", "reserved", "client error", "server error"];
        let class = classes.get(usize::from(code.class())).copied().unwrap_or("reserved");
        self.bits((7, 5), "Code class", format!("{}, {class}", code.class()), "§3");
        self.bits((4, 0), "Code detail", format!("{:02}: {code} {}", code.0 & 0x1f, registry::code(code)), "§12.1");
        self.position = 2;
        let id = u16::from_be_bytes([self.bytes[2], self.bytes[3]]);
        self.push(2, "Message ID", id.to_string(), "§3");
    }

    /// §3.1
    fn options(&mut self, code: Code) -> Result<(), Stop> {
        let mut number = 0;
        while let Some(&head) = self.bytes.get(self.position) {
            if head == PAYLOAD_MARKER {
                let offset = self.position;
                self.push(1, "Payload Marker", "the payload follows".to_owned(), "§3");
                let is_alone = self.position == self.bytes.len();
                let stop = Stop { offset, length: 1, name: "Payload Marker" };
                return if is_alone { Err(stop) } else { Ok(()) };
            }
            number = self.option(code, number, head)?;
        }
        Ok(())
    }

    /// One option; returns its number.
    fn option(&mut self, code: Code, before: usize, head: u8) -> Result<usize, Stop> {
        let start = self.position;
        let (delta_nibble, length_nibble) = (head >> 4, head & 0b1111);
        self.bits((7, 4), "Option Delta", nibble(delta_nibble), "§3.1");
        self.bits((3, 0), "Option Length", nibble(length_nibble), "§3.1");
        self.position += 1;
        let delta = self.extended(start, delta_nibble, "Option Delta (extended)", "§3.1")?;
        let length = self.extended(start, length_nibble, "Option Length (extended)", "§3.1")?;
        let number = before + delta;
        let Ok(known) = u16::try_from(number) else {
            return Err(Stop { offset: start, length: self.position - start, name: "Option Delta" });
        };
        let option = registry::option(known);
        let value = self.take(length, option.name)?;
        let name = if option.name.is_empty() { format!("Option {known}") } else { option.name.to_owned() };
        let shown = option.form.show(value, code);
        self.push(length, name, shown, option.section);
        Ok(number)
    }

    fn extended(&mut self, start: usize, nibble: u8, name: &'static str, section: &'static str) -> Result<usize, Stop> {
        let (size, from) = match nibble {
            EXTENDED_8 => (1, EXTENDED_8_FROM),
            EXTENDED_16 => (2, EXTENDED_16_FROM),
            15 => return Err(Stop { offset: start, length: 1, name }),
            direct => return Ok(usize::from(direct)),
        };
        let bytes = self.take(size, name)?;
        let more = bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        self.push(size, name, format!("{from} + {more} = {}", from + more), section);
        Ok(from + more)
    }

    /// The next bytes, which stay where they are; all that are left are at fault when they are fewer.
    fn take(&self, length: usize, name: &'static str) -> Result<&'_ [u8], Stop> {
        self.bytes.get(self.position..self.position + length).ok_or_else(|| self.rest(name))
    }

    fn rest(&self, name: &'static str) -> Stop {
        Stop { offset: self.position, length: self.bytes.len() - self.position, name }
    }

    fn push(&mut self, length: usize, name: impl Into<String>, value: String, section: &str) {
        let (offset, section) = (self.position, section.to_owned());
        self.fields.push(Field { offset, length_bytes: length, bits: None, name: name.into(), value, section });
        self.position += length;
    }

    /// Bits of the byte that begins here.
    fn bits(&mut self, (high, low): (u8, u8), name: &str, value: String, section: &str) {
        let (offset, bits) = (self.position, Some(Bits { high, low }));
        let (name, section) = (name.to_owned(), section.to_owned());
        self.fields.push(Field { offset, length_bytes: 1, bits, name, value, section });
    }
}

fn token_length(head: u8) -> String {
    match head {
        EXTENDED_8.. => nibble(head),
        direct => count(usize::from(direct), "byte"),
    }
}

fn nibble(nibble: u8) -> String {
    match nibble {
        EXTENDED_8 => format!("{nibble}, one more byte follows"),
        EXTENDED_16 => format!("{nibble}, two more bytes follow"),
        15 => format!("{nibble}, reserved"),
        direct => direct.to_string(),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold("0x".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}
