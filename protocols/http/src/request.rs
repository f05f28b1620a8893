//! From a request's line and headers to what is wanted of the broker.
//!
//! | resource | methods |
//! |---|---|
//! | `/topics/{topic}` | `PUT` keeps, `POST` tells, `GET` and `HEAD` read, `DELETE` clears |
//! | `/topics/{filter}`, `/topics?filter=` | `GET` with `Accept: text/event-stream`, or with `?wait=` |
//! | `/topics:batch` | `POST` |
//! | `/request/{topic}` | `POST` asks and waits for the answer |
//! | `/api/openapi.json`, `/asyncapi.json` | `GET` describes all that |

use crate::event_stream::{self, Data, EventId};
use crate::problem::Problem;
use crate::query::Query;
use crate::validators::Preconditions;
use crate::{idempotency, path, properties};
use althing_core::topic::TopicLimits;
use althing_core::{Filter, Guarantee, Message, Now, Topic};
use bytes::Bytes;
use bytestring::ByteString;
use http::header::ACCEPT;
use http::{HeaderMap, Method, StatusCode};
use std::sync::Arc;

/// Longest time that a request waits for a message, in seconds: below what proxies cut.
pub const WAIT_S_MAX: u32 = 300;
/// How long an answer is waited for where nobody says.
const ANSWER_WAIT_S: u32 = 10;
/// Filters of one stream.
const FILTERS_MAX: usize = 1_000;
/// Answers that one request collects.
const ANSWERS_MAX: usize = 10_000;

/// What a request wants.
#[derive(Clone, Debug, PartialEq)]
pub enum Wanted {
    /// A message published; its payload is the body.
    Publish(Box<Publication>),
    /// A topic's last value.
    Read {
        /// Whose.
        topic: Topic,
        /// What the client has already.
        preconditions: Preconditions,
    },
    /// Messages as long as the client listens.
    Stream(Subscription, Option<EventId>),
    /// The next message.
    Poll(Poll),
    /// A message published, and what is answered to it.
    Ask(Box<Question>),
    /// Many messages published.
    Batch {
        /// For those that do not say.
        guarantee: Guarantee,
        /// The client's name for the request.
        key: Option<ByteString>,
    },
    /// What there is, for programs.
    Document(&'static str),
}

/// The descriptions of the language, by their paths.
const DOCUMENTS: [(&str, &str); 2] = [
    ("/api/openapi.json", include_str!("../documents/openapi.json")),
    ("/asyncapi.json", include_str!("../documents/asyncapi.json")),
];

/// A message to publish.
#[derive(Clone, Debug, PartialEq)]
pub struct Publication {
    /// Without its payload as yet.
    pub message: Message,
    /// Whether the payload is in the body; otherwise there is none.
    pub has_body: bool,
    /// What must be true of the last value.
    pub preconditions: Preconditions,
    /// The client's name for the request.
    pub key: Option<ByteString>,
}

/// What somebody listens to.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscription {
    /// At least one.
    pub filters: Vec<Filter>,
    /// The most that is wanted.
    pub guarantee: Guarantee,
    /// Whether last values come first.
    pub wants_retained: bool,
    /// What stands in an event.
    pub data: Data,
}

/// The next message, for those without streams.
#[derive(Clone, Debug, PartialEq)]
pub struct Poll {
    /// What is listened to.
    pub subscription: Subscription,
    /// How long.
    pub wait_s: u32,
    /// Whether other polls follow, or went before.
    pub sequence: Sequence,
    /// A last value that differs from what the client has is the next message.
    pub preconditions: Preconditions,
}

/// Polls that miss nothing between them: what comes meanwhile waits for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sequence {
    /// One poll alone.
    Single,
    /// The first one: `?after=`.
    First,
    /// The one after this message.
    After(EventId),
}

/// A message that wants answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// What is asked.
    pub publication: Publication,
    /// How long answers are waited for.
    pub wait_s: u32,
    /// `None`: the one answer, as it is. Else a list of so many at most.
    pub answers_max: Option<usize>,
}

/// A request without its body.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// What is done.
    pub method: &'a Method,
    /// The path as it came, escapes and all.
    pub path: &'a str,
    /// What follows the question mark.
    pub query: Option<&'a str>,
    /// Everything else.
    pub headers: &'a HeaderMap,
}

/// Whether a path is one of the language's.
pub fn is_ours(path: &str) -> bool {
    let is_document = || DOCUMENTS.iter().any(|(it, _)| *it == path);
    path.starts_with("/topics/")
        || path.starts_with("/request/")
        || path == "/topics"
        || path == "/topics:batch"
        || is_document()
}

/// What a request to one of [our paths](is_ours) wants.
///
/// # Errors
/// What is wrong with it.
pub fn wanted(head: &Head<'_>, now: Now, limits: &TopicLimits) -> Result<Wanted, Problem> {
    let mut query = Query::parse(head.query.unwrap_or_default())?;
    let document = DOCUMENTS.iter().find(|(path, _)| *path == head.path);
    let wanted = if let Some((_, document)) = document {
        match *head.method {
            Method::GET | Method::HEAD => Ok(Wanted::Document(document)),
            _ => Err(Problem::method_not_allowed("GET, HEAD, OPTIONS")),
        }
    } else if head.path == "/topics:batch" {
        let key = key(head)?;
        post_only(head, Wanted::Batch { guarantee: guarantee(head, &mut query)?, key })
    } else if let Some(name) = head.path.strip_prefix("/request/") {
        let question = question(head, name, &mut query, now, limits)?;
        post_only(head, Wanted::Ask(Box::new(question)))
    } else {
        topics(head, &mut query, now, limits)
    }?;
    query.finish()?;
    Ok(wanted)
}

fn post_only(head: &Head<'_>, wanted: Wanted) -> Result<Wanted, Problem> {
    if *head.method == Method::POST { Ok(wanted) } else { Err(Problem::method_not_allowed("POST, OPTIONS")) }
}

fn topics(head: &Head<'_>, query: &mut Query, now: Now, limits: &TopicLimits) -> Result<Wanted, Problem> {
    let name = head.path.strip_prefix("/topics/").filter(|name| !name.is_empty());
    match *head.method {
        Method::GET | Method::HEAD => reading(head, name, query, limits),
        Method::PUT | Method::POST | Method::DELETE => {
            let topic = path::topic(name.ok_or_else(no_topic)?, limits)?;
            let mut publication = publication(head, topic, query, now, limits)?;
            publication.message.retain = *head.method != Method::POST;
            publication.has_body = *head.method != Method::DELETE;
            Ok(Wanted::Publish(Box::new(publication)))
        }
        _ => Err(Problem::method_not_allowed("GET, HEAD, PUT, POST, DELETE, OPTIONS")),
    }
}

fn no_topic() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "topics are /topics/LEVEL/LEVEL; many at once are GET /topics?filter=LEVEL/%23")
}

fn reading(head: &Head<'_>, name: Option<&str>, query: &mut Query, limits: &TopicLimits) -> Result<Wanted, Problem> {
    let is_stream = accepts(head.headers, event_stream::CONTENT_TYPE);
    let wait_s = query.parsed::<u32>("wait", "a number of seconds")?.map(|wait_s| wait_s.min(WAIT_S_MAX));
    let after = query.one("after")?;
    let preconditions = Preconditions::read(head.headers)?;
    if !is_stream && wait_s.is_none() && after.is_none() {
        let name = name.ok_or_else(no_topic)?;
        let topic = path::topic(name, limits).map_err(|problem| match path::filter(name, limits) {
            Err(_) => problem,
            Ok(_) => {
                let hint = "to listen to a filter, ask with Accept: text/event-stream, or with ?wait=SECONDS";
                Problem { detail: format!("{}; {hint}", problem.detail).into(), ..problem }
            }
        })?;
        return Ok(Wanted::Read { topic, preconditions });
    }
    let retained = query.parsed("retained", "true or false")?;
    let mut subscription = subscription(head, name, query, limits)?;
    if is_stream {
        subscription.wants_retained = retained.unwrap_or(true);
        let from_header = head.headers.get("last-event-id").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let last = query.one("last_event_id")?.filter(|id| !id.is_empty());
        // A browser repeats whatever it was told; an id from elsewhere begins a new stream, which says so.
        let last = from_header.filter(|id| !id.is_empty()).or(last).map(|id| id.parse().unwrap_or(UNKNOWN));
        return Ok(Wanted::Stream(subscription, last));
    }
    // Who says what it has wants to hear of what it has not.
    subscription.wants_retained = retained.unwrap_or(!preconditions.is_empty());
    let sequence = match after.as_deref() {
        None => Sequence::Single,
        Some("") => Sequence::First,
        Some(id) => Sequence::After(id.parse().map_err(|_| {
            Problem::bad_request("?after= must be empty, or what Althing-Event-Id said in the answer before")
        })?),
    };
    Ok(Wanted::Poll(Poll { subscription, wait_s: wait_s.unwrap_or_default(), sequence, preconditions }))
}

/// The id of a stream that there never was.
const UNKNOWN: EventId = EventId { stream: 0, number: u64::MAX };

fn subscription(
    head: &Head<'_>,
    name: Option<&str>,
    query: &mut Query,
    limits: &TopicLimits,
) -> Result<Subscription, Problem> {
    let mut filters: Vec<Filter> = name.map(|name| path::filter(name, limits)).transpose()?.into_iter().collect();
    for text in query.all("filter") {
        let filter = Filter::new(text.into(), limits)
            .map_err(|error| Problem::bad_request(format!("?filter= is no filter: {error}")))?;
        filters.push(filter);
    }
    if filters.is_empty() {
        return Err(Problem::bad_request("say what to listen to: /topics/FILTER, or ?filter=, as often as wanted"));
    }
    if filters.len() > FILTERS_MAX {
        return Err(Problem::bad_request(format!("a request ends at {FILTERS_MAX} filters")));
    }
    // Who competes for a message should not lose it on the way.
    let usual = match filters.iter().any(Filter::is_shared) {
        true => Guarantee::AtLeastOnce,
        false => Guarantee::AtMostOnce,
    };
    Ok(Subscription {
        filters,
        // Two steps to a delivery would need somebody who takes the second.
        guarantee: said_guarantee(head, query)?.unwrap_or(usual).min(Guarantee::AtLeastOnce),
        wants_retained: true,
        data: match query.one("data")?.as_deref() {
            None | Some("json") => Data::Json,
            Some("payload") => Data::Payload,
            Some(_) => return Err(Problem::bad_request("?data= must be json or payload")),
        },
    })
}

fn question(
    head: &Head<'_>,
    name: &str,
    query: &mut Query,
    now: Now,
    limits: &TopicLimits,
) -> Result<Question, Problem> {
    let publication = publication(head, path::topic(name, limits)?, query, now, limits)?;
    if publication.message.properties.as_ref().is_some_and(|properties| properties.response_topic.is_some()) {
        return Err(Problem::bad_request("a question gets a response topic of its own; publish to name another one"));
    }
    let answers_max = query.parsed::<usize>("answers", "a number")?.map(|answers| answers.clamp(1, ANSWERS_MAX));
    let wait_s = query.parsed::<u32>("wait", "a number of seconds")?.unwrap_or(ANSWER_WAIT_S).min(WAIT_S_MAX);
    Ok(Question { publication, wait_s, answers_max })
}

fn publication(
    head: &Head<'_>,
    topic: Topic,
    query: &mut Query,
    now: Now,
    limits: &TopicLimits,
) -> Result<Publication, Problem> {
    let mut message = Message::new(topic, Bytes::new());
    message.guarantee = guarantee(head, query)?;
    message.expires_ns = expiry(head, query)?.map(|seconds| now.after_s(seconds));
    let properties = properties::read(head.headers, limits)?;
    message.properties = (!properties.is_empty()).then(|| Arc::new(properties));
    Ok(Publication { message, has_body: true, preconditions: Preconditions::read(head.headers)?, key: key(head)? })
}

fn key(head: &Head<'_>) -> Result<Option<ByteString>, Problem> {
    Ok(idempotency::read_key(head.headers)?.map(ByteString::from))
}

/// At least once where nobody says: a success says something then.
fn guarantee(head: &Head<'_>, query: &mut Query) -> Result<Guarantee, Problem> {
    Ok(said_guarantee(head, query)?.unwrap_or(Guarantee::AtLeastOnce))
}

fn said_guarantee(head: &Head<'_>, query: &mut Query) -> Result<Option<Guarantee>, Problem> {
    let in_query = query.one("qos")?;
    let Some(text) = in_query.as_deref().or(properties::text(head.headers, &properties::QOS)?) else {
        return Ok(None);
    };
    let guarantee = text.parse().ok().and_then(Guarantee::from_qos).map(Some);
    guarantee.ok_or_else(|| Problem::bad_request("the quality of service must be 0, 1 or 2"))
}

fn expiry(head: &Head<'_>, query: &mut Query) -> Result<Option<u32>, Problem> {
    if let Some(seconds) = query.parsed("expiry", "a number of seconds")? {
        return Ok(Some(seconds));
    }
    let Some(text) = properties::text(head.headers, &properties::EXPIRY)? else { return Ok(None) };
    let wrong = |_| Problem::bad_request(format!("{} must be a number of seconds", properties::EXPIRY));
    text.parse().map(Some).map_err(wrong)
}

/// Whether one of the types that a client accepts is exactly this one.
fn accepts(headers: &HeaderMap, media_type: &str) -> bool {
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut types = values.flat_map(|value| value.split(',')).map(|range| range.split(';').next().unwrap_or_default());
    types.any(|range| range.trim().eq_ignore_ascii_case(media_type))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: TopicLimits = TopicLimits { length_bytes_max: 65_535, levels_max: 128 };

    fn ask(line: &str, headers: &[(&'static str, &'static str)]) -> Result<Wanted, Problem> {
        let (method, target) = line.split_once(' ').unwrap();
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let headers: HeaderMap =
            headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        let method: Method = method.parse().unwrap();
        wanted(&Head { method: &method, path, query, headers: &headers }, Now::default(), &LIMITS)
    }

    fn publication(line: &str, headers: &[(&'static str, &'static str)]) -> Publication {
        match ask(line, headers).unwrap() {
            Wanted::Publish(publication) => *publication,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn methods_are_verbs() {
        let put = publication("PUT /topics/a/b", &[]);
        assert_eq!((put.message.topic.as_str(), put.message.retain, put.has_body), ("a/b", true, true));
        assert_eq!(put.message.guarantee, Guarantee::AtLeastOnce);
        assert!(!publication("POST /topics/a", &[]).message.retain);
        let delete = publication("DELETE /topics/a", &[]);
        assert_eq!((delete.message.retain, delete.has_body), (true, false));
        assert!(matches!(ask("GET /topics/a", &[]).unwrap(), Wanted::Read { .. }));
        assert!(matches!(ask("HEAD /topics/a", &[]).unwrap(), Wanted::Read { .. }));
        assert!(matches!(ask("POST /topics:batch", &[]).unwrap(), Wanted::Batch { .. }));
        for (line, allow) in [("PATCH /topics/a", "DELETE"), ("GET /topics:batch", "POST"), ("GET /request/a", "POST")]
        {
            let problem = ask(line, &[]).unwrap_err();
            assert_eq!(problem.status, StatusCode::METHOD_NOT_ALLOWED);
            assert!(problem.allow.unwrap().contains(allow), "{line}");
        }
    }

    #[test]
    fn what_the_headers_say_the_query_may_say_instead() {
        let message = publication("POST /topics/a?qos=2&expiry=5", &[("althing-qos", "0")]).message;
        assert_eq!((message.guarantee, message.expires_ns), (Guarantee::ExactlyOnce, Some(5_000_000_000)));
        let message = publication("POST /topics/a", &[("althing-qos", "0"), ("althing-expiry", "7")]).message;
        assert_eq!((message.guarantee, message.expires_ns), (Guarantee::AtMostOnce, Some(7_000_000_000)));
        for line in ["POST /topics/a?qos=3", "POST /topics/a?expiry=-1", "POST /topics/a?qso=1", "PUT /topics/a/+"] {
            assert_eq!(ask(line, &[]).unwrap_err().status, StatusCode::BAD_REQUEST, "{line}");
        }
    }

    #[test]
    fn listening_takes_filters_from_the_path_and_the_query() {
        let accept = [("accept", "text/event-stream")];
        let Wanted::Stream(subscription, None) =
            ask("GET /topics/a/+?filter=b/%23&qos=0&data=payload", &accept).unwrap()
        else {
            panic!()
        };
        let filters: Vec<&str> = subscription.filters.iter().map(Filter::as_str).collect();
        assert_eq!((filters, subscription.guarantee), (vec!["a/+", "b/#"], Guarantee::AtMostOnce));
        assert_eq!((subscription.data, subscription.wants_retained), (Data::Payload, true));
        assert!(matches!(ask("GET /topics?filter=a&retained=false", &accept), Ok(Wanted::Stream(..))));
        assert!(ask("GET /topics", &accept).unwrap_err().detail.contains("?filter="));
        assert!(ask("GET /topics/a/+", &[("accept", "*/*")]).unwrap_err().detail.contains("text/event-stream"));
    }

    #[test]
    fn a_stream_goes_on_where_the_client_was() {
        let id = "000000000000000000000000000000ab.7";
        let last = |headers: &[(&'static str, &'static str)], line: &str| {
            let headers: Vec<_> = [("accept", "text/event-stream")].iter().chain(headers).copied().collect();
            match ask(line, &headers).unwrap() {
                Wanted::Stream(_, last) => last,
                other => panic!("{other:?}"),
            }
        };
        let expected = Some(EventId { stream: 0xab, number: 7 });
        assert_eq!(last(&[("last-event-id", "000000000000000000000000000000ab.7")], "GET /topics/a"), expected);
        assert_eq!(last(&[], &format!("GET /topics/a?last_event_id={id}")), expected);
        assert_eq!(last(&[("last-event-id", "from elsewhere")], "GET /topics/a"), Some(UNKNOWN));
    }

    #[test]
    fn polls_wait_and_go_on() {
        let Wanted::Poll(poll) = ask("GET /topics/a?wait=900", &[]).unwrap() else { panic!() };
        assert_eq!((poll.wait_s, poll.sequence), (WAIT_S_MAX, Sequence::Single));
        assert!(!poll.subscription.wants_retained);
        let Wanted::Poll(poll) = ask("GET /topics/a?after=", &[("if-none-match", "\"x\"")]).unwrap() else { panic!() };
        assert_eq!((poll.wait_s, poll.sequence), (0, Sequence::First));
        assert!(poll.subscription.wants_retained);
        let line = "GET /topics/a?wait=5&after=000000000000000000000000000000ab.7";
        let Wanted::Poll(poll) = ask(line, &[]).unwrap() else { panic!() };
        assert_eq!(poll.sequence, Sequence::After(EventId { stream: 0xab, number: 7 }));
        assert!(ask("GET /topics/a?wait=5&after=x", &[]).is_err());
    }

    #[test]
    fn questions_have_a_time_and_a_number_of_answers() {
        let Wanted::Ask(question) = ask("POST /request/a/b", &[]).unwrap() else { panic!() };
        assert_eq!((question.wait_s, question.answers_max), (10, None));
        let Wanted::Ask(question) = ask("POST /request/a/b?wait=2&answers=3", &[]).unwrap() else { panic!() };
        assert_eq!((question.wait_s, question.answers_max), (2, Some(3)));
        assert!(ask("POST /request/a", &[("althing-response-topic", "b")]).is_err());
    }

    #[test]
    fn the_documents_describe_what_there_is() {
        for (path, text) in DOCUMENTS {
            assert!(is_ours(path));
            assert_eq!(ask(&format!("GET {path}"), &[]), Ok(Wanted::Document(text)));
            let document: serde_json::Value = serde_json::from_str(text).unwrap();
            assert!(document["info"]["title"].is_string());
            // Every reference leads somewhere.
            for reference in text.split("\"$ref\": \"#").skip(1) {
                let pointer = reference.split('"').next().unwrap();
                assert!(document.pointer(pointer).is_some(), "{path}: {pointer}");
            }
        }
        let openapi: serde_json::Value = serde_json::from_str(DOCUMENTS[0].1).unwrap();
        for (path, operations) in openapi["paths"].as_object().unwrap() {
            assert!(is_ours(path), "{path}");
            for method in operations.as_object().unwrap().keys() {
                let line = format!("{} {}?filter=a", method.to_uppercase(), path.replace("{topic}", "a"));
                let problem = ask(&line, &[("accept", "text/event-stream")]).err();
                let status = problem.map_or(200, |problem| problem.status.as_u16());
                assert!(status != 405 && status != 404, "{line}: {status}");
            }
        }
    }

    #[test]
    fn only_our_paths_are_ours() {
        for path in ["/topics", "/topics/", "/topics/a", "/topics:batch", "/request/a"] {
            assert!(is_ours(path), "{path}");
        }
        for path in ["/", "/topic", "/topicsa", "/api/v1", "/request", "/Topics/a"] {
            assert!(!is_ours(path), "{path}");
        }
    }
}
