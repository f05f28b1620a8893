//! The configuration: one TOML file, the environment, the command line; the later ones win.
//!
//! Every key can be written three ways: `stall_ms` in `[limits]` of the file, `ALTHING__LIMITS__STALL_MS` in the
//! environment, and `--set limits.stall_ms=500`. A key that does not exist is an error in all three.

mod keys;
mod sources;

pub use sources::{ConfigError, Setting, Source};

use crate::protocols::PROTOCOLS;
use crate::serve::ServeOptions;
use althing_coap::CoapConfig;
use althing_core::Limits;
use althing_core::protocol::Row;
use althing_mqtt::MqttConfig;
use althing_net::Address;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// Everything that can be configured.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[mqtt]`, `[stomp]`, …: where each language listens, in the order of the protocol table.
    pub listen: Vec<Listen>,
    /// `[mqtt]`: how it is spoken.
    pub mqtt: MqttConfig,
    /// `[coap]`: how it is spoken.
    pub coap: CoapConfig,
    /// `[log]`.
    pub log: Log,
    /// `[limits]`.
    pub limits: Limits,
    /// `[server]`.
    pub server: Server,
    /// `[store]`.
    pub store: Store,
    /// `[admin]`.
    pub admin: Admin,
}

/// The HTTP interface for administrators.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Whether there is one.
    pub enabled: bool,
    /// Where it listens, besides the socket in the data directory.
    pub bind: Vec<Address>,
    /// Whether `/metrics` needs no token where other machines can reach it; on loopback it never does.
    pub metrics_open: bool,
    /// Names, besides addresses and `localhost`, under which browsers and scrapers may call it.
    pub hosts: Vec<String>,
}

/// Where a language listens.
#[derive(Clone, Debug)]
pub struct Listen {
    /// Whether it listens at all.
    pub enabled: bool,
    /// Where.
    pub bind: Vec<Address>,
}

/// What is logged, and how.
#[derive(Clone, Debug)]
pub struct Log {
    /// What is important enough.
    pub level: tracing::Level,
    /// What a line looks like.
    pub format: LogFormat,
}

/// What a line of the log looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line, for programs.
    Json,
}

/// The program itself.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where what must outlive the process is kept.
    pub data: PathBuf,
    /// Whether listeners that other machines can reach may let everyone in.
    pub anonymous_beyond_loopback: bool,
    /// How often `$SYS` is brought up to date, in seconds; 0 = never.
    pub sys_interval_s: u32,
}

/// What must outlive the process, and how surely.
#[derive(Clone, Debug)]
pub struct Store {
    /// What an acknowledgement promises.
    pub durability: Durability,
    /// With [`Durability::Interval`]: how often everything is synced, in milliseconds; what a power cut may cost.
    pub interval_ms: u64,
    /// What the data directory may hold, in bytes.
    pub bytes_max: u64,
    /// Length of a segment of the log, in bytes.
    pub segment_bytes: u32,
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

/// A segment that is shorter is mostly head and seal; one that is longer makes cleaning and spares lumpy.
const SEGMENT_BYTES: RangeInclusive<u32> = 64 << 10..=1 << 30;

/// One that is written, one that is cleaned, the spare and the reserve.
const SEGMENTS_MIN: u64 = 4;

impl Config {
    /// What holds when nothing is said. `port_offset` is added to every default port, see [`moved`].
    pub fn new(port_offset: u16) -> Self {
        let bind = |row: &Row| default_bind(row, port_offset).into_iter().collect();
        Self {
            listen: PROTOCOLS.iter().map(|it| Listen { enabled: true, bind: bind(it.row) }).collect(),
            mqtt: MqttConfig::default(),
            coap: CoapConfig::default(),
            log: Log { level: tracing::Level::INFO, format: LogFormat::Text },
            limits: Limits::default(),
            server: Server { data: "./althing-data".into(), anonymous_beyond_loopback: false, sys_interval_s: 10 },
            store: Store {
                durability: Durability::Sync,
                interval_ms: 1_000,
                bytes_max: u64::MAX,
                segment_bytes: althing_store::Options::default().segment_bytes,
            },
            admin: Admin {
                enabled: true,
                bind: vec![Address::Tcp((Ipv4Addr::LOCALHOST, moved(ADMIN_PORT, port_offset)).into())],
                metrics_open: false,
                hosts: Vec::new(),
            },
        }
    }

    /// Reads everything that `options` and the environment say.
    ///
    /// # Errors
    /// The first mistake, with its place.
    pub fn load(options: &ServeOptions) -> Result<Self, ConfigError> {
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
        }
        config.check()?;
        Ok(config)
    }

    /// Applies one setting.
    ///
    /// # Errors
    /// When there is no such key, or it takes no such value.
    pub fn apply(&mut self, setting: &Setting) -> Result<(), ConfigError> {
        let Some(result) = keys::set(self, &setting.key, &setting.value) else {
            return Err(ConfigError::UnknownKey {
                source_text: setting.source.to_string(),
                key: setting.key.clone(),
                nearest: keys::nearest(&setting.key),
            });
        };
        result.map_err(|expected| ConfigError::Value {
            source_text: setting.source.to_string(),
            key: setting.key.clone(),
            expected,
            value: setting.value.to_string(),
        })
    }

    /// What no single key can tell.
    fn check(&self) -> Result<(), ConfigError> {
        if self.limits.write_buffer_low_bytes > self.limits.write_buffer_high_bytes {
            return Err(ConfigError::Contradiction(
                "limits.write_buffer_low_bytes must not be above limits.write_buffer_high_bytes".into(),
            ));
        }
        self.store.check()?;
        for (protocol, listen) in PROTOCOLS.iter().zip(&self.listen) {
            let open = listen.bind.iter().find(|address| !address.is_local());
            if let Some(address) = open.filter(|_| listen.enabled && !self.server.anonymous_beyond_loopback) {
                let name = protocol.row.name;
                return Err(ConfigError::Contradiction(format!(
                    "{name}.bind = \"{address}\" can be reached from other machines, where everyone would be let in without \
                     a password: bind it to 127.0.0.1, or set server.anonymous_beyond_loopback = true"
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

/// Where administrators are listened to when nothing is said.
const ADMIN_PORT: u16 = 8_080;

/// Where a language listens when nothing is said.
fn default_bind(row: &Row, port_offset: u16) -> Option<Address> {
    let mut address: SocketAddr = row.default_bind.parse().ok()?;
    address.set_port(moved(address.port(), port_offset));
    Some(Address::Tcp(address))
}

/// A port moved by an offset. Beyond the last port it goes on above the privileged ones, so that any offset
/// moves every language; the banner says where each one listens.
fn moved(port: u16, offset: u16) -> u16 {
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
        assert_eq!(config.listen[0].bind.len(), 2);
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
            ("mqtt.bnd=1", "--set mqtt.bnd=1: there is no key `mqtt.bnd`; did you mean `mqtt.bind`?"),
            (
                "limits.stal_ms=1",
                "--set limits.stal_ms=1: there is no key `limits.stal_ms`; did you mean `limits.stall_ms`?",
            ),
            (
                "limits.stall_ms=soon",
                "--set limits.stall_ms=soon: `limits.stall_ms` takes a whole number, not \"soon\"",
            ),
            (
                "limits.keep_alive_s_max=65536",
                "--set limits.keep_alive_s_max=65536: `limits.keep_alive_s_max` takes a whole number from 0 to 65535, not 65536",
            ),
            (
                "log.level=loud",
                "--set log.level=loud: `log.level` takes error, warn, info, debug or trace, not \"loud\"",
            ),
            (
                "store.durability=disk",
                "--set store.durability=disk: `store.durability` takes sync, interval or memory, not \"disk\"",
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
        assert!(error.contains("server.anonymous_beyond_loopback = true"), "{error}");
        assert!(config(&["mqtt.bind=*:1883", "server.anonymous_beyond_loopback=true"]).is_ok());
        assert!(config(&["mqtt.bind=*:1883", "mqtt.enabled=false"]).is_ok());
    }

    #[test]
    fn the_offset_moves_default_ports_only() {
        let mut options = ServeOptions { port_offset: 1_000, ..Default::default() };
        let ports = |options: &ServeOptions| -> Vec<Option<u16>> {
            Config::load(options).unwrap().listen.iter().map(|listen| listen.bind.first()?.port()).collect()
        };
        assert_eq!(ports(&options)[..2], [Some(2_883), Some(62_613)]);
        options.set.push("mqtt.bind=127.0.0.1:7".into());
        assert_eq!(ports(&options)[0], Some(7));
        options.port_offset = 5_000;
        assert_eq!(ports(&options)[..2], [Some(7), Some(2_101)]);
    }
}
