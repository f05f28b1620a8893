//! `coap.oscore_file`: a table for each context under its name, or one context alone, in TOML or JSON.

use althing_coap::oscore::{Context, Credentials};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// One context. The second names are those of aiocoap's `settings.json`, and its IDs are from the broker's side here, too: the
/// sender is whoever reads the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    #[serde(alias = "secret_hex")]
    master_secret: String,
    #[serde(alias = "salt_hex", default)]
    master_salt: String,
    #[serde(alias = "sender-id_hex")]
    sender_id: String,
    #[serde(alias = "recipient-id_hex")]
    recipient_id: String,
    #[serde(alias = "id-context_hex")]
    id_context: Option<String>,
    algorithm: Option<String>,
}

/// The algorithm that there is.
const ALGORITHM: &str = "AES-CCM-16-64-128";

/// Reads the contexts in a file.
///
/// # Errors
/// One sentence with the first mistake.
pub fn read(path: &Path) -> Result<Vec<Credentials>, String> {
    let name = path.display();
    let text = fs::read_to_string(path).map_err(|error| format!("coap.oscore_file: {name} cannot be read: {error}"))?;
    let only = path.file_stem().map_or_else(Default::default, |stem| stem.to_string_lossy());
    parse(&text, &only).map_err(|error| format!("{name}: {error}"))
}

/// Reads the contexts in a text; `only` names one that stands there alone, without a name.
///
/// # Errors
/// One sentence with the first mistake.
pub fn parse(text: &str, only: &str) -> Result<Vec<Credentials>, String> {
    let file: Value = match text.trim_start().starts_with('{') {
        true => serde_json::from_str(text).map_err(|error| error.to_string())?,
        false => toml::from_str(text).map_err(|error| error.message().to_owned())?,
    };
    let is_alone = file.as_object().is_some_and(|file| file.values().any(Value::is_string));
    let entries: Result<BTreeMap<String, Entry>, _> = match is_alone {
        true => serde_json::from_value(file).map(|entry| [(only.to_owned(), entry)].into()),
        false => serde_json::from_value(file),
    };
    let entries = entries.map_err(|error| error.to_string())?;
    let mut contexts = Vec::new();
    let (mut recipients, mut keys) = (BTreeSet::new(), BTreeSet::new());
    for (context, entry) in entries {
        let wrong = |text: &str| format!("the context {context:?}: {text}");
        let credentials = entry.credentials(&context).map_err(|text| wrong(&text))?;
        let derived = Context::derive(credentials.clone()).map_err(|error| wrong(error.0))?;
        if !recipients.insert((credentials.recipient_id.clone(), credentials.id_context.clone())) {
            return Err(wrong("another one has the same recipient_id and id_context: requests could mean either"));
        }
        if !keys.insert(derived.fingerprint()) {
            return Err(wrong(
                "another one has the same secret, salt, id_context and sender_id: each needs a key of its own",
            ));
        }
        contexts.push(credentials);
    }
    Ok(contexts)
}

impl Entry {
    fn credentials(&self, name: &str) -> Result<Credentials, String> {
        if let Some(other) = self.algorithm.as_deref().filter(|it| *it != ALGORITHM) {
            return Err(format!("algorithm is {other:?}: {ALGORITHM} is the one that is spoken here"));
        }
        let hex = |key, text: &str| {
            bytes_of(text).map(Into::into).ok_or_else(|| format!("{key} is no hexadecimal number of whole bytes"))
        };
        Ok(Credentials {
            name: name.into(),
            master_secret: hex("master_secret", &self.master_secret)?,
            master_salt: hex("master_salt", &self.master_salt)?,
            sender_id: hex("sender_id", &self.sender_id)?,
            recipient_id: hex("recipient_id", &self.recipient_id)?,
            id_context: self.id_context.as_deref().map(|text| hex("id_context", text)).transpose()?,
        })
    }
}

/// The bytes that hexadecimal digits stand for.
pub(super) fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    if !hex.len().is_multiple_of(2) || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Vec<Credentials>, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        read(file.path())
    }

    #[test]
    fn contexts_are_read_from_toml_and_json() {
        let toml = "[sensor-1]\nmaster_secret = '0102'\nsender_id = '01'\nrecipient_id = ''\nid_context = 'aB'";
        let json = r#"{"sensor-1": {"secret_hex": "0102", "sender-id_hex": "01", "recipient-id_hex": "", "id-context_hex": "ab",
            "algorithm": "AES-CCM-16-64-128"}}"#;
        let contexts = read_text(toml).unwrap();
        assert_eq!(read_text(json).unwrap(), contexts);
        assert_eq!((&contexts[0].name[..], &contexts[0].master_secret[..]), ("sensor-1", &[1, 2][..]));
        assert_eq!(contexts[0].id_context.as_deref(), Some(&[0xab][..]));
        assert!(read_text("").unwrap().is_empty());
        let alone = parse("master_secret = '0102'\nsender_id = '01'\nrecipient_id = ''\nid_context = 'ab'", "sensor-1");
        assert_eq!(alone, Ok(contexts));
    }

    #[test]
    fn mistakes_are_named() {
        let entry = |name: &str, secret: &str, sender: &str, recipient: &str| {
            format!("[{name}]\nmaster_secret = '{secret}'\nsender_id = '{sender}'\nrecipient_id = '{recipient}'\n")
        };
        for (text, expected) in [
            (entry("a", "0g", "01", "02"), "master_secret is no hexadecimal"),
            (entry("a", "01", "01", "01"), "are equal"),
            (entry("a", "", "01", "02"), "empty"),
            (entry("a", "01", "01", "02") + &entry("b", "02", "01", "02"), "same recipient_id"),
            (entry("a", "01", "01", "02") + &entry("b", "01", "01", "03"), "a key of its own"),
            (entry("a", "01", "01", "02") + "algorithm = 'A128GCM'", "AES-CCM-16-64-128"),
            (entry("a", "01", "01", "02") + "salt = 'A128GCM'", "unknown field"),
        ] {
            let error = read_text(&text).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
