//! Reloading: everything is read again and every part prepared; only when all of it is fine does it take over, in one step.
//! When anything is wrong, everything stays as it was.

mod watch;

use crate::authorisation;
use crate::config::{self, Change, Config, changes};
use crate::identity::{self, Identities};
use crate::listening;
use crate::log;
use crate::oscore;
use crate::serve::ServeOptions;
use crate::systemd::Manager;
use crate::tls::{self, TlsStores};
use althing_coap::oscore::Credentials;
use althing_core::authorisation::{Policy, Rule};
use althing_net::local;
use bytestring::ByteString;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use watch::Watch;

/// Asks for a reload, from any thread.
#[derive(Clone, Debug)]
pub struct Reload {
    requests: mpsc::UnboundedSender<oneshot::Sender<Outcome>>,
}

/// What has changed, or everything that is wrong; a sentence each.
pub type Outcome = Result<Vec<String>, Vec<String>>;

impl Reload {
    /// Reloads everything.
    ///
    /// # Errors
    /// Everything that is wrong; nothing has changed then.
    pub async fn reload(&self) -> Outcome {
        let (reply, outcome) = oneshot::channel();
        let is_stopping = || Err(vec!["the broker is stopping".to_owned()]);
        if self.requests.send(reply).is_err() {
            return is_stopping();
        }
        outcome.await.unwrap_or_else(|_| is_stopping())
    }
}

/// Everything that is read when the broker starts, and again while it runs. It was found to be right, and nothing holds yet.
#[derive(Debug)]
pub struct Prepared {
    /// What was configured.
    pub config: Config,
    /// Who may do what.
    pub policy: Policy,
    /// Who may come in.
    pub identities: identity::Prepared,
    /// What TLS listeners show and accept.
    pub tls: tls::Prepared,
    /// With whom CoAP's messages are protected.
    pub oscore: Vec<Credentials>,
}

/// What outlives a reload, and is told of it.
#[derive(Debug)]
pub struct Parts {
    /// Who may come in.
    pub identities: Arc<Identities>,
    /// What TLS listeners show and accept.
    pub tls: Arc<TlsStores>,
    /// With whom CoAP's messages are protected.
    pub oscore: Arc<oscore::Keeper>,
    /// The service manager.
    pub manager: Manager,
}

impl Prepared {
    /// Reads every file that `config` names.
    ///
    /// # Errors
    /// Everything that is wrong, a sentence each.
    pub fn read(config: Config) -> Result<Self, Vec<String>> {
        let policy = authorisation::policy(&config).map_err(|error| error.to_string());
        let identities = Identities::prepare(&config.identity, &config.server.data);
        let listens = config.listens().map_err(|error| error.to_string());
        let tls = listens.and_then(|listens| tls::prepare(&listens).map_err(|error| error.to_string()));
        let oscore = config.coap.oscore_file.as_deref().map_or(Ok(Vec::new()), oscore::read);
        match (policy, identities, tls, oscore) {
            (Ok(mut policy), Ok(identities), Ok(tls), Ok(oscore)) => {
                let too_open = config.coap.oscore_file.as_deref().and_then(identity::users::too_open);
                for warning in identities.warnings.iter().chain(&too_open) {
                    tracing::warn!("{warning}");
                }
                policy.users = identities.users();
                if let Some(users) = policy.users.as_mut().filter(|_| config.identity.shared_key.enabled) {
                    let contexts = oscore.iter().map(|context| context.name.as_str());
                    for name in contexts.chain(tls.shared_key_names()) {
                        users.entry(name.into()).or_default();
                    }
                }
                Ok(Self { config, policy, identities, tls, oscore })
            }
            (policy, identities, tls, oscore) => {
                Err([policy.err(), identities.err(), tls.err(), oscore.err()].into_iter().flatten().collect())
            }
        }
    }

    /// Reads the configuration again, and what it names. What only a restart changes stays as in `running`; it is among the
    /// changes all the same.
    fn read_again(options: &ServeOptions, running: &Config) -> Result<(Self, Vec<Change>), Vec<String>> {
        let wrong = |error: config::ConfigError| vec![error.to_string()];
        let mut config = Config::load(options).map_err(wrong)?;
        let changes = changes(running, &config);
        config::keys::keep_until_restart(&mut config, running);
        config.check().map_err(wrong)?;
        Ok((Self::read(config)?, changes))
    }
}

/// How often files are looked at. Two looks have to agree, so a change takes over within a second.
const LOOK: Duration = Duration::from_millis(500);

/// What holds now, and what takes over when something else does.
#[derive(Debug)]
pub struct Reloader {
    options: ServeOptions,
    config: Arc<Config>,
    rules: Vec<Rule>,
    users: Option<UsersByName>,
    requests: mpsc::UnboundedReceiver<oneshot::Sender<Outcome>>,
    hangup: Signal,
    watch: Watch,
    parts: Parts,
}

/// Why everything is read again.
enum Cause {
    Signal,
    Request(oneshot::Sender<Outcome>),
    Files(Vec<String>),
}

impl Reloader {
    /// Begins with what holds: `prepared` has taken over.
    ///
    /// # Errors
    /// When the system gives us no signals.
    pub fn new(
        options: ServeOptions,
        config: Arc<Config>,
        policy: &Policy,
        parts: Parts,
    ) -> io::Result<(Self, Reload)> {
        let (requests, receiver) = mpsc::unbounded_channel();
        let watch = Watch::new(files(&options, &config), LOOK);
        let hangup = signal(SignalKind::hangup())?;
        let (rules, users) = (policy.rules.clone(), policy.users.clone());
        Ok((Self { options, config, rules, users, requests: receiver, hangup, watch, parts }, Reload { requests }))
    }

    /// Reloads at SIGHUP, when asked to, and when a file has changed; on the shard's thread.
    pub async fn attend(mut self, listeners: usize) {
        while let Some(cause) = self.cause().await {
            self.parts.manager.reloading();
            let outcome = self.reload().await;
            self.parts.manager.ready(listeners);
            cause.tell(&outcome);
            if let Cause::Request(reply) = cause {
                // Whoever has asked may not want to know any more.
                let _ = reply.send(outcome);
            }
        }
    }

    async fn cause(&mut self) -> Option<Cause> {
        tokio::select! {
            hangup = self.hangup.recv() => hangup.map(|()| Cause::Signal),
            request = self.requests.recv() => request.map(Cause::Request),
            files = self.watch.changed() => Some(Cause::Files(files)),
        }
    }

    /// Files are read on another thread: they may be long, or far away.
    async fn reload(&mut self) -> Outcome {
        self.watch.look().await;
        let (options, running) = (self.options.clone(), Arc::clone(&self.config));
        let read = tokio::task::spawn_blocking(move || Prepared::read_again(&options, &running)).await;
        let (prepared, changes) = read.map_err(|error| vec![error.to_string()])??;
        Ok(self.apply(prepared, &changes))
    }

    /// Everything takes over. Nothing here can fail, and nothing else happens meanwhile.
    fn apply(&mut self, prepared: Prepared, changes: &[Change]) -> Vec<String> {
        let Prepared { config, policy, identities, tls, oscore } = prepared;
        let mut told: Vec<String> = changes.iter().map(ToString::to_string).collect();
        told.extend(rule_changes(&self.rules, &policy.rules));
        self.rules.clone_from(&policy.rules);
        told.extend(user_changes(self.users.as_ref(), policy.users.as_ref()));
        self.users.clone_from(&policy.users);
        self.parts.identities.apply(identities);
        let keeper = Arc::clone(&self.parts.oscore);
        // It waits for the disk; until it is done the contexts are those of before.
        tokio::task::spawn_blocking(move || keeper.replace(oscore));
        local::set_policy(Arc::new(policy));
        local::set_limits(Arc::new(config.limits.clone()));
        config.listens().unwrap_or_default().iter().for_each(listening::set_limits);
        told.extend(self.parts.tls.apply(tls).into_iter().map(|listener| format!("TLS of {listener}: read again")));
        // Somebody may have set another one at run time.
        if config.log.level != self.config.log.level {
            log::set_level(config.log.level);
        }
        self.watch.watch(files(&self.options, &config));
        self.config = Arc::new(config);
        told
    }
}

impl Cause {
    fn tell(&self, outcome: &Outcome) {
        let cause = match self {
            Self::Signal => "SIGHUP".to_owned(),
            Self::Request(_) => "asked to reload".to_owned(),
            Self::Files(files) => format!("{} changed", files.join(", ")),
        };
        match outcome {
            Ok(changes) if changes.is_empty() => tracing::info!("{cause}: everything is as it was"),
            Ok(changes) => {
                tracing::info!("{cause}: reloaded");
                changes.iter().for_each(|change| tracing::info!("  {change}"));
            }
            Err(mistakes) => {
                tracing::error!("{cause}: everything stays as it was");
                mistakes.iter().for_each(|mistake| tracing::error!("  {mistake}"));
            }
        }
    }
}

/// Everything that is read again, whether it is there or not.
fn files(options: &ServeOptions, config: &Config) -> Vec<PathBuf> {
    let mut files = config::keys::files(config);
    files.extend(options.config.clone());
    files.push(authorisation::rules_path(config));
    files.push(authorisation::bans::path(config));
    files.extend(Identities::files(&config.identity, &config.server.data));
    files.sort();
    files.dedup();
    files
}

/// More changes of rules than this are only counted.
const RULE_CHANGES_TOLD_MAX: usize = 20;

/// Everyone who can log in, with their groups, where that can be said.
type UsersByName = BTreeMap<ByteString, Vec<ByteString>>;

/// Who may log in now and could not before, and the other way round.
fn user_changes(old: Option<&UsersByName>, new: Option<&UsersByName>) -> Option<String> {
    let (old, new) = old.zip(new)?;
    let come = new.keys().filter(|name| !old.contains_key(*name)).map(|name| format!("+{name}"));
    let gone = old.keys().filter(|name| !new.contains_key(*name)).map(|name| format!("-{name}"));
    let moved = new.iter().filter(|(name, groups)| old.get(*name).is_some_and(|before| before != *groups));
    let all: Vec<String> = come.chain(gone).chain(moved.map(|(name, _)| format!("groups of {name}"))).collect();
    match all.len() {
        0 => None,
        1..=RULE_CHANGES_TOLD_MAX => Some(format!("users: {}", all.join(", "))),
        count => Some(format!("users: {count} have changed")),
    }
}

/// Which rules have come and gone. A rule that only stands in another line is the same.
fn rule_changes(old: &[Rule], new: &[Rule]) -> Vec<String> {
    let mut counts: BTreeMap<&str, (i64, &Rule)> = BTreeMap::new();
    for (rules, by) in [(old, -1), (new, 1)] {
        for rule in rules {
            counts.entry(text_of(rule)).or_insert((0, rule)).0 += by;
        }
    }
    let mut told: Vec<String> = counts
        .values()
        .filter(|(count, _)| *count != 0)
        .map(|(count, rule)| format!("{} rule {}", if *count > 0 { "new" } else { "no more" }, rule.source))
        .collect();
    let moved = || old.iter().map(text_of).ne(new.iter().map(text_of));
    if told.is_empty() && moved() {
        told.push("the rules are asked in another order".into());
    }
    if told.len() > RULE_CHANGES_TOLD_MAX {
        let more = told.split_off(RULE_CHANGES_TOLD_MAX).len();
        told.push(format!("and {more} more rules"));
    }
    told
}

/// What a rule says, without its place.
fn text_of(rule: &Rule) -> &str {
    rule.source.split_once(": ").map_or(&rule.source[..], |(_, text)| text)
}
