//! Observations (RFC 7641): a subscription of the session for each topic, a notification for each token.
//!
//! Every message is told, in order: observers of topics hear events, not only the newest state. What is at
//! least once goes out confirmable, one at a time, and waits in the session's queue until its turn. What is at most
//! once goes out non-confirmable, as long as the address has confirmed something lately; before that, and while
//! something is under way, only the newest value waits.

use super::Turn;
use super::endpoint::{Endpoint, Goal, Observation, Outgoing, Reply, What};
use crate::codec::encode;
use crate::message::{Code, Kind, Token, number};
use crate::resource::{self, Read, Response};
use althing_core::topic::Filter;
use althing_core::verbs::{
    Outcome, Reason, Refusal, RetainHandling, Subscribe, SubscribeFilter, SubscriptionOptions, Unsubscribe,
};
use althing_core::{Delivery, Guarantee, Limits, Request, Topic};
use smallvec::SmallVec;
use std::sync::Arc;

/// Makes the request once its correlation is known.
pub(super) type WithCorrelation = Box<dyn FnOnce(u32) -> Request>;

impl Endpoint {
    /// Notes an observation; the request that makes it true, or `None` when there may be no more. The same token
    /// again replaces what it stood for (RFC 7641 §3.1).
    pub fn begin_observation(
        &mut self,
        token: Token,
        read: &Read,
        guarantee: Guarantee,
        turn: &mut Turn<'_, '_>,
    ) -> Option<WithCorrelation> {
        if self.observation(token).is_some() {
            self.end_observation(token, turn);
        }
        if !turn.shared.observation_begins(turn.remote.ip()) {
            return None;
        }
        let observation =
            Observation { token, read: read.clone(), guarantee, is_live: false, newest: None, last_id: None };
        self.observations.push(observation);
        let of_topic = self.observations.iter().filter(|other| other.read.topic == read.topic);
        let guarantee = of_topic.map(|other| other.guarantee).max().unwrap_or(guarantee);
        let options =
            SubscriptionOptions { guarantee, retain_handling: RetainHandling::Never, ..SubscriptionOptions::default() };
        let filter = filter_of(&read.topic, &turn.shared.limits);
        Some(Box::new(move |correlation| {
            let filters = vec![SubscribeFilter { filter, options }];
            Request::Subscribe(Box::new(Subscribe { correlation, filters }))
        }))
    }

    /// Forgets an observation, and the subscription when no other needs it.
    pub fn end_observation(&mut self, token: Token, turn: &mut Turn<'_, '_>) {
        let Some(place) = self.observations.iter().position(|observation| observation.token == token) else { return };
        let ended = self.observations.remove(place);
        turn.shared.observation_ended(turn.remote.ip());
        let is_of_it = |outgoing: &Outgoing| outgoing.token == token && matches!(outgoing.what, What::Notification(_));
        let (void, outgoing) = std::mem::take(&mut self.outgoing).into_iter().partition::<Vec<_>, _>(is_of_it);
        self.outgoing = outgoing.into();
        for outgoing in void {
            self.settle(outgoing.settles, Outcome::Discard, turn);
        }
        self.unsubscribe_unobserved(&ended.read.topic, turn);
    }

    /// Ends the subscription to a topic that nobody observes any more. Before the session stands nothing may be
    /// asked; [`subscribed`](Self::subscribed) sees to it then.
    fn unsubscribe_unobserved(&mut self, topic: &Topic, turn: &mut Turn<'_, '_>) {
        if self.is_connected && !self.observations.iter().any(|other| other.read.topic == *topic) {
            let filters = vec![filter_of(topic, &turn.shared.limits)];
            let unsubscribe = Unsubscribe { correlation: 0, filters };
            turn.out.requests.push_back((self.peer, Request::Unsubscribe(Box::new(unsubscribe))));
        }
    }

    /// The subscription stands everywhere, so that no change is missed: now the value.
    pub fn subscribed(&mut self, correlation: u32, results: &[Result<Guarantee, Reason>], turn: &mut Turn<'_, '_>) {
        let Some(pending) = self.pending.iter().find(|pending| pending.correlation == correlation) else { return };
        let Goal::Observe(read) = &pending.goal else { return };
        match results.first() {
            Some(Err(reason)) => {
                let refusal = Refusal::new(*reason, "this topic cannot be observed");
                let Some(pending) = self.take_pending(correlation) else { return };
                self.end_observation(pending.reply.token, turn);
                self.respond(pending.reply, Response::refusal(&refusal), turn);
            }
            _ => {
                let topic = read.topic.clone();
                self.unsubscribe_unobserved(&topic, turn);
                turn.out.requests.push_back((self.peer, Request::Fetch { correlation, topic }));
            }
        }
    }

    /// The response that begins an observation. A change that has come meanwhile is newer than the value.
    pub fn first_response(
        &mut self,
        reply: Reply,
        outcome: Result<Option<Arc<althing_core::Message>>, Refusal>,
        turn: &mut Turn<'_, '_>,
    ) {
        let sequence = self.take_sequence();
        let response = match (outcome, self.observation(reply.token)) {
            (Err(refusal), _) => Response::refusal(&refusal),
            // The client has let go of it meanwhile.
            (Ok(_), None) => Response::error(Code::NOT_FOUND, "the observation has ended"),
            (Ok(value), Some(observation)) => {
                let value = observation.newest.take().or(value);
                observation.is_live = true;
                let config = &turn.shared.config;
                let mut response =
                    resource::representation(turn.now, value.as_deref(), &observation.read, true, config);
                if response.code.is_success() {
                    response.options.add_uint(number::OBSERVE, sequence);
                }
                response
            }
        };
        if !response.code.is_success() {
            self.end_observation(reply.token, turn);
        }
        self.respond(reply, response, turn);
    }

    /// A message for this session.
    pub fn deliver(&mut self, delivery: &Delivery, turn: &mut Turn<'_, '_>) {
        let observers = self.observations.iter().filter(|it| it.read.topic == delivery.message.topic);
        let observers: SmallVec<[(Token, Guarantee); 4]> = observers.map(|it| (it.token, it.guarantee)).collect();
        let mut has_confirmable = false;
        for (token, guarantee) in observers {
            has_confirmable |= self.notify(token, guarantee.min(delivery.guarantee), &delivery.message, turn);
        }
        // Several observers of one session stand one behind the other: the last one settles the delivery.
        let last = self.outgoing.iter_mut().rfind(|outgoing| !outgoing.is_replaceable);
        match last.filter(|_| has_confirmable) {
            Some(last) => last.settles = delivery.number,
            None => self.settle(delivery.number, Outcome::Accept, turn),
        }
        self.pump(turn);
    }

    /// Tells one observer; returns whether a message that must arrive waits for its turn now.
    fn notify(
        &mut self,
        token: Token,
        guarantee: Guarantee,
        value: &Arc<althing_core::Message>,
        turn: &mut Turn<'_, '_>,
    ) -> bool {
        let Some(observation) = self.observation(token) else { return false };
        if !observation.is_live {
            observation.newest = Some(Arc::new(value.detached()));
            return false;
        }
        let is_of_it = |outgoing: &Outgoing| outgoing.token == token;
        let is_under_way =
            self.in_flight.as_ref().is_some_and(|it| it.token == token) || self.outgoing.iter().any(is_of_it);
        let is_replaceable = guarantee == Guarantee::AtMostOnce;
        if is_replaceable && !is_under_way && self.is_confirmed(turn.now, turn.shared.config.observer_check_s) {
            self.tell(token, value, turn);
            return false;
        }
        // What waits must not pin the buffer that it was read into.
        let value = if self.in_flight.is_some() { Arc::new(value.detached()) } else { value.clone() };
        let what = What::Notification(value);
        if is_replaceable
            && let Some(older) = self.outgoing.iter_mut().find(|it| it.token == token && it.is_replaceable)
        {
            older.what = what;
            return false;
        }
        self.outgoing.push_back(Outgoing { token, what, settles: 0, is_replaceable });
        !is_replaceable
    }

    /// A notification that nobody confirms.
    fn tell(&mut self, token: Token, value: &Arc<althing_core::Message>, turn: &mut Turn<'_, '_>) {
        let id = self.take_id();
        let Some(response) = self.notification(token, id, value, turn) else { return };
        let ends = !response.code.is_success();
        let message = super::message_of(Kind::NonConfirmable, id, token, response);
        turn.out.datagrams.push_with(turn.remote, |bytes| encode(&message, bytes));
        if ends {
            self.end_observation(token, turn);
        }
    }
}

fn filter_of(topic: &Topic, limits: &Limits) -> Result<Filter, Reason> {
    Filter::new(topic.text().clone(), &limits.topic).map_err(|_| Reason::TopicFilterInvalid)
}
