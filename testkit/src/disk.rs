//! A disk in memory that loses power: what was not synced may be there, be lost, or be zero afterwards, sector by
//! sector. It fails where it is told to, counts every call, and one seed is one outcome.

mod file;

use althing_core::Entropy;
use althing_store::disk::{Disk, FileId};
use file::File;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::rc::Rc;

/// What a disk writes as a whole or not at all, in bytes.
pub const SECTOR_BYTES: usize = 512;

/// What a call fails with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There is no space (ENOSPC).
    Full,
    /// The device does not answer properly (EIO). A sync that fails so forgets what it should have written: the
    /// next one succeeds, and proves nothing.
    Broken,
    /// The power goes: this call and all that follow do nothing but fail, until [`SimDisk::crash`].
    Power,
}

/// A handle to one disk; all clones are the same disk, so it survives the store that it was given to.
#[derive(Clone, Debug)]
pub struct SimDisk(Rc<RefCell<State>>);

#[derive(Debug)]
struct State {
    entropy: Entropy,
    files: BTreeMap<u64, File>,
    files_created: u64,
    /// The directory as everyone sees it.
    names: BTreeMap<String, u64>,
    /// The directory as of the last sync of names.
    names_durable: BTreeMap<String, u64>,
    /// What has been done to it since: names and what each stands for afterwards.
    name_changes: Vec<Vec<(String, Option<u64>)>>,
    open: BTreeMap<FileId, u64>,
    opened: u32,
    calls: u64,
    failures: u64,
    faults: BTreeMap<u64, Fault>,
    syncs_fail_one_in: Option<u64>,
    capacity_bytes: u64,
    has_power: bool,
}

impl SimDisk {
    /// An empty disk that never fails and is never full.
    pub fn new(seed: u64) -> Self {
        Self(Rc::new(RefCell::new(State {
            entropy: Entropy::new(seed ^ 0x5369_6d44_6973_6b21),
            files: BTreeMap::new(),
            files_created: 0,
            names: BTreeMap::new(),
            names_durable: BTreeMap::new(),
            name_changes: Vec::new(),
            open: BTreeMap::new(),
            opened: 0,
            calls: 0,
            failures: 0,
            faults: BTreeMap::new(),
            syncs_fail_one_in: None,
            capacity_bytes: u64::MAX,
            has_power: true,
        })))
    }

    // ---- what a test does to the disk ----

    /// Power is lost and comes back: each unsynced write of a sector, length and change of a name is kept or lost by
    /// itself, or the bytes written are zero. Synced bytes stay, those beside unsynced ones in a sector too.
    pub fn crash(&self, entropy: &mut Entropy) {
        self.0.borrow_mut().crash(entropy);
    }

    /// The process dies and the system lives: its files are closed, everything written is there to be read, even
    /// what a failed sync gave up.
    pub fn kill(&self) {
        let mut state = self.0.borrow_mut();
        state.open.clear();
        state.drop_unreachable();
    }

    /// Makes the call of this number fail; the first one is number 1.
    pub fn fail_at(&self, call: u64, fault: Fault) {
        self.0.borrow_mut().faults.insert(call, fault);
    }

    /// Calls off every failure that has not come yet.
    pub fn heal(&self) {
        let mut state = self.0.borrow_mut();
        state.faults.clear();
        state.syncs_fail_one_in = None;
    }

    /// Makes one in so many syncs fail by the seed.
    pub fn fail_syncs_one_in(&self, times: u64) {
        self.0.borrow_mut().syncs_fail_one_in = Some(times);
    }

    /// What all files together may hold. Less than they hold is fine: then nothing can grow.
    pub fn set_capacity_bytes(&self, capacity_bytes: u64) {
        self.0.borrow_mut().capacity_bytes = capacity_bytes;
    }

    /// Turns one bit around, as if it had aged.
    pub fn flip_bit(&self, name: &str, bit: u64) {
        self.on_file(name, |file| file.flip_bit(bit));
    }

    /// Loses the end of a file.
    pub fn truncate(&self, name: &str, length_bytes: u64) {
        self.on_file(name, |file| file.truncate(length_bytes));
    }

    /// Makes a sector unreadable until it is written again.
    pub fn break_sector(&self, name: &str, sector: u64) {
        self.on_file(name, |file| file.break_sector(sector));
    }

    /// How many names [`Disk::links`] says that this file has.
    pub fn set_links(&self, name: &str, links: u64) {
        self.on_file(name, |file| file.links = links);
    }

    /// A second disk with the same content, everything synced.
    pub fn copy(&self, seed: u64) -> Self {
        let copy = Self::new(seed);
        let (from, mut to) = (self.0.borrow(), copy.0.borrow_mut());
        to.files_created = from.files_created;
        to.names = from.names.clone();
        to.names_durable = from.names.clone();
        for number in from.names.values() {
            to.files.insert(*number, from.files[number].synced_copy());
        }
        drop(to);
        copy
    }

    // ---- what a test sees of it ----

    /// Whether the power is on.
    pub fn has_power(&self) -> bool {
        self.0.borrow().has_power
    }

    /// Calls so far.
    pub fn calls(&self) -> u64 {
        self.0.borrow().calls
    }

    /// All files with their lengths in bytes, in the order of their names.
    pub fn files(&self) -> Vec<(String, u64)> {
        self.0.borrow().list()
    }

    /// What a file holds.
    pub fn content(&self, name: &str) -> Vec<u8> {
        let mut content = Vec::new();
        self.on_file(name, |file| content.extend_from_slice(file.content()));
        content
    }

    /// Calls that failed because they were told to, or by the seed, or for want of space.
    pub fn failures(&self) -> u64 {
        self.0.borrow().failures
    }

    /// What all files hold together, open ones without a name included.
    pub fn used_bytes(&self) -> u64 {
        self.0.borrow().used_bytes()
    }

    fn on_file(&self, name: &str, act: impl FnOnce(&mut File)) {
        let mut state = self.0.borrow_mut();
        let number = state.names.get(name).copied();
        let file = number.and_then(|number| state.files.get_mut(&number));
        act(file.unwrap_or_else(|| panic!("there is no file {name}")));
    }
}

impl State {
    /// Counts a call and says whether it may go on.
    fn call(&mut self) -> io::Result<()> {
        self.calls += 1;
        let fault = self.faults.remove(&self.calls);
        self.has_power &= fault != Some(Fault::Power);
        match fault {
            _ if !self.has_power => self.fail(Fault::Power),
            Some(fault) => self.fail(fault),
            None => Ok(()),
        }
    }

    fn fail(&mut self, fault: Fault) -> io::Result<()> {
        self.failures += 1;
        Err(match fault {
            Fault::Full => io::Error::new(ErrorKind::StorageFull, "no space left on the disk"),
            Fault::Broken => io::Error::other("the disk reports an error"),
            Fault::Power => io::Error::other("the power is gone"),
        })
    }

    fn crash(&mut self, entropy: &mut Entropy) {
        self.open.clear();
        self.has_power = true;
        let fate = Fate::draw(entropy);
        self.names = std::mem::take(&mut self.names_durable);
        let mut lost = BTreeSet::new();
        for change in std::mem::take(&mut self.name_changes) {
            // What builds on a lost change is lost with it.
            if fate.keeps(entropy) && change.iter().all(|(name, _)| !lost.contains(name)) {
                apply(&mut self.names, change);
            } else {
                lost.extend(change.into_iter().map(|(name, _)| name));
            }
        }
        for file in self.files.values_mut() {
            file.crash(fate, entropy);
        }
        self.drop_unreachable();
        self.names_durable = self.names.clone();
    }

    fn change_names(&mut self, change: Vec<(String, Option<u64>)>) {
        apply(&mut self.names, change.clone());
        self.name_changes.push(change);
        self.drop_unreachable();
    }

    /// Files go when no name, not even one that a crash could bring back, and nobody who opened them leads to them.
    fn drop_unreachable(&mut self) {
        let (names, durable, open) = (&self.names, &self.names_durable, &self.open);
        let changes = self.name_changes.iter().flatten().filter_map(|(_, number)| *number);
        let reachable = names.values().chain(durable.values()).chain(open.values()).copied().chain(changes);
        let reachable: BTreeSet<u64> = reachable.collect();
        self.files.retain(|number, _| reachable.contains(number));
    }

    fn number_of(&self, name: &str) -> io::Result<u64> {
        let missing = || io::Error::new(ErrorKind::NotFound, format!("there is no file {name}"));
        self.names.get(name).copied().ok_or_else(missing)
    }

    fn open_number(&mut self, number: u64) -> FileId {
        self.opened += 1;
        self.open.insert(FileId(self.opened), number);
        FileId(self.opened)
    }

    fn file(&mut self, id: FileId) -> io::Result<&mut File> {
        let number = self.open.get(&id).ok_or_else(|| io::Error::other(format!("{id:?} is not open")))?;
        self.files.get_mut(number).ok_or_else(|| io::Error::other(format!("{id:?} has no file")))
    }

    fn list(&self) -> Vec<(String, u64)> {
        self.names.iter().map(|(name, number)| (name.clone(), self.files[number].content().len() as u64)).collect()
    }

    fn used_bytes(&self) -> u64 {
        let reachable: BTreeSet<u64> = self.names.values().chain(self.open.values()).copied().collect();
        reachable.iter().map(|number| self.files[number].content().len() as u64).sum()
    }

    fn write(&mut self, id: FileId, offset: u64, data: &[u8]) -> io::Result<()> {
        let room_bytes = self.capacity_bytes.saturating_sub(self.used_bytes());
        let outcome = self.call();
        let any_part = self.entropy.below(data.len() as u64 + 1) as usize;
        let has_power = self.has_power;
        let file = self.file(id)?;
        let end_max = file.content().len() as u64 + room_bytes;
        let fits = end_max.saturating_sub(offset).min(data.len() as u64) as usize;
        if outcome.is_ok() && fits == data.len() {
            file.write(offset, data);
        } else if has_power {
            file.write(offset, &data[..any_part.min(fits)]);
        }
        outcome.and_then(|()| if fits == data.len() { Ok(()) } else { self.fail(Fault::Full) })
    }

    fn sync(&mut self, id: FileId) -> io::Result<()> {
        let mut outcome = self.call();
        if self.has_power && self.syncs_fail_one_in.is_some_and(|times| self.entropy.below(times) == 0) {
            outcome = self.fail(Fault::Broken);
        }
        let (has_power, mut entropy) = (self.has_power, Entropy::new(self.entropy.next_u64()));
        let file = self.file(id)?;
        match &outcome {
            Ok(()) => file.sync(),
            Err(_) if has_power => file.fail_to_sync(Fate::Mixed, &mut entropy),
            Err(_) => {}
        }
        outcome
    }
}

impl Disk for SimDisk {
    fn list(&mut self) -> io::Result<Vec<(String, u64)>> {
        let mut state = self.0.borrow_mut();
        state.call()?;
        Ok(state.list())
    }

    fn create(&mut self, name: &str) -> io::Result<FileId> {
        let mut state = self.0.borrow_mut();
        state.call()?;
        if state.names.contains_key(name) {
            return Err(io::Error::new(ErrorKind::AlreadyExists, format!("{name} is there")));
        }
        state.files_created += 1;
        let number = state.files_created;
        state.files.insert(number, File::default());
        state.change_names(vec![(name.to_owned(), Some(number))]);
        Ok(state.open_number(number))
    }

    fn open(&mut self, name: &str) -> io::Result<FileId> {
        let mut state = self.0.borrow_mut();
        state.call()?;
        let number = state.number_of(name)?;
        Ok(state.open_number(number))
    }

    fn close(&mut self, file: FileId) {
        let mut state = self.0.borrow_mut();
        // After a crash the old process's files are closed already.
        if state.open.remove(&file).is_some() {
            state.drop_unreachable();
        }
    }

    fn read_at(&self, file: FileId, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.0.borrow_mut();
        state.call()?;
        state.file(file)?.read(offset, buffer)
    }

    fn write_at(&mut self, file: FileId, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.borrow_mut().write(file, offset, data)
    }

    fn sync(&mut self, file: FileId) -> io::Result<()> {
        self.0.borrow_mut().sync(file)
    }

    fn drop_cache(&mut self, file: FileId) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        state.call()?;
        state.file(file)?.drop_cache();
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        state.call()?;
        let number = state.number_of(from)?;
        state.change_names(vec![(from.to_owned(), None), (to.to_owned(), Some(number))]);
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        state.call()?;
        state.number_of(name)?;
        state.change_names(vec![(name.to_owned(), None)]);
        Ok(())
    }

    fn sync_names(&mut self) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        state.call()?;
        state.names_durable = state.names.clone();
        state.name_changes.clear();
        state.drop_unreachable();
        Ok(())
    }

    fn links(&mut self, name: &str) -> io::Result<u64> {
        let mut state = self.0.borrow_mut();
        state.call()?;
        let number = state.number_of(name)?;
        Ok(state.files[&number].links)
    }
}

/// What becomes of unsynced changes in one crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Kept,
    Lost,
    /// Each by itself.
    Mixed,
}

impl Fate {
    fn draw(entropy: &mut Entropy) -> Self {
        [Self::Kept, Self::Lost, Self::Mixed, Self::Mixed][entropy.below(4) as usize]
    }

    fn keeps(self, entropy: &mut Entropy) -> bool {
        match self {
            Self::Kept => true,
            Self::Lost => false,
            Self::Mixed => entropy.below(2) == 0,
        }
    }
}

fn apply(names: &mut BTreeMap<String, u64>, change: Vec<(String, Option<u64>)>) {
    for (name, number) in change {
        match number {
            Some(number) => names.insert(name, number),
            None => names.remove(&name),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with a file `a` of two sectors of ones, everything synced.
    fn ones() -> (SimDisk, FileId) {
        let mut disk = SimDisk::new(1);
        let file = disk.create("a").unwrap();
        disk.write_at(file, 0, &[1; 2 * SECTOR_BYTES]).unwrap();
        disk.sync(file).unwrap();
        disk.sync_names().unwrap();
        (disk, file)
    }

    /// What is seen over many crashes after the same acts.
    fn outcomes<T: Ord>(act: impl Fn(&mut SimDisk, FileId), see: impl Fn(&SimDisk) -> T) -> BTreeSet<T> {
        (0..200)
            .map(|seed| {
                let (mut disk, file) = ones();
                act(&mut disk, file);
                disk.crash(&mut Entropy::new(seed));
                see(&disk)
            })
            .collect()
    }

    #[test]
    fn what_is_synced_survives_any_crash() {
        let act = |disk: &mut SimDisk, file| {
            disk.write_at(file, 100, &[2; 600]).unwrap();
            disk.write_at(file, 1_020, &[3; 100]).unwrap();
            disk.sync(file).unwrap();
        };
        let expected = [&[1u8; 100][..], &[2; 600], &[1; 320], &[3; 100]].concat();
        assert_eq!(outcomes(act, |disk| disk.content("a")), [expected].into());
    }

    #[test]
    fn each_unsynced_sector_is_old_new_or_zero_and_synced_bytes_beside_it_stay() {
        let act = |disk: &mut SimDisk, file| disk.write_at(file, 500, &[2; 20]).unwrap();
        let seen = outcomes(act, |disk| disk.content("a"));
        let sectors = |head: u8, tail: u8| [&[1u8; 500][..], &[head; 12], &[tail; 8], &[1; 504]].concat();
        let expected = [0, 1, 2].into_iter().flat_map(|head| [0, 1, 2].map(|tail| sectors(head, tail)));
        assert_eq!(seen, expected.collect());
    }

    #[test]
    fn a_sector_may_hold_any_of_the_versions_since_the_sync() {
        let act = |disk: &mut SimDisk, file| (2..5).for_each(|byte| disk.write_at(file, 0, &[byte; 8]).unwrap());
        assert_eq!(outcomes(act, |disk| disk.content("a")[0]), [0, 1, 2, 3, 4].into());
    }

    #[test]
    fn an_unsynced_length_is_kept_or_lost_apart_from_the_content() {
        let act = |disk: &mut SimDisk, file| {
            disk.write_at(file, 1_024, &[2; 512]).unwrap();
            disk.write_at(file, 1_536, &[2; 512]).unwrap();
        };
        let seen = outcomes(act, |disk| (disk.content("a").len(), disk.content("a").get(1_024).copied()));
        let expected = [(1_024, None), (1_536, Some(0)), (1_536, Some(2)), (2_048, Some(0)), (2_048, Some(2))];
        assert_eq!(seen, expected.into());
    }

    #[test]
    fn names_are_sure_only_when_they_are_synced_and_what_builds_on_a_lost_one_is_lost() {
        let names = |disk: &SimDisk| disk.files().into_iter().map(|(name, _)| name).collect::<Vec<_>>().join(" ");
        let act = |disk: &mut SimDisk, _| {
            disk.rename("a", "b").unwrap();
            disk.create("a").unwrap();
            disk.create("x").unwrap();
        };
        assert_eq!(outcomes(act, names), ["a", "a x", "b", "b x", "a b", "a b x"].map(String::from).into());
        let synced = |disk: &mut SimDisk, file| {
            act(disk, file);
            disk.sync_names().unwrap();
        };
        assert_eq!(outcomes(synced, names), ["a b x".to_owned()].into());
        let removed = |disk: &mut SimDisk, _| disk.remove("a").unwrap();
        assert_eq!(outcomes(removed, names), [String::new(), "a".to_owned()].into());
        assert!(outcomes(removed, |disk| disk.files()).iter().flatten().all(|(_, length)| *length == 1_024));
    }

    #[test]
    fn a_failed_sync_loses_pages_that_the_next_one_does_not_bring_back() {
        let lost = (0..50).filter(|seed| {
            let seed = *seed;
            let mut disk = SimDisk::new(seed);
            let file = disk.create("a").unwrap();
            disk.sync_names().unwrap();
            disk.write_at(file, 0, &[7; 4_096]).unwrap();
            disk.fail_at(disk.calls() + 1, Fault::Broken);
            assert!(disk.sync(file).is_err());
            disk.sync(file).unwrap();
            assert_eq!(disk.content("a"), [7; 4_096], "it is still there to be read");
            if seed % 2 == 0 {
                disk.crash(&mut Entropy::new(seed));
            } else {
                disk.drop_cache(file).unwrap();
            }
            disk.content("a") != [7; 4_096]
        });
        assert!(lost.count() > 40);
    }

    #[test]
    fn every_call_can_fail_by_its_number_and_only_that_one() {
        let (mut disk, file) = ones();
        let next = disk.calls() + 1;
        disk.fail_at(next, Fault::Full);
        disk.fail_at(next + 1, Fault::Broken);
        assert_eq!(disk.write_at(file, 0, &[2; 8]).unwrap_err().kind(), ErrorKind::StorageFull);
        assert!(disk.read_at(file, 0, &mut [0; 8]).is_err());
        disk.write_at(file, 0, &[2; 8]).unwrap();
        assert_eq!(disk.calls(), next + 2);
    }

    #[test]
    fn without_power_nothing_happens_any_more() {
        let (mut disk, file) = ones();
        disk.fail_at(disk.calls() + 2, Fault::Power);
        disk.write_at(file, 0, &[2; 8]).unwrap();
        assert!(disk.sync(file).is_err() && disk.sync(file).is_err() && disk.list().is_err());
        assert!(disk.write_at(file, 0, &[3; 8]).is_err());
        disk.crash(&mut Entropy::new(0));
        assert_ne!(disk.content("a")[0], 3);
        assert!(disk.sync(file).is_err(), "its files are closed");
        disk.open("a").unwrap();
    }

    #[test]
    fn a_full_disk_takes_what_needs_no_more_room_and_goes_on_when_something_is_gone() {
        let (mut disk, file) = ones();
        disk.set_capacity_bytes(1_536);
        disk.write_at(file, 0, &[2; 1_024]).unwrap();
        assert_eq!(disk.write_at(file, 1_024, &[2; 513]).unwrap_err().kind(), ErrorKind::StorageFull);
        assert!(disk.used_bytes() <= 1_536);
        let other = disk.create("b").unwrap();
        assert!(disk.write_at(other, 0, &[2; 1_024]).is_err());
        disk.remove("a").unwrap();
        disk.close(file);
        disk.write_at(other, 0, &[2; 1_024]).unwrap();
    }

    #[test]
    fn damage_at_rest_is_there_after_a_crash() {
        let (mut disk, file) = ones();
        disk.flip_bit("a", 8 * 3 + 1);
        disk.break_sector("a", 1);
        disk.crash(&mut Entropy::new(0));
        assert_eq!(disk.content("a")[3], 3);
        assert!(disk.read_at(file, 0, &mut [0; 8]).is_err());
        let file = disk.open("a").unwrap();
        assert_eq!(disk.read_at(file, 0, &mut [0; 512]).unwrap(), 512);
        assert!(disk.read_at(file, 0, &mut [0; 513]).is_err());
        disk.write_at(file, 512, &[4; 512]).unwrap();
        assert_eq!(disk.read_at(file, 1_000, &mut [0; 513]).unwrap(), 24);
        disk.truncate("a", 10);
        assert_eq!(disk.read_at(file, 0, &mut [0; 512]).unwrap(), 10);
    }

    #[test]
    fn a_copy_is_a_disk_of_its_own_and_a_killed_process_loses_nothing() {
        let (mut disk, file) = ones();
        let copy = disk.copy(2);
        disk.write_at(file, 0, &[9; 8]).unwrap();
        disk.kill();
        assert!(disk.sync(file).is_err());
        assert_eq!((disk.content("a")[0], copy.content("a")[0]), (9, 1));
    }

    #[test]
    fn one_seed_is_one_outcome() {
        let run = |seed| {
            let (mut disk, file) = ones();
            disk.fail_syncs_one_in(2);
            for byte in 0..20 {
                let _ = disk.write_at(file, u64::from(byte) * 300, &[byte; 400]);
                if byte < 15 {
                    let _ = disk.sync(file);
                }
            }
            disk.crash(&mut Entropy::new(seed));
            disk.content("a")
        };
        assert_eq!(run(1), run(1));
        assert!((0..20).any(|seed| run(seed) != run(1)));
    }
}
