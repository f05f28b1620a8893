//! JSON Web Tokens (RFC 7519) in the place of the password, or as the password of the user that they name.
//!
//! A key says which algorithms it is good for; what the token says is only looked up among them. So a public key is never a secret
//! for HMAC, and `none` is never an algorithm.

mod claims;
mod keys;

use super::config::JwtConfig;
use super::{Credentials, Outcome, Provider};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keys::Keys;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// The provider.
#[derive(Debug)]
pub struct Tokens {
    keys: Keys,
    config: JwtConfig,
}

/// A token that is longer is refused before anything of it is read. 4 KiB are usual for the largest.
const TOKEN_BYTES_MAX: usize = 16 << 10;

/// The header, as far as it matters (RFC 7515 §4.1).
#[derive(Debug, Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// What must be understood. We understand nothing beyond the RFC.
    crit: Option<Value>,
}

/// A token with its parts told apart, not trusted yet.
struct Parts<'a> {
    header: Header,
    claims: &'a str,
    /// What is signed.
    message: &'a str,
    signature: &'a str,
}

impl Tokens {
    /// With the keys that the configuration names; `None` when it names none.
    ///
    /// # Errors
    /// When one cannot be read or is not fit to be used.
    pub fn load(config: &JwtConfig) -> Result<Option<Self>, String> {
        let keys = Keys::load(config)?;
        Ok((!keys.is_empty()).then(|| Self { keys, config: config.clone() }))
    }

    /// Verifies the signature and reads the claims.
    fn claims(&self, parts: &Parts<'_>) -> Result<Map<String, Value>, String> {
        if parts.header.crit.is_some() {
            return Err("it has critical header fields, and none is understood here".into());
        }
        self.keys.verify(parts)?;
        decoded(parts.claims).ok_or_else(|| "its claims are no JSON object".into())
    }

    fn check_at(&self, credentials: &Credentials<'_>, wall_ms: u64) -> Outcome {
        let Ok(token) = std::str::from_utf8(credentials.password) else { return Outcome::NotMine };
        // Whatever looks like a token is ours to judge, however long.
        if !looks_like_a_token(token) {
            return Outcome::NotMine;
        }
        let proven = if token.len() > TOKEN_BYTES_MAX {
            Err(format!("it is longer than {TOKEN_BYTES_MAX} bytes"))
        } else {
            parts(token).and_then(|parts| self.claims(&parts))
        };
        match proven.and_then(|claims| claims::identity(&self.config, &claims, credentials.username, wall_ms)) {
            Ok(identity) => Outcome::Accept(Arc::new(identity)),
            Err(why) => Outcome::Refuse(format!("the token is not accepted: {why}")),
        }
    }
}

impl Provider for Tokens {
    fn check(&self, credentials: &Credentials<'_>) -> Outcome {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.check_at(credentials, now.as_millis() as u64)
    }
}

/// Three parts, of which the first is an object of JSON in base64: what no person would choose as a password.
fn looks_like_a_token(text: &str) -> bool {
    const OBJECT: &str = "ey"; // `{"`
    text.starts_with(OBJECT) && text.bytes().filter(|byte| *byte == b'.').count() == 2
}

fn parts(token: &str) -> Result<Parts<'_>, String> {
    let (message, signature) = token.rsplit_once('.').ok_or("it has no signature")?;
    let (header, claims) = message.split_once('.').ok_or("it has no claims")?;
    let header = decoded(header).ok_or("its header is none")?;
    Ok(Parts { header, claims, message, signature })
}

fn decoded<T: serde::de::DeserializeOwned>(part: &str) -> Option<T> {
    let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
    serde_json::from_slice(&bytes).ok()
}

#[cfg(test)]
mod tests;
