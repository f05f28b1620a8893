//! Bodies in blocks, both ways (RFC 7959).

use crate::world::{Weather, World};
use althing_coap::CoapConfig;
use althing_coap::block::Block;
use althing_coap::message::{Code, Kind, Message, Token, number};
use althing_core::{Entropy, Guarantee};
use bytes::Bytes;

fn world(config: CoapConfig) -> World {
    World::new(1, 3, config, Weather::default())
}

/// A client that sends one request after the other.
struct Asker<'a> {
    world: &'a mut World,
    client: usize,
    id: u16,
}

impl Asker<'_> {
    fn ask(&mut self, mut message: Message) -> Message {
        self.id += 1;
        message.id = self.id;
        message.token = Token::new(&self.id.to_be_bytes()).unwrap();
        let mut answers = self.world.ask(self.client, &message);
        assert_eq!(answers.len(), 1, "{message:?}");
        answers.remove(0)
    }

    /// One block of a body.
    fn put(&mut self, path: &[&'static str], body: &[u8], number: u32, size_exponent: u8) -> Message {
        self.ask(block_of(path, body, number, size_exponent))
    }

    fn put_all(&mut self, path: &[&'static str], body: &[u8], size_exponent: u8) -> Message {
        let mut number = 0;
        loop {
            let answer = self.put(path, body, number, size_exponent);
            if answer.code != Code::CONTINUE {
                return answer;
            }
            let asked = block(&answer, number::BLOCK1).unwrap();
            assert_eq!((asked.number, asked.has_more, asked.size_exponent), (number, true, size_exponent));
            number += 1;
        }
    }

    fn get(&mut self, path: &[&'static str], number: u32, size_exponent: u8) -> Message {
        let mut message = request(Code::GET, path);
        let block = Block { number, has_more: false, size_exponent };
        message.options.add_uint(number::BLOCK2, block.to_uint());
        self.ask(message)
    }

    fn get_all(&mut self, path: &[&'static str], size_exponent: u8) -> Vec<u8> {
        let mut body = Vec::new();
        let mut etag = None;
        for number in 0.. {
            let answer = self.get(path, number, size_exponent);
            assert_eq!(answer.code, Code::CONTENT, "{:?}", answer.payload);
            let block = block(&answer, number::BLOCK2).unwrap();
            assert_eq!((block.number, block.size_exponent), (number, size_exponent));
            assert!(!block.has_more || answer.payload.len() == block.size_bytes());
            let this = answer.options.get(number::ETAG).cloned();
            assert!(this.is_some());
            assert_eq!(*etag.get_or_insert(this.clone()), this);
            body.extend_from_slice(&answer.payload);
            if !block.has_more {
                break;
            }
        }
        body
    }
}

fn asker(world: &mut World, client: usize) -> Asker<'_> {
    Asker { world, client, id: 0 }
}

fn request(code: Code, path: &[&'static str]) -> Message {
    let mut message = Message::new(Kind::Confirmable, code, 0);
    for segment in path {
        message.options.add(number::URI_PATH, Bytes::from_static(segment.as_bytes()));
    }
    message
}

fn block_of(path: &[&'static str], body: &[u8], number: u32, size_exponent: u8) -> Message {
    let mut message = request(Code::PUT, path);
    let mut block = Block { number, has_more: false, size_exponent };
    let start = block.offset_bytes();
    let end = body.len().min(start + block.size_bytes());
    block.has_more = end < body.len();
    message.options.add_uint(number::BLOCK1, block.to_uint());
    message.payload = Bytes::copy_from_slice(&body[start..end]);
    message
}

fn block(message: &Message, number: u16) -> Option<Block> {
    message.options.uint(number).map(Block::from_uint)
}

fn body(entropy: &mut Entropy, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|_| entropy.next_u64() as u8).collect()
}

#[test]
fn any_body_in_blocks_of_any_size_arrives_whole_both_ways() {
    let mut entropy = Entropy::new(7);
    for round in 0..60 {
        let mut world = world(CoapConfig::default());
        let (up, down) = (entropy.below(7) as u8, entropy.below(7) as u8);
        let around = 1 + entropy.below(8) as usize * (16 << up);
        let body = body(&mut entropy, around.saturating_sub(round % 3).max(1));
        let mut asker = asker(&mut world, 0);
        assert_eq!(asker.put_all(&["t", "a"], &body, up).code, Code::CHANGED);
        assert!(asker.get_all(&["t", "a"], down) == body, "{} bytes, {up} up, {down} down", body.len());
        assert_eq!(world.door.common().transfer_bytes(), 0);
    }
}

#[test]
fn the_largest_packet_of_the_house_goes_through() {
    let mut world = world(CoapConfig::default());
    let body = body(&mut Entropy::new(1), 300_000);
    assert_eq!(asker(&mut world, 0).put_all(&["t", "a"], &body, 6).code, Code::CHANGED);
    assert!(asker(&mut world, 1).get_all(&["t", "a"], 6) == body);
}

#[test]
fn what_does_not_fit_comes_in_blocks_without_being_asked() {
    let mut world = world(CoapConfig { payload_bytes_max: 100, ..CoapConfig::default() });
    world.publish("a", vec![7; 101], Guarantee::AtLeastOnce, true);
    let mut message = request(Code::GET, &["t", "a"]);
    message.options.add_uint(number::SIZE2, 0);
    let first = asker(&mut world, 0).ask(message);
    let expected = Block { number: 0, has_more: true, size_exponent: 2 };
    assert_eq!((block(&first, number::BLOCK2), first.payload.len()), (Some(expected), 64));
    assert_eq!(first.options.uint(number::SIZE2), Some(101));
    // The client may ask for less, and does not get more than we send (RFC 7959 §2.4).
    let less = asker(&mut world, 1).get(&["t", "a"], 0, 1);
    assert_eq!((block(&less, number::BLOCK2).unwrap().size_exponent, less.payload.len()), (1, 32));
    let more = asker(&mut world, 2).get(&["t", "a"], 0, 6);
    assert_eq!((block(&more, number::BLOCK2), more.payload.len()), (Some(expected), 64));
}

#[test]
fn a_change_between_blocks_shows() {
    let mut world = world(CoapConfig::default());
    world.publish("a", vec![7; 100], Guarantee::AtLeastOnce, true);
    let before = asker(&mut world, 0).get(&["t", "a"], 0, 2);
    world.publish("a", vec![8; 100], Guarantee::AtLeastOnce, true);
    let after = asker(&mut world, 1).get(&["t", "a"], 1, 2);
    assert_ne!(before.options.get(number::ETAG), after.options.get(number::ETAG));
}

#[test]
fn blocks_beyond_the_end_and_of_reserved_size_are_refused() {
    let mut world = world(CoapConfig::default());
    world.publish("a", vec![7; 64], Guarantee::AtLeastOnce, true);
    let mut asker = asker(&mut world, 0);
    assert_eq!(asker.get(&["t", "a"], 1, 2).code, Code::BAD_REQUEST);
    assert_eq!(asker.get(&["t", "a"], 0, 7).code, Code::BAD_REQUEST);
    assert_eq!(asker.put(&["t", "a"], &[1; 5_000], 0, 7).code, Code::BAD_REQUEST);
    let mut short = block_of(&["t", "a"], &[1; 64], 0, 1);
    short.payload = short.payload.slice(..31);
    assert_eq!(asker.ask(short).code, Code::BAD_REQUEST, "a block that is not the last is full (§2.2)");
}

#[test]
fn a_missing_block_is_told_and_nothing_is_published() {
    let mut world = world(CoapConfig::default());
    world.subscribe("#");
    let body = [1; 100];
    let mut asker = asker(&mut world, 0);
    assert_eq!(asker.put(&["t", "a"], &body, 1, 1).code, Code::REQUEST_ENTITY_INCOMPLETE);
    assert_eq!(asker.put(&["t", "a"], &body, 0, 1).code, Code::CONTINUE);
    assert_eq!(asker.put(&["t", "a"], &body, 2, 1).code, Code::REQUEST_ENTITY_INCOMPLETE);
    assert_eq!(asker.put(&["t", "a"], &body, 3, 1).code, Code::REQUEST_ENTITY_INCOMPLETE, "it was forgotten");
    assert!(world.heard.is_empty());
    assert_eq!(world.door.common().transfer_bytes(), 0);
}

#[test]
fn a_block_twice_counts_once_and_the_first_begins_anew() {
    let mut world = world(CoapConfig::default());
    let (old, new) = ([1; 100], [2; 100]);
    let mut asker = asker(&mut world, 0);
    for (body, number) in [(&old, 0), (&old, 1), (&new, 0), (&new, 0), (&new, 1), (&new, 1), (&new, 2)] {
        assert_eq!(asker.put(&["t", "a"], body, number, 1).code, Code::CONTINUE);
    }
    let last = asker.put(&["t", "a"], &new, 3, 1);
    assert_eq!((last.code, block(&last, number::BLOCK1).unwrap().number), (Code::CHANGED, 3));
    assert_eq!(asker.get_all(&["t", "a"], 6), new);
}

#[test]
fn blocks_of_different_formats_are_not_one_body() {
    let mut world = world(CoapConfig::default());
    let mut asker = asker(&mut world, 0);
    for (format, expected) in [(0, Code::CONTINUE), (50, Code::REQUEST_ENTITY_INCOMPLETE)] {
        let mut part = block_of(&["t", "a"], &[1; 100], if format == 0 { 0 } else { 1 }, 1);
        part.options.add_uint(number::CONTENT_FORMAT, format);
        assert_eq!(asker.ask(part).code, expected);
    }
}

#[test]
fn uploads_do_not_mix() {
    let mut world = world(CoapConfig::default());
    let mut entropy = Entropy::new(3);
    let path = |upload: usize| [&["t", "a"][..], &["t", "b"], &["t", "a"], &["t", "a"]][upload];
    let bodies: Vec<Vec<u8>> = (0..4).map(|_| body(&mut entropy, 1_000)).collect();
    // The first three are of one client; the third has a Request-Tag (RFC 9175 §3.3).
    let part = |upload: usize, number: u32| {
        let mut part = block_of(path(upload), &bodies[upload], number, 2);
        if upload == 2 {
            part.options.add(number::REQUEST_TAG, Bytes::from_static(b"x"));
        }
        part
    };
    let (mut next, mut ids) = ([0_u32; 4], [0_u16; 2]);
    let mut last = Vec::new();
    while next.iter().any(|number| *number < 16) {
        let upload = entropy.below(4) as usize;
        if next[upload] == 16 {
            continue;
        }
        let client = usize::from(upload == 3);
        let mut asker = Asker { world: &mut world, client, id: ids[client] };
        let answer = asker.ask(part(upload, next[upload]));
        ids[client] = asker.id;
        next[upload] += 1;
        assert_eq!(answer.code, if next[upload] == 16 { Code::CHANGED } else { Code::CONTINUE });
        if next[upload] == 16 && upload != 1 {
            last = bodies[upload].clone();
        }
    }
    assert!(Asker { world: &mut world, client: 2, id: 0 }.get_all(&["t", "b"], 6) == bodies[1]);
    assert!(Asker { world: &mut world, client: 2, id: 99 }.get_all(&["t", "a"], 6) == last);
}

#[test]
fn smaller_blocks_are_asked_for() {
    let mut world = world(CoapConfig { payload_bytes_max: 64, ..CoapConfig::default() });
    let body = body(&mut Entropy::new(1), 200);
    let mut asker = asker(&mut world, 0);
    let first = asker.put(&["t", "a"], &body, 0, 3);
    let asked = Block { number: 0, has_more: true, size_exponent: 2 };
    assert_eq!((first.code, block(&first, number::BLOCK1)), (Code::CONTINUE, Some(asked)));
    // Both blocks of 64 bytes have come in the one of 128.
    assert_eq!(asker.put(&["t", "a"], &body, 2, 2).code, Code::CONTINUE);
    assert_eq!(asker.put(&["t", "a"], &body, 3, 2).code, Code::CHANGED);
    assert!(asker.get_all(&["t", "a"], 2) == body);
}

#[test]
fn a_body_beyond_the_limits_is_refused_with_the_limit() {
    let mut world = world(CoapConfig::default());
    let mut first = block_of(&["t", "a"], &[1; 100], 0, 1);
    first.options.add_uint(number::SIZE1, (16 << 20) + 1);
    let answer = asker(&mut world, 0).ask(first);
    assert_eq!((answer.code, answer.options.uint(number::SIZE1)), (Code::REQUEST_ENTITY_TOO_LARGE, Some(16 << 20)));
    assert_eq!(world.door.common().transfer_bytes(), 0);
}

#[test]
fn floods_of_beginnings_are_bounded_in_bytes_and_time() {
    const PATHS: [&str; 20] =
        ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t"];
    let mut world = world(CoapConfig { transfer_bytes_max: 10_000, ..CoapConfig::default() });
    let mut refused = 0;
    for client in 0..3 {
        for (id, name) in PATHS.into_iter().enumerate() {
            let mut asker = Asker { world: &mut world, client, id: id as u16 };
            refused += usize::from(asker.put(&["t", name], &[1; 2_000], 0, 6).code == Code::SERVICE_UNAVAILABLE);
            assert!(world.door.common().transfer_bytes() <= 10_000);
        }
    }
    assert!(refused > 0 && world.door.common().transfer_bytes() > 5_000);
    world.run_ms(248_000);
    assert_eq!(world.door.common().transfer_bytes(), 0, "nobody waits for ever for a block");
    world.run_ms(61_000);
    assert_eq!(world.door.endpoints_len(), 0);
}

#[test]
fn notifications_carry_the_first_block_and_the_rest_is_read() {
    let mut world = world(CoapConfig::default());
    let mut observe = request(Code::GET, &["t", "a"]);
    observe.options.add_uint(number::OBSERVE, 0);
    observe.options.add_uint(number::BLOCK2, Block { number: 0, has_more: false, size_exponent: 2 }.to_uint());
    asker(&mut world, 0).ask(observe);
    let before = world.sent.len();
    world.publish("a", vec![7; 100], Guarantee::AtMostOnce, true);
    world.run_ms(1_000);
    let notification = althing_coap::codec::decode(&world.sent[before].1.clone().into()).unwrap();
    let expected = Block { number: 0, has_more: true, size_exponent: 2 };
    assert_eq!((block(&notification, number::BLOCK2), notification.payload.len()), (Some(expected), 64));
    let rest = Asker { world: &mut world, client: 0, id: 9 }.get(&["t", "a"], 1, 2);
    assert_eq!(rest.options.get(number::ETAG), notification.options.get(number::ETAG));
    assert_eq!((rest.payload.len(), rest.options.get(number::OBSERVE)), (36, None));
}

#[test]
fn the_last_block_may_have_any_size() {
    let mut world = world(CoapConfig::default());
    let mut asker = asker(&mut world, 0);
    let last = |number: u32, bytes: usize| {
        let mut message = request(Code::PUT, &["t", "a"]);
        message.options.add_uint(number::BLOCK1, Block { number, has_more: false, size_exponent: 1 }.to_uint());
        message.payload = vec![3; bytes].into();
        message
    };
    assert_eq!(asker.ask(last(0, 100)).code, Code::CHANGED, "one block is the whole body (RFC 7959 §2.3)");
    assert_eq!(asker.get_all(&["t", "a"], 6), [3; 100]);
    assert_eq!(asker.put(&["t", "a"], &[3; 40], 0, 1).code, Code::CONTINUE);
    assert_eq!(asker.ask(last(1, 50)).code, Code::CHANGED);
    assert_eq!(asker.get_all(&["t", "a"], 6), [3; 82]);
    assert_eq!(asker.put(&["t", "a"], &[3; 40], 0, 1).code, Code::CONTINUE);
    assert_eq!(asker.ask(last(1, 0)).code, Code::CHANGED, "nothing is left");
    assert_eq!(asker.get_all(&["t", "a"], 6), [3; 32]);
}

#[test]
fn the_more_bit_of_who_asks_for_a_block_means_nothing() {
    let mut world = world(CoapConfig::default());
    world.publish("a", vec![7; 100], Guarantee::AtLeastOnce, true);
    let mut asker = asker(&mut world, 0);
    for (number, bytes, has_more) in [(0, 64, true), (1, 36, false)] {
        let mut message = request(Code::GET, &["t", "a"]);
        message.options.add_uint(number::BLOCK2, Block { number, has_more: true, size_exponent: 2 }.to_uint());
        let answer = asker.ask(message);
        let expected = Block { number, has_more, size_exponent: 2 };
        assert_eq!((block(&answer, number::BLOCK2), answer.payload.len()), (Some(expected), bytes));
    }
}

#[test]
fn block_options_that_are_repeated_or_too_long_are_unknown_ones() {
    let mut world = world(CoapConfig::default());
    let values: [&[&[u8]]; 2] = [&[b"\x06", b"\x06"], &[b"\0\0\0\x06"]];
    let mut id = 0;
    for number in [number::BLOCK1, number::BLOCK2] {
        for values in values {
            for (kind, expected) in [(Kind::Confirmable, Some(Code::BAD_OPTION)), (Kind::NonConfirmable, None)] {
                id += 1;
                let mut message = Message { kind, id, ..request(Code::PUT, &["t", "a"]) };
                values.iter().for_each(|value| message.options.add(number, *value));
                let answers = world.ask(0, &message);
                assert_eq!(answers.first().map(|answer| answer.code), expected, "{number} {values:?}");
            }
        }
    }
}

#[test]
fn more_is_asked_for_without_a_payload_and_without_a_block_of_the_response() {
    let mut world = world(CoapConfig::default());
    let mut first = block_of(&["t", "a"], &[1; 100], 0, 1);
    first.options.add_uint(number::BLOCK2, Block { number: 0, has_more: false, size_exponent: 0 }.to_uint());
    let answer = asker(&mut world, 0).ask(first);
    let acknowledged = Block { number: 0, has_more: true, size_exponent: 1 };
    assert_eq!((answer.code, block(&answer, number::BLOCK1)), (Code::CONTINUE, Some(acknowledged)));
    assert_eq!((block(&answer, number::BLOCK2), answer.payload.len()), (None, 0));
}

#[test]
fn only_who_sends_blocks_has_them_acknowledged() {
    let mut world = world(CoapConfig::default());
    let mut asker = asker(&mut world, 0);
    let mut whole = request(Code::PUT, &["t", "a"]);
    whole.payload = Bytes::from_static(b"x");
    assert_eq!(block(&asker.ask(whole), number::BLOCK1), None);
    for (body, number) in [(&[1; 20][..], 0), (&[1; 20], 1)] {
        let answer = asker.put(&["t", "a"], body, number, 0);
        let expected = Block { number, has_more: number == 0, size_exponent: 0 };
        assert_eq!(block(&answer, number::BLOCK1), Some(expected));
    }
}

#[test]
fn a_body_that_waits_longer_than_its_repeats_can_take_is_forgotten() {
    for (wait_ms, expected) in [(246_000, Code::CHANGED), (248_000, Code::REQUEST_ENTITY_INCOMPLETE)] {
        let mut world = world(CoapConfig::default());
        let body = [1; 40];
        assert_eq!(asker(&mut world, 0).put(&["t", "a"], &body, 0, 1).code, Code::CONTINUE);
        world.run_ms(wait_ms);
        let mut asker = Asker { world: &mut world, client: 0, id: 9 };
        assert_eq!(asker.put(&["t", "a"], &body, 1, 1).code, expected);
    }
}

#[test]
fn lists_of_request_tags_tell_operations_apart_and_nothing_else() {
    let mut world = world(CoapConfig::default());
    let mut asker = asker(&mut world, 0);
    let tags: [&[&[u8]]; 4] = [&[], &[b""], &[b"\xff\0\x80"], &[b"", b""]];
    let tagged = |mut message: Message, tags: &[&[u8]]| {
        tags.iter().for_each(|tag| message.options.add(number::REQUEST_TAG, Bytes::copy_from_slice(tag)));
        message
    };
    for number in 0..2 {
        for (place, tags) in tags.iter().enumerate() {
            let body = [place as u8; 32];
            let answer = asker.ask(tagged(block_of(&["t", "a"], &body, number, 0), tags));
            assert_eq!(answer.code, if number == 0 { Code::CONTINUE } else { Code::CHANGED });
            assert_eq!(answer.options.get(number::REQUEST_TAG), None, "a response has none (RFC 9175 §3.4)");
            if number == 1 {
                assert_eq!(asker.get_all(&["t", "a"], 6), body);
            }
        }
    }
    // Without a block it means nothing.
    let mut whole = tagged(request(Code::PUT, &["t", "a"]), tags[2]);
    whole.payload = Bytes::from_static(b"whole");
    assert_eq!(asker.ask(whole).code, Code::CHANGED);
    let value = asker.ask(tagged(request(Code::GET, &["t", "a"]), tags[2]));
    assert_eq!(
        (value.code, &value.payload[..], value.options.get(number::REQUEST_TAG)),
        (Code::CONTENT, &b"whole"[..], None)
    );
}
