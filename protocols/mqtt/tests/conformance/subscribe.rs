//! SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK and PINGREQ (§3.8 to §3.12).

use crate::stage::*;
use althing_mqtt::packet::{Connect, Packet, Publish, SubscribeFilter, Version};

#[test]
fn mqtt5_3_8_1_1_the_flags_of_subscribe_are_2() {
    on_stage(|stage| {
        for version in [Version::V311, V5] {
            let none = no_properties(version);
            for flags in (0..16).filter(|flags| *flags != 2) {
                stage.assert_refused(version, &frame(0x80 | flags, &format!("0001 {none} 0001'a' 00")), 0x81);
            }
        }
    });
}

#[test]
fn mqtt5_3_8_3_2_subscribe_has_a_filter() {
    on_stage(|stage| {
        for version in VERSIONS {
            let none = no_properties(version);
            stage.assert_refused(version, &frame(0x82, &format!("0001 {none}")), 0x82);
            stage.assert_refused(version, &frame(0x82, &format!("0001 {none} 0001'a'")), 0x81);
        }
    });
}

#[test]
fn mqtt311_3_8_3_2_wildcards_are_supported() {
    in_all_versions(|stage, version| {
        let peer = stage.connect("c", version);
        for filter in ["#", "+", "a/#", "+/+/a", "/+"] {
            stage.subscribe(peer, filter, 1);
        }
    });
}

#[test]
fn mqtt5_3_8_3_3_no_local_keeps_a_clients_own_messages_away() {
    on_stage(|stage| {
        let peer = stage.connect("c", V5);
        let filter = SubscribeFilter { no_local: true, ..subscribe_filter("a", 1) };
        stage.send(peer, subscribe_with(1, None, filter));
        stage.subscribe(peer, "b", 1);
        stage.send(peer, Packet::Publish(publish("a", 1, "own")));
        stage.send(peer, Packet::Publish(publish("b", 0, "own, but wanted")));
        let other = stage.connect("other", V5);
        stage.send(other, Packet::Publish(publish("a", 0, "another's")));
        let payloads: Vec<_> = stage
            .packets(peer)
            .into_iter()
            .filter_map(|packet| match packet {
                Packet::Publish(publish) => Some(publish.payload),
                _ => None,
            })
            .collect();
        assert_eq!(payloads, ["own, but wanted", "another's"]);
        // Its own last values are its own messages.
        stage.send(peer, retained("a", 1, "own"));
        stage.send(other, retained("a/other", 1, "another's"));
        stage.packets(peer);
        let filter = SubscribeFilter { no_local: true, ..subscribe_filter("a/#", 1) };
        stage.send(peer, subscribe_with(1, None, filter));
        assert!(
            matches!(&stage.packets(peer)[..], [Packet::SubAck(_), Packet::Publish(last)] if name(last) == "a/other")
        );
    });
}

#[test]
fn mqtt5_3_8_3_4_no_local_on_a_shared_subscription_is_a_protocol_error() {
    on_stage(|stage| {
        for options in ["04", "05", "0C"] {
            stage.assert_refused(V5, &frame(0x82, &format!("0001 00 000A'$share/g/a' {options}")), 0x82);
        }
    });
}

#[test]
fn mqtt5_3_8_3_5_the_reserved_bits_of_the_options_are_0() {
    on_stage(|stage| {
        for options in ["40", "80", "C0", "41"] {
            stage.assert_refused(V5, &frame(0x82, &format!("0001 00 0001'a' {options}")), 0x81);
        }
        for options in ["03", "30"] {
            stage.assert_refused(V5, &frame(0x82, &format!("0001 00 0001'a' {options}")), 0x82);
        }
    });
}

#[test]
fn mqtt311_3_8_3_4_the_reserved_bits_of_the_requested_qos_are_0() {
    on_stage(|stage| {
        for options in ["03", "04", "08", "10", "20", "40", "80", "FC"] {
            stage.assert_refused(Version::V311, &frame(0x82, &format!("0001 0001'a' {options}")), 0);
        }
    });
}

#[test]
fn mqtt5_3_8_4_1_subscribe_is_answered_by_suback() {
    in_all_versions(|stage, version| {
        let none = no_properties(version);
        let peer = stage.connect("c", version);
        for (id, qos) in [("0001", "00"), ("0001", "01"), ("ABCD", "02")] {
            let said = hex(&frame(0x82, &format!("{id} {none} 0001'a' {qos}")));
            assert_eq!(stage.say(peer, &said), hex(&frame(0x90, &format!("{id} {none} {qos}"))));
        }
    });
}

#[test]
fn mqtt5_3_8_4_3_an_identical_filter_replaces_the_subscription() {
    in_all_versions(|stage, version| {
        let peer = stage.subscriber("c", version, "a", 2);
        stage.subscribe(peer, "a", 0);
        let publisher = stage.connect("publisher", version);
        stage.send(publisher, Packet::Publish(publish("a", 2, "x")));
        let publishes = stage.publishes(peer);
        assert_eq!(publishes.iter().map(|publish| publish.qos as u8).collect::<Vec<_>>(), [0]);
        stage.send(peer, unsubscribe(1, &["a"]));
        stage.packets(peer);
        stage.send(publisher, Packet::Publish(publish("a", 0, "x")));
        assert_eq!(stage.payloads(peer), [""; 0], "there was one subscription, not two");
    });
}

#[test]
fn mqtt5_3_8_4_4_replacing_a_subscription_repeats_last_values_and_loses_nothing() {
    in_all_versions(|stage, version| {
        let peer = stage.connect("c", version);
        stage.send(peer, retained("a/last", 1, "last"));
        stage.packets(peer);
        assert_eq!(stage.subscribe(peer, "a/#", 1).len(), 1);
        let publisher = stage.connect("publisher", version);
        // Everything is under way at once, in whatever order the world chooses.
        for index in 0..20 {
            let sent = Packet::Publish(Publish { packet_id: index + 1, ..publish("a/live", 1, &index.to_string()) });
            stage.house.send_packet(publisher.wire, &sent, version);
            if index % 5 == 0 {
                stage.house.send_packet(peer.wire, &subscribe(index + 1, &[("a/#", 1)]), version);
            }
        }
        let packets = stage.packets(peer);
        let payloads: Vec<_> = packets
            .iter()
            .filter_map(|packet| match packet {
                Packet::Publish(publish) => Some(String::from_utf8_lossy(&publish.payload).into_owned()),
                _ => None,
            })
            .collect();
        assert_eq!(payloads.iter().filter(|payload| *payload == "last").count(), 4);
        let live: Vec<_> = payloads.iter().filter(|payload| *payload != "last").cloned().collect();
        assert_eq!(live, (0..20).map(|index| index.to_string()).collect::<Vec<_>>());
    });
}

#[test]
fn mqtt5_3_8_4_5_several_filters_are_like_several_packets() {
    in_all_versions(|stage, version| {
        let peer = stage.connect("c", version);
        stage.send(peer, subscribe(5, &[("a", 0), ("b", 1), ("a", 2)]));
        let none = no_properties(version);
        assert_eq!(stage.hear(peer), hex(&frame(0x90, &format!("0005 {none} 000102"))));
        let publisher = stage.connect("publisher", version);
        for name in ["a", "b"] {
            stage.send(publisher, Packet::Publish(publish(name, 2, name)));
            stage.send(publisher, Packet::PubRel(ack(9, 0)));
        }
        let publishes = stage.publishes(peer);
        let arrived: Vec<_> = publishes.iter().map(|publish| (name(publish), publish.qos as u8)).collect();
        assert_eq!(arrived, [("a".to_owned(), 2), ("b".to_owned(), 1)]);
    });
}

#[test]
fn mqtt5_3_8_4_6_suback_has_a_code_for_each_filter() {
    let few = |setup: &mut althing_testkit::house::Setup| setup.limits.subscriptions_per_session_max = 3;
    on_prepared_stage(few, |stage| {
        for (version, invalid, full) in [(Version::V31, "80", "80"), (Version::V311, "80", "80"), (V5, "8F", "97")] {
            let peer = stage.connect("c", version);
            stage.send(peer, subscribe(1, &[("a", 2), ("b#", 1), ("c", 0), ("#/d", 2), ("e", 1), ("f", 1)]));
            let said = stage.packets(peer);
            let [Packet::SubAck(suback)] = &said[..] else { panic!("{said:?}") };
            let expected = bytes(&format!("02 {invalid} 00 {invalid} 01 {full}"));
            assert_eq!((suback.packet_id, &suback.codes[..]), (1, &expected[..]));
        }
    });
}

#[test]
fn mqtt5_3_8_4_8_the_smaller_qos_holds() {
    in_all_versions(|stage, version| {
        for granted in 0..=2 {
            let peer = stage.subscriber("c", version, "a", granted);
            let publisher = stage.connect("publisher", version);
            for sent in 0..=2 {
                stage.send(publisher, Packet::Publish(publish("a", sent, "x")));
                let arrived: Vec<_> = stage.publishes(peer).iter().map(|publish| publish.qos as u8).collect();
                assert_eq!(arrived, [granted.min(sent)]);
            }
        }
    });
}

#[test]
fn mqtt5_3_9_2_1_suback_and_unsuback_are_not_larger_than_the_client_takes() {
    on_stage(|stage| {
        let (peer, _) = stage.connect_as(Connect { maximum_packet_size: Some(20), ..clean("c", V5) });
        stage.send(peer, subscribe(1, &[("a#", 0), ("b", 1)]));
        stage.send(peer, unsubscribe(2, &["a#", "b"]));
        assert_eq!(stage.hear(peer), "90050001008F01B0050002008F00");
    });
}

#[test]
fn mqtt5_3_10_1_1_the_flags_of_unsubscribe_are_2() {
    on_stage(|stage| {
        for version in [Version::V311, V5] {
            let none = no_properties(version);
            for flags in (0..16).filter(|flags| *flags != 2) {
                stage.assert_refused(version, &frame(0xA0 | flags, &format!("0001 {none} 0001'a'")), 0x81);
            }
        }
    });
}

#[test]
fn mqtt5_3_10_3_2_unsubscribe_has_a_filter() {
    on_stage(|stage| {
        for version in VERSIONS {
            stage.assert_refused(version, &frame(0xA2, &format!("0001 {}", no_properties(version))), 0x82);
        }
    });
}

#[test]
fn mqtt5_3_10_4_1_filters_are_compared_character_by_character() {
    in_all_versions(|stage, version| {
        let peer = stage.subscriber("c", version, "a/+", 0);
        let publisher = stage.connect("publisher", version);
        for other in ["a/b", "a/#", "A/+", "a/+/", "+/+", "#"] {
            stage.send(peer, unsubscribe(1, &[other]));
            stage.packets(peer);
            stage.send(publisher, Packet::Publish(publish("a/b", 0, "x")));
            assert_eq!(stage.payloads(peer), ["x"], "{other}");
        }
        stage.send(peer, unsubscribe(1, &["a/+"]));
        stage.packets(peer);
        stage.send(publisher, Packet::Publish(publish("a/b", 0, "x")));
        assert_eq!(stage.payloads(peer), [""; 0]);
    });
}

#[test]
fn mqtt5_3_10_4_2_nothing_new_is_added_after_unsubscribe() {
    in_all_versions(|stage, version| {
        let peer = stage.subscriber("c", version, "a", 1);
        let publisher = stage.connect("publisher", version);
        stage.send(publisher, Packet::Publish(publish("a", 1, "before")));
        stage.send(peer, unsubscribe(1, &["a"]));
        stage.send(publisher, Packet::Publish(publish("a", 1, "after")));
        let packets = stage.packets(peer);
        assert!(matches!(&packets[..], [Packet::Publish(_), Packet::UnsubAck(_)]), "{packets:?}");
    });
}

#[test]
fn mqtt5_3_10_4_3_started_deliveries_are_completed() {
    in_all_versions(|stage, version| {
        let (peer, _) = stage.resume("c", version);
        stage.subscribe(peer, "a", 2);
        let publisher = stage.connect("publisher", version);
        for qos in [1, 2] {
            stage.send(publisher, Packet::Publish(publish("a", qos, "x")));
        }
        let sent = stage.publishes(peer);
        stage.send(peer, unsubscribe(1, &["a"]));
        stage.packets(peer);
        let id = sent[1].packet_id;
        assert_eq!(stage.say(peer, &format!("5002{id:04X}")), format!("6202{id:04X}"));
        stage.hang_up(peer);
        let (peer, _) = stage.resume("c", version);
        let packets = stage.packets(peer);
        let repeats = |packet: &Packet| match packet {
            Packet::Publish(publish) => publish.dup && publish.packet_id == sent[0].packet_id,
            Packet::PubRel(release) => release.packet_id == id,
            _ => false,
        };
        assert!(packets.len() == 2 && packets.iter().all(repeats), "{packets:?}");
    });
}

#[test]
fn mqtt5_3_10_4_4_unsubscribe_is_answered_by_unsuback() {
    in_all_versions(|stage, version| {
        let none = no_properties(version);
        let peer = stage.subscriber("c", version, "a", 0);
        for (filter, code) in [("0001'a'", "00"), ("0001'a'", "11"), ("0001'z'", "11")] {
            let code = if version == V5 { code } else { "" };
            let said = hex(&frame(0xA2, &format!("00FF {none} {filter}")));
            assert_eq!(stage.say(peer, &said), hex(&frame(0xB0, &format!("00FF {none} {code}"))));
        }
    });
}

#[test]
fn mqtt5_3_10_4_6_several_filters_get_one_unsuback() {
    in_all_versions(|stage, version| {
        let peer = stage.connect("c", version);
        stage.send(peer, subscribe(1, &[("a", 0), ("b", 0), ("c", 0)]));
        stage.packets(peer);
        stage.send(peer, unsubscribe(2, &["a", "z", "c"]));
        let expected = if version == V5 { "B006000200001100" } else { "B0020002" };
        assert_eq!(stage.hear(peer), expected);
        let publisher = stage.connect("publisher", version);
        for name in ["a", "b", "c"] {
            stage.send(publisher, Packet::Publish(publish(name, 0, name)));
        }
        assert_eq!(stage.payloads(peer), ["b"]);
    });
}

#[test]
fn mqtt5_3_11_3_1_unsuback_keeps_the_order_and_the_table() {
    on_stage(|stage| {
        let peer = stage.connect("c", V5);
        stage.send(peer, subscribe(1, &[("a", 0), ("b", 0)]));
        stage.packets(peer);
        stage.send(peer, unsubscribe(2, &["z", "b", "a#", "a", "a"]));
        assert_eq!(stage.hear(peer), "B008000200 11008F0011".replace(' ', ""));
    });
}

#[test]
fn mqtt5_3_12_4_1_a_ping_is_answered() {
    in_all_versions(|stage, version| {
        let peer = stage.connect("c", version);
        assert_eq!(stage.say(peer, "C000 C000 C000"), "D000D000D000");
    });
}
