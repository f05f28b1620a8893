//! A whole world in one thread: shards with their brokers, peers on byte pipes that can be cut at any byte,
//! words between shards, a store that confirms when it pleases, a virtual clock. What happens next is always
//! drawn from the seed, so one seed is one history.

mod crash;
mod promises;
mod provider;
mod raw;
mod shard;
mod station;
mod tunnel;
mod vault;
mod wire;

pub use crash::{Crash, Downtime};
pub use provider::{CHALLENGE, METHOD_ECHO, WRONG_PASSWORD, expiring};
pub use station::{Heard, Received, Station, StationId, connect_packet, filter, topic};
pub use vault::Keeping;
pub use wire::Grain;

use crate::trace::Trace;
use althing_core::authorisation::Policy;
use althing_core::broker::{Broker, Statistics};
use althing_core::effects::Event;
use althing_core::record::Restored;
use althing_core::time::MILLISECOND_NS;
use althing_core::{Adaptor, Entropy, Limits, Link, Message, Now, PeerId, Reason};
use shard::{Common, Shard, Timer, name};
use std::collections::BTreeMap;
use std::sync::Arc;
use vault::Vault;
use wire::{Wire, transfer};

/// Beyond this many steps without coming to rest something goes round in circles.
const STEPS_MAX: u64 = 4_000_000;

/// How often the choice falls on something else before a slow channel or store gets its turn.
const LAZINESS: usize = 20;

/// How a world begins.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Decides everything that is not said.
    pub seed: u64,
    /// How many shards share the work.
    pub shards: u16,
    /// The limits of the house.
    pub limits: Limits,
    /// Who may do what.
    pub policy: Policy,
    /// How bytes are chopped; `None` leaves it to the seed.
    pub grain: Option<Grain>,
    /// What a connection takes in each direction before its writer has to wait, as sockets do.
    pub pipe_bytes_max: usize,
    /// In what the records are kept.
    pub keeping: Keeping,
    /// Whether stations speak MQTT inside WebSocket; `None` leaves it to the seed. Hand-made peers never do.
    pub websocket: Option<bool>,
}

impl Setup {
    /// A world with the default limits in which everyone may do everything. Its clock stands while things happen, so
    /// there is no rate at which sessions are taken over.
    pub fn new(seed: u64, shards: u16) -> Self {
        Self {
            seed,
            shards,
            limits: Limits { takeovers_per_s: u32::MAX, ..Limits::default() },
            policy: Policy::open(),
            grain: None,
            pipe_bytes_max: 64 << 10,
            keeping: Keeping::Ledger,
            websocket: None,
        }
    }
}

/// A connection from outside, by number, in the order of their opening.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WireId(usize);

/// Something that can happen now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    /// Bytes from a peer arrive, or their end.
    Up(WireId),
    /// The adaptor goes on with bytes that it has.
    Turn(WireId),
    /// Bytes leave the house.
    Out(WireId),
    /// Bytes arrive at the peer, or their end.
    Down(WireId),
    /// A word between shards arrives.
    Word(u16, u16),
    /// The store takes some of what was handed to it.
    Take,
    /// The store commits what it has taken.
    Commit,
    /// The store does what can be done meanwhile.
    Maintain,
    /// A shard hears that tickets are durable.
    Confirm(u16),
    /// A shard hears what it wanted to load.
    Load(u16),
    /// The identity provider answers.
    Verdict(usize),
    /// A deadline of the house has come.
    Timeout(u16, Timer, &'static str),
    /// Bytes of a client half enter its wire.
    Speak(StationId),
    /// A deadline of a client half has come.
    Wake(StationId),
}

/// The world.
pub struct House {
    seed: u64,
    entropy: Entropy,
    common: Common,
    policy: Arc<Policy>,
    /// How those who connect come in.
    link: Link,
    shards: Vec<Shard>,
    wires: BTreeMap<WireId, Wire>,
    wires_opened: usize,
    stations: Vec<Station>,
    grain: Grain,
    /// Whether stations speak MQTT inside WebSocket.
    websocket: bool,
    /// Which channels and stores are slow in this world: a quarter of them.
    lazy: u64,
    pipe_bytes_max: usize,
    steps: u64,
    store_held: bool,
    crashes: Vec<Crash>,
    /// What the shards know of the room for new messages.
    has_room: bool,
}

impl House {
    /// An empty world.
    pub fn new(setup: Setup) -> Self {
        let mut entropy = Entropy::new(setup.seed ^ 0x416c_7468_696e_6721);
        let grain = setup.grain.unwrap_or_else(|| [Grain::Whole, Grain::Mixed, Grain::Fine][entropy.below(3) as usize]);
        let lazy = entropy.next_u64() & entropy.next_u64();
        let now = Now { mono_ns: 1_000_000_000 + entropy.below(1_000_000_000_000), wall_ms: 1_800_000_000_000 };
        let common = Common {
            now,
            limits: Arc::new(setup.limits),
            trace: Trace::default(),
            promises: promises::Promises::default(),
            vault: Vault::new(setup.keeping, setup.seed, now),
            channels: BTreeMap::new(),
            questions: Vec::new(),
            paused: BTreeMap::new(),
            throttled: BTreeMap::new(),
            behind: BTreeMap::new(),
            events: Vec::new(),
        };
        let mut house = Self {
            seed: setup.seed,
            entropy,
            common,
            policy: Arc::new(setup.policy),
            link: Link::new(None, "mqtt"),
            shards: Vec::new(),
            wires: BTreeMap::new(),
            wires_opened: 0,
            stations: Vec::new(),
            grain,
            websocket: setup.websocket.unwrap_or(setup.seed % 2 == 1),
            lazy,
            pipe_bytes_max: setup.pipe_bytes_max,
            steps: 0,
            store_held: false,
            crashes: Vec::new(),
            has_room: true,
        };
        house.start(setup.shards, Vec::new());
        house
    }

    /// Starts a process, in which nobody is connected and everything holds that was left.
    fn start(&mut self, shards: u16, facts: Vec<Restored>) {
        let brokers = (0..shards).map(|index| {
            let own = Entropy::new(self.entropy.next_u64());
            Shard::new(index, Broker::new(index, shards, self.common.limits.clone(), self.policy.clone(), own))
        });
        self.shards = brokers.collect();
        let mut facts_of: Vec<Vec<Restored>> = self.shards.iter().map(|_| Vec::new()).collect();
        for fact in facts {
            facts_of[self.shards[0].broker.home_of(&fact) as usize].push(fact);
        }
        for (shard, facts) in self.shards.iter_mut().zip(facts_of) {
            shard.restore(facts, &mut self.common);
        }
        self.has_room = true;
        self.tell_of_room();
    }

    /// The seed that this world grew from.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// A number below `bound`, drawn from the seed.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.entropy.below(bound)
    }

    /// True once in `times`.
    pub fn one_in(&mut self, times: u64) -> bool {
        self.entropy.below(times) == 0
    }

    /// The moment.
    pub fn now(&self) -> Now {
        self.common.now
    }

    /// Counts what has happened; for putting events in order.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Makes a step of its own for an act of the test, so that it has its place in the order; returns its number.
    pub fn tick(&mut self) -> u64 {
        self.steps += 1;
        self.steps
    }

    /// What has happened.
    pub fn trace(&self) -> &Trace {
        &self.common.trace
    }

    /// Keeps this many lines of the trace for people.
    pub fn keep_lines(&mut self, lines: usize) {
        self.common.trace.keep_lines(lines);
    }

    /// Adds a line to the trace.
    pub fn note(&mut self, text: std::fmt::Arguments<'_>) {
        self.common.trace.note(text);
    }

    /// What the brokers reported, oldest first.
    pub fn events(&self) -> &[Event] {
        &self.common.events
    }

    /// The sum over all shards.
    pub fn statistics(&self) -> Statistics {
        let mut sum = Statistics::default();
        for one in self.shards.iter().map(|shard| shard.broker.statistics()) {
            sum.peers += one.peers;
            sum.sessions += one.sessions;
            sum.subscriptions += one.subscriptions;
            sum.shared_subscriptions += one.shared_subscriptions;
            sum.queues += one.queues;
            sum.retained_messages += one.retained_messages;
            sum.retained_bytes += one.retained_bytes;
            sum.queued_messages += one.queued_messages;
            sum.queued_bytes += one.queued_bytes;
            sum.inflight_messages += one.inflight_messages;
            sum.publishes_received += one.publishes_received;
            sum.publishes_delivered += one.publishes_delivered;
            sum.publishes_dropped += one.publishes_dropped;
            sum.sessions_expired += one.sessions_expired;
            sum.connections_refused += one.connections_refused;
            sum.publishes_refused += one.publishes_refused;
            sum.subscriptions_refused += one.subscriptions_refused;
            sum.publishes_unheard += one.publishes_unheard;
            sum.throttles += one.throttles;
            sum.match_visits += one.match_visits;
        }
        sum
    }

    /// Connections that the house still talks with.
    pub fn connections_open(&self) -> usize {
        self.shards.iter().map(Shard::connections_open).sum()
    }

    /// Bytes that wait in buffers of the house for its peers or for the rest of a packet.
    pub fn buffered_bytes(&self) -> usize {
        self.shards.iter().map(Shard::buffered_bytes).sum()
    }

    /// Publishers that the house makes wait, now.
    pub fn publishers_paused(&self) -> usize {
        self.common.paused.keys().filter(|peer| self.common.is_paused(**peer)).count()
    }

    // ---- what a test does to the world ----

    /// Swaps the policy on every shard.
    pub fn set_policy(&mut self, policy: Policy) {
        self.common.trace.note(format_args!("another policy: {policy:?}"));
        self.policy = Arc::new(policy);
        for shard in &mut self.shards {
            let policy = self.policy.clone();
            shard.call(&mut self.common, |broker, now, effects| broker.set_policy(now, policy, effects));
        }
    }

    /// From now on those who connect come in by this way.
    pub fn come_in_by(&mut self, link: Link) {
        self.link = link;
    }

    /// Keeps the store from confirming anything, or lets it go on.
    pub fn hold_store(&mut self, held: bool) {
        self.common.trace.note(format_args!("store held: {held}"));
        self.store_held = held;
    }

    /// The broker itself publishes, on a shard of the seed's choice.
    pub fn publish_by_broker(&mut self, message: Message) {
        let shard = self.entropy.below(self.shards.len() as u64) as usize;
        self.shards[shard].call(&mut self.common, |broker, now, effects| broker.publish(now, message, effects));
    }

    /// Ends all conversations, as at a stop.
    pub fn close_all(&mut self, reason: Reason) {
        for shard in &mut self.shards {
            shard.call(&mut self.common, |broker, _, effects| broker.close_all(reason, effects));
        }
    }

    /// A peer connects; the seed chooses the shard.
    pub fn open_wire(&mut self) -> WireId {
        let adaptor = station::adaptor(self.link.clone(), &self.common.limits);
        self.open_wire_to(adaptor)
    }

    fn open_wire_to(&mut self, adaptor: Box<dyn Adaptor>) -> WireId {
        let shard = self.entropy.below(self.shards.len() as u64) as usize;
        let peer = self.shards[shard].open(adaptor, self.link.clone());
        let id = WireId(self.wires_opened);
        self.wires_opened += 1;
        self.common.trace.note(format_args!("wire {} opens to {}", id.0, name(peer)));
        self.wires.insert(id, Wire::new(peer, self.pipe_bytes_max));
        id
    }

    /// Bytes of a peer without a client half; returns how many the wire took.
    pub fn write(&mut self, wire: WireId, bytes: &[u8]) -> usize {
        self.wires.get_mut(&wire).map_or(bytes.len(), |wire| wire.up.write(bytes))
    }

    /// What has arrived at a peer without a client half.
    pub fn read(&mut self, wire: WireId) -> Vec<u8> {
        self.wires.get_mut(&wire).map_or_else(Vec::new, |wire| wire.inbox.split().to_vec())
    }

    /// Whether the house has ended this connection and the peer has seen everything.
    pub fn is_closed(&self, wire: WireId) -> bool {
        self.wires.get(&wire).is_none_or(|wire| wire.peer.is_none() && wire.down.at_end())
    }

    /// The peer stops reading, or goes on.
    pub fn set_reading(&mut self, wire: WireId, reading: bool) {
        self.common.trace.note(format_args!("wire {} reads: {reading}", wire.0));
        if let Some(wire) = self.wires.get_mut(&wire) {
            wire.reading = reading;
        }
    }

    /// Loses the connection: some of the bytes under way arrive, both sides see the end later.
    pub fn cut(&mut self, wire: WireId) {
        self.common.trace.note(format_args!("wire {} is cut", wire.0));
        if let Some(wire) = self.wires.get_mut(&wire) {
            wire.cut(&mut self.entropy);
        }
    }

    /// The peer closes: everything written before still arrives.
    pub fn close(&mut self, wire: WireId) {
        if let Some(wire) = self.wires.get_mut(&wire) {
            wire.up.closed = true;
        }
    }

    // ---- what happens by itself ----

    /// Lets everything happen that can happen without time passing.
    pub fn settle(&mut self) {
        let limit = self.steps + STEPS_MAX;
        while self.step() {
            assert!(self.steps < limit, "the world does not come to rest");
        }
    }

    /// Lets up to `count` things happen.
    pub fn run_steps(&mut self, count: u64) {
        for _ in 0..count {
            if !self.step() {
                return;
            }
        }
    }

    /// Lets this much time pass, from deadline to deadline, and everything happen in it.
    pub fn pass_ms(&mut self, duration_ms: u64) {
        let end_ns = self.common.now.mono_ns + duration_ms * MILLISECOND_NS;
        let mut stuck = 0;
        loop {
            self.settle();
            let before_ns = self.common.now.mono_ns;
            let next_ns = self.next_deadline_ns().unwrap_or(u64::MAX).min(end_ns).max(before_ns);
            self.set_clock(next_ns);
            if next_ns >= end_ns {
                break;
            }
            stuck = if next_ns == before_ns { stuck + 1 } else { 0 };
            assert!(stuck < 1_000, "a deadline that nobody meets: {:?}", self.due());
        }
        self.settle();
    }

    /// One thing happens, chosen by the seed among all that can; false when nothing can.
    pub fn step(&mut self) -> bool {
        let acts = self.possible();
        if acts.is_empty() {
            return false;
        }
        let mut act = acts[self.entropy.below(acts.len() as u64) as usize];
        for _ in 0..LAZINESS {
            if !self.is_lazy(act) {
                break;
            }
            act = acts[self.entropy.below(acts.len() as u64) as usize];
        }
        self.steps += 1;
        self.common.trace.note(format_args!("{act:?}"));
        self.perform(act);
        true
    }

    /// What is slow in this world happens when hardly anything else can.
    fn is_lazy(&self, act: Act) -> bool {
        let place = match act {
            Act::Word(from, to) => 7 * from + to,
            Act::Take => 48,
            Act::Commit => 49,
            Act::Maintain => 50,
            Act::Confirm(shard) => 51 + shard,
            Act::Load(shard) => 55 + shard,
            _ => return false,
        };
        self.lazy >> (place % 64) & 1 == 1
    }

    fn possible(&mut self) -> Vec<Act> {
        let mut acts: Vec<Act> = self.speaking_stations().into_iter().map(Act::Speak).collect();
        for (&id, wire) in &self.wires {
            self.possible_on_wire(id, wire, &mut acts);
        }
        for (&(from, to), words) in &self.common.channels {
            if !words.is_empty() {
                acts.push(Act::Word(from, to));
            }
        }
        self.possible_in_store(&mut acts);
        acts.extend((0..self.common.questions.len()).map(Act::Verdict));
        acts.extend(self.due());
        acts
    }

    fn possible_in_store(&self, acts: &mut Vec<Act>) {
        let vault = &self.common.vault;
        if vault.inbox_len() > 0 {
            acts.push(Act::Take);
        }
        if vault.wants_commit() && !self.store_held {
            acts.push(Act::Commit);
        }
        if vault.wants_maintenance() {
            acts.push(Act::Maintain);
        }
        for (shard, is_confirmation) in vault.news() {
            if !is_confirmation {
                acts.push(Act::Load(shard));
            } else if !self.store_held {
                acts.push(Act::Confirm(shard));
            }
        }
    }

    fn possible_on_wire(&self, id: WireId, wire: &Wire, acts: &mut Vec<Act>) {
        let connection = wire.peer.and_then(|peer| self.shards[peer.shard as usize].connection(peer));
        if let Some(connection) = connection {
            let paused = self.common.is_paused(connection.peer);
            let serves = !self.shards.iter().any(|shard| shard.broker.is_restoring());
            let arrives = !wire.up.bytes.is_empty() && connection.wants_bytes() && !paused && serves;
            if arrives || wire.up.at_end() && !connection.closing {
                acts.push(Act::Up(id));
            }
            if connection.wants_turn() && !paused {
                acts.push(Act::Turn(id));
            }
            let leaves = !connection.output.is_empty() && wire.down.room() > 0;
            if leaves || connection.closing && connection.output.is_empty() {
                acts.push(Act::Out(id));
            }
        }
        let arrives = wire.reading && !wire.down.bytes.is_empty();
        if arrives || wire.reading && wire.down.at_end() && self.station_on(id).is_some() {
            acts.push(Act::Down(id));
        }
    }

    /// Every deadline that has come.
    fn due(&self) -> Vec<Act> {
        let now_ns = self.common.now.mono_ns;
        let mut acts = Vec::new();
        for (index, shard) in self.shards.iter().enumerate() {
            let due = shard.deadlines(&self.common).into_iter().filter(|(at_ns, ..)| *at_ns <= now_ns);
            acts.extend(due.map(|(_, timer, reason)| Act::Timeout(index as u16, timer, reason)));
        }
        for (index, station) in self.stations.iter().enumerate() {
            if station.next_timeout_ns().is_some_and(|at_ns| at_ns <= now_ns) {
                acts.push(Act::Wake(StationId(index)));
            }
        }
        acts
    }

    fn next_deadline_ns(&self) -> Option<u64> {
        let house = self.shards.iter().flat_map(|shard| shard.deadlines(&self.common)).map(|(at_ns, ..)| at_ns);
        let stations = self.stations.iter().filter_map(Station::next_timeout_ns);
        house.chain(stations).min()
    }

    fn set_clock(&mut self, mono_ns: u64) {
        let passed_ns = mono_ns - self.common.now.mono_ns;
        self.common.now.mono_ns = mono_ns;
        self.common.now.wall_ms += passed_ns / MILLISECOND_NS;
        if passed_ns > 0 {
            self.common.vault.look_for_room();
            self.common.trace.note(format_args!("{} us pass", passed_ns / 1_000));
        }
    }

    fn perform(&mut self, act: Act) {
        match act {
            Act::Up(id) => self.move_up(id),
            Act::Turn(id) => {
                if let Some(peer) = self.wires[&id].peer {
                    self.shards[peer.shard as usize].receive(peer, &mut self.common);
                }
            }
            Act::Out(id) => self.move_out(id),
            Act::Down(id) => self.move_down(id),
            Act::Word(from, to) => {
                let word = self.common.channels.get_mut(&(from, to)).and_then(|words| words.pop_front());
                if let Some(word) = word {
                    self.common.trace.note(format_args!("{from} to {to}: {word:?}"));
                    self.shards[to as usize].word(from, word, &mut self.common);
                }
            }
            Act::Take | Act::Commit | Act::Maintain => self.move_store(act),
            Act::Confirm(shard) => {
                if let Some(ticket) = self.common.vault.confirmation(shard) {
                    self.shards[shard as usize].confirm(ticket, &mut self.common);
                }
            }
            Act::Load(shard) => {
                if let Some(loaded) = self.common.vault.answer(shard) {
                    self.shards[shard as usize].loaded(loaded, &mut self.common);
                }
            }
            Act::Verdict(index) => {
                let (shard, question) = self.common.questions.remove(index);
                let verdict = provider::judge(&question);
                self.common.trace.note(format_args!("{} is judged: {verdict:?}", name(question.peer)));
                self.shards[shard as usize].verdict(question.peer, verdict, &mut self.common);
            }
            Act::Timeout(shard, timer, _) => self.shards[shard as usize].timeout(timer, &mut self.common),
            Act::Speak(station) => self.let_speak(station),
            Act::Wake(station) => self.wake_station(station),
        }
    }

    fn move_store(&mut self, act: Act) {
        let (now, vault) = (self.common.now, &mut self.common.vault);
        let result = match act {
            Act::Take => vault.take(1 + self.entropy.below(vault.inbox_len() as u64) as usize),
            Act::Commit => vault.commit(now),
            _ => vault.maintain(now),
        };
        self.tell_of_room();
        if let Err(failure) = result {
            self.note(format_args!("{failure}: the process ends"));
            let downtime = Downtime::draw(&mut self.entropy);
            self.crash(false, downtime);
        }
    }

    /// Every shard knows whether new messages may be kept.
    fn tell_of_room(&mut self) {
        let has_room = self.common.vault.has_room();
        if has_room != self.has_room {
            self.common.trace.note(format_args!("room for new messages: {has_room}"));
            self.has_room = has_room;
            self.shards.iter_mut().for_each(|shard| shard.broker.set_room(has_room));
        }
    }

    /// Some bytes, or the end of all bytes, arrive at the house.
    fn move_up(&mut self, id: WireId) {
        let Some(wire) = self.wires.get_mut(&id) else { return };
        let Some(peer) = wire.peer else { return };
        let shard = &mut self.shards[peer.shard as usize];
        if wire.up.bytes.is_empty() {
            return shard.lost(peer, &mut self.common);
        }
        let Some(connection) = shard.connection_mut(peer) else { return };
        let count = self.grain.choose(wire.up.bytes.len(), &mut self.entropy);
        transfer(&mut wire.up.bytes, &mut connection.input, count);
        shard.receive(peer, &mut self.common);
    }

    /// Some bytes leave the house, or the connection is over.
    fn move_out(&mut self, id: WireId) {
        let Some(wire) = self.wires.get_mut(&id) else { return };
        let Some(peer) = wire.peer else { return };
        let shard = &mut self.shards[peer.shard as usize];
        let Some(connection) = shard.connection_mut(peer) else { return };
        let mut slices = [std::io::IoSlice::new(&[]); 4];
        let used = connection.output.slices(&mut slices);
        let mut wanted = self.grain.choose(connection.output.len(), &mut self.entropy);
        let mut written = 0;
        for slice in &slices[..used] {
            let count = wire.down.write(&slice[..slice.len().min(wanted)]);
            written += count;
            wanted -= count;
            if count < slice.len() {
                break;
            }
        }
        connection.output.advance(written);
        if connection.closing && (connection.output.is_empty() || wire.down.closed) {
            wire.down.closed = true;
            wire.peer = None;
            shard.free(peer, &mut self.common);
        } else {
            shard.has_written(peer, written, &mut self.common);
        }
        self.forget_wire_when_over(id);
    }

    /// Some bytes, or their end, arrive at the peer.
    fn move_down(&mut self, id: WireId) {
        let Some(wire) = self.wires.get_mut(&id) else { return };
        let count = self.grain.choose(wire.down.bytes.len(), &mut self.entropy);
        transfer(&mut wire.down.bytes, &mut wire.inbox, count);
        if let Some(station) = self.station_on(id) {
            self.feed_station(station, id);
        } else if self.stations.iter().any(|station| station.has_abandoned(id)) {
            self.wires.get_mut(&id).into_iter().for_each(|wire| wire.inbox.clear());
        }
        self.forget_wire_when_over(id);
    }

    fn forget_wire_when_over(&mut self, id: WireId) {
        let over = self.wires.get(&id).is_some_and(|wire| wire.peer.is_none() && wire.down.at_end());
        if over && self.station_on(id).is_none() && self.wires[&id].inbox.is_empty() {
            self.wires.remove(&id);
        }
    }

    /// The connection at the house's end of a wire, while there is one.
    pub fn peer_of(&self, wire: WireId) -> Option<PeerId> {
        self.wires.get(&wire)?.peer
    }
}
