//! Frames and reads, split or joined in any way: the same is heard, in linear time and bounded memory.

use super::*;
use proptest::prelude::*;

/// A message, cut into fragments at these places, with or without control frames between.
fn fragments(is_text: bool, message: &[u8], cuts: &[usize], pings: bool) -> Vec<u8> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (message.len() + 1)).collect();
    cuts.extend([0, message.len()]);
    cuts.sort_unstable();
    let mut bytes = Vec::new();
    let last = cuts.len() - 2;
    for (index, part) in cuts.windows(2).enumerate() {
        let opcode = if index == 0 { Opcode::of_message(is_text) } else { Opcode::Continuation };
        bytes.extend(frame(opcode, index == last, &message[part[0]..part[1]]));
        if pings {
            bytes.extend(frame(Opcode::Ping, true, b"ping"));
        }
    }
    bytes
}

fn reads(bytes: &[u8], cuts: &[usize]) -> Vec<Vec<u8>> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|part| bytes[part[0]..part[1]].to_vec()).collect()
}

fn a_message() -> impl Strategy<Value = (bool, Vec<u8>)> {
    prop_oneof![
        "[a-zä€😀.]{0,40}".prop_map(|text| (true, text.into_bytes())),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(|bytes| (false, bytes)),
    ]
}

proptest! {
    #[test]
    fn messages_are_the_same_however_they_are_cut(
        messages in prop::collection::vec((a_message(), prop::collection::vec(any::<usize>(), 0..5), any::<bool>()), 0..6),
        cuts in prop::collection::vec(any::<usize>(), 0..20),
    ) {
        let bytes: Vec<u8> =
            messages.iter().flat_map(|((is_text, message), cuts, pings)| fragments(*is_text, message, cuts, *pings)).collect();
        let mut seat = Seat::messages(WebSocketConfig::default(), None);
        reads(&bytes, &cuts).iter().for_each(|read| seat.receive(read));
        let expected: Vec<WholeMessage> = messages
            .iter()
            .map(|((is_text, message), ..)| WholeMessage { is_text: *is_text, bytes: message.clone().into() })
            .collect();
        // The parrot's own words: it waits, or leaves.
        prop_assume!(!expected.iter().any(|message| message.bytes == "wait" || message.bytes == "bye"));
        prop_assert_eq!(seat.heard(), expected);
        prop_assert!(seat.closed.is_none());
        prop_assert!(seat.input.is_empty());
    }

    #[test]
    fn a_stream_is_the_same_however_it_is_cut(
        words in prop::collection::vec("[a-v]{0,60}\\.", 0..12),
        is_text: bool,
        frames in prop::collection::vec(any::<usize>(), 0..12),
        pings: bool,
        cuts in prop::collection::vec(any::<usize>(), 0..20),
    ) {
        let stream = words.concat();
        let bytes = fragments(is_text, stream.as_bytes(), &frames, pings);
        let mut seat = Seat::bytes(is_text, None);
        reads(&bytes, &cuts).iter().for_each(|read| seat.receive(read));
        prop_assert_eq!(seat.words(), words);
        let echoed: Vec<u8> =
            seat.sent().into_iter().filter(|(opcode, _)| *opcode != Opcode::Pong).flat_map(|(_, payload)| payload).collect();
        prop_assert_eq!(echoed, stream.as_bytes());
    }

    #[test]
    fn any_bytes_have_the_same_end_however_they_are_cut(
        bytes in prop::collection::vec(prop_oneof![Just(0x81_u8), Just(0x82), Just(0x01), Just(0x80), Just(0x89), any::<u8>()], 0..80),
        cuts in prop::collection::vec(any::<usize>(), 0..10),
    ) {
        let run = |reads: &[Vec<u8>]| {
            let mut seat = Seat::messages(WebSocketConfig::default(), None);
            reads.iter().for_each(|read| seat.receive(read));
            (seat.heard(), seat.ended())
        };
        prop_assert_eq!(run(&reads(&bytes, &cuts)), run(std::slice::from_ref(&bytes)));
    }
}

#[test]
fn the_rest_of_a_stream_stays_in_the_driver_s_buffer() {
    let mut seat = Seat::bytes(false, None);
    seat.receive(&[binary(b"a.b"), binary(b"c"), frame(Opcode::Ping, true, b"p")[..3].to_vec()].concat());
    assert_eq!(seat.words(), ["a."]);
    // "bc", and the begin of the ping.
    assert_eq!(seat.input.len(), 2 + 3);
    seat.receive(&frame(Opcode::Ping, true, b"p")[3..]);
    seat.receive(&binary(b"."));
    assert_eq!(seat.words(), ["a.", "bc."]);
    assert!(seat.input.is_empty());
}
