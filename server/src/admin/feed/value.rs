//! Values as pages see them, and those of the topic that is selected.

use crate::admin::Admin;
use crate::admin::problem::Problem;
use althing_core::topic::Topic;
use althing_core::topic_watch::LastSeen;
use althing_core::{Message, Origin};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// What a selected topic shows of a payload.
const WHOLE_BYTES_MAX: usize = 64 << 10;

/// A message as it is shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
#[schema(as = FeedValue)]
pub struct Value {
    /// The payload, when it is UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The payload in base64, when it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
    /// Its whole length.
    pub bytes: usize,
    /// Whether only its beginning is here.
    pub truncated: bool,
    pub qos: u8,
    /// Whether it was published to be the last value.
    pub retain: bool,
    /// The language that it was published in; empty for what the broker says.
    pub protocol: &'static str,
    /// The client that published it.
    pub client: String,
    /// When it came, in milliseconds since 1970; absent for last values that came before anybody looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
}

impl Value {
    /// A message that has passed.
    pub fn seen(last: &LastSeen) -> Self {
        Self {
            qos: last.guarantee as u8,
            retain: last.retain,
            at_ms: Some(last.at_ms),
            content_type: last.content_type.as_deref().map(str::to_owned),
            ..Self::of(&last.payload, last.payload_bytes, last.origin.as_ref())
        }
    }

    /// A last value.
    pub fn retained(message: &Message, bytes_max: usize) -> Self {
        let payload = &message.payload[..message.payload.len().min(bytes_max)];
        let properties = message.properties.as_ref();
        Self {
            qos: message.guarantee as u8,
            retain: true,
            content_type: properties.and_then(|it| it.content_type.as_ref()).map(ToString::to_string),
            ..Self::of(payload, message.payload.len(), message.origin.as_ref())
        }
    }

    fn of(payload: &[u8], bytes: usize, origin: Option<&Arc<Origin>>) -> Self {
        let truncated = payload.len() < bytes;
        let text = text(payload, truncated);
        Self {
            base64: text.is_none().then(|| STANDARD.encode(payload)),
            text,
            bytes,
            truncated,
            protocol: origin.map_or("", |origin| origin.protocol),
            client: origin.map(|origin| origin.client.to_string()).unwrap_or_default(),
            ..Self::default()
        }
    }
}

/// The text of a payload, as far as it was kept; a letter that was cut in two does not count.
fn text(payload: &[u8], truncated: bool) -> Option<String> {
    match std::str::from_utf8(payload) {
        Ok(text) => Some(text.to_owned()),
        Err(error) if truncated && error.error_len().is_none() => {
            std::str::from_utf8(&payload[..error.valid_up_to()]).ok().map(str::to_owned)
        }
        Err(_) => None,
    }
}

/// A value of the topic that is selected.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = FeedTopicValue)]
pub struct TopicValue {
    topic: String,
    #[serde(flatten)]
    value: Value,
    /// Messages of this topic that came so soon before this one that they are not shown.
    left_out: u64,
}

/// Follows the topic that is selected.
#[derive(Debug, Default)]
pub struct Selected {
    topic: Option<Topic>,
    /// Messages of it that have been told of; `None` before the first.
    told: Option<u64>,
}

impl Selected {
    /// What is new.
    pub async fn look(&mut self, admin: &Arc<Admin>, wanted: Option<&str>) -> Result<Option<TopicValue>, Problem> {
        if self.topic.as_ref().map(Topic::as_str) != wanted {
            self.leave(admin).await?;
            self.topic = wanted.and_then(|text| Topic::new(text.into(), &admin.config.limits.topic).ok());
            self.told = None;
        }
        let Some(topic) = self.topic.clone() else { return Ok(None) };
        let told = self.told;
        let look = move |inside: &mut althing_net::Inside<'_>| {
            let now = inside.now();
            let retained = told.is_none().then(|| inside.broker().inspect_last_value(now, &topic)).flatten();
            let seen = inside.change(|broker, _, _| {
                let watch = broker.watched_topics_mut()?;
                let node = watch.find(topic.as_str())?;
                watch.set_whole(node, true);
                let messages = watch.own_messages(node);
                (messages > told.unwrap_or(0)).then(|| watch.view(node, WHOLE_BYTES_MAX).last).flatten()
            });
            (topic, retained, seen)
        };
        let (topic, retained, seen) = admin.shard.run(look).await?;
        let (value, messages) = match (seen, retained) {
            (Some(last), _) => (Value::seen(&last), last.messages),
            (None, Some(message)) => (Value::retained(&message, WHOLE_BYTES_MAX), 0),
            (None, None) => {
                self.told = self.told.or(Some(0));
                return Ok(None);
            }
        };
        let left_out = self.told.map_or(0, |told| messages.saturating_sub(told + 1));
        self.told = Some(messages);
        Ok(Some(TopicValue { topic: topic.to_string(), value, left_out }))
    }

    /// Less is kept of a topic that no page looks at any more.
    async fn leave(&mut self, admin: &Arc<Admin>) -> Result<(), Problem> {
        let Some(topic) = self.topic.take().filter(|topic| !admin.feeds.is_selected(topic.as_str())) else {
            return Ok(());
        };
        let leave = move |inside: &mut althing_net::Inside<'_>| {
            inside.change(|broker, _, _| {
                let watch = broker.watched_topics_mut()?;
                let node = watch.find(topic.as_str())?;
                watch.set_whole(node, false);
                Some(())
            })
        };
        admin.shard.run(leave).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_within_a_letter_is_text_still() {
        assert_eq!(text("aü".as_bytes(), false).as_deref(), Some("aü"));
        assert_eq!(text(&"aü".as_bytes()[..2], true).as_deref(), Some("a"));
        assert_eq!(text(&"aü".as_bytes()[..2], false), None);
        assert_eq!(text(b"\xff", true), None);
    }
}
