//! The codec compared with another one, `coap-lite`: what one writes the other reads as the same message.

#![allow(clippy::unwrap_used, reason = "a failure of any step fails the test")]

use althing_coap::codec::{decode, encode};
use althing_coap::message::{Code, Kind, Message, Token};
use bytes::Bytes;
use coap_lite::{CoapOption, MessageClass, MessageType, Packet};
use proptest::collection::vec;
use proptest::prelude::*;

const KINDS: [(Kind, MessageType); 4] = [
    (Kind::Confirmable, MessageType::Confirmable),
    (Kind::NonConfirmable, MessageType::NonConfirmable),
    (Kind::Acknowledgement, MessageType::Acknowledgement),
    (Kind::Reset, MessageType::Reset),
];

/// Codes that both know: theirs is a list, ours a number.
const CODES: [u8; 20] = [1, 2, 3, 4, 5, 6, 7, 65, 66, 67, 68, 69, 95, 128, 132, 133, 140, 141, 143, 160];

prop_compose! {
    fn message()(
        kind in 0..3_usize,
        code in 0..CODES.len(),
        id in any::<u16>(),
        token in vec(any::<u8>(), 0..=8),
        options in vec((0..3_000_u16, vec(any::<u8>(), 0..300)), 0..8),
        payload in vec(any::<u8>(), 0..100),
    ) -> Message {
        // A request is no acknowledgement, and what resets says nothing (§4.2).
        let code = Code(CODES[code]);
        let kind = if code.is_request() { kind % 2 } else { kind };
        let mut message = Message::new(KINDS[kind].0, code, id);
        message.token = Token::new(&token).unwrap();
        for (number, value) in options {
            message.options.add(number, value);
        }
        message.payload = payload.into();
        message
    }
}

fn theirs(message: &Message) -> Packet {
    let mut packet = Packet::new();
    packet.header.set_version(1);
    packet.header.set_type(KINDS[message.kind as usize].1);
    packet.header.code = MessageClass::from(message.code.0);
    packet.header.message_id = message.id;
    packet.set_token(message.token.as_slice().to_vec());
    for (number, value) in message.options.iter() {
        packet.add_option(CoapOption::from(*number), value.to_vec());
    }
    packet.payload = message.payload.to_vec();
    packet
}

proptest! {
    #[test]
    fn both_write_the_same_bytes(message in message()) {
        let mut ours = Vec::new();
        encode(&message, &mut ours);
        prop_assert_eq!(theirs(&message).to_bytes_unlimited().unwrap(), ours);
    }

    #[test]
    fn what_they_write_is_read_as_it_was_meant(message in message()) {
        let bytes = Bytes::from(theirs(&message).to_bytes_unlimited().unwrap());
        prop_assert_eq!(decode(&bytes).unwrap(), message);
    }

    #[test]
    fn what_is_written_here_they_read_as_it_was_meant(message in message()) {
        let mut bytes = Vec::new();
        encode(&message, &mut bytes);
        let packet = Packet::from_bytes(&bytes).unwrap();
        prop_assert_eq!(packet.header.message_id, message.id);
        prop_assert_eq!(u8::from(packet.header.code), message.code.0);
        prop_assert_eq!(packet.get_token(), message.token.as_slice());
        let options: Vec<(u16, Vec<u8>)> =
            packet.options().flat_map(|(number, values)| values.iter().map(|value| (*number, value.clone()))).collect();
        let ours: Vec<(u16, Vec<u8>)> = message.options.iter().map(|(number, value)| (*number, value.to_vec())).collect();
        prop_assert_eq!(options, ours);
        prop_assert_eq!(&packet.payload[..], &message.payload[..]);
    }

    /// They take more than the specification allows, never less.
    #[test]
    fn whatever_is_read_here_they_read_too(message in message(), place in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = Vec::new();
        encode(&message, &mut bytes);
        let place = place.index(bytes.len());
        bytes[place] = byte;
        if let Ok(read) = decode(&Bytes::from(bytes.clone())) && read.token.as_slice().len() <= 8 {
            prop_assert!(Packet::from_bytes(&bytes).is_ok(), "{:?}", read);
        }
    }
}
