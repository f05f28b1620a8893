//! A stream as server-sent events.

use super::stream::{Event, Form, Found, Listener};
use crate::body::Body;
use crate::context::Context;
use althing_core::verbs::Refusal;
use althing_http::Problem;
use althing_http::event_stream::{self, EventId};
use althing_http::request::Subscription;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Response};
use http_body::Frame;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};

/// When a client comes back after an end that it did not want.
const RETRY_MS: u64 = 2_000;
/// Bytes of one frame; one event may be larger.
const FRAME_BYTES: usize = 16 << 10;
/// For proxies that would wait for the end.
const NO_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// `GET` with `Accept: text/event-stream`.
pub async fn listen(
    context: &Context,
    headers: &HeaderMap,
    subscription: Subscription,
    last: Option<EventId>,
) -> Result<Response<Body>, Problem> {
    let resumed = match last {
        Some(last) => Listener::resume(context, headers, &subscription, Form::Tails, last).await?,
        None => None,
    };
    let mut first = event_stream::opening(RETRY_MS, &welcome(&subscription)).to_vec();
    let listener = match resumed {
        Some((listener, 0)) => listener,
        Some((listener, missed)) => {
            let why = "more came while you were away than is remembered for you";
            first.extend_from_slice(&event_stream::gap(Some(missed), why));
            listener
        }
        None => {
            if last.is_some() {
                let why = "the stream that you were on is gone: what came since then is not here";
                first.extend_from_slice(&event_stream::gap(None, why));
            }
            Listener::begin(context, headers, subscription, Form::Tails).await?
        }
    };
    let heartbeat = Duration::from_secs(u64::from(context.config().event_heartbeat_s.max(1)));
    let body = EventBody {
        listener: Some(listener),
        first: Some(first.into()),
        heartbeat,
        quiet_since: Instant::now(),
        sleep: Box::pin(sleep(heartbeat)),
    };
    let mut response = Response::new(Body::parts(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(event_stream::CONTENT_TYPE));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(NO_BUFFERING, HeaderValue::from_static("no"));
    Ok(response)
}

fn welcome(subscription: &Subscription) -> String {
    let filters: Vec<&str> = subscription.filters.iter().map(|filter| filter.as_str()).take(8).collect();
    format!("listening to {}", filters.join(" "))
}

/// What a client reads. Nobody encodes for one who does not: what comes then waits for its session, as with any subscriber.
struct EventBody {
    /// `None` after the end.
    listener: Option<Listener>,
    first: Option<Bytes>,
    heartbeat: Duration,
    quiet_since: Instant,
    sleep: Pin<Box<Sleep>>,
}

impl EventBody {
    fn poll_bytes(&mut self, cx: &mut TaskContext<'_>) -> Poll<Option<Bytes>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(first));
        }
        let Some(listener) = &mut self.listener else { return Poll::Ready(None) };
        let mut bytes = Vec::new();
        let next = listener.poll_next(cx, |found| {
            match found {
                Found::Event(id, Event::Tail(tail)) => event_stream::write(id, tail, &mut bytes),
                Found::Event(_, Event::Message(..)) => {}
                Found::Lost(lost) => bytes.extend_from_slice(&too_slow(lost)),
            }
            bytes.len() >= FRAME_BYTES
        });
        match next {
            Poll::Ready(Some(Ok(()))) => {
                self.quiet_since = Instant::now();
                Poll::Ready(Some(bytes.into()))
            }
            Poll::Ready(Some(Err(refusal))) => {
                self.listener = None;
                Poll::Ready(Some(farewell(&refusal)))
            }
            Poll::Ready(None) => {
                self.listener = None;
                Poll::Ready(None)
            }
            Poll::Pending => self.poll_heartbeat(cx),
        }
    }

    fn poll_heartbeat(&mut self, cx: &mut TaskContext<'_>) -> Poll<Option<Bytes>> {
        loop {
            ready!(self.sleep.as_mut().poll(cx));
            let due = self.quiet_since + self.heartbeat;
            if due > Instant::now() {
                // There was something to say meanwhile.
                self.sleep.as_mut().reset(due);
                continue;
            }
            self.quiet_since = Instant::now();
            self.sleep.as_mut().reset(self.quiet_since + self.heartbeat);
            return Poll::Ready(match self.listener.as_mut().and_then(Listener::take_drops) {
                Some(0) => Some(Bytes::from_static(event_stream::HEARTBEAT)),
                Some(drops) => Some(too_slow(drops)),
                None => {
                    self.listener = None;
                    None
                }
            });
        }
    }
}

fn too_slow(lost: u64) -> Bytes {
    event_stream::gap(Some(lost), "you read more slowly than messages come")
}

/// The last words of a stream that its client did not end.
fn farewell(refusal: &Refusal) -> Bytes {
    event_stream::gap(None, &format!("the stream ends: {refusal}"))
}

impl http_body::Body for EventBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.get_mut().poll_bytes(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}
