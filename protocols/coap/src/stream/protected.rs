//! OSCORE over reliable carriers (RFC 8613 §4.3: signals are not protected). A connection has one session, and so one security
//! context: that of its first request. What others put on it is refused.

use super::connection::{Connection, Phase, Turn};
use crate::message::{Code, Message, Token, number};
use crate::no_response::NoResponse;
use crate::oscore::Context;
use crate::protection::{Protection, shared_key, unprotect};
use crate::resources::Response;
use bytes::Bytes;
use std::sync::Arc;

impl Connection {
    /// A protected request.
    pub(super) fn protected_request(&mut self, message: &Message, turn: &mut Turn<'_>) {
        let is_proof = |echo: &Bytes| self.challenge.as_ref() == Some(echo);
        let (inner, binding) = match unprotect(&self.site.common.oscore, message, is_proof) {
            Ok(unprotected) => unprotected,
            Err(response) => return self.refuse(message.token, response, turn),
        };
        if !self.is_session_of(&binding.context) {
            let text = "this connection is that of somebody else: open another one for this security context";
            return self.refuse(message.token, Response::error(Code::UNAUTHORIZED, text), turn);
        }
        let is_fresh = binding.is_fresh();
        if let Some(protection) = &mut self.protection {
            protection.bind(inner.token, binding);
        }
        if is_fresh {
            return self.request(&inner, true, turn);
        }
        // Nobody else reads it, and none of an earlier process is the same.
        let mut value = turn.now.wall_ms.to_be_bytes().to_vec();
        value.extend_from_slice(&turn.now.mono_ns.to_be_bytes());
        let mut response = Response::new(Code::UNAUTHORIZED);
        response.options.add(number::ECHO, value.clone());
        self.challenge = Some(value.into());
        self.respond(inner.token, NoResponse::default(), response, true, turn);
    }

    fn refuse(&mut self, token: Token, response: Response, turn: &mut Turn<'_>) {
        self.respond(token, NoResponse::default(), response, false, turn);
    }

    /// Whether the session is that of this context; it becomes that as long as it is nobody's.
    fn is_session_of(&mut self, context: &Arc<Context>) -> bool {
        if let Some(protection) = &self.protection {
            return protection.is_of(context);
        }
        let Some(connect) = self.connect.as_mut().filter(|_| matches!(self.phase, Phase::AwaitRequest)) else {
            return false;
        };
        // The messages themselves say more than what came with the carrier.
        (connect.username, connect.password) = (None, None);
        connect.link.shared_key = Some(shared_key(context));
        self.protection = Some(Protection::new(Arc::clone(context)));
        self.load();
        true
    }
}
