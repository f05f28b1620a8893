//! Close codes and the Close frame's payload (§5.5.1, §7.4).

use crate::frame::{CONTROL_BYTES_MAX, FrameError};
use althing_core::Reason;

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseCode(pub u16);

#[allow(missing_docs, reason = "the names are those of §7.4.1")]
impl CloseCode {
    pub const NORMAL: Self = Self(1000);
    pub const GOING_AWAY: Self = Self(1001);
    pub const PROTOCOL_ERROR: Self = Self(1002);
    pub const UNSUPPORTED_DATA: Self = Self(1003);
    /// Never in a frame: there was no code in it.
    pub const NO_STATUS: Self = Self(1005);
    /// Never in a frame: there was no Close frame.
    pub const ABNORMAL: Self = Self(1006);
    pub const INVALID_PAYLOAD: Self = Self(1007);
    pub const POLICY_VIOLATION: Self = Self(1008);
    pub const TOO_BIG: Self = Self(1009);
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// Registered with IANA, after RFC 6455, as the next two are.
    pub const SERVICE_RESTART: Self = Self(1012);
    pub const TRY_AGAIN_LATER: Self = Self(1013);
    pub const BAD_GATEWAY: Self = Self(1014);
}

impl CloseCode {
    /// Whether it may stand in a frame (§7.4.2): those that are defined, and those for libraries and applications.
    pub fn is_sendable(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }

    /// What a peer is told of the broker's reason.
    pub fn from_reason(reason: Reason) -> Self {
        match reason {
            Reason::Normal | Reason::WithWill => Self::NORMAL,
            Reason::ShuttingDown | Reason::KeepAliveTimeout => Self::GOING_AWAY,
            Reason::UseAnotherServer | Reason::ServerMoved => Self::SERVICE_RESTART,
            Reason::Malformed | Reason::ProtocolError | Reason::UnsupportedVersion => Self::PROTOCOL_ERROR,
            Reason::PayloadFormatInvalid => Self::INVALID_PAYLOAD,
            Reason::PacketTooLarge => Self::TOO_BIG,
            Reason::ServerUnavailable | Reason::ServerBusy | Reason::ConnectionRateExceeded => Self::TRY_AGAIN_LATER,
            Reason::Unspecified | Reason::ImplementationSpecific | Reason::ConnectionLost => Self::INTERNAL_ERROR,
            _ => Self::POLICY_VIOLATION,
        }
    }
}

/// What a Close frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseWords {
    /// [`CloseCode::NO_STATUS`] where there is none.
    pub code: CloseCode,
    /// For people; often empty.
    pub text: String,
}

impl CloseWords {
    /// Reads the payload of a Close frame.
    pub fn parse(payload: &[u8]) -> Result<Self, FrameError> {
        let [high, low, text @ ..] = payload else {
            return match payload {
                [] => Ok(Self { code: CloseCode::NO_STATUS, text: String::new() }),
                _ => Err(FrameError::protocol("a Close frame whose code is half a code")),
            };
        };
        let code = CloseCode(u16::from_be_bytes([*high, *low]));
        if !code.is_sendable() {
            return Err(FrameError::protocol("a Close frame with a code that may not stand in one"));
        }
        match std::str::from_utf8(text) {
            Ok(text) => Ok(Self { code, text: text.to_owned() }),
            Err(_) => Err(FrameError::not_utf8("the reason in a Close frame is UTF-8, and this one is not")),
        }
    }
}

/// The payload of a Close frame; the text is cut where the frame ends. A code that may not stand in a frame leaves it
/// empty.
pub fn close_payload(code: CloseCode, text: &str) -> Vec<u8> {
    if !code.is_sendable() {
        return Vec::new();
    }
    let text = &text[..text.floor_char_boundary(CONTROL_BYTES_MAX - 2)];
    [&code.0.to_be_bytes()[..], text.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let payload = close_payload(CloseCode::NORMAL, &"ä".repeat(100));
        assert_eq!(payload.len(), 2 + 122);
        assert_eq!(CloseWords::parse(&payload).unwrap().text, "ä".repeat(61));
    }

    #[test]
    fn every_reason_has_a_code_that_may_be_sent() {
        for reason in [Reason::Normal, Reason::Banned, Reason::ShuttingDown, Reason::PacketTooLarge, Reason::Malformed]
        {
            assert!(CloseCode::from_reason(reason).is_sendable());
        }
        assert_eq!(close_payload(CloseCode::NO_STATUS, "never"), b"");
    }
}
