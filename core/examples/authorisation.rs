//! What rules cost: one publisher, one subscriber, `AtMostOnce`, through the whole broker but no socket.
//!
//! `cargo run --release -p althing-core --example authorisation` prints nanoseconds a message, for no rules, 1,000
//! for users and 1,000 for everyone, on topics that repeat and on topics that never do.

use althing_core::authorisation::{Actions, Policy, Rule};
use althing_core::broker::Broker;
use althing_core::effects::Verdict;
use althing_core::topic::TopicLimits;
use althing_core::verbs::{Connect, Publish, Subscribe, SubscribeFilter, SubscriptionOptions};
use althing_core::{Effects, Entropy, Filter, Identity, Limits, Link, Message, Now, PeerId, Request, Topic};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Instant;

const RULES: usize = 1_000;
const MESSAGES: usize = 400_000;
const ROUNDS: usize = 7;

fn main() {
    let rules = |pattern: &dyn Fn(usize) -> String, of_users: bool| -> Policy {
        let rule = |place: usize| {
            let rule = Rule::for_everyone(everything(), &pattern(place), true);
            if of_users { rule.by(&format!("user-{place}")) } else { rule }
        };
        Policy::new((0..RULES).map(rule).collect(), false)
    };
    let policies = [
        ("no rules", Policy::open()),
        ("1,000 for users", rules(&|place| format!("device/user-{place}/#"), true)),
        ("1,000 for everyone", rules(&|place| format!("device/user-{place}/#"), false)),
        ("one with %u", Policy::new(vec![Rule::for_everyone(everything(), "device/%u/#", true)], false)),
    ];
    println!("{:>20} {:>12} {:>12}  (ns a message, the best of {ROUNDS})", "", "repeating", "never");
    for (name, policy) in policies {
        let mut world = World::new(policy);
        let best =
            |world: &mut World, topics: &[Topic]| (0..ROUNDS).map(|_| world.run(topics)).fold(f64::INFINITY, f64::min);
        let repeating = best(&mut world, &topics(1));
        let never = best(&mut world, &topics(200_000));
        println!("{name:>20} {repeating:>12.0} {never:>12.0}");
    }
}

fn everything() -> Actions {
    Actions { publish: true, ..Actions::SUBSCRIBE }
}

fn topics(count: usize) -> Vec<Topic> {
    let name = |number: usize| format!("device/user-500/state/{number}").into();
    let topic = |number| Topic::new(name(number), &TopicLimits::default());
    (0..count).map(|number| topic(number).expect("a topic")).collect()
}

struct World {
    broker: Broker,
    effects: Effects,
    publisher: PeerId,
}

impl World {
    fn new(policy: Policy) -> Self {
        let broker = Broker::new(0, 1, Limits::default().into(), policy.into(), Entropy::new(1));
        let peer = |slot| PeerId { shard: 0, generation: 1, slot };
        let mut world = Self { broker, effects: Effects::default(), publisher: peer(1) };
        for slot in [1, 2] {
            let link = Link::new(None, "bench");
            let client = Some(format!("client-{slot}").into());
            world.ask(peer(slot), Request::Connect(Box::new(Connect { link, client, ..Connect::new("mqtt") })));
            let identity = Arc::new(Identity::named("user-500"));
            let verdict = Verdict::Accept { identity, data: None };
            world.broker.verified(Now::default(), peer(slot), verdict, &mut world.effects);
        }
        let filter = Filter::new("device/user-500/#".into(), &TopicLimits::default()).expect("a filter");
        let filters = vec![SubscribeFilter { filter: Ok(filter), options: SubscriptionOptions::default() }];
        world.ask(peer(2), Request::Subscribe(Box::new(Subscribe { correlation: 1, filters })));
        world
    }

    fn ask(&mut self, peer: PeerId, request: Request) {
        self.broker.request(Now::default(), peer, request, &mut self.effects);
    }

    /// Publishes on these topics in turn; returns nanoseconds a message.
    fn run(&mut self, topics: &[Topic]) -> f64 {
        let begin = Instant::now();
        let mut delivered = 0;
        for number in 0..MESSAGES {
            let message = Message::new(topics[number % topics.len()].clone(), Bytes::from_static(b"21.5"));
            self.ask(self.publisher, Request::Publish(Publish { message, token: None, correlation: 0 }));
            delivered += self.effects.deliveries.len();
            self.effects.deliveries.clear();
        }
        assert_eq!(delivered, MESSAGES);
        begin.elapsed().as_nanos() as f64 / MESSAGES as f64
    }
}
