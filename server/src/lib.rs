//! The broker as a program: configuration, listeners, logs, signals, `$SYS`.
//!
//! [`serve`] is all of it. `config` reads one file, the environment and the command line; `protocols` is the
//! table of languages; `host` is what a shard needs from us; `storage` is the store's thread; `sys` tells of the broker in its own
//! topics; `banner` greets.
#![forbid(unsafe_code)]

pub mod admin;
pub mod authorisation;
mod banner;
pub mod config;
mod host;
pub mod identity;
mod listening;
mod log;
pub mod protocols;
mod serve;
mod storage;
mod sys;

pub use config::{Config, ConfigError};
pub use serve::{ServeError, ServeOptions, serve};
