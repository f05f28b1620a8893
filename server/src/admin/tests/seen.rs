//! One message, seen by every language.

use super::world::World;
use serde_json::{Value, json};

const EVERYWHERE: [&str; 3] = ["stomp.bind=127.0.0.1:0", "coap.bind=127.0.0.1:0", "coap-tcp.enabled=false"];
const WAYS: [&str; 6] = ["mqtt", "mqtt-ws", "stomp", "coap", "http", "json"];

fn names(answer: &Value) -> Vec<&str> {
    answer["seen"].as_array().unwrap().iter().map(|sight| sight["protocol"].as_str().unwrap()).collect()
}

#[test]
fn whoever_publishes_everybody_sees_it() {
    let world = World::start_with(&EVERYWHERE);
    for from in WAYS {
        let answer = world.ask("POST", "/api/v1/seen", &json!({"from": from, "topic": "a/ü b"}).to_string());
        let answer = answer.json();
        assert_eq!((&answer["from"], &answer["topic"]), (&json!(from), &json!("a/ü b")));
        assert_eq!(names(&answer), WAYS);
        for sight in answer["seen"].as_array().unwrap() {
            assert!(sight["took_us"].as_u64().is_some_and(|took_us| took_us > 0), "{from}: {sight}");
        }
        assert!(answer["published_us"].is_u64());
    }
}

#[test]
fn nothing_of_it_stays() {
    let world = World::start_with(&EVERYWHERE);
    assert_eq!(world.ask("POST", "/api/v1/seen", "{}").status, 200);
    let is_over = || world.ask("GET", "/api/v1/server", "").json()["connections"] == 0;
    while !is_over() {
        std::thread::yield_now();
    }
    assert_eq!(world.ask("GET", "/api/v1/server", "").json()["retained_messages"], 0);
}

#[test]
fn a_listener_that_lets_nobody_in_says_so() {
    let locked = [
        "stomp.enabled=false",
        "listeners.locked.protocol=stomp",
        "listeners.locked.bind=127.0.0.1:0",
        "listeners.locked.anonymous=false",
    ];
    let world = World::start_with(&[&locked[..], &["coap.bind=127.0.0.1:0", "coap-tcp.enabled=false"]].concat());
    let answer = world.ask("POST", "/api/v1/seen", "{}").json();
    assert_eq!(names(&answer), WAYS);
    let sight = &answer["seen"][2];
    assert_eq!(sight["took_us"], Value::Null);
    assert!(sight["detail"].as_str().unwrap().contains("without credentials"), "{sight}");
    let answer = world.ask("POST", "/api/v1/seen", r#"{"from":"stomp"}"#);
    assert!(answer.status == 409 && answer.body.contains("without credentials"), "{answer:?}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let world = World::start();
    for (body, status) in [
        (json!({"topic": "a/#"}), 400),
        (json!({"from": "pigeon"}), 400),
        (json!({"payload": "x".repeat(65_537)}), 400),
        (json!({"tpic": "a"}), 422),
        (json!({"from": "coap"}), 409),
    ] {
        let answer = world.ask("POST", "/api/v1/seen", &body.to_string());
        assert_eq!(answer.status, status, "{body:.80}: {answer:?}");
    }
    assert_eq!(world.request("POST", "/api/v1/seen", &[], "{}").status, 401);
}
