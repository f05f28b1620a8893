//! A datagram socket for one server.

use super::uri::Server;
use crate::exit::Failure;
use crate::refusal;
use bytes::Bytes;
use std::io;
use tokio::net::{UdpSocket, lookup_host};

/// The longest datagram that there is.
const DATAGRAM_BYTES_MAX: usize = 65_536;

/// A socket and room for one datagram.
#[derive(Debug)]
pub struct Datagrams {
    socket: UdpSocket,
    input: Vec<u8>,
}

impl Datagrams {
    /// Sends one.
    pub async fn send(&self, datagram: &[u8]) -> io::Result<()> {
        self.socket.send(datagram).await.map(drop)
    }

    /// The next one. Nothing is lost when the future is dropped.
    pub async fn receive(&mut self) -> io::Result<Bytes> {
        let length = self.socket.recv(&mut self.input).await?;
        Ok(Bytes::copy_from_slice(&self.input[..length]))
    }
}

/// A socket for one server.
pub async fn connect(server: &Server) -> Result<Datagrams, Failure> {
    open(&server.host, server.port).await.map_err(|error| refusal::cannot_connect(&server.endpoint(), &error))
}

/// Of several addresses an IPv4 one is taken: a datagram does not tell which of them has
/// a server, and `localhost` is 127.0.0.1 to a broker that nobody has told otherwise.
async fn open(host: &str, port: u16) -> io::Result<Datagrams> {
    let address = lookup_host((host, port)).await?.min_by_key(|address| address.is_ipv6());
    let address = address.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))?;
    let socket = UdpSocket::bind(if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }).await?;
    socket.connect(address).await?;
    Ok(Datagrams { socket, input: vec![0; DATAGRAM_BYTES_MAX] })
}
