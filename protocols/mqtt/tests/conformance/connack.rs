//! CONNACK (§3.2).

use crate::stage::*;
use althing_mqtt::packet::{Connect, Packet, Version};
use bytes::Bytes;

#[test]
fn mqtt5_3_2_0_1_connack_comes_first() {
    in_all_versions(|stage, version| {
        let (peer, _) = stage.resume("c", version);
        stage.subscribe(peer, "a", 1);
        stage.hang_up(peer);
        let publisher = stage.connect("publisher", version);
        for _ in 0..5 {
            stage.send(publisher, Packet::Publish(publish("a", 1, "x")));
        }
        // Requests sent behind CONNECT wait for it as well.
        let peer = stage.open(version);
        let (head, none) = (connect_head(version), no_properties(version));
        let properties = if version == V5 { "05 11 FFFFFFFF" } else { "" };
        let mut said = frame(0x10, &format!("{head} 00 0000 {properties} 0001'c'"));
        said.extend(bytes("C000"));
        said.extend(frame(0x82, &format!("0001 {none} 0001'b' 00")));
        stage.send_bytes(peer, &said);
        let packets = stage.packets(peer);
        let connacks = packets.iter().filter(|packet| matches!(packet, Packet::ConnAck(_))).count();
        assert!(matches!(&packets[0], Packet::ConnAck(connack) if connack.code == 0), "{packets:?}");
        assert_eq!((packets.len(), connacks), (1 + 5 + 2, 1), "{packets:?}");
    });
}

#[test]
fn mqtt5_3_2_0_2_one_connack_a_connection() {
    on_stage(|stage| {
        for version in VERSIONS {
            let peer = stage.connect("c", version);
            stage.send(peer, Packet::Connect(Box::new(clean("c", version))));
            let packets = stage.packets(peer);
            assert!(!packets.iter().any(|packet| matches!(packet, Packet::ConnAck(_))), "{packets:?}");
        }
    });
}

#[test]
fn mqtt5_3_2_2_1_the_acknowledge_flags_are_reserved_but_one() {
    in_all_versions(|stage, version| {
        for (present, id) in [("00", "c"), ("01", "c")] {
            let connect = lasting(id, version);
            let peer = stage.open(version);
            stage.send(peer, Packet::Connect(Box::new(connect)));
            let said = stage.hear(peer);
            let expected = if version == Version::V31 { "00" } else { present };
            assert_eq!(&said[..2], "20");
            assert_eq!(&said[4..8], format!("{expected}00"), "{said}");
            stage.hang_up(peer);
        }
    });
}

#[test]
fn mqtt5_3_2_2_2_a_clean_start_has_no_session_present() {
    in_all_versions(|stage, version| {
        let (peer, _) = stage.resume("c", version);
        stage.hang_up(peer);
        let (_, connack) = stage.connect_as(clean("c", version));
        assert_eq!((connack.session_present, connack.code), (false, 0));
    });
}

#[test]
fn mqtt5_3_2_2_3_session_present_tells_the_truth() {
    on_stage(|stage| {
        for version in [Version::V311, V5] {
            for expected in [false, true, true] {
                let (peer, connack) = stage.resume("c", version);
                assert_eq!((connack.session_present, connack.code), (expected, 0), "{version:?}");
                stage.hang_up(peer);
            }
            stage.connect("c", version);
            let (peer, connack) = stage.resume("c", version);
            assert!(!connack.session_present, "a clean session ends when it is taken over");
            stage.hang_up(peer);
            let last = stage.connect("c", version);
            stage.hang_up(last);
        }
    });
}

#[test]
fn mqtt5_3_2_2_6_a_refusal_has_no_session_present() {
    on_stage(|stage| {
        for (version, code) in [(Version::V31, "04"), (Version::V311, "04"), (V5, "86")] {
            let (peer, _) = stage.resume("c", version);
            stage.hang_up(peer);
            let wrong = Bytes::from_static(b"wrong");
            let connect = Connect { username: Some("u".into()), password: Some(wrong), ..lasting("c", version) };
            let peer = stage.open(version);
            stage.send(peer, Packet::Connect(Box::new(connect)));
            let said = stage.hear(peer);
            assert_eq!(&said[4..8], format!("00{code}"), "{said}");
            assert!(stage.is_closed(peer), "[MQTT-3.2.2-7]");
            stage.connect("c", version);
        }
    });
}

#[test]
fn mqtt311_3_2_2_6_what_has_no_return_code_gets_no_connack() {
    on_stage(|stage| {
        for version in [Version::V31, Version::V311] {
            let head = connect_head(version);
            for body in [format!("{head} 02 0000"), format!("{head} 06 0000 0001'c' 0003'w/#' 0000")] {
                assert_eq!(stage.refused_connect(version, &frame(0x10, &body)), None);
            }
        }
    });
}

#[test]
fn mqtt5_3_2_2_8_reason_codes_of_connack_are_from_its_table() {
    let small = |setup: &mut althing_testkit::house::Setup| setup.limits.client_id_bytes_max = 3;
    on_prepared_stage(small, |stage| {
        let table = [
            0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97, 0x99, 0x9A, 0x9B,
            0x9C, 0x9D, 0x9F,
        ];
        for (body, code) in [
            ("0004'MQTT'05 03 0000 00 0001'c'", 0x81),
            ("0004'MQTT'05 02 0000 06 21 0001 21 0001 0001'c'", 0x82),
            ("0004'MQTT'06 02 0000 00 0001'c'", 0x84),
            ("0004'MQTT'05 02 0000 00 0004'long'", 0x85),
            ("0004'MQTT'05 C2 0000 00 0001'c' 0001'u' 0005'wrong'", 0x86),
            ("0004'MQTT'05 02 0000 05 15 0002'NO' 0001'c'", 0x8C),
            ("0004'MQTT'05 06 0000 00 0001'c' 00 0004'$SYS' 0000", 0x87),
        ] {
            let refused = stage.refused_connect(V5, &frame(0x10, body));
            assert_eq!(refused, Some(code), "{body}");
            assert!(table.contains(&code));
        }
    });
}

#[test]
fn mqtt5_3_2_2_9_every_qos_is_supported() {
    on_stage(|stage| {
        let (peer, connack) = stage.connect_as(clean("c", V5));
        assert_eq!(connack.properties.maximum_qos, None);
        assert_ne!(connack.properties.retain_available, Some(false));
        stage.send(peer, subscribe(1, &[("a", 0), ("b", 1), ("c", 2)]));
        assert_eq!(stage.hear(peer), "900600010000 0102".replace(' ', ""));
    });
}

#[test]
fn mqtt5_3_2_2_19_connack_is_not_larger_than_the_client_takes() {
    on_stage(|stage| {
        for maximum in [5, 10, 30] {
            let said = frame(0x10, &format!("0004'MQTT'05 C2 0000 05 27 {maximum:08X} 0001'c' 0001'u' 0005'wrong'"));
            let peer = stage.open(V5);
            stage.send_bytes(peer, &said);
            let said = stage.hear(peer);
            assert!(said.len() <= 2 * maximum && said.contains("0086"), "{said}");
        }
    });
}

#[test]
fn mqtt5_3_2_2_22_the_clients_keep_alive_holds_unless_another_is_sent() {
    on_stage(|stage| {
        for keep_alive_s in [1, 60, 65_535] {
            let (peer, connack) = stage.connect_as(Connect { keep_alive_s, ..clean("c", V5) });
            assert_eq!(connack.properties.server_keep_alive_s, None);
            stage.pass_s(u64::from(keep_alive_s) * 3 / 2 - u64::from(keep_alive_s > 1));
            if keep_alive_s > 1 {
                assert!(!stage.is_closed(peer));
            }
            stage.pass_s(2);
            stage.assert_ended(peer, 0x8D);
        }
    });
    let shorter = |setup: &mut althing_testkit::house::Setup| setup.limits.keep_alive_s_max = 20;
    on_prepared_stage(shorter, |stage| {
        let (peer, connack) = stage.connect_as(Connect { keep_alive_s: 60, ..clean("c", V5) });
        assert_eq!(connack.properties.server_keep_alive_s, Some(20));
        stage.pass_s(31);
        stage.assert_ended(peer, 0x8D);
    });
}

/// §3.2.2.3: what is left out means the largest, or none.
#[test]
fn limits_at_their_ends_are_left_out() {
    let at_their_ends = |setup: &mut althing_testkit::house::Setup| {
        setup.limits.packet_bytes_max = 268_435_460;
        setup.limits.topic_alias_maximum = 0;
        setup.limits.receive_maximum = u16::MAX;
    };
    on_prepared_stage(at_their_ends, |stage| {
        let (_, connack) = stage.connect_as(clean("c", V5));
        assert_eq!(connack.properties.maximum_packet_size, None);
        assert_eq!(connack.properties.topic_alias_maximum, None);
        assert_eq!(connack.properties.receive_maximum, None);
    });
}
