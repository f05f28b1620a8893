//! Subscriptions: made, changed, ended; and the last values that a new one receives.

use super::Broker;
use super::delivery::Incoming;
use super::publishing::Terms;
use crate::authorisation::{Action, Authorised, authorise};
use crate::effects::{Effects, Event};
use crate::group::SessionRef;
use crate::message::{Guarantee, Message};
use crate::queue::{Entry, Tags};
use crate::record::Record;
use crate::routes::Subscriber;
use crate::session::{Snapshot, Then};
use crate::shard::Word;
use crate::time::Now;
use crate::topic::Filter;
use crate::tree::NodeId;
use crate::verbs::{
    Answer, Reason, Refusal, RetainHandling, Subscribe, SubscribeFilter, SubscriptionOptions, Unsubscribe,
};
use std::borrow::Cow;
use std::sync::Arc;

impl Broker {
    pub(super) fn subscribe(&mut self, now: Now, index: u32, subscribe: Subscribe, effects: &mut Effects) {
        let operation = self.new_operation();
        let (mut waits, mut wanted) = (0, Vec::new());
        let mut results = Vec::with_capacity(subscribe.filters.len());
        let mut why = Cow::Borrowed("");
        for (position, SubscribeFilter { filter, options }) in subscribe.filters.into_iter().enumerate() {
            if position >= self.limits.filters_per_request_max {
                results.push(Err(Reason::QuotaExceeded));
                continue;
            }
            let admitted = filter.and_then(|filter| {
                self.admit(index, filter, effects).map_err(|refusal| {
                    if why.is_empty() {
                        why = refusal.text;
                    }
                    refusal.reason
                })
            });
            results.push(admitted.map(|filter| {
                let guarantee = options.guarantee.min(filter.guarantee_max());
                let options = SubscriptionOptions { guarantee, ..options };
                let is_new = self.subscribe_one(now, index, &filter, options, operation, &mut waits, effects);
                let snapshot = match options.retain_handling {
                    RetainHandling::Always => true,
                    RetainHandling::IfNew => is_new,
                    RetainHandling::Never => false,
                };
                let filter = filter.get();
                // No last values for shared subscriptions (§4.8.2).
                if snapshot && !filter.is_shared() {
                    let operation = self.expect_snapshots(index, &filter);
                    wanted.push((filter, options, operation));
                }
                options.guarantee
            }));
        }
        self.statistics.subscriptions_refused += results.iter().filter(|result| result.is_err()).count() as u64;
        self.count_use(index);
        let answer = Answer::Subscribed { correlation: subscribe.correlation, results, why };
        self.answer(now, index, (operation, waits), answer, Then::Retained(wanted), effects);
    }

    /// Whether a session may have this subscription.
    fn admit(&mut self, index: u32, filter: Filter, effects: &mut Effects) -> Result<Authorised<Filter>, Refusal> {
        let is_new = !self.has_subscription(index, &filter);
        let lacks = self.lacks_subscriptions(index).filter(|_| is_new);
        let gone = || Refusal::new(Reason::Unspecified, "the session is gone");
        let session = self.sessions.get(index).ok_or_else(gone)?;
        let client = session.principal.client.clone();
        let mut refuse = |reason, why: String, told: String| {
            effects.events.push(Event::Refused { client: client.clone(), reason, why });
            Err(Refusal::new(reason, told))
        };
        if let Some(lacks) = lacks {
            let why = format!("{filter} not subscribed: {lacks}");
            return refuse(Reason::QuotaExceeded, why.clone(), why);
        }
        if is_new && session.subscriptions_len() >= self.limits.subscriptions_per_session_max {
            let why = format!("{filter} not subscribed: the session has as many subscriptions as it may");
            return refuse(Reason::QuotaExceeded, why.clone(), why);
        }
        let shown = filter.clone();
        // The rule is nobody's business but the administrators'.
        authorise(&self.policy, &session.principal, filter, |filter| Action::Subscribe(filter))
            .or_else(|why| refuse(Reason::NotAuthorised, why.to_string(), format!("you may not subscribe to {shown}")))
    }

    fn has_subscription(&self, index: u32, filter: &Filter) -> bool {
        let Some(session) = self.sessions.get(index) else { return false };
        if filter.is_shared() {
            return session.shared.as_ref().is_some_and(|shared| shared.contains_key(filter));
        }
        self.routes.find_node(filter.pattern()).is_some_and(|node| session.subscriptions.contains_key(&node))
    }

    /// Makes or replaces one subscription; returns whether it is new.
    #[allow(clippy::too_many_arguments, reason = "a step of subscribe alone")]
    pub(super) fn subscribe_one(
        &mut self,
        now: Now,
        index: u32,
        filter: &Authorised<Filter>,
        options: SubscriptionOptions,
        operation: u64,
        waits: &mut u32,
        effects: &mut Effects,
    ) -> bool {
        let filter = filter.peek();
        if let Some(session) = self.sessions.get(index).filter(|session| session.stored) {
            let session = session.key();
            effects.store.push(Record::Subscribed { session, filter: filter.detached(), options });
        }
        self.make_subscription(now, index, filter, options, operation, waits, effects)
    }

    /// Makes or replaces a subscription that the store knows of, if it needs to.
    #[allow(clippy::too_many_arguments, reason = "a step of subscribe alone")]
    pub(super) fn make_subscription(
        &mut self,
        now: Now,
        index: u32,
        filter: &Filter,
        options: SubscriptionOptions,
        operation: u64,
        waits: &mut u32,
        effects: &mut Effects,
    ) -> bool {
        let is_new = if filter.is_shared() {
            self.join(now, index, filter, options, operation, waits, effects)
        } else {
            let node = self.routes.node(filter.pattern());
            let is_new = self.subscribe_plain(index, node, options);
            if self.shards > 1 {
                let word = Word::Interest { pattern: filter.pattern().into(), wanted: true, operation };
                *waits += self.tell_all(&word, effects);
            }
            is_new
        };
        let counter = if filter.is_shared() {
            &mut self.statistics.shared_subscriptions
        } else {
            &mut self.statistics.subscriptions
        };
        *counter += u64::from(is_new);
        is_new
    }

    fn subscribe_plain(&mut self, index: u32, node: NodeId, options: SubscriptionOptions) -> bool {
        let Some(session) = self.sessions.get_mut(index) else { return false };
        let subscriber = Subscriber { session: index, options };
        match session.subscriptions.get(&node) {
            Some(position) => {
                self.routes.replace(node, *position, subscriber);
                false
            }
            None => {
                let position = self.routes.add(node, subscriber);
                session.subscriptions.insert(node, position);
                true
            }
        }
    }

    pub(super) fn unsubscribe(&mut self, now: Now, index: u32, unsubscribe: Unsubscribe, effects: &mut Effects) {
        let results = unsubscribe
            .filters
            .into_iter()
            .map(|filter| filter.map(|filter| self.unsubscribe_one(now, index, &filter, effects)))
            .collect();
        self.count_use(index);
        let answer = Answer::Unsubscribed { correlation: unsubscribe.correlation, results };
        self.answer(now, index, (0, 0), answer, Then::Nothing, effects);
    }

    pub(super) fn unsubscribe_one(&mut self, now: Now, index: u32, filter: &Filter, effects: &mut Effects) -> bool {
        let Some(session) = self.sessions.get_mut(index) else { return false };
        let existed = if filter.is_shared() {
            let existed = session.shared.as_mut().is_some_and(|shared| shared.remove(filter).is_some());
            session.shared.take_if(|shared| shared.is_empty());
            if existed {
                self.statistics.shared_subscriptions -= 1;
                self.leave(now, index, filter, effects);
                // What went back to the group has left room for others.
                self.drain(now, index, effects);
            }
            existed
        } else {
            self.routes.find_node(filter.pattern()).is_some_and(|node| self.unsubscribe_plain(index, node, effects))
        };
        if existed && let Some(session) = self.sessions.get(index).filter(|session| session.stored) {
            let session = session.key();
            effects.store.push(Record::Unsubscribed { session, filter: filter.detached() });
        }
        existed
    }

    fn unsubscribe_plain(&mut self, index: u32, node: NodeId, effects: &mut Effects) -> bool {
        let Some(session) = self.sessions.get_mut(index) else { return false };
        let Some(position) = session.subscriptions.remove(&node) else { return false };
        self.statistics.subscriptions -= 1;
        if let Some(moved) = self.routes.remove(node, position)
            && let Some(session) = self.sessions.get_mut(moved)
        {
            session.subscriptions.insert(node, position);
        }
        self.lose_interest(node, effects);
        true
    }

    /// Other shards need no longer send what nobody here wants; an unused node is freed.
    pub(super) fn lose_interest(&mut self, node: NodeId, effects: &mut Effects) {
        if self.routes.subscribers(node).is_local() {
            return;
        }
        if self.shards > 1 {
            let word = Word::Interest { pattern: self.routes.pattern(node), wanted: false, operation: 0 };
            self.tell_all(&word, effects);
        }
        self.routes.prune(node);
    }

    /// Ends all subscriptions of a session that ends.
    pub(super) fn drop_subscriptions(&mut self, now: Now, index: u32, effects: &mut Effects) {
        let Some(session) = self.sessions.get_mut(index) else { return };
        let nodes: Vec<NodeId> = session.subscriptions.keys().copied().collect();
        let shared = session.shared.take();
        let key = session.stored.then(|| session.key());
        let forget = |filter: Filter, effects: &mut Effects| {
            effects.store.extend(key.clone().map(|session| Record::Unsubscribed { session, filter }));
        };
        for node in nodes {
            if key.is_some()
                && let Some(filter) = Filter::again(&self.routes.pattern(node))
            {
                forget(filter, effects);
            }
            self.unsubscribe_plain(index, node, effects);
        }
        for filter in shared.iter().flat_map(|shared| shared.keys()) {
            self.statistics.shared_subscriptions -= 1;
            self.leave(now, index, filter, effects);
            forget(filter.clone(), effects);
        }
    }

    /// From now on live messages arrive by themselves, and no snapshot of this subscription may bring what is
    /// older than they are.
    fn expect_snapshots(&mut self, index: u32, filter: &Filter) -> u64 {
        let operation = self.operations.next();
        if let Some(session) = self.sessions.get_mut(index) {
            let waits = u32::from(self.shards);
            session.snapshots.push_back(Snapshot { operation, waits, filter: filter.clone(), seen: Vec::new() });
        }
        operation
    }

    /// The subscriptions stand everywhere: now the last values, here and from the other shards.
    pub(super) fn request_snapshots(
        &mut self,
        now: Now,
        index: u32,
        wanted: Vec<(Filter, SubscriptionOptions, u64)>,
        effects: &mut Effects,
    ) {
        for (filter, options, operation) in wanted {
            let mut messages = Vec::new();
            self.retained.matching(&filter, now.mono_ns, &mut messages);
            let Some(session) = self.sessions.get(index) else { return };
            let asking = SessionRef { shard: self.shard, index, id: session.id };
            self.take_snapshot(now, asking, messages, options, operation, effects);
            self.tell_all(&Word::Query { session: asking, filter, options, operation }, effects);
        }
    }

    pub(super) fn take_snapshot(
        &mut self,
        now: Now,
        asking: SessionRef,
        mut messages: Vec<Arc<Message>>,
        options: SubscriptionOptions,
        operation: u64,
        effects: &mut Effects,
    ) {
        let Some(session) = self.sessions.get_mut(asking.index).filter(|session| session.id == asking.id) else {
            return;
        };
        let Some(position) = session.snapshots.iter().position(|snapshot| snapshot.operation == operation) else {
            return;
        };
        let snapshot = &mut session.snapshots[position];
        messages.retain(|message| !snapshot.seen.contains(&message.topic));
        snapshot.waits -= 1;
        if snapshot.waits == 0 {
            session.snapshots.remove(position);
        }
        self.deliver_snapshot(now, asking.index, messages, options, effects);
    }

    /// Of some last values those that a session may have and whose authors may still publish them.
    pub(super) fn shown_to(
        &self,
        index: u32,
        mut messages: Vec<Arc<Message>>,
        effects: &mut Effects,
    ) -> Vec<Arc<Message>> {
        let Some(session) = self.sessions.get(index) else { return messages };
        let (mut hidden, mut for_one) = (0, None);
        messages.retain(|message| {
            if !self.may_receive(session, message) {
                return false;
            }
            let Some(why) = self.why_hidden(message) else { return true };
            hidden += 1;
            for_one.get_or_insert(why);
            false
        });
        if let Some(one) = for_one {
            let client = session.principal.client.clone();
            let why = format!("{hidden} last values are not shown; for one: {one}");
            effects.events.push(Event::Refused { client, reason: Reason::NotAuthorised, why });
        }
        messages
    }

    fn deliver_snapshot(
        &mut self,
        now: Now,
        index: u32,
        messages: Vec<Arc<Message>>,
        options: SubscriptionOptions,
        effects: &mut Effects,
    ) {
        // A snapshot may be larger than a queue may grow by publishing, since it costs only references;
        // but whoever does not read gets no second one on top.
        if self.sessions.get(index).is_none_or(|session| session.queue.len() > self.limits.queue_messages_max) {
            for _ in messages {
                self.dropped(index, "its queue is full of last values that it has not read", effects);
            }
            return;
        }
        let messages = self.shown_to(index, messages, effects);
        let own = self.sessions.get(index).filter(|_| options.no_local).map(|session| session.principal.client.clone());
        for message in messages {
            // No Local speaks of last values too ([MQTT-3.8.3-3]).
            if own.is_some() && message.origin.as_ref().map(|origin| &origin.client) == own.as_ref() {
                continue;
            }
            let guarantee = options.guarantee.min(message.guarantee);
            let tags = Tags::from_iter((options.tag != 0).then_some(options.tag));
            if guarantee == Guarantee::AtMostOnce {
                let entry = Entry { message, guarantee, retain: true, sequence: 0, at_group: false, tags, group: None };
                self.push_back(index, entry);
            } else {
                let mut incoming = Incoming::already_kept(message);
                self.enqueue(now, index, &mut incoming, Terms { guarantee, retain: true, tags }, effects);
            }
        }
        self.drain(now, index, effects);
    }
}
