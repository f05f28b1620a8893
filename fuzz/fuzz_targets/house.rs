//! A whole house and a few peers who say anything: nothing panics, also when the process ends and begins again, memory
//! stays bounded, and when all are gone nothing of them is left.
//!
//! The input is a sequence of acts. Its first byte chooses the shards, the store and the seed of the interleaving.
#![no_main]

use althing_core::limits::{Limits, Overflow};
use althing_mqtt::codec::encode;
use althing_mqtt::packet::{Packet, Subscribe, SubscribeFilter, Version};
use althing_testkit::house::{Downtime, House, Keeping, Setup, WireId, connect_packet, topic};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

const WIRES_MAX: usize = 6;
const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];
const NAMES: [&str; 5] = ["a", "a/b", "b", "$x", "$queue/q"];
const FILTERS: [&str; 9] = ["a", "a/#", "+", "#", "+/b", "$share/g/a", "$share/g/#", "$share/h/+", "$queue/q"];

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes.iter().copied();
    let Some(first) = bytes.next() else { return };
    let mut setup = Setup::new(u64::from(first), if first & 1 == 0 { 1 } else { 3 });
    setup.limits = small_limits();
    if first & 2 == 0 {
        setup.keeping = Keeping::Disk { segment_bytes: 4 << 10 };
    }
    let mut fuzzed = Fuzzed { house: House::new(setup), wires: Vec::new() };
    while fuzzed.act(&mut bytes).is_some() {
        fuzzed.check_bounds();
    }
    fuzzed.leave();
});

fn small_limits() -> Limits {
    Limits {
        packet_bytes_max: 4_096,
        packet_bytes_before_connect_max: 1_024,
        receive_maximum: 8,
        inflight_max: 8,
        subscriptions_per_session_max: 16,
        session_expiry_s_max: 1_000,
        queue_messages_max: 16,
        queue_bytes_max: 16_384,
        queue_overflow: Overflow::DropOldest,
        retained_messages_max: 8,
        write_buffer_high_bytes: 8_192,
        write_buffer_low_bytes: 1_024,
        ..Limits::default()
    }
}

struct Fuzzed {
    house: House,
    wires: Vec<(WireId, Version)>,
}

impl Fuzzed {
    /// One act; `None` at the end of the input.
    fn act(&mut self, bytes: &mut impl Iterator<Item = u8>) -> Option<()> {
        match bytes.next()? {
            0..=15 => self.open(bytes.next()?),
            16..=31 => {
                let wire = self.choose(bytes.next()?)?.0;
                self.house.cut(wire);
            }
            32..=47 => {
                let wire = self.choose(bytes.next()?)?.0;
                let reading = bytes.next()? & 1 == 0;
                self.house.set_reading(wire, reading);
            }
            48..=63 => self.house.pass_ms(1 << (bytes.next()? % 21)),
            64..=67 => self.crash(bytes.next()?),
            68..=95 => self.house.run_steps(bytes.next()?.into()),
            96..=127 => self.house.settle(),
            128..=159 => {
                let wire = self.choose(bytes.next()?)?.0;
                let count = bytes.next()? as usize;
                let raw: Vec<u8> = bytes.take(count).collect();
                self.house.write(wire, &raw);
            }
            160.. => {
                let (wire, version) = self.choose(bytes.next()?)?;
                let packet = packet(version, bytes)?;
                let mut raw = Vec::new();
                encode(&packet, version, &mut raw);
                self.house.write(wire, &raw);
            }
        }
        Some(())
    }

    /// The process ends, and the next one begins with what the store has.
    fn crash(&mut self, byte: u8) {
        let downtime = if byte & 2 == 0 { Downtime::Known(u64::from(byte)) } else { Downtime::Doubtful(-3_600_000) };
        self.house.crash(byte & 1 == 0, downtime);
    }

    fn open(&mut self, byte: u8) {
        if self.wires.len() >= WIRES_MAX {
            let (oldest, _) = self.wires.remove(0);
            self.house.cut(oldest);
        }
        let version = VERSIONS[byte as usize % 3];
        let wire = self.house.open_wire();
        let client_id = ["one", "two", "three"][byte as usize / 3 % 3];
        let mut connect = connect_packet(client_id, version);
        connect.clean_start = byte & 64 == 0;
        connect.session_expiry_s = (byte & 128 != 0 && version == Version::V5).then_some(60);
        connect.topic_alias_maximum = if version == Version::V5 { 2 } else { 0 };
        let mut raw = Vec::new();
        encode(&Packet::Connect(Box::new(connect)), version, &mut raw);
        self.house.write(wire, &raw);
        self.wires.push((wire, version));
    }

    /// A wire by number; the first act opens one.
    fn choose(&mut self, byte: u8) -> Option<(WireId, Version)> {
        if self.wires.is_empty() {
            self.open(byte);
        }
        self.wires.get(byte as usize % self.wires.len()).copied()
    }

    fn check_bounds(&mut self) {
        let statistics = self.house.statistics();
        // Each session, group and queue: its queue and, while it is connected, a batch of last values on top.
        let queues = statistics.sessions + statistics.shared_subscriptions + statistics.queues;
        assert!(statistics.queued_messages <= queues * (16 + 3 * 8 * 16), "{statistics:?}");
        assert!(statistics.inflight_messages <= statistics.sessions * 8, "{statistics:?}");
        assert!(statistics.retained_messages <= 3 * 8, "{statistics:?}");
        assert!(
            statistics.subscriptions + statistics.shared_subscriptions <= statistics.sessions * 16,
            "{statistics:?}"
        );
        assert!(self.house.buffered_bytes() <= WIRES_MAX << 20, "{}", self.house.buffered_bytes());
        for (wire, _) in &self.wires {
            self.house.read(*wire);
        }
    }

    /// Everybody is gone for longer than any session lasts.
    fn leave(mut self) {
        for (wire, _) in std::mem::take(&mut self.wires) {
            self.house.set_reading(wire, true);
            self.house.cut(wire);
        }
        self.house.pass_ms(1_001_000);
        let statistics = self.house.statistics();
        assert_eq!(self.house.connections_open(), 0);
        assert_eq!((statistics.peers, statistics.sessions, statistics.subscriptions), (0, 0, 0), "{statistics:?}");
        // What waits in a queue waits for whoever comes.
        if statistics.queues == 0 {
            assert_eq!((statistics.queued_messages, statistics.queued_bytes), (0, 0), "{statistics:?}");
        }
        assert_eq!((statistics.inflight_messages, statistics.shared_subscriptions), (0, 0), "{statistics:?}");
    }
}

/// A packet that makes sense, more or less, so that the fuzzer gets past the codec.
fn packet(version: Version, bytes: &mut impl Iterator<Item = u8>) -> Option<Packet> {
    use althing_core::Guarantee;
    use althing_mqtt::packet::{Acknowledgement, Unsubscribe};
    let (kind, what, packet_id) = (bytes.next()?, bytes.next()?, u16::from(bytes.next()? % 16) + 1);
    let qos = Guarantee::from_qos(what % 3).unwrap_or_default();
    let acknowledgement = Acknowledgement { packet_id, code: 0, details: None };
    Some(match kind % 9 {
        0..=2 => {
            let name = topic(NAMES[what as usize / 3 % NAMES.len()]);
            let size = if what & 32 == 0 { 3 } else { 2_500 };
            let payload = if what & 128 == 0 { Bytes::from(vec![kind; size]) } else { Bytes::new() };
            let mut publish = althing_mqtt::client::publication(name, payload, qos);
            publish.packet_id = if qos == Guarantee::AtMostOnce { 0 } else { packet_id };
            publish.retain = what & 64 != 0;
            publish.message_expiry_s = (version == Version::V5 && kind & 128 != 0).then_some(5);
            Packet::Publish(publish)
        }
        3 | 4 => Packet::Subscribe(Box::new(Subscribe {
            packet_id,
            subscription_id: (version == Version::V5 && kind & 64 != 0).then_some(7),
            user_properties: Vec::new(),
            filters: vec![SubscribeFilter {
                filter: FILTERS[what as usize / 3 % FILTERS.len()].into(),
                qos,
                no_local: false,
                retain_as_published: version == Version::V5 && kind & 32 != 0,
                retain_handling: if version == Version::V5 { kind / 16 % 3 } else { 0 },
            }],
        })),
        5 => Packet::Unsubscribe(Box::new(Unsubscribe {
            packet_id,
            user_properties: Vec::new(),
            filters: vec![FILTERS[what as usize / 3 % FILTERS.len()].into()],
        })),
        6 => Packet::PubAck(acknowledgement),
        7 if what & 1 == 0 => Packet::PubRec(acknowledgement),
        7 => Packet::PubRel(acknowledgement),
        _ if what & 1 == 0 => Packet::PubComp(acknowledgement),
        _ => Packet::Disconnect(Box::default()),
    })
}
