//! From the list of listeners to sockets that are served.

use crate::config::Listen;
use crate::protocols::{Makings, Speaker};
use crate::pubsub;
use crate::serve::ServeError;
use crate::tls::TlsStores;
use althing_net::{Address, DoorFactory, DoorSocket, Gate, Listener, ListenerLimits, ProxyTrust, Welcome, local};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// What listens, each with the address that it got.
pub type Listening = Vec<Listen>;

/// A socket that nobody serves yet.
enum Bound {
    Streams(Listener, Welcome),
    Datagrams(DoorSocket, DoorFactory),
}

/// Listens everywhere before anyone is served: a broker that starts by half is hard to understand.
/// `stores` holds what the TLS listeners among them need.
pub fn listen(makings: &Makings<'_>, stores: &TlsStores) -> Result<(Listening, Vec<JoinHandle<()>>), ServeError> {
    pubsub::restore(&makings.coap);
    let mut bound = Vec::new();
    for mut listen in makings.config.listens()? {
        let socket = Bound::new(&listen, makings).map_err(|error| ServeError::Listen {
            listener: listen.name,
            address: listen.address.clone(),
            error,
        })?;
        listen.address = socket.address().clone();
        bound.push((listen, socket));
    }
    let serve = |(listen, socket): (Listen, Bound)| (listen.clone(), socket.serve(&listen, stores));
    let (listening, mut tasks): (Listening, Vec<_>) = bound.into_iter().map(serve).unzip();
    tasks.push(tokio::spawn(pubsub::expire(Arc::clone(&makings.coap))));
    Ok((listening, tasks))
}

impl Bound {
    fn new(listen: &Listen, makings: &Makings<'_>) -> io::Result<Self> {
        Ok(match listen.protocol.speaker {
            Speaker::Adaptor(factory) | Speaker::Framed { stream: factory, .. } => {
                Self::Streams(Listener::bind(&listen.address)?, Welcome::Adaptor(factory(makings)))
            }
            Speaker::Visitor(factory) => {
                let listener = Listener::bind(&listen.address)?;
                let bound = Listen { address: listener.address().clone(), ..listen.clone() };
                Self::Streams(listener, Welcome::Visitor(factory(makings, &bound)))
            }
            Speaker::Door(factory) => Self::Datagrams(DoorSocket::bind(&listen.address)?, factory(makings)),
        })
    }

    fn address(&self) -> &Address {
        match self {
            Self::Streams(listener, _) => listener.address(),
            Self::Datagrams(socket, _) => socket.address(),
        }
    }

    fn serve(self, listen: &Listen, stores: &TlsStores) -> JoinHandle<()> {
        let entrance = Arc::clone(&listen.entrance);
        set_limits(listen);
        match self {
            Self::Streams(listener, welcome) => local::listen(listener, gate(listen, stores), entrance, welcome),
            Self::Datagrams(socket, factory) => {
                local::serve_door(socket, stores.dtls_acceptor(listen.name), entrance, factory)
            }
        }
    }
}

/// Its own limits hold from now on.
pub fn set_limits(listen: &Listen) {
    let (connections_max, connects_per_s) = (listen.connections_max, listen.connects_per_s);
    local::set_listener_limits(listen.name, ListenerLimits { connections_max, connects_per_s });
}

/// What connections get through before they are served.
fn gate(listen: &Listen, stores: &TlsStores) -> Gate {
    /// A proxy sends its header at once.
    const TIMEOUT: Duration = Duration::from_secs(5);
    let trust = || Arc::new(ProxyTrust { networks: listen.proxy_networks.clone(), timeout: TIMEOUT });
    Gate {
        proxy: listen.proxy_protocol.then(trust),
        tls: listen.tls.as_ref().and_then(|_| stores.acceptor(listen.name)),
    }
}
