//! The fifteen control packets as values (MQTT 5.0 §3, MQTT 3.1.1 §3). One set of types for all versions:
//! what a version cannot say is empty in it.

use althing_core::message::Properties;
use althing_core::{Guarantee, Topic};
use bytes::Bytes;
use bytestring::ByteString;
use std::sync::Arc;

/// The protocol level of CONNECT (§3.1.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Version {
    /// MQTT 3.1, protocol name `MQIsdp`.
    V31 = 3,
    /// MQTT 3.1.1.
    V311 = 4,
    /// MQTT 5.0.
    V5 = 5,
}

/// Any control packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// §3.1
    Connect(Box<Connect>),
    /// §3.2
    ConnAck(Box<ConnAck>),
    /// §3.3
    Publish(Publish),
    /// §3.4
    PubAck(Acknowledgement),
    /// §3.5
    PubRec(Acknowledgement),
    /// §3.6
    PubRel(Acknowledgement),
    /// §3.7
    PubComp(Acknowledgement),
    /// §3.8
    Subscribe(Box<Subscribe>),
    /// §3.9
    SubAck(Box<Codes>),
    /// §3.10
    Unsubscribe(Box<Unsubscribe>),
    /// §3.11
    UnsubAck(Box<Codes>),
    /// §3.12
    PingReq,
    /// §3.13
    PingResp,
    /// §3.14
    Disconnect(Box<Disconnect>),
    /// §3.15, version 5 only.
    Auth(Box<Auth>),
}

/// §3.1
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    /// Name and level.
    pub version: Version,
    /// Clean Session in 3.x, Clean Start in 5.
    pub clean_start: bool,
    /// Seconds; 0 turns it off.
    pub keep_alive_s: u16,
    /// May be empty.
    pub client_id: ByteString,
    /// §3.1.2.5
    pub will: Option<Box<Will>>,
    /// §3.1.3.5
    pub username: Option<ByteString>,
    /// §3.1.3.6
    pub password: Option<Bytes>,
    /// §3.1.2.11.2; `None` = absent = 0.
    pub session_expiry_s: Option<u32>,
    /// §3.1.2.11.3; never 0.
    pub receive_maximum: Option<u16>,
    /// §3.1.2.11.4; never 0.
    pub maximum_packet_size: Option<u32>,
    /// §3.1.2.11.5
    pub topic_alias_maximum: u16,
    /// §3.1.2.11.6
    pub request_response_information: bool,
    /// §3.1.2.11.7; absent = true.
    pub request_problem_information: bool,
    /// §3.1.2.11.8
    pub user_properties: Vec<(ByteString, ByteString)>,
    /// §3.1.2.11.9
    pub authentication_method: Option<ByteString>,
    /// §3.1.2.11.10; only with a method.
    pub authentication_data: Option<Bytes>,
}

/// §3.1.3.2 to §3.1.3.4
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// Will Topic; no wildcard (checked by the decoder as a topic name).
    pub topic: Topic,
    /// Will Payload.
    pub payload: Bytes,
    /// Will QoS.
    pub qos: Guarantee,
    /// Will Retain.
    pub retain: bool,
    /// §3.1.3.2.2, seconds.
    pub delay_s: u32,
    /// §3.1.3.2.4, seconds.
    pub message_expiry_s: Option<u32>,
    /// Payload format, content type, response topic, correlation data, user properties.
    pub properties: Option<Arc<Properties>>,
}

/// §3.2. Version 3 codes are 0 to 5 in `code`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnAck {
    /// §3.2.2.1.1
    pub session_present: bool,
    /// Reason code (5) or return code (3).
    pub code: u8,
    /// §3.2.2.3.2 to §3.2.2.3.18; empty in version 3.
    pub properties: ConnAckProperties,
}

/// §3.2.2.3
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnAckProperties {
    /// §3.2.2.3.2
    pub session_expiry_s: Option<u32>,
    /// §3.2.2.3.3
    pub receive_maximum: Option<u16>,
    /// §3.2.2.3.4: 0 or 1; absent = 2.
    pub maximum_qos: Option<u8>,
    /// §3.2.2.3.5
    pub retain_available: Option<bool>,
    /// §3.2.2.3.6
    pub maximum_packet_size: Option<u32>,
    /// §3.2.2.3.7
    pub assigned_client_id: Option<ByteString>,
    /// §3.2.2.3.8
    pub topic_alias_maximum: Option<u16>,
    /// §3.2.2.3.9
    pub reason_string: Option<ByteString>,
    /// §3.2.2.3.10
    pub user_properties: Vec<(ByteString, ByteString)>,
    /// §3.2.2.3.11
    pub wildcard_subscription_available: Option<bool>,
    /// §3.2.2.3.12
    pub subscription_identifiers_available: Option<bool>,
    /// §3.2.2.3.13
    pub shared_subscription_available: Option<bool>,
    /// §3.2.2.3.14
    pub server_keep_alive_s: Option<u16>,
    /// §3.2.2.3.15
    pub response_information: Option<ByteString>,
    /// §3.2.2.3.16
    pub server_reference: Option<ByteString>,
    /// §3.2.2.3.17
    pub authentication_method: Option<ByteString>,
    /// §3.2.2.3.18
    pub authentication_data: Option<Bytes>,
}

/// §3.3
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// §3.3.1.1
    pub dup: bool,
    /// §3.3.1.2
    pub qos: Guarantee,
    /// §3.3.1.3
    pub retain: bool,
    /// §3.3.2.1; `None` only in version 5 together with an alias (empty topic on the wire).
    pub topic: Option<Topic>,
    /// §3.3.2.2; 0 at QoS 0, never 0 above.
    pub packet_id: u16,
    /// §3.3.2.3.4; the decoder passes 0 on, the receiver answers it with 0x94.
    pub topic_alias: Option<u16>,
    /// §3.3.2.3.3, seconds.
    pub message_expiry_s: Option<u32>,
    /// §3.3.2.3.8; several only from a server to a client. Never 0.
    pub subscription_ids: Vec<u32>,
    /// Payload format, content type, response topic, correlation data, user properties.
    pub properties: Option<Arc<Properties>>,
    /// §3.3.3
    pub payload: Bytes,
}

/// PUBACK, PUBREC, PUBREL, PUBCOMP: §3.4 to §3.7.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    /// Never 0.
    pub packet_id: u16,
    /// Reason code; 0 in version 3.
    pub code: u8,
    /// Reason String and User Property, boxed because they are rare.
    pub details: Option<Box<Details>>,
}

/// What several packets may add in version 5.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// Reason String.
    pub reason_string: Option<ByteString>,
    /// User Property.
    pub user_properties: Vec<(ByteString, ByteString)>,
}

/// §3.8
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// Never 0.
    pub packet_id: u16,
    /// §3.8.2.1.2; never 0.
    pub subscription_id: Option<u32>,
    /// §3.8.2.1.3
    pub user_properties: Vec<(ByteString, ByteString)>,
    /// At least one. Filters are UTF-8 strings here; whether they are filters the receiver decides,
    /// because each one has a reason code of its own.
    pub filters: Vec<SubscribeFilter>,
}

/// §3.8.3
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribeFilter {
    /// As written.
    pub filter: ByteString,
    /// Maximum QoS.
    pub qos: Guarantee,
    /// No Local.
    pub no_local: bool,
    /// Retain As Published.
    pub retain_as_published: bool,
    /// Retain Handling: 0, 1 or 2.
    pub retain_handling: u8,
}

/// SUBACK and UNSUBACK: §3.9, §3.11. UNSUBACK of version 3 has no codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Codes {
    /// Never 0.
    pub packet_id: u16,
    /// One for each filter.
    pub codes: Vec<u8>,
    /// Reason String and User Property.
    pub details: Details,
}

/// §3.10
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsubscribe {
    /// Never 0.
    pub packet_id: u16,
    /// §3.10.2.1.2
    pub user_properties: Vec<(ByteString, ByteString)>,
    /// At least one, as written.
    pub filters: Vec<ByteString>,
}

/// §3.14
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disconnect {
    /// 0 in version 3.
    pub code: u8,
    /// §3.14.2.2.2
    pub session_expiry_s: Option<u32>,
    /// §3.14.2.2.5
    pub server_reference: Option<ByteString>,
    /// Reason String and User Property.
    pub details: Details,
}

/// §3.15
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Auth {
    /// 0x00, 0x18 or 0x19.
    pub code: u8,
    /// §3.15.2.2.2
    pub method: Option<ByteString>,
    /// §3.15.2.2.3
    pub data: Option<Bytes>,
    /// Reason String and User Property.
    pub details: Details,
}
