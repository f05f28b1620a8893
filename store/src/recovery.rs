//! From what lies on the disk to what holds: checkpoint, replay, and the facts for the broker.

use crate::Options;
use crate::checkpoint::{Checkpoints, Snapshot};
use crate::clock::{Clock, Downtime};
use crate::codec::{BodyAt, Context, Items, Kind, decode_body, decode_fact, is_of_group, read_queue_key, read_terms};
use crate::disk::Disk;
use crate::error::OpenError;
use crate::index::{Entry, Fact, Index, Queue};
use crate::log::{Frame, Log, segment_name};
use crate::reading::{Readers, damaged};
use althing_core::Now;
use althing_core::message::Message;
use althing_core::record::{LoadedEntry, QueueKey, Restored, RestoredEntry, SessionKey};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use std::sync::Arc;

/// What opening a store finds.
pub(crate) struct Recovered<D: Disk> {
    pub log: Log<D>,
    pub index: Index,
    pub clock: Clock,
    pub downtime: Downtime,
    pub checkpoints: Checkpoints,
}

/// Reads the newest checkpoint and applies the log from there on.
pub(crate) fn recover<D: Disk>(mut disk: D, options: &Options, now: Now) -> Result<Recovered<D>, OpenError> {
    let Snapshot { mut index, first_segment, store, last, mut checkpoints } = Snapshot::read(&mut disk, options.seed)?;
    let mut last = last;
    let mut log = Log::open(disk, options, first_segment, &mut |frame| {
        last = Some((frame.age_ms, frame.wall_ms));
        replay(&mut index, &frame)
    })?;
    if store.is_some_and(|store| store != log.store()) {
        return Err(OpenError::Corrupt {
            file: checkpoints.name(),
            offset: 0,
            what: "it belongs to another store than the segments".to_owned(),
            affected: "everything that was stored before the first segment that it names".to_owned(),
        });
    }
    check_places(&index, &log)?;
    let downtime = last.map_or(Downtime::New, |(_, wall_ms)| Downtime::between(wall_ms, now.wall_ms));
    let age_ms = last.map_or(0, |(age_ms, _)| age_ms).saturating_add(downtime.aged_ms());
    checkpoints.configure(options);
    checkpoints.remove_leftovers(log.disk())?;
    Ok(Recovered { log, index, clock: Clock::new(age_ms, now), downtime, checkpoints })
}

fn replay(index: &mut Index, frame: &Frame<'_>) -> Result<(), OpenError> {
    let mut items = Items::new(frame.payload, frame.place);
    loop {
        match items.next() {
            Ok(Some((at, item))) => index.apply(&item, at),
            Ok(None) => return Ok(()),
            Err(malformed) => {
                return Err(OpenError::Corrupt {
                    file: segment_name(frame.place.segment),
                    offset: u64::from(frame.place.offset) + items.offset() as u64,
                    what: format!("an item is not one: {malformed}"),
                    affected: "the step that it is part of".to_owned(),
                });
            }
        };
    }
}

/// Everything that the index refers to must be there; what is in a segment that replay does not read is not looked at before
/// somebody wants it.
fn check_places<D: Disk>(index: &Index, log: &Log<D>) -> Result<(), OpenError> {
    let mut lengths = HashMap::<u32, u32, FixedState>::default();
    lengths.extend(log.segments().into_iter().filter_map(|segment| Some((segment, log.segment_bytes(segment)?))));
    let is_there = |at: BodyAt| {
        let length = lengths.get(&at.place.segment);
        length.is_some_and(|length| at.place.offset.checked_add(at.length).is_some_and(|end| end <= *length))
    };
    let outside = |at: BodyAt, affected: String| OpenError::Corrupt {
        file: segment_name(at.place.segment),
        offset: u64::from(at.place.offset),
        what: "it ends before this place, or is missing".to_owned(),
        affected,
    };
    if let Some((_, fact)) = index.facts().find(|(_, fact)| !is_there(fact.at)) {
        return Err(outside(fact.at, name_of(fact.kind).to_owned()));
    }
    for queue in index.queues() {
        if let Some(entry) = queue.entries().iter().find(|entry| !is_there(entry.body)) {
            return Err(outside(entry.body, name_of_queue(&queue.key)));
        }
    }
    Ok(())
}

fn name_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Session => "a session",
        Kind::Subscription => "a subscription",
        Kind::Token => "a token",
        Kind::Retained => "a retained value",
    }
}

fn name_of_queue(key: &[u8]) -> String {
    match read_queue_key(key) {
        Ok(QueueKey::Session(SessionKey { realm, client })) if realm.is_empty() => {
            format!("an entry in the queue of session {client:?}")
        }
        Ok(QueueKey::Session(SessionKey { realm, client })) => {
            format!("an entry in the queue of session {client:?} in the realm {realm:?}")
        }
        Ok(QueueKey::Group(filter)) => format!("an entry in the queue of {filter:?}"),
        Err(_) => "an entry of a queue".to_owned(),
    }
}

/// Shows everything that holds, read in the order of the log: sessions, then the other facts, then queues.
pub(crate) fn restore<D: Disk>(
    log: &mut Log<D>,
    index: &Index,
    context: &Context,
    take: &mut dyn FnMut(Restored),
) -> Result<(), OpenError> {
    let mut readers = Readers::default();
    let mut facts: Vec<(u128, Fact)> = index.facts().collect();
    facts.sort_unstable_by_key(|(_, fact)| (fact.kind != Kind::Session, fact.at.place));
    readers.read(
        log,
        None,
        &facts,
        |(_, fact)| fact.at,
        |(hash, fact), bytes| {
            let failed = |malformed| damaged(fact.at, malformed, format_args!("{}", name_of(fact.kind)));
            let (restored, key) = decode_fact(fact.kind, bytes, context).map_err(failed)?;
            if index.fact_hash(fact.kind, key) != *hash {
                return Err(failed(crate::codec::Malformed::Value("fact that was looked for")));
            }
            take(restored);
            Ok(())
        },
    )?;
    drop(facts);
    let messages = messages_here(log, index, context, &mut readers)?;
    for queue in index.queues().iter().filter(|queue| !queue.is_empty()) {
        take(restored_queue(index, queue, &messages)?);
    }
    Ok(())
}

type Messages = HashMap<crate::log::Place, Arc<Message>, FixedState>;

/// The messages that the broker wants at once, read in the order of the log, each once.
fn messages_here<D: Disk>(
    log: &mut Log<D>,
    index: &Index,
    context: &Context,
    readers: &mut Readers,
) -> Result<Messages, OpenError> {
    let queues = index.queues().iter();
    let entries = queues.flat_map(|queue| queue.entries().iter().filter(|entry| is_wanted(index, queue, entry)));
    let mut bodies: Vec<BodyAt> = entries.map(|entry| entry.body).collect();
    bodies.sort_unstable_by_key(|body| body.place);
    bodies.dedup();
    let mut messages = Messages::with_capacity_and_hasher(bodies.len(), FixedState::default());
    readers.read(
        log,
        None,
        &bodies,
        |body| *body,
        |body, bytes| {
            let message = decode_body(bytes, context);
            let message =
                message.map_err(|malformed| damaged(*body, malformed, format_args!("an entry of a queue")))?;
            messages.insert(body.place, Arc::new(message));
            Ok::<_, OpenError>(())
        },
    )?;
    Ok(messages)
}

/// Whether an entry goes on or goes back at once: it has a delivery number, or came from a group.
fn is_wanted(index: &Index, queue: &Queue, entry: &Entry) -> bool {
    queue.flight(entry.sequence).is_some_and(|flight| flight.number > 0) || is_of_group(index.terms(entry))
}

fn restored_queue(index: &Index, queue: &Queue, messages: &Messages) -> Result<Restored, OpenError> {
    let mut entries = Vec::with_capacity(queue.entries().len());
    for entry in queue.entries() {
        let failed = |malformed| damaged(entry.body, malformed, format_args!("an entry of a queue"));
        let flight = queue.flight(entry.sequence);
        let here = match messages.get(&entry.body.place).filter(|_| is_wanted(index, queue, entry)) {
            Some(message) => {
                let terms = read_terms(index.terms(entry)).map_err(failed)?;
                Some(LoadedEntry { message: message.clone(), terms })
            }
            None => None,
        };
        entries.push(RestoredEntry {
            sequence: entry.sequence,
            size_bytes: size_bytes(entry.body),
            here,
            number: flight.map_or(0, |flight| flight.number),
            received: flight.is_some_and(|flight| flight.received),
        });
    }
    let key = read_queue_key(&queue.key).map_err(|malformed| {
        let first = queue.entries().front().map_or(BodyAt { place: Default::default(), length: 0 }, |entry| entry.body);
        damaged(first, malformed, format_args!("a queue"))
    })?;
    Ok(Restored::Queue { queue: key, entries })
}

/// What [`Message::size_bytes`] would say, or close to it: topic and payload are the most of a body.
fn size_bytes(body: BodyAt) -> u32 {
    const STRUCTURE: u32 = 160;
    body.length.saturating_add(STRUCTURE)
}
