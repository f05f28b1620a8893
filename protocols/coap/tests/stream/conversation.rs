//! Requests, observations and their order, over TCP and over WebSocket (RFC 8323 §3.3, §4, §7).

use crate::world::{World, bytes_of, codes, csm, observe, payloads, put, request};
use althing_coap::CoapConfig;
use althing_coap::message::{Code, Kind, Message, number};
use althing_core::verbs::Reason;
use althing_core::{Guarantee, WholeMessage};
use bytes::Bytes;
use proptest::prelude::*;

fn world() -> World {
    World::new(CoapConfig::default())
}

/// Both carriers, after both CSMs.
fn both(mut act: impl FnMut(&mut World, usize)) {
    for is_websocket in [false, true] {
        let mut world = world();
        let client = if is_websocket { world.upgrade() } else { world.accept() };
        assert_eq!(codes(&world.say(client, &[csm()])), [Code::CSM]);
        act(&mut world, client);
    }
}

#[test]
fn requests_are_answered_under_their_tokens() {
    both(|world, client| {
        let replies = world.say(
            client,
            &[put(1, &["t", "a"], "x"), request(Code::GET, 2, &["t", "a"]), request(Code::DELETE, 3, &["t", "a"])],
        );
        assert_eq!(codes(&replies), [Code::CHANGED, Code::CONTENT, Code::DELETED]);
        assert_eq!(payloads(&replies, 2), ["x"]);
        let names: Vec<_> = replies.iter().map(|reply| reply.token.as_slice()[0]).collect();
        assert_eq!(names, [1, 2, 3]);
    });
}

/// RFC 7967 §2.1; with Observe 0 the response is the first notification.
#[test]
fn what_the_client_does_not_want_to_hear_is_not_said() {
    both(|world, client| {
        let quiet = |mut message: Message, classes| {
            message.options.add_uint(number::NO_RESPONSE, classes);
            message
        };
        let requests = [
            quiet(put(1, &["t", "a"], "x"), 2),
            quiet(put(2, &["t", "a"], "y"), 24),
            quiet(request(Code::GET, 3, &["t", "none"]), 8),
            quiet(request(Code::GET, 4, &["nowhere"]), 26),
            quiet(observe(5, &["t", "a"], 0), 26),
        ];
        let replies = world.say(client, &requests);
        let names: Vec<_> = replies.iter().map(|reply| reply.token.as_slice()[0]).collect();
        assert_eq!((codes(&replies), names), (vec![Code::CHANGED, Code::CONTENT], vec![2, 5]));
        assert_eq!(payloads(&replies, 5), ["y"]);
    });
}

#[test]
fn notifications_come_in_order_until_the_observation_ends() {
    both(|world, client| {
        let first = world.say(client, &[observe(1, &["t", "a"], 0)]);
        assert_eq!(codes(&first), [Code::CONTENT]);
        assert!(first[0].options.get(number::OBSERVE).is_some());
        // More than may be under way without being settled.
        let expected: Vec<Bytes> = (0..2_500).map(|value: u32| value.to_string().into()).collect();
        for (value, guarantee) in expected.iter().zip([Guarantee::AtMostOnce, Guarantee::AtLeastOnce].iter().cycle()) {
            world.publish("a", value.clone(), *guarantee);
        }
        let heard = world.take(client);
        assert!(heard.iter().all(|it| it.options.get(number::OBSERVE).is_some()));
        assert_eq!(payloads(&heard, 1), expected);
        let last = world.say(client, &[observe(1, &["t", "a"], 1)]);
        assert_eq!((codes(&last), last[0].options.get(number::OBSERVE)), (vec![Code::CONTENT], None));
        world.publish("a", "more", Guarantee::AtLeastOnce);
        assert!(world.take(client).is_empty());
    });
}

#[test]
fn several_blocks_come_in_one_message_to_who_takes_them() {
    both(|world, client| {
        let value: Bytes = (0..20_000_u32).map(|byte| byte as u8).collect();
        world.publish("a", value.clone(), Guarantee::AtLeastOnce);
        let mut get = request(Code::GET, 1, &["t", "a"]);
        // Block 2 and later, with SZX 7 (RFC 8323 §6).
        get.options.add_uint(number::BLOCK2, 2 << 4 | 7);
        let reply = world.say(client, &[get]).remove(0);
        let block = reply.options.uint(number::BLOCK2).unwrap();
        assert_eq!((reply.code, block >> 4, block & 7), (Code::CONTENT, 2, 7));
        assert!(reply.payload.len() > 1_024);
        assert_eq!(reply.payload, value[2_048..2_048 + reply.payload.len()]);
        let has_more = block >> 3 & 1 == 1;
        assert_eq!(has_more, 2_048 + reply.payload.len() < value.len());
    });
}

/// The example of RFC 8323 §6.2.
#[test]
fn bodies_come_in_several_blocks_at_once() {
    both(|world, client| {
        let body: Bytes = (0..8_192 + 16_384 + 5_683_u32).map(|byte| byte as u8).collect();
        let mut start = 0;
        for (number, has_more, bytes) in [(0, true, 8_192), (8, true, 16_384), (24, false, 5_683)] {
            let mut message = put(1, &["t", "a"], body.slice(start..start + bytes));
            let block = number << 4 | u32::from(has_more) << 3 | 7;
            message.options.add_uint(number::BLOCK1, block);
            let reply = world.say(client, &[message]).remove(0);
            assert_eq!(reply.code, if has_more { Code::CONTINUE } else { Code::CHANGED });
            assert_eq!(reply.options.uint(number::BLOCK1), Some(block));
            start += bytes;
        }
        let value = world.say(client, &[request(Code::GET, 2, &["t", "a"])]).remove(0);
        assert_eq!(value.payload, body);
    });
}

#[test]
fn a_block_that_is_not_the_last_is_whole_blocks() {
    both(|world, client| {
        for (size_exponent, bytes) in [(7, 1_023), (7, 1_025), (6, 2_048), (0, 15)] {
            let mut message = put(1, &["t", "a"], vec![1; bytes]);
            message.options.add_uint(number::BLOCK1, 8 | size_exponent);
            assert_eq!(codes(&world.say(client, &[message])), [Code::BAD_REQUEST], "{bytes} bytes");
        }
    });
}

#[test]
fn whoever_takes_no_bert_may_send_it() {
    let mut world = world();
    let client = world.accept();
    // The base values: nothing is said of blocks.
    world.say(client, &[Message::new(Kind::Confirmable, Code::CSM, 0)]);
    for (block, bytes, expected) in [(8 | 7, 2_048, Code::CONTINUE), (2 << 4 | 7, 1_500, Code::CHANGED)] {
        let mut message = put(1, &["t", "a"], vec![1; bytes]);
        message.options.add_uint(number::BLOCK1, block);
        let reply = world.say(client, &[message]).remove(0);
        assert_eq!(
            (reply.code, reply.options.uint(number::BLOCK1)),
            (expected, Some(block)),
            "we have said that we do"
        );
    }
    let mut get = request(Code::GET, 2, &["t", "a"]);
    get.options.add_uint(number::BLOCK2, 1 << 4 | 7);
    let reply = world.say(client, &[get]).remove(0);
    assert!(bytes_of(std::slice::from_ref(&reply)).len() <= 1_152);
    let block = reply.options.uint(number::BLOCK2).unwrap();
    assert_eq!((reply.code, (block >> 4) * (16 << (block & 7))), (Code::CONTENT, 1_024), "the place that is asked for");
}

#[test]
fn tokens_are_those_of_their_connection() {
    let mut world = world();
    let (one, other) = (world.connect(), world.connect());
    world.say(one, &[observe(1, &["t", "a"], 0)]);
    world.say(other, &[observe(1, &["t", "b"], 0)]);
    world.publish("a", "x", Guarantee::AtLeastOnce);
    assert_eq!(payloads(&world.take(one), 1), ["x"]);
    assert!(world.take(other).is_empty());
    world.say(other, &[observe(1, &["t", "b"], 1)]);
    world.publish("a", "y", Guarantee::AtLeastOnce);
    assert_eq!(payloads(&world.take(one), 1), ["y"]);
}

#[test]
fn observations_end_with_their_connection() {
    let mut world = world();
    let client = world.connect();
    world.say(client, &[observe(1, &["t", "a"], 0)]);
    // Whoever does not know what it says is gone.
    world.say_bytes(client, &[0x0f]);
    world.assert_closed(client, Reason::Malformed);
    world.take(client);
    world.publish("a", "x", Guarantee::AtLeastOnce);
    assert!(world.take(client).is_empty());
    let other = world.connect();
    assert_eq!(codes(&world.say(other, &[observe(1, &["t", "a"], 0)])), [Code::CONTENT]);
}

#[test]
fn inside_websocket_messages_are_binary_and_have_no_length_of_their_own() {
    let get = bytes_of(&[request(Code::GET, 1, &["t", "a"])]);
    assert_ne!(get[0] >> 4, 0);
    for (is_text, bytes) in [(true, vec![0, 1]), (false, get), (false, vec![])] {
        let mut world = world();
        let client = world.upgrade();
        world.say(client, &[csm()]);
        let replies = world.say_whole(client, WholeMessage { is_text, bytes: bytes.into() });
        assert_eq!(codes(&replies), [Code::ABORT]);
        assert!(world.peers[client].closed.is_some());
    }
}

#[test]
fn the_upgrade_has_the_name_and_the_place_of_the_registry() {
    let [upgrade] = althing_coap::STREAM_PROTOCOL.subprotocols else { panic!("one sub-protocol") };
    assert_eq!((upgrade.name, upgrade.path, upgrade.is_text), ("coap", "/.well-known/coap", false));
}

#[test]
fn name_and_password_of_the_upgrade_are_the_clients() {
    let mut world = world();
    let client = world.upgrade();
    world.say(client, &[csm()]);
    let connect = &world.connects[0];
    assert_eq!((connect.username.as_deref(), connect.password.as_deref()), (Some("ann"), Some(&b"secret"[..])));
    assert_eq!(connect.protocol, "coap");
}

proptest! {
    #[test]
    fn cuts_of_the_stream_make_no_difference(cuts in proptest::collection::vec(1..50_usize, 1..100)) {
        let said: Vec<_> = (0..20).map(|name| put(name, &["t", "a"], vec![name; usize::from(name) * 20])).collect();
        let bytes = [bytes_of(&[csm()]), bytes_of(&said)].concat();
        let mut world = world();
        let client = world.accept();
        let (mut rest, mut heard) = (&bytes[..], Vec::new());
        for cut in cuts.iter().cycle() {
            let (now, later) = rest.split_at(rest.len().min(*cut));
            heard.extend(world.say_bytes(client, now));
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(codes(&heard), [vec![Code::CSM], vec![Code::CHANGED; 20]].concat());
    }

    #[test]
    fn any_bytes_are_survived(chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..30), 0..30)) {
        let mut world = world();
        let client = world.connect();
        for chunk in chunks {
            world.say_bytes(client, &chunk);
        }
        let other = world.connect();
        prop_assert_eq!(codes(&world.say(other, &[put(1, &["t", "a"], "x")])), [Code::CHANGED]);
    }
}
