//! Directories: copies of a store, and a store in the place of another. With `files.rs` the only place that touches a
//! file system.
//!
//! What is being written has a name that ends in `.partial`, and gets its own name when all of it is durable. So
//! whatever is killed leaves nothing that could be taken for a store.

use super::repair::salvage;
use super::{Damage, Inspection, Progress, Summary, ToolError, at, inspect};
use crate::checkpoint;
use crate::files::{BACKUP_LINKS, LOCK, make_directory};
use crate::frame::{FRAME_HEADER_BYTES, Kind, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::log::scan::{Scan, headers_from, scan};
use crate::log::{Frame, check_header, segment_name, segments};
use crate::{Files, OpenError, Options};
use althing_core::Now;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::ops::ControlFlow;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Hears of each step before it is done; a break stops as a kill would.
pub type Step<'a> = &'a mut dyn FnMut(Progress) -> ControlFlow<()>;

/// How often the files of a running broker are linked before it is given up.
const TRIES_MAX: usize = 1000;

/// Copies the store of `directory` to `target`, which must be empty or not exist. A broker may be running on it: the
/// copy is what it had stored at one moment. Says what the copy holds, which has been read back.
///
/// # Errors
/// When either directory can't be used, or the store is damaged.
pub fn backup(
    directory: &Path,
    target: &Path,
    protocols: &'static [&'static str],
    now: Now,
    step: Step<'_>,
) -> Result<Summary, ToolError> {
    let copy = Copy::begin(target)?;
    let links = match Links::take(directory, step) {
        Ok(links) => links,
        Err(error) => return Err(copy.give_up(error)),
    };
    let copied = copy_cut(&links, &copy, step).and_then(|()| verified(&copy.partial, protocols, now, step));
    let copied = copied.and_then(|summary| copy.finish(step).map(|()| summary));
    match copied {
        Err(ToolError::Stopped) => Err(ToolError::Stopped),
        Err(error) => {
            links.remove(step)?;
            Err(copy.give_up(error))
        }
        Ok(summary) => links.remove(step).map(|()| summary),
    }
}

/// Copies a backup to `directory`, which must be empty or not exist, when it is undamaged.
///
/// # Errors
/// When either directory can't be used, or the backup is damaged.
pub fn restore(
    backup: &Path,
    directory: &Path,
    protocols: &'static [&'static str],
    now: Now,
    step: Step<'_>,
) -> Result<Summary, ToolError> {
    let summary = verified(backup, protocols, now, step)?;
    let copy = Copy::begin(directory)?;
    let copied = copy_whole(backup, &copy, step).and_then(|()| copy.finish(step));
    copied.map(|()| summary).map_err(|error| copy.give_up(error))
}

/// What [`repair`] has done.
#[derive(Debug)]
pub struct Repaired {
    /// What could be kept.
    pub summary: Summary,
    /// All damage; what it affects is lost.
    pub damages: Vec<Damage>,
    /// Damage beyond what is listed.
    pub damages_more: u64,
    /// Where the damaged files are. `None`: there was no damage, and nothing has changed.
    pub kept: Option<PathBuf>,
}

/// Writes everything that still holds into a new store beside `directory`, and puts that in its place. The damaged
/// files stay, under another name.
///
/// # Errors
/// When the store can't be opened at all, or the new one can't be written.
pub fn repair(directory: &Path, options: Options, now: Now, step: Step<'_>) -> Result<Repaired, ToolError> {
    let directory = &fs::canonicalize(directory).map_err(at("open", directory))?;
    let files = Files::open(directory)?;
    let mut inspection = inspect(files, options.protocols, now, &mut telling(step))?;
    let copy = Copy::beside(directory)?;
    let salvaged = Files::open(&copy.partial)
        .map_err(ToolError::from)
        .and_then(|fresh| salvage(&mut inspection, fresh, options, &mut telling(step)));
    if let Err(error) = salvaged {
        return Err(copy.give_up(error));
    }
    let kept = if inspection.damages().is_empty() {
        copy.remove()?;
        None
    } else {
        Some(copy.exchange(step)?)
    };
    let (damages, damages_more) = (inspection.damages().to_vec(), inspection.damages_more());
    Ok(Repaired { summary: inspection.summary(), damages, damages_more, kept })
}

/// Reads all of a store; damage is an error.
fn verified(
    directory: &Path,
    protocols: &'static [&'static str],
    now: Now,
    step: Step<'_>,
) -> Result<Summary, ToolError> {
    let files = Files::open_read_only(directory)?;
    let mut tell = telling(step);
    let mut inspection: Inspection<Files> = inspect(files, protocols, now, &mut tell)?;
    inspection.check(&mut tell);
    match inspection.damages().first() {
        Some(first) => Err(ToolError::Damaged { directory: directory.display().to_string(), first: first.clone() }),
        None => Ok(inspection.summary()),
    }
}

/// Files of a store: segments and the newest checkpoint, with their lengths.
fn store_files(directory: &Path) -> Result<BTreeMap<String, fs::Metadata>, ToolError> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory).map_err(at("list", directory))? {
        let entry = entry.map_err(at("list", directory))?;
        match (entry.file_name().into_string(), entry.metadata()) {
            (Ok(name), Ok(metadata)) if is_store_file(&name) && metadata.is_file() => {
                files.insert(name, metadata);
            }
            // It has gone meanwhile.
            (_, Err(error)) if error.kind() != ErrorKind::NotFound => return Err(at("list", &entry.path())(error)),
            _ => {}
        }
    }
    let newest = files.keys().filter_map(|name| checkpoint::first_segment(name)).max();
    files.retain(|name, _| checkpoint::first_segment(name).is_none_or(|segment| Some(segment) == newest));
    if files.is_empty() {
        return Err(ToolError::NoStore(directory.display().to_string()));
    }
    Ok(files)
}

fn is_store_file(name: &str) -> bool {
    checkpoint::first_segment(name).is_some() || !segments(&[(name.to_owned(), 0)]).is_empty()
}

/// Which file has which name.
fn inodes(files: &BTreeMap<String, fs::Metadata>) -> Vec<(String, u64)> {
    files.iter().map(|(name, metadata)| (name.clone(), metadata.ino())).collect()
}

/// The files of a store under second names, so that the broker neither overwrites nor removes what they hold.
struct Links {
    path: PathBuf,
    files: BTreeMap<String, fs::Metadata>,
    lock: File,
}

impl Links {
    /// Links the files as they all were at one moment.
    fn take(directory: &Path, step: Step<'_>) -> Result<Self, ToolError> {
        store_files(directory)?;
        let path = directory.join(BACKUP_LINKS);
        told(step, "link", 0, 1)?;
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(at("create", &path)(error)),
            _ => {}
        }
        let lock = path.join(LOCK);
        let lock = File::options().create(true).truncate(false).write(true).open(&lock).map_err(at("create", &lock))?;
        if lock.try_lock().is_err() {
            return Err(OpenError::InUse { directory: path.display().to_string() }.into());
        }
        let mut links = Self { path, files: BTreeMap::new(), lock };
        for _ in 0..TRIES_MAX {
            if links.try_take(directory, step)? {
                return Ok(links);
            }
        }
        links.remove(step)?;
        Err(ToolError::Restless(directory.display().to_string()))
    }

    /// False: something has changed meanwhile. Two listings that are the same say what was there between them. All that
    /// was needed at that moment is enough for whatever is written to the last of these segments later.
    fn try_take(&mut self, directory: &Path, step: Step<'_>) -> Result<bool, ToolError> {
        self.clear()?;
        let before = inodes(&store_files(directory)?);
        if before != inodes(&store_files(directory)?) {
            return Ok(false);
        }
        for (done, (name, _)) in before.iter().enumerate() {
            told(step, "link", done as u64, before.len() as u64)?;
            match fs::hard_link(directory.join(name), self.path.join(name)) {
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
                linked => linked.map_err(at("link", &directory.join(name)))?,
            }
        }
        self.files = store_files(&self.path)?;
        Ok(inodes(&self.files) == before)
    }

    fn clear(&mut self) -> Result<(), ToolError> {
        for entry in fs::read_dir(&self.path).map_err(at("list", &self.path))? {
            let entry = entry.map_err(at("list", &self.path))?;
            if entry.file_name() != LOCK {
                fs::remove_file(entry.path()).map_err(at("remove", &entry.path()))?;
            }
        }
        Ok(())
    }

    fn remove(mut self, step: Step<'_>) -> Result<(), ToolError> {
        told(step, "unlink", 0, 1)?;
        self.clear()?;
        fs::remove_dir_all(&self.path).map_err(at("remove", &self.path))?;
        drop(self.lock);
        Ok(())
    }
}

/// A directory that is being filled.
struct Copy {
    partial: PathBuf,
    target: PathBuf,
}

impl Copy {
    /// For `target`, which is empty or does not exist.
    fn begin(target: &Path) -> Result<Self, ToolError> {
        match fs::read_dir(target).map(|mut entries| entries.next()) {
            Ok(Some(_)) => Err(ToolError::NotEmpty(target.display().to_string())),
            Err(error) if error.kind() != ErrorKind::NotFound => Err(at("open", target)(error)),
            _ => Self::beside(target),
        }
    }

    /// Beside `target`. What a killed one has left is removed.
    fn beside(target: &Path) -> Result<Self, ToolError> {
        let mut partial = target.as_os_str().to_owned();
        partial.push(".partial");
        let copy = Self { partial: partial.into(), target: target.to_owned() };
        copy.remove()?;
        make_directory(&copy.partial).map_err(at("create", &copy.partial))?;
        Ok(copy)
    }

    /// Removes the unfinished copy, unless there is something in it that no copy has.
    fn remove(&self) -> Result<(), ToolError> {
        let entries = match fs::read_dir(&self.partial) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(at("open", &self.partial))?,
        };
        for entry in entries {
            let name = entry.map_err(at("list", &self.partial))?.file_name().into_string().unwrap_or_default();
            if !is_store_file(&name) && name != LOCK && !name.starts_with("spare-") && name != "checkpoint.tmp" {
                return Err(ToolError::NotEmpty(self.partial.display().to_string()));
            }
        }
        fs::remove_dir_all(&self.partial).map_err(at("remove", &self.partial))
    }

    /// After an error: nothing stays. After a stop everything does.
    fn give_up(&self, error: ToolError) -> ToolError {
        if !matches!(error, ToolError::Stopped) {
            // The first error says more than that cleaning up has failed as well.
            let _ = self.remove();
        }
        error
    }

    /// Writes a file of `length` bytes that begins with `bytes`, durably.
    fn write(&self, name: &str, bytes: &[u8], length: u64) -> Result<(), ToolError> {
        let path = self.partial.join(name);
        let write = || {
            let file = File::options().create_new(true).write(true).mode(0o600).open(&path)?;
            file.write_all_at(bytes, 0)?;
            file.set_len(length)?;
            file.sync_all()
        };
        write().map_err(at("write", &path))
    }

    /// Gives the copy its name.
    fn finish(&self, step: Step<'_>) -> Result<(), ToolError> {
        told(step, "finish", 0, 2)?;
        sync_directory(&self.partial)?;
        told(step, "finish", 1, 2)?;
        fs::rename(&self.partial, &self.target).map_err(at("rename", &self.partial))?;
        sync_directory(&parent(&self.target))
    }

    /// Puts the copy in the place of the target in one act, and says which name the target has now.
    fn exchange(&self, step: Step<'_>) -> Result<PathBuf, ToolError> {
        let name = |number: u32| {
            let mut name = self.target.as_os_str().to_owned();
            name.push(format!(".damaged-{number}"));
            PathBuf::from(name)
        };
        let kept = (1..).map(name).find(|name| !name.exists()).unwrap_or_else(|| name(0));
        told(step, "exchange", 0, 2)?;
        sync_directory(&self.partial)?;
        fs::rename(&self.partial, &kept).map_err(at("rename", &self.partial))?;
        told(step, "exchange", 1, 2)?;
        exchange(&self.target, &kept).map_err(at("exchange", &self.target))?;
        sync_directory(&parent(&self.target))?;
        Ok(kept)
    }
}

/// Copies what the links hold: the whole frames of every segment, as of one moment. Later segments are read before
/// earlier ones, so that what was written meanwhile can only be missing at the end.
fn copy_cut(links: &Links, copy: &Copy, step: Step<'_>) -> Result<(), ToolError> {
    let total = links.files.values().map(fs::Metadata::len).sum();
    let mut done = 0;
    let names: Vec<_> = links.files.iter().map(|(name, metadata)| (name.clone(), metadata.len())).collect();
    let replay_from = names.iter().find_map(|(name, _)| checkpoint::first_segment(name)).unwrap_or(0);
    let newest = segments(&names).keys().copied().next_back().unwrap_or(0);
    let mut goes_on = false;
    for (name, length) in names.iter().rev() {
        told(step, "copy", done, total)?;
        done += length;
        let path = links.path.join(name);
        let bytes = fs::read(&path).map_err(at("read", &path))?;
        let Some(number) = segments(&[(name.clone(), 0)]).keys().copied().next() else {
            copy.write(name, &bytes, bytes.len() as u64)?;
            continue;
        };
        let header = check_header(number, &bytes, None)?;
        let bytes = &bytes[..header.length as usize];
        let Scan { end, last, .. } = scan(bytes, &header, Scan::start(&header), |_: Frame<'_>| Ok::<_, OpenError>(()))?;
        let sealed = last == Some(Kind::Seal);
        if !sealed && (goes_on || number < replay_from) {
            return Err(damaged_at(&links.path, &header, end));
        }
        goes_on |= headers_from(bytes, &header, SEGMENT_HEADER_BYTES).next().is_some();
        // A seal promises a segment that is not part of this copy.
        let end = if sealed && number == newest { end - FRAME_HEADER_BYTES } else { end };
        copy.write(name, &bytes[..end as usize], u64::from(header.length))?;
    }
    told(step, "copy", total, total)
}

fn damaged_at(directory: &Path, header: &SegmentHeader, end: u32) -> ToolError {
    let first = Damage {
        file: segment_name(header.number),
        offset: u64::from(end),
        what: "no valid frame, though the log goes on in later files".to_owned(),
        affected: "what was stored from there on".to_owned(),
    };
    ToolError::Damaged { directory: directory.display().to_string(), first }
}

fn copy_whole(from: &Path, copy: &Copy, step: Step<'_>) -> Result<(), ToolError> {
    let files = store_files(from)?;
    let total = files.values().map(fs::Metadata::len).sum();
    let mut done = 0;
    for (name, metadata) in &files {
        told(step, "copy", done, total)?;
        done += metadata.len();
        let path = from.join(name);
        let bytes = fs::read(&path).map_err(at("read", &path))?;
        copy.write(name, &bytes, bytes.len() as u64)?;
    }
    told(step, "copy", total, total)
}

/// For what is not stopped half way.
fn telling(step: Step<'_>) -> impl FnMut(Progress) {
    move |progress| {
        let _ = step(progress);
    }
}

fn told(step: Step<'_>, action: &'static str, done: u64, total: u64) -> Result<(), ToolError> {
    if step(Progress { action, done, total }).is_break() { Err(ToolError::Stopped) } else { Ok(()) }
}

fn parent(path: &Path) -> PathBuf {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}

fn sync_directory(directory: &Path) -> Result<(), ToolError> {
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(at("sync", directory))
}

/// Two names change places, in one act where the file system can.
fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        match renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            exchanged => return Ok(exchanged?),
        }
    }
    let mut between = one.as_os_str().to_owned();
    between.push(".exchange");
    let between = PathBuf::from(between);
    fs::rename(other, &between)?;
    fs::rename(one, other)?;
    fs::rename(between, one)
}
