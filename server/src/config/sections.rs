//! The sections of the configuration that are the program's own. Comments are shown to whoever asks what a key means.

use super::form::Otherwise;
use althing_core::authorisation::Network;
use althing_core::authorisation::Rule;
use althing_core::described;
use althing_core::link::ClientIdFrom;
use althing_net::Address;
use bytestring::ByteString;
use std::fmt;
use std::path::PathBuf;

described! {
    /// `[mqtt]`, `[stomp]`, …: where a language listens.
    #[derive(Clone, Debug)]
    pub struct Language {
        /// Whether it listens at all.
        pub enabled: bool,
        /// Where it listens without TLS: `127.0.0.1:1883`, `[::1]:1883`, `*:1883` (everywhere) or `unix:/path`; one, or a list.
        pub bind: Vec<Address>,
        /// Where it listens inside TLS. When nothing is said, at its TLS port on loopback as soon as there is a
        /// `tls.certificate`, and nowhere before.
        pub tls_bind: Option<Vec<Address>>,
    }
}

described! {
    /// `[listeners.NAME]`: one more listener.
    #[derive(Clone, Debug, Default)]
    pub struct ListenerKeys {
        /// The language that is spoken there, by its name in `althing protocols`.
        pub protocol: String,
        /// Where it listens; one address, or a list.
        pub bind: Vec<Address>,
        /// Whether inside TLS. What of it is not said here is as in `[tls]`.
        pub tls: bool,
        /// The chain of certificates that it shows, in PEM, its own first.
        pub certificate: Option<PathBuf>,
        /// The key to the certificate, in PEM.
        pub key: Option<PathBuf>,
        /// Whose certificates peers may show, in PEM.
        pub client_ca: Option<PathBuf>,
        /// Whether peers show a certificate.
        pub client_certificate: Option<ClientCertificate>,
        /// Certificates that are not valid any more, in PEM.
        pub crl: Option<PathBuf>,
        /// Whether a proxy tells at the start of each connection where it comes from (PROXY protocol, version 1 or 2).
        /// Connections that do not begin with it are closed: anybody who could leave it out could lie in it.
        pub proxy_protocol: bool,
        /// Where the proxies are that are believed: `192.0.2.0/24`, or one address; one, or a list. Whoever else connects is
        /// refused.
        pub proxy_networks: Vec<Network>,
        /// The space of sessions that its peers share; empty = the one of all listeners that name none.
        pub realm: ByteString,
        /// Put before every topic of its peers and taken off what they receive: their own part of the topic space. It ends in
        /// `/`.
        pub mount_point: ByteString,
        /// Whether whoever gives no credentials is let in. When nothing is said, as `identity.anonymous` has it.
        pub anonymous: Option<bool>,
        /// What a session's id is made of: what the peer says, or its proven name.
        pub client_id: ClientIdFrom,
        /// Connections at once. When nothing is said, `limits.connections_max` alone bounds them.
        pub connections_max: Option<u32>,
        /// New connections in one second; twice as many may come at once.
        pub connects_per_s: Option<u32>,
    }
}

described! {
    /// `[tls]`: what holds for every listener inside TLS that does not say otherwise.
    #[derive(Clone, Debug)]
    pub struct TlsKeys {
        /// The chain of certificates that the broker shows, in PEM, its own first. `althing cert` makes one for a lab.
        pub certificate: Option<PathBuf>,
        /// The key to the certificate, in PEM.
        pub key: Option<PathBuf>,
        /// More certificates with their keys. Peers get the one with the name that they ask for (SNI), else the first.
        pub certificates: Vec<CertificateFiles>,
        /// Whose certificates peers may show, in PEM.
        pub client_ca: Option<PathBuf>,
        /// Whether peers show a certificate: with `optional` those without one prove themselves in another way.
        pub client_certificate: ClientCertificate,
        /// Certificates that are not valid any more, in PEM.
        pub crl: Option<PathBuf>,
        /// How long a handshake may take. A dribbling peer holds a descriptor no longer than this.
        pub handshake_timeout_ms: u64,
        /// The versions that are spoken.
        pub versions: Vec<TlsVersion>,
    }
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, in PEM, its own first.
    pub certificate: PathBuf,
    /// The key, in PEM.
    pub key: PathBuf,
}

/// Whether peers show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificate {
    /// They are not asked for one.
    #[default]
    None,
    /// They may.
    Optional,
    /// Those without one are not let in.
    Required,
}

/// A version of TLS that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2.
    V12,
    /// TLS 1.3.
    V13,
}

impl Default for TlsKeys {
    fn default() -> Self {
        Self {
            certificate: None,
            key: None,
            certificates: Vec::new(),
            client_ca: None,
            client_certificate: ClientCertificate::None,
            crl: None,
            handshake_timeout_ms: 10_000,
            versions: vec![TlsVersion::V12, TlsVersion::V13],
        }
    }
}

described! {
    /// `[authorisation]`: who may do what.
    #[derive(Clone, Debug, Default)]
    pub struct Authorisation {
        /// What holds for what no rule speaks of. When nothing is said: `allow` while only this machine can reach the broker
        /// and there is no mosquitto ACL file; else `deny`.
        pub otherwise: Option<Otherwise>,
        /// Rules, as `[[authorisation.rules]]`, each with any of user, group, client, protocol, listener, network (whom it is
        /// for), actions, topic, qos_max, allow. The first that speaks of an action decides.
        pub rules: Vec<Rule>,
        /// More rules, as `[[rules]]`, asked after those above. When nothing is said, `rules.toml` in the data directory, where
        /// the admin interface writes.
        pub file: Option<PathBuf>,
        /// A mosquitto ACL file as it is, asked after all other rules; what it does not allow is denied.
        pub mosquitto_acl_file: Option<PathBuf>,
        /// Users who are shut out: they have no rights, and their sessions end.
        pub banned_users: Vec<ByteString>,
        /// Client ids that are shut out.
        pub banned_clients: Vec<ByteString>,
        /// Networks that are shut out: `192.0.2.0/24`, `2001:db8::/32`, or one address.
        pub banned_networks: Vec<Network>,
    }
}

described! {
    /// `[admin]`: the interface for people and programs that look after the broker.
    #[derive(Clone, Debug, Default)]
    pub struct Admin {
        /// Whether there is one.
        pub enabled: bool,
        /// Where it listens besides the socket in the data directory and the HTTP listeners, in plain HTTP: on loopback or on
        /// unix sockets, one address or a list.
        pub bind: Vec<Address>,
        /// Names, besides addresses and `localhost`, under which browsers and scrapers may call it.
        pub hosts: Vec<String>,
        /// Whether `/metrics` needs no token where other machines can reach it; on loopback it never does.
        pub metrics_open: bool,
    }
}

described! {
    /// `[console]`: the page for people.
    #[derive(Clone, Debug)]
    pub struct ConsoleKeys {
        /// Topics that are looked after while a page is open, for its live tree; a million of them take about 300 MiB. What
        /// comes beyond is left out of the tree, which says so.
        pub topics_max: usize,
    }
}

described! {
    /// `[log]`: what is logged, and how.
    #[derive(Clone, Debug)]
    pub struct Log {
        /// What is important enough.
        pub level: tracing::Level,
        /// What a line looks like: `text` for people, `json` for programs, one object a line.
        pub format: LogFormat,
        /// The file that lines are added to; without one they go to standard error. SIGUSR1 opens it anew.
        pub file: Option<PathBuf>,
    }
}

/// What a line of the log looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line, for programs.
    Json,
}

described! {
    /// `[server]`: the program itself.
    #[derive(Clone, Debug)]
    pub struct Server {
        /// Where what must outlive the process is kept; `--data` wins over it.
        pub data: PathBuf,
        /// How often `$SYS` is brought up to date, in seconds; 0 = never.
        pub sys_interval_s: u32,
        /// The time over which goodbyes are spread when the broker stops, so that not all clients come back in one moment.
        pub drain_ms: u64,
        /// How long the last clients may take after that to close their side.
        pub drain_timeout_ms: u64,
        /// Where the files of the console are read from at each request, for those who work on it; those that are built in, if
        /// nothing is said. `--console-dir` wins over it.
        pub console_dir: Option<PathBuf>,
    }
}

described! {
    /// `[store]`: what must outlive the process, and how surely.
    #[derive(Clone, Debug)]
    pub struct Store {
        /// What an acknowledgement promises: `sync` = it is on disk; `interval` = the system has it and syncs it soon; `memory` =
        /// it ends with this process.
        pub durability: Durability,
        /// With `interval`: how often everything is synced; what a power cut may cost.
        pub interval_ms: u64,
        /// What the data directory may hold; beyond it the disk counts as full. When nothing is said, what the disk has.
        pub bytes_max: u64,
        /// Length of a segment of the log. A few of them are always there, so a small device wants smaller ones.
        pub segment_bytes: u32,
    }
}

/// What an acknowledgement promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// It is on disk: it survives a power cut.
    Sync,
    /// The system has it, and syncs it soon: it survives the end of this process, but not always that of the machine.
    Interval,
    /// It is in memory, and ends with this process. No directory is touched.
    Memory,
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sync => "sync",
            Self::Interval => "interval",
            Self::Memory => "memory",
        })
    }
}
