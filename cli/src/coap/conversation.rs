//! One conversation with one server: the client half on whatever carries it.

use super::arguments::SecurityArguments;
use super::oscore::Oscore;
use super::response::Response;
use super::show::code_name;
use super::trace::Trace;
use super::uri::Server;
use super::wire::Wire;
use crate::connection::Endpoint;
use crate::exit::{ExitCode, Failure};
use crate::link::Clock;
use althing_coap::client::{Client, Event};
use althing_coap::message::{Code, Kind, Options, Token};
use bytes::Bytes;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Instant;
use tokio::time::sleep_until;

/// How a conversation is led.
#[derive(Clone, Debug, Default)]
pub struct Manner {
    /// Blocks of this size both ways, where they are asked for.
    pub block_bytes: Option<usize>,
    /// Whether each message is shown on stderr.
    pub is_shown: bool,
    /// What protects it.
    pub security: SecurityArguments,
}

/// One conversation.
pub struct Conversation {
    client: Client,
    wire: Wire,
    oscore: Option<Oscore>,
    events: VecDeque<Event>,
    clock: Clock,
    trace: Option<Trace>,
    endpoint: Endpoint,
}

/// What the server says about something that was asked.
#[derive(Debug)]
pub enum Told {
    /// A response or a notification.
    Response(Box<Response>),
    /// The request has arrived, and no response was wanted.
    Acknowledged,
    /// The answer to a ping.
    Pong,
}

impl Conversation {
    /// Opens it, with the handshakes that belong to it.
    pub async fn open(server: &Server, manner: &Manner) -> Result<Self, Failure> {
        // What lies between is not known (NSTART, §4.7).
        let mut client = Wire::client(server.carrier).with_interactions_max(1).with_renewal();
        if let Some(block_bytes) = manner.block_bytes {
            client = client
                .with_block_bytes(block_bytes)
                .ok_or_else(|| Failure::usage("--block-size is one of 16, 32, 64, 128, 256, 512 and 1024"))?;
        }
        let secrets = &manner.security.secrets;
        let oscore = secrets.oscore.as_ref().map(|text| Oscore::open(text, secrets.oscore_state.as_deref()));
        let oscore = oscore.transpose()?;
        if let Some(oscore) = &oscore {
            client = client.with_oscore(Arc::clone(&oscore.context));
        }
        Ok(Self {
            client,
            oscore,
            wire: Wire::open(server, &manner.security).await?,
            events: VecDeque::new(),
            clock: Clock::new(),
            trace: manner.is_shown.then(|| Trace::new(server.carrier)),
            endpoint: server.endpoint(),
        })
    }

    /// Asks; the token names the request.
    pub fn ask(&mut self, kind: Kind, code: Code, options: Options, payload: Bytes) -> Token {
        self.client.request(self.clock.now(), kind, code, &[], |message| {
            for (number, value) in options.iter() {
                message.options.add(*number, value.clone());
            }
            message.payload = payload;
        })
    }

    /// Asks whether the server is there.
    pub fn ping(&mut self) -> Token {
        self.client.ping(self.clock.now())
    }

    /// Observes no longer; there is one more response.
    pub fn cancel(&mut self, token: Token) {
        self.client.cancel(self.clock.now(), token);
    }

    /// The next thing that is said, and to which request. What was asked and will not be answered is a failure.
    pub async fn next(&mut self) -> Result<(Token, Told), Failure> {
        Ok(match self.event().await? {
            Event::Response { token, code, options, payload, is_observed } => {
                (token, Told::Response(Box::new(Response { code, options, payload, is_observed })))
            }
            Event::Acknowledged { token } => (token, Told::Acknowledged),
            Event::Pong { token } => (token, Told::Pong),
            Event::Failed { .. } => {
                let text = format!(
                    "{} does not answer, or rejects what it was asked: is a CoAP server running there?",
                    self.endpoint
                );
                return Err(Failure::new(ExitCode::CannotConnect, text));
            }
            Event::Broken { why, .. } => return Err(Failure::new(ExitCode::Protocol, why)),
            Event::Unprotected { code, text, .. } => {
                let text =
                    format!("the server does not take the OSCORE context of --oscore: {} ({text})", code_name(code));
                return Err(Failure::new(ExitCode::Refused, text));
            }
            Event::Closed { text } => return Err(Failure::new(ExitCode::Protocol, text)),
        })
    }

    /// The next response to a request; `None` when none is wanted.
    pub async fn response(&mut self, awaited: Token) -> Result<Option<Response>, Failure> {
        loop {
            match self.next().await? {
                (token, Told::Response(response)) if token == awaited => return Ok(Some(*response)),
                (token, Told::Acknowledged) if token == awaited => return Ok(None),
                _ => {}
            }
        }
    }

    /// Returns when the ping is answered.
    pub async fn pong(&mut self, awaited: Token) -> Result<(), Failure> {
        while !matches!(self.next().await?, (token, Told::Pong) if token == awaited) {}
        Ok(())
    }

    /// Sends what waits.
    pub async fn flush(&mut self) -> Result<(), Failure> {
        if let Some(oscore) = &self.oscore {
            oscore.keep_ahead()?;
        }
        for bytes in self.client.output() {
            if let Some(trace) = &mut self.trace {
                trace.sent(&bytes);
            }
            self.wire.send(&bytes).await.map_err(|error| lost(&self.endpoint, &error))?;
        }
        Ok(())
    }

    /// Says goodbye where the carrier has a word for it. Whether it arrives is of no consequence.
    pub async fn close(&mut self) {
        let _ = self.flush().await;
        let _ = self.wire.close().await;
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
                received = self.wire.receive() => {
                    let bytes = received.map_err(|error| lost(&self.endpoint, &error))?;
                    if let Some(trace) = &mut self.trace {
                        trace.received(&bytes);
                    }
                    self.client.receive(self.clock.now(), &bytes, &mut events);
                }
                () = sleep_until(deadline.unwrap_or_else(Instant::now).into()), if deadline.is_some() => {
                    self.client.timeout(self.clock.now(), &mut events);
                }
            }
            self.events.extend(events);
        }
    }
}

impl fmt::Debug for Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Conversation({})", self.endpoint)
    }
}

/// The conversation broke; over datagrams one learns only when one has been sent that nobody listens.
fn lost(endpoint: &Endpoint, error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Failure::new(
            ExitCode::CannotConnect,
            format!("nothing listens at {endpoint}: start a server or check the URL"),
        ),
        _ => Failure::new(ExitCode::Runtime, format!("the conversation with {endpoint} is lost: {error}")),
    }
}
