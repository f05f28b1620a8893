//! Problems as responses.

use crate::body::Body;
use althing_http::Problem;
use althing_http::problem::CONTENT_TYPE;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};

/// A problem as a response (RFC 9457), with the headers that belong to its status.
pub fn respond(problem: &Problem) -> Response<Body> {
    let mut response = Response::new(Body::from(problem.body()));
    *response.status_mut() = problem.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    if problem.status == StatusCode::UNAUTHORIZED {
        headers
            .append(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"althing\", charset=\"UTF-8\""));
        headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"althing\""));
    }
    if let Some(seconds) = problem.retry_after_s {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    if let Some(allow) = problem.allow {
        headers.insert(header::ALLOW, HeaderValue::from_static(allow));
    }
    // What is left of a body that was not read would be taken for the next request.
    if matches!(problem.status, StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
