//! What carries messages to one server and back: datagrams, datagrams inside DTLS, a byte stream, a WebSocket.

use super::arguments::SecurityArguments;
use super::datagrams::{self, Datagrams};
use super::dtls;
use super::streams::Stream;
use super::uri::{Carrier, Server};
use crate::exit::Failure;
use crate::socket::Socket;
use crate::subscriber::entropy;
use crate::tls::Tls;
use crate::websocket::{self, Upgrade, WebSocket};
use althing_coap::CoapConfig;
use althing_coap::client::Client;
use bytes::Bytes;
use std::io;

/// Where servers speak CoAP in a WebSocket, and its name there (RFC 8323 §8.3).
const WEB_SOCKET_PATH: &str = "/.well-known/coap";
const PROTOCOL_NAME: &str = "coap";

/// One of them, open.
pub enum Wire {
    Udp(Datagrams),
    Dtls(Box<dtls::Session>),
    Stream(Stream),
    WebSocket(Box<WebSocket>),
}

impl Wire {
    /// Opens it, with the handshakes that belong to it.
    pub async fn open(server: &Server, security: &SecurityArguments) -> Result<Self, Failure> {
        check(server.carrier, security)?;
        let endpoint = server.endpoint();
        let tls = || security.tls.prepare(&server.host);
        Ok(match server.carrier {
            Carrier::Udp => Self::Udp(datagrams::connect(server).await?),
            Carrier::Dtls => Self::Dtls(Box::new(dtls::Session::open(server, security).await?)),
            Carrier::Tcp => Self::Stream(Stream::over(Socket::connect(&endpoint, None).await?)),
            Carrier::Tls => {
                // The application protocol of TLS (RFC 8323 §8.2).
                let tls = tls()?.with_protocol(PROTOCOL_NAME);
                Self::Stream(Stream::over(Socket::connect(&endpoint, Some(&tls)).await?))
            }
            Carrier::Ws => Self::websocket(server, None).await?,
            Carrier::Wss => Self::websocket(server, Some(&tls()?)).await?,
        })
    }

    async fn websocket(server: &Server, tls: Option<&Tls>) -> Result<Self, Failure> {
        let endpoint = server.endpoint();
        let upgrade = Upgrade { path: WEB_SOCKET_PATH.to_owned(), subprotocol: PROTOCOL_NAME };
        let socket = Socket::connect(&endpoint, tls).await?;
        let websocket = websocket::open(socket, &endpoint, &upgrade, tls).await?;
        Ok(Self::WebSocket(Box::new(websocket)))
    }

    /// The client half for what will be open.
    pub fn client(carrier: Carrier) -> Client {
        let config = CoapConfig::default();
        match carrier {
            Carrier::Udp | Carrier::Dtls => Client::new(config, entropy()),
            Carrier::Tcp | Carrier::Tls => Client::on_stream(config, entropy()),
            Carrier::Ws | Carrier::Wss => Client::on_websocket(config, entropy()),
        }
    }

    /// Sends one output of the client half.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Udp(wire) => wire.send(bytes).await,
            Self::Dtls(wire) => wire.send(bytes).await,
            Self::Stream(wire) => wire.send(bytes).await,
            Self::WebSocket(wire) => wire.send(bytes).await,
        }
    }

    /// What has come. Nothing is lost when the future is dropped.
    pub async fn receive(&mut self) -> io::Result<Bytes> {
        match self {
            Self::Udp(wire) => wire.receive().await,
            Self::Dtls(wire) => wire.receive().await,
            Self::Stream(wire) => wire.receive().await,
            Self::WebSocket(wire) => wire.receive().await,
        }
    }

    /// Says goodbye where there is a word for it.
    pub async fn close(&mut self) -> io::Result<()> {
        match self {
            Self::Udp(_) => Ok(()),
            Self::Dtls(wire) => wire.close().await,
            Self::Stream(wire) => wire.close().await,
            Self::WebSocket(wire) => wire.close().await,
        }
    }
}

/// What was asked for and would not be there must not be passed over.
fn check(carrier: Carrier, security: &SecurityArguments) -> Result<(), Failure> {
    let scheme = carrier.scheme();
    let is_shared = security.secrets.psk.is_some();
    match carrier {
        Carrier::Udp | Carrier::Tcp | Carrier::Ws if is_shared || security.tls.any() => Err(Failure::usage(format!(
            "{scheme}:// is without DTLS and TLS: use {}://, or leave their options out",
            scheme.replace("coap", "coaps")
        ))),
        Carrier::Tls | Carrier::Wss if is_shared => {
            Err(Failure::usage("--psk is for coaps://: leave it out, or use --cert and --key"))
        }
        Carrier::Dtls => match security.tls.not_for_dtls() {
            Some(option) => Err(Failure::usage(format!("{option} is for TLS: leave it out, coaps:// is DTLS 1.2"))),
            None if is_shared && security.tls.any() => {
                Err(Failure::usage("--psk and certificates exclude each other: leave one of them out"))
            }
            None => Ok(()),
        },
        _ => Ok(()),
    }
}
