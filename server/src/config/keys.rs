//! The table of keys.

use super::field::{Field, fields};
use super::form::Form;
use super::sections::{Admin, Authorisation, ConsoleKeys, Language, ListenerKeys, Log, Server, Store, TlsKeys};
use super::{Config, identity};
use crate::protocols::PROTOCOLS;
use althing_coap::CoapConfig;
use althing_core::Limits;
use althing_core::described::Described;
use althing_core::quota::Quota;
use althing_core::topic::TopicLimits;
use althing_http::HttpConfig;
use althing_mqtt::MqttConfig;
use althing_stomp::StompConfig;
use althing_websocket::WebSocketConfig;
use identity::{CallbackConfig, CertificateConfig, IdentityConfig, JwtConfig, SharedKeyConfig};
use std::collections::BTreeMap;
use std::path::PathBuf;
use toml::Value;

/// The keys that are there in every configuration, but for those that each language has.
const KEYS: &[&[Field<Config>]] = &[
    fields!(Config, "mqtt.", [mqtt], MqttConfig { live: [], restart: [version_min server_reference], structures: [] }),
    fields!(Config, "stomp.", [stomp], StompConfig {
        live: [], restart: [headers_max header_bytes_max heart_beat_send_ms heart_beat_receive_ms], structures: []
    }),
    fields!(Config, "coap.", [coap], CoapConfig {
        live: [oscore_file psk_file dtls_sessions_max dtls_idle_s],
        restart: [
            address_proof ack_timeout_ms max_retransmit separate_after_ms observer_check_s unconfirmed_bytes_max payload_bytes_max
            endpoints_max endpoint_idle_s pending_per_endpoint_max observations_per_address_max observations_max exchanges_max exchanges_bytes_max transfer_bytes_max
            demo topics_max topic_publishes_per_s ping_after_s
            pong_timeout_s
        ],
        structures: []
    }),
    fields!(Config, "http.", [http], HttpConfig {
        live: [],
        restart: [
            origins hosts presets headers_max header_bytes_max body_bytes_max header_timeout_ms body_timeout_ms
            keep_alive_timeout_ms streams_max sessions_per_connection_max event_heartbeat_s event_stream_linger_s
            event_streams_lingering_max event_history_max event_history_bytes_max idempotency_remembered_s idempotency_keys_max
            idempotency_keys_per_user_max
        ],
        structures: []
    }),
    fields!(Config, "websocket.", [websocket], WebSocketConfig {
        live: [],
        restart: [
            message_bytes_max message_bytes_before_connect_max message_timeout_ms ping_interval_ms pong_timeout_ms deflate
            deflate_bytes_min deflate_ratio_max
        ],
        structures: []
    }),
    fields!(Config, "tls.", [tls], TlsKeys {
        live: [certificate key certificates client_ca client_certificate crl handshake_timeout_ms versions],
        restart: [],
        structures: []
    }),
    fields!(Config, "identity.", [identity], IdentityConfig {
        live: [password_file mosquitto_password_file remember_s],
        restart: [anonymous threads waiting_max waiting_ms_max],
        structures: [shared_key certificate jwt http]
    }),
    fields!(Config, "identity.jwt.", [identity.jwt], JwtConfig {
        live: [
            secret_file public_key_files jwks_file algorithms issuer audience leeway_s username_claim username_must_match
            groups_claim
        ],
        restart: [],
        structures: []
    }),
    fields!(Config, "identity.http.", [identity.http], CallbackConfig {
        live: [url ca_file timeout_ms cache_s refused_cache_s cache_max failures_max retry_ms],
        restart: [connections_max],
        structures: []
    }),
    fields!(
        Config,
        "identity.shared_key.",
        [identity.shared_key],
        SharedKeyConfig { live: [enabled], restart: [], structures: [] }
    ),
    fields!(Config, "identity.certificate.", [identity.certificate], CertificateConfig {
        live: [enabled name], restart: [], structures: []
    }),
    fields!(Config, "authorisation.", [authorisation], Authorisation {
        live: [otherwise rules file mosquitto_acl_file banned_users banned_clients banned_networks],
        restart: [],
        structures: []
    }),
    fields!(Config, "quotas.default.", [quotas.default], Quota {
        live: [
            connections_max sessions_max subscriptions_max retained_messages_max queue_bytes_max messages_per_s
            bytes_per_s inflight_max message_bytes_max
        ],
        restart: [],
        structures: []
    }),
    // What a language reads itself holds for the adaptors that were made with it.
    fields!(Config, "limits.", [limits], Limits {
        live: [
            sessions_max subscriptions_per_session_max queues_max queue_messages_max queue_bytes_max queue_high_messages
            queue_high_bytes queue_bytes_total_max queue_memory_messages queue_memory_bytes queue_overflow
            queue_at_most_once retained_messages_max retained_bytes_max match_visits_max route_cache_max
            write_buffer_high_bytes write_buffer_low_bytes stall_ms connections_max connections_per_address_max
            openings_per_address_max connects_per_s_per_address short_connections_per_address_max
            address_prefix_bits_v6 addresses_remembered_max address_limits_on_loopback takeovers_per_s
        ],
        restart: [
            packet_bytes_max packet_bytes_before_connect_max connect_timeout_ms packet_timeout_ms keep_alive_s_max
            receive_maximum inflight_max topic_alias_maximum topic_alias_out_maximum filters_per_request_max
            client_id_bytes_max session_expiry_s_max
        ],
        structures: [topic]
    }),
    fields!(Config, "limits.topic_", [limits.topic], TopicLimits {
        live: [], restart: [length_bytes_max levels_max], structures: []
    }),
    fields!(Config, "admin.", [admin], Admin {
        live: [], restart: [enabled bind hosts metrics_open], structures: []
    }),
    fields!(Config, "console.", [console], ConsoleKeys { live: [], restart: [topics_max], structures: [] }),
    fields!(Config, "log.", [log], Log { live: [level], restart: [format file], structures: [] }),
    fields!(Config, "server.", [server], Server {
        live: [], restart: [data sys_interval_s drain_ms drain_timeout_ms console_dir], structures: []
    }),
    fields!(Config, "store.", [store], Store {
        live: [], restart: [durability interval_ms bytes_max segment_bytes], structures: []
    }),
];

/// The keys of a language.
const LANGUAGE: &[Field<Language>] = fields!(Language, "", [], Language {
    live: [], restart: [enabled bind tls_bind], structures: []
});

/// The keys of a listener.
const LISTENER: &[Field<ListenerKeys>] = fields!(ListenerKeys, "", [], ListenerKeys {
    live: [certificate key client_ca client_certificate crl connections_max connects_per_s],
    restart: [protocol bind tls proxy_protocol proxy_networks realm mount_point anonymous client_id],
    structures: []
});

/// The keys of a quota.
const QUOTA: &[Field<Quota>] = fields!(Quota, "", [], Quota {
    live: [
        connections_max sessions_max subscriptions_max retained_messages_max queue_bytes_max messages_per_s bytes_per_s
        inflight_max message_bytes_max
    ],
    restart: [],
    structures: []
});

/// Stands for any name of a table.
const ANY: &str = "NAME";

/// One key with what it holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its name, section first.
    pub name: String,
    /// What it means, and why.
    pub comment: &'static str,
    /// What it takes.
    pub takes: String,
    /// Whether a change holds without a restart.
    pub is_live: bool,
    /// Whether its value is shown to nobody.
    pub is_secret: bool,
    /// What it holds; `None` when nothing is said, or TOML has no way to say it.
    pub value: Option<Value>,
    /// What it holds when nothing is said.
    pub default: Option<Value>,
}

impl Entry {
    fn new<S>(name: String, field: &Field<S>, holder: &S, default: &S) -> Self {
        let Field { comment, takes, is_live, is_secret, get, .. } = *field;
        let (value, default) = (get(holder), get(default));
        Self { name, comment: comment(), takes: takes(), is_live, is_secret, value, default }
    }
}

/// Puts a value in the place that `name` stands for, or says what it takes instead; `None` when there is no
/// such key.
pub fn set(config: &mut Config, name: &str, value: &Value) -> Option<Result<(), String>> {
    if let Some(field) = KEYS.iter().copied().flatten().find(|field| field.name == name) {
        return Some((field.set)(config, value));
    }
    let (section, rest) = name.split_once('.')?;
    if let Some(index) = PROTOCOLS.iter().position(|protocol| protocol.row.name == section) {
        let field = language_fields(index).find(|field| field.name == rest)?;
        return Some((field.set)(&mut config.languages[index], value));
    }
    match section {
        "listeners" => set_in_table(&mut config.listeners, LISTENER, rest, value),
        "quotas" => {
            let (kind, rest) = rest.split_once('.')?;
            let quotas = &mut config.quotas;
            let tables = match kind {
                "users" => &mut quotas.users,
                "groups" => &mut quotas.groups,
                "listeners" => &mut quotas.listeners,
                _ => return None,
            };
            set_in_table(tables, QUOTA, rest, value)
        }
        _ => None,
    }
}

/// A language that has no port inside TLS has no key for it.
fn language_fields(index: usize) -> impl Iterator<Item = &'static Field<Language>> {
    let has_tls = PROTOCOLS[index].row.default_tls_port.is_some();
    LANGUAGE.iter().filter(move |field| has_tls || field.name != "tls_bind")
}

/// `rest` is `NAME.FIELD`; a name may have dots in it.
fn set_in_table<K: for<'a> From<&'a str> + Ord, S: Default>(
    tables: &mut BTreeMap<K, S>,
    fields: &[Field<S>],
    rest: &str,
    value: &Value,
) -> Option<Result<(), String>> {
    let (name, field) = rest.rsplit_once('.').filter(|(name, _)| !name.is_empty())?;
    let field = fields.iter().find(|it| it.name == field)?;
    Some((field.set)(tables.entry(name.into()).or_default(), value))
}

/// Every key of `config` with what it holds, section by section. Languages have their defaults from `defaults`.
pub fn entries(config: &Config, defaults: &Config) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (index, protocol) in PROTOCOLS.iter().enumerate() {
        let (holder, default) = (&config.languages[index], &defaults.languages[index]);
        let name = |field: &Field<Language>| format!("{}.{}", protocol.row.name, field.name);
        entries.extend(language_fields(index).map(|field| Entry::new(name(field), field, holder, default)));
    }
    let fields = KEYS.iter().copied().flatten();
    entries.extend(fields.map(|field| Entry::new(field.name.to_owned(), field, config, defaults)));
    entries_of_tables(&mut entries, "listeners", &config.listeners, LISTENER);
    entries_of_tables(&mut entries, "quotas.users", &config.quotas.users, QUOTA);
    entries_of_tables(&mut entries, "quotas.groups", &config.quotas.groups, QUOTA);
    entries_of_tables(&mut entries, "quotas.listeners", &config.quotas.listeners, QUOTA);
    // Stable: within a section they stay in the order of their structure.
    entries.sort_by_cached_key(|entry| entry.section().to_owned());
    entries
}

impl Entry {
    /// All of its name but the last part.
    pub fn section(&self) -> &str {
        self.name.rsplit_once('.').map_or("", |(section, _)| section)
    }
}

fn entries_of_tables<K: AsRef<str>, S: Default>(
    entries: &mut Vec<Entry>,
    prefix: &str,
    tables: &BTreeMap<K, S>,
    fields: &[Field<S>],
) {
    let default = S::default();
    for (name, holder) in tables {
        let name = |field: &Field<S>| format!("{prefix}.{}.{}", name.as_ref(), field.name);
        entries.extend(fields.iter().map(|field| Entry::new(name(field), field, holder, &default)));
    }
}

/// Puts back into `config` what only a restart changes.
pub fn keep_until_restart(config: &mut Config, running: &Config) {
    for field in KEYS.iter().copied().flatten().filter(|field| !field.is_live) {
        (field.copy)(config, running);
    }
    config.languages.clone_from(&running.languages);
    let mut listeners = running.listeners.clone();
    for (name, listener) in &mut listeners {
        let Some(read) = config.listeners.get(name) else { continue };
        for field in LISTENER.iter().filter(|field| field.is_live) {
            (field.copy)(listener, read);
        }
    }
    config.listeners = listeners;
}

/// The files that keys name which need no restart: who changes one wants it to be read again.
pub fn files(config: &Config) -> Vec<PathBuf> {
    let keys = KEYS.iter().copied().flatten().filter(|field| field.is_live).flat_map(|field| (field.files)(config));
    let live = || LISTENER.iter().filter(|field| field.is_live);
    let listeners = config.listeners.values().flat_map(|listener| live().flat_map(|field| (field.files)(listener)));
    keys.chain(listeners).collect()
}

/// Every key that there can be, with its default; `NAME` stands for the name of a table.
pub fn documented() -> Vec<Entry> {
    let mut config = Config::new(0);
    config.listeners.insert(ANY.into(), ListenerKeys::default());
    config.quotas.users.insert(ANY.into(), Quota::default());
    config.quotas.groups.insert(ANY.into(), Quota::default());
    config.quotas.listeners.insert(ANY.into(), Quota::default());
    entries(&config, &Config::new(0))
}

/// The key of this name, with its default. A table may have any name.
pub fn explained(name: &str) -> Option<Entry> {
    let any = with_any_name(name);
    documented().into_iter().find(|entry| entry.name == name || Some(&entry.name) == any.as_ref())
}

/// The key that was most likely meant, if any is near.
pub fn nearest(name: &str) -> Option<String> {
    const NEAR: f64 = 0.8;
    let any = with_any_name(name);
    let meant = any.as_deref().unwrap_or(name);
    let near = documented().into_iter().map(|entry| (strsim::jaro_winkler(&entry.name, meant), entry.name));
    let found = near.filter(|(similarity, _)| *similarity > NEAR).max_by(|one, other| one.0.total_cmp(&other.0))?.1;
    let own_name = any.and_then(|any| table_name(name, &any));
    Some(own_name.map_or_else(|| found.clone(), |own| found.replace(ANY, own)))
}

/// `listeners.NAME.bind` for `listeners.garden.bind`; `None` for what is in no table with a name of its own.
fn with_any_name(name: &str) -> Option<String> {
    let tables = ["listeners.", "quotas.users.", "quotas.groups.", "quotas.listeners."];
    let prefix = tables.iter().find(|prefix| name.starts_with(**prefix))?;
    let (_, field) = name[prefix.len()..].rsplit_once('.')?;
    Some(format!("{prefix}{ANY}.{field}"))
}

/// What stands in `name` where `any` says `NAME`.
fn table_name<'a>(name: &'a str, any: &str) -> Option<&'a str> {
    let (prefix, suffix) = any.split_once(ANY)?;
    name.strip_prefix(prefix)?.strip_suffix(suffix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_explained() {
        for entry in documented() {
            let comment = entry.comment.trim();
            assert!(comment.len() > 15 && comment.ends_with('.'), "{}: \"{comment}\"", entry.name);
            assert!(!entry.takes.is_empty(), "{}", entry.name);
        }
    }

    #[test]
    fn every_key_takes_what_it_holds() {
        let mut config = Config::new(0);
        for entry in documented() {
            let value = entry.value.unwrap_or_else(|| "".into());
            let result = set(&mut config, &entry.name, &value);
            // Nothing can be said only where nothing may be said, and what is beyond the numbers of TOML.
            assert!(matches!(result, Some(Ok(()))) || entry.name == "store.bytes_max", "{}: {result:?}", entry.name);
            assert!(set(&mut config, &format!("{}x", entry.name), &value).is_none(), "{}", entry.name);
        }
    }

    #[test]
    fn keys_of_tables_are_found_by_any_name() {
        assert_eq!(explained("listeners.garden.bind").unwrap().name, "listeners.NAME.bind");
        assert_eq!(explained("quotas.users.a.b.bytes_per_s").unwrap().name, "quotas.users.NAME.bytes_per_s");
        assert_eq!(explained("limits.stall_ms").unwrap().default, Some(Value::Integer(5_000)));
        assert_eq!(explained("listeners.bind"), None);
        assert_eq!(nearest("listeners.garden.bnd").as_deref(), Some("listeners.garden.bind"));
    }
}
