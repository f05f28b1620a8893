//! Certificates, keys and what else TLS listeners need, from files to what is shown to peers.
//!
//! A reload is atomic: [`prepare`] reads and checks everything and changes nothing; [`TlsStores::apply`] cannot fail. So what
//! was good stays while what is new is wrong.
//!
//! - `files`: PEM files, and what may be wrong with them.
//! - `names`: which certificate a peer gets.
//! - `certificate`: what a certificate says.
//! - `datagrams`: the same for DTLS, and the keys that are shared with devices.
//! - `expiry`: warnings before one ends.

pub(crate) mod certificate;
mod datagrams;
mod expiry;
mod files;
mod names;

pub use expiry::warn_of_expiry;

use crate::config::{ClientCertificate, Listen, TlsSettings, TlsVersion};
use althing_net::{DtlsAcceptor, TlsAcceptor, TlsTerms};
use datagrams::{DtlsStore, LoadedDtls};
use files::{Chain, RevocationList};
use names::CertificatesByName;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What is wrong with a file: one sentence that names it and says what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TlsError(String);

/// Everything that TLS listeners show and accept now.
#[derive(Debug, Default)]
pub struct TlsStores {
    listeners: Mutex<BTreeMap<&'static str, Store>>,
    doors: Mutex<BTreeMap<&'static str, DtlsStore>>,
}

/// What was read for one listener, and the handle by which it speaks.
#[derive(Debug)]
struct Store {
    acceptor: Arc<TlsAcceptor>,
    digest: [u8; 32],
    certificates: Vec<CertificateStatus>,
}

/// A certificate, or a list of revoked ones, that listeners use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateStatus {
    /// Where it was read.
    pub file: PathBuf,
    /// Whose it is, as RFC 4514 writes it.
    pub subject: String,
    /// What it is used for.
    pub role: CertificateRole,
    /// When it ends, in seconds since 1970; for a list of revoked ones, when the next is due.
    pub not_after_s: i64,
    /// The DNS names, addresses and others that it is for.
    pub names: Vec<String>,
    /// SHA-256 of the certificate.
    pub fingerprint: [u8; 32],
    /// The listeners that use it.
    pub listeners: Vec<&'static str>,
}

/// What a certificate is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateRole {
    /// It is shown to peers.
    Server,
    /// It vouches for the certificates that peers show.
    ClientAuthority,
    /// It says which of these are void.
    RevocationList,
}

impl CertificateRole {
    /// The name in metrics, logs and the admin interface.
    pub fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::ClientAuthority => "client_ca",
            Self::RevocationList => "crl",
        }
    }
}

/// Everything that was read, checked and is ready to be used.
#[derive(Debug)]
pub struct Prepared {
    listeners: Vec<(&'static str, Loaded)>,
    doors: Vec<(&'static str, LoadedDtls)>,
}

#[derive(Debug)]
struct Loaded {
    terms: TlsTerms,
    digest: [u8; 32],
    certificates: Vec<CertificateStatus>,
}

impl Prepared {
    /// Who comes in with a key of its own, at any listener.
    pub fn shared_key_names(&self) -> impl Iterator<Item = &str> {
        self.doors.iter().flat_map(|(_, door)| door.shared_key_names())
    }
}

/// Reads and checks what the TLS listeners among `listens` need. Nothing changes by it.
///
/// # Errors
/// The first thing that is wrong.
pub fn prepare(listens: &[Listen]) -> Result<Prepared, TlsError> {
    let mut listeners: Vec<(&'static str, Loaded)> = Vec::new();
    let mut doors: Vec<(&'static str, LoadedDtls)> = Vec::new();
    for listen in listens {
        // Several addresses of one listener say the same.
        let is_known = listeners.iter().any(|(name, _)| *name == listen.name);
        let is_new = !is_known && !doors.iter().any(|(name, _)| *name == listen.name);
        let Some(settings) = listen.tls.as_ref().filter(|_| is_new) else { continue };
        if let Some(datagrams) = &settings.datagrams {
            doors.push((listen.name, LoadedDtls::read(listen.name, settings, datagrams)?));
        } else {
            let loaded = Loaded::read(listen.name, &listen.protocol.application_protocols(), settings)?;
            listeners.push((listen.name, loaded));
        }
    }
    Ok(Prepared { listeners, doors })
}

/// The files that TLS listeners are made of: whoever watches them knows when to load anew.
pub fn files(listens: &[Listen]) -> Vec<PathBuf> {
    let of_settings = |it: &TlsSettings| {
        let pairs = it.certificates.iter().flat_map(|pair| [pair.certificate.clone(), pair.key.clone()]);
        pairs.chain(it.client_ca.clone()).chain(it.crl.clone()).collect::<Vec<_>>()
    };
    let mut files: Vec<_> = listens.iter().filter_map(|it| it.tls.as_ref()).flat_map(of_settings).collect();
    files.sort_unstable();
    files.dedup();
    files
}

impl TlsStores {
    /// The handle by which the listener of this name speaks TLS.
    pub fn acceptor(&self, listener: &str) -> Option<Arc<TlsAcceptor>> {
        self.lock().get(listener).map(|store| Arc::clone(&store.acceptor))
    }

    /// The handle by which the listener of this name speaks DTLS.
    pub fn dtls_acceptor(&self, listener: &str) -> Option<Arc<DtlsAcceptor>> {
        let doors = self.doors.lock().unwrap_or_else(PoisonError::into_inner);
        doors.get(listener).map(|store| Arc::clone(&store.acceptor))
    }

    fn apply_to_doors(&self, prepared: Vec<(&'static str, LoadedDtls)>, changed: &mut Vec<&'static str>) {
        let mut doors = self.doors.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, LoadedDtls { terms, digest, certificates }) in prepared {
            match doors.get_mut(name) {
                Some(store) if store.digest == digest => continue,
                Some(store) => {
                    store.acceptor.set_terms(terms);
                    (store.digest, store.certificates) = (digest, certificates);
                }
                None => {
                    let acceptor = Arc::new(DtlsAcceptor::new(terms));
                    doors.insert(name, DtlsStore { acceptor, digest, certificates });
                }
            }
            changed.push(name);
        }
    }

    /// Has handshakes from now on use what was prepared; connections keep what they have. Returns the listeners for which
    /// something is different. Those that are not named any more stay as they are.
    pub fn apply(&self, prepared: Prepared) -> Vec<&'static str> {
        let mut listeners = self.lock();
        let mut changed = Vec::new();
        for (name, Loaded { terms, digest, certificates }) in prepared.listeners {
            match listeners.get_mut(name) {
                // The same terms stay, and with them the tickets that peers have for them.
                Some(store) if store.digest == digest => {}
                Some(store) => {
                    store.acceptor.set_terms(terms);
                    (store.digest, store.certificates) = (digest, certificates);
                    changed.push(name);
                }
                None => {
                    let acceptor = Arc::new(TlsAcceptor::new(terms));
                    listeners.insert(name, Store { acceptor, digest, certificates });
                    changed.push(name);
                }
            }
        }
        self.apply_to_doors(prepared.doors, &mut changed);
        changed
    }

    /// Every certificate that is in use, the one that ends first in front.
    pub fn certificates(&self) -> Vec<CertificateStatus> {
        let mut all: Vec<CertificateStatus> = Vec::new();
        let (listeners, doors) = (self.lock(), self.doors.lock().unwrap_or_else(PoisonError::into_inner));
        let of_streams = listeners.values().flat_map(|store| &store.certificates);
        let of_datagrams = doors.values().flat_map(|store| &store.certificates);
        for status in of_streams.chain(of_datagrams) {
            let is_same = |it: &&mut CertificateStatus| {
                (&it.file, it.fingerprint, it.role) == (&status.file, status.fingerprint, status.role)
            };
            match all.iter_mut().find(is_same) {
                Some(known) => known.listeners.extend(&status.listeners),
                None => all.push(status.clone()),
            }
        }
        all.iter_mut().for_each(|status| status.listeners.sort_unstable());
        all.sort_by_key(|status| status.not_after_s);
        all
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Store>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Loaded {
    fn read(listener: &'static str, protocols: &[&[u8]], settings: &TlsSettings) -> Result<Self, TlsError> {
        let mut reading = Reading { listener, digest: Sha256::new(), certificates: Vec::new() };
        reading.digest.update(format!("{settings:?}"));
        let provider = Arc::new(ring::default_provider());
        let mut by_name = CertificatesByName::default();
        for pair in &settings.certificates {
            let chain = Chain::read(&pair.certificate, &pair.key, &provider)?;
            reading.digest.update(&chain.text);
            reading.tell(&pair.certificate, CertificateRole::Server, chain.facts.clone());
            by_name.add(chain);
        }
        let verifier = reading.client_verifier(settings, &provider)?;
        let versions: Vec<&SupportedProtocolVersion> = settings.versions.iter().map(|it| version_of(*it)).collect();
        let refused = |error: rustls::Error| TlsError(format!("TLS at {listener} cannot be spoken like this: {error}"));
        let builder =
            ServerConfig::builder_with_provider(provider).with_protocol_versions(&versions).map_err(refused)?;
        let mut config = match verifier {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        }
        .with_cert_resolver(Arc::new(by_name));
        // A ticket is good where and as long as the same terms hold: what a reload has revoked does not come back by it.
        config.ticketer = ring::Ticketer::new().map_err(refused)?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        let timeout = Duration::from_millis(settings.handshake_timeout_ms);
        let terms = TlsTerms::new(config, protocols, timeout, |der| Ok(certificate::read(der)?.certificate));
        Ok(Self { terms, digest: reading.digest.finalize().into(), certificates: reading.certificates })
    }
}

fn version_of(version: TlsVersion) -> &'static SupportedProtocolVersion {
    match version {
        TlsVersion::V12 => &version::TLS12,
        TlsVersion::V13 => &version::TLS13,
    }
}

/// What is gathered while the files of one listener are read.
struct Reading {
    listener: &'static str,
    digest: Sha256,
    certificates: Vec<CertificateStatus>,
}

impl Reading {
    fn client_verifier(
        &mut self,
        settings: &TlsSettings,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
        let Some(client_ca) = settings.client_ca.as_ref() else { return Ok(None) };
        if settings.client_certificate == ClientCertificate::None {
            return Ok(None);
        }
        let mut roots = RootCertStore::empty();
        let authorities = files::read_authorities(client_ca, &mut roots)?;
        self.digest.update(&authorities.text);
        for facts in authorities.facts {
            self.tell(client_ca, CertificateRole::ClientAuthority, facts);
        }
        let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        if let Some(crl) = &settings.crl {
            let RevocationList { text, lists, facts } = files::read_revocation_lists(crl)?;
            self.digest.update(&text);
            for facts in facts {
                self.tell(crl, CertificateRole::RevocationList, facts);
            }
            // Whether an authority is still good is said by client_ca. A list that is out of date says nothing.
            builder = builder.with_crls(lists).only_check_end_entity_revocation().enforce_revocation_expiration();
        }
        if settings.client_certificate == ClientCertificate::Optional {
            builder = builder.allow_unauthenticated();
        }
        let verifier = builder
            .build()
            .map_err(|error| TlsError(format!("{} cannot be used to verify peers: {error}", client_ca.display())))?;
        Ok(Some(verifier))
    }

    fn tell(&mut self, file: &Path, role: CertificateRole, facts: certificate::Facts) {
        self.certificates.push(CertificateStatus {
            file: file.to_owned(),
            subject: facts.certificate.subject,
            role,
            not_after_s: facts.certificate.not_after_s,
            names: facts.names,
            fingerprint: facts.certificate.fingerprint,
            listeners: vec![self.listener],
        });
    }
}

#[cfg(test)]
mod tests;
