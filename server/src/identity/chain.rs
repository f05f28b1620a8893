//! The providers in their order, all read at one moment and replaced together.

use super::callback::Callback;
use super::config::IdentityConfig;
use super::jwt::Tokens;
use super::passwords::Passwords;
use super::scram::Directory;
use super::users::{Users, too_open};
use super::{accepted, certificate, refused, shared_key};
use althing_core::effects::{Verdict, Verify};
use althing_core::verbs::Refusal;
use althing_core::{Identity, Reason};
use bytestring::ByteString;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Somebody who knows users by what they give as user name and password.
pub trait Provider: Send + Sync + std::fmt::Debug {
    /// What is known without any work. Called on the event loop's thread.
    fn recall(&self, _credentials: &Credentials<'_>) -> Option<Outcome> {
        None
    }

    /// Finds out. Takes its time, on a thread of its own.
    fn check(&self, credentials: &Credentials<'_>) -> Outcome;

    /// Whether `check` waits for somebody outside of this process.
    fn calls_out(&self) -> bool {
        false
    }

    /// Everyone it knows with their groups, when it can know.
    fn users(&self) -> Option<BTreeMap<ByteString, Vec<ByteString>>> {
        None
    }
}

/// What a peer gives.
#[derive(Clone, Copy, Debug)]
pub struct Credentials<'a> {
    /// The user name, if any.
    pub username: Option<&'a str>,
    /// The password.
    pub password: &'a [u8],
    /// The rest of the question.
    pub verify: &'a Verify,
}

/// What a provider says of credentials.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It vouches for it.
    Accept(Arc<Identity>),
    /// It is a liar; why, for the log.
    Refuse(String),
    /// It cannot say now; why, for the log. Nobody else is asked: who knows what it would have said.
    Unavailable(String),
    /// That is for others to say.
    NotMine,
}

impl Outcome {
    pub(super) fn verdict(self) -> Verdict {
        match self {
            Self::Accept(identity) => accepted(identity),
            Self::Refuse(why) => refused(why),
            Self::Unavailable(why) => {
                let refusal =
                    Refusal::new(Reason::ServerUnavailable, "who you are cannot be checked now; try again later");
                Verdict::Refuse { refusal, why: Some(why) }
            }
            Self::NotMine => refused("no identity provider knows the user"),
        }
    }
}

/// How far a check has come.
#[derive(Debug)]
pub(super) enum Checked {
    /// To its end.
    Decided(Outcome),
    /// To this provider, which calls out.
    Until(usize),
}

/// A chain that can be put in place, and what should be looked after.
#[derive(Debug)]
pub struct Prepared {
    pub(super) chain: Chain,
    /// One sentence each, for the log.
    pub warnings: Vec<String>,
}

impl Prepared {
    /// Everyone there is with their groups, if that can be known: for [`Policy::users`](althing_core::authorisation::Policy).
    pub fn users(&self) -> Option<BTreeMap<ByteString, Vec<ByteString>>> {
        self.chain.users()
    }
}

/// The providers.
#[derive(Debug, Default)]
pub struct Chain {
    providers: Vec<Box<dyn Provider>>,
    scram: Directory,
    config: IdentityConfig,
}

/// The users file's name in the data directory.
const USERS: &str = "users";

/// The users file that this configuration means.
pub fn users_file(config: &IdentityConfig, data: &Path) -> PathBuf {
    config.password_file.clone().unwrap_or_else(|| data.join(USERS))
}

pub(super) fn files(config: &IdentityConfig, data: &Path) -> Vec<PathBuf> {
    let mut files = vec![users_file(config, data)];
    files.extend(config.mosquitto_password_file.clone());
    files.extend(config.jwt.files().cloned());
    files.extend(config.http.ca_file.clone());
    files
}

impl Chain {
    pub(super) fn prepare(config: &IdentityConfig, data: &Path) -> Result<Prepared, String> {
        let mut warnings = Vec::new();
        let mut files = Vec::new();
        let path = users_file(config, data);
        if config.password_file.is_some() || path.exists() {
            warnings.extend(too_open(&path));
            files.push((path.clone(), Users::load(&path).map_err(|error| error.to_string())?));
        }
        let scram = files.first().map(|(_, users)| Directory::new(users)).unwrap_or_default();
        if let Some(path) = &config.mosquitto_password_file {
            let (users, wrong) = Users::load_of_mosquitto(path).map_err(|error| error.to_string())?;
            warnings.extend(too_open(path).into_iter().chain(wrong));
            files.push((path.clone(), users));
        }
        let mut providers: Vec<Box<dyn Provider>> = Vec::new();
        // Tokens first: they cost less than the hash of a password, and nobody else is asked about them.
        if let Some(tokens) = Tokens::load(&config.jwt)? {
            warnings.extend(config.jwt.secret_file.as_deref().and_then(too_open));
            providers.push(Box::new(tokens));
        }
        if !files.is_empty() {
            let remember = Duration::from_secs(config.remember_s);
            providers.push(Box::new(Passwords::new(&files, remember).map_err(|error| error.to_string())?));
        }
        if let Some(callback) = Callback::new(&config.http)? {
            warnings.extend(Callback::warning(&config.http));
            providers.push(Box::new(callback));
        }
        Ok(Prepared { chain: Self { providers, scram, config: config.clone() }, warnings })
    }

    /// Whether there is nobody to show a password to.
    pub(super) fn is_empty(&self) -> bool {
        self.providers.is_empty()
    }

    pub(super) fn scram(&self) -> &Directory {
        &self.scram
    }

    pub(super) fn recall(&self, verify: &Verify) -> Option<Outcome> {
        let credentials = Credentials::of(verify)?;
        let recalled = self.providers.iter().find_map(|provider| provider.recall(&credentials));
        recalled.filter(|outcome| !matches!(outcome, Outcome::NotMine))
    }

    /// Asks one provider after the other, from this one on; ends before one that calls out, unless that `may_call`.
    pub(super) fn check(&self, verify: &Verify, from: usize, may_call: bool) -> Checked {
        let Some(credentials) = Credentials::of(verify) else { return Checked::Decided(Outcome::NotMine) };
        for (index, provider) in self.providers.iter().enumerate().skip(from) {
            if provider.calls_out() && !may_call {
                return Checked::Until(index);
            }
            match provider.check(&credentials) {
                Outcome::NotMine => {}
                outcome => return Checked::Decided(outcome),
            }
        }
        Checked::Decided(Outcome::NotMine)
    }

    /// Whoever gives no password: a shared key or a certificate speaks for it, or nobody does.
    pub(super) fn without_password(&self, verify: &Verify) -> Verdict {
        if let Some(identity) = shared_key::identity(&self.config.shared_key, &verify.link) {
            return accepted(Arc::new(identity));
        }
        match certificate::identity(&self.config.certificate, &verify.link) {
            Some(Ok(identity)) => accepted(Arc::new(identity)),
            Some(Err(why)) => not_authorised("the client certificate does not say who you are", why),
            None => self.nobody(verify, "it gave no password, and this listener does not let nobodies in"),
        }
    }

    /// Nobody in particular, where the entrance lets it in. A user name that nothing has proven is no name.
    pub(super) fn nobody(&self, verify: &Verify, why: &str) -> Verdict {
        if verify.link.entrance.anonymous {
            return accepted(Arc::default());
        }
        match verify.password {
            Some(_) => refused(why),
            None => not_authorised("say who you are, by a user name and a password for example", why.to_owned()),
        }
    }

    fn users(&self) -> Option<BTreeMap<ByteString, Vec<ByteString>>> {
        // Certificates, like tokens, name whom nobody has listed.
        if self.is_empty() || self.config.certificate.enabled {
            return None;
        }
        let mut all = BTreeMap::new();
        for provider in &self.providers {
            all.extend(provider.users()?);
        }
        Some(all)
    }
}

impl<'a> Credentials<'a> {
    pub(super) fn of(verify: &'a Verify) -> Option<Self> {
        Some(Self { username: verify.username.as_deref(), password: verify.password.as_deref()?, verify })
    }
}

fn not_authorised(text: &'static str, why: String) -> Verdict {
    Verdict::Refuse { refusal: Refusal::new(Reason::NotAuthorised, text), why: Some(why) }
}
