//! Feeds: what a page that stays open is told, as it happens.
//!
//! A page says what it looks at (which nodes of the tree are open, which rows are in sight, what is searched for, which topic is
//! selected), and a task of its own tells it that much and no more, ten times a second at most. So a page costs the same
//! whatever passes through the broker, and a page left open for a day costs what it did in its first minute. While any page
//! is open the broker watches its topics ([`althing_core::topic_watch`]).
//!
//! - `wanted`: what a page looks at. `overview`, `tree` and `value`: what it is told.
//! - `folders`: the nodes that are open, in order; `matches`: what a search has found; `rates`: how fast things come.
//! - `stream`: the body of the answer.

mod folders;
mod matches;
mod overview;
mod rates;
mod stream;
mod tree;
mod value;
mod wanted;

pub use overview::Overview;
pub use stream::Stream;
pub use tree::Tree;
pub use value::TopicValue;
pub use wanted::Change;

use super::Admin;
use super::problem::Problem;
use super::token::secret;
use althing_core::topic_watch::WatchLimits;
use axum::http::StatusCode;
use overview::Observer;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use stream::{Events, event};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep};
use tree::TreeView;
use utoipa::ToSchema;
use value::Selected;
use wanted::Wanted;

/// Feeds at once.
const FEEDS_MAX: usize = 16;

/// How often a page is told something.
const TICK: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 100 });

/// Every so many ticks comes the overview.
const OVERVIEW_TICKS: u64 = 10;

/// A page that reads nothing for so long is not there any more.
const UNREAD_FOR: Duration = if cfg!(test) { Duration::from_millis(300) } else { Duration::from_secs(30) };

/// How long topics are watched after the last page has gone: it may only be loaded again.
const LINGER: Duration = if cfg!(test) { Duration::from_millis(200) } else { Duration::from_secs(10) };

/// Last values that are looked at in one go, when watching begins.
const VISITS_MAX: usize = 512;

/// The feeds that are open.
#[derive(Debug, Default)]
pub struct Feeds {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    open: BTreeMap<String, Arc<Mutex<Wanted>>>,
    /// Counts the times that watching began: a node is named by this and its slot.
    watch: u32,
    /// Whether topics are watched now.
    is_watching: bool,
}

/// The first event: under which name a page says what it looks at.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FeedHello)]
pub struct Hello {
    id: String,
}

impl Feeds {
    /// Opens one more, whose events are the body of an answer.
    ///
    /// # Errors
    /// When too many are open.
    pub async fn open(admin: &Arc<Admin>) -> Result<Stream, Problem> {
        let id = secret().map_err(|error| Problem::failed(error.to_string()))?;
        let wanted = Arc::new(Mutex::new(Wanted::default()));
        let watch = admin.feeds.admit(&id, &wanted)?;
        let (events, stream) = stream::line();
        let place = Place { admin: Arc::clone(admin), id: id.clone() };
        begin_watching(admin, watch).await?;
        let feed = Feed {
            tree: TreeView::new(watch),
            selected: Selected::default(),
            observer: Observer::default(),
            wanted,
            events,
            place,
        };
        tokio::spawn(feed.run(Hello { id }));
        Ok(stream)
    }

    /// Another thing is wanted of a feed.
    ///
    /// # Errors
    /// When there is no such feed, or the change makes no sense.
    pub fn change(&self, admin: &Admin, id: &str, change: Change) -> Result<(), Problem> {
        let feed = self.lock().open.get(id).cloned();
        let feed = feed.ok_or_else(|| Problem::missing("this feed is over; open another one"))?;
        lock(&feed).change(change, &admin.config.limits.topic)
    }

    fn admit(&self, id: &str, wanted: &Arc<Mutex<Wanted>>) -> Result<u32, Problem> {
        let mut inner = self.lock();
        if inner.open.len() >= FEEDS_MAX {
            let text = format!("{FEEDS_MAX} pages are open, as many as may be at once: close one of them");
            return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, text));
        }
        inner.open.insert(id.to_owned(), Arc::clone(wanted));
        inner.watch += u32::from(!inner.is_watching);
        inner.is_watching = true;
        Ok(inner.watch)
    }

    /// How many are open.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.lock().open.len()
    }

    /// Whether any page looks at this topic.
    fn is_selected(&self, topic: &str) -> bool {
        self.lock().open.values().any(|wanted| lock(wanted).selected.as_deref() == Some(topic))
    }

    /// Nothing here can panic under the lock.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lock(wanted: &Mutex<Wanted>) -> MutexGuard<'_, Wanted> {
    wanted.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has the broker watch its topics, the known ones first.
async fn begin_watching(admin: &Arc<Admin>, watch: u32) -> Result<(), Problem> {
    let topics_max = admin.config.console.topics_max;
    let limits = WatchLimits { topics_max, ..WatchLimits::default() };
    let is_new = admin.shard.run(move |inside| {
        let is_new = inside.broker().watched_topics().is_none();
        inside.change(|broker, _, _| broker.watch_topics(limits));
        is_new
    });
    if is_new.await? {
        let admin = Arc::clone(admin);
        tokio::spawn(async move {
            let mut from = Some(0);
            while let Some(place) = from.filter(|_| admin.feeds.lock().watch == watch) {
                let next = admin
                    .shard
                    .run(move |inside| inside.change(|broker, now, _| broker.watch_retained(now, place, VISITS_MAX)));
                from = next.await.ok().flatten();
            }
        });
    }
    Ok(())
}

/// The place of a feed among the open ones. When the last one goes, watching ends after a while.
struct Place {
    admin: Arc<Admin>,
    id: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inner = self.admin.feeds.lock();
        inner.open.remove(&self.id);
        let watch = inner.watch;
        if !inner.open.is_empty() {
            return;
        }
        drop(inner);
        let admin = Arc::clone(&self.admin);
        // A feed ends on the runtime that it was opened on; where that is gone, so is the broker.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                sleep(LINGER).await;
                end_watching(&admin, watch).await;
            });
        }
    }
}

async fn end_watching(admin: &Arc<Admin>, watch: u32) {
    let feeds = Arc::clone(admin);
    // Decided on the shard's thread, so that nobody begins to watch between the decision and the end.
    let end = admin.shard.run(move |inside| {
        let mut feeds = feeds.feeds.lock();
        if !feeds.open.is_empty() || feeds.watch != watch {
            return None;
        }
        feeds.is_watching = false;
        inside.change(|broker, _, _| broker.end_watching_topics())
    });
    // A million topics are dropped here, and not there.
    drop(end.await);
}

/// One feed at work.
struct Feed {
    tree: TreeView,
    selected: Selected,
    observer: Observer,
    wanted: Arc<Mutex<Wanted>>,
    events: Events,
    place: Place,
}

impl Feed {
    /// Tells what is wanted until nobody reads it any more, or the broker stops.
    async fn run(mut self, hello: Hello) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut number, mut read_at) = (0_u64, Instant::now());
        if !self.events.send(event("hello", &hello)) {
            return;
        }
        while self.is_read(&mut ticks, &mut read_at).await {
            if self.tell(number).await.is_err() {
                break;
            }
            number += 1;
        }
        // Nobody else is to keep what this page alone looked at.
        *lock(&self.wanted) = Wanted::default();
        let _ = self.selected.look(&self.place.admin, None).await;
    }

    /// Waits for the next tick at which something may be told; false when nobody reads it any more.
    async fn is_read(&self, ticks: &mut Interval, read_at: &mut Instant) -> bool {
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.events.closed() => return false,
            }
            if self.events.has_room() {
                *read_at = Instant::now();
                return true;
            }
            // What is not read is not made: the next event tells how things are then.
            if read_at.elapsed() >= UNREAD_FOR {
                return false;
            }
        }
    }

    async fn tell(&mut self, number: u64) -> Result<(), Problem> {
        let admin = Arc::clone(&self.place.admin);
        if number.is_multiple_of(OVERVIEW_TICKS) {
            let overview = self.observer.observe(&admin).await?;
            self.events.send(event("overview", &overview));
        }
        let wanted = lock(&self.wanted).clone();
        if let Some(tree) = self.tree.look(&admin, &wanted).await? {
            self.events.send(tree);
        }
        if let Some(value) = self.selected.look(&admin, wanted.selected.as_deref()).await? {
            self.events.send(event("value", &value));
        }
        Ok(())
    }
}
