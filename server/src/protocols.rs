//! The table of languages. Everything that is the same for all of them derives from it.

use crate::admin::Gateway;
use crate::config::{Config, Listen, Preset};
use althing_coap::oscore::Contexts;
use althing_coap::{CoapAdaptor, CoapDoor, CoapMessageAdaptor, Common};
use althing_core::Entropy;
use althing_core::protocol::Row;
use althing_http::json::{self, JsonAdaptor};
use althing_mqtt::MqttAdaptor;
use althing_net::{AdaptorFactory, DoorFactory, VisitorFactory};
use althing_stomp::StompAdaptor;
use althing_web::{Credentials, Entry, Language, MessageAdaptorFactory, Speaking, Web};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::LazyLock;

/// A language that this broker speaks.
#[derive(Debug)]
pub struct Protocol {
    /// What it is.
    pub row: &'static Row,
    /// Who speaks it, on what.
    pub speaker: Speaker,
}

impl Protocol {
    /// How the language is called inside TLS (ALPN), the one that we like best first.
    pub fn application_protocols(&self) -> Vec<&'static [u8]> {
        match self.speaker {
            Speaker::Visitor(_) => vec![b"h2", b"http/1.1"],
            Speaker::Adaptor(_) | Speaker::Framed { .. } | Speaker::Door(_) => vec![self.row.language.as_bytes()],
        }
    }
}

/// What carries a language, and how those who speak it are made.
#[derive(Clone, Copy, Debug)]
pub enum Speaker {
    /// Byte streams, with an adaptor for each.
    Adaptor(fn(&Makings<'_>) -> AdaptorFactory),
    /// Byte streams, with an adaptor for each; inside WebSocket it is a language of messages.
    Framed {
        /// On byte streams.
        stream: fn(&Makings<'_>) -> AdaptorFactory,
        /// Inside WebSocket.
        messages: fn(&Makings<'_>) -> MessageAdaptorFactory,
    },
    /// Byte streams, each served by a task of its own: many requests, many peers.
    Visitor(fn(&Makings<'_>, &Listen) -> VisitorFactory),
    /// Datagrams, with a door for each socket.
    Door(fn(&Makings<'_>) -> DoorFactory),
}

/// What those who speak are made of.
#[derive(Debug)]
pub struct Makings<'a> {
    /// What is configured.
    pub config: &'a Config,
    /// By it HTTP reaches administrators.
    pub gateway: &'a Gateway,
    /// What all listeners of CoAP share.
    pub coap: Arc<Common>,
}

impl<'a> Makings<'a> {
    /// For one start of the broker.
    pub fn new(config: &'a Config, gateway: &'a Gateway, oscore: Arc<Contexts>) -> Self {
        let coap = Arc::new(Common::new(config.coap.clone(), config.limits.clone()).with_oscore(oscore));
        Self { config, gateway, coap }
    }
}

/// Every language, in the order in which people read them.
pub const PROTOCOLS: &[Protocol] = &[
    Protocol { row: &althing_mqtt::PROTOCOL, speaker: Speaker::Adaptor(mqtt) },
    Protocol { row: &althing_stomp::PROTOCOL, speaker: Speaker::Adaptor(stomp) },
    Protocol { row: &althing_coap::PROTOCOL, speaker: Speaker::Door(coap) },
    Protocol {
        row: &althing_coap::STREAM_PROTOCOL,
        speaker: Speaker::Framed { stream: coap_stream, messages: coap_messages },
    },
    Protocol { row: &althing_http::PROTOCOL, speaker: Speaker::Visitor(http) },
];

/// The names of all languages, as the store keeps them.
pub static NAMES: LazyLock<Vec<&str>> = LazyLock::new(|| {
    let mut names: Vec<_> = PROTOCOLS.iter().map(|protocol| protocol.row.language).collect();
    names.dedup();
    names
});

fn mqtt(Makings { config, .. }: &Makings<'_>) -> AdaptorFactory {
    let limits = Arc::new(config.limits.clone());
    let config = Arc::new(config.mqtt.clone());
    Arc::new(move |link| Box::new(MqttAdaptor::new(link, Arc::clone(&limits), Arc::clone(&config))))
}

fn coap(makings: &Makings<'_>) -> DoorFactory {
    let common = Arc::clone(&makings.coap);
    Arc::new(move || {
        let entropy = Entropy::new(RandomState::new().hash_one(std::process::id()));
        Box::new(CoapDoor::new(Arc::clone(&common), entropy))
    })
}

fn coap_stream(makings: &Makings<'_>) -> AdaptorFactory {
    let common = Arc::clone(&makings.coap);
    Arc::new(move |link| Box::new(CoapAdaptor::new(link, Arc::clone(&common))))
}

fn coap_messages(makings: &Makings<'_>) -> MessageAdaptorFactory {
    let common = Arc::clone(&makings.coap);
    let message_bytes_max = makings.config.websocket.message_bytes_max;
    Arc::new(move |link, Credentials { username, password }| {
        Box::new(CoapMessageAdaptor::new(link, Arc::clone(&common), (username, password), message_bytes_max))
    })
}

fn stomp(Makings { config, .. }: &Makings<'_>) -> AdaptorFactory {
    let limits = Arc::new(config.limits.clone());
    let config = Arc::new(config.stomp.clone());
    Arc::new(move |link| Box::new(StompAdaptor::new(link, Arc::clone(&limits), Arc::clone(&config))))
}

fn http(makings: &Makings<'_>, listen: &Listen) -> VisitorFactory {
    let Makings { config, gateway, .. } = makings;
    let limits = Arc::new(config.limits.clone());
    let configs = (Arc::new(config.http.clone()), Arc::new(config.websocket.clone()));
    let any_path = Preset::of_listener(listen.name).is_some_and(|preset| preset.any_path);
    let web = Web::new(configs, limits, Entry { any_path }, languages(makings), gateway.fallback(listen));
    web.factory()
}

/// What is spoken inside WebSocket: every language of streams that has a name there, and objects.
fn languages(makings: &Makings<'_>) -> Vec<Language> {
    let mut languages = Vec::new();
    for protocol in PROTOCOLS {
        let speaking = match protocol.speaker {
            Speaker::Adaptor(factory) => Speaking::Bytes(factory(makings)),
            Speaker::Framed { messages, .. } => Speaking::Messages(messages(makings)),
            Speaker::Visitor(_) | Speaker::Door(_) => continue,
        };
        let names = protocol.row.subprotocols.iter();
        languages.extend(names.map(|it| Language { subprotocol: *it, speaking: speaking.clone() }));
    }
    let limits = Arc::new(makings.config.limits.clone());
    let json = Speaking::Messages(Arc::new(move |link, Credentials { username, password }| {
        let credentials = json::Credentials { username, password };
        Box::new(JsonAdaptor::new(link, Arc::clone(&limits), credentials))
    }));
    languages.push(Language { subprotocol: json::SUBPROTOCOL, speaking: json });
    languages
}
