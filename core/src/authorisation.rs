//! The one place that decides who may do what. Its result is a type, so that no path goes around it:
//! routing takes an [`Authorised`] value, and only [`authorise`] makes one.

mod rule;

pub use rule::{Actions, Network, Pattern, Rule, User, Who};

use crate::identity::Identity;
use crate::link::Link;
use crate::message::{Guarantee, Message};
use crate::quota::Quotas;
use crate::topic::{Filter, Topic};
use bytestring::ByteString;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// Who asks, and from where.
#[derive(Clone, Debug, Default)]
pub struct Principal {
    /// Who was proven.
    pub identity: Arc<Identity>,
    /// The session's id.
    pub client: ByteString,
    /// The language's name in the protocol table.
    pub protocol: &'static str,
    /// How it came in; a link without a name for a session that has not been connected since the start.
    pub link: Link,
}

impl Principal {
    /// The proven name, if any.
    pub fn name(&self) -> Option<&ByteString> {
        self.identity.name.as_ref()
    }

    /// The other end; `None` on unix sockets.
    pub fn address(&self) -> Option<IpAddr> {
        self.link.remote.map(|remote| remote.ip().to_canonical())
    }
}

/// What for. A will, a retained value and a shared filter are no exceptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action<'a> {
    /// Publish to this topic.
    Publish {
        /// Where to.
        topic: &'a Topic,
        /// What the publisher asks for.
        guarantee: Guarantee,
        /// Whether as the last value.
        retain: bool,
        /// Whether as a will: asked when it is left with the broker and once more when it is due.
        will: bool,
    },
    /// Subscribe with this filter; shared ones count by their pattern.
    Subscribe(&'a Filter),
    /// Get a message, or read a last value, of this topic. Asked for each delivery, whatever the subscription was.
    Receive(&'a Topic),
}

impl<'a> Action<'a> {
    /// Publishing `message`, which is no will.
    pub fn publish(message: &'a Message) -> Self {
        Self::Publish { topic: &message.topic, guarantee: message.guarantee, retain: message.retain, will: false }
    }

    /// Publishing `message` as a will.
    pub fn will(message: &'a Message) -> Self {
        Self::Publish { topic: &message.topic, guarantee: message.guarantee, retain: message.retain, will: true }
    }
}

/// All rules and quotas, swapped as a whole when they change.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// In order: the first that speaks of an action decides.
    pub rules: Vec<Rule>,
    /// What holds when no rule speaks.
    pub otherwise_allow: bool,
    /// Everyone who has a name, with their groups, where the identity providers can list them all: a name that is not among
    /// them has no rights, and its sessions end. `None`: they cannot, so a name stands for itself.
    pub users: Option<BTreeMap<ByteString, Vec<ByteString>>>,
    /// Names, client ids and networks that are shut out: they have no rights, and their sessions end.
    pub banned: Banned,
    /// How much each may use.
    pub quotas: Quotas,
}

/// Who is shut out.
#[derive(Clone, Debug, Default)]
pub struct Banned {
    /// Proven names.
    pub users: BTreeSet<ByteString>,
    /// Client ids.
    pub clients: BTreeSet<ByteString>,
    /// Where from.
    pub networks: Vec<Network>,
}

/// What a policy says of one action, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision<'a> {
    /// Whether it may be.
    pub allowed: bool,
    /// The most that a subscription of this kind is granted.
    pub guarantee_max: Guarantee,
    /// What decided.
    pub because: Because<'a>,
}

/// What decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because<'a> {
    /// This rule, the first that speaks of it.
    Rule(&'a Rule),
    /// No rule speaks of it.
    Otherwise,
    /// The broker alone speaks under `$`.
    Reserved,
    /// The principal is shut out.
    Banned,
    /// No identity provider knows the principal any more.
    Unknown,
}

impl Policy {
    /// Everyone may do everything, except write the broker's own `$` topics.
    pub fn open() -> Self {
        Self { otherwise_allow: true, ..Self::default() }
    }

    /// These rules, and what holds when none speaks.
    pub fn new(rules: Vec<Rule>, otherwise_allow: bool) -> Self {
        Self { rules, otherwise_allow, ..Self::default() }
    }

    /// Decides, and says why.
    pub fn decide(&self, principal: &Principal, action: Action<'_>) -> Decision<'_> {
        let says = |allowed, because| Decision { allowed, guarantee_max: Guarantee::ExactlyOnce, because };
        if self.bans(principal) {
            return says(false, Because::Banned);
        }
        if !self.knows(principal) {
            return says(false, Because::Unknown);
        }
        // The broker alone speaks under $: a client that could write there could lie about the broker. Queues
        // are everyone's.
        if matches!(action, Action::Publish { topic, .. } if topic.is_reserved() && topic.queue().is_none()) {
            return says(false, Because::Reserved);
        }
        let groups = self.groups_of(principal);
        let rule = self.rules.iter().find(|rule| rule.speaks_of(principal, groups, action));
        match rule {
            Some(rule) => {
                Decision { allowed: rule.allow, guarantee_max: rule.guarantee_max, because: Because::Rule(rule) }
            }
            None => says(self.otherwise_allow, Because::Otherwise),
        }
    }

    /// The groups that the policy knows `principal` to be in.
    pub fn groups_of(&self, principal: &Principal) -> &[ByteString] {
        let users = self.users.as_ref().zip(principal.name());
        users.and_then(|(users, name)| users.get(name)).map_or(&[], Vec::as_slice)
    }

    fn knows(&self, principal: &Principal) -> bool {
        self.users.as_ref().zip(principal.name()).is_none_or(|(users, name)| users.contains_key(name))
    }

    fn bans(&self, principal: &Principal) -> bool {
        let Banned { users, clients, networks } = &self.banned;
        principal.name().is_some_and(|name| users.contains(name))
            || clients.contains(&principal.client)
            || principal.address().is_some_and(|address| networks.iter().any(|network| network.contains(address)))
    }
}

/// Proof that a principal may act on `T`.
#[derive(Clone, Copy, Debug)]
pub struct Authorised<T>(T);

impl<T> Authorised<T> {
    /// What was authorised.
    pub fn get(self) -> T {
        self.0
    }

    /// What was authorised, to look at.
    pub fn peek(&self) -> &T {
        &self.0
    }

    /// What the broker itself says needs nobody's leave.
    pub(crate) fn by_broker(subject: T) -> Self {
        Self(subject)
    }
}

impl Authorised<Message> {
    /// The same message, shared.
    pub fn shared(self) -> Authorised<Arc<Message>> {
        Authorised(Arc::new(self.0))
    }
}

/// The refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAuthorised;

/// Decides whether `principal` may perform the action that `action` reads out of `subject`.
///
/// # Errors
/// When it may not.
pub fn authorise<T>(
    policy: &Policy,
    principal: &Principal,
    subject: T,
    action: impl Fn(&T) -> Action<'_>,
) -> Result<Authorised<T>, NotAuthorised> {
    if policy.decide(principal, action(&subject)).allowed { Ok(Authorised(subject)) } else { Err(NotAuthorised) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::TopicLimits;

    fn filter(text: &str) -> Filter {
        Filter::new(text.into(), &TopicLimits::default()).unwrap()
    }

    fn policy(allow: bool, text: &str, otherwise_allow: bool) -> Policy {
        Policy::new(vec![Rule::for_everyone(Actions::SUBSCRIBE, text, allow)], otherwise_allow)
    }

    fn may_subscribe(policy: &Policy, text: &str) -> bool {
        authorise(policy, &Principal::default(), filter(text), |filter| Action::Subscribe(filter)).is_ok()
    }

    #[test]
    fn an_allowing_rule_covers_the_whole_filter() {
        let rules = policy(true, "a/+/#", false);
        for (text, expected) in
            [("a/b", true), ("a/b/#", true), ("a/+/c", true), ("a/#", false), ("#", false), ("$share/g/a/b", true)]
        {
            assert_eq!(may_subscribe(&rules, text), expected, "{text}");
        }
    }

    #[test]
    fn a_wider_filter_is_no_way_around_a_denial() {
        let rules = policy(false, "secret/#", true);
        for (text, expected) in [("#", false), ("+/x", false), ("secret", false), ("open/#", true), ("+", false)] {
            assert_eq!(may_subscribe(&rules, text), expected, "{text}");
        }
    }

    #[test]
    fn nobody_but_the_broker_writes_reserved_topics() {
        for (text, expected) in [("$SYS/x", false), ("$queue", false), ("$queue/", false), ("$queue/q", true)] {
            let topic = Topic::new(text.into(), &TopicLimits::default()).unwrap();
            let may = authorise(&Policy::open(), &Principal::default(), topic, |topic| Action::Publish {
                topic,
                guarantee: Guarantee::AtMostOnce,
                retain: false,
                will: false,
            })
            .is_ok();
            assert_eq!(may, expected, "{text}");
        }
    }
}
