//! How a peer came in. The driver says it, so that no language can forget or forge it.

use bytestring::ByteString;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// How a peer is linked to us. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Link {
    /// The other end, as the PROXY protocol tells it where that is spoken; `None` on unix sockets.
    pub remote: Option<SocketAddr>,
    /// Where it came in.
    pub entrance: Arc<Entrance>,
    /// What TLS has settled; `None` where there is none.
    pub tls: Option<Arc<Tls>>,
    /// The secret that the peer has proven to hold; `None` where there is none.
    pub shared_key: Option<Arc<SharedKey>>,
}

/// A secret that we share with a peer, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedKey {
    /// What used it.
    pub kind: SharedKeyKind,
    /// The name under which both ends know it: the PSK identity, or what the configuration calls the OSCORE context.
    pub name: ByteString,
}

/// What uses a shared secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharedKeyKind {
    /// DTLS with a pre-shared key (RFC 4279).
    PreSharedKey,
    /// OSCORE (RFC 8613).
    Oscore,
}

impl Link {
    /// A link through a plain entrance of this name.
    pub fn new(remote: Option<SocketAddr>, listener: &'static str) -> Self {
        Self { remote, entrance: Arc::new(Entrance { name: listener, ..Entrance::default() }), ..Self::default() }
    }

    /// The listener's name, for logs and metrics.
    pub fn listener(&self) -> &'static str {
        self.entrance.name
    }
}

/// What is the same for everyone who comes in through one listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entrance {
    /// The listener's name, for logs, metrics and rules.
    pub name: &'static str,
    /// The space of sessions that its peers share; empty = the default one.
    pub realm: ByteString,
    /// Put before every topic and filter of its peers, and taken off what they receive: their own part of the topic
    /// space. Empty, or ends in `/`.
    pub mount_point: ByteString,
    /// Whether whoever gives no credentials is let in, as nobody.
    pub anonymous: bool,
    /// What the session's id is made of.
    pub client_id: ClientIdFrom,
}

/// What a session's id is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientIdFrom {
    /// What the peer says.
    #[default]
    Peer,
    /// The proven name, whatever the peer says: one session a user.
    Principal,
}

/// What TLS has settled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// `TLSv1.3` for one.
    pub version: &'static str,
    /// The cipher suite's name.
    pub cipher: &'static str,
    /// The name that the peer asked for (SNI).
    pub server_name: Option<String>,
    /// The application protocol that was agreed on (ALPN).
    pub application_protocol: Option<Vec<u8>>,
    /// The peer's certificate, verified.
    pub certificate: Option<Certificate>,
}

/// What a verified certificate says of its owner.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Certificate {
    /// The subject's common name.
    pub common_name: Option<String>,
    /// The whole subject, as RFC 4514 writes it.
    pub subject: String,
    /// DNS names, in order.
    pub dns_names: Vec<String>,
    /// URIs, in order.
    pub uris: Vec<String>,
    /// Mail addresses, in order.
    pub emails: Vec<String>,
    /// SHA-256 of the certificate.
    pub fingerprint: [u8; 32],
    /// When it ends, in seconds since 1970.
    pub not_after_s: i64,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({})", self.subject)
    }
}
