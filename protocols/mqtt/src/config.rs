//! What can be configured about MQTT besides the limits of the house, and its row in the protocol table.

use crate::packet::Version;
use althing_core::protocol::{Row, Subprotocol};
use bytestring::ByteString;

althing_core::described! {
    /// Configuration of the MQTT listeners.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct MqttConfig {
        /// The oldest version that is let in; older clients get their version's "unacceptable protocol version".
        pub version_min: Version,
        /// Where clients are sent when the broker says "use another server" or "server moved" (§4.11).
        pub server_reference: Option<ByteString>,
    }
}

impl Default for MqttConfig {
    fn default() -> Self {
        Self { version_min: Version::V31, server_reference: None }
    }
}

/// MQTT in the protocol table.
pub const PROTOCOL: Row = Row {
    name: "mqtt",
    language: "mqtt",
    title: "MQTT",
    versions: "3.1, 3.1.1, 5.0",
    sponsor: "OASIS",
    standard: "OASIS MQTT 5.0 (2019), ISO/IEC 20922:2016 (3.1.1)",
    pattern: "publish/subscribe; request/response in 5.0",
    quality_of_service: "at most once, at least once, exactly once",
    security: "TLS, user name and password, enhanced authentication",
    addressing: "topics with levels and wildcards",
    rest: "no",
    constrained_devices: "yes, over TCP",
    default_port: 1883,
    default_bind: "127.0.0.1:1883",
    default_tls_port: Some(8883),
    subprotocols: &[
        Subprotocol { name: "mqtt", is_text: false, path: "/mqtt" },
        Subprotocol { name: "mqttv3.1", is_text: false, path: "/mqtt" },
    ],
    description: "the lightweight publish/subscribe protocol of most IoT devices",
};
