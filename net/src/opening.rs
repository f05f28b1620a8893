//! What happens to a connection between the listener and its adaptor: the proxy's word, admission, the TLS handshake.

use crate::listener::{Gate, Welcome};
use crate::local;
use crate::proxy::ProxyError;
use crate::tls::{HandshakeError, shake_hands};
use crate::transport::{Socket, Stream};
use althing_core::Link;
use bytes::BytesMut;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// Takes the connection through the gate, in a task of its own.
pub(crate) fn open(socket: Socket, mut link: Link, gate: Gate, welcome: Welcome) {
    let Some(opening) = Opening::begin(&link) else { return };
    tokio::spawn(async move {
        let _opening = opening;
        match pass(socket, &mut link, &gate, &welcome).await {
            Ok(())
            | Err(Refused::Admission | Refused::Proxy(ProxyError::Silent) | Refused::Tls(HandshakeError::Silent)) => {}
            Err(refused) => {
                let why = format!("{} {refused}", Peer(link.remote));
                local::with(|shard| shard.turned_away(link.listener(), why));
            }
        }
    });
}

/// `link` comes to say what is known of the peer.
async fn pass(mut socket: Socket, link: &mut Link, gate: &Gate, welcome: &Welcome) -> Result<(), Refused> {
    let mut input = BytesMut::new();
    if let Some(proxy) = &gate.proxy {
        let source = proxy.read_header(&mut socket, link.remote, &mut input).await.map_err(Refused::Proxy)?;
        link.remote = source.or(link.remote);
    }
    // Whose connection it is is known now, and nothing was spent on it.
    let admitted = local::with(|shard| shard.admit(link)).ok_or(Refused::Admission)?;
    let Some(tls) = &gate.tls else {
        local::with(|shard| shard.welcome(Stream::Plain(socket), link.clone(), admitted, input, welcome));
        return Ok(());
    };
    let shaken = shake_hands(socket, input, tls).await.map_err(Refused::Tls)?;
    link.tls = Some(Arc::new(shaken.facts));
    let stream = Stream::Tls(Box::new(shaken.stream));
    local::with(|shard| shard.welcome(stream, link.clone(), admitted, shaken.first, welcome));
    Ok(())
}

/// Why there is no adaptor for a connection.
#[derive(Debug)]
enum Refused {
    /// Told already.
    Admission,
    Proxy(ProxyError),
    Tls(HandshakeError),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Admission => Ok(()),
            Self::Proxy(error) => error.fmt(f),
            Self::Tls(error) => error.fmt(f),
        }
    }
}

/// A connection that is on its way in; it counts as one as long as this lives.
struct Opening;

impl Opening {
    /// `None`, and told, when there are too many.
    fn begin(link: &Link) -> Option<Self> {
        local::with(|shard| shard.begin_opening(link)).then_some(Self)
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        // At the end of the process the shard goes first.
        local::with_running(|shard| shard.end_opening());
    }
}

struct Peer(Option<SocketAddr>);

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("a program on this machine"),
        }
    }
}
