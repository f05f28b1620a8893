//! What a shard needs from the program: the store, identities, the log.

use crate::admin::Tally;
use crate::events::{self, Presence};
use crate::identity::{Identities, late};
use crate::log::{self, Dam};
use crate::storage::ShardEnd;
use crate::why::{Incident, Kind, Why};
use althing_core::effects::{Event, Verdict, Verify};
use althing_core::record::{Load, Record};
use althing_core::shard::Word;
use althing_core::verbs::Refusal;
use althing_core::{Link, Reason};
use althing_net::{Host, Notice};
use althing_store::Memory;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use tracing::Level;

/// The host of the one shard.
#[derive(Debug)]
pub struct ShardHost {
    keeping: Keeping,
    identities: Arc<Identities>,
    late: late::Sender,
    dam: Dam,
    tally: Arc<Tally>,
    why: Why,
    events: events::Sender,
}

/// Where records go.
#[derive(Debug)]
pub enum Keeping {
    /// Nowhere: what is in the broker's memory is all there is.
    Memory(Memory),
    /// To the store's thread.
    Disk(ShardEnd),
}

impl Host for ShardHost {
    fn store(&mut self, records: &mut Vec<Record>, ticket: u64) {
        match &mut self.keeping {
            Keeping::Memory(memory) => memory.append(records, ticket),
            Keeping::Disk(line) => line.store(records, ticket),
        }
    }

    fn durable(&mut self) -> u64 {
        match &mut self.keeping {
            Keeping::Memory(memory) => memory.durable(),
            Keeping::Disk(line) => line.durable(),
        }
    }

    fn is_durable_soon(&mut self) -> bool {
        match &mut self.keeping {
            Keeping::Memory(_) => false,
            Keeping::Disk(line) => line.is_durable_soon(),
        }
    }

    fn load(&mut self, loads: &mut Vec<Load>) {
        match &mut self.keeping {
            Keeping::Memory(_) => debug_assert!(loads.is_empty(), "nothing is kept that could be loaded"),
            Keeping::Disk(line) => line.load(loads),
        }
    }

    fn has_room(&mut self) -> bool {
        match &self.keeping {
            Keeping::Memory(_) => true,
            Keeping::Disk(line) => line.has_room(),
        }
    }

    fn is_behind(&mut self) -> bool {
        match &mut self.keeping {
            Keeping::Memory(_) => false,
            Keeping::Disk(line) => line.is_behind(),
        }
    }

    fn verify(&mut self, verify: Verify) -> Option<Verdict> {
        let (peer, late) = (verify.peer, self.late.clone());
        self.identities.verify(verify, move |verdict| late.send(peer, verdict))
    }

    fn forward(&mut self, words: &mut Vec<(u16, Word)>) {
        debug_assert!(words.is_empty(), "there is one shard");
        words.clear();
    }

    fn notice(&mut self, notice: Notice<'_>) {
        match notice {
            Notice::Event(event) => self.event(event),
            Notice::Closed { link, client, why } => self.closed(&Who { client: client.as_deref(), link }, why),
            Notice::TurnedAway { listener, why } => {
                self.line(
                    Level::WARN,
                    ("turned away", None),
                    format_args!("a connection to {listener} was turned away: {why}"),
                );
                self.why.note(None, Incident { listener: Some(listener), ..Incident::now(Kind::TurnedAway, why) });
            }
            Notice::Stalled { link, client, waiting_bytes } => {
                self.stalled(&Who { client: client.as_deref(), link }, waiting_bytes);
            }
            Notice::Throttled { link, client } => self.throttled(&Who { client: client.as_deref(), link }),
        }
    }
}

impl ShardHost {
    /// A host whose records go there, who asks these identities, notes what goes wrong, counts it, and tells who comes and
    /// goes.
    pub fn new(
        keeping: Keeping,
        (identities, late): (Arc<Identities>, late::Sender),
        tally: Arc<Tally>,
        why: Why,
        events: events::Sender,
    ) -> Self {
        Self { keeping, identities, late, dam: Dam::default(), tally, why, events }
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::Connected { principal, resumed, .. } => {
                let place = Place(principal.link.remote);
                let how = if *resumed { " and resumed its session" } else { "" };
                self.line(
                    Level::INFO,
                    ("connected", None),
                    format_args!("client {:?} connected from {place}{how}", &principal.client[..]),
                );
                self.events.send(Presence::connected(principal, *resumed));
            }
            Event::Disconnected { principal, reason, .. } => {
                tracing::debug!("client {:?} is disconnected ({reason:?})", &principal.client[..]);
                self.events.send(Presence::disconnected(principal, *reason));
            }
            Event::Dropped { client, why, count } => {
                self.line(
                    Level::WARN,
                    ("dropped", None),
                    format_args!("a message for {:?} was dropped, its loss number {count}: {why}", &client[..]),
                );
                let why = format!("a message for it was dropped, its loss number {count}: {why}");
                self.why.note(Some(client), Incident::now(Kind::Dropped, why));
            }
            Event::Refused { client, reason, why } => {
                self.tally.refused("request", *reason);
                self.line(Level::WARN, ("refused", Some(*reason)), format_args!("client {:?}: {why}", &client[..]));
                // Without a client it is said again, with the address, when the connection closes.
                if !client.is_empty() {
                    self.why.note(Some(client), Incident::now(Kind::Refused, &why[..]).reason(*reason));
                }
            }
            Event::Unheard { client, topic, count } => {
                tracing::debug!("client {:?}: nobody heard {topic}, its unheard message number {count}", &client[..]);
                let why = format!("nobody was subscribed to {topic}; {count} of its messages have reached nobody");
                self.why.note(Some(client), Incident::now(Kind::Unheard, why));
            }
        }
    }

    fn closed(&mut self, who: &Who<'_>, why: &Refusal) {
        self.tally.refused("closed", why.reason);
        let level = match why.reason {
            Reason::Normal
            | Reason::WithWill
            | Reason::ConnectionLost
            | Reason::SessionTakenOver
            | Reason::AdministrativeAction => Level::INFO,
            reason if reason.is_stop() => Level::INFO,
            _ => Level::WARN,
        };
        self.line(level, ("closed", Some(why.reason)), format_args!("{who} is gone: {why}"));
        let is_goodbye = matches!(why.reason, Reason::Normal | Reason::WithWill) || why.reason.is_stop();
        if !is_goodbye {
            let incident = Incident::now(Kind::Closed, why.text.as_ref()).reason(why.reason).through(who.link);
            self.why.note(who.client, incident);
        }
    }

    fn stalled(&mut self, who: &Who<'_>, waiting_bytes: usize) {
        let text = format!("does not read: {waiting_bytes} bytes wait for it, and publishers do no longer");
        self.line(Level::WARN, ("stalled", None), format_args!("{who} {text}"));
        self.why.note(who.client, Incident::now(Kind::Stalled, format!("it {text}")).through(who.link));
    }

    fn throttled(&mut self, who: &Who<'_>) {
        let text = "publishes more than its quota allows: it is not read for a while";
        self.line(Level::INFO, ("throttled", None), format_args!("{who} {text}"));
        self.why.note(who.client, Incident::now(Kind::Throttled, format!("it {text}")).through(who.link));
    }

    /// One line, unless too many like it have been written just now.
    fn line(&mut self, level: Level, kind: log::Kind, text: fmt::Arguments<'_>) {
        let is_wanted = match level {
            Level::INFO => tracing::enabled!(Level::INFO),
            _ => tracing::enabled!(Level::WARN),
        };
        if !is_wanted {
            return;
        }
        // Who asks for details gets them all.
        let admitted = if tracing::enabled!(Level::DEBUG) { Some(0) } else { self.dam.admit(kind, Instant::now()) };
        match (admitted, level) {
            (None, _) => {}
            (Some(0), Level::INFO) => tracing::info!("{text}"),
            (Some(0), _) => tracing::warn!("{text}"),
            (Some(held_back), Level::INFO) => tracing::info!("{text} ({held_back} lines like this were held back)"),
            (Some(held_back), _) => tracing::warn!("{text} ({held_back} lines like this were held back)"),
        }
    }
}

/// Who a line speaks of. Names come from outside: they are quoted and escaped.
struct Who<'a> {
    client: Option<&'a str>,
    link: &'a Link,
}

impl fmt::Display for Who<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = Place(self.link.remote);
        match self.client {
            Some(client) => write!(f, "client {client:?} at {place}"),
            None => write!(f, "a connection from {place} to {}", self.link.listener()),
        }
    }
}

struct Place(Option<SocketAddr>);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("this machine"),
        }
    }
}
