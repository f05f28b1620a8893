//! Chapters 1 and 2: data representations, fixed header, packet identifiers, properties.

use crate::stage::*;
use althing_mqtt::packet::{Packet, Publish, Version};

/// Two bytes that are no UTF-8, and the encodings of the first and last surrogate.
const ILL_FORMED: [&str; 4] = ["0002 C328", "0003 EDA080", "0003 EDBFBF", "0002 C080"];

/// Every string that a client may say once it is connected, around the string itself.
fn strings_of_version_5(string: &str) -> Vec<(u8, String)> {
    let publish_property = |property: &str| {
        let property = bytes(&format!("{property}{string}"));
        (0x30, format!("0001'a' {} {}", hex(&variable_int(property.len())), hex(&property)))
    };
    let mut strings = vec![
        (0x30, format!("{string} 00 'x'")),
        publish_property("03"),
        publish_property("08"),
        publish_property("26 0001'k'"),
        (0x82, format!("0001 00 {string} 00")),
        (0xA2, format!("0001 00 {string}")),
    ];
    let user = bytes(&format!("26 {string} 0001'v'"));
    strings.push((0x82, format!("0001 {} {} 0001'a' 00", hex(&variable_int(user.len())), hex(&user))));
    let reason = bytes(&format!("1F {string}"));
    strings.push((0x40, format!("0001 00 {} {}", hex(&variable_int(reason.len())), hex(&reason))));
    strings.push((0xE0, format!("00 {} {}", hex(&variable_int(reason.len())), hex(&reason))));
    strings
}

fn refuses_string(string: &str) {
    on_stage(|stage| {
        for (first, body) in strings_of_version_5(string) {
            stage.assert_refused(V5, &frame(first, &body), 0x81);
        }
        for version in [Version::V31, Version::V311] {
            stage.assert_refused(version, &frame(0x30, &format!("{string} 'x'")), 0);
            stage.assert_refused(version, &frame(0x82, &format!("0001 {string} 00")), 0);
            stage.assert_refused(version, &frame(0xA2, &format!("0001 {string}")), 0);
        }
        for (version, expected) in [(Version::V31, None), (Version::V311, None), (V5, Some(0x81))] {
            let (head, none) = (connect_head(version), no_properties(version));
            for body in [
                format!("{head} 02 0000 {none} {string}"),
                format!("{head} 06 0000 {none} 0001'c' {none} {string} 0001'w'"),
                format!("{head} 82 0000 {none} 0001'c' {string}"),
            ] {
                assert_eq!(stage.refused_connect(version, &frame(0x10, &body)), expected, "{version:?} {body}");
            }
        }
    });
}

#[test]
fn mqtt5_1_5_4_1_strings_are_well_formed_utf_8() {
    for string in ILL_FORMED {
        refuses_string(string);
    }
}

#[test]
fn mqtt5_1_5_4_2_strings_contain_no_null_character() {
    refuses_string("0003'a'00'b'");
}

#[test]
fn mqtt5_1_5_4_3_a_byte_order_mark_is_a_character() {
    in_all_versions(|stage, version| {
        let marked = stage.subscriber("marked", version, "\u{FEFF}a", 0);
        let plain = stage.subscriber("plain", version, "a", 0);
        let publisher = stage.connect("publisher", version);
        stage.send(publisher, Packet::Publish(publish("\u{FEFF}a", 0, "x")));
        let none = no_properties(version);
        assert_eq!(stage.hear(marked), hex(&frame(0x30, &format!("0004 EFBBBF'a' {none} 'x'"))));
        assert_eq!(stage.hear(plain), "");
    });
}

#[test]
fn mqtt5_1_5_5_1_lengths_take_the_minimum_of_bytes() {
    on_stage(|stage| {
        stage.assert_refused(V5, &bytes("C0 8000"), 0x81);
        stage.assert_refused(V5, &bytes("30 8500 0001'a' 00 'x'"), 0x81);
        stage.assert_refused(V5, &frame(0x30, "0001'a' 8000 'x'"), 0x81);
        stage.assert_refused(V5, &frame(0x82, "0001 03 0B8100 0001'a' 00"), 0x81);
        // What the server writes: lengths around each border, and an identifier of two bytes.
        let subscriber = stage.connect("subscriber", V5);
        stage.send(subscriber, subscribe_with(1, Some(128), subscribe_filter("a", 0)));
        stage.packets(subscriber);
        let publisher = stage.connect("publisher", V5);
        for payload_length in [120, 121, 16_376, 16_377] {
            let payload = "x".repeat(payload_length);
            stage.send(publisher, Packet::Publish(publish("a", 0, &payload)));
            let expected = frame(0x30, &format!("0001'a' 03 0B8001 '{payload}'"));
            assert_eq!(stage.hear(subscriber), hex(&expected), "{payload_length}");
        }
    });
}

#[test]
fn mqtt5_1_5_7_1_both_strings_of_a_pair_are_strings() {
    on_stage(|stage| {
        for pair in ["0002C328 0001'v'", "0001'k' 0002C328", "000100 0001'v'", "0001'k' 000100"] {
            let property = bytes(&format!("26 {pair}"));
            let body = format!("0001'a' {} {} 'x'", hex(&variable_int(property.len())), hex(&property));
            stage.assert_refused(V5, &frame(0x30, &body), 0x81);
        }
    });
}

#[test]
fn mqtt5_2_1_3_1_reserved_flags_are_as_listed() {
    on_stage(|stage| {
        for version in [Version::V311, V5] {
            let none = no_properties(version);
            let mut packets = vec![
                (0x40, 0, "0001".to_owned()),
                (0x50, 0, "0001".to_owned()),
                (0x60, 2, "0001".to_owned()),
                (0x70, 0, "0001".to_owned()),
                (0x80, 2, format!("0001 {none} 0001'a' 00")),
                (0xA0, 2, format!("0001 {none} 0001'a'")),
                (0xC0, 0, String::new()),
                (0xE0, 0, String::new()),
            ];
            if version == V5 {
                packets.push((0xF0, 0, "19 00".to_owned()));
            }
            for (packet_type, flags, body) in packets {
                for wrong in (0..16).filter(|wrong| *wrong != flags) {
                    stage.assert_refused(version, &frame(packet_type | wrong, &body), 0x81);
                }
            }
            for wrong in 1..16 {
                let body = format!("{} 02 0000 {none} 0001'c'", connect_head(version));
                let refused = stage.refused_connect(version, &frame(0x10 | wrong, &body));
                assert!(matches!(refused, None | Some(0x81)), "{refused:?}");
            }
        }
        // What the server writes has them right as well.
        let peer = stage.connect("right", Version::V311);
        assert_eq!(stage.say(peer, "820600010001'a'02"), "9003000102");
    });
}

#[test]
fn mqtt5_2_2_1_2_qos_0_has_no_packet_identifier() {
    in_all_versions(|stage, version| {
        let none = no_properties(version);
        let subscriber = stage.subscriber("subscriber", version, "a", 2);
        let publisher = stage.connect("publisher", version);
        // What looks like an identifier is the beginning of the payload, and none is added on the way.
        let said = frame(0x30, &format!("0001'a' {none} 0001"));
        stage.send_bytes(publisher, &said);
        assert_eq!(stage.hear(subscriber), hex(&said));
    });
}

#[test]
fn mqtt311_2_3_1_1_a_packet_identifier_is_not_0() {
    on_stage(|stage| {
        for version in VERSIONS {
            let none = no_properties(version);
            for (first, body) in [
                (0x32, format!("0001'a' 0000 {none} 'x'")),
                (0x34, format!("0001'a' 0000 {none} 'x'")),
                (0x82, format!("0000 {none} 0001'a' 00")),
                (0xA2, format!("0000 {none} 0001'a'")),
                (0x40, "0000".to_owned()),
                (0x50, "0000".to_owned()),
                (0x62, "0000".to_owned()),
                (0x70, "0000".to_owned()),
            ] {
                stage.assert_refused(version, &frame(first, &body), 0x82);
            }
        }
    });
}

#[test]
fn mqtt5_2_2_1_4_the_server_assigns_unused_packet_identifiers() {
    in_all_versions(|stage, version| {
        let subscriber = stage.subscriber("subscriber", version, "a", 2);
        let publisher = stage.connect("publisher", version);
        let mut open: Vec<Publish> = Vec::new();
        for round in 0..200 {
            for qos in [1, 2] {
                let packet_id = 2 * round + u16::from(qos);
                stage.send(publisher, Packet::Publish(Publish { packet_id, ..publish("a", qos, "x") }));
            }
            for publish in stage.publishes(subscriber) {
                assert_ne!(publish.packet_id, 0);
                assert!(open.iter().all(|other| other.packet_id != publish.packet_id), "{}", publish.packet_id);
                open.push(publish);
            }
            // Settle some, out of order, so that numbers become free in the middle.
            if round % 3 == 0 {
                let settled = open.remove(open.len() / 2);
                let settle = |packet_id| match settled.qos as u8 {
                    1 => vec![Packet::PubAck(ack(packet_id, 0))],
                    _ => vec![Packet::PubRec(ack(packet_id, 0)), Packet::PubComp(ack(packet_id, 0))],
                };
                for packet in settle(settled.packet_id) {
                    stage.send(subscriber, packet);
                }
                let answers = stage.packets(subscriber);
                assert!(answers.iter().all(|packet| matches!(packet, Packet::PubRel(_))), "{answers:?}");
            }
        }
        assert_eq!(open.len(), 400 - 67);
    });
}

#[test]
fn mqtt5_2_2_1_5_acknowledgements_carry_the_identifier_of_their_publish() {
    in_all_versions(|stage, version| {
        let none = no_properties(version);
        let peer = stage.subscriber("both sides", version, "elsewhere", 0);
        let code = if version == V5 { "10" } else { "" };
        let length = if version == V5 { "03" } else { "02" };
        for id in ["0001", "00FF", "0100", "8000", "FFFF"] {
            let publish = |first| hex(&frame(first, &format!("0001'a' {id} {none} 'x'")));
            assert_eq!(stage.say(peer, &publish(0x32)), format!("40{length}{id}{code}"));
            assert_eq!(stage.say(peer, &publish(0x34)), format!("50{length}{id}{code}"));
            assert_eq!(stage.say(peer, &format!("6202{id}")), format!("7002{id}"));
        }
        stage.subscribe(peer, "mine", 2);
        stage.send(peer, Packet::Publish(publish("mine", 2, "x")));
        let packets = stage.packets(peer);
        let id = packets.iter().find_map(|packet| match packet {
            Packet::Publish(publish) => Some(publish.packet_id),
            _ => None,
        });
        let id = id.unwrap();
        assert_eq!(stage.say(peer, &format!("5002{id:04X}")), format!("6202{id:04X}"));
    });
}

#[test]
fn mqtt5_2_2_1_6_suback_and_unsuback_carry_the_identifier_of_their_request() {
    in_all_versions(|stage, version| {
        let none = no_properties(version);
        let peer = stage.connect("peer", version);
        for id in ["0001", "00FF", "0100", "8000", "FFFF"] {
            let subscribe = hex(&frame(0x82, &format!("{id} {none} 0001'a' 01")));
            assert_eq!(stage.say(peer, &subscribe), hex(&frame(0x90, &format!("{id} {none} 01"))));
            let unsubscribe = hex(&frame(0xA2, &format!("{id} {none} 0001'a'")));
            let code = no_properties(version);
            assert_eq!(stage.say(peer, &unsubscribe), hex(&frame(0xB0, &format!("{id} {none} {code}"))));
        }
    });
}

#[test]
fn mqtt5_2_2_2_1_no_properties_are_a_property_length_of_0() {
    on_stage(|stage| {
        let peer = stage.connect("peer", V5);
        assert_eq!(stage.say(peer, "82 07 0001 00 0001'a' 01"), "900400010001");
        assert_eq!(stage.say(peer, "30 05 0001'a' 00 'x'"), "300500016100".to_owned() + "78");
        assert_eq!(stage.say(peer, "A2 06 0002 00 0001'a'"), "B00400020000");
        // Without the length there is no packet.
        stage.assert_refused(V5, &bytes("30 03 0001'a'"), 0x81);
        stage.assert_refused(V5, &bytes("82 02 0001"), 0x81);
        stage.assert_refused(V5, &bytes("A2 02 0001"), 0x81);
    });
}
