//! The topics that have a configuration, as all listeners of CoAP see them: a mirror of the last values of `$ps/NAME`.
//!
//! The last values are what holds. This knows which there are, so that a request finds its topic without asking the
//! broker, and what is about topics but not stored: names that are being taken, who observes, how fast somebody publishes.

use super::properties::{OBSERVER_CHECK_S, Properties};
use althing_core::bucket::Bucket;
use althing_core::time::SECOND_NS;
use althing_core::topic::TopicLimits;
use althing_core::{Message, Now, Topic};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// All topics with a configuration. Clones are the same collection.
#[derive(Clone, Debug, Default)]
pub struct Collection(Arc<Mutex<Topics>>);

/// Names a topic in URIs: 48 bits of a digest of its name, so that it is the same after every start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TopicId(u64);

/// One topic, as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its place among the URIs.
    pub id: TopicId,
    /// Where its data is among the topics.
    pub topic: Topic,
    /// Where its configuration is among the topics.
    pub configuration: Topic,
    /// Its configuration.
    pub properties: Properties,
}

/// A name that nobody else creates, and a configuration that nobody else changes, until this is dropped.
#[derive(Debug)]
pub struct Reservation(Collection, TopicId);

/// A place among the observers of a topic, until this is dropped.
#[derive(Debug)]
pub struct Seat {
    collection: Collection,
    id: TopicId,
    ticket: u64,
}

#[derive(Debug, Default)]
struct Topics {
    by_id: BTreeMap<TopicId, Known>,
    /// Data that is elsewhere than at `/ps/ID/data`.
    by_path: BTreeMap<String, TopicId>,
    reserved: BTreeSet<TopicId>,
    expiring: BTreeSet<(u64, TopicId)>,
    tickets: u64,
}

#[derive(Debug)]
struct Known {
    entry: Entry,
    /// Tickets of who observes, the oldest first.
    seats: BTreeSet<u64>,
    bucket: Bucket,
    /// Somebody has published here since the start.
    is_published: bool,
}

impl TopicId {
    /// Of the topic with this name.
    pub fn of(name: &str) -> Self {
        let digest = Sha256::digest(name.as_bytes());
        Self(digest.iter().take(6).fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }

    /// As it stands in a path: twelve hexadecimal digits.
    pub fn parse(segment: &[u8]) -> Option<Self> {
        let is_digit = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
        let text =
            std::str::from_utf8(segment).ok().filter(|it| it.len() == 12 && it.bytes().all(|it| is_digit(&it)))?;
        u64::from_str_radix(text, 16).ok().map(Self)
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012x}", self.0)
    }
}

impl Collection {
    /// Takes in a configuration that is stored; one that is empty is gone. What is no configuration is left alone.
    pub fn load(&self, message: &Message, limits: &TopicLimits) {
        let Some(topic) = message.topic.configured().and_then(|name| Topic::new(name.to_owned().into(), limits).ok())
        else {
            return;
        };
        let id = TopicId::of(topic.as_str());
        match Properties::decode(&message.payload) {
            _ if message.payload.is_empty() => self.remove(id),
            Ok(properties) => self.insert(Entry { id, topic, configuration: message.topic.detached(), properties }),
            Err(_) => {}
        }
    }

    /// Takes in a configuration, new or changed.
    pub fn insert(&self, entry: Entry) {
        let mut topics = self.lock();
        let id = entry.id;
        let before = topics.forget_places(id);
        if let Some(wall_ms) = entry.properties.expiration_wall_ms {
            topics.expiring.insert((wall_ms, id));
        }
        if let Some(path) = entry.data_path().filter(|path| *path != data_path(id)) {
            topics.by_path.insert(path, id);
        }
        let known = match before {
            Some(before) => Known { entry, ..before },
            None => Known { entry, seats: BTreeSet::new(), bucket: Bucket::default(), is_published: false },
        };
        topics.by_id.insert(id, known);
    }

    /// Forgets a topic.
    pub fn remove(&self, id: TopicId) {
        self.lock().forget_places(id);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lock().by_id.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A topic by its id, unless its time is over.
    pub fn get(&self, now: Now, id: TopicId) -> Option<Entry> {
        let topics = self.lock();
        topics.by_id.get(&id).map(|known| &known.entry).filter(|entry| !entry.is_expired(now)).cloned()
    }

    /// The topic whose data is at this path.
    pub fn of_path(&self, now: Now, path: &str) -> Option<Entry> {
        let id = self.lock().by_path.get(path).copied()?;
        self.get(now, id)
    }

    /// Those that have everything that `filter` has.
    pub fn matching(&self, now: Now, filter: &Properties) -> Vec<Entry> {
        let topics = self.lock();
        let entries = topics.by_id.values().map(|known| &known.entry);
        entries.filter(|entry| !entry.is_expired(now) && entry.properties.matches(filter)).cloned().collect()
    }

    /// Those whose time is over.
    pub fn expired(&self, now: Now) -> Vec<Entry> {
        let topics = self.lock();
        let over = topics.expiring.iter().take_while(|(wall_ms, _)| *wall_ms <= now.wall_ms);
        over.filter_map(|(_, id)| topics.by_id.get(id)).map(|known| known.entry.clone()).collect()
    }

    /// Keeps others from creating or changing this topic; `None` while somebody else does.
    pub fn reserve(&self, id: TopicId) -> Option<Reservation> {
        self.lock().reserved.insert(id).then(|| Reservation(self.clone(), id))
    }

    /// One more observer; `None` when there are as many as may be.
    pub fn sit(&self, id: TopicId) -> Option<Seat> {
        let mut topics = self.lock();
        topics.tickets += 1;
        let ticket = topics.tickets;
        let known = topics.by_id.get_mut(&id)?;
        let is_full = known.entry.properties.max_subscribers.is_some_and(|max| known.seats.len() >= max as usize);
        if is_full {
            return None;
        }
        known.seats.insert(ticket);
        drop(topics);
        Some(Seat { collection: self.clone(), id, ticket })
    }

    /// How many observe a topic.
    pub fn observers_len(&self, id: TopicId) -> usize {
        self.lock().by_id.get(&id).map_or(0, |known| known.seats.len())
    }

    /// Counts one more message against how fast a topic may be published to; the seconds to wait when it is too fast.
    pub fn take_turn(&self, now: Now, id: TopicId, publishes_per_s: u32) -> Result<(), u32> {
        let mut topics = self.lock();
        let Some(known) = topics.by_id.get_mut(&id).filter(|_| publishes_per_s > 0) else { return Ok(()) };
        if let Some(rests_until_ns) = known.bucket.rests_until_ns(now.mono_ns) {
            return Err(
                u32::try_from(rests_until_ns.saturating_sub(now.mono_ns).div_ceil(SECOND_NS)).unwrap_or(u32::MAX)
            );
        }
        known.bucket.take(now.mono_ns, 1, publishes_per_s.into());
        Ok(())
    }

    /// Whether somebody has published to it since the start; for those who may not read what is there.
    pub fn is_published(&self, id: TopicId) -> bool {
        self.lock().by_id.get(&id).is_some_and(|known| known.is_published)
    }

    /// Somebody has published to it, or has deleted what was published.
    pub fn note_published(&self, id: TopicId, is_published: bool) {
        if let Some(known) = self.lock().by_id.get_mut(&id) {
            known.is_published = is_published;
        }
    }

    /// Nothing panics under the lock.
    fn lock(&self) -> MutexGuard<'_, Topics> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Topics {
    fn forget_places(&mut self, id: TopicId) -> Option<Known> {
        let known = self.by_id.remove(&id)?;
        if let Some(wall_ms) = known.entry.properties.expiration_wall_ms {
            self.expiring.remove(&(wall_ms, id));
        }
        if let Some(path) = known.entry.data_path().filter(|path| self.by_path.get(path) == Some(&id)) {
            self.by_path.remove(&path);
        }
        Some(known)
    }
}

impl Entry {
    fn is_expired(&self, now: Now) -> bool {
        self.properties.expiration_wall_ms.is_some_and(|wall_ms| wall_ms <= now.wall_ms)
    }

    /// Its own resource.
    pub fn path(&self) -> String {
        format!("/ps/{}", self.id)
    }

    /// Where its data is; `None` when that is on another host.
    pub fn data_path(&self) -> Option<String> {
        local_path(self.properties.topic_data.as_deref()?)
    }

    /// Within how long an observer has to confirm; a day at most (RFC 7641 §4.5).
    pub fn observer_check_s(&self) -> u32 {
        self.properties.observer_check_s.unwrap_or(OBSERVER_CHECK_S).min(OBSERVER_CHECK_S)
    }
}

/// Where the data of a topic is unless it was created elsewhere.
pub fn data_path(id: TopicId) -> String {
    format!("/ps/{id}/data")
}

/// The reference as a path of this server, unless it is of another one. Relative ones are relative to `/ps`.
pub fn local_path(reference: &str) -> Option<String> {
    match reference {
        _ if reference.contains("://") || reference.starts_with("//") => None,
        _ if reference.starts_with('/') => Some(reference.to_owned()),
        _ => Some(format!("/{reference}")),
    }
}

impl Seat {
    /// Whether its holder is among the oldest `max_subscribers`.
    pub fn is_within(&self, max_subscribers: u32) -> bool {
        let topics = self.collection.lock();
        let older = topics.by_id.get(&self.id).map_or(0, |known| known.seats.range(..self.ticket).count());
        older < max_subscribers as usize
    }

    /// Of which topic.
    pub fn topic(&self) -> TopicId {
        self.id
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(known) = self.collection.lock().by_id.get_mut(&self.id) {
            known.seats.remove(&self.ticket);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.0.lock().reserved.remove(&self.1);
    }
}
