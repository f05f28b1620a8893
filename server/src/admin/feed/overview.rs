//! How the broker is, once a second.

use crate::admin::Admin;
use crate::admin::api::server::Listener;
use crate::admin::metrics::process;
use crate::admin::problem::Problem;
use althing_core::broker::Statistics;
use althing_net::{Counters, Measures};
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::time::Instant;
use utoipa::ToSchema;

/// A certificate that ends sooner is worth a word.
const EXPIRY_DAYS: i64 = 30;
const DAY_S: i64 = 24 * 3_600;

/// Overviews over which losses are told: a minute of them.
const LOSSES_OVER: usize = 60;

/// How the broker is now.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FeedOverview)]
pub struct Overview {
    version: &'static str,
    uptime_s: u64,
    /// Connections by protocol.
    connections: BTreeMap<&'static str, u64>,
    /// Connections by listener.
    connections_by_listener: BTreeMap<&'static str, u64>,
    rates: Rates,
    /// Of one processor: 1 keeps one busy.
    cpu: f64,
    rss_bytes: u64,
    retained: Amount,
    sessions: u64,
    /// Subscriptions, shared or not.
    subscriptions: u64,
    /// What waits for sessions and in queues.
    queued: Amount,
    inflight_messages: u64,
    /// Queues that stand.
    queues: u64,
    store: StoreState,
    listeners: Vec<Listener>,
    /// What somebody should look after, a sentence each.
    warnings: Vec<String>,
}

/// In one second.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = FeedRates)]
struct Rates {
    messages_in: f64,
    messages_out: f64,
    bytes_in: f64,
    bytes_out: f64,
    /// Messages that were lost on their way to a session.
    dropped: f64,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FeedAmount)]
struct Amount {
    messages: u64,
    bytes: u64,
}

/// What keeps sessions and messages.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FeedStore)]
struct StoreState {
    /// sync, interval or memory.
    durability: String,
    /// Whether new messages are kept.
    has_room: bool,
    /// On disk; absent when everything lives in memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    /// What it may take, if that was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_max: Option<u64>,
}

/// Remembers what was counted before.
#[derive(Debug, Default)]
pub struct Observer {
    before: Option<Before>,
    /// Losses until then, of the last minute.
    losses: VecDeque<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Before {
    at: Instant,
    statistics: Statistics,
    counters: Counters,
    cpu_s: f64,
}

/// What the shard says of itself.
struct Seen {
    statistics: Statistics,
    counters: Counters,
    measures: Measures,
    /// Whether everybody may do everything.
    is_open: bool,
    is_capped: bool,
}

impl Observer {
    pub async fn observe(&mut self, admin: &Admin) -> Result<Overview, Problem> {
        let seen = admin.shard.run(|inside| {
            let (broker, policy) = (inside.broker(), inside.broker().policy());
            Seen {
                statistics: broker.statistics(),
                counters: inside.counters(),
                measures: inside.measures(),
                is_open: policy.rules.is_empty() && policy.otherwise_allow,
                is_capped: broker.watched_topics().is_some_and(|watch| watch.is_capped()),
            }
        });
        let seen = seen.await?;
        let cpu_s = process::cpu_s().unwrap_or_default();
        let (statistics, counters) = (seen.statistics, seen.counters);
        let now = Before { at: Instant::now(), statistics, counters, cpu_s };
        let (rates, cpu) = self.before.map(|before| before.until(&now)).unwrap_or_default();
        self.before = Some(now);
        self.losses.push_back(statistics.publishes_dropped);
        if self.losses.len() > LOSSES_OVER {
            self.losses.pop_front();
        }
        let (connections, connections_by_listener) = connections(admin, &seen.measures);
        let store = store(admin);
        let warnings = self.warnings(admin, &seen, &store);
        Ok(Overview {
            version: env!("CARGO_PKG_VERSION"),
            uptime_s: admin.started.elapsed().unwrap_or_default().as_secs(),
            connections,
            connections_by_listener,
            rates,
            cpu,
            rss_bytes: process::resident_bytes().unwrap_or_default(),
            retained: Amount { messages: statistics.retained_messages, bytes: statistics.retained_bytes },
            sessions: statistics.sessions,
            subscriptions: statistics.subscriptions + statistics.shared_subscriptions,
            queued: Amount { messages: statistics.queued_messages, bytes: statistics.queued_bytes },
            inflight_messages: statistics.inflight_messages,
            queues: statistics.queues,
            store,
            listeners: admin.listeners.iter().map(Listener::from).collect(),
            warnings,
        })
    }

    /// What somebody should look after.
    fn warnings(&self, admin: &Admin, seen: &Seen, store: &StoreState) -> Vec<String> {
        let mut warnings = Vec::new();
        let reachable = admin.listeners.iter().filter(|listen| listen.is_reachable());
        for listen in reachable.filter(|_| seen.is_open) {
            let whoever = if listen.entrance.anonymous { "anybody, without a password," } else { "every user" };
            warnings.push(format!(
                "Other machines can reach the listener {}, and there are no rules: {whoever} may publish and read everything there.",
                listen.name
            ));
        }
        if !store.has_room {
            warnings.push("The store has no room: new messages beyond QoS 0 are refused.".into());
        } else if let (Some(bytes), Some(bytes_max)) = (store.bytes, store.bytes_max)
            && bytes > bytes_max / 10 * 9
        {
            warnings.push(format!("The store is nearly full: {bytes} of {bytes_max} bytes."));
        }
        warnings.extend(certificates(admin));
        let losses = seen.statistics.publishes_dropped - self.losses.front().copied().unwrap_or_default();
        if losses > 0 {
            warnings.push(format!(
                "In the last minute {losses} messages were lost on their way to clients that are too slow."
            ));
        }
        if seen.is_capped {
            warnings.push("There are more topics than the console looks after (console.topics_max).".into());
        }
        warnings
    }
}

impl Before {
    /// What came in a second since then, and how busy the processor was.
    fn until(&self, now: &Self) -> (Rates, f64) {
        let seconds = now.at.duration_since(self.at).as_secs_f64().max(0.001);
        let rate = |number: fn(&Self) -> u64| tenths(number(now).saturating_sub(number(self)) as f64 / seconds);
        let rates = Rates {
            messages_in: rate(|it| it.statistics.publishes_received),
            messages_out: rate(|it| it.statistics.publishes_delivered),
            bytes_in: rate(|it| it.counters.bytes_received),
            bytes_out: rate(|it| it.counters.bytes_sent),
            dropped: rate(|it| it.statistics.publishes_dropped),
        };
        let cpu = (now.cpu_s - self.cpu_s).max(0.0) / seconds;
        (rates, (cpu * 1_000.0).round() / 1_000.0)
    }
}

fn tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

/// By protocol, and by listener.
fn connections(admin: &Admin, measures: &Measures) -> (BTreeMap<&'static str, u64>, BTreeMap<&'static str, u64>) {
    let (mut by_protocol, mut by_listener) = (BTreeMap::new(), BTreeMap::new());
    for listen in &admin.listeners {
        let traffic = measures.traffic.iter().find(|traffic| traffic.listener == listen.name);
        let open = traffic.map_or(0, |traffic| traffic.connections);
        *by_protocol.entry(listen.protocol.row.language).or_default() += open;
        *by_listener.entry(listen.name).or_default() += open;
    }
    (by_protocol, by_listener)
}

fn store(admin: &Admin) -> StoreState {
    StoreState {
        durability: admin.config.store.durability.to_string(),
        has_room: admin.store.as_ref().is_none_or(|store| store.has_room()),
        bytes: admin.store.as_ref().map(|store| store.statistics().disk_bytes),
        bytes_max: Some(admin.config.store.bytes_max).filter(|bytes_max| *bytes_max < u64::MAX),
    }
}

/// Certificates that end soon.
fn certificates(admin: &Admin) -> Vec<String> {
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as i64;
    let ending = admin.tls.certificates().into_iter().map(|status| (status.not_after_s - now_s, status.file));
    let ending = ending.filter(|(left_s, _)| *left_s < EXPIRY_DAYS * DAY_S);
    let sentence = |(left_s, file): (i64, std::path::PathBuf)| match left_s / DAY_S {
        _ if left_s <= 0 => format!("The certificate {} is not valid any more.", file.display()),
        0 => format!("The certificate {} ends within a day.", file.display()),
        1 => format!("The certificate {} ends in one day.", file.display()),
        days => format!("The certificate {} ends in {days} days.", file.display()),
    };
    ending.map(sentence).collect()
}
