//! The framing (RFC 8323 §3.2, §4.2): what is written is read again however it is cut, and a head alone tells what is wrong.

use althing_coap::codec::stream::{StreamError, decode, decode_whole, encode, encode_whole, encoded_bytes};
use althing_coap::message::{Code, Kind, Message, Token, number};
use althing_coap::signalling::{Csm, Custody, Signal};
use althing_core::OutBuffer;
use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;

const BYTES_MAX: usize = 1 << 20;

fn written(message: &Message) -> Vec<u8> {
    let mut out = OutBuffer::default();
    encode(message, &mut out);
    out.take_all()
}

fn written_whole(message: &Message) -> Bytes {
    let mut out = Vec::new();
    encode_whole(message, &mut out);
    out.into()
}

fn read(bytes: &[u8], bytes_max: usize) -> Result<Option<Message>, StreamError> {
    decode(&mut BytesMut::from(bytes), bytes_max)
}

prop_compose! {
    pub fn message()(
        code in prop_oneof![1..8_u8, 65..96_u8, 128..192_u8, 225..230_u8],
        token in vec(any::<u8>(), 0..=8),
        options in vec((0..3_000_u16, vec(any::<u8>(), 0..300)), 0..6),
        payload in vec(any::<u8>(), 0..400),
    ) -> Message {
        let mut message = Message::new(Kind::Confirmable, Code(code), 0);
        message.token = Token::new(&token).unwrap();
        for (number, value) in options {
            message.options.add(number, value);
        }
        message.payload = payload.into();
        message
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(message in message()) {
        let bytes = written(&message);
        prop_assert_eq!(bytes.len(), encoded_bytes(&message));
        prop_assert_eq!(read(&bytes, bytes.len()).unwrap(), Some(message.clone()));
        prop_assert_eq!(decode_whole(&written_whole(&message)).unwrap(), message);
    }

    #[test]
    fn cuts_make_no_difference(messages in vec(message(), 1..6), cuts in vec(1..40_usize, 1..200)) {
        let bytes: Vec<u8> = messages.iter().flat_map(written).collect();
        let (mut rest, mut cuts) = (&bytes[..], cuts.iter().cycle());
        let (mut input, mut found) = (BytesMut::new(), Vec::new());
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
            rest = later;
            input.extend_from_slice(now);
            while let Some(message) = decode(&mut input, BYTES_MAX).unwrap() {
                found.push(message);
            }
        }
        prop_assert!(input.is_empty());
        prop_assert_eq!(found, messages);
    }

    #[test]
    fn any_bytes_are_a_message_or_an_error(bytes in vec(any::<u8>(), 0..200)) {
        let mut input = BytesMut::from(&bytes[..]);
        while let Ok(Some(message)) = decode(&mut input, BYTES_MAX) {
            if message.code != Code::EMPTY {
                prop_assert_eq!(read(&written(&message), BYTES_MAX).unwrap(), Some(message));
            }
        }
        if let Ok(message) = decode_whole(&bytes.into()) && message.code != Code::EMPTY {
            prop_assert_eq!(decode_whole(&written_whole(&message)).unwrap(), message);
        }
    }

    #[test]
    fn every_length_is_written_in_the_fewest_bytes(payload_bytes in 0..70_000_usize) {
        let mut message = Message::new(Kind::Confirmable, Code::CONTENT, 0);
        message.payload = vec![7; payload_bytes].into();
        let body_bytes = if payload_bytes == 0 { 0 } else { payload_bytes + 1 };
        let extended = match body_bytes { 0..=12 => 0, 13..=268 => 1, 269..=65_804 => 2, _ => 4 };
        prop_assert_eq!(written(&message).len(), 1 + extended + 1 + body_bytes);
        prop_assert_eq!(read(&written(&message), BYTES_MAX).unwrap(), Some(message));
    }
}

#[test]
fn the_edges_of_lengths_are_read_and_written() {
    for (body_bytes, head) in [
        (12, &[0xc0, 0x45][..]),
        (13, &[0xd0, 0, 0x45]),
        (268, &[0xd0, 0xff, 0x45]),
        (269, &[0xe0, 0, 0, 0x45]),
        (65_804, &[0xe0, 0xff, 0xff, 0x45]),
        (65_805, &[0xf0, 0, 0, 0, 0, 0x45]),
    ] {
        let mut message = Message::new(Kind::Confirmable, Code::CONTENT, 0);
        message.payload = vec![1; body_bytes - 1].into();
        let bytes = written(&message);
        assert_eq!(&bytes[..head.len()], head, "{body_bytes}");
        assert_eq!(bytes.len(), head.len() + body_bytes);
        assert_eq!(read(&bytes, BYTES_MAX).unwrap(), Some(message));
    }
}

/// The examples of RFC 8323: Figure 5 (§3.2), Figures 14 and 15 (§5.7).
#[test]
fn the_examples_of_the_specification_are_read_and_written() {
    let mut content = Message::new(Kind::Confirmable, Code::CONTENT, 0);
    content.token = Token::new(&[0x7f]).unwrap();
    let custody = Custody { token: Token::new(&[0x42]).unwrap(), has_custody: false };
    for (message, bytes) in [
        (content, &[0x01, 0x45, 0x7f][..]),
        (Signal::Ping(custody).message(), &[0x01, 0xe2, 0x42]),
        (Signal::Pong(custody).message(), &[0x01, 0xe3, 0x42]),
    ] {
        assert_eq!(written(&message), bytes);
        assert_eq!(read(bytes, BYTES_MAX).unwrap(), Some(message));
    }
}

#[test]
fn a_length_that_is_too_large_is_known_from_the_head_alone() {
    for bytes in [&[0xf0, 0xff, 0xff, 0xff, 0xff][..], &[0xe0, 0xff, 0xff], &[0xd0, 0xff], &[0xff, 0, 0, 0, 0]] {
        assert!(read(bytes, 200).is_err(), "{bytes:02x?}");
    }
    let mut message = Message::new(Kind::Confirmable, Code::POST, 0);
    message.payload = vec![1; 100].into();
    let bytes = written(&message);
    assert_eq!(read(&bytes[..3], bytes.len()).unwrap(), None);
    let error = read(&bytes[..3], bytes.len() - 1).unwrap_err();
    assert!(error.is_too_large, "{}", error.text);
}

#[test]
fn what_is_no_message_is_an_error() {
    for (bytes, why) in [
        (&[0x0f][..], "token length 15"),
        (&[0x0d, 0x01, 0xff], "a token of 268 bytes"),
        (&[0x0e, 0x01, 0xff, 0xff], "a token of 65,804 bytes"),
        (&[0x10, 0x01, 0xff], "a payload marker without a payload"),
        (&[0x10, 0x01, 0xf0], "delta 15"),
        (&[0x10, 0x01, 0x05], "an option that is cut short"),
        (&[0x00, 0x20], "code 1.00"),
        (&[0x00, 0xc0], "code 6.00"),
    ] {
        assert!(read(bytes, BYTES_MAX).is_err(), "{why}");
    }
    for (bytes, why) in [
        (&[][..], "nothing"),
        (&[0x00], "no code"),
        (&[0x01, 0x01], "no token"),
        (&[0x10, 0x01, 0xb1], "a length inside WebSocket"),
    ] {
        assert!(decode_whole(&Bytes::copy_from_slice(bytes)).is_err(), "{why}");
    }
}

#[test]
fn an_empty_message_says_nothing_whatever_is_in_it() {
    let empty = Message::new(Kind::Confirmable, Code::EMPTY, 0);
    for bytes in [&[0x00, 0x00][..], &[0x01, 0x00, 0x42], &[0x20, 0x00, 0xff, 0xff]] {
        assert_eq!(read(bytes, BYTES_MAX).unwrap(), Some(empty.clone()), "{bytes:02x?}");
    }
}

#[test]
fn signals_are_read_as_they_were_written() {
    let token = Token::new(&[1, 2]).unwrap();
    for signal in [
        Signal::Csm(Csm::default()),
        Signal::Csm(Csm { message_bytes_max: Some(70_000), block_wise_transfer: true }),
        Signal::Ping(Custody { token, has_custody: true }),
        Signal::Pong(Custody { token, has_custody: true }),
        Signal::Release {
            alternative_addresses: vec!["a.example".into(), "b.example:1".into()],
            hold_off_s: Some(30),
            text: "later".into(),
        },
        Signal::Abort { bad_csm_option: Some(17), text: "no".into() },
    ] {
        assert_eq!(Signal::read(&signal.message()), Ok(Some(signal)));
    }
}

#[test]
fn critical_options_of_signals_are_unknown_and_elective_ones_passed_over() {
    for code in [Code::CSM, Code::PING, Code::PONG, Code::RELEASE, Code::ABORT] {
        let mut message = Message::new(Kind::Confirmable, code, 0);
        message.options.add(1_000, "whatever");
        assert!(Signal::read(&message).unwrap().is_some());
        message.options.add(number::URI_PATH, "x");
        let error = Signal::read(&message).unwrap_err();
        assert_eq!(error.bad_csm_option, (code == Code::CSM).then_some(number::URI_PATH));
    }
    assert_eq!(Signal::read(&Message::new(Kind::Confirmable, Code::new(7, 9), 0)), Ok(None));
}
