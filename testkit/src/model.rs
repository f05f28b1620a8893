//! The reference model: what was done and what was seen, on one line of steps, and what must follow from it.
//!
//! The world is concurrent, so an act is a [`Span`]: it may take effect at any step from when it was said until
//! when it was known to be done. From spans follows what *must* be (both ends are sure) and what *may* be; between
//! the two the broker is free. There is no matching tree, no queue and no window here, only comparisons of spans.

mod check;
pub mod history;

use althing_core::authorisation::{Policy, Rule, User};
use althing_core::{Filter, Guarantee, Topic};
use althing_mqtt::packet::SubscribeFilter;

/// The steps within which something took effect: not before `begin`, not after `end`, if that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Said.
    pub begin: u64,
    /// Known to be done.
    pub end: Option<u64>,
}

impl Span {
    /// Said, and not known to be done.
    pub fn open(begin: u64) -> Self {
        Self { begin, end: None }
    }

    /// Whether this was surely done before `other` was said.
    pub fn is_before(&self, other: &Span) -> bool {
        self.end.is_some_and(|end| end < other.begin)
    }
}

/// A message somebody published, or may have published. Its number is its payload.
#[derive(Clone, Debug)]
pub struct Publication {
    /// Which station.
    pub station: usize,
    /// Where.
    pub topic: Topic,
    /// The publisher's guarantee.
    pub guarantee: Guarantee,
    /// Whether it became the topic's last value.
    pub retain: bool,
    /// Whether the payload is empty: then it clears the last value and nobody can tell it from others.
    pub is_empty: bool,
    /// Its life in seconds.
    pub expiry_s: Option<u32>,
    /// From being said to being acknowledged (or, without acknowledgement, to the next quiet moment).
    pub span: Span,
    /// When it was said.
    pub issued_ns: u64,
    /// Whether the policy lets its publisher speak there.
    pub allowed: bool,
    /// Whether it must have happened once `span` has an end; a will may be cancelled in a race.
    pub certain: bool,
    /// Whether its publisher sent it again on a later connection, where its life begins anew.
    pub is_late: bool,
    /// Whether its publisher may have published it twice: QoS 1 over a lost connection, or a lost session.
    pub repeatable: bool,
    /// Whether a crash may have made the broker forget an `ExactlyOnce` publish whose copies at QoS 0 had left already:
    /// these wait for nothing, and the publisher, who was not answered, sends the message again.
    pub forgettable: bool,
    /// Published by the broker when its client was lost.
    pub is_will: bool,
    /// Whether its publisher's session was to outlive the connection, so that a will outlives a crash.
    pub lasts: bool,
}

/// One subscription of one session.
#[derive(Clone, Debug)]
pub struct Holding {
    /// The filter.
    pub filter: Filter,
    /// How it is wanted.
    pub options: SubscribeFilter,
    /// The subscription identifier; 0 = none.
    pub identifier: u32,
    /// From SUBSCRIBE to SUBACK.
    pub from: Span,
    /// From UNSUBSCRIBE, or whatever else ended it, to its acknowledgement.
    pub until: Option<Span>,
    /// Whether the broker refused it.
    pub refused: bool,
    /// Whether it may have been there before, so that it is perhaps not new.
    pub is_repeat: bool,
}

impl Holding {
    /// Whether it surely stood during the whole of `act`.
    pub fn covers(&self, act: &Span) -> bool {
        let granted = !self.refused && self.from.is_before(act);
        let stayed = match (&self.until, act.end) {
            (None, _) => true,
            (Some(until), Some(end)) => end < until.begin,
            (Some(_), None) => false,
        };
        granted && stayed
    }

    /// Whether it may have stood at some step of `act`.
    pub fn touches(&self, act: &Span) -> bool {
        let begun = act.end.is_none_or(|end| self.from.begin <= end);
        let over = self.until.is_some_and(|until| until.is_before(act));
        !self.refused && begun && !over
    }
}

/// A session of a station, as the broker should see it.
#[derive(Clone, Debug)]
pub struct Session {
    /// From CONNECT to CONNACK.
    pub begin: Span,
    /// What ended it.
    pub end: Option<Span>,
    /// Its subscriptions, ended ones included.
    pub holdings: Vec<Holding>,
}

/// A time in the life of a station; of a connection, from CONNACK until it was cut, closed or taken over.
#[derive(Clone, Copy, Debug)]
pub struct Stretch {
    /// The first step.
    pub from: u64,
    /// The end, when it is over.
    pub until: Option<u64>,
}

/// An application message as a station got it.
#[derive(Clone, Debug)]
pub struct Copy {
    /// When, in steps.
    pub step: u64,
    /// When, in nanoseconds.
    pub mono_ns: u64,
    /// Which publication.
    pub publication: usize,
    /// As the PUBLISH said.
    pub topic: Topic,
    /// As the PUBLISH said.
    pub guarantee: Guarantee,
    /// As the PUBLISH said.
    pub retain: bool,
    /// As the PUBLISH said.
    pub duplicate: bool,
    /// As the PUBLISH said, sorted.
    pub identifiers: Vec<u32>,
    /// As the PUBLISH said.
    pub expiry_s: Option<u32>,
}

/// Everything about one station.
#[derive(Clone, Debug, Default)]
pub struct Biography {
    /// Its user name, for the policy.
    pub username: Option<String>,
    /// Whether it speaks version 5, so that it sees identifiers.
    pub sees_identifiers: bool,
    /// One after the other.
    pub sessions: Vec<Session>,
    /// One after the other.
    pub stretches: Vec<Stretch>,
    /// Times during which it was connected but did not read.
    pub deaf: Vec<Stretch>,
    /// What it got, in order.
    pub copies: Vec<Copy>,
}

impl Biography {
    /// Whether one connection lasted, and was read from, all the time from `begin` to `end`.
    pub fn is_uninterrupted(&self, begin: u64, end: u64) -> bool {
        let lasts = |stretch: &Stretch| stretch.from <= begin && stretch.until.is_none_or(|until| until > end);
        self.stretches.iter().any(lasts) && !self.was_deaf_between(begin, end)
    }

    /// Whether it does not read now.
    pub fn is_deaf(&self) -> bool {
        self.deaf.last().is_some_and(|last| last.until.is_none())
    }

    /// Whether it stopped reading at some step from `begin` to `end`.
    pub fn was_deaf_between(&self, begin: u64, end: u64) -> bool {
        self.deaf.iter().any(|deaf| deaf.from <= end && deaf.until.is_none_or(|until| until >= begin))
    }

    /// Whether a connection ended between these steps.
    pub fn was_lost_between(&self, begin: u64, end: u64) -> bool {
        self.stretches.iter().filter_map(|stretch| stretch.until).any(|until| begin <= until && until <= end)
    }

    /// The session to which something at `step` belongs.
    pub fn session_at(&self, step: u64) -> Option<usize> {
        self.sessions.iter().rposition(|session| session.begin.begin <= step)
    }
}

/// The whole history of a world.
#[derive(Clone, Debug)]
pub struct Story {
    /// Who may do what.
    pub policy: Policy,
    /// By number.
    pub publications: Vec<Publication>,
    /// By number.
    pub stations: Vec<Biography>,
    /// Steps at which nothing was under way.
    pub quiet: Vec<u64>,
    /// By how much deadlines may be late: the store keeps them in milliseconds, and rounds them up at each restart.
    pub rounding_ns: u64,
}

impl Story {
    /// The first quiet moment at or after `step`.
    pub fn quiet_after(&self, step: u64) -> Option<u64> {
        self.quiet.get(self.quiet.partition_point(|quiet| *quiet < step)).copied()
    }

    /// What the policy says about one topic: the first rule that speaks of it decides.
    pub fn allows(&self, username: Option<&str>, publish: bool, topic: &Topic) -> bool {
        if publish && topic.as_str().starts_with('$') {
            return false;
        }
        let speaks = |rule: &&Rule| {
            let names_it = match &rule.who.user {
                User::Named(name) => Some(&name[..]) == username,
                _ => true,
            };
            let filter = Filter::new(rule.pattern.text().into(), &althing_core::topic::TopicLimits::default());
            rule.actions.publish == publish && names_it && filter.is_ok_and(|filter| filter.matches(topic))
        };
        self.policy.rules.iter().find(speaks).map_or(self.policy.otherwise_allow, |rule| rule.allow)
    }
}
