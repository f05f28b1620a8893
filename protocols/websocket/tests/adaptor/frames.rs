//! §5 as a table: what a peer sends, what is heard of it, and how it ends.

use super::*;

/// Messages heard, and the close code with which the connection ends; 0 = it goes on.
type Case = (&'static str, Vec<u8>, &'static [&'static str], u16);

fn raw(first: u8, second: u8, rest: &[u8]) -> Vec<u8> {
    [&[first, second][..], rest].concat()
}

/// A masked header with this length field, and no payload.
fn header_only(first: u8, length: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    bytes.extend_from_slice(length);
    bytes[1] |= 0x80;
    bytes.extend_from_slice(&[1, 2, 3, 4]);
    bytes
}

fn cases() -> Vec<Case> {
    use Opcode::{Binary, Close, Continuation, Ping, Pong, Text};
    let joined = |frames: &[Vec<u8>]| frames.concat();
    let control = |opcode, length: usize| frame(opcode, true, &vec![7; length]);
    let bits = |bits: u8| {
        let mut bytes = text("a");
        bytes[0] |= bits;
        bytes
    };
    vec![
        ("5.1 unmasked", raw(0x81, 0x01, b"a"), &[], 1002),
        ("5.1 unmasked, after a message", joined(&[text("a"), raw(0x81, 0x01, b"b")]), &["a"], 1002),
        ("5.2 RSV1", bits(0x40), &[], 1002),
        ("5.2 RSV2", bits(0x20), &[], 1002),
        ("5.2 RSV3", bits(0x10), &[], 1002),
        ("5.2 opcode 3", raw(0x83, 0x80, &[0; 4]), &[], 1002),
        ("5.2 opcode 7", raw(0x87, 0x80, &[0; 4]), &[], 1002),
        ("5.2 opcode 11", raw(0x8B, 0x80, &[0; 4]), &[], 1002),
        ("5.2 opcode 15", raw(0x8F, 0x80, &[0; 4]), &[], 1002),
        ("5.2 empty", text(""), &[""], 0),
        ("5.2 125 bytes", text(&"a".repeat(125)), &["aaaaaaaa…125"], 0),
        ("5.2 126 bytes", text(&"a".repeat(126)), &["aaaaaaaa…126"], 0),
        ("5.2 65,535 bytes", text(&"a".repeat(65_535)), &["aaaaaaaa…65535"], 0),
        ("5.2 65,536 bytes", text(&"a".repeat(65_536)), &["aaaaaaaa…65536"], 0),
        ("5.2 16 bits for 125", header_only(0x82, &[126, 0, 125]), &[], 1002),
        ("5.2 64 bits for 65,535", header_only(0x82, &[127, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF]), &[], 1002),
        ("5.2 length 2^63", header_only(0x82, &[127, 0x80, 0, 0, 0, 0, 0, 0, 0]), &[], 1002),
        ("5.2 length 2^64-1", header_only(0x82, &[127, 255, 255, 255, 255, 255, 255, 255, 255]), &[], 1002),
        ("5.2 length 2^63-1", header_only(0x82, &[127, 0x7F, 255, 255, 255, 255, 255, 255, 255]), &[], 1009),
        ("5.4 two fragments", joined(&[frame(Text, false, b"a"), frame(Continuation, true, b"b")]), &["ab"], 0),
        (
            "5.4 empty fragments",
            joined(&[frame(Text, false, b""), frame(Continuation, false, b""), frame(Continuation, true, b"")]),
            &[""],
            0,
        ),
        (
            "5.4 a ping within",
            joined(&[frame(Text, false, b"a"), control(Ping, 5), frame(Continuation, true, b"b")]),
            &["ab"],
            0,
        ),
        ("5.4 a continuation of nothing", frame(Continuation, true, b"a"), &[], 1002),
        ("5.4 a continuation of a whole message", joined(&[text("a"), frame(Continuation, false, b"b")]), &["a"], 1002),
        ("5.4 a message within one", joined(&[frame(Text, false, b"a"), binary(b"b")]), &[], 1002),
        (
            "5.4 the sum of the fragments counts",
            joined(&[frame(Binary, false, &[b'a'; 90_000]), frame(Continuation, false, &[b'a'; 90_000])]),
            &[],
            1009,
        ),
        ("5.5 a fragmented ping", frame(Ping, false, b"a"), &[], 1002),
        ("5.5 a fragmented close", frame(Close, false, b""), &[], 1002),
        ("5.5 a ping of 125 bytes", joined(&[control(Ping, 125), text("a")]), &["a"], 0),
        ("5.5 a ping of 126 bytes", joined(&[control(Ping, 126), text("a")]), &[], 1002),
        ("5.5 a ping with a 64 bit length", header_only(0x89, &[127, 0, 0, 0, 0, 0, 1, 0, 0]), &[], 1002),
        ("5.5.3 a pong nobody asked for", joined(&[control(Pong, 9), text("a")]), &["a"], 0),
        ("5.6 binary is anything", binary(b"\xFF\xFE"), &["\u{FFFD}\u{FFFD}"], 0),
        ("8.1 not UTF-8", frame(Text, true, b"a\xFF"), &[], 1007),
        ("8.1 half a character", frame(Text, true, b"a\xE2\x82"), &[], 1007),
        ("8.1 a surrogate", frame(Text, true, b"\xED\xA0\x80"), &[], 1007),
        ("8.1 above the last character", frame(Text, true, b"\xF4\x90\x80\x80"), &[], 1007),
        (
            "8.1 a character in two frames",
            joined(&[frame(Text, false, b"\xE2\x82"), frame(Continuation, true, b"\xAC")]),
            &["€"],
            0,
        ),
        (
            "8.1 found before the message ends",
            joined(&[frame(Text, false, b"\xE2\x82"), frame(Continuation, false, b"\x28")]),
            &[],
            1007,
        ),
    ]
}

fn short(message: &WholeMessage) -> String {
    let text = String::from_utf8_lossy(&message.bytes);
    if text.len() < 100 { text.into_owned() } else { format!("{}…{}", &text[..8], text.len()) }
}

#[test]
fn each_case_ends_as_the_specification_says_however_it_is_split() {
    for (name, bytes, heard, code) in cases() {
        for piece in [1, 2, 3, 7, 64, bytes.len()] {
            let config = WebSocketConfig { message_bytes_before_connect_max: 100_000, ..WebSocketConfig::default() };
            let mut seat = Seat::messages(config, None);
            bytes.chunks(piece).for_each(|part| seat.receive(part));
            let messages: Vec<String> = seat.heard().iter().map(short).collect();
            assert_eq!(messages, heard, "{name}, in pieces of {piece}");
            assert_eq!(seat.ended().map_or(0, |(code, _)| code), code, "{name}, in pieces of {piece}");
        }
    }
}

#[test]
fn what_is_wrong_with_a_header_is_found_before_the_payload_comes() {
    let mut seat = Seat::messages(WebSocketConfig::default(), None);
    let length = (1_u64 << 40).to_be_bytes();
    seat.receive(&header_only(0x82, &[&[127][..], &length].concat()));
    assert_eq!(seat.ended(), Some((1009, Reason::PacketTooLarge)));
    assert!(seat.input.capacity() < 1 << 20, "nobody takes memory for a length");
}

#[test]
fn a_message_may_be_longer_once_the_session_stands() {
    let long = binary(&[7; 200_000]);
    let mut seat = Seat::messages(WebSocketConfig::default(), None);
    seat.receive(&long);
    assert_eq!(seat.ended(), Some((1009, Reason::PacketTooLarge)));
    let mut seat = Seat::messages(WebSocketConfig::default(), None);
    seat.answer(languages::connected());
    seat.receive(&long);
    assert_eq!(seat.heard()[0].bytes.len(), 200_000);
}

#[test]
fn of_several_pings_in_one_read_the_last_is_answered() {
    let mut seat = Seat::messages(WebSocketConfig::default(), None);
    let ping = |payload: &[u8]| frame(Opcode::Ping, true, payload);
    seat.receive(&[ping(b"1"), text("a"), ping(b"2"), ping(b"3")].concat());
    assert_eq!(seat.sent(), [(Opcode::Text, b"a".to_vec()), (Opcode::Pong, b"3".to_vec())]);
    // A flood of them costs one answer a read.
    seat.receive(&ping(b"flood").repeat(10_000));
    assert_eq!(seat.sent(), [(Opcode::Pong, b"flood".to_vec())]);
}

#[test]
fn empty_fragments_without_end_cost_no_memory() {
    let mut seat = Seat::messages(WebSocketConfig::default(), None);
    seat.receive(&frame(Opcode::Text, false, b"a"));
    let empty = frame(Opcode::Continuation, false, b"").repeat(1_000);
    for _ in 0..100 {
        seat.receive(&empty);
        assert_eq!(seat.input.len(), 1);
    }
    seat.receive(&frame(Opcode::Continuation, true, b"b"));
    assert_eq!(seat.heard(), [whole_text("ab")]);
}
