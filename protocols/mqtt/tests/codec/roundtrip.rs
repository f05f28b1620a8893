//! What is written is read back, and how the bytes are split makes no difference.

use crate::samples::{any_packet, corpus};
use althing_mqtt::codec::{Context, DecodeError, PublishHead, decode, encode, encode_publish_head, publish_size};
use althing_mqtt::packet::Packet;
use bytes::BytesMut;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_back((context, version, packet) in any_packet(), after in any::<u8>()) {
        let mut bytes = Vec::new();
        encode(&packet, version, &mut bytes);
        bytes.push(after);
        let mut input = BytesMut::from(&bytes[..]);
        prop_assert_eq!(decode(&context, &mut input), Ok(Some(packet)));
        prop_assert_eq!(&input[..], &[after]);
    }

    #[test]
    fn the_size_of_a_publish_is_exact((_, version, packet) in any_packet()) {
        if let Packet::Publish(publish) = &packet {
            let mut whole = Vec::new();
            encode(&packet, version, &mut whole);
            let head = PublishHead::from(publish);
            prop_assert_eq!(publish_size(&head, version), whole.len());
            let mut parts = Vec::new();
            encode_publish_head(&head, version, &mut parts);
            prop_assert_eq!(parts.len() + head.payload_len, whole.len());
        }
    }
}

/// The first answer that is not "more", when the bytes come one by one.
fn dribbled(context: &Context, bytes: &[u8]) -> Result<Option<Packet>, DecodeError> {
    let mut input = BytesMut::new();
    for byte in bytes {
        input.extend_from_slice(&[*byte]);
        let before = input.len();
        match decode(context, &mut input) {
            Ok(None) => assert_eq!(input.len(), before, "nothing is taken from an incomplete packet"),
            other => return other,
        }
    }
    Ok(None)
}

#[test]
fn splitting_makes_no_difference() {
    for (context, _, bytes) in corpus() {
        let bytes = &bytes[..bytes.len().min(600)];
        assert_eq!(dribbled(&context, bytes), decode(&context, &mut BytesMut::from(bytes)), "{bytes:02X?}");
    }
}

#[test]
fn splitting_makes_no_difference_to_errors() {
    let mut errors = 0;
    for (context, _, mut bytes) in corpus() {
        bytes.truncate(60);
        for index in 0..bytes.len() {
            bytes[index] ^= 0x55;
            let whole = decode(&context, &mut BytesMut::from(&bytes[..]));
            errors += usize::from(whole.is_err());
            assert_eq!(dribbled(&context, &bytes), whole, "{bytes:02X?}");
            bytes[index] ^= 0x55;
        }
    }
    assert!(errors > 1_000, "only {errors} errors were compared");
}
