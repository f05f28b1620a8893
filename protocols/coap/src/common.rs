//! What all of CoAP's listeners in one process share.

use crate::config::CoapConfig;
use crate::oscore::Contexts;
use crate::resources::pubsub::Collection;
use althing_core::Limits;
use bytes::Bytes;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What the broker says of CoAP, once, whatever carries it.
#[derive(Debug, Default)]
pub struct Common {
    /// What is configured.
    pub config: CoapConfig,
    /// The limits of the house.
    pub limits: Limits,
    /// With whom messages are protected by OSCORE.
    pub oscore: Arc<Contexts>,
    /// The topics with a configuration.
    pub collection: Collection,
    /// Bytes that clients have us keep between the blocks of their transfers.
    transfer_bytes: AtomicUsize,
    /// The value of `/other/block`.
    demo_block: Mutex<Bytes>,
}

impl Common {
    /// With this configuration, within these limits.
    pub fn new(config: CoapConfig, limits: Limits) -> Self {
        let demo_block = "A text for learners, long enough to leave in blocks. ".repeat(64);
        let (transfer_bytes, demo_block) = (AtomicUsize::new(0), Mutex::new(demo_block.into()));
        let (oscore, collection) = (Arc::default(), Collection::default());
        Self { config, limits, oscore, collection, transfer_bytes, demo_block }
    }

    /// With these contexts.
    pub fn with_oscore(self, oscore: Arc<Contexts>) -> Self {
        Self { oscore, ..self }
    }

    /// The value of `/other/block`.
    pub(crate) fn demo_block(&self) -> Bytes {
        self.demo_block.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the value of `/other/block`.
    pub(crate) fn set_demo_block(&self, value: Bytes) {
        *self.demo_block.lock().unwrap_or_else(PoisonError::into_inner) = value;
    }

    /// Bytes that clients have us keep between the blocks of their transfers.
    pub fn transfer_bytes(&self) -> usize {
        self.transfer_bytes.load(Ordering::Relaxed)
    }
}

/// What one transfer takes of `coap.transfer_bytes_max`; given back when this goes.
#[derive(Debug)]
pub(crate) struct TransferBytes {
    common: Arc<Common>,
    bytes: usize,
}

impl TransferBytes {
    /// Nothing yet.
    pub fn none(common: &Arc<Common>) -> Self {
        Self { common: Arc::clone(common), bytes: 0 }
    }

    /// What it takes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes `more` bytes, if there is room.
    #[must_use]
    pub fn grow(&mut self, more: usize) -> bool {
        let bytes_max = self.common.config.transfer_bytes_max;
        let grown = |bytes: usize| bytes.checked_add(more).filter(|sum| *sum <= bytes_max);
        let has_room = self.common.transfer_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown).is_ok();
        self.bytes += if has_room { more } else { 0 };
        has_room
    }
}

impl Drop for TransferBytes {
    fn drop(&mut self) {
        self.common.transfer_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
