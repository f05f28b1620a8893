//! The server's side of a connection over WebSocket (RFC 8323 §4), which finds out itself whether the client is there.

use super::connection::{Connection, Messages, Turn, after_ms};
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
    /// When the conversation began; `None` before any call has told us the time.
    since_ns: Option<u64>,
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
        Self { connection: Connection::new(address, common, connect, message_bytes_max), since_ns: None }
    }
}

impl MessageAdaptor for CoapMessageAdaptor {
    fn receive(&mut self, now: Now, message: WholeMessage, out: &mut MessageOut<'_>) -> Result<Receive, Close> {
        self.since_ns.get_or_insert(now.mono_ns);
        let mut turn = turn(now, out);
        let refusal = if message.is_text {
            Refusal::new(Reason::ProtocolError, "CoAP's messages are binary inside WebSocket (RFC 8323 §4.2)")
        } else if message.bytes.len() > self.connection.message_bytes_max() {
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
        self.connection.answer(answer, &mut turn(now, out))
    }

    fn deliver(&mut self, now: Now, batch: &[Delivery], out: &mut MessageOut<'_>) {
        self.connection.deliver(batch, &mut turn(now, out));
    }

    fn timeout(&mut self, now: Now, out: &mut MessageOut<'_>) -> Result<(), Close> {
        self.since_ns.get_or_insert(now.mono_ns);
        if self.next_timeout().is_none_or(|deadline| deadline.mono_ns > now.mono_ns) {
            return Ok(());
        }
        let mut turn = turn(now, out);
        match self.connection.is_opening() {
            true => Err(self.connection.abort_unserved(&mut turn)),
            false => self.connection.timeout(&mut turn),
        }
    }

    fn next_timeout(&self) -> Option<Deadline> {
        let Some(since_ns) = self.since_ns else {
            return Some(Deadline { mono_ns: 0, reason: "start of the conversation" });
        };
        if self.connection.is_opening() {
            let connect_timeout_ms = self.connection.common().limits.connect_timeout_ms;
            return Some(Deadline { mono_ns: after_ms(since_ns, connect_timeout_ms), reason: "CSM" });
        }
        let mono_ns = self.connection.due_ns();
        (mono_ns < u64::MAX).then_some(Deadline { mono_ns, reason: "conversation" })
    }
}

fn turn<'a>(now: Now, out: &'a mut MessageOut<'_>) -> Turn<'a> {
    Turn { now, messages: Messages::Whole(out.messages), requests: out.requests }
}
