//! Whether we are alive, and whether to send somebody here.

use super::Admin;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// A broker that takes longer for one turn does not live as one should.
const ALIVE_WITHIN: Duration = Duration::from_secs(5);

pub fn routes() -> Router<Arc<Admin>> {
    // The older name asks the same as the newer one.
    Router::new().route("/healthz", get(ready)).route("/readyz", get(ready)).route("/livez", get(live))
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
    /// What is wrong, one sentence each.
    problems: Vec<&'static str>,
}

/// The broker's thread takes turns.
async fn live(State(admin): State<Arc<Admin>>) -> (StatusCode, Json<Health>) {
    answer(problems_of_life(&admin).await)
}

/// It also has room for messages, and is not about to stop. (Before its store is restored and its listeners are up, nobody
/// listens here.)
async fn ready(State(admin): State<Arc<Admin>>) -> (StatusCode, Json<Health>) {
    let mut problems = problems_of_life(&admin).await;
    if admin.is_stopping() {
        problems.push("the broker is stopping");
    }
    if admin.store.as_ref().is_some_and(|store| !store.has_room()) {
        problems.push("the disk is full, or store.bytes_max is reached: new messages beyond QoS 0 are refused");
    }
    answer(problems)
}

async fn problems_of_life(admin: &Admin) -> Vec<&'static str> {
    match timeout(ALIVE_WITHIN, admin.shard.run(|inside| inside.broker().is_restoring())).await {
        Ok(Ok(false)) => Vec::new(),
        Ok(Ok(true)) => vec!["what was stored is still being restored"],
        Ok(Err(_)) => vec!["the broker has stopped"],
        Err(_) => vec!["the broker does not answer"],
    }
}

fn answer(problems: Vec<&'static str>) -> (StatusCode, Json<Health>) {
    match problems.is_empty() {
        true => (StatusCode::OK, Json(Health { status: "ok", problems })),
        false => (StatusCode::SERVICE_UNAVAILABLE, Json(Health { status: "unavailable", problems })),
    }
}
