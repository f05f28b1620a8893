//! The keys that tokens may be signed with, each with the algorithms that it is good for.

use super::Parts;
use crate::identity::config::JwtConfig;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use serde::Deserialize;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::str::FromStr;

/// All of them.
#[derive(Debug, Default)]
pub struct Keys(Vec<Key>);

#[derive(Debug)]
struct Key {
    /// The id that a token may choose it by.
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

const HMAC: &[Algorithm] = &[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
const RSA: &[Algorithm] =
    &[Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::PS256, Algorithm::PS384, Algorithm::PS512];

/// A shorter secret can be guessed from one token (RFC 7518 §3.2).
const SECRET_BYTES_MIN: usize = 32;
/// 2,048 bits (RFC 7518 §3.3).
const RSA_BYTES_MIN: usize = 256;
/// A token without a key id is tried with every key: a check of RSA costs some 100 µs.
const KEYS_MAX: usize = 100;

impl Keys {
    pub fn load(config: &JwtConfig) -> Result<Self, String> {
        let mut keys = Vec::new();
        if let Some(path) = &config.secret_file {
            keys.push(secret(path, &read(path)?)?);
        }
        for path in &config.public_key_files {
            keys.push(public_key(path, &read(path)?)?);
        }
        if let Some(path) = &config.jwks_file {
            keys.extend(key_set(path, &read(path)?)?);
        }
        if keys.len() > KEYS_MAX {
            return Err(format!(
                "identity.jwt has {} keys; {KEYS_MAX} are enough for every token to be tried",
                keys.len()
            ));
        }
        for key in &mut keys {
            restrict(key, &config.algorithms)?;
        }
        Ok(Self(keys))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a key of ours has made the signature. A key id chooses among the keys that have one.
    pub fn verify(&self, parts: &Parts<'_>) -> Result<(), String> {
        let header = &parts.header;
        let algorithm = Algorithm::from_str(&header.alg).map_err(|_| {
            format!("the algorithm {:?} is not accepted here", header.alg.chars().take(20).collect::<String>())
        })?;
        let is_meant = |key: &&Key| match (&header.kid, &key.id) {
            (Some(wanted), Some(id)) => wanted == id,
            _ => true,
        };
        let mut tried = false;
        for key in self.0.iter().filter(is_meant).filter(|key| key.algorithms.contains(&algorithm)) {
            tried = true;
            if crypto::verify(parts.signature, parts.message.as_bytes(), &key.key, algorithm).unwrap_or(false) {
                return Ok(());
            }
        }
        Err(if tried { "its signature is wrong".into() } else { format!("no key here is good for {}", header.alg) })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// What editors put at the end of a file is not part of the secret.
fn secret(path: &Path, bytes: &[u8]) -> Result<Key, String> {
    let secret = bytes.trim_ascii_end();
    if secret.len() < SECRET_BYTES_MIN {
        let length = secret.len();
        let path = path.display();
        return Err(format!(
            "{path}: the secret has {length} bytes; `openssl rand -hex {SECRET_BYTES_MIN}` makes a good one"
        ));
    }
    Ok(Key { id: None, algorithms: HMAC.to_vec(), key: DecodingKey::from_secret(secret) })
}

fn public_key(path: &Path, pem: &[u8]) -> Result<Key, String> {
    // An uncompressed point, as RFC 5480 §2.2 writes it.
    const P256_BYTES: usize = 65;
    const P384_BYTES: usize = 97;
    let key = |algorithms: &[Algorithm], key| Ok(Key { id: None, algorithms: algorithms.to_vec(), key });
    if let Ok(rsa) = DecodingKey::from_rsa_pem(pem) {
        if rsa.as_bytes().len() < RSA_BYTES_MIN {
            return Err(format!("{}: an RSA key of less than 2048 bits is not safe", path.display()));
        }
        return key(RSA, rsa);
    }
    if let Ok(point) = DecodingKey::from_ec_pem(pem) {
        match point.as_bytes().len() {
            P256_BYTES => return key(&[Algorithm::ES256], point),
            P384_BYTES => return key(&[Algorithm::ES384], point),
            _ => {}
        }
    }
    if let Ok(edwards) = DecodingKey::from_ed_pem(pem) {
        return key(&[Algorithm::EdDSA], edwards);
    }
    let path = path.display();
    Err(format!(
        "{path}: expected a public key in PEM: RSA, P-256, P-384 or Ed25519; `openssl pkey -pubout` writes one"
    ))
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

/// A set may hold keys for other purposes, and of kinds that we do not know: those are left out (RFC 7517 §5).
fn key_set(path: &Path, json: &[u8]) -> Result<Vec<Key>, String> {
    let set: KeySet = serde_json::from_slice(json)
        .map_err(|error| format!("{}: expected a JSON object with `keys` (RFC 7517): {error}", path.display()))?;
    let known: Vec<Key> = set
        .keys
        .into_iter()
        .filter_map(|key| serde_json::from_value::<Jwk>(key).ok())
        .filter(|key| !matches!(key.common.public_key_use, Some(PublicKeyUse::Encryption)))
        .filter_map(|key| of_set(&key))
        .collect();
    if known.is_empty() {
        return Err(format!("{}: there is no key for signatures that could be used here", path.display()));
    }
    Ok(known)
}

fn of_set(jwk: &Jwk) -> Option<Key> {
    let key = DecodingKey::from_jwk(jwk).ok()?;
    let (of_kind, is_safe): (&[Algorithm], bool) = match &jwk.algorithm {
        AlgorithmParameters::RSA(rsa) => (RSA, rsa.n.len() >= RSA_BYTES_MIN * 4 / 3),
        AlgorithmParameters::EllipticCurve(point) => match point.curve {
            EllipticCurve::P256 => (&[Algorithm::ES256], true),
            EllipticCurve::P384 => (&[Algorithm::ES384], true),
            _ => return None,
        },
        AlgorithmParameters::OctetKeyPair(pair) => (&[Algorithm::EdDSA], pair.curve == EllipticCurve::Ed25519),
        AlgorithmParameters::OctetKey(_) => (HMAC, key.as_bytes().len() >= SECRET_BYTES_MIN),
    };
    let said = jwk.common.key_algorithm.map(|algorithm| Algorithm::from_str(&algorithm.to_string()).ok());
    let algorithms: Vec<Algorithm> = match said {
        None => of_kind.to_vec(),
        Some(said) => of_kind.iter().copied().filter(|algorithm| said == Some(*algorithm)).collect(),
    };
    (is_safe && !algorithms.is_empty()).then(|| Key { id: jwk.common.key_id.clone(), algorithms, key })
}

/// Leaves the key only what the configuration allows.
fn restrict(key: &mut Key, allowed: &[String]) -> Result<(), String> {
    let read = |name: &String| {
        Algorithm::from_str(name).map_err(|_| {
            format!("identity.jwt.algorithms: there is no {name:?}; write for example \"RS256\", \"ES256\", \"EdDSA\" or \"HS256\"")
        })
    };
    let allowed: Vec<Algorithm> = allowed.iter().map(read).collect::<Result<_, _>>()?;
    if !allowed.is_empty() {
        key.algorithms.retain(|algorithm| allowed.contains(algorithm));
    }
    Ok(())
}
