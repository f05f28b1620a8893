//! The shard of this thread: how it runs, and how tasks on its thread talk to it.

use crate::admission::ListenerLimits;
use crate::door::{DoorFactory, DoorSocket};
use crate::listener::{self, Gate, Listener, Welcome};
use crate::shard::{Counters, Shard};
use althing_core::authorisation::Policy;
use althing_core::broker::Statistics;
use althing_core::effects::Verdict;
use althing_core::link::Entrance;
use althing_core::record::Loaded;
use althing_core::topic::Filter;
use althing_core::verbs::Refusal;
use althing_core::{Limits, Message, Now, PeerId, Reason, Topic};
use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep};

thread_local! {
    static SHARD: RefCell<Option<Shard>> = const { RefCell::new(None) };
}

/// Runs `shard` on this thread until `main` ends, and ends every connection then.
///
/// # Errors
/// When the system has no event queue for us.
pub fn run<F: Future>(shard: Shard, main: F) -> io::Result<F::Output> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Called when no task is ready: the end of a tick.
        .on_thread_park(|| {
            with_running(Shard::tick);
        })
        .on_thread_unpark(|| {
            with_running(Shard::wake_up);
        })
        .build()?;
    let handle = shard.handle();
    SHARD.set(Some(shard));
    let result = runtime.block_on(async {
        tokio::spawn(TimerTask::new());
        tokio::spawn(handle.clone().attend());
        main.await
    });
    handle.close();
    // Before the runtime: sockets leave its event queue when they close.
    drop(SHARD.take());
    Ok(result)
}

/// Accepts from `listener` until the task is aborted.
pub fn listen(listener: Listener, gate: Gate, entrance: Arc<Entrance>, welcome: Welcome) -> JoinHandle<()> {
    tokio::spawn(listener::accept_all(listener, gate, entrance, welcome))
}

/// Lets a door serve `socket` until the task is aborted; its peers can be told goodbye after that.
pub fn serve_door(socket: DoorSocket, entrance: Arc<Entrance>, factory: DoorFactory) -> JoinHandle<()> {
    let door = with(|shard| shard.open_door(socket, entrance, factory));
    tokio::spawn(std::future::poll_fn(move |cx| with(|shard| shard.poll_door(door, cx))))
}

/// The broker itself publishes.
pub fn publish(message: Message) {
    with(|shard| shard.publish(message));
}

/// The last values that `filter` matches, as far as this shard keeps them; for the start, since it looks at all of them.
pub fn last_values(filter: &Filter) -> Vec<Arc<Message>> {
    with(|shard| shard.broker.inspect_retained(shard.clock.now(), Some(filter), 0, usize::MAX).items)
}

/// Whether anybody would get a message published to `topic`.
pub fn is_heard(topic: &Topic) -> bool {
    with(|shard| shard.broker.is_heard(topic))
}

/// A late answer to [`Host::verify`](crate::Host::verify).
pub fn verified(peer: PeerId, verdict: Verdict) {
    with(|shard| shard.verified(peer, verdict));
}

/// The answer to one of [`Host::load`](crate::Host::load).
pub fn loaded(loaded: Loaded) {
    with(|shard| shard.loaded(loaded));
}

/// Everyone who is connected, but for the peers of doors.
pub fn peers() -> Vec<PeerId> {
    with(|shard| shard.peers())
}

/// Says goodbye to these; those that have gone meanwhile do not matter.
pub fn close(peers: &[PeerId], refusal: &Refusal) {
    with(|shard| shard.close(peers, refusal));
}

/// Says goodbye to everyone, for `reason`.
pub fn close_all(reason: Reason) {
    with(|shard| shard.close_all(reason));
}

/// Other limits hold from now on: see [`Broker::set_limits`](althing_core::broker::Broker::set_limits).
pub fn set_limits(limits: Arc<Limits>) {
    with(|shard| shard.set_limits(limits));
}

/// What one listener takes from now on; connections that are there stay.
pub fn set_listener_limits(listener: &'static str, limits: ListenerLimits) {
    with(|shard| shard.admission.lock().set_listener(listener, limits));
}

/// Another policy holds from now on: see [`Broker::set_policy`](althing_core::broker::Broker::set_policy).
pub fn set_policy(policy: Arc<Policy>) {
    with(|shard| shard.set_policy(policy));
}

/// Waits until everyone has been told goodbye: who serves a visitor ends its work then.
pub async fn closing() {
    let mut closing = with(|shard| shard.closing());
    // Fails only when the shard is gone.
    let _ = closing.wait_for(|is_closing| *is_closing).await;
}

/// Waits until no connection is left.
pub async fn drained() {
    std::future::poll_fn(|cx| with(|shard| shard.poll_drained(cx))).await;
}

/// What the broker has counted.
pub fn statistics() -> Statistics {
    with(|shard| shard.statistics())
}

/// What the sockets have counted.
pub fn counters() -> Counters {
    with(|shard| Counters { turned_away: shard.admission.lock().turned_away(), ..shard.counters })
}

/// This moment, on the clock that the broker of this shard goes by.
pub fn now() -> Now {
    with(|shard| shard.clock.now())
}

/// Gives `act` the shard of this thread.
pub(crate) fn with<R>(act: impl FnOnce(&mut Shard) -> R) -> R {
    #[expect(clippy::expect_used, reason = "a call from outside is a mistake in the program, and has no answer")]
    with_running(act).expect("called from outside of the thread of a running shard")
}

/// The same where there may be none any more.
pub(crate) fn with_running<R>(act: impl FnOnce(&mut Shard) -> R) -> Option<R> {
    let _core_guard = AbortOnPanic::new();
    SHARD.with_borrow_mut(|shard| shard.as_mut().map(act))
}

/// Ends the process when it is dropped by a panic. Panics of adaptors are caught where they are called. One that comes
/// this far is the core's, the store's or ours: its state cannot be trusted any more, and the event loop, or the end of a
/// thread, would swallow the panic.
#[derive(Debug)]
pub struct AbortOnPanic {
    /// What is dropped while somebody else's panic unwinds may use the shard: that panic is not the core's.
    was_panicking: bool,
}

impl AbortOnPanic {
    /// From now on.
    #[expect(clippy::new_without_default, reason = "it stands for a stretch of code, not for a value")]
    pub fn new() -> Self {
        Self { was_panicking: std::thread::panicking() }
    }
}

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.was_panicking {
            std::process::abort();
        }
    }
}

/// The task of one connection. All state is in the shard, so that an idle task is as small as it can be.
pub(crate) struct ConnectionTask(pub PeerId);

impl Future for ConnectionTask {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        with(|shard| shard.poll_connection(self.0, cx))
    }
}

/// Sleeps until the earliest deadline of the shard.
struct TimerTask {
    sleep: Pin<Box<Sleep>>,
}

impl TimerTask {
    fn new() -> Self {
        Self { sleep: Box::pin(tokio::time::sleep_until(Instant::now())) }
    }
}

impl Future for TimerTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let next = with(|shard| shard.poll_timers(cx));
        self.sleep.as_mut().reset(next.into());
        match self.sleep.as_mut().poll(cx) {
            Poll::Pending => {}
            Poll::Ready(()) => cx.waker().wake_by_ref(),
        }
        Poll::Pending
    }
}
