//! A policy, made ready to be asked often.

use super::index::{Index, Tables};
use super::{Action, Because, Decision, Policy, Principal};
use crate::message::{Guarantee, Message};
use crate::topic::Topic;
use std::ops::Deref;
use std::sync::Arc;

/// A policy, made ready to be asked often. It says what [`Policy::decide`] says.
#[derive(Debug)]
pub(crate) struct Rulebook {
    policy: Arc<Policy>,
    index: Index,
    /// Tells one policy from the next; never 0.
    epoch: u64,
    /// Whether nobody is refused anything by it, except by the rules of its own identity.
    is_open: bool,
}

/// What a rulebook knows of one principal, so that it need not look for it with each question.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standing {
    /// Of which rulebook this is; 0 = of none.
    epoch: u64,
    shut_out: Option<Because<'static>>,
    tables: Tables,
    /// The last publish that was allowed: the same may come again.
    topic: String,
    guarantee: Guarantee,
    retain: bool,
}

impl Deref for Rulebook {
    type Target = Policy;

    fn deref(&self) -> &Policy {
        &self.policy
    }
}

impl From<Policy> for Rulebook {
    fn from(policy: Policy) -> Self {
        Self::new(Arc::new(policy), 1)
    }
}

impl Rulebook {
    pub fn new(policy: Arc<Policy>, epoch: u64) -> Self {
        let banned = &policy.banned;
        let nobody_banned = banned.users.is_empty() && banned.clients.is_empty() && banned.networks.is_empty();
        let is_open = policy.rules.is_empty() && policy.otherwise_allow && policy.users.is_none() && nobody_banned;
        let index = Index::new(&policy.rules);
        Self { policy, index, epoch, is_open }
    }

    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether nobody is refused anything by it.
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// Whether nothing but the broker's own topics is refused to this principal.
    pub fn is_open_to(&self, principal: &Principal) -> bool {
        self.is_open && principal.identity.rules.is_empty()
    }

    /// Decides, and says why.
    pub fn decide<'a>(&'a self, principal: &'a Principal, action: Action<'_>) -> Decision<'a> {
        self.decide_for(&self.standing(principal), principal, action)
    }

    /// The same for something that was published before: what the proof of its author's identity allowed then still
    /// holds, unless the author is shut out.
    pub fn decide_kept<'a>(&'a self, author: &'a Principal, by_proof: bool, action: Action<'_>) -> Decision<'a> {
        if by_proof && self.policy.shuts_out(author).is_none() {
            return Decision { allowed: true, guarantee_max: Guarantee::ExactlyOnce, because: Because::Proof };
        }
        self.decide(author, action)
    }

    /// Whether it may have a message of this topic.
    pub fn may_receive(&self, principal: &Principal, topic: &Topic) -> bool {
        self.is_open_to(principal) || self.decide(principal, Action::Receive(topic)).allowed
    }

    fn standing(&self, principal: &Principal) -> Standing {
        if self.is_open {
            return Standing { epoch: self.epoch, ..Standing::default() };
        }
        let (shut_out, tables) =
            (self.policy.shuts_out(principal), self.index.tables_of(&self.policy.asker(principal)));
        Standing { epoch: self.epoch, shut_out, tables, ..Standing::default() }
    }

    fn decide_for<'a>(&'a self, standing: &Standing, principal: &'a Principal, action: Action<'_>) -> Decision<'a> {
        if let Some(because) = standing.shut_out {
            return Decision::plain(false, because);
        }
        if action.is_reserved() {
            return Decision::plain(false, Because::Reserved);
        }
        if self.is_open_to(principal) {
            return Decision::plain(true, Because::Otherwise);
        }
        let asker = self.policy.asker(principal);
        let own = principal.identity.rules.iter().find(|rule| rule.speaks_of(&asker, action));
        match own.or_else(|| self.index.first(&self.policy.rules, &standing.tables, &asker, action)) {
            Some(rule) => Decision::of(rule),
            None => Decision::plain(self.policy.otherwise(principal, action), Because::Otherwise),
        }
    }
}

/// For sessions, which ask often.
impl Rulebook {
    /// Whether a principal that is known by its `standing`, made where there is none, may have a message of this topic.
    pub fn known_may_receive(
        &self,
        standing: &mut Option<Box<Standing>>,
        principal: &Principal,
        topic: &Topic,
    ) -> bool {
        self.is_open_to(principal)
            || self.decide_for(self.stands(standing, principal), principal, Action::Receive(topic)).allowed
    }

    /// Whether it may publish a message, which is no will. The same again costs a comparison.
    pub fn known_may_publish<'a>(
        &'a self,
        standing: &mut Option<Box<Standing>>,
        principal: &'a Principal,
        message: &Message,
    ) -> Decision<'a> {
        let action = Action::publish(message);
        if self.is_open_to(principal) {
            return self.decide_for(&Standing::default(), principal, action);
        }
        let standing = self.stands(standing, principal);
        let is_again = message.retain == standing.retain && message.guarantee <= standing.guarantee;
        if is_again && !standing.topic.is_empty() && standing.topic == message.topic.as_str() {
            return Decision::plain(true, Because::Otherwise);
        }
        let decision = self.decide_for(standing, principal, action);
        if decision.allowed {
            standing.topic.clear();
            standing.topic.push_str(message.topic.as_str());
            (standing.retain, standing.guarantee) = (message.retain, message.guarantee);
        }
        decision
    }

    fn stands<'s>(&self, standing: &'s mut Option<Box<Standing>>, principal: &Principal) -> &'s mut Standing {
        let known = standing.get_or_insert_default();
        if known.epoch != self.epoch {
            **known = self.standing(principal);
        }
        known
    }
}

#[cfg(test)]
mod tests;
