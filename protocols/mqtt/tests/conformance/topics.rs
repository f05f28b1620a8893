//! Topic names, filters, shared subscriptions, flow control (§4.7 to §4.9).

use crate::stage::*;
use althing_mqtt::packet::{Connect, Packet, Version};

/// The code that a filter is granted or refused with.
fn granted(stage: &mut Stage, version: Version, filter: &str) -> u8 {
    let peer = stage.connect("c", version);
    stage.send(peer, subscribe(1, &[(filter, 0)]));
    match stage.next_packet(peer) {
        Some(Packet::SubAck(codes)) => codes.codes[0],
        other => panic!("{filter}: {other:?}"),
    }
}

fn refuses_filters(filters: &[&str]) {
    on_stage(|stage| {
        for version in VERSIONS {
            let expected = if version == V5 { 0x8F } else { 0x80 };
            for filter in filters {
                assert_eq!(granted(stage, version, filter), expected, "{filter:?}");
            }
        }
    });
}

/// Whether a message reaches a filter.
fn matches(stage: &mut Stage, version: Version, filter: &str, name: &str) -> bool {
    let peer = stage.subscriber("c", version, filter, 0);
    let publisher = stage.connect("publisher", version);
    stage.send(publisher, Packet::Publish(publish(name, 0, "x")));
    !stage.publishes(peer).is_empty()
}

#[test]
fn mqtt5_4_7_1_1_the_multi_level_wildcard_is_a_whole_last_level() {
    refuses_filters(&["a#", "#a", "a/#/b", "#/a", "a/b#", "##", "a/##", "/#/"]);
    in_all_versions(|stage, version| {
        for (filter, name, expected) in [
            ("#", "a", true),
            ("#", "a/b/c", true),
            ("#", "/", true),
            ("a/#", "a", true),
            ("a/#", "a/", true),
            ("a/#", "a/b/c", true),
            ("a/#", "ab", false),
            ("a/#", "b/a", false),
            ("/#", "a", false),
        ] {
            assert_eq!(matches(stage, version, filter, name), expected, "{filter} {name}");
        }
    });
}

#[test]
fn mqtt5_4_7_1_2_the_single_level_wildcard_is_a_whole_level() {
    refuses_filters(&["a+", "+a", "a/b+/c", "++", "a/+b", "+#", "#+"]);
    in_all_versions(|stage, version| {
        for (filter, name, expected) in [
            ("+", "a", true),
            ("+", "a/b", false),
            ("+", "/a", false),
            ("/+", "/a", true),
            ("+/+", "/a", true),
            ("a/+", "a", false),
            ("a/+", "a/", true),
            ("a/+/c", "a/b/c", true),
            ("a/+/c", "a//c", true),
            ("a/+/c", "a/b/b/c", false),
            ("+/b/#", "a/b", true),
        ] {
            assert_eq!(matches(stage, version, filter, name), expected, "{filter} {name}");
        }
    });
}

#[test]
fn mqtt5_4_7_2_1_leading_wildcards_do_not_match_dollar_topics() {
    in_all_versions(|stage, version| {
        let filters = ["#", "+/x", "+/#", "$A/x", "$A/#", "$A/+", "+"];
        let peers = filters.map(|filter| stage.subscriber(filter, version, filter, 0));
        for name in ["$A/x", "$A"] {
            let message = althing_core::Message::new(althing_testkit::house::topic(name), "x".into());
            stage.house.publish_by_broker(message);
        }
        let arrived = peers.map(|peer| stage.publishes(peer).len());
        assert_eq!(arrived, [0, 0, 0, 1, 2, 1, 0]);
        // Last values are no exception.
        let retain = althing_core::Message {
            retain: true,
            ..althing_core::Message::new(althing_testkit::house::topic("$A/x"), "x".into())
        };
        stage.house.publish_by_broker(retain);
        assert_eq!(stage.retained("#"), []);
        assert_eq!(stage.retained("+/x"), []);
        assert_eq!(stage.retained("$A/+").len(), 1);
    });
}

#[test]
fn mqtt5_4_7_3_1_names_and_filters_have_a_character() {
    refuses_filters(&[""]);
    on_stage(|stage| {
        for version in VERSIONS {
            let none = no_properties(version);
            let code = if version == V5 { 0x82 } else { 0 };
            stage.assert_refused(version, &frame(0x30, &format!("0000 {none} 'x'")), code);
            let will = frame(0x10, &format!("{} 06 0000 {none} 0001'c' {none} 0000 0000", connect_head(version)));
            assert_eq!(stage.refused_connect(version, &will), (version == V5).then_some(0x81));
        }
    });
}

#[test]
fn mqtt5_4_7_3_2_names_and_filters_have_no_null_character() {
    on_stage(|stage| {
        for version in VERSIONS {
            let none = no_properties(version);
            stage.assert_refused(version, &frame(0x30, &format!("0003'a'00'b' {none} 'x'")), 0x81);
            stage.assert_refused(version, &frame(0x82, &format!("0001 {none} 0003'a'00'b' 00")), 0x81);
            stage.assert_refused(version, &frame(0xA2, &format!("0001 {none} 0003'a'00'b'")), 0x81);
        }
    });
}

#[test]
fn mqtt5_4_7_3_3_the_longest_names_arrive_whole() {
    in_all_versions(|stage, version| {
        let long = "ä".repeat(32_767) + "x";
        assert_eq!(long.len(), 65_535);
        assert!(matches(stage, version, &long, &long));
        assert!(matches(stage, version, "#", &long));
    });
}

#[test]
fn mqtt5_4_7_3_4_names_are_not_normalised() {
    in_all_versions(|stage, version| {
        // An accent as one character and as two, the ligature fi, full-width letters, a character nobody has given a meaning.
        let names =
            ["\u{E9}", "e\u{301}", "\u{FB01}", "fi", "\u{FF41}", "a", "\u{E000}", "\u{FFFE}", "I", "i", "\u{131}"];
        for filter in names {
            for name in names {
                assert_eq!(matches(stage, version, filter, name), filter == name, "{filter} {name}");
            }
        }
    });
}

#[test]
fn mqtt5_4_8_2_1_a_shared_filter_has_a_name_and_a_filter() {
    refuses_filters(&[
        "$share//a",
        "$share/g",
        "$share/g/",
        "$share/",
        "$share/+/a",
        "$share/#/a",
        "$share/g+/a",
        "$share/g#/a",
    ]);
    on_stage(|stage| {
        for filter in ["$share/g/a", "$share/g//", "$share/g/#", "$share/g/+/a", "$SHARE/g/a"] {
            assert_eq!(granted(stage, V5, filter), 0, "{filter}");
        }
        // The name is not part of what is matched.
        let peer = stage.subscriber("c", V5, "$share/g/a/+", 0);
        let publisher = stage.connect("publisher", V5);
        for name in ["a/b", "g/a/b", "a"] {
            stage.send(publisher, Packet::Publish(publish(name, 0, name)));
        }
        assert_eq!(stage.payloads(peer), ["a/b"]);
        // It is part of what UNSUBSCRIBE compares.
        stage.send(peer, unsubscribe(1, &["a/+", "$share/h/a/+", "$share/g/a/+", "$share/g/a/+"]));
        assert_eq!(stage.hear(peer), "B00700010011110011");
        stage.send(publisher, Packet::Publish(publish("a/b", 0, "x")));
        assert_eq!(stage.hear(peer), "");
    });
}

#[test]
fn mqtt5_4_8_2_3_a_shared_subscription_has_its_granted_qos() {
    on_stage(|stage| {
        for granted in 0..=2 {
            let peer = stage.subscriber("c", V5, "$share/g/a", granted);
            let publisher = stage.connect("publisher", V5);
            for sent in 0..=2 {
                stage.send(publisher, Packet::Publish(publish("a", sent, "x")));
                stage.send(publisher, Packet::PubRel(ack(9, 0)));
                let arrived: Vec<_> = stage.publishes(peer).iter().map(|publish| publish.qos as u8).collect();
                assert_eq!(arrived, [granted.min(sent)]);
            }
            stage.hang_up(peer);
        }
    });
}

/// Two members of a group; one of them has been sent a message and is lost. Returns the other one and who is lost.
fn lose_a_member(stage: &mut Stage, qos: u8) -> (Peer, &'static str) {
    let members = ["one", "two"].map(|id| {
        let (peer, _) = stage.resume(id, V5);
        stage.subscribe(peer, "$share/g/a", 2);
        peer
    });
    let publisher = stage.connect("publisher", V5);
    stage.send(publisher, Packet::Publish(publish("a", qos, "x")));
    let arrived = members.map(|peer| stage.publishes(peer).len());
    assert_eq!(arrived[0] + arrived[1], 1, "one copy for the group");
    let (lost, other, id) =
        if arrived[0] == 1 { (members[0], members[1], "one") } else { (members[1], members[0], "two") };
    stage.hang_up(lost);
    (other, id)
}

#[test]
fn mqtt5_4_8_2_4_a_qos_2_delivery_is_completed_with_the_same_member() {
    on_stage(|stage| {
        let (other, lost) = lose_a_member(stage, 2);
        assert_eq!(stage.hear(other), "");
        let (peer, _) = stage.resume(lost, V5);
        let again = stage.publishes(peer);
        assert_eq!(again.len(), 1);
        assert!(again[0].dup);
        assert_eq!(stage.hear(other), "");
    });
}

#[test]
fn mqtt5_4_8_2_5_a_qos_2_delivery_goes_to_nobody_else() {
    on_stage(|stage| {
        let (other, lost) = lose_a_member(stage, 2);
        // The session ends without having been resumed.
        let peer = stage.connect(lost, V5);
        stage.pass_s(60);
        assert_eq!(stage.hear(other), "");
        assert_eq!(stage.hear(peer), "");
    });
}

#[test]
fn mqtt5_4_8_2_6_a_refused_message_goes_to_nobody_else() {
    on_stage(|stage| {
        for qos in [1, 2] {
            let members = ["one", "two"].map(|id| stage.subscriber(id, V5, "$share/g/a", 2));
            let publisher = stage.connect("publisher", V5);
            stage.send(publisher, Packet::Publish(publish("a", qos, "x")));
            for (index, peer) in members.into_iter().enumerate() {
                for publish in stage.publishes(peer) {
                    let refusal = ack(publish.packet_id, 0x80);
                    let packet = if qos == 1 { Packet::PubAck(refusal) } else { Packet::PubRec(refusal) };
                    stage.send(peer, packet);
                    stage.hang_up(peer);
                    stage.pass_s(60);
                    assert_eq!(stage.hear(members[1 - index]), "");
                }
            }
        }
    });
}

#[test]
fn mqtt5_4_9_0_1_the_send_quota_begins_at_the_receive_maximum() {
    on_stage(|stage| {
        for maximum in [1, 2, 7] {
            let (peer, _) = stage.connect_as(Connect { receive_maximum: Some(maximum), ..lasting("c", V5) });
            stage.subscribe(peer, "a", 1);
            let publisher = stage.connect("publisher", V5);
            for _ in 0..10 {
                stage.send(publisher, Packet::Publish(publish("a", 1, "x")));
            }
            assert_eq!(stage.publishes(peer).len(), usize::from(maximum));
            // The next connection begins with a quota of its own.
            stage.hang_up(peer);
            let (peer, _) = stage.connect_as(Connect { receive_maximum: Some(maximum + 1), ..lasting("c", V5) });
            assert_eq!(stage.publishes(peer).len(), usize::from(maximum) + 1);
            stage.hang_up(peer);
            // Repeats count as well, when the new quota is smaller than what is open.
            let (peer, _) = stage.connect_as(Connect { receive_maximum: Some(1), ..lasting("c", V5) });
            let again = stage.publishes(peer);
            assert_eq!(again.len(), 1);
            stage.send(peer, Packet::PubAck(ack(again[0].packet_id, 0)));
            assert_eq!(stage.publishes(peer).len(), 1);
            stage.hang_up(peer);
            stage.connect("c", V5);
        }
    });
}
