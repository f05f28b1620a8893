//! Bans that are written at run time: a file in the data directory, besides those of the configuration.

use crate::config::{Config, ConfigError};
use althing_core::authorisation::{Banned, Network};
use serde::{Deserialize, Serialize};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use toml::Table;
use utoipa::ToSchema;

/// Where they lie, in the data directory.
const BANS_FILE: &str = "bans.toml";

/// Who is shut out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Bans {
    /// Proven names.
    pub users: Vec<String>,
    /// Client ids.
    pub clients: Vec<String>,
    /// Networks: `192.0.2.0/24`, `2001:db8::/32`, or one address.
    pub networks: Vec<String>,
}

impl Bans {
    /// Whether all networks are some.
    ///
    /// # Errors
    /// A sentence that names the first that is none.
    pub fn check(&self) -> Result<(), String> {
        self.networks.iter().try_for_each(|text| network(text).map(drop))
    }

    /// Adds them to the others.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn add_to(&self, banned: &mut Banned) -> Result<(), String> {
        banned.users.extend(self.users.iter().map(|name| name.as_str().into()));
        banned.clients.extend(self.clients.iter().map(|client| client.as_str().into()));
        for text in &self.networks {
            banned.networks.push(network(text)?);
        }
        Ok(())
    }
}

fn network(text: &str) -> Result<Network, String> {
    text.parse().map_err(|error| format!("{text:?} is not a network: {error}"))
}

/// Where they lie.
pub fn path(config: &Config) -> PathBuf {
    config.server.data.join(BANS_FILE)
}

/// Reads them; nobody is banned where there is no file.
///
/// # Errors
/// When the file cannot be read, or is none.
pub fn read(config: &Config) -> Result<Bans, ConfigError> {
    let path = path(config);
    let text = match fs::read_to_string(&path) {
        Err(error) if super::is_missing(&error) => return Ok(Bans::default()),
        Err(error) => return Err(ConfigError::File { path, error }),
        Ok(text) => text,
    };
    let wrong = |expected| ConfigError::Syntax { source_text: path.display().to_string(), expected };
    let bans: Bans = toml::from_str(&text).map_err(|error| wrong(error.message().to_owned()))?;
    bans.check().map_err(wrong)?;
    Ok(bans)
}

/// Writes them.
///
/// # Errors
/// When the system says no; the file is as it was then.
pub fn write(config: &Config, bans: &Bans) -> io::Result<()> {
    let table = Table::try_from(bans).map_err(|error| io::Error::other(error.to_string()))?;
    save(&path(config), "# Bans of Althing; written by its administration\n", table)
}

/// Puts a table in the place of a file at once: whoever reads finds the old one or the new one.
///
/// # Errors
/// When the system says no; the file is as it was then.
pub fn save(path: &Path, head: &str, table: Table) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(format!("{head}{table}").as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)
}
