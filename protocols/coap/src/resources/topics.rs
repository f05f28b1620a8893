//! `/t/LEVEL/LEVEL`: topics as resources, last values as representations.

use super::{Read, Response, Wanted};
use crate::format;
use crate::message::{Code, Kind, Message, number};
use althing_core::time::SECOND_NS;
use althing_core::{Guarantee, Limits, Now, Topic};
use bytes::Bytes;
use bytestring::ByteString;
use std::sync::Arc;

/// What a request wants of a topic.
pub(super) fn request(now: Now, request: &Message, topic: Topic) -> Result<Wanted, Response> {
    let guarantee = read_guarantee(request)?;
    match request.code {
        Code::GET => {
            let read = Read {
                topic,
                etags: request.options.all(number::ETAG).cloned().collect(),
                accept: request.options.uint(number::ACCEPT).map(|accept| accept as u16),
                state_of: None,
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

/// One segment of the path is one level of the topic. The segments come decoded (§5.10.1), and are not decoded
/// again: what a segment holds is what the level holds.
pub(super) fn read_topic<'a>(segments: impl Iterator<Item = &'a Bytes>, limits: &Limits) -> Result<Topic, Response> {
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
pub(super) fn read_guarantee(request: &Message) -> Result<Guarantee, Response> {
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

pub(super) fn read_message(
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
        message.properties = Some(Arc::new(format::properties(format)));
    }
    Box::new(message)
}

/// The representation of a topic's value, `None` where there is none. What is observed exists even without a
/// value: its representation is empty then.
pub fn representation(now: Now, value: Option<&althing_core::Message>, read: &Read, is_observed: bool) -> Response {
    // Whoever clears a topic takes away its state, whatever language it is said in.
    let is_cleared = |value: &&althing_core::Message| value.retain && value.payload.is_empty();
    let Some(value) = value.filter(|value| read.state_of.is_none() || !is_cleared(value)) else {
        return match is_observed && read.state_of.is_none() {
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

/// The same value has the same tag, on every shard and after every restart.
pub(super) fn etag(value: &althing_core::Message) -> [u8; 8] {
    let format = content_format(value).map_or([0xff; 4], |format| u32::from(format).to_be_bytes());
    digest_on(digest_on(DIGEST_START, &format), &value.payload).to_be_bytes()
}

/// A digest for ETags.
pub(crate) fn digest(bytes: &[u8]) -> [u8; 8] {
    digest_on(DIGEST_START, bytes).to_be_bytes()
}

/// FNV-1a, 64 bits, over words of eight bytes: large values are digested again for each of their blocks.
fn digest_on(digest: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let step = |digest: u64, word: u64| {
        let mixed = (digest ^ word).wrapping_mul(0x0100_0000_01b3);
        mixed ^ mixed >> 32
    };
    let digest = words.iter().fold(digest, |digest, word| step(digest, u64::from_le_bytes(*word)));
    rest.iter().fold(digest, |digest, byte| step(digest, u64::from(*byte)))
}

const DIGEST_START: u64 = 0xcbf2_9ce4_8422_2325;
