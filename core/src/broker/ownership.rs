//! Whose a session is: it belongs to the name that its first connection has proven, and nobody else gets near it.

use super::Broker;
use super::clock::TimerKind;
use crate::authorisation::{Because, Principal};
use crate::effects::{Effects, Event};
use crate::identity::Identity;
use crate::link::ClientIdFrom;
use crate::shard::Word;
use crate::time::Now;
use crate::verbs::{Answer, Authentication, Connect, Disconnect, PeerId, Reason, Refusal};
use std::sync::Arc;

/// A connection whose identity is settled, on its way to its session.
#[derive(Clone, Debug)]
pub struct Opening {
    /// What was asked for.
    pub connect: Connect,
    /// Who asks.
    pub identity: Arc<Identity>,
    /// The last step of an enhanced authentication.
    pub authentication: Option<Authentication>,
    /// Whether the peer gave no id of its own.
    pub assigned: bool,
}

impl Broker {
    /// Opens a session where it lives. Where its id is the proven name, its home is known only now.
    pub(super) fn open_at_home(&mut self, now: Now, peer: PeerId, mut opening: Opening, effects: &mut Effects) {
        let connect = &mut opening.connect;
        if connect.link.entrance.client_id == ClientIdFrom::Principal {
            if let Some(name) = &opening.identity.name {
                connect.client = Some(name.clone());
            }
            if let Some(client) = &connect.client {
                if client.len() > self.limits.client_id_bytes_max {
                    let text = "the name is longer than a client id may be, and this listener makes one of the other";
                    return self.refuse(peer, client, Refusal::new(Reason::ClientIdInvalid, text), effects);
                }
                let home = self.home_of_client(&connect.link.entrance.realm, client);
                if home != self.shard {
                    self.away.insert(peer, home);
                    return effects.forward.push((home, Word::Open(peer, Box::new(opening))));
                }
            }
        }
        self.open(now, peer, opening, effects);
    }

    /// Why this principal may not come in, if anything speaks against it.
    pub(super) fn why_not_in(&self, now: Now, principal: &Principal) -> Option<Refusal> {
        match self.policy.shuts_out(principal) {
            Some(Because::Banned) => return Some(Refusal::new(Reason::Banned, "you are banned")),
            Some(_) => return Some(Refusal::new(Reason::NotAuthorised, "nobody of your name is known")),
            None => {}
        }
        let is_over = principal.identity.expires_wall_ms.is_some_and(|expires_wall_ms| expires_wall_ms <= now.wall_ms);
        is_over.then(|| Refusal::new(Reason::NotAuthorised, "the proof of identity has ended"))
    }

    /// Finds the session of this principal's id. It is theirs when it has their very name, or none as they have. One that is
    /// away and was nobody's is in nobody's way: whoever has a name gets a new one in its place.
    ///
    /// # Errors
    /// When it is somebody else's.
    pub(super) fn claim(&mut self, now: Now, principal: &Principal, effects: &mut Effects) -> Result<Claim, Refusal> {
        let (realm, client) = (&principal.link.entrance.realm, &principal.client);
        if let Some(index) = self.find_session(realm, client) {
            // Its time may be over though its timer has not fired.
            self.meet_deadlines(now, index, effects);
        }
        let found = self.find_session(realm, client);
        let Some((index, session)) = found.and_then(|index| Some((index, self.sessions.get(index)?))) else {
            return Ok(Claim::Nothing);
        };
        match (session.principal.name(), principal.name()) {
            (owner, name) if owner == name => Ok(Claim::Own(index)),
            (None, Some(_)) if session.peer.is_none() => Ok(Claim::Vacant(index)),
            _ => Err(Refusal::new(Reason::ClientIdInvalid, "this client id belongs to somebody else")),
        }
    }

    /// A connection has proven its identity once more, under the same name.
    pub(super) fn renew(
        &mut self,
        now: Now,
        peer: PeerId,
        identity: Arc<Identity>,
        step: Option<Authentication>,
        effects: &mut Effects,
    ) {
        let Some(index) = self.peers.get(&peer).copied() else { return };
        let Some(session) = self.sessions.get(index) else { return };
        let client = session.principal.client.clone();
        if session.principal.identity.name != identity.name {
            let text = "a connection keeps the name that it has proven first";
            return self.refuse(peer, &client, Refusal::new(Reason::NotAuthorised, text), effects);
        }
        let principal = Principal { identity, ..session.principal.clone() };
        if let Some(refusal) = self.why_not_in(now, &principal) {
            return self.refuse(peer, &client, refusal, effects);
        }
        let Some(session) = self.sessions.get_mut(index) else { return };
        session.principal = principal;
        session.standing = None;
        let is_live = session.live;
        self.open_account(now, index);
        self.time_proof(now, index);
        self.rights_changed(index);
        if is_live {
            self.announce_window(now, index, effects);
        }
        if let Some(step) = step {
            effects.answers.push((peer, Answer::Reauthenticated(Box::new(step))));
        }
    }

    /// Sets the clock by which the proof of a connection's identity ends.
    pub(super) fn time_proof(&mut self, now: Now, index: u32) {
        let Some(session) = self.sessions.get_mut(index) else { return };
        session.proof_ends_ns = session
            .principal
            .identity
            .expires_wall_ms
            .map(|expires_wall_ms| now.after_ms(expires_wall_ms.saturating_sub(now.wall_ms)));
        if let Some(due_ns) = session.proof_ends_ns {
            self.set_timer(due_ns, index, TimerKind::Proof);
        }
    }

    /// The proof of a connection's identity ends: so does the connection. The session stays for as long as it was to.
    pub(super) fn proof_is_over(&mut self, now: Now, index: u32, effects: &mut Effects) {
        let Some(session) = self.sessions.get(index) else { return };
        let Some(peer) = session.peer else { return };
        if session.principal.identity.expires_wall_ms.is_some_and(|expires_wall_ms| expires_wall_ms > now.wall_ms) {
            // The wall clock was set back.
            return self.time_proof(now, index);
        }
        let (client, reason) = (session.principal.client.clone(), Reason::NotAuthorised);
        let text = "the proof of identity has ended; connect with a new one";
        effects.events.push(Event::Refused { client, reason, why: "the proof of its identity has ended".into() });
        effects.answers.push((peer, Answer::Close(Refusal::new(reason, text))));
        let lost = Disconnect { publish_will: true, session_expiry_s: None, reason };
        self.disconnect(now, peer, index, lost, effects);
    }
}

/// What a connection finds under its client id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    Nothing,
    /// Its own session.
    Own(u32),
    /// One that nobody owns.
    Vacant(u32),
}

impl Claim {
    pub fn session(self) -> Option<u32> {
        match self {
            Self::Nothing => None,
            Self::Own(index) | Self::Vacant(index) => Some(index),
        }
    }
}
