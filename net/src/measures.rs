//! What a shard measures besides its counters: what passes through each listener, and how long things take.
//!
//! Nothing here looks at a clock for one message: times are those of the poll that read and of the flush that wrote.

use crate::door::door_of;
use crate::shard::Shard;
use althing_core::link::Entrance;
use althing_core::{Delivery, Message, PeerId};

/// Upper ends of the buckets of a [`Histogram`], in nanoseconds; what is longer is in one more bucket.
pub const BOUNDS_NS: [u64; 16] = [
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    10_000_000_000,
];

/// How often something took how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// By bucket, each for itself.
    pub counts: [u64; BOUNDS_NS.len() + 1],
    /// All of it together.
    pub sum_ns: u64,
}

impl Histogram {
    /// `times` things took this long, each.
    pub fn observe(&mut self, ns: u64, times: u64) {
        let bucket = BOUNDS_NS.partition_point(|bound_ns| *bound_ns < ns);
        self.counts[bucket] += times;
        self.sum_ns = self.sum_ns.saturating_add(ns.saturating_mul(times));
    }

    /// How many were observed.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// What has passed through one listener. What is counted by guarantee has a place for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// The listener's name.
    pub listener: &'static str,
    /// Connections that are open.
    pub connections: u64,
    /// Connections that were ever accepted.
    pub connections_total: u64,
    /// Bytes from peers.
    pub bytes_received: u64,
    /// Bytes to peers.
    pub bytes_sent: u64,
    /// Messages that peers have published.
    pub publishes_received: [u64; 3],
    /// Messages that were delivered to peers.
    pub publishes_sent: [u64; 3],
    /// Bytes of their payloads.
    pub payload_bytes_received: u64,
    /// See `payload_bytes_received`.
    pub payload_bytes_sent: u64,
}

/// Everything that is measured.
#[derive(Clone, Debug, Default)]
pub struct Measures {
    /// By listener.
    pub traffic: Vec<Traffic>,
    /// From the read of what has caused a delivery to the flush that has written it, by guarantee.
    pub latency: [Histogram; 3],
    /// From the moment that the event loop wakes up to its next sleep.
    pub ticks: Histogram,
    /// Deliveries that wait for a flush: when what caused them was read, and how many, by guarantee.
    unflushed: Vec<(u64, [u64; 3])>,
    /// When the present tick began.
    woke_ns: u64,
}

impl Measures {
    /// The place of a listener in `traffic`.
    pub(crate) fn listener(&mut self, entrance: &Entrance) -> usize {
        let known = self.traffic.iter().position(|traffic| traffic.listener == entrance.name);
        known.unwrap_or_else(|| {
            self.traffic.push(Traffic {
                listener: entrance.name,
                connections: 0,
                connections_total: 0,
                bytes_received: 0,
                bytes_sent: 0,
                publishes_received: [0; 3],
                publishes_sent: [0; 3],
                payload_bytes_received: 0,
                payload_bytes_sent: 0,
            });
            self.traffic.len() - 1
        })
    }

    /// Bytes have come in through a listener.
    pub(crate) fn received(&mut self, listener: usize, bytes: u64) {
        if let Some(traffic) = self.traffic.get_mut(listener) {
            traffic.bytes_received += bytes;
        }
    }

    /// Bytes have left through a listener.
    pub(crate) fn sent(&mut self, listener: usize, bytes: u64) {
        if let Some(traffic) = self.traffic.get_mut(listener) {
            traffic.bytes_sent += bytes;
        }
    }

    /// These were read at `read_ns`, or followed from what was.
    fn delivered(&mut self, read_ns: u64, by_guarantee: [u64; 3]) {
        match self.unflushed.last_mut() {
            Some((ns, counts)) if *ns == read_ns => {
                counts.iter_mut().zip(by_guarantee).for_each(|(count, more)| *count += more);
            }
            _ => self.unflushed.push((read_ns, by_guarantee)),
        }
    }

    /// Whether somebody waits to hear when the flush is over.
    pub(crate) fn awaits_flush(&self) -> bool {
        !self.unflushed.is_empty()
    }

    /// What has been delivered has left.
    pub(crate) fn flushed(&mut self, now_ns: u64) {
        for (read_ns, by_guarantee) in self.unflushed.drain(..) {
            let took_ns = now_ns.saturating_sub(read_ns);
            for (latency, count) in self.latency.iter_mut().zip(by_guarantee).filter(|(_, count)| *count > 0) {
                latency.observe(took_ns, count);
            }
        }
    }

    /// The event loop has something to do.
    pub(crate) fn woke(&mut self, now_ns: u64) {
        self.woke_ns = now_ns;
    }

    /// The tick is over; another one may follow without a sleep.
    pub(crate) fn ticked(&mut self, now_ns: u64) {
        self.ticks.observe(now_ns.saturating_sub(self.woke_ns), 1);
        self.woke_ns = now_ns;
    }
}

impl Shard {
    /// A peer has published this.
    pub(crate) fn measure_publish(&mut self, peer: PeerId, message: &Message) {
        let bytes = message.payload.len() as u64;
        self.counters.payload_bytes_received += bytes;
        if let Some(traffic) = self.traffic_of(peer) {
            traffic.publishes_received[message.guarantee as usize] += 1;
            traffic.payload_bytes_received += bytes;
        }
    }

    /// A peer gets these, because of something that was read at `read_ns`.
    pub(crate) fn measure_deliveries(&mut self, read_ns: u64, peer: PeerId, batch: &[Delivery]) {
        let (mut by_guarantee, mut bytes) = ([0; 3], 0);
        for delivery in batch {
            by_guarantee[delivery.guarantee as usize] += 1;
            bytes += delivery.message.payload.len() as u64;
        }
        self.counters.messages_sent += batch.len() as u64;
        self.counters.payload_bytes_sent += bytes;
        self.measures.delivered(read_ns, by_guarantee);
        if let Some(traffic) = self.traffic_of(peer) {
            traffic.publishes_sent.iter_mut().zip(by_guarantee).for_each(|(count, more)| *count += more);
            traffic.payload_bytes_sent += bytes;
        }
    }

    fn traffic_of(&mut self, peer: PeerId) -> Option<&mut Traffic> {
        let listener = match door_of(peer) {
            Some(door) => self.doors.listener(door)?,
            None => self.connections.get(peer)?.listener,
        };
        self.measures.traffic.get_mut(listener)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_as_long_as_a_bound_is_below_it() {
        let mut histogram = Histogram::default();
        histogram.observe(50_000, 1);
        histogram.observe(50_001, 2);
        histogram.observe(u64::MAX, 1);
        assert_eq!((histogram.counts[0], histogram.counts[1], histogram.counts[16]), (1, 2, 1));
        assert_eq!((histogram.count(), histogram.sum_ns), (4, u64::MAX));
    }

    #[test]
    fn deliveries_count_from_their_read_to_the_flush() {
        let mut measures = Measures::default();
        measures.delivered(1_000_000, [3, 0, 0]);
        measures.delivered(1_000_000, [1, 2, 0]);
        measures.delivered(2_000_000, [0, 0, 1]);
        assert!(measures.awaits_flush());
        measures.flushed(2_000_000);
        assert!(!measures.awaits_flush());
        assert_eq!(measures.latency.map(|latency| latency.count()), [4, 2, 1]);
        assert_eq!(measures.latency[0].sum_ns, 4_000_000);
        assert_eq!(measures.latency[2].counts[0], 1, "the flush came with the read");
    }
}
