//! Shared subscriptions and queues: one queue, competing members (MQTT 5.0 §4.8.2).
//!
//! A queue (`$queue/NAME`) is a group that stands: publishing to it makes it, and what waits there does so
//! without members too. It is gone when it is empty and nobody is subscribed.
//!
//! A group lives on the shard that its filter hashes to. A message that a member takes moves into that
//! member's session; when the member leaves before settling it, its shard sends it back, except
//! `ExactlyOnce` deliveries under way, which stay with their member ([MQTT-4.8.2-4], [MQTT-4.8.2-5]).
//!
//! In the store an entry moves only between queues that outlive their connections, and whoever receives it says
//! so: until then it is where it was. A member that does not last leaves it stored at the group.

use crate::authorisation::Principal;
use crate::message::Guarantee;
use crate::queue::Queue;
use crate::record::QueueKey;
use crate::topic::Filter;
use crate::tree::NodeId;
use crate::verbs::SubscriptionOptions;
use std::sync::Arc;

/// A session, from any shard's view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionRef {
    /// Its home.
    pub shard: u16,
    /// Its place there.
    pub index: u32,
    /// Tells it from a later user of the place.
    pub id: u64,
}

/// One shared subscription's state.
#[derive(Debug)]
pub(crate) struct Group {
    pub filter: Arc<Filter>,
    pub node: NodeId,
    pub members: Vec<Member>,
    /// How many of them outlive their connections.
    lasting: usize,
    /// Where the next choice begins, so that everyone gets a turn.
    turn: usize,
    pub queue: Queue,
    /// Whether it keeps what nobody takes, even without a member: a queue (`$queue/NAME`).
    pub stands: bool,
    /// Messages that were dropped on their way into it.
    pub drops: u64,
}

/// One member.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its session.
    pub session: SessionRef,
    /// Who it is: its group gives it only what it may have.
    pub principal: Arc<Principal>,
    /// Its terms.
    pub options: SubscriptionOptions,
    /// Unsettled messages that it takes at once; 0 while it is away or slow.
    pub window: u32,
    /// Those that it has.
    pub outstanding: u32,
    /// Whether the session outlives its connection: then messages wait for it.
    pub lasts: bool,
}

impl Group {
    pub fn new(filter: Arc<Filter>, node: NodeId) -> Self {
        let stands = filter.is_queue();
        Self { filter, node, members: Vec::new(), lasting: 0, turn: 0, queue: Queue::default(), stands, drops: 0 }
    }

    /// The name of its queue.
    pub fn key(&self) -> QueueKey {
        QueueKey::Group(self.filter.text().clone())
    }

    pub fn member_mut(&mut self, session: SessionRef) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.session == session)
    }

    /// Adds a member or changes its terms.
    pub fn join(&mut self, joining: Member) {
        match self.member_mut(joining.session) {
            Some(member) => *member = Member { outstanding: member.outstanding, ..joining },
            None => self.members.push(joining),
        }
        self.count_lasting();
    }

    pub fn remove(&mut self, session: SessionRef) {
        self.members.retain(|member| member.session != session);
        self.count_lasting();
    }

    /// A member came, went, or changed how long it lasts. Returns whether it is one.
    pub fn set_window(&mut self, session: SessionRef, window: u32, lasts: bool) -> bool {
        let Some(member) = self.member_mut(session) else { return false };
        let lasted = std::mem::replace(&mut member.lasts, lasts);
        member.window = window;
        if lasts != lasted {
            self.count_lasting();
        }
        true
    }

    fn count_lasting(&mut self) {
        self.lasting = self.members.iter().filter(|member| member.lasts).count();
    }

    /// Whether what it takes on must outlive the process: somebody may come back for it, or it stands.
    pub fn is_durable(&self) -> bool {
        self.stands || self.lasting > 0
    }

    /// Whether a member is connected.
    pub fn is_attended(&self) -> bool {
        self.members.iter().any(|member| member.window > 0)
    }

    /// Whether a member could take a message now.
    pub fn has_credit(&self) -> bool {
        self.members.iter().any(|member| member.outstanding < member.window)
    }

    /// The next member in turn that may and can take a message, with its credit already taken. `may` is asked with the
    /// member's place.
    pub fn choose(
        &mut self,
        guarantee: Guarantee,
        may: impl Fn(usize, &Member) -> bool,
    ) -> Option<(SessionRef, SubscriptionOptions)> {
        let count = self.members.len();
        for step in 0..count {
            let index = (self.turn + step) % count;
            let member = &mut self.members[index];
            let counted = guarantee.min(member.options.guarantee) != Guarantee::AtMostOnce;
            if member.window > 0 && (!counted || member.outstanding < member.window) && may(index, member) {
                member.outstanding += u32::from(counted);
                self.turn = (index + 1) % count;
                return Some((member.session, member.options));
            }
        }
        None
    }

    /// Whether a message that nobody can take now waits here. What goes to a queue has arrived there,
    /// whatever its guarantee.
    pub fn keeps(&self, guarantee: Guarantee) -> bool {
        self.stands || (guarantee > Guarantee::AtMostOnce && (self.lasting > 0 || self.is_attended()))
    }

    /// Whether nobody is there and nothing is to be kept for anybody.
    pub fn is_idle(&self) -> bool {
        self.members.is_empty() && (!self.stands || self.queue.is_empty())
    }
}
