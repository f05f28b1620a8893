//! The whole program on a real socket, from its start to SIGTERM. Alone in its process, which it signals.

#![allow(clippy::unwrap_used, reason = "a failure of any step fails the test")]

use althing_server::{ServeError, ServeOptions, serve};
use rustix::process::{Signal, getpid, kill_process};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;

const CONNECT_V5: &[u8] = b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01a";
const CONNECT_V311: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01b";
const CONNACK_V311: &[u8] = b"\x20\x02\x00\x00";
const SUBSCRIBE_V311: &[u8] = b"\x82\x18\x00\x01\x00\x13$SYS/broker/version\x00";
const SUBACK_V311: &[u8] = b"\x90\x03\x00\x01\x00";

fn options(set: &str) -> ServeOptions {
    let others = ["stomp", "coap", "coap-tcp", "http", "admin"].map(|section| format!("{section}.enabled=false"));
    let set = [set, &others[0], &others[1], &others[2], "log.level=error", "store.durability=memory"];
    let set = set.map(str::to_owned).to_vec();
    ServeOptions { set, ..Default::default() }
}

/// Waits until the broker listens.
fn connect(path: &Path) -> UnixStream {
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => return stream,
            Err(_) => thread::yield_now(),
        }
    }
}

/// One packet shorter than 128 bytes.
fn read_packet(stream: &mut UnixStream) -> Vec<u8> {
    let mut packet = vec![0; 2];
    stream.read_exact(&mut packet).unwrap();
    let length = usize::from(packet[1]);
    assert!(length < 128);
    packet.resize(2 + length, 0);
    stream.read_exact(&mut packet[2..]).unwrap();
    packet
}

fn rest(mut stream: UnixStream) -> Vec<u8> {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    rest
}

#[test]
fn the_broker_serves_until_it_is_told_to_stop_and_says_so() {
    let path: PathBuf = std::env::temp_dir().join(format!("althing-serve-{}.sock", std::process::id()));
    let broker = {
        let options = options(&format!("mqtt.bind=unix:{}", path.display()));
        thread::spawn(move || serve(&options))
    };
    let mut modern = connect(&path);
    modern.write_all(CONNECT_V5).unwrap();
    let connack = read_packet(&mut modern);
    assert_eq!((connack[0], connack[3]), (0x20, 0x00), "CONNACK, success");

    let mut old = connect(&path);
    old.write_all(CONNECT_V311).unwrap();
    assert_eq!(read_packet(&mut old), CONNACK_V311);
    old.write_all(SUBSCRIBE_V311).unwrap();
    assert_eq!(read_packet(&mut old), SUBACK_V311);
    let publish = read_packet(&mut old);
    let expected = format!("$SYS/broker/versionalthing version {}", env!("CARGO_PKG_VERSION"));
    // Live or retained: whichever of the two came first.
    assert_eq!((publish[0] & 0xfe, &publish[4..]), (0x30, expected.as_bytes()), "PUBLISH");

    // Has not come so far as to say who it is, and perhaps not even so far as to be accepted.
    let mut silent = connect(&path);

    kill_process(getpid(), Signal::TERM).unwrap();
    let disconnect = read_packet(&mut modern);
    assert_eq!((disconnect[0], disconnect[2]), (0xe0, 0x8b), "DISCONNECT, server shutting down");
    for stream in [modern, old] {
        assert_eq!(rest(stream), b"");
    }
    assert!(matches!(silent.read(&mut [0]), Ok(0) | Err(_)));
    broker.join().unwrap().unwrap();
    assert!(!path.exists());
}

#[test]
fn an_address_in_use_is_named_with_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = serve(&options(&format!("mqtt.bind={address}"))).unwrap_err();
    assert!(matches!(error, ServeError::Listen { .. }));
    assert_eq!(error.exit_code(), 1);
    let text = error.to_string();
    assert!(text.contains(&address.to_string()) && text.contains("--set mqtt.bind="), "{text}");
}
