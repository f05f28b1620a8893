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
        /// `[identity.shared_key]`
        pub shared_key: SharedKeyConfig,
        /// `[identity.certificate]`
        pub certificate: CertificateConfig,
        /// `[identity.jwt]`
        pub jwt: JwtConfig,
        /// `[identity.http]`
        pub http: CallbackConfig,
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
            shared_key: SharedKeyConfig::default(),
            certificate: CertificateConfig::default(),
            jwt: JwtConfig::default(),
            http: CallbackConfig::default(),
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
    /// `[identity.shared_key]`: what a secret that a peer shares with the broker says of who it is.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct SharedKeyConfig {
        /// Whether a key that a peer has proven to hold names it: the PSK identity of DTLS, or the name of the OSCORE context. If
        /// not, the key opens the door and names nobody.
        pub enabled: bool,
    }
}

impl Default for SharedKeyConfig {
    fn default() -> Self {
        Self { enabled: true }
    }
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

described! {
    /// `[identity.jwt]`: JSON Web Tokens in the place of the password.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct JwtConfig {
        /// A file with the secret of tokens that are signed by HMAC (HS256, HS384, HS512): 32 bytes at least.
        pub secret_file: Option<PathBuf>,
        /// Files with the public keys of tokens that are signed by RSA (RS and PS), P-256, P-384 or Ed25519, in PEM.
        pub public_key_files: Vec<PathBuf>,
        /// A file with a set of keys (RFC 7517), each with the id that tokens choose it by.
        pub jwks_file: Option<PathBuf>,
        /// The algorithms that are accepted, "RS256" for one. When nothing is said, all that the keys are good for.
        pub algorithms: Vec<String>,
        /// What `iss` has to be.
        pub issuer: Option<String>,
        /// What has to be in `aud`.
        pub audience: Option<String>,
        /// How far the clocks may differ, in seconds: a token holds for so much longer than `exp` says, and from so much earlier
        /// on than `nbf`.
        pub leeway_s: u64,
        /// The claim that is the user's name.
        pub username_claim: String,
        /// Whether the user name that comes with the token has to be the same.
        pub username_must_match: bool,
        /// The claim that lists the user's groups.
        pub groups_claim: String,
    }
}

impl Default for JwtConfig {
    fn default() -> Self {
        Self {
            secret_file: None,
            public_key_files: Vec::new(),
            jwks_file: None,
            algorithms: Vec::new(),
            issuer: None,
            audience: None,
            leeway_s: 10,
            username_claim: "sub".into(),
            username_must_match: false,
            groups_claim: "groups".into(),
        }
    }
}

impl JwtConfig {
    /// Every file with keys.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.secret_file.iter().chain(&self.public_key_files).chain(&self.jwks_file)
    }
}

described! {
    /// `[identity.http]`: a service that is asked who somebody is.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct CallbackConfig {
        /// Where it is asked.
        pub url: Option<String>,
        /// A file with the CA that its certificate is from, in PEM. When nothing is said, those that browsers know.
        pub ca_file: Option<PathBuf>,
        /// How long an answer may take, in milliseconds.
        pub timeout_ms: u64,
        /// How many questions may be under way at once.
        pub connections_max: usize,
        /// How long a "yes" is remembered, as a salted hash of what was asked, in seconds.
        pub cache_s: u64,
        /// The same for a "no".
        pub refused_cache_s: u64,
        /// How many answers are remembered.
        pub cache_max: usize,
        /// After so many failures in a row it is left alone, and nobody is let in by it.
        pub failures_max: u32,
        /// After so many milliseconds of being left alone it is asked once more.
        pub retry_ms: u64,
    }
}

impl Default for CallbackConfig {
    fn default() -> Self {
        Self {
            url: None,
            ca_file: None,
            timeout_ms: 3_000,
            connections_max: 4,
            cache_s: 60,
            refused_cache_s: 5,
            cache_max: 10_000,
            failures_max: 5,
            retry_ms: 5_000,
        }
    }
}

impl IdentityConfig {
    /// Whether somebody could log in with a name, without a certificate.
    pub fn can_prove_anybody(&self, data: &Path) -> bool {
        let has_lines = |path: &Path| std::fs::read_to_string(path).is_ok_and(|text| !text.trim().is_empty());
        has_lines(&users_file(self, data))
            || self.mosquitto_password_file.as_deref().is_some_and(has_lines)
            || self.jwt.files().next().is_some()
            || self.http.url.is_some()
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
