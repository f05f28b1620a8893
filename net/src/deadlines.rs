//! Deadlines: the adaptors', the broker's, those of subscribers that are behind and of peers that linger.

use crate::connections::Connections;
use crate::shard::Shard;
use crate::timers::Entry;
use althing_core::{Adaptor, Now, PeerId};
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Context;
use std::time::Instant;

impl Shard {
    /// What the timer task does when it is woken; returns how long it may sleep.
    pub(crate) fn poll_timers(&mut self, cx: &mut Context<'_>) -> Instant {
        if self.timer_waker.is_none() {
            self.timer_waker = Some(cx.waker().clone());
        }
        let now = self.clock.now();
        // Those that are armed meanwhile have their turn in the next poll, even when they are late already.
        let mut due = mem::take(&mut self.due);
        due.extend(std::iter::from_fn(|| self.timers.pop_due(now.mono_ns)));
        for entry in due.drain(..) {
            self.fire(now, entry);
        }
        self.due = due;
        if self.broker_due_ns <= now.mono_ns {
            self.broker.timeout(now, &mut self.effects);
        }
        self.call_due_doors(now);
        self.settle(now);
        self.broker_due_ns = self.broker_deadline_ns();
        self.sleeps_until_ns = self.timers.next().unwrap_or(u64::MAX).min(self.broker_due_ns).min(self.doors.due_ns());
        self.clock.instant(self.sleeps_until_ns)
    }

    fn fire(&mut self, now: Now, entry: Entry) {
        let peer = peer_of(&self.connections, &entry);
        let Some(connection) = self.connections.get_mut(peer).filter(|it| it.armed_ns == entry.mono_ns) else { return };
        connection.armed_ns = u64::MAX;
        let Some(adaptor) = &connection.adaptor else { return self.remove(peer) };
        if connection.throttled_until_ns <= now.mono_ns && connection.throttled_until_ns > 0 {
            self.let_go_on(now, peer);
            return self.arm(peer);
        }
        // What a publisher that is held back has sent was not read: its silence is ours. It is armed again by the poll
        // that follows.
        let is_due = !connection.is_held_back() && next_timeout_ns(&**adaptor) <= now.mono_ns;
        if is_due {
            self.call(now, peer, |adaptor, out| adaptor.timeout(now, out));
        }
        self.check_stall(now, peer);
        self.arm(peer);
    }

    /// Makes sure that the peer's next deadline has an entry.
    pub(crate) fn arm(&mut self, peer: PeerId) {
        let Some(connection) = self.connections.get(peer) else { return };
        let until_ns = self.behind.get(&peer).map(|behind| behind.until_ns);
        let adaptor = connection.adaptor.as_ref().filter(|_| !connection.is_held_back());
        let timeout_ns = adaptor.map_or(u64::MAX, |adaptor| next_timeout_ns(&**adaptor));
        let throttled_until_ns = Some(connection.throttled_until_ns).filter(|until_ns| *until_ns > 0);
        let until_ns = until_ns.into_iter().chain(throttled_until_ns).min();
        self.arm_at(peer, until_ns.unwrap_or(u64::MAX).min(timeout_ns));
    }

    pub(crate) fn arm_at(&mut self, peer: PeerId, mono_ns: u64) {
        let Some(connection) = self.connections.get_mut(peer) else { return };
        if mono_ns < connection.armed_ns {
            connection.armed_ns = mono_ns;
            self.push_timer(Entry { mono_ns, slot: peer.slot, generation: peer.generation });
        }
    }

    /// Makes sure that the broker is called in time.
    pub(crate) fn arm_broker(&mut self) {
        self.broker_due_ns = self.broker_deadline_ns();
        self.sleep_until(self.broker_due_ns);
    }

    fn broker_deadline_ns(&self) -> u64 {
        self.broker.next_timeout().map_or(u64::MAX, |deadline| deadline.mono_ns)
    }

    fn push_timer(&mut self, entry: Entry) {
        self.forget_dead_timers();
        self.timers.push(entry);
        self.sleep_until(entry.mono_ns);
    }

    pub(crate) fn sleep_until(&mut self, mono_ns: u64) {
        if mono_ns < self.sleeps_until_ns {
            self.sleeps_until_ns = mono_ns;
            self.wake_timer_task();
        }
    }

    pub(crate) fn wake_timer_task(&self) {
        if let Some(waker) = &self.timer_waker {
            waker.wake_by_ref();
        }
    }

    /// Keeps the heap in proportion to the connections.
    pub(crate) fn forget_dead_timers(&mut self) {
        let connections = &self.connections;
        self.timers.compact(connections.len(), |entry| is_armed(connections, entry));
    }
}

/// When the adaptor wants to be called. If it breaks here, it is at once: the call meets the mistake where
/// it ends this connection alone.
fn next_timeout_ns(adaptor: &dyn Adaptor) -> u64 {
    let deadline = catch_unwind(AssertUnwindSafe(|| adaptor.next_timeout()));
    deadline.map_or(0, |deadline| deadline.map_or(u64::MAX, |deadline| deadline.mono_ns))
}

fn is_armed(connections: &Connections, entry: &Entry) -> bool {
    connections.get(peer_of(connections, entry)).is_some_and(|connection| connection.armed_ns == entry.mono_ns)
}

fn peer_of(connections: &Connections, entry: &Entry) -> PeerId {
    PeerId { shard: connections.shard(), generation: entry.generation, slot: entry.slot }
}
