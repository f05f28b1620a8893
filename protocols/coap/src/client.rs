//! The client half: requests, their repeats, their blocks, and observations, without IO.
//!
//! A [`Client`] speaks over datagrams, UDP or DTLS ([`Client::new`]), or over a connection (RFC 8323): TCP and TLS
//! ([`Client::on_stream`]), WebSocket ([`Client::on_websocket`]). What is asked and what is heard is the same.

mod connection;
mod protection;
mod renewal;
mod transfer;

use crate::block::SIZE_EXPONENT_MAX;
use crate::codec::{DecodeError, decode, encode, encode_empty};
use crate::config::CoapConfig;
use crate::message::{Code, Kind, Message, Options, Token, number};
use crate::oscore::Context;
use crate::transmission::Transmission;
use althing_core::time::SECOND_NS;
use althing_core::{Deadline, Entropy, Now};
use bytes::Bytes;
use connection::Connection;
use protection::Bindings;
use renewal::Renewal;
use std::collections::VecDeque;
use std::sync::Arc;
use transfer::{Progress, Room, Transfer};

/// One client's side of its conversation with one server.
#[derive(Debug)]
pub struct Client {
    config: CoapConfig,
    entropy: Entropy,
    next_id: u16,
    next_token: u64,
    requests: Vec<Request>,
    /// Ids of the server's own messages that have been taken, and when: they may come twice (§4.5).
    taken: VecDeque<(u16, u64)>,
    output: Vec<Vec<u8>>,
    /// `None` over datagrams.
    connection: Option<Connection>,
    /// The exponent of the blocks that were asked for (RFC 7959 §2.2).
    block_exponent: Option<u8>,
    /// NSTART (§4.7): confirmable messages that wait for their acknowledgement.
    interactions_max: usize,
    /// What protects requests and responses (RFC 8613); `None` without OSCORE.
    context: Option<Arc<Context>>,
    /// Whether observations are registered anew.
    renews: bool,
}

/// What the server has said, or not said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A response, or a notification of something observed, with everything that came in blocks.
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
    /// The request has arrived, and no response was wanted (No-Response, RFC 7967).
    Acknowledged {
        /// Names the request.
        token: Token,
    },
    /// The server is there.
    Pong {
        /// Names the ping.
        token: Token,
    },
    /// The request has been repeated in vain, or was rejected as no message.
    Failed {
        /// Names the request.
        token: Token,
    },
    /// What came makes no whole.
    Broken {
        /// Names the request.
        token: Token,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The server says, without protection, that it does not take the protected request (RFC 8613 §8.2).
    Unprotected {
        /// Names the request.
        token: Token,
        /// What it calls that.
        code: Code,
        /// Why, in its words.
        text: String,
    },
    /// The server ends the connection, or has sent what is no message (RFC 8323 §5.5, §5.6). Nothing more will come.
    Closed {
        /// A sentence for people.
        text: String,
    },
}

/// A request that is not over.
#[derive(Debug)]
struct Request {
    /// As it was asked; its token names it. A ping is the empty message.
    message: Message,
    transfer: Transfer,
    /// Whether its next message waits for its turn.
    is_waiting: bool,
    /// The message that waits for its response.
    exchange: Option<Exchange>,
    bindings: Bindings,
    /// Whether it was asked again with an Echo option (RFC 9175 §2.3).
    is_echoed: bool,
    /// The number and the time of the newest notification; `None` unless something is observed.
    newest: Option<(u32, u64)>,
    /// `None` unless something is observed that is to be renewed.
    renewal: Option<Renewal>,
}

/// One message and its response.
#[derive(Debug)]
struct Exchange {
    token: Token,
    id: u16,
    /// `None` once it has been acknowledged, or when nobody acknowledges it.
    transmission: Option<Transmission>,
    /// When nothing can come any more.
    expires_ns: u64,
}

/// How many of the server's ids are remembered.
const TAKEN_MAX: usize = 256;

/// How long a response may take (EXCHANGE_LIFETIME, §4.8.2).
const EXCHANGE_LIFETIME_S: u32 = 247;

/// After this time any number is new (RFC 7641 §3.4).
const REORDERING_NS: u64 = 128 * SECOND_NS;

impl Client {
    /// A client over datagrams that has said nothing. `entropy` seeds ids and tokens and spreads repeats.
    pub fn new(config: CoapConfig, mut entropy: Entropy) -> Self {
        let (next_id, next_token) = (entropy.next_u64() as u16, entropy.next_u64());
        Self {
            config,
            entropy,
            next_id,
            next_token,
            requests: Vec::new(),
            taken: VecDeque::new(),
            output: Vec::new(),
            connection: None,
            block_exponent: None,
            interactions_max: usize::MAX,
            context: None,
            renews: false,
        }
    }

    /// Blocks of this size both ways, from the first message on: a power of two from 16 to 1,024. `None` for another size.
    pub fn with_block_bytes(mut self, block_bytes: usize) -> Option<Self> {
        let is_size = block_bytes.is_power_of_two() && (16..=1_024).contains(&block_bytes);
        self.block_exponent = Some(is_size.then(|| block_bytes.trailing_zeros() as u8 - 4)?);
        Some(self)
    }

    /// No more confirmable messages at a time than this (NSTART, §4.7: 1 where nothing else is known); the others wait.
    pub fn with_interactions_max(mut self, interactions_max: usize) -> Self {
        self.interactions_max = interactions_max.max(1);
        self
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
        self.requests.retain(|request| request.message.token != token);
        let finish = |message: &mut Message| {
            message.token = token;
            message.options.add_uint(number::OBSERVE, 1);
        };
        self.request(now, Kind::Confirmable, Code::GET, path, finish);
    }

    /// Observes no longer, with the same words as the request had; false when there is no such request.
    pub fn cancel(&mut self, now: Now, token: Token) -> bool {
        let Some(place) = self.requests.iter().position(|request| request.message.token == token) else { return false };
        let asked = self.requests.remove(place).message;
        self.request(now, asked.kind, asked.code, &[], |message| {
            for (number, value) in asked.options.iter().filter(|(number, _)| *number != number::OBSERVE) {
                message.options.add(*number, value.clone());
            }
            message.options.add_uint(number::OBSERVE, 1);
            (message.token, message.payload) = (token, asked.payload);
        });
        true
    }

    /// Any request; `finish` adds options, payload, or another token. A payload of any length: blocks are made of it.
    pub fn request(
        &mut self,
        now: Now,
        kind: Kind,
        code: Code,
        path: &[&str],
        finish: impl FnOnce(&mut Message),
    ) -> Token {
        let mut message = Message { token: self.new_token(), ..Message::new(kind, code, 0) };
        for segment in path {
            message.options.add(number::URI_PATH, Bytes::copy_from_slice(segment.as_bytes()));
        }
        finish(&mut message);
        let newest = (message.options.uint(number::OBSERVE) == Some(0)).then_some((0, 0));
        let token = message.token;
        self.requests.push(Request {
            message,
            transfer: Transfer::default(),
            is_waiting: true,
            exchange: None,
            bindings: Bindings::new(),
            is_echoed: false,
            newest,
            renewal: None,
        });
        self.go_on(now);
        token
    }

    /// Asks whether the server is there: an empty message, which is rejected (§4.3), or Ping (RFC 8323 §5.4).
    pub fn ping(&mut self, now: Now) -> Token {
        self.request(now, Kind::Confirmable, Code::EMPTY, &[], |_| {})
    }

    /// What the server is to get, in order; takes it. Over datagrams each is one.
    pub fn output(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.output)
    }

    /// What the server has sent: a datagram, a message of WebSocket, or any bytes of a stream. What is no message is
    /// rejected or ignored (§4.2, §4.3), and ends a connection.
    pub fn receive(&mut self, now: Now, bytes: &Bytes, events: &mut Vec<Event>) {
        if self.connection.is_some() {
            return self.receive_on_connection(now, bytes, events);
        }
        let message = match decode(bytes) {
            Ok(message) => message,
            Err(DecodeError::Malformed { kind: Kind::Confirmable, id, .. }) => return self.say(Kind::Reset, id),
            Err(_) => return,
        };
        match message.kind {
            Kind::Acknowledgement => self.acknowledged(now, message, events),
            Kind::Reset => self.rejected(message.id, events),
            Kind::Confirmable | Kind::NonConfirmable => self.heard(now, message, events),
        }
        self.go_on(now);
    }

    /// Repeats what has not been acknowledged, or gives it up.
    pub fn timeout(&mut self, now: Now, events: &mut Vec<Event>) {
        let output = &mut self.output;
        self.requests.retain_mut(|request| {
            let Some(exchange) = &mut request.exchange else { return true };
            let due = exchange.transmission.as_mut().filter(|it| it.due_ns <= now.mono_ns);
            let goes_on = match due.map(|transmission| transmission.again(now)) {
                Some(Some(datagram)) => {
                    output.push(datagram.to_vec());
                    true
                }
                Some(None) => false,
                None => exchange.expires_ns > now.mono_ns,
            };
            if !goes_on {
                events.push(Event::Failed { token: request.message.token });
            }
            goes_on
        });
        self.renew(now);
        self.go_on(now);
    }

    /// When to call [`timeout`](Self::timeout).
    pub fn next_timeout(&self) -> Option<Deadline> {
        let due_ns = |exchange: &Exchange| {
            let repeat_ns = exchange.transmission.as_ref().map_or(u64::MAX, |transmission| transmission.due_ns);
            repeat_ns.min(exchange.expires_ns)
        };
        let exchanges = self.requests.iter().filter_map(|request| request.exchange.as_ref());
        let idle = self.requests.iter().filter(|request| request.exchange.is_none() && !request.is_waiting);
        let renewals = idle.filter_map(|request| request.renewal.as_ref()).map(|renewal| renewal.due_ns);
        let mono_ns = exchanges.map(due_ns).chain(renewals).min()?;
        Some(Deadline { mono_ns, reason: "a request is not answered" })
    }

    /// Requests that are not over, observations among them.
    pub fn requests_len(&self) -> usize {
        self.requests.len()
    }

    /// Sends what waits for its turn, as far as there is room for it.
    fn go_on(&mut self, now: Now) {
        for place in 0..self.requests.len() {
            if self.requests[place].is_waiting && self.may_send() {
                self.send_next(now, place);
            }
        }
    }

    fn may_send(&self) -> bool {
        match &self.connection {
            _ if !self.can_protect() => false,
            Some(connection) => connection.is_ready(),
            None => {
                let exchanges = self.requests.iter().filter_map(|request| request.exchange.as_ref());
                exchanges.filter(|exchange| exchange.transmission.is_some()).count() < self.interactions_max
            }
        }
    }

    /// The next message of a request.
    fn send_next(&mut self, now: Now, place: usize) {
        let room = self.room();
        let fresh = self.new_token();
        self.next_id = self.next_id.wrapping_add(1);
        let request = &mut self.requests[place];
        // What is observed has its token to itself (RFC 7959 §2.6).
        let token = if request.transfer.has_begun() { fresh } else { request.message.token };
        let mut message = request.transfer.message(&request.message, room);
        request.add_etag(&mut message);
        (message.token, message.id) = (token, self.next_id);
        let message = self.protect(place, message);
        let transmission = self.send(now, &message);
        let exchange = Exchange { token, id: message.id, transmission, expires_ns: now.after_s(EXCHANGE_LIFETIME_S) };
        let request = &mut self.requests[place];
        (request.exchange, request.is_waiting) = (Some(exchange), false);
    }

    /// Sends a message, and sees to its repeats when it has to arrive.
    fn send(&mut self, now: Now, message: &Message) -> Option<Transmission> {
        if let Some(connection) = &self.connection {
            self.output.push(connection.encode(message));
            return None;
        }
        let mut datagram = Vec::new();
        match message.code {
            Code::EMPTY => encode_empty(message.kind, message.id, &mut datagram),
            _ => encode(message, &mut datagram),
        }
        let transmission = (message.kind == Kind::Confirmable).then(|| {
            let datagram = Bytes::copy_from_slice(&datagram);
            Transmission::new(now, message.id, datagram, &self.config, &mut self.entropy)
        });
        self.output.push(datagram);
        transmission
    }

    fn room(&self) -> Room {
        let exponent = self.block_exponent;
        match &self.connection {
            Some(connection) => connection.room(exponent),
            None => {
                let is_asked_for = exponent.is_some();
                let exponent = exponent.unwrap_or(SIZE_EXPONENT_MAX);
                Room { whole_bytes_max: 16 << exponent, exponent, bert_bytes: 16 << exponent, is_asked_for }
            }
        }
    }

    fn new_token(&mut self) -> Token {
        self.next_token = self.next_token.wrapping_add(1);
        // Four bytes are more than a client has requests.
        Token::new(&self.next_token.to_be_bytes()[4..]).unwrap_or_default()
    }

    /// The request whose message under way has this id.
    fn under_way(&self, id: u16) -> Option<usize> {
        let has_id = |exchange: &Exchange| exchange.id == id;
        self.requests.iter().position(|request| request.exchange.as_ref().is_some_and(has_id))
    }

    fn rejected(&mut self, id: u16, events: &mut Vec<Event>) {
        let Some(place) = self.under_way(id) else { return };
        let Message { code, token, .. } = self.requests.remove(place).message;
        events.push(if code == Code::EMPTY { Event::Pong { token } } else { Event::Failed { token } });
    }

    fn acknowledged(&mut self, now: Now, message: Message, events: &mut Vec<Event>) {
        let Some(place) = self.under_way(message.id) else { return };
        let Request { message: asked, exchange: Some(exchange), .. } = &mut self.requests[place] else { return };
        if exchange.transmission.is_none() {
            return;
        }
        if message.code == Code::EMPTY {
            exchange.transmission = None;
            if asked.options.uint(number::NO_RESPONSE).is_some_and(|kinds| kinds > 0) {
                events.push(Event::Acknowledged { token: asked.token });
                self.requests.remove(place);
            }
        } else if exchange.token == message.token {
            self.respond(now, message, events);
        }
    }

    /// A message of the server's own: a separate response or a notification.
    fn heard(&mut self, now: Now, message: Message, events: &mut Vec<Event>) {
        let is_known = self.place_of(message.token).is_some();
        let is_remembered = |at_ns: u64| now.mono_ns < at_ns + u64::from(EXCHANGE_LIFETIME_S) * SECOND_NS;
        let is_repeat = self.taken.iter().any(|(id, at_ns)| *id == message.id && is_remembered(*at_ns));
        let is_response = matches!(message.code.class(), 2 | 4 | 5);
        match message.kind {
            _ if !is_response || !(is_known || is_repeat) => return self.say(Kind::Reset, message.id),
            Kind::Confirmable => self.say(Kind::Acknowledgement, message.id),
            _ => {}
        }
        if !is_repeat {
            self.taken.truncate(TAKEN_MAX - 1);
            self.taken.push_front((message.id, now.mono_ns));
            self.respond(now, message, events);
        }
    }

    /// The request that a response with this token is for.
    fn place_of(&self, token: Token) -> Option<usize> {
        let is_of = |request: &Request| {
            let is_observed = request.newest.is_some_and(|(_, at_ns)| at_ns != 0);
            request.exchange.as_ref().is_some_and(|exchange| exchange.token == token)
                || (is_observed && request.message.token == token)
        };
        self.requests.iter().position(is_of)
    }

    fn respond(&mut self, now: Now, response: Message, events: &mut Vec<Event>) {
        let Some(place) = self.place_of(response.token) else { return };
        let Some(response) = self.unprotect(place, response, events) else { return };
        // The numbers of OSCORE's messages are an order of their own (RFC 8613 §7.4.1).
        let is_reliable = self.connection.is_some() || self.context.is_some();
        let request = &mut self.requests[place];
        let echo = response.options.get(number::ECHO).filter(|_| response.code == Code::UNAUTHORIZED);
        if let Some(echo) = echo.filter(|_| !request.is_echoed) {
            request.message.options.add(number::ECHO, echo.clone());
            (request.is_echoed, request.is_waiting, request.exchange) = (true, true, None);
            return;
        }
        if response.token == request.message.token && !request.note_sequence(now, &response, is_reliable) {
            return;
        }
        request.exchange = None;
        let (token, kind) = (request.message.token, response.kind);
        match request.transfer.take(&request.message, response) {
            Progress::Again => request.is_waiting = true,
            Progress::Whole(whole) => {
                let is_observed = request.newest.is_some();
                let is_renewed = is_observed && self.renews && self.connection.is_none();
                if is_renewed && !request.note_told(now, kind, &whole, &mut self.entropy) {
                    return;
                }
                let Message { code, options, payload, .. } = whole;
                if !is_observed {
                    self.requests.remove(place);
                }
                events.push(Event::Response { token, code, options, payload, is_observed });
            }
            Progress::Broken(why) => {
                self.requests.remove(place);
                events.push(Event::Broken { token, why });
            }
        }
    }

    fn say(&mut self, kind: Kind, id: u16) {
        let mut datagram = Vec::new();
        encode_empty(kind, id, &mut datagram);
        self.output.push(datagram);
    }
}

impl Request {
    /// Takes note of the order of a notification; false for one that is older than the newest. What is reliable keeps the
    /// order itself, as connections do (RFC 8323 §7.1).
    fn note_sequence(&mut self, now: Now, response: &Message, is_reliable: bool) -> bool {
        let Some(newest) = self.newest.filter(|_| response.code != Code::CONTINUE) else { return true };
        let sequence = response.options.uint(number::OBSERVE).filter(|_| response.code.is_success());
        if let Some(sequence) = sequence {
            if !is_reliable && newest.1 != 0 && !is_newer(newest, sequence, now.mono_ns) {
                return false;
            }
            self.newest = Some((sequence, now.mono_ns));
        } else {
            self.newest = None;
        }
        // The rest of an older one is of no use any more.
        self.transfer.begin_anew();
        true
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
