//! Observations: order, their end, and their renewal (RFC 7641 §3).

use crate::server::{Server, piggybacked, response, separate};
use althing_coap::client::Event;
use althing_coap::message::{Code, Kind, Message, Token, number};

fn notification(token: Token, id: u16, sequence: u32, payload: &'static str) -> Message {
    let mut notification = separate(token, Kind::Confirmable, id, payload);
    notification.options.add_uint(number::OBSERVE, sequence);
    notification
}

/// A client that observes, and what it observes by.
fn observing(mut server: Server) -> (Server, Token) {
    let token = server.client.observe(server.now, &["a"]);
    let request = server.request();
    assert_eq!(request.options.uint(number::OBSERVE), Some(0));
    let mut first = piggybacked(&request, Code::CONTENT, "first");
    first.options.add_uint(number::OBSERVE, 10);
    first.options.add(number::ETAG, "e1");
    assert_eq!(response(&server.say(&first)), (Code::CONTENT, "first".into()));
    (server, token)
}

#[test]
fn older_notifications_are_acknowledged_and_not_heard() {
    let (mut server, token) = observing(Server::new(|client| client));
    for (id, sequence, payload, is_heard) in
        [(1, 12, "b", true), (2, 11, "a", false), (3, 13, "c", true), (4, 9, "x", false)]
    {
        let events = server.say(&notification(token, id, sequence, payload));
        assert_eq!(events.len(), usize::from(is_heard), "{payload}: {events:?}");
        assert_eq!(server.request(), Message::new(Kind::Acknowledgement, Code::EMPTY, id));
    }
    // After 128 s any number is new (§3.4).
    server.pass_ms(128_001);
    assert_eq!(response(&server.say(&notification(token, 5, 3, "again"))).1, "again");
}

#[test]
fn a_notification_of_an_error_is_the_last_one() {
    let (mut server, token) = observing(Server::new(|client| client));
    let mut last = notification(token, 1, 0, "gone");
    last.code = Code::NOT_FOUND;
    last.options.remove(number::OBSERVE);
    assert!(matches!(&server.say(&last)[..], [Event::Response { code: Code::NOT_FOUND, is_observed: false, .. }]));
    server.heard();
    // Whatever comes under this token now is not known.
    assert_eq!(server.say(&notification(token, 2, 11, "more")), []);
    assert_eq!(server.request(), Message::new(Kind::Reset, Code::EMPTY, 2));
}

#[test]
fn who_observes_no_longer_says_so_under_the_same_token() {
    let (mut server, token) = observing(Server::new(|client| client));
    assert!(server.client.cancel(server.now, token));
    let request = server.request();
    assert_eq!((request.token, request.options.uint(number::OBSERVE)), (token, Some(1)));
    assert!(matches!(
        &server.say(&piggybacked(&request, Code::CONTENT, "last"))[..],
        [Event::Response { is_observed: false, .. }]
    ));
}

#[test]
fn an_observation_is_registered_anew_when_nothing_fresh_is_there() {
    let (mut server, token) = observing(Server::new(|client| client.with_renewal()));
    let mut begin_ns = server.now.mono_ns;
    for (code, payload, sequence, is_heard) in [
        // Nothing has changed: by its ETag, or because it is the same.
        (Code::VALID, "", 11, false),
        (Code::CONTENT, "first", 12, false),
        // The server has forgotten us, and counts anew.
        (Code::CONTENT, "new", 1, true),
    ] {
        assert_eq!(server.pass(), []);
        let waited_s = (server.now.mono_ns - begin_ns) / 1_000_000_000;
        assert!((65..=75).contains(&waited_s), "{waited_s}");
        begin_ns = server.now.mono_ns;
        let request = server.request();
        assert_eq!((request.token, request.options.uint(number::OBSERVE)), (token, Some(0)));
        assert_eq!(request.options.get(number::ETAG).unwrap(), "e1");
        let mut answer = piggybacked(&request, code, payload);
        answer.options.add_uint(number::OBSERVE, sequence);
        answer.options.add(number::ETAG, if is_heard { "e2" } else { "e1" });
        assert_eq!(server.say(&answer).len(), usize::from(is_heard), "{payload}");
    }
    // What is told in the meantime puts it off.
    server.pass_ms(60_000);
    let told = notification(token, 1, 2, "newer");
    assert_eq!(server.say(&told).len(), 1);
    assert!(server.client.next_timeout().unwrap().mono_ns >= server.now.mono_ns + 65_000_000_000);
}

#[test]
fn a_server_that_is_gone_ends_what_is_renewed() {
    let (mut server, token) = observing(Server::new(|client| client.with_renewal()));
    let mut events = Vec::new();
    while events.is_empty() {
        events = server.pass();
    }
    assert_eq!(events, [Event::Failed { token }]);
    assert_eq!(server.heard().len(), 5);
}
