//! What the shard's host counts for the metrics: who was refused what.

use crate::why::reason_name;
use althing_core::Reason;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Refusals by kind and reason. Both are ours to choose, so the table stays small whatever peers do.
#[derive(Debug, Default)]
pub struct Tally {
    refusals: Mutex<BTreeMap<(&'static str, String), u64>>,
}

impl Tally {
    /// Counts one: `kind` says what was refused.
    pub fn refused(&self, kind: &'static str, reason: Reason) {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        *refusals.entry((kind, reason_name(reason))).or_default() += 1;
    }

    /// What has been counted: kind, reason, number.
    pub fn refusals(&self) -> Vec<(&'static str, String, u64)> {
        let refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        refusals.iter().map(|((kind, reason), count)| (*kind, reason.clone(), *count)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_counted_by_reason() {
        let tally = Tally::default();
        tally.refused("request", Reason::NotAuthorised);
        tally.refused("request", Reason::NotAuthorised);
        tally.refused("connection", Reason::BadCredentials);
        let counted = tally.refusals();
        assert_eq!(counted, [("connection", "bad_credentials".into(), 1), ("request", "not_authorised".into(), 2)]);
    }
}
