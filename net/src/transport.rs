//! What carries bytes: one type over all kinds of streams, so that a connection costs no indirection.

use bytes::BytesMut;
use socket2::SockRef;
use std::future::Future;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::pin;
use std::task::{Context, Poll};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpStream, UnixStream};

/// A connected byte stream.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
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

    /// Pending registers the task for the next bytes.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx),
            Self::Unix(stream) => stream.poll_read_ready(cx),
        }
    }

    /// Pending registers the task for the moment when the socket takes bytes again.
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

    /// Tells the peer that nothing more comes.
    pub fn shutdown_write(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => SockRef::from(stream).shutdown(Shutdown::Write),
            Self::Unix(stream) => SockRef::from(stream).shutdown(Shutdown::Write),
        }
    }
}
