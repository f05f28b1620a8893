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
    /// What was appended and not confirmed.
    ticket: u64,
    bytes: usize,
    /// Appended since the last step of tidying.
    untidied_bytes: usize,
    loaded: Vec<Loaded>,
}

impl<D: Disk> Keeper<D> {
    pub fn new(store: Store<D>, line: Arc<Line>, clock: Clock, interval: Option<Duration>) -> Self {
        let (sync_due, ticket, bytes, untidied_bytes, loaded) = (None, 0, 0, 0, Vec::new());
        Self { store, line, clock, interval, sync_due, ticket, bytes, untidied_bytes, loaded }
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
            if self.store.is_dirty() {
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
            self.bytes += batch.bytes;
            self.untidied_bytes += batch.bytes;
            work.give_back(batch.records);
        }
    }

    /// Writes what was appended. When there is no room it stays where it is, unconfirmed, for the next time.
    fn commit(&mut self) -> Result<(), Failure> {
        let is_written = self.store.commit(self.clock.now(), self.interval.is_none())?;
        if is_written {
            self.line.confirm(self.ticket, std::mem::take(&mut self.bytes));
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
            self.sync_due = None;
            self.store.commit(self.clock.now(), true)?;
        }
        Ok(())
    }

    /// Sleeps until somebody calls, or until something is due.
    fn wait(&self) {
        let sync = self.sync_due.map(|due| due.saturating_duration_since(Instant::now()));
        let retry = self.store.is_dirty().then_some(FULL_RETRY);
        match sync.into_iter().chain(retry).min() {
            Some(timeout) => thread::park_timeout(timeout),
            None => thread::park(),
        }
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
