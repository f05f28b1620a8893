//! The state of one TLS connection, without its socket: records in, plaintext out, and the other way round.

use althing_core::link::Tls;
use bytes::BytesMut;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus};
use rustls::{CipherSuite, Error, HandshakeKind, ProtocolVersion, ServerConfig};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// The longest plaintext of one record (RFC 8446, 5.1).
pub(crate) const RECORD_BYTES_MAX: usize = 16 << 10;

/// What a record adds to its plaintext at most: head, explicit nonce, content type, tag, and some to spare.
const RECORD_OVERHEAD_BYTES_MAX: usize = 64;

/// One connection's keys and state. It owns no buffers.
pub(crate) struct TlsSession {
    connection: UnbufferedServerConnection,
    /// The peer has said that nothing more comes.
    has_ended: bool,
}

impl TlsSession {
    pub fn new(config: Arc<ServerConfig>) -> Result<Self, Error> {
        Ok(Self { connection: UnbufferedServerConnection::new(config)?, has_ended: false })
    }

    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Whether the peer has said that nothing more comes (`close_notify`).
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    pub fn is_resumed(&self) -> bool {
        self.connection.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The peer's own certificate (DER), verified.
    pub fn certificate(&self) -> Option<&[u8]> {
        self.connection.peer_certificates().and_then(|chain| chain.first()).map(|certificate| certificate.as_ref())
    }

    /// What was agreed on.
    pub fn facts(&self, server_name: Option<String>) -> Tls {
        Tls {
            version: match self.connection.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
                _ => "TLSv1.2",
            },
            cipher: self.connection.negotiated_cipher_suite().map_or("", |it| cipher_name(it.suite())),
            server_name,
            application_protocol: self.connection.alpn_protocol().map(<[u8]>::to_vec),
            certificate: None,
        }
    }

    /// Takes records from the front of `input`, decrypting in place; returns the length that it is done with. The rest is
    /// to come first the next time. What has to be sent, also after an error, is appended to `output`.
    pub fn open(
        &mut self,
        input: &mut [u8],
        plaintext: &mut BytesMut,
        output: &mut Outgoing,
    ) -> (usize, Result<(), Error>) {
        let mut taken = 0;
        let result = caught(|| self.open_records(input, &mut taken, plaintext, output));
        if result.is_err() {
            // The alert that tells the peer. What comes after it is the error again.
            let _ = caught(|| self.pump(&mut input[taken..], output));
        }
        (taken, result)
    }

    fn open_records(
        &mut self,
        input: &mut [u8],
        taken: &mut usize,
        plaintext: &mut BytesMut,
        output: &mut Outgoing,
    ) -> Result<(), Error> {
        loop {
            let UnbufferedStatus { mut discard, state, .. } = self.connection.process_tls_records(&mut input[*taken..]);
            let mut needs_more = false;
            match state? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        plaintext.extend_from_slice(record.payload);
                    }
                }
                ConnectionState::EncodeTlsData(encode) => output.encode(encode),
                ConnectionState::TransmitTlsData(transmit) => transmit.done(),
                ConnectionState::PeerClosed => self.has_ended = true,
                _ => needs_more = true,
            }
            *taken += discard;
            if needs_more {
                return Ok(());
            }
        }
    }

    /// Appends `plaintext` to `output`, in records as large as can be. `input` is what [`open`](Self::open) has left.
    pub fn seal(&mut self, input: &mut [u8], plaintext: &[u8], output: &mut Outgoing) -> Result<(), Error> {
        if plaintext.is_empty() {
            return Ok(());
        }
        caught(|| {
            self.pump(input, output)?;
            let records = plaintext.len() / RECORD_BYTES_MAX + 1;
            let room = plaintext.len() + records * RECORD_OVERHEAD_BYTES_MAX;
            match self.connection.process_tls_records(input).state? {
                ConnectionState::WriteTraffic(mut traffic) => output.put(room, |room| traffic.encrypt(plaintext, room)),
                _ => Err(Error::HandshakeNotComplete),
            }
        })
    }

    /// Appends our own word that nothing more comes.
    pub fn seal_end(&mut self, input: &mut [u8], output: &mut Outgoing) -> Result<(), Error> {
        caught(|| {
            self.pump(input, output)?;
            match self.connection.process_tls_records(input).state? {
                ConnectionState::WriteTraffic(mut traffic) => {
                    output.put(RECORD_OVERHEAD_BYTES_MAX, |room| traffic.queue_close_notify(room))
                }
                _ => Ok(()),
            }
        })
    }

    /// Appends what TLS itself has to say.
    fn pump(&mut self, input: &mut [u8], output: &mut Outgoing) -> Result<(), Error> {
        loop {
            match self.connection.process_tls_records(input).state? {
                ConnectionState::EncodeTlsData(encode) => output.encode(encode),
                ConnectionState::TransmitTlsData(transmit) => transmit.done(),
                ConnectionState::PeerClosed => self.has_ended = true,
                _ => return Ok(()),
            }
        }
    }
}

/// A mistake in the library must not concern other connections.
fn caught(act: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
    catch_unwind(AssertUnwindSafe(act))
        .unwrap_or_else(|_| Err(Error::General("a mistake in this broker; standard error has the details".into())))
}

/// Records on their way out. The memory stays, and is not cleared between uses.
#[derive(Default)]
pub(crate) struct Outgoing {
    bytes: Vec<u8>,
    used: usize,
}

impl Outgoing {
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.used]
    }

    pub fn clear(&mut self) {
        self.used = 0;
    }

    /// Has `write` fill some of `room` bytes, or of as many as it asks for.
    fn put(
        &mut self,
        mut room: usize,
        mut write: impl FnMut(&mut [u8]) -> Result<usize, EncryptError>,
    ) -> Result<(), Error> {
        loop {
            match write(self.room(room)) {
                Ok(written) => {
                    self.used += written;
                    return Ok(());
                }
                Err(EncryptError::InsufficientSize(size)) if size.required_size > room => room = size.required_size,
                Err(_) => return Err(Error::EncryptError),
            }
        }
    }

    fn encode<Data>(&mut self, mut encode: EncodeTlsData<'_, Data>) {
        let mut room = 0;
        loop {
            match encode.encode(self.room(room)) {
                Ok(written) => {
                    self.used += written;
                    return;
                }
                Err(EncodeError::InsufficientSize(size)) => room = size.required_size,
                Err(EncodeError::AlreadyEncoded) => return,
            }
        }
    }

    fn room(&mut self, room: usize) -> &mut [u8] {
        if self.bytes.len() < self.used + room {
            self.bytes.resize(self.used + room, 0);
        }
        &mut self.bytes[self.used..]
    }
}

/// The registered name.
fn cipher_name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or_default(),
    }
}
