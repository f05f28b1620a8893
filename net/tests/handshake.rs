//! Handshakes that fail, and those who never mean to finish one: each ends alone, in time, with a sentence in the log.

#![allow(clippy::unwrap_used, reason = "a failure of any step fails the test")]

mod lab;
mod language;

use althing_core::Limits;
use althing_core::link::Certificate;
use althing_net::{TlsAcceptor, TlsTerms, local};
use lab::{BOTH, LONG, Lab, Leaf, connect, connect_with, gate, localhost, terms};
use language::{House, hear, house, house_with, say};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, version};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Soon, for tests that wait for the deadline.
const SOON: Duration = Duration::from_millis(30);

/// What a client says first.
fn hello(config: ClientConfig) -> Vec<u8> {
    let mut client = ClientConnection::new(Arc::new(config), localhost()).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

/// Reads until the broker closes.
async fn hear_end(peer: &mut TcpStream) {
    // A reset is an end, too.
    let _ = peer.read_to_end(&mut Vec::new()).await;
}

/// A client goes on as if it had been let in, and finds out.
async fn is_refused(config: ClientConfig, address: &str) -> bool {
    let Ok(mut peer) = connect(config, address).await else { return true };
    let _ = peer.write_all(b"hello\n").await;
    peer.read(&mut [0; 6]).await.is_err()
}

#[test]
fn a_certificate_is_required_where_it_is_and_offered_where_it_may_be() {
    house(async |house: House| {
        let lab = Lab::new();
        let required = house.listen_behind(gate(&lab.acceptor(Some(lab.verifier(true)))), "127.0.0.1:0").to_string();
        let optional = house.listen_behind(gate(&lab.acceptor(Some(lab.verifier(false)))), "127.0.0.1:0").to_string();
        for version in [&version::TLS12, &version::TLS13] {
            let with = || lab.client(&[version], Some(lab.leaf("lamp", 7)));
            let without = || lab.client(&[version], None);
            for (address, config, owner) in
                [(&required, with(), "lamp"), (&optional, with(), "lamp"), (&optional, without(), "-")]
            {
                let mut peer = connect(config, address).await.unwrap();
                say(&mut peer, "link\n").await;
                let mut heard = vec![0; 200];
                let length = peer.read(&mut heard).await.unwrap();
                assert!(heard[..length].ends_with(format!(" {owner}\n").as_bytes()), "{}", heard.escape_ascii());
            }
            assert!(is_refused(without(), &required).await);
            house.closed("showed no client certificate, which is required here (client_certificate)").await;
        }
    });
}

#[test]
fn a_certificate_that_is_not_good_is_named() {
    house(async |house: House| {
        let (lab, stranger) = (Lab::new(), Lab::new());
        let address = house.listen_behind(gate(&lab.acceptor(Some(lab.verifier(false)))), "127.0.0.1:0").to_string();
        let refused = async |leaf: Leaf, why: &str| {
            for version in [&version::TLS12, &version::TLS13] {
                let leaf = Leaf { chain: leaf.chain.clone(), key: leaf.key.clone_key() };
                assert!(is_refused(lab.client(&[version], Some(leaf)), &address).await);
                house.closed(why).await;
            }
        };
        refused(lab.leaf("lamp", 13), "showed a client certificate that has been revoked").await;
        refused(stranger.leaf("lamp", 7), "showed a client certificate that none of client_ca has signed").await;
    });
}

#[test]
fn a_ticket_does_not_outlive_the_certificate() {
    house(async |house: House| {
        let lab = Lab::new();
        // The certificate ends between the two handshakes: it is verified in the first one only.
        let describe = |_: &[u8]| Ok(Certificate { not_after_s: 1, ..Certificate::default() });
        let terms = TlsTerms::new(lab.server("localhost", Some(lab.verifier(true))), &[], LONG, describe);
        let address = house.listen_behind(gate(&Arc::new(TlsAcceptor::new(terms))), "127.0.0.1:0").to_string();
        let config = Arc::new(lab.client(BOTH, Some(lab.leaf("lamp", 7))));
        let mut peer = connect_with(&config, &address).await.unwrap();
        say(&mut peer, "hello\n").await;
        hear(&mut peer, "hello\n").await;
        let mut peer = connect_with(&config, &address).await.unwrap();
        assert_eq!(peer.get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed));
        assert!(peer.read(&mut [0; 6]).await.is_err());
        house.closed("showed a client certificate that has expired: renew it").await;
    });
}

#[test]
fn who_does_not_trust_us_is_told_apart() {
    house(async |house: House| {
        let address = house.listen_behind(gate(&Lab::new().acceptor(None)), "127.0.0.1:0").to_string();
        assert!(connect(Lab::new().client(BOTH, None), &address).await.is_err());
        house.closed("does not trust our certificate").await;
    });
}

#[test]
fn a_dribbling_handshake_ends_in_time_in_every_phase() {
    house(async |house: House| {
        let lab = Lab::new();
        let acceptor = Arc::new(TlsAcceptor::new(terms(lab.server("localhost", None), SOON)));
        let address = house.listen_behind(gate(&acceptor), "127.0.0.1:0").to_string();
        let hello = hello(lab.client(BOTH, None));
        let finished = |bytes: &[u8]| [bytes, &[22, 3, 3, 0, 40, 0, 0]].concat();
        let phases: [(&str, Vec<u8>); 6] = [
            ("silent", Vec::new()),
            ("the first byte", hello[..1].to_vec()),
            ("the head of the record", hello[..5].to_vec()),
            ("half a hello", hello[..hello.len() / 2].to_vec()),
            ("a hello and nothing more", hello.clone()),
            ("half of the last words", finished(&hello)),
        ];
        for (phase, bytes) in phases {
            let mut peer = TcpStream::connect(&address).await.unwrap();
            peer.write_all(&bytes).await.unwrap();
            hear_end(&mut peer).await;
            house.closed("did not finish the TLS handshake in time (tls.handshake_timeout_ms)").await;
            assert_eq!(local::counters().connections, 0, "{phase}");
        }
        // A byte now and then moves no deadline.
        let (mut reading, mut writing) = TcpStream::connect(&address).await.unwrap().into_split();
        let dribble = async {
            for byte in hello.iter().cycle() {
                if writing.write_all(&[*byte]).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        };
        let mut rest = Vec::new();
        tokio::select! {
            () = dribble => {}
            _ = reading.read_to_end(&mut rest) => {}
        }
        assert_eq!(local::counters().connections_total, 0);
    });
}

#[test]
fn what_is_no_handshake_is_told_apart() {
    let huge = |length: usize| {
        let mut bytes = Vec::new();
        let message = [&[1, 0, 0xff, 0xff, 3, 3][..], &vec![7; length]].concat();
        for fragment in message.chunks(16_384) {
            bytes.extend([22, 3, 1]);
            bytes.extend((fragment.len() as u16).to_be_bytes());
            bytes.extend(fragment);
        }
        bytes
    };
    let cases: [(&str, Vec<u8>, &str); 7] = [
        (
            "MQTT",
            b"\x10\x0c\x00\x04MQTT\x04\x02\x00<\x00\x00".to_vec(),
            r#"does not speak TLS (it began with "\x10\x0c\x00\x04MQTT"#,
        ),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), r#"does not speak TLS (it began with "GET / HTTP"#),
        ("a huge hello", huge(60_000), "sent more than a TLS handshake can need"),
        ("a record without end", [&[22, 3, 1, 0xff, 0xff][..], &[1; 70_000]].concat(), "TLS"),
        ("an alert", vec![21, 3, 1, 0, 2, 2, 80], "does not speak TLS"),
        ("no hello", vec![22, 3, 1, 0, 4, 14, 0, 0, 0], "failed in the TLS handshake"),
        ("SSL 3", [&[22, 3, 0, 0, 45, 1, 0, 0, 41, 3, 0][..], &[7; 32], &[0, 0, 2, 0, 47, 1, 0]].concat(), "TLS"),
    ];
    house(async |house: House| {
        let lab = Lab::new();
        let address = house.listen_behind(gate(&lab.acceptor(None)), "127.0.0.1:0").to_string();
        for (name, bytes, why) in cases {
            let mut peer = TcpStream::connect(&address).await.unwrap();
            // The broker may end it before all is written.
            let _ = peer.write_all(&bytes).await;
            hear_end(&mut peer).await;
            println!("{name}");
            house.closed(why).await;
        }
        let mut good = connect(lab.client(BOTH, None), &address).await.unwrap();
        say(&mut good, "hello\n").await;
        hear(&mut good, "hello\n").await;
        assert_eq!(local::counters().connections, 1);
    });
}

#[test]
fn any_change_to_a_hello_ends_one_connection_at_most() {
    house(async |house: House| {
        let lab = Lab::new();
        let acceptor = Arc::new(TlsAcceptor::new(terms(lab.server("localhost", None), SOON)));
        let address = house.listen_behind(gate(&acceptor), "127.0.0.1:0").to_string();
        let hello = hello(lab.client(BOTH, None));
        let mut peers = Vec::new();
        for place in 0..hello.len() {
            let mut bytes = hello.clone();
            bytes[place] ^= 1 << (place % 8);
            let mut peer = TcpStream::connect(&address).await.unwrap();
            let _ = peer.write_all(&bytes).await;
            peers.push(peer);
        }
        for mut peer in peers {
            hear_end(&mut peer).await;
        }
        assert_eq!(local::counters().connections_total, 0);
        acceptor.set_terms(terms(lab.server("localhost", None), LONG));
        let mut good = connect(lab.client(BOTH, None), &address).await.unwrap();
        say(&mut good, "hello\n").await;
        hear(&mut good, "hello\n").await;
    });
}

#[test]
fn failed_handshakes_leave_nothing_behind() {
    // One place only: any that is not given back is missed at once.
    house_with(Limits { connections_max: 1, ..Limits::default() }, async |house: House| {
        let lab = Lab::new();
        let address = house.listen_behind(gate(&lab.acceptor(None)), "127.0.0.1:0").to_string();
        for _ in 0..500 {
            let mut peer = TcpStream::connect(&address).await.unwrap();
            let _ = peer.write_all(b"garbage\n").await;
            hear_end(&mut peer).await;
            house.closed("garbage").await;
        }
        let mut good = connect(lab.client(BOTH, None), &address).await.unwrap();
        say(&mut good, "hello\n").await;
        hear(&mut good, "hello\n").await;
    });
}

#[test]
fn those_on_their_way_in_are_counted_as_connections() {
    house_with(Limits { connections_max: 2, ..Limits::default() }, async |house: House| {
        let lab = Lab::new();
        let address = house.listen_behind(gate(&lab.acceptor(None)), "127.0.0.1:0").to_string();
        let mut waiting =
            vec![TcpStream::connect(&address).await.unwrap(), TcpStream::connect(&address).await.unwrap()];
        let mut refused = TcpStream::connect(&address).await.unwrap();
        hear_end(&mut refused).await;
        house.closed("limits.connections_max is reached").await;
        // Who leaves without a word is not worth one.
        drop(waiting.pop());
        while local::counters().connections_total == 0 {
            let _ = connect(lab.client(BOTH, None), &address).await;
        }
    });
}
