//! One conversation with one server: the client half on whatever carries it.

use super::arguments::CarryingArguments;
use super::trace::Trace;
use super::uri::{Carrier, Uri};
use super::{Response, datagrams, dtls, no_answer, of_token, streams};
use crate::exit::{ExitCode, Failure};
use crate::link::Clock;
use crate::subscriber::entropy;
use althing_coap::CoapConfig;
use althing_coap::client::{Client, Event};
use althing_coap::message::{Code, Kind, Options, Token};
use bytes::Bytes;
use std::collections::VecDeque;
use std::io;
use std::time::Instant;
use tokio::time::sleep_until;

/// What carries messages both ways.
pub enum Wire {
    Udp(datagrams::Datagrams),
    Dtls(Box<dtls::Session>),
    Stream(streams::Stream),
}

impl Wire {
    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Udp(wire) => wire.send(bytes).await,
            Self::Dtls(wire) => wire.send(bytes).await,
            Self::Stream(wire) => wire.send(bytes).await,
        }
    }

    /// What has come. Nothing is lost when the future is dropped.
    async fn receive(&mut self) -> io::Result<Bytes> {
        match self {
            Self::Udp(wire) => wire.receive().await,
            Self::Dtls(wire) => wire.receive().await,
            Self::Stream(wire) => wire.receive().await,
        }
    }
}

/// One conversation.
pub struct Conversation {
    client: Client,
    wire: Wire,
    events: VecDeque<Event>,
    clock: Clock,
    trace: Option<Trace>,
    authority: String,
}

impl Conversation {
    /// Opens it, with the handshakes that belong to it.
    pub async fn open(uri: &Uri, arguments: &CarryingArguments) -> Result<Self, Failure> {
        let config = CoapConfig::default();
        let (wire, client) = match uri.carrier {
            Carrier::Udp => (Wire::Udp(datagrams::connect(uri).await?), Client::new(config, entropy())),
            Carrier::Dtls => {
                let session = dtls::Session::open(uri, &arguments.security).await?;
                (Wire::Dtls(Box::new(session)), Client::new(config, entropy()))
            }
            Carrier::Tcp | Carrier::Tls => {
                let stream = streams::Stream::open(uri, &arguments.security).await?;
                (Wire::Stream(stream), Client::on_stream(config, entropy()))
            }
        };
        let client = match arguments.block_size {
            None => client,
            Some(block_bytes) => client
                .with_block_bytes(block_bytes)
                .ok_or_else(|| Failure::usage("--block-size is one of 16, 32, 64, 128, 256, 512 and 1024"))?,
        };
        let trace = arguments.verbose.then(|| Trace::new(uri.carrier));
        Ok(Self {
            // What lies between is not known (NSTART, §4.7).
            client: client.with_interactions_max(1),
            wire,
            events: VecDeque::new(),
            clock: Clock::new(),
            trace,
            authority: uri.authority(),
        })
    }

    /// Asks; the token names the request.
    pub fn ask(&mut self, code: Code, options: Options, payload: Bytes, non: bool) -> Token {
        let kind = if non { Kind::NonConfirmable } else { Kind::Confirmable };
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

    /// The next response to a request; `None` when none is wanted.
    pub async fn response(&mut self, awaited: Token) -> Result<Option<Response>, Failure> {
        loop {
            let event = self.event().await?;
            if let Some(result) = of_token(event, awaited) {
                return result;
            }
        }
    }

    /// Returns when the ping is answered.
    pub async fn pong(&mut self, awaited: Token) -> Result<(), Failure> {
        loop {
            match self.event().await? {
                Event::Pong { token } if token == awaited => return Ok(()),
                Event::Failed { token } if token == awaited => return Err(no_answer()),
                Event::Closed { text } => return Err(Failure::new(ExitCode::Protocol, text)),
                _ => {}
            }
        }
    }

    /// Sends what waits.
    pub async fn flush(&mut self) -> Result<(), Failure> {
        for bytes in self.client.output() {
            if let Some(trace) = &mut self.trace {
                trace.sent(&bytes);
            }
            self.wire.send(&bytes).await.map_err(|error| lost(&self.authority, &error))?;
        }
        Ok(())
    }

    /// Says goodbye where the carrier has a word for it. Whether it arrives is of no consequence.
    pub async fn close(&mut self) {
        let _ = self.flush().await;
        if let Wire::Dtls(session) = &mut self.wire {
            let _ = session.close().await;
        }
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
                    let bytes = received.map_err(|error| lost(&self.authority, &error))?;
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

/// The conversation broke; over datagrams one learns only when one has been sent that nobody listens.
fn lost(authority: &str, error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Failure::new(
            ExitCode::CannotConnect,
            format!("nothing listens at {authority}: start a server or check the URL"),
        ),
        _ => Failure::new(ExitCode::Runtime, format!("the conversation with {authority} is lost: {error}")),
    }
}
