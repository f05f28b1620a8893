//! The one place that decides who may do what. Its result is a type, so that no path goes around it:
//! routing takes an [`Authorised`] value, and only [`authorise`] makes one.

mod index;
mod policy;
mod rule;
mod rulebook;

pub use policy::{Banned, Policy};
pub use rule::{Actions, Asker, Network, Pattern, Rule, User, Who};
pub(crate) use rulebook::{Rulebook, Standing};

use crate::identity::Identity;
use crate::link::Link;
use crate::message::{Guarantee, Message, Origin};
use crate::topic::{Filter, Topic};
use bytestring::ByteString;
use std::fmt;
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

    /// Whoever published what came from `origin`, as far as that is remembered.
    pub fn author(origin: &Origin) -> Self {
        let identity = Arc::new(Identity { name: origin.principal.clone(), ..Identity::default() });
        Self { identity, client: origin.client.clone(), protocol: origin.protocol, link: Link::default() }
    }

    /// Whether this is only what is remembered of somebody: how it came in, and what its proof said beside the name, is not
    /// known. It has the benefit of the doubt.
    pub fn is_remembered(&self) -> bool {
        self.link.listener().is_empty()
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
    /// Write the configuration of a topic, `$ps/NAME`, through a resource that has looked at what is in it. Rules count it
    /// as publishing a last value; nobody may publish there in any other way.
    Configure(&'a Topic),
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

    /// What the author of a message that is kept has done.
    pub(crate) fn of_author(message: &'a Message) -> Self {
        match message.topic.configured() {
            Some(_) => Self::Configure(&message.topic),
            None => Self::publish(message),
        }
    }

    /// Whether it is publishing where the broker alone speaks, under $: a client that could write there could lie about the
    /// broker. Queues are everyone's.
    fn is_reserved(self) -> bool {
        matches!(self, Self::Publish { topic, .. } if topic.is_reserved() && topic.queue().is_none())
    }

    /// Publishing `message` as a will.
    pub fn will(message: &'a Message) -> Self {
        Self::Publish { topic: &message.topic, guarantee: message.guarantee, retain: message.retain, will: true }
    }
}

impl fmt::Display for Action<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Publish { topic, will: true, .. } => write!(f, "publish a will to {topic}"),
            Self::Publish { topic, retain: true, .. } => write!(f, "publish a last value to {topic}"),
            Self::Publish { topic, .. } => write!(f, "publish to {topic}"),
            Self::Configure(topic) => write!(f, "write the configuration {topic}"),
            Self::Subscribe(filter) => write!(f, "subscribe to {filter}"),
            Self::Receive(topic) => write!(f, "receive {topic}"),
        }
    }
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
    /// The proof of its identity allowed it, when it was given.
    Proof,
    /// The broker alone speaks under `$`.
    Reserved,
    /// The principal is shut out.
    Banned,
    /// No identity provider knows the principal any more.
    Unknown,
}

impl<'a> Decision<'a> {
    fn of(rule: &'a Rule) -> Self {
        Self { allowed: rule.allow, guarantee_max: rule.guarantee_max, because: Because::Rule(rule) }
    }

    fn plain(allowed: bool, because: Because<'a>) -> Self {
        Self { allowed, guarantee_max: Guarantee::ExactlyOnce, because }
    }
}

impl fmt::Display for Because<'_> {
    /// The end of a sentence: "refused, since …".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(rule) => write!(f, "the rule `{}` says so", rule.source),
            Self::Otherwise => f.write_str("no rule speaks of it"),
            Self::Proof => f.write_str("the proof of its identity allowed it"),
            Self::Reserved => f.write_str("the broker alone speaks under $"),
            Self::Banned => f.write_str("it is banned"),
            Self::Unknown => f.write_str("nobody of that name is known any more"),
        }
    }
}

/// Proof that a principal may act on `T`.
#[derive(Clone, Copy, Debug)]
pub struct Authorised<T> {
    subject: T,
    guarantee_max: Guarantee,
}

impl<T> Authorised<T> {
    /// What was authorised.
    pub fn get(self) -> T {
        self.subject
    }

    /// What was authorised, to look at.
    pub fn peek(&self) -> &T {
        &self.subject
    }

    /// Up to what it was authorised.
    pub fn guarantee_max(&self) -> Guarantee {
        self.guarantee_max
    }

    /// What the broker itself says needs nobody's leave.
    pub(crate) fn by_broker(subject: T) -> Self {
        Self { subject, guarantee_max: Guarantee::ExactlyOnce }
    }
}

impl Authorised<Message> {
    /// The same message, shared.
    pub fn shared(self) -> Authorised<Arc<Message>> {
        Authorised { subject: Arc::new(self.subject), guarantee_max: self.guarantee_max }
    }
}

/// The refusal: a sentence for the log. A peer does not hear which rule it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAuthorised(pub String);

impl fmt::Display for NotAuthorised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Decides whether `principal` may perform the action that `action` reads out of `subject`.
///
/// # Errors
/// When it may not.
pub(crate) fn authorise<T>(
    rulebook: &Rulebook,
    principal: &Principal,
    subject: T,
    action: impl Fn(&T) -> Action<'_>,
) -> Result<Authorised<T>, NotAuthorised> {
    let Decision { allowed, guarantee_max, because } = rulebook.decide(principal, action(&subject));
    if allowed {
        return Ok(Authorised { subject, guarantee_max });
    }
    Err(NotAuthorised(format!("not authorised to {}: {because}", action(&subject))))
}

/// Decides whether a principal that is known by its `standing` may publish a message, which is no will.
///
/// # Errors
/// When it may not.
pub(crate) fn authorise_publish(
    rulebook: &Rulebook,
    standing: &mut Option<Box<Standing>>,
    principal: &Principal,
    message: Message,
) -> Result<Authorised<Message>, NotAuthorised> {
    let decision = rulebook.known_may_publish(standing, principal, &message);
    let because = decision.because;
    if decision.allowed {
        return Ok(Authorised { subject: message, guarantee_max: decision.guarantee_max });
    }
    Err(NotAuthorised(format!("not authorised to {}: {because}", Action::publish(&message))))
}

/// Decides whether somebody may publish a will that was left with the broker before the process began.
///
/// # Errors
/// When it may not.
pub(crate) fn authorise_kept_will(
    rulebook: &Rulebook,
    owner: &Principal,
    will: Message,
) -> Result<Authorised<Message>, NotAuthorised> {
    let by_proof = will.origin.as_ref().is_some_and(|origin| origin.by_proof);
    let Decision { allowed, guarantee_max, because } = rulebook.decide_kept(owner, by_proof, Action::will(&will));
    if allowed {
        return Ok(Authorised { subject: will, guarantee_max });
    }
    Err(NotAuthorised(format!("not authorised to {}: {because}", Action::will(&will))))
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
        authorise(&policy.clone().into(), &Principal::default(), filter(text), |filter| Action::Subscribe(filter))
            .is_ok()
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
        for (text, expected) in
            [("$SYS/x", false), ("$queue", false), ("$queue/", false), ("$ps/a", false), ("$queue/q", true)]
        {
            let topic = Topic::new(text.into(), &TopicLimits::default()).unwrap();
            let may = authorise(&Policy::open().into(), &Principal::default(), topic, |topic| Action::Publish {
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
