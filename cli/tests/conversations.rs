//! The client commands against a real broker.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::*;
use serde_json::{Value, json};

#[test]
fn every_version_and_qos_carries_a_message() {
    let broker = Broker::start();
    for version in ["5", "311", "31"] {
        let topic = unique("levels");
        let sub = broker.subscribe(&["-V", version, "-t", &topic, "-q", "2", "-F", "%q %p", "-C", "3"]);
        for qos in ["0", "1", "2"] {
            broker.publish(&["-V", version, "-t", &topic, "-q", qos, "-m", "hello"]);
        }
        let output = sub.finish();
        assert_exit(&output, 0);
        assert_eq!(stdout(&output), "0 hello\n1 hello\n2 hello\n", "version {version}");
    }
}

#[test]
fn json_has_stable_keys_and_every_property() {
    let broker = Broker::start();
    let topic = unique("json");
    let sub = broker.subscribe(&["-t", &topic, "-q", "1", "--json", "-C", "2", "-i", &topic]);
    let line = "-D publish content-type text/plain -D publish correlation-data id-1 -D publish response-topic r/t \
                -D publish payload-format-indicator 1 -D publish user-property k v -D publish user-property k w";
    let mut arguments = vec!["-t", &topic, "-q", "1", "-m", "grüße"];
    arguments.extend(line.split_whitespace());
    broker.publish(&arguments);
    let directory = scratch_directory();
    std::fs::write(directory.join("bytes"), b"\xff\x00").unwrap();
    broker.publish(&["-t", &topic, "-f", directory.join("bytes").to_str().unwrap()]);
    let output = sub.finish();
    let lines: Vec<Value> = stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut keys: Vec<&str> = lines[0].as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["client", "dup", "payload", "payload_b64", "props", "protocol", "qos", "retain", "topic", "ts"]);
    assert_eq!(lines[0]["payload"], "grüße");
    assert_eq!(
        (&lines[0]["qos"], &lines[0]["protocol"], &lines[0]["client"]),
        (&json!(1), &json!("mqtt"), &json!(topic))
    );
    assert_eq!(
        lines[0]["props"],
        json!({"content-type": "text/plain", "correlation-data": "id-1", "response-topic": "r/t",
               "payload-format-indicator": 1, "user-property": [["k", "v"], ["k", "w"]]})
    );
    assert_eq!((&lines[1]["payload"], &lines[1]["payload_b64"]), (&Value::Null, &json!("/wA=")));
}

#[test]
fn payloads_come_from_everywhere() {
    let broker = Broker::start();
    let topic = unique("sources");
    let sub = broker.subscribe(&["-t", &topic, "-q", "1", "-F", "[%p]", "-C", "7"]);
    let file = scratch_directory().join("payload");
    std::fs::write(&file, "from file").unwrap();
    broker.publish(&["-q", "1", "-t", &topic, "-f", file.to_str().unwrap()]);
    broker.publish(&["-q", "1", "-t", &topic, "-n"]);
    let input = |arguments: &[&str], input: &[u8]| {
        assert_exit(&run_with_input(&broker.arguments("pub", arguments), input), 0);
    };
    input(&["-q", "1", "-t", &topic, "-s"], b"all\nof it\n");
    input(&["-q", "1", "-t", &topic, "-l"], b"one\ntwo");
    broker.publish(&["-q", "1", "-t", &topic, "-m", "again", "--repeat", "2", "--repeat-delay", "1ms"]);
    assert_eq!(stdout(&sub.finish()), "[from file]\n[]\n[all\nof it\n]\n[one]\n[two]\n[again]\n[again]\n");
}

#[test]
fn ten_thousand_lines_arrive_in_order() {
    let broker = Broker::start();
    let topic = unique("many");
    let sub = broker.subscribe(&["-t", &topic, "-q", "2", "-C", "10000"]);
    let lines: String = (0..10_000).map(|number| format!("{number}\n")).collect();
    assert_exit(&run_with_input(&broker.arguments("pub", &["-t", &topic, "-q", "2", "-l"]), lines.as_bytes()), 0);
    assert_eq!(stdout(&sub.finish()), lines);
}

#[test]
fn a_kept_session_gives_each_message_once_even_when_only_one_is_taken() {
    let broker = Broker::start();
    let (topic, id) = (unique("kept"), unique("client"));
    let session = ["-i", &id, "-c", "-q", "1", "-t", &topic];
    let mut first = session.to_vec();
    first.push("-E");
    assert_exit(&broker.run("sub", &first), 0);
    broker.publish(&["-t", &topic, "-q", "1", "-m", "x", "--repeat", "3"]);
    let mut one = session.to_vec();
    one.extend(["-C", "1", "-F", "%p"]);
    for _ in 0..3 {
        let output = broker.run("sub", &one);
        assert_exit(&output, 0);
        assert_eq!(stdout(&output), "x\n");
    }
    let mut none = session.to_vec();
    none.extend(["-C", "1", "-W", "200ms"]);
    assert_exit(&broker.run("sub", &none), 6);
}

#[test]
fn unsubscribing_ends_a_kept_subscription() {
    let broker = Broker::start();
    let (topic, id) = (unique("old"), unique("client"));
    assert_exit(&broker.run("sub", &["-i", &id, "-c", "-q", "1", "-t", &topic, "-E"]), 0);
    assert_exit(&broker.run("sub", &["-i", &id, "-c", "-U", &topic, "-E"]), 0);
    broker.publish(&["-t", &topic, "-q", "1", "-m", "late"]);
    assert_exit(&broker.run("sub", &["-i", &id, "-c", "-U", "unused", "-W", "200ms"]), 6);
}

#[test]
fn retained_messages_are_chosen_and_removed() {
    let broker = Broker::start();
    let base = unique("retained");
    let (one, two, all) = (format!("{base}/1"), format!("{base}/2"), format!("{base}/#"));
    broker.publish(&["-t", &one, "-r", "-q", "1", "-m", "1"]);
    broker.publish(&["-t", &two, "-r", "-q", "1", "-m", "2"]);
    let sub = broker.subscribe(&["-t", &all, "-R", "-v", "-C", "1"]);
    broker.publish(&["-t", &one, "-m", "live"]);
    assert_eq!(stdout(&sub.finish()), format!("{one} live\n"));
    let output = broker.run("sub", &["-t", &all, "--retained-only", "--remove-retained", "-T", &two, "-C", "1", "-v"]);
    assert_eq!(stdout(&output), format!("{one} 1\n"));
    let output = broker.run("sub", &["-t", &all, "-v", "-C", "1"]);
    assert_eq!(stdout(&output), format!("{two} 2\n"));
}

#[test]
fn a_lost_client_leaves_a_will_and_a_polite_one_does_not() {
    let broker = Broker::start();
    let topic = unique("will");
    let watch = broker.subscribe(&["-t", &topic, "-C", "1", "-F", "%p %C"]);
    let will = ["-t", "unused", "--will-topic", &topic, "-D", "will", "content-type", "text/plain", "--will-payload"];
    let start = |payload| {
        let mut arguments = will.to_vec();
        arguments.push(payload);
        broker.subscribe(&arguments)
    };
    let mut polite = start("polite");
    polite.signal("INT");
    assert_eq!(polite.finish().status.code(), Some(130));
    let mut lost = start("lost");
    lost.child().kill().unwrap();
    assert_eq!(stdout(&watch.finish()), "lost text/plain\n");
}

#[test]
fn a_request_gets_its_own_answers() {
    let broker = Broker::start();
    let topic = unique("service");
    let mut command = broker
        .arguments("reply", &["-t", &topic, "-q", "1", "-C", "2", "--command", "tr a-z A-Z; printf %s $ALTHING_TOPIC"]);
    command.push("--no-reconnect");
    let replier = Running::subscribed(&command[..]);
    for word in ["hello", "world"] {
        let output = broker.run("request", &["-t", &topic, "-q", "1", "-m", word]);
        assert_exit(&output, 0);
        assert_eq!(stdout(&output), format!("{}{topic}\n", word.to_uppercase()));
    }
    assert_eq!(replier.finish().status.code(), Some(0));
}

#[test]
fn answers_are_a_text_or_an_echo_and_a_failed_command_gives_none() {
    let broker = Broker::start();
    for (answer, expected, code) in
        [(&["-m", "pong"][..], "pong\n", 0), (&["--echo"], "ping\n", 0), (&["--command", "exit 3"], "", 6)]
    {
        let topic = unique("answer");
        let mut arguments = broker.arguments("reply", &["-t", &topic]);
        arguments.extend_from_slice(answer);
        let mut replier = Running::subscribed(&arguments);
        let output =
            broker.run("request", &["-t", &topic, "-m", "ping", "-W", if code == 0 { "30s" } else { "300ms" }]);
        assert_exit(&output, code);
        assert_eq!(stdout(&output), expected);
        replier.signal("INT");
        assert_eq!(replier.finish().status.code(), Some(130));
    }
}

#[test]
fn only_an_answer_with_the_right_correlation_data_counts() {
    let broker = Broker::start();
    let (topic, answers) = (unique("ask"), unique("answers"));
    let service = broker.subscribe(&["-t", &topic, "-C", "1", "-F", "%R %D %p"]);
    let arguments = broker
        .arguments("request", &["-t", &topic, "-e", &answers, "-m", "?", "-D", "publish", "correlation-data", "7"]);
    let request = Running::start(althing(&arguments));
    assert_eq!(stdout(&service.finish()), format!("{answers} 7 ?\n"));
    broker.publish(&["-t", &answers, "-q", "1", "-m", "wrong", "-D", "publish", "correlation-data", "8"]);
    broker.publish(&["-t", &answers, "-q", "1", "-m", "none"]);
    broker.publish(&["-t", &answers, "-q", "1", "-m", "right", "-D", "publish", "correlation-data", "7"]);
    assert_eq!(stdout(&request.finish()), "right\n");
}

#[test]
fn a_request_without_an_answer_ends_with_6() {
    let broker = Broker::start();
    let output = broker.run("request", &["-t", &unique("nobody"), "-m", "?", "-W", "100ms"]);
    assert_exit(&output, 6);
    assert!(stderr(&output).contains("no answer came"), "{}", stderr(&output));
}

#[test]
fn a_url_names_broker_and_topic() {
    let broker = Broker::start();
    let topic = unique("url");
    let url = format!("mqtt://{}:{}/{topic}", broker.host, broker.port);
    let sub = Running::subscribed(&["sub", "-L", &url, "-C", "1"]);
    assert_exit(&run(&["pub", "-L", &url, "-m", "by url"]), 0);
    assert_eq!(stdout(&sub.finish()), "by url\n");
}

#[test]
fn a_unix_socket_is_as_good() {
    let socket = scratch_directory().join("mqtt.sock");
    let socket = socket.to_str().unwrap();
    let _broker = Broker::ours(&format!("unix:{socket}"));
    let sub = Running::subscribed(&["sub", "--unix", socket, "-t", "a", "-C", "1"]);
    assert_exit(&run(&["pub", "--unix", socket, "-t", "a", "-m", "local"]), 0);
    assert_eq!(stdout(&sub.finish()), "local\n");
}

#[test]
fn a_broker_that_wants_a_password_refuses_with_4() {
    let Some(broker) = Broker::mosquitto("allow_anonymous false\n") else { return };
    for version in ["5", "311"] {
        assert_exit(&broker.run("sub", &["-V", version, "-t", "a"]), 4);
    }
}
