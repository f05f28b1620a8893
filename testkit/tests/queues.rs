//! Queues (`$queue/NAME`): whichever shard has them, and whoever comes and goes, every message is taken.

use althing_core::Guarantee::AtLeastOnce;
use althing_mqtt::packet::Version;
use althing_testkit::house::{Downtime, House, Keeping, Setup, connect_packet};
use althing_testkit::worlds::{worlds, worlds_with};
use std::collections::BTreeSet;

const QUEUES: [&str; 3] = ["$queue/a", "$queue/b", "$queue/c/d"];

fn is_empty(house: &House) -> bool {
    let statistics = house.statistics();
    (statistics.queues, statistics.queued_messages, statistics.queued_bytes, statistics.inflight_messages)
        == (0, 0, 0, 0)
}

#[test]
fn a_queue_waits_for_its_consumer_and_keeps_the_order_of_each_publisher() {
    worlds(10, |house| {
        let [alice, bob] = house.connected(["alice", "bob"], Version::V5);
        for queue in QUEUES {
            for number in 0..5 {
                house.say(alice, queue, &format!("{number}"), AtLeastOnce);
            }
        }
        house.settle();
        assert_eq!((house.statistics().queues, house.statistics().queued_messages), (3, 15));
        for queue in QUEUES {
            house.listen(bob, queue, AtLeastOnce);
            house.settle();
            let taken: Vec<_> = house.take_received(bob).into_iter().map(|publish| publish.payload).collect();
            assert_eq!(taken, ["0", "1", "2", "3", "4"]);
        }
        house.disconnect(alice);
        house.disconnect(bob);
        house.settle();
        assert!(is_empty(house), "{:?}", house.statistics());
    });
}

#[test]
fn what_a_lost_consumer_had_goes_to_another_or_waits() {
    worlds(10, |house| {
        let [alice, bob, carol] = house.connected(["alice", "bob", "carol"], Version::V5);
        house.acknowledge_manually(bob);
        for queue in QUEUES {
            house.listen(bob, queue, AtLeastOnce);
        }
        house.settle();
        for queue in QUEUES {
            house.say(alice, queue, queue, AtLeastOnce);
        }
        house.settle();
        assert_eq!(house.take_received(bob).len(), 3);
        house.cut_station(bob);
        house.settle();
        assert_eq!((house.statistics().queues, house.statistics().queued_messages), (3, 3));
        for queue in QUEUES {
            house.listen(carol, queue, AtLeastOnce);
        }
        house.settle();
        let taken: BTreeSet<String> = house.at(carol).payloads().into_iter().collect();
        assert_eq!(taken, QUEUES.map(str::to_owned).into());
        house.disconnect(alice);
        house.disconnect(carol);
        house.settle();
        assert!(is_empty(house), "{:?}", house.statistics());
    });
}

#[test]
fn nothing_is_lost_while_consumers_come_and_go() {
    worlds(40, |house| {
        let [alice, last] = house.connected(["alice", "last"], Version::V5);
        let consumers = ["bob", "carol"].map(|name| (house.station(), name));
        let (mut sent, mut taken) = (BTreeSet::new(), BTreeSet::new());
        for number in 0..60 {
            let (consumer, name) = consumers[house.below(2) as usize];
            if house.at(consumer).is_connected() {
                if house.one_in(4) {
                    house.cut_station(consumer);
                }
            } else if house.one_in(2) {
                house.connect(consumer, connect_packet(name, Version::V5));
                house.settle();
                for queue in QUEUES {
                    house.listen(consumer, queue, AtLeastOnce);
                }
            }
            let queue = QUEUES[house.below(3) as usize];
            house.say(alice, queue, &format!("{number}"), AtLeastOnce);
            sent.insert(format!("{number}"));
            let steps = house.below(60);
            house.run_steps(steps);
        }
        house.settle();
        for (consumer, _) in consumers {
            taken.extend(house.at(consumer).payloads());
            if house.at(consumer).is_connected() {
                house.cut_station(consumer);
            }
        }
        house.settle();
        for queue in QUEUES {
            house.listen(last, queue, AtLeastOnce);
        }
        house.settle();
        taken.extend(house.at(last).payloads());
        assert_eq!(taken, sent);
        house.disconnect(last);
        house.disconnect(alice);
        house.settle();
        assert!(is_empty(house), "{:?}", house.statistics());
    });
}

#[test]
fn a_queue_outlives_the_power_and_what_was_not_settled_comes_again_first() {
    let on_disk = |setup: &mut Setup| setup.keeping = Keeping::Disk { segment_bytes: 4 << 10 };
    worlds_with(10, on_disk, |house| {
        let [alice] = house.connected(["alice"], Version::V5);
        for queue in QUEUES {
            for number in 0..5 {
                house.say(alice, queue, &format!("{number}"), AtLeastOnce);
            }
        }
        house.settle();
        house.crash(true, Downtime::Known(1_000));
        house.settle();
        assert_eq!((house.statistics().queues, house.statistics().queued_messages), (3, 15));
        let bob = house.station();
        house.acknowledge_manually(bob);
        let mut connect = connect_packet("bob", Version::V5);
        connect.receive_maximum = Some(3);
        house.connect(bob, connect);
        house.settle();
        house.listen(bob, QUEUES[0], AtLeastOnce);
        house.settle();
        let taken = house.take_received(bob);
        assert_eq!(taken.len(), 3);
        house.acknowledge(bob, &taken[0], 0);
        house.settle();
        house.crash(true, Downtime::Known(0));
        house.settle();
        let [carol] = house.connected(["carol"], Version::V5);
        for queue in QUEUES {
            house.listen(carol, queue, AtLeastOnce);
            house.settle();
            let taken: Vec<_> = house.take_received(carol).into_iter().map(|publish| publish.payload).collect();
            let expected: &[&str] = if queue == QUEUES[0] { &["1", "2", "3", "4"] } else { &["0", "1", "2", "3", "4"] };
            assert_eq!(taken, expected);
        }
        house.disconnect(carol);
        house.settle();
        house.assert_store_is_empty();
        assert!(is_empty(house), "{:?}", house.statistics());
    });
}
