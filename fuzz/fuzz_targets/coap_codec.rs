//! Any bytes: never a panic; what is read is written as it was; and whatever comes, a door answers a datagram with
//! few and small ones, keeping nothing for what is no request.
#![no_main]

use althing_coap::client::Client;
use althing_coap::codec::{decode, encode};
use althing_coap::{CoapConfig, CoapDoor, Common};
use althing_core::door::{Datagrams, PeerIds, Source};
use althing_core::{Door, DoorOut, Entropy, Now};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

fuzz_target!(|bytes: &[u8]| {
    althing_coap::annotate::annotate(bytes);
    let datagram = Bytes::copy_from_slice(bytes);
    let message = decode(&datagram);
    if let Ok(message) = &message {
        let mut written = Vec::new();
        encode(message, &mut written);
        assert_eq!(written, bytes, "{message:?}");
    }
    let now = Now { mono_ns: 1, wall_ms: 1 };
    let mut door = CoapDoor::new(Arc::new(Common::default()), Entropy::new(1));
    let (mut datagrams, mut requests, mut peers) = (Datagrams::default(), VecDeque::new(), PeerIds::new(0, 0));
    let mut out = DoorOut { datagrams: &mut datagrams, requests: &mut requests, peers: &mut peers };
    let source = Source::plain(SocketAddr::from(([127, 0, 0, 1], 1)));
    door.receive(now, source, datagram.clone(), &mut out);
    assert!(datagrams.len() <= 1 && datagrams.iter().all(|(_, reply)| reply.len() <= 1_280));
    let is_request = message.is_ok_and(|message| message.code.is_request());
    assert!(is_request || (requests.is_empty() && peers.is_empty() && door.endpoints_len() == 0));
    let mut client = Client::new(CoapConfig::default(), Entropy::new(1));
    client.observe(now, &["t", "a"]);
    client.receive(now, &datagram, &mut Vec::new());
});
