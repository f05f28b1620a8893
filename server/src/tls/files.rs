//! PEM files, and what may be wrong with each: one sentence that names the file and the remedy.

use super::TlsError;
use super::certificate::{self, Facts};
use althing_core::link::Certificate;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore};
use sha2::{Digest, Sha256};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;
use x509_parser::prelude::{CertificateRevocationList, FromDer};

/// A certificate with its issuers and its key.
pub struct Chain {
    pub key: Arc<CertifiedKey>,
    /// Of the certificate itself.
    pub facts: Facts,
    /// What the files held.
    pub text: Vec<u8>,
}

impl Chain {
    pub fn read(certificate: &Path, key: &Path, provider: &CryptoProvider) -> Result<Self, TlsError> {
        let (name, key_name) = (certificate.display(), key.display());
        let mut text = read_file(certificate, "the certificate")?;
        let key_text = read_file(key, "the key")?;
        let chain = certificates(certificate, &text)?;
        let facts = facts_of(certificate, &chain[0])?;
        if facts.certificate.not_after_s <= now_s() {
            return wrong(format!("{name} has expired: renew the certificate of {}", facts.certificate.subject));
        }
        let private = PrivateKeyDer::from_pem_slice(&key_text).map_err(|error| match error {
            PemError::NoItemsFound if holds(&key_text, "ENCRYPTED PRIVATE KEY") => TlsError(format!(
                "{key_name} holds a key behind a password, which nobody could type at a start: write it without \
                 (`openssl pkey -in {key_name} -out FILE`) and protect the file by its rights"
            )),
            PemError::NoItemsFound => TlsError(format!(
                "{key_name} holds no key in PEM: one begins with -----BEGIN PRIVATE KEY-----, RSA PRIVATE KEY or EC PRIVATE KEY"
            )),
            error => TlsError(format!("{key_name} cannot be read as PEM: {error}; write the key to it anew")),
        })?;
        let signing = provider.key_provider.load_private_key(private).map_err(|error| {
            TlsError(format!(
                "{key_name} holds a key that cannot be used ({error}): make one of type ECDSA, Ed25519 or RSA"
            ))
        })?;
        let certified = CertifiedKey::new(chain, signing);
        match certified.keys_match() {
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(Error::InconsistentKeys(_)) => {
                return wrong(format!("{key_name} is not the key to {name}: give the two that belong together"));
            }
            Err(error) => return wrong(format!("{name} holds a certificate that cannot be used: {error}")),
        }
        text.extend_from_slice(&key_text);
        Ok(Self { key: Arc::new(certified), facts, text })
    }
}

/// Certificates of those who vouch for others.
pub struct Authorities {
    pub facts: Vec<Facts>,
    /// What the file held.
    pub text: Vec<u8>,
}

/// Adds every certificate of the file to `roots`.
pub fn read_authorities(file: &Path, roots: &mut RootCertStore) -> Result<Authorities, TlsError> {
    let text = read_file(file, "client_ca")?;
    let mut facts = Vec::new();
    for certificate in certificates(file, &text)? {
        facts.push(facts_of(file, &certificate)?);
        roots.add(certificate).map_err(|error| {
            TlsError(format!("{} holds a certificate that cannot vouch for others: {error}", file.display()))
        })?;
    }
    if facts.iter().all(|it| it.certificate.not_after_s <= now_s()) {
        return wrong(format!("{} holds only certificates that have expired: renew client_ca", file.display()));
    }
    Ok(Authorities { facts, text })
}

/// Lists of certificates that are void.
pub struct RevocationList {
    pub lists: Vec<CertificateRevocationListDer<'static>>,
    /// Of each list: its issuer, and when the next is due.
    pub facts: Vec<Facts>,
    /// What the file held.
    pub text: Vec<u8>,
}

/// Reads every list of the file.
pub fn read_revocation_lists(file: &Path) -> Result<RevocationList, TlsError> {
    let name = file.display();
    let text = read_file(file, "crl")?;
    let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&text).collect();
    let lists = lists.map_err(|error| TlsError(format!("{name} cannot be read as PEM: {error}; write it anew")))?;
    if lists.is_empty() {
        return wrong(format!(
            "{name} holds no list of revoked certificates: one begins with -----BEGIN X509 CRL-----"
        ));
    }
    let mut facts = Vec::new();
    for list in &lists {
        let (_, parsed) = CertificateRevocationList::from_der(list)
            .map_err(|error| TlsError(format!("{name} holds a list that cannot be read: {error}")))?;
        let subject = certificate::distinguished_name(parsed.issuer());
        let not_after_s = parsed.next_update().map_or(i64::MAX, |it| it.timestamp());
        if not_after_s <= now_s() {
            return wrong(format!("{name} is out of date: get the present list of revoked certificates of {subject}"));
        }
        let fingerprint = Sha256::digest(list).into();
        let certificate = Certificate { subject, not_after_s, fingerprint, ..Certificate::default() };
        facts.push(Facts { certificate, names: Vec::new() });
    }
    Ok(RevocationList { lists, facts, text })
}

/// At least one.
fn certificates(file: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let all = all.map_err(|error| {
        TlsError(format!("{} cannot be read as PEM: {error}; write the certificate to it anew", file.display()))
    })?;
    if all.is_empty() {
        return wrong(format!(
            "{} holds no certificate in PEM: one begins with -----BEGIN CERTIFICATE-----",
            file.display()
        ));
    }
    Ok(all)
}

fn facts_of(file: &Path, der: &[u8]) -> Result<Facts, TlsError> {
    certificate::read(der).map_err(|why| TlsError(format!("{} cannot be used: {why}", file.display())))
}

fn read_file(file: &Path, role: &str) -> Result<Vec<u8>, TlsError> {
    std::fs::read(file).map_err(|error| {
        let name = file.display();
        TlsError(match error.kind() {
            ErrorKind::NotFound => format!("{name}, {role}, does not exist: correct the path, or put the file there"),
            ErrorKind::PermissionDenied => {
                format!("{name}, {role}, may not be read by this user: change its owner or its rights")
            }
            _ => format!("{name}, {role}, cannot be read: {error}"),
        })
    })
}

fn holds(text: &[u8], label: &str) -> bool {
    text.windows(label.len()).any(|window| window == label.as_bytes())
}

fn wrong<T>(text: String) -> Result<T, TlsError> {
    Err(TlsError(text))
}

pub fn now_s() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |it| it.as_secs() as i64)
}
