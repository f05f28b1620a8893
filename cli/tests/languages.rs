//! `pub` and `sub` in CoAP and STOMP against our own broker, and each of them heard in the others.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::*;

/// A broker and its URLs, on free ports.
struct House {
    _process: Running,
    mqtt: String,
    coap: String,
    stomp: String,
}

impl House {
    fn start() -> Self {
        let any = "bind=127.0.0.1:0";
        let set: Vec<String> = ["mqtt", "coap", "stomp"].iter().map(|name| format!("{name}.{any}")).collect();
        let mut arguments = vec!["serve"];
        for key in &set {
            arguments.extend(["--set", key]);
        }
        let mut process = Running::start(althing(&arguments));
        let banner = lines(process.child().stdout.take().unwrap());
        let url = |name: &str| loop {
            let line = banner.recv_timeout(PATIENCE).expect("the banner names the listener");
            let mut words = line.split_whitespace();
            if words.next() == Some(name) {
                break format!("{name}://{}", words.next().unwrap());
            }
        };
        // In the order of the protocol table.
        let (mqtt, stomp, coap) = (url("mqtt"), url("stomp"), url("coap"));
        Self { _process: process, mqtt, coap, stomp }
    }

    fn urls(&self) -> [&str; 3] {
        [&self.mqtt, &self.coap, &self.stomp]
    }
}

#[test]
fn each_language_is_heard_in_every_other() {
    let house = House::start();
    for from in house.urls() {
        for qos in ["0", "1"] {
            let hearing: Vec<Running> = (house.urls().iter())
                .map(|to| Running::subscribed(&["sub", "-L", to, "-t", "a/b", "-q", qos, "-C", "1", "-v"]))
                .collect();
            assert_exit(&run(&["pub", "-L", &format!("{from}/a/b"), "-m", "hi", "-q", qos]), 0);
            for hearer in hearing {
                let output = hearer.finish();
                assert_exit(&output, 0);
                assert_eq!(stdout(&output), "a/b hi\n", "from {from} at QoS {qos}");
            }
        }
    }
}

#[test]
fn a_last_value_waits_in_every_language() {
    let house = House::start();
    for (index, from) in house.urls().iter().enumerate() {
        let topic = format!("last/{index}");
        assert_exit(&run(&["pub", "-L", from, "-t", &topic, "-m", "21.5", "-r", "-q", "1"]), 0);
        for to in house.urls() {
            let output = run(&["sub", "-L", to, "-t", &topic, "-C", "1", "--json"]);
            assert_exit(&output, 0);
            let message: serde_json::Value = serde_json::from_str(stdout(&output).trim_end()).unwrap();
            assert_eq!((&message["payload"], &message["retain"]), (&"21.5".into(), &true.into()), "{from} to {to}");
            assert_eq!(message["protocol"], to.split("://").next().unwrap());
        }
    }
}

#[test]
fn a_queue_keeps_a_message_for_whoever_comes() {
    let house = House::start();
    assert_exit(&run(&["pub", "-L", &house.stomp, "-t", "$queue/q", "-m", "job", "-q", "1"]), 0);
    let output = run(&["sub", "-L", &house.stomp, "-t", "$queue/q", "-q", "1", "-C", "1", "-v"]);
    assert_exit(&output, 0);
    assert_eq!(stdout(&output), "$queue/q job\n");
}

#[test]
fn what_a_language_cannot_say_is_a_wrong_command_line() {
    for arguments in [
        &["pub", "-L", "coap://h/a", "-m", "x", "-q", "2"][..],
        &["pub", "-L", "stomp://h/a", "-m", "x", "-i", "me"],
        &["pub", "-L", "coap://ann:secret@127.0.0.1/a", "-m", "x"],
        &["pub", "-L", "stomp://h/a", "-m", "x", "-D", "publish", "content-type", "y"],
        &["sub", "-L", "coap://h", "-t", "a/#"],
        &["sub", "-L", "stomp://h", "-t", "a", "--no-local"],
        &["sub", "-L", "stomp://h", "-t", "a", "--will-topic", "w"],
        &["request", "-L", "coap://h/a", "-m", "x"],
        &["pub", "-L", "http://h/a", "-m", "x"],
    ] {
        let output = run(arguments);
        assert_exit(&output, 2);
        assert_eq!(stderr(&output).lines().count(), 1, "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn nobody_there_is_no_connection() {
    for scheme in ["coap", "stomp"] {
        // A port that was free a moment ago.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!("{scheme}://127.0.0.1:{port}/a");
        assert_exit(&run(&["pub", "-L", &url, "-m", "x", "-q", "1", "--connect-timeout", "5"]), 3);
    }
}
