//! Messages to protected messages and back (§8).

use super::classes::{join, split};
use super::context::Context;
use super::cose::{Nonce, additional_data, nonce, open, seal};
use super::errors::{Exhausted, RequestError, ResponseError};
use super::option::CompressedCose;
use crate::codec::{decode_body, encode_body};
use crate::message::{Code, Message, number};
use bytes::Bytes;
use std::sync::Arc;

/// What ties responses to the request that they answer (§5.4), at both ends.
#[derive(Clone, Debug)]
pub struct Binding {
    /// Whose request it is.
    pub context: Arc<Context>,
    additional_data: Vec<u8>,
    /// The request's nonce, which one response may use instead of one of its own (§5.2, §8.3); `None` once it was used, and
    /// for requests that may be replays.
    nonce: Option<Nonce>,
    /// The request's number.
    number: u64,
    /// The newest notification's number, at the client (§7.4.1).
    newest: Option<u64>,
}

impl Binding {
    /// The request has proven by the value of its Echo option that it was made after we were started: what was received before
    /// it does not matter any more (Appendix B.1.2). Does nothing where it is known what was received.
    pub fn is_recent(&mut self) {
        if !self.context.knows_received() {
            self.context.begin_received(self.number);
            self.nonce = Some(nonce(&self.context.credentials.recipient_id, self.number, &self.context.common_iv));
        }
    }

    /// Whether the request is known to be no replay.
    pub fn is_fresh(&self) -> bool {
        self.nonce.is_some()
    }
}

/// Protects a request (§8.1).
///
/// # Errors
/// When no number is left.
pub fn protect_request(context: &Arc<Context>, request: &Message) -> Result<(Message, Binding), Exhausted> {
    let number = context.take_number()?;
    let credentials = &context.credentials;
    let additional_data = additional_data(&credentials.sender_id, number);
    let nonce = nonce(&credentials.sender_id, number, &context.common_iv);
    let cose = CompressedCose {
        partial_iv: Some(number),
        kid: Some(credentials.sender_id.clone()),
        kid_context: credentials.id_context.clone(),
    };
    let outer = protect(context, request, &cose, &nonce, &additional_data);
    let context = Arc::clone(context);
    Ok((outer, Binding { context, additional_data, nonce: Some(nonce), number, newest: None }))
}

/// Takes the protection off a request (§8.2). `find` knows contexts by kid and kid context.
///
/// # Errors
/// When it is not to be carried out.
pub fn unprotect_request(
    request: &Message,
    find: impl FnOnce(&[u8], Option<&[u8]>) -> Option<Arc<Context>>,
) -> Result<(Message, Binding), RequestError> {
    let cose = option_of(request).ok_or(RequestError::Undecodable)?;
    let (Some(number), Some(kid)) = (cose.partial_iv, &cose.kid) else { return Err(RequestError::Undecodable) };
    let context = find(kid, cose.kid_context.as_deref()).ok_or(RequestError::UnknownContext)?;
    if !context.may_be_fresh(number) {
        return Err(RequestError::Replayed);
    }
    let additional_data = additional_data(kid, number);
    let nonce = nonce(kid, number, &context.common_iv);
    let plaintext = open(&context.recipient_key, &nonce, &additional_data, &request.payload);
    let plaintext = plaintext.ok_or(RequestError::Undecipherable)?;
    if !context.receive(number) {
        return Err(RequestError::Replayed);
    }
    let inner = read(request, plaintext).filter(|inner| inner.code.is_request()).ok_or(RequestError::Undecodable)?;
    let nonce = context.knows_received().then_some(nonce);
    Ok((inner, Binding { context, additional_data, nonce, number, newest: None }))
}

/// Protects a response or a notification (§8.3). The first response goes under the request's nonce; what follows it, all
/// notifications, and what answers a request that may be a replay have numbers of their own.
///
/// # Errors
/// When no number is left.
pub fn protect_response(binding: &mut Binding, response: &Message) -> Result<Message, Exhausted> {
    let context = &binding.context;
    let is_notification = response.options.get(number::OBSERVE).is_some();
    let (cose, nonce) = match binding.nonce.take().filter(|_| !is_notification) {
        Some(nonce) => (CompressedCose::default(), nonce),
        None => {
            let number = context.take_number()?;
            let cose = CompressedCose { partial_iv: Some(number), ..CompressedCose::default() };
            (cose, nonce(&context.credentials.sender_id, number, &context.common_iv))
        }
    };
    Ok(protect(context, response, &cose, &nonce, &binding.additional_data))
}

/// Takes the protection off a response (§8.4).
///
/// # Errors
/// When it is no response to this request, or an old one.
pub fn unprotect_response(binding: &mut Binding, response: &Message) -> Result<Message, ResponseError> {
    if response.options.get(number::OSCORE).is_none() {
        return Err(ResponseError::Unprotected);
    }
    let cose = option_of(response).ok_or(ResponseError::Undecodable)?;
    let context = &binding.context;
    let used = match cose.partial_iv {
        Some(number) if binding.newest.is_some_and(|newest| number <= newest) => return Err(ResponseError::Replayed),
        Some(number) => nonce(&context.credentials.recipient_id, number, &context.common_iv),
        None => binding.nonce.ok_or(ResponseError::Replayed)?,
    };
    let plaintext = open(&context.recipient_key, &used, &binding.additional_data, &response.payload);
    let plaintext = plaintext.ok_or(ResponseError::Undecipherable)?;
    let inner = read(response, plaintext).filter(|it| !it.code.is_request()).ok_or(ResponseError::Undecodable)?;
    match cose.partial_iv {
        None => binding.nonce = None,
        newest => binding.newest = newest,
    }
    Ok(numbered(inner, cose.partial_iv.unwrap_or(0)))
}

/// The number of a notification is the end of its Partial IV (§8.4.2): inside, the option is empty.
fn numbered(mut notification: Message, partial_iv: u64) -> Message {
    if notification.options.get(number::OBSERVE).is_some() {
        notification.options.remove(number::OBSERVE);
        notification.options.add_uint(number::OBSERVE, (partial_iv & 0xff_ffff) as u32);
    }
    notification
}

fn protect(
    context: &Context,
    message: &Message,
    cose: &CompressedCose,
    nonce: &Nonce,
    additional_data: &[u8],
) -> Message {
    let (options, mut outer) = split(message);
    let mut plaintext = vec![message.code.0];
    encode_body(&options, &message.payload, &mut plaintext);
    outer.options.add(number::OSCORE, cose.encode());
    outer.payload = seal(&context.sender_key, nonce, additional_data, &plaintext).into();
    outer
}

/// The message in a plaintext (§5.3).
fn read(outer: &Message, plaintext: Vec<u8>) -> Option<Message> {
    let mut plaintext = Bytes::from(plaintext);
    if plaintext.is_empty() {
        return None;
    }
    let code = Code(plaintext.split_to(1)[0]);
    let (options, payload) = decode_body(plaintext).ok()?;
    let mut message = join(outer, code, &options);
    message.payload = payload;
    Some(message)
}

/// The one OSCORE option of a message that also has a payload (§2).
fn option_of(message: &Message) -> Option<CompressedCose> {
    let mut values = message.options.all(number::OSCORE);
    let value = values.next()?;
    if values.next().is_some() || message.payload.is_empty() {
        return None;
    }
    CompressedCose::decode(value)
}
