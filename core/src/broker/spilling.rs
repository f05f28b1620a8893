//! What waits for long leaves the memory: only the store has it, until somebody is there to take it.

use super::{Broker, Pace};
use crate::effects::Effects;
use crate::queue::{Entry, Queue};
use crate::record::{Load, Loaded, QueueKey};
use crate::time::Now;

impl Broker {
    /// Leaves a stored entry for an absent or busy session to the store; false when it belongs into memory.
    pub(super) fn spill(&mut self, index: u32, entry: &Entry) -> bool {
        if !self.spills || entry.sequence == 0 {
            return false;
        }
        let size = entry.message.size_bytes();
        let Some(session) = self.sessions.get_mut(index) else { return false };
        if session.peer.is_some() && session.queue.has_memory_for(size, &self.limits) {
            return false;
        }
        session.note_judged(self.policy.epoch());
        session.queue.spill(entry.sequence, size);
        self.statistics.queued_messages += 1;
        self.statistics.queued_bytes += size as u64;
        true
    }

    /// The peer is gone: what waits for it need not do so in memory.
    pub(super) fn let_go(&mut self, index: u32) {
        if let Some(session) = self.sessions.get_mut(index).filter(|_| self.spills) {
            session.queue.let_go();
        }
    }

    /// Asks for what comes next when a peer takes messages and few are left in memory.
    pub(super) fn load_more(&mut self, index: u32, effects: &mut Effects) {
        let Some(session) = self.sessions.get_mut(index) else { return };
        if session.live
            && session.pace == Pace::Ready
            && let Some(sequences) = session.queue.next_load(&self.limits)
        {
            effects.load.push(Load { queue: QueueKey::Session(session.key()), sequences });
        }
    }

    /// The same for a group whose members take messages; without members nothing stays in memory.
    pub(super) fn load_more_of_group(&mut self, index: u32, effects: &mut Effects) {
        let Some(group) = self.groups.get_mut(index).filter(|group| self.spills && !group.queue.is_empty()) else {
            return;
        };
        if !group.is_attended() {
            group.queue.let_go();
        } else if group.has_credit()
            && let Some(sequences) = group.queue.next_load(&self.limits)
        {
            effects.load.push(Load { queue: group.key(), sequences });
        }
    }

    /// What was asked for. Its queue may have changed meanwhile, or be gone.
    pub(super) fn take_loaded(&mut self, now: Now, loaded: Loaded, effects: &mut Effects) {
        match &loaded.queue {
            QueueKey::Session(key) => {
                let Some(index) = self.find_session(&key.realm, &key.client) else { return };
                let Some(session) = self.sessions.get_mut(index) else { return };
                let before = size(&session.queue);
                let missing = session.queue.take_loaded(loaded, None);
                if session.peer.is_none() {
                    session.queue.let_go();
                }
                let after = size(&session.queue);
                self.count_change(before, after);
                for _ in missing {
                    self.dropped(index, "the store no longer has it", effects);
                }
                self.drain(now, index, effects);
            }
            QueueKey::Group(text) => {
                let Some(index) = self.find_group(text) else { return };
                let Some(group) = self.groups.get_mut(index) else { return };
                let (before, filter) = (size(&group.queue), group.filter.clone());
                let missing = group.queue.take_loaded(loaded, Some(&filter));
                let after = size(&group.queue);
                self.count_change(before, after);
                for _ in missing {
                    self.dropped_by_group(index, "the store no longer has it", effects);
                }
                self.pump(now, index, effects);
            }
        }
    }

    /// Sizes that the store has stated may differ a little from those in memory.
    fn count_change(&mut self, before: (usize, usize), after: (usize, usize)) {
        let statistics = &mut self.statistics;
        statistics.queued_messages = statistics.queued_messages + after.0 as u64 - before.0 as u64;
        statistics.queued_bytes = statistics.queued_bytes + after.1 as u64 - before.1 as u64;
    }
}

fn size(queue: &Queue) -> (usize, usize) {
    (queue.len(), queue.bytes())
}
