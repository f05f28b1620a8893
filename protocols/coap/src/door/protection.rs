//! OSCORE between the message layer and the requests (RFC 8613 §8): what is repeated and what is recognised as repeated are
//! the protected bytes; what is asked and answered is what they protect.

use super::endpoint::{Endpoint, Party};
use super::{Asked, CoapDoor, Shared};
use crate::exchanges::Seen;
use crate::message::{Message, Token, number};
use crate::oscore::{Binding, Context};
use crate::protection::{Protection, unprotect};
use althing_core::door::Source;
use althing_core::{DoorOut, Now, PeerId};
use bytes::Bytes;
use std::sync::Arc;

impl CoapDoor {
    /// A request as it came, in a datagram of `bytes`.
    pub(super) fn received(
        &mut self,
        now: Now,
        source: Source,
        message: &Message,
        bytes: usize,
        out: &mut DoorOut<'_>,
    ) {
        let remote = source.remote;
        let allowance = self.allowance(now, source, message, bytes);
        let plain = Asked { remote, message, allowance, binding: None };
        if message.options.get(number::OSCORE).is_none() {
            return self.request(now, plain, out);
        }
        if source.is_multicast {
            // That takes keys of a group.
            return;
        }
        match self.shared.exchanges.find(now, remote, message.id) {
            Seen::Never => {}
            Seen::Pending => return,
            Seen::Answered(reply) => return out.datagrams.push(remote, &reply),
        }
        let Shared { site, proofs, .. } = &self.shared;
        let is_proof = |echo: &Bytes| proofs.is_proof(now, remote, echo);
        let (inner, binding) = match unprotect(&site.common.oscore, message, is_proof) {
            Ok(unprotected) => unprotected,
            Err(response) => return self.respond_without_state(now, plain, response, out),
        };
        let (is_fresh, allowance) = (binding.is_fresh(), self.allowance(now, source, &inner, bytes));
        let asked = Asked { remote, message: &inner, allowance, binding: Some(binding) };
        if is_fresh {
            return self.request(now, asked, out);
        }
        let challenge = self.shared.proofs.challenge(now, remote);
        self.respond_without_state(now, asked, challenge, out);
    }
}

impl Endpoint {
    /// Remembers what the answers to a request are bound to.
    pub fn bind(&mut self, peer: PeerId, token: Token, binding: Binding) {
        if let Some(protection) = self.protection(peer) {
            protection.bind(token, binding);
        }
    }

    /// The message as it is sent; `None` when it must not be.
    pub fn protect(&mut self, peer: PeerId, message: Message) -> Option<Message> {
        let party = self.parties.iter_mut().find(|party| party.peer == peer)?;
        match &mut party.protection {
            Some(protection) => protection.protect(&message),
            None => Some(message),
        }
    }

    /// Nothing is said under this token any more.
    pub fn unbind(&mut self, peer: PeerId, token: Token) {
        if let Some(protection) = self.protection(peer) {
            protection.forget(token);
        }
    }

    /// Nothing is said at all any more.
    pub fn unbind_all(&mut self) {
        self.parties.iter_mut().filter_map(|party| party.protection.as_mut()).for_each(Protection::forget_all);
    }

    /// Whether the session's context is not known any more.
    pub fn is_revoked(&self, peer: PeerId) -> bool {
        let party = self.parties.iter().find(|party| party.peer == peer);
        party.and_then(|party| party.protection.as_ref()).is_some_and(Protection::is_revoked)
    }

    fn protection(&mut self, peer: PeerId) -> Option<&mut Protection> {
        self.parties.iter_mut().find(|party| party.peer == peer)?.protection.as_mut()
    }
}

impl Party {
    /// Whether this is the session of the context; of the address itself, for `None`.
    pub fn is_of(&self, context: Option<&Arc<Context>>) -> bool {
        match (&self.protection, context) {
            (Some(protection), Some(context)) => protection.is_of(context),
            (None, None) => true,
            _ => false,
        }
    }
}
