//! What a value of the configuration may look like, in TOML and in our own types.

use super::Durability;
use super::sections::{CertificateFiles, ClientCertificate, LogFormat, TlsVersion};
use crate::identity::config::{Anonymous, CertificateName, Secret};
use althing_coap::AddressProof;
use althing_core::authorisation::Network;
use althing_core::limits::Overflow;
use althing_core::link::ClientIdFrom;
use althing_mqtt::packet::Version;
use althing_net::Address;
use bytestring::ByteString;
use std::path::PathBuf;
use toml::{Table, Value};

/// A type that a value can be read as and written from.
pub trait Form: Sized {
    /// Whether it is shown to nobody.
    const IS_SECRET: bool = false;

    /// What it takes, for error messages and explanations.
    fn takes() -> String;

    /// Reads it; the error says what it takes.
    fn read(value: &Value) -> Result<Self, String>;

    /// Writes it. `None`: nothing is said, or TOML has no way to say it.
    fn write(&self) -> Option<Value>;

    /// The files that it names.
    fn files(&self) -> Vec<PathBuf> {
        Vec::new()
    }
}

macro_rules! whole_numbers {
    ($($number:ty)+) => {$(
        impl Form for $number {
            fn takes() -> String {
                format!("a whole number from 0 to {}", <$number>::MAX.min(i64::MAX as $number))
            }

            fn read(value: &Value) -> Result<Self, String> {
                let integer = value.as_integer().ok_or("a whole number")?;
                integer.try_into().map_err(|_| Self::takes())
            }

            /// What is beyond the numbers of TOML is as good as no bound.
            fn write(&self) -> Option<Value> {
                i64::try_from(*self).ok().map(Value::Integer)
            }
        }
    )+};
}

whole_numbers!(u64 usize);

macro_rules! small_numbers {
    ($($number:ty)+) => {$(
        impl Form for $number {
            fn takes() -> String {
                format!("a whole number from 0 to {}", <$number>::MAX)
            }

            fn read(value: &Value) -> Result<Self, String> {
                let integer = value.as_integer().ok_or("a whole number")?;
                integer.try_into().map_err(|_| Self::takes())
            }

            fn write(&self) -> Option<Value> {
                Some(Value::Integer((*self).into()))
            }
        }
    )+};
}

small_numbers!(u8 u16 u32);

impl Form for bool {
    fn takes() -> String {
        "true or false".into()
    }

    fn read(value: &Value) -> Result<Self, String> {
        value.as_bool().ok_or_else(Self::takes)
    }

    fn write(&self) -> Option<Value> {
        Some(Value::Boolean(*self))
    }
}

impl Form for PathBuf {
    fn takes() -> String {
        "a path".into()
    }

    fn read(value: &Value) -> Result<Self, String> {
        value.as_str().filter(|text| !text.is_empty()).map(Self::from).ok_or_else(Self::takes)
    }

    fn write(&self) -> Option<Value> {
        Some(self.to_string_lossy().into_owned().into())
    }

    fn files(&self) -> Vec<PathBuf> {
        vec![self.clone()]
    }
}

macro_rules! texts {
    ($($text:ty)+) => {$(
        impl Form for $text {
            fn takes() -> String {
                "text".into()
            }

            fn read(value: &Value) -> Result<Self, String> {
                value.as_str().map(Self::from).ok_or_else(Self::takes)
            }

            fn write(&self) -> Option<Value> {
                Some(Value::String(self.to_string()))
            }
        }
    )+};
}

texts!(String ByteString);

impl Form for Secret {
    const IS_SECRET: bool = true;

    fn takes() -> String {
        "text (a secret)".into()
    }

    fn read(value: &Value) -> Result<Self, String> {
        value.as_str().map(Self::new).ok_or_else(Self::takes)
    }

    fn write(&self) -> Option<Value> {
        Some(self.reveal().into())
    }
}

/// The empty text says that nothing is said.
impl<T: Form> Form for Option<T> {
    const IS_SECRET: bool = T::IS_SECRET;

    fn takes() -> String {
        T::takes()
    }

    fn read(value: &Value) -> Result<Self, String> {
        if value.as_str() == Some("") { Ok(None) } else { T::read(value).map(Some) }
    }

    fn write(&self) -> Option<Value> {
        self.as_ref().and_then(T::write)
    }

    fn files(&self) -> Vec<PathBuf> {
        self.iter().flat_map(T::files).collect()
    }
}

/// One needs no brackets.
impl<T: Form> Form for Vec<T> {
    const IS_SECRET: bool = T::IS_SECRET;

    fn takes() -> String {
        format!("{} or a list of such", T::takes())
    }

    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::Array(list) => list.iter().map(T::read).collect(),
            one => Ok(vec![T::read(one)?]),
        }
    }

    fn write(&self) -> Option<Value> {
        self.iter().map(T::write).collect::<Option<_>>().map(Value::Array)
    }

    fn files(&self) -> Vec<PathBuf> {
        self.iter().flat_map(T::files).collect()
    }
}

/// Types that are written as one text each, and read by `FromStr`.
macro_rules! parsed {
    ($($type:ty, $takes:literal;)+) => {$(
        impl Form for $type {
            fn takes() -> String {
                $takes.into()
            }

            fn read(value: &Value) -> Result<Self, String> {
                let text = value.as_str().ok_or_else(Self::takes)?;
                text.parse().map_err(|error| format!("{} ({error})", Self::takes()))
            }

            fn write(&self) -> Option<Value> {
                Some(self.to_string().into())
            }
        }
    )+};
}

parsed! {
    Address, "an address";
    Network, "a network";
}

impl Form for tracing::Level {
    fn takes() -> String {
        "error, warn, info, debug or trace".into()
    }

    fn read(value: &Value) -> Result<Self, String> {
        let named = value.as_str().filter(|text| text.parse::<u8>().is_err()).and_then(|text| text.parse().ok());
        named.ok_or_else(Self::takes)
    }

    fn write(&self) -> Option<Value> {
        Some(self.to_string().to_ascii_lowercase().into())
    }
}

/// Types with a few named values.
macro_rules! named {
    ($($type:ty { $($name:literal => $value:ident,)+ })+) => {$(
        impl Form for $type {
            fn takes() -> String {
                one_of(&[$($name),+])
            }

            fn read(value: &Value) -> Result<Self, String> {
                match value.as_str() {
                    $(Some($name) => Ok(Self::$value),)+
                    _ => Err(Self::takes()),
                }
            }

            fn write(&self) -> Option<Value> {
                Some(match self { $(Self::$value => $name.into(),)+ })
            }
        }
    )+};
}

named! {
    LogFormat { "text" => Text, "json" => Json, }
    Durability { "sync" => Sync, "interval" => Interval, "memory" => Memory, }
    Overflow { "drop_oldest" => DropOldest, "drop_newest" => DropNewest, "refuse" => Refuse, }
    AddressProof { "never" => Never, "beyond_loopback" => BeyondLoopback, "always" => Always, }
    ClientIdFrom { "peer" => Peer, "principal" => Principal, }
    ClientCertificate { "none" => None, "optional" => Optional, "required" => Required, }
    TlsVersion { "1.2" => V12, "1.3" => V13, }
    Version { "3.1" => V31, "3.1.1" => V311, "5.0" => V5, }
    Anonymous { "loopback" => Loopback, "everywhere" => Everywhere, "nowhere" => Nowhere, }
    CertificateName {
        "common_name" => CommonName, "subject" => Subject, "dns_name" => DnsName, "uri" => Uri, "email" => Email,
        "fingerprint" => Fingerprint,
    }
}

fn one_of(names: &[&str]) -> String {
    match names {
        [rest @ .., before, last] if !rest.is_empty() => format!("{}, {before} or {last}", rest.join(", ")),
        _ => names.join(" or "),
    }
}

/// Whether something is allowed, in the word that people use for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Otherwise {
    /// What no rule speaks of may be done.
    Allow,
    /// It may not.
    Deny,
}

named! {
    Otherwise { "allow" => Allow, "deny" => Deny, }
}

impl Form for CertificateFiles {
    fn takes() -> String {
        "{ certificate = \"FILE\", key = \"FILE\" }".into()
    }

    fn read(value: &Value) -> Result<Self, String> {
        let table = value.as_table().filter(|table| table.len() == 2).ok_or_else(Self::takes)?;
        let path = |name: &str| PathBuf::read(table.get(name).ok_or_else(Self::takes)?);
        Ok(Self { certificate: path("certificate")?, key: path("key")? })
    }

    fn write(&self) -> Option<Value> {
        let fields = [("certificate", &self.certificate), ("key", &self.key)];
        let table: Option<Table> =
            fields.map(|(name, path)| Some((name.to_owned(), path.write()?))).into_iter().collect();
        table.map(Value::Table)
    }

    fn files(&self) -> Vec<PathBuf> {
        vec![self.certificate.clone(), self.key.clone()]
    }
}
