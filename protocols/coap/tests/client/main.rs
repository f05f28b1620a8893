//! The client half against a server that says what each test wants.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod blocks;
mod messages;
mod observing;
mod oscore;
mod server;
