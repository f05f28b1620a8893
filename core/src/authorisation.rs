//! The one place that decides who may do what. Its result is a type, so that no path goes around it:
//! routing takes an [`Authorised`] value, and only [`authorise`] makes one.

use crate::message::Message;
use crate::topic::{Filter, Topic};
use bytestring::ByteString;
use std::sync::Arc;

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Principal {
    /// The user name that was proven, if any.
    pub name: Option<ByteString>,
    /// The session's id.
    pub client: ByteString,
}

/// What for. A will, a retained value and a shared filter are no exceptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action<'a> {
    /// Publish to this topic, now or as a will.
    Publish(&'a Topic),
    /// Subscribe with this filter; shared ones count by their pattern.
    Subscribe(&'a Filter),
}

/// One rule: first match wins.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Whom it is for; `None` = everyone.
    pub principal: Option<ByteString>,
    /// `true` for publishing, `false` for subscribing.
    pub publish: bool,
    /// The topics it speaks of.
    pub filter: Filter,
    /// What it says.
    pub allow: bool,
}

/// All rules, swapped as a whole when they change.
#[derive(Clone, Debug)]
pub struct Policy {
    /// In order.
    pub rules: Vec<Rule>,
    /// What holds when no rule matches.
    pub otherwise_allow: bool,
}

impl Policy {
    /// Everyone may do everything, except write the broker's own `$` topics.
    pub fn open() -> Self {
        Self { rules: Vec::new(), otherwise_allow: true }
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
pub fn authorise<T>(
    policy: &Policy,
    principal: &Principal,
    subject: T,
    action: impl Fn(&T) -> Action<'_>,
) -> Result<Authorised<T>, NotAuthorised> {
    if allowed(policy, principal, action(&subject)) { Ok(Authorised(subject)) } else { Err(NotAuthorised) }
}

fn allowed(policy: &Policy, principal: &Principal, action: Action<'_>) -> bool {
    // The broker alone speaks under $: a client that could write there could lie about the broker. Queues
    // are everyone's.
    if matches!(action, Action::Publish(topic) if topic.is_reserved() && topic.queue().is_none()) {
        return false;
    }
    for rule in &policy.rules {
        if rule.principal.is_some() && rule.principal != principal.name {
            continue;
        }
        let speaks_of_it = match action {
            Action::Publish(topic) => rule.publish && rule.filter.matches(topic),
            Action::Subscribe(filter) => !rule.publish && applies_to_filter(rule, filter),
        };
        if speaks_of_it {
            return rule.allow;
        }
    }
    policy.otherwise_allow
}

/// An allowing rule must cover the whole filter; a denying one speaks already when they overlap,
/// or a wider filter would be the way around it.
fn applies_to_filter(rule: &Rule, filter: &Filter) -> bool {
    let rule_levels: Vec<&str> = rule.filter.pattern().split('/').collect();
    let filter_levels: Vec<&str> = filter.pattern().split('/').collect();
    if rule.allow { covers(&rule_levels, &filter_levels) } else { overlaps(&rule_levels, &filter_levels) }
}

fn covers(wide: &[&str], narrow: &[&str]) -> bool {
    if matches!(wide.first(), Some(&"+" | &"#")) && narrow.first().is_some_and(|level| level.starts_with('$')) {
        return false;
    }
    for (index, wanted) in wide.iter().enumerate() {
        match (*wanted, narrow.get(index)) {
            ("#", _) => return true,
            (_, None) | (_, Some(&"#")) => return false,
            ("+", Some(_)) => {}
            (level, Some(other)) if level == *other => {}
            _ => return false,
        }
    }
    wide.len() == narrow.len()
}

fn overlaps(one: &[&str], other: &[&str]) -> bool {
    for index in 0.. {
        match (one.get(index).copied(), other.get(index).copied()) {
            (None, None) => return true,
            (Some("#"), _) | (_, Some("#")) => return true,
            (Some(a), Some(b)) if a == b || a == "+" || b == "+" => {}
            _ => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::TopicLimits;

    fn filter(text: &str) -> Filter {
        Filter::new(text.into(), &TopicLimits::default()).unwrap()
    }

    fn policy(allow: bool, text: &str, otherwise_allow: bool) -> Policy {
        Policy { rules: vec![Rule { principal: None, publish: false, filter: filter(text), allow }], otherwise_allow }
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
            let may = authorise(&Policy::open(), &Principal::default(), topic, |topic| Action::Publish(topic)).is_ok();
            assert_eq!(may, expected, "{text}");
        }
    }
}
