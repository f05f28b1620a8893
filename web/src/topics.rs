//! The language of topics: from what a request wants to the verbs of the broker, and back.
//!
//! - `publishing`: `PUT`, `POST`, `DELETE`, batches; `keys`: the same once and for all.
//! - `reading`: last values. `asking`: questions and their answers.
//! - `stream`: a subscription that outlives its connection for a while; `events`: it as server-sent events; `polling`: it
//!   message by message.

mod asking;
mod events;
mod keys;
mod polling;
mod publishing;
mod reading;
mod stream;

use crate::body::Body;
use crate::context::Context;
use crate::respond::respond;
use althing_core::Message;
use althing_http::event_stream::Tails;
use althing_http::idempotency::{IdempotencyLimits, IdempotencyStore};
use althing_http::request::{Head, Wanted, is_ours, wanted};
use althing_http::{HttpConfig, Problem, properties};
use althing_net::local;
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use keys::Kept;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use stream::Streams;

/// Whether anybody was subscribed to what was published.
const MATCHED: HeaderName = HeaderName::from_static("althing-matched");
/// Whether a message is a last value.
const RETAIN: HeaderName = HeaderName::from_static("althing-retain");
/// The methods of a topic.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, PUT, POST, DELETE, OPTIONS");

/// What requests about topics share beyond their connections.
pub struct Topics {
    /// Events that several listen to are encoded once.
    tails: Mutex<Tails>,
    streams: Streams,
    keys: Mutex<IdempotencyStore<Kept>>,
}

impl Topics {
    /// Nothing as yet.
    pub fn new(config: &HttpConfig) -> Self {
        let limits = IdempotencyLimits {
            keys_max: config.idempotency_keys_max,
            keys_per_identity_max: config.idempotency_keys_per_user_max,
            remembered_s: config.idempotency_remembered_s,
        };
        Self { tails: Mutex::default(), streams: Streams::new(config), keys: Mutex::new(IdempotencyStore::new(limits)) }
    }
}

/// Whether a path is ours.
pub fn is_about(path: &str) -> bool {
    is_ours(path)
}

/// Answers one request.
pub async fn answer(context: &Context, request: Request<Incoming>) -> Response<Body> {
    let mut response = route(context, request).await.unwrap_or_else(|problem| respond(&problem));
    // What a device published must not run as a page of ours, whatever it says it is.
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; sandbox; frame-ancestors 'none'"),
    );
    response
}

async fn route(context: &Context, request: Request<Incoming>) -> Result<Response<Body>, Problem> {
    let (parts, body) = request.into_parts();
    if parts.method == Method::OPTIONS {
        let mut response = empty(StatusCode::NO_CONTENT);
        response.headers_mut().insert(header::ALLOW, METHODS);
        return Ok(response);
    }
    let head =
        Head { method: &parts.method, path: parts.uri.path(), query: parts.uri.query(), headers: &parts.headers };
    match wanted(&head, local::now(), &context.limits().topic)? {
        Wanted::Publish(publication) => publishing::publish(context, &parts.headers, *publication, body).await,
        Wanted::Read { topic, preconditions } => reading::read(context, &parts.headers, topic, &preconditions).await,
        // These are larger, and what they do is more than the allocation.
        Wanted::Stream(subscription, last) => {
            Box::pin(events::listen(context, &parts.headers, subscription, last)).await
        }
        Wanted::Poll(poll) => Box::pin(polling::poll(context, &parts.headers, poll)).await,
        Wanted::Ask(question) => Box::pin(asking::ask(context, &parts.headers, *question, body)).await,
        Wanted::Document(text) => Ok(publishing::json(StatusCode::OK, text)),
        Wanted::Batch { guarantee, key } => {
            Box::pin(publishing::publish_batch(context, &parts.headers, guarantee, key, body)).await
        }
    }
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// A message as a response of its own.
fn representation(message: &Message) -> Response<Body> {
    let mut response = Response::new(Body::from(message.payload.clone()));
    let headers = response.headers_mut();
    properties::write(message, local::now(), headers);
    // Whoever has it may keep it, and asks before it is used again.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// Text of ours as a value of a header.
fn value(text: &str) -> HeaderValue {
    // Numbers, digests and paths are visible ASCII.
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// 128 bits that nobody can guess.
fn secret() -> u128 {
    let mut bytes = [0; 16];
    #[expect(clippy::expect_used, reason = "the system has entropy, or nothing here is safe")]
    getrandom::fill(&mut bytes).expect("the system gives no random bytes");
    u128::from_ne_bytes(bytes)
}

/// Nothing panics under these locks, and nobody waits under them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for Topics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Topics").finish_non_exhaustive()
    }
}

/// The share of a context that outlives its connection.
fn shared(context: &Context) -> Arc<Topics> {
    Arc::clone(&context.web().topics)
}
