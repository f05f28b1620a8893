//! `[identity]` of the configuration.

use super::users_file;
use althing_core::described;
use std::fmt;
use std::path::{Path, PathBuf};

described! {
    /// Who is let in, and who vouches for them.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct IdentityConfig {
        /// Where whoever gives no credentials is let in, as nobody: "loopback" = through listeners that no other machine
        /// reaches, "everywhere", or "nowhere". A listener may say it for itself.
        pub anonymous: Anonymous,
        /// The users file, which `althing users` writes. When nothing is said it is `users` in the data directory, if it is
        /// there.
        pub password_file: Option<PathBuf>,
        /// A password file of mosquitto, as `mosquitto_passwd` writes it.
        pub mosquitto_password_file: Option<PathBuf>,
        /// Threads that check passwords; 0 = one less than the machine has processors, from 1 to 4.
        pub threads: usize,
        /// Logins that may wait for such a thread. More are told that the broker is busy, first those of the address that
        /// has most of them.
        pub waiting_max: usize,
        /// How long a login may wait, in milliseconds, before it is told that the broker is busy.
        pub waiting_ms_max: u64,
        /// How long a password that was right is remembered, as a salted hash in memory, in seconds, so that everyone can come
        /// back at once; 0 = never. A change of the users file forgets all.
        pub remember_s: u64,
        /// `[identity.certificate]`
        pub certificate: CertificateConfig,
    }
}

impl Default for IdentityConfig {
    fn default() -> Self {
        Self {
            anonymous: Anonymous::Loopback,
            password_file: None,
            mosquitto_password_file: None,
            threads: 0,
            waiting_max: 1_024,
            waiting_ms_max: 8_000,
            remember_s: 300,
            certificate: CertificateConfig::default(),
        }
    }
}

/// Where whoever gives no credentials is let in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Anonymous {
    /// Through listeners that no other machine reaches.
    #[default]
    Loopback,
    /// Through every listener.
    Everywhere,
    /// Through none.
    Nowhere,
}

described! {
    /// `[identity.certificate]`: what a client certificate says of who somebody is.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct CertificateConfig {
        /// Whether a verified client certificate proves its owner's name. If not, it opens the door and names nobody.
        pub enabled: bool,
        /// Which part of the certificate is the name: "common_name", the whole "subject", the first "dns_name", "uri" or "email"
        /// of the subject's alternative names, or the certificate's "fingerprint" (SHA-256, in hexadecimal).
        pub name: CertificateName,
    }
}

/// Which part of a certificate is its owner's name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CertificateName {
    /// The subject's common name.
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

impl IdentityConfig {
    /// Whether somebody could log in with a name, without a certificate.
    pub fn can_prove_anybody(&self, data: &Path) -> bool {
        let has_lines = |path: &Path| std::fs::read_to_string(path).is_ok_and(|text| !text.trim().is_empty());
        has_lines(&users_file(self, data)) || self.mosquitto_password_file.as_deref().is_some_and(has_lines)
    }
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
