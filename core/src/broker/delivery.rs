//! From a match to the peer: the window, the queue, and what becomes of a delivery.

use super::mounting::{NOT_MOUNTED, shown_under};
use super::publishing::Terms;
use super::{Broker, Pace};
use crate::effects::{Delivery, Effects, Event};
use crate::limits::Overflow;
use crate::message::{Guarantee, Message};
use crate::queue::{Entry, Queue};
use crate::record::{QueueKey, Record};
use crate::session::{Inflight, Session, Then};
use crate::time::{MILLISECOND_NS, Now};
use crate::verbs::{Answer, Outcome, PeerId};
use bytestring::ByteString;
use std::sync::Arc;

/// What one turn delivers to one session from its queue, so that others get theirs.
const TURN_MESSAGES: usize = 512;
const TURN_BYTES: usize = 256 << 10;

/// A message on its way to many. A copy in memory of its own is made once, for those that keep it.
#[derive(Debug)]
pub(super) struct Incoming {
    pub message: Arc<Message>,
    kept: Option<Arc<Message>>,
    /// What those under one mount point get, with that mount point.
    pub shown: Option<(ByteString, Arc<Message>)>,
    /// The session that published it, when it is one of this shard.
    pub publisher: Option<u32>,
}

impl Incoming {
    pub fn new(message: Arc<Message>, publisher: Option<u32>) -> Self {
        Self { message, kept: None, shown: None, publisher }
    }

    /// A message that is in memory of its own already.
    pub fn already_kept(message: Arc<Message>) -> Self {
        Self { message: message.clone(), kept: Some(message), shown: None, publisher: None }
    }

    pub fn kept(&mut self) -> Arc<Message> {
        self.kept.get_or_insert_with(|| Arc::new(self.message.detached())).clone()
    }
}

impl Broker {
    /// Offers a message to a session: it leaves at once when nothing is before it and the window has
    /// room, it waits when it must, and `AtMostOnce` is dropped for those who are absent or stalled.
    pub(super) fn offer(&mut self, now: Now, index: u32, incoming: &mut Incoming, terms: Terms, effects: &mut Effects) {
        let Some(session) = self.sessions.get_mut(index).filter(|session| session.hears(&incoming.message.topic))
        else {
            return;
        };
        if incoming.message.retain && !session.snapshots.is_empty() {
            note_seen(session, &incoming.message);
        }
        let flows = session.live && session.pace == Pace::Ready && session.queue.is_empty() && !session.resending;
        if terms.guarantee == Guarantee::AtMostOnce {
            return match session.peer {
                Some(peer) if flows => {
                    self.statistics.publishes_delivered += 1;
                    effects.deliveries.push(Delivery {
                        peer,
                        number: 0,
                        guarantee: Guarantee::AtMostOnce,
                        retain: terms.retain,
                        duplicate: false,
                        tags: terms.tags,
                        message: session.shown(incoming),
                    });
                }
                Some(_) if session.pace == Pace::Stalled => {
                    self.dropped(index, "the subscriber does not read", effects)
                }
                None if !self.limits.queue_at_most_once => {}
                _ => {
                    self.pause_for(now, index, incoming.publisher, effects);
                    self.enqueue(now, index, incoming, terms, effects);
                }
            };
        }
        if let Some(peer) = session.peer
            && flows
            && !session.stored
            && let Some(number) = session.free_number()
        {
            // The common case: nothing outlives the connection, so nothing is kept or stored.
            let guarantee = terms.guarantee;
            session.inflight.push_back(Inflight { number, guarantee, received: false, sent: true, entry: None });
            self.statistics.inflight_messages += 1;
            self.statistics.publishes_delivered += 1;
            let (retain, tags, message) = (terms.retain, terms.tags, session.shown(incoming));
            effects.deliveries.push(Delivery { peer, number, guarantee, retain, duplicate: false, tags, message });
            return;
        }
        self.pause_for(now, index, incoming.publisher, effects);
        self.enqueue(now, index, incoming, terms, effects);
    }

    /// Puts a message into a session's queue and lets the queue flow.
    pub(super) fn enqueue(
        &mut self,
        now: Now,
        index: u32,
        incoming: &mut Incoming,
        terms: Terms,
        effects: &mut Effects,
    ) {
        let message = incoming.kept();
        self.count_use(index);
        if !self.make_room(index, &message, effects) {
            return;
        }
        let Some(session) = self.sessions.get(index) else { return };
        let Terms { guarantee, retain, tags } = terms;
        let mut entry = Entry { message, guarantee, retain, sequence: 0, at_group: false, tags, group: None };
        if session.stored && guarantee > Guarantee::AtMostOnce {
            let (queue, message) = (QueueKey::Session(session.key()), entry.message.clone());
            entry.sequence = self.place_behind();
            effects.store.push(Record::Queued { queue, sequence: entry.sequence, message, terms: entry.terms() });
        }
        if !self.spill(index, &entry) {
            self.push_back(index, entry);
        }
        self.drain(now, index, effects);
    }

    /// Puts a group's entry into the queue of a member, which has room: the group gives nobody more than its window.
    pub(super) fn enqueue_of_group(&mut self, now: Now, index: u32, mut entry: Entry, effects: &mut Effects) {
        let Some(session) = self.sessions.get(index) else { return };
        if session.stored {
            let (queue, terms) = (QueueKey::Session(session.key()), entry.terms());
            let (from, from_sequence) = (terms.group.clone().map(QueueKey::Group), entry.sequence);
            let sequence = self.place_behind();
            effects.store.push(match from.filter(|_| from_sequence != 0) {
                Some(from) => Record::Moved { from, from_sequence, queue, sequence, terms },
                None => Record::Queued { queue, sequence, message: entry.message.clone(), terms },
            });
            (entry.sequence, entry.at_group) = (sequence, false);
        }
        self.push_back(index, entry);
        self.drain(now, index, effects);
    }

    /// The place of the next entry that is stored behind all others.
    pub(super) fn place_behind(&mut self) -> i64 {
        self.next_behind += 1;
        self.next_behind - 1
    }

    /// The place of the next entry that is stored before all others.
    pub(super) fn place_before(&mut self) -> i64 {
        self.next_before -= 1;
        self.next_before + 1
    }

    pub(super) fn push_back(&mut self, index: u32, entry: Entry) {
        let Some(session) = self.sessions.get_mut(index) else { return };
        self.statistics.queued_messages += 1;
        self.statistics.queued_bytes += entry.message.size_bytes() as u64;
        session.note_judged(self.policy.epoch());
        session.queue.push_back(entry);
    }

    fn pop_front(&mut self, index: u32) -> Option<Entry> {
        let entry = self.sessions.get_mut(index)?.queue.pop_front()?;
        self.count_unqueued(entry.message.size_bytes());
        Some(entry)
    }

    pub(super) fn count_unqueued(&mut self, size_bytes: usize) {
        self.statistics.queued_messages -= 1;
        self.statistics.queued_bytes -= size_bytes as u64;
    }

    /// Whether a queue may take `message`, after the overflow policy has done its work.
    fn make_room(&mut self, index: u32, message: &Message, effects: &mut Effects) -> bool {
        let size = message.size_bytes();
        loop {
            let Some(session) = self.sessions.get(index) else { return false };
            if !self.is_full(&session.queue, size) && !self.lacks_queue_bytes(index, size) {
                return true;
            }
            let oldest = match self.limits.queue_overflow {
                Overflow::DropOldest => {
                    self.sessions.get_mut(index).and_then(|session| session.queue.drop_oldest(None))
                }
                Overflow::DropNewest | Overflow::Refuse => None,
            };
            self.dropped(index, "its queue is full", effects);
            let Some((sequence, oldest_bytes)) = oldest else { return false };
            self.count_unqueued(oldest_bytes);
            self.count_use(index);
            if sequence != 0
                && let Some(session) = self.sessions.get(index)
            {
                effects.store.push(Record::Settled { queue: QueueKey::Session(session.key()), sequence });
            }
        }
    }

    /// Whether a queue has no room for `size` bytes more, or the whole shard has not.
    pub(super) fn is_full(&self, queue: &Queue, size: usize) -> bool {
        queue.len() >= self.limits.queue_messages_max
            || queue.bytes() + size > self.limits.queue_bytes_max
            || self.statistics.queued_bytes as usize + size > self.limits.queue_bytes_total_max
    }

    /// Counts a loss; says so once for each power of two, so that a flood of losses is no flood of words.
    pub(super) fn dropped(&mut self, index: u32, why: &'static str, effects: &mut Effects) {
        self.statistics.publishes_dropped += 1;
        if let Some(session) = self.sessions.get_mut(index) {
            session.drops += 1;
            if session.drops.is_power_of_two() {
                let (client, count) = (session.principal.client.clone(), session.drops);
                effects.events.push(Event::Dropped { client, why, count });
            }
        }
    }

    /// A publisher waits for a subscriber whose socket is slow or whose queue is long, but not for one
    /// that has not caught up in `stall_ms`: others must not suffer from it for ever.
    fn pause_for(&mut self, now: Now, index: u32, publisher: Option<u32>, effects: &mut Effects) {
        let Some(publisher) = publisher.and_then(|index| self.sessions.get(index)?.peer) else { return };
        let Some(session) = self.sessions.get_mut(index) else { return };
        let Some(subscriber) = session.peer.filter(|subscriber| *subscriber != publisher) else { return };
        let (high_messages, high_bytes) = self.limits.queue_high_marks();
        let is_long = session.queue.len() >= high_messages || session.queue.bytes() >= high_bytes;
        let waits_for_queue = is_long && session.pace == Pace::Ready && {
            let since_ns = *session.pressed_ns.get_or_insert(now.mono_ns);
            now.mono_ns - since_ns < self.limits.stall_ms * MILLISECOND_NS
        };
        if session.pace == Pace::Slow || waits_for_queue {
            effects.pause.push((publisher, subscriber));
        }
    }

    /// Lets those go on who wait for a queue that has shrunk.
    fn relieve(&mut self, index: u32, effects: &mut Effects) {
        let Some(session) = self.sessions.get_mut(index).filter(|session| session.pressed_ns.is_some()) else { return };
        let (high_messages, high_bytes) = self.limits.queue_high_marks();
        if session.queue.len() <= high_messages / 2 && session.queue.bytes() <= high_bytes / 2 {
            session.pressed_ns = None;
            effects.resume.extend(session.peer);
        }
    }

    pub(super) fn set_pace(&mut self, now: Now, peer: PeerId, pace: Pace, effects: &mut Effects) {
        let Some(index) = self.peers.get(&peer).copied() else { return };
        if let Some(session) = self.sessions.get_mut(index) {
            session.pace = pace;
            self.drain(now, index, effects);
        }
    }

    /// `Connected` has left: what was in flight is repeated in its order ([MQTT-4.4.0-1]), then the queue.
    pub(super) fn resume(&mut self, now: Now, index: u32, effects: &mut Effects) {
        self.forget_not_mounted(now, index, effects);
        let Some(session) = self.sessions.get_mut(index) else { return };
        session.live = true;
        session.resending = !session.inflight.is_empty();
        for inflight in &mut session.inflight {
            inflight.sent = false;
        }
        self.drain(now, index, effects);
        self.announce_window(now, index, effects);
    }

    /// Lets a session's queue flow as far as the window, the peer's pace and the turn allow.
    pub(super) fn drain(&mut self, now: Now, index: u32, effects: &mut Effects) {
        let mut expired = Vec::new();
        let mut forbidden = Vec::new();
        self.flow(now, index, &mut expired, &mut forbidden, effects);
        for entry in expired {
            self.settle_group(now, index, &entry, effects);
        }
        for entry in forbidden {
            self.forbid(now, index, entry, true, effects);
        }
        self.load_more(index, effects);
        self.relieve(index, effects);
        self.count_use(index);
    }

    fn flow(
        &mut self,
        now: Now,
        index: u32,
        expired: &mut Vec<Entry>,
        forbidden: &mut Vec<Entry>,
        effects: &mut Effects,
    ) {
        let (mut messages, mut bytes) = (0, 0);
        loop {
            let Some(session) = self.sessions.get_mut(index) else { return };
            let Some(peer) = session.peer.filter(|_| session.live && session.pace == Pace::Ready) else { return };
            if session.resending {
                self.withdraw_forbidden(now, index, effects);
                self.resend(index, peer, effects);
                if self.sessions.get(index).is_none_or(|session| session.resending) {
                    return;
                }
                continue;
            }
            let Some(first) = session.queue.front() else { return };
            if messages >= TURN_MESSAGES || bytes >= TURN_BYTES {
                if !session.draining {
                    session.draining = true;
                    self.draining.push_back((index, session.id));
                }
                return;
            }
            let is_elsewhere = !session.hears(&first.message.topic);
            if is_elsewhere || first.message.is_expired(now.mono_ns) {
                if let Some(entry) = self.pop_front(index) {
                    let why = if is_elsewhere { NOT_MOUNTED } else { "it expired in the queue" };
                    self.dropped(index, why, effects);
                    self.entry_over(index, &entry, effects);
                    expired.extend(entry.group.is_some().then_some(entry));
                }
                continue;
            }
            if session.judged_epoch != self.policy.epoch()
                && !self.policy.may_receive(&session.principal, &first.message.topic)
            {
                forbidden.extend(self.pop_front(index));
                continue;
            }
            let number = if first.guarantee == Guarantee::AtMostOnce { Some(0) } else { session.free_number() };
            let (Some(number), Some(entry)) = (number, number.and_then(|_| self.pop_front(index))) else { return };
            messages += 1;
            bytes += entry.message.size_bytes();
            self.send_entry(index, peer, number, entry, effects);
        }
    }

    /// Sends an entry under a number, 0 for `AtMostOnce`.
    fn send_entry(&mut self, index: u32, peer: PeerId, number: u32, mut entry: Entry, effects: &mut Effects) {
        let Some(session) = self.sessions.get_mut(index) else { return };
        let delivery = entry_delivery(&entry, peer, number, false);
        let mut hold = false;
        if number != 0 {
            if entry.sequence != 0 && !entry.at_group {
                let (session, sequence) = (session.key(), entry.sequence);
                effects.store.push(Record::Numbered { session, sequence, number });
                // A crash must not give the number to another message: the peer would take that one for a
                // repeat. A repeated `AtLeastOnce` delivery harms nobody, so it does not wait.
                hold = entry.guarantee == Guarantee::ExactlyOnce;
            } else if entry.sequence != 0 && entry.guarantee == Guarantee::ExactlyOnce {
                // A crash ends this session, and nobody else may get the message then ([MQTT-4.8.2-5]).
                effects.store.extend(session.settled(&entry));
                entry.sequence = 0;
                hold = true;
            }
            let guarantee = entry.guarantee;
            let entry = (session.stored || entry.group.is_some()).then_some(entry);
            session.inflight.push_back(Inflight { number, guarantee, received: false, sent: true, entry });
            self.statistics.inflight_messages += 1;
        }
        self.statistics.publishes_delivered += 1;
        match self.step_ticket(effects).filter(|_| hold) {
            Some(ticket) => self.held.push_back((ticket, delivery)),
            None => self.send(index, delivery, effects),
        }
    }

    /// Repeats what was in flight on the connection before, within the new window.
    fn resend(&mut self, index: u32, peer: PeerId, effects: &mut Effects) {
        let undurable = (self.durable < self.ticket).then_some(self.ticket);
        let Some(session) = self.sessions.get_mut(index) else { return };
        let window = usize::from(session.window);
        let mount_point = session.mount_point().cloned();
        let mut unsettled = session.inflight.iter().filter(|inflight| inflight.sent).count();
        session.resending = false;
        for inflight in &mut session.inflight {
            if inflight.sent {
                continue;
            }
            if unsettled >= window {
                session.resending = true;
                return;
            }
            unsettled += 1;
            inflight.sent = true;
            if inflight.received {
                effects.answers.push((peer, Answer::Complete { number: inflight.number, known: true }));
                continue;
            }
            let Some(entry) = &inflight.entry else { continue };
            let delivery = entry_delivery(entry, peer, inflight.number, true);
            match undurable.filter(|_| inflight.guarantee == Guarantee::ExactlyOnce) {
                Some(ticket) => self.held.push_back((ticket, delivery)),
                None => effects.deliveries.push(shown_under(mount_point.as_deref(), delivery)),
            }
        }
    }

    /// What the peer says of a delivery.
    pub(super) fn settle(&mut self, now: Now, index: u32, number: u32, outcome: Outcome, effects: &mut Effects) {
        let Some(session) = self.sessions.get_mut(index) else { return };
        let position = session.inflight_position(number);
        if outcome == Outcome::Received {
            let known = self.note_received(index, position, effects);
            return self.answer(now, index, (0, 0), Answer::Complete { number, known }, Then::Nothing, effects);
        }
        let Some(position) = position else { return };
        let inflight = &session.inflight[position];
        if outcome == Outcome::Accept && inflight.guarantee == Guarantee::ExactlyOnce && !inflight.received {
            // A PUBACK or PUBCOMP before the PUBREC settles nothing (§4.3.3).
            return;
        }
        if outcome == Outcome::Release && inflight.entry.as_ref().is_some_and(|entry| entry.group.is_none()) {
            // It stays in flight, and is sent again before all that waits.
            session.inflight[position].sent = false;
            session.resending = true;
            return self.drain(now, index, effects);
        }
        let Some(settled) = session.inflight.remove(position) else { return };
        self.statistics.inflight_messages -= 1;
        if let Some(entry) = settled.entry {
            match (&entry.group, outcome) {
                (Some(_), Outcome::Release) => self.give_back(now, index, vec![entry], effects),
                _ => {
                    self.entry_over(index, &entry, effects);
                    self.settle_group(now, index, &entry, effects);
                }
            }
        }
        self.drain(now, index, effects);
    }

    fn note_received(&mut self, index: u32, position: Option<usize>, effects: &mut Effects) -> bool {
        let Some(session) = self.sessions.get_mut(index) else { return false };
        let Some(inflight) = position.and_then(|position| session.inflight.get_mut(position)) else { return false };
        if inflight.guarantee != Guarantee::ExactlyOnce {
            return false;
        }
        inflight.received = true;
        if let Some(entry) = inflight.entry.as_ref().filter(|entry| entry.sequence != 0 && !entry.at_group) {
            let sequence = entry.sequence;
            effects.store.push(Record::Received { session: session.key(), sequence });
        }
        true
    }

    /// An entry's place in the durable queue is free again.
    pub(super) fn entry_over(&mut self, index: u32, entry: &Entry, effects: &mut Effects) {
        effects.store.extend(self.sessions.get(index).and_then(|session| session.settled(entry)));
    }

    /// The peer is gone: `AtMostOnce` does not wait for it, unless the house says so.
    pub(super) fn forget_at_most_once(&mut self, index: u32) {
        if self.limits.queue_at_most_once {
            return;
        }
        let Some(session) = self.sessions.get_mut(index) else { return };
        for entry in session.queue.take_if(|entry| entry.guarantee == Guarantee::AtMostOnce) {
            self.count_unqueued(entry.message.size_bytes());
        }
    }
}

fn entry_delivery(entry: &Entry, peer: PeerId, number: u32, duplicate: bool) -> Delivery {
    Delivery {
        peer,
        number,
        guarantee: entry.guarantee,
        retain: entry.retain,
        duplicate,
        tags: entry.tags.clone(),
        message: entry.message.clone(),
    }
}

fn note_seen(session: &mut Session, message: &Message) {
    for snapshot in &mut session.snapshots {
        if snapshot.filter.matches(&message.topic) {
            snapshot.seen.push(message.topic.detached());
        }
    }
}
