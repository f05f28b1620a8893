//! Reading all of a store without changing anything, and going on behind damage.

use crate::checkpoint::{self, Snapshot};
use crate::clock::{Clock, Downtime};
use crate::codec::{Context, Items};
use crate::disk::Disk;
use crate::error::{OpenError, at};
use crate::frame::Kind;
use crate::index::Index;
use crate::log::{Found, Frame, Log, segment_name, segments, survey};
use crate::tools::autopsy::name_the_lost;
use crate::tools::contents::Order;
use crate::tools::{Progress, ToolError};
use althing_core::Now;
use std::collections::BTreeMap;
use std::fmt;

/// A place where the disk does not hold what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Which file.
    pub file: String,
    /// Where the damage begins.
    pub offset: u64,
    /// What is wrong.
    pub what: String,
    /// What is lost with it.
    pub affected: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, offset, what, affected } = self;
        write!(f, "{file} at byte {offset}: {what}; affected: {affected}")
    }
}

/// How the store ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// In order.
    Closed,
    /// By a kill or a loss of power. A commit that was under way is not there; nobody was promised it.
    Killed,
}

/// What a store holds, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Sessions.
    pub sessions: u64,
    /// Subscriptions.
    pub subscriptions: u64,
    /// De-duplication tokens of publishers.
    pub tokens: u64,
    /// Retained messages.
    pub retained: u64,
    /// Queues that have entries.
    pub queues: u64,
    /// Entries of queues.
    pub entries: u64,
    /// Segments of the log.
    pub segments: u64,
    /// Frames that hold.
    pub frames: u64,
    /// Bytes of all files.
    pub disk_bytes: u64,
    /// Bytes that something refers to; a message that waits in several queues counts once for each.
    pub live_bytes: u64,
    /// The segment where the newest checkpoint lets replay begin; 0: there is none.
    pub checkpoint: u32,
    /// The store's age at the last frame, in milliseconds.
    pub age_ms: u64,
    /// The wall clock at the last frame, in milliseconds since the Unix epoch.
    pub wall_ms: u64,
    /// How it ended; `None` when that is damaged.
    pub ended: Option<Ended>,
}

/// As many are looked at closely: each takes reading a segment again.
const DAMAGES_EXPLAINED: usize = 32;
/// As many are told one by one.
const DAMAGES_MAX: usize = 1000;

/// A store, read as far as it can be.
#[derive(Debug)]
pub struct Inspection<D: Disk> {
    pub(super) log: Log<D>,
    pub(super) index: Index,
    pub(super) context: Context,
    pub(super) now: Now,
    pub(super) summary: Summary,
    damages: Vec<Damage>,
    damages_more: u64,
}

impl<D: Disk> Inspection<D> {
    /// All damage, in the order of the files.
    pub fn damages(&self) -> &[Damage] {
        &self.damages
    }

    /// Damage beyond what is listed.
    pub fn damages_more(&self) -> u64 {
        self.damages_more
    }

    /// Reads everything that the store holds by its place, each with its own checksum. Once.
    pub fn check(&mut self, tell: &mut dyn FnMut(Progress)) {
        let checked: Result<(), std::convert::Infallible> = self.contents(Order::Places, tell, &mut |_| Ok(()));
        match checked {
            Ok(()) => {}
        }
    }

    /// What holds, in numbers; sessions, facts and entries only after [`check`](Self::check).
    pub fn summary(&self) -> Summary {
        self.summary
    }

    pub(super) fn damaged(&mut self, damage: Damage) {
        push(&mut self.damages, &mut self.damages_more, damage);
    }
}

fn push(damages: &mut Vec<Damage>, more: &mut u64, damage: Damage) {
    if damages.len() < DAMAGES_MAX {
        damages.push(damage);
    } else {
        *more += 1;
    }
}

/// Reads the checkpoint, every frame of every segment and everything that they hold.
///
/// # Errors
/// When there is no store, it is of a newer format, or the disk can't be read.
pub fn inspect<D: Disk>(
    mut disk: D,
    protocols: &'static [&'static str],
    now: Now,
    tell: &mut dyn FnMut(Progress),
) -> Result<Inspection<D>, ToolError> {
    let files = disk.list().map_err(at("list", ".")).map_err(OpenError::from)?;
    let segments = segments(&files);
    let checkpoint = files.iter().filter_map(|(name, _)| checkpoint::first_segment(name)).max();
    if segments.is_empty() && checkpoint.is_none() {
        return Err(ToolError::NoStore("the directory".to_owned()));
    }
    let mut reading = Reading::of_checkpoint(&mut disk)?;
    let end = reading.log(&mut disk, &segments, checkpoint.unwrap_or(1), tell)?;
    reading.compare(end.as_ref());
    let Reading { index, mut damages, damages_more, frames, last, .. } = reading;
    for damage in damages.iter_mut().take(DAMAGES_EXPLAINED) {
        name_the_lost(&mut disk, damage);
    }
    let (age_ms, wall_ms) = last.unwrap_or_default();
    let downtime_ms = last.map_or(0, |(_, wall_ms)| Downtime::between(wall_ms, now.wall_ms).aged_ms());
    let summary = Summary {
        queues: index.queues().iter().filter(|queue| !queue.is_empty()).count() as u64,
        segments: segments.len() as u64,
        frames,
        disk_bytes: files.iter().map(|(_, bytes)| bytes).sum(),
        live_bytes: index.live_bytes_in_all(),
        checkpoint: checkpoint.unwrap_or(0),
        age_ms,
        wall_ms,
        ended: end.map(|end| if end.scan.last == Some(Kind::Close) { Ended::Closed } else { Ended::Killed }),
        ..Summary::default()
    };
    let context = Context { clock: Clock::new(age_ms.saturating_add(downtime_ms), now), protocols };
    let log = Log::of_segments(disk, segments);
    Ok(Inspection { log, index, context, now, summary, damages, damages_more })
}

/// What has been read so far.
struct Reading {
    index: Index,
    /// Frames before this segment are in the checkpoint.
    replay_from: u32,
    /// Whose checkpoint it is.
    store: Option<u64>,
    /// Age and wall clock of the last frame.
    last: Option<(u64, u64)>,
    frames: u64,
    damages: Vec<Damage>,
    damages_more: u64,
}

impl Reading {
    /// A checkpoint that is damaged is as good as none: then everything is replayed.
    fn of_checkpoint<D: Disk>(disk: &mut D) -> Result<Self, OpenError> {
        let (snapshot, damages) = match Snapshot::read(disk, 0) {
            Ok(snapshot) => (Some(snapshot), Vec::new()),
            Err(fault) => (None, vec![damage(fault)?]),
        };
        let rest =
            Self { index: Index::new(0), replay_from: 1, store: None, last: None, frames: 0, damages, damages_more: 0 };
        Ok(match snapshot {
            Some(Snapshot { index, first_segment, store, last, .. }) => {
                Self { index, replay_from: first_segment, store, last, ..rest }
            }
            None => rest,
        })
    }

    /// Reads all segments; from `first` on all must be there.
    fn log<D: Disk>(
        &mut self,
        disk: &mut D,
        segments: &BTreeMap<u32, u32>,
        first: u32,
        tell: &mut dyn FnMut(Progress),
    ) -> Result<Option<Found>, OpenError> {
        let total = segments.values().map(|&length| u64::from(length)).sum();
        let (mut segment, mut done) = (0, 0);
        let (mut torn, mut malformed) = (Vec::new(), Vec::new());
        let mut visit = |frame: Frame<'_>| {
            if segment != frame.place.segment {
                tell(Progress { action: "read", done, total });
                segment = frame.place.segment;
                done += segments.get(&segment).map_or(0, |&length| u64::from(length));
            }
            self.frames += 1;
            self.last = Some((frame.age_ms, frame.wall_ms));
            let index = (segment >= self.replay_from).then_some(&mut self.index);
            malformed.extend(replay(index, &frame));
            Ok(())
        };
        let mut damaged = |fault| {
            torn.push(damage(fault)?);
            Ok(())
        };
        let end = survey(disk, segments, first, &mut visit, &mut damaged)?;
        tell(Progress { action: "read", done: total, total });
        torn.into_iter().chain(malformed).for_each(|damage| push(&mut self.damages, &mut self.damages_more, damage));
        Ok(end)
    }

    /// The checkpoint and the log must be of one store.
    fn compare(&mut self, end: Option<&Found>) {
        let store = end.map(|end| end.header.store);
        if self.store.is_some() && store.is_some() && self.store != store {
            let file = checkpoint::name(self.replay_from);
            let what = "it belongs to another store than the segments".to_owned();
            let affected = "everything that was stored before the first segment that it names".to_owned();
            push(&mut self.damages, &mut self.damages_more, Damage { file, offset: 0, what, affected });
        }
    }
}

/// Checks the items of a frame, and applies them where there is an index.
fn replay(mut index: Option<&mut Index>, frame: &Frame<'_>) -> Option<Damage> {
    let mut items = Items::new(frame.payload, frame.place);
    loop {
        let offset = u64::from(frame.place.offset) + items.offset() as u64;
        match items.next() {
            Ok(Some((at, item))) => {
                if let Some(index) = &mut index {
                    index.apply(&item, at);
                }
            }
            Ok(None) => return None,
            Err(malformed) => {
                return Some(Damage {
                    file: segment_name(frame.place.segment),
                    offset,
                    what: format!("an item is not one: {malformed}"),
                    affected: "the step that it is part of".to_owned(),
                });
            }
        }
    }
}

/// Damage is collected; everything else ends the inspection.
fn damage(fault: OpenError) -> Result<Damage, OpenError> {
    match fault {
        OpenError::Corrupt { file, offset, what, affected } => Ok(Damage { file, offset, what, affected }),
        OpenError::Io { action: "read", file, error } => {
            let what = format!("not all of it can be read: {error}");
            Ok(Damage { file, offset: 0, what, affected: "what is told besides of this file".to_owned() })
        }
        other => Err(other),
    }
}
