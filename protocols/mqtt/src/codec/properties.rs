//! Properties (§2.2.2): identifiers, the block they stand in, and those of messages.

use super::DecodeError;
use super::primitives::{Reader, clipped, put_binary, put_string, put_variable_int};
use crate::reason::code;
use althing_core::message::Properties;
use althing_core::topic::{Topic, TopicError, TopicLimits};
use bytestring::ByteString;

/// Property identifiers (table 2-4).
pub(crate) mod id {
    pub const PAYLOAD_FORMAT_INDICATOR: u8 = 0x01;
    pub const MESSAGE_EXPIRY_INTERVAL: u8 = 0x02;
    pub const CONTENT_TYPE: u8 = 0x03;
    pub const RESPONSE_TOPIC: u8 = 0x08;
    pub const CORRELATION_DATA: u8 = 0x09;
    pub const SUBSCRIPTION_IDENTIFIER: u8 = 0x0B;
    pub const SESSION_EXPIRY_INTERVAL: u8 = 0x11;
    pub const ASSIGNED_CLIENT_IDENTIFIER: u8 = 0x12;
    pub const SERVER_KEEP_ALIVE: u8 = 0x13;
    pub const AUTHENTICATION_METHOD: u8 = 0x15;
    pub const AUTHENTICATION_DATA: u8 = 0x16;
    pub const REQUEST_PROBLEM_INFORMATION: u8 = 0x17;
    pub const WILL_DELAY_INTERVAL: u8 = 0x18;
    pub const REQUEST_RESPONSE_INFORMATION: u8 = 0x19;
    pub const RESPONSE_INFORMATION: u8 = 0x1A;
    pub const SERVER_REFERENCE: u8 = 0x1C;
    pub const REASON_STRING: u8 = 0x1F;
    pub const RECEIVE_MAXIMUM: u8 = 0x21;
    pub const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
    pub const TOPIC_ALIAS: u8 = 0x23;
    pub const MAXIMUM_QOS: u8 = 0x24;
    pub const RETAIN_AVAILABLE: u8 = 0x25;
    pub const USER_PROPERTY: u8 = 0x26;
    pub const MAXIMUM_PACKET_SIZE: u8 = 0x27;
    pub const WILDCARD_SUBSCRIPTION_AVAILABLE: u8 = 0x28;
    pub const SUBSCRIPTION_IDENTIFIER_AVAILABLE: u8 = 0x29;
    pub const SHARED_SUBSCRIPTION_AVAILABLE: u8 = 0x2A;
}

/// §2.2.2.2: an identifier that is not valid for its packet type, or not valid at all.
pub(super) const NOT_ALLOWED_HERE: DecodeError =
    DecodeError::malformed("a property is unknown or not allowed in this packet");

/// Reads a property length and the properties it counts. `take` reads the value that belongs to an identifier;
/// its arms are the list of what the packet allows, everything else is [`NOT_ALLOWED_HERE`].
pub(super) fn read_block(
    reader: &mut Reader,
    mut take: impl FnMut(u8, &mut Reader) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let length = reader.variable_int()?;
    if length == 0 {
        return Ok(());
    }
    let mut block = Reader::new(reader.take(length as usize)?);
    let mut seen = 0_u64;
    while !block.is_empty() {
        // A variable byte integer by its type, but no defined identifier needs a second byte.
        let id = block.u8()?;
        let bit = 1_u64.checked_shl(id.into()).ok_or(NOT_ALLOWED_HERE)?;
        if seen & bit != 0 && !may_repeat(id) {
            return Err(DecodeError::protocol("a property that may stand once is repeated"));
        }
        seen |= bit;
        take(id, &mut block)?;
    }
    Ok(())
}

/// User Property anywhere, Subscription Identifier in PUBLISH (SUBSCRIBE checks for itself).
pub(crate) fn may_repeat(id: u8) -> bool {
    matches!(id, id::USER_PROPERTY | id::SUBSCRIPTION_IDENTIFIER)
}

impl Reader {
    /// A byte that must be 0 or 1.
    pub fn flag(&mut self) -> Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::protocol("a property that must be 0 or 1 is neither")),
        }
    }

    /// §3.1.2.11.3, §3.2.2.3.3
    pub fn receive_maximum(&mut self) -> Result<u16, DecodeError> {
        match self.u16()? {
            0 => Err(DecodeError::protocol("Receive Maximum must not be 0")),
            value => Ok(value),
        }
    }

    /// §3.1.2.11.4, §3.2.2.3.6
    pub fn maximum_packet_size(&mut self) -> Result<u32, DecodeError> {
        match self.u32()? {
            0 => Err(DecodeError::protocol("Maximum Packet Size must not be 0")),
            value => Ok(value),
        }
    }

    /// §3.3.2.3.8, §3.8.2.1.2
    pub fn subscription_id(&mut self) -> Result<u32, DecodeError> {
        match self.variable_int()? {
            0 => Err(DecodeError::protocol("a Subscription Identifier must not be 0")),
            value => Ok(value),
        }
    }
}

/// Takes a property of a message, as PUBLISH and the will have them.
pub(super) fn take_message_property(
    id: u8,
    reader: &mut Reader,
    limits: &TopicLimits,
    properties: &mut Properties,
) -> Result<(), DecodeError> {
    match id {
        id::PAYLOAD_FORMAT_INDICATOR => properties.payload_is_utf8 = Some(reader.flag()?),
        id::CONTENT_TYPE => properties.content_type = Some(reader.string()?),
        id::RESPONSE_TOPIC => properties.response_topic = Some(response_topic(reader.topic_text()?, limits)?),
        id::CORRELATION_DATA => properties.correlation_data = Some(reader.binary()?),
        id::USER_PROPERTY => properties.user.push(reader.string_pair()?),
        _ => return Err(NOT_ALLOWED_HERE),
    }
    Ok(())
}

pub(crate) fn response_topic(text: ByteString, limits: &TopicLimits) -> Result<Topic, DecodeError> {
    Topic::new(text, limits).map_err(|error| match error {
        // [MQTT-3.3.2-14]: no wildcards. A Topic Name has at least one character ([MQTT-4.7.3-1]).
        TopicError::WildcardInName | TopicError::Empty => {
            DecodeError::protocol("a Response Topic must be a topic name without wildcards")
        }
        other => topic_error(other),
    })
}

/// A name that is not well formed is malformed; 0x90 is for one "not malformed, but not accepted" (§3.4.2.1).
pub(super) fn topic_error(error: TopicError) -> DecodeError {
    match error {
        TopicError::TooLong => {
            DecodeError { code: code::TOPIC_NAME_INVALID, text: "the topic name is longer than allowed" }
        }
        TopicError::TooDeep => {
            DecodeError { code: code::TOPIC_NAME_INVALID, text: "the topic name has more levels than allowed" }
        }
        TopicError::Empty => DecodeError::malformed("a topic name needs at least one character"),
        TopicError::Nul => DecodeError::malformed("a topic name contains U+0000"),
        // [MQTT-3.3.2-2]
        TopicError::WildcardInName | TopicError::MisplacedWildcard | TopicError::BadShare => {
            DecodeError::malformed("a topic name contains a wildcard")
        }
    }
}

/// Appends one property if it is there.
pub(super) fn put_u8(output: &mut Vec<u8>, id: u8, value: Option<u8>) {
    if let Some(value) = value {
        output.extend_from_slice(&[id, value]);
    }
}

/// Appends one property if it is there.
pub(super) fn put_flag(output: &mut Vec<u8>, id: u8, value: Option<bool>) {
    put_u8(output, id, value.map(u8::from));
}

/// Appends one property if it is there.
pub(super) fn put_u16(output: &mut Vec<u8>, id: u8, value: Option<u16>) {
    if let Some(value) = value {
        output.push(id);
        output.extend_from_slice(&value.to_be_bytes());
    }
}

/// Appends one property if it is there.
pub(super) fn put_u32(output: &mut Vec<u8>, id: u8, value: Option<u32>) {
    if let Some(value) = value {
        output.push(id);
        output.extend_from_slice(&value.to_be_bytes());
    }
}

/// Appends one property if it is there.
pub(super) fn put_text(output: &mut Vec<u8>, id: u8, value: Option<&ByteString>) {
    if let Some(value) = value {
        output.push(id);
        put_string(output, value);
    }
}

/// Appends one property if it is there.
pub(super) fn put_data(output: &mut Vec<u8>, id: u8, value: Option<&[u8]>) {
    if let Some(value) = value {
        output.push(id);
        put_binary(output, value);
    }
}

/// Appends the Subscription Identifier property.
pub(super) fn put_subscription_id(output: &mut Vec<u8>, value: u32) {
    output.push(id::SUBSCRIPTION_IDENTIFIER);
    put_variable_int(output, value as usize);
}

/// Appends a User Property for each pair, in order.
pub(super) fn put_user(output: &mut Vec<u8>, pairs: &[(ByteString, ByteString)]) {
    for (name, value) in pairs {
        output.push(id::USER_PROPERTY);
        put_string(output, name);
        put_string(output, value);
    }
}

/// Appends what [`take_message_property`] takes. The priority has no property in MQTT.
pub(super) fn put_message_properties(output: &mut Vec<u8>, properties: &Properties) {
    put_flag(output, id::PAYLOAD_FORMAT_INDICATOR, properties.payload_is_utf8);
    put_text(output, id::CONTENT_TYPE, properties.content_type.as_ref());
    put_text(output, id::RESPONSE_TOPIC, properties.response_topic.as_ref().map(Topic::text));
    put_data(output, id::CORRELATION_DATA, properties.correlation_data.as_deref());
    put_user(output, &properties.user);
}

/// How many bytes [`put_message_properties`] appends.
pub(super) fn message_properties_size(properties: &Properties) -> usize {
    let string = |text: &str| 2 + clipped(text).len();
    let data = |data: &[u8]| 2 + data.len().min(u16::MAX.into());
    properties.payload_is_utf8.map_or(0, |_| 2)
        + properties.content_type.as_ref().map_or(0, |text| 1 + string(text))
        + properties.response_topic.as_ref().map_or(0, |topic| 1 + string(topic.as_str()))
        + properties.correlation_data.as_ref().map_or(0, |bytes| 1 + data(bytes))
        + properties.user.iter().map(|(name, value)| 1 + string(name) + string(value)).sum::<usize>()
}
