//! Whom we trust: certificates of CAs from a file, a directory or the system.

use crate::exit::Failure;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::env;
use std::path::{Path, PathBuf};

/// Where systems keep the CAs that they trust, the first that is there: Debian and Alpine, Fedora, openSUSE, BSD and macOS.
const SYSTEM_FILES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Where the trusted CAs come from, for error messages too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// `--cafile`
    pub file: Option<PathBuf>,
    /// `--capath`
    pub directory: Option<PathBuf>,
    /// The system's, also when neither of the two is given.
    pub system: bool,
}

impl Trust {
    /// All certificates; errors are usage errors.
    pub fn roots(&self) -> Result<RootCertStore, Failure> {
        let mut roots = RootCertStore::empty();
        if let Some(file) = &self.file {
            add(&mut roots, certificates(file, "--cafile")?);
        }
        if let Some(directory) = &self.directory {
            for file in certificate_files(directory)? {
                // Beside certificates, such a directory holds what is none: keys, CRLs, a README.
                add(&mut roots, certificates(&file, "--capath").unwrap_or_default());
            }
            if roots.is_empty() {
                let text = format!("--capath {}: no certificates in PEM are there", directory.display());
                return Err(Failure::usage(text));
            }
        }
        if self.system {
            add(&mut roots, system_certificates());
        }
        Ok(roots)
    }
}

/// The certificates of a file in PEM, at least one; `option` names who asked for it.
pub fn certificates(path: &Path, option: &str) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let wrong = |why: &dyn std::fmt::Display| Failure::usage(format!("{option} {}: {why}", path.display()));
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    match found {
        Ok(found) if found.is_empty() => Err(wrong(&"no certificate in PEM (BEGIN CERTIFICATE) is in it")),
        Ok(found) => Ok(found),
        Err(rustls::pki_types::pem::Error::Io(error)) => Err(wrong(&error)),
        Err(error) => Err(wrong(&format!("no certificates in PEM: {error}"))),
    }
}

/// What webpki cannot read is not trusted, and nothing else suffers: systems carry a few odd ones.
fn add(roots: &mut RootCertStore, certificates: Vec<CertificateDer<'static>>) {
    roots.add_parsable_certificates(certificates);
}

/// Its files, by name so that the same directory always gives the same store.
fn certificate_files(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let wrong = |error| Failure::usage(format!("--capath {}: {error}", directory.display()));
    let entries: Result<Vec<_>, _> = directory.read_dir().map_err(wrong)?.collect();
    let mut files: Vec<PathBuf> = entries.map_err(wrong)?.into_iter().map(|entry| entry.path()).collect();
    files.retain(|path| path.is_file());
    files.sort();
    Ok(files)
}

/// `SSL_CERT_FILE` moves them, as it does for OpenSSL. None are there in a bare container.
fn system_certificates() -> Vec<CertificateDer<'static>> {
    let named = env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let places = named.into_iter().chain(SYSTEM_FILES.iter().map(PathBuf::from));
    places.filter(|path| path.is_file()).find_map(|path| certificates(&path, "").ok()).unwrap_or_default()
}
