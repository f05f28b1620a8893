//! The client half of MQTT, without IO: what a client library, a load generator or a test speaks through.
//!
//! One QoS 2 message, walked: [`Client::publish`] gives it a packet identifier and keeps it in the window;
//! when the server's Receive Maximum allows, PUBLISH is appended to [`Client::output`], which the caller
//! writes to its transport. What comes back goes into [`Client::receive`]: PUBREC lets the message go and
//! appends PUBREL, PUBCOMP ends it with [`Event::Published`]. On the other client the same PUBLISH becomes
//! [`Event::Message`], and PUBREC leaves at once or when [`Client::acknowledge`] says so; the identifier is
//! remembered until PUBREL, so that a repeat is answered and not shown again.
//!
//! When the connection breaks, [`Client::connect`] on the same value begins the next one. If the server
//! still has the session, everything that is not over is sent again in its order (§4.4), PUBLISH with DUP;
//! if it has not, publishes go out as new ones, and those that the old session had received are reported.

mod packets;
mod window;

use crate::alias::AliasesIn;
use crate::codec::{self, Context, DecodeError, PublishHead, Side, encode_publish_head, publish_size};
use crate::packet::{
    Acknowledgement, Auth, Codes, ConnAck, Connect, Details, Disconnect, Packet, Publish, Subscribe, Unsubscribe,
    Version,
};
use crate::reason::code;
use althing_core::time::{MILLISECOND_NS, SECOND_NS};
use althing_core::topic::TopicLimits;
use althing_core::{Deadline, Guarantee, Now, OutBuffer, Topic};
use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use std::collections::BTreeMap;
use std::fmt;
use window::{Slot, Window};

/// The client's side of MQTT: one connection at a time, and the session that may outlive it.
#[derive(Debug)]
pub struct Client {
    options: Options,
    output: OutBuffer,
    phase: Phase,
    granted: Granted,
    window: Window,
    /// Publishes above QoS 0 that the server has not acknowledged on this connection.
    inflight: u16,
    /// QoS 2 messages received and not released yet; whether PUBREC has left.
    received: BTreeMap<u16, bool>,
    /// Messages above QoS 0 that we have not acknowledged on this connection.
    unacknowledged: u16,
    aliases_in: AliasesIn,
    /// Alias `n` that the caller has set up is at `n - 1`.
    aliases_out: Vec<Option<Topic>>,
    /// When the last packet was sent.
    sent_ns: u64,
    /// When the oldest PINGREQ was sent that is not answered.
    pinged_ns: Option<u64>,
}

/// How to connect and how to behave.
#[derive(Clone, Debug)]
pub struct Options {
    /// The CONNECT packet. An assigned client id is kept here for the next connection.
    pub connect: Connect,
    /// Who acknowledges messages.
    pub acknowledge: Acknowledge,
    /// Publishes above QoS 0 under way at once, where the server would take more.
    pub inflight_max: u16,
    /// From CONNECT to CONNACK.
    pub connect_timeout_ms: u64,
    /// From PINGREQ to PINGRESP.
    pub ping_timeout_ms: u64,
}

/// Who acknowledges messages above QoS 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledge {
    /// The client half, as soon as they arrive.
    Automatically,
    /// The caller, with [`Client::acknowledge`].
    Manually,
}

/// What happened, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The server let us in.
    Connected(Box<ConnAck>),
    /// A message. Its topic is always there, whatever alias it came with.
    Message(Publish),
    /// A publish above QoS 0 is over; from 0x80 on the code is a refusal.
    Published {
        /// From `publish`.
        packet_id: u16,
        /// The reason code of PUBACK, PUBREC or PUBCOMP.
        code: u8,
    },
    /// SUBACK.
    Subscribed(Box<Codes>),
    /// UNSUBACK.
    Unsubscribed(Box<Codes>),
    /// PINGRESP.
    Pong,
    /// The server's goodbye; nothing follows on this connection.
    Disconnected(Box<Disconnect>),
    /// A step of an authentication exchange: answer with [`Client::authenticate`].
    Auth(Box<Auth>),
}

/// Why a call could not do what it is for. After an error from `receive` or `timeout` the connection is
/// over: write what is in the output, close, and perhaps `connect` again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientError {
    /// CONNACK says no.
    Refused(Box<ConnAck>),
    /// The server sent what is no packet.
    Malformed(DecodeError),
    /// The server sent a packet that it must not send now.
    Protocol(&'static str),
    /// No CONNACK in time.
    ConnectTimeout,
    /// No PINGRESP in time.
    PingTimeout,
    /// Only a connected client can do that.
    NotConnected,
    /// All packet identifiers are in use: wait for acknowledgements.
    NoPacketId,
    /// Larger than the server's Maximum Packet Size.
    PacketTooLarge,
    /// Above the server's Maximum QoS.
    QosNotSupported,
    /// A topic alias of 0, above the server's maximum, or without a topic to stand for.
    TopicAliasInvalid,
    /// A publish needs a topic.
    NoTopic,
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(connack) => match &connack.properties.reason_string {
                Some(sentence) => write!(f, "the server refused the connection (0x{:02X}): {sentence}", connack.code),
                None => write!(f, "the server refused the connection (0x{:02X})", connack.code),
            },
            Self::Malformed(error) => write!(f, "the server sent a bad packet: {}", error.text),
            Self::Protocol(text) => write!(f, "the server broke the protocol: {text}"),
            Self::ConnectTimeout => f.write_str("the server did not answer CONNECT in time"),
            Self::PingTimeout => f.write_str("the server did not answer a ping in time"),
            Self::NotConnected => f.write_str("not connected"),
            Self::NoPacketId => f.write_str("all packet identifiers are in use"),
            Self::PacketTooLarge => f.write_str("the packet is larger than the server takes"),
            Self::QosNotSupported => f.write_str("the server does not take this QoS"),
            Self::TopicAliasInvalid => f.write_str("the topic alias is not valid"),
            Self::NoTopic => f.write_str("a publish needs a topic"),
        }
    }
}

impl std::error::Error for ClientError {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Closed,
    AwaitConnAck { since_ns: u64 },
    Connected,
}

/// What CONNACK allows.
#[derive(Clone, Copy, Debug)]
struct Granted {
    receive_maximum: u16,
    maximum_packet_size: usize,
    maximum_qos: u8,
    topic_alias_maximum: u16,
    keep_alive_s: u16,
}

impl Options {
    /// A clean start with a keep alive of a minute; everything else as the specification's defaults.
    pub fn new(version: Version, client_id: &str) -> Self {
        let connect = Connect {
            version,
            clean_start: true,
            keep_alive_s: 60,
            client_id: client_id.into(),
            will: None,
            username: None,
            password: None,
            session_expiry_s: None,
            receive_maximum: None,
            maximum_packet_size: None,
            topic_alias_maximum: 0,
            request_response_information: false,
            request_problem_information: true,
            user_properties: Vec::new(),
            authentication_method: None,
            authentication_data: None,
        };
        Self {
            connect,
            acknowledge: Acknowledge::Automatically,
            inflight_max: u16::MAX,
            connect_timeout_ms: 10_000,
            ping_timeout_ms: 10_000,
        }
    }
}

/// A bare PUBLISH for [`Client::publish`], which fills in the packet identifier.
pub fn publication(topic: Topic, payload: Bytes, qos: Guarantee) -> Publish {
    Publish {
        dup: false,
        qos,
        retain: false,
        topic: Some(topic),
        packet_id: 0,
        topic_alias: None,
        message_expiry_s: None,
        subscription_ids: Vec::new(),
        properties: None,
        payload,
    }
}

impl Client {
    /// A client that is not connected.
    pub fn new(options: Options) -> Self {
        let granted = Granted {
            receive_maximum: u16::MAX,
            maximum_packet_size: usize::MAX,
            maximum_qos: 2,
            topic_alias_maximum: 0,
            keep_alive_s: options.connect.keep_alive_s,
        };
        Self {
            options,
            output: OutBuffer::default(),
            phase: Phase::Closed,
            granted,
            window: Window::new(),
            inflight: 0,
            received: BTreeMap::new(),
            unacknowledged: 0,
            aliases_in: AliasesIn::default(),
            aliases_out: Vec::new(),
            sent_ns: 0,
            pinged_ns: None,
        }
    }

    /// Bytes for the server; the caller takes what it has written.
    pub fn output(&mut self) -> &mut OutBuffer {
        &mut self.output
    }

    /// How the client connects.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// How the client connects the next time, for instance without a clean start.
    pub fn options_mut(&mut self) -> &mut Options {
        &mut self.options
    }

    /// Whether CONNACK has come and nobody has said goodbye.
    pub fn is_connected(&self) -> bool {
        self.phase == Phase::Connected
    }

    /// Publishes above QoS 0 that are not over, sent or not.
    pub fn open_publishes(&self) -> usize {
        self.window.open_publishes()
    }

    /// Begins a connection on a fresh transport, whatever became of the one before.
    pub fn connect(&mut self, now: Now) {
        self.output = OutBuffer::default();
        self.phase = Phase::AwaitConnAck { since_ns: now.mono_ns };
        self.window.restart();
        self.inflight = 0;
        self.unacknowledged = 0;
        self.aliases_in = AliasesIn::default();
        self.aliases_out.clear();
        self.pinged_ns = None;
        self.granted.maximum_packet_size = usize::MAX;
        self.send(now, &Packet::Connect(Box::new(self.options.connect.clone())));
    }

    /// Publishes; returns the packet identifier, 0 at QoS 0. Above QoS 0 the message waits when the
    /// server's Receive Maximum is used up or there is no connection, and [`Event::Published`] ends it.
    ///
    /// An alias that comes with a topic is set up, one without a topic stands for the topic set up before;
    /// what has to be sent again goes without.
    pub fn publish(&mut self, now: Now, mut publish: Publish) -> Result<u16, ClientError> {
        let topic = self.topic_of(&publish)?;
        if publish.qos as u8 > self.granted.maximum_qos {
            return Err(ClientError::QosNotSupported);
        }
        publish.dup = false;
        if publish.qos == Guarantee::AtMostOnce {
            self.check_connected()?;
            publish.packet_id = 0;
            self.send_new_publish(now, &publish, &topic)?;
            return Ok(0);
        }
        let packet_id = self.window.next_id().ok_or(ClientError::NoPacketId)?;
        publish.packet_id = packet_id;
        let sent = self.may_send_now();
        if sent {
            self.send_new_publish(now, &publish, &topic)?;
        }
        publish.topic = Some(topic);
        publish.topic_alias = None;
        self.window.push(Slot::Publish { publish, sent });
        if sent {
            self.window.sent();
            self.inflight += 1;
        }
        Ok(packet_id)
    }

    /// Subscribes; [`Event::Subscribed`] answers with the same packet identifier, which is filled in here.
    pub fn subscribe(&mut self, now: Now, mut subscribe: Subscribe) -> Result<u16, ClientError> {
        self.request(now, |packet_id| {
            subscribe.packet_id = packet_id;
            Packet::Subscribe(Box::new(subscribe))
        })
    }

    /// Unsubscribes; [`Event::Unsubscribed`] answers with the same packet identifier.
    pub fn unsubscribe(&mut self, now: Now, mut unsubscribe: Unsubscribe) -> Result<u16, ClientError> {
        self.request(now, |packet_id| {
            unsubscribe.packet_id = packet_id;
            Packet::Unsubscribe(Box::new(unsubscribe))
        })
    }

    /// Acknowledges a message of [`Event::Message`] with a reason code; one of QoS 0 needs none. Without a
    /// connection nothing is sent: the server repeats the message on the next one.
    pub fn acknowledge(&mut self, now: Now, message: &Publish, code: u8) {
        let acknowledgement = Acknowledgement { packet_id: message.packet_id, code, details: None };
        let packet = match message.qos {
            Guarantee::AtMostOnce => return,
            Guarantee::AtLeastOnce => Packet::PubAck(acknowledgement),
            Guarantee::ExactlyOnce => Packet::PubRec(acknowledgement),
        };
        let refused = code >= code::UNSPECIFIED_ERROR;
        if message.qos == Guarantee::AtLeastOnce || refused {
            self.unacknowledged = self.unacknowledged.saturating_sub(1);
            self.received.remove(&message.packet_id);
        } else {
            self.received.insert(message.packet_id, true);
        }
        if self.is_connected() {
            self.send(now, &packet);
        }
    }

    /// Sends PINGREQ; [`Event::Pong`] answers. Keep alive pings leave by themselves.
    pub fn ping(&mut self, now: Now) -> Result<(), ClientError> {
        self.check_connected()?;
        self.send(now, &Packet::PingReq);
        self.pinged_ns.get_or_insert(now.mono_ns);
        Ok(())
    }

    /// The next step of an authentication exchange, or the first one of a re-authentication (§4.12.1).
    pub fn authenticate(&mut self, now: Now, auth: Auth) -> Result<(), ClientError> {
        if self.phase == Phase::Closed {
            return Err(ClientError::NotConnected);
        }
        self.send(now, &Packet::Auth(Box::new(auth)));
        Ok(())
    }

    /// Says goodbye. Write the output, then close.
    pub fn disconnect(&mut self, now: Now, disconnect: Disconnect) {
        if self.phase != Phase::Closed {
            self.send(now, &Packet::Disconnect(Box::new(disconnect)));
            self.phase = Phase::Closed;
        }
    }

    /// Takes the packets at the front of `input` and says what they mean; an incomplete one stays.
    pub fn receive(&mut self, now: Now, input: &mut BytesMut, events: &mut Vec<Event>) -> Result<(), ClientError> {
        while self.phase != Phase::Closed {
            match codec::decode(&self.context(), input) {
                Ok(Some(packet)) => self.handle(now, packet, events)?,
                Ok(None) => break,
                Err(error) => {
                    self.give_up(now, error.code, error.text);
                    return Err(ClientError::Malformed(error));
                }
            }
        }
        Ok(())
    }

    /// The time that [`next_timeout`](Self::next_timeout) named has come.
    pub fn timeout(&mut self, now: Now) -> Result<(), ClientError> {
        let Some(Deadline { mono_ns, .. }) = self.next_timeout() else { return Ok(()) };
        if now.mono_ns < mono_ns {
            return Ok(());
        }
        match (self.phase, self.pinged_ns) {
            (Phase::AwaitConnAck { .. }, _) => {
                self.phase = Phase::Closed;
                Err(ClientError::ConnectTimeout)
            }
            (_, Some(_)) => {
                self.give_up(now, code::UNSPECIFIED_ERROR, "no PINGRESP in time");
                Err(ClientError::PingTimeout)
            }
            (_, None) => self.ping(now),
        }
    }

    /// When to call `timeout`, and what for.
    pub fn next_timeout(&self) -> Option<Deadline> {
        let after_ms = |since_ns: u64, ms: u64| since_ns.saturating_add(ms.saturating_mul(MILLISECOND_NS));
        match (self.phase, self.pinged_ns) {
            (Phase::Closed, _) => None,
            (Phase::AwaitConnAck { since_ns }, _) => {
                Some(Deadline { mono_ns: after_ms(since_ns, self.options.connect_timeout_ms), reason: "CONNACK" })
            }
            (Phase::Connected, Some(pinged_ns)) => {
                Some(Deadline { mono_ns: after_ms(pinged_ns, self.options.ping_timeout_ms), reason: "PINGRESP" })
            }
            (Phase::Connected, None) => (self.granted.keep_alive_s > 0).then(|| Deadline {
                mono_ns: self.sent_ns.saturating_add(u64::from(self.granted.keep_alive_s) * SECOND_NS),
                reason: "keep alive",
            }),
        }
    }

    fn version(&self) -> Version {
        self.options.connect.version
    }

    fn is_v5(&self) -> bool {
        self.version() == Version::V5
    }

    fn context(&self) -> Context {
        Context {
            side: Side::Client,
            version: Some(self.version()),
            packet_bytes_max: self.options.connect.maximum_packet_size.map_or(usize::MAX, |bytes| bytes as usize),
            // Depth is the server's concern: we match nothing against these names.
            topic: TopicLimits { levels_max: usize::MAX, ..TopicLimits::default() },
        }
    }

    fn check_connected(&self) -> Result<(), ClientError> {
        if self.is_connected() { Ok(()) } else { Err(ClientError::NotConnected) }
    }

    fn request(&mut self, now: Now, packet: impl FnOnce(u16) -> Packet) -> Result<u16, ClientError> {
        self.check_connected()?;
        let packet_id = self.window.next_id().ok_or(ClientError::NoPacketId)?;
        if !self.send(now, &packet(packet_id)) {
            return Err(ClientError::PacketTooLarge);
        }
        self.window.push(Slot::Request);
        Ok(packet_id)
    }

    fn topic_of(&self, publish: &Publish) -> Result<Topic, ClientError> {
        if let Some(alias) = publish.topic_alias
            && (alias == 0 || alias > self.granted.topic_alias_maximum)
        {
            return Err(ClientError::TopicAliasInvalid);
        }
        match (&publish.topic, publish.topic_alias) {
            (Some(topic), _) => Ok(topic.clone()),
            (None, None) => Err(ClientError::NoTopic),
            (None, Some(alias)) => {
                let known = self.aliases_out.get(usize::from(alias) - 1).cloned().flatten();
                known.ok_or(ClientError::TopicAliasInvalid)
            }
        }
    }

    fn send_new_publish(&mut self, now: Now, publish: &Publish, topic: &Topic) -> Result<(), ClientError> {
        if !self.send_publish(now, publish, false) {
            return Err(ClientError::PacketTooLarge);
        }
        let Some(alias) = publish.topic_alias else { return Ok(()) };
        let place = usize::from(alias) - 1;
        if self.aliases_out.len() <= place {
            self.aliases_out.resize(place + 1, None);
        }
        self.aliases_out[place] = Some(topic.clone());
        Ok(())
    }

    /// Whether a new publish above QoS 0 may leave at once: connected, with quota, and nobody before it.
    fn may_send_now(&mut self) -> bool {
        self.is_connected() && self.inflight < self.quota() && self.window.next_unsent().is_none()
    }

    fn quota(&self) -> u16 {
        self.granted.receive_maximum.min(self.options.inflight_max).max(1)
    }

    /// Appends a PUBLISH unless the server does not take one so large; says whether it went.
    fn send_publish(&mut self, now: Now, publish: &Publish, dup: bool) -> bool {
        let version = self.version();
        let head = PublishHead { dup, ..PublishHead::from(publish) };
        if publish_size(&head, version) > self.granted.maximum_packet_size {
            return false;
        }
        encode_publish_head(&head, version, self.output.tail());
        self.output.put_payload(&publish.payload);
        self.sent_ns = now.mono_ns;
        true
    }

    /// Appends a packet unless the server does not take one so large; says whether it went.
    fn send(&mut self, now: Now, packet: &Packet) -> bool {
        let version = self.version();
        let tail = self.output.tail();
        let start = tail.len();
        codec::encode(packet, version, tail);
        if tail.len() - start > self.granted.maximum_packet_size {
            tail.truncate(start);
            return false;
        }
        self.sent_ns = now.mono_ns;
        true
    }

    /// Ends the connection over something the server did, and says why where the version can.
    fn give_up(&mut self, now: Now, code: u8, text: &'static str) {
        if self.is_connected() && self.is_v5() {
            let details = Details { reason_string: Some(ByteString::from_static(text)), ..Details::default() };
            self.send(now, &Packet::Disconnect(Box::new(Disconnect { code, details, ..Disconnect::default() })));
        }
        self.phase = Phase::Closed;
    }
}
