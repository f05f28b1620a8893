//! Clients that show a certificate, as RFC 7252 §9.1.3.3 wants them.

use super::*;
use althing_core::link::Certificate;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod,
    KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::server::WebPkiClientVerifier;

/// A CA, and a list of those whom it has revoked.
struct Authority {
    issuer: Issuer<'static, rcgen::KeyPair>,
    roots: Arc<RootCertStore>,
}

/// Until when a certificate is good.
const FAR: i32 = 4000;

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = rcgen::KeyPair::generate().unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(params.self_signed(&key).unwrap().der().clone()).unwrap();
        Self { issuer: Issuer::new(params, key), roots: Arc::new(roots) }
    }

    /// A certificate with this serial number.
    fn sign(&self, name: &str, number: u64, year: i32) -> KeyPair {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(SerialNumber::from(number));
        (params.not_before, params.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(year, 1, 1));
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        KeyPair { certificate, private_key: key.serialize_der() }
    }

    /// Believes this CA, but for certificates with these serial numbers.
    fn terms(&self, revoked: &[u64]) -> DtlsTerms {
        let revoked_certs = revoked.iter().map(|number| RevokedCertParams {
            serial_number: SerialNumber::from(*number),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(4000, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked_certs.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.issuer).unwrap().der().clone();
        let provider = Arc::new(ring::default_provider());
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::clone(&self.roots), provider);
        DtlsTerms::new(DtlsSettings {
            certificate: Some(self.sign("server", 1, FAR)),
            client_verifier: Some(builder.with_crls([list]).build().unwrap()),
            // Enough of a reader: the owner's name is among the bytes.
            describe: |der| {
                let is_lamp = der.windows(4).any(|window| window == b"lamp");
                Ok(Certificate { subject: if is_lamp { "lamp" } else { "other" }.into(), ..Certificate::default() })
            },
            ..terms(&[]).settings
        })
        .unwrap()
    }
}

impl Client {
    fn showing(pair: &KeyPair, port: u16) -> Self {
        let config = Arc::new(Config::builder().build().unwrap());
        Self::with(port, |start| Dtls::new_12(config, pair.to_library(), start))
    }
}

#[test]
fn a_certificate_of_a_known_authority_is_whom_the_link_names() {
    let authority = Authority::new();
    let mut server = Server::with(authority.terms(&[13]));
    let mut client = Client::showing(&authority.sign("lamp", 7, FAR), 1);
    server.talk(&mut client);
    assert!(client.is_connected);
    client.say("hello").iter().for_each(|packet| server.take(client.remote, packet));
    assert_eq!(server.heard, [(client.remote, b"hello".to_vec())]);
    let facts = server.associations.facts(client.remote).unwrap();
    assert_eq!(facts.tls.certificate.as_ref().unwrap().subject, "lamp");
    assert!(facts.tls.cipher.starts_with("TLS_ECDHE_ECDSA_WITH_") && facts.shared_key.is_none());
}

#[test]
fn unknown_expired_and_revoked_certificates_do_not_get_in() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let good = authority.sign("lamp", 7, FAR);
    let stolen = KeyPair { certificate: good.certificate.clone(), ..authority.sign("lamp", 7, FAR) };
    for (port, pair) in [
        (1, stranger.sign("lamp", 7, FAR)),
        (2, authority.sign("lamp", 7, 2001)),
        (3, authority.sign("lamp", 13, FAR)),
        (4, stolen),
    ] {
        let mut server = Server::with(authority.terms(&[13]));
        let mut client = Client::showing(&pair, port);
        server.talk(&mut client);
        assert!(!client.is_connected && server.associations.facts(client.remote).is_none(), "{port}");
        assert_eq!(server.associations.len(), (0, 0), "{port}");
    }
}

#[test]
fn new_terms_leave_associations_alone_but_for_those_that_they_refuse() {
    let authority = Authority::new();
    let mut server = Server::with(authority.terms(&[]));
    let mut good = Client::showing(&authority.sign("lamp", 7, FAR), 1);
    let mut revoked = Client::showing(&authority.sign("other", 13, FAR), 2);
    server.talk(&mut good);
    server.talk(&mut revoked);
    server.acceptor.set_terms(authority.terms(&[13]));
    good.say("still here").iter().for_each(|packet| server.take(good.remote, packet));
    server.talk(&mut revoked);
    assert_eq!(server.heard, [(good.remote, b"still here".to_vec())]);
    assert_eq!(server.left, [revoked.remote]);
    assert!(revoked.is_closed && !good.is_closed);
    let mut newcomer = Client::showing(&authority.sign("lamp", 8, FAR), 3);
    server.talk(&mut newcomer);
    assert!(newcomer.is_connected);
}
