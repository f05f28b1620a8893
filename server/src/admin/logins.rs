//! Those who have logged in with a name and a password, and those who have tried.

use super::token::{hash, secret};
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a login lasts.
const LIFETIME: Duration = Duration::from_secs(12 * 3_600);

/// Logins at once; the oldest gives way.
const LOGINS_MAX: usize = 256;

/// Addresses whose failures are remembered, and how long.
const ADDRESSES_MAX: usize = 4_096;
const FAILURES_FOR: Duration = Duration::from_secs(60);

/// The first failure costs this much, each further one twice as much.
const DELAY: Duration = Duration::from_millis(250);
const DELAY_MAX: Duration = Duration::from_secs(8);

/// The logins and the failures.
#[derive(Debug, Default)]
pub struct Logins {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// By the hash of the secret: a look into our memory opens no door.
    open: HashMap<[u8; 32], Login>,
    failures: HashMap<Option<IpAddr>, Failures>,
    failed_total: u64,
}

#[derive(Debug)]
struct Login {
    user: String,
    until: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Instant,
}

impl Logins {
    /// Lets `user` in, who has proven to be an administrator; returns the secret for the cookie.
    ///
    /// # Errors
    /// When the system has no randomness for us.
    pub fn begin(&self, user: &str, address: Option<IpAddr>) -> io::Result<String> {
        let (secret, now) = (secret()?, Instant::now());
        let mut inner = self.lock();
        inner.failures.remove(&address);
        inner.open.retain(|_, login| login.until > now);
        if inner.open.len() >= LOGINS_MAX {
            let oldest = inner.open.iter().min_by_key(|(_, login)| login.until).map(|(hash, _)| *hash);
            oldest.and_then(|hash| inner.open.remove(&hash));
        }
        inner.open.insert(hash(&secret), Login { user: user.to_owned(), until: now + LIFETIME });
        Ok(secret)
    }

    /// Whose secret this is.
    pub fn user(&self, secret: &str) -> Option<String> {
        let inner = self.lock();
        let login = inner.open.get(&hash(secret)).filter(|login| login.until > Instant::now())?;
        Some(login.user.clone())
    }

    /// Ends the login with this secret.
    pub fn end(&self, secret: &str) {
        self.lock().open.remove(&hash(secret));
    }

    /// Ends all logins of a user: it has another password, or is gone.
    pub fn end_of(&self, user: &str) {
        self.lock().open.retain(|_, login| login.user != user);
    }

    /// Somebody at this address has failed. Returns how long the answer is to wait.
    pub fn failed(&self, address: Option<IpAddr>) -> Duration {
        let now = Instant::now();
        let mut inner = self.lock();
        inner.failed_total += 1;
        inner.failures.retain(|_, failures| now.duration_since(failures.last) < FAILURES_FOR);
        // When there are so many addresses, they share the longest delay.
        if inner.failures.len() >= ADDRESSES_MAX && !inner.failures.contains_key(&address) {
            return DELAY_MAX;
        }
        let failures = inner.failures.entry(address).or_insert(Failures { count: 0, last: now });
        *failures = Failures { count: failures.count + 1, last: now };
        DELAY_MAX.min(DELAY * 2_u32.saturating_pow(failures.count - 1))
    }

    /// How many have failed.
    pub fn failed_total(&self) -> u64 {
        self.lock().failed_total
    }

    /// Nothing here can panic under the lock.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_known_by_its_secret_until_it_ends() {
        let logins = Logins::default();
        let secret = logins.begin("ann", None).unwrap();
        assert_eq!(logins.user(&secret).as_deref(), Some("ann"));
        assert_eq!(logins.user("guess"), None);
        logins.end(&secret);
        assert_eq!(logins.user(&secret), None);
    }

    #[test]
    fn failures_cost_twice_as_much_each_time_and_a_success_forgives() {
        let (logins, address) = (Logins::default(), Some(IpAddr::from([127, 0, 0, 1])));
        let delays: Vec<Duration> = (0..8).map(|_| logins.failed(address)).collect();
        assert_eq!(delays[..3], [DELAY, DELAY * 2, DELAY * 4]);
        assert_eq!(delays[7], DELAY_MAX);
        assert_eq!(logins.failed(None), DELAY);
        logins.begin("ann", address).unwrap();
        assert_eq!(logins.failed(address), DELAY);
        assert_eq!(logins.failed_total(), 10);
    }

    #[test]
    fn there_are_never_too_many() {
        let logins = Logins::default();
        let secrets: Vec<String> = (0..=LOGINS_MAX).map(|_| logins.begin("ann", None).unwrap()).collect();
        assert_eq!(secrets.iter().filter(|secret| logins.user(secret).is_some()).count(), LOGINS_MAX);
        logins.end_of("ann");
        assert!(secrets.iter().all(|secret| logins.user(secret).is_none()));
    }
}
