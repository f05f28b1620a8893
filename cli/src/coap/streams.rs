//! Connections to one server: TCP and TLS (RFC 8323).

use super::arguments::SecurityArguments;
use super::uri::{Carrier, Uri};
use crate::connection::Endpoint;
use crate::exit::Failure;
use crate::socket::Socket;
use bytes::{Bytes, BytesMut};
use std::io;
use std::pin::Pin;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Room for one read.
const READ_BYTES: usize = 64 << 10;

/// A byte stream.
pub struct Stream(Pin<Box<dyn crate::socket::Stream>>);

impl Stream {
    /// Connects, with TLS where the URL says so.
    pub async fn open(uri: &Uri, security: &SecurityArguments) -> Result<Self, Failure> {
        let socket = connect(uri, security).await?;
        Ok(Self(socket.into_stream()))
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
}

async fn connect(uri: &Uri, security: &SecurityArguments) -> Result<Socket, Failure> {
    if security.psk.is_some() {
        return Err(Failure::usage("pre-shared keys are for coaps://: leave out --psk, or use --cert and --key"));
    }
    let endpoint = Endpoint::Tcp(uri.host.clone(), uri.port);
    // The application protocol of TLS (RFC 8323 §8.2).
    let tls = match uri.carrier {
        Carrier::Tls => Some(security.tls.prepare(&uri.host)?.with_protocol("coap")),
        _ => None,
    };
    Socket::connect(&endpoint, tls.as_ref()).await
}
