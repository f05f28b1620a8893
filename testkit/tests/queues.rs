//! Queues are bounded, their overflow has a policy, and a slow subscriber slows nobody but its publishers.

#![allow(clippy::unwrap_used, reason = "a failing test is meant to panic")]

use althing_core::Guarantee::{AtLeastOnce, AtMostOnce};
use althing_core::limits::Overflow;
use althing_mqtt::client::publication;
use althing_mqtt::packet::{Connect, Version};
use althing_testkit::house::{Grain, House, Setup, StationId, connect_packet, topic};
use althing_testkit::worlds::{worlds, worlds_with};
use bytes::Bytes;

fn persistent(client_id: &str) -> Connect {
    Connect { clean_start: false, session_expiry_s: Some(3_600), ..connect_packet(client_id, Version::V5) }
}

/// A publisher, and an absent subscriber of `news` at QoS 1.
fn with_absent_subscriber(house: &mut House) -> [StationId; 2] {
    let [alice] = house.connected(["alice"], Version::V5);
    let bob = house.station();
    house.connect(bob, persistent("bob"));
    house.settle();
    house.listen(bob, "news", AtLeastOnce);
    house.settle();
    house.cut_station(bob);
    house.settle();
    [alice, bob]
}

/// Publishes eight numbered messages and returns the codes of their acknowledgements.
fn publish_eight(house: &mut House, alice: StationId) -> Vec<u8> {
    let mut codes = Vec::new();
    for number in 0..8 {
        let token = house.say(alice, "news", &number.to_string(), AtLeastOnce).unwrap();
        house.settle();
        codes.push(house.at(alice).codes_of(token).unwrap()[0]);
    }
    codes
}

fn come_back(house: &mut House, bob: StationId) -> Vec<String> {
    house.connect(bob, persistent("bob"));
    house.settle();
    house.at(bob).payloads()
}

fn with_overflow(overflow: Overflow) -> impl Fn(&mut Setup) {
    move |setup| (setup.limits.queue_messages_max, setup.limits.queue_overflow) = (5, overflow)
}

#[test]
fn the_oldest_makes_room() {
    worlds_with(4, with_overflow(Overflow::DropOldest), |house| {
        let [alice, bob] = with_absent_subscriber(house);
        assert_eq!(publish_eight(house, alice), [0; 8]);
        assert_eq!(house.statistics().queued_messages, 5);
        assert_eq!(come_back(house, bob), ["3", "4", "5", "6", "7"]);
        assert_eq!(house.statistics().publishes_dropped, 3);
    });
}

#[test]
fn the_newest_is_dropped() {
    worlds_with(4, with_overflow(Overflow::DropNewest), |house| {
        let [alice, bob] = with_absent_subscriber(house);
        assert_eq!(publish_eight(house, alice), [0; 8]);
        assert_eq!(come_back(house, bob), ["0", "1", "2", "3", "4"]);
        assert_eq!(house.statistics().publishes_dropped, 3);
    });
}

#[test]
fn the_publisher_is_refused() {
    worlds_with(4, with_overflow(Overflow::Refuse), |house| {
        let [alice, bob] = with_absent_subscriber(house);
        let codes = publish_eight(house, alice);
        // Shards answer each other only with success: what the queue on another shard cannot take is dropped and
        // counted there.
        if house.statistics().publishes_dropped == 0 {
            assert_eq!(codes, [0, 0, 0, 0, 0, 0x97, 0x97, 0x97]);
        } else {
            assert_eq!((codes, house.statistics().publishes_dropped), (vec![0; 8], 3));
            assert!(house.shards() > 1);
        }
        assert_eq!(come_back(house, bob), ["0", "1", "2", "3", "4"]);
    });
}

#[test]
fn bytes_are_bounded_too() {
    let prepare = |setup: &mut Setup| setup.limits.queue_bytes_max = 2_000;
    worlds_with(2, prepare, |house| {
        let [alice, bob] = with_absent_subscriber(house);
        for _ in 0..20 {
            house.say(alice, "news", &"x".repeat(500), AtLeastOnce);
        }
        house.settle();
        let statistics = house.statistics();
        assert!(statistics.queued_bytes <= 2_000 && statistics.queued_messages == 3, "{statistics:?}");
        assert_eq!(come_back(house, bob).len(), 3);
    });
}

#[test]
fn at_most_once_does_not_wait_for_the_absent() {
    worlds(2, |house| {
        let [alice, bob] = with_absent_subscriber(house);
        house.say(alice, "news", "gone", AtMostOnce);
        house.settle();
        assert_eq!(house.statistics().queued_messages, 0);
        assert!(come_back(house, bob).is_empty());
    });
}

fn small_buffers(setup: &mut Setup) {
    setup.grain = Some(Grain::Whole);
    setup.limits.write_buffer_high_bytes = 64 << 10;
    setup.limits.write_buffer_low_bytes = 16 << 10;
    setup.limits.queue_messages_max = 50;
}

#[test]
fn a_subscriber_that_stops_reading_slows_its_publisher_then_loses_and_harms_nobody() {
    worlds_with(3, small_buffers, |house| {
        let [flood, deaf, alice, bob] = house.connected(["flood", "deaf", "alice", "bob"], Version::V5);
        house.listen(deaf, "flood", AtMostOnce);
        house.listen(bob, "news", AtLeastOnce);
        house.settle();
        let wire = house.wire_of(deaf).unwrap();
        house.set_reading(wire, false);
        let payload = Bytes::from(vec![b'x'; 4_096]);
        let say = |house: &mut House| {
            house.publish(flood, publication(topic("flood"), payload.clone(), AtMostOnce));
        };
        (0..400).for_each(|_| say(house));
        house.settle();
        assert_eq!(house.publishers_paused(), house.publishers_paused().min(1));
        assert!(house.statistics().queued_messages <= 50, "{:?}", house.statistics());

        house.say(alice, "news", "one", AtLeastOnce);
        house.settle();
        assert_eq!(house.at(bob).payloads(), ["one"], "others are fed while one is slow");

        house.pass_ms(5_001);
        assert_eq!(house.publishers_paused(), 0, "stalled: nobody waits for it any more");
        (0..400).for_each(|_| say(house));
        house.settle();
        assert!(house.statistics().publishes_dropped > 0);
        assert!(house.statistics().queued_messages <= 50, "{:?}", house.statistics());
        house.say(alice, "news", "two", AtLeastOnce);
        house.settle();
        assert_eq!(house.at(bob).payloads(), ["one", "two"]);

        house.set_reading(wire, true);
        house.settle();
        assert_eq!(house.statistics().queued_messages, 0, "it reads again and gets what was kept");
        house.take_received(deaf);
        say(house);
        house.settle();
        assert_eq!(house.at(deaf).received.len(), 1);
    });
}

#[test]
fn a_slow_subscriber_that_reads_again_has_lost_nothing() {
    worlds_with(3, small_buffers, |house| {
        let [alice, bob] = house.connected(["alice", "bob"], Version::V5);
        house.listen(bob, "data", AtMostOnce);
        house.settle();
        let wire = house.wire_of(bob).unwrap();
        house.set_reading(wire, false);
        for number in 0..300 {
            let payload = Bytes::from(format!("{number:04096}"));
            house.publish(alice, publication(topic("data"), payload, AtMostOnce));
        }
        house.settle();
        house.set_reading(wire, true);
        house.settle();
        let numbers: Vec<usize> = house.at(bob).payloads().iter().map(|text| text.parse().unwrap()).collect();
        let expected: Vec<usize> = (0..300).collect();
        if house.statistics().publishes_dropped == 0 {
            assert_eq!(numbers, expected);
        } else {
            // Publishers on other shards hear later that they should wait; what the queue could not hold is counted.
            assert_eq!(numbers.len() as u64 + house.statistics().publishes_dropped, 300);
            assert!(numbers.is_sorted());
        }
    });
}
