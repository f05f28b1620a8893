//! The broker's answers become responses; what must arrive is repeated.

use super::endpoint::{Endpoint, Goal, InFlight, Outgoing, Pending, Reply, What};
use super::{Turn, message_of};
use crate::codec::{encode, encode_empty};
use crate::message::{Kind, Token, number};
use crate::resource::{self, Response};
use crate::transmission::Transmission;
use althing_core::verbs::{Outcome, Refusal};
use althing_core::{Answer, Guarantee, Request};
use bytes::Bytes;
use std::sync::Arc;

impl Endpoint {
    /// What the broker says.
    pub fn answer(&mut self, answer: Answer, turn: &mut Turn<'_, '_>) {
        match answer {
            Answer::Connected(_) => {
                self.is_connected = true;
                let held = self.pending.iter_mut().filter_map(|pending| pending.held.take());
                turn.out.requests.extend(held.map(|request| (self.peer, request)));
            }
            Answer::Published { correlation, guarantee, outcome } => {
                if guarantee == Guarantee::ExactlyOnce {
                    turn.out.requests.push_back((self.peer, Request::Release { token: correlation }));
                }
                let Some(Pending { reply, goal: Goal::Publish(success), .. }) = self.take_pending(correlation) else {
                    return;
                };
                let response = match outcome {
                    Ok(_) => Response::new(success),
                    Err(refusal) => Response::refusal(&refusal),
                };
                self.respond(reply, response, turn);
            }
            Answer::Fetched { correlation, outcome } => {
                let Some(pending) = self.take_pending(correlation) else { return };
                match pending.goal {
                    Goal::Read(read) => {
                        let response = match outcome {
                            Ok(value) => {
                                let config = &turn.shared.config;
                                resource::representation(turn.now, value.as_deref(), &read, false, config)
                            }
                            Err(refusal) => Response::refusal(&refusal),
                        };
                        self.respond(pending.reply, response, turn);
                    }
                    Goal::Observe(_) => self.first_response(pending.reply, outcome, turn),
                    Goal::Publish(_) => {}
                }
            }
            Answer::Subscribed { correlation, results, .. } => self.subscribed(correlation, &results, turn),
            // Nobody waits for the end of a subscription or of a token, and nothing is received in two steps.
            Answer::Unsubscribed { .. } | Answer::Released { .. } | Answer::Complete { .. } => {}
            // The door has seen to these, and nobody authenticates.
            Answer::Refused(_) | Answer::Close(_) | Answer::Challenge(_) | Answer::Reauthenticated(_) => {}
        }
    }

    pub fn take_pending(&mut self, correlation: u32) -> Option<Pending> {
        let place = self.pending.iter().position(|pending| pending.correlation == correlation)?;
        Some(self.pending.remove(place))
    }

    /// The session is over: everyone who waits or observes hears why.
    pub fn fail_all(&mut self, refusal: &Refusal, turn: &mut Turn<'_, '_>) {
        for pending in std::mem::take(&mut self.pending) {
            self.respond(pending.reply, Response::refusal(refusal), turn);
        }
        for place in 0..self.observations.len() {
            let id = self.take_id();
            let message =
                message_of(Kind::NonConfirmable, id, self.observations[place].token, Response::refusal(refusal));
            turn.out.datagrams.push_with(turn.remote, |bytes| encode(&message, bytes));
        }
    }

    /// A response: with the acknowledgement, or as a message of its own (§5.2).
    pub fn respond(&mut self, reply: Reply, response: Response, turn: &mut Turn<'_, '_>) {
        // What has to arrive is repeated: not to an address that has not proven itself.
        if reply.is_acknowledged && reply.allowance.is_proven() {
            self.outgoing.push_back(Outgoing {
                token: reply.token,
                what: What::Response(response),
                settles: 0,
                is_replaceable: false,
            });
            return self.pump(turn);
        }
        let (kind, id) = match reply.kind {
            Kind::Confirmable if !reply.is_acknowledged => (Kind::Acknowledgement, reply.id),
            _ => (Kind::NonConfirmable, self.take_id()),
        };
        let message = message_of(kind, id, reply.token, response);
        let message = turn.shared.within(reply.allowance, turn.now, turn.remote, message);
        let datagram = turn.out.datagrams.push_with(turn.remote, |bytes| encode(&message, bytes));
        turn.shared.exchanges.complete(turn.remote, reply.id, datagram);
    }

    /// Sends the next confirmable message when none is under way.
    pub fn pump(&mut self, turn: &mut Turn<'_, '_>) {
        while self.in_flight.is_none()
            && let Some(outgoing) = self.outgoing.pop_front()
        {
            let id = self.take_id();
            let (response, ends) = match &outgoing.what {
                What::Response(response) => (response.clone(), false),
                What::Notification(value) => match self.notification(outgoing.token, id, value, turn) {
                    Some(response) => {
                        let ends = !response.code.is_success();
                        (response, ends)
                    }
                    None => {
                        self.settle(outgoing.settles, Outcome::Discard, turn);
                        continue;
                    }
                },
            };
            let Outgoing { token, settles, .. } = outgoing;
            let message = message_of(Kind::Confirmable, id, token, response);
            let datagram = turn.out.datagrams.push_with(turn.remote, |bytes| encode(&message, bytes));
            let datagram = Bytes::copy_from_slice(datagram);
            let shared = &mut *turn.shared;
            let transmission = Transmission::new(turn.now, id, datagram, &shared.config, &mut shared.entropy);
            self.in_flight = Some(InFlight { transmission, token, settles });
            if ends {
                self.end_observation(token, turn);
            }
        }
    }

    /// What a notification of `value` says, under message id `id`.
    pub fn notification(
        &mut self,
        token: Token,
        id: u16,
        value: &Arc<althing_core::Message>,
        turn: &Turn<'_, '_>,
    ) -> Option<Response> {
        let sequence = self.take_sequence();
        let observation = self.observation(token)?;
        observation.last_id = Some(id);
        let mut response =
            resource::representation(turn.now, Some(value), &observation.read, true, &turn.shared.config);
        if response.code.is_success() {
            response.options.add_uint(number::OBSERVE, sequence);
        }
        Some(response)
    }

    /// The other end has what we sent under this id.
    pub fn was_acknowledged(&mut self, id: u16, turn: &mut Turn<'_, '_>) {
        if let Some(arrived) = self.in_flight.take_if(|it| it.transmission.id == id) {
            self.confirmed_ns = Some(turn.now.mono_ns);
            self.heard_ns = turn.now.mono_ns;
            self.settle(arrived.settles, Outcome::Accept, turn);
            self.pump(turn);
        }
    }

    /// The other end does not know what we sent under this id: it no longer observes (RFC 7641 §4.2).
    pub fn was_reset(&mut self, id: u16, turn: &mut Turn<'_, '_>) {
        if let Some(refused) = self.in_flight.take_if(|it| it.transmission.id == id) {
            self.settle(refused.settles, Outcome::Reject, turn);
            self.end_observation(refused.token, turn);
            return self.pump(turn);
        }
        let observation = self.observations.iter().find(|observation| observation.last_id == Some(id));
        if let Some(token) = observation.map(|observation| observation.token) {
            self.end_observation(token, turn);
        }
    }

    /// Its deadline has come: acknowledges what takes long, repeats what is under way.
    pub fn tick(&mut self, turn: &mut Turn<'_, '_>) {
        for pending in self.pending.iter_mut().filter(|it| it.reply.acknowledge_ns <= turn.now.mono_ns) {
            let id = pending.reply.id;
            (pending.reply.acknowledge_ns, pending.reply.is_acknowledged) = (u64::MAX, true);
            let empty = |bytes: &mut Vec<u8>| encode_empty(Kind::Acknowledgement, id, bytes);
            let datagram = turn.out.datagrams.push_with(turn.remote, empty);
            turn.shared.exchanges.complete(turn.remote, id, datagram);
        }
        let due = self.in_flight.as_mut().map(|it| &mut it.transmission);
        let Some(transmission) = due.filter(|it| it.due_ns <= turn.now.mono_ns) else { return };
        match transmission.again(turn.now) {
            Some(datagram) => turn.out.datagrams.push(turn.remote, datagram),
            None => self.is_lost(turn),
        }
    }

    /// Nobody is there any more: nothing is sent and nothing observed.
    fn is_lost(&mut self, turn: &mut Turn<'_, '_>) {
        let in_flight = self.in_flight.take().map(|it| it.settles);
        let waiting = std::mem::take(&mut self.outgoing);
        for settles in in_flight.into_iter().chain(waiting.into_iter().map(|it| it.settles)) {
            self.settle(settles, Outcome::Discard, turn);
        }
        self.confirmed_ns = None;
        while let Some(token) = self.observations.last().map(|observation| observation.token) {
            self.end_observation(token, turn);
        }
    }

    /// A delivery is over; 0 stands for none.
    pub fn settle(&self, number: u32, outcome: Outcome, turn: &mut Turn<'_, '_>) {
        if number != 0 {
            turn.out.requests.push_back((self.peer, Request::Settle { number, outcome }));
        }
    }
}
