//! The ids of our messages to one remote address (§4.4): none comes back within EXCHANGE_LIFETIME, since the other end would take its
//! message for a repeat and drop it (§4.5).
//!
//! The ids are a clock that runs through all of them in somewhat more than that time. Whoever is behind it takes the id of the moment;
//! who has taken many at once is ahead of it, by a bound: so nothing is remembered but the next one, and not even that of an address
//! that has been silent for a while.

use crate::config::CoapConfig;
use althing_core::time::MILLISECOND_NS;
use althing_core::{Entropy, Now};
use siphasher::sip::SipHasher24;
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;

/// How far the ids may be ahead of the clock: as many messages leave at once. The others of the 65,536 are spread over a lifetime, at
/// 232 a second with the parameters of §4.8.
const AHEAD_MAX: u64 = 8_192;

/// Of these, those that are not for answers: whoever asks a lot must not keep its own observations from being told.
const FOR_OWN_WORDS: u64 = AHEAD_MAX / 2;

/// The ids of our messages to one remote address.
#[derive(Debug)]
pub(super) struct MessageIds {
    /// The id at the beginning of the clock.
    first: u16,
    /// Of our next message, unless the clock is past it.
    next: u64,
}

/// The clock of all ids.
#[derive(Clone, Copy, Debug)]
pub(super) struct IdClock {
    /// How long it stays at one id.
    id_ns: u64,
    key: [u64; 2],
}

impl IdClock {
    pub fn new(config: &CoapConfig, entropy: &mut Entropy) -> Self {
        let lifetime_ns = config.exchange_lifetime_ms().saturating_mul(MILLISECOND_NS);
        // An id comes back 65,536 ids later, of which those ahead may take no time; one more is lost to rounding.
        let id_ns = lifetime_ns / (65_536 - AHEAD_MAX - 1) + 1;
        Self { id_ns, key: [entropy.next_u64(), entropy.next_u64()] }
    }

    /// The ids of an address begin elsewhere than those of others, so that nobody guesses them (§4.4), and always at the same place.
    pub fn ids_of(&self, remote: SocketAddr) -> MessageIds {
        let mut hasher = SipHasher24::new_with_keys(self.key[0], self.key[1]);
        remote.hash(&mut hasher);
        MessageIds::new(hasher.finish() as u16)
    }
}

impl MessageIds {
    fn new(first: u16) -> Self {
        Self { first, next: 0 }
    }

    /// An id for a message of ours; `None` while all are too young to be used again.
    pub fn take(&mut self, now: Now, clock: IdClock) -> Option<u16> {
        self.take_within(now, clock, AHEAD_MAX)
    }

    /// An id for an unconfirmed answer. `None` is no reason to stay silent: the id of the request will do, which does not come back
    /// either if the other end keeps to the same rule.
    pub fn take_for_answer(&mut self, now: Now, clock: IdClock) -> Option<u16> {
        self.take_within(now, clock, AHEAD_MAX - FOR_OWN_WORDS)
    }

    /// When [`take`](Self::take) has one.
    pub fn free_ns(&self, clock: IdClock) -> u64 {
        (self.next + 1).saturating_sub(AHEAD_MAX).saturating_mul(clock.id_ns)
    }

    /// Whether [`take`](Self::take) has one.
    pub fn has_one(&self, now: Now, clock: IdClock) -> bool {
        self.free_ns(clock) <= now.mono_ns
    }

    fn take_within(&mut self, now: Now, clock: IdClock, ahead_max: u64) -> Option<u16> {
        let at = now.mono_ns / clock.id_ns;
        let next = self.next.max(at);
        if next >= at + ahead_max {
            return None;
        }
        self.next = next + 1;
        Some(self.first.wrapping_add(next as u16))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_id_comes_back_within_its_lifetime() {
        let config = CoapConfig::default();
        assert_eq!(config.exchange_lifetime_ms(), 247_000);
        let lifetime_ns = config.exchange_lifetime_ms() * MILLISECOND_NS;
        for seed in 0..5 {
            let (mut entropy, clock) = (Entropy::new(seed), IdClock::new(&config, &mut Entropy::new(seed)));
            let mut ids = MessageIds::new(entropy.next_u64() as u16);
            let mut now = Now { mono_ns: entropy.below(lifetime_ns), wall_ms: 0 };
            let mut taken = vec![None; 65_536];
            for _ in 0..300_000 {
                match ids.take(now, clock) {
                    Some(id) => {
                        let before = taken[usize::from(id)].replace(now.mono_ns);
                        assert!(before.is_none_or(|before: u64| now.mono_ns - before >= lifetime_ns), "seed {seed}");
                    }
                    None => {
                        let free_ns = ids.free_ns(clock);
                        assert!(free_ns > now.mono_ns, "it says when there is one");
                        now.mono_ns = free_ns;
                        assert!(ids.take_for_answer(now, clock).is_none(), "and none for answers yet");
                    }
                }
                // Now in a row, now with pauses.
                now.mono_ns += entropy.below(20) / 19 * entropy.below(lifetime_ns / 4_000);
                if entropy.below(50_000) == 0 {
                    // Who was silent for a minute is forgotten; the clock goes on.
                    now.mono_ns += 60_000 * MILLISECOND_NS;
                    ids = MessageIds::new(ids.first);
                }
            }
        }
    }
}
