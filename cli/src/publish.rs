//! `althing pub`

use crate::arguments::PublishArguments;
use crate::connection::{Plan, guarantee, topic_name};
use crate::exit::{ExitCode, Failure};
use crate::foreign;
use crate::link::{Link, Lost};
use crate::output::Log;
use crate::payload::Payloads;
use crate::refusal;
use crate::stop::Stop;
use althing_core::Guarantee;
use althing_mqtt::client::{Event, publication};
use althing_mqtt::packet::Publish;
use bytes::Bytes;

/// Publishes above QoS 0 that may wait for their acknowledgement, so that endless input does not fill the memory.
const OPEN_PUBLISHES_MAX: usize = 1_000;
/// Bytes that may wait for the socket, likewise.
const BACKLOG_BYTES_MAX: usize = 256 * 1_024;

/// Publishes what the arguments say; returns when everything is delivered as its QoS promises.
pub async fn run(arguments: &PublishArguments) -> Result<ExitCode, Failure> {
    if let Some(plan) = arguments.connection.foreign_plan()? {
        return foreign::publish(arguments, &plan).await;
    }
    let plan = arguments.connection.plan()?;
    let template = template(arguments, &plan)?;
    let payloads = if arguments.stdin_line {
        Payloads::lines()
    } else {
        Payloads::repeated(arguments.payload.read()?, arguments.repeat, arguments.repeat_delay)
    };
    let mut stop = Stop::new(None)?;
    let log = Log::new(arguments.connection.quiet, arguments.connection.debug);
    let mut publisher = Publisher { link: Link::new(plan, log), template, payloads, tally: Tally::default() };
    let result = tokio::select! {
        code = stop.requested() => Ok(code),
        result = publisher.publish_all() => result.map(|()| ExitCode::Ok),
    };
    publisher.link.close().await;
    publisher.tally.verdict(result)
}

fn template(arguments: &PublishArguments, plan: &Plan) -> Result<Publish, Failure> {
    let topic = arguments.topic.as_ref().or(plan.url_topic.as_ref());
    let topic = topic.ok_or_else(|| Failure::usage("no topic to publish to: add -t, or a path to the URL"))?;
    let mut publish = publication(topic_name(topic)?, Bytes::new(), guarantee(arguments.qos));
    publish.retain = arguments.retain;
    plan.properties.apply_to_publish(&mut publish)?;
    Ok(publish)
}

struct Publisher {
    link: Link,
    template: Publish,
    payloads: Payloads,
    tally: Tally,
}

impl Publisher {
    async fn publish_all(&mut self) -> Result<(), Failure> {
        self.link.connect().await?;
        let mut finished = false;
        while !(finished && self.link.is_idle()) {
            let room = self.link.can_publish()
                && self.link.open_publishes() < OPEN_PUBLISHES_MAX
                && self.link.backlog_bytes() < BACKLOG_BYTES_MAX;
            tokio::select! {
                payload = self.payloads.next(), if room && !finished => match payload? {
                    Some(payload) => self.publish(payload)?,
                    None => finished = true,
                },
                event = self.link.progress() => self.note(event)?,
            }
        }
        Ok(())
    }

    fn publish(&mut self, payload: Bytes) -> Result<(), Failure> {
        let mut publish = self.template.clone();
        publish.payload = payload;
        self.link.publish(publish)?;
        self.tally.published += 1;
        // At QoS 0 nobody will say more.
        self.tally.delivered += u64::from(self.template.qos == Guarantee::AtMostOnce);
        Ok(())
    }

    fn note(&mut self, event: Result<Option<Event>, Lost>) -> Result<(), Failure> {
        match event {
            Ok(Some(Event::Published { packet_id, code })) if code >= 0x80 => {
                let failure = refusal::acknowledgement("the message", code);
                self.link.log().warn(&failure.text);
                self.tally.refused = Some(failure);
                self.link.log().debug(&format!("message {packet_id} refused"));
                Ok(())
            }
            Ok(Some(Event::Published { packet_id, code })) => {
                self.link.log().debug(&format!("message {packet_id} acknowledged, reason code 0x{code:02x}"));
                self.tally.delivered += 1;
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(lost) => {
                if self.template.qos == Guarantee::AtMostOnce {
                    // What was handed to a broken connection may not have arrived.
                    self.tally.delivered = 0;
                }
                Err(refusal::lost(&lost))
            }
        }
    }
}

/// How it went.
#[derive(Debug, Default)]
struct Tally {
    published: u64,
    /// Acknowledged, or sent at QoS 0.
    delivered: u64,
    /// The last refusal.
    refused: Option<Failure>,
}

impl Tally {
    /// A signal keeps its code; else partial delivery comes before the reason for it.
    fn verdict(self, result: Result<ExitCode, Failure>) -> Result<ExitCode, Failure> {
        match (result, self.refused) {
            (Ok(ExitCode::Ok), Some(_)) if self.delivered > 0 => Ok(ExitCode::Partial),
            // Its sentence has been said when it came.
            (Ok(ExitCode::Ok), Some(refused)) => Ok(refused.code),
            (Err(failure), _) if self.delivered > 0 => {
                let counts = format!("{} of {} messages were delivered", self.delivered, self.published);
                Err(Failure::new(ExitCode::Partial, format!("{}; {counts}", failure.text)))
            }
            (result, _) => result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(delivered: u64, refused: bool, result: Result<ExitCode, Failure>) -> ExitCode {
        let refused = refused.then(|| Failure::new(ExitCode::Refused, "no"));
        Tally { published: 3, delivered, refused }.verdict(result).unwrap_or_else(|failure| failure.code)
    }

    #[test]
    fn the_exit_code_tells_whole_partial_and_none_apart() {
        let lost = || Err(Failure::new(ExitCode::Runtime, "lost"));
        assert_eq!(verdict(3, false, Ok(ExitCode::Ok)), ExitCode::Ok);
        assert_eq!(verdict(2, true, Ok(ExitCode::Ok)), ExitCode::Partial);
        assert_eq!(verdict(0, true, Ok(ExitCode::Ok)), ExitCode::Refused);
        assert_eq!(verdict(1, false, lost()), ExitCode::Partial);
        assert_eq!(verdict(0, false, lost()), ExitCode::Runtime);
        assert_eq!(verdict(1, false, Ok(ExitCode::Interrupted)), ExitCode::Interrupted);
    }
}
