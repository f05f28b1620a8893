//! What an administrator does to sessions, last values and queues.

use super::Broker;
use crate::effects::Effects;
use crate::record::{QueueKey, Record};
use crate::time::Now;
use crate::topic::Topic;
use crate::verbs::{Answer, Disconnect, Reason, Refusal};

impl Broker {
    /// Ends the connection of a session, for this reason, and with `ends_session` the session itself. Its will is
    /// published as after a lost connection. Returns whether there was anything to end.
    pub fn kick(
        &mut self,
        now: Now,
        (realm, client): (&str, &str),
        why: Refusal,
        ends_session: bool,
        effects: &mut Effects,
    ) -> bool {
        let Some(index) = self.find_session(realm, client) else { return false };
        let Some(session) = self.sessions.get(index) else { return false };
        let (peer, id) = (session.peer, session.id);
        self.step(effects, |broker, effects| {
            if let Some(peer) = peer {
                effects.answers.push((peer, Answer::Close(why)));
                let reason = Reason::AdministrativeAction;
                let lost = Disconnect { publish_will: true, session_expiry_s: None, reason };
                broker.disconnect(now, peer, index, lost, effects);
            }
            // One that was not to outlive its connection is gone by now, and its place may be somebody else's.
            let is_there = broker.sessions.get(index).is_some_and(|session| session.id == id);
            if ends_session && is_there {
                broker.end_session(now, index, effects);
            }
        });
        peer.is_some() || ends_session
    }

    /// Removes the last values of these topics; returns how many there were. What the broker says of itself stays.
    pub fn forget_retained(&mut self, topics: &[Topic], effects: &mut Effects) -> usize {
        let mut forgotten = 0;
        self.step(effects, |broker, effects| {
            for topic in topics.iter().filter(|topic| !topic.is_reserved()) {
                let before = broker.last_value_author(topic);
                if broker.retained.clear(topic) {
                    broker.count_last_value(before, None);
                    effects.store.push(Record::Retained { topic: topic.detached(), message: None });
                    forgotten += 1;
                }
            }
        });
        forgotten
    }

    /// Drops the oldest messages that wait in the queue of a group, at most so many; `None` when there is no such queue.
    pub fn purge_queue(&mut self, name: &str, messages_max: usize, effects: &mut Effects) -> Option<usize> {
        let index = self.find_group(name)?;
        let mut dropped = 0;
        self.step(effects, |broker, effects| {
            while dropped < messages_max && broker.drop_group_oldest(index, effects).is_some() {
                broker.dropped_by_group(index, "an administrator has emptied the queue", effects);
                dropped += 1;
            }
            broker.free_if_idle(index, effects);
        });
        Some(dropped)
    }

    /// Drops the oldest messages that wait for a session, at most so many; `None` when there is no such session. What
    /// other sessions of a group may still get stays.
    pub fn purge_session(
        &mut self,
        (realm, client): (&str, &str),
        messages_max: usize,
        effects: &mut Effects,
    ) -> Option<usize> {
        let index = self.find_session(realm, client)?;
        let mut dropped = 0;
        self.step(effects, |broker, effects| {
            while dropped < messages_max {
                let Some(session) = broker.sessions.get_mut(index) else { break };
                let Some((sequence, size_bytes)) = session.queue.drop_oldest(None) else { break };
                if sequence != 0 {
                    effects.store.push(Record::Settled { queue: QueueKey::Session(session.key()), sequence });
                }
                broker.count_unqueued(size_bytes);
                broker.count_use(index);
                broker.dropped(index, "an administrator has emptied the queue", effects);
                dropped += 1;
            }
        });
        Some(dropped)
    }
}
