//! Each packet as bytes, chapter by chapter (MQTT 5.0 §3): what is written, and what is read from it.

use crate::{VERSIONS, context, topic};
use althing_core::Guarantee;
use althing_core::message::Properties;
use althing_mqtt::codec::{
    AckType, PACKET_BYTES_MAX, PublishHead, Side, decode, encode, encode_ack, encode_publish_head, publish_size,
    refusal_version,
};
use althing_mqtt::packet::{
    Acknowledgement, Auth, Codes, ConnAck, ConnAckProperties, Connect, Details, Disconnect, Packet, Publish, Subscribe,
    SubscribeFilter, Unsubscribe, Version, Will,
};
use bytes::{Bytes, BytesMut};
use std::sync::Arc;

/// The packet is written as `bytes`, and read from them by `side`.
fn stands_for(packet: Packet, version: Version, side: Side, bytes: &[u8]) {
    let mut output = Vec::new();
    encode(&packet, version, &mut output);
    assert_eq!(output, bytes, "written: {packet:?}");
    reads(packet, version, side, bytes);
}

/// The packet is read from `bytes`, which need not be how it is written.
fn reads(packet: Packet, version: Version, side: Side, bytes: &[u8]) {
    let agreed = (!matches!(packet, Packet::Connect(_))).then_some(version);
    let mut input = BytesMut::from(bytes);
    assert_eq!(decode(&context(side, agreed), &mut input), Ok(Some(packet)), "read by {side:?} as {version:?}");
    assert!(input.is_empty());
}

fn plain_connect(version: Version) -> Connect {
    Connect {
        version,
        clean_start: true,
        keep_alive_s: 60,
        client_id: "ab".into(),
        will: None,
        username: None,
        password: None,
        session_expiry_s: None,
        receive_maximum: None,
        maximum_packet_size: None,
        topic_alias_maximum: 0,
        request_response_information: false,
        request_problem_information: true,
        user_properties: Vec::new(),
        authentication_method: None,
        authentication_data: None,
    }
}

#[test]
fn connect_names_its_version() {
    for (version, bytes) in [
        (Version::V31, &b"\x10\x10\0\x06MQIsdp\x03\x02\0\x3C\0\x02ab"[..]),
        (Version::V311, b"\x10\x0E\0\x04MQTT\x04\x02\0\x3C\0\x02ab"),
        (Version::V5, b"\x10\x0F\0\x04MQTT\x05\x02\0\x3C\0\0\x02ab"),
    ] {
        stands_for(Packet::Connect(Box::new(plain_connect(version))), version, Side::Server, bytes);
        assert_eq!(refusal_version(bytes), Some(version));
    }
}

#[test]
fn connect_carries_will_and_credentials() {
    let connect = Connect {
        clean_start: false,
        will: Some(Box::new(Will {
            topic: topic("w"),
            payload: Bytes::from_static(b"x"),
            qos: Guarantee::ExactlyOnce,
            retain: true,
            delay_s: 0,
            message_expiry_s: None,
            properties: None,
        })),
        username: Some("u".into()),
        password: Some(Bytes::from_static(b"\xFF")),
        ..plain_connect(Version::V311)
    };
    let bytes = b"\x10\x1A\0\x04MQTT\x04\xF4\0\x3C\0\x02ab\0\x01w\0\x01x\0\x01u\0\x01\xFF";
    stands_for(Packet::Connect(Box::new(connect)), Version::V311, Side::Server, bytes);
}

#[test]
fn a_will_without_delay_says_nothing_about_it() {
    let mut connect = plain_connect(Version::V5);
    connect.will = Some(Box::new(Will {
        topic: topic("t"),
        payload: Bytes::from_static(b"p"),
        qos: Guarantee::AtMostOnce,
        retain: false,
        delay_s: 0,
        message_expiry_s: None,
        properties: None,
    }));
    let bytes = b"\x10\x16\0\x04MQTT\x05\x06\0\x3C\0\0\x02ab\0\0\x01t\0\x01p";
    stands_for(Packet::Connect(Box::new(connect)), Version::V5, Side::Server, bytes);
}

#[test]
fn connect_carries_every_property_of_version_5() {
    let connect = Connect {
        session_expiry_s: Some(1),
        receive_maximum: Some(2),
        maximum_packet_size: Some(3),
        topic_alias_maximum: 1,
        request_response_information: true,
        request_problem_information: false,
        user_properties: vec![("k".into(), "1".into()), ("k".into(), "2".into())],
        authentication_method: Some("m".into()),
        authentication_data: Some(Bytes::from_static(b"d")),
        will: Some(Box::new(Will {
            topic: topic("w"),
            payload: Bytes::from_static(b"x"),
            qos: Guarantee::AtMostOnce,
            retain: false,
            delay_s: 5,
            message_expiry_s: Some(6),
            properties: Some(Arc::new(all_properties())),
        })),
        // [MQTT-3.1.2-22] of 3.1.1 is gone in version 5.
        password: Some(Bytes::from_static(b"p")),
        ..plain_connect(Version::V5)
    };
    let properties = b"\x11\0\0\0\x01\x21\0\x02\x27\0\0\0\x03\x22\0\x01\x19\x01\x17\0\
        \x26\0\x01k\0\x011\x26\0\x01k\0\x012\x15\0\x01m\x16\0\x01d";
    let will = [b"\x18\0\0\0\x05\x02\0\0\0\x06", ALL_PROPERTIES].concat();
    let body = [
        &b"\0\x04MQTT\x05\x46\0\x3C"[..],
        &[properties.len() as u8],
        properties,
        b"\0\x02ab",
        &[will.len() as u8],
        &will,
        b"\0\x01w\0\x01x\0\x01p",
    ]
    .concat();
    let bytes = [&[0x10, body.len() as u8], &body[..]].concat();
    stands_for(Packet::Connect(Box::new(connect)), Version::V5, Side::Server, &bytes);
}

#[test]
fn connect_of_version_3_1_may_end_before_its_credentials() {
    // MQTT 3.1 §3.1: "the Remaining Length field takes precedence over the User Name flag".
    let bytes = b"\x10\x10\0\x06MQIsdp\x03\xC2\0\x3C\0\x02ab";
    reads(Packet::Connect(Box::new(plain_connect(Version::V31))), Version::V31, Side::Server, bytes);
}

#[test]
fn a_refused_connect_stays_and_says_how_to_answer() {
    for (bytes, expected) in [
        (&b"\x10\x0E\0\x04MQTT\x06\x02\0\x3C\0\x02ab"[..], Some(Version::V5)),
        (b"\x10\x0E\0\x04MQTT\x84\x02\0\x3C\0\x02ab", Some(Version::V311)),
        (b"\x10\x0E\0\x04MQXX\x05\x02\0\x3C\0\x02ab", Some(Version::V311)),
        (b"\x10\x10\0\x06MQIsdp\x04\x02\0\x3C\0\x02ab", Some(Version::V311)),
    ] {
        let mut input = BytesMut::from(bytes);
        assert_eq!(decode(&context(Side::Server, None), &mut input).unwrap_err().code, 0x84);
        assert_eq!(input, bytes);
        assert_eq!(refusal_version(&input), expected);
    }
    for bytes in
        [&b""[..], b"\x10", b"\x10\xFF\xFF\xFF\xFF", b"\x10\x0E\0\x04MQT", b"\x10\x0E\0\x04MQTT", b"GET / HTTP/1.1"]
    {
        assert_eq!(refusal_version(bytes), None, "{bytes:?}");
    }
}

#[test]
fn connack_says_what_its_version_can() {
    let accepted = ConnAck { session_present: true, code: 0, properties: ConnAckProperties::default() };
    let packet = Packet::ConnAck(Box::new(accepted.clone()));
    stands_for(packet.clone(), Version::V311, Side::Client, b"\x20\x02\x01\0");
    stands_for(packet, Version::V5, Side::Client, b"\x20\x03\x01\0\0");
    let packet = Packet::ConnAck(Box::new(ConnAck { session_present: false, ..accepted }));
    stands_for(packet.clone(), Version::V31, Side::Client, b"\x20\x02\0\0");
    reads(packet, Version::V31, Side::Client, b"\x20\x02\x01\0");

    let refused = ConnAck { session_present: false, code: 0x87, properties: ConnAckProperties::default() };
    let mut output = Vec::new();
    encode(&Packet::ConnAck(Box::new(refused.clone())), Version::V311, &mut output);
    assert_eq!(output, b"\x20\x02\0\x05");
    stands_for(Packet::ConnAck(Box::new(refused)), Version::V5, Side::Client, b"\x20\x03\0\x87\0");
}

#[test]
fn connack_carries_every_property_of_version_5() {
    let properties = ConnAckProperties {
        session_expiry_s: Some(1),
        receive_maximum: Some(2),
        maximum_qos: Some(1),
        retain_available: Some(true),
        maximum_packet_size: Some(3),
        assigned_client_id: Some("i".into()),
        topic_alias_maximum: Some(4),
        reason_string: Some("r".into()),
        user_properties: vec![("k".into(), "v".into())],
        wildcard_subscription_available: Some(false),
        subscription_identifiers_available: Some(false),
        shared_subscription_available: Some(true),
        server_keep_alive_s: Some(5),
        response_information: Some("a".into()),
        server_reference: Some("s".into()),
        authentication_method: Some("m".into()),
        authentication_data: Some(Bytes::from_static(b"d")),
    };
    let block = b"\x11\0\0\0\x01\x21\0\x02\x24\x01\x25\x01\x27\0\0\0\x03\x12\0\x01i\x22\0\x04\x1F\0\x01r\
        \x26\0\x01k\0\x01v\x28\0\x29\0\x2A\x01\x13\0\x05\x1A\0\x01a\x1C\0\x01s\x15\0\x01m\x16\0\x01d";
    let bytes = [&[0x20, block.len() as u8 + 3, 0, 0, block.len() as u8], &block[..]].concat();
    let connack = ConnAck { session_present: false, code: 0, properties };
    stands_for(Packet::ConnAck(Box::new(connack)), Version::V5, Side::Client, &bytes);
}

fn plain_publish() -> Publish {
    Publish {
        dup: false,
        qos: Guarantee::AtMostOnce,
        retain: false,
        topic: Some(topic("a/b")),
        packet_id: 0,
        topic_alias: None,
        message_expiry_s: None,
        subscription_ids: Vec::new(),
        properties: None,
        payload: Bytes::from_static(b"hi"),
    }
}

fn all_properties() -> Properties {
    Properties {
        content_type: Some("t".into()),
        payload_is_utf8: Some(true),
        response_topic: Some(topic("r")),
        correlation_data: Some(Bytes::from_static(b"c")),
        user: vec![("k".into(), "2".into()), ("k".into(), "1".into())],
        priority: None,
    }
}

/// What [`all_properties`] looks like.
const ALL_PROPERTIES: &[u8] = b"\x01\x01\x03\0\x01t\x08\0\x01r\x09\0\x01c\x26\0\x01k\0\x012\x26\0\x01k\0\x011";

#[test]
fn publish_has_its_flags_topic_id_and_payload() {
    let repeated = Publish { dup: true, qos: Guarantee::AtLeastOnce, retain: true, packet_id: 10, ..plain_publish() };
    for side in [Side::Server, Side::Client] {
        for version in [Version::V31, Version::V311] {
            stands_for(Packet::Publish(plain_publish()), version, side, b"\x30\x07\0\x03a/bhi");
            stands_for(Packet::Publish(repeated.clone()), version, side, b"\x3B\x09\0\x03a/b\0\x0Ahi");
        }
        stands_for(Packet::Publish(plain_publish()), Version::V5, side, b"\x30\x08\0\x03a/b\0hi");
        stands_for(Packet::Publish(repeated.clone()), Version::V5, side, b"\x3B\x0A\0\x03a/b\0\x0A\0hi");
    }
    // [MQTT-3.3.1-2]: whatever the caller says, DUP is not written at QoS 0.
    let mut output = Vec::new();
    encode(&Packet::Publish(Publish { dup: true, ..plain_publish() }), Version::V5, &mut output);
    assert_eq!(output, b"\x30\x08\0\x03a/b\0hi");
    // MQTT 3.1 gives DUP no meaning at QoS 0 and does not forbid it.
    reads(Packet::Publish(plain_publish()), Version::V31, Side::Server, b"\x38\x07\0\x03a/bhi");
}

#[test]
fn publish_carries_every_property_of_version_5() {
    let publish = Publish {
        topic: None,
        topic_alias: Some(7),
        message_expiry_s: Some(8),
        subscription_ids: vec![1, 128, 268_435_455, 1],
        properties: Some(Arc::new(all_properties())),
        payload: Bytes::new(),
        ..plain_publish()
    };
    let block = [b"\x23\0\x07\x02\0\0\0\x08\x0B\x01\x0B\x80\x01\x0B\xFF\xFF\xFF\x7F\x0B\x01", ALL_PROPERTIES].concat();
    let bytes = [&[0x30, block.len() as u8 + 3, 0, 0, block.len() as u8], &block[..]].concat();
    stands_for(Packet::Publish(publish), Version::V5, Side::Client, &bytes);
    // The receiver answers an alias of 0, not the codec.
    let aliased = Publish { topic_alias: Some(0), ..plain_publish() };
    stands_for(Packet::Publish(aliased), Version::V5, Side::Server, b"\x30\x0B\0\x03a/b\x03\x23\0\0hi");
}

#[test]
fn a_publish_head_and_its_payload_are_the_packet() {
    let publish = Publish {
        qos: Guarantee::ExactlyOnce,
        packet_id: 3,
        message_expiry_s: Some(1),
        properties: Some(Arc::new(all_properties())),
        payload: Bytes::from(vec![b'x'; 20_000]),
        ..plain_publish()
    };
    for version in VERSIONS {
        let mut whole = Vec::new();
        encode(&Packet::Publish(publish.clone()), version, &mut whole);
        let head = PublishHead::from(&publish);
        let mut parts = Vec::new();
        encode_publish_head(&head, version, &mut parts);
        assert_eq!(parts.len() + publish.payload.len(), publish_size(&head, version));
        parts.extend_from_slice(&publish.payload);
        assert_eq!(parts, whole);
    }
}

#[test]
fn a_publish_shares_the_memory_that_it_was_read_into() {
    let mut input = BytesMut::from(&b"\x30\x08\0\x03a/b\0hi"[..]);
    let memory = input.as_ptr_range();
    let Some(Packet::Publish(publish)) = decode(&context(Side::Server, Some(Version::V5)), &mut input).unwrap() else {
        panic!("not a PUBLISH");
    };
    assert!(memory.contains(&publish.payload.as_ptr()));
    assert!(memory.contains(&publish.topic.unwrap().as_str().as_ptr()));
}

#[test]
fn acknowledgements_are_short_when_they_can_be() {
    for (ack_type, first, packet) in [
        (AckType::PubAck, 0x40, Packet::PubAck as fn(Acknowledgement) -> Packet),
        (AckType::PubRec, 0x50, Packet::PubRec),
        (AckType::PubRel, 0x62, Packet::PubRel),
        (AckType::PubComp, 0x70, Packet::PubComp),
    ] {
        let plain = Acknowledgement { packet_id: 0x0102, code: 0, details: None };
        for version in VERSIONS {
            stands_for(packet(plain.clone()), version, Side::Server, &[first, 2, 1, 2]);
        }
        let mut output = Vec::new();
        encode_ack(ack_type, 0x0102, &mut output);
        assert_eq!(output, [first, 2, 1, 2]);
        // §3.4.2.2.1: the reason code alone, and the reason code with an empty property block.
        reads(packet(plain.clone()), Version::V5, Side::Client, &[first, 3, 1, 2, 0]);
        reads(packet(plain), Version::V5, Side::Client, &[first, 4, 1, 2, 0, 0]);
        let code = if first < 0x60 { 0x97 } else { 0x92 };
        let refused = Acknowledgement { packet_id: 1, code, details: None };
        stands_for(packet(refused), Version::V5, Side::Server, &[first, 3, 0, 1, code]);
        let details = Details { reason_string: Some("no".into()), user_properties: vec![("k".into(), "v".into())] };
        let explained = Acknowledgement { packet_id: 1, code, details: Some(Box::new(details)) };
        let bytes = [&[first, 16, 0, 1, code, 12, 0x1F, 0, 2][..], b"no", &[0x26, 0, 1], b"k", &[0, 1], b"v"].concat();
        stands_for(packet(explained), Version::V5, Side::Server, &bytes);
    }
}

#[test]
fn pings_are_two_bytes() {
    for version in VERSIONS {
        stands_for(Packet::PingReq, version, Side::Server, &[0xC0, 0]);
        stands_for(Packet::PingResp, version, Side::Client, &[0xD0, 0]);
    }
}

#[test]
fn subscribe_carries_filters_and_options() {
    let filter = |filter: &str, qos| SubscribeFilter {
        filter: filter.into(),
        qos,
        no_local: false,
        retain_as_published: false,
        retain_handling: 0,
    };
    let plain = Subscribe {
        packet_id: 10,
        subscription_id: None,
        user_properties: Vec::new(),
        filters: vec![filter("a/b", Guarantee::AtLeastOnce), filter("c/#", Guarantee::ExactlyOnce)],
    };
    let packet = Packet::Subscribe(Box::new(plain.clone()));
    for version in [Version::V31, Version::V311] {
        stands_for(packet.clone(), version, Side::Server, b"\x82\x0E\0\x0A\0\x03a/b\x01\0\x03c/#\x02");
    }
    stands_for(packet.clone(), Version::V5, Side::Server, b"\x82\x0F\0\x0A\0\0\x03a/b\x01\0\x03c/#\x02");
    // MQTT 3.1 marks a repeated SUBSCRIBE with DUP and does not use the upper bits of the requested QoS.
    reads(packet, Version::V31, Side::Server, b"\x8A\x0E\0\x0A\0\x03a/b\x01\0\x03c/#\xF2");

    let full = Subscribe {
        subscription_id: Some(268_435_455),
        user_properties: vec![("k".into(), "v".into())],
        filters: vec![SubscribeFilter {
            no_local: true,
            retain_as_published: true,
            retain_handling: 2,
            ..filter("a", Guarantee::AtMostOnce)
        }],
        ..plain
    };
    let bytes = b"\x82\x13\0\x0A\x0C\x0B\xFF\xFF\xFF\x7F\x26\0\x01k\0\x01v\0\x01a\x2C";
    stands_for(Packet::Subscribe(Box::new(full)), Version::V5, Side::Server, bytes);
}

#[test]
fn suback_has_a_code_for_each_filter() {
    let suback = Codes { packet_id: 1, codes: vec![0, 1, 2, 0x80], details: Details::default() };
    let packet = Packet::SubAck(Box::new(suback.clone()));
    for version in [Version::V31, Version::V311] {
        stands_for(packet.clone(), version, Side::Client, b"\x90\x06\0\x01\0\x01\x02\x80");
    }
    stands_for(packet, Version::V5, Side::Client, b"\x90\x07\0\x01\0\0\x01\x02\x80");

    let details = Details { reason_string: Some("r".into()), user_properties: Vec::new() };
    let refused = Packet::SubAck(Box::new(Codes { codes: vec![0x87], details, ..suback }));
    stands_for(refused.clone(), Version::V5, Side::Client, b"\x90\x08\0\x01\x04\x1F\0\x01r\x87");
    let mut output = Vec::new();
    encode(&refused, Version::V311, &mut output);
    assert_eq!(output, b"\x90\x03\0\x01\x80");
}

#[test]
fn unsubscribe_and_unsuback() {
    let unsubscribe =
        Unsubscribe { packet_id: 2, user_properties: Vec::new(), filters: vec!["a".into(), "b/+".into()] };
    let packet = Packet::Unsubscribe(Box::new(unsubscribe.clone()));
    stands_for(packet.clone(), Version::V311, Side::Server, b"\xA2\x0A\0\x02\0\x01a\0\x03b/+");
    stands_for(packet, Version::V5, Side::Server, b"\xA2\x0B\0\x02\0\0\x01a\0\x03b/+");
    let marked =
        Unsubscribe { user_properties: vec![("k".into(), "".into())], filters: vec!["a".into()], ..unsubscribe };
    let bytes = b"\xA2\x0C\0\x02\x06\x26\0\x01k\0\0\0\x01a";
    stands_for(Packet::Unsubscribe(Box::new(marked)), Version::V5, Side::Server, bytes);

    let bare = Codes { packet_id: 2, codes: Vec::new(), details: Details::default() };
    for version in [Version::V31, Version::V311] {
        stands_for(Packet::UnsubAck(Box::new(bare.clone())), version, Side::Client, b"\xB0\x02\0\x02");
    }
    let coded = Codes { codes: vec![0, 0x11, 0x8F], ..bare };
    stands_for(Packet::UnsubAck(Box::new(coded)), Version::V5, Side::Client, b"\xB0\x06\0\x02\0\0\x11\x8F");
}

#[test]
fn disconnect_has_short_forms() {
    let normal = Packet::Disconnect(Box::default());
    for version in VERSIONS {
        stands_for(normal.clone(), version, Side::Server, b"\xE0\0");
    }
    stands_for(normal.clone(), Version::V5, Side::Client, b"\xE0\0");
    reads(normal.clone(), Version::V5, Side::Server, b"\xE0\x01\0");
    reads(normal, Version::V5, Side::Server, b"\xE0\x02\0\0");
    let with_will = Disconnect { code: 4, ..Disconnect::default() };
    stands_for(Packet::Disconnect(Box::new(with_will.clone())), Version::V5, Side::Server, b"\xE0\x01\x04");
    let expiring = Disconnect { session_expiry_s: Some(9), ..with_will };
    let packet = Packet::Disconnect(Box::new(expiring));
    stands_for(packet, Version::V5, Side::Server, b"\xE0\x07\x04\x05\x11\0\0\0\x09");
    let moved = Disconnect {
        code: 0x9D,
        session_expiry_s: None,
        server_reference: Some("s".into()),
        details: Details { reason_string: Some("r".into()), user_properties: vec![("k".into(), "v".into())] },
    };
    let bytes = b"\xE0\x11\x9D\x0F\x1C\0\x01s\x1F\0\x01r\x26\0\x01k\0\x01v";
    stands_for(Packet::Disconnect(Box::new(moved)), Version::V5, Side::Client, bytes);
}

#[test]
fn auth_is_an_exchange_of_both_sides() {
    stands_for(Packet::Auth(Box::default()), Version::V5, Side::Client, b"\xF0\0");
    let step = |code| {
        Packet::Auth(Box::new(Auth {
            code,
            method: Some("m".into()),
            data: Some(Bytes::from_static(b"d")),
            details: Details::default(),
        }))
    };
    let bytes = |code| [b"\xF0\x0A", &[code][..], b"\x08\x15\0\x01m\x16\0\x01d"].concat();
    stands_for(step(0x18), Version::V5, Side::Server, &bytes(0x18));
    stands_for(step(0x18), Version::V5, Side::Client, &bytes(0x18));
    stands_for(step(0x19), Version::V5, Side::Server, &bytes(0x19));
    stands_for(step(0x00), Version::V5, Side::Client, &bytes(0x00));
    let mut output = Vec::new();
    encode(&step(0x18), Version::V311, &mut output);
    assert!(output.is_empty());
}

#[test]
fn long_reason_strings_are_cut_between_characters() {
    let reason_string = "ü".repeat(40_000);
    let details = Details { reason_string: Some(reason_string.as_str().into()), user_properties: Vec::new() };
    let disconnect = Disconnect { code: 0x80, details, ..Disconnect::default() };
    let mut output = Vec::new();
    encode(&Packet::Disconnect(Box::new(disconnect)), Version::V5, &mut output);
    let mut input = BytesMut::from(&output[..]);
    let Some(Packet::Disconnect(read)) = decode(&context(Side::Client, Some(Version::V5)), &mut input).unwrap() else {
        panic!("not a DISCONNECT");
    };
    assert_eq!(read.details.reason_string.as_deref(), Some(&reason_string[..65_534]));
}

#[test]
fn the_format_has_a_largest_packet_and_its_errors_have_codes() {
    // A type byte and a length of four bytes before 268,435,455 more (§2.1.4).
    assert_eq!(PACKET_BYTES_MAX, 268_435_460);
    let error = decode(&context(Side::Server, None), &mut BytesMut::from(&b"\x00\x00"[..])).unwrap_err();
    assert_eq!(error.to_string(), format!("{} (0x{:02X})", error.text, error.code));
    assert!(error.to_string().ends_with("(0x82)"), "{error}");
}
