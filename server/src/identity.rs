//! Who somebody is: an ordered chain of providers, the same for every language.
//!
//! Whoever gives a password is shown to one provider after the other; each says that it knows who that is, that it is a liar, or
//! that this is none of its business, and the first that has an opinion decides. Whoever names a method of enhanced
//! authentication is asked to prove itself by it. Whoever gives neither is whom the key stands for that it shares with us, or who its
//! certificate says, or nobody, where the entrance lets nobodies in.
//!
//! The event loop never waits: what costs time is done by [`workers`]. What the peer is told is the same for every wrong name or
//! password; the log knows more.

mod callback;
pub mod certificate;
mod chain;
pub mod config;
pub mod hash;
mod jwt;
pub mod late;
mod login;
mod passwords;
mod remembered;
pub mod scram;
mod shared_key;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub mod users;
pub mod workers;

pub use chain::{Chain, Credentials, Outcome, Prepared, Provider, users_file};
pub use config::IdentityConfig;

use althing_core::effects::{Verdict, Verify};
use althing_core::verbs::{Authentication, Refusal};
use althing_core::{Identity, Reason};
use login::Login;
use scram::{Exchange, Mechanism, Step};
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::available_parallelism;
use std::time::Duration;
use workers::{Bounds, Workers};

/// All that is known about who may come in. One for the process; it may be asked from any thread.
#[derive(Debug)]
pub struct Identities {
    chain: RwLock<Arc<Chain>>,
    /// For what keeps a processor busy.
    hashing: Workers<Login>,
    /// For what waits for others.
    calling: Workers<Login>,
    /// Conversations of SCRAM that wait for the peer's next step, by the place of its connection: there are never more than
    /// connections. With the generation of the place, so that nobody goes on with somebody else's.
    exchanges: Mutex<HashMap<(u16, u32), (u16, Exchange)>>,
}

impl Identities {
    /// Starts with this chain. The threads stay as they are for as long as the process lives.
    ///
    /// # Errors
    /// When the system has no thread for us.
    pub fn start(config: &IdentityConfig, prepared: Prepared) -> io::Result<Arc<Self>> {
        const THREADS_MAX: usize = 4;
        let spare = || available_parallelism().map_or(1, |all| (all.get() - 1).clamp(1, THREADS_MAX));
        let bounds = Bounds {
            threads: if config.threads == 0 { spare() } else { config.threads },
            waiting_max: config.waiting_max,
            wait_max: Duration::from_millis(config.waiting_ms_max),
        };
        Ok(Arc::new(Self {
            chain: RwLock::new(Arc::new(prepared.chain)),
            hashing: Workers::start("passwords", bounds)?,
            calling: Workers::start("callback", Bounds { threads: config.http.connections_max.max(1), ..bounds })?,
            exchanges: Mutex::default(),
        }))
    }

    /// Reads all that the configuration names, without changing anything; `data` is the data directory.
    ///
    /// # Errors
    /// One sentence with the first mistake.
    pub fn prepare(config: &IdentityConfig, data: &Path) -> Result<Prepared, String> {
        Chain::prepare(config, data)
    }

    /// From now on these providers are asked.
    pub fn apply(&self, prepared: Prepared) {
        *self.chain.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(prepared.chain);
    }

    /// Everything that [`prepare`](Self::prepare) reads, whether it is there or not: what to watch for changes.
    pub fn files(config: &IdentityConfig, data: &Path) -> Vec<PathBuf> {
        chain::files(config, data)
    }

    /// Checks an identity: at once, or by calling `answer` from another thread later.
    pub fn verify(self: &Arc<Self>, verify: Verify, answer: impl FnOnce(Verdict) + Send + 'static) -> Option<Verdict> {
        let chain = self.chain();
        if let Some(step) = &verify.authentication {
            return self.authenticate(&chain, step.clone(), verify, answer);
        }
        if verify.password.is_none() {
            return Some(chain.without_password(&verify));
        }
        if chain.is_empty() {
            return Some(chain.nobody(&verify, "no identity provider is set up: `althing users add NAME` adds a user"));
        }
        if let Some(outcome) = chain.recall(&verify) {
            return Some(outcome.verdict());
        }
        let login = Login::new(Arc::clone(self), verify, answer);
        self.hashing.submit(login.source(), login);
        None
    }

    /// A step of SCRAM. The last one goes through a lane, so that failures slow the address down.
    fn authenticate(
        self: &Arc<Self>,
        chain: &Chain,
        step: Authentication,
        verify: Verify,
        answer: impl FnOnce(Verdict) + Send + 'static,
    ) -> Option<Verdict> {
        let Some(mechanism) = Mechanism::named(&step.method).filter(|it| chain.scram().speaks(*it)) else {
            let text = format!("the authentication method {:?} is not spoken here", &step.method[..]);
            return Some(Verdict::Refuse { refusal: Refusal::new(Reason::BadAuthenticationMethod, text), why: None });
        };
        let place = (verify.peer.shard, verify.peer.slot);
        let mut exchanges = self.exchanges.lock().unwrap_or_else(PoisonError::into_inner);
        let data = step.data.as_deref().unwrap_or_default();
        if verify.first {
            return Some(match Exchange::begin(chain.scram(), mechanism, data) {
                Ok((exchange, challenge)) => {
                    exchanges.insert(place, (verify.peer.generation, exchange));
                    Verdict::Continue(Some(challenge.into()))
                }
                Err(text) => {
                    let refusal = Refusal::new(Reason::BadCredentials, format!("{}: {text}", mechanism.name()));
                    Verdict::Refuse { refusal, why: None }
                }
            });
        }
        let exchange = exchanges.remove(&place).filter(|(generation, _)| *generation == verify.peer.generation);
        let verdict = match exchange.map(|(_, exchange)| exchange.finish(data)) {
            Some(Step::Proven(identity, data)) => Verdict::Accept { identity, data: Some(data.into()) },
            Some(Step::Failed(why)) => refused(why),
            None => refused("a step of an authentication that has not begun"),
        };
        let login = Login::decided(Arc::clone(self), verify, verdict, answer);
        self.hashing.submit(login.source(), login);
        None
    }

    fn chain(&self) -> Arc<Chain> {
        Arc::clone(&self.chain.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What every peer hears whose name or password is wrong; `why` is for the log.
fn refused(why: impl Into<String>) -> Verdict {
    let refusal = Refusal::new(Reason::BadCredentials, "the user name or the password is wrong");
    Verdict::Refuse { refusal, why: Some(why.into()) }
}

fn accepted(identity: Arc<Identity>) -> Verdict {
    Verdict::Accept { identity, data: None }
}
