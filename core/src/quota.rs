//! How much one principal may use. What is `None` has no bound of its own; the limits of the house hold in any case.
//!
//! Each shard counts what is on it: a session counts at its home, a last value at the shard that keeps its topic. With
//! several shards one principal may therefore use as many times its quota as there are shards, and does so only when its
//! sessions are spread over all of them.

use crate::authorisation::Principal;
use bytestring::ByteString;
use std::collections::BTreeMap;
use std::fmt;

crate::described! {
    /// How much may be used. The counts are those of all sessions of one principal together; anonymous ones count each for itself.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Quota {
        /// Connections at once.
        pub connections_max: Option<u32>,
        /// Sessions, connected or not.
        pub sessions_max: Option<u32>,
        /// Subscriptions of all its sessions.
        pub subscriptions_max: Option<u32>,
        /// Last values that it has published. What is over its quota already when the quota shrinks stays.
        pub retained_messages_max: Option<u32>,
        /// Bytes that wait for its sessions.
        pub queue_bytes_max: Option<u64>,
        /// Messages that it publishes in one second; twice as many may come at once.
        pub messages_per_s: Option<u32>,
        /// Bytes of payload that it publishes in one second; twice as many may come at once.
        pub bytes_per_s: Option<u64>,
        /// Unacknowledged messages on their way to one of its connections.
        pub inflight_max: Option<u16>,
        /// Bytes of payload of the largest message that it may publish.
        pub message_bytes_max: Option<u32>,
    }
}

/// Whose quota is whose: the one of the user, else of the first of its groups that has one, else of the listener, else the
/// default one.
#[derive(Clone, Debug, Default)]
pub struct Quotas {
    /// Of whoever has no other.
    pub default: Quota,
    /// By name.
    pub users: BTreeMap<ByteString, Quota>,
    /// By group.
    pub groups: BTreeMap<ByteString, Quota>,
    /// By the listener's name.
    pub listeners: BTreeMap<ByteString, Quota>,
}

/// Which of the quotas it is that holds for somebody. Shown as the key under which it is configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Whose {
    /// A user's own.
    User(ByteString),
    /// That of a group.
    Group(ByteString),
    /// That of a listener.
    Listener(ByteString),
    /// Everybody else's.
    #[default]
    Everyone,
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => write!(f, "quotas.users.{name}"),
            Self::Group(name) => write!(f, "quotas.groups.{name}"),
            Self::Listener(name) => write!(f, "quotas.listeners.{name}"),
            Self::Everyone => f.write_str("quotas.default"),
        }
    }
}

impl Quotas {
    /// The quota that holds for `principal`, who is also in the `groups` that the policy knows, and whose it is.
    pub fn of(&self, principal: &Principal, groups: &[ByteString]) -> (&Quota, Whose) {
        if let Some((name, quota)) = principal.name().and_then(|name| self.users.get_key_value(name)) {
            return (quota, Whose::User(name.clone()));
        }
        let mut groups = principal.identity.groups.iter().chain(groups);
        if let Some((name, quota)) = groups.find_map(|group| self.groups.get_key_value(group)) {
            return (quota, Whose::Group(name.clone()));
        }
        match self.listeners.get_key_value(principal.link.listener()) {
            Some((name, quota)) => (quota, Whose::Listener(name.clone())),
            None => (&self.default, Whose::Everyone),
        }
    }

    /// Whether there is any bound for anybody. Where there is none, nothing is counted.
    pub fn is_bounded(&self) -> bool {
        let others = self.users.values().chain(self.groups.values()).chain(self.listeners.values());
        others.chain([&self.default]).any(|quota| *quota != Quota::default())
    }
}

impl Quota {
    /// Whether each message has to be looked at.
    pub fn is_metered(&self) -> bool {
        self.messages_per_s.is_some() || self.bytes_per_s.is_some() || self.message_bytes_max.is_some()
    }
}
