//! What can be configured about HTTP besides the limits of the house, and its row in the protocol table.

use althing_core::protocol::Row;

althing_core::described! {
    /// Configuration of the HTTP listeners.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct HttpConfig {
        /// Pages of other origins that may use the broker, each as the browser writes it: `https://app.example`, with the
        /// port where it is not the usual one. Those of the broker itself always may.
        pub origins: Vec<String>,
        /// Names, besides addresses and `localhost`, under which the broker is called outside of TLS. A page whose name was
        /// rebound to our address gives itself away by calling us by that name.
        pub hosts: Vec<String>,
        /// Customary ports of WebSocket to listen at as well, on loopback: `emqx` (8083), `mosquitto` (9001), `hivemq` (8000).
        pub presets: Vec<String>,
        /// Header lines of one request.
        pub headers_max: usize,
        /// Bytes of the line and the headers of one request; 8,192 at least.
        pub header_bytes_max: usize,
        /// Bytes of the body of one request. What is published is bounded by `limits.packet_bytes_max` too.
        pub body_bytes_max: usize,
        /// How long the first request of a connection may take to begin and to have all its headers here.
        pub header_timeout_ms: u64,
        /// How long the body of one request may take.
        pub body_timeout_ms: u64,
        /// How long a connection may be without a request. Above what proxies keep, so that it is they who close.
        pub keep_alive_timeout_ms: u64,
        /// Requests of one HTTP/2 connection at once.
        pub streams_max: u32,
        /// Different credentials that one connection is remembered by; proxies may send the requests of several users.
        pub sessions_per_connection_max: usize,
        /// An event stream without events gets a comment that often, so that nobody on the way takes it for dead.
        pub event_heartbeat_s: u32,
        /// How long an event stream goes on without its client, which may come back with `Last-Event-ID`. 0: not at all.
        pub event_stream_linger_s: u32,
        /// Streams that go on without their clients, at once.
        pub event_streams_lingering_max: usize,
        /// Events of one stream that are remembered for a client that comes back.
        pub event_history_max: usize,
        /// The same in bytes.
        pub event_history_bytes_max: usize,
        /// How long the answer to an `Idempotency-Key` is remembered; the key's session lasts as long.
        pub idempotency_remembered_s: u32,
        /// Keys that are remembered.
        pub idempotency_keys_max: usize,
        /// Keys of one user; all those without a name count as one.
        pub idempotency_keys_per_user_max: usize,
    }
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            origins: Vec::new(),
            hosts: Vec::new(),
            presets: Vec::new(),
            headers_max: 100,
            header_bytes_max: 32 << 10,
            body_bytes_max: 16 << 20,
            header_timeout_ms: 10_000,
            body_timeout_ms: 30_000,
            keep_alive_timeout_ms: 75_000,
            streams_max: 128,
            sessions_per_connection_max: 16,
            event_heartbeat_s: 15,
            event_stream_linger_s: 30,
            event_streams_lingering_max: 4_096,
            event_history_max: 256,
            event_history_bytes_max: 256 << 10,
            idempotency_remembered_s: 600,
            idempotency_keys_max: 65_536,
            idempotency_keys_per_user_max: 16_384,
        }
    }
}

/// HTTP in the protocol table.
pub const PROTOCOL: Row = Row {
    name: "http",
    language: "http",
    title: "HTTP",
    versions: "1.1, 2",
    sponsor: "IETF",
    standard: "RFC 9110, 9112, 9113; server-sent events (WHATWG); WebSocket: RFC 6455, 7692",
    pattern: "resources; publish/subscribe by event streams, long polls and WebSocket; request/response",
    quality_of_service: "at most once, at least once; exactly once by an Idempotency-Key",
    security: "TLS; Basic, bearer tokens, client certificates",
    addressing: "URI: /topics/…",
    rest: "yes",
    constrained_devices: "no",
    default_port: 80,
    default_bind: "127.0.0.1:8080",
    default_tls_port: Some(8_443),
    subprotocols: &[crate::json::SUBPROTOCOL],
    description: "what every program and every web page speaks; WebSocket and the console live at its port",
};
