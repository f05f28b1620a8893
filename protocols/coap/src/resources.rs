//! What is here: which resource a request means, and what it wants of it, as functions of the request alone.

pub mod demo;
mod discovery;
pub mod pubsub;
mod topics;

use crate::common::Common;
use crate::message::{Code, Kind, Message, Options, number};
use crate::requests::is_part;
use althing_core::bucket::BURST_NS;
use althing_core::time::SECOND_NS;
use althing_core::verbs::{Reason, Refusal};
use althing_core::{Guarantee, Now, Topic};
use bytes::Bytes;
pub(crate) use topics::digest;
pub use topics::representation;

/// What a request comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Wanted {
    /// Nothing of the broker: this is the response.
    Response(Response),
    /// A topic's last value.
    Read(Read),
    /// The value now and its changes: GET with Observe 0 (RFC 7641 §2).
    Observe(Read, Guarantee),
    /// No more changes, but the value once more: GET with Observe 1.
    Forget(Read),
    /// A block of a body, or a later block of a response: the conversation knows the others (RFC 7959).
    Part,
    /// A message to publish if the topic's value is the one that the client means, and the code of success.
    PublishIf(Box<althing_core::Message>, Code, Condition),
    /// A resource for learners.
    Demo(demo::Demo),
    /// A message to publish, and the code of success.
    Publish(Box<althing_core::Message>, Code),
    /// What topics with a configuration know beside these.
    Pubsub(pubsub::Act),
}

/// What has to be true of a topic's value before it is changed (§5.10.8).
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// If-Match: it has one of these ETags; the empty one is that of any value.
    pub if_match: Vec<Bytes>,
    /// If-None-Match: there is none.
    pub if_none_match: bool,
}

impl Condition {
    /// Whether it is true of this value.
    pub fn holds(&self, value: Option<&althing_core::Message>) -> bool {
        let is_one_of = |value| self.if_match.iter().any(|etag| etag.is_empty() || etag[..] == topics::etag(value));
        (!self.if_none_match || value.is_none()) && (self.if_match.is_empty() || value.is_some_and(is_one_of))
    }
}

/// When to come back after having been too fast (RFC 8516 §3): whoever is refused owes more than two bursts, and one of them is paid
/// by then.
const RETRY_AFTER_S: u32 = (BURST_NS / SECOND_NS) as u32;

/// How a value is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    /// Whose value.
    pub topic: Topic,
    /// Values that the client has already (§5.10.6.2).
    pub etags: Vec<Bytes>,
    /// The only format that it takes (§5.10.4).
    pub accept: Option<u16>,
    /// The topic with a configuration whose state this is: it is nothing that can be observed while there is no value.
    pub state_of: Option<pubsub::TopicId>,
}

/// A response without what the message layer adds.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// What became of the request.
    pub code: Code,
    /// What describes the payload.
    pub options: Options,
    /// The representation or a sentence for people.
    pub payload: Bytes,
}

impl Response {
    /// A response without payload.
    pub fn new(code: Code) -> Self {
        Self { code, options: Options::default(), payload: Bytes::new() }
    }

    /// An error with its sentence (§5.5.2).
    pub fn error(code: Code, text: impl Into<String>) -> Self {
        Self { code, options: Options::default(), payload: text.into().into() }
    }

    /// The broker's refusal.
    pub fn refusal(refusal: &Refusal) -> Self {
        let code = match refusal.reason {
            Reason::BadCredentials | Reason::BadAuthenticationMethod => Code::UNAUTHORIZED,
            Reason::NotAuthorised | Reason::Banned => Code::FORBIDDEN,
            Reason::TopicNameInvalid | Reason::TopicFilterInvalid | Reason::PayloadFormatInvalid => Code::BAD_REQUEST,
            Reason::PacketTooLarge => Code::REQUEST_ENTITY_TOO_LARGE,
            Reason::MessageRateTooHigh | Reason::ConnectionRateExceeded => Code::TOO_MANY_REQUESTS,
            Reason::QuotaExceeded
            | Reason::StoreFull
            | Reason::ServerUnavailable
            | Reason::ServerBusy
            | Reason::ShuttingDown => Code::SERVICE_UNAVAILABLE,
            _ => Code::INTERNAL_SERVER_ERROR,
        };
        let mut response = Self::error(code, refusal.text.to_string());
        if code == Code::TOO_MANY_REQUESTS {
            response.options.add_uint(number::MAX_AGE, RETRY_AFTER_S);
        }
        response
    }
}

/// What a request wants, as far as the request alone tells. `None`: a non-confirmable request with an option that
/// has to be known and is not; it is silently rejected (§5.4.1).
pub fn wanted(now: Now, request: &Message, common: &Common) -> Option<Wanted> {
    let response = match check_options(&request.options) {
        Err(error) if error.code == Code::BAD_OPTION && request.kind != Kind::Confirmable => return None,
        Err(error) => error,
        Ok(()) if is_part(request) => return Some(Wanted::Part),
        Ok(()) => return Some(wanted_whole(now, request, common)),
    };
    Some(Wanted::Response(response))
}

/// The same for a request whose body is together and whose options are known.
pub(crate) fn wanted_whole(now: Now, request: &Message, common: &Common) -> Wanted {
    route(now, request, common).unwrap_or_else(Wanted::Response)
}

fn route(now: Now, request: &Message, common: &Common) -> Result<Wanted, Response> {
    let mut path = request.options.all(number::URI_PATH);
    match path.next().map(|segment| &segment[..]) {
        Some(b"t") => {
            let topic = topics::read_topic(path, &common.limits)?;
            let condition = read_condition(&request.options);
            match (topics::request(now, request, topic)?, condition) {
                (Wanted::Publish(message, code), Some(condition)) => Ok(Wanted::PublishIf(message, code, condition)),
                (_, Some(_)) => Err(unconditional()),
                (wanted, None) => Ok(wanted),
            }
        }
        _ if read_condition(&request.options).is_some() => Err(unconditional()),
        Some(b".well-known") if path.next().is_some_and(|it| it == "core") && path.next().is_none() => {
            match request.code {
                Code::GET => Ok(Wanted::Response(discovery::links(&request.options, &common.config)?)),
                _ => Err(Response::error(Code::METHOD_NOT_ALLOWED, "discovery knows GET alone")),
            }
        }
        Some(b"ps") => pubsub::request(now, request, path, common),
        _ => match demo::request(now, request).filter(|_| common.config.demo) {
            Some(wanted) => wanted,
            None => pubsub::of_other_path(now, request, common).unwrap_or_else(|| {
                let text = "topics are /t/LEVEL/LEVEL; /.well-known/core tells what is here";
                Err(Response::error(Code::NOT_FOUND, text))
            }),
        },
    }
}

fn read_condition(options: &Options) -> Option<Condition> {
    let if_match: Vec<Bytes> = options.all(number::IF_MATCH).map(|etag| Bytes::copy_from_slice(etag)).collect();
    let if_none_match = options.get(number::IF_NONE_MATCH).is_some();
    (if_none_match || !if_match.is_empty()).then_some(Condition { if_match, if_none_match })
}

/// A condition that nobody would look at must not be passed over.
fn unconditional() -> Response {
    Response::error(Code::BAD_OPTION, "If-Match and If-None-Match are for PUT, POST and DELETE of topics")
}

/// A response with its place in the order of notifications (RFC 7641 §4.4); errors have none.
pub(crate) fn numbered(mut response: Response, sequence: u32) -> Response {
    if response.code.is_success() {
        response.options.add_uint(number::OBSERVE, sequence);
    }
    response
}

/// The options that must be known are, in the number and size that they may have (§5.4).
fn check_options(options: &Options) -> Result<(), Response> {
    let mut before = None;
    for (number, value) in options.iter() {
        let is_repeated = before.replace(*number) == Some(*number);
        if !number::is_critical(*number) {
            continue;
        }
        let (bytes_max, is_repeatable) = match *number {
            number::PROXY_URI | number::PROXY_SCHEME => {
                return Err(Response::error(Code::PROXYING_NOT_SUPPORTED, "this is no proxy"));
            }
            number::IF_MATCH => (8, true),
            number::IF_NONE_MATCH => (0, false),
            number::URI_PATH | number::URI_QUERY => (255, true),
            number::URI_HOST => (255, false),
            number::URI_PORT | number::ACCEPT => (2, false),
            number::BLOCK1 | number::BLOCK2 => (3, false),
            _ => return Err(Response::error(Code::BAD_OPTION, format!("option {number} is not known here"))),
        };
        if value.len() > bytes_max || is_repeated && !is_repeatable {
            return Err(Response::error(Code::BAD_OPTION, format!("option {number} is too long or repeated")));
        }
    }
    Ok(())
}
