//! The broker's numbers.

use super::page::{Labels, Page};
use crate::admin::Admin;
use crate::admin::problem::Problem;
use althing_core::broker::Statistics;
use althing_net::{Counters, Measures, Traffic};

pub async fn write(page: &mut Page, admin: &Admin) -> Result<(), Problem> {
    let seen = admin.shard.run(|inside| (inside.broker().statistics(), inside.counters(), inside.measures()));
    let (statistics, counters, measures) = seen.await?;
    about(page, admin);
    listeners(page, admin, &measures);
    sessions(page, &statistics);
    losses(page, admin, &statistics, &counters);
    times(page, &measures);
    store(page, admin);
    certificates(page, admin);
    Ok(())
}

fn about(page: &mut Page, admin: &Admin) {
    let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
    page.gauges("build", "What runs here; always 1", [(version, 1.0)]);
    page.gauge("uptime_seconds", "How long it has run", admin.started.elapsed().unwrap_or_default().as_secs_f64());
}

fn listeners(page: &mut Page, admin: &Admin, measures: &Measures) {
    let name = |traffic: &Traffic| {
        let listener = admin.listeners.iter().find(|listener| listener.name == traffic.listener);
        let protocol = listener.map_or("", |listener| listener.protocol.row.language);
        vec![("listener", traffic.listener.to_owned()), ("protocol", protocol.to_owned())]
    };
    let each = |number: fn(&Traffic) -> u64| {
        measures.traffic.iter().map(move |traffic| (name(traffic), number(traffic))).collect::<Vec<_>>()
    };
    let by_qos = |numbers: fn(&Traffic) -> [u64; 3]| {
        let of_one = move |traffic| {
            numbers(traffic).into_iter().enumerate().map(move |(qos, number)| {
                let mut labels: Labels = name(traffic);
                labels.push(("qos", qos.to_string()));
                (labels, number)
            })
        };
        measures.traffic.iter().flat_map(of_one).collect::<Vec<_>>()
    };
    let open = each(|traffic| traffic.connections).into_iter().map(|(labels, number)| (labels, number as f64));
    page.gauges("connections", "Connections that are open", open);
    page.counters("connections_accepted", "Connections that were ever accepted", each(|it| it.connections_total));
    page.counters("received_bytes", "Bytes from peers", each(|it| it.bytes_received));
    page.counters("sent_bytes", "Bytes to peers", each(|it| it.bytes_sent));
    let help = "Messages that peers have published, by what they asked for";
    page.counters("publishes_received", help, by_qos(|it| it.publishes_received));
    let help = "Messages that were delivered to peers, by what they were promised";
    page.counters("publishes_sent", help, by_qos(|it| it.publishes_sent));
    let help = "Bytes of payloads that peers have published";
    page.counters("publishes_received_payload_bytes", help, each(|it| it.payload_bytes_received));
    let help = "Bytes of payloads that were delivered to peers";
    page.counters("publishes_sent_payload_bytes", help, each(|it| it.payload_bytes_sent));
}

fn sessions(page: &mut Page, statistics: &Statistics) {
    page.gauge("clients", "Sessions that are connected", statistics.peers);
    page.gauge("sessions", "Sessions, connected or not", statistics.sessions);
    page.counter("sessions_expired", "Sessions whose time was over", statistics.sessions_expired);
    page.gauge("subscriptions", "Subscriptions that are not shared", statistics.subscriptions);
    page.gauge("shared_subscriptions", "Memberships in shared subscriptions", statistics.shared_subscriptions);
    page.gauge("queues", "Queues that stand ($queue/NAME)", statistics.queues);
    page.gauge("retained_messages", "Last values", statistics.retained_messages);
    page.gauge("retained_bytes", "What they take", statistics.retained_bytes);
    page.gauge("queued_messages", "Messages that wait in queues", statistics.queued_messages);
    page.gauge("queued_bytes", "What they take", statistics.queued_bytes);
    page.gauge("inflight_messages", "Messages on their way that are not settled", statistics.inflight_messages);
}

fn losses(page: &mut Page, admin: &Admin, statistics: &Statistics, counters: &Counters) {
    page.counter("messages_dropped", "Messages that were lost on their way to a session", statistics.publishes_dropped);
    page.counter(
        "connections_turned_away",
        "Connections that were turned away before a word was said",
        counters.connections_refused,
    );
    let refusals = admin.tally.refusals();
    let of_kind = |wanted: &'static str| {
        let refusals = refusals.iter().filter(move |(kind, ..)| *kind == wanted);
        refusals.map(|(_, reason, count)| (vec![("reason", reason.clone())], *count)).collect::<Vec<_>>()
    };
    page.counters("refusals", "What was refused, by reason", of_kind("request"));
    page.counters("connections_closed", "Conversations that have ended, by reason", of_kind("closed"));
    page.counter("publisher_pauses", "Publishers that were asked to wait for a slow subscriber", counters.pauses);
    page.counter("publisher_throttles", "Publishers that were not read for a while: too fast", counters.throttles);
    page.counter("subscriber_stalls", "Subscribers that did not read for too long", counters.stalls);
    let help = "Logins to the administration that have failed";
    page.counter("admin_logins_failed", help, admin.logins.failed_total());
}

fn times(page: &mut Page, measures: &Measures) {
    let latency = measures.latency.iter().enumerate();
    page.histograms(
        "delivery_latency_seconds",
        "From the read of a message to the write of its deliveries",
        latency.map(|(qos, histogram)| (vec![("qos", qos.to_string())], *histogram)),
    );
    let help = "Turns of the event loop, from waking up to the next sleep";
    page.histograms("loop_tick_seconds", help, [(Labels::new(), measures.ticks)]);
}

fn store(page: &mut Page, admin: &Admin) {
    let Some(store) = &admin.store else { return };
    let statistics = store.statistics();
    page.gauge("store_has_room", "Whether new messages are kept", u64::from(store.has_room()));
    page.counter("store_commits", "Commits", statistics.commits);
    page.counter("store_records", "Records", statistics.records);
    page.counter("store_written_bytes", "Bytes written", statistics.bytes_written);
    page.gauge("store_disk_bytes", "Bytes on disk, spares included", statistics.disk_bytes);
    page.gauge("store_live_bytes", "Bytes that are still needed", statistics.live_bytes);
    page.gauge("store_entries", "Entries of queues", statistics.entries);
    page.gauge("store_facts", "Sessions, subscriptions, tokens and last values", statistics.facts);
    page.counter("store_checkpoints", "Checkpoints", statistics.checkpoints);
    page.counter("store_segments_cleaned", "Segments cleaned", statistics.segments_cleaned);
}

/// The file and the role tell two certificates of one listener apart.
fn certificates(page: &mut Page, admin: &Admin) {
    let certificates = admin.tls.certificates().into_iter().flat_map(|status| {
        let file = status.file.display().to_string();
        status.listeners.into_iter().map(move |listener| {
            let labels = vec![
                ("listener", listener.to_owned()),
                ("role", status.role.name().to_owned()),
                ("file", file.clone()),
            ];
            (labels, status.not_after_s as f64)
        })
    });
    let certificates: Vec<_> = certificates.collect();
    page.gauges("certificate_not_after_seconds", "When a certificate ends, in seconds since 1970", certificates);
}
