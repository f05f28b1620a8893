//! The server's side of one STOMP conversation.
//!
//! Frames in become requests to the broker, answers and deliveries become frames out. Whatever is wrong gets
//! an ERROR and the end of the connection ("ERROR"): the language knows no smaller refusal.

mod deliver;
mod frames;
mod subscriptions;

use crate::codec::{Decoder, FrameLimits, HeadWriter, encode};
use crate::config::StompConfig;
use crate::frame::{Command, Frame};
use crate::heart_beat::{HEART_BEATS_MISSED_MAX, HeartBeat, send_early_ms};
use althing_core::time::MILLISECOND_NS;
use althing_core::verbs::{Connected, Reason, Refusal};
use althing_core::{Adaptor, Answer, Close, Deadline, Delivery, Limits, Link, Now, Out, Receive};
use bytes::BytesMut;
use bytestring::ByteString;
use std::collections::VecDeque;
use std::sync::Arc;
use subscriptions::Subscriptions;

/// The server's side of one STOMP conversation.
#[derive(Debug)]
pub struct StompAdaptor {
    limits: Arc<Limits>,
    config: Arc<StompConfig>,
    decoder: Decoder,
    phase: Phase,
    /// What the deadline of the phase counts from; once connected, the last bytes of the peer.
    since_ns: u64,
    /// When the last bytes were written.
    sent_ns: u64,
    /// When the first byte of a frame arrived that is not complete yet.
    partial_since_ns: Option<u64>,
    heart_beat: HeartBeat,
    subscriptions: Subscriptions,
    /// Requests that the broker has not answered, in order.
    pending: VecDeque<Pending>,
    last_correlation: u32,
}

/// Where the conversation stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// Accepted, but no call has told us the time yet.
    Accepted,
    /// CONNECT has not arrived completely.
    AwaitConnect,
    /// The broker decides on CONNECT; frames wait.
    AwaitBroker,
    /// CONNECTED has left.
    Connected,
    /// DISCONNECT has come; its receipt leaves when everything before it is done.
    Leaving { receipt: ByteString },
}

/// A request that waits for the broker.
#[derive(Debug)]
struct Pending {
    correlation: u32,
    receipt: Option<ByteString>,
}

/// Frames taken in one call, so that a flood waits its turn.
const FRAMES_A_TURN: usize = 256;

impl StompAdaptor {
    /// A conversation that begins. The connect deadline counts from the first call of `receive` or
    /// `timeout`; until then `next_timeout` asks to be called at once.
    pub fn new(_link: &Link, limits: Arc<Limits>, config: Arc<StompConfig>) -> Self {
        Self {
            limits,
            config,
            decoder: Decoder::default(),
            phase: Phase::Accepted,
            since_ns: 0,
            sent_ns: 0,
            partial_since_ns: None,
            heart_beat: HeartBeat::default(),
            subscriptions: Subscriptions::default(),
            pending: VecDeque::new(),
            last_correlation: 0,
        }
    }

    fn start_clock(&mut self, now: Now) {
        if self.phase == Phase::Accepted {
            self.phase = Phase::AwaitConnect;
            self.since_ns = now.mono_ns;
        }
    }

    fn frame_limits(&self) -> FrameLimits {
        let body_bytes_max = match self.phase {
            Phase::Connected => self.limits.packet_bytes_max,
            _ => self.limits.packet_bytes_before_connect_max,
        };
        let StompConfig { headers_max, header_bytes_max, .. } = *self.config;
        FrameLimits { headers_max, header_bytes_max: header_bytes_max.min(body_bytes_max), body_bytes_max }
    }

    /// Whether the next frame has to wait for an answer of the broker. A client cannot be told how many
    /// receipts it may have open, so the excess waits in the socket.
    fn must_wait(&self) -> bool {
        match self.phase {
            Phase::AwaitBroker | Phase::Leaving { .. } => true,
            _ => self.pending.len() >= usize::from(self.limits.receive_maximum.max(1)),
        }
    }

    fn take_frame(&mut self, now: Now, input: &mut BytesMut, out: &mut Out<'_>) -> Result<bool, Close> {
        match self.decoder.decode(&self.frame_limits(), input) {
            Ok(Some(frame)) => {
                self.partial_since_ns = None;
                self.handle(now, frame, out)?;
                Ok(true)
            }
            Ok(None) => {
                let within = self.decoder.is_within_frame(input);
                self.partial_since_ns = within.then(|| self.partial_since_ns.unwrap_or(now.mono_ns));
                Ok(false)
            }
            Err(error) => {
                let reason = if error.too_large { Reason::PacketTooLarge } else { Reason::Malformed };
                let receipt = self.decoder.receipt().cloned();
                Err(self.refuse(Refusal::new(reason, error.text), receipt.as_ref(), out))
            }
        }
    }

    /// Says why with an ERROR, and ends the conversation.
    fn refuse(&self, refusal: Refusal, receipt: Option<&ByteString>, out: &mut Out<'_>) -> Close {
        let mut error = Frame::new(Command::Error).with("message", short(refusal.reason));
        if let Some(receipt) = receipt {
            error = error.with("receipt-id", receipt.clone());
        }
        if refusal.reason == Reason::UnsupportedVersion {
            error = error.with("version", VERSION);
        }
        error = error.with("content-type", "text/plain").with_body(format!("{refusal}\n"));
        encode(&error, out.bytes);
        Close::with_will(refusal)
    }

    fn connected(&mut self, connected: &Connected, out: &mut Out<'_>) {
        self.phase = Phase::Connected;
        let mut head = HeadWriter::new(Command::Connected, out.bytes.tail());
        head.header("version", VERSION);
        head.header("session", &connected.client);
        head.header("server", concat!("althing/", env!("CARGO_PKG_VERSION")));
        let StompConfig { heart_beat_send_ms, heart_beat_receive_ms, .. } = *self.config;
        head.plain("heart-beat", format_args!("{heart_beat_send_ms},{heart_beat_receive_ms}"));
        head.end(0);
        out.bytes.tail().push(0);
    }

    /// The broker has answered a request: its receipt leaves, or an ERROR.
    fn finish(&mut self, correlation: u32, outcome: Result<(), Refusal>, out: &mut Out<'_>) -> Result<(), Close> {
        // Requests without a place in the line are those that nobody waits for.
        let Some(done) = self.pending.pop_front_if(|first| first.correlation == correlation) else { return Ok(()) };
        if let Err(refusal) = outcome {
            return Err(self.refuse(refusal, done.receipt.as_ref(), out));
        }
        if let Some(receipt) = &done.receipt {
            send_receipt(receipt, out);
        }
        self.leave_when_done(out)
    }

    /// The goodbye, when DISCONNECT has come and nothing before it is open any more.
    fn leave_when_done(&self, out: &mut Out<'_>) -> Result<(), Close> {
        let Phase::Leaving { receipt } = &self.phase else { return Ok(()) };
        if !self.pending.is_empty() {
            return Ok(());
        }
        send_receipt(receipt, out);
        Err(goodbye())
    }

    /// The next deadline, and which one it is.
    fn deadline(&self) -> Option<(u64, Due)> {
        let after_ms = |since_ns: u64, ms: u64| since_ns.saturating_add(ms.saturating_mul(MILLISECOND_NS));
        match self.phase {
            Phase::Accepted => Some((0, Due::Clock)),
            Phase::AwaitConnect => Some((after_ms(self.since_ns, self.limits.connect_timeout_ms), Due::Connect)),
            Phase::AwaitBroker | Phase::Leaving { .. } => None,
            Phase::Connected => {
                let HeartBeat { receive_ms, send_ms } = self.heart_beat;
                // While we do not read, the peer's silence is ours.
                let reads = !self.must_wait();
                let frame = self.partial_since_ns.filter(|_| reads);
                let frame = frame.map(|since_ns| (after_ms(since_ns, self.limits.packet_timeout_ms), Due::Frame));
                let silence_ms = receive_ms.saturating_mul(HEART_BEATS_MISSED_MAX);
                let receive = (silence_ms > 0 && reads).then(|| (after_ms(self.since_ns, silence_ms), Due::Receive));
                let send = (send_ms > 0).then(|| (after_ms(self.sent_ns, send_early_ms(send_ms)), Due::Send));
                frame.into_iter().chain(receive).chain(send).min_by_key(|(mono_ns, _)| *mono_ns)
            }
        }
    }
}

/// The version spoken here.
const VERSION: &str = "1.2";

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Clock,
    Connect,
    Frame,
    Receive,
    Send,
}

impl Adaptor for StompAdaptor {
    fn receive(&mut self, now: Now, input: &mut BytesMut, out: &mut Out<'_>) -> Result<Receive, Close> {
        self.start_clock(now);
        if self.phase == Phase::Connected && !input.is_empty() {
            self.since_ns = now.mono_ns;
        }
        self.noting_what_is_sent(now, out, |this, out| {
            for _ in 0..FRAMES_A_TURN {
                if this.must_wait() {
                    return Ok(Receive::Wait);
                }
                if !this.take_frame(now, input, out)? {
                    return Ok(Receive::NeedMore);
                }
            }
            Ok(Receive::Again)
        })
    }

    fn answer(&mut self, now: Now, answer: Answer, out: &mut Out<'_>) -> Result<(), Close> {
        if self.must_wait() {
            self.since_ns = now.mono_ns;
        }
        self.noting_what_is_sent(now, out, |this, out| match answer {
            Answer::Connected(connected) => {
                this.connected(&connected, out);
                Ok(())
            }
            Answer::Published { correlation, outcome, .. } => this.finish(correlation, outcome.map(|_| ()), out),
            Answer::Subscribed { correlation, results, .. } => this.finish(correlation, all(results), out),
            Answer::Unsubscribed { correlation, results } => this.finish(correlation, all(results), out),
            Answer::Refused(refusal) => Err(this.refuse(refusal, None, out)),
            Answer::Close(refusal) => {
                // A broker that stops is no lost peer.
                let publish_will = !refusal.reason.is_stop();
                Err(Close { publish_will, ..this.refuse(refusal, None, out) })
            }
            // Nothing here asks for the others.
            _ => Ok(()),
        })
    }

    fn deliver(&mut self, now: Now, batch: &[Delivery], out: &mut Out<'_>) {
        self.noting_what_is_sent(now, out, |this, out| {
            for delivery in batch {
                this.deliver_one(now, delivery, out);
            }
        });
    }

    fn timeout(&mut self, now: Now, out: &mut Out<'_>) -> Result<(), Close> {
        self.start_clock(now);
        let Some((mono_ns, due)) = self.deadline() else { return Ok(()) };
        if now.mono_ns < mono_ns {
            return Ok(());
        }
        let refusal = match due {
            Due::Clock => return Ok(()),
            Due::Send => {
                // What still waits to leave is as good as a heart-beat.
                if out.bytes.is_empty() {
                    out.bytes.tail().push(b'\n');
                }
                self.sent_ns = now.mono_ns;
                return Ok(());
            }
            Due::Connect => Refusal::new(Reason::Unspecified, "no complete CONNECT in time"),
            Due::Frame => Refusal::new(Reason::ImplementationSpecific, "a frame began and was not completed in time"),
            Due::Receive => Refusal::new(Reason::KeepAliveTimeout, "silent for two of its heart-beats"),
        };
        Err(self.refuse(refusal, None, out))
    }

    fn next_timeout(&self) -> Option<Deadline> {
        self.deadline().map(|(mono_ns, due)| Deadline {
            mono_ns,
            reason: match due {
                Due::Clock => "start of the conversation",
                Due::Connect => "CONNECT",
                Due::Frame => "rest of a frame",
                Due::Receive => "heart-beat of the peer",
                Due::Send => "heart-beat",
            },
        })
    }
}

impl StompAdaptor {
    fn noting_what_is_sent<R>(
        &mut self,
        now: Now,
        out: &mut Out<'_>,
        act: impl FnOnce(&mut Self, &mut Out<'_>) -> R,
    ) -> R {
        let before = out.bytes.len();
        let result = act(self, out);
        if out.bytes.len() > before {
            self.sent_ns = now.mono_ns;
        }
        result
    }
}

fn send_receipt(receipt: &str, out: &mut Out<'_>) {
    let mut head = HeadWriter::new(Command::Receipt, out.bytes.tail());
    head.header("receipt-id", receipt);
    head.end(0);
    out.bytes.tail().push(0);
}

fn goodbye() -> Close {
    Close { refusal: Refusal::new(Reason::Normal, "the client disconnected"), publish_will: false }
}

/// The first refusal among the results of a request.
fn all<T>(results: Vec<Result<T, Reason>>) -> Result<(), Refusal> {
    match results.into_iter().find_map(Result::err) {
        Some(reason) => Err(Refusal::new(reason, format!("the destination was refused: {}", short(reason)))),
        None => Ok(()),
    }
}

/// The short description of an ERROR's `message` header.
fn short(reason: Reason) -> &'static str {
    match reason {
        Reason::Malformed => "malformed frame",
        Reason::ProtocolError => "protocol error",
        Reason::UnsupportedVersion => "unsupported protocol version",
        Reason::ImplementationSpecific => "not supported",
        Reason::BadCredentials => "bad login or passcode",
        Reason::NotAuthorised => "not authorised",
        Reason::PacketTooLarge => "frame too large",
        Reason::QuotaExceeded | Reason::StoreFull => "a limit of the broker was reached",
        Reason::MessageRateTooHigh => "messages come too fast",
        Reason::ConnectionRateExceeded => "connections come too fast",
        Reason::TopicNameInvalid | Reason::TopicFilterInvalid => "invalid destination",
        Reason::IdentifierInUse => "identifier in use",
        Reason::IdentifierNotFound => "unknown identifier",
        Reason::KeepAliveTimeout => "missing heart-beats",
        Reason::ShuttingDown => "the broker is stopping",
        Reason::ServerBusy | Reason::ServerUnavailable => "the broker is busy",
        Reason::Banned => "banned",
        _ => "error",
    }
}
