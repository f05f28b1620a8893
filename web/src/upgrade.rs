//! Requests that become WebSockets (RFC 6455 §4), and the languages inside.

use crate::body::Body;
use crate::context::Context;
use althing_http::Problem;
use http::{Request, Response, StatusCode, header};
use hyper::body::Incoming;

/// Whether a WebSocket is asked for, well or not.
pub fn is_asked_for(request: &Request<Incoming>) -> bool {
    request.headers().get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Agrees, and hands the connection over once the response has left.
pub fn answer(_context: &Context, _request: Request<Incoming>) -> Result<Response<Body>, Problem> {
    Err(Problem::new(StatusCode::NOT_IMPLEMENTED, "WebSockets are not served yet"))
}
