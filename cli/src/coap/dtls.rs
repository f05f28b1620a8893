//! DTLS to one server: a pre-shared key, or certificates.

use super::arguments::SecurityArguments;
use super::datagrams::{self, Datagrams};
use super::options::parse_hexadecimal;
use super::uri::Server;
use crate::connection::Endpoint;
use crate::exit::{ExitCode, Failure};
use crate::tls::Tls;
use bytes::Bytes;
use dimpl::{Config, Dtls, DtlsCertificate, Output, PskResolver};
use rustls::pki_types::{CertificateDer, UnixTime};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Instant;
use tokio::time::sleep_until;

/// Room for what a flight or a record may be.
const OUTPUT_BYTES: usize = 1 << 16;

/// One association.
pub struct Session {
    dtls: Dtls,
    socket: Datagrams,
    wake: Option<Instant>,
    received: VecDeque<Bytes>,
    is_connected: bool,
    is_over: bool,
    /// Whom to trust; `None` with a pre-shared key.
    trust: Option<Tls>,
    endpoint: Endpoint,
}

/// The one key of this client.
struct OneKey(Vec<u8>);

impl PskResolver for OneKey {
    fn resolve(&self, _identity: &[u8]) -> Option<Vec<u8>> {
        Some(self.0.clone())
    }
}

impl Session {
    /// Shakes hands.
    pub async fn open(server: &Server, security: &SecurityArguments) -> Result<Self, Failure> {
        let now = Instant::now();
        let unusable = |error| Failure::usage(format!("DTLS cannot be used so: {error}"));
        let (mut dtls, trust) = match (&security.secrets.psk, &security.secrets.psk_identity) {
            (Some(key), Some(identity)) => {
                let key = key_bytes(key)?;
                let config = Config::builder().with_psk_client(identity.clone().into_bytes(), Arc::new(OneKey(key)));
                (Dtls::new_12_psk(Arc::new(config.build().map_err(unusable)?), now), None)
            }
            _ => {
                let (certificate, private_key) = security.tls.pair_or_throwaway()?;
                let config = Arc::new(Config::builder().build().map_err(unusable)?);
                let trust = security.tls.prepare(&server.host)?;
                (Dtls::new_12(config, DtlsCertificate { certificate, private_key }, now), Some(trust))
            }
        };
        dtls.set_active(true);
        let socket = datagrams::connect(server).await?;
        let (received, endpoint) = (VecDeque::new(), server.endpoint());
        let mut session =
            Self { dtls, socket, wake: None, received, is_connected: false, is_over: false, trust, endpoint };
        session.shake_hands().await?;
        Ok(session)
    }

    async fn shake_hands(&mut self) -> Result<(), Failure> {
        self.dtls.handle_timeout(Instant::now()).map_err(|error| self.failed(&io::Error::other(error)))?;
        while !self.is_connected {
            self.turn().await.map_err(|error| self.failed(&error))?;
            if self.is_over {
                return Err(self.failed(&io::Error::other("the server broke the handshake off")));
            }
        }
        Ok(())
    }

    fn failed(&self, error: &io::Error) -> Failure {
        let advice = match (&self.trust, error.kind()) {
            (_, io::ErrorKind::ConnectionRefused) => "nothing listens there: start a server or check the URL",
            (None, _) => "check --psk-identity and --psk",
            (Some(_), _) => {
                "check --cafile, --cert and --key; a server with shared keys wants --psk-identity and --psk"
            }
        };
        Failure::new(ExitCode::CannotConnect, format!("no DTLS with {}: {error}: {advice}", self.endpoint))
    }

    /// Sends one datagram, protected.
    pub async fn send(&mut self, datagram: &[u8]) -> io::Result<()> {
        self.dtls.send_application_data(datagram).map_err(io::Error::other)?;
        self.drain().await
    }

    /// The next one. Nothing is lost when the future is dropped.
    pub async fn receive(&mut self) -> io::Result<Bytes> {
        loop {
            if let Some(datagram) = self.received.pop_front() {
                return Ok(datagram);
            }
            if self.is_over {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server ended the DTLS session"));
            }
            self.turn().await?;
        }
    }

    /// Ends it.
    pub async fn close(&mut self) -> io::Result<()> {
        self.dtls.close().map_err(io::Error::other)?;
        self.drain().await
    }

    /// What the handshake or the session wants to do next.
    async fn turn(&mut self) -> io::Result<()> {
        self.drain().await?;
        if !self.received.is_empty() || self.is_over {
            return Ok(());
        }
        let wake = self.wake;
        tokio::select! {
            packet = self.socket.receive() => {
                let packet = packet?;
                self.dtls.handle_timeout(Instant::now()).map_err(io::Error::other)?;
                self.dtls.handle_packet(&packet).map_err(io::Error::other)?;
            }
            () = sleep_until(wake.unwrap_or_else(Instant::now).into()), if wake.is_some() => {
                self.wake = None;
                self.dtls.handle_timeout(Instant::now()).map_err(io::Error::other)?;
            }
        }
        self.drain().await
    }

    /// Carries out what DTLS wants.
    async fn drain(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; OUTPUT_BYTES];
        loop {
            match self.dtls.poll_output(&mut buffer) {
                Output::Packet(packet) => self.socket.send(packet).await?,
                Output::BufferTooSmall { needed } => buffer.resize(needed, 0),
                Output::Timeout(at) => {
                    self.wake = Some(at);
                    return Ok(());
                }
                Output::Connected => self.is_connected = true,
                Output::PeerCert(certificate) => {
                    if let Some(tls) = &self.trust {
                        let certificate = CertificateDer::from_slice(certificate);
                        tls.verify(&certificate, UnixTime::now()).map_err(io::Error::other)?;
                    }
                }
                Output::ApplicationData(datagram) => self.received.push_back(Bytes::copy_from_slice(datagram)),
                Output::CloseNotify => self.is_over = true,
                _ => {}
            }
        }
    }
}

fn key_bytes(text: &str) -> Result<Vec<u8>, Failure> {
    match text.strip_prefix("0x") {
        None => Ok(text.as_bytes().to_vec()),
        Some(digits) => {
            parse_hexadecimal(digits).ok_or_else(|| Failure::usage("--psk: what follows 0x is not hexadecimal"))
        }
    }
}
