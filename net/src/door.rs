//! Datagram sockets: a door each, whose peers have places of their own beside the connections.
//!
//! - `socket`: datagrams in and out, many in one call.
//! - `locals`: which of our addresses is answered from.

mod locals;
mod socket;

pub use socket::DoorSocket;

use crate::dtls::{Associations, DtlsAcceptor, Happening};
use crate::shard::Shard;
use althing_core::door::{Datagrams, DoorOut, PeerIds, Source};
use althing_core::link::Entrance;
use althing_core::verbs::Disconnect;
use althing_core::{Answer, Delivery, Door, Link, Now, PeerId, Reason, Request};
use socket::{Inbox, Received};
use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll};

/// Makes the door of a socket; once more when a mistake has broken the one before.
pub type DoorFactory = Arc<dyn Fn() -> Box<dyn Door> + Send + Sync>;

/// Calls for datagrams in one poll: enough to make a tick worth its while, few enough to be fair.
const CALLS_A_POLL: usize = 2;

/// Slots with this bit belong to doors; the next seven bits say to which one.
const DOOR_BIT: u32 = 1 << 31;
const DOOR_SHIFT: u32 = 24;
const DOORS_MAX: usize = 127;

/// The door of a peer; `None` for a connection.
pub(crate) fn door_of(peer: PeerId) -> Option<usize> {
    (peer.slot & DOOR_BIT != 0).then_some(((peer.slot & !DOOR_BIT) >> DOOR_SHIFT) as usize)
}

/// The doors of a shard.
pub(crate) struct Doors {
    shard: u16,
    open: Vec<OpenDoor>,
    /// What the door that is being called asks for; empty between calls.
    requests: VecDeque<(PeerId, Request)>,
    inbox: Inbox,
    /// What one call took in; empty between polls.
    received: Vec<Received>,
}

struct OpenDoor {
    entrance: Arc<Entrance>,
    /// The place of the listener among the measures.
    listener: usize,
    socket: DoorSocket,
    factory: DoorFactory,
    door: Box<dyn Door>,
    peers: PeerIds,
    /// What leaves at the end of the tick.
    datagrams: Datagrams,
    /// When it wants to be called; `u64::MAX` = never.
    due_ns: u64,
    /// What protects its datagrams; `None` where they are plain.
    associations: Option<Associations>,
}

impl Doors {
    pub fn new(shard: u16) -> Self {
        let (open, requests) = (Vec::new(), VecDeque::new());
        Self { shard, open, requests, inbox: Inbox::default(), received: Vec::new() }
    }

    /// When one of them wants to be called.
    pub fn due_ns(&self) -> u64 {
        self.open.iter().map(OpenDoor::next_ns).min().unwrap_or(u64::MAX)
    }

    /// How a peer came in.
    pub fn link(&self, door: usize, peer: PeerId) -> Option<Link> {
        let open = self.open.get(door)?;
        let (remote, key) = (open.peers.remote(peer), open.peers.key(peer).cloned());
        let facts = remote.zip(open.associations.as_ref()).and_then(|(remote, them)| them.facts(remote));
        let tls = facts.map(|facts| Arc::clone(&facts.tls));
        // A key that the peer's own messages prove says more than the one of the address that they come from.
        let shared_key = key.or_else(|| facts?.shared_key.clone());
        Some(Link { remote, entrance: Arc::clone(&open.entrance), tls, shared_key })
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

impl OpenDoor {
    fn next_ns(&self) -> u64 {
        self.due_ns.min(self.associations.as_ref().map_or(u64::MAX, Associations::due_ns))
    }
}

impl Shard {
    /// Lets a new door have the socket; returns its number.
    ///
    /// # Panics
    /// When there are more doors than any configuration needs.
    pub(crate) fn open_door(
        &mut self,
        socket: DoorSocket,
        dtls: Option<Arc<DtlsAcceptor>>,
        entrance: Arc<Entrance>,
        factory: DoorFactory,
    ) -> usize {
        let number = self.doors.open.len();
        assert!(number < DOORS_MAX, "a shard has at most {DOORS_MAX} doors");
        let peers = PeerIds::new(self.doors.shard, DOOR_BIT | (number as u32) << DOOR_SHIFT);
        let door = factory();
        let (datagrams, due_ns) = (Datagrams::default(), u64::MAX);
        let listener = self.measures.listener(&entrance);
        let associations = dtls.map(Associations::new);
        let open = OpenDoor { entrance, listener, socket, factory, door, peers, datagrams, due_ns, associations };
        self.doors.open.push(open);
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
        for _ in 0..CALLS_A_POLL {
            let Doors { open, inbox, received, .. } = &mut self.doors;
            let Some(open) = open.get_mut(number) else { return Poll::Ready(()) };
            if open.socket.poll_receive_ready(cx).is_pending() {
                self.settle(now);
                self.tick_when_busy();
                return Poll::Pending;
            }
            // An error is an earlier datagram's that did not arrive: not this socket's end.
            let _ = open.socket.receive(inbox, received);
            let listener = open.listener;
            let mut received = mem::take(received);
            for Received { source, datagram } in received.drain(..) {
                let length = datagram.len() as u64;
                self.counters.bytes_received += length;
                self.measures.received(listener, length);
                self.turns += 1;
                match &mut self.doors.open[number].associations {
                    None => self.call_door(now, number, |door, out| door.receive(now, source, datagram, out)),
                    // There is no DTLS to groups (RFC 7252 §8.1).
                    Some(_) if source.is_multicast => {}
                    Some(associations) => {
                        associations.receive(now.mono_ns, source.remote, &datagram);
                        self.tell_door(now, number);
                    }
                }
                self.settle(now);
            }
            self.doors.received = received;
        }
        self.tick_when_busy();
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// What protects the datagrams of a door has something for it.
    fn tell_door(&mut self, now: Now, number: usize) {
        let Some(associations) = &mut self.doors.open[number].associations else { return };
        let mut happenings = mem::take(&mut associations.happenings);
        let due_ns = associations.due_ns();
        for happening in happenings.drain(..) {
            match happening {
                Happening::Datagram(remote, datagram) => {
                    let source = Source { remote, is_multicast: false, is_secured: true };
                    self.call_door(now, number, |door, out| door.receive(now, source, datagram, out));
                }
                Happening::Left(remote) => self.call_door(now, number, |door, out| door.left(now, remote, out)),
            }
        }
        if let Some(associations) = &mut self.doors.open[number].associations {
            // The memory stays, unless something happened meanwhile.
            happenings.append(&mut associations.happenings);
            associations.happenings = happenings;
        }
        self.sleep_until(due_ns);
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
            if let Some(associations) = &mut self.doors.open[number].associations {
                associations.timeout(now.mono_ns);
                self.tell_door(now, number);
            }
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

    /// Ends what protects the datagrams of doors, with a goodbye to everyone, behind what was said to them before.
    pub(crate) fn close_doors(&mut self, now: Now) {
        self.flush_doors();
        for number in 0..self.doors.open.len() {
            if let Some(associations) = &mut self.doors.open[number].associations {
                associations.close_all(now.mono_ns);
                self.tell_door(now, number);
            }
        }
        self.flush_doors();
    }

    /// Sends what has gathered. What the socket does not take is lost, as datagrams may be.
    pub(crate) fn flush_doors(&mut self) {
        let now_ns = self.clock.mono_ns();
        let mut due_ns = u64::MAX;
        for open in &mut self.doors.open {
            if let Some(associations) = &mut open.associations {
                for (remote, datagram) in open.datagrams.iter() {
                    associations.send(now_ns, remote, datagram);
                }
                open.datagrams.clear();
                mem::swap(&mut open.datagrams, &mut associations.outgoing);
                if !associations.happenings.is_empty() {
                    due_ns = now_ns;
                }
            }
            if open.datagrams.is_empty() {
                continue;
            }
            let sent = open.socket.send(&open.datagrams);
            self.counters.bytes_sent += sent;
            self.measures.sent(open.listener, sent);
            open.datagrams.clear();
        }
        // Associations that ended by what was sent: their door is told with what is due next.
        self.sleep_until(due_ns);
    }
}

impl fmt::Debug for Doors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doors").field("open", &self.open.len()).finish_non_exhaustive()
    }
}
