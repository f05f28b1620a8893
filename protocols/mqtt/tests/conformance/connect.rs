//! CONNECT (§3.1): what may stand in it, keep alive, and what the server owes the client's limits. The will is next door.

use crate::stage::*;
use althing_mqtt::packet::{Connect, Packet, Publish, Version};

/// A CONNECT with these flags and this payload.
pub fn connect(version: Version, flags: u8, payload: &str) -> Vec<u8> {
    let none = no_properties(version);
    frame(0x10, &format!("{} {flags:02X} 0000 {none} {payload}", connect_head(version)))
}

/// The code of the CONNACK that answers a malformed CONNECT; version 3 gets none.
pub fn malformed(version: Version) -> Option<u8> {
    (version == V5).then_some(0x81)
}

#[test]
fn mqtt5_3_1_0_1_the_first_packet_is_connect() {
    in_all_versions(|stage, version| {
        for packet in [
            "20020000",
            "300300016178",
            "40020001",
            "50020001",
            "62020001",
            "70020001",
            "8206000100016100",
            "9003000100",
            "A20500010001'a'",
            "B0020001",
            "C000",
            "D000",
            "E000",
            "F000",
            "0000",
        ] {
            let peer = stage.open(version);
            assert_eq!(stage.say(peer, packet), "", "{packet}");
            assert!(stage.is_closed(peer), "{packet}");
        }
    });
}

#[test]
fn mqtt5_3_1_0_2_a_second_connect_is_a_protocol_error() {
    in_all_versions(|stage, version| {
        let peer = stage.connect("c", version);
        stage.send_bytes(peer, &connect(version, 2, "0001'c'"));
        stage.assert_ended(peer, 0x82);
    });
}

#[test]
fn mqtt5_3_1_2_1_another_protocol_name_is_refused() {
    on_stage(|stage| {
        for head in ["0004'MQTX'05", "0004'mqtt'04", "0003'MQT'04", "0000 04", "0006'MQIsdP'03", "0004'MQTT'03"] {
            for version in VERSIONS {
                let said = frame(0x10, &format!("{head} 02 0000 {} 0001'c'", no_properties(version)));
                let refused = stage.refused_connect(version, &said);
                assert!(matches!(refused, None | Some(0x84 | 1)), "{head}: {refused:?}");
            }
        }
    });
}

#[test]
fn mqtt5_3_1_2_2_another_protocol_version_is_refused() {
    on_stage(|stage| {
        for (head, code) in [("0004'MQTT'06", 0x84), ("0004'MQTT'7F", 0x84), ("0004'MQTT'00", 1), ("0006'MQIsdp'04", 1)]
        {
            let said = frame(0x10, &format!("{head} 02 0000 00 0001'c'"));
            assert_eq!(stage.refused_connect(V5, &said), Some(code), "{head}");
        }
    });
}

#[test]
fn mqtt311_3_1_2_2_an_unsupported_level_is_told_with_return_code_1() {
    on_stage(|stage| {
        for head in ["0004'MQTT'03", "0004'MQTT'02", "0004'MQTT'00", "0006'MQIsdp'04"] {
            let peer = stage.open(Version::V311);
            stage.send_bytes(peer, &frame(0x10, &format!("{head} 02 0000 0001'c'")));
            assert_eq!(stage.hear(peer), "20020001", "{head}");
            assert!(stage.is_closed(peer));
        }
    });
}

#[test]
fn mqtt5_3_1_2_3_the_reserved_flag_is_0() {
    on_stage(|stage| {
        for version in [Version::V311, V5] {
            let said = connect(version, 0x03, "0001'c'");
            assert_eq!(stage.refused_connect(version, &said), malformed(version));
        }
    });
}

/// Leaves a session with a subscription and a queued message behind.
fn leave_a_session(stage: &mut Stage, version: Version) {
    let (peer, connack) = stage.resume("c", version);
    assert!(!connack.session_present);
    stage.subscribe(peer, "a", 1);
    stage.send(peer, disconnect(0));
    let publisher = stage.connect("publisher", version);
    stage.send(publisher, Packet::Publish(publish("a", 1, "queued")));
}

#[test]
fn mqtt5_3_1_2_4_a_clean_start_discards_the_session() {
    in_all_versions(|stage, version| {
        leave_a_session(stage, version);
        let (peer, connack) = stage.connect_as(clean("c", version));
        assert!(!connack.session_present);
        let publisher = stage.connect("publisher", version);
        stage.send(publisher, Packet::Publish(publish("a", 1, "later")));
        assert_eq!(stage.payloads(peer), [""; 0]);
        // Nothing of it comes back either.
        stage.hang_up(peer);
        let (peer, connack) = stage.resume("c", version);
        assert!(!connack.session_present);
        assert_eq!(stage.payloads(peer), [""; 0]);
    });
}

#[test]
fn mqtt5_3_1_2_5_a_session_is_resumed() {
    in_all_versions(|stage, version| {
        leave_a_session(stage, version);
        let (peer, connack) = stage.resume("c", version);
        assert_eq!(connack.session_present, version != Version::V31);
        assert_eq!(stage.payloads(peer), ["queued"]);
        let publisher = stage.connect("publisher", version);
        stage.send(publisher, Packet::Publish(publish("a", 1, "later")));
        assert_eq!(stage.payloads(peer), ["later"]);
    });
}

#[test]
fn mqtt5_3_1_2_6_without_a_session_a_new_one_begins() {
    in_all_versions(|stage, version| {
        let (peer, connack) = stage.resume("c", version);
        assert!(!connack.session_present);
        stage.subscribe(peer, "a", 1);
        stage.hang_up(peer);
        let (_, connack) = stage.resume("c", version);
        assert_eq!(connack.session_present, version != Version::V31);
    });
}

#[test]
fn mqtt311_3_1_2_5_messages_above_qos_0_wait_for_the_session() {
    in_all_versions(|stage, version| {
        let (peer, _) = stage.resume("c", version);
        stage.subscribe(peer, "a", 2);
        stage.hang_up(peer);
        let publisher = stage.connect("publisher", version);
        for (qos, payload) in [(1, "one"), (2, "two")] {
            stage.send(publisher, Packet::Publish(publish("a", qos, payload)));
        }
        let (peer, _) = stage.resume("c", version);
        assert_eq!(stage.payloads(peer), ["one", "two"]);
    });
}

#[test]
fn mqtt311_3_1_2_7_last_values_outlive_their_session() {
    in_all_versions(|stage, version| {
        let peer = stage.connect("c", version);
        stage.send(peer, retained("a", 1, "x"));
        stage.send(peer, disconnect(0));
        stage.pass_s(60);
        stage.connect("c", version);
        assert_eq!(stage.retained("a"), [("a".to_owned(), "x".to_owned())]);
    });
}

#[test]
fn mqtt5_3_1_2_16_user_name_and_password_are_there_exactly_when_their_flags_say_so() {
    on_stage(|stage| {
        for version in [Version::V311, V5] {
            for (flags, payload) in [
                (0x02, "0001'c' 0001'u'"),
                (0x82, "0001'c'"),
                (0x82, "0001'c' 0001'u' 0001'p'"),
                (0xC2, "0001'c' 0001'u'"),
                (0xC2, "0001'c'"),
            ] {
                let said = connect(version, flags, payload);
                assert_eq!(stage.refused_connect(version, &said), malformed(version), "{flags:02X} {payload}");
            }
            for (flags, payload) in [(0x82, "0001'c' 0001'u'"), (0xC2, "0001'c' 0001'u' 0001'p'")] {
                let peer = stage.open(version);
                stage.send_bytes(peer, &connect(version, flags, payload));
                assert!(stage.hear(peer).starts_with("20"), "{flags:02X}");
                assert!(!stage.is_closed(peer));
            }
        }
        let said = connect(V5, 0x42, "0001'c'");
        assert_eq!(stage.refused_connect(V5, &said), Some(0x81));
    });
}

#[test]
fn mqtt311_3_1_2_22_no_password_without_a_user_name() {
    on_stage(|stage| {
        let said = connect(Version::V311, 0x42, "0001'c' 0001'p'");
        assert_eq!(stage.refused_connect(Version::V311, &said), None);
    });
}

#[test]
fn mqtt5_3_1_2_22_silence_beyond_the_keep_alive_ends_the_connection() {
    in_all_versions(|stage, version| {
        let connect = || Connect { keep_alive_s: 10, ..clean("c", version) };
        let (peer, _) = stage.connect_as(connect());
        stage.pass_s(14);
        assert_eq!(stage.say(peer, "C000"), "D000", "a packet in time starts the interval anew");
        stage.pass_s(14);
        assert!(!stage.is_closed(peer));
        stage.pass_s(2);
        stage.assert_ended(peer, 0x8D);
        // Bytes that are no packet do not count, and 0 means for ever.
        let (peer, _) = stage.connect_as(connect());
        stage.pass_s(14);
        stage.send_bytes(peer, &bytes("30 20"));
        stage.pass_s(2);
        assert!(stage.is_closed(peer));
        let peer = stage.connect("c", version);
        stage.pass_s(1_000_000);
        assert_eq!(stage.say(peer, "C000"), "D000");
    });
}

#[test]
fn mqtt5_3_1_2_23_a_session_is_kept_while_it_has_not_expired() {
    on_stage(|stage| {
        let expiring = |session_expiry_s| Connect { session_expiry_s, clean_start: false, ..clean("c", V5) };
        for (session_expiry_s, absent_s, present) in [
            (Some(10), 9, true),
            (Some(10), 12, false),
            (Some(u32::MAX), 1_000_000, true),
            (Some(0), 0, false),
            (None, 0, false),
        ] {
            let (peer, _) = stage.connect_as(Connect { clean_start: true, ..expiring(session_expiry_s) });
            stage.hang_up(peer);
            stage.pass_s(absent_s);
            let (peer, connack) = stage.connect_as(expiring(session_expiry_s));
            assert_eq!(connack.session_present, present, "{session_expiry_s:?} {absent_s}");
            stage.hang_up(peer);
        }
    });
}

#[test]
fn mqtt5_3_1_2_24_no_packet_is_larger_than_the_client_takes() {
    on_stage(|stage| {
        let limited = |client_id, maximum| Connect { maximum_packet_size: Some(maximum), ..clean(client_id, V5) };
        let (peer, _) = stage.connect_as(limited("c", 40));
        stage.subscribe(peer, "a", 1);
        let publisher = stage.connect("publisher", V5);
        // 2 + 3 + 2 + 1 bytes stand before the payload: 32 bytes fit exactly.
        for length in [32, 33, 100, 5] {
            stage.send(publisher, Packet::Publish(publish("a", 1, &"x".repeat(length))));
        }
        let lengths: Vec<_> = stage.payloads(peer).iter().map(String::len).collect();
        assert_eq!(lengths, [32, 5]);
        // A refusal that is too large goes without its sentence.
        stage.send_bytes(peer, &bytes("C1 00"));
        let said = stage.hear(peer);
        assert!(said.len() <= 80 && said.starts_with("E0"), "{said}");
    });
}

#[test]
fn mqtt5_3_1_2_25_what_is_too_large_counts_as_delivered() {
    on_stage(|stage| {
        let connect = Connect { maximum_packet_size: Some(60), receive_maximum: Some(2), ..lasting("c", V5) };
        let (peer, _) = stage.connect_as(connect.clone());
        stage.subscribe(peer, "a", 1);
        let publisher = stage.connect("publisher", V5);
        for _ in 0..10 {
            stage.send(publisher, Packet::Publish(publish("a", 1, &"x".repeat(100))));
        }
        stage.send(publisher, Packet::Publish(publish("a", 1, "small")));
        assert_eq!(stage.payloads(peer), ["small"], "the window is not filled by what never left");
        stage.hang_up(peer);
        let (peer, _) = stage.connect_as(connect);
        assert_eq!(stage.payloads(peer), ["small"], "nor does it wait for the next connection");
    });
}

#[test]
fn mqtt5_3_1_2_26_topic_aliases_stay_within_the_clients_maximum() {
    on_stage(|stage| {
        for maximum in [1, 2, 5, u16::MAX] {
            let connect = Connect { topic_alias_maximum: maximum, ..clean("c", V5) };
            let (peer, _) = stage.connect_as(connect);
            stage.subscribe(peer, "#", 0);
            let publisher = stage.connect("publisher", V5);
            for round in 0..3 {
                for index in 0..10 {
                    stage.send(publisher, Packet::Publish(publish(&format!("topic/{index}"), 0, &round.to_string())));
                }
            }
            let aliases = stage.publishes(peer).into_iter().filter_map(|publish| publish.topic_alias);
            let aliases: Vec<_> = aliases.collect();
            assert!(!aliases.is_empty() && aliases.iter().all(|alias| (1..=maximum).contains(alias)), "{aliases:?}");
        }
    });
}

#[test]
fn mqtt5_3_1_2_27_no_topic_aliases_unless_the_client_takes_some() {
    on_stage(|stage| {
        let peer = stage.subscriber("c", V5, "#", 0);
        let publisher = stage.connect("publisher", V5);
        for _ in 0..20 {
            stage.send(publisher, Packet::Publish(publish("a/rather/long/topic", 0, "x")));
        }
        let publishes = stage.publishes(peer);
        assert_eq!(publishes.len(), 20);
        let plain = |publish: &Publish| publish.topic_alias.is_none() && name(publish) == "a/rather/long/topic";
        assert!(publishes.iter().all(plain));
    });
}

#[test]
fn mqtt5_3_1_2_28_response_information_only_when_asked_for() {
    on_stage(|stage| {
        for asked in [false, true] {
            let connect = Connect { request_response_information: asked, ..clean("c", V5) };
            let (_, connack) = stage.connect_as(connect);
            assert!(asked || connack.properties.response_information.is_none());
        }
    });
}

#[test]
fn mqtt5_3_1_2_29_no_problem_information_when_not_wanted() {
    let deny = |setup: &mut althing_testkit::house::Setup| setup.policy.otherwise_allow = false;
    on_prepared_stage(deny, |stage| {
        for (wanted, told) in [(true, true), (false, false)] {
            let (peer, _) = stage.connect_as(Connect { request_problem_information: wanted, ..clean("c", V5) });
            stage.send(peer, Packet::Publish(publish("a", 1, "x")));
            stage.send(peer, Packet::Publish(publish("a", 2, "x")));
            stage.send(peer, subscribe(1, &[("a", 0)]));
            stage.send(peer, unsubscribe(1, &["a"]));
            stage.send_bytes(peer, &bytes("62020005"));
            for packet in stage.packets(peer) {
                let details = match packet {
                    Packet::PubAck(ack) | Packet::PubRec(ack) => {
                        assert_eq!(ack.code, 0x87);
                        assert_eq!(ack.details.is_some(), told);
                        continue;
                    }
                    Packet::PubComp(ack) => ack.details.map(|details| *details).unwrap_or_default(),
                    Packet::SubAck(codes) | Packet::UnsubAck(codes) => codes.details,
                    other => panic!("{other:?}"),
                };
                assert!(told || details == Default::default());
            }
        }
    });
}

#[test]
fn mqtt5_3_1_3_1_the_fields_of_the_payload_have_their_order() {
    on_stage(|stage| {
        for version in VERSIONS {
            let none = no_properties(version);
            let watcher = stage.subscriber("watcher", version, "will", 0);
            let peer = stage.open(version);
            let payload = format!("0002'id' {none} 0004'will' 0004'gone' 0001'u' 0001'p'");
            stage.send_bytes(peer, &connect(version, 0xC6, &payload));
            assert!(stage.hear(peer).starts_with("20"));
            // The same id and name take over, so these fields were the id and the name; the others were the will.
            let (username, password) = (Some("u".into()), Some("p".into()));
            stage.connect_as(Connect { username, password, ..clean("id", version) });
            assert!(stage.is_closed(peer));
            assert_eq!(stage.payloads(watcher), ["gone"]);
        }
    });
}

#[test]
fn mqtt5_3_1_3_2_the_client_identifier_names_the_session() {
    in_all_versions(|stage, version| {
        let (one, _) = stage.resume("one", version);
        stage.subscribe(one, "a", 1);
        stage.hang_up(one);
        let (other, connack) = stage.resume("One", version);
        assert!(!connack.session_present);
        stage.hang_up(other);
        let publisher = stage.connect("publisher", version);
        stage.send(publisher, Packet::Publish(publish("a", 1, "x")));
        let (one, _) = stage.resume("one", version);
        assert_eq!(stage.payloads(one), ["x"]);
    });
}

#[test]
fn mqtt5_3_1_3_3_the_client_identifier_is_there() {
    on_stage(|stage| {
        for version in VERSIONS {
            for payload in ["", "00", "0002'c'"] {
                let said = connect(version, 2, payload);
                assert_eq!(stage.refused_connect(version, &said), malformed(version), "{payload:?}");
            }
        }
    });
}

#[test]
fn mqtt5_3_1_3_5_ordinary_client_identifiers_are_allowed() {
    in_all_versions(|stage, version| {
        let letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
        for start in 0..letters.len() {
            stage.connect(&letters[start..letters.len().min(start + 23)], version);
        }
    });
}

#[test]
fn mqtt5_3_1_3_6_an_empty_client_identifier_is_replaced_by_a_unique_one() {
    on_stage(|stage| {
        let mut assigned = Vec::new();
        for _ in 0..20 {
            let (_, connack) = stage.connect_as(clean("", V5));
            let id = connack.properties.assigned_client_id.expect("an id is assigned");
            assert!(!id.is_empty() && !assigned.contains(&id));
            assigned.push(id);
        }
        // Version 3.1.1: two of them do not take each other over.
        let one = stage.connect("", Version::V311);
        stage.connect("", Version::V311);
        assert_eq!(stage.say(one, "C000"), "D000");
    });
}

#[test]
fn mqtt5_3_1_3_7_the_assigned_client_identifier_is_as_good_as_the_clients_own() {
    on_stage(|stage| {
        let (peer, connack) = stage.connect_as(lasting("", V5));
        let id = connack.properties.assigned_client_id.unwrap();
        stage.subscribe(peer, "a", 1);
        stage.hang_up(peer);
        let (_, connack) = stage.resume(&id, V5);
        assert!(connack.session_present);
        assert_eq!(connack.properties.assigned_client_id, None);
    });
}

#[test]
fn mqtt311_3_1_3_8_an_empty_identifier_needs_a_clean_session() {
    on_stage(|stage| {
        let peer = stage.open(Version::V311);
        stage.send_bytes(peer, &connect(Version::V311, 0, "0000"));
        assert_eq!(stage.hear(peer), "20020002");
        assert!(stage.is_closed(peer));
        let peer = stage.open(Version::V31);
        stage.send_bytes(peer, &connect(Version::V31, 2, "0000"));
        assert_eq!(stage.hear(peer), "20020002");
    });
}

#[test]
fn mqtt5_3_1_3_8_a_rejected_client_identifier_ends_the_connection() {
    let short = |setup: &mut althing_testkit::house::Setup| setup.limits.client_id_bytes_max = 30;
    on_prepared_stage(short, |stage| {
        for (version, code) in [(Version::V31, 2), (Version::V311, 2), (V5, 0x85)] {
            let said = connect(version, 2, &format!("001F'{}'", "x".repeat(31)));
            assert_eq!(stage.refused_connect(version, &said), Some(code));
        }
    });
}

#[test]
fn mqtt5_3_1_4_1_a_malformed_connect_ends_the_connection() {
    on_stage(|stage| {
        for version in VERSIONS {
            let whole = connect(version, 2, "0001'c'");
            // Cut short anywhere behind the version, with a remaining length that fits.
            let body = &whole[2..];
            let behind_version = bytes(connect_head(version)).len();
            for length in behind_version..body.len() {
                let said = frame_bytes(0x10, &body[..length]);
                assert_eq!(stage.refused_connect(version, &said), malformed(version), "{length}");
            }
            let too_long = frame_bytes(0x10, &[body, &[0]].concat());
            assert_eq!(stage.refused_connect(version, &too_long), malformed(version));
        }
    });
}

#[test]
fn mqtt5_3_1_4_2_failed_checks_end_the_connection() {
    on_stage(|stage| {
        for (version, code) in [(Version::V31, 4), (Version::V311, 4), (V5, 0x86)] {
            let said = connect(version, 0xC2, "0001'c' 0001'u' 0005'wrong'");
            assert_eq!(stage.refused_connect(version, &said), Some(code));
        }
    });
}

#[test]
fn mqtt5_3_1_4_3_a_second_client_takes_over() {
    in_all_versions(|stage, version| {
        let first = stage.connect("c", version);
        let second = stage.connect("c", version);
        stage.assert_ended(first, 0x8E);
        assert_eq!(stage.say(second, "C000"), "D000");
    });
}

#[test]
fn mqtt5_3_1_4_6_nothing_is_processed_after_a_refusal() {
    in_all_versions(|stage, version| {
        let watcher = stage.subscriber("watcher", version, "#", 0);
        let none = no_properties(version);
        let bad = connect(version, 0xC2, "0001'c' 0001'u' 0005'wrong'");
        let said = [bad, frame(0x31, &format!("0001'a' {none} 'x'"))].concat();
        assert!(stage.refused_connect(version, &said).is_some());
        assert_eq!(stage.hear(watcher), "");
        assert_eq!(stage.retained("#"), []);
    });
}
