//! Listening for administrators, and what one connection may take of us.

use althing_net::Address;
use axum::Router;
use axum::extract::Request;
use axum::http::Request as HttpRequest;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::fs::{self, Permissions};
use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// Connections of one listener at once. People have a few, scrapers one each.
const CONNECTIONS_MAX: usize = 64;

/// How long the headers of a request may take, and how long a connection may be idle.
const HEADERS_WITHIN: Duration = if cfg!(test) { Duration::from_millis(500) } else { Duration::from_secs(10) };

/// Who needs longer comes again: nobody keeps a place for ever by reading slowly. Longer than the longest trace.
const LIFETIME: Duration = Duration::from_secs(15 * 60);

/// Header lines of one request, and their bytes.
const HEADERS_MAX: usize = 64;
const HEADER_BYTES_MAX: usize = 32 << 10;

/// How somebody is connected to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// By the socket in the data directory: the rights of the file have let them in.
    Owner,
    /// By TCP from this address, to this one.
    Tcp {
        /// Theirs.
        remote: SocketAddr,
        /// Ours.
        local: SocketAddr,
    },
}

/// A socket that listens.
#[derive(Debug)]
pub enum Listening {
    Tcp(StdTcpListener, SocketAddr),
    Unix(StdUnixListener, SocketFile),
}

impl Listening {
    /// Takes an address of the configuration.
    pub fn bind(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => {
                let listener = StdTcpListener::bind(address)?;
                listener.set_nonblocking(true)?;
                let address = listener.local_addr()?;
                Ok(Self::Tcp(listener, address))
            }
            Address::Unix(path) => Self::bind_private(path),
        }
    }

    /// A socket file that only our own user may open. It is made in the dark: until it is ours alone, nobody can connect.
    pub fn bind_private(path: &Path) -> io::Result<Self> {
        remove_stale(path)?;
        let mut hidden = path.as_os_str().to_owned();
        hidden.push(".new");
        let hidden = PathBuf::from(hidden);
        remove_stale(&hidden)?;
        // The rights are narrowed before the name is known; connecting needs them.
        let listener = StdUnixListener::bind(&hidden)?;
        fs::set_permissions(&hidden, Permissions::from_mode(0o600))?;
        fs::rename(&hidden, path)?;
        listener.set_nonblocking(true)?;
        Ok(Self::Unix(listener, SocketFile(path.to_owned())))
    }

    /// Where.
    pub fn address(&self) -> Address {
        match self {
            Self::Tcp(_, address) => Address::Tcp(*address),
            Self::Unix(_, file) => Address::Unix(file.0.clone()),
        }
    }

    /// Accepts until it is dropped.
    pub async fn serve(self, router: Router) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        match self {
            Self::Tcp(listener, local) => {
                let Ok(listener) = TcpListener::from_std(listener) else { return };
                loop {
                    let accepted = listener.accept().await;
                    let peer = |remote| Peer::Tcp { remote, local };
                    take_in(accepted.map(|(stream, remote)| (stream, peer(remote))), &places, &router).await;
                }
            }
            Self::Unix(listener, _file) => {
                let Ok(listener) = UnixListener::from_std(listener) else { return };
                loop {
                    let accepted = listener.accept().await;
                    take_in(accepted.map(|(stream, _)| (stream, Peer::Owner)), &places, &router).await;
                }
            }
        }
    }
}

/// Serves what was accepted in a task of its own; closes it at once when all places are taken.
async fn take_in<S>(accepted: io::Result<(S, Peer)>, places: &Arc<Semaphore>, router: &Router)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    const PAUSE: Duration = Duration::from_millis(100);
    let Ok((stream, peer)) = accepted else { return sleep(PAUSE).await };
    let Ok(place) = Arc::clone(places).try_acquire_owned() else { return };
    let router = router.clone();
    tokio::spawn(async move {
        let _place = place;
        // A connection that breaks concerns its peer alone.
        let _ = timeout(LIFETIME, serve_one(stream, peer, router)).await;
    });
}

async fn serve_one<S>(stream: S, peer: Peer, router: Router) -> Result<(), hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let routes = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: HttpRequest<Incoming>| {
        request.extensions_mut().insert(peer);
        routes.call(request.map(axum::body::Body::new) as Request)
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

/// A socket file that nobody listens on is left over from a process that was killed.
fn remove_stale(path: &Path) -> io::Result<()> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    let refuses = || StdUnixStream::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    if is_socket && refuses() { fs::remove_file(path) } else { Ok(()) }
}

/// Removes the file when the listener goes.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Nothing can be done about a failure, and the next start removes what is stale.
        let _ = fs::remove_file(&self.0);
    }
}
