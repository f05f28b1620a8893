//! Which handler answers a request.

use crate::body::Body;
use crate::context::Context;
use crate::respond::respond;
use crate::{origin, topics, upgrade};
use althing_http::Problem;
use http::header::{CONNECTION, HOST, TRANSFER_ENCODING};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;

/// Answers one request.
pub async fn answer(context: &Context, mut request: Request<Incoming>) -> Response<Body> {
    if let Err(problem) = normalise(&mut request) {
        return last(respond(&problem), request.version());
    }
    let page = match origin::check(context, &request) {
        Ok(page) => page,
        Err(problem) => return respond(&problem),
    };
    if let Some(preflight) = page.preflight(&request) {
        return preflight;
    }
    let mut response = route(context, request).await.unwrap_or_else(|problem| respond(&problem));
    page.permit(response.headers_mut());
    response
}

async fn route(context: &Context, request: Request<Incoming>) -> Result<Response<Body>, Problem> {
    if upgrade::is_asked_for(&request) {
        return upgrade::answer(context, request);
    }
    if topics::is_about(request.uri().path()) {
        return Ok(topics::answer(context, request).await);
    }
    // The others are rarer and larger.
    Box::pin(fall_back(context, request)).await
}

async fn fall_back(context: &Context, request: Request<Incoming>) -> Result<Response<Body>, Problem> {
    let (parts, body) = request.into_parts();
    let body = context.read_body(body, usize::MAX).await?;
    Ok(context.web().fallback.answer(Request::from_parts(parts, body), context.link()).await)
}

/// What cannot be read for sure ends the connection: what comes behind it may be a part of it.
fn last(mut response: Response<Body>, version: Version) -> Response<Body> {
    if version <= Version::HTTP_11 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Has the body chunked once at most (RFC 9112 §6.1), and the host in one place, and once (§3.2, RFC 9113 §8.3.1): an address
/// in the request's line wins, as it does for every proxy in between.
fn normalise(request: &mut Request<Incoming>) -> Result<(), Problem> {
    let host = request.uri().authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    let given = request.headers().get_all(HOST).iter().count();
    let is_right = if request.version() == Version::HTTP_11 { given == 1 } else { given <= 1 };
    if !is_right {
        return Err(Problem::bad_request("a request has one `Host`"));
    }
    let codings = request.headers().get_all(TRANSFER_ENCODING).iter();
    let is_chunked = |coding: &&str| coding.trim().eq_ignore_ascii_case("chunked");
    let chunked = codings.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).filter(is_chunked);
    if chunked.count() > 1 {
        return Err(Problem::bad_request("a body is chunked once, if at all (RFC 9112 §6.1)"));
    }
    if *request.method() == Method::CONNECT {
        return Err(Problem::new(StatusCode::NOT_IMPLEMENTED, "this is no proxy"));
    }
    if let Some(host) = host {
        request.headers_mut().insert(HOST, host);
    }
    Ok(())
}
