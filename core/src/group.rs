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

#[cfg(test)]
mod tests {
    use super::*;
    use Guarantee::{AtLeastOnce, AtMostOnce, ExactlyOnce};

    fn session(index: u32) -> SessionRef {
        SessionRef { shard: 0, index, id: u64::from(index) }
    }

    /// A group with a member for each `(window, lasts)`, all at `ExactlyOnce`.
    fn group(filter: &str, members: &[(u32, bool)]) -> Group {
        let filter = Filter::again(filter).expect("a filter");
        let node = crate::tree::Tree::<crate::routes::Subscribers>::new(1).insert(filter.pattern());
        let mut group = Group::new(Arc::new(filter), node);
        for (index, (window, lasts)) in members.iter().enumerate() {
            group.join(member(index as u32, *window, *lasts));
        }
        group
    }

    fn member(index: u32, window: u32, lasts: bool) -> Member {
        let options = SubscriptionOptions { guarantee: ExactlyOnce, ..SubscriptionOptions::default() };
        Member { session: session(index), principal: Arc::default(), options, window, outstanding: 0, lasts }
    }

    fn chosen(group: &mut Group, guarantee: Guarantee, count: usize) -> Vec<Option<u32>> {
        (0..count).map(|_| group.choose(guarantee, |_, _| true).map(|(session, _)| session.index)).collect()
    }

    #[test]
    fn everyone_gets_a_turn_and_nobody_more_than_it_takes() {
        let mut group = group("$share/g/a", &[(2, false), (0, false), (1, false), (3, false)]);
        let turns = chosen(&mut group, AtLeastOnce, 7);
        assert_eq!(turns, [Some(0), Some(2), Some(3), Some(0), Some(3), Some(3), None]);
        assert!(!group.has_credit());
        assert_eq!(chosen(&mut group, AtMostOnce, 4), [Some(0), Some(2), Some(3), Some(0)], "these are not counted");
        group.member_mut(session(3)).expect("a member").outstanding = 2;
        assert!(group.has_credit());
        assert_eq!(chosen(&mut group, ExactlyOnce, 2), [Some(3), None]);
    }

    #[test]
    fn whoever_may_not_have_a_message_is_passed_over() {
        let mut group = group("$share/g/a", &[(2, false), (2, false), (2, false)]);
        let mut turn = || group.choose(AtLeastOnce, |place, _| place != 1).map(|(session, _)| session.index);
        assert_eq!([turn(), turn(), turn(), turn(), turn()], [Some(0), Some(2), Some(0), Some(2), None]);
    }

    #[test]
    fn how_long_a_member_lasts_may_change() {
        let mut group = group("$share/g/a", &[(1, false)]);
        assert!(!group.is_durable());
        assert!(group.set_window(session(0), 0, true) && group.is_durable());
        assert!(group.set_window(session(0), 5, true) && group.is_durable());
        assert!(group.set_window(session(0), 5, false) && !group.is_durable());
        assert!(!group.set_window(session(1), 5, true) && !group.is_durable(), "nobody's");
        group.join(member(0, 0, true));
        assert!(group.is_durable());
        group.remove(session(0));
        assert!(!group.is_durable() && group.is_idle());
    }

    #[test]
    fn a_message_waits_where_somebody_may_take_it_later() {
        for (filter, members, at_most_once, at_least_once) in [
            ("$share/g/a", &[][..], false, false),
            ("$share/g/a", &[(0, false)], false, false),
            ("$share/g/a", &[(1, false)], false, true),
            ("$share/g/a", &[(0, true)], false, true),
            ("$queue/q", &[], true, true),
        ] {
            let group = group(filter, members);
            let keeps = (group.keeps(AtMostOnce), group.keeps(AtLeastOnce));
            assert_eq!(keeps, (at_most_once, at_least_once), "{filter} with {members:?}");
        }
    }
}
