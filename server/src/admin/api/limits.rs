//! What the configuration says, key by key.

use super::Answer;
use crate::admin::Admin;
use crate::admin::problem::Asked;
use crate::config::{Config, keys};
use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub fn routes() -> OpenApiRouter<Arc<Admin>> {
    OpenApiRouter::new().routes(routes!(limits)).routes(routes!(configuration))
}

/// One key of the configuration.
#[derive(Debug, Serialize, ToSchema)]
struct Setting {
    key: String,
    /// What it means, and why.
    explanation: String,
    /// What it takes.
    takes: String,
    /// What it holds; absent when nothing is said, and when it is a secret.
    value: Option<serde_json::Value>,
    /// What it holds when nothing is said.
    default: Option<serde_json::Value>,
    /// Whether a change holds without a restart.
    live: bool,
}

/// Which keys.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
struct Wanted {
    /// How the key begins.
    prefix: String,
}

/// Every limit and quota, with its reason.
#[utoipa::path(get, path = "/api/v1/limits", responses((status = 200, body = Vec<Setting>)))]
async fn limits(State(admin): State<Arc<Admin>>) -> Answer<Vec<Setting>> {
    Ok(Json(settings(&admin.config, |key| key.starts_with("limits.") || key.starts_with("quotas."))))
}

/// Every key of the configuration. Secrets have no value here.
#[utoipa::path(get, path = "/api/v1/config", params(Wanted), responses((status = 200, body = Vec<Setting>)))]
async fn configuration(State(admin): State<Arc<Admin>>, Asked(wanted): Asked<Wanted>) -> Answer<Vec<Setting>> {
    Ok(Json(settings(&admin.config, |key| key.starts_with(&wanted.prefix))))
}

fn settings(config: &Config, is_wanted: impl Fn(&str) -> bool) -> Vec<Setting> {
    let entries = keys::entries(config, &Config::new(0)).into_iter().filter(|entry| is_wanted(&entry.name));
    let json = |value: &Option<toml::Value>, is_secret: bool| {
        value.as_ref().filter(|_| !is_secret).and_then(|value| serde_json::to_value(value).ok())
    };
    let setting = |entry: keys::Entry| Setting {
        explanation: entry.comment.split_whitespace().collect::<Vec<_>>().join(" "),
        value: json(&entry.value, entry.is_secret),
        default: json(&entry.default, entry.is_secret),
        takes: entry.takes,
        live: entry.is_live,
        key: entry.name,
    };
    entries.map(setting).collect()
}
