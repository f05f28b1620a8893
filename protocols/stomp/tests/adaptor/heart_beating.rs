//! "Heart-beating".

use super::Hall;
use althing_core::verbs::Reason;

fn connect(hall: &mut Hall, heart_beat: &str) -> usize {
    let seat = hall.accept();
    hall.say(seat, &format!("CONNECT\naccept-version:1.2\nhost:h\nheart-beat:{heart_beat}\n\n^@"));
    seat
}

#[test]
fn the_server_sends_within_the_interval_that_was_asked_for() {
    let mut hall = Hall::new();
    let seat = connect(&mut hall, "0,4000");
    hall.advance_ms(2_999);
    assert_eq!(hall.heard(seat), "");
    hall.advance_ms(1);
    assert_eq!(hall.heard(seat), "\n");
    hall.advance_ms(3_000);
    assert_eq!(hall.heard(seat), "\n");
    assert_eq!(hall.why_closed(seat), None);
}

#[test]
fn anything_sent_is_a_heart_beat() {
    let mut hall = Hall::new();
    let seat = connect(&mut hall, "0,4000");
    hall.advance_ms(2_000);
    hall.say(seat, "SUBSCRIBE\nid:0\ndestination:/topic/a\nreceipt:1\n\n^@");
    hall.advance_ms(1_000);
    assert_eq!(hall.heard(seat), "");
    hall.advance_ms(2_000);
    assert_eq!(hall.heard(seat), "\n");
}

#[test]
fn a_peer_that_misses_two_of_its_heart_beats_is_gone() {
    let mut hall = Hall::new();
    let seat = connect(&mut hall, "10000,0");
    hall.advance_ms(19_999);
    hall.say(seat, "\n");
    hall.advance_ms(19_999);
    assert_eq!(hall.why_closed(seat), None);
    hall.advance_ms(1);
    assert_eq!(hall.why_closed(seat), Some(Reason::KeepAliveTimeout));
    assert!(hall.heard(seat).starts_with("ERROR\nmessage:missing heart-beats\n"));
}

#[test]
fn who_agreed_on_none_may_be_silent() {
    let mut hall = Hall::new();
    let seat = hall.connect();
    hall.advance_ms(1_000_000_000);
    assert_eq!((hall.heard(seat), hall.why_closed(seat)), (String::new(), None));
}

#[test]
fn a_heart_beat_header_is_two_numbers() {
    for heart_beat in ["1", "a,b", "1,2,3", ""] {
        let mut hall = Hall::new();
        let seat = connect(&mut hall, heart_beat);
        assert!(hall.heard(seat).is_empty());
        assert_eq!(hall.why_closed(seat), Some(Reason::ProtocolError), "{heart_beat}");
    }
}
