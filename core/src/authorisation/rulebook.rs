//! A policy, made ready to be asked often.

use super::{Action, Because, Decision, Policy, Principal};
use crate::message::Guarantee;
use crate::topic::Topic;
use std::ops::Deref;
use std::sync::Arc;

/// A policy, made ready to be asked often. It says what [`Policy::decide`] says.
#[derive(Debug)]
pub(crate) struct Rulebook {
    policy: Arc<Policy>,
    /// Tells one policy from the next; never 0.
    epoch: u64,
    /// Whether nobody is refused anything by it, except by the rules of its own identity.
    is_open: bool,
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
        Self { policy, epoch, is_open }
    }

    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Decides, and says why.
    pub fn decide<'a>(&'a self, principal: &'a Principal, action: Action<'_>) -> Decision<'a> {
        self.policy.decide(principal, action)
    }

    /// The same for something that was published before: what the proof of its author's identity allowed then still
    /// holds, unless the author is shut out.
    pub fn decide_kept<'a>(&'a self, author: &'a Principal, by_proof: bool, action: Action<'_>) -> Decision<'a> {
        if by_proof && self.policy.shuts_out(author).is_none() {
            return Decision { allowed: true, guarantee_max: Guarantee::ExactlyOnce, because: Because::Proof };
        }
        self.decide(author, action)
    }

    /// Whether nobody is refused anything by it.
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// Whether nothing but the broker's own topics is refused to this principal.
    pub fn is_open_to(&self, principal: &Principal) -> bool {
        self.is_open && principal.identity.rules.is_empty()
    }

    /// Whether it may have a message of this topic.
    pub fn may_receive(&self, principal: &Principal, topic: &Topic) -> bool {
        self.is_open_to(principal) || self.decide(principal, Action::Receive(topic)).allowed
    }
}
