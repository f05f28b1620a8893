//! SCRAM-SHA-256 and SCRAM-SHA-512 (RFC 5802, RFC 7677): a proof of knowing the password without telling it. Without channel
//! binding: a client that asks for one is refused.

mod exchange;

pub use exchange::{Exchange, Step};

use super::users::Users;
use althing_core::Identity;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytestring::ByteString;
use hmac::Hmac;
use hmac::Mac;
use hmac::digest::KeyInit;
use sha2::{Digest, Sha256, Sha512};
use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// How the proof is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mechanism {
    /// SCRAM-SHA-256.
    Sha256,
    /// SCRAM-SHA-512.
    Sha512,
}

impl Mechanism {
    const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// The name in the registry of SASL mechanisms.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "SCRAM-SHA-256",
            Self::Sha512 => "SCRAM-SHA-512",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mechanism| mechanism.name() == name)
    }

    fn length(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    fn hash(self, data: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(data).to_vec(),
            Self::Sha512 => Sha512::digest(data).to_vec(),
        }
    }

    fn hmac(self, key: &[u8], data: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => mac::<Hmac<Sha256>>(key, data),
            Self::Sha512 => mac::<Hmac<Sha512>>(key, data),
        }
    }

    /// `Hi` of RFC 5802 §2.2.
    fn salted_password(self, password: &[u8], salt: &[u8], iterations: u32) -> Vec<u8> {
        let mut salted = vec![0; self.length()];
        match self {
            Self::Sha256 => pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, iterations, &mut salted),
            Self::Sha512 => pbkdf2::pbkdf2_hmac::<Sha512>(password, salt, iterations, &mut salted),
        }
        salted
    }
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
fn mac<M: Mac + KeyInit>(key: &[u8], data: &[u8]) -> Vec<u8> {
    let mac = <M as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.chain_update(data).finalize().into_bytes().to_vec()
}

/// What the broker knows of a password for one mechanism (RFC 5802 §3): enough to check a proof, not enough to make one.
/// Written as `SCRAM-SHA-256$ROUNDS$SALT$STORED KEY$SERVER KEY`.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    mechanism: Mechanism,
    iterations: u32,
    salt: Vec<u8>,
    stored_key: Vec<u8>,
    server_key: Vec<u8>,
}

/// RFC 7677 §4 wants 4,096 at least and advises 15,000; it is the client that computes them.
const ITERATIONS: u32 = 15_000;
const ITERATIONS_MIN: u32 = 4_096;
const SALT_LENGTH: usize = 16;

impl Keys {
    /// Keys for every mechanism, each with a new salt.
    ///
    /// # Errors
    /// When the password holds characters that clients would prepare in different ways, or the system has no randomness.
    pub fn of_every_mechanism(password: &str) -> Result<Vec<Self>, String> {
        // SASLprep (RFC 4013) leaves these as they are; how far clients carry it out for others differs.
        if password.is_empty() || !password.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            return Err(
                "a password for SCRAM is of printable ASCII characters: clients prepare others differently".into()
            );
        }
        let keys = |mechanism| {
            let mut salt = vec![0; SALT_LENGTH];
            getrandom::fill(&mut salt).map_err(|error| format!("the system gives no randomness: {error}"))?;
            Ok(Self::new(mechanism, password.as_bytes(), salt, ITERATIONS))
        };
        Mechanism::ALL.into_iter().map(keys).collect()
    }

    /// What they are for.
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    fn new(mechanism: Mechanism, password: &[u8], salt: Vec<u8>, iterations: u32) -> Self {
        let salted = mechanism.salted_password(password, &salt, iterations);
        let client_key = mechanism.hmac(&salted, b"Client Key");
        let stored_key = mechanism.hash(&client_key);
        Self { mechanism, iterations, salt, stored_key, server_key: mechanism.hmac(&salted, b"Server Key") }
    }

    /// Whether `proof` is that of somebody who knows the password; then what proves the same of us.
    fn check(&self, message: &[u8], proof: &[u8]) -> Option<Vec<u8>> {
        let mut client_key = self.mechanism.hmac(&self.stored_key, message);
        if proof.len() != client_key.len() {
            return None;
        }
        client_key.iter_mut().zip(proof).for_each(|(byte, proof)| *byte ^= proof);
        let is_right: bool = self.mechanism.hash(&client_key).ct_eq(&self.stored_key).into();
        let ours = self.mechanism.hmac(&self.server_key, message);
        is_right.then_some(ours)
    }
}

impl FromStr for Keys {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "keys for SCRAM are written SCRAM-SHA-256$ROUNDS$SALT$STORED$SERVER".to_owned();
        let fields: Vec<&str> = text.trim_end().split('$').collect();
        let [name, iterations, salt, stored_key, server_key] = fields[..] else { return Err(expected()) };
        let mechanism = Mechanism::named(name).ok_or_else(expected)?;
        let decoded = |text: &str| STANDARD.decode(text).map_err(|_| expected());
        let key =
            |text| decoded(text).and_then(|key| (key.len() == mechanism.length()).then_some(key).ok_or_else(expected));
        let iterations = iterations.parse().map_err(|_| expected())?;
        if iterations < ITERATIONS_MIN {
            return Err(format!("SCRAM needs {ITERATIONS_MIN} rounds at least"));
        }
        let salt = decoded(salt)?;
        Ok(Self { mechanism, iterations, salt, stored_key: key(stored_key)?, server_key: key(server_key)? })
    }
}

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mechanism, iterations, salt, stored_key, server_key } = self;
        let [salt, stored_key, server_key] = [salt, stored_key, server_key].map(|bytes| STANDARD.encode(bytes));
        write!(f, "{}${iterations}${salt}${stored_key}${server_key}", mechanism.name())
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({}, …)", self.mechanism.name())
    }
}

/// Everyone who can prove themselves by SCRAM.
#[derive(Debug, Default)]
pub struct Directory {
    known: HashMap<(Mechanism, ByteString), (Keys, Arc<Identity>)>,
    /// What unknown users are answered with.
    decoys: HashMap<Mechanism, Decoy>,
}

#[derive(Debug)]
struct Decoy {
    secret: Vec<u8>,
    iterations: u32,
}

impl Directory {
    /// Those of these users that have keys.
    pub fn new(users: &Users) -> Self {
        let mut directory = Self::default();
        for user in users.iter() {
            for keys in &user.scram {
                let (mechanism, iterations) = (keys.mechanism, keys.iterations);
                // Unknown users have to get the same salt each time, also from the next process, and nobody who only knows
                // passwords may be able to compute it: the salt and hash of somebody's password in the file are that.
                let secret = || Sha256::digest(user.hash.to_string()).to_vec();
                directory.decoys.entry(mechanism).or_insert_with(|| Decoy { secret: secret(), iterations });
                let identity = Identity { groups: user.groups.clone(), ..Identity::named(user.name.clone()) };
                directory.known.insert((mechanism, user.name.clone()), (keys.clone(), Arc::new(identity)));
            }
        }
        directory
    }

    /// Whether anybody can prove themselves in this way.
    pub fn speaks(&self, mechanism: Mechanism) -> bool {
        self.decoys.contains_key(&mechanism)
    }

    /// The keys of a user; for an unknown one such that no password fits, and no identity.
    fn keys(&self, mechanism: Mechanism, name: &str) -> (Keys, Option<Arc<Identity>>) {
        if let Some((keys, identity)) = self.known.get(&(mechanism, name.into())) {
            return (keys.clone(), Some(Arc::clone(identity)));
        }
        let decoy = self.decoys.get(&mechanism);
        let secret = decoy.map_or(&[][..], |decoy| &decoy.secret);
        let mut salt = mechanism.hmac(secret, format!("{}:{name}", mechanism.name()).as_bytes());
        let stored_key = mechanism.hmac(secret, &salt);
        salt.truncate(SALT_LENGTH);
        let iterations = decoy.map_or(ITERATIONS, |decoy| decoy.iterations);
        (Keys { mechanism, iterations, salt, server_key: stored_key.clone(), stored_key }, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_written_as_they_were_read() {
        for keys in Keys::of_every_mechanism("pencil").unwrap() {
            assert_eq!(keys.to_string().parse::<Keys>().unwrap(), keys);
        }
        assert!(Keys::of_every_mechanism("gehe\u{a0}im").is_err());
        let error = "SCRAM-SHA-256$1$QQ==$QQ==$QQ==".parse::<Keys>().unwrap_err();
        assert!(error.contains("4096"), "{error}");
    }

    #[test]
    fn an_unknown_user_looks_like_a_known_one() {
        let line = "alice:$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        let mut alice: super::super::users::User = line.parse().unwrap();
        alice.scram = Keys::of_every_mechanism("pencil").unwrap();
        let mut users = Users::default();
        users.add(alice).unwrap();
        let (one, other) = (Directory::new(&users), Directory::new(&users));
        for mechanism in Mechanism::ALL {
            let (known, _) = one.keys(mechanism, "alice");
            let (unknown, nobody) = one.keys(mechanism, "mallory");
            assert!(nobody.is_none());
            assert_eq!((unknown.iterations, unknown.salt.len()), (known.iterations, known.salt.len()));
            assert_eq!(unknown.salt, other.keys(mechanism, "mallory").0.salt, "the same after a restart");
            assert_ne!(unknown.salt, one.keys(mechanism, "eve").0.salt);
        }
    }
}
