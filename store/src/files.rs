//! Real files in a data directory: the one place of this crate that touches a file system.

use crate::disk::{Disk, FileId};
use crate::error::OpenError;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The file that the one process holds that uses the directory.
pub(crate) const LOCK: &str = "lock";
/// Where a backup keeps its links to the files while it copies them; a `lock` in it is held meanwhile. What a killed
/// one has left is removed without asking, so the name is one that nobody gives to anything else.
pub(crate) const BACKUP_LINKS: &str = ".backup-links";

/// A data directory that this process has for itself.
#[derive(Debug)]
pub struct Files {
    directory: PathBuf,
    /// The open directory, for syncing names.
    names: File,
    /// Holds the lock for as long as it is open. A copy has none.
    _lock: Option<File>,
    read_only: bool,
    /// Open files by id.
    open: Vec<Option<File>>,
}

impl Files {
    /// Takes `directory`, which is made when it does not exist: for its owner alone.
    ///
    /// # Errors
    /// When another process has it, or the system does not allow it.
    pub fn open(directory: &Path) -> Result<Self, OpenError> {
        let failed = |action| move |error| OpenError::Io { action, file: directory.display().to_string(), error };
        make_directory(directory).map_err(failed("create"))?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let lock = options.open(directory.join(LOCK)).map_err(failed("lock"))?;
        locked(lock.try_lock(), directory)?;
        remove_stale_links(directory).map_err(failed("remove the links of a backup in"))?;
        Self::with(directory, Some(lock), false).map_err(failed("open"))
    }

    /// Looks at `directory` and changes nothing. Several may look at once.
    ///
    /// # Errors
    /// When a process is using it, or the system does not allow it.
    pub fn open_read_only(directory: &Path) -> Result<Self, OpenError> {
        let failed = |action| move |error| OpenError::Io { action, file: directory.display().to_string(), error };
        let lock = match File::open(directory.join(LOCK)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            lock => Some(lock.map_err(failed("lock"))?),
        };
        if let Some(lock) = &lock {
            locked(lock.try_lock_shared(), directory)?;
        }
        Self::with(directory, lock, true).map_err(failed("open"))
    }

    fn with(directory: &Path, lock: Option<File>, read_only: bool) -> io::Result<Self> {
        let names = File::open(directory)?;
        Ok(Self { directory: directory.to_owned(), names, _lock: lock, read_only, open: Vec::new() })
    }

    fn file(&self, file: FileId) -> io::Result<&File> {
        let open = self.open.get(file.0 as usize).and_then(Option::as_ref);
        open.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the file is not open"))
    }

    fn keep(&mut self, file: File) -> FileId {
        let free = self.open.iter().position(Option::is_none).unwrap_or(self.open.len());
        if free == self.open.len() {
            self.open.push(None);
        }
        self.open[free] = Some(file);
        FileId(free as u32)
    }
}

impl Disk for Files {
    fn list(&mut self) -> io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            // Names of the store's own files are plain; what else lies here is not its business.
            if let (true, Ok(name)) = (metadata.is_file(), entry.file_name().into_string())
                && name != LOCK
            {
                files.push((name, metadata.len()));
            }
        }
        Ok(files)
    }

    fn create(&mut self, name: &str) -> io::Result<FileId> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).mode(0o600).open(self.directory.join(name))?;
        Ok(self.keep(file))
    }

    fn open(&mut self, name: &str) -> io::Result<FileId> {
        let file = OpenOptions::new().read(true).write(!self.read_only).open(self.directory.join(name))?;
        Ok(self.keep(file))
    }

    fn close(&mut self, file: FileId) {
        if let Some(open) = self.open.get_mut(file.0 as usize) {
            *open = None;
        }
    }

    fn read_at(&self, file: FileId, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let file = self.file(file)?;
        let mut read = 0;
        while read < buffer.len() {
            match file.read_at(&mut buffer[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(bytes) => read += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn write_at(&mut self, file: FileId, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file(file)?.write_all_at(data, offset)
    }

    fn sync(&mut self, file: FileId) -> io::Result<()> {
        self.file(file)?.sync_data()
    }

    #[cfg(target_os = "linux")]
    fn drop_cache(&mut self, file: FileId) -> io::Result<()> {
        Ok(rustix::fs::fadvise(self.file(file)?, 0, None, rustix::fs::Advice::DontNeed)?)
    }

    #[cfg(not(target_os = "linux"))]
    fn drop_cache(&mut self, file: FileId) -> io::Result<()> {
        self.file(file).map(drop)
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.directory.join(from), self.directory.join(to))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        fs::remove_file(self.directory.join(name))
    }

    fn sync_names(&mut self) -> io::Result<()> {
        self.names.sync_all()
    }

    fn links(&mut self, name: &str) -> io::Result<u64> {
        Ok(fs::metadata(self.directory.join(name))?.nlink())
    }
}

fn locked(lock: Result<(), TryLockError>, directory: &Path) -> Result<(), OpenError> {
    let directory = directory.display().to_string();
    lock.map_err(|error| match error {
        TryLockError::WouldBlock => OpenError::InUse { directory },
        TryLockError::Error(error) => OpenError::Io { action: "lock", file: directory, error },
    })
}

/// Removes what a backup has left that was killed: its links would hold space for ever.
fn remove_stale_links(directory: &Path) -> io::Result<()> {
    let links = directory.join(BACKUP_LINKS);
    match File::open(links.join(LOCK)) {
        // A backup is running; it cleans up itself.
        Ok(lock) if lock.try_lock().is_err() => Ok(()),
        _ if links.is_dir() => fs::remove_dir_all(links),
        _ => Ok(()),
    }
}

/// Makes the directory with those above it, and makes their names durable.
pub(crate) fn make_directory(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_directory(parent)?;
    match fs::DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        Ok(()) => File::open(parent)?.sync_all(),
    }
}
