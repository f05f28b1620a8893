//! Reaching a running shard from other threads: closures that its own thread runs.

use crate::local;
use crate::measures::Measures;
use crate::shard::{Counters, Shard};
use crate::trace::{TraceEvent, TraceQuery};
use althing_core::broker::Broker;
use althing_core::{Effects, Message, Now, PeerId};
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc::Sender;
use tokio::sync::{Notify, oneshot};

/// A handle on a running shard, for any thread. What it is asked to run is run by the shard's own thread, between two
/// turns of its connections, in the order of the asking.
///
/// Who asks for something long keeps all connections waiting: long work is to be asked for in slices.
#[derive(Clone)]
pub struct Handle(Arc<Line>);

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handle")
    }
}

/// The shard has stopped, so there is no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped;

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the broker has stopped")
    }
}

impl std::error::Error for Stopped {}

impl Handle {
    /// Has the shard's thread run `act`, and gives its result. A panic in `act` ends the process, like every panic that
    /// may have left the broker's state in pieces. It runs even when nobody waits for the result any more.
    ///
    /// # Errors
    /// When the shard has stopped.
    pub async fn run<R, F>(&self, act: F) -> Result<R, Stopped>
    where
        R: Send + 'static,
        F: FnOnce(&mut Inside<'_>) -> R + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        self.0.push(Box::new(move |inside| {
            // Whoever asked may have gone.
            let _ = sender.send(act(inside));
        }));
        receiver.await.map_err(|_| Stopped)
    }

    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }

    /// Runs what comes, until the task is dropped. One closure a poll, so that a batch of them is as fair to the
    /// connections as anybody else.
    pub(crate) async fn attend(self) {
        loop {
            while let Some(job) = self.0.pop() {
                local::with(|shard| {
                    job(&mut Inside { shard });
                    shard.settle(shard.clock.now());
                });
                tokio::task::yield_now().await;
            }
            self.0.wake.notified().await;
        }
    }

    /// Nothing will be run any more: whoever waits hears of it.
    pub(crate) fn close(&self) {
        let mut jobs = self.0.lock();
        jobs.is_closed = true;
        drop(std::mem::take(&mut jobs.waiting));
    }
}

type Job = Box<dyn FnOnce(&mut Inside<'_>) + Send>;

/// What both sides share.
#[derive(Default)]
struct Line {
    jobs: Mutex<Jobs>,
    /// Wakes the loop: the line was empty, and is not any more.
    wake: Notify,
}

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<Job>,
    is_closed: bool,
}

impl Line {
    fn push(&self, job: Job) {
        let mut jobs = self.lock();
        if jobs.is_closed {
            return;
        }
        let was_empty = jobs.waiting.is_empty();
        jobs.waiting.push_back(job);
        drop(jobs);
        if was_empty {
            self.wake.notify_one();
        }
    }

    fn pop(&self) -> Option<Job> {
        self.lock().waiting.pop_front()
    }

    /// No closure runs under the lock, so nobody leaves it by a panic.
    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionView {
    /// When it was accepted, on the monotonic clock.
    pub since_ns: u64,
    /// Bytes that its socket has not taken yet.
    pub unsent_bytes: usize,
}

/// A shard from inside: what a closure of [`Handle::run`] may see and do.
pub struct Inside<'a> {
    shard: &'a mut Shard,
}

impl fmt::Debug for Inside<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inside")
    }
}

impl Inside<'_> {
    /// This moment, on the clock that the broker goes by.
    pub fn now(&self) -> Now {
        self.shard.clock.now()
    }

    /// The broker, to look at.
    pub fn broker(&self) -> &Broker {
        &self.shard.broker
    }

    /// Has the broker change something; what follows from it is carried out before anything else happens.
    pub fn change<R>(&mut self, act: impl FnOnce(&mut Broker, Now, &mut Effects) -> R) -> R {
        let now = self.shard.clock.now();
        let result = act(&mut self.shard.broker, now, &mut self.shard.effects);
        self.shard.settle(now);
        result
    }

    /// The broker itself publishes.
    pub fn publish(&mut self, message: Message) {
        self.shard.publish(message);
    }

    /// A connection; `None` when it is gone, and for peers of datagrams.
    pub fn connection(&self, peer: PeerId) -> Option<ConnectionView> {
        let connection = self.shard.connections.get(peer)?;
        Some(ConnectionView { since_ns: connection.since_ns, unsent_bytes: connection.out.len() })
    }

    /// What has been measured.
    pub fn measures(&self) -> Measures {
        self.shard.measures.clone()
    }

    /// Has `sink` hear of what `query` wants until this time on the monotonic clock, or until its reader goes; false when too
    /// many watch already.
    pub fn trace(&mut self, query: TraceQuery, until_ns: u64, sink: Sender<TraceEvent>) -> bool {
        self.shard.traces.begin(query, until_ns, sink)
    }

    /// What the sockets have counted.
    pub fn counters(&self) -> Counters {
        self.shard.counters
    }
}
