//! What went wrong, as the broker remembers it.

use super::Answer;
use crate::admin::Admin;
use crate::admin::problem::{Asked, Named, Problem};
use crate::why::Incident;
use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use std::net::IpAddr;
use std::sync::Arc;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Incidents of one answer, if not said.
const LIMIT: usize = 100;
const LIMIT_MAX: usize = 1_000;

pub fn routes() -> OpenApiRouter<Arc<Admin>> {
    OpenApiRouter::new().routes(routes!(lately)).routes(routes!(of_client))
}

/// Whose incidents.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
struct Wanted {
    /// Only those at this IP address who did not come to have a client id.
    #[param(value_type = Option<String>)]
    address: Option<IpAddr>,
    /// At most so many: 100, if not said; at most 1000.
    limit: Option<usize>,
}

/// What went wrong lately for anybody, the oldest first.
#[utoipa::path(get, path = "/api/v1/why", params(Wanted), responses((status = 200, body = Vec<Incident>)))]
async fn lately(State(admin): State<Arc<Admin>>, Asked(wanted): Asked<Wanted>) -> Answer<Vec<Incident>> {
    let limit = wanted.limit.unwrap_or(LIMIT);
    if limit > LIMIT_MAX {
        return Err(Problem::bad(format!("limit={limit} is out of range: from 0 to {LIMIT_MAX}")));
    }
    Ok(Json(match wanted.address {
        Some(address) => admin.why.of_address(Some(address)),
        None => admin.why.lately(limit),
    }))
}

/// What went wrong lately for one client, the oldest first; nothing when nothing did.
#[utoipa::path(
    get, path = "/api/v1/why/{client}", params(("client" = String, Path)),
    responses((status = 200, body = Vec<Incident>))
)]
async fn of_client(State(admin): State<Arc<Admin>>, Named(client): Named<String>) -> Answer<Vec<Incident>> {
    Ok(Json(admin.why.of_client(&client)))
}
