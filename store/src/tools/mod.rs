//! What is done with a store that no broker is running on: looking at it, salvaging it, copying it, dumping it. Only
//! [`backup`] works beside a running broker, too.

mod autopsy;
mod contents;
mod copying;
mod export;
mod inspection;
mod repair;

pub use copying::{Repaired, Step, backup, repair, restore};
pub use export::export;
pub use inspection::{Damage, Ended, Inspection, Summary, inspect};

use crate::error::{Failure, OpenError};
use std::io;
use std::path::Path;

/// How far a tool has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What it does: "read", "copy".
    pub action: &'static str,
    /// How much of it is done.
    pub done: u64,
    /// How much there is; bytes of files, or entries.
    pub total: u64,
}

/// Why a tool did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// The store can't be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There are no files of a store.
    #[error("there is no store in {0}")]
    NoStore(String),
    /// Something is there that would be overwritten.
    #[error("{0} is not empty")]
    NotEmpty(String),
    /// What was to be copied is damaged.
    #[error("{directory} is damaged: {first}")]
    Damaged {
        /// Where.
        directory: String,
        /// The first damage of all.
        first: Damage,
    },
    /// The broker changes its files faster than they can be linked.
    #[error("the files of {0} have changed all the time; try again")]
    Restless(String),
    /// The caller stopped it; nothing was cleaned up.
    #[error("stopped")]
    Stopped,
    /// What was to be written could not be.
    #[error("{action} {file}: {error}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        file: String,
        /// What the system says.
        error: io::Error,
    },
}

impl From<Failure> for ToolError {
    fn from(failure: Failure) -> Self {
        ToolError::Open(failure.into())
    }
}

/// For `map_err`: what was tried, on which path.
fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ToolError {
    let file = path.display().to_string();
    move |error| ToolError::Io { action, file, error }
}
