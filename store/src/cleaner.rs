//! Gives space back that a few survivors hold: what is still needed of a segment is written once more, at the end of the log.
//!
//! So one slow session cannot pin the disk. Facts are said again; a body is written again, and each entry is told where it is. What has
//! been said again is like any other step: it counts when it is committed, and only then the segment can go.

use crate::codec::{BodyAt, Items, Kind, PENDING, Step, check_body, check_fact};
use crate::disk::Disk;
use crate::error::Failure;
use crate::index::{Index, SHARDS};
use crate::log::{Log, Place};
use crate::reading::{Readers, damaged};
use crate::store::Progress;
use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};

/// One call moves about this part of a segment: 256 KiB of 16 MiB.
const STEPS_PER_SEGMENT: usize = 64;
/// One call looks at about so many facts and entries.
const STEP_LOOKS: usize = 1 << 16;
/// So many segments are emptied in one walk through the index.
const VICTIMS_MAX: usize = 16;
/// Garbage in fewer segments than this is left alone.
const GARBAGE_SEGMENTS_MIN: u64 = 2;

/// The cleaner, and where it is.
#[derive(Debug)]
pub(crate) struct Cleaner {
    step_bytes: usize,
    pass: Option<Pass>,
    segments_cleaned: u64,
}

/// One walk through the whole index.
#[derive(Debug)]
struct Pass {
    victims: HashSet<u32, FixedState>,
    next: Next,
    /// Where bodies have gone that several entries refer to.
    moved: HashMap<Place, BodyAt, FixedState>,
}

#[derive(Clone, Copy, Debug)]
enum Next {
    Facts { shard: usize },
    Queues { slot: usize, after: Option<i64> },
    Done,
}

/// Something that is still needed of a victim.
#[derive(Debug)]
enum Survivor {
    Fact { kind: Kind, at: BodyAt },
    Entry { slot: usize, sequence: i64, at: BodyAt },
}

impl Survivor {
    fn at(&self) -> BodyAt {
        match self {
            Self::Fact { at, .. } | Self::Entry { at, .. } => *at,
        }
    }
}

impl Cleaner {
    /// For a log with segments of this length.
    pub(crate) fn new(segment_bytes: u32) -> Self {
        Self { step_bytes: segment_bytes as usize / STEPS_PER_SEGMENT, pass: None, segments_cleaned: 0 }
    }

    /// Segments that were emptied so far.
    pub(crate) fn segments_cleaned(&self) -> u64 {
        self.segments_cleaned
    }

    /// Puts some survivors into `step` and makes the index point there. True: there is more to do now.
    pub(crate) fn maintain<D: Disk>(
        &mut self,
        log: &mut Log<D>,
        index: &mut Index,
        step: &mut Step,
        readers: &mut Readers,
        progress: &Progress,
    ) -> Result<bool, Failure> {
        // What has been moved is to be written first: a full disk must not become full memory.
        if log.pending_bytes() >= self.step_bytes {
            return Ok(false);
        }
        let mut pass = match self.pass.take() {
            Some(pass) => pass,
            None => match victims(log, index) {
                victims if victims.is_empty() => return Ok(false),
                victims => Pass::new(victims),
            },
        };
        let mut survivors = pass.find(index, self.step_bytes);
        survivors.sort_unstable_by_key(|survivor| survivor.at().place);
        readers.read(log, progress.uncommitted, &survivors, Survivor::at, |survivor, bytes| {
            pass.rescue(survivor, bytes, index, step)
        })?;
        let more = !matches!(pass.next, Next::Done);
        if more {
            self.pass = Some(pass);
        } else {
            let emptied = pass.victims.iter().filter(|victim| index.live_bytes(**victim) == 0);
            self.segments_cleaned += emptied.count() as u64;
        }
        Ok(more)
    }

    /// The step that was made last stands at `base`.
    pub(crate) fn place(&mut self, base: Place) {
        let Some(pass) = &mut self.pass else { return };
        for body in pass.moved.values_mut().filter(|body| body.place.segment == PENDING) {
            body.place = base.and(body.place);
        }
    }
}

/// The sealed segments of which less than half is needed, when together they hold so much garbage that it is worth writing.
fn victims<D: Disk>(log: &Log<D>, index: &Index) -> HashSet<u32, FixedState> {
    let segments = log.segments();
    let sealed = segments.split_last().map_or(&[][..], |(_, sealed)| sealed);
    let (mut garbage_bytes, mut live_bytes, mut longest_bytes) = (0, 0, 0);
    let mut shares = Vec::new();
    for segment in sealed {
        let (live, length) = (index.live_bytes(*segment), u64::from(log.segment_bytes(*segment).unwrap_or(0)));
        if live == 0 || live >= length {
            continue;
        }
        garbage_bytes += length - live;
        live_bytes += live;
        longest_bytes = length.max(longest_bytes);
        if live < length / 2 {
            shares.push((live * 1000 / length, *segment));
        }
    }
    if garbage_bytes < GARBAGE_SEGMENTS_MIN * longest_bytes || garbage_bytes < live_bytes / 4 {
        return HashSet::default();
    }
    shares.sort_unstable();
    shares.into_iter().take(VICTIMS_MAX).map(|(_, segment)| segment).collect()
}

impl Pass {
    fn new(victims: HashSet<u32, FixedState>) -> Self {
        Self { victims, next: Next::Facts { shard: 0 }, moved: HashMap::default() }
    }

    /// The next survivors, as many as one call takes.
    fn find(&mut self, index: &Index, step_bytes: usize) -> Vec<Survivor> {
        let (mut found, mut bytes, mut looks) = (Vec::new(), 0, 0);
        while bytes < step_bytes && looks < STEP_LOOKS {
            match self.next {
                Next::Facts { shard } => {
                    for (_, fact) in index.fact_shard(shard) {
                        if self.victims.contains(&fact.at.place.segment) {
                            bytes += fact.at.length as usize;
                            found.push(Survivor::Fact { kind: fact.kind, at: fact.at });
                        }
                    }
                    looks += index.fact_shard(shard).len() + 1;
                    self.next = match shard + 1 {
                        SHARDS => Next::Queues { slot: 0, after: None },
                        shard => Next::Facts { shard },
                    };
                }
                Next::Queues { slot, after } => {
                    let Some(queue) = index.queues().get(slot) else {
                        self.next = Next::Done;
                        break;
                    };
                    self.next = Next::Queues { slot: slot + 1, after: None };
                    looks += 1;
                    let mut last = after;
                    for entry in queue.after(after) {
                        if bytes >= step_bytes || looks >= STEP_LOOKS {
                            self.next = Next::Queues { slot, after: last };
                            break;
                        }
                        (looks, last) = (looks + 1, Some(entry.sequence));
                        if self.victims.contains(&entry.body.place.segment) {
                            bytes += entry.body.length as usize;
                            found.push(Survivor::Entry { slot, sequence: entry.sequence, at: entry.body });
                        }
                    }
                }
                Next::Done => break,
            }
        }
        found
    }

    /// Where a body has been written already on this walk. A segment that nothing refers to may have been let go since, or may be any
    /// moment.
    fn copy_of(&self, at: BodyAt, index: &Index) -> Option<BodyAt> {
        let copy = self.moved.get(&at.place)?;
        let stays = copy.place.segment == PENDING || index.live_bytes(copy.place.segment) > 0;
        stays.then_some(*copy)
    }

    /// Says a survivor once more.
    fn rescue(&mut self, survivor: &Survivor, bytes: &[u8], index: &mut Index, step: &mut Step) -> Result<(), Failure> {
        /// Beyond so many a body that several refer to may be written twice.
        const MOVED_MAX: usize = 100_000;
        let start = step.len();
        let at = survivor.at();
        match *survivor {
            Survivor::Fact { kind, .. } => {
                let key = check_fact(kind, bytes)
                    .map_err(|malformed| damaged(at, malformed, format_args!("a fact that is still needed")))?;
                let copy = self.copy_of(at, index).unwrap_or_else(|| step.copy(bytes));
                if kind == Kind::Retained {
                    self.moved.insert(at.place, copy);
                    step.retained_key(key, copy);
                }
            }
            Survivor::Entry { slot, sequence, .. } => {
                let body = match self.copy_of(at, index) {
                    Some(body) => body,
                    None => {
                        check_body(bytes)
                            .map_err(|malformed| damaged(at, malformed, format_args!("an entry of a queue")))?;
                        step.copy(bytes)
                    }
                };
                if self.moved.len() >= MOVED_MAX {
                    self.moved.retain(|_, body| body.place.segment == PENDING);
                }
                self.moved.insert(at.place, body);
                step.relocated(&index.queues()[slot].key, sequence, body);
            }
        }
        let mut items = Items::of_step(step.bytes(), start);
        while let Ok(Some((at, item))) = items.next() {
            index.apply(&item, at);
        }
        Ok(())
    }
}
