//! What is logged, and reading the configuration again.

use super::Answer;
use crate::admin::Admin;
use crate::admin::gate::Caller;
use crate::admin::problem::{Problem, Told};
use crate::log;
use axum::extract::State;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub fn routes() -> OpenApiRouter<Arc<Admin>> {
    OpenApiRouter::new().routes(routes!(level, set_level)).routes(routes!(reload))
}

/// What is important enough to be logged.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
struct LogLevel {
    /// error, warn, info, debug or trace.
    level: String,
}

/// What is important enough to be logged now.
#[utoipa::path(get, path = "/api/v1/log/level", responses((status = 200, body = LogLevel)))]
async fn level() -> Json<LogLevel> {
    Json(LogLevel { level: log::level().to_string().to_lowercase() })
}

/// Changes what is important enough to be logged, until the next change or reload.
#[utoipa::path(
    put, path = "/api/v1/log/level", request_body = LogLevel, responses((status = 200, body = LogLevel), (status = 400))
)]
async fn set_level(Extension(caller): Extension<Caller>, Told(LogLevel { level }): Told<LogLevel>) -> Answer<LogLevel> {
    let named = Some(&level).filter(|level| level.parse::<u8>().is_err()).and_then(|level| level.parse().ok());
    let wanted = named.ok_or_else(|| Problem::bad("level is error, warn, info, debug or trace"))?;
    log::set_level(wanted);
    tracing::info!("{caller} has set the level of the log to {level}");
    Ok(Json(LogLevel { level }))
}

/// What a reload has changed.
#[derive(Debug, Serialize, ToSchema)]
struct Reloaded {
    /// A sentence each.
    changed: Vec<String>,
}

/// Reads the configuration and all files that it names again. When anything is wrong, everything stays as it was.
#[utoipa::path(post, path = "/api/v1/reload", responses((status = 200, body = Reloaded), (status = 409)))]
async fn reload(State(admin): State<Arc<Admin>>, Extension(caller): Extension<Caller>) -> Answer<Reloaded> {
    tracing::info!("{caller} asks for a reload");
    Ok(Json(Reloaded { changed: admin.reload().await? }))
}
