//! The client halves of all languages, as far as they have the same to say: connect, subscribe, publish, leave.

use althing_coap::CoapConfig;
use althing_coap::message::Token;
use althing_core::{Entropy, Guarantee, Now, Topic};
use althing_mqtt::packet::{Disconnect, Subscribe, SubscribeFilter, Version};
use althing_stomp::client::AckMode;
use althing_websocket::CloseCode;
use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;

/// One conversation of one client about one topic.
pub trait Half: Send {
    /// Begins; `Connected` follows.
    fn connect(&mut self, now: Now);
    /// `Subscribed` follows, then a `Message` each.
    fn subscribe(&mut self, now: Now);
    /// `Published` follows.
    fn publish(&mut self, now: Now, payload: Bytes);
    /// Says goodbye.
    fn leave(&mut self, now: Now);
    /// Bytes or a datagram for the broker.
    fn take_output(&mut self) -> Option<Vec<u8>>;
    /// What the broker says; of a datagram everything is taken. A refusal is an error in its words.
    fn receive(&mut self, now: Now, input: &mut BytesMut) -> Result<Vec<Word>, String>;
}

/// What a broker says.
#[derive(Debug, PartialEq, Eq)]
pub enum Word {
    Connected,
    Subscribed,
    Published,
    Message(Bytes),
}

fn entropy() -> Entropy {
    Entropy::new(RandomState::new().hash_one(0))
}

fn some(bytes: Vec<u8>) -> Option<Vec<u8>> {
    (!bytes.is_empty()).then_some(bytes)
}

pub struct Mqtt {
    client: althing_mqtt::Client,
    topic: Topic,
}

impl Mqtt {
    pub fn new(topic: &Topic) -> Self {
        let options = althing_mqtt::client::Options::new(Version::V5, "");
        Self { client: althing_mqtt::Client::new(options), topic: topic.clone() }
    }
}

impl Half for Mqtt {
    fn connect(&mut self, now: Now) {
        self.client.connect(now);
    }

    fn subscribe(&mut self, now: Now) {
        let filter = SubscribeFilter {
            filter: self.topic.text().clone(),
            qos: Guarantee::AtMostOnce,
            no_local: false,
            retain_as_published: false,
            retain_handling: 2,
        };
        let filters = vec![filter];
        let subscribe = Subscribe { packet_id: 0, subscription_id: None, user_properties: Vec::new(), filters };
        // It is connected; what is wrong with the subscription the broker says.
        let _ = self.client.subscribe(now, subscribe);
    }

    fn publish(&mut self, now: Now, payload: Bytes) {
        let publish = althing_mqtt::client::publication(self.topic.clone(), payload, Guarantee::AtLeastOnce);
        let _ = self.client.publish(now, publish);
    }

    fn leave(&mut self, now: Now) {
        self.client.disconnect(now, Disconnect::default());
    }

    fn take_output(&mut self) -> Option<Vec<u8>> {
        some(self.client.output().take_all())
    }

    fn receive(&mut self, now: Now, input: &mut BytesMut) -> Result<Vec<Word>, String> {
        use althing_mqtt::client::Event;
        let mut events = Vec::new();
        self.client.receive(now, input, &mut events).map_err(|error| error.to_string())?;
        let mut words = Vec::new();
        for event in events {
            words.push(match event {
                Event::Connected(_) => Word::Connected,
                Event::Subscribed(codes) => match codes.codes.first() {
                    Some(code) if *code >= 0x80 => return Err(refused("the subscription", *code)),
                    _ => Word::Subscribed,
                },
                Event::Published { code, .. } if code >= 0x80 => return Err(refused("the message", code)),
                Event::Published { .. } => Word::Published,
                Event::Message(publish) => Word::Message(publish.payload),
                _ => continue,
            });
        }
        Ok(words)
    }
}

fn refused(what: &str, code: u8) -> String {
    format!("the broker refused {what}: {}", althing_mqtt::reason::name(code))
}

fn web_socket(subprotocol: &str, at: SocketAddr) -> althing_websocket::Client {
    let options = althing_websocket::client::Options {
        host: at.to_string(),
        path: "/ws".to_owned(),
        subprotocols: vec![subprotocol.to_owned()],
        ..Default::default()
    };
    althing_websocket::Client::new(options, entropy())
}

pub struct MqttInWebSocket {
    socket: althing_websocket::Client,
    inner: Mqtt,
    input: BytesMut,
}

impl MqttInWebSocket {
    pub fn new(topic: &Topic, at: SocketAddr) -> Self {
        Self { socket: web_socket("mqtt", at), inner: Mqtt::new(topic), input: BytesMut::new() }
    }
}

impl Half for MqttInWebSocket {
    fn connect(&mut self, _: Now) {
        self.socket.connect();
    }

    fn subscribe(&mut self, now: Now) {
        self.inner.subscribe(now);
    }

    fn publish(&mut self, now: Now, payload: Bytes) {
        self.inner.publish(now, payload);
    }

    fn leave(&mut self, now: Now) {
        self.inner.leave(now);
        if let Some(bytes) = self.inner.take_output() {
            self.socket.send(false, &bytes);
        }
        self.socket.close(CloseCode::NORMAL, "");
    }

    fn take_output(&mut self) -> Option<Vec<u8>> {
        if let Some(bytes) = self.inner.take_output() {
            self.socket.send(false, &bytes);
        }
        some(self.socket.output().take_all())
    }

    fn receive(&mut self, now: Now, input: &mut BytesMut) -> Result<Vec<Word>, String> {
        use althing_websocket::client::Event;
        let mut events = Vec::new();
        self.socket.receive(input, &mut events).map_err(|error| error.to_string())?;
        for event in events {
            match event {
                Event::Open { .. } => self.inner.connect(now),
                Event::Message(message) => self.input.extend_from_slice(&message.bytes),
                Event::Closed(_) | Event::Pong(_) => {}
            }
        }
        self.inner.receive(now, &mut self.input)
    }
}

pub struct Json {
    socket: althing_websocket::Client,
    topic: Topic,
}

impl Json {
    pub fn new(topic: &Topic, at: SocketAddr) -> Self {
        Self { socket: web_socket(althing_http::json::SUBPROTOCOL.name, at), topic: topic.clone() }
    }

    fn say(&mut self, object: &Value) {
        self.socket.send(true, object.to_string().as_bytes());
    }
}

impl Half for Json {
    fn connect(&mut self, _: Now) {
        self.socket.connect();
    }

    fn subscribe(&mut self, _: Now) {
        let filter = self.topic.as_str();
        self.say(&json!({"type": "subscribe", "id": "seen", "filter": filter, "retained": "never"}));
    }

    fn publish(&mut self, _: Now, payload: Bytes) {
        let payload = String::from_utf8_lossy(&payload);
        self.say(&json!({"type": "publish", "id": 1, "topic": self.topic.as_str(), "payload": payload, "qos": 1}));
    }

    fn leave(&mut self, _: Now) {
        self.socket.close(CloseCode::NORMAL, "");
    }

    fn take_output(&mut self) -> Option<Vec<u8>> {
        some(self.socket.output().take_all())
    }

    fn receive(&mut self, _: Now, input: &mut BytesMut) -> Result<Vec<Word>, String> {
        use althing_websocket::client::Event;
        let mut events = Vec::new();
        self.socket.receive(input, &mut events).map_err(|error| error.to_string())?;
        let mut words = Vec::new();
        for event in events {
            let message = match event {
                Event::Open { .. } => {
                    words.push(Word::Connected);
                    continue;
                }
                Event::Message(message) => message,
                Event::Closed(_) | Event::Pong(_) => continue,
            };
            let object: Value = serde_json::from_slice(&message.bytes).map_err(|error| error.to_string())?;
            let text = |name: &str| object[name].as_str().unwrap_or_default().to_owned();
            match &text("type")[..] {
                "subscribed" => words.push(Word::Subscribed),
                "published" => words.push(Word::Published),
                "message" => words.push(Word::Message(text("payload").into())),
                "error" => return Err(text("text")),
                _ => {}
            }
        }
        Ok(words)
    }
}

pub struct Stomp {
    client: althing_stomp::Client,
    destination: String,
    subscription: Option<u64>,
}

impl Stomp {
    pub fn new(topic: &Topic) -> Self {
        let (prefix, name) = althing_stomp::destination::of_topic(topic);
        let client = althing_stomp::Client::new(althing_stomp::client::Options::default());
        Self { client, destination: format!("{prefix}{name}"), subscription: None }
    }
}

impl Half for Stomp {
    fn connect(&mut self, now: Now) {
        self.client.connect(now);
    }

    fn subscribe(&mut self, now: Now) {
        self.subscription = self.client.subscribe(now, "seen", &self.destination, AckMode::Auto, true).ok().flatten();
    }

    fn publish(&mut self, now: Now, payload: Bytes) {
        // It is connected; what is wrong with the message the broker says.
        let _ = self.client.send(now, &self.destination, &[], payload, true);
    }

    fn leave(&mut self, now: Now) {
        let _ = self.client.disconnect(now);
    }

    fn take_output(&mut self) -> Option<Vec<u8>> {
        some(self.client.output().take_all())
    }

    fn receive(&mut self, now: Now, input: &mut BytesMut) -> Result<Vec<Word>, String> {
        use althing_stomp::client::Event;
        let mut events = Vec::new();
        self.client.receive(now, input, &mut events).map_err(|error| error.to_string())?;
        let mut words = Vec::new();
        for event in events {
            words.push(match event {
                Event::Connected(_) => Word::Connected,
                Event::Receipt(number) if Some(number) == self.subscription => Word::Subscribed,
                Event::Receipt(_) => Word::Published,
                Event::Message(message) => Word::Message(message.body),
                Event::Error(error) => return Err(error.message.to_string()),
                Event::Disconnected => continue,
            });
        }
        Ok(words)
    }
}

pub struct Coap {
    client: althing_coap::Client,
    topic: Topic,
    output: Vec<Vec<u8>>,
    is_connected: bool,
    observed: Option<Token>,
    is_subscribed: bool,
}

impl Coap {
    pub fn new(topic: &Topic) -> Self {
        let client = althing_coap::Client::new(CoapConfig::default(), entropy());
        let topic = topic.clone();
        Self { client, topic, output: Vec::new(), is_connected: false, observed: None, is_subscribed: false }
    }

    fn path(topic: &Topic) -> Vec<&str> {
        std::iter::once("t").chain(topic.levels()).collect()
    }
}

impl Half for Coap {
    /// There is nothing to connect: an address is somebody once it says something.
    fn connect(&mut self, _: Now) {
        self.is_connected = false;
    }

    fn subscribe(&mut self, now: Now) {
        self.observed = Some(self.client.observe(now, &Self::path(&self.topic)));
    }

    fn publish(&mut self, now: Now, payload: Bytes) {
        self.client.post(now, &Self::path(&self.topic), payload);
    }

    fn leave(&mut self, now: Now) {
        if let Some(token) = self.observed.take() {
            self.client.forget(now, token, &Self::path(&self.topic));
        }
    }

    fn take_output(&mut self) -> Option<Vec<u8>> {
        if self.output.is_empty() {
            self.output = self.client.output();
            self.output.reverse();
        }
        self.output.pop()
    }

    fn receive(&mut self, now: Now, input: &mut BytesMut) -> Result<Vec<Word>, String> {
        use althing_coap::client::Event;
        let mut words = Vec::new();
        if !std::mem::replace(&mut self.is_connected, true) {
            words.push(Word::Connected);
        }
        if input.is_empty() {
            return Ok(words);
        }
        let mut events = Vec::new();
        self.client.receive(now, &input.split().freeze(), &mut events);
        for event in events {
            let Event::Response { token, code, payload, is_observed, .. } = event else {
                return Err("the broker does not answer".to_owned());
            };
            if !code.is_success() {
                return Err(format!("the broker refused: {code} {}", String::from_utf8_lossy(&payload)));
            }
            if Some(token) != self.observed {
                words.push(Word::Published);
            } else if std::mem::replace(&mut self.is_subscribed, true) {
                words.push(Word::Message(payload));
            } else if is_observed {
                words.push(Word::Subscribed);
            } else {
                return Err("the broker does not let this topic be observed".to_owned());
            }
        }
        Ok(words)
    }
}

/// HTTP/1.0, whose bodies end with the connection: one request each, and nothing to take apart.
pub struct Sse {
    topic: Topic,
    host: SocketAddr,
    output: Vec<u8>,
    is_connected: bool,
    /// What the head of the response will mean.
    asked: Option<Word>,
}

impl Sse {
    pub fn new(topic: &Topic, host: SocketAddr) -> Self {
        Self { topic: topic.clone(), host, output: Vec::new(), is_connected: false, asked: None }
    }
}

impl Half for Sse {
    fn connect(&mut self, _: Now) {
        self.is_connected = false;
    }

    fn subscribe(&mut self, _: Now) {
        let (path, host) = (althing_http::path::of_topic(&self.topic), self.host);
        let head = format!("GET {path}?retained=false HTTP/1.0\r\nHost: {host}\r\nAccept: text/event-stream\r\n\r\n");
        self.output.extend_from_slice(head.as_bytes());
        self.asked = Some(Word::Subscribed);
    }

    fn publish(&mut self, _: Now, payload: Bytes) {
        let (path, host, length) = (althing_http::path::of_topic(&self.topic), self.host, payload.len());
        let head = format!("POST {path}?qos=1 HTTP/1.0\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n");
        self.output.extend_from_slice(head.as_bytes());
        self.output.extend_from_slice(&payload);
        self.asked = Some(Word::Published);
    }

    fn leave(&mut self, _: Now) {}

    fn take_output(&mut self) -> Option<Vec<u8>> {
        some(std::mem::take(&mut self.output))
    }

    fn receive(&mut self, _: Now, input: &mut BytesMut) -> Result<Vec<Word>, String> {
        let mut words = Vec::new();
        if !std::mem::replace(&mut self.is_connected, true) {
            words.push(Word::Connected);
        }
        if self.asked.is_some() {
            let Some(end) = input.windows(4).position(|end| end == b"\r\n\r\n") else { return Ok(words) };
            let head = input.split_to(end + 4);
            let line = String::from_utf8_lossy(&head);
            let line = line.lines().next().unwrap_or_default();
            if line.split(' ').nth(1).is_none_or(|status| !status.starts_with('2')) {
                return Err(format!("the broker refused: {line}"));
            }
            words.extend(self.asked.take());
        }
        while let Some(end) = input.windows(2).position(|end| end == b"\n\n") {
            let event = input.split_to(end + 2);
            let event = String::from_utf8_lossy(&event);
            let Some(data) = event.lines().find_map(|line| line.strip_prefix("data: ")) else { continue };
            let object: Value = serde_json::from_str(data).unwrap_or_default();
            let payload = object["payload"].as_str().unwrap_or_default().to_owned();
            words.push(Word::Message(payload.into()));
        }
        Ok(words)
    }
}
