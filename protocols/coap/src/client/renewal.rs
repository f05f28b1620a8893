//! Observations that go on when the server has forgotten them (RFC 7641 §3.3.1): when the last notification is not fresh any
//! more, and some seconds later, the same is asked again under the same token.

use super::{Client, Request};
use crate::message::{Code, Kind, Message, number};
use althing_core::{Entropy, Now};
use bytes::Bytes;

/// Max-Age where a response does not say it (§5.10.5).
const MAX_AGE_DEFAULT_S: u32 = 60;

/// How long a notification may be late, and by how much observers differ in their patience (RFC 7641 §3.3.1: 5 to 15 s).
const PATIENCE_S: u32 = 5;
const SPREAD_S: u64 = 10;

/// What is known of an observation that is to be renewed.
#[derive(Debug)]
pub(super) struct Renewal {
    pub due_ns: u64,
    /// Whether the request that is under way renews it.
    is_under_way: bool,
    last: Last,
}

/// What was told last.
#[derive(Debug, PartialEq, Eq)]
struct Last {
    code: Code,
    etag: Option<Bytes>,
    payload: Bytes,
}

impl Client {
    /// Registers anew what is observed, when nothing has been heard for longer than the last notification is fresh. What the
    /// server then says is an event only when it is something else than before. Over connections nothing is to be renewed.
    pub fn with_renewal(mut self) -> Self {
        self.renews = true;
        self
    }

    /// Asks again where that is due.
    pub(super) fn renew(&mut self, now: Now) {
        for request in self.requests.iter_mut().filter(|request| request.exchange.is_none() && !request.is_waiting) {
            if let Some(renewal) = request.renewal.as_mut().filter(|renewal| renewal.due_ns <= now.mono_ns) {
                renewal.is_under_way = true;
                // The proof of an address holds for a while only.
                request.message.options.remove(number::ECHO);
                (request.is_echoed, request.is_waiting) = (false, true);
                // A server that has forgotten us begins to count anew.
                request.newest = Some((0, 0));
                request.transfer.begin_anew();
            }
        }
    }
}

impl Request {
    /// The validator of what is known already, for a message that renews (RFC 7641 §3.3.1).
    pub(super) fn add_etag(&self, message: &mut Message) {
        let under_way = self.renewal.as_ref().filter(|renewal| renewal.is_under_way && !self.transfer.has_begun());
        if let Some(etag) = under_way.and_then(|renewal| renewal.last.etag.as_ref()) {
            message.options.add(number::ETAG, etag.clone());
        }
    }

    /// Takes note of something told; false when it is nothing new, but the answer to a renewal.
    pub(super) fn note_told(&mut self, now: Now, kind: Kind, told: &Message, entropy: &mut Entropy) -> bool {
        let max_age_s = told.options.uint(number::MAX_AGE).unwrap_or(MAX_AGE_DEFAULT_S);
        let spread_s = entropy.below(SPREAD_S + 1) as u32;
        let due_ns = now.after_s(max_age_s.saturating_add(PATIENCE_S + spread_s));
        let told =
            Last { code: told.code, etag: told.options.get(number::ETAG).cloned(), payload: told.payload.clone() };
        match &mut self.renewal {
            // An acknowledgement answers the renewal itself; everything else may be a change that brought the same again.
            Some(renewal)
                if renewal.is_under_way
                    && (told.code == Code::VALID || kind == Kind::Acknowledgement && told == renewal.last) =>
            {
                (renewal.is_under_way, renewal.due_ns) = (false, due_ns);
                false
            }
            renewal => {
                *renewal = Some(Renewal { due_ns, is_under_way: false, last: told });
                true
            }
        }
    }
}
