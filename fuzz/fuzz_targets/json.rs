//! Any messages, read as `althing.json`: never a panic; what is wrong is answered and ends nothing; every answer is an
//! object; and a message that was published is said in a form that publishes the same message.
//!
//! The input is a sequence of messages with a NUL between; one that begins with U+0001 is binary.
#![no_main]

use althing_core::{Limits, Link, Message, MessageAdaptor, MessageOut, Now, Receive, Request, WholeMessage};
use althing_http::json::{Credentials, JsonAdaptor, split};
use althing_testkit::pair::{delivery, obliging};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use std::collections::VecDeque;
use std::sync::Arc;

const NOW: Now = Now { mono_ns: 1_000_000_000, wall_ms: 1_700_000_000_000 };

fuzz_target!(|bytes: &[u8]| {
    let mut peer = Peer::new(2_048);
    for message in bytes.split(|byte| *byte == 0) {
        let whole = match message {
            [1, rest @ ..] => WholeMessage { is_text: false, bytes: binary(rest) },
            text => WholeMessage { is_text: std::str::from_utf8(text).is_ok(), bytes: Bytes::copy_from_slice(text) },
        };
        let stood = peer.stands;
        for request in peer.say(whole) {
            match request {
                Request::Publish(publish) => round_trip(&publish.message),
                Request::Disconnect(_) => return,
                _ => {}
            }
        }
        assert!(!peer.is_closed || !stood, "a mistake has ended the conversation");
        if peer.is_closed {
            return;
        }
    }
});

/// A length that is right most of the time: the first byte says by how much it is wrong.
fn binary(rest: &[u8]) -> Bytes {
    let [wrong, rest @ ..] = rest else { return Bytes::new() };
    let object = rest.iter().position(|byte| *byte == b'}').map_or(rest.len(), |end| end + 1);
    let length = (object as u32).wrapping_add(u32::from(*wrong) * 0x0101_0101);
    [&length.to_be_bytes()[..], rest].concat().into()
}

/// What is said of a message publishes the same message.
fn round_trip(message: &Message) {
    let mut peer = Peer::new(usize::MAX);
    peer.say_text(r#"{"type":"connect"}"#.to_owned());
    let mut told = delivery(0, message.guarantee, message.clone());
    told.retain = message.retain;
    let mut out = MessageOut { messages: &mut peer.messages, requests: &mut peer.requests };
    peer.adaptor.deliver(NOW, &[told], &mut out);
    let said = peer.messages.pop_front().expect("a message is said");
    let mut object: serde_json::Value = serde_json::from_slice(&said.bytes).expect("it is an object");
    object["type"] = "publish".into();
    object["id"] = 1.into();
    let requests = peer.say_text(object.to_string());
    let [Request::Publish(publish)] = &requests[..] else { panic!("{object} asks for {requests:?}") };
    assert_eq!(publish.message, *message, "{object}");
}

struct Peer {
    adaptor: JsonAdaptor,
    messages: VecDeque<WholeMessage>,
    requests: VecDeque<Request>,
    stands: bool,
    is_closed: bool,
}

impl Peer {
    fn new(packet_bytes_max: usize) -> Self {
        let limits = Limits { packet_bytes_max, receive_maximum: 4, ..Limits::default() };
        Self {
            adaptor: JsonAdaptor::new(&Link::new(None, "fuzz"), Arc::new(limits), Credentials::default()),
            messages: VecDeque::new(),
            requests: VecDeque::new(),
            stands: false,
            is_closed: false,
        }
    }

    fn say_text(&mut self, text: String) -> Vec<Request> {
        self.say(WholeMessage { is_text: true, bytes: text.into() })
    }

    /// What it asks for; an obliging broker answers.
    fn say(&mut self, message: WholeMessage) -> Vec<Request> {
        let mut out = MessageOut { messages: &mut self.messages, requests: &mut self.requests };
        let received = self.adaptor.receive(NOW, message, &mut out);
        assert!(received != Ok(Receive::Again));
        self.is_closed = received.is_err();
        let mut asked = Vec::new();
        while let Some(request) = self.requests.pop_front() {
            self.stands |= matches!(request, Request::Connect(_));
            for answer in obliging(&request) {
                let mut out = MessageOut { messages: &mut self.messages, requests: &mut self.requests };
                self.is_closed |= self.adaptor.answer(NOW, answer, &mut out).is_err();
            }
            asked.push(request);
        }
        for message in self.messages.drain(..) {
            let (text, _) = split(&message).expect("what is written is whole");
            serde_json::from_str::<serde_json::Map<_, _>>(text).expect("what is written is an object");
        }
        asked
    }
}
