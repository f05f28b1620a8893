//! Paths and topics: `/topics/` and a topic's levels, each percent-encoded where it has to be.
//!
//! A path is decoded exactly once, level by level, after it was split at its slashes (RFC 3986 §2.4, §3.3). So `%2F` would be a
//! slash *inside* a level, which no topic has: it is refused rather than taken for a separator, because a proxy that rules
//! by path would have seen one level where we see two.

use crate::problem::Problem;
use althing_core::topic::TopicLimits;
use althing_core::{Filter, Topic};
use http::StatusCode;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// What a path segment may not hold as it is (RFC 3986 §3.3 allows `pchar`), and the percent sign itself.
const NO_PCHAR: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'%').add(b'/').add(b'<').add(b'>').add(b'?').add(b'[').add(b'\\');
const SEGMENT: &AsciiSet = &NO_PCHAR.add(b']').add(b'^').add(b'`').add(b'{').add(b'|').add(b'}').add(b'+');

/// The topic that `path` (what follows `/topics/`) names.
///
/// # Errors
/// A sentence for the client.
pub fn topic(path: &str, limits: &TopicLimits) -> Result<Topic, Problem> {
    let name = decoded(path)?;
    Topic::new(name.into(), limits).map_err(|error| Problem::bad_request(format!("the path names no topic: {error}")))
}

/// The filter that `path` (what follows `/topics/`) names. `#` begins a URL's fragment, so it is written `%23`.
///
/// # Errors
/// A sentence for the client.
pub fn filter(path: &str, limits: &TopicLimits) -> Result<Filter, Problem> {
    let text = decoded(path)?;
    Filter::new(text.into(), limits).map_err(|error| Problem::bad_request(format!("the path names no filter: {error}")))
}

/// The path of `topic`, from its root.
pub fn of_topic(topic: &Topic) -> String {
    let mut path = String::from("/topics");
    for level in topic.levels() {
        path.push('/');
        path.extend(utf8_percent_encode(level, SEGMENT));
    }
    path
}

/// The levels, decoded once and joined.
fn decoded(path: &str) -> Result<String, Problem> {
    let mut text = String::with_capacity(path.len());
    for (place, segment) in path.split('/').enumerate() {
        if place > 0 {
            text.push('/');
        }
        let level = percent_decoded(segment)?;
        if level.contains('/') {
            let detail = "%2F is a slash inside a level, which no topic has; write / between levels";
            return Err(Problem::bad_request(detail));
        }
        // Browsers, curl and proxies resolve these before they send them, escaped or not (RFC 3986 §5.2.4, WHATWG URL
        // §4.4): whoever sends one means another resource than whoever receives it.
        if level == "." || level == ".." {
            let detail = "a path cannot name a level . or .. because clients resolve them; such a topic can be published \
                          to by POST /topics:batch and subscribed to by ?filter=";
            return Err(Problem::bad_request(detail));
        }
        text.push_str(&level);
    }
    Ok(text)
}

/// `text` with its escapes resolved, once.
///
/// # Errors
/// When an escape is none, or what they spell is not UTF-8.
pub(crate) fn percent_decoded(text: &str) -> Result<String, Problem> {
    if !text.contains('%') {
        return Ok(text.to_owned());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let decoded = match byte {
            b'%' => digit(rest.next()).zip(digit(rest.next())).map(|(high, low)| (high * 16 + low) as u8),
            plain => Some(plain),
        };
        bytes.push(decoded.ok_or_else(|| Problem::bad_request("% must be followed by two hexadecimal digits"))?);
    }
    String::from_utf8(bytes)
        .map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "percent escapes must spell valid UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: TopicLimits = TopicLimits { length_bytes_max: 65_535, levels_max: 128 };

    fn named(path: &str) -> String {
        topic(path, &LIMITS).unwrap().to_string()
    }

    fn refused(path: &str) -> String {
        let problem = topic(path, &LIMITS).unwrap_err();
        assert_eq!(problem.status, StatusCode::BAD_REQUEST);
        problem.detail.into_owned()
    }

    #[test]
    fn levels_are_segments_decoded_once() {
        assert_eq!(named("a/b"), "a/b");
        assert_eq!(named("a%20b/%C3%BC/ü"), "a b/ü/ü");
        assert_eq!(named("100%25"), "100%");
        assert_eq!(named("%252F"), "%2F");
        assert_eq!(named("$queue/jobs"), "$queue/jobs");
        assert_eq!(named("...") + &named(".a"), "....a");
    }

    #[test]
    fn empty_levels_stay() {
        assert_eq!([named("/a"), named("a/"), named("a//b"), named("/")], ["/a", "a/", "a//b", "/"]);
        assert!(refused("").contains("at least one character"));
    }

    #[test]
    fn what_no_topic_holds_is_refused_in_words() {
        assert!(refused("a%2Fb").contains("slash inside a level"));
        assert!(refused("a%2fb").contains("slash inside a level"));
        assert!(refused("a%00b").contains("U+0000"));
        for wildcard in ["a/+", "%2B", "a/%23"] {
            assert!(refused(wildcard).contains("wildcards"), "{wildcard}");
        }
        for dots in ["a/../b", "..", "a/%2e%2E/b", "a/./b"] {
            assert!(refused(dots).contains("resolve them"), "{dots}");
        }
        for escape in ["%", "%1", "a%zz", "%+1"] {
            assert!(refused(escape).contains("hexadecimal"), "{escape}");
        }
        assert!(refused("%ff").contains("UTF-8"));
    }

    #[test]
    fn filters_have_wildcards() {
        let text = |path| filter(path, &LIMITS).unwrap().to_string();
        assert_eq!(text("a/+/b"), "a/+/b");
        assert_eq!(text("a/%23"), "a/#");
        assert_eq!(text("$share/g/a/%2B"), "$share/g/a/+");
        assert!(filter("a%23", &LIMITS).is_err());
    }

    proptest! {
        #[test]
        fn every_topic_has_a_path_that_names_it(name in "[^\\x00+#]{1,40}") {
            let wanted = Topic::new(name.into(), &LIMITS).unwrap();
            let path = of_topic(&wanted);
            prop_assert!(path.is_ascii());
            path.parse::<http::Uri>().unwrap();
            let has_dots = wanted.levels().any(|level| level == "." || level == "..");
            match topic(&path["/topics/".len()..], &LIMITS) {
                Ok(found) => prop_assert_eq!(found, wanted),
                Err(_) => prop_assert!(has_dots),
            }
        }

        #[test]
        fn no_path_is_decoded_twice(path in "[a-z%0-9/]{0,20}") {
            if let Ok(found) = topic(&path, &LIMITS) {
                prop_assert_eq!(topic(&of_topic(&found)["/topics/".len()..], &LIMITS).unwrap(), found);
            }
        }
    }
}
