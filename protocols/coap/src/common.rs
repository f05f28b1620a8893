//! What all of CoAP's listeners in one process share.

use crate::config::CoapConfig;
use crate::oscore::Contexts;
use althing_core::Limits;
use std::sync::Arc;

/// What the broker says of CoAP, once, whatever carries it.
#[derive(Debug, Default)]
pub struct Common {
    /// What is configured.
    pub config: CoapConfig,
    /// The limits of the house.
    pub limits: Limits,
    /// With whom messages are protected by OSCORE.
    pub oscore: Arc<Contexts>,
}

impl Common {
    /// With this configuration, within these limits.
    pub fn new(config: CoapConfig, limits: Limits) -> Self {
        Self { config, limits, oscore: Arc::default() }
    }
}
