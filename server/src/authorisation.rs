//! Who may do what: from files to a policy.

pub mod rules;
