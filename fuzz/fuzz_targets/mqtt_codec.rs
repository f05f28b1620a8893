//! Any bytes, read in every context: never a panic; the same answer however they are split; and what was read
//! can be written and read again.
#![no_main]

use althing_core::topic::TopicLimits;
use althing_mqtt::codec::{Context, DecodeError, Side, decode, encode, refusal_version};
use althing_mqtt::packet::{Packet, Version};
use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    refusal_version(bytes);
    althing_mqtt::annotate::annotate_stream(None, bytes);
    for side in [Side::Server, Side::Client] {
        for version in [None, Some(Version::V31), Some(Version::V311), Some(Version::V5)] {
            let topic = TopicLimits { length_bytes_max: 1_024, levels_max: 16 };
            read_all(&Context { side, version, packet_bytes_max: 65_536, topic }, bytes);
        }
    }
});

fn read_all(context: &Context, bytes: &[u8]) {
    let mut input = BytesMut::from(bytes);
    assert_eq!(decode_in_two(context, bytes), decode(context, &mut input.clone()));
    while let Ok(Some(packet)) = decode(context, &mut input) {
        let version = match &packet {
            Packet::Connect(connect) => connect.version,
            // Without a version only CONNECT is read.
            _ => context.version.expect("the context has a version"),
        };
        let mut written = Vec::new();
        encode(&packet, version, &mut written);
        let again = decode(context, &mut BytesMut::from(&written[..]));
        assert_eq!(again, Ok(Some(packet)), "written as {written:02X?}");
    }
}

/// The first packet when its bytes come in two reads.
fn decode_in_two(context: &Context, bytes: &[u8]) -> Result<Option<Packet>, DecodeError> {
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let mut input = BytesMut::from(first);
    match decode(context, &mut input) {
        Ok(None) => {
            assert_eq!(input, first, "nothing is taken from an incomplete packet");
            input.extend_from_slice(second);
            decode(context, &mut input)
        }
        other => other,
    }
}
