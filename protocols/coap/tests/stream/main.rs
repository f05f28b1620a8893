//! CoAP over reliable carriers (RFC 8323): the framing, and conversations with the adaptors.

#![allow(clippy::unwrap_used, reason = "a failure of any step fails the test")]

mod conversation;
mod framing;
mod protected;
mod signalling;
mod world;
