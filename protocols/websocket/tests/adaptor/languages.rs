//! What is inside: languages of bytes and of messages, text and binary (§5.6, MQTT 5.0 §6).

use super::*;
use althing_core::topic::TopicLimits;
use althing_core::verbs::Connected;
use althing_core::{Guarantee, Message, PeerId, Topic};
use althing_websocket::EchoAdaptor;

pub fn connected() -> Answer {
    Answer::Connected(Box::new(Connected {
        session_present: false,
        client: "c".into(),
        assigned: false,
        session_expiry_s: 0,
        authentication: None,
        response_information: None,
    }))
}

fn delivery(topic: &str, payload: Vec<u8>) -> Delivery {
    let message = Message::new(Topic::new(topic.into(), &TopicLimits::default()).expect("a topic"), payload.into());
    Delivery {
        peer: PeerId { shard: 0, generation: 0, slot: 0 },
        number: 0,
        guarantee: Guarantee::AtMostOnce,
        retain: false,
        duplicate: false,
        tags: Default::default(),
        message: Arc::new(message),
    }
}

#[test]
fn text_is_refused_where_the_language_is_binary() {
    let mut seat = Seat::bytes(false, None);
    seat.receive(&[binary(b"a."), text("b.")].concat());
    assert_eq!(seat.words(), ["a."]);
    assert_eq!(seat.ended(), Some((1003, Reason::ProtocolError)));
}

#[test]
fn a_language_of_text_takes_both_and_speaks_text_where_it_is_text() {
    let mut seat = Seat::bytes(true, None);
    seat.receive(&[text("a."), binary(b"b.")].concat());
    assert_eq!(seat.sent(), [(Opcode::Text, b"a.b.".to_vec())]);
    seat.receive(&binary(b"\xFF."));
    assert_eq!(seat.sent(), [(Opcode::Binary, b"\xFF.".to_vec())]);
    seat.receive(&frame(Opcode::Text, true, b"c.\xFF."));
    assert_eq!(seat.words(), ["a.", "b.", "\u{FFFD}.", "c."]);
    assert_eq!(seat.ended(), Some((1007, Reason::PayloadFormatInvalid)));
}

#[test]
fn what_one_call_writes_leaves_in_one_frame() {
    let mut seat = Seat::bytes(false, None);
    let small = delivery("t", vec![1; 10]);
    seat.deliver(&[small.clone(), small.clone(), small]);
    let sent = seat.sent();
    assert_eq!(sent, [(Opcode::Binary, [&b"t"[..], &[1; 10]].concat().repeat(3))]);
    // Large payloads are shared, so the frame is put together from several parts.
    let sizes = [10, 5_000, 70_000, 1];
    let batch: Vec<Delivery> = sizes.iter().map(|size| delivery("topic", vec![9; *size])).collect();
    seat.deliver(&batch);
    let expected: Vec<u8> = sizes.iter().flat_map(|size| [&b"topic"[..], &vec![9; *size]].concat()).collect();
    assert_eq!(seat.sent(), [(Opcode::Binary, expected)]);
    seat.deliver(&[]);
    assert_eq!(seat.sent(), []);
}

#[test]
fn each_message_leaves_in_a_frame_of_its_own() {
    let mut seat = Seat::messages(WebSocketConfig::default(), None);
    seat.deliver(&[delivery("t", vec![1]), delivery("t", vec![2; 70_000])]);
    assert_eq!(seat.sent(), [(Opcode::Binary, vec![1]), (Opcode::Binary, vec![2; 70_000])]);
}

#[test]
fn the_next_message_waits_for_the_answer() {
    let mut seat = Seat::messages(WebSocketConfig::default(), None);
    let ping = frame(Opcode::Ping, true, b"p");
    seat.receive(&[text("a"), text("wait"), ping, text("b"), frame(Opcode::Text, false, b"c")].concat());
    assert_eq!(seat.heard(), [whole_text("a"), whole_text("wait")]);
    seat.answer(connected());
    seat.receive(&frame(Opcode::Continuation, true, b"d"));
    assert_eq!(seat.heard()[2..], [whole_text("b"), whole_text("cd")]);
}

#[test]
fn a_flood_of_messages_waits_its_turn() {
    let mut seat = Seat::messages(WebSocketConfig::default(), None);
    let mut input = BytesMut::from(&text("a").repeat(1_000)[..]);
    let mut turns = 0;
    loop {
        let mut out = Out { bytes: &mut seat.out, requests: &mut seat.requests };
        turns += 1;
        match seat.adaptor.receive(seat.now, &mut input, &mut out).unwrap() {
            Receive::Again => {}
            received => break assert_eq!(received, Receive::NeedMore),
        }
    }
    assert_eq!((turns, seat.heard().len()), (4, 1_000));
}

#[test]
fn the_echo_answers_with_the_message_and_ok() {
    let inner = Inner::Messages(Box::new(EchoAdaptor));
    let mut seat = Seat::new(WebSocketConfig::default(), inner, None, Heard::default());
    seat.receive(&[text("hello"), binary(b"\xFF")].concat());
    assert_eq!(seat.sent(), [(Opcode::Text, b"hello OK".to_vec()), (Opcode::Binary, b"\xFF OK".to_vec())]);
}
