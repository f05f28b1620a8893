//! A connection that a task of its own serves, as long as it has no adaptor: HTTP, until it becomes a WebSocket.

use crate::admission::Admitted;
use crate::local;
use crate::shard::Shard;
use crate::transport::Stream;
use althing_core::{Adaptor, Link};
use bytes::{Buf, BytesMut};
use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Serves a visitor; called once for each, and run as a task of the shard's thread.
pub type VisitorFactory = Arc<dyn Fn(Visitor) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// A connection that has passed the gate. It is closed when this is dropped.
pub struct Visitor {
    stream: Option<Stream>,
    link: Link,
    admitted: Option<Admitted>,
    /// What was read and nobody has taken.
    input: BytesMut,
    /// The place of its listener among the measures.
    listener: usize,
}

impl Visitor {
    /// How it came in.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// It was served well: from now on it does not count among those whose session does not stand, and however soon it ends,
    /// nobody holds that against its address.
    pub fn is_good(&mut self) {
        if let Some(admitted) = &mut self.admitted {
            admitted.is_good();
        }
    }

    /// Makes it a connection with an adaptor, like any other. `input` has been read from it already.
    pub fn hand_over(mut self, input: &[u8], adaptor: Box<dyn Adaptor>) {
        let (Some(stream), Some(admitted)) = (self.stream.take(), self.admitted.take()) else { return };
        let mut first = BytesMut::from(input);
        first.extend_from_slice(&self.input);
        let link = self.link.clone();
        local::with(|shard| {
            shard.visitors -= 1;
            shard.take_in(stream, link, admitted, first, adaptor, self.listener);
        });
    }

    fn received(&self, bytes: usize) {
        local::with(|shard| {
            shard.counters.bytes_received += bytes as u64;
            shard.measures.received(self.listener, bytes as u64);
        });
    }

    fn poll_write_slices(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(Err(gone())) };
        loop {
            let written = local::with(|shard| {
                let written = stream.try_write(slices, &mut shard.scratch)?;
                shard.counters.bytes_sent += written as u64;
                shard.measures.sent(self.listener, written as u64);
                Ok(written)
            });
            match written {
                Err(error) if is_not_now(&error) => ready!(stream.poll_write_ready(cx))?,
                written => return Poll::Ready(written),
            }
        }
    }
}

/// The error of a stream that somebody else has.
fn gone() -> io::Error {
    io::Error::from(io::ErrorKind::NotConnected)
}

fn is_not_now(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

impl AsyncRead for Visitor {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.input.is_empty() {
            let Some(stream) = &mut this.stream else { return Poll::Ready(Err(gone())) };
            let read = match stream {
                Stream::Plain(socket) => {
                    let read = ready!(socket.poll_read_into(cx, buffer))?;
                    this.received(read);
                    return Poll::Ready(Ok(()));
                }
                stream => local::with(|shard| stream.poll_read(cx, &mut this.input, &mut shard.scratch)),
            };
            let read = ready!(read)?;
            this.received(read);
        }
        let taken = this.input.len().min(buffer.remaining());
        buffer.put_slice(&this.input[..taken]);
        this.input.advance(taken);
        if this.input.is_empty() {
            this.input = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Visitor {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_slices(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_slices(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(Err(gone())) };
        loop {
            match stream.flush() {
                Err(error) if is_not_now(&error) => ready!(stream.poll_write_ready(cx))?,
                flushed => return Poll::Ready(flushed),
            }
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        let Some(stream) = &mut self.stream else { return Poll::Ready(Err(gone())) };
        Poll::Ready(local::with(|shard| stream.shutdown_write(&mut shard.scratch)))
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        if self.stream.is_some() {
            // At the end of the process the shard goes first.
            local::with_running(|shard| shard.end_visit(self.listener));
        }
    }
}

impl fmt::Debug for Visitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Visitor({:?})", self.link.remote)
    }
}

impl Shard {
    /// Has a task of its own serve the connection.
    pub(crate) fn receive_visitor(
        &mut self,
        stream: Stream,
        link: Link,
        admitted: Admitted,
        input: BytesMut,
        factory: &VisitorFactory,
    ) {
        if self.is_closing() {
            return;
        }
        let listener = self.count_in(&link);
        self.visitors += 1;
        let visitor = Visitor { stream: Some(stream), link, admitted: Some(admitted), input, listener };
        // The factory may use this shard, which is busy with us.
        let factory = Arc::clone(factory);
        tokio::spawn(async move { factory(visitor).await });
    }

    fn end_visit(&mut self, listener: usize) {
        self.visitors -= 1;
        self.count_out(listener);
        self.wake_when_drained();
    }
}
