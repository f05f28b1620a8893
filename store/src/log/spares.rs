//! Segments in stock: files of the right length whose blocks the disk has given already, so that a commit never makes a
//! file grow.

use crate::disk::{Disk, FileId};
use crate::error::{DiskError, at};
use std::collections::VecDeque;
use std::io;

/// As many are kept: one for the next segment, one in reserve.
pub(crate) const SPARES_MAX: usize = 2;

const PREFIX: &str = "spare-";
/// One piece of filling.
const PIECE_BYTES: usize = 1 << 20;

/// The stock of spare segments.
#[derive(Debug, Default)]
pub(crate) struct Spares {
    /// Length of each.
    length: u32,
    /// What the directory may hold.
    bytes_max: u64,
    ready: VecDeque<String>,
    filling: Option<Filling>,
    next_name: u32,
}

/// A spare under way.
#[derive(Debug)]
struct Filling {
    name: String,
    file: FileId,
    length: u32,
    filled: u32,
}

impl Spares {
    /// Takes stock of the spares among `files`; those of another length leave the disk.
    pub fn open<D: Disk>(
        disk: &mut D,
        files: &[(String, u64)],
        length: u32,
        bytes_max: u64,
    ) -> Result<Self, DiskError> {
        let mut spares = Self { length, bytes_max, next_name: 1, ..Self::default() };
        for (name, bytes) in files.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
            let number = name[PREFIX.len()..].parse().unwrap_or(0_u32);
            spares.next_name = spares.next_name.max(number.saturating_add(1));
            if *bytes == u64::from(length) && spares.ready.len() < SPARES_MAX {
                spares.ready.push_back(name.clone());
            } else {
                disk.remove(name).map_err(at("remove", name))?;
            }
        }
        Ok(spares)
    }

    /// How many are ready.
    pub fn count(&self) -> usize {
        self.ready.len()
    }

    /// Bytes on disk.
    pub fn disk_bytes(&self) -> u64 {
        let ready = self.ready.len() as u64 * u64::from(self.length);
        ready + self.filling.as_ref().map_or(0, |filling| u64::from(filling.filled))
    }

    /// One piece of work towards a full stock; true when there is more to do. When the disk is full, nothing of the
    /// unfinished spare stays.
    pub fn fill_piece<D: Disk>(&mut self, disk: &mut D) -> Result<bool, DiskError> {
        let mut filling = match self.filling.take() {
            Some(filling) => filling,
            None if self.ready.len() >= SPARES_MAX => return Ok(false),
            None => self.begin(disk, self.length)?,
        };
        filling.piece(disk)?;
        if filling.is_complete() {
            self.ready.push_back(filling.finish(disk));
        } else {
            self.filling = Some(filling);
        }
        Ok(self.filling.is_some() || self.ready.len() < SPARES_MAX)
    }

    /// A file of `length` bytes to become a segment: from the stock, or made at once.
    pub fn take<D: Disk>(&mut self, disk: &mut D, length: u32) -> Result<String, DiskError> {
        if length != self.length {
            return self.make(disk, length);
        }
        while let Some(name) = self.ready.pop_front() {
            // Somebody copies the file that it was: it must stay as it is.
            if disk.links(&name).map_err(at("examine", &name))? == 1 {
                return Ok(name);
            }
            disk.remove(&name).map_err(at("remove", &name))?;
        }
        self.make(disk, length)
    }

    /// Puts a file that was taken back.
    pub fn give_back<D: Disk>(&mut self, disk: &mut D, name: String, length: u32) -> Result<(), DiskError> {
        if length != self.length {
            return disk.remove(&name).map_err(at("remove", name));
        }
        self.ready.push_front(name);
        Ok(())
    }

    /// Makes one spare at once when there is none.
    pub fn ensure_reserve<D: Disk>(&mut self, disk: &mut D) -> Result<(), DiskError> {
        if self.ready.is_empty() {
            let name = self.make(disk, self.length)?;
            self.ready.push_back(name);
        }
        Ok(())
    }

    /// Makes a spare of a file that nobody needs any more, or removes it. The names are durable afterwards: a file must
    /// not be overwritten that could come back under the name that it had.
    pub fn recycle<D: Disk>(&mut self, disk: &mut D, name: &str, length: u32) -> Result<(), DiskError> {
        let wanted = length == self.length && self.ready.len() < SPARES_MAX;
        let recycled = if wanted && disk.links(name).map_err(at("examine", name))? == 1 {
            let spare = self.name();
            disk.rename(name, &spare).map_err(at("rename", name)).and_then(|()| {
                self.ready.push_back(spare);
                disk.sync_names().map_err(at("sync", name))
            })
        } else {
            disk.remove(name).map_err(at("remove", name))
        };
        match recycled {
            // Even a name may need room to change. The file stays, and is let go again after the next start.
            Err(error) if error.is_full() => Ok(()),
            other => other,
        }
    }

    /// Removes one spare from the disk; false when there is none.
    pub fn give_up<D: Disk>(&mut self, disk: &mut D) -> Result<bool, DiskError> {
        let Some(name) = self.ready.pop_back() else { return Ok(false) };
        disk.remove(&name).map_err(at("remove", &name))?;
        Ok(true)
    }

    /// A file of `length` bytes, at once.
    fn make<D: Disk>(&mut self, disk: &mut D, length: u32) -> Result<String, DiskError> {
        let mut filling = match self.filling.take_if(|filling| filling.length == length) {
            Some(filling) => filling,
            None => self.begin(disk, length)?,
        };
        while !filling.is_complete() {
            filling.piece(disk)?;
        }
        Ok(filling.finish(disk))
    }

    fn begin<D: Disk>(&mut self, disk: &mut D, length: u32) -> Result<Filling, DiskError> {
        let name = self.name();
        let files = disk.list().map_err(at("list", "."))?;
        let used: u64 = files.iter().map(|(_, bytes)| bytes).sum();
        if used + u64::from(length) > self.bytes_max {
            return Err(at("create", name)(io::ErrorKind::QuotaExceeded.into()));
        }
        let file = disk.create(&name).map_err(at("create", &name))?;
        Ok(Filling { name, file, length, filled: 0 })
    }

    fn name(&mut self) -> String {
        let name = format!("{PREFIX}{:08}", self.next_name);
        self.next_name = self.next_name.wrapping_add(1);
        name
    }
}

impl Filling {
    fn is_complete(&self) -> bool {
        self.filled == self.length
    }

    /// Fills one piece. After an error the file is gone.
    fn piece<D: Disk>(&mut self, disk: &mut D) -> Result<(), DiskError> {
        let piece = PIECE_BYTES.min((self.length - self.filled) as usize);
        let written = disk
            .write_at(self.file, u64::from(self.filled), &vec![0; piece])
            .and_then(|()| disk.sync(self.file))
            // Nothing is promised here yet: a file that can't be synced is merely one that there is no room for, if the
            // disk says so.
            .map_err(at("fill", &self.name));
        if written.is_err() {
            disk.close(self.file);
            disk.remove(&self.name).map_err(at("remove", &self.name))?;
        }
        self.filled += piece as u32;
        written
    }

    fn finish<D: Disk>(self, disk: &mut D) -> String {
        disk.close(self.file);
        self.name
    }
}
