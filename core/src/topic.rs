//! Topic names and filters: validated once, a type from there on (MQTT 5.0 §4.7).

use bytestring::ByteString;
use std::fmt;

/// Why a topic name or filter is not one. The texts are shown to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicError {
    /// [MQTT-4.7.3-1]: at least one character.
    Empty,
    /// [MQTT-4.7.3-3]: at most 65,535 bytes of UTF-8; the house may allow less.
    TooLong,
    /// More levels than the house allows.
    TooDeep,
    /// [MQTT-4.7.3-2]: no U+0000.
    Nul,
    /// [MQTT-4.7.0-1]: wildcards are for filters only.
    WildcardInName,
    /// [MQTT-4.7.1-1, -2]: `#` only as the whole last level, `+` only as a whole level.
    MisplacedWildcard,
    /// [MQTT-4.8.2-1, -2]: `$share/` needs a group without `/`, `+`, `#` and a filter after it.
    BadShare,
}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "a topic needs at least one character",
            Self::TooLong => "the topic is longer than allowed",
            Self::TooDeep => "the topic has more levels than allowed",
            Self::Nul => "a topic must not contain U+0000",
            Self::WildcardInName => "a topic name must not contain the wildcards + and #",
            Self::MisplacedWildcard => "a wildcard must be a whole level, and # the last one",
            Self::BadShare => "a shared subscription is $share/GROUP/FILTER",
        })
    }
}

impl std::error::Error for TopicError {}

crate::described! {
    /// How long and how deep names and filters may be.
    #[derive(Clone, Copy, Debug)]
    pub struct TopicLimits {
        /// Bytes of UTF-8; a protocol with 16-bit lengths ends at 65,535 anyway.
        pub length_bytes_max: usize,
        /// Levels, that is separators plus one. Bounds the work of a match.
        pub levels_max: usize,
    }
}

impl Default for TopicLimits {
    fn default() -> Self {
        Self { length_bytes_max: 65_535, levels_max: 128 }
    }
}

/// Topics and filters `$queue/NAME` name a queue that stands without members.
const QUEUE: &str = "$queue/";

/// The last value of `$ps/NAME` is the configuration of the topic NAME.
const CONFIGURATION: &str = "$ps/";

/// A valid topic name: no wildcard, no NUL, at least one character, within the limits.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(ByteString);

impl Topic {
    /// Validates `name`.
    pub fn new(name: ByteString, limits: &TopicLimits) -> Result<Self, TopicError> {
        // Every publish comes through here, so the loop has no branch; which byte was wrong is asked only
        // when one was.
        let (mut levels, mut forbidden) = (1, false);
        for byte in name.as_bytes() {
            levels += usize::from(*byte == b'/');
            forbidden |= matches!(byte, b'+' | b'#' | 0);
        }
        if forbidden {
            let is_nul = name.as_bytes().contains(&0);
            return Err(if is_nul { TopicError::Nul } else { TopicError::WildcardInName });
        }
        check_size(name.len(), levels, limits)?;
        Ok(Self(name))
    }

    /// The name that is part of a valid one, whatever the limits are.
    pub(crate) fn again(name: ByteString) -> Option<Self> {
        Self::new(name, &TopicLimits { length_bytes_max: usize::MAX, levels_max: usize::MAX }).ok()
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as shared text, without copying.
    pub fn text(&self) -> &ByteString {
        &self.0
    }

    /// The levels from left to right; `a//b` has an empty one in the middle.
    pub fn levels(&self) -> std::str::Split<'_, char> {
        self.0.split('/')
    }

    /// True for `$SYS/…` and its like, which a leading wildcard must not match ([MQTT-4.7.2-1]).
    pub fn is_reserved(&self) -> bool {
        self.0.as_bytes().first() == Some(&b'$')
    }

    /// The queue's name when the topic is `$queue/NAME`.
    pub fn queue(&self) -> Option<&str> {
        self.0.strip_prefix(QUEUE).filter(|name| !name.is_empty())
    }

    /// Whose configuration it is when the topic is `$ps/NAME`.
    pub fn configured(&self) -> Option<&str> {
        self.0.strip_prefix(CONFIGURATION).filter(|name| !name.is_empty())
    }

    /// The topic `$ps/NAME` of this one's configuration.
    ///
    /// # Errors
    /// When that is too long or too deep.
    pub fn configuration(&self, limits: &TopicLimits) -> Result<Self, TopicError> {
        Self::new(format!("{CONFIGURATION}{self}").into(), limits)
    }

    /// The same name in memory of its own, so that it does not pin the buffer that it was read into.
    pub fn detached(&self) -> Self {
        Self(ByteString::from(self.as_str()))
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// A valid topic filter, perhaps shared (`$share/GROUP/PATTERN`, MQTT 5.0 §4.8.2).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Filter {
    text: ByteString,
    /// Where the pattern starts in `text`; 0 when the filter is not shared.
    pattern_start: u32,
}

const SHARE: &str = "$share/";

impl Filter {
    /// Validates `text`.
    pub fn new(text: ByteString, limits: &TopicLimits) -> Result<Self, TopicError> {
        let pattern_start = match text.strip_prefix(SHARE) {
            None => 0,
            Some(rest) => {
                let (group, pattern) = rest.split_once('/').ok_or(TopicError::BadShare)?;
                if group.is_empty() || group.contains(['+', '#']) || pattern.is_empty() {
                    return Err(TopicError::BadShare);
                }
                SHARE.len() + group.len() + 1
            }
        };
        let pattern = &text[pattern_start..];
        let mut levels = 0;
        for level in pattern.split('/') {
            levels += 1;
            if level.len() > 1 && level.contains(['+', '#']) {
                return Err(TopicError::MisplacedWildcard);
            }
        }
        if pattern.split('/').rev().skip(1).any(|level| level == "#") {
            return Err(TopicError::MisplacedWildcard);
        }
        if text.as_bytes().contains(&0) {
            return Err(TopicError::Nul);
        }
        check_size(text.len(), levels, limits)?;
        Ok(Self { pattern_start: pattern_start as u32, text })
    }

    /// The filter that has this text in the store or in the tree, where it came through [`new`](Self::new), whatever
    /// the limits are now.
    pub(crate) fn again(text: &str) -> Option<Self> {
        Self::new(text.into(), &TopicLimits { length_bytes_max: usize::MAX, levels_max: usize::MAX }).ok()
    }

    /// The filter that matches `topic` and nothing else.
    pub fn exactly(topic: &Topic) -> Self {
        Self { text: topic.text().clone(), pattern_start: 0 }
    }

    /// The whole filter, `$share/…` included.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The whole filter as shared text, without copying.
    pub fn text(&self) -> &ByteString {
        &self.text
    }

    /// The group's name when the subscription is shared.
    pub fn group(&self) -> Option<&str> {
        (self.pattern_start > 0).then(|| &self.text[SHARE.len()..self.pattern_start as usize - 1])
    }

    /// True for `$queue/NAME`, whose subscribers compete for what waits there. With a wildcard it is an
    /// ordinary filter, which sees what goes into the queues and takes nothing out.
    pub fn is_queue(&self) -> bool {
        self.text.len() > QUEUE.len() && self.text.starts_with(QUEUE) && self.is_exact()
    }

    /// True when subscribers compete: a shared subscription or a queue.
    pub fn is_shared(&self) -> bool {
        self.pattern_start > 0 || self.is_queue()
    }

    /// What is matched against topic names.
    pub fn pattern(&self) -> &str {
        &self.text[self.pattern_start as usize..]
    }

    /// True when the pattern has no wildcard.
    pub fn is_exact(&self) -> bool {
        !self.pattern().contains(['+', '#'])
    }

    /// Whether the pattern matches `topic`, level by level: the slow and obvious way, for single
    /// questions and as the oracle of the matcher's tests.
    pub fn matches(&self, topic: &Topic) -> bool {
        self.matches_name(topic.as_str())
    }

    /// The same for a name that is known to be a topic's.
    pub fn matches_name(&self, name: &str) -> bool {
        if name.starts_with('$') && self.pattern().starts_with(['+', '#']) {
            return false;
        }
        let mut levels = name.split('/');
        for wanted in self.pattern().split('/') {
            if wanted == "#" {
                return true;
            }
            match levels.next() {
                Some(level) if wanted == "+" || wanted == level => {}
                _ => return false,
            }
        }
        levels.next().is_none()
    }

    /// The same filter in memory of its own.
    pub fn detached(&self) -> Self {
        Self { text: ByteString::from(self.as_str()), pattern_start: self.pattern_start }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

fn check_size(length_bytes: usize, levels: usize, limits: &TopicLimits) -> Result<(), TopicError> {
    if length_bytes == 0 {
        Err(TopicError::Empty)
    } else if length_bytes > limits.length_bytes_max {
        Err(TopicError::TooLong)
    } else if levels > limits.levels_max {
        Err(TopicError::TooDeep)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Result<Topic, TopicError> {
        Topic::new(text.into(), &TopicLimits::default())
    }

    fn filter(text: &str) -> Result<Filter, TopicError> {
        Filter::new(text.into(), &TopicLimits::default())
    }

    #[test]
    fn names_are_validated() {
        for valid in ["a", "/", "//", "a/b c/ü", "$SYS/x", "$share"] {
            assert!(name(valid).is_ok(), "{valid}");
        }
        for (invalid, why) in [
            ("", TopicError::Empty),
            ("a/+", TopicError::WildcardInName),
            ("a#", TopicError::WildcardInName),
            ("a\0b", TopicError::Nul),
        ] {
            assert_eq!(name(invalid).unwrap_err(), why, "{invalid:?}");
        }
        assert_eq!(name(&"/".repeat(128)).unwrap_err(), TopicError::TooDeep);
        assert!(name(&"/".repeat(127)).is_ok());
    }

    #[test]
    fn filters_are_validated() {
        for valid in ["#", "+", "/", "+/+", "a/#", "+/a/#", "/+", "$share/g/a/#", "$share/g//", "$shared/x"] {
            assert!(filter(valid).is_ok(), "{valid}");
        }
        for (invalid, why) in [
            ("", TopicError::Empty),
            ("a#", TopicError::MisplacedWildcard),
            ("a/#/b", TopicError::MisplacedWildcard),
            ("#/", TopicError::MisplacedWildcard),
            ("a+/b", TopicError::MisplacedWildcard),
            ("++", TopicError::MisplacedWildcard),
            ("$share/g", TopicError::BadShare),
            ("$share//a", TopicError::BadShare),
            ("$share/g/", TopicError::BadShare),
            ("$share/g+/a", TopicError::BadShare),
            ("a\0", TopicError::Nul),
        ] {
            assert_eq!(filter(invalid).unwrap_err(), why, "{invalid:?}");
        }
    }

    #[test]
    fn shared_filters_fall_apart_into_group_and_pattern() {
        let shared = filter("$share/workers/jobs/+/x").unwrap();
        assert_eq!((shared.group(), shared.pattern()), (Some("workers"), "jobs/+/x"));
        let plain = filter("jobs/#").unwrap();
        assert_eq!((plain.group(), plain.pattern()), (None, "jobs/#"));
    }

    #[test]
    fn queues_are_names_without_wildcards_under_their_prefix() {
        for (text, expected) in
            [("$queue/q", true), ("$queue/a/b", true), ("$queue/", false), ("$queue", false), ("$queue/+", false)]
        {
            assert_eq!(filter(text).unwrap().is_queue(), expected, "{text}");
        }
        assert!(!filter("$share/g/$queue/q").unwrap().is_queue());
        let topic = name("$queue/a/b").unwrap();
        assert_eq!(topic.queue(), Some("a/b"));
        assert!(Filter::exactly(&topic).is_queue());
        assert_eq!(name("$queue/").unwrap().queue(), None);
        let configuration = name("a/b").unwrap().configuration(&TopicLimits::default()).unwrap();
        assert_eq!((configuration.as_str(), configuration.configured()), ("$ps/a/b", Some("a/b")));
        assert_eq!((name("$ps/").unwrap().configured(), name("ps/a").unwrap().configured()), (None, None));
    }

    #[test]
    fn matching_follows_the_specification() {
        for (pattern, topic, expected) in [
            ("sport/tennis/player1/#", "sport/tennis/player1", true),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
            ("sport/#", "sport", true),
            ("sport/+", "sport", false),
            ("sport/+", "sport/", true),
            ("+/+", "/finance", true),
            ("/+", "/finance", true),
            ("+", "/finance", false),
            ("#", "$SYS/a", false),
            ("+/a", "$SYS/a", false),
            ("$SYS/#", "$SYS/a", true),
            ("$share/g/a/+", "a/b", true),
            ("a", "A", false),
        ] {
            assert_eq!(filter(pattern).unwrap().matches(&name(topic).unwrap()), expected, "{pattern} {topic}");
        }
    }
}
