//! The tree of topics as a page sees it: the rows in sight, of the nodes that are open.

use super::folders::{Entry, Folder, answer};
use super::matches::Matches;
use super::rates::Rate;
use super::stream::event;
use super::value::Value;
use super::wanted::Wanted;
use crate::admin::Admin;
use crate::admin::problem::Problem;
use althing_core::topic::{Topic, TopicLimits};
use althing_core::topic_watch::TopicView;
use althing_core::{Message, Now};
use althing_net::Inside;
use axum::body::Bytes;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tokio::time::Instant;
use utoipa::ToSchema;

/// Children that the shard names in one go, and slices of one tick.
const VISITS_MAX: usize = 1_024;
const SLICES_MAX: usize = 32;

/// What a row shows of a payload.
const ROW_BYTES_MAX: usize = 256;

/// The rows in sight.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FeedTree)]
pub struct Tree {
    /// Topics that have been seen.
    topics_total: usize,
    /// Whether there are more than are looked after, or more have been found than are shown.
    capped: bool,
    /// Rows altogether, in sight or not.
    rows_total: usize,
    /// The first row in sight.
    first: usize,
    rows: Vec<Row>,
}

/// A node of the tree, or a topic that was found.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FeedRow)]
pub struct Row {
    id: u64,
    depth: usize,
    /// The level; the whole topic, of what was searched for.
    name: String,
    /// Everything from the first level on.
    topic: String,
    open: bool,
    /// Nodes directly below.
    children: u32,
    /// Topics below.
    topics: u32,
    /// Messages since somebody looks, here and below.
    count: u64,
    /// Messages a second, here and below.
    rate: f64,
    /// Whether the topic has a last value.
    retained: bool,
    /// The topic's last message.
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<Value>,
}

/// What one page sees.
#[derive(Debug)]
pub struct TreeView {
    /// The watch that the ids belong to.
    watch: u32,
    first_level: Folder,
    open: BTreeMap<u32, Folder>,
    matches: Option<Matches>,
    rates: HashMap<u32, Rate>,
    /// What was sent last: the same is not sent again.
    sent: Bytes,
}

/// What there is altogether.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    topics: usize,
    slots: u32,
    is_capped: bool,
}

/// A row before it is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    slot: u32,
    depth: usize,
    name: String,
    topic: String,
    is_open: bool,
}

/// What the shard knows of a row.
struct Details {
    view: TopicView,
    retained: Option<Arc<Message>>,
}

impl TreeView {
    pub fn new(watch: u32) -> Self {
        Self {
            watch,
            first_level: Folder::default(),
            open: BTreeMap::new(),
            matches: None,
            rates: HashMap::new(),
            sent: Bytes::new(),
        }
    }

    /// The rows in sight, as an event, when they are others than before.
    pub async fn look(&mut self, admin: &Admin, wanted: &Wanted) -> Result<Option<Bytes>, Problem> {
        self.open_and_close(admin, wanted).await?;
        let mut totals = self.learn(admin).await?;
        self.search(admin, wanted).await?;
        let now = Instant::now();
        self.first_level.children.merge(now);
        for folder in self.open.values_mut() {
            folder.children.merge(now);
        }
        let (rows_total, places) = match &mut self.matches {
            Some(matches) => {
                matches.found.merge(now);
                totals.is_capped |= matches.is_capped();
                (matches.found.entries().len(), found(matches.found.entries(), wanted.first, wanted.count))
            }
            None => self.places(wanted.first, wanted.count),
        };
        let rows = self.rows(admin, places, now).await?;
        let Totals { topics, is_capped, .. } = totals;
        let tree = Tree { topics_total: topics, capped: is_capped, rows_total, first: wanted.first, rows };
        let tree = event("tree", &tree);
        if tree == self.sent {
            return Ok(None);
        }
        self.sent = tree.clone();
        Ok(Some(tree))
    }

    /// Names a node for the page.
    fn id(&self, slot: u32) -> u64 {
        u64::from(self.watch) << 32 | u64::from(slot)
    }

    async fn open_and_close(&mut self, admin: &Admin, wanted: &Wanted) -> Result<(), Problem> {
        let watch = u64::from(self.watch);
        // The ids of an earlier watch mean nothing any more.
        let slots = wanted.open.iter().filter(|id| **id >> 32 == watch).map(|id| *id as u32);
        let slots: Vec<u32> = slots.collect();
        self.open.retain(|slot, _| slots.binary_search(slot).is_ok());
        let new: Vec<u32> = slots.into_iter().filter(|slot| !self.open.contains_key(slot)).collect();
        if new.is_empty() {
            return Ok(());
        }
        let opened = admin.shard.run(move |inside| {
            let watch = inside.broker().watched_topics()?;
            Some(new.into_iter().filter_map(|slot| Some((slot, Folder::open(watch, slot)?))).collect::<Vec<_>>())
        });
        self.open.extend(opened.await?.unwrap_or_default());
        Ok(())
    }

    /// Learns what is new in the folders that are open, as far as one tick allows.
    async fn learn(&mut self, admin: &Admin) -> Result<Totals, Problem> {
        let mut totals = Totals::default();
        for slice in 0..SLICES_MAX {
            let folders = || std::iter::once(&self.first_level).chain(self.open.values());
            let asked: Vec<_> = folders().filter_map(|folder| folder.question(totals.slots)).collect();
            if slice > 0 && asked.is_empty() {
                break;
            }
            let answered = admin.shard.run(move |inside| {
                inside.change(|broker, _, _| {
                    let watch = broker.watched_topics_mut()?;
                    let totals = Totals { topics: watch.topics(), slots: watch.slots(), is_capped: watch.is_capped() };
                    Some((answer(watch, &asked, VISITS_MAX), totals))
                })
            });
            let Some((answers, now)) = answered.await? else { break };
            let folders = std::iter::once(&mut self.first_level).chain(self.open.values_mut());
            let asked = folders.filter(|folder| folder.question(totals.slots).is_some());
            asked.zip(answers).for_each(|(folder, answer)| folder.hear(answer, now.slots));
            totals = now;
        }
        Ok(totals)
    }

    async fn search(&mut self, admin: &Admin, wanted: &Wanted) -> Result<(), Problem> {
        if self.matches.as_ref().is_some_and(|matches| *matches.query != wanted.query) {
            self.matches = None;
        }
        if wanted.query.is_empty() {
            return Ok(());
        }
        self.matches.get_or_insert_with(|| Matches::new(wanted.query.clone())).search(admin).await
    }

    /// How many rows there are, and those in sight. What is out of sight is jumped over.
    fn places(&self, first: usize, count: usize) -> (usize, Vec<Place>) {
        let inner = self.inner_folders();
        let rows = self.rows_below(&inner);
        let total = rows.get(&None).copied().unwrap_or(0);
        let (mut places, mut skip) = (Vec::new(), first);
        let mut stack = vec![Frame { folder: &self.first_level, path: String::new(), next: 0, inner: 0 }];
        while let Some(frame) = stack.last_mut() {
            let entries = frame.folder.children.entries();
            let opened = inner.get(&frame.folder.slot).and_then(|inner| inner.get(frame.inner));
            let until = opened.map_or(entries.len(), |(position, _)| position + 1);
            let run = &entries[frame.next..until];
            for entry in run.iter().skip(skip).take(count - places.len()) {
                let is_open = opened.is_some_and(|(_, folder)| folder.slot == Some(entry.slot));
                places.push(frame.place(entry, is_open));
            }
            skip = skip.saturating_sub(run.len());
            frame.next = until;
            if places.len() == count {
                break;
            }
            let Some((position, folder)) = opened else {
                stack.pop();
                continue;
            };
            frame.inner += 1;
            let below = rows.get(&folder.slot).copied().unwrap_or(0);
            if skip >= below {
                skip -= below;
                continue;
            }
            let path = frame.path_of(&entries[*position]);
            stack.push(Frame { folder, path, next: 0, inner: 0 });
        }
        (total, places)
    }

    /// The open folders below each folder, by their places.
    fn inner_folders(&self) -> BTreeMap<Option<u32>, Vec<(usize, &Folder)>> {
        let mut inner: BTreeMap<Option<u32>, Vec<(usize, &Folder)>> = BTreeMap::new();
        for (slot, folder) in &self.open {
            let parent = match folder.parent {
                None => Some(&self.first_level),
                Some(parent) => self.open.get(&parent),
            };
            let position = parent.and_then(|parent| parent.children.position(&folder.name, *slot));
            if let Some(position) = position {
                inner.entry(folder.parent).or_default().push((position, folder));
            }
        }
        inner.values_mut().for_each(|inner| inner.sort_unstable_by_key(|(position, _)| *position));
        inner
    }

    /// How many rows there are below each folder that is open; the deepest are counted first.
    fn rows_below(&self, inner: &BTreeMap<Option<u32>, Vec<(usize, &Folder)>>) -> HashMap<Option<u32>, usize> {
        let mut folders: Vec<&Folder> = std::iter::once(&self.first_level).chain(self.open.values()).collect();
        folders.sort_unstable_by_key(|folder| std::cmp::Reverse(folder.depth));
        let mut rows = HashMap::new();
        for folder in folders {
            let opened = inner.get(&folder.slot).into_iter().flatten();
            let below: usize = opened.filter_map(|(_, folder)| rows.get(&folder.slot)).sum();
            rows.insert(folder.slot, folder.children.entries().len() + below);
        }
        rows
    }

    /// Looks at the rows in sight.
    async fn rows(&mut self, admin: &Admin, places: Vec<Place>, now: Instant) -> Result<Vec<Row>, Problem> {
        let topics: Vec<(u32, String)> = places.iter().map(|place| (place.slot, place.topic.clone())).collect();
        let limits = admin.config.limits.topic;
        let details = admin.shard.run(move |inside| details(inside, topics, &limits)).await?;
        self.rates.retain(|slot, _| places.iter().any(|place| place.slot == *slot));
        let is_list = self.matches.is_some();
        let mut rows = Vec::with_capacity(places.len());
        for (place, details) in places.into_iter().zip(details) {
            let Some(Details { view, retained }) = details else { continue };
            let rate = self.rates.entry(place.slot).or_insert_with(|| Rate::new(view.messages, now));
            let rate = rate.update(view.messages, now);
            let last_value = || retained.as_ref().map(|message| Value::retained(message, ROW_BYTES_MAX));
            rows.push(Row {
                id: self.id(place.slot),
                depth: place.depth,
                name: place.name,
                topic: place.topic,
                open: place.is_open,
                children: if is_list { 0 } else { view.children },
                topics: view.topics,
                count: view.messages,
                rate,
                retained: retained.is_some(),
                last: view.last.as_ref().map(Value::seen).or_else(last_value),
            });
        }
        Ok(rows)
    }
}

/// A folder on the way of the walk over all rows.
struct Frame<'a> {
    folder: &'a Folder,
    path: String,
    /// The next of its children, and the next of those that are open.
    next: usize,
    inner: usize,
}

impl Frame<'_> {
    fn path_of(&self, entry: &Entry) -> String {
        match self.folder.slot {
            None => entry.name.to_string(),
            Some(_) => format!("{}/{}", self.path, entry.name),
        }
    }

    fn place(&self, entry: &Entry, is_open: bool) -> Place {
        let (depth, topic) = (self.folder.depth, self.path_of(entry));
        Place { slot: entry.slot, depth, name: entry.name.to_string(), topic, is_open }
    }
}

/// The rows in sight of what a search has found.
fn found(entries: &[Entry], first: usize, count: usize) -> Vec<Place> {
    let in_sight = entries.iter().skip(first).take(count);
    let place = |entry: &Entry| Place {
        slot: entry.slot,
        depth: 0,
        name: entry.name.to_string(),
        topic: entry.name.to_string(),
        is_open: false,
    };
    in_sight.map(place).collect()
}

/// On the shard's thread: a few hundred rows at most.
fn details(inside: &mut Inside<'_>, topics: Vec<(u32, String)>, limits: &TopicLimits) -> Vec<Option<Details>> {
    inside.change(|broker, _, _| broker.watched_topics_mut().is_some());
    let (broker, now): (_, Now) = (inside.broker(), inside.now());
    let Some(watch) = broker.watched_topics() else { return Vec::new() };
    let details = |(slot, topic): (u32, String)| {
        let view = watch.view(watch.node(slot)?, ROW_BYTES_MAX);
        let topic = Some(topic).filter(|_| view.is_topic).and_then(|topic| Topic::new(topic.into(), limits).ok());
        let retained = topic.and_then(|topic| broker.inspect_last_value(now, &topic));
        Some(Details { view, retained })
    };
    topics.into_iter().map(details).collect()
}
