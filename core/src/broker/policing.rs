//! A policy that changes while the broker runs.
//!
//! What is asked for from now on is decided by the new one at once: publishes, wills, subscriptions, and each delivery
//! on its way to a peer. What was granted before is judged again in turns: sessions of whoever is shut out end,
//! subscriptions that are no longer allowed do too, groups give what waits to those who may have it now.

use super::Broker;
use crate::authorisation::{Action, Because, Policy, Principal, Rulebook, authorise};
use crate::effects::{Delivery, Effects, Event};
use crate::group::Member;
use crate::message::{Guarantee, Message, Origin};
use crate::queue::Entry;
use crate::routes::{GroupRoute, Route};
use crate::session::{Session, Sessions};
use crate::time::Now;
use crate::topic::{Filter, Topic};
use crate::verbs::{Answer, Disconnect, Reason, Refusal, SubscriptionOptions};
use std::collections::VecDeque;
use std::sync::Arc;

/// What is still to be judged again.
#[derive(Debug, Default)]
pub(crate) struct Review {
    /// Places of sessions and of groups that have not had their turn, below these.
    sessions: u32,
    groups: u32,
    /// Sessions of their own, by place and id.
    line: VecDeque<(u32, u64)>,
}

impl Review {
    pub fn is_under_way(&self) -> bool {
        self.sessions > 0 || self.groups > 0 || !self.line.is_empty()
    }
}

/// What one turn judges: sessions and their subscriptions together, so that nobody waits for long.
const TURN_JUDGEMENTS: usize = 512;

impl Broker {
    /// Swaps the policy. The new one holds at once; what was granted before is judged again in turns of
    /// [`timeout`](Self::timeout). Every shard is told, in the same turn where possible.
    pub fn set_policy(&mut self, now: Now, policy: Arc<Policy>, effects: &mut Effects) {
        self.policy = Rulebook::new(policy, self.policy.epoch() + 1);
        self.routes.forget();
        self.renew_quotas(now);
        self.review_all();
        if self.restoring.is_none() {
            self.step(effects, |broker, effects| broker.review_turn(now, effects));
        }
    }

    /// Judges everyone again, in turns.
    pub(super) fn review_all(&mut self) {
        if !self.policy.is_open() {
            self.review.sessions = self.sessions.places() as u32;
        }
        self.review.groups = self.groups.places() as u32;
    }

    /// Somebody's rights may have changed: what goes to them is decided anew, and what they were granted in its turn.
    pub(super) fn rights_changed(&mut self, index: u32) {
        let Some(session) = self.sessions.get_mut(index) else { return };
        session.judged_epoch = 0;
        if session.subscriptions_len() > 0 {
            self.routes.forget();
            self.review.line.push_back((index, session.id));
        }
    }

    /// One turn of what is to be judged again.
    pub(super) fn review_turn(&mut self, now: Now, effects: &mut Effects) {
        let mut left = TURN_JUDGEMENTS;
        while left > 0 {
            let cost = if let Some((index, id)) = self.review.line.pop_front() {
                let is_there = self.sessions.get(index).is_some_and(|session| session.id == id);
                if is_there { self.judge_session(now, index, effects) } else { 1 }
            } else if self.review.sessions > 0 {
                self.review.sessions -= 1;
                self.judge_session(now, self.review.sessions, effects)
            } else if self.review.groups > 0 {
                self.review.groups -= 1;
                self.pump(now, self.review.groups, effects);
                1
            } else {
                return;
            };
            left = left.saturating_sub(cost);
        }
    }

    /// Ends what a session may no longer have; returns how much work it was.
    fn judge_session(&mut self, now: Now, index: u32, effects: &mut Effects) -> usize {
        let Some(session) = self.sessions.get(index) else { return 1 };
        if self.policy.is_open_to(&session.principal) {
            return 1;
        }
        if let Some(because) = self.policy.shuts_out(&session.principal) {
            self.expel(now, index, because, effects);
            return 1;
        }
        let held = self.held_by(index);
        let cost = 1 + held.len();
        for (filter, options) in held {
            self.judge_subscription(now, index, filter, options, effects);
        }
        cost
    }

    fn held_by(&self, index: u32) -> Vec<(Filter, SubscriptionOptions)> {
        let Some(session) = self.sessions.get(index) else { return Vec::new() };
        let plain = session.subscriptions.iter().filter_map(|(node, place)| {
            let subscriber = self.routes.subscribers(*node).sessions.get(*place as usize)?;
            Some((Filter::again(&self.routes.pattern(*node))?, subscriber.options))
        });
        let shared = session.shared.iter().flat_map(|shared| shared.iter());
        let mut held: Vec<_> = plain.chain(shared.map(|(filter, options)| (filter.clone(), *options))).collect();
        // The order of a hash table is no order.
        held.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        held
    }

    fn judge_subscription(
        &mut self,
        now: Now,
        index: u32,
        filter: Filter,
        options: SubscriptionOptions,
        effects: &mut Effects,
    ) {
        let Some(session) = self.sessions.get(index) else { return };
        match authorise(&self.policy, &session.principal, filter.clone(), |filter| Action::Subscribe(filter)) {
            Ok(granted) if granted.guarantee_max() < options.guarantee => {
                let options = SubscriptionOptions { guarantee: granted.guarantee_max(), ..options };
                self.subscribe_one(now, index, &granted, options, 0, &mut 0, effects);
            }
            Ok(_) => {}
            Err(why) => {
                let client = session.principal.client.clone();
                let why = format!("a subscription ended: {why}");
                effects.events.push(Event::Refused { client, reason: Reason::NotAuthorised, why });
                self.unsubscribe_one(now, index, &filter, effects);
            }
        }
    }

    /// Ends the session of somebody who is shut out; its will is refused like anything else that it asks for.
    fn expel(&mut self, now: Now, index: u32, because: Because<'_>, effects: &mut Effects) {
        let Some(session) = self.sessions.get(index) else { return };
        let (id, client) = (session.id, session.principal.client.clone());
        let (reason, text) = match because {
            Because::Banned => (Reason::Banned, "you are banned"),
            _ => (Reason::NotAuthorised, "nobody of your name is known any more"),
        };
        let why = format!("the session ends: {because}");
        effects.events.push(Event::Refused { client, reason, why });
        if let Some(peer) = session.peer {
            effects.answers.push((peer, Answer::Close(Refusal::new(reason, text))));
            let lost = Disconnect { publish_will: true, session_expiry_s: None, reason };
            self.disconnect(now, peer, index, lost, effects);
        }
        if self.sessions.get(index).is_some_and(|session| session.id == id) {
            self.end_session(now, index, effects);
        }
    }

    /// Who a session is for what it publishes. Of what is kept it is noted whether the right to it came with the proof of
    /// an identity, which will not be there when it is asked for again.
    pub(super) fn origin_of(&mut self, index: u32, action: Action<'_>, is_kept: bool) -> Option<Arc<Origin>> {
        let session = self.sessions.get_mut(index)?;
        let principal = &session.principal;
        let origin = session.origin.get_or_insert_with(|| {
            let (protocol, client) = (principal.protocol, principal.client.clone());
            let principal = principal.name().cloned();
            Arc::new(Origin { protocol, client, principal, address: None, by_proof: false })
        });
        let needs_proof =
            is_kept && !self.policy.is_open() && !self.policy.decide(&Principal::author(origin), action).allowed;
        match needs_proof {
            true => Some(Arc::new(Origin { by_proof: true, ..(**origin).clone() })),
            false => Some(origin.clone()),
        }
    }

    /// Notes whose a will is, for when it is due in another process.
    pub(super) fn sign_will(&mut self, index: u32) {
        let Some(mut will) = self.sessions.get_mut(index).and_then(|session| session.will.take()) else { return };
        let mut message = Arc::unwrap_or_clone(will.message);
        message.origin = self.origin_of(index, Action::will(&message), true);
        will.message = Arc::new(message);
        if let Some(session) = self.sessions.get_mut(index) {
            session.will = Some(will);
        }
    }

    /// Whether a session may have this message.
    pub(super) fn may_receive(&self, session: &Session, message: &Message) -> bool {
        self.policy.may_receive(&session.principal, &message.topic)
    }

    /// A delivery that has waited for the store leaves, if its receiver may still have it.
    pub(super) fn release_held(&mut self, now: Now, delivery: Delivery, effects: &mut Effects) {
        let Some(index) = self.peers.get(&delivery.peer).copied() else { return };
        let Some(session) = self.sessions.get(index) else { return };
        if self.may_receive(session, &delivery.message) {
            return self.send(index, delivery, effects);
        }
        if let Some(position) = session.inflight_position(delivery.number) {
            self.withdraw(now, index, position, effects);
        }
    }

    /// What is in flight and has not arrived is not repeated to whoever may not have it any more.
    pub(super) fn withdraw_forbidden(&mut self, now: Now, index: u32, effects: &mut Effects) {
        let mut position = 0;
        while let Some(session) = self.sessions.get(index)
            && let Some(inflight) = session.inflight.get(position)
        {
            let is_forbidden = !inflight.sent
                && !inflight.received
                && inflight.entry.as_ref().is_some_and(|entry| !self.may_receive(session, &entry.message));
            if is_forbidden {
                self.withdraw(now, index, position, effects);
            } else {
                position += 1;
            }
        }
    }

    fn withdraw(&mut self, now: Now, index: u32, position: usize, effects: &mut Effects) {
        let Some(inflight) = self.sessions.get_mut(index).and_then(|session| session.inflight.remove(position)) else {
            return;
        };
        self.statistics.inflight_messages -= 1;
        if let Some(entry) = inflight.entry {
            // It may have arrived, and must not do so twice.
            let others_may = entry.guarantee != Guarantee::ExactlyOnce;
            self.forbid(now, index, entry, others_may, effects);
        }
    }

    /// An entry that a session may not have any more. Others of its group may.
    pub(super) fn forbid(&mut self, now: Now, index: u32, entry: Entry, others_may: bool, effects: &mut Effects) {
        self.dropped(index, "it may not be received any more", effects);
        if entry.group.is_some() && others_may {
            return self.give_back(now, index, vec![entry], effects);
        }
        self.entry_over(index, &entry, effects);
        self.settle_group(now, index, &entry, effects);
    }

    /// Why a last value is not shown: its author may not publish it any more. What the broker itself said stays.
    pub(super) fn why_hidden(&self, message: &Message) -> Option<String> {
        let origin = message.origin.as_ref()?;
        if self.policy.is_open() {
            return None;
        }
        let (author, retain) = (Principal::author(origin), Action::of_author(message));
        let decision = self.policy.decide_kept(&author, origin.by_proof, retain);
        let name = origin.principal.as_ref().unwrap_or(&origin.client);
        (!decision.allowed).then(|| format!("{name} is not authorised to {retain}: {}", decision.because))
    }
}

/// Takes out of a route who may not have messages of its topic.
pub(super) fn keep_allowed(
    route: &mut Route,
    topic: &Topic,
    policy: &Rulebook,
    sessions: &mut Sessions,
    groups: &super::groups::Groups,
) {
    let mut last = None;
    route.subscribers.retain(|subscriber| match last {
        Some((session, may)) if session == subscriber.session => may,
        _ => {
            let may = sessions
                .get_mut(subscriber.session)
                .is_some_and(|session| policy.known_may_receive(&mut session.standing, &session.principal, topic));
            last = Some((subscriber.session, may));
            may
        }
    });
    route.groups.retain_mut(|GroupRoute { group, may }| {
        let Some(group) = groups.get(*group) else { return false };
        let member_may = |member: &Member| policy.may_receive(&member.principal, topic);
        if group.members.iter().all(member_may) {
            return true;
        }
        let each: Box<[bool]> = group.members.iter().map(member_may).collect();
        let keeps = group.stands || each.contains(&true);
        *may = Some(each);
        keeps
    });
}
