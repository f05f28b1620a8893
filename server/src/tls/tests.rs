use super::names::CertificatesByName;
use super::*;
use crate::config::Config;
use crate::serve::ServeOptions;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, SanType, SerialNumber, date_time_ymd,
};
use rustls::SignatureScheme;
use std::fs;
use tempfile::TempDir;

/// A directory of certificates, and configurations that use them.
struct Lab {
    directory: TempDir,
}

impl Lab {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(name), text).unwrap();
    }

    /// `STEM.crt` and `STEM.key`, for these names, until the end of this year.
    fn make(&self, stem: &str, names: &[&str], year: i32, key: &KeyPair) {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names.iter().map(|name| SanType::DnsName((*name).try_into().unwrap())).collect();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, stem);
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(year, 12, 31);
        self.write(&format!("{stem}.crt"), params.self_signed(key).unwrap().pem());
        self.write(&format!("{stem}.key"), key.serialize_pem());
    }

    /// The listeners of a configuration in which `FILE` stands for a file in here.
    fn listens(&self, set: &[&str]) -> Vec<Listen> {
        let file = |text: &&str| match text.split_once("=@") {
            Some((key, name)) => format!("{key}={}", self.path(name).display()),
            None => (*text).to_owned(),
        };
        let set = set.iter().map(file).collect();
        Config::load(&ServeOptions { set, ..ServeOptions::default() }).unwrap().listens().unwrap()
    }

    fn prepare(&self, set: &[&str]) -> Result<Prepared, String> {
        prepare(&self.listens(set)).map_err(|error| error.to_string().replace(self.path("").to_str().unwrap(), ""))
    }
}

const SERVER: [&str; 2] = ["tls.certificate=@a.crt", "tls.key=@a.key"];

#[test]
fn certificates_in_use_are_told_with_their_listeners() {
    let lab = Lab::new();
    lab.make("a", &["a.example", "*.b.example"], 4000, &KeyPair::generate().unwrap());
    lab.make("ca", &[], 3000, &KeyPair::generate().unwrap());
    let set = [&SERVER[..], &["tls.client_ca=@ca.crt", "tls.client_certificate=optional"]].concat();
    let stores = TlsStores::default();
    assert_eq!(
        stores.apply(lab.prepare(&set).unwrap()),
        ["mqtt-tls", "stomp-tls", "coap-tcp-tls", "http-tls", "coap-tls"]
    );
    let told = stores.certificates();
    let shown: Vec<_> = told.iter().map(|it| (it.role.name(), &it.subject[..], &it.listeners[..])).collect();
    // Inside DTLS there is no certificate that may be shown or not.
    let verifying = ["coap-tcp-tls", "http-tls", "mqtt-tls", "stomp-tls"].as_slice();
    let showing = ["coap-tcp-tls", "coap-tls", "http-tls", "mqtt-tls", "stomp-tls"].as_slice();
    assert_eq!(shown, [("client_ca", "CN=ca", verifying), ("server", "CN=a", showing)]);
    assert_eq!(told[1].names, ["a.example", "*.b.example"]);
    assert_eq!(told[1].file, lab.path("a.crt"));
    assert_eq!(files(&lab.listens(&set)), ["a.crt", "a.key", "ca.crt"].map(|name| lab.path(name)));
}

#[test]
fn every_kind_of_key_is_read() {
    let lab = Lab::new();
    for (name, key) in [
        ("pkcs8", KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()),
        ("ed25519", KeyPair::generate_for(&PKCS_ED25519).unwrap()),
    ] {
        lab.make("a", &["a.example"], 4000, &key);
        assert!(lab.prepare(&SERVER).is_ok(), "{name}");
    }
}

#[test]
fn what_is_wrong_is_named_with_the_remedy_and_the_old_stays() {
    let lab = Lab::new();
    let stores = TlsStores::default();
    lab.make("a", &["a.example"], 4000, &KeyPair::generate().unwrap());
    stores.apply(lab.prepare(&SERVER).unwrap());
    let (acceptor, told) = (stores.acceptor("mqtt-tls").unwrap(), stores.certificates());
    let terms = acceptor.terms();

    lab.make("old", &["a.example"], 2020, &KeyPair::generate().unwrap());
    lab.make("other", &["a.example"], 4000, &KeyPair::generate().unwrap());
    lab.make("ca", &[], 4000, &KeyPair::generate().unwrap());
    lab.write("empty", "");
    lab.write("broken", "-----BEGIN CERTIFICATE-----\nAAAA!\n-----END CERTIFICATE-----\n");
    lab.write("nothing.crt", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    lab.write("locked.key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n");
    lab.write("nothing.key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    fs::create_dir(lab.path("directory")).unwrap();
    let client = |crl: &'static str| {
        ["tls.certificate=@a.crt", "tls.key=@a.key", "tls.client_certificate=required", "tls.client_ca=@ca.crt", crl]
    };
    let pair = |certificate: &'static str, key: &'static str| vec![certificate, key];
    for (set, expected) in [
        (pair("tls.certificate=@none.crt", "tls.key=@a.key"), "none.crt, the certificate, does not exist: correct"),
        (pair("tls.certificate=@a.crt", "tls.key=@none.key"), "none.key, the key, does not exist: correct the path"),
        (pair("tls.certificate=@directory", "tls.key=@a.key"), "directory, the certificate, cannot be read"),
        (pair("tls.certificate=@empty", "tls.key=@a.key"), "empty holds no certificate in PEM: one begins with"),
        (pair("tls.certificate=@broken", "tls.key=@a.key"), "broken cannot be read as PEM"),
        (pair("tls.certificate=@nothing.crt", "tls.key=@a.key"), "nothing.crt cannot be used: it is no X.509"),
        (pair("tls.certificate=@a.crt", "tls.key=@empty"), "empty holds no key in PEM"),
        (pair("tls.certificate=@a.crt", "tls.key=@locked.key"), "locked.key holds a key behind a password"),
        (pair("tls.certificate=@a.crt", "tls.key=@nothing.key"), "nothing.key holds a key that cannot be used"),
        (pair("tls.certificate=@a.crt", "tls.key=@other.key"), "other.key is not the key to a.crt: give the two"),
        (pair("tls.certificate=@old.crt", "tls.key=@old.key"), "old.crt has expired: renew the certificate of CN=old"),
        (client("tls.crl=@none.crl").to_vec(), "none.crl, crl, does not exist"),
        (client("tls.crl=@empty").to_vec(), "empty holds no list of revoked certificates"),
        (client("tls.client_ca=@empty").to_vec(), "empty holds no certificate in PEM"),
        (client("tls.client_ca=@old.crt").to_vec(), "old.crt holds only certificates that have expired"),
    ] {
        let error = lab.prepare(&set).unwrap_err();
        assert!(error.starts_with(expected), "{error}\ninstead of {expected}");
        assert!(Arc::ptr_eq(&terms, &acceptor.terms()));
        assert_eq!(stores.certificates(), told);
    }
}

#[test]
fn lists_of_revoked_certificates_are_read_while_they_are_in_date() {
    let lab = Lab::new();
    lab.make("a", &["a.example"], 4000, &KeyPair::generate().unwrap());
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().unwrap();
    lab.write("ca.crt", params.self_signed(&key).unwrap().pem());
    let issuer = Issuer::new(params, key);
    for (name, year) in [("good.crl", 4000), ("old.crl", 2001)] {
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2000, 1, 1),
            next_update: date_time_ymd(year, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        lab.write(name, params.signed_by(&issuer).unwrap().pem().unwrap());
    }
    let with = |crl| [&SERVER[..], &["tls.client_ca=@ca.crt", "tls.client_certificate=required", crl]].concat();
    let stores = TlsStores::default();
    stores.apply(lab.prepare(&with("tls.crl=@good.crl")).unwrap());
    assert!(stores.certificates().iter().any(|it| it.role == CertificateRole::RevocationList));
    let error = lab.prepare(&with("tls.crl=@old.crl")).unwrap_err();
    assert!(error.starts_with("old.crl is out of date: get the present list"), "{error}");
}

#[test]
fn only_what_is_different_is_taken_up() {
    let lab = Lab::new();
    let stores = TlsStores::default();
    lab.make("a", &["a.example"], 4000, &KeyPair::generate().unwrap());
    lab.make("b", &["b.example"], 4000, &KeyPair::generate().unwrap());
    let listener = [
        "listeners.garden.protocol=mqtt",
        "listeners.garden.bind=127.0.0.1:1",
        "listeners.garden.tls=true",
        "listeners.garden.certificate=@b.crt",
        "listeners.garden.key=@b.key",
    ];
    let set = [&SERVER[..], &listener].concat();
    stores.apply(lab.prepare(&set).unwrap());
    let terms = |name: &str| stores.acceptor(name).unwrap().terms();
    let (mqtt, garden) = (terms("mqtt-tls"), terms("garden"));
    assert!(stores.apply(lab.prepare(&set).unwrap()).is_empty());
    assert!(Arc::ptr_eq(&mqtt, &terms("mqtt-tls")));

    lab.make("b", &["c.example"], 4000, &KeyPair::generate().unwrap());
    assert_eq!(stores.apply(lab.prepare(&set).unwrap()), ["garden"]);
    assert!(Arc::ptr_eq(&mqtt, &terms("mqtt-tls")));
    assert!(!Arc::ptr_eq(&garden, &terms("garden")));
    assert!(stores.certificates().iter().any(|it| it.names == ["c.example"]));
}

#[test]
fn peers_get_the_certificate_for_the_name_that_they_ask_for() {
    let lab = Lab::new();
    let (ecdsa, ed25519) = (KeyPair::generate().unwrap(), KeyPair::generate_for(&PKCS_ED25519).unwrap());
    lab.make("first", &["a.example"], 4000, &ecdsa);
    lab.make("second", &["B.example", "*.b.example"], 4000, &ecdsa);
    lab.make("third", &["b.example"], 4000, &ed25519);
    let mut by_name = CertificatesByName::default();
    let provider = ring::default_provider();
    let mut certificates = Vec::new();
    for stem in ["first", "second", "third"] {
        let path = |ending: &str| lab.path(&format!("{stem}.{ending}"));
        let chain = Chain::read(&path("crt"), &path("key"), &provider).unwrap();
        certificates.push(chain.key.cert[0].clone());
        by_name.add(chain);
    }
    let both = [SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ED25519];
    for (name, schemes, expected) in [
        (None, &both[..], 0),
        (Some("a.example"), &both, 0),
        (Some("A.EXAMPLE"), &both, 0),
        (Some("b.example"), &both, 1),
        (Some("x.b.example"), &both, 1),
        (Some("y.x.b.example"), &both, 0),
        (Some("unknown"), &both, 0),
        // Of two for one name, the one with a key that the peer can verify.
        (Some("b.example"), &both[1..], 2),
        (None, &both[1..], 2),
        (Some("b.example"), &[SignatureScheme::RSA_PKCS1_SHA256], 0),
    ] {
        let found = by_name.find(name, schemes).unwrap();
        assert_eq!(found.cert[0], certificates[expected], "{name:?}");
    }
}
