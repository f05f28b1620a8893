//! Reason codes: MQTT 5.0 §2.4, their names, what the house calls them, and the return codes of version 3.

use althing_core::Reason;

/// Every reason code by name (§2.4).
#[allow(missing_docs, reason = "the names are the specification's")]
pub mod code {
    pub const SUCCESS: u8 = 0x00;
    pub const NORMAL_DISCONNECTION: u8 = 0x00;
    pub const GRANTED_QOS_0: u8 = 0x00;
    pub const GRANTED_QOS_1: u8 = 0x01;
    pub const GRANTED_QOS_2: u8 = 0x02;
    pub const DISCONNECT_WITH_WILL_MESSAGE: u8 = 0x04;
    pub const NO_MATCHING_SUBSCRIBERS: u8 = 0x10;
    pub const NO_SUBSCRIPTION_EXISTED: u8 = 0x11;
    pub const CONTINUE_AUTHENTICATION: u8 = 0x18;
    pub const RE_AUTHENTICATE: u8 = 0x19;
    pub const UNSPECIFIED_ERROR: u8 = 0x80;
    pub const MALFORMED_PACKET: u8 = 0x81;
    pub const PROTOCOL_ERROR: u8 = 0x82;
    pub const IMPLEMENTATION_SPECIFIC_ERROR: u8 = 0x83;
    pub const UNSUPPORTED_PROTOCOL_VERSION: u8 = 0x84;
    pub const CLIENT_IDENTIFIER_NOT_VALID: u8 = 0x85;
    pub const BAD_USER_NAME_OR_PASSWORD: u8 = 0x86;
    pub const NOT_AUTHORIZED: u8 = 0x87;
    pub const SERVER_UNAVAILABLE: u8 = 0x88;
    pub const SERVER_BUSY: u8 = 0x89;
    pub const BANNED: u8 = 0x8A;
    pub const SERVER_SHUTTING_DOWN: u8 = 0x8B;
    pub const BAD_AUTHENTICATION_METHOD: u8 = 0x8C;
    pub const KEEP_ALIVE_TIMEOUT: u8 = 0x8D;
    pub const SESSION_TAKEN_OVER: u8 = 0x8E;
    pub const TOPIC_FILTER_INVALID: u8 = 0x8F;
    pub const TOPIC_NAME_INVALID: u8 = 0x90;
    pub const PACKET_IDENTIFIER_IN_USE: u8 = 0x91;
    pub const PACKET_IDENTIFIER_NOT_FOUND: u8 = 0x92;
    pub const RECEIVE_MAXIMUM_EXCEEDED: u8 = 0x93;
    pub const TOPIC_ALIAS_INVALID: u8 = 0x94;
    pub const PACKET_TOO_LARGE: u8 = 0x95;
    pub const MESSAGE_RATE_TOO_HIGH: u8 = 0x96;
    pub const QUOTA_EXCEEDED: u8 = 0x97;
    pub const ADMINISTRATIVE_ACTION: u8 = 0x98;
    pub const PAYLOAD_FORMAT_INVALID: u8 = 0x99;
    pub const RETAIN_NOT_SUPPORTED: u8 = 0x9A;
    pub const QOS_NOT_SUPPORTED: u8 = 0x9B;
    pub const USE_ANOTHER_SERVER: u8 = 0x9C;
    pub const SERVER_MOVED: u8 = 0x9D;
    pub const SHARED_SUBSCRIPTIONS_NOT_SUPPORTED: u8 = 0x9E;
    pub const CONNECTION_RATE_EXCEEDED: u8 = 0x9F;
    pub const MAXIMUM_CONNECT_TIME: u8 = 0xA0;
    pub const SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED: u8 = 0xA1;
    pub const WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED: u8 = 0xA2;
}

/// The version 5 code for a reason. Which packets may carry it, §2.4 says; a broken connection has no code
/// of its own and is an unspecified error.
pub fn to_code(reason: Reason) -> u8 {
    match reason {
        Reason::Normal => code::NORMAL_DISCONNECTION,
        Reason::WithWill => code::DISCONNECT_WITH_WILL_MESSAGE,
        Reason::ConnectionLost | Reason::Unspecified => code::UNSPECIFIED_ERROR,
        Reason::Malformed => code::MALFORMED_PACKET,
        Reason::ProtocolError => code::PROTOCOL_ERROR,
        Reason::ImplementationSpecific => code::IMPLEMENTATION_SPECIFIC_ERROR,
        Reason::UnsupportedVersion => code::UNSUPPORTED_PROTOCOL_VERSION,
        Reason::ClientIdInvalid => code::CLIENT_IDENTIFIER_NOT_VALID,
        Reason::BadCredentials => code::BAD_USER_NAME_OR_PASSWORD,
        Reason::NotAuthorised => code::NOT_AUTHORIZED,
        Reason::ServerUnavailable => code::SERVER_UNAVAILABLE,
        Reason::ServerBusy => code::SERVER_BUSY,
        Reason::Banned => code::BANNED,
        Reason::ShuttingDown => code::SERVER_SHUTTING_DOWN,
        Reason::BadAuthenticationMethod => code::BAD_AUTHENTICATION_METHOD,
        Reason::KeepAliveTimeout => code::KEEP_ALIVE_TIMEOUT,
        Reason::SessionTakenOver => code::SESSION_TAKEN_OVER,
        Reason::TopicFilterInvalid => code::TOPIC_FILTER_INVALID,
        Reason::TopicNameInvalid => code::TOPIC_NAME_INVALID,
        Reason::IdentifierInUse => code::PACKET_IDENTIFIER_IN_USE,
        Reason::IdentifierNotFound => code::PACKET_IDENTIFIER_NOT_FOUND,
        Reason::ReceiveMaximumExceeded => code::RECEIVE_MAXIMUM_EXCEEDED,
        Reason::TopicAliasInvalid => code::TOPIC_ALIAS_INVALID,
        Reason::PacketTooLarge => code::PACKET_TOO_LARGE,
        Reason::MessageRateTooHigh => code::MESSAGE_RATE_TOO_HIGH,
        Reason::QuotaExceeded | Reason::StoreFull => code::QUOTA_EXCEEDED,
        Reason::AdministrativeAction => code::ADMINISTRATIVE_ACTION,
        Reason::PayloadFormatInvalid => code::PAYLOAD_FORMAT_INVALID,
        Reason::RetainNotSupported => code::RETAIN_NOT_SUPPORTED,
        Reason::GuaranteeNotSupported => code::QOS_NOT_SUPPORTED,
        Reason::UseAnotherServer => code::USE_ANOTHER_SERVER,
        Reason::ServerMoved => code::SERVER_MOVED,
        Reason::SharedSubscriptionsNotSupported => code::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED,
        Reason::ConnectionRateExceeded => code::CONNECTION_RATE_EXCEEDED,
        Reason::SubscriptionIdentifiersNotSupported => code::SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED,
        Reason::WildcardSubscriptionsNotSupported => code::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED,
    }
}

/// The reason for a version 5 code: `Normal` for every success, `Unspecified` for a code that nobody defined.
pub fn from_code(code: u8) -> Reason {
    match code {
        code::DISCONNECT_WITH_WILL_MESSAGE => Reason::WithWill,
        0x00..=0x7F => Reason::Normal,
        code::MALFORMED_PACKET => Reason::Malformed,
        code::PROTOCOL_ERROR => Reason::ProtocolError,
        code::IMPLEMENTATION_SPECIFIC_ERROR => Reason::ImplementationSpecific,
        code::UNSUPPORTED_PROTOCOL_VERSION => Reason::UnsupportedVersion,
        code::CLIENT_IDENTIFIER_NOT_VALID => Reason::ClientIdInvalid,
        code::BAD_USER_NAME_OR_PASSWORD => Reason::BadCredentials,
        code::NOT_AUTHORIZED => Reason::NotAuthorised,
        code::SERVER_UNAVAILABLE => Reason::ServerUnavailable,
        code::SERVER_BUSY => Reason::ServerBusy,
        code::BANNED => Reason::Banned,
        code::SERVER_SHUTTING_DOWN => Reason::ShuttingDown,
        code::BAD_AUTHENTICATION_METHOD => Reason::BadAuthenticationMethod,
        code::KEEP_ALIVE_TIMEOUT => Reason::KeepAliveTimeout,
        code::SESSION_TAKEN_OVER => Reason::SessionTakenOver,
        code::TOPIC_FILTER_INVALID => Reason::TopicFilterInvalid,
        code::TOPIC_NAME_INVALID => Reason::TopicNameInvalid,
        code::PACKET_IDENTIFIER_IN_USE => Reason::IdentifierInUse,
        code::PACKET_IDENTIFIER_NOT_FOUND => Reason::IdentifierNotFound,
        code::RECEIVE_MAXIMUM_EXCEEDED => Reason::ReceiveMaximumExceeded,
        code::TOPIC_ALIAS_INVALID => Reason::TopicAliasInvalid,
        code::PACKET_TOO_LARGE => Reason::PacketTooLarge,
        code::MESSAGE_RATE_TOO_HIGH => Reason::MessageRateTooHigh,
        code::QUOTA_EXCEEDED => Reason::QuotaExceeded,
        code::ADMINISTRATIVE_ACTION | code::MAXIMUM_CONNECT_TIME => Reason::AdministrativeAction,
        code::PAYLOAD_FORMAT_INVALID => Reason::PayloadFormatInvalid,
        code::RETAIN_NOT_SUPPORTED => Reason::RetainNotSupported,
        code::QOS_NOT_SUPPORTED => Reason::GuaranteeNotSupported,
        code::USE_ANOTHER_SERVER => Reason::UseAnotherServer,
        code::SERVER_MOVED => Reason::ServerMoved,
        code::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED => Reason::SharedSubscriptionsNotSupported,
        code::CONNECTION_RATE_EXCEEDED => Reason::ConnectionRateExceeded,
        code::SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED => Reason::SubscriptionIdentifiersNotSupported,
        code::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED => Reason::WildcardSubscriptionsNotSupported,
        _ => Reason::Unspecified,
    }
}

/// The name that §2.4 gives a code. 0x00 is "Success"; in DISCONNECT it reads "Normal disconnection", in SUBACK "Granted QoS 0".
pub fn name(code: u8) -> &'static str {
    match code {
        code::SUCCESS => "Success",
        code::GRANTED_QOS_1 => "Granted QoS 1",
        code::GRANTED_QOS_2 => "Granted QoS 2",
        code::DISCONNECT_WITH_WILL_MESSAGE => "Disconnect with Will Message",
        code::NO_MATCHING_SUBSCRIBERS => "No matching subscribers",
        code::NO_SUBSCRIPTION_EXISTED => "No subscription existed",
        code::CONTINUE_AUTHENTICATION => "Continue authentication",
        code::RE_AUTHENTICATE => "Re-authenticate",
        code::UNSPECIFIED_ERROR => "Unspecified error",
        code::MALFORMED_PACKET => "Malformed Packet",
        code::PROTOCOL_ERROR => "Protocol Error",
        code::IMPLEMENTATION_SPECIFIC_ERROR => "Implementation specific error",
        code::UNSUPPORTED_PROTOCOL_VERSION => "Unsupported Protocol Version",
        code::CLIENT_IDENTIFIER_NOT_VALID => "Client Identifier not valid",
        code::BAD_USER_NAME_OR_PASSWORD => "Bad User Name or Password",
        code::NOT_AUTHORIZED => "Not authorized",
        code::SERVER_UNAVAILABLE => "Server unavailable",
        code::SERVER_BUSY => "Server busy",
        code::BANNED => "Banned",
        code::SERVER_SHUTTING_DOWN => "Server shutting down",
        code::BAD_AUTHENTICATION_METHOD => "Bad authentication method",
        code::KEEP_ALIVE_TIMEOUT => "Keep Alive timeout",
        code::SESSION_TAKEN_OVER => "Session taken over",
        code::TOPIC_FILTER_INVALID => "Topic Filter invalid",
        code::TOPIC_NAME_INVALID => "Topic Name invalid",
        code::PACKET_IDENTIFIER_IN_USE => "Packet Identifier in use",
        code::PACKET_IDENTIFIER_NOT_FOUND => "Packet Identifier not found",
        code::RECEIVE_MAXIMUM_EXCEEDED => "Receive Maximum exceeded",
        code::TOPIC_ALIAS_INVALID => "Topic Alias invalid",
        code::PACKET_TOO_LARGE => "Packet too large",
        code::MESSAGE_RATE_TOO_HIGH => "Message rate too high",
        code::QUOTA_EXCEEDED => "Quota exceeded",
        code::ADMINISTRATIVE_ACTION => "Administrative action",
        code::PAYLOAD_FORMAT_INVALID => "Payload format invalid",
        code::RETAIN_NOT_SUPPORTED => "Retain not supported",
        code::QOS_NOT_SUPPORTED => "QoS not supported",
        code::USE_ANOTHER_SERVER => "Use another server",
        code::SERVER_MOVED => "Server moved",
        code::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED => "Shared Subscriptions not supported",
        code::CONNECTION_RATE_EXCEEDED => "Connection rate exceeded",
        code::MAXIMUM_CONNECT_TIME => "Maximum connect time",
        code::SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED => "Subscription Identifiers not supported",
        code::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED => "Wildcard Subscriptions not supported",
        _ => "Unknown reason code",
    }
}

/// The CONNACK return code of version 3 (MQTT 3.1.1 §3.2.2.3) that comes nearest to a version 5 code; a return
/// code stays what it is. Refusals that version 3 has no word for read "server unavailable".
pub fn return_code(code: u8) -> u8 {
    match code {
        0..=5 => code,
        code::UNSUPPORTED_PROTOCOL_VERSION => 1,
        code::CLIENT_IDENTIFIER_NOT_VALID => 2,
        code::BAD_USER_NAME_OR_PASSWORD => 4,
        code::NOT_AUTHORIZED | code::BANNED | code::BAD_AUTHENTICATION_METHOD => 5,
        code if code < 0x80 => 0,
        _ => 3,
    }
}

/// What a CONNACK return code of version 3 means.
pub fn from_return_code(return_code: u8) -> Reason {
    match return_code {
        0 => Reason::Normal,
        1 => Reason::UnsupportedVersion,
        2 => Reason::ClientIdInvalid,
        3 => Reason::ServerUnavailable,
        4 => Reason::BadCredentials,
        5 => Reason::NotAuthorised,
        _ => Reason::Unspecified,
    }
}

/// The name of a CONNACK return code (MQTT 3.1.1 table 3.1).
pub fn return_code_name(return_code: u8) -> &'static str {
    match return_code {
        0 => "Connection Accepted",
        1 => "Connection Refused, unacceptable protocol version",
        2 => "Connection Refused, identifier rejected",
        3 => "Connection Refused, Server unavailable",
        4 => "Connection Refused, bad user name or password",
        5 => "Connection Refused, not authorized",
        _ => "Unknown return code",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_code_survives_the_way_through_the_house() {
        for code in (0x80..=0xFF).filter(|code| name(*code) != "Unknown reason code") {
            let expected = if code == code::MAXIMUM_CONNECT_TIME { code::ADMINISTRATIVE_ACTION } else { code };
            assert_eq!(to_code(from_code(code)), expected, "0x{code:02X}");
        }
        assert_eq!(to_code(from_code(code::DISCONNECT_WITH_WILL_MESSAGE)), code::DISCONNECT_WITH_WILL_MESSAGE);
        assert_eq!(from_code(code::GRANTED_QOS_2), Reason::Normal);
        assert_eq!(from_code(0xFF), Reason::Unspecified);
    }

    #[test]
    fn version_3_is_told_the_nearest_truth() {
        for (code, expected) in [
            (code::SUCCESS, 0),
            (5, 5),
            (code::UNSUPPORTED_PROTOCOL_VERSION, 1),
            (code::CLIENT_IDENTIFIER_NOT_VALID, 2),
            (code::SERVER_BUSY, 3),
            (code::QUOTA_EXCEEDED, 3),
            (code::BAD_USER_NAME_OR_PASSWORD, 4),
            (code::NOT_AUTHORIZED, 5),
            (code::BANNED, 5),
        ] {
            assert_eq!(return_code(code), expected, "0x{code:02X}");
        }
        for return_code_3 in 1..=5 {
            assert_eq!(return_code(to_code(from_return_code(return_code_3))), return_code_3);
        }
    }
}
