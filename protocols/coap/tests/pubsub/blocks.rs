//! Configurations in blocks, both ways (RFC 7959 §2.7).

use crate::{House, map, topic};
use althing_coap::block::Block;
use althing_coap::message::{Code, Message, number};
use althing_coap::resources::pubsub::Properties;

fn block(answer: &Message, number: u16) -> Option<Block> {
    answer.options.uint(number).map(Block::from_uint)
}

/// Creates a topic: its configuration comes and goes in blocks of 16 bytes.
#[test]
fn a_request_and_its_response_are_both_in_blocks() {
    let mut house = House::open();
    let properties = Properties { topic_type: Some("temperature of the room".into()), ..topic("a") };
    let payload = properties.encode();
    let last = (payload.len() - 1) / 16;
    let mut answer = None;
    for number in 0..=last {
        let block = Block { number: number as u32, has_more: number < last, size_exponent: 0 };
        answer = Some(house.ask_with(0, Code::POST, "/ps", |message| {
            message.options.add_uint(number::CONTENT_FORMAT, 606);
            message.options.add_uint(number::BLOCK1, block.to_uint());
            message.options.add_uint(number::BLOCK2, 0);
            message.payload = payload.slice(number * 16..payload.len().min(number * 16 + 16));
        }));
        if block.has_more {
            assert_eq!(answer.as_ref().unwrap().code, Code::CONTINUE);
        }
    }
    let mut answer = answer.unwrap();
    let acknowledged = Block { number: last as u32, has_more: false, size_exponent: 0 };
    assert_eq!((answer.code, block(&answer, number::BLOCK1)), (Code::CREATED, Some(acknowledged)));
    let mut whole = Vec::new();
    for number in 0.. {
        let of_response = block(&answer, number::BLOCK2).unwrap();
        assert_eq!((answer.code, of_response.number, of_response.size_exponent), (Code::CREATED, number, 0));
        whole.extend_from_slice(&answer.payload);
        if !of_response.has_more {
            break;
        }
        // Without a payload: what is asked for is more of the same response, and nothing is created again.
        answer = house.ask_with(0, Code::POST, "/ps", |message| {
            message.options.add_uint(number::BLOCK2, (number + 1) << 4);
        });
        assert_eq!(block(&answer, number::BLOCK1), None);
    }
    let created = Properties::decode(&whole).unwrap();
    assert_eq!((created.topic_name.as_deref(), &created.topic_type), (Some("a"), &properties.topic_type));
    let path = created.topic_data.unwrap().replace("/data", "");
    assert_eq!(map(&house.ask(Code::GET, &path)).topic_type, properties.topic_type);
}

#[test]
fn a_response_that_is_not_kept_is_not_made_up() {
    let mut house = House::open();
    let later = |house: &mut House, client| {
        let later = |message: &mut Message| message.options.add_uint(number::BLOCK2, 1 << 4);
        house.ask_with(client, Code::POST, "/ps", later).code
    };
    assert_eq!(later(&mut house, 0), Code::REQUEST_ENTITY_INCOMPLETE);
    house.ask_with(0, Code::POST, "/ps", |message| {
        message.options.add_uint(number::CONTENT_FORMAT, 606);
        message.options.add_uint(number::BLOCK2, 0);
        message.payload = topic("a").encode();
    });
    assert_eq!(later(&mut house, 0), Code::CREATED);
    assert_eq!(later(&mut house, 1), Code::REQUEST_ENTITY_INCOMPLETE, "another client's");
    house.world.run_ms(248_000);
    assert_eq!(later(&mut house, 0), Code::REQUEST_ENTITY_INCOMPLETE, "it was kept for a while");
}
