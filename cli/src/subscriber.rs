//! A link that subscribes, and that comes back with its subscriptions when the connection was lost.

use crate::connection::Plan;
use crate::exit::{ExitCode, Failure};
use crate::link::{Link, Lost};
use crate::output::Log;
use crate::refusal;
use althing_core::topic::TopicLimits;
use althing_core::{Entropy, Filter, Guarantee};
use althing_mqtt::client::Event;
use althing_mqtt::packet::{Codes, Publish, Subscribe, SubscribeFilter, Unsubscribe};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};
use tokio::time::sleep_until;

/// The first wait before connecting again, doubled each time up to the longest.
const BACKOFF_MIN: Duration = Duration::from_millis(250);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// What a subscriber asks for.
#[derive(Clone, Debug)]
pub struct Wishes {
    /// Filters to subscribe to, as options of SUBSCRIBE (§3.8.3.1).
    pub filters: Vec<SubscribeFilter>,
    /// Filters of a kept session to give up.
    pub unsubscribe: Vec<String>,
    /// Whether a lost connection is opened again.
    pub reconnect: bool,
}

/// A subscribing client.
#[derive(Debug)]
pub struct Subscriber {
    /// The connection; publishing goes there directly.
    pub link: Link,
    wishes: Wishes,
    /// Whether there was a connection before, which makes losing it worth a second try.
    connected_once: bool,
    /// Acknowledgements of SUBSCRIBE and UNSUBSCRIBE that have not come yet.
    unanswered: u8,
    backoff: Backoff,
}

/// What a subscriber learns.
#[derive(Debug)]
pub enum News {
    /// A message, to be acknowledged when it has been dealt with.
    Message(Publish),
    /// Every subscription (and unsubscription) of this connection has been answered.
    Ready,
    /// The end of a publish of ours.
    Published { code: u8 },
}

impl Subscriber {
    /// A subscriber that is not connected yet.
    pub fn new(plan: Plan, log: Log, wishes: Wishes) -> Self {
        Self { link: Link::new(plan, log), wishes, connected_once: false, unanswered: 0, backoff: Backoff::new() }
    }

    /// The next news; connects when need be. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Result<News, Failure> {
        loop {
            if !self.link.is_connected() {
                self.connect().await?;
                if self.unanswered == 0 {
                    return Ok(News::Ready);
                }
            }
            match self.link.next().await {
                Ok(Event::Message(publish)) => return Ok(News::Message(publish)),
                Ok(Event::Published { code, .. }) => return Ok(News::Published { code }),
                Ok(Event::Subscribed(codes)) => {
                    self.check_granted(&codes)?;
                    if self.answered() {
                        return Ok(News::Ready);
                    }
                }
                Ok(Event::Unsubscribed(codes)) => {
                    self.check_given_up(&codes);
                    if self.answered() {
                        return Ok(News::Ready);
                    }
                }
                Ok(_) => {}
                Err(lost) => self.after_loss(&lost)?,
            }
        }
    }

    fn answered(&mut self) -> bool {
        self.unanswered = self.unanswered.saturating_sub(1);
        self.unanswered == 0
    }

    async fn connect(&mut self) -> Result<(), Failure> {
        loop {
            self.backoff.wait().await;
            match self.link.connect().await {
                Ok(connack) => {
                    let resumed = self.connected_once && connack.session_present;
                    self.connected_once = true;
                    self.backoff.reset();
                    return if resumed { Ok(()) } else { self.subscribe() };
                }
                // A refusal will not change by asking again; a broker that restarts will be back.
                Err(failure) if self.connected_once && failure.code == ExitCode::CannotConnect => {
                    let wait = self.backoff.increase();
                    self.link.log().warn(&format!("{}; trying again in {wait:.1?}", failure.text));
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    fn subscribe(&mut self) -> Result<(), Failure> {
        self.unanswered = 0;
        let properties = self.link.plan().properties.clone();
        if !self.wishes.filters.is_empty() {
            let filters = self.wishes.filters.clone();
            let mut subscribe = Subscribe { packet_id: 0, subscription_id: None, user_properties: Vec::new(), filters };
            properties.apply_to_subscribe(&mut subscribe);
            self.link.subscribe(subscribe)?;
            self.unanswered += 1;
        }
        if !self.wishes.unsubscribe.is_empty() {
            let filters = self.wishes.unsubscribe.iter().map(|filter| filter.as_str().into()).collect();
            let mut unsubscribe = Unsubscribe { packet_id: 0, user_properties: Vec::new(), filters };
            properties.apply_to_unsubscribe(&mut unsubscribe);
            self.link.unsubscribe(unsubscribe)?;
            self.unanswered += 1;
        }
        Ok(())
    }

    /// One refused filter is worth a warning, nothing but refused filters ends the command.
    fn check_granted(&self, codes: &Codes) -> Result<(), Failure> {
        let mut refusals = Vec::new();
        for (filter, code) in self.wishes.filters.iter().zip(&codes.codes) {
            if *code >= 0x80 {
                refusals.push(refusal::acknowledgement(&format!("the subscription to {}", filter.filter), *code));
            } else {
                self.link.log().debug(&format!("subscribed to {}, granted QoS {code}", filter.filter));
            }
        }
        if refusals.len() == self.wishes.filters.len() {
            return Err(refusals.swap_remove(0));
        }
        for refusal in refusals {
            self.link.log().warn(&refusal.text);
        }
        Ok(())
    }

    fn check_given_up(&self, codes: &Codes) {
        for (filter, code) in self.wishes.unsubscribe.iter().zip(&codes.codes) {
            if *code >= 0x80 {
                self.link.log().warn(&refusal::acknowledgement(&format!("to unsubscribe from {filter}"), *code).text);
            }
        }
    }

    fn after_loss(&mut self, lost: &Lost) -> Result<(), Failure> {
        let failure = refusal::lost(lost);
        if !self.wishes.reconnect || !refusal::may_reconnect(lost) {
            return Err(failure);
        }
        if self.link.plan().connect.session_expiry_s.is_some_and(|seconds| seconds > 0) {
            self.link.continue_session();
        }
        let wait = self.backoff.increase();
        self.link.log().warn(&format!("{}; trying again in {wait:.1?}", failure.text));
        Ok(())
    }
}

/// Filters from the command line with the options that hold for all of them; errors are usage errors.
pub fn subscribe_filters<'a>(
    filters: impl IntoIterator<Item = &'a String>,
    qos: Guarantee,
    no_local: bool,
    retain_as_published: bool,
) -> Result<Vec<SubscribeFilter>, Failure> {
    let checked = |text: &String| {
        let filter = parse_filter(text)?;
        if no_local && filter.group().is_some() {
            // [MQTT-3.8.3-4]
            return Err(Failure::usage(format!("{text}: a shared subscription cannot have --no-local")));
        }
        let filter = text.as_str().into();
        Ok(SubscribeFilter { filter, qos, no_local, retain_as_published, retain_handling: 0 })
    };
    filters.into_iter().map(checked).collect()
}

/// Checks a topic filter from the command line.
pub fn parse_filter(text: &str) -> Result<Filter, Failure> {
    Filter::new(text.into(), &TopicLimits::default())
        .map_err(|error| Failure::usage(format!("{text:?} is no topic filter: {error}")))
}

/// Waits that grow, with jitter, so that a thousand clients of a restarted broker do not come at once.
#[derive(Debug)]
struct Backoff {
    step: Duration,
    until: Option<Instant>,
    entropy: Entropy,
}

impl Backoff {
    fn new() -> Self {
        Self { step: BACKOFF_MIN, until: None, entropy: entropy() }
    }

    /// Sets the next wait, between half and the whole of the step, and returns it.
    fn increase(&mut self) -> Duration {
        let share = 500 + u32::try_from(self.entropy.below(501)).unwrap_or(500);
        let wait = self.step * share / 1_000;
        self.step = (self.step * 2).min(BACKOFF_MAX);
        self.until = Some(Instant::now() + wait);
        wait
    }

    fn reset(&mut self) {
        self.step = BACKOFF_MIN;
        self.until = None;
    }

    async fn wait(&mut self) {
        if let Some(until) = self.until {
            sleep_until(until.into()).await;
        }
    }
}

/// Entropy from the system, by way of the standard library's random hash keys.
pub fn entropy() -> Entropy {
    Entropy::new(RandomState::new().build_hasher().finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_start_over() {
        let mut backoff = Backoff::new();
        let first = backoff.increase();
        assert!(first >= BACKOFF_MIN / 2 && first <= BACKOFF_MIN);
        let waits: Vec<Duration> = (0..20).map(|_| backoff.increase()).collect();
        assert!(waits.iter().all(|wait| *wait <= BACKOFF_MAX));
        assert!(waits[19] >= BACKOFF_MAX / 2);
        backoff.reset();
        assert!(backoff.increase() <= BACKOFF_MIN);
    }

    #[test]
    fn filters_are_checked_before_anything_connects() {
        let filters =
            |text: &str, no_local| subscribe_filters([&text.to_owned()], Guarantee::AtMostOnce, no_local, false);
        assert!(filters("a/#/b", false).is_err());
        assert!(filters("$share/g/a", false).is_ok());
        assert!(filters("$share/g/a", true).is_err());
    }
}
