//! The door, with a broker behind it and clients before it.

#![allow(clippy::unwrap_used, reason = "a failure of any step fails the test")]

mod amplification;
mod bad_input;
mod blocks;
mod groups;
mod no_response;
mod observing;
mod oscore;
mod requests;
mod resources;
mod sessions;
mod throttling;
mod transmission;
mod weather;
#[allow(dead_code, reason = "the tests of /ps look at more of it")]
mod world;
