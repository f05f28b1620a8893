//! Who somebody is.

pub mod config;
