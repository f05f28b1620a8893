//! The file that says which sequence numbers may have been used: a line `KEY NUMBER` each, where every number below has been
//! reserved. Keys that are no longer configured stay: they may come back.

use super::Fingerprint;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The file in the data directory.
pub const FILE: &str = "oscore-numbers";

/// What the file says.
#[derive(Debug)]
pub struct Numbers {
    directory: PathBuf,
    reserved: BTreeMap<Fingerprint, u64>,
}

impl Numbers {
    /// Reads the file of this data directory; where there is none nothing was used.
    pub fn load(directory: &Path) -> io::Result<Self> {
        let path = directory.join(FILE);
        let reserved = match fs::read_to_string(&path) {
            Ok(text) => text.lines().map(parse).collect::<Option<_>>().ok_or_else(|| {
                let text = format!(
                    "{} does not say which sequence numbers OSCORE has used, and none may be used twice: bring back the file, or \
                     give all contexts new master secrets and remove it",
                    path.display()
                );
                io::Error::new(io::ErrorKind::InvalidData, text)
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
        };
        Ok(Self { directory: directory.to_owned(), reserved })
    }

    /// Every number below this one may have been used.
    pub fn used(&self, key: &Fingerprint) -> u64 {
        self.reserved.get(key).copied().unwrap_or(0)
    }

    /// Reserves `count` numbers for each key; the first of each, once they are on disk.
    pub fn reserve(&mut self, keys: &[Fingerprint], count: u64) -> io::Result<Vec<u64>> {
        let mut reserved = self.reserved.clone();
        let mut firsts = Vec::new();
        for key in keys {
            let next = reserved.entry(*key).or_default();
            firsts.push(*next);
            *next += count;
        }
        self.save(&reserved)?;
        self.reserved = reserved;
        Ok(firsts)
    }

    fn save(&self, reserved: &BTreeMap<Fingerprint, u64>) -> io::Result<()> {
        let mut text = String::new();
        for (key, next) in reserved {
            let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
            let _ = writeln!(text, "{hex} {next}");
        }
        fs::create_dir_all(&self.directory)?;
        let (path, new) = (self.directory.join(FILE), self.directory.join("oscore-numbers.new"));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(new, path)?;
        File::open(&self.directory)?.sync_all()
    }
}

fn parse(line: &str) -> Option<(Fingerprint, u64)> {
    let (key, next) = line.split_once(' ')?;
    let key = super::file::bytes_of(key)?;
    Some((key[..].try_into().ok()?, next.parse().ok()?))
}
