//! Datagram sockets: a door each, whose peers have places of their own beside the connections.

use crate::address::Address;
use crate::shard::Shard;
use althing_core::door::{Datagrams, DoorOut, PeerIds, Source};
use althing_core::link::Entrance;
use althing_core::verbs::Disconnect;
use althing_core::{Answer, Delivery, Door, Link, Now, PeerId, Reason, Request};
use bytes::BytesMut;
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::net::UdpSocket;

/// Makes the door of a socket; once more when a mistake has broken the one before.
pub type DoorFactory = Arc<dyn Fn() -> Box<dyn Door> + Send + Sync>;

/// Datagrams that one poll takes in: enough to make a tick worth its while, few enough to be fair.
const DATAGRAMS_A_POLL: usize = 64;

/// No datagram is longer.
const DATAGRAM_BYTES_MAX: usize = 64 << 10;

/// Bytes that the kernel keeps for us in each direction: what comes while a tick runs, and what leaves at its end.
const SOCKET_BUFFER_BYTES: usize = 1 << 20;

/// Slots with this bit belong to doors; the next seven bits say to which one.
const DOOR_BIT: u32 = 1 << 31;
const DOOR_SHIFT: u32 = 24;
const DOORS_MAX: usize = 127;

/// The door of a peer; `None` for a connection.
pub(crate) fn door_of(peer: PeerId) -> Option<usize> {
    (peer.slot & DOOR_BIT != 0).then_some(((peer.slot & !DOOR_BIT) >> DOOR_SHIFT) as usize)
}

/// A socket that takes datagrams.
#[derive(Debug)]
pub struct DoorSocket {
    socket: UdpSocket,
    address: Address,
}

impl DoorSocket {
    /// Takes the address; must be called inside [`run`](crate::run).
    ///
    /// # Errors
    /// What the system says, most often that the address is in use; a path is no place for datagrams.
    pub fn bind(address: &Address) -> io::Result<Self> {
        let Address::Tcp(wanted) = address else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "datagrams need an address with a port"));
        };
        let socket = Socket::new(Domain::for_address(*wanted), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        if wanted.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        // The system may give less; datagrams are lost sooner then.
        let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
        let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
        socket.bind(&(*wanted).into())?;
        let socket = UdpSocket::from_std(socket.into())?;
        let address = Address::Tcp(socket.local_addr()?);
        Ok(Self { socket, address })
    }

    /// The address, with the port that was chosen where 0 was asked for.
    pub fn address(&self) -> &Address {
        &self.address
    }
}

/// The doors of a shard.
pub(crate) struct Doors {
    shard: u16,
    open: Vec<OpenDoor>,
    /// What the door that is being called asks for; empty between calls.
    requests: VecDeque<(PeerId, Request)>,
    read_buffer: BytesMut,
}

struct OpenDoor {
    entrance: Arc<Entrance>,
    /// The place of the listener among the measures.
    listener: usize,
    socket: UdpSocket,
    factory: DoorFactory,
    door: Box<dyn Door>,
    peers: PeerIds,
    /// What leaves at the end of the tick.
    datagrams: Datagrams,
    /// When it wants to be called; `u64::MAX` = never.
    due_ns: u64,
}

impl Doors {
    pub fn new(shard: u16) -> Self {
        let (open, requests) = (Vec::new(), VecDeque::new());
        Self { shard, open, requests, read_buffer: BytesMut::new() }
    }

    /// When one of them wants to be called.
    pub fn due_ns(&self) -> u64 {
        self.open.iter().map(|open| open.due_ns).min().unwrap_or(u64::MAX)
    }

    /// How a peer came in.
    pub fn link(&self, door: usize, peer: PeerId) -> Option<Link> {
        let open = self.open.get(door)?;
        let (remote, shared_key) = (open.peers.remote(peer), open.peers.key(peer).cloned());
        Some(Link { remote, entrance: Arc::clone(&open.entrance), tls: None, shared_key })
    }

    /// The place of the listener among the measures.
    pub fn listener(&self, door: usize) -> Option<usize> {
        Some(self.open.get(door)?.listener)
    }

    /// Where a peer's datagrams come from.
    pub fn remote(&self, door: usize, peer: PeerId) -> Option<SocketAddr> {
        self.open.get(door)?.peers.remote(peer)
    }
}

impl Shard {
    /// Lets a new door have the socket; returns its number.
    ///
    /// # Panics
    /// When there are more doors than any configuration needs.
    pub(crate) fn open_door(&mut self, socket: DoorSocket, entrance: Arc<Entrance>, factory: DoorFactory) -> usize {
        let number = self.doors.open.len();
        assert!(number < DOORS_MAX, "a shard has at most {DOORS_MAX} doors");
        let peers = PeerIds::new(self.doors.shard, DOOR_BIT | (number as u32) << DOOR_SHIFT);
        let (socket, door) = (socket.socket, factory());
        let (datagrams, due_ns) = (Datagrams::default(), u64::MAX);
        let listener = self.measures.listener(&entrance);
        self.doors.open.push(OpenDoor { entrance, listener, socket, factory, door, peers, datagrams, due_ns });
        number
    }

    /// What the task of a door does when datagrams have come.
    pub(crate) fn poll_door(&mut self, number: usize, cx: &mut Context<'_>) -> Poll<()> {
        let now = self.clock.now();
        if self.host.is_behind() {
            // What comes meanwhile waits in the socket, or is lost as datagrams may be.
            self.doors_waiting_for_store.push(cx.waker().clone());
            return Poll::Pending;
        }
        for _ in 0..DATAGRAMS_A_POLL {
            let Some(open) = self.doors.open.get(number) else { return Poll::Ready(()) };
            if open.socket.poll_recv_ready(cx).is_pending() {
                self.settle(now);
                self.tick_when_busy();
                return Poll::Pending;
            }
            let buffer = &mut self.doors.read_buffer;
            // Takes the same memory again, unless somebody still holds a slice of it.
            buffer.reserve(DATAGRAM_BYTES_MAX);
            // An error is an earlier datagram's that did not arrive: not this socket's end.
            let Ok((length, remote)) = open.socket.try_recv_buf_from(buffer) else { continue };
            let datagram = buffer.split().freeze();
            self.counters.bytes_received += length as u64;
            self.measures.received(open.listener, length as u64);
            self.turns += 1;
            self.call_door(now, number, |door, out| door.receive(now, Source::plain(remote), datagram, out));
            self.settle(now);
        }
        self.tick_when_busy();
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    pub(crate) fn answer_at_door(&mut self, now: Now, number: usize, peer: PeerId, answer: Answer) {
        if self.doors.remote(number, peer).is_some() {
            self.call_door(now, number, |door, out| door.answer(now, peer, answer, out));
        }
    }

    pub(crate) fn deliver_at_door(&mut self, now: Now, number: usize, peer: PeerId, batch: &[Delivery]) {
        if self.doors.remote(number, peer).is_none() {
            return;
        }
        self.measure_deliveries(now.mono_ns, peer, batch);
        if !self.traces.is_idle() {
            self.trace_deliveries(now, peer, batch);
        }
        self.call_door(now, number, |door, out| door.deliver(now, peer, batch, out));
    }

    /// Calls the doors whose time has come.
    pub(crate) fn call_due_doors(&mut self, now: Now) {
        for number in 0..self.doors.open.len() {
            if self.doors.open[number].due_ns <= now.mono_ns {
                self.call_door(now, number, |door, out| door.timeout(now, out));
            }
        }
    }

    /// The one place where a door's code runs: its panics, its requests, its deadline.
    fn call_door(&mut self, now: Now, number: usize, act: impl FnOnce(&mut dyn Door, &mut DoorOut<'_>)) {
        let Doors { open, requests, .. } = &mut self.doors;
        let Some(open) = open.get_mut(number) else { return };
        let OpenDoor { door, peers, datagrams, .. } = open;
        let mut out = DoorOut { datagrams, requests, peers };
        let caught = catch_unwind(AssertUnwindSafe(|| {
            act(&mut **door, &mut out);
            door.next_timeout()
        }));
        match caught {
            Ok(deadline) => {
                open.due_ns = deadline.map_or(u64::MAX, |deadline| deadline.mono_ns);
                let due_ns = open.due_ns;
                self.sleep_until(due_ns);
            }
            Err(_) => self.replace_door(number),
        }
        while let Some((peer, request)) = self.doors.requests.pop_front() {
            self.request(now, peer, request);
        }
    }

    /// A mistake has broken a door: its peers are lost, and a new one serves the socket.
    fn replace_door(&mut self, number: usize) {
        let Doors { open, requests, .. } = &mut self.doors;
        let open = &mut open[number];
        // What it asked for before it broke is not to be trusted.
        requests.clear();
        for peer in open.peers.iter().collect::<Vec<_>>() {
            let (publish_will, session_expiry_s, reason) = (true, None, Reason::Unspecified);
            let disconnect = Disconnect { publish_will, session_expiry_s, reason };
            requests.push_back((peer, Request::Disconnect(disconnect)));
            open.peers.close(peer);
        }
        open.due_ns = u64::MAX;
        let broken = std::mem::replace(&mut open.door, (open.factory)());
        // It may panic again; that concerns nobody.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(broken)));
        let name = open.entrance.name;
        self.turned_away(name, "a mistake in this broker lost its peers; standard error has the details".into());
    }

    /// Sends what has gathered. What the socket does not take is lost, as datagrams may be.
    pub(crate) fn flush_doors(&mut self) {
        for open in &mut self.doors.open {
            for (remote, datagram) in open.datagrams.iter() {
                if let Ok(sent) = open.socket.try_send_to(datagram, remote) {
                    self.counters.bytes_sent += sent as u64;
                    self.measures.sent(open.listener, sent as u64);
                }
            }
            open.datagrams.clear();
        }
    }
}

impl fmt::Debug for Doors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doors").field("open", &self.open.len()).finish_non_exhaustive()
    }
}
