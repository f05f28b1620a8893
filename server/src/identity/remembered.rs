//! What has just been found out about credentials: a bounded memory with an end, in which the credentials themselves are a keyed
//! hash that is of no use to anybody without the key of this process.

use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Remembers a `T` for credentials.
pub struct Remembered<T> {
    key: Hmac<Sha256>,
    entries_max: usize,
    state: Mutex<State<T>>,
}

struct State<T> {
    entries: HashMap<Digest, (Instant, T)>,
    /// In the order in which they came; of one that came twice the first is stale.
    order: VecDeque<(Instant, Digest)>,
}

/// The keyed hash of some credentials.
pub type Digest = [u8; 32];

impl<T: Clone> Remembered<T> {
    /// A memory for so many.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn new(entries_max: usize) -> Result<Self, String> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|error| format!("the system gives no randomness: {error}"))?;
        let key = Hmac::new_from_slice(&key).map_err(|error| error.to_string())?;
        let state = State { entries: HashMap::new(), order: VecDeque::new() };
        Ok(Self { key, entries_max, state: Mutex::new(state) })
    }

    /// What stands for these parts, none of which can pass for another one.
    pub fn digest(&self, parts: &[&[u8]]) -> Digest {
        let mut mac = self.key.clone();
        for part in parts {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    /// What is remembered.
    pub fn get(&self, digest: &Digest, now: Instant) -> Option<T> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.entries.get(digest).filter(|(end, _)| now < *end).map(|(_, value)| value.clone())
    }

    /// Remembers `value` for so long, and forgets what is oldest if need be.
    pub fn insert(&self, digest: Digest, value: T, lifetime: Duration, now: Instant) {
        if lifetime.is_zero() || self.entries_max == 0 {
            return;
        }
        let end = now + lifetime;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.entries.insert(digest, (end, value));
        state.order.push_back((end, digest));
        while state.order.front().is_some_and(|(end, _)| *end <= now) || state.order.len() > self.entries_max {
            let Some((end, oldest)) = state.order.pop_front() else { break };
            if state.entries.get(&oldest).is_some_and(|(current, _)| *current == end) {
                state.entries.remove(&oldest);
            }
        }
    }
}

impl<T> fmt::Debug for Remembered<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Remembered(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFETIME: Duration = Duration::from_secs(10);

    #[test]
    fn what_is_remembered_ends_in_time_and_number() {
        let (memory, now) = (Remembered::new(2).unwrap(), Instant::now());
        let [a, b, c] = [b"a", b"b", b"c"].map(|name| memory.digest(&[name]));
        memory.insert(a, 1, LIFETIME, now);
        assert_eq!(memory.get(&a, now), Some(1));
        assert_eq!(memory.get(&a, now + LIFETIME), None);
        memory.insert(a, 2, LIFETIME, now + Duration::from_secs(1));
        memory.insert(b, 3, LIFETIME, now + Duration::from_secs(1));
        assert_eq!((memory.get(&a, now), memory.get(&b, now)), (Some(2), Some(3)), "the newer of the two is kept");
        memory.insert(c, 4, LIFETIME, now + Duration::from_secs(1));
        assert_eq!((memory.get(&a, now), memory.get(&b, now), memory.get(&c, now)), (None, Some(3), Some(4)));
        memory.insert(a, 5, Duration::ZERO, now);
        assert_eq!(memory.get(&a, now), None);
    }

    #[test]
    fn parts_cannot_be_shifted_and_another_process_has_another_hash() {
        let [one, other] = [0, 1].map(|_| Remembered::<()>::new(1).unwrap());
        assert_ne!(one.digest(&[b"ab", b"c"]), one.digest(&[b"a", b"bc"]));
        assert_ne!(one.digest(&[b"ab", b"c"]), other.digest(&[b"ab", b"c"]));
    }
}
