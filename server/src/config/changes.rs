//! What is different between two configurations, for people.

use super::Config;
use super::keys::{self, Entry};
use std::collections::BTreeMap;
use std::fmt;
use toml::Value;

/// One key that holds something else than before.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The key.
    pub name: String,
    /// What it held.
    pub old: Option<Value>,
    /// What it holds.
    pub new: Option<Value>,
    /// Whether it holds already.
    pub is_live: bool,
    /// Whether both are shown to nobody.
    pub is_secret: bool,
}

/// Every key that differs.
pub fn changes(old: &Config, new: &Config) -> Vec<Change> {
    let by_name = |config| -> BTreeMap<String, Entry> {
        keys::entries(config, config).into_iter().map(|entry| (entry.name.clone(), entry)).collect()
    };
    let (mut before, after) = (by_name(old), by_name(new));
    let mut changes = Vec::new();
    for (name, Entry { value: new, is_live, is_secret, .. }) in after {
        // A table that was not there had nothing in it, and one that is not there any more has nothing.
        let old = before.remove(&name).and_then(|entry| entry.value);
        changes.push(Change { name, old, new, is_live, is_secret });
    }
    for (name, Entry { value: old, is_live, is_secret, .. }) in before {
        changes.push(Change { name, old, new: None, is_live, is_secret });
    }
    changes.retain(|change| change.old != change.new);
    changes
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, old, new, .. } = self;
        if self.is_secret {
            write!(f, "{name}: another secret")?;
        } else {
            write!(f, "{name}: {} → {}", Short(old), Short(new))?;
        }
        if !self.is_live {
            f.write_str("; this takes a restart")?;
        }
        Ok(())
    }
}

/// A value that fits in a line of a log.
struct Short<'a>(&'a Option<Value>);

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("nothing"),
            Some(Value::Array(list)) if list.iter().any(Value::is_table) => write!(f, "{} of them", list.len()),
            Some(value) => value.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(set: &[(&str, &str)]) -> Config {
        let mut config = Config::new(0);
        for (key, value) in set {
            keys::set(&mut config, key, &value.parse().unwrap_or_else(|_| Value::from(*value))).unwrap().unwrap();
        }
        config
    }

    #[test]
    fn a_change_says_what_it_was_and_what_it_is() {
        let old = config(&[("log.level", "info"), ("quotas.users.ann.messages_per_s", "5")]);
        let new = config(&[
            ("log.level", "debug"),
            ("mqtt.bind", "127.0.0.1:7"),
            ("quotas.users.bob.bytes_per_s", "6"),
            ("authorisation.rules", "[{topic = 'a', allow = true}]"),
        ]);
        let shown: Vec<_> = changes(&old, &new).iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "authorisation.rules: [] → 1 of them",
                "log.level: \"info\" → \"debug\"",
                "mqtt.bind: [\"127.0.0.1:1883\"] → [\"127.0.0.1:7\"]; this takes a restart",
                "quotas.users.bob.bytes_per_s: nothing → 6",
                "quotas.users.ann.messages_per_s: 5 → nothing",
            ]
        );
    }

    #[test]
    fn what_takes_a_restart_is_kept_until_then() {
        let running = config(&[
            ("listeners.a.realm", "old"),
            ("listeners.a.certificate", "old.pem"),
            ("limits.receive_maximum", "1"),
        ]);
        let mut read = config(&[
            ("listeners.a.realm", "new"),
            ("listeners.a.certificate", "new.pem"),
            ("listeners.b.realm", "new"),
            ("mqtt.bind", "127.0.0.1:7"),
            ("log.level", "debug"),
            ("store.bytes_max", "1"),
        ]);
        keys::keep_until_restart(&mut read, &running);
        let shown: Vec<_> = changes(&running, &read).iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["listeners.a.certificate: \"old.pem\" → \"new.pem\"", "log.level: \"info\" → \"debug\""]);
    }

    #[test]
    fn files_of_keys_that_need_no_restart_are_watched() {
        let config = config(&[
            ("tls.certificate", "a.pem"),
            ("listeners.a.key", "b.key"),
            ("authorisation.file", "rules.toml"),
            ("tls.certificates", "[{certificate = 'c.pem', key = 'c.key'}]"),
        ]);
        let shown: Vec<_> = keys::files(&config).iter().map(|path| path.display().to_string()).collect();
        assert_eq!(shown, ["a.pem", "c.pem", "c.key", "rules.toml", "b.key"]);
    }
}
