//! What the request layer says becomes messages; what must arrive is repeated.

use super::endpoint::{Endpoint, InFlight, Outgoing, Reply};
use super::{Turn, message_of};
use crate::codec::{encode, encode_empty};
use crate::message::{Kind, Token};
use crate::requests::{Conversation, Hall, Notification, Said};
use crate::resources::Response;
use crate::transmission::Transmission;
use althing_core::verbs::Outcome;
use althing_core::{Guarantee, PeerId};
use bytes::Bytes;
use std::collections::VecDeque;

impl Endpoint {
    /// Calls `act` with the conversation of a peer, and sees to what it says and asks.
    pub fn converse(
        &mut self,
        peer: PeerId,
        turn: &mut Turn<'_, '_>,
        act: impl FnOnce(&mut Conversation, &mut Hall<'_>),
    ) {
        let Some(party) = self.parties.iter_mut().find(|party| party.peer == peer) else { return };
        let shared = &mut *turn.shared;
        let mut said = std::mem::take(&mut shared.said);
        let mut hall = Hall { now: turn.now, site: &mut shared.site, asked: &mut shared.asked, said: &mut said };
        act(&mut party.conversation, &mut hall);
        turn.out.requests.extend(shared.asked.drain(..).map(|request| (peer, request)));
        while let Some(next) = said.pop_front() {
            match next {
                Said::Response { request, token, response } => {
                    if let Some(place) = self.replies.iter().position(|reply| reply.request == request) {
                        let reply = self.replies.remove(place);
                        self.respond(peer, reply, token, response, turn);
                    }
                }
                Said::Notification(notification) => self.notify(peer, notification, turn),
                Said::Forget(token) => self.forget(peer, token, turn),
            }
        }
        // The memory is for the next call; a call from within has put back its own meanwhile, and it is empty too.
        turn.shared.said = said;
        self.pump(turn);
    }

    /// A response: with the acknowledgement, or as a message of its own (§5.2).
    fn respond(&mut self, peer: PeerId, reply: Reply, token: Token, response: Response, turn: &mut Turn<'_, '_>) {
        if reply.no_response.suppresses(&response) {
            return self.stay_silent(peer, reply, token, turn);
        }
        // What has to arrive is repeated: not to an address that has not proven itself.
        if reply.is_acknowledged && reply.allowance.is_proven() {
            let (is_notification, settles, is_replaceable) = (false, 0, false);
            return self.outgoing.push_back(Outgoing {
                peer,
                token,
                response,
                is_notification,
                settles,
                is_replaceable,
            });
        }
        let (kind, id) = match reply.kind {
            Kind::Confirmable if !reply.is_acknowledged => (Kind::Acknowledgement, reply.id),
            _ => {
                let id = self.ids.take_for_answer(turn.now, turn.shared.id_clock);
                (Kind::NonConfirmable, id.unwrap_or(reply.id))
            }
        };
        let message = message_of(kind, id, token, response);
        let message = turn.shared.within(reply.allowance, turn.now, turn.remote, message);
        let Some(message) = self.protect(peer, message) else { return };
        let datagram = turn.out.datagrams.push_with(turn.remote, |bytes| encode(&message, bytes));
        turn.shared.exchanges.complete(turn.remote, reply.id, datagram);
    }

    /// Nobody wants to hear the response (RFC 7967 §2): a confirmable request is acknowledged, and that is all.
    fn stay_silent(&mut self, peer: PeerId, reply: Reply, token: Token, turn: &mut Turn<'_, '_>) {
        self.unbind(peer, token);
        if reply.kind == Kind::Confirmable && !reply.is_acknowledged {
            acknowledge(reply.id, turn);
        }
    }

    /// Tells an observer: at once and unconfirmed where that is enough, as long as the address has confirmed something
    /// lately; else when its turn comes, and of what is at most once the newest only.
    fn notify(&mut self, peer: PeerId, notification: Notification, turn: &mut Turn<'_, '_>) {
        let Notification { token, mut response, guarantee, observer_check_s, settles, is_last } = notification;
        let is_of_it = |outgoing: &Outgoing| outgoing.peer == peer && outgoing.token == token;
        let is_under_way = self.in_flight.as_ref().is_some_and(|it| it.peer == peer && it.token == token)
            || self.outgoing.iter().any(is_of_it);
        let is_replaceable = guarantee == Guarantee::AtMostOnce && !is_last;
        let bytes_max = turn.shared.site.common.config.unconfirmed_bytes_max;
        if is_replaceable
            && !is_under_way
            && self.may_hear_unconfirmed(turn.now, observer_check_s, bytes_max)
            && let Some(id) = self.ids.take(turn.now, turn.shared.id_clock)
        {
            return self.tell_unconfirmed(peer, id, token, response, turn);
        }
        if self.in_flight.is_some() || !self.ids.has_one(turn.now, turn.shared.id_clock) {
            // What waits must not pin the buffer that it was read into.
            response.payload = Bytes::copy_from_slice(&response.payload);
        }
        if is_replaceable && let Some(older) = self.outgoing.iter_mut().find(|it| is_of_it(it) && it.is_replaceable) {
            older.response = response;
            return;
        }
        let is_notification = true;
        self.outgoing.push_back(Outgoing { peer, token, response, is_notification, settles, is_replaceable });
    }

    /// Tells somebody something once.
    fn tell_unconfirmed(&mut self, peer: PeerId, id: u16, token: Token, response: Response, turn: &mut Turn<'_, '_>) {
        self.note_told(peer, token, id);
        let message = message_of(Kind::NonConfirmable, id, token, response);
        if let Some(message) = self.protect(peer, message) {
            let datagram = turn.out.datagrams.push_with(turn.remote, |bytes| encode(&message, bytes));
            self.unconfirmed_bytes = self.unconfirmed_bytes.saturating_add(datagram.len());
        }
    }

    /// Drops what was to be told under a token.
    fn forget(&mut self, peer: PeerId, token: Token, turn: &mut Turn<'_, '_>) {
        self.told.retain(|told| told.peer != peer || told.token != token);
        let is_void = |it: &Outgoing| it.peer == peer && it.token == token && it.is_notification;
        let (void, outgoing) = std::mem::take(&mut self.outgoing).into_iter().partition::<VecDeque<_>, _>(is_void);
        self.outgoing = outgoing;
        for outgoing in void {
            self.told_of(peer, outgoing.settles, Outcome::Discard, turn);
        }
    }

    /// Sends the next confirmable message when none is under way, and there is an id for it.
    fn pump(&mut self, turn: &mut Turn<'_, '_>) {
        while self.in_flight.is_none()
            && !self.outgoing.is_empty()
            && let Some(id) = self.ids.take(turn.now, turn.shared.id_clock)
            && let Some(next) = self.outgoing.pop_front()
        {
            self.send(id, next, turn);
        }
    }

    /// Sends a confirmable message for the first time, unless it cannot be protected.
    fn send(&mut self, id: u16, outgoing: Outgoing, turn: &mut Turn<'_, '_>) {
        let Outgoing { peer, token, settles, is_replaceable, .. } = outgoing;
        let Some(datagram) = self.confirmable(id, outgoing) else {
            return self.told_of(peer, settles, Outcome::Discard, turn);
        };
        turn.out.datagrams.push(turn.remote, &datagram);
        let shared = &mut *turn.shared;
        let config = &shared.site.common.config;
        let transmission = Transmission::new(turn.now, id, datagram, config, &mut shared.entropy);
        self.in_flight = Some(InFlight { peer, transmission, token, settles, is_replaceable });
    }

    /// A confirmable message as it is sent; `None` when it cannot be protected.
    fn confirmable(&mut self, id: u16, outgoing: Outgoing) -> Option<Bytes> {
        let Outgoing { peer, token, response, is_notification, .. } = outgoing;
        if is_notification {
            self.note_told(peer, token, id);
        }
        let message = self.protect(peer, message_of(Kind::Confirmable, id, token, response))?;
        let mut datagram = Vec::new();
        encode(&message, &mut datagram);
        Some(datagram.into())
    }

    /// What is under way is out of date and has not arrived: the newer state takes over its repeats, as a message of its own
    /// (RFC 7641 §4.5.2).
    fn supersede(&mut self, turn: &mut Turn<'_, '_>) {
        let Some(older) = self.in_flight.as_ref().filter(|it| it.is_replaceable) else { return };
        let is_newer = |it: &Outgoing| it.peer == older.peer && it.token == older.token && it.is_notification;
        let Some(place) = self.outgoing.iter().position(is_newer) else { return };
        let Some(id) = self.ids.take(turn.now, turn.shared.id_clock) else { return };
        let Some(newer) = self.outgoing.remove(place) else { return };
        let (settles, is_replaceable) = (newer.settles, newer.is_replaceable);
        if let Some(datagram) = self.confirmable(id, newer)
            && let Some(in_flight) = &mut self.in_flight
        {
            in_flight.transmission.supersede(id, datagram);
            (in_flight.settles, in_flight.is_replaceable) = (settles, is_replaceable);
        }
    }

    /// The other end has what we sent under this id.
    pub fn was_acknowledged(&mut self, id: u16, turn: &mut Turn<'_, '_>) {
        if let Some(arrived) = self.in_flight.take_if(|it| it.transmission.id == id) {
            (self.confirmed_ns, self.unconfirmed_bytes) = (Some(turn.now.mono_ns), 0);
            self.heard_ns = turn.now.mono_ns;
            self.told_of(arrived.peer, arrived.settles, Outcome::Accept, turn);
            self.pump(turn);
        }
    }

    /// The other end does not know what we sent under this id: it no longer observes (RFC 7641 §4.2).
    pub fn was_reset(&mut self, id: u16, turn: &mut Turn<'_, '_>) {
        if let Some(refused) = self.in_flight.take_if(|it| it.transmission.id == id) {
            self.told_of(refused.peer, refused.settles, Outcome::Reject, turn);
            self.converse(refused.peer, turn, |conversation, hall| conversation.end_observation(refused.token, hall));
            self.unbind(refused.peer, refused.token);
            return self.pump(turn);
        }
        if let Some(told) = self.told.iter().find(|told| told.id == id).copied() {
            self.converse(told.peer, turn, |conversation, hall| conversation.end_observation(told.token, hall));
            self.unbind(told.peer, told.token);
        }
    }

    /// Its deadline has come: acknowledges what takes long, repeats what is under way.
    pub fn tick(&mut self, turn: &mut Turn<'_, '_>) {
        let now = turn.now;
        for reply in self.replies.iter_mut().filter(|it| it.acknowledge_ns <= now.mono_ns) {
            (reply.acknowledge_ns, reply.is_acknowledged) = (u64::MAX, true);
            acknowledge(reply.id, turn);
        }
        for place in 0..self.parties.len() {
            if self.parties[place].conversation.due_ns() <= turn.now.mono_ns {
                let peer = self.parties[place].peer;
                self.converse(peer, turn, |conversation, hall| conversation.timeout(hall));
            }
        }
        let due = self.in_flight.as_ref().map(|it| &it.transmission).filter(|it| it.due_ns <= turn.now.mono_ns);
        match due.map(Transmission::is_exhausted) {
            Some(true) => return self.is_lost(turn),
            Some(false) => self.repeat(turn),
            None => {}
        }
        self.pump(turn);
    }

    /// Sends once more what is under way.
    fn repeat(&mut self, turn: &mut Turn<'_, '_>) {
        self.supersede(turn);
        let again = self.in_flight.as_mut().and_then(|it| it.transmission.again(turn.now));
        if let Some(datagram) = again {
            turn.out.datagrams.push(turn.remote, datagram);
        }
    }

    /// Nobody is there any more: nothing is sent and nothing observed.
    fn is_lost(&mut self, turn: &mut Turn<'_, '_>) {
        let in_flight = self.in_flight.take().map(|it| (it.peer, it.settles));
        let waiting = std::mem::take(&mut self.outgoing);
        for (peer, settles) in in_flight.into_iter().chain(waiting.into_iter().map(|it| (it.peer, it.settles))) {
            self.told_of(peer, settles, Outcome::Discard, turn);
        }
        self.confirmed_ns = None;
        self.told.clear();
        for place in 0..self.parties.len() {
            let peer = self.parties[place].peer;
            self.converse(peer, turn, |conversation, hall| conversation.end_observations(hall));
        }
        self.unbind_all();
    }

    /// The session of `peer` is about to end: what it was to be told leaves now, once and unconfirmed.
    pub fn say_goodbye(&mut self, peer: PeerId, turn: &mut Turn<'_, '_>) {
        self.in_flight.take_if(|it| it.peer == peer);
        let waiting = std::mem::take(&mut self.outgoing).into_iter();
        let (last, outgoing) = waiting.partition::<VecDeque<_>, _>(|it| it.peer == peer);
        self.outgoing = outgoing;
        for Outgoing { token, response, .. } in last {
            let Some(id) = self.ids.take(turn.now, turn.shared.id_clock) else { break };
            self.tell_unconfirmed(peer, id, token, response, turn);
        }
        self.pump(turn);
    }

    /// What became of a notification; 0 stands for none that anybody waits for.
    fn told_of(&mut self, peer: PeerId, settles: u32, outcome: Outcome, turn: &mut Turn<'_, '_>) {
        if settles != 0 {
            self.converse(peer, turn, |conversation, hall| conversation.told(settles, outcome, hall));
        }
    }
}

/// An empty acknowledgement, which is also what the request gets when it comes again (§4.2).
fn acknowledge(id: u16, turn: &mut Turn<'_, '_>) {
    let empty = |bytes: &mut Vec<u8>| encode_empty(Kind::Acknowledgement, id, bytes);
    let datagram = turn.out.datagrams.push_with(turn.remote, empty);
    turn.shared.exchanges.complete(turn.remote, id, datagram);
}
