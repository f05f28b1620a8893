//! TLS 1.3 under the frames, when it is asked for: one session a connection, records without copies where it can be.

use crate::BenchError;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue, UnbufferedClientConnection,
    WebPkiServerVerifier,
};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus};
use rustls::{ClientConfig, DigitallySignedStruct, Error, HandshakeKind, NamedGroup, RootCertStore, SignatureScheme};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// How all connections of a run speak TLS.
#[derive(Clone, Debug)]
pub struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    resumes: bool,
}

impl Tls {
    /// `ca`: the certificates to trust, in PEM; without one, any certificate will do. `resume`: connections after the
    /// first ones bring back what an earlier one has agreed on (RFC 8446 §2.2); else each handshake is a full one.
    pub fn new(host: &str, ca: Option<&Path>, resume: bool) -> Result<Self, BenchError> {
        let wrong = |reason: String| BenchError::Tls { reason };
        let name = ServerName::try_from(host.to_owned()).map_err(|error| wrong(format!("{host}: {error}")))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match ca {
            None => Arc::new(Anyone(provider.signature_verification_algorithms)),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                let read = || CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>();
                let certificates = read().map_err(|error| wrong(format!("{}: {error}", path.display())))?;
                roots.add_parsable_certificates(certificates);
                let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
                verifier.map_err(|error| wrong(format!("{}: {error}", path.display())))?
            }
        };
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| wrong(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.resumption = match resume {
            true => Resumption::store(Arc::new(Tickets::default())),
            false => Resumption::disabled(),
        };
        Ok(Self { config: Arc::new(config), name, resumes: resume })
    }

    /// Whether connections take up the sessions of earlier ones.
    pub fn resumes(&self) -> bool {
        self.resumes
    }
}

/// One connection's keys, and its records that the socket has not taken yet.
pub struct Session {
    connection: UnbufferedClientConnection,
    /// Records on their way out, from `sent` on. The memory stays, and is not cleared between uses.
    records: Vec<u8>,
    sent: usize,
    filled: usize,
    /// The handshake is over.
    ready: bool,
    /// The start of a record whose end has not come.
    partial: Vec<u8>,
}

/// What a record adds to its plaintext at most: head, content type and tag (RFC 8446 §5.2), and some to spare.
const RECORD_OVERHEAD_BYTES: usize = 64;
const RECORD_BYTES_MAX: usize = 16 << 10;

impl Session {
    /// A session whose first words wait to be sent.
    pub fn new(tls: &Tls) -> Result<Self, Error> {
        let connection = UnbufferedClientConnection::new(tls.config.clone(), tls.name.clone())?;
        let mut session =
            Self { connection, records: Vec::new(), sent: 0, filled: 0, ready: false, partial: Vec::new() };
        session.open(&mut [], &mut Vec::new())?;
        Ok(session)
    }

    /// Whether plaintext can be sent.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// Whether the handshake brought an earlier session back.
    pub fn is_resumed(&self) -> bool {
        self.connection.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// What is left of the last read, to stand before the next.
    pub fn partial(&self) -> &[u8] {
        &self.partial
    }

    /// Decrypts the records in `input`, which begins with [`partial`](Self::partial), in place, and appends what they carry.
    pub fn open(&mut self, input: &mut [u8], plaintext: &mut Vec<u8>) -> Result<(), Error> {
        let mut taken = 0;
        loop {
            let UnbufferedStatus { mut discard, state, .. } = self.connection.process_tls_records(&mut input[taken..]);
            let mut done = false;
            match state? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        plaintext.extend_from_slice(record.payload);
                    }
                }
                ConnectionState::EncodeTlsData(encode) => {
                    encode_into(encode, &mut self.records, &mut self.filled);
                }
                ConnectionState::TransmitTlsData(transmit) => transmit.done(),
                ConnectionState::WriteTraffic(_) => (self.ready, done) = (true, true),
                ConnectionState::PeerClosed => {}
                _ => done = true,
            }
            taken += discard;
            if done {
                break;
            }
        }
        self.partial.clear();
        self.partial.extend_from_slice(&input[taken..]);
        Ok(())
    }

    /// Encrypts `plaintext` behind the records that wait; only when the session is ready.
    pub fn seal(&mut self, plaintext: &[u8]) -> Result<(), Error> {
        let overhead = (plaintext.len() / RECORD_BYTES_MAX + 1) * RECORD_OVERHEAD_BYTES;
        let room = self.filled + plaintext.len() + overhead;
        if self.records.len() < room {
            self.records.resize(room, 0);
        }
        match self.connection.process_tls_records(&mut []).state? {
            ConnectionState::WriteTraffic(mut traffic) => {
                let written = traffic.encrypt(plaintext, &mut self.records[self.filled..]);
                self.filled += written.map_err(|error| match error {
                    EncryptError::EncryptExhausted => Error::EncryptError,
                    EncryptError::InsufficientSize(_) => Error::General("records are longer than expected".into()),
                })?;
                Ok(())
            }
            _ => Err(Error::HandshakeNotComplete),
        }
    }

    /// Records that wait for the socket.
    pub fn waiting(&self) -> &[u8] {
        &self.records[self.sent..self.filled]
    }

    /// The socket has taken so many of their bytes.
    pub fn advance(&mut self, bytes: usize) {
        self.sent += bytes;
        if self.sent == self.filled {
            (self.sent, self.filled) = (0, 0);
        }
    }
}

fn encode_into<Data>(mut encode: EncodeTlsData<'_, Data>, records: &mut Vec<u8>, filled: &mut usize) {
    loop {
        match encode.encode(&mut records[*filled..]) {
            Ok(written) => {
                *filled += written;
                return;
            }
            Err(EncodeError::InsufficientSize(size)) => records.resize(*filled + size.required_size, 0),
            Err(EncodeError::AlreadyEncoded) => return,
        }
    }
}

/// All tickets of the one server, each for one connection; the library's own store keeps eight.
#[derive(Debug, Default)]
struct Tickets(Mutex<Vec<Tls13ClientSessionValue>>);

impl ClientSessionStore for Tickets {
    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(ticket);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}
}

/// Takes any certificate, but has its key prove itself, so that a handshake costs what it costs.
#[derive(Debug)]
struct Anyone(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
