//! Where settings come from.

use crate::protocols::PROTOCOLS;
use serde::Deserialize;
use serde::de::IntoDeserializer;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use toml::Value;
use toml::de::{DeTable, DeValue};

/// One key and its value, as somebody wrote it.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// The key, section first.
    pub key: String,
    /// The value.
    pub value: Value,
    /// Where it was written.
    pub source: Source,
    /// Of a list in a file: the line of each element.
    pub lines: Vec<usize>,
    /// Where no quotes are asked for: the value as it was written.
    pub unquoted: Option<String>,
}

impl Setting {
    /// A value that is written in full.
    pub fn new(key: String, value: Value, source: Source) -> Self {
        Self { key, value, source, lines: Vec::new(), unquoted: None }
    }

    /// From where text needs no quotes.
    fn unquoted(key: String, text: &str, source: Source) -> Self {
        Self { unquoted: Some(text.to_owned()), ..Self::new(key, read_value(text), source) }
    }

    /// Where the element of a list was written.
    pub fn source_of(&self, element: usize) -> Source {
        match (&self.source, self.lines.get(element)) {
            (Source::File(path, _), Some(line)) => Source::File(path.clone(), *line),
            (source, _) => source.clone(),
        }
    }
}

/// Where a setting was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// In this line of the file.
    File(PathBuf, usize),
    /// In this variable of the environment.
    Environment(String),
    /// In the argument of `--set` for this key.
    Argument(String),
    /// With `--data`.
    Data,
    /// With `--console-dir`.
    ConsoleDir,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => f.write_str(name),
            Self::Argument(key) => write!(f, "--set {key}"),
            Self::Data => f.write_str("--data"),
            Self::ConsoleDir => f.write_str("--console-dir"),
        }
    }
}

/// A mistake in the configuration; the text says where it is and what would be right.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// Not TOML, or not `KEY=VALUE`.
    #[error("{source_text}: {expected}")]
    Syntax {
        /// Where.
        source_text: String,
        /// What is wrong.
        expected: String,
    },
    /// A key that does not exist.
    #[error("{source_text}: there is no key `{key}`{}", nearest.as_ref().map(|it| format!("; did you mean `{it}`?")).unwrap_or_default())]
    UnknownKey {
        /// Where.
        source_text: String,
        /// What was written.
        key: String,
        /// What was probably meant.
        nearest: Option<String>,
    },
    /// A value that the key does not take.
    #[error("{source_text}: `{key}` takes {expected}, not {value}")]
    Value {
        /// Where.
        source_text: String,
        /// Which key.
        key: String,
        /// What it takes.
        expected: String,
        /// What was written.
        value: String,
    },
    /// Values that do not go together.
    #[error("{0}")]
    Contradiction(String),
}

/// The settings of a TOML file, each with its line.
pub fn from_file(path: &Path) -> Result<Vec<Setting>, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|error| ConfigError::File { path: path.to_owned(), error })?;
    from_toml(path, &text)
}

/// The settings of a text that stands in the file `path`.
pub fn from_toml(path: &Path, text: &str) -> Result<Vec<Setting>, ConfigError> {
    let syntax = |error: toml::de::Error| {
        let start = error.span().map_or(0, |span| span.start);
        let source_text = Source::File(path.to_owned(), line_of(text, start)).to_string();
        ConfigError::Syntax { source_text, expected: error.message().to_owned() }
    };
    let mut settings = Vec::new();
    // Tables that are still to be walked, with the key that leads to each.
    let mut tables = vec![(String::new(), DeTable::parse(text).map_err(syntax)?.into_inner())];
    while let Some((prefix, table)) = tables.pop() {
        for (name, value) in table {
            let key = format!("{prefix}{}", name.get_ref());
            let source = Source::File(path.to_owned(), line_of(text, name.span().start));
            if !value.get_ref().is_table() {
                let elements = value.get_ref().as_array().into_iter().flatten();
                let lines = elements.map(|element| line_of(text, element.span().start)).collect();
                let value = Value::deserialize(value.into_deserializer()).map_err(syntax)?;
                settings.push(Setting { lines, ..Setting::new(key, value, source) });
            } else if let DeValue::Table(inner) = value.into_inner() {
                tables.push((format!("{key}."), inner));
            }
        }
    }
    Ok(settings)
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes()[..offset.min(text.len())].iter().filter(|byte| **byte == b'\n').count()
}

/// The settings of the variables that begin with `ALTHING__`.
pub fn from_environment(variables: impl Iterator<Item = (OsString, OsString)>) -> Result<Vec<Setting>, ConfigError> {
    const PREFIX: &str = "ALTHING__";
    let mut settings = Vec::new();
    for (name, value) in variables {
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else { continue };
        let text = value.to_str().ok_or_else(|| ConfigError::Syntax {
            source_text: name.to_owned(),
            expected: "the value is not UTF-8".into(),
        })?;
        let key = key_of_variable(&name[PREFIX.len()..]);
        settings.push(Setting::unquoted(key, text, Source::Environment(name.to_owned())));
    }
    Ok(settings)
}

/// Shells have no hyphens in names of variables: `COAP_TCP__BIND` is `coap-tcp.bind`.
fn key_of_variable(name: &str) -> String {
    let key = name.to_ascii_lowercase().replace("__", ".");
    match key.split_once('.').map(|(section, rest)| (section.replace('_', "-"), rest)) {
        Some((section, rest)) if PROTOCOLS.iter().any(|it| it.row.name == section) => format!("{section}.{rest}"),
        _ => key,
    }
}

/// The settings of `--set KEY=VALUE`.
pub fn from_arguments(arguments: &[String]) -> Result<Vec<Setting>, ConfigError> {
    let read = |text: &String| {
        let Some((key, value)) = text.split_once('=') else {
            let source_text = Source::Argument(text.clone()).to_string();
            return Err(ConfigError::Syntax { source_text, expected: "write KEY=VALUE".into() });
        };
        let key = key.trim().to_owned();
        Ok(Setting::unquoted(key.clone(), value.trim(), Source::Argument(key)))
    };
    arguments.iter().map(read).collect()
}

/// A value as TOML writes it; what is not TOML is text that needs no quotes.
fn read_value(text: &str) -> Value {
    toml::de::ValueDeserializer::parse(text)
        .and_then(Value::deserialize)
        .unwrap_or_else(|_| Value::String(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_gives_keys_with_lines() {
        let text = "[mqtt]\nbind = \"127.0.0.1:1\"\n\n[limits]\nstall_ms = 5\n";
        let mut settings = from_toml(Path::new("a.toml"), text).unwrap();
        settings.sort_by(|one, other| one.key.cmp(&other.key));
        let shown: Vec<String> =
            settings.iter().map(|setting| format!("{} {} {}", setting.source, setting.key, setting.value)).collect();
        assert_eq!(shown, ["a.toml:5 limits.stall_ms 5", "a.toml:2 mqtt.bind \"127.0.0.1:1\""]);
    }

    #[test]
    fn a_file_that_is_not_toml_says_where() {
        let error = from_toml(Path::new("a.toml"), "[mqtt]\nbind = \n").unwrap_err();
        assert!(error.to_string().starts_with("a.toml:2: "), "{error}");
    }

    #[test]
    fn the_environment_gives_keys() {
        let variables = [
            ("ALTHING__LIMITS__STALL_MS", "7"),
            ("HOME", "/"),
            ("ALTHING__MQTT__BIND", "127.0.0.1:1"),
            ("ALTHING__COAP_TCP__BIND", "127.0.0.1:2"),
        ];
        let variables = variables.map(|(name, value)| (name.into(), value.into()));
        let settings = from_environment(variables.into_iter()).unwrap();
        assert_eq!(settings[0].key, "limits.stall_ms");
        assert_eq!(settings[0].value, Value::Integer(7));
        assert_eq!(settings[1].key, "mqtt.bind");
        assert_eq!(settings[1].value, Value::String("127.0.0.1:1".into()));
        assert_eq!(settings[2].key, "coap-tcp.bind");
    }
}
