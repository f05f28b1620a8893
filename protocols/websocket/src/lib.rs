//! WebSocket (RFC 6455) with compression (RFC 7692), without IO: frames around the languages that are spoken in a
//! browser. Sections are named as RFC 6455 numbers them, unless another document is named.
//!
//! - [`handshake`]: the opening handshake as pure functions; who speaks HTTP calls them (§4).
//! - [`frame`], [`close`], [`decoder`]: one frame's header, close codes, and payloads taken out of their frames in the
//!   memory that they came in (§5, §7).
//! - [`deflate`]: compressed messages, without any state between two of them (RFC 7692).
//! - [`WebSocketAdaptor`]: an [`Adaptor`](althing_core::Adaptor) around one of bytes or of messages.
//! - [`Client`]: the client half, for tools and tests.
#![forbid(unsafe_code)]

pub mod adaptor;
pub mod annotate;
pub mod client;
pub mod close;
pub mod config;
pub mod decoder;
pub mod deflate;
mod echo;
pub mod extension;
pub mod frame;
pub mod handshake;
mod utf8;

pub use adaptor::{Inner, WebSocketAdaptor};
pub use client::Client;
pub use close::CloseCode;
pub use config::WebSocketConfig;
pub use deflate::{Deflate, Deflater};
pub use echo::EchoAdaptor;
pub use extension::Extension;
