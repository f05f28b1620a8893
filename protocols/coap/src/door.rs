//! The server: one socket, many remote addresses, each with a session of its own.
//!
//! What a request asks of the broker alone costs state: a remote address gets a session with its first such
//! request and keeps it for [`endpoint_idle_s`](CoapConfig::endpoint_idle_s). Errors, pings and discovery are
//! answered without any.

mod endpoint;
mod observing;
mod proof;
mod replying;

use crate::codec::{DecodeError, decode, encode, encode_empty};
use crate::config::CoapConfig;
use crate::exchanges::{Exchanges, Seen};
use crate::message::{Code, Kind, Message, Token};
use crate::resource::{self, Response, Wanted};
use althing_core::hash::{Seeded, seeded};
use althing_core::verbs::{Connect, Disconnect, Publish, Reason};
use althing_core::{Answer, Deadline, Delivery, Door, DoorOut, Entropy, Limits, Now, PeerId, Request};
use bytes::Bytes;
use endpoint::{Endpoint, Goal, Pending, Reply};
use hashbrown::HashMap;
use proof::{Allowance, Proofs};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{IpAddr, SocketAddr};
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
    config: Arc<CoapConfig>,
    limits: Arc<Limits>,
    entropy: Entropy,
    exchanges: Exchanges,
    proofs: Proofs,
    observers: HashMap<IpAddr, usize, Seeded>,
    observations: usize,
    correlation: u32,
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
    pub fn new(config: Arc<CoapConfig>, limits: Arc<Limits>, mut entropy: Entropy) -> Self {
        let hasher = seeded(entropy.next_u64());
        Self {
            endpoints: HashMap::with_hasher(hasher.clone()),
            remotes: HashMap::with_hasher(hasher.clone()),
            timers: BinaryHeap::new(),
            shared: Shared {
                exchanges: Exchanges::new(config.exchanges_max, config.exchanges_bytes_max, hasher.clone()),
                observers: HashMap::with_hasher(hasher),
                observations: 0,
                correlation: 0,
                proofs: Proofs::new(&config, &mut entropy),
                config,
                limits,
                entropy,
            },
        }
    }

    /// Remote addresses with a session.
    pub fn endpoints_len(&self) -> usize {
        self.endpoints.len()
    }

    /// Observations of all remote addresses.
    pub fn observations_len(&self) -> usize {
        self.shared.observations
    }

    /// Entries among the timers, void ones included.
    pub fn timers_len(&self) -> usize {
        self.timers.len()
    }

    fn message(&mut self, now: Now, remote: SocketAddr, message: Message, bytes: usize, out: &mut DoorOut<'_>) {
        match (message.kind, message.code) {
            (Kind::Acknowledgement | Kind::Reset, Code::EMPTY) => {
                self.with_endpoint(now, remote, out, |endpoint, turn| match message.kind {
                    Kind::Reset => endpoint.was_reset(message.id, turn),
                    _ => endpoint.was_acknowledged(message.id, turn),
                });
            }
            (Kind::Confirmable | Kind::NonConfirmable, code) if code.is_request() => {
                self.request(now, remote, &message, bytes, out);
            }
            // A ping (§4.3), or the response to a request that we never made.
            (Kind::Confirmable, _) => reset(remote, message.id, out),
            _ => {}
        }
    }

    /// A request that came in a datagram of `bytes`.
    fn request(&mut self, now: Now, remote: SocketAddr, message: &Message, bytes: usize, out: &mut DoorOut<'_>) {
        let wanted = resource::wanted(now, message, &self.shared.config, &self.shared.limits);
        let wanted = match wanted {
            None => return,
            Some(Wanted::Response(response)) => {
                let allowance = self.allowance(now, remote, message, bytes);
                return self.respond_without_state(now, remote, message, response, allowance, out);
            }
            Some(wanted) => wanted,
        };
        let allowance = self.allowance(now, remote, message, bytes);
        // Notifications would go on and on; and places are short when half of them are taken.
        let needs_proof = matches!(wanted, Wanted::Observe(..)) || self.is_crowded(remote);
        if needs_proof && !allowance.is_proven() {
            let challenge = self.shared.proofs.challenge(now, remote);
            return self.respond_without_state(now, remote, message, challenge, allowance, out);
        }
        // What only reads is read again: it may be answered anew (§4.5), and floods of it push nothing
        // else out of the memory.
        let is_kept = matches!(wanted, Wanted::Publish(..) | Wanted::Observe(..));
        if is_kept {
            match self.shared.exchanges.find(now, remote, message.id) {
                Seen::Never => {}
                Seen::Pending => return,
                Seen::Answered(reply) => return out.datagrams.push(remote, &reply),
            }
        }
        if !self.admit(now, remote, out) {
            let response = Response::error(Code::SERVICE_UNAVAILABLE, "as many clients are served as may be");
            return self.respond_without_state(now, remote, message, response, allowance, out);
        }
        self.with_endpoint(now, remote, out, |endpoint, turn| {
            endpoint.heard_ns = now.mono_ns;
            if endpoint.pending.len() >= turn.shared.config.pending_per_endpoint_max {
                return;
            }
            if is_kept {
                turn.shared.exchanges.begin(now, remote, message.id);
            }
            endpoint.is_proven |= allowance.is_proven();
            endpoint.carry_out(message, wanted, allowance, turn);
        });
    }

    /// Makes sure that there is an endpoint; false when there may be no more.
    fn admit(&mut self, now: Now, remote: SocketAddr, out: &mut DoorOut<'_>) -> bool {
        if self.endpoints.contains_key(&remote) {
            return true;
        }
        if self.endpoints.len() >= self.shared.config.endpoints_max {
            return false;
        }
        let peer = out.peers.open(remote);
        let first_id = self.shared.entropy.next_u64() as u16;
        self.endpoints.insert(remote, Endpoint::new(now, peer, first_id));
        self.remotes.insert(peer, remote);
        let connect = Connect {
            // One confirmable message under way to an address (NSTART, §4.7): the rest waits in the queue.
            window: 1,
            ..Connect::new(crate::PROTOCOL.name)
        };
        out.requests.push_back((peer, Request::Connect(Box::new(connect))));
        true
    }

    /// Whether a new address would be one of the second half of those that are served.
    fn is_crowded(&self, remote: SocketAddr) -> bool {
        self.endpoints.len() >= self.shared.config.endpoints_max / 2 && !self.endpoints.contains_key(&remote)
    }

    /// What may answer a request: all that is wanted, when this address has proven itself before or does so now.
    fn allowance(&self, now: Now, remote: SocketAddr, request: &Message, bytes: usize) -> Allowance {
        if self.endpoints.get(&remote).is_some_and(|endpoint| endpoint.is_proven) {
            return Allowance::UNLIMITED;
        }
        self.shared.proofs.allowance(now, remote, request, bytes)
    }

    fn respond_without_state(
        &mut self,
        now: Now,
        remote: SocketAddr,
        request: &Message,
        response: Response,
        allowance: Allowance,
        out: &mut DoorOut<'_>,
    ) {
        let (kind, id) = match request.kind {
            Kind::Confirmable => (Kind::Acknowledgement, request.id),
            _ => {
                let known = self.endpoints.get_mut(&remote).map(Endpoint::take_id);
                (Kind::NonConfirmable, known.unwrap_or_else(|| self.shared.entropy.next_u64() as u16))
            }
        };
        let message = message_of(kind, id, request.token, response);
        let message = self.shared.within(allowance, now, remote, message);
        out.datagrams.push_with(remote, |bytes| encode(&message, bytes));
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
        let due_ns = endpoint.due_ns(self.shared.config.endpoint_idle_s);
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

    /// Says goodbye to the broker for this address, and forgets it.
    fn close(&mut self, now: Now, remote: SocketAddr, reason: Reason, out: &mut DoorOut<'_>) {
        let Some(endpoint) = self.endpoints.remove(&remote) else { return };
        self.remotes.remove(&endpoint.peer);
        for _ in &endpoint.observations {
            self.shared.observation_ended(remote.ip());
        }
        let disconnect = Disconnect { publish_will: false, session_expiry_s: None, reason };
        out.requests.push_back((endpoint.peer, Request::Disconnect(disconnect)));
        out.peers.close(endpoint.peer);
        self.shared.exchanges.expire(now);
    }
}

impl Door for CoapDoor {
    fn receive(&mut self, now: Now, remote: SocketAddr, datagram: Bytes, out: &mut DoorOut<'_>) {
        match decode(&datagram) {
            Ok(message) => self.message(now, remote, message, datagram.len(), out),
            Err(DecodeError::Malformed { kind: Kind::Confirmable, id, .. }) => reset(remote, id, out),
            Err(_) => {}
        }
    }

    fn answer(&mut self, now: Now, peer: PeerId, answer: Answer, out: &mut DoorOut<'_>) {
        let Some(remote) = self.remotes.get(&peer).copied() else { return };
        if let Answer::Refused(refusal) | Answer::Close(refusal) = &answer {
            self.with_endpoint(now, remote, out, |endpoint, turn| endpoint.fail_all(refusal, turn));
            return self.close(now, remote, refusal.reason, out);
        }
        self.with_endpoint(now, remote, out, |endpoint, turn| endpoint.answer(answer, turn));
    }

    fn deliver(&mut self, now: Now, peer: PeerId, batch: &[Delivery], out: &mut DoorOut<'_>) {
        let Some(remote) = self.remotes.get(&peer).copied() else { return };
        self.with_endpoint(now, remote, out, |endpoint, turn| {
            for delivery in batch {
                endpoint.deliver(delivery, turn);
            }
        });
    }

    fn timeout(&mut self, now: Now, out: &mut DoorOut<'_>) {
        while let Some(&Reverse((due_ns, remote))) = self.timers.peek()
            && due_ns <= now.mono_ns
        {
            self.timers.pop();
            let Some(endpoint) = self.endpoints.get_mut(&remote).filter(|it| it.armed_ns == due_ns) else { continue };
            endpoint.armed_ns = u64::MAX;
            if endpoint.idle_ns(self.shared.config.endpoint_idle_s) <= now.mono_ns {
                self.close(now, remote, Reason::Normal, out);
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

    /// A correlation for the next request.
    fn next_correlation(&mut self) -> u32 {
        self.correlation = self.correlation.wrapping_add(1);
        self.correlation
    }

    /// Counts one more observation of this address; false when it has as many as it may.
    fn observation_begins(&mut self, address: IpAddr) -> bool {
        let of_address = self.observers.get(&address).copied().unwrap_or(0);
        let is_full =
            self.observations >= self.config.observations_max || of_address >= self.config.observations_per_address_max;
        if !is_full {
            self.observers.insert(address, of_address + 1);
            self.observations += 1;
        }
        !is_full
    }

    fn observation_ended(&mut self, address: IpAddr) {
        self.observations -= 1;
        if let Some(count) = self.observers.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.observers.remove(&address);
            }
        }
    }
}

impl Endpoint {
    /// Begins what a request wants.
    fn carry_out(&mut self, message: &Message, wanted: Wanted, allowance: Allowance, turn: &mut Turn<'_, '_>) {
        let correlation = turn.shared.next_correlation();
        let (goal, request) = match wanted {
            Wanted::Response(_) => return,
            Wanted::Read(read) => (Goal::Read(read.clone()), Request::Fetch { correlation, topic: read.topic }),
            Wanted::Forget(read) => {
                self.end_observation(message.token, turn);
                (Goal::Read(read.clone()), Request::Fetch { correlation, topic: read.topic })
            }
            Wanted::Observe(read, guarantee) => match self.begin_observation(message.token, &read, guarantee, turn) {
                Some(subscribe) => (Goal::Observe(read), subscribe(correlation)),
                // Nobody has to be observed by everyone: without the option the value is the whole answer
                // (RFC 7641 §4.1).
                None => (Goal::Read(read.clone()), Request::Fetch { correlation, topic: read.topic }),
            },
            Wanted::Publish(message, code) => {
                // A token has even what is published at most once answered.
                let publish = Publish { message: *message, token: Some(correlation), correlation };
                (Goal::Publish(code), Request::Publish(publish))
            }
        };
        let reply = Reply::to(turn.now, message, allowance, turn.shared.config.separate_after_ms);
        let held = match self.is_connected {
            true => {
                turn.out.requests.push_back((self.peer, request));
                None
            }
            false => Some(request),
        };
        self.pending.push(Pending { correlation, reply, goal, held });
    }
}

/// What the message layer makes of a response.
fn message_of(kind: Kind, id: u16, token: Token, response: Response) -> Message {
    Message { kind, code: response.code, id, token, options: response.options, payload: response.payload }
}

fn reset(remote: SocketAddr, id: u16, out: &mut DoorOut<'_>) {
    out.datagrams.push_with(remote, |bytes| encode_empty(Kind::Reset, id, bytes));
}
