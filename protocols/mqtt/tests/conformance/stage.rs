//! The stage of these tests: real brokers in one and in three shards, real adaptors, byte pipes and a virtual clock. A
//! peer here is bytes in and bytes out; what it says is written as text: hexadecimal digits, and 'text' between quotes.

use althing_core::Guarantee;
use althing_core::topic::TopicLimits;
use althing_mqtt::codec::{self, Context, Side};
use althing_mqtt::packet::{
    Acknowledgement, ConnAck, Connect, Details, Disconnect, Packet, Publish, Subscribe, SubscribeFilter, Unsubscribe,
    Version,
};
use althing_testkit::house::{House, Setup, WireId, connect_packet, topic};
use bytes::{Bytes, BytesMut};
use std::collections::BTreeMap;

pub const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];
pub const V5: Version = Version::V5;

/// A world with peers that write bytes by hand.
pub struct Stage {
    pub house: House,
    /// What has arrived at each peer and nobody has looked at.
    unread: BTreeMap<WireId, BytesMut>,
}

/// A connection from outside.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    pub wire: WireId,
    pub version: Version,
}

/// Plays a test on one shard and on three.
pub fn on_stage(play: impl Fn(&mut Stage)) {
    on_prepared_stage(|_| {}, play);
}

/// The same with other limits or rules.
pub fn on_prepared_stage(prepare: impl Fn(&mut Setup), play: impl Fn(&mut Stage)) {
    for shards in [1, 3] {
        let mut setup = Setup::new(u64::from(shards), shards);
        prepare(&mut setup);
        play(&mut Stage::new(House::new(setup)));
    }
}

/// Plays a test in every version of the protocol, each on a stage of its own.
pub fn in_all_versions(play: impl Fn(&mut Stage, Version)) {
    for version in VERSIONS {
        on_stage(|stage| play(stage, version));
    }
}

impl Stage {
    /// A stage in this world.
    pub fn new(house: House) -> Self {
        Self { house, unread: BTreeMap::new() }
    }

    /// A connection on which nothing has been said yet.
    pub fn open(&mut self, version: Version) -> Peer {
        Peer { wire: self.house.open_wire(), version }
    }

    /// A connected peer with a session that ends with its connection.
    pub fn connect(&mut self, client_id: &str, version: Version) -> Peer {
        self.connect_as(clean(client_id, version)).0
    }

    /// A connected peer with a session that lasts, new or resumed.
    pub fn resume(&mut self, client_id: &str, version: Version) -> (Peer, ConnAck) {
        self.connect_as(lasting(client_id, version))
    }

    /// Connects; panics unless the server accepts.
    pub fn connect_as(&mut self, connect: Connect) -> (Peer, ConnAck) {
        let peer = self.open(connect.version);
        self.send(peer, Packet::Connect(Box::new(connect)));
        match self.next_packet(peer) {
            Some(Packet::ConnAck(connack)) if connack.code == 0 => (peer, *connack),
            other => panic!("CONNECT is answered by {other:?}"),
        }
    }

    /// A connected peer with one subscription, whose SUBACK has been read.
    pub fn subscriber(&mut self, client_id: &str, version: Version, filter: &str, qos: u8) -> Peer {
        let peer = self.connect(client_id, version);
        self.subscribe(peer, filter, qos);
        peer
    }

    /// Subscribes, reads the SUBACK and returns what came besides it.
    pub fn subscribe(&mut self, peer: Peer, filter: &str, qos: u8) -> Vec<Packet> {
        self.send(peer, subscribe(77, &[(filter, qos)]));
        let mut packets = self.packets(peer);
        let position = packets.iter().position(|packet| matches!(packet, Packet::SubAck(ack) if ack.codes == [qos]));
        packets.remove(position.unwrap_or_else(|| panic!("no SUBACK with {qos} for {filter}: {packets:?}")));
        packets
    }

    /// Sends a packet and lets everything happen that follows.
    pub fn send(&mut self, peer: Peer, packet: Packet) {
        let mut bytes = Vec::new();
        codec::encode(&packet, peer.version, &mut bytes);
        self.send_bytes(peer, &bytes);
    }

    /// Sends bytes and lets everything happen that follows.
    pub fn send_bytes(&mut self, peer: Peer, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = self.house.write(peer.wire, rest);
            self.house.settle();
            assert!(taken > 0, "the server reads no further");
            rest = &rest[taken..];
        }
    }

    /// Sends bytes written as text and returns what is answered, as hexadecimal digits.
    pub fn say(&mut self, peer: Peer, text: &str) -> String {
        self.send_bytes(peer, &bytes(text));
        self.hear(peer)
    }

    /// What has arrived, as hexadecimal digits.
    pub fn hear(&mut self, peer: Peer) -> String {
        hex(&self.inbox(peer).split())
    }

    /// Up to `count` bytes of what has arrived.
    pub fn hear_bytes(&mut self, peer: Peer, count: usize) -> Vec<u8> {
        let inbox = self.inbox(peer);
        inbox.split_to(count.min(inbox.len())).to_vec()
    }

    /// What has arrived, as packets.
    pub fn packets(&mut self, peer: Peer) -> Vec<Packet> {
        std::iter::from_fn(|| self.next_packet(peer)).collect()
    }

    /// What has arrived, which is nothing but PUBLISH.
    pub fn publishes(&mut self, peer: Peer) -> Vec<Publish> {
        let publish = |packet| match packet {
            Packet::Publish(publish) => publish,
            other => panic!("PUBLISH expected, not {other:?}"),
        };
        self.packets(peer).into_iter().map(publish).collect()
    }

    /// The payloads of what has arrived, as text.
    pub fn payloads(&mut self, peer: Peer) -> Vec<String> {
        let payload = |publish: Publish| String::from_utf8_lossy(&publish.payload).into_owned();
        self.publishes(peer).into_iter().map(payload).collect()
    }

    /// The last values that a new subscriber of `filter` is given, as topic and payload.
    pub fn retained(&mut self, filter: &str) -> Vec<(String, String)> {
        let peer = self.connect("looks for last values", V5);
        let found = self.subscribe(peer, filter, 0).into_iter().filter_map(|packet| match packet {
            Packet::Publish(publish) => Some((name(&publish), String::from_utf8_lossy(&publish.payload).into_owned())),
            _ => None,
        });
        let mut found: Vec<_> = found.collect();
        found.sort();
        self.hang_up(peer);
        found
    }

    /// Lets time pass.
    pub fn pass_s(&mut self, seconds: u64) {
        self.house.pass_ms(seconds * 1_000);
    }

    /// The peer's connection is lost without a word.
    pub fn hang_up(&mut self, peer: Peer) {
        self.house.close(peer.wire);
        self.house.settle();
    }

    /// Whether the server has ended the connection.
    pub fn is_closed(&mut self, peer: Peer) -> bool {
        self.house.settle();
        self.house.is_closed(peer.wire)
    }

    /// The server has ended the conversation: version 5 is told why, version 3 nothing at all.
    #[track_caller]
    pub fn assert_ended(&mut self, peer: Peer, code: u8) {
        let said = self.hear(peer);
        match peer.version {
            Version::V5 => assert_eq!(disconnect_code(&bytes(&said)), Some(code), "{said} instead of 0x{code:02X}"),
            _ => assert_eq!(said, "", "version 3 has no words for this"),
        }
        assert!(self.is_closed(peer), "the connection stays open");
    }

    /// What these bytes are answered with by a server that a peer has just connected to.
    #[track_caller]
    pub fn assert_refused(&mut self, version: Version, said: &[u8], code: u8) {
        let peer = self.connect("refused", version);
        self.send_bytes(peer, said);
        self.assert_ended(peer, code);
    }

    /// Sends a CONNECT on a new connection and returns the code of the CONNACK that refuses it, if there is one.
    #[track_caller]
    pub fn refused_connect(&mut self, version: Version, connect: &[u8]) -> Option<u8> {
        let peer = self.open(version);
        self.send_bytes(peer, connect);
        let said = self.inbox(peer).split();
        assert!(self.is_closed(peer), "the connection stays open after {}", hex(&said));
        match said[..] {
            [] => None,
            [0x20, _, 0, code, ..] if code != 0 => Some(code),
            _ => panic!("{} refuses nothing", hex(&said)),
        }
    }

    /// The next packet that has arrived.
    pub fn next_packet(&mut self, peer: Peer) -> Option<Packet> {
        let context = Context {
            side: Side::Client,
            version: Some(peer.version),
            packet_bytes_max: usize::MAX,
            topic: TopicLimits { levels_max: usize::MAX, ..TopicLimits::default() },
        };
        let inbox = self.inbox(peer);
        codec::decode(&context, inbox).unwrap_or_else(|why| panic!("the server says {}: {why}", hex(inbox)))
    }

    fn inbox(&mut self, peer: Peer) -> &mut BytesMut {
        self.house.settle();
        let inbox = self.unread.entry(peer.wire).or_default();
        inbox.extend_from_slice(&self.house.read(peer.wire));
        inbox
    }
}

/// A CONNECT for a session that ends with its connection.
pub fn clean(client_id: &str, version: Version) -> Connect {
    Connect { clean_start: true, ..connect_packet(client_id, version) }
}

/// A CONNECT for a session that lasts.
pub fn lasting(client_id: &str, version: Version) -> Connect {
    let session_expiry_s = (version == V5).then_some(u32::MAX);
    Connect { clean_start: false, session_expiry_s, ..connect_packet(client_id, version) }
}

/// A PUBLISH with packet identifier 9 above QoS 0.
pub fn publish(name: &str, qos: u8, payload: &str) -> Publish {
    Publish {
        dup: false,
        qos: guarantee(qos),
        retain: false,
        topic: Some(topic(name)),
        packet_id: if qos == 0 { 0 } else { 9 },
        topic_alias: None,
        message_expiry_s: None,
        subscription_ids: Vec::new(),
        properties: None,
        payload: Bytes::copy_from_slice(payload.as_bytes()),
    }
}

/// A retained PUBLISH.
pub fn retained(name: &str, qos: u8, payload: &str) -> Packet {
    Packet::Publish(Publish { retain: true, ..publish(name, qos, payload) })
}

/// PUBACK and its like.
pub fn ack(packet_id: u16, code: u8) -> Acknowledgement {
    Acknowledgement { packet_id, code, details: None }
}

/// A SUBSCRIBE with filters and their QoS.
pub fn subscribe(packet_id: u16, filters: &[(&str, u8)]) -> Packet {
    let filters = filters.iter().map(|(filter, qos)| subscribe_filter(filter, *qos)).collect();
    Packet::Subscribe(Box::new(Subscribe { packet_id, subscription_id: None, user_properties: Vec::new(), filters }))
}

/// A SUBSCRIBE with a Subscription Identifier, or with other options.
pub fn subscribe_with(packet_id: u16, subscription_id: Option<u32>, filter: SubscribeFilter) -> Packet {
    Packet::Subscribe(Box::new(Subscribe {
        packet_id,
        subscription_id,
        user_properties: Vec::new(),
        filters: vec![filter],
    }))
}

/// A filter of a SUBSCRIBE.
pub fn subscribe_filter(filter: &str, qos: u8) -> SubscribeFilter {
    SubscribeFilter {
        filter: filter.into(),
        qos: guarantee(qos),
        no_local: false,
        retain_as_published: false,
        retain_handling: 0,
    }
}

/// An UNSUBSCRIBE.
pub fn unsubscribe(packet_id: u16, filters: &[&str]) -> Packet {
    let filters = filters.iter().map(|filter| (*filter).into()).collect();
    Packet::Unsubscribe(Box::new(Unsubscribe { packet_id, user_properties: Vec::new(), filters }))
}

/// A DISCONNECT with a reason code.
pub fn disconnect(code: u8) -> Packet {
    let details = Details::default();
    Packet::Disconnect(Box::new(Disconnect { code, session_expiry_s: None, server_reference: None, details }))
}

/// A QoS as the house calls it.
pub fn guarantee(qos: u8) -> Guarantee {
    Guarantee::from_qos(qos).unwrap_or_else(|| panic!("there is no QoS {qos}"))
}

/// The topic of a PUBLISH; empty for an alias alone.
pub fn name(publish: &Publish) -> String {
    publish.topic.as_ref().map(|topic| topic.as_str().to_owned()).unwrap_or_default()
}

/// The first byte, the remaining length and `body`, which is written as text.
pub fn frame(first: u8, body: &str) -> Vec<u8> {
    frame_bytes(first, &bytes(body))
}

/// The same for bytes.
pub fn frame_bytes(first: u8, body: &[u8]) -> Vec<u8> {
    [&[first][..], &variable_int(body.len()), body].concat()
}

/// A variable byte integer (§1.5.5).
pub fn variable_int(mut value: usize) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let more = if value > 0x7F { 0x80 } else { 0 };
        out.push((value & 0x7F) as u8 | more);
        value >>= 7;
        if value == 0 {
            return out;
        }
    }
}

/// The body of a CONNECT up to its flags.
pub fn connect_head(version: Version) -> &'static str {
    match version {
        Version::V31 => "0006'MQIsdp'03",
        Version::V311 => "0004'MQTT'04",
        Version::V5 => "0004'MQTT'05",
    }
}

/// "No properties", which version 3 does not even say.
pub fn no_properties(version: Version) -> &'static str {
    if version == V5 { "00" } else { "" }
}

/// Bytes from hexadecimal digits and 'text' between quotes; spaces are for the eye.
pub fn bytes(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for (index, part) in text.split('\'').enumerate() {
        if index % 2 == 1 {
            out.extend_from_slice(part.as_bytes());
            continue;
        }
        let digits: Vec<u8> = part.chars().filter(|digit| !digit.is_whitespace()).map(digit).collect();
        assert!(digits.len().is_multiple_of(2), "half a byte in {part:?}");
        out.extend(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]));
    }
    out
}

fn digit(digit: char) -> u8 {
    digit.to_digit(16).unwrap_or_else(|| panic!("{digit:?} is no hexadecimal digit")) as u8
}

/// Hexadecimal digits of bytes.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// The reason code of a DISCONNECT that fills all of `said`; its only properties are Reason String and User Property.
pub fn disconnect_code(said: &[u8]) -> Option<u8> {
    match said {
        [0xE0, 0] => Some(0),
        [0xE0, 1, code] | [0xE0, 2, code, 0] => Some(*code),
        [0xE0, length, code, properties, 0x1F | 0x26, ..]
            if usize::from(*length) == said.len() - 2 && usize::from(*properties) == said.len() - 4 =>
        {
            Some(*code)
        }
        _ => None,
    }
}
