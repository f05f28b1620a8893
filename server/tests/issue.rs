//! Certificates that we make: read back by another library, and by rustls as both ends of a handshake.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use althing_server::issue::{AUTHORITY_DAYS, Authority, Existing, IssueError, Issued, LEAF_DAYS};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

/// A directory that ends with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("issue-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn certificate(issued: &Issued) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(issued.certificate_pem.as_bytes()).unwrap()
}

fn key(issued: &Issued) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).unwrap()
}

/// Whether a client that trusts `ca` and shows `client` gets through to a server that shows `server` and trusts `ca`.
fn shake_hands(ca: &Issued, server: &Issued, client: &Issued, name: &str) -> Result<(), rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(certificate(ca)).unwrap();
    let roots = Arc::new(roots);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone()).build().unwrap();
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate(server)], key(server))?;
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate(client)], key(client))?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name)?;
    let mut server = ServerConnection::new(Arc::new(server))?;
    while client.is_handshaking() || server.is_handshaking() {
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        server.read_tls(&mut &bytes[..]).unwrap();
        server.process_new_packets()?;
        bytes.clear();
        server.write_tls(&mut bytes).unwrap();
        client.read_tls(&mut &bytes[..]).unwrap();
        client.process_new_packets()?;
    }
    Ok(())
}

#[test]
fn what_a_ca_signs_is_trusted_by_who_trusts_the_ca() {
    let (authority, ca) = Authority::new("Test CA", AUTHORITY_DAYS).unwrap();
    let address = "10.1.2.3".parse().unwrap();
    let names = ["broker.example".to_owned(), "*.lab.example".to_owned()];
    let server = authority.server(&names, &[address], LEAF_DAYS).unwrap();
    let client = authority.client("ann", LEAF_DAYS).unwrap();
    for name in ["broker.example", "a.lab.example", "10.1.2.3"] {
        shake_hands(&ca, &server, &client, name).unwrap();
    }
    for name in ["other.example", "a.b.lab.example", "10.1.2.4", "localhost"] {
        assert!(shake_hands(&ca, &server, &client, name).is_err(), "{name}");
    }
    // Neither of the two can play the other's part, and neither is a CA.
    assert!(shake_hands(&ca, &client, &client, "broker.example").is_err());
    assert!(shake_hands(&ca, &server, &server, "broker.example").is_err());
    assert!(shake_hands(&server, &server, &client, "broker.example").is_err());
    // Another CA's signature is worth nothing here.
    let (stranger, _) = Authority::new("Test CA", AUTHORITY_DAYS).unwrap();
    assert!(shake_hands(&ca, &stranger.server(&names, &[], LEAF_DAYS).unwrap(), &client, "broker.example").is_err());
    assert!(shake_hands(&ca, &server, &stranger.client("ann", LEAF_DAYS).unwrap(), "broker.example").is_err());
}

#[test]
fn localhost_brings_the_loopback_addresses() {
    let (authority, ca) = Authority::new("Test CA", AUTHORITY_DAYS).unwrap();
    let server = authority.server(&["localhost".to_owned()], &[], LEAF_DAYS).unwrap();
    let client = authority.client("ann", LEAF_DAYS).unwrap();
    for name in ["localhost", "127.0.0.1", "::1"] {
        shake_hands(&ca, &server, &client, name).unwrap();
    }
}

#[test]
fn a_written_ca_signs_after_it_has_been_opened_again() {
    let scratch = Scratch::new();
    let (_, ca) = Authority::new("Test CA", AUTHORITY_DAYS).unwrap();
    ca.write(&scratch.0, Existing::Keep).unwrap();
    let authority = Authority::open(&scratch.0).unwrap();
    let server = authority.server(&["broker.example".to_owned()], &[], LEAF_DAYS).unwrap();
    let client = authority.client("ann", LEAF_DAYS).unwrap();
    shake_hands(&ca, &server, &client, "broker.example").unwrap();
}

#[test]
fn nothing_is_overwritten_unasked_and_keys_are_their_owners() {
    let scratch = Scratch::new();
    let (authority, ca) = Authority::new("Test CA", AUTHORITY_DAYS).unwrap();
    let files = ca.write(&scratch.0, Existing::Keep).unwrap();
    let mode = |path: &PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&files.key), 0o600);
    let (_, other) = Authority::new("Test CA", AUTHORITY_DAYS).unwrap();
    assert!(
        matches!(other.write(&scratch.0, Existing::Keep), Err(IssueError::Exists(path)) if path == files.certificate)
    );
    assert_eq!(fs::read_to_string(&files.key).unwrap(), ca.key_pem);
    other.write(&scratch.0, Existing::Replace).unwrap();
    assert_eq!((fs::read_to_string(&files.key).unwrap(), mode(&files.key)), (other.key_pem.clone(), 0o600));
    // Whatever a client is called, the CA stays.
    assert!(authority.client("ca", LEAF_DAYS).is_err());
    let named: Vec<_> = fs::read_dir(&scratch.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(named.len(), 2, "{named:?}");
}

#[test]
fn a_ca_that_cannot_sign_says_why() {
    let scratch = Scratch::new();
    assert!(matches!(Authority::open(&scratch.0), Err(IssueError::NoAuthority(_))));
    let (authority, ca) = Authority::new("Test CA", AUTHORITY_DAYS).unwrap();
    let (_, other) = Authority::new("Test CA", AUTHORITY_DAYS).unwrap();
    let files = ca.write(&scratch.0, Existing::Keep).unwrap();
    let reason = || match Authority::open(&scratch.0) {
        Err(IssueError::BadAuthority { reason, .. }) => reason,
        other => panic!("{other:?}"),
    };
    fs::write(&files.key, &other.key_pem).unwrap();
    assert!(reason().contains("does not belong"));
    fs::write(&files.key, "nonsense").unwrap();
    assert!(reason().contains("no private key"));
    let leaf = authority.client("ann", LEAF_DAYS).unwrap();
    fs::write(&files.key, &leaf.key_pem).unwrap();
    fs::write(&files.certificate, &leaf.certificate_pem).unwrap();
    assert!(reason().contains("not the certificate of a CA"));
}

#[test]
fn names_fit_certificates_and_files() {
    let (authority, _) = Authority::new("Test CA", AUTHORITY_DAYS).unwrap();
    for name in ["", ".hidden", "a/b", "a\nb", &"x".repeat(65)] {
        assert!(matches!(authority.client(name, LEAF_DAYS), Err(IssueError::Name { .. })), "{name:?}");
    }
    for name in ["a b", "a..b", "-", "*", "a.*.b"] {
        let result = authority.server(&[name.to_owned()], &[], LEAF_DAYS);
        assert!(matches!(result, Err(IssueError::Name { .. })), "{name:?}");
    }
    assert!(matches!(authority.server(&[], &[], LEAF_DAYS), Err(IssueError::Name { .. })));
}

#[test]
fn a_leaf_ends_with_its_ca_at_the_latest() {
    let (authority, ca) = Authority::new("Test CA", 30).unwrap();
    let server = authority.server(&["h.example".to_owned()], &[], 10).unwrap();
    let in_days = |days: u64| SystemTime::now() + Duration::from_secs(86_400 * days);
    assert!(server.not_after > in_days(9) && server.not_after < in_days(11));
    let longer = authority.server(&["h.example".to_owned()], &[], 100).unwrap();
    assert_eq!(longer.not_after, ca.not_after);
}
