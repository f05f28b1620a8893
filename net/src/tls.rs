//! TLS on a listener: what is spoken there, the handshake, and the stream after it.
//!
//! - [`TlsAcceptor`], [`TlsTerms`]: what a listener speaks now, exchanged as a whole on reload.
//! - `handshake`: from a socket to a stream, before there is an adaptor.
//! - `session`: the state of one connection without its socket.
//! - `stream`: both together, behind [`Stream`](crate::transport::Stream).

mod handshake;
mod session;
mod stream;

pub(crate) use handshake::{HandshakeError, shake_hands};
pub(crate) use stream::{Scratch, TlsStream};

use althing_core::link::Certificate;
use rustls::ServerConfig;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What a listener speaks inside TLS, from now until it is told otherwise. Connections keep what they began with.
#[derive(Debug)]
pub struct TlsAcceptor {
    terms: Mutex<Arc<TlsTerms>>,
}

impl TlsAcceptor {
    /// An acceptor that begins with these terms.
    pub fn new(terms: TlsTerms) -> Self {
        Self { terms: Mutex::new(Arc::new(terms)) }
    }

    /// What holds for a handshake that begins now.
    pub fn terms(&self) -> Arc<TlsTerms> {
        Arc::clone(&self.terms.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// New terms for every handshake from now on.
    pub fn set_terms(&self, terms: TlsTerms) {
        *self.terms.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(terms);
    }
}

/// Certificates, keys, versions and everything else that a handshake is made of.
pub struct TlsTerms {
    /// For peers that offer none of our application protocols: not to be understood there is no error here.
    without_alpn: Arc<ServerConfig>,
    /// For those that offer one.
    with_alpn: Arc<ServerConfig>,
    /// How long a handshake may take, from the first byte that is awaited to the last.
    pub handshake_timeout: Duration,
    /// Reads a verified certificate (DER).
    pub describe: Describe,
}

/// Reads a verified certificate (DER), or says why the connection must end after all.
pub type Describe = fn(&[u8]) -> Result<Certificate, String>;

impl TlsTerms {
    /// Terms around `config`, whose application protocols are replaced by `application_protocols`.
    pub fn new(
        mut config: ServerConfig,
        application_protocols: &[&[u8]],
        handshake_timeout: Duration,
        describe: Describe,
    ) -> Self {
        // Data of the first flight can be replayed by anybody.
        config.max_early_data_size = 0;
        config.alpn_protocols = Vec::new();
        let mut with_alpn = config.clone();
        with_alpn.alpn_protocols = application_protocols.iter().map(|name| name.to_vec()).collect();
        Self { without_alpn: Arc::new(config), with_alpn: Arc::new(with_alpn), handshake_timeout, describe }
    }

    /// The configuration for a peer that offers these application protocols.
    fn config_for<'a>(&self, mut offered: impl Iterator<Item = &'a [u8]>) -> Arc<ServerConfig> {
        let is_ours = |name: &[u8]| self.with_alpn.alpn_protocols.iter().any(|ours| ours == name);
        Arc::clone(if offered.any(is_ours) { &self.with_alpn } else { &self.without_alpn })
    }
}

impl fmt::Debug for TlsTerms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsTerms").field("handshake_timeout", &self.handshake_timeout).finish_non_exhaustive()
    }
}
