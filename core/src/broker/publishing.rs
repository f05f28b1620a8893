//! A publish, from its authorisation to everyone who gets it.

use super::Broker;
use super::delivery::Incoming;
use super::policing::keep_allowed;
use crate::authorisation::{Action, Authorised, authorise, authorise_kept_will, authorise_publish};
use crate::effects::{Effects, Event};
use crate::limits::Overflow;
use crate::message::{Guarantee, Message};
use crate::queue::Tags;
use crate::record::{self, QueueKey, Record};
use crate::routes::{Route, Subscriber};
use crate::session::{Session, Then};
use crate::shard::{Word, between};
use crate::time::Now;
use crate::topic::Topic;
use crate::verbs::{Accepted, Answer, Publish, Reason, Refusal};
use std::sync::Arc;

/// Where a message went.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Distributed {
    /// Whether anybody here, or any interest elsewhere, matched.
    pub matched: bool,
    /// Other shards that owe a `Done`.
    pub waits: u32,
}

impl Broker {
    pub(super) fn publish_from(&mut self, now: Now, index: u32, publish: Publish, effects: &mut Effects) {
        self.statistics.publishes_received += 1;
        let Publish { message, token, correlation } = publish;
        let guarantee = message.guarantee;
        let answered = guarantee != Guarantee::AtMostOnce || token.is_some();
        let token = token.filter(|_| guarantee == Guarantee::ExactlyOnce);
        let Some(session) = self.sessions.get(index) else { return };
        // A repeat costs as much as any message, but it is not refused: its answer is owed.
        let metered = if session.is_metered { self.meter(now, index, &message, effects) } else { Ok(()) };
        let Some(session) = self.sessions.get(index) else { return };
        if let Some(token) = token
            && session.tokens.binary_search(&token).is_ok()
        {
            // A repeat: the message was taken before, only its answer was lost ([MQTT-4.3.3-10]).
            let answer = Answer::Published { correlation, guarantee, outcome: Ok(Accepted { matched: true }) };
            return self.answer(now, index, (0, 0), answer, Then::Nothing, effects);
        }
        // With its token the step says that the message was taken, so nobody will send it again.
        let is_last = token.is_some() && session.stored;
        let operation = if answered { self.new_operation() } else { 0 };
        let distributed = match metered.and_then(|()| self.check_room(&message)) {
            Ok(()) => self.publish_as(now, index, message, is_last, operation, effects),
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = &distributed {
            self.count_refused(index, refusal, effects);
        }
        if let (Ok(_), Some(token)) = (&distributed, token) {
            self.hold_token(index, token, effects);
        }
        let waits = distributed.as_ref().map_or(0, |distributed| distributed.waits);
        let outcome = distributed.map(|distributed| Accepted { matched: distributed.matched });
        if answered {
            let answer = Answer::Published { correlation, guarantee, outcome };
            self.answer(now, index, (operation, waits), answer, Then::Nothing, effects);
        }
    }

    /// Counts a message that was refused; says so once for each power of two, so that a flood of messages is no flood of
    /// words. Missing rights have been told.
    fn count_refused(&mut self, index: u32, refusal: &Refusal, effects: &mut Effects) {
        self.statistics.publishes_refused += 1;
        let Some(session) = self.sessions.get_mut(index) else { return };
        session.refusals += 1;
        if session.refusals.is_power_of_two() && refusal.reason != Reason::NotAuthorised {
            let (client, count) = (session.principal.client.clone(), session.refusals);
            let why = format!("message refused: {refusal} ({count} of its messages refused by now)");
            effects.events.push(Event::Refused { client, reason: refusal.reason, why });
        }
    }

    /// Counts a message that reached nobody and is kept for nobody; says so once for each power of two.
    fn count_unheard(&mut self, index: u32, topic: &Topic, effects: &mut Effects) {
        self.statistics.publishes_unheard += 1;
        let Some(session) = self.sessions.get_mut(index) else { return };
        session.unheard += 1;
        if session.unheard.is_power_of_two() {
            let (client, count) = (session.principal.client.clone(), session.unheard);
            effects.events.push(Event::Unheard { client, topic: topic.detached(), count });
        }
    }

    /// Publishes in a session's name, with its rights. `is_last`: once this step is durable nobody will publish it again.
    pub(super) fn publish_as(
        &mut self,
        now: Now,
        index: u32,
        mut message: Message,
        is_last: bool,
        operation: u64,
        effects: &mut Effects,
    ) -> Result<Distributed, Refusal> {
        message.origin = self.origin_of(index, Action::publish(&message), message.retain);
        let Some(session) = self.sessions.get_mut(index) else {
            return Err(Refusal::new(Reason::Unspecified, "the session is gone"));
        };
        match authorise_publish(&self.policy, &mut session.standing, &session.principal, message) {
            Ok(message) => self.distribute(now, message.shared(), Some(index), is_last, operation, effects),
            Err(why) => {
                let (client, why) = (session.principal.client.clone(), why.to_string());
                effects.events.push(Event::Refused { client, reason: Reason::NotAuthorised, why });
                Err(Refusal::new(Reason::NotAuthorised, "you may not publish to this topic"))
            }
        }
    }

    /// Publishes a session's will, with the rights that its owner has now.
    pub(super) fn publish_as_will(
        &mut self,
        now: Now,
        index: u32,
        mut message: Message,
        effects: &mut Effects,
    ) -> Result<Distributed, Refusal> {
        let Some(session) = self.sessions.get(index) else {
            return Err(Refusal::new(Reason::Unspecified, "the session is gone"));
        };
        let is_last = session.stored;
        let authorised = if session.principal.is_remembered() {
            authorise_kept_will(&self.policy, &session.principal, message)
        } else {
            message.origin = self.origin_of(index, Action::publish(&message), message.retain);
            let Some(session) = self.sessions.get(index) else { return Ok(Distributed::default()) };
            authorise(&self.policy, &session.principal, message, |message| Action::will(message))
        };
        match authorised {
            Ok(message) => self.distribute(now, message.shared(), Some(index), is_last, 0, effects),
            Err(why) => Err(Refusal::new(Reason::NotAuthorised, why.to_string())),
        }
    }

    /// Refuses what would have to be stored while the store has no room. What other shards would do with it is not known
    /// here, so it is refused as well. Wills are taken in any case: their owners were promised it.
    pub(super) fn check_room(&mut self, message: &Message) -> Result<(), Refusal> {
        if self.has_room {
            return Ok(());
        }
        let route = self.route(&message.topic)?;
        let stores = |subscriber: &Subscriber| {
            let session = self.sessions.get(subscriber.session).filter(|session| session.stored);
            session.is_some() && subscriber.options.guarantee > Guarantee::AtMostOnce
        };
        let is_queue = message.topic.queue().is_some();
        let is_stored = message.guarantee > Guarantee::AtMostOnce
            && (is_queue
                || !route.shards.is_empty()
                || route.subscribers.iter().any(stores)
                || route.groups.iter().any(|route| self.is_durable_group(route.group)));
        let is_retained = message.retain && !is_queue && !message.payload.is_empty();
        if is_stored || is_retained {
            return Err(Refusal::new(Reason::StoreFull, "the store is full"));
        }
        Ok(())
    }

    /// Gives a message to everyone who wants it. Only authorised ones come this far.
    pub(super) fn distribute(
        &mut self,
        now: Now,
        message: Authorised<Arc<Message>>,
        publisher: Option<u32>,
        is_last: bool,
        operation: u64,
        effects: &mut Effects,
    ) -> Result<Distributed, Refusal> {
        let queue_owner = self.queue_owner(&message.peek().topic);
        if queue_owner == Some(self.shard) {
            self.stand_queue(&message.peek().topic)?;
        }
        let route = self.route(&message.peek().topic)?;
        if self.limits.queue_overflow == Overflow::Refuse && !self.has_room(&route, message.peek()) {
            return Err(Refusal::new(Reason::QuotaExceeded, "a queue of this topic is full"));
        }
        let mut incoming = Incoming::new(message.peek().clone(), publisher);
        // A queue keeps every message until somebody takes it; it has no last value.
        let is_retained = incoming.message.retain && queue_owner.is_none();
        let owner = is_retained.then(|| self.owner_of(&incoming.message.topic));
        if owner == Some(self.shard) {
            self.retain(&mut incoming, effects)?;
        }
        self.deliver_here(now, &route, &mut incoming, effects);
        if let Some(watch) = &mut self.watch {
            watch.see(&incoming.message, now.wall_ms);
        }
        let mut waits = 0;
        let elsewhere = owner.or(queue_owner).filter(|owner| *owner != self.shard && !route.shards.contains(owner));
        for shard in route.shards.iter().copied().chain(elsewhere) {
            let place = if is_last { self.store_between(shard, &mut incoming, effects) } else { 0 };
            let word = Word::Forward { message: message.clone(), retain: owner == Some(shard), place, operation };
            effects.forward.push((shard, word));
            waits += u32::from(operation != 0);
        }
        let matched = !route.subscribers.is_empty() || !route.groups.is_empty();
        if let Some(publisher) = publisher
            && !matched
            && owner.is_none()
            && queue_owner.is_none()
            && route.shards.is_empty()
        {
            self.count_unheard(publisher, &message.peek().topic, effects);
        }
        Ok(Distributed { matched, waits })
    }

    /// Keeps a message on its way to another shard; returns its place.
    fn store_between(&mut self, to: u16, incoming: &mut Incoming, effects: &mut Effects) -> i64 {
        let (queue, sequence, message) = (between(self.shard, to), self.place_behind(), incoming.kept());
        let group = if let QueueKey::Group(text) = &queue { Some(text.clone()) } else { None };
        let terms = record::Terms { group, ..Default::default() };
        effects.store.push(Record::Queued { queue, sequence, message, terms });
        sequence
    }

    /// A message that another shard distributes; `place` is where it is stored until now.
    #[allow(clippy::too_many_arguments, reason = "the parts of one word")]
    pub(super) fn take_forwarded(
        &mut self,
        now: Now,
        from: u16,
        message: Authorised<Arc<Message>>,
        retain: bool,
        place: i64,
        operation: u64,
        effects: &mut Effects,
    ) {
        if place != 0 {
            effects.store.push(Record::Settled { queue: between(from, self.shard), sequence: place });
        }
        let mut matched = false;
        if self.queue_owner(&message.peek().topic) == Some(self.shard)
            && let Err(refusal) = self.stand_queue(&message.peek().topic)
        {
            effects.events.push(Event::Refused { client: "".into(), reason: refusal.reason, why: refusal.text.into() });
        }
        if let Ok(route) = self.route(&message.peek().topic) {
            let mut incoming = Incoming::new(message.get(), None);
            if retain && let Err(refusal) = self.retain(&mut incoming, effects) {
                effects.events.push(Event::Refused {
                    client: "".into(),
                    reason: refusal.reason,
                    why: refusal.text.into(),
                });
            }
            self.deliver_here(now, &route, &mut incoming, effects);
            matched = !route.subscribers.is_empty() || !route.groups.is_empty();
        }
        self.reply_when_stored(from, operation, matched, effects);
    }

    fn route(&mut self, topic: &Topic) -> Result<Arc<Route>, Refusal> {
        let Self { routes, policy, sessions, groups, .. } = self;
        routes.find(topic, |route| keep_allowed(route, topic, policy, sessions, groups)).map_err(|_| {
            let text = "matching this topic against all subscriptions costs more than one publish may";
            Refusal::new(Reason::QuotaExceeded, text)
        })
    }

    /// Which shard keeps a topic's last value.
    pub(super) fn owner_of(&self, topic: &Topic) -> u16 {
        self.place_of(topic.as_str())
    }

    /// Keeps (or, when it is empty, clears) a topic's last value (§3.3.1.3).
    fn retain(&mut self, incoming: &mut Incoming, effects: &mut Effects) -> Result<(), Refusal> {
        let topic = incoming.message.topic.clone();
        let message = (!incoming.message.payload.is_empty()).then(|| incoming.kept());
        if let Some(message) = &message {
            self.may_retain(message, incoming.publisher)?;
        }
        let before = self.last_value_author(&topic);
        match &message {
            Some(message) => self
                .retained
                .set(message.clone())
                .map_err(|_| Refusal::new(Reason::QuotaExceeded, "the broker retains as many messages as it may"))?,
            None => {
                self.retained.clear(&topic);
            }
        }
        self.count_last_value(before, message.as_deref());
        // What the broker says of itself it says anew after a start.
        if !topic.is_reserved() || topic.configured().is_some() {
            effects.store.push(Record::Retained { topic: topic.detached(), message });
        }
        Ok(())
    }

    fn deliver_here(&mut self, now: Now, route: &Route, incoming: &mut Incoming, effects: &mut Effects) {
        for overlapping in route.subscribers.chunk_by(|a, b| a.session == b.session) {
            let separate = overlapping.len() > 1
                && self.sessions.get(overlapping[0].session).is_some_and(|session| session.separate_subscriptions);
            for together in overlapping.chunks(if separate { 1 } else { overlapping.len() }) {
                if let Some((index, terms)) = merge(together, incoming) {
                    self.offer(now, index, incoming, terms, effects);
                }
            }
        }
        for group in &route.groups {
            self.offer_group(now, group, incoming, effects);
        }
    }

    fn has_room(&self, route: &Route, message: &Message) -> bool {
        let size = message.size_bytes();
        let session_has_room = |subscriber: &Subscriber| {
            let is_full = |session: &Session| self.is_full(&session.queue, size);
            !self.sessions.get(subscriber.session).is_some_and(is_full)
                && !self.lacks_queue_bytes(subscriber.session, size)
        };
        message.guarantee == Guarantee::AtMostOnce
            || route.subscribers.iter().all(session_has_room)
                && route.groups.iter().all(|route| self.group_has_room(route.group, size))
    }

    fn hold_token(&mut self, index: u32, token: u32, effects: &mut Effects) {
        let Some(session) = self.sessions.get_mut(index) else { return };
        if let Err(position) = session.tokens.binary_search(&token) {
            session.tokens.insert(position, token);
        }
        if session.stored {
            effects.store.push(Record::TokenHeld { session: session.key(), token });
        }
    }

    /// The publisher lets go of a token (PUBREL). Its removal must be durable before the answer: a token
    /// that came back after a crash would swallow a new message.
    pub(super) fn release_token(&mut self, now: Now, index: u32, token: u32, effects: &mut Effects) {
        let Some(session) = self.sessions.get_mut(index) else { return };
        let position = session.tokens.binary_search(&token).ok();
        if let Some(position) = position {
            session.tokens.remove(position);
            if session.tokens.is_empty() {
                session.tokens = Vec::new();
            }
            if session.stored {
                effects.store.push(Record::TokenReleased { session: session.key(), token });
            }
        }
        let answer = Answer::Released { token, known: position.is_some() };
        self.answer(now, index, (0, 0), answer, Then::Nothing, effects);
    }
}

/// How one delivery should look.
#[derive(Debug)]
pub(super) struct Terms {
    pub guarantee: Guarantee,
    pub retain: bool,
    pub tags: Tags,
}

/// One session's overlapping subscriptions make one copy, at the highest guarantee, with all
/// identifiers (§3.3.4). `None` when all of them decline what the session itself published.
fn merge(overlapping: &[Subscriber], incoming: &Incoming) -> Option<(u32, Terms)> {
    let index = overlapping.first()?.session;
    let own = incoming.publisher == Some(index);
    let mut terms: Option<Terms> = None;
    for options in overlapping.iter().map(|subscriber| &subscriber.options) {
        if own && options.no_local {
            continue;
        }
        let terms = terms.get_or_insert(Terms { guarantee: Guarantee::AtMostOnce, retain: false, tags: Tags::new() });
        terms.guarantee = terms.guarantee.max(options.guarantee);
        terms.retain |= options.retain_as_published;
        if options.tag != 0 {
            terms.tags.push(options.tag);
        }
    }
    let mut terms = terms?;
    terms.guarantee = terms.guarantee.min(incoming.message.guarantee);
    terms.retain &= incoming.message.retain;
    Some((index, terms))
}
