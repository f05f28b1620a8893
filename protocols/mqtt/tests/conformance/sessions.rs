//! Session state (§4.1, §4.5).

use crate::stage::*;
use althing_mqtt::packet::{Connect, Packet, Publish, Version};

#[test]
fn mqtt5_4_1_0_1_a_session_stays_while_its_connection_does() {
    in_all_versions(|stage, version| {
        let peer = stage.subscriber("c", version, "a", 1);
        stage.pass_s(10_000_000);
        let publisher = stage.connect("publisher", version);
        stage.send(publisher, Packet::Publish(publish("a", 1, "x")));
        assert_eq!(stage.payloads(peer), ["x"]);
    });
    on_stage(|stage| {
        // Its expiry counts from the end of the connection, not from its beginning.
        let connect = || Connect { session_expiry_s: Some(10), clean_start: false, ..clean("c", V5) };
        let (peer, _) = stage.connect_as(connect());
        stage.pass_s(100);
        stage.hang_up(peer);
        stage.pass_s(5);
        assert!(stage.connect_as(connect()).1.session_present);
    });
}

#[test]
fn mqtt311_4_1_0_1_a_session_keeps_all_of_its_state() {
    for version in [Version::V311, V5] {
        on_stage(|stage| {
            let (peer, _) = stage.resume("c", version);
            stage.subscribe(peer, "a", 2);
            // A message half received, one half sent, one not sent yet.
            let none = no_properties(version);
            stage.say(peer, &hex(&frame(0x34, &format!("0001'b' 0005 {none} 'x'"))));
            let publisher = stage.connect("publisher", version);
            stage.send(publisher, Packet::Publish(Publish { packet_id: 1, ..publish("a", 2, "sent") }));
            let sent = stage.publishes(peer);
            stage.send(peer, Packet::PubRec(ack(sent[0].packet_id, 0)));
            stage.hang_up(peer);
            stage.send(publisher, Packet::Publish(Publish { packet_id: 2, ..publish("a", 1, "waits") }));
            stage.pass_s(1_000_000);
            let (peer, connack) = stage.resume("c", version);
            assert!(connack.session_present);
            let packets = stage.packets(peer);
            match &packets[..] {
                [Packet::PubRel(release), Packet::Publish(publish)] => {
                    assert_eq!(release.packet_id, sent[0].packet_id);
                    assert_eq!((&publish.payload[..], publish.dup), (&b"waits"[..], false));
                }
                other => panic!("{other:?}"),
            }
            let watcher = stage.subscriber("watcher", version, "b", 0);
            stage.say(peer, &hex(&frame(0x3C, &format!("0001'b' 0005 {none} 'x'"))));
            assert_eq!(stage.payloads(watcher), [""; 0], "the half received one is remembered");
        });
    }
}

#[test]
fn mqtt5_4_1_0_2_a_session_ends_when_it_has_expired() {
    on_stage(|stage| {
        let connect = |session_expiry_s| Connect { session_expiry_s, clean_start: false, ..clean("c", V5) };
        let (peer, _) = stage.connect_as(connect(Some(10)));
        stage.subscribe(peer, "a", 1);
        stage.hang_up(peer);
        stage.pass_s(11);
        let publisher = stage.connect("publisher", V5);
        stage.send(publisher, Packet::Publish(publish("a", 1, "x")));
        assert_eq!(stage.hear(publisher), "4003000910", "nobody is subscribed any more");
        let (peer, connack) = stage.connect_as(connect(Some(10)));
        assert!(!connack.session_present);
        assert_eq!(stage.hear(peer), "");
    });
}

#[test]
fn mqtt5_4_5_0_1_a_message_reaches_every_matching_session() {
    in_all_versions(|stage, version| {
        let live = stage.subscriber("live", version, "a/#", 1);
        let other = stage.subscriber("other", version, "b", 1);
        let (absent, _) = stage.resume("absent", version);
        stage.subscribe(absent, "+/b", 2);
        stage.hang_up(absent);
        let publisher = stage.subscriber("publisher", version, "a/b", 0);
        stage.send(publisher, Packet::Publish(publish("a/b", 1, "x")));
        assert_eq!(stage.payloads(live), ["x"]);
        assert_eq!(stage.payloads(other), [""; 0]);
        let (absent, _) = stage.resume("absent", version);
        assert_eq!(stage.payloads(absent), ["x"]);
        let own = stage.packets(publisher);
        assert!(own.iter().any(|packet| matches!(packet, Packet::Publish(_))), "the publisher itself is no exception");
    });
}
