//! The codec: what is right is read and written again, what is wrong is an error value (RFC 7252 §3).

#![allow(clippy::unwrap_used, reason = "a failure of any step fails the test")]

use althing_coap::codec::{DecodeError, decode, encode};
use althing_coap::message::{Code, Kind, Message, Options, Token, number};
use bytes::Bytes;
use proptest::prelude::*;

fn hex(text: &str) -> Bytes {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn written(message: &Message) -> Bytes {
    let mut bytes = Vec::new();
    encode(message, &mut bytes);
    bytes.into()
}

fn get(kind: Kind, id: u16, token: &[u8], path: &[&str]) -> Message {
    let mut message = Message::new(kind, Code::GET, id);
    message.token = Token::new(token).unwrap();
    for segment in path {
        message.options.add(number::URI_PATH, Bytes::copy_from_slice(segment.as_bytes()));
    }
    message
}

/// The examples of RFC 7252, Appendix A, and RFC 7641, Appendix A.
fn samples() -> Vec<(Message, &'static str)> {
    let temperature = |kind, id, token: &[u8]| get(kind, id, token, &["temperature"]);
    let mut content = Message::new(Kind::Acknowledgement, Code::CONTENT, 0x7d34);
    content.payload = Bytes::from_static(b"22.3 C");
    let mut notification = Message::new(Kind::NonConfirmable, Code::CONTENT, 0x5150);
    notification.token = Token::new(&[0x4a]).unwrap();
    notification.options.add_uint(number::OBSERVE, 60);
    notification.options.add_uint(number::MAX_AGE, 15);
    notification.payload = Bytes::from_static(b"19.7 Cel");
    let mut long = Message::new(Kind::NonConfirmable, Code::PUT, 1);
    long.options.add(number::URI_PATH, vec![b'a'; 12]);
    long.options.add(number::URI_PATH, vec![b'b'; 13]);
    long.options.add(number::URI_PATH, vec![b'c'; 255]);
    long.options.add(2_000, vec![b'd'; 269]);
    long.options.add(65_535, Bytes::new());
    vec![
        (temperature(Kind::Confirmable, 0x7d34, b""), "40 01 7d 34 bb 74 65 6d 70 65 72 61 74 75 72 65"),
        (content, "60 45 7d 34 ff 32 32 2e 33 20 43"),
        (temperature(Kind::Confirmable, 0x7d35, b"\x20"), "41 01 7d 35 20 bb 74 65 6d 70 65 72 61 74 75 72 65"),
        (Message::new(Kind::Acknowledgement, Code::EMPTY, 0x7d38), "60 00 7d 38"),
        (Message::new(Kind::Reset, Code::EMPTY, 0x7d38), "70 00 7d 38"),
        (notification, "51 45 51 50 4a 61 3c 81 0f ff 31 39 2e 37 20 43 65 6c"),
        (long, ""),
    ]
}

#[test]
fn the_specifications_examples_are_read_and_written() {
    for (message, text) in samples() {
        if !text.is_empty() {
            assert_eq!(written(&message), hex(text), "{message:?}");
        }
        assert_eq!(decode(&written(&message)).unwrap(), message);
    }
}

#[test]
fn tokens_longer_than_twelve_bytes_have_a_length_of_their_own() {
    for (bytes, head) in [(8, "48 01 00 07"), (12, "4c 01 00 07"), (13, "4d 01 00 07 00"), (32, "4d 01 00 07 13")] {
        let token: Vec<u8> = (0..bytes).collect();
        let message = get(Kind::Confirmable, 7, &token, &[]);
        let expected = [&hex(head)[..], &token].concat();
        assert_eq!(written(&message), expected);
        assert_eq!(decode(&expected.into()), Ok(message));
    }
    assert_eq!(Token::new(&[0; 33]), None);
}

#[test]
fn what_is_malformed_is_an_error() {
    for (text, why) in [
        ("40 00 12 34 00", "a byte after an empty message"),
        ("41 00 12 34 00", "an empty message with a token"),
        ("49 01 12 34 01 02 03 04", "a token of nine bytes that is cut short"),
        ("4d 01 12 34", "a token's length without its byte"),
        ("4e 01 12 34 00", "a token's length with one of two bytes"),
        (&format!("4d 01 12 34 14 {}", "00".repeat(33)), "a token above the bound"),
        (&format!("4e 01 12 34 00 00 {}", "00".repeat(269)), "a token far above the bound"),
        ("4f 01 12 34", "a token length of 15"),
        ("44 01 12 34 01 02", "a token that is cut short"),
        ("40 01 12 34 ff", "a payload marker without a payload"),
        ("40 01 12 34 f0 00", "a delta of 15"),
        ("40 01 12 34 bf 00", "a length of 15"),
        ("40 01 12 34 d0", "a delta without its byte"),
        ("40 01 12 34 e0 01", "a delta with one of two bytes"),
        ("40 01 12 34 bd", "a length without its byte"),
        ("40 01 12 34 b4 61 62", "a value that is cut short"),
        ("40 01 12 34 e0 ff ff 00", "an option number above 65,535"),
        ("40 20 12 34", "a code of class 1"),
        ("40 c5 12 34", "a code of class 6"),
        ("40 e1 12 34", "a code of class 7"),
        ("70 45 12 34", "a reset with a code"),
    ] {
        match decode(&hex(text)) {
            Err(DecodeError::Malformed { id: 0x1234, .. }) => {}
            other => panic!("{why}: {other:?}"),
        }
    }
    for text in ["", "40", "40 01 12", "00 01 12 34", "80 01 12 34", "c0 01 12 34"] {
        assert_eq!(decode(&hex(text)), Err(DecodeError::Foreign), "{text}");
    }
}

/// A datagram has no length of its own: a part of one may be another message. Whatever is read as a message is
/// that message and no other.
fn is_read_or_refused(datagram: &[u8]) {
    let datagram = Bytes::copy_from_slice(datagram);
    if let Ok(message) = decode(&datagram) {
        assert_eq!(written(&message), datagram, "{message:?}");
    }
}

#[test]
fn every_truncation_and_every_flipped_bit_is_read_or_refused() {
    for (message, _) in samples() {
        let whole = written(&message);
        for end in 0..whole.len() {
            is_read_or_refused(&whole[..end]);
        }
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            is_read_or_refused(&flipped);
        }
    }
}

fn message() -> impl Strategy<Value = Message> {
    let kind = prop_oneof![Just(Kind::Confirmable), Just(Kind::NonConfirmable), Just(Kind::Acknowledgement)];
    let code = (prop_oneof![Just(0_u8), Just(2), Just(4), Just(5)], 1..32_u8);
    let bytes = |max| prop::collection::vec(any::<u8>(), 0..max);
    let options = prop::collection::vec((any::<u16>(), bytes(300)), 0..8);
    (kind, code, any::<u16>(), bytes(33), options, bytes(40)).prop_map(|(kind, code, id, token, added, payload)| {
        let mut options = Options::default();
        for (number, value) in added {
            options.add(number, value);
        }
        let (code, token) = (Code::new(code.0, code.1), Token::new(&token).unwrap());
        Message { kind, code, id, token, options, payload: payload.into() }
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read(message in message()) {
        prop_assert_eq!(decode(&written(&message)), Ok(message));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        is_read_or_refused(&bytes);
    }

    #[test]
    fn numbers_are_short_and_come_back(value in any::<u32>()) {
        let mut options = Options::default();
        options.add_uint(number::MAX_AGE, value);
        prop_assert_eq!(options.uint(number::MAX_AGE), Some(value));
        prop_assert_eq!(options.get(number::MAX_AGE).unwrap().first().copied().unwrap_or(1) == 0, false);
    }
}
