//! What is known of one remote address, as long as something waits for it.

use super::proof::Allowance;
use crate::message::{Code, Kind, Message, Token};
use crate::resource::{Read, Response};
use crate::transmission::Transmission;
use althing_core::time::{MILLISECOND_NS, SECOND_NS};
use althing_core::{Guarantee, Now, PeerId, Request};
use std::collections::VecDeque;
use std::sync::Arc;

/// One remote address with a session.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub peer: PeerId,
    pub is_connected: bool,
    /// Of our next confirmable or non-confirmable message.
    pub next_id: u16,
    /// The last number in an Observe option (RFC 7641 §3.4); grows with every notification to this address.
    pub sequence: u32,
    /// When it last said something.
    pub heard_ns: u64,
    /// When it last acknowledged something of ours, which proves that it is where it says.
    pub confirmed_ns: Option<u64>,
    /// Whether it has proven that it is where it says.
    pub is_proven: bool,
    /// The deadline of its entry among the timers; `u64::MAX` when there is none.
    pub armed_ns: u64,
    pub pending: Vec<Pending>,
    pub observations: Vec<Observation>,
    /// Confirmable messages that wait for the one in flight (NSTART = 1, §4.7).
    pub outgoing: VecDeque<Outgoing>,
    pub in_flight: Option<InFlight>,
}

/// A request that the broker has not answered.
#[derive(Debug)]
pub(crate) struct Pending {
    pub correlation: u32,
    pub reply: Reply,
    pub goal: Goal,
    /// Waits for the session to stand.
    pub held: Option<Request>,
}

/// Where and how a response is wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reply {
    pub kind: Kind,
    pub id: u16,
    pub token: Token,
    /// When an empty acknowledgement is due; `u64::MAX` when none is.
    pub acknowledge_ns: u64,
    /// What it may be answered with.
    pub allowance: Allowance,
    /// An empty acknowledgement has left: the response is a message of its own (§5.2.2).
    pub is_acknowledged: bool,
}

/// What the broker's answer means.
#[derive(Debug)]
pub(crate) enum Goal {
    Read(Read),
    /// First the subscription, then the value.
    Observe(Read),
    /// With the code of success.
    Publish(Code),
}

/// A client's interest in a topic, named by the token of its request (RFC 7641 §3.1).
#[derive(Debug)]
pub(crate) struct Observation {
    pub token: Token,
    pub read: Read,
    pub guarantee: Guarantee,
    /// The first response has left.
    pub is_live: bool,
    /// What came before the first response, which tells it.
    pub newest: Option<Arc<althing_core::Message>>,
    /// The id of the last notification: a reset that names it ends the observation.
    pub last_id: Option<u16>,
}

/// A confirmable message that was sent and is not acknowledged.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub transmission: Transmission,
    pub token: Token,
    /// See [`Outgoing::settles`].
    pub settles: u32,
}

/// A confirmable message that we owe.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub token: Token,
    pub what: What,
    /// The delivery that is over when this has arrived; 0 = none.
    pub settles: u32,
    /// A newer value may take its place before it is under way.
    pub is_replaceable: bool,
}

#[derive(Debug)]
pub(crate) enum What {
    /// A separate response.
    Response(Response),
    /// A notification of this value.
    Notification(Arc<althing_core::Message>),
}

impl Endpoint {
    pub fn new(now: Now, peer: PeerId, next_id: u16) -> Self {
        Self {
            peer,
            is_connected: false,
            next_id,
            sequence: 0,
            heard_ns: now.mono_ns,
            confirmed_ns: None,
            is_proven: false,
            armed_ns: u64::MAX,
            pending: Vec::new(),
            observations: Vec::new(),
            outgoing: VecDeque::new(),
            in_flight: None,
        }
    }

    /// An id for a message of ours.
    pub fn take_id(&mut self) -> u16 {
        self.next_id = self.next_id.wrapping_add(1);
        self.next_id
    }

    /// A number for an Observe option: 24 bits (RFC 7641 §4.4).
    pub fn take_sequence(&mut self) -> u32 {
        self.sequence = (self.sequence + 1) & 0xff_ffff;
        self.sequence
    }

    /// Whether it may hear something without being asked to confirm it (RFC 7641 §4.5).
    pub fn is_confirmed(&self, now: Now, observer_check_s: u32) -> bool {
        let check_ns = u64::from(observer_check_s) * SECOND_NS;
        self.confirmed_ns.is_some_and(|confirmed_ns| now.mono_ns < confirmed_ns.saturating_add(check_ns))
    }

    /// When something is to be done for it.
    pub fn due_ns(&self, idle_s: u32) -> u64 {
        let repeat_ns = self.in_flight.as_ref().map_or(u64::MAX, |it| it.transmission.due_ns);
        let acknowledge_ns = self.pending.iter().map(|pending| pending.reply.acknowledge_ns).min().unwrap_or(u64::MAX);
        repeat_ns.min(acknowledge_ns).min(self.idle_ns(idle_s))
    }

    /// When it counts as gone; never while something is under way.
    pub fn idle_ns(&self, idle_s: u32) -> u64 {
        let is_busy = !self.pending.is_empty() || !self.observations.is_empty() || self.in_flight.is_some();
        if is_busy { u64::MAX } else { self.heard_ns.saturating_add(u64::from(idle_s) * SECOND_NS) }
    }

    pub fn observation(&mut self, token: Token) -> Option<&mut Observation> {
        self.observations.iter_mut().find(|observation| observation.token == token)
    }
}

impl Reply {
    pub fn to(now: Now, request: &Message, allowance: Allowance, separate_after_ms: u64) -> Self {
        let acknowledge_ns = match request.kind {
            Kind::Confirmable => now.mono_ns + separate_after_ms * MILLISECOND_NS,
            _ => u64::MAX,
        };
        let Message { kind, id, token, .. } = *request;
        Self { kind, id, token, acknowledge_ns, allowance, is_acknowledged: false }
    }
}
