//! Wills, expiries and deadlines, on a clock that only moves when a test says so.

use althing_core::Guarantee::AtLeastOnce;
use althing_mqtt::packet::{Connect, Disconnect, Publish, Version, Will};
use althing_testkit::house::{House, StationId, connect_packet, topic};
use althing_testkit::worlds::worlds;
use bytes::Bytes;

fn will(delay_s: u32) -> Option<Box<Will>> {
    Some(Box::new(Will {
        topic: topic("wills/bob"),
        payload: Bytes::from_static(b"gone"),
        qos: AtLeastOnce,
        retain: false,
        delay_s,
        message_expiry_s: None,
        properties: None,
    }))
}

/// An observer of wills, and a station with a will.
fn with_will(house: &mut House, delay_s: u32, expiry_s: u32) -> ([StationId; 2], Connect) {
    let [alice] = house.connected(["alice"], Version::V5);
    house.listen(alice, "wills/#", AtLeastOnce);
    let bob = house.station();
    let connect = Connect {
        will: will(delay_s),
        session_expiry_s: Some(expiry_s),
        clean_start: false,
        ..connect_packet("bob", Version::V5)
    };
    house.connect(bob, connect.clone());
    house.settle();
    ([alice, bob], connect)
}

fn wills(house: &House, alice: StationId) -> usize {
    house.at(alice).received.len()
}

#[test]
fn a_lost_connection_publishes_the_will() {
    worlds(4, |house| {
        let ([alice, bob], _) = with_will(house, 0, 100);
        house.cut_station(bob);
        house.settle();
        assert_eq!(house.at(alice).payloads(), ["gone"]);
    });
}

#[test]
fn a_goodbye_deletes_the_will_unless_it_says_otherwise() {
    worlds(4, |house| {
        let ([alice, bob], connect) = with_will(house, 0, 100);
        house.disconnect(bob);
        house.settle();
        assert_eq!(wills(house, alice), 0);
        house.connect(bob, connect);
        house.settle();
        house.disconnect_with(bob, Disconnect { code: 0x04, ..Disconnect::default() });
        house.settle();
        assert_eq!(wills(house, alice), 1);
    });
}

#[test]
fn a_delayed_will_waits_and_a_new_connection_cancels_it() {
    worlds(4, |house| {
        let ([alice, bob], connect) = with_will(house, 10, 100);
        house.cut_station(bob);
        house.pass_ms(9_999);
        assert_eq!(wills(house, alice), 0);
        house.connect(bob, connect);
        house.pass_ms(60_000);
        assert_eq!(wills(house, alice), 0, "cancelled");
        house.cut_station(bob);
        house.pass_ms(9_999);
        assert_eq!(wills(house, alice), 0);
        house.pass_ms(1);
        assert_eq!(wills(house, alice), 1);
    });
}

#[test]
fn a_delayed_will_does_not_outlive_its_session() {
    worlds(4, |house| {
        let ([alice, bob], _) = with_will(house, 100, 5);
        house.cut_station(bob);
        house.pass_ms(4_999);
        assert_eq!(wills(house, alice), 0);
        house.pass_ms(1);
        assert_eq!(wills(house, alice), 1);
        assert_eq!(house.statistics().sessions, 1);
    });
}

#[test]
fn a_takeover_publishes_a_will_without_delay_and_tells_the_old_connection() {
    worlds(4, |house| {
        let ([alice, bob], connect) = with_will(house, 0, 100);
        let other = house.station();
        house.connect(other, connect);
        house.settle();
        assert_eq!(wills(house, alice), 1);
        assert_eq!(house.at(bob).goodbye().map(|goodbye| goodbye.code), Some(0x8e));
        assert!(house.at(other).is_connected() && !house.at(bob).is_connected());
        assert!(house.at(other).connack().unwrap().session_present);
    });
}

#[test]
fn a_session_expires_at_its_time_and_a_goodbye_may_change_it() {
    worlds(4, |house| {
        let bob = house.station();
        let connect = Connect { session_expiry_s: Some(30), clean_start: false, ..connect_packet("bob", Version::V5) };
        for (said, passes_ms, present) in [(None, 29_999, true), (None, 30_000, false), (Some(5), 5_000, false)] {
            house.connect(bob, connect.clone());
            house.settle();
            house.disconnect_with(bob, Disconnect { session_expiry_s: said, ..Disconnect::default() });
            house.pass_ms(passes_ms);
            assert_eq!(house.statistics().sessions, u64::from(present), "{said:?} {passes_ms}");
            house.connect(bob, connect.clone());
            house.settle();
            assert_eq!(house.at(bob).connack().unwrap().session_present, present);
            house.disconnect_with(bob, Disconnect { session_expiry_s: Some(0), ..Disconnect::default() });
            house.settle();
            assert_eq!(house.statistics().sessions, 0);
        }
    });
}

#[test]
fn a_message_expires_in_the_queue_or_tells_what_is_left_of_its_life() {
    worlds(4, |house| {
        let [alice] = house.connected(["alice"], Version::V5);
        let bob = house.station();
        let connect = Connect { session_expiry_s: Some(100), clean_start: false, ..connect_packet("bob", Version::V5) };
        house.connect(bob, connect.clone());
        house.settle();
        house.listen(bob, "news", AtLeastOnce);
        house.settle();
        house.cut_station(bob);
        house.settle();
        for (text, expiry_s) in [("short", 10), ("long", 30)] {
            let publish = althing_mqtt::client::publication(topic("news"), Bytes::from(text), AtLeastOnce);
            house.publish(alice, Publish { message_expiry_s: Some(expiry_s), retain: true, ..publish });
        }
        house.pass_ms(12_000);
        house.connect(bob, connect);
        house.settle();
        let received = house.take_received(bob);
        let received: Vec<_> = received.iter().map(|one| (&one.payload[..], one.message_expiry_s)).collect();
        assert_eq!(received, [(&b"long"[..], Some(18))]);
        house.pass_ms(20_000);
        house.listen(bob, "news", AtLeastOnce);
        house.settle();
        assert!(house.take_received(bob).is_empty(), "the last value has expired as well");
        assert_eq!(house.statistics().retained_messages, 0);
    });
}

#[test]
fn silence_for_one_and_a_half_keep_alives_ends_the_connection() {
    worlds(4, |house| {
        let wire = house.open_wire();
        let connect = Connect { keep_alive_s: 10, ..connect_packet("bob", Version::V5) };
        let version = Version::V5;
        house.send_packet(wire, &althing_mqtt::packet::Packet::Connect(Box::new(connect.clone())), version);
        house.pass_ms(14_999);
        assert!(!house.is_closed(wire));
        house.pass_ms(2);
        assert!(house.is_closed(wire));

        let bob = house.station();
        house.connect(bob, connect);
        house.pass_ms(100_000);
        assert!(house.at(bob).is_connected(), "the client half pings by itself");
    });
}
