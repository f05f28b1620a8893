//! Packets explained byte by byte, for people. The codec is the judge: what [`decode`] takes has no mistake here,
//! and what it refuses has the codec's reason; the walk over the fields only finds their places.

mod connect;
mod packets;
mod properties;
mod sections;

use crate::codec::header::{FixedHeader, Type, publish_flags};
use crate::codec::primitives::{Reader, variable_int};
use crate::codec::{Context, DecodeError, PACKET_BYTES_MAX, Side, decode};
use crate::packet::{Packet, Version};
use crate::reason;
use althing_core::annotation::{Annotation, Bits, Field, Mistake, count, quoted};
use althing_core::topic::TopicLimits;
use bytes::{Bytes, BytesMut};

/// Explains the packet at the front of `bytes`, which need not end with it. A packet that is cut short is explained
/// as far as it goes. `context` is the codec's.
pub fn annotate(context: &Context, bytes: &[u8]) -> Annotation {
    let packet = Bytes::copy_from_slice(&bytes[..packet_bytes(bytes)]);
    let verdict = decode(context, &mut BytesMut::from(&packet[..]));
    let version = match &verdict {
        Ok(Some(Packet::Connect(connect))) => connect.version,
        _ => context.version.unwrap_or(Version::V5),
    };
    let mut walk = Walk::new(context, version, &packet);
    let stop = walk.packet().err();
    let mistake = match verdict {
        Ok(Some(_)) => None,
        Ok(None) => Some(incomplete(&packet, stop)),
        Err(error) => Some(mistake(error, packet.len(), stop)),
    };
    let (name, specification) = (walk.name, sections::specification(walk.version));
    let version = sections::version_name(walk.version);
    Annotation { name, version, specification, length_bytes: packet.len(), fields: walk.fields, mistake }
}

/// Explains all packets of a stream, in which either side may have sent each one. Without a version, CONNECT tells
/// it; before one, it is the newest in which all bytes are packets, and 5.0 if there is none such.
pub fn annotate_stream(version: Option<Version>, bytes: &[u8]) -> Vec<Annotation> {
    if let Some(version) = version {
        return stream(version, true, bytes);
    }
    let attempts = [Version::V5, Version::V311, Version::V31].map(|version| stream(version, false, bytes));
    let best = attempts.iter().position(|packets| packets.iter().all(|packet| packet.mistake.is_none()));
    let [newest, ..] = &attempts;
    best.and_then(|index| attempts.get(index)).unwrap_or(newest).clone()
}

fn stream(mut version: Version, is_fixed: bool, mut bytes: &[u8]) -> Vec<Annotation> {
    let mut packets = Vec::new();
    while !bytes.is_empty() {
        let is_connect = bytes[0] >> 4 == 1;
        let context = |side| Context {
            side,
            version: (!is_connect).then_some(version),
            packet_bytes_max: PACKET_BYTES_MAX,
            topic: TopicLimits { levels_max: usize::MAX, ..TopicLimits::default() },
        };
        let mut packet = annotate(&context(side_of(bytes)), bytes);
        if packet.mistake.is_some() && !is_connect {
            // What only a server may send in a packet that both sides have.
            let other = annotate(&context(Side::Client), bytes);
            packet = if other.mistake.is_none() { other } else { packet };
        }
        if is_connect && !is_fixed && packet.mistake.is_none() {
            version = sections::version_of(packet.version);
        }
        let is_last = packet.mistake.is_some();
        bytes = &bytes[packet.length_bytes..];
        packets.push(packet);
        if is_last {
            break;
        }
    }
    packets
}

/// Who reads what begins with these bytes; the server where both may.
fn side_of(bytes: &[u8]) -> Side {
    match bytes.first().map(|first| first >> 4) {
        Some(2 | 9 | 11 | 13) => Side::Client,
        _ => Side::Server,
    }
}

/// How many of `bytes` are the first packet's; all of them if its length cannot be read.
fn packet_bytes(bytes: &[u8]) -> usize {
    let Some(rest) = bytes.get(1..) else { return 0 };
    match variable_int(rest) {
        Ok(Some(length)) => bytes.len().min(1 + length.size + length.value as usize),
        Ok(None) => bytes.len(),
        // The fifth byte is the first that cannot be one of the length.
        Err(_) => bytes.len().min(6),
    }
}

fn incomplete(packet: &[u8], stop: Option<Stop>) -> Mistake {
    let text = match variable_int(packet.get(1..).unwrap_or_default()) {
        Ok(Some(length)) => {
            let missing = 1 + length.size + length.value as usize - packet.len();
            format!("the packet is not complete: {} missing", count(missing, "byte"))
        }
        _ => "the packet is not complete: its fixed header ends early".to_owned(),
    };
    let stop = stop.unwrap_or(Stop { offset: packet.len(), length: 0, name: "" });
    Mistake { offset: stop.offset, length_bytes: stop.length, name: stop.name.to_owned(), text, code: None }
}

fn mistake(error: DecodeError, length: usize, stop: Option<Stop>) -> Mistake {
    // The walk knows the place of every mistake that the codec finds; the whole packet is never wrong.
    let stop = stop.unwrap_or(Stop { offset: 0, length, name: "" });
    let code = format!("0x{:02X} {}", error.code, reason::name(error.code));
    Mistake {
        offset: stop.offset,
        length_bytes: stop.length,
        name: stop.name.to_owned(),
        text: error.text.to_owned(),
        code: Some(code),
    }
}

/// Where a walk had to end: the bytes at fault, and the field that they are in.
struct Stop {
    offset: usize,
    length: usize,
    name: &'static str,
}

/// The way through one packet, from the first byte to the last or to the first mistake.
struct Walk<'a> {
    context: &'a Context,
    version: Version,
    packet: &'a Bytes,
    /// What is left of the packet, or of the block of properties that the walk is in.
    reader: Reader,
    /// Where that ends.
    end: usize,
    name: Option<&'static str>,
    fields: Vec<Field>,
}

impl<'a> Walk<'a> {
    fn new(context: &'a Context, version: Version, packet: &'a Bytes) -> Self {
        let reader = Reader::new(packet.clone());
        Self { context, version, packet, reader, end: packet.len(), name: None, fields: Vec::new() }
    }

    fn packet(&mut self) -> Result<(), Stop> {
        let (packet_type, flags) = self.fixed_header()?;
        self.body(packet_type, flags)?;
        if self.reader.remaining() > 0 {
            return Err(Stop { offset: self.position(), length: self.reader.remaining(), name: "" });
        }
        Ok(())
    }

    /// §2.1
    fn fixed_header(&mut self) -> Result<(Type, u8), Stop> {
        const NAME: &str = "MQTT Control Packet type";
        let first = self.take_u8(NAME)?;
        let packet_type = Type::from_first_byte(first);
        self.name = packet_type.map(sections::packet_name);
        let value = format!("{}, {}", first >> 4, self.name.unwrap_or("Reserved"));
        self.bits(0, (7, 4), NAME, value, self.section("2.1.2", "2.2.1", "2.1"));
        let flags = first & 0x0F;
        self.header_flags(packet_type, flags);
        let packet_type = packet_type.ok_or(Stop { offset: 0, length: 1, name: NAME })?;
        if FixedHeader::allowed_type(self.context, first).is_err() {
            return Err(Stop { offset: 0, length: 1, name: NAME });
        }
        let is_wrong = !packet_type.allows_flags(flags, self.context.version)
            || packet_type == Type::Publish && publish_flags(flags, self.context.version).is_err();
        if is_wrong {
            return Err(Stop { offset: 0, length: 1, name: "Flags" });
        }
        self.remaining_length(packet_type)?;
        Ok((packet_type, flags))
    }

    /// §2.1.3
    fn header_flags(&mut self, packet_type: Option<Type>, flags: u8) {
        if packet_type != Some(Type::Publish) {
            let section = self.section("2.1.3", "2.2.2", "2.1");
            self.bits(0, (3, 0), "Reserved", format!("0b{flags:04b}"), section);
            return;
        }
        let dup = if flags & 0b1000 == 0 { "0, the first attempt" } else { "1, perhaps a repeat" };
        self.bits(0, (3, 3), "DUP", dup.to_owned(), self.section("3.3.1.1", "3.3.1.1", "2.1"));
        self.bits(0, (2, 1), "QoS", qos(flags >> 1 & 0b11), self.section("3.3.1.2", "3.3.1.2", "2.1"));
        let retain = if flags & 1 == 0 { "0" } else { "1, retained" };
        self.bits(0, (0, 0), "RETAIN", retain.to_owned(), self.section("3.3.1.3", "3.3.1.3", "2.1"));
    }

    /// §2.1.4
    fn remaining_length(&mut self, packet_type: Type) -> Result<(), Stop> {
        const NAME: &str = "Remaining Length";
        let all = Stop { offset: 1, length: self.end - 1, name: NAME };
        let Ok(Some(length)) = variable_int(&self.packet[1..]) else { return Err(all) };
        // The bytes have just been looked at.
        let _ = self.reader.take(length.size);
        let remaining = length.value as usize;
        let section = self.section("2.1.4", "2.2.3", "2.1");
        self.push(1, length.size, NAME, format!("{} follow", count(remaining, "byte")), section);
        let is_wrong = length.overlong && self.context.version == Some(Version::V5)
            || 1 + length.size + remaining > self.context.packet_bytes_max
            || !packet_type.allows_remaining(remaining, self.context.version);
        if is_wrong { Err(Stop { offset: 1, length: length.size, name: NAME }) } else { Ok(()) }
    }

    fn is_v5(&self) -> bool {
        self.version == Version::V5
    }

    /// Where the next byte stands.
    fn position(&self) -> usize {
        self.end - self.reader.remaining()
    }

    /// Something that must stand here is missing.
    fn missing(&self, name: &'static str) -> Stop {
        Stop { offset: self.position(), length: 0, name }
    }

    /// The bytes from `offset` to here are at fault.
    fn wrong(&self, offset: usize, name: &'static str) -> Stop {
        Stop { offset, length: self.position() - offset, name }
    }

    /// The section of a field: that of 5.0, of 3.1.1 or of 3.1.
    fn section(&self, v5: &str, v311: &str, v31: &str) -> String {
        let section = match self.version {
            Version::V5 => v5,
            Version::V311 => v311,
            Version::V31 => v31,
        };
        format!("§{section}")
    }

    fn push(&mut self, offset: usize, length: usize, name: impl Into<String>, value: String, section: String) {
        self.fields.push(Field { offset, length_bytes: length, bits: None, name: name.into(), value, section });
    }

    fn bits(&mut self, offset: usize, (high, low): (u8, u8), name: &str, value: String, section: String) {
        let bits = Some(Bits { high, low });
        self.fields.push(Field { offset, length_bytes: 1, bits, name: name.to_owned(), value, section });
    }

    /// Reads a field with the codec's own reader. Where the bytes end within it, all that are left are at fault.
    fn read<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Reader) -> Result<T, DecodeError>,
    ) -> Result<T, Stop> {
        let offset = self.position();
        let rest = self.packet.slice(offset..self.end);
        read(&mut self.reader).map_err(|_| {
            self.reader = Reader::new(rest);
            Stop { offset, length: self.reader.remaining(), name }
        })
    }

    fn take_u8(&mut self, name: &'static str) -> Result<u8, Stop> {
        self.read(name, Reader::u8)
    }

    /// A number of two bytes, explained by `show`.
    fn u16(&mut self, name: &'static str, section: String, show: impl FnOnce(u16) -> String) -> Result<u16, Stop> {
        let offset = self.position();
        let value = self.read(name, Reader::u16)?;
        self.push(offset, 2, name, show(value), section);
        Ok(value)
    }

    /// §2.2.1
    fn packet_id(&mut self, section: String) -> Result<(), Stop> {
        const NAME: &str = "Packet Identifier";
        let offset = self.position();
        let id = self.u16(NAME, section, |id| id.to_string())?;
        if id == 0 { Err(self.wrong(offset, NAME)) } else { Ok(()) }
    }

    /// Binary data with its length before it, two rows (§1.5.6).
    fn binary(
        &mut self,
        name: &'static str,
        section: &str,
        show: impl FnOnce(&Bytes) -> String,
    ) -> Result<Bytes, Stop> {
        let offset = self.position();
        let data = self.read(name, Reader::binary)?;
        self.push(offset, 2, format!("{name}: length"), count(data.len(), "byte"), section.to_owned());
        self.push(offset + 2, data.len(), name, show(&data), section.to_owned());
        Ok(data)
    }

    /// A UTF-8 string (§1.5.4).
    fn string(&mut self, name: &'static str, section: &str) -> Result<String, Stop> {
        let offset = self.position();
        let data = self.binary(name, section, |data| match std::str::from_utf8(data) {
            Ok(text) => quoted(text),
            Err(_) => "not UTF-8".to_owned(),
        })?;
        match String::from_utf8(data.to_vec()) {
            Ok(text) if !text.contains('\0') => Ok(text),
            _ => Err(self.wrong(offset + 2, name)),
        }
    }

    /// A reason code (§2.4).
    fn reason_code(&mut self, packet_type: Type, section: String) -> Result<u8, Stop> {
        let name = if self.is_v5() { "Reason Code" } else { "Return Code" };
        let offset = self.position();
        let code = self.take_u8(name)?;
        let text = sections::code_name(packet_type, self.version, code);
        self.push(offset, 1, name, format!("0x{code:02X} {text}"), section);
        if crate::codec::codes::is_allowed(packet_type, self.version, self.context.side, code) {
            Ok(code)
        } else {
            Err(self.wrong(offset, name))
        }
    }
}

/// A quality of service in words (§4.3).
fn qos(qos: u8) -> String {
    let words = ["at most once delivery", "at least once delivery", "exactly once delivery", "reserved"];
    format!("{qos}, {}", words[usize::from(qos & 0b11)])
}
