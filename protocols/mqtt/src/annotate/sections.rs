//! What the specifications call things, and where.

use crate::codec::header::Type;
use crate::codec::properties::id;
use crate::packet::Version;
use crate::reason;

/// The document that a version's sections are those of.
pub(super) fn specification(version: Version) -> &'static str {
    match version {
        Version::V5 => "MQTT Version 5.0, OASIS Standard, 7 March 2019",
        Version::V311 => "MQTT Version 3.1.1, OASIS Standard, 29 October 2014",
        Version::V31 => "MQTT V3.1 Protocol Specification, 2010",
    }
}

pub(super) fn version_name(version: Version) -> &'static str {
    match version {
        Version::V5 => "MQTT 5.0",
        Version::V311 => "MQTT 3.1.1",
        Version::V31 => "MQTT 3.1",
    }
}

/// The version of a name.
pub(super) fn version_of(name: &str) -> Version {
    let versions = [Version::V31, Version::V311, Version::V5];
    versions.into_iter().find(|version| version_name(*version) == name).unwrap_or(Version::V5)
}

/// Table 2-1.
pub(super) fn packet_name(packet_type: Type) -> &'static str {
    match packet_type {
        Type::Connect => "CONNECT",
        Type::ConnAck => "CONNACK",
        Type::Publish => "PUBLISH",
        Type::PubAck => "PUBACK",
        Type::PubRec => "PUBREC",
        Type::PubRel => "PUBREL",
        Type::PubComp => "PUBCOMP",
        Type::Subscribe => "SUBSCRIBE",
        Type::SubAck => "SUBACK",
        Type::Unsubscribe => "UNSUBSCRIBE",
        Type::UnsubAck => "UNSUBACK",
        Type::PingReq => "PINGREQ",
        Type::PingResp => "PINGRESP",
        Type::Disconnect => "DISCONNECT",
        Type::Auth => "AUTH",
    }
}

/// The chapter of a packet, the same in all versions.
pub(super) fn chapter(packet_type: Type) -> &'static str {
    match packet_type {
        Type::Connect => "3.1",
        Type::ConnAck => "3.2",
        Type::Publish => "3.3",
        Type::PubAck => "3.4",
        Type::PubRec => "3.5",
        Type::PubRel => "3.6",
        Type::PubComp => "3.7",
        Type::Subscribe => "3.8",
        Type::SubAck => "3.9",
        Type::Unsubscribe => "3.10",
        Type::UnsubAck => "3.11",
        Type::PingReq => "3.12",
        Type::PingResp => "3.13",
        Type::Disconnect => "3.14",
        Type::Auth => "3.15",
    }
}

/// What a code means in this packet.
pub(super) fn code_name(packet_type: Type, version: Version, code: u8) -> &'static str {
    match (packet_type, version, code) {
        (Type::ConnAck, Version::V31 | Version::V311, _) => reason::return_code_name(code),
        (Type::SubAck, Version::V31 | Version::V311, 0) => "Success - Maximum QoS 0",
        (Type::SubAck, Version::V31 | Version::V311, 1) => "Success - Maximum QoS 1",
        (Type::SubAck, Version::V31 | Version::V311, 2) => "Success - Maximum QoS 2",
        (Type::SubAck, Version::V31 | Version::V311, 0x80) => "Failure",
        (Type::SubAck, Version::V5, 0) => "Granted QoS 0",
        (Type::Disconnect, _, 0) => "Normal disconnection",
        _ => reason::name(code),
    }
}

/// A block of properties: the section that describes it, and the properties in the order of its subsections, of
/// which the first is the Property Length.
pub(super) struct Block {
    pub section: &'static str,
    pub properties: &'static [u8],
}

/// §3.1.3.2
pub(super) const WILL_PROPERTIES: Block = Block {
    section: "3.1.3.2",
    properties: &[
        id::WILL_DELAY_INTERVAL,
        id::PAYLOAD_FORMAT_INDICATOR,
        id::MESSAGE_EXPIRY_INTERVAL,
        id::CONTENT_TYPE,
        id::RESPONSE_TOPIC,
        id::CORRELATION_DATA,
        id::USER_PROPERTY,
    ],
};

/// The properties of a packet.
pub(super) fn block(packet_type: Type) -> Block {
    const DETAILS: &[u8] = &[id::REASON_STRING, id::USER_PROPERTY];
    let (section, properties): (_, &[u8]) = match packet_type {
        Type::Connect => ("3.1.2.11", CONNECT),
        Type::ConnAck => ("3.2.2.3", CONNACK),
        Type::Publish => ("3.3.2.3", PUBLISH),
        Type::PubAck => ("3.4.2.2", DETAILS),
        Type::PubRec => ("3.5.2.2", DETAILS),
        Type::PubRel => ("3.6.2.2", DETAILS),
        Type::PubComp => ("3.7.2.2", DETAILS),
        Type::Subscribe => ("3.8.2.1", &[id::SUBSCRIPTION_IDENTIFIER, id::USER_PROPERTY]),
        Type::SubAck => ("3.9.2.1", DETAILS),
        Type::Unsubscribe => ("3.10.2.1", &[id::USER_PROPERTY]),
        Type::UnsubAck => ("3.11.2.1", DETAILS),
        Type::Disconnect => {
            ("3.14.2.2", &[id::SESSION_EXPIRY_INTERVAL, id::REASON_STRING, id::USER_PROPERTY, id::SERVER_REFERENCE])
        }
        Type::Auth => {
            ("3.15.2.2", &[id::AUTHENTICATION_METHOD, id::AUTHENTICATION_DATA, id::REASON_STRING, id::USER_PROPERTY])
        }
        Type::PingReq | Type::PingResp => ("2.2.2", &[]),
    };
    Block { section, properties }
}

const CONNECT: &[u8] = &[
    id::SESSION_EXPIRY_INTERVAL,
    id::RECEIVE_MAXIMUM,
    id::MAXIMUM_PACKET_SIZE,
    id::TOPIC_ALIAS_MAXIMUM,
    id::REQUEST_RESPONSE_INFORMATION,
    id::REQUEST_PROBLEM_INFORMATION,
    id::USER_PROPERTY,
    id::AUTHENTICATION_METHOD,
    id::AUTHENTICATION_DATA,
];

const CONNACK: &[u8] = &[
    id::SESSION_EXPIRY_INTERVAL,
    id::RECEIVE_MAXIMUM,
    id::MAXIMUM_QOS,
    id::RETAIN_AVAILABLE,
    id::MAXIMUM_PACKET_SIZE,
    id::ASSIGNED_CLIENT_IDENTIFIER,
    id::TOPIC_ALIAS_MAXIMUM,
    id::REASON_STRING,
    id::USER_PROPERTY,
    id::WILDCARD_SUBSCRIPTION_AVAILABLE,
    id::SUBSCRIPTION_IDENTIFIER_AVAILABLE,
    id::SHARED_SUBSCRIPTION_AVAILABLE,
    id::SERVER_KEEP_ALIVE,
    id::RESPONSE_INFORMATION,
    id::SERVER_REFERENCE,
    id::AUTHENTICATION_METHOD,
    id::AUTHENTICATION_DATA,
];

const PUBLISH: &[u8] = &[
    id::PAYLOAD_FORMAT_INDICATOR,
    id::MESSAGE_EXPIRY_INTERVAL,
    id::TOPIC_ALIAS,
    id::RESPONSE_TOPIC,
    id::CORRELATION_DATA,
    id::USER_PROPERTY,
    id::SUBSCRIPTION_IDENTIFIER,
    id::CONTENT_TYPE,
];
