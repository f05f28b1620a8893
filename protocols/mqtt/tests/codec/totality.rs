//! Any bytes give a packet, an error or "more", never a panic; what is read can be written and read again.

use crate::contexts;
use crate::samples::corpus;
use althing_mqtt::codec::{Context, PACKET_BYTES_MAX, Side, decode, encode};
use althing_mqtt::packet::{Packet, Version};
use bytes::BytesMut;
use proptest::prelude::*;

/// Reads all packets of `bytes`; every one of them survives being written and read again.
fn read_all(context: &Context, bytes: &[u8]) -> usize {
    let mut input = BytesMut::from(bytes);
    let mut packets = 0;
    while let Ok(Some(packet)) = decode(context, &mut input) {
        packets += 1;
        let version = match &packet {
            Packet::Connect(connect) => connect.version,
            _ => context.version.unwrap_or(Version::V5),
        };
        let mut written = Vec::new();
        encode(&packet, version, &mut written);
        let again = decode(context, &mut BytesMut::from(&written[..]));
        assert_eq!(again.as_ref(), Ok(&Some(packet)), "{bytes:02X?} became {written:02X?}");
    }
    packets
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        for context in contexts() {
            read_all(&context, &bytes);
        }
    }

    /// A plausible fixed header lets random bytes reach the bodies.
    #[test]
    fn random_bodies(first in any::<u8>(), body in proptest::collection::vec(prop_oneof![0_u8..6, any::<u8>()], 0..100)) {
        let bytes = [&[first, body.len() as u8], &body[..]].concat();
        for context in contexts() {
            read_all(&context, &bytes);
        }
    }
}

#[test]
fn every_truncation_asks_for_more() {
    for (context, _, bytes) in corpus() {
        assert_eq!(read_all(&context, &bytes), 1);
        for end in (0..bytes.len()).take(300) {
            assert_eq!(decode(&context, &mut BytesMut::from(&bytes[..end])), Ok(None), "{bytes:02X?} up to {end}");
        }
    }
}

/// What a length field claims costs nothing until the bytes are there.
#[test]
fn a_claimed_length_reserves_nothing() {
    for context in contexts() {
        let context = Context { packet_bytes_max: PACKET_BYTES_MAX, ..context };
        let first = if context.version.is_none() { 0x10 } else { 0x30 };
        let mut input = BytesMut::from(&[first, 0xFF, 0xFF, 0xFF, 0x7F, 0xFF, 0xFF][..]);
        let capacity = input.capacity();
        let is_alien = context.version.is_none() && context.side == Side::Client;
        assert_eq!(decode(&context, &mut input).is_err(), is_alien);
        assert_eq!(input.capacity(), capacity);
    }
}

/// The remaining length says less than the body needs.
#[test]
fn every_shortened_body_is_an_answer() {
    for (context, _, bytes) in corpus() {
        if bytes.len() > 2 && bytes[1] < 0x80 {
            for length in 0..bytes[1] {
                let mut short = bytes[..2 + usize::from(length)].to_vec();
                short[1] = length;
                read_all(&context, &short);
            }
        }
    }
}

#[test]
fn every_flipped_bit_is_an_answer() {
    let mut still_packets = 0;
    for (context, _, mut bytes) in corpus() {
        for bit in 0..bytes.len().min(300) * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            still_packets += read_all(&context, &bytes);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
    assert!(still_packets > 1_000, "only {still_packets} packets were read");
}

#[test]
fn every_body_is_an_answer_under_every_first_byte() {
    for (_, _, mut bytes) in corpus().into_iter().filter(|(_, _, bytes)| bytes.len() < 100) {
        for first in 0..=255 {
            bytes[0] = first;
            for context in contexts() {
                read_all(&context, &bytes);
            }
        }
    }
}
