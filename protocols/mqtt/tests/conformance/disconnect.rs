//! DISCONNECT, AUTH and errors (§3.14, §3.15, §4.12, §4.13).

use crate::stage::*;
use althing_core::verbs::Reason;
use althing_mqtt::packet::{Connect, Disconnect, Packet, Version, Will};
use althing_testkit::house::{CHALLENGE, METHOD_ECHO, topic};
use bytes::Bytes;

fn with_will(version: Version) -> Connect {
    let will = Will {
        topic: topic("will"),
        payload: Bytes::from_static(b"gone"),
        qos: guarantee(0),
        retain: false,
        delay_s: 0,
        message_expiry_s: None,
        properties: None,
    };
    Connect { will: Some(Box::new(will)), ..clean("c", version) }
}

#[test]
fn mqtt5_3_14_0_1_no_disconnect_before_connack() {
    on_stage(|stage| {
        for body in [
            "0004'MQTT'05 03 0000 00 0001'c'",
            "0004'MQTT'05 02 0000 00",
            "0004'MQTT'05 C2 0000 00 0001'c' 0001'u' 0005'wrong'",
        ] {
            let peer = stage.open(V5);
            let said = stage.say(peer, &hex(&frame(0x10, body)));
            assert!(said.starts_with("20"), "{said}");
            assert_eq!(bytes(&said)[1] as usize, said.len() / 2 - 2, "nothing but CONNACK");
            assert!(stage.is_closed(peer));
        }
        let silent = stage.open(V5);
        stage.pass_s(60);
        assert_eq!(stage.hear(silent), "");
        assert!(stage.is_closed(silent));
    });
}

#[test]
fn mqtt5_3_14_1_1_the_flags_of_disconnect_are_0() {
    on_stage(|stage| {
        for version in [Version::V311, V5] {
            for flags in 1..16 {
                stage.assert_refused(version, &[0xE0 | flags, 0], 0x81);
            }
        }
    });
}

#[test]
fn mqtt5_3_14_2_1_the_reason_codes_of_disconnect_are_from_its_table() {
    let from_client = [0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99];
    on_stage(|stage| {
        for code in 0..=0xFF {
            let peer = stage.connect("c", V5);
            stage.send_bytes(peer, &[0xE0, 1, code]);
            if from_client.contains(&code) {
                assert_eq!(stage.hear(peer), "", "0x{code:02X}");
                assert!(stage.is_closed(peer));
            } else {
                stage.assert_ended(peer, 0x82);
            }
        }
        // The server's own: each way to end a conversation.
        let peer = stage.connect("c", V5);
        stage.house.close_all(Reason::ShuttingDown);
        stage.assert_ended(peer, 0x8B);
    });
}

#[test]
fn mqtt5_3_14_2_2_the_server_sends_no_session_expiry() {
    on_stage(|stage| {
        let (peer, _) = stage.resume("c", V5);
        stage.connect("c", V5);
        // `assert_ended` knows only Reason String and User Property.
        stage.assert_ended(peer, 0x8E);
    });
}

#[test]
fn mqtt5_3_14_2_2_2_a_session_that_ends_cannot_be_prolonged() {
    on_stage(|stage| {
        stage.assert_refused(V5, &bytes("E0 07 00 05 11 00000001"), 0x82);
        // One that lasts can be made to end.
        let (peer, _) = stage.resume("c", V5);
        let ending = Disconnect { session_expiry_s: Some(0), ..Disconnect::default() };
        stage.send(peer, Packet::Disconnect(Box::new(ending)));
        assert!(stage.is_closed(peer));
        let (_, connack) = stage.resume("c", V5);
        assert!(!connack.session_present);
    });
}

#[test]
fn mqtt5_3_14_2_3_disconnect_is_not_larger_than_the_client_takes() {
    on_stage(|stage| {
        for maximum in [20, 30] {
            let (peer, _) = stage.connect_as(Connect { maximum_packet_size: Some(maximum), ..clean("c", V5) });
            stage.send_bytes(peer, &bytes("30 03 0001'+'"));
            let said = stage.hear(peer);
            assert!(said.len() <= 2 * maximum as usize, "{said}");
            assert_eq!(disconnect_code(&bytes(&said)), Some(0x81));
        }
    });
}

#[test]
fn mqtt5_3_14_4_1_nothing_follows_disconnect() {
    on_stage(|stage| {
        let peer = stage.subscriber("c", V5, "a", 0);
        let publisher = stage.connect("publisher", V5);
        stage.house.send_packet(publisher.wire, &Packet::Publish(publish("a", 0, "x")), V5);
        stage.send_bytes(peer, &bytes("C000 C100 C000 C000"));
        stage.send(publisher, Packet::Publish(publish("a", 0, "x")));
        let packets = stage.packets(peer);
        assert!(matches!(packets.last(), Some(Packet::Disconnect(_))), "{packets:?}");
        assert_eq!(packets.iter().filter(|packet| matches!(packet, Packet::PingResp)).count(), 1);
        assert!(stage.is_closed(peer));
    });
}

#[test]
fn mqtt5_3_14_4_2_the_connection_closes_behind_disconnect() {
    in_all_versions(|stage, version| {
        let peer = stage.connect("c", version);
        stage.send_bytes(peer, &bytes("E000 C000"));
        assert_eq!(stage.hear(peer), "", "nothing after the client's DISCONNECT is processed");
        assert!(stage.is_closed(peer));
    });
}

#[test]
fn mqtt5_3_14_4_3_disconnect_discards_the_will() {
    in_all_versions(|stage, version| {
        let watcher = stage.subscriber("watcher", version, "will", 0);
        let (peer, _) = stage.connect_as(with_will(version));
        stage.send_bytes(peer, &bytes("E000"));
        stage.pass_s(60);
        assert_eq!(stage.payloads(watcher), [""; 0]);
        if version == V5 {
            for (code, published) in [(0x00, 0), (0x04, 1), (0x80, 1)] {
                let (peer, _) = stage.connect_as(with_will(version));
                stage.send(peer, disconnect(code));
                assert_eq!(stage.payloads(watcher).len(), published, "0x{code:02X}");
            }
        }
    });
}

#[test]
fn mqtt5_3_15_1_1_the_flags_of_auth_are_0() {
    on_stage(|stage| {
        for flags in 1..16 {
            stage.assert_refused(V5, &frame(0xF0 | flags, "18 07 15 0004'ECHO'"), 0x81);
        }
    });
}

const CONNECT_WITH_ECHO: &str = "0004'MQTT'05 02 0000 07 15 0004'ECHO' 0001'c'";

/// An AUTH of the client with this code, method and data.
fn auth(code: &str, method: &str, data: &[u8]) -> Vec<u8> {
    let text = format!("{:04X}'{method}'", method.len());
    let properties = bytes(&format!("15 {text} 16 {:04X} {}", data.len(), hex(data)));
    frame(0xF0, &format!("{code} {:02X} {}", properties.len(), hex(&properties)))
}

/// A peer that has been challenged.
fn challenged(stage: &mut Stage) -> Peer {
    let peer = stage.open(V5);
    stage.send_bytes(peer, &frame(0x10, CONNECT_WITH_ECHO));
    assert_eq!(stage.hear(peer), hex(&auth("18", METHOD_ECHO, CHALLENGE)));
    peer
}

/// A peer that has proven itself.
fn authenticated(stage: &mut Stage) -> Peer {
    let peer = challenged(stage);
    stage.send_bytes(peer, &auth("18", METHOD_ECHO, CHALLENGE));
    match stage.next_packet(peer) {
        Some(Packet::ConnAck(connack)) => {
            assert_eq!(connack.properties.authentication_method.as_deref(), Some(METHOD_ECHO));
        }
        other => panic!("{other:?}"),
    }
    peer
}

#[test]
fn mqtt5_3_15_2_1_the_reason_codes_of_auth_are_from_its_table() {
    on_stage(|stage| {
        for code in (0..=0xFF).filter(|code| *code != 0x18) {
            let peer = challenged(stage);
            stage.send_bytes(peer, &auth(&format!("{code:02X}"), METHOD_ECHO, CHALLENGE));
            let said = bytes(&stage.hear(peer));
            assert_eq!((said[0], said[3]), (0x20, 0x82), "0x{code:02X}");
            assert!(stage.is_closed(peer));
        }
    });
}

#[test]
fn mqtt5_4_12_0_1_an_unknown_method_is_refused() {
    on_stage(|stage| {
        let said = frame(0x10, "0004'MQTT'05 02 0000 07 15 0004'NONE' 0001'c'");
        assert_eq!(stage.refused_connect(V5, &said), Some(0x8C));
    });
}

#[test]
fn mqtt5_4_12_0_2_the_server_asks_with_continue_authentication() {
    on_stage(|stage| {
        let peer = challenged(stage);
        // Until it has an answer nothing but AUTH and DISCONNECT is taken ([MQTT-3.1.2-30]).
        stage.send_bytes(peer, &bytes("C000"));
        let said = bytes(&stage.hear(peer));
        assert_eq!((said[0], said[3]), (0x20, 0x82));
        assert!(stage.is_closed(peer));
    });
}

#[test]
fn mqtt5_4_12_0_4_failed_authentication_ends_the_connection() {
    on_stage(|stage| {
        let peer = challenged(stage);
        stage.send_bytes(peer, &auth("18", METHOD_ECHO, b"something else"));
        let said = bytes(&stage.hear(peer));
        assert_eq!((said[0], said[2], said[3]), (0x20, 0, 0x87));
        assert!(stage.is_closed(peer));
    });
}

#[test]
fn mqtt5_4_12_0_5_one_method_for_the_whole_conversation() {
    on_stage(|stage| {
        let peer = challenged(stage);
        stage.send_bytes(peer, &auth("18", "OTHER", CHALLENGE));
        let said = bytes(&stage.hear(peer));
        assert_eq!(said[0], 0x20);
        assert!(said[3] >= 0x80 && stage.is_closed(peer));
        let peer = authenticated(stage);
        stage.send_bytes(peer, &auth("19", METHOD_ECHO, b""));
        assert_eq!(stage.hear(peer), hex(&auth("18", METHOD_ECHO, CHALLENGE)));
        stage.send_bytes(peer, &auth("18", METHOD_ECHO, CHALLENGE));
        let said = bytes(&stage.hear(peer));
        assert_eq!(said, frame(0xF0, "00 07 15 0004'ECHO'"));
        stage.send_bytes(peer, &auth("19", "OTHER", b""));
        assert!(stage.is_closed(peer));
    });
}

#[test]
fn mqtt5_4_12_0_6_no_auth_without_a_method() {
    on_stage(|stage| {
        let (peer, connack) = stage.connect_as(clean("c", V5));
        assert_eq!(connack.properties.authentication_method, None);
        assert_eq!(connack.properties.authentication_data, None);
        stage.pass_s(1_000);
        assert_eq!(stage.hear(peer), "");
    });
}

#[test]
fn mqtt5_4_12_0_7_a_client_without_a_method_sends_no_auth() {
    on_stage(|stage| {
        stage.assert_refused(V5, &auth("18", METHOD_ECHO, CHALLENGE), 0x82);
        stage.assert_refused(V5, &auth("19", METHOD_ECHO, b""), 0x82);
    });
}

#[test]
fn mqtt5_4_12_1_2_a_failed_re_authentication_ends_the_connection() {
    on_stage(|stage| {
        let peer = authenticated(stage);
        stage.send_bytes(peer, &auth("19", METHOD_ECHO, b""));
        stage.hear(peer);
        assert_eq!(stage.say(peer, "C000"), "D000", "traffic goes on meanwhile");
        stage.send_bytes(peer, &auth("18", METHOD_ECHO, b"something else"));
        stage.assert_ended(peer, 0x87);
    });
}

#[test]
fn mqtt5_4_13_1_1_a_violation_ends_the_connection() {
    on_stage(|stage| {
        let long = hex(&[b'x'; 300]);
        for (said, code) in [
            ("00 00".to_owned(), 0x81),
            ("C0 01 00".to_owned(), 0x81),
            ("30 FFFFFFFF7F".to_owned(), 0x81),
            ("30 04 0001'a' 05".to_owned(), 0x81),
            ("90 04 0001 00 00".to_owned(), 0x82),
            ("D0 00".to_owned(), 0x82),
            ("20 03 00 00 00".to_owned(), 0x82),
            (format!("30 B102 012C {long} 02 7F00 'x'"), 0x81),
        ] {
            stage.assert_refused(V5, &bytes(&said), code);
        }
    });
}

#[test]
fn mqtt5_4_13_2_1_an_error_code_means_the_end() {
    on_stage(|stage| {
        let peer = stage.connect("c", V5);
        stage.send(peer, disconnect(0x80));
        assert!(stage.is_closed(peer));
    });
    let little = |setup: &mut althing_testkit::house::Setup| setup.limits.packet_bytes_max = 100;
    on_prepared_stage(little, |stage| {
        for version in VERSIONS {
            let none = no_properties(version);
            let long = "x".repeat(100);
            stage.assert_refused(version, &frame(0x30, &format!("0001'a' {none} '{long}'")), 0x95);
        }
    });
}

#[test]
fn mqtt311_4_8_0_1_a_violation_ends_the_connection() {
    on_stage(|stage| {
        for version in [Version::V31, Version::V311] {
            for said in [
                "0000",
                "F000",
                "D000",
                "20020000",
                "9003000100",
                "B0020001",
                "C00100",
                "E00100",
                "40030001 00",
                "30FFFFFFFF7F",
                "300000",
                "8200",
            ] {
                stage.assert_refused(version, &bytes(said), 0);
            }
        }
    });
}
