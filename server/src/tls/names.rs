//! Which certificate a peer gets: the one for the name that it asks for (SNI, RFC 6066, 3), with a key that it can use.

use super::files::Chain;
use rustls::SignatureScheme;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::collections::HashMap;
use std::sync::Arc;

/// Certificates by the DNS names in them.
#[derive(Debug, Default)]
pub struct CertificatesByName {
    /// In the order of the configuration; the first is the one for whoever asks for no known name.
    all: Vec<Arc<CertifiedKey>>,
    /// Lower case; `*.example.org` stands for every name with one label more.
    by_name: HashMap<String, Vec<Arc<CertifiedKey>>>,
}

impl CertificatesByName {
    pub fn add(&mut self, chain: Chain) {
        for name in &chain.facts.certificate.dns_names {
            self.by_name.entry(name.to_ascii_lowercase()).or_default().push(Arc::clone(&chain.key));
        }
        self.all.push(chain.key);
    }

    pub(super) fn find(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let named = name.and_then(|name| self.named(&name.to_ascii_lowercase())).unwrap_or_default();
        // One that the peer cannot verify is better than none: it says why it goes.
        let is_usable = |it: &&Arc<CertifiedKey>| it.key.choose_scheme(schemes).is_some();
        let mut candidates = named.iter().chain(&self.all);
        candidates.find(is_usable).or(self.all.first()).cloned()
    }

    fn named(&self, name: &str) -> Option<&[Arc<CertifiedKey>]> {
        let wildcard = || {
            let (_, parent) = name.split_once('.')?;
            self.by_name.get(&format!("*.{parent}"))
        };
        self.by_name.get(name).or_else(wildcard).map(Vec::as_slice)
    }
}

impl ResolvesServerCert for CertificatesByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.find(hello.server_name(), hello.signature_schemes())
    }
}
