//! Requests with an `Idempotency-Key`: carried out once, however often they come.

use super::{Topics, lock, shared};
use crate::anchor::Anchor;
use crate::body::Body;
use crate::context::Context;
use crate::credentials::Credentials;
use althing_core::verbs::{Connect, Reason, Refusal};
use althing_http::Problem;
use althing_http::idempotency::{Begin, KeyId, REPLAYED, RequestDigest};
use althing_net::local;
use bytes::Bytes;
use http::header::HeaderValue;
use http::{HeaderMap, Response, StatusCode};
use std::future::Future;
use std::sync::Arc;

/// Bytes of an answer that are remembered; of longer ones a summary is.
const BODY_BYTES_MAX: usize = 2_048;

/// An answer that can be given again.
#[derive(Clone, Debug)]
pub struct Kept {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    /// In place of a body that is too long to be kept.
    summary: Option<Bytes>,
}

impl Kept {
    /// An answer with a body, and what stands for it in a repeat when it is too long.
    pub fn new(response: Response<Body>, summary: String) -> Self {
        Self { summary: Some(summary.into()), ..Self::from(response) }
    }

    fn response(self, body: Bytes) -> Response<Body> {
        let mut response = Response::new(Body::from(body));
        (*response.status_mut(), *response.headers_mut()) = (self.status, self.headers);
        response
    }
}

impl From<Response<Body>> for Kept {
    fn from(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let body = match body {
            Body::Whole(bytes) => bytes,
            Body::Parts(_) => Bytes::new(),
        };
        Self { status: parts.status, headers: parts.headers, body, summary: None }
    }
}

/// The session that remembers a key for the broker: as long as it is there, what was published in it under a token is not
/// published again.
pub async fn session(context: &Context, credentials: Credentials, key: KeyId) -> Result<Anchor, Refusal> {
    let connect = Connect {
        client: Some(key.client_id()),
        clean_start: false,
        session_expiry_s: context.config().idempotency_remembered_s,
        ..credentials.into_connect()
    };
    let session = Anchor::open(context.link(), connect)?;
    session.stands().await?;
    Ok(session)
}

/// Carries a request out, or answers as it was answered before. It is carried out to its end even when the client has gone
/// meanwhile: it will ask again.
pub async fn once<F>(
    context: &Context,
    headers: &HeaderMap,
    key: &str,
    request: RequestDigest,
    carry_out: impl FnOnce(KeyId) -> F,
) -> Result<Response<Body>, Problem>
where
    F: Future<Output = Result<Kept, Problem>> + Send + 'static,
{
    let name = context.anchor(headers).await?.guest().standing().name.unwrap_or_default();
    let topics = shared(context);
    let key = KeyId::new(&name, key);
    if let Begin::Replay(kept) = lock(&topics.keys).begin(local::now().mono_ns, &name, key, request)? {
        let body = kept.body.clone();
        let mut response = kept.response(body);
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        return Ok(response);
    }
    let mut run = Run { topics, key, is_over: false };
    let carry_out = carry_out(key);
    let task = tokio::spawn(async move {
        let result = carry_out.await;
        run.finish(result.as_ref().ok());
        result
    });
    let stopped = |_| Problem::from(Refusal::new(Reason::ShuttingDown, "the broker is stopping; ask again"));
    let kept = task.await.map_err(stopped)??;
    let body = kept.body.clone();
    Ok(kept.response(body))
}

/// A request under way. However it ends, its key is settled.
struct Run {
    topics: Arc<Topics>,
    key: KeyId,
    is_over: bool,
}

impl Run {
    /// It was carried out and is answered, or (`None`) refused and may be tried again.
    fn finish(&mut self, kept: Option<&Kept>) {
        self.is_over = true;
        let kept = kept.cloned().map(|mut kept| {
            if let Some(summary) = kept.summary.take().filter(|_| kept.body.len() > BODY_BYTES_MAX) {
                kept.body = summary;
            }
            kept
        });
        lock(&self.topics.keys).finish(local::now().mono_ns, self.key, kept);
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if !self.is_over {
            // Without an answer the time does not matter.
            lock(&self.topics.keys).finish(0, self.key, None);
        }
    }
}
