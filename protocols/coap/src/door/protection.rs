//! OSCORE between the message layer and the requests (RFC 8613 §8): what is repeated and what is recognised as repeated are
//! the protected bytes; what is asked and answered is what they protect.

use super::endpoint::{Endpoint, Party};
use super::{Asked, CoapDoor};
use crate::exchanges::Seen;
use crate::message::{Code, Message, Token, number};
use crate::oscore::{Binding, Context, protect_response, unprotect_request};
use crate::resources::Response;
use althing_core::door::Source;
use althing_core::link::{SharedKey, SharedKeyKind};
use althing_core::{DoorOut, Now, PeerId};
use std::sync::Arc;

/// What protects the messages of a session.
#[derive(Debug)]
pub(super) struct Protection {
    context: Arc<Context>,
    /// By tokens: the requests that are not answered for the last time.
    bindings: Vec<(Token, Binding)>,
}

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
        let contexts = &self.shared.site.common.oscore;
        let (inner, mut binding) = match unprotect_request(message, |kid, context| contexts.find(kid, context)) {
            Ok(unprotected) => unprotected,
            Err(error) => return self.respond_without_state(now, plain, error.response(), out),
        };
        if !binding.context.has_numbers() {
            let response = Response::error(Code::SERVICE_UNAVAILABLE, "no sequence numbers could be reserved");
            return self.respond_without_state(now, plain, response, out);
        }
        let echo = inner.options.get(number::ECHO);
        if echo.is_some_and(|echo| self.shared.proofs.is_proof(now, remote, echo)) {
            binding.is_recent();
        }
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
            protection.forget(token);
            protection.bindings.push((token, binding));
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
        self.parties.iter_mut().filter_map(|party| party.protection.as_mut()).for_each(|it| it.bindings.clear());
    }

    /// Whether the session's context is not known any more.
    pub fn is_revoked(&self, peer: PeerId) -> bool {
        let party = self.parties.iter().find(|party| party.peer == peer);
        party.and_then(|party| party.protection.as_ref()).is_some_and(|it| it.context.is_revoked())
    }

    fn protection(&mut self, peer: PeerId) -> Option<&mut Protection> {
        self.parties.iter_mut().find(|party| party.peer == peer)?.protection.as_mut()
    }
}

impl Party {
    /// Whether this is the session of the context; of the address itself, for `None`.
    pub fn is_of(&self, context: Option<&Arc<Context>>) -> bool {
        match (&self.protection, context) {
            (Some(protection), Some(context)) => Arc::ptr_eq(&protection.context, context),
            (None, None) => true,
            _ => false,
        }
    }
}

impl Protection {
    pub fn new(context: Arc<Context>) -> Self {
        Self { context, bindings: Vec::new() }
    }

    fn protect(&mut self, message: &Message) -> Option<Message> {
        if self.context.is_revoked() {
            return None;
        }
        let (_, binding) = self.bindings.iter_mut().find(|(token, _)| *token == message.token)?;
        let protected = protect_response(binding, message).ok();
        if message.options.get(number::OBSERVE).is_none() {
            self.forget(message.token);
        }
        protected
    }

    fn forget(&mut self, token: Token) {
        self.bindings.retain(|(other, _)| *other != token);
    }
}

/// How the holder of a context is known in the house.
pub(super) fn shared_key(context: &Arc<Context>) -> Arc<SharedKey> {
    Arc::new(SharedKey { kind: SharedKeyKind::Oscore, name: context.credentials.name.as_str().into() })
}
