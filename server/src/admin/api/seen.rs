//! One message, seen by every language.

use super::Answer;
use crate::admin::Admin;
use crate::admin::problem::{Problem, Told};
use crate::admin::seen::{Question, WAYS, look};
use althing_core::Topic;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Where it is published, if not said.
const TOPIC: &str = "demo/seen";
const PAYLOAD: &str = "seen by everyone";
const PAYLOAD_BYTES_MAX: usize = 64 << 10;

pub fn routes() -> OpenApiRouter<Arc<Admin>> {
    OpenApiRouter::new().routes(routes!(seen))
}

/// What to publish.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
struct Wanted {
    /// Where: demo/seen, if not said.
    topic: Option<String>,
    /// What, at most 64 KiB.
    payload: Option<String>,
    /// In which language: mqtt, if not said; any `protocol` of the answer.
    from: Option<String>,
}

/// What came of it.
#[derive(Debug, Serialize, ToSchema)]
struct Seen {
    topic: String,
    payload: String,
    /// The language that published it.
    from: &'static str,
    /// Until the publisher was told that the broker has it.
    published_us: Option<u64>,
    /// One a language that listens on this machine.
    seen: Vec<Sight>,
}

/// How it came out in one language.
#[derive(Debug, Serialize, ToSchema)]
struct Sight {
    /// The language: mqtt, mqtt-ws, stomp, coap, http or json.
    protocol: &'static str,
    /// The same for people.
    title: &'static str,
    /// From the publish to the arrival; null when it did not arrive.
    took_us: Option<u64>,
    /// Why it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// Publishes one message over a real connection, and tells when it came out of the broker in each language.
///
/// Publisher and subscribers come from this machine, without credentials: rules and limits hold for them as for everyone.
#[utoipa::path(
    post, path = "/api/v1/seen", request_body = Wanted,
    responses((status = 200, body = Seen), (status = 400), (status = 409), (status = 429))
)]
async fn seen(State(admin): State<Arc<Admin>>, Told(wanted): Told<Wanted>) -> Answer<Seen> {
    let topic = wanted.topic.unwrap_or_else(|| TOPIC.to_owned());
    let topic =
        Topic::new(topic.into(), &admin.config.limits.topic).map_err(|error| Problem::bad(error.to_string()))?;
    let payload = wanted.payload.unwrap_or_else(|| PAYLOAD.to_owned());
    if payload.len() > PAYLOAD_BYTES_MAX {
        return Err(Problem::bad(format!("the payload is longer than {PAYLOAD_BYTES_MAX} bytes")));
    }
    let from = wanted.from.as_deref().unwrap_or("mqtt");
    let from = WAYS.iter().find(|way| way.name == from).ok_or_else(|| {
        let names: Vec<_> = WAYS.iter().map(|way| way.name).collect();
        Problem::bad(format!("`from` is one of {}", names.join(", ")))
    })?;
    // One at a time: each takes a dozen connections.
    let Ok(_turn) = admin.seen.try_acquire() else {
        return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "the last one is not over yet; try again in a second"));
    };
    let question = Question { topic: topic.clone(), payload: payload.clone().into(), from };
    let outcome = look(&admin.listeners, question).await.map_err(Problem::conflict)?;
    let sights = outcome.sights.into_iter().map(|(way, result)| Sight {
        protocol: way.name,
        title: way.title,
        took_us: result.as_ref().ok().copied().map(microseconds),
        detail: result.err(),
    });
    Ok(Json(Seen {
        topic: topic.to_string(),
        payload,
        from: from.name,
        published_us: outcome.published.map(microseconds),
        seen: sights.collect(),
    }))
}

fn microseconds(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}
