//! The request layer: one client's requests and observations, whatever carries them (§5, RFC 7641).
//!
//! The message layer below, datagrams or a stream, hands in whole messages, and gets back what is to be said to the client and
//! asked of the broker. It sees to their arrival, and tells what became of the notifications.

mod blocks;
mod demo;
mod observing;
mod pubsub;

use crate::common::Common;
use crate::message::{Code, Kind, Message, Token};
use crate::resources::{self, Condition, Read, Response, Wanted};
use crate::signalling::MESSAGE_BYTES_BASE;
use althing_core::hash::Seeded;
use althing_core::verbs::{Outcome, Publish, Refusal};
use althing_core::{Answer, Guarantee, Now, Request};
pub(crate) use blocks::{Cut, is_part};
use blocks::{Operation, Transfers};
use demo::Demonstration;
use hashbrown::HashMap;
use observing::Observation;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

/// Names a request between the two layers, and its correlation with the broker.
pub type RequestId = u32;

/// One client's session with the broker, as far as it is about requests.
#[derive(Debug)]
pub struct Conversation {
    /// What one message to the client may hold; the message layer says it.
    pub carriage: Carriage,
    /// Where the client is, for what one address may have.
    address: Option<IpAddr>,
    is_connected: bool,
    pending: Vec<Pending>,
    observations: Vec<Observation>,
    transfers: Transfers,
    demonstration: Demonstration,
    /// The last number in an Observe option (RFC 7641 §3.4); grows with every notification.
    sequence: u32,
}

/// What one message to a client may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carriage {
    /// All of a message. On reliable carriers it is what the client has said that it takes (RFC 8323 §5.3.1).
    pub message_bytes_max: usize,
    /// Whether this is a reliable carrier: what comes may be in blocks with SZX 7, several of 1,024 bytes in one message
    /// (BERT, RFC 8323 §6).
    pub is_reliable: bool,
    /// Whether the client takes such blocks too.
    pub has_bert: bool,
}

impl Default for Carriage {
    /// Datagrams (§4.6).
    fn default() -> Self {
        Self { message_bytes_max: MESSAGE_BYTES_BASE, is_reliable: false, has_bert: false }
    }
}

/// What all conversations of one listener share.
#[derive(Debug)]
pub struct Site {
    /// What all listeners share.
    pub common: Arc<Common>,
    correlation: RequestId,
    observers: HashMap<Option<IpAddr>, usize, Seeded>,
    observations: usize,
}

/// One call: the moment, what the conversations share, and where the results go.
#[derive(Debug)]
pub struct Hall<'a> {
    /// The moment.
    pub now: Now,
    /// What all conversations of the listener share.
    pub site: &'a mut Site,
    /// Requests for the broker, in order.
    pub asked: &'a mut VecDeque<Request>,
    /// What is to be said to the client, in order.
    pub said: &'a mut VecDeque<Said>,
}

/// What is to be said to the client.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// The one response to a request.
    Response {
        /// Of which request.
        request: RequestId,
        /// Its token.
        token: Token,
        /// What it comes to.
        response: Response,
    },
    /// The state of something observed.
    Notification(Notification),
    /// An observation is over: notifications under this token that have not been sent are not to be sent.
    Forget(Token),
}

/// One notification (RFC 7641 §4.2).
#[derive(Clone, Debug, PartialEq)]
pub struct Notification {
    /// What the client called its interest.
    pub token: Token,
    /// What it says.
    pub response: Response,
    /// At most once: a newer one may take its place before it is sent. Else it has to arrive, in order.
    pub guarantee: Guarantee,
    /// The client has to confirm one at least this often.
    pub observer_check_s: u32,
    /// The delivery that is over when this has arrived: [`Conversation::told`] wants it; 0 = none.
    pub settles: u32,
    /// The observation is over with it.
    pub is_last: bool,
}

/// A request that the broker has not answered.
#[derive(Debug)]
struct Pending {
    request: RequestId,
    token: Token,
    goal: Goal,
    cut: Cut,
    /// For requests that are not carried out again for each block of their response.
    operation: Option<Operation>,
    /// Waits for the session to stand.
    held: Option<Request>,
}

/// What the broker's answer means.
#[derive(Debug)]
enum Goal {
    Read(Read),
    /// First the subscription, then the value.
    Observe(Read),
    /// First the value; where the condition is true of it, the message.
    Check(Box<althing_core::Message>, Code, Condition),
    /// With the code of success.
    Publish(Code),
    /// What is done so far with a topic that has a configuration.
    Pubsub(Box<pubsub::Task>),
    /// Nothing of the broker.
    Demo,
}

impl Site {
    /// Without conversations; `hasher` is for tables keyed by remote addresses.
    pub fn new(common: Arc<Common>, hasher: Seeded) -> Self {
        Self { common, correlation: 0, observers: HashMap::with_hasher(hasher), observations: 0 }
    }

    /// A name for the next request.
    pub fn next_request(&mut self) -> RequestId {
        self.correlation = self.correlation.wrapping_add(1);
        self.correlation
    }

    /// Observations of all conversations.
    pub fn observations_len(&self) -> usize {
        self.observations
    }

    /// Counts one more observation of this address; false when it has as many as it may.
    fn observation_begins(&mut self, address: Option<IpAddr>) -> bool {
        let config = &self.common.config;
        let of_address = self.observers.get(&address).copied().unwrap_or(0);
        let is_full = self.observations >= config.observations_max || of_address >= config.observations_per_address_max;
        if !is_full {
            self.observers.insert(address, of_address + 1);
            self.observations += 1;
        }
        !is_full
    }

    fn observation_ended(&mut self, address: Option<IpAddr>) {
        self.observations -= 1;
        if let Some(count) = self.observers.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.observers.remove(&address);
            }
        }
    }
}

impl Conversation {
    /// Before the session stands: `Connect` has been asked, or will be.
    pub fn new(address: Option<IpAddr>) -> Self {
        let (pending, observations, transfers) = (Vec::new(), Vec::new(), Transfers::default());
        let (carriage, is_connected, sequence) = (Carriage::default(), false, 0);
        let demonstration = Demonstration::default();
        Self { carriage, address, is_connected, pending, observations, transfers, demonstration, sequence }
    }

    /// Whether anything waits or is observed here.
    pub fn is_busy(&self) -> bool {
        !self.pending.is_empty()
            || !self.observations.is_empty()
            || !self.transfers.is_empty()
            || !self.demonstration.is_empty()
    }

    /// Requests that the broker has not answered.
    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// When to call [`timeout`](Self::timeout); `u64::MAX` = never.
    pub fn due_ns(&self) -> u64 {
        self.transfers.due_ns().min(self.demonstration.due_ns())
    }

    /// The time that [`due_ns`](Self::due_ns) named has come (or a little earlier time).
    pub fn timeout(&mut self, hall: &mut Hall<'_>) {
        self.transfers.expire(hall.now);
        self.demonstrate_due(hall);
    }

    /// Begins what a request wants, which [`resources::wanted`] has found out.
    pub fn request(&mut self, request: RequestId, message: &Message, wanted: Wanted, hall: &mut Hall<'_>) {
        let (correlation, token) = (request, message.token);
        let (goal, asked) = match wanted {
            Wanted::Response(response) => {
                let (response, _) = Cut::of(message).apply(response, self.carriage, &hall.site.common.config);
                return hall.said.push_back(Said::Response { request, token, response });
            }
            Wanted::Part => return self.part(request, message, hall),
            Wanted::Demo(demo) => {
                let cut = Cut::of(message);
                let pending = Pending { request, token, goal: Goal::Demo, cut, operation: None, held: None };
                return self.demonstrate(demo, pending, hall);
            }
            Wanted::PublishIf(message, code, condition) => {
                let topic = message.topic.clone();
                (Goal::Check(message, code, condition), Request::Fetch { correlation, topic })
            }
            Wanted::Read(read) => (Goal::Read(read.clone()), Request::Fetch { correlation, topic: read.topic }),
            Wanted::Forget(read) => {
                self.end_observation(token, hall);
                (Goal::Read(read.clone()), Request::Fetch { correlation, topic: read.topic })
            }
            Wanted::Observe(read, guarantee) => match self.begin_observation(
                request,
                token,
                &read,
                guarantee,
                Cut::of(message).of_notifications(),
                hall,
            ) {
                Some(subscribe) => (Goal::Observe(read), subscribe),
                // Nobody has to be observed by everyone: without the option the value is the whole answer
                // (RFC 7641 §4.1).
                None => (Goal::Read(read.clone()), Request::Fetch { correlation, topic: read.topic }),
            },
            Wanted::Publish(message, code) => {
                // A token has even what is published at most once answered.
                let publish = Publish { message: *message, token: Some(correlation), correlation };
                (Goal::Publish(code), Request::Publish(publish))
            }
            Wanted::Pubsub(act) => match pubsub::begin(act, correlation, hall) {
                pubsub::Next::Ask(task, asked) => (Goal::Pubsub(Box::new(task)), asked),
                pubsub::Next::Respond(response) => {
                    return self.request(request, message, Wanted::Response(response), hall);
                }
            },
        };
        let held = match self.is_connected {
            true => {
                hall.asked.push_back(asked);
                None
            }
            false => Some(asked),
        };
        let cut = Cut::of(message);
        let operation = (message.code != Code::GET).then(|| Operation::of(message));
        self.pending.push(Pending { request, token, goal, cut, operation, held });
    }

    /// One block of a request's body, or of a response that is kept.
    fn part(&mut self, request: RequestId, message: &Message, hall: &mut Hall<'_>) {
        let common = &hall.site.common;
        let whole = if blocks::is_later_block(message) {
            self.transfers.kept(message).map_or_else(Wanted::Response, Wanted::Response)
        } else {
            match self.transfers.take(hall.now, message, self.carriage, common) {
                Ok(payload) => {
                    let whole = Message { payload, ..message.clone() };
                    return self.request(request, &whole, resources::wanted_whole(hall.now, &whole, common), hall);
                }
                Err(response) => Wanted::Response(response),
            }
        };
        self.request(request, message, whole, hall);
    }

    /// The value is here: publishes where the condition is true of it, else 4.12 (§5.10.8).
    fn checked(
        &mut self,
        pending: Pending,
        outcome: Result<Option<Arc<althing_core::Message>>, Refusal>,
        hall: &mut Hall<'_>,
    ) {
        let Pending { request, token, goal: Goal::Check(message, code, condition), cut, operation, held } = pending
        else {
            return;
        };
        let goal = Goal::Publish(code);
        let pending = Pending { request, token, goal, cut, operation, held };
        match outcome {
            Err(refusal) => self.respond(pending, Response::refusal(&refusal), hall),
            Ok(value) if condition.holds(value.as_deref()) => {
                let publish = Publish { message: *message, token: Some(request), correlation: request };
                hall.asked.push_back(Request::Publish(publish));
                self.pending.push(pending);
            }
            Ok(_) => {
                let text = "the value is not the one that If-Match or If-None-Match means";
                self.respond(pending, Response::error(Code::PRECONDITION_FAILED, text), hall);
            }
        }
    }

    /// What the broker says. `Refused` and `Close` are for [`fail`](Self::fail).
    pub fn answer(&mut self, answer: Answer, hall: &mut Hall<'_>) {
        match answer {
            Answer::Connected(_) => {
                self.is_connected = true;
                hall.asked.extend(self.pending.iter_mut().filter_map(|pending| pending.held.take()));
            }
            Answer::Published { correlation, guarantee, outcome } => {
                if guarantee == Guarantee::ExactlyOnce {
                    hall.asked.push_back(Request::Release { token: correlation });
                }
                let Some(pending) = self.take_pending(correlation) else { return };
                match &pending.goal {
                    Goal::Publish(success) => {
                        let response = match outcome {
                            Ok(_) => Response::new(*success),
                            Err(refusal) => Response::refusal(&refusal),
                        };
                        self.respond(pending, response, hall);
                    }
                    Goal::Pubsub(_) => self.go_on(pending, outcome.map(|_| None), hall),
                    Goal::Read(_) | Goal::Observe(_) | Goal::Check(..) | Goal::Demo => {}
                }
            }
            Answer::Fetched { correlation, outcome } => {
                let Some(pending) = self.take_pending(correlation) else { return };
                if matches!(pending.goal, Goal::Check(..)) {
                    return self.checked(pending, outcome, hall);
                }
                match &pending.goal {
                    Goal::Read(read) => {
                        let response = match outcome {
                            Ok(value) => resources::representation(hall.now, value.as_deref(), read, false),
                            Err(refusal) => Response::refusal(&refusal),
                        };
                        self.respond(pending, response, hall);
                    }
                    Goal::Observe(_) => self.first_response(pending, outcome, hall),
                    Goal::Pubsub(_) => self.go_on(pending, outcome, hall),
                    Goal::Publish(_) | Goal::Check(..) | Goal::Demo => {}
                }
            }
            Answer::Subscribed { correlation, results, .. } => self.subscribed(correlation, &results, hall),
            // Nobody waits for the end of a subscription or of a token, and nothing is received in two steps.
            Answer::Unsubscribed { .. } | Answer::Released { .. } | Answer::Complete { .. } => {}
            // The message layer has seen to these, and nobody authenticates.
            Answer::Refused(_) | Answer::Close(_) | Answer::Challenge(_) | Answer::Reauthenticated(_) => {}
        }
    }

    /// The session is over: everyone who waits or observes hears why.
    pub fn fail(&mut self, refusal: &Refusal, hall: &mut Hall<'_>) {
        for pending in std::mem::take(&mut self.pending) {
            self.respond(pending, Response::refusal(refusal), hall);
        }
        for _ in 0..self.demonstration.clear() {
            hall.site.observation_ended(self.address);
        }
        for observation in std::mem::take(&mut self.observations) {
            hall.site.observation_ended(self.address);
            hall.said.push_back(Said::Notification(Notification {
                token: observation.token,
                response: Response::refusal(refusal),
                guarantee: Guarantee::AtMostOnce,
                observer_check_s: hall.site.common.config.observer_check_s,
                settles: 0,
                is_last: true,
            }));
        }
    }

    /// The client is gone, without anybody to tell: what it held of the site is free again.
    pub fn leave(&mut self, site: &mut Site) {
        self.pending.clear();
        self.transfers.clear();
        for _ in 0..self.demonstration.clear() {
            site.observation_ended(self.address);
        }
        for _ in self.observations.drain(..) {
            site.observation_ended(self.address);
        }
    }

    /// What became of a notification: `settles` is its own, 0 changes nothing.
    pub fn told(&mut self, settles: u32, outcome: Outcome, hall: &mut Hall<'_>) {
        if settles != 0 {
            hall.asked.push_back(Request::Settle { number: settles, outcome });
        }
    }

    fn take_pending(&mut self, request: RequestId) -> Option<Pending> {
        let place = self.pending.iter().position(|pending| pending.request == request)?;
        Some(self.pending.remove(place))
    }

    /// Answers a request, as far as one message holds the answer.
    fn respond(&mut self, pending: Pending, response: Response, hall: &mut Hall<'_>) {
        let Pending { request, token, cut, operation, .. } = pending;
        let common = &hall.site.common;
        let (part, has_more) = cut.apply(response.clone(), self.carriage, &common.config);
        if let Some(operation) = operation.filter(|_| has_more) {
            self.transfers.keep(hall.now, operation, &response, common);
        }
        hall.said.push_back(Said::Response { request, token, response: part });
    }
}

/// Whether a request only reads: it may be carried out anew when it comes twice (§4.5, §5.1).
pub fn is_safe(message: &Message) -> bool {
    matches!(message.code, Code::GET | Code::FETCH)
        && !is_part(message)
        && message.options.get(crate::message::number::OBSERVE).is_none()
}

/// What a request is worth without a word about it: a confirmable one is at least once.
pub fn guarantee_of(kind: Kind) -> Guarantee {
    match kind {
        Kind::NonConfirmable => Guarantee::AtMostOnce,
        _ => Guarantee::AtLeastOnce,
    }
}
