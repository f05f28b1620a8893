//! The language of topics, spoken with a running shard.

#![allow(clippy::unwrap_used, reason = "a failure of any step fails the test")]

mod polling;
mod properties;
mod publishing;
mod streaming;
mod world;
