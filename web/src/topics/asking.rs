//! Questions: a message published, and what somebody answers to it.

use super::publishing::{json, payload};
use super::{representation, secret, stream};
use crate::anchor::Anchor;
use crate::body::Body;
use crate::context::Context;
use crate::credentials::Credentials;
use althing_core::verbs::{Outcome, Refusal};
use althing_core::{Delivery, Filter, Guarantee, Message, Properties, Request, Topic};
use althing_http::Problem;
use althing_http::event_stream::Data;
use althing_http::json::object;
use althing_http::request::{Question, Subscription};
use althing_net::local;
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use hyper::body::Incoming;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Answers on their way at once.
const WINDOW: u16 = 64;

/// `POST /request/{topic}`.
pub async fn ask(
    context: &Context,
    headers: &HeaderMap,
    question: Question,
    body: Incoming,
) -> Result<Response<Body>, Problem> {
    let Question { publication, wait_s, answers_max } = question;
    let mut message = publication.message;
    message.payload = payload(context, &message, body).await?;
    let (session, answers_to) = listening_session(context, headers).await?;
    let mut properties = message.properties.as_deref().cloned().unwrap_or_default();
    let correlation =
        properties.correlation_data.get_or_insert_with(|| Bytes::copy_from_slice(&secret().to_be_bytes()));
    let correlation = correlation.clone();
    properties.response_topic = Some(answers_to);
    message.properties = Some(Arc::new(Properties { ..properties }));
    let deadline = Instant::now() + Duration::from_secs(u64::from(wait_s));
    let accepted = session.publish(message).await?;
    if !accepted.matched {
        return Err(Problem::new(StatusCode::NOT_FOUND, "nobody listens to this topic, so nobody will answer"));
    }
    let Some(answers_max) = answers_max else {
        let answer = timeout_at(deadline, next_answer(&session, &correlation)).await;
        let late = |_| Problem::new(StatusCode::GATEWAY_TIMEOUT, format!("nobody has answered in {wait_s} s"));
        return Ok(representation(&answer.map_err(late)??));
    };
    let mut answers = Vec::new();
    while answers.len() < answers_max
        && let Ok(answer) = timeout_at(deadline, next_answer(&session, &correlation)).await
    {
        let answer = answer?;
        answers.push(object::write(&answer, answer.guarantee, false, local::now()));
    }
    let list = format!("[{}]", String::from_utf8_lossy(&answers.join(&b","[..])));
    Ok(json(StatusCode::OK, list))
}

/// A session that listens to a topic of its own, which is that of its answers.
async fn listening_session(context: &Context, headers: &HeaderMap) -> Result<(Anchor, Topic), Problem> {
    let client = format!("http-request-{:032x}", secret());
    let limits = &context.limits().topic;
    let topic = Topic::new(format!("reply/{client}").into(), limits);
    let topic = topic.map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let mut connect = Credentials::of(headers)?.into_connect();
    (connect.client, connect.window) = (Some(client.into()), WINDOW);
    let session = Anchor::open(context.link(), connect)?;
    session.stands().await?;
    let subscription = Subscription {
        filters: vec![Filter::exactly(&topic)],
        guarantee: Guarantee::AtLeastOnce,
        wants_retained: false,
        data: Data::Json,
    };
    stream::subscribe(&session, &subscription).await?;
    Ok((session, topic))
}

/// The next answer to this question. One that does not say what it answers came to nobody else's topic.
async fn next_answer(session: &Anchor, correlation: &Bytes) -> Result<Message, Refusal> {
    let mut deliveries: Vec<Delivery> = Vec::new();
    loop {
        poll_fn(|cx| session.poll_deliveries(cx, &mut deliveries, 1)).await?;
        for delivery in deliveries.drain(..) {
            if delivery.number != 0 {
                session.tell(Request::Settle { number: delivery.number, outcome: Outcome::Accept });
            }
            let properties = delivery.message.properties.as_deref();
            let answers = properties.and_then(|properties| properties.correlation_data.as_ref());
            if answers.is_none_or(|answers| answers == correlation) {
                return Ok(Message { guarantee: delivery.guarantee, ..(*delivery.message).clone() });
            }
        }
    }
}
