//! How much a principal may use: rates that hold back before they refuse, and counts that come back to zero.

mod bench;

use althing_core::Guarantee::{AtLeastOnce, AtMostOnce};
use althing_core::Limits;
use althing_core::authorisation::Policy;
use althing_core::effects::Event;
use althing_core::quota::{Quota, Quotas};
use althing_core::time::SECOND_NS;
use althing_core::verbs::*;
use althing_mqtt::packet::Version;
use althing_testkit::worlds::worlds_with;
use bench::Bench;

const SHARDS: [u16; 2] = [1, 3];

fn policy(default: Quota, users: &[(&'static str, Quota)]) -> Policy {
    let users = users.iter().map(|(name, quota)| ((*name).into(), *quota)).collect();
    Policy { quotas: Quotas { default, users, ..Quotas::default() }, ..Policy::open() }
}

fn everyone(quota: Quota) -> Policy {
    policy(quota, &[])
}

fn bench(shards: u16, policy: Policy) -> Bench {
    Bench::under(shards, Limits::default(), policy)
}

fn named(name: &'static str) -> impl Fn(&mut Connect) {
    move |connect| connect.username = Some(name.into())
}

fn refusal(answers: &[Answer]) -> Option<&Refusal> {
    answers.iter().find_map(|answer| match answer {
        Answer::Refused(refusal) => Some(refusal),
        Answer::Published { outcome, .. } => outcome.as_ref().err(),
        _ => None,
    })
}

fn sentences(bench: &mut Bench) -> Vec<String> {
    let why = |event| if let Event::Refused { why, .. } = event { Some(why) } else { None };
    bench.events.drain(..).filter_map(why).collect()
}

#[test]
fn a_publisher_that_is_too_fast_is_not_read_and_loses_nothing() {
    worlds_with(
        4,
        |setup| setup.policy = everyone(Quota { messages_per_s: Some(10), ..Quota::default() }),
        |house| {
            let [publisher, subscriber] = house.connected(["publisher", "subscriber"], Version::V5);
            house.listen(subscriber, "t", AtLeastOnce);
            house.settle();
            for number in 0..100 {
                house.say(publisher, "t", &number.to_string(), AtLeastOnce);
            }
            house.settle();
            let at_once = house.at(subscriber).received.len();
            assert!(
                (20..=41).contains(&at_once),
                "{at_once}: two seconds' worth, and as much again if nobody holds back"
            );
            house.pass_ms(3_600_000);
            let statistics = house.statistics();
            assert!(statistics.throttles > 0);
            let received = house.at(subscriber).received.len() as u64;
            assert_eq!(received + statistics.publishes_refused, 100);
            if house.shards() == 1 {
                assert_eq!(statistics.publishes_refused, 0);
                let last = house.at(subscriber).received.last().unwrap().mono_ns;
                let first = house.at(subscriber).received[0].mono_ns;
                let seconds = (last - first) / SECOND_NS;
                assert!((7..=9).contains(&seconds), "100 messages, 20 of them at once, take {seconds} s");
            }
        },
    );
}

#[test]
fn who_does_not_rest_is_refused_with_the_key_that_says_so() {
    for shards in SHARDS {
        let quota = Quota { messages_per_s: Some(5), ..Quota::default() };
        let mut bench = bench(shards, policy(Quota::default(), &[("alice", quota)]));
        bench.connect_with(1, "a", named("alice"));
        bench.connect_with(2, "b", named("bob"));
        let mut taken = 0;
        for _ in 0..50 {
            bench.publish(1, "t", "x", AtLeastOnce);
            bench.publish(2, "t", "x", AtLeastOnce);
            assert_eq!(refusal(&bench.take_answers(2)), None, "others are not concerned");
            let answers = bench.take_answers(1);
            match refusal(&answers) {
                None => taken += 1,
                Some(refusal) => {
                    assert_eq!(refusal.reason, Reason::MessageRateTooHigh);
                    assert!(refusal.text.contains("quotas.users.alice.messages_per_s allows: 5"), "{refusal}");
                }
            }
        }
        assert_eq!(taken, 21, "two bursts and the one that overdraws");
        assert!(bench.throttled.iter().all(|(peer, until_ns)| *peer == bench.peer(1) && *until_ns > bench.now.mono_ns));
        assert!(!bench.throttled.is_empty());
        assert_eq!(sentences(&mut bench).len(), 5, "1, 2, 4, 8 and 16 of 29");
        bench.pass_s(3);
        bench.publish(1, "t", "x", AtMostOnce);
        assert_eq!(bench.brokers.iter().map(|broker| broker.statistics().publishes_refused).sum::<u64>(), 29);
    }
}

#[test]
fn bytes_count_by_the_second_and_by_the_message() {
    for shards in SHARDS {
        let quota = Quota { bytes_per_s: Some(100), message_bytes_max: Some(150), ..Quota::default() };
        let mut bench = bench(shards, everyone(quota));
        bench.connect(1, "a");
        bench.publish(1, "t", &"x".repeat(151), AtLeastOnce);
        let answers = bench.take_answers(1);
        assert_eq!(refusal(&answers).unwrap().reason, Reason::PacketTooLarge);
        assert!(refusal(&answers).unwrap().text.contains("quotas.default.message_bytes_max"));
        assert!(bench.throttled.is_empty());
        for _ in 0..2 {
            bench.publish(1, "t", &"x".repeat(150), AtLeastOnce);
            assert_eq!(refusal(&bench.take_answers(1)), None);
        }
        bench.ask(2, "b", |connect| {
            let message = althing_core::Message::new(bench::topic("gone"), "x".repeat(151).into());
            connect.will = Some(Box::new(Will { message, delay_s: 0, expiry_s: None }));
        });
        assert_eq!(refusal(&bench.take_answers(2)).unwrap().reason, Reason::PacketTooLarge, "a will is no way around");
        let [(_, until_ns)] = bench.throttled[..] else { panic!("{:?}", bench.throttled) };
        let rest_ms = (until_ns - bench.now.mono_ns) / 1_000_000;
        assert!((1_000..1_100).contains(&rest_ms), "one second for the hundred that are owed, not {rest_ms} ms");
    }
}

#[test]
fn a_debt_outlives_the_connection_of_who_has_a_name() {
    let mut bench = bench(1, everyone(Quota { messages_per_s: Some(1), ..Quota::default() }));
    for round in 0..10 {
        bench.connect_with(1, "a", |connect| {
            (connect.username, connect.session_expiry_s) = (Some("alice".into()), 0);
        });
        bench.publish(1, "t", "x", AtLeastOnce);
        assert_eq!(refusal(&bench.take_answers(1)).is_some(), round >= 5, "round {round}");
        bench.lose(1);
    }
    bench.pass_s(6);
    bench.connect_with(1, "a", named("alice"));
    bench.publish(1, "t", "x", AtLeastOnce);
    assert_eq!(refusal(&bench.take_answers(1)), None);
}

#[test]
fn connections_and_sessions_of_one_name_are_counted_together() {
    let quota = Quota { connections_max: Some(2), sessions_max: Some(3), ..Quota::default() };
    let mut bench = bench(1, policy(quota, &[("free", Quota::default())]));
    for _ in 0..2 {
        bench.connect_with(1, "a", named("alice"));
        bench.connect_with(2, "b", named("alice"));
        bench.ask(3, "c", named("alice"));
        let answers = bench.take_answers(3);
        let refusal = refusal(&answers).unwrap();
        assert_eq!(refusal.reason, Reason::QuotaExceeded);
        assert_eq!(refusal.text, "alice has as many connections as quotas.default.connections_max allows: 2");
        // In the place of one's own connection there is room.
        bench.connect_with(4, "a", named("alice"));
        bench.lose(4);
        bench.connect_with(3, "c", named("alice"));
        bench.lose(3);
        bench.ask(3, "d", named("alice"));
        assert!(bench.take_answers(3).iter().any(|answer| matches!(answer, Answer::Refused(_))), "a fourth session");
        for (slot, client) in [(5, "1"), (6, "2"), (7, "3"), (8, "4")] {
            bench.connect_with(slot, client, named("free"));
        }
        // Everything is given back.
        bench.leave(2, Some(0), false);
        bench.connect_with(1, "a", |connect| (connect.username, connect.session_expiry_s) = (Some("alice".into()), 0));
        bench.connect_with(3, "c", |connect| {
            (connect.username, connect.session_expiry_s) = (Some("alice".into()), 0);
        });
        [1, 3].into_iter().for_each(|slot| bench.lose(slot));
        bench.sync();
    }
}

#[test]
fn two_clients_with_one_id_do_not_throw_each_other_out_for_ever() {
    for shards in SHARDS {
        for expiry_s in [0, 100] {
            let mut bench = Bench::new(shards);
            let let_in = |bench: &mut Bench, rounds: u32| {
                (0..rounds)
                    .filter(|round| {
                        bench.ask(1 + round % 2, "same", |connect| connect.session_expiry_s = expiry_s);
                        bench.sync();
                        let answers = bench.take_answers(1 + round % 2);
                        match refusal(&answers) {
                            None => return answers.iter().any(|answer| matches!(answer, Answer::Connected(_))),
                            Some(refusal) => assert_eq!(refusal.reason, Reason::ConnectionRateExceeded),
                        }
                        false
                    })
                    .count()
            };
            assert_eq!(let_in(&mut bench, 10_000), 22, "the first, two seconds' worth, and the one that overdraws");
            bench.pass_s(1);
            assert!((9..=11).contains(&let_in(&mut bench, 10_000)));
            // Whoever comes back after a goodbye takes nothing from anybody.
            bench.leave(1, None, false);
            bench.leave(2, None, false);
            assert_eq!(let_in(&mut bench, 1), 1);
            let statistics = bench.brokers.iter().map(|broker| broker.statistics());
            assert_eq!(
                statistics.map(|one| (one.peers, one.sessions)).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1)),
                (1, 1)
            );
        }
    }
}

#[test]
fn subscriptions_are_counted_over_all_sessions_of_a_name() {
    for shards in SHARDS {
        let mut bench = bench(shards, everyone(Quota { subscriptions_max: Some(2), ..Quota::default() }));
        bench.connect_with(1, "a", named("alice"));
        let granted = |bench: &mut Bench, slot, text: &str| {
            bench.subscribe(slot, text, AtLeastOnce);
            bench.sync();
            let answers = bench.take_answers(slot);
            let [Answer::Subscribed { results, .. }] = &answers[..] else { panic!("{answers:?}") };
            results[0]
        };
        assert_eq!(granted(&mut bench, 1, "x"), Ok(AtLeastOnce));
        assert_eq!(granted(&mut bench, 1, "$share/g/x"), Ok(AtLeastOnce));
        assert_eq!(granted(&mut bench, 1, "y"), Err(Reason::QuotaExceeded));
        assert_eq!(granted(&mut bench, 1, "x"), Ok(AtLeastOnce), "changing one is no second one");
        assert!(sentences(&mut bench).concat().contains(
            "y not subscribed: there are as many subscriptions as quotas.default.subscriptions_max allows: 2"
        ));
        if shards == 1 {
            bench.connect_with(2, "b", named("alice"));
            assert_eq!(granted(&mut bench, 2, "y"), Err(Reason::QuotaExceeded));
            bench.unsubscribe(1, "x");
            assert_eq!(granted(&mut bench, 2, "y"), Ok(AtLeastOnce));
        }
        // What an earlier process has left counts too.
        bench.sync();
        bench.crash();
        bench.connect_with(1, "a", named("alice"));
        if shards == 1 {
            assert_eq!(granted(&mut bench, 1, "z"), Err(Reason::QuotaExceeded));
        }
    }
}

#[test]
fn last_values_count_for_their_author_until_they_go() {
    for shards in SHARDS {
        let quota = Quota { retained_messages_max: Some(1), ..Quota::default() };
        let mut bench = bench(shards, policy(Quota::default(), &[("alice", quota)]));
        bench.connect_with(1, "a", named("alice"));
        bench.connect_with(2, "b", named("bob"));
        let mut retain = |slot, name: &str, payload: &str| {
            bench.publish_with(slot, name, payload, AtLeastOnce, |publish| publish.message.retain = true);
            bench.sync();
            let kept: u64 = bench.brokers.iter().map(|broker| broker.statistics().retained_messages).sum();
            (refusal(&bench.take_answers(slot)).map(|refusal| refusal.to_string()), kept)
        };
        assert_eq!(retain(1, "x", "1"), (None, 1));
        if shards == 1 {
            let (why, kept) = retain(1, "y", "1");
            assert!(why.unwrap().contains("quotas.users.alice.retained_messages_max allows: 1"));
            assert_eq!(kept, 1);
        }
        assert_eq!(retain(1, "x", "2"), (None, 1), "a new one in place of one's own");
        assert_eq!(retain(2, "x", "3"), (None, 1), "now it is somebody else's");
        assert_eq!(retain(1, "y", "1"), (None, 2));
        assert_eq!(retain(1, "y", ""), (None, 1));
        assert_eq!(retain(1, "z", "1"), (None, 2));
    }
}

#[test]
fn queue_bytes_are_counted_over_all_sessions_of_a_name() {
    let quota = Quota { queue_bytes_max: Some(10_000), ..Quota::default() };
    let mut bench = bench(1, policy(Quota::default(), &[("alice", quota)]));
    for (slot, client) in [(1, "a"), (2, "b")] {
        bench.connect_with(slot, client, named("alice"));
        bench.subscribe(slot, client, AtLeastOnce);
        bench.sync();
        bench.lose(slot);
    }
    bench.connect(3, "publisher");
    let queued_bytes = |bench: &mut Bench, name: &str, messages: usize| {
        (0..messages).for_each(|_| bench.publish(3, name, &"x".repeat(1_000), AtLeastOnce));
        bench.sync();
        bench.brokers[0].statistics().queued_bytes
    };
    assert!((5_000..7_000).contains(&queued_bytes(&mut bench, "a", 5)));
    for _ in 0..3 {
        assert!((8_000..=10_000).contains(&queued_bytes(&mut bench, "b", 20)));
    }
    bench.connect_with(1, "a", |connect| (connect.username, connect.clean_start) = (Some("alice".into()), true));
    assert!((8_000..=10_000).contains(&queued_bytes(&mut bench, "b", 20)), "the room of the other one is free again");
}

#[test]
fn the_window_is_what_the_quota_allows() {
    let mut bench = bench(1, everyone(Quota { inflight_max: Some(3), ..Quota::default() }));
    bench.connect(1, "a");
    bench.subscribe(1, "t", AtLeastOnce);
    for _ in 0..5 {
        bench.publish(1, "t", "x", AtLeastOnce);
    }
    bench.sync();
    assert_eq!(bench.payloads(1).len(), 3);
}

#[test]
fn messages_that_reach_nobody_are_told_by_powers_of_two() {
    for shards in SHARDS {
        let mut bench = Bench::new(shards);
        bench.connect(1, "a");
        for _ in 0..5 {
            bench.publish(1, "nobody/here", "x", AtMostOnce);
        }
        bench.publish_with(1, "kept", "x", AtMostOnce, |publish| publish.message.retain = true);
        bench.publish(1, "$queue/q", "x", AtMostOnce);
        bench.connect(2, "b");
        bench.subscribe(2, "somebody/here", AtMostOnce);
        bench.sync();
        bench.publish(1, "somebody/here", "x", AtMostOnce);
        let unheard = bench.events.iter().filter_map(|event| match event {
            Event::Unheard { client, topic, count } => Some((&client[..], topic.as_str(), *count)),
            _ => None,
        });
        let expected = [1, 2, 4].map(|count| ("a", "nobody/here", count));
        assert_eq!(unheard.collect::<Vec<_>>(), expected);
        assert_eq!(bench.brokers.iter().map(|broker| broker.statistics().publishes_unheard).sum::<u64>(), 5);
    }
}
