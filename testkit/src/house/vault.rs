//! What the shards of a world keep their records in: one store for the whole process, as in the server. What they hand over
//! is taken, committed and confirmed when the seed says so.

use crate::disk::SimDisk;
use crate::ledger::Ledger;
use crate::scribe::PROTOCOLS;
use althing_core::record::{Load, Loaded, Record, Restored};
use althing_core::{Entropy, Now};
use althing_store::{Failure, Options, Store};
use std::collections::{BTreeMap, VecDeque};

/// In what a world keeps its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// In plain maps, which keep what was confirmed, and some of what follows, in order.
    Ledger,
    /// In the real store, on a simulated disk.
    Disk {
        /// Length of a segment.
        segment_bytes: u32,
    },
}

/// The store, and what is on its way to it and back.
#[derive(Debug)]
pub(crate) struct Vault {
    keeper: Keeper,
    /// What holds when everything that was taken holds.
    ledger: Ledger,
    /// Handed over and not taken, in order.
    inbox: VecDeque<Handed>,
    /// Taken and not committed.
    taken: Vec<Step>,
    /// There was no room, and nothing has changed since.
    is_stuck: bool,
    wants_maintenance: bool,
    /// The last durable ticket of each shard that has not heard of it.
    confirmations: BTreeMap<u16, u64>,
    /// Loads that are answered, and whose shard has not heard.
    answers: BTreeMap<u16, VecDeque<Loaded>>,
}

#[derive(Debug)]
enum Keeper {
    /// What survives a crash for sure.
    Ledger(Box<Ledger>),
    Disk {
        disk: SimDisk,
        options: Options,
        /// `None` from a failure to the restart.
        store: Option<Box<Store<SimDisk>>>,
    },
}

#[derive(Debug)]
struct Step {
    shard: u16,
    ticket: u64,
    records: Vec<Record>,
}

#[derive(Debug)]
enum Handed {
    Step(Step),
    Load(u16, Load),
}

impl Vault {
    /// An empty one.
    pub fn new(keeping: Keeping, seed: u64, now: Now) -> Self {
        let keeper = match keeping {
            Keeping::Ledger => Keeper::Ledger(Box::default()),
            Keeping::Disk { segment_bytes } => {
                let options = Options { segment_bytes, protocols: &PROTOCOLS, seed, ..Options::default() };
                let disk = SimDisk::new(seed);
                let store = Store::open(disk.clone(), options.clone(), now);
                let mut store = store.unwrap_or_else(|error| panic!("an empty disk: {error}"));
                let restored = store.restore(&mut |fact| panic!("{fact:?} on an empty disk"));
                restored.unwrap_or_else(|error| panic!("an empty disk: {error}"));
                Keeper::Disk { disk, options, store: Some(Box::new(store)) }
            }
        };
        Self {
            keeper,
            ledger: Ledger::default(),
            inbox: VecDeque::new(),
            taken: Vec::new(),
            is_stuck: false,
            wants_maintenance: false,
            confirmations: BTreeMap::new(),
            answers: BTreeMap::new(),
        }
    }

    /// The disk, if there is one.
    pub fn disk(&self) -> Option<&SimDisk> {
        match &self.keeper {
            Keeper::Ledger(_) => None,
            Keeper::Disk { disk, .. } => Some(disk),
        }
    }

    /// A shard's step has written this.
    pub fn hand_step(&mut self, shard: u16, ticket: u64, records: Vec<Record>) {
        self.inbox.push_back(Handed::Step(Step { shard, ticket, records }));
    }

    /// A shard wants entries in memory, after what it has written.
    pub fn hand_load(&mut self, shard: u16, load: Load) {
        self.inbox.push_back(Handed::Load(shard, load));
    }

    /// How much waits to be taken.
    pub fn inbox_len(&self) -> usize {
        self.inbox.len()
    }

    /// Whether a commit could do something.
    pub fn wants_commit(&self) -> bool {
        !self.taken.is_empty() && !self.is_stuck
    }

    /// Whether there may be something to do meanwhile.
    pub fn wants_maintenance(&self) -> bool {
        self.wants_maintenance
    }

    /// Panics when anything is kept but last values.
    pub fn assert_is_empty(&self) {
        let facts = self.ledger.restored();
        let left: Vec<_> = facts.iter().filter(|fact| !matches!(fact, Restored::Retained(_))).collect();
        assert!(left.is_empty(), "the store still keeps {left:?}");
    }

    /// Whether new messages may be kept.
    pub fn has_room(&self) -> bool {
        match &self.keeper {
            Keeper::Ledger(_) => true,
            Keeper::Disk { store, .. } => store.as_ref().is_none_or(|store| store.has_room()),
        }
    }

    /// Time has passed, or somebody has made room: what found none is tried again.
    pub fn look_for_room(&mut self) {
        if self.is_stuck || !self.has_room() {
            self.is_stuck = false;
            self.wants_maintenance = true;
        }
    }

    /// Takes what was handed over first.
    pub fn take(&mut self, count: usize) -> Result<(), Failure> {
        for handed in self.inbox.drain(..count).collect::<Vec<_>>() {
            match handed {
                Handed::Step(step) => {
                    self.check_epochs(&step.records);
                    self.ledger.apply_all(&step.records);
                    if let Keeper::Disk { store: Some(store), .. } = &mut self.keeper {
                        store.append(&mut step.records.clone());
                    }
                    self.taken.push(step);
                }
                Handed::Load(shard, load) => {
                    let expected = self.ledger.load(load.clone());
                    let loaded = match &mut self.keeper {
                        Keeper::Disk { store: Some(store), .. } => store.load(load)?,
                        _ => expected.clone(),
                    };
                    assert_eq!(loaded.sequences, expected.sequences);
                    assert_eq!(loaded.entries.len(), expected.entries.len(), "{loaded:?} instead of {expected:?}");
                    self.answers.entry(shard).or_default().push_back(loaded);
                }
            }
        }
        self.is_stuck = false;
        Ok(())
    }

    /// Each connection of a session has an epoch above all before it, across restarts: so there is one owner an epoch.
    fn check_epochs(&self, records: &[Record]) {
        for fact in
            records.iter().filter_map(|record| if let Record::Session(fact) = record { Some(fact) } else { None })
        {
            let Some(before) = self.ledger.session(&fact.key) else { continue };
            // An absent session has an end, unless it lasts for ever.
            let is_new_owner = before.ends_ns.is_some() && fact.ends_ns.is_none() && fact.expiry_s < u32::MAX;
            let least = before.epoch + u64::from(is_new_owner);
            assert!(fact.epoch >= least, "an epoch has two owners: {fact:?} after {before:?}");
        }
    }

    /// Makes durable what was taken, if there is room.
    pub fn commit(&mut self, now: Now) -> Result<(), Failure> {
        let done = match &mut self.keeper {
            Keeper::Ledger(durable) => {
                self.taken.iter().for_each(|step| durable.apply_all(&step.records));
                true
            }
            Keeper::Disk { store, .. } => store.as_mut().map_or(Ok(true), |store| store.commit(now, true))?,
        };
        self.is_stuck = !done;
        self.wants_maintenance = matches!(self.keeper, Keeper::Disk { .. });
        if done {
            for step in self.taken.drain(..) {
                self.confirmations.insert(step.shard, step.ticket);
            }
        }
        Ok(())
    }

    /// One step of what can be done meanwhile.
    pub fn maintain(&mut self, now: Now) -> Result<(), Failure> {
        self.wants_maintenance = match &mut self.keeper {
            Keeper::Disk { store: Some(store), .. } => store.maintain(now)?,
            _ => false,
        };
        self.is_stuck = false;
        Ok(())
    }

    /// Shards that have something to hear: whether a confirmation, whether an answer to a load.
    pub fn news(&self) -> impl Iterator<Item = (u16, bool)> {
        let confirmations = self.confirmations.keys().map(|shard| (*shard, true));
        confirmations.chain(self.answers.keys().map(|shard| (*shard, false)))
    }

    /// What this shard hears of durable tickets.
    pub fn confirmation(&mut self, shard: u16) -> Option<u64> {
        self.confirmations.remove(&shard)
    }

    /// What this shard hears of its loads.
    pub fn answer(&mut self, shard: u16) -> Option<Loaded> {
        let answers = self.answers.get_mut(&shard)?;
        let first = answers.pop_front();
        if answers.is_empty() {
            self.answers.remove(&shard);
        }
        first
    }

    /// The process is gone; with `power_lost`, what is not synced is in doubt.
    pub fn end(&mut self, power_lost: bool, entropy: &mut Entropy) {
        match &mut self.keeper {
            Keeper::Ledger(durable) => {
                let kept = entropy.below(self.taken.len() as u64 + 1) as usize;
                self.taken[..kept].iter().for_each(|step| durable.apply_all(&step.records));
                self.ledger = (**durable).clone();
            }
            Keeper::Disk { disk, store, .. } => {
                *store = None;
                if power_lost || !disk.has_power() {
                    disk.crash(entropy);
                } else {
                    disk.kill();
                }
            }
        }
        self.inbox.clear();
        self.taken.clear();
        self.is_stuck = false;
        self.wants_maintenance = false;
        self.confirmations.clear();
        self.answers.clear();
    }

    /// What the next process finds; or why it finds nothing, because the disk has failed. Panics when the store does not
    /// open for another reason.
    pub fn reopen(&mut self, now: Now) -> Result<Vec<Restored>, String> {
        let Keeper::Disk { disk, options, store } = &mut self.keeper else { return Ok(self.ledger.restored()) };
        let failures_before = disk.failures();
        let mut facts = Vec::new();
        let opened = Store::open(disk.clone(), options.clone(), now).and_then(|mut opened| {
            opened.restore(&mut |fact| facts.push(fact))?;
            Ok(opened)
        });
        let read = opened.map_err(|error| error.to_string()).and_then(|mut opened| {
            self.ledger = Ledger::read_entries(&facts, &mut opened)?;
            Ok(opened)
        });
        match read {
            Ok(opened) => {
                *store = Some(Box::new(opened));
                Ok(facts)
            }
            Err(why) => {
                assert!(disk.failures() > failures_before, "the store does not open: {why}");
                Err(why)
            }
        }
    }
}
