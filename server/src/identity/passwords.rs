//! Users with passwords, from the users file and from one of mosquitto.

use super::hash::Hash;
use super::remembered::{Digest, Remembered};
use super::users::{Users, UsersError};
use super::{Credentials, Outcome, Provider};
use althing_core::Identity;
use bytestring::ByteString;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The provider.
#[derive(Debug)]
pub struct Passwords {
    users: HashMap<ByteString, Known>,
    /// The costliest kind of hash among all. A check costs as much as this one, whoever is asked for: the time that it takes
    /// says nothing about who is known.
    decoy: Option<Hash>,
    remembered: Remembered<Arc<Identity>>,
    remember: Duration,
}

#[derive(Debug)]
struct Known {
    hash: Hash,
    identity: Arc<Identity>,
}

/// Credentials that are remembered: some 150 bytes each.
const REMEMBERED_MAX: usize = 20_000;

impl Passwords {
    /// Everyone in these files, each of which has its name for mistakes.
    ///
    /// # Errors
    /// When a name is in two of them.
    pub fn new(files: &[(PathBuf, Users)], remember: Duration) -> Result<Self, UsersError> {
        let mut users = HashMap::new();
        for (path, file) in files {
            for user in file.iter() {
                let identity = Identity { groups: user.groups.clone(), ..Identity::named(user.name.clone()) };
                let known = Known { hash: user.hash.clone(), identity: Arc::new(identity) };
                if users.insert(user.name.clone(), known).is_some() {
                    let text = format!("{}: {:?} is in another file, too", path.display(), &user.name[..]);
                    return Err(UsersError::Request(text));
                }
            }
        }
        let decoy = users.values().map(|known| &known.hash).max_by_key(|hash| hash.cost()).map(Hash::decoy);
        let remembered = Remembered::new(REMEMBERED_MAX).map_err(UsersError::Request)?;
        Ok(Self { users, decoy, remembered, remember })
    }

    fn digest(&self, name: &str, password: &[u8]) -> Digest {
        self.remembered.digest(&[name.as_bytes(), password])
    }
}

impl Provider for Passwords {
    fn recall(&self, credentials: &Credentials<'_>) -> Option<Outcome> {
        let digest = self.digest(credentials.username?, credentials.password);
        self.remembered.get(&digest, Instant::now()).map(Outcome::Accept)
    }

    fn check(&self, credentials: &Credentials<'_>) -> Outcome {
        let Some(name) = credentials.username else { return Outcome::NotMine };
        let known = self.users.get(name);
        let is_right = known.is_some_and(|known| known.hash.verifies(credentials.password));
        // A user whose hash is cheap takes as long as one whose hash is dear.
        let is_dear = |known: &Known| self.decoy.as_ref().is_some_and(|decoy| known.hash.cost() == decoy.cost());
        if let Some(decoy) = self.decoy.as_ref().filter(|_| !known.is_some_and(is_dear)) {
            std::hint::black_box(decoy.verifies(credentials.password));
        }
        match known {
            None => Outcome::NotMine,
            Some(_) if !is_right => Outcome::Refuse(format!("the password of {name:?} is wrong")),
            Some(known) => {
                let digest = self.digest(name, credentials.password);
                self.remembered.insert(digest, Arc::clone(&known.identity), self.remember, Instant::now());
                Outcome::Accept(Arc::clone(&known.identity))
            }
        }
    }

    fn users(&self) -> Option<BTreeMap<ByteString, Vec<ByteString>>> {
        Some(self.users.iter().map(|(name, known)| (name.clone(), known.identity.groups.clone())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::hash::ARGON2_COMPUTED;
    use crate::identity::testing::{Directory, question};

    /// argon2id of `password`, in 8 KiB.
    const DEAR: &str = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$";

    #[test]
    fn every_name_costs_the_same() {
        let directory = Directory::new();
        let hash = |byte| {
            format!("{DEAR}{}", base64::Engine::encode(&base64::engine::general_purpose::STANDARD_NO_PAD, [byte; 32]))
        };
        let cheap = format!("$6$c2FsdA==${}==", "A".repeat(86));
        let text = format!("dear:{}\nalso:{}\ncheap:{cheap}\n", hash(1), hash(2));
        let users = Users::load(&directory.file("users", &text)).unwrap();
        let passwords = Passwords::new(&[("users".into(), users)], Duration::ZERO).unwrap();
        for name in ["dear", "also", "cheap", "nobody", ""] {
            let before = ARGON2_COMPUTED.get();
            let verify = question(Some(name), Some("password"));
            assert!(!matches!(passwords.check(&Credentials::of(&verify).unwrap()), Outcome::Accept(_)));
            assert_eq!(ARGON2_COMPUTED.get() - before, 1, "{name:?}");
        }
    }
}
