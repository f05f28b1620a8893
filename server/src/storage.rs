//! What outlives the process: the store in the data directory, on a thread of its own.
//!
//! The shard never waits for the disk. It hands what a tick has stored to the store's thread by a `line`; the `keeper`
//! there makes everything durable that has come while it made the last batch durable, and wakes the shard's loop, which
//! then lets the answers go.

mod keeper;
mod line;

pub use line::ShardEnd;

use crate::config::{Config, Durability};
use crate::protocols::NAMES;
use crate::serve::ServeError;
use althing_core::record::Restored;
use althing_net::{AbortOnPanic, Clock, Shard, local};
use althing_store::{Downtime, Failure, Files, Options, Statistics, Store};
use keeper::Keeper;
use line::Line;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The running store.
#[derive(Debug)]
pub struct Storage {
    line: Arc<Line>,
    thread: JoinHandle<()>,
}

impl Storage {
    /// Opens the store of the data directory, or begins one.
    ///
    /// # Errors
    /// When the directory cannot be used as it is; nothing in it has changed then.
    pub fn open(config: &Config, clock: Clock) -> Result<Opening, ServeError> {
        let start = Instant::now();
        let directory = &config.server.data;
        let options = Options {
            segment_bytes: config.store.segment_bytes,
            bytes_max: config.store.bytes_max,
            protocols: &NAMES,
            seed: RandomState::new().hash_one(std::process::id()),
        };
        let open = || Store::open(Files::open(directory)?, options, clock.now());
        let store = patiently(directory, open).map_err(|error| ServeError::open(directory, error))?;
        let interval = (config.store.durability == Durability::Interval)
            .then_some(Duration::from_millis(config.store.interval_ms));
        Ok(Opening { store, start, clock, interval, line: Arc::default() })
    }

    /// Tells the shard of this thread what has come from the store, and the log of the disk's state, for as long as the
    /// store works. What is durable the shard asks for itself: it only has to be awake.
    pub async fn attend(watch: Watch) -> Failure {
        let line = watch.0;
        let mut had_room = true;
        loop {
            line.news.notified().await;
            if let Some(failure) = line.failure() {
                return failure.clone();
            }
            for loaded in line.take_loaded() {
                local::loaded(loaded);
            }
            let has_room = line.has_room();
            match (had_room, has_room) {
                (true, false) => tracing::error!(
                    "the disk is full, or store.bytes_max is reached: new messages beyond QoS 0 and last values are refused \
                     until there is room; everything else goes on"
                ),
                (false, true) => tracing::info!("there is room on the disk again: new messages are taken"),
                _ => {}
            }
            had_room = has_room;
        }
    }

    /// What [`attend`](Self::attend) and `$SYS` watch.
    pub fn watch(&self) -> Watch {
        Watch(Arc::clone(&self.line))
    }

    /// Makes durable what is left, marks the store as closed in order and ends its thread.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn close(self) -> Result<(), ServeError> {
        self.line.close();
        // A panic there has ended the process.
        let _ = self.thread.join();
        self.line.failure().map_or(Ok(()), |failure| Err(ServeError::Store(failure.clone())))
    }
}

/// A view of the store.
#[derive(Clone, Debug)]
pub struct Watch(Arc<Line>);

impl Watch {
    /// Counters and gauges.
    pub fn statistics(&self) -> Statistics {
        self.0.statistics()
    }

    /// Whether new messages may be kept.
    pub fn has_room(&self) -> bool {
        self.0.has_room()
    }
}

/// A store that was opened and has not been read yet.
pub struct Opening {
    store: Store<Files>,
    start: Instant,
    clock: Clock,
    interval: Option<Duration>,
    line: Arc<Line>,
}

impl Opening {
    /// The end of the line for the shard's host.
    pub fn shard_end(&self) -> ShardEnd {
        ShardEnd::new(Arc::clone(&self.line))
    }

    /// Gives the shard what an earlier process has left, and starts the store's thread.
    ///
    /// # Errors
    /// When something that is needed is damaged, or the disk fails.
    pub fn restore(mut self, directory: &Path, shard: &mut Shard) -> Result<Storage, ServeError> {
        let mut found = Found::default();
        let restore = || {
            shard.restore(|take| {
                self.store.restore(&mut |fact| {
                    found.count(&fact);
                    take(fact);
                })
            })
        };
        patiently(directory, restore).map_err(|error| ServeError::open(directory, error))?;
        tracing::info!("found {found} in {}, in {} ms", directory.display(), self.start.elapsed().as_millis());
        if let Downtime::Doubtful(downtime_ms) = self.store.downtime() {
            tracing::warn!(
                "by the wall clock {} s have passed since the store was last written: that cannot be right, and no deadline \
                 of a session or message has come nearer meanwhile",
                downtime_ms / 1_000
            );
        }
        let line = Arc::clone(&self.line);
        let keeper = Keeper::new(self.store, self.line, self.clock, self.interval);
        let thread = thread::Builder::new().name("store".into()).spawn({
            let line = Arc::clone(&line);
            move || {
                let _core_guard = AbortOnPanic::new();
                if let Err(failure) = keeper.run() {
                    line.fail(failure);
                }
            }
        })?;
        // Set once; what was handed over before is found without being told.
        let _ = line.thread.set(thread.thread().clone());
        Ok(Storage { line, thread })
    }
}

/// What an earlier process has left.
#[derive(Debug, Default)]
struct Found {
    sessions: usize,
    messages: usize,
    retained: usize,
}

impl Found {
    fn count(&mut self, fact: &Restored) {
        match fact {
            Restored::Session(_) => self.sessions += 1,
            Restored::Queue { entries, .. } => self.messages += entries.len(),
            Restored::Retained(_) => self.retained += 1,
            Restored::Subscription { .. } | Restored::Token { .. } => {}
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let several = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        let (sessions, messages) = (several(self.sessions, "session"), several(self.messages, "waiting message"));
        write!(f, "{sessions}, {messages} and {}", several(self.retained, "last value"))
    }
}

/// Does something that may take long, and says so every few seconds while it does.
fn patiently<R>(directory: &Path, act: impl FnOnce() -> R) -> R {
    let (ends, waits) = channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            let start = Instant::now();
            let mut pause = Duration::from_secs(1);
            while waits.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                tracing::info!(
                    "reading what is kept in {}: {} s so far",
                    directory.display(),
                    start.elapsed().as_secs()
                );
                pause = Duration::from_secs(5);
            }
        });
        let result = act();
        drop(ends);
        result
    })
}
