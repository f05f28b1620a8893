//! The end of a process without a word, and the beginning of the next one.

use super::{House, StationId, promises::Promises};
use crate::disk::SimDisk;
use althing_core::Entropy;
use althing_core::time::MILLISECOND_NS;

const HOUR_MS: u64 = 3_600_000;
const YEAR_MS: u64 = 365 * 24 * HOUR_MS;

/// An end that has happened.
#[derive(Clone, Copy, Debug)]
pub struct Crash {
    /// The step in which it happened.
    pub step: u64,
    /// When the next process began, on the monotonic clock in nanoseconds.
    pub restart_ns: u64,
    /// How long nothing was there.
    pub downtime: Downtime,
}

/// How long a process was gone, and what the wall clock says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Downtime {
    /// The wall clock is right, so that the next process knows how long it was, in milliseconds.
    Known(u64),
    /// The wall clock jumps back, or far ahead, by so many milliseconds: the next process goes on as if no time had
    /// passed since the last commit.
    Doubtful(i64),
}

impl Downtime {
    /// Mostly short; as the seed says.
    pub fn draw(entropy: &mut Entropy) -> Self {
        match entropy.below(12) {
            0 => Self::Doubtful(-(HOUR_MS as i64)),
            1 => Self::Doubtful(-(YEAR_MS as i64)),
            2 => Self::Doubtful(YEAR_MS as i64),
            3 => Self::Known(HOUR_MS),
            4 | 5 => Self::Known(entropy.below(40_000)),
            _ => Self::Known(0),
        }
    }
}

/// What harms the house as a whole.
impl House {
    /// The process ends without a word: brokers, connections and what has not left for a peer are gone, and every
    /// station knows that its connection is lost. With `power_lost` the disk forgets what was not synced, or some of it.
    /// Then the next process starts with what the store has.
    pub fn crash(&mut self, power_lost: bool, downtime: Downtime) {
        self.steps += 1;
        self.note(format_args!("CRASH power lost: {power_lost}, {downtime:?}"));
        (0..self.stations.len()).for_each(|station| self.cut_station(StationId(station)));
        for wire in self.wires.values_mut() {
            wire.cut(&mut self.entropy);
            wire.peer = None;
        }
        let shards = self.shards.len() as u16;
        let common = &mut self.common;
        common.promises = Promises::default();
        common.channels.clear();
        common.questions.clear();
        common.paused.clear();
        common.throttled.clear();
        common.behind.clear();
        common.vault.end(power_lost, &mut self.entropy);
        self.let_downtime_pass(downtime);
        self.crashes.push(Crash { step: self.steps, restart_ns: self.common.now.mono_ns, downtime });
        let facts = loop {
            match self.common.vault.reopen(self.common.now) {
                Ok(facts) => break facts,
                Err(error) => self.note(format_args!("the store does not open: {error}")),
            }
            self.common.vault.end(false, &mut self.entropy);
        };
        self.start(shards, facts);
    }

    /// All that have happened, in order.
    pub fn crashes(&self) -> &[Crash] {
        &self.crashes
    }

    /// The disk, if this world has one.
    pub fn disk(&self) -> Option<&SimDisk> {
        self.common.vault.disk()
    }

    /// Panics when the store keeps anything but last values.
    pub fn assert_store_is_empty(&self) {
        self.common.vault.assert_is_empty();
    }

    /// Limits what all files of the disk may hold, or lifts the limit.
    pub fn set_disk_capacity_bytes(&mut self, capacity_bytes: u64) {
        self.note(format_args!("the disk holds {capacity_bytes} bytes"));
        if let Some(disk) = self.disk() {
            disk.set_capacity_bytes(capacity_bytes);
        }
        self.common.vault.look_for_room();
    }

    /// Whether the store takes new messages.
    pub fn store_has_room(&self) -> bool {
        self.common.vault.has_room()
    }

    fn let_downtime_pass(&mut self, downtime: Downtime) {
        let now = &mut self.common.now;
        match downtime {
            Downtime::Known(passed_ms) => {
                now.mono_ns += passed_ms * MILLISECOND_NS;
                now.wall_ms += passed_ms;
            }
            Downtime::Doubtful(jump_ms) => now.wall_ms = now.wall_ms.saturating_add_signed(jump_ms),
        }
    }
}
