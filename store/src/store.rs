//! The store: records in, durable; at the start, everything that holds.

use crate::Options;
use crate::bodies::Bodies;
use crate::checkpoint::Checkpoints;
use crate::cleaner::Cleaner;
use crate::clock::Downtime;
use crate::codec::{Context, Items, Reader, Step, decode_body, put_queue_key, read_terms};
use crate::disk::Disk;
use crate::error::{Failure, OpenError};
use crate::index::{Entry, Index};
use crate::log::{Log, Place};
use crate::reading::{Readers, damaged};
use crate::recovery;
use althing_core::Now;
use althing_core::record::{Load, Loaded, LoadedEntry, Record, Restored};
use std::sync::Arc;

/// Counters and gauges, for `$SYS`, metrics and the benchmark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Commits so far.
    pub commits: u64,
    /// Records so far.
    pub records: u64,
    /// Bytes written so far, of frames, checkpoints and cleaning.
    pub bytes_written: u64,
    /// Bytes on disk, spares included.
    pub disk_bytes: u64,
    /// Bytes that are still needed; a message that waits in several queues counts once for each.
    pub live_bytes: u64,
    /// Entries of queues.
    pub entries: u64,
    /// Sessions, subscriptions, tokens and retained values.
    pub facts: u64,
    /// Checkpoints so far.
    pub checkpoints: u64,
    /// Segments cleaned so far.
    pub segments_cleaned: u64,
}

/// A log with its index.
#[derive(Debug)]
pub struct Store<D: Disk> {
    pub(crate) log: Log<D>,
    pub(crate) index: Index,
    pub(crate) context: Context,
    pub(crate) progress: Progress,
    checkpoints: Checkpoints,
    cleaner: Cleaner,
    step: Step,
    bodies: Bodies,
    readers: Readers,
    downtime: Downtime,
    commits: u64,
    records: u64,
    failure: Option<Failure>,
}

/// How far steps have come, counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    /// Steps that were handed to the log.
    pub appended: u64,
    /// Those of them that are durable.
    pub synced: u64,
    /// Where the first step stands that was not committed: nothing is written from there on.
    pub uncommitted: Option<Place>,
    /// The age that the last commit has told, in milliseconds.
    pub told_age_ms: u64,
}

impl<D: Disk> Store<D> {
    /// Opens the store or begins a new one. `now` ties the store's own time, in which deadlines are kept, to this process's clock.
    ///
    /// # Errors
    /// When it cannot be opened as it is; what was durable has not changed then.
    pub fn open(disk: D, options: Options, now: Now) -> Result<Self, OpenError> {
        let recovered = recovery::recover(disk, &options, now)?;
        Ok(Self {
            log: recovered.log,
            index: recovered.index,
            context: Context { clock: recovered.clock, protocols: options.protocols },
            progress: Progress { told_age_ms: recovered.clock.age_ms(now.mono_ns), ..Progress::default() },
            checkpoints: recovered.checkpoints,
            cleaner: Cleaner::new(options.segment_bytes),
            step: Step::default(),
            bodies: Bodies::default(),
            readers: Readers::default(),
            downtime: recovered.downtime,
            commits: 0,
            records: 0,
            failure: None,
        })
    }

    /// How long the store was closed before it was opened. Where it is doubtful, the operator should hear of it.
    pub fn downtime(&self) -> Downtime {
        self.downtime
    }

    /// Shows everything that holds: sessions first. Called once, before the first `append`.
    ///
    /// # Errors
    /// When the disk fails, or something that is needed is damaged.
    pub fn restore(&mut self, take: &mut dyn FnMut(Restored)) -> Result<(), OpenError> {
        recovery::restore(&mut self.log, &self.index, &self.context, take)
    }

    /// Takes the records of one step or of several: they will be durable together or not at all. Nothing is written yet.
    /// A record that changes nothing costs nothing.
    pub fn append(&mut self, records: &mut Vec<Record>) {
        self.records += records.len() as u64;
        for record in records.drain(..) {
            self.take(record);
        }
        self.append_step();
    }

    /// Whether something was appended that is not committed.
    pub fn is_dirty(&self) -> bool {
        self.log.pending_bytes() > 0
    }

    /// Writes what was appended, and syncs it when `sync` says so. `Ok(true)`: it is as durable as that. `Ok(false)`: the
    /// disk or the quota is full; nothing is lost, a later call tries again.
    ///
    /// # Errors
    /// When the disk fails; the store takes nothing any more.
    pub fn commit(&mut self, now: Now, sync: bool) -> Result<bool, Failure> {
        self.guarded(|store| {
            let (dirty, age_ms) = (store.is_dirty(), store.context.clock.age_ms(now.mono_ns));
            if !store.log.commit(now, age_ms, sync)? {
                return Ok(false);
            }
            if dirty {
                store.progress.told_age_ms = age_ms;
            }
            store.bodies.clear();
            store.commits += u64::from(dirty);
            store.progress.uncommitted = None;
            if sync {
                store.progress.synced = store.progress.appended;
            }
            Ok(true)
        })
    }

    /// Reads entries of a queue back, whether committed or not, expired ones too.
    ///
    /// # Errors
    /// When the disk fails or has changed what was written.
    pub fn load(&mut self, load: Load) -> Result<Loaded, Failure> {
        self.guarded(|store| store.load_entries(load))
    }

    /// One bounded step (about a mebibyte) of what can be done meanwhile: spares, checkpoint, cleaning. True: there is more to
    /// do. What it appends (`is_dirty`) wants a commit like everything else, and much of the work waits for one.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn maintain(&mut self, now: Now) -> Result<bool, Failure> {
        self.guarded(|store| {
            store.keep_time(now);
            let more = store.log.prepare(now)?;
            Ok(store.write_checkpoint(now)? || store.clean()? || more)
        })
    }

    /// Whether new messages may be accepted; settling goes on in any case.
    pub fn has_room(&self) -> bool {
        self.log.has_room()
    }

    /// Counters and gauges as of now; cheap enough for every commit.
    pub fn statistics(&self) -> Statistics {
        Statistics {
            commits: self.commits,
            records: self.records,
            bytes_written: self.log.bytes_written() + self.checkpoints.bytes_written(),
            disk_bytes: self.log.disk_bytes() + self.checkpoints.disk_bytes(),
            live_bytes: self.index.live_bytes_in_all(),
            entries: self.index.entries_len(),
            facts: self.index.facts_len() as u64,
            checkpoints: self.checkpoints.written(),
            segments_cleaned: self.cleaner.segments_cleaned(),
        }
    }

    /// Bytes of memory that the index takes, close to. Not for every tick: it looks at every queue.
    pub fn index_bytes(&self) -> usize {
        self.index.memory_bytes()
    }

    /// Commits, and marks the store as closed in order.
    ///
    /// # Errors
    /// When the disk fails or is full.
    pub fn close(self, now: Now) -> Result<D, Failure> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let age_ms = self.context.clock.age_ms(now.mono_ns);
        self.log.close(now, age_ms)
    }

    /// Runs `act` unless the store has failed before: what it knows and what the disk holds may differ then.
    fn guarded<T>(&mut self, act: impl FnOnce(&mut Self) -> Result<T, Failure>) -> Result<T, Failure> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        act(self).map_err(|failure| self.failure.insert(failure).clone())
    }

    /// A store in which nothing happens says once a day how old it is: only what is in the log tells the next start.
    fn keep_time(&mut self, now: Now) {
        const DAY_MS: u64 = 24 * 3_600_000;
        let age_ms = self.context.clock.age_ms(now.mono_ns);
        if age_ms.saturating_sub(self.progress.told_age_ms) >= DAY_MS && !self.is_dirty() {
            self.step.clear();
            self.step.aged();
            self.append_step();
        }
    }

    /// Lets go of segments and works on a checkpoint. True: there is more to do now.
    fn write_checkpoint(&mut self, now: Now) -> Result<bool, Failure> {
        let Self { log, index, checkpoints, progress, .. } = self;
        checkpoints.release_dead(log, index, progress)?;
        checkpoints.maintain(log, index, progress, now, self.context.clock.age_ms(now.mono_ns))
    }

    /// Moves some survivors, but not while a checkpoint is under way: the one that is to follow carries the new places.
    fn clean(&mut self) -> Result<bool, Failure> {
        if self.checkpoints.is_writing() {
            return Ok(false);
        }
        let Self { log, index, cleaner, step, readers, progress, .. } = self;
        step.clear();
        let more = cleaner.maintain(log, index, step, readers, progress)?;
        self.append_step();
        Ok(more)
    }

    fn load_entries(&mut self, Load { queue, sequences }: Load) -> Result<Loaded, Failure> {
        let mut wanted = Vec::with_capacity(sequences.len());
        if let Some(queue) = self.index.queue(&key_bytes(&queue)) {
            wanted.extend(sequences.iter().filter_map(|sequence| queue.get(*sequence)).copied());
        }
        let mut entries = Vec::with_capacity(wanted.len());
        let Self { log, index, context, readers, progress, .. } = self;
        readers.read(
            log,
            progress.uncommitted,
            &wanted,
            |entry: &Entry| entry.body,
            |entry, bytes| {
                let failed =
                    |malformed| Failure::from(damaged(entry.body, malformed, format_args!("an entry of {queue:?}")));
                let message = Arc::new(decode_body(bytes, context).map_err(failed)?);
                let terms = read_terms(index.terms(entry)).map_err(failed)?;
                entries.push((entry.sequence, LoadedEntry { message, terms }));
                Ok::<_, Failure>(())
            },
        )?;
        Ok(Loaded { queue, sequences, entries })
    }

    /// Makes a record part of the step under way, and the index what it says.
    fn take(&mut self, record: Record) {
        let start = self.step.len();
        self.put(&record);
        let mut items = Items::of_step(self.step.bytes(), start);
        let mut changed = false;
        while let Ok(Some((at, item))) = items.next() {
            changed |= self.index.apply(&item, at);
        }
        debug_assert_eq!(start + items.offset(), self.step.len(), "what is written can be read: {record:?}");
        if !changed {
            self.step.truncate(start);
        }
    }

    fn put(&mut self, record: &Record) {
        let Self { step, bodies, index, context, .. } = self;
        let clock = &context.clock;
        match record {
            Record::Session(session) => step.session(session, clock),
            Record::SessionClosed(session) => step.session_closed(session),
            Record::Subscribed { session, filter, options } => step.subscribed(session, filter, options),
            Record::Unsubscribed { session, filter } => step.unsubscribed(session, filter),
            Record::Queued { queue, sequence, message, terms } => {
                let body = bodies.place_of(message, step, clock);
                step.queued(queue, *sequence, terms, body);
            }
            Record::Moved { from, from_sequence, queue, sequence, terms } => {
                // The body is named in the log, so that the entry can be made again by whoever has forgotten the first.
                let entry = index.queue(&key_bytes(from)).and_then(|from| from.get(*from_sequence));
                if let Some(entry) = entry {
                    step.moved((from, *from_sequence), (queue, *sequence), terms, entry.body);
                }
            }
            Record::Numbered { session, sequence, number } => step.numbered(session, *sequence, *number),
            Record::Received { session, sequence } => step.received(session, *sequence),
            Record::Settled { queue, sequence } => step.settled(queue, *sequence),
            Record::QueueClosed(queue) => step.queue_closed(queue),
            Record::TokenHeld { session, token } => step.token_held(session, *token),
            Record::TokenReleased { session, token } => step.token_released(session, *token),
            Record::Retained { topic, message: Some(message) } => {
                let body = bodies.place_of(message, step, clock);
                step.retained(topic, body);
            }
            Record::Retained { topic, message: None } => step.retained_cleared(topic),
        }
    }

    /// Hands the step under way to the log.
    fn append_step(&mut self) {
        if self.step.len() > 0 {
            let base = self.log.append(self.step.bytes());
            self.index.place(base);
            self.bodies.place(base);
            self.cleaner.place(base);
            self.progress.uncommitted.get_or_insert(base);
            self.progress.appended += 1;
        }
        self.step.clear();
    }
}

/// The bytes by which the index knows a queue.
fn key_bytes(queue: &althing_core::record::QueueKey) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_queue_key(&mut bytes, queue);
    let length = Reader::new(&bytes).bytes().map_or(0, <[u8]>::len);
    bytes.drain(..bytes.len() - length);
    bytes
}
