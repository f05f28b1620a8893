//! The log on a disk that loses power, is killed, fills up and fails, by the seed: whatever was acknowledged, or told
//! after a restart, is there after the next one.

mod common;

use althing_core::{Entropy, Now};
use althing_store::log::{Log, Place};
use althing_store::{OpenError, Options};
use althing_testkit::disk::{Fault, SimDisk};
use common::{OPTIONS, step};

/// What a life of the log leaves behind.
struct World {
    seed: u64,
    entropy: Entropy,
    disk: SimDisk,
    /// All steps that may be there, oldest first.
    steps: Vec<(Place, Vec<u8>)>,
    /// As many of them must be there.
    acknowledged: usize,
    /// Where replay starts; the segments before are let go.
    first: u32,
    appended: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let entropy = Entropy::new(seed);
        let disk = SimDisk::new(seed);
        Self { seed, entropy, disk, steps: Vec::new(), acknowledged: 0, first: 1, appended: 0 }
    }

    fn now(&self) -> Now {
        Now { mono_ns: self.appended as u64 * 400_000_000, wall_ms: 5 }
    }

    /// Opens and compares; the power may go meanwhile.
    fn open(&mut self) -> Option<Log<SimDisk>> {
        let mut seen = Vec::new();
        let options = Options { segment_bytes: 4096, ..OPTIONS };
        let opened = Log::open(self.disk.clone(), &options, self.first, &mut |frame| {
            seen.extend_from_slice(frame.payload);
            Ok(())
        });
        let log = match opened {
            Ok(log) => log,
            Err(OpenError::Io { .. }) => return None,
            Err(error) => panic!("seed {}: {error}", self.seed),
        };
        self.steps.retain(|(place, _)| place.segment >= self.first);
        let kept = self.count_of(&seen);
        assert!(kept >= self.acknowledged, "seed {}: {kept} steps of {}", self.seed, self.acknowledged);
        self.steps.truncate(kept);
        self.acknowledged = kept;
        Some(log)
    }

    fn count_of(&self, mut seen: &[u8]) -> usize {
        let mut count = 0;
        for (_, step) in &self.steps {
            let Some(rest) = seen.strip_prefix(&step[..]) else { break };
            (seen, count) = (rest, count + 1);
        }
        assert!(seen.is_empty(), "seed {}: {} bytes that nobody wrote", self.seed, seen.len());
        count
    }

    /// Works until something fails or the life is over.
    fn live(&mut self, log: &mut Log<SimDisk>) -> Result<(), althing_store::Failure> {
        let always_sync = self.entropy.below(2) == 0;
        for _ in 0..self.entropy.below(60) {
            for _ in 0..self.entropy.below(4) {
                let bytes = if self.entropy.below(20) == 0 { 6000 } else { 10 + self.entropy.below(900) as usize };
                let step = step(self.appended, bytes);
                self.appended += 1;
                self.steps.push((log.append(&step), step));
            }
            let sync = always_sync || self.entropy.below(4) == 0;
            let appended = self.steps.len();
            if log.commit(self.now(), self.appended as u64, sync)? && sync {
                self.acknowledged = appended;
            }
            if self.entropy.below(3) == 0 {
                log.prepare(self.now())?;
            }
            if self.entropy.below(8) == 0 {
                self.release(log)?;
            }
        }
        Ok(())
    }

    /// Replay starts at the active segment from now on, as if a checkpoint said so.
    fn release(&mut self, log: &mut Log<SimDisk>) -> Result<(), althing_store::Failure> {
        let segments = log.segments();
        let Some((&active, old)) = segments.split_last() else { panic!("there is always one") };
        self.first = active;
        let before = self.steps.iter().take_while(|(place, _)| place.segment < active).count();
        self.acknowledged = self.acknowledged.saturating_sub(before);
        self.steps.drain(..before);
        old.iter().try_for_each(|&segment| log.release(segment))
    }

    /// Sets the stage for one life; true when its end is that the power goes.
    fn misfortune(&mut self) -> bool {
        self.disk.heal();
        let call = self.disk.calls() + 1 + self.entropy.below(300);
        let what = self.entropy.below(6);
        match what {
            0 | 1 => self.disk.fail_at(call, Fault::Power),
            2 => self.disk.fail_at(call, Fault::Broken),
            3 => self.disk.fail_at(call, Fault::Full),
            4 => self.disk.set_capacity_bytes(self.disk.used_bytes() + self.entropy.below(20_000)),
            _ => {}
        }
        what <= 1 || self.entropy.below(2) == 0
    }
}

#[test]
fn nothing_acknowledged_is_lost_by_any_misfortune() {
    for seed in 0..400 {
        let mut world = World::new(seed);
        for _ in 0..6 {
            let power_goes = world.misfortune();
            if let Some(mut log) = world.open() {
                let lived = world.live(&mut log);
                if lived.is_ok() && world.entropy.below(3) == 0 {
                    let appended = world.steps.len();
                    if log.close(world.now(), 0).is_ok() {
                        world.acknowledged = appended;
                    }
                }
            }
            world.disk.heal();
            world.disk.set_capacity_bytes(u64::MAX);
            if power_goes {
                let mut entropy = Entropy::new(world.entropy.next_u64());
                world.disk.crash(&mut entropy);
            } else {
                world.disk.kill();
            }
        }
        assert!(world.open().is_some(), "seed {seed}: a healed disk opens");
    }
}
