//! Proxies that say whom they speak for, and those who only pretend to be one.

#![allow(clippy::unwrap_used, reason = "a failure of any step fails the test")]

mod lab;
mod language;

use althing_net::{Gate, ProxyTrust, TlsAcceptor, local};
use lab::{BOTH, LONG, Lab, localhost};
use language::{House, hear, house, say};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

fn behind(network: &str, timeout: Duration, tls: Option<Arc<TlsAcceptor>>) -> Gate {
    let networks = vec![network.parse().unwrap()];
    Gate { proxy: Some(Arc::new(ProxyTrust { networks, timeout })), tls }
}

/// A header of version 2.
fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([0x20 | command, family]);
    header.extend((rest.len() as u16).to_be_bytes());
    header.extend(rest);
    header
}

const IPV4: &[u8] = &[192, 0, 2, 7, 198, 51, 100, 1, 0x30, 0x39, 0x07, 0x5b];

fn ipv6() -> Vec<u8> {
    let mut addresses = vec![0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
    addresses.extend([0; 15]);
    addresses.extend([1, 0x30, 0x39, 0x07, 0x5b]);
    addresses
}

#[test]
fn the_link_comes_from_where_the_proxy_says() {
    let with_extras = [IPV4, &[4, 0, 3, 0, 0, 0], &[2, 0, 9], b"a.example"].concat();
    let cases: [(&[u8], &str); 11] = [
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 12345 1883\r\n", "192.0.2.7"),
        (b"PROXY TCP6 2001:db8::9 2001:db8::1 12345 1883\r\n", "2001:db8::9"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", "127.0.0.1"),
        (&binary(1, 0x11, IPV4), "192.0.2.7"),
        (&binary(1, 0x21, &ipv6()), "2001:db8::9"),
        (&binary(1, 0x11, &with_extras), "192.0.2.7"),
        (&binary(0, 0x00, b""), "127.0.0.1"),
        (&binary(0, 0x11, IPV4), "127.0.0.1"),
        (&binary(1, 0x00, b""), "127.0.0.1"),
        (&binary(1, 0x31, &[b'a'; 216]), "127.0.0.1"),
    ];
    house(async |house: House| {
        let address = house.listen_behind(behind("127.0.0.0/8", LONG, None), "127.0.0.1:0").to_string();
        for (header, remote) in cases {
            // In one piece with what follows, and byte by byte.
            let mut peer = TcpStream::connect(&address).await.unwrap();
            peer.write_all(&[header, b"link\n"].concat()).await.unwrap();
            hear(&mut peer, &format!("{remote} in plain\n")).await;
            let mut peer = TcpStream::connect(&address).await.unwrap();
            peer.set_nodelay(true).unwrap();
            for byte in header {
                peer.write_all(&[*byte]).await.unwrap();
                tokio::task::yield_now().await;
            }
            say(&mut peer, "link\n").await;
            hear(&mut peer, &format!("{remote} in plain\n")).await;
        }
    });
}

#[test]
fn the_header_comes_before_tls() {
    house(async |house: House| {
        let lab = Lab::new();
        let gate = behind("127.0.0.1", LONG, Some(lab.acceptor(None)));
        let address = house.listen_behind(gate, "127.0.0.1:0").to_string();
        let mut socket = TcpStream::connect(&address).await.unwrap();
        socket.write_all(b"PROXY TCP4 192.0.2.7 198.51.100.1 12345 8883\r\n").await.unwrap();
        let connector = TlsConnector::from(Arc::new(lab.client(BOTH, None)));
        let mut peer = connector.connect(localhost(), socket).await.unwrap();
        say(&mut peer, "link\n").await;
        hear(&mut peer, "192.0.2.7 TLSv1.3 TLS_AES_256_GCM_SHA384 localhost - -\n").await;
    });
}

#[test]
fn on_unix_sockets_file_rights_are_the_trust() {
    house(async |house: House| {
        let path = std::env::temp_dir().join(format!("althing-proxy-{}.sock", std::process::id()));
        house.listen_behind(behind("192.0.2.0/24", LONG, None), &format!("unix:{}", path.display()));
        let mut peer = UnixStream::connect(&path).await.unwrap();
        say(&mut peer, "PROXY TCP4 192.0.2.7 198.51.100.1 12345 1883\r\nlink\n").await;
        hear(&mut peer, "192.0.2.7 in plain\n").await;
    });
}

#[test]
fn whoever_is_not_trusted_is_not_heard() {
    house(async |house: House| {
        let address = house.listen_behind(behind("192.0.2.0/24", LONG, None), "127.0.0.1:0").to_string();
        let mut peer = TcpStream::connect(&address).await.unwrap();
        let _ = peer.write_all(b"PROXY TCP4 192.0.2.7 198.51.100.1 12345 1883\r\nlink\n").await;
        let mut rest = Vec::new();
        let _ = peer.read_to_end(&mut rest).await;
        assert_eq!(rest, b"");
        house.closed("is no proxy that is trusted here: add 127.0.0.1 to proxy_networks").await;
        assert_eq!(local::counters().connections_total, 0);
    });
}

#[test]
fn what_is_no_header_ends_the_connection() {
    let long_line = [b"PROXY TCP4 ".as_slice(), &[b' '; 120]].concat();
    let cases: [(&[u8], &str); 9] = [
        (b"hello\n", "did not begin with the PROXY protocol"),
        (b"PROXX", "did not begin with the PROXY protocol"),
        (b"\r\n\r\n\0\r\nQUIX", "did not begin with the PROXY protocol"),
        (b"PROXY TCP4 a b c d\r\n", "malformed or too long"),
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 123456 1883\r\n", "malformed or too long"),
        (&long_line, "malformed or too long"),
        // Addresses that are shorter than their family says, and a length beyond the bound.
        (&binary(1, 0x11, &IPV4[..7]), "malformed or too long"),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff", "malformed or too long"),
        (b"\r\n\r\n\0\r\nQUIT\n\x31\x11\x00\x00", "malformed or too long"),
    ];
    house(async |house: House| {
        let address = house.listen_behind(behind("127.0.0.1", LONG, None), "127.0.0.1:0").to_string();
        for (bytes, why) in cases {
            println!("{}", bytes.escape_ascii());
            let mut peer = TcpStream::connect(&address).await.unwrap();
            let _ = peer.write_all(bytes).await;
            let _ = peer.read_to_end(&mut Vec::new()).await;
            house.closed(why).await;
        }
        assert_eq!(local::counters().connections_total, 0);
    });
}

#[test]
fn a_header_has_a_deadline() {
    house(async |house: House| {
        let gate = behind("127.0.0.1", Duration::from_millis(30), None);
        let address = house.listen_behind(gate, "127.0.0.1:0").to_string();
        for begin in [b"".as_slice(), b"PROXY TCP4", &binary(1, 0x11, IPV4)[..20]] {
            let mut peer = TcpStream::connect(&address).await.unwrap();
            peer.write_all(begin).await.unwrap();
            let _ = peer.read_to_end(&mut Vec::new()).await;
            house.closed("did not send its header of the PROXY protocol in time").await;
        }
    });
}

#[test]
fn who_fails_behind_a_proxy_is_named_and_not_the_proxy() {
    house(async |house: House| {
        let gate = behind("127.0.0.1", LONG, Some(Lab::new().acceptor(None)));
        let address = house.listen_behind(gate, "127.0.0.1:0").to_string();
        let mut peer = TcpStream::connect(&address).await.unwrap();
        peer.write_all(b"PROXY TCP4 192.0.2.7 198.51.100.1 12345 8883\r\nhello\n").await.unwrap();
        house.closed("192.0.2.7:12345 does not speak TLS").await;
    });
}
