//! One rule: whom it is for, what it speaks of, and what it says.

use super::{Action, Principal};
use crate::message::Guarantee;
use crate::topic::{Filter, Topic, TopicLimits};
use bytestring::ByteString;
use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Whom it is for.
    pub who: Who,
    /// What it speaks of.
    pub actions: Actions,
    /// The topics.
    pub pattern: Pattern,
    /// What it says.
    pub allow: bool,
    /// Of an allowing rule: the most that is allowed. A publish above it is refused; a subscription is granted this much.
    pub guarantee_max: Guarantee,
    /// Where it is written and how, for explanations.
    pub source: ByteString,
}

impl Rule {
    /// A rule for everyone. A pattern that is not a filter speaks of nothing.
    pub fn for_everyone(actions: Actions, pattern: &str, allow: bool) -> Self {
        Self {
            who: Who::default(),
            actions,
            pattern: Pattern::new(pattern),
            allow,
            guarantee_max: Guarantee::ExactlyOnce,
            source: format!("{} {actions} {pattern}", if allow { "allow" } else { "deny" }).into(),
        }
    }

    /// The same for those of this name alone.
    pub fn by(mut self, name: &str) -> Self {
        self.who.user = User::Named(name.into());
        self
    }

    /// Whether it speaks of what they want to do.
    pub fn speaks_of(&self, asker: &Asker<'_>, action: Action<'_>) -> bool {
        self.concerns(asker, action) && self.has_topics_of(asker, action)
    }

    /// Whether it is for them, and of what they want to do, wherever it is.
    pub(super) fn concerns(&self, asker: &Asker<'_>, action: Action<'_>) -> bool {
        let is_above = matches!(action, Action::Publish { guarantee, .. } if guarantee > self.guarantee_max);
        self.actions.speak_of(action) && !(self.allow && is_above) && self.who.includes(asker, self.allow)
    }

    /// Whether its topics are those of what they want to do.
    pub(super) fn has_topics_of(&self, asker: &Asker<'_>, action: Action<'_>) -> bool {
        match action {
            Action::Publish { topic, .. } | Action::Configure(topic) | Action::Receive(topic) => {
                self.pattern.matches(topic, asker.principal)
            }
            Action::Subscribe(wanted) => self.pattern.filter_for(asker.principal).is_some_and(|filter| {
                let (ours, theirs) = (filter.pattern(), wanted.pattern());
                if self.allow { covers(ours, theirs) } else { overlaps(ours, theirs) }
            }),
        }
    }
}

/// Somebody who wants to do something, with what the policy knows of them.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// Who.
    pub principal: &'a Principal,
    /// The groups that the policy knows them to be in, beside those of their identity.
    pub groups: &'a [ByteString],
    /// Whether there can be no others.
    pub has_all_groups: bool,
}

impl Asker<'_> {
    fn is_in(&self, group: &ByteString) -> bool {
        self.principal.identity.groups.contains(group) || self.groups.contains(group)
    }

    pub(super) fn may_be_in_more_groups(&self) -> bool {
        self.principal.is_remembered() && self.principal.name().is_some() && !self.has_all_groups
    }
}

/// Whom a rule is for: everyone that all of it is true of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Who {
    /// By name.
    pub user: User,
    /// By group.
    pub group: Option<ByteString>,
    /// By client id.
    pub client: Option<ByteString>,
    /// By the language's name in the protocol table.
    pub protocol: Option<ByteString>,
    /// By the listener's name.
    pub listener: Option<ByteString>,
    /// By address; a peer without one (a unix socket) counts as `127.0.0.1`.
    pub network: Option<Network>,
}

impl Who {
    /// Whether it is them. What is not known of somebody who is only remembered counts as `doubtful` says.
    pub fn includes(&self, asker: &Asker<'_>, doubtful: bool) -> bool {
        let principal = asker.principal;
        let is = |wanted: &Option<ByteString>, found: &str| wanted.as_ref().is_none_or(|wanted| *wanted == *found);
        self.user.is(principal.name())
            && is(&self.client, &principal.client)
            && is(&self.protocol, principal.protocol)
            && (self.group.as_ref().is_none_or(|group| asker.is_in(group)) || doubtful && asker.may_be_in_more_groups())
            && (is(&self.listener, principal.link.listener())
                && self.network.is_none_or(|network| network.is_of(principal))
                || doubtful && principal.is_remembered())
    }
}

/// Whom a rule is for, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum User {
    /// Everyone.
    #[default]
    Anyone,
    /// Those who have proven no name.
    Anonymous,
    /// Those who have proven a name.
    Authenticated,
    /// This one.
    Named(ByteString),
}

impl User {
    fn is(&self, name: Option<&ByteString>) -> bool {
        match self {
            Self::Anyone => true,
            Self::Anonymous => name.is_none(),
            Self::Authenticated => name.is_some(),
            Self::Named(wanted) => name == Some(wanted),
        }
    }
}

/// What a rule speaks of. A publish that is retained or a will is still a publish: a rule speaks of it by any of the three.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Actions {
    pub publish: bool,
    pub retain: bool,
    pub will: bool,
    pub subscribe: bool,
    pub receive: bool,
}

impl Actions {
    /// Publishing of any kind.
    pub const PUBLISH: Self = Self { publish: true, retain: false, will: false, subscribe: false, receive: false };
    /// Subscribing, and receiving what matches.
    pub const SUBSCRIBE: Self = Self { publish: false, retain: false, will: false, subscribe: true, receive: true };
    /// Receiving alone.
    pub const RECEIVE: Self = Self { subscribe: false, ..Self::SUBSCRIBE };

    /// Publishing of any kind, or else subscribing.
    pub fn publish_or_subscribe(publish: bool) -> Self {
        if publish { Self::PUBLISH } else { Self::SUBSCRIBE }
    }

    fn speak_of(self, action: Action<'_>) -> bool {
        match action {
            Action::Publish { retain, will, .. } => self.publish || (self.retain && retain) || (self.will && will),
            Action::Configure(_) => self.publish || self.retain,
            Action::Subscribe(_) => self.subscribe,
            Action::Receive(_) => self.receive,
        }
    }
}

impl fmt::Display for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (self.publish, "publish"),
            (self.retain, "retain"),
            (self.will, "will"),
            (self.subscribe, "subscribe"),
            (self.receive, "receive"),
        ];
        let said = names.iter().filter(|(is, _)| *is).map(|(_, name)| *name);
        f.write_str(&said.collect::<Vec<_>>().join(","))
    }
}

/// A topic filter in which `%u` stands for the proven name and `%c` for the client id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: ByteString,
    /// `None` while there is something to put in.
    filter: Option<Filter>,
    /// Whether it is one once something is put in.
    is_filter: bool,
}

impl Pattern {
    /// Any text; one that is no filter speaks of nothing.
    pub fn new(text: &str) -> Self {
        let filter = if has_placeholder(text) { None } else { Filter::again(text) };
        let is_filter = Filter::again(&text.replace("%u", "x").replace("%c", "x")).is_some();
        Self { text: text.into(), filter, is_filter }
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// With what stands for the placeholders. `None` where there is nothing to put in, or something that would change what
    /// the filter means: a name with `/`, `+`, `#` or NUL is no part of a topic, and
    /// one with `$` in front does not begin one.
    pub fn filter_for(&self, principal: &Principal) -> Option<Cow<'_, Filter>> {
        if let Some(filter) = &self.filter {
            return Some(Cow::Borrowed(filter));
        }
        let mut text = self.text.to_string();
        for (placeholder, value) in
            [("%u", principal.name().map(|name| &name[..])), ("%c", Some(&principal.client[..]))]
        {
            if text.contains(placeholder) {
                let value = value.and_then(fitting)?;
                text = text.replace(placeholder, value);
            }
        }
        let filter = Filter::new(text.into(), &TopicLimits::default()).ok()?;
        let is_reserved = filter.pattern().starts_with('$');
        let was_reserved = self.levels_of(&filter).next().is_some_and(|level| level.starts_with('$'));
        (is_reserved == was_reserved).then_some(Cow::Owned(filter))
    }

    /// The levels of the pattern as it was written; `filled` says where it begins.
    fn levels_of(&self, filled: &Filter) -> impl Iterator<Item = &str> + Clone {
        let pattern_start = filled.as_str().len() - filled.pattern().len();
        self.text.split('/').skip(filled.as_str()[..pattern_start].matches('/').count())
    }

    /// Whether [`filter_for`](Self::filter_for) matches `topic`, without making it where that can be avoided.
    pub fn matches(&self, topic: &Topic, principal: &Principal) -> bool {
        if self.is_fixed() || self.text.starts_with('$') {
            return self.filter_for(principal).is_some_and(|filter| filter.matches(topic));
        }
        // Of those that begin otherwise all are filters, or none is, whatever is put in.
        let values = [("%u", principal.name().map(|name| &name[..])), ("%c", Some(&principal.client[..]))];
        let lacks = |(placeholder, value): &(&str, Option<&str>)| {
            self.text.contains(placeholder) && value.and_then(fitting).is_none()
        };
        if !self.is_filter || topic.is_reserved() || values.iter().any(lacks) {
            return false;
        }
        let mut levels = topic.levels();
        for wanted in self.text.split('/') {
            match (wanted, levels.next()) {
                ("#", _) => return true,
                ("+", Some(_)) => {}
                (wanted, Some(level)) if is_filled(wanted, level, &values) => {}
                _ => return false,
            }
        }
        levels.next().is_none()
    }

    /// Whether it is the same for everyone.
    pub(super) fn is_fixed(&self) -> bool {
        self.filter.is_some()
    }

    /// A pattern that matches at least what this one matches for anybody: one with something to put in matches whatever
    /// is put in there. `None` where there is none.
    pub(super) fn for_anybody(&self) -> Option<String> {
        if let Some(filter) = &self.filter {
            return Some(filter.pattern().to_owned());
        }
        let filled = self.text.replace("%u", "x").replace("%c", "x");
        let filled = Filter::again(&filled)?;
        let levels = self.levels_of(&filled);
        let changes_kind = |level: &str| level.starts_with('$') && has_placeholder(level);
        if [self.text.split('/').next(), levels.clone().next()].into_iter().flatten().any(changes_kind) {
            // A wildcard does not match what begins with `$`, and what is put in may begin with `$share`.
            return None;
        }
        let widened = levels.map(|level| if has_placeholder(level) { "+" } else { level });
        Some(widened.collect::<Vec<_>>().join("/"))
    }
}

/// What may be put in: something that is part of a level and of nothing else.
fn fitting(value: &str) -> Option<&str> {
    (!value.is_empty() && !value.contains(['/', '+', '#', '\0', '%'])).then_some(value)
}

/// Whether `wanted` is `level` once the values are put in.
fn is_filled(mut wanted: &str, mut level: &str, values: &[(&str, Option<&str>)]) -> bool {
    while !wanted.is_empty() {
        let filled =
            values.iter().find_map(|(placeholder, value)| Some((wanted.strip_prefix(placeholder)?, (*value)?)));
        let (rest, text) = filled.unwrap_or_else(|| {
            let later = wanted.char_indices().skip(1).find(|(_, letter)| *letter == '%');
            let next = later.map_or(wanted.len(), |(position, _)| position);
            (&wanted[next..], &wanted[..next])
        });
        let Some(left) = level.strip_prefix(text) else { return false };
        (wanted, level) = (rest, left);
    }
    level.is_empty()
}

fn has_placeholder(text: &str) -> bool {
    text.contains("%u") || text.contains("%c")
}

/// Addresses with the same first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix_bits: u8,
}

impl Network {
    /// Whether the principal comes from there; without an address (a unix socket) it counts as `127.0.0.1`.
    fn is_of(self, principal: &Principal) -> bool {
        !principal.is_remembered()
            && self.contains(principal.address().unwrap_or(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)))
    }

    /// Whether `address` is one of them.
    pub fn contains(self, address: IpAddr) -> bool {
        let bits = |address: IpAddr| match address {
            IpAddr::V4(address) => (u128::from(u32::from(address)) << 96, 32),
            IpAddr::V6(address) => (u128::from(address), 128),
        };
        let ((ours, length), (theirs, other_length)) = (bits(self.address), bits(address.to_canonical()));
        let differing = ours ^ theirs;
        length == other_length && differing.leading_zeros() >= u32::from(self.prefix_bits)
    }
}

impl FromStr for Network {
    type Err = String;

    /// `192.0.2.0/24`, `2001:db8::/32`, or one address.
    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("`{text}` is no network; write for example 192.0.2.0/24 or ::1");
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| expected())?;
        let length = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = prefix.map_or(Ok(length), str::parse).map_err(|_| expected())?;
        if prefix_bits > length { Err(expected()) } else { Ok(Self { address, prefix_bits }) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_bits)
    }
}

/// An allowing rule must cover the whole filter.
fn covers(wide: &str, narrow: &str) -> bool {
    if wide.starts_with(['+', '#']) && narrow.starts_with('$') {
        return false;
    }
    let mut narrow = narrow.split('/');
    for wanted in wide.split('/') {
        match (wanted, narrow.next()) {
            ("#", _) => return true,
            (_, None | Some("#")) => return false,
            ("+", Some(_)) => {}
            (level, Some(other)) if level == other => {}
            _ => return false,
        }
    }
    narrow.next().is_none()
}

/// A denying rule speaks already when it overlaps the filter, or a wider filter would be the way around it.
fn overlaps(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.split('/'), other.split('/'));
    loop {
        match (one.next(), other.next()) {
            (None, None) | (Some("#"), _) | (_, Some("#")) => return true,
            (Some(a), Some(b)) if a == b || a == "+" || b == "+" => {}
            _ => return false,
        }
    }
}
