//! What the tests of several providers use.

use althing_core::effects::Verify;
use althing_core::{Link, PeerId};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory of its own, gone with the test.
pub struct Directory(PathBuf);

impl Directory {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("althing-identity-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Somebody comes without TLS, through an entrance for those who are known.
pub fn question(username: Option<&str>, password: Option<&str>) -> Verify {
    Verify {
        peer: PeerId { shard: 0, generation: 1, slot: 1 },
        link: Link::default(),
        protocol: "mqtt",
        client: "c".into(),
        username: username.map(Into::into),
        password: password.map(|password| password.to_owned().into()),
        authentication: None,
        first: true,
    }
}
