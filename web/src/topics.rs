//! The language of topics.

use crate::body::Body;
use crate::context::Context;
use crate::respond::respond;
use althing_http::Problem;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;

/// Whether a path is ours.
pub fn is_about(path: &str) -> bool {
    path == "/topics" || path.starts_with("/topics/") || path == "/topics:batch" || path.starts_with("/request/")
}

/// Answers one request.
pub async fn answer(_context: &Context, _request: Request<Incoming>) -> Response<Body> {
    respond(&Problem::new(StatusCode::NOT_IMPLEMENTED, "topics are not served yet"))
}
