//! Frames and bytes ("STOMP Frames", "Augmented BNF").

use althing_core::OutBuffer;
use althing_stomp::codec::{DecodeError, Decoder, FrameLimits, encode};
use althing_stomp::frame::{Command, Frame, Headers};
use bytes::BytesMut;
use proptest::prelude::*;

const LIMITS: FrameLimits = FrameLimits { headers_max: 4, header_bytes_max: 128, body_bytes_max: 64 };

/// Frames of `bytes`, handed over in pieces of `piece` bytes, and what is wrong after them.
fn decode(limits: &FrameLimits, bytes: &[u8], piece: usize) -> (Vec<Frame>, Result<(), DecodeError>) {
    let (mut decoder, mut input, mut frames) = (Decoder::default(), BytesMut::new(), Vec::new());
    for part in bytes.chunks(piece.max(1)) {
        input.extend_from_slice(part);
        loop {
            match decoder.decode(limits, &mut input) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Err(error)),
            }
        }
    }
    (frames, Ok(()))
}

fn encoded(frame: &Frame) -> Vec<u8> {
    let mut out = OutBuffer::default();
    encode(frame, &mut out);
    out.take_all()
}

/// Valid frames as they may come, and what they are.
fn samples() -> Vec<(&'static str, Frame)> {
    let send = || Frame::new(Command::Send).with("destination", "/topic/a");
    vec![
        ("SEND\ndestination:/topic/a\n\nhi\0", send().with_body("hi")),
        ("SEND\r\ndestination:/topic/a\r\n\r\nhi\0", send().with_body("hi")),
        ("\n\r\n\nSEND\ndestination:/topic/a\n\n\0", send()),
        ("SEND\ncontent-length:3\ndestination:/topic/a\n\na\0b\0\n\n", send().with_body("a\0b")),
        ("SEND\ndestination:/topic/a\ncontent-length:0\n\n\0", send()),
        ("SEND\ncontent-length:2\ncontent-length:9\ndestination:/topic/a\n\nhi\0", send().with_body("hi")),
        ("SEND\nk\\cx:a\\n\\r\\\\\\c\n\n\0", Frame::new(Command::Send).with("k:x", "a\n\r\\:")),
        ("SEND\nk:a:b\n\n\0", Frame::new(Command::Send).with("k", "a:b")),
        (
            "SEND\nk: v \nk:\nk:\u{fc}\n\n\0",
            Frame::new(Command::Send).with("k", " v ").with("k", "").with("k", "\u{fc}"),
        ),
        ("CONNECT\npasscode:a\\n:b\n\n\0", Frame::new(Command::Connect).with("passcode", "a\\n:b")),
        ("STOMP\npasscode:a\\cb\n\n\0", Frame::new(Command::Stomp).with("passcode", "a:b")),
        ("CONNECTED\nversion:1.2\n\n\0", Frame::new(Command::Connected).with("version", "1.2")),
        ("DISCONNECT\n\n\0", Frame::new(Command::Disconnect)),
        ("ERROR\nmessage:m\n\nwhy\0", Frame::new(Command::Error).with("message", "m").with_body("why")),
    ]
}

#[test]
fn valid_bytes_are_these_frames_however_they_are_split() {
    for (text, frame) in samples() {
        for piece in 1..=text.len() {
            assert_eq!(decode(&LIMITS, text.as_bytes(), piece), (vec![frame.clone()], Ok(())), "{text:?} by {piece}");
        }
    }
}

#[test]
fn several_frames_in_one_read_come_one_by_one() {
    let text: String = samples().iter().map(|(text, _)| *text).collect();
    let frames: Vec<Frame> = samples().into_iter().map(|(_, frame)| frame).collect();
    for piece in [1, 7, text.len()] {
        assert_eq!(decode(&LIMITS, text.as_bytes(), piece), (frames.clone(), Ok(())));
    }
}

#[test]
fn malformed_bytes_say_why() {
    let malformed: [(&[u8], &str); 16] = [
        (b"GET / HTTP/1.1\r\n", "command"),
        (b"send\n\n\0", "command"),
        (b"SEND \n\n\0", "command"),
        (b"SENDSENDSENDS", "command"),
        (b"\rSEND", "command"),
        (b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\xff\xff", "command"),
        (b"SEND\nno colon\n\n\0", "NAME:VALUE"),
        (b"SEND\n:v\n\n\0", "NAME:VALUE"),
        (b"SEND\na:\\t\n\n\0", "escapes"),
        (b"SEND\na:\\\n\n\0", "escapes"),
        (b"SEND\na:b\rc\n\n\0", "carriage return"),
        (b"SEND\na:b\0\n\n\0", "NUL"),
        (b"SEND\na:\xff\n\n\0", "UTF-8"),
        (b"SEND\ncontent-length:-1\n\n\0", "content-length"),
        (b"SEND\ncontent-length:1\n\nab\0", "no NUL"),
        (b"SUBSCRIBE\nid:0\n\nbody\0", "body"),
    ];
    for (bytes, why) in malformed {
        for piece in [1, bytes.len()] {
            let (frames, result) = decode(&LIMITS, bytes, piece);
            let error = result.expect_err(why);
            assert!(frames.is_empty() && !error.too_large && error.text.contains(why), "{bytes:?}: {}", error.text);
        }
    }
}

#[test]
fn what_is_larger_than_allowed_is_refused_before_it_has_come() {
    let head = format!("SEND\na:{}", "x".repeat(128));
    let body = format!("SEND\n\n{}", "x".repeat(65));
    let length = "SEND\ncontent-length:65\n\n";
    let headers = "SEND\na:1\na:2\na:3\na:4\na:5\n";
    for text in [&head[..], &body, length, headers, "SEND\ncontent-length:18446744073709551615\n\n"] {
        for piece in [1, text.len()] {
            let error = decode(&LIMITS, text.as_bytes(), piece).1.expect_err(text);
            assert!(error.too_large, "{text}");
        }
    }
}

#[test]
fn the_largest_that_is_allowed_is_taken() {
    let body = "x".repeat(LIMITS.body_bytes_max);
    let headers = "a:1\na:2\na:3\na:4\n";
    for text in [format!("SEND\n{headers}\n{body}\0"), format!("SEND\ncontent-length:64\n\n{body}\0")] {
        let (frames, result) = decode(&LIMITS, text.as_bytes(), text.len());
        assert_eq!((frames.len(), result), (1, Ok(())));
    }
}

#[test]
fn a_cut_frame_is_waited_for() {
    for (text, _) in samples() {
        let end = text.rfind('\0').expect("frames end with NUL");
        for length in 0..end {
            assert_eq!(decode(&LIMITS, &text.as_bytes()[..length], length), (vec![], Ok(())), "{text:?} at {length}");
        }
    }
}

#[test]
fn a_flipped_bit_makes_other_frames_or_an_error_and_nothing_else() {
    for (text, _) in samples() {
        for bit in 0..text.len() * 8 {
            let mut bytes = text.as_bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let whole = decode(&LIMITS, &bytes, bytes.len());
            assert_eq!(decode(&LIMITS, &bytes, 1).0, whole.0, "{text:?} bit {bit}");
            for frame in whole.0 {
                let (again, result) = decode(&LIMITS_WIDE, &encoded(&frame), usize::MAX);
                assert_eq!((again, result), (vec![frame], Ok(())), "{text:?} bit {bit}");
            }
        }
    }
}

const LIMITS_WIDE: FrameLimits = FrameLimits { headers_max: 256, header_bytes_max: 1 << 20, body_bytes_max: 1 << 20 };

fn any_frame() -> impl Strategy<Value = Frame> {
    let command = prop::sample::select(Command::ALL.to_vec());
    let header = ("[^\0]{1,8}", "[^\0]{0,16}").prop_filter("the encoding's own", |(name, _)| name != "content-length");
    let body = prop::collection::vec(any::<u8>(), 0..5_000);
    (command, prop::collection::vec(header, 0..8), body).prop_map(|(command, headers, body)| {
        // CONNECT and CONNECTED have no way to say these.
        let plain = |text: String| if command.is_escaped() { text } else { text.replace(['\r', '\n', ':'], "_") };
        let headers = headers.into_iter().map(|(name, value)| (plain(name).into(), plain(value).into())).collect();
        let body = if command.may_have_body() { body.into() } else { Default::default() };
        Frame { command, headers: Headers(headers), body }
    })
}

proptest! {
    #[test]
    fn every_frame_survives_the_way_there_and_back(
        frames in prop::collection::vec(any_frame(), 1..4),
        piece in 1_usize..3_000,
    ) {
        let bytes: Vec<u8> = frames.iter().flat_map(encoded).collect();
        prop_assert_eq!(decode(&LIMITS_WIDE, &bytes, piece), (frames, Ok(())));
    }

    #[test]
    fn any_bytes_are_frames_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200), piece in 1_usize..50) {
        let whole = decode(&LIMITS, &bytes, bytes.len());
        prop_assert_eq!(decode(&LIMITS, &bytes, piece).0, whole.0);
    }
}
