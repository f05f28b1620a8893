//! `althing.json` before a real broker. Time is virtual.

mod connecting;
mod delivering;
mod hall;
mod mistakes;
mod publishing;
mod roundtrip;
mod subscribing;
