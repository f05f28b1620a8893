//! Watching one client, topic or address, as it happens.

use crate::admin::Admin;
use crate::admin::problem::{Asked, Problem};
use althing_core::Filter;
use althing_net::{TraceEvent, TraceQuery};
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Frame;
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::{Sleep, sleep};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// How long, if not said, and at most.
const SECONDS: u64 = 60;
const SECONDS_MAX: u64 = 600;

/// Events that wait for the reader; what comes beyond is counted and left out.
const WAITING_MAX: usize = 512;

pub fn routes() -> OpenApiRouter<Arc<Admin>> {
    OpenApiRouter::new().routes(routes!(trace))
}

/// What to watch: one of client, topic and address at least.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// The client id.
    client: Option<String>,
    /// A topic filter: messages of these topics alone.
    topic: Option<String>,
    /// The IP address of the peer.
    #[param(value_type = Option<String>)]
    address: Option<IpAddr>,
    /// How long: 60, if not said; at most 600.
    seconds: Option<u64>,
}

impl Wanted {
    fn query(&self, admin: &Admin) -> Result<TraceQuery, Problem> {
        if self.client.is_none() && self.topic.is_none() && self.address.is_none() {
            return Err(Problem::bad("say what to watch: client=…, topic=… or address=…"));
        }
        let filter = self.topic.as_deref().map(|topic| {
            let filter = Filter::new(topic.into(), &admin.config.limits.topic);
            filter.map_err(|error| Problem::bad(format!("topic={topic:?} is not a topic filter: {error}")))
        });
        let client = self.client.as_deref().map(Into::into);
        Ok(TraceQuery { client, filter: filter.transpose()?, address: self.address.map(|it| it.to_canonical()) })
    }
}

/// One thing that happened.
#[derive(Debug, Default, Serialize, ToSchema)]
struct Happening {
    /// Milliseconds since 1970.
    at_ms: u64,
    /// A verb like publish, deliver, subscribe; `trace` for words about the trace itself.
    what: &'static str,
    /// `in` from the peer, `out` to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    way: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote: Option<String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    listener: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    qos: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retain: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<String>,
    /// Events before this one that came too fast to be shown.
    #[serde(skip_serializing_if = "is_zero")]
    left_out: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl From<TraceEvent> for Happening {
    fn from(event: TraceEvent) -> Self {
        let message = event.message;
        Self {
            at_ms: event.at_ms,
            what: event.what,
            way: event.from_peer.map(|from_peer| if from_peer { "in" } else { "out" }),
            client: event.client.map(|client| client.to_string()),
            remote: event.remote.map(|remote| remote.to_string()),
            listener: event.listener,
            topic: message.as_ref().map(|message| message.topic.to_string()),
            qos: message.as_ref().map(|message| message.qos),
            retain: message.as_ref().map(|message| message.retain),
            payload_bytes: message.as_ref().map(|message| message.payload_bytes),
            details: event.details,
            left_out: event.left_out,
        }
    }
}

/// What happens from now on, an object a line (or server-sent events, for `Accept: text/event-stream`), until the time is
/// over. No payloads are shown.
#[utoipa::path(
    get, path = "/api/v1/trace", params(Wanted),
    responses((status = 200, body = Happening, content_type = "application/x-ndjson"), (status = 400), (status = 429))
)]
async fn trace(
    State(admin): State<Arc<Admin>>,
    headers: HeaderMap,
    Asked(wanted): Asked<Wanted>,
) -> Result<Response, Problem> {
    let query = wanted.query(&admin)?;
    let seconds = wanted.seconds.unwrap_or(SECONDS);
    if !(1..=SECONDS_MAX).contains(&seconds) {
        return Err(Problem::bad(format!("seconds={seconds} is out of range: from 1 to {SECONDS_MAX}")));
    }
    let time = Duration::from_secs(seconds);
    let (sink, events) = channel(WAITING_MAX);
    let begun = admin.shard.run(move |inside| {
        let until_ns = inside.now().after_ms(time.as_millis() as u64);
        (inside.trace(query, until_ns, sink), inside.now().wall_ms)
    });
    let (is_watching, at_ms) = begun.await?;
    if !is_watching {
        let text = "as many traces run as may at once: wait for one of them to end";
        return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, text));
    }
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let form = if accept.contains("text/event-stream") { Form::Events } else { Form::Lines };
    let details = Some(format!("for {seconds} s"));
    let first = Happening { at_ms, what: "trace", details, ..Happening::default() };
    let stream = Stream { first: Some(first), events, end: Box::pin(sleep(time)), form };
    Ok(([(header::CONTENT_TYPE, form.content_type())], Body::new(stream)).into_response())
}

/// How events are written.
#[derive(Clone, Copy)]
enum Form {
    Lines,
    Events,
}

impl Form {
    fn content_type(self) -> &'static str {
        match self {
            Self::Lines => "application/x-ndjson",
            Self::Events => "text/event-stream",
        }
    }

    fn write(self, happening: &Happening) -> Bytes {
        // It is made of texts and numbers, which always can be written.
        let json = serde_json::to_string(happening).unwrap_or_default();
        match self {
            Self::Lines => format!("{json}\n").into(),
            Self::Events => format!("data: {json}\n\n").into(),
        }
    }
}

/// The body of the answer. Dropping it ends the trace.
struct Stream {
    first: Option<Happening>,
    events: Receiver<TraceEvent>,
    end: Pin<Box<Sleep>>,
    form: Form,
}

impl HttpBody for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let form = self.form;
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(form.write(&first)))));
        }
        if self.end.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        let event = std::task::ready!(self.events.poll_recv(cx));
        Poll::Ready(event.map(|event| Ok(Frame::data(form.write(&event.into())))))
    }
}
