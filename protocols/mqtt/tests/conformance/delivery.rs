//! The exchange of messages (§3.4 to §3.7, §4.3 to §4.6, §4.9).

use crate::stage::*;
use althing_mqtt::packet::{Packet, Publish, Version};

#[test]
fn mqtt5_3_4_2_1_the_reason_codes_of_puback_and_pubrec_are_from_their_table() {
    let table = [0x00, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
    on_stage(|stage| {
        for (first, code_max) in [(0x40, 0xFF), (0x50, 0xFF)] {
            for code in 0..=code_max {
                let peer = stage.connect("c", V5);
                stage.send_bytes(peer, &[first, 3, 0, 1, code]);
                if table.contains(&code) {
                    assert!(!stage.is_closed(peer), "0x{code:02X}");
                } else {
                    stage.assert_ended(peer, 0x82);
                }
            }
        }
    });
    let deny = |setup: &mut althing_testkit::house::Setup| setup.policy.otherwise_allow = false;
    on_prepared_stage(deny, |stage| {
        let peer = stage.connect("c", V5);
        for qos in [1, 2] {
            stage.send(peer, Packet::Publish(publish("a", qos, "x")));
            match stage.next_packet(peer) {
                Some(Packet::PubAck(ack) | Packet::PubRec(ack)) => assert_eq!(ack.code, 0x87),
                other => panic!("{other:?}"),
            }
        }
    });
}

#[test]
fn mqtt5_3_4_2_2_acknowledgements_are_not_larger_than_the_client_takes() {
    let deny = |setup: &mut althing_testkit::house::Setup| setup.policy.otherwise_allow = false;
    on_prepared_stage(deny, |stage| {
        let connect = althing_mqtt::packet::Connect { maximum_packet_size: Some(20), ..clean("c", V5) };
        let (peer, _) = stage.connect_as(connect);
        assert_eq!(stage.say(peer, "32 07 0001'a' 0009 00 'x'"), "4003000987");
        assert_eq!(stage.say(peer, "34 07 0001'a' 0009 00 'x'"), "5003000987");
        assert_eq!(stage.say(peer, "62 02 0009"), "7003000992");
        assert_eq!(stage.say(peer, "50 02 0009"), "6203000992");
    });
}

#[test]
fn mqtt5_3_6_1_1_the_flags_of_pubrel_are_2() {
    on_stage(|stage| {
        for version in [Version::V311, V5] {
            for flags in (0..16).filter(|flags| *flags != 2) {
                stage.assert_refused(version, &frame(0x60 | flags, "0001"), 0x81);
            }
        }
    });
}

#[test]
fn mqtt5_3_6_2_1_the_reason_codes_of_pubrel_and_pubcomp_are_from_their_table() {
    on_stage(|stage| {
        for first in [0x62, 0x70] {
            for code in 0..=0xFF {
                let peer = stage.connect("c", V5);
                stage.send_bytes(peer, &[first, 3, 0, 1, code]);
                if matches!(code, 0 | 0x92) {
                    assert!(!stage.is_closed(peer), "0x{code:02X}");
                } else {
                    stage.assert_ended(peer, 0x82);
                }
            }
        }
        let peer = stage.connect("c", V5);
        assert_eq!(stage.say(peer, "50 02 0007"), "6203000792", "a number that is not in flight");
        assert_eq!(stage.say(peer, "62 02 0007"), "7003000792");
    });
}

#[test]
fn mqtt5_4_3_1_1_qos_0_is_sent_with_qos_0_and_no_dup() {
    in_all_versions(|stage, version| {
        let none = no_properties(version);
        let peer = stage.subscriber("c", version, "a", 0);
        let publisher = stage.connect("publisher", version);
        for qos in 0..=2 {
            stage.send(publisher, Packet::Publish(publish("a", qos, "x")));
            assert_eq!(stage.hear(peer), hex(&frame(0x30, &format!("0001'a' {none} 'x'"))));
        }
    });
}

#[test]
fn mqtt5_4_3_2_2_qos_1_is_sent_with_an_identifier_and_no_dup() {
    in_all_versions(|stage, version| {
        let none = no_properties(version);
        for (qos, first) in [(1, 0x32), (2, 0x34)] {
            let peer = stage.subscriber("c", version, "a", qos);
            let publisher = stage.connect("publisher", version);
            stage.send(publisher, Packet::Publish(publish("a", qos, "x")));
            let said = bytes(&stage.hear(peer));
            let id = hex(&said[5..7]);
            assert_ne!(id, "0000");
            assert_eq!(said, frame(first, &format!("0001'a' {id} {none} 'x'")));
        }
    });
}

#[test]
fn mqtt5_4_3_2_3_qos_1_is_unacknowledged_until_puback() {
    in_all_versions(|stage, version| {
        let (peer, _) = stage.resume("c", version);
        stage.subscribe(peer, "a", 1);
        let publisher = stage.connect("publisher", version);
        for payload in ["1", "2", "3"] {
            stage.send(publisher, Packet::Publish(publish("a", 1, payload)));
        }
        let sent = stage.publishes(peer);
        stage.send(peer, Packet::PubAck(ack(sent[1].packet_id, 0)));
        stage.hang_up(peer);
        let (peer, _) = stage.resume("c", version);
        let again = stage.publishes(peer);
        let expected = [&sent[0], &sent[2]].map(|publish| (publish.packet_id, publish.payload.clone(), true));
        let arrived: Vec<_> = again.iter().map(|p| (p.packet_id, p.payload.clone(), p.dup)).collect();
        assert_eq!(arrived, expected);
    });
}

#[test]
fn mqtt5_4_3_2_4_qos_1_is_acknowledged() {
    in_all_versions(|stage, version| {
        let watcher = stage.subscriber("watcher", version, "a", 1);
        let none = no_properties(version);
        let peer = stage.connect("c", version);
        for id in ["0001", "1234"] {
            assert_eq!(stage.say(peer, &hex(&frame(0x32, &format!("0001'a' {id} {none} 'x'")))), format!("4002{id}"));
            assert_eq!(stage.payloads(watcher), ["x"]);
        }
        // Not before the message is safe.
        let (lasting, _) = stage.resume("lasting", version);
        stage.subscribe(lasting, "a", 1);
        stage.house.hold_store(true);
        let said = hex(&frame(0x32, &format!("0001'a' 5678 {none} 'x'")));
        assert_eq!(stage.say(peer, &said), "");
        stage.house.hold_store(false);
        assert_eq!(stage.hear(peer), "40025678");
    });
}

#[test]
fn mqtt5_4_3_2_5_after_puback_an_identifier_is_new() {
    in_all_versions(|stage, version| {
        let watcher = stage.subscriber("watcher", version, "a", 1);
        let peer = stage.connect("c", version);
        for dup in [false, true, true] {
            stage.send(peer, Packet::Publish(Publish { dup, ..publish("a", 1, "x") }));
        }
        assert_eq!(stage.payloads(watcher).len(), 3);
    });
}

#[test]
fn mqtt5_4_3_3_4_pubrec_is_answered_by_pubrel() {
    in_all_versions(|stage, version| {
        let peer = stage.subscriber("c", version, "a", 2);
        let publisher = stage.connect("publisher", version);
        stage.send(publisher, Packet::Publish(publish("a", 2, "x")));
        let id = stage.publishes(peer)[0].packet_id;
        assert_eq!(stage.say(peer, &format!("5002{id:04X}")), format!("6202{id:04X}"));
        assert_eq!(stage.say(peer, &format!("7002{id:04X}")), "");
        if version == V5 {
            stage.send(publisher, Packet::Publish(Publish { packet_id: 10, ..publish("a", 2, "x") }));
            let id = stage.publishes(peer)[0].packet_id;
            assert_eq!(stage.say(peer, &format!("5003{id:04X}97")), "", "an error ends it");
        }
    });
}

#[test]
fn mqtt5_4_3_3_3_qos_2_is_unacknowledged_until_pubrec_and_then_until_pubcomp() {
    in_all_versions(|stage, version| {
        let (peer, _) = stage.resume("c", version);
        stage.subscribe(peer, "a", 2);
        let publisher = stage.connect("publisher", version);
        for id in 1..=3 {
            let sent = Publish { packet_id: id, ..publish("a", 2, &id.to_string()) };
            stage.send(publisher, Packet::Publish(sent));
        }
        let sent = stage.publishes(peer);
        stage.send(peer, Packet::PubRec(ack(sent[0].packet_id, 0)));
        stage.send(peer, Packet::PubRec(ack(sent[1].packet_id, 0)));
        stage.send(peer, Packet::PubComp(ack(sent[1].packet_id, 0)));
        // What does not answer PUBLISH settles nothing.
        stage.send(peer, Packet::PubAck(ack(sent[2].packet_id, 0)));
        stage.send(peer, Packet::PubComp(ack(sent[2].packet_id, 0)));
        stage.packets(peer);
        for _ in 0..2 {
            stage.hang_up(peer);
            let (peer, _) = stage.resume("c", version);
            let packets = stage.packets(peer);
            // After PUBREL the PUBLISH is not sent again ([MQTT-4.3.3-6]).
            match &packets[..] {
                [Packet::PubRel(release), Packet::Publish(publish)] => {
                    assert_eq!(release.packet_id, sent[0].packet_id);
                    assert_eq!((publish.packet_id, publish.dup), (sent[2].packet_id, true));
                }
                other => panic!("{other:?}"),
            }
            stage.hang_up(peer);
        }
    });
}

#[test]
fn mqtt5_4_3_3_7_a_message_that_was_sent_does_not_expire() {
    on_stage(|stage| {
        let (peer, _) = stage.resume("c", V5);
        stage.subscribe(peer, "a", 2);
        let publisher = stage.connect("publisher", V5);
        let sent = Publish { message_expiry_s: Some(5), ..publish("a", 2, "x") };
        stage.send(publisher, Packet::Publish(sent));
        assert_eq!(stage.publishes(peer).len(), 1);
        stage.hang_up(peer);
        stage.pass_s(60);
        let (peer, _) = stage.resume("c", V5);
        let again = stage.publishes(peer);
        assert_eq!(again.len(), 1);
        let id = again[0].packet_id;
        assert_eq!(stage.say(peer, &format!("5002{id:04X}")), format!("6202{id:04X}"));
    });
}

#[test]
fn mqtt5_4_3_3_8_qos_2_is_received_once() {
    in_all_versions(|stage, version| {
        let watcher = stage.subscriber("watcher", version, "a", 0);
        let none = no_properties(version);
        let (peer, _) = stage.resume("c", version);
        let publish = |first, id| hex(&frame(first, &format!("0001'a' {id} {none} 'x'")));
        assert_eq!(stage.say(peer, &publish(0x34, "1234")), "50021234");
        for first in [0x3C, 0x34] {
            assert_eq!(stage.say(peer, &publish(first, "1234")), "50021234", "[MQTT-4.3.3-10]");
        }
        stage.hang_up(peer);
        let (peer, _) = stage.resume("c", version);
        assert_eq!(stage.say(peer, &publish(0x3C, "1234")), "50021234");
        assert_eq!(stage.payloads(watcher), ["x"], "once, in spite of four packets");
        assert_eq!(stage.say(peer, "62021234"), "70021234", "[MQTT-4.3.3-11]");
        assert_eq!(stage.say(peer, &publish(0x34, "1234")), "50021234");
        assert_eq!(stage.payloads(watcher), ["x"], "new after PUBCOMP ([MQTT-4.3.3-12])");
    });
}

#[test]
fn mqtt5_4_3_3_9_after_a_refusing_pubrec_an_identifier_is_new() {
    let refuse = |setup: &mut althing_testkit::house::Setup| {
        setup.limits.queue_overflow = althing_core::limits::Overflow::Refuse;
        setup.limits.queue_messages_max = 1;
    };
    on_prepared_stage(refuse, |stage| {
        let (absent, _) = stage.resume("absent", V5);
        stage.subscribe(absent, "a", 2);
        stage.hang_up(absent);
        let peer = stage.connect("c", V5);
        assert_eq!(stage.say(peer, "34 07 0001'a' 0001 00 '1'"), "50020001");
        let refused = stage.say(peer, "34 07 0001'a' 0002 00 '2'");
        assert!(refused.starts_with("50") && refused[4..10] == *"000297", "{refused}");
        let (absent, _) = stage.resume("absent", V5);
        assert_eq!(stage.payloads(absent), ["1"]);
        assert_eq!(stage.say(peer, "34 07 0001'a' 0002 00 '3'"), "50020002");
        assert_eq!(stage.payloads(absent), ["3"]);
    });
}

#[test]
fn mqtt5_4_3_3_13_the_handshake_goes_on_though_the_message_expired() {
    on_stage(|stage| {
        let (peer, _) = stage.resume("c", V5);
        assert_eq!(stage.say(peer, "34 0C 0001'a' 0001 05 02 00000001 'x'"), "5003000110");
        stage.pass_s(60);
        assert_eq!(stage.say(peer, "3C 0C 0001'a' 0001 05 02 00000001 'x'"), "50020001");
        assert_eq!(stage.say(peer, "62020001"), "70020001");
    });
}

#[test]
fn mqtt5_4_4_0_1_nothing_is_repeated_but_on_reconnection() {
    in_all_versions(|stage, version| {
        let (peer, _) = stage.resume("c", version);
        stage.subscribe(peer, "a", 2);
        let publisher = stage.connect("publisher", version);
        for id in 1..=2 {
            stage.send(publisher, Packet::Publish(Publish { packet_id: id, ..publish("a", 2, "x") }));
        }
        let sent = stage.publishes(peer);
        stage.send(peer, Packet::PubRec(ack(sent[0].packet_id, 0)));
        stage.packets(peer);
        stage.pass_s(100_000);
        assert_eq!(stage.hear(peer), "");
        stage.hang_up(peer);
        let (peer, _) = stage.resume("c", version);
        assert_eq!(stage.packets(peer).len(), 2);
        stage.pass_s(100_000);
        assert_eq!(stage.hear(peer), "");
        // A clean start repeats nothing.
        stage.hang_up(peer);
        let peer = stage.connect("c", version);
        assert_eq!(stage.hear(peer), "");
    });
}

#[test]
fn mqtt5_4_4_0_2_a_refused_message_is_not_repeated() {
    on_stage(|stage| {
        let (peer, _) = stage.resume("c", V5);
        stage.subscribe(peer, "a", 2);
        let publisher = stage.connect("publisher", V5);
        for qos in [1, 2] {
            stage.send(publisher, Packet::Publish(publish("a", qos, "x")));
        }
        let sent = stage.publishes(peer);
        stage.send(peer, Packet::PubAck(ack(sent[0].packet_id, 0x80)));
        stage.send(peer, Packet::PubRec(ack(sent[1].packet_id, 0x80)));
        assert_eq!(stage.hear(peer), "");
        stage.hang_up(peer);
        let (peer, _) = stage.resume("c", V5);
        assert_eq!(stage.hear(peer), "");
    });
}

#[test]
fn mqtt5_4_6_0_5_messages_keep_their_order() {
    in_all_versions(|stage, version| {
        let live = stage.subscriber("live", version, "a", 2);
        let (absent, _) = stage.resume("absent", version);
        stage.subscribe(absent, "a", 2);
        stage.hang_up(absent);
        for (qos, offset) in [(1, 0), (2, 100)] {
            let publisher = stage.connect("publisher", version);
            for index in 1..=100 {
                let sent = Publish { packet_id: index, ..publish("a", qos, &(index + offset).to_string()) };
                stage.house.send_packet(publisher.wire, &Packet::Publish(sent), version);
            }
            stage.packets(publisher);
        }
        let expected: Vec<_> = (1..=200).map(|index| index.to_string()).collect();
        assert_eq!(stage.payloads(live), expected);
        // Queued ones, and those that are repeated once more ([MQTT-4.6.0-1] of version 3.1.1).
        for _ in 0..2 {
            let (absent, _) = stage.resume("absent", version);
            assert_eq!(stage.payloads(absent), expected);
            stage.hang_up(absent);
        }
    });
}

#[test]
fn mqtt311_4_6_0_2_acknowledgements_keep_their_order() {
    in_all_versions(|stage, version| {
        let (absent, _) = stage.resume("absent", version);
        stage.subscribe(absent, "a", 2);
        stage.hang_up(absent);
        let publisher = stage.connect("publisher", version);
        stage.house.hold_store(true);
        for index in 1..=50 {
            // Some have to be stored, some have not.
            let topic = if index % 3 == 0 { "a" } else { "elsewhere" };
            let sent = Publish { packet_id: index, ..publish(topic, 1 + (index % 2) as u8, "x") };
            stage.house.send_packet(publisher.wire, &Packet::Publish(sent), version);
        }
        stage.house.settle();
        stage.house.hold_store(false);
        let packets = stage.packets(publisher);
        let acked: Vec<_> = packets
            .iter()
            .filter_map(|packet| match packet {
                Packet::PubAck(ack) => Some(ack.packet_id),
                _ => None,
            })
            .collect();
        let received: Vec<_> = packets
            .iter()
            .filter_map(|packet| match packet {
                Packet::PubRec(ack) => Some(ack.packet_id),
                _ => None,
            })
            .collect();
        assert_eq!(acked, (1..=50).filter(|id| id % 2 == 0).collect::<Vec<_>>());
        assert_eq!(received, (1..=50).filter(|id| id % 2 == 1).collect::<Vec<_>>());
    });
}

#[test]
fn mqtt311_4_6_0_4_pubrel_keeps_the_order_of_pubrec() {
    in_all_versions(|stage, version| {
        let peer = stage.subscriber("c", version, "a", 2);
        let publisher = stage.connect("publisher", version);
        for id in 1..=20 {
            stage.send(publisher, Packet::Publish(Publish { packet_id: id, ..publish("a", 2, "x") }));
        }
        let mut ids: Vec<_> = stage.publishes(peer).iter().map(|publish| publish.packet_id).collect();
        ids.rotate_left(7);
        for id in &ids {
            stage.house.send_packet(peer.wire, &Packet::PubRec(ack(*id, 0)), version);
        }
        let released: Vec<_> = stage
            .packets(peer)
            .iter()
            .map(|packet| match packet {
                Packet::PubRel(release) => release.packet_id,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(released, ids);
    });
}

#[test]
fn mqtt311_4_8_0_2_a_transient_error_ends_the_connection() {
    let refuse = |setup: &mut althing_testkit::house::Setup| {
        setup.limits.queue_overflow = althing_core::limits::Overflow::Refuse;
        setup.limits.queue_messages_max = 1;
    };
    on_prepared_stage(refuse, |stage| {
        for (version, qos) in [(Version::V31, 1), (Version::V311, 1), (Version::V311, 2)] {
            let (absent, _) = stage.resume("absent", version);
            stage.subscribe(absent, "a", 2);
            stage.hang_up(absent);
            let peer = stage.connect("c", version);
            stage.send(peer, Packet::Publish(Publish { packet_id: 1, ..publish("a", qos, "1") }));
            assert_eq!(stage.packets(peer).len(), 1);
            // What cannot be taken now stays the client's: no acknowledgement, and no connection.
            stage.send(peer, Packet::Publish(Publish { packet_id: 2, ..publish("a", qos, "2") }));
            stage.assert_ended(peer, 0);
            stage.connect("absent", version);
        }
    });
}
