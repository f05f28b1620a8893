//! Whether an address is where it says (RFC 9175 §2.4): before it has proven that, it gets no more than three times the bytes that
//! came from it, so that nobody can have us send floods to somebody else by writing a wrong address on a request.
//!
//! The proof is the Echo option: whoever sends back what was sent to an address can read there. Nothing is remembered of
//! addresses that have not proven themselves: the value itself says for whom it was made, and when.

use crate::config::{AddressProof, CoapConfig};
use crate::message::{Code, Message, number};
use crate::resources::Response;
use althing_core::time::SECOND_NS;
use althing_core::{Entropy, Now};
use bytes::Bytes;
use siphasher::sip::SipHasher24;
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;

/// How long a value may be sent back, in seconds: many round trips, and too short to be worth collecting.
const VALIDITY_S: u32 = 300;

/// What anyone may be sent (RFC 9175 §2.4, item 3): an answer of this size is no weapon, and a challenge fits.
const UNPROVEN_BYTES_MIN: usize = 136;

/// How many bytes may answer one byte of an unproven address.
const AMPLIFICATION_MAX: usize = 3;

/// Makes proofs, and knows its own again.
#[derive(Debug)]
pub(super) struct Proofs {
    wanted: AddressProof,
    key: [u64; 2],
}

/// What one request may be answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Allowance {
    /// Bytes of the datagrams that answer it.
    pub bytes: usize,
}

impl Allowance {
    /// For those who have proven that they are where they say.
    pub const UNLIMITED: Self = Self { bytes: usize::MAX };

    pub fn is_proven(self) -> bool {
        self == Self::UNLIMITED
    }
}

impl Proofs {
    pub fn new(config: &CoapConfig, entropy: &mut Entropy) -> Self {
        Self { wanted: config.address_proof, key: [entropy.next_u64(), entropy.next_u64()] }
    }

    /// What a request of `request_bytes` from `remote` may be answered with, by what it brings along.
    pub fn allowance(&self, now: Now, remote: SocketAddr, request: &Message, request_bytes: usize) -> Allowance {
        let is_exempt = match self.wanted {
            AddressProof::Never => true,
            AddressProof::BeyondLoopback => remote.ip().to_canonical().is_loopback(),
            AddressProof::Always => false,
        };
        if is_exempt || request.options.get(number::ECHO).is_some_and(|echo| self.is_proof(now, remote, echo)) {
            return Allowance::UNLIMITED;
        }
        Allowance { bytes: (AMPLIFICATION_MAX * request_bytes).max(UNPROVEN_BYTES_MIN) }
    }

    /// The response that asks for a proof.
    pub fn challenge(&self, now: Now, remote: SocketAddr) -> Response {
        let made_s = (now.mono_ns / SECOND_NS) as u32;
        let mut value = made_s.to_be_bytes().to_vec();
        value.extend_from_slice(&self.seal(remote, made_s).to_be_bytes());
        let mut response = Response::new(Code::UNAUTHORIZED);
        response.options.add(number::ECHO, value);
        response
    }

    /// Whether this is what was sent to that address lately.
    pub fn is_proof(&self, now: Now, remote: SocketAddr, echo: &Bytes) -> bool {
        let Some((made_s, seal)) = echo.split_first_chunk::<4>() else { return false };
        let made_s = u32::from_be_bytes(*made_s);
        let age_s = ((now.mono_ns / SECOND_NS) as u32).wrapping_sub(made_s);
        age_s <= VALIDITY_S && *seal == self.seal(remote, made_s).to_be_bytes()
    }

    fn seal(&self, remote: SocketAddr, made_s: u32) -> u64 {
        let mut hasher = SipHasher24::new_with_keys(self.key[0], self.key[1]);
        (remote, made_s).hash(&mut hasher);
        hasher.finish()
    }
}
