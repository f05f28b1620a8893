//! CONNECT (§3.1) and CONNACK (§3.2).

use super::{Stop, Walk, qos, sections};
use crate::codec::connect::{check_flags, flag};
use crate::codec::decode::topic_name;
use crate::codec::header::Type;
use crate::codec::primitives::Reader;
use crate::codec::primitives::variable_int;
use crate::codec::properties::id;
use crate::packet::Version;
use althing_core::Guarantee;
use althing_core::annotation::{count, quoted, text_or_length};

impl Walk<'_> {
    /// §3.1
    pub(super) fn connect(&mut self) -> Result<(), Stop> {
        self.protocol_name_and_level()?;
        let is_overlong = matches!(variable_int(&self.packet[1..]), Ok(Some(length)) if length.overlong);
        if is_overlong && self.is_v5() {
            // [MQTT-1.5.5-1], known only now.
            let length = self.packet[1..].iter().take_while(|byte| **byte & 0x80 != 0).count() + 1;
            return Err(Stop { offset: 1, length, name: "Remaining Length" });
        }
        let flags = self.connect_flags()?;
        let section = self.section("3.1.2.10", "3.1.2.10", "3.1");
        self.u16("Keep Alive", section, |seconds| match seconds {
            0 => "0, no limit".to_owned(),
            seconds => count(seconds.into(), "second"),
        })?;
        if self.is_v5() {
            let seen = self.properties(Type::Connect, &sections::block(Type::Connect))?;
            if seen.contains(&id::AUTHENTICATION_DATA) && !seen.contains(&id::AUTHENTICATION_METHOD) {
                return Err(self.missing("Authentication Method"));
            }
        }
        self.connect_payload(flags)
    }

    /// §3.1.2.1, §3.1.2.2. From here on the version is the packet's own.
    fn protocol_name_and_level(&mut self) -> Result<(), Stop> {
        let offset = self.position();
        let rows = self.fields.len();
        let name = self.binary("Protocol Name", "", |name| text_or_length(name))?;
        let is_v31_name = &name[..] == b"MQIsdp";
        let level_offset = self.position();
        let level = self.packet.get(level_offset).copied();
        self.version = match (is_v31_name, level) {
            (true, _) => Version::V31,
            (false, Some(4)) => Version::V311,
            _ => Version::V5,
        };
        for row in rows..self.fields.len() {
            self.fields[row].section = self.section("3.1.2.1", "3.1.2.1", "3.1");
        }
        if !is_v31_name && &name[..] != b"MQTT" {
            return Err(self.wrong(offset + 2, "Protocol Name"));
        }
        let term = if self.is_v5() { "Protocol Version" } else { "Protocol Level" };
        let level = self.take_u8(term)?;
        let known = matches!((is_v31_name, level), (true, 3) | (false, 4 | 5));
        let meaning = if known { sections::version_name(self.version) } else { "no known version" };
        let section = self.section("3.1.2.2", "3.1.2.2", "3.1");
        self.push(level_offset, 1, term, format!("{level}, {meaning}"), section);
        if known { Ok(()) } else { Err(self.wrong(level_offset, term)) }
    }

    /// §3.1.2.3 to §3.1.2.9
    fn connect_flags(&mut self) -> Result<u8, Stop> {
        const NAME: &str = "Connect Flags";
        let offset = self.position();
        let flags = self.take_u8(NAME)?;
        let is_v5 = self.is_v5();
        let yes_no = |bit: u8, yes: &str| if flags & bit == 0 { "0".to_owned() } else { format!("1, {yes}") };
        let follows = "follows in the payload";
        let clean = if is_v5 { "Clean Start" } else { "Clean Session" };
        let clean_value = if flags & flag::CLEAN_START == 0 { "0, resume the session" } else { "1, a new session" };
        let rows = [
            ((7, 7), "User Name Flag", yes_no(flag::USER_NAME, follows), ("3.1.2.8", "3.1.2.8")),
            ((6, 6), "Password Flag", yes_no(flag::PASSWORD, follows), ("3.1.2.9", "3.1.2.9")),
            ((5, 5), "Will Retain", yes_no(flag::WILL_RETAIN, "to be retained"), ("3.1.2.7", "3.1.2.7")),
            ((4, 3), "Will QoS", qos(flags >> flag::WILL_QOS_SHIFT & 0b11), ("3.1.2.6", "3.1.2.6")),
            ((2, 2), "Will Flag", yes_no(flag::WILL, "there is a will"), ("3.1.2.5", "3.1.2.5")),
            ((1, 1), clean, clean_value.to_owned(), ("3.1.2.4", "3.1.2.4")),
            ((0, 0), "Reserved", (flags & flag::RESERVED).to_string(), ("3.1.2.3", "3.1.2.3")),
        ];
        for (bits, name, value, (v5, v311)) in rows {
            let section = self.section(v5, v311, "3.1");
            self.bits(offset, bits, name, value, section);
        }
        if check_flags(flags, self.version).is_err() { Err(self.wrong(offset, NAME)) } else { Ok(flags) }
    }

    /// §3.1.3
    fn connect_payload(&mut self, flags: u8) -> Result<(), Stop> {
        let section = self.section("3.1.3.1", "3.1.3.1", "3.1");
        self.string("Client Identifier", &section)?;
        if flags & flag::WILL != 0 {
            self.will(flags)?;
        }
        // MQTT 3.1 §3.1: the remaining length takes precedence over these two flags.
        let may_end = self.version == Version::V31;
        if flags & flag::USER_NAME != 0 && !(may_end && self.reader.remaining() == 0) {
            let section = self.section("3.1.3.5", "3.1.3.4", "3.1");
            self.string("User Name", &section)?;
        }
        if flags & flag::PASSWORD != 0 && !(may_end && self.reader.remaining() == 0) {
            let section = self.section("3.1.3.6", "3.1.3.5", "3.1");
            self.binary("Password", &section, |password| text_or_length(password))?;
        }
        Ok(())
    }

    /// §3.1.3.2 to §3.1.3.4
    fn will(&mut self, flags: u8) -> Result<(), Stop> {
        if Guarantee::from_qos(flags >> flag::WILL_QOS_SHIFT & 0b11).is_none() {
            // [MQTT-3.1.2-12]; the flags are the last byte that was a set of bits.
            let offset = self.fields.iter().rfind(|field| field.bits.is_some()).map_or(0, |field| field.offset);
            return Err(Stop { offset, length: 1, name: "Will QoS" });
        }
        if self.is_v5() {
            self.properties(Type::Connect, &sections::WILL_PROPERTIES)?;
        }
        let section = self.section("3.1.3.3", "3.1.3.2", "3.1");
        self.topic("Will Topic", &section)?;
        let name = if self.is_v5() { "Will Payload" } else { "Will Message" };
        let section = self.section("3.1.3.4", "3.1.3.3", "3.1");
        self.binary(name, &section, |payload| text_or_length(payload))?;
        Ok(())
    }

    /// A topic name (§4.7), two rows.
    pub(super) fn topic(&mut self, name: &'static str, section: &str) -> Result<(), Stop> {
        let offset = self.position();
        let whole = self.packet.slice(offset..self.end);
        let text = self.binary(name, section, |data| match std::str::from_utf8(data) {
            Ok(text) => quoted(text),
            Err(_) => "not UTF-8".to_owned(),
        })?;
        let is_alias = text.is_empty() && self.is_v5() && name == "Topic Name";
        if is_alias || topic_name(&mut Reader::new(whole), &self.context.topic).is_ok() {
            return Ok(());
        }
        Err(self.wrong(offset + 2, name))
    }

    /// §3.2
    pub(super) fn connack(&mut self) -> Result<(), Stop> {
        const NAME: &str = "Connect Acknowledge Flags";
        let offset = self.position();
        let flags = self.take_u8(NAME)?;
        let section = self.section("3.2.2.1", "3.2.2.1", "3.2");
        self.bits(offset, (7, 1), "Reserved", (flags >> 1).to_string(), section);
        let present = if flags & 1 == 0 { "0, a new session" } else { "1, the session is resumed" };
        let (name, present) = match self.version {
            Version::V31 => ("Reserved", if flags & 1 == 0 { "0" } else { "1" }),
            _ => ("Session Present", present),
        };
        let section = self.section("3.2.2.1.1", "3.2.2.2", "3.2");
        self.bits(offset, (0, 0), name, present.to_owned(), section);
        if self.reader.remaining() == 0 {
            return Err(self.missing("Reason Code"));
        }
        if flags & 0xFE != 0 && self.version != Version::V31 {
            return Err(self.wrong(offset, NAME));
        }
        let section = self.section("3.2.2.2", "3.2.2.3", "3.2");
        let code = self.reason_code(Type::ConnAck, section)?;
        if flags & 1 != 0 && code != 0 && self.version != Version::V31 {
            // [MQTT-3.2.2-6]
            return Err(Stop { offset, length: 2, name: "Session Present" });
        }
        if self.is_v5() {
            self.properties(Type::ConnAck, &sections::block(Type::ConnAck))?;
        }
        Ok(())
    }
}
