//! Collections: files of saved steps, as the console exports them (`althing-collection/1`).

use crate::connection::{guarantee, topic_name};
use crate::exit::{ExitCode, Failure};
use crate::subscriber::parse_filter;
use althing_core::{Filter, Properties, Topic};
use althing_mqtt::client::publication;
use althing_mqtt::packet::{Publish, SubscribeFilter};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use bytestring::ByteString;
use serde::Deserialize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const FORMAT: &str = "althing-collection/1";

/// How long an answer or an expected message may take, if the step does not say.
const WITHIN: Duration = Duration::from_secs(5);

/// A file, checked.
#[derive(Debug)]
pub struct Collection {
    /// In the order in which they are played.
    pub steps: Vec<Step>,
}

/// One step.
#[derive(Debug)]
pub struct Step {
    /// What to call it in the report.
    pub name: String,
    /// What to do.
    pub action: Action,
}

/// What a step does.
#[derive(Debug)]
pub enum Action {
    /// Subscribe, and wait for the acknowledgement.
    Subscribe(SubscribeFilter),
    /// Publish, and wait until the message is delivered as its QoS promises.
    Publish(Publish),
    /// Publish, and wait for the answer.
    Request {
        /// With its response topic, if the file names one.
        publish: Publish,
        /// What the answer must be; anything, if not said.
        answer: Option<Bytes>,
        within: Duration,
    },
    /// Wait for a message that no step before has taken.
    Expect {
        filter: Filter,
        /// What it must be; anything, if not said.
        payload: Option<Bytes>,
        within: Duration,
    },
}

impl Collection {
    /// Reads a file; errors are usage errors and name the step.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::new(ExitCode::Runtime, format!("{} cannot be read: {error}", path.display())))?;
        Self::parse(&text).map_err(|failure| Failure::usage(format!("{}: {}", path.display(), failure.text)))
    }

    fn parse(text: &str) -> Result<Self, Failure> {
        let file: File =
            serde_json::from_str(text).map_err(|error| Failure::usage(format!("this is no collection: {error}")))?;
        if file.format != FORMAT {
            return Err(Failure::usage(format!("the format {:?} is not {FORMAT:?}", file.format)));
        }
        let steps = file.steps.into_iter().enumerate().map(|(index, written)| {
            written.check().map_err(|failure| Failure::usage(format!("step {}: {}", index + 1, failure.text)))
        });
        Ok(Self { steps: steps.collect::<Result<_, _>>()? })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: String,
    #[serde(default, rename = "name")]
    _name: String,
    steps: Vec<Written>,
}

/// A step as it is written: one of the first four keys, and what belongs to it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Written {
    subscribe: Option<String>,
    publish: Option<String>,
    request: Option<String>,
    expect: Option<String>,
    name: Option<String>,
    qos: u8,
    retain: bool,
    payload: Option<String>,
    payload_base64: Option<String>,
    content_type: Option<String>,
    response_topic: Option<String>,
    correlation_data: Option<String>,
    message_expiry_s: Option<u32>,
    user_properties: Vec<(String, String)>,
    no_local: bool,
    retain_as_published: bool,
    retain_handling: u8,
    answer: Option<String>,
    within_ms: Option<u64>,
}

impl Written {
    fn check(self) -> Result<Step, Failure> {
        if self.qos > 2 {
            return Err(Failure::usage(format!("there is no QoS {}: use 0, 1 or 2", self.qos)));
        }
        let (kind, subject, action) = match (&self.subscribe, &self.publish, &self.request, &self.expect) {
            (Some(filter), None, None, None) => ("subscribe", filter, self.subscribe_filter(filter)?),
            (None, Some(topic), None, None) => ("publish", topic, Action::Publish(self.publish(topic)?)),
            (None, None, Some(topic), None) => {
                let answer = self.answer.clone().map(Bytes::from);
                ("request", topic, Action::Request { publish: self.publish(topic)?, answer, within: self.within() })
            }
            (None, None, None, Some(filter)) => {
                let (payload, within) = (self.payload()?, self.within());
                ("expect", filter, Action::Expect { filter: parse_filter(filter)?, payload, within })
            }
            _ => return Err(Failure::usage("a step has one of the keys subscribe, publish, request and expect")),
        };
        let name = self.name.as_ref().filter(|name| !name.is_empty());
        Ok(Step { name: name.cloned().unwrap_or_else(|| format!("{kind} {subject}")), action })
    }

    fn subscribe_filter(&self, filter: &str) -> Result<Action, Failure> {
        parse_filter(filter)?;
        if self.retain_handling > 2 {
            return Err(Failure::usage(format!("retain_handling is 0, 1 or 2, not {}", self.retain_handling)));
        }
        Ok(Action::Subscribe(SubscribeFilter {
            filter: filter.into(),
            qos: guarantee(self.qos),
            no_local: self.no_local,
            retain_as_published: self.retain_as_published,
            retain_handling: self.retain_handling,
        }))
    }

    fn publish(&self, topic: &str) -> Result<Publish, Failure> {
        let mut publish = publication(topic_name(topic)?, self.payload()?.unwrap_or_default(), guarantee(self.qos));
        publish.retain = self.retain;
        publish.message_expiry_s = self.message_expiry_s;
        let response_topic: Option<Topic> = self.response_topic.as_deref().map(topic_name).transpose()?;
        let text = |text: &String| ByteString::from(text.as_str());
        let properties = Properties {
            content_type: self.content_type.as_ref().map(text),
            response_topic,
            correlation_data: self.correlation_data.clone().map(Bytes::from),
            user: self.user_properties.iter().map(|(name, value)| (text(name), text(value))).collect(),
            ..Properties::default()
        };
        publish.properties = (!properties.is_empty()).then(|| Arc::new(properties));
        Ok(publish)
    }

    fn payload(&self) -> Result<Option<Bytes>, Failure> {
        match (&self.payload, &self.payload_base64) {
            (Some(_), Some(_)) => Err(Failure::usage("payload and payload_base64 exclude each other")),
            (Some(text), None) => Ok(Some(Bytes::from(text.clone()))),
            (None, Some(base64)) => {
                let bytes = STANDARD.decode(base64);
                bytes.map(|bytes| Some(bytes.into())).map_err(|_| Failure::usage("payload_base64 is not base64"))
            }
            (None, None) => Ok(None),
        }
    }

    fn within(&self) -> Duration {
        self.within_ms.map_or(WITHIN, Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(steps: &str) -> Result<Vec<Step>, String> {
        let text = format!(r#"{{"format": "althing-collection/1", "name": "x", "steps": [{steps}]}}"#);
        Collection::parse(&text).map(|collection| collection.steps).map_err(|failure| failure.text)
    }

    #[test]
    fn what_the_console_exports_is_read() {
        let steps = parse(
            r#"{"subscribe": "a/#", "qos": 1, "no_local": true, "retain_handling": 2},
               {"name": "on", "publish": "a/b", "payload_base64": "/wA=", "qos": 2, "retain": true, "content_type": "t",
                "message_expiry_s": 5, "user_properties": [["k", "v"]]},
               {"request": "a/c", "payload": "?", "response_topic": "r", "correlation_data": "1"},
               {"expect": "a/+", "payload": "x", "within_ms": 10}"#,
        )
        .unwrap_or_default();
        let names: Vec<&str> = steps.iter().map(|step| step.name.as_str()).collect();
        assert_eq!(names, ["subscribe a/#", "on", "request a/c", "expect a/+"]);
        let Some(Step { action: Action::Publish(publish), .. }) = steps.get(1) else { panic!("{steps:?}") };
        assert_eq!((&publish.payload[..], publish.retain), (&[0xFF, 0][..], true));
        assert_eq!((publish.qos as u8, publish.message_expiry_s), (2, Some(5)));
        let Some(Step { action: Action::Expect { within, .. }, .. }) = steps.get(3) else { panic!("{steps:?}") };
        assert_eq!(*within, Duration::from_millis(10));
    }

    #[test]
    fn a_mistake_is_named_with_its_step() {
        for (steps, words) in [
            (r#"{"publish": "a"}, {"publish": "a/#"}"#, "step 2: "),
            (r#"{"publish": "a", "subscribe": "a"}"#, "one of the keys"),
            ("{}", "one of the keys"),
            (r#"{"publish": "a", "qos": 3}"#, "QoS 3"),
            (r#"{"publish": "a", "quality": 1}"#, "unknown field `quality`"),
            (r#"{"publish": "a", "payload_base64": "?"}"#, "not base64"),
            (r#"{"expect": "a/#/b"}"#, "no topic filter"),
        ] {
            let text = parse(steps).map(|_| ()).unwrap_err();
            assert!(text.contains(words), "{steps}: {text}");
        }
        assert!(Collection::parse(r#"{"format": "other", "steps": []}"#).is_err());
    }
}
