//! The client half of STOMP on a socket.

use super::{ForeignPlan, Message, Publication, Said, lost};
use crate::exit::{ExitCode, Failure};
use crate::link::Clock;
use crate::refusal;
use crate::socket::Socket;
use crate::tls;
use althing_core::Filter;
use althing_core::topic::TopicLimits;
use althing_stomp::client::{AckMode, Client, ClientError, Event, Options};
use althing_stomp::destination;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::io;
use std::time::Instant;
use tokio::time::sleep_until;

/// One connection.
#[derive(Debug)]
pub struct Link {
    client: Client,
    socket: Socket,
    plan: ForeignPlan,
    input: BytesMut,
    events: VecDeque<Event>,
    /// Messages that came while something else was waited for.
    messages: VecDeque<althing_stomp::client::Message>,
    subscriptions: u64,
    clock: Clock,
}

impl Link {
    /// Opens the socket and waits for CONNECTED.
    pub async fn connect(plan: &ForeignPlan) -> Result<Self, Failure> {
        let socket = Socket::connect(&plan.endpoint(), plan.tls.as_ref()).await?;
        let options = Options {
            host: plan.host.clone().into(),
            login: plan.username.clone().map(Into::into),
            passcode: plan.password.clone().map(Into::into),
            ..Options::default()
        };
        let mut link = Self {
            client: Client::new(options),
            socket,
            plan: plan.clone(),
            input: BytesMut::new(),
            events: VecDeque::new(),
            messages: VecDeque::new(),
            subscriptions: 0,
            clock: Clock::new(),
        };
        link.client.connect(link.clock.now());
        link.wait_for(|event| matches!(event, Event::Connected(_))).await?;
        Ok(link)
    }

    /// SEND, with a receipt when it is to be confirmed.
    pub async fn publish(&mut self, publication: &Publication, payload: Bytes) -> Result<(), Failure> {
        let (prefix, name) = destination::of_topic(&publication.topic);
        let headers: &[(&str, &str)] = if publication.retain { &[("retain", "true")] } else { &[] };
        let (now, destination) = (self.clock.now(), format!("{prefix}{name}"));
        let receipt = self.client.send(now, &destination, headers, payload, publication.is_confirmed);
        self.receipt(receipt).await
    }

    /// SUBSCRIBE with a receipt.
    pub async fn subscribe(&mut self, filter: &Filter, is_acknowledged: bool) -> Result<(), Failure> {
        let ack = if is_acknowledged { AckMode::ClientIndividual } else { AckMode::Auto };
        let (now, id) = (self.clock.now(), self.subscriptions.to_string());
        self.subscriptions += 1;
        let name = filter.to_string();
        let destination = match name.strip_prefix("$queue/") {
            Some(queue) => format!("/queue/{queue}"),
            None => format!("/topic/{name}"),
        };
        let receipt = self.client.subscribe(now, &id, &destination, ack, true);
        self.receipt(receipt).await
    }

    /// ACK.
    pub async fn acknowledge(&mut self, ack: &str) -> Result<(), Failure> {
        let receipt = self.client.ack(self.clock.now(), ack, false);
        self.receipt(receipt).await
    }

    /// The next MESSAGE.
    pub async fn next(&mut self) -> Result<Message, Failure> {
        let message = match self.messages.pop_front() {
            Some(message) => message,
            None => loop {
                if let Event::Message(message) = self.event().await? {
                    break message;
                }
            },
        };
        let topic = destination::topic(&message.destination, &TopicLimits::default())
            .map_err(|error| broken(&format!("the broker sent {}: {error}", message.destination)))?;
        let retain = message.headers.get("retain").is_some_and(|retain| *retain == "true");
        let acknowledgement = message.ack.map(|ack| ack.to_string());
        Ok(Message { topic, payload: message.body, retain, acknowledgement, said: Said::default() })
    }

    /// DISCONNECT; returns when the broker has everything.
    pub async fn close(&mut self) -> Result<(), Failure> {
        self.client.disconnect(self.clock.now()).map_err(failure)?;
        self.wait_for(|event| matches!(event, Event::Disconnected)).await
    }

    /// Writes what has been asked for, and waits for its receipt if there is one to come.
    async fn receipt(&mut self, receipt: Result<Option<u64>, ClientError>) -> Result<(), Failure> {
        match receipt.map_err(failure)? {
            Some(number) => self.wait_for(|event| *event == Event::Receipt(number)).await,
            None => self.socket.write_out(self.client.output()).await.map_err(|error| self.lost(&error)),
        }
    }

    async fn wait_for(&mut self, is_awaited: impl Fn(&Event) -> bool) -> Result<(), Failure> {
        loop {
            match self.event().await? {
                event if is_awaited(&event) => return Ok(()),
                Event::Message(message) => self.messages.push_back(message),
                _ => {}
            }
        }
    }

    /// The next event; an ERROR is a failure.
    async fn event(&mut self) -> Result<Event, Failure> {
        loop {
            match self.events.pop_front() {
                Some(Event::Error(error)) => {
                    let text = format!("the broker refused: {}", error.message);
                    return Err(Failure::new(ExitCode::Refused, text));
                }
                Some(event) => return Ok(event),
                None => self.progress().await?,
            }
        }
    }

    async fn progress(&mut self) -> Result<(), Failure> {
        let deadline = self.client.next_timeout().map(|deadline| self.clock.instant(deadline.mono_ns));
        let moved = tokio::select! {
            moved = self.socket.exchange(self.client.output(), &mut self.input) => moved,
            () = sleep_until(deadline.unwrap_or_else(Instant::now).into()), if deadline.is_some() => {
                return self.client.timeout(self.clock.now()).map_err(failure);
            }
        };
        if !self.client.is_connected() && self.plan.tls.is_none() && tls::is_alert(&self.input) {
            return Err(refusal::speaks_tls(&self.plan.endpoint()));
        }
        let mut events = Vec::new();
        let received = self.client.receive(self.clock.now(), &mut self.input, &mut events);
        self.events.extend(events);
        received.map_err(failure)?;
        // An ERROR that came before the end says why.
        if self.events.is_empty() { moved.map_err(|error| self.lost(&error)) } else { Ok(()) }
    }

    /// The connection broke. In TLS 1.3 that may be a server that refuses our certificate.
    fn lost(&self, error: &io::Error) -> Failure {
        let tls = self.plan.tls.as_ref().filter(|_| !self.client.is_connected());
        tls.and_then(|tls| tls.explain(&self.plan.endpoint(), error)).unwrap_or_else(|| lost(error))
    }
}

fn failure(error: ClientError) -> Failure {
    broken(&error.to_string())
}

fn broken(text: &str) -> Failure {
    Failure::new(ExitCode::Protocol, text)
}
