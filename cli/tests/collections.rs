//! `althing run`: collections against a real broker.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::*;
use std::process::Output;

/// Plays these steps.
fn play(broker: &Broker, steps: &str) -> Output {
    let file = scratch_directory().join("collection.json");
    std::fs::write(&file, format!(r#"{{"format": "althing-collection/1", "name": "test", "steps": [{steps}]}}"#))
        .unwrap();
    broker.run("run", &[file.to_str().unwrap()])
}

#[test]
fn steps_are_played_in_order_and_reported() {
    let broker = Broker::start();
    let topic = unique("run");
    let steps = format!(
        r#"{{"subscribe": "{topic}/+", "qos": 2}},
           {{"name": "one", "publish": "{topic}/1", "payload": "first", "qos": 2}},
           {{"publish": "{topic}/2", "payload_base64": "/wA=", "qos": 1}},
           {{"expect": "{topic}/2", "payload_base64": "/wA="}},
           {{"expect": "{topic}/#", "payload": "first"}}"#
    );
    let output = play(&broker, &steps);
    assert_exit(&output, 0);
    let expected = format!(
        "1 subscribe {topic}/+: granted QoS 2\n2 one\n3 publish {topic}/2\n4 expect {topic}/2: {topic}/2 2 bytes\n\
         5 expect {topic}/#: {topic}/1 \"first\"\n"
    );
    assert_eq!(stdout(&output), expected);
}

#[test]
fn what_does_not_come_ends_the_command() {
    let broker = Broker::start();
    let topic = unique("run");
    let steps = format!(
        r#"{{"subscribe": "{topic}"}}, {{"publish": "{topic}", "payload": "x"}},
           {{"expect": "{topic}", "payload": "y", "within_ms": 50}}, {{"publish": "{topic}"}}"#
    );
    let output = play(&broker, &steps);
    assert_exit(&output, 6);
    assert!(stderr(&output).contains("step 3, expect"), "{}", stderr(&output));
    assert_eq!(stdout(&output).lines().count(), 2);
}

#[test]
fn a_request_gets_its_answer_and_another_one_fails() {
    let broker = Broker::start();
    let topic = unique("run");
    let mut reply = Running::subscribed(&broker.arguments("reply", &["-t", &topic, "-m", "open"]));
    let right = play(&broker, &format!(r#"{{"request": "{topic}", "payload": "?", "answer": "open"}}"#));
    assert_exit(&right, 0);
    let wrong = play(&broker, &format!(r#"{{"request": "{topic}", "payload": "?", "answer": "shut"}}"#));
    assert_exit(&wrong, 1);
    assert!(stderr(&wrong).contains("the answer is another one"), "{}", stderr(&wrong));
    reply.signal("INT");
    assert_eq!(reply.finish().status.code(), Some(130));
}

#[test]
fn a_file_that_is_no_collection_is_a_usage_error() {
    let file = scratch_directory().join("wrong.json");
    std::fs::write(&file, r#"{"format": "althing-collection/1", "steps": [{"publish": "a/#"}]}"#).unwrap();
    let output = run(&["run", file.to_str().unwrap()]);
    assert_exit(&output, 2);
    assert!(stderr(&output).contains("step 1: "), "{}", stderr(&output));
}
