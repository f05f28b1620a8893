//! Sockets to one server, and what waits for an answer at each of them.

use crate::BenchError;
use althing_coap::codec::{decode, encode, encode_empty};
use althing_coap::message::{Code, Kind, Message, Options, Token};
use bytes::Bytes;
use mio::net::UdpSocket;
use mio::{Events, Interest, Poll};
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

/// MAX_RETRANSMIT (RFC 7252 §4.8).
const RETRANSMISSIONS_MAX: usize = 4;
/// Ids that one socket uses: none may come twice within EXCHANGE_LIFETIME (§4.4), so that a new one follows.
const IDS_MAX: u32 = 60_000;
/// Bytes of the number that a payload begins with.
pub const STAMP_BYTES: usize = 8;

/// A message of which only id, token and stamp change.
#[derive(Clone, Debug)]
pub struct Template {
    bytes: Vec<u8>,
    is_confirmable: bool,
    /// Where the stamp stands; `None` without a payload.
    stamp_place: Option<usize>,
}

impl Template {
    /// `payload_bytes` are 0, or those of the stamp and more.
    pub fn new(kind: Kind, code: Code, options: &Options, payload_bytes: usize) -> Self {
        let mut message = Message::new(kind, code, 0);
        message.token = Token::new(&[0; 4]).unwrap_or_default();
        message.options = options.clone();
        message.payload = payload(0, payload_bytes);
        let mut bytes = Vec::new();
        encode(&message, &mut bytes);
        let stamp_place = (payload_bytes > 0).then(|| bytes.len() - payload_bytes);
        Self { bytes, is_confirmable: kind == Kind::Confirmable, stamp_place }
    }

    fn fill(&mut self, id: u16, number: u32) -> &[u8] {
        self.bytes[2..4].copy_from_slice(&id.to_be_bytes());
        self.bytes[4..8].copy_from_slice(&number.to_be_bytes());
        if let Some(place) = self.stamp_place {
            self.bytes[place..place + STAMP_BYTES].copy_from_slice(&u64::from(number).to_be_bytes());
        }
        &self.bytes
    }
}

/// A payload that begins with its number.
pub fn payload(number: u32, payload_bytes: usize) -> Bytes {
    let mut payload = vec![b'x'; payload_bytes];
    if payload_bytes >= STAMP_BYTES {
        payload[..STAMP_BYTES].copy_from_slice(&u64::from(number).to_be_bytes());
    }
    payload.into()
}

/// A message that came, and what it answers.
pub struct Arrival {
    pub endpoint: usize,
    pub message: Message,
    /// The number of the request, and when it was sent or due; `None` for what answers nothing that waits.
    pub answers: Option<(u32, u64)>,
    /// When it was read.
    pub now_ns: u64,
}

/// All sockets of a run.
pub struct Endpoints {
    address: SocketAddr,
    poll: Poll,
    events: Events,
    all: Vec<Endpoint>,
    /// By how often the message was sent again: what is due next, in order, for all wait equally long.
    due: [VecDeque<Due>; RETRANSMISSIONS_MAX + 1],
    ack_timeout_ns: u64,
    started: Instant,
    buffer: Vec<u8>,
    next_number: u32,
    pub sent: u64,
    pub retransmissions: u64,
    pub lost: u64,
}

struct Endpoint {
    socket: UdpSocket,
    template: Template,
    waiting: Vec<Exchange>,
    next_id: u16,
    ids_used: u32,
    /// Whether the server may still tell us something under an old token, so that the socket has to stay.
    is_lasting: bool,
}

struct Exchange {
    number: u32,
    id: u16,
    since_ns: u64,
    is_acknowledged: bool,
}

struct Due {
    at_ns: u64,
    endpoint: usize,
    number: u32,
}

impl Endpoints {
    pub fn new(address: SocketAddr, ack_timeout_s: f64) -> Result<Self, BenchError> {
        Ok(Self {
            address,
            poll: Poll::new().map_err(BenchError::Poll)?,
            events: Events::with_capacity(1_024),
            all: Vec::new(),
            due: Default::default(),
            ack_timeout_ns: (ack_timeout_s * 1e9) as u64,
            started: Instant::now(),
            buffer: vec![0; 1 << 16],
            next_number: 0,
            sent: 0,
            retransmissions: 0,
            lost: 0,
        })
    }

    /// Opens one more that sends by this template.
    pub fn open(&mut self, template: Template, is_lasting: bool) -> Result<usize, BenchError> {
        let place = self.all.len();
        let socket = self.socket(place)?;
        let waiting = Vec::new();
        self.all.push(Endpoint { socket, template, waiting, next_id: 0, ids_used: 0, is_lasting });
        Ok(place)
    }

    /// Another template from now on.
    pub fn exchange_template(&mut self, endpoint: usize, template: Template) {
        self.all[endpoint].template = template;
    }

    fn socket(&self, place: usize) -> Result<UdpSocket, BenchError> {
        let opened = || {
            let any = match self.address {
                SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
                SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
            };
            let mut socket = UdpSocket::bind(any)?;
            socket.connect(self.address)?;
            self.poll.registry().register(&mut socket, mio::Token(place), Interest::READABLE)?;
            Ok(socket)
        };
        opened().map_err(|source| BenchError::Socket { connection: place, source })
    }

    /// Nanoseconds since the run began.
    pub fn now_ns(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    /// The number of the last request.
    pub fn last_number(&self) -> u32 {
        self.next_number
    }

    /// Unanswered requests of all.
    pub fn waiting_all(&self) -> usize {
        self.all.iter().map(|endpoint| endpoint.waiting.len()).sum()
    }

    /// Whether an endpoint may send: one whose ids are used first waits for all its answers.
    pub fn may_send(&self, endpoint: usize, window: usize) -> bool {
        let Endpoint { waiting, ids_used, is_lasting, .. } = &self.all[endpoint];
        waiting.len() < window && (waiting.is_empty() || *is_lasting || *ids_used < IDS_MAX)
    }

    /// Sends the next request, which counts from `since_ns` on; returns its number.
    pub fn send(&mut self, endpoint: usize, since_ns: u64) -> Result<u32, BenchError> {
        self.next_number = self.next_number.wrapping_add(1);
        self.send_as(endpoint, self.next_number, since_ns)
    }

    /// The same under a number that was used before: what it says is about what was asked then.
    pub fn send_as(&mut self, endpoint: usize, number: u32, since_ns: u64) -> Result<u32, BenchError> {
        if self.all[endpoint].ids_used >= IDS_MAX && !self.all[endpoint].is_lasting {
            self.all[endpoint].socket = self.socket(endpoint)?;
            self.all[endpoint].ids_used = 0;
        }
        let it = &mut self.all[endpoint];
        (it.next_id, it.ids_used) = (it.next_id.wrapping_add(1), it.ids_used + 1);
        it.waiting.push(Exchange { number, id: it.next_id, since_ns, is_acknowledged: false });
        let datagram = it.template.fill(it.next_id, number);
        write(&it.socket, datagram).map_err(|source| BenchError::Socket { connection: endpoint, source })?;
        self.sent += 1;
        let at_ns = self.now_ns() + self.ack_timeout_ns;
        self.due[0].push_back(Due { at_ns, endpoint, number });
        Ok(number)
    }

    /// Waits until something comes or `timeout` is over, and hands over what came; then sends again what is due.
    pub fn turn(
        &mut self,
        timeout: Duration,
        mut hear: impl FnMut(&mut Self, Arrival) -> Result<(), BenchError>,
    ) -> Result<(), BenchError> {
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(BenchError::Poll(error)),
            _ => {}
        }
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            let mio::Token(place) = event.token();
            // The poll is edge-triggered: everything is read.
            while let Some(arrival) = self.read(place)? {
                hear(self, arrival)?;
            }
        }
        self.events = events;
        self.repeat()
    }

    /// The next message of a socket; `None` when it is empty.
    fn read(&mut self, place: usize) -> Result<Option<Arrival>, BenchError> {
        loop {
            let endpoint = &mut self.all[place];
            let length = match endpoint.socket.recv(&mut self.buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(source) => return Err(BenchError::Socket { connection: place, source }),
            };
            let message = decode(&Bytes::copy_from_slice(&self.buffer[..length]));
            let message = message.map_err(|_| BenchError::Malformed { connection: place })?;
            match message.kind {
                Kind::Reset => return Err(BenchError::Rejected),
                Kind::Acknowledgement if message.code == Code::EMPTY => {
                    endpoint
                        .waiting
                        .iter_mut()
                        .filter(|it| it.id == message.id)
                        .for_each(|it| it.is_acknowledged = true);
                    continue;
                }
                Kind::Confirmable => {
                    let mut acknowledgement = Vec::new();
                    encode_empty(Kind::Acknowledgement, message.id, &mut acknowledgement);
                    write(&endpoint.socket, &acknowledgement)
                        .map_err(|source| BenchError::Socket { connection: place, source })?;
                }
                _ => {}
            }
            let number = message.token.as_slice().try_into().map(u32::from_be_bytes).ok();
            let waiting = endpoint.waiting.iter().position(|it| Some(it.number) == number);
            let answers = waiting.map(|waiting| endpoint.waiting.swap_remove(waiting));
            let answers = answers.map(|exchange| (exchange.number, exchange.since_ns));
            let now_ns = self.now_ns();
            return Ok(Some(Arrival { endpoint: place, message, answers, now_ns }));
        }
    }

    /// Sends again what was not answered in time, or gives it up.
    fn repeat(&mut self) -> Result<(), BenchError> {
        let now_ns = self.now_ns();
        for times in 0..=RETRANSMISSIONS_MAX {
            while self.due[times].front().is_some_and(|due| due.at_ns <= now_ns) {
                let Some(Due { endpoint, number, .. }) = self.due[times].pop_front() else { break };
                let it = &mut self.all[endpoint];
                let Some(place) = it.waiting.iter().position(|exchange| exchange.number == number) else { continue };
                if !it.template.is_confirmable || times == RETRANSMISSIONS_MAX {
                    it.waiting.swap_remove(place);
                    self.lost += 1;
                    continue;
                }
                let Exchange { id, is_acknowledged, .. } = it.waiting[place];
                if !is_acknowledged {
                    let datagram = it.template.fill(id, number);
                    write(&it.socket, datagram)
                        .map_err(|source| BenchError::Socket { connection: endpoint, source })?;
                    self.retransmissions += 1;
                }
                let at_ns = now_ns + (self.ack_timeout_ns << (times + 1));
                self.due[times + 1].push_back(Due { at_ns, endpoint, number });
            }
        }
        Ok(())
    }
}

/// Sends a datagram; the socket's buffer is empty again in no time.
fn write(socket: &UdpSocket, datagram: &[u8]) -> io::Result<()> {
    loop {
        match socket.send(datagram) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                std::thread::yield_now();
            }
            result => return result.map(drop),
        }
    }
}
