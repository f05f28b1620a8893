//! Entries of groups and queues on their way between shards and sessions: wherever the process ends, each is in
//! exactly one place.

mod bench;

use althing_core::Guarantee::{AtLeastOnce, AtMostOnce, ExactlyOnce};
use althing_core::record::{QueueKey, Record};
use althing_core::shard::Word;
use althing_core::verbs::Outcome;
use bench::{Bench, topic};

const SHARDS: [u16; 2] = [1, 3];

/// How many entries the ledger has.
fn stored(bench: &Bench) -> usize {
    bench.ledger.queues().map(|(_, places)| places.count()).sum()
}

fn names(records: &[&Record]) -> Vec<&'static str> {
    let name = |record: &&Record| match record {
        Record::Queued { queue: QueueKey::Group(_), .. } => "queued at the group",
        Record::Queued { .. } => "queued at the session",
        Record::Moved { queue: QueueKey::Group(_), .. } => "moved to the group",
        Record::Moved { .. } => "moved to the session",
        Record::Settled { queue: QueueKey::Group(_), .. } => "settled at the group",
        Record::Settled { .. } => "settled at the session",
        Record::QueueClosed(QueueKey::Group(_)) => "group closed",
        Record::Numbered { .. } => "numbered",
        Record::Session(_) => "session",
        _ => "other",
    };
    records.iter().map(name).collect()
}

#[test]
fn a_member_that_lasts_takes_the_entry_over_and_gives_it_back_in_one_act() {
    let mut bench = Bench::new(1);
    bench.connect_with(2, "m", |connect| connect.session_expiry_s = u32::MAX);
    bench.subscribe(2, "$share/g/t", AtLeastOnce);
    bench.lose(2);
    bench.sync();
    bench.connect_briefly(1, "p");
    bench.publish(1, "t", "x", AtLeastOnce);
    assert_eq!(names(&bench.unsynced()), ["queued at the group"]);
    bench.sync();
    bench.connect_with(2, "m", |connect| connect.session_expiry_s = u32::MAX);
    assert_eq!(stored(&bench), 1);
    assert_eq!(bench.take(2), [("x".into(), 1, false)]);
    bench.lose(2);
    assert_eq!(names(&bench.unsynced()), ["moved to the group"]);
    bench.crash();
    assert_eq!(names(&bench.unsynced()), ["moved to the group"], "it comes back by itself after a crash");
    assert_eq!((bench.queued_messages(), bench.inflight_messages()), (1, 0));
    bench.ask(2, "m", |_| {});
    bench.sync();
    assert_eq!(bench.payloads(2), ["x"]);
    bench.settle(2, 1, Outcome::Accept);
    bench.sync();
    assert_eq!(stored(&bench), 0);
}

#[test]
fn a_member_that_is_there_and_lasts_stores_a_new_message_itself() {
    let mut bench = Bench::new(1);
    bench.connect(2, "m");
    bench.subscribe(2, "$share/g/t", AtLeastOnce);
    bench.sync();
    bench.connect_briefly(1, "p");
    bench.publish(1, "t", "x", AtLeastOnce);
    assert_eq!(names(&bench.unsynced()), ["queued at the session", "numbered"]);
}

#[test]
fn what_a_member_that_does_not_last_has_stays_stored_at_the_queue() {
    for shards in SHARDS {
        let mut bench = Bench::new(shards);
        bench.connect_briefly(1, "p");
        bench.connect_briefly(2, "c");
        bench.subscribe(2, "$queue/q", AtLeastOnce);
        bench.sync();
        bench.publish(1, "$queue/q", "waits", AtLeastOnce);
        assert_eq!(names(&bench.unsynced()), ["queued at the group"]);
        bench.publish(1, "$queue/q", "settled", AtLeastOnce);
        bench.sync();
        assert_eq!(bench.take(2), [("waits".into(), 1, false), ("settled".into(), 2, false)]);
        bench.settle(2, 2, Outcome::Accept);
        bench.settle(2, 1, Outcome::Release);
        bench.run();
        assert_eq!(bench.take(2), [("waits".into(), 3, false)]);
        assert_eq!(names(&bench.unsynced()), ["settled at the group"]);
        bench.sync();
        bench.crash();
        bench.connect_briefly(4, "d");
        bench.subscribe(4, "$queue/q", AtLeastOnce);
        bench.sync();
        assert_eq!(bench.payloads(4), ["waits"], "a crash gives it to somebody else");
        bench.settle(4, 1, Outcome::Accept);
        bench.sync();
        assert_eq!(stored(&bench), 0);
    }
}

#[test]
fn a_group_without_lasting_members_stores_nothing() {
    let mut bench = Bench::new(1);
    bench.connect_briefly(1, "p");
    bench.connect_with(2, "m", |connect| (connect.session_expiry_s, connect.window) = (0, 1));
    bench.subscribe(2, "$share/g/t", AtLeastOnce);
    for payload in ["1", "2", "3"] {
        bench.publish(1, "t", payload, AtLeastOnce);
    }
    bench.lose(2);
    assert_eq!(bench.unsynced(), [] as [&Record; 0]);
    assert_eq!((bench.queued_messages(), bench.inflight_messages()), (0, 0));
}

#[test]
fn an_exactly_once_delivery_under_way_is_given_to_nobody_else_after_a_crash() {
    for member_lasts in [true, false] {
        let mut bench = Bench::new(1);
        bench.connect(3, "absent");
        bench.subscribe(3, "$share/g/t", ExactlyOnce);
        bench.lose(3);
        bench.connect_briefly(1, "p");
        bench.connect_with(2, "m", |connect| connect.session_expiry_s = if member_lasts { 60 } else { 0 });
        bench.subscribe(2, "$share/g/t", ExactlyOnce);
        bench.sync();
        bench.publish(1, "t", "x", ExactlyOnce);
        assert!(bench.take(2).is_empty(), "it waits until nobody else can have it");
        bench.sync();
        assert_eq!(bench.payloads(2), ["x"]);
        bench.crash();
        bench.sync();
        bench.connect(3, "absent");
        assert!(bench.take(3).is_empty(), "[MQTT-4.8.2-4], [MQTT-4.8.2-5]");
        bench.connect(2, "m");
        assert_eq!(bench.take(2).len(), usize::from(member_lasts));
    }
}

#[test]
fn what_an_exactly_once_delivery_leaves_behind_ends_with_its_session() {
    let mut bench = Bench::new(1);
    bench.connect(2, "m");
    bench.subscribe(2, "$share/g/t", ExactlyOnce);
    bench.connect_briefly(1, "p");
    bench.publish(1, "t", "x", ExactlyOnce);
    bench.sync();
    bench.leave(2, Some(0), false);
    bench.sync();
    assert_eq!(bench.ledger.restored(), []);
}

#[test]
fn the_last_member_that_leaves_ends_what_waits() {
    for shards in SHARDS {
        let mut bench = Bench::new(shards);
        bench.connect_with(2, "m", |connect| connect.window = 1);
        bench.subscribe(2, "$share/g/t", AtLeastOnce);
        bench.connect_briefly(1, "p");
        bench.sync();
        for payload in ["1", "2", "3"] {
            bench.publish(1, "t", payload, AtLeastOnce);
        }
        bench.sync();
        assert_eq!(stored(&bench), 3);
        bench.unsubscribe(2, "$share/g/t");
        bench.sync();
        assert_eq!((stored(&bench), bench.queued_messages(), bench.inflight_messages()), (0, 0, 0));
    }
}

#[test]
fn what_a_group_takes_back_leaves_room_for_what_waits_behind_it() {
    let mut bench = Bench::new(1);
    bench.connect_briefly(1, "p");
    bench.connect_with(2, "m", |connect| connect.window = 2);
    for name in ["$share/g/one", "$share/g/two"] {
        bench.subscribe(2, name, AtLeastOnce);
    }
    for (name, payload) in [("one", "1"), ("one", "2"), ("two", "3")] {
        bench.publish(1, name, payload, AtLeastOnce);
    }
    assert_eq!(bench.payloads(2), ["1", "2"]);
    bench.unsubscribe(2, "$share/g/one");
    assert_eq!(bench.payloads(2), ["3"]);
}

#[test]
fn what_is_between_two_shards_finds_its_group_in_whatever_order_a_start_goes() {
    for publisher in ["p", "q", "r", "s"] {
        for member in ["a", "b", "c", "d"] {
            for first in 0..3 {
                let mut bench = Bench::new(3);
                bench.connect(2, member);
                bench.subscribe(2, "$share/g/t", ExactlyOnce);
                bench.sync();
                bench.lose(2);
                bench.connect(1, publisher);
                bench.publish(1, "t", "x", ExactlyOnce);
                // The origin's step is durable, and no other.
                bench.sync_one();
                bench.begin(3);
                let words: Vec<_> = bench.words.drain(..).collect();
                let (early, late): (Vec<_>, Vec<_>) = words.into_iter().partition(|(from, ..)| *from == first);
                bench.words.extend(early.into_iter().chain(late));
                bench.sync();
                bench.connect(2, member);
                assert_eq!(bench.payloads(2), ["x"], "from {publisher} to {member}, shard {first} first");
            }
        }
    }
}

#[test]
fn what_comes_back_to_a_group_that_is_gone_is_over() {
    let mut bench = Bench::new(3);
    bench.connect_briefly(1, "p");
    let mut met = false;
    for name in ["a", "b", "c", "d", "e"] {
        bench.connect(2, name);
        bench.subscribe(2, "$share/g/t", AtLeastOnce);
        bench.sync();
        let peer = bench.peer(1);
        let message =
            althing_core::Message { guarantee: AtLeastOnce, ..althing_core::Message::new(topic("t"), "x".into()) };
        let publish = althing_core::verbs::Publish { message, token: None, correlation: 1 };
        bench.call(peer.shard, |broker, now, effects| {
            broker.request(now, peer, althing_core::Request::Publish(publish), effects);
        });
        let is_on_its_way = |(.., word): &(u16, u16, Word)| matches!(word, Word::Assign { .. });
        while !bench.words.iter().any(is_on_its_way) && bench.step() {}
        met |= bench.words.iter().any(is_on_its_way);
        // The member leaves for good before the message has come.
        let peer = bench.peer(2);
        let filters = vec![Ok(bench::filter("$share/g/t"))];
        let unsubscribe = althing_core::verbs::Unsubscribe { correlation: 2, filters };
        bench.call(peer.shard, |broker, now, effects| {
            broker.request(now, peer, althing_core::Request::Unsubscribe(Box::new(unsubscribe)), effects);
        });
        bench.words.rotate_left(bench.words.iter().position(is_on_its_way).map_or(0, |at| at + 1));
        bench.sync();
        assert_eq!((stored(&bench), bench.queued_messages(), bench.inflight_messages()), (0, 0, 0), "{name}");
        bench.lose(2);
        bench.sync();
    }
    assert!(met, "none of them is on another shard than the group");
}

#[test]
fn entries_of_a_session_that_is_gone_go_back_to_their_group() {
    for shards in SHARDS {
        let mut bench = Bench::new(shards);
        bench.connect_with(2, "leaver", |connect| connect.window = 2);
        bench.subscribe(2, "$share/g/t", AtLeastOnce);
        bench.connect_briefly(1, "p");
        bench.sync();
        bench.publish(1, "t", "x", AtLeastOnce);
        bench.sync();
        bench.connect(3, "stays");
        bench.subscribe(3, "$share/g/t", AtLeastOnce);
        bench.lose(3);
        bench.sync();
        // The end of the session is durable, the way back to the group is not.
        let left = althing_core::verbs::Disconnect {
            publish_will: false,
            session_expiry_s: Some(0),
            reason: althing_core::Reason::Normal,
        };
        let peer = bench.peer(2);
        bench.call(peer.shard, |broker, now, effects| {
            broker.request(now, peer, althing_core::Request::Disconnect(left), effects);
        });
        while bench.sync_one() {}
        bench.crash();
        bench.sync();
        assert_eq!(stored(&bench), 1, "{:?}", bench.ledger);
        bench.connect(3, "stays");
        assert_eq!(bench.payloads(3), ["x"]);
    }
}

#[test]
fn a_queue_keeps_its_order_and_its_name_through_a_crash() {
    for shards in SHARDS {
        let mut bench = Bench::new(shards);
        bench.connect_briefly(1, "p");
        for payload in ["1", "2", "3"] {
            bench.publish(1, "$queue/q", payload, AtLeastOnce);
        }
        bench.publish(1, "$queue/q", "4", AtMostOnce);
        bench.sync();
        bench.connect_briefly(2, "c");
        bench.subscribe(2, "$queue/q", AtLeastOnce);
        bench.sync();
        bench.settle(2, 2, Outcome::Accept);
        bench.lose(2);
        bench.sync();
        bench.crash();
        let queues: u64 = bench.brokers.iter().map(|broker| broker.statistics().queues).sum();
        assert_eq!((queues, bench.queued_messages()), (1, 2));
        bench.connect_briefly(2, "c");
        bench.subscribe(2, "$queue/q", AtLeastOnce);
        bench.sync();
        assert_eq!(bench.payloads(2), ["1", "3"]);
    }
}
