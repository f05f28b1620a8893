//! `[identity]`: how peers prove who they are.

use althing_core::described;
use std::fmt;
use std::path::{Path, PathBuf};

described! {
    /// `[identity]`.
    #[derive(Clone, Debug, Default)]
    pub struct IdentityConfig {
        /// Whether whoever gives no credentials is let in: on listeners that only this machine can reach (`loopback`),
        /// `everywhere`, or `nowhere`.
        pub anonymous: Anonymous,
        /// Names and passwords; `althing users` writes it. When nothing is said, `users` in the data directory.
        pub password_file: Option<PathBuf>,
        /// A password file of mosquitto as it is.
        pub mosquitto_password_file: Option<PathBuf>,
        /// `[identity.certificate]`.
        pub certificate: CertificateConfig,
    }
}

described! {
    /// `[identity.certificate]`: who shows a certificate of `tls.client_ca`.
    #[derive(Clone, Debug, Default)]
    pub struct CertificateConfig {
        /// Whether the certificate proves a name. If not, it only opens the door.
        pub enabled: bool,
        /// What of the certificate is the name.
        pub name: CertificateName,
    }
}

impl IdentityConfig {
    /// Whether somebody could log in with a name, without a certificate.
    pub fn can_prove_anybody(&self, data: &Path) -> bool {
        let users = self.password_file.clone().unwrap_or_else(|| data.join("users"));
        let has_lines = |path: &Path| std::fs::read_to_string(path).is_ok_and(|text| !text.trim().is_empty());
        has_lines(&users) || self.mosquitto_password_file.as_deref().is_some_and(has_lines)
    }
}

/// Where whoever gives no credentials is let in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Anonymous {
    /// On listeners that only this machine can reach.
    #[default]
    Loopback,
    /// Everywhere.
    Everywhere,
    /// Nowhere.
    Nowhere,
}

/// What of a certificate is its owner's name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CertificateName {
    /// The common name of the subject.
    #[default]
    CommonName,
    /// The whole subject, as RFC 4514 writes it.
    Subject,
    /// The first DNS name.
    DnsName,
    /// The first URI.
    Uri,
    /// The first mail address.
    Email,
    /// SHA-256 of the certificate, in hexadecimal.
    Fingerprint,
}

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The text.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
