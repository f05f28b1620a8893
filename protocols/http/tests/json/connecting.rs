use crate::hall::{Hall, WRONG};
use althing_core::Answer;
use althing_core::verbs::{Reason, Refusal};
use althing_http::json::Credentials;
use serde_json::json;

#[test]
fn whoever_says_nothing_first_has_a_session_at_once() {
    let mut hall = Hall::new();
    let seat = hall.accept();
    let heard = hall.say(seat, r#"{"type":"ping","id":1}"#);
    assert_eq!((&heard[0]["type"], &heard[0]["assigned"]), (&json!("connected"), &json!(true)));
    assert_eq!(heard[1..], [json!({"type":"pong","id":1})]);
    assert_eq!(hall.verified, [(None, None)]);
}

#[test]
fn a_silent_peer_gets_its_session_after_the_time_of_connecting() {
    let mut hall = Hall::new();
    let seat = hall.accept();
    hall.advance_ms(1);
    hall.advance_ms(9_999);
    assert_eq!(hall.heard(seat).len(), 0);
    hall.advance_ms(1);
    assert_eq!(hall.heard(seat)[0]["type"], "connected");
}

#[test]
fn connect_opens_the_session_that_it_describes() {
    let mut hall = Hall::new();
    let seat = hall.accept();
    let connect = r#"{"type":"connect","id":"c","client":"panel","clean":false,"session_expiry_s":60,"window":3}"#;
    let expected = json!({"type":"connected","id":"c","client":"panel","assigned":false,"session_present":false,
                          "session_expiry_s":60,"message_bytes_max":16 << 20});
    assert_eq!(hall.say(seat, connect), [expected]);
    hall.lose(seat);
    let again = hall.accept();
    assert_eq!(hall.say(again, connect)[0]["session_present"], true);
}

#[test]
fn credentials_of_the_way_here_hold_unless_connect_brings_others() {
    let mut hall = Hall::new();
    let credentials = || Credentials { username: Some("ada".into()), password: Some("secret".into()) };
    let ada = (Some("ada".to_owned()), Some("secret".to_owned()));
    for (message, expected) in [
        (r#"{"type":"ping"}"#, ada.clone()),
        (r#"{"type":"connect"}"#, ada),
        (r#"{"type":"connect","username":"eve","password":"x"}"#, (Some("eve".to_owned()), Some("x".to_owned()))),
        (r#"{"type":"connect","token":"e.y.J"}"#, (None, Some("e.y.J".to_owned()))),
    ] {
        let seat = hall.accept_with(credentials());
        assert_eq!(hall.say(seat, message)[0]["type"], "connected");
        assert_eq!(hall.verified.pop().unwrap(), expected);
    }
}

#[test]
fn a_refused_session_is_the_end_and_says_why() {
    let mut hall = Hall::new();
    let seat = hall.accept();
    let heard = hall.say(seat, &format!(r#"{{"type":"connect","id":7,"username":"ada","password":"{WRONG}"}}"#));
    let expected = json!({"type":"error","id":7,"request":"connect","reason":"bad_credentials",
                          "text":"that is not your password","closes":true});
    assert_eq!((heard, hall.why_closed(seat)), (vec![expected], Some(Reason::BadCredentials)));
}

#[test]
fn a_mistake_in_connect_is_the_end() {
    for (connect, text) in [
        (r#"{"type":"connect","window":0}"#, "`window` is a number from 1 to 65535"),
        (r#"{"type":"connect","clean":false}"#, "a session that lasts needs a name: its `client`"),
        (r#"{"type":"connect","session_expiry_s":1}"#, "a session that lasts needs a name: its `client`"),
        (r#"{"type":"connect","ack":"maybe"}"#, "`ack` is \"automatic\" or \"manual\""),
        (r#"{"type":"connect","password":"a","token":"b"}"#, "a `connect` has a `password` or a `token`"),
        (r#"{"type":"connect","clientid":"a"}"#, "a `connect` has no field `clientid`; did you mean `client`?"),
        (r#"{"type":"connect","will":{"payload":"x"}}"#, "a `will` names its `topic`"),
    ] {
        let mut hall = Hall::new();
        let seat = hall.accept();
        let heard = hall.say(seat, connect);
        assert_eq!((&heard[0]["text"], &heard[0]["closes"]), (&json!(text), &json!(true)), "{connect}");
        assert!(hall.why_closed(seat).is_some());
    }
}

#[test]
fn a_will_is_published_unless_the_goodbye_is_a_proper_one() {
    for (goodbye, expected) in
        [(None, 1), (Some(r#"{"type":"disconnect"}"#), 0), (Some(r#"{"type":"disconnect","publish_will":true}"#), 1)]
    {
        let mut hall = Hall::new();
        let watcher = hall.connect(r#"{"type":"connect"}"#);
        hall.say(watcher, r#"{"type":"subscribe","filter":"gone/#"}"#);
        let seat = hall
            .connect(r#"{"type":"connect","will":{"topic":"gone/panel","payload":"bye","properties":{"expiry_s":2}}}"#);
        match goodbye {
            Some(goodbye) => assert_eq!(hall.say(seat, goodbye).len(), 0),
            None => hall.lose(seat),
        }
        let heard = hall.heard(watcher);
        assert_eq!(heard.len(), expected, "{goodbye:?}: {heard:?}");
        if expected == 1 {
            assert_eq!((&heard[0]["payload"], &heard[0]["properties"]["expiry_s"]), (&json!("bye"), &json!(2)));
        }
    }
}

#[test]
fn a_second_connect_is_a_mistake() {
    let mut hall = Hall::new();
    let seat = hall.connect(r#"{"type":"connect"}"#);
    assert_eq!(hall.say(seat, r#"{"type":"connect"}"#)[0]["reason"], "protocol_error");
    assert_eq!(hall.why_closed(seat), None);
}

#[test]
fn the_brokers_farewell_is_heard() {
    let mut hall = Hall::new();
    let seat = hall.connect(r#"{"type":"connect"}"#);
    hall.tell(seat, Answer::Close(Refusal::new(Reason::AdministrativeAction, "an administrator ended this")));
    let expected = json!({"type":"error","reason":"administrative_action","text":"an administrator ended this",
                          "closes":true});
    assert_eq!((hall.heard(seat), hall.why_closed(seat)), (vec![expected], Some(Reason::AdministrativeAction)));
}
