//! The annotation agrees with the codec on every frame and on every spoiled one, and leaves no byte out.

use althing_stomp::annotate::{annotate, annotate_stream};
use althing_stomp::codec::{Decoder, FrameLimits};
use bytes::BytesMut;
use proptest::prelude::*;

const LIMITS: FrameLimits = FrameLimits { headers_max: 1_000, header_bytes_max: 10_000, body_bytes_max: 1 << 40 };

const FRAMES: [&str; 9] = [
    "SEND\ndestination:/topic/a\n\nhi\0",
    "\n\r\nSEND\r\ndestination:/topic/a\r\nreceipt:1\r\n\r\nhi\0",
    "SEND\ncontent-length:3\ncontent-length:x\ndestination:/topic/\u{fc}\n\na\0b\0\n\n",
    "SEND\nk\\cx:a\\n\\r\\\\\\c\nk:\n\n\0",
    "CONNECT\naccept-version:1.2\nheart-beat:0,10\npasscode:a\\n:b\n\n\0",
    "SUBSCRIBE\nid:0\nack:client\ncontent-length:0\n\n\0",
    "CONNECTED\nversion:1.2\n\n\0",
    "MESSAGE\nsubscription:0\n\n\u{1}\0",
    "\n\n\r\n",
];

/// Holds the annotation of the first frame of `bytes` against what the codec says.
fn agrees(bytes: &[u8]) {
    let annotation = annotate(bytes);
    let mut input = BytesMut::from(bytes);
    let mut decoder = Decoder::default();
    let verdict = decoder.decode(&LIMITS, &mut input);
    let shown = || format!("{:?}\n{annotation:#?}", String::from_utf8_lossy(bytes));
    let mut end = 0;
    for field in &annotation.fields {
        assert_eq!(field.offset, end, "{}", shown());
        end += field.length_bytes;
    }
    match verdict {
        Ok(Some(frame)) => {
            assert_eq!(annotation.mistake, None, "{}", shown());
            assert_eq!(annotation.name, Some(frame.command.name()), "{}", shown());
            assert_eq!((annotation.length_bytes, end), (bytes.len() - input.len(), bytes.len() - input.len()));
        }
        Ok(None) if !decoder.is_within_frame(&input) => {
            assert_eq!((annotation.mistake.is_none(), end), (true, bytes.len()))
        }
        Ok(None) => assert_eq!(annotation.mistake.as_ref().map(|mistake| mistake.code.is_none()), Some(true)),
        Err(error) => {
            let mistake = annotation.mistake.as_ref().unwrap_or_else(|| panic!("{}", shown()));
            assert_eq!((&*mistake.text, mistake.code.is_some()), (error.text, true), "{}", shown());
            let is_field = annotation.fields.iter().any(|field| field.range() == mistake.range());
            assert!(mistake.length_bytes > 0 && (mistake.offset >= end || is_field), "{}", shown());
            assert!(mistake.range().end <= bytes.len(), "{}", shown());
        }
    }
}

#[test]
fn every_frame_every_truncation_and_every_flipped_bit_is_explained() {
    for frame in FRAMES {
        let mut bytes = frame.as_bytes().to_vec();
        for end in 0..=bytes.len() {
            agrees(&bytes[..end]);
        }
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            agrees(&bytes);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_lines_are_explained(
        command in prop_oneof![Just("SEND"), Just("ACK"), Just("CONNECT"), Just("GET /")],
        rest in "([a-c:\\\\n\r\0é]|\n|content-length:|[0-9]){0,40}",
    ) {
        agrees(format!("{command}\n{rest}").as_bytes());
    }
}

#[test]
fn a_stream_is_explained_frame_by_frame() {
    let stream: String = FRAMES.concat();
    let frames = annotate_stream(stream.as_bytes());
    let names: Vec<_> = frames.iter().filter_map(|frame| frame.name).collect();
    assert_eq!(names, ["SEND", "SEND", "SEND", "SEND", "CONNECT", "SUBSCRIBE", "CONNECTED", "MESSAGE", "EOL"]);
    let rows: Vec<_> = frames[0].fields.iter().map(|field| (&*field.name, &*field.value, &*field.section)).collect();
    assert_eq!(
        rows,
        [
            ("Command", "SEND", "SEND"),
            ("Header destination", "\"/topic/a\"", "SEND"),
            ("EOL", "the headers end here", "STOMP Frames"),
            ("Body", "\"hi\"", "Body"),
            ("NULL", "the frame ends here", "STOMP Frames"),
        ]
    );
}

#[test]
fn a_mistake_has_its_place() {
    for (text, name, at) in [
        ("GET / HTTP/1.1\r\n", "Command", 0),
        ("SEND\nno colon\n\n\0", "Header", 5),
        ("SEND\na:b\ncontent-length:-1\n\n\0", "Header content-length", 9),
        ("ACK\nid:1\n\nbody\0", "Body", 10),
        ("ACK\ncontent-length:1\n\n", "Header content-length", 4),
        ("SEND\ncontent-length:1\n\nhi\0", "NULL", 24),
    ] {
        let annotation = annotate(text.as_bytes());
        let mistake = annotation.mistake.unwrap_or_else(|| panic!("{text:?}"));
        assert_eq!((&*mistake.name, mistake.offset), (name, at), "{text:?}");
    }
}
