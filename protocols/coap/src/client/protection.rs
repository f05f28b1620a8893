//! The client half inside OSCORE (RFC 8613 §8.1, §8.4): what is asked is protected, and nothing else counts as an answer.

use super::{Client, Event, Request};
use crate::message::{Code, Message, Token, number};
use crate::oscore::{Binding, Context, protect_request, unprotect_response};
use std::sync::Arc;

/// What the responses to a request are bound to, by the tokens that they may come under: the request's own, as long as more may
/// come under it, and that of its message under way.
pub(super) type Bindings = Vec<(Token, Binding)>;

impl Client {
    /// Protects every request by this context. While it has no numbers to send under, requests wait.
    pub fn with_oscore(mut self, context: Arc<Context>) -> Self {
        self.context = Some(context);
        self
    }

    /// Whether a request could leave, as far as protecting it goes.
    pub(super) fn can_protect(&self) -> bool {
        self.context.as_ref().is_none_or(|context| context.has_numbers())
    }

    /// The message of the request at `place` as it leaves. Pings are about the conversation alone and stay as they are.
    pub(super) fn protect(&mut self, place: usize, message: Message) -> Message {
        let Some(context) = self.context.as_ref().filter(|_| message.code != Code::EMPTY) else { return message };
        // The caller has seen that there are numbers.
        let Ok((outer, binding)) = protect_request(context, &message) else { return message };
        let request = &mut self.requests[place];
        let own = request.message.token;
        request.bindings.retain(|(token, _)| *token == own && *token != message.token);
        request.bindings.push((message.token, binding));
        outer
    }

    /// A response to the request at `place` without its protection; `None` for what is not to be believed.
    pub(super) fn unprotect(&mut self, place: usize, response: Message, events: &mut Vec<Event>) -> Option<Message> {
        if self.context.is_none() {
            return Some(response);
        }
        let Request { bindings, message, .. } = &mut self.requests[place];
        let (_, binding) = bindings.iter_mut().find(|(token, _)| *token == response.token)?;
        let is_protected = response.options.get(number::OSCORE).is_some();
        if is_protected || response.code.is_success() {
            return unprotect_response(binding, &response).ok();
        }
        // Whoever cannot take the protection off says so without any (§8.2). Anybody could, but then the request is lost anyway.
        let token = message.token;
        let text = String::from_utf8_lossy(&response.payload).into_owned();
        events.push(Event::Unprotected { token, code: response.code, text });
        self.requests.remove(place);
        None
    }
}
