//! One publish to many event streams: a running broker against a bare hyper server that does nothing else, in one run.
//!
//! ```text
//! althing serve --port-offset 4000 &
//! ulimit -n 65536
//! cargo run --release -p althing-web --example fan_out -- 127.0.0.1:12080 10000 50
//! ```
//!
//! Prints the milliseconds from a publish to its arrival at the last listener (median of the rounds), and the ratio.

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::env;
use std::io::{BufRead, BufReader};
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Bytes of a payload, as small as telemetry is.
const PAYLOAD_BYTES: usize = 64;

fn main() -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let arguments: Vec<String> = env::args().skip(1).collect();
    match &arguments[..] {
        [bare] if bare == "bare" => runtime.block_on(serve_bare()),
        [broker, listeners, rounds] => {
            let (listeners, rounds) = (listeners.parse()?, rounds.parse()?);
            let mut bare = Command::new(env::current_exe()?).arg("bare").stdout(Stdio::piped()).spawn()?;
            let mut address = String::new();
            BufReader::new(bare.stdout.take().ok_or("no output")?).read_line(&mut address)?;
            let measured = runtime.block_on(async {
                let theirs = measure(address.trim(), listeners, rounds).await?;
                Ok::<_, Error>((theirs, measure(broker, listeners, rounds).await?))
            });
            bare.kill()?;
            bare.wait()?;
            let (theirs, ours) = measured?;
            let ratio = theirs.as_secs_f64() / ours.as_secs_f64() * 100.0;
            println!("bare hyper {theirs:.1?}, broker {ours:.1?}: {ratio:.0} % of bare hyper");
            Ok(())
        }
        _ => Err("fan_out BROKER LISTENERS ROUNDS".into()),
    }
}

/// The median time from a publish to its last arrival.
async fn measure(address: &str, listeners: usize, rounds: usize) -> Result<Duration, Error> {
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    for _ in 0..listeners {
        let mut stream = TcpStream::connect(address).await?;
        let head = "GET /topics/fan/out HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n";
        stream.write_all(head.as_bytes()).await?;
        tokio::spawn(listen(stream, arrived.clone()));
    }
    // Each says once that its stream has begun.
    for _ in 0..listeners {
        arrivals.recv().await.ok_or("nobody listens")?;
    }
    let mut publisher = TcpStream::connect(address).await?;
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let begin = Instant::now();
        let head = "POST /topics/fan/out?qos=0 HTTP/1.1\r\nHost: localhost\r\nContent-Length:";
        let request = format!("{head} {PAYLOAD_BYTES}\r\n\r\n{}", "x".repeat(PAYLOAD_BYTES));
        publisher.write_all(request.as_bytes()).await?;
        for _ in 0..listeners {
            arrivals.recv().await.ok_or("a listener has gone")?;
        }
        times.push(begin.elapsed());
        if publisher.read(&mut [0; 4_096]).await? == 0 {
            return Err("the publisher was closed".into());
        }
    }
    times.sort();
    Ok(times[times.len() / 2])
}

/// Tells of the beginning and of each event; an event ends with a blank line, and so does a chunk.
async fn listen(mut stream: TcpStream, arrived: UnboundedSender<()>) -> Result<(), Error> {
    let mut input = [0; 1_024];
    let mut has_begun = false;
    loop {
        let read = stream.read(&mut input).await?;
        if read == 0 {
            return Ok(());
        }
        let is_beginning = !has_begun && input[..read].windows(6).any(|bytes| bytes == b"retry:");
        has_begun |= is_beginning;
        if is_beginning || input[..read].windows(6).any(|bytes| bytes == b"data: ") {
            arrived.send(())?;
        }
    }
}

/// Listeners of the bare server.
type Listeners = Arc<Mutex<Vec<UnboundedSender<Bytes>>>>;

/// A channel as a body.
struct Channel(UnboundedReceiver<Bytes>);

impl http_body::Body for Channel {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

async fn serve_bare() -> Result<(), Error> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let listeners = Listeners::default();
    loop {
        let (stream, _) = listener.accept().await?;
        let listeners = Arc::clone(&listeners);
        let service = service_fn(move |request| answer(Arc::clone(&listeners), request));
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(
    listeners: Listeners,
    request: Request<Incoming>,
) -> Result<Response<http_body_util::Either<Channel, Full<Bytes>>>, hyper::Error> {
    if *request.method() == Method::GET {
        let (sender, receiver) = mpsc::unbounded_channel();
        let _ = sender.send(Bytes::from_static(b"retry: 2000\n\n"));
        listeners.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(sender);
        return Ok(Response::new(http_body_util::Either::Left(Channel(receiver))));
    }
    let payload = request.into_body().collect().await?.to_bytes();
    let event = Bytes::from([b"event: message\ndata: ", &payload[..], b"\n\n"].concat());
    let listeners = listeners.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for listener in &*listeners {
        let _ = listener.send(event.clone());
    }
    Ok(Response::new(http_body_util::Either::Right(Full::new(Bytes::new()))))
}
