//! A byte stream to one server: TCP, or TLS on top of it (RFC 8323).

use crate::socket::{self, Socket};
use bytes::{Bytes, BytesMut};
use std::io;
use std::pin::Pin;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Room for one read.
const READ_BYTES: usize = 64 << 10;

/// The stream.
pub struct Stream(Pin<Box<dyn socket::Stream>>);

impl Stream {
    /// What is connected already.
    pub fn over(socket: Socket) -> Self {
        Self(socket.into_stream())
    }

    /// Sends all of it.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes).await?;
        self.0.flush().await
    }

    /// What has come. Nothing is lost when the future is dropped.
    pub async fn receive(&mut self) -> io::Result<Bytes> {
        let mut input = BytesMut::with_capacity(READ_BYTES);
        match self.0.read_buf(&mut input).await? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection")),
            _ => Ok(input.freeze()),
        }
    }

    /// Nothing more will be sent.
    pub async fn close(&mut self) -> io::Result<()> {
        self.0.shutdown().await
    }
}
