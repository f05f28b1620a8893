//! The adaptor before a scripted language, by the sections of RFC 6455. Time is virtual.

mod compression;
mod endings;
mod frames;
mod languages;
mod splits;
mod times;

use althing_core::time::MILLISECOND_NS;
use althing_core::{
    Adaptor, Answer, Close, Deadline, Delivery, MessageAdaptor, MessageOut, Now, Out, OutBuffer, Reason, Receive,
    Request, WholeMessage,
};
use althing_websocket::close::CloseWords;
use althing_websocket::frame::{Header, Opcode, Side, apply_mask};
use althing_websocket::{CloseCode, Deflate, Inner, WebSocketAdaptor, WebSocketConfig};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

/// One connection, its language behind it, and what both have said.
struct Seat {
    adaptor: WebSocketAdaptor,
    now: Now,
    input: BytesMut,
    out: OutBuffer,
    requests: VecDeque<Request>,
    waits: bool,
    closed: Option<Close>,
    heard: Heard,
}

/// What the language inside was told, in order.
type Heard = Arc<Mutex<Vec<WholeMessage>>>;

impl Seat {
    fn new(config: WebSocketConfig, inner: Inner, deflate: Option<Deflate>, heard: Heard) -> Self {
        Self {
            adaptor: WebSocketAdaptor::new(Arc::new(config), inner, deflate),
            now: Now { mono_ns: 1_000_000_000, wall_ms: 1_700_000_000_000 },
            input: BytesMut::new(),
            out: OutBuffer::default(),
            requests: VecDeque::new(),
            waits: false,
            closed: None,
            heard,
        }
    }

    /// A language of messages that answers each one with itself.
    fn messages(config: WebSocketConfig, deflate: Option<Deflate>) -> Self {
        let heard = Heard::default();
        let parrot = Parrot { has_pings: false, heard: heard.clone() };
        Self::new(config, Inner::Messages(Box::new(parrot)), deflate, heard)
    }

    /// The same, of a language that asks the peer itself whether it is there.
    fn with_pings(config: WebSocketConfig) -> Self {
        let heard = Heard::default();
        let parrot = Parrot { has_pings: true, heard: heard.clone() };
        Self::new(config, Inner::Messages(Box::new(parrot)), None, heard)
    }

    /// A language of bytes: words that end with a dot; each is answered with itself.
    fn bytes(is_text: bool, deflate: Option<Deflate>) -> Self {
        let heard = Heard::default();
        let adaptor = Box::new(Words { heard: heard.clone(), words_a_turn: 3 });
        Self::new(WebSocketConfig::default(), Inner::Bytes { adaptor, is_text }, deflate, heard)
    }

    /// Bytes from the peer, as many reads as there are slices.
    fn receive(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        self.settle();
    }

    fn settle(&mut self) {
        while self.closed.is_none() && !self.waits {
            let mut input = std::mem::take(&mut self.input);
            let mut received = Receive::NeedMore;
            self.call(|adaptor, now, out| {
                received = adaptor.receive(now, &mut input, out)?;
                Ok(())
            });
            self.input = input;
            self.waits = received == Receive::Wait;
            if received == Receive::NeedMore {
                return;
            }
        }
    }

    fn answer(&mut self, answer: Answer) {
        self.call(|adaptor, now, out| adaptor.answer(now, answer, out));
        self.waits = false;
        self.settle();
    }

    fn deliver(&mut self, batch: &[Delivery]) {
        self.call(|adaptor, now, out| {
            adaptor.deliver(now, batch, out);
            Ok(())
        });
    }

    fn advance_ms(&mut self, ms: u64) {
        self.now.mono_ns += ms * MILLISECOND_NS;
        self.call(|adaptor, now, out| adaptor.timeout(now, out));
    }

    /// When it wants to be called, in milliseconds from now.
    fn timeout_ms(&self) -> Option<(u64, &'static str)> {
        let Deadline { mono_ns, reason } = self.adaptor.next_timeout()?;
        Some((mono_ns.saturating_sub(self.now.mono_ns) / MILLISECOND_NS, reason))
    }

    fn call(&mut self, act: impl FnOnce(&mut WebSocketAdaptor, Now, &mut Out<'_>) -> Result<(), Close>) {
        if self.closed.is_none() {
            let mut out = Out { bytes: &mut self.out, requests: &mut self.requests };
            self.closed = act(&mut self.adaptor, self.now, &mut out).err();
        }
    }

    /// The frames that were sent and not looked at yet: what they are, and what they carry.
    fn sent(&mut self) -> Vec<(Opcode, Vec<u8>)> {
        frames_of_server(&self.out.take_all()).into_iter().map(|(header, payload)| (header.opcode, payload)).collect()
    }

    /// What the language inside has heard.
    fn heard(&self) -> Vec<WholeMessage> {
        self.heard.lock().expect("nobody has panicked").clone()
    }

    fn words(&self) -> Vec<String> {
        self.heard().into_iter().map(|word| String::from_utf8_lossy(&word.bytes).into_owned()).collect()
    }

    /// The code of the Close frame that was sent, and why the adaptor closed.
    fn ended(&mut self) -> Option<(u16, Reason)> {
        let reason = self.closed.as_ref()?.refusal.reason;
        let (opcode, payload) = self.sent().pop()?;
        assert_eq!(opcode, Opcode::Close);
        Some((CloseWords::parse(&payload).expect("rules are kept").code.0, reason))
    }
}

/// Every frame of a server.
fn frames_of_server(mut bytes: &[u8]) -> Vec<(Header, Vec<u8>)> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let (header, size) = Header::parse(Side::Client, bytes).expect("rules are kept").expect("whole frames");
        let end = size + header.length as usize;
        frames.push((header, bytes[size..end].to_vec()));
        bytes = &bytes[end..];
    }
    frames
}

/// A frame of a client.
fn frame(opcode: Opcode, fin: bool, payload: &[u8]) -> Vec<u8> {
    masked(Header { fin, ..Header::whole(opcode, payload.len()) }, payload)
}

fn masked(header: Header, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];
    let (head, size) = Header { mask: Some(MASK), ..header }.write();
    let mut bytes = [&head[..size], payload].concat();
    apply_mask(&mut bytes[size..], MASK);
    bytes
}

fn text(payload: &str) -> Vec<u8> {
    frame(Opcode::Text, true, payload.as_bytes())
}

fn binary(payload: &[u8]) -> Vec<u8> {
    frame(Opcode::Binary, true, payload)
}

fn whole_text(payload: &str) -> WholeMessage {
    WholeMessage { is_text: true, bytes: Bytes::copy_from_slice(payload.as_bytes()) }
}

/// Answers each message with itself; waits for the broker behind `wait`, leaves at `bye`.
struct Parrot {
    has_pings: bool,
    heard: Heard,
}

impl MessageAdaptor for Parrot {
    fn receive(&mut self, _: Now, message: WholeMessage, out: &mut MessageOut<'_>) -> Result<Receive, Close> {
        self.heard.lock().expect("nobody has panicked").push(message.clone());
        let next = match &message.bytes[..] {
            b"wait" => Receive::Wait,
            b"bye" => return Err(goodbye()),
            _ => Receive::NeedMore,
        };
        out.messages.push_back(message);
        Ok(next)
    }

    fn answer(&mut self, _: Now, _: Answer, _: &mut MessageOut<'_>) -> Result<(), Close> {
        Ok(())
    }

    fn deliver(&mut self, _: Now, batch: &[Delivery], out: &mut MessageOut<'_>) {
        for delivery in batch {
            out.messages.push_back(WholeMessage { is_text: false, bytes: delivery.message.payload.clone() });
        }
    }

    fn timeout(&mut self, _: Now, _: &mut MessageOut<'_>) -> Result<(), Close> {
        Ok(())
    }

    fn next_timeout(&self) -> Option<Deadline> {
        None
    }

    fn has_pings(&self) -> bool {
        self.has_pings
    }
}

/// Takes words that end with a dot, a few in one call, and answers each with itself; waits for the broker behind
/// `wait.`, leaves at `bye.`.
struct Words {
    heard: Heard,
    words_a_turn: usize,
}

impl Adaptor for Words {
    fn receive(&mut self, _: Now, input: &mut BytesMut, out: &mut Out<'_>) -> Result<Receive, Close> {
        for _ in 0..self.words_a_turn {
            let Some(dot) = input.iter().position(|byte| *byte == b'.') else { return Ok(Receive::NeedMore) };
            let word = input.split_to(dot + 1).freeze();
            self.heard.lock().expect("nobody has panicked").push(WholeMessage { is_text: false, bytes: word.clone() });
            out.bytes.put_payload(&word);
            match &word[..] {
                b"wait." => return Ok(Receive::Wait),
                b"bye." => return Err(goodbye()),
                _ => {}
            }
        }
        Ok(Receive::Again)
    }

    fn answer(&mut self, _: Now, _: Answer, _: &mut Out<'_>) -> Result<(), Close> {
        Ok(())
    }

    fn deliver(&mut self, _: Now, batch: &[Delivery], out: &mut Out<'_>) {
        for delivery in batch {
            out.bytes.tail().extend_from_slice(delivery.message.topic.as_str().as_bytes());
            out.bytes.put_payload(&delivery.message.payload);
        }
    }

    fn timeout(&mut self, _: Now, _: &mut Out<'_>) -> Result<(), Close> {
        Ok(())
    }

    fn next_timeout(&self) -> Option<Deadline> {
        None
    }
}

fn goodbye() -> Close {
    let refusal = althing_core::verbs::Refusal::new(Reason::Normal, "goodbye");
    Close { refusal, publish_will: false }
}
