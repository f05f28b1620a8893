//! TLS from the command line: `althing cert` makes the certificates, and each way in which a handshake goes wrong
//! says what would be right.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::*;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;

/// A directory with a CA, a server's certificate for localhost, and a client's for ann.
struct Lab(PathBuf);

impl Lab {
    fn new() -> Self {
        let lab = Self(scratch_directory());
        for arguments in [&["ca"][..], &["server", "--name", "localhost"], &["client", "--name", "ann"]] {
            assert_exit(&lab.cert(arguments), 0);
        }
        lab
    }

    /// `althing cert COMMAND DIR …`
    fn cert(&self, arguments: &[&str]) -> Output {
        let mut all = vec!["cert", arguments[0], self.0.to_str().unwrap()];
        all.extend_from_slice(&arguments[1..]);
        run(&all)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    /// A server that shows `localhost.crt`, and asks for a client's certificate if it is to.
    fn server(&self, asks: bool) -> Arc<ServerConfig> {
        server(&self.0, "localhost", asks)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn server(directory: &Path, name: &str, asks: bool) -> Arc<ServerConfig> {
    let certificate = |name: &str| CertificateDer::from_pem_file(directory.join(name)).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let builder = if asks {
        let mut roots = RootCertStore::empty();
        roots.add(certificate("ca.crt")).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
        builder.with_client_cert_verifier(verifier.build().unwrap())
    } else {
        builder.with_no_client_auth()
    };
    let key = PrivateKeyDer::from_pem_file(directory.join(format!("{name}.key"))).unwrap();
    Arc::new(builder.with_single_cert(vec![certificate(&format!("{name}.crt"))], key).unwrap())
}

/// A broker that takes one QoS 0 message over TLS; the client may also give up, which is what most tests are about.
fn broker(config: Arc<ServerConfig>) -> Scripted {
    Scripted::start(move |listener| {
        let stream = accept(listener);
        let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
        let mut first = [0];
        if stream.read_exact(&mut first).is_err() {
            return drain(&mut stream);
        }
        let mut length = [0];
        stream.read_exact(&mut length).unwrap();
        stream.read_exact(&mut vec![0; length[0].into()]).unwrap();
        assert_eq!(first[0], CONNECT);
        stream.write_all(CONNACK).unwrap();
        expect_packet(&mut stream, PUBLISH_QOS_0);
        expect_packet(&mut stream, DISCONNECT);
        let _ = stream.read(&mut [0]);
    })
}

/// Until the client has read the alert and gone: closing with its bytes unread would reset the connection.
fn drain(stream: &mut StreamOwned<ServerConnection, TcpStream>) {
    while matches!(stream.sock.read(&mut [0; 1_024]), Ok(1..)) {}
}

/// Publishes to the broker at `host`, and expects this exit code.
#[track_caller]
fn publish(config: Arc<ServerConfig>, host: &str, options: &[&str], code: i32) -> String {
    let broker = broker(config);
    let url = format!("mqtts://{host}:{}/a", broker.port);
    let mut all = vec!["pub", "-L", &url, "-m", "hello"];
    all.extend_from_slice(options);
    let output = run(&all);
    assert_exit(&output, code);
    broker.finish();
    stderr(&output)
}

#[test]
fn who_trusts_the_ca_gets_through() {
    let lab = Lab::new();
    let ca = lab.path("ca.crt");
    publish(lab.server(false), "localhost", &["--cafile", &ca], 0);
    publish(lab.server(false), "127.0.0.1", &["--capath", lab.path("").as_str()], 0);
    publish(lab.server(false), "localhost", &["--cafile", &ca, "--tls-version", "tlsv1.2"], 0);
    publish(lab.server(false), "localhost", &["--cafile", &ca, "--tls-version", "tlsv1.3"], 0);
}

#[test]
fn an_unknown_ca_is_named_with_cafile() {
    let (lab, other) = (Lab::new(), Lab::new());
    let text = publish(lab.server(false), "localhost", &["--cafile", &other.path("ca.crt")], 3);
    assert!(text.contains("was the CA made anew?"), "{text}");
    assert_exit(&other.cert(&["ca", "--name", "Other CA", "--force"]), 0);
    let text = publish(lab.server(false), "localhost", &["--cafile", &other.path("ca.crt")], 3);
    assert!(text.contains("name its CA with --cafile"), "{text}");
    // A wrong CA is not a wrong name.
    publish(lab.server(false), "localhost", &["--cafile", &other.path("ca.crt"), "--insecure"], 3);
}

#[test]
fn another_name_says_which_ones_there_are() {
    let lab = Lab::new();
    assert_exit(&lab.cert(&["server", "--name", "broker.example"]), 0);
    let (ca, config) = (lab.path("ca.crt"), || server(&lab.0, "broker.example", false));
    let text = publish(config(), "127.0.0.1", &["--cafile", &ca], 3);
    assert!(text.contains("is for broker.example, not for 127.0.0.1"), "{text}");
    publish(config(), "127.0.0.1", &["--cafile", &ca, "--insecure"], 0);
}

#[test]
fn an_expired_certificate_says_since_when() {
    let lab = Lab::new();
    let key = KeyPair::from_pem(&fs::read_to_string(lab.path("ca.key")).unwrap()).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&fs::read_to_string(lab.path("ca.crt")).unwrap(), key).unwrap();
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 2, 3));
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate().unwrap();
    fs::write(lab.path("old.crt"), params.signed_by(&key, &issuer).unwrap().pem()).unwrap();
    fs::write(lab.path("old.key"), key.serialize_pem()).unwrap();
    let config = server(&lab.0, "old", false);
    let text = publish(config, "localhost", &["--cafile", &lab.path("ca.crt")], 3);
    assert!(text.contains("expired on 2021-02-03"), "{text}");
}

#[test]
fn a_client_shows_its_certificate_when_it_is_asked() {
    let (lab, other) = (Lab::new(), Lab::new());
    let ca = lab.path("ca.crt");
    let (cert, key) = (lab.path("ann.crt"), lab.path("ann.key"));
    publish(lab.server(true), "localhost", &["--cafile", &ca, "--cert", &cert, "--key", &key], 0);
    let text = publish(lab.server(true), "localhost", &["--cafile", &ca], 4);
    assert!(text.contains("add --cert and --key"), "{text}");
    let (cert, key) = (other.path("ann.crt"), other.path("ann.key"));
    let text = publish(lab.server(true), "localhost", &["--cafile", &ca, "--cert", &cert, "--key", &key], 4);
    assert!(text.contains("--cert"), "{text}");
}

#[test]
fn a_plain_port_says_so() {
    let lab = Lab::new();
    let broker = Scripted::start(|listener| {
        let mut stream = accept(listener);
        stream.read_exact(&mut [0; 5]).unwrap();
        stream.write_all(b"not TLS at all, whatever it is").unwrap();
        while matches!(stream.read(&mut [0; 1_024]), Ok(1..)) {}
    });
    let url = format!("mqtts://localhost:{}/a", broker.port);
    let output = run(&["pub", "-L", &url, "-m", "x", "--cafile", &lab.path("ca.crt")]);
    assert_exit(&output, 3);
    assert!(stderr(&output).contains("does not speak TLS on this port"), "{}", stderr(&output));
    broker.finish();
}

#[test]
fn a_port_with_tls_says_so_to_who_speaks_plain_text() {
    let lab = Lab::new();
    for scheme in ["mqtt", "stomp"] {
        let config = lab.server(false);
        let broker = Scripted::start(move |listener| {
            let stream = accept(listener);
            let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
            assert!(stream.read(&mut [0]).is_err());
            drain(&mut stream);
        });
        let output = run(&["pub", "-L", &format!("{scheme}://localhost:{}/a", broker.port), "-m", "x"]);
        assert_exit(&output, 3);
        assert!(stderr(&output).contains("speaks TLS on this port"), "{}", stderr(&output));
        broker.finish();
    }
}

#[test]
fn wrong_files_are_usage_errors() {
    let lab = Lab::new();
    let (ca, key) = (lab.path("ca.crt"), lab.path("ca.key"));
    for (options, part) in [
        (&["--cafile", key.as_str()][..], "no certificate in PEM"),
        (&["--cafile", &ca, "--cert", &lab.path("ann.crt"), "--key", &key], "does not belong"),
        (&["--cafile", &ca, "--cert", &lab.path("ann.crt"), "--key", &ca], "no private key in PEM"),
    ] {
        let mut all = vec!["pub", "-t", "a", "-m", "x"];
        all.extend_from_slice(options);
        let output = run(&all);
        assert_exit(&output, 2);
        assert!(stderr(&output).contains(part), "{}", stderr(&output));
    }
}

#[test]
fn cert_prints_what_it_made_and_overwrites_nothing_unasked() {
    let lab = Lab::new();
    let before = fs::read(lab.path("localhost.key")).unwrap();
    assert_eq!(fs::metadata(lab.path("localhost.key")).unwrap().permissions().mode() & 0o777, 0o600);
    let again = lab.cert(&["server", "--name", "localhost"]);
    assert_exit(&again, 2);
    assert!(stderr(&again).contains("--force"), "{}", stderr(&again));
    assert_eq!(fs::read(lab.path("localhost.key")).unwrap(), before);
    let forced = lab.cert(&["server", "--name", "localhost", "--force"]);
    assert_exit(&forced, 0);
    assert_ne!(fs::read(lab.path("localhost.key")).unwrap(), before);
    for part in ["SHA-256", "valid until", "Next:", "tls.certificate="] {
        assert!(stdout(&forced).contains(part), "{}", stdout(&forced));
    }
    let nowhere = run(&["cert", "client", "/nowhere/at/all", "--name", "ann"]);
    assert_exit(&nowhere, 2);
    assert!(stderr(&nowhere).contains("althing cert ca"), "{}", stderr(&nowhere));
}

#[test]
fn our_own_broker_speaks_tls_in_every_language_of_streams() {
    let lab = Lab::new();
    let settings = [
        "mqtt.bind=127.0.0.1:0".to_owned(),
        "mqtt.tls_bind=127.0.0.1:0".to_owned(),
        "stomp.tls_bind=127.0.0.1:0".to_owned(),
        "coap.tls_bind=127.0.0.1:0".to_owned(),
        "coap-tcp.tls_bind=127.0.0.1:0".to_owned(),
        "http.tls_bind=127.0.0.1:0".to_owned(),
        "admin.enabled=false".to_owned(),
        format!("tls.certificate={}", lab.path("localhost.crt")),
        format!("tls.key={}", lab.path("localhost.key")),
    ];
    let words = ["serve"].into_iter().chain(settings.iter().flat_map(|setting| ["--set", setting]));
    let mut broker = Running::start(althing(&words.collect::<Vec<_>>()));
    let banner = lines(broker.child().stdout.take().unwrap());
    let port_of = |name: &str| loop {
        let line = banner.recv_timeout(PATIENCE).expect("the banner names the listener");
        let mut words = line.split_whitespace();
        if words.next() == Some(name) {
            return words.next().unwrap().rsplit_once(':').unwrap().1.to_owned();
        }
    };
    let (mqtt, stomp) = (port_of("mqtt-tls"), port_of("stomp-tls"));
    let ca = lab.path("ca.crt");
    let (mqtts, stomps) = (format!("mqtts://localhost:{mqtt}/a/b"), format!("stomps://localhost:{stomp}/a/b"));

    for qos in ["0", "1", "2"] {
        let subscriber = Running::subscribed(&["sub", "-L", &mqtts, "--cafile", &ca, "-q", qos, "-C", "2"]);
        assert_exit(&run(&["pub", "-L", &mqtts, "--cafile", &ca, "-q", qos, "-m", "of mqtt"]), 0);
        assert_exit(&run(&["pub", "-L", &stomps, "--cafile", &ca, "-m", "of stomp"]), 0);
        assert_eq!(subscriber.finish().stdout, b"of mqtt\nof stomp\n");
    }
    let subscriber = Running::subscribed(&["sub", "-L", &stomps, "--cafile", &ca, "-q", "1", "-C", "1"]);
    // Many records, cut anywhere.
    let large = "x".repeat(300_000);
    assert_exit(&run_with_input(&["pub", "-L", &mqtts, "--cafile", &ca, "-s"], large.as_bytes()), 0);
    assert_eq!(subscriber.finish().stdout.len(), large.len() + 1);
    for load in [
        &["p2p", "--clients", "5", "--qos", "1"][..],
        &["fanout", "--clients", "20"],
        &["idle", "--clients", "20", "--tls-resume"],
    ] {
        let mut all = vec!["bench", "mqtt"];
        all.extend_from_slice(load);
        all.extend_from_slice(&[
            "--host",
            "localhost",
            "--port",
            &mqtt,
            "--tls",
            "--cafile",
            &ca,
            "--duration-s",
            "0.1",
        ]);
        let output = run(&all);
        assert_exit(&output, 0);
        assert!(stdout(&output).contains("lost 0, duplicated 0"), "{}", stdout(&output));
    }
    let untrusting = run(&["bench", "mqtt", "p2p", "--port", &mqtt, "--tls"]);
    assert_exit(&untrusting, 2);
    assert!(stderr(&untrusting).contains("add --cafile, or --insecure"), "{}", stderr(&untrusting));
}

#[test]
fn a_password_comes_from_the_environment_and_shows_in_no_error() {
    let broker = Scripted::start(|listener| {
        let mut stream = accept(listener);
        let connect = expect_packet(&mut stream, CONNECT);
        assert!(connect.ends_with(b"\0\x03ann\0\x07sesame!"), "{connect:02x?}");
        stream.write_all(&[0x20, 3, 0, 0x86, 0]).unwrap();
    });
    let directory = scratch_directory();
    let file = directory.join("password");
    fs::write(&file, "sesame!\n").unwrap();
    let mut command = althing(&["pub", "-h", "127.0.0.1", "-p", &broker.port, "-t", "a", "-m", "x"]);
    let output = command.env("ALTHING_USERNAME", "ann").env("ALTHING_PASSWORD_FILE", &file).output().unwrap();
    assert_exit(&output, 4);
    assert!(!stderr(&output).contains("sesame"), "{}", stderr(&output));
    broker.finish();
    let _ = fs::remove_dir_all(directory);
}
