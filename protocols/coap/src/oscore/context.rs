//! The security context (§3): what two ends derive from the secret that they share, and what they count.

use super::cose::{Nonce, cbor};
use super::errors::Exhausted;
use super::window::ReplayWindow;
use bytes::Bytes;
use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// AES-CCM-16-64-128 in the registry of COSE (RFC 9053 §4.2): the one that every implementation has (§11 there).
pub(super) const ALGORITHM: u8 = 10;

/// Its key.
pub(super) type Key = [u8; 16];

/// Its nonce.
pub(super) const COMMON_IV_BYTES: usize = 13;

/// The longest Sender and Recipient ID (§3.3): the nonce less six bytes.
pub(super) const ID_BYTES_MAX: usize = COMMON_IV_BYTES - 6;

/// The last Sender Sequence Number (§7.2.1): what five bytes hold, and what this algorithm allows.
pub(super) const NUMBER_MAX: u64 = (1 << 40) - 1;

/// What two ends agree on beforehand (§3.2), by other means.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// How we call it.
    pub name: String,
    /// The secret.
    pub master_secret: Bytes,
    /// May be empty.
    pub master_salt: Bytes,
    /// What we are called in it; may be empty, and differs from the other end's.
    pub sender_id: Bytes,
    /// What the other end is called in it.
    pub recipient_id: Bytes,
    /// What tells contexts with equal IDs apart.
    pub id_context: Option<Bytes>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({})", self.name)
    }
}

/// Why there is no context: one sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeriveError(pub &'static str);

impl fmt::Display for DeriveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for DeriveError {}

/// What both ends know, and how far this one has come in it.
pub struct Context {
    /// What it was made of.
    pub credentials: Credentials,
    pub(super) sender_key: Key,
    pub(super) recipient_key: Key,
    pub(super) common_iv: Nonce,
    state: Mutex<State>,
    is_revoked: AtomicBool,
}

/// What changes.
#[derive(Debug, Default)]
struct State {
    /// The next Sender Sequence Number.
    next: u64,
    /// The first that may not be used yet: what is used must have been noted on disk before.
    reserved: u64,
    /// From which number on more are to be reserved; `u64::MAX` once that was asked for.
    ask_from: u64,
    keeper: Option<Sender<[u8; 16]>>,
    /// What has been received; `None` when that was forgotten (Appendix B.1.2).
    window: Option<ReplayWindow>,
}

impl Context {
    /// Derives keys and IV (§3.2.1). Nothing can be sent before numbers are [reserved](Self::reserve), and nothing
    /// counts as received before: whoever has used the context before says [`forget_received`](Self::forget_received).
    ///
    /// # Errors
    /// When the IDs are too long, or equal.
    pub fn derive(credentials: Credentials) -> Result<Self, DeriveError> {
        let Credentials { sender_id, recipient_id, master_secret, id_context, .. } = &credentials;
        if master_secret.is_empty() {
            return Err(DeriveError("the master secret is empty: it is 16 random bytes at least"));
        }
        if sender_id.len() > ID_BYTES_MAX || recipient_id.len() > ID_BYTES_MAX {
            return Err(DeriveError("sender_id and recipient_id have 7 bytes at most"));
        }
        if sender_id == recipient_id {
            return Err(DeriveError("sender_id and recipient_id are equal: each end needs one of its own"));
        }
        if id_context.as_ref().is_some_and(|it| it.len() > usize::from(u8::MAX)) {
            return Err(DeriveError("id_context has 255 bytes at most"));
        }
        let sender_key = expand(&credentials, sender_id, "Key");
        let recipient_key = expand(&credentials, recipient_id, "Key");
        let common_iv = expand(&credentials, b"", "IV");
        let state = Mutex::new(State { window: Some(ReplayWindow::default()), ..State::default() });
        let is_revoked = AtomicBool::new(false);
        Ok(Self { credentials, sender_key, recipient_key, common_iv, state, is_revoked })
    }

    /// What to keep sequence numbers under: equal for two contexts if the same number would give the same nonce under
    /// the same key, whatever they are called.
    pub fn fingerprint(&self) -> [u8; 16] {
        let mut hash = Sha256::new();
        hash.update(b"OSCORE sender");
        hash.update(self.sender_key);
        hash.update(self.common_iv);
        hash.update(&self.credentials.sender_id);
        let hash: [u8; 32] = hash.finalize().into();
        std::array::from_fn(|place| hash[place])
    }

    /// From now on numbers below `reserved` may be used; the first one is `next`, unless a later one was used.
    pub fn reserve(&self, next: u64, reserved: u64) {
        let mut state = self.state();
        state.next = state.next.max(next);
        state.reserved = state.reserved.max(reserved.min(NUMBER_MAX + 1));
        state.ask_from = state.next + state.reserved.saturating_sub(state.next) / 2;
    }

    /// The next number, and how many follow it before something has to be reserved.
    pub fn numbers(&self) -> (u64, u64) {
        let state = self.state();
        (state.next, state.reserved.saturating_sub(state.next))
    }

    /// Whether anything can be sent under a number of its own.
    pub fn has_numbers(&self) -> bool {
        self.numbers().1 > 0
    }

    /// Who sees to it that numbers are reserved: hears the [fingerprint](Self::fingerprint) when half of them are used.
    pub fn ask(&self, keeper: Sender<[u8; 16]>) {
        self.state().keeper = Some(keeper);
    }

    /// It is not known any more: nothing is said under it.
    pub(super) fn revoke(&self) {
        self.is_revoked.store(true, Ordering::Relaxed);
    }

    /// Whether it is not known any more.
    pub fn is_revoked(&self) -> bool {
        self.is_revoked.load(Ordering::Relaxed)
    }

    /// What was received is not known: nothing is fresh before [`begin_received`](Self::begin_received).
    pub fn forget_received(&self) {
        self.state().window = None;
    }

    /// Something has just proven that it was made lately: it is the first that was received (Appendix B.1.2).
    pub(super) fn begin_received(&self, number: u64) {
        let mut state = self.state();
        if state.window.is_none() {
            state.window = Some(ReplayWindow::behind(number));
        }
    }

    /// Whether it is known what was received.
    pub fn knows_received(&self) -> bool {
        self.state().window.is_some()
    }

    /// Whether this number may be new; yes, while that is not known.
    pub(super) fn may_be_fresh(&self, number: u64) -> bool {
        self.state().window.as_ref().is_none_or(|window| window.is_fresh(number))
    }

    /// Notes a number whose message was verified; false when it is not fresh.
    pub(super) fn receive(&self, number: u64) -> bool {
        let mut state = self.state();
        let Some(window) = state.window.as_mut() else { return true };
        let is_fresh = window.is_fresh(number);
        if is_fresh {
            window.receive(number);
        }
        is_fresh
    }

    /// A number to send something under: never the same again.
    pub(super) fn take_number(&self) -> Result<u64, Exhausted> {
        let mut state = self.state();
        if state.next >= state.ask_from {
            state.ask_from = u64::MAX;
            if let Some(keeper) = &state.keeper {
                // Without a keeper what is reserved is all there is.
                let _ = keeper.send(self.fingerprint());
            }
        }
        if state.next >= state.reserved {
            return Err(Exhausted);
        }
        state.next += 1;
        Ok(state.next - 1)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Context({})", self.credentials.name)
    }
}

/// HKDF with SHA-256 (§3.2.1).
fn expand<const LENGTH: usize>(credentials: &Credentials, id: &[u8], kind: &str) -> [u8; LENGTH] {
    let info = cbor(|encoder| {
        encoder.array(5)?.bytes(id)?;
        match &credentials.id_context {
            Some(id_context) => encoder.bytes(id_context)?,
            None => encoder.null()?,
        };
        encoder.u8(ALGORITHM)?.str(kind)?.u64(LENGTH as u64)?.ok()
    });
    let mut output = [0; LENGTH];
    let derived =
        Hkdf::<Sha256>::new(Some(&credentials.master_salt), &credentials.master_secret).expand(&info, &mut output);
    debug_assert!(derived.is_ok(), "it fails above 255 times 32 bytes");
    output
}
