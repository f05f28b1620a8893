//! Whole worlds in one thread, seeded, without sleeps or a real clock: what tests of several crates stand on.
//!
//! - [`pair`]: one adaptor and one client half on a virtual clock;
//! - [`network`]: a door and client halves on a network that loses, copies, delays and moves addresses;
//! - [`house`]: brokers in one or three shards with many peers on byte pipes, a virtual clock and a store that
//!   confirms when it pleases;
//! - [`disk`]: a disk in memory that loses power and fails where it is told to;
//! - [`ledger`]: what a store must do, in plain maps;
//! - [`scribe`]: random records for stores, without a broker;
//! - [`life`]: a store on such a disk through crashes and failures, compared with a ledger;
//! - [`worlds`]: runs a test in many such worlds and says how to replay the one that failed;
//! - [`model`]: what must be true of any history, checked against random ones;
//! - [`conformance`]: pages that say which test shows what of a specification;
//! - [`trace`]: what happened, as text and as a hash.
#![forbid(unsafe_code)]

pub mod conformance;
pub mod disk;
pub mod house;
pub mod ledger;
pub mod life;
pub mod model;
pub mod network;
pub mod pair;
pub mod scribe;
pub mod trace;
pub mod worlds;

pub use disk::SimDisk;
pub use ledger::Ledger;
