//! The table of languages. Everything that is the same for all of them derives from it.

use crate::config::Config;
use althing_core::protocol::Row;
use althing_mqtt::MqttAdaptor;
use althing_net::AdaptorFactory;
use althing_stomp::{StompAdaptor, StompConfig};
use std::sync::Arc;

/// A language that this broker speaks.
#[derive(Debug)]
pub struct Protocol {
    /// What it is.
    pub row: &'static Row,
    /// How its adaptors are made.
    pub factory: fn(&Config) -> AdaptorFactory,
}

/// Every language, in the order in which people read them.
pub const PROTOCOLS: &[Protocol] = &[
    Protocol { row: &althing_mqtt::PROTOCOL, factory: mqtt },
    Protocol { row: &althing_stomp::PROTOCOL, factory: stomp },
];

fn mqtt(config: &Config) -> AdaptorFactory {
    let limits = Arc::new(config.limits.clone());
    let config = Arc::new(config.mqtt.clone());
    Arc::new(move |link| Box::new(MqttAdaptor::new(link, Arc::clone(&limits), Arc::clone(&config))))
}

fn stomp(config: &Config) -> AdaptorFactory {
    let limits = Arc::new(config.limits.clone());
    let config = Arc::new(StompConfig::default());
    Arc::new(move |link| Box::new(StompAdaptor::new(link, Arc::clone(&limits), Arc::clone(&config))))
}
