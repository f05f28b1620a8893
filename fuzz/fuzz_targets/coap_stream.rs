//! Any bytes, as CoAP over TCP and over WebSocket: never a panic; what is read can be written and read again; and the adaptor
//! says and asks the same however the bytes are split, with little for each of them.
#![no_main]

use althing_coap::codec::stream::{decode, decode_whole, encode, encode_whole, encoded_bytes};
use althing_coap::message::{Code, Message};
use althing_coap::signalling::Signal;
use althing_coap::{CoapAdaptor, CoapConfig, CoapMessageAdaptor, Common};
use althing_core::verbs::Connected;
use althing_core::{
    Adaptor, Answer, Close, Limits, Link, MessageAdaptor, MessageOut, Now, Out, OutBuffer, Receive, Request, WholeMessage,
};
use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use std::collections::VecDeque;
use std::sync::Arc;

const MESSAGE_BYTES_MAX: usize = 2_048;

fuzz_target!(|bytes: &[u8]| {
    read_all(bytes);
    let whole = Bytes::copy_from_slice(bytes);
    if let Ok(message) = decode_whole(&whole) {
        round(&message);
    }
    let told = said(bytes, bytes.len());
    for piece in [1, 7] {
        assert_eq!(said(bytes, piece), told);
    }
    say_whole(whole);
});

fn read_all(bytes: &[u8]) {
    let mut input = BytesMut::from(bytes);
    while let Ok(Some(message)) = decode(&mut input, MESSAGE_BYTES_MAX) {
        round(&message);
    }
}

/// What was read can be written, and is the same again.
fn round(message: &Message) {
    if message.code == Code::EMPTY {
        return;
    }
    let mut written = OutBuffer::default();
    encode(message, &mut written);
    assert_eq!(written.len(), encoded_bytes(message));
    let mut written = BytesMut::from(&written.take_all()[..]);
    assert_eq!(decode(&mut written, usize::MAX).as_ref(), Ok(&Some(message.clone())));
    let mut written = Vec::new();
    encode_whole(message, &mut written);
    assert_eq!(decode_whole(&written.into()).as_ref(), Ok(message));
    if let (true, Ok(Some(signal))) = (message.code.is_signal(), Signal::read(message)) {
        assert_eq!(Signal::read(&signal.message()), Ok(Some(signal)));
    }
}

fn common() -> Arc<Common> {
    let limits = Limits { packet_bytes_max: MESSAGE_BYTES_MAX, ..Limits::default() };
    // A broker that answers nothing but that the session stands never makes anybody wait.
    let config = CoapConfig { pending_per_endpoint_max: usize::MAX, ..CoapConfig::default() };
    Arc::new(Common::new(config, limits))
}

fn connected() -> Answer {
    Answer::Connected(Box::new(Connected {
        session_present: false,
        client: "fuzz".into(),
        assigned: true,
        session_expiry_s: 0,
        authentication: None,
        response_information: None,
    }))
}

/// What the adaptor writes, how much it asks, and how it ends.
fn said(bytes: &[u8], piece: usize) -> (Vec<u8>, Vec<String>, Option<Close>) {
    let mut adaptor = CoapAdaptor::new(&Link::default(), common());
    let (mut input, mut output, mut requests) = (BytesMut::new(), OutBuffer::default(), VecDeque::new());
    let (mut asked, mut closed) = (Vec::new(), None);
    for part in bytes.chunks(piece.max(1)) {
        input.extend_from_slice(part);
        loop {
            let mut out = Out { bytes: &mut output, requests: &mut requests };
            let received = adaptor.receive(Now::default(), &mut input, &mut out);
            let connects = requests.iter().filter(|request| matches!(request, Request::Connect(_))).count();
            asked.extend(requests.drain(..).map(|request| format!("{request:?}")));
            match received {
                Err(close) => closed = Some(close),
                Ok(Receive::NeedMore) => {}
                Ok(Receive::Wait) if connects == 0 => {}
                Ok(_) => {
                    if connects > 0 {
                        let mut out = Out { bytes: &mut output, requests: &mut requests };
                        closed = adaptor.answer(Now::default(), connected(), &mut out).err();
                    }
                    if closed.is_none() {
                        continue;
                    }
                }
            }
            break;
        }
        if closed.is_some() {
            break;
        }
        assert!(input.len() <= MESSAGE_BYTES_MAX + piece);
    }
    let written = output.take_all();
    // A sentence and its token for each request of two bytes and more.
    assert!(written.len() <= 256 * (bytes.len() + 2));
    (written, asked, closed)
}

fn say_whole(bytes: Bytes) {
    let mut adaptor = CoapMessageAdaptor::new(&Link::default(), common(), (None, None), MESSAGE_BYTES_MAX);
    let (mut messages, mut requests) = (VecDeque::new(), VecDeque::new());
    for bytes in [Bytes::from_static(&[0, 0xe1]), bytes] {
        let mut out = MessageOut { messages: &mut messages, requests: &mut requests };
        if adaptor.receive(Now::default(), WholeMessage { is_text: false, bytes }, &mut out).is_err() {
            break;
        }
        if adaptor.answer(Now::default(), connected(), &mut out).is_err() {
            break;
        }
    }
    for message in messages {
        assert!(decode_whole(&message.bytes).is_ok());
    }
}
