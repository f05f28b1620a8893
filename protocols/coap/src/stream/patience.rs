//! When a connection is looked after without a word of the client: who does not begin is not waited for, and who is silent for
//! long is asked whether it is there (RFC 8323 §5.4). Inside WebSocket too, whose own pings rest (§4.4).

use super::connection::{Connection, Turn, after_ms, after_s};
use crate::common::Common;
use althing_core::verbs::{Reason, Refusal};
use althing_core::{Close, Deadline, Now};

/// What is known of a client's silence.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// When the conversation began; `None` before any call has told us the time.
    since_ns: Option<u64>,
    /// When the client was heard last, or sent a Ping.
    heard_ns: u64,
    /// Whether a Ping is unanswered.
    pinged: bool,
}

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Clock,
    Opening,
    Message,
    Ping,
    Pong,
    Conversation,
}

impl Patience {
    /// The client has said something, or has waited for us.
    pub fn hear(&mut self, now: Now) {
        self.since_ns.get_or_insert(now.mono_ns);
        (self.heard_ns, self.pinged) = (now.mono_ns, false);
    }

    /// The time is known from here on, if it was not.
    pub fn begin(&mut self, now: Now) {
        if self.since_ns.is_none() {
            self.hear(now);
        }
    }

    /// The next deadline, and which one it is.
    pub fn deadline(&self, connection: &Connection) -> Option<(u64, Due)> {
        let Some(since_ns) = self.since_ns else { return Some((0, Due::Clock)) };
        let Common { config, limits, .. } = connection.common();
        if connection.is_opening() {
            return Some((after_ms(since_ns, limits.connect_timeout_ms), Due::Opening));
        }
        let conversation = Some((connection.due_ns(), Due::Conversation)).filter(|(due_ns, _)| *due_ns < u64::MAX);
        // While we do not read, the client's silence is ours.
        let silence = match self.pinged {
            _ if config.ping_after_s == 0 || connection.must_wait() => None,
            false => Some((after_s(self.heard_ns, config.ping_after_s), Due::Ping)),
            true => Some((after_s(self.heard_ns, config.pong_timeout_s), Due::Pong)),
        };
        conversation.into_iter().chain(silence).min_by_key(|(mono_ns, _)| *mono_ns)
    }

    /// Sees to what is due.
    pub fn timeout(&mut self, due: Due, connection: &mut Connection, turn: &mut Turn<'_>) -> Result<(), Close> {
        let (reason, text) = match due {
            Due::Clock => return Ok(()),
            Due::Conversation => return connection.timeout(turn),
            Due::Opening => return connection.end_opening(turn),
            Due::Ping => {
                connection.ping(turn);
                (self.heard_ns, self.pinged) = (turn.now.mono_ns, true);
                return Ok(());
            }
            Due::Pong => (Reason::KeepAliveTimeout, "silent, and a Ping was not answered"),
            Due::Message => (Reason::ImplementationSpecific, "a message began and was not completed in time"),
        };
        Err(connection.abort(Refusal::new(reason, text), None, turn))
    }
}

impl Due {
    /// As the driver wants it.
    pub fn deadline(self, mono_ns: u64) -> Deadline {
        let reason = match self {
            Self::Clock => "start of the conversation",
            Self::Opening => "CSM",
            Self::Message => "rest of a message",
            Self::Ping => "Ping",
            Self::Pong => "Pong of the client",
            Self::Conversation => "conversation",
        };
        Deadline { mono_ns, reason }
    }
}
