//! CoAP to the letter: what its specifications demand, each statement with the tests that fail when it is violated.
#![allow(clippy::unwrap_used, reason = "a failure of any step fails the test")]

mod page;
