//! The client half of MQTT on a socket: connects, carries bytes both ways, keeps its timers.

use crate::connection::Plan;
use crate::exit::{ExitCode, Failure};
use crate::output::Log;
use crate::refusal;
use crate::socket::Socket;
use crate::tls;
use crate::websocket;
use althing_core::Now;
use althing_mqtt::client::{Acknowledge, Client, ClientError, Event, Options};
use althing_mqtt::packet::{ConnAck, Disconnect, Publish, Subscribe, Unsubscribe};
use bytes::BytesMut;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::time::{sleep_until, timeout};

/// How long a goodbye may take: a broker that has hung must not hold the user up.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// One connection to a broker at a time, and the client session that outlives it.
#[derive(Debug)]
pub struct Link {
    client: Client,
    socket: Option<Socket>,
    /// Whether CONNACK has come on this socket. The client half may know already that the connection is
    /// over while its last events wait to be taken.
    established: bool,
    /// How many connections there have been: packet identifiers of one mean nothing on the next.
    connections: u64,
    input: BytesMut,
    events: VecDeque<Event>,
    /// What `receive` returned, once the events before it have been taken.
    broken: Option<ClientError>,
    clock: Clock,
    plan: Plan,
    log: Log,
}

/// Why the connection is over.
#[derive(Debug)]
pub enum Lost {
    /// The socket failed, or the broker closed it without a word.
    Transport(io::Error),
    /// We spoke plain text, and it answered with an alert of TLS.
    SpeaksTls,
    /// The broker said goodbye.
    Goodbye(Box<Disconnect>),
    /// One side broke the protocol, or fell silent.
    Protocol(ClientError),
}

impl Link {
    /// A link that is not connected.
    pub fn new(plan: Plan, log: Log) -> Self {
        let options = Options {
            connect: plan.connect.clone(),
            // A message counts as received when it has been printed or answered.
            acknowledge: Acknowledge::Manually,
            inflight_max: u16::MAX,
            connect_timeout_ms: u64::try_from(plan.connect_timeout.as_millis()).unwrap_or(u64::MAX),
            ping_timeout_ms: 10_000,
        };
        Self {
            client: Client::new(options),
            socket: None,
            established: false,
            connections: 0,
            input: BytesMut::new(),
            events: VecDeque::new(),
            broken: None,
            clock: Clock::new(),
            plan,
            log,
        }
    }

    /// What the command line asked for.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// How much to say.
    pub fn log(&self) -> Log {
        self.log
    }

    /// Opens the socket and waits for CONNACK.
    pub async fn connect(&mut self) -> Result<ConnAck, Failure> {
        let limit = self.plan.connect_timeout;
        let endpoint = self.plan.endpoint.clone();
        let result = timeout(limit, self.connect_patiently()).await.unwrap_or_else(|_| {
            let text = format!("{endpoint} did not answer within {limit:?}: is a broker running there?");
            Err(Failure::new(ExitCode::CannotConnect, text))
        });
        if result.is_err() {
            // Nobody to say goodbye to.
            self.socket = None;
        }
        result
    }

    async fn connect_patiently(&mut self) -> Result<ConnAck, Failure> {
        let endpoint = self.plan.endpoint.clone();
        self.socket = None;
        self.established = false;
        self.input.clear();
        self.events.clear();
        self.broken = None;
        let mut socket = Socket::connect(&endpoint, self.plan.tls.as_ref()).await?;
        if let Some(upgrade) = &self.plan.upgrade {
            socket = websocket::upgrade(socket, &endpoint, upgrade, self.plan.tls.as_ref()).await?;
            self.log.debug(&format!("{} agreed to speak {}", upgrade.path, upgrade.subprotocol));
        }
        self.socket = Some(socket);
        self.log.debug(&format!("connected to {endpoint}, sending CONNECT"));
        self.client.connect(self.clock.now());
        loop {
            match self.next().await {
                Ok(Event::Connected(connack)) => {
                    self.established = true;
                    self.connections += 1;
                    self.log.debug(&format!("CONNACK: session present {}", connack.session_present));
                    return Ok(*connack);
                }
                Ok(Event::Auth(_)) => {
                    return Err(Failure::new(
                        ExitCode::Refused,
                        "the broker wants an authentication exchange, which this tool does not know: use a user name and a password",
                    ));
                }
                Ok(_) => {}
                Err(lost) => {
                    return Err(refusal::while_connecting(&self.plan, &lost));
                }
            }
        }
    }

    /// Whether the connection stands, as far as the events taken so far tell.
    pub fn is_connected(&self) -> bool {
        self.socket.is_some() && self.established
    }

    /// Whether a publish can leave now; at QoS 0 only then can it be published at all.
    pub fn can_publish(&self) -> bool {
        self.client.is_connected()
    }

    /// The number of this connection.
    pub fn connection(&self) -> u64 {
        self.connections
    }

    /// The client identifier, an assigned one too.
    pub fn client_id(&self) -> &bytestring::ByteString {
        &self.client.options().connect.client_id
    }

    /// The next connection continues the session of this one.
    pub fn continue_session(&mut self) {
        self.client.options_mut().connect.clean_start = false;
    }

    /// Bytes that the socket has not taken yet.
    pub fn backlog_bytes(&mut self) -> usize {
        self.client.output().len()
    }

    /// Publishes above QoS 0 that have not been acknowledged.
    pub fn open_publishes(&self) -> usize {
        self.client.open_publishes()
    }

    /// Whether everything has left, has been acknowledged, and every event has been taken.
    pub fn is_idle(&mut self) -> bool {
        let nothing_out = self.client.open_publishes() == 0 && self.client.output().is_empty();
        nothing_out && self.events.is_empty() && self.broken.is_none()
    }

    /// Queues a PUBLISH; returns its packet identifier, 0 at QoS 0.
    pub fn publish(&mut self, publish: Publish) -> Result<u16, Failure> {
        self.client.publish(self.clock.now(), publish).map_err(|error| refusal::client_error(&error))
    }

    /// Queues a SUBSCRIBE.
    pub fn subscribe(&mut self, subscribe: Subscribe) -> Result<u16, Failure> {
        self.client.subscribe(self.clock.now(), subscribe).map_err(|error| refusal::client_error(&error))
    }

    /// Queues an UNSUBSCRIBE.
    pub fn unsubscribe(&mut self, unsubscribe: Unsubscribe) -> Result<u16, Failure> {
        self.client.unsubscribe(self.clock.now(), unsubscribe).map_err(|error| refusal::client_error(&error))
    }

    /// The message has been dealt with.
    pub fn acknowledge(&mut self, publish: &Publish) {
        self.client.acknowledge(self.clock.now(), publish, 0);
    }

    /// The next event. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Result<Event, Lost> {
        loop {
            if let Some(event) = self.progress().await? {
                return Ok(event);
            }
        }
    }

    /// One step: an event, or `None` after bytes have left. Nothing is lost when the future is dropped.
    pub async fn progress(&mut self) -> Result<Option<Event>, Lost> {
        match self.events.pop_front() {
            Some(Event::Disconnected(disconnect)) => {
                self.socket = None;
                return Err(Lost::Goodbye(disconnect));
            }
            Some(event) => return Ok(Some(event)),
            None => {}
        }
        if let Some(error) = self.broken.take() {
            self.say_why_and_close().await;
            return Err(Lost::Protocol(error));
        }
        let Some(socket) = &mut self.socket else {
            return Err(Lost::Transport(io::Error::new(ErrorKind::NotConnected, "not connected")));
        };
        let deadline = self.client.next_timeout().map(|deadline| self.clock.instant(deadline.mono_ns));
        let moved = tokio::select! {
            moved = socket.exchange(self.client.output(), &mut self.input) => moved,
            () = sleep_until(deadline.unwrap_or_else(Instant::now).into()), if deadline.is_some() => {
                self.broken = self.client.timeout(self.clock.now()).err();
                return Ok(None);
            }
        };
        if !self.established && self.plan.tls.is_none() && self.plan.upgrade.is_none() && tls::is_alert(&self.input) {
            self.socket = None;
            return Err(Lost::SpeaksTls);
        }
        self.receive();
        if let Err(error) = moved {
            // What the broker said before it closed explains more than the error does.
            if self.events.is_empty() && self.broken.is_none() {
                self.socket = None;
                return Err(Lost::Transport(error));
            }
        }
        Ok(None)
    }

    fn receive(&mut self) {
        let mut events = Vec::new();
        self.broken = self.client.receive(self.clock.now(), &mut self.input, &mut events).err();
        self.events.extend(events);
    }

    /// Says goodbye and waits, for a while, until the broker has taken everything.
    pub async fn close(&mut self) {
        if self.client.is_connected() {
            self.client.disconnect(self.clock.now(), self.plan.disconnect.clone());
        }
        self.say_why_and_close().await;
    }

    async fn say_why_and_close(&mut self) {
        let Some(mut socket) = self.socket.take() else { return };
        let rest = self.client.output().take_all();
        let _ = timeout(CLOSE_TIMEOUT, socket.finish(&rest)).await;
    }
}

/// Real time in the core's words.
#[derive(Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Starts at 0.
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }

    /// The time.
    pub fn now(&self) -> Now {
        let mono_ns = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { mono_ns, wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX) }
    }

    /// When a time of this clock is.
    pub fn instant(&self, mono_ns: u64) -> Instant {
        self.start + Duration::from_nanos(mono_ns)
    }
}
