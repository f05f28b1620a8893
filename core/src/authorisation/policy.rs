//! All that is said about who may do what and use how much.

use super::{Action, Asker, Because, Decision, Network, Principal, Rule};
use crate::quota::Quotas;
use bytestring::ByteString;
use std::collections::{BTreeMap, BTreeSet};

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

impl Policy {
    /// Everyone may do everything, except write the broker's own `$` topics.
    pub fn open() -> Self {
        Self { otherwise_allow: true, ..Self::default() }
    }

    /// These rules, and what holds when none speaks.
    pub fn new(rules: Vec<Rule>, otherwise_allow: bool) -> Self {
        Self { rules, otherwise_allow, ..Self::default() }
    }

    /// Decides, and says why: asks one rule after the other.
    pub fn decide<'a>(&'a self, principal: &'a Principal, action: Action<'_>) -> Decision<'a> {
        if let Some(because) = self.shuts_out(principal) {
            return Decision::plain(false, because);
        }
        if action.is_reserved() {
            return Decision::plain(false, Because::Reserved);
        }
        let asker = self.asker(principal);
        let mut rules = principal.identity.rules.iter().chain(&self.rules);
        match rules.find(|rule| rule.speaks_of(&asker, action)) {
            Some(rule) => Decision::of(rule),
            None => Decision::plain(self.otherwise(principal, action), Because::Otherwise),
        }
    }

    /// What holds when no rule speaks. The proof of somebody who is only remembered may have said more, and whatever
    /// waits for it is asked for again when it is there.
    pub(super) fn otherwise(&self, principal: &Principal, action: Action<'_>) -> bool {
        let has_doubt = principal.is_remembered() && principal.name().is_some();
        self.otherwise_allow || (has_doubt && !matches!(action, Action::Publish { .. } | Action::Configure(_)))
    }

    /// What is said of `principal` whatever it asks for, if anything is.
    pub fn shuts_out(&self, principal: &Principal) -> Option<Because<'static>> {
        if self.bans(principal) {
            return Some(Because::Banned);
        }
        (!self.knows(principal)).then_some(Because::Unknown)
    }

    /// `principal` with what is known of it here.
    pub fn asker<'a>(&'a self, principal: &'a Principal) -> Asker<'a> {
        Asker { principal, groups: self.groups_of(principal), has_all_groups: self.users.is_some() }
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
