//! Every truncation and every flipped bit of valid requests: an answer of the protocol's own or silence, and the door
//! goes on.

use crate::world::{Weather, World};
use althing_coap::client::Client;
use althing_coap::codec::{DecodeError, decode};
use althing_coap::message::{Code, Kind};
use althing_coap::{CoapConfig, codec};
use althing_core::Entropy;
use bytes::Bytes;

const PING: &[u8] = b"\x40\x00\x77\x77";

/// Requests with every option that is known here, as datagrams.
fn samples() -> Vec<Vec<u8>> {
    [
        &b"\x42\x01\x12\x34\x01\x02\xb1t\x01a"[..],
        b"\x42\x01\x12\x34\x01\x02\x43abc\x20\x51t\x01a",
        b"\x42\x03\x12\x34\x01\x02\xb1t\x01a\x11\x32\x21\x3c\x15qos=1\xffpayload",
        b"\x52\x02\x12\x34\x01\x02\xb1t\x01a\xffpayload",
        b"\x42\x04\x12\x34\x01\x02\x39localhost\x42\x16\x33\x41t\x01a",
        b"\x42\x01\x12\x34\x01\x02\xbb.well-known\x04core\x44rt=*\x21\x28",
    ]
    .map(<[u8]>::to_vec)
    .to_vec()
}

/// What comes back to a datagram is at most one well-formed message, and fits the datagram's kind.
fn is_survived(datagram: &[u8]) {
    // The link loses everything: what the door sends is looked at here alone.
    let weather = Weather { loss_percent: 100, ..Weather::default() };
    let mut world = World::new(1, 1, CoapConfig::default(), weather);
    let replies = world.exchange(0, datagram);
    assert!(replies.len() <= 1, "{datagram:02x?} got {} replies", replies.len());
    let reply = replies.first().map(|reply| decode(&Bytes::copy_from_slice(reply)).unwrap());
    match (decode(&Bytes::copy_from_slice(datagram)), reply) {
        (Err(DecodeError::Malformed { kind: Kind::Confirmable, id, .. }), Some(reply)) => {
            assert_eq!((reply.kind, reply.id), (Kind::Reset, id), "{datagram:02x?}");
        }
        (Err(_), reply) => assert_eq!(reply, None, "{datagram:02x?}"),
        (Ok(asked), Some(reply)) => match (asked.kind, asked.code.is_request()) {
            (Kind::Confirmable, true) => {
                assert_eq!((reply.kind, reply.id, reply.token), (Kind::Acknowledgement, asked.id, asked.token));
                assert!(matches!(reply.code.class(), 2 | 4 | 5), "{datagram:02x?}: {:?}", reply.code);
            }
            (Kind::NonConfirmable, true) => assert_eq!((reply.kind, reply.token), (Kind::NonConfirmable, asked.token)),
            (kind, _) => assert_eq!((kind, reply.kind, reply.code), (Kind::Confirmable, Kind::Reset, Code::EMPTY)),
        },
        (Ok(asked), None) => {
            let may_be_ignored = asked.kind != Kind::Confirmable;
            assert!(may_be_ignored, "{datagram:02x?} got no answer");
        }
    }
    assert_eq!(world.exchange(0, PING), [b"\x70\x00\x77\x77"], "{datagram:02x?}");
}

#[test]
fn the_door_survives_spoiled_requests() {
    for sample in samples() {
        is_survived(&sample);
        for end in 0..sample.len() {
            is_survived(&sample[..end]);
        }
        for bit in 0..sample.len() * 8 {
            let mut flipped = sample.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            is_survived(&flipped);
        }
    }
}

#[test]
fn a_client_survives_spoiled_responses() {
    let now = althing_core::Now { mono_ns: 1, wall_ms: 1 };
    for sample in samples() {
        for bit in 0..sample.len() * 8 {
            let mut flipped = sample.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            flipped[1] |= 0x40;
            let mut client = Client::new(CoapConfig::default(), Entropy::new(7));
            client.observe(now, &["t", "a"]);
            client.output();
            let mut events = Vec::new();
            client.receive(now, &Bytes::from(flipped), &mut events);
            assert!(events.is_empty(), "nothing of it is for this client");
            for answer in client.output() {
                let answer = codec::decode(&answer.into()).unwrap();
                assert_eq!((answer.kind, answer.code), (Kind::Reset, Code::EMPTY));
            }
        }
    }
}
