//! The annotation agrees with the codec on every packet and on every spoiled one, and leaves no byte out.

use crate::contexts;
use crate::samples::{any_packet, corpus};
use althing_core::annotation::{Annotation, Bits};
use althing_mqtt::annotate::{annotate, annotate_stream};
use althing_mqtt::codec::{Context, decode, encode};
use althing_mqtt::packet::{Packet, Version};
use bytes::BytesMut;
use proptest::prelude::*;

/// Annotates the first packet of `bytes` and holds it against what the codec says. Returns whether it is one.
fn agrees(context: &Context, bytes: &[u8]) -> bool {
    let annotation = annotate(context, bytes);
    let mut input = BytesMut::from(bytes);
    let verdict = decode(context, &mut input);
    let shown = || format!("{context:?}\n{bytes:02X?}\n{annotation:#?}");
    match &verdict {
        Ok(Some(packet)) => {
            assert_eq!(annotation.mistake, None, "{}", shown());
            assert_eq!(annotation.name, Some(name(packet)), "{}", shown());
            assert_eq!(annotation.length_bytes, bytes.len() - input.len(), "{}", shown());
            covers_all(&annotation, annotation.length_bytes, &shown);
        }
        Ok(None) => {
            let mistake = annotation.mistake.as_ref().unwrap_or_else(|| panic!("{}", shown()));
            assert_eq!(mistake.code, None, "{}", shown());
            covers_all(&annotation, mistake.offset.max(covered(&annotation)), &shown);
        }
        Err(error) => {
            let mistake = annotation.mistake.as_ref().unwrap_or_else(|| panic!("{}", shown()));
            assert_eq!(mistake.text, error.text, "{}", shown());
            assert!(mistake.code.as_ref().unwrap().starts_with(&format!("0x{:02X}", error.code)), "{}", shown());
            // The place has been found: a part of the packet, within what is there.
            assert!(mistake.offset > 0 || mistake.length_bytes == 1, "{}", shown());
            assert!(mistake.range().end <= bytes.len(), "{}", shown());
            covers_all(&annotation, mistake.offset.max(covered(&annotation)), &shown);
        }
    }
    matches!(verdict, Ok(Some(_)))
}

fn covered(annotation: &Annotation) -> usize {
    annotation.fields.last().map_or(0, |field| field.range().end)
}

/// Each bit up to `end` belongs to one field, in order.
fn covers_all(annotation: &Annotation, end: usize, shown: &dyn Fn() -> String) {
    let mut bit = 0;
    for field in &annotation.fields {
        let Bits { high, low } = field.bits.unwrap_or(Bits { high: 7, low: 0 });
        assert_eq!(field.offset * 8 + usize::from(7 - high), bit, "{}: {}", field.name, shown());
        let bits = if field.bits.is_some() { usize::from(high - low + 1) } else { field.length_bytes * 8 };
        bit += bits;
        assert!(!field.name.is_empty() && field.section.starts_with('§'), "{}", shown());
    }
    assert_eq!(bit, end * 8, "{}", shown());
}

fn name(packet: &Packet) -> &'static str {
    match packet {
        Packet::Connect(_) => "CONNECT",
        Packet::ConnAck(_) => "CONNACK",
        Packet::Publish(_) => "PUBLISH",
        Packet::PubAck(_) => "PUBACK",
        Packet::PubRec(_) => "PUBREC",
        Packet::PubRel(_) => "PUBREL",
        Packet::PubComp(_) => "PUBCOMP",
        Packet::Subscribe(_) => "SUBSCRIBE",
        Packet::SubAck(_) => "SUBACK",
        Packet::Unsubscribe(_) => "UNSUBSCRIBE",
        Packet::UnsubAck(_) => "UNSUBACK",
        Packet::PingReq => "PINGREQ",
        Packet::PingResp => "PINGRESP",
        Packet::Disconnect(_) => "DISCONNECT",
        Packet::Auth(_) => "AUTH",
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_packet_is_explained((context, version, packet) in any_packet()) {
        let mut bytes = Vec::new();
        encode(&packet, version, &mut bytes);
        prop_assert!(agrees(&context, &bytes));
    }

    #[test]
    fn random_bodies_are_explained(
        first in any::<u8>(),
        body in proptest::collection::vec(prop_oneof![0_u8..6, any::<u8>()], 0..100),
    ) {
        let bytes = [&[first, body.len() as u8], &body[..]].concat();
        for context in contexts() {
            agrees(&context, &bytes);
        }
    }
}

#[test]
fn every_flipped_bit_is_explained() {
    let mut spoiled = 0;
    for (context, _, mut bytes) in corpus() {
        for bit in 0..bytes.len().min(300) * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            spoiled += usize::from(!agrees(&context, &bytes));
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
    assert!(spoiled > 1_000, "only {spoiled} were wrong");
}

#[test]
fn every_truncation_and_every_shortened_body_is_explained() {
    for (context, _, bytes) in corpus() {
        for end in (0..bytes.len()).take(300) {
            assert!(!agrees(&context, &bytes[..end]));
            if bytes[1] < 0x80 && end >= 2 {
                let mut short = bytes[..end].to_vec();
                short[1] = (end - 2) as u8;
                agrees(&context, &short);
            }
        }
    }
}

#[test]
fn a_stream_learns_its_version() {
    let connect = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a";
    let publish = b"\x30\x07\x00\x03a/bhi";
    let versions = |bytes: &[u8]| annotate_stream(None, bytes).iter().map(|packet| packet.version).collect::<Vec<_>>();
    assert_eq!(versions(&[&connect[..], publish].concat()), ["MQTT 3.1.1"; 2]);
    // No packet of version 5, where a property length stands behind the topic.
    assert_eq!(versions(publish), ["MQTT 3.1.1"]);
    assert_eq!(versions(b"\x30\x08\x00\x03a/b\x00hi"), ["MQTT 5.0"]);
    let forced = annotate_stream(Some(Version::V5), publish);
    assert_eq!(forced[0].mistake.as_ref().unwrap().name, "Property Length");
}

#[test]
fn either_side_of_a_stream_is_read() {
    let subscription_identifier = b"\x30\x08\x00\x01a\x02\x0b\x01hi";
    let no_matching_subscribers = b"\x40\x03\x00\x01\x10";
    let packets = annotate_stream(Some(Version::V5), &[&subscription_identifier[..], no_matching_subscribers].concat());
    assert_eq!(packets.iter().map(|packet| packet.mistake.clone()).collect::<Vec<_>>(), [None, None]);
    let reason = packets[1].fields.last().unwrap();
    assert_eq!((&*reason.value, &*reason.section), ("0x10 No matching subscribers", "§3.4.2.1"));
}

#[test]
fn fields_have_the_names_and_sections_of_the_specification() {
    let packet = &annotate_stream(None, b"\x10\x16\x00\x04MQTT\x05\x02\x00\x3c\x05\x11\x00\x00\x0e\x10\x00\x04abcd")[0];
    let rows: Vec<_> = packet.fields.iter().map(|field| (&*field.name, &*field.value, &*field.section)).collect();
    for row in [
        ("MQTT Control Packet type", "1, CONNECT", "§2.1.2"),
        ("Protocol Name", "\"MQTT\"", "§3.1.2.1"),
        ("Clean Start", "1, a new session", "§3.1.2.4"),
        ("Keep Alive", "60 seconds", "§3.1.2.10"),
        ("Property Length", "5 bytes", "§3.1.2.11.1"),
        ("Session Expiry Interval", "3600 seconds", "§3.1.2.11.2"),
        ("Client Identifier", "\"abcd\"", "§3.1.3.1"),
    ] {
        assert!(rows.contains(&row), "{row:?} in {rows:#?}");
    }
}
