//! The server's side of a connection over TCP or TLS.

use super::connection::{Connection, Messages, Turn, after_ms};
use super::patience::{Due, Patience};
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
    patience: Patience,
    /// When the first byte of a message came that is not complete yet.
    partial_since_ns: Option<u64>,
}

/// Messages taken in one call, so that a flood waits its turn.
const MESSAGES_A_TURN: usize = 256;

impl CoapAdaptor {
    /// A conversation that begins. Its clock starts with the first call of `receive` or `timeout`; until then
    /// `next_timeout` asks to be called at once.
    pub fn new(link: &Link, common: Arc<Common>) -> Self {
        let address = link.remote.map(|remote| remote.ip());
        let message_bytes_max = common.limits.packet_bytes_max;
        let connect = Connect::new(crate::PROTOCOL.name);
        Self {
            connection: Connection::new(address, common, connect, message_bytes_max),
            patience: Patience::default(),
            partial_since_ns: None,
        }
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
            // None that is protected is that long.
            Err(error) if error.is_too_large && self.connection.open(turn) => Ok(true),
            Err(error) => {
                let reason = if error.is_too_large { Reason::PacketTooLarge } else { Reason::Malformed };
                Err(self.connection.abort(Refusal::new(reason, error.text), None, turn))
            }
        }
    }

    /// The next deadline, and which one it is.
    fn deadline(&self) -> Option<(u64, Due)> {
        let is_read = !self.connection.is_opening() && !self.connection.must_wait();
        let packet_timeout_ms = self.connection.common().limits.packet_timeout_ms;
        let partial = self.partial_since_ns.filter(|_| is_read);
        let message = partial.map(|since_ns| (after_ms(since_ns, packet_timeout_ms), Due::Message));
        let deadline = self.patience.deadline(&self.connection);
        deadline.into_iter().chain(message).min_by_key(|(mono_ns, _)| *mono_ns)
    }
}

impl Adaptor for CoapAdaptor {
    fn receive(&mut self, now: Now, input: &mut BytesMut, out: &mut Out<'_>) -> Result<Receive, Close> {
        self.patience.hear(now);
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
            self.patience.hear(now);
        }
        self.connection.answer(answer, &mut turn(now, out))
    }

    fn deliver(&mut self, now: Now, batch: &[Delivery], out: &mut Out<'_>) {
        self.connection.deliver(batch, &mut turn(now, out));
    }

    fn timeout(&mut self, now: Now, out: &mut Out<'_>) -> Result<(), Close> {
        self.patience.begin(now);
        match self.deadline().filter(|(mono_ns, _)| *mono_ns <= now.mono_ns) {
            Some((_, due)) => self.patience.timeout(due, &mut self.connection, &mut turn(now, out)),
            None => Ok(()),
        }
    }

    fn next_timeout(&self) -> Option<Deadline> {
        self.deadline().map(|(mono_ns, due)| due.deadline(mono_ns))
    }
}

fn turn<'a>(now: Now, out: &'a mut Out<'_>) -> Turn<'a> {
    Turn { now, messages: Messages::Bytes(out.bytes), requests: out.requests }
}
