//! What the broker remembers of one client: its queue, what is on its way, what it subscribed to.

use crate::authorisation::{Principal, Standing};
use crate::broker::{Allowance, Pace};
use crate::bucket::Bucket;
use crate::hash::Seeded;
use crate::message::{Guarantee, Origin};
use crate::queue::{Entry, Queue};
use crate::record::{QueueKey, Record, SessionFact, SessionKey, StoredWill};
use crate::topic::{Filter, Topic};
use crate::tree::NodeId;
use crate::verbs::{Answer, PeerId, SubscriptionOptions};
use bytestring::ByteString;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;

/// A session: state that may outlive its connections (MQTT 5.0 §4.1).
#[derive(Debug)]
pub(crate) struct Session {
    /// The realm in which the id is unique; empty = the default one.
    pub realm: ByteString,
    /// Its id and the proven name behind it.
    pub principal: Principal,
    /// What the policy knows of it; made when it is asked for, and to be forgotten when the principal changes.
    pub standing: Option<Box<Standing>>,
    /// Tells the session from a later one in the same place.
    pub id: u64,
    /// Counts the connections of the whole shard: names this connection's timers and late words, and
    /// fences those of the one before.
    pub epoch: u64,
    /// Its connection.
    pub peer: Option<PeerId>,
    /// Whether `Connected` has left, so that deliveries may follow.
    pub live: bool,
    /// How fast the peer reads.
    pub pace: Pace,
    /// Whether the session is in the list of those with more to drain.
    pub draining: bool,
    /// Whether deliveries of the connection before are still to be repeated.
    pub resending: bool,
    /// Messages that were dropped on their way to it.
    pub drops: u64,
    /// Messages of it that were refused, and those that reached nobody.
    pub refusals: u64,
    pub unheard: u64,
    /// How fast connections have taken it from each other.
    pub takeovers: Bucket,
    /// What its principal may use; `None` while nobody has a bound.
    pub allowance: Option<Box<Allowance>>,
    /// Whether its topics are under the mount point of its listener.
    pub is_mounted: bool,
    /// Whether its allowance bounds what it publishes.
    pub is_metered: bool,
    /// Since when publishers are asked to wait because the queue is long, on the monotonic clock.
    pub pressed_ns: Option<u64>,
    /// Whether each of its subscriptions gets its own delivery of a message.
    pub separate_subscriptions: bool,
    /// Seconds that it outlives its connection.
    pub expiry_s: u32,
    /// Whether the store knows it. Once it does, everything about the session is recorded until it ends, even when
    /// it is not to outlive its connection any more.
    pub stored: bool,
    /// Most deliveries in flight.
    pub window: u16,
    /// The next delivery number to try.
    pub next_number: u32,
    /// The largest delivery number.
    pub number_max: u32,
    /// Who it is for the messages it publishes; made with the first of them.
    pub origin: Option<Arc<Origin>>,
    /// Plain subscriptions: the tree's node and the place in the node's list. The nodes' numbers are ours,
    /// so the small fixed hash state will do.
    pub subscriptions: HashMap<NodeId, u32, FixedState>,
    /// Shared subscriptions; rare, so boxed.
    pub shared: Option<Box<HashMap<Filter, SubscriptionOptions, Seeded>>>,
    /// What waits.
    pub queue: Queue,
    /// The policy, by its epoch, that everything in the queue was judged by when it came in; 0: some of it by another, or
    /// with other rights.
    pub judged_epoch: u64,
    /// What is on its way, in the order of its numbers.
    pub inflight: VecDeque<Inflight>,
    /// Tokens of `ExactlyOnce` publishes that the peer has not let go of, in ascending order: a peer may
    /// hold 65,535 of them.
    pub tokens: Vec<u32>,
    /// Published when the connection is lost.
    pub will: Option<Box<StoredWill>>,
    /// When the proof of its connection's identity ends, on the monotonic clock; `None` = never.
    pub proof_ends_ns: Option<u64>,
    /// What is due while it has no connection; `None` while it has one.
    pub absence: Option<Box<Absence>>,
    /// Answers that wait for the store or for other shards, in order.
    pub pending: VecDeque<Pending>,
    /// Snapshots of retained messages that other shards still owe.
    pub snapshots: VecDeque<Snapshot>,
}

/// The deadlines of a session without a connection, on the monotonic clock in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Absence {
    /// When it ends; `None` = never.
    pub ends_ns: Option<u64>,
    /// When its will is due, if it has one.
    pub will_due_ns: Option<u64>,
}

/// An answer that waits for its turn.
#[derive(Debug)]
pub(crate) struct Pending {
    /// Names the words that it waits for; 0 = none.
    pub operation: u64,
    /// Words from other shards still to come.
    pub waits: u32,
    /// The ticket that must be durable first; 0 = none.
    pub ticket: u64,
    /// What then leaves.
    pub answer: Answer,
    /// What follows it.
    pub then: Then,
}

/// What follows an answer.
#[derive(Debug)]
pub(crate) enum Then {
    Nothing,
    /// Deliveries may start: first what was in flight, then the queue.
    Resume,
    /// The retained messages of new subscriptions.
    Retained(Vec<(Filter, SubscriptionOptions, u64)>),
}

/// A snapshot that another shard owes. Topics whose live message came first are left out of it: the
/// snapshot may be older than they are.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub operation: u64,
    pub waits: u32,
    pub filter: Filter,
    pub seen: Vec<Topic>,
}

/// A delivery above `AtMostOnce` that is not settled.
#[derive(Debug)]
pub(crate) struct Inflight {
    pub number: u32,
    pub guarantee: Guarantee,
    /// The peer has received the `ExactlyOnce` delivery; it is not repeated any more.
    pub received: bool,
    /// Whether it has left on the present connection.
    pub sent: bool,
    /// The entry, for resumption or for another member of the group; `None` in a session that ends
    /// with its connection, where nothing is ever repeated.
    pub entry: Option<Entry>,
}

impl Session {
    /// Its name.
    pub fn key(&self) -> SessionKey {
        SessionKey { realm: self.realm.clone(), client: self.principal.client.clone() }
    }

    /// What the store keeps of it.
    pub fn fact(&self) -> SessionFact {
        SessionFact {
            key: self.key(),
            protocol: self.principal.protocol,
            principal: self.principal.name().cloned(),
            epoch: self.epoch,
            expiry_s: self.expiry_s,
            number_max: self.number_max,
            ends_ns: self.absence.as_ref().and_then(|absence| absence.ends_ns),
            will: self.will.as_deref().cloned(),
            will_due_ns: self.absence.as_ref().and_then(|absence| absence.will_due_ns),
        }
    }

    /// Says that an entry in its hands is over, where that is stored.
    pub fn settled(&self, entry: &Entry) -> Option<Record> {
        let queue = match &entry.group {
            Some(group) if entry.at_group => QueueKey::Group(group.text().clone()),
            _ => QueueKey::Session(self.key()),
        };
        (entry.sequence != 0).then_some(Record::Settled { queue, sequence: entry.sequence })
    }

    /// Whether it outlives its connection.
    pub fn lasts(&self) -> bool {
        self.expiry_s > 0
    }

    /// A free delivery number, or `None` while the window is full.
    ///
    /// Numbers are handed out in a circle and `inflight` keeps that order, so only the oldest delivery
    /// can still hold the next number; the window is then treated as full until it is settled.
    pub fn free_number(&mut self) -> Option<u32> {
        if self.inflight.len() >= usize::from(self.window) {
            return None;
        }
        let number = self.next_number;
        if self.inflight.front().is_some_and(|oldest| oldest.number == number) {
            return None;
        }
        self.next_number = if number >= self.number_max { 1 } else { number + 1 };
        Some(number)
    }

    /// The place of `number` in `inflight`; acknowledgements mostly come in order, so from the front.
    pub fn inflight_position(&self, number: u32) -> Option<usize> {
        self.inflight.iter().position(|inflight| inflight.number == number)
    }

    /// What comes into its queue has been judged by the policy of this epoch.
    pub fn note_judged(&mut self, epoch: u64) {
        if self.queue.is_empty() {
            self.judged_epoch = epoch;
        }
    }

    /// How many subscriptions it has.
    pub fn subscriptions_len(&self) -> usize {
        self.subscriptions.len() + self.shared.as_ref().map_or(0, |shared| shared.len())
    }
}

/// Sessions by index, with vacant places reused.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    places: Vec<Option<Box<Session>>>,
    vacant: Vec<u32>,
}

impl Sessions {
    pub fn insert(&mut self, session: Session) -> u32 {
        let session = Some(Box::new(session));
        if let Some(index) = self.vacant.pop() {
            self.places[index as usize] = session;
            return index;
        }
        self.places.push(session);
        (self.places.len() - 1) as u32
    }

    pub fn remove(&mut self, index: u32) -> Option<Box<Session>> {
        let session = self.places.get_mut(index as usize)?.take()?;
        self.vacant.push(index);
        Some(session)
    }

    pub fn get(&self, index: u32) -> Option<&Session> {
        self.places.get(index as usize)?.as_deref()
    }

    pub fn get_mut(&mut self, index: u32) -> Option<&mut Session> {
        self.places.get_mut(index as usize)?.as_deref_mut()
    }

    pub fn len(&self) -> usize {
        self.places.len() - self.vacant.len()
    }

    /// How many places there are, vacant ones included.
    pub fn places(&self) -> usize {
        self.places.len()
    }

    /// All of them, by their places.
    pub fn indices(&self) -> Vec<u32> {
        let places = self.places.iter().enumerate();
        places.filter(|(_, session)| session.is_some()).map(|(index, _)| index as u32).collect()
    }
}
