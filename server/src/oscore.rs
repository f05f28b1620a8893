//! OSCORE (RFC 8613): the contexts of the configuration, and their sequence numbers, which no restart may repeat.
//!
//! Numbers are reserved ahead in a file of the data directory, many at a time: what is used is below what the file says. The
//! disk is waited for here, on a thread of its own; who runs out of numbers meanwhile is told to try again.

mod file;
mod numbers;

pub use file::{parse, read};
pub use numbers::Numbers;

use althing_coap::oscore::{Context, Contexts, Credentials};
use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// How many numbers are reserved at once: one write for so many messages, and as many lost at each start, of 2^40.
const STEP: u64 = 10_000;

/// How often a disk that has failed is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// Keeps the contexts and their numbers. One for the process.
#[derive(Debug)]
pub struct Keeper {
    /// What CoAP's listeners use.
    pub contexts: Arc<Contexts>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    numbers: Numbers,
    asked: Sender<Fingerprint>,
    /// Those that could not be given numbers.
    failed: BTreeSet<Fingerprint>,
}

/// What numbers are kept under: a key, whatever it is called.
pub type Fingerprint = [u8; 16];

impl Keeper {
    /// Starts with these contexts, with their numbers in the data directory. Without any there is no file.
    ///
    /// # Errors
    /// When the numbers that were used cannot be known, or the system has no thread for us.
    pub fn start(data: &Path, credentials: Vec<Credentials>) -> io::Result<Arc<Self>> {
        let (asked, asking) = mpsc::channel();
        let state = State { numbers: Numbers::load(data)?, asked, failed: BTreeSet::new() };
        let keeper = Arc::new(Self { contexts: Arc::default(), state: Mutex::new(state) });
        keeper.replace(credentials);
        let for_thread = Arc::clone(&keeper);
        thread::Builder::new().name("oscore".into()).spawn(move || for_thread.attend(&asking))?;
        Ok(keeper)
    }

    /// From now on these contexts are known. Writes to the disk when there are new ones.
    pub fn replace(&self, credentials: Vec<Credentials>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.contexts.all();
        let mut contexts = Vec::new();
        let mut new = Vec::new();
        for credentials in credentials {
            if let Some(same) = known.iter().find(|context| context.credentials == credentials) {
                contexts.push(Arc::clone(same));
                continue;
            }
            // `read` has shown that it can be derived.
            let Ok(context) = Context::derive(credentials) else { continue };
            context.ask(state.asked.clone());
            if state.numbers.used(&context.fingerprint()) > 0 {
                context.forget_received();
            }
            let context = Arc::new(context);
            new.push(Arc::clone(&context));
            contexts.push(context);
        }
        state.reserve(&new);
        self.contexts.replace(contexts);
    }

    /// Reserves more numbers whenever a context asks for them.
    fn attend(&self, asking: &Receiver<Fingerprint>) {
        loop {
            let is_calm = self.state.lock().unwrap_or_else(PoisonError::into_inner).failed.is_empty();
            let first = match is_calm {
                true => asking.recv().map_err(|_| RecvTimeoutError::Disconnected),
                false => asking.recv_timeout(RETRY),
            };
            if first == Err(RecvTimeoutError::Disconnected) {
                return;
            }
            let mut wanting: BTreeSet<Fingerprint> = first.into_iter().chain(asking.try_iter()).collect();
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            wanting.append(&mut state.failed);
            let mut contexts = self.contexts.all();
            contexts.retain(|context| wanting.contains(&context.fingerprint()));
            state.reserve(&contexts);
        }
    }
}

impl State {
    /// Gives each of these contexts more numbers, when the disk has them.
    fn reserve(&mut self, contexts: &[Arc<Context>]) {
        if contexts.is_empty() {
            return;
        }
        let fingerprints: Vec<_> = contexts.iter().map(|context| context.fingerprint()).collect();
        match self.numbers.reserve(&fingerprints, STEP) {
            Ok(firsts) => {
                for (context, first) in contexts.iter().zip(firsts) {
                    context.reserve(first, first + STEP);
                }
            }
            Err(error) => {
                tracing::error!("no numbers can be reserved for OSCORE, so that nothing is sent by it: {error}");
                self.failed.extend(fingerprints);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(name: &str, secret: &'static [u8]) -> Credentials {
        Credentials {
            name: name.into(),
            master_secret: secret.into(),
            master_salt: Default::default(),
            sender_id: Default::default(),
            recipient_id: b"\x01"[..].into(),
            id_context: None,
        }
    }

    #[test]
    fn numbers_are_never_given_twice() {
        let data = tempfile::tempdir().unwrap();
        let numbers = |name| {
            let keeper = Keeper::start(data.path(), vec![credentials(name, b"secret")]).unwrap();
            let context = keeper.contexts.find(b"\x01", None).unwrap();
            (context.numbers().0, context.knows_received())
        };
        assert_eq!(numbers("a"), (0, true));
        assert_eq!(numbers("a"), (STEP, false));
        // It is the key that counts.
        assert_eq!(numbers("b"), (2 * STEP, false));
    }

    #[test]
    fn a_context_that_stays_goes_on_and_one_that_goes_is_revoked() {
        let data = tempfile::tempdir().unwrap();
        let keeper = Keeper::start(data.path(), vec![credentials("a", b"secret")]).unwrap();
        let context = keeper.contexts.find(b"\x01", None).unwrap();
        keeper.replace(vec![credentials("a", b"secret")]);
        assert!(Arc::ptr_eq(&context, &keeper.contexts.find(b"\x01", None).unwrap()));
        keeper.replace(vec![credentials("a", b"another secret")]);
        assert!(context.is_revoked());
        assert_eq!(keeper.contexts.find(b"\x01", None).unwrap().numbers(), (0, STEP));
    }

    #[test]
    fn numbers_that_cannot_be_read_stop_the_start() {
        let data = tempfile::tempdir().unwrap();
        std::fs::write(data.path().join(numbers::FILE), "nonsense\n").unwrap();
        let error = Keeper::start(data.path(), Vec::new()).unwrap_err().to_string();
        assert!(error.contains("master secrets"), "{error}");
    }

    #[test]
    fn without_a_disk_there_are_no_numbers() {
        let data = tempfile::tempdir().unwrap();
        let state =
            State { numbers: Numbers::load(data.path()).unwrap(), asked: mpsc::channel().0, failed: BTreeSet::new() };
        let keeper = Keeper { contexts: Arc::default(), state: Mutex::new(state) };
        // A directory where the file is to be.
        std::fs::create_dir(data.path().join(numbers::FILE)).unwrap();
        keeper.replace(vec![credentials("a", b"secret")]);
        assert!(!keeper.contexts.find(b"\x01", None).unwrap().has_numbers());
        assert_eq!(keeper.state.lock().unwrap().failed.len(), 1);
    }
}
