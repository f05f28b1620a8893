//! Requests inside OSCORE (RFC 8613 §8).

use crate::server::{Server, piggybacked, response};
use althing_coap::client::Event;
use althing_coap::message::{Code, Kind, Message, number};
use althing_coap::oscore::{Binding, Context, Credentials, protect_response, unprotect_request};
use bytes::Bytes;
use std::sync::Arc;

fn context(sender_id: &'static [u8], recipient_id: &'static [u8]) -> Arc<Context> {
    let context = Context::derive(Credentials {
        name: "sensor-1".into(),
        master_secret: Bytes::from_static(b"sixteen bytes..."),
        master_salt: Bytes::new(),
        sender_id: Bytes::from_static(sender_id),
        recipient_id: Bytes::from_static(recipient_id),
        id_context: None,
    });
    let context = context.unwrap();
    context.reserve(0, 100);
    Arc::new(context)
}

/// A server whose client protects, the client's context and its own.
fn protected() -> (Server, Arc<Context>, Arc<Context>) {
    let ours = context(b"c", b"s");
    let server = Server::new(|client| client.with_oscore(Arc::clone(&ours)));
    (server, ours, context(b"s", b"c"))
}

#[track_caller]
fn open(context: &Arc<Context>, outer: &Message) -> (Message, Binding) {
    unprotect_request(outer, |_, _| Some(Arc::clone(context))).unwrap()
}

#[test]
fn what_is_asked_is_seen_by_nobody_and_only_the_right_answer_counts() {
    let (mut server, _, theirs) = protected();
    server.client.put(server.now, &["a"], "21.5");
    let outer = server.request();
    assert_eq!((outer.code, outer.options.get(number::URI_PATH)), (Code::POST, None));
    let (inner, mut binding) = open(&theirs, &outer);
    assert_eq!((inner.code, &inner.payload[..]), (Code::PUT, &b"21.5"[..]));
    // Who does not know the secret cannot say that it has worked.
    assert_eq!(server.say(&piggybacked(&outer, Code::CHANGED, "")), []);
    let answer = protect_response(&mut binding, &piggybacked(&inner, Code::CHANGED, "")).unwrap();
    let mut forged = answer.clone();
    forged.payload = Bytes::from_static(b"something else");
    assert_eq!(server.say(&forged), []);
    assert_eq!(response(&server.say(&answer)).0, Code::CHANGED);
}

#[test]
fn a_server_without_the_context_says_so() {
    let (mut server, ..) = protected();
    let token = server.client.get(server.now, &["a"]);
    let outer = server.request();
    let events = server.say(&piggybacked(&outer, Code::UNAUTHORIZED, "Security context not found"));
    let text = "Security context not found".to_owned();
    assert_eq!(events, [Event::Unprotected { token, code: Code::UNAUTHORIZED, text }]);
}

#[test]
fn a_server_that_has_forgotten_what_it_received_is_shown_that_the_request_is_new() {
    let (mut server, _, theirs) = protected();
    theirs.forget_received();
    server.client.get(server.now, &["a"]);
    let (inner, mut binding) = open(&theirs, &server.request());
    let mut challenge = piggybacked(&inner, Code::UNAUTHORIZED, "");
    challenge.options.add(number::ECHO, "prove it");
    let challenge = protect_response(&mut binding, &challenge).unwrap();
    assert_eq!(server.say(&challenge), []);
    let (inner, mut binding) = open(&theirs, &server.request());
    assert_eq!(inner.options.get(number::ECHO).unwrap(), "prove it");
    binding.is_recent();
    let answer = protect_response(&mut binding, &piggybacked(&inner, Code::CONTENT, "21.5")).unwrap();
    assert_eq!(response(&server.say(&answer)), (Code::CONTENT, "21.5".into()));
}

#[test]
fn notifications_are_in_the_order_of_their_partial_ivs() {
    let (mut server, _, theirs) = protected();
    let token = server.client.observe(server.now, &["a"]);
    let (inner, mut binding) = open(&theirs, &server.request());
    let told: Vec<Message> = (0..4_u16)
        .map(|number| {
            let mut message = Message::new(Kind::NonConfirmable, Code::CONTENT, 100 + number);
            (message.token, message.payload) = (token, vec![b'0' + number as u8].into());
            // What anybody on the way may change.
            message.options.add_uint(number::OBSERVE, 7);
            protect_response(&mut binding, &message).unwrap()
        })
        .collect();
    assert_eq!(inner.options.uint(number::OBSERVE), Some(0));
    for (place, expected) in [(0, Some(0)), (2, Some(2)), (1, None), (2, None), (3, Some(3))] {
        let events = server.say(&Message { id: 200 + place as u16 * 10 + events_id(&server), ..told[place].clone() });
        let heard = events.first().map(|event| match event {
            Event::Response { options, is_observed: true, .. } => options.uint(number::OBSERVE).unwrap(),
            other => panic!("{other:?}"),
        });
        assert_eq!(heard, expected, "{place}");
        server.pass_ms(1);
    }
}

/// Another id for each message.
fn events_id(server: &Server) -> u16 {
    (server.now.mono_ns / 1_000_000) as u16
}

#[test]
fn without_numbers_a_request_waits() {
    let (mut server, ours, theirs) = protected();
    while ours.has_numbers() {
        server.client.put(server.now, &["a"], "x");
        server.heard();
    }
    server.client.get(server.now, &["b"]);
    assert!(server.heard().is_empty());
    ours.reserve(100, 200);
    // Whatever comes next lets it go.
    server.say(&Message::new(Kind::Acknowledgement, Code::EMPTY, 0));
    assert_eq!(open(&theirs, &server.request()).0.options.get(number::URI_PATH).unwrap(), "b");
}
