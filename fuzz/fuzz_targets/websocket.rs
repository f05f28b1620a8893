//! Any bytes, read as frames by a language of messages and by one of bytes, compressed or not: never a panic, the same
//! heard and said however they are split, and memory within the limits.
#![no_main]

use althing_core::{Adaptor, Answer, Close, Deadline, Delivery, Now, Out, OutBuffer, Receive};
use althing_websocket::{
    Deflate, Deflater, EchoAdaptor, Extension, Inner, WebSocketAdaptor, WebSocketConfig, handshake,
};
use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use std::collections::VecDeque;
use std::sync::Arc;

const MESSAGE_BYTES_MAX: usize = 4_096;

fuzz_target!(|bytes: &[u8]| {
    let _ = std::str::from_utf8(bytes).map(Extension::parse_list);
    let _ = handshake::check("GET", true, [("sec-websocket-extensions", bytes), ("sec-websocket-key", bytes)]);
    let offers = Extension::parse_list("permessage-deflate").unwrap_or_default();
    let agreed = Deflater::default().accept(&offers).map(|(deflate, _)| deflate);
    for deflate in [None, agreed] {
        for inner in [messages as fn() -> Inner, binary, text] {
            let whole = said(inner(), deflate.clone(), bytes, bytes.len());
            for piece in [1, 7] {
                assert_eq!(said(inner(), deflate.clone(), bytes, piece), whole);
            }
        }
    }
});

fn messages() -> Inner {
    Inner::Messages(Box::new(EchoAdaptor))
}

fn binary() -> Inner {
    Inner::Bytes { adaptor: Box::new(Lines), is_text: false }
}

fn text() -> Inner {
    Inner::Bytes { adaptor: Box::new(Lines), is_text: true }
}

/// The payloads of what is said, and how it ends. Pongs are left out: how many there are depends on the reads.
fn said(inner: Inner, deflate: Option<Deflate>, bytes: &[u8], piece: usize) -> (Vec<u8>, Option<Close>) {
    let config = WebSocketConfig {
        message_bytes_max: MESSAGE_BYTES_MAX,
        deflate_bytes_min: usize::MAX,
        ..WebSocketConfig::default()
    };
    let mut adaptor = WebSocketAdaptor::new(Arc::new(config), inner, deflate);
    let (mut input, mut output, mut requests) = (BytesMut::new(), OutBuffer::default(), VecDeque::new());
    let mut closed = None;
    for part in bytes.chunks(piece.max(1)) {
        input.extend_from_slice(part);
        loop {
            let mut out = Out { bytes: &mut output, requests: &mut requests };
            match adaptor.receive(Now::default(), &mut input, &mut out) {
                Ok(Receive::Again) => {}
                Ok(_) => break,
                Err(close) => {
                    closed = Some(close);
                    break;
                }
            }
        }
        assert!(input.len() <= MESSAGE_BYTES_MAX + piece + 256);
        if closed.is_some() {
            break;
        }
    }
    (payloads(&output.take_all()), closed)
}

fn payloads(mut bytes: &[u8]) -> Vec<u8> {
    use althing_websocket::frame::{Header, Opcode, Side};
    let mut all = Vec::new();
    while let Some((header, size)) = Header::parse(Side::Client, bytes).expect("a server's frames keep the rules") {
        let end = size + header.length as usize;
        if header.opcode != Opcode::Pong {
            all.extend_from_slice(&bytes[size..end]);
        }
        bytes = &bytes[end..];
    }
    assert!(bytes.is_empty());
    all
}

/// A language of lines, each answered with itself; a line of more than 100 bytes is too long.
struct Lines;

impl Adaptor for Lines {
    fn receive(&mut self, _: Now, input: &mut BytesMut, out: &mut Out<'_>) -> Result<Receive, Close> {
        loop {
            match input.iter().position(|byte| *byte == b'\n') {
                Some(end @ ..=100) => out.bytes.put_payload(&input.split_to(end + 1).freeze()),
                None if input.len() <= 100 => return Ok(Receive::NeedMore),
                _ => {
                    let refusal =
                        althing_core::verbs::Refusal::new(althing_core::Reason::PacketTooLarge, "a long line");
                    return Err(Close::with_will(refusal));
                }
            }
        }
    }

    fn answer(&mut self, _: Now, _: Answer, _: &mut Out<'_>) -> Result<(), Close> {
        Ok(())
    }

    fn deliver(&mut self, _: Now, _: &[Delivery], _: &mut Out<'_>) {}

    fn timeout(&mut self, _: Now, _: &mut Out<'_>) -> Result<(), Close> {
        Ok(())
    }

    fn next_timeout(&self) -> Option<Deadline> {
        None
    }
}
