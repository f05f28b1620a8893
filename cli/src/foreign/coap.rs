//! The client half of CoAP, whatever carries it: topics are resources below `/t`.

use super::{ForeignPlan, Message, Publication, Said};
use crate::coap::{Carrier, Conversation, Manner, Response, Server, Told};
use crate::exit::{ExitCode, Failure};
use althing_coap::message::{Code, Kind, Options, Token, number};
use althing_core::{Filter, Topic};
use bytes::Bytes;
use std::collections::VecDeque;

/// One conversation, and what is observed in it.
#[derive(Debug)]
pub struct Link {
    conversation: Conversation,
    carrier: Carrier,
    observed: Vec<(Token, Topic)>,
    /// Messages that came while something else was waited for.
    messages: VecDeque<Message>,
}

impl Link {
    /// Opens the conversation; over datagrams nothing is said yet.
    pub async fn connect(plan: &ForeignPlan, carrier: Carrier) -> Result<Self, Failure> {
        if plan.username.is_some() || plan.password.is_some() {
            return Err(plan.cannot_say("a user name and a password"));
        }
        let server = Server { carrier, host: plan.host.clone(), port: plan.port };
        let manner = Manner { security: plan.security.clone(), ..Manner::default() };
        let conversation = Conversation::open(&server, &manner).await?;
        Ok(Self { conversation, carrier, observed: Vec::new(), messages: VecDeque::new() })
    }

    /// PUT for the topic's last value, POST else; confirmable when it is to be confirmed.
    pub async fn publish(&mut self, publication: &Publication, payload: Bytes) -> Result<(), Failure> {
        let code = if publication.retain { Code::PUT } else { Code::POST };
        let token = self.ask(code, publication.topic.as_str(), publication.is_confirmed, Options::default(), payload);
        if publication.is_confirmed || self.carrier.is_connection() {
            return self.response(token).await.map(drop);
        }
        self.conversation.flush().await
    }

    /// GET with Observe; the value that the topic has already is its first message.
    pub async fn subscribe(&mut self, filter: &Filter, is_acknowledged: bool) -> Result<(), Failure> {
        let name = filter.to_string();
        let topic = crate::connection::topic_name(&name)?;
        let mut options = Options::default();
        options.add_uint(number::OBSERVE, 0);
        let token = self.ask(Code::GET, &name, is_acknowledged, options, Bytes::new());
        let response = self.response(token).await?;
        if !response.is_observed {
            return Err(Failure::new(ExitCode::Refused, format!("the broker does not let {name} be observed")));
        }
        // A topic without a value is represented by nothing.
        if !response.payload.is_empty() {
            self.messages.push_back(message(&topic, response.payload, true));
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
            if let (token, Told::Response(response)) = self.conversation.next().await? {
                self.note(token, *response)?;
            }
        }
    }

    /// Observes nothing any longer.
    pub async fn close(&mut self) -> Result<(), Failure> {
        for (token, _) in std::mem::take(&mut self.observed) {
            self.conversation.cancel(token);
            // The next one may not be said before this one has arrived.
            if self.conversation.response(token).await.is_err() {
                break;
            }
        }
        self.conversation.close().await;
        Ok(())
    }

    /// A request about a topic. Connections know no kinds: there a parameter says what they would say.
    fn ask(&mut self, code: Code, topic: &str, is_acknowledged: bool, mut options: Options, payload: Bytes) -> Token {
        for segment in std::iter::once("t").chain(topic.split('/')) {
            options.add(number::URI_PATH, Bytes::copy_from_slice(segment.as_bytes()));
        }
        if self.carrier.is_connection() && !is_acknowledged {
            options.add(number::URI_QUERY, &b"qos=0"[..]);
        }
        let kind = if is_acknowledged { Kind::Confirmable } else { Kind::NonConfirmable };
        self.conversation.ask(kind, code, options, payload)
    }

    /// The response to a request; an error is a failure.
    async fn response(&mut self, awaited: Token) -> Result<Response, Failure> {
        loop {
            let (token, Told::Response(response)) = self.conversation.next().await? else { continue };
            if token != awaited {
                self.note(token, *response)?;
                continue;
            }
            return match response.failure() {
                Some(failure) => Err(failure),
                None => Ok(*response),
            };
        }
    }

    /// A notification becomes a message.
    fn note(&mut self, token: Token, response: Response) -> Result<(), Failure> {
        let Some((_, topic)) = self.observed.iter().find(|(observed, _)| *observed == token) else { return Ok(()) };
        if let Some(failure) = response.failure() {
            return Err(failure);
        }
        self.messages.push_back(message(topic, response.payload, false));
        Ok(())
    }
}

fn message(topic: &Topic, payload: Bytes, retain: bool) -> Message {
    Message { topic: topic.clone(), payload, retain, acknowledgement: None, said: Said::default() }
}
