//! A client, its clock, and a server in the hands of the test.

use althing_coap::CoapConfig;
use althing_coap::client::{Client, Event};
use althing_coap::codec::{decode, encode, encode_empty};
use althing_coap::message::{Code, Kind, Message, Token};
use althing_core::time::MILLISECOND_NS;
use althing_core::{Entropy, Now};
use bytes::Bytes;

pub struct Server {
    pub client: Client,
    pub now: Now,
}

impl Server {
    /// With a client that is made by `finish`.
    pub fn new(finish: impl FnOnce(Client) -> Client) -> Self {
        let client = finish(Client::new(CoapConfig::default(), Entropy::new(7)));
        Self { client, now: Now { mono_ns: 1, wall_ms: 0 } }
    }

    /// What has come, in order.
    pub fn datagrams(&mut self) -> Vec<Bytes> {
        self.client.output().into_iter().map(Bytes::from).collect()
    }

    /// The same as messages.
    pub fn heard(&mut self) -> Vec<Message> {
        self.datagrams().iter().map(|datagram| decode(datagram).unwrap()).collect()
    }

    /// The one message that has come.
    #[track_caller]
    pub fn request(&mut self) -> Message {
        let mut heard = self.heard();
        assert_eq!(heard.len(), 1, "{heard:?}");
        heard.remove(0)
    }

    /// Says something; returns what it means to the client.
    pub fn say(&mut self, message: &Message) -> Vec<Event> {
        let mut datagram = Vec::new();
        match message.code {
            Code::EMPTY => encode_empty(message.kind, message.id, &mut datagram),
            _ => encode(message, &mut datagram),
        }
        let mut events = Vec::new();
        self.client.receive(self.now, &datagram.into(), &mut events);
        events
    }

    /// Lets time pass to the client's next deadline; what that means to it.
    pub fn pass(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        self.now.mono_ns = self.client.next_timeout().unwrap().mono_ns;
        self.client.timeout(self.now, &mut events);
        events
    }

    pub fn pass_ms(&mut self, ms: u64) {
        self.now.mono_ns += ms * MILLISECOND_NS;
    }
}

/// A response in the acknowledgement of its request.
pub fn piggybacked(request: &Message, code: Code, payload: &'static str) -> Message {
    Message { token: request.token, payload: payload.into(), ..Message::new(Kind::Acknowledgement, code, request.id) }
}

/// A response, or a notification, in a message of its own.
pub fn separate(token: Token, kind: Kind, id: u16, payload: &'static str) -> Message {
    Message { token, payload: payload.into(), ..Message::new(kind, Code::CONTENT, id) }
}

/// Code and payload of the only event.
#[track_caller]
pub fn response(events: &[Event]) -> (Code, Bytes) {
    match events {
        [Event::Response { code, payload, .. }] => (*code, payload.clone()),
        other => panic!("{other:?}"),
    }
}
