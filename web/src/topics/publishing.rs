//! Messages on their way in.
//!
//! A success above `qos` 0 leaves when everything that it promises is durable: the broker answers no sooner.

use super::keys::{self, Kept};
use super::{MATCHED, empty, value};
use crate::anchor::Anchor;
use crate::body::Body;
use crate::context::Context;
use crate::credentials::Credentials;
use althing_core::verbs::{Accepted, Publish, Refusal};
use althing_core::{Answer, Guarantee, Message, Reason, Request};
use althing_http::Problem;
use althing_http::batch::{self, BatchAnswer};
use althing_http::idempotency::{KeyId, RequestDigest};
use althing_http::request::Publication;
use althing_http::validators::{Preconditions, etag};
use althing_net::local;
use bytes::Bytes;
use bytestring::ByteString;
use http::header::{CONTENT_TYPE, ETAG, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use hyper::body::Incoming;
use std::future::poll_fn;
use std::task::Poll;

/// `PUT`, `POST` and `DELETE` of a topic.
pub async fn publish(
    context: &Context,
    headers: &HeaderMap,
    publication: Publication,
    body: Incoming,
) -> Result<Response<Body>, Problem> {
    let Publication { mut message, has_body, preconditions, key } = publication;
    if has_body {
        message.payload = payload(context, &message, body).await?;
    }
    let tag = (message.retain && !message.payload.is_empty()).then(|| etag(&message));
    let Some(key) = key else {
        let accepted = if preconditions.is_empty() {
            context.anchor(headers).await?.publish(message.clone()).await?
        } else {
            let session = context.own_session(headers, 1).await?;
            publish_if(&session, message.clone(), None, &preconditions).await?
        };
        return Ok(accepted_response(status(message.guarantee), accepted, tag.as_deref()));
    };
    let retain = [u8::from(message.retain)];
    let etag = etag(&message);
    let digest = RequestDigest::new([message.topic.as_str().as_bytes(), &retain[..], etag.as_bytes()]);
    let carry_out = {
        let context = context.clone();
        let credentials = Credentials::of(headers)?;
        move |key: KeyId| async move {
            message.guarantee = Guarantee::ExactlyOnce;
            let session = keys::session(&context, credentials, key).await?;
            let accepted = publish_if(&session, message, Some(1), &preconditions).await?;
            Ok(Kept::from(accepted_response(StatusCode::NO_CONTENT, accepted, tag.as_deref())))
        }
    };
    keys::once(context, headers, &key, digest, carry_out).await
}

/// `POST /topics:batch`: in order, each for itself.
pub async fn publish_batch(
    context: &Context,
    headers: &HeaderMap,
    guarantee: Guarantee,
    key: Option<ByteString>,
    body: Incoming,
) -> Result<Response<Body>, Problem> {
    let body = context.read_body(body, usize::MAX).await?;
    let messages = batch::read(&body, guarantee, local::now(), &context.limits().topic)?;
    let Some(key) = key else {
        let session = context.anchor(headers).await?;
        let answer = publish_all(&session, messages, false).await;
        return Ok(json(answer.status(), answer.body()));
    };
    let digest = RequestDigest::new([&body[..]]);
    let carry_out = {
        let context = context.clone();
        let credentials = Credentials::of(headers)?;
        move |key: KeyId| async move {
            let session = keys::session(&context, credentials, key).await?;
            let answer = publish_all(&session, messages, true).await;
            Ok(Kept::new(json(answer.status(), answer.body()), answer.summary().body()))
        }
    };
    keys::once(context, headers, &key, digest, carry_out).await
}

/// All on their way before the first is waited for: what has to become durable does so together. With `is_once`, the
/// place of each is its token in the session of a key.
async fn publish_all(session: &Anchor, messages: Vec<Result<Message, Problem>>, is_once: bool) -> BatchAnswer {
    let mut under_way = Vec::with_capacity(messages.len());
    for (place, message) in messages.into_iter().enumerate() {
        poll_fn(|cx| session.guest().poll_ready(cx)).await;
        let token = is_once.then(|| place as u32 + 1);
        let mut one = Box::pin(async move {
            let mut message = message?;
            if is_once {
                message.guarantee = Guarantee::ExactlyOnce;
            }
            let status = status(message.guarantee);
            Ok::<_, Problem>((status, publish_once(session, message, token).await?))
        });
        // Its request leaves with the first poll, and so in its turn.
        let first = poll_fn(|cx| Poll::Ready(one.as_mut().poll(cx))).await;
        under_way.push((first, one));
    }
    let mut answer = BatchAnswer::default();
    for (first, one) in under_way {
        let result = match first {
            Poll::Ready(result) => result,
            Poll::Pending => one.await,
        };
        match result {
            Ok((status, accepted)) => answer.accepted(status, accepted.matched),
            Err(problem) => answer.refused(&problem),
        }
    }
    answer
}

async fn publish_once(session: &Anchor, message: Message, token: Option<u32>) -> Result<Accepted, Refusal> {
    let Some(token) = token else { return session.publish(message).await };
    let request = |correlation| Request::Publish(Publish { message, token: Some(token), correlation });
    match session.ask(request).await? {
        Answer::Published { outcome, .. } => outcome,
        _ => Err(Refusal::new(Reason::Unspecified, "the broker has answered something else")),
    }
}

/// Publishes where the last value is what the client thinks. Nobody comes between the look and the change: in a session that has
/// asked for nothing else, the value of a topic of this shard is there at once, and nothing here yields between the two.
async fn publish_if(
    session: &Anchor,
    message: Message,
    token: Option<u32>,
    preconditions: &Preconditions,
) -> Result<Accepted, Problem> {
    if preconditions.is_empty() {
        return Ok(publish_once(session, message, token).await?);
    }
    poll_fn(|cx| session.guest().poll_ready(cx)).await;
    let found = session.fetch(message.topic.clone()).await?;
    preconditions.check_change(found.as_deref().map(etag).as_deref())?;
    Ok(publish_once(session, message, token).await?)
}

/// The payload of a message, checked against what the message says of it.
pub async fn payload(context: &Context, message: &Message, body: Incoming) -> Result<Bytes, Problem> {
    let payload = context.read_body(body, context.limits().packet_bytes_max).await?;
    let says_text = message.properties.as_ref().is_some_and(|it| it.payload_is_utf8 == Some(true));
    if says_text && std::str::from_utf8(&payload).is_err() {
        return Err(Problem::bad_request("the payload is not the UTF-8 that Althing-Payload-Format says it is"));
    }
    Ok(payload)
}

/// 204 when everything is done that was promised, 202 when nothing was.
fn status(guarantee: Guarantee) -> StatusCode {
    match guarantee {
        Guarantee::AtMostOnce => StatusCode::ACCEPTED,
        _ => StatusCode::NO_CONTENT,
    }
}

fn accepted_response(status: StatusCode, accepted: Accepted, tag: Option<&str>) -> Response<Body> {
    let mut response = empty(status);
    let matched = if accepted.matched { "true" } else { "false" };
    response.headers_mut().insert(MATCHED, HeaderValue::from_static(matched));
    if let Some(tag) = tag {
        response.headers_mut().insert(ETAG, value(tag));
    }
    response
}

/// JSON of ours.
pub fn json(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
