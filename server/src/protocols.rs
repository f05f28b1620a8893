//! The table of languages. Everything that is the same for all of them derives from it.

use crate::config::Config;
use althing_coap::CoapDoor;
use althing_core::Entropy;
use althing_core::protocol::Row;
use althing_mqtt::MqttAdaptor;
use althing_net::{AdaptorFactory, DoorFactory, VisitorFactory};
use althing_stomp::StompAdaptor;
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

/// What carries a language, and how those who speak it are made.
#[derive(Clone, Copy, Debug)]
pub enum Speaker {
    /// Byte streams, with an adaptor for each.
    Adaptor(fn(&Config) -> AdaptorFactory),
    /// Byte streams, each served by a task of its own: many requests, many peers.
    Visitor(fn(&Config) -> VisitorFactory),
    /// Datagrams, with a door for each socket.
    Door(fn(&Config) -> DoorFactory),
}

/// Every language, in the order in which people read them.
pub const PROTOCOLS: &[Protocol] = &[
    Protocol { row: &althing_mqtt::PROTOCOL, speaker: Speaker::Adaptor(mqtt) },
    Protocol { row: &althing_stomp::PROTOCOL, speaker: Speaker::Adaptor(stomp) },
    Protocol { row: &althing_coap::PROTOCOL, speaker: Speaker::Door(coap) },
];

/// The names of all languages, as the store keeps them.
pub static NAMES: LazyLock<Vec<&str>> = LazyLock::new(|| PROTOCOLS.iter().map(|protocol| protocol.row.name).collect());

fn mqtt(config: &Config) -> AdaptorFactory {
    let limits = Arc::new(config.limits.clone());
    let config = Arc::new(config.mqtt.clone());
    Arc::new(move |link| Box::new(MqttAdaptor::new(link, Arc::clone(&limits), Arc::clone(&config))))
}

fn coap(config: &Config) -> DoorFactory {
    let limits = Arc::new(config.limits.clone());
    let config = Arc::new(config.coap.clone());
    Arc::new(move || {
        let entropy = Entropy::new(RandomState::new().hash_one(std::process::id()));
        Box::new(CoapDoor::new(Arc::clone(&config), Arc::clone(&limits), entropy))
    })
}

fn stomp(config: &Config) -> AdaptorFactory {
    let limits = Arc::new(config.limits.clone());
    let config = Arc::new(config.stomp.clone());
    Arc::new(move |link| Box::new(StompAdaptor::new(link, Arc::clone(&limits), Arc::clone(&config))))
}
