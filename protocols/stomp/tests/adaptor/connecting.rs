//! "Connecting", "Protocol Negotiation", "DISCONNECT", "ERROR".

use super::Hall;
use althing_core::Limits;
use althing_core::authorisation::Policy;
use althing_core::verbs::Reason;

#[test]
fn connect_and_stomp_are_answered_with_the_version_and_heart_beats() {
    for command in ["CONNECT", "STOMP"] {
        let mut hall = Hall::new();
        let seat = hall.accept();
        let heard = hall.say(seat, &format!("{command}\naccept-version:1.0,1.1,1.2\nhost:whatever\n\n^@"));
        let (session, rest) = heard
            .strip_prefix("CONNECTED\nversion:1.2\nsession:")
            .and_then(|rest| rest.split_once('\n'))
            .expect("CONNECTED");
        assert!(session.starts_with("auto-"));
        let server = concat!("server:althing/", env!("CARGO_PKG_VERSION"));
        assert_eq!(rest, format!("{server}\nheart-beat:1000,10000\n\n^@"));
    }
}

#[test]
fn other_versions_are_refused_with_the_one_spoken_here() {
    for frame in ["CONNECT\n\n^@", "CONNECT\naccept-version:1.0,1.1\nhost:h\n\n^@", "STOMP\naccept-version:1.20\n\n^@"]
    {
        let mut hall = Hall::new();
        let seat = hall.accept();
        let heard = hall.say(seat, frame);
        assert!(heard.starts_with("ERROR\nmessage:unsupported protocol version\nversion:1.2\n"), "{heard}");
        assert_eq!(hall.why_closed(seat), Some(Reason::UnsupportedVersion));
    }
}

#[test]
fn login_and_passcode_are_the_credentials() {
    let mut hall = Hall::new();
    let seat = hall.accept();
    let heard = hall.say(seat, "CONNECT\naccept-version:1.2\nhost:h\nlogin:me\npasscode:wrong\n\n^@");
    assert_eq!(
        heard,
        "ERROR\nmessage:bad login or passcode\ncontent-type:text/plain\ncontent-length:26\n\n\
         that is not your passcode\n^@"
    );
    assert_eq!(hall.why_closed(seat), Some(Reason::BadCredentials));
}

#[test]
fn frames_behind_connect_wait_for_the_broker() {
    let mut hall = Hall::new();
    let subscriber = hall.subscribe("/topic/a", "auto");
    let seat = hall.accept();
    hall.say(seat, "CONNECT\naccept-version:1.2\nhost:h\n\n^@SEND\ndestination:/topic/a\n\nhi^@");
    assert_eq!(hall.bodies(subscriber), ["hi"]);
}

#[test]
fn what_comes_first_is_connect_and_comes_once() {
    let mut hall = Hall::new();
    let seat = hall.accept();
    assert!(hall.say(seat, "SEND\ndestination:/topic/a\n\n^@").contains("the first frame is not CONNECT"));
    let seat = hall.connect();
    assert!(hall.say(seat, "CONNECT\naccept-version:1.2\nhost:h\n\n^@").contains("a second CONNECT"));
    assert_eq!(hall.why_closed(seat), Some(Reason::ProtocolError));
}

#[test]
fn frames_of_servers_and_other_languages_are_refused() {
    for (frame, why) in [
        ("MESSAGE\n\n^@", "only a server"),
        ("RECEIPT\n\n^@", "only a server"),
        ("GET / HTTP/1.1\r\n\r\n", "command"),
        ("BEGIN\ntransaction:t\n\n^@", "transactions are not supported yet"),
        ("COMMIT\ntransaction:t\n\n^@", "transactions are not supported yet"),
        ("ABORT\ntransaction:t\n\n^@", "transactions are not supported yet"),
        ("SEND\ndestination:/topic/a\ntransaction:t\n\n^@", "transactions are not supported yet"),
    ] {
        let mut hall = Hall::new();
        let seat = hall.connect();
        let heard = hall.say(seat, frame);
        assert!(heard.starts_with("ERROR\nmessage:") && heard.contains(why), "{frame}: {heard}");
        assert!(hall.why_closed(seat).is_some());
    }
}

#[test]
fn an_error_names_the_receipt_that_was_asked_for() {
    let mut hall = Hall::new();
    for frame in [
        "SEND\ndestination:nowhere\nreceipt:77\n\n^@",
        "SUBSCRIBE\nreceipt:77\n\n^@",
        "SEND\nreceipt:77\ncontent-length:1\n\nab^@",
        "BEGIN\nreceipt:77\n\n^@",
    ] {
        let seat = hall.connect();
        let heard = hall.say(seat, frame);
        assert!(heard.starts_with("ERROR\n") && heard.contains("\nreceipt-id:77\n"), "{frame}: {heard}");
    }
}

#[test]
fn a_goodbye_with_receipt_waits_for_everything_before_it() {
    let mut hall = Hall::new();
    hall.stores = false;
    let seat = hall.connect();
    let frames =
        "SEND\ndestination:/queue/q\nreceipt:1\n\nx^@DISCONNECT\nreceipt:2\n\n^@SEND\ndestination:/queue/q\n\ny^@";
    assert_eq!(hall.say(seat, frames), "");
    assert_eq!(hall.why_closed(seat), None);
    hall.store();
    assert_eq!(hall.heard(seat), "RECEIPT\nreceipt-id:1\n\n^@RECEIPT\nreceipt-id:2\n\n^@");
    assert_eq!(hall.why_closed(seat), Some(Reason::Normal));
    assert_eq!(hall.broker.statistics().queued_messages, 1, "nothing is taken after DISCONNECT");
}

#[test]
fn a_goodbye_without_receipt_is_the_end_at_once() {
    let mut hall = Hall::new();
    let seat = hall.connect();
    assert_eq!(hall.say(seat, "DISCONNECT\n\n^@"), "");
    assert_eq!(hall.why_closed(seat), Some(Reason::Normal));
    assert_eq!(hall.broker.statistics().sessions, 0);
}

#[test]
fn a_dribbling_peer_holds_no_connection() {
    let mut hall =
        Hall::with(Limits { connect_timeout_ms: 100, packet_timeout_ms: 50, ..Limits::default() }, Policy::open());
    let slow = hall.accept();
    hall.say(slow, "CONN");
    let within = hall.connect();
    hall.say(within, "SEND\ndestination:/topic/a\n\nhal");
    let between = hall.connect();
    hall.say(between, "\n\n\r\n");
    hall.advance_ms(50);
    assert_eq!((hall.why_closed(slow), hall.why_closed(within)), (None, Some(Reason::ImplementationSpecific)));
    hall.advance_ms(50);
    assert_eq!((hall.why_closed(slow), hall.why_closed(between)), (Some(Reason::Unspecified), None));
}

#[test]
fn before_connect_only_little_is_taken() {
    let limits = Limits { packet_bytes_before_connect_max: 100, ..Limits::default() };
    let mut hall = Hall::with(limits, Policy::open());
    let seat = hall.accept();
    hall.say(seat, &format!("CONNECT\nlogin:{}", "x".repeat(100)));
    assert_eq!(hall.why_closed(seat), Some(Reason::PacketTooLarge));
}
