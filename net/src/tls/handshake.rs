//! From a socket to a TLS stream. Whoever has not finished is nobody: a handshake has a deadline, and a bound on its bytes.

use super::session::{Outgoing, TlsSession};
use super::{TlsAcceptor, TlsStream, TlsTerms};
use crate::transport::Socket;
use althing_core::link::Tls;
use bytes::BytesMut;
use rustls::server::Acceptor;
use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible, ServerConfig};
use std::fmt;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::SystemTime;

/// What a peer may send before its handshake is done: its hello, its certificates and the proof that they are its own.
const HANDSHAKE_BYTES_MAX: usize = 64 << 10;

/// Of these, the hello. Real ones have a few hundred bytes, two thousand with keys against quantum computers.
const HELLO_BYTES_MAX: usize = 16 << 10;

const READ_BYTES: usize = 4 << 10;

/// What a handshake ends in.
pub(crate) struct Shaken {
    pub stream: TlsStream,
    pub facts: Tls,
    /// Plaintext that came along with the last words of the handshake.
    pub first: BytesMut,
}

/// Does the handshake on `socket`, from which `input` has been read already.
pub(crate) async fn shake_hands(
    mut socket: Socket,
    input: BytesMut,
    acceptor: &TlsAcceptor,
) -> Result<Shaken, HandshakeError> {
    let terms = acceptor.terms();
    let handshake = Handshake { socket: &mut socket, read_bytes: input.len(), input, output: Outgoing::default() };
    let shaken = tokio::time::timeout(terms.handshake_timeout, handshake.run(&terms)).await;
    let (session, facts, input, first) = shaken.map_err(|_| HandshakeError::TooSlow)??;
    Ok(Shaken { stream: TlsStream::new(socket, session, &input), facts, first })
}

struct Handshake<'a> {
    socket: &'a mut Socket,
    /// What has come and was not understood so far.
    input: BytesMut,
    read_bytes: usize,
    output: Outgoing,
}

impl Handshake<'_> {
    async fn run(mut self, terms: &TlsTerms) -> Result<(TlsSession, Tls, BytesMut, BytesMut), HandshakeError> {
        let (config, server_name) = self.hello(terms).await?;
        let mut session = TlsSession::new(config)?;
        let mut first = BytesMut::new();
        loop {
            let (taken, opened) = session.open(&mut self.input, &mut first, &mut self.output);
            let _ = self.input.split_to(taken);
            let sent = self.send().await;
            // What is wrong explains why it could not be sent.
            opened?;
            sent?;
            if !session.is_handshaking() {
                break;
            }
            self.read(HANDSHAKE_BYTES_MAX).await?;
        }
        let mut facts = session.facts(server_name);
        if let Some(certificate) = session.certificate() {
            let certificate = (terms.describe)(certificate).map_err(HandshakeError::Certificate)?;
            // A ticket brings back what was verified when it was made.
            if session.is_resumed() && certificate.not_after_s < seconds_since_1970() {
                return Err(CertificateError::Expired.into());
            }
            facts.certificate = Some(certificate);
        }
        Ok((session, facts, self.input, first))
    }

    /// Waits for the whole hello, which stays in `input`: what it asks for decides how the handshake goes on.
    async fn hello(&mut self, terms: &TlsTerms) -> Result<(Arc<ServerConfig>, Option<String>), HandshakeError> {
        let mut hello = Acceptor::default();
        let mut seen = 0;
        loop {
            while seen < self.input.len() {
                seen += hello.read_tls(&mut &self.input[seen..])?;
                match hello.accept() {
                    Ok(None) => {}
                    Ok(Some(accepted)) => {
                        let asked = accepted.client_hello();
                        let config = terms.config_for(asked.alpn().into_iter().flatten());
                        return Ok((config, asked.server_name().map(str::to_owned)));
                    }
                    Err((error, mut alert)) => {
                        let mut words = Vec::new();
                        alert.write(&mut words)?;
                        // It may be gone, or speak no TLS.
                        let _ = self.socket.try_write(&[IoSlice::new(&words)]);
                        return Err(self.misunderstood(error));
                    }
                }
            }
            self.read(HELLO_BYTES_MAX).await?;
        }
    }

    fn misunderstood(&self, error: Error) -> HandshakeError {
        const HANDSHAKE: u8 = 22;
        match self.input.first() {
            Some(first) if *first != HANDSHAKE => {
                HandshakeError::NotTls(self.input[..self.input.len().min(16)].to_vec())
            }
            _ => error.into(),
        }
    }

    async fn read(&mut self, read_bytes_max: usize) -> Result<(), HandshakeError> {
        if self.read_bytes >= read_bytes_max {
            return Err(HandshakeError::TooLong);
        }
        self.input.reserve(READ_BYTES);
        let read = self.socket.read(&mut self.input).await?;
        self.read_bytes += read;
        match read {
            0 if self.read_bytes == 0 => Err(HandshakeError::Silent),
            0 => Err(HandshakeError::Left),
            _ => Ok(()),
        }
    }

    async fn send(&mut self) -> io::Result<()> {
        let mut rest = self.output.as_slice();
        while !rest.is_empty() {
            match self.socket.try_write(&[IoSlice::new(rest)]) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    std::future::poll_fn(|cx| self.socket.poll_write_ready(cx)).await?;
                }
                Err(error) => return Err(error),
            }
        }
        self.output.clear();
        Ok(())
    }
}

fn seconds_since_1970() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |it| it.as_secs() as i64)
}

/// Why there is no TLS stream. The text goes on after the peer's address.
#[derive(Debug)]
pub(crate) enum HandshakeError {
    /// It has come and gone without a byte, as those do who ask whether anybody is there.
    Silent,
    Left,
    TooSlow,
    TooLong,
    /// With its first bytes.
    NotTls(Vec<u8>),
    Certificate(String),
    Tls(Error),
    Io(io::Error),
}

impl From<Error> for HandshakeError {
    fn from(error: Error) -> Self {
        Self::Tls(error)
    }
}

impl From<CertificateError> for HandshakeError {
    fn from(error: CertificateError) -> Self {
        Self::Tls(Error::InvalidCertificate(error))
    }
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent => f.write_str("left without a word"),
            Self::Left => f.write_str("left in the middle of the TLS handshake; its own log may say why"),
            Self::TooSlow => f.write_str("did not finish the TLS handshake in time (tls.handshake_timeout_ms)"),
            Self::TooLong => f.write_str("sent more than a TLS handshake can need"),
            Self::NotTls(bytes) => write!(
                f,
                "does not speak TLS (it began with \"{}\"): have it use TLS here, or send it to a listener without TLS",
                bytes.escape_ascii()
            ),
            Self::Certificate(why) => write!(f, "showed a certificate that cannot be read: {why}"),
            Self::Tls(error) => write_tls(f, error),
            Self::Io(error) => write!(f, "was lost in the TLS handshake: {error}"),
        }
    }
}

fn write_tls(f: &mut fmt::Formatter<'_>, error: &Error) -> fmt::Result {
    match error {
        Error::NoCertificatesPresented => {
            f.write_str("showed no client certificate, which is required here (client_certificate)")
        }
        Error::InvalidCertificate(error) => match error {
            CertificateError::Revoked => f.write_str("showed a client certificate that has been revoked"),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                f.write_str("showed a client certificate that has expired: renew it")
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                f.write_str("showed a client certificate that is not valid yet: look after the clocks")
            }
            // A CA that was made anew under the same name signs differently.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                f.write_str("showed a client certificate that none of client_ca has signed")
            }
            CertificateError::UnknownRevocationStatus => {
                f.write_str("showed a client certificate for whose issuer crl has no list")
            }
            other => write!(f, "showed a client certificate that is not good: {other}"),
        },
        Error::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::DecryptError,
        ) => write!(
            f,
            "does not trust our certificate ({error}): give it the CA, and connect to a name in the certificate"
        ),
        Error::PeerIncompatible(PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon) => write!(f, "{error}"),
        Error::PeerIncompatible(why) => write!(f, "speaks another TLS than we do ({why:?}): TLS 1.2 or 1.3 is needed"),
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => f.write_str("does not speak TLS"),
        other => write!(f, "failed in the TLS handshake: {other}"),
    }
}
