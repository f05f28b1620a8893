//! One thing at a time: what every conversation consists of.

use althing_core::Guarantee::{self, AtLeastOnce, AtMostOnce, ExactlyOnce};
use althing_mqtt::packet::Version;
use althing_testkit::house::connect_packet;
use althing_testkit::worlds::worlds;

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

#[test]
fn a_message_reaches_its_subscriber_at_every_guarantee_and_version() {
    worlds(4, |house| {
        for version in VERSIONS {
            let [alice, bob] = house.connected(["alice", "bob"], version);
            let granted = house.listen(bob, "a/+", ExactlyOnce);
            house.settle();
            assert_eq!(house.at(bob).codes_of(granted), Some(&[2][..]));
            let mut tokens = Vec::new();
            for qos in [AtMostOnce, AtLeastOnce, ExactlyOnce] {
                tokens.extend(house.say(alice, "a/b", &format!("{qos:?}"), qos));
                house.say(alice, "b/b", "for nobody", qos);
            }
            house.settle();
            assert!(tokens.iter().all(|token| house.at(alice).codes_of(*token) == Some(&[0])));
            let mut received: Vec<(String, Guarantee)> = Vec::new();
            for publish in house.take_received(bob) {
                received.push((String::from_utf8(publish.payload.to_vec()).unwrap(), publish.qos));
            }
            received.sort_by_key(|(_, qos)| *qos);
            let expected = [AtMostOnce, AtLeastOnce, ExactlyOnce].map(|qos| (format!("{qos:?}"), qos));
            assert_eq!(received, expected);
            house.disconnect(alice);
            house.disconnect(bob);
            house.settle();
            assert_eq!(house.statistics().sessions, 0);
        }
    });
}

#[test]
fn a_session_waits_for_its_client() {
    worlds(4, |house| {
        let [alice] = house.connected(["alice"], Version::V5);
        let bob = house.station();
        let mut connect = connect_packet("bob", Version::V5);
        connect.session_expiry_s = Some(60);
        connect.clean_start = false;
        house.connect(bob, connect.clone());
        house.settle();
        assert!(!house.at(bob).connack().unwrap().session_present);
        house.listen(bob, "a", AtLeastOnce);
        house.settle();
        house.cut_station(bob);
        house.settle();
        house.say(alice, "a", "while away", AtLeastOnce);
        house.say(alice, "a", "while away, at most once", AtMostOnce);
        house.pass_ms(59_000);
        house.connect(bob, connect.clone());
        house.settle();
        assert!(house.at(bob).connack().unwrap().session_present);
        assert_eq!(house.at(bob).payloads(), ["while away"]);
        house.cut_station(bob);
        house.pass_ms(61_000);
        house.connect(bob, connect.clone());
        house.settle();
        assert!(!house.at(bob).connack().unwrap().session_present, "expired");
    });
}

#[test]
fn whoever_publishes_after_a_suback_is_heard() {
    worlds(20, |house| {
        let [alice, bob] = house.connected(["alice", "bob"], Version::V5);
        let token = house.listen(bob, "a", AtMostOnce);
        while house.at(bob).codes_of(token).is_none() {
            assert!(house.step(), "no SUBACK");
        }
        house.say(alice, "a", "after", AtMostOnce);
        house.settle();
        assert_eq!(house.at(bob).payloads(), ["after"]);
    });
}

#[test]
fn no_acknowledgement_leaves_while_the_store_confirms_nothing() {
    worlds(4, |house| {
        let [alice] = house.connected(["alice"], Version::V5);
        let bob = house.station();
        let mut connect = connect_packet("bob", Version::V5);
        connect.session_expiry_s = Some(60);
        house.hold_store(true);
        house.connect(bob, connect);
        house.pass_ms(1_000);
        assert!(!house.at(bob).is_connected(), "CONNACK promises the session");
        house.hold_store(false);
        house.settle();
        assert!(house.at(bob).is_connected());

        house.hold_store(true);
        let subscribed = house.listen(bob, "a", ExactlyOnce);
        house.pass_ms(1_000);
        assert_eq!(house.at(bob).codes_of(subscribed), None);
        house.hold_store(false);
        house.settle();
        assert!(house.at(bob).codes_of(subscribed).is_some());

        house.hold_store(true);
        let tokens = [AtLeastOnce, ExactlyOnce].map(|qos| house.say(alice, "a", "x", qos).unwrap());
        house.pass_ms(1_000);
        assert!(tokens.iter().all(|token| house.at(alice).codes_of(*token).is_none()));
        assert_eq!(house.at(bob).payloads().len(), 1, "QoS 1 may leave before it is durable, QoS 2 may not");
        house.hold_store(false);
        house.settle();
        assert!(tokens.iter().all(|token| house.at(alice).codes_of(*token) == Some(&[0])));
        assert_eq!(house.at(bob).payloads().len(), 2);
    });
}
