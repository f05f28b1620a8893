//! The line between the shard and the store's thread: records and loads go out, news come back.

use althing_core::record::{Load, Loaded, Record};
use althing_store::{Failure, Statistics};
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// What may wait for the disk. Beyond it, whoever adds to it is not read: an SD card that writes 10 MB/s takes two
/// seconds for this much, which no keep alive minds, and a fast disk wants no batch that is larger.
const WAITING_BYTES_HIGH: usize = 16 << 20;
const WAITING_BYTES_LOW: usize = WAITING_BYTES_HIGH / 2;

/// A commit that takes less is quick: to put a thread to sleep and to wake it again costs tens of microseconds, as much as
/// half of such a commit, so both sides look for each other for a moment before they sleep. On slower disks nobody would notice.
const QUICK_COMMIT: Duration = Duration::from_micros(250);

/// Whether this process may use more than one processor.
static HAS_PROCESSORS: LazyLock<bool> =
    LazyLock::new(|| thread::available_parallelism().is_ok_and(|processors| processors.get() > 1));

/// What both sides share. No lock is held for longer than it takes to swap a few lists.
#[derive(Debug, Default)]
pub(super) struct Line {
    inbox: Mutex<Inbox>,
    /// Something is in the inbox. Only a hint, for who does not want to look under the lock all the time.
    has_work: AtomicBool,
    /// Of the store's thread, once it runs.
    pub thread: OnceLock<Thread>,
    /// Everything up to this ticket is durable.
    durable: AtomicU64,
    /// How long the last commit took, in nanoseconds.
    commit_ns: AtomicU64,
    /// Bytes that were handed over and are not durable yet.
    waiting_bytes: AtomicUsize,
    /// New messages may *not* be kept.
    is_full: AtomicBool,
    loaded: Mutex<Vec<Loaded>>,
    statistics: Mutex<Statistics>,
    failure: OnceLock<Failure>,
    /// Wakes the shard's loop: something above has changed.
    pub news: Notify,
}

/// What the thread has not taken yet.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    /// In order.
    pub batches: Vec<Batch>,
    /// To be answered after all of `batches` have been appended.
    pub loads: Vec<Load>,
    /// Nothing follows.
    pub is_closing: bool,
    /// Empty lists on their way back to the shard, whose memory is used again.
    spares: Vec<Vec<Record>>,
}

/// Records that belong together.
#[derive(Debug)]
pub(super) struct Batch {
    pub records: Vec<Record>,
    /// Names the last of them.
    pub ticket: u64,
    /// Of memory, about.
    pub bytes: usize,
}

impl Line {
    /// Takes everything that waits; `work` must be empty. Whether nothing will follow.
    pub fn take(&self, work: &mut Inbox) -> bool {
        let mut inbox = lock(&self.inbox);
        self.has_work.store(false, Ordering::Relaxed);
        mem::swap(&mut inbox.batches, &mut work.batches);
        mem::swap(&mut inbox.loads, &mut work.loads);
        inbox.spares.append(&mut work.spares);
        inbox.is_closing
    }

    /// Whether there is something to take.
    pub fn has_work(&self) -> bool {
        self.has_work.load(Ordering::Relaxed)
    }

    /// Says that nothing will follow.
    pub fn close(&self) {
        lock(&self.inbox).is_closing = true;
        self.wake_thread();
    }

    /// Everything up to `ticket` is durable, which was `bytes`; its commit took `time`.
    pub fn confirm(&self, ticket: u64, bytes: usize, time: Duration) {
        self.commit_ns.store(time.as_nanos() as u64, Ordering::Relaxed);
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.durable.store(ticket, Ordering::Release);
        self.news.notify_one();
    }

    /// Whether commits are quick, and who looks for their end does not take the processor from who brings it about.
    pub fn is_quick(&self) -> bool {
        *HAS_PROCESSORS && self.commit_ns.load(Ordering::Relaxed) < QUICK_COMMIT.as_nanos() as u64
    }

    /// Gives answers to loads back.
    pub fn answer(&self, loaded: &mut Vec<Loaded>) {
        lock(&self.loaded).append(loaded);
        self.news.notify_one();
    }

    /// Takes the answers to loads.
    pub fn take_loaded(&self) -> Vec<Loaded> {
        mem::take(&mut *lock(&self.loaded))
    }

    /// Says whether new messages may be kept.
    pub fn set_room(&self, has_room: bool) {
        if self.is_full.swap(!has_room, Ordering::Relaxed) == has_room {
            self.news.notify_one();
        }
    }

    /// Whether new messages may be kept.
    pub fn has_room(&self) -> bool {
        !self.is_full.load(Ordering::Relaxed)
    }

    /// Says that nothing will become durable any more.
    pub fn fail(&self, failure: Failure) {
        // The first failure is the one that tells.
        let _ = self.failure.set(failure);
        self.news.notify_one();
    }

    /// Why nothing becomes durable any more, if so.
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.get()
    }

    pub fn set_statistics(&self, statistics: Statistics) {
        *lock(&self.statistics) = statistics;
    }

    pub fn statistics(&self) -> Statistics {
        *lock(&self.statistics)
    }

    fn wake_thread(&self) {
        self.has_work.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

impl Inbox {
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty() && self.loads.is_empty()
    }

    /// Sends the memory of a list back, unless it is unusually large.
    pub fn give_back(&mut self, mut records: Vec<Record>) {
        const RECORDS_MAX: usize = 1_024;
        records.clear();
        if records.capacity() <= RECORDS_MAX {
            self.spares.push(records);
        }
    }
}

/// The shard's end. What one tick stores is handed over together at its end.
#[derive(Debug)]
pub struct ShardEnd {
    line: Arc<Line>,
    batches: Vec<Batch>,
    loads: Vec<Load>,
    spares: Vec<Vec<Record>>,
    /// Bytes of `batches`.
    bytes: usize,
    is_behind: bool,
    /// The last ticket that was handed over, and when it was.
    ticket: u64,
    handed_over: Option<Instant>,
}

impl ShardEnd {
    pub(super) fn new(line: Arc<Line>) -> Self {
        Self {
            line,
            batches: Vec::new(),
            loads: Vec::new(),
            spares: Vec::new(),
            bytes: 0,
            is_behind: false,
            ticket: 0,
            handed_over: None,
        }
    }

    /// Takes `records` and leaves an empty list; `ticket` names the last of them.
    pub fn store(&mut self, records: &mut Vec<Record>, ticket: u64) {
        let records = mem::replace(records, self.spares.pop().unwrap_or_default());
        let bytes = records.iter().map(size_bytes).sum();
        self.bytes += bytes;
        self.batches.push(Batch { records, ticket, bytes });
    }

    /// Takes `loads`.
    pub fn load(&mut self, loads: &mut Vec<Load>) {
        self.loads.append(loads);
    }

    /// Hands over what has come since the last time, and says up to which ticket everything is durable.
    pub fn durable(&mut self) -> u64 {
        if !self.batches.is_empty() || !self.loads.is_empty() {
            self.hand_over();
        }
        self.line.durable.load(Ordering::Acquire)
    }

    pub fn has_room(&self) -> bool {
        self.line.has_room()
    }

    /// Whether to look for the end of a commit instead of sleeping: commits are quick, and one is under way that should
    /// end by now.
    pub fn is_durable_soon(&self) -> bool {
        self.line.durable.load(Ordering::Relaxed) < self.ticket
            && self.line.is_quick()
            && self.handed_over.is_some_and(|start| start.elapsed() < QUICK_COMMIT)
    }

    /// Whether more waits for the disk than should. A full disk is no reason to wait: new messages are refused then, and
    /// only those who are read can settle what takes the room.
    pub fn is_behind(&mut self) -> bool {
        let waiting_bytes = self.bytes + self.line.waiting_bytes.load(Ordering::Relaxed);
        let mark = if self.is_behind { WAITING_BYTES_LOW } else { WAITING_BYTES_HIGH };
        self.is_behind = waiting_bytes > mark && self.line.has_room();
        self.is_behind
    }

    fn hand_over(&mut self) {
        /// The rest is given to the system: a burst is over.
        const SPARES_MAX: usize = 64;
        if let Some(batch) = self.batches.last() {
            self.ticket = batch.ticket;
            self.handed_over = Some(Instant::now());
        }
        self.line.waiting_bytes.fetch_add(mem::take(&mut self.bytes), Ordering::Relaxed);
        let mut inbox = lock(&self.line.inbox);
        inbox.batches.append(&mut self.batches);
        inbox.loads.append(&mut self.loads);
        let mut spares = mem::take(&mut inbox.spares);
        drop(inbox);
        spares.truncate(SPARES_MAX - self.spares.len().min(SPARES_MAX));
        self.spares.append(&mut spares);
        self.line.wake_thread();
    }
}

/// The last words of the shard: nothing of them is acknowledged, but who left at the end should be found as having left.
impl Drop for ShardEnd {
    fn drop(&mut self) {
        self.hand_over();
    }
}

/// What a record costs while it waits.
fn size_bytes(record: &Record) -> usize {
    let message = match record {
        Record::Queued { message, .. } => Some(message),
        Record::Retained { message, .. } => message.as_ref(),
        _ => None,
    };
    size_of::<Record>() + message.map_or(0, |message| message.size_bytes())
}

/// Who panics ends the process, so that no lock is ever left by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
