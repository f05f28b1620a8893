//! Which reason codes a packet may carry.

use super::Side;
use super::header::Type;
use crate::packet::Version;
use crate::reason::code as reason;

/// Whether a packet of this type may carry `code` to `side`.
pub(crate) fn is_allowed(packet_type: Type, version: Version, side: Side, code: u8) -> bool {
    let is_v5 = version == Version::V5;
    match packet_type {
        // [MQTT-3.2.2-8]
        Type::ConnAck if is_v5 => {
            matches!(code, 0x00 | 0x80..=0x8A | 0x8C | 0x90 | 0x95 | 0x97 | 0x99..=0x9D | 0x9F)
        }
        Type::ConnAck => code <= 5,
        // [MQTT-3.4.2-1], [MQTT-3.5.2-1]
        Type::PubAck | Type::PubRec => match code {
            reason::NO_MATCHING_SUBSCRIBERS => side == Side::Client,
            _ => matches!(code, 0x00 | 0x80 | 0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99),
        },
        // [MQTT-3.6.2-1], [MQTT-3.7.2-1]
        Type::PubRel | Type::PubComp => matches!(code, reason::SUCCESS | reason::PACKET_IDENTIFIER_NOT_FOUND),
        Type::SubAck if is_v5 => {
            matches!(code, 0..=2 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91 | 0x97 | 0x9E | 0xA1 | 0xA2)
        }
        // MQTT 3.1.1 [MQTT-3.9.3-2]. MQTT 3.1 has no word for a failure; servers use the later one.
        Type::SubAck => matches!(code, 0..=2 | 0x80),
        Type::UnsubAck => matches!(code, 0x00 | 0x11 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91),
        // [MQTT-3.14.2-1]: each side has its own; 0x8C is in the list of §2.4 only.
        Type::Disconnect => match code {
            0x00 | 0x80..=0x83 | 0x90 | 0x93..=0x99 => true,
            0x04 => side == Side::Server,
            0x87 | 0x89 | 0x8B..=0x8F | 0x9A..=0xA2 => side == Side::Client,
            _ => false,
        },
        // [MQTT-3.15.2-1]: each side has its own.
        Type::Auth => match code {
            reason::SUCCESS => side == Side::Client,
            reason::CONTINUE_AUTHENTICATION => true,
            reason::RE_AUTHENTICATE => side == Side::Server,
            _ => false,
        },
        _ => false,
    }
}
