//! Queues that only the store has, and what a full store refuses.

mod bench;

use althing_core::Guarantee::{self, AtLeastOnce, AtMostOnce};
use althing_core::limits::Overflow;
use althing_core::record::Record;
use althing_core::verbs::*;
use althing_core::{Limits, Reason};
use bench::Bench;

fn small() -> Limits {
    Limits { queue_memory_messages: 4, ..Limits::default() }
}

fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

/// A publisher at 1, and a lasting session that is away with `count` messages waiting.
fn backlog(limits: Limits, count: u32) -> Bench {
    let mut bench = Bench::with(1, limits);
    bench.connect_briefly(1, "p");
    bench.connect(2, "s");
    bench.subscribe(2, "t", AtLeastOnce);
    bench.lose(2);
    bench.sync();
    for number in 0..count {
        bench.publish(1, "t", &number.to_string(), AtLeastOnce);
    }
    bench.sync();
    bench
}

/// Everything that comes at `slot` when each delivery is settled.
fn drain(bench: &mut Bench, slot: u32) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let taken = bench.take(slot);
        if taken.is_empty() {
            return all;
        }
        for (payload, number, _) in taken {
            all.push(payload);
            if number != 0 {
                bench.settle(slot, number, Outcome::Accept);
            }
        }
        bench.sync();
    }
}

fn assert_empty(bench: &Bench) {
    let statistics = bench.brokers[0].statistics();
    assert_eq!((statistics.queued_messages, statistics.queued_bytes, statistics.inflight_messages), (0, 0, 0));
    assert_eq!(bench.ledger.queues().count(), 0);
}

#[test]
fn a_backlog_comes_back_in_order_a_few_at_a_time() {
    for (window, crashes) in [(1, false), (3, true), (100, false)] {
        let mut bench = backlog(small(), 50);
        if crashes {
            bench.crash();
        }
        assert_eq!(bench.queued_messages(), 50);
        bench.ask(2, "s", |connect| connect.window = window);
        while bench.sync_one() {}
        assert_eq!(bench.loads.len(), 1, "one at a time");
        assert_eq!(bench.loads[0].1.sequences.len(), 4);
        bench.sync();
        assert_eq!(drain(&mut bench, 2), numbers(0..50));
        assert_empty(&bench);
    }
}

#[test]
fn what_comes_while_others_are_on_disk_comes_behind_them() {
    let mut bench = backlog(small(), 10);
    bench.connect_with(2, "s", |connect| connect.window = 1);
    bench.connect_briefly(1, "p");
    let mut got = Vec::new();
    for number in 10..40 {
        bench.publish(1, "t", &number.to_string(), AtLeastOnce);
        for (payload, delivery, _) in bench.take(2) {
            got.push(payload);
            bench.settle(2, delivery, Outcome::Accept);
        }
    }
    bench.sync();
    got.extend(drain(&mut bench, 2));
    assert_eq!(got, numbers(0..40));
    assert_empty(&bench);
}

#[test]
fn a_busy_session_keeps_few_in_memory_and_a_lost_one_none() {
    let mut bench = backlog(small(), 0);
    bench.connect_with(2, "s", |connect| connect.window = 1);
    for number in 0..20 {
        bench.publish(1, "t", &number.to_string(), AtLeastOnce);
    }
    bench.sync();
    assert_eq!(bench.loads.len(), 0, "nothing is loaded while there is enough in memory");
    bench.lose(2);
    bench.sync();
    bench.ask(2, "s", |connect| connect.window = 3);
    while bench.sync_one() {}
    // It leaves and comes back while a load is under way: nothing twice, nothing out of order.
    assert_eq!(bench.loads.len(), 1);
    let late = bench.loads.pop_front().expect("a load");
    bench.lose(2);
    assert_eq!(bench.take(2), [("0".into(), 1, false), ("0".into(), 1, true)]);
    bench.ask(2, "s", |connect| connect.window = 30);
    while bench.sync_one() {}
    bench.loads.push_front(late);
    assert_eq!(drain(&mut bench, 2), numbers(0..20));
    assert_empty(&bench);
}

#[test]
fn what_is_loaded_for_a_peer_that_has_left_does_not_stay_in_memory() {
    let mut bench = backlog(small(), 10);
    bench.ask(2, "s", |_| {});
    while bench.sync_one() {}
    let late = bench.loads.pop_front().expect("a load");
    bench.lose(2);
    bench.loads.push_back(late.clone());
    bench.sync();
    bench.ask(2, "s", |_| {});
    while bench.sync_one() {}
    assert_eq!(bench.loads, [late], "the same are read again");
    bench.sync();
    assert_eq!(drain(&mut bench, 2), numbers(0..10));
}

#[test]
fn a_load_for_a_session_that_is_gone_or_begun_anew_changes_nothing() {
    let mut bench = backlog(small(), 10);
    bench.ask(2, "s", |_| {});
    while bench.sync_one() {}
    let late = bench.loads.pop_front().expect("a load");
    bench.connect_with(3, "s", |connect| connect.clean_start = true);
    bench.loads.push_back(late.clone());
    bench.run();
    assert!(bench.take(3).is_empty());
    bench.leave(3, Some(0), false);
    bench.loads.push_back(late);
    bench.sync();
    assert_empty(&bench);
}

#[test]
fn the_oldest_on_disk_make_room_for_the_newest() {
    let limits = Limits { queue_messages_max: 6, queue_overflow: Overflow::DropOldest, ..small() };
    let mut bench = backlog(limits, 10);
    assert_eq!(bench.brokers[0].statistics().publishes_dropped, 4);
    bench.ask(2, "s", |_| {});
    while bench.sync_one() {}
    // Two of those that are on their way are dropped meanwhile.
    let late = bench.loads.pop_front().expect("a load");
    for number in 10..12 {
        bench.publish(1, "t", &number.to_string(), AtLeastOnce);
    }
    bench.loads.push_front(late);
    bench.sync();
    assert_eq!(drain(&mut bench, 2), numbers(6..12));
    assert_empty(&bench);
}

#[test]
fn what_expires_on_disk_is_dropped_when_it_is_read() {
    let mut bench = backlog(small(), 3);
    let expires_ns = Some(bench.now.after_s(10));
    for _ in 0..10 {
        bench.publish_with(1, "t", "old", AtLeastOnce, |publish| publish.message.expires_ns = expires_ns);
    }
    bench.publish(1, "t", "3", AtLeastOnce);
    bench.sync();
    bench.pass_s(20);
    bench.connect(2, "s");
    assert_eq!(drain(&mut bench, 2), numbers(0..4));
    assert_eq!(bench.brokers[0].statistics().publishes_dropped, 10);
    assert_empty(&bench);
}

#[test]
fn what_the_store_has_lost_is_counted_and_holds_nobody_up() {
    let mut bench = backlog(small(), 10);
    bench.ask(2, "s", |_| {});
    while bench.sync_one() {}
    let (shard, load) = bench.loads.pop_front().expect("a load");
    let mut loaded = bench.ledger.load(load);
    loaded.entries.remove(1);
    bench.call(shard, |broker, now, effects| broker.loaded(now, loaded, effects));
    bench.sync();
    let expected: Vec<String> = numbers(0..10).into_iter().filter(|number| number != "1").collect();
    assert_eq!(drain(&mut bench, 2), expected);
    assert_eq!(bench.brokers[0].statistics().publishes_dropped, 1);
}

#[test]
fn queues_and_groups_leave_the_memory_too() {
    for shards in [1, 3] {
        for (crashes, name) in [(false, "$queue/q"), (true, "$queue/q"), (true, "$share/g/t")] {
            let mut bench = Bench::with(shards, small());
            bench.connect_briefly(1, "p");
            bench.connect(2, "c");
            bench.subscribe(2, name, AtLeastOnce);
            bench.lose(2);
            bench.sync();
            let topic = if name.starts_with("$queue") { name } else { "t" };
            for number in 0..30 {
                bench.publish(1, topic, &number.to_string(), AtLeastOnce);
            }
            bench.sync();
            if crashes {
                bench.crash();
            }
            assert_eq!(bench.queued_messages(), 30);
            bench.connect_with(2, "c", |connect| connect.window = 2);
            bench.sync();
            assert_eq!(drain(&mut bench, 2), numbers(0..30), "{shards} shards, {name}");
            assert_eq!((bench.queued_messages(), bench.ledger.queues().count()), (0, 0));
        }
    }
}

#[test]
fn a_group_that_nobody_attends_keeps_nothing_in_memory() {
    let mut bench = Bench::with(1, small());
    bench.connect_briefly(1, "p");
    bench.connect(2, "c");
    bench.subscribe(2, "$queue/q", AtLeastOnce);
    for number in 0..3 {
        bench.publish(1, "$queue/q", &number.to_string(), AtLeastOnce);
    }
    bench.sync();
    assert_eq!((bench.payloads(2), bench.loads.len()), (numbers(0..3), 0));
    bench.lose(2);
    bench.sync();
    bench.ask(2, "c", |_| {});
    while bench.sync_one() {}
    assert_eq!(bench.loads.len(), 1, "what came back was let go");
    bench.sync();
    assert_eq!(drain(&mut bench, 2), numbers(0..3));
    assert_empty(&bench);
}

#[test]
fn at_most_once_never_leaves_the_memory() {
    let mut bench = backlog(Limits { queue_at_most_once: true, ..small() }, 10);
    for _ in 0..10 {
        bench.publish(1, "t", "live", AtMostOnce);
    }
    bench.sync();
    bench.connect(2, "s");
    let got = drain(&mut bench, 2);
    assert_eq!(got.iter().filter(|payload| *payload == "live").count(), 10);
    let stored: Vec<String> = got.into_iter().filter(|payload| payload != "live").collect();
    assert_eq!(stored, numbers(0..10));
    assert_empty(&bench);
}

#[test]
fn a_broker_without_a_store_keeps_everything_in_memory() {
    use althing_core::authorisation::Policy;
    use althing_core::{Entropy, broker::Broker};
    let mut bench = Bench::with(1, small());
    bench.brokers[0] = Broker::new(0, 1, small().into(), Policy::open().into(), Entropy::new(1));
    bench.connect_briefly(1, "p");
    bench.connect(2, "s");
    bench.subscribe(2, "t", AtLeastOnce);
    bench.lose(2);
    for number in 0..20 {
        bench.publish(1, "t", &number.to_string(), AtLeastOnce);
    }
    bench.connect_with(2, "s", |connect| connect.window = 100);
    assert_eq!((bench.loads.len(), bench.payloads(2)), (0, numbers(0..20)));
}

#[test]
fn a_full_store_refuses_what_it_would_have_to_keep_and_nothing_else() {
    let mut bench = backlog(small(), 2);
    bench.connect_briefly(3, "live");
    bench.subscribe(3, "t", AtLeastOnce);
    bench.subscribe(3, "other", AtLeastOnce);
    bench.connect(4, "member");
    bench.subscribe(4, "$share/g/shared", AtLeastOnce);
    bench.sync();
    bench.brokers[0].set_room(false);
    let publish = |bench: &mut Bench, name: &str, guarantee: Guarantee, retain: bool, payload: &str| {
        bench.publish_with(1, name, payload, guarantee, |publish| {
            (publish.message.retain, publish.token) = (retain, Some(7));
        });
        bench.sync();
        match &bench.take_answers(1)[..] {
            [Answer::Published { outcome: Ok(_), .. }] => true,
            [Answer::Published { outcome: Err(refusal), .. }] => {
                assert_eq!((refusal.reason, &refusal.text[..]), (Reason::StoreFull, "the store is full"));
                false
            }
            other => panic!("{other:?}"),
        }
    };
    bench.take_answers(1);
    assert!(!publish(&mut bench, "t", AtLeastOnce, false, "refused"));
    assert!(!publish(&mut bench, "other", AtLeastOnce, true, "refused"));
    assert!(!publish(&mut bench, "other", AtMostOnce, true, "refused"));
    assert!(!publish(&mut bench, "$queue/new", AtLeastOnce, false, "refused"));
    assert!(!publish(&mut bench, "shared", AtLeastOnce, false, "refused"));
    assert!(bench.take(3).is_empty(), "nobody gets what is refused");
    assert_eq!(bench.brokers[0].statistics().queues, 0);
    assert!(publish(&mut bench, "t", AtMostOnce, false, "1"));
    assert!(publish(&mut bench, "other", AtLeastOnce, false, "2"));
    assert!(publish(&mut bench, "other", AtLeastOnce, true, ""));
    assert_eq!(bench.payloads(3), ["1", "2", ""]);
    // Draining goes on, and makes room.
    bench.connect(2, "s");
    assert_eq!(drain(&mut bench, 2), numbers(0..2));
    bench.connect(5, "new");
    bench.subscribe(5, "x", AtLeastOnce);
    bench.sync();
    bench.lose(5);
    bench.sync();
    bench.brokers[0].set_room(true);
    assert!(publish(&mut bench, "t", AtLeastOnce, true, "3"));
    assert!(bench.unsynced().is_empty());
    assert_eq!(bench.payloads(2), ["3"]);
}

#[test]
fn a_will_is_kept_though_the_store_is_full() {
    let mut bench = backlog(small(), 0);
    let mut message = althing_core::Message::new(bench::topic("t"), "gone".into());
    message.guarantee = AtLeastOnce;
    let will = Will { message, delay_s: 0, expiry_s: None };
    bench.connect_with(3, "owner", |connect| connect.will = Some(Box::new(will)));
    bench.brokers[0].set_room(false);
    bench.lose(3);
    assert!(bench.unsynced().iter().any(|record| matches!(record, Record::Queued { .. })));
    bench.sync();
    bench.connect(2, "s");
    assert_eq!(bench.payloads(2), ["gone"]);
}
