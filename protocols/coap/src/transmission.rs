//! A confirmable message under way (§4.2): repeated with doubled patience until it is acknowledged.

use crate::config::CoapConfig;
use althing_core::time::MILLISECOND_NS;
use althing_core::{Entropy, Now};
use bytes::Bytes;

/// One confirmable message that waits for its acknowledgement.
#[derive(Clone, Debug)]
pub struct Transmission {
    /// What the acknowledgement names.
    pub id: u16,
    /// When to ask [`again`](Self::again), on the monotonic clock.
    pub due_ns: u64,
    datagram: Bytes,
    wait_ns: u64,
    left: u8,
}

impl Transmission {
    /// Of a datagram that has just been sent for the first time.
    pub fn new(now: Now, id: u16, datagram: Bytes, config: &CoapConfig, entropy: &mut Entropy) -> Self {
        // ACK_RANDOM_FACTOR 1.5: devices that lost the same packet must not repeat in step.
        let spread_ms = config.ack_timeout_ms / 2;
        let wait_ms = config.ack_timeout_ms + entropy.below(spread_ms + 1);
        let wait_ns = wait_ms * MILLISECOND_NS;
        Self { id, due_ns: now.mono_ns + wait_ns, datagram, wait_ns, left: config.max_retransmit }
    }

    /// Whether it has been sent often enough.
    pub fn is_exhausted(&self) -> bool {
        self.left == 0
    }

    /// Another message takes over the repeats that are left, and their patience (RFC 7641 §4.5.2).
    pub fn supersede(&mut self, id: u16, datagram: Bytes) {
        (self.id, self.datagram) = (id, datagram);
    }

    /// The time is up: the datagram to send once more, or `None` when it has been sent often enough.
    pub fn again(&mut self, now: Now) -> Option<&[u8]> {
        self.left = self.left.checked_sub(1)?;
        self.wait_ns *= 2;
        self.due_ns = now.mono_ns + self.wait_ns;
        Some(&self.datagram)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use althing_core::time::SECOND_NS;

    #[test]
    fn four_repeats_with_doubled_patience() {
        for seed in 0..100 {
            let mut now = Now { mono_ns: 5, wall_ms: 0 };
            let mut entropy = Entropy::new(seed);
            let mut sent = Transmission::new(now, 1, Bytes::from_static(b"x"), &CoapConfig::default(), &mut entropy);
            let first_ns = sent.due_ns - now.mono_ns;
            assert!((2 * SECOND_NS..=3 * SECOND_NS).contains(&first_ns), "{first_ns}");
            for repeat in 1..=4 {
                now.mono_ns = sent.due_ns;
                assert_eq!(sent.again(now), Some(&b"x"[..]));
                assert_eq!(sent.due_ns - now.mono_ns, first_ns << repeat);
            }
            assert_eq!(sent.again(now), None);
        }
    }
}
