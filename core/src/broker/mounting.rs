//! Mount points: the part of the topic space that the peers of one listener have for themselves.
//!
//! What such a session asks for is put under its mount point before anything else looks at it, so that rules, subscriptions,
//! last values and the store know whole topics only; what it receives is taken off again as the last thing. The broker's own
//! topics stay outside: under a mount point nobody writes them and nobody sees them.

use super::Broker;
use super::delivery::Incoming;
use crate::effects::{Delivery, Effects};
use crate::message::{Message, Properties};
use crate::session::Session;
use crate::time::Now;
use crate::topic::{Filter, Topic, TopicError, TopicLimits};
use crate::verbs::{Answer, Connect, Publish, Reason, Refusal, Request};
use bytestring::ByteString;
use std::sync::Arc;

/// Queues are told from other topics by this, so that a mount point comes after it.
const QUEUE: &str = "$queue/";

/// Into the whole topic space.
impl Broker {
    /// A request of a mounted session, under its mount point. What does not fit there is answered here.
    pub(super) fn mount(&self, index: u32, request: Request) -> Result<Request, Answer> {
        let Some(session) = self.sessions.get(index) else { return Ok(request) };
        let Some(mount_point) = session.mount_point() else { return Ok(request) };
        let limits = &self.limits.topic;
        let mounted = |filter: Result<Filter, Reason>| {
            filter.and_then(|filter| under(mount_point, &filter, limits).map_err(|_| Reason::TopicFilterInvalid))
        };
        Ok(match request {
            Request::Publish(publish) => Request::Publish(mount_publish(mount_point, publish, limits)?),
            // Configurations are of whole topics.
            Request::Configure(Publish { message, correlation, .. }) => {
                let refusal = Refusal::new(Reason::NotAuthorised, "topics under a mount point are not configured");
                let guarantee = message.guarantee;
                return Err(Answer::Published { correlation, guarantee, outcome: Err(refusal) });
            }
            Request::Subscribe(mut subscribe) => {
                for one in &mut subscribe.filters {
                    one.filter = mounted(std::mem::replace(&mut one.filter, Err(Reason::TopicFilterInvalid)));
                }
                Request::Subscribe(subscribe)
            }
            Request::Unsubscribe(mut unsubscribe) => {
                unsubscribe.filters = unsubscribe.filters.into_iter().map(mounted).collect();
                Request::Unsubscribe(unsubscribe)
            }
            Request::Fetch { correlation, topic } => match topic_under(mount_point, &topic, limits) {
                Ok(topic) => Request::Fetch { correlation, topic },
                Err(refusal) => return Err(Answer::Fetched { correlation, outcome: Err(refusal) }),
            },
            other => other,
        })
    }

    /// The will of a peer that comes in under a mount point.
    pub(super) fn mount_will(&self, connect: &mut Connect) -> Result<(), Refusal> {
        let mount_point = &connect.link.entrance.mount_point;
        match &mut connect.will {
            Some(will) if !mount_point.is_empty() => mount_message(mount_point, &mut will.message, &self.limits.topic),
            _ => Ok(()),
        }
    }

    /// Has a delivery leave, as its peer knows it.
    pub(super) fn send(&self, index: u32, delivery: Delivery, effects: &mut Effects) {
        let mount_point = self.sessions.get(index).and_then(Session::mount_point);
        effects.deliveries.push(shown_under(mount_point.map(|mount_point| &mount_point[..]), delivery));
    }

    /// What is on its way to a session that came back through another listener, and not for it any more, is over.
    pub(super) fn forget_not_mounted(&mut self, now: Now, index: u32, effects: &mut Effects) {
        let Some(session) = self.sessions.get_mut(index).filter(|session| session.is_mounted) else { return };
        let mut over = Vec::new();
        for _ in 0..session.inflight.len() {
            let Some(inflight) = session.inflight.pop_front() else { break };
            match inflight.entry {
                Some(entry) if !session.hears(&entry.message.topic) => over.push(entry),
                entry => session.inflight.push_back(crate::session::Inflight { entry, ..inflight }),
            }
        }
        self.statistics.inflight_messages -= over.len() as u64;
        for entry in over {
            self.dropped(index, NOT_MOUNTED, effects);
            self.entry_over(index, &entry, effects);
            self.settle_group(now, index, &entry, effects);
        }
    }
}

/// Why a mounted session does not get a message.
pub(super) const NOT_MOUNTED: &str = "it is not under the mount point of the listener";

fn mount_publish(mount_point: &str, mut publish: Publish, limits: &TopicLimits) -> Result<Publish, Answer> {
    let (correlation, guarantee) = (publish.correlation, publish.message.guarantee);
    match mount_message(mount_point, &mut publish.message, limits) {
        Ok(()) => Ok(publish),
        Err(refusal) => Err(Answer::Published { correlation, guarantee, outcome: Err(refusal) }),
    }
}

fn mount_message(mount_point: &str, message: &mut Message, limits: &TopicLimits) -> Result<(), Refusal> {
    // The broker's own topics stay what they are: nobody may write them.
    if !message.topic.is_reserved() || message.topic.queue().is_some() {
        message.topic = topic_under(mount_point, &message.topic, limits)?;
    }
    if let Some(properties) = &mut message.properties
        && let Some(topic) = &properties.response_topic
    {
        let response_topic = Some(topic_under(mount_point, topic, limits)?);
        *properties = Arc::new(Properties { response_topic, ..Properties::clone(properties) });
    }
    Ok(())
}

fn topic_under(mount_point: &str, topic: &Topic, limits: &TopicLimits) -> Result<Topic, Refusal> {
    Topic::new(text_under(mount_point, topic.as_str()), limits).map_err(|why| {
        Refusal::new(Reason::TopicNameInvalid, format!("{why}, with the mount point {mount_point} before it"))
    })
}

fn under(mount_point: &str, filter: &Filter, limits: &TopicLimits) -> Result<Filter, TopicError> {
    let pattern = text_under(mount_point, filter.pattern());
    match filter.group() {
        Some(group) => Filter::new(format!("$share/{group}/{pattern}").into(), limits),
        None => Filter::new(pattern, limits),
    }
}

fn text_under(mount_point: &str, text: &str) -> ByteString {
    match text.strip_prefix(QUEUE) {
        Some(name) => format!("{QUEUE}{mount_point}{name}").into(),
        None => format!("{mount_point}{text}").into(),
    }
}

/// Back to what the peer knows.
impl Session {
    /// Where its topics are, if they are not the whole ones.
    pub(super) fn mount_point(&self) -> Option<&ByteString> {
        self.is_mounted.then_some(&self.principal.link.entrance.mount_point)
    }

    /// Whether a message of this topic may be for it: all are, unless it is mounted elsewhere.
    pub(super) fn hears(&self, topic: &Topic) -> bool {
        self.mount_point().is_none_or(|mount_point| shown_topic(mount_point, topic).is_some())
    }

    /// A message as its peer knows it, made once for all receivers with the same mount point.
    pub(super) fn shown(&self, incoming: &mut Incoming) -> Arc<Message> {
        let Some(mount_point) = self.mount_point() else { return incoming.message.clone() };
        match &incoming.shown {
            Some((known, shown)) if known == mount_point => shown.clone(),
            _ => {
                let shown = unmounted(mount_point, &incoming.message);
                incoming.shown = Some((mount_point.clone(), shown.clone()));
                shown
            }
        }
    }

    /// An answer as its peer knows it.
    pub(super) fn show_answer(&self, answer: &mut Answer) {
        if let (Answer::Fetched { outcome: Ok(Some(message)), .. }, Some(mount_point)) = (answer, self.mount_point()) {
            *message = unmounted(mount_point, message);
        }
    }
}

/// A delivery as a peer under this mount point knows it.
pub(super) fn shown_under(mount_point: Option<&str>, mut delivery: Delivery) -> Delivery {
    if let Some(mount_point) = mount_point {
        delivery.message = unmounted(mount_point, &delivery.message);
    }
    delivery
}

/// `message` without the mount point. One that is elsewhere is not shown to begin with.
fn unmounted(mount_point: &str, message: &Arc<Message>) -> Arc<Message> {
    let Some(topic) = shown_topic(mount_point, &message.topic) else { return message.clone() };
    let mut shown = Message { topic, ..Message::clone(message) };
    if let Some(properties) = &mut shown.properties
        && let Some(topic) = &properties.response_topic
    {
        // Where nobody here can publish an answer, none is asked for.
        let response_topic = shown_topic(mount_point, topic);
        *properties = Arc::new(Properties { response_topic, ..Properties::clone(properties) });
    }
    Arc::new(shown)
}

/// The topic without the mount point, unless it is elsewhere, or would look like one of the broker's own.
fn shown_topic(mount_point: &str, topic: &Topic) -> Option<Topic> {
    if let Some(queue) = topic.queue() {
        return Topic::again(format!("{QUEUE}{}", queue.strip_prefix(mount_point)?).into());
    }
    let shown = topic.as_str().strip_prefix(mount_point).filter(|shown| !shown.starts_with('$'))?;
    Topic::again(topic.text().slice_ref(shown))
}
