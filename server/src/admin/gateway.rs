//! The way from the HTTP listeners, which the shard serves, to the administrators' thread: the shard never waits for it.
//!
//! A request travels whole; what comes back travels part by part, so that a stream of events does, too. Whoever goes away
//! on one side is gone on the other.

use super::connections::Peer;
use crate::config::Listen;
use althing_core::Link;
use althing_http::Problem;
use althing_net::Address;
use althing_web::{Body, Fallback, respond};
use axum::Router;
use axum::body::Body as AxumBody;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame};
use hyper::header::{HeaderValue, SET_COOKIE};
use hyper::{Request, Response, StatusCode};
use std::convert::Infallible;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::{mpsc, oneshot};
use tower::ServiceExt;

/// Requests that wait for the administrators' thread. People make few of them.
const WAITING_MAX: usize = 64;

/// Requests that it works on at once, streams of events included.
const ACTIVE_MAX: usize = 256;

/// Parts of a response that wait for a slow reader.
const PARTS_MAX: usize = 4;

/// Marks requests whose `Host` was looked at where they came in, or that came inside TLS, where the certificate has said
/// whom the page meant.
#[derive(Clone, Copy, Debug)]
pub struct HostIsOurs;

/// The end of the way at the listeners.
#[derive(Clone, Debug)]
pub struct Gateway {
    jobs: mpsc::Sender<Job>,
}

/// The other end.
#[derive(Debug)]
pub struct Jobs {
    jobs: mpsc::Receiver<Job>,
}

/// A request, and who waits for the response.
#[derive(Debug)]
struct Job {
    request: Request<Bytes>,
    peer: Peer,
    answer: oneshot::Sender<Response<Body>>,
}

impl Gateway {
    /// Both ends.
    pub fn new() -> (Self, Jobs) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        (Self { jobs: sender }, Jobs { jobs: receiver })
    }

    /// What a listener does with requests that are not its own.
    pub fn fallback(&self, listen: &Listen) -> Arc<dyn Fallback> {
        let (is_tls, address) = (listen.tls.is_some(), &listen.address);
        let local = match address {
            Address::Tcp(address) => *address,
            Address::Unix(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        };
        let is_here = local.ip().to_canonical().is_loopback() && !listen.proxy_protocol;
        Arc::new(Entrance { gateway: self.clone(), local, is_tls, is_closed: !is_tls && !is_here })
    }
}

/// The way in at one listener.
struct Entrance {
    gateway: Gateway,
    local: SocketAddr,
    is_tls: bool,
    /// Passwords and tokens would travel in the open.
    is_closed: bool,
}

impl Fallback for Entrance {
    fn answer(&self, request: Request<Bytes>, link: &Link) -> Pin<Box<dyn Future<Output = Response<Body>> + Send>> {
        let remote = link.remote.unwrap_or(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
        let answer = match self.is_closed {
            true => Err(Problem::new(
                StatusCode::FORBIDDEN,
                "administrators and their console come from this machine, or inside TLS; topics are below /topics/",
            )),
            false => self.send(request, Peer::Tcp { remote, local: self.local }),
        };
        let is_tls = self.is_tls;
        Box::pin(async move {
            let answer = match answer {
                Ok(answer) => answer,
                Err(problem) => return respond(&problem),
            };
            let Ok(mut response) = answer.await else { return respond(&stopping()) };
            if is_tls {
                keep_cookies_inside_tls(&mut response);
            }
            response
        })
    }
}

impl Entrance {
    fn send(&self, request: Request<Bytes>, peer: Peer) -> Result<oneshot::Receiver<Response<Body>>, Problem> {
        let (answer, response) = oneshot::channel();
        match self.gateway.jobs.try_send(Job { request, peer, answer }) {
            Ok(()) => Ok(response),
            Err(mpsc::error::TrySendError::Full(_)) => {
                let text = "administrators ask for too much at once; try again";
                Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, text).retry_after_s(1))
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Err(stopping()),
        }
    }
}

fn stopping() -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "nobody serves administrators here: admin.enabled is false, or the broker stops",
    )
}

/// What was set inside TLS is not sent outside of it.
fn keep_cookies_inside_tls(response: &mut Response<Body>) {
    for (_, value) in response.headers_mut().iter_mut().filter(|(name, _)| **name == SET_COOKIE) {
        let secure = [value.as_bytes(), b"; Secure"].concat();
        if let Ok(secure) = HeaderValue::from_bytes(&secure) {
            *value = secure;
        }
    }
}

impl Jobs {
    /// Has `router` serve what comes, on this thread.
    pub async fn serve(mut self, router: Router) {
        let places = Arc::new(tokio::sync::Semaphore::new(ACTIVE_MAX));
        while let Some(job) = self.jobs.recv().await {
            // Closed by nobody.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let router = router.clone();
            tokio::spawn(async move {
                let _place = place;
                job.serve(router).await;
            });
        }
    }
}

impl Job {
    async fn serve(self, router: Router) {
        let Self { request, peer, mut answer } = self;
        let mut request = request.map(AxumBody::from);
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(HostIsOurs);
        let response = tokio::select! {
            response = router.oneshot(request) => response,
            () = answer.closed() => return,
        };
        let Ok(response) = response;
        let (parts, body) = response.into_parts();
        if body.size_hint().exact().is_some() {
            // All of it is there.
            let body = body.collect().await.map_or_else(|_| Body::empty(), |whole| Body::Whole(whole.to_bytes()));
            let _ = answer.send(Response::from_parts(parts, body));
            return;
        }
        let (sender, receiver) = mpsc::channel(PARTS_MAX);
        // Whoever asked may have gone.
        if answer.send(Response::from_parts(parts, Body::parts(Received(receiver)))).is_ok() {
            pass_on(body, &sender).await;
        }
    }
}

/// Part by part, until the body ends or nobody reads it any more.
async fn pass_on(mut body: AxumBody, parts: &mpsc::Sender<Frame<Bytes>>) {
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            () = parts.closed() => return,
        };
        let Some(Ok(frame)) = frame else { return };
        if parts.send(frame).await.is_err() {
            return;
        }
    }
}

/// The other end of [`pass_on`].
struct Received(mpsc::Receiver<Frame<Bytes>>);

impl hyper::body::Body for Received {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}
