//! One connection: its requests, its deadlines, its end.

use crate::anchors::Anchors;
use crate::body::{Body, Parts, StreamError};
use crate::context::Context;
use crate::routing;
use crate::web::Web;
use crate::wire::Wire;
use althing_core::Link;
use althing_net::{Visitor, local};
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::{Frame, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// What the requests of one connection share.
#[derive(Debug)]
pub struct Conversation {
    pub link: Link,
    pub anchors: Anchors,
    /// For [`Wire`].
    is_good: Arc<AtomicBool>,
    /// Requests that are being served, and all that have begun.
    active: AtomicU32,
    begun: AtomicU32,
    /// Requests that were refused for want of credentials.
    refused: AtomicU32,
}

/// So many wrong credentials in one connection; then whoever guesses has to come again, and pays for it at admission.
const REFUSED_MAX: u32 = 4;

/// Serves `visitor` until one of both has had enough.
pub async fn serve(web: Arc<Web>, visitor: Visitor) {
    let is_good = Arc::<AtomicBool>::default();
    let conversation = Arc::new(Conversation {
        link: visitor.link().clone(),
        anchors: Anchors::new(web.config.sessions_per_connection_max),
        is_good: Arc::clone(&is_good),
        active: AtomicU32::new(0),
        begun: AtomicU32::new(0),
        refused: AtomicU32::new(0),
    });
    let context = Context::new(Arc::clone(&web), Arc::clone(&conversation));
    let service = service_fn(move |request| {
        let context = context.clone();
        let active = Active::new(&context);
        async move {
            let response = routing::answer(&context, request).await;
            let response = active.conversation().concluded(response);
            Ok::<_, Infallible>(response.map(|body| lasting(body, active)))
        }
    });
    let stream = TokioIo::new(Wire::new(visitor, is_good));
    let mut connection = pin!(web.builder.serve_connection_with_upgrades(stream, service));
    let mut closing = pin!(local::closing());
    let header_timeout = Duration::from_millis(web.config.header_timeout_ms);
    let keep_alive_timeout = Duration::from_millis(web.config.keep_alive_timeout_ms);
    let mut deadline = pin!(sleep_until(Instant::now() + header_timeout));
    let (mut is_ending, mut begun_before) = (false, 0);
    loop {
        tokio::select! {
            biased;
            // What goes wrong with a connection concerns its peer alone.
            _ = &mut connection => return,
            () = &mut closing, if !is_ending => {
                is_ending = true;
                connection.as_mut().graceful_shutdown();
            }
            () = &mut deadline => {
                let begun = conversation.begun.load(Ordering::Relaxed);
                if begun == 0 {
                    return;
                }
                let is_idle = conversation.active.load(Ordering::Relaxed) == 0 && begun == begun_before;
                if is_idle && !is_ending {
                    // HTTP/2 has no other end of idleness.
                    is_ending = true;
                    connection.as_mut().graceful_shutdown();
                } else if is_idle {
                    return;
                }
                begun_before = begun;
                deadline.as_mut().reset(Instant::now() + keep_alive_timeout);
            }
        }
    }
}

impl Conversation {
    /// Draws the consequences of a response for the connection.
    fn concluded<B>(&self, mut response: Response<B>) -> Response<B> {
        match response.status() {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let refused = self.refused.fetch_add(1, Ordering::Relaxed) + 1;
                if refused >= REFUSED_MAX {
                    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
            }
            status if status.is_success() || status == StatusCode::NOT_MODIFIED => {
                self.is_good.store(true, Ordering::Relaxed);
            }
            _ => {}
        }
        response
    }
}

/// A request that is being served, as long as this lives.
struct Active(Context);

impl Active {
    fn new(context: &Context) -> Self {
        let conversation = context.conversation();
        conversation.active.fetch_add(1, Ordering::Relaxed);
        conversation.begun.fetch_add(1, Ordering::Relaxed);
        Self(context.clone())
    }

    fn conversation(&self) -> &Conversation {
        self.0.conversation()
    }
}

/// A body that goes on for a while: its request is served as long as it lives.
struct Lasting {
    parts: Parts,
    _active: Active,
}

/// A body that leaves as a whole needs nobody to wait for it.
fn lasting(body: Body, active: Active) -> Body {
    match body {
        Body::Whole(_) => body,
        Body::Parts(parts) => Body::Parts(Box::pin(Lasting { parts, _active: active })),
    }
}

impl http_body::Body for Lasting {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        self.parts.as_mut().poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.parts.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.parts.size_hint()
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.conversation().active.fetch_sub(1, Ordering::Relaxed);
    }
}
