//! The PROXY protocol, versions 1 and 2: a proxy tells at the start of a connection where it really comes from.
//! <https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>

use crate::transport::Socket;
use althing_core::authorisation::Network;
use bytes::BytesMut;
use ppp::{v1, v2};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Who may speak for others, and how long it may take. Whoever else connects is refused: it could say anything.
#[derive(Clone, Debug)]
pub struct ProxyTrust {
    /// The networks of the proxies. On unix sockets file rights say who may connect.
    pub networks: Vec<Network>,
    /// How long the header may take.
    pub timeout: Duration,
}

/// The longest line of version 1, its end included (2.1).
const LINE_BYTES_MAX: usize = 107;

/// The fixed part of version 2 (2.2).
const HEAD_BYTES: usize = 16;

/// The longest header of version 2 that we take: addresses, and far more than the usual extras.
const HEADER_BYTES_MAX: usize = 4 << 10;

impl ProxyTrust {
    /// Reads the header from `socket`, and what comes after it into `input`. `None`: the proxy speaks for itself, or for
    /// somebody without an address.
    pub(crate) async fn read_header(
        &self,
        socket: &mut Socket,
        proxy: Option<SocketAddr>,
        input: &mut BytesMut,
    ) -> Result<Option<SocketAddr>, ProxyError> {
        if let Some(address) = proxy.map(|it| it.ip()).filter(|it| !self.trusts(*it)) {
            return Err(ProxyError::Untrusted(address));
        }
        let reading = async {
            loop {
                if let Some(length) = header_bytes(input)? {
                    return parse(&input.split_to(length));
                }
                input.reserve(HEADER_BYTES_MAX);
                if socket.read(input).await? == 0 {
                    return Err(if input.is_empty() { ProxyError::Silent } else { ProxyError::Malformed });
                }
            }
        };
        tokio::time::timeout(self.timeout, reading).await.map_err(|_| ProxyError::TooSlow)?
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(address))
    }
}

/// The length of the header that `input` begins with, when it is known and all of it is there.
fn header_bytes(input: &[u8]) -> Result<Option<usize>, ProxyError> {
    const LINE_PREFIX: &[u8] = b"PROXY ";
    let begins_with = |prefix: &[u8]| input.iter().zip(prefix).all(|(one, other)| one == other);
    if begins_with(v2::PROTOCOL_PREFIX) {
        let Some(length) = input.get(HEAD_BYTES - 2..HEAD_BYTES) else { return Ok(None) };
        let length = HEAD_BYTES + usize::from(u16::from_be_bytes([length[0], length[1]]));
        if length > HEADER_BYTES_MAX {
            return Err(ProxyError::Malformed);
        }
        return Ok((input.len() >= length).then_some(length));
    }
    if !begins_with(LINE_PREFIX) {
        return Err(ProxyError::Missing);
    }
    let line = &input[..input.len().min(LINE_BYTES_MAX)];
    match line.windows(2).position(|pair| pair == b"\r\n") {
        Some(end) => Ok(Some(end + 2)),
        None if line.len() == LINE_BYTES_MAX => Err(ProxyError::Malformed),
        None => Ok(None),
    }
}

fn parse(header: &[u8]) -> Result<Option<SocketAddr>, ProxyError> {
    if header.starts_with(v2::PROTOCOL_PREFIX) {
        let header = v2::Header::try_from(header).map_err(|_| ProxyError::Malformed)?;
        return Ok(match (header.command, header.addresses) {
            (v2::Command::Proxy, v2::Addresses::IPv4(it)) => Some((it.source_address, it.source_port).into()),
            (v2::Command::Proxy, v2::Addresses::IPv6(it)) => Some((it.source_address, it.source_port).into()),
            _ => None,
        });
    }
    let header = v1::Header::try_from(header).map_err(|_| ProxyError::Malformed)?;
    Ok(match header.addresses {
        v1::Addresses::Tcp4(it) => Some((it.source_address, it.source_port).into()),
        v1::Addresses::Tcp6(it) => Some((it.source_address, it.source_port).into()),
        v1::Addresses::Unknown => None,
    })
}

/// Why the header was not taken. The text goes on after the peer's address.
#[derive(Debug)]
pub(crate) enum ProxyError {
    /// It has come and gone without a byte.
    Silent,
    Untrusted(IpAddr),
    Missing,
    Malformed,
    TooSlow,
    Io(io::Error),
}

impl From<io::Error> for ProxyError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent => f.write_str("left without a word"),
            Self::Untrusted(address) => write!(
                f,
                "is no proxy that is trusted here: add {address} to proxy_networks of this listener, or connect to one without \
                 proxy_protocol"
            ),
            Self::Missing => f.write_str(
                "did not begin with the PROXY protocol: have the proxy send it, or set proxy_protocol = false here",
            ),
            Self::Malformed => f.write_str("sent a header of the PROXY protocol that is malformed or too long"),
            Self::TooSlow => f.write_str("did not send its header of the PROXY protocol in time"),
            Self::Io(error) => write!(f, "was lost in the header of the PROXY protocol: {error}"),
        }
    }
}
