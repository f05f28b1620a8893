//! `althing run`: plays a collection from top to bottom, as a script or a test.

use crate::arguments::RunArguments;
use crate::collection::{Action, Collection, Step};
use crate::exit::{ExitCode, Failure};
use crate::link::Link;
use crate::output::{Log, write_stdout};
use crate::refusal;
use crate::stop::Stop;
use crate::subscriber::{entropy, parse_filter};
use althing_core::{Entropy, Filter, Guarantee, Properties};
use althing_mqtt::client::Event;
use althing_mqtt::packet::{Publish, Subscribe, SubscribeFilter, Version};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Messages that no step has asked for yet; the oldest go first.
const INBOX_MAX: usize = 10_000;

/// Plays the steps; the first that fails ends the command.
pub async fn run(arguments: &RunArguments) -> Result<ExitCode, Failure> {
    let collection = Collection::read(&arguments.file)?;
    let plan = arguments.connection.plan()?;
    let log = Log::new(arguments.connection.quiet, arguments.connection.debug);
    let mut stop = Stop::new(None)?;
    let mut player = Player { link: Link::new(plan, log), inbox: VecDeque::new(), entropy: entropy() };
    let result = tokio::select! {
        code = stop.requested() => Ok(code),
        result = player.play(&collection) => result.map(|()| ExitCode::Ok),
    };
    player.link.close().await;
    result
}

struct Player {
    link: Link,
    inbox: VecDeque<Publish>,
    entropy: Entropy,
}

impl Player {
    async fn play(&mut self, collection: &Collection) -> Result<(), Failure> {
        self.link.connect().await?;
        for (index, step) in collection.steps.iter().enumerate() {
            let number = index + 1;
            let said = self.step(step).await.map_err(|failure| {
                Failure::new(failure.code, format!("step {number}, {}: {}", step.name, failure.text))
            })?;
            let colon = if said.is_empty() { "" } else { ": " };
            write_stdout(format!("{number} {}{colon}{said}\n", step.name).as_bytes())?;
        }
        Ok(())
    }

    /// Does what a step says; what came of it, for the report.
    async fn step(&mut self, step: &Step) -> Result<String, Failure> {
        match &step.action {
            Action::Subscribe(filter) => self.subscribe(filter.clone()).await,
            Action::Publish(publish) => self.publish(publish.clone()).await.map(|()| String::new()),
            Action::Request { publish, answer, within } => {
                self.request(publish.clone(), answer.as_ref(), *within).await
            }
            Action::Expect { filter, payload, within } => {
                let is_wanted = |publish: &Publish| is_match(publish, filter, payload.as_ref());
                let text = format!("no such message came within {within:?}");
                let found = self.wait(is_wanted, *within, text).await?;
                Ok(show(&found))
            }
        }
    }

    async fn subscribe(&mut self, filter: SubscribeFilter) -> Result<String, Failure> {
        let filters = vec![filter];
        self.link.subscribe(Subscribe { packet_id: 0, subscription_id: None, user_properties: Vec::new(), filters })?;
        loop {
            if let Event::Subscribed(codes) = self.event().await? {
                return match codes.codes.first() {
                    Some(code) if *code < 0x80 => Ok(format!("granted QoS {code}")),
                    code => Err(refusal::acknowledgement("the subscription", code.copied().unwrap_or(0x80))),
                };
            }
        }
    }

    async fn publish(&mut self, publish: Publish) -> Result<(), Failure> {
        let is_acknowledged = publish.qos != Guarantee::AtMostOnce;
        self.link.publish(publish)?;
        if !is_acknowledged {
            return Ok(());
        }
        loop {
            match self.event().await? {
                Event::Published { code, .. } if code >= 0x80 => {
                    return Err(refusal::acknowledgement("the message", code));
                }
                Event::Published { .. } => return Ok(()),
                _ => {}
            }
        }
    }

    /// §4.10. In MQTT 3 whatever comes on the response topic is the answer, and the responder must know it.
    async fn request(
        &mut self,
        mut publish: Publish,
        answer: Option<&Bytes>,
        within: Duration,
    ) -> Result<String, Failure> {
        let mut properties = publish.properties.as_deref().cloned().unwrap_or_default();
        let response_topic = match properties.response_topic.take() {
            Some(topic) => topic,
            None => crate::connection::topic_name(&format!("althing/response/{:016x}", self.entropy.next_u64()))?,
        };
        let data = properties.correlation_data.take();
        let data = data.unwrap_or_else(|| Bytes::from(format!("{:016x}", self.entropy.next_u64())));
        let filter = parse_filter(response_topic.as_str())?;
        let (text, qos) = (response_topic.as_str().into(), publish.qos);
        let wanted =
            SubscribeFilter { filter: text, qos, no_local: false, retain_as_published: false, retain_handling: 2 };
        self.subscribe(wanted).await?;
        let is_v5 = self.link.plan().connect.version == Version::V5;
        if is_v5 {
            publish.properties = Some(Arc::new(Properties {
                response_topic: Some(response_topic),
                correlation_data: Some(data.clone()),
                ..properties
            }));
        }
        self.publish(publish).await?;
        let is_answer = |publish: &Publish| {
            let theirs = publish.properties.as_ref().and_then(|properties| properties.correlation_data.as_ref());
            is_match(publish, &filter, None) && (!is_v5 || theirs == Some(&data))
        };
        let found = self.wait(is_answer, within, format!("no answer came within {within:?}")).await?;
        match answer {
            Some(wanted) if *wanted != found.payload => {
                Err(Failure::new(ExitCode::Runtime, format!("the answer is another one: {}", show(&found))))
            }
            _ => Ok(show(&found)),
        }
    }

    /// The first message that is wanted, of those that came already or come in time. It is taken out.
    async fn wait(
        &mut self,
        is_wanted: impl Fn(&Publish) -> bool,
        within: Duration,
        text: String,
    ) -> Result<Publish, Failure> {
        let search = async {
            loop {
                let place = self.inbox.iter().position(&is_wanted);
                if let Some(found) = place.and_then(|place| self.inbox.remove(place)) {
                    return Ok(found);
                }
                self.event().await?;
            }
        };
        timeout(within, search).await.unwrap_or_else(|_| Err(Failure::new(ExitCode::Timeout, text)))
    }

    /// The next event; messages go to the inbox.
    async fn event(&mut self) -> Result<Event, Failure> {
        let event = self.link.next().await.map_err(|lost| refusal::lost(&lost))?;
        if let Event::Message(publish) = &event {
            self.link.acknowledge(publish);
            if self.inbox.len() == INBOX_MAX {
                self.inbox.pop_front();
            }
            self.inbox.push_back(publish.clone());
        }
        Ok(event)
    }
}

fn is_match(publish: &Publish, filter: &Filter, payload: Option<&Bytes>) -> bool {
    let is_there = publish.topic.as_ref().is_some_and(|topic| filter.matches(topic));
    is_there && payload.is_none_or(|payload| *payload == publish.payload)
}

/// A message in the report: its topic, and its payload as far as that is text.
fn show(publish: &Publish) -> String {
    let topic = publish.topic.as_ref().map_or("", |topic| topic.as_str());
    format!("{topic} {}", althing_core::annotation::text_or_length(&publish.payload))
}
