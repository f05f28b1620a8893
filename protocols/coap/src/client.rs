//! The client half: requests, their repeats, and observations, without IO.

use crate::codec::{DecodeError, decode, encode, encode_empty};
use crate::config::CoapConfig;
use crate::message::{Code, Kind, Message, Options, Token, number};
use crate::transmission::Transmission;
use althing_core::time::SECOND_NS;
use althing_core::{Deadline, Entropy, Now};
use bytes::Bytes;
use std::collections::VecDeque;

/// One client's side of its conversation with one server.
#[derive(Debug)]
pub struct Client {
    config: CoapConfig,
    entropy: Entropy,
    next_id: u16,
    next_token: u64,
    requests: Vec<Request>,
    /// Ids of the server's own messages that have been taken: they may come twice (§4.5).
    taken: VecDeque<u16>,
    output: Vec<Vec<u8>>,
}

/// What the server has said, or not said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A response, or a notification of something observed.
    Response {
        /// Names the request.
        token: Token,
        /// What became of it.
        code: Code,
        /// What describes the payload.
        options: Options,
        /// The representation or a sentence.
        payload: Bytes,
        /// Whether more may come under this token (RFC 7641 §4.1).
        is_observed: bool,
    },
    /// The request has been repeated in vain, or was rejected as no message.
    Failed {
        /// Names the request.
        token: Token,
    },
}

/// A request that is not over.
#[derive(Debug)]
struct Request {
    /// As it was asked, until it is answered; `None` after that, and once it was asked again with an Echo option.
    message: Option<Box<Message>>,
    token: Token,
    id: u16,
    /// `None` once it has been acknowledged, or when nobody acknowledges it.
    transmission: Option<Transmission>,
    /// When nothing can come any more; `u64::MAX` once something observed has been heard of.
    expires_ns: u64,
    /// The number and the time of the newest notification; `None` unless something is observed.
    newest: Option<(u32, u64)>,
}

/// How many of the server's ids are remembered.
const TAKEN_MAX: usize = 256;

/// How long a response may take (EXCHANGE_LIFETIME, §4.8.2).
const EXCHANGE_LIFETIME_S: u32 = 247;

/// After this time any number is new (RFC 7641 §3.4).
const REORDERING_NS: u64 = 128 * SECOND_NS;

impl Client {
    /// A client that has said nothing. `entropy` seeds ids and tokens and spreads repeats.
    pub fn new(config: CoapConfig, mut entropy: Entropy) -> Self {
        let (next_id, next_token) = (entropy.next_u64() as u16, entropy.next_u64());
        let (requests, taken, output) = (Vec::new(), VecDeque::new(), Vec::new());
        Self { config, entropy, next_id, next_token, requests, taken, output }
    }

    /// Reads a resource.
    pub fn get(&mut self, now: Now, path: &[&str]) -> Token {
        self.request(now, Kind::Confirmable, Code::GET, path, |_| {})
    }

    /// Replaces a resource: the topic's last value.
    pub fn put(&mut self, now: Now, path: &[&str], payload: impl Into<Bytes>) -> Token {
        let payload = payload.into();
        self.request(now, Kind::Confirmable, Code::PUT, path, |message| message.payload = payload)
    }

    /// Gives a resource something to process: publishes without replacing the last value.
    pub fn post(&mut self, now: Now, path: &[&str], payload: impl Into<Bytes>) -> Token {
        let payload = payload.into();
        self.request(now, Kind::Confirmable, Code::POST, path, |message| message.payload = payload)
    }

    /// Removes a resource: the topic's last value.
    pub fn delete(&mut self, now: Now, path: &[&str]) -> Token {
        self.request(now, Kind::Confirmable, Code::DELETE, path, |_| {})
    }

    /// Reads a resource and wants to hear of its changes (RFC 7641 §2).
    pub fn observe(&mut self, now: Now, path: &[&str]) -> Token {
        self.request(now, Kind::Confirmable, Code::GET, path, |message| message.options.add_uint(number::OBSERVE, 0))
    }

    /// Observes no longer (RFC 7641 §3.6). The response to it is the last one.
    pub fn forget(&mut self, now: Now, token: Token, path: &[&str]) {
        self.requests.retain(|request| request.token != token);
        let finish = |message: &mut Message| {
            message.token = token;
            message.options.add_uint(number::OBSERVE, 1);
        };
        self.request(now, Kind::Confirmable, Code::GET, path, finish);
    }

    /// Any request; `finish` adds options, payload, or another token.
    pub fn request(
        &mut self,
        now: Now,
        kind: Kind,
        code: Code,
        path: &[&str],
        finish: impl FnOnce(&mut Message),
    ) -> Token {
        self.next_id = self.next_id.wrapping_add(1);
        self.next_token = self.next_token.wrapping_add(1);
        let mut message = Message::new(kind, code, self.next_id);
        // Four bytes are more than a client has requests.
        message.token = Token::new(&self.next_token.to_be_bytes()[4..]).unwrap_or_default();
        for segment in path {
            message.options.add(number::URI_PATH, Bytes::copy_from_slice(segment.as_bytes()));
        }
        finish(&mut message);
        let transmission = self.send(now, &message);
        let newest = (message.options.uint(number::OBSERVE) == Some(0)).then_some((0, 0));
        let expires_ns = now.after_s(EXCHANGE_LIFETIME_S);
        let (token, id) = (message.token, message.id);
        let message = Some(Box::new(message));
        self.requests.push(Request { message, token, id, transmission, expires_ns, newest });
        token
    }

    /// Sends a request, and sees to its repeats when it has to arrive.
    fn send(&mut self, now: Now, message: &Message) -> Option<Transmission> {
        let mut datagram = Vec::new();
        encode(message, &mut datagram);
        let transmission = (message.kind == Kind::Confirmable).then(|| {
            let datagram = Bytes::copy_from_slice(&datagram);
            Transmission::new(now, message.id, datagram, &self.config, &mut self.entropy)
        });
        self.output.push(datagram);
        transmission
    }

    /// Asks once more, with what shows the server that we are where we say (RFC 9175 §2.3). False when it was asked with
    /// it already.
    fn ask_again(&mut self, now: Now, place: usize, echo: &Bytes) -> bool {
        let Some(mut message) = self.requests[place].message.take() else { return false };
        self.next_id = self.next_id.wrapping_add(1);
        message.id = self.next_id;
        message.options.add(number::ECHO, echo.clone());
        let transmission = self.send(now, &message);
        let request = &mut self.requests[place];
        (request.id, request.transmission, request.expires_ns) =
            (message.id, transmission, now.after_s(EXCHANGE_LIFETIME_S));
        true
    }

    /// Datagrams for the server, in order; takes them.
    pub fn output(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.output)
    }

    /// A datagram from the server. What is no message is rejected or ignored (§4.2, §4.3).
    pub fn receive(&mut self, now: Now, datagram: &Bytes, events: &mut Vec<Event>) {
        let message = match decode(datagram) {
            Ok(message) => message,
            Err(DecodeError::Malformed { kind: Kind::Confirmable, id, .. }) => return self.say(Kind::Reset, id),
            Err(_) => return,
        };
        match message.kind {
            Kind::Acknowledgement => self.acknowledged(now, message, events),
            Kind::Reset => {
                if let Some(place) = self.requests.iter().position(|request| request.id == message.id) {
                    events.push(Event::Failed { token: self.requests.remove(place).token });
                }
            }
            Kind::Confirmable | Kind::NonConfirmable => self.heard(now, message, events),
        }
    }

    /// Repeats what has not been acknowledged, or gives it up.
    pub fn timeout(&mut self, now: Now, events: &mut Vec<Event>) {
        let output = &mut self.output;
        self.requests.retain_mut(|request| {
            let due = request.transmission.as_mut().filter(|it| it.due_ns <= now.mono_ns);
            let goes_on = match due.map(|transmission| transmission.again(now)) {
                Some(Some(datagram)) => {
                    output.push(datagram.to_vec());
                    true
                }
                Some(None) => false,
                None => request.expires_ns > now.mono_ns,
            };
            if !goes_on {
                events.push(Event::Failed { token: request.token });
            }
            goes_on
        });
    }

    /// When to call [`timeout`](Self::timeout).
    pub fn next_timeout(&self) -> Option<Deadline> {
        let due_ns = |request: &Request| {
            let repeat_ns = request.transmission.as_ref().map_or(u64::MAX, |transmission| transmission.due_ns);
            repeat_ns.min(request.expires_ns)
        };
        let mono_ns = self.requests.iter().map(due_ns).min().filter(|due_ns| *due_ns < u64::MAX)?;
        Some(Deadline { mono_ns, reason: "a request is not answered" })
    }

    /// Requests that are not over, observations among them.
    pub fn requests_len(&self) -> usize {
        self.requests.len()
    }

    fn acknowledged(&mut self, now: Now, message: Message, events: &mut Vec<Event>) {
        let of_it = |request: &&mut Request| request.id == message.id && request.transmission.is_some();
        let Some(request) = self.requests.iter_mut().find(of_it) else { return };
        if message.code == Code::EMPTY {
            request.transmission = None;
        } else if request.token == message.token {
            self.respond(now, message, events);
        }
    }

    /// A message of the server's own: a separate response or a notification.
    fn heard(&mut self, now: Now, message: Message, events: &mut Vec<Event>) {
        let is_known = self.requests.iter().any(|request| request.token == message.token);
        let is_repeat = self.taken.contains(&message.id);
        let is_response = matches!(message.code.class(), 2 | 4 | 5);
        match message.kind {
            _ if !is_response || !(is_known || is_repeat) => return self.say(Kind::Reset, message.id),
            Kind::Confirmable => self.say(Kind::Acknowledgement, message.id),
            _ => {}
        }
        if !is_repeat {
            self.taken.truncate(TAKEN_MAX - 1);
            self.taken.push_front(message.id);
            self.respond(now, message, events);
        }
    }

    fn respond(&mut self, now: Now, message: Message, events: &mut Vec<Event>) {
        let Some(place) = self.requests.iter().position(|request| request.token == message.token) else { return };
        if message.code == Code::UNAUTHORIZED
            && let Some(echo) = message.options.get(number::ECHO)
            && self.ask_again(now, place, echo)
        {
            return;
        }
        let request = &mut self.requests[place];
        (request.message, request.transmission) = (None, None);
        request.expires_ns = u64::MAX;
        let sequence = message.options.uint(number::OBSERVE).filter(|_| message.code.is_success());
        let is_observed = match (&mut request.newest, sequence) {
            (Some(newest), Some(sequence)) => {
                if newest.1 != 0 && !is_newer(*newest, sequence, now.mono_ns) {
                    return;
                }
                *newest = (sequence, now.mono_ns);
                true
            }
            _ => false,
        };
        if !is_observed {
            self.requests.remove(place);
        }
        let Message { token, code, options, payload, .. } = message;
        events.push(Event::Response { token, code, options, payload, is_observed });
    }

    fn say(&mut self, kind: Kind, id: u16) {
        let mut datagram = Vec::new();
        encode_empty(kind, id, &mut datagram);
        self.output.push(datagram);
    }
}

/// Whether a notification is newer than the newest so far: `(number, time)` (RFC 7641 §3.4).
fn is_newer((before, before_ns): (u32, u64), sequence: u32, now_ns: u64) -> bool {
    const HALF: u32 = 1 << 23;
    before < sequence && sequence - before < HALF
        || before > sequence && before - sequence > HALF
        || now_ns > before_ns + REORDERING_NS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_wrap_and_time_makes_any_of_them_new() {
        for (before, sequence, later_s, expected) in [
            (1, 2, 0, true),
            (2, 1, 0, false),
            (2, 2, 0, false),
            (0xff_ffff, 0, 0, true),
            (0, 0xff_ffff, 0, false),
            (2, 1, 129, true),
        ] {
            assert_eq!(is_newer((before, 5), sequence, 5 + later_s * SECOND_NS), expected, "{before} {sequence}");
        }
    }
}
