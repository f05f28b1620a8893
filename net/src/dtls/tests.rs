//! Associations and the library's client, without sockets and with a clock of our own.

#![allow(clippy::unwrap_used, reason = "a failure of any step fails the test")]

mod certificates;

use super::*;
use dimpl::{Dtls, Output};
use std::net::SocketAddr;
use std::time::Instant;

const IDLE_NS: u64 = 3_600_000_000_000;

fn remote(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

fn terms(keys: &[(&str, &str)]) -> DtlsTerms {
    let shared_keys = keys.iter().map(|(name, key)| (name.as_bytes().to_vec(), key.as_bytes().to_vec())).collect();
    let settings = DtlsSettings {
        shared_keys,
        certificate: None,
        client_verifier: None,
        describe: |_| Err("nobody shows one".into()),
        handshake_timeout: Duration::from_secs(10),
        idle: Duration::from_nanos(IDLE_NS),
        sessions_max: 2,
    };
    DtlsTerms::new(settings).unwrap()
}

struct OneKey(Vec<u8>);

impl PskResolver for OneKey {
    fn resolve(&self, _: &[u8]) -> Option<Vec<u8>> {
        Some(self.0.clone())
    }
}

struct Client {
    dtls: Dtls,
    remote: SocketAddr,
    start: Instant,
    is_connected: bool,
    heard: Vec<Vec<u8>>,
    is_closed: bool,
}

impl Client {
    fn new(identity: &str, key: &str, port: u16) -> Self {
        let resolver = Arc::new(OneKey(key.as_bytes().to_vec()));
        let config = Config::builder().with_psk_client(identity.as_bytes().to_vec(), resolver).build().unwrap();
        Self::with(port, |start| Dtls::new_12_psk(Arc::new(config), start))
    }

    fn with(port: u16, make: impl FnOnce(Instant) -> Dtls) -> Self {
        let start = Instant::now();
        let mut dtls = make(start);
        dtls.set_active(true);
        dtls.handle_timeout(start).unwrap();
        Self { dtls, remote: remote(port), start, is_connected: false, heard: Vec::new(), is_closed: false }
    }

    fn packets(&mut self) -> Vec<Vec<u8>> {
        let (mut buffer, mut packets) = (vec![0; 20_000], Vec::new());
        loop {
            match self.dtls.poll_output(&mut buffer) {
                Output::Packet(packet) => packets.push(packet.to_vec()),
                Output::Connected => self.is_connected = true,
                Output::ApplicationData(data) => self.heard.push(data.to_vec()),
                Output::CloseNotify => self.is_closed = true,
                Output::Timeout(_) => return packets,
                _ => {}
            }
        }
    }

    fn say(&mut self, text: &str) -> Vec<Vec<u8>> {
        self.dtls.send_application_data(text.as_bytes()).unwrap();
        self.packets()
    }
}

struct Server {
    associations: Associations,
    acceptor: Arc<DtlsAcceptor>,
    now_ns: u64,
    heard: Vec<(SocketAddr, Vec<u8>)>,
    left: Vec<SocketAddr>,
}

impl Server {
    fn new(keys: &[(&str, &str)]) -> Self {
        Self::with(terms(keys))
    }

    fn with(terms: DtlsTerms) -> Self {
        let acceptor = Arc::new(DtlsAcceptor::new(terms));
        let associations = Associations::new(Arc::clone(&acceptor));
        Self { associations, acceptor, now_ns: 1, heard: Vec::new(), left: Vec::new() }
    }

    fn take(&mut self, remote: SocketAddr, datagram: &[u8]) {
        self.associations.receive(self.now_ns, remote, datagram);
        self.note();
    }

    fn note(&mut self) {
        for happening in self.associations.happenings.drain(..) {
            match happening {
                Happening::Datagram(remote, datagram) => self.heard.push((remote, datagram.to_vec())),
                Happening::Left(remote) => self.left.push(remote),
            }
        }
    }

    fn outgoing(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        let all = self.associations.outgoing.iter().map(|(remote, bytes)| (remote, bytes.to_vec())).collect();
        self.associations.outgoing.clear();
        all
    }

    /// Until neither has anything more to say.
    fn talk(&mut self, client: &mut Client) {
        loop {
            let packets = client.packets();
            packets.iter().for_each(|packet| self.take(client.remote, packet));
            let answers = self.outgoing();
            if packets.is_empty() && answers.is_empty() {
                return;
            }
            client.dtls.handle_timeout(client.start + Duration::from_nanos(self.now_ns)).unwrap();
            for (_, answer) in answers.iter().filter(|(to, _)| *to == client.remote) {
                let _ = client.dtls.handle_packet(answer);
            }
        }
    }
}

const KEYS: &[(&str, &str)] = &[("sensor", "secret"), ("other", "another")];

#[test]
fn whoever_has_the_key_talks_both_ways_and_is_known_by_its_identity() {
    let (mut server, mut client) = (Server::new(KEYS), Client::new("sensor", "secret", 1));
    server.talk(&mut client);
    assert!(client.is_connected);
    client.say("hello").iter().for_each(|packet| server.take(client.remote, packet));
    assert_eq!(server.heard, [(client.remote, b"hello".to_vec())]);
    server.associations.send(server.now_ns, client.remote, b"welcome");
    server.talk(&mut client);
    assert_eq!(client.heard, [b"welcome".to_vec()]);
    let facts = server.associations.facts(client.remote).unwrap();
    assert_eq!((facts.tls.version, facts.tls.cipher), ("DTLSv1.2", provider::PSK_CIPHER_SUITE));
    assert_eq!(facts.shared_key.as_ref().unwrap().name, "sensor");
}

#[test]
fn a_flood_of_hellos_leaves_nothing_and_gets_less_than_it_sends() {
    let mut server = Server::new(KEYS);
    let hello = Client::new("sensor", "secret", 1).packets().remove(0);
    for port in 1..2_000 {
        server.take(remote(port), &hello);
        let answers = server.outgoing();
        assert_eq!(answers.len(), 1);
        assert!(answers[0].1.len() < hello.len());
    }
    assert_eq!(server.associations.len(), (0, 0));
}

#[test]
fn a_cookie_is_good_for_one_address_and_for_a_while() {
    let (mut server, mut client) = (Server::new(KEYS), Client::new("sensor", "secret", 1));
    server.take(client.remote, &client.packets().remove(0));
    let request = server.outgoing().remove(0).1;
    client.dtls.handle_packet(&request).unwrap();
    let hello = client.packets().remove(0);
    server.take(remote(2), &hello);
    assert_eq!(server.associations.len(), (0, 0));
    server.now_ns += 200_000_000_000;
    server.take(client.remote, &hello);
    assert_eq!(server.associations.len(), (0, 0));
    server.outgoing();
    server.now_ns -= 200_000_000_000;
}

#[test]
fn neither_a_wrong_key_nor_an_unknown_identity_gets_in_and_both_hear_the_same() {
    let lengths = |identity: &str| {
        let (mut server, mut client) = (Server::new(KEYS), Client::new(identity, "wrong", 1));
        let mut lengths = Vec::new();
        for _ in 0..8 {
            client.packets().iter().for_each(|packet| server.take(client.remote, packet));
            let answers = server.outgoing();
            lengths.extend(answers.iter().map(|(_, answer)| answer.len()));
            answers.iter().for_each(|(_, answer)| drop(client.dtls.handle_packet(answer)));
        }
        assert!(!client.is_connected && server.associations.facts(client.remote).is_none());
        lengths
    };
    assert_eq!(lengths("sensor"), lengths("nobody"));
}

#[test]
fn what_is_replayed_garbled_or_from_another_address_is_not_heard() {
    let (mut server, mut client) = (Server::new(KEYS), Client::new("sensor", "secret", 1));
    server.talk(&mut client);
    let record = client.say("once").remove(0);
    server.take(remote(7), &record);
    for length in 0..record.len() {
        server.take(client.remote, &record[..length]);
    }
    let mut garbled = record.clone();
    *garbled.last_mut().unwrap() ^= 1;
    server.take(client.remote, &garbled);
    // An alert that nobody has protected: fatal, internal error.
    server.take(client.remote, &[21, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 80]);
    assert_eq!(server.heard, []);
    server.take(client.remote, &record);
    server.take(client.remote, &record);
    assert_eq!(server.heard, [(client.remote, b"once".to_vec())]);
    assert_eq!(server.left, []);
}

#[test]
fn a_new_handshake_takes_over_only_when_it_is_done() {
    let (mut server, mut client) = (Server::new(KEYS), Client::new("sensor", "secret", 1));
    server.talk(&mut client);
    let mut again = Client::new("other", "another", 1);
    server.take(again.remote, &again.packets().remove(0));
    let request = server.outgoing().remove(0).1;
    again.dtls.handle_packet(&request).unwrap();
    again.packets().iter().for_each(|packet| server.take(again.remote, packet));
    let flight = server.outgoing();
    client.say("still here").iter().for_each(|packet| server.take(client.remote, packet));
    assert_eq!((server.heard.len(), server.left.len()), (1, 0));
    flight.iter().for_each(|(_, answer)| again.dtls.handle_packet(answer).unwrap());
    server.talk(&mut again);
    assert!(again.is_connected);
    assert_eq!(server.left, [client.remote]);
    assert_eq!(server.associations.facts(again.remote).unwrap().shared_key.as_ref().unwrap().name, "other");
    client.say("too late").iter().for_each(|packet| server.take(client.remote, packet));
    assert_eq!(server.heard.len(), 1);
}

#[test]
fn whoever_says_goodbye_or_is_silent_for_long_leaves() {
    let mut server = Server::new(KEYS);
    let (mut one, mut other) = (Client::new("sensor", "secret", 1), Client::new("other", "another", 2));
    server.talk(&mut one);
    server.talk(&mut other);
    one.dtls.close().unwrap();
    server.talk(&mut one);
    assert_eq!(server.left, [one.remote]);
    server.now_ns += IDLE_NS + 1;
    server.associations.timeout(server.now_ns);
    server.note();
    server.talk(&mut other);
    assert_eq!(server.left, [one.remote, other.remote]);
    assert!(other.is_closed);
    assert_eq!(server.associations.len(), (0, 0));
}

/// As far as the client's second hello, with its cookie.
fn half_open(server: &mut Server, port: u16) {
    let mut client = Client::new("sensor", "secret", port);
    server.take(client.remote, &client.packets().remove(0));
    let request = server.outgoing().remove(0).1;
    client.dtls.handle_packet(&request).unwrap();
    client.packets().iter().for_each(|packet| server.take(client.remote, packet));
    server.outgoing();
}

#[test]
fn half_open_handshakes_are_bounded_and_given_up_and_push_nobody_out() {
    let mut server = Server::new(KEYS);
    let mut clients = [1, 2].map(|port| Client::new("sensor", "secret", port));
    clients.iter_mut().for_each(|client| server.talk(client));
    for port in 100..200 {
        half_open(&mut server, port);
    }
    assert_eq!(server.associations.len(), (2 + 64, 64));
    while server.associations.len() != (2, 0) {
        server.now_ns = server.associations.due_ns();
        server.associations.timeout(server.now_ns);
    }
    assert!(server.now_ns < 12_000_000_000);
    assert_eq!(server.left, []);
}

#[test]
fn whoever_was_silent_for_longest_hears_goodbye_when_there_are_too_many() {
    let mut server = Server::new(KEYS);
    let mut clients = [1, 2, 3].map(|port| Client::new("sensor", "secret", port));
    for client in &mut clients[..2] {
        server.talk(client);
        server.now_ns += 1_000_000_000;
    }
    let [first, second, third] = &mut clients;
    first.say("still here").iter().for_each(|packet| server.take(first.remote, packet));
    server.talk(third);
    assert_eq!(server.left, [second.remote]);
    assert_eq!(server.associations.len(), (2, 0));
    server.associations.send(server.now_ns, first.remote, b"welcome");
    server.talk(first);
    assert!(third.is_connected && first.heard == [b"welcome".to_vec()]);
}

#[test]
fn at_the_end_everyone_hears_goodbye_and_nobody_is_let_in() {
    let mut server = Server::new(KEYS);
    let (mut one, mut other) = (Client::new("sensor", "secret", 1), Client::new("other", "another", 2));
    server.talk(&mut one);
    server.talk(&mut other);
    half_open(&mut server, 3);
    server.associations.send(server.now_ns, one.remote, b"the last word");
    server.associations.close_all(server.now_ns);
    server.note();
    for (remote, packet) in server.outgoing() {
        let client = if remote == one.remote { &mut one } else { &mut other };
        client.dtls.handle_packet(&packet).unwrap();
        client.packets();
    }
    assert!(one.is_closed && other.is_closed);
    assert_eq!(one.heard, [b"the last word".to_vec()]);
    server.left.sort_unstable();
    assert_eq!(server.left, [one.remote, other.remote]);
    assert_eq!(server.associations.len(), (0, 0));
    assert_eq!(server.associations.due_ns(), u64::MAX);
    server.take(remote(4), &Client::new("sensor", "secret", 4).packets().remove(0));
    assert!(server.outgoing().is_empty());
}

#[test]
fn a_key_that_is_taken_away_ends_its_association_alone() {
    let mut server = Server::new(KEYS);
    let (mut one, mut other) = (Client::new("sensor", "secret", 1), Client::new("other", "another", 2));
    server.talk(&mut one);
    server.talk(&mut other);
    server.acceptor.set_terms(terms(&[("sensor", "changed"), ("other", "another")]));
    other.say("here").iter().for_each(|packet| server.take(other.remote, packet));
    assert_eq!(server.left, [one.remote]);
    assert_eq!(server.heard, [(other.remote, b"here".to_vec())]);
}
