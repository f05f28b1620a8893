//! What the store costs the processor, without a disk: `cargo run --release -p althing-store --example cost`.
//!
//! Prints nanoseconds a step for the usual steps, bytes of memory an entry and a fact, and how long a start takes: processor time, so that a
//! busy machine says the same.

use althing_core::Now;
use althing_core::message::{Guarantee, Message};
use althing_core::record::{QueueKey, Record, SessionKey, Terms};
use althing_core::topic::{Topic, TopicLimits};
use althing_store::disk::{Disk, FileId};
use althing_store::{Options, Store};
use bytes::Bytes;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

const COUNT: u64 = 1_000_000;
const BATCH: usize = 64;

fn main() {
    backlog("one queue", 1);
    backlog("10,000 queues", 10_000);
    live();
    retained();
}

/// A million messages of 256 bytes wait; then the store is opened again.
fn backlog(name: &str, queues: u64) {
    let disk = Memory::default();
    let mut store = open(&disk);
    let payload = Bytes::from(vec![7; 256]);
    let terms = Terms { guarantee: Guarantee::AtLeastOnce, ..Terms::default() };
    let keys: Vec<_> = (0..queues).map(queue).collect();
    let mut spent = Spent::default();
    for number in 0..COUNT {
        let message = Arc::new(Message::new(topic("plant/7/temperature"), payload.clone()));
        let queue = keys[(number % queues) as usize].clone();
        let terms = terms.clone();
        spent.step(&mut store, vec![Record::Queued { queue, sequence: number as i64, message, terms }]);
    }
    spent.print(&format!("queue to {name}"));
    let statistics = store.statistics();
    println!("{:>40}: {:.1} bytes of memory an entry", "", store.index_bytes() as f64 / COUNT as f64);
    println!("{:>40}: {:.1} bytes of disk an entry", "", statistics.disk_bytes as f64 / COUNT as f64);
    drop(store);
    let mut store = reopen(&disk, "after a kill");
    let started = spent_by_now();
    while store.maintain(now()).expect("maintain") || store.is_dirty() {
        store.commit(now(), true).expect("commit");
    }
    println!("{:>40}: {:.2} s to write a checkpoint", "", (spent_by_now() - started).as_secs_f64());
    drop(store);
    let mut store = reopen(&disk, "with a checkpoint");
    let mut spent = Spent::default();
    for number in 0..COUNT {
        let queue = keys[(number % queues) as usize].clone();
        spent.step(&mut store, vec![Record::Settled { queue, sequence: number as i64 }]);
    }
    spent.print(&format!("settle from {name}"));
    for _ in 0..10_000 {
        store.maintain(now()).expect("maintain");
        store.commit(now(), true).expect("commit");
    }
    let statistics = store.statistics();
    println!("{:>40}: {} MiB of disk when drained, {statistics:?}", "", statistics.disk_bytes >> 20);
}

/// What a connected session costs: queued, numbered, settled.
fn live() {
    let disk = Memory::default();
    let mut store = open(&disk);
    let payload = Bytes::from(vec![7; 64]);
    let session = SessionKey { realm: "".into(), client: "client".into() };
    let queue = QueueKey::Session(session.clone());
    let terms = Terms { guarantee: Guarantee::AtLeastOnce, ..Terms::default() };
    let mut spent = Spent::default();
    for sequence in 0..COUNT as i64 {
        let message = Arc::new(Message::new(topic("plant/7/temperature"), payload.clone()));
        let mut records = vec![
            Record::Queued { queue: queue.clone(), sequence, message, terms: terms.clone() },
            Record::Numbered { session: session.clone(), sequence, number: 1 },
        ];
        if sequence > 20 {
            records.push(Record::Settled { queue: queue.clone(), sequence: sequence - 20 });
        }
        spent.step(&mut store, records);
        if sequence % 1000 == 0 {
            store.maintain(now()).expect("maintain");
        }
    }
    spent.print("queue, number and settle");
}

fn retained() {
    let disk = Memory::default();
    let mut store = open(&disk);
    let mut spent = Spent::default();
    for number in 0..COUNT {
        let topic = topic(&format!("plant/{}/sensor/{number}", number % 100));
        let message = Some(Arc::new(Message::new(topic.clone(), Bytes::from_static(b"21.5"))));
        spent.step(&mut store, vec![Record::Retained { topic, message }]);
    }
    spent.print("retain");
    println!("{:>40}: {:.1} bytes of memory a topic", "", store.index_bytes() as f64 / COUNT as f64);
    drop(store);
    reopen(&disk, "after a kill");
}

/// Time in calls of the store alone. Steps are gathered first: asking for the time costs more than a step.
#[derive(Default)]
struct Spent {
    steps: Vec<Vec<Record>>,
    append_ns: u128,
    commit_ns: u128,
}

impl Spent {
    fn step(&mut self, store: &mut Store<Memory>, records: Vec<Record>) {
        self.steps.push(records);
        if self.steps.len() < BATCH {
            return;
        }
        let started = spent_by_now();
        self.steps.iter_mut().for_each(|records| store.append(records));
        let appended = spent_by_now();
        store.commit(now(), true).expect("commit");
        self.append_ns += (appended - started).as_nanos();
        self.commit_ns += (spent_by_now() - appended).as_nanos();
        self.steps.clear();
    }

    fn print(&self, what: &str) {
        let each = |ns: u128| ns as f64 / COUNT as f64;
        println!("{what:>40}: {:.0} ns to append, {:.0} ns to commit", each(self.append_ns), each(self.commit_ns));
    }
}

fn reopen(disk: &Memory, how: &str) -> Store<Memory> {
    let started = spent_by_now();
    let mut store = open(disk);
    let opened = spent_by_now() - started;
    let mut facts = 0;
    store.restore(&mut |_| facts += 1).expect("restore");
    let whole = spent_by_now() - started;
    println!(
        "{how:>40}: {:.2} s to open, {:.2} s with the restoring of {facts}",
        opened.as_secs_f64(),
        whole.as_secs_f64()
    );
    store
}

fn open(disk: &Memory) -> Store<Memory> {
    Store::open(disk.clone(), Options { seed: 5, ..Options::default() }, now()).expect("open")
}

fn now() -> Now {
    Now { mono_ns: 1_000_000_000, wall_ms: 1_700_000_000_000 }
}

/// Processor time of this thread.
fn spent_by_now() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

fn queue(number: u64) -> QueueKey {
    QueueKey::Session(SessionKey { realm: "".into(), client: format!("client-{number}").into() })
}

fn topic(name: &str) -> Topic {
    Topic::new(name.to_owned().into(), &TopicLimits::default()).expect("a topic")
}

/// A disk that is only memory.
#[derive(Clone, Debug, Default)]
struct Memory(Rc<RefCell<Files>>);

#[derive(Debug, Default)]
struct Files {
    names: BTreeMap<String, u32>,
    contents: Vec<Vec<u8>>,
}

impl Disk for Memory {
    fn list(&mut self) -> io::Result<Vec<(String, u64)>> {
        let files = self.0.borrow();
        Ok(files.names.iter().map(|(name, id)| (name.clone(), files.contents[*id as usize].len() as u64)).collect())
    }

    fn create(&mut self, name: &str) -> io::Result<FileId> {
        let mut files = self.0.borrow_mut();
        let id = files.contents.len() as u32;
        files.contents.push(Vec::new());
        files.names.insert(name.to_owned(), id);
        Ok(FileId(id))
    }

    fn open(&mut self, name: &str) -> io::Result<FileId> {
        self.0.borrow().names.get(name).map(|id| FileId(*id)).ok_or(io::ErrorKind::NotFound.into())
    }

    fn close(&mut self, _file: FileId) {}

    fn read_at(&self, file: FileId, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let files = self.0.borrow();
        let content = &files.contents[file.0 as usize];
        let from = content.len().min(offset as usize);
        let length = buffer.len().min(content.len() - from);
        buffer[..length].copy_from_slice(&content[from..from + length]);
        Ok(length)
    }

    fn write_at(&mut self, file: FileId, offset: u64, data: &[u8]) -> io::Result<()> {
        let content = &mut self.0.borrow_mut().contents[file.0 as usize];
        let end = offset as usize + data.len();
        if content.len() < end {
            content.resize(end, 0);
        }
        content[offset as usize..end].copy_from_slice(data);
        Ok(())
    }

    fn sync(&mut self, _file: FileId) -> io::Result<()> {
        Ok(())
    }

    fn drop_cache(&mut self, _file: FileId) -> io::Result<()> {
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.0.borrow_mut();
        let id = files.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.names.insert(to.to_owned(), id);
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        let mut files = self.0.borrow_mut();
        if let Some(id) = files.names.remove(name) {
            files.contents[id as usize] = Vec::new();
        }
        Ok(())
    }

    fn sync_names(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn links(&mut self, _name: &str) -> io::Result<u64> {
        Ok(1)
    }
}
