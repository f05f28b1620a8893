//! One association without its socket: records in, plaintext out, and the other way round.

use super::DtlsTerms;
use super::hello::Hello;
use super::provider::{self, COOKIE_BYTES, Identified, PSK_CIPHER_SUITE};
use althing_core::door::Datagrams;
use althing_core::link::{Certificate, SharedKey, SharedKeyKind, Tls};
use bytes::Bytes;
use bytestring::ByteString;
use dimpl::{Dtls, Output};
use rustls::pki_types::{CertificateDer, UnixTime};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

/// The longest record with its head, and some to spare.
const OUTPUT_BYTES: usize = (16 << 10) + 512;

/// Cipher suites with certificates, with their registered names.
const CERTIFIED_SUITES: [(u16, &str); 3] = [
    (0xC02B, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
    (0xC02C, "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
    (0xCCA9, "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"),
];

/// `TLS_PSK_WITH_AES_128_CCM_8`.
const KEYED_SUITE: u16 = 0xC0A8;

/// One association, from its hello on.
pub struct Session {
    dtls: Box<Dtls>,
    remote: SocketAddr,
    /// The client's, which tells this handshake from any other.
    pub random: [u8; 32],
    pub is_connected: bool,
    identified: Option<Identified>,
    certificate: Option<Shown>,
    cipher: &'static str,
    /// When something that was proven to be the client's came last.
    pub heard_ns: u64,
    /// When the library wants to be called; only while shaking hands.
    pub due_ns: u64,
}

/// What a client has shown; its bytes are verified again when the terms are others.
struct Shown {
    der: Box<[u8]>,
    certificate: Certificate,
}

/// What is said to the library, from outside or by the time.
pub enum Word<'a> {
    Record(&'a [u8]),
    Plaintext(&'a [u8]),
    Time,
    Close,
}

/// The association is over.
#[derive(Debug)]
pub struct Over;

/// What it takes to have a session do something.
pub struct Turn<'a> {
    pub terms: &'a DtlsTerms,
    pub now_ns: u64,
    pub now: Instant,
    pub buffer: &'a mut Vec<u8>,
    pub outgoing: &'a mut Datagrams,
    pub plaintexts: &'a mut Vec<Bytes>,
}

impl Session {
    /// Begins with a hello that has brought its cookie; `None` when nothing that it offers is spoken here.
    pub fn begin(
        remote: SocketAddr,
        hello: &Hello<'_>,
        cookie: [u8; COOKIE_BYTES],
        datagram: &[u8],
        turn: &mut Turn<'_>,
    ) -> Option<Self> {
        let (dtls, cipher) = choose(turn.terms, hello, turn.now)?;
        let random = hello.random.try_into().ok()?;
        let mut session = Self {
            dtls: Box::new(dtls),
            remote,
            random,
            is_connected: false,
            identified: None,
            certificate: None,
            cipher,
            heard_ns: turn.now_ns,
            due_ns: u64::MAX,
        };
        // The library sees the exchange of the cookie again; its request for it went out long ago.
        let mut unsent = Datagrams::default();
        let begun = provider::with_cookie(cookie, || {
            let mut again = Turn { outgoing: &mut unsent, buffer: turn.buffer, plaintexts: turn.plaintexts, ..*turn };
            session.say(Word::Record(&hello.without_cookie()), &mut again).ok()?;
            session.say(Word::Record(datagram), turn).ok()
        });
        begun.map(|()| session)
    }

    /// Has the library hear it and takes what follows. Whatever it says against it ends the association.
    pub fn say(&mut self, word: Word<'_>, turn: &mut Turn<'_>) -> Result<(), Over> {
        // A mistake in the library must not concern others.
        catch_unwind(AssertUnwindSafe(|| self.say_uncaught(word, turn))).unwrap_or(Err(Over))
    }

    fn say_uncaught(&mut self, word: Word<'_>, turn: &mut Turn<'_>) -> Result<(), Over> {
        self.dtls.handle_timeout(turn.now).map_err(|_| Over)?;
        let said = match word {
            Word::Record(datagram) => self.dtls.handle_packet(datagram),
            Word::Plaintext(plaintext) => self.dtls.send_application_data(plaintext).map(|_| ()),
            Word::Time => Ok(()),
            Word::Close => self.dtls.close(),
        };
        if let Some(identified) = provider::take_identity() {
            self.identified = Some(identified);
        }
        // Also after an error: the alert that tells the client.
        let polled = self.poll(turn);
        said.map_err(|_| Over).and(polled)
    }

    fn poll(&mut self, turn: &mut Turn<'_>) -> Result<(), Over> {
        turn.buffer.resize(OUTPUT_BYTES.max(turn.buffer.len()), 0);
        loop {
            match self.dtls.poll_output(turn.buffer) {
                Output::Packet(packet) => turn.outgoing.push(self.remote, packet),
                Output::BufferTooSmall { needed } => turn.buffer.resize(needed, 0),
                Output::Connected => self.is_connected = true,
                Output::PeerCert(der) => self.certificate = Some(Shown::verified(turn.terms, der).ok_or(Over)?),
                Output::ApplicationData(plaintext) => {
                    self.heard_ns = turn.now_ns;
                    turn.plaintexts.push(Bytes::copy_from_slice(plaintext));
                }
                Output::CloseNotify => return Err(Over),
                Output::Timeout(at) => {
                    let until_ns = at.saturating_duration_since(turn.now).as_nanos() as u64;
                    // The last flight may still be asked for again; that is answered when it is, not by the time.
                    self.due_ns = turn.now_ns.saturating_add(until_ns);
                    return Ok(());
                }
                _ => {}
            }
        }
    }

    /// Whether whoever has this association may still come in.
    pub fn is_welcome(&self, terms: &DtlsTerms) -> bool {
        let is_known = self.identified.as_ref().is_none_or(|(identity, key)| terms.knows(identity, key));
        is_known && self.certificate.as_ref().is_none_or(|it| verify(terms, &it.der).is_some())
    }

    /// What was agreed on, and whom it proved.
    pub fn facts(&self) -> Facts {
        let certificate = self.certificate.as_ref().map(|it| it.certificate.clone());
        let tls = Tls { version: "DTLSv1.2", cipher: self.cipher, certificate, ..Tls::default() };
        let name = self.identified.as_ref().and_then(|(identity, _)| std::str::from_utf8(identity).ok());
        let key = name.map(|name| SharedKey { kind: SharedKeyKind::PreSharedKey, name: ByteString::from(name) });
        Facts { tls: Arc::new(tls), shared_key: key.map(Arc::new) }
    }
}

/// What is known of the client of an association.
#[derive(Clone, Debug)]
pub struct Facts {
    pub tls: Arc<Tls>,
    pub shared_key: Option<Arc<SharedKey>>,
}

/// The first cipher suite of the client that is spoken here.
fn choose(terms: &DtlsTerms, hello: &Hello<'_>, now: Instant) -> Option<(Dtls, &'static str)> {
    hello.cipher_suites().find_map(|suite| {
        if suite == KEYED_SUITE {
            return Some((Dtls::new_12_psk(Arc::clone(terms.keyed.as_ref()?), now), PSK_CIPHER_SUITE));
        }
        let (_, name) = CERTIFIED_SUITES.iter().find(|(number, _)| *number == suite)?;
        let (config, certificate) = (terms.certified.as_ref()?, terms.settings.certificate.as_ref()?);
        Some((Dtls::new_12(Arc::clone(config), certificate.to_library(), now), *name))
    })
}

impl Shown {
    fn verified(terms: &DtlsTerms, der: &[u8]) -> Option<Self> {
        verify(terms, der)?;
        Some(Self { der: der.into(), certificate: (terms.settings.describe)(der).ok()? })
    }
}

/// The library hands over the client's own certificate alone: one of the authorities has to have signed it itself.
fn verify(terms: &DtlsTerms, der: &[u8]) -> Option<()> {
    let verifier = terms.settings.client_verifier.as_ref()?;
    verifier.verify_client_cert(&CertificateDer::from(der), &[], UnixTime::now()).ok().map(drop)
}
