//! The lines of a mosquitto.conf and of the files that it includes.

use crate::config::{ConfigError, Source};
use std::path::{Path, PathBuf};

/// An option, its value, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The first word.
    pub option: String,
    /// All that follows; empty when nothing does.
    pub value: String,
    file: PathBuf,
    number: usize,
}

impl Line {
    /// Where it stands.
    pub fn source(&self) -> Source {
        Source::File(self.file.clone(), self.number)
    }

    /// `true` and `1` are yes.
    pub fn is_true(&self) -> bool {
        matches!(self.value.as_str(), "true" | "1")
    }
}

/// Files that include each other deeper than this do it in circles.
const DEPTH_MAX: usize = 8;

/// Reads a file; what it includes stands where the include stood, sorted by name.
///
/// # Errors
/// When a file cannot be read.
pub fn read(path: &Path) -> Result<Vec<Line>, ConfigError> {
    let mut lines = Vec::new();
    let mut files = vec![(path.to_owned(), 0)];
    // Files that are still to be read, the next one last; those that an include names go before the rest of its file.
    let mut pending: Vec<Line> = Vec::new();
    while let Some((path, depth)) = files.pop() {
        pending.extend(parse(&path, &read_text(&path)?));
        for line in pending.drain(..) {
            if line.option != "include_dir" {
                lines.push(line);
                continue;
            }
            if depth >= DEPTH_MAX {
                let source_text = line.source().to_string();
                let expected = format!("includes go deeper than {DEPTH_MAX} here: does a directory include itself?");
                return Err(ConfigError::Syntax { source_text, expected });
            }
            files.extend(configurations(Path::new(&line.value))?.into_iter().map(|file| (file, depth + 1)));
        }
    }
    Ok(lines)
}

/// The `.conf` files of a directory, the first by name last.
fn configurations(directory: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let fails = |error| ConfigError::File { path: directory.to_owned(), error };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(fails)? {
        let path = entry.map_err(fails)?.path();
        if path.extension().is_some_and(|extension| extension == "conf") {
            files.push(path);
        }
    }
    files.sort();
    files.reverse();
    Ok(files)
}

/// mosquitto asks for no encoding; what is not UTF-8 can only be a name that is not ours.
fn read_text(path: &Path) -> Result<String, ConfigError> {
    let bytes = std::fs::read(path).map_err(|error| ConfigError::File { path: path.to_owned(), error })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The options of a text that stands in the file `path`.
pub fn parse(path: &Path, text: &str) -> Vec<Line> {
    let line = |(index, line): (usize, &str)| {
        let line = line.trim();
        let (option, value) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let (option, value) = (option.to_owned(), value.trim().to_owned());
        let is_option = !option.is_empty() && !option.starts_with('#');
        is_option.then(|| Line { option, value, file: path.to_owned(), number: index + 1 })
    };
    text.trim_start_matches('\u{feff}').lines().enumerate().filter_map(line).collect()
}
