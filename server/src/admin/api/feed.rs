//! The console's feed, and what a page changes about it.

use crate::admin::Admin;
use crate::admin::feed::{Change, Feeds, Hello, Overview, TopicValue, Tree};
use crate::admin::problem::{Named, Problem, Told};
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub fn routes() -> OpenApiRouter<Arc<Admin>> {
    OpenApiRouter::new().routes(routes!(feed)).routes(routes!(change))
}

/// The events of a feed: the name of each, and what its data is.
#[derive(Serialize, ToSchema)]
#[allow(dead_code, reason = "it describes the events, which are made one by one")]
struct FeedEvents {
    /// Comes first: the id under which the page says what it looks at.
    hello: Hello,
    /// Once a second.
    overview: Overview,
    /// Ten times a second at most, and only when something has changed.
    tree: Tree,
    /// Of the selected topic, ten times a second at most.
    value: TopicValue,
}

/// What a page that stays open is told, until nobody reads it. At first no row is in sight; `POST /api/v1/feed/{id}` changes that.
#[utoipa::path(
    get, path = "/api/v1/feed",
    responses((status = 200, body = FeedEvents, content_type = "text/event-stream"), (status = 429))
)]
async fn feed(State(admin): State<Arc<Admin>>) -> Result<impl IntoResponse, Problem> {
    let stream = Feeds::open(&admin).await?;
    Ok(([(header::CONTENT_TYPE, "text/event-stream")], Body::new(stream)))
}

/// Changes what a feed is about.
#[utoipa::path(
    post, path = "/api/v1/feed/{id}", params(("id" = String, Path)), request_body = Change,
    responses((status = 204), (status = 400), (status = 404))
)]
async fn change(
    State(admin): State<Arc<Admin>>,
    Named(id): Named<String>,
    Told(change): Told<Change>,
) -> Result<StatusCode, Problem> {
    admin.feeds.change(&admin, &id, change)?;
    Ok(StatusCode::NO_CONTENT)
}
