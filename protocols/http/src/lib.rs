//! HTTP as a language: topics as resources, and `althing.json` over WebSocket.
//!
//! - [`request`], with [`path`] and [`query`]: what a request wants of the broker.
//! - [`properties`], [`message_json`]: what a message says, in headers and in JSON.
//! - [`validators`]: entity tags of last values. [`idempotency`]: requests that are repeated. [`problem`]: what was wrong.
//! - [`event_stream`], [`history`]: deliveries as server-sent events, and what a client missed of them. [`batch`]: many
//!   messages in one request.
#![forbid(unsafe_code)]

pub mod batch;
pub mod event_stream;
pub mod history;
pub mod idempotency;
pub mod message_json;
pub mod path;
pub mod problem;
pub mod properties;
pub mod query;
pub mod request;
pub mod validators;

pub use problem::Problem;
