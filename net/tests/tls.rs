//! TLS streams: what a plain stream carries they carry too, and the link says what was settled.

#![allow(clippy::unwrap_used, reason = "a failure of any step fails the test")]

mod lab;
mod language;

use althing_core::Limits;
use althing_net::local;
use lab::{BOTH, LONG, Lab, TlsPeer, connect, connect_with, gate, localhost, terms};
use language::{House, hear, house, house_with, say};
use rustls::{HandshakeKind, version};
use std::io::ErrorKind;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

/// What is left to be heard, and how the stream ends: with TLS's own word, or cut off.
async fn hear_end(peer: &mut TlsPeer) -> Result<Vec<u8>, ErrorKind> {
    let mut rest = Vec::new();
    peer.read_to_end(&mut rest).await.map(|_| rest).map_err(|error| error.kind())
}

#[test]
fn lines_are_echoed_in_both_versions_however_they_are_cut() {
    house(async |house: House| {
        let lab = Lab::new();
        let address = house.listen_behind(gate(&lab.acceptor(None)), "127.0.0.1:0").to_string();
        for version in [&version::TLS12, &version::TLS13] {
            let mut peer = connect(lab.client(&[version], None), &address).await.unwrap();
            assert_eq!(peer.get_ref().1.protocol_version(), Some(version.version));
            say(&mut peer, "one\ntwo\nthr").await;
            hear(&mut peer, "one\ntwo\n").await;
            for byte in ["e", "e", "\n"] {
                say(&mut peer, byte).await;
                peer.flush().await.unwrap();
            }
            hear(&mut peer, "three\n").await;
            let long = format!("{}\n", "x".repeat(1_000_000));
            let (mut reading, mut writing) = tokio::io::split(peer);
            tokio::join!(say(&mut writing, &long), hear(&mut reading, &long));
        }
    });
}

#[test]
fn records_of_any_size_arrive() {
    house(async |house: House| {
        let lab = Lab::new();
        let address = house.listen_behind(gate(&lab.acceptor(None)), "127.0.0.1:0").to_string();
        for fragment_bytes in [32, 1_000, 16 << 10] {
            // The hello, too, comes in fragments of this size.
            let mut config = lab.client(BOTH, None);
            config.max_fragment_size = Some(fragment_bytes);
            let mut peer = connect(config, &address).await.unwrap();
            for length in [1, 31, 32, 16_383, 16_384, 16_385, 70_000] {
                let line = format!("{}\n", "x".repeat(length));
                let (mut reading, mut writing) = tokio::io::split(&mut peer);
                tokio::join!(say(&mut writing, &line), hear(&mut reading, &line));
            }
        }
    });
}

#[test]
fn the_link_says_what_was_settled() {
    house(async |house: House| {
        let lab = Lab::new();
        let address = house.listen_behind(gate(&lab.acceptor(Some(lab.verifier(false)))), "127.0.0.1:0").to_string();
        for (protocols, agreed) in [(vec![], "-"), (vec!["line"], "line"), (vec!["other", "line"], "line")] {
            let mut config = lab.client(&[&version::TLS13], None);
            config.alpn_protocols = protocols.iter().map(|it: &&str| it.as_bytes().to_vec()).collect();
            let mut peer = connect(config, &address).await.unwrap();
            say(&mut peer, "link\n").await;
            hear(&mut peer, &format!("127.0.0.1 TLSv1.3 TLS_AES_256_GCM_SHA384 localhost {agreed} -\n")).await;
        }
        let mut config = lab.client(&[&version::TLS12], Some(lab.leaf("lamp", 7)));
        config.enable_sni = false;
        let mut peer = connect(config, &address).await.unwrap();
        say(&mut peer, "link\n").await;
        hear(&mut peer, "127.0.0.1 TLSv1.2 TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 - - lamp\n").await;
    });
}

#[test]
fn a_protocol_that_is_not_ours_is_no_error() {
    house(async |house: House| {
        let lab = Lab::new();
        let address = house.listen_behind(gate(&lab.acceptor(None)), "127.0.0.1:0").to_string();
        let mut config = lab.client(BOTH, None);
        config.alpn_protocols = vec![b"other".to_vec()];
        let mut peer = connect(config, &address).await.unwrap();
        say(&mut peer, "hello\n").await;
        hear(&mut peer, "hello\n").await;
        assert_eq!(peer.get_ref().1.alpn_protocol(), None);
    });
}

#[test]
fn sessions_are_resumed_with_the_certificate_that_was_verified() {
    house(async |house: House| {
        let lab = Lab::new();
        let acceptor = lab.acceptor(Some(lab.verifier(true)));
        let address = house.listen_behind(gate(&acceptor), "127.0.0.1:0").to_string();
        for version in [&version::TLS12, &version::TLS13] {
            let config = Arc::new(lab.client(&[version], Some(lab.leaf("lamp", 7))));
            let mut kinds = Vec::new();
            for _ in 0..2 {
                let mut peer = connect_with(&config, &address).await.unwrap();
                say(&mut peer, "link\n").await;
                let mut heard = [0; 200];
                let length = peer.read(&mut heard).await.unwrap();
                assert!(heard[..length].ends_with(b" lamp\n"), "{}", heard.escape_ascii());
                kinds.push(peer.get_ref().1.handshake_kind().unwrap());
            }
            assert_eq!(kinds, [HandshakeKind::Full, HandshakeKind::Resumed]);
            // New terms: who was verified under the old ones is verified again.
            acceptor.set_terms(terms(lab.server("localhost", Some(lab.verifier(true))), LONG));
            let mut peer = connect_with(&config, &address).await.unwrap();
            say(&mut peer, "hello\n").await;
            hear(&mut peer, "hello\n").await;
            assert_eq!(peer.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
        }
    });
}

#[test]
fn a_slow_reader_gets_everything_and_holds_up_nobody() {
    let limits = Limits { write_buffer_high_bytes: 16 << 20, ..Limits::default() };
    house_with(limits, async |house: House| {
        let lab = Lab::new();
        let address = house.listen_behind(gate(&lab.acceptor(None)), "127.0.0.1:0").to_string();
        let mut slow = connect(lab.client(BOTH, None), &address).await.unwrap();
        say(&mut slow, "big 8000000\nafter\n").await;
        let mut other = connect(lab.client(BOTH, None), &address).await.unwrap();
        say(&mut other, "hello\n").await;
        hear(&mut other, "hello\n").await;
        let mut heard = vec![0; 8_000_000];
        slow.read_exact(&mut heard).await.unwrap();
        assert!(heard.iter().all(|byte| *byte == b'b'));
        hear(&mut slow, "after\n").await;
    });
}

#[test]
fn publishers_wait_for_a_slow_subscriber_and_nothing_is_lost() {
    const MESSAGES: usize = 500;
    const PAYLOAD_BYTES: usize = 100_000;
    let limits = Limits { stall_ms: 3_600_000, queue_high_messages: 20, ..Limits::default() };
    house_with(limits, async |house: House| {
        let lab = Lab::new();
        let address = house.listen_behind(gate(&lab.acceptor(None)), "127.0.0.1:0").to_string();
        let mut subscriber = connect(lab.client(BOTH, None), &address).await.unwrap();
        say(&mut subscriber, "connect subscriber\nsubscribe t\n").await;
        hear(&mut subscriber, "connected\nsubscribed\n").await;
        let mut publisher = connect(lab.client(BOTH, None), &address).await.unwrap();
        say(&mut publisher, "connect publisher\n").await;
        hear(&mut publisher, "connected\n").await;
        let publishing = tokio::spawn(async move {
            for _ in 0..MESSAGES {
                say(&mut publisher, &format!("publish {PAYLOAD_BYTES}\n")).await;
            }
            say(&mut publisher, "published\n").await;
            hear(&mut publisher, "published\n").await;
        });
        while local::counters().pauses == 0 {
            tokio::task::yield_now().await;
        }
        let mut heard = vec![0; MESSAGES * PAYLOAD_BYTES];
        subscriber.read_exact(&mut heard).await.unwrap();
        publishing.await.unwrap();
        assert_eq!(local::statistics().publishes_dropped, 0);
    });
}

#[test]
fn keys_are_renewed_under_way() {
    house(async |house: House| {
        let lab = Lab::new();
        let address = house.listen_behind(gate(&lab.acceptor(None)), "127.0.0.1:0").to_string();
        let mut peer = connect(lab.client(&[&version::TLS13], None), &address).await.unwrap();
        for round in 0..5 {
            say(&mut peer, &format!("{round}\n")).await;
            hear(&mut peer, &format!("{round}\n")).await;
            peer.get_mut().1.refresh_traffic_keys().unwrap();
        }
        say(&mut peer, "last\n").await;
        hear(&mut peer, "last\n").await;
    });
}

#[test]
fn an_end_is_said_and_heard_in_tls_words() {
    house(async |house: House| {
        let lab = Lab::new();
        let address = house.listen_behind(gate(&lab.acceptor(None)), "127.0.0.1:0").to_string();
        let mut peer = connect(lab.client(BOTH, None), &address).await.unwrap();
        say(&mut peer, &format!("close\n{}", "x".repeat(100_000))).await;
        assert_eq!(hear_end(&mut peer).await.as_deref(), Ok(b"bye\n".as_slice()));
        house.closed("said close").await;

        // The peer says it, and keeps its socket open.
        let mut peer = connect(lab.client(BOTH, None), &address).await.unwrap();
        say(&mut peer, "last words\n").await;
        peer.get_mut().1.send_close_notify();
        peer.flush().await.unwrap();
        assert_eq!(hear_end(&mut peer).await.as_deref(), Ok(b"last words\n".as_slice()));
        house.closed("closed the connection without a goodbye").await;
    });
}

#[test]
fn a_stream_that_is_cut_off_is_a_lost_connection() {
    house(async |house: House| {
        let lab = Lab::new();
        let address = house.listen_behind(gate(&lab.acceptor(None)), "127.0.0.1:0").to_string();
        let mut peer = connect(lab.client(BOTH, None), &address).await.unwrap();
        say(&mut peer, "hello\n").await;
        hear(&mut peer, "hello\n").await;
        // Anybody on the way could do the same.
        drop(peer.into_inner().0);
        house.closed("the stream was cut off").await;
    });
}

#[test]
fn a_forged_record_ends_this_connection_only() {
    house(async |house: House| {
        let lab = Lab::new();
        let address = house.listen_behind(gate(&lab.acceptor(None)), "127.0.0.1:0").to_string();
        let mut good = connect(lab.client(BOTH, None), &address).await.unwrap();
        let mut bad = connect(lab.client(BOTH, None), &address).await.unwrap();
        say(&mut bad, "hello\n").await;
        hear(&mut bad, "hello\n").await;
        let mut forged = vec![23, 3, 3, 0, 40];
        forged.extend([7; 40]);
        bad.get_mut().0.write_all(&forged).await.unwrap();
        assert_eq!(hear_end(&mut bad).await, Err(ErrorKind::InvalidData));
        house.closed("TLS: cannot decrypt peer's message").await;
        say(&mut good, "hello\n").await;
        hear(&mut good, "hello\n").await;
    });
}

#[test]
fn unix_sockets_carry_tls_as_well() {
    house(async |house: House| {
        let lab = Lab::new();
        let path = std::env::temp_dir().join(format!("althing-tls-{}.sock", std::process::id()));
        house.listen_behind(gate(&lab.acceptor(None)), &format!("unix:{}", path.display()));
        let socket = UnixStream::connect(&path).await.unwrap();
        let connector = TlsConnector::from(Arc::new(lab.client(BOTH, None)));
        let mut peer = connector.connect(localhost(), socket).await.unwrap();
        say(&mut peer, "link\n").await;
        hear(&mut peer, "nobody TLSv1.3 TLS_AES_256_GCM_SHA384 localhost - -\n").await;
    });
}

#[test]
fn new_terms_are_for_new_connections_and_drop_none() {
    house(async |house: House| {
        let lab = Lab::new();
        let acceptor = lab.acceptor(None);
        let address = house.listen_behind(gate(&acceptor), "127.0.0.1:0").to_string();
        let certificate_of = |peer: &TlsPeer| peer.get_ref().1.peer_certificates().unwrap()[0].clone();
        let mut seen = Vec::new();
        let mut peers: Vec<TlsPeer> = Vec::new();
        for round in 0..5 {
            for _ in 0..4 {
                peers.push(connect(lab.client(BOTH, None), &address).await.unwrap());
                seen.push(certificate_of(peers.last().unwrap()));
            }
            // One is in the middle of its handshake when the terms change.
            let hello = TcpStream::connect(&address).await.unwrap();
            acceptor.set_terms(terms(lab.server("localhost", None), LONG));
            let connector = TlsConnector::from(Arc::new(lab.client(BOTH, None)));
            peers.push(connector.connect(localhost(), hello).await.unwrap());
            for peer in &mut peers {
                say(peer, &format!("{round}\n")).await;
                hear(peer, &format!("{round}\n")).await;
            }
        }
        seen.dedup();
        assert_eq!(seen.len(), 5);
        assert_eq!(local::counters().connections, 25);
        assert_eq!(local::counters().connections_refused, 0);
    });
}
