//! HTTP for administrators, on a thread of its own: health, metrics and `/api/v1`.
//!
//! The broker's shard never waits for it. What a request wants to know or to change is a closure that the shard's thread
//! runs between two turns ([`Handle`]), in slices when it is long.
//!
//! - `connections`: listening, and what one connection may take; `gateway`: the way here from the HTTP listeners; `gate`:
//!   who may come in.
//! - `token`, `logins`, `codes`: how somebody proves to be an administrator.
//! - `health`, `metrics`: what machines ask; `api`: what people ask, with its OpenAPI document; `feed`: what pages are told.
//! - `seen`: one message looked for in every language.
//! - `paging`: long lists; `problem`: errors.

mod api;
mod codes;
mod connections;
mod feed;
mod gate;
mod gateway;
mod health;
mod logins;
mod metrics;
mod paging;
mod problem;
mod seen;
mod tally;
#[cfg(test)]
mod tests;
mod token;

pub use gateway::{Gateway, Jobs};
pub use tally::Tally;
pub use token::Token;

use crate::config::{Config, Durability, Listen};
use crate::console::Console;
use crate::identity::Identities;
use crate::reload::Reload;
use crate::serve::ServeError;
use crate::storage::Watch;
use crate::tls::TlsStores;
use crate::why::Why;
use althing_net::{Address, Handle};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use codes::Codes;
use connections::Listening;
use feed::Feeds;
use logins::Logins;
use problem::Problem;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::SystemTime;
use tokio::sync::{Semaphore, oneshot};

/// The file of the socket in the data directory; whoever may open it is an administrator.
pub const SOCKET_FILE: &str = "admin.sock";

/// What the handlers work with.
#[derive(Debug)]
pub struct Admin {
    /// The running broker.
    pub shard: Handle,
    /// What it was started with.
    pub config: Arc<Config>,
    /// The store; `None` when everything lives in memory.
    pub store: Option<Watch>,
    /// Where the languages listen.
    pub listeners: Vec<Listen>,
    /// The certificates of the listeners.
    pub tls: Arc<TlsStores>,
    /// Has everything read again.
    pub reload: Option<Reload>,
    /// What the host has counted.
    pub tally: Arc<Tally>,
    /// Who may come in.
    pub identities: Arc<Identities>,
    /// What went wrong lately, and for whom.
    pub why: Why,
    /// Proves an administrator.
    pub token: Token,
    /// Those who have logged in.
    pub logins: Logins,
    /// What lets a browser in once.
    pub codes: Codes,
    /// The pages that are open.
    pub feeds: Feeds,
    /// The page for people.
    pub console: Console,
    /// When the broker started.
    pub started: SystemTime,
    /// One at a time may look where a message comes out.
    pub seen: Semaphore,
    is_stopping: AtomicBool,
}

impl Admin {
    /// The broker behind `shard`, as it was started.
    pub fn new(
        shard: Handle,
        config: Arc<Config>,
        store: Option<Watch>,
        identities: Arc<Identities>,
        (tally, why): (Arc<Tally>, Why),
        token: Token,
    ) -> Self {
        Self {
            shard,
            console: Console::new(config.server.console_dir.clone()),
            config,
            store,
            listeners: Vec::new(),
            tls: Arc::default(),
            reload: None,
            identities,
            tally,
            why,
            token,
            logins: Logins::default(),
            codes: Codes::default(),
            feeds: Feeds::default(),
            started: SystemTime::now(),
            seen: Semaphore::new(1),
            is_stopping: AtomicBool::new(false),
        }
    }

    /// Reads the configuration and all files that it names again; says what has changed.
    async fn reload(&self) -> Result<Vec<String>, Problem> {
        let Some(reload) = &self.reload else { return Ok(Vec::new()) };
        reload.reload().await.map_err(|mistakes| {
            Problem::conflict(format!("everything goes on as it was, because of mistakes: {}", mistakes.join("; ")))
        })
    }

    /// From now on nobody should be sent here any more: `/readyz` says so.
    pub fn stop_being_ready(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }

    /// Where the socket file is; `None` when no directory may be touched.
    fn socket_path(config: &Config) -> Option<PathBuf> {
        (config.store.durability != Durability::Memory).then(|| config.server.data.join(SOCKET_FILE))
    }
}

/// Listening sockets that nobody serves yet.
#[derive(Debug)]
pub struct Bound {
    listening: Vec<Listening>,
}

impl Bound {
    /// Takes the addresses of the configuration. The socket in the data directory is a convenience: a path that the system
    /// does not take is a line in the log.
    ///
    /// # Errors
    /// When an address is not to be had.
    pub fn new(config: &Config) -> Result<Self, ServeError> {
        let mut listening = Vec::new();
        for address in config.admin.bind.iter().filter(|_| config.admin.enabled) {
            let bound = Listening::bind(address).map_err(|error| ServeError::Listen {
                listener: "admin",
                address: address.clone(),
                error,
            })?;
            listening.push(bound);
        }
        if let Some(path) = Admin::socket_path(config).filter(|_| config.admin.enabled) {
            match Listening::bind_private(&path) {
                Ok(bound) => listening.push(bound),
                Err(error) => tracing::warn!("administrators cannot use {}: {error}", path.display()),
            }
        }
        Ok(Self { listening })
    }

    /// Where it listens.
    pub fn addresses(&self) -> Vec<Address> {
        self.listening.iter().map(Listening::address).collect()
    }

    /// Serves on a thread of its own, until the result is dropped.
    ///
    /// # Errors
    /// When the system has no thread or event queue for us.
    pub fn serve(self, admin: Arc<Admin>, jobs: Jobs) -> io::Result<Serving> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let router = router(&admin);
        let serve = move || {
            runtime.block_on(async move {
                if admin.config.admin.enabled {
                    tokio::spawn(jobs.serve(router.clone()));
                }
                for listening in self.listening {
                    tokio::spawn(listening.serve(router.clone()));
                }
                // Ends when the other side is dropped.
                let _ = stopped.await;
            });
        };
        let thread = thread::Builder::new().name("admin".into()).spawn(serve)?;
        Ok(Serving { stop: Some(stop), thread: Some(thread) })
    }
}

/// The running thread.
#[derive(Debug)]
pub struct Serving {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // It has said on standard error what went wrong, if anything did.
            let _ = thread.join();
        }
    }
}

/// What no route knows is a file of the console, or a path of its page.
async fn page(State(admin): State<Arc<Admin>>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let path = uri.path();
    let file = if path.starts_with("/api/") { None } else { admin.console.answer(&method, path, &headers) };
    file.unwrap_or_else(|| {
        Problem::missing("there is nothing here; /api/v1/openapi.json lists what there is").into_response()
    })
}

/// All routes, behind the gate.
fn router(admin: &Arc<Admin>) -> Router {
    let (api, _) = api::routes().split_for_parts();
    let routes = Router::new().merge(health::routes()).merge(metrics::routes()).merge(api);
    let routes = routes.fallback(page).method_not_allowed_fallback(|| async {
        Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this path takes other methods; see /api/v1/openapi.json")
    });
    routes.layer(axum::middleware::from_fn_with_state(Arc::clone(admin), gate::pass)).with_state(Arc::clone(admin))
}
