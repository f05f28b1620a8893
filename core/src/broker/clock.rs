//! What happens when nothing is asked: expiries, delayed wills, queues drained in turns.

use super::Broker;
use crate::effects::Effects;
use crate::record::Record;
use crate::time::Now;

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TimerKind {
    Will,
    Expiry,
    Proof,
}

impl TimerKind {
    pub fn reason(self) -> &'static str {
        match self {
            Self::Will => "will delay is over",
            Self::Expiry => "session expires",
            Self::Proof => "a proof of identity ends",
        }
    }
}

/// A moment for a session. Stale when the session has had another connection since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timer {
    pub due_ns: u64,
    pub session: u32,
    pub epoch: u64,
    pub kind: TimerKind,
}

/// Sessions that are drained in one turn.
const TURN_SESSIONS: usize = 64;
/// Retained messages that expire in one turn.
const TURN_RETAINED: usize = 1_024;

impl Broker {
    pub(super) fn set_timer(&mut self, due_ns: u64, session: u32, kind: TimerKind) {
        let Some(epoch) = self.sessions.get(session).map(|session| session.epoch) else { return };
        self.timers.push(std::cmp::Reverse(Timer { due_ns, session, epoch, kind }));
    }

    pub(super) fn tick(&mut self, now: Now, effects: &mut Effects) {
        if self.restoring.is_some() {
            return;
        }
        while let Some(std::cmp::Reverse(timer)) = self.timers.peek().copied()
            && timer.due_ns <= now.mono_ns
        {
            self.timers.pop();
            self.fire(now, timer, effects);
        }
        for expired in self.retained.expire(now.mono_ns, TURN_RETAINED) {
            self.count_expired(&expired);
            effects.store.push(Record::Retained { topic: expired.topic.clone(), message: None });
        }
        self.review_turn(now, effects);
        for _ in 0..TURN_SESSIONS.min(self.draining.len()) {
            let Some((index, id)) = self.draining.pop_front() else { break };
            if let Some(session) = self.sessions.get_mut(index).filter(|session| session.id == id) {
                session.draining = false;
                self.drain(now, index, effects);
            }
        }
    }

    fn fire(&mut self, now: Now, timer: Timer, effects: &mut Effects) {
        let index = timer.session;
        let current = |session: &&crate::session::Session| {
            let is_of_now = match timer.kind {
                TimerKind::Proof => session.proof_ends_ns == Some(timer.due_ns),
                TimerKind::Will | TimerKind::Expiry => session.peer.is_none(),
            };
            session.epoch == timer.epoch && is_of_now
        };
        if self.sessions.get(index).filter(current).is_none() {
            return;
        }
        match timer.kind {
            TimerKind::Will => {
                self.publish_will(now, index, effects);
                self.record_session(index, effects);
            }
            TimerKind::Proof => self.proof_is_over(now, index, effects),
            TimerKind::Expiry => {
                self.statistics.sessions_expired += 1;
                self.end_session(now, index, effects);
            }
        }
    }
}
