//! PUBLISH (§3.3): flags, topic names, overlapping subscriptions, flow control. Last values and properties are next door.

use crate::stage::*;
use althing_mqtt::packet::{Connect, Packet, Publish, Version};

#[test]
fn mqtt5_3_3_1_1_a_repeat_has_dup() {
    in_all_versions(|stage, version| {
        let (peer, _) = stage.resume("c", version);
        stage.subscribe(peer, "a", 2);
        let publisher = stage.connect("publisher", version);
        for qos in [1, 2] {
            stage.send(publisher, Packet::Publish(publish("a", qos, "x")));
        }
        let first = stage.publishes(peer);
        assert!(first.iter().all(|publish| !publish.dup));
        stage.hang_up(peer);
        let (peer, _) = stage.resume("c", version);
        let again = stage.publishes(peer);
        assert_eq!(again.len(), 2);
        assert!(again.iter().all(|publish| publish.dup));
    });
}

#[test]
fn mqtt5_3_3_1_2_no_dup_at_qos_0() {
    on_stage(|stage| {
        for version in [Version::V311, V5] {
            let none = no_properties(version);
            stage.assert_refused(version, &frame(0x38, &format!("0001'a' {none} 'x'")), 0x81);
        }
        let peer = stage.subscriber("c", V5, "a", 0);
        let publisher = stage.connect("publisher", V5);
        stage.send(publisher, Packet::Publish(Publish { dup: true, ..publish("a", 1, "x") }));
        assert_eq!(stage.hear(peer), hex(&frame(0x30, "0001'a' 00 'x'")));
    });
}

#[test]
fn mqtt5_3_3_1_3_dup_does_not_travel() {
    in_all_versions(|stage, version| {
        let peer = stage.subscriber("c", version, "a", 2);
        let publisher = stage.connect("publisher", version);
        for qos in [1, 2] {
            stage.send(publisher, Packet::Publish(Publish { dup: true, ..publish("a", qos, "x") }));
            assert!(stage.publishes(peer).iter().all(|publish| !publish.dup));
        }
    });
}

#[test]
fn mqtt5_3_3_1_4_qos_3_is_malformed() {
    on_stage(|stage| {
        for version in VERSIONS {
            let none = no_properties(version);
            for flags in [0x36, 0x37, 0x3E, 0x3F] {
                stage.assert_refused(version, &frame(flags, &format!("0001'a' 0001 {none} 'x'")), 0x81);
            }
        }
    });
}

#[test]
fn mqtt5_3_3_2_1_the_topic_name_comes_first() {
    on_stage(|stage| {
        for version in VERSIONS {
            let refused = [(0x30, ""), (0x30, "00"), (0x30, "0002'a'"), (0x32, "0003'a'00"), (0x30, "FFFF'a'")];
            for (first, body) in refused {
                stage.assert_refused(version, &frame(first, body), 0x81);
            }
            stage.assert_refused(version, &frame(0x30, "0002 C328 00"), 0x81);
            let none = no_properties(version);
            let code = if version == V5 { 0x82 } else { 0 };
            stage.assert_refused(version, &frame(0x30, &format!("0000 {none} 'x'")), code);
        }
    });
}

#[test]
fn mqtt5_3_3_2_2_the_topic_name_has_no_wildcards() {
    on_stage(|stage| {
        for version in VERSIONS {
            let none = no_properties(version);
            for name in ["0001'+'", "0001'#'", "0003'a/#'", "0003'a+b'", "0005'a/+/b'"] {
                stage.assert_refused(version, &frame(0x30, &format!("{name} {none} 'x'")), 0x81);
            }
        }
    });
}

#[test]
fn mqtt5_3_3_2_3_the_topic_name_matches_the_subscription() {
    in_all_versions(|stage, version| {
        let peer = stage.subscriber("c", version, "a/+/c/#", 0);
        let publisher = stage.connect("publisher", version);
        for name in ["a/b/c", "a/b/c/d/e", "a//c", "a/b", "a", "b/b/c", "a/b/d/c", "A/b/c", "a/b/b/c"] {
            stage.send(publisher, Packet::Publish(publish(name, 0, "x")));
        }
        let names: Vec<_> = stage.publishes(peer).iter().map(name).collect();
        assert_eq!(names, ["a/b/c", "a/b/c/d/e", "a//c"]);
    });
}

#[test]
fn mqtt311_3_3_2_3_a_topic_name_is_what_it_was() {
    in_all_versions(|stage, version| {
        let peer = stage.subscriber("c", version, "#", 0);
        let publisher = stage.connect("publisher", version);
        for name in ["/", "//", "/a", "a/", " ", "a b", "A", "ä/ö", "\u{1F600}"] {
            let said = frame(0x30, &format!("{:04X}'{name}' {} 'x'", name.len(), no_properties(version)));
            stage.send_bytes(publisher, &said);
            assert_eq!(stage.hear(peer), hex(&said));
        }
    });
}

#[test]
fn mqtt5_3_3_4_1_each_qos_has_its_answer() {
    on_stage(|stage| {
        for version in VERSIONS {
            let peer = stage.subscriber("c", version, "elsewhere", 0);
            stage.subscriber("watcher", version, "a", 2);
            let none = no_properties(version);
            for (first, id, answer) in [(0x30, "", ""), (0x32, "0009", "40020009"), (0x34, "0009", "50020009")] {
                let said = hex(&frame(first, &format!("0001'a' {id} {none} 'x'")));
                assert_eq!(stage.say(peer, &said), answer);
            }
        }
    });
}

#[test]
fn mqtt5_3_3_4_2_overlapping_subscriptions_give_the_best_qos() {
    in_all_versions(|stage, version| {
        for filters in [[("a", 0), ("+", 1), ("#", 2)], [("#", 2), ("+", 1), ("a", 0)], [("+", 2), ("a", 1), ("#", 0)]]
        {
            let peer = stage.connect("c", version);
            stage.send(peer, subscribe(1, &filters));
            stage.packets(peer);
            let publisher = stage.connect("publisher", version);
            stage.send(publisher, Packet::Publish(publish("a", 2, "x")));
            let qos = stage.publishes(peer).iter().map(|publish| publish.qos as u8).max();
            assert_eq!(qos, Some(2), "{filters:?}");
        }
    });
}

#[test]
fn mqtt5_3_3_4_3_a_message_carries_the_identifiers_of_its_subscriptions() {
    on_stage(|stage| {
        let peer = stage.connect("c", V5);
        for (filter, id) in [("a", Some(1)), ("+", Some(268_435_455)), ("#", None), ("b", Some(3))] {
            stage.send(peer, subscribe_with(1, id, subscribe_filter(filter, 1)));
        }
        stage.packets(peer);
        let publisher = stage.connect("publisher", V5);
        stage.send(publisher, Packet::Publish(publish("a", 1, "x")));
        let publishes = stage.publishes(peer);
        // One copy here, with all identifiers ([MQTT-3.3.4-4]); several copies would carry one each ([MQTT-3.3.4-5]).
        assert_eq!(publishes.len(), 1);
        let mut ids = publishes[0].subscription_ids.clone();
        ids.sort_unstable();
        assert_eq!(ids, [1, 268_435_455]);
        // Last values carry the identifier of the subscription that brings them.
        stage.send(publisher, retained("last", 1, "x"));
        stage.packets(peer);
        stage.send(peer, subscribe_with(9, Some(77), subscribe_filter("last", 1)));
        let packets = stage.packets(peer);
        assert!(packets.iter().any(|packet| matches!(packet, Packet::Publish(last) if last.subscription_ids == [77])));
    });
}

#[test]
fn mqtt5_3_3_4_6_a_client_sends_no_subscription_identifier() {
    on_stage(|stage| {
        stage.assert_refused(V5, &frame(0x30, "0001'a' 02 0B01 'x'"), 0x82);
    });
}

#[test]
fn mqtt5_3_3_4_7_more_than_the_receive_maximum_is_refused() {
    let two = |setup: &mut althing_testkit::house::Setup| setup.limits.receive_maximum = 2;
    on_prepared_stage(two, |stage| {
        let (peer, connack) = stage.connect_as(clean("c", V5));
        assert_eq!(connack.properties.receive_maximum, Some(2));
        for packet_id in 1..=2 {
            stage.send(peer, Packet::Publish(Publish { packet_id, ..publish("a", 2, "x") }));
        }
        assert_eq!(stage.packets(peer).len(), 2);
        // QoS 0 needs no room; a finished handshake makes some.
        stage.send(peer, Packet::Publish(publish("a", 0, "x")));
        assert_eq!(stage.say(peer, "62020001"), "70020001");
        stage.send(peer, Packet::Publish(Publish { packet_id: 3, ..publish("a", 2, "x") }));
        assert_eq!(stage.packets(peer).len(), 1);
        stage.send(peer, Packet::Publish(Publish { packet_id: 4, ..publish("a", 2, "x") }));
        stage.assert_ended(peer, 0x93);
    });
}

#[test]
fn mqtt5_3_3_4_9_the_clients_receive_maximum_holds() {
    on_stage(|stage| {
        for maximum in [1, 3] {
            let (peer, _) = stage.connect_as(Connect { receive_maximum: Some(maximum), ..clean("c", V5) });
            stage.subscribe(peer, "a", 2);
            let publisher = stage.connect("publisher", V5);
            for qos in [1, 2, 1, 2, 1, 2] {
                stage.send(publisher, Packet::Publish(publish("a", qos, "x")));
                stage.send(publisher, Packet::PubRel(ack(9, 0)));
            }
            let mut open = stage.publishes(peer);
            let mut seen = open.len();
            assert_eq!(open.len(), usize::from(maximum));
            while let Some(publish) = open.pop() {
                if publish.qos as u8 == 2 {
                    // PUBREC alone makes no room.
                    stage.send(peer, Packet::PubRec(ack(publish.packet_id, 0)));
                    assert!(matches!(&stage.packets(peer)[..], [Packet::PubRel(_)]));
                    stage.send(peer, Packet::PubComp(ack(publish.packet_id, 0)));
                } else {
                    stage.send(peer, Packet::PubAck(ack(publish.packet_id, 0)));
                }
                let next = stage.publishes(peer);
                seen += next.len();
                assert!(next.len() <= 1);
                open.extend(next);
            }
            assert_eq!(seen, 6);
        }
    });
}

#[test]
fn mqtt5_3_3_4_10_a_full_window_delays_nothing_else() {
    on_stage(|stage| {
        let (peer, _) = stage.connect_as(Connect { receive_maximum: Some(1), ..clean("c", V5) });
        stage.subscribe(peer, "a", 1);
        let publisher = stage.connect("publisher", V5);
        for _ in 0..3 {
            stage.send(publisher, Packet::Publish(publish("a", 1, "x")));
        }
        assert_eq!(stage.publishes(peer).len(), 1);
        assert_eq!(stage.say(peer, "C000"), "D000");
        assert_eq!(stage.say(peer, "82 07 0001 00 0001'b' 01"), "900400010001");
        assert_eq!(stage.say(peer, "A2 06 0002 00 0001'b'"), "B00400020000");
        assert_eq!(stage.say(peer, "34 09 0003'zzz' 0005 00 'x'"), "5003000510");
        assert_eq!(stage.say(peer, "62 02 0005"), "70020005");
        assert_eq!(stage.say(peer, "32 09 0003'zzz' 0006 00 'x'"), "4003000610");
    });
}

#[test]
fn mqtt311_3_3_5_2_a_forbidden_publish_is_acknowledged_or_ends_the_connection() {
    let deny = |setup: &mut althing_testkit::house::Setup| setup.policy.otherwise_allow = false;
    on_prepared_stage(deny, |stage| {
        for version in [Version::V31, Version::V311] {
            let peer = stage.connect("c", version);
            assert_eq!(stage.say(peer, "32 06 0001'a' 0009 'x'"), "40020009");
            assert_eq!(stage.say(peer, "34 06 0001'a' 0009 'x'"), "50020009");
        }
    });
}
