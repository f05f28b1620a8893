//! Retained messages against a plain map: values, limits, expiry and lookups in turns.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use althing_core::retained::{Lookup, QuotaExceeded, Retained};
use althing_core::topic::TopicLimits;
use althing_core::{Filter, Limits, Message, Topic};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

fn topic(name: &str) -> Topic {
    Topic::new(name.to_owned().into(), &TopicLimits::default()).unwrap()
}

fn filter(text: &str) -> Filter {
    Filter::new(text.to_owned().into(), &TopicLimits::default()).unwrap()
}

fn message(name: &str, payload: &str, expires_ns: Option<u64>) -> Arc<Message> {
    let message = Message::new(topic(name), payload.to_owned().into());
    Arc::new(Message { retain: true, expires_ns, ..message })
}

fn store() -> Retained {
    Retained::new(1, &Limits::default())
}

fn limited(retained_messages_max: usize, retained_bytes_max: usize) -> Retained {
    Retained::new(1, &Limits { retained_messages_max, retained_bytes_max, ..Limits::default() })
}

/// The topics found; fails when one was found twice.
fn topics(found: &[Arc<Message>]) -> BTreeSet<&str> {
    let topics: BTreeSet<&str> = found.iter().map(|message| message.topic.as_str()).collect();
    assert_eq!(topics.len(), found.len(), "a topic was found twice");
    topics
}

#[test]
fn the_last_value_replaces_the_one_before() {
    let mut retained = store();
    assert_eq!(retained.apply(message("a/b", "one", Some(10))), Ok(true));
    assert_eq!(retained.apply(message("a/b", "two", None)), Ok(true));
    assert_eq!(retained.get(&topic("a/b"), 50).unwrap().payload, "two");
    assert_eq!((retained.len(), retained.next_expiry()), (1, None));
    assert_eq!(retained.get(&topic("a"), 0), None);
}

#[test]
fn an_empty_payload_clears() {
    let mut retained = store();
    retained.apply(message("a/b", "one", Some(10))).unwrap();
    assert_eq!(retained.apply(message("a", "", None)), Ok(false), "a branch is no value");
    assert_eq!(retained.apply(message("a/b", "", None)), Ok(true));
    assert_eq!(retained.apply(message("a/b", "", None)), Ok(false));
    assert!(retained.is_empty());
    assert_eq!((retained.bytes(), retained.next_expiry()), (0, None));
}

#[test]
fn the_number_of_messages_is_limited() {
    let mut retained = limited(2, usize::MAX);
    retained.set(message("a", "1", None)).unwrap();
    retained.set(message("b", "1", None)).unwrap();
    assert_eq!(retained.set(message("c", "1", None)), Err(QuotaExceeded::Messages));
    assert_eq!(retained.get(&topic("c"), 0), None);
    retained.set(message("a", "2", None)).unwrap();
    assert!(retained.clear(&topic("b")));
    retained.set(message("c", "1", None)).unwrap();
    assert_eq!(retained.len(), 2);
}

#[test]
fn bytes_are_limited_and_a_replacement_counts_the_difference() {
    let size = message("a", "12345678", None).size_bytes();
    let mut retained = limited(usize::MAX, 2 * size);
    retained.set(message("a", "12345678", None)).unwrap();
    retained.set(message("b", "12345678", None)).unwrap();
    assert_eq!(retained.bytes(), 2 * size);
    assert_eq!(retained.set(message("c", "1", None)), Err(QuotaExceeded::Bytes));
    assert_eq!(retained.set(message("a", "123456789", None)), Err(QuotaExceeded::Bytes));
    assert_eq!(retained.get(&topic("a"), 0).unwrap().payload, "12345678", "what was kept stays");
    retained.set(message("a", "1234567", None)).unwrap();
    retained.set(message("b", "123456789", None)).unwrap();
    assert_eq!(retained.bytes(), 2 * size);
}

#[test]
fn expired_messages_are_not_shown_and_go_in_turns() {
    let mut retained = store();
    for i in 0..10 {
        retained.set(message(&format!("t/{i}"), "x", Some(100 + i))).unwrap();
    }
    retained.set(message("t/lasting", "x", None)).unwrap();
    assert_eq!(retained.next_expiry(), Some(100));
    assert!(retained.expire(99, 100).is_empty());

    let mut found = Vec::new();
    retained.matching(&filter("t/+"), 104, &mut found);
    assert_eq!(topics(&found), BTreeSet::from(["t/5", "t/6", "t/7", "t/8", "t/9", "t/lasting"]));
    assert_eq!(retained.get(&topic("t/4"), 104), None);
    assert!(retained.get(&topic("t/5"), 104).is_some());
    assert_eq!(retained.len(), 11, "nothing is removed yet");

    assert_eq!(topics(&retained.expire(104, 3)), BTreeSet::from(["t/0", "t/1", "t/2"]));
    assert_eq!(retained.next_expiry(), Some(103));
    assert_eq!(topics(&retained.expire(104, 3)), BTreeSet::from(["t/3", "t/4"]));
    assert_eq!(retained.next_expiry(), Some(105));
    assert_eq!(retained.expire(u64::MAX, usize::MAX).len(), 5);
    assert_eq!((retained.len(), retained.next_expiry()), (1, None));
}

#[test]
fn topics_that_are_gone_leave_nothing_behind() {
    let mut retained = store();
    let mut index_bytes = None;
    for round in 0..20 {
        for i in 0..100 {
            retained.set(message(&format!("{round}/{i}/cleared"), "x", None)).unwrap();
            retained.set(message(&format!("{round}/{i}/expired"), "x", Some(1))).unwrap();
        }
        for i in 0..100 {
            assert!(retained.clear(&topic(&format!("{round}/{i}/cleared"))));
        }
        assert_eq!(retained.expire(1, usize::MAX).len(), 100);
        assert_eq!(retained.index_bytes(), *index_bytes.get_or_insert(retained.index_bytes()));
    }
}

#[test]
fn a_lookup_in_turns_survives_changes_between_them() {
    let mut retained = store();
    for i in 0..200 {
        retained.set(message(&format!("lasting/{i}/x"), "x", None)).unwrap();
    }
    let mut lookup = Lookup::new(filter("lasting/+/x"));
    let mut found = Vec::new();
    let mut turns = 0;
    while !retained.continue_lookup(&mut lookup, 0, 16, &mut found) {
        let before = found.len();
        turns += 1;
        // Others come and go, in slots before and behind the lookup's place.
        retained.apply(message(&format!("passing/{}", turns % 5), "x", None)).unwrap();
        retained.clear(&topic(&format!("passing/{}", (turns + 3) % 5)));
        assert!(before <= 16 * turns);
    }
    assert!(turns > 20, "{turns} turns for 400 nodes");
    assert_eq!(topics(&found).len(), 200);
}

#[test]
fn a_lookup_of_few_among_many_takes_one_turn() {
    let mut retained = store();
    for i in 0..1_000 {
        retained.set(message(&format!("{i}/x"), "x", None)).unwrap();
    }
    for (pattern, expected) in [("7/x", 1), ("7/+", 1), ("7/#", 1), ("none/#", 0), ("7/x/y", 0)] {
        let mut found = Vec::new();
        assert!(retained.continue_lookup(&mut Lookup::new(filter(pattern)), 0, 8, &mut found), "{pattern}");
        assert_eq!(found.len(), expected, "{pattern}");
    }
}

/// One step of a history.
#[derive(Clone, Debug)]
enum Step {
    Apply { topic: String, payload: String, expires_ns: Option<u64> },
    Expire { messages_max: usize },
    Match { pattern: String, visits_max: usize },
    Wait { ns: u64 },
}

fn level() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "$x"])
}

fn step() -> impl Strategy<Value = Step> {
    let name = prop::collection::vec(level(), 1..4).prop_map(|levels| levels.join("/"));
    let pattern_level = prop_oneof![level(), Just("+")];
    let pattern = (prop::collection::vec(pattern_level, 1..4), any::<bool>())
        .prop_map(|(levels, rest)| levels.join("/") + if rest { "/#" } else { "" });
    prop_oneof![
        6 => (name, "x{0,12}", prop::option::of(0..100_u64))
            .prop_map(|(topic, payload, expires_ns)| Step::Apply { topic, payload, expires_ns }),
        1 => (0..4_usize).prop_map(|messages_max| Step::Expire { messages_max }),
        3 => (prop_oneof![pattern, Just("#".to_owned())], 1..20_usize)
            .prop_map(|(pattern, visits_max)| Step::Match { pattern, visits_max }),
        1 => (0..20_u64).prop_map(|ns| Step::Wait { ns }),
    ]
}

/// The same store as a plain map.
#[derive(Default)]
struct Model {
    messages: BTreeMap<String, Arc<Message>>,
}

impl Model {
    const MESSAGES_MAX: usize = 12;
    const BYTES_MAX: usize = 2_000;

    fn bytes(&self) -> usize {
        self.messages.values().map(|message| message.size_bytes()).sum()
    }

    fn apply(&mut self, message: Arc<Message>) -> Result<bool, QuotaExceeded> {
        let topic = message.topic.to_string();
        if message.payload.is_empty() {
            return Ok(self.messages.remove(&topic).is_some());
        }
        let before = self.messages.insert(topic.clone(), message);
        let refusal = match () {
            () if self.messages.len() > Self::MESSAGES_MAX => QuotaExceeded::Messages,
            () if self.bytes() > Self::BYTES_MAX => QuotaExceeded::Bytes,
            () => return Ok(true),
        };
        match before {
            Some(before) => self.messages.insert(topic, before),
            None => self.messages.remove(&topic),
        };
        Err(refusal)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn every_history_agrees_with_a_map(steps in prop::collection::vec(step(), 1..120)) {
        let mut retained = limited(Model::MESSAGES_MAX, Model::BYTES_MAX);
        let mut model = Model::default();
        let mut now_ns = 0;
        for step in steps {
            match step {
                Step::Wait { ns } => now_ns += ns,
                Step::Apply { topic, payload, expires_ns } => {
                    let message = message(&topic, &payload, expires_ns);
                    prop_assert_eq!(retained.apply(Arc::clone(&message)), model.apply(message));
                }
                Step::Expire { messages_max } => {
                    let expired = retained.expire(now_ns, messages_max);
                    for message in &expired {
                        prop_assert!(message.is_expired(now_ns));
                        prop_assert!(model.messages.remove(message.topic.as_str()).is_some());
                    }
                    let left = model.messages.values().any(|message| message.is_expired(now_ns));
                    prop_assert!(expired.len() == messages_max || !left);
                }
                Step::Match { pattern, visits_max } => {
                    let filter = filter(&pattern);
                    let expected: BTreeSet<&str> = model
                        .messages
                        .values()
                        .filter(|message| filter.matches(&message.topic) && !message.is_expired(now_ns))
                        .map(|message| message.topic.as_str())
                        .collect();
                    let mut at_once = Vec::new();
                    retained.matching(&filter, now_ns, &mut at_once);
                    prop_assert_eq!(topics(&at_once), expected.clone());
                    let mut in_turns = Vec::new();
                    let mut lookup = Lookup::new(filter);
                    while !retained.continue_lookup(&mut lookup, now_ns, visits_max, &mut in_turns) {}
                    prop_assert_eq!(topics(&in_turns), expected);
                }
            }
            prop_assert_eq!((retained.len(), retained.bytes()), (model.messages.len(), model.bytes()));
            let next_expiry = model.messages.values().filter_map(|message| message.expires_ns).min();
            prop_assert_eq!(retained.next_expiry(), next_expiry);
            for message in model.messages.values() {
                let expected = (!message.is_expired(now_ns)).then_some(message);
                prop_assert_eq!(retained.get(&message.topic, now_ns), expected);
            }
        }
    }
}
