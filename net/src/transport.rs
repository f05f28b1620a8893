//! What carries bytes: one type over all kinds of streams, so that a connection costs no indirection.

use crate::guest::Line;
use crate::tls::{Scratch, TlsStream};
use bytes::BytesMut;
use socket2::SockRef;
use std::future::Future;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A connected byte stream.
pub(crate) enum Stream {
    Plain(Socket),
    Tls(Box<TlsStream>),
    /// No bytes at all: tasks of this thread take answers and deliveries as they are.
    Guest(Arc<Line>),
}

impl Stream {
    /// Reads once into the spare capacity of `buffer`; `Ok(0)` is the end.
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
        scratch: &mut Scratch,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => socket.poll_read(cx, buffer),
            Self::Tls(stream) => stream.poll_read(cx, buffer, scratch),
            Self::Guest(_) => Poll::Pending,
        }
    }

    /// Pending registers the task for the next bytes.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) => socket.poll_read_ready(cx),
            Self::Tls(stream) => stream.poll_read_ready(cx),
            Self::Guest(_) => Poll::Pending,
        }
    }

    /// Pending registers the task for the moment when the socket takes bytes again.
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) => socket.poll_write_ready(cx),
            Self::Tls(stream) => stream.socket().poll_write_ready(cx),
            Self::Guest(_) => Poll::Ready(Ok(())),
        }
    }

    /// Takes what can leave now. What TLS has taken and the socket has not is [`pending_bytes`](Self::pending_bytes).
    pub fn try_write(&mut self, slices: &[IoSlice<'_>], scratch: &mut Scratch) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.try_write(slices),
            Self::Tls(stream) => stream.try_write(slices, scratch),
            Self::Guest(_) => Ok(slices.iter().map(|slice| slice.len()).sum()),
        }
    }

    /// Writes what is pending; `WouldBlock` when the socket takes no more before all of it has left.
    pub fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) | Self::Guest(_) => Ok(()),
            Self::Tls(stream) => stream.flush(),
        }
    }

    /// Bytes that were taken and have not left.
    pub fn pending_bytes(&self) -> usize {
        match self {
            Self::Plain(_) => 0,
            Self::Tls(stream) => stream.pending_bytes(),
            Self::Guest(line) => line.bytes(),
        }
    }

    /// Tells the peer that nothing more comes.
    pub fn shutdown_write(&mut self, scratch: &mut Scratch) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.shutdown_write(),
            Self::Tls(stream) => stream.shutdown_write(scratch),
            Self::Guest(_) => Ok(()),
        }
    }
}

/// A connected socket.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// Reads once into the spare capacity of `buffer`; `Ok(0)` is the end.
    ///
    /// A read that leaves capacity unused tells the event loop that the socket is empty, which
    /// saves the failing read that `readable` and `try_read` would need to find out.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => pin!(stream.read_buf(buffer)).poll(cx),
            Self::Unix(stream) => pin!(stream.read_buf(buffer)).poll(cx),
        }
    }

    /// The same into what is left of `buffer`.
    pub fn poll_read_into(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<usize>> {
        let length_before = buffer.filled().len();
        let read = match self {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        };
        read.map_ok(|()| buffer.filled().len() - length_before)
    }

    /// The same into a slice.
    pub fn poll_read_slice(&mut self, cx: &mut Context<'_>, slice: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(slice);
        self.poll_read_into(cx, &mut buffer)
    }

    /// Appends what comes next to `buffer`; `Ok(0)` is the end.
    pub async fn read(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read_buf(buffer).await,
            Self::Unix(stream) => stream.read_buf(buffer).await,
        }
    }

    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx),
            Self::Unix(stream) => stream.poll_read_ready(cx),
        }
    }

    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_write_ready(cx),
            Self::Unix(stream) => stream.poll_write_ready(cx),
        }
    }

    /// Writes what the socket takes now.
    pub fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match (self, slices) {
            (Self::Tcp(stream), [slice]) => stream.try_write(slice),
            (Self::Unix(stream), [slice]) => stream.try_write(slice),
            (Self::Tcp(stream), slices) => stream.try_write_vectored(slices),
            (Self::Unix(stream), slices) => stream.try_write_vectored(slices),
        }
    }

    pub fn shutdown_write(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => SockRef::from(stream).shutdown(Shutdown::Write),
            Self::Unix(stream) => SockRef::from(stream).shutdown(Shutdown::Write),
        }
    }
}
