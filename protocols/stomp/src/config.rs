//! What can be configured about STOMP besides the limits of the house, and its row in the protocol table.

use althing_core::protocol::{Row, Subprotocol};

althing_core::described! {
    /// Configuration of the STOMP listeners.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct StompConfig {
        /// Header lines in one frame. Each costs memory of its own.
        pub headers_max: usize,
        /// Bytes of command and headers of one frame. No header is longer than MQTT's strings then, which end at
        /// 65,535 bytes.
        pub header_bytes_max: usize,
        /// The shortest interval at which a peer may ask for our heart-beats; 0 = we send none.
        pub heart_beat_send_ms: u32,
        /// The interval at which we would like a peer's heart-beats; 0 = we want none.
        pub heart_beat_receive_ms: u32,
    }
}

impl Default for StompConfig {
    fn default() -> Self {
        Self { headers_max: 256, header_bytes_max: 64 << 10, heart_beat_send_ms: 1_000, heart_beat_receive_ms: 10_000 }
    }
}

/// STOMP in the protocol table.
pub const PROTOCOL: Row = Row {
    name: "stomp",
    language: "stomp",
    title: "STOMP",
    versions: "1.2",
    sponsor: "the STOMP community",
    standard: "STOMP Protocol Specification 1.2 (2012)",
    pattern: "publish/subscribe; competing consumers of queues",
    quality_of_service: "at most once, at least once",
    security: "login and passcode",
    addressing: "destinations: /topic/… and /queue/…",
    rest: "no",
    constrained_devices: "no",
    default_port: 61613,
    default_bind: "127.0.0.1:61613",
    default_tls_port: Some(61614),
    subprotocols: &[Subprotocol { name: "v12.stomp", is_text: true, path: "/stomp" }],
    description: "the plain-text messaging protocol of scripts and web pages",
};
