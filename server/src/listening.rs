//! From the list of listeners to sockets that are served.

use crate::config::{Config, Listen};
use crate::protocols::Speaker;
use crate::serve::ServeError;
use althing_net::{AdaptorFactory, Address, DoorFactory, DoorSocket, Listener, local};
use std::io;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// What listens, each with the address that it got.
pub type Listening = Vec<Listen>;

/// A socket that nobody serves yet.
enum Bound {
    Streams(Listener, AdaptorFactory),
    Datagrams(DoorSocket, DoorFactory),
}

/// Listens everywhere before anyone is served: a broker that starts by half is hard to understand.
pub fn listen(config: &Config) -> Result<(Listening, Vec<JoinHandle<()>>), ServeError> {
    let mut bound = Vec::new();
    for mut listen in config.listens()? {
        let socket = Bound::new(&listen, config).map_err(|error| ServeError::Listen {
            listener: listen.name,
            address: listen.address.clone(),
            error,
        })?;
        listen.address = socket.address().clone();
        bound.push((listen, socket));
    }
    Ok(bound.into_iter().map(|(listen, socket)| (listen.clone(), socket.serve(&listen))).unzip())
}

impl Bound {
    fn new(listen: &Listen, config: &Config) -> io::Result<Self> {
        if listen.tls.is_some() || listen.proxy_protocol {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "neither TLS nor the PROXY protocol is built in yet",
            ));
        }
        Ok(match listen.protocol.speaker {
            Speaker::Adaptor(factory) => Self::Streams(Listener::bind(&listen.address)?, factory(config)),
            Speaker::Door(factory) => Self::Datagrams(DoorSocket::bind(&listen.address)?, factory(config)),
        })
    }

    fn address(&self) -> &Address {
        match self {
            Self::Streams(listener, _) => listener.address(),
            Self::Datagrams(socket, _) => socket.address(),
        }
    }

    fn serve(self, listen: &Listen) -> JoinHandle<()> {
        let entrance = Arc::clone(&listen.entrance);
        match self {
            Self::Streams(listener, factory) => local::listen(listener, entrance, factory),
            Self::Datagrams(socket, factory) => local::serve_door(socket, entrance, factory),
        }
    }
}
