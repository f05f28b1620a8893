//! The table of keys.

use super::{Config, Durability, LogFormat};
use crate::protocols::PROTOCOLS;
use althing_coap::AddressProof;
use althing_core::Limits;
use althing_core::limits::Overflow;
use althing_core::topic::TopicLimits;
use althing_net::Address;
use bytestring::ByteString;
use std::path::PathBuf;
use toml::Value;

/// Puts a value in the place that `name` stands for, or says what it takes instead; `None` when there is no
/// such key.
pub fn set(config: &mut Config, name: &str, value: &Value) -> Option<Result<(), String>> {
    if let Some(key) = KEYS.iter().find(|key| key.name == name) {
        return Some((key.set)(config, value));
    }
    let (section, rest) = name.split_once('.')?;
    let language = PROTOCOLS.iter().position(|protocol| protocol.row.name == section)?;
    let listen = &mut config.listen[language];
    match rest {
        "enabled" => Some(FromValue::from_value(value).map(|it| listen.enabled = it)),
        "bind" => Some(FromValue::from_value(value).map(|it| listen.bind = it)),
        _ => None,
    }
}

/// The key that was most likely meant, if any is near.
pub fn nearest(name: &str) -> Option<String> {
    const NEAR: f64 = 0.8;
    let near = names().map(|key| (strsim::jaro_winkler(&key, name), key));
    near.filter(|(similarity, _)| *similarity > NEAR).max_by(|one, other| one.0.total_cmp(&other.0)).map(|it| it.1)
}

/// Every key, first those that each language has.
fn names() -> impl Iterator<Item = String> {
    let of_language = |name: &'static str| ["enabled", "bind"].map(|key| format!("{name}.{key}"));
    let languages = PROTOCOLS.iter().flat_map(move |protocol| of_language(protocol.row.name));
    languages.chain(KEYS.iter().map(|key| key.name.to_owned()))
}

/// One key of the configuration.
#[derive(Debug)]
struct Key {
    /// Its name, section first.
    name: &'static str,
    /// Puts a value in its place, or says what it takes instead.
    set: fn(&mut Config, &Value) -> Result<(), String>,
}

macro_rules! key {
    ($name:expr, $($place:ident).+) => {
        Key { name: $name, set: |config, value| FromValue::from_value(value).map(|it| config.$($place).+ = it) }
    };
}

/// The keys of the limits that are plain numbers and switches. The pattern below does not compile when a
/// limit has no key.
macro_rules! keys_with_limits {
    ($($limit:ident)+; $($key:expr,)+) => {
        /// Every key but those that each language has.
        const KEYS: &[Key] = &[$($key,)+ $(key!(concat!("limits.", stringify!($limit)), limits.$limit),)+];

        const _: fn(&Limits) = |limits| {
            let Limits { topic: TopicLimits { length_bytes_max: _, levels_max: _ }, $($limit: _,)+ } = limits;
        };
    };
}

keys_with_limits! {
    packet_bytes_max packet_bytes_before_connect_max connect_timeout_ms packet_timeout_ms keep_alive_s_max
    receive_maximum inflight_max topic_alias_maximum topic_alias_out_maximum sessions_max
    subscriptions_per_session_max filters_per_request_max client_id_bytes_max session_expiry_s_max
    queues_max queue_messages_max queue_bytes_max queue_high_messages queue_high_bytes queue_bytes_total_max
    queue_memory_messages queue_memory_bytes queue_overflow queue_at_most_once
    retained_messages_max retained_bytes_max match_visits_max route_cache_max write_buffer_high_bytes
    write_buffer_low_bytes stall_ms connections_max;

    key!("mqtt.server_reference", mqtt.server_reference),
    key!("coap.payload_bytes_max", coap.payload_bytes_max),
    key!("coap.address_proof", coap.address_proof),
    key!("coap.observations_max", coap.observations_max),
    key!("coap.observations_per_address_max", coap.observations_per_address_max),
    key!("coap.endpoints_max", coap.endpoints_max),
    key!("log.level", log.level),
    key!("log.format", log.format),
    key!("server.data", server.data),
    key!("server.anonymous_beyond_loopback", server.anonymous_beyond_loopback),
    key!("server.sys_interval_s", server.sys_interval_s),
    key!("admin.enabled", admin.enabled),
    key!("admin.bind", admin.bind),
    key!("admin.metrics_open", admin.metrics_open),
    key!("admin.hosts", admin.hosts),
    key!("store.durability", store.durability),
    key!("store.interval_ms", store.interval_ms),
    key!("store.bytes_max", store.bytes_max),
    key!("store.segment_bytes", store.segment_bytes),
    key!("limits.topic_length_bytes_max", limits.topic.length_bytes_max),
    key!("limits.topic_levels_max", limits.topic.levels_max),
}

/// A type that a value can be read as; the error says what it takes.
trait FromValue: Sized {
    fn from_value(value: &Value) -> Result<Self, String>;
}

macro_rules! whole_numbers {
    ($($number:ty)+) => {$(
        impl FromValue for $number {
            fn from_value(value: &Value) -> Result<Self, String> {
                let integer = value.as_integer().ok_or("a whole number")?;
                integer.try_into().map_err(|_| format!("a whole number from 0 to {}", <$number>::MAX))
            }
        }
    )+};
}

whole_numbers!(u16 u32 u64 usize);

impl FromValue for bool {
    fn from_value(value: &Value) -> Result<Self, String> {
        value.as_bool().ok_or_else(|| "true or false".into())
    }
}

impl FromValue for PathBuf {
    fn from_value(value: &Value) -> Result<Self, String> {
        value.as_str().filter(|text| !text.is_empty()).map(Self::from).ok_or_else(|| "a path".into())
    }
}

/// The empty text says that there is none.
impl FromValue for Option<ByteString> {
    fn from_value(value: &Value) -> Result<Self, String> {
        let text = value.as_str().ok_or("text")?;
        Ok((!text.is_empty()).then(|| text.into()))
    }
}

impl FromValue for Vec<Address> {
    fn from_value(value: &Value) -> Result<Self, String> {
        let read = |value: &Value| {
            let text = value.as_str().ok_or("an address or a list of addresses")?;
            text.parse().map_err(|error: althing_net::AddressError| format!("an address ({error})"))
        };
        match value {
            Value::Array(list) => list.iter().map(read).collect(),
            one => Ok(vec![read(one)?]),
        }
    }
}

impl FromValue for Vec<String> {
    fn from_value(value: &Value) -> Result<Self, String> {
        let read = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(|| "a text or a list of texts".into());
        match value {
            Value::Array(list) => list.iter().map(read).collect(),
            one => Ok(vec![read(one)?]),
        }
    }
}

impl FromValue for tracing::Level {
    fn from_value(value: &Value) -> Result<Self, String> {
        let named = value.as_str().filter(|text| text.parse::<u8>().is_err()).and_then(|text| text.parse().ok());
        named.ok_or_else(|| "error, warn, info, debug or trace".into())
    }
}

impl FromValue for LogFormat {
    fn from_value(value: &Value) -> Result<Self, String> {
        match value.as_str() {
            Some("text") => Ok(Self::Text),
            Some("json") => Ok(Self::Json),
            _ => Err("text or json".into()),
        }
    }
}

impl FromValue for AddressProof {
    fn from_value(value: &Value) -> Result<Self, String> {
        match value.as_str() {
            Some("never") => Ok(Self::Never),
            Some("beyond_loopback") => Ok(Self::BeyondLoopback),
            Some("always") => Ok(Self::Always),
            _ => Err("never, beyond_loopback or always".into()),
        }
    }
}

impl FromValue for Durability {
    fn from_value(value: &Value) -> Result<Self, String> {
        match value.as_str() {
            Some("sync") => Ok(Self::Sync),
            Some("interval") => Ok(Self::Interval),
            Some("memory") => Ok(Self::Memory),
            _ => Err("sync, interval or memory".into()),
        }
    }
}

impl FromValue for Overflow {
    fn from_value(value: &Value) -> Result<Self, String> {
        match value.as_str() {
            Some("drop_oldest") => Ok(Self::DropOldest),
            Some("drop_newest") => Ok(Self::DropNewest),
            Some("refuse") => Ok(Self::Refuse),
            _ => Err("drop_oldest, drop_newest or refuse".into()),
        }
    }
}
