//! What a handler works with.

use crate::anchor::Anchor;
use crate::anchors::refused;
use crate::body::{self, BodyError};
use crate::credentials::Credentials;
use crate::serving::Conversation;
use crate::web::Web;
use althing_core::{Limits, Link};
use althing_http::{HttpConfig, Problem};
use bytes::Bytes;
use http::HeaderMap;
use hyper::body::Incoming;
use std::fmt;
use std::sync::Arc;

/// A request's surroundings: the listener's and the connection's. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    web: Arc<Web>,
    conversation: Arc<Conversation>,
}

impl Context {
    pub(crate) fn new(web: Arc<Web>, conversation: Arc<Conversation>) -> Self {
        Self { web, conversation }
    }

    pub(crate) fn conversation(&self) -> &Conversation {
        &self.conversation
    }

    /// What the listener's connections share.
    pub fn web(&self) -> &Arc<Web> {
        &self.web
    }

    /// How HTTP is spoken.
    pub fn config(&self) -> &HttpConfig {
        &self.web.config
    }

    /// The limits of the house.
    pub fn limits(&self) -> &Arc<Limits> {
        &self.web.limits
    }

    /// How the connection came in.
    pub fn link(&self) -> &Link {
        &self.conversation.link
    }

    /// The session that the connection's requests with these headers' credentials share; it stands.
    ///
    /// # Errors
    /// When whoever asks cannot prove to be somebody, or nobody is served now.
    pub async fn anchor(&self, headers: &HeaderMap) -> Result<Arc<Anchor>, Problem> {
        self.conversation.anchors.find(self.link(), headers).await
    }

    /// A session of its own for one request that goes on: an event stream, a question. It stands. `window` is how many
    /// deliveries it takes before it settles one.
    ///
    /// # Errors
    /// As [`Context::anchor`].
    pub async fn own_session(&self, headers: &HeaderMap, window: u16) -> Result<Anchor, Problem> {
        let mut connect = Credentials::of(headers)?.into_connect();
        connect.window = window;
        let anchor = Anchor::open(self.link(), connect)?;
        anchor.stands().await.map_err(|refusal| refused(refusal, headers))?;
        Ok(anchor)
    }

    /// All of a body, within the limits.
    ///
    /// # Errors
    /// 413 beyond `bytes_max` (or the configured limit), 408 when it takes too long, 400 when it is broken.
    pub async fn read_body(&self, body: Incoming, bytes_max: usize) -> Result<Bytes, BodyError> {
        body::read(body, bytes_max.min(self.web.config.body_bytes_max), self.web.config.body_timeout_ms).await
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Context").field(self.link()).finish()
    }
}
