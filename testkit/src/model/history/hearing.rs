//! What the stations hear and receive, taken down.

use super::{History, Waiting};
use crate::house::{Heard, Received};
use crate::model::{Copy, Session, Span, Stretch};
use althing_mqtt::packet::Version;

impl History<'_> {
    /// Takes down what the stations have heard and received.
    pub(super) fn observe(&mut self) {
        for index in 0..self.actors.len() {
            let station = self.house.at(self.actors[index].id);
            let heard = station.heard[self.actors[index].heard..].to_vec();
            let received = station.received[self.actors[index].received..].to_vec();
            self.actors[index].heard += heard.len();
            self.actors[index].received += received.len();
            for (step, heard) in heard {
                self.hear(index, step, heard);
            }
            self.story.stations[index].copies.extend(received.into_iter().filter_map(copy));
        }
        self.observe_crashes();
    }

    fn hear(&mut self, index: usize, step: u64, heard: Heard) {
        let actor = &mut self.actors[index];
        let biography = &mut self.story.stations[index];
        match heard {
            Heard::Connected(connack) => {
                let Some(attempt) = actor.attempt.take() else { panic!("station {index}: CONNACK without CONNECT") };
                assert_eq!(connack.code, 0, "station {index} is refused: {connack:?}");
                if actor.version >= Version::V311 {
                    assert_eq!(connack.session_present, attempt.expects_session, "station {index}: session present");
                }
                actor.connected = true;
                biography.stretches.push(Stretch { from: step, until: None });
                if let Some(number) = actor.will_in_doubt.take().filter(|_| attempt.expects_session) {
                    self.story.publications[number].span = Span::open(u64::MAX); // cancelled
                }
                if !attempt.expects_session {
                    let count = biography.sessions.len();
                    biography.sessions[count - 1].begin = Span { begin: attempt.begin, end: Some(step) };
                    if let Some(before) = count.checked_sub(2).map(|before| &mut biography.sessions[before]) {
                        close_session(before, step);
                    }
                }
            }
            Heard::Acknowledged { token, codes } => self.acknowledged(index, step, token, &codes),
            Heard::Closed => {
                let quietly = !actor.connected && actor.attempt.is_none();
                assert!(quietly, "station {index}: the house closed the connection");
            }
            Heard::Disconnected(_) | Heard::Auth(_) | Heard::Failed(_) => panic!("station {index}: {heard:?}"),
        }
    }

    fn acknowledged(&mut self, index: usize, step: u64, token: u64, codes: &[u8]) {
        match self.actors[index].waiting.remove(&token) {
            Some(Waiting::Publication(number)) => {
                let published = &mut self.story.publications[number];
                let accepted = codes.iter().all(|code| *code < 0x80);
                assert_eq!(accepted, published.allowed, "publication {number}, codes {codes:x?}: {published:?}");
                published.span.end = Some(step);
            }
            Some(Waiting::Subscriptions { session, first, count }) => {
                let holdings = &mut self.story.stations[index].sessions[session].holdings[first..first + count];
                assert_eq!(codes.len(), count, "station {index}: one code a filter");
                for (place, code) in codes.iter().enumerate() {
                    let holding = &mut holdings[place];
                    holding.refused = *code >= 0x80;
                    holding.from.end = Some(step);
                    let right =
                        holding.refused && !self.story.policy.rules.is_empty() || *code == holding.options.qos as u8;
                    assert!(right, "station {index} subscribed {holding:?} and heard {code:#x}");
                }
                self.replaced(index, session, first, count, step);
            }
            Some(Waiting::Unsubscription { session, holdings }) => {
                for place in holdings {
                    let holding = &mut self.story.stations[index].sessions[session].holdings[place];
                    if let Some(until) = &mut holding.until {
                        until.end.get_or_insert(step);
                    }
                }
            }
            None => {}
        }
    }

    /// What stood under the same filters before is over, or, after a refusal, may stand on.
    fn replaced(&mut self, index: usize, session: usize, first: usize, count: usize, step: u64) {
        let holdings = &mut self.story.stations[index].sessions[session].holdings;
        for place in first..first + count {
            let (wanted, refused) = (holdings[place].filter.clone(), holdings[place].refused);
            for old in holdings[..first].iter_mut().filter(|old| old.filter == wanted) {
                if let Some(until) = old.until.as_mut().filter(|_| !refused) {
                    until.end.get_or_insert(step);
                }
            }
        }
    }
}

fn close_session(session: &mut Session, step: u64) {
    if let Some(end) = &mut session.end {
        end.end.get_or_insert(step);
    }
    for until in session.holdings.iter_mut().filter_map(|holding| holding.until.as_mut()) {
        until.end.get_or_insert(step);
    }
}

/// A received message in the words of the story; empty ones cannot be told apart and are left out.
fn copy(received: Received) -> Option<Copy> {
    let publish = received.publish;
    let text = std::str::from_utf8(&publish.payload).ok()?;
    let mut identifiers = publish.subscription_ids;
    identifiers.sort_unstable();
    Some(Copy {
        step: received.step,
        mono_ns: received.mono_ns,
        publication: text.strip_prefix('#')?.parse().ok()?,
        topic: publish.topic?,
        guarantee: publish.qos,
        retain: publish.retain,
        duplicate: publish.dup,
        identifiers,
        expiry_s: publish.message_expiry_s,
    })
}
