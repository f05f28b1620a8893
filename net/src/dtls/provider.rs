//! What the library is made of here, and what passes between it and us in the middle of one of its calls.
//!
//! The library asks for its cookie (RFC 6347 §4.2.1) from within the state that it keeps for a client. Ours is asked for before
//! there is any; when a client has brought it, the library is made to believe that it was its own: `hmac_sha256`, which it
//! uses for nothing else, says the cookie that was just verified.

use dimpl::crypto::rust_crypto;
use dimpl::crypto::{CryptoProvider, Dtls12CipherSuite, HmacProvider};
use dimpl::{CryptoError, HashAlgorithm};
use std::cell::{Cell, RefCell};

/// The one cipher suite with shared keys, as RFC 7252 §9.1.3.1 wants it.
pub(super) const KEYED_SUITE: Dtls12CipherSuite = Dtls12CipherSuite::PSK_AES128_CCM_8;

/// Its registered name.
pub(super) const PSK_CIPHER_SUITE: &str = "TLS_PSK_WITH_AES_128_CCM_8";

pub(super) const COOKIE_BYTES: usize = 32;

/// An identity and its key.
pub(super) type Identified = (Vec<u8>, Vec<u8>);

thread_local! {
    static COOKIE: Cell<Option<[u8; COOKIE_BYTES]>> = const { Cell::new(None) };
    static IDENTIFIED: RefCell<Option<Identified>> = const { RefCell::new(None) };
}

pub(super) fn provider() -> CryptoProvider {
    CryptoProvider { hmac_provider: &VerifiedCookie, ..rust_crypto::default_provider() }
}

/// HMAC-SHA256, for cookies of our own.
pub(super) fn hmac(key: &[u8], data: &[u8]) -> Option<[u8; COOKIE_BYTES]> {
    rust_crypto::default_provider().hmac_provider.hmac_sha256(key, data).ok()
}

/// Bytes that nobody can guess.
pub(super) fn secret() -> Option<[u8; 32]> {
    let mut secret = [0; 32];
    rust_crypto::default_provider().secure_random.fill(&mut secret).ok()?;
    Some(secret)
}

/// Whether handshakes can be made with this key (DER): ECDSA on P-256 or P-384.
pub(super) fn can_use(key: &[u8]) -> bool {
    rust_crypto::default_provider().key_provider.load_private_key(key).is_ok()
}

/// Has the library take `cookie` for its own as long as `act` runs; says too whose key it asked for meanwhile.
pub(super) fn with_cookie<T>(cookie: [u8; COOKIE_BYTES], act: impl FnOnce() -> T) -> T {
    COOKIE.set(Some(cookie));
    let result = act();
    COOKIE.set(None);
    result
}

pub(super) fn tell_identity(identity: &[u8], key: &[u8]) {
    IDENTIFIED.set(Some((identity.to_vec(), key.to_vec())));
}

/// Whose key the library asked for since the last time.
pub(super) fn take_identity() -> Option<Identified> {
    IDENTIFIED.take()
}

#[derive(Debug)]
struct VerifiedCookie;

impl HmacProvider for VerifiedCookie {
    fn hmac_sha256(&self, key: &[u8], data: &[u8]) -> Result<[u8; 32], CryptoError> {
        match COOKIE.get() {
            Some(cookie) => Ok(cookie),
            None => rust_crypto::default_provider().hmac_provider.hmac_sha256(key, data),
        }
    }

    fn hmac(&self, hash: HashAlgorithm, key: &[u8], data: &[u8], out: &mut [u8]) -> Result<usize, CryptoError> {
        rust_crypto::default_provider().hmac_provider.hmac(hash, key, data, out)
    }
}
