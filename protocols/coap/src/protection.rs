//! OSCORE between the message layers and the requests (RFC 8613 §8): what is asked and answered is what the messages protect.

use crate::message::{Code, Message, Token, number};
use crate::oscore::{Binding, Context, Contexts, protect_response, unprotect_request};
use crate::resources::Response;
use althing_core::link::{SharedKey, SharedKeyKind};
use bytes::Bytes;
use std::sync::Arc;

/// What protects the messages of a session.
#[derive(Debug)]
pub(crate) struct Protection {
    context: Arc<Context>,
    /// By tokens: the requests that are not answered for the last time.
    bindings: Vec<(Token, Binding)>,
}

impl Protection {
    /// Nothing has been asked yet.
    pub fn new(context: Arc<Context>) -> Self {
        Self { context, bindings: Vec::new() }
    }

    /// Whether it is that of this context.
    pub fn is_of(&self, context: &Arc<Context>) -> bool {
        Arc::ptr_eq(&self.context, context)
    }

    /// Whether the context is not known any more.
    pub fn is_revoked(&self) -> bool {
        self.context.is_revoked()
    }

    /// Remembers what the answers to a request are bound to.
    pub fn bind(&mut self, token: Token, binding: Binding) {
        self.forget(token);
        self.bindings.push((token, binding));
    }

    /// The message as it is sent; `None` when it must not be.
    pub fn protect(&mut self, message: &Message) -> Option<Message> {
        if self.is_revoked() {
            return None;
        }
        let (_, binding) = self.bindings.iter_mut().find(|(token, _)| *token == message.token)?;
        let protected = protect_response(binding, message).ok();
        if message.options.get(number::OBSERVE).is_none() {
            self.forget(message.token);
        }
        protected
    }

    /// Nothing is said under this token any more.
    pub fn forget(&mut self, token: Token) {
        self.bindings.retain(|(other, _)| *other != token);
    }

    /// Nothing is said at all any more.
    pub fn forget_all(&mut self) {
        self.bindings.clear();
    }
}

/// Takes the protection off a request. `is_proof` says whether the value of its Echo option shows that it was made after we were
/// started; the binding knows whether that is still to be shown (Appendix B.1.2).
pub(crate) fn unprotect(
    contexts: &Contexts,
    message: &Message,
    is_proof: impl FnOnce(&Bytes) -> bool,
) -> Result<(Message, Binding), Response> {
    let unprotected = unprotect_request(message, |kid, context| contexts.find(kid, context));
    let (inner, mut binding) = unprotected.map_err(|error| error.response())?;
    if !binding.context.has_numbers() {
        return Err(Response::error(Code::SERVICE_UNAVAILABLE, "no sequence numbers could be reserved"));
    }
    if inner.options.get(number::ECHO).is_some_and(is_proof) {
        binding.is_recent();
    }
    Ok((inner, binding))
}

/// How the holder of a context is known in the house.
pub(crate) fn shared_key(context: &Arc<Context>) -> Arc<SharedKey> {
    Arc::new(SharedKey { kind: SharedKeyKind::Oscore, name: context.credentials.name.as_str().into() })
}
