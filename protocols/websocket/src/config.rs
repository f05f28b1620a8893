//! What can be configured about WebSocket besides the limits of the house.

althing_core::described! {
    /// Configuration of WebSocket, for every language inside it.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct WebSocketConfig {
        /// Largest message of a language of whole messages, and largest compressed one of any, before and after it is
        /// inflated. A language of bytes (MQTT, STOMP) has its own bound: a packet, not the frames it comes in.
        pub message_bytes_max: usize,
        /// The same before the peer's session stands: no more for those who have not said who they are.
        pub message_bytes_before_connect_max: usize,
        /// From the first byte of such a message to its last.
        pub message_timeout_ms: u64,
        /// Silence after which a peer is sent a ping; 0 = never. Below the minute after which many proxies forget a
        /// connection.
        pub ping_interval_ms: u64,
        /// Silence after that ping until the connection counts as lost.
        pub pong_timeout_ms: u64,
        /// Whether messages are compressed for clients that offer it (permessage-deflate). Nothing is kept between two
        /// messages, so an idle connection costs no more with it.
        pub deflate: bool,
        /// The smallest message that is worth compressing.
        pub deflate_bytes_min: usize,
        /// How many times its size a compressed message may have, once it is inflated to more than 64 KiB. Real data
        /// stays below 100; a bomb reaches 1,000.
        pub deflate_ratio_max: usize,
    }
}

impl Default for WebSocketConfig {
    fn default() -> Self {
        Self {
            message_bytes_max: 16 << 20,
            message_bytes_before_connect_max: 96 << 10,
            message_timeout_ms: 30_000,
            ping_interval_ms: 30_000,
            pong_timeout_ms: 20_000,
            deflate: true,
            deflate_bytes_min: 1_024,
            deflate_ratio_max: 200,
        }
    }
}
