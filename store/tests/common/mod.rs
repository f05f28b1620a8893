//! A disk in memory that remembers every change, so that a test can go back to any moment, and can be full or fail.
#![allow(dead_code)] // Each test file uses its part.

use althing_core::Now;
use althing_store::disk::{Disk, FileId};
use althing_store::log::{Log, Place};
use althing_store::{Failure, OpenError, Options};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

pub const OPTIONS: Options = Options { segment_bytes: 4096, bytes_max: u64::MAX, protocols: &[], seed: 77 };
pub const NOW: Now = Now { mono_ns: 0, wall_ms: 1_000_000 };

/// One change of the disk.
#[derive(Clone, Debug)]
pub enum Change {
    Create(String),
    Write(String, u64, Vec<u8>),
    Rename(String, String),
    Remove(String),
}

pub type Contents = BTreeMap<String, Vec<u8>>;

pub fn apply(contents: &mut Contents, change: &Change) {
    match change {
        Change::Create(name) => drop(contents.insert(name.clone(), Vec::new())),
        Change::Write(name, offset, data) => {
            let (file, end) = (contents.get_mut(name).expect("it is there"), *offset as usize + data.len());
            file.resize(file.len().max(end), 0);
            file[*offset as usize..end].copy_from_slice(data);
        }
        Change::Rename(from, to) => {
            let file = contents.remove(from).expect("it is there");
            contents.insert(to.clone(), file);
        }
        Change::Remove(name) => drop(contents.remove(name)),
    }
}

#[derive(Debug)]
pub struct State {
    pub contents: Contents,
    pub changes: Vec<Change>,
    /// Names of open files by id; they follow renames.
    open: Vec<Option<String>>,
    pub bytes_max: u64,
    pub sync_fails: bool,
    pub copied: bool,
    pub syncs: u64,
}

/// All clones are the same disk.
#[derive(Clone, Debug)]
pub struct MemoryDisk(pub Rc<RefCell<State>>);

impl Default for MemoryDisk {
    fn default() -> Self {
        Self::with(Contents::new())
    }
}

impl MemoryDisk {
    pub fn with(contents: Contents) -> Self {
        Self(Rc::new(RefCell::new(State {
            contents,
            changes: Vec::new(),
            open: Vec::new(),
            bytes_max: u64::MAX,
            sync_fails: false,
            copied: false,
            syncs: 0,
        })))
    }

    pub fn contents(&self) -> Contents {
        self.0.borrow().contents.clone()
    }

    pub fn changes(&self) -> usize {
        self.0.borrow().changes.len()
    }

    pub fn bytes(&self) -> u64 {
        self.0.borrow().contents.values().map(|file| file.len() as u64).sum()
    }

    pub fn names(&self) -> Vec<String> {
        self.0.borrow().contents.keys().cloned().collect()
    }
}

impl State {
    fn name(&self, file: FileId) -> io::Result<String> {
        self.open[file.0 as usize].clone().ok_or(io::ErrorKind::NotFound.into())
    }

    fn keep(&mut self, name: &str) -> FileId {
        self.open.push(Some(name.to_owned()));
        FileId(self.open.len() as u32 - 1)
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.contents, &change);
        self.changes.push(change);
    }
}

impl Disk for MemoryDisk {
    fn list(&mut self) -> io::Result<Vec<(String, u64)>> {
        Ok(self.0.borrow().contents.iter().map(|(name, file)| (name.clone(), file.len() as u64)).collect())
    }

    fn create(&mut self, name: &str) -> io::Result<FileId> {
        let mut state = self.0.borrow_mut();
        if state.contents.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.change(Change::Create(name.to_owned()));
        Ok(state.keep(name))
    }

    fn open(&mut self, name: &str) -> io::Result<FileId> {
        let mut state = self.0.borrow_mut();
        if !state.contents.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(state.keep(name))
    }

    fn close(&mut self, file: FileId) {
        assert!(self.0.borrow_mut().open[file.0 as usize].take().is_some(), "closed twice");
    }

    fn read_at(&self, file: FileId, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let state = self.0.borrow();
        let rest = state.contents[&state.name(file)?].get(offset as usize..).unwrap_or(&[]);
        let read = rest.len().min(buffer.len());
        buffer[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn write_at(&mut self, file: FileId, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        let name = state.name(file)?;
        let used: u64 = state.contents.values().map(|file| file.len() as u64).sum();
        let grows = (offset + data.len() as u64).saturating_sub(state.contents[&name].len() as u64);
        if used + grows > state.bytes_max {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.change(Change::Write(name, offset, data.to_vec()));
        Ok(())
    }

    fn sync(&mut self, file: FileId) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        state.name(file)?;
        state.syncs += 1;
        if state.sync_fails { Err(io::Error::other("broken")) } else { Ok(()) }
    }

    fn drop_cache(&mut self, _: FileId) -> io::Result<()> {
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        for open in state.open.iter_mut().flatten().filter(|open| *open == from) {
            *open = to.to_owned();
        }
        state.change(Change::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.0.borrow_mut().change(Change::Remove(name.to_owned()));
        Ok(())
    }

    fn sync_names(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn links(&mut self, _: &str) -> io::Result<u64> {
        Ok(if self.0.borrow().copied { 2 } else { 1 })
    }
}

/// What a log shows when it is opened: the payloads of its frames, in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub payloads: Vec<Vec<u8>>,
    pub places: Vec<Place>,
    pub ages_ms: Vec<u64>,
}

impl Seen {
    /// All bytes of all steps.
    pub fn bytes(&self) -> Vec<u8> {
        self.payloads.concat()
    }
}

pub fn open<D: Disk>(disk: D, options: &Options) -> Result<(Log<D>, Seen), OpenError> {
    open_from(disk, options, 1)
}

pub fn open_from<D: Disk>(disk: D, options: &Options, first: u32) -> Result<(Log<D>, Seen), OpenError> {
    let mut seen = Seen::default();
    let log = Log::open(disk, options, first, &mut |frame| {
        seen.ages_ms.push(frame.age_ms);
        if !frame.payload.is_empty() {
            seen.payloads.push(frame.payload.to_vec());
            seen.places.push(frame.place);
        }
        Ok(())
    })?;
    Ok((log, seen))
}

/// Appends and commits.
pub fn commit<D: Disk>(log: &mut Log<D>, step: &[u8]) -> Result<Place, Failure> {
    let place = log.append(step);
    assert!(log.commit(NOW, 0, true)?, "there is room");
    Ok(place)
}

/// A step that tells which one it is, `bytes` long.
pub fn step(number: usize, bytes: usize) -> Vec<u8> {
    let mut step = format!("<{number}>").into_bytes();
    step.resize(bytes.max(step.len()), b'.');
    step
}
