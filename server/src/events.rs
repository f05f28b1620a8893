//! `$SYS/broker/clients/CLIENT/connected` and `…/disconnected`: who comes and goes, one JSON object each.
//!
//! Nothing is built or published while nobody is subscribed. What comes faster than [`EVENTS_PER_S`] is left out
//! and counted: an event says how many were missed before it.

use althing_core::authorisation::Principal;
use althing_core::topic::TopicLimits;
use althing_core::{Message, Reason, Topic};
use althing_net::local;
use bytes::Bytes;
use serde::Serialize;
use std::net::SocketAddr;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;

/// Who has come or gone.
#[derive(Debug)]
pub struct Presence {
    principal: Principal,
    what: What,
    at_ms: u64,
    /// How many before it did not come this far.
    missed: u64,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Connected { resumed: bool },
    Disconnected { reason: Reason },
}

impl Presence {
    /// It has come.
    pub fn connected(principal: &Principal, resumed: bool) -> Self {
        Self::new(principal, What::Connected { resumed })
    }

    /// It has gone.
    pub fn disconnected(principal: &Principal, reason: Reason) -> Self {
        Self::new(principal, What::Disconnected { reason })
    }

    fn new(principal: &Principal, what: What) -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { principal: principal.clone(), what, at_ms: since_1970.as_millis() as u64, missed: 0 }
    }

    fn topic(&self) -> Option<Topic> {
        let verb = if let What::Connected { .. } = self.what { "connected" } else { "disconnected" };
        let text = format!("$SYS/broker/clients/{}/{verb}", level(&self.principal.client));
        Topic::new(text.into(), &TopicLimits::default()).ok()
    }

    fn json(&self, missed: u64) -> Vec<u8> {
        let Principal { identity, client, protocol, link } = &self.principal;
        let (resumed, reason) = match self.what {
            What::Connected { resumed } => (Some(resumed), None),
            What::Disconnected { reason } => (None, Some(crate::why::reason_name(reason))),
        };
        let facts = Facts {
            at_ms: self.at_ms,
            client,
            user: identity.name.as_deref(),
            protocol,
            listener: link.listener(),
            address: link.remote,
            tls: link.tls.as_ref().map(|tls| tls.version),
            resumed,
            reason,
            missed,
        };
        // Texts and numbers always have a form.
        serde_json::to_vec(&facts).unwrap_or_default()
    }
}

#[derive(Serialize)]
struct Facts<'a> {
    at_ms: u64,
    client: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    protocol: &'a str,
    listener: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resumed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "is_zero")]
    missed: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A client id as one level of a topic: what would change the topic's meaning is percent-escaped. The id itself
/// stands in the event.
fn level(client: &str) -> String {
    let mut text = String::with_capacity(client.len());
    for letter in client.chars() {
        match letter {
            '/' => text.push_str("%2F"),
            '+' => text.push_str("%2B"),
            '#' => text.push_str("%23"),
            '%' => text.push_str("%25"),
            _ => text.push(letter),
        }
    }
    text
}

/// Events that wait to be published; what comes on top of them is missed.
const WAITING_MAX: usize = 1_024;

/// Events a second, and as many at once after a quiet time.
const EVENTS_PER_S: u32 = 100;

/// The two ends of the line from the shard's host, which must not publish, to the task that does.
pub fn line() -> (Sender, mpsc::Receiver<Presence>) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    (Sender { sender, missed: 0 }, receiver)
}

/// The host's end.
#[derive(Debug)]
pub struct Sender {
    sender: mpsc::Sender<Presence>,
    /// How many did not fit since the last that did.
    missed: u64,
}

impl Sender {
    /// Hands over an event, unless too many wait.
    pub fn send(&mut self, presence: Presence) {
        let presence = Presence { missed: self.missed, ..presence };
        match self.sender.try_send(presence) {
            Ok(()) => self.missed = 0,
            Err(_) => self.missed += 1,
        }
    }
}

/// Publishes what comes, as long as somebody listens.
pub async fn publish(mut events: mpsc::Receiver<Presence>) {
    let mut rate = Rate { allowance: f64::from(EVENTS_PER_S), last: Instant::now() };
    let mut missed = 0;
    while let Some(presence) = events.recv().await {
        let Some(topic) = presence.topic().filter(local::is_heard) else { continue };
        missed += presence.missed;
        if rate.admits(Instant::now()) {
            local::publish(Message::new(topic, Bytes::from(presence.json(missed))));
            missed = 0;
        } else {
            missed += 1;
        }
    }
}

/// A bucket that fills by [`EVENTS_PER_S`].
struct Rate {
    allowance: f64,
    last: Instant,
}

impl Rate {
    fn admits(&mut self, now: Instant) -> bool {
        let rate = f64::from(EVENTS_PER_S);
        self.allowance = (self.allowance + now.duration_since(self.last).as_secs_f64() * rate).min(rate);
        self.last = now;
        let admits = self.allowance >= 1.0;
        if admits {
            self.allowance -= 1.0;
        }
        admits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use althing_core::Link;
    use std::time::Duration;

    fn principal(client: &str) -> Principal {
        let link = Link::new("10.0.0.1:5".parse().ok(), "mqtt");
        Principal { client: client.into(), protocol: "mqtt", link, ..Principal::default() }
    }

    #[test]
    fn an_event_says_who_and_how() {
        let presence = Presence::disconnected(&principal("c"), Reason::ConnectionLost);
        assert_eq!(presence.topic().unwrap().as_str(), "$SYS/broker/clients/c/disconnected");
        let json: serde_json::Value = serde_json::from_slice(&presence.json(3)).unwrap();
        assert_eq!((&json["client"], &json["reason"]), (&"c".into(), &"connection_lost".into()));
        assert_eq!((&json["address"], &json["missed"]), (&"10.0.0.1:5".into(), &3.into()));
        assert!(json.get("resumed").is_none() && json.get("user").is_none());
    }

    #[test]
    fn a_client_id_is_one_level() {
        let topic = Presence::connected(&principal("a/+#%b"), true).topic().unwrap();
        assert_eq!(topic.as_str(), "$SYS/broker/clients/a%2F%2B%23%25b/connected");
    }

    #[test]
    fn the_rate_is_bounded() {
        let start = Instant::now();
        let mut rate = Rate { allowance: 0.0, last: start };
        let admitted = (0..10_000).filter(|ms| rate.admits(start + Duration::from_millis(*ms))).count();
        assert!((990..=1_000).contains(&admitted), "{admitted}");
        let mut rate = Rate { allowance: 0.0, last: start };
        let later = start + Duration::from_secs(3_600);
        assert_eq!((0..1_000).filter(|_| rate.admits(later)).count(), EVENTS_PER_S as usize);
    }
}
