//! Who may come in, under which name, and what they may do then.

use althing_core::Guarantee::AtLeastOnce;
use althing_core::authorisation::{Actions, Policy, Rule};
use althing_mqtt::packet::{Auth, Connect, Version, Will};
use althing_testkit::house::{Heard, House, StationId};
use althing_testkit::house::{METHOD_ECHO, WRONG_PASSWORD, connect_packet, topic};
use althing_testkit::worlds::{worlds, worlds_with};
use bytes::Bytes;

fn connack_code(house: &House, station: StationId) -> Option<u8> {
    house.at(station).connack().map(|connack| connack.code)
}

#[test]
fn a_wrong_password_is_refused_in_every_version() {
    worlds(4, |house| {
        for (version, code) in [(Version::V31, 4), (Version::V311, 4), (Version::V5, 0x86)] {
            let station = house.station();
            let mut connect = connect_packet("alice", version);
            connect.username = Some("alice".into());
            connect.password = Some(Bytes::from_static(WRONG_PASSWORD));
            house.connect(station, connect);
            house.settle();
            assert_eq!(connack_code(house, station), Some(code));
            assert!(!house.at(station).is_connected());
        }
        assert_eq!((house.statistics().sessions, house.connections_open()), (0, 0));
    });
}

#[test]
fn an_enhanced_authentication_is_an_exchange() {
    worlds(6, |house| {
        for (answer, expected) in [(None, 0), (Some("nonsense"), 0x87)] {
            let station = house.station();
            let mut connect = connect_packet("alice", Version::V5);
            connect.authentication_method = Some(METHOD_ECHO.into());
            house.connect(station, connect);
            house.settle();
            let (_, heard) = house.at(station).heard.last().unwrap().clone();
            let Heard::Auth(challenge) = heard else { panic!("{heard:?}") };
            assert_eq!(challenge.code, 0x18);
            let data = answer.map_or(challenge.data, |text: &str| Some(Bytes::copy_from_slice(text.as_bytes())));
            house.authenticate(station, Auth { data, ..challenge });
            house.settle();
            assert_eq!(connack_code(house, station), Some(expected));
        }
    });
}

#[test]
fn an_unknown_method_is_refused_and_a_silent_client_does_not_stay() {
    worlds(4, |house| {
        let station = house.station();
        let mut connect = connect_packet("alice", Version::V5);
        connect.authentication_method = Some("UNKNOWN".into());
        house.connect(station, connect.clone());
        house.settle();
        assert_eq!(connack_code(house, station), Some(0x8c));
        connect.authentication_method = Some(METHOD_ECHO.into());
        house.connect(station, connect);
        house.settle();
        house.pass_ms(10_001);
        assert_eq!(house.connections_open(), 0);
    });
}

#[test]
fn an_assigned_client_id_is_found_again() {
    worlds(12, |house| {
        let station = house.station();
        let connect = Connect { session_expiry_s: Some(60), ..connect_packet("", Version::V5) };
        house.connect(station, connect.clone());
        house.settle();
        let assigned = house.at(station).connack().unwrap().properties.assigned_client_id.clone().unwrap();
        house.listen(station, "a", AtLeastOnce);
        house.settle();
        house.cut_station(station);
        house.settle();
        house.connect(station, Connect { client_id: assigned, clean_start: false, ..connect });
        house.settle();
        let connack = house.at(station).connack().unwrap();
        assert!(connack.session_present && connack.properties.assigned_client_id.is_none(), "{connack:?}");
        assert_eq!(house.statistics().sessions, 1);
    });
}

fn only_own_topics() -> Policy {
    let rule = |publish, text, allow| Rule::for_everyone(Actions::publish_or_subscribe(publish), text, allow);
    let rules = vec![rule(true, "secret/#", false), rule(false, "secret/#", false), rule(true, "open/#", true)];
    Policy::new(rules, true)
}

#[test]
fn no_path_goes_around_the_policy() {
    worlds_with(
        4,
        |setup| setup.policy = only_own_topics(),
        |house| {
            let [alice, bob] = house.connected(["alice", "bob"], Version::V5);
            for filter in ["secret/a", "secret/#", "#", "+/a", "$share/g/secret/a", "$share/g/#"] {
                let token = house.listen(bob, filter, AtLeastOnce);
                house.settle();
                assert_eq!(house.at(bob).codes_of(token), Some(&[0x87][..]), "{filter}");
            }
            let token = house.listen(bob, "open/#", AtLeastOnce);
            house.settle();
            assert_eq!(house.at(bob).codes_of(token), Some(&[1][..]));
            for retained in [false, true] {
                let token = if retained {
                    house.say_retained(alice, "secret/a", "x", AtLeastOnce)
                } else {
                    house.say(alice, "secret/a", "x", AtLeastOnce)
                };
                house.settle();
                assert_eq!(house.at(alice).codes_of(token.unwrap()), Some(&[0x87][..]));
            }
            assert_eq!(house.statistics().retained_messages, 0);

            let carol = house.station();
            let will = Will {
                topic: topic("secret/will"),
                payload: Bytes::from_static(b"x"),
                qos: AtLeastOnce,
                retain: true,
                delay_s: 0,
                message_expiry_s: None,
                properties: None,
            };
            house.connect(carol, Connect { will: Some(Box::new(will)), ..connect_packet("carol", Version::V5) });
            house.settle();
            assert_eq!(connack_code(house, carol), Some(0x87));
            assert!(house.at(bob).received.is_empty());
        },
    );
}

#[test]
fn at_a_stop_version_5_clients_hear_why_and_sessions_stay() {
    worlds(4, |house| {
        let [old] = house.connected(["old"], Version::V311);
        let new = house.station();
        house.connect(new, Connect { session_expiry_s: Some(60), ..connect_packet("new", Version::V5) });
        house.settle();
        house.close_all(althing_core::Reason::ShuttingDown);
        house.settle();
        assert_eq!(house.at(new).goodbye().map(|goodbye| goodbye.code), Some(0x8b));
        assert!(!house.at(old).is_connected() && !house.at(new).is_connected());
        assert_eq!(house.connections_open(), 0);
        assert_eq!(house.statistics().sessions, 1);
    });
}
