//! COSE_Encrypt0 with AES-CCM-16-64-128 (§5): nonce, additional data, sealing and opening.

use super::context::{ALGORITHM, COMMON_IV_BYTES, Key};
use super::option::{PartialIv, partial_iv};
use aes::Aes128;
use ccm::Ccm;
use ccm::aead::{Aead, KeyInit, Payload};
use ccm::consts::{U8, U13};
use minicbor::Encoder;

type AesCcm = Ccm<Aes128, U8, U13>;

/// The AEAD nonce.
pub type Nonce = [u8; COMMON_IV_BYTES];

/// How many bytes of a nonce are a Partial IV.
const PARTIAL_IV_BYTES: usize = 5;

/// The nonce of who (`id`) sends something under this number (§5.2).
pub fn nonce(id: &[u8], number: u64, common_iv: &Nonce) -> Nonce {
    let mut nonce = Nonce::default();
    nonce[0] = id.len() as u8;
    let id_end = COMMON_IV_BYTES - PARTIAL_IV_BYTES;
    nonce[id_end - id.len()..id_end].copy_from_slice(id);
    nonce[id_end..].copy_from_slice(&number.to_be_bytes()[8 - PARTIAL_IV_BYTES..]);
    nonce.iter_mut().zip(common_iv).for_each(|(byte, iv)| *byte ^= iv);
    nonce
}

/// What a message is bound to (§5.4): the request's kid and Partial IV, for the request and all its responses.
pub fn additional_data(request_kid: &[u8], request_number: u64) -> Vec<u8> {
    const OSCORE_VERSION: u8 = 1;
    let request_partial_iv: PartialIv = partial_iv(request_number);
    let external = cbor(|encoder| {
        encoder.array(5)?.u8(OSCORE_VERSION)?.array(1)?.u8(ALGORITHM)?;
        // There are no options of class I.
        encoder.bytes(request_kid)?.bytes(&request_partial_iv)?.bytes(b"")?.ok()
    });
    cbor(|encoder| encoder.array(3)?.str("Encrypt0")?.bytes(b"")?.bytes(&external)?.ok())
}

/// Encrypts.
pub fn seal(key: &Key, nonce: &Nonce, additional_data: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let payload = Payload { msg: plaintext, aad: additional_data };
    // CCM takes less than 64 KiB with two bytes of length, which a datagram cannot exceed; nothing is sent otherwise.
    AesCcm::new(key.into()).encrypt(nonce.into(), payload).unwrap_or_default()
}

/// Decrypts; `None` when it was not encrypted so.
pub fn open(key: &Key, nonce: &Nonce, additional_data: &[u8], ciphertext: &[u8]) -> Option<Vec<u8>> {
    let payload = Payload { msg: ciphertext, aad: additional_data };
    AesCcm::new(key.into()).decrypt(nonce.into(), payload).ok()
}

/// What `write` writes as CBOR.
pub fn cbor(
    write: impl FnOnce(&mut Encoder<&mut Vec<u8>>) -> Result<(), minicbor::encode::Error<std::convert::Infallible>>,
) -> Vec<u8> {
    let mut bytes = Vec::new();
    match write(&mut Encoder::new(&mut bytes)) {
        // Memory takes everything.
        Ok(()) | Err(_) => bytes,
    }
}
