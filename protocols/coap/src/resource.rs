//! The request layer: what a request wants, and what a value looks like as a representation.

use crate::config::CoapConfig;
use crate::format;
use crate::message::{Code, Kind, Message, Options, number, read_uint};
use althing_core::time::SECOND_NS;
use althing_core::verbs::{Reason, Refusal};
use althing_core::{Guarantee, Limits, Now, Properties, Topic};
use bytes::Bytes;
use bytestring::ByteString;
use std::sync::Arc;

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
    /// A message to publish, and the code of success.
    Publish(Box<althing_core::Message>, Code),
}

/// How a value is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    /// Whose value.
    pub topic: Topic,
    /// Values that the client has already (§5.10.6.2).
    pub etags: Vec<Bytes>,
    /// The only format that it takes (§5.10.4).
    pub accept: Option<u16>,
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
        Self::error(code, refusal.text.to_string())
    }
}

/// What a request wants, as far as the request alone tells. `None`: a non-confirmable request with an option that
/// has to be known and is not; it is silently rejected (§5.4.1).
pub fn wanted(now: Now, request: &Message, config: &CoapConfig, limits: &Limits) -> Option<Wanted> {
    let response = match check_options(&request.options, config) {
        Err(error) if error.code == Code::BAD_OPTION && request.kind != Kind::Confirmable => return None,
        Err(error) => error,
        Ok(()) => match route(now, request, limits) {
            Ok(wanted) => return Some(wanted),
            Err(error) => error,
        },
    };
    Some(Wanted::Response(response))
}

fn route(now: Now, request: &Message, limits: &Limits) -> Result<Wanted, Response> {
    let mut path = request.options.all(number::URI_PATH);
    match path.next().map(|segment| &segment[..]) {
        Some(b"t") => {
            let topic = read_topic(path, limits)?;
            topic_request(now, request, topic)
        }
        Some(b".well-known") if path.next().is_some_and(|it| it == "core") && path.next().is_none() => {
            match request.code {
                Code::GET => Ok(Wanted::Response(discovery(&request.options)?)),
                _ => Err(Response::error(Code::METHOD_NOT_ALLOWED, "discovery knows GET alone")),
            }
        }
        _ => Err(Response::error(Code::NOT_FOUND, "topics are /t/LEVEL/LEVEL; /.well-known/core tells what is here")),
    }
}

fn topic_request(now: Now, request: &Message, topic: Topic) -> Result<Wanted, Response> {
    let guarantee = read_guarantee(request)?;
    match request.code {
        Code::GET => {
            let read = Read {
                topic,
                etags: request.options.all(number::ETAG).cloned().collect(),
                accept: request.options.uint(number::ACCEPT).map(|accept| accept as u16),
            };
            Ok(match request.options.uint(number::OBSERVE) {
                // CoAP has no word for a delivery that is not repeated and comes once; its own CON comes near.
                Some(0) => Wanted::Observe(read, guarantee.min(Guarantee::AtLeastOnce)),
                Some(1) => Wanted::Forget(read),
                _ => Wanted::Read(read),
            })
        }
        Code::PUT => Ok(Wanted::Publish(read_message(now, request, topic, guarantee, true), Code::CHANGED)),
        Code::POST => Ok(Wanted::Publish(read_message(now, request, topic, guarantee, false), Code::CHANGED)),
        Code::DELETE => {
            let mut message = althing_core::Message::new(topic, Bytes::new());
            (message.guarantee, message.retain) = (guarantee, true);
            Ok(Wanted::Publish(Box::new(message), Code::DELETED))
        }
        other => Err(Response::error(Code::METHOD_NOT_ALLOWED, format!("topics know no method {other}"))),
    }
}

/// The options that must be known are, in the number and size that they may have (§5.4).
fn check_options(options: &Options, config: &CoapConfig) -> Result<(), Response> {
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
            number::URI_PATH | number::URI_QUERY => (255, true),
            number::URI_HOST => (255, false),
            number::URI_PORT | number::ACCEPT => (2, false),
            number::BLOCK1 | number::BLOCK2 => (3, false),
            _ => return Err(Response::error(Code::BAD_OPTION, format!("option {number} is not known here"))),
        };
        if value.len() > bytes_max || is_repeated && !is_repeatable {
            return Err(Response::error(Code::BAD_OPTION, format!("option {number} is too long or repeated")));
        }
        check_block(*number, value, config)?;
    }
    Ok(())
}

/// Block-wise transfer (RFC 7959) is not spoken; a first block that is the only one needs none.
fn check_block(number: u16, value: &[u8], config: &CoapConfig) -> Result<(), Response> {
    let block = read_uint(value).unwrap_or(0);
    let (block_number, has_more) = (block >> 4, block >> 3 & 1 == 1);
    match number {
        number::BLOCK1 if block_number > 0 || has_more => {
            let text = "a payload in several blocks is not spoken here";
            let mut response = Response::error(Code::REQUEST_ENTITY_TOO_LARGE, text);
            response.options.add_uint(number::SIZE1, config.payload_bytes_max as u32);
            Err(response)
        }
        number::BLOCK2 if block_number > 0 => {
            Err(Response::error(Code::BAD_OPTION, "a value in several blocks is not spoken here"))
        }
        _ => Ok(()),
    }
}

/// One segment of the path is one level of the topic. The segments come decoded (§5.10.1), and are not decoded
/// again: what a segment holds is what the level holds.
fn read_topic<'a>(segments: impl Iterator<Item = &'a Bytes>, limits: &Limits) -> Result<Topic, Response> {
    let bad = |text: String| Response::error(Code::BAD_REQUEST, text);
    let mut name: Option<String> = None;
    for segment in segments {
        let text = std::str::from_utf8(segment).map_err(|_| bad("a segment of the path is not UTF-8".into()))?;
        if text.contains('/') {
            return Err(bad("a level of a topic cannot hold a slash".into()));
        }
        match &mut name {
            None => name = Some(text.to_owned()),
            Some(name) => {
                name.push('/');
                name.push_str(text);
            }
        }
    }
    let name = name.ok_or_else(|| Response::error(Code::NOT_FOUND, "topics are /t/LEVEL/LEVEL"))?;
    Topic::new(name.into(), &limits.topic).map_err(|error| bad(error.to_string()))
}

/// A confirmable request is at least once, a non-confirmable one at most once; `?qos=` says otherwise.
fn read_guarantee(request: &Message) -> Result<Guarantee, Response> {
    let mut guarantee = match request.kind {
        Kind::Confirmable => Guarantee::AtLeastOnce,
        _ => Guarantee::AtMostOnce,
    };
    for query in request.options.all(number::URI_QUERY) {
        guarantee = match &query[..] {
            b"qos=0" => Guarantee::AtMostOnce,
            b"qos=1" => Guarantee::AtLeastOnce,
            b"qos=2" => Guarantee::ExactlyOnce,
            _ => return Err(Response::error(Code::BAD_REQUEST, "the query of a topic is qos=0, qos=1 or qos=2")),
        };
    }
    Ok(guarantee)
}

fn read_message(
    now: Now,
    request: &Message,
    topic: Topic,
    guarantee: Guarantee,
    retain: bool,
) -> Box<althing_core::Message> {
    let mut message = althing_core::Message::new(topic, request.payload.clone());
    (message.guarantee, message.retain) = (guarantee, retain);
    message.expires_ns = request.options.uint(number::MAX_AGE).map(|seconds| now.after_s(seconds));
    if let Some(format) = request.options.uint(number::CONTENT_FORMAT).and_then(|it| u16::try_from(it).ok()) {
        let mut properties = Properties { content_type: format::content_type(format), ..Properties::default() };
        if properties.content_type.is_none() {
            properties.user.push((format::USER_PROPERTY.into(), format.to_string().into()));
        }
        message.properties = Some(Arc::new(properties));
    }
    Box::new(message)
}

/// The representation of a topic's value, `None` where there is none. What is observed exists even without a
/// value: its representation is empty then.
pub fn representation(
    now: Now,
    value: Option<&althing_core::Message>,
    read: &Read,
    is_observed: bool,
    config: &CoapConfig,
) -> Response {
    let Some(value) = value else {
        return match is_observed {
            true => Response::new(Code::CONTENT),
            false => Response::error(Code::NOT_FOUND, "this topic has no value"),
        };
    };
    let format = content_format(value);
    if let (Some(wanted), Some(format)) = (read.accept, format)
        && wanted != format
    {
        return Response::error(Code::NOT_ACCEPTABLE, format!("the value is there in content format {format} alone"));
    }
    let etag = etag(value);
    let mut response = Response::new(Code::CONTENT);
    if let Some(expires_ns) = value.expires_ns {
        let left_s = expires_ns.saturating_sub(now.mono_ns) / SECOND_NS;
        response.options.add_uint(number::MAX_AGE, u32::try_from(left_s).unwrap_or(u32::MAX));
    }
    response.options.add(number::ETAG, Bytes::copy_from_slice(&etag));
    if read.etags.iter().any(|known| known[..] == etag) {
        response.code = Code::VALID;
        return response;
    }
    if value.payload.len() > config.payload_bytes_max {
        let bytes = value.payload.len();
        let text = format!("the value has {bytes} bytes, and transfer in blocks is not spoken here");
        return Response::error(Code::NOT_IMPLEMENTED, text);
    }
    if let Some(format) = format {
        response.options.add_uint(number::CONTENT_FORMAT, u32::from(format));
    }
    response.payload = value.payload.clone();
    response
}

fn content_format(value: &althing_core::Message) -> Option<u16> {
    let properties = value.properties.as_ref()?;
    if let Some(content_type) = &properties.content_type {
        return format::content_format(content_type);
    }
    let is_number = |(name, _): &&(ByteString, ByteString)| *name == format::USER_PROPERTY;
    properties.user.iter().find(is_number)?.1.parse().ok()
}

/// A digest of the representation (FNV-1a, 64 bits): the same value has the same tag, on every shard and after
/// every restart.
fn etag(value: &althing_core::Message) -> [u8; 8] {
    let format = content_format(value).map_or([0xff; 4], |format| u32::from(format).to_be_bytes());
    let bytes = format.iter().chain(value.payload.iter());
    let digest = bytes
        .fold(0xcbf2_9ce4_8422_2325_u64, |digest, byte| (digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    digest.to_be_bytes()
}

/// What is here, and the attributes by which it can be asked for (RFC 6690).
const LINKS: &[(&str, &[(&str, &str)])] =
    &[("/.well-known/core", &[("ct", "40")]), ("/t", &[("rt", "althing.topics"), ("title", "topics: /t/LEVEL/LEVEL")])];

/// `/.well-known/core`, filtered by at most one attribute (RFC 6690 §4.1).
fn discovery(options: &Options) -> Result<Response, Response> {
    let accept = options.uint(number::ACCEPT);
    if accept.is_some_and(|accept| accept != u32::from(format::LINK_FORMAT)) {
        return Err(Response::error(Code::NOT_ACCEPTABLE, "links are there in content format 40 alone"));
    }
    let query = options.get(number::URI_QUERY).and_then(|query| std::str::from_utf8(query).ok()?.split_once('='));
    let links = LINKS.iter().filter(|link| query.is_none_or(|(name, value)| is_selected(link, name, value)));
    let text: Vec<String> = links.map(show_link).collect();
    let mut response = Response::new(Code::CONTENT);
    response.options.add_uint(number::CONTENT_FORMAT, u32::from(format::LINK_FORMAT));
    response.payload = text.join(",").into();
    Ok(response)
}

fn is_selected((href, attributes): &&(&str, &[(&str, &str)]), name: &str, wanted: &str) -> bool {
    let matches = |value: &str| match wanted.strip_suffix('*') {
        Some(start) => value.starts_with(start),
        None => value == wanted,
    };
    match name {
        "href" => matches(href),
        _ => attributes.iter().any(|(attribute, value)| *attribute == name && matches(value)),
    }
}

fn show_link((href, attributes): &(&str, &[(&str, &str)])) -> String {
    let shown = attributes.iter().map(|(name, value)| match *name {
        "ct" => format!(";{name}={value}"),
        _ => format!(";{name}=\"{value}\""),
    });
    format!("<{href}>{}", shown.collect::<String>())
}
