//! Properties as CBOR.

use althing_coap::resources::pubsub::{Properties, decode_keys};
use bytes::Bytes;
use proptest::prelude::*;

fn properties() -> impl Strategy<Value = Properties> {
    let text = || proptest::option::of(".{0,40}");
    let strings = (text(), text(), text(), text());
    let numbers = (
        proptest::option::of(any::<u16>()),
        proptest::option::of(0..4_000_000_000_000_000_u64),
        proptest::option::of(any::<u32>()),
        proptest::option::of(1..=u32::MAX),
        proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)),
    );
    (strings, numbers).prop_map(|((topic_name, topic_data, resource_type, topic_type), numbers)| {
        let (topic_content_format, expiration_wall_ms, max_subscribers, observer_check_s, initialize) = numbers;
        Properties {
            topic_name,
            topic_data,
            resource_type,
            topic_content_format,
            topic_type,
            expiration_wall_ms,
            max_subscribers,
            observer_check_s,
            initialize: initialize.map(Bytes::from),
        }
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_and_written_the_same(properties in properties()) {
        let bytes = properties.encode();
        let read = Properties::decode(&bytes).unwrap();
        prop_assert_eq!(&read, &properties);
        prop_assert_eq!(read.encode(), bytes);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(properties) = Properties::decode(&bytes) {
            prop_assert_eq!(Properties::decode(&properties.encode()).unwrap(), properties);
        }
        let _ = decode_keys(&bytes);
    }

    #[test]
    fn a_damaged_map_is_read_or_refused(properties in properties(), place in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = properties.encode().to_vec();
        let place = place.index(bytes.len());
        bytes[place] = byte;
        if let Ok(properties) = Properties::decode(&bytes) {
            prop_assert_eq!(Properties::decode(&properties.encode()).unwrap(), properties);
        }
    }
}

#[test]
fn other_ways_to_write_the_same_are_read() {
    let expected = |wall_ms| Properties { expiration_wall_ms: Some(wall_ms), ..Properties::default() };
    let cases: [(&[u8], Properties); 4] = [
        (b"\xa1\x05\xc1\x0a", expected(10_000)),
        (b"\xa1\x05\xc1\xfa\x3f\xc0\x00\x00", expected(1_500)),
        (b"\xa1\x05\xc1\xfb\x3f\xf8\x00\x00\x00\x00\x00\x00", expected(1_500)),
        (b"\xbf\x06\x18\x05\xff", Properties { max_subscribers: Some(5), ..Properties::default() }),
    ];
    for (bytes, properties) in cases {
        assert_eq!(Properties::decode(bytes).unwrap(), properties, "{bytes:02x?}");
    }
}

#[test]
fn what_is_wrong_is_refused() {
    let cases: [(&str, &[u8]); 12] = [
        ("nothing", b""),
        ("no map", b"\x80"),
        ("too short", b"\xa1\x00"),
        ("bytes behind it", b"\xa0\x00"),
        ("an unknown key", b"\xa1\x09\x00"),
        ("a key that is no number", b"\xa1\x61a\x00"),
        ("a key twice", b"\xa2\x06\x01\x06\x02"),
        ("another type", b"\xa1\x00\x01"),
        ("a format above 16 bits", b"\xa1\x03\x1a\x00\x01\x00\x00"),
        ("no observer check", b"\xa1\x07\x00"),
        ("a moment without its tag", b"\xa1\x05\x0a"),
        ("a moment that is no number", b"\xa1\x05\xc1\xfb\x7f\xf8\x00\x00\x00\x00\x00\x00"),
    ];
    for (why, bytes) in cases {
        assert!(Properties::decode(bytes).is_err(), "{why}");
    }
}
