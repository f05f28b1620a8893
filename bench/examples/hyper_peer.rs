//! Bare hyper, to compare the HTTP port with: `hyper_peer PORT`. One thread, HTTP/1.1, no topics, no rights, no limits.
//!
//! POST answers with the body of the request. GET is an event stream; PUT sends its body to all of them as one event.

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use std::cell::RefCell;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// One event stream.
struct Events(mpsc::UnboundedReceiver<Bytes>);

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|event| event.map(|event| Ok(Frame::data(event))))
    }
}

type Listeners = Rc<RefCell<Vec<mpsc::UnboundedSender<Bytes>>>>;

async fn answer(
    request: Request<Incoming>,
    listeners: Listeners,
) -> Result<Response<UnsyncBoxBody<Bytes, Infallible>>, hyper::Error> {
    if request.method() == Method::GET {
        let (sender, receiver) = mpsc::unbounded_channel();
        listeners.borrow_mut().push(sender);
        let response =
            Response::builder().header("content-type", "text/event-stream").body(Events(receiver).boxed_unsync());
        return Ok(response.expect("a valid response"));
    }
    let is_event = request.method() == Method::PUT;
    let body = request.into_body().collect().await?.to_bytes();
    if is_event {
        let event = Bytes::from([b"data: ", &body[..], b"\n\n"].concat());
        listeners.borrow_mut().retain(|listener| listener.send(event.clone()).is_ok());
    }
    Ok(Response::new(Full::new(body).boxed_unsync()))
}

fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok()).unwrap_or(8080);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let listeners = Listeners::default();
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let listeners = listeners.clone();
            tokio::task::spawn_local(async move {
                let service = service_fn(|request| answer(request, listeners.clone()));
                // A client that breaks off is its own business.
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    })
}
