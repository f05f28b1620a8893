//! Any packet that a side may read in a version, and a fixed selection of them as bytes.

use crate::{VERSIONS, context, topic};
use althing_core::message::Properties;
use althing_core::{Guarantee, Topic};
use althing_mqtt::codec::{Context, Side, encode};
use althing_mqtt::packet::{
    Acknowledgement, Auth, Codes, ConnAck, ConnAckProperties, Connect, Details, Disconnect, Packet, Publish, Subscribe,
    SubscribeFilter, Unsubscribe, Version, Will,
};
use bytes::Bytes;
use bytestring::ByteString;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::sync::Arc;

/// A packet with the context in which it is read.
pub fn any_packet() -> impl Strategy<Value = (Context, Version, Packet)> {
    (select(&VERSIONS[..]), select(&[Side::Server, Side::Client][..])).prop_flat_map(|(version, side)| {
        packet(version, side).prop_map(move |packet| {
            let agreed = (!matches!(packet, Packet::Connect(_))).then_some(version);
            (context(side, agreed), version, packet)
        })
    })
}

/// The same two hundred packets on every run, as bytes.
pub fn corpus() -> Vec<(Context, Version, Vec<u8>)> {
    let mut runner = TestRunner::deterministic();
    let mut sample = || {
        let (context, version, packet) = any_packet().new_tree(&mut runner).unwrap().current();
        let mut bytes = Vec::new();
        encode(&packet, version, &mut bytes);
        (context, version, bytes)
    };
    (0..200).map(|_| sample()).collect()
}

fn packet(version: Version, side: Side) -> BoxedStrategy<Packet> {
    let both = prop_oneof![
        4 => publish(version, side).prop_map(Packet::Publish),
        1 => publish_answer(version, side).prop_map(Packet::PubAck),
        1 => publish_answer(version, side).prop_map(Packet::PubRec),
        1 => acknowledgement(version, &[0x00, 0x92]).prop_map(Packet::PubRel),
        1 => acknowledgement(version, &[0x00, 0x92]).prop_map(Packet::PubComp),
    ];
    let one = match side {
        Side::Server => prop_oneof![
            3 => connect(version).prop_map(|packet| Packet::Connect(Box::new(packet))),
            2 => subscribe(version).prop_map(|packet| Packet::Subscribe(Box::new(packet))),
            1 => unsubscribe(version).prop_map(|packet| Packet::Unsubscribe(Box::new(packet))),
            1 => Just(Packet::PingReq),
            1 => disconnect(version, side).prop_map(|packet| Packet::Disconnect(Box::new(packet))),
        ]
        .boxed(),
        Side::Client => prop_oneof![
            3 => connack(version).prop_map(|packet| Packet::ConnAck(Box::new(packet))),
            1 => suback(version).prop_map(|packet| Packet::SubAck(Box::new(packet))),
            1 => unsuback(version).prop_map(|packet| Packet::UnsubAck(Box::new(packet))),
            1 => Just(Packet::PingResp),
        ]
        .boxed(),
    };
    let late = match version {
        Version::V5 => prop_oneof![
            auth(side).prop_map(|packet| Packet::Auth(Box::new(packet))),
            disconnect(version, side).prop_map(|packet| Packet::Disconnect(Box::new(packet))),
        ]
        .boxed(),
        Version::V311 | Version::V31 => publish(version, side).prop_map(Packet::Publish).boxed(),
    };
    prop_oneof![3 => both, 3 => one, 1 => late].boxed()
}

/// `inner` in version 5, the default in the others.
fn in_v5<T: Default + Clone + std::fmt::Debug + 'static>(
    version: Version,
    inner: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<T> {
    if version == Version::V5 { inner.boxed() } else { Just(T::default()).boxed() }
}

fn text() -> impl Strategy<Value = ByteString> + Clone {
    let character = any::<char>().prop_filter("no U+0000", |character| *character != '\0');
    vec(character, 0..6).prop_map(|characters| characters.into_iter().collect::<String>().into())
}

fn data() -> impl Strategy<Value = Bytes> + Clone {
    vec(any::<u8>(), 0..8).prop_map(Bytes::from)
}

fn pairs() -> impl Strategy<Value = Vec<(ByteString, ByteString)>> {
    vec((text(), text()), 0..3)
}

fn name() -> impl Strategy<Value = Topic> + Clone {
    vec(select(&["", "a", "ü", "sensor", "$x", "1 2"][..]), 1..5)
        .prop_map(|levels| levels.join("/"))
        .prop_filter("not empty", |name| !name.is_empty())
        .prop_map(|name| topic(&name))
}

fn qos() -> impl Strategy<Value = Guarantee> {
    select(&[Guarantee::AtMostOnce, Guarantee::AtLeastOnce, Guarantee::ExactlyOnce][..])
}

fn details() -> impl Strategy<Value = Details> {
    (of(text()), pairs()).prop_map(|(reason_string, user_properties)| Details { reason_string, user_properties })
}

fn message_properties() -> impl Strategy<Value = Option<Arc<Properties>>> {
    (of(text()), of(any::<bool>()), of(name()), of(data()), pairs()).prop_map(
        |(content_type, payload_is_utf8, response_topic, correlation_data, user)| {
            let properties =
                Properties { content_type, payload_is_utf8, response_topic, correlation_data, user, priority: None };
            (!properties.is_empty()).then(|| Arc::new(properties))
        },
    )
}

prop_compose! {
    fn will(version: Version)(
        topic in name(),
        payload in data(),
        qos in qos(),
        retain in any::<bool>(),
        delay_s in in_v5(version, any::<u32>()),
        message_expiry_s in in_v5(version, of(any::<u32>())),
        properties in in_v5(version, message_properties()),
    ) -> Box<Will> {
        Box::new(Will { topic, payload, qos, retain, delay_s, message_expiry_s, properties })
    }
}

prop_compose! {
    fn connect(version: Version)(
        (clean_start, keep_alive_s, client_id) in (any::<bool>(), any::<u16>(), text()),
        will in of(will(version)),
        (username, password) in (of(text()), of(data())),
        session_expiry_s in in_v5(version, of(any::<u32>())),
        receive_maximum in in_v5(version, of(1_u16..)),
        maximum_packet_size in in_v5(version, of(1_u32..)),
        topic_alias_maximum in in_v5(version, any::<u16>()),
        request_response_information in in_v5(version, any::<bool>()),
        no_problem_information in in_v5(version, any::<bool>()),
        user_properties in in_v5(version, pairs()),
        authentication in in_v5(version, of((text(), of(data())))),
    ) -> Connect {
        let (method, data) = authentication.unzip();
        let has_password = version == Version::V5 || username.is_some();
        Connect {
            version,
            clean_start,
            keep_alive_s,
            client_id,
            will,
            username,
            password: password.filter(|_| has_password),
            session_expiry_s,
            receive_maximum,
            maximum_packet_size,
            topic_alias_maximum,
            request_response_information,
            request_problem_information: !no_problem_information,
            user_properties,
            authentication_method: method,
            authentication_data: data.flatten(),
        }
    }
}

prop_compose! {
    fn connack_properties()(
        session_expiry_s in of(any::<u32>()),
        receive_maximum in of(1_u16..),
        maximum_qos in of(0_u8..2),
        (retain_available, wildcard, identifiers, shared) in
            (of(any::<bool>()), of(any::<bool>()), of(any::<bool>()), of(any::<bool>())),
        maximum_packet_size in of(1_u32..),
        (topic_alias_maximum, server_keep_alive_s) in (of(any::<u16>()), of(any::<u16>())),
        (assigned_client_id, reason_string, response_information, server_reference, authentication_method) in
            (of(text()), of(text()), of(text()), of(text()), of(text())),
        user_properties in pairs(),
        authentication_data in of(data()),
    ) -> ConnAckProperties {
        ConnAckProperties {
            session_expiry_s,
            receive_maximum,
            maximum_qos,
            retain_available,
            maximum_packet_size,
            assigned_client_id,
            topic_alias_maximum,
            reason_string,
            user_properties,
            wildcard_subscription_available: wildcard,
            subscription_identifiers_available: identifiers,
            shared_subscription_available: shared,
            server_keep_alive_s,
            response_information,
            server_reference,
            authentication_method,
            authentication_data,
        }
    }
}

prop_compose! {
    fn connack(version: Version)(
        code in select(if version == Version::V5 { &[0, 0x80, 0x84, 0x8C, 0x9F][..] } else { &[0, 1, 2, 3, 4, 5][..] }),
        session_present in any::<bool>(),
        properties in in_v5(version, connack_properties()),
    ) -> ConnAck {
        ConnAck { session_present: session_present && code == 0 && version != Version::V31, code, properties }
    }
}

prop_compose! {
    fn publish(version: Version, side: Side)(
        (dup, qos, retain, packet_id) in (any::<bool>(), qos(), any::<bool>(), 1_u16..),
        topic in name(),
        alias in in_v5(version, of((any::<u16>(), any::<bool>()))),
        message_expiry_s in in_v5(version, of(any::<u32>())),
        subscription_ids in in_v5(version, vec(1_u32..=268_435_455, 0..4)),
        properties in in_v5(version, message_properties()),
        payload in prop_oneof![9 => data(), 1 => vec(any::<u8>(), 100..20_000).prop_map(Bytes::from)],
    ) -> Publish {
        let has_id = qos != Guarantee::AtMostOnce;
        Publish {
            dup: dup && has_id,
            qos,
            retain,
            topic: Some(topic).filter(|_| alias.is_none_or(|(_, with_topic)| with_topic)),
            packet_id: if has_id { packet_id } else { 0 },
            topic_alias: alias.map(|(alias, _)| alias),
            message_expiry_s,
            subscription_ids: if side == Side::Client { subscription_ids } else { Vec::new() },
            properties,
            payload,
        }
    }
}

fn publish_answer(version: Version, side: Side) -> impl Strategy<Value = Acknowledgement> {
    let codes: &[u8] = match side {
        Side::Server => &[0x00, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99],
        Side::Client => &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99],
    };
    acknowledgement(version, codes)
}

prop_compose! {
    fn acknowledgement(version: Version, codes: &'static [u8])(
        packet_id in 1_u16..,
        code in in_v5(version, select(codes)),
        details in in_v5(version, details()),
    ) -> Acknowledgement {
        let details = (details != Details::default()).then(|| Box::new(details));
        Acknowledgement { packet_id, code, details }
    }
}

prop_compose! {
    fn subscribe_filter(version: Version)(
        filter in prop_oneof![text(), Just("$share/g/a/#".into())],
        qos in qos(),
        no_local in in_v5(version, any::<bool>()),
        retain_as_published in in_v5(version, any::<bool>()),
        retain_handling in in_v5(version, 0_u8..3),
    ) -> SubscribeFilter {
        let no_local = no_local && !filter.starts_with("$share/");
        SubscribeFilter { filter, qos, no_local, retain_as_published, retain_handling }
    }
}

prop_compose! {
    fn subscribe(version: Version)(
        packet_id in 1_u16..,
        subscription_id in in_v5(version, of(1_u32..=268_435_455)),
        user_properties in in_v5(version, pairs()),
        filters in vec(subscribe_filter(version), 1..4),
    ) -> Subscribe {
        Subscribe { packet_id, subscription_id, user_properties, filters }
    }
}

prop_compose! {
    fn unsubscribe(version: Version)(
        packet_id in 1_u16..,
        user_properties in in_v5(version, pairs()),
        filters in vec(text(), 1..4),
    ) -> Unsubscribe {
        Unsubscribe { packet_id, user_properties, filters }
    }
}

prop_compose! {
    fn suback(version: Version)(
        packet_id in 1_u16..,
        codes in vec(select(if version == Version::V5 { &[0, 1, 2, 0x80, 0x8F, 0xA2][..] } else { &[0, 1, 2, 0x80][..] }), 1..5),
        details in in_v5(version, details()),
    ) -> Codes {
        Codes { packet_id, codes, details }
    }
}

prop_compose! {
    fn unsuback(version: Version)(
        packet_id in 1_u16..,
        codes in in_v5(version, vec(select(&[0x00, 0x11, 0x80, 0x8F][..]), 1..5)),
        details in in_v5(version, details()),
    ) -> Codes {
        Codes { packet_id, codes, details }
    }
}

prop_compose! {
    fn disconnect(version: Version, side: Side)(
        code in in_v5(version, select(match side {
            Side::Server => &[0x00, 0x04, 0x80, 0x99][..],
            Side::Client => &[0x00, 0x80, 0x8B, 0x8E, 0x9D, 0xA2][..],
        })),
        session_expiry_s in in_v5(version, of(any::<u32>())),
        server_reference in in_v5(version, of(text())),
        details in in_v5(version, details()),
    ) -> Disconnect {
        let session_expiry_s = session_expiry_s.filter(|_| side == Side::Server);
        Disconnect { code, session_expiry_s, server_reference, details }
    }
}

prop_compose! {
    fn auth(side: Side)(
        code in select(match side {
            Side::Server => &[0x18, 0x19][..],
            Side::Client => &[0x00, 0x18][..],
        }),
        (method, data) in (text(), of(data())),
        details in details(),
    ) -> Auth {
        Auth { code, method: Some(method), data, details }
    }
}
