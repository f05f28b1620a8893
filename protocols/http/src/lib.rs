//! HTTP as a language: topics as resources, and `althing.json` over WebSocket.
#![forbid(unsafe_code)]

pub mod json;
