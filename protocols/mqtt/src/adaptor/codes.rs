//! Which reason codes a packet may carry: each has its own table, and what is not in it becomes the nearest
//! code that is.

use crate::reason::{code, to_code};
use althing_core::Reason;

/// §3.2.2.2
pub(super) fn connack(reason: Reason) -> u8 {
    match to_code(reason) {
        code @ (0x80..=0x8A | 0x8C | 0x90 | 0x95 | 0x97 | 0x99..=0x9D | 0x9F) => code,
        code::SERVER_SHUTTING_DOWN => code::SERVER_UNAVAILABLE,
        code::ADMINISTRATIVE_ACTION | code::SESSION_TAKEN_OVER => code::NOT_AUTHORIZED,
        _ => code::UNSPECIFIED_ERROR,
    }
}

/// §3.14.2.1, from a server.
pub(super) fn disconnect(reason: Reason) -> u8 {
    match to_code(reason) {
        code @ (0x00 | 0x80..=0x83 | 0x87 | 0x89 | 0x8B | 0x8D..=0x90 | 0x93..=0xA2) => code,
        code::BAD_USER_NAME_OR_PASSWORD | code::BANNED => code::NOT_AUTHORIZED,
        code::BAD_AUTHENTICATION_METHOD => code::PROTOCOL_ERROR, // [MQTT-4.12.0-5]
        code::SERVER_UNAVAILABLE => code::SERVER_BUSY,
        _ => code::UNSPECIFIED_ERROR,
    }
}

/// §3.4.2.1 and §3.5.2.1: PUBACK and PUBREC.
pub(super) fn publish(reason: Reason) -> u8 {
    match to_code(reason) {
        code @ (0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99) => code,
        code::MESSAGE_RATE_TOO_HIGH | code::PACKET_TOO_LARGE => code::QUOTA_EXCEEDED,
        _ => code::UNSPECIFIED_ERROR,
    }
}

/// §3.9.3
pub(super) fn suback(reason: Reason) -> u8 {
    match to_code(reason) {
        code @ (0x83 | 0x87 | 0x8F | 0x91 | 0x97 | 0x9E | 0xA1 | 0xA2) => code,
        _ => code::UNSPECIFIED_ERROR,
    }
}

/// §3.11.3
pub(super) fn unsuback(reason: Reason) -> u8 {
    match to_code(reason) {
        code @ (0x83 | 0x87 | 0x8F | 0x91) => code,
        _ => code::UNSPECIFIED_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_packet_cannot_say_becomes_the_nearest_that_it_can() {
        for (reason, said) in [
            (Reason::ShuttingDown, code::SERVER_UNAVAILABLE),
            (Reason::AdministrativeAction, code::NOT_AUTHORIZED),
            (Reason::SessionTakenOver, code::NOT_AUTHORIZED),
            (Reason::QuotaExceeded, code::QUOTA_EXCEEDED),
        ] {
            assert_eq!(connack(reason), said, "{reason:?}");
        }
        assert_eq!(publish(Reason::AdministrativeAction), code::UNSPECIFIED_ERROR);
        assert_eq!(publish(Reason::MessageRateTooHigh), code::QUOTA_EXCEEDED);
        assert_eq!(publish(Reason::PacketTooLarge), code::QUOTA_EXCEEDED);
        assert_eq!(suback(Reason::QuotaExceeded), code::QUOTA_EXCEEDED);
        assert_eq!(unsuback(Reason::QuotaExceeded), code::UNSPECIFIED_ERROR);
        assert_eq!(disconnect(Reason::ServerUnavailable), code::SERVER_BUSY);
    }
}
