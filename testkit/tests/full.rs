//! A disk that is full: what would have to be kept is refused with the protocol's own error, everything else goes on,
//! nothing that was acknowledged is lost, and when there is room again everything is as before.

use althing_core::Guarantee::{AtLeastOnce, AtMostOnce, ExactlyOnce};
use althing_mqtt::client::publication;
use althing_mqtt::packet::{Connect, Version};
use althing_testkit::house::{Downtime, House, Keeping, Setup, StationId, connect_packet, topic};
use althing_testkit::worlds::worlds_with;
use bytes::Bytes;
use std::collections::BTreeSet;

const QUOTA_EXCEEDED: u8 = 0x97;

fn small_disk(setup: &mut Setup) {
    setup.keeping = Keeping::Disk { segment_bytes: 4 << 10 };
    setup.limits.queue_memory_messages = 4;
}

fn lasting(name: &str) -> Connect {
    let mut connect = connect_packet(name, Version::V5);
    connect.session_expiry_s = Some(u32::MAX);
    connect.clean_start = false;
    connect
}

/// Publishes until the house refuses; returns what it has accepted.
fn fill(house: &mut House, alice: StationId, first: usize) -> BTreeSet<String> {
    let mut accepted = BTreeSet::new();
    for number in first..first + 400 {
        let (name, qos) = [("jobs", AtLeastOnce), ("jobs", ExactlyOnce), ("t", AtLeastOnce)][number % 3];
        let text = format!("{number} {}", "x".repeat(number % 7 * 40));
        let mut publish = publication(topic(name), Bytes::from(text.clone()), qos);
        publish.retain = name == "t";
        let Some(token) = house.publish(alice, publish) else { panic!("no token") };
        house.settle();
        match house.at(alice).codes_of(token) {
            Some([0 | 16]) => accepted.insert(text),
            Some([QUOTA_EXCEEDED]) => return accepted,
            // It waits for room; nobody has promised anything.
            None => return accepted,
            other => panic!("{other:?}"),
        };
    }
    panic!("a full disk takes everything");
}

#[test]
fn a_full_disk_refuses_by_name_and_loses_nothing() {
    worlds_with(12, small_disk, |house| {
        let [alice, live] = house.connected(["alice", "live"], Version::V5);
        let bob = house.station();
        house.connect(bob, lasting("bob"));
        house.settle();
        house.listen(bob, "jobs", ExactlyOnce);
        house.listen(live, "news", AtMostOnce);
        house.settle();
        house.cut_station(bob);
        house.settle();

        let used_bytes = house.disk().map_or(0, |disk| disk.used_bytes());
        house.set_disk_capacity_bytes(used_bytes + 8 * (4 << 10));
        let mut accepted = fill(house, alice, 0);
        house.pass_ms(5_000);
        assert!(!house.store_has_room());
        let refused = house.say(alice, "jobs", "refused", AtLeastOnce).unwrap();
        house.settle();
        assert_eq!(house.at(alice).codes_of(refused), Some(&[QUOTA_EXCEEDED][..]));
        house.say(alice, "news", "QoS 0 flows on", AtMostOnce);
        house.settle();
        assert_eq!(house.at(live).payloads().last().map(String::as_str), Some("QoS 0 flows on"));

        let (alice, bob) = if house.one_in(2) {
            house.crash(true, Downtime::Known(0));
            house.settle();
            let alice = house.station();
            house.connect(alice, connect_packet("alice", Version::V5));
            house.settle();
            (alice, bob)
        } else {
            (alice, bob)
        };
        house.set_disk_capacity_bytes(u64::MAX);
        house.pass_ms(5_000);
        assert!(house.store_has_room(), "there is room again");
        let again = house.say(alice, "jobs", "again", AtLeastOnce).unwrap();
        house.settle();
        assert_eq!(house.at(alice).codes_of(again), Some(&[0][..]));
        accepted.insert("again".to_owned());

        house.connect(bob, lasting("bob"));
        house.settle();
        assert!(house.at(bob).connack().unwrap().session_present);
        let got = house.at(bob).payloads();
        let jobs = accepted.iter().filter(|text| *text == "again" || number_of(text) % 3 != 2);
        let missing: Vec<&String> = jobs.filter(|text| !got.contains(text)).collect();
        assert!(missing.is_empty(), "accepted, and not delivered: {missing:?}");
        assert!(!got.iter().any(|text| text == "refused"), "refused, and delivered");
        assert!(accepted.len() > 5, "{accepted:?}");
    });
}

#[test]
fn draining_makes_room() {
    worlds_with(12, small_disk, |house| {
        let [alice] = house.connected(["alice"], Version::V5);
        let bob = house.station();
        house.connect(bob, lasting("bob"));
        house.settle();
        house.listen(bob, "jobs", ExactlyOnce);
        house.settle();
        house.cut_station(bob);
        house.settle();
        let used_bytes = house.disk().map_or(0, |disk| disk.used_bytes());
        house.set_disk_capacity_bytes(used_bytes + 8 * (4 << 10));
        let accepted = fill(house, alice, 0);
        house.pass_ms(5_000);
        assert!(!house.store_has_room());

        house.connect(bob, lasting("bob"));
        house.pass_ms(30_000);
        let got = house.at(bob).payloads();
        assert!(accepted.iter().filter(|text| number_of(text) % 3 != 2).all(|text| got.contains(text)));
        assert!(house.store_has_room(), "what was settled has made room");
        let again = house.say(alice, "jobs", "again", AtLeastOnce).unwrap();
        house.settle();
        assert_eq!(house.at(alice).codes_of(again), Some(&[0][..]));
        assert_eq!(house.at(bob).payloads().last().map(String::as_str), Some("again"));
    });
}

fn number_of(text: &str) -> usize {
    text.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}
