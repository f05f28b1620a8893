//! CONNECT, CONNACK, keep alive and DISCONNECT: §3.1, §3.2, §3.14.

use althing_core::verbs::{Connected, Reason, Refusal};
use althing_core::{Answer, Limits, Request};
use althing_mqtt::client::{ClientError, Event, Options};
use althing_mqtt::config::MqttConfig;
use althing_mqtt::packet::{ConnAck, Disconnect, Packet, Version};
use althing_mqtt::reason::code;
use althing_testkit::pair::{Pair, Script, obliging};

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

fn connack(pair: &Pair) -> &ConnAck {
    match pair.events.first() {
        Some(Event::Connected(connack)) => connack.as_ref(),
        other => panic!("no CONNACK but {other:?}, failed {:?}, closed {:?}", pair.failed, pair.closed),
    }
}

fn connect_request(pair: &Pair) -> &althing_core::verbs::Connect {
    match &pair.requests[0] {
        Request::Connect(connect) => connect.as_ref(),
        other => panic!("{other:?}"),
    }
}

fn refused(pair: &Pair) -> &ConnAck {
    match &pair.failed {
        Some(ClientError::Refused(connack)) => connack.as_ref(),
        other => panic!("not refused but {other:?}, closed {:?}", pair.closed),
    }
}

/// A broker that refuses CONNECT.
fn refusing(reason: Reason) -> Script {
    Box::new(move |_| vec![Answer::Refused(Refusal::new(reason, "not today"))])
}

#[test]
fn every_version_connects_and_says_goodbye() {
    for version in VERSIONS {
        let mut pair = Pair::new(Limits::default(), Options::new(version, "someone"));
        pair.connect();
        assert_eq!(connack(&pair).code, 0, "{version:?}");
        assert!(!connack(&pair).session_present);
        assert_eq!(pair.adaptor.version(), Some(version));
        let connect = connect_request(&pair);
        assert_eq!((connect.protocol, connect.client.as_deref()), ("mqtt", Some("someone")));
        assert_eq!((connect.clean_start, connect.session_expiry_s, connect.number_max), (true, 0, 65_535));

        pair.client.disconnect(pair.now, Disconnect::default());
        pair.settle();
        assert!(!pair.closed.as_ref().expect("closed").publish_will);
        assert!(matches!(pair.requests.last(), Some(Request::Disconnect(goodbye)) if !goodbye.publish_will));
    }
}

#[test]
fn what_a_session_outlives_depends_on_the_version() {
    let limits = || Limits { session_expiry_s_max: 5_000, ..Limits::default() };
    for (version, clean_start, asked_s, expected_s) in [
        (Version::V31, true, None, 0),
        (Version::V31, false, None, 5_000),
        (Version::V311, true, None, 0),
        (Version::V311, false, None, 5_000),
        (Version::V5, true, None, 0),
        (Version::V5, false, None, 0),
        (Version::V5, true, Some(60), 60),
        (Version::V5, false, Some(u32::MAX), 5_000),
    ] {
        let mut options = Options::new(version, "x");
        options.connect.clean_start = clean_start;
        options.connect.session_expiry_s = asked_s;
        let mut pair = Pair::new(limits(), options);
        pair.connect();
        assert_eq!(connect_request(&pair).session_expiry_s, expected_s, "{version:?} {clean_start} {asked_s:?}");
        let told = (version == Version::V5 && asked_s.unwrap_or(0) != expected_s).then_some(expected_s);
        assert_eq!(connack(&pair).properties.session_expiry_s, told, "{version:?} {asked_s:?}");
    }
}

#[test]
fn an_empty_client_id_is_for_those_who_need_not_know_it() {
    for (version, clean_start, expected) in [
        (Version::V31, true, Err(2)),
        (Version::V311, true, Ok(None)),
        (Version::V311, false, Err(2)),
        (Version::V5, true, Ok(Some("assigned"))),
        (Version::V5, false, Ok(Some("assigned"))),
    ] {
        let mut options = Options::new(version, "");
        options.connect.clean_start = clean_start;
        let mut pair = Pair::new(Limits::default(), options);
        pair.connect();
        match expected {
            Ok(assigned) => {
                assert_eq!(connack(&pair).properties.assigned_client_id.as_deref(), assigned, "{version:?}");
                assert_eq!(connect_request(&pair).client, None);
                assert_eq!(pair.client.options().connect.client_id, assigned.unwrap_or_default());
            }
            Err(return_code) => {
                assert_eq!(refused(&pair).code, return_code, "{version:?}");
                assert!(pair.requests.is_empty(), "the broker never hears of it");
            }
        }
    }
}

#[test]
fn connack_tells_a_version_5_client_what_holds() {
    let limits = Limits {
        receive_maximum: 7,
        packet_bytes_max: 1_000,
        topic_alias_maximum: 3,
        keep_alive_s_max: 30,
        ..Limits::default()
    };
    let mut options = Options::new(Version::V5, "x");
    options.connect.request_response_information = true;
    let mut pair = Pair::new(limits.clone(), options);
    pair.connect();
    let properties = &connack(&pair).properties;
    assert_eq!(properties.receive_maximum, Some(7));
    assert_eq!(properties.maximum_packet_size, Some(1_000));
    assert_eq!(properties.topic_alias_maximum, Some(3));
    assert_eq!(properties.server_keep_alive_s, Some(30), "60 was asked");
    assert_eq!(properties.response_information.as_deref(), Some("answers/here"));

    let mut options = Options::new(Version::V5, "x");
    options.connect.keep_alive_s = 30;
    let mut pair = Pair::new(limits, options);
    pair.connect();
    assert_eq!(connack(&pair).properties.server_keep_alive_s, None);
    assert_eq!(connack(&pair).properties.response_information, None, "it was not asked for");
}

#[test]
fn a_refusal_is_said_in_the_words_of_the_version() {
    for (reason, v5, v3) in [
        (Reason::BadCredentials, 0x86, 4),
        (Reason::NotAuthorised, 0x87, 5),
        (Reason::ServerBusy, 0x89, 3),
        (Reason::Banned, 0x8A, 5),
        (Reason::ShuttingDown, 0x88, 3),
        (Reason::ClientIdInvalid, 0x85, 2),
        (Reason::BadAuthenticationMethod, 0x8C, 5),
        (Reason::KeepAliveTimeout, 0x80, 3),
    ] {
        for version in VERSIONS {
            let options = Options::new(version, "x");
            let mut pair = Pair::scripted(Limits::default(), MqttConfig::default(), options, refusing(reason));
            pair.connect();
            let expected = if version == Version::V5 { v5 } else { v3 };
            assert_eq!(refused(&pair).code, expected, "{reason:?} {version:?}");
            let sentence = (version == Version::V5).then_some("not today");
            assert_eq!(refused(&pair).properties.reason_string.as_deref(), sentence);
            assert_eq!(pair.closed.as_ref().map(|close| close.refusal.reason), Some(reason));
        }
    }
}

#[test]
fn another_server_is_named_when_the_broker_says_so() {
    let config = MqttConfig { server_reference: Some("elsewhere:1883".into()), ..MqttConfig::default() };
    let options = Options::new(Version::V5, "x");
    let mut pair = Pair::scripted(Limits::default(), config, options, refusing(Reason::ServerMoved));
    pair.connect();
    assert_eq!(refused(&pair).code, code::SERVER_MOVED);
    assert_eq!(refused(&pair).properties.server_reference.as_deref(), Some("elsewhere:1883"));
}

#[test]
fn old_versions_can_be_turned_off() {
    let config = MqttConfig { version_min: Version::V5, ..MqttConfig::default() };
    for version in [Version::V31, Version::V311] {
        let options = Options::new(version, "x");
        let mut pair = Pair::scripted(Limits::default(), config.clone(), options, Box::new(obliging));
        pair.connect();
        assert_eq!(refused(&pair).code, 1, "{version:?}");
    }
}

#[test]
fn a_will_reaches_the_broker_with_everything_it_has() {
    let mut options = Options::new(Version::V5, "x");
    let topic = althing_core::Topic::new("wills/x".into(), &Limits::default().topic).unwrap();
    options.connect.will = Some(Box::new(althing_mqtt::packet::Will {
        topic: topic.clone(),
        payload: "gone".into(),
        qos: althing_core::Guarantee::AtLeastOnce,
        retain: true,
        delay_s: 9,
        message_expiry_s: Some(99),
        properties: Some(std::sync::Arc::new(althing_core::Properties {
            content_type: Some("text/plain".into()),
            ..Default::default()
        })),
    }));
    let mut pair = Pair::new(Limits::default(), options);
    pair.connect();
    let will = connect_request(&pair).will.as_ref().expect("a will");
    assert_eq!((will.delay_s, will.expiry_s), (9, Some(99)));
    assert_eq!((&will.message.topic, &will.message.payload[..], will.message.retain), (&topic, &b"gone"[..], true));
    assert_eq!(will.message.guarantee, althing_core::Guarantee::AtLeastOnce);
    assert_eq!(
        will.message.properties.as_ref().and_then(|properties| properties.content_type.as_deref()),
        Some("text/plain")
    );
}

#[test]
fn a_client_that_keeps_its_keep_alive_stays() {
    let mut options = Options::new(Version::V311, "x");
    options.connect.keep_alive_s = 10;
    let mut pair = Pair::new(Limits::default(), options);
    pair.connect();
    for _ in 0..20 {
        assert_eq!(pair.step(), Some("keep alive"));
        assert!(matches!(pair.events.last(), Some(Event::Pong)));
    }
    assert_eq!((&pair.closed, &pair.failed), (&None, &None));
    assert_eq!(pair.now.mono_ns, 201 * 1_000_000_000, "a ping every ten seconds");
}

#[test]
fn silence_for_one_and_a_half_keep_alives_ends_the_connection() {
    for version in VERSIONS {
        let mut pair = Pair::new(Limits::default(), Options::new(version, "x"));
        // What the client half would do is left out: nobody pings.
        pair.client.connect(pair.now);
        let connect = pair.client.output().take_all();
        pair.inject(&connect);
        pair.packets_to_client(version);
        pair.advance_ms(89_999);
        assert_eq!(pair.closed, None, "{version:?}");
        pair.advance_ms(1);
        let close = pair.closed.clone().expect("closed");
        assert_eq!((close.refusal.reason, close.publish_will), (Reason::KeepAliveTimeout, true), "{version:?}");
        match &pair.packets_to_client(version)[..] {
            [Packet::Disconnect(said)] if version == Version::V5 => assert_eq!(said.code, code::KEEP_ALIVE_TIMEOUT),
            packets => assert!(packets.is_empty() && version != Version::V5, "{packets:?}"),
        }
    }
}

#[test]
fn a_connect_dribbled_a_byte_a_second_runs_out_of_time() {
    let mut pair = Pair::new(Limits::default(), Options::new(Version::V5, "a-rather-long-client-id"));
    pair.client.connect(pair.now);
    let connect = pair.client.output().take_all();
    assert!(connect.len() > 20);
    let mut sent = 0;
    for byte in &connect {
        pair.inject(&[*byte]);
        sent += 1;
        pair.advance_ms(1_000);
        if pair.closed.is_some() {
            break;
        }
    }
    assert_eq!(sent, 10, "ten seconds by default");
    assert!(pair.requests.is_empty());
    assert!(pair.closed.unwrap().refusal.text.contains("CONNECT"));
}

#[test]
fn silence_before_connect_runs_out_of_time_too() {
    let mut pair = Pair::new(Limits::default(), Options::new(Version::V5, "x"));
    assert_eq!(pair.step(), Some("start of the conversation"));
    let started_ns = pair.now.mono_ns;
    assert_eq!(pair.closed, None);
    assert_eq!(pair.step(), Some("CONNECT"));
    assert_eq!(pair.now.mono_ns - started_ns, 10_000_000_000);
    assert!(pair.closed.is_some());
    assert!(pair.to_client.is_empty(), "nobody to talk to yet");
}

#[test]
fn nothing_is_taken_while_the_broker_decides() {
    let options = Options::new(Version::V311, "x");
    let mut pair = Pair::scripted(Limits::default(), MqttConfig::default(), options, Box::new(|_| Vec::new()));
    pair.client.connect(pair.now);
    let connect = pair.client.output().take_all();
    pair.inject(&connect);
    pair.inject(&[0xC0, 0]);
    assert_eq!(&pair.to_server[..], [0xC0, 0], "the ping waits");
    assert!(pair.to_client.is_empty());
    pair.answer(Answer::Connected(Box::new(Connected {
        session_present: true,
        client: "x".into(),
        assigned: false,
        session_expiry_s: 0,
        authentication: None,
        response_information: None,
    })));
    let packets = pair.packets_to_client(Version::V311);
    assert!(matches!(&packets[..], [Packet::ConnAck(connack), Packet::PingResp] if connack.session_present));
}

#[test]
fn the_brokers_time_is_not_the_clients_silence() {
    let mut options = Options::new(Version::V311, "x");
    options.connect.keep_alive_s = 10;
    let mut pair = Pair::scripted(Limits::default(), MqttConfig::default(), options, Box::new(|_| Vec::new()));
    pair.client.connect(pair.now);
    let connect = pair.client.output().take_all();
    pair.inject(&connect);
    pair.advance_ms(60_000);
    assert_eq!(pair.closed, None, "the connect deadline is over once CONNECT is complete");
    pair.answer(obliging(&pair.requests[0]).remove(0));
    pair.advance_ms(14_999);
    assert_eq!(pair.closed, None);
    pair.advance_ms(1);
    assert!(pair.closed.is_some());
}

#[test]
fn the_window_is_the_smaller_of_two() {
    for (version, asked, expected) in
        [(Version::V311, None, 20), (Version::V5, None, 20), (Version::V5, Some(7), 7), (Version::V5, Some(700), 20)]
    {
        let mut options = Options::new(version, "x");
        options.connect.receive_maximum = asked;
        let mut pair = Pair::new(Limits { inflight_max: 20, ..Limits::default() }, options);
        pair.connect();
        assert_eq!(connect_request(&pair).window, expected, "{version:?} {asked:?}");
    }
}

#[test]
fn a_goodbye_may_want_the_will_or_change_the_expiry() {
    for (asked_s, said_s, said_code, expected) in [
        (Some(60), Some(u32::MAX), code::NORMAL_DISCONNECTION, Ok((false, Some(5_000)))),
        (Some(60), Some(0), code::DISCONNECT_WITH_WILL_MESSAGE, Ok((true, Some(0)))),
        (Some(60), None, code::ADMINISTRATIVE_ACTION, Ok((true, None))),
        (None, Some(0), code::NORMAL_DISCONNECTION, Ok((false, Some(0)))),
        (None, Some(1), code::NORMAL_DISCONNECTION, Err(code::PROTOCOL_ERROR)),
    ] {
        let mut options = Options::new(Version::V5, "x");
        options.connect.session_expiry_s = asked_s;
        let mut pair = Pair::new(Limits { session_expiry_s_max: 5_000, ..Limits::default() }, options);
        pair.connect();
        let goodbye = Disconnect { code: said_code, session_expiry_s: said_s, ..Disconnect::default() };
        pair.client.disconnect(pair.now, goodbye);
        let bytes = pair.client.output().take_all();
        pair.inject(&bytes);
        let close = pair.closed.clone().expect("closed");
        match expected {
            Ok((publish_will, session_expiry_s)) => {
                let Some(Request::Disconnect(request)) = pair.requests.last() else { panic!("no request") };
                assert_eq!((request.publish_will, request.session_expiry_s), (publish_will, session_expiry_s));
                assert_eq!(close.publish_will, publish_will);
            }
            Err(said_code) => {
                let packets = pair.packets_to_client(Version::V5);
                assert!(matches!(&packets[..], [Packet::Disconnect(said)] if said.code == said_code), "{packets:?}");
                assert!(close.publish_will);
            }
        }
    }
}

#[test]
fn a_session_that_the_broker_shortened_may_still_be_prolonged() {
    let mut options = Options::new(Version::V5, "x");
    options.connect.session_expiry_s = Some(60);
    let mut pair = Pair::new(Limits { session_expiry_s_max: 0, ..Limits::default() }, options);
    pair.connect();
    assert_eq!(connack(&pair).properties.session_expiry_s, Some(0));
    let goodbye = Disconnect { session_expiry_s: Some(60), ..Disconnect::default() };
    pair.client.disconnect(pair.now, goodbye);
    pair.settle();
    assert!(matches!(pair.requests.last(), Some(Request::Disconnect(said)) if said.session_expiry_s == Some(0)));
}

#[test]
fn the_broker_ends_a_conversation_and_version_5_hears_why() {
    for (reason, expected, will) in [
        (Reason::SessionTakenOver, code::SESSION_TAKEN_OVER, true),
        (Reason::ShuttingDown, code::SERVER_SHUTTING_DOWN, false),
        (Reason::AdministrativeAction, code::ADMINISTRATIVE_ACTION, true),
        (Reason::BadCredentials, code::NOT_AUTHORIZED, true),
    ] {
        for version in VERSIONS {
            let mut pair = Pair::new(Limits::default(), Options::new(version, "x"));
            pair.connect();
            pair.answer(Answer::Close(Refusal::new(reason, "a sentence")));
            assert_eq!(pair.closed.as_ref().map(|close| close.publish_will), Some(will));
            let packets = pair.packets_to_client(version);
            if version == Version::V5 {
                let [Packet::Disconnect(said)] = &packets[..] else { panic!("{packets:?}") };
                assert_eq!(said.code, expected);
                assert_eq!(said.details.reason_string.as_deref(), Some("a sentence"));
            } else {
                assert!(packets.is_empty(), "{version:?}");
            }
        }
    }
}
