//! Codes that let a browser in once: whoever reads our console's address from a terminal need not type a password.

use super::token::{hash, secret};
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a code waits to be used.
const LIFETIME: Duration = Duration::from_secs(3_600);

/// Codes that wait at once; the oldest gives way.
const CODES_MAX: usize = 16;

/// The codes that nobody has used yet.
#[derive(Debug, Default)]
pub struct Codes {
    /// Hashes, as of every secret; the oldest first.
    waiting: Mutex<Vec<([u8; 32], Instant)>>,
}

impl Codes {
    /// Makes one.
    ///
    /// # Errors
    /// When the system has no randomness for us.
    pub fn issue(&self) -> io::Result<String> {
        let (code, now) = (secret()?, Instant::now());
        let mut waiting = self.lock();
        waiting.retain(|(_, until)| *until > now);
        if waiting.len() >= CODES_MAX {
            waiting.remove(0);
        }
        waiting.push((hash(&code), now + LIFETIME));
        Ok(code)
    }

    /// Whether this is one; it is used up then.
    pub fn redeem(&self, code: &str) -> bool {
        let (hash, now) = (hash(code), Instant::now());
        let mut waiting = self.lock();
        let place = waiting.iter().position(|(known, until)| *known == hash && *until > now);
        place.map(|place| waiting.remove(place)).is_some()
    }

    /// Nothing here can panic under the lock.
    fn lock(&self) -> MutexGuard<'_, Vec<([u8; 32], Instant)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_good_once_and_there_are_never_too_many() {
        let codes = Codes::default();
        let issued: Vec<String> = (0..=CODES_MAX).map(|_| codes.issue().unwrap()).collect();
        assert!(!codes.redeem(&issued[0]), "it gave way");
        assert!(!codes.redeem("") && !codes.redeem("guess"));
        assert_eq!((codes.redeem(&issued[1]), codes.redeem(&issued[1])), (true, false));
    }
}
