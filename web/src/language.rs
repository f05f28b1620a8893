//! What is spoken inside WebSocket.

use crate::credentials::Credentials;
use althing_core::protocol::Subprotocol;
use althing_core::{Link, MessageAdaptor};
use althing_net::AdaptorFactory;
use std::fmt;
use std::sync::Arc;

/// A language inside WebSocket.
#[derive(Clone)]
pub struct Language {
    /// How it is asked for.
    pub subprotocol: Subprotocol,
    /// Who speaks it.
    pub speaking: Speaking,
}

/// Makes the speaker of a language of whole messages.
pub type MessageAdaptorFactory = Arc<dyn Fn(&Link, Credentials) -> Box<dyn MessageAdaptor> + Send + Sync>;

/// How the speaker of a language is made.
#[derive(Clone)]
pub enum Speaking {
    /// A language of bytes, for which frames mean nothing. Who somebody is it says itself.
    Bytes(AdaptorFactory),
    /// A language of whole messages; the credentials of the upgrade are its peer's.
    Messages(MessageAdaptorFactory),
}

impl fmt::Debug for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Language({})", self.subprotocol.name)
    }
}
