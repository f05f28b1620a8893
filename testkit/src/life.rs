//! The life of a store on a simulated disk, without a broker: random records, commits, crashes and failures as the seed says,
//! compared with a [`Ledger`] after every restart.

use crate::disk::{Fault, SimDisk};
use crate::ledger::Ledger;
use crate::scribe::{PROTOCOLS, Scribe};
use althing_core::record::{Load, Loaded, QueueKey, Record};
use althing_core::time::MILLISECOND_NS;
use althing_core::{Entropy, Now};
use althing_store::{Failure, OpenError, Options, Store};
use std::sync::Arc;

/// Beyond this many rounds something goes round in circles.
const ROUNDS_MAX: u32 = 20_000;
const DAY_MS: i64 = 86_400_000;
/// A longer absence counts as a wrong clock (docs/storage.md, "Time").
const ABSENCE_MS_MAX: i64 = 30 * DAY_MS;
/// Deadlines are kept in milliseconds: what a restart may add or take away.
const ROUNDING_NS: i128 = 2 * MILLISECOND_NS as i128;

/// What may happen in a life, beside crashes.
#[derive(Clone, Debug)]
pub struct Dangers {
    /// Calls of the disk fail.
    pub errors: bool,
    /// The disk is full now and then.
    pub full: bool,
    /// Some commits are not synced.
    pub lazy: bool,
    /// It ends often: then little is cleaned, and few checkpoints are finished.
    pub restless: bool,
    /// Length of a segment.
    pub segment_bytes: u32,
    /// The largest payload, in bytes.
    pub payload_bytes_max: u64,
}

impl Dangers {
    /// As the seed says.
    pub fn draw(seed: u64) -> Self {
        let mut entropy = Entropy::new(seed ^ 0xDA);
        Self {
            errors: entropy.below(2) == 0,
            full: entropy.below(3) == 0,
            lazy: entropy.below(6) == 0,
            restless: entropy.below(3) == 0,
            segment_bytes: [4 << 10, 8 << 10, 16 << 10][entropy.below(3) as usize],
            payload_bytes_max: [60, 1_000, 6_000][entropy.below(3) as usize],
        }
    }
}

/// When a frame was written: by the store's own time, counted from the last start, and by the wall clock.
#[derive(Clone, Copy, Debug)]
struct Frame {
    age_ns: i128,
    wall_ms: u64,
}

/// A store, what it was told, and what it promised.
pub struct Life {
    entropy: Entropy,
    dangers: Dangers,
    now: Now,
    disk: SimDisk,
    options: Options,
    /// `None` while it is not open.
    store: Option<Store<SimDisk>>,
    /// Failures of the disk when the store was opened.
    failures_before: u64,
    scribe: Scribe,
    /// What must be there after a restart, at least.
    confirmed: Ledger,
    /// The frames of which one will be found to be the last.
    frames: Vec<Frame>,
    opened_ns: u64,
    /// What was written since, a batch an `append`.
    since: Vec<Vec<Record>>,
    /// What has happened.
    pub seen: Seen,
}

/// What has happened in some lives, so that a test knows what it has tested.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// Restarts after which everything was compared.
    pub restarts: u64,
    /// Commits for which there was no room.
    pub refusals: u64,
    /// Calls that the disk failed.
    pub failures: u64,
    /// Checkpoints.
    pub checkpoints: u64,
    /// Segments that were cleaned.
    pub segments_cleaned: u64,
}

impl Seen {
    /// Both.
    pub fn add(&mut self, other: Self) {
        self.restarts += other.restarts;
        self.refusals += other.refusals;
        self.failures += other.failures;
        self.checkpoints += other.checkpoints;
        self.segments_cleaned += other.segments_cleaned;
    }
}

impl Life {
    /// A new store on an empty disk.
    pub fn begin(seed: u64, dangers: Dangers) -> Self {
        let mut life = Self::unopened(seed, dangers);
        life.open();
        life
    }

    fn unopened(seed: u64, dangers: Dangers) -> Self {
        let now = Now { mono_ns: 5_000_000_123, wall_ms: 1_800_000_000_000 };
        let options =
            Options { segment_bytes: dangers.segment_bytes, protocols: &PROTOCOLS, seed, ..Options::default() };
        Self {
            entropy: Entropy::new(seed),
            scribe: Scribe::new(seed ^ 0x5C, dangers.payload_bytes_max),
            dangers,
            now,
            disk: SimDisk::new(seed),
            options,
            store: None,
            failures_before: 0,
            confirmed: Ledger::default(),
            frames: vec![Frame { age_ns: 0, wall_ms: now.wall_ms }],
            opened_ns: now.mono_ns,
            since: Vec::new(),
            seen: Seen::default(),
        }
    }

    /// The same on a disk whose call of that number fails.
    pub fn begin_with_failure(seed: u64, dangers: Dangers, call: u64, fault: Fault) -> Self {
        let mut life = Self::unopened(seed, dangers);
        life.disk.fail_at(call, fault);
        life.reopen_if_closed();
        life
    }

    /// The disk, to harm it.
    pub fn disk(&self) -> &SimDisk {
        &self.disk
    }

    /// What must be there after a restart, at least.
    pub fn confirmed(&self) -> &Ledger {
        &self.confirmed
    }

    /// How the store is laid out.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The moment.
    pub fn now(&self) -> Now {
        self.now
    }

    /// A number below `bound`, drawn from the seed.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.entropy.below(bound)
    }

    fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One act.
    pub fn act(&mut self) {
        match self.below(40) {
            0..=17 => self.append(),
            18..=25 => self.commit(),
            26..=30 => self.maintain(),
            31..=33 => self.load(),
            34 | 35 => self.pass(),
            36 if self.dangers.full => self.change_capacity(),
            37 if self.dangers.errors && (self.dangers.restless || self.one_in(4)) => self.plan_failure(),
            38 if self.dangers.restless || self.one_in(6) => self.end(),
            39 if self.one_in(if self.dangers.restless { 3 } else { 20 }) => self.close(),
            _ => self.append(),
        }
    }

    /// Everything is well again: all that was written becomes durable, is there after an orderly end, and what is settled
    /// leaves nothing behind.
    pub fn finish(mut self) -> Self {
        (self.dangers.errors, self.dangers.full) = (false, false);
        self.disk.heal();
        self.disk.set_capacity_bytes(u64::MAX);
        self.append();
        self.insist_on_commit();
        self.close();
        self
    }

    /// The store is closed in order and stays so.
    pub fn close_for_good(&mut self) {
        self.insist_on_commit();
        if let Some(store) = self.drop_store() {
            store.close(self.now).unwrap_or_else(|failure| panic!("{failure}"));
            self.confirm();
        }
    }

    /// Turns a bit of the closed store around, on a copy of the disk: the store refuses it and says where, or
    /// everything is there.
    pub fn age(&mut self) {
        let (seed, files) = (self.entropy.next_u64(), self.disk.files());
        let aged = self.disk.copy(seed);
        let (name, length_bytes) = &files[self.below(files.len() as u64) as usize];
        if *length_bytes == 0 {
            return;
        }
        let bit = self.below(8 * length_bytes);
        aged.flip_bit(name, bit);
        let what = format!("bit {bit} of {name} turned around");
        let opened = Store::open(aged, self.options.clone(), self.now).map_err(|error| error.to_string());
        match opened.and_then(|mut store| Ledger::read_from(&mut store)) {
            Ok(found) => {
                let (found, expected) = (found.without_deadlines(), self.confirmed.without_deadlines());
                assert!(found == expected, "{what}, and nobody says so:\n{}", found.difference(&expected));
            }
            Err(why) => assert!(why.contains(name.as_str()), "{what}, and the store says {why}"),
        }
    }

    /// Lets go of everything that the store keeps; then the disk must hold next to nothing.
    pub fn drain(&mut self) {
        self.reopen_if_closed();
        let mut records = self.scribe.farewell();
        self.append_records(&mut records);
        self.insist_on_commit();
        for _ in 0..ROUNDS_MAX {
            self.insist_on_commit();
            let now = self.now;
            if !self.with_store(|store| store.maintain(now)).unwrap_or(true) {
                break;
            }
        }
        assert_eq!(*self.scribe.ledger(), Ledger::default());
        let (used, segment) = (self.disk.used_bytes(), u64::from(self.options.segment_bytes));
        assert!(used <= 10 * segment, "{used} bytes are used for nothing: {:?}", self.disk.files());
    }

    // ---- acts ----

    fn append(&mut self) {
        self.reopen_if_closed();
        let mut records = Vec::new();
        for _ in 0..1 + self.entropy.below(3) {
            let has_room = self.store.as_ref().is_none_or(Store::has_room);
            records.extend(if has_room { self.scribe.step(self.now) } else { self.scribe.settling_step() });
        }
        self.append_records(&mut records);
    }

    fn append_records(&mut self, records: &mut Vec<Record>) {
        self.since.push(records.clone());
        if let Some(store) = &mut self.store {
            store.append(records);
            assert!(records.is_empty(), "records are taken");
        }
    }

    fn commit(&mut self) {
        self.reopen_if_closed();
        let sync = !self.dangers.lazy || self.one_in(2);
        match self.commit_now(sync) {
            Some(true) => {
                assert!(self.store.as_ref().is_some_and(|store| !store.is_dirty()), "nothing is left to commit");
                if sync {
                    self.confirm();
                }
            }
            Some(false) => {
                self.seen.refusals += 1;
                assert!(self.dangers.full, "no room on an empty disk");
            }
            None => {}
        }
    }

    /// Commits until it is done: there is room.
    fn insist_on_commit(&mut self) {
        for _ in 0..ROUNDS_MAX {
            self.reopen_if_closed();
            if self.commit_now(true) == Some(true) {
                return self.confirm();
            }
            let now = self.now;
            self.with_store(|store| store.maintain(now));
            self.note_frame(false);
        }
        panic!("there is room, and nothing becomes durable");
    }

    fn commit_now(&mut self, sync: bool) -> Option<bool> {
        let now = self.now;
        let is_written = self.store.as_ref().is_some_and(Store::is_dirty);
        let done = self.with_store(|store| store.commit(now, sync));
        if is_written {
            self.note_frame(done == Some(true) && sync);
        }
        done
    }

    /// A frame is written, and perhaps surely there.
    fn note_frame(&mut self, is_sure: bool) {
        if is_sure {
            self.frames.clear();
        }
        let age_ns = i128::from(self.now.mono_ns) - i128::from(self.opened_ns);
        self.frames.push(Frame { age_ns, wall_ms: self.now.wall_ms });
    }

    fn confirm(&mut self) {
        self.confirmed.apply_all(self.since.drain(..).flatten().collect::<Vec<_>>().iter());
    }

    fn maintain(&mut self) {
        self.reopen_if_closed();
        let now = self.now;
        let steps_max = if self.one_in(2) { 4 } else { 100 };
        for _ in 0..1 + self.below(steps_max) {
            let more = self.with_store(|store| store.maintain(now));
            // A checkpoint says when it was written, too.
            self.note_frame(false);
            if more != Some(true) {
                break;
            }
        }
    }

    /// Some entries of a queue, and some that are not there.
    fn load(&mut self) {
        let queues: Vec<(QueueKey, Vec<i64>)> =
            self.scribe.ledger().queues().map(|(queue, at)| (queue.clone(), at.collect())).collect();
        if queues.is_empty() {
            return;
        }
        let (queue, mut sequences) = queues[self.below(queues.len() as u64) as usize].clone();
        let missing = sequences.last().copied().unwrap_or(0) + 1;
        sequences.push(missing);
        sequences.retain(|_| self.entropy.below(3) > 0);
        let load = Load { queue, sequences };
        let expected = self.scribe.ledger().load(load.clone());
        if let Some(found) = self.with_store(|store| store.load(load)) {
            compare_loaded(found, expected, self.now);
        }
    }

    fn pass(&mut self) {
        let most_ms = [10, 10_000, 10_000_000][self.below(3) as usize];
        let passed_ns = self.below(most_ms) * MILLISECOND_NS + self.below(MILLISECOND_NS);
        self.advance(passed_ns);
    }

    /// Both clocks run together, to the nanosecond for the one and the millisecond for the other.
    fn advance(&mut self, passed_ns: u64) {
        let before_ms = self.now.mono_ns / MILLISECOND_NS;
        self.now.mono_ns += passed_ns;
        self.now.wall_ms += self.now.mono_ns / MILLISECOND_NS - before_ms;
    }

    fn change_capacity(&mut self) {
        let used_bytes = self.disk.used_bytes();
        let room_bytes = self.below(2 * u64::from(self.options.segment_bytes));
        let capacity_bytes = if self.one_in(4) { u64::MAX } else { used_bytes + room_bytes };
        self.disk.set_capacity_bytes(capacity_bytes);
    }

    fn plan_failure(&mut self) {
        let call = self.disk.calls() + 1 + self.below(20);
        let fault = match self.below(4) {
            0 if self.dangers.full => Fault::Full,
            0 | 1 => Fault::Power,
            _ => Fault::Broken,
        };
        self.disk.fail_at(call, fault);
    }

    /// The process ends without a word, or the power goes.
    fn end(&mut self) {
        if self.store.is_some() {
            self.drop_store();
            self.restart();
        }
    }

    fn drop_store(&mut self) -> Option<Store<SimDisk>> {
        let store = self.store.take()?;
        let statistics = store.statistics();
        self.seen.checkpoints += statistics.checkpoints;
        self.seen.segments_cleaned += statistics.segments_cleaned;
        self.seen.failures += self.disk.failures() - self.failures_before;
        Some(store)
    }

    fn close(&mut self) {
        let Some(store) = self.drop_store() else { return };
        let (now, is_dirty) = (self.now, store.is_dirty());
        match store.close(now) {
            Ok(_) => {
                // What was closed already and has not changed is not closed again.
                self.note_frame(is_dirty);
                self.confirm();
            }
            Err(failure) => {
                self.note_frame(false);
                self.check_reason(&failure.to_string());
            }
        }
        self.restart();
    }

    // ---- consequences ----

    /// Calls the store; `None` when it has failed, and then it is over.
    fn with_store<T>(&mut self, call: impl FnOnce(&mut Store<SimDisk>) -> Result<T, Failure>) -> Option<T> {
        let store = self.store.as_mut()?;
        match call(store) {
            Ok(result) => Some(result),
            Err(failure) => {
                // What cannot be read may still be written; what could not be written never.
                let again = store.commit(self.now, true);
                assert!(failure.action == "read" || again.is_err(), "{failure}, and it goes on: {again:?}");
                self.note_frame(false);
                self.check_reason(&failure.to_string());
                self.drop_store();
                None
            }
        }
    }

    /// The store fails only when the disk does.
    fn check_reason(&self, failure: &str) {
        assert!(self.disk.failures() > self.failures_before, "it fails without a reason: {failure}");
    }

    fn reopen_if_closed(&mut self) {
        if self.store.is_none() {
            self.restart();
        }
    }

    /// The process begins anew, perhaps after a loss of power; perhaps it takes several attempts.
    fn restart(&mut self) {
        for attempt in 0.. {
            if self.disk.has_power() && self.one_in(3) {
                self.disk.kill();
            } else {
                self.disk.crash(&mut self.entropy);
            }
            if attempt > 3 {
                self.disk.heal();
                self.disk.set_capacity_bytes(u64::MAX);
            } else if self.dangers.errors && self.one_in(3) {
                self.plan_failure();
            }
            if self.open() {
                return;
            }
        }
    }

    /// Opens the store at a later time, or an earlier one, and compares what is there. False: the disk failed.
    fn open(&mut self) -> bool {
        let stopped = self.now;
        let mono_ns = 1 + self.below(1_000_000_000_000);
        let wall_ms = stopped.wall_ms.saturating_add_signed(self.absence_ms());
        let opened = Now { mono_ns, wall_ms };
        self.failures_before = self.disk.failures();
        let store = match Store::open(self.disk.clone(), self.options.clone(), opened) {
            Ok(store) => store,
            Err(error) => {
                assert!(matches!(error, OpenError::Io { .. }), "it does not open: {error}");
                self.check_reason(&error.to_string());
                return false;
            }
        };
        let store = self.store.insert(store);
        match Ledger::read_from(store) {
            Ok(found) => {
                self.compare(&found, stopped, opened);
                self.seen.restarts += 1;
                (self.now, self.opened_ns) = (opened, opened.mono_ns);
                self.since.clear();
                self.confirmed = found.clone();
                self.scribe.restart(found);
                true
            }
            Err(why) => {
                self.check_reason(&why);
                self.drop_store();
                false
            }
        }
    }

    /// What the wall clock says about the time that nobody kept.
    fn absence_ms(&mut self) -> i64 {
        match self.below(8) {
            0 => 0,
            1 => -3_600_000,
            2 => 3_600_000,
            3 => 365 * DAY_MS,
            4 => -365 * DAY_MS,
            5 => self.below(2 * DAY_MS as u64) as i64,
            _ => self.below(2_000) as i64,
        }
    }

    /// What was found must be what held after the last confirmed record, or after some of those that followed.
    fn compare(&mut self, found: &Ledger, stopped: Now, opened: Now) {
        let timeless = found.without_deadlines();
        let mut candidate = self.confirmed.clone();
        let since = std::mem::take(&mut self.since);
        let mut steps = since.iter();
        let mut difference = String::new();
        loop {
            if candidate.without_deadlines() == timeless {
                return self.compare_deadlines(&candidate, found, stopped, opened);
            }
            if difference.is_empty() {
                difference = timeless.difference(&candidate.without_deadlines());
            }
            match steps.next() {
                Some(step) => candidate.apply_all(step),
                None => break,
            }
        }
        let last = timeless.difference(&candidate.without_deadlines());
        panic!("after a restart, against what was confirmed:\n{difference}against all that was written:\n{last}");
    }

    /// A deadline is as far away as it was, less the time that has passed since the last frame by the wall clock, as far
    /// as that can be right. Which frame was the last one is not known here, but it is one for all deadlines.
    fn compare_deadlines(&mut self, expected: &Ledger, found: &Ledger, stopped: Now, opened: Now) {
        let stopped_age_ns = i128::from(stopped.mono_ns) - i128::from(self.opened_ns);
        let pairs: Vec<(u64, u64)> = expected.deadlines().into_iter().zip(found.deadlines()).collect();
        let candidates = std::mem::take(&mut self.frames);
        for frame in &candidates {
            let absence_ms = opened.wall_ms as i64 - frame.wall_ms as i64;
            let is_known = (0..=ABSENCE_MS_MAX).contains(&absence_ms);
            let aged_ns = if is_known { i128::from(absence_ms) * i128::from(MILLISECOND_NS) } else { 0 };
            let passed_ns = frame.age_ns + aged_ns - stopped_age_ns;
            if pairs.iter().all(|&(was_ns, is_ns)| {
                let left_ns = i128::from(was_ns) - i128::from(stopped.mono_ns) - passed_ns;
                let is_left_ns = i128::from(is_ns) - i128::from(opened.mono_ns);
                let is_never = was_ns.min(is_ns) > u64::MAX / 2;
                let is_over = left_ns <= ROUNDING_NS && is_left_ns <= ROUNDING_NS;
                // Before the process, nobody knows when.
                is_never || is_over || was_ns == 0 || (is_left_ns - left_ns).abs() <= ROUNDING_NS
            }) {
                self.frames.push(Frame { age_ns: -aged_ns, wall_ms: frame.wall_ms });
            }
        }
        assert!(
            !self.frames.is_empty(),
            "deadlines (before, after) have moved: {pairs:?}, stopped {stopped:?} at the age of {stopped_age_ns} ns, \
             opened {opened:?}, frames {candidates:?}",
        );
    }
}

/// The same messages. Deadlines may be later by what rounding does; of those that are over, only that is known.
fn compare_loaded(found: Loaded, mut expected: Loaded, now: Now) {
    for ((_, is), (_, was)) in found.entries.iter().zip(&mut expected.entries) {
        if let (Some(is_ns), Some(was_ns)) = (is.message.expires_ns, was.message.expires_ns) {
            let is_near = i128::from(is_ns.abs_diff(was_ns)) <= ROUNDING_NS;
            let is_never = is_ns.min(was_ns) > u64::MAX / 2;
            assert!(is_near || is_never || is_ns.max(was_ns) <= now.mono_ns, "{is_ns} instead of {was_ns} at {now:?}");
            Arc::make_mut(&mut was.message).expires_ns = Some(is_ns);
        }
    }
    assert_eq!(found, expected);
}
