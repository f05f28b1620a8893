//! What is no packet, and the reason code that the specification has for it.

use crate::{VERSIONS, context};
use althing_core::topic::TopicLimits;
use althing_mqtt::codec::Side::{Client, Server};
use althing_mqtt::codec::{Context, Side, decode};
use althing_mqtt::packet::Version::{self, V5, V31, V311};
use bytes::BytesMut;

const MALFORMED: u8 = 0x81;
const PROTOCOL: u8 = 0x82;
const VERSION: u8 = 0x84;
const TOPIC_NAME: u8 = 0x90;
const TOO_LARGE: u8 = 0x95;

fn refuses(side: Side, version: impl Into<Option<Version>>, rows: &[(&str, &[u8], u8)]) {
    let version = version.into();
    for (why, bytes, code) in rows {
        match decode(&context(side, version), &mut BytesMut::from(*bytes)) {
            Err(error) => assert_eq!(error.code, *code, "{why}: {error}"),
            Ok(packet) => panic!("{why}: read {packet:?}"),
        }
    }
}

fn refuses_in_all(side: Side, versions: &[Version], rows: &[(&str, &[u8], u8)]) {
    for version in versions {
        refuses(side, *version, rows);
    }
}

/// A packet with `body` behind a minimal fixed header.
fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    assert!(body.len() < 128);
    [&[first, body.len() as u8], body].concat()
}

#[test]
fn only_connect_comes_first_and_only_once() {
    for first in 0..=255_u8 {
        let result = decode(&context(Server, None), &mut BytesMut::from(&[first][..]));
        match first {
            0x10 => assert_eq!(result, Ok(None)),
            0x11..=0x1F => assert_eq!(result.unwrap_err().code, MALFORMED),
            _ => assert_eq!(result.unwrap_err().code, PROTOCOL, "0x{first:02X}"),
        }
    }
    refuses_in_all(Server, &VERSIONS, &[("second CONNECT [MQTT-3.1.0-2]", b"\x10", PROTOCOL)]);
    refuses(Client, None, &[("nothing is read before CONNECT", b"\x20", PROTOCOL)]);
}

#[test]
fn the_first_byte_is_enough_for_a_wrong_type_or_flag() {
    refuses_in_all(
        Server,
        &VERSIONS,
        &[
            ("type 0", b"\x00", MALFORMED),
            ("CONNACK to a server", b"\x20", PROTOCOL),
            ("SUBACK to a server", b"\x90", PROTOCOL),
            ("UNSUBACK to a server", b"\xB0", PROTOCOL),
            ("PINGRESP to a server", b"\xD0", PROTOCOL),
            ("QoS 3 [MQTT-3.3.1-4]", b"\x36", MALFORMED),
            ("SUBSCRIBE without its flag", b"\x80", MALFORMED),
            ("SUBSCRIBE with both QoS bits", b"\x86", MALFORMED),
            ("UNSUBSCRIBE without its flag", b"\xA0", MALFORMED),
            ("PUBREL without its flag", b"\x60", MALFORMED),
        ],
    );
    refuses_in_all(
        Server,
        &[V311, V5],
        &[
            ("DUP at QoS 0 [MQTT-3.3.1-2]", b"\x38", MALFORMED),
            ("SUBSCRIBE with DUP", b"\x8A", MALFORMED),
            ("PUBACK flags", b"\x41", MALFORMED),
            ("PUBREC flags", b"\x52", MALFORMED),
            ("PUBREL flags", b"\x6A", MALFORMED),
            ("PUBCOMP flags", b"\x74", MALFORMED),
            ("PINGREQ flags", b"\xC8", MALFORMED),
            ("DISCONNECT flags", b"\xE1", MALFORMED),
        ],
    );
    refuses_in_all(
        Client,
        &VERSIONS,
        &[
            ("CONNECT to a client", b"\x10", PROTOCOL),
            ("SUBSCRIBE to a client", b"\x82", PROTOCOL),
            ("UNSUBSCRIBE to a client", b"\xA2", PROTOCOL),
            ("PINGREQ to a client", b"\xC0", PROTOCOL),
        ],
    );
    refuses_in_all(Client, &[V31, V311], &[("DISCONNECT to a client of version 3", b"\xE0", PROTOCOL)]);
    for side in [Server, Client] {
        refuses_in_all(side, &[V31, V311], &[("AUTH in version 3", b"\xF0", MALFORMED)]);
    }
    refuses(Server, V5, &[("AUTH flags", b"\xF1", MALFORMED)]);
}

#[test]
fn the_remaining_length_is_enough_for_a_wrong_length() {
    refuses_in_all(
        Server,
        &VERSIONS,
        &[
            ("five bytes", b"\x30\xFF\xFF\xFF\xFF\x7F", MALFORMED),
            ("four bytes that go on", b"\x30\x80\x80\x80\x80", MALFORMED),
            ("larger than allowed", b"\x30\xFF\xFF\xFF\x7F", TOO_LARGE),
            ("PINGREQ with a body", b"\xC0\x01", MALFORMED),
            ("PUBACK without an identifier", b"\x40\x01", MALFORMED),
            ("PUBLISH without a topic length", b"\x30\x01", MALFORMED),
            ("SUBSCRIBE without an identifier", b"\x82\0", MALFORMED),
        ],
    );
    refuses_in_all(
        Server,
        &[V31, V311],
        &[("PUBACK with a reason", b"\x40\x03", MALFORMED), ("DISCONNECT with a reason", b"\xE0\x01", MALFORMED)],
    );
    refuses_in_all(
        Client,
        &[V31, V311],
        &[("CONNACK with properties", b"\x20\x03", MALFORMED), ("UNSUBACK with codes", b"\xB0\x03", MALFORMED)],
    );
    refuses(
        Server,
        V5,
        &[
            ("overlong by one [MQTT-1.5.5-1]", b"\x30\x80\x00", MALFORMED),
            ("overlong by three", b"\xC0\x80\x80\x80\x00", MALFORMED),
        ],
    );
    refuses(
        Server,
        None,
        &[
            ("CONNECT of 256 MB", b"\x10\xFF\xFF\xFF\x7F", TOO_LARGE),
            ("CONNECT of version 5, overlong", b"\x10\x8F\0\0\x04MQTT\x05\x02\0\x3C\0\0\x02ab", MALFORMED),
        ],
    );
    // Version 3 does not ask for the minimum.
    let mut input = BytesMut::from(&b"\xC0\x80\0"[..]);
    assert!(decode(&context(Server, Some(V311)), &mut input).unwrap().is_some());
}

#[test]
fn the_packet_size_counts_the_fixed_header() {
    let bytes = b"\x30\x08\0\x03a/b\0hi";
    let sized = |packet_bytes_max| Context { packet_bytes_max, ..context(Server, Some(V5)) };
    assert!(decode(&sized(10), &mut BytesMut::from(&bytes[..])).unwrap().is_some());
    assert_eq!(decode(&sized(9), &mut BytesMut::from(&bytes[..2])).unwrap_err().code, TOO_LARGE);
}

#[test]
fn connect() {
    refuses(
        Server,
        None,
        &[
            ("wrong name [MQTT-3.1.2-1]", &packet(0x10, b"\0\x04MQTX\x04\x02\0\x3C\0\x02ab"), VERSION),
            ("name in lower case", &packet(0x10, b"\0\x04mqtt\x04\x02\0\x3C\0\x02ab"), VERSION),
            ("unknown level", &packet(0x10, b"\0\x04MQTT\x06\x02\0\x3C\0\x02ab"), VERSION),
            ("level 3 with the name of 4", &packet(0x10, b"\0\x04MQTT\x03\x02\0\x3C\0\x02ab"), VERSION),
            ("level 4 with the name of 3", &packet(0x10, b"\0\x06MQIsdp\x04\x02\0\x3C\0\x02ab"), VERSION),
            ("empty", &packet(0x10, b""), MALFORMED),
            ("ends in the name", &packet(0x10, b"\0\x04MQ"), MALFORMED),
            ("ends before the client id", &packet(0x10, b"\0\x04MQTT\x04\x02\0\x3C"), MALFORMED),
            ("bytes after the end", &packet(0x10, b"\0\x04MQTT\x04\x02\0\x3C\0\x02abc"), MALFORMED),
            ("client id with NUL", &packet(0x10, b"\0\x04MQTT\x04\x02\0\x3C\0\x02a\0"), MALFORMED),
            ("client id not UTF-8", &packet(0x10, b"\0\x04MQTT\x04\x02\0\x3C\0\x02a\xFF"), MALFORMED),
            ("a surrogate", &packet(0x10, b"\0\x04MQTT\x04\x02\0\x3C\0\x03\xED\xA0\x80"), MALFORMED),
            ("will in 3.1 at QoS 3", &packet(0x10, b"\0\x06MQIsdp\x03\x1E\0\x3C\0\x01a\0\x01w\0\0"), MALFORMED),
            ("3.1 password alone", &packet(0x10, b"\0\x06MQIsdp\x03\x42\0\x3C\0\x01a\0\x01p"), MALFORMED),
            (
                "3.1.1 password alone [MQTT-3.1.2-22]",
                &packet(0x10, b"\0\x04MQTT\x04\x42\0\x3C\0\x01a\0\x01p"),
                MALFORMED,
            ),
            ("3.1.1 without its credentials", &packet(0x10, b"\0\x04MQTT\x04\xC2\0\x3C\0\x01a"), MALFORMED),
        ],
    );
    for level in [4, 5] {
        let start = |flags| {
            let properties: &[u8] = if level == 5 { b"\0" } else { b"" };
            [b"\0\x04MQTT", &[level, flags, 0, 0][..], properties, b"\0\x01a"].concat()
        };
        let will = |topic: &[u8]| {
            let properties: &[u8] = if level == 5 { b"\0" } else { b"" };
            [&start(0x04), properties, &[0, topic.len() as u8], topic, b"\0\0"].concat()
        };
        refuses(
            Server,
            None,
            &[
                ("reserved flag [MQTT-3.1.2-3]", &packet(0x10, &start(0x03)), MALFORMED),
                ("Will QoS without a will [MQTT-3.1.2-11]", &packet(0x10, &start(0x08)), MALFORMED),
                ("Will Retain without a will [MQTT-3.1.2-13]", &packet(0x10, &start(0x20)), MALFORMED),
                ("Will QoS 3 [MQTT-3.1.2-12]", &packet(0x10, &start(0x1C)), MALFORMED),
                ("a will that is not there", &packet(0x10, &start(0x04)), MALFORMED),
                ("will topic with a wildcard", &packet(0x10, &will(b"a/#")), MALFORMED),
                ("will topic empty", &packet(0x10, &will(b"")), MALFORMED),
                ("will topic with NUL", &packet(0x10, &will(b"\0")), MALFORMED),
            ],
        );
    }
}

#[test]
fn connect_properties() {
    let with = |properties: &[u8]| {
        packet(0x10, &[&b"\0\x04MQTT\x05\x02\0\0"[..], &[properties.len() as u8], properties, b"\0\0"].concat())
    };
    refuses(
        Server,
        None,
        &[
            ("length beyond the packet", &packet(0x10, b"\0\x04MQTT\x05\x02\0\0\x7F\0\0"), MALFORMED),
            ("length overlong", &packet(0x10, b"\0\x04MQTT\x05\x02\0\0\x80\0\0\0"), MALFORMED),
            ("length ends in a value", &with(b"\x11\0\0\0"), MALFORMED),
            ("unknown", &with(b"\x7F\0"), MALFORMED),
            ("unknown, two bytes", &with(b"\x80\x01"), MALFORMED),
            ("identifier 0", &with(b"\0"), MALFORMED),
            ("of PUBLISH", &with(b"\x23\0\x01"), MALFORMED),
            ("of CONNACK", &with(b"\x12\0\0"), MALFORMED),
            ("of the will", &with(b"\x18\0\0\0\0"), MALFORMED),
            ("repeated", &with(b"\x11\0\0\0\0\x11\0\0\0\0"), PROTOCOL),
            ("Receive Maximum 0", &with(b"\x21\0\0"), PROTOCOL),
            ("Maximum Packet Size 0", &with(b"\x27\0\0\0\0"), PROTOCOL),
            ("Request Response Information 2", &with(b"\x19\x02"), PROTOCOL),
            ("Request Problem Information 2", &with(b"\x17\x02"), PROTOCOL),
            ("Request Problem Information repeated", &with(b"\x17\x01\x17\x01"), PROTOCOL),
            ("Topic Alias Maximum repeated", &with(b"\x22\0\0\x22\0\0"), PROTOCOL),
            ("Authentication Data alone", &with(b"\x16\0\0"), PROTOCOL),
            ("User Property without a value", &with(b"\x26\0\x01k"), MALFORMED),
            ("User Property with NUL", &with(b"\x26\0\x01\0\0\0"), MALFORMED),
        ],
    );
    let will = |properties: &[u8]| {
        let start = b"\0\x04MQTT\x05\x06\0\0\0\0\0";
        packet(0x10, &[start, &[properties.len() as u8][..], properties, b"\0\x01w\0\0"].concat())
    };
    refuses(
        Server,
        None,
        &[
            ("Topic Alias in a will", &will(b"\x23\0\x01"), MALFORMED),
            ("Will Delay Interval repeated", &will(b"\x18\0\0\0\0\x18\0\0\0\0"), PROTOCOL),
            ("Payload Format Indicator 2", &will(b"\x01\x02"), PROTOCOL),
            ("Response Topic with a wildcard", &will(b"\x08\0\x01+"), PROTOCOL),
        ],
    );
}

#[test]
fn connack() {
    let with = |properties: &[u8]| packet(0x20, &[&[0, 0, properties.len() as u8], properties].concat());
    refuses(
        Client,
        V5,
        &[
            ("reserved flags [MQTT-3.2.2-1]", b"\x20\x03\x02\0\0", MALFORMED),
            ("Session Present in a refusal [MQTT-3.2.2-6]", b"\x20\x03\x01\x87\0", PROTOCOL),
            ("reason code 1", b"\x20\x03\0\x01\0", PROTOCOL),
            ("reason code of another packet", b"\x20\x03\0\x8E\0", PROTOCOL),
            ("no property length", b"\x20\x02\0\0", MALFORMED),
            ("bytes after the end", b"\x20\x04\0\0\0\0", MALFORMED),
            ("Receive Maximum 0", &with(b"\x21\0\0"), PROTOCOL),
            ("Maximum Packet Size 0", &with(b"\x27\0\0\0\0"), PROTOCOL),
            ("Maximum QoS 2", &with(b"\x24\x02"), PROTOCOL),
            ("Retain Available 2", &with(b"\x25\x02"), PROTOCOL),
            ("Wildcard Subscription Available 2", &with(b"\x28\x02"), PROTOCOL),
            ("Server Keep Alive repeated", &with(b"\x13\0\x01\x13\0\x01"), PROTOCOL),
            ("of CONNECT", &with(b"\x17\0"), MALFORMED),
        ],
    );
    refuses(
        Client,
        V311,
        &[
            ("reserved flags", b"\x20\x02\x02\0", MALFORMED),
            ("return code 6", b"\x20\x02\0\x06", PROTOCOL),
            ("Session Present in a refusal", b"\x20\x02\x01\x05", PROTOCOL),
        ],
    );
}

#[test]
fn publish() {
    for side in [Server, Client] {
        refuses_in_all(
            side,
            &VERSIONS,
            &[
                ("identifier 0 [MQTT-2.2.1-3]", b"\x32\x06\0\x01a\0\0\0", PROTOCOL),
                ("no identifier", b"\x32\x03\0\x01a", MALFORMED),
                ("topic longer than the packet", b"\x30\x03\0\x02a", MALFORMED),
                ("topic with + [MQTT-3.3.2-2]", b"\x30\x04\0\x01+\0", MALFORMED),
                ("topic with #", b"\x30\x06\0\x03a/#\0", MALFORMED),
                ("topic with NUL", b"\x30\x04\0\x01\0\0", MALFORMED),
                ("topic not UTF-8", b"\x30\x04\0\x01\xC0\0", MALFORMED),
                ("topic with a surrogate", b"\x30\x06\0\x03\xED\xBF\xBF\0", MALFORMED),
            ],
        );
        refuses_in_all(side, &[V31, V311], &[("topic empty", b"\x30\x02\0\0", MALFORMED)]);
        refuses(side, V5, &[("topic empty without an alias", b"\x30\x03\0\0\0", PROTOCOL)]);
    }
}

#[test]
fn publish_properties() {
    let with = |properties: &[u8]| packet(0x30, &[b"\0\x01a", &[properties.len() as u8][..], properties].concat());
    for side in [Server, Client] {
        refuses(
            side,
            V5,
            &[
                ("no property length", b"\x30\x03\0\x01a", MALFORMED),
                ("length beyond the packet", b"\x30\x04\0\x01a\x01", MALFORMED),
                ("length overlong", b"\x30\x05\0\x01a\x80\0", MALFORMED),
                ("Payload Format Indicator 2", &with(b"\x01\x02"), PROTOCOL),
                ("Payload Format Indicator repeated", &with(b"\x01\0\x01\0"), PROTOCOL),
                ("Message Expiry Interval repeated", &with(b"\x02\0\0\0\x01\x02\0\0\0\x01"), PROTOCOL),
                ("Topic Alias repeated", &with(b"\x23\0\x01\x23\0\x01"), PROTOCOL),
                ("Response Topic with # [MQTT-3.3.2-14]", &with(b"\x08\0\x01#"), PROTOCOL),
                ("Response Topic empty", &with(b"\x08\0\0"), PROTOCOL),
                ("Response Topic with NUL", &with(b"\x08\0\x01\0"), MALFORMED),
                ("Content Type with NUL", &with(b"\x03\0\x01\0"), MALFORMED),
                ("Content Type not UTF-8", &with(b"\x03\0\x01\xFF"), MALFORMED),
                ("Correlation Data longer than the block", &with(b"\x09\0\x02x"), MALFORMED),
                ("Session Expiry Interval", &with(b"\x11\0\0\0\0"), MALFORMED),
                ("Reason String", &with(b"\x1F\0\0"), MALFORMED),
            ],
        );
    }
    refuses(Server, V5, &[("Subscription Identifier from a client [MQTT-3.3.4-6]", &with(b"\x0B\x01"), PROTOCOL)]);
    refuses(
        Client,
        V5,
        &[
            ("Subscription Identifier 0", &with(b"\x0B\0"), PROTOCOL),
            ("Subscription Identifier overlong", &with(b"\x0B\x81\0"), MALFORMED),
            ("Subscription Identifier of five bytes", &with(b"\x0B\xFF\xFF\xFF\xFF\x01"), MALFORMED),
        ],
    );
}

#[test]
fn topics_beyond_the_limits_of_the_house() {
    let limits = TopicLimits { length_bytes_max: 4, levels_max: 2 };
    let narrow = |version| Context { topic: limits, ..context(Server, version) };
    let will = packet(0x10, b"\0\x04MQTT\x04\x06\0\0\0\0\0\x05abcde\0\0");
    for (version, bytes) in [
        (Some(V311), packet(0x30, b"\0\x05abcde")),
        (Some(V5), packet(0x30, b"\0\x03a//\0")),
        (Some(V5), packet(0x30, b"\0\x01a\x08\x08\0\x05abcde")),
        (None, will),
    ] {
        let error = decode(&narrow(version), &mut BytesMut::from(&bytes[..])).unwrap_err();
        assert_eq!(error.code, TOPIC_NAME, "{error}");
    }
}

#[test]
fn acknowledgements() {
    for side in [Server, Client] {
        for first in [0x40, 0x50, 0x62, 0x70] {
            refuses_in_all(side, &VERSIONS, &[("identifier 0", &[first, 2, 0, 0], PROTOCOL)]);
            refuses(
                side,
                V5,
                &[
                    ("identifier 0 with a reason", &[first, 3, 0, 0, 0], PROTOCOL),
                    ("reason code of no packet", &[first, 3, 0, 1, 0x7F], PROTOCOL),
                    ("reason code of another packet", &[first, 3, 0, 1, 0x8E], PROTOCOL),
                    ("bytes after the end", &[first, 5, 0, 1, 0, 0, 0], MALFORMED),
                    ("length beyond the packet", &[first, 4, 0, 1, 0, 1], MALFORMED),
                    ("foreign property", &[first, 6, 0, 1, 0, 2, 0x17, 0], MALFORMED),
                    ("Reason String repeated", &[first, 10, 0, 1, 0, 6, 0x1F, 0, 0, 0x1F, 0, 0], PROTOCOL),
                ],
            );
        }
        refuses(
            side,
            V5,
            &[("PUBACK 0x92", b"\x40\x03\0\x01\x92", PROTOCOL), ("PUBREL 0x97", b"\x62\x03\0\x01\x97", PROTOCOL)],
        );
    }
    refuses(Server, V5, &[("0x10 is the server's (§3.4.2.1)", b"\x40\x03\0\x01\x10", PROTOCOL)]);
}

#[test]
fn subscribe_and_unsubscribe() {
    refuses_in_all(
        Server,
        &[V31, V311],
        &[
            ("SUBSCRIBE identifier 0", b"\x82\x06\0\0\0\x01a\0", PROTOCOL),
            ("SUBSCRIBE empty [MQTT-3.8.3-2]", b"\x82\x02\0\x01", PROTOCOL),
            ("no options", b"\x82\x05\0\x01\0\x01a", MALFORMED),
            ("QoS 3", b"\x82\x06\0\x01\0\x01a\x03", MALFORMED),
            ("filter not UTF-8", b"\x82\x06\0\x01\0\x01\x80\0", MALFORMED),
            ("UNSUBSCRIBE identifier 0", b"\xA2\x05\0\0\0\x01a", PROTOCOL),
            ("UNSUBSCRIBE empty [MQTT-3.10.3-2]", b"\xA2\x02\0\x01", PROTOCOL),
            ("second filter cut short", b"\xA2\x07\0\x01\0\x01a\0\x01", MALFORMED),
        ],
    );
    refuses(Server, V311, &[("reserved bits", b"\x82\x06\0\x01\0\x01a\x04", MALFORMED)]);
    let options = |filter: &[u8], options| {
        packet(0x82, &[b"\0\x01\0", &[0, filter.len() as u8][..], filter, &[options]].concat())
    };
    refuses(
        Server,
        V5,
        &[
            ("SUBSCRIBE identifier 0", b"\x82\x07\0\0\0\0\x01a\0", PROTOCOL),
            ("SUBSCRIBE empty", b"\x82\x03\0\x01\0", PROTOCOL),
            ("no property length", b"\x82\x02\0\x01", MALFORMED),
            ("QoS 3", &options(b"a", 0x03), PROTOCOL),
            ("Retain Handling 3", &options(b"a", 0x30), PROTOCOL),
            ("reserved bit 6 [MQTT-3.8.3-5]", &options(b"a", 0x40), MALFORMED),
            ("reserved bit 7", &options(b"a", 0x80), MALFORMED),
            ("No Local on a shared filter [MQTT-3.8.3-4]", &options(b"$share/g/a", 0x04), PROTOCOL),
            ("filter with NUL", &options(b"\0", 0), MALFORMED),
            ("Subscription Identifier 0", b"\x82\x09\0\x01\x02\x0B\0\0\x01a\0", PROTOCOL),
            ("Subscription Identifier repeated", b"\x82\x0B\0\x01\x04\x0B\x01\x0B\x02\0\x01a\0", PROTOCOL),
            ("foreign property", b"\x82\x0A\0\x01\x03\x1F\0\0\0\x01a\0", MALFORMED),
            ("UNSUBSCRIBE identifier 0", b"\xA2\x06\0\0\0\0\x01a", PROTOCOL),
            ("UNSUBSCRIBE empty", b"\xA2\x03\0\x01\0", PROTOCOL),
            ("UNSUBSCRIBE with a Subscription Identifier", b"\xA2\x08\0\x01\x02\x0B\x01\0\x01a", MALFORMED),
        ],
    );
}

#[test]
fn suback_and_unsuback() {
    refuses_in_all(
        Client,
        &[V31, V311],
        &[
            ("SUBACK identifier 0", b"\x90\x03\0\0\0", PROTOCOL),
            ("SUBACK empty", b"\x90\x02\0\x01", PROTOCOL),
            ("SUBACK code 3 [MQTT-3.9.3-2]", b"\x90\x03\0\x01\x03", PROTOCOL),
            ("SUBACK code of version 5", b"\x90\x03\0\x01\x87", PROTOCOL),
            ("UNSUBACK identifier 0", b"\xB0\x02\0\0", PROTOCOL),
        ],
    );
    refuses(
        Client,
        V5,
        &[
            ("SUBACK empty", b"\x90\x03\0\x01\0", PROTOCOL),
            ("SUBACK code", b"\x90\x05\0\x01\0\0\x11", PROTOCOL),
            ("SUBACK foreign property", b"\x90\x06\0\x01\x02\x24\0\0", MALFORMED),
            ("UNSUBACK empty", b"\xB0\x03\0\x01\0", PROTOCOL),
            ("UNSUBACK code", b"\xB0\x04\0\x01\0\x01", PROTOCOL),
        ],
    );
}

#[test]
fn disconnect_and_auth() {
    for side in [Server, Client] {
        refuses(
            side,
            V5,
            &[
                ("DISCONNECT code", b"\xE0\x01\x01", PROTOCOL),
                ("DISCONNECT bytes after the end", b"\xE0\x03\0\0\0", MALFORMED),
                ("DISCONNECT foreign property", b"\xE0\x04\0\x02\x24\0", MALFORMED),
                ("AUTH code", b"\xF0\x02\x04\0", PROTOCOL),
                ("AUTH without a property length", b"\xF0\x01\x18", MALFORMED),
                ("AUTH without a method", b"\xF0\x02\x18\0", PROTOCOL),
                ("AUTH method repeated", b"\xF0\x08\x18\x06\x15\0\0\x15\0\0", PROTOCOL),
                ("AUTH bytes after the end", b"\xF0\x06\x18\x03\x15\0\0\0", MALFORMED),
            ],
        );
    }
    refuses(
        Server,
        V5,
        &[
            ("DISCONNECT code of the server", b"\xE0\x01\x8B", PROTOCOL),
            ("AUTH success from a client", b"\xF0\0", PROTOCOL),
        ],
    );
    refuses(
        Client,
        V5,
        &[
            ("DISCONNECT with will from a server", b"\xE0\x01\x04", PROTOCOL),
            ("Session Expiry Interval from a server [MQTT-3.14.2-2]", b"\xE0\x07\0\x05\x11\0\0\0\x01", PROTOCOL),
            ("AUTH Re-authenticate from a server", b"\xF0\x05\x19\x03\x15\0\0", PROTOCOL),
        ],
    );
}
