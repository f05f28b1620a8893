//! The broker itself: what it is, how it is, where it listens.

use super::Answer;
use crate::admin::Admin;
use crate::config::Listen;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use std::sync::Arc;
use std::time::UNIX_EPOCH;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub fn routes() -> OpenApiRouter<Arc<Admin>> {
    OpenApiRouter::new().routes(routes!(server)).routes(routes!(listeners))
}

/// The broker, with its most important numbers. Totals count from the start.
#[derive(Debug, Serialize, ToSchema)]
struct Server {
    version: &'static str,
    pid: u32,
    /// Seconds since 1970.
    started_s: u64,
    uptime_s: u64,
    /// The data directory.
    data: String,
    /// What an acknowledgement promises: sync, interval or memory.
    durability: String,
    /// Whether new messages are kept.
    store_has_room: bool,
    connections: u64,
    connections_total: u64,
    connections_refused_total: u64,
    sessions: u64,
    subscriptions: u64,
    shared_subscriptions: u64,
    retained_messages: u64,
    retained_bytes: u64,
    queues: u64,
    queued_messages: u64,
    queued_bytes: u64,
    inflight_messages: u64,
    publishes_received_total: u64,
    publishes_delivered_total: u64,
    publishes_dropped_total: u64,
    bytes_received_total: u64,
    bytes_sent_total: u64,
    /// How often a publisher was asked to wait for a slow subscriber.
    pauses_total: u64,
    /// How often a subscriber was declared stalled.
    stalls_total: u64,
}

/// What this broker is, and its most important numbers.
#[utoipa::path(get, path = "/api/v1/server", responses((status = 200, body = Server)))]
async fn server(State(admin): State<Arc<Admin>>) -> Answer<Server> {
    let numbers = admin.shard.run(|inside| (inside.broker().statistics(), inside.counters()));
    let (statistics, counters) = numbers.await?;
    Ok(Json(Server {
        version: env!("CARGO_PKG_VERSION"),
        pid: std::process::id(),
        started_s: admin.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        uptime_s: admin.started.elapsed().unwrap_or_default().as_secs(),
        data: admin.config.server.data.display().to_string(),
        durability: admin.config.store.durability.to_string(),
        store_has_room: admin.store.as_ref().is_none_or(|store| store.has_room()),
        connections: counters.connections,
        connections_total: counters.connections_total,
        connections_refused_total: counters.connections_refused,
        sessions: statistics.sessions,
        subscriptions: statistics.subscriptions,
        shared_subscriptions: statistics.shared_subscriptions,
        retained_messages: statistics.retained_messages,
        retained_bytes: statistics.retained_bytes,
        queues: statistics.queues,
        queued_messages: statistics.queued_messages,
        queued_bytes: statistics.queued_bytes,
        inflight_messages: statistics.inflight_messages,
        publishes_received_total: statistics.publishes_received,
        publishes_delivered_total: statistics.publishes_delivered,
        publishes_dropped_total: statistics.publishes_dropped,
        bytes_received_total: counters.bytes_received,
        bytes_sent_total: counters.bytes_sent,
        pauses_total: counters.pauses,
        stalls_total: counters.stalls,
    }))
}

/// A listener of a language.
#[derive(Debug, Serialize, ToSchema)]
pub struct Listener {
    name: &'static str,
    protocol: &'static str,
    address: String,
    tls: bool,
}

impl From<&Listen> for Listener {
    fn from(listen: &Listen) -> Self {
        Self {
            name: listen.name,
            protocol: listen.protocol.row.name,
            address: listen.address.to_string(),
            tls: listen.tls.is_some(),
        }
    }
}

/// Where the languages are listened to.
#[utoipa::path(get, path = "/api/v1/listeners", responses((status = 200, body = Vec<Listener>)))]
async fn listeners(State(admin): State<Arc<Admin>>) -> Answer<Vec<Listener>> {
    Ok(Json(admin.listeners.iter().map(Listener::from).collect()))
}
