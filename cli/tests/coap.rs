//! The CoAP commands against our own broker: `get`, `put`, `observe` and their like, over everything that carries CoAP.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::*;
use serde_json::Value;
use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// A broker and its URLs, on free ports, and a directory of its own.
struct House {
    _process: Running,
    directory: PathBuf,
    mqtt: String,
    coap: String,
    coaps: String,
    coap_tcp: String,
    coap_ws: String,
}

/// For `coaps://`.
const KEY: [&str; 4] = ["--psk", "secret", "--psk-identity", "kitchen"];

impl House {
    fn start() -> Self {
        let directory = scratch_directory();
        let keys = directory.join("psk");
        // "secret"
        fs::write(&keys, "kitchen:736563726574\n").unwrap();
        fs::set_permissions(&keys, fs::Permissions::from_mode(0o600)).unwrap();
        let any = "bind=127.0.0.1:0";
        let mut set: Vec<String> =
            ["mqtt", "coap", "coap-tcp", "http"].iter().map(|name| format!("{name}.{any}")).collect();
        set.push("coap.tls_bind=127.0.0.1:0".to_owned());
        set.push(format!("coap.psk_file={}", keys.display()));
        let mut arguments = vec!["serve"];
        for key in &set {
            arguments.extend(["--set", key]);
        }
        let mut process = Running::start(althing(&arguments));
        let banner = lines(process.child().stdout.take().unwrap());
        let authority = |name: &str| loop {
            let line = banner.recv_timeout(PATIENCE).expect("the banner names the listener");
            let mut words = line.split_whitespace();
            if words.next() == Some(name) {
                break words.next().unwrap().trim_start_matches("http://").trim_end_matches('/').to_owned();
            }
        };
        // In the order of the protocol table.
        let mqtt = format!("mqtt://{}", authority("mqtt"));
        let coap = format!("coap://{}", authority("coap"));
        let coaps = format!("coaps://{}", authority("coap-tls"));
        let coap_tcp = format!("coap+tcp://{}", authority("coap-tcp"));
        let coap_ws = format!("coap+ws://{}", authority("http"));
        Self { _process: process, directory, mqtt, coap, coaps, coap_tcp, coap_ws }
    }

    /// The URLs, and what each of them needs.
    fn carriers(&self) -> [(&str, &'static [&'static str]); 4] {
        [(&self.coap, &[]), (&self.coaps, &KEY), (&self.coap_tcp, &[]), (&self.coap_ws, &[])]
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Runs a command for a resource.
fn ask(verb: &str, url: &str, path: &str, words: &[&str]) -> std::process::Output {
    run(&[&[verb, &format!("{url}/{path}")], words].concat())
}

#[test]
fn a_value_goes_there_and_back_over_everything_that_carries_coap() {
    let house = House::start();
    let large = "x".repeat(5_000);
    for (url, key) in house.carriers() {
        assert_exit(&ask("put", url, "t/a", &[&["21.5"], key].concat()), 0);
        assert_eq!(stdout(&ask("get", url, "t/a", key)), "21.5\n", "{url}");
        assert_exit(&ask("put", url, "t/large", &[&["-m", &large, "-b", "64"], key].concat()), 0);
        assert_eq!(stdout(&ask("get", url, "t/large", &[&["--raw"], key].concat())), large, "{url}");
        assert_exit(&ask("delete", url, "t/a", key), 0);
        let gone = ask("get", url, "t/a", key);
        assert_exit(&gone, 4);
        assert_eq!(stderr(&gone), "althing: the server refused with 4.04 Not Found: this topic has no value\n");
        assert_exit(&ask("ping", url, "", &[&["-c", "2"], key].concat()), 0);
        // No response is wanted, and what was asked is done all the same.
        assert_exit(&ask("put", url, "t/silent", &[&["done", "-O", "258,26"], key].concat()), 0);
        assert_eq!(stdout(&ask("get", url, "t/silent", key)), "done\n", "{url}");
        let tree = stdout(&ask("discover", url, "", key));
        assert!(tree.lines().any(|line| line.starts_with("/time ") && line.contains("obs")), "{tree}");
    }
}

#[test]
fn pub_and_sub_speak_coap_over_everything_that_carries_it() {
    let house = House::start();
    for (url, key) in house.carriers() {
        for qos in ["0", "1"] {
            let mut words = vec!["sub", "-L", url, "-t", "a/b", "-t", "c", "-q", qos, "-C", "1", "-v"];
            words.extend(key);
            let hearer = Running::subscribed(&words);
            let of_mqtt = Running::subscribed(&["sub", "-L", &house.mqtt, "-t", "a/b", "-q", "1", "-C", "1", "--json"]);
            assert_exit(&run(&[&["pub", "-L", url, "-t", "a/b", "-m", "hi", "-q", qos], key].concat()), 0);
            assert_eq!(stdout(&hearer.finish()), "a/b hi\n", "{url} at QoS {qos}");
            let message: Value = serde_json::from_str(stdout(&of_mqtt.finish()).trim_end()).unwrap();
            assert_eq!(message["qos"].to_string(), qos, "{url}");
        }
    }
}

#[test]
fn each_notification_is_a_line() {
    let house = House::start();
    for (url, key) in house.carriers() {
        let words = [&["-m", r#"{"on":true}"#, "-t", "json"], key].concat();
        assert_exit(&ask("put", url, "t/lamp", &words), 0);
        let output = ask("observe", url, "t/lamp", &[&["-C", "1", "--json"], key].concat());
        assert_exit(&output, 0);
        let said: Value = serde_json::from_str(stdout(&output).trim_end()).unwrap();
        assert_eq!((&said["code"], &said["name"]), (&"2.05".into(), &"Content".into()));
        assert_eq!((&said["value"]["on"], &said["content_format"]), (&true.into(), &50.into()));
        assert_eq!(said["url"], format!("{url}/t/lamp"));
        assert!(said["ts"].is_string() && said["observe"].is_u64(), "{said}");
        let uri = format!("{url}/t/lamp");
        let mut observer = Running::start(althing(&[&["observe", &uri, "-C", "2"], key].concat()));
        let notifications = lines(observer.child().stdout.take().unwrap());
        assert!(notifications.recv_timeout(PATIENCE).unwrap().ends_with(r#" {"on":true}"#), "{url}");
        assert_exit(&ask("put", url, "t/lamp", &[&["two\nlines"], key].concat()), 0);
        assert!(notifications.recv_timeout(PATIENCE).unwrap().ends_with(r" two\nlines"), "{url}");
        assert_exit(&observer.finish(), 0);
    }
}

#[test]
fn json_has_the_same_names_for_every_outcome() {
    let house = House::start();
    let names = |path: &str, code: i32| -> Vec<String> {
        let output = ask("get", &house.coap, path, &["--json"]);
        assert_exit(&output, code);
        let said: Value = serde_json::from_str(stdout(&output).trim_end()).unwrap();
        said.as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(names("time", 0), names("t/none", 4));
    assert_eq!(names("time", 0).join(" "), {
        let mut documented: Vec<_> =
            "url code name content_format max_age_s etag observe location payload payload_b64 value"
                .split(' ')
                .collect();
        documented.sort_unstable();
        documented.join(" ")
    });
}

#[test]
fn formats_are_shown_for_people() {
    let house = House::start();
    let cbor = house.directory.join("cbor");
    fs::write(&cbor, b"\xa2\x00\x61a\x01\xf9\x3e\x00").unwrap();
    assert_exit(&ask("put", &house.coap, "t/cbor", &["-f", cbor.to_str().unwrap(), "-t", "cbor"]), 0);
    assert_eq!(stdout(&ask("get", &house.coap, "t/cbor", &[])), "{0: \"a\", 1: 1.5}\n");
    let file = house.directory.join("got");
    assert_exit(&ask("get", &house.coap, "t/cbor", &["-o", file.to_str().unwrap()]), 0);
    assert_eq!(fs::read(&file).unwrap(), fs::read(&cbor).unwrap());
    assert!(stdout(&ask("get", &house.coap, ".well-known/core", &[])).lines().any(|line| line.starts_with("</time>;")));
}

#[test]
fn what_is_sent_again_is_shown() {
    // Somebody who says nothing.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let url = format!("coap://{}/x", silent.local_addr().unwrap());
    let mut asking = Running::start(althing(&["get", &url, "-v"]));
    let first = asking.await_stderr("-> CON");
    let again = asking.await_stderr("retransmission 1");
    let id = |line: &str| line.split("CON ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    assert_eq!(id(&first), id(&again));
    assert!(first.contains("Uri-Path: \"x\""), "{first}");
    asking.signal("INT");
    assert_exit(&asking.finish(), 130);
}

#[test]
fn what_cannot_be_asked_so_says_how_it_can() {
    for (arguments, part) in [
        (&["get", "coap://h/x", "--psk", "k", "--psk-identity", "n"][..], "coaps://"),
        (&["get", "coap+tcp://h/x", "--insecure"], "coaps+tcp://"),
        (&["get", "coaps+ws://h/x", "--psk", "k", "--psk-identity", "n"], "--cert"),
        (&["get", "coaps://h/x", "--tls-version", "1.3"], "DTLS 1.2"),
        (&["get", "coap://h/x", "-b", "100"], "512"),
        (&["get", "mqtt://h/x"], "coap+ws://"),
        (&["observe", "coap://h/x", "-o", "file"], "one response"),
        (&["put", "coap://127.0.0.1/x", "y", "-t", "picture"], "number"),
        (&["get", "coap://h/x", "--oscore", "/nowhere/at/all"], "cannot be read"),
        (&["pub", "-L", "mqtt://h/a", "-m", "x", "--psk", "k", "--psk-identity", "n"], "for CoAP"),
    ] {
        let output = run(arguments);
        assert_exit(&output, 2);
        assert!(stderr(&output).contains(part) && stderr(&output).lines().count() == 1, "{}", stderr(&output));
    }
}

#[test]
fn nobody_there_is_no_connection() {
    for scheme in ["coap", "coaps", "coap+tcp", "coap+ws"] {
        // A port that was free a moment ago.
        let port = match scheme {
            "coap" | "coaps" => UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port(),
            _ => std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port(),
        };
        let key: &[&str] = if scheme == "coaps" { &KEY } else { &[] };
        let output = ask("get", &format!("{scheme}://127.0.0.1:{port}"), "x", key);
        assert_exit(&output, 3);
        assert!(stderr(&output).contains("nothing listens"), "{scheme}: {}", stderr(&output));
    }
}

#[test]
fn oscore_protects_each_message_and_uses_no_number_twice() {
    let directory = scratch_directory();
    let contexts = directory.join("contexts.toml");
    let entry = "[sensor-1]\nmaster_secret = '0102030405060708090a0b0c0d0e0f10'\n";
    fs::write(&contexts, format!("{entry}sender_id = '01'\nrecipient_id = '00'\n")).unwrap();
    let ours = directory.join("ours.toml");
    fs::write(&ours, format!("{entry}sender_id = '00'\nrecipient_id = '01'\n")).unwrap();
    let set = format!("coap.oscore_file={}", contexts.display());
    let serve = ["serve", "--set", "mqtt.bind=127.0.0.1:0", "--set", "coap.bind=127.0.0.1:0", "--set", &set];
    let mut process = Running::start(althing(&serve));
    let banner = lines(process.child().stdout.take().unwrap());
    let url = loop {
        let line = banner.recv_timeout(PATIENCE).expect("the banner names the listener");
        if let Some(rest) = line.trim_start().strip_prefix("coap ") {
            break format!("coap://{}", rest.split_whitespace().next().unwrap());
        }
    };
    let state = directory.join("state");
    let protected = ["--oscore", ours.to_str().unwrap(), "--oscore-state", state.to_str().unwrap()];
    assert_exit(&ask("put", &url, "t/a", &[&["21.5"], &protected[..]].concat()), 0);
    let got = ask("get", &url, "t/a", &[&["-v"], &protected[..]].concat());
    assert_eq!(stdout(&got), "21.5\n");
    // The second run goes on behind the numbers of the first: 64.
    assert!(stderr(&got).contains("OSCORE: 0x0940") && !stderr(&got).contains("Uri-Path"), "{}", stderr(&got));
    let large = "x".repeat(5_000);
    assert_exit(&ask("put", &url, "t/large", &[&["-m", &large, "-b", "64"], &protected[..]].concat()), 0);
    assert_eq!(stdout(&ask("get", &url, "t/large", &[&["--raw"], &protected[..]].concat())), large);
    let observed = ask("observe", &url, "t/a", &[&["-C", "1"], &protected[..]].concat());
    assert!(stdout(&observed).ends_with(" 21.5\n"), "{}", stdout(&observed));
    assert_exit(&run(&[&["pub", "-L", &url, "-t", "a", "-m", "22", "-r", "-q", "1"], &protected[..]].concat()), 0);
    assert_eq!(stdout(&ask("get", &url, "t/a", &[])), "22\n");
    let unknown = "master_secret=0102030405060708090a0b0c0d0e0f10,sender_id=07,recipient_id=01";
    let refused = ask("get", &url, "t/a", &["--oscore", unknown, "--oscore-state", state.to_str().unwrap()]);
    assert_exit(&refused, 4);
    assert!(stderr(&refused).contains("Security context not found"), "{}", stderr(&refused));
    let _ = fs::remove_dir_all(directory);
}

#[test]
fn a_load_is_verified_by_our_own_broker() {
    let house = House::start();
    let url = format!("{}/t/bench", house.coap);
    for words in [
        &["--payload-bytes", "64", "--count", "200", "--window", "4"][..],
        &["--method", "put", "--non", "--count", "200", "--endpoints", "5"],
        &["--method", "observe", "--endpoints", "10", "--count", "20"],
    ] {
        let output = run(&[&["bench", "coap", &url, "--json"], words].concat());
        assert_exit(&output, 0);
        let report: Value = serde_json::from_str(stdout(&output).trim_end()).unwrap();
        assert_eq!(report["completed"], 200, "{report}");
        assert!(report["latency_us"]["p90"].is_f64() && report["lost"] == 0, "{report}");
    }
    let refused = run(&["bench", "coap", &format!("{}/t/none", house.coap)]);
    assert_exit(&refused, 4);
    assert!(stderr(&refused).contains("4.04: this topic has no value"), "{}", stderr(&refused));
}
