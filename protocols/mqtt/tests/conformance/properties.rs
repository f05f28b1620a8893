//! The properties of messages on their way, expiry and topic aliases (§3.3.2.3).

use crate::stage::*;
use althing_core::message::Properties;
use althing_mqtt::packet::{Connect, Packet, Publish};
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
