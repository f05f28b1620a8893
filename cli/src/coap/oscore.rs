//! `--oscore`: the context of this end (RFC 8613), and its sequence numbers, which no run may use again.

use crate::exit::{ExitCode, Failure};
use althing_coap::oscore::{Context, Credentials};
use althing_server::oscore::{Numbers, parse};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How many numbers a run takes at once: one write for so many requests, and as many are lost at its end, of 2^40.
const STEP: u64 = 64;

/// When fewer are left, more are taken: a request of many blocks uses one for each.
const LEFT_MIN: u64 = 16;

/// A context and where its numbers are kept.
#[derive(Debug)]
pub struct Oscore {
    pub context: Arc<Context>,
    directory: PathBuf,
}

impl Oscore {
    /// Reads `FILE`, `FILE#NAME` or a context as it stands in a file, `NAME=VALUE,…`.
    pub fn open(text: &str, directory: Option<&Path>) -> Result<Self, Failure> {
        let wrong = |error: String| Failure::usage(format!("--oscore: {error}"));
        let context = Context::derive(credentials(text).map_err(wrong)?).map_err(|error| wrong(error.0.to_owned()))?;
        let directory = directory.map(Path::to_owned).or_else(state_directory).ok_or_else(|| {
            Failure::usage("there is no home directory to keep sequence numbers in: name one with --oscore-state")
        })?;
        let oscore = Self { context: Arc::new(context), directory };
        oscore.reserve()?;
        Ok(oscore)
    }

    /// Sees to it that there are numbers for what is asked next.
    pub fn keep_ahead(&self) -> Result<(), Failure> {
        if self.context.numbers().1 < LEFT_MIN { self.reserve() } else { Ok(()) }
    }

    fn reserve(&self) -> Result<(), Failure> {
        let first = self.numbers_on_disk().map_err(|error| {
            let directory = self.directory.display();
            let text = format!("no sequence numbers of OSCORE can be kept in {directory}: {error}: use --oscore-state");
            Failure::new(ExitCode::Runtime, text)
        })?;
        self.context.reserve(first, first + STEP);
        Ok(())
    }

    /// The first of the next numbers, which nobody else gets: other runs wait for the lock.
    fn numbers_on_disk(&self) -> io::Result<u64> {
        fs::create_dir_all(&self.directory)?;
        let lock = File::create(self.directory.join("oscore-numbers.lock"))?;
        lock.lock()?;
        let firsts = Numbers::load(&self.directory)?.reserve(&[self.context.fingerprint()], STEP)?;
        Ok(firsts[0])
    }
}

fn credentials(text: &str) -> Result<Credentials, String> {
    if text.contains('=') && !Path::new(text).exists() {
        let lines: String = text
            .split(',')
            .filter_map(|part| part.split_once('='))
            .map(|(name, value)| format!("{name} = '{value}'\n"))
            .collect();
        return the_one(parse(&lines, "it")?, None);
    }
    let (file, name) = match text.rsplit_once('#') {
        Some((file, name)) if !Path::new(text).exists() => (file, Some(name)),
        _ => (text, None),
    };
    let contexts = fs::read_to_string(file).map_err(|error| format!("{file} cannot be read: {error}"))?;
    let contexts = parse(&contexts, "it").map_err(|error| format!("{file}: {error}"))?;
    the_one(contexts, name).map_err(|error| format!("{file} {error}"))
}

/// The context of this name, or the only one.
fn the_one(mut contexts: Vec<Credentials>, name: Option<&str>) -> Result<Credentials, String> {
    let names: Vec<&str> = contexts.iter().map(|context| context.name.as_str()).collect();
    let place = match name {
        Some(name) => names.iter().position(|other| *other == name),
        None => (names.len() == 1).then_some(0),
    };
    match place {
        Some(place) => Ok(contexts.swap_remove(place)),
        None if names.is_empty() => Err("has no context in it".to_owned()),
        None => Err(format!("has several contexts: add one of them, as FILE#{}", names.join(" or FILE#"))),
    }
}

/// Where programs keep what outlives them (XDG Base Directory Specification).
fn state_directory() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = variable("XDG_STATE_HOME").or_else(|| Some(variable("HOME")?.join(".local/state")))?;
    Some(state.join("althing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_is_named_or_written_out() {
        let text = "master_secret=0102,sender_id=01,recipient_id=,master_salt=ff";
        let context = credentials(text).unwrap();
        assert_eq!(
            (&context.sender_id[..], &context.recipient_id[..], &context.master_salt[..]),
            (&[1][..], &[][..], &[0xff][..])
        );
        for (text, part) in [
            ("master_secret=0102,sender_id=01", "recipient_id"),
            ("master_secret=01x,sender_id=01,recipient_id=02", "hexadecimal"),
            ("secret=01,sender_id=01,recipient_id=02", "unknown field"),
            ("/nowhere/at/all", "cannot be read"),
        ] {
            let error = credentials(text).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn of_several_contexts_one_is_chosen() {
        let entry = |name: &str, id: &str| {
            format!("[{name}]\nmaster_secret = '01'\nsender_id = '{id}'\nrecipient_id = '{id}ff'\n")
        };
        let several = || parse(&(entry("a", "01") + &entry("b", "02")), "").unwrap();
        assert_eq!(the_one(several(), Some("b")).unwrap().name, "b");
        for name in [None, Some("c")] {
            assert!(the_one(several(), name).unwrap_err().contains("FILE#a or FILE#b"));
        }
        assert!(the_one(Vec::new(), None).unwrap_err().contains("no context"));
    }
}
