//! Realms under mount points never hear each other, in no shape of publishing and receiving.

mod bench;

use althing_core::Guarantee::{AtLeastOnce, AtMostOnce, ExactlyOnce};
use althing_core::authorisation::{Actions, Policy, Rule};
use althing_core::link::Entrance;
use althing_core::verbs::*;
use althing_core::{Limits, Link, Message, Properties};
use bench::{Bench, topic};
use std::sync::Arc;

const SHARDS: [u16; 2] = [1, 3];

/// A peer of the realm `name`, mounted at `name/`; of the whole house where it is empty.
fn of(realm: &str) -> impl Fn(&mut Connect) {
    let mount_point = if realm.is_empty() { "".into() } else { format!("{realm}/").into() };
    let entrance = Entrance { name: "listener", realm: realm.into(), mount_point, ..Entrance::default() };
    let entrance = Arc::new(entrance);
    move |connect| connect.link = Link { remote: None, entrance: entrance.clone(), ..Link::default() }
}

/// The realms, one client each with the same id, on slots 1, 2 and 3.
const REALMS: [(u32, &str); 3] = [(1, "red"), (2, "blue"), (3, "")];

fn everyone(shards: u16) -> Bench {
    let mut bench = Bench::new(shards);
    for (slot, realm) in REALMS {
        assert!(!bench.connect_with(slot, "client", of(realm)), "{realm} has a session of its own");
    }
    bench
}

/// What a peer got: topics and payloads, sorted.
fn heard(bench: &mut Bench, slot: u32) -> Vec<(String, String)> {
    bench.sync();
    let peer = bench.peer(slot);
    let deliveries = bench.deliveries.extract_if(.., |delivery| delivery.peer == peer);
    let mut heard: Vec<(String, String)> = deliveries
        .map(|delivery| {
            let payload = String::from_utf8_lossy(&delivery.message.payload).into_owned();
            (delivery.message.topic.to_string(), payload)
        })
        .collect();
    heard.sort();
    heard
}

fn one(topic: &str, payload: &str) -> Vec<(String, String)> {
    vec![(topic.to_owned(), payload.to_owned())]
}

#[test]
fn each_hears_its_own_and_the_whole_house_hears_all() {
    for shards in SHARDS {
        for filter in ["#", "a/b", "+/b", "a/#", "$share/g/#", "$share/g/a/+", "$share/g/a/b"] {
            for guarantee in [AtMostOnce, AtLeastOnce, ExactlyOnce] {
                let mut bench = everyone(shards);
                for (slot, _) in REALMS {
                    bench.subscribe(slot, filter, guarantee);
                }
                bench.sync();
                for (slot, realm) in REALMS {
                    bench.publish(slot, "a/b", realm, guarantee);
                }
                assert_eq!(heard(&mut bench, 1), one("a/b", "red"), "{filter} {guarantee:?}");
                assert_eq!(heard(&mut bench, 2), one("a/b", "blue"), "{filter} {guarantee:?}");
                let whole = heard(&mut bench, 3);
                assert!(whole.contains(&("a/b".into(), String::new())));
                let with_all = [("a/b", ""), ("blue/a/b", "blue"), ("red/a/b", "red")];
                if filter.ends_with('#') && !filter.contains("a/") {
                    assert_eq!(whole, with_all.map(|(topic, payload)| (topic.into(), payload.into())), "{filter}");
                }
            }
        }
    }
}

#[test]
fn queues_are_each_realms_own() {
    for shards in SHARDS {
        let mut bench = everyone(shards);
        for (slot, realm) in REALMS {
            bench.publish(slot, "$queue/q", realm, AtLeastOnce);
        }
        bench.sync();
        for (slot, realm) in REALMS {
            bench.subscribe(slot, "$queue/q", AtLeastOnce);
            assert_eq!(heard(&mut bench, slot), one("$queue/q", realm));
        }
        for (slot, _) in REALMS {
            bench.subscribe(slot, "$queue/#", AtLeastOnce);
        }
        bench.publish(1, "$queue/other", "red", AtLeastOnce);
        assert_eq!(heard(&mut bench, 1), one("$queue/other", "red"));
        assert_eq!(heard(&mut bench, 2), []);
        assert_eq!(heard(&mut bench, 3), one("$queue/red/other", "red"));
    }
}

#[test]
fn last_values_are_each_realms_own() {
    for shards in SHARDS {
        let mut bench = everyone(shards);
        for (slot, realm) in REALMS {
            bench.publish_with(slot, "a", &format!("of {realm}"), AtLeastOnce, |publish| publish.message.retain = true);
        }
        bench.sync();
        bench.answers.clear();
        for (slot, realm) in REALMS {
            bench.request(slot, Request::Fetch { correlation: 7, topic: topic("a") });
            let answers = bench.take_answers(slot);
            let [Answer::Fetched { correlation: 7, outcome: Ok(Some(value)) }] = &answers[..] else {
                panic!("{answers:?}")
            };
            assert_eq!((value.topic.as_str(), &value.payload[..]), ("a", format!("of {realm}").as_bytes()));
            bench.subscribe(slot, "+", AtLeastOnce);
            assert_eq!(heard(&mut bench, slot), one("a", &format!("of {realm}")));
        }
        bench.publish_with(1, "a", "", AtLeastOnce, |publish| publish.message.retain = true);
        bench.sync();
        let kept: u64 = bench.brokers.iter().map(|broker| broker.statistics().retained_messages).sum();
        assert_eq!(kept, 2, "only one's own is cleared");
    }
}

#[test]
fn wills_stay_in_their_realm() {
    for shards in SHARDS {
        let mut bench = Bench::new(shards);
        for (slot, realm) in REALMS {
            bench.connect_with(slot + 3, "watcher", of(realm));
            bench.subscribe(slot + 3, "#", AtLeastOnce);
            bench.connect_with(slot, "client", |connect| {
                of(realm)(connect);
                let message = Message::new(topic("gone"), realm.to_owned().into());
                connect.will = Some(Box::new(Will { message, delay_s: 0, expiry_s: None }));
            });
        }
        bench.lose(1);
        bench.lose(2);
        assert_eq!(heard(&mut bench, 4), one("gone", "red"));
        assert_eq!(heard(&mut bench, 5), one("gone", "blue"));
        let both = [("blue/gone", "blue"), ("red/gone", "red")].map(|(topic, who)| (topic.into(), who.into()));
        assert_eq!(heard(&mut bench, 6), both);
    }
}

#[test]
fn what_waits_for_an_absent_session_is_shown_under_its_mount_point_after_a_crash() {
    for shards in SHARDS {
        for guarantee in [AtLeastOnce, ExactlyOnce] {
            let mut bench = everyone(shards);
            for (slot, _) in REALMS {
                bench.subscribe(slot, "a/#", guarantee);
                bench.sync();
                bench.lose(slot);
            }
            for (slot, realm) in REALMS {
                bench.connect_with(slot + 3, "publisher", of(realm));
                bench.publish(slot + 3, "a/b", realm, guarantee);
            }
            bench.sync();
            bench.crash();
            for (slot, realm) in REALMS {
                assert!(bench.connect_with(slot, "client", of(realm)));
                assert_eq!(heard(&mut bench, slot), one("a/b", realm), "and {realm} only once");
                // What is repeated looks the same.
                bench.lose(slot);
                bench.sync();
                assert!(bench.connect_with(slot, "client", of(realm)));
                assert_eq!(heard(&mut bench, slot), one("a/b", realm));
            }
        }
    }
}

#[test]
fn a_session_that_comes_back_elsewhere_gets_nothing_of_before() {
    let mut bench = Bench::new(1);
    let moved = |to: &'static str| {
        move |connect: &mut Connect| {
            of("red")(connect);
            let entrance = Entrance { mount_point: to.into(), ..Entrance::clone(&connect.link.entrance) };
            connect.link.entrance = Arc::new(entrance);
        }
    };
    bench.connect_with(1, "client", moved("red/"));
    bench.subscribe(1, "#", AtLeastOnce);
    for payload in ["in flight", "and queued"] {
        bench.publish(1, "a", payload, AtLeastOnce);
    }
    assert_eq!(heard(&mut bench, 1).len(), 2);
    bench.lose(1);
    bench.connect_with(2, "publisher", moved("red/"));
    bench.publish(2, "a", "waits", AtLeastOnce);
    bench.sync();
    assert!(bench.connect_with(1, "client", moved("green/")));
    assert_eq!(heard(&mut bench, 1), []);
    assert_eq!((bench.queued_messages(), bench.inflight_messages()), (0, 0));
}

#[test]
fn the_broker_is_not_seen_and_cannot_be_imitated_under_a_mount_point() {
    for shards in SHARDS {
        let mut bench = everyone(shards);
        for (slot, _) in REALMS {
            bench.subscribe(slot, "$SYS/#", AtMostOnce);
            bench.subscribe(slot, "#", AtMostOnce);
        }
        bench.sync();
        bench.answers.clear();
        let message = Message::new(topic("$SYS/broker/uptime"), "1".into());
        bench.call(0, |broker, now, effects| broker.publish(now, message, effects));
        bench.run();
        assert_eq!(heard(&mut bench, 3), one("$SYS/broker/uptime", "1"));
        bench.publish(1, "$SYS/broker/uptime", "a lie", AtLeastOnce);
        let answers = bench.take_answers(1);
        assert!(matches!(answers[..], [Answer::Published { outcome: Err(_), .. }]), "{answers:?}");
        // Not even by somebody who sees the whole.
        bench.publish(3, "red/$SYS/broker/uptime", "a lie", AtLeastOnce);
        assert_eq!(heard(&mut bench, 1), []);
        assert_eq!(heard(&mut bench, 2), []);
    }
}

#[test]
fn an_answer_finds_its_way_back() {
    for shards in SHARDS {
        let mut bench = everyone(shards);
        for (slot, _) in REALMS {
            bench.subscribe(slot, "ask", AtLeastOnce);
        }
        bench.subscribe(3, "red/ask", AtLeastOnce);
        bench.connect_with(4, "asker", of("red"));
        let ask = |publish: &mut Publish| {
            let response_topic = Some(topic("reply/asker"));
            publish.message.properties = Some(Arc::new(Properties { response_topic, ..Properties::default() }));
        };
        bench.publish_with(4, "ask", "?", AtLeastOnce, ask);
        bench.sync();
        let mut response_topic = |slot| {
            let peer = bench.peer(slot);
            let mut delivery = bench.deliveries.extract_if(.., |delivery| delivery.peer == peer);
            let message = delivery.next().unwrap().message;
            message.properties.clone().and_then(|properties| properties.response_topic.clone())
        };
        assert_eq!(response_topic(1), Some(topic("reply/asker")));
        assert_eq!(response_topic(3), Some(topic("red/reply/asker")));
        // From outside nobody in there can answer.
        bench.publish_with(3, "red/ask", "?", AtLeastOnce, ask);
        bench.sync();
        let peer = bench.peer(1);
        let delivery = bench.deliveries.iter().find(|delivery| delivery.peer == peer).unwrap();
        assert_eq!(delivery.message.properties.as_ref().unwrap().response_topic, None);
    }
}

#[test]
fn rules_speak_of_whole_topics() {
    let all = Actions { publish: true, ..Actions::SUBSCRIBE };
    let rule = |text: &str, allow| Rule::for_everyone(all, text, allow);
    let policy = Policy::new(vec![rule("red/secret/#", false), rule("secret/#", true)], true);
    for shards in SHARDS {
        let mut bench = Bench::under(shards, Limits::default(), policy.clone());
        for (slot, realm) in REALMS {
            bench.connect_with(slot, "client", of(realm));
            bench.publish(slot, "secret/a", realm, AtLeastOnce);
            let may = matches!(bench.take_answers(slot)[..], [Answer::Published { outcome: Ok(_), .. }]);
            assert_eq!(may, realm != "red", "{realm}");
            bench.subscribe(slot, "secret/+", AtLeastOnce);
            bench.sync();
            let may =
                matches!(&bench.take_answers(slot)[..], [Answer::Subscribed { results, .. }] if results[0].is_ok());
            assert_eq!(may, realm != "red", "{realm}");
        }
    }
}

#[test]
fn what_does_not_fit_under_the_mount_point_is_refused() {
    let mut limits = Limits::default();
    limits.topic.length_bytes_max = 8;
    let mut bench = Bench::with(1, limits);
    bench.connect_with(1, "client", of("red"));
    bench.publish(1, "12345", "x", AtLeastOnce);
    let answers = bench.take_answers(1);
    let [Answer::Published { outcome: Err(refusal), .. }] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!(refusal.text, "the topic is longer than allowed, with the mount point red/ before it");
    bench.subscribe(1, "12345", AtLeastOnce);
    let answers = bench.take_answers(1);
    assert!(
        matches!(&answers[..], [Answer::Subscribed { results, .. }] if results[..] == [Err(Reason::TopicFilterInvalid)])
    );
    bench.publish(1, "1234", "x", AtLeastOnce);
    assert!(matches!(bench.take_answers(1)[..], [Answer::Published { outcome: Ok(_), .. }]));
}
