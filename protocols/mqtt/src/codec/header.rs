//! The fixed header (§2.1): what can be refused before a packet's body has arrived.

use super::primitives::{VariableInt, variable_int};
use super::{Context, DecodeError, Side};
use crate::packet::Version;
use crate::reason::code;
use althing_core::Guarantee;

/// Type, flags and remaining length, all of them allowed here.
pub(crate) struct FixedHeader {
    pub packet_type: Type,
    pub flags: u8,
    pub size: usize,
    pub remaining: usize,
    /// The remaining length is not minimal; matters once CONNECT turns out to be of version 5.
    pub overlong: bool,
}

impl FixedHeader {
    /// `None` when the bytes end before it does.
    pub fn read(context: &Context, input: &[u8]) -> Result<Option<Self>, DecodeError> {
        let Some(&first) = input.first() else { return Ok(None) };
        let packet_type = Self::allowed_type(context, first)?;
        let flags = first & 0x0F;
        if !packet_type.allows_flags(flags, context.version) {
            return Err(DecodeError::malformed("reserved flags of the fixed header are set"));
        }
        if packet_type == Type::Publish {
            publish_flags(flags, context.version)?;
        }
        let Some(VariableInt { value, size, overlong }) = variable_int(&input[1..])? else { return Ok(None) };
        if overlong && context.version == Some(Version::V5) {
            // [MQTT-1.5.5-1]
            return Err(DecodeError::malformed("the remaining length is longer than needed"));
        }
        let header = Self { packet_type, flags, size: 1 + size, remaining: value as usize, overlong };
        if header.size + header.remaining > context.packet_bytes_max {
            let text = "the packet is larger than allowed";
            return Err(DecodeError { code: code::PACKET_TOO_LARGE, text });
        }
        if !packet_type.allows_remaining(header.remaining, context.version) {
            return Err(DecodeError::malformed("the remaining length does not fit the packet type"));
        }
        Ok(Some(header))
    }

    pub fn allowed_type(context: &Context, first: u8) -> Result<Type, DecodeError> {
        let packet_type = Type::from_first_byte(first);
        let Some(version) = context.version else {
            // [MQTT-3.1.0-1]
            return match packet_type {
                Some(Type::Connect) if context.side == Side::Server => Ok(Type::Connect),
                _ => Err(DecodeError::protocol("the first packet must be CONNECT")),
            };
        };
        match packet_type {
            None => Err(DecodeError::malformed("packet type 0 is reserved")),
            Some(Type::Auth) if version != Version::V5 => Err(DecodeError::malformed("packet type 15 is reserved")),
            // [MQTT-3.1.0-2]
            Some(Type::Connect) if context.side == Side::Server => {
                Err(DecodeError::protocol("CONNECT may be sent only once"))
            }
            Some(packet_type) if !packet_type.may_reach(context.side, version) => {
                Err(DecodeError::protocol("only the other side may send this packet"))
            }
            Some(packet_type) => Ok(packet_type),
        }
    }
}

/// Control packet types (§2.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Connect,
    ConnAck,
    Publish,
    PubAck,
    PubRec,
    PubRel,
    PubComp,
    Subscribe,
    SubAck,
    Unsubscribe,
    UnsubAck,
    PingReq,
    PingResp,
    Disconnect,
    Auth,
}

impl Type {
    pub fn from_first_byte(byte: u8) -> Option<Self> {
        Some(match byte >> 4 {
            1 => Self::Connect,
            2 => Self::ConnAck,
            3 => Self::Publish,
            4 => Self::PubAck,
            5 => Self::PubRec,
            6 => Self::PubRel,
            7 => Self::PubComp,
            8 => Self::Subscribe,
            9 => Self::SubAck,
            10 => Self::Unsubscribe,
            11 => Self::UnsubAck,
            12 => Self::PingReq,
            13 => Self::PingResp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => return None,
        })
    }

    /// The direction of flow in table 2-1.
    fn may_reach(self, side: Side, version: Version) -> bool {
        match self {
            Self::Publish | Self::PubAck | Self::PubRec | Self::PubRel | Self::PubComp | Self::Auth => true,
            Self::Connect | Self::Subscribe | Self::Unsubscribe | Self::PingReq => side == Side::Server,
            Self::ConnAck | Self::SubAck | Self::UnsubAck | Self::PingResp => side == Side::Client,
            Self::Disconnect => side == Side::Server || version == Version::V5,
        }
    }

    /// §2.1.3, MQTT 3.1.1 §2.2.2. MQTT 3.1 leaves flags unused where the later versions reserve them, and lets DUP
    /// mark the repeats of PUBREL, SUBSCRIBE and UNSUBSCRIBE (MQTT 3.1 §2.1).
    pub fn allows_flags(self, flags: u8, version: Option<Version>) -> bool {
        let is_v31 = version == Some(Version::V31);
        match self {
            Self::Publish => true,
            Self::PubRel | Self::Subscribe | Self::Unsubscribe if is_v31 => flags & 0b0110 == 0b0010,
            Self::PubRel | Self::Subscribe | Self::Unsubscribe => flags == 0b0010,
            _ => flags == 0 || is_v31,
        }
    }

    /// Whether a packet of this type can have so many bytes after its fixed header: the cheap half of what the body is
    /// checked for, known before it has arrived.
    pub fn allows_remaining(self, remaining: usize, version: Option<Version>) -> bool {
        let is_v5 = version == Some(Version::V5);
        match self {
            Self::PingReq | Self::PingResp => remaining == 0,
            Self::PubAck | Self::PubRec | Self::PubRel | Self::PubComp | Self::ConnAck | Self::UnsubAck => {
                remaining == 2 || remaining > 2 && is_v5
            }
            Self::Disconnect => remaining == 0 || is_v5,
            Self::Publish | Self::Subscribe | Self::SubAck | Self::Unsubscribe => remaining >= 2,
            Self::Connect | Self::Auth => true,
        }
    }
}

/// DUP and QoS of PUBLISH.
pub(crate) fn publish_flags(flags: u8, version: Option<Version>) -> Result<(bool, Guarantee), DecodeError> {
    // [MQTT-3.3.1-4]
    let qos = Guarantee::from_qos(flags >> 1 & 0b11).ok_or(DecodeError::malformed("QoS 3 is reserved"))?;
    let dup = flags & 0b1000 != 0;
    if dup && qos == Guarantee::AtMostOnce {
        if version != Some(Version::V31) {
            // [MQTT-3.3.1-2]
            return Err(DecodeError::malformed("DUP must be 0 at QoS 0"));
        }
        // MQTT 3.1 §2.1: DUP means something at QoS 1 and 2 only.
        return Ok((false, qos));
    }
    Ok((dup, qos))
}
