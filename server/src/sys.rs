//! `$SYS/broker/…`: the broker tells of itself, under the names that mosquitto has made common.

use crate::config::Durability;
use crate::storage::Watch;
use althing_core::broker::Statistics;
use althing_core::topic::TopicLimits;
use althing_core::{Message, Topic};
use althing_net::{Counters, local};
use bytes::Bytes;
use std::collections::HashMap;
use std::time::Duration;

/// Publishes what has changed every `interval_s` seconds; never when that is 0.
pub async fn keep_up_to_date(interval_s: u32, durability: Durability, store: Option<Watch>) {
    if interval_s == 0 {
        return;
    }
    let mut tree = Tree::default();
    let mut interval = tokio::time::interval(Duration::from_secs(interval_s.into()));
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let now_ns = local::now().mono_ns;
        let mut changes = tree.changes(now_ns, &local::statistics(), &local::counters());
        changes.extend(tree.changed(of_store(durability, store.as_ref())));
        for (name, value) in changes {
            if let Ok(topic) = Topic::new(format!("$SYS/broker/{name}").into(), &TopicLimits::default()) {
                let mut message = Message::new(topic, Bytes::from(value));
                message.retain = true;
                local::publish(message);
            }
        }
    }
}

/// What the store promises and holds; of one in memory there is nothing to count.
fn of_store(durability: Durability, store: Option<&Watch>) -> Vec<(String, String)> {
    let mut values = vec![("store/durability".to_owned(), durability.to_string())];
    if let Some(store) = store {
        let statistics = store.statistics();
        let numbers = [
            ("store/room", u64::from(store.has_room())),
            ("store/commits", statistics.commits),
            ("store/records", statistics.records),
            ("store/bytes/written", statistics.bytes_written),
            ("store/bytes/disk", statistics.disk_bytes),
            ("store/bytes/live", statistics.live_bytes),
            ("store/entries", statistics.entries),
            ("store/checkpoints", statistics.checkpoints),
            ("store/segments/cleaned", statistics.segments_cleaned),
        ];
        values.extend(numbers.map(|(name, number)| (name.to_owned(), number.to_string())));
    }
    values
}

/// The tree as it was last published.
#[derive(Debug, Default)]
struct Tree {
    published: HashMap<String, String>,
    start_ns: Option<u64>,
    last_ns: u64,
    clients_max: u64,
    loads: [Load; LOADS],
}

const LOADS: usize = 9;

impl Tree {
    /// The names below `$SYS/broker/` whose values have changed, and their new values.
    fn changes(&mut self, now_ns: u64, statistics: &Statistics, counters: &Counters) -> Vec<(String, String)> {
        let mut values = self.gauges(now_ns, statistics, counters);
        self.add_loads(now_ns, statistics, counters, &mut values);
        self.changed(values)
    }

    /// Those of `values` that have changed.
    fn changed(&mut self, mut values: Vec<(String, String)>) -> Vec<(String, String)> {
        values.retain(|(name, value)| self.published.get(name) != Some(value));
        self.published.extend(values.iter().cloned());
        values
    }

    fn gauges(&mut self, now_ns: u64, statistics: &Statistics, counters: &Counters) -> Vec<(String, String)> {
        let start_ns = *self.start_ns.get_or_insert(now_ns);
        self.clients_max = self.clients_max.max(statistics.peers);
        let stored = statistics.queued_messages + statistics.inflight_messages + statistics.retained_messages;
        let numbers = [
            ("clients/connected", statistics.peers),
            ("clients/active", statistics.peers),
            ("clients/disconnected", statistics.sessions.saturating_sub(statistics.peers)),
            ("clients/inactive", statistics.sessions.saturating_sub(statistics.peers)),
            ("clients/total", statistics.sessions),
            ("clients/maximum", self.clients_max),
            ("clients/expired", statistics.sessions_expired),
            ("messages/received", counters.messages_received),
            ("messages/sent", counters.messages_sent),
            ("messages/stored", stored),
            ("messages/inflight", statistics.inflight_messages),
            ("store/messages/count", stored),
            ("store/messages/bytes", statistics.queued_bytes + statistics.retained_bytes),
            ("publish/messages/received", statistics.publishes_received),
            ("publish/messages/sent", statistics.publishes_delivered),
            ("publish/messages/dropped", statistics.publishes_dropped),
            ("publish/bytes/received", counters.payload_bytes_received),
            ("publish/bytes/sent", counters.payload_bytes_sent),
            ("bytes/received", counters.bytes_received),
            ("bytes/sent", counters.bytes_sent),
            ("subscriptions/count", statistics.subscriptions),
            ("shared_subscriptions/count", statistics.shared_subscriptions),
            ("retained messages/count", statistics.retained_messages),
        ];
        let uptime_s = (now_ns - start_ns) / althing_core::time::SECOND_NS;
        let texts = [
            ("version", format!("althing version {}", env!("CARGO_PKG_VERSION"))),
            ("uptime", format!("{uptime_s} seconds")),
        ];
        let numbers = numbers.into_iter().map(|(name, number)| (name, number.to_string()));
        texts.into_iter().chain(numbers).map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn add_loads(
        &mut self,
        now_ns: u64,
        statistics: &Statistics,
        counters: &Counters,
        values: &mut Vec<(String, String)>,
    ) {
        let totals: [(&str, u64); LOADS] = [
            ("messages/received", counters.messages_received),
            ("messages/sent", counters.messages_sent),
            ("publish/received", statistics.publishes_received),
            ("publish/sent", statistics.publishes_delivered),
            ("publish/dropped", statistics.publishes_dropped),
            ("bytes/received", counters.bytes_received),
            ("bytes/sent", counters.bytes_sent),
            ("sockets", counters.connections_total),
            ("connections", counters.connects_received),
        ];
        let minutes = now_ns.saturating_sub(self.last_ns) as f64 / 60e9;
        let is_first = self.last_ns == 0;
        self.last_ns = now_ns;
        for (load, (name, total)) in self.loads.iter_mut().zip(totals) {
            load.update(total, if is_first { 0.0 } else { minutes });
            for (average, span) in load.averages.iter().zip(SPANS_MIN) {
                values.push((format!("load/{name}/{span}min"), format!("{average:.2}")));
            }
        }
    }
}

/// Moving averages of a rate a minute, over these many minutes.
#[derive(Debug, Default)]
struct Load {
    total: u64,
    averages: [f64; 3],
}

const SPANS_MIN: [u8; 3] = [1, 5, 15];

impl Load {
    /// The counter stands at `total`, `minutes` after the last time. Old values fade exponentially.
    fn update(&mut self, total: u64, minutes: f64) {
        let grown = total.saturating_sub(self.total) as f64;
        self.total = total;
        if minutes <= 0.0 {
            return;
        }
        let rate = grown / minutes;
        for (average, span) in self.averages.iter_mut().zip(SPANS_MIN) {
            let fade = (-minutes / f64::from(span)).exp();
            *average = rate + fade * (*average - rate);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_are_published() {
        let mut tree = Tree::default();
        let (mut statistics, counters) = (Statistics::default(), Counters::default());
        let first = tree.changes(1, &statistics, &counters);
        assert!(first.iter().any(|(name, value)| name == "clients/connected" && value == "0"));
        assert!(first.iter().any(|(name, _)| name == "load/bytes/sent/15min"));
        assert_eq!(tree.changes(1, &statistics, &counters), []);
        statistics.subscriptions = 3;
        assert_eq!(tree.changes(1, &statistics, &counters), [("subscriptions/count".into(), "3".into())]);
    }

    #[test]
    fn the_load_approaches_the_rate() {
        let mut load = Load::default();
        for minute in 1..=20 {
            load.update(minute * 100, 1.0);
        }
        assert!((load.averages[0] - 100.0).abs() < 0.01, "{load:?}");
        assert!(load.averages[2] < load.averages[1] && load.averages[2] > 50.0, "{load:?}");
    }
}
