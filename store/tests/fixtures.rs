//! Stores that were written once and are kept: what an older program has written opens, what a newer one has written is refused.
//!
//! `cargo test -p althing-store --test fixtures -- --ignored` writes the directory of the present version anew.

use althing_core::Now;
use althing_core::message::{Guarantee, Message, Origin, Properties};
use althing_core::record::{QueueKey, Record, Restored, SessionFact, SessionKey, StoredWill, Terms};
use althing_core::time::MILLISECOND_NS;
use althing_core::topic::{Filter, Topic, TopicLimits};
use althing_core::verbs::{RetainHandling, SubscriptionOptions};
use althing_store::disk::Disk;
use althing_store::{OpenError, Options, Store};
use althing_testkit::{Ledger, SimDisk};
use bytes::Bytes;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

fn directory(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures")).join(name)
}

fn options() -> Options {
    Options { segment_bytes: 4096, protocols: &["mqtt", "stomp"], seed: 0x0a17_4199, ..Options::default() }
}

/// So many milliseconds after the fixture's beginning.
fn at(milliseconds: u64) -> Now {
    Now { mono_ns: (1_000 + milliseconds) * MILLISECOND_NS, wall_ms: 1_760_000_000_000 + milliseconds }
}

/// A disk with a copy of a fixture's files.
fn disk(name: &str) -> SimDisk {
    let mut disk = SimDisk::new(1);
    for file in fs::read_dir(directory(name)).expect("the fixture is there") {
        let file = file.expect("it can be listed");
        let created = disk.create(&file.file_name().to_string_lossy()).expect("the name is new");
        disk.write_at(created, 0, &fs::read(file.path()).expect("it can be read")).expect("there is room");
        disk.sync(created).expect("the disk is well");
        disk.close(created);
    }
    disk.sync_names().expect("the disk is well");
    disk
}

fn restored(disk: SimDisk) -> Result<Vec<String>, OpenError> {
    let mut store = Store::open(disk, options(), at(90_000))?;
    let mut found = Vec::new();
    store.restore(&mut |fact| found.push(fact))?;
    Ok(comparable(found))
}

fn comparable(facts: Vec<Restored>) -> Vec<String> {
    let text = |mut fact: Restored| {
        if let Restored::Queue { entries, .. } = &mut fact {
            entries.iter_mut().for_each(|entry| entry.size_bytes = 0);
        }
        format!("{fact:#?}")
    };
    let mut texts: Vec<_> = facts.into_iter().map(text).collect();
    texts.sort();
    texts
}

#[test]
fn version_1_opens() {
    let mut ledger = Ledger::default();
    steps().iter().for_each(|step| ledger.apply_all(step));
    let found = restored(disk("v1")).expect("it opens");
    assert_eq!(found, comparable(ledger.restored()));
    assert!(disk("v1").files().iter().any(|(name, _)| name.starts_with("checkpoint-")));
}

#[test]
fn newer_versions_are_refused_by_name_and_left_alone() {
    for (name, file) in [("newer-segment", "segment-00000001"), ("newer-checkpoint", "checkpoint-00000002")] {
        let disk = disk(name);
        let before: Vec<_> = disk.files().into_iter().map(|(name, _)| (disk.content(&name), name)).collect();
        match restored(disk.clone()) {
            Err(OpenError::Newer { file: found, found: version, known }) => {
                assert_eq!((found.as_str(), version, known), (file, 2, 1));
            }
            other => panic!("{other:?}"),
        }
        let after: Vec<_> = disk.files().into_iter().map(|(name, _)| (disk.content(&name), name)).collect();
        assert!(before == after, "{name} was changed");
    }
}

#[test]
#[ignore = "writes the fixtures"]
fn write() {
    let disk = SimDisk::new(1);
    let mut store = Store::open(disk.clone(), options(), at(0)).expect("it opens");
    for (number, mut step) in steps().into_iter().enumerate() {
        let now = at(10 * number as u64);
        store.append(&mut step);
        store.commit(now, true).expect("it commits");
        while number % 40 == 39 && store.maintain(now).expect("it is maintained") {
            store.commit(now, true).expect("it commits");
        }
    }
    assert!(store.statistics().checkpoints > 0, "{:?}", store.statistics());
    store.close(at(30_000)).expect("it closes");
    let kept = |name: &str| !name.starts_with("spare-");
    let files: Vec<_> = disk.files().into_iter().map(|(name, _)| name).filter(|name| kept(name)).collect();
    for name in &files {
        save("v1", name, &disk.content(name));
    }
    save("newer-segment", "segment-00000001", &newer(&disk.content(&files[1])));
    let checkpoint = files.iter().find(|name| name.starts_with("checkpoint-")).expect("there is one");
    save("newer-checkpoint", "checkpoint-00000002", &newer(&disk.content(checkpoint)));
}

/// The same file, but as version 2 would say it: a longer header, whose checksum is its end.
fn newer(file: &[u8]) -> Vec<u8> {
    let length = usize::from(u16::from_le_bytes([file[10], file[11]]));
    let mut header = file[..length - 4].to_vec();
    header.extend_from_slice(b"something new");
    header[8..10].copy_from_slice(&2_u16.to_le_bytes());
    let header_length = (header.len() + 4) as u16;
    header[10..12].copy_from_slice(&header_length.to_le_bytes());
    let checksum = crc32c::crc32c(&header);
    header.extend_from_slice(&checksum.to_le_bytes());
    header.extend_from_slice(&file[length..]);
    header
}

fn save(directory_name: &str, name: &str, content: &[u8]) {
    fs::create_dir_all(directory(directory_name)).expect("it can be made");
    fs::write(directory(directory_name).join(name), content).expect("it can be written");
}

/// What the fixture says: records of every kind, and enough of them for some segments and a checkpoint.
fn steps() -> Vec<Vec<Record>> {
    let (alice, bob) = (session("alice"), session("bob"));
    let mut steps = vec![
        vec![Record::Session(Box::new(fact(&alice, 1))), Record::Session(Box::new(fact(&bob, 2)))],
        vec![
            subscribed(&alice, "plant/#", 7),
            subscribed(&alice, "gone/#", 0),
            subscribed(&bob, "$share/g/plant/+", 0),
        ],
        vec![
            Record::TokenHeld { session: alice.clone(), token: 300 },
            Record::TokenHeld { session: bob.clone(), token: 1 },
        ],
        vec![retained("plant/1", Some("21.5")), retained("plant/2", Some("22")), retained("plant/3", Some("23"))],
    ];
    let filler = |number: i64| {
        let message = message("plant/filler", &"x".repeat(200));
        let (queued, settled) =
            (queued(of(&alice), number, &message), Record::Settled { queue: of(&alice), sequence: number });
        vec![vec![queued], vec![settled]]
    };
    let shared = message("plant/4", "to both");
    let group = QueueKey::Group("$share/g/plant/+".into());
    let of_group = Terms { group: Some("$share/g/plant/+".into()), ..terms(1) };
    steps.extend([
        vec![Record::Unsubscribed { session: alice.clone(), filter: filter("gone/#") }],
        vec![Record::TokenReleased { session: bob.clone(), token: 1 }, retained("plant/3", None)],
        vec![queued(of(&alice), 50, &shared), queued(of(&bob), 50, &shared), queued(group.clone(), 1, &shared)],
        vec![queued(of(&alice), -7, &message("plant/5", "")), queued(group.clone(), 2, &message("plant/6", "waits"))],
        vec![
            Record::Moved {
                from: group.clone(),
                from_sequence: 1,
                queue: of(&bob),
                sequence: 51,
                terms: of_group.clone(),
            },
            Record::Numbered { session: bob.clone(), sequence: 51, number: 65_535 },
            Record::Numbered { session: alice.clone(), sequence: -7, number: 1 },
            Record::Received { session: alice.clone(), sequence: -7 },
        ],
    ]);
    // What stands before is in the checkpoint, what stands behind is in the log.
    steps.extend((1..=40).flat_map(filler));
    steps.extend([
        vec![Record::Session(Box::new(fact(&session("carol"), 3)))],
        vec![queued(of(&session("carol")), 1, &shared)],
        vec![
            Record::QueueClosed(of(&session("carol"))),
            Record::SessionClosed(session("carol")),
            retained("plant/2", Some("22.5")),
        ],
    ]);
    steps
}

fn session(client: &'static str) -> SessionKey {
    SessionKey { realm: if client == "bob" { "realm".into() } else { "".into() }, client: client.into() }
}

fn of(session: &SessionKey) -> QueueKey {
    QueueKey::Session(session.clone())
}

fn fact(key: &SessionKey, epoch: u64) -> SessionFact {
    let will = StoredWill { message: message("will", "gone"), delay_s: 5, expiry_s: Some(60) };
    SessionFact {
        key: key.clone(),
        protocol: if epoch == 1 { "mqtt" } else { "stomp" },
        principal: (epoch == 1).then(|| "alice@example".into()),
        epoch,
        expiry_s: u32::MAX,
        number_max: 65_535,
        ends_ns: (epoch == 2).then(|| at(3_600_000).mono_ns),
        will: (epoch == 1).then_some(will),
        will_due_ns: (epoch == 1).then(|| at(60_000).mono_ns),
    }
}

fn subscribed(session: &SessionKey, text: &'static str, tag: u32) -> Record {
    let options = SubscriptionOptions {
        guarantee: Guarantee::ExactlyOnce,
        no_local: tag > 0,
        retain_as_published: tag > 0,
        retain_handling: if tag > 0 { RetainHandling::IfNew } else { RetainHandling::Never },
        tag,
    };
    Record::Subscribed { session: session.clone(), filter: filter(text), options }
}

fn retained(name: &'static str, payload: Option<&str>) -> Record {
    Record::Retained { topic: topic(name), message: payload.map(|payload| message(name, payload)) }
}

fn queued(queue: QueueKey, sequence: i64, message: &Arc<Message>) -> Record {
    Record::Queued { queue, sequence, message: message.clone(), terms: terms(2) }
}

fn terms(tags: u32) -> Terms {
    Terms { guarantee: Guarantee::AtLeastOnce, retain: tags > 1, tags: (0..tags).collect(), group: None }
}

fn message(name: &'static str, payload: &str) -> Arc<Message> {
    let mut message = Message::new(topic(name), Bytes::copy_from_slice(payload.as_bytes()));
    message.guarantee = Guarantee::ExactlyOnce;
    if name == "plant/4" {
        message.retain = true;
        message.expires_ns = Some(at(7_200_000).mono_ns);
        message.properties = Some(Arc::new(Properties {
            content_type: Some("text/plain".into()),
            payload_is_utf8: Some(true),
            response_topic: Some(topic("answers")),
            correlation_data: Some(Bytes::from_static(&[1, 2, 3])),
            user: vec![("name".into(), "one".into()), ("name".into(), "two".into())],
            priority: Some(9),
        }));
        message.origin = Some(Arc::new(Origin {
            protocol: "stomp",
            client: "publisher".into(),
            principal: Some("somebody".into()),
            address: Some("/queue/plant".into()),
            by_proof: false,
        }));
    }
    Arc::new(message)
}

fn topic(name: &'static str) -> Topic {
    Topic::new(name.into(), &TopicLimits::default()).expect("it is valid")
}

fn filter(text: &'static str) -> Filter {
    Filter::new(text.into(), &TopicLimits::default()).expect("it is valid")
}
