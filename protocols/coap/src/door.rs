//! The server: one socket, many remote addresses, each with a session of its own.
//!
//! What a request asks of the broker alone costs state: a remote address gets a session with its first such
//! request and keeps it for [`endpoint_idle_s`](CoapConfig::endpoint_idle_s). Errors, pings and discovery are
//! answered without any.

mod endpoint;
mod ids;
mod proof;
mod protection;
mod sending;

use crate::codec::{DecodeError, decode, encode, encode_empty};
use crate::common::Common;
use crate::exchanges::{Exchanges, Seen};
use crate::message::{Code, Kind, Message, Token};
use crate::no_response::NoResponse;
use crate::oscore::{Binding, protect_response};
use crate::protection::{Protection, shared_key};
use crate::requests::{Carriage, Conversation, Cut, Hall, Said, Site, is_safe};
use crate::resources::{self, Response, Wanted};
use althing_core::door::Source;
use althing_core::hash::{Seeded, seeded};
use althing_core::verbs::{Connect, Disconnect, Reason};
use althing_core::{Answer, Deadline, Delivery, Door, DoorOut, Entropy, Now, PeerId, Request};
use bytes::Bytes;
use endpoint::{Endpoint, Party, Reply};
use hashbrown::HashMap;
use ids::IdClock;
use proof::{Allowance, Proofs};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

/// CoAP's door.
#[derive(Debug)]
pub struct CoapDoor {
    endpoints: HashMap<SocketAddr, Endpoint, Seeded>,
    remotes: HashMap<PeerId, SocketAddr, Seeded>,
    /// At most one entry that counts for each endpoint; others are void.
    timers: BinaryHeap<Reverse<(u64, SocketAddr)>>,
    shared: Shared,
}

/// What all endpoints have in common.
#[derive(Debug)]
struct Shared {
    site: Site,
    entropy: Entropy,
    exchanges: Exchanges,
    proofs: Proofs,
    id_clock: IdClock,
    /// What a conversation says and asks; empty between calls, kept for its memory.
    said: VecDeque<Said>,
    asked: VecDeque<Request>,
}

/// A request whose protection is off, and how it may be answered.
struct Asked<'a> {
    remote: SocketAddr,
    message: &'a Message,
    allowance: Allowance,
    /// What protected it; `None` = nothing but what protects the whole datagram, if that.
    binding: Option<Binding>,
}

/// One call: the moment, what all endpoints share, and where the results go.
struct Turn<'a, 'b> {
    now: Now,
    remote: SocketAddr,
    shared: &'a mut Shared,
    out: &'a mut DoorOut<'b>,
}

impl CoapDoor {
    /// A door without peers. `entropy` spreads repeats, and seeds message ids and hashes.
    pub fn new(common: Arc<Common>, mut entropy: Entropy) -> Self {
        let hasher = seeded(entropy.next_u64());
        let config = &common.config;
        Self {
            endpoints: HashMap::with_hasher(hasher.clone()),
            remotes: HashMap::with_hasher(hasher.clone()),
            timers: BinaryHeap::new(),
            shared: Shared {
                exchanges: Exchanges::new(config.exchanges_max, config.exchanges_bytes_max, hasher.clone()),
                proofs: Proofs::new(config, &mut entropy),
                id_clock: IdClock::new(config, &mut entropy),
                site: Site::new(common, hasher),
                entropy,
                said: VecDeque::new(),
                asked: VecDeque::new(),
            },
        }
    }

    /// What all listeners share.
    pub fn common(&self) -> &Arc<Common> {
        &self.shared.site.common
    }

    /// Remote addresses with a session.
    pub fn endpoints_len(&self) -> usize {
        self.endpoints.len()
    }

    /// Observations of all remote addresses.
    pub fn observations_len(&self) -> usize {
        self.shared.site.observations_len()
    }

    /// Message ids that are remembered.
    pub fn exchanges_len(&self) -> usize {
        self.shared.exchanges.len()
    }

    /// Entries among the timers, void ones included.
    pub fn timers_len(&self) -> usize {
        self.timers.len()
    }

    fn message(&mut self, now: Now, source: Source, message: Message, bytes: usize, out: &mut DoorOut<'_>) {
        let remote = source.remote;
        if source.is_multicast {
            return self.group_request(now, source, &message, bytes, out);
        }
        match (message.kind, message.code) {
            (Kind::Acknowledgement | Kind::Reset, Code::EMPTY) => {
                self.with_endpoint(now, remote, out, |endpoint, turn| match message.kind {
                    Kind::Reset => endpoint.was_reset(message.id, turn),
                    _ => endpoint.was_acknowledged(message.id, turn),
                });
            }
            (Kind::Confirmable | Kind::NonConfirmable, code) if code.is_request() => {
                self.received(now, source, &message, bytes, out);
            }
            // A ping (§4.3), or the response to a request that we never made.
            (Kind::Confirmable, _) => reset(remote, message.id, out),
            _ => {}
        }
    }

    /// A request to a group of hosts (§8): it asks who is there and what they have, unconfirmed. Nobody speaks up to say
    /// that it has nothing (§8.2), and what takes a session is asked of one host.
    fn group_request(&mut self, now: Now, source: Source, message: &Message, bytes: usize, out: &mut DoorOut<'_>) {
        if (message.kind, message.code) != (Kind::NonConfirmable, Code::GET) {
            return;
        }
        let Some(Wanted::Response(response)) = resources::wanted(now, message, &self.shared.site.common) else {
            return;
        };
        if response.code.is_success() && !response.payload.is_empty() {
            let allowance = self.allowance(now, source, message, bytes);
            let asked = Asked { remote: source.remote, message, allowance, binding: None };
            self.respond_without_state(now, asked, response, out);
        }
    }

    /// Carries out a request whose protection is off.
    fn request(&mut self, now: Now, mut asked: Asked<'_>, out: &mut DoorOut<'_>) {
        let (remote, message) = (asked.remote, asked.message);
        let wanted = match resources::wanted(now, message, &self.shared.site.common) {
            None => return,
            Some(Wanted::Response(response)) => return self.respond_without_state(now, asked, response, out),
            Some(wanted) => wanted,
        };
        // Notifications would go on and on, bodies would wait for their next block; and places are short when half of them are taken.
        let needs_proof =
            matches!(wanted, Wanted::Observe(..) | Wanted::Part | Wanted::Demo(_)) || self.is_crowded(remote);
        if needs_proof && !asked.allowance.is_proven() {
            let challenge = self.shared.proofs.challenge(now, remote);
            return self.respond_without_state(now, asked, challenge, out);
        }
        // What only reads is read again: it may be answered anew (§4.5), and floods of it push nothing
        // else out of the memory. What is protected can be read once only, and its answer is the same bytes.
        let is_kept = asked.binding.is_some() || !is_safe(message);
        if is_kept {
            match self.shared.exchanges.find(now, remote, message.id) {
                Seen::Never => {}
                Seen::Pending => return,
                Seen::Answered(reply) => return out.datagrams.push(remote, &reply),
            }
        }
        let Some(peer) = self.admit(now, remote, asked.binding.as_ref(), out) else {
            let response = Response::error(Code::SERVICE_UNAVAILABLE, "as many clients are served as may be");
            return self.respond_without_state(now, asked, response, out);
        };
        self.with_endpoint(now, remote, out, |endpoint, turn| {
            endpoint.heard_ns = now.mono_ns;
            let config = &turn.shared.site.common.config;
            if endpoint.replies.len() >= config.pending_per_endpoint_max {
                return;
            }
            let separate_after_ms = config.separate_after_ms;
            if is_kept {
                turn.shared.exchanges.begin(now, remote, message.id);
            }
            if let Some(binding) = asked.binding.take() {
                endpoint.bind(peer, message.token, binding);
            }
            endpoint.is_proven |= asked.allowance.is_proven();
            let request = turn.shared.site.next_request();
            endpoint.replies.push(Reply::to(now, request, message, asked.allowance, separate_after_ms));
            let begin = |conversation: &mut Conversation, hall: &mut Hall<'_>| {
                conversation.request(request, message, wanted, hall);
            };
            endpoint.converse(peer, turn, begin);
        });
    }

    /// The session of an address, or of the context that protects the request, made where there is none; `None` when there may
    /// be no more.
    fn admit(
        &mut self,
        now: Now,
        remote: SocketAddr,
        binding: Option<&Binding>,
        out: &mut DoorOut<'_>,
    ) -> Option<PeerId> {
        let context = binding.map(|binding| &binding.context);
        let known = self.endpoints.get(&remote);
        if let Some(party) = known.and_then(|it| it.parties.iter().find(|party| party.is_of(context))) {
            return Some(party.peer);
        }
        if known.is_none() {
            if self.endpoints.len() >= self.shared.site.common.config.endpoints_max {
                return None;
            }
            // The same one when the address comes back: its ids go on where they were.
            let endpoint = Endpoint::new(now, self.shared.id_clock.ids_of(remote));
            self.endpoints.insert(remote, endpoint);
        }
        let peer = out.peers.open_with_key(remote, context.map(shared_key));
        let conversation = Conversation::new(Some(remote.ip()));
        let protection = context.map(|context| Protection::new(Arc::clone(context)));
        let parties = self.endpoints.get_mut(&remote).map(|endpoint| &mut endpoint.parties);
        parties?.push(Party { peer, conversation, protection });
        self.remotes.insert(peer, remote);
        let connect = Connect {
            // One confirmable message under way to an address (NSTART, §4.7): the rest waits in the queue.
            window: 1,
            ..Connect::new(crate::PROTOCOL.name)
        };
        out.requests.push_back((peer, Request::Connect(Box::new(connect))));
        Some(peer)
    }

    /// Whether a new address would be one of the second half of those that are served.
    fn is_crowded(&self, remote: SocketAddr) -> bool {
        self.endpoints.len() >= self.shared.site.common.config.endpoints_max / 2
            && !self.endpoints.contains_key(&remote)
    }

    /// What may answer a request: all that is wanted, when this address has proven itself before or does so now.
    fn allowance(&self, now: Now, source: Source, request: &Message, bytes: usize) -> Allowance {
        let is_proven = self.endpoints.get(&source.remote).is_some_and(|endpoint| endpoint.is_proven);
        if source.is_secured || is_proven {
            return Allowance::UNLIMITED;
        }
        self.shared.proofs.allowance(now, source.remote, request, bytes)
    }

    fn respond_without_state(&mut self, now: Now, asked: Asked<'_>, response: Response, out: &mut DoorOut<'_>) {
        let Asked { remote, message: request, allowance, binding } = asked;
        let config = &self.shared.site.common.config;
        let (response, _) = Cut::of(request).apply(response, Carriage::default(), config);
        if NoResponse::of(request).suppresses(&response) {
            if request.kind == Kind::Confirmable {
                let acknowledge = |bytes: &mut Vec<u8>| encode_empty(Kind::Acknowledgement, request.id, bytes);
                out.datagrams.push_with(remote, acknowledge);
            }
            return;
        }
        let (kind, id) = match request.kind {
            Kind::Confirmable => (Kind::Acknowledgement, request.id),
            _ => {
                let known = self.endpoints.get_mut(&remote);
                let id = known.and_then(|endpoint| endpoint.ids.take_for_answer(now, self.shared.id_clock));
                // Where nothing is known of an address, the ids of its own requests are as good.
                (Kind::NonConfirmable, id.unwrap_or(request.id))
            }
        };
        let message = message_of(kind, id, request.token, response);
        let message = self.shared.within(allowance, now, remote, message);
        let Some(mut binding) = binding else {
            out.datagrams.push_with(remote, |bytes| encode(&message, bytes));
            return;
        };
        // When it comes again it cannot be read, since that would be a replay.
        if let Ok(message) = protect_response(&mut binding, &message) {
            let datagram = out.datagrams.push_with(remote, |bytes| encode(&message, bytes));
            self.shared.exchanges.begin(now, remote, request.id);
            self.shared.exchanges.complete(remote, request.id, datagram);
        }
    }

    /// Calls `act` with the endpoint of this address, if there is one, and sees to its deadline.
    fn with_endpoint(
        &mut self,
        now: Now,
        remote: SocketAddr,
        out: &mut DoorOut<'_>,
        act: impl FnOnce(&mut Endpoint, &mut Turn<'_, '_>),
    ) {
        let Some(endpoint) = self.endpoints.get_mut(&remote) else { return };
        act(endpoint, &mut Turn { now, remote, shared: &mut self.shared, out });
        let due_ns = endpoint.due_ns(self.shared.site.common.config.endpoint_idle_s, self.shared.id_clock);
        if due_ns < endpoint.armed_ns {
            endpoint.armed_ns = due_ns;
            self.timers.push(Reverse((due_ns, remote)));
            self.forget_void_timers();
        }
    }

    /// Keeps the timers in proportion to the endpoints: one that needs many early calls leaves void ones behind.
    fn forget_void_timers(&mut self) {
        const SLACK: usize = 1_024;
        if self.timers.len() > 2 * self.endpoints.len() + SLACK {
            let endpoints = &self.endpoints;
            self.timers.retain(|Reverse((due_ns, remote))| {
                endpoints.get(remote).is_some_and(|endpoint| endpoint.armed_ns == *due_ns)
            });
        }
    }

    /// Says goodbye to the broker for one session of an address; the address is forgotten with its last one.
    fn close(&mut self, now: Now, remote: SocketAddr, peer: PeerId, reason: Reason, out: &mut DoorOut<'_>) {
        let Some(endpoint) = self.endpoints.get_mut(&remote) else { return };
        let Some(place) = endpoint.parties.iter().position(|party| party.peer == peer) else { return };
        let mut party = endpoint.parties.remove(place);
        party.conversation.leave(&mut self.shared.site);
        endpoint.told.retain(|told| told.peer != peer);
        if endpoint.parties.is_empty() {
            self.endpoints.remove(&remote);
        }
        self.remotes.remove(&peer);
        let disconnect = Disconnect { publish_will: false, session_expiry_s: None, reason };
        out.requests.push_back((peer, Request::Disconnect(disconnect)));
        out.peers.close(peer);
        self.shared.exchanges.expire(now);
    }

    /// The same for all sessions of an address.
    fn close_all(&mut self, now: Now, remote: SocketAddr, reason: Reason, out: &mut DoorOut<'_>) {
        while let Some(party) = self.endpoints.get(&remote).and_then(|endpoint| endpoint.parties.first()) {
            self.close(now, remote, party.peer, reason, out);
        }
    }
}

impl Door for CoapDoor {
    fn receive(&mut self, now: Now, source: Source, datagram: Bytes, out: &mut DoorOut<'_>) {
        match decode(&datagram) {
            Ok(message) => self.message(now, source, message, datagram.len(), out),
            // A group answers no mistakes (§8.1).
            Err(DecodeError::Malformed { kind: Kind::Confirmable, id, .. }) if !source.is_multicast => {
                reset(source.remote, id, out);
            }
            Err(_) => {}
        }
    }

    fn left(&mut self, now: Now, remote: SocketAddr, out: &mut DoorOut<'_>) {
        self.shared.exchanges.leave(now, remote);
        self.close_all(now, remote, Reason::Normal, out);
    }

    fn answer(&mut self, now: Now, peer: PeerId, answer: Answer, out: &mut DoorOut<'_>) {
        let Some(remote) = self.remotes.get(&peer).copied() else { return };
        if let Answer::Refused(refusal) | Answer::Close(refusal) = &answer {
            self.with_endpoint(now, remote, out, |endpoint, turn| {
                endpoint.converse(peer, turn, |conversation, hall| conversation.fail(refusal, hall));
                endpoint.say_goodbye(peer, turn);
            });
            return self.close(now, remote, peer, refusal.reason, out);
        }
        self.with_endpoint(now, remote, out, |endpoint, turn| {
            endpoint.converse(peer, turn, |conversation, hall| conversation.answer(answer, hall));
        });
    }

    fn deliver(&mut self, now: Now, peer: PeerId, batch: &[Delivery], out: &mut DoorOut<'_>) {
        let Some(remote) = self.remotes.get(&peer).copied() else { return };
        if self.endpoints.get(&remote).is_some_and(|endpoint| endpoint.is_revoked(peer)) {
            return self.close(now, remote, peer, Reason::NotAuthorised, out);
        }
        self.with_endpoint(now, remote, out, |endpoint, turn| {
            let deliver = |conversation: &mut Conversation, hall: &mut Hall<'_>| {
                batch.iter().for_each(|delivery| conversation.deliver(delivery, hall));
            };
            endpoint.converse(peer, turn, deliver);
        });
    }

    fn timeout(&mut self, now: Now, out: &mut DoorOut<'_>) {
        while let Some(&Reverse((due_ns, remote))) = self.timers.peek()
            && due_ns <= now.mono_ns
        {
            self.timers.pop();
            let Some(endpoint) = self.endpoints.get_mut(&remote).filter(|it| it.armed_ns == due_ns) else { continue };
            endpoint.armed_ns = u64::MAX;
            if endpoint.idle_ns(self.shared.site.common.config.endpoint_idle_s) <= now.mono_ns {
                self.close_all(now, remote, Reason::Normal, out);
            } else {
                self.with_endpoint(now, remote, out, |endpoint, turn| endpoint.tick(turn));
            }
        }
    }

    fn next_timeout(&self) -> Option<Deadline> {
        self.timers.peek().map(|Reverse((mono_ns, _))| Deadline { mono_ns: *mono_ns, reason: "an endpoint's deadline" })
    }
}

impl Shared {
    /// The message, or where it is more than may be sent there, the challenge in its place.
    fn within(&self, allowance: Allowance, now: Now, remote: SocketAddr, message: Message) -> Message {
        if allowance.is_proven() {
            return message;
        }
        let mut datagram = Vec::new();
        encode(&message, &mut datagram);
        if datagram.len() <= allowance.bytes {
            return message;
        }
        message_of(message.kind, message.id, message.token, self.proofs.challenge(now, remote))
    }
}

/// What the message layer makes of a response.
fn message_of(kind: Kind, id: u16, token: Token, response: Response) -> Message {
    Message { kind, code: response.code, id, token, options: response.options, payload: response.payload }
}

fn reset(remote: SocketAddr, id: u16, out: &mut DoorOut<'_>) {
    out.datagrams.push_with(remote, |bytes| encode_empty(Kind::Reset, id, bytes));
}
