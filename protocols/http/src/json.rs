//! `althing.json`: publish and subscribe with objects, for whoever has JSON and a WebSocket.
//!
//! Each text message is one object with a `type` and, where an answer is wanted by name, an `id`; `docs/protocols/json.md`
//! describes them all. A binary message is the length of such an object (4 bytes, most significant first), the object, and
//! a payload that needs no encoding then.
//!
//! How its words meet the assembly:
//!
//! | `type` | here | answered by |
//! |---|---|---|
//! | `connect` | `Connect`; what comes without it opens a session that ends with its connection | `connected` |
//! | `publish` | `Publish`; at `qos` 2 the `id` is the de-duplication token | `published` |
//! | `release` | `Release` of such a token | `released` |
//! | `subscribe`, `unsubscribe` | `Subscribe`, `Unsubscribe` | `subscribed`, `unsubscribed` |
//! | `fetch` | `Fetch` | `value` |
//! | `ack` | `Settle` | – |
//! | `ping` | – | `pong` |
//! | `disconnect` | `Disconnect` | – |
//!
//! A mistake is answered by an `error` with a reason and a sentence, and the conversation goes on: the carrier says
//! where each message ends. Only what keeps the session from standing ends it.

mod answers;
mod deliveries;
mod fields;
mod frame;
pub mod object;
mod publication;
mod requests;
mod writing;

pub use frame::{HEADER_LENGTH_BYTES, join, split};

use crate::json::fields::Fields;
use crate::json::writing::Id;
use althing_core::protocol::Subprotocol;
use althing_core::verbs::{Reason, Refusal};
use althing_core::{
    Answer, Close, Deadline, Delivery, Limits, Link, MessageAdaptor, MessageOut, Now, Receive, WholeMessage,
};
use bytes::Bytes;
use bytestring::ByteString;
use std::collections::VecDeque;
use std::sync::Arc;

/// Its name inside WebSocket. Objects are text; a peer that asks for it gets, and anyone may send, binary messages too.
pub const SUBPROTOCOL: Subprotocol = Subprotocol { name: "althing.json", is_text: true, path: "/json" };

/// In the protocol table.
const PROTOCOL_NAME: &str = "http";

/// Who somebody said to be on the way here, in the headers of the upgrade for one.
#[derive(Clone, Default)]
pub struct Credentials {
    /// A user name, when one was given.
    pub username: Option<ByteString>,
    /// A password or a token, when one was given.
    pub password: Option<Bytes>,
}

/// The server's side of one conversation in objects.
pub struct JsonAdaptor {
    limits: Arc<Limits>,
    credentials: Credentials,
    phase: Phase,
    /// Whether the peer acknowledges what it gets itself; otherwise it has what was sent.
    manual_ack: bool,
    /// Whether messages travel as binary ones.
    binary: bool,
    /// Requests that the broker has not answered, in order.
    pending: VecDeque<Pending>,
    last_correlation: u32,
    /// What came before the session stands and was no `connect`.
    first: Option<WholeMessage>,
    /// Whose answer `connected` is.
    connect_id: Option<Id>,
    /// Deliveries that are settled in two steps, in order.
    exactly_once: Vec<u32>,
}

/// Where the conversation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Accepted, but no call has told us the time yet.
    Accepted,
    /// Nothing has come; after a while the session opens by itself, for those who only listen to what a lasting one has.
    AwaitFirst { since_ns: u64 },
    /// The broker decides whether the session stands; messages wait.
    AwaitBroker,
    /// It stands.
    Connected,
}

/// A request that waits for the broker.
struct Pending {
    correlation: u32,
    id: Option<Id>,
    what: Asked,
}

/// What was asked for, as far as the answer has to say it again.
enum Asked {
    Publish,
    Subscribe(Vec<ByteString>),
    Unsubscribe(Vec<ByteString>),
    Fetch,
}

impl JsonAdaptor {
    /// A conversation that begins. `credentials` hold unless `connect` brings others.
    pub fn new(_link: &Link, limits: Arc<Limits>, credentials: Credentials) -> Self {
        Self {
            limits,
            credentials,
            phase: Phase::Accepted,
            manual_ack: false,
            binary: false,
            pending: VecDeque::new(),
            last_correlation: 0,
            first: None,
            connect_id: None,
            exactly_once: Vec::new(),
        }
    }

    fn start_clock(&mut self, now: Now) {
        if self.phase == Phase::Accepted {
            self.phase = Phase::AwaitFirst { since_ns: now.mono_ns };
        }
    }

    /// Whether the next message has to wait for an answer of the broker: nobody is told how many requests may be open,
    /// so the excess waits in the socket.
    fn must_wait(&self) -> bool {
        self.phase == Phase::AwaitBroker || self.pending.len() >= usize::from(self.limits.receive_maximum.max(1))
    }

    /// One message: what it asks for, or an `error`.
    fn take(&mut self, now: Now, message: WholeMessage, out: &mut MessageOut<'_>) -> Result<(), Close> {
        let is_connected = self.phase == Phase::Connected;
        let Limits { packet_bytes_max, packet_bytes_before_connect_max, .. } = *self.limits;
        let bytes_max = if is_connected { packet_bytes_max } else { packet_bytes_before_connect_max };
        if message.bytes.len() > bytes_max {
            let text = format!("a message has at most {bytes_max} bytes here, and this one {}", message.bytes.len());
            return self.mistake(None, None, Refusal::new(Reason::PacketTooLarge, text), out);
        }
        let (text, payload) = match frame::split(&message) {
            Ok(parts) => parts,
            Err(refusal) => return self.mistake(None, None, refusal, out),
        };
        let mut fields = match Fields::of_message(text) {
            Ok(fields) => fields,
            Err(refusal) => return self.mistake(None, None, refusal, out),
        };
        let id = match fields.id(self.limits.client_id_bytes_max) {
            Ok(id) => id,
            Err(refusal) => return self.mistake(None, Some(fields.kind()), refusal, out),
        };
        if !is_connected && fields.kind() != "connect" {
            self.open(out);
            self.first = Some(message.clone());
            return Ok(());
        }
        let result = self.handle(now, &mut fields, id.clone(), payload, out);
        match result {
            Ok(()) => Ok(()),
            Err(Refused::Mistake(refusal)) => self.mistake(id.as_ref(), Some(fields.kind()), refusal, out),
            Err(Refused::Goodbye(close)) => Err(close),
        }
    }

    /// Says what is wrong; the end of it while the session does not stand.
    fn mistake(
        &self,
        id: Option<&Id>,
        request: Option<&str>,
        refusal: Refusal,
        out: &mut MessageOut<'_>,
    ) -> Result<(), Close> {
        let is_end = self.phase != Phase::Connected;
        writing::error(id, request, &refusal, is_end, out);
        if is_end { Err(Close::with_will(refusal)) } else { Ok(()) }
    }
}

/// Why a message asks for nothing.
enum Refused {
    /// It is wrong.
    Mistake(Refusal),
    /// The peer leaves.
    Goodbye(Close),
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::Mistake(refusal)
    }
}

impl MessageAdaptor for JsonAdaptor {
    fn receive(&mut self, now: Now, message: WholeMessage, out: &mut MessageOut<'_>) -> Result<Receive, Close> {
        self.start_clock(now);
        self.take(now, message, out)?;
        Ok(if self.must_wait() { Receive::Wait } else { Receive::NeedMore })
    }

    fn answer(&mut self, now: Now, answer: Answer, out: &mut MessageOut<'_>) -> Result<(), Close> {
        self.answered(now, answer, out)
    }

    fn deliver(&mut self, now: Now, batch: &[Delivery], out: &mut MessageOut<'_>) {
        for delivery in batch {
            self.deliver_one(now, delivery, out);
        }
    }

    fn timeout(&mut self, now: Now, out: &mut MessageOut<'_>) -> Result<(), Close> {
        self.start_clock(now);
        if self.next_timeout().is_some_and(|due| due.mono_ns <= now.mono_ns) {
            self.open(out);
        }
        Ok(())
    }

    fn next_timeout(&self) -> Option<Deadline> {
        match self.phase {
            Phase::Accepted => Some(Deadline { mono_ns: 0, reason: "start of the conversation" }),
            Phase::AwaitFirst { since_ns } => {
                let after = Now { mono_ns: since_ns, wall_ms: 0 }.after_ms(self.limits.connect_timeout_ms);
                Some(Deadline { mono_ns: after, reason: "first message" })
            }
            Phase::AwaitBroker | Phase::Connected => None,
        }
    }
}
