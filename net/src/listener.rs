//! Listening sockets and the loop that accepts from them.

use crate::address::Address;
use crate::local;
use crate::opening;
use crate::proxy::ProxyTrust;
use crate::tls::TlsAcceptor;
use crate::transport::{Socket, Stream};
use crate::visitor::VisitorFactory;
use althing_core::link::Entrance;
use althing_core::{Adaptor, Link};
use bytes::BytesMut;
use socket2::{Domain, Protocol, SockRef, TcpKeepalive, Type};
use std::fs::File;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};

/// Makes the adaptor for a new connection.
pub type AdaptorFactory = Arc<dyn Fn(&Link) -> Box<dyn Adaptor> + Send + Sync>;

/// Who serves those that come in.
#[derive(Clone)]
pub enum Welcome {
    /// An adaptor each.
    Adaptor(AdaptorFactory),
    /// A task each, that may hand the connection over to an adaptor later.
    Visitor(VisitorFactory),
}

/// What a connection has to get through before there is an adaptor for it.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    /// A proxy stands before the listener, and says first whom it speaks for.
    pub proxy: Option<Arc<ProxyTrust>>,
    /// TLS is spoken.
    pub tls: Option<Arc<TlsAcceptor>>,
}

/// A socket that listens.
#[derive(Debug)]
pub struct Listener {
    socket: ListenerSocket,
    address: Address,
}

#[derive(Debug)]
enum ListenerSocket {
    Tcp(TcpListener),
    Unix { listener: UnixListener, _file: SocketFile },
}

/// Connections that wait to be accepted; the kernel may allow fewer (`net.core.somaxconn`).
const BACKLOG: i32 = 4_096;

/// A peer that vanished without a word is found after about two minutes.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 6;

impl Listener {
    /// Starts to listen; must be called inside [`run`](crate::run).
    ///
    /// # Errors
    /// What the system says, most often that the address is in use.
    pub fn bind(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(wanted) => {
                let listener = bind_tcp(*wanted)?;
                let address = Address::Tcp(listener.local_addr()?);
                Ok(Self { socket: ListenerSocket::Tcp(listener), address })
            }
            Address::Unix(path) => {
                remove_stale(path)?;
                let listener = UnixListener::bind(path)?;
                let socket = ListenerSocket::Unix { listener, _file: SocketFile(path.clone()) };
                Ok(Self { socket, address: address.clone() })
            }
        }
    }

    /// The address, with the port that was chosen where 0 was asked for.
    pub fn address(&self) -> &Address {
        &self.address
    }

    async fn accept(&self) -> io::Result<(Socket, Option<SocketAddr>)> {
        match &self.socket {
            ListenerSocket::Tcp(listener) => {
                let (stream, mut remote) = listener.accept().await?;
                // On a socket for both, addresses of IPv4 come in the dress of IPv6.
                remote.set_ip(remote.ip().to_canonical());
                Ok((Socket::Tcp(stream), Some(remote)))
            }
            ListenerSocket::Unix { listener, .. } => {
                let (stream, _) = listener.accept().await?;
                Ok((Socket::Unix(stream), None))
            }
        }
    }
}

fn bind_tcp(mut address: SocketAddr) -> io::Result<TcpListener> {
    let stream = |address| socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP));
    let everywhere = address.is_ipv6() && address.ip().is_unspecified();
    let socket = match stream(address) {
        // A machine without IPv6 is everywhere on IPv4.
        Err(_) if everywhere => {
            address = (Ipv4Addr::UNSPECIFIED, address.port()).into();
            stream(address)?
        }
        socket => socket?,
    };
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // Accepted sockets inherit both, which saves two calls a connection.
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL);
    SockRef::from(&socket).set_tcp_keepalive(&keepalive.with_retries(KEEPALIVE_PROBES))?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// A socket file that nobody listens on is left over from a process that was killed.
fn remove_stale(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    let is_refused = || {
        std::os::unix::net::UnixStream::connect(path)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    };
    if is_socket && is_refused() { std::fs::remove_file(path) } else { Ok(()) }
}

/// Removes the file when the listener goes.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Nothing can be done about a failure, and the next start removes what is stale.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Accepts until it is dropped.
pub(crate) async fn accept_all(listener: Listener, gate: Gate, entrance: Arc<Entrance>, welcome: Welcome) {
    const PAUSE: Duration = Duration::from_millis(100);
    let (name, mut reserve) = (entrance.name, Reserve::open());
    loop {
        match listener.accept().await {
            Ok((socket, remote)) => {
                let link = Link { remote, entrance: Arc::clone(&entrance), ..Link::default() };
                if gate.proxy.is_none() && gate.tls.is_none() {
                    local::with(|shard| {
                        if let Some(admitted) = shard.admit(&link) {
                            shard.welcome(Stream::Plain(socket), link, admitted, BytesMut::new(), &welcome);
                        }
                    });
                } else {
                    opening::open(socket, link, gate.clone(), welcome.clone());
                }
            }
            Err(error) if is_exhausted(&error) => {
                let why =
                    format!("no file descriptor is free ({error}); raise `ulimit -n` or lower limits.connections_max");
                local::with(|shard| shard.turned_away(name, why));
                if !reserve.turn_one_away(&listener).await {
                    tokio::time::sleep(PAUSE).await;
                }
            }
            // The peer was gone before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                local::with(|shard| shard.turned_away(name, format!("a connection could not be accepted: {error}")));
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn is_exhausted(error: &io::Error) -> bool {
    // ENFILE and EMFILE have these numbers on every Unix.
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    matches!(error.raw_os_error(), Some(ENFILE | EMFILE))
}

/// A descriptor kept for the moment when there is no other: with it a waiting peer can be accepted and
/// closed at once, instead of hanging in the backlog while the loop spins.
struct Reserve(Option<File>);

impl Reserve {
    fn open() -> Self {
        Self(File::open("/dev/null").ok())
    }

    /// Whether it worked; if not, somebody else took the descriptor.
    async fn turn_one_away(&mut self, listener: &Listener) -> bool {
        self.0 = None;
        let mut accept = pin!(listener.accept());
        // Polled once: the next peer must not be turned away only because this one gave up.
        let accepted = std::future::poll_fn(|cx| Poll::Ready(accept.as_mut().poll(cx))).await;
        let worked = !matches!(&accepted, Poll::Ready(Err(_)));
        drop(accepted);
        *self = Self::open();
        worked && self.0.is_some()
    }
}
