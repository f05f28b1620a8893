//! What the ends say about the connection (RFC 8323 §5): how it begins, whether anybody is there, how it ends.

use crate::world::{World, bytes_of, codes, csm, observe, payloads, put, request, token};
use althing_coap::CoapConfig;
use althing_coap::message::{Code, Kind, Message, number};
use althing_coap::signalling::{Csm, Custody, Signal};
use althing_core::verbs::{Reason, Refusal};
use althing_core::{Answer, Guarantee};

fn world() -> World {
    World::new(CoapConfig::default())
}

fn signal(message: &Message) -> Signal {
    Signal::read(message).unwrap().unwrap()
}

/// Our CSM and an Abort with a sentence; returns the option that it names.
fn assert_aborted(replies: &[Message]) -> Option<u16> {
    let Signal::Abort { bad_csm_option, text } = signal(replies.last().unwrap()) else { panic!("{replies:?}") };
    assert!(!text.is_empty());
    bad_csm_option
}

#[test]
fn both_ends_begin_with_a_csm() {
    let mut world = world();
    let client = world.accept();
    let replies = world.say(client, &[csm(), request(Code::GET, 1, &["t", "a"])]);
    assert_eq!(codes(&replies), [Code::CSM, Code::NOT_FOUND]);
    let ours = Csm { message_bytes_max: Some(16 << 20), block_wise_transfer: true };
    assert_eq!(signal(&replies[0]), Signal::Csm(ours));
    assert!(replies[0].token.as_slice().is_empty());
}

#[test]
fn whatever_else_comes_first_is_aborted_and_not_processed() {
    for first in [put(1, &["t", "a"], "x"), Message::new(Kind::Confirmable, Code::PING, 0)] {
        let mut world = world();
        let client = world.accept();
        let replies = world.say(client, &[first, csm(), put(2, &["t", "a"], "y")]);
        assert_eq!(codes(&replies), [Code::CSM, Code::ABORT]);
        assert_eq!(assert_aborted(&replies), None);
        world.assert_closed(client, Reason::ProtocolError);
        let other = world.connect();
        assert_eq!(codes(&world.say(other, &[request(Code::GET, 1, &["t", "a"])])), [Code::NOT_FOUND]);
    }
}

#[test]
fn who_says_nothing_or_dribbles_is_not_waited_for() {
    for beginning in [&b""[..], &[0x30], &bytes_of(&[Message::new(Kind::Confirmable, Code::EMPTY, 0)])] {
        let mut world = world();
        let client = world.accept();
        assert_eq!(world.step(client), Some("start of the conversation"));
        assert!(world.say_bytes(client, beginning).is_empty());
        assert_eq!(world.step(client), Some("CSM"));
        assert_eq!(codes(&world.take(client)), [Code::CSM, Code::ABORT]);
        assert!(world.peers[client].closed.is_some());
    }
}

#[test]
fn an_option_of_a_csm_that_cannot_be_dealt_with_is_named() {
    let mut unknown = csm();
    unknown.options.add(4_001, "?");
    let mut long = Message::new(Kind::Confirmable, Code::CSM, 0);
    long.options.add(2, &b"\x01\0\0\0\0"[..]);
    for (csm, bad_csm_option) in [(unknown, 4_001), (long, 2)] {
        let mut world = world();
        let client = world.accept();
        let replies = world.say(client, &[csm]);
        assert_eq!(codes(&replies), [Code::CSM, Code::ABORT]);
        assert_eq!(assert_aborted(&replies), Some(bad_csm_option));
        world.assert_closed(client, Reason::ProtocolError);
    }
}

#[test]
fn elective_options_that_nobody_knows_are_passed_over() {
    let mut world = world();
    let client = world.accept();
    let mut csm = csm();
    csm.options.add(4_000, "?");
    assert_eq!(codes(&world.say(client, &[csm])), [Code::CSM]);
    let mut ping = Message { token: token(9), ..Message::new(Kind::Confirmable, Code::PING, 0) };
    ping.options.add(4_000, "?");
    let custody = Custody { token: token(9), has_custody: false };
    assert_eq!(world.say(client, &[ping]), [Signal::Pong(custody).message()]);
}

#[test]
fn critical_options_of_other_signals_abort_too() {
    for code in [Code::PING, Code::PONG, Code::RELEASE] {
        let mut world = world();
        let client = world.connect();
        let mut message = Message::new(Kind::Confirmable, code, 0);
        message.options.add(4_001, "?");
        assert_eq!(assert_aborted(&world.say(client, &[message])), None);
        world.assert_closed(client, Reason::ProtocolError);
    }
}

#[test]
fn what_the_client_takes_bounds_what_it_gets_and_a_later_csm_changes_it() {
    let small = |bytes| Signal::Csm(Csm { message_bytes_max: Some(bytes), block_wise_transfer: false }).message();
    let mut world = world();
    let client = world.accept();
    world.say(client, &[small(40), put(1, &["t", "a"], vec![7; 30])]);
    world.take(client);
    let replies = world.say(client, &[request(Code::GET, 2, &["t", "a"])]);
    assert_eq!(payloads(&replies, 2), [vec![7; 16]], "the first block");
    assert!(bytes_of(&replies).len() <= 40);
    // A CSM without the option changes nothing.
    let nothing = Message::new(Kind::Confirmable, Code::CSM, 0);
    let replies = world.say(client, &[nothing, request(Code::GET, 2, &["t", "a"])]);
    assert_eq!(payloads(&replies, 2), [vec![7; 16]]);
    let replies = world.say(client, &[small(200), request(Code::GET, 3, &["t", "a"])]);
    assert_eq!(payloads(&replies, 3), [vec![7; 30]]);
}

#[test]
fn empty_messages_unasked_responses_and_unknown_signals_say_nothing() {
    let mut world = world();
    let client = world.connect();
    let nothings = [Code::EMPTY, Code::CONTENT, Code::NOT_FOUND, Code::new(7, 31), Code::PONG];
    let nothings = nothings.map(|code| Message::new(Kind::Confirmable, code, 0));
    assert!(world.say(client, &nothings).is_empty());
    assert!(world.peers[client].closed.is_none());
}

#[test]
fn a_ping_is_answered_with_its_token() {
    for is_websocket in [false, true] {
        let mut world = world();
        let client = if is_websocket { world.upgrade() } else { world.accept() };
        world.say(client, &[csm()]);
        let custody = Custody { token: token(0x42), has_custody: false };
        assert_eq!(world.say(client, &[Signal::Ping(custody).message()]), [Signal::Pong(custody).message()]);
    }
}

#[test]
fn custody_is_taken_when_everything_before_has_been_seen_to() {
    let mut world = world();
    let client = world.connect();
    let custody = Custody { token: token(5), has_custody: true };
    assert_eq!(world.say(client, &[Signal::Ping(custody).message()]), [Signal::Pong(custody).message()]);
    world.holds_store = true;
    let ping = Signal::Ping(custody).message();
    // What comes behind the Ping is not what it asks about.
    let replies = world.say(client, &[put(1, &["t", "a"], "x"), ping, put(2, &["t", "a"], "y")]);
    let is_durable = replies.is_empty();
    world.release_store();
    let replies = [replies, world.take(client)].concat();
    assert_eq!(codes(&replies), [Code::CHANGED, Code::PONG, Code::CHANGED]);
    assert_eq!(replies[1], Signal::Pong(custody).message());
    assert!(is_durable, "a Pong with custody came before what it promises");
}

#[test]
fn release_ends_the_connection_when_what_came_before_has_been_answered() {
    let release = Signal::Release { alternative_addresses: Vec::new(), hold_off_s: None, text: "bye".into() }.message();
    let mut world = world();
    let client = world.connect();
    world.holds_store = true;
    let replies = world.say(client, &[put(1, &["t", "a"], "x"), release.clone(), put(2, &["t", "b"], "y")]);
    assert!(replies.is_empty() && world.peers[client].closed.is_none());
    world.release_store();
    assert_eq!(codes(&world.take(client)), [Code::CHANGED]);
    world.assert_closed(client, Reason::Normal);
    let other = world.connect();
    assert_eq!(codes(&world.say(other, &[request(Code::GET, 1, &["t", "b"])])), [Code::NOT_FOUND]);
    assert!(world.say(other, &[release]).is_empty());
    world.assert_closed(other, Reason::Normal);
}

#[test]
fn abort_ends_the_connection_at_once() {
    let mut world = world();
    let client = world.connect();
    let abort = Signal::Abort { bad_csm_option: None, text: "no".into() }.message();
    assert!(world.say(client, &[abort, request(Code::GET, 1, &["t", "a"])]).is_empty());
    assert!(world.peers[client].closed.is_some());
}

#[test]
fn bytes_that_are_no_message_are_aborted_and_not_processed() {
    // Token length 15; delta 15; a marker without a payload; a PUT whose second option is cut short.
    for bytes in [&[0x0f, 1][..], &[0x10, 1, 0xf0], &[0x10, 1, 0xff], &[0x40, 3, 0xb1, b't', 0x05, b'a']] {
        let mut world = world();
        let client = world.connect();
        let replies = world.say_bytes(client, bytes);
        assert_eq!(codes(&replies), [Code::ABORT]);
        assert_eq!(assert_aborted(&replies), None);
        world.assert_closed(client, Reason::Malformed);
    }
}

#[test]
fn a_message_that_is_too_long_is_known_by_its_length() {
    for (is_connected, head) in [(false, &[0xf0, 0, 1, 0x80, 0][..]), (true, &[0xf0, 1, 0, 0, 0])] {
        let mut world = world();
        let client = if is_connected { world.connect() } else { world.accept() };
        assert_aborted(&world.say_bytes(client, head));
        world.assert_closed(client, Reason::PacketTooLarge);
    }
}

#[test]
fn the_rest_of_a_message_is_not_waited_for_without_end() {
    let mut world = world();
    let client = world.connect();
    let bytes = bytes_of(&[put(1, &["t", "a"], "x")]);
    world.say_bytes(client, &bytes[..4]);
    world.advance_ms(client, 20_000);
    // Another byte does not begin the time anew.
    world.say_bytes(client, &bytes[4..5]);
    world.advance_ms(client, 9_999);
    assert!(world.peers[client].closed.is_none());
    assert_eq!(world.next_timeout(client).map(|deadline| deadline.reason), Some("rest of a message"));
    world.advance_ms(client, 1);
    assert!(world.peers[client].closed.is_some());
    assert_aborted(&world.take(client));
}

#[test]
fn a_silent_client_is_asked_whether_it_is_there() {
    for is_websocket in [false, true] {
        let mut world = world();
        let client = if is_websocket { world.upgrade() } else { world.accept() };
        world.say(client, &[csm(), observe(1, &["t", "a"], 0)]);
        for _ in 0..3 {
            assert_eq!(world.step(client), Some("Ping"));
            let replies = world.take(client);
            let Signal::Ping(custody) = signal(&replies[0]) else { panic!("{replies:?}") };
            assert!(world.say(client, &[Signal::Pong(custody).message()]).is_empty());
        }
        assert_eq!(world.broker.statistics().subscriptions, 1);
        assert_eq!(world.step(client), Some("Ping"));
        assert_eq!(world.step(client), Some("Pong of the client"));
        world.assert_closed(client, Reason::KeepAliveTimeout);
        assert_eq!(codes(&world.take(client)), [Code::PING, Code::ABORT]);
        assert_eq!(world.broker.statistics().subscriptions, 0, "who is gone observes nothing");
    }
}

#[test]
fn several_blocks_in_one_message_are_for_who_takes_large_ones() {
    let says =
        |bytes, block_wise_transfer| Signal::Csm(Csm { message_bytes_max: Some(bytes), block_wise_transfer }).message();
    let mut world = world();
    let client = world.accept();
    world.say(client, &[says(10_000, false)]);
    world.publish("a", vec![7; 50_000], Guarantee::AtLeastOnce);
    let size_exponent = |world: &mut World| {
        let reply = world.say(client, &[request(Code::GET, 1, &["t", "a"])]).remove(0);
        reply.options.uint(number::BLOCK2).unwrap() & 7
    };
    assert!(size_exponent(&mut world) < 7, "nothing is known of blocks");
    // What is said in one CSM and in another is true together, until it is said anew.
    world.say(client, &[says(10_000, true)]);
    assert_eq!(size_exponent(&mut world), 7);
    world.say(client, &[says(1_152, false)]);
    assert!(size_exponent(&mut world) < 7);
    world.say(client, &[says(1_153, false)]);
    assert_eq!(size_exponent(&mut world), 7);
}

#[test]
fn what_the_client_does_not_take_is_not_sent() {
    let mut world = world();
    let client = world.accept();
    let tiny = Signal::Csm(Csm { message_bytes_max: Some(20), block_wise_transfer: false }).message();
    world.say(client, &[tiny, put(1, &["t", "a"], vec![7; 30])]);
    let replies = world.say(client, &[request(Code::GET, 2, &["t", "a"])]);
    assert_eq!((codes(&replies), bytes_of(&replies).len() <= 20), (vec![Code::INTERNAL_SERVER_ERROR], true));
}

#[test]
fn a_client_that_is_refused_hears_why_from_its_requests() {
    let mut world = world();
    world.refuses = Some(Refusal::new(Reason::BadCredentials, "who are you?"));
    let client = world.accept();
    let replies =
        world.say(client, &[csm(), put(1, &["t", "a"], "x"), request(Code::GET, 2, &[".well-known", "core"])]);
    assert_eq!(codes(&replies), [Code::CSM, Code::UNAUTHORIZED, Code::CONTENT]);
    assert_eq!(replies[1].payload, "who are you?");
    assert_eq!(world.step(client), Some("CSM"));
    assert_aborted(&world.take(client));
    world.assert_closed(client, Reason::BadCredentials);
}

#[test]
fn a_broker_that_stops_asks_to_leave_and_tells_everyone_who_waits() {
    let mut world = world();
    let client = world.connect();
    world.say(client, &[observe(1, &["t", "a"], 0)]);
    world.tell(client, Answer::Close(Refusal::new(Reason::ShuttingDown, "stopping")));
    assert_eq!(codes(&world.take(client)), [Code::SERVICE_UNAVAILABLE, Code::RELEASE]);
    world.assert_closed(client, Reason::ShuttingDown);
    let other = world.connect();
    world.tell(other, Answer::Close(Refusal::new(Reason::Banned, "banned")));
    assert_eq!(codes(&world.take(other)), [Code::ABORT]);
}

#[test]
fn as_many_requests_wait_as_may_and_the_rest_is_not_read() {
    let mut world = World::new(CoapConfig { pending_per_endpoint_max: 2, ..CoapConfig::default() });
    let client = world.connect();
    world.holds_store = true;
    let puts: Vec<_> = (0..10).map(|name| put(name, &["t", "a"], "x")).collect();
    let bytes = bytes_of(&puts);
    assert!(world.say_bytes(client, &bytes).is_empty());
    assert_eq!(world.unread_bytes(client), bytes.len() / 10 * 8);
    // While we do not read, its silence is ours.
    assert_eq!(world.next_timeout(client), None);
    world.release_store();
    assert_eq!(world.take(client).len(), 10);
    assert_eq!(world.unread_bytes(client), 0);
    world.publish("a", "y", Guarantee::AtMostOnce);
    let replies = world.say(client, &[request(Code::GET, 77, &["t", "a"])]);
    assert_eq!(payloads(&replies, 77), ["y"]);
}

#[test]
fn options_of_requests_are_those_of_requests() {
    let mut world = world();
    let client = world.connect();
    // Where there is no word for rejecting silently, everything is answered.
    let mut get = request(Code::GET, 1, &["t", "a"]);
    get.options.add(4_001, "?");
    assert_eq!(codes(&world.say(client, &[get])), [Code::BAD_OPTION]);
    let mut get = request(Code::GET, 1, &["t", "a"]);
    get.options.add(number::PROXY_URI, "coap://x");
    assert_eq!(codes(&world.say(client, &[get])), [Code::PROXYING_NOT_SUPPORTED]);
}
