//! The configuration: one TOML file, the environment, the command line; the later ones win.
//!
//! Every key can be written three ways: `stall_ms` in `[limits]` of the file, `ALTHING__LIMITS__STALL_MS` in the
//! environment, and `--set limits.stall_ms=500`. A key that does not exist is an error in all three.

mod changes;
mod field;
pub mod form;
pub mod import;
pub mod keys;
mod listening;
pub mod sections;
mod show;
pub(crate) mod sources;

pub use changes::{Change, changes};
pub use listening::{DatagramSettings, Listen, Preset, TlsSettings};
pub use sections::{CertificateFiles, ClientCertificate, Durability, LogFormat, TlsVersion};
pub use show::{show, written};
pub use sources::{ConfigError, Setting, Source};

use crate::authorisation;
use crate::identity::config as identity;
use crate::lan;
use crate::protocols::PROTOCOLS;
use crate::serve::ServeOptions;
use althing_coap::CoapConfig;
use althing_core::Limits;
use althing_core::protocol::Row;
use althing_core::quota::Quotas;
use althing_core::topic_watch::WatchLimits;
use althing_http::HttpConfig;
use althing_mqtt::MqttConfig;
use althing_net::Address;
use althing_stomp::StompConfig;
use althing_websocket::WebSocketConfig;
use identity::IdentityConfig;
use sections::{Admin, Authorisation, ConsoleKeys, Language, ListenerKeys, Log, Server, Store, TlsKeys};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use toml::Value;

/// Everything that can be configured.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[mqtt]`, `[stomp]`, …: where each language listens, in the order of the protocol table.
    pub languages: Vec<Language>,
    /// `[listeners.NAME]`.
    pub listeners: BTreeMap<String, ListenerKeys>,
    /// `[mqtt]`: how it is spoken.
    pub mqtt: MqttConfig,
    /// `[stomp]`: how it is spoken.
    pub stomp: StompConfig,
    /// `[coap]`: how it is spoken.
    pub coap: CoapConfig,
    /// `[http]`: how it is spoken.
    pub http: HttpConfig,
    /// `[websocket]`.
    pub websocket: WebSocketConfig,
    /// `[tls]`.
    pub tls: TlsKeys,
    /// `[identity]`.
    pub identity: IdentityConfig,
    /// `[authorisation]`.
    pub authorisation: Authorisation,
    /// `[quotas.default]`, `[quotas.users.NAME]`, …
    pub quotas: Quotas,
    /// `[limits]`.
    pub limits: Limits,
    /// `[admin]`.
    pub admin: Admin,
    /// `[console]`.
    pub console: ConsoleKeys,
    /// `[log]`.
    pub log: Log,
    /// `[server]`.
    pub server: Server,
    /// `[store]`.
    pub store: Store,
    /// Where each key that somebody has set was written.
    pub origins: BTreeMap<String, Source>,
    /// What every default port is moved by.
    port_offset: u16,
}

/// A segment that is shorter is mostly head and seal; one that is longer makes cleaning and spares lumpy.
const SEGMENT_BYTES: RangeInclusive<u32> = 64 << 10..=1 << 30;

/// One that is written, one that is cleaned, the spare and the reserve.
const SEGMENTS_MIN: u64 = 4;

impl Config {
    /// What holds when nothing is said. `port_offset` is added to every default port, see [`moved`].
    pub fn new(port_offset: u16) -> Self {
        let bind = |row: &Row| default_bind(row, port_offset).into_iter().collect();
        let language = |row: &Row| Language { enabled: true, bind: bind(row), tls_bind: None };
        Self {
            languages: PROTOCOLS.iter().map(|it| language(it.row)).collect(),
            listeners: BTreeMap::new(),
            mqtt: MqttConfig::default(),
            stomp: StompConfig::default(),
            coap: CoapConfig::default(),
            http: HttpConfig::default(),
            websocket: WebSocketConfig::default(),
            tls: TlsKeys::default(),
            identity: IdentityConfig::default(),
            authorisation: Authorisation::default(),
            quotas: Quotas::default(),
            limits: Limits::default(),
            admin: Admin { enabled: true, ..Admin::default() },
            console: ConsoleKeys { topics_max: WatchLimits::default().topics_max },
            log: Log { level: tracing::Level::INFO, format: LogFormat::Text, file: None },
            server: Server {
                data: "./althing-data".into(),
                sys_interval_s: 10,
                drain_ms: 0,
                drain_timeout_ms: 5_000,
                console_dir: None,
            },
            store: Store {
                durability: Durability::Sync,
                interval_ms: 1_000,
                bytes_max: u64::MAX,
                segment_bytes: althing_store::Options::default().segment_bytes,
            },
            origins: BTreeMap::new(),
            port_offset,
        }
    }

    /// Reads everything that `options` and the environment say.
    ///
    /// # Errors
    /// The first mistake, with its place.
    pub fn load(options: &ServeOptions) -> Result<Self, ConfigError> {
        let config = Self::read(options)?;
        config.check()?;
        Ok(config)
    }

    /// The same, before it is checked whether all of it goes together.
    pub(crate) fn read(options: &ServeOptions) -> Result<Self, ConfigError> {
        let mut settings = Vec::new();
        if let Some(path) = &options.config {
            settings.extend(sources::from_file(path)?);
        }
        settings.extend(sources::from_environment(std::env::vars_os())?);
        settings.extend(sources::from_arguments(&options.set)?);
        let mut config = Self::new(options.port_offset);
        for setting in &settings {
            config.apply(setting)?;
        }
        if let Some(data) = &options.data {
            config.server.data.clone_from(data);
            config.origins.insert("server.data".into(), Source::Data);
        }
        if let Some(directory) = &options.console_dir {
            config.server.console_dir = Some(directory.clone());
            config.origins.insert("server.console_dir".into(), Source::ConsoleDir);
        }
        if options.lan {
            lan::apply(&mut config)?;
        }
        Ok(config)
    }

    /// Applies one setting.
    ///
    /// # Errors
    /// When there is no such key, or it takes no such value.
    pub fn apply(&mut self, setting: &Setting) -> Result<(), ConfigError> {
        if setting.key == "authorisation.rules" {
            self.authorisation.rules = authorisation::rules_of(setting)?;
            self.origins.insert(setting.key.clone(), setting.source.clone());
            return Ok(());
        }
        let Some(mut result) = keys::set(self, &setting.key, &setting.value) else {
            return Err(ConfigError::UnknownKey {
                source_text: setting.source.to_string(),
                key: setting.key.clone(),
                nearest: keys::nearest(&setting.key),
            });
        };
        // What looks like a number may be meant as text.
        if let (Err(_), Some(text)) = (&result, &setting.unquoted) {
            result = keys::set(self, &setting.key, &Value::from(text.as_str())).filter(Result::is_ok).unwrap_or(result);
        }
        result.map_err(|expected| {
            let is_secret = keys::explained(&setting.key).is_some_and(|entry| entry.is_secret);
            let value = if is_secret { "that".into() } else { setting.value.to_string() };
            ConfigError::Value { source_text: setting.source.to_string(), key: setting.key.clone(), expected, value }
        })?;
        self.origins.insert(setting.key.clone(), setting.source.clone());
        Ok(())
    }

    /// The port inside TLS of a language that has one.
    pub(crate) fn default_tls_port(&self, row: &Row) -> Option<u16> {
        default_tls_bind(row, self.port_offset)?.port()
    }

    /// Whether any listener lets in peers from other machines.
    ///
    /// # Errors
    /// As [`Config::listens`].
    pub fn is_reachable(&self) -> Result<bool, ConfigError> {
        Ok(self.listens()?.iter().any(Listen::is_reachable))
    }

    /// What no single key can tell.
    ///
    /// # Errors
    /// The first contradiction.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.limits.write_buffer_low_bytes > self.limits.write_buffer_high_bytes {
            return Err(ConfigError::Contradiction(
                "limits.write_buffer_low_bytes must not be above limits.write_buffer_high_bytes".into(),
            ));
        }
        self.store.check()?;
        if let Some(address) = self.admin.bind.iter().find(|address| self.admin.enabled && !address.is_local()) {
            return Err(ConfigError::Contradiction(format!(
                "admin.bind = \"{address}\" can be reached from other machines, and tokens and passwords would travel there \
                 in the open: bind it to 127.0.0.1, and put a proxy that speaks TLS in front for other machines"
            )));
        }
        for listen in self.listens()?.iter().filter(|it| it.is_reachable() && !it.entrance.anonymous) {
            if !self.identity.can_prove_anybody(&self.server.data)
                && !listen.proves_by_certificate(&self.identity)
                && !listen.proves_by_shared_key()
            {
                return Err(ConfigError::Contradiction(format!(
                    "{} on {} can be reached from other machines, and nobody could log in there: add a user (`althing users \
                     add NAME`), or let everyone in with identity.anonymous = \"everywhere\"",
                    listen.name, listen.address
                )));
            }
        }
        Ok(())
    }
}

impl Store {
    fn check(&self) -> Result<(), ConfigError> {
        if !SEGMENT_BYTES.contains(&self.segment_bytes) {
            let (least, most) = SEGMENT_BYTES.into_inner();
            return Err(ConfigError::Contradiction(format!(
                "store.segment_bytes = {} is out of range: from {least} to {most}",
                self.segment_bytes
            )));
        }
        let least = SEGMENTS_MIN * u64::from(self.segment_bytes);
        if self.bytes_max < least {
            return Err(ConfigError::Contradiction(format!(
                "store.bytes_max = {} holds less than {SEGMENTS_MIN} segments: raise it to {least} at least, or lower store.segment_bytes",
                self.bytes_max
            )));
        }
        if self.interval_ms == 0 {
            return Err(ConfigError::Contradiction(
                "store.interval_ms = 0 would sync all the time: set store.durability = \"sync\" for that".into(),
            ));
        }
        Ok(())
    }
}

/// Where a language listens when nothing is said.
fn default_bind(row: &Row, port_offset: u16) -> Option<Address> {
    let mut address: SocketAddr = row.default_bind.parse().ok()?;
    address.set_port(moved(address.port(), port_offset));
    Some(Address::Tcp(address))
}

/// Where it listens inside TLS when nothing is said but a certificate.
fn default_tls_bind(row: &Row, port_offset: u16) -> Option<Address> {
    let mut address: SocketAddr = row.default_bind.parse().ok()?;
    address.set_port(moved(row.default_tls_port?, port_offset));
    Some(Address::Tcp(address))
}

/// A port moved by an offset. Beyond the last port it goes on above the privileged ones, so that any offset
/// moves every language; the banner says where each one listens.
pub fn moved(port: u16, offset: u16) -> u16 {
    const FIRST: u32 = 1_024;
    let sum = u32::from(port) + u32::from(offset);
    u16::try_from(sum).unwrap_or_else(|_| (sum - 65_536 + FIRST) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(set: &[&str]) -> Result<Config, String> {
        let options = ServeOptions { set: set.iter().map(|text| (*text).to_owned()).collect(), ..Default::default() };
        Config::load(&options).map_err(|error| error.to_string())
    }

    #[test]
    fn keys_change_what_they_name() {
        let config = config(&[
            "mqtt.bind=[\"127.0.0.1:1\", \"unix:/run/althing.sock\"]",
            "log.level=debug",
            "log.format=json",
            "limits.stall_ms=500",
            "limits.topic_levels_max=16",
            "limits.queue_overflow=refuse",
            "server.sys_interval_s=0",
            "store.durability=interval",
            "store.interval_ms=250",
            "store.bytes_max=1073741824",
            "store.segment_bytes=1048576",
        ])
        .unwrap();
        assert_eq!(config.languages[0].bind.len(), 2);
        assert_eq!((config.log.level, config.log.format), (tracing::Level::DEBUG, LogFormat::Json));
        assert_eq!((config.limits.stall_ms, config.limits.topic.levels_max), (500, 16));
        assert_eq!(config.limits.queue_overflow, althing_core::limits::Overflow::Refuse);
        assert_eq!(config.server.sys_interval_s, 0);
        assert_eq!((config.store.durability, config.store.interval_ms), (Durability::Interval, 250));
        assert_eq!((config.store.bytes_max, config.store.segment_bytes), (1 << 30, 1 << 20));
    }

    #[test]
    fn a_mistake_is_named_with_what_would_be_right() {
        for (set, expected) in [
            ("coap.tls_bnd=1", "--set coap.tls_bnd: there is no key `coap.tls_bnd`; did you mean `coap.tls_bind`?"),
            ("mqtt.bnd=1", "--set mqtt.bnd: there is no key `mqtt.bnd`; did you mean `mqtt.bind`?"),
            (
                "limits.stal_ms=1",
                "--set limits.stal_ms: there is no key `limits.stal_ms`; did you mean `limits.stall_ms`?",
            ),
            ("limits.stall_ms=soon", "--set limits.stall_ms: `limits.stall_ms` takes a whole number, not \"soon\""),
            (
                "limits.keep_alive_s_max=65536",
                "--set limits.keep_alive_s_max: `limits.keep_alive_s_max` takes a whole number from 0 to 65535, not 65536",
            ),
            ("log.level=loud", "--set log.level: `log.level` takes error, warn, info, debug or trace, not \"loud\""),
            (
                "store.durability=disk",
                "--set store.durability: `store.durability` takes sync, interval or memory, not \"disk\"",
            ),
            ("store.segment_bytes=1", "store.segment_bytes = 1 is out of range: from 65536 to 1073741824"),
            ("mqtt.enabled", "--set mqtt.enabled: write KEY=VALUE"),
        ] {
            assert_eq!(config(&[set]).unwrap_err(), expected);
        }
        assert!(config(&["store.interval_ms=0"]).unwrap_err().contains("store.durability = \"sync\""));
        assert!(config(&["store.bytes_max=1000000"]).unwrap_err().contains("raise it to 67108864"));
        assert!(config(&["mqtt.bind=nowhere"]).unwrap_err().contains("`nowhere` is not an address"));
    }

    #[test]
    fn other_machines_are_let_in_only_on_purpose() {
        let error = config(&["mqtt.bind=0.0.0.0:1883"]).unwrap_err();
        assert!(
            error.contains("althing users add") && error.contains("identity.anonymous = \"everywhere\""),
            "{error}"
        );
        assert!(config(&["mqtt.bind=*:1883", "identity.anonymous=everywhere"]).is_ok());
        assert!(config(&["mqtt.bind=*:1883", "mqtt.enabled=false"]).is_ok());
        // What a proxy passes on comes from anywhere.
        let proxied = [
            "listeners.front.protocol=mqtt",
            "listeners.front.bind=127.0.0.1:1",
            "listeners.front.proxy_protocol=true",
            "listeners.front.proxy_networks=127.0.0.1",
        ];
        assert!(config(&proxied).is_err());
        assert!(config(&[proxied.as_slice(), &["listeners.front.anonymous=true"]].concat()).is_ok());
    }

    #[test]
    fn listeners_have_names_and_what_they_do_not_say_from_their_sections() {
        let config = config(&[
            "tls.certificate=a.pem",
            "tls.key=a.key",
            "listeners.garden.protocol=mqtt",
            "listeners.garden.bind=[\"127.0.0.1:1\", \"127.0.0.1:2\"]",
            "listeners.garden.tls=true",
            "listeners.garden.certificate=b.pem",
            "listeners.garden.key=b.key",
            "listeners.garden.mount_point=garden/",
            "listeners.garden.anonymous=false",
        ])
        .unwrap();
        let listens = config.listens().unwrap();
        let shown: Vec<_> =
            listens.iter().map(|it| format!("{} {} {}", it.name, it.address, it.tls.is_some())).collect();
        assert_eq!(
            shown,
            [
                "mqtt 127.0.0.1:1883 false",
                "mqtt-tls 127.0.0.1:8883 true",
                "stomp 127.0.0.1:61613 false",
                "stomp-tls 127.0.0.1:61614 true",
                "coap 127.0.0.1:5683 false",
                "coap-tls 127.0.0.1:5684 true",
                "coap-tcp 127.0.0.1:5683 false",
                "coap-tcp-tls 127.0.0.1:5684 true",
                "http 127.0.0.1:8080 false",
                "http-tls 127.0.0.1:8443 true",
                "garden 127.0.0.1:1 true",
                "garden 127.0.0.1:2 true",
            ]
        );
        let certificate = |index: usize| listens[index].tls.as_ref().unwrap().certificates[0].certificate.clone();
        assert_eq!((certificate(1), certificate(10)), ("a.pem".into(), "b.pem".into()));
        assert_eq!((&listens[10].entrance.mount_point[..], listens[10].entrance.anonymous), ("garden/", false));
        assert!(listens[0].entrance.anonymous);
    }

    #[test]
    fn administrators_are_served_on_this_machine_alone() {
        let error = config(&["admin.bind=0.0.0.0:8080"]).unwrap_err();
        assert!(error.contains("bind it to 127.0.0.1"), "{error}");
        assert!(config(&["admin.bind=[::1]:8080"]).is_ok());
        assert!(config(&["admin.bind=*:8080", "admin.enabled=false"]).is_ok());
    }

    #[test]
    fn listeners_that_do_not_hold_together_are_named() {
        let on = "listeners.a.bind=127.0.0.1:1";
        for (set, expected) in [
            (&["listeners.a.protocol=mqtt"][..], "listeners.a listens nowhere: set listeners.a.bind"),
            (&[on], "listeners.a.protocol = \"\" is none that is spoken here: set one of mqtt, stomp, coap"),
            (&[on, "listeners.a.protocol=mqtt", "listeners.a.tls=true"], "listeners.a.tls: TLS needs a certificate"),
            (
                &[on, "listeners.a.protocol=coap", "listeners.a.proxy_protocol=true"],
                "listeners.a.proxy_protocol: coap is spoken over datagrams",
            ),
            (
                &[on, "listeners.a.protocol=mqtt", "listeners.a.mount_point=x"],
                "listeners.a.mount_point = \"x\" must end in /",
            ),
            (&["listeners.mqtt.bind=127.0.0.1:1"], "listeners.mqtt: a listener of this name is there already"),
            (&["mqtt.tls_bind=127.0.0.1:1"], "mqtt.tls_bind: TLS needs a certificate"),
            (
                &["mqtt.tls_bind=127.0.0.1:1", "tls.certificate=a", "tls.key=a", "tls.client_certificate=required"],
                "mqtt.tls_bind: peers' certificates cannot be verified",
            ),
        ] {
            let error = config(set).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn names_of_tables_may_have_dots() {
        let config = config(&["quotas.users.a.b@c.messages_per_s=5", "quotas.default.bytes_per_s=6"]).unwrap();
        assert_eq!(config.quotas.users["a.b@c"].messages_per_s, Some(5));
        assert_eq!(config.quotas.default.bytes_per_s, Some(6));
        let error = self::config(&["quotas.users.a.b.message_per_s=5"]).unwrap_err();
        assert!(error.ends_with("did you mean `quotas.users.a.b.messages_per_s`?"), "{error}");
    }

    #[test]
    fn the_offset_moves_default_ports_only() {
        let mut options = ServeOptions { port_offset: 1_000, ..Default::default() };
        let ports = |options: &ServeOptions| -> Vec<Option<u16>> {
            Config::load(options).unwrap().languages.iter().map(|listen| listen.bind.first()?.port()).collect()
        };
        assert_eq!(ports(&options)[..2], [Some(2_883), Some(62_613)]);
        options.set.push("mqtt.bind=127.0.0.1:7".into());
        assert_eq!(ports(&options)[0], Some(7));
        options.port_offset = 5_000;
        assert_eq!(ports(&options)[..2], [Some(7), Some(2_101)]);
    }
}
