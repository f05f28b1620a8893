//! The message layer of one remote address (§4): what is owed to it and what is under way.

use super::ids::{IdClock, MessageIds};
use super::proof::Allowance;
use crate::message::{Kind, Message, Token};
use crate::no_response::NoResponse;
use crate::protection::Protection;
use crate::requests::{Conversation, RequestId};
use crate::resources::Response;
use crate::transmission::Transmission;
use althing_core::time::{MILLISECOND_NS, SECOND_NS};
use althing_core::{Now, PeerId};
use smallvec::SmallVec;
use std::collections::VecDeque;

/// PROBING_RATE (§4.8): what may go to somebody who does not respond.
const PROBING_RATE_BYTES_PER_S: u64 = 1;

/// One remote address with at least one session.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// Its sessions. The first one is that of the address itself; others are proven message by message.
    pub parties: SmallVec<[Party; 1]>,
    /// Of our confirmable and non-confirmable messages.
    pub ids: MessageIds,
    /// When it last said something.
    pub heard_ns: u64,
    /// When it last acknowledged something of ours, which proves that it is where it says.
    pub confirmed_ns: Option<u64>,
    /// What it has been told since without being asked to acknowledge it.
    pub unconfirmed_bytes: usize,
    /// Whether it has proven that it is where it says.
    pub is_proven: bool,
    /// The deadline of its entry among the timers; `u64::MAX` when there is none.
    pub armed_ns: u64,
    /// Requests that have not been responded to.
    pub replies: Vec<Reply>,
    /// The last notification under each token: a reset that names it ends the observation.
    pub told: Vec<Told>,
    /// Confirmable messages that wait for the one in flight (NSTART = 1, §4.7).
    pub outgoing: VecDeque<Outgoing>,
    pub in_flight: Option<InFlight>,
}

/// A session of a remote address.
#[derive(Debug)]
pub(crate) struct Party {
    pub peer: PeerId,
    pub conversation: Conversation,
    /// What protects its messages; `None` for the address's own session.
    pub protection: Option<Protection>,
}

/// Where and how a response is wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reply {
    pub request: RequestId,
    pub kind: Kind,
    pub id: u16,
    /// When an empty acknowledgement is due; `u64::MAX` when none is.
    pub acknowledge_ns: u64,
    /// What it may be answered with.
    pub allowance: Allowance,
    pub no_response: NoResponse,
    /// An empty acknowledgement has left: the response is a message of its own (§5.2.2).
    pub is_acknowledged: bool,
}

/// Under which id somebody was last told something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    pub peer: PeerId,
    pub token: Token,
    pub id: u16,
}

/// A confirmable message that was sent and is not acknowledged.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub peer: PeerId,
    pub transmission: Transmission,
    pub token: Token,
    /// See [`Outgoing::settles`].
    pub settles: u32,
    /// A newer value may take over what is left of its repeats.
    pub is_replaceable: bool,
}

/// A confirmable message that we owe.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub peer: PeerId,
    pub token: Token,
    pub response: Response,
    pub is_notification: bool,
    /// The delivery that is over when this has arrived; 0 = none.
    pub settles: u32,
    /// A newer value may take its place before it is under way.
    pub is_replaceable: bool,
}

impl Endpoint {
    pub fn new(now: Now, ids: MessageIds) -> Self {
        Self {
            parties: SmallVec::new(),
            ids,
            heard_ns: now.mono_ns,
            confirmed_ns: None,
            unconfirmed_bytes: 0,
            is_proven: false,
            armed_ns: u64::MAX,
            replies: Vec::new(),
            told: Vec::new(),
            outgoing: VecDeque::new(),
            in_flight: None,
        }
    }

    /// Whether it may hear something without being asked to confirm it: it has confirmed something lately (RFC 7641 §4.5), and what it
    /// has been told since is within what may be sent to somebody who does not respond (§4.7).
    pub fn may_hear_unconfirmed(&self, now: Now, observer_check_s: u32, bytes_max: u32) -> bool {
        let Some(confirmed_ns) = self.confirmed_ns else { return false };
        let silent_s = now.mono_ns.saturating_sub(confirmed_ns) / SECOND_NS;
        let bytes_max = u64::from(bytes_max).saturating_add(silent_s * PROBING_RATE_BYTES_PER_S);
        silent_s < u64::from(observer_check_s) && (self.unconfirmed_bytes as u64) < bytes_max
    }

    /// When something is to be done for it.
    pub fn due_ns(&self, idle_s: u32, clock: IdClock) -> u64 {
        let repeat_ns = match &self.in_flight {
            Some(in_flight) => in_flight.transmission.due_ns,
            None if self.outgoing.is_empty() => u64::MAX,
            None => self.ids.free_ns(clock),
        };
        let acknowledge_ns = self.replies.iter().map(|reply| reply.acknowledge_ns).min().unwrap_or(u64::MAX);
        let party_ns = self.parties.iter().map(|party| party.conversation.due_ns()).min().unwrap_or(u64::MAX);
        repeat_ns.min(acknowledge_ns).min(party_ns).min(self.idle_ns(idle_s))
    }

    /// When it counts as gone; never while something is under way.
    pub fn idle_ns(&self, idle_s: u32) -> u64 {
        let is_sending = self.in_flight.is_some() || !self.outgoing.is_empty();
        let is_busy = is_sending || self.parties.iter().any(|party| party.conversation.is_busy());
        if is_busy { u64::MAX } else { self.heard_ns.saturating_add(u64::from(idle_s) * SECOND_NS) }
    }

    /// Notes under which id somebody was told something.
    pub fn note_told(&mut self, peer: PeerId, token: Token, id: u16) {
        match self.told.iter_mut().find(|told| told.peer == peer && told.token == token) {
            Some(told) => told.id = id,
            None => self.told.push(Told { peer, token, id }),
        }
    }
}

impl Reply {
    pub fn to(now: Now, request: RequestId, message: &Message, allowance: Allowance, separate_after_ms: u64) -> Self {
        let acknowledge_ns = match message.kind {
            Kind::Confirmable => now.mono_ns + separate_after_ms * MILLISECOND_NS,
            _ => u64::MAX,
        };
        let Message { kind, id, .. } = *message;
        let no_response = NoResponse::of(message);
        Self { request, kind, id, acknowledge_ns, allowance, no_response, is_acknowledged: false }
    }
}
