//! One shard: requests to the broker, effects to the adaptors, deadlines.

use crate::admission::{AdmissionControl, Admitted, TurnedAway};
use crate::clock::Clock;
use crate::connections::{Connection, Connections};
use crate::door::{Doors, door_of};
use crate::handle::Handle;
use crate::host::{Host, Notice};
use crate::listener::{AdaptorFactory, Welcome};
use crate::local::ConnectionTask;
use crate::measures::Measures;
use crate::reading::READ_BUFFER_BYTES;
use crate::timers::{Entry, Timers};
use crate::tls::Scratch;
use crate::trace::Traces;
use crate::transport::Stream;
use crate::writing::{Behind, FLUSH_BYTES, give_back};
use althing_core::authorisation::Policy;
use althing_core::broker::{Broker, Pace, Statistics};
use althing_core::effects::{Delivery, Event, Verdict};
use althing_core::record::{Loaded, Restored};
use althing_core::verbs::{Disconnect, Refusal};
use althing_core::{Adaptor, Answer, Close, Effects, Limits, Link, Message, Now, Out, PeerId, Reason, Request};
use bytes::BytesMut;
use bytestring::ByteString;
use std::collections::{HashMap, VecDeque};
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio::sync::watch;

/// How long a peer has to read our last words and to close its side.
const LINGER_MS: u64 = 2_000;

/// Rounds of confirming, answering and flushing at the end of one tick; what is left waits for the next,
/// so that a queue that is drained as fast as it is read keeps nobody else waiting.
const ROUNDS_MAX: usize = 4;

/// Reads after which a tick ends even though tasks are still ready.
const TURNS_A_TICK: usize = 128;

/// What the sockets of a shard have counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections that are open.
    pub connections: u64,
    /// The most that were open at once.
    pub connections_max: u64,
    /// Connections that were ever accepted.
    pub connections_total: u64,
    /// Connections that were turned away before anything was read.
    pub connections_refused: u64,
    /// Those among them that were turned away for where they came from or came to.
    pub turned_away: TurnedAway,
    /// Bytes from peers.
    pub bytes_received: u64,
    /// Bytes to peers.
    pub bytes_sent: u64,
    /// Requests from peers: their messages of any kind, except those that the adaptor answers itself.
    pub messages_received: u64,
    /// Answers and deliveries to peers.
    pub messages_sent: u64,
    /// Requests to open a session.
    pub connects_received: u64,
    /// Bytes of published payloads from peers.
    pub payload_bytes_received: u64,
    /// Bytes of delivered payloads to peers.
    pub payload_bytes_sent: u64,
    /// How often a publisher was asked to wait for a slow subscriber.
    pub pauses: u64,
    /// How often a publisher was not read for a while because it was faster than it may be.
    pub throttles: u64,
    /// How often a subscriber was declared stalled.
    pub stalls: u64,
}

/// One thread's broker and connections.
pub struct Shard {
    pub(crate) broker: Broker,
    pub(crate) host: Box<dyn Host>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) clock: Clock,
    pub(crate) admission: Arc<AdmissionControl>,
    handle: Handle,
    pub(crate) connections: Connections,
    /// Connections on their way in: through a proxy's header, or a TLS handshake.
    opening: usize,
    /// Everyone has been told goodbye: nobody comes in any more.
    is_closing: watch::Sender<bool>,
    /// Connections that tasks of their own serve.
    pub(crate) visitors: usize,
    /// What the broker wants done and nobody has done yet.
    pub(crate) effects: Effects,
    /// The other `Effects`, whose memory is used in turn.
    effects_spare: Effects,
    /// What the adaptor that is being called asks for; empty between calls.
    requests: VecDeque<Request>,
    pub(crate) doors: Doors,
    pub(crate) read_buffer: BytesMut,
    pub(crate) scratch: Scratch,
    pub(crate) spares: Vec<Vec<u8>>,
    pub(crate) dirty: Vec<PeerId>,
    pub(crate) dirty_spare: Vec<PeerId>,
    /// Bytes appended and reads done since the last flush.
    pub(crate) appended_bytes: usize,
    pub(crate) turns: usize,
    pub(crate) behind: HashMap<PeerId, Behind>,
    pub(crate) counters: Counters,
    pub(crate) measures: Measures,
    pub(crate) traces: Traces,
    pub(crate) timers: Timers,
    /// Memory for the entries that are due; empty between polls.
    pub(crate) due: Vec<Entry>,
    pub(crate) timer_waker: Option<Waker>,
    /// The deadline that the timer task sleeps for.
    pub(crate) sleeps_until_ns: u64,
    /// When the broker wants to be called.
    pub(crate) broker_due_ns: u64,
    drained_waker: Option<Waker>,
    /// The highest ticket that the broker knows to be durable.
    confirmed: u64,
    /// What the broker knows of the room for new messages.
    has_room: bool,
    /// Batches of records so far: a change says that something was stored.
    pub(crate) batches_stored: u64,
    /// Connections, and tasks of doors, that are not read while the store is behind.
    pub(crate) waiting_for_store: Vec<PeerId>,
    pub(crate) doors_waiting_for_store: Vec<Waker>,
}

impl Shard {
    /// A shard around `broker`, which was made for shard number `shard`. All shards of a process, and its store, go by
    /// the same clock.
    pub fn new(shard: u16, clock: Clock, broker: Broker, limits: Arc<Limits>, host: Box<dyn Host>) -> Self {
        let admission = AdmissionControl::new(clock, Arc::clone(&limits));
        admission.lock().set_banned(broker.policy().banned.networks.clone());
        Self {
            broker,
            host,
            admission,
            limits,
            clock,
            handle: Handle::new(),
            connections: Connections::new(shard),
            opening: 0,
            is_closing: watch::Sender::new(false),
            visitors: 0,
            effects: Effects::default(),
            effects_spare: Effects::default(),
            requests: VecDeque::new(),
            doors: Doors::new(shard),
            read_buffer: BytesMut::with_capacity(READ_BUFFER_BYTES),
            scratch: Scratch::default(),
            spares: Vec::new(),
            dirty: Vec::new(),
            dirty_spare: Vec::new(),
            appended_bytes: 0,
            turns: 0,
            behind: HashMap::new(),
            counters: Counters::default(),
            measures: Measures::default(),
            traces: Traces::default(),
            timers: Timers::default(),
            due: Vec::new(),
            timer_waker: None,
            sleeps_until_ns: u64::MAX,
            broker_due_ns: u64::MAX,
            drained_waker: None,
            confirmed: 0,
            has_room: true,
            batches_stored: 0,
            waiting_for_store: Vec::new(),
            doors_waiting_for_store: Vec::new(),
        }
    }

    /// Reaches this shard from other threads, once it runs.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Puts back what an earlier process has left, before anyone is served: `show` hands over each fact, sessions first.
    ///
    /// # Errors
    /// Those of `show`; the shard is of no use then.
    pub fn restore<E>(&mut self, show: impl FnOnce(&mut dyn FnMut(Restored)) -> Result<(), E>) -> Result<(), E> {
        let now = self.clock.now();
        show(&mut |fact| self.broker.restore(now, fact, &mut self.effects))?;
        self.broker.restored(now, &mut self.effects);
        self.settle(now);
        Ok(())
    }

    /// Whether there may be one more on its way in; tells if not.
    pub(crate) fn begin_opening(&mut self, link: &Link) -> bool {
        if self.connections.len() + self.opening >= self.limits.connections_max {
            self.turned_away(link.listener(), "limits.connections_max is reached".into());
            return false;
        }
        self.opening += 1;
        true
    }

    pub(crate) fn end_opening(&mut self) {
        self.opening -= 1;
    }

    /// Asked once for every connection, when it is known whose it is and before anything is spent on it; tells if it is
    /// not let in.
    pub(crate) fn admit(&mut self, link: &Link) -> Option<Admitted> {
        if self.connections.len() >= self.limits.connections_max {
            self.turned_away(link.listener(), "limits.connections_max is reached".into());
            return None;
        }
        match (self.admission.admit(link), link.remote) {
            (Ok(admitted), _) => return Some(admitted),
            (Err(refusal), Some(remote)) => self.turned_away(link.listener(), format!("{remote} {refusal}")),
            (Err(refusal), None) => self.turned_away(link.listener(), format!("a program on this machine {refusal}")),
        }
        None
    }

    /// Takes a new connection in, from which `input` has been read already.
    pub(crate) fn welcome(
        &mut self,
        stream: Stream,
        link: Link,
        admitted: Admitted,
        input: BytesMut,
        welcome: &Welcome,
    ) {
        match welcome {
            Welcome::Adaptor(factory) => self.accept(stream, link, admitted, input, factory),
            Welcome::Visitor(factory) => self.receive_visitor(stream, link, admitted, input, factory),
        }
    }

    fn accept(&mut self, stream: Stream, link: Link, admitted: Admitted, input: BytesMut, factory: &AdaptorFactory) {
        if self.is_closing() {
            return;
        }
        let Ok(adaptor) = catch_unwind(AssertUnwindSafe(|| factory(&link))) else {
            return self
                .turned_away(link.listener(), "a mistake in this broker; standard error has the details".into());
        };
        let listener = self.count_in(&link);
        self.take_in(stream, link, admitted, input, adaptor, listener);
    }

    /// Serves a connection that is counted already.
    pub(crate) fn take_in(
        &mut self,
        stream: Stream,
        link: Link,
        admitted: Admitted,
        input: BytesMut,
        adaptor: Box<dyn Adaptor>,
        listener: usize,
    ) {
        let mut connection = Connection::new(stream, adaptor, link, Some(admitted), input);
        connection.listener = listener;
        let peer = self.connections.insert(connection);
        self.arm(peer);
        tokio::spawn(ConnectionTask(peer));
    }

    /// Counts one more connection; returns the place of its listener among the measures.
    pub(crate) fn count_in(&mut self, link: &Link) -> usize {
        let listener = self.measures.listener(&link.entrance);
        let traffic = &mut self.measures.traffic[listener];
        traffic.connections += 1;
        traffic.connections_total += 1;
        self.counters.connections += 1;
        self.counters.connections_total += 1;
        self.counters.connections_max = self.counters.connections_max.max(self.counters.connections);
        listener
    }

    /// Counts one less.
    pub(crate) fn count_out(&mut self, listener: usize) {
        self.counters.connections -= 1;
        if let Some(traffic) = self.measures.traffic.get_mut(listener) {
            traffic.connections -= 1;
        }
    }

    /// Whether nobody comes in any more.
    pub(crate) fn is_closing(&self) -> bool {
        *self.is_closing.borrow()
    }

    /// Hears of the moment when nobody comes in any more.
    pub(crate) fn closing(&self) -> watch::Receiver<bool> {
        self.is_closing.subscribe()
    }

    /// Counts and tells of a connection that got no adaptor.
    pub(crate) fn turned_away(&mut self, listener: &'static str, why: String) {
        self.counters.connections_refused += 1;
        self.host.notice(Notice::TurnedAway { listener, why });
    }

    pub(crate) fn publish(&mut self, message: Message) {
        let now = self.clock.now();
        self.broker.publish(now, message, &mut self.effects);
        self.settle(now);
    }

    pub(crate) fn verified(&mut self, peer: PeerId, verdict: Verdict) {
        let now = self.clock.now();
        self.broker.verified(now, peer, verdict, &mut self.effects);
        self.settle(now);
    }

    pub(crate) fn loaded(&mut self, loaded: Loaded) {
        let now = self.clock.now();
        self.broker.loaded(now, loaded, &mut self.effects);
        self.settle(now);
    }

    pub(crate) fn set_limits(&mut self, limits: Arc<Limits>) {
        self.broker.set_limits(Arc::clone(&limits));
        self.admission.lock().set_limits(Arc::clone(&limits));
        self.limits = limits;
    }

    pub(crate) fn set_policy(&mut self, policy: Arc<Policy>) {
        let now = self.clock.now();
        self.admission.lock().set_banned(policy.banned.networks.clone());
        self.broker.set_policy(now, policy, &mut self.effects);
        self.settle(now);
    }

    pub(crate) fn statistics(&self) -> Statistics {
        self.broker.statistics()
    }

    /// Ends every conversation: those that the broker knows, and those that have not come so far.
    pub(crate) fn close_all(&mut self, reason: Reason) {
        self.is_closing.send_replace(true);
        let now = self.clock.now();
        self.broker.close_all(reason, &mut self.effects);
        self.settle(now);
        self.close(&self.peers(), &Refusal::new(reason, "the broker is stopping"));
        self.close_doors(now);
    }

    /// Everyone who is connected, but for the peers of doors.
    pub(crate) fn peers(&self) -> Vec<PeerId> {
        self.connections.peers()
    }

    /// Says goodbye to these.
    pub(crate) fn close(&mut self, peers: &[PeerId], refusal: &Refusal) {
        let now = self.clock.now();
        for peer in peers {
            let answer = Answer::Close(refusal.clone());
            self.call(now, *peer, |adaptor, out| adaptor.answer(now, answer, out));
            // An adaptor may have nothing to say before its peer has connected.
            self.end(now, *peer, Close { refusal: refusal.clone(), publish_will: false });
        }
        self.settle(now);
    }

    pub(crate) fn poll_drained(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_drained() {
            return Poll::Ready(());
        }
        self.drained_waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Ends the tick early when everyone is so busy that the thread does not come to park.
    pub(crate) fn tick_when_busy(&mut self) {
        if self.turns >= TURNS_A_TICK {
            self.tick();
        }
    }

    /// The end of a tick: confirms what is durable, carries out what follows, flushes.
    pub(crate) fn tick(&mut self) {
        self.carry_out();
        self.measures.ticked(self.clock.mono_ns());
    }

    /// The event loop has something to do.
    pub(crate) fn wake_up(&mut self) {
        self.measures.woke(self.clock.mono_ns());
    }

    fn carry_out(&mut self) {
        let now = self.clock.now();
        self.hear_of_room();
        for _ in 0..ROUNDS_MAX {
            let durable = self.host.durable();
            if durable > self.confirmed {
                self.confirmed = durable;
                self.broker.stored(now, durable, &mut self.effects);
            }
            self.settle(now);
            self.flush(now);
            if is_empty(&self.effects) && self.dirty.is_empty() && self.host.durable() == self.confirmed {
                if self.host.is_durable_soon() {
                    self.wake_timer_task();
                }
                return self.arm_broker();
            }
        }
        // The thread must not park: there is more to do.
        self.wake_timer_task();
    }

    /// Tells the broker whether there is room for new messages, and lets those read on who had to wait for the store.
    fn hear_of_room(&mut self) {
        let has_room = self.host.has_room();
        if has_room != self.has_room {
            self.has_room = has_room;
            self.broker.set_room(has_room);
        }
        let somebody_waits = !self.waiting_for_store.is_empty() || !self.doors_waiting_for_store.is_empty();
        if !somebody_waits || self.host.is_behind() {
            return;
        }
        for peer in self.waiting_for_store.drain(..) {
            if let Some(connection) = self.connections.get_mut(peer) {
                connection.waits_for_store = false;
                connection.wake();
            }
        }
        self.doors_waiting_for_store.drain(..).for_each(Waker::wake);
    }

    /// Calls the adaptor of `peer`, then hands its requests to the broker. `None` when there is no adaptor,
    /// or none any more. Its effects wait for [`settle`](Self::settle).
    pub(crate) fn call<R>(
        &mut self,
        now: Now,
        peer: PeerId,
        act: impl FnOnce(&mut dyn Adaptor, &mut Out<'_>) -> Result<R, Close>,
    ) -> Option<R> {
        let (result, appended_bytes) = self.call_adaptor(now, peer, act)?;
        self.drain_requests(now, peer);
        if let Some(connection) = self.connections.get_mut(peer) {
            connection.unread_answer_bytes += appended_bytes;
            if connection.unread_answer_bytes > self.unread_answer_bytes_max() {
                let why = "the peer keeps asking but does not read the answers";
                self.end(now, peer, Close::with_will(Refusal::new(Reason::QuotaExceeded, why)));
                return None;
            }
        }
        match result {
            Ok(value) => Some(value),
            Err(close) => {
                self.end(now, peer, close);
                None
            }
        }
    }

    /// Hands a run of deliveries to the adaptor of their peer.
    fn deliver(&mut self, now: Now, batch: &[Delivery]) {
        let peer = batch[0].peer;
        if let Some(door) = door_of(peer) {
            return self.deliver_at_door(now, door, peer, batch);
        }
        let called = self.call_adaptor(now, peer, |adaptor, out| {
            adaptor.deliver(now, batch, out);
            Ok(())
        });
        let Some((result, _)) = called else { return };
        self.measure_deliveries(now.mono_ns, peer, batch);
        if !self.traces.is_idle() {
            self.trace_deliveries(now, peer, batch);
        }
        self.drain_requests(now, peer);
        if let Err(close) = result {
            self.end(now, peer, close);
        }
    }

    /// The one place where an adaptor's code runs: memory for its bytes, its panics, its deadline. It is
    /// called for each delivery, so the connection is looked up once.
    fn call_adaptor<R>(
        &mut self,
        now: Now,
        peer: PeerId,
        act: impl FnOnce(&mut dyn Adaptor, &mut Out<'_>) -> Result<R, Close>,
    ) -> Option<(Result<R, Close>, usize)> {
        let connection = self.connections.get_mut(peer)?;
        let adaptor = connection.adaptor.as_mut()?;
        let length_before = connection.out.len();
        if length_before == 0
            && let Some(spare) = self.spares.pop()
        {
            connection.out.give_spare(spare);
        }
        let mut out = Out { bytes: &mut connection.out, requests: &mut self.requests };
        let caught = catch_unwind(AssertUnwindSafe(|| {
            let result = act(&mut **adaptor, &mut out);
            (result, adaptor.next_timeout().map_or(u64::MAX, |deadline| deadline.mono_ns))
        }));
        let (result, deadline_ns) = caught.unwrap_or_else(|_| {
            // What it asked for before it broke is not to be trusted.
            self.requests.clear();
            let why = "a mistake in this broker broke the conversation; standard error has the details";
            (Err(Close::with_will(Refusal::new(Reason::Unspecified, why))), u64::MAX)
        });
        let length = connection.out.len();
        let appended_bytes = length - length_before;
        if appended_bytes > 0 {
            self.appended_bytes += appended_bytes;
            if connection.needs_flush() {
                self.dirty.push(peer);
            }
        } else if length_before == 0 {
            give_back(&mut self.spares, &mut connection.out);
        }
        let unsent_bytes = match &connection.stream {
            Stream::Guest(line) => line.bytes(),
            _ => length,
        };
        let is_slow = connection.pace == Pace::Ready && unsent_bytes > self.limits.write_buffer_high_bytes;
        if deadline_ns < connection.armed_ns {
            self.arm_at(peer, deadline_ns);
        }
        if is_slow {
            self.set_pace(now, peer, Pace::Slow);
        }
        Some((result, appended_bytes))
    }

    fn drain_requests(&mut self, now: Now, peer: PeerId) {
        if let Some(connection) = self.connections.get_mut(peer).filter(|connection| !connection.held.is_empty()) {
            return connection.held.extend(self.requests.drain(..));
        }
        while let Some(request) = self.requests.pop_front() {
            self.request_of_connection(now, peer, request);
            if self.is_throttled_now(peer)
                && let Some(connection) = self.connections.get_mut(peer)
            {
                return connection.held.extend(self.requests.drain(..));
            }
        }
    }

    pub(crate) fn request_of_connection(&mut self, now: Now, peer: PeerId, request: Request) {
        if matches!(request, Request::Disconnect(_))
            && let Some(connection) = self.connections.get_mut(peer)
        {
            connection.has_left = true;
        }
        self.request(now, peer, request);
    }

    /// Counts a request and hands it to the broker.
    pub(crate) fn request(&mut self, now: Now, peer: PeerId, mut request: Request) {
        self.counters.messages_received += 1;
        match &mut request {
            Request::Publish(publish) | Request::Configure(publish) => {
                self.measure_publish(peer, &publish.message);
            }
            Request::Connect(connect) => {
                self.counters.connects_received += 1;
                let proven = connect.link.shared_key.take();
                connect.link = self.link_of(peer).unwrap_or_default();
                connect.link.shared_key = proven.or(connect.link.shared_key.take());
            }
            _ => {}
        }
        if !self.traces.is_idle() {
            self.trace_request(now, peer, &request);
        }
        self.broker.request(now, peer, request, &mut self.effects);
    }

    /// What a peer may leave unread of the answers to its own requests. Deliveries have their own bound: the
    /// high mark, above which the broker sends no more.
    fn unread_answer_bytes_max(&self) -> usize {
        const AT_LEAST: usize = 256 << 10;
        self.limits.write_buffer_high_bytes.max(AT_LEAST)
    }

    /// Carries out the broker's effects, and theirs, until there are none.
    pub(crate) fn settle(&mut self, now: Now) {
        while !is_empty(&self.effects) {
            let mut work = mem::replace(&mut self.effects, mem::take(&mut self.effects_spare));
            if !work.store.is_empty() {
                self.host.store(&mut work.store, work.ticket);
                work.store.clear();
                self.batches_stored += 1;
            }
            if !work.load.is_empty() {
                self.host.load(&mut work.load);
                work.load.clear();
            }
            work.ticket = 0;
            for event in work.events.drain(..) {
                if !self.traces.is_idle() {
                    self.trace_event(now, &event);
                }
                self.host.notice(Notice::Event(&event));
            }
            for (peer, answer) in work.answers.drain(..) {
                self.answer(now, peer, answer);
            }
            for batch in work.deliveries.chunk_by(|one, next| one.peer == next.peer) {
                self.deliver(now, batch);
            }
            work.deliveries.clear();
            for verify in work.verify.drain(..) {
                let peer = verify.peer;
                if let Some(verdict) = self.host.verify(verify) {
                    self.broker.verified(now, peer, verdict, &mut self.effects);
                }
            }
            for (publisher, subscriber) in work.pause.drain(..) {
                self.pause(now, publisher, subscriber);
            }
            for subscriber in work.resume.drain(..) {
                self.resume(subscriber);
            }
            for (publisher, until_ns) in work.throttle.drain(..) {
                self.throttle(publisher, until_ns);
            }
            if !work.forward.is_empty() {
                self.host.forward(&mut work.forward);
                work.forward.clear();
            }
            self.effects_spare = work;
            if self.appended_bytes >= FLUSH_BYTES {
                self.flush(now);
            }
        }
    }

    fn answer(&mut self, now: Now, peer: PeerId, answer: Answer) {
        if !self.traces.is_idle() {
            self.trace_answer(now, peer, &answer);
        }
        self.counters.messages_sent += 1;
        if let Some(door) = door_of(peer) {
            return self.answer_at_door(now, door, peer, answer);
        }
        if matches!(answer, Answer::Connected(_))
            && let Some(connection) = self.connections.get_mut(peer)
        {
            connection.admitted.iter_mut().for_each(Admitted::stands);
        }
        self.call(now, peer, |adaptor, out| adaptor.answer(now, answer, out));
        if let Some(connection) = self.connections.get_mut(peer)
            && connection.waits
        {
            connection.waits = false;
            connection.wake();
        }
    }

    fn link_of(&self, peer: PeerId) -> Option<Link> {
        match door_of(peer) {
            Some(door) => self.doors.link(door, peer),
            None => Some(self.connections.get(peer)?.link.clone()),
        }
    }

    /// The conversation is over: the broker hears of it, what was written still leaves, and the peer has a
    /// moment to close its side.
    pub(crate) fn end(&mut self, now: Now, peer: PeerId, close: Close) {
        self.release_held(now, peer);
        let Some(connection) = self.connections.get_mut(peer) else { return };
        let Some(adaptor) = connection.adaptor.take() else { return };
        // An adaptor that has panicked may do so again; that concerns nobody.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(adaptor)));
        connection.input = BytesMut::new();
        (connection.has_more, connection.waits, connection.paused_for) = (false, false, None);
        connection.throttled_until_ns = 0;
        connection.pace = Pace::Ready;
        // The adaptor's deadlines are void.
        connection.armed_ns = u64::MAX;
        connection.wake();
        if !connection.has_left {
            let disconnect =
                Disconnect { publish_will: close.publish_will, session_expiry_s: None, reason: close.refusal.reason };
            self.broker.request(now, peer, Request::Disconnect(disconnect), &mut self.effects);
        }
        let client = client_that_left(&self.effects, peer);
        if let Some(connection) = self.connections.get(peer) {
            self.host.notice(Notice::Closed { link: &connection.link, client, why: &close.refusal });
        }
        self.release(peer);
        if self.connections.get(peer).is_some_and(|connection| matches!(connection.stream, Stream::Guest(_))) {
            return self.remove(peer);
        }
        self.arm_at(peer, now.after_ms(LINGER_MS));
        self.mark_dirty(peer);
    }

    /// Closes the socket and frees the slot.
    pub(crate) fn remove(&mut self, peer: PeerId) {
        let Some(connection) = self.connections.remove(peer) else { return };
        connection.wake();
        // A guest came with a connection, which is counted.
        if !matches!(connection.stream, Stream::Guest(_)) {
            self.count_out(connection.listener);
        }
        self.forget_dead_timers();
        self.wake_when_drained();
    }

    fn is_drained(&self) -> bool {
        self.connections.len() + self.visitors == 0
    }

    pub(crate) fn wake_when_drained(&mut self) {
        if self.is_drained()
            && let Some(waker) = self.drained_waker.take()
        {
            waker.wake();
        }
    }
}

/// The session's name, from the event that the broker has just made of its end.
fn client_that_left(effects: &Effects, peer: PeerId) -> Option<ByteString> {
    effects.events.iter().rev().find_map(|event| match event {
        Event::Disconnected { peer: who, principal, .. } if *who == peer => Some(principal.client.clone()),
        _ => None,
    })
}

fn is_empty(effects: &Effects) -> bool {
    effects.answers.is_empty()
        && effects.deliveries.is_empty()
        && effects.store.is_empty()
        && effects.load.is_empty()
        && effects.forward.is_empty()
        && effects.verify.is_empty()
        && effects.pause.is_empty()
        && effects.resume.is_empty()
        && effects.throttle.is_empty()
        && effects.events.is_empty()
}
