//! Which handler answers a request.

use crate::body::Body;
use crate::context::Context;
use crate::respond::respond;
use crate::{origin, topics, upgrade};
use althing_http::Problem;
use http::header::HOST;
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;

/// Answers one request.
pub async fn answer(context: &Context, mut request: Request<Incoming>) -> Response<Body> {
    normalise(&mut request);
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

/// HTTP/2 has the host in the address; nobody behind us has to know.
fn normalise(request: &mut Request<Incoming>) {
    if !request.headers().contains_key(HOST)
        && let Some(authority) = request.uri().authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        request.headers_mut().insert(HOST, host);
    }
}
