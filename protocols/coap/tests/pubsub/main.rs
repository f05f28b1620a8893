//! `/ps` as draft-ietf-core-coap-pubsub-21 has it; sections without a document are those of the draft.

#![allow(clippy::unwrap_used, reason = "a failure of any step fails the test")]
#![allow(missing_docs, reason = "the names say it")]

mod blocks;
mod collection;
mod configuration;
mod data;
mod properties;
mod rights;
#[path = "../door/world.rs"]
#[allow(dead_code, reason = "the world of the door has more in it than is needed here")]
mod world;

use althing_coap::CoapConfig;
use althing_coap::codec;
use althing_coap::message::{Code, Kind, Message, Token, number};
use althing_coap::resources::pubsub::Properties;
use bytes::Bytes;
use world::{Weather, World};

/// A world and its clients' next message id.
pub struct House {
    pub world: World,
    id: u16,
}

/// `application/core-pubsub+cbor`.
pub const PUBSUB: Option<u32> = Some(606);

impl House {
    pub fn open() -> Self {
        Self::with(CoapConfig::default())
    }

    pub fn with(config: CoapConfig) -> Self {
        Self { world: World::new(1, 4, config, Weather::default()), id: 0 }
    }

    /// A request of a client; `change` adds to it.
    pub fn ask_with(&mut self, client: usize, code: Code, uri: &str, change: impl FnOnce(&mut Message)) -> Message {
        self.id += 1;
        let mut message = Message::new(Kind::Confirmable, code, self.id);
        message.token = Token::new(b"t").unwrap();
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        for segment in path.split('/').filter(|it| !it.is_empty()) {
            message.options.add(number::URI_PATH, Bytes::copy_from_slice(segment.as_bytes()));
        }
        if !query.is_empty() {
            message.options.add(number::URI_QUERY, Bytes::copy_from_slice(query.as_bytes()));
        }
        change(&mut message);
        let id = message.id;
        let answers = self.world.ask(client, &message);
        answers.into_iter().find(|answer| answer.kind == Kind::Acknowledgement && answer.id == id).unwrap()
    }

    pub fn ask(&mut self, code: Code, uri: &str) -> Message {
        self.ask_with(0, code, uri, |_| {})
    }

    /// A request with a payload in a format.
    pub fn say(&mut self, code: Code, uri: &str, format: Option<u32>, payload: impl Into<Bytes>) -> Message {
        let payload = payload.into();
        self.ask_with(0, code, uri, |message| {
            format.into_iter().for_each(|format| message.options.add_uint(number::CONTENT_FORMAT, format));
            message.payload = payload;
        })
    }

    /// Creates a topic; its path.
    pub fn create(&mut self, properties: &Properties) -> String {
        let answer = self.say(Code::POST, "/ps", PUBSUB, properties.encode());
        assert_eq!(answer.code, Code::CREATED, "{:?}", answer.payload);
        let segments = answer.options.all(number::LOCATION_PATH);
        segments.map(|segment| format!("/{}", std::str::from_utf8(segment).unwrap())).collect()
    }

    /// Registers an observer; its token is the client's `t`.
    pub fn observe(&mut self, client: usize, uri: &str) -> Message {
        self.ask_with(client, Code::GET, uri, |message| message.options.add_uint(number::OBSERVE, 0))
    }

    /// What left for this client since `from`, as messages.
    pub fn sent(&self, client: usize, from: usize) -> Vec<Message> {
        let of_client = self.world.sent[from..].iter().filter(|(to, _)| *to == client);
        of_client.map(|(_, datagram)| codec::decode(&Bytes::copy_from_slice(datagram)).unwrap()).collect()
    }

    pub fn acknowledge(&mut self, client: usize, id: u16) {
        let mut datagram = Vec::new();
        codec::encode_empty(Kind::Acknowledgement, id, &mut datagram);
        self.world.exchange(client, &datagram);
    }
}

/// What has to be said of a topic.
pub fn topic(name: &str) -> Properties {
    Properties { topic_name: Some(name.into()), resource_type: Some("core.ps.data".into()), ..Properties::default() }
}

pub fn map(answer: &Message) -> Properties {
    assert_eq!(answer.options.uint(number::CONTENT_FORMAT), PUBSUB);
    Properties::decode(&answer.payload).unwrap()
}

pub fn text(answer: &Message) -> &str {
    std::str::from_utf8(&answer.payload).unwrap()
}
