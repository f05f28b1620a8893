//! The broker alone, spoken to in verbs.

use althing_core::broker::{Broker, Pace};
use althing_core::effects::{Delivery, Effects, Verdict};
use althing_core::limits::Overflow;
use althing_core::message::{Guarantee, Message};
use althing_core::topic::{Filter, Topic, TopicLimits};
use althing_core::verbs::*;
use althing_core::{Entropy, Limits, Now, authorisation::Policy};
use std::sync::Arc;

struct Bench {
    broker: Broker,
    effects: Effects,
    now: Now,
}

fn peer(slot: u32) -> PeerId {
    PeerId { shard: 0, generation: 0, slot }
}

fn topic(text: &str) -> Topic {
    Topic::new(text.to_owned().into(), &TopicLimits::default()).expect("a valid name")
}

impl Bench {
    fn new(limits: Limits) -> Self {
        let broker = Broker::new(0, 1, Arc::new(limits), Arc::new(Policy::open()), Entropy::new(7));
        Self { broker, effects: Effects::default(), now: Now { mono_ns: 1, wall_ms: 1 } }
    }

    fn request(&mut self, slot: u32, request: Request) {
        self.broker.request(self.now, peer(slot), request, &mut self.effects);
    }

    fn connect(&mut self, slot: u32, client: &str, expiry_s: u32, window: u16) -> Connected {
        self.connect_with(slot, client, |connect| (connect.session_expiry_s, connect.window) = (expiry_s, window))
    }

    fn connect_with(&mut self, slot: u32, client: &str, change: impl FnOnce(&mut Connect)) -> Connected {
        let mut connect = Connect {
            client: Some(client.to_owned().into()),
            clean_start: false,
            window: 10,
            number_max: 65_535,
            ..Connect::new("mqtt")
        };
        change(&mut connect);
        self.request(slot, Request::Connect(Box::new(connect)));
        assert_eq!(self.effects.verify.drain(..).count(), 1);
        let accept = Verdict::Accept { identity: Default::default(), data: None };
        self.broker.verified(self.now, peer(slot), accept, &mut self.effects);
        self.store();
        let position = self
            .effects
            .answers
            .iter()
            .position(|(to, answer)| *to == peer(slot) && matches!(answer, Answer::Connected(_)))
            .expect("an answer to connect");
        match self.effects.answers.remove(position).1 {
            Answer::Connected(connected) => *connected,
            other => panic!("{other:?}"),
        }
    }

    fn store(&mut self) {
        if !self.effects.store.is_empty() {
            self.effects.store.clear();
            self.broker.stored(self.now, self.effects.ticket, &mut self.effects);
        }
    }

    fn subscribe(&mut self, slot: u32, filter: &str, guarantee: Guarantee) {
        let filter = Filter::new(filter.to_owned().into(), &TopicLimits::default()).map_err(|_| Reason::Unspecified);
        let options = SubscriptionOptions { guarantee, ..Default::default() };
        let filters = vec![SubscribeFilter { filter, options }];
        self.request(slot, Request::Subscribe(Box::new(Subscribe { correlation: 1, filters })));
    }

    fn publish(&mut self, slot: u32, name: &str, payload: &'static str, guarantee: Guarantee, retain: bool) {
        let mut message = Message::new(topic(name), payload.into());
        (message.guarantee, message.retain) = (guarantee, retain);
        let token = (guarantee == Guarantee::ExactlyOnce).then_some(9);
        self.request(slot, Request::Publish(Publish { message, token, correlation: 9 }));
    }

    fn deliveries(&mut self) -> Vec<(u32, String, u32, bool)> {
        let show = |d: Delivery| {
            (d.peer.slot, String::from_utf8_lossy(&d.message.payload).into_owned(), d.number, d.duplicate)
        };
        self.effects.deliveries.drain(..).map(show).collect()
    }

    fn lose(&mut self, slot: u32) {
        let lost = Disconnect { publish_will: true, session_expiry_s: None, reason: Reason::ConnectionLost };
        self.request(slot, Request::Disconnect(lost));
    }
}

fn delivered(slot: u32, payload: &str, number: u32, duplicate: bool) -> (u32, String, u32, bool) {
    (slot, payload.to_owned(), number, duplicate)
}

#[test]
fn a_message_reaches_its_subscriber_and_the_publisher_hears_of_it() {
    let mut bench = Bench::new(Limits::default());
    bench.connect(1, "subscriber", 0, 10);
    bench.connect(2, "publisher", 0, 10);
    bench.subscribe(1, "a/+", Guarantee::AtLeastOnce);
    bench.effects.answers.clear();
    bench.publish(2, "a/b", "hi", Guarantee::AtLeastOnce, false);
    assert_eq!(bench.deliveries(), [delivered(1, "hi", 1, false)]);
    assert!(matches!(
        bench.effects.answers[..],
        [(to, Answer::Published { correlation: 9, outcome: Ok(Accepted { matched: true }), .. })] if to == peer(2)
    ));
}

#[test]
fn the_window_holds_back_what_is_not_settled() {
    let mut bench = Bench::new(Limits::default());
    bench.connect(1, "s", 0, 2);
    bench.connect(2, "p", 0, 10);
    bench.subscribe(1, "t", Guarantee::AtLeastOnce);
    for payload in ["1", "2", "3", "4"] {
        bench.publish(2, "t", payload, Guarantee::AtLeastOnce, false);
    }
    assert_eq!(bench.deliveries(), [delivered(1, "1", 1, false), delivered(1, "2", 2, false)]);
    bench.request(1, Request::Settle { number: 2, outcome: Outcome::Accept });
    assert_eq!(bench.deliveries(), [delivered(1, "3", 3, false)]);
    bench.request(1, Request::Settle { number: 1, outcome: Outcome::Accept });
    assert_eq!(bench.deliveries(), [delivered(1, "4", 4, false)]);
}

#[test]
fn an_acknowledgement_waits_for_the_store_when_a_lasting_session_is_concerned() {
    let mut bench = Bench::new(Limits::default());
    bench.connect(1, "lasting", 100, 10);
    bench.connect(2, "p", 0, 10);
    bench.subscribe(1, "t", Guarantee::AtLeastOnce);
    bench.store();
    bench.lose(1);
    bench.effects.answers.clear();
    bench.publish(2, "t", "kept", Guarantee::AtLeastOnce, false);
    assert!(bench.effects.answers.is_empty(), "no PUBACK before the store has it");
    bench.store();
    assert!(matches!(bench.effects.answers[..], [(_, Answer::Published { outcome: Ok(_), .. })]));
    let connected = bench.connect(3, "lasting", 100, 10);
    assert!(connected.session_present);
    assert_eq!(bench.deliveries(), [delivered(3, "kept", 1, false)]);
    bench.lose(3);
    bench.connect(4, "lasting", 100, 10);
    assert_eq!(bench.deliveries(), [delivered(4, "kept", 1, true)]);
    bench.request(4, Request::Settle { number: 1, outcome: Outcome::Accept });
    bench.lose(4);
    bench.connect(5, "lasting", 100, 10);
    assert_eq!(bench.deliveries(), []);
    assert_eq!(bench.broker.statistics().queued_bytes, 0);
}

#[test]
fn retained_values_come_with_a_wildcard_subscription() {
    let mut bench = Bench::new(Limits::default());
    bench.connect(1, "p", 0, 10);
    bench.publish(1, "a/1", "one", Guarantee::AtLeastOnce, true);
    bench.publish(1, "a/2", "two", Guarantee::AtMostOnce, true);
    bench.publish(1, "a/2", "", Guarantee::AtMostOnce, true);
    bench.store();
    bench.connect(2, "s", 0, 10);
    bench.subscribe(2, "a/#", Guarantee::AtMostOnce);
    assert_eq!(bench.deliveries(), [delivered(2, "one", 0, false)]);
}

#[test]
fn a_group_shares_and_takes_back_what_a_lost_member_had() {
    let mut bench = Bench::new(Limits::default());
    bench.connect(1, "m1", 0, 2);
    bench.connect(2, "m2", 0, 2);
    bench.connect(3, "p", 0, 10);
    bench.subscribe(1, "$share/g/t", Guarantee::AtLeastOnce);
    bench.subscribe(2, "$share/g/t", Guarantee::AtLeastOnce);
    for payload in ["1", "2", "3", "4", "5"] {
        bench.publish(3, "t", payload, Guarantee::AtLeastOnce, false);
    }
    let shared = bench.deliveries();
    assert_eq!(shared.iter().filter(|delivery| delivery.0 == 1).count(), 2);
    assert_eq!(shared.iter().filter(|delivery| delivery.0 == 2).count(), 2);
    bench.lose(1);
    bench.request(2, Request::Settle { number: 1, outcome: Outcome::Accept });
    bench.request(2, Request::Settle { number: 2, outcome: Outcome::Accept });
    bench.request(2, Request::Settle { number: 3, outcome: Outcome::Accept });
    let again: Vec<String> = bench.deliveries().into_iter().map(|delivery| delivery.1).collect();
    assert_eq!(again, ["1", "3", "5"]);
}

#[test]
fn everything_is_freed_when_the_sessions_are_gone() {
    let mut bench = Bench::new(Limits::default());
    for slot in 0..20 {
        bench.connect(slot, &format!("c{slot}"), 0, 10);
        for filter in ["a/+/c", "#", "$share/g/a/b", "x"] {
            bench.subscribe(slot, filter, Guarantee::ExactlyOnce);
        }
    }
    bench.publish(3, "a/b", "x", Guarantee::ExactlyOnce, false);
    for slot in 0..20 {
        bench.lose(slot);
    }
    let statistics = bench.broker.statistics();
    assert_eq!(
        (statistics.sessions, statistics.subscriptions, statistics.shared_subscriptions, statistics.queued_messages),
        (0, 0, 0, 0)
    );
    assert_eq!((statistics.inflight_messages, statistics.queued_bytes, statistics.peers), (0, 0, 0));
}

#[test]
fn publishers_wait_for_a_subscriber_whose_queue_is_long_and_no_longer_than_agreed() {
    let limits = Limits { queue_high_messages: 4, stall_ms: 1_000, ..Limits::default() };
    let mut bench = Bench::new(limits);
    bench.connect(1, "s", 0, 1);
    bench.connect(2, "p", 0, 10);
    bench.subscribe(1, "t", Guarantee::AtLeastOnce);
    for _ in 0..5 {
        bench.publish(2, "t", "x", Guarantee::AtLeastOnce, false);
    }
    assert_eq!(bench.effects.pause, []);
    bench.publish(2, "t", "x", Guarantee::AtLeastOnce, false);
    assert_eq!(bench.effects.pause, [(peer(2), peer(1))]);
    for number in 1..=3 {
        assert_eq!(bench.effects.resume, []);
        bench.request(1, Request::Settle { number, outcome: Outcome::Accept });
    }
    assert_eq!(bench.effects.resume, [peer(1)]);

    bench.effects = Effects::default();
    for _ in 0..3 {
        bench.publish(2, "t", "x", Guarantee::AtLeastOnce, false);
    }
    assert_eq!(bench.effects.pause.len(), 1);
    bench.now.mono_ns += 1_000_000_000;
    bench.publish(2, "t", "x", Guarantee::AtLeastOnce, false);
    assert_eq!(bench.effects.pause.len(), 1, "it has stalled: nobody waits for it");
}

#[test]
fn a_queue_stands_without_members_and_keeps_what_nobody_has_taken() {
    let mut bench = Bench::new(Limits::default());
    bench.connect(1, "p", 0, 10);
    for (payload, guarantee) in [("1", Guarantee::AtLeastOnce), ("2", Guarantee::AtMostOnce)] {
        bench.publish(1, "$queue/q", payload, guarantee, false);
    }
    bench.store();
    assert_eq!((bench.broker.statistics().queues, bench.broker.statistics().queued_messages), (1, 2));
    bench.connect(2, "c", 0, 10);
    bench.subscribe(2, "$queue/q", Guarantee::AtLeastOnce);
    assert_eq!(bench.deliveries(), [delivered(2, "1", 1, false), delivered(2, "2", 0, false)]);
    bench.lose(2);
    assert_eq!(bench.deliveries(), []);
    assert_eq!(bench.broker.statistics().queued_messages, 1, "what was not settled is back");
    bench.connect(3, "d", 0, 10);
    bench.subscribe(3, "$queue/q", Guarantee::AtLeastOnce);
    assert_eq!(bench.deliveries(), [delivered(3, "1", 1, false)]);
    bench.request(3, Request::Settle { number: 1, outcome: Outcome::Accept });
    bench.lose(3);
    let statistics = bench.broker.statistics();
    assert_eq!((statistics.queues, statistics.queued_messages, statistics.queued_bytes), (0, 0, 0));
}

#[test]
fn consumers_of_a_queue_compete_within_their_windows() {
    let mut bench = Bench::new(Limits::default());
    bench.connect(1, "p", 0, 10);
    bench.connect(2, "c1", 0, 1);
    bench.connect(3, "c2", 0, 2);
    bench.subscribe(2, "$queue/q", Guarantee::AtLeastOnce);
    bench.subscribe(3, "$queue/q", Guarantee::AtLeastOnce);
    for payload in ["1", "2", "3", "4"] {
        bench.publish(1, "$queue/q", payload, Guarantee::AtLeastOnce, false);
    }
    let taken = bench.deliveries();
    assert_eq!(taken, [delivered(2, "1", 1, false), delivered(3, "2", 1, false), delivered(3, "3", 2, false)]);
    bench.request(2, Request::Settle { number: 1, outcome: Outcome::Accept });
    assert_eq!(bench.deliveries(), [delivered(2, "4", 2, false)]);
}

#[test]
fn what_is_released_goes_to_whoever_is_next() {
    let mut bench = Bench::new(Limits::default());
    bench.connect(1, "p", 0, 10);
    bench.connect(2, "c1", 0, 1);
    bench.connect(3, "c2", 0, 1);
    bench.subscribe(2, "$queue/q", Guarantee::AtLeastOnce);
    bench.subscribe(3, "$queue/q", Guarantee::AtLeastOnce);
    bench.publish(1, "$queue/q", "1", Guarantee::AtLeastOnce, false);
    assert_eq!(bench.deliveries(), [delivered(2, "1", 1, false)]);
    bench.request(2, Request::Settle { number: 1, outcome: Outcome::Release });
    assert_eq!(bench.deliveries(), [delivered(3, "1", 1, false)]);
    bench.request(3, Request::Settle { number: 1, outcome: Outcome::Release });
    assert_eq!(bench.deliveries(), [delivered(2, "1", 2, false)]);
    bench.request(2, Request::Settle { number: 2, outcome: Outcome::Reject });
    bench.lose(2);
    bench.lose(3);
    assert_eq!((bench.broker.statistics().queues, bench.broker.statistics().inflight_messages), (0, 0));
}

#[test]
fn a_lasting_session_gets_again_what_it_released_before_what_waits() {
    let mut bench = Bench::new(Limits::default());
    bench.connect(1, "p", 0, 10);
    bench.connect(2, "s", 100, 2);
    bench.subscribe(2, "t", Guarantee::AtLeastOnce);
    for payload in ["1", "2", "3"] {
        bench.publish(1, "t", payload, Guarantee::AtLeastOnce, false);
    }
    bench.store();
    assert_eq!(bench.deliveries(), [delivered(2, "1", 1, false), delivered(2, "2", 2, false)]);
    bench.request(2, Request::Settle { number: 2, outcome: Outcome::Release });
    assert_eq!(bench.deliveries(), [delivered(2, "2", 2, true)]);
    bench.request(2, Request::Settle { number: 2, outcome: Outcome::Accept });
    assert_eq!(bench.deliveries(), [delivered(2, "3", 3, false)]);
}

#[test]
fn a_queue_is_bounded_and_its_losses_are_counted() {
    for (queue_overflow, kept) in [(Overflow::DropOldest, ["2", "3"]), (Overflow::DropNewest, ["1", "2"])] {
        let mut bench = Bench::new(Limits { queue_messages_max: 2, queue_overflow, ..Limits::default() });
        bench.connect(1, "p", 0, 10);
        for payload in ["1", "2", "3"] {
            bench.publish(1, "$queue/q", payload, Guarantee::AtLeastOnce, false);
        }
        assert_eq!(bench.broker.statistics().publishes_dropped, 1);
        bench.connect(2, "c", 0, 10);
        bench.subscribe(2, "$queue/q", Guarantee::AtLeastOnce);
        let left: Vec<String> = bench.deliveries().into_iter().map(|delivery| delivery.1).collect();
        assert_eq!(left, kept);
    }
}

#[test]
fn a_full_queue_refuses_when_the_house_says_so() {
    let limits = Limits { queue_messages_max: 1, queue_overflow: Overflow::Refuse, queues_max: 1, ..Limits::default() };
    let mut bench = Bench::new(limits);
    bench.connect(1, "p", 0, 10);
    bench.publish(1, "$queue/q", "1", Guarantee::AtLeastOnce, false);
    bench.store();
    bench.effects.answers.clear();
    for name in ["$queue/q", "$queue/another"] {
        bench.publish(1, name, "2", Guarantee::AtLeastOnce, false);
        match bench.effects.answers.pop() {
            Some((_, Answer::Published { outcome: Err(refusal), .. })) => {
                assert_eq!(refusal.reason, Reason::QuotaExceeded, "{name}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(bench.broker.statistics().queues, 1);
}

#[test]
fn what_expires_in_a_queue_or_on_its_way_costs_nobody_credit() {
    let mut bench = Bench::new(Limits::default());
    bench.connect(1, "p", 0, 10);
    bench.connect(2, "c", 0, 1);
    bench.subscribe(2, "$queue/q", Guarantee::AtLeastOnce);
    bench.broker.pace(bench.now, peer(2), Pace::Slow, &mut bench.effects);
    for payload in ["1", "2"] {
        let mut message = Message::new(topic("$queue/q"), payload.into());
        (message.guarantee, message.expires_ns) = (Guarantee::AtLeastOnce, Some(100));
        bench.request(1, Request::Publish(Publish { message, token: None, correlation: 1 }));
    }
    bench.now.mono_ns = 200;
    bench.publish(1, "$queue/q", "3", Guarantee::AtLeastOnce, false);
    bench.broker.pace(bench.now, peer(2), Pace::Ready, &mut bench.effects);
    assert_eq!(bench.deliveries(), [delivered(2, "3", 1, false)]);
    assert_eq!(bench.broker.statistics().publishes_dropped, 2);
}

#[test]
fn separate_subscriptions_get_a_delivery_each() {
    let mut bench = Bench::new(Limits::default());
    bench.connect(1, "p", 0, 10);
    for (slot, separate, expected) in [(2, false, vec![vec![1, 2]]), (3, true, vec![vec![1], vec![2]])] {
        bench.connect_with(slot, "s", |connect| connect.separate_subscriptions = separate);
        for (tag, filter) in [(1, "a/#"), (2, "a/b")] {
            let filter = Filter::new(filter.into(), &TopicLimits::default()).map_err(|_| Reason::Unspecified);
            let options = SubscriptionOptions { guarantee: Guarantee::AtLeastOnce, tag, ..Default::default() };
            let filters = vec![SubscribeFilter { filter, options }];
            bench.request(slot, Request::Subscribe(Box::new(Subscribe { correlation: 1, filters })));
        }
        bench.publish(1, "a/b", "x", Guarantee::AtLeastOnce, false);
        let mut tags: Vec<Vec<u32>> =
            bench.effects.deliveries.drain(..).map(|delivery| delivery.tags.to_vec()).collect();
        tags.iter_mut().for_each(|tags| tags.sort_unstable());
        tags.sort_unstable();
        assert_eq!(tags, expected);
    }
}

#[test]
fn other_limits_hold_at_once_and_take_nothing_away() {
    let mut bench = Bench::new(Limits::default());
    bench.connect(1, "a", 0, 10);
    bench.subscribe(1, "one", Guarantee::AtMostOnce);
    for name in ["x", "y"] {
        bench.publish(1, name, "v", Guarantee::AtLeastOnce, true);
    }
    bench.store();
    bench.effects.answers.clear();
    let limits = Limits { retained_messages_max: 1, subscriptions_per_session_max: 1, ..Limits::default() };
    bench.broker.set_limits(Arc::new(limits));
    assert_eq!(bench.broker.statistics().retained_messages, 2);
    bench.publish(1, "z", "v", Guarantee::AtLeastOnce, true);
    bench.subscribe(1, "two", Guarantee::AtMostOnce);
    assert!(matches!(
        &bench.effects.answers[..],
        [(_, Answer::Published { outcome: Err(_), .. }), (_, Answer::Subscribed { results, .. })]
            if results[..] == [Err(Reason::QuotaExceeded)]
    ));
}
