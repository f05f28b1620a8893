//! DTLS 1.2 (RFC 6347) at a datagram socket: between the socket and its door.
//!
//! - [`DtlsAcceptor`], [`DtlsTerms`]: what a listener speaks now, exchanged as a whole on reload.
//! - `hello`: the first words of a client, answered without any state until its address has proven itself.
//! - `provider`: what the library is made of here, and how its cookies become ours.
//! - `session`: one association without its socket.
//! - `associations`: all of them at one socket.

mod associations;
mod hello;
mod provider;
mod session;

pub(crate) use associations::{Associations, Happening};

use crate::tls::Describe;
use dimpl::{Config, DtlsCertificate, Error, PskResolver};
use rustls::server::danger::ClientCertVerifier;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What a listener speaks inside DTLS, from now until it is told otherwise. Associations keep what they began with, but for
/// those whose key is not there any more, or whose certificate is not good any more.
#[derive(Debug)]
pub struct DtlsAcceptor {
    terms: Mutex<Arc<DtlsTerms>>,
}

impl DtlsAcceptor {
    /// An acceptor that begins with these terms.
    pub fn new(terms: DtlsTerms) -> Self {
        Self { terms: Mutex::new(Arc::new(terms)) }
    }

    /// What holds now.
    pub fn terms(&self) -> Arc<DtlsTerms> {
        Arc::clone(&self.terms.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// New terms for every handshake from now on. Associations whose key is gone, or another one, end; so do those of clients
    /// whose certificate is not good under these terms.
    pub fn set_terms(&self, terms: DtlsTerms) {
        *self.terms.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(terms);
    }
}

/// Secrets by the identities under which clients name them (RFC 4279).
pub type SharedKeys = HashMap<Vec<u8>, Vec<u8>>;

/// A certificate and its key (DER).
#[derive(Clone)]
pub struct KeyPair {
    /// The certificate itself, without its issuers: the library sends no chain.
    pub certificate: Vec<u8>,
    /// PKCS#8 or SEC1.
    pub private_key: Vec<u8>,
}

impl KeyPair {
    /// Whether handshakes can be made with it: ECDSA on P-256 or P-384.
    pub fn is_usable(&self) -> bool {
        provider::can_use(&self.private_key)
    }

    fn to_library(&self) -> DtlsCertificate {
        DtlsCertificate { certificate: self.certificate.clone(), private_key: self.private_key.clone() }
    }
}

/// Whom a listener believes, and how much it keeps for them.
pub struct DtlsSettings {
    /// Empty = nobody is known by a shared key.
    pub shared_keys: SharedKeys,
    /// What is shown to those who do not come with a shared key; `None` = they do not come in.
    pub certificate: Option<KeyPair>,
    /// Who says whether a client's certificate is good; `None` = they show none.
    pub client_verifier: Option<Arc<dyn ClientCertVerifier>>,
    /// Reads a verified certificate (DER).
    pub describe: Describe,
    /// How long a handshake may take.
    pub handshake_timeout: Duration,
    /// An association that is silent for longer ends.
    pub idle: Duration,
    /// Associations at once; beyond them whoever was silent for longest makes room.
    pub sessions_max: usize,
}

/// Settings that were checked, and what handshakes are made of.
pub struct DtlsTerms {
    settings: DtlsSettings,
    keyed: Option<Arc<Config>>,
    certified: Option<Arc<Config>>,
}

impl DtlsTerms {
    /// Terms with these settings.
    ///
    /// # Errors
    /// What the library refuses of them.
    pub fn new(settings: DtlsSettings) -> Result<Self, Error> {
        let base = || {
            Config::builder()
                .with_crypto_provider(provider::provider())
                .handshake_timeout(settings.handshake_timeout)
                .dtls13_cipher_suites(&[])
        };
        let keyed = if settings.shared_keys.is_empty() {
            None
        } else {
            let resolver: Arc<dyn PskResolver> = Arc::new(Resolver { keys: settings.shared_keys.clone() });
            let suites = [provider::KEYED_SUITE];
            Some(Arc::new(base().with_psk_server(None, resolver).dtls12_cipher_suites(&suites).build()?))
        };
        let certified = if settings.certificate.is_none() {
            None
        } else {
            let shows = settings.client_verifier.is_some();
            Some(Arc::new(base().require_client_certificate(shows).build()?))
        };
        Ok(Self { settings, keyed, certified })
    }

    /// Under which identities clients may name a key, as far as they are text.
    pub fn shared_key_names(&self) -> impl Iterator<Item = &str> {
        self.settings.shared_keys.keys().filter_map(|identity| str::from_utf8(identity).ok())
    }

    /// Whether an association with this key may go on.
    fn knows(&self, identity: &[u8], key: &[u8]) -> bool {
        self.settings.shared_keys.get(identity).is_some_and(|known| known == key)
    }
}

/// Tells the library a key, and us whose it is. The library goes on with a random key for an identity that is unknown, so that
/// nobody can tell it from a wrong key.
struct Resolver {
    keys: SharedKeys,
}

impl PskResolver for Resolver {
    fn resolve(&self, identity: &[u8]) -> Option<Vec<u8>> {
        let key = self.keys.get(identity)?;
        provider::tell_identity(identity, key);
        Some(key.clone())
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPair").finish_non_exhaustive()
    }
}

impl fmt::Debug for DtlsTerms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DtlsTerms").field("shared_keys", &self.settings.shared_keys.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
