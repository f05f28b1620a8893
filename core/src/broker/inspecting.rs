//! What an administrator sees, in bounded slices; see [`inspect`](crate::inspect).

use super::Broker;
use crate::group::Group;
use crate::inspect::{
    MemberView, QueueView, SessionQuery, SessionView, Slice, Standing, SubscriptionQuery, SubscriptionView,
};
use crate::message::Message;
use crate::session::Session;
use crate::time::Now;
use crate::topic::{Filter, Topic};
use crate::verbs::PeerId;
use bytestring::ByteString;
use std::sync::Arc;

/// Members of a queue that are shown.
const MEMBERS_SHOWN_MAX: usize = 100;

impl Broker {
    /// The sessions of this shard that are wanted, from place `from` on; looks at `visits_max` places.
    pub fn inspect_sessions(&self, query: &SessionQuery, from: u64, visits_max: usize) -> Slice<SessionView> {
        let (places, next) = places(from, visits_max, self.sessions.places());
        let sessions = places.filter_map(|index| self.sessions.get(index));
        let items = sessions.filter(|session| is_wanted(session, query)).map(view).collect();
        Slice { items, next }
    }

    /// One session.
    pub fn inspect_session(&self, realm: &str, client: &str) -> Option<SessionView> {
        let index = self.find_session(realm, client)?;
        self.sessions.get(index).map(view)
    }

    /// The subscriptions that are wanted. `from` names a session and how many of its subscriptions have been seen; looks at
    /// about `visits_max` subscriptions and sessions.
    pub fn inspect_subscriptions(
        &self,
        query: &SubscriptionQuery,
        from: u64,
        visits_max: usize,
    ) -> Slice<SubscriptionView> {
        let (mut place, mut seen) = ((from >> 32) as usize, (from & u64::from(u32::MAX)) as usize);
        // One for a session and one for a subscription at least, or a walk would stand still.
        let (mut items, mut visits_left) = (Vec::new(), visits_max.max(2));
        while place < self.sessions.places() && visits_left > 0 {
            visits_left -= 1;
            let session = self.sessions.get(place as u32);
            let wanted = |session: &&Session| query.client.as_ref().is_none_or(|it| *it == session.principal.client);
            let length = match session.filter(wanted) {
                Some(session) => {
                    items.extend(self.subscriptions_of(session, query, seen, visits_left));
                    session.subscriptions_len()
                }
                None => 0,
            };
            let looked_at = length.saturating_sub(seen).min(visits_left);
            visits_left -= looked_at;
            seen += looked_at;
            if seen >= length {
                (place, seen) = (place + 1, 0);
            }
        }
        let next = (place < self.sessions.places()).then_some((place as u64) << 32 | seen as u64);
        Slice { items, next }
    }

    /// The last values that `filter` matches, in the order of their places.
    pub fn inspect_retained(
        &self,
        now: Now,
        filter: Option<&Filter>,
        from: u64,
        visits_max: usize,
    ) -> Slice<Arc<Message>> {
        let (places, next) = places(from, visits_max, self.retained.slots());
        let places = places.start as usize..places.end as usize;
        let messages = self.retained.scan(places, now.mono_ns);
        let items = messages.filter(|message| filter.is_none_or(|filter| filter.matches(&message.topic)));
        Slice { items: items.cloned().collect(), next }
    }

    /// The last value of one topic.
    pub fn inspect_last_value(&self, now: Now, topic: &Topic) -> Option<Arc<Message>> {
        self.retained.get(topic, now.mono_ns).cloned()
    }

    /// Who a connected peer is, and what it has lost; `None` where its session is not of this shard.
    pub fn standing_of(&self, peer: PeerId) -> Option<Standing> {
        let session = self.sessions.get(*self.peers.get(&peer)?)?;
        Some(Standing { name: session.principal.name().cloned(), drops: session.drops })
    }

    /// The queues of this shard whose names begin with `prefix`.
    pub fn inspect_queues(&self, prefix: &str, from: u64, visits_max: usize) -> Slice<QueueView> {
        let (places, next) = places(from, visits_max, self.groups.places());
        let groups = places.filter_map(|index| self.groups.get(index));
        let items = groups.filter(|group| group.filter.text().starts_with(prefix)).map(|group| self.queue_view(group));
        Slice { items: items.collect(), next }
    }

    /// Who speaks through a connection of this shard.
    pub fn client_of(&self, peer: crate::verbs::PeerId) -> Option<&ByteString> {
        let session = self.sessions.get(*self.peers.get(&peer)?)?;
        Some(&session.principal.client)
    }

    fn subscriptions_of(
        &self,
        session: &Session,
        query: &SubscriptionQuery,
        skipped: usize,
        visits_max: usize,
    ) -> Vec<SubscriptionView> {
        let plain = session.subscriptions.iter().filter_map(|(node, position)| {
            let subscriber = self.routes.subscribers(*node).sessions.get(*position as usize)?;
            Some((self.routes.pattern(*node).into(), subscriber.options))
        });
        let shared = session.shared.iter().flat_map(|shared| shared.iter());
        let shared = shared.map(|(filter, options)| (filter.text().clone(), *options));
        let all = plain.chain(shared).skip(skipped).take(visits_max);
        let wanted = all.filter(|(filter, _): &(ByteString, _)| filter.starts_with(&query.prefix[..]));
        let view = |(filter, options)| SubscriptionView {
            realm: session.realm.clone(),
            client: session.principal.client.clone(),
            filter,
            options,
        };
        wanted.map(view).collect()
    }

    fn queue_view(&self, group: &Group) -> QueueView {
        let members = group.members.iter().take(MEMBERS_SHOWN_MAX).map(|member| {
            let session = self.sessions.get(member.session.index).filter(|_| member.session.shard == self.shard);
            MemberView {
                client: session.map(|session| session.principal.client.clone()),
                window: member.window,
                outstanding: member.outstanding,
                lasts: member.lasts,
            }
        });
        QueueView {
            filter: Arc::clone(&group.filter),
            stands: group.stands,
            messages: group.queue.len(),
            bytes: group.queue.bytes(),
            drops: group.drops,
            members_total: group.members.len(),
            members: members.collect(),
        }
    }
}

/// The places of one slice, and where the next one begins.
fn places(from: u64, visits_max: usize, length: usize) -> (std::ops::Range<u32>, Option<u64>) {
    let start = usize::try_from(from).unwrap_or(usize::MAX).min(length);
    let end = start.saturating_add(visits_max.max(1)).min(length);
    (start as u32..end as u32, (end < length).then_some(end as u64))
}

fn is_wanted(session: &Session, query: &SessionQuery) -> bool {
    let SessionQuery { prefix, realm, user, protocol, listener, connected } = query;
    let principal = &session.principal;
    connected.is_none_or(|connected| connected == session.peer.is_some())
        && principal.client.starts_with(&prefix[..])
        && realm.as_ref().is_none_or(|realm| *realm == session.realm)
        && user.as_ref().is_none_or(|user| principal.name() == Some(user))
        && protocol.as_ref().is_none_or(|protocol| protocol[..] == *principal.protocol)
        && listener.as_ref().is_none_or(|listener| listener[..] == *principal.link.listener())
}

fn view(session: &Session) -> SessionView {
    SessionView {
        realm: session.realm.clone(),
        principal: session.principal.clone(),
        peer: session.peer,
        pace: session.pace,
        epoch: session.epoch,
        expiry_s: session.expiry_s,
        ends_ns: session.absence.as_ref().and_then(|absence| absence.ends_ns),
        has_will: session.will.is_some(),
        subscriptions: session.subscriptions_len(),
        queue_messages: session.queue.len(),
        queue_bytes: session.queue.bytes(),
        inflight_messages: session.inflight.len(),
        window: session.window,
        drops: session.drops,
    }
}
