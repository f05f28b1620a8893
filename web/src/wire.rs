//! A visitor for hyper, and what the handlers of its requests say about it.

use althing_net::Visitor;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The stream of a connection.
#[derive(Debug)]
pub struct Wire {
    visitor: Visitor,
    /// Set by whoever has served a request well; taken with the next write.
    is_good: Arc<AtomicBool>,
}

impl Wire {
    pub fn new(visitor: Visitor, is_good: Arc<AtomicBool>) -> Self {
        Self { visitor, is_good }
    }

    /// After an upgrade, when HTTP is over.
    pub fn into_visitor(self) -> Visitor {
        self.visitor
    }

    fn tell(&mut self) {
        if self.is_good.load(Ordering::Relaxed) {
            self.is_good.store(false, Ordering::Relaxed);
            self.visitor.is_good();
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.visitor).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.tell();
        Pin::new(&mut self.visitor).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.tell();
        Pin::new(&mut self.visitor).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.visitor.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.visitor).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.visitor).poll_shutdown(cx)
    }
}
