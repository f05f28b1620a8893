//! What is encrypted of a message and what is not (§4.1).

use crate::message::{Code, Message, Options, number};

/// What anyone on the way may see and change (Class U alone, Figure 5; Hop-Limit: RFC 8768 §3). Everything else is
/// encrypted, known or not; there are no options that are authenticated alone (Class I).
fn is_outer(option: u16) -> bool {
    matches!(
        option,
        number::URI_HOST
            | number::URI_PORT
            | number::OSCORE
            | number::HOP_LIMIT
            | number::PROXY_URI
            | number::PROXY_SCHEME
    )
}

/// A message in two parts: the one to encrypt, and the outer one without its ciphertext and OSCORE option.
pub(super) fn split(message: &Message) -> (Options, Message) {
    let mut outer = Message::new(message.kind, outer_code(message), message.id);
    outer.token = message.token;
    let mut inner = Options::default();
    for (option, value) in message.options.iter() {
        match *option {
            number::OSCORE => {}
            // The number of a notification is for those on the way; its Partial IV orders it (§4.1.3.5.2).
            number::OBSERVE => {
                outer.options.add(*option, value.clone());
                let inner_value = if message.code.is_request() { value.clone() } else { Default::default() };
                inner.add(*option, inner_value);
            }
            option if is_outer(option) => outer.options.add(option, value.clone()),
            option => inner.add(option, value.clone()),
        }
    }
    (inner, outer)
}

/// What others see of methods and results: whether something is observed, and nothing else (§4.2).
fn outer_code(message: &Message) -> Code {
    let is_observe = message.options.get(number::OBSERVE).is_some();
    match (message.code.is_request(), is_observe) {
        (true, false) => Code::POST,
        (true, true) => Code::FETCH,
        (false, false) => Code::CHANGED,
        (false, true) => Code::CONTENT,
    }
}

/// The message that was protected: what was encrypted, and of the outer one the options that are outer alone; others
/// there mean nothing (§8.2, step 1).
pub(super) fn join(outer: &Message, code: Code, inner: &Options) -> Message {
    let mut message = Message::new(outer.kind, code, outer.id);
    message.token = outer.token;
    // A proxy that does not observe takes the outer option off, and nobody would hear what is told (§4.1.3.5.1).
    let is_observable = outer.options.get(number::OBSERVE).is_some();
    let inner = inner.iter().filter(|(option, value)| match *option {
        number::OBSERVE if code.is_request() => is_observable || !value.is_empty(),
        number::OBSERVE => is_observable,
        option => !is_outer(option),
    });
    let outer = outer.options.iter().filter(|(option, _)| is_outer(*option) && *option != number::OSCORE);
    for (option, value) in inner.chain(outer) {
        message.options.add(*option, value.clone());
    }
    message
}
