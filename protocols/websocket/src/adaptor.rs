//! The server's side: an adaptor around an adaptor.
//!
//! A language of bytes sees one stream: payload is taken out of its frames where it lies, and the inner adaptor gets all of
//! it at once, however it was cut into frames. What the inner adaptor writes in one call leaves in one frame, whose
//! header is put in front in place. So the way of a message costs little more than over TCP.
//!
//! A language of messages gets each one whole. So does a language of bytes whose messages may be compressed: those have
//! to be complete before they can be inflated.

mod output;

use crate::close::{CloseCode, CloseWords};
use crate::config::WebSocketConfig;
use crate::decoder::{Control, Decoder, Kind, Piece, Rules, Window};
use crate::deflate::{Deflate, InflateLimits};
use crate::frame::{FrameError, Opcode, Side};
use althing_core::time::MILLISECOND_NS;
use althing_core::verbs::Refusal;
use althing_core::{
    Adaptor, Answer, Close, Deadline, Delivery, MessageAdaptor, Now, Out, Reason, Receive, WholeMessage,
};
use bytes::BytesMut;
use output::{put_close, put_control};
use std::fmt;
use std::mem;
use std::sync::Arc;

/// The language inside.
pub enum Inner {
    /// A language of bytes: frames mean nothing to it.
    Bytes {
        /// It.
        adaptor: Box<dyn Adaptor>,
        /// Whether it is sent as text, where it is text, and may come as either. Otherwise text is refused, as
        /// [MQTT-6.0.0-1] has it.
        is_text: bool,
    },
    /// A language of whole messages.
    Messages(Box<dyn MessageAdaptor>),
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes { is_text, .. } => write!(f, "Bytes {{ is_text: {is_text} }}"),
            Self::Messages(_) => f.write_str("Messages"),
        }
    }
}

/// The server's side of one WebSocket, after the opening handshake.
#[derive(Debug)]
pub struct WebSocketAdaptor {
    config: Arc<WebSocketConfig>,
    inner: Inner,
    decoder: Decoder,
    /// Payload that `input` begins with: of the message under way, or what a language of bytes has not taken.
    plain: usize,
    /// When the peer was heard last, or sent a ping; `u64::MAX` before any call has told us the time.
    since_ns: u64,
    /// When the message under way began, where messages are taken whole.
    message_since_ns: Option<u64>,
    compression: Option<Box<Compression>>,
    /// Why nothing more is read; it takes effect when the inner adaptor has taken what came before.
    ending: Option<Box<Ending>>,
    /// Whether a ping is unanswered.
    pinged: bool,
    /// Whether the inner adaptor waits for the broker, so that we do not read.
    waits: bool,
    /// Whether the session stands.
    stands: bool,
}

/// What compression takes.
#[derive(Debug)]
struct Compression {
    deflate: Deflate,
    /// What a language of bytes has not taken.
    rest: BytesMut,
}

/// Why a conversation ends from the peer's side.
#[derive(Debug)]
enum Ending {
    /// It sent a Close frame.
    Closed(CloseWords),
    /// It broke the rules.
    Broken(FrameError),
}

/// Messages taken in one call, so that a flood waits its turn.
const MESSAGES_A_TURN: usize = 256;

impl WebSocketAdaptor {
    /// A conversation that begins behind the response to the handshake. Its clock starts with the first call of `receive`
    /// or `timeout`; until then `next_timeout` asks to be called at once.
    pub fn new(config: Arc<WebSocketConfig>, inner: Inner, deflate: Option<Deflate>) -> Self {
        Self {
            config,
            inner,
            decoder: Decoder::default(),
            plain: 0,
            since_ns: u64::MAX,
            message_since_ns: None,
            compression: deflate.map(|deflate| Box::new(Compression { deflate, rest: BytesMut::new() })),
            ending: None,
            pinged: false,
            waits: false,
            stands: false,
        }
    }

    /// Whether bytes are handed on as they come, in the memory that they came in.
    fn is_stream(&self) -> bool {
        matches!(self.inner, Inner::Bytes { .. }) && self.compression.is_none()
    }

    fn rules(&self) -> Rules {
        Rules {
            side: Side::Server,
            may_compress: self.compression.is_some(),
            may_be_text: !matches!(self.inner, Inner::Bytes { is_text: false, .. }),
            message_bytes_max: if self.is_stream() { u64::MAX } else { self.message_bytes_max() as u64 },
        }
    }

    fn message_bytes_max(&self) -> usize {
        let WebSocketConfig { message_bytes_max, message_bytes_before_connect_max, .. } = *self.config;
        if self.stands { message_bytes_max } else { message_bytes_before_connect_max.min(message_bytes_max) }
    }

    fn hear(&mut self, now: Now) {
        self.since_ns = now.mono_ns;
        self.pinged = false;
    }

    /// A language of bytes: all payload of `input`, in one call.
    fn receive_stream(
        &mut self,
        now: Now,
        input: &mut BytesMut,
        pong: &mut Option<Control>,
        out: &mut Out<'_>,
    ) -> Result<Receive, Close> {
        let mut window = Window::new(input, self.plain);
        let rules = self.rules();
        while self.ending.is_none() {
            match self.decoder.next(&rules, &mut window) {
                Ok(Some(Piece::Part | Piece::End(_))) => {}
                Ok(Some(Piece::Control(opcode, control))) => self.take_control(opcode, control, pong),
                Ok(None) => break,
                Err(error) => self.ending = Some(Box::new(Ending::Broken(error))),
            }
        }
        self.plain = window.close();
        if self.ending.is_some() {
            input.truncate(self.plain);
        }
        if self.plain == 0 {
            return self.conclude(out);
        }
        // The begin of a frame waits behind the payload; most often there is none.
        let frames = if self.plain < input.len() { input.split_off(self.plain) } else { BytesMut::new() };
        let received = self.call_bytes(out, |adaptor, out| adaptor.receive(now, input, out));
        self.plain = input.len();
        input.unsplit(frames);
        match self.or_goodbye(received, out)? {
            Receive::NeedMore => self.conclude(out),
            received => Ok(received),
        }
    }

    /// Whole messages, one by one.
    fn receive_messages(
        &mut self,
        now: Now,
        input: &mut BytesMut,
        pong: &mut Option<Control>,
        out: &mut Out<'_>,
    ) -> Result<Receive, Close> {
        if self.compression.as_ref().is_some_and(|compression| !compression.rest.is_empty()) {
            let received = self.feed(now, BytesMut::new(), out)?;
            if received != Receive::NeedMore {
                return Ok(received);
            }
        }
        let mut window = Window::new(input, self.plain);
        let rules = self.rules();
        let (mut stop, mut taken) = (None, 0);
        while self.ending.is_none() && stop.is_none() && taken < MESSAGES_A_TURN {
            match self.decoder.next(&rules, &mut window) {
                Ok(Some(Piece::Part)) => {}
                Ok(Some(Piece::End(kind))) => {
                    taken += 1;
                    stop = self.take_message(now, kind, window.split(), out)?;
                }
                Ok(Some(Piece::Control(opcode, control))) => self.take_control(opcode, control, pong),
                Ok(None) => stop = Some(Receive::NeedMore),
                Err(error) => self.ending = Some(Box::new(Ending::Broken(error))),
            }
        }
        self.plain = window.close();
        if self.ending.is_some() {
            input.clear();
            return self.conclude(out);
        }
        let received = stop.unwrap_or(Receive::Again);
        let is_begun = received == Receive::NeedMore && (self.decoder.is_within_message() || !input.is_empty());
        let since_ns = self.message_since_ns.filter(|_| taken == 0).unwrap_or(now.mono_ns);
        self.message_since_ns = is_begun.then_some(since_ns);
        Ok(received)
    }

    /// One message; says why the next one may not come now.
    fn take_message(
        &mut self,
        now: Now,
        kind: Kind,
        payload: BytesMut,
        out: &mut Out<'_>,
    ) -> Result<Option<Receive>, Close> {
        let payload = match self.inflated(kind, payload) {
            Ok(payload) => payload,
            Err(error) => {
                self.ending = Some(Box::new(Ending::Broken(error)));
                return Ok(None);
            }
        };
        if matches!(self.inner, Inner::Bytes { .. }) {
            return self.feed(now, payload, out).map(|received| Some(received).filter(|it| *it != Receive::NeedMore));
        }
        let message = WholeMessage { is_text: kind.is_text, bytes: payload.freeze() };
        let received = self.call_messages(out, |adaptor, out| adaptor.receive(now, message, out));
        self.or_goodbye(received, out).map(|received| Some(received).filter(|it| *it == Receive::Wait))
    }

    fn inflated(&self, kind: Kind, payload: BytesMut) -> Result<BytesMut, FrameError> {
        let Some(compression) = self.compression.as_ref().filter(|_| kind.is_compressed) else { return Ok(payload) };
        let limits = InflateLimits { bytes_max: self.message_bytes_max(), ratio_max: self.config.deflate_ratio_max };
        let inflated = compression.deflate.inflate(&payload, limits)?;
        if kind.is_text && std::str::from_utf8(&inflated).is_err() {
            return Err(FrameError::not_utf8("a text message is UTF-8, and this one is not (RFC 6455 §8.1)"));
        }
        Ok(bytes::Bytes::from(inflated).into())
    }

    /// Hands a message to a language of bytes, behind what it has not taken.
    fn feed(&mut self, now: Now, message: BytesMut, out: &mut Out<'_>) -> Result<Receive, Close> {
        let Some(compression) = &mut self.compression else { return Ok(Receive::NeedMore) };
        let mut rest = mem::take(&mut compression.rest);
        let is_own = !rest.is_empty();
        if is_own {
            rest.extend_from_slice(&message);
        } else {
            rest = message;
        }
        let received = self.call_bytes(out, |adaptor, out| adaptor.receive(now, &mut rest, out));
        if !rest.is_empty()
            && let Some(compression) = &mut self.compression
        {
            // The driver's buffer must not be kept for it.
            compression.rest = if is_own { rest } else { BytesMut::from(&rest[..]) };
        }
        self.or_goodbye(received, out)
    }

    fn take_control(&mut self, opcode: Opcode, control: Control, pong: &mut Option<Control>) {
        match opcode {
            // Of several the last one is answered (§5.5.3).
            Opcode::Ping => *pong = Some(control),
            Opcode::Close => {
                let words = CloseWords::parse(control.payload());
                self.ending = Some(Box::new(words.map_or_else(Ending::Broken, Ending::Closed)));
            }
            _ => {}
        }
    }

    /// Nothing more can be taken: the peer's end of the conversation takes effect, if it has come.
    fn conclude(&mut self, out: &mut Out<'_>) -> Result<Receive, Close> {
        let Some(ending) = self.ending.take() else { return Ok(Receive::NeedMore) };
        Err(match *ending {
            Ending::Closed(CloseWords { code, text }) => {
                put_close(code, "", out.bytes);
                // A language of bytes has a goodbye of its own, and this is none.
                let is_goodbye = code == CloseCode::NORMAL && matches!(self.inner, Inner::Messages(_));
                let reason = if is_goodbye { Reason::Normal } else { Reason::ConnectionLost };
                let text = format!("the peer closed the WebSocket: {} {text}", code.0);
                Close { refusal: Refusal::new(reason, text), publish_will: !is_goodbye }
            }
            Ending::Broken(error) => {
                put_close(error.code, error.text, out.bytes);
                Close::with_will(Refusal::new(reason_of(error.code), error.text))
            }
        })
    }

    /// When the inner adaptor ends the conversation, so does the WebSocket.
    fn or_goodbye<R>(&self, result: Result<R, Close>, out: &mut Out<'_>) -> Result<R, Close> {
        if let Err(Close { refusal, .. }) = &result {
            put_close(CloseCode::from_reason(refusal.reason), &refusal.text, out.bytes);
        }
        result
    }

    /// Our own next deadline, and which one it is.
    fn deadline(&self) -> Option<(u64, Due)> {
        if self.since_ns == u64::MAX {
            return Some((0, Due::Clock));
        }
        if self.waits {
            // While we do not read, the peer's silence is ours.
            return None;
        }
        let after_ms = |since_ns: u64, ms: u64| since_ns.saturating_add(ms.saturating_mul(MILLISECOND_NS));
        let WebSocketConfig { ping_interval_ms, pong_timeout_ms, message_timeout_ms, .. } = *self.config;
        let silence = match self.pinged {
            _ if ping_interval_ms == 0 || self.inner_has_pings() => None,
            false => Some((after_ms(self.since_ns, ping_interval_ms), Due::Ping)),
            true => Some((after_ms(self.since_ns, pong_timeout_ms), Due::Pong)),
        };
        let message = self.message_since_ns.map(|since_ns| (after_ms(since_ns, message_timeout_ms), Due::Message));
        silence.into_iter().chain(message).min_by_key(|(mono_ns, _)| *mono_ns)
    }

    fn inner_has_pings(&self) -> bool {
        matches!(&self.inner, Inner::Messages(adaptor) if adaptor.has_pings())
    }

    fn inner_timeout(&self) -> Option<Deadline> {
        match &self.inner {
            Inner::Bytes { adaptor, .. } => adaptor.next_timeout(),
            Inner::Messages(adaptor) => adaptor.next_timeout(),
        }
    }
}

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Clock,
    Ping,
    Pong,
    Message,
}

impl Adaptor for WebSocketAdaptor {
    fn receive(&mut self, now: Now, input: &mut BytesMut, out: &mut Out<'_>) -> Result<Receive, Close> {
        self.hear(now);
        let mut pong = None;
        let received = if self.is_stream() {
            self.receive_stream(now, input, &mut pong, out)?
        } else {
            self.receive_messages(now, input, &mut pong, out)?
        };
        if let Some(control) = pong {
            put_control(Opcode::Pong, control.payload(), out.bytes);
        }
        self.waits = received == Receive::Wait;
        Ok(received)
    }

    fn answer(&mut self, now: Now, answer: Answer, out: &mut Out<'_>) -> Result<(), Close> {
        if self.waits {
            self.hear(now);
        }
        self.stands |= matches!(answer, Answer::Connected(_));
        let farewell = if let Answer::Close(refusal) = &answer { Some(refusal.clone()) } else { None };
        let answered = match self.inner {
            Inner::Bytes { .. } => self.call_bytes(out, |adaptor, out| adaptor.answer(now, answer, out)),
            Inner::Messages(_) => self.call_messages(out, |adaptor, out| adaptor.answer(now, answer, out)),
        };
        // A language may have no word for the broker's farewell; WebSocket has.
        let farewell = farewell.map_or(Ok(()), |refusal| Err(Close { refusal, publish_will: false }));
        self.or_goodbye(answered.and(farewell), out)
    }

    fn deliver(&mut self, now: Now, batch: &[Delivery], out: &mut Out<'_>) {
        let delivered = match self.inner {
            Inner::Bytes { .. } => self.call_bytes(out, |adaptor, out| {
                adaptor.deliver(now, batch, out);
                Ok(())
            }),
            Inner::Messages(_) => self.call_messages(out, |adaptor, out| {
                adaptor.deliver(now, batch, out);
                Ok(())
            }),
        };
        debug_assert!(delivered.is_ok(), "a delivery ends nothing");
    }

    fn timeout(&mut self, now: Now, out: &mut Out<'_>) -> Result<(), Close> {
        if self.since_ns == u64::MAX {
            self.hear(now);
        }
        if self.inner_timeout().is_some_and(|deadline| deadline.mono_ns <= now.mono_ns) {
            let done = match self.inner {
                Inner::Bytes { .. } => self.call_bytes(out, |adaptor, out| adaptor.timeout(now, out)),
                Inner::Messages(_) => self.call_messages(out, |adaptor, out| adaptor.timeout(now, out)),
            };
            self.or_goodbye(done, out)?;
        }
        let Some((_, due)) = self.deadline().filter(|(mono_ns, _)| *mono_ns <= now.mono_ns) else { return Ok(()) };
        let refusal = match due {
            Due::Clock => return Ok(()),
            Due::Ping => {
                put_control(Opcode::Ping, b"", out.bytes);
                (self.since_ns, self.pinged) = (now.mono_ns, true);
                return Ok(());
            }
            Due::Pong => Refusal::new(Reason::KeepAliveTimeout, "silent, and a ping was not answered"),
            Due::Message => {
                Refusal::new(Reason::ImplementationSpecific, "a message began and was not completed in time")
            }
        };
        self.or_goodbye(Err(Close::with_will(refusal)), out)
    }

    fn next_timeout(&self) -> Option<Deadline> {
        let own = self.deadline().map(|(mono_ns, due)| Deadline {
            mono_ns,
            reason: match due {
                Due::Clock => "start of the conversation",
                Due::Ping => "ping",
                Due::Pong => "pong of the peer",
                Due::Message => "rest of a message",
            },
        });
        own.into_iter().chain(self.inner_timeout()).min_by_key(|deadline| deadline.mono_ns)
    }
}

/// What the log says of a broken rule.
fn reason_of(code: CloseCode) -> Reason {
    match code {
        CloseCode::INVALID_PAYLOAD => Reason::PayloadFormatInvalid,
        CloseCode::TOO_BIG => Reason::PacketTooLarge,
        _ => Reason::ProtocolError,
    }
}
