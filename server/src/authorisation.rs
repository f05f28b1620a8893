//! Who may do what: from the configuration and its files to a policy.

pub mod bans;
pub mod mosquitto_acl;
pub mod rules;

use crate::config::form::Otherwise;
use crate::config::{Config, ConfigError, Setting, sources};
use althing_core::authorisation::{Actions, Banned, Policy, Rule};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use toml::Value;

/// Where rules lie that are written at run time, in the data directory.
const RULES_FILE: &str = "rules.toml";

/// Reads all rules. Who is known by name is the matter of the identity providers.
///
/// # Errors
/// The first mistake, with its file and line.
pub fn policy(config: &Config) -> Result<Policy, ConfigError> {
    let keys = &config.authorisation;
    let mut rules = keys.rules.clone();
    rules.extend(file_rules(config)?);
    if let Some(path) = &keys.mosquitto_acl_file {
        rules.extend(mosquitto_acl::read(path)?);
    }
    let mut banned = Banned {
        users: keys.banned_users.iter().cloned().collect(),
        clients: keys.banned_clients.iter().cloned().collect(),
        networks: keys.banned_networks.clone(),
    };
    bans::read(config)?.add_to(&mut banned).map_err(ConfigError::Contradiction)?;
    let quotas = config.quotas.clone();
    Ok(Policy { otherwise_allow: otherwise_allow(config)?, banned, quotas, ..Policy::new(rules, false) })
}

/// What holds for what no rule speaks of.
///
/// # Errors
/// As [`Config::listens`].
pub fn otherwise_allow(config: &Config) -> Result<bool, ConfigError> {
    Ok(match config.authorisation.otherwise {
        Some(otherwise) => otherwise == Otherwise::Allow,
        None => config.authorisation.mosquitto_acl_file.is_none() && !config.is_reachable()?,
    })
}

/// Where the rules lie that are written at run time.
pub fn rules_path(config: &Config) -> PathBuf {
    config.authorisation.file.clone().unwrap_or_else(|| config.server.data.join(RULES_FILE))
}

/// A file that nobody has named need not be there.
fn file_rules(config: &Config) -> Result<Vec<Rule>, ConfigError> {
    let path = rules_path(config);
    match read_file(&path) {
        Err(ConfigError::File { error, .. }) if is_missing(&error) && config.authorisation.file.is_none() => {
            Ok(Vec::new())
        }
        result => result,
    }
}

/// Whether there is no such file. What is wrong with the directory of a store is said by who opens the store.
fn is_missing(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// The rules of a file with `[[rules]]`.
///
/// # Errors
/// The first mistake, with its line.
pub fn read_file(path: &Path) -> Result<Vec<Rule>, ConfigError> {
    let mut rules = Vec::new();
    for setting in sources::from_file(path)? {
        if setting.key != "rules" {
            let nearest = Some("rules".to_owned());
            return Err(ConfigError::UnknownKey { source_text: setting.source.to_string(), key: setting.key, nearest });
        }
        rules.extend(rules_of(&setting)?);
    }
    Ok(rules)
}

/// The rules that a setting lists; each knows its own line.
///
/// # Errors
/// The first mistake, with its line.
pub fn rules_of(setting: &Setting) -> Result<Vec<Rule>, ConfigError> {
    let rules = match &setting.value {
        Value::Array(rules) => rules.as_slice(),
        one => std::slice::from_ref(one),
    };
    let read = |(index, rule)| {
        let source_text = setting.source_of(index).to_string();
        rules::read(rule, &source_text).map_err(|expected| ConfigError::Syntax { source_text, expected })
    };
    rules.iter().enumerate().map(read).collect()
}

/// Subscribing alone, without receiving.
const SUBSCRIBE_ALONE: Actions = Actions { receive: false, ..Actions::SUBSCRIBE };
