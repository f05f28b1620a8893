//! From the keys to a list of all listeners.

use super::sections::{CertificateFiles, ClientCertificate, Language, ListenerKeys, TlsVersion};
use super::{Config, ConfigError};
use crate::identity::config::{Anonymous, IdentityConfig};
use crate::protocols::{PROTOCOLS, Protocol, Speaker};
use althing_core::authorisation::Network;
use althing_core::link::Entrance;
use althing_net::Address;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// One socket that listens, and everything that holds for whoever comes in there.
#[derive(Clone, Debug)]
pub struct Listen {
    /// The name of the listener: that of the language, `LANGUAGE-tls`, or its own.
    pub name: &'static str,
    /// What is spoken.
    pub protocol: &'static Protocol,
    /// Where.
    pub address: Address,
    /// How, inside TLS; `None` outside of it.
    pub tls: Option<TlsSettings>,
    /// Whether a proxy tells where connections come from.
    pub proxy_protocol: bool,
    /// The networks of proxies that are believed.
    pub proxy_networks: Vec<Network>,
    /// What the broker is told of whoever comes in.
    pub entrance: Arc<Entrance>,
    /// Connections at once.
    pub connections_max: Option<u32>,
    /// New connections in one second.
    pub connects_per_s: Option<u32>,
}

/// A port that other brokers have for WebSocket, and that clients' examples name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// As in `http.presets`.
    pub name: &'static str,
    /// The name of its listener.
    pub listener: &'static str,
    /// Where, on loopback.
    pub port: u16,
    /// Whether a WebSocket may begin at any path there.
    pub any_path: bool,
}

const PRESETS: &[Preset] = &[
    Preset { name: "emqx", listener: "http-emqx", port: 8_083, any_path: false },
    Preset { name: "mosquitto", listener: "http-mosquitto", port: 9_001, any_path: true },
    Preset { name: "hivemq", listener: "http-hivemq", port: 8_000, any_path: false },
];

impl Preset {
    /// That of a listener.
    pub fn of_listener(name: &str) -> Option<&'static Self> {
        PRESETS.iter().find(|preset| preset.listener == name)
    }
}

/// How TLS is spoken at one listener: what it says itself, and the rest from `[tls]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// At least one; the first is the one for peers that ask for no known name.
    pub certificates: Vec<CertificateFiles>,
    /// Whose certificates peers may show; there is one unless they show none.
    pub client_ca: Option<PathBuf>,
    /// Whether they show one.
    pub client_certificate: ClientCertificate,
    /// Certificates that are not valid any more.
    pub crl: Option<PathBuf>,
    /// How long a handshake may take.
    pub handshake_timeout_ms: u64,
    /// What is spoken.
    pub versions: Vec<TlsVersion>,
    /// What holds for datagrams besides; `None` for streams.
    pub datagrams: Option<DatagramSettings>,
}

/// How DTLS is spoken, besides what it shares with TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatagramSettings {
    /// Keys that are shared with devices.
    pub psk_file: Option<PathBuf>,
    /// Associations at once.
    pub sessions_max: usize,
    /// How long one may be silent.
    pub idle_s: u32,
}

impl Listen {
    /// Whether a certificate proves who comes in here.
    pub fn proves_by_certificate(&self, identity: &IdentityConfig) -> bool {
        let asks = self.tls.as_ref().is_some_and(|tls| tls.client_certificate != ClientCertificate::None);
        asks && identity.certificate.enabled
    }

    /// Whether a shared key proves who comes in here.
    pub fn proves_by_shared_key(&self) -> bool {
        self.tls.as_ref().and_then(|tls| tls.datagrams.as_ref()).is_some_and(|it| it.psk_file.is_some())
    }

    /// Whether peers on other machines may come in here: what a proxy passes on comes from anywhere.
    pub fn is_reachable(&self) -> bool {
        !self.address.is_local() || self.proxy_protocol
    }
}

impl Config {
    /// Every listener, in the order of the protocol table, then by name.
    ///
    /// # Errors
    /// When a listener lacks something, or has what does not go together.
    pub fn listens(&self) -> Result<Vec<Listen>, ConfigError> {
        let mut listens = Vec::new();
        for (protocol, language) in PROTOCOLS.iter().zip(&self.languages) {
            if language.enabled {
                self.listens_of_language(protocol, language, &mut listens)?;
            }
        }
        for (name, keys) in &self.listeners {
            self.listens_of_listener(name, keys, &mut listens)?;
        }
        Ok(listens)
    }

    fn listens_of_language(
        &self,
        protocol: &'static Protocol,
        language: &Language,
        listens: &mut Vec<Listen>,
    ) -> Result<(), ConfigError> {
        let name = protocol.row.name;
        let plain = ListenerKeys { bind: language.bind.clone(), ..ListenerKeys::default() };
        listens.extend(self.listens_of_keys(name, protocol, &plain, None));
        if matches!(protocol.speaker, Speaker::Visitor(_)) {
            self.listens_of_presets(protocol, listens)?;
        }
        let has_keys = matches!(protocol.speaker, Speaker::Door(_)) && self.coap.psk_file.is_some();
        let can_speak = has_keys || !self.tls_certificates().is_empty();
        let default = || super::default_tls_bind(protocol.row, self.port_offset).filter(|_| can_speak);
        let bind = language.tls_bind.clone().unwrap_or_else(|| default().into_iter().collect());
        if !bind.is_empty() {
            let keys = ListenerKeys { bind, ..ListenerKeys::default() };
            let tls = self.tls_settings(&format!("{name}.tls_bind"), protocol, &keys)?;
            listens.extend(self.listens_of_keys(interned(&format!("{name}-tls")), protocol, &keys, Some(&tls)));
        }
        Ok(())
    }

    fn listens_of_presets(&self, protocol: &'static Protocol, listens: &mut Vec<Listen>) -> Result<(), ConfigError> {
        for name in &self.http.presets {
            let Some(preset) = PRESETS.iter().find(|preset| preset.name == name) else {
                let known: Vec<_> = PRESETS.iter().map(|preset| preset.name).collect();
                return Err(ConfigError::Contradiction(format!(
                    "http.presets = \"{name}\" is none that is known: set any of {}",
                    known.join(", ")
                )));
            };
            let port = super::moved(preset.port, self.port_offset);
            let bind = vec![Address::Tcp((Ipv4Addr::LOCALHOST, port).into())];
            let keys = ListenerKeys { bind, ..ListenerKeys::default() };
            listens.extend(self.listens_of_keys(preset.listener, protocol, &keys, None));
        }
        Ok(())
    }

    fn listens_of_listener(
        &self,
        name: &str,
        keys: &ListenerKeys,
        listens: &mut Vec<Listen>,
    ) -> Result<(), ConfigError> {
        let at = format!("listeners.{name}");
        let contradiction = |text: String| Err(ConfigError::Contradiction(text));
        if !name.chars().all(|it| it.is_ascii_alphanumeric() || matches!(it, '-' | '_')) {
            return contradiction(format!("{at}: a listener's name has letters, digits, - and _ only"));
        }
        if listens.iter().any(|other| other.name == name) {
            return contradiction(format!("{at}: a listener of this name is there already; choose another"));
        }
        let Some(protocol) = PROTOCOLS.iter().find(|protocol| protocol.row.name == keys.protocol) else {
            let known: Vec<_> = PROTOCOLS.iter().map(|protocol| protocol.row.name).collect();
            return contradiction(format!(
                "{at}.protocol = \"{}\" is none that is spoken here: set one of {}",
                keys.protocol,
                known.join(", ")
            ));
        };
        if keys.bind.is_empty() {
            return contradiction(format!("{at} listens nowhere: set {at}.bind"));
        }
        if matches!(protocol.speaker, Speaker::Door(_)) && keys.proxy_protocol {
            return contradiction(format!(
                "{at}.proxy_protocol: {} is spoken over datagrams, where there is no PROXY protocol: leave it out",
                keys.protocol
            ));
        }
        let is_unix = |address: &Address| matches!(address, Address::Unix(_));
        if keys.proxy_protocol && keys.proxy_networks.is_empty() && !keys.bind.iter().all(is_unix) {
            return contradiction(format!(
                "{at}.proxy_protocol believes nobody: set {at}.proxy_networks to where the proxies are, for example 127.0.0.1"
            ));
        }
        if !keys.mount_point.is_empty() && !keys.mount_point.ends_with('/')
            || keys.mount_point.contains(['+', '#', '\0'])
        {
            return contradiction(format!(
                "{at}.mount_point = \"{}\" must end in / and have no wildcard in it",
                keys.mount_point
            ));
        }
        let tls = if keys.tls { Some(self.tls_settings(&format!("{at}.tls"), protocol, keys)?) } else { None };
        listens.extend(self.listens_of_keys(interned(name), protocol, keys, tls.as_ref()));
        Ok(())
    }

    /// One for each address.
    fn listens_of_keys(
        &self,
        name: &'static str,
        protocol: &'static Protocol,
        keys: &ListenerKeys,
        tls: Option<&TlsSettings>,
    ) -> Vec<Listen> {
        let listen = |address: &Address| {
            let mut listen = Listen {
                name,
                protocol,
                address: address.clone(),
                tls: tls.cloned(),
                proxy_protocol: keys.proxy_protocol,
                proxy_networks: keys.proxy_networks.clone(),
                entrance: Arc::default(),
                connections_max: keys.connections_max,
                connects_per_s: keys.connects_per_s,
            };
            let anonymous = keys.anonymous.unwrap_or(match self.identity.anonymous {
                Anonymous::Everywhere => true,
                Anonymous::Nowhere => false,
                Anonymous::Loopback => !listen.is_reachable(),
            });
            let (realm, mount_point) = (keys.realm.clone(), keys.mount_point.clone());
            let entrance = Entrance { name, realm, mount_point, anonymous, client_id: keys.client_id };
            listen.entrance = Arc::new(entrance);
            listen
        };
        keys.bind.iter().map(listen).collect()
    }

    /// The certificates of `[tls]`, the first one first.
    fn tls_certificates(&self) -> Vec<CertificateFiles> {
        let pair = self.tls.certificate.clone().zip(self.tls.key.clone());
        let first = pair.map(|(certificate, key)| CertificateFiles { certificate, key });
        first.into_iter().chain(self.tls.certificates.iter().cloned()).collect()
    }

    /// `wanted_by` is the key that wants TLS.
    fn tls_settings(
        &self,
        wanted_by: &str,
        protocol: &Protocol,
        keys: &ListenerKeys,
    ) -> Result<TlsSettings, ConfigError> {
        let contradiction = |text: &str| Err(ConfigError::Contradiction(format!("{wanted_by}: {text}")));
        let own = match (&keys.certificate, &keys.key) {
            (Some(certificate), Some(key)) => {
                Some(CertificateFiles { certificate: certificate.clone(), key: key.clone() })
            }
            (None, None) => None,
            _ => return contradiction("a certificate and its key are set together, or neither is"),
        };
        if self.tls.certificate.is_some() != self.tls.key.is_some() {
            return contradiction("tls.certificate and tls.key are set together, or neither is");
        }
        let certificates = own.map_or_else(|| self.tls_certificates(), |own| vec![own]);
        let datagrams = matches!(protocol.speaker, Speaker::Door(_)).then(|| DatagramSettings {
            psk_file: self.coap.psk_file.clone(),
            sessions_max: self.coap.dtls_sessions_max,
            idle_s: self.coap.dtls_idle_s,
        });
        let has_keys = datagrams.as_ref().is_some_and(|it| it.psk_file.is_some());
        if certificates.is_empty() && !has_keys {
            return contradiction(
                "TLS needs a certificate: set tls.certificate and tls.key (`althing cert` makes them for a lab)",
            );
        }
        let client_certificate = keys.client_certificate.unwrap_or(self.tls.client_certificate);
        let client_ca = keys.client_ca.clone().or_else(|| self.tls.client_ca.clone());
        if client_certificate != ClientCertificate::None && client_ca.is_none() {
            return contradiction("peers' certificates cannot be verified: set client_ca, in the listener or in [tls]");
        }
        if self.tls.versions.is_empty() {
            return contradiction("tls.versions = [] leaves no version to speak: set [\"1.2\", \"1.3\"]");
        }
        Ok(TlsSettings {
            certificates,
            client_ca,
            client_certificate,
            crl: keys.crl.clone().or_else(|| self.tls.crl.clone()),
            handshake_timeout_ms: self.tls.handshake_timeout_ms,
            versions: self.tls.versions.clone(),
            datagrams,
        })
    }
}

/// The same text, for as long as the process lives. Listeners are few, and a reload names the same ones again.
fn interned(name: &str) -> &'static str {
    static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(name) = names.get(name) {
        return name;
    }
    let name: &'static str = Box::leak(name.to_owned().into_boxed_str());
    names.insert(name);
    name
}
