//! MQTT 3.1, 3.1.1 and 5.0: the codec, the broker's adaptor and the client half, all without IO.
//!
//! Section numbers without a version are those of MQTT 5.0 (OASIS Standard, 7 March 2019).
#![forbid(unsafe_code)]

pub mod adaptor;
pub mod alias;
pub mod annotate;
pub mod client;
pub mod codec;
pub mod config;
pub mod packet;
pub mod reason;

pub use adaptor::MqttAdaptor;
pub use client::Client;
pub use config::{MqttConfig, PROTOCOL};
