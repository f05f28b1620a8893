//! Bodies in blocks, both ways (RFC 7959 §2).

use crate::server::{Server, piggybacked, response};
use althing_coap::block::Block;
use althing_coap::message::{Code, Message, number};
use bytes::Bytes;

fn add_block(message: &mut Message, option: u16, number: u32, has_more: bool, size_exponent: u8) {
    message.options.add_uint(option, Block { number, has_more, size_exponent }.to_uint());
}

fn block(message: &Message, option: u16) -> (u32, bool, u8) {
    let Block { number, has_more, size_exponent } = Block::from_uint(message.options.uint(option).unwrap());
    (number, has_more, size_exponent)
}

#[test]
fn a_large_body_goes_in_blocks_of_the_size_that_the_server_wants() {
    let mut server = Server::new(|client| client);
    let body: Vec<u8> = (0..3_000_u32).map(|number| number as u8).collect();
    server.client.put(server.now, &["a"], body.clone());
    let first = server.request();
    assert_eq!((block(&first, number::BLOCK1), first.options.uint(number::SIZE1)), ((0, true, 6), Some(3_000)));
    let mut taken = first.payload.to_vec();
    let mut answer = piggybacked(&first, Code::CONTINUE, "");
    // The server has room for 512 bytes at a time from now on.
    add_block(&mut answer, number::BLOCK1, 0, true, 5);
    server.say(&answer);
    let tag = first.options.get(number::REQUEST_TAG).cloned();
    loop {
        let request = server.request();
        let (place, has_more, exponent) = block(&request, number::BLOCK1);
        assert_eq!((place as usize * 512, exponent), (taken.len(), 5));
        assert_eq!(request.options.get(number::REQUEST_TAG).cloned(), tag);
        taken.extend_from_slice(&request.payload);
        let mut answer = piggybacked(&request, if has_more { Code::CONTINUE } else { Code::CHANGED }, "");
        add_block(&mut answer, number::BLOCK1, place, has_more, 5);
        let events = server.say(&answer);
        if !has_more {
            assert_eq!(response(&events).0, Code::CHANGED);
            break;
        }
        assert_eq!(events, []);
    }
    assert_eq!(taken, body);
}

#[test]
fn a_large_representation_is_put_together_of_one_state() {
    let mut server = Server::new(|client| client);
    server.client.get(server.now, &["a"]);
    // The state changes once, between the second and the third block.
    let states = [Bytes::from(vec![b'o'; 2_500]), Bytes::from(vec![b'n'; 2_500])];
    let mut count = 0;
    loop {
        let request = server.request();
        let place = request.options.uint(number::BLOCK2).map_or(0, |value| Block::from_uint(value).number);
        let state = usize::from(count >= 2);
        count += 1;
        let body = &states[state];
        let (start, end) = (place as usize * 1_024, body.len().min((place as usize + 1) * 1_024));
        let mut answer = piggybacked(&request, Code::CONTENT, "");
        answer.payload = body.slice(start..end);
        answer.options.add(number::ETAG, Bytes::from(vec![state as u8]));
        add_block(&mut answer, number::BLOCK2, place, end < body.len(), 6);
        let events = server.say(&answer);
        if !events.is_empty() {
            assert_eq!(response(&events), (Code::CONTENT, states[1].clone()));
            break;
        }
    }
    assert_eq!(count, 2 + 1 + 3, "two blocks of the old state, the change, and all of the new one");
}
