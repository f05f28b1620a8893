//! File descriptors run out and come back. Alone in its process, whose limit it lowers.

#![allow(clippy::unwrap_used, reason = "a failure of any step fails the test")]

mod language;

use language::{House, hear, house, say};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs::File;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};

#[test]
fn accept_recovers_from_exhausted_descriptors() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum }).unwrap();
    house(async |house: House| {
        let mut before = house.connect().await;
        echo(&mut before).await;
        let refused = TcpSocket::new_v4().unwrap();
        let hoard: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
        assert!(!hoard.is_empty());

        let mut refused = refused.connect(before.peer_addr().unwrap()).await.unwrap();
        house.closed("no file descriptor is free").await;
        let mut rest = Vec::new();
        // Turned away by an end or by a reset, but not left hanging.
        let _ = refused.read_to_end(&mut rest).await;
        echo(&mut before).await;

        drop(hoard);
        let mut after = house.connect().await;
        echo(&mut after).await;
    });
}

async fn echo(stream: &mut TcpStream) {
    say(stream, "hello\n").await;
    hear(stream, "hello\n").await;
}
