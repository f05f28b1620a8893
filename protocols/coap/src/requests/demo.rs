//! What resources for learners do after the request: the time that ticks, the answer that comes later.

use super::{Conversation, Cut, Hall, Notification, Pending, Said};
use crate::message::{Code, Token};
use crate::resources::demo::{self, Demo};
use crate::resources::{Response, numbered};
use althing_core::{Guarantee, Now};
use bytes::Bytes;

/// Observers of `/time` hear it this often.
const TICK_S: u32 = 5;

/// How long `/other/separate` takes.
const SEPARATE_AFTER_S: u32 = 3;

/// What a conversation owes of the resources for learners.
#[derive(Debug, Default)]
pub(super) struct Demonstration {
    ticking: Vec<Ticking>,
    /// Answers that come later, and when.
    separate: Vec<(Pending, u64)>,
}

/// An observation of `/time`.
#[derive(Debug)]
struct Ticking {
    token: Token,
    cut: Cut,
    next_ns: u64,
}

impl Demonstration {
    pub fn is_empty(&self) -> bool {
        self.ticking.is_empty() && self.separate.is_empty()
    }

    pub fn due_ns(&self) -> u64 {
        let ticking = self.ticking.iter().map(|ticking| ticking.next_ns);
        ticking.chain(self.separate.iter().map(|(_, due_ns)| *due_ns)).min().unwrap_or(u64::MAX)
    }

    /// Forgets everything; how many observations that were.
    pub fn clear(&mut self) -> usize {
        std::mem::take(self).ticking.len()
    }

    /// The observers of `/time`.
    pub fn tokens(&self) -> Vec<Token> {
        self.ticking.iter().map(|ticking| ticking.token).collect()
    }

    /// Forgets one observer; whether there was one.
    pub fn forget(&mut self, token: Token) -> bool {
        let place = self.ticking.iter().position(|ticking| ticking.token == token);
        place.map(|place| self.ticking.remove(place)).is_some()
    }
}

impl Conversation {
    pub(super) fn demonstrate(&mut self, demo: Demo, pending: Pending, hall: &mut Hall<'_>) {
        let response = match demo {
            Demo::Separate if self.demonstration.separate.len() >= hall.site.common.config.pending_per_endpoint_max => {
                Response::error(Code::SERVICE_UNAVAILABLE, "as many answers wait as may")
            }
            Demo::Separate => {
                let due_ns = hall.now.after_s(SEPARATE_AFTER_S);
                return self.demonstration.separate.push((pending, due_ns));
            }
            Demo::ObserveTime => self.observe_time(&pending, hall),
            Demo::ForgetTime => {
                self.end_observation(pending.token, hall);
                demo::time(hall.now)
            }
            Demo::ReadBlock => demo::text(hall.site.common.demo_block()),
            Demo::WriteBlock(value) if value.len() > demo::BLOCK_BYTES_MAX => {
                Response::error(Code::REQUEST_ENTITY_TOO_LARGE, "this value is for learners, and has 64 KiB at most")
            }
            Demo::WriteBlock(value) => {
                hall.site.common.set_demo_block(value);
                Response::new(Code::CHANGED)
            }
        };
        self.respond(pending, response, hall);
    }

    /// The time, with Observe unless there are as many observations as may be (RFC 7641 §4.1).
    fn observe_time(&mut self, pending: &Pending, hall: &mut Hall<'_>) -> Response {
        self.end_observation(pending.token, hall);
        let response = demo::time(hall.now);
        if !hall.site.observation_begins(self.address) {
            return response;
        }
        let next_ns = next_tick_ns(hall.now);
        self.demonstration.ticking.push(Ticking { token: pending.token, cut: pending.cut.of_notifications(), next_ns });
        let sequence = self.take_sequence();
        numbered(response, sequence)
    }

    /// What is due now.
    pub(super) fn demonstrate_due(&mut self, hall: &mut Hall<'_>) {
        let now_ns = hall.now.mono_ns;
        let is_due = |(_, due_ns): &mut (Pending, u64)| *due_ns <= now_ns;
        let due: Vec<(Pending, u64)> = self.demonstration.separate.extract_if(.., is_due).collect();
        for (pending, _) in due {
            self.respond(pending, demo::text(Bytes::from_static(b"it took a while, and here it is")), hall);
        }
        for place in 0..self.demonstration.ticking.len() {
            if self.demonstration.ticking[place].next_ns <= now_ns {
                let sequence = self.take_sequence();
                let ticking = &mut self.demonstration.ticking[place];
                ticking.next_ns = next_tick_ns(hall.now);
                let response = numbered(demo::time(hall.now), sequence);
                let (response, _) = ticking.cut.apply(response, self.carriage, &hall.site.common.config);
                hall.said.push_back(Said::Notification(Notification {
                    token: ticking.token,
                    response,
                    guarantee: Guarantee::AtMostOnce,
                    observer_check_s: hall.site.common.config.observer_check_s,
                    settles: 0,
                    is_last: false,
                }));
            }
        }
    }
}

fn next_tick_ns(now: Now) -> u64 {
    now.after_s(TICK_S)
}
