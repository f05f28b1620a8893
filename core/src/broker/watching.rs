//! Topics as people watch them; see [`topic_watch`](crate::topic_watch).

use super::Broker;
use crate::time::Now;
use crate::topic_watch::{TopicWatch, WatchLimits};

impl Broker {
    /// From now on every topic is watched, if it is not already. What is retained is seen by
    /// [`watch_retained`](Self::watch_retained).
    pub fn watch_topics(&mut self, limits: WatchLimits) {
        let (entropy, hasher) = (&mut self.entropy, &self.hasher);
        self.watch.get_or_insert_with(|| Box::new(TopicWatch::new(entropy.next_u64(), hasher.clone(), limits)));
    }

    /// What is watched, as [`watched_topics_mut`](Self::watched_topics_mut) last brought it up to date; `None` when nobody
    /// looks.
    pub fn watched_topics(&self) -> Option<&TopicWatch> {
        self.watch.as_deref()
    }

    /// What is watched, up to date.
    pub fn watched_topics_mut(&mut self) -> Option<&mut TopicWatch> {
        let watch = self.watch.as_deref_mut()?;
        watch.look();
        Some(watch)
    }

    /// Nobody looks any more. A million topics take a while to drop, so that is for the caller to do, elsewhere.
    pub fn end_watching_topics(&mut self) -> Option<Box<TopicWatch>> {
        self.watch.take()
    }

    /// Has the topics of last values known, from place `from` on; returns where the next slice begins.
    pub fn watch_retained(&mut self, now: Now, from: u64, visits_max: usize) -> Option<u64> {
        let found = self.inspect_retained(now, None, from, visits_max);
        let watch = self.watch.as_deref_mut()?;
        for message in &found.items {
            watch.know(&message.topic);
        }
        found.next
    }
}
