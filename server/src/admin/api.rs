//! `/api/v1`: everything about the running broker, with its OpenAPI document.

mod certificates;
mod console;
mod definitions;
mod feed;
mod limits;
mod log;
mod queues;
mod retained;
mod rules;
mod seen;
pub mod server;
mod sessions;
mod subscriptions;
mod trace;
mod users;
mod why;

use super::Admin;
use super::gate::Caller;
use super::problem::Problem;
use axum::Json;
use std::sync::Arc;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// What a handler gives.
type Answer<T> = Result<Json<T>, Problem>;

#[derive(OpenApi)]
#[openapi(info(
    title = "Althing",
    description = "Administration of a running broker. Errors are application/problem+json with a sentence in `detail`."
))]
struct Document;

/// All routes of the interface, with what the document says of them.
pub fn routes() -> OpenApiRouter<Arc<Admin>> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(document))
        .merge(server::routes())
        .merge(sessions::routes())
        .merge(subscriptions::routes())
        .merge(retained::routes())
        .merge(queues::routes())
        .merge(limits::routes())
        .merge(certificates::routes())
        .merge(why::routes())
        .merge(seen::routes())
        .merge(trace::routes())
        .merge(users::routes())
        .merge(rules::routes())
        .merge(definitions::routes())
        .merge(feed::routes())
        .merge(console::routes())
        .merge(log::routes())
}

/// This document.
#[utoipa::path(get, path = "/api/v1/openapi.json", responses((status = 200)))]
async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(routes().split_for_parts().1)
}

/// What lies in a file has been changed: it takes over now.
async fn changed(admin: &Admin, caller: &Caller, what: &str) -> Result<(), Problem> {
    tracing::info!("{caller} has changed {what}");
    admin.reload().await.map(drop)
}
