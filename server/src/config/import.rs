//! A mosquitto.conf as settings of ours.
//!
//! What is carried over behaves the same; for the rest there is a sentence that says why not. Other languages are switched off,
//! as mosquitto does not speak them.

mod lines;
mod listeners;
mod options;

use super::show::written;
use super::{Config, ConfigError, Setting, Source};
use lines::Line;
use listeners::Listeners;
use std::fmt::Write;
use std::path::Path;
use toml::Value;

/// What was made of a mosquitto.conf.
#[derive(Debug, Default)]
pub struct Imported {
    /// What was carried over, section by section.
    pub settings: Vec<Setting>,
    /// What was not, with its place and why; a sentence each.
    pub left_out: Vec<String>,
}

/// Reads a mosquitto.conf and what it includes.
///
/// # Errors
/// When a file cannot be read.
pub fn mosquitto_conf(path: &Path) -> Result<Imported, ConfigError> {
    Ok(import(&lines::read(path)?))
}

fn import(lines: &[Line]) -> Imported {
    let mut imported = Imported::default();
    let mut listeners = Listeners::default();
    for line in lines {
        if !listeners.take(line, &mut imported) {
            options::take(line, &mut imported);
        }
    }
    listeners.finish(&mut imported);
    for language in ["stomp", "coap", "coap-tcp"] {
        imported.set(None, &format!("{language}.enabled"), false);
    }
    imported
}

impl Imported {
    /// Carries something over, from this line. What is said twice counts the last time.
    fn set(&mut self, line: Option<&Line>, key: &str, value: impl Into<Value>) {
        self.settings.retain(|setting| setting.key != key);
        let source = line.map_or(Source::Data, Line::source);
        self.settings.push(Setting::new(key.to_owned(), value.into(), source));
    }

    /// Does not carry something over, because of `why`.
    fn leave_out(&mut self, line: &Line, why: &str) {
        self.left_out.push(format!("{}: {}: {why}", line.source(), line.option));
    }

    /// What was carried over, as TOML.
    pub fn text(&self) -> String {
        let mut sections: Vec<&str> = Vec::new();
        for setting in &self.settings {
            let section = section(&setting.key);
            if !sections.contains(&section) {
                sections.push(section);
            }
        }
        let mut text = String::new();
        for section in sections {
            let gap = if text.is_empty() { "" } else { "\n" };
            // Writing to a string does not fail.
            let _ = writeln!(text, "{gap}[{section}]");
            for setting in self.settings.iter().filter(|setting| self::section(&setting.key) == section) {
                let name = &setting.key[section.len() + 1..];
                let source = match &setting.source {
                    Source::File(..) => format!(" # {}", setting.source).replace(['\n', '\r'], " "),
                    _ => String::new(),
                };
                let _ = writeln!(text, "{name} = {}{source}", written(&setting.value));
            }
        }
        text
    }

    /// The configuration that it makes.
    ///
    /// # Errors
    /// When something of it is no setting of ours, which is a mistake here.
    pub fn config(&self) -> Result<Config, ConfigError> {
        let mut config = Config::new(0);
        self.settings.iter().try_for_each(|setting| config.apply(setting))?;
        Ok(config)
    }
}

fn section(key: &str) -> &str {
    key.rsplit_once('.').map_or("", |(section, _)| section)
}

#[cfg(test)]
mod tests;
