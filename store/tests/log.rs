//! The log in ordinary life: what is appended comes back, segments follow each other and are used again, a full disk is
//! waited for.

mod common;

use althing_core::Now;
use althing_store::disk::Disk;
use althing_store::log::Log;
use althing_store::{Files, OpenError, Options};
use common::{MemoryDisk, NOW, OPTIONS, commit, open, open_from, step};

fn read<D: Disk>(log: &mut Log<D>, place: althing_store::log::Place, bytes: usize) -> Vec<u8> {
    let mut buffer = vec![0; bytes];
    log.read(place, &mut buffer).expect("the disk works");
    buffer
}

fn rest<D: Disk>(log: &Log<D>) -> u32 {
    *log.segments().last().expect("the disk works")
}

#[test]
fn what_was_committed_is_there_again() {
    let disk = MemoryDisk::default();
    let (mut log, seen) = open(disk.clone(), &OPTIONS).unwrap();
    assert!(seen.payloads.is_empty());
    let first = log.append(b"one");
    let second = log.append(b"two");
    assert_eq!(log.pending_bytes(), 6);
    assert_eq!((read(&mut log, first, 3), read(&mut log, second, 3)), (b"one".to_vec(), b"two".to_vec()));
    assert!(log.commit(NOW, 5, true).unwrap());
    assert_eq!(log.pending_bytes(), 0);
    let third = commit(&mut log, b"three").unwrap();
    assert_eq!(read(&mut log, second, 3), b"two");
    drop(log);

    let (mut log, seen) = open(disk.clone(), &OPTIONS).unwrap();
    assert_eq!(seen.payloads, [&b"onetwo"[..], b"three"]);
    assert_eq!((seen.places[0], seen.places[1]), (first, third));
    assert_eq!(seen.ages_ms, [5, 0]);
    assert_eq!(read(&mut log, third, 5), b"three");
    commit(&mut log, b"four").unwrap();
    log.close(NOW, 9).unwrap();

    let (log, seen) = open(disk.clone(), &OPTIONS).unwrap();
    assert_eq!((seen.bytes(), seen.ages_ms), (b"onetwothreefour".to_vec(), vec![5, 0, 0, 9]));
    let changes = disk.changes();
    log.close(NOW, 10).unwrap();
    assert_eq!(disk.changes(), changes, "it was closed, and nothing has happened since");
    assert_eq!(open(disk, &OPTIONS).unwrap().0.store(), OPTIONS.seed);
}

#[test]
fn one_commit_is_one_sync_and_none_is_needed_without_news() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(disk.clone(), &OPTIONS).unwrap();
    let before = disk.0.borrow().syncs;
    for number in 0..10 {
        log.append(&step(number, 20));
    }
    assert!(log.commit(NOW, 0, true).unwrap());
    assert!(log.commit(NOW, 0, true).unwrap());
    assert_eq!(disk.0.borrow().syncs, before + 1);
    log.append(b"later");
    assert!(log.commit(NOW, 0, false).unwrap());
    assert_eq!(disk.0.borrow().syncs, before + 1);
    assert!(log.commit(NOW, 0, true).unwrap());
    assert_eq!(disk.0.borrow().syncs, before + 2, "what was only written is synced later");
}

#[test]
fn segments_follow_each_other() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(disk.clone(), &OPTIONS).unwrap();
    let steps: Vec<_> = (0..100).map(|number| step(number, 700)).collect();
    let mut places = Vec::new();
    for batch in steps.chunks(9) {
        places.extend(batch.iter().map(|step| log.append(step)));
        for (place, step) in places.iter().zip(&steps) {
            assert_eq!(read(&mut log, *place, 700), *step, "before the commit");
        }
        assert!(log.commit(NOW, 0, true).unwrap());
    }
    assert!(rest(&log) > 15, "{:?}", log.segments());
    assert!(disk.contents().values().all(|file| file.len() == 4096));
    for (place, step) in places.iter().zip(&steps) {
        assert_eq!(read(&mut log, *place, 700), *step);
    }
    let (_, seen) = open(disk.clone(), &OPTIONS).unwrap();
    assert_eq!(seen.bytes(), steps.concat());
    let later = places[50].segment;
    let (_, seen) = open_from(disk, &OPTIONS, later).unwrap();
    assert_eq!(seen.places[0].segment, later);
    assert!(steps.concat().ends_with(&seen.bytes()));
}

#[test]
fn a_step_that_no_segment_holds_gets_one_of_its_own() {
    for extra in 0..20 {
        let disk = MemoryDisk::default();
        let (mut log, _) = open(disk.clone(), &OPTIONS).unwrap();
        let large = step(1, 3950 + extra * 8 + extra % 8);
        let huge = step(2, 40_000 + extra);
        let all = [&b"first"[..], &large, &huge, &[7; 100]];
        let places: Vec<_> = all.iter().map(|step| log.append(step)).collect();
        assert!(log.commit(NOW, 0, true).unwrap());
        for (place, step) in places.iter().zip(all) {
            assert_eq!(read(&mut log, *place, step.len()), step);
        }
        log.release(places[2].segment).unwrap();
        assert!(disk.contents().values().all(|file| file.len() < 6000), "a large one is no spare");
    }
}

#[test]
fn a_segment_that_was_let_go_is_used_again_and_shows_nothing_old() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(disk.clone(), &OPTIONS).unwrap();
    for number in 0..40 {
        commit(&mut log, &step(number, 900)).unwrap();
    }
    let bytes = disk.bytes();
    let active = rest(&log);
    for segment in log.segments().into_iter().filter(|segment| *segment != active) {
        log.release(segment).unwrap();
    }
    assert_eq!(log.segments(), [active]);
    assert!(disk.bytes() <= 3 * 4096, "two spares are kept, {bytes} bytes were there");
    let mut expected = Vec::new();
    for number in 40..60 {
        commit(&mut log, &step(number, 200)).unwrap();
        expected.push(step(number, 200));
        // After each step: behind it stand old frames of the same length.
        let (_, seen) = open_from(MemoryDisk::with(disk.contents()), &OPTIONS, active).unwrap();
        assert!(seen.bytes().ends_with(&expected.concat()), "step {number}");
    }
    assert!(rest(&log) > active);
}

#[test]
fn a_file_that_is_being_copied_is_not_overwritten() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(disk.clone(), &OPTIONS).unwrap();
    while rest(&log) < 4 {
        commit(&mut log, &step(0, 900)).unwrap();
    }
    log.release(1).unwrap();
    disk.0.borrow_mut().copied = true;
    log.release(2).unwrap();
    let spares = disk.names().into_iter().filter(|name| name.starts_with("spare")).collect::<Vec<_>>();
    while rest(&log) < 7 {
        commit(&mut log, &step(0, 900)).unwrap();
    }
    assert!(!spares.is_empty());
    assert!(spares.iter().all(|name| !disk.names().contains(name)), "the link of the copy is the last one");
}

#[test]
fn spares_are_made_piece_by_piece() {
    let options = Options { segment_bytes: 3 << 20, ..OPTIONS };
    let disk = MemoryDisk::default();
    let (mut log, _) = open(disk.clone(), &options).unwrap();
    let mut pieces = 1;
    while log.prepare(NOW).unwrap() {
        pieces += 1;
    }
    // One spare was made at once, as the reserve of a new store.
    assert_eq!((pieces, disk.bytes()), (3, 9 << 20));
    assert!(!log.prepare(NOW).unwrap());
    let created = disk.names();
    drop(log);
    let (log, _) = open(disk.clone(), &options).unwrap();
    assert_eq!(disk.names(), created, "they are found again");
    assert_eq!(log.disk_bytes(), 9 << 20);
    drop(log);
    open(disk.clone(), &OPTIONS).unwrap();
    assert!(disk.bytes() <= 3 << 20, "those of another length go: {}", disk.bytes());
}

#[test]
fn a_full_disk_refuses_keeps_everything_and_comes_back() {
    for by_quota in [false, true] {
        let disk = MemoryDisk::default();
        let full = 6 * 4096 + 100;
        let options = Options { bytes_max: if by_quota { full } else { u64::MAX }, ..OPTIONS };
        disk.0.borrow_mut().bytes_max = if by_quota { u64::MAX } else { full };
        let (mut log, _) = open(disk.clone(), &options).unwrap();
        let mut expected = Vec::new();
        let mut append = |log: &mut Log<MemoryDisk>| {
            let step = step(expected.len(), 900);
            expected.push(step.clone());
            log.append(&step)
        };
        while log.has_room() {
            append(&mut log);
            assert!(log.commit(NOW, 0, true).unwrap());
            while log.prepare(NOW).unwrap() {}
        }
        // The reserve: what settles and cleans goes on.
        for _ in 0..4 {
            append(&mut log);
            assert!(log.commit(NOW, 0, true).unwrap(), "quota {by_quota}");
        }
        let mut places = Vec::new();
        while log.commit(NOW, 0, true).unwrap() {
            places = vec![append(&mut log), append(&mut log), append(&mut log)];
        }
        let waiting = log.pending_bytes();
        assert!(!log.has_room() && waiting > 0);
        let files = disk.names().len();
        assert!(!log.prepare(NOW).unwrap());
        assert!(!log.commit(NOW, 0, true).unwrap());
        assert_eq!((log.pending_bytes(), disk.names().len()), (waiting, files));
        assert_eq!(read(&mut log, places[2], 900), *expected.last().unwrap());
        let (_, seen) = open(MemoryDisk::with(disk.contents()), &options).unwrap();
        assert!(expected.concat().starts_with(&seen.bytes()));

        if by_quota {
            let oldest: Vec<_> = log.segments()[..4].to_vec();
            oldest.into_iter().for_each(|segment| log.release(segment).unwrap());
        } else {
            disk.0.borrow_mut().bytes_max = u64::MAX;
        }
        assert!(log.commit(NOW, 0, true).unwrap());
        let later = Now { mono_ns: NOW.mono_ns + 2_000_000_000, ..NOW };
        while log.prepare(later).unwrap() {}
        assert!(log.has_room());
        let (_, seen) = open_from(disk, &options, log.segments()[0]).unwrap();
        assert!(expected.concat().ends_with(&seen.bytes()) && seen.payloads.len() > 4);
    }
}

#[test]
fn a_spare_can_be_given_up_for_a_checkpoint() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(disk.clone(), &OPTIONS).unwrap();
    while log.prepare(NOW).unwrap() {}
    assert!(log.has_room());
    assert!(log.give_up_spare(NOW).unwrap() && log.give_up_spare(NOW).unwrap());
    assert!(!log.give_up_spare(NOW).unwrap());
    assert!(!log.has_room());
    assert_eq!(disk.bytes(), 4096);
}

#[test]
fn a_failed_sync_is_the_end() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(disk.clone(), &OPTIONS).unwrap();
    commit(&mut log, b"one").unwrap();
    disk.0.borrow_mut().sync_fails = true;
    log.append(b"two");
    let failure = log.commit(NOW, 0, true).unwrap_err();
    assert_eq!((failure.action, failure.file.as_str()), ("sync", "segment-00000001"));
    disk.0.borrow_mut().sync_fails = false;
    let changes = disk.changes();
    log.append(b"three");
    assert!(log.commit(NOW, 0, true).is_err());
    assert!(log.prepare(NOW).is_err());
    assert!(log.close(NOW, 0).is_err());
    assert_eq!(disk.changes(), changes, "nothing is written any more");
}

#[test]
fn places_that_are_not_in_the_log_cannot_be_read() {
    let (mut log, _) = open(MemoryDisk::default(), &OPTIONS).unwrap();
    let place = commit(&mut log, b"one").unwrap();
    let waiting = log.append(b"two");
    for (place, bytes) in [(place, 100), (waiting, 4)] {
        assert!(log.read(place, &mut vec![0; bytes]).is_err());
    }
    let elsewhere = althing_store::log::Place { segment: 9, offset: 40 };
    assert!(log.read(elsewhere, &mut [0]).is_err());
}

#[test]
fn many_old_segments_are_read_with_few_open_files() {
    let disk = MemoryDisk::default();
    let (mut log, _) = open(disk, &OPTIONS).unwrap();
    let places: Vec<_> = (0..400).map(|number| commit(&mut log, &step(number, 1000)).unwrap()).collect();
    assert!(rest(&log) > 100);
    for (number, place) in places.iter().enumerate().chain(places.iter().enumerate().rev()) {
        assert_eq!(read(&mut log, *place, 1000), step(number, 1000));
    }
}

#[test]
fn real_files_hold_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data").join("store");
    let (mut log, _) = open(Files::open(&path).unwrap(), &OPTIONS).unwrap();
    let again = Files::open(&path);
    assert!(matches!(again, Err(OpenError::InUse { .. })), "{again:?}");
    let mut places = Vec::new();
    for number in 0..30 {
        places.push(commit(&mut log, &step(number, 900)).unwrap());
        log.prepare(NOW).unwrap();
    }
    log.release(1).unwrap();
    log.append(b"never committed");
    drop(log);
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    let (mut log, seen) = open_from(Files::open(&path).unwrap(), &OPTIONS, 2).unwrap();
    assert!(seen.bytes().ends_with(&step(29, 900)));
    assert_eq!(read(&mut log, places[15], 900), step(15, 900));
    let disk = log.close(NOW, 0).unwrap();
    drop(disk);
    Files::open(&path).unwrap();
}
