//! A stream message by message, for those who cannot read one.

use super::stream::{self, Event, Form, Found, Listener};
use super::{RETAIN, empty, representation, value};
use crate::anchor::Anchor;
use crate::body::Body;
use crate::context::Context;
use althing_core::verbs::{Outcome, Reason, Refusal};
use althing_core::{Delivery, Message, Request};
use althing_http::request::{Poll as PollRequest, Sequence};
use althing_http::validators::{Preconditions, Verdict, etag};
use althing_http::{Problem, path};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LOCATION, ETAG, HeaderName, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use http_body::{Frame, SizeHint};
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;
use tokio::time::timeout;

/// Where a sequence of polls stands.
const EVENT_ID: HeaderName = HeaderName::from_static("althing-event-id");
/// How many messages came between two polls and were forgotten.
const MISSED: HeaderName = HeaderName::from_static("althing-missed");

/// `GET` with `?wait=`.
pub async fn poll(context: &Context, headers: &HeaderMap, poll: PollRequest) -> Result<Response<Body>, Problem> {
    let wait = Duration::from_secs(u64::from(poll.wait_s));
    let (mut listener, mut missed) = match poll.sequence {
        Sequence::Single => return poll_once(context, headers, &poll, wait).await,
        Sequence::First => (Listener::begin(context, headers, poll.subscription.clone(), Form::Messages).await?, 0),
        Sequence::After(last) => {
            let resumed = Listener::resume(context, headers, &poll.subscription, Form::Messages, last).await?;
            let gone = || {
                let detail =
                    "what came after that message is not remembered any more; begin again with an empty ?after=";
                Problem::new(StatusCode::GONE, detail)
            };
            resumed.ok_or_else(gone)?
        }
    };
    let next = timeout(wait, next(&mut listener, &poll.preconditions, &mut missed)).await;
    let mut response = match next {
        Ok(found) => {
            let (message, retain) = found?;
            shown(&message, retain)
        }
        Err(_) => empty(StatusCode::NO_CONTENT),
    };
    let headers = response.headers_mut();
    headers.insert(EVENT_ID, value(&listener.at().to_string()));
    if missed > 0 {
        headers.insert(MISSED, missed.into());
    }
    Ok(response)
}

/// The next message of a stream that the client does not have.
async fn next(listener: &mut Listener, has: &Preconditions, missed: &mut u64) -> Result<(Arc<Message>, bool), Refusal> {
    let ended = || Refusal::new(Reason::SessionTakenOver, "another poll goes on with this sequence");
    let mut next = None;
    while next.is_none() {
        let shown = poll_fn(|cx| {
            listener.poll_next(cx, |found| {
                match found {
                    Found::Event(_, Event::Message(message, retain)) if is_new(message, *retain, has) => {
                        next = Some((Arc::clone(message), *retain));
                    }
                    Found::Event(..) => {}
                    Found::Lost(lost) => *missed += lost,
                }
                next.is_some()
            })
        });
        shown.await.ok_or_else(ended)??;
    }
    next.ok_or_else(ended)
}

/// A last value that the client has already is no news.
fn is_new(message: &Message, retain: bool, has: &Preconditions) -> bool {
    !retain || has.check(Some(&etag(message))) != Verdict::NotModified
}

/// One poll alone. What competes for a queue gets one message, and has taken it when the answer has left.
async fn poll_once(
    context: &Context,
    headers: &HeaderMap,
    poll: &PollRequest,
    wait: Duration,
) -> Result<Response<Body>, Problem> {
    let session = context.own_session(headers, 1).await?;
    stream::subscribe(&session, &poll.subscription).await?;
    let Ok(delivery) = timeout(wait, next_delivery(&session, &poll.preconditions)).await else {
        return Ok(empty(StatusCode::NO_CONTENT));
    };
    let delivery = delivery?;
    let message = Message { guarantee: delivery.guarantee, ..(*delivery.message).clone() };
    let response = shown(&message, delivery.retain);
    if delivery.number == 0 {
        return Ok(response);
    }
    let settling = Settling { payload: Some(message.payload), is_taken: false, session, number: delivery.number };
    Ok(response.map(|_| Body::parts(settling)))
}

async fn next_delivery(session: &Anchor, has: &Preconditions) -> Result<Delivery, Refusal> {
    let mut deliveries = Vec::new();
    loop {
        // One at a time: what is not taken goes to somebody else.
        poll_fn(|cx| session.poll_deliveries(cx, &mut deliveries, 1)).await?;
        for delivery in deliveries.drain(..) {
            if is_new(&delivery.message, delivery.retain, has) {
                return Ok(delivery);
            }
            settle(session, delivery.number);
        }
    }
}

fn settle(session: &Anchor, number: u32) {
    if number != 0 {
        session.tell(Request::Settle { number, outcome: Outcome::Accept });
    }
}

/// A message as an answer: a poll may be for several topics, so it says which.
fn shown(message: &Message, retain: bool) -> Response<Body> {
    let mut response = representation(message);
    let headers = response.headers_mut();
    headers.insert(CONTENT_LOCATION, value(&path::of_topic(&message.topic)));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if retain {
        headers.insert(ETAG, value(&etag(message)));
        headers.insert(RETAIN, HeaderValue::from_static("true"));
    }
    response
}

/// A payload whose delivery is settled when it has left. When it has not, the session ends with the delivery, and a queue
/// gives the message to somebody else.
struct Settling {
    payload: Option<Bytes>,
    is_taken: bool,
    session: Anchor,
    number: u32,
}

impl http_body::Body for Settling {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.is_taken = true;
        Poll::Ready(self.payload.take().map(|payload| Ok(Frame::data(payload))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.payload.as_ref().map_or(0, |payload| payload.len() as u64))
    }
}

impl Drop for Settling {
    fn drop(&mut self) {
        if self.is_taken {
            settle(&self.session, self.number);
        }
    }
}
