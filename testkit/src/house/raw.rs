//! Peers without a client half: packets by hand, for what no decent client would say.

use super::{House, WireId, connect_packet};
use althing_core::topic::TopicLimits;
use althing_mqtt::codec::{Context, Side, decode, encode};
use althing_mqtt::packet::{Packet, Version};

/// What hand-made peers do.
impl House {
    /// Writes a packet; panics when the wire has no room for it.
    pub fn send_packet(&mut self, wire: WireId, packet: &Packet, version: Version) {
        let mut bytes = Vec::new();
        encode(packet, version, &mut bytes);
        assert_eq!(self.write(wire, &bytes), bytes.len(), "no room in the wire");
    }

    /// What has arrived since the last call; an incomplete packet stays for the next one.
    pub fn read_packets(&mut self, wire: WireId, version: Version) -> Vec<Packet> {
        let context = Context {
            side: Side::Client,
            version: Some(version),
            packet_bytes_max: usize::MAX,
            topic: TopicLimits { levels_max: usize::MAX, ..TopicLimits::default() },
        };
        let Some(wire) = self.wires.get_mut(&wire) else { return Vec::new() };
        let mut packets = Vec::new();
        while let Some(packet) = decode(&context, &mut wire.inbox).unwrap_or_else(|why| panic!("{why:?}")) {
            packets.push(packet);
        }
        packets
    }

    /// A hand-made peer that is connected, after everything has settled.
    pub fn connected_by_hand(&mut self, client_id: &str, version: Version) -> WireId {
        let wire = self.open_wire();
        self.send_packet(wire, &Packet::Connect(Box::new(connect_packet(client_id, version))), version);
        self.settle();
        let packets = self.read_packets(wire, version);
        assert!(matches!(&packets[..], [Packet::ConnAck(connack)] if connack.code == 0), "{packets:?}");
        wire
    }
}
