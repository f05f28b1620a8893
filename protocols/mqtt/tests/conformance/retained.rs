//! Last values (§3.3.1.3, §3.8.3.1).

use crate::stage::*;
use althing_mqtt::packet::{Packet, SubscribeFilter};
use bytes::Bytes;

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
