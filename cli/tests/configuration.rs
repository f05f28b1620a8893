//! `althing config` and `althing acl`, and a broker whose configuration changes.

#![allow(clippy::unwrap_used, reason = "a failure of any step fails the test")]

mod common;

use common::{althing, assert_exit, run, stderr, stdout};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

/// A directory of its own for each test.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("althing-configuration-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_configuration_is_checked_with_all_its_files() {
    let place = Place::new("checked");
    let rules = place.write("acl", "topic read a\n\ntopic wriet b\n");
    let file = place.write("althing.toml", &format!("[authorisation]\nmosquitto_acl_file = \"{rules}\"\n"));
    let output = run(&["config", "check", &file]);
    assert_exit(&output, 2);
    assert!(stderr(&output).contains(&format!("{rules}:3: `wriet` is none of read, write")), "{}", stderr(&output));
    place.write("acl", "topic read a\n");
    let output = run(&["config", "check", &file]);
    assert_exit(&output, 0);
    assert!(stdout(&output).contains("all is well"), "{}", stdout(&output));
}

#[test]
fn keys_are_explained() {
    let output = run(&["config", "explain", "limits.stall_ms"]);
    assert_exit(&output, 0);
    for part in ["How long publishers wait", "default   5000", "ALTHING__LIMITS__STALL_MS=…", "--set limits.stall_ms=…"]
    {
        assert!(stdout(&output).contains(part), "{}", stdout(&output));
    }
    assert!(stdout(&run(&["config", "explain", "listeners"])).contains("listeners.NAME.mount_point"));
    let output = run(&["config", "explain", "limits.stal_ms"]);
    assert_exit(&output, 2);
    assert!(stderr(&output).contains("did you mean `limits.stall_ms`?"));
}

#[test]
fn what_is_shown_is_loaded_again() {
    let place = Place::new("shown");
    let first = run(&["config", "show", "--set", "limits.stall_ms=7"]);
    assert_exit(&first, 0);
    assert!(stdout(&first).contains("--set limits.stall_ms; default: 5000"), "{}", stdout(&first));
    assert_exit(&run(&["config", "check", &place.write("shown.toml", &stdout(&first))]), 0);
}

#[test]
fn decisions_name_their_rule() {
    let place = Place::new("decisions");
    let rules = place.write("acl", "user ann\ntopic read a/#\ntopic deny a/b\n");
    let file = place.write("althing.toml", &format!("[authorisation]\nmosquitto_acl_file = \"{rules}\"\n"));
    // Names stand for themselves where no users file lists them.
    let explain = |arguments: &[&str]| {
        run(&[&["acl", "explain"], arguments, &["--config", &file, "--data", place.0.to_str().unwrap()]].concat())
    };
    let output = explain(&["ann", "receive", "a/c"]);
    assert_exit(&output, 0);
    assert!(stdout(&output).contains("acl:2: topic read a/#, user ann"), "{}", stdout(&output));
    let output = explain(&["ann", "subscribe", "a/b"]);
    assert_exit(&output, 4);
    assert!(stdout(&output).contains("receive a/b: denied") && stdout(&output).contains("acl:3: topic deny a/b"));
    let output = explain(&["-", "publish", "x"]);
    assert_exit(&output, 4);
    assert!(stdout(&output).contains("no rule speaks of it"), "{}", stdout(&output));
}

#[test]
fn a_mosquitto_conf_is_imported() {
    let place = Place::new("imported");
    let file = place.write("m.conf", "listener 1883 127.0.0.1\nallow_anonymous true\npersistence false\n");
    let output = run(&["config", "import", &file]);
    assert_exit(&output, 0);
    assert_exit(&run(&["config", "check", &place.write("althing.toml", &stdout(&output))]), 0);
    let file = place.write("m.conf", "listener 1883\nallow_anonymous true\nplugin /x.so\n");
    let output = run(&["config", "import", &file]);
    assert_exit(&output, 7);
    assert!(stderr(&output).contains("m.conf:3: plugin: mosquitto's plugins cannot be loaded"), "{}", stderr(&output));
}

#[test]
fn a_file_that_changes_takes_over_when_it_is_right_and_else_nothing_does() {
    let place = Place::new("reloaded");
    let file = place.write("althing.toml", "[log]\nlevel = \"info\"\n");
    let mut broker = althing(&["serve", "--config", &file, "--data", place.0.to_str().unwrap()]);
    let mut broker = broker
        .args([
            "--set",
            "mqtt.bind=127.0.0.1:0",
            "--set",
            "admin.enabled=false",
            "--set",
            "authorisation.otherwise=allow",
        ])
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(broker.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut await_line = |part: &str| lines.find(|line| line.contains(part)).unwrap();
    await_line("mqtt listens on");
    place.write("althing.toml", "[log]\nlevel = \"loud\"\n");
    await_line("everything stays as it was");
    await_line("`log.level` takes error, warn");
    place.write("althing.toml", "[limits]\nstall_ms = 7\npacket_timeout_ms = 8\n");
    await_line("reloaded");
    await_line("limits.packet_timeout_ms: 30000 → 8; this takes a restart");
    await_line("limits.stall_ms: 5000 → 7");
    place.write("rules.toml", "[[rules]]\ntopic = \"a\"\nallow = false\n");
    await_line("new rule");
    broker.kill().unwrap();
    broker.wait().unwrap();
}
