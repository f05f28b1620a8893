//! Destinations: how STOMP names topics and queues. The specification leaves their syntax to the server.

use althing_core::topic::{TopicError, TopicLimits};
use althing_core::{Filter, Topic};
use bytestring::ByteString;
use std::fmt;

const TOPIC: &str = "/topic/";
const QUEUE: &str = "/queue/";
/// How the core names a queue.
const CORE_QUEUE: &str = "$queue/";

/// Why a destination is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DestinationError {
    /// Neither a topic nor a queue.
    Unknown,
    /// What follows is no name or filter.
    Invalid(TopicError),
}

impl fmt::Display for DestinationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("a destination is /topic/NAME or /queue/NAME"),
            Self::Invalid(why) => write!(f, "not a destination: {why}"),
        }
    }
}

impl std::error::Error for DestinationError {}

/// The topic that SEND's destination names.
pub fn topic(destination: &ByteString, limits: &TopicLimits) -> Result<Topic, DestinationError> {
    Topic::new(address(destination)?, limits).map_err(DestinationError::Invalid)
}

/// The filter that SUBSCRIBE's destination names. Topics may have wildcards, queues may not.
pub fn filter(destination: &ByteString, limits: &TopicLimits) -> Result<Filter, DestinationError> {
    let filter = Filter::new(address(destination)?, limits).map_err(DestinationError::Invalid)?;
    if destination.starts_with(QUEUE) && !filter.is_exact() {
        return Err(DestinationError::Invalid(TopicError::WildcardInName));
    }
    Ok(filter)
}

/// The destination of a topic, in two parts.
pub fn of_topic(topic: &Topic) -> (&'static str, &str) {
    match topic.queue() {
        Some(name) => (QUEUE, name),
        None => (TOPIC, topic.as_str()),
    }
}

fn address(destination: &ByteString) -> Result<ByteString, DestinationError> {
    if let Some(name) = destination.strip_prefix(TOPIC) {
        return Ok(destination.slice_ref(name));
    }
    match destination.strip_prefix(QUEUE) {
        Some("") => Err(DestinationError::Invalid(TopicError::Empty)),
        Some(name) => Ok(format!("{CORE_QUEUE}{name}").into()),
        None => Err(DestinationError::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_name_topics_and_queues_both_ways() {
        let limits = TopicLimits::default();
        for (destination, expected) in
            [("/topic/a/b", "a/b"), ("/topic//a", "/a"), ("/queue/q", "$queue/q"), ("/queue/a/b", "$queue/a/b")]
        {
            let topic = topic(&destination.into(), &limits).unwrap();
            assert_eq!(topic.as_str(), expected);
            let (prefix, name) = of_topic(&topic);
            assert_eq!(format!("{prefix}{name}"), destination);
            assert_eq!(filter(&destination.into(), &limits).unwrap().as_str(), expected);
        }
        assert_eq!(filter(&"/topic/a/+/#".into(), &limits).unwrap().as_str(), "a/+/#");
    }

    #[test]
    fn what_is_no_destination_says_why() {
        let limits = TopicLimits::default();
        for (destination, why) in [
            ("", DestinationError::Unknown),
            ("a/b", DestinationError::Unknown),
            ("/topic", DestinationError::Unknown),
            ("/topic/", DestinationError::Invalid(TopicError::Empty)),
            ("/queue/", DestinationError::Invalid(TopicError::Empty)),
            ("/queue/+", DestinationError::Invalid(TopicError::WildcardInName)),
        ] {
            assert_eq!(topic(&destination.into(), &limits).unwrap_err(), why, "{destination}");
            assert_eq!(filter(&destination.into(), &limits).unwrap_err(), why, "{destination}");
        }
        let wildcard = DestinationError::Invalid(TopicError::WildcardInName);
        assert_eq!(topic(&"/topic/a/#".into(), &limits).unwrap_err(), wildcard);
    }
}
