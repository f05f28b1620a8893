//! Looking at a running broker in slices, and what an administrator does to it.

#![allow(clippy::unwrap_used, reason = "a failure of any step fails the test")]

use althing_core::authorisation::Policy;
use althing_core::broker::Broker;
use althing_core::effects::Verdict;
use althing_core::inspect::{SessionQuery, Slice, SubscriptionQuery};
use althing_core::link::Link;
use althing_core::record::Record;
use althing_core::topic::TopicLimits;
use althing_core::verbs::{Connect, PeerId, Publish, Refusal, Subscribe, SubscribeFilter, SubscriptionOptions};
use althing_core::{Answer, Effects, Entropy, Filter, Guarantee, Limits, Message, Now, Reason, Request, Topic};
use std::sync::Arc;

const NOW: Now = Now { mono_ns: 1, wall_ms: 1 };

struct World {
    broker: Broker,
    effects: Effects,
}

impl World {
    fn new() -> Self {
        let limits = Arc::new(Limits::default());
        let broker = Broker::new(0, 1, limits, Arc::new(Policy::open()), Entropy::new(7));
        Self { broker, effects: Effects::default() }
    }

    fn request(&mut self, peer: PeerId, request: Request) {
        self.broker.request(NOW, peer, request, &mut self.effects);
        for verify in std::mem::take(&mut self.effects.verify) {
            let verdict = Verdict::Accept { identity: Arc::default(), data: None };
            self.broker.verified(NOW, verify.peer, verdict, &mut self.effects);
        }
    }

    /// A client that stays for `session_expiry_s` after its connection.
    fn connect(&mut self, slot: u32, client: &str, session_expiry_s: u32) -> PeerId {
        let peer = PeerId { shard: 0, generation: 0, slot };
        let connect = Connect {
            client: Some(client.into()),
            link: Link::new(None, "door"),
            session_expiry_s,
            window: 10,
            number_max: 100,
            ..Connect::new("mqtt")
        };
        self.request(peer, Request::Connect(Box::new(connect)));
        peer
    }

    fn subscribe(&mut self, peer: PeerId, filters: &[&str]) {
        let options = SubscriptionOptions { guarantee: Guarantee::AtLeastOnce, ..Default::default() };
        let filters = filters.iter().map(|text| SubscribeFilter { filter: Ok(filter(text)), options }).collect();
        self.request(peer, Request::Subscribe(Box::new(Subscribe { correlation: 1, filters })));
        self.durable();
    }

    fn publish(&mut self, peer: PeerId, topic: &str, retain: bool) {
        let mut message = Message::new(self::topic(topic), b"x".as_slice().into());
        (message.guarantee, message.retain) = (Guarantee::AtLeastOnce, retain);
        self.request(peer, Request::Publish(Publish { correlation: 1, token: None, message }));
        self.durable();
    }

    fn durable(&mut self) {
        self.broker.stored(NOW, self.effects.ticket, &mut self.effects);
    }
}

fn filter(text: &str) -> Filter {
    Filter::new(text.into(), &TopicLimits::default()).unwrap()
}

fn topic(text: &str) -> Topic {
    Topic::new(text.into(), &TopicLimits::default()).unwrap()
}

/// Everything that slices of this length show.
fn all<T>(slice: impl Fn(u64) -> Slice<T>) -> Vec<T> {
    let (mut items, mut from) = (Vec::new(), Some(0));
    while let Some(place) = from {
        let found = slice(place);
        assert!(found.next.is_none_or(|next| next > place), "a walk goes on");
        items.extend(found.items);
        from = found.next;
    }
    items
}

#[test]
fn slices_of_any_length_show_each_session_once() {
    let mut world = World::new();
    for number in 0..20 {
        world.connect(number, &format!("client-{number:02}"), 0);
    }
    let everyone: Vec<String> = (0..20).map(|number| format!("client-{number:02}")).collect();
    for visits_max in [0, 1, 7, 20, 1_000] {
        let seen = all(|from| world.broker.inspect_sessions(&SessionQuery::default(), from, visits_max));
        let names: Vec<String> = seen.iter().map(|session| session.principal.client.to_string()).collect();
        assert_eq!(names, everyone, "{visits_max}");
    }
    let query = SessionQuery { prefix: "client-1".into(), ..Default::default() };
    assert_eq!(all(|from| world.broker.inspect_sessions(&query, from, 3)).len(), 10);
    for (query, count) in [
        (SessionQuery { connected: Some(false), ..Default::default() }, 0),
        (SessionQuery { protocol: Some("stomp".into()), ..Default::default() }, 0),
        (SessionQuery { listener: Some("door".into()), ..Default::default() }, 20),
        (SessionQuery { user: Some("ann".into()), ..Default::default() }, 0),
    ] {
        assert_eq!(all(|from| world.broker.inspect_sessions(&query, from, 3)).len(), count, "{query:?}");
    }
}

#[test]
fn slices_of_any_length_show_each_subscription_once() {
    let mut world = World::new();
    let mut expected = Vec::new();
    for number in 0..5 {
        let peer = world.connect(number, &format!("client-{number}"), 0);
        let filters = [format!("a/{number}"), "b/#".into(), format!("$share/g/c/{number}"), "d".into()];
        world.subscribe(peer, &filters.each_ref().map(String::as_str)[..number as usize]);
        expected.extend(filters[..number as usize].iter().map(|filter| (format!("client-{number}"), filter.clone())));
    }
    expected.sort();
    for visits_max in [0, 1, 2, 3, 100] {
        let seen = all(|from| world.broker.inspect_subscriptions(&SubscriptionQuery::default(), from, visits_max));
        let mut seen: Vec<(String, String)> =
            seen.iter().map(|it| (it.client.to_string(), it.filter.to_string())).collect();
        seen.sort();
        assert_eq!(seen, expected, "{visits_max}");
    }
    let query = SubscriptionQuery { client: Some("client-3".into()), prefix: "b".into() };
    assert_eq!(all(|from| world.broker.inspect_subscriptions(&query, from, 1)).len(), 1);
}

#[test]
fn last_values_are_seen_and_forgotten_with_a_record() {
    let mut world = World::new();
    let peer = world.connect(0, "a", 0);
    for number in 0..10 {
        world.publish(peer, &format!("last/{number}"), true);
    }
    world.publish(peer, "other", true);
    let wanted = filter("last/#");
    for visits_max in [1, 3, 100] {
        let seen = all(|from| world.broker.inspect_retained(NOW, Some(&wanted), from, visits_max));
        assert_eq!(seen.len(), 10, "{visits_max}");
    }
    world.effects.store.clear();
    let topics = [topic("last/3"), topic("nothing"), topic("last/4")];
    assert_eq!(world.broker.forget_retained(&topics, &mut world.effects), 2);
    assert!(world.broker.inspect_last_value(NOW, &topic("last/3")).is_none());
    assert!(matches!(&world.effects.store[..], [Record::Retained { message: None, .. }, Record::Retained { .. }]));
}

#[test]
fn a_kick_ends_the_connection_and_on_request_the_session() {
    let mut world = World::new();
    world.connect(0, "stays", 100);
    world.connect(1, "goes", 0);
    let why = || Refusal::new(Reason::AdministrativeAction, "because");
    world.effects = Effects::default();
    assert!(world.broker.kick(NOW, ("", "stays"), why(), false, &mut world.effects));
    let closed = |(_, answer): &(PeerId, Answer)| matches!(answer, Answer::Close(refusal) if *refusal == why());
    assert!(world.effects.answers.iter().any(closed));
    assert!(world.broker.inspect_session("", "stays").is_some_and(|session| session.peer.is_none()));
    assert!(!world.broker.kick(NOW, ("", "stays"), why(), false, &mut world.effects), "it is not connected");
    assert!(world.broker.kick(NOW, ("", "stays"), why(), true, &mut world.effects));
    assert!(world.broker.inspect_session("", "stays").is_none());
    // A new session may take the place at once: only the named one ends.
    assert!(world.broker.kick(NOW, ("", "goes"), why(), true, &mut world.effects));
    assert!(!world.broker.kick(NOW, ("", "nobody"), why(), true, &mut world.effects));
    assert_eq!(world.broker.statistics().sessions, 0);
}

#[test]
fn queues_are_seen_and_emptied() {
    let mut world = World::new();
    let publisher = world.connect(0, "publisher", 0);
    for _ in 0..5 {
        world.publish(publisher, "$queue/work", false);
    }
    let worker = world.connect(1, "worker", 0);
    world.subscribe(worker, &["$share/g/t"]);
    let queues = all(|from| world.broker.inspect_queues("", from, 1));
    let seen: Vec<_> =
        queues.iter().map(|it| (&it.filter.text()[..], it.stands, it.messages, it.members_total)).collect();
    assert_eq!(seen, [("$queue/work", true, 5, 0), ("$share/g/t", false, 0, 1)]);
    assert_eq!(queues[1].members[0].client.as_deref(), Some("worker"));
    assert_eq!(all(|from| world.broker.inspect_queues("$queue/", from, 1)).len(), 1);
    assert_eq!(world.broker.purge_queue("$queue/work", 2, &mut world.effects), Some(2));
    assert_eq!(world.broker.statistics().queued_messages, 3);
    assert_eq!(world.broker.purge_queue("$queue/work", 100, &mut world.effects), Some(3));
    assert_eq!(world.broker.purge_queue("$queue/work", 100, &mut world.effects), None, "it is empty, so it is gone");
}

#[test]
fn what_waits_for_a_session_is_emptied() {
    let mut world = World::new();
    let sleeper = world.connect(0, "sleeper", 100);
    world.subscribe(sleeper, &["t"]);
    assert!(world.broker.kick(
        NOW,
        ("", "sleeper"),
        Refusal::new(Reason::AdministrativeAction, ""),
        false,
        &mut world.effects
    ));
    let publisher = world.connect(1, "publisher", 0);
    for _ in 0..3 {
        world.publish(publisher, "t", false);
    }
    assert_eq!(world.broker.inspect_session("", "sleeper").map(|session| session.queue_messages), Some(3));
    world.effects.store.clear();
    assert_eq!(world.broker.purge_session(("", "sleeper"), 10, &mut world.effects), Some(3));
    assert_eq!(world.effects.store.iter().filter(|it| matches!(it, Record::Settled { .. })).count(), 3);
    assert_eq!(world.broker.statistics().queued_bytes, 0);
    assert_eq!(world.broker.purge_session(("", "nobody"), 10, &mut world.effects), None);
}
