//! The server's side of a connection over WebSocket (RFC 8323 §4).

use super::connection::{Connection, Messages, Turn};
use super::patience::Patience;
use crate::codec::stream::decode_whole;
use crate::common::Common;
use althing_core::verbs::{Connect, Reason, Refusal};
use althing_core::{Answer, Close, Deadline, Delivery, Link, MessageAdaptor, MessageOut, Now, Receive, WholeMessage};
use bytes::Bytes;
use bytestring::ByteString;
use std::sync::Arc;

/// The server's side of a connection over WebSocket.
#[derive(Debug)]
pub struct CoapMessageAdaptor {
    connection: Connection,
    patience: Patience,
}

impl CoapMessageAdaptor {
    /// A conversation that begins, of somebody with this name and password. `message_bytes_max` is what the carrier
    /// takes. Its clock starts with the first call of `receive` or `timeout`.
    pub fn new(
        link: &Link,
        common: Arc<Common>,
        (username, password): (Option<ByteString>, Option<Bytes>),
        message_bytes_max: usize,
    ) -> Self {
        let address = link.remote.map(|remote| remote.ip());
        let message_bytes_max = message_bytes_max.min(common.limits.packet_bytes_max);
        let connect = Connect { username, password, ..Connect::new(crate::PROTOCOL.name) };
        let connection = Connection::new(address, common, connect, message_bytes_max);
        Self { connection, patience: Patience::default() }
    }
}

impl MessageAdaptor for CoapMessageAdaptor {
    fn receive(&mut self, now: Now, message: WholeMessage, out: &mut MessageOut<'_>) -> Result<Receive, Close> {
        self.patience.hear(now);
        let mut turn = turn(now, out);
        let refusal = if message.is_text {
            Refusal::new(Reason::ProtocolError, "CoAP's messages are binary inside WebSocket (RFC 8323 §4.2)")
        } else if message.bytes.len() > self.connection.message_bytes_max() && !self.connection.open(&mut turn) {
            Refusal::new(Reason::PacketTooLarge, "a message that is longer than Max-Message-Size (RFC 8323 §5.3.1)")
        } else {
            match decode_whole(&message.bytes) {
                Ok(message) => {
                    self.connection.receive(&message, &mut turn)?;
                    return Ok(if self.connection.must_wait() { Receive::Wait } else { Receive::NeedMore });
                }
                Err(error) => Refusal::new(Reason::Malformed, error.text),
            }
        };
        Err(self.connection.abort(refusal, None, &mut turn))
    }

    fn answer(&mut self, now: Now, answer: Answer, out: &mut MessageOut<'_>) -> Result<(), Close> {
        if self.connection.must_wait() {
            self.patience.hear(now);
        }
        self.connection.answer(answer, &mut turn(now, out))
    }

    fn deliver(&mut self, now: Now, batch: &[Delivery], out: &mut MessageOut<'_>) {
        self.connection.deliver(batch, &mut turn(now, out));
    }

    fn timeout(&mut self, now: Now, out: &mut MessageOut<'_>) -> Result<(), Close> {
        self.patience.begin(now);
        match self.patience.deadline(&self.connection).filter(|(mono_ns, _)| *mono_ns <= now.mono_ns) {
            Some((_, due)) => self.patience.timeout(due, &mut self.connection, &mut turn(now, out)),
            None => Ok(()),
        }
    }

    fn next_timeout(&self) -> Option<Deadline> {
        self.patience.deadline(&self.connection).map(|(mono_ns, due)| due.deadline(mono_ns))
    }

    fn has_pings(&self) -> bool {
        true
    }
}

fn turn<'a>(now: Now, out: &'a mut MessageOut<'_>) -> Turn<'a> {
    Turn { now, messages: Messages::Whole(out.messages), requests: out.requests }
}
