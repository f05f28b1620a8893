//! Last values: who gets them when, and that none overwrites a newer live message.

use althing_core::Guarantee::{AtLeastOnce, AtMostOnce, ExactlyOnce};
use althing_mqtt::packet::{Connect, Subscribe, SubscribeFilter, Version};
use althing_testkit::house::{House, StationId, connect_packet};
use althing_testkit::worlds::{worlds, worlds_with};

fn subscribe_with(house: &mut House, station: StationId, filter: &str, retain_handling: u8) {
    let options = SubscribeFilter {
        filter: filter.into(),
        qos: AtLeastOnce,
        no_local: false,
        retain_as_published: false,
        retain_handling,
    };
    let filters = vec![options];
    house.subscribe(station, Subscribe { packet_id: 0, subscription_id: None, user_properties: vec![], filters });
}

#[test]
fn a_new_subscription_gets_every_matching_last_value_and_an_empty_one_clears() {
    worlds(4, |house| {
        let [alice, bob] = house.connected(["alice", "bob"], Version::V5);
        for room in ["a", "b", "c", "d"] {
            house.say_retained(alice, &format!("rooms/{room}"), "old", AtLeastOnce);
            house.say_retained(alice, &format!("rooms/{room}"), room, AtLeastOnce);
        }
        house.say_retained(alice, "rooms/b", "", AtMostOnce);
        house.settle();
        assert_eq!(house.statistics().retained_messages, 3);
        house.listen(bob, "rooms/+", AtLeastOnce);
        house.settle();
        let mut received = house.take_received(bob);
        received.sort_by_key(|publish| publish.payload.clone());
        assert!(received.iter().all(|publish| publish.retain));
        assert_eq!(received.iter().map(|publish| &publish.payload[..]).collect::<Vec<_>>(), [b"a", b"c", b"d"]);
        house.say_retained(alice, "rooms/a", "new", AtLeastOnce);
        house.settle();
        assert!(!house.take_received(bob)[0].retain, "live messages have the flag cleared");
    });
}

#[test]
fn retain_handling_says_when() {
    worlds(4, |house| {
        let [alice, bob] = house.connected(["alice", "bob"], Version::V5);
        house.say_retained(alice, "room", "value", AtLeastOnce);
        house.settle();
        for (retain_handling, expected) in [(2, 0), (1, 0), (0, 1), (0, 1), (1, 0)] {
            subscribe_with(house, bob, "room", retain_handling);
            house.settle();
            assert_eq!(house.take_received(bob).len(), expected, "handling {retain_handling}");
        }
        subscribe_with(house, bob, "+", 1);
        house.settle();
        assert_eq!(house.take_received(bob).len(), 1, "another filter is a new subscription");
    });
}

#[test]
fn a_snapshot_never_follows_a_newer_live_message_and_never_leaves_a_gap() {
    worlds(200, |house| {
        let [alice, bob] = house.connected(["alice", "bob"], Version::V5);
        let room = format!("room{}", house.below(16)); // kept by any shard
        house.say_retained(alice, &room, "0", AtLeastOnce);
        house.settle();
        house.listen(bob, &room, ExactlyOnce);
        for number in 1..4 {
            let steps = house.below(30);
            house.run_steps(steps);
            house.say_retained(alice, &room, &number.to_string(), AtLeastOnce);
        }
        house.settle();
        let mut received = Vec::new();
        let mut newest_live = None;
        for publish in house.take_received(bob) {
            let value: u32 = String::from_utf8_lossy(&publish.payload).parse().unwrap();
            let in_order =
                newest_live.is_none_or(|newest| if publish.retain { newest <= value } else { newest < value });
            assert!(in_order, "{value} after {newest_live:?}");
            if !publish.retain {
                newest_live = Some(value);
            }
            received.push(value);
        }
        assert_eq!(received.last(), Some(&3), "the last value is missing: {received:?}");
    });
}

#[test]
fn last_values_are_bounded() {
    worlds_with(
        2,
        |setup| setup.limits.retained_messages_max = 6,
        |house| {
            let [alice] = house.connected(["alice"], Version::V5);
            for room in 0..30 {
                house.say_retained(alice, &format!("rooms/{room}"), "x", AtLeastOnce);
            }
            house.settle();
            assert!(house.statistics().retained_messages >= 6);
            assert!(house.statistics().retained_messages <= 3 * 6);
            let token = house.say_retained(alice, "rooms/0", "y", AtLeastOnce).unwrap();
            house.settle();
            assert!(house.at(alice).codes_of(token).unwrap()[0] < 0x80, "replacing one needs no new place");
        },
    );
}

#[test]
fn the_brokers_own_topics_reach_those_who_ask_for_them_by_name() {
    worlds(2, |house| {
        let [alice, bob] = house.connected(["alice", "bob"], Version::V311);
        house.listen(alice, "$SYS/#", AtMostOnce);
        house.listen(bob, "#", AtMostOnce);
        house.settle();
        let name = althing_testkit::house::topic("$SYS/broker/uptime");
        let mut message = althing_core::Message::new(name, bytes::Bytes::from_static(b"1 second"));
        message.retain = true;
        house.publish_by_broker(message);
        house.settle();
        assert_eq!(house.at(alice).payloads(), ["1 second"]);
        assert!(house.at(bob).payloads().is_empty(), "[MQTT-4.7.2-1]");
        let carol = house.station();
        house.connect(carol, Connect { clean_start: true, ..connect_packet("carol", Version::V5) });
        house.settle();
        house.listen(carol, "$SYS/broker/+", AtMostOnce);
        house.settle();
        assert_eq!(house.at(carol).payloads(), ["1 second"]);
    });
}
