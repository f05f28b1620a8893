//! `-v`: each message in a line on stderr.

use super::show;
use super::uri::Carrier;
use crate::output::write_stderr;
use althing_coap::codec::{self, stream};
use althing_coap::message::{Code, Kind, Message};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::time::Instant;

/// Messages that a repeat may be of.
const RECENT_MAX: usize = 64;

/// What has been seen of a conversation.
pub struct Trace {
    carrier: Carrier,
    started: Instant,
    /// Datagrams sent and received, to tell repeats.
    recent: VecDeque<(bool, Bytes)>,
    /// The beginning of a message that is not complete.
    input: BytesMut,
}

impl Trace {
    /// From now on.
    pub fn new(carrier: Carrier) -> Self {
        Self { carrier, started: Instant::now(), recent: VecDeque::new(), input: BytesMut::new() }
    }

    /// Something leaves.
    pub fn sent(&mut self, bytes: &[u8]) {
        self.note(true, &Bytes::copy_from_slice(bytes));
    }

    /// Something has come.
    pub fn received(&mut self, bytes: &Bytes) {
        self.note(false, bytes);
    }

    fn note(&mut self, is_sent: bool, bytes: &Bytes) {
        match self.carrier {
            Carrier::Udp | Carrier::Dtls => {
                let repeats = self.recent.iter().filter(|seen| **seen == (is_sent, bytes.clone())).count();
                self.recent.truncate(RECENT_MAX - 1);
                self.recent.push_front((is_sent, bytes.clone()));
                let again = match (repeats, is_sent) {
                    (0, _) => String::new(),
                    (repeats, true) => format!(", retransmission {repeats}"),
                    (_, false) => ", a repeat".to_owned(),
                };
                match codec::decode(bytes) {
                    Ok(message) => self.say(is_sent, &message, true, &again),
                    Err(_) => self.write(is_sent, &format!("{} bytes that are no message", bytes.len())),
                }
            }
            Carrier::Ws | Carrier::Wss => {
                if let Ok(message) = stream::decode_whole(bytes) {
                    self.say(is_sent, &message, false, "");
                }
            }
            Carrier::Tcp | Carrier::Tls if is_sent => {
                if let Ok(Some(message)) = stream::decode(&mut BytesMut::from(&bytes[..]), usize::MAX) {
                    self.say(true, &message, false, "");
                }
            }
            Carrier::Tcp | Carrier::Tls => {
                self.input.extend_from_slice(bytes);
                while let Ok(Some(message)) = stream::decode(&mut self.input, usize::MAX) {
                    self.say(false, &message, false, "");
                }
            }
        }
    }

    fn say(&self, is_sent: bool, message: &Message, is_datagram: bool, again: &str) {
        let mut line = String::new();
        if is_datagram {
            let kind = match message.kind {
                Kind::Confirmable => "CON",
                Kind::NonConfirmable => "NON",
                Kind::Acknowledgement => "ACK",
                Kind::Reset => "RST",
            };
            line = format!("{kind} {} ", message.id);
        }
        line.push_str(&show::code_name(message.code));
        if message.code != Code::EMPTY && !message.code.is_signal() {
            line.push_str(&format!(" token {}", show::hexadecimal(message.token.as_slice())));
        }
        let options = show::options(message);
        if !options.is_empty() {
            line.push_str(&format!(" {options}"));
        }
        if !message.payload.is_empty() {
            line.push_str(&format!(", {} bytes", message.payload.len()));
        }
        self.write(is_sent, &format!("{line}{again}"));
    }

    fn write(&self, is_sent: bool, text: &str) {
        let direction = if is_sent { "->" } else { "<-" };
        write_stderr(&format!("{:9.3} ms {direction} {text}", self.started.elapsed().as_secs_f64() * 1e3));
    }
}
