//! What is not allowed, and what is said about it: in CONNACK or DISCONNECT in version 5, by closing in version 3.

use althing_core::verbs::Reason;
use althing_core::{Guarantee, Limits, Request};
use althing_mqtt::client::{Options, publication};
use althing_mqtt::packet::{Packet, Version};
use althing_mqtt::reason::code;
use althing_testkit::pair::{Pair, topic};
use bytes::Bytes;

fn fresh() -> Pair {
    Pair::new(Limits::default(), Options::new(Version::V5, "x"))
}

fn connected(version: Version, limits: Limits) -> Pair {
    let mut pair = Pair::new(limits, Options::new(version, "x"));
    pair.connect();
    assert!(pair.client.is_connected());
    pair.requests.clear();
    pair
}

/// The code of the DISCONNECT with which the adaptor closed; it must be the last thing it says.
fn said(pair: &mut Pair) -> u8 {
    assert!(pair.closed.is_some(), "still open");
    match pair.packets_to_client(Version::V5).last() {
        Some(Packet::Disconnect(said)) => {
            assert!(said.details.reason_string.is_some(), "a sentence goes with it");
            said.code
        }
        other => panic!("no DISCONNECT but {other:?}, {:?}", pair.closed),
    }
}

#[test]
fn the_first_packet_must_be_connect() {
    for bytes in [
        &b"\xC0\x00"[..],
        b"\x30\x03\0\x01a",
        b"\xE0\x00",
        b"\x82\x08\0\x01\0\x03a/b\0",
        b"\x00\x00",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ] {
        let mut pair = fresh();
        pair.inject(bytes);
        assert!(pair.closed.is_some(), "{bytes:?}");
        assert!(pair.to_client.is_empty() && pair.requests.is_empty(), "{bytes:?}");
    }
}

#[test]
fn a_second_connect_is_a_protocol_error() {
    let mut pair = connected(Version::V5, Limits::default());
    pair.inject(b"\x10\x0D\0\x04MQTT\x05\x02\0\0\0\0\0");
    assert_eq!(said(&mut pair), code::PROTOCOL_ERROR);
    let mut pair = connected(Version::V311, Limits::default());
    pair.inject(b"\x10\x0C\0\x04MQTT\x04\x02\0\0\0\0");
    assert!(pair.closed.is_some() && pair.to_client.is_empty());
}

#[test]
fn a_quarter_of_a_gigabyte_before_connect_is_refused_at_its_length() {
    let mut pair = fresh();
    pair.inject(b"\x10\xFF\xFF\xFF\x7F");
    let close = pair.closed.as_ref().expect("closed before a byte of it was taken");
    assert_eq!(close.refusal.reason, Reason::PacketTooLarge);
    assert!(pair.to_client.is_empty());
}

#[test]
fn too_large_a_packet_is_refused_at_its_length() {
    let mut pair = connected(Version::V5, Limits { packet_bytes_max: 1_000, ..Limits::default() });
    pair.inject(b"\x30\xFF\xFF\xFF\x7F");
    assert_eq!(said(&mut pair), code::PACKET_TOO_LARGE);
}

#[test]
fn versions_that_are_not_spoken_hear_so_in_their_own_words() {
    for (level, expected) in [(6_u8, &[0x20, 3, 0, 0x84, 0][..]), (2, &[0x20, 2, 0, 1]), (0, &[0x20, 2, 0, 1])] {
        let mut pair = fresh();
        pair.inject(&[b"\x10\x0C\0\x04MQTT", &[level, 2, 0, 0, 0, 0][..]].concat());
        assert_eq!(pair.closed.as_ref().map(|close| close.refusal.reason), Some(Reason::UnsupportedVersion));
        if level > 5 {
            let packets = pair.packets_to_client(Version::V5);
            assert!(matches!(&packets[..], [Packet::ConnAck(connack)] if connack.code == expected[3]), "{packets:?}");
        } else {
            assert_eq!(&pair.to_client[..], expected, "level {level}");
        }
    }
}

#[test]
fn a_bad_connect_is_answered_in_version_5_only() {
    // A reserved connect flag.
    let mut pair = fresh();
    pair.inject(b"\x10\x0D\0\x04MQTT\x05\x03\0\0\0\0\0");
    let packets = pair.packets_to_client(Version::V5);
    assert!(
        matches!(&packets[..], [Packet::ConnAck(connack)] if connack.code == code::MALFORMED_PACKET),
        "{packets:?}"
    );
    let mut pair = fresh();
    pair.inject(b"\x10\x0C\0\x04MQTT\x04\x03\0\0\0\0");
    assert!(pair.closed.is_some() && pair.to_client.is_empty());
}

#[test]
fn a_client_id_may_be_too_long() {
    let limits = Limits { client_id_bytes_max: 8, ..Limits::default() };
    for (id, fits) in [("12345678", true), ("123456789", false)] {
        let mut pair = Pair::new(limits.clone(), Options::new(Version::V311, id));
        pair.connect();
        assert_eq!(pair.client.is_connected(), fits, "{id}");
        assert_eq!(pair.requests.len(), usize::from(fits));
    }
}

#[test]
fn malformed_packets_get_their_codes() {
    for (what, bytes, expected) in [
        ("a reserved packet type", &b"\x00\x00"[..], code::MALFORMED_PACKET),
        ("a reserved flag", b"\xC1\x00", code::MALFORMED_PACKET),
        ("QoS 3", b"\x36\x06\0\x01a\0\x01\0", code::MALFORMED_PACKET),
        ("a length of five bytes", b"\x30\xFF\xFF\xFF\xFF\x01", code::MALFORMED_PACKET),
        ("a topic that is not UTF-8", b"\x30\x04\0\x01\xFF\0", code::MALFORMED_PACKET),
        ("a wildcard in a topic name", b"\x30\x04\0\x01#\0", code::MALFORMED_PACKET),
        ("a subscription identifier from a client", b"\x30\x06\0\x01a\x02\x0B\x01", code::PROTOCOL_ERROR),
        ("a packet of the server: CONNACK", b"\x20\x03\0\0\0", code::PROTOCOL_ERROR),
        ("a packet of the server: PINGRESP", b"\xD0\x00", code::PROTOCOL_ERROR),
        ("a topic alias of 0", b"\x30\x07\0\x01a\x03\x23\0\0", code::TOPIC_ALIAS_INVALID),
        ("a topic alias above the maximum", b"\x30\x07\0\x01a\x03\x23\xFF\xFF", code::TOPIC_ALIAS_INVALID),
        ("a topic alias that stands for nothing", b"\x30\x06\0\0\x03\x23\0\x01", code::PROTOCOL_ERROR),
        ("AUTH without a method in CONNECT", b"\xF0\x02\x19\0", code::PROTOCOL_ERROR),
        ("No Local on a shared subscription", b"\x82\x10\0\x01\0\0\x0A$share/g/a\x04", code::PROTOCOL_ERROR),
    ] {
        let mut pair = connected(Version::V5, Limits::default());
        pair.inject(bytes);
        assert!(pair.closed.is_some(), "{what}: still open, {:?}", pair.requests);
        assert_eq!(said(&mut pair), expected, "{what}: {:?}", pair.closed);
        assert!(pair.closed.as_ref().is_some_and(|close| close.publish_will), "{what}");
        assert!(pair.requests.is_empty(), "{what}: nothing reaches the broker");
    }
}

#[test]
fn a_zero_packet_identifier_ends_the_conversation() {
    for bytes in [
        &b"\x32\x06\0\x01a\0\0\0"[..],
        b"\x40\x02\0\0",
        b"\x50\x02\0\0",
        b"\x62\x02\0\0",
        b"\x70\x02\0\0",
        b"\x82\x07\0\0\0\0\x01a\0",
        b"\xA2\x06\0\0\0\0\x01a",
    ] {
        let mut pair = connected(Version::V5, Limits::default());
        pair.inject(bytes);
        assert!(matches!(said(&mut pair), code::MALFORMED_PACKET | code::PROTOCOL_ERROR), "{bytes:?}");
        assert!(pair.requests.is_empty());
    }
}

#[test]
fn version_3_is_closed_without_a_word() {
    for bytes in [&b"\xC1\x00"[..], b"\x30\x03\0\x01#", b"\x36\x05\0\x01a\0\x01", b"\x40\x02\0\0", b"\xF0\x00"] {
        let mut pair = connected(Version::V311, Limits::default());
        pair.inject(bytes);
        assert!(pair.closed.is_some(), "{bytes:?}");
        assert!(pair.to_client.is_empty(), "{bytes:?}");
    }
}

#[test]
fn half_a_publish_and_then_silence_runs_out_of_time() {
    let mut options = Options::new(Version::V5, "x");
    options.connect.keep_alive_s = 0;
    let mut pair = Pair::new(Limits { packet_timeout_ms: 30_000, ..Limits::default() }, options);
    pair.connect();
    assert_eq!(pair.next_timeout(), None, "nothing is due without a keep alive");
    pair.inject(b"\x30\x10\0\x01a");
    pair.advance_ms(29_999);
    assert_eq!(pair.closed, None);
    pair.inject(b"\0");
    assert_eq!(pair.next_timeout().map(|deadline| deadline.reason), Some("rest of a packet"));
    pair.advance_ms(1);
    assert!(pair.closed.as_ref().is_some_and(|close| close.publish_will), "a byte now and then does not help");
}

#[test]
fn a_packet_that_is_completed_in_time_stops_its_deadline() {
    let mut options = Options::new(Version::V311, "x");
    options.connect.keep_alive_s = 0;
    let mut pair = Pair::new(Limits::default(), options);
    pair.connect();
    for _ in 0..5 {
        pair.inject(b"\x30\x04\0\x01");
        pair.advance_ms(20_000);
        pair.inject(b"ab\x30");
        pair.advance_ms(20_000);
        assert_eq!(pair.closed, None, "each packet has its own time");
        pair.inject(b"\x04\0\x01ab");
        assert_eq!(pair.next_timeout(), None);
    }
    let publishes = pair.requests.iter().filter(|request| matches!(request, Request::Publish(_))).count();
    assert_eq!(publishes, 10);
}

#[test]
fn names_that_are_too_deep_are_refused() {
    let mut pair = connected(Version::V5, Limits::default());
    let deep = "/".repeat(32_000);
    let length = 2 + deep.len() + 1;
    let mut bytes = vec![0x30, (length & 0x7F) as u8 | 0x80, (length >> 7 & 0x7F) as u8 | 0x80, (length >> 14) as u8];
    bytes.extend_from_slice(&(deep.len() as u16).to_be_bytes());
    bytes.extend_from_slice(deep.as_bytes());
    bytes.push(0);
    pair.inject(&bytes);
    assert_eq!(said(&mut pair), code::TOPIC_NAME_INVALID);
}

#[test]
fn a_flood_waits_its_turn() {
    let mut pair = connected(Version::V311, Limits::default());
    let mut input = bytes::BytesMut::new();
    for _ in 0..1_000 {
        input.extend_from_slice(b"\x30\x04\0\x01ab");
    }
    let mut taken = Vec::new();
    loop {
        let mut bytes = althing_core::OutBuffer::default();
        let mut requests = Default::default();
        let mut out = althing_core::Out { bytes: &mut bytes, requests: &mut requests };
        let received = althing_core::Adaptor::receive(&mut pair.adaptor, pair.now, &mut input, &mut out).unwrap();
        taken.push(requests.len());
        if received == althing_core::Receive::NeedMore {
            break;
        }
        assert_eq!(received, althing_core::Receive::Again);
    }
    assert_eq!(taken, [256, 256, 256, 232]);
}

#[test]
fn sixty_five_thousand_exactly_once_publishes_are_never_released() {
    let mut pair = connected(Version::V5, Limits::default());
    let mut sent = 0_u32;
    for packet_id in 1..=u16::MAX {
        let [high, low] = packet_id.to_be_bytes();
        pair.inject(&[0x34, 6, 0, 1, b'a', high, low, 0]);
        sent += 1;
        if pair.closed.is_some() {
            break;
        }
    }
    assert_eq!(sent, 1_025, "the Receive Maximum is 1,024 by default");
    assert_eq!(said(&mut pair), code::RECEIVE_MAXIMUM_EXCEEDED);
}

#[test]
fn any_split_of_the_bytes_means_the_same() {
    let mut pair = fresh();
    pair.client.connect(pair.now);
    let mut bytes = pair.client.output().take_all();
    pair.inject(&bytes);
    pair.settle();
    for qos in [Guarantee::AtMostOnce, Guarantee::AtLeastOnce, Guarantee::ExactlyOnce] {
        pair.client.publish(pair.now, publication(topic("a/b"), Bytes::from_static(b"payload"), qos)).unwrap();
    }
    bytes.extend(pair.client.output().take_all());
    let of_split = |at: usize| {
        let mut pair = fresh();
        for part in [&bytes[..at], &bytes[at..]] {
            pair.inject(part);
        }
        assert_eq!(pair.closed, None, "split at {at}");
        (format!("{:?}", pair.requests), pair.to_client)
    };
    let whole = of_split(0);
    for at in 1..bytes.len() {
        assert_eq!(of_split(at), whole, "split at {at}");
    }
}
