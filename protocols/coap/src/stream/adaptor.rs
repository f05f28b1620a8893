//! The server's side of a connection over TCP or TLS.

use super::connection::{Connection, Messages, Turn, after_ms, after_s};
use crate::codec::stream::decode;
use crate::common::Common;
use althing_core::verbs::{Connect, Reason, Refusal};
use althing_core::{Adaptor, Answer, Close, Deadline, Delivery, Link, Now, Out, Receive};
use bytes::BytesMut;
use std::sync::Arc;

/// The server's side of a connection over TCP or TLS.
#[derive(Debug)]
pub struct CoapAdaptor {
    connection: Connection,
    /// When the conversation began; `None` before any call has told us the time.
    since_ns: Option<u64>,
    /// When the client was heard last, or sent a Ping.
    heard_ns: u64,
    /// Whether a Ping is unanswered.
    pinged: bool,
    /// When the first byte of a message came that is not complete yet.
    partial_since_ns: Option<u64>,
}

/// Messages taken in one call, so that a flood waits its turn.
const MESSAGES_A_TURN: usize = 256;

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Clock,
    Opening,
    Message,
    Ping,
    Pong,
    Conversation,
}

impl CoapAdaptor {
    /// A conversation that begins. Its clock starts with the first call of `receive` or `timeout`; until then
    /// `next_timeout` asks to be called at once.
    pub fn new(link: &Link, common: Arc<Common>) -> Self {
        let address = link.remote.map(|remote| remote.ip());
        let message_bytes_max = common.limits.packet_bytes_max;
        let connect = Connect::new(crate::PROTOCOL.name);
        Self {
            connection: Connection::new(address, common, connect, message_bytes_max),
            since_ns: None,
            heard_ns: 0,
            pinged: false,
            partial_since_ns: None,
        }
    }

    fn hear(&mut self, now: Now) {
        self.since_ns.get_or_insert(now.mono_ns);
        (self.heard_ns, self.pinged) = (now.mono_ns, false);
    }

    /// One message from the front of `input`; false when there is none.
    fn take(&mut self, input: &mut BytesMut, turn: &mut Turn<'_>) -> Result<bool, Close> {
        match decode(input, self.connection.message_bytes_max()) {
            Ok(Some(message)) => {
                self.partial_since_ns = None;
                self.connection.receive(&message, turn)?;
                Ok(true)
            }
            Ok(None) => {
                let since_ns = self.partial_since_ns.unwrap_or(turn.now.mono_ns);
                self.partial_since_ns = (!input.is_empty()).then_some(since_ns);
                Ok(false)
            }
            Err(error) => {
                let reason = if error.is_too_large { Reason::PacketTooLarge } else { Reason::Malformed };
                Err(self.connection.abort(Refusal::new(reason, error.text), None, turn))
            }
        }
    }

    /// The next deadline, and which one it is.
    fn deadline(&self) -> Option<(u64, Due)> {
        let Some(since_ns) = self.since_ns else { return Some((0, Due::Clock)) };
        let Common { config, limits, .. } = self.connection.common();
        if self.connection.is_opening() {
            return Some((after_ms(since_ns, limits.connect_timeout_ms), Due::Opening));
        }
        let conversation = Some((self.connection.due_ns(), Due::Conversation)).filter(|(due_ns, _)| *due_ns < u64::MAX);
        if self.connection.must_wait() {
            // While we do not read, the client's silence is ours.
            return conversation;
        }
        let message =
            self.partial_since_ns.map(|since_ns| (after_ms(since_ns, limits.packet_timeout_ms), Due::Message));
        let silence = match self.pinged {
            _ if config.ping_after_s == 0 => None,
            false => Some((after_s(self.heard_ns, config.ping_after_s), Due::Ping)),
            true => Some((after_s(self.heard_ns, config.pong_timeout_s), Due::Pong)),
        };
        conversation.into_iter().chain(message).chain(silence).min_by_key(|(mono_ns, _)| *mono_ns)
    }
}

impl Adaptor for CoapAdaptor {
    fn receive(&mut self, now: Now, input: &mut BytesMut, out: &mut Out<'_>) -> Result<Receive, Close> {
        self.hear(now);
        let mut turn = turn(now, out);
        for _ in 0..MESSAGES_A_TURN {
            if self.connection.must_wait() {
                return Ok(Receive::Wait);
            }
            if !self.take(input, &mut turn)? {
                return Ok(Receive::NeedMore);
            }
        }
        Ok(Receive::Again)
    }

    fn answer(&mut self, now: Now, answer: Answer, out: &mut Out<'_>) -> Result<(), Close> {
        if self.connection.must_wait() {
            self.hear(now);
        }
        self.connection.answer(answer, &mut turn(now, out))
    }

    fn deliver(&mut self, now: Now, batch: &[Delivery], out: &mut Out<'_>) {
        self.connection.deliver(batch, &mut turn(now, out));
    }

    fn timeout(&mut self, now: Now, out: &mut Out<'_>) -> Result<(), Close> {
        if self.since_ns.is_none() {
            self.hear(now);
        }
        let Some((_, due)) = self.deadline().filter(|(mono_ns, _)| *mono_ns <= now.mono_ns) else { return Ok(()) };
        let mut turn = turn(now, out);
        let text = match due {
            Due::Clock => return Ok(()),
            Due::Conversation => return self.connection.timeout(&mut turn),
            Due::Opening => return Err(self.connection.abort_unserved(&mut turn)),
            Due::Ping => {
                self.connection.ping(&mut turn);
                (self.heard_ns, self.pinged) = (now.mono_ns, true);
                return Ok(());
            }
            Due::Pong => "silent, and a Ping was not answered",
            Due::Message => "a message began and was not completed in time",
        };
        let reason = if due == Due::Pong { Reason::KeepAliveTimeout } else { Reason::ImplementationSpecific };
        Err(self.connection.abort(Refusal::new(reason, text), None, &mut turn))
    }

    fn next_timeout(&self) -> Option<Deadline> {
        self.deadline().map(|(mono_ns, due)| Deadline {
            mono_ns,
            reason: match due {
                Due::Clock => "start of the conversation",
                Due::Opening => "CSM",
                Due::Message => "rest of a message",
                Due::Ping => "Ping",
                Due::Pong => "Pong of the client",
                Due::Conversation => "conversation",
            },
        })
    }
}

fn turn<'a>(now: Now, out: &'a mut Out<'_>) -> Turn<'a> {
    Turn { now, messages: Messages::Bytes(out.bytes), requests: out.requests }
}
