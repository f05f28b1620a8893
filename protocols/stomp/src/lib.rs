//! STOMP 1.2: the codec, the broker's adaptor and the client half, all without IO.
//!
//! A text language of frames: a command, headers and a body that ends with NUL
//! (<https://stomp.github.io/stomp-specification-1.2.html>). Sections are named as the specification names them.
//!
//! How its words meet the assembly:
//!
//! | STOMP | here |
//! |---|---|
//! | destination `/topic/a/b` | topic `a/b`; SUBSCRIBE may use the wildcards `+` and `#` |
//! | destination `/queue/q` | topic and filter `$queue/q`: consumers compete, messages wait |
//! | SEND with `receipt` | at least once; RECEIPT leaves when the broker has stored it |
//! | SEND without | at most once to a topic, at least once to a queue |
//! | `content-type`, `reply-to`, `correlation-id`, `priority`, `expiration` (ms), `retain:true` | properties of the message |
//! | any other header of SEND | a user property; comes back as it was written, in order |
//! | SUBSCRIBE `ack:auto` | at most once from a topic; from a queue over as soon as it is sent |
//! | SUBSCRIBE `ack:client`, `ack:client-individual` | at least once, settled by ACK and NACK |
//! | NACK | back to the queue, for whoever is next; over when it came from a topic |
//!
//! Not spoken: transactions, two subscriptions of one connection to the same destination, versions 1.0 and 1.1.
#![forbid(unsafe_code)]

pub mod adaptor;
pub mod annotate;
pub mod client;
pub mod codec;
pub mod config;
pub mod destination;
pub mod frame;
mod heart_beat;
mod mapping;

pub use adaptor::StompAdaptor;
pub use client::Client;
pub use config::{PROTOCOL, StompConfig};
