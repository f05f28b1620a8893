//! The client half of STOMP, without IO: what a tool, a load generator or a test speaks through.
//!
//! The caller writes [`Client::output`] to its transport and hands what comes back to [`Client::receive`].
//! Receipts are numbered here: [`Client::send`] and the others return the number that [`Event::Receipt`]
//! brings back.

use crate::codec::{DecodeError, Decoder, FrameLimits, encode};
use crate::frame::{Command, Frame, Headers};
use crate::heart_beat::{HEART_BEATS_MISSED_MAX, HeartBeat, send_early_ms};
use althing_core::time::MILLISECOND_NS;
use althing_core::{Deadline, Now, OutBuffer};
use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use std::fmt;

/// The client's side of one connection.
#[derive(Debug)]
pub struct Client {
    options: Options,
    output: OutBuffer,
    decoder: Decoder,
    phase: Phase,
    heart_beat: HeartBeat,
    sent_ns: u64,
    received_ns: u64,
    last_receipt: u64,
}

/// How to connect and how to behave.
#[derive(Clone, Debug)]
pub struct Options {
    /// The virtual host that is asked for.
    pub host: ByteString,
    /// Who asks.
    pub login: Option<ByteString>,
    /// The password.
    pub passcode: Option<ByteString>,
    /// The shortest interval at which we can send heart-beats; 0 = we cannot.
    pub heart_beat_send_ms: u32,
    /// The interval at which we want the server's; 0 = we want none.
    pub heart_beat_receive_ms: u32,
    /// From CONNECT to CONNECTED.
    pub connect_timeout_ms: u64,
    /// The largest frames taken from the server.
    pub frame_limits: FrameLimits,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            host: "/".into(),
            login: None,
            passcode: None,
            heart_beat_send_ms: 10_000,
            heart_beat_receive_ms: 10_000,
            connect_timeout_ms: 10_000,
            frame_limits: FrameLimits { headers_max: 1_024, header_bytes_max: 1 << 20, body_bytes_max: 256 << 20 },
        }
    }
}

/// The `ack` header of SUBSCRIBE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AckMode {
    /// The client acknowledges nothing.
    #[default]
    Auto,
    /// An ACK counts for all messages of the subscription before it too.
    Client,
    /// An ACK counts for its message.
    ClientIndividual,
}

/// What happened, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// CONNECTED.
    Connected(Headers),
    /// MESSAGE.
    Message(Message),
    /// What was asked for with a receipt of this number is done.
    Receipt(u64),
    /// ERROR; nothing follows on this connection.
    Error(Error),
    /// The receipt of DISCONNECT: the server has everything.
    Disconnected,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The id of the subscription that it is for.
    pub subscription: ByteString,
    /// Where it was sent to.
    pub destination: ByteString,
    /// What [`Client::ack`] and [`Client::nack`] want; none in mode `auto`.
    pub ack: Option<ByteString>,
    /// All headers, these included.
    pub headers: Headers,
    /// The body.
    pub body: Bytes,
}

/// An ERROR frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The short description.
    pub message: ByteString,
    /// The number of the receipt that was asked for by the frame it is about.
    pub receipt: Option<u64>,
    /// The long description.
    pub body: Bytes,
}

/// Why a call could not do what it is for. After an error from `receive` or `timeout` the connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientError {
    /// The server sent what is no frame.
    Malformed(DecodeError),
    /// The server sent a frame that it must not send, or not now.
    Protocol(&'static str),
    /// No CONNECTED in time.
    ConnectTimeout,
    /// The server's heart-beats stayed away.
    Silence,
    /// Only a connected client can do that.
    NotConnected,
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(error) => write!(f, "the server sent a bad frame: {}", error.text),
            Self::Protocol(text) => write!(f, "the server broke the protocol: {text}"),
            Self::ConnectTimeout => f.write_str("the server did not answer CONNECT in time"),
            Self::Silence => f.write_str("the server's heart-beats stayed away"),
            Self::NotConnected => f.write_str("not connected"),
        }
    }
}

impl std::error::Error for ClientError {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Closed,
    AwaitConnected {
        since_ns: u64,
    },
    Connected,
    /// DISCONNECT has left with this receipt.
    Leaving(u64),
}

impl Client {
    /// A client that is not connected.
    pub fn new(options: Options) -> Self {
        Self {
            options,
            output: OutBuffer::default(),
            decoder: Decoder::default(),
            phase: Phase::Closed,
            heart_beat: HeartBeat::default(),
            sent_ns: 0,
            received_ns: 0,
            last_receipt: 0,
        }
    }

    /// Bytes for the server; the caller takes what it has written.
    pub fn output(&mut self) -> &mut OutBuffer {
        &mut self.output
    }

    /// Whether CONNECTED has come and nobody has said goodbye.
    pub fn is_connected(&self) -> bool {
        self.phase == Phase::Connected
    }

    /// Begins a connection on a fresh transport.
    pub fn connect(&mut self, now: Now) {
        self.output = OutBuffer::default();
        self.decoder = Decoder::default();
        self.phase = Phase::AwaitConnected { since_ns: now.mono_ns };
        let Options { heart_beat_send_ms, heart_beat_receive_ms, .. } = self.options;
        let mut frame = Frame::new(Command::Connect)
            .with("accept-version", "1.2")
            .with("host", self.options.host.clone())
            .with("heart-beat", format!("{heart_beat_send_ms},{heart_beat_receive_ms}"));
        let login = self.options.login.iter().map(|login| ("login", login));
        for (name, value) in login.chain(self.options.passcode.iter().map(|passcode| ("passcode", passcode))) {
            frame = frame.with(name, value.clone());
        }
        self.write(now, &frame);
    }

    /// Sends a message, with these headers besides those that make the frame; returns the receipt's number
    /// if one is wanted.
    pub fn send(
        &mut self,
        now: Now,
        destination: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
        wants_receipt: bool,
    ) -> Result<Option<u64>, ClientError> {
        let mut frame = Frame::new(Command::Send).with("destination", destination).with_body(body);
        for (name, value) in headers {
            frame = frame.with(name, *value);
        }
        self.request(now, frame, wants_receipt)
    }

    /// Subscribes under an id that the caller chooses.
    pub fn subscribe(
        &mut self,
        now: Now,
        id: &str,
        destination: &str,
        ack: AckMode,
        wants_receipt: bool,
    ) -> Result<Option<u64>, ClientError> {
        let ack = match ack {
            AckMode::Auto => "auto",
            AckMode::Client => "client",
            AckMode::ClientIndividual => "client-individual",
        };
        let frame = Frame::new(Command::Subscribe).with("id", id).with("destination", destination).with("ack", ack);
        self.request(now, frame, wants_receipt)
    }

    /// Ends a subscription.
    pub fn unsubscribe(&mut self, now: Now, id: &str, wants_receipt: bool) -> Result<Option<u64>, ClientError> {
        self.request(now, Frame::new(Command::Unsubscribe).with("id", id), wants_receipt)
    }

    /// Acknowledges the message with this `ack` header.
    pub fn ack(&mut self, now: Now, ack: &str, wants_receipt: bool) -> Result<Option<u64>, ClientError> {
        self.request(now, Frame::new(Command::Ack).with("id", ack), wants_receipt)
    }

    /// Gives the message with this `ack` header back.
    pub fn nack(&mut self, now: Now, ack: &str, wants_receipt: bool) -> Result<Option<u64>, ClientError> {
        self.request(now, Frame::new(Command::Nack).with("id", ack), wants_receipt)
    }

    /// Says goodbye; [`Event::Disconnected`] tells when the server has everything.
    pub fn disconnect(&mut self, now: Now) -> Result<(), ClientError> {
        let receipt = self.request(now, Frame::new(Command::Disconnect), true)?;
        self.phase = Phase::Leaving(receipt.unwrap_or_default());
        Ok(())
    }

    /// Takes the frames at the front of `input` and says what they mean; an incomplete one stays.
    pub fn receive(&mut self, now: Now, input: &mut BytesMut, events: &mut Vec<Event>) -> Result<(), ClientError> {
        if !input.is_empty() {
            self.received_ns = now.mono_ns;
        }
        while self.phase != Phase::Closed {
            let decoded = self.decoder.decode(&self.options.frame_limits, input);
            let result = match decoded.map_err(ClientError::Malformed) {
                Ok(None) => break,
                Ok(Some(frame)) => self.handle(frame, events),
                Err(error) => Err(error),
            };
            if let Err(error) = result {
                self.phase = Phase::Closed;
                return Err(error);
            }
        }
        Ok(())
    }

    /// The time that [`next_timeout`](Self::next_timeout) named has come.
    pub fn timeout(&mut self, now: Now) -> Result<(), ClientError> {
        let Some((mono_ns, due)) = self.deadline() else { return Ok(()) };
        if now.mono_ns < mono_ns {
            return Ok(());
        }
        let error = match due {
            Due::Send => {
                self.output.tail().push(b'\n');
                self.sent_ns = now.mono_ns;
                return Ok(());
            }
            Due::Receive => ClientError::Silence,
            Due::Connected => ClientError::ConnectTimeout,
        };
        self.phase = Phase::Closed;
        Err(error)
    }

    /// When to call `timeout`, and what for.
    pub fn next_timeout(&self) -> Option<Deadline> {
        self.deadline().map(|(mono_ns, due)| Deadline {
            mono_ns,
            reason: match due {
                Due::Connected => "CONNECTED",
                Due::Send => "heart-beat",
                Due::Receive => "heart-beat of the server",
            },
        })
    }

    fn deadline(&self) -> Option<(u64, Due)> {
        let after_ms = |since_ns: u64, ms: u64| since_ns.saturating_add(ms.saturating_mul(MILLISECOND_NS));
        match self.phase {
            Phase::Closed => None,
            Phase::AwaitConnected { since_ns } => {
                Some((after_ms(since_ns, self.options.connect_timeout_ms), Due::Connected))
            }
            Phase::Connected | Phase::Leaving(_) => {
                let HeartBeat { receive_ms, send_ms } = self.heart_beat;
                let silence_ms = receive_ms.saturating_mul(HEART_BEATS_MISSED_MAX);
                let receive = (silence_ms > 0).then(|| (after_ms(self.received_ns, silence_ms), Due::Receive));
                let send = (send_ms > 0).then(|| (after_ms(self.sent_ns, send_early_ms(send_ms)), Due::Send));
                receive.into_iter().chain(send).min_by_key(|(mono_ns, _)| *mono_ns)
            }
        }
    }

    fn request(&mut self, now: Now, mut frame: Frame, wants_receipt: bool) -> Result<Option<u64>, ClientError> {
        if self.phase != Phase::Connected {
            return Err(ClientError::NotConnected);
        }
        let mut receipt = None;
        if wants_receipt {
            self.last_receipt += 1;
            receipt = Some(self.last_receipt);
            frame = frame.with("receipt", self.last_receipt.to_string());
        }
        self.write(now, &frame);
        Ok(receipt)
    }

    fn write(&mut self, now: Now, frame: &Frame) {
        encode(frame, &mut self.output);
        self.sent_ns = now.mono_ns;
    }

    fn handle(&mut self, frame: Frame, events: &mut Vec<Event>) -> Result<(), ClientError> {
        match (self.phase, frame.command) {
            (_, Command::Error) => {
                let message = frame.headers.get("message").cloned().unwrap_or_default();
                let receipt = frame.headers.get("receipt-id").and_then(|receipt| receipt.parse().ok());
                self.phase = Phase::Closed;
                events.push(Event::Error(Error { message, receipt, body: frame.body }));
                Ok(())
            }
            (Phase::AwaitConnected { .. }, Command::Connected) => self.connected(frame.headers, events),
            (Phase::Connected | Phase::Leaving(_), Command::Message) => {
                events.push(Event::Message(message(frame)?));
                Ok(())
            }
            (Phase::Connected | Phase::Leaving(_), Command::Receipt) => self.receipt(&frame.headers, events),
            _ => Err(ClientError::Protocol("a frame that may not come here")),
        }
    }

    fn connected(&mut self, headers: Headers, events: &mut Vec<Event>) -> Result<(), ClientError> {
        if headers.get("version").is_none_or(|version| *version != "1.2") {
            return Err(ClientError::Protocol("CONNECTED names another version than 1.2"));
        }
        let Options { heart_beat_send_ms, heart_beat_receive_ms, .. } = self.options;
        let header = headers.get("heart-beat").map(|header| &header[..]);
        self.heart_beat =
            HeartBeat::agree(heart_beat_send_ms, heart_beat_receive_ms, header).map_err(ClientError::Protocol)?;
        self.phase = Phase::Connected;
        events.push(Event::Connected(headers));
        Ok(())
    }

    fn receipt(&mut self, headers: &Headers, events: &mut Vec<Event>) -> Result<(), ClientError> {
        let receipt = headers.get("receipt-id").and_then(|receipt| receipt.parse::<u64>().ok());
        let receipt = receipt.filter(|receipt| (1..=self.last_receipt).contains(receipt));
        let receipt = receipt.ok_or(ClientError::Protocol("a receipt that nobody asked for"))?;
        if self.phase == Phase::Leaving(receipt) {
            self.phase = Phase::Closed;
            events.push(Event::Disconnected);
        } else {
            events.push(Event::Receipt(receipt));
        }
        Ok(())
    }
}

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Connected,
    Send,
    Receive,
}

fn message(frame: Frame) -> Result<Message, ClientError> {
    let header = |name| frame.headers.get(name).cloned();
    let (Some(subscription), Some(destination)) = (header("subscription"), header("destination")) else {
        return Err(ClientError::Protocol("a MESSAGE without subscription or destination"));
    };
    Ok(Message { subscription, destination, ack: header("ack"), headers: frame.headers, body: frame.body })
}
