//! The client on a connection (RFC 8323): no repeats and no ids, but both ends say first what they take.

use super::transfer::Room;
use super::{Client, Event};
use crate::block::{BERT, SIZE_EXPONENT_MAX};
use crate::codec::stream::{decode, decode_whole, encode, encode_whole};
use crate::config::CoapConfig;
use crate::message::{Code, Kind, Message};
use crate::signalling::{Capabilities, Csm, Custody, Signal};
use althing_core::{Entropy, Now, OutBuffer};
use bytes::{Bytes, BytesMut};

/// Max-Message-Size of ours: whole representations in one message.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// More than head, token and options of a request take in practice.
const HEAD_BYTES: usize = 512;

/// What is known of a connection.
#[derive(Debug)]
pub(super) struct Connection {
    /// Whether each message is one of WebSocket, and has no length of its own (RFC 8323 §4.2).
    is_websocket: bool,
    input: BytesMut,
    /// What the server takes, once it has said so.
    capabilities: Option<Capabilities>,
}

impl Client {
    /// A client on a byte stream, TCP or TLS. Its first output are its capabilities.
    pub fn on_stream(config: CoapConfig, entropy: Entropy) -> Self {
        Self::on_connection(config, entropy, false)
    }

    /// A client on a WebSocket: each output is a binary message of it, and so is what it receives.
    pub fn on_websocket(config: CoapConfig, entropy: Entropy) -> Self {
        Self::on_connection(config, entropy, true)
    }

    fn on_connection(config: CoapConfig, entropy: Entropy, is_websocket: bool) -> Self {
        let mut client = Self::new(config, entropy);
        let connection = Connection { is_websocket, input: BytesMut::new(), capabilities: None };
        let csm = Csm { message_bytes_max: Some(MESSAGE_BYTES_MAX as u32), block_wise_transfer: true };
        client.output.push(connection.encode(&Signal::Csm(csm).message()));
        client.connection = Some(connection);
        client
    }

    pub(super) fn receive_on_connection(&mut self, now: Now, bytes: &Bytes, events: &mut Vec<Event>) {
        let Some(connection) = &mut self.connection else { return };
        let mut messages = Vec::new();
        let mut wrong = None;
        if connection.is_websocket {
            match decode_whole(bytes) {
                Ok(message) => messages.push(message),
                Err(error) => wrong = Some(error),
            }
        } else {
            connection.input.extend_from_slice(bytes);
            loop {
                match decode(&mut connection.input, MESSAGE_BYTES_MAX) {
                    Ok(Some(message)) => messages.push(message),
                    Ok(None) => break,
                    Err(error) => {
                        wrong = Some(error);
                        break;
                    }
                }
            }
        }
        for message in messages {
            self.heard_on_connection(now, message, events);
        }
        if let Some(error) = wrong {
            self.abort(None, error.text, events);
        }
        self.go_on(now);
    }

    fn heard_on_connection(&mut self, now: Now, message: Message, events: &mut Vec<Event>) {
        match message.code {
            // It can always be sent and says nothing (RFC 8323 §5.4).
            Code::EMPTY => {}
            code if code.is_signal() => self.signalled(&message, events),
            code if code.is_request() => {
                let mut refusal = Message::new(Kind::Confirmable, Code::NOT_IMPLEMENTED, 0);
                refusal.token = message.token;
                self.send(now, &refusal);
            }
            _ => self.respond(now, message, events),
        }
    }

    fn signalled(&mut self, message: &Message, events: &mut Vec<Event>) {
        let signal = match Signal::read(message) {
            Ok(Some(signal)) => signal,
            Ok(None) => return,
            Err(error) => return self.abort(error.bad_csm_option, &error.text, events),
        };
        let Some(connection) = &mut self.connection else { return };
        match signal {
            Signal::Csm(csm) => connection.capabilities.get_or_insert_default().update(csm),
            Signal::Ping(Custody { token, has_custody }) => {
                let pong = Signal::Pong(Custody { token, has_custody });
                self.output.push(connection.encode(&pong.message()));
            }
            Signal::Pong(Custody { token, .. }) => {
                let before = self.requests.len();
                self.requests.retain(|request| request.message.token != token);
                if self.requests.len() < before {
                    events.push(Event::Pong { token });
                }
            }
            Signal::Release { text, .. } => closed("the server ends the connection", &text, events),
            Signal::Abort { text, .. } => closed("the server aborted the connection", &text, events),
        }
    }

    /// Says what is wrong; nothing that follows can be understood.
    fn abort(&mut self, bad_csm_option: Option<u16>, text: &str, events: &mut Vec<Event>) {
        let Some(connection) = &self.connection else { return };
        let abort = Signal::Abort { bad_csm_option, text: Bytes::copy_from_slice(text.as_bytes()) };
        self.output.push(connection.encode(&abort.message()));
        closed("the server sent what is no message of CoAP", text.as_bytes(), events);
    }
}

fn closed(what: &str, why: &[u8], events: &mut Vec<Event>) {
    let why = String::from_utf8_lossy(why);
    let text = if why.is_empty() { what.to_owned() } else { format!("{what}: {why}") };
    events.push(Event::Closed { text });
}

impl Connection {
    /// Requests wait until the server has said what it takes, which is the first that it says (RFC 8323 §5.3).
    pub fn is_ready(&self) -> bool {
        self.capabilities.is_some()
    }

    pub fn encode(&self, message: &Message) -> Vec<u8> {
        if message.code == Code::EMPTY {
            let ping = Signal::Ping(Custody { token: message.token, has_custody: false });
            return self.encode(&ping.message());
        }
        let mut bytes = Vec::new();
        if self.is_websocket {
            encode_whole(message, &mut bytes);
        } else {
            let mut out = OutBuffer::default();
            encode(message, &mut out);
            bytes = out.take_all();
        }
        bytes
    }

    pub fn room(&self, exponent: Option<u8>) -> Room {
        let capabilities = self.capabilities.unwrap_or_default();
        let payload_bytes_max = capabilities.message_bytes_max.saturating_sub(HEAD_BYTES);
        let bert_bytes = (payload_bytes_max >> 10).max(1) << 10;
        match exponent {
            Some(exponent) => Room { whole_bytes_max: 16 << exponent, exponent, bert_bytes, is_asked_for: true },
            None => {
                let exponent = if capabilities.has_bert() { BERT } else { SIZE_EXPONENT_MAX };
                let whole_bytes_max = payload_bytes_max.max(16 << SIZE_EXPONENT_MAX);
                Room { whole_bytes_max, exponent, bert_bytes, is_asked_for: false }
            }
        }
    }
}
