//! `althing`: the broker and its tools in one binary.

mod connection;
mod exit;
mod format;
mod message;
mod properties;
mod url;

fn main() {}
