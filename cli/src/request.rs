//! `althing request`: publish with a response topic and correlation data, print the answers (§4.10).

use crate::arguments::RequestArguments;
use crate::connection::{Plan, guarantee, topic_name};
use crate::exit::{ExitCode, Failure};
use crate::message::Received;
use crate::output::{Log, Printer};
use crate::refusal;
use crate::stop::Stop;
use crate::subscriber::{News, Subscriber, Wishes, entropy, subscribe_filters};
use althing_core::{Properties, Topic};
use althing_mqtt::client::publication;
use althing_mqtt::packet::{Publish, Version};
use bytes::Bytes;
use std::sync::Arc;

/// Sends the request and waits for as many answers as were asked for.
pub async fn run(arguments: &RequestArguments) -> Result<ExitCode, Failure> {
    let plan = arguments.connection.plan()?;
    let request = request(arguments, &plan)?;
    let printer = Printer::new(&arguments.output)?;
    let log = Log::new(arguments.connection.quiet, arguments.connection.debug);
    let filter = request.response_topic.as_str().to_owned();
    let filters = subscribe_filters([&filter], guarantee(arguments.qos), false, false)?;
    let wishes = Wishes { filters, unsubscribe: Vec::new(), reconnect: false };
    let mut stop = Stop::new(Some(arguments.timeout))?;
    let mut requester = Requester { subscriber: Subscriber::new(plan, log, wishes), request, printer };
    let result = tokio::select! {
        code = stop.requested() => Ok(code),
        result = requester.ask(arguments.count) => result.map(|()| ExitCode::Ok),
    };
    requester.subscriber.link.close().await;
    if result == Ok(ExitCode::Timeout) {
        let text = format!("no answer came on {} within {:?}", requester.request.response_topic, arguments.timeout);
        return Err(Failure::new(ExitCode::Timeout, text));
    }
    result
}

struct Request {
    publish: Publish,
    response_topic: Topic,
    /// `None` in MQTT 3: then everything on the response topic is an answer.
    correlation_data: Option<Bytes>,
}

fn request(arguments: &RequestArguments, plan: &Plan) -> Result<Request, Failure> {
    let topic = arguments.topic.as_ref().or(plan.url_topic.as_ref());
    let topic = topic.ok_or_else(|| Failure::usage("no topic to send the request to: add -t, or a path to the URL"))?;
    let mut publish = publication(topic_name(topic)?, arguments.payload.read()?, guarantee(arguments.qos));
    publish.retain = arguments.retain;
    plan.properties.apply_to_publish(&mut publish)?;
    let mut properties = publish.properties.as_deref().cloned().unwrap_or_default();
    let response_topic = match (&arguments.response_topic, properties.response_topic.take()) {
        (Some(text), _) => topic_name(text)?,
        (None, Some(topic)) => topic,
        (None, None) => topic_name(&format!("althing/response/{:016x}", entropy().next_u64()))?,
    };
    if plan.connect.version != Version::V5 {
        return Ok(Request { publish, response_topic, correlation_data: None });
    }
    let correlation_data =
        properties.correlation_data.take().unwrap_or_else(|| Bytes::from(format!("{:016x}", entropy().next_u64())));
    publish.properties = Some(Arc::new(Properties {
        response_topic: Some(response_topic.clone()),
        correlation_data: Some(correlation_data.clone()),
        ..properties
    }));
    Ok(Request { publish, response_topic, correlation_data: Some(correlation_data) })
}

struct Requester {
    subscriber: Subscriber,
    request: Request,
    printer: Printer,
}

impl Requester {
    async fn ask(&mut self, count: u64) -> Result<(), Failure> {
        let mut printed = 0;
        while printed < count {
            match self.subscriber.next().await? {
                // Only now is it sure that the answer will be heard.
                News::Ready => {
                    self.subscriber.link.publish(self.request.publish.clone())?;
                }
                News::Published { code, .. } if code >= 0x80 => {
                    return Err(refusal::acknowledgement("the request", code));
                }
                News::Published { code: 0x10, .. } => {
                    self.subscriber.link.log().warn("nobody is subscribed to the request's topic");
                }
                News::Published { .. } => {}
                News::Message(publish) => {
                    if self.is_answer(&publish) {
                        let client = self.subscriber.link.client_id().clone();
                        let log = self.subscriber.link.log();
                        self.printer.print(&Received::now(publish.clone(), client), log)?;
                        printed += 1;
                    }
                    self.subscriber.link.acknowledge(&publish);
                }
            }
        }
        Ok(())
    }

    fn is_answer(&self, publish: &Publish) -> bool {
        let data = publish.properties.as_ref().and_then(|properties| properties.correlation_data.as_ref());
        self.request.correlation_data.is_none() || data == self.request.correlation_data.as_ref()
    }
}
