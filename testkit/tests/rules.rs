//! What must be durable before what leaves: R1 to R11, spoken to a broker in verbs.

mod bench;

use althing_core::Guarantee::{AtLeastOnce, AtMostOnce, ExactlyOnce};
use althing_core::Message;
use althing_core::authorisation::{Actions, Policy, Rule};
use althing_core::record::{QueueKey, Record};
use althing_core::verbs::*;
use bench::{Bench, topic};
use std::sync::Arc;

const SHARDS: [u16; 2] = [1, 3];

fn is_published(answers: &[Answer]) -> bool {
    matches!(answers, [Answer::Published { outcome: Ok(_), .. }])
}

fn will(name: &str, delay_s: u32) -> Option<Box<Will>> {
    let mut message = Message::new(topic(name), "gone".into());
    message.guarantee = AtLeastOnce;
    Some(Box::new(Will { message, delay_s, expiry_s: None }))
}

/// A lasting session that is away, subscribed to `name`.
fn absent(bench: &mut Bench, client: &str, name: &str, guarantee: althing_core::Guarantee) {
    bench.connect(10, client);
    bench.subscribe(10, name, guarantee);
    bench.sync();
    bench.lose(10);
    bench.sync();
    bench.answers.clear();
}

#[test]
fn r1_a_publish_is_acknowledged_when_every_queue_and_the_last_value_have_it() {
    for shards in SHARDS {
        let mut bench = Bench::new(shards);
        absent(&mut bench, "alone", "t", AtLeastOnce);
        absent(&mut bench, "member", "$share/g/t", AtLeastOnce);
        bench.connect_briefly(1, "publisher");
        bench.publish_with(1, "t", "lost", AtLeastOnce, |publish| publish.message.retain = true);
        let messages: Vec<Arc<Message>> = bench
            .unsynced()
            .into_iter()
            .filter_map(|record| match record {
                Record::Queued { message, .. } => Some(message.clone()),
                Record::Retained { message, .. } => message.clone(),
                _ => None,
            })
            .collect();
        assert_eq!(messages.len(), 3);
        if shards == 1 {
            assert!(messages.iter().all(|message| Arc::ptr_eq(message, &messages[0])), "one message, kept once");
        }
        while bench.log.len() > 1 {
            assert!(bench.take_answers(1).is_empty(), "not all of it is durable");
            bench.sync_one();
            bench.run();
        }
        assert!(bench.take_answers(1).is_empty());
        bench.crash();
        assert!(shards > 1 || bench.ledger.queues().count() == 0, "all of it or nothing");
        bench.connect_briefly(1, "publisher");
        bench.publish_with(1, "t", "kept", AtLeastOnce, |publish| publish.message.retain = true);
        bench.sync();
        assert!(is_published(&bench.take_answers(1)));
        bench.crash();
        for client in ["alone", "member"] {
            assert!(bench.connect(2, client));
            assert!(bench.payloads(2).contains(&"kept".to_owned()), "{client}");
        }
        bench.subscribe(2, "t", AtLeastOnce);
        bench.sync();
        assert_eq!(bench.payloads(2), ["kept"], "the last value");
    }
}

#[test]
fn r1_what_needs_no_store_is_acknowledged_at_once() {
    let mut bench = Bench::new(1);
    bench.connect_briefly(1, "publisher");
    bench.connect_briefly(2, "subscriber");
    bench.subscribe(2, "t", AtLeastOnce);
    bench.subscribe(2, "$share/g/t", AtLeastOnce);
    bench.take_answers(2);
    bench.publish(1, "t", "x", AtLeastOnce);
    assert!(is_published(&bench.take_answers(1)));
    bench.lose(2);
    bench.lose(1);
    assert_eq!(bench.unsynced(), [] as [&Record; 0]);
}

#[test]
fn r2_a_token_is_durable_with_its_message_and_swallows_the_repeat() {
    let mut bench = Bench::new(1);
    absent(&mut bench, "s", "t", ExactlyOnce);
    bench.connect(1, "p");
    bench.publish(1, "t", "once", ExactlyOnce);
    assert!(bench.take_answers(1).is_empty());
    assert_eq!(bench.log.len(), 1);
    assert!(matches!(bench.unsynced()[..], [Record::Queued { .. }, Record::TokenHeld { token: 9, .. }]));
    bench.sync();
    bench.crash();
    bench.connect(1, "p");
    bench.publish(1, "t", "once", ExactlyOnce);
    assert!(is_published(&bench.take_answers(1)), "it was taken before");
    assert!(bench.connect(2, "s"));
    assert_eq!(bench.payloads(2), ["once"]);
}

#[test]
fn r3_a_token_is_released_when_that_is_durable() {
    let mut bench = Bench::new(1);
    absent(&mut bench, "s", "t", ExactlyOnce);
    bench.connect(1, "p");
    bench.publish(1, "t", "one", ExactlyOnce);
    bench.sync();
    bench.take_answers(1);
    bench.request(1, Request::Release { token: 9 });
    assert!(bench.take_answers(1).is_empty());
    bench.sync();
    assert!(matches!(bench.take_answers(1)[..], [Answer::Released { token: 9, known: true }]));
    bench.crash();
    bench.connect(1, "p");
    bench.publish(1, "t", "two", ExactlyOnce);
    bench.sync();
    bench.connect(2, "s");
    assert_eq!(bench.payloads(2), ["one", "two"], "the token does not swallow a new message");
}

#[test]
fn r4_received_is_durable_before_the_handshake_goes_on() {
    let mut bench = Bench::new(1);
    bench.connect(1, "p");
    bench.connect(2, "s");
    bench.subscribe(2, "t", ExactlyOnce);
    bench.publish(1, "t", "x", ExactlyOnce);
    bench.sync();
    assert_eq!(bench.take(2), [("x".into(), 1, false)]);
    bench.take_answers(2);
    bench.settle(2, 1, Outcome::Received);
    assert!(bench.take_answers(2).is_empty());
    bench.sync();
    assert!(matches!(bench.take_answers(2)[..], [Answer::Complete { number: 1, known: true }]));
    bench.crash();
    bench.ask(2, "s", |_| {});
    bench.sync();
    let answers = bench.take_answers(2);
    assert!(matches!(answers[..], [Answer::Connected(_), Answer::Complete { number: 1, known: true }]), "{answers:?}");
    assert!(bench.take(2).is_empty(), "the peer has it");
    bench.settle(2, 1, Outcome::Accept);
    bench.sync();
    bench.crash();
    bench.connect(2, "s");
    assert!(bench.take_answers(2).is_empty());
}

#[test]
fn r5_nothing_waits_for_what_the_peer_settles() {
    let mut bench = Bench::new(1);
    absent(&mut bench, "s", "t", AtLeastOnce);
    bench.connect(1, "p");
    for payload in ["1", "2"] {
        bench.publish(1, "t", payload, AtLeastOnce);
    }
    bench.sync();
    bench.connect_with(2, "s", |connect| connect.window = 1);
    assert_eq!(bench.take(2), [("1".into(), 1, false)]);
    bench.settle(2, 1, Outcome::Accept);
    assert_eq!(bench.take(2), [("2".into(), 2, false)], "the next leaves at once");
    assert!(matches!(bench.unsynced()[..], [Record::Settled { .. }, Record::Numbered { number: 2, .. }]));
    bench.crash();
    bench.connect(2, "s");
    assert_eq!(bench.take(2), [("1".into(), 1, true), ("2".into(), 2, false)], "a permitted repeat");
}

#[test]
fn r6_an_exactly_once_delivery_leaves_when_its_number_is_durable() {
    let mut bench = Bench::new(1);
    bench.connect(1, "p");
    bench.connect(2, "s");
    bench.subscribe(2, "t/#", ExactlyOnce);
    bench.publish(1, "t/1", "one", AtLeastOnce);
    bench.publish(1, "t/2", "two", ExactlyOnce);
    assert_eq!(bench.take(2), [("one".into(), 1, false)]);
    bench.sync();
    assert_eq!(bench.take(2), [("two".into(), 2, false)]);
    bench.crash();
    bench.connect(2, "s");
    assert_eq!(bench.take(2), [("one".into(), 1, true), ("two".into(), 2, true)], "the same numbers");
    bench.connect(1, "p");
    bench.publish(1, "t/1", "three", AtLeastOnce);
    assert_eq!(bench.take(2), [("three".into(), 3, false)], "numbers go on behind them");
}

#[test]
fn r7_subscriptions_are_durable_before_they_are_confirmed() {
    for shards in SHARDS {
        let mut bench = Bench::new(shards);
        bench.connect(2, "s");
        bench.subscribe(2, "plain/#", AtLeastOnce);
        bench.subscribe(2, "$share/g/shared/+", AtLeastOnce);
        bench.subscribe(2, "$queue/q", AtLeastOnce);
        bench.subscribe(2, "gone", AtLeastOnce);
        assert!(bench.take_answers(2).is_empty());
        bench.sync();
        assert_eq!(bench.take_answers(2).len(), 4);
        bench.unsubscribe(2, "gone");
        assert!(bench.take_answers(2).is_empty());
        bench.sync();
        assert!(matches!(bench.take_answers(2)[..], [Answer::Unsubscribed { .. }]));
        bench.crash();
        bench.connect_briefly(1, "p");
        for name in ["plain/x", "gone", "shared/x", "$queue/q"] {
            bench.publish(1, name, name, AtLeastOnce);
        }
        bench.sync();
        assert!(bench.connect(2, "s"));
        let mut payloads = bench.payloads(2);
        payloads.sort();
        assert_eq!(payloads, ["$queue/q", "plain/x", "shared/x"]);
    }
}

#[test]
fn r8_a_session_is_durable_before_it_is_confirmed() {
    let mut bench = Bench::new(1);
    bench.ask(1, "s", |connect| connect.will = will("w", 5));
    assert!(bench.take_answers(1).is_empty());
    let epoch = match bench.unsynced()[..] {
        [Record::Session(fact)] if fact.will.is_some() && fact.will_due_ns.is_none() => fact.epoch,
        ref other => panic!("{other:?}"),
    };
    bench.sync();
    assert!(matches!(&bench.take_answers(1)[..], [Answer::Connected(_)]));
    bench.crash();
    bench.sync();
    bench.ask(2, "s", |_| {});
    bench.ask(3, "s", |_| {});
    let epochs: Vec<u64> = bench
        .unsynced()
        .into_iter()
        .filter_map(|record| if let Record::Session(fact) = record { Some(fact.epoch) } else { None })
        .collect();
    assert!(epochs.iter().all(|later| *later > epoch) && epochs.is_sorted(), "{epochs:?} after {epoch}");
    assert!(matches!(&bench.take_answers(2)[..], [Answer::Close(_)]), "fenced, and never confirmed");
    bench.sync();
    assert!(matches!(&bench.take_answers(3)[..], [Answer::Connected(connected)] if connected.session_present));
}

#[test]
fn r8_what_a_clean_start_discards_is_discarded_in_one_step_before_it_is_confirmed() {
    let mut bench = Bench::new(1);
    absent(&mut bench, "s", "t", ExactlyOnce);
    bench.connect(1, "s");
    bench.publish(1, "t", "x", ExactlyOnce);
    bench.sync();
    bench.lose(1);
    bench.sync();
    assert!(bench.take_answers(2).is_empty());
    bench.ask(2, "s", |connect| connect.clean_start = true);
    assert_eq!(bench.log.len(), 1);
    assert!(bench.take_answers(2).is_empty());
    let records = bench.unsynced();
    assert!(matches!(
        records[..],
        [
            Record::Unsubscribed { .. },
            Record::TokenReleased { .. },
            Record::QueueClosed(QueueKey::Session(_)),
            Record::SessionClosed(_),
            Record::Session(_)
        ]
    ));
    bench.sync();
    assert!(matches!(&bench.take_answers(2)[..], [Answer::Connected(connected)] if !connected.session_present));
    bench.crash();
    assert!(bench.connect(2, "s"));
    bench.publish(2, "t", "y", ExactlyOnce);
    bench.sync();
    assert!(is_published(&bench.take_answers(2)), "the token is free");
    assert!(bench.take(2).is_empty(), "neither subscription nor queue is left");
}

#[test]
fn r8_a_session_that_is_not_to_last_leaves_nothing_behind() {
    let mut bench = Bench::new(1);
    absent(&mut bench, "s", "t", AtLeastOnce);
    bench.connect_briefly(1, "p");
    bench.publish(1, "t", "before", AtLeastOnce);
    bench.sync();
    // It was to last, is resumed, and is to end with this connection.
    assert!(bench.connect_with(2, "s", |connect| connect.session_expiry_s = 0));
    assert_eq!(bench.payloads(2), ["before"]);
    bench.publish(1, "t", "meanwhile", AtLeastOnce);
    bench.sync();
    bench.lose(2);
    bench.sync();
    assert_eq!(bench.ledger.restored(), []);
}

#[test]
fn r8_a_session_that_ends_by_its_disconnect_leaves_nothing_behind() {
    let mut bench = Bench::new(1);
    bench.connect(2, "s");
    bench.subscribe(2, "t", AtLeastOnce);
    bench.leave(2, Some(0), false);
    bench.sync();
    assert_eq!(bench.ledger.restored(), []);
    // The other way round nothing was kept that could begin to last (§3.14.2.2.2).
    bench.connect_briefly(2, "s");
    bench.leave(2, Some(60), false);
    bench.sync();
    assert_eq!(bench.ledger.restored(), []);
    assert!(!bench.connect(2, "s"));
}

#[test]
fn r9_last_values_survive_whatever_their_guarantee() {
    for shards in SHARDS {
        let mut bench = Bench::new(shards);
        bench.connect_briefly(1, "p");
        for (name, payload, guarantee) in
            [("a", "1", AtMostOnce), ("b", "2", AtLeastOnce), ("c", "3", AtLeastOnce), ("c", "", AtLeastOnce)]
        {
            bench.publish_with(1, name, payload, guarantee, |publish| publish.message.retain = true);
        }
        bench.sync();
        bench.crash();
        bench.connect_briefly(2, "s");
        bench.subscribe(2, "#", AtLeastOnce);
        bench.sync();
        let mut payloads = bench.payloads(2);
        payloads.sort();
        assert_eq!(payloads, ["1", "2"]);
    }
}

#[test]
fn r10_a_will_survives_its_owner_and_the_broker_and_is_published_once() {
    for shards in SHARDS {
        for (delay_s, is_connected) in [(0, true), (5, true), (5, false)] {
            let mut bench = Bench::new(shards);
            absent(&mut bench, "s", "w", AtLeastOnce);
            bench.connect_with(1, "owner", |connect| connect.will = will("w", delay_s));
            if !is_connected {
                bench.lose(1);
                bench.sync();
                bench.pass_s(3);
            }
            bench.crash();
            bench.sync();
            bench.crash();
            let left_s = match (is_connected, delay_s) {
                (false, _) => 2,
                (true, delay_s) => u64::from(delay_s),
            };
            if left_s > 0 {
                bench.pass_s(left_s - 1);
                bench.sync();
                assert_eq!(bench.queued_messages(), 0, "too early");
                bench.pass_s(1);
            }
            bench.tick();
            bench.sync();
            bench.crash();
            bench.pass_s(100);
            bench.sync();
            bench.connect(2, "s");
            assert_eq!(bench.payloads(2), ["gone"], "{shards} shards, delay {delay_s}, connected {is_connected}");
        }
    }
}

#[test]
fn r10_a_will_is_forgotten_when_its_owner_says_goodbye_or_comes_back() {
    let mut bench = Bench::new(1);
    absent(&mut bench, "s", "w", AtLeastOnce);
    bench.connect_with(1, "polite", |connect| connect.will = will("w", 5));
    bench.leave(1, None, false);
    bench.connect_with(2, "back", |connect| connect.will = will("w", 5));
    bench.lose(2);
    bench.connect(2, "back");
    bench.crash();
    bench.pass_s(100);
    bench.sync();
    bench.connect(3, "s");
    assert!(bench.take(3).is_empty());
}

#[test]
fn r10_a_will_is_published_with_the_rights_that_its_owner_has_then() {
    let mut bench = Bench::new(1);
    absent(&mut bench, "s", "w", AtLeastOnce);
    bench.connect_with(1, "owner", |connect| connect.will = will("w", 5));
    let rules = vec![Rule::for_everyone(Actions::PUBLISH, "w", false)];
    bench.policy = Policy::new(rules, true);
    bench.crash();
    bench.pass_s(5);
    bench.sync();
    bench.connect(3, "s");
    assert!(bench.take(3).is_empty());
}

#[test]
fn r11_sessions_end_when_they_should_though_the_broker_was_away() {
    for shards in SHARDS {
        let mut bench = Bench::new(shards);
        bench.connect_with(1, "absent", |connect| connect.session_expiry_s = 60);
        bench.lose(1);
        bench.connect_with(2, "present", |connect| connect.session_expiry_s = 60);
        bench.connect_with(7, "lost", |connect| connect.session_expiry_s = 60);
        bench.connect_with(3, "for ever", |connect| connect.session_expiry_s = u32::MAX);
        bench.sync();
        bench.pass_s(50);
        bench.crash();
        bench.sync();
        bench.pass_s(20);
        bench.sync();
        // Who was connected has its time from the end of the process on, and another end does not start it anew.
        bench.crash();
        bench.pass_s(35);
        bench.sync();
        assert!(!bench.connect(4, "absent"));
        assert!(bench.connect(5, "present"));
        bench.pass_s(10);
        bench.sync();
        assert!(!bench.connect(7, "lost"));
        bench.lose(5);
        bench.sync();
        bench.now.mono_ns += 2_000 * althing_core::time::SECOND_NS;
        bench.crash();
        bench.tick();
        bench.sync();
        assert!(!bench.connect(5, "present"));
        assert!(bench.connect(6, "for ever"));
    }
}

#[test]
fn r11_what_is_due_is_done_before_a_session_is_resumed() {
    let mut bench = Bench::new(1);
    absent(&mut bench, "s", "w", AtLeastOnce);
    bench.connect_with(1, "owner", |connect| connect.will = will("w", 5));
    bench.connect_with(2, "ends", |connect| connect.session_expiry_s = 5);
    bench.lose(1);
    bench.lose(2);
    bench.sync();
    bench.crash();
    // No timer has fired.
    bench.now.mono_ns += 5 * althing_core::time::SECOND_NS;
    assert!(bench.connect(1, "owner"));
    assert!(!bench.connect(2, "ends"));
    bench.connect(3, "s");
    assert_eq!(bench.payloads(3), ["gone"]);
}

#[test]
fn r11_messages_expire_though_the_broker_was_away() {
    let mut bench = Bench::new(1);
    absent(&mut bench, "s", "t", AtLeastOnce);
    bench.connect_briefly(1, "p");
    for (payload, expires_s) in [("old", 5), ("new", 500)] {
        let expires_ns = Some(bench.now.after_s(expires_s));
        bench.publish_with(1, "t", payload, AtLeastOnce, |publish| {
            (publish.message.expires_ns, publish.message.retain) = (expires_ns, true);
        });
    }
    bench.sync();
    bench.crash();
    bench.pass_s(10);
    bench.connect(2, "s");
    assert_eq!(bench.payloads(2), ["new"]);
    bench.pass_s(1_000);
    bench.sync();
    bench.crash();
    bench.connect(3, "s");
    bench.subscribe(3, "t", AtMostOnce);
    bench.sync();
    assert_eq!(bench.payloads(3), ["new"], "on its way it does not expire; as a last value it has");
}

#[test]
fn what_nobody_sends_again_reaches_every_shard_once_though_the_process_ends_on_the_way() {
    for (shards, shards_then) in [(3, 3), (3, 1), (3, 2)] {
        for synced in 1..=3 {
            let mut bench = Bench::new(shards);
            for client in ["a", "b", "c", "d", "e", "f"] {
                absent(&mut bench, client, "t", ExactlyOnce);
            }
            bench.connect(1, "p");
            let message = Message { guarantee: ExactlyOnce, ..Message::new(topic("t"), "once".into()) };
            let publish = Request::Publish(Publish { message, token: Some(9), correlation: 9 });
            let peer = bench.peer(1);
            bench.call(peer.shard, |broker, now, effects| broker.request(now, peer, publish.clone(), effects));
            // The origin's step is durable; of the others' as many as there are.
            for _ in 0..synced {
                bench.step();
                bench.sync_one();
            }
            bench.start(shards_then);
            bench.sync();
            bench.connect(1, "p");
            bench.request(1, publish);
            bench.sync();
            assert!(is_published(&bench.take_answers(1)));
            for client in ["a", "b", "c", "d", "e", "f"] {
                bench.connect(2, client);
                let payloads = bench.payloads(2);
                assert!(!payloads.is_empty(), "{client} has lost it, {synced} of {shards} then {shards_then}");
                assert!(shards_then < shards || payloads == ["once"], "{client} has {payloads:?}");
            }
        }
    }
}
