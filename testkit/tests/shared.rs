//! Shared subscriptions: each message to one member, and what happens when members leave (§4.8.2).

use althing_core::Guarantee::{self, AtLeastOnce, AtMostOnce, ExactlyOnce};
use althing_mqtt::packet::{Connect, Publish, Unsubscribe, Version};
use althing_testkit::house::{House, StationId, connect_packet, topic};
use althing_testkit::worlds::worlds;

/// A publisher and two members of a group, who acknowledge by hand when asked to.
fn group(house: &mut House, qos: Guarantee, by_hand: bool) -> [StationId; 3] {
    let [alice, bob, carol] = house.connected(["alice", "bob", "carol"], Version::V5);
    for member in [bob, carol] {
        if by_hand {
            house.acknowledge_manually(member);
        }
        house.listen(member, "$share/workers/jobs/+", qos);
    }
    house.settle();
    [alice, bob, carol]
}

fn sorted(house: &House, members: &[StationId]) -> Vec<String> {
    let mut all: Vec<String> = members.iter().flat_map(|member| house.at(*member).payloads()).collect();
    all.sort();
    all
}

#[test]
fn every_message_goes_to_one_member_and_everyone_gets_a_share() {
    worlds(4, |house| {
        for qos in [AtMostOnce, AtLeastOnce, ExactlyOnce] {
            let [alice, bob, carol] = group(house, qos, false);
            for number in 10..30 {
                house.say(alice, "jobs/x", &number.to_string(), qos);
            }
            house.settle();
            let expected: Vec<String> = (10..30).map(|number| number.to_string()).collect();
            assert_eq!(sorted(house, &[bob, carol]), expected);
            for member in [bob, carol] {
                assert!(house.at(member).received.len() >= 5, "{qos:?}: an unfair share");
                house.disconnect(member);
            }
            house.disconnect(alice);
            house.settle();
        }
    });
}

#[test]
fn what_a_member_leaves_unacknowledged_goes_to_another_at_least_once() {
    worlds(6, |house| {
        let [alice, bob, carol] = group(house, AtLeastOnce, true);
        for number in 0..8 {
            house.say(alice, "jobs/x", &number.to_string(), AtLeastOnce);
        }
        house.settle();
        let with_bob = house.at(bob).payloads();
        assert!(!with_bob.is_empty());
        if house.one_in(2) {
            house.cut_station(bob);
        } else {
            let filters = vec!["$share/workers/jobs/+".into()];
            house.unsubscribe(bob, Unsubscribe { packet_id: 0, user_properties: vec![], filters });
        }
        house.settle();
        let expected: Vec<String> = (0..8).map(|number| number.to_string()).collect();
        assert_eq!(sorted(house, &[carol]), expected, "carol has all of them now");
        let all = house.take_received(carol);
        all.iter().for_each(|message| house.acknowledge(carol, message, 0));
        house.settle();
        assert_eq!((house.statistics().inflight_messages, house.statistics().queued_messages), (0, 0));
    });
}

#[test]
fn an_exactly_once_delivery_stays_with_its_member() {
    worlds(6, |house| {
        let [alice, bob] = house.connected(["alice", "bob"], Version::V5);
        let carol = house.station();
        let connect =
            Connect { session_expiry_s: Some(60), clean_start: false, ..connect_packet("carol", Version::V5) };
        house.connect(carol, connect.clone());
        house.acknowledge_manually(carol);
        house.settle();
        house.listen(carol, "$share/workers/jobs/+", ExactlyOnce);
        house.settle();
        house.say(alice, "jobs/x", "one", ExactlyOnce);
        house.settle();
        assert_eq!(house.at(carol).payloads(), ["one"]);
        house.listen(bob, "$share/workers/jobs/+", ExactlyOnce);
        house.settle();
        house.cut_station(carol);
        house.settle();
        assert!(house.at(bob).payloads().is_empty(), "[MQTT-4.8.2-4]");
        house.connect(carol, connect);
        house.settle();
        // Its client half knows the packet identifier and shows the repeat to nobody.
        assert_eq!(house.at(carol).payloads(), ["one"]);
        let message = house.take_received(carol).remove(0);
        house.acknowledge(carol, &message, 0);
        house.settle();
        assert_eq!(house.statistics().inflight_messages, 0);
        assert!(house.at(bob).payloads().is_empty());
    });
}

#[test]
fn an_exactly_once_delivery_whose_session_ends_goes_to_nobody_else() {
    worlds(6, |house| {
        let [alice, bob, carol] = group(house, ExactlyOnce, true);
        house.say(alice, "jobs/x", "one", ExactlyOnce);
        house.say(alice, "jobs/x", "two", ExactlyOnce);
        house.settle();
        let with_carol = house.at(carol).received.len();
        assert_eq!(with_carol + house.at(bob).received.len(), 2);
        house.cut_station(bob);
        house.settle();
        assert_eq!(house.at(carol).received.len(), with_carol, "[MQTT-4.8.2-5]");
    });
}

#[test]
fn a_group_waits_for_an_absent_member_and_the_last_one_to_leave_ends_it() {
    worlds(4, |house| {
        let [alice] = house.connected(["alice"], Version::V5);
        let bob = house.station();
        let connect = Connect { session_expiry_s: Some(60), clean_start: false, ..connect_packet("bob", Version::V5) };
        house.connect(bob, connect.clone());
        house.settle();
        house.listen(bob, "$share/workers/jobs/+", AtLeastOnce);
        house.settle();
        house.cut_station(bob);
        house.settle();
        house.say(alice, "jobs/x", "waits", AtLeastOnce);
        house.settle();
        house.connect(bob, connect);
        house.settle();
        assert_eq!(house.at(bob).payloads(), ["waits"]);
        let filters = vec!["$share/workers/jobs/+".into()];
        house.unsubscribe(bob, Unsubscribe { packet_id: 0, user_properties: vec![], filters });
        house.settle();
        house.say(alice, "jobs/x", "for nobody", AtLeastOnce);
        house.settle();
        let statistics = house.statistics();
        assert_eq!((statistics.queued_messages, statistics.shared_subscriptions), (0, 0));
        assert_eq!(house.at(bob).payloads(), ["waits"]);
    });
}

#[test]
fn a_member_with_a_small_window_does_not_hold_the_others_up() {
    worlds(4, |house| {
        let [alice, bob] = house.connected(["alice", "bob"], Version::V5);
        let carol = house.station();
        house.connect(carol, Connect { receive_maximum: Some(1), ..connect_packet("carol", Version::V5) });
        house.acknowledge_manually(carol);
        house.settle();
        for member in [bob, carol] {
            house.listen(member, "$share/workers/jobs/+", AtLeastOnce);
        }
        house.settle();
        for number in 0..20 {
            house.say(alice, "jobs/x", &number.to_string(), AtLeastOnce);
        }
        house.settle();
        assert_eq!(house.at(carol).received.len(), 1);
        assert_eq!(house.at(bob).received.len(), 19);
    });
}

#[test]
fn a_message_that_waits_for_a_group_expires_there() {
    worlds(4, |house| {
        let [alice] = house.connected(["alice"], Version::V5);
        let bob = house.station();
        let connect = Connect { session_expiry_s: Some(60), clean_start: false, ..connect_packet("bob", Version::V5) };
        house.connect(bob, connect.clone());
        house.settle();
        house.listen(bob, "$share/workers/jobs/+", AtMostOnce);
        house.settle();
        house.cut_station(bob);
        house.settle();
        let publish = althing_mqtt::client::publication(topic("jobs/x"), bytes::Bytes::from("old"), AtLeastOnce);
        house.publish(alice, Publish { message_expiry_s: Some(5), ..publish });
        house.say(alice, "jobs/x", "new", AtLeastOnce);
        house.pass_ms(6_000);
        house.connect(bob, connect);
        house.settle();
        assert_eq!(house.at(bob).payloads(), ["new"]);
        assert_eq!(house.statistics().queued_messages, 0);
    });
}
