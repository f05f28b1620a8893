//! Every limit of the house, each with its reason. A config key `limits.NAME` overrides each one.

use crate::topic::TopicLimits;

/// What happens to a message for a queue that is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// The oldest queued message makes room: newest data wins.
    DropOldest,
    /// The new message is dropped: the history is kept.
    DropNewest,
    /// The publisher is refused with its protocol's "quota exceeded".
    Refuse,
}

crate::described! {
    /// The bounds that protect everyone from each one.
    #[derive(Clone, Debug)]
    pub struct Limits {
        /// Names and filters. 128 levels bound the work of a match; real trees have fewer than 16.
        pub topic: TopicLimits,
        /// Largest packet taken from or made for a peer. 16 MiB: above any telemetry, below what a
        /// thousand liars could use to fill the memory.
        pub packet_bytes_max: usize,
        /// Largest packet before a peer is connected: room for a will of 64 KiB with its names, and no more for
        /// those who have not said who they are.
        pub packet_bytes_before_connect_max: usize,
        /// From accept to a complete CONNECT. A dribbling peer holds a descriptor no longer than this.
        pub connect_timeout_ms: u64,
        /// From the first byte of a packet to its last, once connected.
        pub packet_timeout_ms: u64,
        /// Longest keep alive that the broker accepts; MQTT 5 clients are told (Server Keep Alive).
        /// Dead peers without keep alive are found by TCP keep-alive.
        pub keep_alive_s_max: u16,
        /// Unacknowledged messages that the broker takes from one peer (MQTT 5 Receive Maximum).
        pub receive_maximum: u16,
        /// Unacknowledged messages on their way to one peer, at most; the peer may ask for fewer.
        pub inflight_max: u16,
        /// Topic aliases that a peer may set up (MQTT 5 Topic Alias Maximum).
        pub topic_alias_maximum: u16,
        /// Topic aliases that the broker sets up towards a peer that allows them.
        pub topic_alias_out_maximum: u16,
        /// Sessions, connected or not, in one shard.
        pub sessions_max: usize,
        /// Subscriptions of one session: a million filters from one client must not fill the house.
        pub subscriptions_per_session_max: usize,
        /// Filters in one SUBSCRIBE.
        pub filters_per_request_max: usize,
        /// Client id length; MQTT allows 65,535, nobody needs it.
        pub client_id_bytes_max: usize,
        /// Longest time that a session outlives its connection, in seconds; `u32::MAX` = for ever.
        pub session_expiry_s_max: u32,
        /// Messages waiting for one session or group.
        pub queue_messages_max: usize,
        /// Bytes waiting for one session or group.
        pub queue_bytes_max: usize,
        /// Queues (`$queue/NAME`) in one shard: everyone may make one by publishing to it.
        pub queues_max: usize,
        /// Messages waiting for a connected subscriber before its publishers are asked to wait, for at most
        /// `stall_ms`; they may go on when half of them have left.
        pub queue_high_messages: usize,
        /// The same in bytes.
        pub queue_high_bytes: usize,
        /// Bytes waiting in all queues of a shard.
        pub queue_bytes_total_max: usize,
        /// Of the stored messages of one connected session or attended group, how many wait in memory where a store can
        /// read the others back: enough to keep a fast peer busy meanwhile.
        pub queue_memory_messages: usize,
        /// The same in bytes.
        pub queue_memory_bytes: usize,
        /// What happens beyond the three bounds above.
        pub queue_overflow: Overflow,
        /// Whether QoS 0 messages wait for an absent session too.
        pub queue_at_most_once: bool,
        /// Retained messages in one shard.
        pub retained_messages_max: usize,
        /// Bytes of retained messages in one shard.
        pub retained_bytes_max: usize,
        /// Nodes of the subscription tree that one match may visit. Beyond it the publish is refused:
        /// a tree built to be slow must not stall everyone.
        pub match_visits_max: usize,
        /// Topics whose matches are remembered.
        pub route_cache_max: usize,
        /// Bytes waiting for a peer's socket before its publishers are asked to wait.
        pub write_buffer_high_bytes: usize,
        /// Bytes waiting below which they may go on.
        pub write_buffer_low_bytes: usize,
        /// How long publishers wait for one slow subscriber; then it counts as stalled and loses QoS 0.
        pub stall_ms: u64,
        /// Connections at once.
        pub connections_max: usize,
        /// Connections at once from one address. 1,000: a site behind one address has fewer devices, and one machine
        /// alone cannot fill the house.
        pub connections_per_address_max: u32,
        /// Those among them whose session does not stand yet: TLS is under way, or CONNECT has not come. 200: a site that
        /// lost its power comes back at once, but nobody holds thousands of half-open ones.
        pub openings_per_address_max: u32,
        /// New connections from one address in one second; twice as many may come at once. 200: the same site again, and no
        /// more handshakes than a fraction of one core computes.
        pub connects_per_s_per_address: u32,
        /// Connections of one address that end within ten seconds, halved every minute; one that ends before its session
        /// stands counts for ten. Beyond it the address is turned away for ten seconds, twice as long each time, up to ten
        /// minutes; each time is forgiven after half an hour. 1,000: a hundred wrong passwords, or a script that connects
        /// to publish more than eight times a second.
        pub short_connections_per_address_max: u32,
        /// How much of an IPv6 address counts as one address. 64: the network that one subscriber has at least.
        pub address_prefix_bits_v6: u8,
        /// Addresses without a connection of which something is remembered, about 100 bytes each. When there are more,
        /// those with the least against them are forgotten.
        pub addresses_remembered_max: usize,
        /// Whether these bounds also hold for this machine's own addresses: a gateway, a test or a load generator here has
        /// good reasons to open many connections, and whoever is here could do worse.
        pub address_limits_on_loopback: bool,
        /// How often in one second a connection may take over the session of another one; twice as often at once. 10: a
        /// device that lost its network does it once, two devices with one client id would do it thousands of times.
        pub takeovers_per_s: u32,
    }
}

impl Limits {
    /// From how many messages and bytes on a queue is long: the high marks, but never so high that the
    /// queue would overflow before its publishers wait.
    pub fn queue_high_marks(&self) -> (usize, usize) {
        let messages = self.queue_high_messages.min(self.queue_messages_max / 2);
        (messages, self.queue_high_bytes.min(self.queue_bytes_max / 2))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            topic: TopicLimits::default(),
            packet_bytes_max: 16 << 20,
            packet_bytes_before_connect_max: 96 << 10,
            connect_timeout_ms: 10_000,
            packet_timeout_ms: 30_000,
            keep_alive_s_max: u16::MAX,
            receive_maximum: 1_024,
            inflight_max: 1_024,
            topic_alias_maximum: 64,
            topic_alias_out_maximum: 16,
            sessions_max: 1_000_000,
            subscriptions_per_session_max: 100_000,
            filters_per_request_max: 10_000,
            client_id_bytes_max: 1_024,
            session_expiry_s_max: u32::MAX,
            queue_messages_max: 100_000,
            queue_bytes_max: 64 << 20,
            queues_max: 100_000,
            queue_high_messages: 10_000,
            queue_high_bytes: 8 << 20,
            queue_bytes_total_max: 1 << 30,
            queue_memory_messages: 128,
            queue_memory_bytes: 256 << 10,
            queue_overflow: Overflow::DropOldest,
            queue_at_most_once: false,
            retained_messages_max: 1_000_000,
            retained_bytes_max: 1 << 30,
            match_visits_max: 100_000,
            route_cache_max: 8_192,
            write_buffer_high_bytes: 1 << 20,
            write_buffer_low_bytes: 256 << 10,
            stall_ms: 5_000,
            connections_max: 1_000_000,
            connections_per_address_max: 1_000,
            openings_per_address_max: 200,
            connects_per_s_per_address: 200,
            short_connections_per_address_max: 1_000,
            address_prefix_bits_v6: 64,
            addresses_remembered_max: 65_536,
            address_limits_on_loopback: false,
            takeovers_per_s: 10,
        }
    }
}
