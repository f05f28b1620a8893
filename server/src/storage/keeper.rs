//! What the store's thread does: append, commit, answer loads, and tidy up meanwhile.

use super::line::{Inbox, Line};
use althing_core::record::Loaded;
use althing_net::Clock;
use althing_store::disk::Disk;
use althing_store::{Failure, Store};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Under load nobody is idle: after so many bytes one step of tidying is due, which moves about as many, or the log would
/// grow without end.
const BYTES_A_STEP: usize = 1 << 20;

/// How often a full disk is tried again when nothing else happens: somebody may have made room.
const FULL_RETRY: Duration = Duration::from_millis(500);

/// How long nobody has to call before the store is tidied all the same: it notes its age at least once a day.
const IDLE: Duration = Duration::from_secs(3_600);

/// How long the thread looks for more before it sleeps, where commits are quick: who has just been answered often asks
/// again at once. Others who want the processor get it meanwhile.
const STAY_AWAKE: Duration = Duration::from_micros(100);

/// Owns the store. One commit is under way at a time; what comes meanwhile is the next one, so that the size of
/// the batches follows the load.
pub(super) struct Keeper<D: Disk> {
    store: Store<D>,
    line: Arc<Line>,
    clock: Clock,
    /// How long what was written may stay unsynced; `None`: it may not.
    interval: Option<Duration>,
    /// When what was written has to be synced.
    sync_due: Option<Instant>,
    /// What was appended.
    ticket: u64,
    /// Whether somebody waits for it. A record that changes nothing is not written, and confirmed like the others.
    is_awaited: bool,
    bytes: usize,
    /// Appended since the last step of tidying.
    untidied_bytes: usize,
    loaded: Vec<Loaded>,
}

impl<D: Disk> Keeper<D> {
    pub fn new(store: Store<D>, line: Arc<Line>, clock: Clock, interval: Option<Duration>) -> Self {
        let (sync_due, ticket, bytes, untidied_bytes, loaded) = (None, 0, 0, 0, Vec::new());
        Self { store, line, clock, interval, sync_due, ticket, is_awaited: false, bytes, untidied_bytes, loaded }
    }

    /// Works until the line is closed, and closes the store then.
    ///
    /// # Errors
    /// When the disk fails: nothing more becomes durable.
    pub fn run(mut self) -> Result<(), Failure> {
        let mut work = Inbox::default();
        loop {
            let is_closing = self.line.take(&mut work);
            let is_idle = work.is_empty();
            self.append(&mut work);
            if self.store.is_dirty() || self.is_awaited {
                self.commit()?;
            }
            self.answer(&mut work)?;
            self.sync_when_due()?;
            if is_idle && is_closing {
                return self.close();
            }
            let mut has_more = false;
            if is_idle || self.untidied_bytes >= BYTES_A_STEP {
                self.untidied_bytes = 0;
                has_more = self.store.maintain(self.clock.now())?;
                self.line.set_room(self.store.has_room());
            }
            self.line.set_statistics(self.store.statistics());
            if is_idle && !has_more {
                self.wait();
            }
        }
    }

    fn append(&mut self, work: &mut Inbox) {
        for mut batch in std::mem::take(&mut work.batches) {
            self.store.append(&mut batch.records);
            self.ticket = batch.ticket;
            self.is_awaited = true;
            self.bytes += batch.bytes;
            self.untidied_bytes += batch.bytes;
            work.give_back(batch.records);
        }
    }

    /// Writes what was appended. When there is no room it stays where it is, unconfirmed, for the next time.
    fn commit(&mut self) -> Result<(), Failure> {
        let start = Instant::now();
        let is_written = self.store.commit(self.clock.now(), self.interval.is_none())?;
        if is_written {
            self.is_awaited = false;
            self.line.confirm(self.ticket, std::mem::take(&mut self.bytes), start.elapsed());
            if let Some(interval) = self.interval {
                self.sync_due.get_or_insert_with(|| Instant::now() + interval);
            }
        }
        self.line.set_room(is_written && self.store.has_room());
        Ok(())
    }

    fn answer(&mut self, work: &mut Inbox) -> Result<(), Failure> {
        if work.loads.is_empty() {
            return Ok(());
        }
        for load in work.loads.drain(..) {
            self.loaded.push(self.store.load(load)?);
        }
        self.line.answer(&mut self.loaded);
        Ok(())
    }

    fn sync_when_due(&mut self) -> Result<(), Failure> {
        if self.sync_due.is_some_and(|due| due <= Instant::now()) {
            let is_synced = self.store.commit(self.clock.now(), true)?;
            // What waits for room holds up the sync of what was written before it.
            self.sync_due = (!is_synced).then(|| Instant::now() + FULL_RETRY);
        }
        Ok(())
    }

    /// Sleeps until somebody calls, or until something is due.
    fn wait(&self) {
        let start = Instant::now();
        while self.line.is_quick() && start.elapsed() < STAY_AWAKE {
            if self.line.has_work() {
                return;
            }
            thread::yield_now();
        }
        let sync = self.sync_due.map(|due| due.saturating_duration_since(Instant::now()));
        let retry = (self.store.is_dirty() || !self.line.has_room()).then_some(FULL_RETRY);
        thread::park_timeout(sync.into_iter().chain(retry).min().unwrap_or(IDLE));
    }

    fn close(mut self) -> Result<(), Failure> {
        if !self.store.commit(self.clock.now(), true)? {
            tracing::warn!(
                "the disk is full: what was not acknowledged yet is lost, and the store is not marked as closed"
            );
            return Ok(());
        }
        self.store.close(self.clock.now()).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::super::line::ShardEnd;
    use super::*;
    use althing_core::record::{Load, QueueKey, Record, Restored, SessionKey, Terms};
    use althing_core::topic::TopicLimits;
    use althing_core::{Message, Topic};
    use althing_store::Options;
    use althing_testkit::disk::{Fault, SimDisk};

    /// A store on this disk, its line, and the shard's end of that.
    fn keeper(disk: &SimDisk) -> (Keeper<SimDisk>, Arc<Line>, ShardEnd) {
        let clock = Clock::default();
        let options = Options { segment_bytes: 64 << 10, ..Options::default() };
        let mut store = Store::open(disk.clone(), options, clock.now()).unwrap();
        store.restore(&mut |_| {}).unwrap();
        let line = Arc::<Line>::default();
        let end = ShardEnd::new(Arc::clone(&line));
        (Keeper::new(store, Arc::clone(&line), clock, None), line, end)
    }

    fn queue() -> QueueKey {
        QueueKey::Session(SessionKey { realm: "".into(), client: "a".into() })
    }

    fn queued(sequence: i64) -> Vec<Record> {
        let topic = Topic::new("t".into(), &TopicLimits::default()).unwrap();
        let message = Arc::new(Message::new(topic, vec![b'p'; 1_000].into()));
        vec![Record::Queued { queue: queue(), sequence, message, terms: Terms::default() }]
    }

    #[test]
    fn everything_that_waits_is_one_commit_and_loads_come_after_it() {
        let disk = SimDisk::new(1);
        let (keeper, line, mut end) = keeper(&disk);
        for ticket in 1..=3 {
            let mut records = queued(ticket);
            end.store(&mut records, ticket as u64);
            assert!(records.is_empty());
        }
        end.load(&mut vec![Load { queue: queue(), sequences: vec![1, 3, 7] }]);
        assert_eq!(end.durable(), 0);
        line.close();
        keeper.run().unwrap();
        assert_eq!(end.durable(), 3);
        assert_eq!(line.statistics().commits, 1);
        let loaded = line.take_loaded();
        let found: Vec<i64> = loaded[0].entries.iter().map(|(sequence, _)| *sequence).collect();
        assert_eq!(found, [1, 3]);
        assert!(!end.is_behind());
    }

    #[test]
    fn what_changes_nothing_is_confirmed_at_once() {
        let disk = SimDisk::new(6);
        let (keeper, line, mut end) = keeper(&disk);
        let topic = Topic::new("never/kept".into(), &TopicLimits::default()).unwrap();
        end.store(&mut vec![Record::Retained { topic, message: None }], 1);
        assert_eq!(end.durable(), 0);
        line.close();
        keeper.run().unwrap();
        assert_eq!(end.durable(), 1);
    }

    #[test]
    fn the_last_words_of_the_shard_are_kept() {
        let disk = SimDisk::new(5);
        let (keeper, line, mut end) = keeper(&disk);
        end.store(&mut queued(1), 1);
        drop(end);
        line.close();
        keeper.run().unwrap();
        let mut store = Store::open(disk, Options::default(), Clock::default().now()).unwrap();
        let mut entries = 0;
        store
            .restore(&mut |fact| entries += if let Restored::Queue { entries, .. } = fact { entries.len() } else { 0 })
            .unwrap();
        assert_eq!(entries, 1);
    }

    #[test]
    fn a_disk_that_fails_confirms_nothing() {
        let disk = SimDisk::new(2);
        let (keeper, line, mut end) = keeper(&disk);
        end.store(&mut queued(1), 1);
        end.durable();
        disk.fail_at(disk.calls() + 1, Fault::Broken);
        line.close();
        assert!(keeper.run().is_err());
        assert_eq!(end.durable(), 0);
    }

    #[test]
    fn a_full_disk_confirms_nothing_and_says_so() {
        let disk = SimDisk::new(3);
        let (keeper, line, mut end) = keeper(&disk);
        disk.set_capacity_bytes(0);
        for ticket in 1..=1_000 {
            end.store(&mut queued(ticket), ticket as u64);
        }
        end.durable();
        line.close();
        keeper.run().unwrap();
        assert_eq!(end.durable(), 0);
        assert!(!end.has_room());
    }

    #[test]
    fn much_that_waits_holds_up_those_who_add_to_it_until_half_of_it_is_written() {
        let (keeper, line, mut end) = keeper(&SimDisk::new(4));
        let mut ticket = 0;
        while !end.is_behind() {
            ticket += 1;
            end.store(&mut queued(ticket), ticket as u64);
        }
        assert!(ticket > 1_000);
        end.durable();
        assert!(end.is_behind());
        line.close();
        keeper.run().unwrap();
        assert!(!end.is_behind());
    }
}
