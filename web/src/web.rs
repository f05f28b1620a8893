//! Everybody who comes in by HTTP through one listener, and what holds for them.

use crate::fallback::Fallback;
use crate::language::Language;
use crate::serving;
use crate::topics::Topics;
use althing_core::Limits;
use althing_http::HttpConfig;
use althing_net::{Visitor, VisitorFactory};
use althing_websocket::{Deflater, WebSocketConfig};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What the connections of one listener share.
pub struct Web {
    /// How HTTP is spoken.
    pub config: Arc<HttpConfig>,
    /// How WebSocket is spoken.
    pub websocket: Arc<WebSocketConfig>,
    /// The limits of the house.
    pub limits: Arc<Limits>,
    /// What is special about the listener.
    pub entry: Entry,
    /// What is spoken inside WebSocket.
    pub languages: Vec<Language>,
    /// Who answers what is not ours.
    pub fallback: Arc<dyn Fallback>,
    pub(crate) deflater: Deflater,
    pub(crate) topics: Arc<Topics>,
    pub(crate) builder: Builder<TokioExecutor>,
}

/// What is special about a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Whether a WebSocket may begin at any path: clients of other brokers bring theirs along.
    pub any_path: bool,
}

/// Frames of reset streams that hyper keeps for a peer before it ends the connection: more than a page that is left makes,
/// less than a flood (CVE-2023-44487).
const RESETS_MAX: usize = 64;

/// A peer whose connection is dead is found by an unanswered ping.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// What one HTTP/2 stream may have on its way to us, and what all of them.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;

/// What waits for a slow reader of a stream.
const SEND_BUFFER_BYTES: usize = 64 << 10;

/// hyper's buffers are no smaller.
const BUFFER_BYTES_MIN: usize = 8_192;

impl Web {
    /// What a listener needs to serve HTTP.
    pub fn new(
        (config, websocket): (Arc<HttpConfig>, Arc<WebSocketConfig>),
        limits: Arc<Limits>,
        entry: Entry,
        languages: Vec<Language>,
        fallback: Arc<dyn Fallback>,
    ) -> Arc<Self> {
        let builder = builder(&config);
        let topics = Arc::new(Topics::new(&config));
        let deflater = Deflater::default();
        Arc::new(Self { config, websocket, limits, entry, languages, fallback, deflater, topics, builder })
    }

    /// Serves each visitor in a task of its own.
    pub fn factory(self: &Arc<Self>) -> VisitorFactory {
        let web = Arc::clone(self);
        Arc::new(move |visitor: Visitor| Box::pin(serving::serve(Arc::clone(&web), visitor)))
    }
}

fn builder(config: &HttpConfig) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // It runs between requests as well; a first request has a deadline of its own.
        .header_read_timeout(Duration::from_millis(config.keep_alive_timeout_ms))
        .max_headers(config.headers_max)
        .max_buf_size(config.header_bytes_max.max(BUFFER_BYTES_MIN))
        // Who has closed listens no more: its event stream ends now, and not with the next event.
        .half_close(false);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(config.streams_max)
        .max_header_list_size(u32::try_from(config.header_bytes_max).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(RESETS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

impl fmt::Debug for Web {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Web").field("config", &self.config).finish_non_exhaustive()
    }
}
