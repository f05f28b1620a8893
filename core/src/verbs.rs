//! The verbs: what an adaptor may ask of the broker, and what the broker answers.

use crate::link::Link;
use crate::message::{Guarantee, Message};
use crate::topic::{Filter, Topic};
use bytes::Bytes;
use bytestring::ByteString;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// A peer's address: the shard that its connection is on, and its place there. The generation tells
/// a late answer for a closed peer from one for the peer that took its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId {
    /// The shard that owns the connection.
    pub shard: u16,
    /// Counts the users of the slot.
    pub generation: u16,
    /// The place in the shard's table of connections.
    pub slot: u32,
}

/// What an adaptor asks for on behalf of its peer.
#[derive(Clone, Debug)]
pub enum Request {
    /// Open or resume a session. Answered by `Connected`, `Challenge` or `Refused`.
    Connect(Box<Connect>),
    /// The next step of an authentication exchange, before or after the connection stands.
    /// Answered by `Connected`, `Challenge`, `Reauthenticated` or `Refused`.
    Authenticate(Box<Authentication>),
    /// Publish. Answered by `Published` in the order of the requests, unless `token` is `None` and
    /// the guarantee `AtMostOnce`: nobody waits then.
    Publish(Publish),
    /// Write the configuration of a topic, the last value of `$ps/NAME`: only for a language that has a resource for it
    /// and has looked at what is in it. Answered by `Published`, once it is durable.
    Configure(Publish),
    /// The publisher has let go of this de-duplication token (MQTT PUBREL). Answered by `Released`
    /// once the token's removal is durable.
    Release {
        /// The token that came with the publish.
        token: u32,
    },
    /// Subscribe. Answered by `Subscribed`, after every shard has heard of it.
    Subscribe(Box<Subscribe>),
    /// Unsubscribe. Answered by `Unsubscribed`.
    Unsubscribe(Box<Unsubscribe>),
    /// Read a topic's last value, with the right to subscribe to it. Answered by `Fetched`, after the
    /// answers to the requests before it.
    Fetch {
        /// Comes back in the answer.
        correlation: u32,
        /// Whose value.
        topic: Topic,
    },
    /// What became of a delivery.
    Settle {
        /// The delivery's number.
        number: u32,
        /// What the peer said.
        outcome: Outcome,
    },
    /// The peer leaves. Nothing is answered.
    Disconnect(Disconnect),
}

/// Opens a session.
#[derive(Clone, Debug)]
pub struct Connect {
    /// The language's name in the protocol table.
    pub protocol: &'static str,
    /// How the peer came in. Filled in by the driver, whatever the language says, but for a shared key that the peer's messages
    /// have proven.
    pub link: Link,
    /// The session's id; `None` asks the broker for one.
    pub client: Option<ByteString>,
    /// Whether to begin a new session even where an old one exists.
    pub clean_start: bool,
    /// How long the session outlives the connection, in seconds; `u32::MAX` = for ever.
    pub session_expiry_s: u32,
    /// Deliveries above `AtMostOnce` that the peer takes before it settles one.
    pub window: u16,
    /// The largest delivery number that the language can write.
    pub number_max: u32,
    /// Whether deliveries are dropped that the adaptor cannot fit; in bytes of the largest packet.
    pub packet_bytes_max: u32,
    /// Whether a message that matches several subscriptions is delivered once for each, instead of once
    /// for all with all their tags.
    pub separate_subscriptions: bool,
    /// Published when the peer is lost.
    pub will: Option<Box<Will>>,
    /// A user name, when the peer gave one.
    pub username: Option<ByteString>,
    /// A password, when the peer gave one.
    pub password: Option<Bytes>,
    /// A method and first data of an enhanced authentication (MQTT 5.0 §4.12).
    pub authentication: Option<Authentication>,
}

impl Connect {
    /// A session without an id that ends with its connection and takes one delivery at a time; what a language
    /// has beyond that it sets itself.
    pub fn new(protocol: &'static str) -> Self {
        Self {
            protocol,
            link: Link::default(),
            client: None,
            clean_start: true,
            session_expiry_s: 0,
            window: 1,
            number_max: u32::MAX,
            packet_bytes_max: u32::MAX,
            separate_subscriptions: false,
            will: None,
            username: None,
            password: None,
            authentication: None,
        }
    }
}

/// A step of an authentication exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authentication {
    /// The method's name; the same through the whole exchange.
    pub method: ByteString,
    /// The method's data, opaque here.
    pub data: Option<Bytes>,
}

/// A message that the broker publishes when the peer is lost (MQTT 5.0 §3.1.2.5).
#[derive(Clone, Debug)]
pub struct Will {
    /// What is published.
    pub message: Message,
    /// How long to wait for the session to be resumed first, in seconds.
    pub delay_s: u32,
    /// Lifetime of the message from the moment of its publication, in seconds.
    pub expiry_s: Option<u32>,
}

/// A message and how its publisher wants to hear of it.
#[derive(Clone, Debug)]
pub struct Publish {
    /// The message; its `origin` is filled in by the broker.
    pub message: Message,
    /// For `ExactlyOnce`: a repeat with the same token is answered but not published again. For
    /// `AtMostOnce`: any token asks for an answer, and nothing remembers it.
    pub token: Option<u32>,
    /// Comes back in the answer; opaque to the broker (MQTT: the packet identifier).
    pub correlation: u32,
}

/// Some filters of one request.
#[derive(Clone, Debug)]
pub struct Subscribe {
    /// Comes back in the answer.
    pub correlation: u32,
    /// In order; the answer has one result for each.
    pub filters: Vec<SubscribeFilter>,
}

/// One filter. `Err` keeps the place of a filter that the adaptor already knows to be invalid.
#[derive(Clone, Debug)]
pub struct SubscribeFilter {
    /// The filter, or why there is none.
    pub filter: Result<Filter, Reason>,
    /// How it is wanted.
    pub options: SubscriptionOptions,
}

/// How matching messages are wanted (MQTT 5.0 §3.8.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubscriptionOptions {
    /// The most that the subscriber wants.
    pub guarantee: Guarantee,
    /// Not those that this session published itself.
    pub no_local: bool,
    /// Deliver the retain flag as published instead of cleared.
    pub retain_as_published: bool,
    /// When the last values are sent.
    pub retain_handling: RetainHandling,
    /// Comes back with each delivery (MQTT's subscription identifier); 0 = none.
    pub tag: u32,
}

/// When a subscription receives the retained messages (MQTT 5.0 §3.8.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetainHandling {
    /// With every SUBSCRIBE.
    #[default]
    Always,
    /// Only when the subscription is new.
    IfNew,
    /// Never.
    Never,
}

/// Some filters to let go of.
#[derive(Clone, Debug)]
pub struct Unsubscribe {
    /// Comes back in the answer.
    pub correlation: u32,
    /// In order; `Err` keeps the place of an invalid one.
    pub filters: Vec<Result<Filter, Reason>>,
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The peer has it (PUBACK, PUBCOMP): the delivery is over.
    Accept,
    /// The peer has received an `ExactlyOnce` delivery (PUBREC). Answered by `Answer::Complete`.
    Received,
    /// The peer refuses it for good (PUBACK or PUBREC with an error): over, not repeated.
    Reject,
    /// The adaptor could not send it (too large for the peer): over, as if completed.
    Discard,
    /// The peer gives it back (STOMP NACK, AMQP released). Of a group or queue it is for whoever is next;
    /// a session that outlives its connection gets it again; otherwise it is over.
    Release,
}

/// How the peer left.
#[derive(Clone, Debug)]
pub struct Disconnect {
    /// Whether the will is due.
    pub publish_will: bool,
    /// A new session expiry, in seconds (MQTT 5.0 §3.14.2.2.2).
    pub session_expiry_s: Option<u32>,
    /// Why, for the log and for events.
    pub reason: Reason,
}

/// What the broker tells an adaptor.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The session stands.
    Connected(Box<Connected>),
    /// The authentication method wants more.
    Challenge(Box<Authentication>),
    /// A re-authentication succeeded.
    Reauthenticated(Box<Authentication>),
    /// Connecting or authenticating failed; the adaptor says so to its peer and closes.
    Refused(Refusal),
    /// What became of a publish: `Ok` once everything that it promises is durable.
    Published {
        /// From the request.
        correlation: u32,
        /// What was asked for, so that the adaptor knows which acknowledgement is due.
        guarantee: Guarantee,
        /// Whether anybody was subscribed, or the refusal.
        outcome: Result<Accepted, Refusal>,
    },
    /// The de-duplication token is forgotten. `known`: whether there was one.
    Released {
        /// From the request.
        token: u32,
        /// False for a token that the broker did not hold.
        known: bool,
    },
    /// "Received" is durable for this number: the handshake may go on (MQTT PUBREL).
    Complete {
        /// The delivery's number.
        number: u32,
        /// False for a number that is not in flight.
        known: bool,
    },
    /// One result a filter.
    Subscribed {
        /// From the request.
        correlation: u32,
        /// The granted guarantee or the refusal, in the order of the filters.
        results: Vec<Result<Guarantee, Reason>>,
        /// For people: why the first of those that were refused was; empty where there is nothing to say.
        why: Cow<'static, str>,
    },
    /// One result a filter.
    Unsubscribed {
        /// From the request.
        correlation: u32,
        /// Whether there was such a subscription, in the order of the filters.
        results: Vec<Result<bool, Reason>>,
    },
    /// A topic's last value.
    Fetched {
        /// From the request.
        correlation: u32,
        /// The value, `None` where there is none; or the refusal.
        outcome: Result<Option<Arc<Message>>, Refusal>,
    },
    /// The broker ends the conversation; the adaptor says why where its language can.
    Close(Refusal),
}

/// A session that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connected {
    /// Whether state of an earlier connection was found.
    pub session_present: bool,
    /// The session's id, assigned or as given.
    pub client: ByteString,
    /// Whether the broker assigned it.
    pub assigned: bool,
    /// The session expiry that holds, in seconds.
    pub session_expiry_s: u32,
    /// Last data of an enhanced authentication.
    pub authentication: Option<Authentication>,
    /// Where this client may expect answers to its requests (MQTT 5 Response Information).
    pub response_information: Option<ByteString>,
}

/// A publish that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Whether any subscription matched.
    pub matched: bool,
}

/// A reason and a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// For programs.
    pub reason: Reason,
    /// For people: what was wrong and, where possible, what would be right.
    pub text: Cow<'static, str>,
}

impl Refusal {
    /// A refusal with its sentence.
    pub fn new(reason: Reason, text: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, text: text.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Why something ended or was refused, in words that every language can translate into its own codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The peer said goodbye.
    Normal,
    /// The peer said goodbye and wants its will published.
    WithWill,
    /// The connection broke without a word.
    ConnectionLost,
    /// None of the others.
    Unspecified,
    /// Bytes that are not of the language.
    Malformed,
    /// Of the language, but not allowed here.
    ProtocolError,
    /// Right, but this broker does not do it.
    ImplementationSpecific,
    /// A version of the language that is not spoken here.
    UnsupportedVersion,
    /// A client id that is not acceptable.
    ClientIdInvalid,
    /// A wrong user name or password.
    BadCredentials,
    /// Known, but not allowed.
    NotAuthorised,
    /// Nobody is served now.
    ServerUnavailable,
    /// Too much work now; try again later.
    ServerBusy,
    /// Shut out.
    Banned,
    /// The broker is stopping.
    ShuttingDown,
    /// An authentication method that is not spoken here, or not the one agreed on.
    BadAuthenticationMethod,
    /// Silence for longer than agreed.
    KeepAliveTimeout,
    /// Another connection took the session over.
    SessionTakenOver,
    /// Not a filter.
    TopicFilterInvalid,
    /// Not a topic name.
    TopicNameInvalid,
    /// The identifier is in use.
    IdentifierInUse,
    /// The identifier is not known.
    IdentifierNotFound,
    /// More unacknowledged messages than agreed.
    ReceiveMaximumExceeded,
    /// A topic alias of 0 or above the maximum, or not set up.
    TopicAliasInvalid,
    /// Larger than agreed.
    PacketTooLarge,
    /// Faster than allowed.
    MessageRateTooHigh,
    /// A limit of the house was reached.
    QuotaExceeded,
    /// There is no room to keep it.
    StoreFull,
    /// An administrator ended it.
    AdministrativeAction,
    /// The payload is not what its format says.
    PayloadFormatInvalid,
    /// Retained messages are not available here.
    RetainNotSupported,
    /// That guarantee is not available here.
    GuaranteeNotSupported,
    /// Another server should be used for now.
    UseAnotherServer,
    /// Another server should be used from now on.
    ServerMoved,
    /// Shared subscriptions are not available here.
    SharedSubscriptionsNotSupported,
    /// Subscription identifiers are not available here.
    SubscriptionIdentifiersNotSupported,
    /// Wildcards are not available here.
    WildcardSubscriptionsNotSupported,
    /// New connections come too fast.
    ConnectionRateExceeded,
}

impl Reason {
    /// Whether it is the broker that goes, and not the peer: sessions are resumed later, here or elsewhere, so nobody's
    /// will is due.
    pub fn is_stop(self) -> bool {
        matches!(self, Self::ShuttingDown | Self::UseAnotherServer | Self::ServerMoved)
    }
}
