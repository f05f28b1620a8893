//! CoAP: the codec, the broker's side and the client half, all without IO.
//!
//! RFC 7252 is the protocol, RFC 7641 is Observe, RFC 6690 is `/.well-known/core`; sections without a document are
//! those of RFC 7252. Topics are resources: `/t/a/b` is the topic `a/b`, its representation is the topic's last
//! value, and observing it is subscribing.
//!
//! - [`message`], [`codec`]: messages as values, and back, in datagrams and on reliable carriers; [`signalling`]: what the ends
//!   of a connection say about it (RFC 8323 §5).
//! - [`door`], [`transmission`], [`exchanges`]: the message layer over datagrams. What must arrive is repeated, what
//!   comes twice is answered twice and carried out once.
//! - [`stream`]: the message layer over TCP, TLS and WebSocket, where the carrier does that.
//! - [`requests`], [`resources`], [`format`](mod@format): the request layer, the same whatever carries it; [`block`]: bodies in
//!   blocks (RFC 7959).
//! - [`oscore`]: messages protected end to end (RFC 8613).
//! - [`client`]: the other side.
#![forbid(unsafe_code)]

pub mod annotate;
pub mod block;
pub mod client;
pub mod codec;
pub mod common;
pub mod config;
pub mod door;
pub mod exchanges;
pub mod format;
pub mod message;
mod no_response;
pub mod oscore;
mod protection;
pub mod requests;
pub mod resources;
pub mod signalling;
pub mod stream;
pub mod transmission;

pub use client::Client;
pub use common::Common;
pub use config::{AddressProof, CoapConfig, PROTOCOL, STREAM_PROTOCOL};
pub use door::CoapDoor;
pub use stream::{CoapAdaptor, CoapMessageAdaptor};
