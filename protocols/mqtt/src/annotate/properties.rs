//! Blocks of properties (§2.2.2).

use super::sections::Block;
use super::{Stop, Walk};
use crate::codec::Side;
use crate::codec::header::Type;
use crate::codec::primitives::Reader;
use crate::codec::properties::{id, may_repeat, response_topic};
use althing_core::annotation::{count, text_or_length};
use bytestring::ByteString;

/// How the value of a property is written (table 2-4).
#[derive(Clone, Copy)]
enum Form {
    /// A byte that is 0 or 1, with the meaning of both.
    Flag(&'static str, &'static str),
    /// Two bytes.
    Short(&'static str),
    /// Two bytes that must not be 0.
    ShortNotZero(&'static str),
    /// Four bytes.
    Long(&'static str),
    /// Four bytes that must not be 0.
    LongNotZero(&'static str),
    /// Four bytes of seconds, the largest of which mean "never".
    Expiry,
    /// A variable byte integer that must not be 0.
    Variable,
    Text,
    Topic,
    Data,
    Pair,
}

/// Name and form of a property (table 2-4).
fn property(identifier: u8) -> (&'static str, Form) {
    match identifier {
        id::PAYLOAD_FORMAT_INDICATOR => {
            ("Payload Format Indicator", Form::Flag("unspecified bytes", "UTF-8 encoded character data"))
        }
        id::MESSAGE_EXPIRY_INTERVAL => ("Message Expiry Interval", Form::Long("second")),
        id::CONTENT_TYPE => ("Content Type", Form::Text),
        id::RESPONSE_TOPIC => ("Response Topic", Form::Topic),
        id::CORRELATION_DATA => ("Correlation Data", Form::Data),
        id::SUBSCRIPTION_IDENTIFIER => ("Subscription Identifier", Form::Variable),
        id::SESSION_EXPIRY_INTERVAL => ("Session Expiry Interval", Form::Expiry),
        id::ASSIGNED_CLIENT_IDENTIFIER => ("Assigned Client Identifier", Form::Text),
        id::SERVER_KEEP_ALIVE => ("Server Keep Alive", Form::Short("second")),
        id::AUTHENTICATION_METHOD => ("Authentication Method", Form::Text),
        id::AUTHENTICATION_DATA => ("Authentication Data", Form::Data),
        id::REQUEST_PROBLEM_INFORMATION => {
            ("Request Problem Information", Form::Flag("only where it is a must", "wherever it is allowed"))
        }
        id::WILL_DELAY_INTERVAL => ("Will Delay Interval", Form::Long("second")),
        id::REQUEST_RESPONSE_INFORMATION => ("Request Response Information", Form::Flag("not wanted", "wanted")),
        id::RESPONSE_INFORMATION => ("Response Information", Form::Text),
        id::SERVER_REFERENCE => ("Server Reference", Form::Text),
        id::REASON_STRING => ("Reason String", Form::Text),
        id::RECEIVE_MAXIMUM => ("Receive Maximum", Form::ShortNotZero("unacknowledged PUBLISH packet")),
        id::TOPIC_ALIAS_MAXIMUM => ("Topic Alias Maximum", Form::Short("")),
        id::TOPIC_ALIAS => ("Topic Alias", Form::Short("")),
        id::MAXIMUM_QOS => ("Maximum QoS", Form::Flag("at most once", "at least once")),
        id::RETAIN_AVAILABLE => ("Retain Available", Form::Flag("not supported", "supported")),
        id::USER_PROPERTY => ("User Property", Form::Pair),
        id::MAXIMUM_PACKET_SIZE => ("Maximum Packet Size", Form::LongNotZero("byte")),
        id::WILDCARD_SUBSCRIPTION_AVAILABLE => {
            ("Wildcard Subscription Available", Form::Flag("not supported", "supported"))
        }
        id::SUBSCRIPTION_IDENTIFIER_AVAILABLE => {
            ("Subscription Identifiers Available", Form::Flag("not supported", "supported"))
        }
        id::SHARED_SUBSCRIPTION_AVAILABLE => {
            ("Shared Subscription Available", Form::Flag("not supported", "supported"))
        }
        _ => ("Property", Form::Data),
    }
}

impl Walk<'_> {
    /// A property length and the properties that it counts; returns their identifiers.
    pub(super) fn properties(&mut self, packet_type: Type, block: &Block) -> Result<Vec<u8>, Stop> {
        let offset = self.position();
        let length = self.read("Property Length", Reader::variable_int)? as usize;
        let size = self.position() - offset;
        let section = format!("§{}.1", block.section);
        self.push(offset, size, "Property Length", count(length, "byte"), section);
        if length > self.reader.remaining() {
            return Err(self.wrong(offset, "Property Length"));
        }
        let start = self.position();
        // As many bytes are there.
        let _ = self.reader.take(length);
        let rest = std::mem::replace(&mut self.reader, Reader::new(self.packet.slice(start..start + length)));
        let end = std::mem::replace(&mut self.end, start + length);
        let mut seen = Vec::new();
        while self.reader.remaining() > 0 {
            let identifier = self.property(packet_type, block, &seen)?;
            seen.push(identifier);
        }
        (self.reader, self.end) = (rest, end);
        Ok(seen)
    }

    /// One property: its identifier and its value.
    fn property(&mut self, packet_type: Type, block: &Block, seen: &[u8]) -> Result<u8, Stop> {
        const NAME: &str = "Property Identifier";
        let offset = self.position();
        let identifier = self.take_u8(NAME)?;
        let (name, form) = property(identifier);
        let place = block.properties.iter().position(|known| *known == identifier);
        let value = match name {
            "Property" => format!("0x{identifier:02X}, unknown"),
            name => format!("0x{identifier:02X}, {name}"),
        };
        self.push(offset, 1, NAME, value, "§2.2.2.2".to_owned());
        let may_repeat = may_repeat(identifier) && packet_type != Type::Subscribe || identifier == id::USER_PROPERTY;
        let repeats = !may_repeat && seen.contains(&identifier);
        let Some(place) = place.filter(|_| !repeats && !self.is_for_the_other_side(packet_type, identifier)) else {
            return Err(self.wrong(offset, NAME));
        };
        // The first subsection is about the Property Length.
        let section = format!("§{}.{}", block.section, place + 2);
        self.property_value(name, form, &section)?;
        Ok(identifier)
    }

    /// [MQTT-3.3.4-6], [MQTT-3.14.2-2]
    fn is_for_the_other_side(&self, packet_type: Type, identifier: u8) -> bool {
        let side = self.context.side;
        packet_type == Type::Publish && identifier == id::SUBSCRIPTION_IDENTIFIER && side == Side::Server
            || packet_type == Type::Disconnect && identifier == id::SESSION_EXPIRY_INTERVAL && side == Side::Client
    }

    fn property_value(&mut self, name: &'static str, form: Form, section: &str) -> Result<(), Stop> {
        let offset = self.position();
        let (value, is_wrong) = match form {
            Form::Flag(no, yes) => {
                let value = self.take_u8(name)?;
                let meaning = if value == 0 { no } else { yes };
                (if value > 1 { value.to_string() } else { format!("{value}, {meaning}") }, value > 1)
            }
            Form::Short(unit) => (units(self.read(name, Reader::u16)?.into(), unit), false),
            Form::ShortNotZero(unit) => {
                let value = self.read(name, Reader::u16)?;
                (units(value.into(), unit), value == 0)
            }
            Form::Long(unit) => (units(self.read(name, Reader::u32)?, unit), false),
            Form::LongNotZero(unit) => {
                let value = self.read(name, Reader::u32)?;
                (units(value, unit), value == 0)
            }
            Form::Expiry => match self.read(name, Reader::u32)? {
                0 => ("0, ends with the connection".to_owned(), false),
                u32::MAX => ("the session does not expire".to_owned(), false),
                seconds => (units(seconds, "second"), false),
            },
            Form::Variable => {
                let value = self.read(name, Reader::variable_int)?;
                (value.to_string(), value == 0)
            }
            Form::Text => return self.string(name, section).map(drop),
            Form::Topic => {
                let text = self.string(name, section)?;
                let is_topic = response_topic(ByteString::from(text), &self.context.topic).is_ok();
                return if is_topic { Ok(()) } else { Err(self.wrong(offset + 2, name)) };
            }
            Form::Data => return self.binary(name, section, |data| text_or_length(data)).map(drop),
            Form::Pair => {
                self.string("User Property: name", section)?;
                return self.string("User Property: value", section).map(drop);
            }
        };
        self.push(offset, self.position() - offset, name, value, section.to_owned());
        if is_wrong { Err(self.wrong(offset, name)) } else { Ok(()) }
    }
}

fn units(value: u32, unit: &str) -> String {
    if unit.is_empty() { value.to_string() } else { count(value as usize, unit) }
}
