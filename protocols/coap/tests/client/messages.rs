//! Requests, their repeats and their responses (RFC 7252 §4, §5; RFC 9175 §2.3).

use crate::server::{Server, piggybacked, response, separate};
use althing_coap::client::Event;
use althing_coap::message::{Code, Kind, Message, Token, number};

fn plain() -> Server {
    Server::new(|client| client)
}

#[test]
fn a_request_is_sent_again_with_doubled_patience_and_given_up() {
    let mut server = plain();
    let token = server.client.get(server.now, &["a"]);
    let first = server.datagrams();
    let mut waits = Vec::new();
    for _ in 0..4 {
        let before_ns = server.now.mono_ns;
        assert_eq!(server.pass(), []);
        waits.push(server.now.mono_ns - before_ns);
        assert_eq!(server.datagrams(), first);
    }
    assert!(waits.windows(2).all(|pair| pair[1] == 2 * pair[0]), "{waits:?}");
    assert_eq!(server.pass(), [Event::Failed { token }]);
    assert!(server.datagrams().is_empty() && server.client.requests_len() == 0);
}

#[test]
fn a_separate_response_is_acknowledged_and_heard_once() {
    let mut server = plain();
    server.client.get(server.now, &["a"]);
    let request = server.request();
    assert_eq!(server.say(&Message::new(Kind::Acknowledgement, Code::EMPTY, request.id)), []);
    // Acknowledged is not answered, but it is not sent again.
    assert!(server.client.next_timeout().unwrap().mono_ns - server.now.mono_ns > 200 * 1_000_000_000);
    let late = separate(request.token, Kind::Confirmable, 900, "late");
    assert_eq!(response(&server.say(&late)), (Code::CONTENT, "late".into()));
    let acknowledgement = Message::new(Kind::Acknowledgement, Code::EMPTY, 900);
    assert_eq!(server.request(), acknowledgement);
    // Our acknowledgement was lost.
    assert_eq!(server.say(&late), []);
    assert_eq!(server.request(), acknowledgement);
}

#[test]
fn a_response_may_overtake_its_acknowledgement() {
    let mut server = plain();
    server.client.get(server.now, &["a"]);
    let request = server.request();
    let events = server.say(&separate(request.token, Kind::NonConfirmable, 901, "fast"));
    assert_eq!(response(&events), (Code::CONTENT, "fast".into()));
    assert_eq!(server.say(&Message::new(Kind::Acknowledgement, Code::EMPTY, request.id)), []);
    assert_eq!(server.client.next_timeout(), None);
}

#[test]
fn responses_are_matched_by_token_and_what_matches_nothing_is_rejected() {
    let mut server = plain();
    server.client.get(server.now, &["a"]);
    let request = server.request();
    let other = Token::new(b"else").unwrap();
    assert_eq!(server.say(&Message { token: other, ..piggybacked(&request, Code::CONTENT, "of another") }), []);
    for kind in [Kind::Confirmable, Kind::NonConfirmable] {
        assert_eq!(server.say(&separate(other, kind, 77, "of another")), []);
        assert_eq!(server.request(), Message::new(Kind::Reset, Code::EMPTY, 77));
    }
    // A request of the server's is none that a client takes (§4.2).
    assert_eq!(server.say(&Message::new(Kind::Confirmable, Code::GET, 78)), []);
    assert_eq!(server.request(), Message::new(Kind::Reset, Code::EMPTY, 78));
    assert_eq!(response(&server.say(&piggybacked(&request, Code::CONTENT, "ours"))), (Code::CONTENT, "ours".into()));
}

#[test]
fn a_reset_ends_a_request_and_answers_a_ping() {
    let mut server = plain();
    let token = server.client.get(server.now, &["a"]);
    let id = server.request().id;
    assert_eq!(server.say(&Message::new(Kind::Reset, Code::EMPTY, id)), [Event::Failed { token }]);
    let token = server.client.ping(server.now);
    let id = server.request().id;
    assert_eq!(server.say(&Message::new(Kind::Reset, Code::EMPTY, id)), [Event::Pong { token }]);
}

#[test]
fn an_address_is_proven_once() {
    let mut server = plain();
    server.client.put(server.now, &["a"], "21.5");
    for (echo, is_heard) in [("first", false), ("second", true)] {
        let request = server.request();
        let mut challenge = piggybacked(&request, Code::UNAUTHORIZED, "");
        challenge.options.add(number::ECHO, echo);
        let events = server.say(&challenge);
        match is_heard {
            false => assert_eq!(events, []),
            true => {
                assert_eq!(
                    (&request.options.get(number::ECHO).unwrap()[..], &request.payload[..]),
                    (&b"first"[..], &b"21.5"[..])
                );
                assert_eq!(response(&events).0, Code::UNAUTHORIZED);
            }
        }
    }
    assert!(server.heard().is_empty());
}

#[test]
fn one_confirmable_message_is_under_way_at_a_time() {
    let mut server = Server::new(|client| client.with_interactions_max(1));
    server.client.get(server.now, &["a"]);
    server.client.get(server.now, &["b"]);
    let first = server.request();
    assert_eq!(server.say(&Message::new(Kind::Acknowledgement, Code::EMPTY, first.id)), []);
    assert_eq!(server.request().options.get(number::URI_PATH).unwrap(), "b");
}
