//! Datagram sockets and their doors, on the loopback.

#![allow(clippy::unwrap_used, reason = "a failure of any step fails the test")]

mod language;

use althing_core::door::{DoorOut, Source};
use althing_core::topic::TopicLimits;
use althing_core::verbs::{Connect, Disconnect, Publish, Subscribe, SubscribeFilter, SubscriptionOptions};
use althing_core::{Answer, Deadline, Delivery, Door, Filter, Link, Message, Now, PeerId, Reason, Request, Topic};
use althing_net::{DoorSocket, local};
use bytes::Bytes;
use language::{House, house, say};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::UdpSocket;

/// Words in datagrams. `hello` makes a peer that subscribes to `t`; `say X` publishes X to `t`; `echo X` is answered
/// without any state; `later` is answered by the timer; `panic` does.
#[derive(Default)]
struct WordDoor {
    peers: BTreeMap<SocketAddr, PeerId>,
    later: Option<(u64, SocketAddr)>,
}

impl Door for WordDoor {
    fn receive(&mut self, now: Now, source: Source, datagram: Bytes, out: &mut DoorOut<'_>) {
        let remote = source.remote;
        let text = std::str::from_utf8(&datagram).unwrap();
        let topic = || Topic::new("t".into(), &TopicLimits::default()).unwrap();
        match text.split_once(' ').unwrap_or((text, "")) {
            ("hello", _) => {
                let peer = out.peers.open(remote);
                self.peers.insert(remote, peer);
                out.requests.push_back((peer, connect()));
            }
            ("say", rest) => {
                let message = Message::new(topic(), Bytes::copy_from_slice(rest.as_bytes()));
                let publish = Publish { message, token: Some(1), correlation: 1 };
                out.requests.push_back((self.peers[&remote], Request::Publish(publish)));
            }
            ("bye", _) => {
                let peer = self.peers.remove(&remote).unwrap();
                let disconnect = Disconnect { publish_will: false, session_expiry_s: None, reason: Reason::Normal };
                out.requests.push_back((peer, Request::Disconnect(disconnect)));
                out.peers.close(peer);
                out.datagrams.push(remote, b"bye");
            }
            ("echo", rest) => out.datagrams.push(remote, rest.as_bytes()),
            ("later", _) => self.later = Some((now.mono_ns + 1, remote)),
            other => panic!("a mistake of this door, on purpose: {other:?}"),
        }
    }

    fn left(&mut self, _now: Now, _remote: SocketAddr, _out: &mut DoorOut<'_>) {}

    fn answer(&mut self, _: Now, peer: PeerId, answer: Answer, out: &mut DoorOut<'_>) {
        let (remote, _) = self.peers.iter().find(|(_, other)| **other == peer).unwrap();
        match answer {
            Answer::Connected(_) => {
                let filter = Filter::new("t".into(), &TopicLimits::default()).unwrap();
                let filters = vec![SubscribeFilter { filter: Ok(filter), options: SubscriptionOptions::default() }];
                out.requests.push_back((peer, Request::Subscribe(Box::new(Subscribe { correlation: 1, filters }))));
            }
            Answer::Subscribed { .. } => out.datagrams.push(*remote, b"welcome"),
            Answer::Close(_) => out.datagrams.push(*remote, b"closing"),
            _ => {}
        }
    }

    fn deliver(&mut self, _: Now, peer: PeerId, batch: &[Delivery], out: &mut DoorOut<'_>) {
        let (remote, _) = self.peers.iter().find(|(_, other)| **other == peer).unwrap();
        for delivery in batch {
            out.datagrams.push(*remote, &delivery.message.payload);
        }
    }

    fn timeout(&mut self, _: Now, out: &mut DoorOut<'_>) {
        if let Some((_, remote)) = self.later.take() {
            out.datagrams.push(remote, b"now");
        }
    }

    fn next_timeout(&self) -> Option<Deadline> {
        self.later.map(|(mono_ns, _)| Deadline { mono_ns, reason: "later" })
    }
}

fn connect() -> Request {
    Request::Connect(Box::new(Connect { number_max: 1, ..Connect::new("words") }))
}

fn serve() -> SocketAddr {
    let socket = DoorSocket::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.address().to_string().parse().unwrap();
    local::serve_door(socket, None, Link::new(None, "words").entrance, Arc::new(|| Box::new(WordDoor::default())));
    address
}

async fn client(door: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(door).await.unwrap();
    socket
}

async fn ask(socket: &UdpSocket, text: &str) -> String {
    socket.send(text.as_bytes()).await.unwrap();
    hear(socket).await
}

async fn hear(socket: &UdpSocket) -> String {
    let mut buffer = vec![0; 65_536];
    let length = socket.recv(&mut buffer).await.unwrap();
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

#[test]
fn peers_of_one_socket_hear_each_other() {
    house(async |_: House| {
        let door = serve();
        let (one, other) = (client(door).await, client(door).await);
        assert_eq!(ask(&one, "hello").await, "welcome");
        assert_eq!(ask(&other, "hello").await, "welcome");
        assert_eq!(local::statistics().sessions, 2);
        assert_eq!(ask(&one, "say something").await, "something");
        assert_eq!(hear(&other).await, "something");
        assert_eq!(ask(&one, "bye").await, "bye");
        assert_eq!(local::statistics().sessions, 1);
        assert_eq!(ask(&other, "say alone").await, "alone");
    });
}

#[test]
fn a_datagram_can_be_answered_without_a_peer_and_by_the_timer() {
    house(async |_: House| {
        let client = client(serve()).await;
        let longest = "x".repeat(60_000);
        assert_eq!(ask(&client, &format!("echo {longest}")).await, longest);
        assert_eq!(ask(&client, "later").await, "now");
        assert_eq!(local::statistics().sessions, 0);
    });
}

#[test]
fn a_broken_door_is_replaced_and_its_sessions_end() {
    house(async |_: House| {
        let client = client(serve()).await;
        assert_eq!(ask(&client, "hello").await, "welcome");
        client.send(b"panic").await.unwrap();
        assert_eq!(ask(&client, "echo still here").await, "still here");
        assert_eq!(local::statistics().sessions, 0);
        assert_eq!(ask(&client, "hello").await, "welcome");
    });
}

#[test]
fn everyone_is_told_goodbye() {
    house(async |_: House| {
        let client = client(serve()).await;
        assert_eq!(ask(&client, "hello").await, "welcome");
        local::close_all(Reason::ShuttingDown);
        assert_eq!(hear(&client).await, "closing");
    });
}

#[test]
fn a_path_is_no_place_for_datagrams() {
    house(async |_: House| {
        assert!(DoorSocket::bind(&"unix:/nowhere/a".parse().unwrap()).is_err());
    });
}

#[test]
fn datagrams_wait_in_the_socket_while_the_store_is_behind() {
    house(async |house: House| {
        let client = client(serve()).await;
        let mut other = house.connect_as("other").await;
        house.set_behind(true);
        client.send(b"echo late").await.unwrap();
        say(&mut other, "hello\n").await;
        language::hear(&mut other, "hello\n").await;
        assert_eq!(client.try_recv(&mut [0; 16]).unwrap_err().kind(), ErrorKind::WouldBlock);
        house.set_behind(false);
        say(&mut other, "hello\n").await;
        assert_eq!(hear(&client).await, "late");
    });
}
