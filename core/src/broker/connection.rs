//! Connections come and go; sessions stay as long as they were asked to.

use super::clock::TimerKind;
use super::ownership::{Claim, Opening};
use super::{Broker, Pace};
use crate::authorisation::{Action, Principal, authorise};
use crate::bucket::Bucket;
use crate::effects::{Effects, Event, Verdict, Verify};
use crate::link::Link;
use crate::queue::Queue;
use crate::record::{QueueKey, Record, StoredWill};
use crate::session::{Absence, Session, Then};
use crate::time::Now;
use crate::verbs::{Answer, Authentication, Connect, Connected, Disconnect, PeerId, Reason, Refusal, Will};
use bytestring::ByteString;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::Arc;

/// An authentication under way: of a new connection, or (`None`) of one that stands.
#[derive(Debug)]
pub(crate) struct Exchange {
    connect: Option<Box<Connect>>,
    method: Option<ByteString>,
}

impl Broker {
    pub(super) fn connect(&mut self, peer: PeerId, mut connect: Connect, effects: &mut Effects) {
        if let Some(client) = &connect.client
            && client.len() > self.limits.client_id_bytes_max
        {
            let text = format!("client ids end at {} bytes here", self.limits.client_id_bytes_max);
            return self.refuse(peer, "", Refusal::new(Reason::ClientIdInvalid, text), effects);
        }
        let authentication = connect.authentication.take();
        effects.verify.push(Verify {
            peer,
            link: connect.link.clone(),
            protocol: connect.protocol,
            client: connect.client.clone().unwrap_or_default(),
            username: connect.username.clone(),
            password: connect.password.take(),
            authentication: authentication.clone(),
            first: true,
        });
        let method = authentication.map(|step| step.method);
        self.exchanges.insert(peer, Exchange { connect: Some(Box::new(connect)), method });
    }

    /// A further step, or the first of a re-authentication (§4.12.1).
    pub(super) fn authenticate(&mut self, peer: PeerId, step: Authentication, effects: &mut Effects) {
        let first = !self.exchanges.contains_key(&peer);
        if first && !self.peers.contains_key(&peer) {
            return;
        }
        let exchange =
            self.exchanges.entry(peer).or_insert_with(|| Exchange { connect: None, method: Some(step.method.clone()) });
        if exchange.method.as_ref() != Some(&step.method) {
            self.exchanges.remove(&peer);
            let text = "the authentication method changed in the middle of the exchange";
            return self.refuse(peer, "", Refusal::new(Reason::ProtocolError, text), effects);
        }
        let session = self.peers.get(&peer).and_then(|index| self.sessions.get(*index));
        let (link, protocol, client) = match (&exchange.connect, session) {
            (Some(connect), _) => (connect.link.clone(), connect.protocol, connect.client.clone().unwrap_or_default()),
            (None, Some(session)) => {
                (session.principal.link.clone(), session.principal.protocol, session.principal.client.clone())
            }
            (None, None) => return,
        };
        effects.verify.push(Verify {
            peer,
            link,
            protocol,
            client,
            username: exchange.connect.as_ref().and_then(|connect| connect.username.clone()),
            password: None,
            authentication: Some(step),
            first,
        });
    }

    pub(super) fn conclude(&mut self, now: Now, peer: PeerId, verdict: Verdict, effects: &mut Effects) {
        let Some(exchange) = self.exchanges.remove(&peer) else { return };
        let step = |data| exchange.method.clone().map(|method| Authentication { method, data });
        match verdict {
            Verdict::Continue(data) => {
                if let Some(step) = step(data) {
                    effects.answers.push((peer, Answer::Challenge(Box::new(step))));
                    self.exchanges.insert(peer, exchange);
                }
            }
            Verdict::Refuse { refusal, why } => {
                let client = exchange.connect.and_then(|connect| connect.client).unwrap_or_default();
                let why = why.map_or_else(|| refusal.to_string(), |why| format!("{refusal}: {why}"));
                self.refuse_because(peer, &client, refusal, &why, effects);
            }
            Verdict::Accept { identity, data } => {
                let step = step(data);
                match exchange.connect {
                    Some(connect) => {
                        let assigned = connect.client.is_none();
                        let opening = Opening { connect: *connect, identity, authentication: step, assigned };
                        self.open_at_home(now, peer, opening, effects);
                    }
                    None => self.renew(now, peer, identity, step, effects),
                }
            }
        }
    }

    pub(super) fn refuse(&mut self, peer: PeerId, client: &str, refusal: Refusal, effects: &mut Effects) {
        let why = refusal.to_string();
        self.refuse_because(peer, client, refusal, &why, effects);
    }

    /// The same, where the log may know more than the peer.
    fn refuse_because(&mut self, peer: PeerId, client: &str, refusal: Refusal, why: &str, effects: &mut Effects) {
        let why = format!("connection refused: {why}");
        self.statistics.connections_refused += 1;
        effects.events.push(Event::Refused { client: client.into(), reason: refusal.reason, why });
        effects.answers.push((peer, Answer::Refused(refusal)));
    }

    /// Opens or resumes a session for a peer whose identity is settled.
    pub(super) fn open(&mut self, now: Now, peer: PeerId, opening: Opening, effects: &mut Effects) {
        let Opening { mut connect, identity, authentication, assigned } = opening;
        if connect.link.listener().is_empty() {
            // Without a name it would count as nobody who is here, but as somebody who is remembered.
            connect.link = Link::new(connect.link.remote, "unnamed");
        }
        let client = match connect.client.take() {
            Some(client) => ByteString::from(&client[..]),
            None => self.assign_client_id(&connect.link.entrance.realm),
        };
        if let Err(refusal) = self.mount_will(&mut connect) {
            return self.refuse(peer, &client, refusal, effects);
        }
        let link = connect.link.clone();
        let principal = Principal { identity, client: client.clone(), protocol: connect.protocol, link };
        if let Some(refusal) = self.why_not_in(now, &principal) {
            return self.refuse(peer, &client, refusal, effects);
        }
        if let Some(will) = &connect.will
            && authorise(&self.policy, &principal, &will.message, |message| Action::will(message)).is_err()
        {
            let text = format!("the will may not be published to {}", will.message.topic);
            return self.refuse(peer, &client, Refusal::new(Reason::NotAuthorised, text), effects);
        }
        let claim = match self.claim(now, &principal, effects) {
            Ok(claim) => claim,
            Err(refusal) => return self.refuse(peer, &client, refusal, effects),
        };
        if let Err(refusal) = self.may_connect(&principal, connect.will.as_deref(), claim.session()) {
            return self.refuse(peer, &client, refusal, effects);
        }
        let takeovers = match self.may_take_over(now, claim.session()) {
            Ok(takeovers) => takeovers,
            Err(refusal) => return self.refuse(peer, &client, refusal, effects),
        };
        if let Some(index) = claim.session() {
            self.take_over(now, index, effects);
        }
        // That ends a session that was not to outlive its connection.
        let found = self.find_session(&connect.link.entrance.realm, &client);
        let resumed = found.filter(|_| !connect.clean_start && matches!(claim, Claim::Own(_)));
        if let (Some(index), None) = (found, resumed) {
            self.end_session(now, index, effects);
        }
        if resumed.is_none() && self.sessions.len() >= self.limits.sessions_max {
            let text = "the broker holds as many sessions as it may";
            return self.refuse(peer, &client, Refusal::new(Reason::QuotaExceeded, text), effects);
        }
        let index = resumed.unwrap_or_else(|| self.insert_session(&connect.link.entrance.realm, principal.clone()));
        let session_expiry_s = self.attach(now, peer, index, connect, principal.clone(), effects);
        if let Some(session) = self.sessions.get_mut(index) {
            session.takeovers = takeovers;
        }
        self.time_proof(now, index);
        self.rights_changed(index);
        effects.events.push(Event::Connected { peer, principal, resumed: resumed.is_some() });
        let connected = Connected {
            session_present: resumed.is_some(),
            response_information: Some(format!("reply/{client}").into()),
            client,
            assigned,
            session_expiry_s,
            authentication,
        };
        self.answer(now, index, (0, 0), Answer::Connected(Box::new(connected)), Then::Resume, effects);
    }

    /// An id that nobody has and whose home is here: the client will come back with it.
    fn assign_client_id(&mut self, realm: &str) -> ByteString {
        loop {
            let client: ByteString = format!("auto-{:016x}", self.entropy.next_u64()).into();
            let home_is_here = self.shards == 1 || self.home_of_client(realm, &client) == self.shard;
            if home_is_here && self.find_session(realm, &client).is_none() {
                return client;
            }
        }
    }

    pub(super) fn find_session(&self, realm: &str, client: &str) -> Option<u32> {
        let hash = self.hasher.hash_one((realm, client));
        let sessions = &self.sessions;
        let same = |index: &u32| {
            sessions.get(*index).is_some_and(|session| session.principal.client == *client && session.realm == *realm)
        };
        self.by_key.find(hash, same).copied()
    }

    pub(super) fn insert_session(&mut self, realm: &str, principal: Principal) -> u32 {
        let id = self.next_id;
        self.next_id += 1;
        let hash = self.hasher.hash_one((realm, &principal.client[..]));
        let index = self.sessions.insert(Session {
            realm: ByteString::from(realm),
            principal,
            id,
            epoch: 0,
            peer: None,
            live: false,
            pace: Pace::Ready,
            draining: false,
            resending: false,
            drops: 0,
            refusals: 0,
            unheard: 0,
            takeovers: Bucket::default(),
            allowance: None,
            is_metered: false,
            is_mounted: false,
            pressed_ns: None,
            separate_subscriptions: false,
            expiry_s: 0,
            stored: false,
            window: 0,
            next_number: 1,
            number_max: 1,
            origin: None,
            subscriptions: HashMap::with_hasher(FixedState::default()),
            shared: None,
            queue: Queue::default(),
            judged_epoch: 0,
            standing: None,
            proof_ends_ns: None,
            inflight: VecDeque::new(),
            tokens: Vec::new(),
            will: None,
            absence: None,
            pending: VecDeque::new(),
            snapshots: VecDeque::new(),
        });
        let (sessions, hasher) = (&self.sessions, &self.hasher);
        self.by_key.insert_unique(hash, index, |index| match sessions.get(*index) {
            Some(session) => hasher.hash_one((&session.realm[..], &session.principal.client[..])),
            None => 0,
        });
        index
    }

    /// Ties a connection to its session; returns the session expiry that holds.
    fn attach(
        &mut self,
        now: Now,
        peer: PeerId,
        index: u32,
        connect: Connect,
        principal: Principal,
        effects: &mut Effects,
    ) -> u32 {
        let expiry_s = connect.session_expiry_s.min(self.limits.session_expiry_s_max);
        let epoch = self.next_id;
        self.next_id += 1;
        self.peers.insert(peer, index);
        let Some(session) = self.sessions.get_mut(index) else { return expiry_s };
        session.epoch = epoch;
        session.is_mounted = !principal.link.entrance.mount_point.is_empty();
        session.principal = principal;
        session.standing = None;
        session.origin = None;
        session.peer = Some(peer);
        self.open_account(now, index);
        let Some(session) = self.sessions.get_mut(index) else { return expiry_s };
        let inflight_max = session.allowance.as_ref().and_then(|allowance| allowance.quota.inflight_max);
        session.live = false;
        session.pace = Pace::Ready;
        session.expiry_s = expiry_s;
        session.stored |= session.lasts();
        let inflight_max = inflight_max.unwrap_or(u16::MAX).min(self.limits.inflight_max);
        session.window = connect.window.min(inflight_max).max(1);
        session.number_max = connect.number_max.max(1);
        session.separate_subscriptions = connect.separate_subscriptions;
        session.will = connect.will.map(|will| Box::new(stored_will(*will)));
        session.absence = None;
        self.sign_will(index);
        self.record_session(index, effects);
        expiry_s
    }

    /// Says what holds of a session, if the store knows it.
    pub(super) fn record_session(&mut self, index: u32, effects: &mut Effects) {
        if let Some(session) = self.sessions.get(index).filter(|session| session.stored) {
            effects.store.push(Record::Session(Box::new(session.fact())));
        }
    }

    /// Another connection wants this session: the old one is told and cut off (§3.1.4, [MQTT-3.1.4-3]).
    fn take_over(&mut self, now: Now, index: u32, effects: &mut Effects) {
        let Some(peer) = self.sessions.get(index).and_then(|session| session.peer) else { return };
        let refusal = Refusal::new(Reason::SessionTakenOver, "another connection uses this client id");
        effects.answers.push((peer, Answer::Close(refusal)));
        let lost = Disconnect { publish_will: true, session_expiry_s: None, reason: Reason::SessionTakenOver };
        self.disconnect(now, peer, index, lost, effects);
    }

    pub(super) fn disconnect(
        &mut self,
        now: Now,
        peer: PeerId,
        index: u32,
        disconnect: Disconnect,
        effects: &mut Effects,
    ) {
        self.peers.remove(&peer);
        self.exchanges.remove(&peer);
        let Some(session) = self.sessions.get_mut(index) else { return };
        session.peer = None;
        session.live = false;
        session.pressed_ns = None;
        session.pending.clear();
        session.snapshots.clear();
        let principal = session.principal.clone();
        let known = session.stored.then(|| session.fact());
        // Of a session that was not to outlive its connection too little was kept to begin now (§3.14.2.2.2).
        if let Some(expiry_s) = disconnect.session_expiry_s.filter(|_| session.lasts()) {
            session.expiry_s = expiry_s.min(self.limits.session_expiry_s_max);
        }
        if !disconnect.publish_will || self.closing {
            session.will = None;
        }
        let lasts = session.lasts();
        effects.events.push(Event::Disconnected { peer, principal, reason: disconnect.reason });
        self.return_group_entries(now, index, effects);
        if !lasts {
            return self.end_session(now, index, effects);
        }
        self.forget_at_most_once(index);
        self.let_go(index);
        self.count_use(index);
        self.begin_absence(now, index, effects);
        // A session that never ends and has no will is to the store what it was.
        if known != self.sessions.get(index).map(Session::fact) {
            self.record_session(index, effects);
        }
    }

    /// The clocks of a session without a connection start: it ends after its expiry, and its will is due at the end of
    /// the delay or of the session, whichever comes first (§3.1.3.2.2).
    fn begin_absence(&mut self, now: Now, index: u32, effects: &mut Effects) {
        let Some(session) = self.sessions.get_mut(index) else { return };
        let ends_ns = (session.expiry_s < u32::MAX).then(|| now.after_s(session.expiry_s));
        let delay_s = session.will.as_ref().map(|will| will.delay_s);
        let will_due_ns = delay_s.map(|delay_s| now.after_s(delay_s));
        session.absence = Some(Box::new(Absence { ends_ns, will_due_ns }));
        if delay_s == Some(0) {
            self.publish_will(now, index, effects);
        }
        self.set_absence_timers(index);
    }

    pub(super) fn set_absence_timers(&mut self, index: u32) {
        let Some(session) = self.sessions.get(index) else { return };
        let Some(Absence { ends_ns, will_due_ns }) = session.absence.as_deref().copied() else { return };
        let will_due_ns = will_due_ns.filter(|_| session.will.is_some());
        if let Some(due_ns) = will_due_ns {
            self.set_timer(due_ns, index, TimerKind::Will);
        }
        if let Some(due_ns) = ends_ns {
            self.set_timer(due_ns, index, TimerKind::Expiry);
        }
    }

    /// Does what is due though its timer has not fired.
    pub(super) fn meet_deadlines(&mut self, now: Now, index: u32, effects: &mut Effects) {
        let Some(absence) = self.sessions.get(index).and_then(|session| session.absence.as_deref().copied()) else {
            return;
        };
        let is_due = |due_ns: Option<u64>| due_ns.is_some_and(|due_ns| due_ns <= now.mono_ns);
        if is_due(absence.ends_ns) {
            self.statistics.sessions_expired += 1;
            self.end_session(now, index, effects);
        } else if is_due(absence.will_due_ns) {
            self.publish_will(now, index, effects);
        }
    }

    /// The session is over: its will is due, everything it held is let go.
    pub(super) fn end_session(&mut self, now: Now, index: u32, effects: &mut Effects) {
        self.publish_will(now, index, effects);
        self.drop_subscriptions(now, index, effects);
        self.close_account(now, index);
        let Some(session) = self.sessions.get(index) else { return };
        let hash = self.hasher.hash_one((&session.realm[..], &session.principal.client[..]));
        if let Ok(entry) = self.by_key.find_entry(hash, |other| *other == index) {
            entry.remove();
        }
        let Some(session) = self.sessions.remove(index) else { return };
        self.statistics.queued_messages -= session.queue.len() as u64;
        self.statistics.queued_bytes -= session.queue.bytes() as u64;
        self.statistics.inflight_messages -= session.inflight.len() as u64;
        record_end(&session, effects);
    }

    /// Publishes the session's will, if it has one, with the rights that its owner has now.
    pub(super) fn publish_will(&mut self, now: Now, index: u32, effects: &mut Effects) {
        let Some(session) = self.sessions.get_mut(index) else { return };
        let Some(will) = session.will.take() else { return };
        if let Some(absence) = &mut session.absence {
            absence.will_due_ns = None;
        }
        let mut message = Arc::unwrap_or_clone(will.message);
        message.expires_ns = will.expiry_s.map(|expiry_s| now.after_s(expiry_s));
        if let Err(refusal) = self.publish_as_will(now, index, message, effects) {
            let client = self.sessions.get(index).map(|session| session.principal.client.clone()).unwrap_or_default();
            let (reason, why) = (refusal.reason, format!("the will was not published: {refusal}"));
            effects.events.push(Event::Refused { client, reason, why });
        }
    }
}

fn stored_will(will: Will) -> StoredWill {
    let Will { message, delay_s, expiry_s } = will;
    StoredWill { message: Arc::new(message), delay_s, expiry_s }
}

/// The store forgets a session, whose subscriptions have been forgotten. What it gave back to its groups is theirs.
fn record_end(session: &Session, effects: &mut Effects) {
    // These stay with the session that began to receive them, and end with it ([MQTT-4.8.2-5]).
    for entry in session.inflight.iter().filter_map(|inflight| inflight.entry.as_ref()) {
        if entry.group.is_some() {
            effects.store.extend(session.settled(entry));
        }
    }
    if !session.stored {
        return;
    }
    let key = session.key();
    for token in &session.tokens {
        effects.store.push(Record::TokenReleased { session: key.clone(), token: *token });
    }
    effects.store.push(Record::QueueClosed(QueueKey::Session(key.clone())));
    effects.store.push(Record::SessionClosed(key));
}
