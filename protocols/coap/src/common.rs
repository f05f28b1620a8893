//! What all of CoAP's listeners in one process share.

use crate::config::CoapConfig;
use crate::resources::pubsub::Collection;
use althing_core::Limits;

/// What the broker says of CoAP, once, whatever carries it.
#[derive(Debug, Default)]
pub struct Common {
    /// What is configured.
    pub config: CoapConfig,
    /// The limits of the house.
    pub limits: Limits,
    /// The topics with a configuration.
    pub collection: Collection,
}

impl Common {
    /// With this configuration, within these limits.
    pub fn new(config: CoapConfig, limits: Limits) -> Self {
        Self { config, limits, collection: Collection::default() }
    }
}
