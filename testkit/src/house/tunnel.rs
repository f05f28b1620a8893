//! MQTT inside WebSocket, in every other world: packets are cut into frames as the seed has it.

use super::Grain;
use althing_core::{Adaptor, Entropy, OutBuffer};
use althing_websocket::client::{Client, Event, Options};
use althing_websocket::{Inner, WebSocketAdaptor, WebSocketConfig};
use bytes::BytesMut;
use std::sync::Arc;

/// The device's end.
#[derive(Debug)]
pub(super) struct Tunnel {
    client: Client,
    /// What has come out of the frames.
    inbox: BytesMut,
}

/// The house's end, around a language of bytes. It sends no pings: a world in which nothing happens comes to rest.
pub(super) fn adaptor(inner: Box<dyn Adaptor>) -> Box<dyn Adaptor> {
    let config = WebSocketConfig { ping_interval_ms: 0, ..WebSocketConfig::default() };
    let inner = Inner::Bytes { adaptor: inner, is_text: false };
    Box::new(WebSocketAdaptor::new(Arc::new(config), inner, None))
}

impl Tunnel {
    /// Behind the handshake.
    pub fn new(entropy: Entropy) -> Self {
        Self { client: Client::opened(Options::default(), entropy, None), inbox: BytesMut::new() }
    }

    /// Whether frames wait to be written.
    pub fn is_waiting(&mut self) -> bool {
        !self.client.output().is_empty()
    }

    /// Puts what is to be said into frames; returns what is to be written.
    pub fn wrap(&mut self, said: &mut OutBuffer, grain: Grain, entropy: &mut Entropy) -> &mut OutBuffer {
        let said = said.take_all();
        let mut rest = &said[..];
        while !rest.is_empty() {
            let (frame, next) = rest.split_at(grain.choose(rest.len(), entropy));
            self.client.send(false, frame);
            rest = next;
        }
        self.client.output()
    }

    /// Takes what has arrived out of its frames; returns what the client half has not taken.
    pub fn unwrap(&mut self, arrived: &mut BytesMut) -> &mut BytesMut {
        let mut events = Vec::new();
        self.client.receive(arrived, &mut events).unwrap_or_else(|why| panic!("{why}"));
        for event in events {
            if let Event::Message(message) = event {
                assert!(!message.is_text, "MQTT is binary");
                self.inbox.extend_from_slice(&message.bytes);
            }
        }
        &mut self.inbox
    }
}
