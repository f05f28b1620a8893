//! Validators of a topic's last value (RFC 9110 §8.8, §13): entity tags and the conditions that name them.

use crate::problem::Problem;
use crate::properties;
use althing_core::Message;
use http::header::{IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, StatusCode};
use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::Hasher;

/// The strong validator of a value, quotes included: a digest of its payload and of all that describes it. The same value has the same tag on
/// every shard and after every restart.
pub fn etag(value: &Message) -> String {
    let mut digest = SipHasher13::new();
    let mut put = |bytes: &[u8]| {
        digest.write_usize(bytes.len());
        digest.write(bytes);
    };
    put(&value.payload);
    if let Some(properties) = &value.properties {
        put(properties.content_type.as_deref().unwrap_or_default().as_bytes());
        put(properties.correlation_data.as_deref().unwrap_or_default());
        put(properties.response_topic.as_ref().map_or("", |topic| topic.as_str()).as_bytes());
        for (name, value) in &properties.user {
            put(name.as_bytes());
            put(value.as_bytes());
        }
    }
    let tag = digest.finish128();
    format!("\"{:016x}{:016x}\"", tag.h1, tag.h2)
}

/// A condition that a request puts on the last value, `If-Match` or `If-None-Match`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    /// `*`: there is a value.
    Any,
    /// One of these tags, quotes included; weak ones without their `W/`.
    Tags(Vec<Tag>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Tag {
    opaque: String,
    is_weak: bool,
}

/// What a request wants to be true of the last value before it is carried out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preconditions {
    if_match: Option<Condition>,
    if_none_match: Option<Condition>,
}

/// What the preconditions come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They hold.
    Holds,
    /// The client has the value already: 304 to a reader.
    NotModified,
    /// `If-Match` fails: 412 to everyone.
    Failed,
}

impl Preconditions {
    /// What the headers say.
    ///
    /// # Errors
    /// When they are no lists of entity tags.
    pub fn read(headers: &HeaderMap) -> Result<Self, Problem> {
        Ok(Self { if_match: condition(headers, &IF_MATCH)?, if_none_match: condition(headers, &IF_NONE_MATCH)? })
    }

    /// Whether there is nothing to be checked.
    pub fn is_empty(&self) -> bool {
        self.if_match.is_none() && self.if_none_match.is_none()
    }

    /// Checks them against the value's tag, `None` where there is no value (RFC 9110 §13.2.2).
    pub fn check(&self, etag: Option<&str>) -> Verdict {
        if let Some(condition) = &self.if_match
            && !condition.names(etag, true)
        {
            return Verdict::Failed;
        }
        match &self.if_none_match {
            Some(condition) if condition.names(etag, false) => Verdict::NotModified,
            _ => Verdict::Holds,
        }
    }

    /// The same for a request that changes the value.
    ///
    /// # Errors
    /// 412 when they do not hold.
    pub fn check_change(&self, etag: Option<&str>) -> Result<(), Problem> {
        if self.check(etag) == Verdict::Holds {
            return Ok(());
        }
        let now = etag.map_or_else(|| "there is none".into(), |etag| format!("it is {etag}"));
        Err(Problem::new(StatusCode::PRECONDITION_FAILED, format!("the last value is not the one you mean: {now}")))
    }
}

impl Condition {
    fn names(&self, etag: Option<&str>, is_strong: bool) -> bool {
        match (self, etag) {
            (_, None) => false,
            (Self::Any, Some(_)) => true,
            (Self::Tags(tags), Some(etag)) => tags.iter().any(|tag| tag.opaque == etag && !(is_strong && tag.is_weak)),
        }
    }
}

fn condition(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Condition>, Problem> {
    if !headers.contains_key(name) {
        return Ok(None);
    }
    if properties::text(headers, name).is_ok_and(|value| value == Some("*")) {
        return Ok(Some(Condition::Any));
    }
    let mut tags = Vec::new();
    for value in headers.get_all(name) {
        let list = value.to_str().ok().and_then(read_tags);
        let wrong = || Problem::bad_request(format!("{name} must be * or a list of entity tags in quotes"));
        tags.extend(list.ok_or_else(wrong)?);
    }
    Ok(Some(Condition::Tags(tags)))
}

/// A list of tags (RFC 9110 §5.6.1, §8.8.3); a tag may hold a comma.
fn read_tags(mut list: &str) -> Option<Vec<Tag>> {
    let mut tags = Vec::new();
    loop {
        list = list.trim_start_matches([' ', '\t', ',']);
        if list.is_empty() {
            return Some(tags);
        }
        let rest = list.strip_prefix("W/");
        let is_weak = rest.is_some();
        let inside = rest.unwrap_or(list).strip_prefix('"')?;
        let (opaque, rest) = inside.split_once('"')?;
        if !rest.trim_start().is_empty() && !rest.trim_start().starts_with(',') {
            return None;
        }
        tags.push(Tag { opaque: format!("\"{opaque}\""), is_weak });
        list = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use althing_core::topic::TopicLimits;
    use althing_core::{Properties, Topic};
    use http::HeaderValue;
    use std::sync::Arc;

    fn preconditions(lines: &[(HeaderName, &'static str)]) -> Result<Preconditions, Problem> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name.clone(), HeaderValue::from_static(value));
        }
        Preconditions::read(&headers)
    }

    #[test]
    fn a_tag_names_the_payload_and_what_describes_it() {
        let limits = TopicLimits { length_bytes_max: 100, levels_max: 10 };
        let plain = Message::new(Topic::new("a".into(), &limits).unwrap(), "1".into());
        let mut other = plain.clone();
        assert_eq!(etag(&plain), etag(&other));
        other.payload = "2".into();
        assert_ne!(etag(&plain), etag(&other));
        let mut typed = plain.clone();
        typed.properties = Some(Arc::new(Properties { content_type: Some("x".into()), ..Properties::default() }));
        assert_ne!(etag(&plain), etag(&typed));
    }

    #[test]
    fn conditions_compare_as_they_should() {
        let none_match = |value| preconditions(&[(IF_NONE_MATCH, value)]).unwrap();
        let now = Some("\"a\"");
        assert_eq!(none_match("\"b\", \"a\"").check(now), Verdict::NotModified);
        assert_eq!(none_match("W/\"a\"").check(now), Verdict::NotModified);
        assert_eq!(none_match("\"b\"").check(now), Verdict::Holds);
        assert_eq!(none_match("*").check(now), Verdict::NotModified);
        assert_eq!(none_match("*").check(None), Verdict::Holds);
        let matches = |value| preconditions(&[(IF_MATCH, value)]).unwrap();
        assert_eq!(matches("\"a\"").check(now), Verdict::Holds);
        assert_eq!(matches("W/\"a\"").check(now), Verdict::Failed);
        assert_eq!(matches("*").check(None), Verdict::Failed);
        assert_eq!(matches("\"b\"").check_change(now).unwrap_err().status, StatusCode::PRECONDITION_FAILED);
        assert!(preconditions(&[]).unwrap().is_empty());
    }

    #[test]
    fn lists_may_be_split_and_tags_may_hold_commas() {
        let both = preconditions(&[(IF_NONE_MATCH, "\"x,y\" , \"b\""), (IF_NONE_MATCH, "\"a\"")]).unwrap();
        assert_eq!(both.check(Some("\"a\"")), Verdict::NotModified);
        assert_eq!(both.check(Some("\"x,y\"")), Verdict::NotModified);
        for wrong in ["a", "\"a", "\"a\" \"b\"", "*, \"a\""] {
            assert!(preconditions(&[(IF_MATCH, wrong)]).is_err(), "{wrong}");
        }
    }
}
