//! Makes certificates for a laboratory or a local network: a CA, and what it signs for servers and clients.
//!
//! ECDSA on P-256 throughout: every TLS library of the field takes it, and signing costs a broker little. A CA is two files
//! in a directory, `ca.crt` and `ca.key`; what it signs lies beside it. Key files are readable by their owner alone.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType,
};
use rustls::pki_types::DnsName;
use sha2::{Digest, Sha256};
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How long a CA holds: ten years. What it has signed ends with it.
pub const AUTHORITY_DAYS: u32 = 3_650;
/// How long a server's or client's certificate holds: the longest that Apple's clients take from a private CA.
pub const LEAF_DAYS: u32 = 825;

/// No certificate holds longer; X.509 counts years with four digits.
const DAYS_MAX: u32 = 36_500;
const DAY: Duration = Duration::from_secs(86_400);
/// Certificates hold from a day ago, for devices whose clocks are behind.
const BACKDATED: Duration = DAY;
/// RFC 5280 appendix A.1, ub-common-name.
const COMMON_NAME_CHARACTERS_MAX: usize = 64;
/// The file names of the CA, without ending.
const AUTHORITY_STEM: &str = "ca";

/// A CA that can sign.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    not_after: SystemTime,
}

/// A certificate and its key, not yet written.
pub struct Issued {
    /// The certificate.
    pub certificate_pem: String,
    /// The private key, PKCS #8.
    pub key_pem: String,
    /// SHA-256 of the certificate, as `openssl x509 -fingerprint -sha256` prints it.
    pub fingerprint: String,
    /// When it ends.
    pub not_after: SystemTime,
    /// What its files are called, without ending.
    stem: String,
}

/// Where a certificate and its key have been written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// `NAME.crt`
    pub certificate: PathBuf,
    /// `NAME.key`
    pub key: PathBuf,
}

/// What to do with files that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Leave them; writing fails.
    Keep,
    /// Replace each at once, so that a broker that watches it never reads half a file.
    Replace,
}

/// Why nothing was made.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// Nothing is overwritten unasked.
    #[error("{} is there already", .0.display())]
    Exists(PathBuf),
    /// The directory holds no CA.
    #[error("there is no CA in {}", .0.display())]
    NoAuthority(PathBuf),
    /// The files of the CA cannot be used.
    #[error("the CA in {} cannot be used: {reason}", directory.display())]
    BadAuthority {
        /// Where it lies.
        directory: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A name that cannot stand in a certificate or a file name.
    #[error("{name:?} {reason}")]
    Name {
        /// As given.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A file or directory.
    #[error("{}: {source}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// The library could not encode or sign.
    #[error("the certificate cannot be made: {0}")]
    Make(#[from] rcgen::Error),
}

impl Authority {
    /// Makes a new CA; `days` from now it ends.
    pub fn new(name: &str, days: u32) -> Result<(Self, Issued), IssueError> {
        let mut params = params(name, days, SystemTime::now() + DAY * DAYS_MAX)?;
        // It signs leaves, not other CAs.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        let issued = Issued::new(&certificate, &key, &params, AUTHORITY_STEM);
        Ok((Self { not_after: params.not_after.into(), issuer: Issuer::new(params, key) }, issued))
    }

    /// The CA that `directory` holds.
    pub fn open(directory: &Path) -> Result<Self, IssueError> {
        let read = |name: &str| {
            let path = directory.join(name);
            fs::read_to_string(&path).map_err(|source| match source.kind() {
                ErrorKind::NotFound => IssueError::NoAuthority(directory.to_owned()),
                _ => IssueError::File { path, source },
            })
        };
        let bad = |reason: String| IssueError::BadAuthority { directory: directory.to_owned(), reason };
        let (certificate_pem, key_pem) = (read("ca.crt")?, read("ca.key")?);
        let key = KeyPair::from_pem(&key_pem).map_err(|_| bad("ca.key is no private key in PEM".to_owned()))?;
        let (_, pem) = x509_parser::pem::parse_x509_pem(certificate_pem.as_bytes())
            .map_err(|_| bad("ca.crt is no certificate in PEM".to_owned()))?;
        let certificate = pem.parse_x509().map_err(|_| bad("ca.crt is no certificate".to_owned()))?;
        if !certificate.is_ca() {
            return Err(bad("ca.crt is not the certificate of a CA".to_owned()));
        }
        if certificate.public_key().raw != key.subject_public_key_info() {
            return Err(bad("ca.key does not belong to ca.crt".to_owned()));
        }
        let not_after = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
        let not_after = SystemTime::UNIX_EPOCH + Duration::from_secs(not_after);
        if not_after < SystemTime::now() {
            return Err(bad("ca.crt has expired".to_owned()));
        }
        Ok(Self { issuer: Issuer::from_ca_cert_pem(&certificate_pem, key)?, not_after })
    }

    /// A certificate for a server that is reached by these names and addresses, of which there must be one.
    ///
    /// `localhost` brings the loopback addresses with it. The first name, else the first address, names the files.
    pub fn server(&self, names: &[String], addresses: &[IpAddr], days: u32) -> Result<Issued, IssueError> {
        let mut addresses = addresses.to_vec();
        let mut dns_names = Vec::new();
        for name in names {
            match name.parse() {
                Ok(address) => addresses.push(address),
                Err(_) => dns_names.push(checked_host(name)?),
            }
        }
        if dns_names.contains(&"localhost") {
            addresses.extend([IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)]);
        }
        addresses.sort_unstable();
        addresses.dedup();
        let first = names.first().cloned().or_else(|| addresses.first().map(ToString::to_string));
        let first = first
            .ok_or(IssueError::Name { name: String::new(), reason: "names no server: give a name or an address" })?;
        let mut params = params(&first, days, self.not_after)?;
        for name in dns_names {
            params.subject_alt_names.push(SanType::DnsName(name.try_into()?));
        }
        params.subject_alt_names.extend(addresses.into_iter().map(SanType::IpAddress));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        // A `*` in a file name is a trap for whoever types it in a shell.
        self.sign(params, &first.replace('*', "wildcard").replace(':', "_"))
    }

    /// A certificate for the client of this name, which is its common name.
    pub fn client(&self, name: &str, days: u32) -> Result<Issued, IssueError> {
        let mut params = params(name, days, self.not_after)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params, name)
    }

    fn sign(&self, mut params: CertificateParams, stem: &str) -> Result<Issued, IssueError> {
        if stem == AUTHORITY_STEM {
            return Err(IssueError::Name { name: stem.to_owned(), reason: "is the CA's own name: choose another" });
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Issued::new(&certificate, &key, &params, stem))
    }
}

impl Issued {
    fn new(certificate: &rcgen::Certificate, key: &KeyPair, params: &CertificateParams, stem: &str) -> Self {
        Self {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            fingerprint: fingerprint(certificate.der()),
            not_after: params.not_after.into(),
            stem: stem.to_owned(),
        }
    }

    /// Writes both files into `directory`, which is made if need be.
    pub fn write(&self, directory: &Path, existing: Existing) -> Result<Files, IssueError> {
        let file = |ending: &str| directory.join(format!("{}.{ending}", self.stem));
        let files = Files { certificate: file("crt"), key: file("key") };
        for path in [&files.certificate, &files.key] {
            if existing == Existing::Keep && path.exists() {
                return Err(IssueError::Exists(path.clone()));
            }
        }
        fs::create_dir_all(directory).map_err(|source| IssueError::File { path: directory.to_owned(), source })?;
        write_whole(&files.key, &self.key_pem, 0o600)?;
        write_whole(&files.certificate, &self.certificate_pem, 0o644)?;
        Ok(files)
    }
}

impl std::fmt::Debug for Issued {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued")
            .field("stem", &self.stem)
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

/// SHA-256 of a certificate in DER, in the form `AB:CD:…`.
pub fn fingerprint(der: &[u8]) -> String {
    let bytes: Vec<String> = Sha256::digest(der).iter().map(|byte| format!("{byte:02X}")).collect();
    bytes.join(":")
}

/// What all certificates have in common; none outlives `end`.
fn params(common_name: &str, days: u32, end: SystemTime) -> Result<CertificateParams, IssueError> {
    let wrong = |reason| Err(IssueError::Name { name: common_name.to_owned(), reason });
    if common_name.is_empty() || common_name.chars().count() > COMMON_NAME_CHARACTERS_MAX {
        return wrong("is no name for a certificate: use 1 to 64 characters");
    }
    if common_name.starts_with('.') || common_name.contains(|c: char| c == '/' || c == '\\' || c.is_control()) {
        return wrong("cannot be a file name: leave out slashes, control characters and the first dot");
    }
    let now = SystemTime::now();
    let mut params = CertificateParams::default();
    params.not_before = (now - BACKDATED).into();
    params.not_after = (now + DAY * days.min(DAYS_MAX)).min(end).into();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    Ok(params)
}

/// A host name, or one with `*` for its first label (RFC 6125 §6.4.3).
fn checked_host(name: &str) -> Result<&str, IssueError> {
    match DnsName::try_from(name.strip_prefix("*.").unwrap_or(name)) {
        Ok(_) => Ok(name),
        Err(_) => Err(IssueError::Name { name: name.to_owned(), reason: "is no host name" }),
    }
}

/// Under another name first, so that nobody ever sees half of it.
fn write_whole(path: &Path, text: &str, mode: u32) -> Result<(), IssueError> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let write = || {
        // What an interrupted run has left there may be readable by others.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().map_err(|source| IssueError::File { path: path.to_owned(), source })
}
