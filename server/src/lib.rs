//! The broker as a program: configuration, listeners, logs, signals, `$SYS`.
//!
//! [`serve`] is all of it. `config` reads one file, the environment and the command line; `protocols` is the
//! table of languages; `host` is what a shard needs from us; `identity` says who somebody is; `storage` is the store's thread;
//! `sys` tells of the broker in its own topics, `events` of who comes and goes; `why` remembers what went wrong for whom; `drain`
//! is the orderly end; `lan` lets other machines in; `systemd` is what the service manager hears; `banner` greets; `console` is the page for people; `tls` is certificates from files, `issue`
//! makes them.
#![forbid(unsafe_code)]

pub mod admin;
pub mod authorisation;
mod banner;
pub mod config;
mod console;
mod drain;
mod events;
mod host;
pub mod identity;
pub mod issue;
mod lan;
mod listening;
pub mod log;
pub mod oscore;
pub mod protocols;
mod pubsub;
pub mod reload;
mod serve;
mod storage;
mod sys;
pub mod systemd;
pub mod tls;
pub mod why;

pub use config::{Config, ConfigError};
pub use serve::{ServeError, ServeOptions, serve};
