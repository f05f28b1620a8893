//! Whoever has not proven where it is gets little, and makes us keep little (RFC 9175 §2.4).

use crate::world::{Weather, World, remote};
use althing_coap::message::{Code, Kind, Message, Token, number};
use althing_coap::{AddressProof, CoapConfig, codec};
use althing_core::Guarantee;
use bytes::Bytes;

/// What an unproven address may be sent for nothing.
const SMALL_BYTES: usize = 136;

fn world(clients: usize) -> World {
    let config = CoapConfig { address_proof: AddressProof::Always, ..CoapConfig::default() };
    let mut world = World::new(1, clients, config, Weather::default());
    world.publish("large", vec![b'x'; 1_000], Guarantee::AtMostOnce, true);
    world
}

fn request(kind: Kind, code: Code, id: u16, path: &[&'static str]) -> Message {
    let mut message = Message::new(kind, code, id);
    message.token = Token::new(b"t").unwrap();
    for segment in path {
        message.options.add(number::URI_PATH, Bytes::from_static(segment.as_bytes()));
    }
    message
}

fn observe(id: u16) -> Message {
    let mut message = request(Kind::Confirmable, Code::GET, id, &["t", "large"]);
    message.options.add_uint(number::OBSERVE, 0);
    message
}

fn bytes_of(message: &Message) -> usize {
    let mut datagram = Vec::new();
    codec::encode(message, &mut datagram);
    datagram.len()
}

/// The value that this client is asked to send back.
fn echo(world: &mut World, client: usize, id: u16) -> Bytes {
    let challenge = world.ask(client, &request(Kind::Confirmable, Code::GET, id, &["t", "large"])).remove(0);
    assert_eq!(challenge.code, Code::UNAUTHORIZED);
    challenge.options.get(number::ECHO).unwrap().clone()
}

#[test]
fn every_request_of_an_unproven_address_is_answered_with_little() {
    let mut world = world(1);
    let mut id = 0;
    for code in [Code::GET, Code::POST, Code::PUT, Code::DELETE, Code(5), Code(31)] {
        for path in [&["t", "large"][..], &["t", "none"], &[".well-known", "core"], &["nowhere"], &[], &["t"]] {
            for kind in [Kind::Confirmable, Kind::NonConfirmable] {
                for option in [None, Some((number::OBSERVE, 0)), Some((number::BLOCK2, 0x16)), Some((9, 1))] {
                    id += 1;
                    let mut message = request(kind, code, id, path);
                    if let Some((number, value)) = option {
                        message.options.add_uint(number, value);
                    }
                    let before = world.sent.len();
                    world.ask(0, &message);
                    // Repeats of what is not acknowledged count too.
                    world.run_ms(100_000);
                    let out: usize = world.sent[before..].iter().map(|(_, datagram)| datagram.len()).sum();
                    assert!(out <= (3 * bytes_of(&message)).max(SMALL_BYTES), "{message:?} made {out} bytes");
                }
            }
        }
    }
    assert_eq!(world.door.observations_len(), 0);
}

#[test]
fn who_sends_back_what_it_was_sent_gets_everything() {
    let mut world = world(1);
    let echo = echo(&mut world, 0, 1);
    let mut again = observe(2);
    again.options.add(number::ECHO, echo);
    let value = world.ask(0, &again).remove(0);
    assert_eq!((value.code, value.payload.len()), (Code::CONTENT, 1_000));
    assert_eq!(world.door.observations_len(), 1);
    // Once is enough while the address is known.
    let value = world.ask(0, &request(Kind::Confirmable, Code::GET, 3, &["t", "large"])).remove(0);
    assert_eq!(value.code, Code::CONTENT);
}

#[test]
fn a_proof_is_for_one_address_and_some_minutes() {
    let mut world = world(2);
    let echo = echo(&mut world, 0, 1);
    let ask = |world: &mut World, client: usize, id: u16, echo: Bytes| {
        let mut message = request(Kind::Confirmable, Code::GET, id, &["t", "large"]);
        message.options.add(number::ECHO, echo);
        world.ask(client, &message).remove(0).code
    };
    assert_ne!(remote(0), remote(1));
    assert_eq!(ask(&mut world, 1, 1, echo.clone()), Code::UNAUTHORIZED, "somebody else's");
    for place in 0..echo.len() {
        let mut forged = echo.to_vec();
        forged[place] ^= 1;
        assert_eq!(ask(&mut world, 1, 10 + place as u16, forged.into()), Code::UNAUTHORIZED, "forged");
    }
    for forged in [Bytes::new(), Bytes::from_static(&[0; 40]), echo.slice(..11)] {
        assert_eq!(ask(&mut world, 1, 30 + forged.len() as u16, forged), Code::UNAUTHORIZED, "no proof of ours");
    }
    world.run_ms(301_000);
    assert_eq!(ask(&mut world, 0, 2, echo), Code::UNAUTHORIZED, "too old");
}

#[test]
fn unproven_addresses_take_no_more_than_half_of_the_places() {
    let config = CoapConfig { address_proof: AddressProof::Always, endpoints_max: 10, ..CoapConfig::default() };
    let mut world = World::new(1, 20, config, Weather::default());
    for client in 0..20 {
        world.ask(client, &request(Kind::Confirmable, Code::PUT, 1, &["t", "a"]));
    }
    assert_eq!(world.door.endpoints_len(), 5);
    let challenge = world.ask(19, &request(Kind::Confirmable, Code::PUT, 2, &["t", "a"])).remove(0);
    let mut proven = request(Kind::Confirmable, Code::PUT, 3, &["t", "a"]);
    proven.options.add(number::ECHO, challenge.options.get(number::ECHO).unwrap().clone());
    assert_eq!(world.ask(19, &proven).remove(0).code, Code::CHANGED);
}

#[test]
fn loopback_needs_no_proof_unless_it_is_wanted() {
    for (address_proof, code) in [
        (AddressProof::Always, Code::UNAUTHORIZED),
        (AddressProof::BeyondLoopback, Code::CONTENT),
        (AddressProof::Never, Code::CONTENT),
    ] {
        let config = CoapConfig { address_proof, ..CoapConfig::default() };
        let mut world = World::new(1, 1, config, Weather::default());
        world.publish("large", vec![b'x'; 1_000], Guarantee::AtMostOnce, true);
        assert_eq!(world.ask(0, &observe(1)).remove(0).code, code);
    }
}

#[test]
fn the_client_half_proves_itself_without_being_told() {
    let mut world = world(1);
    let token = world.client(0, |client, now| client.observe(now, &["t", "large"]));
    world.run_ms(1_000);
    assert_eq!(world.payloads(0, token), [Bytes::from(vec![b'x'; 1_000])]);
    world.publish("large", "newer", Guarantee::AtLeastOnce, false);
    world.run_ms(1_000);
    assert_eq!(world.payloads(0, token).last().unwrap(), "newer");
}

#[test]
fn a_body_in_blocks_begins_with_a_proof() {
    let mut world = world(1);
    let mut first = request(Kind::Confirmable, Code::PUT, 2, &["t", "a"]);
    // Block 0 of 16 bytes, and more follows.
    first.options.add_uint(number::BLOCK1, 8);
    first.payload = Bytes::from_static(&[1; 16]);
    let challenge = world.ask(0, &first).remove(0);
    assert_eq!(challenge.code, Code::UNAUTHORIZED);
    assert_eq!((world.door.common().transfer_bytes(), world.door.endpoints_len()), (0, 0));
    first.id = 3;
    first.options.add(number::ECHO, challenge.options.get(number::ECHO).unwrap().clone());
    assert_eq!(world.ask(0, &first)[0].code, Code::CONTINUE);
}

#[test]
fn a_challenge_is_never_repeated() {
    let mut world = world(1);
    (world.weather.loss_percent, world.weather.verify_ms) = (100, 2_000);
    world.ask(0, &request(Kind::Confirmable, Code::GET, 1, &["t", "large"]));
    world.run_ms(200_000);
    let sent: Vec<Message> =
        world.sent.iter().map(|(_, sent)| codec::decode(&Bytes::copy_from_slice(sent)).unwrap()).collect();
    let told: Vec<(Kind, Code)> = sent.iter().map(|message| (message.kind, message.code)).collect();
    // After the empty acknowledgement it cannot ride on one: then nobody has to confirm it (RFC 9175 §2.4).
    assert_eq!(told, [(Kind::Acknowledgement, Code::EMPTY), (Kind::NonConfirmable, Code::UNAUTHORIZED)]);
}

#[test]
fn an_echo_that_nobody_has_asked_for_means_nothing() {
    let mut world = World::new(1, 1, CoapConfig::default(), Weather::default());
    for (id, echo) in [(1, &b""[..]), (2, b"whatever"), (3, &[7; 40])] {
        let mut message = request(Kind::Confirmable, Code::PUT, id, &["t", "a"]);
        message.options.add(number::ECHO, Bytes::copy_from_slice(echo));
        assert_eq!(world.ask(0, &message).remove(0).code, Code::CHANGED);
    }
}
