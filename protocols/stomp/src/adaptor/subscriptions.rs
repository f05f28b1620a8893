//! What a connection has subscribed to, and which messages it has not acknowledged.

use althing_core::Filter;
use bytestring::ByteString;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;

/// The subscriptions of one connection. The broker knows each by its tag, the client by its id.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    by_tag: BTreeMap<u32, Subscription>,
    tags_by_id: BTreeMap<ByteString, u32>,
    tags_by_filter: BTreeMap<Filter, u32>,
    last_tag: u32,
    last_sequence: u64,
    /// In the order in which they were sent.
    unsettled: VecDeque<Unsettled>,
}

/// One subscription.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub id: ByteString,
    pub filter: Filter,
    pub ack: AckMode,
}

/// The `ack` header of SUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AckMode {
    /// Over as soon as it is sent.
    Auto,
    /// An acknowledgement is one for all before it too.
    Cumulative,
    /// Each by itself.
    Individual,
}

/// A message that the client has not acknowledged, by the broker's delivery number.
#[derive(Debug)]
struct Unsettled {
    id: AckId,
    number: u32,
}

/// The `message-id` and `ack` headers of MESSAGE: the subscription's tag and how many messages have been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AckId {
    tag: u32,
    sequence: u64,
}

impl fmt::Display for AckId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.tag, self.sequence)
    }
}

/// Why a subscription could not be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InUse {
    Id,
    Destination,
}

impl Subscriptions {
    /// Adds a subscription and returns its tag.
    pub fn add(&mut self, id: &str, filter: &Filter, ack: AckMode) -> Result<u32, InUse> {
        if self.tags_by_id.contains_key(id) {
            return Err(InUse::Id);
        }
        if self.tags_by_filter.contains_key(filter) {
            return Err(InUse::Destination);
        }
        // 0 stands for "no tag" at the broker.
        self.last_tag += 1;
        let (id, filter) = (ByteString::from(id), filter.detached());
        self.tags_by_id.insert(id.clone(), self.last_tag);
        self.tags_by_filter.insert(filter.clone(), self.last_tag);
        self.by_tag.insert(self.last_tag, Subscription { id, filter, ack });
        Ok(self.last_tag)
    }

    /// Removes a subscription; returns it with the numbers of what it leaves unacknowledged.
    pub fn remove(&mut self, id: &str) -> Option<(Subscription, Vec<u32>)> {
        let tag = self.tags_by_id.remove(id)?;
        let subscription = self.by_tag.remove(&tag)?;
        self.tags_by_filter.remove(&subscription.filter);
        Some((subscription, self.take(|unsettled| unsettled.tag == tag)))
    }

    pub fn get(&self, tag: u32) -> Option<&Subscription> {
        self.by_tag.get(&tag)
    }

    /// An id for the next message of a subscription.
    pub fn next_id(&mut self, tag: u32) -> AckId {
        self.last_sequence += 1;
        AckId { tag, sequence: self.last_sequence }
    }

    /// Remembers a message until it is acknowledged.
    pub fn sent(&mut self, id: AckId, number: u32) {
        self.unsettled.push_back(Unsettled { id, number });
    }

    /// The numbers that an acknowledgement settles, oldest first; `None` for an id that was never given.
    /// None at all is a repeat, a message that needs no acknowledgement, or one of a subscription that is over.
    pub fn acknowledged(&mut self, text: &str) -> Option<Vec<u32>> {
        let id = self.given(text)?;
        if self.get(id.tag).is_some_and(|subscription| subscription.ack == AckMode::Cumulative) {
            return Some(self.take(|other| other.tag == id.tag && other.sequence <= id.sequence));
        }
        let place = self.unsettled.binary_search_by_key(&id.sequence, |unsettled| unsettled.id.sequence).ok();
        let place = place.filter(|place| self.unsettled[*place].id == id);
        Some(
            place
                .and_then(|place| self.unsettled.remove(place))
                .map(|unsettled| unsettled.number)
                .into_iter()
                .collect(),
        )
    }

    fn given(&self, text: &str) -> Option<AckId> {
        let (tag, sequence) = text.split_once('-')?;
        let id = AckId { tag: tag.parse().ok()?, sequence: sequence.parse().ok()? };
        let known = (1..=self.last_tag).contains(&id.tag) && (1..=self.last_sequence).contains(&id.sequence);
        // One way to write each: "+1-1" was never given.
        (known && id.to_string() == text).then_some(id)
    }

    fn take(&mut self, chosen: impl Fn(&AckId) -> bool) -> Vec<u32> {
        let mut numbers = Vec::new();
        self.unsettled.retain(|unsettled| {
            let taken = chosen(&unsettled.id);
            numbers.extend(taken.then_some(unsettled.number));
            !taken
        });
        if self.unsettled.is_empty() {
            self.unsettled = VecDeque::new();
        }
        numbers
    }
}
