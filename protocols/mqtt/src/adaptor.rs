//! The server's side of one MQTT conversation, all versions on one port.
//!
//! Packets in become requests to the broker, answers and deliveries become packets out. The state kept
//! here is what the conversation needs and the broker does not know: where the handshake stands, aliases,
//! deadlines, and how many publishes the peer has open. The rest is in the session, in the core.
//!
//! Ten thousand idle connections are the common case, so what is rare sits in a box ([`Rare`]).

mod answers;
mod codes;
mod connect;
mod deliver;
mod requests;

use crate::alias::{AliasesIn, AliasesOut};
use crate::codec::{self, Context, DecodeError, Side};
use crate::config::MqttConfig;
use crate::packet::{ConnAck, ConnAckProperties, Details, Disconnect, Packet, Version};
use crate::reason;
use althing_core::time::{MILLISECOND_NS, SECOND_NS};
use althing_core::verbs::{Reason, Refusal};
use althing_core::{Adaptor, Answer, Close, Deadline, Delivery, Limits, Link, Now, Out, Receive};
use bytes::BytesMut;
use bytestring::ByteString;
use std::borrow::Cow;
use std::sync::Arc;

/// The server's side of one MQTT conversation.
#[derive(Debug)]
pub struct MqttAdaptor {
    limits: Arc<Limits>,
    config: Arc<MqttConfig>,
    rare: Option<Box<Rare>>,
    /// When the first byte of a packet arrived that is not complete yet.
    partial_since_ns: Option<u64>,
    /// What the deadline of the phase counts from; once connected, the last packet of the peer.
    since_ns: u64,
    /// The largest packet that the peer takes (§3.1.2.11.4).
    maximum_packet_size: u32,
    /// Publishes above QoS 0 that the peer has open: in version 5 until PUBACK, PUBCOMP or a refusing
    /// PUBREC has left (§4.9), in version 3 until the broker has answered.
    open_publishes: u16,
    /// As the peer keeps it, or as we told it to; 0 = off.
    keep_alive_s: u16,
    /// What CONNECT says; `None` before it has been read.
    version: Option<Version>,
    phase: Phase,
    /// Whether sentences may go into packets other than CONNACK and DISCONNECT (§3.1.2.11.7).
    problem_information: bool,
    /// Whether CONNECT asked for a session that ends with the connection (§3.14.2.2.2).
    session_ends: bool,
}

/// Where the conversation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Accepted, but no call has told us the time yet.
    Accepted,
    /// CONNECT has not arrived completely.
    AwaitConnect,
    /// The broker decides on CONNECT or AUTH; packets wait.
    AwaitBroker,
    /// The client owes us an AUTH (§4.12).
    AwaitAuth,
    /// CONNACK has left.
    Connected,
}

/// What few conversations need.
#[derive(Debug, Default)]
struct Rare {
    /// What CONNECT asked for and CONNACK answers.
    asked: Asked,
    /// The method of enhanced authentication, for the whole conversation ([MQTT-4.12.0-5]).
    authentication_method: Option<ByteString>,
    /// Whether a re-authentication is under way (§4.12.1).
    reauthenticating: bool,
    aliases_in: AliasesIn,
    aliases_out: Option<AliasesOut>,
}

#[derive(Debug, Default)]
struct Asked {
    session_expiry_s: u32,
    keep_alive_s: u16,
    response_information: bool,
}

/// Packets taken in one call, so that a flood waits its turn.
const PACKETS_A_TURN: usize = 256;

impl MqttAdaptor {
    /// A conversation that begins. The connect deadline counts from the first call of `receive` or
    /// `timeout`; until then `next_timeout` asks to be called at once.
    pub fn new(_link: &Link, limits: Arc<Limits>, config: Arc<MqttConfig>) -> Self {
        Self {
            limits,
            config,
            rare: None,
            partial_since_ns: None,
            since_ns: 0,
            maximum_packet_size: u32::MAX,
            open_publishes: 0,
            keep_alive_s: 0,
            version: None,
            phase: Phase::Accepted,
            problem_information: true,
            session_ends: false,
        }
    }

    /// The version that the peer speaks, once it has said so.
    pub fn version(&self) -> Option<Version> {
        self.version
    }

    fn is_v5(&self) -> bool {
        self.version == Some(Version::V5)
    }

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    fn start_clock(&mut self, now: Now) {
        if self.phase == Phase::Accepted {
            self.phase = Phase::AwaitConnect;
            self.since_ns = now.mono_ns;
        }
    }

    fn context(&self) -> Context {
        let connected = self.phase == Phase::Connected;
        Context {
            side: Side::Server,
            version: self.version,
            packet_bytes_max: if connected {
                self.limits.packet_bytes_max
            } else {
                self.limits.packet_bytes_before_connect_max
            },
            topic: self.limits.topic,
        }
    }

    /// Whether the next packet has to wait for an answer of the broker. In version 3 a client cannot be
    /// told how many publishes it may have open, so the excess waits in the socket.
    fn must_wait(&self) -> bool {
        self.phase == Phase::AwaitBroker || (!self.is_v5() && self.open_publishes >= self.receive_maximum())
    }

    fn receive_maximum(&self) -> u16 {
        self.limits.receive_maximum.max(1)
    }

    fn take_packet(&mut self, now: Now, input: &mut BytesMut, out: &mut Out<'_>) -> Result<bool, Close> {
        match codec::decode(&self.context(), input) {
            Ok(Some(packet)) => {
                self.since_ns = now.mono_ns;
                self.partial_since_ns = None;
                self.handle(now, packet, out)?;
                Ok(true)
            }
            Ok(None) => {
                if !input.is_empty() && self.partial_since_ns.is_none() {
                    self.partial_since_ns = Some(now.mono_ns);
                }
                Ok(false)
            }
            Err(DecodeError { code, text }) => {
                self.version = self.version.or_else(|| codec::refusal_version(input));
                Err(self.refuse(Refusal::new(reason::from_code(code), text), out))
            }
        }
    }

    /// Says why to the peer, as far as its version can, and ends the conversation.
    fn refuse(&mut self, refusal: Refusal, out: &mut Out<'_>) -> Close {
        match (self.phase, self.version) {
            (_, None) => {}
            (Phase::Connected, Some(Version::V5)) => self.send_disconnect(&refusal, out),
            (Phase::Connected, Some(_)) => {}
            (_, Some(version)) => self.send_refusing_connack(version, &refusal, out),
        }
        Close::with_will(refusal)
    }

    fn protocol_error(&mut self, text: impl Into<Cow<'static, str>>, out: &mut Out<'_>) -> Close {
        self.refuse(Refusal::new(Reason::ProtocolError, text), out)
    }

    fn send_disconnect(&self, refusal: &Refusal, out: &mut Out<'_>) {
        let mut disconnect = Disconnect {
            code: codes::disconnect(refusal.reason),
            session_expiry_s: None,
            server_reference: self.server_reference(refusal.reason),
            details: Details { reason_string: reason_string(refusal), user_properties: Vec::new() },
        };
        if !self.send(&Packet::Disconnect(Box::new(disconnect.clone())), out) {
            disconnect.details = Details::default();
            disconnect.server_reference = None;
            self.send(&Packet::Disconnect(Box::new(disconnect)), out);
        }
    }

    fn send_refusing_connack(&self, version: Version, refusal: &Refusal, out: &mut Out<'_>) {
        if version != Version::V5 && matches!(refusal.reason, Reason::Malformed | Reason::ProtocolError) {
            return; // 3.1.1 §3.1.4: what is no CONNECT gets no CONNACK.
        }
        let code = codes::connack(refusal.reason);
        let properties = ConnAckProperties {
            reason_string: reason_string(refusal),
            server_reference: self.server_reference(refusal.reason),
            ..ConnAckProperties::default()
        };
        let mut connack = ConnAck { session_present: false, code, properties };
        if !self.send(&Packet::ConnAck(Box::new(connack.clone())), out) {
            connack.properties = ConnAckProperties::default();
            self.send(&Packet::ConnAck(Box::new(connack)), out);
        }
    }

    fn server_reference(&self, reason: Reason) -> Option<ByteString> {
        let elsewhere = matches!(reason, Reason::UseAnotherServer | Reason::ServerMoved);
        elsewhere.then(|| self.config.server_reference.clone()).flatten()
    }

    /// Appends a packet, unless it is larger than the peer takes ([MQTT-3.1.2-24]); says whether it went.
    fn send(&self, packet: &Packet, out: &mut Out<'_>) -> bool {
        let Some(version) = self.version else { return false };
        let tail = out.bytes.tail();
        let start = tail.len();
        codec::encode(packet, version, tail);
        let fits = tail.len() - start <= self.maximum_packet_size as usize;
        if !fits {
            tail.truncate(start);
        }
        fits
    }

    /// Appends a packet that the peer waits for and that cannot be made smaller.
    fn send_or_close(&mut self, packet: &Packet, out: &mut Out<'_>) -> Result<(), Close> {
        if self.send(packet, out) {
            return Ok(());
        }
        let text = "an answer does not fit into the client's maximum packet size";
        Err(self.refuse(Refusal::new(Reason::PacketTooLarge, text), out))
    }

    /// The next deadline, and which one it is.
    fn deadline(&self) -> Option<(u64, Due)> {
        let after_ms = |since_ns: u64, ms: u64| since_ns.saturating_add(ms.saturating_mul(MILLISECOND_NS));
        match self.phase {
            Phase::Accepted => Some((0, Due::Clock)),
            Phase::AwaitConnect => Some((after_ms(self.since_ns, self.limits.connect_timeout_ms), Due::Connect)),
            Phase::AwaitAuth => Some((after_ms(self.since_ns, self.limits.connect_timeout_ms), Due::Auth)),
            Phase::AwaitBroker => None,
            Phase::Connected => {
                let packet = self
                    .partial_since_ns
                    .map(|since_ns| (after_ms(since_ns, self.limits.packet_timeout_ms), Due::Packet));
                // [MQTT-3.1.2-22]: one and a half times the keep alive.
                let silence_ns = u64::from(self.keep_alive_s) * SECOND_NS * 3 / 2;
                let keep_alive = (silence_ns > 0).then(|| (self.since_ns.saturating_add(silence_ns), Due::KeepAlive));
                packet.into_iter().chain(keep_alive).min_by_key(|(mono_ns, _)| *mono_ns)
            }
        }
    }
}

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Clock,
    Connect,
    Auth,
    Packet,
    KeepAlive,
}

impl Adaptor for MqttAdaptor {
    fn receive(&mut self, now: Now, input: &mut BytesMut, out: &mut Out<'_>) -> Result<Receive, Close> {
        self.start_clock(now);
        for _ in 0..PACKETS_A_TURN {
            if self.must_wait() {
                return Ok(Receive::Wait);
            }
            if !self.take_packet(now, input, out)? {
                return Ok(Receive::NeedMore);
            }
        }
        Ok(Receive::Again)
    }

    fn answer(&mut self, now: Now, answer: Answer, out: &mut Out<'_>) -> Result<(), Close> {
        if self.must_wait() {
            // We were not reading, so the peer's silence was ours.
            self.since_ns = now.mono_ns;
        }
        self.tell(answer, out)
    }

    fn deliver(&mut self, now: Now, batch: &[Delivery], out: &mut Out<'_>) {
        for delivery in batch {
            self.deliver_one(now, delivery, out);
        }
    }

    fn timeout(&mut self, now: Now, out: &mut Out<'_>) -> Result<(), Close> {
        self.start_clock(now);
        let Some((mono_ns, due)) = self.deadline() else { return Ok(()) };
        if now.mono_ns < mono_ns {
            return Ok(());
        }
        let refusal = match due {
            Due::Clock => return Ok(()),
            Due::Connect => Refusal::new(Reason::Unspecified, "no complete CONNECT in time"),
            Due::Auth => Refusal::new(Reason::NotAuthorised, "no AUTH in time"),
            Due::Packet => Refusal::new(Reason::ImplementationSpecific, "a packet began and was not completed in time"),
            Due::KeepAlive => Refusal::new(Reason::KeepAliveTimeout, "silent for one and a half times its keep alive"),
        };
        Err(self.refuse(refusal, out))
    }

    fn next_timeout(&self) -> Option<Deadline> {
        self.deadline().map(|(mono_ns, due)| Deadline {
            mono_ns,
            reason: match due {
                Due::Clock => "start of the conversation",
                Due::Connect => "CONNECT",
                Due::Auth => "AUTH",
                Due::Packet => "rest of a packet",
                Due::KeepAlive => "keep alive",
            },
        })
    }
}

/// The sentence of a refusal for the peer; empty ones are left out.
fn reason_string(refusal: &Refusal) -> Option<ByteString> {
    (!refusal.text.is_empty()).then(|| ByteString::from(refusal.text.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use althing_core::OutBuffer;
    use althing_core::verbs::Connected;

    /// The adaptor after the handshake of a version 5 client that allows `aliases` topic aliases.
    fn connected(aliases: u8) -> MqttAdaptor {
        let link = Link::new(None, "test");
        let mut adaptor = MqttAdaptor::new(&link, Arc::default(), Arc::default());
        let (mut bytes, mut requests) = (OutBuffer::default(), Default::default());
        let mut out = Out { bytes: &mut bytes, requests: &mut requests };
        let mut input = BytesMut::from(&b"\x10\x11\0\x04MQTT\x05\x02\0\x3C\x03\x22\0"[..]);
        input.extend_from_slice(&[aliases, 0, 1, b'x']);
        assert_eq!(adaptor.receive(Now::default(), &mut input, &mut out), Ok(Receive::Wait));
        let answer = Answer::Connected(Box::new(Connected {
            session_present: false,
            client: "x".into(),
            assigned: false,
            session_expiry_s: 0,
            authentication: None,
            response_information: None,
        }));
        assert_eq!(adaptor.answer(Now::default(), answer, &mut out), Ok(()));
        adaptor
    }

    #[test]
    fn an_idle_connection_is_small() {
        assert!(size_of::<MqttAdaptor>() <= 80, "{}", size_of::<MqttAdaptor>());
        assert!(connected(0).rare.is_none(), "and owns nothing");
        assert!(connected(1).rare.is_some(), "until it has aliases");
    }
}
