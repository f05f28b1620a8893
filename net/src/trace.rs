//! Watching one client, topic or address as it happens. While nobody watches it costs one look at an empty list.

use crate::door::door_of;
use crate::shard::Shard;
use althing_core::effects::Event;
use althing_core::time::SECOND_NS;
use althing_core::verbs::{Answer, Request};
use althing_core::{Delivery, Filter, Message, Now, PeerId, Topic};
use bytestring::ByteString;
use std::net::{IpAddr, SocketAddr};
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

/// What somebody wants to watch; what is `None` does not matter.
#[derive(Clone, Debug, Default)]
pub struct TraceQuery {
    /// The client id.
    pub client: Option<ByteString>,
    /// The topics of messages; what is no message does not matter then.
    pub filter: Option<Filter>,
    /// Where the peer is.
    pub address: Option<IpAddr>,
}

/// One thing that happened.
#[derive(Clone, Debug)]
pub struct TraceEvent {
    /// When, on the wall clock.
    pub at_ms: u64,
    /// What: a verb of the contract, or what the broker says of it.
    pub what: &'static str,
    /// Whether it came from the peer; `None` for what is neither way.
    pub from_peer: Option<bool>,
    /// The client id, as far as it is known.
    pub client: Option<ByteString>,
    /// Where the peer is.
    pub remote: Option<SocketAddr>,
    /// The listener.
    pub listener: &'static str,
    /// The message, shared.
    pub message: Option<TracedMessage>,
    /// More of it, in words.
    pub details: Option<String>,
    /// Events before this one that were left out: they came faster than they were read.
    pub left_out: u64,
}

/// What is told of a message.
#[derive(Clone, Debug)]
pub struct TracedMessage {
    /// Its topic.
    pub topic: Topic,
    /// 0, 1 or 2.
    pub qos: u8,
    /// Whether it is, or was, the last value.
    pub retain: bool,
    /// Bytes of its payload.
    pub payload_bytes: usize,
}

impl TracedMessage {
    fn new(message: &Message, qos: u8) -> Self {
        Self {
            // The topic may be a slice of the read buffer.
            topic: message.topic.detached(),
            qos,
            retain: message.retain,
            payload_bytes: message.payload.len(),
        }
    }
}

/// Everyone who watches.
#[derive(Debug, Default)]
pub(crate) struct Traces {
    watchers: Vec<Watcher>,
}

#[derive(Debug)]
struct Watcher {
    query: TraceQuery,
    until_ns: u64,
    sink: Sender<TraceEvent>,
    left_out: u64,
    /// The present second, and how many events it has had.
    second: u64,
    in_second: u64,
}

/// Watchers at once.
const WATCHERS_MAX: usize = 16;

/// Events that one of them hears of in a second: a busy topic must not take the shard's time.
const EVENTS_PER_S: u64 = 1_000;

impl Traces {
    pub fn is_idle(&self) -> bool {
        self.watchers.is_empty()
    }

    /// Begins to watch, until the reader goes or the time is over; false when too many do already.
    pub fn begin(&mut self, query: TraceQuery, until_ns: u64, sink: Sender<TraceEvent>) -> bool {
        // Those whose reader has gone without a word make room.
        self.watchers.retain(|watcher| !watcher.sink.is_closed());
        if self.watchers.len() >= WATCHERS_MAX {
            return false;
        }
        self.watchers.push(Watcher { query, until_ns, sink, left_out: 0, second: 0, in_second: 0 });
        true
    }

    /// Tells everyone who wants to know; forgets those whose time is over.
    fn tell(&mut self, now: Now, event: &TraceEvent) {
        self.watchers.retain_mut(|watcher| watcher.until_ns > now.mono_ns && watcher.hear(now, event));
    }
}

impl Watcher {
    /// Whether somebody still listens.
    fn hear(&mut self, now: Now, event: &TraceEvent) -> bool {
        if !self.query.wants(event) {
            return true;
        }
        let second = now.mono_ns / SECOND_NS;
        if second != self.second {
            (self.second, self.in_second) = (second, 0);
        }
        self.in_second += 1;
        if self.in_second > EVENTS_PER_S {
            self.left_out += 1;
            return !self.sink.is_closed();
        }
        let event = TraceEvent { left_out: self.left_out, ..event.clone() };
        match self.sink.try_send(event) {
            Ok(()) => self.left_out = 0,
            Err(TrySendError::Full(_)) => self.left_out += 1,
            Err(TrySendError::Closed(_)) => return false,
        }
        true
    }
}

impl TraceQuery {
    fn wants(&self, event: &TraceEvent) -> bool {
        let matches = |filter: &Filter| event.message.as_ref().is_some_and(|message| filter.matches(&message.topic));
        let is_there = |address: &IpAddr| event.remote.is_some_and(|remote| remote.ip().to_canonical() == *address);
        self.client.as_ref().is_none_or(|client| event.client.as_ref() == Some(client))
            && self.address.as_ref().is_none_or(is_there)
            && self.filter.as_ref().is_none_or(matches)
    }
}

/// What the shard tells. Each of these is called only while somebody watches.
impl Shard {
    #[cold]
    pub(crate) fn trace_request(&mut self, now: Now, peer: PeerId, request: &Request) {
        let (what, message, details) = match request {
            Request::Connect(connect) => {
                ("connect", None, connect.client.as_ref().map(|it| format!("client id {it:?}")))
            }
            Request::Authenticate(step) => ("authenticate", None, Some(step.method.to_string())),
            Request::Publish(publish) => {
                let message = &publish.message;
                ("publish", Some(TracedMessage::new(message, message.guarantee as u8)), None)
            }
            Request::Configure(publish) => {
                let message = &publish.message;
                ("configure", Some(TracedMessage::new(message, message.guarantee as u8)), None)
            }
            Request::Release { .. } => ("release", None, None),
            Request::Subscribe(subscribe) => {
                let filters = subscribe.filters.iter().filter_map(|it| it.filter.as_ref().ok());
                ("subscribe", None, Some(filters.map(|it| it.text().to_string()).collect::<Vec<_>>().join(" ")))
            }
            Request::Unsubscribe(unsubscribe) => {
                let filters = unsubscribe.filters.iter().filter_map(|filter| filter.as_ref().ok());
                ("unsubscribe", None, Some(filters.map(|it| it.text().to_string()).collect::<Vec<_>>().join(" ")))
            }
            Request::Fetch { topic, .. } => ("fetch", None, Some(topic.to_string())),
            Request::Settle { number, .. } => ("settle", None, Some(format!("number {number}"))),
            Request::Disconnect(disconnect) => ("disconnect", None, Some(format!("{:?}", disconnect.reason))),
        };
        let client = match request {
            Request::Connect(connect) => connect.client.as_ref().map(|client| ByteString::from(&client[..])),
            _ => None,
        };
        self.trace(now, peer, client, (what, Some(true)), message, details);
    }

    #[cold]
    pub(crate) fn trace_answer(&mut self, now: Now, peer: PeerId, answer: &Answer) {
        let (what, details) = match answer {
            Answer::Connected(connected) => {
                ("connected", Some(format!("session present: {}", connected.session_present)))
            }
            Answer::Refused(refusal) => ("refused", Some(refusal.to_string())),
            Answer::Close(refusal) => ("close", Some(refusal.to_string())),
            _ => ("answer", None),
        };
        self.trace(now, peer, None, (what, Some(false)), None, details);
    }

    #[cold]
    pub(crate) fn trace_deliveries(&mut self, now: Now, peer: PeerId, batch: &[Delivery]) {
        for delivery in batch {
            let message = TracedMessage::new(&delivery.message, delivery.guarantee as u8);
            self.trace(now, peer, None, ("deliver", Some(false)), Some(message), None);
        }
    }

    /// What the broker says that belongs to no request of a peer.
    #[cold]
    pub(crate) fn trace_event(&mut self, now: Now, event: &Event) {
        let (what, client, details) = match event {
            Event::Dropped { client, why, .. } => ("dropped", client, (*why).to_owned()),
            Event::Refused { client, why, .. } => ("refused", client, why.clone()),
            _ => return,
        };
        let event = TraceEvent {
            at_ms: now.wall_ms,
            what,
            from_peer: None,
            client: Some(client.clone()),
            remote: None,
            listener: "",
            message: None,
            details: Some(details),
            left_out: 0,
        };
        self.traces.tell(now, &event);
    }

    fn trace(
        &mut self,
        now: Now,
        peer: PeerId,
        client: Option<ByteString>,
        (what, from_peer): (&'static str, Option<bool>),
        message: Option<TracedMessage>,
        details: Option<String>,
    ) {
        let (remote, listener) = match door_of(peer) {
            Some(door) => {
                let link = self.doors.link(door, peer);
                (link.as_ref().and_then(|link| link.remote), link.map_or("", |link| link.listener()))
            }
            None => match self.connections.get(peer) {
                Some(connection) => (connection.link.remote, connection.link.listener()),
                None => (None, ""),
            },
        };
        let client = client.or_else(|| self.broker.client_of(peer).cloned());
        let event =
            TraceEvent { at_ms: now.wall_ms, what, from_peer, client, remote, listener, message, details, left_out: 0 };
        self.traces.tell(now, &event);
    }
}
