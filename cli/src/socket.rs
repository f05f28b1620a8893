//! A stream to a broker: TCP, TLS on top of it, a unix socket, or whatever a WebSocket carries.

use crate::connection::Endpoint;
use crate::exit::Failure;
use crate::refusal;
use crate::tls::Tls;
use althing_core::adaptor::OutBuffer;
use bytes::BytesMut;
use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

/// Room for one read; a burst of small messages comes in one.
const READ_BYTES: usize = 64 * 1_024;
/// Slices for one vectored write.
const SLICES: usize = 16;

/// An open stream.
pub struct Socket(Pin<Box<dyn Stream>>);

/// What carries bytes both ways.
pub trait Stream: AsyncRead + AsyncWrite + Send {}

impl<S: AsyncRead + AsyncWrite + Send> Stream for S {}

impl Socket {
    /// Opens it; with TLS, until the end of the handshake.
    pub async fn connect(endpoint: &Endpoint, tls: Option<&Tls>) -> Result<Self, Failure> {
        let cannot = |error| refusal::cannot_connect(endpoint, &error);
        let (host, port) = match endpoint {
            Endpoint::Tcp(host, port) => (host.as_str(), *port),
            Endpoint::Unix(path) => return Ok(Self(Box::pin(UnixStream::connect(path).await.map_err(cannot)?))),
        };
        let stream = TcpStream::connect((host, port)).await.map_err(cannot)?;
        stream.set_nodelay(true).map_err(cannot)?;
        let Some(tls) = tls else { return Ok(Self(Box::pin(stream))) };
        let handshake = TlsConnector::from(tls.config.clone()).connect(tls.name.clone(), stream);
        let failed = |error: io::Error| tls.explain_handshake(endpoint, &error).unwrap_or_else(|| cannot(error));
        Ok(Self(Box::pin(handshake.await.map_err(failed)?)))
    }

    /// Something else that carries bytes.
    pub fn over(stream: impl Stream + 'static) -> Self {
        Self(Box::pin(stream))
    }

    /// The stream itself, for who speaks another language on it.
    pub fn into_stream(self) -> Pin<Box<dyn Stream>> {
        self.0
    }

    /// Writes what waits and reads what has come; returns when either has happened. What has come stands in `input`
    /// also when there is an error, for the broker may have said why before it closed. Nothing is lost when the future is dropped.
    pub async fn exchange(&mut self, output: &mut OutBuffer, input: &mut BytesMut) -> io::Result<()> {
        poll_fn(|context| self.poll_exchange(context, output, input)).await
    }

    fn poll_exchange(
        &mut self,
        context: &mut Context<'_>,
        output: &mut OutBuffer,
        input: &mut BytesMut,
    ) -> Poll<io::Result<()>> {
        let waiting_bytes = output.len();
        let written = self.poll_write_all(context, output);
        let read = self.poll_read(context, input);
        match (written, read) {
            // Reading tells better why it is over: TLS has its alerts, writing only a broken pipe.
            (_, Poll::Ready(Err(error))) | (Poll::Ready(Err(error)), _) => Poll::Ready(Err(error)),
            (_, Poll::Ready(Ok(()))) => Poll::Ready(Ok(())),
            _ if output.len() < waiting_bytes => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    }

    fn poll_write_all(&mut self, context: &mut Context<'_>, output: &mut OutBuffer) -> Poll<io::Result<()>> {
        while !output.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let used = output.slices(&mut slices);
            match self.0.as_mut().poll_write_vectored(context, &slices[..used]) {
                Poll::Ready(Ok(written)) => output.advance(written),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        // TLS may hold records back that the socket had no room for.
        self.0.as_mut().poll_flush(context)
    }

    fn poll_read(&mut self, context: &mut Context<'_>, input: &mut BytesMut) -> Poll<io::Result<()>> {
        input.reserve(READ_BYTES);
        // The future keeps nothing from one poll to the next.
        pin!(self.0.read_buf(input)).poll(context).map(|read| match read? {
            0 => Err(io::Error::new(ErrorKind::UnexpectedEof, "the broker closed the connection")),
            _ => Ok(()),
        })
    }

    /// Writes what waits. Nothing is lost when the future is dropped.
    pub async fn write_out(&mut self, output: &mut OutBuffer) -> io::Result<()> {
        poll_fn(|context| self.poll_write_all(context, output)).await
    }

    /// Writes what is left, closes this side and waits until the broker closes its own: closing with bytes unread would
    /// reset the connection, and the broker might never see our last packets.
    pub async fn finish(&mut self, rest: &[u8]) -> io::Result<()> {
        self.0.write_all(rest).await?;
        self.0.shutdown().await?;
        let mut sink = [0; 4_096];
        while self.0.read(&mut sink).await? > 0 {}
        Ok(())
    }
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Socket")
    }
}
