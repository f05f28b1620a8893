//! The message layer over reliable carriers (RFC 8323): TCP and TLS as a stream of bytes, WebSocket as whole messages.
//!
//! The carrier sees to arrival and order, so that nothing is repeated, acknowledged or reset. What remains is what the
//! two ends say about the connection: what they take, whether they are there, how it ends.

mod adaptor;
mod connection;
mod messages;
mod patience;
mod protected;

pub use adaptor::CoapAdaptor;
pub use messages::CoapMessageAdaptor;
