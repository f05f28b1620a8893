//! Hashes of passwords: argon2id, which we write, and mosquitto's two, which we only read.

use argon2::password_hash::{self, PasswordHash, Salt, SaltString};
use argon2::{Algorithm, Argon2, Block, Params, PasswordHasher, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha512};
use std::cell::RefCell;
use std::fmt;
use std::str::FromStr;
use subtle::ConstantTimeEq;

/// The hash of a password, as a users file has it. `Display` writes it as it was read.
#[derive(Clone)]
pub struct Hash {
    text: String,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Argon2id {
        argon2: Box<Argon2<'static>>,
        salt: Vec<u8>,
        hash: Vec<u8>,
    },
    /// mosquitto's `$7$`: PBKDF2 with HMAC-SHA-512.
    Pbkdf2 {
        iterations: u32,
        salt: Vec<u8>,
        hash: Vec<u8>,
    },
    /// mosquitto's `$6$` of old: SHA-512 of the password and the salt.
    Sha512 {
        salt: Vec<u8>,
        hash: Vec<u8>,
    },
}

/// What checking one password may cost at most, so that a mistake in a file does not stop every login: 256 MiB, …
const MEMORY_KIB_MAX: u32 = 256 << 10;
/// … passes over them, …
const PASSES_MAX: u32 = 16;
/// … and rounds of PBKDF2.
const ITERATIONS_MAX: u32 = 10_000_000;

impl Hash {
    /// The argon2id hash of a password, with the parameters that OWASP recommends and a new salt.
    ///
    /// # Errors
    /// When the system has no randomness, or the password is longer than 4 GiB.
    pub fn new(password: &[u8]) -> Result<Self, String> {
        let mut salt = [0; Salt::RECOMMENDED_LENGTH];
        getrandom::fill(&mut salt).map_err(|error| format!("the system gives no randomness: {error}"))?;
        let salt = SaltString::encode_b64(&salt).map_err(|error| error.to_string())?;
        let hash = Argon2::default().hash_password(password, &salt).map_err(|error| error.to_string())?;
        hash.to_string().parse()
    }

    /// Whether `password` is the one. Takes as long for a wrong one as for the right one.
    pub fn verifies(&self, password: &[u8]) -> bool {
        match &self.kind {
            Kind::Argon2id { argon2, salt, hash } => {
                let mut found = vec![0; hash.len()];
                let computed = with_memory(argon2.params(), |memory| {
                    argon2.hash_password_into_with_memory(password, salt, &mut found, memory)
                });
                computed.is_ok() && found.ct_eq(hash).into()
            }
            Kind::Pbkdf2 { iterations, salt, hash } => {
                let mut found = vec![0; hash.len()];
                pbkdf2::pbkdf2_hmac::<Sha512>(password, salt, *iterations, &mut found);
                found.ct_eq(hash).into()
            }
            Kind::Sha512 { salt, hash } => {
                let found = Sha512::new().chain_update(password).chain_update(salt).finalize();
                found[..].ct_eq(hash).into()
            }
        }
    }

    /// How it was made, for people.
    pub fn kind(&self) -> &'static str {
        match self.kind {
            Kind::Argon2id { .. } => "argon2id",
            Kind::Pbkdf2 { .. } => "PBKDF2-SHA-512",
            Kind::Sha512 { .. } => "SHA-512",
        }
    }

    /// A hash of the same cost that no password is known for.
    pub fn decoy(&self) -> Self {
        let mut decoy = self.clone();
        match &mut decoy.kind {
            Kind::Argon2id { hash, .. } | Kind::Pbkdf2 { hash, .. } | Kind::Sha512 { hash, .. } => {
                hash.iter_mut().for_each(|byte| *byte ^= 0x5a);
            }
        }
        decoy
    }

    /// What a check costs, to compare: kibibytes of memory and passes over it, then rounds.
    pub fn cost(&self) -> (u64, u32) {
        match &self.kind {
            Kind::Argon2id { argon2, .. } => {
                (u64::from(argon2.params().m_cost()) * u64::from(argon2.params().t_cost()), 0)
            }
            Kind::Pbkdf2 { iterations, .. } => (0, *iterations),
            Kind::Sha512 { .. } => (0, 0),
        }
    }
}

impl FromStr for Hash {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str =
            "the password's hash must begin with $argon2id$, $7$ or $6$; `althing users passwd` writes one";
        let fields: Vec<&str> = text.split('$').collect();
        let kind = match fields[..] {
            ["", "argon2id", ..] => argon2id(text)?,
            ["", "7", iterations, salt, hash] => {
                let iterations = iterations.parse().ok().filter(|count| (1..=ITERATIONS_MAX).contains(count));
                let iterations =
                    iterations.ok_or_else(|| format!("a $7$ hash has from 1 to {ITERATIONS_MAX} rounds"))?;
                Kind::Pbkdf2 { iterations, salt: decoded(salt)?, hash: digest(hash)? }
            }
            ["", "6", salt, hash] => Kind::Sha512 { salt: decoded(salt)?, hash: digest(hash)? },
            _ => return Err(EXPECTED.into()),
        };
        Ok(Self { text: text.to_owned(), kind })
    }
}

/// Lends the memory that argon2 fills. A thread keeps it: freed and taken anew for each login it would leave holes of its size.
fn with_memory<T>(params: &Params, act: impl FnOnce(&mut [Block]) -> T) -> T {
    thread_local! {
        static MEMORY: RefCell<Vec<Block>> = const { RefCell::new(Vec::new()) };
    }
    #[cfg(test)]
    ARGON2_COMPUTED.set(ARGON2_COMPUTED.get() + 1);
    MEMORY.with_borrow_mut(|memory| {
        if memory.len() < params.block_count() {
            memory.resize(params.block_count(), Block::default());
        }
        act(&mut memory[..])
    })
}

fn argon2id(text: &str) -> Result<Kind, String> {
    let malformed = |error: password_hash::Error| format!("the argon2id hash is malformed: {error}");
    let hash = PasswordHash::new(text).map_err(malformed)?;
    let params = Params::try_from(&hash).map_err(malformed)?;
    if params.m_cost() > MEMORY_KIB_MAX || params.t_cost() > PASSES_MAX {
        return Err(format!("the argon2id hash costs too much: at most m={MEMORY_KIB_MAX},t={PASSES_MAX}"));
    }
    let (Some(salt), Some(output)) = (hash.salt, hash.hash) else {
        return Err("the argon2id hash has no salt or no hash".into());
    };
    let mut decoded = [0; Salt::MAX_LENGTH];
    let salt = salt.decode_b64(&mut decoded).map_err(malformed)?.to_vec();
    let version =
        hash.version.map_or(Ok(Version::V0x10), Version::try_from).map_err(|error| malformed(error.into()))?;
    let argon2 = Box::new(Argon2::new(Algorithm::Argon2id, version, params));
    Ok(Kind::Argon2id { argon2, salt, hash: output.as_bytes().to_vec() })
}

fn decoded(text: &str) -> Result<Vec<u8>, String> {
    STANDARD.decode(text).map_err(|error| format!("the hash is not base64: {error}"))
}

/// A hash of SHA-512's length.
fn digest(text: &str) -> Result<Vec<u8>, String> {
    const LENGTH: usize = 64;
    decoded(text).and_then(|hash| {
        if hash.len() == LENGTH {
            Ok(hash)
        } else {
            Err(format!("the hash has {} bytes instead of {LENGTH}", hash.len()))
        }
    })
}

impl PartialEq for Hash {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Hash {}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hash(…)")
    }
}

#[cfg(test)]
thread_local! {
    /// How often this thread has computed argon2.
    pub static ARGON2_COMPUTED: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_hash_verifies_its_password_alone() {
        let hash = Hash::new(b"secret").unwrap();
        assert!(hash.to_string().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(hash.verifies(b"secret"));
        assert!(!hash.verifies(b"Secret"));
        assert!(!hash.verifies(b""));
        assert_ne!(hash.to_string(), Hash::new(b"secret").unwrap().to_string(), "the salt is new");
    }

    /// The reference implementation's `argon2 somesalt` vector.
    #[test]
    fn the_vector_of_the_reference_implementation_verifies() {
        let text = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        let hash: Hash = text.parse().unwrap();
        assert!(hash.verifies(b"password"));
        assert!(!hash.verifies(b"password "));
    }

    #[test]
    fn a_hash_that_is_none_or_costs_too_much_is_refused() {
        for (text, expected) in [
            ("secret", "must begin with"),
            ("", "must begin with"),
            (
                "$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
                "must begin with",
            ),
            ("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ", "no salt or no hash"),
            ("$argon2id$v=19$m=4194304,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "too much"),
            ("$7$0$c2FsdA==$aGFzaA==", "from 1 to"),
            ("$7$101$c2FsdA==$aGFzaA==", "4 bytes instead of 64"),
            ("$6$***$aGFzaA==", "not base64"),
        ] {
            let error = text.parse::<Hash>().unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
