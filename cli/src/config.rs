//! `althing config`: what the broker would make of its configuration.

use crate::arguments::{ConfigArguments, ConfigCommand, SettingArguments};
use crate::exit::{ExitCode, Failure};
use crate::output::{write_stderr, write_stdout};
use althing_server::config::keys::{self, Entry};
use althing_server::config::{import, show, written};
use althing_server::reload::Prepared;
use althing_server::{Config, ConfigError, ServeOptions};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Does what the command says.
pub fn run(command: ConfigCommand) -> Result<ExitCode, Failure> {
    match command {
        ConfigCommand::Check(arguments) => check(arguments),
        ConfigCommand::Show { config, secrets } => {
            let ConfigArguments { file, settings } = config;
            let defaults = Config::new(settings.port_offset);
            write_stdout(show(&load(file, settings)?, &defaults, secrets).as_bytes())?;
            Ok(ExitCode::Ok)
        }
        ConfigCommand::Explain { key, json } => explain(key.as_deref(), json),
        ConfigCommand::Import { file } => import_mosquitto(&file),
    }
}

/// The configuration as the broker would read it.
///
/// # Errors
/// The first mistake in it.
pub fn load(file: Option<PathBuf>, settings: SettingArguments) -> Result<Config, Failure> {
    let SettingArguments { data, port_offset, set } = settings;
    let options = ServeOptions { config: file, data, port_offset, set, ..Default::default() };
    Config::load(&options).map_err(|error| wrong(&error))
}

fn wrong(error: &ConfigError) -> Failure {
    Failure::usage(error.to_string())
}

fn check(arguments: ConfigArguments) -> Result<ExitCode, Failure> {
    let name = arguments.file.as_ref().map_or("the configuration".into(), |file| file.display().to_string());
    let config = load(arguments.file, arguments.settings)?;
    let listens = config.listens().map_err(|error| wrong(&error))?;
    Prepared::read(config).map_err(|mistakes| Failure::usage(mistakes.join("\n")))?;
    let lines = listens.iter().map(|it| {
        let tls = if it.tls.is_some() { " inside TLS" } else { "" };
        let anonymous = if it.entrance.anonymous { "everyone" } else { "whoever can log in" };
        format!("  {:<8} {}{tls}, for {anonymous}\n", it.name, it.address)
    });
    write_stdout(format!("{name}: all is well\n{}", lines.collect::<String>()).as_bytes())?;
    Ok(ExitCode::Ok)
}

/// One key at length, or one line for each key of a section, or of all.
fn explain(key: Option<&str>, json: bool) -> Result<ExitCode, Failure> {
    let mut entries = keys::documented();
    if let Some(key) = key {
        let key = key.trim_end_matches('.');
        match keys::explained(key) {
            Some(entry) => entries = vec![entry],
            None => entries.retain(|entry| entry.name.starts_with(&format!("{key}."))),
        }
        if entries.is_empty() {
            let nearest = keys::nearest(key).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            return Err(Failure::usage(format!("there is no key `{key}`{nearest}")));
        }
    }
    let text: String = match entries.as_slice() {
        _ if json => entries.iter().map(|entry| format!("{}\n", as_json(entry))).collect(),
        [entry] if key.is_some() => at_length(entry),
        entries => {
            let width = entries.iter().map(|entry| entry.name.len()).max().unwrap_or(0);
            entries.iter().map(|entry| format!("{:width$}  {}\n", entry.name, first_sentence(entry))).collect()
        }
    };
    write_stdout(text.as_bytes())?;
    Ok(ExitCode::Ok)
}

fn at_length(entry: &Entry) -> String {
    let comment: String = comment_lines(entry).map(|line| format!("  {line}\n")).collect();
    let default = entry.default.as_ref().map_or("nothing".into(), written);
    let change = if entry.is_live { "at SIGHUP, or when the file changes" } else { "with a restart" };
    let (section, name) = (entry.section(), &entry.name[entry.section().len() + 1..]);
    format!(
        "{}\n\n{comment}\n  takes     {}\n  default   {default}\n  changes   {change}\n  written   {name} = … in [{section}]\n  \
         {:9} {}=…\n  {:9} --set {}=…\n",
        entry.name,
        entry.takes,
        "",
        environment_name(entry),
        "",
        entry.name
    )
}

fn comment_lines(entry: &Entry) -> impl Iterator<Item = &'static str> {
    entry.comment.trim_end().lines().map(str::trim)
}

fn first_sentence(entry: &Entry) -> String {
    let text = comment_lines(entry).collect::<Vec<_>>().join(" ");
    let end = text.find(". ").map_or(text.len(), |end| end + 1);
    text[..end].to_owned()
}

fn environment_name(entry: &Entry) -> String {
    format!("ALTHING__{}", entry.name.to_ascii_uppercase().replace('.', "__"))
}

fn as_json(entry: &Entry) -> serde_json::Value {
    json!({
        "key": entry.name,
        "meaning": comment_lines(entry).collect::<Vec<_>>().join(" "),
        "takes": entry.takes,
        "default": entry.default,
        "needs_restart": !entry.is_live,
        "secret": entry.is_secret,
        "environment": environment_name(entry),
    })
}

fn import_mosquitto(file: &Path) -> Result<ExitCode, Failure> {
    let imported = import::mosquitto_conf(file).map_err(|error| wrong(&error))?;
    write_stdout(imported.text().as_bytes())?;
    for line in &imported.left_out {
        write_stderr(line);
    }
    Ok(if imported.left_out.is_empty() { ExitCode::Ok } else { ExitCode::Partial })
}
