//! What the shard's host counts for the metrics: who was refused what.

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
        *refusals.entry((kind, snake(&format!("{reason:?}")))).or_default() += 1;
    }

    /// What has been counted: kind, reason, number.
    pub fn refusals(&self) -> Vec<(&'static str, String, u64)> {
        let refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        refusals.iter().map(|((kind, reason), count)| (*kind, reason.clone(), *count)).collect()
    }
}

/// `NotAuthorised` as label values are written: `not_authorised`.
fn snake(name: &str) -> String {
    let mut text = String::with_capacity(name.len() + 4);
    for (place, letter) in name.char_indices() {
        if letter.is_ascii_uppercase() && place > 0 {
            text.push('_');
        }
        text.push(letter.to_ascii_lowercase());
    }
    text
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
