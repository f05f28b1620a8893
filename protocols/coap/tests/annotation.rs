//! The annotation agrees with the codec on every message and on every spoiled one, and leaves no byte out.

#![allow(clippy::unwrap_used, reason = "a failure of any step fails the test")]

use althing_coap::annotate::annotate;
use althing_coap::codec::{DecodeError, decode};
use althing_core::annotation::Bits;
use bytes::Bytes;
use proptest::prelude::*;

const MESSAGES: [&[u8]; 7] = [
    b"\x41\x01\x7d\x35\x20\xbbtemperature",
    b"\x60\x45\x7d\x34\xff22.3 C",
    b"\x60\x00\x7d\x38",
    b"\x70\x00\x7d\x38",
    b"\x51\x45\x51\x50\x4a\x61\x3c\x81\x0f\xff19.7 Cel",
    b"\x40\x03\x00\x01\xdd\x00\x00aaaaaaaaaaaaa\xe0\x07\x00\xff\x01",
    b"\x40\x01\x00\x02\x60\x51t\x11\x32\x61\x08",
];

/// Holds the annotation of a datagram against what the codec says.
fn agrees(datagram: &[u8]) {
    let annotation = annotate(datagram);
    let shown = || format!("{datagram:02x?}\n{annotation:#?}");
    let mut bit = 0;
    for field in &annotation.fields {
        let Bits { high, low } = field.bits.unwrap_or(Bits { high: 7, low: 0 });
        assert_eq!(field.offset * 8 + usize::from(7 - high), bit, "{}", shown());
        bit += if field.bits.is_some() { usize::from(high - low + 1) } else { field.length_bytes * 8 };
    }
    match decode(&Bytes::copy_from_slice(datagram)) {
        Ok(message) => {
            assert_eq!((annotation.mistake.as_ref(), bit), (None, datagram.len() * 8), "{}", shown());
            let id = annotation.fields.iter().find(|field| field.name == "Message ID").unwrap();
            assert_eq!(id.value, message.id.to_string());
            assert_eq!(
                annotation.fields.iter().filter(|field| field.name == "Option Delta").count(),
                message.options.iter().count()
            );
        }
        Err(error) => {
            let mistake = annotation.mistake.as_ref().unwrap_or_else(|| panic!("{}", shown()));
            if let DecodeError::Malformed { why, .. } = error {
                assert_eq!(mistake.text, why, "{}", shown());
                // The place has been found, and it is a part of the message.
                assert!(mistake.offset > 0 || mistake.length_bytes == 1, "{}", shown());
            }
            assert!(mistake.range().end <= datagram.len(), "{}", shown());
        }
    }
}

#[test]
fn every_message_every_truncation_and_every_flipped_bit_is_explained() {
    for message in MESSAGES {
        for end in 0..=message.len() {
            agrees(&message[..end]);
        }
        for bit in 0..message.len() * 8 {
            let mut flipped = message.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            agrees(&flipped);
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_explained(head in 0x40_u8..0x80, rest in prop::collection::vec(any::<u8>(), 0..64)) {
        agrees(&[&[head], &rest[..]].concat());
    }
}

#[test]
fn fields_have_the_names_and_sections_of_the_specification() {
    let rows = |datagram: &[u8]| -> Vec<(String, String, String)> {
        let fields = annotate(datagram).fields.into_iter();
        fields.map(|field| (field.name, field.value, field.section)).collect()
    };
    let request = rows(b"\x41\x01\x7d\x35\x20\x60\x51t\x11\x32\x61\x08");
    for (name, value, section) in [
        ("Type (T)", "0, Confirmable (CON)", "§3"),
        ("Code detail", "01: 0.01 GET", "§12.1"),
        ("Message ID", "32053", "§3"),
        ("Token", "0x20", "§5.3.1"),
        ("Observe", "0, register", "RFC 7641 §2"),
        ("Uri-Path", "\"t\"", "§5.10.1"),
        ("Content-Format", "50, application/json", "§5.10.3"),
    ] {
        let row = (name.to_owned(), value.to_owned(), section.to_owned());
        assert!(request.contains(&row), "{row:?} in {request:#?}");
    }
}
