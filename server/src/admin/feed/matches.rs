//! What a search has found: topics, in the order of their whole names.

use super::folders::Sorted;
use super::wanted::Query;
use crate::admin::Admin;
use crate::admin::problem::Problem;
use std::sync::Arc;

/// Slots that the shard looks at in one go, and slices of one tick: a million topics are searched in two seconds, and
/// nobody waits for longer than a fraction of a millisecond.
const VISITS_MAX: usize = 1_024;
const SLICES_MAX: usize = 64;

/// Topics that are kept.
const FOUND_MAX: usize = 50_000;

/// A search, which never ends: topics that come later are looked at when they come.
#[derive(Debug)]
pub struct Matches {
    pub query: Arc<Query>,
    pub found: Sorted,
    /// Where it goes on.
    next: u32,
}

impl Matches {
    pub fn new(query: Query) -> Self {
        Self { query: Arc::new(query), found: Sorted::default(), next: 0 }
    }

    /// Whether more has been found than is kept.
    pub fn is_capped(&self) -> bool {
        self.found.len() >= FOUND_MAX
    }

    /// Goes on with what has come since, as far as one tick allows.
    pub async fn search(&mut self, admin: &Admin) -> Result<(), Problem> {
        for _ in 0..SLICES_MAX {
            if self.is_capped() {
                break;
            }
            let (query, from) = (Arc::clone(&self.query), self.next);
            let slice = admin.shard.run(move |inside| {
                inside.change(|broker, _, _| {
                    let watch = broker.watched_topics_mut()?;
                    Some((watch.search(from, VISITS_MAX, |topic| query.wants(topic)), watch.slots()))
                })
            });
            let Some((slice, slots)) = slice.await? else { break };
            self.found.add(slice.nodes);
            self.next = slice.next.unwrap_or(slots);
            if slice.next.is_none() {
                break;
            }
        }
        Ok(())
    }
}
