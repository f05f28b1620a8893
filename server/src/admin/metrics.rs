//! `/metrics`: what a Prometheus scrapes, as OpenMetrics.

use super::Admin;
use axum::Router;
use std::sync::Arc;

pub fn routes() -> Router<Arc<Admin>> {
    Router::new()
}
