//! The log after a crash and with damage: what was acknowledged is there, or an error names the file and the place.

mod common;

use althing_core::Now;
use althing_store::disk::{Disk, FileId};
use althing_store::frame::{FRAME_HEADER_BYTES, checksum};
use althing_store::{OpenError, Options};
use common::{Change, Contents, MemoryDisk, NOW, OPTIONS, apply, commit, open, open_from, step};
use std::io;

/// The changes that a disk has seen, and how many steps were acknowledged at which of them.
struct History {
    changes: Vec<Change>,
    acknowledged: Vec<(usize, usize)>,
    steps: Vec<Vec<u8>>,
}

impl History {
    /// How many steps had been acknowledged after `changes` changes.
    fn acknowledged(&self, changes: usize) -> usize {
        self.acknowledged.iter().rfind(|(at, _)| *at <= changes).map_or(0, |(_, steps)| *steps)
    }
}

/// Commits of one to three steps over many segments, with spares, released segments and a restart.
fn history() -> History {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(disk.clone(), &OPTIONS).expect("the disk works");
    let mut history = History { changes: Vec::new(), acknowledged: Vec::new(), steps: Vec::new() };
    for number in 0..60 {
        for _ in 0..1 + number % 3 {
            let step = step(history.steps.len(), 150 + number * 37 % 500);
            log.append(&step);
            history.steps.push(step);
        }
        assert!(log.commit(NOW, number as u64, true).expect("the disk works"));
        history.acknowledged.push((disk.changes(), history.steps.len()));
        if number % 4 == 0 {
            while log.prepare(NOW).expect("the disk works") {}
        }
        if number == 30 {
            log = open(log.close(NOW, 30).expect("the disk works"), &OPTIONS).expect("the disk works").0;
        }
    }
    log.close(NOW, 60).expect("the disk works");
    history.changes = disk.0.borrow().changes.clone();
    history
}

/// Opens, and checks that the steps are a prefix that holds at least `acknowledged` of them; then goes on and opens again.
fn check_prefix(contents: Contents, steps: &[Vec<u8>], acknowledged: usize, what: &str) {
    let disk = MemoryDisk::with(contents);
    let (mut log, seen) = open(disk.clone(), &OPTIONS).unwrap_or_else(|error| panic!("{what}: {error}"));
    let bytes = seen.bytes();
    assert!(steps.concat().starts_with(&bytes), "{what}: nothing else");
    assert!(bytes.len() >= steps[..acknowledged].concat().len(), "{what}: all that was acknowledged");
    commit(&mut log, b"and on").expect("the disk works");
    drop(log);
    let (_, seen) = open(disk, &OPTIONS).expect("the disk works");
    assert_eq!(seen.bytes(), [&bytes[..], b"and on"].concat(), "{what}: it goes on");
}

#[test]
fn a_kill_at_any_change_loses_nothing() {
    let history = history();
    let mut contents = Contents::new();
    for (at, change) in history.changes.iter().enumerate() {
        check_prefix(contents.clone(), &history.steps, history.acknowledged(at), &format!("before change {at}"));
        if let Change::Write(name, offset, data) = change {
            for kept in [1, data.len() / 2, data.len() - 1] {
                let mut torn = contents.clone();
                apply(&mut torn, &Change::Write(name.clone(), *offset, data[..kept].to_vec()));
                let what = format!("{kept} bytes of change {at}");
                check_prefix(torn, &history.steps, history.acknowledged(at), &what);
            }
        }
        apply(&mut contents, change);
    }
    check_prefix(contents, &history.steps, history.steps.len(), "at the end");
    assert!(history.changes.len() > 100);
}

#[test]
fn the_last_commit_may_be_torn_anywhere() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(disk.clone(), &OPTIONS).unwrap();
    let steps: Vec<_> = (0..3).map(|number| step(number, 100)).collect();
    commit(&mut log, &steps[0]).unwrap();
    commit(&mut log, &steps[1]).unwrap();
    let before = disk.contents();
    commit(&mut log, &steps[2]).unwrap();
    let after = disk.contents();
    let file = "segment-00000001";
    let (old, new) = (&before[file], &after[file]);
    let changed: Vec<usize> = (0..old.len()).filter(|&at| old[at] != new[at]).collect();
    for &at in &changed {
        for (keep_front, fill) in [(true, None), (false, None), (true, Some(0xFF))] {
            let mut torn = before.clone();
            let bytes = torn.get_mut(file).unwrap();
            for &place in &changed {
                let kept = if keep_front { place < at } else { place > at };
                bytes[place] = if kept { new[place] } else { fill.unwrap_or(old[place]) };
            }
            check_prefix(torn, &steps, 2, &format!("torn at {at}"));
        }
    }
}

#[test]
fn a_commit_over_two_segments_may_be_cut_at_any_change() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(disk.clone(), &OPTIONS).unwrap();
    let steps: Vec<_> = (0..12).map(|number| step(number, 900)).collect();
    commit(&mut log, &steps[0]).unwrap();
    let (mut contents, from) = (disk.contents(), disk.changes());
    for step in &steps[1..] {
        log.append(step);
    }
    assert!(log.commit(NOW, 0, true).unwrap());
    let changes = disk.0.borrow().changes[from..].to_vec();
    for (at, change) in changes.iter().enumerate() {
        check_prefix(contents.clone(), &steps, 1, &format!("before change {at}"));
        apply(&mut contents, change);
    }
    check_prefix(contents, &steps, 12, "at the end");
}

#[test]
fn what_was_not_synced_may_be_missing_though_later_frames_are_there() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(disk.clone(), &OPTIONS).unwrap();
    let steps: Vec<_> = (0..5).map(|number| step(number, 100)).collect();
    commit(&mut log, &steps[0]).unwrap();
    let place = log.append(&steps[1]);
    for step in &steps[2..] {
        assert!(log.commit(NOW, 0, false).unwrap());
        log.append(step);
    }
    assert!(log.commit(NOW, 0, false).unwrap());
    let mut contents = disk.contents();
    let lost = place.offset as usize;
    contents.get_mut("segment-00000001").unwrap()[lost - FRAME_HEADER_BYTES as usize..lost + 100].fill(0);
    check_prefix(contents.clone(), &steps, 1, "the second of five");

    // A frame of the same length in the gap does not bring the later ones back.
    let disk = MemoryDisk::with(contents);
    let (mut log, _) = open(disk.clone(), &OPTIONS).unwrap();
    commit(&mut log, &step(9, 100)).unwrap();
    let (_, seen) = open(disk, &OPTIONS).unwrap();
    assert_eq!(seen.bytes(), [step(0, 100), step(9, 100)].concat());
}

#[test]
fn damage_before_what_was_durable_is_told_with_file_and_offset() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(disk.clone(), &OPTIONS).unwrap();
    let places: Vec<_> = (0..10).map(|number| commit(&mut log, &step(number, 900)).unwrap()).collect();
    drop(log);
    for (number, place) in places.iter().enumerate().take(9) {
        let mut contents = disk.contents();
        let file = format!("segment-{:08}", place.segment);
        contents.get_mut(&file).unwrap()[place.offset as usize + 450] ^= 1;
        let disk = MemoryDisk::with(contents);
        let error = open(disk.clone(), &OPTIONS).unwrap_err();
        let OpenError::Corrupt { file: named, offset, affected, .. } = &error else { panic!("{number}: {error}") };
        assert_eq!((named, *offset), (&file, u64::from(place.offset - FRAME_HEADER_BYTES)), "{number}: {error}");
        assert!(affected.contains("stored"), "{error}");
        assert_eq!(disk.changes(), 0, "nothing on disk has changed");
    }
}

#[test]
fn a_missing_file_is_told() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(disk.clone(), &OPTIONS).unwrap();
    for number in 0..20 {
        commit(&mut log, &step(number, 900)).unwrap();
    }
    log.close(NOW, 0).unwrap();
    for file in disk.names().iter().filter(|name| name.starts_with("segment")) {
        let mut contents = disk.contents();
        contents.remove(file);
        let error = open(MemoryDisk::with(contents), &OPTIONS).unwrap_err();
        let OpenError::Corrupt { file: named, what, .. } = &error else { panic!("{error}") };
        assert_eq!(named, file);
        assert!(what.contains("missing"), "{error}");
    }
    let error = open_from(MemoryDisk::default(), &OPTIONS, 7).unwrap_err();
    assert!(matches!(error, OpenError::Corrupt { .. }), "a checkpoint without its log is no new store: {error}");
}

#[test]
fn every_flipped_byte_and_every_truncation_of_a_closed_log_is_harmless_or_told() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(disk.clone(), &OPTIONS).unwrap();
    let steps: Vec<_> = (0..11).map(|number| step(number, 300 + number * 40)).collect();
    for step in &steps {
        commit(&mut log, step).unwrap();
    }
    log.close(NOW, 0).unwrap();
    let contents: Contents = disk.contents().into_iter().filter(|(name, _)| name.starts_with("segment")).collect();
    assert!(contents.len() > 1);
    let mut told = 0;
    let mut check = |contents: Contents, what: &str| match open(MemoryDisk::with(contents), &OPTIONS) {
        Ok((_, seen)) => assert_eq!(seen.bytes(), steps.concat(), "{what}"),
        Err(OpenError::Corrupt { .. }) => told += 1,
        Err(error) => panic!("{what}: {error}"),
    };
    for (name, file) in &contents {
        for at in 0..file.len() {
            let mut flipped = contents.clone();
            flipped.get_mut(name).unwrap()[at] ^= 0x10;
            check(flipped, &format!("{name}: byte {at} flipped"));
            let mut cut = contents.clone();
            cut.get_mut(name).unwrap().truncate(at);
            check(cut, &format!("{name}: cut at {at}"));
        }
    }
    let steps_bytes = steps.concat().len();
    assert!(told > steps_bytes, "{told} errors, {steps_bytes} bytes of steps");
}

#[test]
fn a_newer_format_is_not_touched() {
    let disk = MemoryDisk::default();
    open(disk.clone(), &OPTIONS).unwrap();
    let mut contents = disk.contents();
    let header = &mut contents.get_mut("segment-00000001").unwrap()[..40];
    header[8] = 9;
    let sum = checksum(&header[..36]);
    header[36..].copy_from_slice(&sum.to_le_bytes());
    let disk = MemoryDisk::with(contents);
    let error = open(disk.clone(), &OPTIONS).unwrap_err();
    assert!(matches!(&error, OpenError::Newer { file, found: 9, .. } if file == "segment-00000001"), "{error}");
    assert_eq!(disk.changes(), 0);
}

#[test]
fn another_store_s_segment_is_told() {
    let mut contents = Contents::new();
    for (seed, file) in [(1, "segment-00000001"), (2, "segment-00000002")] {
        let disk = MemoryDisk::default();
        let (mut log, _) = open(disk.clone(), &Options { seed, ..OPTIONS }).unwrap();
        for number in 0..6 {
            commit(&mut log, &step(number, 900)).unwrap();
        }
        contents.insert(file.to_owned(), disk.contents()[file].clone());
    }
    let error = open(MemoryDisk::with(contents), &OPTIONS).unwrap_err();
    assert!(error.to_string().contains("another store"), "{error}");
}

#[test]
fn a_disk_that_is_full_or_fails_at_any_call_loses_nothing() {
    let steps: Vec<_> = (0..30).map(|number| step(number, 700)).collect();
    for full in [true, false] {
        for at in 0.. {
            let memory = MemoryDisk::default();
            let faulty = Faulty { disk: memory.clone(), until: at, full };
            let mut acknowledged = 0;
            let mut reached = false;
            if let Ok((mut log, _)) = open(faulty, &OPTIONS) {
                let mut appended = 0;
                'run: for (number, batch) in steps.chunks(2).enumerate() {
                    for step in batch {
                        log.append(step);
                        appended += 1;
                    }
                    let now = Now { mono_ns: number as u64 * 2_000_000_000, ..NOW };
                    for _ in 0..2 {
                        match log.commit(now, 0, true) {
                            Ok(true) => acknowledged = appended,
                            Ok(false) => assert!(full, "call {at}"),
                            Err(failure) => {
                                assert!(!full || failure.action == "sync", "call {at}: {failure}");
                                break 'run;
                            }
                        }
                    }
                    if let Err(failure) = log.prepare(now) {
                        assert!(!full || failure.action == "sync", "call {at}: {failure}");
                        break;
                    }
                }
                reached = log.disk().until == 0;
                if full && acknowledged == steps.len() {
                    assert_eq!(log.pending_bytes(), 0, "call {at}: what waited has gone out");
                }
            }
            if acknowledged > 0 {
                check_prefix(memory.contents(), &steps, acknowledged, &format!("call {at}"));
            }
            if !reached && acknowledged == steps.len() {
                assert!(at > 30, "only {at} calls");
                break;
            }
        }
    }
}

/// Fails one call that changes something: for want of room, or for good.
#[derive(Debug)]
struct Faulty {
    disk: MemoryDisk,
    /// Calls until the fault; 0 = it is over.
    until: usize,
    full: bool,
}

impl Faulty {
    fn fault(&mut self) -> io::Result<()> {
        self.until = match self.until {
            0 => return Ok(()),
            1 if !self.full => return Err(io::Error::other("broken")),
            left => left - 1,
        };
        if self.until == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl Disk for Faulty {
    fn list(&mut self) -> io::Result<Vec<(String, u64)>> {
        self.disk.list()
    }
    fn create(&mut self, name: &str) -> io::Result<FileId> {
        self.fault()?;
        self.disk.create(name)
    }
    fn open(&mut self, name: &str) -> io::Result<FileId> {
        self.disk.open(name)
    }
    fn close(&mut self, file: FileId) {
        self.disk.close(file);
    }
    fn read_at(&self, file: FileId, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.disk.read_at(file, offset, buffer)
    }
    fn write_at(&mut self, file: FileId, offset: u64, data: &[u8]) -> io::Result<()> {
        if let Err(error) = self.fault() {
            // A part of it is there.
            self.disk.write_at(file, offset, &data[..data.len() / 2])?;
            return Err(error);
        }
        self.disk.write_at(file, offset, data)
    }
    fn sync(&mut self, file: FileId) -> io::Result<()> {
        self.fault()?;
        self.disk.sync(file)
    }
    fn drop_cache(&mut self, file: FileId) -> io::Result<()> {
        self.disk.drop_cache(file)
    }
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.fault()?;
        self.disk.rename(from, to)
    }
    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.fault()?;
        self.disk.remove(name)
    }
    fn sync_names(&mut self) -> io::Result<()> {
        self.fault()?;
        self.disk.sync_names()
    }
    fn links(&mut self, name: &str) -> io::Result<u64> {
        self.disk.links(name)
    }
}
