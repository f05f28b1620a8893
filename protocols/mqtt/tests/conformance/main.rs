//! MQTT to the letter: the normative statements of MQTT 3.1.1 and 5.0, each with the test that fails when a server
//! violates it (`statements.txt`), and malformed packets with their exact answers (`packets.txt`).
#![allow(clippy::unwrap_used, missing_docs)]

mod connack;
mod connect;
mod delivery;
mod disconnect;
mod formats;
mod mutations;
mod packets;
mod page;
mod properties;
mod publish;
mod retained;
mod sessions;
mod stage;
mod subscribe;
mod topics;
mod will;
