//! The little of a file system that the log needs, as a seam: the same code runs on real files and on a simulated
//! disk that loses power.

use std::io;

/// An open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub u32);

/// One flat directory of files.
///
/// What has been written is only sure to be there after a crash when [`sync`](Self::sync) has returned `Ok` for the
/// file since; that a file exists, is gone or has another name only after [`sync_names`](Self::sync_names). Until then
/// each sector of 512 bytes may be old, new or zero, in any combination. A sync that fails says nothing about what is
/// there, and trying it again proves nothing: the caller must stop.
pub trait Disk {
    /// All files with their lengths in bytes, in any order.
    fn list(&mut self) -> io::Result<Vec<(String, u64)>>;

    /// Makes an empty file; an error when the name is taken.
    fn create(&mut self, name: &str) -> io::Result<FileId>;

    /// Opens a file for reading and writing.
    fn open(&mut self, name: &str) -> io::Result<FileId>;

    /// Closes a file; its content stays as unsure as it was.
    fn close(&mut self, file: FileId);

    /// Fills `buffer` from `offset` on; returns how much there was before the end of the file.
    fn read_at(&self, file: FileId, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `data` at `offset`; a file grows as needed. After an error any part may have been written.
    fn write_at(&mut self, file: FileId, offset: u64, data: &[u8]) -> io::Result<()>;

    /// Makes content and length of a file durable.
    fn sync(&mut self, file: FileId) -> io::Result<()>;

    /// Makes reads tell what is on the disk instead of what a failed sync has left in memory, as far as the system
    /// allows. Only after a sync.
    fn drop_cache(&mut self, file: FileId) -> io::Result<()>;

    /// Gives a file another name, in place of a file that had it; open files stay open.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a name. An open file can be used until it is closed.
    fn remove(&mut self, name: &str) -> io::Result<()>;

    /// Makes all changes of names durable.
    fn sync_names(&mut self) -> io::Result<()>;

    /// How many names the file has: more than one while somebody is copying it, and then it must not be overwritten.
    fn links(&mut self, name: &str) -> io::Result<u64>;
}

/// A disk that is lent.
impl<D: Disk> Disk for &mut D {
    fn list(&mut self) -> io::Result<Vec<(String, u64)>> {
        (**self).list()
    }
    fn create(&mut self, name: &str) -> io::Result<FileId> {
        (**self).create(name)
    }
    fn open(&mut self, name: &str) -> io::Result<FileId> {
        (**self).open(name)
    }
    fn close(&mut self, file: FileId) {
        (**self).close(file);
    }
    fn read_at(&self, file: FileId, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        (**self).read_at(file, offset, buffer)
    }
    fn write_at(&mut self, file: FileId, offset: u64, data: &[u8]) -> io::Result<()> {
        (**self).write_at(file, offset, data)
    }
    fn sync(&mut self, file: FileId) -> io::Result<()> {
        (**self).sync(file)
    }
    fn drop_cache(&mut self, file: FileId) -> io::Result<()> {
        (**self).drop_cache(file)
    }
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        (**self).rename(from, to)
    }
    fn remove(&mut self, name: &str) -> io::Result<()> {
        (**self).remove(name)
    }
    fn sync_names(&mut self) -> io::Result<()> {
        (**self).sync_names()
    }
    fn links(&mut self, name: &str) -> io::Result<u64> {
        (**self).links(name)
    }
}
