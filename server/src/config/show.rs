//! The configuration as text that loads again.

use super::Config;
use super::keys::{self, Entry};
use std::fmt::Write;
use toml::Value;

/// Tables whose last part is a name that somebody has chosen.
const NAMED: [&str; 4] = ["listeners.", "quotas.users.", "quotas.groups.", "quotas.listeners."];

/// Where a comment begins, unless the value is longer.
const COMMENT_COLUMN: usize = 44;

/// Every key with what it holds, where that comes from, and what it holds when nothing is said. `defaults` is what holds when
/// nothing at all is said. Secrets are left out unless they are asked for.
pub fn show(config: &Config, defaults: &Config, with_secrets: bool) -> String {
    let mut text = String::new();
    let mut section = String::new();
    for entry in keys::entries(config, defaults) {
        if entry.section() != section {
            section = entry.section().to_owned();
            let gap = if text.is_empty() { "" } else { "\n" };
            // Writing to a string does not fail.
            let _ = writeln!(text, "{gap}[{}]", header(&section));
        }
        line(&mut text, &entry, config, with_secrets);
    }
    text
}

fn line(text: &mut String, entry: &Entry, config: &Config, with_secrets: bool) {
    let name = &entry.name[entry.section().len() + 1..];
    let is_default = entry.value == entry.default;
    let origin = config.origins.get(&entry.name);
    let default = entry.default.as_ref().map_or("nothing".into(), written);
    let comment = match origin {
        None if is_default => "default".to_owned(),
        None => format!("default: {default}"),
        Some(source) if is_default => format!("{source}; as the default"),
        Some(source) if entry.is_secret => source.to_string(),
        Some(source) => format!("{source}; default: {default}"),
    };
    // A default may say where the program runs, and a comment ends with its line.
    let comment = comment.replace(['\n', '\r'], " ");
    let line = match &entry.value {
        None => format!("# {name} ="),
        Some(_) if entry.is_secret && !with_secrets => format!("# {name} = (a secret)"),
        Some(value) => format!("{name} = {}", written(value)),
    };
    let _ = match line.rsplit_once('\n') {
        // The comment would stand far from the key.
        Some(_) => writeln!(text, "# {comment}\n{line}"),
        None => writeln!(text, "{line:COMMENT_COLUMN$} # {comment}"),
    };
}

/// As TOML writes it; tables in a list each on a line.
pub fn written(value: &Value) -> String {
    match value {
        Value::Array(list) if list.iter().any(Value::is_table) => {
            let lines: String = list.iter().map(|it| format!("    {it},\n")).collect();
            format!("[\n{lines}]")
        }
        value => value.to_string(),
    }
}

fn header(section: &str) -> String {
    match NAMED.iter().find_map(|prefix| Some((prefix, section.strip_prefix(prefix)?))) {
        Some((prefix, name)) => format!("{prefix}{}", Value::from(name)),
        None => section.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Setting, changes, sources};
    use std::path::Path;

    fn load(settings: &[Setting]) -> Config {
        let mut config = Config::new(0);
        for setting in settings {
            config.apply(setting).unwrap();
        }
        config
    }

    #[test]
    fn what_is_shown_loads_again_as_the_same() {
        let set = [
            "mqtt.bind=[\"127.0.0.1:1\", \"unix:/run/a\\nb.sock\"]",
            "mqtt.version_min=3.1.1",
            "store.bytes_max=1073741824",
            "limits.queue_overflow=refuse",
            "tls.certificates=[{certificate = 'a', key = 'b'}]",
            "tls.versions=1.3",
            "listeners.garden.protocol=stomp",
            "listeners.garden.mount_point=a \"b\"/",
            "quotas.users.a.b \"c\".messages_per_s=5",
            "quotas.groups.g.bytes_per_s=5",
            "authorisation.rules=[{topic = 'a/%u', allow = true, actions = ['publish'], qos_max = 1}, {topic = '#', allow = false}]",
            "authorisation.banned_networks=10.0.0.0/8",
        ];
        let config = load(&sources::from_arguments(&set.map(str::to_owned)).unwrap());
        let text = show(&config, &Config::new(0), true);
        let again = load(&sources::from_toml(Path::new("shown.toml"), &text).unwrap());
        assert_eq!(changes(&config, &again), []);
        assert_eq!(again.authorisation.rules.len(), 2);
        assert!(changes(&config, &Config::new(0)).len() > set.len());
    }

    #[test]
    fn each_line_says_where_it_comes_from() {
        let config = load(&sources::from_toml(Path::new("a.toml"), "[limits]\nstall_ms = 7\n").unwrap());
        let text = show(&config, &Config::new(0), false);
        let line = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap().to_owned();
        assert_eq!(line("stall_ms").split_once(" # ").unwrap().1, "a.toml:2; default: 5000");
        assert_eq!(line("connect_timeout_ms").split_once(" # ").unwrap().1, "default");
        assert!(line("# tls_bind =").ends_with(" # default"));
    }
}
