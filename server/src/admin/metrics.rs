//! `/metrics`: what a Prometheus scrapes, as OpenMetrics. Labels are listener, protocol, qos and reason: never a name that a
//! peer has chosen.

mod broker;
mod page;
pub mod process;

use super::Admin;
use super::problem::Problem;
use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use page::Page;
use std::sync::Arc;

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub fn routes() -> Router<Arc<Admin>> {
    Router::new().route("/metrics", get(metrics))
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Result<impl IntoResponse, Problem> {
    let mut page = Page::default();
    broker::write(&mut page, &admin).await?;
    process::write(&mut page);
    let text = page.text().map_err(|_| Problem::failed("the metrics could not be written"))?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text))
}
