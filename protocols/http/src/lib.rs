//! HTTP as a language: topics as resources, and `althing.json` over WebSocket.
//!
//! - [`request`], with [`path`] and [`query`]: what a request wants of the broker.
//! - [`properties`]: what a message says, in headers. [`json`]: the same in objects, and the language of them.
//! - [`config`]: what can be configured, and the row in the protocol table.
//! - [`validators`]: entity tags of last values. [`idempotency`]: requests that are repeated. [`problem`]: what was wrong.
//! - [`event_stream`], [`history`]: deliveries as server-sent events, and what a client missed of them. [`batch`]: many
//!   messages in one request.
#![forbid(unsafe_code)]

pub mod batch;
pub mod config;
pub mod event_stream;
pub mod history;
pub mod idempotency;
pub mod json;
pub mod path;
pub mod problem;
pub mod properties;
pub mod query;
pub mod request;
pub mod validators;

pub use config::{HttpConfig, PROTOCOL};
pub use problem::Problem;
