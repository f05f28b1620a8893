//! `althing serve` and `althing bench` as programs: what they print, how they end.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::*;
use std::net::TcpListener;

#[test]
fn the_broker_stops_when_told_and_its_clients_hear_why() {
    let broker = Broker::ours("127.0.0.1:0");
    let mut sub = broker.subscribe(&["-t", "a", "--no-reconnect"]);
    let mut process = broker.process.unwrap();
    process.signal("TERM");
    assert_eq!(process.finish().status.code(), Some(0));
    sub.await_stderr("Server shutting down");
    assert_eq!(sub.finish().status.code(), Some(1));
}

#[test]
fn a_subscriber_outlives_a_restart_of_the_broker() {
    let broker = Broker::ours("127.0.0.1:0");
    let address = format!("{}:{}", broker.host, broker.port);
    let mut sub = broker.subscribe(&["-t", "a", "-C", "1"]);
    let mut process = broker.process.unwrap();
    process.signal("TERM");
    process.finish();
    sub.await_stderr("trying again");
    let broker = Broker::ours(&address);
    sub.await_stderr("subscribed to a");
    broker.publish(&["-t", "a", "-m", "back"]);
    assert_eq!(stdout(&sub.finish()), "back\n");
}

#[test]
fn a_wrong_configuration_ends_with_2_and_names_the_nearest_key() {
    let output = run(&["serve", "--set", "mqtt.bnd=127.0.0.1:0"]);
    assert_exit(&output, 2);
    assert!(stderr(&output).contains("mqtt.bind"), "{}", stderr(&output));
    assert_exit(&run(&["serve", "--config", "/nowhere/althing.toml"]), 2);
}

#[test]
fn an_address_in_use_ends_with_1_and_says_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let output = run(&["serve", "--set", &format!("mqtt.bind={}", taken.local_addr().unwrap())]);
    assert_exit(&output, 1);
    assert!(stderr(&output).contains("--port-offset"), "{}", stderr(&output));
}

#[test]
fn no_command_and_environment_make_a_broker_too() {
    let mut command = althing(&[]);
    command.env("ALTHING__MQTT__BIND", "127.0.0.1:0");
    let mut process = Running::start(command);
    process.await_stderr("mqtt listens on 127.0.0.1:");
    process.signal("INT");
    assert_eq!(process.finish().status.code(), Some(0));
}

#[test]
fn a_bench_run_reports_and_ends_with_0() {
    let broker = Broker::ours("127.0.0.1:0");
    let line = "mqtt p2p --clients 2 --qos 1 --duration-s 0.2 --warm-up-s 0 --json";
    let mut arguments = vec!["bench"];
    arguments.extend(line.split(' '));
    arguments.extend(["--host", &broker.host, "--port", &broker.port]);
    let output = run(&arguments);
    assert_exit(&output, 0);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["lost"], 0);
    assert!(report["deliveries"].as_u64().unwrap() > 0);
}

#[test]
fn a_bench_run_without_a_broker_ends_with_3() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    assert_exit(&run(&["bench", "mqtt", "p2p", "--port", &port]), 3);
}
