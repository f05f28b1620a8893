//! A WebSocket: message by message, or as a stream of bytes, so that MQTT is spoken on it as on any other one (MQTT 5.0 §6).

use crate::connection::Endpoint;
use crate::exit::{ExitCode, Failure};
use crate::refusal;
use crate::socket::{Socket, Stream};
use crate::subscriber::entropy;
use crate::tls::{Tls, is_alert};
use althing_websocket::CloseCode;
use althing_websocket::client::{Client, ClientError, Event, Options};
use bytes::{Buf, Bytes, BytesMut};
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

/// Room for one read.
const READ_BYTES: usize = 64 * 1_024;
/// Bytes of frames that may wait for the stream below.
const BACKLOG_BYTES_MAX: usize = 256 * 1_024;

/// What to ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// The resource, with its query; begins with `/`.
    pub path: String,
    /// The name of the language inside.
    pub subprotocol: &'static str,
}

/// Makes a stream to a server a stream inside a WebSocket.
pub async fn upgrade(
    socket: Socket,
    endpoint: &Endpoint,
    upgrade: &Upgrade,
    tls: Option<&Tls>,
) -> Result<Socket, Failure> {
    open(socket, endpoint, upgrade, tls).await.map(Socket::over)
}

/// Opens a WebSocket on a stream to a server.
pub async fn open(
    socket: Socket,
    endpoint: &Endpoint,
    upgrade: &Upgrade,
    tls: Option<&Tls>,
) -> Result<WebSocket, Failure> {
    let options = Options {
        host: endpoint.to_string(),
        path: upgrade.path.clone(),
        subprotocols: vec![upgrade.subprotocol.to_owned()],
        ..Options::default()
    };
    let mut stream = WebSocket {
        client: Client::new(options, entropy()),
        stream: socket.into_stream(),
        input: BytesMut::new(),
        messages: VecDeque::new(),
        is_over: false,
    };
    stream.client.connect();
    stream.shake_hands(endpoint, upgrade, tls).await?;
    Ok(stream)
}

/// The frames and what is below them.
pub struct WebSocket {
    client: Client,
    stream: Pin<Box<dyn Stream>>,
    input: BytesMut,
    /// Payload that nobody has read yet.
    messages: VecDeque<Bytes>,
    /// Whether the server has said goodbye.
    is_over: bool,
}

impl WebSocket {
    /// Sends one message.
    pub async fn send(&mut self, message: &[u8]) -> io::Result<()> {
        self.write_all(message).await?;
        self.flush().await
    }

    /// The next message. Nothing is lost when the future is dropped.
    pub async fn receive(&mut self) -> io::Result<Bytes> {
        loop {
            if let Some(message) = self.messages.pop_front() {
                return Ok(message);
            }
            if self.is_over {
                return Err(io::Error::new(ErrorKind::UnexpectedEof, "the server closed the WebSocket"));
            }
            std::future::poll_fn(|context| self.poll_exchange(context)).await?;
        }
    }

    /// Says goodbye.
    pub async fn close(&mut self) -> io::Result<()> {
        self.shutdown().await
    }

    async fn shake_hands(&mut self, endpoint: &Endpoint, upgrade: &Upgrade, tls: Option<&Tls>) -> Result<(), Failure> {
        while !self.client.is_open() {
            let moved = std::future::poll_fn(|context| self.poll_exchange(context)).await;
            if tls.is_none() && is_alert(&self.input) {
                return Err(refusal::speaks_tls(endpoint));
            }
            moved.map_err(|error| match error.get_ref().and_then(|inner| inner.downcast_ref()) {
                Some(error) => refused(endpoint, upgrade, error),
                // In TLS 1.3 a server refuses a client's certificate when the client's handshake is over.
                None => tls.and_then(|tls| tls.explain(endpoint, &error)).unwrap_or_else(|| {
                    let text = format!("no WebSocket to {endpoint}: {error}: is this its port for HTTP?");
                    Failure::new(ExitCode::CannotConnect, text)
                }),
            })?;
        }
        Ok(())
    }

    /// Writes what waits and takes what has come, once.
    fn poll_exchange(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Poll::Ready(Err(error)) = self.poll_write_out(context) {
            return Poll::Ready(Err(error));
        }
        self.input.reserve(READ_BYTES);
        // The future keeps nothing from one poll to the next.
        let read = ready!(pin!(self.stream.read_buf(&mut self.input)).poll(context))?;
        if read == 0 {
            return Poll::Ready(Err(io::Error::new(ErrorKind::UnexpectedEof, "the server closed the connection")));
        }
        let mut events = Vec::new();
        let received = self.client.receive(&mut self.input, &mut events);
        for event in events {
            match event {
                Event::Message(message) => self.messages.push_back(message.bytes),
                Event::Closed(_) => self.is_over = true,
                Event::Open { .. } | Event::Pong(_) => {}
            }
        }
        // Answers to pings and to the goodbye.
        if let Poll::Ready(Err(error)) = self.poll_write_out(context) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(received.map_err(|error| io::Error::new(ErrorKind::InvalidData, error)))
    }

    fn poll_write_out(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.client.output().is_empty() {
            let mut slices = [io::IoSlice::new(&[]); 4];
            let used = self.client.output().slices(&mut slices);
            let written = ready!(self.stream.as_mut().poll_write_vectored(context, &slices[..used]))?;
            self.client.output().advance(written);
        }
        self.stream.as_mut().poll_flush(context)
    }
}

impl AsyncRead for WebSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if let Some(message) = this.messages.front_mut() {
                let taken = message.len().min(buffer.remaining());
                buffer.put_slice(&message.split_to(taken));
                if !message.has_remaining() {
                    this.messages.pop_front();
                }
                if taken > 0 {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            if this.is_over {
                return Poll::Ready(Ok(()));
            }
            ready!(this.poll_exchange(context))?;
        }
    }
}

impl AsyncWrite for WebSocket {
    /// What is written at once is one message.
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.client.output().len() > BACKLOG_BYTES_MAX {
            ready!(self.poll_write_out(context))?;
        }
        if !self.client.is_open() {
            return Poll::Ready(Err(io::Error::new(ErrorKind::BrokenPipe, "the WebSocket is closed")));
        }
        self.client.send(false, bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_write_out(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.client.close(CloseCode::NORMAL, "");
        ready!(self.poll_write_out(context))?;
        self.stream.as_mut().poll_shutdown(context)
    }
}

/// The server did not agree.
fn refused(endpoint: &Endpoint, upgrade: &Upgrade, error: &ClientError) -> Failure {
    let path = &upgrade.path;
    let (code, advice) = match error {
        ClientError::Refused { status: 401 | 403, .. } => (ExitCode::Refused, "it does not let you in".to_owned()),
        ClientError::Refused { status: 400, .. } => {
            (ExitCode::Refused, format!("does it speak {} there?", upgrade.subprotocol))
        }
        ClientError::Refused { status: 404 | 405 | 426, .. } | ClientError::Refused { status: 200..300, .. } => {
            (ExitCode::CannotConnect, format!("is there a WebSocket at {path}?"))
        }
        ClientError::Refused { .. } => (ExitCode::CannotConnect, "try again later".to_owned()),
        ClientError::Handshake(_) => (ExitCode::CannotConnect, "is this its port for HTTP?".to_owned()),
        ClientError::Frame(_) => (ExitCode::Protocol, "it is not at fault if a proxy is in between".to_owned()),
    };
    Failure::new(code, format!("no WebSocket to {endpoint}: {error}: {advice}"))
}
