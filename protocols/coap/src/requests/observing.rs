//! Observations (RFC 7641): a subscription of the session for each topic, a notification for each token.
//!
//! Every message is told, in order: observers of topics hear events, not only the newest state. What is at
//! least once has to arrive, and waits in the session's queue until its turn. Of what is at most once the
//! message layer may keep the newest alone.

use super::{Conversation, Cut, Goal, Hall, Notification, Pending, RequestId, Said};
use crate::message::{Code, Token};
use crate::resources::pubsub::{Properties, Seat, TopicId};
use crate::resources::{self, Read, Response, numbered};
use althing_core::topic::Filter;
use althing_core::verbs::{
    Outcome, Reason, Refusal, RetainHandling, Subscribe, SubscribeFilter, SubscriptionOptions, Unsubscribe,
};
use althing_core::{Delivery, Guarantee, Limits, Request, Topic};
use smallvec::SmallVec;
use std::sync::Arc;

/// A client's interest in a topic, named by the token of its request (RFC 7641 §3.1).
#[derive(Debug)]
pub(super) struct Observation {
    pub token: Token,
    read: Read,
    guarantee: Guarantee,
    /// Its place among the observers of a topic that has a configuration.
    seat: Option<Seat>,
    observer_check_s: u32,
    cut: Cut,
    /// The first response has left.
    is_live: bool,
    /// What came before the first response, which tells it.
    newest: Option<Arc<althing_core::Message>>,
}

impl Conversation {
    /// Notes an observation; the request that makes it true, or `None` when there may be no more. The same token
    /// again replaces what it stood for (RFC 7641 §3.1).
    pub(super) fn begin_observation(
        &mut self,
        correlation: RequestId,
        token: Token,
        read: &Read,
        guarantee: Guarantee,
        cut: Cut,
        hall: &mut Hall<'_>,
    ) -> Option<Request> {
        self.end_observation(token, hall);
        if !hall.site.observation_begins(self.address) {
            return None;
        }
        let common = &hall.site.common;
        let seat = read.state_of.map(|id| common.collection.sit(id));
        if matches!(seat, Some(None)) {
            hall.site.observation_ended(self.address);
            return None;
        }
        let entry = read.state_of.and_then(|id| common.collection.get(hall.now, id));
        let observer_check_s = entry.map_or(common.config.observer_check_s, |entry| entry.observer_check_s());
        self.observations.push(Observation {
            token,
            read: read.clone(),
            guarantee,
            cut,
            seat: seat.flatten(),
            observer_check_s,
            is_live: false,
            newest: None,
        });
        let of_topic = self.observations.iter().filter(|other| other.read.topic == read.topic);
        let guarantee = of_topic.map(|other| other.guarantee).max().unwrap_or(guarantee);
        let options =
            SubscriptionOptions { guarantee, retain_handling: RetainHandling::Never, ..SubscriptionOptions::default() };
        let limits = &hall.site.common.limits;
        let topics = topics_of(read, limits).into_iter();
        let filters = topics.map(|topic| SubscribeFilter { filter: filter_of(&topic, limits), options }).collect();
        Some(Request::Subscribe(Box::new(Subscribe { correlation, filters })))
    }

    /// Forgets an observation, and the subscription when no other needs it. Does nothing when there is none.
    pub fn end_observation(&mut self, token: Token, hall: &mut Hall<'_>) {
        if self.demonstration.forget(token) {
            hall.site.observation_ended(self.address);
            return hall.said.push_back(Said::Forget(token));
        }
        let Some(place) = self.observations.iter().position(|it| it.token == token) else { return };
        let ended = self.observations.remove(place);
        hall.site.observation_ended(self.address);
        hall.said.push_back(Said::Forget(token));
        self.unsubscribe_unobserved(&ended.read, hall);
    }

    /// Nobody is there any more: nothing is observed.
    pub fn end_observations(&mut self, hall: &mut Hall<'_>) {
        while let Some(token) = self.observations.last().map(|observation| observation.token) {
            self.end_observation(token, hall);
        }
        for token in self.demonstration.tokens() {
            self.end_observation(token, hall);
        }
    }

    /// Ends the subscription to a topic that nobody observes any more. Before the session stands nothing may be
    /// asked; [`subscribed`](Self::subscribed) sees to it then.
    fn unsubscribe_unobserved(&mut self, read: &Read, hall: &mut Hall<'_>) {
        let limits = &hall.site.common.limits;
        let is_observed =
            |topic: &Topic| self.observations.iter().any(|it| topics_of(&it.read, limits).contains(topic));
        let unobserved = topics_of(read, limits).into_iter().filter(|topic| !is_observed(topic));
        let filters: Vec<_> = unobserved.map(|topic| filter_of(&topic, limits)).collect();
        if self.is_connected && !filters.is_empty() {
            hall.asked.push_back(Request::Unsubscribe(Box::new(Unsubscribe { correlation: 0, filters })));
        }
    }

    /// The subscription stands everywhere, so that no change is missed: now the value.
    pub(super) fn subscribed(
        &mut self,
        correlation: RequestId,
        results: &[Result<Guarantee, Reason>],
        hall: &mut Hall<'_>,
    ) {
        let Some(pending) = self.pending.iter().find(|pending| pending.request == correlation) else { return };
        let Goal::Observe(read) = &pending.goal else { return };
        let read = read.clone();
        if let Some(Err(reason)) = results.first() {
            let refusal = Refusal::new(*reason, "this topic cannot be observed");
            let Some(pending) = self.take_pending(correlation) else { return };
            self.end_observation(pending.token, hall);
            return self.respond(pending, Response::refusal(&refusal), hall);
        }
        self.unsubscribe_unobserved(&read, hall);
        hall.asked.push_back(Request::Fetch { correlation, topic: read.topic });
    }

    /// The response that begins an observation. A change that has come meanwhile is newer than the value.
    pub(super) fn first_response(
        &mut self,
        pending: Pending,
        outcome: Result<Option<Arc<althing_core::Message>>, Refusal>,
        hall: &mut Hall<'_>,
    ) {
        let sequence = self.take_sequence();
        let observation = self.observations.iter_mut().find(|observation| observation.token == pending.token);
        let response = match (outcome, observation) {
            (Err(refusal), _) => Response::refusal(&refusal),
            // The client has let go of it meanwhile.
            (Ok(_), None) => Response::error(Code::NOT_FOUND, "the observation has ended"),
            (Ok(value), Some(observation)) => {
                let value = observation.newest.take().or(value);
                observation.is_live = true;
                let response = resources::representation(hall.now, value.as_deref(), &observation.read, true);
                numbered(response, sequence)
            }
        };
        if !response.code.is_success() {
            self.end_observation(pending.token, hall);
        }
        self.respond(pending, response, hall);
    }

    /// A message for this session.
    pub fn deliver(&mut self, delivery: &Delivery, hall: &mut Hall<'_>) {
        let first = hall.said.len();
        if delivery.message.topic.configured().is_some() {
            self.dismiss_surplus(&delivery.message, hall);
        }
        for place in 0..self.observations.len() {
            if self.observations[place].read.topic == delivery.message.topic {
                self.notify(place, delivery, hall);
            }
        }
        // Several observers of one session stand one behind the other: the last one settles the delivery.
        let is_to_arrive = |said: &&mut Said| matches!(said, Said::Notification(notification) if notification.guarantee > Guarantee::AtMostOnce);
        match hall.said.range_mut(first..).rev().find(is_to_arrive) {
            Some(Said::Notification(last)) => last.settles = delivery.number,
            _ => self.told(delivery.number, Outcome::Accept, hall),
        }
        let is_over = |said: &Said| match said {
            Said::Notification(notification) if notification.is_last => Some(notification.token),
            _ => None,
        };
        let over: Vec<Token> = hall.said.range(first..).filter_map(is_over).collect();
        for token in over {
            self.end_told(token, hall);
        }
    }

    /// Tells one observer.
    fn notify(&mut self, place: usize, delivery: &Delivery, hall: &mut Hall<'_>) {
        let sequence = self.take_sequence();
        let observation = &mut self.observations[place];
        if !observation.is_live {
            // What waits must not pin the buffer that it was read into.
            observation.newest = Some(Arc::new(delivery.message.detached()));
            return;
        }
        let response = resources::representation(hall.now, Some(&delivery.message), &observation.read, true);
        let is_last = !response.code.is_success();
        let (response, _) = observation.cut.apply(response, self.carriage, &hall.site.common.config);
        hall.said.push_back(Said::Notification(Notification {
            token: observation.token,
            response: numbered(response, sequence),
            guarantee: observation.guarantee.min(delivery.guarantee),
            observer_check_s: observation.observer_check_s,
            settles: 0,
            is_last,
        }));
    }

    /// The configuration of a topic has changed or is gone: who observes it and may not any more hears it, the newest first.
    fn dismiss_surplus(&mut self, configuration: &althing_core::Message, hall: &mut Hall<'_>) {
        let Some(topic) = configuration.topic.configured().map(TopicId::of) else { return };
        let observers_max = match Properties::decode(&configuration.payload) {
            _ if configuration.payload.is_empty() => 0,
            Ok(properties) => properties.max_subscribers.unwrap_or(u32::MAX),
            Err(_) => return,
        };
        let is_surplus = |seat: &Seat| seat.topic() == topic && !seat.is_within(observers_max);
        for observation in self.observations.iter().filter(|it| it.seat.as_ref().is_some_and(is_surplus)) {
            hall.said.push_back(Said::Notification(Notification {
                token: observation.token,
                response: Response::error(Code::NOT_FOUND, "this topic cannot be observed any more"),
                guarantee: Guarantee::AtMostOnce,
                observer_check_s: observation.observer_check_s,
                settles: 0,
                is_last: true,
            }));
        }
    }

    /// Forgets an observation whose last notification is on its way (RFC 7641 §4.2).
    fn end_told(&mut self, token: Token, hall: &mut Hall<'_>) {
        let Some(place) = self.observations.iter().position(|it| it.token == token) else { return };
        let ended = self.observations.remove(place);
        hall.site.observation_ended(self.address);
        self.unsubscribe_unobserved(&ended.read, hall);
    }

    /// A number for an Observe option: 24 bits (RFC 7641 §4.4).
    pub(super) fn take_sequence(&mut self) -> u32 {
        self.sequence = (self.sequence + 1) & 0xff_ffff;
        self.sequence
    }
}

/// What an observation subscribes to: its topic, and where that has a configuration, that too.
fn topics_of(read: &Read, limits: &Limits) -> SmallVec<[Topic; 2]> {
    let configuration = read.state_of.and_then(|_| read.topic.configuration(&limits.topic).ok());
    [read.topic.clone()].into_iter().chain(configuration).collect()
}

fn filter_of(topic: &Topic, limits: &Limits) -> Result<Filter, Reason> {
    Filter::new(topic.text().clone(), &limits.topic).map_err(|_| Reason::TopicFilterInvalid)
}
