//! `pub` and `sub` in the languages besides MQTT: the few steps that all of them have, each carried out before the next.

mod coap;
mod http;
mod stomp;

use crate::arguments::{PublishArguments, SubscribeArguments};
use crate::coap::Carrier;
use crate::coap::arguments::SecurityArguments;
use crate::connection::{Endpoint, guarantee, topic_name};
use crate::exit::{ExitCode, Failure};
use crate::message::Received;
use crate::output::{Log, Printer};
use crate::payload::Payloads;
use crate::properties::Given;
use crate::stop::Stop;
use crate::subscriber::parse_filter;
use crate::tls::Tls;
use althing_core::{Filter, Guarantee, Properties, Topic};
use althing_mqtt::client::publication;
use althing_mqtt::packet::Publish;
use bytes::Bytes;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long a goodbye may take: a broker that has hung must not hold the user up.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A language besides MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    Coap(Carrier),
    Http,
    Stomp,
}

impl Language {
    /// As in URLs.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Coap(_) => "coap",
            Self::Http => "http",
            Self::Stomp => "stomp",
        }
    }

    /// Whatever carries it.
    pub fn is_coap(self) -> bool {
        matches!(self, Self::Coap(_))
    }

    /// Where its brokers listen.
    pub fn port_default(self, is_tls: bool) -> u16 {
        let row = match self {
            Self::Coap(carrier) => return carrier.port_default(),
            // What a URL says without a port (RFC 9110 §4.2).
            Self::Http => return if is_tls { 443 } else { 80 },
            Self::Stomp => &althing_stomp::PROTOCOL,
        };
        row.default_tls_port.filter(|_| is_tls).unwrap_or(row.default_port)
    }
}

/// What a link needs to know, checked.
#[derive(Clone, Debug)]
pub struct ForeignPlan {
    pub language: Language,
    /// Name or address.
    pub host: String,
    pub port: u16,
    /// How TLS is spoken, if it is; not for CoAP.
    pub tls: Option<Tls>,
    /// What protects CoAP.
    pub security: SecurityArguments,
    pub username: Option<String>,
    pub password: Option<String>,
    /// How long connecting, and each answer of the broker, may take.
    pub timeout: Duration,
    /// The topic or filter that the URL names.
    pub topic: Option<String>,
    /// Properties of the messages, in a language that can say them.
    pub properties: Given,
}

impl ForeignPlan {
    fn endpoint(&self) -> Endpoint {
        Endpoint::Tcp(self.host.clone(), self.port)
    }

    fn cannot_connect(&self, error: &io::Error) -> Failure {
        crate::refusal::cannot_connect(&self.endpoint(), error)
    }

    fn cannot_say(&self, option: &str) -> Failure {
        Failure::usage(format!("{}:// cannot say {option}: leave it out or use mqtt://", self.language.scheme()))
    }
}

/// A message that came in.
#[derive(Debug)]
pub struct Message {
    topic: Topic,
    payload: Bytes,
    retain: bool,
    /// What acknowledges it, in its language.
    acknowledgement: Option<String>,
    said: Said,
}

/// What only some languages can say of a message.
#[derive(Clone, Debug, Default)]
pub struct Said {
    qos: Option<Guarantee>,
    expiry_s: Option<u32>,
    properties: Option<Arc<Properties>>,
}

impl Message {
    /// The packet that says the same in MQTT. `qos` holds where the language does not say.
    fn into_publish(self, qos: Guarantee) -> Publish {
        let Said { qos: said, expiry_s, properties } = self.said;
        let mut publish = publication(self.topic, self.payload, said.unwrap_or(qos));
        publish.retain = self.retain;
        publish.message_expiry_s = expiry_s;
        publish.properties = properties;
        publish
    }
}

/// One conversation with a broker.
#[derive(Debug)]
pub enum Link {
    Coap(Box<coap::Link>),
    Http(Box<http::Link>),
    Stomp(Box<stomp::Link>),
}

/// The same call in whichever language it is.
macro_rules! either {
    ($self:expr, $link:ident => $call:expr) => {
        match $self {
            Link::Coap($link) => $call,
            Link::Http($link) => $call,
            Link::Stomp($link) => $call,
        }
    };
}

impl Link {
    /// Opens it, within the time that the plan allows.
    pub async fn connect(plan: &ForeignPlan) -> Result<Self, Failure> {
        let connecting = async {
            Ok(match plan.language {
                Language::Coap(carrier) => Self::Coap(Box::new(coap::Link::connect(plan, carrier).await?)),
                Language::Http => Self::Http(Box::new(http::Link::connect(plan).await?)),
                Language::Stomp => Self::Stomp(Box::new(stomp::Link::connect(plan).await?)),
            })
        };
        in_time(plan, connecting).await
    }

    /// Publishes; above QoS 0 it returns when the broker has confirmed.
    pub async fn publish(&mut self, publication: &Publication, payload: Bytes) -> Result<(), Failure> {
        either!(self, link => link.publish(publication, payload).await)
    }

    /// Returns when the broker has confirmed the subscriptions.
    async fn subscribe(&mut self, filters: &[Filter], qos: Guarantee) -> Result<(), Failure> {
        let is_acknowledged = qos > Guarantee::AtMostOnce;
        match self {
            Self::Http(link) => return link.subscribe(filters, qos).await,
            Self::Coap(link) => {
                for filter in filters {
                    link.subscribe(filter, is_acknowledged).await?;
                }
            }
            Self::Stomp(link) => {
                for filter in filters {
                    link.subscribe(filter, is_acknowledged).await?;
                }
            }
        }
        Ok(())
    }

    async fn next(&mut self) -> Result<Message, Failure> {
        either!(self, link => link.next().await)
    }

    async fn acknowledge(&mut self, acknowledgement: Option<&str>) -> Result<(), Failure> {
        match (self, acknowledgement) {
            (Self::Stomp(link), Some(ack)) => link.acknowledge(ack).await,
            // CoAP acknowledges what it receives, and what HTTP sends was received.
            _ => Ok(()),
        }
    }

    /// Says goodbye.
    pub async fn close(&mut self) -> Result<(), Failure> {
        timeout(CLOSE_TIMEOUT, async { either!(self, link => link.close().await) }).await.unwrap_or(Ok(()))
    }
}

/// What all messages of one `pub` have in common.
#[derive(Debug)]
pub struct Publication {
    /// Where to.
    pub topic: Topic,
    /// Whether the broker is to confirm each.
    pub is_confirmed: bool,
    /// Whether it becomes the topic's last value.
    pub retain: bool,
    /// What more the language may be able to say.
    pub said: Said,
}

/// `althing pub`
pub async fn publish(arguments: &PublishArguments, plan: &ForeignPlan) -> Result<ExitCode, Failure> {
    if arguments.qos > 1 && plan.language != Language::Http {
        return Err(plan.cannot_say("QoS 2"));
    }
    let topic = arguments.topic.as_ref().or(plan.topic.as_ref());
    let topic = topic.ok_or_else(|| Failure::usage("no topic to publish to: add -t, or a path to the URL"))?;
    let topic = topic_name(topic)?;
    let mut template = publication(topic.clone(), Bytes::new(), guarantee(arguments.qos));
    plan.properties.apply_to_publish(&mut template)?;
    let Publish { qos, message_expiry_s: expiry_s, properties, .. } = template;
    let said = Said { qos: Some(qos), expiry_s, properties };
    let publication = Publication { topic, is_confirmed: arguments.qos > 0, retain: arguments.retain, said };
    let mut payloads = if arguments.stdin_line {
        Payloads::lines()
    } else {
        Payloads::repeated(arguments.payload.read()?, arguments.repeat, arguments.repeat_delay)
    };
    let mut stop = Stop::new(None)?;
    let mut link = None;
    let publishing = async {
        let link = link.insert(Link::connect(plan).await?);
        while let Some(payload) = payloads.next().await? {
            in_time(plan, link.publish(&publication, payload)).await?;
        }
        Ok(())
    };
    let result = tokio::select! {
        code = stop.requested() => Ok(code),
        result = publishing => result.map(|()| ExitCode::Ok),
    };
    close(link, result).await
}

/// `althing sub`
pub async fn subscribe(arguments: &SubscribeArguments, plan: &ForeignPlan) -> Result<ExitCode, Failure> {
    let filters = filters(arguments, plan)?;
    let mut printer = Printer::new(&arguments.output)?;
    let log = Log::new(arguments.connection.quiet, arguments.connection.debug);
    let mut stop = Stop::new(arguments.timeout)?;
    let mut printed = 0;
    let mut link = None;
    let watching = async {
        let link = link.insert(Link::connect(plan).await?);
        in_time(plan, link.subscribe(&filters, guarantee(arguments.qos))).await?;
        for filter in &filters {
            log.debug(&format!("subscribed to {filter}"));
        }
        while !arguments.exit_after_subscribe && arguments.count.is_none_or(|count| printed < count) {
            let mut message = link.next().await?;
            let acknowledgement = message.acknowledgement.take();
            let publish = message.into_publish(guarantee(arguments.qos));
            printer.print(&Received::now(publish, Default::default()).in_language(plan.language.scheme()), log)?;
            printed += 1;
            link.acknowledge(acknowledgement.as_deref()).await?;
        }
        Ok(())
    };
    let result = tokio::select! {
        code = stop.requested() => Ok(code),
        result = watching => result.map(|()| ExitCode::Ok),
    };
    match close(link, result).await? {
        ExitCode::Timeout if arguments.count.is_none() && printed > 0 => Ok(ExitCode::Ok),
        code => Ok(code),
    }
}

/// Says goodbye, unless the conversation has failed.
async fn close(link: Option<Link>, result: Result<ExitCode, Failure>) -> Result<ExitCode, Failure> {
    let code = result?;
    if let Some(mut link) = link {
        link.close().await?;
    }
    Ok(code)
}

/// The filters to subscribe to; errors are usage errors.
fn filters(arguments: &SubscribeArguments, plan: &ForeignPlan) -> Result<Vec<Filter>, Failure> {
    for (is_given, option) in [
        (arguments.qos > 1 && plan.language != Language::Http, "QoS 2"),
        (arguments.no_retained, "--no-retained"),
        (arguments.retained_only, "--retained-only"),
        (arguments.remove_retained, "--remove-retained"),
        (!arguments.filter_out.is_empty(), "--filter-out"),
        (!arguments.unsubscribe.is_empty(), "--unsubscribe"),
        (arguments.retain_as_published, "--retain-as-published"),
        (arguments.no_local, "--no-local"),
    ] {
        if is_given {
            return Err(plan.cannot_say(option));
        }
    }
    let filters = arguments.filters.iter().chain(&arguments.topic).chain(&plan.topic);
    let filters: Vec<Filter> = filters.map(|filter| parse_filter(filter)).collect::<Result<_, _>>()?;
    if filters.is_empty() {
        return Err(Failure::usage("nothing to subscribe to: add a filter"));
    }
    if plan.language.is_coap() && filters.iter().any(|filter| !filter.is_exact() || filter.group().is_some()) {
        return Err(plan.cannot_say("wildcards and shared subscriptions, since it observes one topic at a time"));
    }
    Ok(filters)
}

/// Fails when the broker does not answer in time.
pub async fn in_time<T>(plan: &ForeignPlan, step: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    timeout(plan.timeout, step).await.unwrap_or_else(|_| {
        let text = format!("{} did not answer within {:?}: is a broker running there?", plan.endpoint(), plan.timeout);
        Err(Failure::new(ExitCode::CannotConnect, text))
    })
}

/// The connection broke.
fn lost(error: &io::Error) -> Failure {
    Failure::new(ExitCode::Runtime, format!("the connection is lost: {error}"))
}
