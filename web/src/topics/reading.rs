//! Last values.

use super::{RETAIN, empty, representation, value};
use crate::body::Body;
use crate::context::Context;
use althing_core::Topic;
use althing_http::Problem;
use althing_http::validators::{Preconditions, Verdict, etag};
use http::header::{CACHE_CONTROL, ETAG, HeaderValue};
use http::{HeaderMap, Response, StatusCode};

/// `GET` and `HEAD` of a topic.
pub async fn read(
    context: &Context,
    headers: &HeaderMap,
    topic: Topic,
    preconditions: &Preconditions,
) -> Result<Response<Body>, Problem> {
    let found = context.anchor(headers).await?.fetch(topic).await?;
    let tag = found.as_deref().map(etag);
    let verdict = preconditions.check(tag.as_deref());
    if verdict == Verdict::Failed {
        preconditions.check_change(tag.as_deref())?;
    }
    let (Some(message), Some(tag)) = (found, tag) else {
        return Err(Problem::new(StatusCode::NOT_FOUND, "this topic has no value"));
    };
    let mut response = match verdict {
        Verdict::NotModified => empty(StatusCode::NOT_MODIFIED),
        _ => representation(&message),
    };
    let headers = response.headers_mut();
    headers.insert(ETAG, value(&tag));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(RETAIN, HeaderValue::from_static("true"));
    Ok(response)
}
