//! Enhanced authentication: §3.15, §4.12.

use althing_core::verbs::{Authentication, Connected, Reason, Refusal};
use althing_core::{Answer, Guarantee, Limits, Request};
use althing_mqtt::client::{ClientError, Event, Options, publication};
use althing_mqtt::config::MqttConfig;
use althing_mqtt::packet::{Auth, Packet, Version};
use althing_mqtt::reason::code;
use althing_testkit::pair::{Pair, obliging, topic};
use bytes::Bytes;

fn step(data: &'static str) -> Authentication {
    Authentication { method: "SAY-IT".into(), data: Some(Bytes::from_static(data.as_bytes())) }
}

/// A method of three steps: `hello` is answered by `go on`, `please` lets in, `again` re-authenticates after
/// another `please`; anything else is refused.
fn say_it(request: &Request) -> Vec<Answer> {
    let (said, connected) = match request {
        Request::Connect(connect) => (connect.authentication.clone(), false),
        Request::Authenticate(step) => (Some((**step).clone()), true),
        other => return obliging(other),
    };
    let said = said.expect("a method");
    assert_eq!(said.method, "SAY-IT");
    match (said.data.as_deref(), connected) {
        (Some(b"hello"), false) | (Some(b"again"), true) => vec![Answer::Challenge(Box::new(step("go on")))],
        (Some(b"please"), true) => vec![Answer::Connected(Box::new(Connected {
            session_present: false,
            client: "x".into(),
            assigned: false,
            session_expiry_s: 0,
            authentication: Some(step("welcome")),
            response_information: None,
        }))],
        (Some(b"once more"), true) => vec![Answer::Reauthenticated(Box::new(step("welcome back")))],
        _ => vec![Answer::Refused(Refusal::new(Reason::NotAuthorised, "that was not it"))],
    }
}

fn begun(version: Version) -> Pair {
    let mut options = Options::new(version, "x");
    options.connect.authentication_method = Some("SAY-IT".into());
    options.connect.authentication_data = Some(Bytes::from_static(b"hello"));
    let mut pair = Pair::scripted(Limits::default(), MqttConfig::default(), options, Box::new(say_it));
    pair.connect();
    pair
}

fn auth(code: u8, method: &'static str, data: &'static str) -> Auth {
    Auth {
        code,
        method: Some(method.into()),
        data: Some(Bytes::from_static(data.as_bytes())),
        details: Default::default(),
    }
}

fn say(pair: &mut Pair, auth: Auth) {
    pair.client.authenticate(pair.now, auth).expect("an open connection");
    pair.settle();
}

fn let_in() -> Pair {
    let mut pair = begun(Version::V5);
    say(&mut pair, auth(code::CONTINUE_AUTHENTICATION, "SAY-IT", "please"));
    assert!(pair.client.is_connected(), "{:?} {:?}", pair.failed, pair.closed);
    pair
}

#[test]
fn an_exchange_leads_to_connack() {
    let pair = let_in();
    let [Event::Auth(challenge), Event::Connected(connack)] = &pair.events[..] else { panic!("{:?}", pair.events) };
    assert_eq!(**challenge, auth(code::CONTINUE_AUTHENTICATION, "SAY-IT", "go on"));
    assert_eq!(connack.properties.authentication_method.as_deref(), Some("SAY-IT"));
    assert_eq!(connack.properties.authentication_data.as_deref(), Some(&b"welcome"[..]));
}

#[test]
fn a_wrong_answer_is_refused_in_connack() {
    let mut pair = begun(Version::V5);
    say(&mut pair, auth(code::CONTINUE_AUTHENTICATION, "SAY-IT", "now"));
    let Some(ClientError::Refused(connack)) = &pair.failed else { panic!("{:?}", pair.failed) };
    assert_eq!(connack.code, code::NOT_AUTHORIZED);
    assert!(pair.closed.is_some());
}

#[test]
fn the_method_stays_the_same() {
    let mut pair = begun(Version::V5);
    say(&mut pair, auth(code::CONTINUE_AUTHENTICATION, "SING-IT", "please"));
    let Some(ClientError::Refused(connack)) = &pair.failed else { panic!("{:?}", pair.failed) };
    assert_eq!(connack.code, code::BAD_AUTHENTICATION_METHOD);

    let mut pair = let_in();
    say(&mut pair, auth(code::RE_AUTHENTICATE, "SING-IT", "again"));
    assert!(matches!(pair.events.last(), Some(Event::Disconnected(said)) if said.code == code::PROTOCOL_ERROR));
}

#[test]
fn nothing_but_auth_and_disconnect_may_come_in_between() {
    let mut pair = begun(Version::V5);
    pair.inject(&[0xC0, 0]);
    let packets = pair.packets_to_client(Version::V5);
    assert!(matches!(&packets[..], [Packet::ConnAck(connack)] if connack.code == code::PROTOCOL_ERROR));
    assert_eq!(
        pair.closed.as_ref().map(|close| &close.refusal.text[..]),
        Some("only AUTH or DISCONNECT may follow here")
    );
    let mut pair = begun(Version::V5);
    pair.inject(&[0xE0, 0]);
    assert!(pair.closed.as_ref().is_some_and(|close| !close.publish_will));
    assert!(pair.to_client.is_empty());
}

#[test]
fn an_exchange_must_not_take_for_ever() {
    let mut pair = begun(Version::V5);
    pair.client.options_mut().connect_timeout_ms = 60_000;
    pair.advance_ms(9_999);
    assert_eq!(pair.closed, None);
    assert_eq!(pair.step(), Some("AUTH"));
    assert!(pair.closed.is_some());
    let Some(ClientError::Refused(connack)) = &pair.failed else { panic!("{:?}", pair.failed) };
    assert_eq!(connack.code, code::NOT_AUTHORIZED);
}

#[test]
fn a_connected_client_authenticates_again_while_messages_flow() {
    let mut pair = let_in();
    say(&mut pair, auth(code::RE_AUTHENTICATE, "SAY-IT", "again"));
    assert!(matches!(pair.events.last(), Some(Event::Auth(step)) if step.code == code::CONTINUE_AUTHENTICATION));
    pair.client.publish(pair.now, publication(topic("a"), Bytes::new(), Guarantee::AtLeastOnce)).unwrap();
    pair.settle();
    assert!(matches!(pair.events.last(), Some(Event::Published { .. })));
    say(&mut pair, auth(code::CONTINUE_AUTHENTICATION, "SAY-IT", "once more"));
    let Some(Event::Auth(last)) = pair.events.last() else { panic!("{:?}", pair.events) };
    assert_eq!(**last, auth(code::SUCCESS, "SAY-IT", "welcome back"));
    say(&mut pair, auth(code::RE_AUTHENTICATE, "SAY-IT", "again"));
    assert!(matches!(pair.events.last(), Some(Event::Auth(step)) if step.code == code::CONTINUE_AUTHENTICATION));
    assert_eq!(pair.closed, None);
}

#[test]
fn a_failed_re_authentication_ends_the_conversation() {
    let mut pair = let_in();
    say(&mut pair, auth(code::RE_AUTHENTICATE, "SAY-IT", "nonsense"));
    assert!(matches!(pair.events.last(), Some(Event::Disconnected(said)) if said.code == code::NOT_AUTHORIZED));
    assert!(pair.closed.as_ref().is_some_and(|close| close.publish_will));
}

#[test]
fn steps_out_of_turn_are_protocol_errors() {
    for said in [
        auth(code::CONTINUE_AUTHENTICATION, "SAY-IT", "nobody asked"),
        auth(code::SUCCESS, "SAY-IT", "only a server says so"),
    ] {
        let mut pair = let_in();
        say(&mut pair, said);
        assert!(matches!(pair.events.last(), Some(Event::Disconnected(said)) if said.code == code::PROTOCOL_ERROR));
    }
    let mut pair = let_in();
    say(&mut pair, auth(code::RE_AUTHENTICATE, "SAY-IT", "again"));
    say(&mut pair, auth(code::RE_AUTHENTICATE, "SAY-IT", "again"));
    assert!(matches!(pair.events.last(), Some(Event::Disconnected(said)) if said.code == code::PROTOCOL_ERROR));
}
