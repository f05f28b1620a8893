//! The client half of CoAP on a datagram socket.

use super::{ForeignPlan, Message, Publication, Said, lost};
use crate::coap::{Datagrams, open_datagrams};
use crate::exit::{ExitCode, Failure};
use crate::link::Clock;
use crate::subscriber::entropy;
use althing_coap::client::{Client, Event};
use althing_coap::message::{Code, Kind, Token, number};
use althing_core::{Filter, Topic};
use bytes::Bytes;
use std::collections::VecDeque;
use std::time::Instant;
use tokio::time::sleep_until;

/// One socket, and what is observed through it.
#[derive(Debug)]
pub struct Link {
    client: Client,
    socket: Datagrams,
    events: VecDeque<Event>,
    observed: Vec<(Token, Topic)>,
    /// Messages that came while something else was waited for.
    messages: VecDeque<Message>,
    clock: Clock,
}

impl Link {
    /// Opens the socket; nothing is said yet.
    pub async fn connect(plan: &ForeignPlan) -> Result<Self, Failure> {
        if plan.username.is_some() || plan.password.is_some() {
            return Err(plan.cannot_say("a user name and a password"));
        }
        let socket = open_datagrams(&plan.host, plan.port).await.map_err(|error| plan.cannot_connect(&error))?;
        Ok(Self {
            client: Client::new(Default::default(), entropy()),
            socket,
            events: VecDeque::new(),
            observed: Vec::new(),
            messages: VecDeque::new(),
            clock: Clock::new(),
        })
    }

    /// PUT for the topic's last value, POST else; confirmable when it is to be confirmed.
    pub async fn publish(&mut self, publication: &Publication, payload: Bytes) -> Result<(), Failure> {
        let kind = if publication.is_confirmed { Kind::Confirmable } else { Kind::NonConfirmable };
        let code = if publication.retain { Code::PUT } else { Code::POST };
        let path = path(publication.topic.as_str());
        let token = self.client.request(self.clock.now(), kind, code, &path, |message| message.payload = payload);
        if publication.is_confirmed {
            return self.response(token).await.map(drop);
        }
        self.flush().await
    }

    /// GET with Observe; the value that the topic has already is its first message.
    pub async fn subscribe(&mut self, filter: &Filter, is_acknowledged: bool) -> Result<(), Failure> {
        let name = filter.to_string();
        let topic = crate::connection::topic_name(&name)?;
        let kind = if is_acknowledged { Kind::Confirmable } else { Kind::NonConfirmable };
        let token = self.client.request(self.clock.now(), kind, Code::GET, &path(&name), |message| {
            message.options.add_uint(number::OBSERVE, 0);
        });
        let (payload, is_observed) = self.response(token).await?;
        if !is_observed {
            return Err(Failure::new(ExitCode::Refused, format!("the broker does not let {name} be observed")));
        }
        // A topic without a value is represented by nothing.
        if !payload.is_empty() {
            let topic = topic.clone();
            self.messages.push_back(Message {
                topic,
                payload,
                retain: true,
                acknowledgement: None,
                said: Said::default(),
            });
        }
        self.observed.push((token, topic));
        Ok(())
    }

    /// The next notification.
    pub async fn next(&mut self) -> Result<Message, Failure> {
        loop {
            if let Some(message) = self.messages.pop_front() {
                return Ok(message);
            }
            let event = self.event().await?;
            self.note(event)?;
        }
    }

    /// Observes nothing any longer.
    pub async fn close(&mut self) -> Result<(), Failure> {
        for (token, topic) in std::mem::take(&mut self.observed) {
            self.client.forget(self.clock.now(), token, &path(topic.as_str()));
            self.flush().await?;
        }
        Ok(())
    }

    /// The response to a request, and whether more may follow; an error is a failure.
    async fn response(&mut self, awaited: Token) -> Result<(Bytes, bool), Failure> {
        loop {
            match self.event().await? {
                Event::Response { token, code, payload, is_observed, .. } if token == awaited => {
                    check(code, &payload)?;
                    return Ok((payload, is_observed));
                }
                Event::Failed { token } if token == awaited => {
                    return Err(Failure::new(ExitCode::CannotConnect, "the broker does not answer"));
                }
                event => self.note(event)?,
            }
        }
    }

    /// A notification becomes a message.
    fn note(&mut self, event: Event) -> Result<(), Failure> {
        let Event::Response { token, code, payload, .. } = event else { return Ok(()) };
        let observed = self.observed.iter().find(|(observed, _)| *observed == token);
        let Some((_, topic)) = observed else { return Ok(()) };
        check(code, &payload)?;
        let topic = topic.clone();
        self.messages.push_back(Message {
            topic,
            payload,
            retain: false,
            acknowledgement: None,
            said: Said::default(),
        });
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        for datagram in self.client.output() {
            self.socket.send(&datagram).await.map_err(|error| lost(&error))?;
        }
        Ok(())
    }

    async fn event(&mut self) -> Result<Event, Failure> {
        loop {
            self.flush().await?;
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            let mut events = Vec::new();
            let deadline = self.client.next_timeout().map(|deadline| self.clock.instant(deadline.mono_ns));
            tokio::select! {
                received = self.socket.receive() => {
                    let datagram = received.map_err(|error| lost(&error))?;
                    self.client.receive(self.clock.now(), &datagram, &mut events);
                }
                () = sleep_until(deadline.unwrap_or_else(Instant::now).into()), if deadline.is_some() => {
                    self.client.timeout(self.clock.now(), &mut events);
                }
            }
            self.events.extend(events);
        }
    }
}

/// The resource of a topic.
fn path(topic: &str) -> Vec<&str> {
    std::iter::once("t").chain(topic.split('/')).collect()
}

fn check(code: Code, payload: &Bytes) -> Result<(), Failure> {
    if code.is_success() {
        return Ok(());
    }
    let diagnostic = String::from_utf8_lossy(payload);
    Err(Failure::new(ExitCode::Refused, format!("the broker refused: {code} {diagnostic}").trim_end()))
}
