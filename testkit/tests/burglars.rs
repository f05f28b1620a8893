//! Rights that were there once and are not any more: no way around a policy that changes.

use althing_core::Guarantee::{AtLeastOnce, AtMostOnce, ExactlyOnce};
use althing_core::Link;
use althing_core::authorisation::{Actions, Policy, Rule};
use althing_core::effects::Event;
use althing_core::link::{ClientIdFrom, Entrance};
use althing_mqtt::packet::{Connect, Version, Will};
use althing_testkit::house::{Downtime, House, StationId, connect_packet, expiring, topic};
use althing_testkit::worlds::{worlds, worlds_with};
use bytes::Bytes;

const BANNED: u8 = 0x8a;
const NOT_AUTHORISED: u8 = 0x87;
const CLIENT_ID_INVALID: u8 = 0x85;

fn as_user(name: &str, client: &str, lasts: bool) -> Connect {
    Connect {
        username: Some(name.to_owned().into()),
        session_expiry_s: lasts.then_some(3_600),
        clean_start: false,
        ..connect_packet(client, Version::V5)
    }
}

fn arrive(house: &mut House, name: &str, lasts: bool) -> StationId {
    let station = house.station();
    house.connect(station, as_user(name, name, lasts));
    house.settle();
    assert!(house.at(station).is_connected(), "{name}");
    station
}

fn come_back(house: &mut House, station: StationId, name: &str) {
    house.connect(station, as_user(name, name, true));
    house.settle();
}

fn code(house: &House, station: StationId) -> u8 {
    house.at(station).connack().map_or(0xff, |connack| connack.code)
}

/// A policy in which `name` may neither subscribe to `secret/#` nor receive it.
fn deaf(name: &str) -> Policy {
    Policy::new(vec![Rule::for_everyone(Actions::SUBSCRIBE, "secret/#", false).by(name)], true)
}

/// A policy in which `name` may not publish to `secret/#` in any way.
fn mute(name: &str) -> Policy {
    Policy::new(vec![Rule::for_everyone(Actions::PUBLISH, "secret/#", false).by(name)], true)
}

/// A policy in which `name` may subscribe to everything and does not get what is secret.
fn blindfolded(name: &str) -> Policy {
    Policy::new(vec![Rule::for_everyone(Actions::RECEIVE, "secret/#", false).by(name)], true)
}

fn will(text: &str, delay_s: u32) -> Option<Box<Will>> {
    Some(Box::new(Will {
        topic: topic("secret/will"),
        payload: Bytes::copy_from_slice(text.as_bytes()),
        qos: AtLeastOnce,
        retain: false,
        delay_s,
        message_expiry_s: None,
        properties: None,
    }))
}

fn was_refused(house: &House, wanted: &str) -> bool {
    house.events().iter().any(|event| matches!(event, Event::Refused { why, .. } if why.contains(wanted)))
}

#[test]
fn a_revoked_publisher_is_refused_at_once() {
    worlds(6, |house| {
        let [alice, bob] = [arrive(house, "alice", false), arrive(house, "bob", false)];
        house.listen(bob, "secret/#", AtLeastOnce);
        house.settle();
        house.say(alice, "secret/a", "before", AtLeastOnce);
        house.settle();
        house.set_policy(mute("alice"));
        let token = house.say(alice, "secret/a", "after", AtLeastOnce).unwrap();
        house.settle();
        assert_eq!(house.at(alice).codes_of(token), Some(&[NOT_AUTHORISED][..]));
        assert_eq!(house.at(bob).payloads(), ["before"]);
        assert!(was_refused(house, "the rule `deny publish secret/#` says so"));
    });
}

#[test]
fn a_revoked_subscriber_hears_nothing_more_on_any_way() {
    for filter in ["secret/a", "secret/#", "#", "$share/g/secret/a", "$share/g/#"] {
        worlds(3, |house| {
            let [alice, bob] = [arrive(house, "alice", false), arrive(house, "bob", false)];
            house.listen(bob, filter, AtLeastOnce);
            house.settle();
            house.say(alice, "secret/a", "before", ExactlyOnce);
            house.settle();
            house.set_policy(deaf("bob"));
            house.say(alice, "secret/a", "after", ExactlyOnce);
            house.say(alice, "secret/a", "after", AtMostOnce);
            house.settle();
            assert_eq!(house.at(bob).payloads(), ["before"], "{filter}");
            house.pass_ms(1_000);
            let left = house.statistics();
            assert_eq!((left.subscriptions, left.shared_subscriptions), (0, 0), "{filter}");
        });
    }
}

#[test]
fn a_wide_subscription_is_no_way_to_what_may_not_be_received() {
    worlds_with(
        6,
        |setup| setup.policy = blindfolded("bob"),
        |house| {
            let [alice, bob] = [arrive(house, "alice", false), arrive(house, "bob", false)];
            house.say_retained(alice, "secret/last", "secret", AtLeastOnce);
            house.say_retained(alice, "open/last", "open", AtLeastOnce);
            house.settle();
            for filter in ["#", "+/+", "$share/g/#"] {
                let token = house.listen(bob, filter, AtLeastOnce);
                house.settle();
                assert_eq!(house.at(bob).codes_of(token), Some(&[1][..]));
            }
            for qos in [AtMostOnce, AtLeastOnce, ExactlyOnce] {
                house.say(alice, "secret/a", "secret", qos);
                house.say(alice, "open/a", "open", qos);
            }
            house.settle();
            assert!(house.at(bob).payloads().iter().all(|payload| payload == "open"));
            assert!(house.at(bob).payloads().len() >= 8);
        },
    );
}

#[test]
fn a_group_gives_only_to_members_who_may() {
    for filter in ["$share/g/secret/a", "$queue/secret"] {
        worlds(6, |house| {
            let name = filter.rsplit_once("g/").map_or(filter, |(_, name)| name);
            let rule = Rule::for_everyone(Actions::RECEIVE, name, false);
            house.set_policy(Policy::new(vec![rule.clone().by("bob")], true));
            let members = ["bob", "carol"].map(|name| arrive(house, name, true));
            let alice = arrive(house, "alice", false);
            for member in members {
                house.listen(member, filter, AtLeastOnce);
            }
            house.settle();
            for count in 0..10 {
                house.say(alice, name, &count.to_string(), AtLeastOnce);
            }
            house.settle();
            assert_eq!((house.at(members[0]).received.len(), house.at(members[1]).received.len()), (0, 10));
            // Now the other way round, with some that wait for whoever may.
            house.set_policy(Policy::new(vec![rule.clone().by("bob"), rule.clone().by("carol")], true));
            house.say(alice, name, "for nobody", AtLeastOnce);
            house.settle();
            house.set_policy(Policy::new(vec![rule.clone().by("carol")], true));
            house.say(alice, name, "for bob", AtLeastOnce);
            house.pass_ms(1_000);
            // A queue keeps what nobody may have now.
            let expected: &[&str] =
                if filter.starts_with("$queue") { &["for nobody", "for bob"] } else { &["for bob"] };
            assert_eq!(house.at(members[0]).payloads(), expected);
            assert_eq!(house.at(members[1]).received.len(), 10);
        });
    }
}

#[test]
fn a_queue_is_not_drained_to_whoever_was_revoked_meanwhile() {
    for is_restarted in [false, true] {
        worlds(6, |house| {
            let [alice, bob] = [arrive(house, "alice", false), arrive(house, "bob", true)];
            for filter in ["secret/#", "open/#"] {
                house.listen(bob, filter, ExactlyOnce);
            }
            house.settle();
            house.cut_station(bob);
            house.settle();
            for (name, qos) in [("secret/a", AtLeastOnce), ("secret/a", ExactlyOnce), ("open/a", AtLeastOnce)] {
                house.say(alice, name, name, qos);
            }
            house.settle();
            if is_restarted {
                house.crash(false, Downtime::Known(0));
                house.settle();
            }
            house.set_policy(deaf("bob"));
            come_back(house, bob, "bob");
            assert!(house.at(bob).connack().unwrap().session_present);
            assert_eq!(house.at(bob).payloads(), ["open/a"]);
            assert_eq!(house.statistics().queued_messages, 0);
        });
    }
}

#[test]
fn what_was_on_its_way_is_not_repeated_to_whoever_was_revoked_meanwhile() {
    for qos in [AtLeastOnce, ExactlyOnce] {
        worlds(6, |house| {
            let [alice, bob] = [arrive(house, "alice", false), arrive(house, "bob", true)];
            house.acknowledge_manually(bob);
            house.listen(bob, "secret/#", qos);
            house.settle();
            house.say(alice, "secret/a", "once", qos);
            house.settle();
            assert_eq!(house.take_received(bob).len(), 1);
            house.cut_station(bob);
            house.settle();
            house.set_policy(deaf("bob"));
            come_back(house, bob, "bob");
            assert_eq!(house.at(bob).payloads(), [""; 0]);
            let left = house.statistics();
            assert_eq!((left.queued_messages, left.inflight_messages), (0, 0));
        });
    }
}

#[test]
fn a_revoked_will_is_not_published() {
    for is_restarted in [false, true] {
        worlds(6, |house| {
            let [alice, bob] = [arrive(house, "alice", false), arrive(house, "bob", true)];
            house.listen(bob, "#", AtLeastOnce);
            house.connect(alice, Connect { will: will("revoked", 10), ..as_user("alice", "alice", true) });
            house.settle();
            house.cut_station(alice);
            house.settle();
            if is_restarted {
                house.crash(false, Downtime::Known(0));
                house.settle();
                come_back(house, bob, "bob");
            }
            house.set_policy(mute("alice"));
            house.pass_ms(20_000);
            assert_eq!(house.at(bob).payloads(), [""; 0]);
            assert!(was_refused(house, "the will was not published"));
        });
    }
}

#[test]
fn a_last_value_is_shown_as_long_as_its_author_may_say_it() {
    for is_restarted in [false, true] {
        worlds(6, |house| {
            let alice = arrive(house, "alice", false);
            house.say_retained(alice, "secret/last", "alice says", AtLeastOnce);
            house.settle();
            if is_restarted {
                house.crash(false, Downtime::Known(0));
                house.settle();
            }
            house.set_policy(mute("alice"));
            let bob = arrive(house, "bob", true);
            house.listen(bob, "#", AtLeastOnce);
            house.settle();
            assert_eq!(house.at(bob).payloads(), [""; 0]);
            assert!(was_refused(house, "alice is not authorised to publish a last value to secret/last"));
            house.set_policy(Policy::open());
            house.listen(bob, "#", AtLeastOnce);
            house.settle();
            assert_eq!(house.at(bob).payloads(), ["alice says"]);
        });
    }
}

#[test]
fn a_session_belongs_to_its_name() {
    for is_restarted in [false, true] {
        worlds(6, |house| {
            let alice = arrive(house, "alice", true);
            house.listen(alice, "private", AtLeastOnce);
            house.settle();
            house.disconnect(alice);
            house.settle();
            if is_restarted {
                house.crash(false, Downtime::Known(0));
                house.settle();
            }
            let thief = house.station();
            for (name, clean_start) in [(Some("mallory"), false), (Some("mallory"), true), (None, false), (None, true)]
            {
                let username = name.map(|name| name.to_owned().into());
                house.connect(thief, Connect { username, clean_start, ..as_user("", "alice", true) });
                house.settle();
                assert_eq!(code(house, thief), CLIENT_ID_INVALID, "{name:?}");
            }
            come_back(house, alice, "alice");
            assert!(house.at(alice).connack().unwrap().session_present);
            // Nor while she is there.
            house.connect(thief, as_user("mallory", "alice", true));
            house.settle();
            assert_eq!(code(house, thief), CLIENT_ID_INVALID);
            assert!(house.at(alice).is_connected());
        });
    }
}

#[test]
fn nobodys_absent_session_is_replaced_and_never_resumed() {
    worlds(6, |house| {
        let nobody = house.station();
        let anonymous = Connect { username: None, ..as_user("", "device", true) };
        house.connect(nobody, anonymous);
        house.settle();
        house.listen(nobody, "t", AtLeastOnce);
        house.settle();
        let alice = house.station();
        house.connect(alice, as_user("alice", "device", true));
        house.settle();
        assert_eq!(code(house, alice), CLIENT_ID_INVALID, "it is there");
        house.cut_station(nobody);
        house.settle();
        house.connect(alice, as_user("alice", "device", true));
        house.settle();
        assert!(!house.at(alice).connack().unwrap().session_present);
        assert_eq!((house.statistics().sessions, house.statistics().subscriptions), (1, 0));
    });
}

#[test]
fn whoever_is_banned_or_unknown_is_gone_within_a_second() {
    worlds(6, |house| {
        let present = house.station();
        house.connect(present, Connect { will: will("banned", 0), ..as_user("mallory", "present", true) });
        let absent = house.station();
        house.connect(absent, as_user("mallory", "absent", true));
        let bob = arrive(house, "bob", false);
        house.listen(bob, "#", AtLeastOnce);
        house.listen(absent, "t", AtLeastOnce);
        house.settle();
        house.cut_station(absent);
        house.settle();
        let mut policy = Policy::open();
        policy.banned.users.insert("mallory".into());
        house.set_policy(policy);
        house.pass_ms(1_000);
        assert_eq!(house.statistics().sessions, 1);
        assert_eq!(
            house.at(present).goodbye().map(|goodbye| goodbye.code),
            Some(NOT_AUTHORISED),
            "DISCONNECT has no word for a ban"
        );
        assert_eq!(house.at(bob).payloads(), [""; 0], "the will is refused");
        house.connect(absent, as_user("mallory", "absent", true));
        house.settle();
        assert_eq!(code(house, absent), BANNED);
        let users = [("bob".into(), Vec::new())].into_iter().collect();
        house.set_policy(Policy { users: Some(users), ..Policy::open() });
        house.connect(absent, as_user("mallory", "absent", true));
        house.settle();
        assert_eq!(code(house, absent), NOT_AUTHORISED);
        house.set_policy(Policy { users: Some(Default::default()), ..Policy::open() });
        house.pass_ms(1_000);
        assert_eq!((house.statistics().sessions, house.connections_open()), (0, 0));
    });
}

#[test]
fn a_lower_ceiling_lowers_what_was_granted() {
    worlds(6, |house| {
        let [alice, bob] = [arrive(house, "alice", false), arrive(house, "bob", true)];
        house.listen(bob, "t", ExactlyOnce);
        house.listen(bob, "$share/g/t", ExactlyOnce);
        house.settle();
        let rule = Rule { guarantee_max: AtMostOnce, ..Rule::for_everyone(Actions::SUBSCRIBE, "#", true) };
        house.set_policy(Policy::new(vec![rule], true));
        house.pass_ms(1_000);
        house.say(alice, "t", "x", ExactlyOnce);
        house.settle();
        let received = house.take_received(bob);
        assert!(received.len() == 2 && received.iter().all(|publish| publish.qos == AtMostOnce), "{received:?}");
        let token = house.listen(bob, "other", ExactlyOnce);
        house.settle();
        assert_eq!(house.at(bob).codes_of(token), Some(&[0][..]));
    });
}

#[test]
fn a_connection_ends_with_its_proof() {
    worlds(6, |house| {
        let alice = house.station();
        let password = Some(expiring(house.now().wall_ms + 5_000));
        house.connect(alice, Connect { password: password.clone(), ..as_user("alice", "alice", true) });
        house.settle();
        house.pass_ms(4_999);
        assert!(house.at(alice).is_connected());
        house.pass_ms(1);
        assert_eq!(house.at(alice).goodbye().map(|goodbye| goodbye.code), Some(NOT_AUTHORISED));
        assert_eq!((house.connections_open(), house.statistics().sessions), (0, 1), "the session stays");
        house.connect(alice, Connect { password, ..as_user("alice", "alice", true) });
        house.settle();
        assert_eq!(code(house, alice), NOT_AUTHORISED, "that proof is over");
    });
}

#[test]
fn a_session_may_be_named_after_its_user() {
    worlds(12, |house| {
        let entrance = Entrance { name: "users", client_id: ClientIdFrom::Principal, ..Entrance::default() };
        house.come_in_by(Link { entrance: entrance.into(), ..Link::default() });
        let alice = house.station();
        house.connect(alice, as_user("alice", "whatever", true));
        house.settle();
        house.listen(alice, "t", AtLeastOnce);
        house.settle();
        house.cut_station(alice);
        house.settle();
        let other = house.station();
        house.connect(other, as_user("alice", "something else", true));
        house.settle();
        assert!(house.at(other).connack().is_some_and(|connack| connack.session_present), "one session a user");
        house.say(other, "t", "heard", AtLeastOnce);
        house.settle();
        assert_eq!(house.at(other).payloads(), ["heard"]);
        let thief = house.station();
        house.connect(thief, Connect { username: None, ..as_user("", "alice", true) });
        house.settle();
        assert_eq!(code(house, thief), CLIENT_ID_INVALID);
        assert_eq!(house.statistics().sessions, 1);
    });
}
