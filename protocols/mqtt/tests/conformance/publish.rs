//! PUBLISH (§3.3): flags, last values, properties on their way, overlapping subscriptions.

use crate::stage::*;
use althing_core::message::Properties;
use althing_mqtt::packet::{Connect, Packet, Publish, SubscribeFilter, Version};
use althing_testkit::house::topic;
use bytes::Bytes;
use std::sync::Arc;

/// A message with every property that travels.
fn with_all_properties() -> Publish {
    let pair = |name: &str, value: &str| (name.into(), value.into());
    let properties = Properties {
        content_type: Some("text/plain; charset=utf-8".into()),
        payload_is_utf8: Some(true),
        response_topic: Some(topic("answers/here")),
        correlation_data: Some(Bytes::from_static(&[0, 255, 1, 254])),
        user: vec![pair("b", "1"), pair("a", "2"), pair("b", "1"), pair("", ""), pair("a", "1")],
        priority: None,
    };
    Publish { properties: Some(Arc::new(properties)), ..publish("a", 1, "payload") }
}

/// How a message arrives: live, from a last value and from a session's queue.
fn arrivals(stage: &mut Stage, sent: Publish) -> Vec<Publish> {
    let live = stage.subscriber("live", V5, "a", 2);
    let (absent, _) = stage.resume("absent", V5);
    stage.subscribe(absent, "a", 2);
    stage.hang_up(absent);
    let publisher = stage.connect("publisher", V5);
    stage.send(publisher, Packet::Publish(Publish { retain: true, ..sent }));
    let mut arrived = stage.publishes(live);
    let late = stage.connect("late", V5);
    let retained = stage.subscribe(late, "a", 2).into_iter();
    arrived.extend(retained.filter_map(|packet| match packet {
        Packet::Publish(publish) => Some(publish),
        _ => None,
    }));
    let (absent, _) = stage.resume("absent", V5);
    arrived.extend(stage.publishes(absent));
    assert_eq!(arrived.len(), 3);
    arrived
}

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
fn mqtt5_3_3_1_5_a_retained_message_replaces_the_last_value() {
    in_all_versions(|stage, version| {
        let peer = stage.connect("c", version);
        for (qos, payload) in [(1, "one"), (0, "two"), (2, "three")] {
            stage.send(peer, retained("a", qos, payload));
            assert_eq!(stage.retained("a"), [("a".to_owned(), payload.to_owned())]);
            // Its QoS is kept with it.
            let late = stage.connect("late", version);
            let publish = stage.subscribe(late, "a", 2).into_iter().find_map(|packet| match packet {
                Packet::Publish(publish) => Some(publish),
                _ => None,
            });
            assert_eq!(publish.unwrap().qos as u8, qos);
        }
        stage.send(peer, retained("b", 0, "other"));
        assert_eq!(stage.retained("#").len(), 2);
    });
}

#[test]
fn mqtt5_3_3_1_6_an_empty_retained_message_removes_the_last_value() {
    in_all_versions(|stage, version| {
        let live = stage.subscriber("live", version, "a", 1);
        let peer = stage.connect("c", version);
        stage.send(peer, retained("a", 1, "x"));
        stage.send(peer, retained("a", 1, ""));
        assert_eq!(stage.payloads(live), ["x", ""], "it is delivered like any other");
        assert_eq!(stage.retained("#"), []);
    });
}

#[test]
fn mqtt5_3_3_1_7_an_empty_retained_message_is_not_kept() {
    in_all_versions(|stage, version| {
        let peer = stage.connect("c", version);
        stage.send(peer, retained("a", 1, ""));
        assert_eq!(stage.retained("#"), []);
    });
}

#[test]
fn mqtt5_3_3_1_8_without_retain_the_last_value_stays() {
    in_all_versions(|stage, version| {
        let peer = stage.connect("c", version);
        stage.send(peer, Packet::Publish(publish("a", 1, "x")));
        assert_eq!(stage.retained("#"), []);
        stage.send(peer, retained("a", 1, "kept"));
        for payload in ["x", ""] {
            stage.send(peer, Packet::Publish(publish("a", 1, payload)));
            assert_eq!(stage.retained("#"), [("a".to_owned(), "kept".to_owned())]);
        }
    });
}

/// How many last values a SUBSCRIBE brings.
fn retained_for(stage: &mut Stage, peer: Peer, retain_handling: u8) -> usize {
    let filter = SubscribeFilter { retain_handling, ..subscribe_filter("r/+", 1) };
    stage.send(peer, subscribe_with(1, None, filter));
    let packets = stage.packets(peer);
    let publishes = packets.iter().filter(|packet| match packet {
        Packet::Publish(publish) => {
            assert!(publish.retain, "{publish:?}");
            true
        }
        _ => false,
    });
    publishes.count()
}

fn two_last_values(stage: &mut Stage) -> Peer {
    let peer = stage.connect("c", V5);
    for name in ["r/1", "r/2", "other"] {
        stage.send(peer, retained(name, 1, "x"));
        stage.packets(peer);
    }
    peer
}

#[test]
fn mqtt5_3_3_1_9_retain_handling_0_sends_last_values_each_time() {
    on_stage(|stage| {
        let peer = two_last_values(stage);
        assert_eq!(retained_for(stage, peer, 0), 2);
        assert_eq!(retained_for(stage, peer, 0), 2);
    });
}

#[test]
fn mqtt5_3_3_1_10_retain_handling_1_sends_last_values_to_new_subscriptions() {
    on_stage(|stage| {
        let peer = two_last_values(stage);
        assert_eq!(retained_for(stage, peer, 1), 2);
        assert_eq!(retained_for(stage, peer, 1), 0);
        stage.send(peer, unsubscribe(1, &["r/+"]));
        stage.packets(peer);
        assert_eq!(retained_for(stage, peer, 1), 2);
    });
}

#[test]
fn mqtt5_3_3_1_11_retain_handling_2_sends_no_last_values() {
    on_stage(|stage| {
        let peer = two_last_values(stage);
        assert_eq!(retained_for(stage, peer, 2), 0);
        assert_eq!(retained_for(stage, peer, 2), 0);
    });
}

#[test]
fn mqtt311_3_3_1_6_a_subscription_brings_the_last_values() {
    in_all_versions(|stage, version| {
        let peer = stage.connect("c", version);
        for (name, payload) in [("r/1", "old"), ("r/1", "new"), ("r/2", "x"), ("other", "x")] {
            stage.send(peer, retained(name, 0, payload));
        }
        let packets = stage.subscribe(peer, "r/+", 0);
        let mut found: Vec<_> = packets
            .iter()
            .map(|packet| match packet {
                Packet::Publish(publish) => {
                    assert!(publish.retain, "[MQTT-3.3.1-8]");
                    (name(publish), publish.payload.clone())
                }
                other => panic!("{other:?}"),
            })
            .collect();
        found.sort();
        assert_eq!(found, [("r/1".to_owned(), Bytes::from("new")), ("r/2".to_owned(), Bytes::from("x"))]);
    });
}

#[test]
fn mqtt311_3_3_1_7_qos_0_replaces_the_last_value_too() {
    in_all_versions(|stage, version| {
        let peer = stage.connect("c", version);
        stage.send(peer, retained("a", 2, "old"));
        stage.send(peer, retained("a", 0, "new"));
        assert_eq!(stage.retained("a"), [("a".to_owned(), "new".to_owned())]);
    });
}

#[test]
fn mqtt5_3_3_1_12_retain_is_cleared_for_established_subscriptions() {
    in_all_versions(|stage, version| {
        let live = stage.subscriber("live", version, "a", 1);
        let peer = stage.connect("c", version);
        stage.send(peer, retained("a", 1, "x"));
        stage.send(peer, Packet::Publish(publish("a", 1, "y")));
        let publishes = stage.publishes(live);
        assert_eq!(publishes.len(), 2);
        assert!(publishes.iter().all(|publish| !publish.retain));
    });
}

#[test]
fn mqtt5_3_3_1_13_retain_as_published_keeps_the_flag() {
    on_stage(|stage| {
        let peer = stage.connect("c", V5);
        let filter = SubscribeFilter { retain_as_published: true, ..subscribe_filter("a", 1) };
        stage.send(peer, subscribe_with(1, None, filter));
        stage.packets(peer);
        let publisher = stage.connect("publisher", V5);
        stage.send(publisher, retained("a", 1, "x"));
        stage.send(publisher, Packet::Publish(publish("a", 1, "y")));
        let flags: Vec<_> = stage.publishes(peer).iter().map(|publish| publish.retain).collect();
        assert_eq!(flags, [true, false]);
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
fn mqtt5_3_3_2_4_properties_arrive_unaltered() {
    on_stage(|stage| {
        let sent = with_all_properties();
        for arrived in arrivals(stage, sent.clone()) {
            assert_eq!(arrived.properties, sent.properties);
            assert_eq!(arrived.payload, sent.payload);
        }
    });
    on_stage(|stage| {
        // An indicator of 0 is not the same as none, and empty values are values.
        let properties = Properties {
            payload_is_utf8: Some(false),
            content_type: Some("".into()),
            correlation_data: Some(Bytes::new()),
            ..Properties::default()
        };
        let sent = Publish { properties: Some(Arc::new(properties)), ..publish("a", 1, "x") };
        for arrived in arrivals(stage, sent.clone()) {
            assert_eq!(arrived.properties, sent.properties);
        }
    });
}

#[test]
fn mqtt5_3_3_2_5_an_expired_message_is_not_delivered() {
    on_stage(|stage| {
        let (absent, _) = stage.resume("absent", V5);
        stage.subscribe(absent, "a", 1);
        stage.hang_up(absent);
        let publisher = stage.connect("publisher", V5);
        for (expiry_s, payload) in [(Some(5), "short"), (Some(50), "long"), (None, "for ever")] {
            let sent = Publish { message_expiry_s: expiry_s, retain: true, ..publish("a", 1, payload) };
            stage.send(publisher, Packet::Publish(sent));
        }
        stage.send(
            publisher,
            Packet::Publish(Publish { message_expiry_s: Some(5), retain: true, ..publish("b", 1, "x") }),
        );
        stage.pass_s(6);
        let (absent, _) = stage.resume("absent", V5);
        assert_eq!(stage.payloads(absent), ["long", "for ever"]);
        assert_eq!(stage.retained("b"), []);
    });
}

#[test]
fn mqtt5_3_3_2_6_the_expiry_counts_down() {
    on_stage(|stage| {
        let (absent, _) = stage.resume("absent", V5);
        stage.subscribe(absent, "a", 1);
        stage.hang_up(absent);
        let publisher = stage.connect("publisher", V5);
        let sent = Publish { message_expiry_s: Some(100), retain: true, ..publish("a", 1, "x") };
        stage.send(publisher, Packet::Publish(sent));
        stage.pass_s(30);
        let (absent, _) = stage.resume("absent", V5);
        let late = stage.connect("late", V5);
        let mut arrived = stage.publishes(absent);
        arrived.extend(stage.subscribe(late, "a", 1).into_iter().filter_map(|packet| match packet {
            Packet::Publish(publish) => Some(publish),
            _ => None,
        }));
        let left: Vec<_> = arrived.iter().map(|publish| publish.message_expiry_s).collect();
        assert_eq!(left, [Some(70), Some(70)]);
    });
}

#[test]
fn mqtt5_3_3_2_7_aliases_end_with_their_connection() {
    on_stage(|stage| {
        let (peer, _) = stage.resume("c", V5);
        stage.send_bytes(peer, &frame(0x30, "0001'a' 03 230001 'x'"));
        assert_eq!(stage.say(peer, "C000"), "D000");
        stage.hang_up(peer);
        let (peer, _) = stage.resume("c", V5);
        stage.send_bytes(peer, &frame(0x30, "0000 03 230001 'x'"));
        stage.assert_ended(peer, 0x82);
        // The other way round: the first message of a connection always carries its name.
        let aliasing = || Connect { topic_alias_maximum: 5, ..lasting("d", V5) };
        for _ in 0..2 {
            let (peer, connack) = stage.connect_as(aliasing());
            if !connack.session_present {
                stage.subscribe(peer, "a", 0);
            }
            let publisher = stage.connect("publisher", V5);
            for _ in 0..3 {
                stage.send(publisher, Packet::Publish(publish("a", 0, "x")));
            }
            let names: Vec<_> = stage.publishes(peer).iter().map(name).collect();
            assert_eq!(names[0], "a");
            stage.hang_up(peer);
        }
    });
}

#[test]
fn mqtt5_3_3_2_8_a_topic_alias_is_not_0() {
    on_stage(|stage| {
        stage.assert_refused(V5, &frame(0x30, "0001'a' 03 230000 'x'"), 0x94);
        stage.assert_refused(V5, &frame(0x30, "0000 03 230000 'x'"), 0x94);
    });
}

#[test]
fn mqtt5_3_3_2_9_a_topic_alias_above_the_maximum_is_refused() {
    on_stage(|stage| {
        let (_, connack) = stage.connect_as(clean("c", V5));
        let maximum = connack.properties.topic_alias_maximum.unwrap_or(0);
        let said = |alias: u16| frame(0x30, &format!("0001'a' 03 23{alias:04X} 'x'"));
        stage.assert_refused(V5, &said(maximum + 1), 0x94);
        stage.assert_refused(V5, &said(u16::MAX), 0x94);
    });
}

#[test]
fn mqtt5_3_3_2_12_every_alias_up_to_the_maximum_is_taken() {
    on_stage(|stage| {
        let watcher = stage.subscriber("watcher", V5, "#", 0);
        let (peer, connack) = stage.connect_as(clean("c", V5));
        let maximum = connack.properties.topic_alias_maximum.expect("aliases are taken");
        for alias in 1..=maximum {
            let name = format!("topic/{alias:05}");
            stage.send_bytes(peer, &frame(0x30, &format!("000B'{name}' 03 23{alias:04X} '1'")));
        }
        for alias in (1..=maximum).rev() {
            stage.send_bytes(peer, &frame(0x30, &format!("0000 03 23{alias:04X} '2'")));
        }
        // An alias may be given another name.
        stage.send_bytes(peer, &frame(0x30, "0001'b' 03 230001 '3'"));
        stage.send_bytes(peer, &frame(0x30, "0000 03 230001 '4'"));
        let names: Vec<_> = stage.publishes(watcher).iter().map(name).collect();
        let there = (1..=maximum).map(|alias| format!("topic/{alias:05}"));
        let back = (1..=maximum).rev().map(|alias| format!("topic/{alias:05}"));
        assert_eq!(names, there.chain(back).chain(["b".into(), "b".into()]).collect::<Vec<_>>());
    });
}

#[test]
fn mqtt5_3_3_2_14_a_response_topic_has_no_wildcards() {
    on_stage(|stage| {
        for name in ["0001'#'", "0001'+'", "0003'a/+'"] {
            let property = bytes(&format!("08{name}"));
            let body = format!("0001'a' {:02X} {} 'x'", property.len(), hex(&property));
            stage.assert_refused(V5, &frame(0x30, &body), 0x82);
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
            assert_eq!(open.len(), maximum.into());
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
