//! The event loop under a small language of lines, on real sockets: what comes in whole, in parts and in
//! floods comes out, and what one peer does wrong concerns nobody else.

#![allow(clippy::unwrap_used, reason = "a failure of any step fails the test")]

mod language;

use althing_core::Limits;
use althing_core::effects::Verdict;
use language::{House, hear, house, house_with, say};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn hear_end(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    // A reset is an end, too.
    let _ = stream.read_to_end(&mut rest).await;
    assert_eq!(rest, b"");
}

#[test]
fn lines_are_echoed_however_they_are_cut() {
    house(async |house: House| {
        let mut peer = house.connect().await;
        say(&mut peer, "one\ntwo\nthr").await;
        hear(&mut peer, "one\ntwo\n").await;
        for byte in ["e", "e", "\n"] {
            say(&mut peer, byte).await;
        }
        hear(&mut peer, "three\n").await;
        let long = format!("{}\n", "x".repeat(1_000_000));
        say(&mut peer, &long).await;
        hear(&mut peer, &long).await;
        say(&mut peer, "short\n").await;
        hear(&mut peer, "short\n").await;
    });
}

#[test]
fn unix_sockets_and_both_families_carry_the_same() {
    house(async |house: House| {
        let path = std::env::temp_dir().join(format!("althing-line-{}.sock", std::process::id()));
        house.listen(&format!("unix:{}", path.display()));
        let mut peer = tokio::net::UnixStream::connect(&path).await.unwrap();
        peer.write_all(b"unix\n").await.unwrap();
        let mut heard = [0; 5];
        peer.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"unix\n");

        let address = house.listen("*:0");
        let port = address.port().unwrap();
        // A machine without IPv6 listens on IPv4 alone.
        let hosts: &[&str] = if address.to_string().starts_with('[') { &["127.0.0.1", "::1"] } else { &["127.0.0.1"] };
        for host in hosts.iter().copied() {
            let mut peer = TcpStream::connect((host, port)).await.unwrap();
            say(&mut peer, "tcp\n").await;
            hear(&mut peer, "tcp\n").await;
        }
    });
}

#[test]
fn a_slow_reader_gets_everything_and_holds_up_nobody() {
    let limits = Limits { write_buffer_high_bytes: 16 << 20, ..Limits::default() };
    house_with(limits, async |house: House| {
        let mut slow = house.connect().await;
        say(&mut slow, "big 8000000\nafter\n").await;
        let mut other = house.connect().await;
        say(&mut other, "hello\n").await;
        hear(&mut other, "hello\n").await;
        let mut heard = vec![0; 8_000_000];
        slow.read_exact(&mut heard).await.unwrap();
        assert!(heard.iter().all(|byte| *byte == b'b'));
        hear(&mut slow, "after\n").await;
    });
}

#[test]
fn a_peer_that_asks_without_reading_is_closed() {
    house(async |house: House| {
        let mut peer = house.connect().await;
        let line = format!("{}\n", "x".repeat(9_999));
        let asking = async { while peer.write_all(line.as_bytes()).await.is_ok() {} };
        let closed = house.closed("the peer keeps asking but does not read the answers");
        tokio::select! {
            () = asking => panic!("the connection broke before the broker ended it"),
            () = closed => {}
        }
    });
}

#[test]
fn a_goodbye_is_read_before_the_end() {
    house(async |house: House| {
        let mut peer = house.connect().await;
        // What follows the goodbye is never looked at, and does not reset the connection.
        say(&mut peer, &format!("close\n{}", "x".repeat(100_000))).await;
        hear(&mut peer, "bye\n").await;
        hear_end(&mut peer).await;
        house.closed("said close").await;
    });
}

#[test]
fn what_comes_before_the_verdict_waits_for_it() {
    house(async |house: House| {
        let mut peer = house.connect().await;
        say(&mut peer, "connect late\nsubscribe t\n").await;
        let undecided = house.undecided().await;
        // More than the adaptor may see now, and than one read takes.
        let long = format!("{}\n", "x".repeat(200_000));
        say(&mut peer, &long).await;
        althing_net::local::verified(undecided, Verdict::Accept { identity: Default::default(), data: None });
        hear(&mut peer, "connected\nsubscribed\n").await;
        hear(&mut peer, &long).await;
    });
}

#[test]
fn a_panic_ends_one_connection_only() {
    house(async |house: House| {
        let mut good = house.connect().await;
        say(&mut good, "before\n").await;
        hear(&mut good, "before\n").await;
        for word in ["panic\n", "panic in drop\n"] {
            let mut bad = house.connect().await;
            say(&mut bad, word).await;
            hear_end(&mut bad).await;
        }
        say(&mut good, "after\n").await;
        hear(&mut good, "after\n").await;
    });
}

#[test]
fn an_adaptor_is_called_when_its_time_has_come() {
    house(async |house: House| {
        let mut late = house.connect().await;
        let mut soon = house.connect().await;
        say(&mut late, "timeout 40\n").await;
        say(&mut soon, "timeout 10\n").await;
        hear(&mut soon, "timed out\n").await;
        hear(&mut late, "timed out\n").await;
    });
}

#[test]
fn a_flood_of_connections_is_served_and_leaves_nothing_behind() {
    house(async |house: House| {
        let mut peers = Vec::new();
        for _ in 0..400 {
            peers.push(house.connect().await);
        }
        for (number, peer) in peers.iter_mut().enumerate() {
            say(peer, &format!("{number}\n")).await;
        }
        for (number, peer) in peers.iter_mut().enumerate() {
            hear(peer, &format!("{number}\n")).await;
        }
        assert_eq!(althing_net::local::counters().connections, 400);
        drop(peers);
        althing_net::local::drained().await;
        assert_eq!(althing_net::local::counters().connections, 0);
    });
}

#[test]
fn connections_beyond_the_maximum_are_turned_away() {
    house_with(Limits { connections_max: 1, ..Limits::default() }, async |house: House| {
        let mut first = house.connect().await;
        say(&mut first, "first\n").await;
        hear(&mut first, "first\n").await;
        let mut second = house.connect().await;
        hear_end(&mut second).await;
        house.closed("limits.connections_max is reached").await;
        drop(first);
        althing_net::local::drained().await;
        let mut third = house.connect().await;
        say(&mut third, "third\n").await;
        hear(&mut third, "third\n").await;
    });
}

#[test]
fn everyone_hears_of_the_end() {
    house(async |house: House| {
        let mut peers = vec![house.connect().await, house.connect().await];
        for peer in &mut peers {
            say(peer, "here\n").await;
            hear(peer, "here\n").await;
        }
        althing_net::local::close_all(althing_core::Reason::ShuttingDown);
        for mut peer in peers {
            hear(&mut peer, "farewell\n").await;
            hear_end(&mut peer).await;
        }
        althing_net::local::drained().await;
    });
}
