//! The will (§3.1.2.5, §3.1.3.2 to §3.1.3.4).

use crate::connect::{connect, malformed};
use crate::stage::*;
use althing_core::message::Properties;
use althing_mqtt::packet::{Connect, Version, Will};
use althing_testkit::house::topic;
use bytes::Bytes;
use std::sync::Arc;

fn will(qos: u8, retain: bool, delay_s: u32) -> Option<Box<Will>> {
    Some(Box::new(Will {
        topic: topic("will"),
        payload: Bytes::from_static(b"gone"),
        qos: guarantee(qos),
        retain,
        delay_s,
        message_expiry_s: None,
        properties: None,
    }))
}

#[test]
fn mqtt5_3_1_2_8_the_will_is_published_when_the_connection_is_lost() {
    in_all_versions(|stage, version| {
        let watcher = stage.subscriber("watcher", version, "will", 1);
        let lost = |stage: &mut Stage| stage.connect_as(Connect { will: will(1, false, 0), ..clean("c", version) }).0;
        let peer = lost(stage);
        assert_eq!(stage.payloads(watcher), [""; 0], "stored, not published");
        stage.hang_up(peer);
        assert_eq!(stage.payloads(watcher), ["gone"]);
        // A violation of the protocol ends the connection as well.
        let peer = lost(stage);
        stage.send_bytes(peer, &bytes("36 00"));
        assert!(stage.is_closed(peer));
        assert_eq!(stage.payloads(watcher), ["gone"]);
        // So does silence.
        let connect = Connect { will: will(1, false, 0), keep_alive_s: 10, ..clean("c", version) };
        stage.connect_as(connect);
        stage.pass_s(16);
        assert_eq!(stage.payloads(watcher), ["gone"]);
    });
}

#[test]
fn mqtt5_3_1_2_8_the_will_waits_for_its_delay_or_the_end_of_the_session() {
    on_stage(|stage| {
        let watcher = stage.subscriber("watcher", V5, "will", 1);
        for (delay_s, session_expiry_s, due_s) in [(10, 100, 10), (100, 10, 10), (10, 0, 0), (0, 100, 0)] {
            let session_expiry_s = Some(session_expiry_s);
            let connect = Connect { session_expiry_s, will: will(1, false, delay_s), ..clean("c", V5) };
            let peer = stage.connect_as(connect).0;
            stage.hang_up(peer);
            if due_s > 0 {
                stage.pass_s(due_s - 1);
                assert_eq!(stage.payloads(watcher), [""; 0], "{delay_s} {session_expiry_s:?}");
                stage.pass_s(2);
            }
            assert_eq!(stage.payloads(watcher), ["gone"], "{delay_s} {session_expiry_s:?}");
            stage.pass_s(200);
            assert_eq!(stage.payloads(watcher), [""; 0]);
        }
    });
}

#[test]
fn mqtt5_3_1_2_9_a_will_has_a_topic_and_a_payload() {
    on_stage(|stage| {
        for version in VERSIONS {
            let none = no_properties(version);
            let payloads = ["0001'c'".to_owned(), format!("0001'c' {none} 0001'w'")];
            for payload in payloads {
                assert_eq!(stage.refused_connect(version, &connect(version, 6, &payload)), malformed(version));
            }
        }
        assert_eq!(stage.refused_connect(V5, &connect(V5, 6, "0001'c' 0001'w' 0000")), Some(0x81), "no properties");
    });
}

#[test]
fn mqtt5_3_1_2_10_a_will_is_published_once() {
    in_all_versions(|stage, version| {
        let watcher = stage.subscriber("watcher", version, "will", 1);
        let peer = stage.connect_as(Connect { will: will(1, false, 0), ..lasting("c", version) }).0;
        stage.hang_up(peer);
        assert_eq!(stage.payloads(watcher), ["gone"]);
        let (peer, _) = stage.resume("c", version);
        stage.hang_up(peer);
        stage.pass_s(60);
        assert_eq!(stage.payloads(watcher), [""; 0]);
        // DISCONNECT removes it for good.
        let peer = stage.connect_as(Connect { will: will(1, false, 0), ..lasting("c", version) }).0;
        stage.send(peer, disconnect(0));
        let (peer, _) = stage.resume("c", version);
        stage.hang_up(peer);
        assert_eq!(stage.payloads(watcher), [""; 0]);
    });
}

#[test]
fn mqtt5_3_1_2_11_without_a_will_its_flags_are_0() {
    on_stage(|stage| {
        for version in [Version::V311, V5] {
            for flags in [0x08, 0x10, 0x18, 0x20, 0x28, 0x30] {
                let said = connect(version, 2 | flags, "0001'c'");
                assert_eq!(stage.refused_connect(version, &said), malformed(version), "{flags:02X}");
            }
            // Nor may its fields be there.
            let said = connect(version, 2, &format!("0001'c' {} 0001'w' 0000", no_properties(version)));
            assert_eq!(stage.refused_connect(version, &said), malformed(version));
        }
    });
}

#[test]
fn mqtt311_3_1_2_12_without_a_will_none_is_published() {
    in_all_versions(|stage, version| {
        let watcher = stage.subscriber("watcher", version, "#", 1);
        let peer = stage.connect("c", version);
        stage.hang_up(peer);
        stage.pass_s(60);
        assert_eq!(stage.payloads(watcher), [""; 0]);
    });
}

#[test]
fn mqtt5_3_1_2_12_the_qos_of_a_will_is_0_1_or_2() {
    in_all_versions(|stage, version| {
        for qos in 0..=2 {
            let watcher = stage.subscriber("watcher", version, "will", 2);
            let peer = stage.connect_as(Connect { will: will(qos, false, 0), ..clean("c", version) }).0;
            stage.hang_up(peer);
            let publishes = stage.publishes(watcher);
            assert_eq!(publishes.iter().map(|publish| publish.qos as u8).collect::<Vec<_>>(), [qos]);
        }
        let said = connect(version, 0x1E, &format!("0001'c' {} 0001'w' 0000", no_properties(version)));
        assert_eq!(stage.refused_connect(version, &said), malformed(version));
    });
}

#[test]
fn mqtt5_3_1_2_14_a_will_without_retain_is_not_kept() {
    in_all_versions(|stage, version| {
        for (retain, kept) in [(false, 0), (true, 1)] {
            let watcher = stage.subscriber("watcher", version, "will", 1);
            let peer = stage.connect_as(Connect { will: will(1, retain, 0), ..clean("c", version) }).0;
            stage.hang_up(peer);
            let publishes = stage.publishes(watcher);
            assert_eq!(publishes.iter().map(|publish| publish.retain).collect::<Vec<_>>(), [false]);
            assert_eq!(stage.retained("will").len(), kept);
        }
    });
}

#[test]
fn mqtt5_3_1_2_15_a_will_with_retain_is_kept() {
    in_all_versions(|stage, version| {
        let peer = stage.connect_as(Connect { will: will(2, true, 0), ..clean("c", version) }).0;
        assert_eq!(stage.retained("will"), []);
        stage.hang_up(peer);
        assert_eq!(stage.retained("will"), [("will".to_owned(), "gone".to_owned())]);
    });
}

#[test]
fn mqtt5_3_1_3_9_a_new_connection_within_the_delay_cancels_the_will() {
    on_stage(|stage| {
        let watcher = stage.subscriber("watcher", V5, "will", 1);
        let delayed = || Connect { will: will(1, false, 10), ..lasting("c", V5) };
        let (peer, _) = stage.connect_as(delayed());
        stage.hang_up(peer);
        stage.pass_s(9);
        stage.resume("c", V5);
        stage.pass_s(100);
        assert_eq!(stage.payloads(watcher), [""; 0]);
        // Taking over a connection that still stands is a new connection as well; without a delay it comes too late.
        stage.connect_as(delayed());
        let at_once = Connect { will: will(1, false, 0), ..lasting("c", V5) };
        stage.connect_as(at_once);
        stage.pass_s(100);
        assert_eq!(stage.payloads(watcher), [""; 0]);
        stage.resume("c", V5);
        assert_eq!(stage.payloads(watcher), ["gone"]);
    });
}

#[test]
fn mqtt5_3_1_3_10_user_properties_of_a_will_keep_their_order() {
    on_stage(|stage| {
        let watcher = stage.subscriber("watcher", V5, "will", 1);
        let pairs = [("b", "1"), ("a", "2"), ("b", "1"), ("", ""), ("c", "3")];
        let user: Vec<_> = pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let mut with_properties = will(1, false, 0);
        let properties = Properties { user: user.clone(), ..Properties::default() };
        with_properties.as_mut().unwrap().properties = Some(Arc::new(properties));
        let (peer, _) = stage.connect_as(Connect { will: with_properties, ..clean("c", V5) });
        stage.hang_up(peer);
        let publishes = stage.publishes(watcher);
        assert_eq!(publishes[0].properties.as_ref().unwrap().user, user);
    });
}
