//! Certificates, servers' terms and clients for tests of TLS.
#![allow(dead_code, reason = "each test file uses its part")]

use althing_core::link::Certificate;
use althing_net::{Gate, TlsAcceptor, TlsTerms};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion, version};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub type TlsPeer = TlsStream<TcpStream>;

/// A CA.
pub struct Lab {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

/// A certificate and its key.
pub struct Leaf {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

pub const BOTH: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];

/// Far away, for tests that are not about the deadline.
pub const LONG: Duration = Duration::from_secs(3_600);

impl Lab {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// A certificate for `name`; clients are revoked by their number.
    pub fn leaf(&self, name: &str, number: u64) -> Leaf {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(SerialNumber::from(number));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Leaf { chain: vec![certificate.der().clone()], key: PrivateKeyDer::Pkcs8(key.serialize_der().into()) }
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        roots
    }

    fn revoked(&self, number: u64) -> CertificateRevocationListDer<'static> {
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from(number),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(4000, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().der().clone()
    }

    /// Verifies peers' certificates; number 13 is revoked.
    pub fn verifier(&self, is_required: bool) -> Arc<dyn ClientCertVerifier> {
        let roots = Arc::new(self.roots());
        let builder = WebPkiClientVerifier::builder_with_provider(roots, provider()).with_crls([self.revoked(13)]);
        if is_required { builder.build() } else { builder.allow_unauthenticated().build() }.unwrap()
    }

    pub fn server(&self, name: &str, verifier: Option<Arc<dyn ClientCertVerifier>>) -> ServerConfig {
        let Leaf { chain, key } = self.leaf(name, 1);
        let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(BOTH).unwrap();
        let builder = match verifier {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain, key).unwrap();
        config.ticketer = ring::Ticketer::new().unwrap();
        config
    }

    pub fn acceptor(&self, verifier: Option<Arc<dyn ClientCertVerifier>>) -> Arc<TlsAcceptor> {
        Arc::new(TlsAcceptor::new(terms(self.server("localhost", verifier), LONG)))
    }

    /// A client that trusts this CA.
    pub fn client(&self, versions: &[&'static SupportedProtocolVersion], leaf: Option<Leaf>) -> ClientConfig {
        let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(versions).unwrap();
        let builder = builder.with_root_certificates(self.roots());
        match leaf {
            Some(Leaf { chain, key }) => builder.with_client_auth_cert(chain, key).unwrap(),
            None => builder.with_no_client_auth(),
        }
    }
}

pub fn terms(config: ServerConfig, handshake_timeout: Duration) -> TlsTerms {
    let describe = |der: &[u8]| {
        // Enough of a reader: the owner's name is among the bytes.
        let names = ["lamp", "localhost"];
        let is_in = |name: &&&str| der.windows(name.len()).any(|window| window == name.as_bytes());
        let subject = names.iter().find(is_in).map_or("somebody", |name| name).to_owned();
        Ok(Certificate { subject, not_after_s: i64::MAX, ..Certificate::default() })
    };
    TlsTerms::new(config, &[b"line"], handshake_timeout, describe)
}

pub fn gate(acceptor: &Arc<TlsAcceptor>) -> Gate {
    Gate { proxy: None, tls: Some(Arc::clone(acceptor)) }
}

pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Connects and does the handshake, as far as a client can tell.
pub async fn connect(config: ClientConfig, address: &str) -> std::io::Result<TlsPeer> {
    connect_with(&Arc::new(config), address).await
}

pub async fn connect_with(config: &Arc<ClientConfig>, address: &str) -> std::io::Result<TlsPeer> {
    let socket = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::clone(config)).connect(localhost(), socket).await
}

pub fn localhost() -> ServerName<'static> {
    "localhost".try_into().unwrap()
}
