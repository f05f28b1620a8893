//! What each principal uses of its quota, on this shard.
//!
//! Sessions of one name share an [`Account`]; an anonymous session has one of its own. Counts are brought in line by
//! [`Broker::count_use`], which looks at one session alone. While the policy bounds nobody, no account exists and a session
//! costs a look at an empty field.

use super::Broker;
use crate::authorisation::Principal;
use crate::bucket::Bucket;
use crate::effects::Effects;
use crate::hash::Seeded;
use crate::identity::Identity;
use crate::message::{Message, Origin};
use crate::quota::{Quota, Whose};
use crate::session::Session;
use crate::time::Now;
use crate::topic::Topic;
use crate::verbs::{Reason, Refusal, Will};
use bytestring::ByteString;
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;

/// What is counted for whom.
#[derive(Debug)]
pub(crate) struct Accounts {
    /// Whether anybody has a bound.
    is_on: bool,
    places: Vec<Account>,
    vacant: Vec<u32>,
    by_name: HashMap<ByteString, u32, Seeded>,
    /// Named accounts without sessions that still owe something: who comes back finds its debt.
    resting: VecDeque<u32>,
    /// Last values that are kept on this shard, by who has published them.
    retained: HashMap<Author, u32, Seeded>,
}

/// What the sessions of one principal use together.
#[derive(Debug, Default)]
struct Account {
    name: Option<ByteString>,
    sessions: u32,
    used: Use,
    messages: Bucket,
    bytes: Bucket,
    is_resting: bool,
}

/// What is added up over sessions.
#[derive(Clone, Copy, Debug, Default)]
struct Use {
    connections: u32,
    subscriptions: u32,
    queue_bytes: u64,
}

/// Who is charged for a last value: its author's name, or the client id of one without a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Author {
    Name(ByteString),
    Client(ByteString),
}

/// What one session may use, and what of it is on its account.
#[derive(Debug)]
pub(crate) struct Allowance {
    pub quota: Quota,
    whose: Whose,
    account: u32,
    counted: Use,
}

impl Accounts {
    pub fn new(hasher: Seeded) -> Self {
        Self {
            is_on: false,
            places: Vec::new(),
            vacant: Vec::new(),
            by_name: HashMap::with_hasher(hasher.clone()),
            resting: VecDeque::new(),
            retained: HashMap::with_hasher(hasher),
        }
    }

    fn find(&self, name: &str) -> Option<&Account> {
        self.by_name.get(name).and_then(|index| self.places.get(*index as usize))
    }

    /// The account of whoever this is, with one session more.
    fn open(&mut self, name: Option<&ByteString>, now: Now) -> u32 {
        self.forget_rested(now);
        let known = name.and_then(|name| self.by_name.get(name)).copied();
        let index = known.unwrap_or_else(|| {
            let account = Account { name: name.cloned(), ..Account::default() };
            let index = self.vacant.pop().unwrap_or(self.places.len() as u32);
            match self.places.get_mut(index as usize) {
                Some(place) => *place = account,
                None => self.places.push(account),
            }
            self.by_name.extend(name.map(|name| (name.clone(), index)));
            index
        });
        self.places[index as usize].sessions += 1;
        index
    }

    /// One session of an account ends, or counts elsewhere from now on.
    fn close(&mut self, allowance: &Allowance, now: Now) {
        let account = &mut self.places[allowance.account as usize];
        account.sessions -= 1;
        account.used.replace(allowance.counted, Use::default());
        if account.sessions > 0 || account.is_resting {
            return;
        }
        if account.name.is_some() && account.owes(now) {
            account.is_resting = true;
            return self.resting.push_back(allowance.account);
        }
        self.free(allowance.account);
    }

    fn free(&mut self, index: u32) {
        let account = std::mem::take(&mut self.places[index as usize]);
        if let Some(name) = &account.name {
            self.by_name.remove(name);
        }
        self.vacant.push(index);
    }

    /// Looks at two of those that rest: at most one is added for each that is opened, so they do not pile up.
    fn forget_rested(&mut self, now: Now) {
        for _ in 0..2.min(self.resting.len()) {
            let Some(index) = self.resting.pop_front() else { return };
            let account = &mut self.places[index as usize];
            match (account.sessions, account.owes(now)) {
                (0, true) => self.resting.push_back(index),
                (0, false) => self.free(index),
                _ => account.is_resting = false,
            }
        }
    }
}

impl Account {
    fn owes(&self, now: Now) -> bool {
        !self.messages.is_full(now.mono_ns) || !self.bytes.is_full(now.mono_ns)
    }
}

impl Use {
    fn of(session: &Session) -> Self {
        Self {
            connections: u32::from(session.peer.is_some()),
            subscriptions: session.subscriptions_len() as u32,
            queue_bytes: session.queue.bytes() as u64,
        }
    }

    fn replace(&mut self, before: Self, after: Self) {
        self.connections = self.connections - before.connections + after.connections;
        self.subscriptions = self.subscriptions - before.subscriptions + after.subscriptions;
        self.queue_bytes = self.queue_bytes - before.queue_bytes + after.queue_bytes;
    }
}

impl Author {
    fn of(message: &Message) -> Option<Self> {
        let origin = message.origin.as_ref()?;
        Some(origin.principal.clone().map_or_else(|| Self::Client(origin.client.clone()), Self::Name))
    }
}

/// Which quota is whose, and what is counted.
impl Broker {
    /// The policy's quotas hold from now on: everyone is counted anew. What is over its quota already stays, and gets
    /// nothing more.
    pub(super) fn renew_quotas(&mut self, now: Now) {
        let was_on = std::mem::replace(&mut self.accounts.is_on, self.policy.quotas.is_bounded());
        if !was_on && !self.accounts.is_on {
            return;
        }
        for index in self.sessions.indices() {
            self.open_account(now, index);
        }
        self.accounts.retained.clear();
        if self.accounts.is_on {
            for author in self.retained.all().filter_map(|message| Author::of(message)) {
                *self.accounts.retained.entry(author).or_default() += 1;
            }
        }
    }

    /// Has a session count for whom it belongs to now.
    pub(super) fn open_account(&mut self, now: Now, index: u32) {
        let Some(session) = self.sessions.get_mut(index) else { return };
        let before = session.allowance.take();
        session.is_metered = false;
        if self.accounts.is_on {
            let principal = &session.principal;
            let (quota, whose) = self.policy.quotas.of(principal, self.policy.groups_of(principal));
            // Whoever has no name keeps its account, as long as it has none.
            let kept = before
                .as_ref()
                .map(|before| before.account)
                .filter(|account| principal.name().is_none() && self.accounts.places[*account as usize].name.is_none());
            let account = match kept {
                Some(account) => {
                    self.accounts.places[account as usize].sessions += 1;
                    account
                }
                None => self.accounts.open(principal.name(), now),
            };
            session.is_metered = quota.is_metered();
            let (quota, counted) = (*quota, Use::default());
            session.allowance = Some(Box::new(Allowance { quota, whose, account, counted }));
        }
        if let Some(before) = before {
            self.accounts.close(&before, now);
        }
        self.count_use(index);
    }

    /// A session ends.
    pub(super) fn close_account(&mut self, now: Now, index: u32) {
        if let Some(allowance) = self.sessions.get_mut(index).and_then(|session| session.allowance.take()) {
            self.accounts.close(&allowance, now);
        }
    }

    /// Brings a session's account in line with what it uses now. Called where that has changed, before it is asked for.
    pub(super) fn count_use(&mut self, index: u32) {
        let Some(session) = self.sessions.get_mut(index).filter(|session| session.allowance.is_some()) else { return };
        let used = Use::of(session);
        if let Some(allowance) = &mut session.allowance {
            let before = std::mem::replace(&mut allowance.counted, used);
            self.accounts.places[allowance.account as usize].used.replace(before, used);
        }
    }

    fn quota_of(&self, index: u32) -> Option<(&Allowance, &Account)> {
        let allowance = self.sessions.get(index)?.allowance.as_deref()?;
        Some((allowance, &self.accounts.places[allowance.account as usize]))
    }
}

/// What a quota forbids.
impl Broker {
    /// Whether `principal` may have one connection more, in place of what it has of the session that was `found`, and
    /// leave this will.
    pub(super) fn may_connect(
        &self,
        principal: &Principal,
        will: Option<&Will>,
        found: Option<u32>,
    ) -> Result<(), Refusal> {
        if !self.accounts.is_on {
            return Ok(());
        }
        let (quota, whose) = self.policy.quotas.of(principal, self.policy.groups_of(principal));
        let will_bytes = will.map_or(0, |will| will.message.payload.len() as u64);
        if let Some(most) = quota.message_bytes_max.filter(|most| will_bytes > u64::from(*most)) {
            let text = format!("a will of {will_bytes} bytes; {whose}.message_bytes_max allows {most}");
            return Err(Refusal::new(Reason::PacketTooLarge, text));
        }
        let account = principal.name().and_then(|name| self.accounts.find(name));
        let found = found.and_then(|index| self.sessions.get(index));
        let found = found.filter(|session| session.principal.name() == principal.name());
        let others = |all: u32, own: u32| all.saturating_sub(own);
        let own_connections = found.map_or(0, |session| u32::from(session.peer.is_some()));
        let connections = account.map_or(0, |account| others(account.used.connections, own_connections));
        let sessions = account.map_or(0, |account| others(account.sessions, u32::from(found.is_some())));
        let bounds = [("connections", quota.connections_max, connections), ("sessions", quota.sessions_max, sessions)];
        for (what, most, used) in bounds {
            if let Some(most) = most.filter(|most| used >= *most) {
                let who = principal.name().map_or("nobody", |name| name);
                let text = format!("{who} has as many {what} as {whose}.{what}_max allows: {most}");
                return Err(Refusal::new(Reason::QuotaExceeded, text));
            }
        }
        Ok(())
    }

    /// Whether another connection may take the session's place, and how fast that has happened by now. Two clients with
    /// one id would throw each other out as fast as they can; so the one that is there stays.
    pub(super) fn may_take_over(&self, now: Now, found: Option<u32>) -> Result<Bucket, Refusal> {
        let Some(session) = found.and_then(|index| self.sessions.get(index)) else { return Ok(Bucket::default()) };
        let mut takeovers = session.takeovers;
        if session.peer.is_none() {
            return Ok(takeovers);
        }
        let rate = self.limits.takeovers_per_s;
        if takeovers.rests_until_ns(now.mono_ns).is_some() {
            let text = format!(
                "other connections take this client id faster than limits.takeovers_per_s allows: {rate}; give each client \
                 its own"
            );
            return Err(Refusal::new(Reason::ConnectionRateExceeded, text));
        }
        takeovers.take(now.mono_ns, 1, u64::from(rate));
        Ok(takeovers)
    }

    /// Why a session may not have one subscription more.
    pub(super) fn lacks_subscriptions(&mut self, index: u32) -> Option<String> {
        self.count_use(index);
        let (allowance, account) = self.quota_of(index)?;
        let most = allowance.quota.subscriptions_max.filter(|most| account.used.subscriptions >= *most)?;
        Some(format!("there are as many subscriptions as {}.subscriptions_max allows: {most}", allowance.whose))
    }

    /// Whether a session's queue may not have `size` bytes more.
    pub(super) fn lacks_queue_bytes(&self, index: u32, size: usize) -> bool {
        self.quota_of(index).is_some_and(|(allowance, account)| {
            let most = allowance.quota.queue_bytes_max;
            most.is_some_and(|most| account.used.queue_bytes + size as u64 > most)
        })
    }

    /// Takes a message off what its publisher may send, and has one that is too fast rest. An error: the message is
    /// refused, and has cost nothing.
    pub(super) fn meter(
        &mut self,
        now: Now,
        index: u32,
        message: &Message,
        effects: &mut Effects,
    ) -> Result<(), Refusal> {
        let Some(session) = self.sessions.get_mut(index) else { return Ok(()) };
        let Some(allowance) = session.allowance.as_deref_mut() else { return Ok(()) };
        let Quota { messages_per_s, bytes_per_s, message_bytes_max, .. } = allowance.quota;
        let bytes = message.payload.len() as u64;
        if let Some(most) = message_bytes_max.filter(|most| bytes > u64::from(*most)) {
            let text = format!("a message of {bytes} bytes; {}.message_bytes_max allows {most}", allowance.whose);
            return Err(Refusal::new(Reason::PacketTooLarge, text));
        }
        let account = &mut self.accounts.places[allowance.account as usize];
        let mono_ns = now.mono_ns;
        let rates = [
            ("messages_per_s", messages_per_s.map(u64::from), 1, &mut account.messages),
            ("bytes_per_s", bytes_per_s, bytes, &mut account.bytes),
        ];
        let beyond = rates.iter().find_map(|(key, rate, _, bucket)| {
            rate.filter(|rate| *rate == 0 || bucket.is_overdrawn(mono_ns)).map(|rate| (*key, rate))
        });
        let mut rests_until_ns = None;
        for (_, rate, units, bucket) in rates {
            let Some(rate) = rate else { continue };
            if beyond.is_none() {
                bucket.take(mono_ns, units, rate);
            }
            rests_until_ns = rests_until_ns.max(bucket.rests_until_ns(mono_ns));
        }
        if let (Some(peer), Some(until_ns)) = (session.peer, rests_until_ns) {
            self.statistics.throttles += 1;
            effects.throttle.push((peer, until_ns));
        }
        let Some((key, rate)) = beyond else { return Ok(()) };
        let text = format!("messages come faster than {}.{key} allows: {rate}", allowance.whose);
        Err(Refusal::new(Reason::MessageRateTooHigh, text))
    }
}

/// Last values, each of which counts for who has published it.
impl Broker {
    /// Whether `message` may become the last value of its topic.
    pub(super) fn may_retain(&self, message: &Message, publisher: Option<u32>) -> Result<(), Refusal> {
        if !self.accounts.is_on {
            return Ok(());
        }
        let (Some(author), Some(origin)) = (Author::of(message), &message.origin) else { return Ok(()) };
        let (most, whose) = match publisher.and_then(|index| self.quota_of(index)) {
            Some((allowance, _)) => (allowance.quota.retained_messages_max, allowance.whose.clone()),
            None => self.retained_messages_max_of(origin),
        };
        let Some(most) = most else { return Ok(()) };
        let replaces_own = || self.last_value_author(&message.topic).as_ref() == Some(&author);
        if self.accounts.retained.get(&author).copied().unwrap_or_default() < most || replaces_own() {
            return Ok(());
        }
        let text = format!("there are as many last values as {whose}.retained_messages_max allows: {most}");
        Err(Refusal::new(Reason::QuotaExceeded, text))
    }

    /// For somebody whose session is on another shard: what is known there of its groups and listener is not known here.
    fn retained_messages_max_of(&self, origin: &Origin) -> (Option<u32>, Whose) {
        let identity = Arc::new(Identity { name: origin.principal.clone(), ..Identity::default() });
        let (client, protocol, link) = (origin.client.clone(), origin.protocol, self.nowhere.clone());
        let principal = Principal { identity, client, protocol, link };
        let (quota, whose) = self.policy.quotas.of(&principal, self.policy.groups_of(&principal));
        (quota.retained_messages_max, whose)
    }

    /// Who is charged for a topic's last value, while anybody is charged for anything.
    pub(super) fn last_value_author(&self, topic: &Topic) -> Option<Author> {
        self.retained.find(topic).filter(|_| self.accounts.is_on).and_then(|message| Author::of(message))
    }

    /// A topic's last value has changed: whoever was charged for the one `before` is so no more.
    pub(super) fn count_last_value(&mut self, before: Option<Author>, message: Option<&Message>) {
        if !self.accounts.is_on {
            return;
        }
        if let Some(before) = before {
            self.uncount_last_value(before);
        }
        if let Some(author) = message.and_then(Author::of) {
            *self.accounts.retained.entry(author).or_default() += 1;
        }
    }

    /// A last value has expired.
    pub(super) fn count_expired(&mut self, message: &Message) {
        if self.accounts.is_on
            && let Some(author) = Author::of(message)
        {
            self.uncount_last_value(author);
        }
    }

    fn uncount_last_value(&mut self, author: Author) {
        if let hashbrown::hash_map::Entry::Occupied(mut count) = self.accounts.retained.entry(author) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}
