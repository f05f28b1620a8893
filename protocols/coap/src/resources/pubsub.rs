//! `/ps`: publish-subscribe as draft-ietf-core-coap-pubsub-21 has it. Sections without a document are those of the draft.
//!
//! `/ps` is the collection of topics, `/ps/ID` a topic's configuration, `/ps/ID/data` its data, unless it was created at
//! another path. The data of the topic NAME is the last value of the topic NAME that every language knows; its
//! configuration is that of `$ps/NAME`.

mod collection;
mod properties;

use super::{Read, Response, Wanted, topics};
use crate::common::Common;
use crate::format;
use crate::message::{Code, Message, Options, number};
use althing_core::{Now, Topic};
use bytes::Bytes;
pub use collection::{Collection, Entry, Reservation, Seat, TopicId, data_path, local_path};
pub use properties::{OBSERVER_CHECK_S, Properties, TOPIC_DATA, Wrong, decode_keys};

/// What a request wants of `/ps` that takes the broker more than one answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// Links to these, of those that the client may read.
    List(Vec<Entry>, LinksTo),
    /// A new topic; what may be missing of its configuration is there.
    Create(Box<Entry>),
    /// Other properties: in place of all that may change, or of those that are named.
    Change {
        /// Of which topic.
        entry: Box<Entry>,
        /// What it has from now on.
        properties: Box<Properties>,
    },
    /// These properties of a topic.
    Select(Box<Entry>, Vec<u64>),
    /// The end of a topic and its data.
    Delete(Box<Entry>),
    /// New data.
    Publish(Box<Entry>, Box<althing_core::Message>),
    /// The end of the data.
    DeleteData(Box<Entry>, Box<althing_core::Message>),
}

/// Which resources of topics are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinksTo {
    /// Their configurations.
    Configurations,
    /// Their data.
    Data,
}

/// What a request wants of something under `/ps`, whose other segments are `path`.
pub(super) fn request<'a>(
    now: Now,
    request: &Message,
    path: impl Iterator<Item = &'a Bytes>,
    common: &Common,
) -> Result<Wanted, Response> {
    let path: Vec<&Bytes> = path.collect();
    let known = |segment: &Bytes| TopicId::parse(segment).and_then(|id| common.collection.get(now, id));
    match path[..] {
        [] => of_collection(now, request, common),
        [id] => of_topic(now, request, known(id).ok_or_else(unknown)?),
        [id, last] if &last[..] == b"data" && TopicId::parse(id).is_some() => {
            let entry = known(id).filter(|entry| entry.data_path() == Some(data_path(entry.id)));
            of_data(now, request, entry.ok_or_else(unknown)?)
        }
        _ => of_other_path(now, request, common).unwrap_or_else(|| Err(unknown())),
    }
}

/// What a request wants of a topic's data at a path that its creator has chosen; `None` where there is none.
pub(super) fn of_other_path(now: Now, request: &Message, common: &Common) -> Option<Result<Wanted, Response>> {
    let mut path = String::new();
    for segment in request.options.all(number::URI_PATH) {
        path.push('/');
        path.push_str(std::str::from_utf8(segment).ok()?);
    }
    Some(of_data(now, request, common.collection.of_path(now, &path)?))
}

fn unknown() -> Response {
    Response::error(Code::NOT_FOUND, "there is no such topic; GET /ps lists those that there are")
}

fn bad(why: impl ToString) -> Response {
    Response::error(Code::BAD_REQUEST, why.to_string())
}

/// The collection (§2.2 to §2.5).
fn of_collection(now: Now, request: &Message, common: &Common) -> Result<Wanted, Response> {
    let wanted = match request.code {
        Code::GET => {
            accepts(&request.options, format::LINK_FORMAT)?;
            let (links_to, filter) = read_query(&request.options);
            let entries = filter.map_or_else(Vec::new, |filter| common.collection.matching(now, &filter));
            Act::List(entries, links_to)
        }
        Code::FETCH => {
            accepts(&request.options, format::LINK_FORMAT)?;
            let filter = read_properties(request)?;
            Act::List(common.collection.matching(now, &filter), LinksTo::Configurations)
        }
        Code::POST => {
            accepts(&request.options, format::CORE_PUBSUB)?;
            Act::Create(Box::new(new_topic(now, read_properties(request)?, common)?))
        }
        other => return Err(unknown_method("the collection of topics", other)),
    };
    Ok(Wanted::Pubsub(wanted))
}

/// One configuration (§3.1 to §3.5).
fn of_topic(now: Now, request: &Message, entry: Entry) -> Result<Wanted, Response> {
    let wanted = match request.code {
        Code::GET => {
            let Entry { configuration: topic, .. } = entry;
            let accept = Some(format::CORE_PUBSUB);
            accepts(&request.options, format::CORE_PUBSUB)?;
            let etags = request.options.all(number::ETAG).cloned().collect();
            return Ok(Wanted::Read(Read { topic, etags, accept, state_of: None }));
        }
        Code::FETCH => {
            accepts(&request.options, format::CORE_PUBSUB)?;
            has_format(&request.options, format::CBOR)?;
            Act::Select(Box::new(entry), decode_keys(&request.payload).map_err(bad)?)
        }
        Code::POST | Code::IPATCH => {
            accepts(&request.options, format::CORE_PUBSUB)?;
            let given = read_properties(request)?;
            is_ahead(now, &given)?;
            let changed = entry.properties.changed(given, request.code == Code::POST).map_err(bad)?;
            Act::Change { entry: Box::new(entry), properties: Box::new(changed) }
        }
        Code::DELETE => Act::Delete(Box::new(entry)),
        other => return Err(unknown_method("the configuration of a topic", other)),
    };
    Ok(Wanted::Pubsub(wanted))
}

/// The data of one topic (§4).
fn of_data(now: Now, request: &Message, entry: Entry) -> Result<Wanted, Response> {
    let guarantee = topics::read_guarantee(request)?;
    let message = |retain| topics::read_message(now, request, entry.topic.clone(), guarantee, retain);
    Ok(match request.code {
        Code::GET => {
            let read = Read {
                topic: entry.topic.clone(),
                etags: request.options.all(number::ETAG).cloned().collect(),
                accept: request.options.uint(number::ACCEPT).map(|accept| accept as u16),
                state_of: Some(entry.id),
            };
            match request.options.uint(number::OBSERVE) {
                // The state is told, not each change of it.
                Some(0) => Wanted::Observe(read, althing_core::Guarantee::AtMostOnce),
                Some(1) => Wanted::Forget(read),
                _ => Wanted::Read(read),
            }
        }
        Code::PUT => {
            if let Some(format) = entry.properties.topic_content_format {
                has_format(&request.options, format)?;
            }
            if request.payload.is_empty() {
                return Err(bad("data has at least one byte; DELETE deletes it"));
            }
            let message = message(true);
            Wanted::Pubsub(Act::Publish(Box::new(entry), message))
        }
        Code::DELETE => {
            let mut message = message(true);
            (message.payload, message.properties, message.expires_ns) = (Bytes::new(), None, None);
            Wanted::Pubsub(Act::DeleteData(Box::new(entry), message))
        }
        other => return Err(unknown_method("the data of a topic", other)),
    })
}

fn unknown_method(of: &str, method: Code) -> Response {
    Response::error(Code::METHOD_NOT_ALLOWED, format!("{of} knows no method {method}"))
}

/// The answer can be had in this format alone.
fn accepts(options: &Options, format: u16) -> Result<(), Response> {
    match options.uint(number::ACCEPT) {
        Some(accept) if accept != u32::from(format) => {
            Err(Response::error(Code::NOT_ACCEPTABLE, format!("this is there in content format {format} alone")))
        }
        _ => Ok(()),
    }
}

/// What comes has to be in this format.
fn has_format(options: &Options, format: u16) -> Result<(), Response> {
    match options.uint(number::CONTENT_FORMAT) == Some(u32::from(format)) {
        true => Ok(()),
        false => {
            let text = format!("this takes content format {format} alone");
            Err(Response::error(Code::UNSUPPORTED_CONTENT_FORMAT, text))
        }
    }
}

fn read_properties(request: &Message) -> Result<Properties, Response> {
    has_format(&request.options, format::CORE_PUBSUB)?;
    Properties::decode(&request.payload).map_err(bad)
}

/// The filter of a listing (§2.3, RFC 6690 §4.1); no properties where nothing can match.
fn read_query(options: &Options) -> (LinksTo, Option<Properties>) {
    let all = Some(Properties::default());
    let query = options.get(number::URI_QUERY).and_then(|query| std::str::from_utf8(query).ok());
    match query.and_then(|query| query.split_once('=')) {
        None => (LinksTo::Configurations, all),
        Some(("rt", wanted)) if super::discovery::is_match("core.ps.conf", wanted) => (LinksTo::Configurations, all),
        Some(("rt", wanted)) if super::discovery::is_match(TOPIC_DATA, wanted) => (LinksTo::Data, all),
        Some(_) => (LinksTo::Configurations, None),
    }
}

fn is_ahead(now: Now, properties: &Properties) -> Result<(), Response> {
    match properties.expiration_wall_ms {
        Some(wall_ms) if wall_ms <= now.wall_ms => Err(bad("expiration-date: it has to be in the future")),
        _ => Ok(()),
    }
}

/// The topic that is to be created, with what the broker chooses (§2.5).
fn new_topic(now: Now, given: Properties, common: &Common) -> Result<Entry, Response> {
    let name = given.topic_name.as_deref().ok_or_else(|| bad("topic-name (0) has to be there"))?;
    match given.resource_type.as_deref() {
        Some(TOPIC_DATA) => {}
        Some(_) => return Err(bad(format!("resource-type: it has to be {TOPIC_DATA}"))),
        None => return Err(bad("resource-type (2) has to be there")),
    }
    let limits = &common.limits.topic;
    let topic = Topic::new(name.to_owned().into(), limits).map_err(|why| bad(format!("topic-name: {why}")))?;
    if topic.is_reserved() {
        return Err(bad("topic-name: it must not begin with $"));
    }
    let configuration = topic.configuration(limits).map_err(|why| bad(format!("topic-name: {why}")))?;
    is_ahead(now, &given)?;
    if given.initialize.is_some() && given.topic_content_format.is_none() {
        return Err(bad("initialize: it needs topic-content-format (3)"));
    }
    if given.initialize.as_ref().is_some_and(Bytes::is_empty) {
        return Err(bad("initialize: data has at least one byte"));
    }
    let id = TopicId::of(name);
    let path = data_path(id);
    if let Some(reference) = given.topic_data.as_deref().filter(|reference| **reference != *path) {
        is_free(now, reference, common)?;
    }
    let topic_data = given.topic_data.or(Some(path));
    let observer_check_s = given.observer_check_s.or(Some(OBSERVER_CHECK_S));
    Ok(Entry { id, topic, configuration, properties: Properties { topic_data, observer_check_s, ..given } })
}

/// Whether data can be at a place that the client wants: on another host, or at a path where nothing else is.
fn is_free(now: Now, reference: &str, common: &Common) -> Result<(), Response> {
    let is_of_uri = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&byte);
    if !reference.bytes().all(is_of_uri) {
        return Err(bad("topic-data: it has to be a URI reference without escapes, query and fragment"));
    }
    let Some(path) = local_path(reference) else { return Ok(()) };
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    if segments.iter().any(|segment| segment.is_empty() || [".", ".."].contains(segment) || segment.len() > 255) {
        return Err(bad("topic-data: the segments of a path have 1 to 255 bytes"));
    }
    const OTHERS: [&str; 4] = ["t", "time", "other", ".well-known"];
    let is_of_topics = segments[0] == "ps" && segments.get(1).is_none_or(|id| TopicId::parse(id.as_bytes()).is_some());
    if OTHERS.contains(&segments[0]) || is_of_topics || common.collection.of_path(now, &path).is_some() {
        return Err(bad("topic-data: something else is at this path"));
    }
    Ok(())
}
