//! RFC 7692 in frames.

use super::*;
use althing_websocket::Deflater;
use althing_websocket::extension::Extension;
use proptest::prelude::*;

fn agreed() -> Deflate {
    let offers = Extension::parse_list("permessage-deflate").expect("a list");
    Deflater::default().accept(&offers).expect("an offer").0
}

fn compressed(opcode: Opcode, message: &[u8]) -> Vec<u8> {
    let payload = agreed().compress(message).expect("it gets smaller");
    masked(Header { compressed: true, ..Header::whole(opcode, payload.len()) }, &payload)
}

/// The payloads of the frames sent, inflated where RSV1 says so, and whether it did.
fn sent(seat: &mut Seat) -> Vec<(bool, Vec<u8>)> {
    let limits = althing_websocket::deflate::InflateLimits { bytes_max: 1 << 24, ratio_max: 2_000 };
    let inflate = |(header, payload): (Header, Vec<u8>)| match header.compressed {
        true => (true, agreed().inflate(&payload, limits).expect("deflate")),
        false => (false, payload),
    };
    frames_of_server(&seat.out.take_all()).into_iter().map(inflate).collect()
}

#[test]
fn a_compressed_message_is_heard_and_answered() {
    let long = "hello, ".repeat(1_000);
    let mut seat = Seat::messages(WebSocketConfig::default(), Some(agreed()));
    seat.receive(&[compressed(Opcode::Text, long.as_bytes()), text("plain")].concat());
    assert_eq!(seat.heard(), [whole_text(&long), whole_text("plain")]);
    // What is short is not worth it.
    assert_eq!(sent(&mut seat), [(true, long.into_bytes()), (false, b"plain".to_vec())]);
}

#[test]
fn rsv1_stands_in_the_first_frame_only_and_where_it_was_agreed_on() {
    let payload = agreed().compress(&[b'a'; 100]).unwrap();
    let part = |opcode, compressed, fin, payload: &[u8]| {
        masked(Header { compressed, fin, ..Header::whole(opcode, payload.len()) }, payload)
    };
    let (one, two) = payload.split_at(2);
    let mut seat = Seat::messages(WebSocketConfig::default(), Some(agreed()));
    seat.receive(&[part(Opcode::Text, true, false, one), part(Opcode::Continuation, false, true, two)].concat());
    assert_eq!(seat.heard(), [whole_text(&"a".repeat(100))]);
    for (deflate, bytes) in [
        (None, part(Opcode::Text, true, true, &payload)),
        (Some(agreed()), [part(Opcode::Text, true, false, one), part(Opcode::Continuation, true, true, two)].concat()),
        (Some(agreed()), part(Opcode::Ping, true, true, b"")),
    ] {
        let mut seat = Seat::messages(WebSocketConfig::default(), deflate);
        seat.receive(&bytes);
        assert_eq!(seat.ended(), Some((1002, Reason::ProtocolError)));
    }
}

#[test]
fn bombs_and_garbage_end_the_connection() {
    let config = WebSocketConfig { message_bytes_before_connect_max: 1 << 20, ..WebSocketConfig::default() };
    let bomb = compressed(Opcode::Binary, &vec![0; 8 << 20]);
    let mut seat = Seat::messages(config.clone(), Some(agreed()));
    seat.receive(&bomb);
    assert_eq!((seat.heard(), seat.ended()), (Vec::new(), Some((1009, Reason::PacketTooLarge))));
    let ratio = WebSocketConfig { message_bytes_max: 1 << 30, message_bytes_before_connect_max: 1 << 30, ..config };
    let mut seat = Seat::messages(ratio, Some(agreed()));
    seat.receive(&bomb);
    assert_eq!((seat.heard(), seat.ended()), (Vec::new(), Some((1009, Reason::PacketTooLarge))));
    for (opcode, payload) in
        [(Opcode::Binary, b"\xFF\xFF\xFF".to_vec()), (Opcode::Text, agreed().compress(&[0xFF; 50]).unwrap())]
    {
        let mut seat = Seat::messages(WebSocketConfig::default(), Some(agreed()));
        seat.receive(&masked(Header { compressed: true, ..Header::whole(opcode, payload.len()) }, &payload));
        assert_eq!(seat.ended(), Some((1007, Reason::PayloadFormatInvalid)));
    }
}

#[test]
fn a_language_of_bytes_takes_what_it_can_and_the_rest_later() {
    let stream = "one.two.three.wait.five.six.seven.".repeat(3);
    let mut seat = Seat::bytes(false, Some(agreed()));
    let half = stream.len() / 2;
    seat.receive(
        &[compressed(Opcode::Binary, &stream.as_bytes()[..half]), binary(&stream.as_bytes()[half..])].concat(),
    );
    for waits in 1..=3 {
        assert_eq!(seat.words().last().map(String::as_str), Some("wait."), "{waits}");
        assert_eq!(seat.words().len(), waits * 7 - 3);
        seat.answer(languages::connected());
    }
    assert_eq!(seat.words().concat(), stream);
    assert!(seat.input.is_empty());
}

#[test]
fn what_a_language_of_bytes_says_is_compressed_when_it_is_long() {
    let mut seat = Seat::bytes(false, Some(agreed()));
    let long = format!("{}.", "hello ".repeat(1_000));
    seat.receive(&[binary(b"short."), binary(long.as_bytes())].concat());
    assert_eq!(sent(&mut seat), [(false, b"short.".to_vec()), (true, long.into_bytes())]);
}

proptest! {
    #[test]
    fn a_stream_is_the_same_compressed_or_not(
        words in prop::collection::vec("[a-c]{0,200}\\.", 1..12),
        cut in any::<usize>(),
        read in 1..200_usize,
    ) {
        let stream = words.concat();
        let (one, two) = stream.as_bytes().split_at(cut % stream.len());
        let frame_of = |part: &[u8]| match agreed().compress(part) {
            Some(payload) => masked(Header { compressed: true, ..Header::whole(Opcode::Binary, payload.len()) }, &payload),
            None => binary(part),
        };
        let bytes = [frame_of(one), frame_of(two)].concat();
        let mut seat = Seat::bytes(false, Some(agreed()));
        bytes.chunks(read).for_each(|part| seat.receive(part));
        prop_assert_eq!(seat.words(), words);
    }
}
