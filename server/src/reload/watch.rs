//! Files that may change. Their metadata are asked for twice a second: that works on every file system, sees a symbolic link
//! that leads elsewhere, and costs a few microseconds.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// Some files, and what they were like.
#[derive(Debug)]
pub struct Watch {
    interval: Interval,
    /// When everything was read.
    read: Stamps,
    /// At the last look.
    seen: Stamps,
}

type Stamps = BTreeMap<PathBuf, Option<Stamp>>;

/// What tells one content of a file from another without reading it. Renamed files and links that lead elsewhere have another
/// number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Watch {
    /// Watches these files, whether they are there or not; to be called inside a runtime. A change counts when two looks have
    /// found the same: who writes a file is done then.
    pub fn new(files: Vec<PathBuf>, every: Duration) -> Self {
        let mut interval = interval(every);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stamps = stamps(files);
        Self { interval, seen: stamps.clone(), read: stamps }
    }

    /// Watches these from now on. What is new among them has just been read.
    pub fn watch(&mut self, files: Vec<PathBuf>) {
        let old = std::mem::take(&mut self.read);
        let (known, new): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| old.contains_key(file));
        self.read = known
            .into_iter()
            .filter_map(|file| old.get_key_value(&file).map(|(file, stamp)| (file.clone(), *stamp)))
            .collect();
        self.read.append(&mut stamps(new));
        self.seen.clone_from(&self.read);
    }

    /// Everything is about to be read: what changes from now on is a change.
    pub async fn look(&mut self) {
        self.read = self.stamps().await;
        self.seen.clone_from(&self.read);
    }

    /// Waits until files have changed; says which. Nothing is lost when it is not waited for to the end.
    pub async fn changed(&mut self) -> Vec<String> {
        loop {
            self.interval.tick().await;
            let stamps = self.stamps().await;
            let is_settled = stamps == self.seen;
            self.seen = stamps;
            if is_settled && self.seen != self.read {
                let changed = self.seen.iter().filter(|(file, stamp)| self.read.get(*file) != Some(stamp));
                return changed.map(|(file, _)| file.display().to_string()).collect();
            }
        }
    }

    /// On another thread: a file may be far away.
    async fn stamps(&self) -> Stamps {
        let files = self.read.keys().cloned().collect();
        tokio::task::spawn_blocking(move || stamps(files)).await.unwrap_or_else(|_| self.seen.clone())
    }
}

fn stamps(files: Vec<PathBuf>) -> Stamps {
    let stamp = |file: &PathBuf| {
        let metadata = std::fs::metadata(file).ok()?;
        Some(Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    };
    files.into_iter().map(|file| (file.clone(), stamp(&file))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    const EVERY: Duration = Duration::from_millis(1);

    /// A directory of its own for each test.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("althing-watch-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn write(&self, name: &str, text: &str) -> PathBuf {
            let path = self.0.join(name);
            std::fs::write(&path, text).unwrap();
            path
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn names(files: &[&Path]) -> Vec<String> {
        files.iter().map(|file| file.display().to_string()).collect()
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_file_that_is_written_made_or_gone_is_noticed() {
        let place = Place::new("written");
        let (one, other) = (place.write("one", "1"), place.0.join("other"));
        let mut watch = Watch::new(vec![one.clone(), other.clone()], EVERY);
        place.write("one", "longer");
        assert_eq!(watch.changed().await, names(&[&one]));
        watch.look().await;
        place.write("other", "1");
        assert_eq!(watch.changed().await, names(&[&other]));
        watch.look().await;
        std::fs::remove_file(&one).unwrap();
        assert_eq!(watch.changed().await, names(&[&one]));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_link_that_leads_elsewhere_is_noticed() {
        let place = Place::new("linked");
        let (old, new) = (place.0.join("old"), place.0.join("new"));
        for directory in [&old, &new] {
            std::fs::create_dir_all(directory).unwrap();
            std::fs::write(directory.join("file"), "same").unwrap();
        }
        let current = place.0.join("current");
        symlink(&old, &current).unwrap();
        let file = current.join("file");
        let mut watch = Watch::new(vec![file.clone()], EVERY);
        // As those do who swap a whole directory at once.
        symlink(&new, place.0.join("next")).unwrap();
        std::fs::rename(place.0.join("next"), &current).unwrap();
        assert_eq!(watch.changed().await, names(&[&file]));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_is_watched_from_now_on_has_just_been_read() {
        let place = Place::new("more");
        let (one, other) = (place.write("one", "1"), place.write("other", "1"));
        let mut watch = Watch::new(vec![one.clone()], EVERY);
        place.write("one", "before the list was changed");
        watch.watch(vec![one.clone(), other.clone()]);
        assert_eq!(watch.changed().await, names(&[&one]));
    }
}
