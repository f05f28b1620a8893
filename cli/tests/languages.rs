//! `pub` and `sub` in every language against our own broker, and each of them heard in the others.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::*;

/// A broker and its URLs, on free ports.
struct House {
    _process: Running,
    mqtt: String,
    coap: String,
    stomp: String,
    http: String,
    /// MQTT in a WebSocket.
    ws: String,
}

impl House {
    fn start() -> Self {
        let (process, addresses) = serve(&["mqtt", "stomp", "coap", "http"], &[]);
        let [mqtt, stomp, coap, http] = &addresses[..] else { panic!("four listeners: {addresses:?}") };
        Self {
            _process: process,
            mqtt: format!("mqtt://{mqtt}"),
            coap: format!("coap://{coap}"),
            stomp: format!("stomp://{stomp}"),
            http: format!("http://{http}"),
            ws: format!("ws://{http}"),
        }
    }

    fn urls(&self) -> [&str; 5] {
        [&self.mqtt, &self.coap, &self.stomp, &self.http, &self.ws]
    }
}

/// A broker with these listeners on free ports, in the order of its banner, and their addresses.
fn serve(listeners: &[&str], set: &[String]) -> (Running, Vec<String>) {
    let binds = listeners.iter().map(|name| match name.strip_suffix("-tls") {
        Some(name) => format!("{name}.tls_bind=127.0.0.1:0"),
        None => format!("{name}.bind=127.0.0.1:0"),
    });
    let set: Vec<String> = binds.chain(set.iter().cloned()).collect();
    let mut arguments = vec!["serve"];
    for key in &set {
        arguments.extend(["--set", key]);
    }
    let mut process = Running::start(althing(&arguments));
    let banner = lines(process.child().stdout.take().unwrap());
    let address = |name: &&str| loop {
        let line = banner.recv_timeout(PATIENCE).expect("the banner names the listener");
        let mut words = line.split_whitespace();
        if words.next() == Some(name) {
            // That of HTTP is a URL already.
            let address = words.next().unwrap();
            break address.rsplit_once("//").map_or(address, |(_, address)| address).to_owned();
        }
    };
    let addresses = listeners.iter().map(address).collect();
    (process, addresses)
}

#[test]
fn each_language_is_heard_in_every_other() {
    let house = House::start();
    for from in house.urls() {
        for qos in ["0", "1"] {
            let hearing: Vec<Running> = (house.urls().iter())
                .map(|to| Running::subscribed(&["sub", "-L", to, "-t", "a/b", "-q", qos, "-C", "1", "-v"]))
                .collect();
            assert_exit(&run(&["pub", "-L", from, "-t", "a/b", "-m", "hi", "-q", qos]), 0);
            for hearer in hearing {
                let output = hearer.finish();
                assert_exit(&output, 0);
                assert_eq!(stdout(&output), "a/b hi\n", "from {from} at QoS {qos}");
            }
        }
    }
}

#[test]
fn each_language_is_heard_in_every_other_inside_tls() {
    let directory = scratch_directory();
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    assert_exit(&run(&["cert", "ca", &path("")]), 0);
    assert_exit(&run(&["cert", "server", &path(""), "--name", "localhost"]), 0);
    let set = [format!("tls.certificate={}", path("localhost.crt")), format!("tls.key={}", path("localhost.key"))];
    let listeners = ["mqtt", "mqtt-tls", "stomp", "stomp-tls", "http", "http-tls"];
    let (_process, addresses) = serve(&listeners, &set);
    let ca = path("ca.crt");
    let urls = [("mqtts", 1), ("stomps", 3), ("https", 5), ("wss", 5)].map(|(scheme, index)| {
        let (_, port) = addresses[index].rsplit_once(':').unwrap();
        format!("{scheme}://localhost:{port}")
    });
    for from in &urls {
        let hearing: Vec<Running> = (urls.iter())
            .map(|to| Running::subscribed(&["sub", "-L", to, "--cafile", &ca, "-t", "a/b", "-q", "1", "-C", "1", "-v"]))
            .collect();
        assert_exit(&run(&["pub", "-L", from, "--cafile", &ca, "-t", "a/b", "-m", "hi", "-q", "1"]), 0);
        for (hearer, to) in hearing.into_iter().zip(&urls) {
            let output = hearer.finish();
            assert_exit(&output, 0);
            assert_eq!(stdout(&output), "a/b hi\n", "from {from} to {to}");
        }
        let untrusted = run(&["pub", "-L", from, "-t", "a/b", "-m", "hi", "-q", "1"]);
        assert_ne!(untrusted.status.code(), Some(0), "{from} without its CA");
    }
    std::fs::remove_dir_all(directory).unwrap();
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
            let language = to.split("://").next().unwrap();
            assert_eq!(message["protocol"], if language == "ws" { "mqtt" } else { language });
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
        &["pub", "-L", "http://h", "-t", "a", "-m", "x", "-i", "me"],
        &["request", "-L", "http://h", "-t", "a", "-m", "x"],
        &["pub", "-L", "ws://h/a", "-m", "x"],
    ] {
        let output = run(arguments);
        assert_exit(&output, 2);
        assert_eq!(stderr(&output).lines().count(), 1, "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn nobody_there_is_no_connection() {
    for scheme in ["coap", "stomp", "http", "ws"] {
        // A port that was free a moment ago.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!("{scheme}://127.0.0.1:{port}");
        assert_exit(&run(&["pub", "-L", &url, "-t", "a", "-m", "x", "-q", "1", "--connect-timeout", "5"]), 3);
    }
}

#[test]
fn a_topic_may_stand_in_the_url() {
    let house = House::start();
    for url in [format!("{}/a/b", house.stomp), format!("{}/topics/a/b", house.http)] {
        let hearer = Running::subscribed(&["sub", "-L", &house.mqtt, "-t", "a/b", "-C", "1", "-v"]);
        assert_exit(&run(&["pub", "-L", &url, "-m", "hi"]), 0);
        assert_eq!(stdout(&hearer.finish()), "a/b hi\n", "{url}");
    }
}

#[test]
fn http_says_the_properties_of_a_message_both_ways() {
    let house = House::start();
    let hearer = Running::subscribed(&["sub", "-L", &house.http, "-t", "a/#", "-q", "1", "-C", "1", "--json"]);
    let properties = ["-D", "publish", "content-type", "x/y", "-D", "publish", "user-property", "k", "v = 1"];
    let publish = ["pub", "-L", &house.http, "-t", "a/b", "-m", "hi", "-q", "1"];
    assert_exit(&run(&[&publish[..], &properties, &["-D", "publish", "message-expiry-interval", "60"]].concat()), 0);
    let message: serde_json::Value = serde_json::from_str(stdout(&hearer.finish()).trim_end()).unwrap();
    assert_eq!((&message["qos"], &message["props"]["content-type"]), (&1.into(), &"x/y".into()), "{message}");
    assert_eq!(message["props"]["user-property"], serde_json::json!([["k", "v = 1"]]));
    assert!(message["props"]["message-expiry-interval"].as_u64().is_some_and(|left_s| left_s <= 60), "{message}");
}

#[test]
fn a_websocket_that_is_none_is_no_connection() {
    let house = House::start();
    for url in [format!("{}/nowhere", house.ws), house.mqtt.replace("mqtt://", "ws://")] {
        let output = run(&["pub", "-L", &url, "-t", "a", "-m", "x"]);
        assert_exit(&output, 3);
        assert!(stderr(&output).contains("no WebSocket to"), "{}", stderr(&output));
    }
}

#[test]
fn requests_are_answered_through_a_websocket() {
    let house = House::start();
    let replier = Running::subscribed(&["reply", "-L", &house.ws, "-t", "ask", "--echo", "-C", "1"]);
    let output = run(&["request", "-L", &house.ws, "-t", "ask", "-m", "hi", "-W", "20"]);
    assert_exit(&output, 0);
    assert_eq!(stdout(&output), "hi\n");
    drop(replier);
}
