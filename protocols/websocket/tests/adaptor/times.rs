//! Deadlines: our ping, the peer's pong, and the rest of a message.

use super::*;

fn seat() -> Seat {
    let config = WebSocketConfig {
        ping_interval_ms: 30_000,
        pong_timeout_ms: 20_000,
        message_timeout_ms: 10_000,
        ..WebSocketConfig::default()
    };
    let mut seat = Seat::messages(config, None);
    assert_eq!(seat.timeout_ms(), Some((0, "start of the conversation")));
    seat.advance_ms(0);
    seat
}

#[test]
fn a_silent_peer_is_sent_a_ping_and_then_closed() {
    let mut seat = seat();
    assert_eq!(seat.timeout_ms(), Some((30_000, "ping")));
    seat.advance_ms(29_999);
    assert_eq!(seat.sent(), []);
    seat.advance_ms(1);
    assert_eq!(seat.sent(), [(Opcode::Ping, Vec::new())]);
    assert_eq!(seat.timeout_ms(), Some((20_000, "pong of the peer")));
    seat.advance_ms(20_000);
    assert!(seat.closed.as_ref().is_some_and(|close| close.publish_will));
    assert_eq!(seat.ended(), Some((1001, Reason::KeepAliveTimeout)));
}

#[test]
fn a_language_with_pings_of_its_own_has_no_others() {
    let mut seat = Seat::with_pings(WebSocketConfig::default());
    seat.advance_ms(0);
    assert_eq!(seat.timeout_ms(), None);
    seat.advance_ms(1_000_000);
    assert_eq!((seat.sent(), seat.closed.is_none()), (Vec::new(), true));
}

#[test]
fn any_bytes_of_the_peer_are_a_sign_of_life() {
    for bytes in [frame(Opcode::Pong, true, b""), text("a"), vec![0x81]] {
        let mut seat = seat();
        seat.advance_ms(30_000);
        seat.advance_ms(10_000);
        seat.receive(&bytes);
        seat.advance_ms(9_999);
        assert!(seat.closed.is_none());
    }
}

#[test]
fn while_we_do_not_read_its_silence_is_ours() {
    let mut seat = seat();
    seat.receive(&text("wait"));
    seat.sent();
    assert_eq!(seat.timeout_ms(), None);
    seat.advance_ms(100_000);
    seat.answer(languages::connected());
    assert_eq!((seat.timeout_ms(), seat.sent()), (Some((30_000, "ping")), Vec::new()));
}

#[test]
fn a_message_that_has_begun_has_to_end() {
    for begun in [frame(Opcode::Text, false, b"a"), text("abc")[..5].to_vec(), vec![0x81]] {
        let mut seat = seat();
        seat.receive(&begun);
        assert_eq!(seat.timeout_ms(), Some((10_000, "rest of a message")));
        seat.advance_ms(9_000);
        // Life, but no end of the message.
        seat.receive(&[]);
        assert_eq!(seat.timeout_ms(), Some((1_000, "rest of a message")));
        seat.advance_ms(1_000);
        assert_eq!(seat.ended(), Some((1011, Reason::ImplementationSpecific)));
    }
    let mut seat = seat();
    seat.receive(&frame(Opcode::Text, false, b"a"));
    seat.receive(&frame(Opcode::Continuation, true, b"a"));
    assert_eq!(seat.timeout_ms(), Some((30_000, "ping")));
}
