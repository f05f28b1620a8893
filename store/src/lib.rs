//! What must outlive the process.
//!
//! The broker names what has to become durable in `Effects::store` and the ticket that covers it; whatever
//! promises it waits in the broker until the ticket is confirmed with `Broker::stored`. So a store is two
//! calls: [`Memory::append`] takes a batch, [`Memory::durable`] says how far it has come. A log on disk
//! takes the same two: it appends, syncs once for all batches of a tick, and then moves `durable`.
#![forbid(unsafe_code)]

mod bodies;
mod checkpoint;
mod cleaner;
mod clock;
mod codec;
pub mod disk;
pub mod error;
mod files;
pub mod frame;
mod index;
pub mod log;
mod reading;
mod recovery;
mod store;
pub mod tools;

pub use clock::Downtime;
pub use error::{Failure, OpenError};
pub use files::Files;
pub use store::{Statistics, Store};

use althing_core::record::Record;

/// How the store lays itself out.
#[derive(Clone, Debug)]
pub struct Options {
    /// Length of a segment. Larger ones are made for steps that do not fit.
    pub segment_bytes: u32,
    /// What the data directory may hold, spares and checkpoints included.
    pub bytes_max: u64,
    /// The names of the protocol table: `Origin::protocol` and `SessionFact::protocol` are `'static`.
    pub protocols: &'static [&'static str],
    /// Tells this store from all others; drawn once, kept on disk.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes: 16 << 20, bytes_max: u64::MAX, protocols: &[], seed: 0 }
    }
}

/// Keeps nothing and confirms everything: what is in the broker's memory is all there is.
#[derive(Debug, Default)]
pub struct Memory {
    durable: u64,
}

impl Memory {
    /// Takes `records`, in order; `ticket` names the last of them and never goes back.
    pub fn append(&mut self, records: &mut Vec<Record>, ticket: u64) {
        debug_assert!(ticket >= self.durable, "tickets grow");
        records.clear();
        self.durable = ticket;
    }

    /// The ticket up to which everything is as durable as it gets here.
    pub fn durable(&self) -> u64 {
        self.durable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_taken_and_confirmed() {
        let mut memory = Memory::default();
        assert_eq!(memory.durable(), 0);
        let mut records = vec![Record::SessionClosed(Default::default())];
        memory.append(&mut records, 7);
        assert!(records.is_empty());
        assert_eq!(memory.durable(), 7);
    }
}
