//! What no decent peer does: it is refused or bounded, and nobody else suffers.

#![allow(clippy::unwrap_used, reason = "a failing test is meant to panic")]

use althing_core::Guarantee::{AtLeastOnce, AtMostOnce, ExactlyOnce};
use althing_mqtt::client::publication;
use althing_mqtt::packet::{Connect, Packet, Publish, Subscribe, SubscribeFilter, Version};
use althing_testkit::house::{Grain, House, StationId, connect_packet, topic};
use althing_testkit::worlds::{worlds, worlds_with};
use bytes::Bytes;

/// A publisher and a subscriber who must be served whatever the others do.
fn neighbours(house: &mut House) -> [StationId; 2] {
    let [alice, bob] = house.connected(["alice", "bob"], Version::V5);
    house.listen(bob, "news", AtLeastOnce);
    house.settle();
    [alice, bob]
}

fn are_served(house: &mut House, [alice, bob]: [StationId; 2]) {
    house.take_received(bob);
    let token = house.say(alice, "news", "still here", AtLeastOnce);
    house.settle();
    assert_eq!(house.at(alice).codes_of(token.unwrap()), Some(&[0][..]));
    assert_eq!(house.at(bob).payloads(), ["still here"]);
}

fn publish_packet(name: &str, packet_id: u16) -> Packet {
    Packet::Publish(Publish { packet_id, ..publication(topic(name), Bytes::from_static(b"x"), ExactlyOnce) })
}

#[test]
fn a_first_packet_that_is_not_connect_ends_the_connection() {
    worlds(4, |house| {
        let friends = neighbours(house);
        for bytes in [&b"\xc0\x00"[..], b"GET / HTTP/1.1\r\n\r\n", b"\x30\x03\x00\x01a", b"\x20\x02\x00\x00", b"\x00"] {
            let wire = house.open_wire();
            house.write(wire, bytes);
            house.settle();
            assert!(house.is_closed(wire), "{bytes:?}");
            assert!(house.read(wire).is_empty(), "{bytes:?}");
        }
        are_served(house, friends);
    });
}

#[test]
fn a_dribbled_connect_ends_at_the_deadline() {
    worlds(4, |house| {
        let friends = neighbours(house);
        let wire = house.open_wire();
        let mut bytes = Vec::new();
        let connect = connect_packet("a client id of more than ten bytes", Version::V5);
        althing_mqtt::codec::encode(&Packet::Connect(Box::new(connect)), Version::V5, &mut bytes);
        for byte in &bytes[..9] {
            house.write(wire, &[*byte]);
            house.pass_ms(1_000);
            assert!(!house.is_closed(wire));
        }
        house.write(wire, &bytes[9..10]);
        house.pass_ms(1_001);
        assert!(house.is_closed(wire), "ten seconds are over");
        are_served(house, friends);
    });
}

#[test]
fn silent_connections_end_at_the_deadline_and_keep_nobody_out() {
    worlds(2, |house| {
        let wires: Vec<_> = (0..300).map(|_| house.open_wire()).collect();
        let friends = neighbours(house);
        are_served(house, friends);
        assert_eq!(house.connections_open(), 302);
        house.pass_ms(10_001);
        assert_eq!(house.connections_open(), 2);
        assert!(wires.into_iter().all(|wire| house.is_closed(wire)));
        are_served(house, friends);
    });
}

#[test]
fn a_claim_of_256_megabytes_before_connect_is_refused_at_once() {
    worlds(4, |house| {
        let friends = neighbours(house);
        let wire = house.open_wire();
        house.write(wire, b"\x10\xff\xff\xff\x7f\x00\x04MQTT\x05");
        house.settle();
        assert!(house.is_closed(wire));
        are_served(house, friends);
    });
}

#[test]
fn half_a_publish_and_then_silence_ends_at_the_deadline() {
    worlds(4, |house| {
        let friends = neighbours(house);
        let wire = house.connected_by_hand("carol", Version::V311);
        house.write(wire, b"\x30\x20\x00\x04news, and then nothing");
        house.pass_ms(29_999);
        assert!(!house.is_closed(wire));
        are_served(house, friends);
        house.pass_ms(2);
        assert!(house.is_closed(wire));
        assert_eq!(house.statistics().sessions, 2);
        are_served(house, friends);
    });
}

#[test]
fn topics_and_filters_beyond_the_limits_are_refused_one_by_one() {
    worlds(2, |house| {
        let friends = neighbours(house);
        let [carol] = house.connected(["carol"], Version::V5);
        let deepest = vec!["+"; 128].join("/");
        let too_deep = vec!["+"; 129].join("/");
        let filters = [&deepest[..], &too_deep, "a/#/b", "", "ok"];
        let filters = filters.map(|filter| SubscribeFilter {
            filter: filter.into(),
            qos: AtMostOnce,
            no_local: false,
            retain_as_published: false,
            retain_handling: 0,
        });
        let token = house.subscribe(
            carol,
            Subscribe { packet_id: 0, subscription_id: None, user_properties: vec![], filters: filters.into() },
        );
        house.settle();
        assert_eq!(house.at(carol).codes_of(token), Some(&[0, 0x8f, 0x8f, 0x8f, 0][..]));
        house.say(carol, &vec!["x"; 128].join("/"), "deep", AtMostOnce);
        house.settle();
        assert_eq!(house.at(carol).payloads(), ["deep"]);

        let wire = house.connected_by_hand("dave", Version::V5);
        let mut bytes = b"\x30\x84\xfa\x01\x7d\x00".to_vec(); // 32,004 bytes: a topic of 32,000, no property, "x"
        bytes.extend(["/"; 32_000].concat().bytes());
        bytes.extend(b"\x00x");
        house.write(wire, &bytes);
        house.settle();
        let packets = house.read_packets(wire, Version::V5);
        assert!(matches!(&packets[..], [Packet::Disconnect(goodbye)] if goodbye.code == 0x90), "{packets:?}");
        assert!(house.is_closed(wire));
        are_served(house, friends);
    });
}

#[test]
fn deep_wildcards_are_matched_within_bounds() {
    let prepare = |setup: &mut althing_testkit::house::Setup| {
        setup.limits.match_visits_max = 2_000;
        setup.grain = Some(Grain::Whole);
    };
    worlds_with(2, prepare, |house| {
        let friends = neighbours(house);
        let [carol] = house.connected(["carol"], Version::V5);
        // Every second level a wildcard, in all combinations of 14 levels: a match doubles at each level.
        for pattern in 0..1_u32 << 10 {
            let levels: Vec<&str> = (0..10).map(|bit| if pattern >> bit & 1 == 0 { "a" } else { "+" }).collect();
            house.listen(carol, &format!("{}/x", levels.join("/")), AtMostOnce);
        }
        house.settle();
        let before = house.statistics().match_visits;
        let token = house.say(carol, &format!("{}/x", ["a"; 10].join("/")), "slow", AtLeastOnce).unwrap();
        house.settle();
        assert_eq!(house.at(carol).codes_of(token), Some(&[0x97][..]), "quota exceeded");
        assert!(house.statistics().match_visits - before <= 2_001);
        are_served(house, friends);
    });
}

#[test]
fn one_client_gets_no_more_subscriptions_than_its_limit() {
    worlds_with(
        2,
        |setup| setup.limits.subscriptions_per_session_max = 50,
        |house| {
            let friends = neighbours(house);
            let [carol] = house.connected(["carol"], Version::V5);
            let tokens: Vec<u64> = (0..60).map(|n| house.listen(carol, &format!("many/{n}"), AtMostOnce)).collect();
            house.settle();
            let codes: Vec<u8> = tokens.iter().map(|token| house.at(carol).codes_of(*token).unwrap()[0]).collect();
            assert!(codes[..50].iter().all(|code| *code == 0) && codes[50..].iter().all(|code| *code == 0x97));
            assert_eq!(house.statistics().subscriptions, 51);
            let again = house.listen(carol, "many/7", AtLeastOnce);
            house.settle();
            assert_eq!(house.at(carol).codes_of(again), Some(&[1][..]), "changing one is no new one");
            are_served(house, friends);
        },
    );
}

#[test]
fn messages_that_are_never_released_stop_at_the_receive_maximum() {
    let prepare = |setup: &mut althing_testkit::house::Setup| setup.grain = Some(Grain::Whole);
    worlds_with(1, prepare, |house| {
        let friends = neighbours(house);
        let wire = house.connected_by_hand("carol", Version::V5);
        let mut sent = 0;
        for packet_id in 1..=u16::MAX {
            if house.is_closed(wire) {
                break;
            }
            house.send_packet(wire, &publish_packet("other", packet_id), Version::V5);
            sent += 1;
            if packet_id % 512 == 0 {
                house.settle();
            }
        }
        house.settle();
        let packets = house.read_packets(wire, Version::V5);
        let received = packets.iter().filter(|packet| matches!(packet, Packet::PubRec(_))).count();
        assert_eq!(received, 1_024);
        assert!(matches!(packets.last(), Some(Packet::Disconnect(goodbye)) if goodbye.code == 0x93), "{sent}");
        assert!(house.is_closed(wire));
        are_served(house, friends);
    });
}

#[test]
fn version_3_publishes_may_all_stay_unreleased() {
    let prepare = |setup: &mut althing_testkit::house::Setup| {
        setup.grain = Some(Grain::Whole);
        setup.limits.receive_maximum = 16;
    };
    worlds_with(1, prepare, |house| {
        let friends = neighbours(house);
        let wire = house.connected_by_hand("carol", Version::V311);
        let mut received = 0;
        for packet_id in 1..=u16::MAX {
            let mut bytes = Vec::new();
            althing_mqtt::codec::encode(&publish_packet("other", packet_id), Version::V311, &mut bytes);
            while house.write(wire, &bytes) < bytes.len() {
                house.settle();
            }
            if packet_id % 1_024 == 0 {
                house.settle();
                let packets = house.read_packets(wire, Version::V311);
                received += packets.iter().filter(|packet| matches!(packet, Packet::PubRec(_))).count();
            }
        }
        house.settle();
        received += house.read_packets(wire, Version::V311).len();
        assert_eq!(received, usize::from(u16::MAX));
        are_served(house, friends);
        house.cut(wire);
        house.settle();
        are_served(house, friends);
    });
}

#[test]
fn two_clients_fighting_for_one_id_disturb_nobody() {
    worlds(6, |house| {
        let friends = neighbours(house);
        let fighters = [house.station(), house.station()];
        let persistent =
            Connect { clean_start: false, session_expiry_s: Some(60), ..connect_packet("champion", Version::V5) };
        for round in 0..40 {
            house.connect(fighters[round % 2], persistent.clone());
            let steps = house.below(30);
            house.run_steps(steps);
        }
        house.pass_ms(10_001); // for connections whose CONNECT was never sent
        // A connection that its client has turned away from may be the last one to knock.
        let connected = fighters.into_iter().filter(|fighter| house.at(*fighter).is_connected()).count();
        assert!(connected <= 1, "{connected}");
        assert_eq!(house.statistics().sessions, 3);
        assert_eq!(house.connections_open(), 3);
        are_served(house, friends);
    });
}
