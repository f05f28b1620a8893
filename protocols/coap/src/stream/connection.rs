//! One connection, whatever carries it: a session with the broker, and one conversation. Whose session it is, is what the carrier
//! has proven, or the security context of OSCORE that protects the first request (see `protected`).

use crate::codec::stream::{encode, encode_whole, encoded_bytes};
use crate::common::Common;
use crate::message::{Code, Kind, Message, Token, number};
use crate::no_response::NoResponse;
use crate::protection::Protection;
use crate::requests::{Carriage, Conversation, Cut, Hall, Notification, RequestId, Said, Site};
use crate::resources::{self, Response, Wanted};
use crate::signalling::{Capabilities, Csm, Custody, Signal};
use althing_core::hash::seeded;
use althing_core::time::{MILLISECOND_NS, SECOND_NS};
use althing_core::verbs::{Connect, Outcome, Reason, Refusal};
use althing_core::{Answer, Close, Delivery, Now, OutBuffer, Request, WholeMessage};
use bytes::Bytes;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) site: Site,
    conversation: Conversation,
    pub(super) phase: Phase,
    /// What the session is opened with, once it is known whose it is.
    pub(super) connect: Option<Box<Connect>>,
    /// What protects the session's messages; `None` = nothing but what protects the carrier, if that.
    pub(super) protection: Option<Protection>,
    /// The value of the Echo option that was asked for (RFC 9175 §2.2).
    pub(super) challenge: Option<Bytes>,
    /// What the client takes.
    peer: Capabilities,
    /// The largest message that is taken here.
    message_bytes_max: usize,
    is_csm_sent: bool,
    /// Of a Ping that is answered when everything before it has been seen to.
    custody: Option<Token>,
    /// Requests whose responses the client does not want to hear all of.
    unwanted: Vec<(RequestId, NoResponse)>,
}

impl Drop for Connection {
    /// However it ends, what the client held of what all share is free again.
    fn drop(&mut self) {
        self.conversation.leave(&mut self.site);
    }
}

/// What OSCORE adds to a message at most: its option, the tag, the code (RFC 8613 §2).
const PROTECTION_BYTES: usize = 32;

/// AES-CCM with a nonce of 13 bytes takes less than 64 KiB (RFC 3610 §2.1).
const PROTECTED_BYTES_MAX: usize = 60 << 10;

/// Where a connection stands.
#[derive(Debug)]
pub(super) enum Phase {
    /// The client's first message has not come.
    AwaitCsm,
    /// The first request says whose session it is.
    AwaitRequest,
    /// The broker decides on the session; messages wait.
    AwaitBroker,
    /// The session stands.
    Ready,
    /// It does not: whatever needs it is answered with this, for a while.
    Refused(Box<Refusal>),
    /// The client wants to end this: nothing more is read, and what it has asked for is answered.
    Leaving,
}

/// One call: the moment, and where the results go.
pub(super) struct Turn<'a> {
    pub now: Now,
    pub messages: Messages<'a>,
    pub requests: &'a mut VecDeque<Request>,
}

/// Where messages for the client go.
pub(super) enum Messages<'a> {
    Bytes(&'a mut OutBuffer),
    Whole(&'a mut VecDeque<WholeMessage>),
}

impl Messages<'_> {
    fn put(&mut self, message: &Message) {
        match self {
            Self::Bytes(out) => encode(message, out),
            Self::Whole(out) => {
                let mut bytes = Vec::with_capacity(encoded_bytes(message));
                encode_whole(message, &mut bytes);
                out.push_back(WholeMessage { is_text: false, bytes: bytes.into() });
            }
        }
    }
}

impl Connection {
    /// A connection that begins. `connect` opens its session; `message_bytes_max` bounds what is taken from the client.
    pub fn new(address: Option<IpAddr>, common: Arc<Common>, connect: Connect, message_bytes_max: usize) -> Self {
        let window = common.limits.inflight_max.max(1);
        // Tables keyed by addresses have one entry here.
        let site = Site::new(common, seeded(0));
        Self {
            site,
            conversation: Conversation::new(address),
            phase: Phase::AwaitCsm,
            connect: Some(Box::new(Connect { window, ..connect })),
            protection: None,
            challenge: None,
            peer: Capabilities::default(),
            message_bytes_max,
            is_csm_sent: false,
            custody: None,
            unwanted: Vec::new(),
        }
    }

    pub fn common(&self) -> &Common {
        &self.site.common
    }

    /// The largest message that is taken now: nobody sends a large one who has not said who it is.
    pub fn message_bytes_max(&self) -> usize {
        match self.phase {
            Phase::Ready | Phase::Leaving => self.message_bytes_max,
            _ => self.message_bytes_max.min(self.common().limits.packet_bytes_before_connect_max),
        }
    }

    /// Whether the next message has to wait for an answer of the broker. A client cannot be told how many requests it
    /// may have open, so the excess waits in the carrier.
    pub fn must_wait(&self) -> bool {
        matches!(self.phase, Phase::AwaitBroker | Phase::Leaving)
            || self.custody.is_some()
            || self.conversation.pending_len() >= self.common().config.pending_per_endpoint_max.max(1)
    }

    /// Whether the client still has to do something before it is served.
    pub fn is_opening(&self) -> bool {
        matches!(self.phase, Phase::AwaitCsm | Phase::AwaitRequest | Phase::Refused(_))
    }

    /// One message of the client.
    pub fn receive(&mut self, message: &Message, turn: &mut Turn<'_>) -> Result<(), Close> {
        let is_first = matches!(self.phase, Phase::AwaitCsm);
        match message.code {
            // It keeps the path open, and says nothing (RFC 8323 §5.4).
            Code::EMPTY => Ok(()),
            code if is_first && code != Code::CSM => {
                let text = format!("the first message of a connection is a CSM, not {code} (RFC 8323 §5.3)");
                Err(self.abort(Refusal::new(Reason::ProtocolError, text), None, turn))
            }
            code if code.is_signal() => self.signal(message, turn),
            code if code.is_request() => {
                match message.options.get(number::OSCORE) {
                    Some(_) => self.protected_request(message, turn),
                    None => self.request(message, false, turn),
                }
                Ok(())
            }
            // The response to a request that we never made.
            _ => Ok(()),
        }
    }

    fn signal(&mut self, message: &Message, turn: &mut Turn<'_>) -> Result<(), Close> {
        let signal = match Signal::read(message) {
            Ok(signal) => signal,
            Err(error) => {
                let refusal = Refusal::new(Reason::ProtocolError, error.text);
                return Err(self.abort(refusal, error.bad_csm_option, turn));
            }
        };
        match signal {
            Some(Signal::Csm(csm)) => self.csm(csm, turn),
            Some(Signal::Ping(Custody { token, has_custody })) => {
                if has_custody {
                    self.custody = Some(token);
                } else {
                    turn.messages.put(&Signal::Pong(Custody { token, has_custody }).message());
                }
            }
            Some(Signal::Release { .. }) => self.phase = Phase::Leaving,
            Some(Signal::Abort { text, .. }) => {
                let text = format!("the client aborted the connection: {}", String::from_utf8_lossy(&text));
                return Err(Close { refusal: Refusal::new(Reason::Unspecified, text), publish_will: false });
            }
            Some(Signal::Pong(_)) | None => {}
        }
        self.conclude(turn)
    }

    fn csm(&mut self, csm: Csm, turn: &mut Turn<'_>) {
        self.peer.update(csm);
        self.load();
        if !matches!(self.phase, Phase::AwaitCsm) {
            return;
        }
        self.say_csm(turn);
        self.phase = Phase::AwaitRequest;
        if self.common().oscore.is_empty() {
            self.open(turn);
        }
    }

    /// Says how much one message to the client may hold.
    pub(super) fn load(&mut self) {
        let mut message_bytes_max = self.peer.message_bytes_max.min(self.common().limits.packet_bytes_max);
        if self.protection.is_some() {
            message_bytes_max = message_bytes_max.saturating_sub(PROTECTION_BYTES).min(PROTECTED_BYTES_MAX);
        }
        self.conversation.carriage = Carriage { message_bytes_max, is_reliable: true, has_bert: self.peer.has_bert() };
    }

    /// Opens the session; false when that has been done before.
    pub fn open(&mut self, turn: &mut Turn<'_>) -> bool {
        if !matches!(self.phase, Phase::AwaitRequest) {
            return false;
        }
        turn.requests.extend(self.connect.take().map(Request::Connect));
        self.phase = Phase::AwaitBroker;
        true
    }

    /// Our own CSM, once: nothing leaves before it (RFC 8323 §5.3).
    fn say_csm(&mut self, turn: &mut Turn<'_>) {
        if !std::mem::replace(&mut self.is_csm_sent, true) {
            let message_bytes_max = Some(u32::try_from(self.message_bytes_max).unwrap_or(u32::MAX));
            turn.messages.put(&Signal::Csm(Csm { message_bytes_max, block_wise_transfer: true }).message());
        }
    }

    /// Carries out a request whose protection is off, or that had none.
    pub(super) fn request(&mut self, message: &Message, is_protected: bool, turn: &mut Turn<'_>) {
        let (token, no_response) = (message.token, NoResponse::of(message));
        let Some(wanted) = resources::wanted(turn.now, message, &self.site.common) else { return };
        if !is_protected && self.protection.is_some() && !matches!(wanted, Wanted::Response(_)) {
            // Anyone on the way could have put it there.
            let text = "this connection is that of a security context: protect the request, or open another connection";
            return self.respond(token, no_response, Response::error(Code::UNAUTHORIZED, text), false, turn);
        }
        match (wanted, &self.phase) {
            (Wanted::Response(response), _) => {
                let carriage = self.conversation.carriage;
                let (response, _) = Cut::of(message).apply(response, carriage, &self.site.common.config);
                self.respond(token, no_response, response, is_protected, turn)
            }
            (_, Phase::Refused(refusal)) => {
                let response = Response::refusal(refusal);
                self.respond(token, no_response, response, is_protected, turn)
            }
            (wanted, _) => {
                self.open(turn);
                let request = self.site.next_request();
                if !no_response.is_none() {
                    self.unwanted.push((request, no_response));
                }
                self.converse(turn, |conversation, hall| conversation.request(request, message, wanted, hall));
            }
        }
    }

    /// What the broker says.
    pub fn answer(&mut self, answer: Answer, turn: &mut Turn<'_>) -> Result<(), Close> {
        match answer {
            Answer::Refused(refusal) => self.phase = Phase::Refused(Box::new(refusal)),
            Answer::Close(refusal) => {
                self.converse(turn, |conversation, hall| conversation.fail(&refusal, hall));
                return Err(self.part(refusal, turn));
            }
            answer => {
                if let (Answer::Connected(_), Phase::AwaitBroker) = (&answer, &self.phase) {
                    self.phase = Phase::Ready;
                }
                self.converse(turn, |conversation, hall| conversation.answer(answer, hall));
            }
        }
        self.conclude(turn)
    }

    /// Messages for what is observed. They are told in the order in which they come, so that the carrier's order is
    /// that of the notifications (RFC 8323 §7.1); what has been written counts as arrived.
    pub fn deliver(&mut self, batch: &[Delivery], turn: &mut Turn<'_>) {
        self.converse(turn, |conversation, hall| {
            batch.iter().for_each(|delivery| conversation.deliver(delivery, hall));
        });
    }

    /// When [`timeout`](Self::timeout) is to be called for the conversation.
    pub fn due_ns(&self) -> u64 {
        self.conversation.due_ns()
    }

    pub fn timeout(&mut self, turn: &mut Turn<'_>) -> Result<(), Close> {
        if self.conversation.due_ns() <= turn.now.mono_ns {
            self.converse(turn, |conversation, hall| conversation.timeout(hall));
        }
        self.conclude(turn)
    }

    /// Asks the client whether it is there (RFC 8323 §5.4).
    pub fn ping(&mut self, turn: &mut Turn<'_>) {
        let custody = Custody { token: Token::default(), has_custody: false };
        turn.messages.put(&Signal::Ping(custody).message());
    }

    /// Ends the connection at once, and says why (RFC 8323 §5.6).
    pub fn abort(&mut self, refusal: Refusal, bad_csm_option: Option<u16>, turn: &mut Turn<'_>) -> Close {
        self.say_csm(turn);
        let text = refusal.text.to_string().into();
        turn.messages.put(&Signal::Abort { bad_csm_option, text }.message());
        Close { refusal, publish_will: false }
    }

    /// The time for a client's first words is up: it is served as who it is so far, or hears why it is not served.
    pub fn end_opening(&mut self, turn: &mut Turn<'_>) -> Result<(), Close> {
        if self.open(turn) {
            return Ok(());
        }
        let refusal = match &self.phase {
            Phase::Refused(refusal) => (**refusal).clone(),
            _ => Refusal::new(Reason::Unspecified, "no CSM in time (RFC 8323 §5.3)"),
        };
        Err(self.abort(refusal, None, turn))
    }

    /// The broker ends the session: a broker that stops asks to leave, any other end is an abort.
    fn part(&mut self, refusal: Refusal, turn: &mut Turn<'_>) -> Close {
        if !refusal.reason.is_stop() {
            return self.abort(refusal, None, turn);
        }
        let (text, alternative_addresses) = (refusal.text.to_string().into(), Vec::new());
        self.say_csm(turn);
        turn.messages.put(&Signal::Release { alternative_addresses, hold_off_s: None, text }.message());
        Close { refusal, publish_will: false }
    }

    /// Everything that was asked for has been answered: whatever waited for that comes now.
    fn conclude(&mut self, turn: &mut Turn<'_>) -> Result<(), Close> {
        if self.conversation.pending_len() > 0 {
            return Ok(());
        }
        if let Some(token) = self.custody.take() {
            turn.messages.put(&Signal::Pong(Custody { token, has_custody: true }).message());
        }
        match self.phase {
            Phase::Leaving => {
                let refusal = Refusal::new(Reason::Normal, "the client released the connection");
                Err(Close { refusal, publish_will: false })
            }
            _ => Ok(()),
        }
    }

    /// Calls `act` with the conversation, and writes what it says.
    fn converse(&mut self, turn: &mut Turn<'_>, act: impl FnOnce(&mut Conversation, &mut Hall<'_>)) {
        let mut said = VecDeque::new();
        let mut hall = Hall { now: turn.now, site: &mut self.site, asked: turn.requests, said: &mut said };
        act(&mut self.conversation, &mut hall);
        while let Some(next) = said.pop_front() {
            match next {
                Said::Response { request, token, response } => {
                    let place = self.unwanted.iter().position(|(unwanted, _)| *unwanted == request);
                    let no_response = place.map(|place| self.unwanted.swap_remove(place).1);
                    let is_protected = self.protection.is_some();
                    self.respond(token, no_response.unwrap_or_default(), response, is_protected, turn);
                }
                Said::Notification(Notification { token, response, settles, .. }) => {
                    self.respond(token, NoResponse::default(), response, self.protection.is_some(), turn);
                    let (now, site) = (turn.now, &mut self.site);
                    let mut hall = Hall { now, site, asked: turn.requests, said: &mut said };
                    self.conversation.told(settles, Outcome::Accept, &mut hall);
                }
                // Everything that was said before has been written.
                Said::Forget(_) => {}
            }
        }
    }

    /// Writes a response that is wanted, or that it does not fit into what the client takes.
    pub(super) fn respond(
        &mut self,
        token: Token,
        no_response: NoResponse,
        response: Response,
        is_protected: bool,
        turn: &mut Turn<'_>,
    ) {
        if no_response.suppresses(&response) {
            if let Some(protection) = self.protection.as_mut().filter(|_| is_protected) {
                protection.forget(token);
            }
            return;
        }
        let mut message = message_of(token, response);
        let message_bytes_max = match is_protected {
            true => self.conversation.carriage.message_bytes_max,
            false => self.peer.message_bytes_max,
        };
        if encoded_bytes(&message) > message_bytes_max {
            let text = "the response is longer than the client's Max-Message-Size";
            message = message_of(token, Response::error(Code::INTERNAL_SERVER_ERROR, text));
            if encoded_bytes(&message) > message_bytes_max {
                message.payload.clear();
            }
        }
        match &mut self.protection {
            Some(protection) if is_protected => {
                protection.protect(&message).iter().for_each(|it| turn.messages.put(it))
            }
            _ => turn.messages.put(&message),
        }
    }
}

fn message_of(token: Token, response: Response) -> Message {
    let Response { code, options, payload } = response;
    Message { kind: Kind::Confirmable, code, id: 0, token, options, payload }
}

/// So many milliseconds later.
pub(super) fn after_ms(since_ns: u64, ms: u64) -> u64 {
    since_ns.saturating_add(ms.saturating_mul(MILLISECOND_NS))
}

/// So many seconds later.
pub(super) fn after_s(since_ns: u64, s: u32) -> u64 {
    since_ns.saturating_add(u64::from(s).saturating_mul(SECOND_NS))
}
