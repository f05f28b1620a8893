//! What can be configured about CoAP besides the limits of the house, and its row in the protocol table.

use althing_core::protocol::{Row, Subprotocol};
use std::path::PathBuf;

althing_core::described! {
    /// Configuration of the CoAP listeners: the transmission parameters of §4.8, and what anyone who can write any
    /// address on a datagram may make the broker keep.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct CoapConfig {
        /// From whom more than a short answer is kept until it has proven that it is where it says (RFC 9175 §2.4).
        pub address_proof: AddressProof,
        /// ACK_TIMEOUT: how long a confirmable message waits for its acknowledgement the first time, before the
        /// random factor of 1 to 1.5. 2 s: round trips of constrained networks are that long.
        pub ack_timeout_ms: u64,
        /// MAX_RETRANSMIT: repeats before the other end counts as gone; with 2 s that takes 62 to 93 s.
        pub max_retransmit: u8,
        /// How long an answer of the broker may take before an empty acknowledgement says that it will come
        /// separately. Well below the client's own ACK_TIMEOUT.
        pub separate_after_ms: u64,
        /// Observers hear a confirmable message at least this often (RFC 7641 §4.5: 24 hours at most), and before
        /// the first one is acknowledged nothing but that one.
        pub observer_check_s: u32,
        /// Bytes of notifications that an address is told without being asked to confirm one, and one byte a second more (PROBING_RATE,
        /// §4.7): then the next one is confirmable, and until it is acknowledged nothing else is told.
        pub unconfirmed_bytes_max: u32,
        /// Keys that are shared with devices for DTLS: lines `IDENTITY:KEY`, the key in hexadecimal digits. Nobody but its owner
        /// may read the file.
        pub psk_file: Option<PathBuf>,
        /// DTLS associations at once; beyond them whoever was silent for longest makes room.
        pub dtls_sessions_max: usize,
        /// How long a DTLS association may be silent before it ends.
        pub dtls_idle_s: u32,
        /// Largest payload in one of our datagrams. 1,024 bytes fit every path without fragments (§4.6).
        pub payload_bytes_max: usize,
        /// Whether resources for learners are there: `/time`, `/other/separate` and `/other/block`.
        pub demo: bool,
        /// Bytes of bodies that wait for their next block, of all clients together; one client has those of one largest
        /// packet (`limits.packet_bytes_max`) and its transfers in eight operations at most.
        pub transfer_bytes_max: usize,
        /// Remote addresses with a session.
        pub endpoints_max: usize,
        /// How long a remote address keeps its session after its last request, unless it observes something.
        pub endpoint_idle_s: u32,
        /// Requests of one remote address that wait for the broker. Of datagrams more are dropped, and come again; of a
        /// connection more are not read before.
        pub pending_per_endpoint_max: usize,
        /// Observations of one IP address.
        pub observations_per_address_max: usize,
        /// Observations in total.
        pub observations_max: usize,
        /// Message ids remembered, to carry out once what arrives twice; the oldest are forgotten first.
        pub exchanges_max: usize,
        /// Bytes of the answers remembered with them.
        pub exchanges_bytes_max: usize,
        /// A file with the OSCORE contexts (RFC 8613) of clients whose messages are protected end to end.
        pub oscore_file: Option<PathBuf>,
        /// Topics in the collection `/ps`.
        pub topics_max: usize,
        /// How often a second one of these topics may be published to through `/ps`; 0 = as often as the broker takes it.
        pub topic_publishes_per_s: u32,
        /// Over TCP, TLS and WebSocket: how long a client may be silent before it is asked whether it is there (Ping); 0 =
        /// for ever. Below the minute after which many proxies forget a connection.
        pub ping_after_s: u32,
        /// How long its answer (Pong) may take before the connection ends.
        pub pong_timeout_s: u32,
    }
}

impl CoapConfig {
    /// EXCHANGE_LIFETIME (§4.8.2): from the first time that a confirmable message is sent to the last moment at which something about it
    /// may arrive.
    pub fn exchange_lifetime_ms(&self) -> u64 {
        const LATENCY_MAX_MS: u64 = 100_000;
        let repeats = 1_u64.checked_shl(u32::from(self.max_retransmit)).map_or(u64::MAX, |sum| sum - 1);
        let span_ms = self.ack_timeout_ms.saturating_mul(repeats).saturating_mul(3) / 2;
        let processing_ms = self.ack_timeout_ms;
        span_ms.saturating_add(2 * LATENCY_MAX_MS).saturating_add(processing_ms)
    }
}

/// Who has to prove that it is where it says, before it gets more than three times what it sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AddressProof {
    /// Nobody: for networks where nobody can write a wrong address.
    Never,
    /// Everyone on other machines: the system lets nobody there pretend to be on this one.
    #[default]
    BeyondLoopback,
    /// Everyone.
    Always,
}

impl Default for CoapConfig {
    fn default() -> Self {
        Self {
            address_proof: AddressProof::BeyondLoopback,
            ack_timeout_ms: 2_000,
            max_retransmit: 4,
            separate_after_ms: 500,
            observer_check_s: 86_400,
            unconfirmed_bytes_max: 16_384,
            psk_file: None,
            dtls_sessions_max: 10_000,
            dtls_idle_s: 3_600,
            payload_bytes_max: 1_024,
            demo: true,
            transfer_bytes_max: 64 << 20,
            endpoints_max: 65_536,
            endpoint_idle_s: 60,
            pending_per_endpoint_max: 64,
            observations_per_address_max: 1_024,
            observations_max: 100_000,
            exchanges_max: 262_144,
            exchanges_bytes_max: 16 << 20,
            oscore_file: None,
            topics_max: 10_000,
            topic_publishes_per_s: 0,
            ping_after_s: 50,
            pong_timeout_s: 30,
        }
    }
}

/// CoAP in the protocol table.
pub const PROTOCOL: Row = Row {
    name: "coap",
    language: "coap",
    title: "CoAP",
    versions: "RFC 7252",
    sponsor: "IETF",
    standard: "RFC 7252 (2014), RFC 7641 Observe, RFC 6690 link format",
    pattern: "request/response; observe",
    quality_of_service: "at most once (NON), at least once (CON)",
    security: "DTLS 1.2: pre-shared keys, certificates",
    addressing: "URIs: coap://host/t/LEVEL/LEVEL",
    rest: "yes",
    constrained_devices: "yes, over UDP",
    default_port: 5683,
    default_bind: "127.0.0.1:5683",
    default_tls_port: Some(5684),
    subprotocols: &[],
    description: "the web's resources and methods for small devices, over datagrams",
};

/// CoAP over reliable carriers in the protocol table: TCP, TLS and WebSocket.
pub const STREAM_PROTOCOL: Row = Row {
    name: "coap-tcp",
    language: PROTOCOL.name,
    title: "CoAP over TCP",
    versions: "RFC 8323",
    sponsor: "IETF",
    standard: "RFC 8323 (2018), RFC 8974 extended tokens",
    pattern: "request/response; observe",
    quality_of_service: "at least once; ?qos= says otherwise",
    security: "TLS; name and password of the upgrade inside WebSocket",
    addressing: "URIs: coap+tcp://, coaps+tcp://, coap+ws://host/t/LEVEL/LEVEL",
    rest: "yes",
    constrained_devices: "yes, behind NAT and firewalls",
    default_port: 5683,
    default_bind: "127.0.0.1:5683",
    default_tls_port: Some(5684),
    subprotocols: &[Subprotocol { name: "coap", is_text: false, path: "/.well-known/coap" }],
    description: "CoAP over TCP, TLS and WebSocket, for where datagrams do not get through",
};
