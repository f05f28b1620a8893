//! Looking at a store, salvaging, copying and dumping it.

mod common;

use althing_core::Now;
use althing_core::message::{Guarantee, Message};
use althing_core::record::{QueueKey, Record, SessionFact, SessionKey, Terms};
use althing_core::topic::{Filter, Topic, TopicLimits};
use althing_core::verbs::SubscriptionOptions;
use althing_store::disk::Disk;
use althing_store::tools::{Ended, Inspection, Progress, Step, ToolError, backup, export, inspect, repair, restore};
use althing_store::{Files, OpenError, Options, Store};
use althing_testkit::SimDisk;
use bytes::Bytes;
use common::{Contents, MemoryDisk};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const PROTOCOLS: &[&str] = &["mqtt"];
const NOW: Now = Now { mono_ns: 1 << 50, wall_ms: 1_800_000_000_000 };
const OPTIONS: Options = Options { segment_bytes: 4096, bytes_max: u64::MAX, protocols: PROTOCOLS, seed: 7 };

fn session(number: usize) -> SessionKey {
    SessionKey { realm: Default::default(), client: format!("client-{number}").into() }
}

fn topic(text: &str) -> Topic {
    Topic::new(text.to_owned().into(), &TopicLimits::default()).expect("a topic")
}

fn message(text: &str) -> Arc<Message> {
    Arc::new(Message::new(topic("t/x"), Bytes::from(text.to_owned())))
}

fn begin(number: usize) -> Vec<Record> {
    let session = session(number);
    let fact = SessionFact {
        key: session.clone(),
        protocol: "mqtt",
        principal: None,
        epoch: 3,
        expiry_s: u32::MAX,
        number_max: 65535,
        ends_ns: None,
        will: None,
        will_due_ns: None,
    };
    let filter = Filter::new("t/#".to_owned().into(), &TopicLimits::default()).expect("a filter");
    vec![
        Record::Session(Box::new(fact)),
        Record::Subscribed { session: session.clone(), filter, options: SubscriptionOptions::default() },
        Record::TokenHeld { session, token: 9 },
    ]
}

/// A message that waits for three sessions.
fn queue(number: i64) -> Vec<Record> {
    let message = message(&format!("message {number} {}", ".".repeat(200)));
    let terms = Terms { guarantee: Guarantee::AtLeastOnce, ..Terms::default() };
    let entry = |client: usize| Record::Queued {
        queue: QueueKey::Session(session(client)),
        sequence: number,
        message: message.clone(),
        terms: terms.clone(),
    };
    (0..3).map(entry).collect()
}

fn settle(number: i64) -> Vec<Record> {
    (0..3).map(|client| Record::Settled { queue: QueueKey::Session(session(client)), sequence: number }).collect()
}

fn keep<D: Disk>(store: &mut Store<D>, mut records: Vec<Record>) {
    store.append(&mut records);
    assert!(store.commit(NOW, true).expect("the disk works"));
}

fn maintain<D: Disk>(store: &mut Store<D>) {
    for _ in 0..100 {
        let more = store.maintain(NOW).expect("the disk works");
        assert!(store.commit(NOW, true).expect("the disk works"));
        if !more {
            break;
        }
    }
}

/// Three sessions, 60 messages of which 40 are settled, a retained one; with checkpoints.
fn fill<D: Disk>(store: &mut Store<D>) {
    (0..3).for_each(|number| keep(store, begin(number)));
    keep(store, vec![Record::Retained { topic: topic("t/x"), message: Some(message("last value")) }]);
    for number in 0..60 {
        keep(store, queue(number));
        if number >= 20 {
            keep(store, settle(number - 20));
        }
        maintain(store);
    }
    let first = Record::Numbered { session: session(1), sequence: 40, number: 11 };
    keep(store, vec![first, Record::Received { session: session(1), sequence: 40 }]);
}

fn memory_store(closed: bool) -> Contents {
    let disk = MemoryDisk::default();
    let mut store = Store::open(disk.clone(), OPTIONS, NOW).expect("it is new");
    fill(&mut store);
    if closed {
        store.close(NOW).expect("the disk works");
    }
    disk.contents()
}

fn look<D: Disk>(disk: D) -> Result<Inspection<D>, ToolError> {
    inspect(disk, PROTOCOLS, NOW, &mut |_| {})
}

/// The lines of an export, and the damage that it met.
fn lines<D: Disk>(disk: D) -> (BTreeSet<String>, Vec<String>) {
    let mut inspection = look(disk).expect("there is a store");
    let mut out = Vec::new();
    export(&mut inspection, &mut out, &mut |_| {}).expect("memory can be written");
    let text = String::from_utf8(out).expect("JSON is text");
    let damages = inspection.damages().iter().map(ToString::to_string).collect();
    (text.lines().map(str::to_owned).collect(), damages)
}

fn lines_in(directory: &Path) -> BTreeSet<String> {
    let (lines, damages) = lines(Files::open_read_only(directory).expect("nobody uses it"));
    assert_eq!(damages, Vec::<String>::new());
    lines
}

fn go_on(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// A directory with a store as it was killed.
fn directory_store() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("there is room");
    let data = directory.path().join("data");
    let mut store = Store::open(Files::open(&data).expect("it is new"), OPTIONS, NOW).expect("it is new");
    fill(&mut store);
    (directory, data)
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("it is there");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("it is there").file_name().into_string().expect("UTF-8")).collect();
    names.sort();
    names
}

#[test]
fn a_check_counts_what_is_there() {
    for closed in [true, false] {
        let mut inspection = look(MemoryDisk::with(memory_store(closed))).unwrap();
        inspection.check(&mut |_| {});
        assert_eq!(inspection.damages(), []);
        let summary = inspection.summary();
        assert_eq!((summary.sessions, summary.subscriptions, summary.tokens, summary.retained), (3, 3, 3, 1));
        assert_eq!((summary.queues, summary.entries), (3, 60));
        assert_eq!(summary.ended, Some(if closed { Ended::Closed } else { Ended::Killed }));
        assert!(summary.checkpoint > 1, "it has a checkpoint: {summary:?}");
        assert!(summary.live_bytes > 20 * 200 * 3 && summary.disk_bytes > summary.segments * 4096);
    }
    assert!(matches!(look(MemoryDisk::default()), Err(ToolError::NoStore(_))));
}

#[test]
fn an_export_says_everything_in_lines() {
    let (lines, damages) = lines(MemoryDisk::with(memory_store(true)));
    assert!(damages.is_empty());
    assert_eq!(lines.len(), 3 + 3 + 3 + 1 + 60);
    let find = |parts: &[&str]| lines.iter().filter(|line| parts.iter().all(|part| line.contains(part))).count();
    assert_eq!(find(&["\"kind\":\"session\"", "\"protocol\":\"mqtt\"", "\"expiry_s\":\"never\""]), 3);
    assert_eq!(find(&["\"kind\":\"subscription\"", "\"filter\":\"t/#\"", "\"client\":\"client-2\""]), 1);
    assert_eq!(find(&["\"kind\":\"retained\"", "\"topic\":\"t/x\"", "\"payload\":\"last value\""]), 1);
    assert_eq!(find(&["\"kind\":\"entry\"", "\"number\":11", "\"received\":true", "message 40 "]), 1);
}

#[test]
fn every_flipped_byte_is_harmless_or_told() {
    let contents = memory_store(true);
    let (whole, _) = lines(MemoryDisk::with(contents.clone()));
    let mut told = 0;
    for (name, file) in contents.iter().filter(|(name, _)| !name.starts_with("spare")) {
        for at in (0..file.len()).step_by(29) {
            let mut flipped = contents.clone();
            flipped.get_mut(name).unwrap()[at] ^= 0x04;
            let (found, damages) = lines(MemoryDisk::with(flipped.clone()));
            if damages.is_empty() {
                assert_eq!(found, whole, "{name}: byte {at}");
                Store::open(MemoryDisk::with(flipped), OPTIONS, NOW).unwrap();
            } else {
                told += 1;
                assert!(
                    damages[0].contains(name) && damages[0].contains("affected: "),
                    "{name}: byte {at}: {damages:?}"
                );
            }
        }
    }
    assert!(told > 100, "{told}");
}

#[test]
fn every_truncation_is_harmless_or_told() {
    let contents = memory_store(true);
    let (whole, _) = lines(MemoryDisk::with(contents.clone()));
    for (name, file) in contents.iter().filter(|(name, _)| !name.starts_with("spare")) {
        for length in (0..file.len()).step_by(101) {
            let mut cut = contents.clone();
            cut.get_mut(name).unwrap().truncate(length);
            let (found, damages) = lines(MemoryDisk::with(cut));
            assert!(!damages.is_empty() || found == whole, "{name}: {length} bytes");
        }
    }
}

/// Flips a byte in the middle of the text `needle`, in whichever segment it stands; says the file.
fn damage(directory: &Path, needle: &str) -> String {
    for name in names(directory).into_iter().filter(|name| name.starts_with("segment")) {
        let mut bytes = fs::read(directory.join(&name)).expect("it is there");
        if let Some(at) = bytes.windows(needle.len()).position(|window| window == needle.as_bytes()) {
            bytes[at + needle.len() / 2] ^= 1;
            fs::write(directory.join(&name), bytes).expect("there is room");
            return name;
        }
    }
    panic!("{needle} is not there");
}

#[test]
fn a_repair_keeps_all_that_holds_and_says_what_is_lost() {
    let (_directory, data) = directory_store();
    let before = lines_in(&data);
    let unneeded = repair(&data, OPTIONS, NOW, &mut go_on).unwrap();
    assert_eq!((unneeded.kept, unneeded.damages.len()), (None, 0));
    let file = damage(&data, "message 45 ");
    let damaged = fs::read(data.join(&file)).unwrap();

    let repaired = repair(&data, OPTIONS, NOW, &mut go_on).unwrap();
    let kept = repaired.kept.expect("there was damage");
    assert_eq!(fs::read(kept.join(&file)).unwrap(), damaged, "the damaged files are kept as they are");
    assert!(kept.to_str().unwrap().ends_with("data.damaged-1"));
    let told: Vec<_> = repaired.damages.iter().map(ToString::to_string).collect();
    assert!(told.len() == 1 && told[0].starts_with(&file) && told[0].contains("stored in the frames"), "{told:?}");
    let words = "(by its own words: the entry 45 of session \"client-0\"; the entry 45 of session \"client-1\"; the entry 45 of";
    assert!(told[0].contains(words), "{told:?}");
    let lost: Vec<_> = before.difference(&lines_in(&data)).cloned().collect();
    assert_eq!(lost.len(), 3, "{lost:#?}");
    assert!(lost.iter().all(|line| line.contains("message 45 ")));
    assert_eq!(lines_in(&data).len(), before.len() - 3);
    Store::open(Files::open(&data).unwrap(), OPTIONS, NOW).unwrap().restore(&mut |_| {}).unwrap();
}

#[test]
fn a_repair_names_what_stands_in_an_old_segment() {
    let (directory, data) = directory_store();
    let before = lines_in(&data);
    // Sessions were made first, and a checkpoint refers to where.
    let file = damage(&data, "client-2");
    let repaired = repair(&data, OPTIONS, NOW, &mut go_on).unwrap();
    let told: Vec<_> = repaired.damages.iter().map(ToString::to_string).collect();
    assert!(told.iter().all(|damage| damage.starts_with(&file)), "{told:#?}");
    let after = lines_in(&data);
    let lost: Vec<_> = before.difference(&after).collect();
    assert_eq!(lost.len(), 1, "{lost:#?}");
    assert!(lost[0].contains("\"kind\":\"session\"") && lost[0].contains("client-2"), "{lost:#?}");
    assert!(told.iter().any(|damage| damage.ends_with("affected: a session")), "{told:#?}");
    drop(directory);
}

#[test]
fn what_cannot_be_read_is_damage_too() {
    let disk = SimDisk::new(1);
    let mut store = Store::open(disk.clone(), OPTIONS, NOW).unwrap();
    fill(&mut store);
    drop(store.close(NOW).unwrap());
    let (before, _) = lines(disk.copy(1));
    let segments: Vec<_> = disk.files().into_iter().filter(|(name, _)| name.starts_with("segment")).collect();
    for (name, _) in &segments {
        let broken = disk.copy(1);
        broken.break_sector(name, 3);
        let error = Store::open(broken.clone(), OPTIONS, NOW);
        let (found, damages) = lines(broken);
        assert!(damages.iter().any(|damage| damage.starts_with(name)), "{name}: {damages:#?}");
        assert!(found.len() > before.len() / 2, "{name}: {} of {}", found.len(), before.len());
        // The oldest segment is not replayed: there it shows when something is wanted.
        assert!(error.is_err() || name == "segment-00000001", "{name}");
    }
}

#[test]
fn without_its_checkpoint_a_store_keeps_everything() {
    let (_directory, data) = directory_store();
    let before = lines_in(&data);
    let checkpoint = names(&data).into_iter().find(|name| name.starts_with("checkpoint")).unwrap();
    let mut bytes = fs::read(data.join(&checkpoint)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(data.join(&checkpoint), bytes).unwrap();
    let error = Store::open(Files::open(&data).unwrap(), OPTIONS, NOW).unwrap_err();
    assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
    let repaired = repair(&data, OPTIONS, NOW, &mut go_on).unwrap();
    assert_eq!(repaired.damages.len(), 1, "{:?}", repaired.damages);
    let after = lines_in(&data);
    let lost: Vec<_> = before.difference(&after).filter(|line| line.contains("\"entry\"")).collect();
    assert!(lost.is_empty(), "{lost:#?}");
}

#[test]
fn a_backup_holds_the_same_and_comes_back() {
    let (directory, data) = directory_store();
    let (target, again) = (directory.path().join("copy"), directory.path().join("again"));
    let summary = backup(&data, &target, PROTOCOLS, NOW, &mut go_on).unwrap();
    assert_eq!(summary.entries, 60);
    assert_eq!(lines_in(&target), lines_in(&data));
    assert!(!names(&data).contains(&".backup-links".to_owned()), "the links are gone");
    let refused = backup(&data, &target, PROTOCOLS, NOW, &mut go_on);
    assert!(matches!(refused, Err(ToolError::NotEmpty(_))), "{refused:?}");

    fs::create_dir(&again).unwrap();
    restore(&target, &again, PROTOCOLS, NOW, &mut go_on).unwrap();
    assert_eq!(lines_in(&again), lines_in(&data));
    let refused = restore(&target, &again, PROTOCOLS, NOW, &mut go_on);
    assert!(matches!(refused, Err(ToolError::NotEmpty(_))), "{refused:?}");
    let mut store = Store::open(Files::open(&again).unwrap(), OPTIONS, NOW).unwrap();
    keep(&mut store, queue(99));
    drop(store);
    assert_eq!(lines_in(&again).len(), lines_in(&data).len() + 3);

    damage(&target, "message 45 ");
    let refused = restore(&target, &directory.path().join("third"), PROTOCOLS, NOW, &mut go_on);
    assert!(matches!(refused, Err(ToolError::Damaged { .. })), "{refused:?}");
    let nothing = backup(&directory.path().join("nowhere"), &directory.path().join("x"), PROTOCOLS, NOW, &mut go_on);
    assert!(nothing.is_err());
    assert_eq!(names(directory.path()), ["again", "copy", "data"]);
}

#[test]
fn a_backup_within_the_data_directory_stays() {
    let (_directory, data) = directory_store();
    let target = data.join("backup");
    backup(&data, &target, PROTOCOLS, NOW, &mut go_on).unwrap();
    Store::open(Files::open(&data).unwrap(), OPTIONS, NOW).unwrap().close(NOW).unwrap();
    assert_eq!(lines_in(&target), lines_in(&data));
}

#[test]
fn a_damaged_store_is_not_backed_up() {
    let (directory, data) = directory_store();
    damage(&data, "message 45 ");
    let refused = backup(&data, &directory.path().join("copy"), PROTOCOLS, NOW, &mut go_on);
    assert!(matches!(refused, Err(ToolError::Damaged { .. })), "{refused:?}");
    assert_eq!(
        (names(directory.path()), names(&data).contains(&".backup-links".to_owned())),
        (vec!["data".to_owned()], false)
    );
}

#[test]
fn a_backup_beside_a_running_broker_is_a_prefix_of_what_it_stored() {
    let (directory, data) = directory_store();
    let store = RefCell::new(Store::open(Files::open(&data).unwrap(), OPTIONS, NOW).unwrap());
    let next = Cell::new(60);
    let steps = Cell::new(0);
    let mut live = |progress: Progress| {
        steps.set(steps.get() + 1);
        if progress.action == "link" && steps.get() % 7 > 0 {
            return ControlFlow::Continue(());
        }
        // Segments roll over, are cleaned and used again while they are copied.
        let store = &mut *store.borrow_mut();
        for _ in 0..1 + next.get() % 5 {
            keep(store, queue(next.get()));
            keep(store, settle(next.get() - 20));
            next.set(next.get() + 1);
        }
        maintain(store);
        ControlFlow::Continue(())
    };
    for round in 0..5 {
        let (first, target) = (next.get(), directory.path().join(format!("copy-{round}")));
        backup(&data, &target, PROTOCOLS, NOW, &mut live).unwrap();
        assert!(next.get() > first + 10);
        let lines = lines_in(&target);
        let sequences: BTreeSet<i64> = lines
            .iter()
            .filter(|line| line.contains("\"kind\":\"entry\""))
            .map(|line| {
                line.split("\"sequence\":").nth(1).unwrap().split(&[',', '}'][..]).next().unwrap().parse().unwrap()
            })
            .collect();
        let (oldest, newest) = (*sequences.first().unwrap(), *sequences.last().unwrap());
        assert!(newest >= first - 1, "all that was stored before: {newest} of {first}");
        assert_eq!(sequences, (oldest..=newest).collect(), "round {round}: nothing is missing between");
        assert!((19..=21).contains(&(newest - oldest + 1)), "what is settled is gone");
        assert!(!names(&data).contains(&".backup-links".to_owned()));
    }
}

/// Stops `act` after 0, 1, 2, … steps until it comes to its end; shows the world after each stop.
fn stopped_everywhere(
    mut act: impl FnMut(usize, Step<'_>) -> Result<(), ToolError>,
    mut look: impl FnMut(usize, &Result<(), ToolError>),
) {
    for stop in 0.. {
        let mut steps = 0;
        let done = act(stop, &mut |_| {
            steps += 1;
            if steps > stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        look(stop, &done);
        if done.is_ok() {
            assert!(stop > 3, "only {stop} steps");
            return;
        }
        assert!(matches!(done, Err(ToolError::Stopped)), "{done:?}");
    }
}

#[test]
fn a_backup_that_is_killed_anywhere_harms_nothing() {
    let (directory, data) = directory_store();
    let before = lines_in(&data);
    let target = directory.path().join("copy");
    stopped_everywhere(
        |_, step| backup(&data, &target, PROTOCOLS, NOW, step).map(drop),
        |stop, _| {
            if target.exists() {
                assert_eq!(lines_in(&target), before, "what has the name is whole");
                fs::remove_dir_all(&target).unwrap();
            }
            assert_eq!(lines_in(&data), before, "after {stop} steps");
            drop(Files::open(&data).unwrap());
            assert!(!names(&data).contains(&".backup-links".to_owned()), "the next start removes the links");
        },
    );
    backup(&data, &target, PROTOCOLS, NOW, &mut go_on).unwrap();
    assert_eq!(names(directory.path()), ["copy", "data"]);
}

#[test]
fn a_restore_that_is_killed_anywhere_leaves_no_half_store() {
    let (directory, data) = directory_store();
    let before = lines_in(&data);
    let target = directory.path().join("again");
    stopped_everywhere(
        |_, step| restore(&data, &target, PROTOCOLS, NOW, step).map(drop),
        |stop, done| {
            assert_eq!(target.exists(), done.is_ok(), "after {stop} steps");
            if target.exists() {
                assert_eq!(lines_in(&target), before);
            }
        },
    );
    assert_eq!(names(directory.path()), ["again", "data"]);
}

#[test]
fn a_repair_that_is_killed_anywhere_leaves_the_one_or_the_other() {
    let (directory, data) = directory_store();
    let before = lines_in(&data);
    damage(&data, "message 45 ");
    stopped_everywhere(
        |_, step| repair(&data, OPTIONS, NOW, step).map(drop),
        |stop, done| {
            let (found, damages) = lines(Files::open_read_only(&data).unwrap());
            assert_eq!(damages.is_empty(), done.is_ok(), "after {stop} steps");
            assert_eq!(before.difference(&found).count(), 3);
        },
    );
    assert!(names(directory.path()).iter().any(|name| name.starts_with("data.damaged-")));
}

#[test]
fn a_store_in_use_is_left_alone() {
    let (directory, data) = directory_store();
    let broker = Files::open(&data).unwrap();
    assert!(matches!(Files::open_read_only(&data), Err(OpenError::InUse { .. })));
    let refused = repair(&data, OPTIONS, NOW, &mut go_on);
    assert!(matches!(refused, Err(ToolError::Open(OpenError::InUse { .. }))), "{refused:?}");
    drop(broker);
    let first = Files::open_read_only(&data).unwrap();
    Files::open_read_only(&data).expect("two may look");
    assert!(matches!(Files::open(&data), Err(OpenError::InUse { .. })));
    drop((first, directory));
}
