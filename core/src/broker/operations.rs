//! What waits for other shards and for the store.

use super::Broker;
use crate::effects::Effects;
use crate::hash::Seeded;
use crate::message::Message;
use crate::session::{Pending, Then};
use crate::shard::Word;
use crate::time::Now;
use crate::verbs::Answer;
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;

/// Questions to other shards whose `Done` has not come.
#[derive(Debug)]
pub(crate) struct Operations {
    waiting: HashMap<u64, Waiter, Seeded>,
    last: u64,
    /// Replies that wait for a ticket of ours, in the order of the tickets.
    replies: VecDeque<(u64, u16, Word)>,
}

#[derive(Clone, Copy, Debug)]
enum Waiter {
    /// An answer of this session (its place and id).
    Session(u32, u64),
    /// A question of another shard, which is answered when `remaining` words have come.
    Relay { shard: u16, operation: u64, remaining: u32 },
}

impl Operations {
    pub fn new(hasher: Seeded) -> Self {
        Self { waiting: HashMap::with_hasher(hasher), last: 0, replies: VecDeque::new() }
    }

    /// A name for the next question.
    pub fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

impl Broker {
    /// Gives a session's peer its answer: now, or when the step's ticket is durable, `waits` words have
    /// come for `operation`, and everything before it has been answered.
    pub(super) fn answer(
        &mut self,
        now: Now,
        index: u32,
        (operation, waits): (u64, u32),
        answer: Answer,
        then: Then,
        effects: &mut Effects,
    ) {
        let ticket = self.step_ticket(effects).unwrap_or(0);
        let Some(session) = self.sessions.get_mut(index) else { return };
        if waits > 0 {
            self.operations.waiting.insert(operation, Waiter::Session(index, session.id));
        }
        if waits == 0 && ticket == 0 && session.pending.is_empty() {
            return self.release(now, index, answer, then, effects);
        }
        session.pending.push_back(Pending { operation, waits, ticket, answer, then });
        if ticket > 0 {
            self.waiting.push_back((ticket, index, session.id));
        }
    }

    fn release(&mut self, now: Now, index: u32, mut answer: Answer, then: Then, effects: &mut Effects) {
        let Some(session) = self.sessions.get(index) else { return };
        let Some(peer) = session.peer else { return };
        self.show_fetched(index, &mut answer, effects);
        if session.is_mounted {
            session.show_answer(&mut answer);
        }
        effects.answers.push((peer, answer));
        match then {
            Then::Nothing => {}
            Then::Resume => self.resume(now, index, effects),
            Then::Retained(wanted) => self.request_snapshots(now, index, wanted, effects),
        }
    }

    /// Releases the answers at the head of a session's line that nothing holds back any more.
    fn release_ready(&mut self, now: Now, index: u32, effects: &mut Effects) {
        let durable = self.durable;
        while let Some(session) = self.sessions.get_mut(index)
            && let Some(pending) = session.pending.pop_front_if(|first| first.waits == 0 && first.ticket <= durable)
        {
            self.release(now, index, pending.answer, pending.then, effects);
        }
    }

    /// Releases what waited for tickets up to the durable one.
    pub(super) fn release_stored(&mut self, now: Now, effects: &mut Effects) {
        let durable = self.durable;
        while let Some((_, index, id)) = self.waiting.pop_front_if(|(ticket, ..)| *ticket <= durable) {
            if self.sessions.get(index).is_some_and(|session| session.id == id) {
                self.release_ready(now, index, effects);
            }
        }
        while let Some((_, shard, word)) = self.operations.replies.pop_front_if(|(ticket, ..)| *ticket <= durable) {
            effects.forward.push((shard, word));
        }
        while let Some((_, delivery)) = self.held.pop_front_if(|(ticket, _)| *ticket <= durable) {
            self.release_held(now, delivery, effects);
        }
    }

    /// One of the words that an operation waits for.
    pub(super) fn done(&mut self, now: Now, operation: u64, matched: bool, effects: &mut Effects) {
        match self.operations.waiting.get_mut(&operation) {
            Some(Waiter::Session(index, id)) => {
                let (index, id) = (*index, *id);
                let last = self.session_done(index, id, operation, matched);
                if last {
                    self.operations.waiting.remove(&operation);
                    self.release_ready(now, index, effects);
                }
            }
            Some(Waiter::Relay { shard, operation: theirs, remaining }) => {
                *remaining -= 1;
                if *remaining == 0 {
                    effects.forward.push((*shard, Word::Done { operation: *theirs, matched: false }));
                    self.operations.waiting.remove(&operation);
                }
            }
            None => {}
        }
    }

    /// The value that a session's `Fetch` waits for.
    pub(super) fn fetched(&mut self, now: Now, operation: u64, message: Option<Arc<Message>>, effects: &mut Effects) {
        if let Some(Waiter::Session(index, id)) = self.operations.waiting.get(&operation)
            && let Some(session) = self.sessions.get_mut(*index).filter(|session| session.id == *id)
            && let Some(pending) = session.pending.iter_mut().find(|pending| pending.operation == operation)
            && let Answer::Fetched { outcome, .. } = &mut pending.answer
        {
            *outcome = Ok(message);
        }
        self.done(now, operation, false, effects);
    }

    /// Counts one word for a session's answer; returns whether it was the last, or nobody waits any more.
    fn session_done(&mut self, index: u32, id: u64, operation: u64, matched: bool) -> bool {
        let Some(session) = self.sessions.get_mut(index).filter(|session| session.id == id) else { return true };
        let Some(pending) = session.pending.iter_mut().find(|pending| pending.operation == operation) else {
            return true;
        };
        pending.waits -= 1;
        if matched && let Answer::Published { outcome: Ok(accepted), .. } = &mut pending.answer {
            accepted.matched = true;
        }
        pending.waits == 0
    }

    /// Answers an interest once the owners of last values have taken what was forwarded to them before it: it went
    /// past the new subscription, so the snapshot that follows the answer must have it.
    pub(super) fn confirm_interest(&mut self, from: u16, operation: u64, effects: &mut Effects) {
        let (own, mut waits) = (self.new_operation(), 0);
        for shard in (0..self.shards).filter(|shard| operation != 0 && ![self.shard, from].contains(shard)) {
            effects.forward.push((shard, Word::Fence { operation: own }));
            waits += 1;
        }
        self.relay(from, operation, (own, waits), effects);
    }

    /// Answers another shard's question once `waits` words have come for an operation of our own.
    pub(super) fn relay(&mut self, shard: u16, theirs: u64, (own, waits): (u64, u32), effects: &mut Effects) {
        if waits == 0 {
            return self.reply(shard, theirs, false, effects);
        }
        if theirs != 0 {
            self.operations.waiting.insert(own, Waiter::Relay { shard, operation: theirs, remaining: waits });
        }
    }

    /// Says `Done` to another shard once what this step stored is durable.
    pub(super) fn reply_when_stored(&mut self, shard: u16, operation: u64, matched: bool, effects: &mut Effects) {
        match self.step_ticket(effects) {
            Some(ticket) if operation != 0 => {
                self.operations.replies.push_back((ticket, shard, Word::Done { operation, matched }));
            }
            _ => self.reply(shard, operation, matched, effects),
        }
    }

    /// Says `Done` to another shard, unless nobody waits.
    pub(super) fn reply(&self, shard: u16, operation: u64, matched: bool, effects: &mut Effects) {
        if operation != 0 {
            effects.forward.push((shard, Word::Done { operation, matched }));
        }
    }

    /// Says `word` to every other shard; returns how many there are.
    pub(super) fn tell_all(&self, word: &Word, effects: &mut Effects) -> u32 {
        for shard in (0..self.shards).filter(|shard| *shard != self.shard) {
            effects.forward.push((shard, word.clone()));
        }
        u32::from(self.shards) - 1
    }

    /// A name for an operation, or 0 where there is only one shard and nothing to wait for.
    pub(super) fn new_operation(&mut self) -> u64 {
        if self.shards == 1 { 0 } else { self.operations.next() }
    }
}
