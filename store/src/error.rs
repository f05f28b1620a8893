//! What can go wrong, by what the operator can do about it.

use std::io;

/// The store does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it; wait for it or stop it.
    #[error("{directory} is in use by another process")]
    InUse {
        /// The data directory.
        directory: String,
    },
    /// It was written by a newer program; use that one.
    #[error("{file} has format version {found}, this program knows up to {known}")]
    Newer {
        /// Which file.
        file: String,
        /// Its version.
        found: u16,
        /// The newest that can be read.
        known: u16,
    },
    /// What was durable is not what was written. Restore a backup, or salvage the rest with consent.
    #[error("{file} is damaged at byte {offset}: {what}; affected: {affected}")]
    Corrupt {
        /// Which file.
        file: String,
        /// Where the damage begins.
        offset: u64,
        /// What is wrong.
        what: String,
        /// What is lost with it, as far as can be told.
        affected: String,
    },
    /// The disk does not do what it is told.
    #[error("{action} {file}: {error}")]
    Io {
        /// What was tried: "read", "create".
        action: &'static str,
        /// On which file.
        file: String,
        /// What the system says.
        error: io::Error,
    },
}

/// The store has failed and takes nothing any more: what the disk holds now is unknown until it is opened anew.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{action} {file}: {error}")]
pub struct Failure {
    /// What failed: "sync", "write", "read".
    pub action: &'static str,
    /// On which file.
    pub file: String,
    /// What the system says.
    pub error: String,
}

/// What the disk said, before it is known what follows from it.
#[derive(Debug)]
pub(crate) struct DiskError {
    pub action: &'static str,
    pub file: String,
    pub error: io::Error,
}

/// For `map_err`: what was tried, on which file.
pub(crate) fn at(action: &'static str, file: impl Into<String>) -> impl FnOnce(io::Error) -> DiskError {
    move |error| DiskError { action, file: file.into(), error }
}

impl DiskError {
    /// Whether there is merely no room. A sync that says so has lost what it was to keep, so it does not count.
    pub fn is_full(&self) -> bool {
        let full = matches!(self.error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        full && self.action != "sync"
    }
}

impl From<DiskError> for OpenError {
    fn from(DiskError { action, file, error }: DiskError) -> Self {
        OpenError::Io { action, file, error }
    }
}

impl From<DiskError> for Failure {
    fn from(DiskError { action, file, error }: DiskError) -> Self {
        Failure { action, file, error: error.to_string() }
    }
}
