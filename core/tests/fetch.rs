//! The last value of one topic, on whatever shard it is kept.

use althing_core::authorisation::{Actions, Policy, Rule};
use althing_core::broker::Broker;
use althing_core::effects::{Effects, Verdict};
use althing_core::message::{Guarantee, Message};
use althing_core::topic::{Topic, TopicLimits};
use althing_core::verbs::*;
use althing_core::{Entropy, Limits, Now};
use bytes::Bytes;
use std::sync::Arc;

/// Shards that carry out everything at once; one peer on each, whose answers are kept.
struct Shards {
    brokers: Vec<Broker>,
    answers: Vec<(PeerId, Answer)>,
}

const NOW: Now = Now { mono_ns: 1_000, wall_ms: 1 };

fn peer(shard: u16) -> PeerId {
    PeerId { shard, generation: 0, slot: 1 }
}

fn topic(text: &str) -> Topic {
    Topic::new(text.to_owned().into(), &TopicLimits::default()).expect("a valid name")
}

impl Shards {
    fn new(count: u16, policy: Policy) -> Self {
        let (limits, policy) = (Arc::new(Limits::default()), Arc::new(policy));
        let broker =
            |shard| Broker::new(shard, count, limits.clone(), policy.clone(), Entropy::new(u64::from(shard) + 1));
        let mut shards = Self { brokers: (0..count).map(broker).collect(), answers: Vec::new() };
        for shard in 0..count {
            shards.request(
                shard,
                Request::Connect(Box::new(Connect {
                    client: Some(format!("client {shard}").into()),
                    window: 10,
                    number_max: 10,
                    ..Connect::new("test")
                })),
            );
        }
        shards
    }

    fn request(&mut self, shard: u16, request: Request) {
        let mut effects = Effects::default();
        self.brokers[usize::from(shard)].request(NOW, peer(shard), request, &mut effects);
        self.carry_out(shard, effects);
    }

    fn carry_out(&mut self, shard: u16, effects: Effects) {
        let own = usize::from(shard);
        self.answers.extend(effects.answers);
        let mut next = Effects::default();
        for verify in effects.verify {
            let accept = Verdict::Accept { identity: Default::default(), data: None };
            self.brokers[own].verified(NOW, verify.peer, accept, &mut next);
        }
        if !effects.store.is_empty() {
            self.brokers[own].stored(NOW, effects.ticket, &mut next);
        }
        for (to, word) in effects.forward {
            let mut there = Effects::default();
            self.brokers[usize::from(to)].forwarded(NOW, shard, word, &mut there);
            self.carry_out(to, there);
        }
        let is_quiet = next.answers.is_empty() && next.forward.is_empty() && next.store.is_empty();
        if !is_quiet {
            self.carry_out(shard, next);
        }
    }

    fn publish(&mut self, shard: u16, name: &str, payload: &'static str, guarantee: Guarantee, token: Option<u32>) {
        let mut message = Message::new(topic(name), payload.into());
        (message.guarantee, message.retain) = (guarantee, true);
        self.request(shard, Request::Publish(Publish { message, token, correlation: 5 }));
    }

    fn fetch(&mut self, shard: u16, name: &str) -> Result<Option<Bytes>, Reason> {
        self.request(shard, Request::Fetch { correlation: 77, topic: topic(name) });
        match self.answers.pop() {
            Some((to, Answer::Fetched { correlation: 77, outcome })) if to == peer(shard) => {
                outcome.map(|value| value.map(|value| value.payload.clone())).map_err(|refusal| refusal.reason)
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn every_shard_reads_what_any_shard_keeps() {
    for count in [1, 3] {
        let mut shards = Shards::new(count, Policy::open());
        for number in 0..30 {
            let name = format!("a/{number}");
            assert_eq!(shards.fetch(number % count, &name), Ok(None));
            shards.publish(number % count, &name, "value", Guarantee::AtLeastOnce, None);
            for reader in 0..count {
                assert_eq!(shards.fetch(reader, &name), Ok(Some("value".into())), "{name} from shard {reader}");
            }
        }
    }
}

#[test]
fn reading_needs_the_right_to_subscribe() {
    let rules = vec![Rule::for_everyone(Actions::SUBSCRIBE, "secret/#", false)];
    for count in [1, 3] {
        let mut shards = Shards::new(count, Policy::new(rules.clone(), true));
        shards.publish(0, "secret/a", "value", Guarantee::AtLeastOnce, None);
        assert_eq!(shards.fetch(0, "secret/a"), Err(Reason::NotAuthorised));
        assert_eq!(shards.fetch(0, "open"), Ok(None));
        assert_eq!(shards.fetch(0, "$share/x"), Err(Reason::TopicNameInvalid));
    }
}

#[test]
fn an_answer_can_be_had_for_what_is_published_at_most_once() {
    let mut shards = Shards::new(1, Policy::open());
    let mut answered = |token, name| {
        shards.answers.clear();
        shards.publish(0, name, "x", Guarantee::AtMostOnce, token);
        shards.answers.pop().map(|(_, answer)| match answer {
            Answer::Published { correlation: 5, guarantee: Guarantee::AtMostOnce, outcome } => outcome.is_ok(),
            other => panic!("{other:?}"),
        })
    };
    assert_eq!(answered(None, "a"), None);
    for _ in 0..2 {
        assert_eq!(answered(Some(9), "a"), Some(true), "and the token is not remembered");
    }
    assert_eq!(answered(Some(9), "$SYS/a"), Some(false));
    assert_eq!(shards.fetch(0, "a"), Ok(Some("x".into())));
}
