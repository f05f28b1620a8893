//! §5.5.1, §7: the closing handshake from either side, and its codes.

use super::*;
use althing_core::verbs::Refusal;

fn close(payload: &[u8]) -> Vec<u8> {
    frame(Opcode::Close, true, payload)
}

fn with_code(code: u16, text: &[u8]) -> Vec<u8> {
    close(&[&code.to_be_bytes()[..], text].concat())
}

#[test]
fn a_close_is_answered_with_its_code() {
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999] {
        let mut seat = Seat::messages(WebSocketConfig::default(), None);
        seat.receive(&with_code(code, "wär".as_bytes()));
        let reason = if code == 1000 { Reason::Normal } else { Reason::ConnectionLost };
        assert_eq!(seat.ended(), Some((code, reason)));
    }
}

#[test]
fn a_code_that_may_not_be_sent_breaks_the_protocol() {
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
        let mut seat = Seat::messages(WebSocketConfig::default(), None);
        seat.receive(&with_code(code, b""));
        assert_eq!(seat.ended(), Some((1002, Reason::ProtocolError)), "{code}");
    }
    let mut seat = Seat::messages(WebSocketConfig::default(), None);
    seat.receive(&close(&[3]));
    assert_eq!(seat.ended(), Some((1002, Reason::ProtocolError)));
    let mut seat = Seat::messages(WebSocketConfig::default(), None);
    seat.receive(&with_code(1000, b"\xFF"));
    assert_eq!(seat.ended(), Some((1007, Reason::PayloadFormatInvalid)));
}

#[test]
fn a_close_without_a_code_is_answered_without_one() {
    let mut seat = Seat::messages(WebSocketConfig::default(), None);
    seat.receive(&close(b""));
    assert_eq!(seat.sent(), [(Opcode::Close, Vec::new())]);
    assert!(seat.closed.is_some_and(|close| close.publish_will));
}

#[test]
fn nothing_is_read_behind_a_close() {
    let mut seat = Seat::messages(WebSocketConfig::default(), None);
    seat.receive(&[text("a"), with_code(1000, b""), text("b"), vec![0xFF; 100]].concat());
    assert_eq!(seat.heard(), [whole_text("a")]);
    assert_eq!(seat.ended(), Some((1000, Reason::Normal)));
}

#[test]
fn what_came_before_the_close_is_taken_first() {
    // The language takes three words in one call, and waits at the fourth.
    let mut seat = Seat::bytes(false, None);
    seat.receive(&[binary(b"1.2.3.wait.5.6.7.8."), with_code(1001, b"")].concat());
    assert_eq!(seat.words(), ["1.", "2.", "3.", "wait."]);
    assert!(seat.closed.is_none());
    seat.answer(languages::connected());
    assert_eq!(seat.words().len(), 8);
    // A language of bytes has a goodbye of its own: this is a lost connection, whose will is due.
    assert!(seat.closed.as_ref().is_some_and(|close| close.publish_will));
    assert_eq!(seat.ended(), Some((1001, Reason::ConnectionLost)));
}

#[test]
fn the_goodbye_of_the_language_closes_the_websocket_too() {
    let mut seat = Seat::bytes(false, None);
    seat.receive(&binary(b"a.bye.b."));
    assert_eq!(seat.words(), ["a.", "bye."]);
    let sent = seat.sent();
    assert_eq!(sent[0], (Opcode::Binary, b"a.bye.".to_vec()), "what it has said still leaves");
    assert_eq!(CloseWords::parse(&sent[1].1).unwrap(), CloseWords { code: CloseCode::NORMAL, text: "goodbye".into() });
    assert!(seat.closed.is_some_and(|close| !close.publish_will));
    let mut seat = Seat::messages(WebSocketConfig::default(), None);
    seat.receive(&[text("bye"), text("b")].concat());
    assert_eq!(seat.heard(), [whole_text("bye")]);
    assert_eq!(seat.ended(), Some((1000, Reason::Normal)));
}

#[test]
fn a_broker_that_stops_says_so_in_the_close() {
    for (reason, code) in [
        (Reason::ShuttingDown, 1001),
        (Reason::ServerBusy, 1013),
        (Reason::NotAuthorised, 1008),
        (Reason::SessionTakenOver, 1008),
        (Reason::UseAnotherServer, 1012),
    ] {
        let mut seat = Seat::messages(WebSocketConfig::default(), None);
        seat.answer(Answer::Close(Refusal::new(reason, "the broker is stopping")));
        assert!(seat.closed.as_ref().is_some_and(|close| !close.publish_will));
        assert_eq!(seat.ended(), Some((code, reason)));
    }
}
