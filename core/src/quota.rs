//! How much one principal may use. What is `None` has no bound of its own; the limits of the house hold in any case.

use crate::authorisation::Principal;
use bytestring::ByteString;
use std::collections::BTreeMap;

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
        /// Last values that it has published.
        pub retained_messages_max: Option<u32>,
        /// Bytes that wait for its sessions.
        pub queue_bytes_max: Option<u64>,
        /// Messages that it publishes in one second; twice as many may come at once.
        pub messages_per_s: Option<u32>,
        /// Bytes of payload that it publishes in one second; twice as many may come at once.
        pub bytes_per_s: Option<u64>,
        /// Unacknowledged messages on their way to one of its connections.
        pub inflight_max: Option<u16>,
        /// Bytes of the largest message that it may publish.
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

impl Quotas {
    /// The quota that holds for `principal`, who is also in the `groups` that the policy knows.
    pub fn of(&self, principal: &Principal, groups: &[ByteString]) -> &Quota {
        let user = principal.name().and_then(|name| self.users.get(name));
        let group = || principal.identity.groups.iter().chain(groups).find_map(|group| self.groups.get(group));
        user.or_else(group).or_else(|| self.listeners.get(principal.link.listener())).unwrap_or(&self.default)
    }
}
