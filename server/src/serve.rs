//! From the configuration to a running broker, and to its orderly end.

use crate::admin::{self, Admin, Gateway, Tally, Token};
use crate::banner;
use crate::config::{Config, ConfigError, Durability, Listen, Preset, sections::Log};
use crate::console;
use crate::drain::{Drain, Signals};
use crate::events::{self, Presence};
use crate::host::{Keeping, ShardHost};
use crate::identity::{Identities, late};
use crate::lan::{self, Lan, LanError};
use crate::listening;
use crate::log;
use crate::oscore::Keeper;
use crate::protocols::{Makings, PROTOCOLS};
use crate::reload::{Parts, Prepared, Reloader};
use crate::storage::{Storage, Watch};
use crate::sys;
use crate::systemd::Manager;
use crate::tls::{self, TlsStores};
use crate::why::Why;
use althing_coap::oscore::Credentials;
use althing_core::Entropy;
use althing_core::authorisation::Policy;
use althing_core::broker::Broker;
use althing_net::{Address, Clock, Shard};
use althing_store::{Failure, Memory, OpenError};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::mpsc::Receiver;

/// What the command line says.
#[derive(Clone, Debug, Default)]
pub struct ServeOptions {
    /// The configuration file.
    pub config: Option<PathBuf>,
    /// Where what must outlive the process is kept; wins over `server.data`.
    pub data: Option<PathBuf>,
    /// Added to every default port, so that several brokers share a machine.
    pub port_offset: u16,
    /// `KEY=VALUE`, each; they win over the environment, which wins over the file.
    pub set: Vec<String>,
    /// Let other machines in, the safe way.
    pub lan: bool,
    /// Where the console's files are read from instead of those that are built in; wins over `server.console_dir`.
    pub console_dir: Option<PathBuf>,
}

/// Why there is no broker.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The configuration has to be corrected.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Files that the configuration names have to be corrected: everything that is wrong, a sentence each.
    #[error("{}", .0.join("\n"))]
    Prepare(Vec<String>),
    /// Other machines cannot be let in.
    #[error(transparent)]
    Lan(#[from] LanError),
    /// The address is not to be had: another program has it, or it is not ours to take.
    #[error(
        "cannot listen on {address} for {listener}: {error}; choose another with --set {}=… or --port-offset N",
        bind_key(listener)
    )]
    Listen {
        /// Which listener wanted it.
        listener: &'static str,
        /// Where.
        address: Address,
        /// What the system says.
        error: io::Error,
    },
    /// What is kept cannot be used as it is; nothing was changed.
    #[error("{}", cannot_open(directory, error))]
    Open {
        /// The data directory.
        directory: PathBuf,
        /// Why.
        error: OpenError,
    },
    /// The store has failed: nothing can be promised any more.
    #[error(
        "THE STORE HAS FAILED: {0}. What was acknowledged was on disk; what was not is lost. Look after the disk, then start again"
    )]
    Store(Failure),
    /// The log has nowhere to go.
    #[error(
        "cannot write the log to {file}: {error}; choose another place with --set log.file=…, or leave it out for standard error"
    )]
    Log {
        /// Where it was to go.
        file: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The system gives us no event queue or no signals.
    #[error("the system refuses: {0}")]
    System(#[from] io::Error),
}

impl ServeError {
    pub(crate) fn open(directory: &Path, error: OpenError) -> Self {
        Self::Open { directory: directory.to_owned(), error }
    }

    fn log(log: &Log, error: io::Error) -> Self {
        Self::Log { file: log.file.clone().unwrap_or_default(), error }
    }

    /// The exit code of the process: 2 for what the user wrote, 1 for what the system did; for the store those of
    /// `sysexits.h`: 65 for data that cannot be read, 74 for a disk that fails, 75 for what may be different soon.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Prepare(_) => 2,
            Self::Listen { .. } | Self::Log { .. } | Self::Lan(_) | Self::System(_) => 1,
            Self::Open { error: OpenError::InUse { .. }, .. } => 75,
            Self::Open { error: OpenError::Newer { .. } | OpenError::Corrupt { .. }, .. } => 65,
            Self::Open { error: OpenError::Io { error, .. }, .. } if !is_of_the_disk(error) => 1,
            Self::Open { error: OpenError::Io { .. }, .. } | Self::Store(_) => 74,
        }
    }
}

/// The key that says where a listener listens.
fn bind_key(listener: &str) -> String {
    let language = |name: &str| PROTOCOLS.iter().any(|protocol| protocol.row.name == name);
    match listener.strip_suffix("-tls") {
        Some(name) if language(name) => format!("{name}.tls_bind"),
        _ if language(listener) => format!("{listener}.bind"),
        _ if Preset::of_listener(listener).is_some() => "http.presets".into(),
        _ => format!("listeners.{listener}.bind"),
    }
}

fn cannot_open(directory: &Path, error: &OpenError) -> String {
    let directory = directory.display();
    match error {
        OpenError::InUse { .. } => format!(
            "{directory} is in use by another process: stop that one, or give this one a directory of its own with --data DIR"
        ),
        OpenError::Newer { .. } => {
            format!("{error}: start the newer version on {directory}, or choose another directory with --data DIR")
        }
        OpenError::Corrupt { .. } => {
            format!(
                "{error}. Nothing was changed; `althing store check {directory}` shows all of it and what can be done"
            )
        }
        OpenError::Io { .. } => format!(
            "cannot use {directory}: {error}; choose another directory with --data DIR, or keep nothing with \
             --set store.durability=memory"
        ),
    }
}

/// Whether the disk itself fails. Names, rights and room can be mended from here.
fn is_of_the_disk(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    !matches!(
        error.kind(),
        NotFound | PermissionDenied | AlreadyExists | NotADirectory | ReadOnlyFilesystem | StorageFull | QuotaExceeded
    )
}

/// Runs the broker until it is told to stop (SIGTERM or SIGINT); how it ends then, [`Drain`] says.
///
/// # Errors
/// When it cannot start.
pub fn serve(options: &ServeOptions) -> Result<(), ServeError> {
    let lan = if options.lan { Some(lan::prepare(&Config::read(options)?)?) } else { None };
    let config = Config::load(options)?;
    log::start(&config.log).map_err(|error| ServeError::log(&config.log, error))?;
    let Prepared { config, policy, identities, tls, oscore } = Prepared::read(config).map_err(ServeError::Prepare)?;
    raise_descriptor_limit();
    let identities = Identities::start(&config.identity, identities)?;
    let stores = Arc::new(TlsStores::default());
    stores.apply(tls);
    let limits = Arc::new(config.limits.clone());
    let policy = Arc::new(policy);
    let entropy = Entropy::new(RandomState::new().hash_one(std::process::id()));
    let broker = Broker::new(0, 1, Arc::clone(&limits), Arc::clone(&policy), entropy);
    let clock = Clock::default();
    let (tally, why) = (Arc::<Tally>::default(), Why::default());
    let (late, verdicts) = late::line();
    let (presences, events) = events::line();
    let asked = (Arc::clone(&identities), late);
    let host = |keeping| Box::new(ShardHost::new(keeping, asked, Arc::clone(&tally), why.clone(), presences));
    let shard = |keeping| Shard::new(0, clock, broker, limits, host(keeping));
    let config = Arc::new(config);
    let running = Running { options: options.clone(), policy, stores, oscore, events, verdicts };
    if config.store.durability == Durability::Memory {
        let shard = shard(Keeping::Memory(Memory::default()));
        let (token, text) = Token::random()?;
        let admin = Admin::new(shard.handle(), config, None, identities, (tally, why), token);
        return althing_net::run(shard, running.run(admin, Secrets { token: Some(text), lan }))?;
    }
    let opening = Storage::open(&config, clock)?;
    let mut shard = shard(Keeping::Disk(opening.shard_end()));
    let storage = opening.restore(&config.server.data, &mut shard)?;
    let (token, text) = Token::of(&config.server.data)?;
    let admin = Admin::new(shard.handle(), config, Some(storage.watch()), identities, (tally, why), token);
    let result = althing_net::run(shard, running.run(admin, Secrets { token: text, lan }))?;
    result.and(storage.close())
}

/// What is shown at the start and never again.
struct Secrets {
    /// The administrators' token, when it was made just now.
    token: Option<String>,
    /// What other machines need.
    lan: Option<Lan>,
}

/// What the broker runs with, on the shard's thread.
struct Running {
    options: ServeOptions,
    policy: Arc<Policy>,
    stores: Arc<TlsStores>,
    oscore: Vec<Credentials>,
    events: Receiver<Presence>,
    verdicts: late::Receiver,
}

impl Running {
    async fn run(self, mut admin: Admin, secrets: Secrets) -> Result<(), ServeError> {
        let Self { options, policy, stores, oscore, events, verdicts } = self;
        admin.tls = stores;
        tokio::spawn(verdicts.deliver());
        let mut signals = Signals::new()?;
        let (config, store) = (Arc::clone(&admin.config), admin.store.clone());
        let (gateway, jobs) = Gateway::new();
        // The data directory is ours by now, if anything is kept there.
        let oscore = Keeper::start(&config.server.data, oscore)?;
        let makings = Makings::new(&config, &gateway, Arc::clone(&oscore.contexts));
        let (listening, accepting) = listening::listen(&makings, &admin.tls)?;
        let for_admin = admin::Bound::new(&config)?;
        let console = console::address(&listening).filter(|_| config.admin.enabled);
        let console = console.map(|place| Ok::<_, io::Error>(console::with_code(&place, &admin.codes.issue()?)));
        greet(&config, &listening, &for_admin.addresses(), console.transpose()?, &secrets);
        let manager = Manager::from_environment();
        let (identities, tls) = (Arc::clone(&admin.identities), Arc::clone(&admin.tls));
        let parts = Parts { identities, tls, oscore, manager };
        let (reloader, reload) = Reloader::new(options, Arc::clone(&config), &policy, parts)?;
        admin.reload = Some(reload);
        admin.listeners.clone_from(&listening);
        let admin = Arc::new(admin);
        let _serving = for_admin.serve(Arc::clone(&admin), jobs)?;
        for Listen { name, address, .. } in &listening {
            tracing::info!("{name} listens on {address}");
        }
        let expiry = tokio::spawn(tls::warn_of_expiry(Arc::clone(&admin.tls)));
        let mut failed = tokio::spawn(failure_of(store.clone()));
        let sys = tokio::spawn(sys::keep_up_to_date(config.server.sys_interval_s, config.store.durability, store));
        tokio::spawn(events::publish(events));
        tokio::spawn(log::reopen_when_asked()?);
        tokio::spawn(manager.watchdog());
        tokio::spawn(reloader.attend(listening.len()));
        manager.ready(listening.len());
        let asked = tokio::select! {
            asked = signals.next() => asked,
            Ok(failure) = &mut failed => return Err(ServeError::Store(failure)),
        };
        admin.stop_being_ready();
        let drain = Drain::new(asked, &config);
        manager.stopping(drain.deadline());
        tracing::info!("{}: nobody is let in any more", asked.name());
        sys.abort();
        expiry.abort();
        for task in accepting {
            task.abort();
        }
        tokio::select! {
            () = drain.run() => {}
            Ok(failure) = &mut failed => return Err(ServeError::Store(failure)),
            asked = signals.next() => tracing::warn!("{} again: leaving at once", asked.name()),
        }
        Ok(())
    }
}

/// Ends when the store fails. One that is in memory does not.
async fn failure_of(store: Option<Watch>) -> Failure {
    match store {
        Some(watch) => Storage::attend(watch).await,
        None => std::future::pending().await,
    }
}

fn greet(config: &Config, listening: &[Listen], for_admin: &[Address], console: Option<String>, secrets: &Secrets) {
    let program = std::env::args().next().unwrap_or_else(|| "althing".into());
    let mut text = banner::text(listening, config);
    text.push_str(&banner::for_admin(for_admin, listening, secrets.token.as_deref()));
    text.push_str(&console.map(|url| banner::for_console(&url)).unwrap_or_default());
    text.push_str(&banner::first_steps(&program, listening));
    if let Some(lan) = &secrets.lan {
        text.push_str(&lan.text(&program, listening));
    }
    // Whoever closes our standard output does not want to be greeted.
    let _ = io::stdout().lock().write_all(text.as_bytes());
}

/// Every connection is a descriptor; the soft limit is often 1,024 and ours to raise.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum || limit.maximum.is_none() {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!("at most {:?} connections: the limit cannot be raised: {error}", limit.current);
        }
    }
}
